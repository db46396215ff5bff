/* Exact decimals as Lua values.
 *
 * A decimal is one small userdata that begins with an address of ours, as no other userdata does: that is how one is recognised.
 * Every C function here has the metatable as its first upvalue, so that making one costs no look-up by name; sh_lua_decimal_push,
 * which is called from elsewhere, finds it under a fixed place in the registry. */
#include "bind/lua_decimal.h"

#include "base/err.h"

#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

/* Far from the small integers that luaL_ref hands out. */
enum { REGISTRY_PLACE = 0x5ec1a1 };

/* Beyond it a Lua number no longer tells its neighbours apart. */
#define INTEGER_MAX 9007199254740992.0

static const char decimal_key;

/* What lies in the userdata: LuaJIT aligns it to 8 bytes, an __int128 wants 16. */
typedef struct stored {
    const char *key; /* &decimal_key */
    uint64_t low, high;
    int32_t scale;
} stored_t;

/* ---- in and out of the userdata */

static sh_decimal_t load(const void *from) {
    const stored_t *s = from;
    return (sh_decimal_t){(__int128)((unsigned __int128)s->high << 64 | s->low), s->scale};
}

/* Pushes a decimal without its metatable. */
static void push_bare(lua_State *L, sh_decimal_t d) {
    stored_t *s = lua_newuserdata(L, sizeof *s);
    s->key = &decimal_key;
    s->low = (uint64_t)d.units;
    s->high = (uint64_t)((unsigned __int128)d.units >> 64);
    s->scale = d.scale;
}

/* Pushes a decimal whose metatable is at `metatable`. */
static void push(lua_State *L, sh_decimal_t d, int metatable) {
    push_bare(L, d);
    lua_pushvalue(L, metatable);
    lua_setmetatable(L, -2);
}

bool sh_lua_decimal_test(lua_State *L, int idx, sh_decimal_t *out) {
    const stored_t *s = lua_touserdata(L, idx);
    if (!s || lua_objlen(L, idx) != sizeof *s || s->key != &decimal_key) return false; /* a light userdata has no length */
    *out = load(s);
    return true;
}

#define METATABLE lua_upvalueindex(1)

/* ---- arguments */

static int raise_limit(lua_State *L) {
    return luaL_error(L, "this decimal does not fit: at most %d digits, %d of them behind the point; round earlier", SH_DECIMAL_DIGITS_MAX,
                      SH_DECIMAL_SCALE_MAX);
}

/* The message shows the number that was written, so that what to write instead can be copied. */
static int raise_fraction(lua_State *L, lua_Number n) {
    char text[40];
    if (n != n || n > 1e300 || n < -1e300) return luaL_error(L, "money is exact: this number is not finite");
    snprintf(text, sizeof text, "%.14g", n);
    if (strpbrk(text, "e")) return luaL_error(L, "money is exact: write decimal(\"...\") with all digits, not %s", text);
    return luaL_error(L, "money is exact: write decimal(\"%s\"), not %s", text, text);
}

/* A decimal, or a number that is an integer. Anything else raises; `what` says what wanted it. */
static sh_decimal_t operand(lua_State *L, int idx, const char *what) {
    sh_decimal_t d;
    if (sh_lua_decimal_test(L, idx, &d)) return d;
    if (lua_type(L, idx) == LUA_TNUMBER) {
        lua_Number n = lua_tonumber(L, idx);
        if (n >= -INTEGER_MAX && n <= INTEGER_MAX && n == (lua_Number)(int64_t)n) return sh_decimal_of_i64((int64_t)n);
        raise_fraction(L, n);
    }
    if (lua_type(L, idx) == LUA_TSTRING) luaL_error(L, "%s wants a decimal, got a string: write decimal(\"%s\")", what, lua_tostring(L, idx));
    luaL_error(L, "%s wants a decimal, got %s", what, luaL_typename(L, idx));
    return (sh_decimal_t){0, 0};
}

/* The value a method was called on: `d.round(...)` with a point instead of a colon is the usual mistake. */
static sh_decimal_t self(lua_State *L, const char *method) {
    sh_decimal_t d;
    if (!sh_lua_decimal_test(L, 1, &d)) luaL_error(L, "call it on a decimal with a colon: d:%s(...)", method);
    return d;
}

