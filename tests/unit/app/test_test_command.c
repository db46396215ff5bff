/* Proves that specs run inside the runtime: rule modules come from the bundle through the sandbox, parking works in `it` and its kin, the exit
 * code is busted's, and whatever hangs (a loop, a wait, C code) ends the run with the name of the `it`.
 * How: small rules and specs in a temporary folder, run in a child process whose output is read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "app/proto_compile.h"
#include "app/test_command.h"
#include "base/err.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/tmp/shama-specs-XXXXXX";
static sh_config_t config;
static sh_bundle_t *bundle;
static sh_buf_t output;

static const char price_rule[] = "local decimal = require 'shama.decimal'\n"
                                 "return { rates = { low = decimal('8.00'), tiers = { 1, 2, 3 } },\n"
                                 "  double = function(x) return x * 2 end,\n"
                                 "  reach = function() return io end,\n"
                                 "  changed = function(f) return f() end }";
static const char clock_rule[] = "local clock = require 'shama.clock'\nreturn { today = function() return clock.today() end }";
static const char broken_rule[] = "return {\n  x = = 1,\n}";

static void write_file(const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static int set_up(void **state) {
    (void)state;
    sh_buf_t error = {0}, descriptors = {0};
    assert_non_null(mkdtemp(folder));
    setenv("SHAMA_ENV", "test", 1);
    if (sh_config_load(SHAMA_SOURCE_DIR, NULL, &config, &error)) fail_msg("%s", sh_buf_c(&error));
    if (sh_proto_compile(SHAMA_SOURCE_DIR "/config/proto", &descriptors, &error)) fail_msg("%s", sh_buf_c(&error));
    const sh_bundle_source_t sources[] = {
        {.prefix = "lua/", .folder = SHAMA_SOURCE_DIR "/runtime/lua", .suffix = ".lua"},
        {.prefix = "proto/descriptors.bin", .bytes = sh_buf_str(&descriptors)},
        {.prefix = "rules/demo/price.lua", .bytes = SH_STR(price_rule)},
        {.prefix = "rules/demo/clock.lua", .bytes = SH_STR(clock_rule)},
        {.prefix = "rules/demo/broken.lua", .bytes = SH_STR(broken_rule)},
    };
    if (sh_bundle_build(sources, SH_ARRAY_LEN(sources), &bundle, &error)) fail_msg("%s", sh_buf_c(&error));
    sh_buf_dispose(&descriptors);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    char command[512];
    snprintf(command, sizeof command, "rm -r %s", folder);
    sh_bundle_release(bundle);
    sh_config_dispose(&config);
    sh_buf_dispose(&output);
    return system(command);
}

static void read_output(const char *path) {
    FILE *f = fopen(path, "r");
    char chunk[4096];
    size_t n;
    assert_non_null(f);
    sh_buf_clear(&output);
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0) sh_buf_put(&output, chunk, n);
    fclose(f);
}

/* Runs `argv` in the folder as `shama test` would; returns the exit code. */
static int run_arguments(int argc, const char *const *argv, uint32_t limit_s) {
    char path[256];
    int status;
    snprintf(path, sizeof path, "%s/output", folder);
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0644);
        if (fd < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0 || chdir(folder)) _exit(99);
        const sh_test_opts_t opts = {.config = &config, .bundle = bundle, .limit_s = limit_s, .argc = argc, .argv = (char *const *)(uintptr_t)argv};
        exit(sh_test_run(&opts));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    read_output(path);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 100 + WTERMSIG(status);
}

static int run(const char *spec, uint32_t limit_s) {
    const char *argv[] = {"one_spec.lua"};
    write_file("one_spec.lua", spec);
    return run_arguments(1, argv, limit_s);
}

static void passes(const char *spec, const char *summary) {
    int code = run(spec, 20);
    if (code || !strstr(sh_buf_c(&output), summary)) fail_msg("code %d, expected \"%s\":\n%s", code, summary, sh_buf_c(&output));
}

