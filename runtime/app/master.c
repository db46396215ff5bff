/* Signals, workers and the reload protocol, in one loop around poll(2). No threads, no libuv, no Lua.
 *
 *     reload:  idle ─▶ checking ─▶ preparing ─▶ swapping ─▶ idle
 *                        │            │
 *                        └── refused, a worker died, time is over: nothing changed ─▶ idle
 *
 * The commit point is the moment when all workers said PREPARED: from then on `current` is the new bundle, and a worker that dies
 * is replaced by one that starts with it. Before it, a death aborts the reload everywhere. Reloads asked for meanwhile become one more. */
#include "app/master.h"

#include "app/channel.h"
#include "app/check.h"
#include "app/control.h"
#include "app/master_internal.h"
#include "app/worker.h"
#include "base/err.h"
#include "base/time.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    TICK_MS = 50,
    RESPAWN_AT_ONCE_NS = 1000000000, /* a worker that lived longer is replaced at once */
    RESPAWN_MS_MAX = 5000,
    BACKLOG = 1024,
};

static uint64_t ms_from_now(uint64_t ms) { return sh_time_mono_ns() + ms * 1000000; }

/* ---- sockets */

static int listen_on(const char *host, int port, bool share, char *error, size_t error_size) {
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (fd < 0) goto fail;
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1) {
        snprintf(error, error_size, "http.host \"%s\" is no IPv4 address", host);
        close(fd);
        return SH_EINVAL;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (share) setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, BACKLOG)) goto fail;
    return fd;
fail:
    if (errno == EADDRINUSE)
        snprintf(error, error_size, "port %d on %s is in use: stop what runs there, or set PORT to another", port, host);
    else
        snprintf(error, error_size, "cannot listen on %s:%d: %s", host, port, strerror(errno));
    if (fd >= 0) close(fd);
    return SH_EIO;
}

/* SO_REUSEPORT lets two masters of one user share a port by mistake: probe without it first. */
static int open_sockets(sh_master_t *m) {
    char error[256];
    const char *host = sh_config_str(m->config, "http.host");
    int port = (int)sh_config_int(m->config, "http.port"), admin = (int)sh_config_int(m->config, "http.admin_port");
    int probe = listen_on(host, port, false, error, sizeof error);
    if (probe < 0) goto fail;
    close(probe);
    for (uint32_t i = 0; i < m->worker_count; i++) {
        m->workers[i].listen_fd = listen_on(host, port, true, error, sizeof error);
        if (m->workers[i].listen_fd < 0) goto fail;
        m->workers[i].admin_fd = -1;
    }
    if (admin) {
        for (uint32_t i = 0; i < m->worker_count; i++) {
            m->workers[i].admin_fd = listen_on("127.0.0.1", admin, true, error, sizeof error);
            if (m->workers[i].admin_fd < 0) goto fail;
        }
    }
    return SH_OK;
fail:
    sh_log_error(&m->log, "cannot start", SH_LOG_C("error", error));
    fprintf(stderr, "shama: %s\n", error);
    return SH_EIO;
}

/* ---- workers */

static sh_config_t copy_config(const sh_config_t *config) {
    sh_config_t copy;
    sh_buf_t text = {0};
    sh_config_write(config, &text);
    int rc = sh_config_read(sh_buf_str(&text), &copy);
    SH_ASSERT(rc == SH_OK);
    explicit_bzero(text.ptr, text.cap);
    sh_buf_dispose(&text);
    if (config->file) copy.file = sh_strdup(config->file);
    return copy;
}

/* What a child must not keep of the master. */
static void become_child(sh_master_t *m, const char *name) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    prctl(PR_SET_NAME, name);
    if (getppid() != m->pid) _exit(0); /* the master died before the line above */
    close(m->signal_fd);
    sh_control_close_in_child(&m->control);
    for (uint32_t i = 0; i < m->worker_count; i++)
        if (m->workers[i].channel >= 0) close(m->workers[i].channel);
    if (m->reload.channel >= 0) close(m->reload.channel);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN); /* the master's business, also when a terminal sends them to the group */
    signal(SIGINT, SIG_IGN);
    signal(SIGUSR1, SIG_IGN);
}

