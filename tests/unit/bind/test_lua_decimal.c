/* Proves what a rule sees of decimals: exact operators, clear refusals that name the rule's own line, and no way to pass something else
 * for a decimal or to change how decimals behave. Each check is a line of Lua run in a bare state, as a rule would write it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/base.h"
#include "bind/lua_decimal.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdlib.h>
#include <string.h>

static int make_state(void **state) {
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    if (sh_lua_decimal_open(L, NULL) != 1) return -1;
    lua_setglobal(L, "decimal");
    *state = L;
    return 0;
}

static int drop_state(void **state) {
    lua_close(*state);
    return 0;
}

/* Runs a chunk named rule.lua; its result as text, or the error. The text is owned by the state. */
static const char *run(lua_State *L, const char *code) {
    lua_settop(L, 0);
    if (luaL_loadbuffer(L, code, strlen(code), "@rule.lua") == 0 && lua_pcall(L, 0, 1, 0) == 0) {
        lua_getglobal(L, "tostring");
        lua_insert(L, -2);
        lua_call(L, 1, 1);
    }
    return lua_tostring(L, -1);
}

static void results(void **state) {
    static const char *const table[][2] = {
        {"return decimal('12.50')", "12.50"},
        {"return decimal.new('12.50')", "12.50"},
        {"return decimal(7)", "7"},
        {"return decimal(decimal('1.5'))", "1.5"},
        {"return decimal('0.1') + decimal('0.2')", "0.3"},
        {"return decimal('1.50') + 1", "2.50"},
        {"return 1 - decimal('1.50')", "-0.50"},
        {"return 3 * decimal('19.99')", "59.97"},
        {"return decimal('2.50') * decimal('0.150')", "0.37500"},
        {"return -decimal('2.5')", "-2.5"},
        {"return (decimal('10.005') * 2):round(2, 'half_up')", "20.01"},
        {"return decimal('0.125'):round(2, 'half_even')", "0.12"},
        {"return decimal('10'):div(decimal('3'), 6, 'half_even')", "3.333333"},
        {"return decimal('10'):div(4, 2, 'down')", "2.50"},
        {"return decimal('1.5') == decimal('1.50')", "true"},
        {"return decimal('1.5') ~= decimal('1.51')", "true"},
        {"return decimal('1.5') == 1.5", "false"},
        {"return decimal('1.5') < decimal('1.51')", "true"},
        {"return decimal('2') >= decimal('2.00')", "true"},
        {"return decimal('0.00'):is_zero()", "true"},
        {"return decimal('-0.01'):is_negative()", "true"},
        {"return decimal('1.230'):scale()", "3"},
        {"return decimal('1.230'):to_string()", "1.230"},
        {"return 'Total: ' .. decimal('1.20') .. ' USD'", "Total: 1.20 USD"},
        {"return decimal.is(decimal('1'))", "true"},
        {"return decimal.is('1')", "false"},
        {"return decimal.is(io.stdout)", "false"},
        {"return getmetatable(decimal('1'))", "false"},
        {"return getmetatable(decimal)", "false"},
        {"return decimal(9007199254740992)", "9007199254740992"},
        {"return decimal(0.1 + 0.9)", "1"},
        {"local t = decimal('0.00') for i = 1, 1000 do t = t + decimal('0.01') * i end return t", "5005.00"},
    };
    for (size_t i = 0; i < SH_ARRAY_LEN(table); i++) {
        const char *got = run(*state, table[i][0]);
        if (strcmp(got, table[i][1]) != 0) fail_msg("%s gave %s", table[i][0], got);
    }
}

