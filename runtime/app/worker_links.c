/* A worker's links to Postgres and NATS, and the event machinery that hangs on them. */
#include "app/user_lookup.h"
#include "app/worker_internal.h"

#include "base/err.h"
#include "base/time.h"
#include "bind/lua_events.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- opening */

static void pg_opts(sh_worker_t *w, const char *service, sh_buf_t *conninfo, sh_pg_opts_t *out) {
    const sh_config_t *c = w->config;
    sh_buf_clear(conninfo);
    sh_config_conninfo(c, service, conninfo);
    *out = (sh_pg_opts_t){
        .conninfo = sh_buf_c(conninfo),
        .name = service,
        .connections_max = (uint32_t)sh_config_service_int(c, service, "db.pool"),
        .shared_depth = (uint32_t)sh_config_int(c, "db.shared_depth"),
        .waiting_max = (uint32_t)sh_config_int(c, "db.waiting"),
        .wait_ms_max = (uint64_t)sh_config_int(c, "db.wait_ms"),
        .statement_ms_max = (uint64_t)sh_config_int(c, "db.statement_ms"),
        .idle_ms_max = (uint64_t)sh_config_int(c, "db.idle_ms"),
        .connect_ms_max = (uint64_t)sh_config_int(c, "db.connect_ms"),
        .prepared_max = 256,
    };
}

static int open_nats(sh_worker_t *w, sh_buf_t *error) {
    static const char *const events[] = {"quotation.*", "stock.*", "customer.*", "product.*", "user.*", NULL};
    static const char *const failed[] = {"*.*.failed", NULL};
    char name[32];
    snprintf(name, sizeof name, "shama-worker-%u", w->opts->index);
    const sh_nats_stream_t streams[] = {
        {.name = "SHAMA_EVENTS",
         .subjects = events,
         .bytes_max = sh_config_int(w->config, "nats.stream_bytes"),
         .age_s_max = sh_config_int(w->config, "nats.stream_age_s")},
        {.name = "SHAMA_FAILED",
         .subjects = failed,
         .bytes_max = sh_config_int(w->config, "nats.stream_bytes"),
         .age_s_max = sh_config_int(w->config, "nats.stream_age_s")},
    };
    const sh_nats_opts_t opts = {
        .url = sh_config_str(w->config, "nats.url"),
        .name = name,
        .ca_file = sh_config_str(w->config, "nats.ca_file"),
        .cert_file = sh_config_str(w->config, "nats.cert_file"),
        .key_file = sh_config_str(w->config, "nats.key_file"),
        .streams = streams,
        .stream_count = SH_ARRAY_LEN(streams),
        .in_flight_max = (uint32_t)sh_config_int(w->config, "nats.max_in_flight"),
    };
    int rc = sh_nats_open(&w->loop, &opts, &w->log, &w->nats);
    if (rc) sh_buf_printf(error, "nats.url cannot be used (%s)", sh_err_text(rc));
    return rc;
}

static void make_series(sh_worker_t *w, sh_service_t *s) {
    char labels[96];
    snprintf(labels, sizeof labels, "service=\"%s\",worker=\"%u\"", s->name, w->opts->index);
    s->pool_waiting = sh_metrics_series(w->metrics, SH_GAUGE, "shama_db_waiting", labels, "Statements and transactions waiting for a connection.");
    s->pool_busy = sh_metrics_series(w->metrics, SH_GAUGE, "shama_db_leased", labels, "Connections held by a transaction.");
    s->pool_connections = sh_metrics_series(w->metrics, SH_GAUGE, "shama_db_connections", labels, "Open connections to Postgres.");
    s->memory = sh_metrics_series(w->metrics, SH_GAUGE, "shama_lua_memory_bytes", labels, "Memory of a service's Lua state.");
}

