/* Parameters as text: what a Lua value is for Postgres.
 *
 * The texts of a statement's parameters are written one behind the other into the state's scratch buffer and copied once, when all of them are
 * there: what raises on the way leaves nothing behind. db.json(), db.bytes() and db.columns() are tables marked by their metatable. */
#include "bind/lua_params.h"

#include "bind/lua_decimal.h"
#include "bind/lua_json.h"
#include "codec/crypto.h"
#include "host/vm.h"

#include <lauxlib.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PARAMS_MAX = 64, ERROR_TEXT_MAX = 192, LIST_ITEM_BYTES = 16 };

#define ABSENT SIZE_MAX /* where the text of SQL NULL begins */

static const char marks_key; /* registry: marks_t */

/* The metatables' addresses: what a table is meant as is one look at its own. */
typedef struct marks {
    const void *json, *bytes, *columns;
} marks_t;

/* A statement's parameters while they are gathered. */
typedef struct params {
    lua_State *L;
    sh_buf_t *out; /* the texts, each with a NUL behind it */
    sh_arena_t *arena;
    const marks_t *marks;
    sh_task_account_t *account;
    uint64_t sent_bytes_max;
    int count;
    size_t at[PARAMS_MAX]; /* where each begins in `out` */
} params_t;

static void init(params_t *p, lua_State *L, sh_arena_t *arena) {
    sh_task_t *task = sh_task_current(L);
    lua_pushlightuserdata(L, (void *)&marks_key);
    lua_rawget(L, LUA_REGISTRYINDEX);
    p->marks = lua_touserdata(L, -1);
    lua_pop(L, 1);
    p->L = L;
    p->out = sh_lua_json_scratch(L);
    p->arena = arena;
    p->account = sh_task_account(task);
    p->sent_bytes_max = sh_vm_budget(sh_task_vm(task))->memory_bytes;
    p->count = 0;
}

/* What is sent lies in memory that Lua's cap does not count. */
static void charge(params_t *p, size_t bytes) {
    lua_State *L = p->L;
    p->account->sent_bytes += bytes;
    if (SH_LIKELY(p->account->sent_bytes <= p->sent_bytes_max)) return;
    lua_createtable(L, 0, 2);
    lua_pushliteral(L, "budget");
    lua_setfield(L, -2, "kind");
    lua_pushliteral(L, "the task sent more bytes to the database than budget.memory_mb allows");
    lua_setfield(L, -2, "message");
    lua_error(L);
}

/* The mark of the table at `index`, or NULL. */
static const void *mark_of(lua_State *L, int index) {
    if (!lua_getmetatable(L, index)) return NULL;
    const void *mark = lua_topointer(L, -1);
    lua_pop(L, 1);
    return mark;
}

/* ---- single values */

static void put_number(params_t *p, int index) {
    double n = lua_tonumber(p->L, index);
    if (n == floor(n) && fabs(n) < 9007199254740992.0)
        sh_buf_put_i64(p->out, (int64_t)n);
    else
        sh_buf_printf(p->out, "%.17g", n);
}

static sh_str_t text_at(params_t *p, int index) {
    sh_str_t s;
    s.ptr = lua_tolstring(p->L, index, &s.len);
    charge(p, s.len);
    return s;
}

static void check_text(params_t *p, sh_str_t s) {
    if (memchr(s.ptr, 0, s.len)) luaL_error(p->L, "parameter $%d holds a NUL byte; pass bytes by db.bytes", p->count + 1);
}

static void put_decimal(params_t *p, sh_decimal_t d) { p->out->len += sh_decimal_format(d, sh_buf_reserve(p->out, SH_DECIMAL_TEXT_MAX)); }

/* No metamethods, here and below: they would run inside of C. */
static void put_json(params_t *p, int index) {
    char error[ERROR_TEXT_MAX];
    size_t before = p->out->len;
    lua_rawgeti(p->L, index, 1);
    if (sh_lua_json_write(p->L, -1, p->out, error, sizeof error)) luaL_error(p->L, "parameter $%d: %s", p->count + 1, error);
    lua_pop(p->L, 1);
    charge(p, p->out->len - before);
}

static void put_bytes(params_t *p, int index) {
    size_t n;
    lua_rawgeti(p->L, index, 1);
    if (lua_type(p->L, -1) != LUA_TSTRING) luaL_error(p->L, "parameter $%d: db.bytes takes a text", p->count + 1);
    const char *bytes = lua_tolstring(p->L, -1, &n);
    charge(p, 2 * n);
    char *to = sh_buf_reserve(p->out, 2 * n + 2);
    to[0] = '\\';
    to[1] = 'x';
    sh_hex_encode(bytes, n, to + 2);
    p->out->len += 2 * n + 2;
    lua_pop(p->L, 1);
}