static void says(const char *text) {
    if (!strstr(sh_buf_c(&output), text)) fail_msg("expected \"%s\" in:\n%s", text, sh_buf_c(&output));
}

static void rules_come_from_the_bundle_through_the_sandbox(void **state) {
    (void)state;
    passes("local price = require 'demo.price'\nlocal decimal = require 'shama.decimal'\n"
           "describe('price', function()\n"
           "  it('computes', function() assert.equal(decimal('4.50'), price.double(decimal('2.25'))) end)\n"
           "  it('is closed', function()\n"
           "    local ok, problem = pcall(price.reach)\n    assert.is_false(ok)\n    assert.matches('\"io\" does not exist in rules', problem)\n"
           "    assert.has_error(function() price.rates.low = 1 end)\n  end)\n"
           "  it('has io itself', function() assert.is_function(io.open) assert.is_table(package.loaded) assert.is_false((jit.status())) end)\n"
           "  it('finds Lua modules', function() assert.is_function(require('pl.path').join) end)\n"
           "end)\n",
           "4 successes / 0 failures / 0 errors");
}

static void frozen_tables_look_like_tables(void **state) {
    (void)state;
    passes("local price = require 'demo.price'\nlocal test = require 'shama.test'\n"
           "it('compares', function()\n"
           "  assert.same({ 1, 2, 3 }, price.rates.tiers)\n  assert.equal('table', type(price.rates))\n  assert.equal(3, #price.rates.tiers)\n"
           "  local sum = 0\n  for _, n in ipairs(price.rates.tiers) do sum = sum + n end\n  assert.equal(6, sum)\n"
           "  local copy = test.plain(price.rates)\n  copy.tiers[1] = 9\n  assert.equal(1, price.rates.tiers[1])\n"
           "end)\n",
           "1 success / 0 failures / 0 errors");
}

static void parking_works_wherever_busted_calls(void **state) {
    (void)state;
    passes("local test = require 'shama.test'\nlocal seen = {}\n"
           "describe('parking', function()\n"
           "  setup(function() test.sleep(1) seen[#seen + 1] = 'setup' end)\n"
           "  before_each(function() test.sleep(1) seen[#seen + 1] = 'before' end)\n"
           "  after_each(function() test.sleep(1) end)\n"
           "  teardown(function() test.sleep(1) end)\n"
           "  it('parks', function() test.sleep(5) finally(function() test.sleep(1) end) assert.same({ 'setup', 'before' }, seen) end)\n"
           "  it('parks in pcall', function()\n    local ok, problem = pcall(function() test.sleep(1) error('after', 0) end)\n"
           "    assert.is_false(ok) assert.equal('after', problem)\n  end)\n"
           "  it('parks in a loop', function() for _ = 1, 20 do test.sleep(0) end end)\n"
           "  it('tells where it cannot', function()\n"
           "    local ok, problem = pcall(table.sort, { 2, 1 }, function(a, b) test.sleep(1) return a < b end)\n"
           "    assert.is_false(ok) assert.matches('not possible to wait here', problem)\n"
           "    ok, problem = coroutine.resume(coroutine.create(function() test.sleep(1) end))\n"
           "    assert.is_false(ok) assert.matches('not possible to wait here', problem)\n    test.sleep(5)\n  end)\n"
           "end)\n",
           "4 successes / 0 failures / 0 errors");
}

static void the_clock_can_stand_still(void **state) {
    (void)state;
    passes("local test, rule = require 'shama.test', require 'demo.clock'\n"
           "it('freezes', function()\n  test.freeze('2026-01-31T12:00:00Z')\n  assert.equal('2026-01-31', rule.today())\n"
           "  test.freeze()\n  assert.not_equal('2026-01-31', rule.today())\n"
           "  assert.has_error(function() test.freeze('yesterday') end, 'freeze takes an RFC 3339 time like \"2026-01-31T12:00:00Z\", not "
           "\"yesterday\"')\n"
           "  assert.has_error(function() test.use('nobody') end, 'there is no service \"nobody\" in the configuration')\nend)\n",
           "1 success / 0 failures / 0 errors");
}

