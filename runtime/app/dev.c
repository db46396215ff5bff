/* `shama dev`: everything one developer needs, from one command, in one folder.
 *
 *     lock .shama/ ─▶ Postgres ─▶ NATS ─▶ roles, migrations, demo data ─▶ server ─▶ dev.json, addresses ─▶ watch
 *
 * What it started it stops, in reverse order and one after the other: the server drains, then the broker, then the database.
 * DATABASE_URL and NATS_URL name servers to use instead of private ones. SIGHUP and SIGUSR1 go on to the server. The server is a child that
 * reads its settings from the environment like any other, so that a reload finds them again.
 *
 * Scripts can rely on .shama/dev.json, which exists exactly while the server answers:
 * {"base_url", "database_url" (a read-only login; null when its password is not known), "nats_url", "pid" (of shama dev), "server_pid",
 *  "log", "logins": [{"email", "password", "roles"}]} */
#include "app/commands.h"
#include "app/dev_servers.h"
#include "app/dev_state.h"
#include "app/dev_watch.h"
#include "app/migrate.h"
#include "app/options.h"
#include "app/process.h"
#include "app/serve.h"
#include "base/err.h"
#include "base/time.h"
#include "codec/password.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { READY_MS = 60000, READY_POLL_MS = 50, DRAIN_EXTRA_MS = 5000, LOG_TAIL = 3000 };

static const char dev_help[] =
    "Usage: shama dev [--port N] [--workers N] [--services LIST] [--no-watch]\n\n"
    "Starts a private Postgres and a NATS server with their data in .shama/, brings the database up to date, adds demo data, and serves.\n"
    "What is saved in rules/ is checked and taken in at once; with --no-watch (or SHAMA_WATCH=0) only by `shama reload`.\n"
    "DATABASE_URL and NATS_URL name servers to use instead. Ctrl-C stops everything; the data stays. To begin anew: rm -r .shama\n";

/* As in sql/demo/seed.sql. */
static const char demo_password[] = "shama-demo";
static const struct {
    const char *email, *role;
} demo_logins[] = {
    {"admin@shama.local", "ADMIN"},
    {"sales@shama.local", "SALES"},
    {"inventory@shama.local", "INVENTORY"},
    {"customer@shama.local", "CUSTOMER"},
};

typedef struct setup {
    sh_dev_state_t state;
    sh_config_t *config;
    sh_dev_server_t postgres, nats; /* pid 0: one that was given is used */
    pid_t server, watcher;
    bool no_watch;
    sh_buf_t database_url; /* the read-only login's, or empty */
    sigset_t watched, before;
} setup_t;

/* ---- settings for the server, by its environment */

static void export_number(const char *name, int n) {
    char text[16];
    snprintf(text, sizeof text, "%d", n);
    setenv(name, text, 1);
}

/* "sales" -> SALES_DB_PASSWORD. */
static void export_password(const char *service, const char *password) {
    char name[96];
    snprintf(name, sizeof name, "%.63s_DB_PASSWORD", service);
    for (char *c = name; *c; c++) *c = (char)toupper((unsigned char)*c);
    setenv(name, password, 1);
}

static int reload_config(setup_t *setup) {
    sh_config_t *fresh = sh_options_config();
    if (!fresh) return SH_EINVAL;
    if (setup->config) sh_config_dispose(setup->config), free(setup->config);
    setup->config = fresh;
    return SH_OK;
}

/* Every service without a configured password gets one of its own. Returns whether any was configured. */
static int export_passwords(setup_t *setup, bool *any_configured, sh_buf_t *error) {
    sh_migrate_service_t services[SH_MIGRATE_SERVICES_MAX];
    size_t count = sh_migrate_services(setup->config, services);
    *any_configured = false;
    for (size_t i = 0; i < count; i++) {
        char name[96];
        const char *password;
        if (*services[i].password) {
            *any_configured = true;
            continue;
        }
        snprintf(name, sizeof name, "%.63s_db_password", services[i].name);
        int rc = sh_dev_state_secret(&setup->state, name, &password, error);
        if (rc) return rc;
        export_password(services[i].name, password);
    }
    return SH_OK;
}

static int export_jwt_secret(setup_t *setup, sh_buf_t *error) {
    const char *secret;
    if (*sh_config_str(setup->config, "jwt.secret")) return SH_OK;
    int rc = sh_dev_state_secret(&setup->state, "jwt_secret", &secret, error);
    if (rc == SH_OK) setenv("JWT_SECRET", secret, 1);
    return rc;
}

