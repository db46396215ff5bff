/* Lua values as JSON and back. Writing never calls a metamethod: what a rule hangs on a table cannot run here. */
#include "bind/lua_json.h"

#include "base/err.h"
#include "bind/lua_decimal.h"
#include "bind/lua_rows.h"
#include "host/vm.h"

#include <lauxlib.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    DEPTH_MAX = 32,
    PLACES_MAX = 2 * DEPTH_MAX + 4,
    DECODE_BYTES_MAX = 1 << 20,
    WRITE_BYTES_MAX = 16 << 20,
    SCRATCH_KEPT_BYTES = 64 << 10,
    ROOM_MAX = 1024
};

static const char state_key, array_key, shaped_key, limited_key; /* registry: the state_t, and the metatables of what the module marks */
static const double EXACT_MAX = 9007199254740992.0;              /* 2^53 */
#define NULL_POINTER ((void *)&array_key)                        /* the same in every state of the process */

/* What is kept per Lua state. The metatables' addresses tell marked tables from others without a look-up per table. */
typedef struct state {
    const void *array, *shaped, *limited;
    sh_buf_t scratch;
} state_t;

static int state_collect(lua_State *L) {
    sh_buf_dispose(&((state_t *)lua_touserdata(L, 1))->scratch);
    return 0;
}

/* Shared by all tables that it marks: nobody may reach it. */
static const void *make_mark(lua_State *L, const char *key) {
    lua_pushlightuserdata(L, (void *)key);
    lua_createtable(L, 0, 1);
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    const void *address = lua_topointer(L, -1);
    lua_rawset(L, LUA_REGISTRYINDEX);
    return address;
}

/* The metatable lies in the registry under `key`; marks the table on top. */
static void mark(lua_State *L, const char *key) {
    lua_pushlightuserdata(L, (void *)key);
    lua_rawget(L, LUA_REGISTRYINDEX);
    lua_setmetatable(L, -2);
}

static state_t *state_of(lua_State *L) {
    lua_pushlightuserdata(L, (void *)&state_key);
    lua_rawget(L, LUA_REGISTRYINDEX);
    state_t *state = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (SH_LIKELY(state != NULL)) return state;
    luaL_checkstack(L, 6, "json");
    lua_pushlightuserdata(L, (void *)&state_key);
    state = lua_newuserdata(L, sizeof *state); /* the buffer is its own: when Lua has no memory for a text, nothing is lost */
    memset(state, 0, sizeof *state);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, state_collect);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    state->array = make_mark(L, &array_key);
    state->shaped = make_mark(L, &shaped_key);
    state->limited = make_mark(L, &limited_key);
    lua_rawset(L, LUA_REGISTRYINDEX);
    return state;
}

/* Where the writer is: a member's key (alive on the Lua stack) or an item's number. Put into words only when something is refused. */
typedef struct place {
    const char *key;
    int index;
} place_t;

typedef struct writer {
    sh_buf_t *out;
    char *error;
    size_t error_size;
    place_t places[PLACES_MAX];
    size_t place_count;
    size_t limit; /* of out->len: a few tables that hold each other again and again are a bomb */
    const state_t *state;
} writer_t;

static int refuse(writer_t *w, const char *what) {
    sh_buf_t text = {0};
    for (size_t i = 0; i < w->place_count; i++) {
        const place_t *at = &w->places[i];
        if (at->key)
            sh_buf_printf(&text, i ? ".%s" : "%s", at->key);
        else
            sh_buf_printf(&text, "[%d]", at->index);
    }
    if (text.len) sh_buf_put_lit(&text, ": ");
    sh_buf_put_c(&text, what);
    snprintf(w->error, w->error_size, "%s", sh_buf_c(&text));
    sh_buf_dispose(&text);
    return SH_EINVAL;
}

static void enter(writer_t *w, const char *key, int index) {
    SH_ASSERT(w->place_count < PLACES_MAX); /* write_table bounds the depth */
    w->places[w->place_count++] = (place_t){key, index};
}

