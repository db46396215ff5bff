/* Children: fork, become the other user, exec; what fails in the child comes back through a pipe. */
#include "app/process.h"

#include "base/err.h"
#include "base/time.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { POLL_US = 10000, TAIL_BYTES = 2000, PATH_BYTES = 4096 };

/* ---- starting */

static int become(const struct passwd *user) {
    if (initgroups(user->pw_name, user->pw_gid) || setgid(user->pw_gid) || setuid(user->pw_uid)) return -1;
    setenv("HOME", user->pw_dir, 1);
    setenv("USER", user->pw_name, 1);
    return 0;
}

/* In the child, up to exec. Returns the step that failed, errno set. */
static const char *launch(const sh_process_opts_t *opts, const struct passwd *user, pid_t parent) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setpgid(0, 0);
    int in = open("/dev/null", O_RDONLY);
    if (in < 0 || dup2(in, 0) < 0) return "open /dev/null";
    if (opts->output) {
        int out = open(opts->output, O_WRONLY | O_CREAT | O_APPEND, 0600); /* as us: the other user need not own the file */
        if (out < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0) return "open its log file";
        if (out > 2) close(out);
    }
    if (in > 2) close(in);
    if (user && become(user)) return "become the other user";
    if (opts->directory && chdir(opts->directory)) return "enter its folder";
    if (opts->parent_death_signal) { /* after setuid, which clears it */
        prctl(PR_SET_PDEATHSIG, opts->parent_death_signal);
        if (getppid() != parent) _exit(1);
    }
    execv(opts->argv[0], (char *const *)(uintptr_t)opts->argv);
    return "execute it";
}

int sh_process_start(const sh_process_opts_t *opts, pid_t *out, sh_buf_t *error) {
    struct {
        int number;
        const char *step;
    } failure; /* the step is a literal: the same address on both sides of the fork */
    const struct passwd *user = NULL;
    if (opts->user && !(user = getpwnam(opts->user))) {
        sh_buf_printf(error, "there is no user \"%s\"", opts->user);
        return SH_EIO;
    }
    int ends[2];
    pid_t parent = getpid(), pid = -1;
    if (pipe2(ends, O_CLOEXEC) == 0) {
        pid = fork();
        if (pid < 0) close(ends[0]), close(ends[1]);
    }
    if (pid < 0) {
        sh_buf_printf(error, "cannot start %s: %s", opts->argv[0], strerror(errno));
        return SH_EIO;
    }
    if (pid == 0) {
        failure.step = launch(opts, user, parent);
        failure.number = errno;
        _exit(write(ends[1], &failure, sizeof failure) == sizeof failure ? 127 : 126);
    }
    close(ends[1]);
    ssize_t n;
    do n = read(ends[0], &failure, sizeof failure);
    while (n < 0 && errno == EINTR);
    close(ends[0]);
    if (n == (ssize_t)sizeof failure) {
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
        }
        sh_buf_printf(error, "cannot start %s: could not %s: %s", opts->argv[0], failure.step, strerror(failure.number));
        return SH_EIO;
    }
    *out = pid;
    return SH_OK;
}

int sh_process_run(const sh_process_opts_t *opts, sh_buf_t *error) {
    pid_t pid;
    int status, rc = sh_process_start(opts, &pid, error);
    if (rc) return rc;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) return SH_EIO;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return SH_OK;
    sh_buf_printf(error, "%s failed", opts->argv[0]);
    if (opts->output) {
        sh_buf_put_lit(error, ":\n");
        sh_process_tail(opts->output, TAIL_BYTES, error);
    }
    return SH_EIO;
}

/* ---- watching and stopping */

bool sh_process_is_alive(pid_t pid) {
    pid_t got = waitpid(pid, NULL, WNOHANG);
    if (got == pid) return false;
    return got == 0 || kill(pid, 0) == 0 || errno == EPERM; /* not our child: asked by signal 0 */
}

bool sh_process_wait(pid_t pid, uint64_t wait_ms) {
    uint64_t end = sh_time_mono_ns() + wait_ms * 1000000;
    while (sh_process_is_alive(pid)) {
        if (sh_time_mono_ns() >= end) return false;
        usleep(POLL_US);
    }
    return true;
}

bool sh_process_stop(pid_t pid, int signal, uint64_t wait_ms) {
    kill(pid, signal);
    if (sh_process_wait(pid, wait_ms)) return true;
    kill(pid, SIGKILL);
    sh_process_wait(pid, 5000);
    return false;
}

/* ---- ports */

static int listen_on(struct in_addr address, int port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = address};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) == 0 && listen(fd, 1) == 0) return fd;
    close(fd);
    return -1;
}

int sh_process_free_port(void) {
    struct sockaddr_in at;
    socklen_t len = sizeof at;
    int fd = listen_on((struct in_addr){htonl(INADDR_LOOPBACK)}, 0);
    if (fd < 0) return SH_EIO;
    int rc = getsockname(fd, (struct sockaddr *)&at, &len);
    close(fd);
    return rc ? SH_EIO : ntohs(at.sin_port);
}

bool sh_process_is_port_free(const char *host, int port) {
    struct in_addr address;
    if (inet_pton(AF_INET, host, &address) != 1) return true;
    int fd = listen_on(address, port);
    if (fd < 0) return errno != EADDRINUSE;
    close(fd);
    return true;
}

int sh_process_wait_port(int port, pid_t pid, uint64_t wait_ms) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    uint64_t end = sh_time_mono_ns() + wait_ms * 1000000;
    for (;;) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        bool open = fd >= 0 && connect(fd, (struct sockaddr *)&at, sizeof at) == 0;
        if (fd >= 0) close(fd);
        if (open) return SH_OK;
        if (!sh_process_is_alive(pid)) return SH_ECLOSED;
        if (sh_time_mono_ns() >= end) return SH_ETIMEDOUT;
        usleep(POLL_US);
    }
}

/* ---- files */

static bool find_in(const char *name, const char *folders, char *out, size_t size) {
    while (folders && *folders) {
        size_t len = strcspn(folders, ":");
        int n = snprintf(out, size, "%.*s/%s", (int)len, folders, name);
        if (len > 0 && n < (int)size && access(out, X_OK) == 0) return true;
        folders += len + (folders[len] == ':');
    }
    return false;
}

bool sh_process_find(const char *name, const char *folders, char *out, size_t size) {
    return find_in(name, folders, out, size) || find_in(name, getenv("PATH"), out, size) ||
           find_in(name, "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", out, size);
}

int sh_process_make_folder(const char *path) {
    char part[PATH_BYTES];
    if (snprintf(part, sizeof part, "%s", path) >= (int)sizeof part) return SH_EIO;
    for (char *at = part + 1;; at++) {
        if (*at != '/' && *at != 0) continue;
        char end = *at;
        *at = 0;
        if (mkdir(part, 0755) && errno != EEXIST) return SH_EIO;
        *at = end;
        if (!end) return SH_OK;
    }
}

bool sh_process_can_enter(const char *user, const char *path) {
    const struct passwd *who = getpwnam(user);
    int status = 1;
    pid_t pid = who ? fork() : -1;
    if (pid < 0) return false;
    if (pid == 0) _exit(become(who) || access(path, X_OK) ? 1 : 0);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

void sh_process_tail(const char *path, size_t bytes, sh_buf_t *out) {
    FILE *f = fopen(path, "re");
    if (!f) return;
    if (fseek(f, -(long)bytes, SEEK_END)) rewind(f);
    size_t n = fread(sh_buf_reserve(out, bytes), 1, bytes, f);
    fclose(f);
    out->len += n;
}
