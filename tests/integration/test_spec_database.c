/* Proves where spec files get their databases: on the given server when its login may create some, each service under its own role, and none of
 * them is left over, also when the run is killed; on a private server when it may not.
 * How: `shama test`'s run in a child process, on spec files of this test, with a Postgres of this test as the given one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "app/check.h"
#include "app/test_command.h"
#include "base/err.h"
#include "support/pg.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static sh_test_pg_t pg;
static sh_config_t config;
static sh_bundle_t *bundle;
static char folder[] = "/tmp/shama-spec-db-XXXXXX", spec[64], output[64], ready[64];

static const char roles_spec[] =
    "local test, db = require 'shama.test', require 'shama.db'\n"
    "setup(function() test.database() end)\n"
    "it('is empty and migrated', function() assert.equal('0', test.sql('SELECT count(*) FROM sales.quotations')[1].count) end)\n"
    "it('has the services under their roles', function()\n"
    "  for _, service in ipairs { 'sales', 'identity' } do\n"
    "    test.use(service)\n"
    "    assert.equal(service .. '_service_role', db.one('SELECT current_user::text AS u').u)\n"
    "  end\n"
    "  assert.is_false((pcall(db.query, 'SELECT * FROM sales.quotations')))\n"
    "end)\n"
    "it('is where the test says', function() assert.equal(os.getenv('SPEC_PORT'), db.one(\"SELECT current_setting('port') AS port\").port) end)\n";

static const char hanging_spec[] = "local test = require 'shama.test'\n"
                                   "it('waits', function() test.database() io.open(os.getenv('SPEC_READY'), 'w'):close() test.sleep(60000) end)\n";

static int set_up(void **state) {
    (void)state;
    sh_buf_t error = {0};
    setenv("SHAMA_ENV", "test", 1);
    if (sh_test_pg_start(&pg) || !mkdtemp(folder)) return -1;
    snprintf(spec, sizeof spec, "%s/one_spec.lua", folder);
    snprintf(output, sizeof output, "%s/output", folder);
    snprintf(ready, sizeof ready, "%s/ready", folder);
    setenv("SPEC_READY", ready, 1);
    if (sh_config_load(SHAMA_SOURCE_DIR, NULL, &config, &error) || sh_check_bundle(&config, &bundle, &error)) fail_msg("%s", sh_buf_c(&error));
    return sh_test_pg_run(&pg, "CREATE ROLE modest LOGIN; SELECT 1") ? 0 : -1;
}

static int tear_down(void **state) {
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -r %s", folder);
    sh_bundle_release(bundle);
    sh_config_dispose(&config);
    sh_test_pg_stop(&pg);
    return system(command);
}

static pid_t start(const char *login, const char *text) {
    char url[128];
    FILE *f = fopen(spec, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    snprintf(url, sizeof url, "postgresql://%s@127.0.0.1:%d/postgres", login, pg.port);
    sh_config_set(&config, "db.url", url);
    fflush(NULL);
    pid_t pid = fork();
    if (pid) return pid;
    int fd = open(output, O_CREAT | O_TRUNC | O_WRONLY, 0644);
    char *argv[] = {spec};
    const sh_test_opts_t opts = {.config = &config, .bundle = bundle, .limit_s = 60, .argc = 1, .argv = argv};
    if (fd < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0) _exit(99);
    signal(SIGTERM, SIG_DFL);
    exit(sh_test_run(&opts));
}

static int wait_for(pid_t pid) {
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 100 + WTERMSIG(status);
}

static void passes(const char *login) {
    int code = wait_for(start(login, roles_spec));
    if (!code) return;
    char text[4000] = "";
    FILE *f = fopen(output, "r");
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    fail_msg("code %d: %.*s", code, (int)n, text);
}

static const char *left_over(void) { return sh_test_pg_run(&pg, "SELECT count(*) FROM pg_database WHERE starts_with(datname, 'shama_test_')"); }

static void a_given_server_is_used_and_left_clean(void **state) {
    char port[8];
    (void)state;
    snprintf(port, sizeof port, "%d", pg.port);
    setenv("SPEC_PORT", port, 1);
    passes("postgres");
    assert_string_equal(left_over(), "0");
}

static void a_killed_run_leaves_nothing(void **state) {
    (void)state;
    pid_t pid = start("postgres", hanging_spec);
    for (int i = 0; i < 3000 && access(ready, F_OK); i++) usleep(10000);
    assert_string_equal(left_over(), "2"); /* the template and the file's */
    kill(pid, SIGTERM);
    assert_int_equal(wait_for(pid), 100 + SIGTERM);
    for (int i = 0; i < 500 && strcmp(left_over(), "0") != 0; i++) usleep(10000);
    assert_string_equal(left_over(), "0");
}

static void a_login_that_may_not_gets_a_private_server(void **state) {
    (void)state;
    setenv("SPEC_PORT", "5432", 1); /* a name in its folder, no TCP port */
    passes("modest");
    assert_string_equal(left_over(), "0");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_given_server_is_used_and_left_clean), cmocka_unit_test(a_killed_run_leaves_nothing),
                                       cmocka_unit_test(a_login_that_may_not_gets_a_private_server)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
