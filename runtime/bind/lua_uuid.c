/* v4() and v7() over the worker's source. */
#include "bind/lua_uuid.h"

#include "base/time.h"
#include "codec/uuid.h"

#include <lauxlib.h>

static int uuid_v4(lua_State *L) {
    char id[SH_UUID_LEN];
    sh_uuid_v4(lua_touserdata(L, lua_upvalueindex(1)), id);
    lua_pushlstring(L, id, sizeof id);
    return 1;
}

static int uuid_v7(lua_State *L) {
    char id[SH_UUID_LEN];
    sh_uuid_v7(lua_touserdata(L, lua_upvalueindex(1)), sh_time_wall_us(), id);
    lua_pushlstring(L, id, sizeof id);
    return 1;
}

int sh_lua_uuid_open(lua_State *L, void *data) {
    static const luaL_Reg functions[] = {{"v4", uuid_v4}, {"v7", uuid_v7}, {NULL, NULL}};
    lua_newtable(L);
    lua_pushlightuserdata(L, data);
    luaL_setfuncs(L, functions, 1);
    return 1;
}
