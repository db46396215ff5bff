/* One line a primitive. Pure ones may be used by deciders and need no entry in `needs`. */
#include "app/primitives.h"

#include "bind/lua_crypto.h"
#include "bind/lua_db.h"
#include "bind/lua_decimal.h"
#include "bind/lua_json.h"
#include "bind/lua_log.h"
#include "bind/lua_uuid.h"

#include <string.h>

size_t sh_primitives_list(const sh_primitive_data_t *d, sh_primitive_t out[SH_PRIMITIVES_MAX]) {
    const sh_primitive_t list[] = {
        {"decimal", sh_lua_decimal_open, NULL, true},
        {"json", sh_lua_json_open, NULL, true},
        {"clock", sh_lua_clock_open, d->clock, false},
        {"config", sh_lua_config_open, d->config, false},
        {"crypto", sh_lua_crypto_open, NULL, false},
        {"db", sh_lua_db_open, NULL, false},
        {"jwt", sh_lua_jwt_open, d->jwt, false},
        {"log", sh_lua_log_open, NULL, false},
        {"password", sh_lua_password_open, d->password, false},
        {"pdf", sh_lua_pdf_open, d->pdf, false},
        {"uuid", sh_lua_uuid_open, d->uuids, false},
    };
    _Static_assert(sizeof list <= sizeof(sh_primitive_t) * SH_PRIMITIVES_MAX, "raise SH_PRIMITIVES_MAX");
    memcpy(out, list, sizeof list);
    return SH_ARRAY_LEN(list);
}

sh_budget_t sh_primitives_budget(const sh_config_t *config) {
    return (sh_budget_t){
        .slice_ms = (uint64_t)sh_config_int(config, "budget.slice_ms"),
        .task_ms = (uint64_t)sh_config_int(config, "budget.task_ms"),
        .memory_bytes = (uint64_t)sh_config_int(config, "budget.memory_mb") << 20,
        .statements_max = (uint32_t)sh_config_int(config, "budget.statements"),
        .rows_max = (uint32_t)sh_config_int(config, "budget.rows"),
        .events_max = (uint32_t)sh_config_int(config, "budget.events"),
        .response_bytes_max = (uint64_t)sh_config_int(config, "budget.response_bytes"),
        .deadline_ms = (uint64_t)sh_config_int(config, "budget.deadline_ms"),
        .event_deadline_ms = (uint64_t)sh_config_int(config, "budget.event_deadline_ms"),
    };
}
