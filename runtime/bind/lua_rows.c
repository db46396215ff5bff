/* Two userdata over sh_pg_rows_t. Both hold a count of the rows and are resources of their task: when it ends the memory goes, whatever
 * Lua still refers to; using them afterwards raises. */
#include "bind/lua_rows.h"

#include "base/err.h"
#include "bind/lua_decimal.h"
#include "bind/lua_json.h"
#include "host/vm.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TABLE_COLUMNS_MAX = 64 };

typedef struct handle {
    const char *key; /* &rows_key or &row_key: which of the two it is */
    sh_task_resource_t resource;
    sh_task_t *task;
    sh_pg_rows_t *rows; /* NULL once the task ended */
    uint32_t row;
    bool has_extra; /* a row with members of its own, in its environment table */
} handle_t;

static const char rows_key, row_key; /* registry: the metatables */

static void push_metatable(lua_State *L, const char *key) {
    lua_pushlightuserdata(L, (void *)key);
    lua_rawget(L, LUA_REGISTRYINDEX);
}

static void dispose(sh_task_resource_t *resource) {
    handle_t *h = SH_CONTAINER_OF(resource, handle_t, resource);
    sh_pg_rows_release(h->rows);
    h->rows = NULL;
}

static int collect(lua_State *L) {
    handle_t *h = lua_touserdata(L, 1);
    if (h->rows) {
        sh_task_detach(&h->resource);
        dispose(&h->resource);
    }
    return 0;
}

static void push_handle(lua_State *L, sh_task_t *task, sh_pg_rows_t *rows, uint32_t row, const char *key) {
    handle_t *h = lua_newuserdata(L, sizeof *h);
    *h = (handle_t){.key = key, .row = row};
    sh_list_init(&h->resource.link);
    push_metatable(L, key);
    lua_setmetatable(L, -2);
    h->task = task;
    h->rows = sh_pg_rows_retain(rows);
    h->resource.dispose = dispose;
    sh_task_attach(task, &h->resource);
}

void sh_lua_rows_push(lua_State *L, sh_task_t *task, sh_pg_rows_t *rows) { push_handle(L, task, rows, 0, &rows_key); }

void sh_lua_rows_push_row(lua_State *L, sh_task_t *task, sh_pg_rows_t *rows, uint32_t row) {
    if (row < rows->row_count)
        push_handle(L, task, rows, row, &row_key);
    else
        lua_pushnil(L);
}

/* ---- values */

static void push_array(lua_State *L, const sh_pg_rows_t *rows, sh_str_t text, sh_pg_kind_t kind) {
    sh_pg_array_t array;
    sh_pg_item_t item;
    sh_buf_t scratch = {0};
    int n = 0;
    (void)rows;
    lua_newtable(L);
    for (sh_pg_array_open(&array, text); sh_pg_array_next(&array, &scratch, &item);) {
        int64_t integer;
        if (item.is_null)
            sh_lua_json_push_null(L);
        else if (kind == SH_PG_INT_ARRAY && sh_pg_exact_integer(item.text, &integer))
            lua_pushnumber(L, (lua_Number)integer);
        else
            lua_pushlstring(L, item.text.ptr, item.text.len);
        lua_rawseti(L, -2, ++n);
    }
    sh_buf_dispose(&scratch);
}

