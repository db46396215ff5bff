/* SQL and its parameters from Lua: string, number, boolean, nil, decimal, list, db.json{}, db.bytes"", db.columns(). */
#ifndef SH_LUA_PARAMS_H
#define SH_LUA_PARAMS_H

#include "base/arena.h"
#include "net/pg_pool.h"

#include <lua.h>

/* SQL at `first`, parameters behind it up to `last`. Lives in `arena`; the SQL too where `is_kept`, else it is borrowed from Lua for this call.
 * Raises for what cannot be a parameter. */
void sh_lua_params_statement(lua_State *L, int first, int last, sh_arena_t *arena, bool is_kept, sh_pg_statement_t *out);
/* The list { sql, ... } at `index`. */
void sh_lua_params_listed(lua_State *L, int index, sh_arena_t *arena, bool is_kept, sh_pg_statement_t *out);

/* Returns the metatables that mark what db.json, db.bytes and db.columns make: { value }, { text }, { list, names }. For lua/shama/db.lua, once a
 * state. */
int sh_lua_params_marks(lua_State *L);

#endif
