/* Proves that migrations are applied once, in order, each wholly or not at all, and that every way in which files and database can disagree is
 * refused with the file's name; and that roles are made by a superuser, or asked for. Against a private Postgres, with migrations of this test's own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "app/dev_servers.h"
#include "app/migrate.h"
#include "base/err.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[] = "/tmp/shama-migrate-XXXXXX";
static sh_dev_state_t dev_state;
static sh_dev_server_t postgres;
static sh_config_t config;
static sh_buf_t message, script;
static FILE *quiet;

static const char settings[] =
    "return { env = \"test\", services = \"alpha,beta\", db = { url = \"\", host = \"127.0.0.1\", port = 1, name = \"shama_platform\", sslmode = "
    "\"disable\", password = \"\", pool = 1 },\n"
    "  alpha = { db = { user = \"alpha_role\", password = \"first\" } }, beta = { db = { user = \"beta_role\", password = \"\" } } }\n";

static void write_file(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static PGconn *login_as(const char *user, const char *password, const char *database) {
    sh_buf_t url = {0};
    sh_buf_printf(&url, "host=127.0.0.1 port=%d dbname=%s user=%s password=%s sslmode=disable options='-c client_min_messages=warning'",
                  postgres.port, database, user, password);
    PGconn *conn = PQconnectdb(sh_buf_c(&url));
    sh_buf_dispose(&url);
    return conn;
}

static PGconn *superuser(const char *database) {
    const char *password;
    assert_int_equal(sh_dev_state_secret(&dev_state, "postgres_password", &password, &message), SH_OK);
    PGconn *conn = login_as("postgres", password, database);
    assert_int_equal(PQstatus(conn), CONNECTION_OK);
    return conn;
}

static void assert_sql(PGconn *conn, const char *sql, const char *expected) {
    PGresult *result = PQexec(conn, sql);
    if (PQresultStatus(result) != PGRES_TUPLES_OK && PQresultStatus(result) != PGRES_COMMAND_OK) fail_msg("%s", PQresultErrorMessage(result));
    if (expected) assert_string_equal(PQgetvalue(result, 0, 0), expected);
    PQclear(result);
}

static int start_everything(void **state) {
    (void)state;
    clearenv(); /* DATABASE_URL and the like of whoever runs the tests */
    if (!mkdtemp(root) || chmod(root, 0755) || chdir(root)) return -1;
    mkdir("config", 0755), mkdir("sql", 0755), mkdir("sql/alpha", 0755), mkdir("sql/beta", 0755);
    write_file("config/shama.lua", settings);
    quiet = fopen("/dev/null", "we");
    int rc = sh_dev_state_open(&dev_state, &message);
    if (rc == SH_OK) rc = sh_dev_postgres_start(&dev_state, quiet, &postgres, &message);
    if (rc == SH_OK) rc = sh_config_load(root, NULL, &config, &message);
    if (rc) fprintf(stderr, "%s\n", sh_buf_c(&message));
    return rc;
}

static int stop_everything(void **state) {
    (void)state;
    sh_dev_server_stop(&postgres);
    sh_dev_state_close(&dev_state);
    sh_config_dispose(&config);
    sh_buf_dispose(&message);
    sh_buf_dispose(&script);
    fclose(quiet);
    sh_buf_t command = {0};
    sh_buf_printf(&command, "rm -rf %s", root);
    int rc = chdir("/") || system(sh_buf_c(&command));
    sh_buf_dispose(&command);
    return rc;
}

static int up(PGconn *conn) {
    const sh_migrate_opts_t opts = {.config = &config, .out = quiet};
    sh_buf_clear(&message);
    return sh_migrate_up(conn, &opts, &message);
}

/* `up` and `verify` refuse with a message that has both texts in it. */
static void assert_refused(PGconn *conn, const char *file, const char *why) {
    assert_int_not_equal(up(conn), SH_OK);
    if (!strstr(sh_buf_c(&message), file) || !strstr(sh_buf_c(&message), why)) fail_msg("not the message expected: %s", sh_buf_c(&message));
}