/* One that is not NULL. */
static void push_present(lua_State *L, const sh_pg_rows_t *rows, uint32_t row, uint32_t column) {
    int64_t integer;
    sh_decimal_t decimal;
    sh_str_t s = sh_pg_rows_text(rows, row, column);
    switch (rows->columns[column].kind) {
    case SH_PG_BOOL: lua_pushboolean(L, s.ptr[0] == 't'); return;
    case SH_PG_INT:
    case SH_PG_BIGINT:
        if (sh_pg_exact_integer(s, &integer)) {
            lua_pushnumber(L, (lua_Number)integer);
            return;
        }
        break;
    case SH_PG_FLOAT: lua_pushnumber(L, strtod(s.ptr, NULL)); return;
    case SH_PG_NUMERIC:
        if (sh_decimal_parse(s, &decimal) == SH_OK) {
            sh_lua_decimal_push(L, decimal);
            return;
        }
        break;
    case SH_PG_TIMESTAMPTZ: {
        char text[64];
        sh_buf_t out = {.ptr = text, .cap = sizeof text};
        if (s.len < sizeof text) {
            sh_pg_put_timestamptz(&out, s);
            lua_pushlstring(L, out.ptr, out.len);
            return;
        }
        break;
    }
    case SH_PG_JSON:
        if (sh_lua_json_push_text(L, s) == SH_OK) return;
        break;
    case SH_PG_TEXT_ARRAY:
    case SH_PG_INT_ARRAY:
    case SH_PG_UUID_ARRAY: push_array(L, rows, s, rows->columns[column].kind); return;
    default: break;
    }
    lua_pushlstring(L, s.ptr, s.len);
}

void sh_lua_rows_push_value(lua_State *L, const sh_pg_rows_t *rows, uint32_t row, uint32_t column) {
    if (sh_pg_rows_is_null(rows, row, column))
        lua_pushnil(L);
    else
        push_present(L, rows, row, column);
}

/* ---- metamethods */

/* &row_key, &rows_key or NULL. The key is an address of ours that no other userdata begins with; asking the metatable costs four calls more,
 * at every column. */
static const char *key_of(lua_State *L, int index) {
    const handle_t *h = lua_touserdata(L, index);
    if (!h || lua_objlen(L, index) != sizeof *h) return NULL; /* a light userdata has no length */
    return h->key == &row_key || h->key == &rows_key ? h->key : NULL;
}

static handle_t *check(lua_State *L, int index, const char *key, const char *what) {
    handle_t *h = lua_touserdata(L, index);
    if (key_of(L, index) != key) luaL_error(L, "a %s was expected", what);
    if (!h->rows) luaL_error(L, "a %s was used after its request ended", what);
    if (h->task != sh_task_owner(L)) luaL_error(L, "a %s was used by another request than its own", what);
    return h;
}

static int row_index(lua_State *L) {
    handle_t *h = check(L, 1, &row_key, "row");
    sh_str_t name;
    if (lua_type(L, 2) != LUA_TSTRING) return luaL_error(L, "a row has columns by name");
    name.ptr = lua_tolstring(L, 2, &name.len);
    if (h->has_extra) {
        lua_getfenv(L, 1);
        lua_pushvalue(L, 2);
        lua_rawget(L, -2);
        if (!lua_isnil(L, -1)) return 1;
    }
    int column = sh_pg_rows_column(h->rows, name);
    if (column < 0) {
        const char *names[64];
        uint32_t n = h->rows->column_count < 64 ? h->rows->column_count : 64;
        for (uint32_t i = 0; i < n; i++) names[i] = h->rows->columns[i].name;
        const char *near = sh_str_nearest(name.ptr, names, n);
        if (near) return luaL_error(L, "the row has no column \"%s\" (did you mean \"%s\"?)", name.ptr, near);
        return luaL_error(L, "the row has no column \"%s\"", name.ptr);
    }
    sh_lua_rows_push_value(L, h->rows, h->row, (uint32_t)column);
    return 1;
}

static int row_newindex(lua_State *L) {
    handle_t *h = check(L, 1, &row_key, "row");
    luaL_checktype(L, 2, LUA_TSTRING);
    if (!h->has_extra) {
        lua_newtable(L);
        lua_setfenv(L, 1);
        h->has_extra = true;
    }
    lua_getfenv(L, 1);
    lua_pushvalue(L, 2);
    if (lua_isnil(L, 3))
        sh_lua_json_push_null(L);
    else
        lua_pushvalue(L, 3);
    lua_rawset(L, -3);
    return 0;
}

