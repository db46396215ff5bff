/* Postgres and NATS for one developer: data folders, initdb, start, stop. */
#include "app/dev_servers.h"

#include "app/process.h"
#include "base/err.h"
#include "codec/crypto.h"

#include <errno.h>
#include <fcntl.h>
#include <libpq-fe.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { START_MS = 60000, STOP_MS = 30000, START_TRIES = 3, LOG_TAIL = 1500, PATH_ROOM = SH_DEV_PATH_MAX + 128 };

/* SHAMA_POSTGRES_BIN comes before. */
static const char postgres_folders[] = "/usr/lib/postgresql/15/bin:/usr/lib/postgresql/16/bin:/usr/lib/postgresql/17/bin";

bool sh_dev_postgres_find(const char *program, char *out, size_t size) {
    char folders[PATH_ROOM];
    const char *own = getenv("SHAMA_POSTGRES_BIN");
    snprintf(folders, sizeof folders, "%s%s%s", own ? own : "", own ? ":" : "", postgres_folders);
    return sh_process_find(program, folders, out, size);
}

void sh_dev_server_stop(sh_dev_server_t *server) {
    if (server->pid == 0) return;
    if (!sh_process_stop(server->pid, server->stop_signal, STOP_MS))
        fprintf(stderr, "shama dev: %s did not end within %d s and was killed\n", server->name, STOP_MS / 1000);
    server->pid = 0;
}

/* The program ended or does not answer: its own words say why. */
static int explain(const sh_dev_server_t *server, const char *what, sh_buf_t *error) {
    sh_buf_printf(error, "%s %s. The end of %s:\n", server->name, what, server->log);
    sh_process_tail(server->log, LOG_TAIL, error);
    return SH_EIO;
}

/* ---- where Postgres' data lies */

typedef struct data {
    const char *user; /* to run as, or NULL: ourselves */
    uid_t uid;
    gid_t gid;
    char link[PATH_ROOM];   /* .shama/postgres */
    char folder[PATH_ROOM]; /* the real one */
} data_t;

static int choose_user(data_t *data, sh_buf_t *error) {
    data->uid = geteuid();
    data->gid = getegid();
    if (data->uid != 0) return SH_OK;
    const struct passwd *postgres = getpwnam("postgres"); /* Postgres refuses to run as root */
    if (!postgres) {
        sh_buf_printf(error, "there is no user \"postgres\": install the packages with `make deps`, or run as another user than root");
        return SH_EIO;
    }
    data->user = "postgres";
    data->uid = postgres->pw_uid;
    data->gid = postgres->pw_gid;
    return SH_OK;
}

/* Makes the folder that the data folder lies in. */
static int make_parent(const char *folder) {
    char parent[PATH_ROOM];
    snprintf(parent, sizeof parent, "%s", folder);
    char *slash = strrchr(parent, '/');
    if (!slash || slash == parent) return SH_OK;
    *slash = 0;
    return sh_process_make_folder(parent);
}

/* Data whose .shama/ was removed: its password is lost, and who removed it wanted to begin anew. One such folder is kept. */
static void set_aside(const char *folder, FILE *out) {
    char old[PATH_ROOM + 8];
    sh_buf_t error = {0};
    if (access(folder, F_OK)) return;
    snprintf(old, sizeof old, "%s.old", folder);
    const sh_process_opts_t clear = {.argv = (const char *const[]){"/bin/rm", "-rf", "--", old, NULL}};
    if (sh_process_run(&clear, &error) == SH_OK && rename(folder, old) == 0) fprintf(out, "the data of a removed .shama/ was set aside: %s\n", old);
    sh_buf_dispose(&error);
}

/* In .shama/, or in the system's state folder under a name that tells one project from another. */
static int choose_folder(const sh_dev_state_t *state, data_t *data, FILE *out, sh_buf_t *error) {
    struct stat at;
    sh_dev_state_path(state, "postgres", data->link);
    ssize_t n = readlink(data->link, data->folder, sizeof data->folder - 1);
    if (n > 0) { /* an earlier run chose already */
        data->folder[n] = 0;
    } else {
        snprintf(data->folder, sizeof data->folder, "%s", data->link);
        if (!data->user || lstat(data->link, &at) == 0 || sh_process_can_enter(data->user, state->folder)) return SH_OK;
        uint8_t digest[SH_SHA256_LEN];
        char id[17] = "";
        sh_crypto_sha256(state->folder, strlen(state->folder), digest);
        sh_hex_encode(digest, 8, id);
        snprintf(data->folder, sizeof data->folder, "/var/lib/shama/dev-%.16s/postgres", id);
    }
    if (n <= 0) set_aside(data->folder, out);
    if (make_parent(data->folder) == SH_OK && (n > 0 || symlink(data->folder, data->link) == 0)) return SH_OK;
    sh_buf_printf(error, "the user %s cannot enter %s, and %s cannot be made instead: %s", data->user ? data->user : "who runs Postgres",
                  state->folder, data->folder, strerror(errno));
    return SH_EIO;
}

