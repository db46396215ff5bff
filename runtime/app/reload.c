/* The two-phase reload, as the master drives it. See master.c for the states. */
#include "app/check.h"
#include "app/master_internal.h"
#include "base/err.h"
#include "base/time.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHECK_NICE = 10 };

static uint64_t ms_from_now(uint64_t ms) { return sh_time_mono_ns() + ms * 1000000; }
static int64_t ms_between(uint64_t from_ns, uint64_t to_ns) { return to_ns > from_ns ? (int64_t)((to_ns - from_ns) / 1000000) : 0; }

void sh_reload_init(sh_master_t *m) {
    sh_metrics_t *metrics = m->board->metrics;
    m->reloads_ok = sh_metrics_series(metrics, SH_COUNTER, "shama_reloads_total", "result=\"ok\"", "Reloads of the rules by result.");
    m->reloads_failed = sh_metrics_series(metrics, SH_COUNTER, "shama_reloads_total", "result=\"refused\"", "Reloads of the rules by result.");
    m->guard_rollbacks = sh_metrics_series(metrics, SH_COUNTER, "shama_guard_rollbacks_total", "", "Rollbacks by the guard after a reload.");
    m->reload.channel = -1;
    m->reload.rollback = -1;
}

/* ---- what changed between two bundles, file by file */

static void put_changes(sh_buf_t *out, const sh_bundle_t *before, const sh_bundle_t *after) {
    bool first = true;
    sh_buf_put_lit(out, "\"changed\":[");
    size_t i = 0, k = 0, n = before ? sh_bundle_count(before) : 0, o = sh_bundle_count(after);
    while (i < n || k < o) {
        sh_str_t a = SH_STR_NULL, b = SH_STR_NULL, ca = SH_STR_NULL, cb = SH_STR_NULL;
        if (i < n) sh_bundle_at(before, i, &a, &ca);
        if (k < o) sh_bundle_at(after, k, &b, &cb);
        size_t shorter = a.len < b.len ? a.len : b.len;
        int order = i >= n ? 1 : k >= o ? -1 : memcmp(a.ptr, b.ptr, shorter);
        if (i < n && k < o && order == 0) order = (a.len > b.len) - (a.len < b.len);
        const char *what = order < 0 ? "removed" : order > 0 ? "added" : sh_str_eq(ca, cb) ? NULL : "changed";
        if (what) {
            sh_buf_put_c(out, first ? "{\"file\":" : ",{\"file\":");
            sh_buf_put_json(out, order > 0 ? b : a);
            sh_buf_printf(out, ",\"how\":\"%s\"}", what);
            first = false;
        }
        if (order <= 0) i++;
        if (order >= 0) k++;
    }
    sh_buf_put_byte(out, ']');
}

static void report(sh_master_t *m, bool ok, const char *error) {
    sh_reload_t *r = &m->reload;
    sh_buf_t *out = &r->last_report;
    uint64_t now = sh_time_mono_ns();
    char at[SH_RFC3339_LEN];
    r->last_ok = ok;
    r->last_at_us = sh_time_wall_us();
    sh_time_format(r->last_at_us, at);
    sh_buf_clear(out);
    sh_buf_printf(out, "{\"ok\":%s,\"at\":\"%.*s\",\"kind\":\"%s\",\"version\":\"%s\",", ok ? "true" : "false", SH_RFC3339_LEN, at,
                  r->by_guard        ? "guard_rollback"
                  : r->rollback >= 0 ? "rollback"
                                     : "reload",
                  m->current.bundle ? sh_bundle_version(m->current.bundle) : "");
    if (ok) {
        sh_buf_put_str(out, sh_buf_str(&r->changes));
        sh_buf_printf(out, ",\"ms\":{\"check\":%lld,\"prepare\":%lld,\"swap\":%lld}", (long long)ms_between(r->started_ns, r->checked_ns),
                      (long long)ms_between(r->checked_ns, r->prepared_ns), (long long)ms_between(r->prepared_ns, now));
    } else {
        sh_buf_put_lit(out, "\"error\":");
        sh_buf_put_json(out, sh_str_of(error));
    }
    if (r->warnings.len) {
        sh_buf_put_lit(out, ",\"warnings\":");
        sh_buf_put_json(out, sh_buf_str(&r->warnings));
    }
    sh_buf_put_byte(out, '}');
    if (ok) {
        sh_series_add(m->reloads_ok, 1);
        sh_log_info(&m->log, "rules swapped", SH_LOG_RAW("report", sh_buf_str(out)));
    } else {
        sh_series_add(m->reloads_failed, 1);
        sh_log_error(&m->log, "reload refused, the old rules go on", SH_LOG_C("error", error),
                     SH_LOG_C("rules", m->current.bundle ? sh_bundle_version(m->current.bundle) : ""));
    }
}