static int scale_at(lua_State *L, int idx) {
    lua_Number n = lua_type(L, idx) == LUA_TNUMBER ? lua_tonumber(L, idx) : -1;
    if (n < 0 || n > SH_DECIMAL_SCALE_MAX || n != (int)n)
        luaL_error(L, "the scale is how many places stay behind the point: a whole number from 0 to %d", SH_DECIMAL_SCALE_MAX);
    return (int)n;
}

static sh_rounding_t mode_at(lua_State *L, int idx) {
    sh_rounding_t mode = SH_ROUND_DOWN;
    size_t len = 0;
    const char *name = lua_type(L, idx) == LUA_TSTRING ? lua_tolstring(L, idx, &len) : NULL;
    if (!name || sh_rounding_of(sh_str(name, len), &mode) != SH_OK) luaL_error(L, "say how to round: \"half_up\", \"half_even\", \"down\" or \"up\"");
    return mode;
}

static int give(lua_State *L, int rc, sh_decimal_t d) {
    if (rc) return raise_limit(L);
    push(L, d, METATABLE);
    return 1;
}

/* ---- operators */

static int op_add(lua_State *L) {
    sh_decimal_t a = operand(L, 1, "+"), b = operand(L, 2, "+"), d = {0, 0};
    return give(L, sh_decimal_add(a, b, &d), d);
}

static int op_sub(lua_State *L) {
    sh_decimal_t a = operand(L, 1, "-"), b = operand(L, 2, "-"), d = {0, 0};
    return give(L, sh_decimal_sub(a, b, &d), d);
}

static int op_mul(lua_State *L) {
    sh_decimal_t a = operand(L, 1, "*"), b = operand(L, 2, "*"), d = {0, 0};
    return give(L, sh_decimal_mul(a, b, &d), d);
}

static int op_unm(lua_State *L) {
    push(L, sh_decimal_neg(operand(L, 1, "-")), METATABLE);
    return 1;
}

static int op_no_division(lua_State *L) { return luaL_error(L, "a quotient has to be rounded: write a:div(b, scale, mode)"); }

static int op_eq(lua_State *L) {
    sh_decimal_t a, b;
    /* Lua asks for other pairs of userdata too, when both have this function. */
    lua_pushboolean(L, sh_lua_decimal_test(L, 1, &a) && sh_lua_decimal_test(L, 2, &b) && sh_decimal_cmp(a, b) == 0);
    return 1;
}

static int op_lt(lua_State *L) {
    lua_pushboolean(L, sh_decimal_cmp(operand(L, 1, "<"), operand(L, 2, "<")) < 0);
    return 1;
}

static int op_le(lua_State *L) {
    lua_pushboolean(L, sh_decimal_cmp(operand(L, 1, "<="), operand(L, 2, "<=")) <= 0);
    return 1;
}

static void push_text(lua_State *L, sh_decimal_t d) {
    char text[SH_DECIMAL_TEXT_MAX];
    lua_pushlstring(L, text, sh_decimal_format(d, text));
}

static int op_tostring(lua_State *L) {
    push_text(L, self(L, "to_string"));
    return 1;
}

/* "Total: " .. d; the other side is text or a number, as in plain Lua. */
static int op_concat(lua_State *L) {
    for (int i = 1; i <= 2; i++) {
        sh_decimal_t d;
        if (sh_lua_decimal_test(L, i, &d))
            push_text(L, d);
        else if (lua_isstring(L, i))
            lua_pushvalue(L, i);
        else
            return luaL_error(L, "attempt to concatenate a %s value", luaL_typename(L, i));
    }
    lua_concat(L, 2);
    return 1;
}

/* ---- methods */

static int decimal_round(lua_State *L) {
    sh_decimal_t d = self(L, "round"), out = {0, 0};
    int scale = scale_at(L, 2);
    return give(L, sh_decimal_round(d, scale, mode_at(L, 3), &out), out);
}

static int decimal_div(lua_State *L) {
    sh_decimal_t a = self(L, "div"), b = operand(L, 2, "div"), out = {0, 0};
    int scale = scale_at(L, 3);
    sh_rounding_t mode = mode_at(L, 4);
    if (b.units == 0) return luaL_error(L, "division by zero");
    return give(L, sh_decimal_div(a, b, scale, mode, &out), out);
}

static int decimal_is_zero(lua_State *L) {
    lua_pushboolean(L, self(L, "is_zero").units == 0);
    return 1;
}