/* 1: a complete data folder; 0: nothing there; negative: something that must not be touched. */
static int look_at_folder(const data_t *data, sh_buf_t *error) {
    struct stat at;
    char path[PATH_ROOM + 32];
    if (stat(data->folder, &at)) return 0;
    snprintf(path, sizeof path, "%s/global/pg_control", data->folder);
    bool is_complete = access(path, F_OK) == 0;
    if (at.st_uid != data->uid) {
        sh_buf_printf(error, "%s belongs to another user (uid %d): run `shama dev` as the user who made it, or remove it with its data: rm -r %s",
                      data->folder, (int)at.st_uid, data->folder);
        return SH_EIO;
    }
    if (!is_complete) {
        sh_buf_printf(error, "%s is no complete database (no global/pg_control): remove it and run again: rm -r %s", data->folder, data->folder);
        return SH_EIO;
    }
    return 1;
}

/* ---- initdb */

/* Made beside and renamed when complete, so that an interrupted initdb leaves nothing that looks like a database. */
static int make_folder(sh_dev_state_t *state, const data_t *data, const char *initdb, sh_buf_t *error) {
    char fresh[PATH_ROOM + 8], secret_path[PATH_ROOM + 16], log[PATH_ROOM], secret_option[PATH_ROOM + 32];
    const char *password;
    snprintf(fresh, sizeof fresh, "%s.new", data->folder);
    snprintf(secret_path, sizeof secret_path, "%s.password", data->folder);
    snprintf(secret_option, sizeof secret_option, "--pwfile=%s", secret_path);
    sh_dev_state_path(state, "postgres-initdb.log", log);
    int rc = sh_dev_state_secret(state, "postgres_password", &password, error);
    if (rc) return rc;

    const sh_process_opts_t clear = {.argv = (const char *const[]){"/bin/rm", "-rf", "--", fresh, NULL}, .output = log};
    rc = sh_process_run(&clear, error);
    if (rc) return rc;
    unlink(secret_path);
    int fd = open(secret_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool is_ready = fd >= 0 && write(fd, password, strlen(password)) == (ssize_t)strlen(password) && fchown(fd, data->uid, data->gid) == 0 &&
                    mkdir(fresh, 0700) == 0 && chown(fresh, data->uid, data->gid) == 0;
    if (fd >= 0) close(fd);
    if (!is_ready) {
        sh_buf_printf(error, "cannot make %s: %s", fresh, strerror(errno));
        unlink(secret_path);
        return SH_EIO;
    }
    const sh_process_opts_t make = {
        .argv = (const char *const[]){initdb, "-D", fresh, "-U", "postgres", "--auth=scram-sha-256", secret_option, "-E", "UTF8", "--locale=C.UTF-8",
                                      NULL},
        .user = data->user,
        .output = log,
        .directory = "/",
    };
    rc = sh_process_run(&make, error);
    unlink(secret_path);
    if (rc == SH_OK && rename(fresh, data->folder)) {
        sh_buf_printf(error, "cannot rename %s: %s", fresh, strerror(errno));
        rc = SH_EIO;
    }
    return rc;
}

/* A Postgres of a run that was killed may still be there, on a port nobody knows: it is ours, since we hold the lock. */
static int stop_leftover(const data_t *data, FILE *out, sh_buf_t *error) {
    char path[PATH_ROOM + 32], cwd[PATH_ROOM], real[PATH_MAX];
    snprintf(path, sizeof path, "%s/postmaster.pid", data->folder);
    FILE *f = fopen(path, "re");
    int pid = 0;
    if (f) {
        if (fscanf(f, "%d", &pid) != 1) pid = 0;
        fclose(f);
    }
    if (pid <= 1 || kill(pid, 0)) return SH_OK;
    snprintf(path, sizeof path, "/proc/%d/cwd", pid);
    ssize_t n = readlink(path, cwd, sizeof cwd - 1);
    if (n <= 0 || !realpath(data->folder, real)) return SH_OK;
    cwd[n] = 0;
    if (strcmp(cwd, real) != 0) return SH_OK; /* another program has this number now */
    fprintf(out, "stopping the Postgres of an earlier run (process %d)\n", pid);
    if (sh_process_stop(pid, SIGINT, STOP_MS)) return SH_OK;
    sh_buf_printf(error, "process %d holds %s and does not end", pid, data->folder);
    return SH_EIO;
}

/* ---- start */

static int start_once(const data_t *data, const char *postgres, sh_dev_server_t *server, sh_buf_t *error) {
    char port[24];
    server->port = sh_process_free_port();
    if (server->port < 0) {
        sh_buf_printf(error, "no free port on 127.0.0.1");
        return SH_EIO;
    }
    snprintf(port, sizeof port, "port=%d", server->port);
    const char *const argv[] = {
        postgres,
        "-D",
        data->folder,
        "-c",
        "listen_addresses=127.0.0.1",
        "-c",
        port,
        "-c",
        "unix_socket_directories=",
        "-c",
        "max_connections=200",
        "-c",
        "timezone=UTC",
        "-c",
        "log_timezone=UTC",
        "-c",
        "logging_collector=off",
        "-c",
        "password_encryption=scram-sha-256",
        "-c",
        "jit=off",
        NULL,
    };
    const sh_process_opts_t opts = {.argv = argv, .user = data->user, .output = server->log, .directory = "/", .parent_death_signal = SIGINT};
    int rc = sh_process_start(&opts, &server->pid, error);
    if (rc) return rc;
    rc = sh_process_wait_port(server->port, server->pid, START_MS);
    if (rc == SH_ECLOSED) server->pid = 0;
    return rc;
}

static PGconn *connect_to(const sh_dev_server_t *server, const char *database, const char *password) {
    char port[12];
    snprintf(port, sizeof port, "%d", server->port);
    const char *const keys[] = {"host", "port", "dbname", "user", "password", "connect_timeout", "sslmode", NULL};
    const char *const values[] = {"127.0.0.1", port, database, "postgres", password, "10", "disable", NULL};
    return PQconnectdbParams(keys, values, 0);
}

static int make_database(sh_dev_state_t *state, const sh_dev_server_t *server, sh_buf_t *error) {
    const char *password;
    int rc = sh_dev_state_secret(state, "postgres_password", &password, error);
    if (rc) return rc;
    PGconn *conn = connect_to(server, "postgres", password);
    for (int tries = 0; PQstatus(conn) != CONNECTION_OK && tries < 300; tries++) { /* after a crash it replays its log first */
        if (!strstr(PQerrorMessage(conn), "starting up")) break;
        PQfinish(conn);
        usleep(100000);
        conn = connect_to(server, "postgres", password);
    }
    if (PQstatus(conn) != CONNECTION_OK) {
        sh_buf_printf(error, "cannot log in to the private Postgres: %sIf .shama/secrets was lost, so is its password: remove .shama and begin anew",
                      PQerrorMessage(conn));
        rc = SH_EIO;
    } else {
        PGresult *has = PQexec(conn, "SELECT FROM pg_database WHERE datname = '" SH_DEV_DATABASE "'");
        PGresult *made = PQntuples(has) == 0 ? PQexec(conn, "CREATE DATABASE " SH_DEV_DATABASE) : NULL;
        if (made && PQresultStatus(made) != PGRES_COMMAND_OK) {
            sh_buf_printf(error, "cannot make the database: %s", PQresultErrorMessage(made));
            rc = SH_EIO;
        }
        PQclear(has);
        PQclear(made);
    }
    PQfinish(conn);
    return rc;
}

int sh_dev_postgres_start(sh_dev_state_t *state, FILE *out, sh_dev_server_t *server, sh_buf_t *error) {
    char initdb[PATH_ROOM], postgres[PATH_ROOM];
    data_t data = {0};
    *server = (sh_dev_server_t){.name = "Postgres", .stop_signal = SIGINT}; /* a fast shutdown */
    sh_dev_state_path(state, "postgres.log", server->log);
    if (!sh_dev_postgres_find("initdb", initdb, sizeof initdb) || !sh_dev_postgres_find("postgres", postgres, sizeof postgres)) {
        sh_buf_printf(error, "Postgres is not installed: run `make deps` (Debian package postgresql-15), name its folder in SHAMA_POSTGRES_BIN, "
                             "or give a server in DATABASE_URL");
        return SH_EIO;
    }
    int rc = choose_user(&data, error);
    if (rc == SH_OK) rc = choose_folder(state, &data, out, error);
    if (rc) return rc;
    int found = look_at_folder(&data, error);
    if (found < 0) return found;
    if (found == 0) {
        fprintf(out, "making a Postgres database in %s\n", data.folder), fflush(out);
        rc = make_folder(state, &data, initdb, error);
    } else {
        rc = stop_leftover(&data, out, error);
    }
    if (rc) return rc;
    unlink(server->log);                                /* of the last run */
    for (int tries = 0; tries < START_TRIES; tries++) { /* somebody else may have taken the port meanwhile */
        rc = start_once(&data, postgres, server, error);
        if (rc != SH_ECLOSED) break;
    }
    if (rc == SH_ECLOSED) return explain(server, "ended while starting", error);
    if (rc == SH_ETIMEDOUT) {
        sh_dev_server_stop(server);
        return explain(server, "did not start in time", error);
    }
    if (rc == SH_OK) rc = make_database(state, server, error);
    if (rc) sh_dev_server_stop(server);
    return rc;
}

/* ---- NATS */

static void put_config_text(sh_buf_t *out, const char *text) {
    sh_buf_put_byte(out, '"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') sh_buf_put_byte(out, '\\');
        sh_buf_put_byte(out, *text);
    }
    sh_buf_put_byte(out, '"');
}