static void forget_candidate(sh_reload_t *r) {
    if (r->channel >= 0) close(r->channel);
    r->channel = -1;
    sh_bundle_release(r->candidate);
    r->candidate = NULL;
    if (r->candidate_config) {
        sh_config_dispose(r->candidate_config);
        free(r->candidate_config);
    }
    r->candidate_config = NULL;
}

static void finish(sh_master_t *m, bool ok, const char *error) {
    sh_reload_t *r = &m->reload;
    report(m, ok, error);
    forget_candidate(r);
    if (r->check_pid) kill(r->check_pid, SIGKILL); /* reaped later; its pid is forgotten by then */
    r->state = SH_RELOAD_IDLE;
    r->rollback = -1;
    r->by_guard = false;
    sh_buf_clear(&r->warnings);
    sh_buf_clear(&r->changes);
    sh_control_reload_done(&m->control, m);
    if (r->again) {
        r->again = false;
        sh_reload_request(m, -1);
    }
}

void sh_reload_abort(sh_master_t *m, const char *reason) {
    sh_reload_t *r = &m->reload;
    if (r->state == SH_RELOAD_IDLE || r->state == SH_RELOAD_SWAPPING) return;
    for (uint32_t i = 0; i < m->worker_count; i++)
        if (m->workers[i].channel >= 0 && sh_channel_send(m->workers[i].channel, SH_MSG_ABORT, r->serial, NULL, NULL, 0))
            sh_log_warn(&m->log, "a worker did not take the abort of a reload", SH_LOG_I64("worker", i));
    char copy[SH_CHANNEL_TEXT_MAX];
    snprintf(copy, sizeof copy, "%s", reason);
    finish(m, false, copy);
}

/* ---- checking */

static int start_check(sh_master_t *m, sh_bundle_t *given) {
    sh_reload_t *r = &m->reload;
    int ends[2];
    if (sh_channel_create(ends)) return SH_EIO;
    sh_log_flush(&m->log);
    pid_t pid = fork();
    if (pid < 0) {
        close(ends[0]);
        close(ends[1]);
        return SH_EIO;
    }
    if (pid == 0) {
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        prctl(PR_SET_NAME, "shama-check");
        signal(SIGHUP, SIG_IGN);
        signal(SIGINT, SIG_IGN);
        sh_control_close_in_child(&m->control);           /* else who was answered would wait for our end */
        if (r->number && nice(CHECK_NICE) < 0) errno = 0; /* requests go first */
        _exit(sh_check_run(m->config, given, !r->number, ends[1]));
    }
    close(ends[1]);
    r->channel = ends[0];
    r->check_pid = pid;
    r->state = SH_RELOAD_CHECKING;
    r->started_ns = sh_time_mono_ns();
    r->deadline_ns = ms_from_now((uint64_t)sh_config_int(m->config, "reload.check_ms"));
    r->serial++;
    if (m->current.bundle && r->serial % SH_OUTCOMES == m->current.serial % SH_OUTCOMES) r->serial++; /* its place on the board is in use */
    return SH_OK;
}

