/* now(), ms() and today(), all in UTC. */
#include "bind/lua_clock.h"

#include "base/time.h"

#include <lauxlib.h>

static int64_t now_us(lua_State *L) {
    const sh_lua_clock_t *clock = lua_touserdata(L, lua_upvalueindex(1));
    return clock->frozen_us ? clock->frozen_us : sh_time_wall_us();
}

static int push_now(lua_State *L, size_t len) {
    char text[SH_RFC3339_LEN];
    sh_time_format(now_us(L), text);
    lua_pushlstring(L, text, len);
    return 1;
}

static int clock_now(lua_State *L) { return push_now(L, SH_RFC3339_LEN); }
static int clock_today(lua_State *L) { return push_now(L, 10); }

static int clock_ms(lua_State *L) {
    lua_pushnumber(L, (lua_Number)(now_us(L) / 1000));
    return 1;
}

/* clock.date(days): the date that many days from today. */
static int clock_date(lua_State *L) {
    char text[SH_RFC3339_LEN];
    lua_Integer days = luaL_checkinteger(L, 1);
    luaL_argcheck(L, days > -400000 && days < 400000, 1, "too many days");
    sh_time_format(now_us(L) + (int64_t)days * 86400 * 1000000, text);
    lua_pushlstring(L, text, 10);
    return 1;
}

int sh_lua_clock_open(lua_State *L, void *data) {
    static const luaL_Reg functions[] = {{"now", clock_now}, {"today", clock_today}, {"ms", clock_ms}, {"date", clock_date}, {NULL, NULL}};
    lua_newtable(L);
    lua_pushlightuserdata(L, data);
    luaL_setfuncs(L, functions, 1);
    return 1;
}
