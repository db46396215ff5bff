/* The life of a worker: open everything, load the rules, serve, drain.
 *
 *     start ─▶ links (Postgres, NATS connect in the background) ─▶ rules ─▶ listen ─▶ READY
 *     drain ─▶ no new connections, requests finish ─▶ consumers ─▶ relays ─▶ NATS, pools ─▶ exit 0 */
#include "app/worker.h"

#include "app/worker_internal.h"
#include "base/err.h"
#include "base/time.h"
#include "bind/lua_call.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { TICK_MS = 200, PASSWORD_RUNNING_MAX = 2 };

uint32_t sh_worker_services(const sh_config_t *config, char names[][32], uint32_t max) {
    const char *p = sh_config_str(config, "services");
    uint32_t n = 0;
    while (*p && n < max) {
        size_t len = strcspn(p, ", ");
        if (len && len < 32) snprintf(names[n++], 32, "%.*s", (int)len, p);
        p += len;
        p += strspn(p, ", ");
    }
    return n;
}

/* Settings that rules may read. */
static const char *readable(void *data, const char *key) {
    sh_worker_t *w = data;
    static const char *const keys[] = {"brand.primary", "brand.secondary", "brand.name", "brand.address", "env"};
    for (size_t i = 0; i < SH_ARRAY_LEN(keys); i++)
        if (strcmp(keys[i], key) == 0) return sh_config_str(w->config, key);
    return NULL;
}

static void admin_rules(void *data, sh_buf_t *out) {
    sh_worker_t *w = data;
    sh_buf_printf(out, "{\"version\":\"%s\",\"generation\":%u,\"worker\":%u,\"generations_alive\":%u,\"server\":", w->current->version,
                  w->current->serial, w->opts->index, w->generations);
    if (!sh_board_state_read(w->opts->board, out)) sh_buf_put_lit(out, "null");
    sh_buf_put_lit(out, ",\"services\":[");
    for (uint32_t i = 0; i < w->current->vm_count; i++) {
        sh_vm_t *vm = w->current->vms[i];
        sh_buf_printf(out, "%s{\"name\":\"%s\",\"tasks\":%u,\"memory_bytes\":%llu}", i ? "," : "", sh_vm_service(vm), sh_vm_tasks(vm),
                      (unsigned long long)sh_vm_memory(vm));
    }
    sh_buf_put_lit(out, "]}");
}

/* ---- draining */

static void all_closed(void *data) {
    sh_worker_t *w = data;
    sh_log_info(&w->log, "worker drained");
    uv_stop(&w->loop);
}

static void events_closed(void *data) { sh_worker_close_links(data, all_closed, data); }

static void listener_drained(void *data) {
    sh_worker_t *w = data;
    if (--w->closing) return;
    sh_worker_close_events(w, events_closed, w);
}

static void drain(sh_worker_t *w) {
    if (w->draining) return;
    w->draining = true;
    w->closing = w->admin ? 2 : 1;
    sh_http_server_drain(w->server, listener_drained, w);
    if (w->admin) sh_http_server_drain(w->admin, listener_drained, w);
}

/* Also directly: when the master is gone the kernel sends SIGTERM. */
static void on_signal(uv_signal_t *handle, int number) {
    (void)number;
    drain(handle->data);
}

/* ---- the master's messages */

static void take_prepare(sh_worker_t *w, sh_message_t *msg) {
    sh_bundle_t *bundle = NULL;
    sh_config_t *config = sh_calloc(1, sizeof *config);
    sh_buf_t text = {0};
    char chunk[4096];
    ssize_t n;
    off_t at = 0;
    while (msg->fds[1] >= 0 && (n = pread(msg->fds[1], chunk, sizeof chunk, at)) > 0) sh_buf_put(&text, chunk, (size_t)n), at += n;
    if (msg->fds[1] >= 0) close(msg->fds[1]);
    bool ok = msg->fds[0] >= 0 && sh_bundle_map(msg->fds[0], &bundle) == SH_OK && sh_config_read(sh_buf_str(&text), config) == SH_OK;
    if (text.ptr) explicit_bzero(text.ptr, text.cap);
    sh_buf_dispose(&text);
    if (ok) {
        sh_worker_prepare(w, bundle, config, msg->generation);
        return;
    }
    sh_bundle_release(bundle);
    sh_config_dispose(config);
    free(config);
    if (sh_channel_send(w->opts->channel, SH_MSG_PREPARED, msg->generation, "a worker cannot read the bundle", NULL, 0))
        sh_log_warn(&w->log, "the master does not take messages");
}

