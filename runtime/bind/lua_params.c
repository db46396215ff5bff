/* Parameters as text: what a Lua value is for Postgres. Everything is made in an arena, so that what raises leaves nothing behind. */
#include "bind/lua_params.h"

#include "bind/lua_decimal.h"
#include "bind/lua_json.h"
#include "host/vm.h"

#include <lauxlib.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

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

/* The texts of an SQL array; NULL among them is one. */
static const char *array_text(lua_State *L, const char *const *items, int n, sh_arena_t *arena) {
    sh_buf_t *out = sh_lua_json_scratch(L);
    sh_buf_put_byte(out, '{');
    for (int i = 0; i < n; i++) {
        if (items[i]) sh_pg_array_put(out, sh_str_of(items[i]));
        else sh_buf_put_c(out, i ? ",NULL" : "NULL");
    }
    sh_buf_put_byte(out, '}');
    return sh_arena_str(arena, sh_buf_str(out)).ptr;
}

/* The text of a list's item at `index`, the top of the stack. */
static const char *item_param(lua_State *L, int index, sh_arena_t *arena, int number) {
    int type = lua_type(L, index);
    bool is_list = type == LUA_TTABLE ? !has_tag(L, index, "__json") : type == LUA_TUSERDATA && sh_vm_melt(L, index);
    if (is_list) luaL_error(L, "parameter $%d: a list cannot hold a list", number);
    return to_param(L, index, arena, number);
}

/* A list becomes an SQL array; false and json.null in it are NULL. Texts first, in the arena: what raises leaves nothing behind. */
static const char *array_param(lua_State *L, int index, sh_arena_t *arena, int number) {
    int n = (int)lua_objlen(L, index), top = lua_gettop(L);
    luaL_checkstack(L, 4, "parameters");
    charge(L, (size_t)n * LIST_ITEM_BYTES);
    const char **items = sh_arena_alloc(arena, (size_t)(n ? n : 1) * sizeof *items);
    for (int i = 0; i < n; i++) {
        lua_rawgeti(L, index, i + 1);
        bool is_null = lua_isboolean(L, top + 1) && !lua_toboolean(L, top + 1);
        items[i] = is_null ? NULL : item_param(L, top + 1, arena, number);
        lua_settop(L, top);
    }
    return array_text(L, items, n, arena);
}

/* Pushes a field of the table at `index`, or the table behind it when it is frozen; no metamethods: they would run inside of C. */
static void push_table(lua_State *L, int index, const char *field) {
    lua_pushstring(L, field);
    lua_rawget(L, index);
    if (sh_vm_melt(L, -1)) lua_remove(L, -2);
}

/* db.columns: an array of each named member of the tables in a list, NULL where there is none. Returns how many parameters that is. */
static int column_params(lua_State *L, int index, sh_arena_t *arena, int number, const char **params, int room) {
    int top = lua_gettop(L), list = top + 1, names = top + 2;
    luaL_checkstack(L, 8, "parameters");
    push_table(L, index, "list");
    push_table(L, index, "names");
    if (!lua_istable(L, list) || !lua_istable(L, names)) luaL_error(L, "parameter $%d: db.columns takes a list of tables and a list of names", number);
    int n = (int)lua_objlen(L, list), count = (int)lua_objlen(L, names);
    if (count > room) luaL_error(L, "a statement takes at most %d parameters", PARAMS_MAX);
    const char **items = sh_arena_alloc(arena, (size_t)(n ? n : 1) * sizeof *items);
    for (int column = 0; column < count; column++) {
        charge(L, (size_t)n * LIST_ITEM_BYTES);
        for (int i = 0; i < n; i++) {
            lua_rawgeti(L, list, i + 1);
            if (!lua_istable(L, names + 1)) luaL_error(L, "parameter $%d: db.columns takes a list of tables", number);
            lua_rawgeti(L, names, column + 1);
            lua_rawget(L, names + 1);
            items[i] = item_param(L, names + 2, arena, number + column);
            lua_settop(L, names);
        }
        params[column] = array_text(L, items, n, arena);
    }
    lua_settop(L, top);
    return count;
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
    static const sh_str_t words[] = {SH_STR("SELECT"), SH_STR("INSERT"), SH_STR("UPDATE"), SH_STR("DELETE"), SH_STR("WITH"),
                                     SH_STR("VALUES"), SH_STR("MERGE"),  SH_STR("TABLE"),  SH_STR("LOCK"),   SH_STR("EXPLAIN")};
    const char *p = skip_blanks(sql);
    size_t len = 0;
    while ((p[len] >= 'a' && p[len] <= 'z') || (p[len] >= 'A' && p[len] <= 'Z')) len++;
    for (size_t i = 0; i < SH_ARRAY_LEN(words); i++)
        if (sh_str_eq_nocase(sh_str(p, len), words[i])) return;
    lua_pushlstring(L, p, len < 20 ? len : 20);
    luaL_error(L, "a statement of a rule cannot begin with \"%s\": it reads or writes tables; transactions are made by db.tx", lua_tostring(L, -1));
}

void sh_lua_params_statement(lua_State *L, int first, int last, sh_arena_t *arena, bool is_kept, sh_pg_statement_t *out) {
    sh_str_t sql;
    if (lua_type(L, first) != LUA_TSTRING) luaL_error(L, "a statement's SQL must be a text");
    sql.ptr = lua_tolstring(L, first, &sql.len);
    check_kind(L, sql.ptr);
    const char *texts[PARAMS_MAX];
    int count = 0;
    for (int i = first + 1; i <= last; i++) {
        bool is_columns = lua_istable(L, i) && has_tag(L, i, "__columns");
        if (count == PARAMS_MAX) luaL_error(L, "a statement takes at most %d parameters", PARAMS_MAX);
        if (is_columns) {
            count += column_params(L, i, arena, count + 1, texts + count, PARAMS_MAX - count);
        } else {
            texts[count] = to_param(L, i, arena, count + 1);
            count++;
        }
    }
    const char **params = sh_arena_alloc(arena, (size_t)(count ? count : 1) * sizeof *params);
    if (count) memcpy(params, texts, (size_t)count * sizeof *params);
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