static int rows_len(lua_State *L) {
    lua_pushinteger(L, (lua_Integer)check(L, 1, &rows_key, "row set")->rows->row_count);
    return 1;
}

static int push_row_of(lua_State *L, handle_t *h, lua_Number i) {
    if (i < 1 || i > h->rows->row_count)
        lua_pushnil(L);
    else
        sh_lua_rows_push_row(L, sh_task_current(L), h->rows, (uint32_t)i - 1);
    return 1;
}

static int each_next(lua_State *L) {
    handle_t *h = check(L, 1, &rows_key, "row set");
    lua_Integer i = lua_tointeger(L, 2) + 1;
    if (i > (lua_Integer)h->rows->row_count) return 0;
    lua_pushinteger(L, i);
    push_row_of(L, h, (lua_Number)i);
    return 2;
}

static int rows_each(lua_State *L) {
    check(L, 1, &rows_key, "row set");
    lua_pushcfunction(L, each_next);
    lua_pushvalue(L, 1);
    lua_pushinteger(L, 0);
    return 3;
}

/* Pushes names[i] and returns its column; raises for one that the rows do not have. `guess` is where it stands when names and columns have
 * one order. */
static uint32_t push_column(lua_State *L, const sh_pg_rows_t *rows, int names, int i, uint32_t guess) {
    sh_str_t name;
    lua_rawgeti(L, names, i);
    if (lua_type(L, -1) != LUA_TSTRING) luaL_error(L, "rows:tables takes a list of column names");
    name.ptr = lua_tolstring(L, -1, &name.len);
    bool is_guessed = guess < rows->column_count && strcmp(rows->columns[guess].name, name.ptr) == 0;
    int column = is_guessed ? (int)guess : sh_pg_rows_column(rows, name);
    if (column < 0) luaL_error(L, "the rows have no column \"%s\"", name.ptr);
    return (uint32_t)column;
}

/* rows:tables(names): every row as a plain table of the named columns, NULL ones absent; all columns without names. One call instead of a
 * metamethod per column. */
static int rows_tables(lua_State *L) {
    handle_t *h = check(L, 1, &rows_key, "row set");
    const sh_pg_rows_t *rows = h->rows;
    uint32_t columns[TABLE_COLUMNS_MAX], count = rows->column_count;
    bool has_names = !lua_isnoneornil(L, 2);
    lua_settop(L, 2);
    if (has_names) {
        if (sh_vm_melt(L, 2)) lua_replace(L, 2);
        luaL_checktype(L, 2, LUA_TTABLE);
        count = (uint32_t)lua_objlen(L, 2);
    }
    if (count > TABLE_COLUMNS_MAX) return luaL_error(L, "rows:tables takes at most %d columns", TABLE_COLUMNS_MAX);
    luaL_checkstack(L, (int)count + 8, "a row");
    for (uint32_t i = 0; i < count; i++) { /* the names stay on the stack, from 3 on */
        columns[i] = has_names ? push_column(L, rows, 2, (int)i + 1, i ? columns[i - 1] + 1 : 0) : i;
        if (!has_names) lua_pushstring(L, rows->columns[i].name);
    }
    lua_createtable(L, (int)rows->row_count, 0);
    int list = lua_gettop(L);
    for (uint32_t row = 0; row < rows->row_count; row++) {
        lua_createtable(L, 0, (int)count);
        for (uint32_t i = 0; i < count; i++) {
            if (sh_pg_rows_is_null(rows, row, columns[i])) continue;
            lua_pushvalue(L, (int)i + 3);
            push_present(L, rows, row, columns[i]);
            lua_rawset(L, -3);
        }
        lua_rawseti(L, list, (int)row + 1);
    }
    return 1;
}

static int rows_one(lua_State *L) { return push_row_of(L, check(L, 1, &rows_key, "row set"), 1); }