static void on_channel(uv_poll_t *poll, int status, int events) {
    sh_worker_t *w = poll->data;
    sh_message_t msg;
    int rc;
    (void)status;
    (void)events;
    while (!(rc = sh_channel_receive(w->opts->channel, &msg))) {
        switch (msg.type) {
        case SH_MSG_PREPARE: take_prepare(w, &msg); break;
        case SH_MSG_SWAP: sh_worker_swap(w, msg.generation); break;
        case SH_MSG_ABORT: sh_worker_abort(w, msg.generation); break;
        case SH_MSG_DRAIN: drain(w); break;
        case SH_MSG_REOPEN_LOG:
            if (sh_log_reopen(&w->log)) sh_log_error(&w->log, "the log file cannot be opened again");
            break;
        default: break;
        }
    }
    if (rc == SH_ECLOSED) {
        uv_poll_stop(poll);
        drain(w);
    }
}

/* ---- start */

static void on_tick(uv_timer_t *timer) {
    sh_worker_publish_gauges(timer->data);
    sh_worker_watch_old(timer->data);
}
static void on_turn(uv_prepare_t *prepare) {
    sh_worker_t *w = prepare->data;
    if (w->log.pending.len) sh_log_flush(&w->log);
}

static int open_edge(sh_worker_t *w, sh_buf_t *error) {
    const sh_config_t *c = w->config;
    bool has_admin = w->opts->admin_fd >= 0;
    const sh_edge_opts_t opts = {
        .loop = &w->loop,
        .log = &w->log,
        .metrics = w->metrics,
        .jwt_keys = w->keys,
        .start = sh_lua_call_start,
        .user_lookup = sh_worker_user_lookup,
        .ready = sh_worker_ready,
        .admin_rules = admin_rules,
        .data = w,
        .board = w->opts->board,
        .jwt_leeway_s = sh_config_int(c, "jwt.leeway_s"),
        .user_ttl_ms = (uint64_t)sh_config_int(c, "auth.user_ttl_ms"),
        .user_cache_max = (uint32_t)sh_config_int(c, "auth.user_cache"),
        .environment = sh_config_str(c, "env"),
        .metrics_public = !has_admin,
        .access_log = sh_config_bool(c, "http.access_log"),
        .body_bytes_max = (uint64_t)sh_config_int(c, "http.body_bytes"),
        .cors_origins = sh_config_str(c, "http.cors_origins"),
    };
    int rc = sh_edge_create(&opts, &w->edge);
    if (rc) sh_buf_put_lit(error, "the edge cannot be set up");
    return rc;
}

static int listen_http(sh_worker_t *w, int fd, const sh_http_handlers_t *handlers, sh_http_server_t **out, sh_buf_t *error) {
    const sh_config_t *c = w->config;
    const sh_http_opts_t opts = {
        .connections_max = (uint32_t)sh_config_int(c, "http.connections"),
        .header_bytes_max = (uint32_t)sh_config_int(c, "http.header_bytes"),
        .header_count_max = (uint32_t)sh_config_int(c, "http.headers"),
        .target_bytes_max = (uint32_t)sh_config_int(c, "http.target_bytes"),
        .body_bytes_max = (uint64_t)sh_config_int(c, "http.body_bytes"),
        .pipeline_max = (uint32_t)sh_config_int(c, "http.pipeline"),
        .head_timeout_ms = (uint64_t)sh_config_int(c, "http.head_timeout_ms"),
        .body_timeout_ms = (uint64_t)sh_config_int(c, "http.body_timeout_ms"),
        .idle_timeout_ms = (uint64_t)sh_config_int(c, "http.idle_timeout_ms"),
        .write_timeout_ms = (uint64_t)sh_config_int(c, "http.write_timeout_ms"),
        .keep_alive_requests_max = (uint32_t)sh_config_int(c, "http.keep_alive_requests"),
    };
    int rc = sh_http_server_create(&w->loop, fd, &opts, handlers, w->edge, &w->log, out);
    if (rc) sh_buf_put_lit(error, "the HTTP server cannot be set up");
    return rc;
}