static int write_value(lua_State *L, int index, writer_t *w, int depth);
static int write_shape(lua_State *L, int index, int shape, writer_t *w, int depth);
static int write_shapes(lua_State *L, int index, int shape, writer_t *w, int depth);

static int write_number(lua_State *L, int index, writer_t *w) {
    double n = lua_tonumber(L, index);
    if (n > -EXACT_MAX && n < EXACT_MAX && n == (double)(int64_t)n) {
        sh_buf_put_i64(w->out, (int64_t)n);
        return SH_OK;
    }
    if (!isfinite(n)) return refuse(w, "NaN and infinities cannot be written as JSON");
    if (n == floor(n)) return refuse(w, "an integer beyond 2^53 is not exact; pass it as text");
    sh_buf_printf(w->out, "%.15g", n);
    return SH_OK;
}

static void write_key(writer_t *w, sh_str_t key) {
    if (!sh_buf_put_json_plain(w->out, key)) sh_buf_put_json(w->out, key);
    sh_buf_put_byte(w->out, ':');
}

/* A list whose items are tables in `shape`, or anything when shape is 0. */
static int write_array(lua_State *L, int index, int shape, writer_t *w, int depth) {
    int n = (int)lua_objlen(L, index), item = lua_gettop(L) + 1, rc = SH_OK;
    sh_buf_put_byte(w->out, '[');
    for (int i = 1; i <= n && !rc; i++) {
        enter(w, NULL, i);
        if (i > 1) sh_buf_put_byte(w->out, ',');
        lua_rawgeti(L, index, i);
        rc = shape ? write_shape(L, item, shape, w, depth + 1) : write_value(L, item, w, depth + 1);
        lua_settop(L, item - 1);
        w->place_count--;
    }
    sh_buf_put_byte(w->out, ']');
    return rc;
}

/* The first key and its value are on the stack. */
static int write_object(lua_State *L, int index, writer_t *w, int depth) {
    int value = lua_gettop(L), key = value - 1, rc = SH_OK;
    sh_buf_put_byte(w->out, '{');
    do {
        sh_str_t name = SH_STR_NULL;
        if (lua_type(L, key) == LUA_TSTRING)
            name.ptr = lua_tolstring(L, key, &name.len);
        else
            rc = refuse(w, "a table with texts and numbers as keys is neither object nor list");
        if (rc) break;
        write_key(w, name);
        enter(w, name.ptr, 0);
        rc = write_value(L, value, w, depth + 1);
        w->place_count--;
        if (rc) break;
        sh_buf_put_byte(w->out, ',');
        lua_settop(L, key);
    } while (lua_next(L, index));
    if (!rc)
        w->out->ptr[w->out->len - 1] = '}'; /* instead of the last comma */
    else
        lua_settop(L, key - 1);
    return rc;
}

/* The table at `index` with the members of `shape`: a list of names, and of { name, shape } for lists of tables. */
static int write_shape(lua_State *L, int index, int shape, writer_t *w, int depth) {
    int n = (int)lua_objlen(L, shape), top = lua_gettop(L), rc = SH_OK;
    if (depth > DEPTH_MAX) return refuse(w, "nested too deeply (or a shape that contains itself)");
    if (!lua_istable(L, index)) return refuse(w, "only a table can be written in a shape");
    luaL_checkstack(L, 8, "json");
    sh_buf_put_byte(w->out, '{');
    for (int i = 1; i <= n && !rc; i++) {
        int inner = 0, value = top + 1;
        sh_str_t name;
        if (i > 1) sh_buf_put_byte(w->out, ',');
        lua_rawgeti(L, shape, i);
        name.ptr = lua_tolstring(L, value, &name.len); /* of a number, too: it is a copy that becomes a text */
        if (!name.ptr && lua_istable(L, value)) {
            inner = top + 2;
            value = top + 3;
            lua_rawgeti(L, top + 1, 2);
            lua_rawgeti(L, top + 1, 1);
            name.ptr = lua_tolstring(L, value, &name.len);
        }
        if (!name.ptr || (inner && !lua_istable(L, inner))) return refuse(w, "a shape is a list of names, and of { name, shape }");
        write_key(w, name);
        lua_rawget(L, index);
        enter(w, name.ptr, 0);
        rc = inner && !lua_isnil(L, value) ? write_shapes(L, value, inner, w, depth + 1) : write_value(L, value, w, depth + 1);
        w->place_count--;
        lua_settop(L, top);
    }
    sh_buf_put_byte(w->out, '}');
    return rc;
}