/* ---- the database */

static void put_readonly_url(setup_t *setup, PGconn *conn, const char *password) {
    sh_buf_clear(&setup->database_url);
    sh_buf_printf(&setup->database_url, "postgresql://shama_readonly:%s@%s:%s/%s", password, PQhost(conn), PQport(conn), PQdb(conn));
}

/* Logs in as each service does, so that a wrong password is told here and not by a server that never gets ready. */
static int try_logins(const setup_t *setup, sh_buf_t *error) {
    sh_migrate_service_t services[SH_MIGRATE_SERVICES_MAX];
    size_t count = sh_migrate_services(setup->config, services);
    int rc = SH_OK;
    for (size_t i = 0; rc == SH_OK && i < count; i++) {
        sh_buf_t conninfo = {0};
        sh_config_conninfo(setup->config, services[i].name, &conninfo);
        PGconn *conn = PQconnectdb(sh_buf_c(&conninfo));
        if (PQstatus(conn) != CONNECTION_OK) {
            sh_buf_printf(
                error,
                "the service %s cannot log in as %s: %sGive its password in DB_PASSWORD, or in a variable of its own (SALES_DB_PASSWORD for sales)",
                services[i].name, services[i].role, PQerrorMessage(conn));
            rc = SH_EDENIED;
        }
        PQfinish(conn);
        sh_buf_dispose(&conninfo);
    }
    return rc;
}

static int seed(const setup_t *setup, PGconn *conn, sh_buf_t *error) {
    char path[SH_DEV_PATH_MAX + 64], hash[SH_PASSWORD_HASH_MAX];
    const sh_password_params_t params = SH_PASSWORD_PARAMS_DEFAULT;
    snprintf(path, sizeof path, "%s/sql/demo/seed.sql", setup->config->root);
    if (access(path, R_OK)) return SH_OK;
    int rc = sh_password_hash(&params, SH_STR(demo_password), hash);
    return rc ? rc : sh_migrate_seed(conn, path, hash, error);
}

/* Roles, migrations, demo data, on a connection that may do so. */
static int prepare_database(setup_t *setup, const char *url, bool is_private, sh_buf_t *error) {
    PGconn *conn;
    const char *readonly_password = getenv("DB_READONLY_PASSWORD");
    bool any_configured;
    int rc = sh_migrate_connect(setup->config, url, &conn, error);
    if (rc) return rc;
    const char *superuser = PQparameterStatus(conn, "is_superuser");
    bool may_set_passwords = superuser && strcmp(superuser, "on") == 0;
    if (may_set_passwords) {
        rc = export_passwords(setup, &any_configured, error);
        if (rc == SH_OK && !readonly_password) rc = sh_dev_state_secret(&setup->state, "readonly_db_password", &readonly_password, error);
        if (rc == SH_OK) rc = reload_config(setup);
        /* On a server that was given, passwords that somebody configured are theirs: they are used, not changed. */
        may_set_passwords = is_private || !any_configured;
    }
    const sh_migrate_opts_t opts = {
        .config = setup->config, .out = stdout, .readonly_password = readonly_password, .set_passwords = may_set_passwords};
    if (rc == SH_OK) rc = sh_migrate_roles(conn, &opts, error);
    if (rc == SH_OK) rc = sh_migrate_up(conn, &opts, error);
    if (rc == SH_OK) rc = seed(setup, conn, error);
    if (rc == SH_OK && readonly_password) put_readonly_url(setup, conn, readonly_password);
    PQfinish(conn);
    return rc ? rc : try_logins(setup, error);
}

static int start_database(setup_t *setup, sh_buf_t *error) {
    if (*sh_config_str(setup->config, "db.url")) return prepare_database(setup, NULL, false, error);
    int rc = sh_dev_postgres_start(&setup->state, stdout, &setup->postgres, error);
    const char *password;
    if (rc == SH_OK) rc = sh_dev_state_secret(&setup->state, "postgres_password", &password, error);
    if (rc) return rc;
    setenv("DB_HOST", "127.0.0.1", 1);
    setenv("DB_NAME", SH_DEV_DATABASE, 1);
    setenv("DB_SSLMODE", "disable", 1);
    export_number("DB_PORT", setup->postgres.port);
    sh_buf_t url = {0};
    sh_buf_printf(&url, "postgresql://postgres:%s@127.0.0.1:%d/" SH_DEV_DATABASE "?sslmode=disable", password, setup->postgres.port);
    rc = prepare_database(setup, sh_buf_c(&url), true, error);
    sh_buf_dispose(&url);
    return rc;
}

