/* The primitive `shama.config`: the few settings that an operator lets rules read. */
#ifndef SH_LUA_CONFIG_H
#define SH_LUA_CONFIG_H

#include <lua.h>

typedef struct sh_lua_config {
    /* The value, lent until the next reload, or NULL when rules may not read it. */
    const char *(*get)(void *data, const char *key);
    void *data;
} sh_lua_config_t;

/* `data` is a sh_lua_config_t, borrowed for the life of the state. */
int sh_lua_config_open(lua_State *L, void *data);

#endif