/* No statement here is a tail call (`return f()`): Lua keeps no position of those. */
static void refusals_name_the_rule(void **state) {
    static const char *const table[][2] = {
        {"local x = decimal('1') + 0.1", "rule.lua:1: money is exact: write decimal(\"0.1\"), not 0.1"},
        {"local a = 1\nreturn 2.5 * decimal('1')", "rule.lua:2: money is exact: write decimal(\"2.5\"), not 2.5"},
        {"local x = decimal(0.1)", "rule.lua:1: money is exact: write decimal(\"0.1\"), not 0.1"},
        {"local x = decimal('1') + 0/0", "rule.lua:1: money is exact: this number is not finite"},
        {"local x = decimal('1') + 1e300", "rule.lua:1: money is exact: write decimal(\"...\") with all digits, not 1e+300"},
        {"local x = decimal('1') + '2'", "rule.lua:1: + wants a decimal, got a string: write decimal(\"2\")"},
        {"local x = decimal('1') - nil", "rule.lua:1: - wants a decimal, got nil"},
        {"local x = decimal('1') * io.stdout", "rule.lua:1: * wants a decimal, got userdata"},
        {"local x = decimal('1') / 2", "rule.lua:1: a quotient has to be rounded: write a:div(b, scale, mode)"},
        {"local x = decimal('1e3')", "rule.lua:1: \"1e3\" is no decimal: write digits with at most one point, like \"12.50\""},
        {"local x = decimal()", "rule.lua:1: decimal(...) takes text or a whole number, got no value"},
        {"local x = decimal('1'):round()", "rule.lua:1: the scale is how many places stay behind the point: a whole number from 0 to 12"},
        {"local x = decimal('1'):round(2)", "rule.lua:1: say how to round: \"half_up\", \"half_even\", \"down\" or \"up\""},
        {"local x = decimal('1'):round(2, 'HALF_UP')", "rule.lua:1: say how to round: \"half_up\", \"half_even\", \"down\" or \"up\""},
        {"local x = decimal('1').round(2, 'up')", "rule.lua:1: call it on a decimal with a colon: d:round(...)"},
        {"local x = decimal('1').round(io.stdout, 2, 'up')", "rule.lua:1: call it on a decimal with a colon: d:round(...)"},
        {"local x = decimal('1'):div(0, 2, 'up')", "rule.lua:1: division by zero"},
        {"decimal.new = print", "rule.lua:1: shama.decimal cannot be changed"},
        {"local d = decimal('999999999999999999999999999999') return d * d",
         "rule.lua:1: this decimal does not fit: at most 30 digits, 12 of them behind the point; round earlier"},
    };
    for (size_t i = 0; i < SH_ARRAY_LEN(table); i++) {
        const char *got = run(*state, table[i][0]);
        if (strcmp(got, table[i][1]) != 0) fail_msg("%s gave %s", table[i][0], got);
    }
    assert_non_null(strstr(run(*state, "decimal('1').x = 1"), "rule.lua:1: attempt to index"));
    assert_non_null(strstr(run(*state, "setmetatable(decimal, {})"), "protected metatable"));
    assert_non_null(strstr(run(*state, "return decimal('1') < 2"), "attempt to compare"));
}

static void c_side(void **state) {
    lua_State *L = *state;
    lua_settop(L, 0);
    sh_decimal_t d, in = {.units = -(((__int128)1 << 90) + 5), .scale = 3};
    sh_lua_decimal_push(L, in);
    assert_int_equal(lua_gettop(L), 1);
    assert_true(sh_lua_decimal_test(L, -1, &d));
    assert_true(sh_lua_decimal_test(L, 1, &d));
    assert_true(d.units == in.units && d.scale == in.scale);
    lua_pushnumber(L, 1);
    (void)lua_newuserdata(L, 24);
    luaL_newmetatable(L, "other");
    lua_setmetatable(L, -2);
    assert_false(sh_lua_decimal_test(L, 2, &d));
    assert_false(sh_lua_decimal_test(L, 3, &d));
    assert_false(sh_lua_decimal_test(L, 9, &d));
    assert_int_equal(lua_gettop(L), 3);
}

/* A primitive may push a decimal before any rule asked for the module: both must be the same kind. */
static void push_before_open(void **state) {
    (void)state;
    lua_State *L = luaL_newstate();
    sh_decimal_t d = {0, 0};
    lua_pushnil(L);
    assert_false(sh_lua_decimal_test(L, 1, &d));
    sh_lua_decimal_push(L, sh_decimal_of_i64(3));
    lua_setglobal(L, "three");
    luaL_openlibs(L);
    assert_int_equal(sh_lua_decimal_open(L, NULL), 1);
    lua_setglobal(L, "decimal");
    assert_string_equal(run(L, "return three + decimal('0.50')"), "3.50");
    lua_close(L);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(results, make_state, drop_state),
        cmocka_unit_test_setup_teardown(refusals_name_the_rule, make_state, drop_state),
        cmocka_unit_test_setup_teardown(c_side, make_state, drop_state),
        cmocka_unit_test(push_before_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
