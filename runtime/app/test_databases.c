/* Where databases are made: a server, a template on it, and numbered copies. */
#include "app/test_databases.h"

#include "app/keeper.h"
#include "app/migrate.h"
#include "app/test_postgres.h"
#include "base/err.h"
#include "codec/crypto.h"

#include <stdlib.h>
#include <unistd.h>

enum { NAME_BYTES = 48, STATEMENT_MS_MAX = 20000 };

struct sh_test_databases {
    const sh_config_t *config;
    sh_test_postgres_t postgres; /* when it is a private one */
    sh_keeper_t keeper;
    sh_buf_t server;           /* conninfo of the login that makes databases, without a database */
    bool is_private, is_ready; /* is_ready: there is a template */
    char prefix[NAME_BYTES];   /* of all names: they are this run's */
    uint32_t made;
    char name[NAME_BYTES + 16]; /* the current one, or "" */
    PGconn *owner;
};

sh_test_databases_t *sh_test_databases_create(const sh_config_t *config) {
    sh_test_databases_t *d = sh_calloc(1, sizeof *d);
    uint8_t random[4];
    char hex[9] = "";
    d->config = config;
    sh_crypto_random(random, sizeof random);
    sh_hex_encode(random, sizeof random, hex);
    snprintf(d->prefix, sizeof d->prefix, "shama_test_%s", hex);
    return d;
}

void sh_test_databases_destroy(sh_test_databases_t *d) {
    if (!d) return;
    PQfinish(d->owner);
    sh_keeper_stop(&d->keeper);
    if (d->server.ptr) explicit_bzero(d->server.ptr, d->server.cap);
    sh_buf_dispose(&d->server);
    free(d);
}

/* ---- statements */

static void put_pair(sh_buf_t *out, const char *key, const char *value) {
    sh_buf_printf(out, "%s%s='", out->len ? " " : "", key);
    for (; *value; value++) {
        if (*value == '\'' || *value == '\\') sh_buf_put_byte(out, '\\');
        sh_buf_put_byte(out, *value);
    }
    sh_buf_put_byte(out, '\'');
}

static PGconn *connect_to(const sh_test_databases_t *d, const char *database) {
    sh_buf_t conninfo = {0};
    sh_buf_put_str(&conninfo, sh_buf_str(&d->server));
    put_pair(&conninfo, "dbname", database);
    put_pair(&conninfo, "application_name", "shama test");
    PGconn *conn = PQconnectdb(sh_buf_c(&conninfo));
    explicit_bzero(conninfo.ptr, conninfo.cap);
    sh_buf_dispose(&conninfo);
    if (PQstatus(conn) == CONNECTION_OK) PQclear(PQexec(conn, "SET client_min_messages = warning"));
    return conn;
}

static int run(PGconn *conn, const char *sql, sh_buf_t *error) {
    PGresult *result = PQexec(conn, sql);
    ExecStatusType status = PQresultStatus(result);
    int rc = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK ? SH_OK : SH_EDB;
    if (rc) sh_buf_printf(error, "%s", PQerrorMessage(conn));
    PQclear(result);
    return rc;
}

/* The database that CREATE DATABASE is said from; it exists everywhere. */
static int run_beside(const sh_test_databases_t *d, const char *sql, sh_buf_t *error) {
    PGconn *conn = connect_to(d, "postgres");
    int rc = run(conn, sql, error);
    PQfinish(conn);
    return rc;
}

/* ---- the server */

static int begin_private(void *data, sh_buf_t *error) { return sh_test_postgres_start(&((sh_test_databases_t *)data)->postgres, error); }
static void finish_private(void *data) { sh_test_postgres_stop(&((sh_test_databases_t *)data)->postgres); }

/* Drops all that has this run's prefix. */
static void finish_given(void *data) {
    const sh_test_databases_t *d = data;
    sh_buf_t error = {0}, sql = {0};
    PGconn *conn = connect_to(d, "postgres");
    const char *prefix = d->prefix;
    PGresult *names = PQexecParams(conn, "SELECT datname FROM pg_database WHERE starts_with(datname, $1)", 1, NULL, &prefix, NULL, NULL, 0);
    for (int i = 0; i < PQntuples(names); i++) {
        sh_buf_clear(&sql);
        sh_buf_printf(&sql, "DROP DATABASE IF EXISTS %s WITH (FORCE)", PQgetvalue(names, i, 0));
        if (run(conn, sh_buf_c(&sql), &error)) fprintf(stderr, "shama test: %s stays: %s", PQgetvalue(names, i, 0), sh_buf_c(&error));
        sh_buf_clear(&error);
    }
    PQclear(names);
    PQfinish(conn);
    sh_buf_dispose(&sql);
    sh_buf_dispose(&error);
}

static int start_private(sh_test_databases_t *d, sh_buf_t *error) {
    int rc = sh_test_postgres_init(&d->postgres, error);
    if (rc) return rc;
    const sh_keeper_opts_t opts = {begin_private, finish_private, d};
    rc = sh_keeper_start(&opts, &d->keeper, error);
    if (rc) return rc;
    d->is_private = true;
    sh_buf_clear(&d->server);
    sh_buf_printf(&d->server, "host='%s' port='5432' user='postgres'", d->postgres.folder);
    return SH_OK;
}

/* The parts of the address, but for the database. */
static int take_address(sh_test_databases_t *d) {
    PQconninfoOption *options = PQconninfoParse(sh_config_str(d->config, "db.url"), NULL);
    for (PQconninfoOption *o = options; o && o->keyword; o++)
        if (o->val && strcmp(o->keyword, "dbname") != 0) put_pair(&d->server, o->keyword, o->val);
    PQconninfoFree(options);
    return options ? SH_OK : SH_EINVAL;
}