/* ---- arrays */

static void put_comma(params_t *p, bool is_first) {
    if (!is_first) sh_buf_put_byte(p->out, ',');
}

static void put_text_item(params_t *p, sh_str_t s) {
    if (sh_buf_put_json_plain(p->out, s)) return; /* the same for a text with nothing to escape */
    check_text(p, s);
    sh_pg_array_put_escaped(p->out, s);
}

/* JSON is written where the item goes, and put into quotes from a copy. */
static void put_json_item(params_t *p, int index) {
    size_t before = p->out->len;
    put_json(p, index);
    sh_str_t json = sh_arena_str(p->arena, sh_str(p->out->ptr + before, p->out->len - before));
    p->out->len = before;
    sh_pg_array_put_escaped(p->out, json);
}

/* An item that is no text of its own: a table or an object of the host. */
static void put_object_item(params_t *p, int index) {
    sh_decimal_t d;
    lua_State *L = p->L;
    bool is_table = lua_istable(L, index);
    if (sh_lua_decimal_test(L, index, &d))
        put_decimal(p, d);
    else if (is_table && mark_of(L, index) == p->marks->json)
        put_json_item(p, index);
    else if (is_table || sh_vm_melt(L, index))
        luaL_error(L, "parameter $%d: a list cannot hold a list", p->count + 1);
    else
        luaL_error(L, "parameter $%d: a %s cannot be passed to the database", p->count + 1, luaL_typename(L, index));
}

/* The value at `index`, the top of the stack. Numbers and decimals need no quotes; nil and json.null are NULL, and false is `no`. */
static void put_item(params_t *p, int index, bool is_first, sh_str_t no) {
    lua_State *L = p->L;
    put_comma(p, is_first);
    switch (lua_type(L, index)) {
    case LUA_TSTRING: put_text_item(p, text_at(p, index)); return;
    case LUA_TNUMBER: put_number(p, index); return;
    case LUA_TNIL: sh_buf_put_lit(p->out, "NULL"); return;
    case LUA_TBOOLEAN: sh_buf_put_str(p->out, lua_toboolean(L, index) ? SH_STR("t") : no); return;
    case LUA_TLIGHTUSERDATA:
        if (!sh_lua_json_is_null(L, index)) break;
        sh_buf_put_lit(p->out, "NULL");
        return;
    default: break;
    }
    put_object_item(p, index);
}

/* A list becomes an SQL array; since a list cannot hold nil, false in it is NULL. */
static void put_list(params_t *p, int index) {
    lua_State *L = p->L;
    int n = (int)lua_objlen(L, index), top = lua_gettop(L);
    luaL_checkstack(L, 8, "parameters");
    charge(p, (size_t)n * LIST_ITEM_BYTES);
    sh_buf_put_byte(p->out, '{');
    for (int i = 1; i <= n; i++) {
        lua_rawgeti(L, index, i);
        put_item(p, top + 1, i == 1, SH_STR("NULL"));
        lua_settop(L, top);
    }
    sh_buf_put_byte(p->out, '}');
}

/* Pushes a table's value at `place`, or the table behind it when it is frozen. */
static void push_table(lua_State *L, int index, int place) {
    lua_rawgeti(L, index, place);
    if (sh_vm_melt(L, -1)) lua_remove(L, -2);
}

static void begin(params_t *p) {
    if (p->count == PARAMS_MAX) luaL_error(p->L, "a statement takes at most %d parameters", PARAMS_MAX);
    p->at[p->count] = p->out->len;
}

static void end(params_t *p) {
    sh_buf_put_byte(p->out, 0);
    p->count++;
}

/* db.columns: an array of each named member of the tables in a list, NULL where there is none. */
static void put_columns(params_t *p, int index) {
    lua_State *L = p->L;
    int top = lua_gettop(L), list = top + 1, names = top + 2, name = top + 3, item = top + 4;
    luaL_checkstack(L, 12, "parameters");
    push_table(L, index, 1);
    push_table(L, index, 2);
    if (!lua_istable(L, list) || !lua_istable(L, names))
        luaL_error(L, "parameter $%d: db.columns takes a list of tables and a list of names", p->count + 1);
    int n = (int)lua_objlen(L, list), count = (int)lua_objlen(L, names);
    for (int column = 1; column <= count; column++) {
        begin(p);
        charge(p, (size_t)n * LIST_ITEM_BYTES);
        sh_buf_put_byte(p->out, '{');
        lua_rawgeti(L, names, column);
        for (int i = 1; i <= n; i++) {
            lua_rawgeti(L, list, i);
            if (!lua_istable(L, item)) luaL_error(L, "parameter $%d: db.columns takes a list of tables", p->count + 1);
            lua_pushvalue(L, name);
            lua_rawget(L, item);
            put_item(p, item + 1, i == 1, SH_STR("f"));
            lua_settop(L, name);
        }
        lua_settop(L, names);
        sh_buf_put_byte(p->out, '}');
        end(p);
    }
    lua_settop(L, top);
}