static int write_shapes(lua_State *L, int index, int shape, writer_t *w, int depth) {
    return lua_istable(L, index) ? write_array(L, index, shape, w, depth) : refuse(w, "a list of tables was expected");
}

/* A table of json.shaped: { value, shape }. */
static int write_shaped(lua_State *L, int index, writer_t *w, int depth) {
    int value = lua_gettop(L) + 1;
    lua_rawgeti(L, index, 1);
    lua_rawgeti(L, index, 2);
    int rc = lua_istable(L, value + 1) ? write_shape(L, value, value + 1, w, depth) : refuse(w, "a shape is a list of names");
    lua_settop(L, value - 1);
    return rc;
}

/* A table of json.at_most: { value, bytes }. */
static int write_limited(lua_State *L, int index, writer_t *w, int depth) {
    int value = lua_gettop(L) + 1;
    size_t before = w->out->len;
    lua_rawgeti(L, index, 1);
    lua_rawgeti(L, index, 2);
    int rc = write_value(L, value, w, depth + 1);
    size_t bytes = w->out->len - before;
    if (!rc && (lua_Number)bytes > lua_tonumber(L, value + 1)) {
        w->out->len = before;
        sh_buf_put_lit(w->out, "{\"dropped_bytes\":");
        sh_buf_put_u64(w->out, bytes);
        sh_buf_put_byte(w->out, '}');
    }
    lua_settop(L, value - 1);
    return rc;
}

static int write_table(lua_State *L, int index, writer_t *w, int depth) {
    if (depth > DEPTH_MAX) return refuse(w, "nested too deeply (or a table that contains itself)");
    luaL_checkstack(L, 8, "json");
    if (lua_getmetatable(L, index)) {
        const void *mark = lua_topointer(L, -1);
        lua_pop(L, 1);
        if (mark == w->state->array) return write_array(L, index, 0, w, depth);
        if (mark == w->state->shaped) return write_shaped(L, index, w, depth);
        if (mark == w->state->limited) return write_limited(L, index, w, depth);
    }
    lua_pushnil(L);
    if (!lua_next(L, index)) {
        sh_buf_put_lit(w->out, "{}");
        return SH_OK;
    }
    if (lua_type(L, -2) != LUA_TNUMBER) return write_object(L, index, w, depth);
    lua_pop(L, 2);
    return write_array(L, index, 0, w, depth);
}

static int write_userdata(lua_State *L, int index, writer_t *w, int depth) {
    sh_decimal_t d;
    int rc;
    if (sh_lua_decimal_test(L, index, &d)) {
        char *to = sh_buf_reserve(w->out, SH_DECIMAL_TEXT_MAX + 2);
        size_t n = sh_decimal_format(d, to + 1);
        to[0] = to[n + 1] = '"';
        w->out->len += n + 2;
        return SH_OK;
    }
    const char *why = sh_lua_rows_write(L, index, w->out, w->error, w->error_size, depth, &rc);
    if (!why) return rc;
    if (sh_vm_melt(L, index)) {
        rc = write_table(L, lua_gettop(L), w, depth);
        lua_pop(L, 1);
        return rc;
    }
    return refuse(w, why);
}

