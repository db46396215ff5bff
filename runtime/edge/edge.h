/* The front door: what happens to a request between the HTTP server and a rule, and on the way back.
 *
 *   head: request id -> route (404, 405, 413, 415 before any body) -> token -> user status, roles
 *   body: query and path and body against the route's schemas -> call -> answer -> access log, metrics
 *
 * Knows no service by name and no Lua: rules are started through a callback. Its own endpoints: /health, /health/ready, /metrics,
 * /openapi.json, GET /api/v1/admin/rules. */
#ifndef SH_EDGE_H
#define SH_EDGE_H

#include "base/log.h"
#include "board/board.h"
#include "codec/jwt.h"
#include "host/call.h"
#include "host/generation.h"
#include "net/http_server.h"

typedef struct sh_edge sh_edge_t;

/* What the database knows of a user. Looked up through a callback, kept for user_ttl_ms. */
typedef struct sh_user_status {
    bool exists, disabled;
    char roles[SH_ROLES_MAX][32];
    uint32_t role_count;
    char customer_id[37]; /* or "" */
} sh_user_status_t;

typedef void (*sh_user_status_fn)(void *data, int status, const sh_user_status_t *user);

typedef struct sh_edge_opts {
    uv_loop_t *loop;
    sh_log_t *log;
    sh_metrics_t *metrics;
    const sh_jwt_keys_t *jwt_keys; /* borrowed; replaced by sh_edge_set_keys */
    sh_call_start_fn start;        /* starts a rule */
    /* Asks the database for a user; exactly one call of fn, later. SH_EUNAVAILABLE when it cannot be asked. */
    int (*user_lookup)(void *data, sh_str_t user_id, sh_user_status_fn fn, void *fn_data);
    sh_board_t *board; /* for quarantined routes; NULL allowed */
    /* Appends {"status":"ready"|"unavailable","checks":{...}}; returns whether ready. */
    bool (*ready)(void *data, sh_buf_t *out);
    /* Appends the body of GET /api/v1/admin/rules. */
    void (*admin_rules)(void *data, sh_buf_t *out);
    void *data; /* for the three above */
    int64_t jwt_leeway_s;
    uint64_t user_ttl_ms;    /* 1000 at most */
    uint32_t user_cache_max; /* entries; 10,000 */
    const char *environment; /* "development", "production": in log lines */
    bool metrics_public;     /* /metrics and the details of readiness on the public listener, too */
    bool access_log;
    uint64_t body_bytes_max;  /* default: 1 MiB */
    const char *cors_origins; /* comma-separated, "*" or "" */
} sh_edge_opts_t;

int sh_edge_create(const sh_edge_opts_t *opts, sh_edge_t **out) SH_MUSTCHECK;
void sh_edge_destroy(sh_edge_t *edge);
/* Builds the router for a generation (conflicting routes: SH_EINVAL with a sentence); called before the generation is used. */
int sh_edge_prepare(sh_edge_t *edge, sh_generation_t *generation, sh_buf_t *error) SH_MUSTCHECK;
/* From now on new requests use this generation; requests in flight keep theirs. Retains it. */
void sh_edge_swap(sh_edge_t *edge, sh_generation_t *generation);
void sh_edge_set_keys(sh_edge_t *edge, const sh_jwt_keys_t *keys);
/* The handlers for sh_http_server_create(), with the edge as data. */
extern const sh_http_handlers_t sh_edge_handlers;
/* The same for the admin listener: health, readiness and metrics only. */
extern const sh_http_handlers_t sh_edge_admin_handlers;

#endif
