/* Proves that settings come from defaults, file and environment in this order, that what is misspelled is refused by name, and that a service has its
 * settings once it is named in `services` or has a folder in rules/. How: small trees in a temporary folder, loaded with a set environment. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "app/config.h"
#include "base/err.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[] = "/tmp/shama-config-XXXXXX";
static const char defaults[] =
    "return { services = 'sales', http = { port = 5000 }, log = { level = 'info' }, db = { url = '', host = 'h', port = 1, name = 'n', sslmode = "
    "'prefer',"
    " password = 'common', pool = 10 }, sales = { db = { user = 'sales_role', password = '', pool = 0 } }, deep = { on = true } }";

static void write_file(const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", root, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static void make_folder(const char *name) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", root, name);
    assert_int_equal(mkdir(path, 0755), 0);
}

static int set_up(void **state) {
    (void)state;
    assert_non_null(mkdtemp(root));
    make_folder("config");
    make_folder("rules");
    make_folder("rules/loyalty");
    write_file("config/shama.lua", defaults);
    write_file("rules/loyalty/service.lua", "return {}");
    clearenv();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "/bin/rm -rf %s", root);
    return system(command) == 0 ? 0 : -1;
}

static int clear(void **state) {
    (void)state;
    clearenv();
    return 0;
}

static void load(sh_config_t *config, const char *file_text) {
    char path[256] = "";
    sh_buf_t error = {0};
    if (file_text) write_file("operator.lua", file_text), snprintf(path, sizeof path, "%s/operator.lua", root);
    if (sh_config_load(root, file_text ? path : NULL, config, &error)) fail_msg("%s", sh_buf_c(&error));
    sh_buf_dispose(&error);
}

static void assert_refused(const char *file_text, const char *reason) {
    char path[256];
    sh_config_t config;
    sh_buf_t error = {0};
    write_file("operator.lua", file_text);
    snprintf(path, sizeof path, "%s/operator.lua", root);
    assert_int_equal(sh_config_load(root, path, &config, &error), SH_EINVAL);
    if (!strstr(sh_buf_c(&error), reason)) fail_msg("wanted \"%s\", got \"%s\"", reason, sh_buf_c(&error));
    sh_buf_dispose(&error);
}

static void the_later_wins(void **state) {
    (void)state;
    sh_config_t config;
    load(&config, NULL);
    assert_int_equal(sh_config_int(&config, "http.port"), 5000);
    sh_config_dispose(&config);
    load(&config, "return { http = { port = 6000 } }");
    assert_int_equal(sh_config_int(&config, "http.port"), 6000);
    sh_config_dispose(&config);
    setenv("PORT", "7000", 1);
    load(&config, "return { http = { port = 6000 } }");
    assert_int_equal(sh_config_int(&config, "http.port"), 7000);
    sh_config_dispose(&config);
}

static void what_is_misspelled_is_refused(void **state) {
    (void)state;
    assert_refused("return { htp = { port = 1 } }", "unknown setting \"htp.port\" (did you mean \"http.port\"?)");
    assert_refused("return { http = { port = 'x' } }", "\"http.port\" must be a whole number");
    assert_refused("return { deep = { on = 'perhaps' } }", "must be true or false");
    assert_refused("return { loyality = { db = { pool = 1 } } }", "unknown setting \"loyality.db.pool\"");
    assert_refused("return { loyalty = { db = { pol = 1 } } }", "unknown setting \"loyalty.db.pol\" (did you mean \"loyalty.db.pool\"?)");
    assert_refused("return { loyalty = { other = 1 } }", "unknown setting \"loyalty.other\"");
    assert_refused("return { loyalty = { db = { pool = 'many' } } }", "must be a whole number");
    assert_refused("return { ['../x'] = { db = { pool = 1 } } }", "unknown setting");
}

static void a_named_service_has_settings(void **state) {
    (void)state;
    sh_config_t config;
    sh_buf_t conninfo = {0};
    setenv("SERVICES", "sales, extra", 1);
    setenv("EXTRA_DB_PASSWORD", "its own", 1);
    setenv("EXTRA_DB_POOL", "3", 1);
    load(&config, NULL);
    assert_string_equal(sh_config_str(&config, "extra.db.user"), "extra_service_role");
    assert_string_equal(sh_config_str(&config, "extra.db.password"), "its own");
    assert_int_equal(sh_config_service_int(&config, "extra", "db.pool"), 3);
    assert_int_equal(sh_config_service_int(&config, "sales", "db.pool"), 10);
    assert_true(sh_config_is_secret("extra.db.password"));
    assert_false(sh_config_is_secret("extra.db.user"));
    sh_config_conninfo(&config, "extra", &conninfo);
    assert_string_equal(sh_buf_c(&conninfo), "host='h' port='1' dbname='n' user='extra_service_role' password='its own' sslmode='prefer'");
    sh_buf_dispose(&conninfo);
    sh_config_dispose(&config);
}

static void a_service_with_a_folder_has_settings(void **state) {
    (void)state;
    sh_config_t config;
    load(&config, "return { services = 'sales,loyalty', loyalty = { db = { user = 'points', pool = 2 } } }");
    assert_string_equal(sh_config_str(&config, "loyalty.db.user"), "points");
    assert_int_equal(sh_config_int(&config, "loyalty.db.pool"), 2);
    assert_string_equal(sh_config_str(&config, "loyalty.db.password"), "");
    sh_config_dispose(&config);
}

static void secrets_come_from_files(void **state) {
    (void)state;
    char path[256];
    sh_config_t config;
    write_file("secret", "from a file\n");
    snprintf(path, sizeof path, "%s/secret", root);
    setenv("SALES_DB_PASSWORD", "from the environment", 1);
    setenv("SALES_DB_PASSWORD_FILE", path, 1);
    load(&config, NULL);
    assert_string_equal(sh_config_str(&config, "sales.db.password"), "from a file");
    sh_config_dispose(&config);
    setenv("SALES_DB_PASSWORD_FILE", "/nonexistent", 1);
    assert_refused("return {}", "SALES_DB_PASSWORD_FILE: cannot read /nonexistent");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(the_later_wins, clear),
        cmocka_unit_test_teardown(what_is_misspelled_is_refused, clear),
        cmocka_unit_test_teardown(a_named_service_has_settings, clear),
        cmocka_unit_test_teardown(a_service_with_a_folder_has_settings, clear),
        cmocka_unit_test_teardown(secrets_come_from_files, clear),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
