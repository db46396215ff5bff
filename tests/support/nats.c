/* Starts and stops a nats-server for a test. */
#include "support/nats.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { START_TRIES = 200, START_WAIT_US = 25000, ARGS_MAX = 24 };

static int free_port(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM, 0), port = -1;
    if (fd >= 0 && bind(fd, (struct sockaddr *)&address, len) == 0 && getsockname(fd, (struct sockaddr *)&address, &len) == 0)
        port = ntohs(address.sin_port);
    if (fd >= 0) close(fd);
    return port;
}

static bool accepts(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    bool ok = fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
    if (fd >= 0) close(fd);
    return ok;
}

static void exec_server(const sh_test_nats_t *server, const char *const *extra) {
    char port[16];
    const char *args[ARGS_MAX] = {"nats-server", "-a", "127.0.0.1", "-p", port, "-js", "-sd", server->folder};
    int count = 8;
    snprintf(port, sizeof(port), "%d", server->port);
    for (; extra && *extra && count < ARGS_MAX - 1; extra++) args[count++] = *extra;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that crashes leaves no server */
    char log[96];
    snprintf(log, sizeof(log), "%s/server.log", server->folder);
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (fd >= 0) {
        dup2(fd, 1);
        dup2(fd, 2);
    }
    execvp("nats-server", (char *const *)(void *)args);
    execv("/usr/sbin/nats-server", (char *const *)(void *)args);
    _exit(127);
}

int sh_test_nats_restart(sh_test_nats_t *server, const char *const *extra) {
    server->pid = fork();
    if (server->pid == 0) exec_server(server, extra);
    for (int i = 0; i < START_TRIES; i++) {
        if (accepts(server->port)) return 0;
        if (waitpid(server->pid, NULL, WNOHANG) == server->pid) break;
        usleep(START_WAIT_US);
    }
    fprintf(stderr, "nats-server did not start on port %d; see %s/server.log\n", server->port, server->folder);
    return -1;
}

int sh_test_nats_start(sh_test_nats_t *server, const char *const *extra) {
    *server = (sh_test_nats_t){.folder = "/tmp/shama-test-nats-XXXXXX"};
    if (!mkdtemp(server->folder)) return -1;
    server->port = free_port();
    snprintf(server->url, sizeof(server->url), "nats://127.0.0.1:%d", server->port);
    return sh_test_nats_restart(server, extra);
}

void sh_test_nats_kill(sh_test_nats_t *server, int signal_number) {
    if (server->pid <= 0) return;
    kill(server->pid, signal_number);
    if (signal_number == SIGSTOP) {
        while (waitpid(server->pid, NULL, WUNTRACED) < 0 && errno == EINTR) continue; /* all its threads stand still */
    } else if (signal_number != SIGCONT) {
        while (waitpid(server->pid, NULL, 0) < 0 && errno == EINTR) continue;
        server->pid = 0;
    }
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *place) {
    (void)info;
    (void)kind;
    (void)place;
    return remove(path);
}

void sh_test_nats_stop(sh_test_nats_t *server) {
    sh_test_nats_kill(server, SIGKILL);
    if (server->folder[0]) nftw(server->folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    server->folder[0] = 0;
}