/* Takes what the check process sent. SH_OK: candidate set. SH_ENOTFOUND: nothing yet. SH_EINVAL: `error` says why. */
static int take_checked(sh_master_t *m, char *error, size_t error_size) {
    sh_reload_t *r = &m->reload;
    sh_message_t msg;
    int rc = sh_channel_receive(r->channel, &msg);
    if (rc == SH_ENOTFOUND) return rc;
    snprintf(error, error_size, "the check process ended without a word");
    if (rc) return SH_EINVAL;
    if (msg.type != SH_MSG_CHECKED || msg.fds[0] < 0 || msg.fds[1] < 0) {
        snprintf(error, error_size, "%s", msg.text);
        for (int i = 0; i < SH_CHANNEL_FDS_MAX; i++)
            if (msg.fds[i] >= 0) close(msg.fds[i]);
        return SH_EINVAL;
    }
    sh_buf_t text = {0};
    char chunk[4096];
    ssize_t n;
    off_t at = 0;
    while ((n = pread(msg.fds[1], chunk, sizeof chunk, at)) > 0) sh_buf_put(&text, chunk, (size_t)n), at += n;
    close(msg.fds[1]);
    r->candidate_config = sh_calloc(1, sizeof *r->candidate_config);
    rc = sh_config_read(sh_buf_str(&text), r->candidate_config);
    if (text.ptr) explicit_bzero(text.ptr, text.cap);
    sh_buf_dispose(&text);
    if (!rc && m->config->file) r->candidate_config->file = sh_strdup(m->config->file);
    if (!rc)
        rc = sh_bundle_map(msg.fds[0], &r->candidate);
    else
        close(msg.fds[0]);
    if (rc) {
        snprintf(error, error_size, "what the check process sent cannot be read");
        return SH_EINVAL;
    }
    sh_buf_clear(&r->warnings);
    sh_buf_put_c(&r->warnings, msg.text);
    r->checked_ns = sh_time_mono_ns();
    return SH_OK;
}

int sh_reload_first(sh_master_t *m) {
    sh_reload_t *r = &m->reload;
    char error[SH_CHANNEL_TEXT_MAX];
    int rc;
    if (start_check(m, NULL)) return SH_EIO;
    while ((rc = take_checked(m, error, sizeof error)) == SH_ENOTFOUND) {
        struct pollfd fd = {r->channel, POLLIN, 0};
        if (sh_time_mono_ns() > r->deadline_ns) {
            kill(r->check_pid, SIGKILL);
            snprintf(error, sizeof error, "the check of the rules did not end in time (reload.check_ms)");
            rc = SH_EINVAL;
            break;
        }
        poll(&fd, 1, 100);
    }
    waitpid(r->check_pid, NULL, 0);
    r->check_pid = 0;
    r->state = SH_RELOAD_IDLE;
    if (rc) {
        fprintf(stderr, "shama: the rules cannot be used:\n%s\n", error);
        sh_log_error(&m->log, "the rules cannot be used", SH_LOG_C("error", error));
        forget_candidate(r);
        return SH_EINVAL;
    }
    m->current = (sh_version_t){sh_bundle_retain(r->candidate), r->serial, sh_time_wall_us()};
    forget_candidate(r);
    return SH_OK;
}

