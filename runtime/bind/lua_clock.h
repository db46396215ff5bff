/* The primitive `shama.clock`: wall time for rules, which tests can freeze. */
#ifndef SH_LUA_CLOCK_H
#define SH_LUA_CLOCK_H

#include "base/base.h"

#include <lua.h>

/* `data` is a sh_lua_clock_t: frozen_us 0 means the real time. Borrowed for the life of the state. */
typedef struct sh_lua_clock {
    int64_t frozen_us;
} sh_lua_clock_t;

int sh_lua_clock_open(lua_State *L, void *data);

#endif
