/* Migrations: what lies in sql/ against what public.shama_migrations says, and the steps between the two. */
#include "app/migrate.h"

#include "app/commands.h"
#include "app/options.h"
#include "base/arena.h"
#include "base/err.h"
#include "codec/crypto.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    FILES_MAX = 9999,
    FILE_BYTES_MAX = 4 << 20,
    LOCK_WAIT_S = 120,
    LOCK_KEY = 0x5348414d, /* "SHAM" */
    CHECKSUM_LEN = 2 * SH_SHA256_LEN,
};

static const char migrate_help[] = "Usage: shama migrate up [--set-passwords] | status | verify | roles\n\n"
                                   "  up       applies the migrations in sql/ that the database does not have; a superuser also makes missing roles\n"
                                   "  status   lists all migrations and when they were applied\n"
                                   "  verify   fails unless exactly the migrations here are applied, unchanged\n"
                                   "  roles    prints the script that makes the roles, for a DBA\n"
                                   "  --set-passwords  gives roles that are there already the configured passwords (superuser)\n"
                                   "Connects by DATABASE_DIRECT_URL, or DATABASE_URL, or DB_HOST, DB_PORT, DB_NAME with PGUSER and PGPASSWORD.\n";

static const char no_transaction_mark[] = "-- shama: no transaction\n";

typedef struct migration {
    int version;
    const char *schema, *name; /* "sales", "0004_quotations.sql" */
    sh_str_t text;
    char checksum[CHECKSUM_LEN + 1];
    bool is_applied;
    const char *applied_at;
} migration_t;

/* All that is known: files in the order of their numbers, and what the table holds beyond them. Lives in its arena. */
typedef struct plan {
    sh_arena_t arena;
    migration_t *files;
    size_t count;
    int newest_applied;
} plan_t;

/* ---- small things on a connection */

/* Runs a statement without result. Its error goes to `error` as "<what>: <message>". */
static int run(PGconn *conn, const char *sql, const char *what, sh_buf_t *error) {
    PGresult *result = PQexec(conn, sql);
    ExecStatusType status = PQresultStatus(result);
    bool is_ok = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
    if (!is_ok) sh_buf_printf(error, "%s: %s", what, PQresultErrorMessage(result));
    PQclear(result);
    return is_ok ? SH_OK : SH_EDB;
}

static int query(PGconn *conn, const char *sql, PGresult **out, sh_buf_t *error) {
    PGresult *result = PQexec(conn, sql);
    if (PQresultStatus(result) != PGRES_TUPLES_OK) {
        sh_buf_printf(error, "%s", PQresultErrorMessage(result));
        PQclear(result);
        return SH_EDB;
    }
    *out = result;
    return SH_OK;
}

static int line_of(const char *text, size_t len, const char *position) {
    int line = 1;
    long left = position ? atol(position) : 0;
    /* The position counts characters, not bytes. */
    for (size_t i = 0; i < len && left > 1; i++) {
        if (((unsigned char)text[i] & 0xc0) != 0x80) left--;
        if (text[i] == '\n') line++;
    }
    return line;
}

/* Runs a file's text as it is; errors name file and line. */
static int run_text(PGconn *conn, const char *label, sh_str_t text, sh_buf_t *error) {
    PGresult *result = PQexec(conn, text.ptr);
    ExecStatusType status = PQresultStatus(result);
    bool is_ok = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_EMPTY_QUERY;
    if (!is_ok) {
        const char *position = PQresultErrorField(result, PG_DIAG_STATEMENT_POSITION);
        const char *message = PQresultErrorMessage(result);
        if (position)
            sh_buf_printf(error, "%s:%d: %s", label, line_of(text.ptr, text.len, position), message);
        else
            sh_buf_printf(error, "%s: %s", label, *message ? message : PQerrorMessage(conn));
    }
    PQclear(result);
    return is_ok ? SH_OK : SH_EDB;
}

/* ---- files */

static int read_file(sh_arena_t *arena, const char *path, sh_str_t *out, sh_buf_t *error) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *bytes = sh_arena_alloc(arena, 1);
    size_t len = 0;
    if (fd >= 0) {
        off_t size = lseek(fd, 0, SEEK_END);
        if (size >= 0 && size <= FILE_BYTES_MAX && lseek(fd, 0, SEEK_SET) == 0) {
            bytes = sh_arena_alloc(arena, (size_t)size + 1);
            ssize_t n = read(fd, bytes, (size_t)size);
            if (n == size)
                len = (size_t)n;
            else
                errno = n < 0 ? errno : EIO, size = -1;
        } else if (size > FILE_BYTES_MAX) {
            errno = EFBIG, size = -1;
        }
        close(fd);
        if (size < 0) fd = -1;
    }
    if (fd < 0) {
        sh_buf_printf(error, "cannot read %s: %s", path, strerror(errno));
        return SH_EIO;
    }
    if (memchr(bytes, 0, len)) {
        sh_buf_printf(error, "%s: holds a zero byte", path);
        return SH_EINVAL;
    }
    bytes[len] = 0;
    *out = sh_str(bytes, len);
    return SH_OK;
}

