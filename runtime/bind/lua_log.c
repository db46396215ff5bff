/* debug, info, warn, error: (message, { key = value, ... }); at most 16 fields, long values are cut. */
#include "bind/lua_log.h"

#include "base/log.h"
#include "host/vm.h"

#include <lauxlib.h>

enum { FIELDS_MAX = 16, VALUE_MAX = 1024, MESSAGE_MAX = 1024, LINES_MAX = 100 /* of a task */ };

static bool is_plain_key(const char *key) {
    for (; *key; key++)
        if (!((*key >= 'a' && *key <= 'z') || (*key >= '0' && *key <= '9') || *key == '_')) return false;
    return true;
}

static int write_line(lua_State *L, sh_log_level_t level) {
    sh_log_field_t fields[FIELDS_MAX + 2];
    size_t n = 0, length;
    sh_vm_t *vm = sh_vm_of(L);
    sh_log_t *log = sh_vm_log(vm);
    const char *message = luaL_checklstring(L, 1, &length);
    luaL_argcheck(L, length <= MESSAGE_MAX, 1, "the message is too long");
    sh_task_t *task = sh_task_current(L);
    if (!sh_log_is_on(log, level)) return 0;
    fields[n++] = SH_LOG_C("service", sh_vm_service(vm));
    fields[n++] = SH_LOG_STR("request_id", sh_task_request_id(task));
    uint32_t lines = ++sh_task_account(task)->log_lines;
    if (lines > LINES_MAX) {
        if (lines == LINES_MAX + 1) sh_log_write(log, SH_LOG_WARN, "a rule logs too much: its further lines are dropped", fields, n);
        return 0;
    }
    if (lua_istable(L, 2)) {
        luaL_checkstack(L, FIELDS_MAX + 4, "log");
        for (lua_pushnil(L); lua_next(L, 2) && n < SH_ARRAY_LEN(fields); lua_pop(L, 1)) {
            if (lua_type(L, -2) != LUA_TSTRING || !is_plain_key(lua_tostring(L, -2))) return luaL_error(L, "log: keys are made of a-z, 0-9 and _");
            sh_log_field_t *f = &fields[n++];
            const char *key = lua_tostring(L, -2);
            switch (lua_type(L, -1)) {
            case LUA_TSTRING:
                *f = SH_LOG_STR(key, SH_STR_NULL);
                f->str.ptr = lua_tolstring(L, -1, &f->str.len);
                if (f->str.len > VALUE_MAX) f->str.len = VALUE_MAX;
                break;
            case LUA_TNUMBER: {
                lua_Number number = lua_tonumber(L, -1);
                if (number == (lua_Number)(int64_t)number)
                    *f = SH_LOG_I64(key, (int64_t)number);
                else
                    *f = SH_LOG_C(key, (lua_pushvalue(L, -1), lua_tostring(L, -1))), lua_insert(L, 3); /* the text stays on the stack */
                break;
            }
            case LUA_TBOOLEAN: *f = SH_LOG_RAW(key, lua_toboolean(L, -1) ? SH_STR("true") : SH_STR("false")); break;
            default: *f = SH_LOG_C(key, luaL_typename(L, -1));
            }
        }
    }
    sh_log_write(log, level, message, fields, n);
    return 0;
}

static int log_debug(lua_State *L) { return write_line(L, SH_LOG_DEBUG); }
static int log_info(lua_State *L) { return write_line(L, SH_LOG_INFO); }
static int log_warn(lua_State *L) { return write_line(L, SH_LOG_WARN); }
static int log_error(lua_State *L) { return write_line(L, SH_LOG_ERROR); }

int sh_lua_log_open(lua_State *L, void *data) {
    static const luaL_Reg functions[] = {{"debug", log_debug}, {"info", log_info}, {"warn", log_warn}, {"error", log_error}, {NULL, NULL}};
    (void)data;
    lua_newtable(L);
    luaL_setfuncs(L, functions, 0);
    return 1;
}
