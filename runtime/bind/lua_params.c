/* Parameters as text: what a Lua value is for Postgres. Everything is made in an arena, so that what raises leaves nothing behind. */
#include "bind/lua_params.h"

#include "bind/lua_decimal.h"
#include "bind/lua_json.h"
#include "host/vm.h"

#include <lauxlib.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { PARAMS_MAX = 64, ERROR_TEXT_MAX = 192, LIST_ITEM_BYTES = 16 };

static bool has_tag(lua_State *L, int index, const char *tag) {
    lua_pushstring(L, tag);
    lua_rawget(L, index);
    bool found = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return found;
}

/* What is sent lies in memory that Lua's cap does not count. */
static void charge(lua_State *L, size_t bytes) {
    sh_task_t *task = sh_task_current(L);
    sh_task_account_t *account = sh_task_account(task);
    account->sent_bytes += bytes;
    if (account->sent_bytes <= sh_vm_budget(sh_task_vm(task))->memory_bytes) return;
    lua_createtable(L, 0, 2);
    lua_pushliteral(L, "budget");
    lua_setfield(L, -2, "kind");
    lua_pushliteral(L, "the task sent more bytes to the database than budget.memory_mb allows");
    lua_setfield(L, -2, "message");
    lua_error(L);
}

static const char *to_param(lua_State *L, int index, sh_arena_t *arena, int number);

static const char *number_param(lua_State *L, int index, sh_arena_t *arena) {
    double n = lua_tonumber(L, index);
    if (n == floor(n) && fabs(n) < 9007199254740992.0) {
        char text[24]; /* formatted here: printf costs more than the rest of a parameter */
        sh_buf_t out = {.ptr = text, .cap = sizeof text};
        sh_buf_put_i64(&out, (int64_t)n);
        return sh_arena_str(arena, sh_buf_str(&out)).ptr;
    }
    return sh_arena_printf(arena, "%.17g", n);
}

static const char *text_param(lua_State *L, int index, sh_arena_t *arena, int number) {
    sh_str_t s;
    s.ptr = lua_tolstring(L, index, &s.len);
    if (memchr(s.ptr, 0, s.len)) luaL_error(L, "parameter $%d holds a NUL byte; pass bytes by db.bytes", number);
    charge(L, s.len);
    return sh_arena_str(arena, s).ptr;
}

/* A list becomes an SQL array; false and json.null in it are NULL. Texts first, in the arena: what raises leaves nothing behind. */
static const char *array_param(lua_State *L, int index, sh_arena_t *arena, int number) {
    sh_buf_t out = {0};
    int n = (int)lua_objlen(L, index);
    luaL_checkstack(L, 4, "parameters");
    const char **items = sh_arena_alloc(arena, (size_t)(n ? n : 1) * sizeof *items);
    for (int i = 0; i < n; i++) {
        lua_rawgeti(L, index, i + 1);
        int top = lua_gettop(L);
        bool is_frozen = lua_isuserdata(L, top) && sh_vm_melt(L, top);
        if (is_frozen || (lua_istable(L, top) && !has_tag(L, top, "__json"))) luaL_error(L, "parameter $%d: a list cannot hold a list", number);
        charge(L, LIST_ITEM_BYTES);
        bool is_null = lua_isboolean(L, top) && !lua_toboolean(L, top);
        items[i] = is_null ? NULL : to_param(L, top, arena, number);
        lua_settop(L, top - 1);
    }
    sh_buf_put_byte(&out, '{');
    for (int i = 0; i < n; i++) {
        if (items[i]) sh_pg_array_put(&out, sh_str_of(items[i]));
        else sh_buf_put_c(&out, i ? ",NULL" : "NULL");
    }
    sh_buf_put_byte(&out, '}');
    const char *text = sh_arena_str(arena, sh_buf_str(&out)).ptr;
    sh_buf_dispose(&out);
    return text;
}

static const char *tagged_param(lua_State *L, int index, sh_arena_t *arena, int number) {
    char error[ERROR_TEXT_MAX];
    sh_buf_t *out = sh_lua_json_scratch(L);
    lua_pushliteral(L, "value");
    lua_rawget(L, index); /* no metamethods: they would run inside of C */
    int rc = sh_lua_json_write(L, -1, out, error, sizeof error);
    lua_pop(L, 1);
    if (rc) luaL_error(L, "parameter $%d: %s", number, error);
    charge(L, out->len);
    return sh_arena_str(arena, sh_buf_str(out)).ptr;
}

static const char *bytes_param(lua_State *L, int index, sh_arena_t *arena, int number) {
    size_t n;
    static const char hex[] = "0123456789abcdef";
    lua_pushliteral(L, "value");
    lua_rawget(L, index); /* no metamethods: they would run inside of C */
    if (lua_type(L, -1) != LUA_TSTRING) luaL_error(L, "parameter $%d: db.bytes takes a text", number);
    const unsigned char *bytes = (const unsigned char *)lua_tolstring(L, -1, &n);
    charge(L, 2 * n);
    char *text = sh_arena_alloc(arena, 2 * n + 3);
    text[0] = '\\';
    text[1] = 'x';
    for (size_t i = 0; i < n; i++) text[2 + 2 * i] = hex[bytes[i] >> 4], text[3 + 2 * i] = hex[bytes[i] & 15];
    text[2 + 2 * n] = 0;
    lua_pop(L, 1);
    return text;
}

