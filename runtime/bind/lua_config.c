/* get(key) -> text; an unknown or closed key raises, since it is a rule's mistake. "rules.version" is that of the bundle the rule came from. */
#include "bind/lua_config.h"

#include "host/task.h"
#include "host/vm.h"

#include <lauxlib.h>
#include <string.h>

static int config_get(lua_State *L) {
    const sh_lua_config_t *config = lua_touserdata(L, lua_upvalueindex(1));
    const char *key = luaL_checkstring(L, 1);
    const char *value = strcmp(key, "rules.version") == 0 ? sh_vm_version(sh_vm_of(L)) : config->get(config->data, key);
    if (!value) return luaL_error(L, "the setting \"%s\" does not exist or is not for rules", key);
    lua_pushstring(L, value);
    return 1;
}

int sh_lua_config_open(lua_State *L, void *data) {
    static const luaL_Reg functions[] = {{"get", config_get}, {NULL, NULL}};
    lua_newtable(L);
    lua_pushlightuserdata(L, data);
    luaL_setfuncs(L, functions, 1);
    return 1;
}
