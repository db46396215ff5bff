/* The database roles: one script that makes them, run here by a superuser or printed for a DBA.
 *
 * The services are those that the configuration names (<service>.db.user). Passwords leave this process only as SCRAM verifiers. */
#include "app/migrate.h"

#include "base/err.h"

#include <stdlib.h>

static int by_name(const void *a, const void *b) { return strcmp(((const sh_migrate_service_t *)a)->name, ((const sh_migrate_service_t *)b)->name); }

size_t sh_migrate_services(const sh_config_t *config, sh_migrate_service_t out[SH_MIGRATE_SERVICES_MAX]) {
    static const char suffix[] = ".db.user";
    size_t count = 0;
    sh_map_entry_t *e;
    for (size_t i = 0; (e = sh_map_next(&config->values, &i)) && count < SH_MIGRATE_SERVICES_MAX;) {
        size_t suffix_len = sizeof suffix - 1;
        if (e->key_len <= suffix_len || strcmp(e->key + e->key_len - suffix_len, suffix) != 0) continue;
        sh_migrate_service_t *s = &out[count];
        if (snprintf(s->name, sizeof s->name, "%.*s", (int)(e->key_len - suffix_len), e->key) >= (int)sizeof s->name) continue;
        s->role = e->value;
        s->password = sh_config_service_str(config, s->name, "db.password");
        count++;
    }
    qsort(out, count, sizeof *out, by_name);
    return count;
}

/* ---- the script */

static void put_quoted(sh_buf_t *out, char quote, const char *text) {
    sh_buf_put_byte(out, quote);
    for (; *text; text++) {
        if (*text == quote) sh_buf_put_byte(out, quote);
        sh_buf_put_byte(out, *text);
    }
    sh_buf_put_byte(out, quote);
}

/* Puts ` PASSWORD 'SCRAM-SHA-256$...'`; nothing without a password. `conn` need not be connected. */
static int put_password(sh_buf_t *out, PGconn *conn, const char *role, const char *password, sh_buf_t *error) {
    if (!password || !*password) return SH_OK;
    char *verifier = PQencryptPasswordConn(conn, password, role, "scram-sha-256");
    if (!verifier) {
        sh_buf_printf(error, "cannot make a password verifier for %s: %s", role, PQerrorMessage(conn));
        return SH_EINVAL;
    }
    sh_buf_put_lit(out, " PASSWORD ");
    put_quoted(out, '\'', verifier);
    PQfreemem(verifier);
    return SH_OK;
}

static int put_role(sh_buf_t *out, PGconn *conn, const char *role, const char *options, const char *password, bool set_password, sh_buf_t *error) {
    sh_buf_put_lit(out, "DO $role$ BEGIN\n  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = ");
    put_quoted(out, '\'', role);
    sh_buf_put_lit(out, ") THEN\n    CREATE ROLE ");
    put_quoted(out, '"', role);
    sh_buf_printf(out, " %s", options);
    int rc = put_password(out, conn, role, password, error);
    sh_buf_put_lit(out, ";\n  END IF;\nEND $role$;\n");
    if (rc == SH_OK && set_password && password && *password) {
        sh_buf_put_lit(out, "ALTER ROLE ");
        put_quoted(out, '"', role);
        rc = put_password(out, conn, role, password, error);
        sh_buf_put_lit(out, ";\n");
    }
    return rc;
}

/* To this database, and to the schema of the table that tells which migrations are applied. */
static void put_access(sh_buf_t *out, const char *role) {
    sh_buf_put_lit(out, "GRANT USAGE ON SCHEMA public TO ");
    put_quoted(out, '"', role);
    sh_buf_put_lit(out, ";\nDO $grant$ BEGIN EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), ");
    put_quoted(out, '\'', role);
    sh_buf_put_lit(out, "); END $grant$;\n");
}

static int put_script(const sh_migrate_opts_t *opts, PGconn *conn, sh_buf_t *out, sh_buf_t *error) {
    sh_migrate_service_t services[SH_MIGRATE_SERVICES_MAX];
    size_t count = sh_migrate_services(opts->config, services);
    int rc = put_role(out, conn, "shama_owner", "NOLOGIN BYPASSRLS", NULL, false, error);
    if (rc == SH_OK) rc = put_role(out, conn, "shama_views", "NOLOGIN", NULL, false, error);
    if (rc == SH_OK) rc = put_role(out, conn, "shama_readonly", "LOGIN", opts->readonly_password, opts->set_passwords, error);
    for (size_t i = 0; rc == SH_OK && i < count; i++)
        rc = put_role(out, conn, services[i].role, "LOGIN", services[i].password, opts->set_passwords, error);

    sh_buf_put_lit(out, "ALTER ROLE shama_owner BYPASSRLS;\n"
                        "ALTER ROLE shama_readonly SET default_transaction_read_only = on;\n"
                        "GRANT shama_views TO shama_owner;\n"
                        "GRANT USAGE, CREATE ON SCHEMA public TO shama_owner;\n"
                        "DO $grant$ BEGIN EXECUTE format('GRANT CONNECT, CREATE, TEMPORARY ON DATABASE %I TO shama_owner', current_database()); "
                        "END $grant$;\n");
    put_access(out, "shama_readonly");
    for (size_t i = 0; i < count; i++) put_access(out, services[i].role);
    return rc;
}

