/* Starting, watching and stopping other programs, and finding ports for them. Blocking; for commands, not for workers. */
#ifndef SH_PROCESS_H
#define SH_PROCESS_H

#include "base/buf.h"

#include <sys/types.h>

typedef struct sh_process_opts {
    const char *const *argv; /* argv[0] is the path; NULL at the end */
    const char *user;        /* run as this user with its groups (needs root), or NULL */
    const char *output;      /* stdout and stderr are appended to this file, or NULL: inherited */
    const char *directory;   /* where it starts, or NULL */
    int parent_death_signal; /* sent to it when we die in whatever way; 0: none */
} sh_process_opts_t;

/* Starts a program in a process group of its own, so that Ctrl-C on the terminal reaches us alone. stdin is /dev/null.
 * SH_EIO when it cannot be started, with a sentence in `error`. */
int sh_process_start(const sh_process_opts_t *opts, pid_t *out, sh_buf_t *error) SH_MUSTCHECK;
/* Starts and waits. SH_EIO also when it ends with anything but 0; `error` then has what it wrote last. */
int sh_process_run(const sh_process_opts_t *opts, sh_buf_t *error) SH_MUSTCHECK;

/* Does the process still run? Reaps it when it is our child and has ended. */
bool sh_process_is_alive(pid_t pid);
/* Waits until the process has ended; false when `wait_ms` passed first. Also for processes that are not our children. */
bool sh_process_wait(pid_t pid, uint64_t wait_ms);
/* Sends `signal`, waits, and sends SIGKILL when it did not end in time. Returns whether it ended by itself. */
bool sh_process_stop(pid_t pid, int signal, uint64_t wait_ms);

/* A TCP port of 127.0.0.1 that nobody uses at this moment, or SH_EIO. */
int sh_process_free_port(void);
/* Can `host`:`port` be listened on? An address that is not numeric counts as free: the server will say better. */
bool sh_process_is_port_free(const char *host, int port);
/* Waits until 127.0.0.1:port accepts connections. SH_ECLOSED when `pid` ended before, SH_ETIMEDOUT. */
int sh_process_wait_port(int port, pid_t pid, uint64_t wait_ms) SH_MUSTCHECK;

/* Finds a program in the colon-separated `folders`, then in PATH and the usual system folders. */
bool sh_process_find(const char *name, const char *folders, char *out, size_t size);

/* Makes a folder and its parents (0755). SH_EIO with errno set. */
int sh_process_make_folder(const char *path) SH_MUSTCHECK;
/* Can `user` enter this folder (every folder above it too)? Tried as that user in a child. */
bool sh_process_can_enter(const char *user, const char *path);

/* The last lines of a file, at most `bytes`. */
void sh_process_tail(const char *path, size_t bytes, sh_buf_t *out);

#endif