/* "0004_quotations.sql": four digits, then lower case. What starts with no digit (seed.sql) is no migration. */
static bool is_migration_name(const char *name) {
    size_t len = strlen(name);
    return strspn(name, "0123456789") == 4 && name[4] == '_' && len > 9 && strcmp(name + len - 4, ".sql") == 0 &&
           strspn(name + 5, "abcdefghijklmnopqrstuvwxyz0123456789_") == len - 9;
}

static int take_file(plan_t *plan, const char *folder, const char *schema, const char *name, sh_buf_t *error) {
    const char *path = sh_arena_printf(&plan->arena, "%s/%s/%s", folder, schema, name);
    if (!is_migration_name(name)) {
        sh_buf_printf(error, "%s: a migration is named NNNN_what.sql, with four digits and lower case letters", path);
        return SH_EINVAL;
    }
    if (plan->count == FILES_MAX) return SH_ELIMIT;
    migration_t *m = &plan->files[plan->count];
    *m = (migration_t){.version = atoi(name)};
    m->schema = sh_arena_str(&plan->arena, sh_str_of(schema)).ptr;
    m->name = sh_arena_str(&plan->arena, sh_str_of(name)).ptr;
    int rc = read_file(&plan->arena, path, &m->text, error);
    if (rc) return rc;
    uint8_t digest[SH_SHA256_LEN];
    sh_crypto_sha256(m->text.ptr, m->text.len, digest);
    sh_hex_encode(digest, sizeof digest, m->checksum);
    plan->count++;
    return SH_OK;
}

static int take_schema(plan_t *plan, const char *folder, const char *schema, sh_buf_t *error) {
    DIR *dir = opendir(sh_arena_printf(&plan->arena, "%s/%s", folder, schema));
    if (!dir) return SH_OK; /* a file beside the schemas */
    int rc = SH_OK;
    for (struct dirent *entry; rc == SH_OK && (entry = readdir(dir));)
        if (entry->d_name[0] >= '0' && entry->d_name[0] <= '9') rc = take_file(plan, folder, schema, entry->d_name, error);
    closedir(dir);
    return rc;
}

static int by_version(const void *a, const void *b) { return ((const migration_t *)a)->version - ((const migration_t *)b)->version; }

static int read_files(plan_t *plan, const sh_config_t *config, sh_buf_t *error) {
    const char *folder = sh_arena_printf(&plan->arena, "%s/sql", config->root);
    plan->files = sh_arena_alloc(&plan->arena, FILES_MAX * sizeof *plan->files);
    DIR *dir = opendir(folder);
    if (!dir) {
        sh_buf_printf(error, "cannot read %s: %s", folder, strerror(errno));
        return SH_EIO;
    }
    int rc = SH_OK;
    for (struct dirent *entry; rc == SH_OK && (entry = readdir(dir));)
        if (entry->d_name[0] != '.') rc = take_schema(plan, folder, entry->d_name, error);
    closedir(dir);
    if (rc) return rc;

    qsort(plan->files, plan->count, sizeof *plan->files, by_version);
    for (size_t i = 1; i < plan->count; i++) {
        const migration_t *a = &plan->files[i - 1], *b = &plan->files[i];
        if (a->version != b->version) continue;
        sh_buf_printf(error, "sql/%s/%s and sql/%s/%s have the same number: give one of them the next free one", a->schema, a->name, b->schema,
                      b->name);
        return SH_EINVAL;
    }
    return SH_OK;
}

/* ---- what is applied */