int sh_worker_open_links(sh_worker_t *w, sh_buf_t *error) {
    char names[SH_SERVICES_MAX][32];
    sh_buf_t conninfo = {0};
    int rc = SH_OK;
    w->service_count = sh_worker_services(w->config, names, SH_SERVICES_MAX);
    for (uint32_t i = 0; i < w->service_count && !rc; i++) {
        sh_service_t *s = &w->services[i];
        sh_pg_opts_t opts;
        snprintf(s->name, sizeof s->name, "%.31s", names[i]);
        make_series(w, s);
        pg_opts(w, s->name, &conninfo, &opts);
        rc = sh_pg_pool_create(&w->loop, &opts, &w->log, &s->pool);
        if (rc) sh_buf_printf(error, "the database settings of %s cannot be used (%s)", s->name, sh_err_text(rc));
    }
    if (!rc && sh_config_bool(w->config, "events.enabled")) rc = open_nats(w, error);
    if (conninfo.ptr) explicit_bzero(conninfo.ptr, conninfo.cap);
    sh_buf_dispose(&conninfo);
    return rc;
}

/* ---- events */

static uint32_t nak_delays(const sh_config_t *config, uint64_t out[SH_NAK_DELAYS_MAX]) {
    uint32_t n = 0;
    const char *p = sh_config_str(config, "events.nak_delay_ms");
    while (*p && n < SH_NAK_DELAYS_MAX) {
        char *end;
        unsigned long long ms = strtoull(p, &end, 10);
        if (end == p) break;
        out[n++] = ms ? ms : 1;
        p = *end == ',' ? end + 1 : end;
    }
    if (!n) out[n++] = 30000;
    return n;
}

static void start_consumers(sh_worker_t *w, sh_vm_t *vm) {
    uint64_t delays[SH_NAK_DELAYS_MAX];
    const sh_manifest_t *m = sh_vm_manifest(vm);
    const sh_consumer_opts_t opts = {
        .service = m->name,
        .stream = "SHAMA_EVENTS",
        .batch = (uint32_t)sh_config_int(w->config, "events.batch"),
        .parallel_max = 1,
        .gather_ms = (uint64_t)sh_config_int(w->config, "events.gather_ms"),
        .ack_wait_ms = (uint64_t)sh_config_int(w->config, "events.ack_wait_ms"),
        .nak_delays_ms = delays,
        .nak_delay_count = nak_delays(w->config, delays),
        .start = sh_lua_events_start,
        .metrics = w->metrics,
        .board = w->opts->board,
    };
    for (uint32_t i = 0; i < m->subscription_count; i++) {
        bool known = false;
        for (uint32_t k = 0; k < w->consumer_count; k++) known |= strcmp(sh_consumer_durable(w->consumers[k]), m->subscriptions[i].durable) == 0;
        if (known || w->consumer_count == SH_CONSUMERS_MAX) continue;
        if (sh_consumer_create(w->nats, &opts, w->current, &m->subscriptions[i], &w->log, &w->consumers[w->consumer_count]))
            sh_log_error(&w->log, "a consumer cannot be started", SH_LOG_C("durable", m->subscriptions[i].durable));
        else
            w->consumer_count++;
    }
}

void sh_worker_start_events(sh_worker_t *w) {
    sh_buf_t conninfo = {0};
    if (!w->nats) return;
    for (uint32_t i = 0; i < w->service_count; i++) {
        sh_service_t *s = &w->services[i];
        sh_relay_opts_t opts = {
            .schema = s->name,
            .nats = w->nats,
            .wake_fd = w->opts->wake_fds[i],
            .batch = 256,
            .poll_ms = (uint64_t)sh_config_int(w->config, "events.poll_ms"),
            .pause_ms = (uint64_t)sh_config_int(w->config, "events.relay_ms"),
            .keep_days = (uint32_t)sh_config_int(w->config, "events.keep_days"),
            .metrics = w->metrics,
        };
        pg_opts(w, s->name, &conninfo, &opts.session);
        if (sh_relay_create(&w->loop, &opts, &w->log, &s->relay)) sh_log_error(&w->log, "a relay cannot be started", SH_LOG_C("service", s->name));
    }
    for (uint32_t i = 0; i < w->current->vm_count; i++) start_consumers(w, w->current->vms[i]);
    if (conninfo.ptr) explicit_bzero(conninfo.ptr, conninfo.cap);
    sh_buf_dispose(&conninfo);
}