static int start_broker(setup_t *setup, sh_buf_t *error) {
    const char *given = getenv("NATS_URL"), *file = getenv("NATS_URL_FILE"), *password;
    if ((given && *given) || (file && *file)) return SH_OK;
    int rc = sh_dev_nats_start(&setup->state, &setup->nats, error);
    if (rc == SH_OK) rc = sh_dev_state_secret(&setup->state, "nats_password", &password, error);
    if (rc) return rc;
    sh_buf_t url = {0};
    sh_buf_printf(&url, "nats://shama:%s@127.0.0.1:%d", password, setup->nats.port);
    setenv("NATS_URL", sh_buf_c(&url), 1);
    sh_buf_dispose(&url);
    return SH_OK;
}

/* ---- the server */

static void log_path(const setup_t *setup, char *out) {
    const char *file = sh_config_str(setup->config, "log.file");
    snprintf(out, SH_DEV_PATH_MAX + 64, "%s", file);
}

static int start_server(setup_t *setup, sh_buf_t *error) {
    pid_t parent = getpid();
    fflush(NULL);
    setup->server = fork();
    if (setup->server < 0) {
        sh_buf_printf(error, "cannot start the server: %s", strerror(errno));
        setup->server = 0;
        return SH_EIO;
    }
    if (setup->server > 0) return SH_OK;
    setpgid(0, 0); /* Ctrl-C is for us; we stop the server when it is its turn */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _exit(1);
    sigprocmask(SIG_SETMASK, &setup->before, NULL);
    int code = sh_serve(setup->config);
    fflush(NULL);
    _exit(code);
}

static const char *local_host(const setup_t *setup) {
    const char *host = sh_config_str(setup->config, "http.host");
    return strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0 ? "127.0.0.1" : host;
}

/* One GET /health/ready; true when the answer is 200. */
static bool is_ready(const setup_t *setup) {
    static const char request[] = "GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)sh_config_int(setup->config, "http.port"))};
    const struct timeval patience = {.tv_sec = 2};
    char answer[13] = "";
    size_t got = 0;
    if (inet_pton(AF_INET, local_host(setup), &at.sin_addr) != 1) at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return false;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&at, sizeof at) == 0 && send(fd, request, sizeof request - 1, MSG_NOSIGNAL) == (ssize_t)sizeof request - 1)
        while (got < sizeof answer - 1) {
            ssize_t n = recv(fd, answer + got, sizeof answer - 1 - got, 0);
            if (n <= 0) break;
            got += (size_t)n;
        }
    close(fd);
    return strcmp(answer, "HTTP/1.1 200") == 0;
}

/* A pending Ctrl-C, taken. */
static bool is_stop_asked(const setup_t *setup) {
    static const struct timespec now = {0};
    sigset_t stops;
    (void)setup;
    sigemptyset(&stops);
    sigaddset(&stops, SIGINT);
    sigaddset(&stops, SIGTERM);
    return sigtimedwait(&stops, NULL, &now) > 0;
}

static int await_server(setup_t *setup, sh_buf_t *error) {
    uint64_t end = sh_time_mono_ns() + (uint64_t)READY_MS * 1000000;
    char log[SH_DEV_PATH_MAX + 64];
    log_path(setup, log);
    while (!is_ready(setup)) {
        const char *what = NULL;
        if (!sh_process_is_alive(setup->server))
            setup->server = 0, what = "ended while starting";
        else if (sh_time_mono_ns() >= end)
            what = "is not ready after a minute";
        if (what) {
            sh_buf_printf(error, "the server %s", what);
            if (*log) sh_buf_printf(error, ". The end of %s:\n", log), sh_process_tail(log, LOG_TAIL, error);
            return SH_EIO;
        }
        if (is_stop_asked(setup)) return SH_ECANCELED;
        usleep(READY_POLL_MS * 1000);
    }
    return SH_OK;
}

/* ---- telling */