static int compare_applied(plan_t *plan, PGresult *rows, sh_buf_t *error) {
    size_t at = 0;
    for (int i = 0; i < PQntuples(rows); i++) {
        int version = atoi(PQgetvalue(rows, i, 0));
        const char *schema = PQgetvalue(rows, i, 1), *name = PQgetvalue(rows, i, 2);
        while (at < plan->count && plan->files[at].version < version) at++;
        migration_t *m = at < plan->count && plan->files[at].version == version ? &plan->files[at] : NULL;
        if (!m) {
            sh_buf_printf(error, "sql/%s/%s is applied but is not here: these files are older than the database", schema, name);
            return SH_EINVAL;
        }
        if (strcmp(m->checksum, PQgetvalue(rows, i, 3)) != 0 || strcmp(m->schema, schema) != 0 || strcmp(m->name, name) != 0) {
            sh_buf_printf(error, "sql/%s/%s was changed after it was applied (%s): restore it, and put the change into a new migration", m->schema,
                          m->name, PQgetvalue(rows, i, 4));
            return SH_EINVAL;
        }
        m->is_applied = true;
        m->applied_at = sh_arena_str(&plan->arena, sh_str_of(PQgetvalue(rows, i, 4))).ptr;
        plan->newest_applied = version;
    }
    for (size_t i = 0; i < plan->count; i++) {
        const migration_t *m = &plan->files[i];
        if (m->is_applied || m->version > plan->newest_applied) continue;
        sh_buf_printf(error, "sql/%s/%s is not applied, but %04d is: migrations go forward only, give it the next free number", m->schema, m->name,
                      plan->newest_applied);
        return SH_EINVAL;
    }
    return SH_OK;
}

static int make_plan(PGconn *conn, const sh_config_t *config, plan_t *plan, sh_buf_t *error) {
    PGresult *rows;
    *plan = (plan_t){0};
    sh_arena_init(&plan->arena);
    int rc = read_files(plan, config, error);
    if (rc) return rc;
    rc = query(conn, "SELECT to_regclass('public.shama_migrations') IS NOT NULL", &rows, error);
    if (rc) return rc;
    bool has_table = strcmp(PQgetvalue(rows, 0, 0), "t") == 0;
    PQclear(rows);
    if (!has_table) return SH_OK;
    rc = query(conn,
               "SELECT version, schema, name, checksum, to_char(applied_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS\"Z\"') "
               "FROM public.shama_migrations ORDER BY version",
               &rows, error);
    if (rc) return rc;
    rc = compare_applied(plan, rows, error);
    PQclear(rows);
    return rc;
}

/* ---- applying */

static int record(PGconn *conn, const migration_t *m, sh_buf_t *error) {
    char version[12];
    snprintf(version, sizeof version, "%d", m->version);
    const char *params[] = {version, m->schema, m->name, m->checksum};
    PGresult *result = PQexecParams(conn, "INSERT INTO public.shama_migrations (version, schema, name, checksum) VALUES ($1::int, $2, $3, $4)", 4,
                                    NULL, params, NULL, NULL, 0);
    bool is_ok = PQresultStatus(result) == PGRES_COMMAND_OK;
    if (!is_ok) sh_buf_printf(error, "sql/%s/%s: %s", m->schema, m->name, PQresultErrorMessage(result));
    PQclear(result);
    return is_ok ? SH_OK : SH_EDB;
}

static int apply(PGconn *conn, const migration_t *m, sh_buf_t *error) {
    char label[512];
    snprintf(label, sizeof label, "sql/%s/%s", m->schema, m->name);
    bool in_transaction = !sh_str_has_prefix(m->text, SH_STR(no_transaction_mark));
    int rc = SH_OK;
    if (in_transaction) rc = run(conn, "BEGIN", label, error);
    if (rc == SH_OK) rc = run_text(conn, label, m->text, error);
    if (rc == SH_OK && in_transaction && PQtransactionStatus(conn) != PQTRANS_INTRANS) {
        sh_buf_printf(error, "%s: ends its transaction itself; leave BEGIN, COMMIT and ROLLBACK out", label);
        rc = SH_EINVAL;
    }
    if (rc == SH_OK) rc = record(conn, m, error);
    if (rc == SH_OK && in_transaction) rc = run(conn, "COMMIT", label, error);
    if (rc && PQtransactionStatus(conn) != PQTRANS_IDLE) PQclear(PQexec(conn, "ROLLBACK"));
    return rc;
}

/* Polls instead of waiting in the server: a waiting session would hold a snapshot, which CREATE INDEX CONCURRENTLY waits for. */
static int lock(PGconn *conn, FILE *out, sh_buf_t *error) {
    char sql[80];
    snprintf(sql, sizeof sql, "SELECT pg_try_advisory_lock(%d)", LOCK_KEY);
    for (int waited = 0; waited < LOCK_WAIT_S; waited++) {
        PGresult *rows;
        int rc = query(conn, sql, &rows, error);
        if (rc) return rc;
        bool is_ours = strcmp(PQgetvalue(rows, 0, 0), "t") == 0;
        PQclear(rows);
        if (is_ours) return SH_OK;
        if (waited == 0) fprintf(out, "another migration runs on this database; waiting\n"), fflush(out);
        sleep(1);
    }
    sh_buf_printf(error, "another migration has run for %d s on this database: try again when it has ended", LOCK_WAIT_S);
    return SH_ETIMEDOUT;
}

