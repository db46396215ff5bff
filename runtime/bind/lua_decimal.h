/* `shama.decimal` for Lua: exact money as a value with operators, and the C side that other primitives use to make and to recognise it.
 *
 * Described in docs/reference/lua-api.md. A decimal is a userdata whose metatable Lua code cannot see or change. */
#ifndef SH_LUA_DECIMAL_H
#define SH_LUA_DECIMAL_H

#include "codec/decimal.h"

#include <lua.h>

/* Pushes the module: callable, read-only. `data` is not used. */
int sh_lua_decimal_open(lua_State *L, void *data);

/* Pushes a decimal. May raise out of memory. */
void sh_lua_decimal_push(lua_State *L, sh_decimal_t d);
/* Is the value at `idx` a decimal? Then sets *out. Raises nothing. */
bool sh_lua_decimal_test(lua_State *L, int idx, sh_decimal_t *out);

#endif
