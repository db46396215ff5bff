/* Proves the heart of the host without HTTP, SQL or NATS: rules load from a bundle only, run as tasks that park and resume, cannot get
 * out of the sandbox's names, and are ended over budget whatever they catch; after each of these the state serves the next task.
 * How: small rule files as bytes in a bundle, a primitive that parks, and tasks run to their end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/time.h"
#include "host/vm.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct file {
    const char *name, *text;
} file_t;

static char *sandbox_source;

static void read_sandbox(void) {
    FILE *f = fopen(SHAMA_SOURCE_DIR "/runtime/lua/host/sandbox.lua", "r");
    assert_non_null(f);
    sandbox_source = sh_calloc(1, 65536);
    assert_true(fread(sandbox_source, 1, 65535, f) > 0);
    fclose(f);
}

static sh_bundle_t *bundle_of(const file_t *files, size_t count) {
    sh_bundle_source_t sources[16] = {{.prefix = "lua/host/sandbox.lua", .bytes = sh_str_of(sandbox_source)}};
    sh_buf_t error = {0};
    sh_bundle_t *bundle;
    for (size_t i = 0; i < count; i++) sources[i + 1] = (sh_bundle_source_t){.prefix = files[i].name, .bytes = sh_str_of(files[i].text)};
    assert_int_equal(sh_bundle_build(sources, count + 1, &bundle, &error), SH_OK);
    return bundle;
}

/* The primitive `shama.wait`: wait() parks, the test resumes. */
static sh_task_t *waiting;
static int cancelled;
static void on_cancel(void *data) { (void)data, cancelled++; }
static int wait_here(lua_State *L) {
    waiting = sh_task_current(L);
    return sh_task_park(L, on_cancel, NULL);
}
static int open_wait(lua_State *L, void *data) {
    (void)data;
    lua_newtable(L);
    lua_pushcfunction(L, wait_here);
    lua_setfield(L, -2, "here");
    return 1;
}

static const sh_primitive_t primitives[] = {{.name = "wait", .open = open_wait}};
static const sh_budget_t budget = {.slice_ms = 20, .task_ms = 100, .memory_bytes = 8 << 20};

/* Loads; returns the error text, or NULL and the vm. */
static char *load(const file_t *files, size_t count, sh_vm_t **out) {
    static sh_buf_t error;
    sh_bundle_t *bundle = bundle_of(files, count);
    const sh_vm_opts_t opts = {.service = "demo", .bundle = bundle, .primitives = primitives, .primitive_count = 1, .budget = budget};
    sh_vm_t *vm;
    int rc;
    sh_buf_clear(&error);
    assert_int_equal(sh_vm_create(&opts, &vm, &error), SH_OK);
    sh_bundle_release(bundle);
    while ((rc = sh_vm_load_step(vm, &error)) > 0) continue;
    if (rc == SH_OK) {
        *out = vm;
        return NULL;
    }
    sh_vm_destroy(vm);
    return (char *)sh_buf_c(&error);
}

static const char es[] = "return { NOPE = 'no, {why}' }";

static sh_vm_t *vm_with_handler(const char *body) {
    static char source[8192];
    sh_vm_t *vm = NULL;
    snprintf(source, sizeof source,
             "local wait = require 'shama.wait'\n"
             "local function run(req) %s end\n"
             "return { name = 'demo', needs = { 'wait' }, refusals = { NOPE = 409 }, routes = { { 'GET', '/x/:id', run, public = true } } }",
             body);
    const file_t files[] = {{"rules/demo/service.lua", source}, {"rules/demo/messages/es.lua", es}, {"rules/demo/messages/en.lua", es}};
    char *error = load(files, 3, &vm);
    if (error) fail_msg("%s", error);
    return vm;
}

typedef struct outcome {
    int calls, status;
    char text[512];
} outcome_t;

static void on_done(void *data, sh_task_t *task, int status, lua_State *L, int nresults) {
    outcome_t *o = data;
    (void)task;
    o->calls++;
    o->status = status;
    o->text[0] = 0;
    if (nresults && lua_type(L, -1) == LUA_TSTRING) snprintf(o->text, sizeof o->text, "%s", lua_tostring(L, -1));
    if (nresults && lua_type(L, -1) == LUA_TNUMBER) snprintf(o->text, sizeof o->text, "%g", lua_tonumber(L, -1));
}

static int push_handler(lua_State *L, void *data) {
    (void)data;
    lua_rawgeti(L, LUA_REGISTRYINDEX, sh_vm_manifest(sh_vm_of(L))->routes[0].handler);
    return 0;
}

static outcome_t run(sh_vm_t *vm) {
    static const sh_task_opts_t opts = {.name = "GET /x"};
    outcome_t o = {0};
    sh_task_t *task = sh_task_start(vm, &opts, push_handler, on_done, &o);
    assert_null(task);
    assert_int_equal(o.calls, 1);
    assert_int_equal(sh_vm_tasks(vm), 0);
    return o;
}