static const char *const prepare_session[] = {
    "SET ROLE shama_owner",
    "SET lock_timeout = '10s'", /* a migration that waits for a lock makes everybody behind it wait too */
    "SET statement_timeout = 0",
    ("CREATE TABLE IF NOT EXISTS public.shama_migrations (version int PRIMARY KEY, schema text NOT NULL, name text NOT NULL, "
     "checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"),
};

/* Every login of ours may ask which migrations are there; a service's manifest says which it needs. */
static int grant_table(PGconn *conn, sh_buf_t *error) {
    return run(conn, "GRANT SELECT ON public.shama_migrations TO PUBLIC", "public.shama_migrations", error);
}

int sh_migrate_up(PGconn *conn, const sh_migrate_opts_t *opts, sh_buf_t *error) {
    char unlock[80];
    plan_t plan = {0};
    size_t applied = 0;
    int rc = lock(conn, opts->out, error);
    if (rc) return rc;
    for (size_t i = 0; rc == SH_OK && i < SH_ARRAY_LEN(prepare_session); i++) rc = run(conn, prepare_session[i], "migrate", error);
    if (rc == SH_OK) rc = grant_table(conn, error);
    if (rc == SH_OK) rc = make_plan(conn, opts->config, &plan, error);
    for (size_t i = 0; rc == SH_OK && i < plan.count; i++) {
        if (plan.files[i].is_applied) continue;
        rc = apply(conn, &plan.files[i], error);
        if (rc == SH_OK) fprintf(opts->out, "applied sql/%s/%s\n", plan.files[i].schema, plan.files[i].name), applied++;
    }
    if (rc == SH_OK && applied == 0) fprintf(opts->out, "the database is up to date (%zu migrations)\n", plan.count);
    fflush(opts->out);
    sh_arena_dispose(&plan.arena);
    snprintf(unlock, sizeof unlock, "RESET ROLE; SELECT pg_advisory_unlock(%d)", LOCK_KEY);
    PQclear(PQexec(conn, unlock));
    return rc;
}

int sh_migrate_status(PGconn *conn, const sh_migrate_opts_t *opts, sh_buf_t *error) {
    plan_t plan;
    int rc = make_plan(conn, opts->config, &plan, error);
    for (size_t i = 0; i < plan.count; i++)
        fprintf(opts->out, "%-20s sql/%s/%s\n", plan.files[i].is_applied ? plan.files[i].applied_at : "pending", plan.files[i].schema,
                plan.files[i].name);
    sh_arena_dispose(&plan.arena);
    return rc;
}

int sh_migrate_verify(PGconn *conn, const sh_migrate_opts_t *opts, sh_buf_t *error) {
    plan_t plan;
    int rc = make_plan(conn, opts->config, &plan, error);
    for (size_t i = 0; rc == SH_OK && i < plan.count; i++) {
        if (plan.files[i].is_applied) continue;
        sh_buf_printf(error, "sql/%s/%s is not applied: run `shama migrate up`", plan.files[i].schema, plan.files[i].name);
        rc = SH_EINVAL;
    }
    if (rc == SH_OK) fprintf(opts->out, "all %zu migrations are applied and unchanged\n", plan.count);
    sh_arena_dispose(&plan.arena);
    return rc;
}

/* One statement of a seed file; `$1` in it is the password hash. */
static int run_seed_statement(PGconn *conn, const char *label, const char *sql, const char *hash, sh_buf_t *error) {
    int params = strstr(sql, "$1") ? 1 : 0;
    PGresult *result = PQexecParams(conn, sql, params, NULL, params ? &hash : NULL, NULL, NULL, 0);
    ExecStatusType status = PQresultStatus(result);
    bool is_ok = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_EMPTY_QUERY;
    if (!is_ok) sh_buf_printf(error, "%s: %s", label, PQresultErrorMessage(result));
    PQclear(result);
    return is_ok ? SH_OK : SH_EDB;
}