static int write_nats_config(sh_dev_state_t *state, int port, sh_buf_t *error) {
    char store[PATH_ROOM];
    const char *password;
    sh_buf_t text = {0};
    int rc = sh_dev_state_secret(state, "nats_password", &password, error);
    if (rc) return rc;
    sh_dev_state_path(state, "nats", store);
    sh_buf_printf(&text,
                  "server_name: shama-dev\nlisten: 127.0.0.1:%d\njetstream {\n  max_memory_store: 64MB\n  max_file_store: 8GB\n  store_dir: ", port);
    put_config_text(&text, store);
    sh_buf_put_lit(&text, "\n}\nauthorization {\n  user: shama\n  password: ");
    put_config_text(&text, password);
    sh_buf_put_lit(&text, "\n}\n");
    rc = sh_dev_state_write(state, "nats.conf", sh_buf_str(&text), error);
    sh_buf_dispose(&text);
    return rc;
}

int sh_dev_nats_start(sh_dev_state_t *state, sh_dev_server_t *server, sh_buf_t *error) {
    char program[PATH_ROOM], config[PATH_ROOM];
    *server = (sh_dev_server_t){.name = "NATS", .stop_signal = SIGTERM};
    sh_dev_state_path(state, "nats.log", server->log);
    sh_dev_state_path(state, "nats.conf", config);
    if (!sh_process_find("nats-server", NULL, program, sizeof program)) {
        sh_buf_printf(error, "nats-server is not installed: run `make deps` (Debian package nats-server), or give a server in NATS_URL");
        return SH_EIO;
    }
    unlink(server->log);
    int rc = SH_ECLOSED;
    for (int tries = 0; tries < START_TRIES && rc == SH_ECLOSED; tries++) {
        server->port = sh_process_free_port();
        rc = server->port > 0 ? write_nats_config(state, server->port, error) : SH_EIO;
        if (rc) return rc;
        const sh_process_opts_t opts = {
            .argv = (const char *const[]){program, "-c", config, NULL}, .output = server->log, .parent_death_signal = SIGTERM};
        rc = sh_process_start(&opts, &server->pid, error);
        if (rc) return rc;
        rc = sh_process_wait_port(server->port, server->pid, START_MS);
        if (rc == SH_ECLOSED) server->pid = 0;
    }
    if (rc == SH_ECLOSED) return explain(server, "ended while starting", error);
    if (rc == SH_ETIMEDOUT) {
        sh_dev_server_stop(server);
        return explain(server, "did not start in time", error);
    }
    return rc;
}