static void spawn(sh_master_t *m, uint32_t index) {
    sh_worker_slot_t *w = &m->workers[index];
    int ends[2];
    if (sh_channel_create(ends)) {
        w->respawn_at_ns = ms_from_now(1000);
        return;
    }
    sh_log_flush(&m->log);
    pid_t pid = fork();
    if (pid < 0) {
        sh_log_error(&m->log, "cannot fork a worker", SH_LOG_C("error", strerror(errno)));
        close(ends[0]);
        close(ends[1]);
        w->respawn_at_ns = ms_from_now(1000);
        return;
    }
    if (pid == 0) {
        char name[16];
        snprintf(name, sizeof name, "shama-worker-%u", index);
        become_child(m, name);
        close(ends[0]);
        for (uint32_t i = 0; i < m->worker_count; i++)
            if (i != index) {
                close(m->workers[i].listen_fd);
                if (m->workers[i].admin_fd >= 0) close(m->workers[i].admin_fd);
            }
        sh_config_t config = copy_config(m->config);
        const sh_worker_opts_t opts = {
            .index = index,
            .config = &config,
            .bundle = m->current.bundle,
            .generation = m->current.serial,
            .board = m->board,
            .listen_fd = w->listen_fd,
            .admin_fd = w->admin_fd,
            .channel = ends[1],
            .wake_fds = m->wake_fds,
            .master = m->pid,
        };
        _exit(sh_worker_run(&opts));
    }
    close(ends[1]);
    w->pid = pid;
    w->channel = ends[0];
    w->ready = false;
    w->started_ns = sh_time_mono_ns();
    w->respawn_at_ns = 0;
    w->drain_sent = false;
    atomic_store(&m->board->slots[index].pid, pid);
}

/* Ended by its own doing (not by kill -9, which may hit anybody): what it ran then is noted. */
static void blame(sh_master_t *m, uint32_t index, int status) {
    static const int own[] = {SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE};
    sh_slot_t *slot = &m->board->slots[index];
    if (!WIFSIGNALED(status) || !atomic_load_explicit(&slot->busy_since_ns, memory_order_acquire)) return;
    for (size_t i = 0; i < SH_ARRAY_LEN(own); i++) {
        if (WTERMSIG(status) != own[i]) continue;
        uint32_t kills = sh_board_quarantine_add(m->board, slot->name);
        sh_log_error(&m->log, "a worker crashed in a rule", SH_LOG_I64("worker", index), SH_LOG_C("service", slot->service),
                     SH_LOG_C("route", slot->name), SH_LOG_C("request_id", slot->request_id), SH_LOG_I64("kills", kills));
    }
}

static void worker_ended(sh_master_t *m, uint32_t index, int status) {
    sh_worker_slot_t *w = &m->workers[index];
    bool was_asked = m->stopping;
    uint64_t now = sh_time_mono_ns();
    if (w->channel >= 0) close(w->channel);
    w->channel = -1;
    w->pid = 0;
    w->ready = false;
    blame(m, index, status);
    sh_slot_leave(&m->board->slots[index]);
    atomic_store(&m->board->slots[index].pid, 0);
    atomic_store(&m->board->slots[index].generations, 0);
    if (was_asked) return;
    sh_series_add(m->restarts, 1);
    bool lived = now - w->started_ns > RESPAWN_AT_ONCE_NS;
    w->backoff_ms = lived ? 0 : w->backoff_ms ? w->backoff_ms * 2 : 100;
    if (w->backoff_ms > RESPAWN_MS_MAX) w->backoff_ms = RESPAWN_MS_MAX;
    w->respawn_at_ns = now + w->backoff_ms * 1000000u;
    sh_log_error(&m->log, "a worker ended and is replaced", SH_LOG_I64("worker", index),
                 SH_LOG_I64("exit_code", WIFEXITED(status) ? WEXITSTATUS(status) : -1),
                 SH_LOG_I64("signal", WIFSIGNALED(status) ? WTERMSIG(status) : 0), SH_LOG_I64("wait_ms", (int64_t)w->backoff_ms));
    sh_reload_worker_ended(m, index);
}