static void roles_are_needed_first(void **state) {
    (void)state;
    PGconn *conn = superuser("shama_platform");
    assert_sql(conn, "CREATE ROLE weak LOGIN PASSWORD 'weak'", NULL);
    PGconn *weak = login_as("weak", "weak", "shama_platform");
    const sh_migrate_opts_t opts = {.config = &config, .out = quiet, .readonly_password = "look"};
    assert_int_equal(sh_migrate_roles(weak, &opts, &message), SH_EDENIED);
    assert_non_null(strstr(sh_buf_c(&message), "shama_owner, shama_views, shama_readonly, alpha_role, beta_role"));
    assert_non_null(strstr(sh_buf_c(&message), "`shama migrate roles`"));

    /* The script holds no password and does what the superuser would. */
    setenv("PGUSER", "weak", 1);
    assert_int_equal(sh_migrate_roles_script(&opts, &script, &message), SH_OK);
    unsetenv("PGUSER");
    assert_null(strstr(sh_buf_c(&script), "first"));
    assert_null(strstr(sh_buf_c(&script), "look'"));
    assert_sql(conn, sh_buf_c(&script), NULL);
    sh_buf_clear(&message);
    assert_int_equal(sh_migrate_roles(weak, &opts, &message), SH_OK);
    assert_int_equal(sh_migrate_roles(conn, &opts, &message), SH_OK); /* again, by the superuser */
    assert_sql(conn, "SELECT rolcanlogin::text || rolbypassrls FROM pg_roles WHERE rolname = 'shama_owner'", "falsetrue");
    assert_sql(conn,
               "SELECT string_agg(rolsuper::text || rolbypassrls || rolcreaterole, ',') FROM pg_roles WHERE rolname ~ "
               "'(alpha|beta)_role|shama_(views|readonly)'",
               "falsefalsefalse,falsefalsefalse,falsefalsefalse,falsefalsefalse");

    PGconn *alpha = login_as("alpha_role", "first", "shama_platform"), *readonly = login_as("shama_readonly", "look", "shama_platform");
    assert_int_equal(PQstatus(alpha), CONNECTION_OK);
    assert_int_equal(PQstatus(readonly), CONNECTION_OK);
    assert_sql(readonly, "SHOW transaction_read_only", "on");
    PQfinish(alpha), PQfinish(readonly);

    /* Passwords of roles that are there change only when that is asked for. */
    sh_config_set(&config, "alpha.db.password", "second");
    assert_int_equal(sh_migrate_roles(conn, &opts, &message), SH_OK);
    alpha = login_as("alpha_role", "first", "shama_platform");
    assert_int_equal(PQstatus(alpha), CONNECTION_OK);
    PQfinish(alpha);
    sh_migrate_opts_t setting = opts;
    setting.set_passwords = true;
    assert_int_equal(sh_migrate_roles(conn, &setting, &message), SH_OK);
    alpha = login_as("alpha_role", "second", "shama_platform");
    assert_int_equal(PQstatus(alpha), CONNECTION_OK);
    PQfinish(alpha), PQfinish(weak), PQfinish(conn);
}