static int write_value(lua_State *L, int index, writer_t *w, int depth) {
    sh_str_t s;
    if (w->out->len > w->limit) return refuse(w, "the JSON would be too large");
    switch (lua_type(L, index)) {
    case LUA_TNIL: sh_buf_put_lit(w->out, "null"); return SH_OK;
    case LUA_TBOOLEAN: sh_buf_put_str(w->out, lua_toboolean(L, index) ? SH_STR("true") : SH_STR("false")); return SH_OK;
    case LUA_TNUMBER: return write_number(L, index, w);
    case LUA_TSTRING:
        s.ptr = lua_tolstring(L, index, &s.len);
        if (sh_buf_put_json_plain(w->out, s)) return SH_OK;
        if (!sh_utf8_is_valid(s)) return refuse(w, "a text that is no UTF-8 cannot be written as JSON");
        sh_buf_put_json(w->out, s);
        return SH_OK;
    case LUA_TTABLE: return write_table(L, index, w, depth);
    case LUA_TLIGHTUSERDATA:
        if (sh_lua_json_is_null(L, index)) {
            sh_buf_put_lit(w->out, "null");
            return SH_OK;
        }
        return refuse(w, "a pointer cannot be written as JSON");
    case LUA_TUSERDATA: return write_userdata(L, index, w, depth);
    default: return refuse(w, lua_isfunction(L, index) ? "a function cannot be written as JSON" : "this value cannot be written as JSON");
    }
}

int sh_lua_json_write_at(lua_State *L, int index, sh_buf_t *out, int depth, char *error, size_t error_size) {
    luaL_checkstack(L, 8, "json");
    writer_t w = {.out = out, .error = error, .error_size = error_size, .limit = WRITE_BYTES_MAX, .state = state_of(L)};
    uint64_t most = sh_vm_budget(sh_vm_of(L))->response_bytes_max;
    if (most && most < w.limit) w.limit = (size_t)most;
    if (depth == 0) w.limit += out->len;
    if (index < 0 && index > LUA_REGISTRYINDEX) index = lua_gettop(L) + index + 1;
    return write_value(L, index, &w, depth);
}

int sh_lua_json_write(lua_State *L, int index, sh_buf_t *out, char *error, size_t error_size) {
    return sh_lua_json_write_at(L, index, out, 0, error, error_size);
}

/* ---- reading */

void sh_lua_json_push_null(lua_State *L) { lua_pushlightuserdata(L, NULL_POINTER); }
bool sh_lua_json_is_null(lua_State *L, int index) { return lua_touserdata(L, index) == NULL_POINTER; } /* no full userdata lies there */

void sh_lua_json_push(lua_State *L, const sh_json_value_t *v) {
    luaL_checkstack(L, 4, "json");
    switch (v->kind) {
    case SH_JSON_NULL: sh_lua_json_push_null(L); break;
    case SH_JSON_FALSE: lua_pushboolean(L, 0); break;
    case SH_JSON_TRUE: lua_pushboolean(L, 1); break;
    case SH_JSON_INTEGER:
        if (v->i64 < (int64_t)EXACT_MAX && v->i64 > -(int64_t)EXACT_MAX)
            lua_pushnumber(L, (lua_Number)v->i64);
        else
            lua_pushlstring(L, v->text.ptr, v->text.len);
        break;
    case SH_JSON_NUMBER: lua_pushnumber(L, v->f64); break;
    case SH_JSON_STRING: lua_pushlstring(L, v->text.ptr ? v->text.ptr : "", v->text.len); break;
    case SH_JSON_ARRAY:
        lua_createtable(L, (int)v->count, 0);
        for (uint32_t i = 0; i < v->count; i++) {
            sh_lua_json_push(L, &v->items[i]);
            lua_rawseti(L, -2, (int)i + 1);
        }
        state_of(L);
        mark(L, &array_key); /* an empty list stays a list when it is written again */
        break;
    case SH_JSON_OBJECT:
        lua_createtable(L, 0, (int)v->count);
        for (uint32_t i = 0; i < v->count; i++) {
            lua_pushlstring(L, v->members[i].key.ptr, v->members[i].key.len);
            sh_lua_json_push(L, &v->members[i].value);
            lua_rawset(L, -3);
        }
        break;
    }
}