static int rows_index(lua_State *L) {
    handle_t *h = check(L, 1, &rows_key, "row set");
    if (lua_type(L, 2) == LUA_TNUMBER) return push_row_of(L, h, lua_tonumber(L, 2));
    const char *name = lua_tostring(L, 2);
    if (name && strcmp(name, "each") == 0)
        lua_pushcfunction(L, rows_each);
    else if (name && strcmp(name, "one") == 0)
        lua_pushcfunction(L, rows_one);
    else if (name && strcmp(name, "tables") == 0)
        lua_pushcfunction(L, rows_tables);
    else if (name && strcmp(name, "affected") == 0)
        lua_pushinteger(L, (lua_Integer)h->rows->affected);
    else
        return luaL_error(L, "a row set has numbers, each(), one(), tables() and affected, not \"%s\"", name ? name : luaL_typename(L, 2));
    return 1;
}

static int rows_newindex(lua_State *L) { return luaL_error(L, "a row set cannot be changed"); }

/* ---- JSON */

static int write_extra(lua_State *L, int index, handle_t *h, sh_buf_t *out, char *error, size_t error_size, int depth) {
    bool first = true;
    int rc = SH_OK;
    luaL_checkstack(L, 8, "json");
    lua_getfenv(L, index);
    int extra = lua_gettop(L);
    sh_buf_put_byte(out, '{');
    for (uint32_t i = 0; i < h->rows->column_count; i++) {
        lua_getfield(L, extra, h->rows->columns[i].name);
        bool replaced = !lua_isnil(L, -1);
        lua_pop(L, 1);
        if (replaced) continue;
        if (!first) sh_buf_put_byte(out, ',');
        first = false;
        sh_buf_put_str(out, sh_pg_rows_keys(h->rows)[i]);
        sh_pg_rows_write_value(h->rows, h->row, i, out);
    }
    for (lua_pushnil(L); !rc && lua_next(L, extra); lua_pop(L, 1)) {
        sh_str_t key;
        key.ptr = lua_tolstring(L, -2, &key.len);
        if (!first) sh_buf_put_byte(out, ',');
        first = false;
        sh_buf_put_json(out, key);
        sh_buf_put_byte(out, ':');
        rc = sh_lua_json_write_at(L, lua_gettop(L), out, depth + 1, error, error_size);
    }
    sh_buf_put_byte(out, '}');
    lua_settop(L, extra - 1);
    return rc;
}

const char *sh_lua_rows_write(lua_State *L, int index, sh_buf_t *out, char *error, size_t error_size, int depth, int *rc) {
    const char *key = key_of(L, index);
    handle_t *h = lua_touserdata(L, index);
    if (!key) return "this object cannot be written as JSON";
    if (!h->rows) return "a row set was used after its request ended";
    if (h->task != sh_task_owner(L)) return "a row set was used by another request than its own";
    *rc = SH_OK;
    if (key == &rows_key)
        sh_pg_rows_write_all(h->rows, out);
    else if (h->has_extra)
        *rc = write_extra(L, index, h, out, error, error_size, depth);
    else
        sh_pg_rows_write_row(h->rows, h->row, false, out);
    return NULL;
}

static void make_metatable(lua_State *L, const char *key, const luaL_Reg *methods) {
    lua_pushlightuserdata(L, (void *)key);
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_rawset(L, LUA_REGISTRYINDEX);
}

void sh_lua_rows_init(lua_State *L) {
    static const luaL_Reg of_rows[] = {{"__index", rows_index}, {"__newindex", rows_newindex}, {"__len", rows_len}, {"__gc", collect}, {NULL, NULL}};
    static const luaL_Reg of_row[] = {{"__index", row_index}, {"__newindex", row_newindex}, {"__gc", collect}, {NULL, NULL}};
    make_metatable(L, &rows_key, of_rows);
    make_metatable(L, &row_key, of_row);
}
