/* The primitive `shama.password`: argon2id off the loop, a few at a time. */
#ifndef SH_LUA_PASSWORD_H
#define SH_LUA_PASSWORD_H

#include "base/base.h"
#include "codec/password.h"

#include <lua.h>
#include <uv.h>

/* One per worker; `data` of the primitive. Hashing beyond running_max waits for nobody: it is refused ("busy"), so that logins cannot
 * fill the thread pool. */
typedef struct sh_lua_password {
    uv_loop_t *loop;
    sh_password_params_t params;
    uint32_t running, running_max;
} sh_lua_password_t;

int sh_lua_password_open(lua_State *L, void *data);

#endif