void sh_reload_check_ended(sh_master_t *m, int status) {
    sh_reload_t *r = &m->reload;
    r->check_pid = 0;
    if (r->state == SH_RELOAD_CHECKING) sh_reload_check_readable(m);
    if (r->state != SH_RELOAD_CHECKING) return;
    char text[128];
    snprintf(text, sizeof text, "the check process ended with %s %d", WIFSIGNALED(status) ? "signal" : "code",
             WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    sh_reload_abort(m, text);
}

/* ---- preparing and swapping */

static int config_memfd(const sh_config_t *config) {
    sh_buf_t text = {0};
    sh_config_write(config, &text);
    int fd = memfd_create("shama-config", MFD_CLOEXEC);
    if (fd >= 0 && write(fd, text.ptr, text.len) != (ssize_t)text.len) {
        close(fd);
        fd = -1;
    }
    explicit_bzero(text.ptr, text.cap);
    sh_buf_dispose(&text);
    return fd;
}

/* Asks every worker that serves and was not asked yet; one that is just being replaced is asked when it is ready. */
static void ask_to_prepare(sh_master_t *m) {
    sh_reload_t *r = &m->reload;
    int config_fd = config_memfd(r->candidate_config);
    if (config_fd < 0) {
        sh_reload_abort(m, "no memory for the configuration");
        return;
    }
    int fds[2] = {sh_bundle_fd(r->candidate), config_fd};
    bool refused = false;
    for (uint32_t i = 0; i < m->worker_count && !refused; i++) {
        sh_worker_slot_t *w = &m->workers[i];
        if (!w->ready || w->asked || w->channel < 0) continue;
        w->asked = true;
        refused = sh_channel_send(w->channel, SH_MSG_PREPARE, r->serial, NULL, fds, 2) != SH_OK;
    }
    close(config_fd);
    if (refused) sh_reload_abort(m, "a worker ended just now: reload again");
}

static void start_prepare(sh_master_t *m) {
    sh_reload_t *r = &m->reload;
    r->state = SH_RELOAD_PREPARING;
    r->deadline_ns = ms_from_now((uint64_t)sh_config_int(m->config, "reload.prepare_ms"));
    for (uint32_t i = 0; i < m->worker_count; i++) m->workers[i].asked = m->workers[i].prepared = m->workers[i].swapped = false;
    ask_to_prepare(m);
}

void sh_reload_worker_ready(sh_master_t *m, uint32_t worker) {
    if (m->reload.state == SH_RELOAD_PREPARING && !m->workers[worker].asked) ask_to_prepare(m);
}

static bool is_same(const sh_bundle_t *a, const sh_bundle_t *b) { return strcmp(sh_bundle_version(a), sh_bundle_version(b)) == 0; }

/* Every version stands there once, so that going back always goes somewhere. */
static void forget_version(sh_master_t *m, const sh_bundle_t *bundle) {
    for (uint32_t i = 0; i < m->kept_count; i++) {
        if (!is_same(m->kept[i].bundle, bundle)) continue;
        sh_bundle_release(m->kept[i].bundle);
        m->kept_count--;
        memmove(&m->kept[i], &m->kept[i + 1], (m->kept_count - i) * sizeof m->kept[0]);
        i--;
    }
}

static void keep_version(sh_master_t *m, sh_version_t version) {
    int64_t keep = sh_config_int(m->config, "reload.keep");
    if (keep < 1) keep = 1;
    if (keep > SH_BUNDLES_KEPT_MAX) keep = SH_BUNDLES_KEPT_MAX;
    while (m->kept_count >= (uint32_t)keep) sh_bundle_release(m->kept[--m->kept_count].bundle);
    memmove(&m->kept[1], &m->kept[0], m->kept_count * sizeof m->kept[0]);
    m->kept[0] = version;
    m->kept_count++;
}

static void start_guard(sh_master_t *m, uint32_t before, bool is_unchanged) {
    int64_t seconds = sh_config_int(m->config, "reload.guard_s");
    sh_outcome_t *o = sh_board_outcome(m->board, before);
    if (is_unchanged && seconds > 0) {
        m->guard.requests += atomic_load(&o->requests);
        m->guard.failures += atomic_load(&o->failures);
        m->guard.serial = m->current.serial;
        return;
    }
    m->guard = (sh_guard_t){0};
    if (seconds <= 0 || m->reload.rollback >= 0) return;
    m->guard.before_requests = atomic_load(&o->requests);
    m->guard.before_failures = atomic_load(&o->failures);
    m->guard.serial = m->current.serial;
    m->guard.until_ns = ms_from_now((uint64_t)seconds * 1000);
}

/* All are prepared: from here on there is no way back. */
static void commit(sh_master_t *m) {
    sh_reload_t *r = &m->reload;
    uint32_t before = m->current.serial;
    bool is_unchanged = is_same(m->current.bundle, r->candidate);
    r->state = SH_RELOAD_SWAPPING;
    r->prepared_ns = sh_time_mono_ns();
    r->deadline_ns = ms_from_now(5000);
    put_changes(&r->changes, m->current.bundle, r->candidate);
    int64_t since_us = is_unchanged ? m->current.since_us : sh_time_wall_us();
    forget_version(m, r->candidate);
    if (is_unchanged)
        sh_bundle_release(m->current.bundle);
    else
        keep_version(m, m->current);
    m->current = (sh_version_t){sh_bundle_retain(r->candidate), r->serial, since_us};
    sh_config_t *old = m->config;
    m->config = r->candidate_config;
    r->candidate_config = NULL;
    sh_config_dispose(old);
    free(old);
    sh_board_outcome(m->board, r->serial);
    sh_board_quarantine_clear(m->board);
    start_guard(m, before, is_unchanged);
    for (uint32_t i = 0; i < m->worker_count; i++)
        if (m->workers[i].pid && (m->workers[i].channel < 0 || sh_channel_send(m->workers[i].channel, SH_MSG_SWAP, r->serial, NULL, NULL, 0)))
            kill(m->workers[i].pid, SIGKILL); /* it will come back with the new rules */
}

static bool all_done(const sh_master_t *m, bool swapped) {
    for (uint32_t i = 0; i < m->worker_count; i++) {
        const sh_worker_slot_t *w = &m->workers[i];
        if (swapped ? (w->pid && !w->swapped) : !w->prepared) return false;
    }
    return true;
}

void sh_reload_message(sh_master_t *m, uint32_t worker, sh_message_t *msg) {
    sh_reload_t *r = &m->reload;
    sh_worker_slot_t *w = &m->workers[worker];
    if (msg->generation != r->serial) return; /* of a reload that was given up */
    if (msg->type == SH_MSG_PREPARED && r->state == SH_RELOAD_PREPARING) {
        if (msg->text[0]) {
            sh_reload_abort(m, msg->text);
            return;
        }
        w->prepared = true;
        if (all_done(m, false)) commit(m);
    } else if (msg->type == SH_MSG_SWAPPED && r->state == SH_RELOAD_SWAPPING) {
        w->swapped = true;
        if (all_done(m, true)) finish(m, true, NULL);
    }
}

void sh_reload_worker_ended(sh_master_t *m, uint32_t worker) {
    sh_reload_t *r = &m->reload;
    if (r->state == SH_RELOAD_PREPARING) sh_reload_abort(m, "a worker ended while it prepared the new rules");
    m->workers[worker].swapped = true; /* its successor starts with the new bundle */
    if (r->state == SH_RELOAD_SWAPPING && all_done(m, true)) finish(m, true, NULL);
}

void sh_reload_check_readable(sh_master_t *m) {
    sh_reload_t *r = &m->reload;
    char error[SH_CHANNEL_TEXT_MAX];
    if (r->state != SH_RELOAD_CHECKING || r->channel < 0) return;
    int rc = take_checked(m, error, sizeof error);
    if (rc == SH_ENOTFOUND) return;
    if (rc)
        sh_reload_abort(m, error);
    else
        start_prepare(m);
}

bool sh_reload_request(sh_master_t *m, int rollback) {
    sh_reload_t *r = &m->reload;
    if (m->stopping) return false;
    if (r->state != SH_RELOAD_IDLE) {
        if (rollback >= 0) return false;
        r->again = true;
        return true;
    }
    if (rollback > (int)m->kept_count) return false;
    r->number++;
    r->rollback = rollback;
    if (start_check(m, rollback > 0 ? m->kept[rollback - 1].bundle : NULL)) finish(m, false, "the check process cannot be started");
    return true;
}

static uint64_t percent(uint64_t part, uint64_t whole) { return whole ? part * 100 / whole : 0; }

/* Clearly worse: enough requests, and a share of failures above the one before by the configured points. */
static void watch_guard(sh_master_t *m) {
    sh_guard_t *g = &m->guard;
    if (!g->until_ns || m->reload.state != SH_RELOAD_IDLE) return;
    if (g->serial != m->current.serial || sh_time_mono_ns() > g->until_ns) {
        g->until_ns = 0;
        return;
    }
    sh_outcome_t *o = sh_board_outcome(m->board, g->serial);
    uint64_t requests = g->requests + atomic_load(&o->requests), failures = g->failures + atomic_load(&o->failures);
    if (requests < (uint64_t)sh_config_int(m->config, "reload.guard_requests_min")) return;
    uint64_t now = percent(failures, requests), before = percent(g->before_failures, g->before_requests);
    if (now < before + (uint64_t)sh_config_int(m->config, "reload.guard_share")) return;
    g->until_ns = 0;
    sh_log_error(&m->log, "the new rules fail more often than the old ones: rolling back", SH_LOG_C("rules", sh_bundle_version(m->current.bundle)),
                 SH_LOG_I64("requests", (int64_t)requests), SH_LOG_I64("failures", (int64_t)failures),
                 SH_LOG_I64("failed_percent_before", (int64_t)before));
    sh_series_add(m->guard_rollbacks, 1);
    m->reload.by_guard = true;
    if (!sh_reload_request(m, 1)) m->reload.by_guard = false;
}

void sh_reload_tick(sh_master_t *m) {
    sh_reload_t *r = &m->reload;
    watch_guard(m);
    if (r->state == SH_RELOAD_IDLE || sh_time_mono_ns() < r->deadline_ns) return;
    if (r->state == SH_RELOAD_CHECKING)
        sh_reload_abort(m, "the check of the rules did not end in time (reload.check_ms)");
    else if (r->state == SH_RELOAD_PREPARING)
        sh_reload_abort(m, "a worker did not get the new rules ready in time (reload.prepare_ms)");
    else
        for (uint32_t i = 0; i < m->worker_count; i++)
            if (m->workers[i].pid && !m->workers[i].swapped) kill(m->workers[i].pid, SIGKILL);
}