int sh_migrate_seed(PGconn *conn, const char *path, const char *password_hash, sh_buf_t *error) {
    static const char mark[] = "\n-- statement\n";
    sh_arena_t arena;
    sh_str_t text;
    sh_arena_init(&arena);
    int rc = read_file(&arena, path, &text, error);
    if (rc == SH_OK) rc = run(conn, "BEGIN; SET LOCAL ROLE shama_owner", path, error);
    char *at = rc == SH_OK ? strstr((char *)(uintptr_t)text.ptr, mark) : NULL; /* the text is this function's own copy */
    while (rc == SH_OK && at) {
        char *sql = at + sizeof mark - 1;
        int line = 1;
        for (const char *c = text.ptr; c < sql; c++) line += *c == '\n';
        at = strstr(sql, mark);
        if (at) *at = 0;
        rc = run_seed_statement(conn, sh_arena_printf(&arena, "%s:%d", path, line), sql, password_hash, error);
        if (at) *at = '\n';
    }
    if (rc == SH_OK) rc = run(conn, "COMMIT", path, error);
    if (rc && PQtransactionStatus(conn) != PQTRANS_IDLE) PQclear(PQexec(conn, "ROLLBACK"));
    sh_arena_dispose(&arena);
    return rc;
}

/* ---- the command */

int sh_migrate_connect(const sh_config_t *config, const char *url, PGconn **out, sh_buf_t *error) {
    sh_buf_t text = {0};
    const char *given = url ? url : getenv("DATABASE_DIRECT_URL");
    if (!given || !*given) given = sh_config_str(config, "db.url");
    if (!*given) {
        sh_buf_printf(&text, "host=%s port=%s dbname=%s sslmode=%s", sh_config_str(config, "db.host"), sh_config_str(config, "db.port"),
                      sh_config_str(config, "db.name"), sh_config_str(config, "db.sslmode"));
        given = sh_buf_c(&text);
    }
    const char *const keys[] = {"dbname", "application_name", "connect_timeout", "client_encoding", NULL};
    const char *const values[] = {given, "shama migrate", "10", "UTF8", NULL};
    PGconn *conn = PQconnectdbParams(keys, values, 1);
    sh_buf_dispose(&text);
    if (PQstatus(conn) != CONNECTION_OK) {
        sh_buf_printf(error, "cannot connect to the database: %s", PQerrorMessage(conn));
        PQfinish(conn);
        return SH_EUNAVAILABLE;
    }
    PQclear(PQexec(conn, "SET client_min_messages = warning")); /* no "already exists, skipping" */
    *out = conn;
    return SH_OK;
}

static int run_command(const sh_config_t *config, const char *what, const sh_migrate_opts_t *opts, sh_buf_t *error) {
    PGconn *conn;
    int rc = sh_migrate_connect(config, NULL, &conn, error);
    if (rc) return rc;
    if (strcmp(what, "up") == 0) {
        rc = sh_migrate_roles(conn, opts, error);
        if (rc == SH_OK) rc = sh_migrate_up(conn, opts, error);
    } else if (strcmp(what, "status") == 0) {
        rc = sh_migrate_status(conn, opts, error);
    } else {
        rc = sh_migrate_verify(conn, opts, error);
    }
    PQfinish(conn);
    return rc;
}

static int script_command(const sh_migrate_opts_t *opts, sh_buf_t *error) {
    sh_buf_t script = {0};
    int rc = sh_migrate_roles_script(opts, &script, error);
    if (rc == SH_OK) fputs(sh_buf_c(&script), opts->out);
    sh_buf_dispose(&script);
    return rc;
}

int sh_command_migrate(int argc, char **argv) {
    static const char *const names[] = {"up", "status", "verify", "roles"};
    bool set_passwords = false;
    const sh_option_t options[] = {{"--set-passwords", NULL, &set_passwords}};
    argc = sh_options_take(argc, argv, options, SH_ARRAY_LEN(options), migrate_help);
    size_t known = 0;
    while (argc == 2 && known < SH_ARRAY_LEN(names) && strcmp(names[known], argv[1]) != 0) known++;
    if (argc != 2 || known == SH_ARRAY_LEN(names)) {
        if (argc >= 0) fputs(migrate_help, stderr);
        return 2;
    }
    sh_config_t *config = sh_options_config();
    if (!config) return 1;
    const sh_migrate_opts_t opts = {
        .config = config, .out = stdout, .set_passwords = set_passwords, .readonly_password = getenv("DB_READONLY_PASSWORD")};
    sh_buf_t error = {0};
    int rc = strcmp(argv[1], "roles") == 0 ? script_command(&opts, &error) : run_command(config, argv[1], &opts, &error);
    while (error.len && error.ptr[error.len - 1] == '\n') error.len--;
    if (rc) fprintf(stderr, "shama migrate: %s\n", error.len ? sh_buf_c(&error) : sh_err_text(rc));
    sh_buf_dispose(&error);
    sh_config_dispose(config);
    free(config);
    return rc == SH_OK ? 0 : rc == SH_EUNAVAILABLE ? 3 : 1;
}