static int decimal_is_negative(lua_State *L) {
    lua_pushboolean(L, self(L, "is_negative").units < 0);
    return 1;
}

static int decimal_scale(lua_State *L) {
    lua_pushinteger(L, self(L, "scale").scale);
    return 1;
}

/* ---- the module */

/* A decimal from text, from an integer, or from a decimal (itself), at `idx`. */
static int make(lua_State *L, int idx) {
    sh_decimal_t d = {0, 0};
    if (lua_type(L, idx) == LUA_TSTRING) {
        size_t len;
        const char *text = lua_tolstring(L, idx, &len);
        int rc = sh_decimal_parse(sh_str(text, len), &d);
        if (rc == SH_ELIMIT) return raise_limit(L);
        if (rc) return luaL_error(L, "\"%s\" is no decimal: write digits with at most one point, like \"12.50\"", text);
    } else if (sh_lua_decimal_test(L, idx, &d)) {
        lua_settop(L, idx);
        return 1;
    } else if (lua_type(L, idx) == LUA_TNUMBER) {
        d = operand(L, idx, "decimal");
    } else {
        return luaL_error(L, "decimal(...) takes text or a whole number, got %s", luaL_typename(L, idx));
    }
    push(L, d, METATABLE);
    return 1;
}

static int module_new(lua_State *L) { return make(L, 1); }
static int module_call(lua_State *L) { return make(L, 2); } /* 1 is the module */

static int module_is(lua_State *L) {
    sh_decimal_t d;
    lua_pushboolean(L, sh_lua_decimal_test(L, 1, &d));
    return 1;
}

static int module_read_only(lua_State *L) { return luaL_error(L, "shama.decimal cannot be changed"); }

/* Sets functions into the table on top of the stack, each with the metatable at `metatable` as upvalue. */
static void set_functions(lua_State *L, const luaL_Reg *functions, int metatable) {
    for (; functions->name; functions++) {
        lua_pushvalue(L, metatable);
        lua_pushcclosure(L, functions->func, 1);
        lua_setfield(L, -2, functions->name);
    }
}

static void set_hidden(lua_State *L) {
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
}

static const luaL_Reg operators[] = {
    {"__add", op_add}, {"__sub", op_sub}, {"__mul", op_mul}, {"__unm", op_unm},           {"__div", op_no_division}, {"__mod", op_no_division},
    {"__eq", op_eq},   {"__lt", op_lt},   {"__le", op_le},   {"__tostring", op_tostring}, {"__concat", op_concat},   {NULL, NULL},
};
static const luaL_Reg methods[] = {
    {"round", decimal_round},   {"div", decimal_div}, {"is_zero", decimal_is_zero}, {"is_negative", decimal_is_negative}, {"scale", decimal_scale},
    {"to_string", op_tostring}, {NULL, NULL},
};
static const luaL_Reg functions[] = {{"new", module_new}, {"is", module_is}, {NULL, NULL}};
static const luaL_Reg module_operators[] = {{"__call", module_call}, {"__newindex", module_read_only}, {NULL, NULL}};

/* Pushes the metatable, made when it is asked for the first time. */
static void push_metatable(lua_State *L) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, REGISTRY_PLACE);
    if (lua_istable(L, -1)) return;
    lua_pop(L, 1);
    lua_newtable(L);
    int metatable = lua_gettop(L);
    set_functions(L, operators, metatable);
    lua_newtable(L);
    set_functions(L, methods, metatable);
    lua_setfield(L, metatable, "__index");
    set_hidden(L);
    lua_pushvalue(L, metatable);
    lua_rawseti(L, LUA_REGISTRYINDEX, REGISTRY_PLACE);
}

int sh_lua_decimal_open(lua_State *L, void *data) {
    (void)data;
    push_metatable(L);
    int metatable = lua_gettop(L);
    lua_newtable(L); /* stays empty, so that a write to it is seen */
    lua_newtable(L);
    set_functions(L, module_operators, metatable);
    lua_newtable(L);
    set_functions(L, functions, metatable);
    lua_setfield(L, -2, "__index");
    set_hidden(L);
    lua_setmetatable(L, -2);
    lua_remove(L, metatable);
    return 1;
}

void sh_lua_decimal_push(lua_State *L, sh_decimal_t d) {
    push_bare(L, d);
    push_metatable(L);
    lua_setmetatable(L, -2);
}