static int write_dev_json(const setup_t *setup, sh_buf_t *error) {
    sh_buf_t text = {0};
    char log[SH_DEV_PATH_MAX + 64];
    log_path(setup, log);
    sh_buf_printf(&text, "{\"base_url\": \"http://%s:%d\", \"database_url\": ", local_host(setup), (int)sh_config_int(setup->config, "http.port"));
    if (setup->database_url.len)
        sh_buf_put_json(&text, sh_buf_str(&setup->database_url));
    else
        sh_buf_put_lit(&text, "null");
    sh_buf_put_lit(&text, ",\n \"nats_url\": ");
    sh_buf_put_json(&text, sh_str_of(sh_config_str(setup->config, "nats.url")));
    sh_buf_printf(&text, ",\n \"pid\": %d, \"server_pid\": %d, \"log\": ", (int)getpid(), (int)setup->server);
    sh_buf_put_json(&text, sh_str_of(log));
    sh_buf_put_lit(&text, ",\n \"logins\": [");
    for (size_t i = 0; i < SH_ARRAY_LEN(demo_logins); i++)
        sh_buf_printf(&text, "%s\n  {\"email\": \"%s\", \"password\": \"%s\", \"roles\": [\"%s\"]}", i ? "," : "", demo_logins[i].email,
                      demo_password, demo_logins[i].role);
    sh_buf_put_lit(&text, "\n ]}\n");
    int rc = sh_dev_state_write(&setup->state, "dev.json", sh_buf_str(&text), error);
    sh_buf_dispose(&text);
    return rc;
}

static void print_addresses(const setup_t *setup) {
    int port = (int)sh_config_int(setup->config, "http.port");
    char log[SH_DEV_PATH_MAX + 64];
    log_path(setup, log);
    printf("\nShama runs on http://%s:%d (Ctrl-C stops it and what it started)\n\n", local_host(setup), port);
    printf("  database  %s\n", setup->database_url.len ? setup->database_url.ptr : "the one in DATABASE_URL");
    printf("  nats      %s\n", sh_config_str(setup->config, "nats.url"));
    printf("  log       %s\n  for scripts  %s/dev.json\n\nDemo logins, all with the password %s:\n", *log ? log : "here", setup->state.folder,
           demo_password);
    for (size_t i = 0; i < SH_ARRAY_LEN(demo_logins); i++) printf("  %-10s %s\n", demo_logins[i].role, demo_logins[i].email);
    printf("\nTry:\n  curl -s http://%s:%d/api/v1/auth/login -H 'Content-Type: application/json' \\\n"
           "    -d '{\"email\": \"%s\", \"password\": \"%s\"}'\n\n"
           "%s: shama reload   (or kill -HUP %d)\n\n",
           local_host(setup), port, demo_logins[1].email, demo_password,
           setup->no_watch ? "Edit a rule in rules/ and take it in with" : "Edit a rule in rules/: it is taken in when you save it. By hand",
           (int)getpid());
    fflush(stdout);
}

/* ---- watching and stopping */

/* Which of ours ended? Reaps it. Returns its name, or NULL. */
static const char *find_ended(setup_t *setup, int *status) {
    struct {
        pid_t *pid;
        const char *name;
    } ours[] = {{&setup->server, "the server"}, {&setup->nats.pid, "NATS"}, {&setup->postgres.pid, "Postgres"}};
    for (size_t i = 0; i < SH_ARRAY_LEN(ours); i++) {
        if (*ours[i].pid == 0 || waitpid(*ours[i].pid, status, WNOHANG) != *ours[i].pid) continue;
        *ours[i].pid = 0;
        return ours[i].name;
    }
    return NULL;
}

/* Until somebody wants us to stop (0) or something of ours ends (1, or the server's exit code). */
static int watch(setup_t *setup) {
    for (;;) {
        int status = 0, signal = sigwaitinfo(&setup->watched, NULL);
        if (signal == SIGINT || signal == SIGTERM) return 0;
        if (signal == SIGHUP || signal == SIGUSR1) kill(setup->server, signal);
        if (setup->watcher && waitpid(setup->watcher, NULL, WNOHANG) == setup->watcher) {
            setup->watcher = 0;
            fprintf(stderr, "shama dev: nothing watches rules/ any more; take edits in with `shama reload`\n");
        }
        const char *ended = find_ended(setup, &status);
        if (!ended) continue;
        if (WIFSIGNALED(status))
            fprintf(stderr, "shama dev: %s was ended by signal %d\n", ended, WTERMSIG(status));
        else
            fprintf(stderr, "shama dev: %s ended with %d\n", ended, WEXITSTATUS(status));
        if (setup->server == 0 && WIFEXITED(status)) return WEXITSTATUS(status);
        return 1;
    }
}

