/* The primitive `shama.log`: a rule's own log lines, with the request id and the service added. */
#ifndef SH_LUA_LOG_H
#define SH_LUA_LOG_H

#include <lua.h>

/* `data` is not used: the logger is the vm's. */
int sh_lua_log_open(lua_State *L, void *data);

#endif
