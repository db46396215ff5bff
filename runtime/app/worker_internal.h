/* The inside of a worker, shared by worker.c, worker_rules.c and worker_links.c only. */
#ifndef SH_WORKER_INTERNAL_H
#define SH_WORKER_INTERNAL_H

#include "app/channel.h"
#include "app/primitives.h"
#include "app/worker.h"
#include "base/list.h"
#include "base/log.h"
#include "edge/edge.h"
#include "events/consumer.h"
#include "events/outbox_relay.h"
#include "net/http_server.h"

enum { SH_CONSUMERS_MAX = 64, SH_NAK_DELAYS_MAX = 16 };

/* A service's links to the outside; they outlive rules generations. */
typedef struct sh_service {
    char name[32];
    sh_pg_pool_t *pool;
    sh_relay_t *relay;
    sh_series_t *pool_waiting, *pool_busy, *pool_connections, *memory;
} sh_service_t;

/* What a generation's vms point to; freed after them. */
typedef struct sh_rules {
    sh_list_t link; /* sh_worker_t.alive */
    struct sh_worker *worker;
    uint64_t retired_ns; /* 0: current, or not yet */
    sh_generation_t *generation;
    sh_protobuf_t *protobuf;
    sh_lua_context_t contexts[SH_SERVICES_MAX];
    uint32_t loading; /* index of the vm that loads, the last one made */
} sh_rules_t;

typedef struct sh_worker {
    const sh_worker_opts_t *opts;
    sh_config_t *config;
    uv_loop_t loop;
    sh_log_t log;
    sh_slot_t *slot;
    sh_metrics_t *metrics;

    sh_service_t services[SH_SERVICES_MAX];
    uint32_t service_count;
    sh_nats_t *nats;
    sh_consumer_t *consumers[SH_CONSUMERS_MAX];
    uint32_t consumer_count;

    sh_uuid_source_t *uuids;
    sh_lua_clock_t clock;
    sh_lua_jwt_t jwt;
    sh_lua_password_t password;
    sh_lua_config_t lua_config;
    sh_lua_pdf_opts_t pdf;
    sh_jwt_keys_t *keys;

    sh_edge_t *edge;
    sh_http_server_t *server, *admin;
    sh_generation_t *current;
    sh_rules_t *preparing;
    sh_config_t *preparing_config;
    uint32_t preparing_serial;
    uv_timer_t prepare_step;
    sh_list_t alive;      /* sh_rules_t.link: preparing, current, draining */
    uint32_t generations; /* how many */

    uv_poll_t channel;
    uv_timer_t tick; /* flushes the log, publishes gauges */
    uv_prepare_t flush;
    bool draining;
    uint32_t closing; /* parts that still close */
    int exit_code;
} sh_worker_t;

/* worker_rules.c */
/* Builds a generation at once (start). SH_EINVAL with `error`. */
int sh_worker_load(sh_worker_t *w, sh_bundle_t *bundle, uint32_t serial, sh_generation_t **out, sh_buf_t *error) SH_MUSTCHECK;
/* Builds one beside the current, a module per loop turn, and answers the master. Takes both. */
void sh_worker_prepare(sh_worker_t *w, sh_bundle_t *bundle, sh_config_t *config, uint32_t serial);
void sh_worker_swap(sh_worker_t *w, uint32_t serial);
void sh_worker_abort(sh_worker_t *w, uint32_t serial);
/* Counts the tasks of old generations for the board, and ends those that are there after reload.drain_ms. */
void sh_worker_watch_old(sh_worker_t *w);
/* Secrets and limits that can change while serving. */
int sh_worker_apply_config(sh_worker_t *w, sh_buf_t *error) SH_MUSTCHECK;

/* worker_links.c */
int sh_worker_open_links(sh_worker_t *w, sh_buf_t *error) SH_MUSTCHECK;
void sh_worker_start_events(sh_worker_t *w);
void sh_worker_use_generation(sh_worker_t *w);
void sh_worker_close_events(sh_worker_t *w, void (*fn)(void *data), void *data);
void sh_worker_close_links(sh_worker_t *w, void (*fn)(void *data), void *data);
int sh_worker_user_lookup(void *data, sh_str_t user_id, sh_user_status_fn fn, void *fn_data);
bool sh_worker_ready(void *data, sh_buf_t *out);
void sh_worker_publish_gauges(sh_worker_t *w);

#endif
