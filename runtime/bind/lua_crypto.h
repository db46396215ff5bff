/* The primitive `shama.crypto`: hashes, random tokens and comparison in constant time. */
#ifndef SH_LUA_CRYPTO_H
#define SH_LUA_CRYPTO_H

#include <lua.h>

/* `data` is not used. */
int sh_lua_crypto_open(lua_State *L, void *data);

#endif