/* A worker that is stuck in one piece of work beyond the hard limit, and has burnt the CPU for it, is ended; who did it is noted. */
static void end_stuck_workers(sh_master_t *m) {
    uint64_t now = sh_time_mono_ns(), limit = (uint64_t)sh_config_int(m->config, "budget.hard_limit_ms") * 1000000;
    for (uint32_t i = 0; i < m->worker_count; i++) {
        sh_worker_slot_t *w = &m->workers[i];
        sh_slot_t *slot = &m->board->slots[i];
        uint64_t since = atomic_load_explicit(&slot->busy_since_ns, memory_order_acquire);
        clockid_t clock;
        struct timespec cpu;
        if (!w->pid || !since || clock_getcpuclockid(w->pid, &clock) || clock_gettime(clock, &cpu)) {
            w->stuck_since_ns = 0;
            continue;
        }
        uint64_t cpu_ns = (uint64_t)cpu.tv_sec * 1000000000u + (uint64_t)cpu.tv_nsec;
        if (since != w->stuck_since_ns) {
            w->stuck_since_ns = since;
            w->stuck_cpu_ns = cpu_ns;
            continue;
        }
        if (now - since < limit || cpu_ns - w->stuck_cpu_ns < limit / 2) continue;
        kill(w->pid, SIGSTOP); /* what the slot says must be what is ended */
        if (atomic_load_explicit(&slot->busy_since_ns, memory_order_acquire) != since) {
            kill(w->pid, SIGCONT);
            continue;
        }
        uint32_t kills = sh_board_quarantine_add(m->board, slot->name);
        sh_series_add(m->hard_kills, 1);
        sh_log_error(&m->log, "a worker was stuck and is ended", SH_LOG_I64("worker", i), SH_LOG_C("service", slot->service),
                     SH_LOG_C("route", slot->name), SH_LOG_C("request_id", slot->request_id),
                     SH_LOG_I64("stuck_ms", (int64_t)((now - since) / 1000000)), SH_LOG_I64("kills", kills));
        sh_outcome_t *outcome = sh_board_outcome(m->board, atomic_load(&slot->generation)); /* nobody else can tell the guard */
        atomic_fetch_add(&outcome->requests, 1);
        atomic_fetch_add(&outcome->failures, 1);
        w->stuck_since_ns = 0;
        kill(w->pid, SIGKILL);
    }
}

static void reap(sh_master_t *m) {
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == m->reload.check_pid) {
            sh_reload_check_ended(m, status);
            continue;
        }
        for (uint32_t i = 0; i < m->worker_count; i++)
            if (m->workers[i].pid == pid) worker_ended(m, i, status);
    }
}

static void respawn(sh_master_t *m) {
    uint64_t now = sh_time_mono_ns();
    for (uint32_t i = 0; i < m->worker_count && !m->stopping; i++)
        if (!m->workers[i].pid && m->workers[i].respawn_at_ns <= now) spawn(m, i);
}

static void read_worker(sh_master_t *m, uint32_t index) {
    sh_message_t msg;
    sh_worker_slot_t *w = &m->workers[index];
    int rc;
    while (w->channel >= 0 && !(rc = sh_channel_receive(w->channel, &msg))) {
        if (msg.type == SH_MSG_READY) {
            w->ready = true;
            sh_reload_worker_ready(m, index);
            if (!m->announced && sh_master_ready_count(m) == m->worker_count) {
                m->announced = true;
                sh_log_info(&m->log, "serving", SH_LOG_C("host", sh_config_str(m->config, "http.host")),
                            SH_LOG_I64("port", sh_config_int(m->config, "http.port")), SH_LOG_I64("workers", m->worker_count),
                            SH_LOG_C("rules", sh_bundle_version(m->current.bundle)));
            }
        } else {
            sh_reload_message(m, index, &msg);
        }
    }
    if (w->channel >= 0 && rc == SH_ECLOSED) {
        close(w->channel); /* its end is told by SIGCHLD */
        w->channel = -1;
    }
}

uint32_t sh_master_ready_count(const sh_master_t *m) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < m->worker_count; i++) n += m->workers[i].ready;
    return n;
}

/* ---- stopping */

static void stop(sh_master_t *m) {
    if (m->stopping) return;
    m->stopping = true;
    m->stop_by_ns = ms_from_now((uint64_t)sh_config_int(m->config, "drain_ms") + 2000);
    sh_log_info(&m->log, "stopping: requests in flight are finished", SH_LOG_I64("limit_ms", sh_config_int(m->config, "drain_ms")));
    sh_reload_abort(m, "the server is stopping");
}

static bool drain_workers(sh_master_t *m) {
    uint32_t alive = 0;
    for (uint32_t i = 0; i < m->worker_count; i++) {
        sh_worker_slot_t *w = &m->workers[i];
        if (!w->pid) continue;
        alive++;
        if (!w->drain_sent && (w->channel < 0 || sh_channel_send(w->channel, SH_MSG_DRAIN, 0, NULL, NULL, 0) != SH_EIO)) w->drain_sent = true;
        if (sh_time_mono_ns() > m->stop_by_ns) kill(w->pid, SIGKILL);
    }
    return alive > 0;
}