/* A part of the address ("user", "dbname") as far as the configuration tells. Owned by the caller, or NULL. */
static char *part_of_address(const sh_config_t *config, const char *keyword) {
    const char *url = getenv("DATABASE_DIRECT_URL");
    if (!url || !*url) url = sh_config_str(config, "db.url");
    PQconninfoOption *options = *url ? PQconninfoParse(url, NULL) : NULL;
    char *part = NULL;
    for (PQconninfoOption *o = options; o && o->keyword; o++)
        if (strcmp(o->keyword, keyword) == 0 && o->val) part = sh_strdup(o->val);
    PQconninfoFree(options);
    return part;
}

int sh_migrate_roles_script(const sh_migrate_opts_t *opts, sh_buf_t *out, sh_buf_t *error) {
    char *database = part_of_address(opts->config, "dbname"), *login = part_of_address(opts->config, "user");
    if (!login && getenv("PGUSER")) login = sh_strdup(getenv("PGUSER"));
    sh_buf_printf(out,
                  "-- The roles of Shama, for a superuser connected to the database \"%s\". It can be run again.\n"
                  "-- Passwords are those of the configuration, as verifiers; a role without one gets it by \\password.\n",
                  database ? database : sh_config_str(opts->config, "db.name"));
    /* Never connected: libpq wants a connection to say which server would be asked, and none is. */
    PGconn *conn = PQconnectdb("host=/nonexistent connect_timeout=1");
    int rc = conn ? put_script(opts, conn, out, error) : SH_EMEMORY;
    PQfinish(conn);
    if (login) {
        sh_buf_put_lit(out, "GRANT shama_owner TO ");
        put_quoted(out, '"', login);
        sh_buf_put_lit(out, ";\n");
    } else {
        sh_buf_put_lit(out, "-- Also: GRANT shama_owner TO <the login that runs `shama migrate up`>;\n");
    }
    free(database);
    free(login);
    return rc;
}

/* ---- here and now */

static int ask(PGconn *conn, const char *sql, int params, const char *const *values, bool *out, sh_buf_t *error) {
    PGresult *result = PQexecParams(conn, sql, params, NULL, values, NULL, NULL, 0);
    int rc = PQresultStatus(result) == PGRES_TUPLES_OK ? SH_OK : SH_EDB;
    if (rc == SH_OK)
        *out = PQntuples(result) > 0 && strcmp(PQgetvalue(result, 0, 0), "t") == 0;
    else
        sh_buf_printf(error, "%s", PQresultErrorMessage(result));
    PQclear(result);
    return rc;
}

/* Not a superuser: everything must be there already. */
static int check_roles(PGconn *conn, const sh_migrate_opts_t *opts, sh_buf_t *error) {
    sh_migrate_service_t services[SH_MIGRATE_SERVICES_MAX];
    size_t count = sh_migrate_services(opts->config, services), wanted = 0;
    const char *roles[SH_MIGRATE_SERVICES_MAX + 3] = {"shama_owner", "shama_views", "shama_readonly"};
    wanted = 3;
    for (size_t i = 0; i < count; i++) roles[wanted++] = services[i].role;

    sh_buf_t missing = {0};
    int rc = SH_OK;
    bool is_there = false;
    for (size_t i = 0; rc == SH_OK && i < wanted; i++) {
        rc = ask(conn, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", 1, &roles[i], &is_there, error);
        if (rc == SH_OK && !is_there) sh_buf_printf(&missing, "%s%s", missing.len ? ", " : "", roles[i]);
    }
    if (rc == SH_OK && missing.len) {
        sh_buf_printf(error,
                      "missing roles: %s. This login is no superuser and cannot make them: "
                      "let a superuser run what `shama migrate roles` prints",
                      sh_buf_c(&missing));
        rc = SH_EDENIED;
    }
    sh_buf_dispose(&missing);
    if (rc) return rc;
    rc = ask(conn,
             "SELECT pg_has_role(current_user, 'shama_owner', 'MEMBER') AND has_schema_privilege('shama_owner', 'public', 'CREATE') "
             "AND has_database_privilege('shama_owner', current_database(), 'CREATE') "
             "AND (SELECT rolbypassrls FROM pg_roles WHERE rolname = 'shama_owner')",
             0, NULL, &is_there, error);
    if (rc == SH_OK && !is_there) {
        sh_buf_printf(error,
                      "the login %s may not migrate (no member of shama_owner, or shama_owner lacks its rights on this database): "
                      "let a superuser run what `shama migrate roles` prints",
                      PQuser(conn));
        rc = SH_EDENIED;
    }
    return rc;
}

int sh_migrate_roles(PGconn *conn, const sh_migrate_opts_t *opts, sh_buf_t *error) {
    bool is_superuser = false;
    int rc = ask(conn, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user", 0, NULL, &is_superuser, error);
    if (rc) return rc;
    if (!is_superuser) return check_roles(conn, opts, error);

    sh_buf_t script = {0};
    rc = put_script(opts, conn, &script, error);
    if (rc == SH_OK) {
        PGresult *result = PQexec(conn, sh_buf_c(&script));
        if (PQresultStatus(result) != PGRES_COMMAND_OK) {
            sh_buf_printf(error, "cannot make the roles: %s", PQresultErrorMessage(result));
            rc = SH_EDB;
        }
        PQclear(result);
    }
    sh_buf_dispose(&script);
    return rc;
}
