/* Starts and stops a Postgres for a test. */
#include "support/pg.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <libpq-fe.h>
#include <netinet/in.h>
#include <pwd.h>
#include <signal.h>
#include <stdbool.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define BIN "/usr/lib/postgresql/15/bin/"

enum { START_TRIES = 400, START_WAIT_US = 25000 };

static int free_port(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0), port = -1;
    if (fd >= 0 && bind(fd, (struct sockaddr *)&address, len) == 0 && getsockname(fd, (struct sockaddr *)&address, &len) == 0)
        port = ntohs(address.sin_port);
    if (fd >= 0) close(fd);
    return port;
}

/* In the child: Postgres refuses to run as root. */
static void become_postgres(void) {
    struct passwd *user = geteuid() == 0 ? getpwnam("postgres") : NULL;
    if (geteuid() != 0) return;
    if (!user || setgroups(0, NULL) || setgid(user->pw_gid) || setuid(user->pw_uid)) _exit(126);
}

static pid_t spawn(const sh_test_pg_t *server, const char *const *args) {
    char log[96];
    pid_t pid = fork();
    if (pid) return pid;
    snprintf(log, sizeof log, "%s/server.log", server->folder);
    become_postgres();
    if (chdir("/")) _exit(126);
    prctl(PR_SET_PDEATHSIG, SIGQUIT); /* a test that crashes leaves no server */
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (fd >= 0) {
        dup2(fd, 1);
        dup2(fd, 2);
    }
    execv(args[0], (char *const *)(void *)args);
    _exit(127);
}

int sh_test_pg_restart(sh_test_pg_t *server) {
    char port[16], data[80];
    snprintf(port, sizeof port, "%d", server->port);
    snprintf(data, sizeof data, "%s/data", server->folder);
    const char *const args[] = {BIN "postgres",
                                "-D",
                                data,
                                "-p",
                                port,
                                "-k",
                                server->folder,
                                "-c",
                                "listen_addresses=127.0.0.1",
                                "-c",
                                "fsync=off",
                                "-c",
                                "shared_buffers=16MB",
                                "-c",
                                "max_connections=60",
                                "-c",
                                "timezone=America/Bogota",
                                "-c",
                                "datestyle=SQL, DMY",
                                NULL};
    server->pid = spawn(server, args);
    for (int i = 0; i < START_TRIES; i++) {
        PGconn *pg = PQconnectdb(server->conninfo);
        bool is_up = PQstatus(pg) == CONNECTION_OK;
        PQfinish(pg);
        if (is_up) return 0;
        if (waitpid(server->pid, NULL, WNOHANG) == server->pid) {
            server->pid = 0;
            break;
        }
        usleep(START_WAIT_US);
    }
    fprintf(stderr, "Postgres did not start on port %d; see %s/server.log\n", server->port, server->folder);
    return -1;
}

int sh_test_pg_start(sh_test_pg_t *server) {
    char data[80];
    int status = 0;
    *server = (sh_test_pg_t){.folder = "/tmp/shama-test-pg-XXXXXX"};
    if (!mkdtemp(server->folder)) return -1;
    if (geteuid() == 0) {
        const struct passwd *user = getpwnam("postgres");
        if (!user || chown(server->folder, user->pw_uid, user->pw_gid)) return -1;
    }
    snprintf(data, sizeof data, "%s/data", server->folder);
    const char *const args[] = {BIN "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", NULL};
    pid_t pid = spawn(server, args);
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status) {
        fprintf(stderr, "initdb failed; see %s/server.log\n", server->folder);
        return -1;
    }
    server->port = free_port();
    snprintf(server->conninfo, sizeof server->conninfo, "host=127.0.0.1 port=%d user=postgres dbname=postgres sslmode=disable gssencmode=disable",
             server->port);
    return sh_test_pg_restart(server);
}

void sh_test_pg_kill(sh_test_pg_t *server, int signal_number) {
    if (server->pid <= 0) return;
    kill(server->pid, signal_number);
    if (signal_number == SIGSTOP || signal_number == SIGCONT) return;
    while (waitpid(server->pid, NULL, 0) < 0 && errno == EINTR) continue;
    server->pid = 0;
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *place) {
    (void)info, (void)kind, (void)place;
    return remove(path);
}

void sh_test_pg_stop(sh_test_pg_t *server) {
    sh_test_pg_kill(server, SIGQUIT);
    if (server->folder[0]) nftw(server->folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    server->folder[0] = 0;
}

const char *sh_test_pg_run(const sh_test_pg_t *server, const char *sql) {
    static char value[256];
    PGconn *pg = PQconnectdb(server->conninfo);
    PGresult *r = PQexec(pg, sql);
    bool has_value = false;
    if (PQresultStatus(r) == PGRES_TUPLES_OK && PQntuples(r) > 0) {
        snprintf(value, sizeof value, "%s", PQgetvalue(r, 0, 0));
        has_value = true;
    } else if (PQresultStatus(r) == PGRES_FATAL_ERROR) {
        fprintf(stderr, "%s: %s", sql, PQerrorMessage(pg));
    }
    PQclear(r);
    PQfinish(pg);
    return has_value ? value : NULL;
}
