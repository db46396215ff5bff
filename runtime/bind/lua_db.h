/* The primitive `shama.db`: single statements and transactions of the service's own login. */
#ifndef SH_LUA_DB_H
#define SH_LUA_DB_H

#include <lua.h>

/* `data` is not used: the pool, the schema and the descriptors are those of the vm's context (bind/lua_context.h). */
int sh_lua_db_open(lua_State *L, void *data);

#endif
