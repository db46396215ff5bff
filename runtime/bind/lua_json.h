/* The primitive `shama.json`, and how Lua values and JSON become each other everywhere else in bind/. */
#ifndef SH_LUA_JSON_H
#define SH_LUA_JSON_H

#include "base/buf.h"
#include "codec/json.h"

#include <lua.h>

/* Appends the value at `index` as JSON: a table with 1..n only is an array, an empty one {} unless marked by json.array, json.null is null,
 * json.shaped and json.at_most as their documents say, decimals are strings, rows and row sets are written from libpq's memory, frozen tables as the
 * tables they are. SH_EINVAL with a sentence naming the place ("items[2].price: a function cannot be written as JSON"); integers beyond 2^53, NaN and
 * infinities are refused. May raise for lack of memory only. */
int sh_lua_json_write(lua_State *L, int index, sh_buf_t *out, char *error, size_t error_size) SH_MUSTCHECK;

/* The same from within a value that is already `depth` levels deep: for bind/lua_rows only. */
int sh_lua_json_write_at(lua_State *L, int index, sh_buf_t *out, int depth, char *error, size_t error_size) SH_MUSTCHECK;

/* An empty buffer of the Lua state, for one text that is used before anything else is written: nothing is lost when Lua raises. */
sh_buf_t *sh_lua_json_scratch(lua_State *L);

/* Pushes a parsed value: integers below 2^53 as numbers, larger ones as strings, null as json.null. */
void sh_lua_json_push(lua_State *L, const sh_json_value_t *value);
/* Parses and pushes; SH_EINVAL pushes nothing. */
int sh_lua_json_push_text(lua_State *L, sh_str_t text) SH_MUSTCHECK;
/* json.null: a light userdata that is the same in every state. */
void sh_lua_json_push_null(lua_State *L);
bool sh_lua_json_is_null(lua_State *L, int index);

/* encode, decode, null, array, shaped, at_most. `data` is not used. */
int sh_lua_json_open(lua_State *L, void *data);

#endif
