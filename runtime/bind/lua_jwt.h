/* The primitive `shama.jwt`: access tokens for rules that let people in. */
#ifndef SH_LUA_JWT_H
#define SH_LUA_JWT_H

#include "codec/jwt.h"

#include <lua.h>

/* `data` points to the worker's current keys, which a reload replaces: sh_lua_jwt_t, borrowed for the life of the state. */
typedef struct sh_lua_jwt {
    const sh_jwt_keys_t *keys;
    int64_t leeway_s;
    int64_t access_ttl_s, refresh_ttl_s; /* for jwt.access_ttl, jwt.refresh_ttl */
} sh_lua_jwt_t;

int sh_lua_jwt_open(lua_State *L, void *data);

#endif