static int stop_all(setup_t *setup) {
    int code = 0;
    if (setup->watcher) sh_process_stop(setup->watcher, SIGTERM, 2000);
    setup->watcher = 0;
    if (setup->server) {
        uint64_t limit_ms = (uint64_t)sh_config_int(setup->config, "drain_ms") + DRAIN_EXTRA_MS;
        kill(setup->server, SIGTERM);
        for (uint64_t waited_ms = 0;; waited_ms += 10) {
            int status = 0;
            pid_t got = waitpid(setup->server, &status, WNOHANG);
            if (got == setup->server) {
                code = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
                break;
            }
            if (got < 0) break;
            if (waited_ms >= limit_ms) {
                fprintf(stderr, "shama dev: the server did not end in time and was killed\n");
                sh_process_stop(setup->server, SIGKILL, 5000);
                code = 1;
                break;
            }
            usleep(10000);
        }
        setup->server = 0;
    }
    sh_dev_server_stop(&setup->nats);
    sh_dev_server_stop(&setup->postgres);
    return code;
}

/* ---- the command */

static int check_start(const setup_t *setup, sh_buf_t *error) {
    int port = (int)sh_config_int(setup->config, "http.port");
    if (strcmp(sh_config_str(setup->config, "env"), "production") == 0) {
        sh_buf_put_c(error, "`shama dev` adds demo logins with a known password and is not for production: use `shama serve`");
        return SH_EDENIED;
    }
    if (sh_process_is_port_free(local_host(setup), port)) return SH_OK;
    sh_buf_printf(error, "port %d is in use by another program: stop it (`ss -ltnp sport = :%d` names it), or take another port: PORT=%d shama dev",
                  port, port, port + 1);
    return SH_EIO;
}

static int start_all(setup_t *setup, sh_buf_t *error) {
    char log[SH_DEV_PATH_MAX + 64];
    int rc = sh_dev_state_open(&setup->state, error);
    if (rc == SH_OK) rc = check_start(setup, error);
    if (rc == SH_OK) rc = start_database(setup, error);
    if (rc == SH_OK && is_stop_asked(setup)) return SH_ECANCELED;
    if (rc == SH_OK) rc = start_broker(setup, error);
    if (rc == SH_OK) rc = export_jwt_secret(setup, error);
    if (rc) return rc;
    if (!*sh_config_str(setup->config, "log.file")) {
        sh_dev_state_path(&setup->state, "server.log", log);
        setenv("LOG_FILE", log, 1);
    }
    rc = reload_config(setup);
    if (rc == SH_OK) rc = start_server(setup, error);
    if (rc == SH_OK) rc = await_server(setup, error);
    if (rc == SH_OK && !setup->no_watch) rc = sh_dev_watch_start(setup->config, &setup->watcher, error);
    if (rc == SH_OK) rc = write_dev_json(setup, error);
    return rc;
}

int sh_command_dev(int argc, char **argv) {
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGCHLD};
    const char *services = NULL, *workers = NULL, *port = NULL, *watch_setting = getenv("SHAMA_WATCH");
    bool no_watch = watch_setting && strcmp(watch_setting, "0") == 0;
    const sh_option_t options[] = {
        {"--services", &services, NULL}, {"--workers", &workers, NULL}, {"--port", &port, NULL}, {"--no-watch", NULL, &no_watch}};
    argc = sh_options_take(argc, argv, options, SH_ARRAY_LEN(options), dev_help);
    if (argc != 1) return 2;
    if (services) setenv("SERVICES", services, 1);
    if (workers) setenv("WORKERS", workers, 1);
    if (port) setenv("PORT", port, 1);

    setup_t setup = {.state = {.lock = -1}, .no_watch = no_watch};
    if (reload_config(&setup)) return 1;
    /* Signals are taken by sigwaitinfo() only; the children get the mask of before. */
    sigemptyset(&setup.watched);
    for (size_t i = 0; i < SH_ARRAY_LEN(signals); i++) sigaddset(&setup.watched, signals[i]);
    sigprocmask(SIG_BLOCK, &setup.watched, &setup.before);

    sh_buf_t error = {0};
    int rc = start_all(&setup, &error), code = 0;
    if (rc == SH_OK) {
        print_addresses(&setup);
        code = watch(&setup);
    } else if (rc != SH_ECANCELED) {
        while (error.len && error.ptr[error.len - 1] == '\n') error.len--;
        fprintf(stderr, "shama dev: %s\n", error.len ? sh_buf_c(&error) : sh_err_text(rc));
        code = 1;
    }
    int stopped = stop_all(&setup);
    if (code == 0) code = stopped;
    sh_dev_state_close(&setup.state);
    sh_buf_dispose(&error);
    sh_buf_dispose(&setup.database_url);
    sh_config_dispose(setup.config);
    free(setup.config);
    return code;
}
