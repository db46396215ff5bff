/* Proves that a spec uses the database as rules do: queries and transactions in `it` and `before_each`, under the login of the service that it
 * names, and that what it leaves open is rolled back. How: `shama test`'s run on a spec file against a private Postgres with two logins. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "app/proto_compile.h"
#include "app/test_command.h"
#include "base/err.h"
#include "support/pg.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char spec[] = "local test, db, decimal = require 'shama.test', require 'shama.db', require 'shama.decimal'\n"
                           "describe('the database', function()\n"
                           "  local before\n"
                           "  before_each(function() test.use('sales') before = db.one('SELECT count(*)::int AS n FROM t').n end)\n"
                           "  it('answers under the login of the service', function()\n"
                           "    assert.equal('sales_service_role', db.one('SELECT current_user::text AS u').u)\n"
                           "    test.use('crm')\n"
                           "    assert.equal('crm_service_role', db.one('SELECT current_user::text AS u').u)\n"
                           "    local ok, problem = pcall(db.query, 'SELECT * FROM t')\n"
                           "    assert.is_false(ok) assert.equal('42501', problem.sqlstate)\n"
                           "  end)\n"
                           "  it('commits', function()\n"
                           "    db.tx(function(tx) tx:write('INSERT INTO t VALUES ($1, $2)', 1, decimal('12.50')) end)\n"
                           "    assert.equal(decimal('12.50'), db.one('SELECT price FROM t WHERE id = 1').price)\n"
                           "  end)\n"
                           "  it('rolls back', function()\n"
                           "    local ok, problem = pcall(db.tx, function(tx)\n"
                           "      tx:write('INSERT INTO t VALUES (2, 1)')\n"
                           "      assert.equal(before + 1, tx:one('SELECT count(*)::int AS n FROM t').n)\n"
                           "      error('no', 0)\n"
                           "    end)\n"
                           "    assert.is_false(ok) assert.equal('no', problem) assert.equal(before, db.one('SELECT count(*)::int AS n FROM t').n)\n"
                           "  end)\n"
                           "  it('does several things at once', function()\n"
                           "    local a, b = db.all({ 'SELECT 1 AS n' }, { 'SELECT 2 AS n FROM pg_sleep(0.05)' })\n"
                           "    assert.equal(3, a[1].n + b[1].n)\n"
                           "  end)\n"
                           "end)\n";

static void specs_use_the_database(void **state) {
    (void)state;
    sh_test_pg_t pg;
    sh_config_t config;
    sh_bundle_t *bundle;
    sh_buf_t error = {0}, descriptors = {0};
    char path[] = "/tmp/shama-db-spec-XXXXXX", port[16], name[64];
    assert_int_equal(sh_test_pg_start(&pg), 0);
    assert_non_null(sh_test_pg_run(&pg, "CREATE ROLE sales_service_role LOGIN; CREATE ROLE crm_service_role LOGIN;"
                                        "CREATE TABLE t (id int PRIMARY KEY, price numeric(10,2)); GRANT ALL ON t TO sales_service_role; SELECT 1"));
    snprintf(port, sizeof port, "%d", pg.port);
    setenv("SHAMA_ENV", "test", 1);
    if (sh_config_load(SHAMA_SOURCE_DIR, NULL, &config, &error)) fail_msg("%s", sh_buf_c(&error));
    sh_config_set(&config, "db.host", "127.0.0.1");
    sh_config_set(&config, "db.port", port);
    sh_config_set(&config, "db.name", "postgres");
    if (sh_proto_compile(SHAMA_SOURCE_DIR "/config/proto", &descriptors, &error)) fail_msg("%s", sh_buf_c(&error));
    const sh_bundle_source_t sources[] = {
        {.prefix = "lua/", .folder = SHAMA_SOURCE_DIR "/runtime/lua", .suffix = ".lua"},
        {.prefix = "proto/descriptors.bin", .bytes = sh_buf_str(&descriptors)},
    };
    if (sh_bundle_build(sources, SH_ARRAY_LEN(sources), &bundle, &error)) fail_msg("%s", sh_buf_c(&error));

    assert_non_null(mkdtemp(path));
    snprintf(name, sizeof name, "%s/db_spec.lua", path);
    FILE *f = fopen(name, "w");
    assert_non_null(f);
    fputs(spec, f);
    assert_int_equal(fclose(f), 0);
    char *argv[] = {name};
    const sh_test_opts_t opts = {.config = &config, .bundle = bundle, .limit_s = 30, .argc = 1, .argv = argv};
    assert_int_equal(sh_test_run(&opts), 0);
    assert_string_equal(sh_test_pg_run(&pg, "SELECT count(*) FROM t"), "1");

    unlink(name);
    rmdir(path);
    sh_bundle_release(bundle);
    sh_config_dispose(&config);
    sh_buf_dispose(&descriptors);
    sh_test_pg_stop(&pg);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(specs_use_the_database)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