/* NULL is SQL NULL. Raises for what cannot be a parameter. */
static const char *to_param(lua_State *L, int index, sh_arena_t *arena, int number) {
    sh_decimal_t d;
    switch (lua_type(L, index)) {
    case LUA_TNONE: case LUA_TNIL: return NULL;
    case LUA_TBOOLEAN: return lua_toboolean(L, index) ? "t" : "f";
    case LUA_TNUMBER: return number_param(L, index, arena);
    case LUA_TSTRING: return text_param(L, index, arena, number);
    case LUA_TTABLE:
        if (has_tag(L, index, "__json")) return tagged_param(L, index, arena, number);
        if (has_tag(L, index, "__bytes")) return bytes_param(L, index, arena, number);
        return array_param(L, index, arena, number);
    case LUA_TLIGHTUSERDATA:
        if (sh_lua_json_is_null(L, index)) return NULL;
        break;
    case LUA_TUSERDATA:
        if (sh_lua_decimal_test(L, index, &d)) {
            char text[SH_DECIMAL_TEXT_MAX];
            size_t n = sh_decimal_format(d, text);
            return sh_arena_str(arena, sh_str(text, n)).ptr;
        }
        if (sh_vm_melt(L, index)) {
            const char *text = to_param(L, lua_gettop(L), arena, number);
            lua_pop(L, 1);
            return text;
        }
        break;
    default: break;
    }
    luaL_error(L, "parameter $%d: a %s cannot be passed to the database", number, luaL_typename(L, index));
    return NULL;
}

/* Blanks and comments at the beginning of a statement. */
static const char *skip_blanks(const char *p) {
    for (;;) {
        while (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r' || *p == '(') p++;
        if (p[0] == '-' && p[1] == '-') p += strcspn(p, "\n");
        else if (p[0] == '/' && p[1] == '*') p = strstr(p, "*/") ? strstr(p, "*/") + 2 : p + strlen(p);
        else return p;
    }
}

/* Connections are shared: BEGIN, SET, LISTEN, COPY and their kin would change what the next request finds. */
static void check_kind(lua_State *L, const char *sql) {
    static const char *const words[] = {"SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "VALUES", "MERGE", "TABLE", "LOCK", "EXPLAIN"};
    const char *p = skip_blanks(sql);
    size_t len = strspn(p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
    for (size_t i = 0; i < SH_ARRAY_LEN(words); i++)
        if (strlen(words[i]) == len && strncasecmp(p, words[i], len) == 0) return;
    lua_pushlstring(L, p, len < 20 ? len : 20);
    luaL_error(L, "a statement of a rule cannot begin with \"%s\": it reads or writes tables; transactions are made by db.tx", lua_tostring(L, -1));
}

void sh_lua_params_statement(lua_State *L, int first, int last, sh_arena_t *arena, bool is_kept, sh_pg_statement_t *out) {
    sh_str_t sql;
    if (lua_type(L, first) != LUA_TSTRING) luaL_error(L, "a statement's SQL must be a text");
    sql.ptr = lua_tolstring(L, first, &sql.len);
    check_kind(L, sql.ptr);
    int count = last - first;
    if (count > PARAMS_MAX) luaL_error(L, "a statement takes at most %d parameters", PARAMS_MAX);
    const char **params = sh_arena_alloc(arena, (size_t)(count ? count : 1) * sizeof *params);
    for (int i = 0; i < count; i++) params[i] = to_param(L, first + 1 + i, arena, i + 1);
    *out = (sh_pg_statement_t){is_kept ? sh_arena_str(arena, sql) : sql, (uint32_t)count, params};
}

/* Highest $n in the text: a list { sql, a, nil } does not tell its own length. */
static int placeholders(const char *sql) {
    int highest = 0;
    for (const char *p = sql; (p = strchr(p, '$'));) {
        int n = atoi(++p);
        if (n > highest && n <= PARAMS_MAX) highest = n;
    }
    return highest;
}

void sh_lua_params_listed(lua_State *L, int index, sh_arena_t *arena, bool is_kept, sh_pg_statement_t *out) {
    int before = lua_gettop(L);
    bool melted = sh_vm_melt(L, index);
    if (melted) index = lua_gettop(L);
    luaL_checktype(L, index, LUA_TTABLE);
    luaL_checkstack(L, PARAMS_MAX + 8, "parameters");
    lua_rawgeti(L, index, 1);
    int first = lua_gettop(L);
    int count = lua_type(L, first) == LUA_TSTRING ? placeholders(lua_tostring(L, first)) : 0;
    for (int i = 0; i < count; i++) lua_rawgeti(L, index, i + 2);
    sh_lua_params_statement(L, first, first + count, arena, is_kept, out);
    lua_settop(L, before);
}