static int start(sh_worker_t *w, sh_buf_t *error) {
    w->uuids = sh_uuid_source_create();
    w->password = (sh_lua_password_t){.loop = &w->loop, .params = SH_PASSWORD_PARAMS_DEFAULT, .running_max = PASSWORD_RUNNING_MAX};
    w->lua_config = (sh_lua_config_t){readable, w};
    uv_timer_init(&w->loop, &w->prepare_step);
    w->prepare_step.data = w;
    int rc = sh_worker_apply_config(w, error);
    if (!rc) rc = sh_worker_open_links(w, error);
    if (!rc) rc = open_edge(w, error);
    if (!rc) rc = sh_worker_load(w, w->opts->bundle, w->opts->generation, &w->current, error);
    if (rc) return rc;
    sh_edge_swap(w->edge, w->current);
    atomic_store(&w->slot->generation, w->opts->generation);
    rc = listen_http(w, w->opts->listen_fd, &sh_edge_handlers, &w->server, error);
    if (!rc && w->opts->admin_fd >= 0) rc = listen_http(w, w->opts->admin_fd, &sh_edge_admin_handlers, &w->admin, error);
    if (rc) return rc;
    sh_worker_start_events(w);
    return SH_OK;
}

/* A worker that gets something to do does not interrupt whoever runs on its CPU, the database's processes among them: it waits for their turn to
 * end and then finds more to do at once, which under load costs everybody less (5 % here). On an idle CPU it starts as fast as ever.
 * What the operator chose (systemd's CPUSchedulingPolicy) stays. */
static void be_considerate(void) {
    const struct sched_param none = {0};
    if (sched_getscheduler(0) == SCHED_OTHER) (void)sched_setscheduler(0, SCHED_BATCH, &none);
}

int sh_worker_run(const sh_worker_opts_t *opts) {
    sh_worker_t *w = sh_calloc(1, sizeof *w);
    sh_buf_t error = {0};
    char name[24];
    uv_signal_t term;
    w->opts = opts;
    sh_list_init(&w->alive);
    w->config = opts->config;
    w->slot = &opts->board->slots[opts->index];
    w->metrics = opts->board->metrics;
    snprintf(name, sizeof name, "worker-%u", opts->index);
    if (sh_log_open(&w->log, sh_config_str(w->config, "log.file"), SH_LOG_INFO, name)) return 1;
    be_considerate();
    if (uv_loop_init(&w->loop)) return 1;
    uv_signal_init(&w->loop, &term);
    term.data = w;
    uv_signal_start(&term, on_signal, SIGTERM);
    uv_poll_init(&w->loop, &w->channel, opts->channel);
    w->channel.data = w;
    uv_poll_start(&w->channel, UV_READABLE, on_channel);
    uv_timer_init(&w->loop, &w->tick);
    w->tick.data = w;
    uv_prepare_init(&w->loop, &w->flush);
    w->flush.data = w;
    uv_prepare_start(&w->flush, on_turn);
    if (start(w, &error)) {
        sh_log_error(&w->log, "a worker cannot start", SH_LOG_STR("error", sh_buf_str(&error)));
        return 1;
    }
    uv_timer_start(&w->tick, on_tick, TICK_MS, TICK_MS);
    if (sh_channel_send(opts->channel, SH_MSG_READY, opts->generation, NULL, NULL, 0)) sh_log_warn(&w->log, "the master does not take messages");
    uv_run(&w->loop, UV_RUN_DEFAULT);
    sh_log_flush(&w->log);
    return w->exit_code;
}
