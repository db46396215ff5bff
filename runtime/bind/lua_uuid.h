/* The primitive `shama.uuid`: ids made by the host, so that a write need not wait for the database to name it. */
#ifndef SH_LUA_UUID_H
#define SH_LUA_UUID_H

#include <lua.h>

/* `data` is the worker's sh_uuid_source_t, borrowed for the life of the state. */
int sh_lua_uuid_open(lua_State *L, void *data);

#endif