static void returns_what_the_rule_returns(void **state) {
    (void)state;
    sh_vm_t *vm = vm_with_handler("return 'hello'");
    for (int i = 0; i < 1000; i++) {
        outcome_t o = run(vm);
        assert_int_equal(o.status, SH_OK);
        assert_string_equal(o.text, "hello");
    }
    sh_vm_destroy(vm);
}

static void parks_and_resumes_with_results(void **state) {
    (void)state;
    sh_vm_t *vm = vm_with_handler("local a = wait.here(); local ok, b = pcall(wait.here); return a .. tostring(ok) .. b");
    static const sh_task_opts_t opts = {.name = "x"};
    outcome_t o = {0};
    sh_task_t *task = sh_task_start(vm, &opts, push_handler, on_done, &o);
    assert_non_null(task);
    lua_pushstring(sh_task_lua(task), "one ");
    sh_task_resume(task, 1);
    assert_int_equal(o.calls, 0);
    lua_pushstring(sh_task_lua(task), " two");
    sh_task_resume(task, 1);
    assert_int_equal(o.calls, 1);
    assert_string_equal(o.text, "one true two");
    sh_vm_destroy(vm);
}

static void cancel_drops_the_pending_operation(void **state) {
    (void)state;
    sh_vm_t *vm = vm_with_handler("wait.here() return 'never'");
    static const sh_task_opts_t opts = {.name = "x"};
    outcome_t o = {0};
    cancelled = 0;
    sh_task_t *task = sh_task_start(vm, &opts, push_handler, on_done, &o);
    sh_task_cancel(task, SH_ECANCELED);
    assert_int_equal(cancelled, 1);
    assert_int_equal(o.calls, 1);
    assert_int_equal(o.status, SH_ECANCELED);
    sh_vm_destroy(vm);
}

static void endless_loops_are_ended_whatever_they_catch(void **state) {
    (void)state;
    static const char *const loops[] = {
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "local function f() return f() end return f()",
        "local t = setmetatable({}, { __index = function(t, k) return t[k + 1] end }) while true do pcall(function() return t[1] end) end",
        "for _ in function() return 1 end do end",
        "while true do ('x'):gsub('.', function() while true do end end) end",
        "local t = {} for i = 1, 1000 do t[i] = i end while true do pcall(table.sort, t, function(a, b) while true do end end) end",
        "xpcall(function() while true do end end, function() while true do end end) while true do end",
    };
    for (size_t i = 0; i < SH_ARRAY_LEN(loops); i++) {
        sh_vm_t *vm = vm_with_handler(loops[i]);
        uint64_t before = sh_time_mono_ns();
        outcome_t o = run(vm);
        if (o.status != SH_EBUDGET) fail_msg("%s: ended with %d", loops[i], o.status);
        assert_true(sh_time_mono_ns() - before < 2000000000u);
        assert_non_null(strstr(sh_vm_traceback(vm), "rules/demo/service.lua"));
        sh_vm_destroy(vm);
    }
}

static void memory_hogs_fail_and_the_state_lives_on(void **state) {
    (void)state;
    sh_vm_t *vm = vm_with_handler("local t, s = {}, ('x'):rep(1000) while #t < 1e9 do t[#t + 1] = s .. #t end");
    for (int i = 0; i < 3; i++) {
        outcome_t o = run(vm);
        assert_true(o.status == SH_EMEMORY || o.status == SH_EBUDGET);
    }
    assert_true(sh_vm_memory(vm) <= budget.memory_bytes);
    sh_vm_destroy(vm);
}

static void messages_are_filled(void **state) {
    (void)state;
    sh_vm_t *vm = vm_with_handler("return 1");
    lua_State *L = sh_vm_lua(vm);
    lua_newtable(L);
    lua_pushliteral(L, "because");
    lua_setfield(L, -2, "why");
    sh_vm_push_message(L, "NOPE", "en", lua_gettop(L));
    assert_string_equal(lua_tostring(L, -1), "no, because");
    lua_settop(L, 0);
    sh_vm_push_message(L, "UNKNOWN_CODE", "es", 0);
    assert_string_equal(lua_tostring(L, -1), "UNKNOWN_CODE");
    lua_settop(L, 0);
    sh_vm_destroy(vm);
}

