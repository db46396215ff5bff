/* sign(claims, ttl_s) -> token; verify(token) -> claims | nil, reason. HS256 only. */
#include "bind/lua_jwt.h"

#include "base/err.h"
#include "base/time.h"
#include "bind/lua_json.h"

#include <lauxlib.h>

enum { TTL_MAX_S = 366 * 86400 };

static sh_lua_jwt_t *context(lua_State *L) { return lua_touserdata(L, lua_upvalueindex(1)); }
static int64_t now_s(void) { return sh_time_wall_us() / 1000000; }

static int jwt_sign(lua_State *L) {
    char error[160];
    sh_buf_t claims = {0}, token = {0};
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_Integer ttl = luaL_checkinteger(L, 2);
    luaL_argcheck(L, ttl > 0 && ttl <= TTL_MAX_S, 2, "a lifetime in seconds, at most a year");
    lua_pushliteral(L, "iat");
    lua_pushnumber(L, (lua_Number)now_s());
    lua_rawset(L, 1);
    lua_pushliteral(L, "exp");
    lua_pushnumber(L, (lua_Number)(now_s() + ttl));
    lua_rawset(L, 1);
    int rc = sh_lua_json_write(L, 1, &claims, error, sizeof error);
    if (!rc) {
        rc = sh_jwt_sign_hs256(context(L)->keys, sh_buf_str(&claims), &token);
        if (rc)
            lua_pushliteral(L, "the claims are too large for a token");
        else
            lua_pushlstring(L, token.ptr, token.len);
    } else {
        lua_pushstring(L, error);
    }
    sh_buf_dispose(&claims);
    sh_buf_dispose(&token);
    return rc ? lua_error(L) : 1;
}

static int jwt_verify(lua_State *L) {
    sh_str_t token;
    sh_arena_t arena;
    sh_jwt_claims_t claims;
    token.ptr = luaL_checklstring(L, 1, &token.len);
    sh_arena_init(&arena);
    int rc = sh_jwt_verify(context(L)->keys, token, now_s(), context(L)->leeway_s, &arena, &claims);
    if (rc) {
        lua_pushnil(L);
        lua_pushstring(L, rc == SH_EEXPIRED ? "expired" : "invalid");
    } else {
        sh_lua_json_push(L, claims.json);
    }
    sh_arena_dispose(&arena);
    return rc ? 2 : 1;
}

static int jwt_access_ttl(lua_State *L) {
    lua_pushnumber(L, (lua_Number)context(L)->access_ttl_s);
    return 1;
}

static int jwt_refresh_ttl(lua_State *L) {
    lua_pushnumber(L, (lua_Number)context(L)->refresh_ttl_s);
    return 1;
}

int sh_lua_jwt_open(lua_State *L, void *data) {
    static const luaL_Reg functions[] = {
        {"sign", jwt_sign}, {"verify", jwt_verify}, {"access_ttl", jwt_access_ttl}, {"refresh_ttl", jwt_refresh_ttl}, {NULL, NULL},
    };
    lua_newtable(L);
    lua_pushlightuserdata(L, data);
    luaL_setfuncs(L, functions, 1);
    return 1;
}