void sh_worker_use_generation(sh_worker_t *w) {
    for (uint32_t i = 0; i < w->consumer_count; i++) sh_consumer_use(w->consumers[i], w->current);
    if (w->nats && !w->draining)
        for (uint32_t i = 0; i < w->current->vm_count; i++) start_consumers(w, w->current->vms[i]);
}

/* ---- closing: consumers, then relays and nats, then pools */

typedef struct closing {
    uint32_t left;
    void (*fn)(void *data);
    void *data;
} closing_t;

static void one_closed(void *data) {
    closing_t *c = data;
    if (--c->left) return;
    void (*fn)(void *) = c->fn;
    void *fn_data = c->data;
    free(c);
    fn(fn_data);
}

static closing_t *closing_create(void (*fn)(void *data), void *data) {
    closing_t *c = sh_alloc(sizeof *c);
    *c = (closing_t){1, fn, data}; /* one for the one who starts them */
    return c;
}

void sh_worker_close_events(sh_worker_t *w, void (*fn)(void *data), void *data) {
    closing_t *c = closing_create(fn, data);
    for (uint32_t i = 0; i < w->consumer_count; i++) {
        c->left++;
        sh_consumer_close(w->consumers[i], one_closed, c);
    }
    w->consumer_count = 0;
    one_closed(c);
}

static void close_pools(void *data) {
    closing_t *c = data;
    sh_worker_t *w = c->data;
    void (*fn)(void *) = c->fn;
    free(c);
    closing_t *pools = closing_create(fn, w);
    if (w->nats) {
        pools->left++;
        sh_nats_close(w->nats, one_closed, pools);
        w->nats = NULL;
    }
    for (uint32_t i = 0; i < w->service_count; i++) {
        if (!w->services[i].pool) continue;
        pools->left++;
        sh_pg_pool_close(w->services[i].pool, 2000, one_closed, pools);
        w->services[i].pool = NULL;
    }
    one_closed(pools);
}

void sh_worker_close_links(sh_worker_t *w, void (*fn)(void *data), void *data) {
    SH_ASSERT(data == w);
    closing_t *then = closing_create(fn, data);
    closing_t *c = closing_create(close_pools, then);
    for (uint32_t i = 0; i < w->service_count; i++) {
        if (!w->services[i].relay) continue;
        c->left++;
        sh_relay_close(w->services[i].relay, one_closed, c);
        w->services[i].relay = NULL;
    }
    one_closed(c);
}

/* ---- what the edge asks */

int sh_worker_user_lookup(void *data, sh_str_t user_id, sh_user_status_fn fn, void *fn_data) {
    return sh_user_lookup(((sh_worker_t *)data)->services[0].pool, user_id, fn, fn_data);
}

bool sh_worker_ready(void *data, sh_buf_t *out) {
    sh_worker_t *w = data;
    bool database = true;
    for (uint32_t i = 0; i < w->service_count; i++) database &= w->services[i].pool && sh_pg_pool_is_ready(w->services[i].pool);
    bool ready = database && !w->draining;
    sh_buf_printf(out, "{\"status\":\"%s\",\"checks\":{\"database\":\"%s\",\"events\":\"%s\"}}", ready ? "ready" : "unavailable",
                  database ? "up" : "down",
                  !w->nats                    ? "off"
                  : sh_nats_is_ready(w->nats) ? "up"
                                              : "down");
    return ready;
}

void sh_worker_publish_gauges(sh_worker_t *w) {
    for (uint32_t i = 0; i < w->service_count; i++) {
        sh_service_t *s = &w->services[i];
        sh_pg_pool_stats_t stats;
        if (!s->pool) continue;
        sh_pg_pool_stats(s->pool, &stats);
        sh_series_set(s->pool_waiting, stats.waiting);
        sh_series_set(s->pool_busy, stats.leased);
        sh_series_set(s->pool_connections, stats.idle + stats.shared + stats.leased);
        sh_vm_t *vm = sh_generation_vm(w->current, s->name);
        if (vm) sh_series_set(s->memory, (int64_t)sh_vm_memory(vm));
    }
}
