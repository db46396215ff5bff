/* Fork and a pair of sockets: the keeper reports on its end, and reads from it until ours is closed. */
#include "app/keeper.h"

#include "base/err.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void ignore_signals(void) {
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGALRM};
    sigset_t none;
    for (size_t i = 0; i < SH_ARRAY_LEN(numbers); i++) signal(numbers[i], SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static void close_all_but(int fd) {
    if (fd > 3) close_range(3, (unsigned)fd - 1, 0);
    close_range((unsigned)fd + 1, ~0u, 0);
}

/* The report: one byte, 0 for success, and the sentence. */
static void report(int fd, int rc, const sh_buf_t *error) {
    sh_buf_t text = {0};
    sh_buf_put_byte(&text, (char)-rc);
    sh_buf_put_str(&text, sh_buf_str(error));
    if (send(fd, text.ptr, text.len, MSG_NOSIGNAL) < 0) return; /* nobody is there any more: then the wait ends at once */
    sh_buf_dispose(&text);
}

static void keep(const sh_keeper_opts_t *opts, int fd) {
    sh_buf_t error = {0};
    char byte;
    setpgid(0, 0);
    ignore_signals();
    close_all_but(fd);
    if (chdir("/")) _exit(1);
    int rc = opts->begin ? opts->begin(opts->data, &error) : SH_OK;
    report(fd, rc, &error);
    if (rc) _exit(1);
    while (read(fd, &byte, 1) < 0 && errno == EINTR) continue;
    opts->finish(opts->data);
    _exit(0);
}

int sh_keeper_start(const sh_keeper_opts_t *opts, sh_keeper_t *out, sh_buf_t *error) {
    int ends[2];
    char text[4096];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) return SH_EIO;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) keep(opts, ends[1]);
    close(ends[1]);
    ssize_t n = 0;
    if (pid > 0) do
            n = recv(ends[0], text, sizeof text, 0);
        while (n < 0 && errno == EINTR);
    if (n >= 1 && text[0] == 0) {
        *out = (sh_keeper_t){pid, ends[0]};
        return SH_OK;
    }
    if (n > 1)
        sh_buf_put(error, text + 1, (size_t)n - 1);
    else
        sh_buf_printf(error, "cannot start a process: %s", pid < 0 ? strerror(errno) : "it ended");
    close(ends[0]);
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR) continue;
    return n >= 1 ? -(int)text[0] : SH_EIO;
}

void sh_keeper_stop(sh_keeper_t *keeper) {
    if (!keeper->pid) return;
    close(keeper->end);
    while (waitpid(keeper->pid, NULL, 0) < 0 && errno == EINTR) continue;
    keeper->pid = 0;
}
