/* Whatever the JSON reader takes, it writes as text that it takes again, and that comes out the same: a fixed point. */
#include "base/err.h"
#include "codec/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sh_arena_t arena;
    sh_json_value_t *value, *again;
    sh_json_error_t error;
    sh_buf_t first = {0}, second = {0};
    sh_arena_init(&arena);
    int status = sh_json_read(&arena, sh_str((const char *)data, size), SH_JSON_LIMITS_DEFAULT, &value, &error);
    if (status == SH_OK) {
        SH_ASSERT(sh_utf8_is_valid(sh_str((const char *)data, size)));
        sh_json_write(&first, value);
        SH_ASSERT(sh_json_read(&arena, sh_buf_str(&first), SH_JSON_LIMITS_DEFAULT, &again, &error) == SH_OK);
        sh_json_write(&second, again);
        SH_ASSERT(sh_str_eq(sh_buf_str(&first), sh_buf_str(&second)));
    } else {
        SH_ASSERT((status == SH_EINVAL || status == SH_ELIMIT) && error.reason && error.offset <= size);
    }
    sh_buf_dispose(&first);
    sh_buf_dispose(&second);
    sh_arena_dispose(&arena);
    return 0;
}