static void refuses_at_load_with_the_place(void **state) {
    (void)state;
    static const struct {
        file_t files[3];
        const char *expected[2];
    } cases[] = {
        {{{"rules/demo/service.lua", "return {\n name = 'demo'\n routes = 1 }"}}, {"rules/demo/service.lua:3:", ""}},
        {{{"rules/demo/service.lua", "local x = undefined_name\nreturn {}"}}, {"rules/demo/service.lua:1:", "undefined_name"}},
        {{{"rules/demo/service.lua", "\nprin('x')\nreturn {}"}}, {"rules/demo/service.lua:2:", "undefined name"}},
        {{{"rules/demo/service.lua", "total = 1\nreturn {}"}}, {"rules/demo/service.lua:1:", "local total"}},
        {{{"rules/demo/service.lua", "local a = require 'demo.a'\nreturn {}"},
          {"rules/demo/a.lua", "require 'demo.b' return {}"},
          {"rules/demo/b.lua", "require 'demo.a' return {}"}},
         {"circle", "demo.a -> demo.b -> demo.a"}},
        {{{"rules/demo/service.lua", "require 'other.x'\nreturn {}"}}, {"another one's module", "other.x"}},
        {{{"rules/demo/service.lua", "require 'shama.wai'\nreturn {}"}}, {"shama.wai", "did you mean \"shama.wait\""}},
        {{{"rules/demo/service.lua", "require 'shama.wait'\nreturn { name = 'demo' }"}}, {"needs", "wait"}},
        {{{"rules/demo/service.lua", "return { name = 'demo', route = {} }"}}, {"unknown key \"route\"", "routes"}},
        {{{"rules/demo/service.lua", "return { name = 'demo', refusals = { BAD = 409 } }"}}, {"BAD", "no text in messages/"}},
        {{{"rules/demo/service.lua", "return { name = 'demo', routes = { { 'GET', '/x', function() end } } }"}}, {"nobody may use it", "routes[1]"}},
        {{{"rules/demo/service.lua", "return { name = 'demo', routes = { { 'GET', '/x', nil, roles = { 'A' } } } }"}},
         {"must be a function", "GET /x"}},
        {{{"rules/demo/service.lua", "\27LuaP"}}, {"service.lua", ""}},
        {{{"rules/demo/service.lua", "while true do end"}}, {"budget", "service.lua"}},
        {{{"rules/demo/service.lua", "error({})"}}, {"no text", ""}},
    };
    for (size_t i = 0; i < SH_ARRAY_LEN(cases); i++) {
        sh_vm_t *vm = NULL;
        size_t n = 1;
        while (n < 3 && cases[i].files[n].name) n++;
        char *error = load(cases[i].files, n, &vm);
        if (!error) fail_msg("case %zu loaded", i);
        for (int k = 0; k < 2; k++)
            if (!strstr(error, cases[i].expected[k])) fail_msg("case %zu: \"%s\" lacks \"%s\"", i, error, cases[i].expected[k]);
    }
}

static void modules_cannot_be_changed(void **state) {
    (void)state;
    sh_vm_t *vm = NULL;
    const file_t files[] = {
        {"rules/demo/service.lua", "local policy = require 'demo.policy'\n"
                                   "local function run()\n"
                                   "  local ok, why = pcall(function() policy.limit = 99 end)\n"
                                   "  local ok2 = pcall(function() policy.list[1] = 99 end)\n"
                                   "  local ok3 = pcall(rawset, policy, 'limit', 99)\n"
                                   "  local ok4 = pcall(function() string.upper = nil end)\n"
                                   "  local n = 0\n"
                                   "  for _, v in ipairs(policy.list) do n = n + v end\n"
                                   "  for k, v in pairs(policy) do n = n + 100 end\n"
                                   "  local _, leaked = pairs(policy)\n"
                                   "  pcall(function() leaked.limit = 99 end)\n"
                                   "  return table.concat({ tostring(ok), tostring(ok2), tostring(ok3), tostring(ok4), tostring(policy.limit), "
                                   "tostring(#policy.list), tostring(n), type(policy) }, ' ')\n"
                                   "end\n"
                                   "return { name = 'demo', routes = { { 'GET', '/x', run, public = true } } }"},
        {"rules/demo/policy.lua", "return { limit = 10, list = { 1, 2, 3 } }"},
    };
    char *error = load(files, 2, &vm);
    if (error) fail_msg("%s", error);
    outcome_t o = run(vm);
    assert_string_equal(o.text, "false false false false 10 3 206 table");
    sh_vm_destroy(vm);
}

static void deciders_may_not_reach_primitives(void **state) {
    (void)state;
    sh_vm_t *vm = NULL;
    const file_t files[] = {
        {"rules/demo/service.lua", "require 'demo.d' return { name = 'demo', needs = { 'wait' } }"},
        {"rules/demo/d.lua", "require 'shama.decider'\nrequire 'demo.helper'\nreturn {}"},
        {"rules/demo/helper.lua", "require 'shama.wait' return {}"},
        {"lua/shama/decider.lua", "return {}"},
    };
    char *error = load(files, 4, &vm);
    assert_non_null(error);
    assert_non_null(strstr(error, "rules/demo/d.lua: a decider may use pure modules only, but shama.wait is not"));
}

int main(void) {
    read_sandbox();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(returns_what_the_rule_returns),           cmocka_unit_test(parks_and_resumes_with_results),
        cmocka_unit_test(cancel_drops_the_pending_operation),      cmocka_unit_test(endless_loops_are_ended_whatever_they_catch),
        cmocka_unit_test(memory_hogs_fail_and_the_state_lives_on), cmocka_unit_test(messages_are_filled),
        cmocka_unit_test(refuses_at_load_with_the_place),          cmocka_unit_test(modules_cannot_be_changed),
        cmocka_unit_test(deciders_may_not_reach_primitives),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(sandbox_source);
    return failed;
}
