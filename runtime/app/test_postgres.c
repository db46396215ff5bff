/* initdb and a server tuned to be thrown away. Only the folder's owner and root can enter it, which is why no password is asked. */
#include "app/test_postgres.h"

#include "app/dev_servers.h"
#include "app/process.h"
#include "base/err.h"

#include <errno.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 4096, START_MS = 60000, STOP_MS = 15000, POLL_US = 10000, LOG_TAIL = 1500 };

static const char *user_to_be(void) { return geteuid() == 0 ? "postgres" : NULL; } /* Postgres refuses to run as root */

int sh_test_postgres_init(sh_test_postgres_t *p, sh_buf_t *error) {
    *p = (sh_test_postgres_t){.folder = "/tmp/shama-test-XXXXXX"}; /* not TMPDIR: a socket's path has room for a hundred bytes */
    if (!mkdtemp(p->folder)) {
        sh_buf_printf(error, "cannot make a folder in /tmp: %s", strerror(errno));
        return SH_EIO;
    }
    if (!user_to_be()) return SH_OK;
    const struct passwd *postgres = getpwnam(user_to_be());
    if (postgres && chown(p->folder, postgres->pw_uid, postgres->pw_gid) == 0) return SH_OK;
    sh_buf_printf(error, "there is no user \"postgres\": install the packages with `make deps`, or run as another user than root");
    rmdir(p->folder);
    return SH_EIO;
}

static void remove_folder(const sh_test_postgres_t *p) {
    sh_buf_t error = {0};
    const sh_process_opts_t remove = {.argv = (const char *const[]){"/bin/rm", "-rf", "--", p->folder, NULL}};
    if (sh_process_run(&remove, &error)) fprintf(stderr, "shama test: %s stays: %s\n", p->folder, sh_buf_c(&error));
    sh_buf_dispose(&error);
}

static int wait_until_it_answers(const sh_test_postgres_t *p, const char *log, sh_buf_t *error) {
    char conninfo[128];
    snprintf(conninfo, sizeof conninfo, "host=%s port=5432 user=postgres dbname=postgres connect_timeout=5", p->folder);
    for (int waited_us = 0; sh_process_is_alive(p->pid) && waited_us < START_MS * 1000; waited_us += POLL_US) {
        if (PQping(conninfo) == PQPING_OK) return SH_OK;
        usleep(POLL_US);
    }
    sh_buf_printf(error, "Postgres does not start. The end of its log:\n");
    sh_process_tail(log, LOG_TAIL, error);
    return SH_EIO;
}

static int start(sh_test_postgres_t *p, sh_buf_t *error) {
    char initdb[PATH_BYTES], postgres[PATH_BYTES], data[96], log[96], socket[128];
    if (!sh_dev_postgres_find("initdb", initdb, sizeof initdb) || !sh_dev_postgres_find("postgres", postgres, sizeof postgres)) {
        sh_buf_printf(error, "Postgres is not installed: run `make deps` (Debian package postgresql-15), name its folder in SHAMA_POSTGRES_BIN, "
                             "or give a server in DATABASE_URL whose login may create databases");
        return SH_EIO;
    }
    snprintf(data, sizeof data, "%s/data", p->folder);
    snprintf(log, sizeof log, "%s/log", p->folder);
    snprintf(socket, sizeof socket, "unix_socket_directories=%s", p->folder);
    const sh_process_opts_t make = {
        .argv = (const char *const[]){initdb, "-D", data, "-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", NULL},
        .user = user_to_be(),
        .output = log,
        .directory = "/"};
    int rc = sh_process_run(&make, error);
    if (rc) return rc;
    const char *const argv[] = {
        postgres,
        "-D",
        data,
        "-c",
        "listen_addresses=",
        "-c",
        socket,
        "-c",
        "fsync=off",
        "-c",
        "synchronous_commit=off",
        "-c",
        "full_page_writes=off",
        "-c",
        "wal_level=minimal",
        "-c",
        "max_wal_senders=0",
        "-c",
        "max_connections=100",
        "-c",
        "shared_buffers=64MB",
        "-c",
        "autovacuum=off",
        "-c",
        "timezone=UTC",
        "-c",
        "log_timezone=UTC",
        "-c",
        "jit=off",
        NULL,
    };
    const sh_process_opts_t opts = {.argv = argv, .user = user_to_be(), .output = log, .directory = "/", .parent_death_signal = SIGINT};
    rc = sh_process_start(&opts, &p->pid, error);
    return rc ? rc : wait_until_it_answers(p, log, error);
}

int sh_test_postgres_start(sh_test_postgres_t *p, sh_buf_t *error) {
    int rc = start(p, error);
    if (rc) sh_test_postgres_stop(p);
    return rc;
}

void sh_test_postgres_stop(sh_test_postgres_t *p) {
    if (p->pid) sh_process_stop(p->pid, SIGINT, STOP_MS);
    p->pid = 0;
    remove_folder(p);
}