/* ---- parameters */

static void put_table(params_t *p, int index) {
    const void *mark = mark_of(p->L, index);
    if (mark && mark == p->marks->json)
        put_json(p, index);
    else if (mark && mark == p->marks->bytes)
        put_bytes(p, index);
    else
        put_list(p, index);
}

/* False: it is SQL NULL. Raises for what cannot be a parameter. */
static bool put_value(params_t *p, int index) {
    sh_decimal_t d;
    sh_str_t s;
    lua_State *L = p->L;
    switch (lua_type(L, index)) {
    case LUA_TNONE:
    case LUA_TNIL: return false;
    case LUA_TBOOLEAN: sh_buf_put_byte(p->out, lua_toboolean(L, index) ? 't' : 'f'); return true;
    case LUA_TNUMBER: put_number(p, index); return true;
    case LUA_TSTRING:
        s = text_at(p, index);
        check_text(p, s);
        sh_buf_put_str(p->out, s);
        return true;
    case LUA_TTABLE: put_table(p, index); return true;
    case LUA_TLIGHTUSERDATA:
        if (sh_lua_json_is_null(L, index)) return false;
        break;
    case LUA_TUSERDATA:
        if (sh_lua_decimal_test(L, index, &d)) {
            put_decimal(p, d);
            return true;
        }
        if (sh_vm_melt(L, index)) {
            bool is_there = put_value(p, lua_gettop(L));
            lua_pop(L, 1);
            return is_there;
        }
        break;
    default: break;
    }
    luaL_error(L, "parameter $%d: a %s cannot be passed to the database", p->count + 1, luaL_typename(L, index));
    return false;
}

static void put_param(params_t *p, int index) {
    if (lua_istable(p->L, index) && mark_of(p->L, index) == p->marks->columns) {
        put_columns(p, index);
        return;
    }
    begin(p);
    if (!put_value(p, index)) p->at[p->count] = ABSENT;
    end(p);
}

/* The texts into the arena, in one piece. */
static const char *const *keep(params_t *p) {
    size_t pointers = (size_t)p->count * sizeof(char *);
    const char **params = sh_arena_alloc(p->arena, pointers + p->out->len);
    char *texts = (char *)params + pointers;
    if (p->out->len) memcpy(texts, p->out->ptr, p->out->len);
    for (int i = 0; i < p->count; i++) params[i] = p->at[i] == ABSENT ? NULL : texts + p->at[i];
    return params;
}

/* Blanks and comments at the beginning of a statement. */
static const char *skip_blanks(const char *p) {
    for (;;) {
        while (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r' || *p == '(') p++;
        if (p[0] == '-' && p[1] == '-')
            p += strcspn(p, "\n");
        else if (p[0] == '/' && p[1] == '*')
            p = strstr(p, "*/") ? strstr(p, "*/") + 2 : p + strlen(p);
        else
            return p;
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
    params_t p;
    init(&p, L, arena);
    for (int i = first + 1; i <= last; i++) put_param(&p, i);
    const char *const *params = keep(&p);
    *out = (sh_pg_statement_t){is_kept ? sh_arena_str(arena, sql) : sql, (uint32_t)p.count, params};
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

/* Pushes a metatable that nobody may reach, and returns its address. */
static const void *push_mark(lua_State *L) {
    lua_createtable(L, 0, 1);
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    return lua_topointer(L, -1);
}

int sh_lua_params_marks(lua_State *L) {
    int top = lua_gettop(L);
    marks_t *marks = lua_newuserdata(L, sizeof *marks);
    marks->json = push_mark(L);
    marks->bytes = push_mark(L);
    marks->columns = push_mark(L);
    lua_createtable(L, 3, 0); /* an address that is compared must not become another table's: they live as long as the userdata */
    for (int i = 1; i <= 3; i++) {
        lua_pushvalue(L, top + 1 + i);
        lua_rawseti(L, -2, i);
    }
    lua_setfenv(L, top + 1);
    lua_pushlightuserdata(L, (void *)&marks_key);
    lua_pushvalue(L, top + 1);
    lua_rawset(L, LUA_REGISTRYINDEX);
    return 3;
}