static void applies_once_in_order(void **state) {
    (void)state;
    write_file("sql/beta/0001_first.sql", "CREATE SCHEMA alpha;\nCREATE TABLE alpha.t (n int);\n");
    write_file("sql/alpha/0002_second.sql", "INSERT INTO alpha.t VALUES (1);\n");
    write_file("sql/alpha/0003_outside.sql", "-- shama: no transaction\nCREATE INDEX CONCURRENTLY t_n ON alpha.t (n);\n");
    write_file("sql/alpha/seed.sql", "this is no migration");
    PGconn *conn = login_as("weak", "weak", "shama_platform"); /* a member of shama_owner is enough */
    const sh_migrate_opts_t opts = {.config = &config, .out = quiet};
    sh_buf_clear(&message);
    assert_int_equal(sh_migrate_verify(conn, &opts, &message), SH_EINVAL);
    assert_non_null(strstr(sh_buf_c(&message), "sql/beta/0001_first.sql is not applied"));
    assert_int_equal(up(conn), SH_OK);
    assert_int_equal(up(conn), SH_OK);
    assert_int_equal(sh_migrate_verify(conn, &opts, &message), SH_OK);
    PGconn *root_conn = superuser("shama_platform");
    assert_sql(root_conn, "SELECT count(*) FROM alpha.t", "1");
    assert_sql(root_conn, "SELECT string_agg(version || schema, ',' ORDER BY version) FROM public.shama_migrations", "1beta,2alpha,3alpha");
    assert_sql(root_conn, "SELECT tableowner FROM pg_tables WHERE schemaname = 'alpha'", "shama_owner");
    assert_sql(root_conn, "SELECT count(*) FROM pg_indexes WHERE indexname = 't_n'", "1");
    assert_sql(root_conn, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'", "0");
    PQfinish(conn), PQfinish(root_conn);
}

static void a_mistake_leaves_nothing(void **state) {
    (void)state;
    PGconn *conn = superuser("shama_platform");
    write_file("sql/alpha/0004_wrong.sql", "INSERT INTO alpha.t VALUES (2);\n-- año nuevo\nSELECT * FROM nowhere;\n");
    assert_refused(conn, "sql/alpha/0004_wrong.sql:3", "\"nowhere\" does not exist");
    assert_sql(conn, "SELECT count(*) FROM alpha.t", "1");
    write_file("sql/alpha/0004_wrong.sql", "INSERT INTO alpha.t VALUES (2);\nCOMMIT;\n");
    assert_refused(conn, "sql/alpha/0004_wrong.sql", "leave BEGIN, COMMIT and ROLLBACK out");
    assert_sql(conn, "DELETE FROM alpha.t WHERE n = 2", NULL);
    unlink("sql/alpha/0004_wrong.sql");
    assert_int_equal(up(conn), SH_OK);
    PQfinish(conn);
}

static void disagreement_is_refused(void **state) {
    (void)state;
    PGconn *conn = superuser("shama_platform");
    write_file("sql/alpha/0002_second.sql", "INSERT INTO alpha.t VALUES (1) ;\n");
    assert_refused(conn, "sql/alpha/0002_second.sql", "was changed after it was applied");
    unlink("sql/alpha/0002_second.sql");
    assert_refused(conn, "sql/alpha/0002_second.sql", "older than the database");
    write_file("sql/beta/0002_second.sql", "INSERT INTO alpha.t VALUES (1);\n");
    assert_refused(conn, "sql/beta/0002_second.sql", "was changed after it was applied");
    write_file("sql/alpha/0002_second.sql", "INSERT INTO alpha.t VALUES (1);\n");
    assert_refused(conn, "have the same number", "sql/beta/0002_second.sql");
    unlink("sql/beta/0002_second.sql");
    write_file("sql/alpha/0000_late.sql", "SELECT 1;\n");
    assert_refused(conn, "sql/alpha/0000_late.sql", "go forward only");
    unlink("sql/alpha/0000_late.sql");
    write_file("sql/alpha/04_short.sql", "SELECT 1;\n");
    assert_refused(conn, "04_short.sql", "NNNN_what.sql");
    unlink("sql/alpha/04_short.sql");
    assert_int_equal(up(conn), SH_OK);
    PQfinish(conn);
}

static void seed_data(void **state) {
    (void)state;
    PGconn *conn = superuser("shama_platform");
    sh_buf_clear(&message);
    write_file("seed.sql", "-- Not a statement yet.\n\n-- statement\nCREATE TABLE alpha.u (name text PRIMARY KEY, hash text)\n\n-- statement\nINSERT "
                           "INTO alpha.u VALUES ('x', $1)\n");
    assert_int_equal(sh_migrate_seed(conn, "seed.sql", "it's a hash", &message), SH_OK);
    assert_sql(conn, "SELECT hash FROM alpha.u", "it's a hash");
    write_file("seed.sql", "\n-- statement\nINSERT INTO alpha.u VALUES ('y', $1)\n\n-- statement\nINSERT INTO alpha.u VALUES ('x', $1)\n");
    assert_int_equal(sh_migrate_seed(conn, "seed.sql", "h", &message), SH_EDB);
    assert_non_null(strstr(sh_buf_c(&message), "seed.sql:6: "));
    assert_sql(conn, "SELECT count(*) FROM alpha.u", "1"); /* all or nothing */
    PQfinish(conn);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(roles_are_needed_first),
        cmocka_unit_test(applies_once_in_order),
        cmocka_unit_test(a_mistake_leaves_nothing),
        cmocka_unit_test(disagreement_is_refused),
        cmocka_unit_test(seed_data),
    };
    return cmocka_run_group_tests(tests, start_everything, stop_everything);
}