static void read_signals(sh_master_t *m) {
    struct signalfd_siginfo info;
    while (read(m->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        switch (info.ssi_signo) {
        case SIGHUP: sh_reload_request(m, -1); break;
        case SIGUSR1:
            if (sh_log_reopen(&m->log)) sh_log_error(&m->log, "the log file cannot be opened again", SH_LOG_C("path", m->log.path));
            for (uint32_t i = 0; i < m->worker_count; i++)
                if (m->workers[i].channel >= 0 && sh_channel_send(m->workers[i].channel, SH_MSG_REOPEN_LOG, 0, NULL, NULL, 0))
                    sh_log_warn(&m->log, "a worker did not take the order to reopen its log", SH_LOG_I64("worker", i));
            break;
        case SIGCHLD: reap(m); break;
        default: stop(m);
        }
    }
}

/* ---- the loop */

/* Workers answer GET /api/v1/admin/rules with it. */
static void show_state(sh_master_t *m) {
    sh_buf_t state = {0};
    sh_control_status(m, &state);
    if (sh_str_eq(sh_buf_str(&state), sh_buf_str(&m->shown))) {
        sh_buf_dispose(&state);
        return;
    }
    if (!sh_board_state_write(m->board, sh_buf_str(&state))) sh_log_warn(&m->log, "the state is too long for the board");
    sh_buf_dispose(&m->shown);
    m->shown = state;
}

static void turn(sh_master_t *m) {
    struct pollfd fds[SH_WORKERS_MAX + SH_CONTROL_FDS + 2];
    uint32_t n = 0, workers_at;
    fds[n++] = (struct pollfd){m->signal_fd, POLLIN, 0};
    fds[n++] = (struct pollfd){m->reload.channel, POLLIN, 0}; /* -1 is ignored by poll */
    workers_at = n;
    for (uint32_t i = 0; i < m->worker_count; i++) fds[n++] = (struct pollfd){m->workers[i].channel, POLLIN, 0};
    n += sh_control_poll_fds(&m->control, fds + n);
    sh_log_flush(&m->log);
    poll(fds, n, TICK_MS);
    read_signals(m);
    reap(m);
    if (fds[1].revents) sh_reload_check_readable(m);
    for (uint32_t i = 0; i < m->worker_count; i++)
        if (fds[workers_at + i].revents) read_worker(m, i);
    sh_control_turn(&m->control, m);
    sh_reload_tick(m);
    end_stuck_workers(m);
    respawn(m);
    show_state(m);
}

static int open_signals(sh_master_t *m) {
    sigset_t set;
    sigemptyset(&set);
    static const int signals[] = {SIGHUP, SIGTERM, SIGINT, SIGUSR1, SIGCHLD};
    for (size_t i = 0; i < SH_ARRAY_LEN(signals); i++) sigaddset(&set, signals[i]);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    m->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return m->signal_fd < 0 ? SH_EIO : SH_OK;
}

int sh_master_run(sh_config_t *config) {
    sh_master_t *m = sh_calloc(1, sizeof *m);
    sh_log_level_t level = SH_LOG_INFO;
    int code = 1;
    m->pid = getpid();
    m->config = config;
    m->reload.channel = -1;
    m->control.listen_fd = -1;
    for (uint32_t i = 0; i < SH_WORKERS_MAX; i++) m->workers[i].channel = m->workers[i].listen_fd = m->workers[i].admin_fd = -1;
    if (sh_log_level_of(sh_str_of(sh_config_str(config, "log.level")), &level)) {
        fprintf(stderr, "shama: log.level must be debug, info, warn or error\n");
        goto done;
    }
    if (sh_log_open(&m->log, sh_config_str(config, "log.file"), level, "master")) {
        fprintf(stderr, "shama: cannot open the log file %s: %s\n", sh_config_str(config, "log.file"), strerror(errno));
        goto done;
    }
    int64_t workers = sh_config_int(config, "workers");
    if (workers == 0) workers = sysconf(_SC_NPROCESSORS_ONLN);
    if (workers < 1 || workers > SH_WORKERS_MAX) {
        fprintf(stderr, "shama: workers must be between 1 and %d\n", SH_WORKERS_MAX);
        goto done;
    }
    m->worker_count = (uint32_t)workers;
    for (int i = 0; i < SH_SERVICES_MAX; i++) m->wake_fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (sh_board_create(&m->board) || open_signals(m) || open_sockets(m)) goto done;
    m->restarts = sh_metrics_series(m->board->metrics, SH_COUNTER, "shama_worker_restarts_total", "", "Workers that ended and were replaced.");
    m->hard_kills =
        sh_metrics_series(m->board->metrics, SH_COUNTER, "shama_worker_hard_kills_total", "", "Workers ended because one piece of work held them.");
    sh_reload_init(m);
    if (sh_reload_first(m)) goto done;
    if (sh_control_open(&m->control, m)) goto done;
    for (uint32_t i = 0; i < m->worker_count; i++) spawn(m, i);
    while (!m->stopping || drain_workers(m)) turn(m);
    sh_log_info(&m->log, "stopped");
    code = 0;
done:
    sh_control_close(&m->control);
    sh_log_flush(&m->log);
    return code;
}