/* Is there a given server, and may its login make databases? */
static bool may_use_given(sh_test_databases_t *d) {
    if (!*sh_config_str(d->config, "db.url") || take_address(d)) return false;
    PGconn *conn = connect_to(d, "postgres");
    PGresult *answer = PQexec(conn, "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user");
    bool may = PQntuples(answer) == 1 && strcmp(PQgetvalue(answer, 0, 0), "t") == 0;
    if (!may)
        fprintf(stderr, "shama test: the login of DATABASE_URL %s: a private Postgres is used for test.database()\n",
                PQstatus(conn) == CONNECTION_OK ? "may not create databases" : "does not get in");
    PQclear(answer);
    PQfinish(conn);
    return may;
}

static int start_server(sh_test_databases_t *d, sh_buf_t *error) {
    if (!may_use_given(d)) return start_private(d, error);
    const sh_keeper_opts_t opts = {NULL, finish_given, d};
    return sh_keeper_start(&opts, &d->keeper, error);
}

/* ---- the template */

static int migrate(const sh_test_databases_t *d, PGconn *conn, sh_buf_t *error) {
    FILE *nowhere = fopen("/dev/null", "we");
    if (!nowhere) return SH_EIO;
    sh_buf_t ignored = {0};
    /* A login that is no superuser owns the database; shama_owner gets its rights on it from there. If there is no such role, what follows tells. */
    if (run(conn,
            "DO $$ BEGIN EXECUTE format('GRANT CONNECT, CREATE, TEMPORARY ON DATABASE %I TO shama_owner', current_database()); END $$;"
            "GRANT USAGE, CREATE ON SCHEMA public TO shama_owner",
            &ignored))
        sh_buf_clear(&ignored);
    const sh_migrate_opts_t opts = {.config = d->config, .out = nowhere};
    int rc = sh_migrate_roles(conn, &opts, error);
    if (rc == SH_OK) rc = sh_migrate_up(conn, &opts, error);
    sh_buf_dispose(&ignored);
    fclose(nowhere);
    return rc;
}

static int make_template(sh_test_databases_t *d, sh_buf_t *error) {
    char name[NAME_BYTES + 16], sql[256];
    snprintf(name, sizeof name, "%s_template", d->prefix);
    snprintf(sql, sizeof sql, "CREATE DATABASE %s", name);
    int rc = run_beside(d, sql, error);
    if (rc) return rc;
    PGconn *conn = connect_to(d, name);
    rc = migrate(d, conn, error);
    PQfinish(conn); /* before it is copied */
    return rc;
}

/* ---- databases */

static int open_owner(sh_test_databases_t *d, sh_buf_t *error) {
    char sql[96];
    d->owner = connect_to(d, d->name);
    snprintf(sql, sizeof sql, "SET ROLE shama_owner; SET statement_timeout = %d; SET TIME ZONE 'UTC'", STATEMENT_MS_MAX);
    return run(d->owner, sql, error);
}

int sh_test_databases_make(sh_test_databases_t *d, sh_buf_t *error) {
    char sql[256];
    SH_ASSERT(!d->name[0]);
    int rc = d->keeper.pid ? SH_OK : start_server(d, error);
    if (rc == SH_OK && !d->is_ready) rc = make_template(d, error);
    if (rc) return rc;
    d->is_ready = true;
    snprintf(d->name, sizeof d->name, "%s_%u", d->prefix, ++d->made);
    snprintf(sql, sizeof sql, "CREATE DATABASE %s TEMPLATE %s_template", d->name, d->prefix);
    rc = run_beside(d, sql, error);
    if (rc == SH_OK) rc = open_owner(d, error);
    if (rc) sh_test_databases_drop(d);
    return rc;
}

void sh_test_databases_drop(sh_test_databases_t *d) {
    char sql[256];
    sh_buf_t error = {0};
    if (!d->name[0]) return;
    PQfinish(d->owner);
    d->owner = NULL;
    snprintf(sql, sizeof sql, "DROP DATABASE IF EXISTS %s WITH (FORCE)", d->name);
    if (run_beside(d, sql, &error)) fprintf(stderr, "shama test: cannot drop %s: %s", d->name, sh_buf_c(&error));
    d->name[0] = 0;
    sh_buf_dispose(&error);
}

bool sh_test_databases_has(const sh_test_databases_t *d) { return d->name[0] != 0; }

PGconn *sh_test_databases_owner(sh_test_databases_t *d) { return d->owner; }

/* On a given server a service without a configured password is played by the login that makes databases: every statement runs as the service. */
void sh_test_databases_conninfo(const sh_test_databases_t *d, const char *service, sh_buf_t *out) {
    char key[80], option[160];
    snprintf(key, sizeof key, "%.63s.db.user", service);
    const char *role = sh_config_str(d->config, key);
    snprintf(key, sizeof key, "%.63s.db.password", service);
    bool has_password = *sh_config_str(d->config, key) || *sh_config_str(d->config, "db.password");
    if (has_password && !d->is_private) {
        sh_config_conninfo(d->config, service, out);
    } else {
        sh_buf_put_str(out, sh_buf_str(&d->server));
        snprintf(option, sizeof option, "-c role=%s", role);
        put_pair(out, d->is_private ? "user" : "options", d->is_private ? role : option);
    }
    put_pair(out, "dbname", d->name);
}
