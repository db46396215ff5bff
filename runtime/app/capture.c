/* A fork, a pipe and a deadline. */
#include "app/capture.h"

#include "base/err.h"
#include "base/time.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static int run_child(int (*fn)(void *data), void *data, const int ends[2]) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(ends[1], STDOUT_FILENO);
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]);
    close(ends[1]);
    int code = fn(data);
    fflush(NULL);
    return code;
}

/* False at the end of the output. */
static bool take(int fd, sh_buf_t *out) {
    char chunk[4096];
    ssize_t n = read(fd, chunk, sizeof chunk);
    if (n < 0) return errno == EINTR;
    if (out->len + (size_t)n <= SH_CAPTURE_BYTES_MAX) sh_buf_put(out, chunk, (size_t)n);
    return n > 0;
}

int sh_capture(int (*fn)(void *data), void *data, uint64_t limit_ms, sh_buf_t *out, int *code) {
    int ends[2], status = 0;
    uint64_t end = sh_time_mono_ns() + limit_ms * 1000000;
    bool is_late = false;
    if (pipe2(ends, O_CLOEXEC)) return SH_EIO;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) _exit(run_child(fn, data, ends));
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return SH_EIO;
    }
    for (bool more = true; more && !is_late;) {
        uint64_t now = sh_time_mono_ns();
        struct pollfd in = {.fd = ends[0], .events = POLLIN};
        int n = now < end ? poll(&in, 1, (int)((end - now) / 1000000 + 1)) : 0;
        if (n > 0)
            more = take(ends[0], out);
        else
            is_late = sh_time_mono_ns() >= end;
    }
    close(ends[0]);
    if (is_late) kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
    if (is_late) return SH_ETIMEDOUT;
    *code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return SH_OK;
}
