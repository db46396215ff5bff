/* The primitive `shama.password`: argon2id off the loop, a few at a time. */
#ifndef SH_LUA_PASSWORD_H
#define SH_LUA_PASSWORD_H

#include "base/base.h"
#include "codec/password.h"

#include <lua.h>
#include <uv.h>

/* One per worker; `data` of the primitive. At most running_max are hashed at a time, so that logins cannot fill the thread pool; others wait
 * in line, and beyond waiting_max (0: SH_PASSWORD_WAITING_MAX) they raise { kind = "limit" } at once. */
enum { SH_PASSWORD_WAITING_MAX = 64 };

typedef struct sh_lua_password {
    uv_loop_t *loop;
    sh_password_params_t params;
    uint32_t running, running_max, waiting, waiting_max;
    struct sh_lua_password_job *first, *last; /* the line */
} sh_lua_password_t;

int sh_lua_password_open(lua_State *L, void *data);

#endif