int sh_lua_json_push_text(lua_State *L, sh_str_t text) {
    sh_arena_t arena;
    sh_json_value_t *value;
    sh_json_error_t error;
    sh_arena_init(&arena);
    int rc = sh_json_read(&arena, text, SH_JSON_LIMITS_DEFAULT, &value, &error);
    if (!rc) sh_lua_json_push(L, value);
    sh_arena_dispose(&arena);
    return rc;
}

/* ---- shama.json */

sh_buf_t *sh_lua_json_scratch(lua_State *L) {
    sh_buf_t *out = &state_of(L)->scratch;
    if (out->cap > SCRATCH_KEPT_BYTES) sh_buf_dispose(out);
    sh_buf_clear(out);
    return out;
}

static int json_encode(lua_State *L) {
    char error[192];
    luaL_checkany(L, 1);
    sh_buf_t *out = sh_lua_json_scratch(L);
    if (sh_lua_json_write(L, 1, out, error, sizeof error)) return luaL_error(L, "json.encode: %s", error);
    lua_pushlstring(L, out->ptr, out->len);
    return 1;
}

static int json_decode(lua_State *L) {
    sh_str_t text;
    sh_arena_t arena;
    sh_json_value_t *value;
    sh_json_error_t error;
    text.ptr = luaL_checklstring(L, 1, &text.len);
    luaL_argcheck(L, text.len <= DECODE_BYTES_MAX, 1, "the text is longer than 1 MiB");
    sh_arena_init(&arena);
    int rc = sh_json_read(&arena, text, SH_JSON_LIMITS_DEFAULT, &value, &error);
    if (rc) {
        lua_pushnil(L);
        lua_pushfstring(L, "byte %d: %s", (int)error.offset, error.reason);
    } else {
        sh_lua_json_push(L, value);
    }
    sh_arena_dispose(&arena);
    return rc ? 2 : 1;
}

/* array(table), array(), and array(n): an empty one with room for n, since a table that grows item by item is dear. */
static int json_array(lua_State *L) {
    if (lua_isnoneornil(L, 1) || lua_type(L, 1) == LUA_TNUMBER) {
        lua_Number room = lua_tonumber(L, 1);
        luaL_argcheck(L, room >= 0, 1, "a list, or how many items it will have");
        lua_settop(L, 0);
        lua_createtable(L, room < ROOM_MAX ? (int)room : ROOM_MAX, 0);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    mark(L, &array_key);
    return 1;
}

/* { the value at 1, the one at 2 }, marked. What a module holds comes frozen: the tables behind it are written. */
static int push_pair(lua_State *L, const char *key) {
    lua_settop(L, 2);
    for (int i = 1; i <= 2; i++)
        if (sh_vm_melt(L, i)) lua_replace(L, i);
    lua_createtable(L, 2, 0);
    lua_pushvalue(L, 1);
    lua_rawseti(L, 3, 1);
    lua_pushvalue(L, 2);
    lua_rawseti(L, 3, 2);
    mark(L, key);
    return 1;
}

static int json_shaped(lua_State *L) {
    push_pair(L, &shaped_key);
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checktype(L, 2, LUA_TTABLE);
    return 1;
}

static int json_at_most(lua_State *L) {
    luaL_checkany(L, 1);
    luaL_checknumber(L, 2);
    return push_pair(L, &limited_key);
}

int sh_lua_json_open(lua_State *L, void *data) {
    static const luaL_Reg functions[] = {{"encode", json_encode}, {"decode", json_decode},   {"array", json_array},
                                         {"shaped", json_shaped}, {"at_most", json_at_most}, {NULL, NULL}};
    (void)data;
    state_of(L);
    lua_newtable(L);
    luaL_setfuncs(L, functions, 0);
    sh_lua_json_push_null(L);
    lua_setfield(L, -2, "null");
    return 1;
}