static void the_exit_code_is_busteds(void **state) {
    (void)state;
    assert_int_equal(run("it('fails', function() assert.equal(1, 2) end) it('passes', function() end)", 20), 1);
    says("1 success / 1 failure / 0 errors");
    says("one_spec.lua:1");
    assert_int_equal(run("it('raises', function() local x = nil; x() end)", 20), 1);
    says("0 successes / 0 failures / 1 error");
    assert_int_equal(run("this is no Lua", 20), 1);
    says("one_spec.lua:1");
    assert_int_equal(run("local x = require 'demo.broken'", 20), 1);
    says("rules/demo/broken.lua:2:");
    assert_int_equal(run("local x = require 'demo.prise'", 20), 1);
    says("there is no file rules/demo/prise.lua for the module \"demo.prise\"");
    assert_int_equal(run("it('leaves', function() os.exit(0) end)", 20), 1); /* it must not look like success */
    says("1 error");
}

static void options_are_busteds(void **state) {
    (void)state;
    char path[256];
    snprintf(path, sizeof path, "%s/tests", folder);
    assert_int_equal(mkdir(path, 0755), 0);
    strcat(path, "/spec");
    assert_int_equal(mkdir(path, 0755), 0);
    write_file("tests/spec/a_spec.lua", "it('one', function() end) it('two', function() error('not this one') end)");
    write_file("tests/spec/no.lua", "error('no spec')");
    const char *filter[] = {"--filter=one"}, *tap[] = {"-o", "TAP", "tests/spec", "--filter", "one"}, *missing[] = {"spec"},
               *unknown[] = {"--nonsense"};
    assert_int_equal(run_arguments(1, filter, 20), 0);
    says("1 success / 0 failures / 0 errors");
    assert_int_equal(run_arguments(5, tap, 20), 0);
    says("ok 1 - one");
    assert_int_equal(run_arguments(0, NULL, 20), 1);
    says("1 success / 0 failures / 1 error");
    assert_int_equal(run_arguments(1, missing, 20), 1);
    says("spec"); /* the folder named, not ours */
    assert_int_equal(run_arguments(1, unknown, 20), 1);
    says("--nonsense");
}

static void what_hangs_is_named(void **state) {
    (void)state;
    assert_int_equal(run("describe('slow', function() it('loops', function() while true do end end) end)", 1), 1);
    says("one_spec.lua: did not end within 1 s; it hangs in: \"slow loops\"");
    says("one_spec.lua:1: in function"); /* the traceback */
    assert_int_equal(
        run("describe('slow', function() it('loops in pcall', function() while true do pcall(function() while true do end end) end end) end)", 1), 1);
    says("it hangs in: \"slow loops in pcall\"");
    assert_int_equal(run("local test = require 'shama.test' it('waits', function() test.sleep(60000) end)", 1), 1);
    says("one_spec.lua: did not end within 1 s; it hangs in: \"waits\"");
    assert_int_equal(run("it('is stuck in C', function() require('system').sleep(60) end)", 1), 1);
    says("it hangs in: \"is stuck in C\"");
    assert_int_equal(run("while true do end", 1), 1);
    says("it hangs in: the file itself, outside of any test");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_come_from_the_bundle_through_the_sandbox),
        cmocka_unit_test(frozen_tables_look_like_tables),
        cmocka_unit_test(parking_works_wherever_busted_calls),
        cmocka_unit_test(the_clock_can_stand_still),
        cmocka_unit_test(the_exit_code_is_busteds),
        cmocka_unit_test(options_are_busteds),
        cmocka_unit_test(what_hangs_is_named),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
