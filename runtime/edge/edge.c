/* A request's way through the edge. The stages are functions that hand over to the next; each may end the request by answering it.
 *
 *   on_head:     route, method, media types (no body read yet)
 *   on_request:  built-in endpoints, or auth -> authorized -> input -> the rule -> reply
 *   on_done:     access log, metrics */
#include "edge/edge.h"

#include "base/err.h"
#include "base/time.h"
#include "edge/exchange.h"
#include "edge/input.h"
#include "edge/openapi.h"

#include <stdio.h>
#include <stdlib.h>

static const struct {
    const char *path;
    sh_builtin_t what;
} builtins[] = {
    {"/health", SH_BUILTIN_HEALTH},
    {"/health/ready", SH_BUILTIN_READY},
    {"/metrics", SH_BUILTIN_METRICS},
    {"/openapi.json", SH_BUILTIN_OPENAPI},
    {"/api/v1/admin/rules", SH_BUILTIN_ADMIN_RULES},
};

/* ---- life */

int sh_edge_create(const sh_edge_opts_t *opts, sh_edge_t **out) {
    static const char *const classes[6] = {"0xx", "1xx", "2xx", "3xx", "4xx", "5xx"};
    sh_edge_t *e = sh_calloc(1, sizeof *e);
    char labels[96];
    e->opts = *opts;
    e->opts.environment = e->environment = sh_strdup(opts->environment ? opts->environment : "");
    e->opts.cors_origins = e->cors_origins = sh_strdup(opts->cors_origins ? opts->cors_origins : "");
    e->uuids = sh_uuid_source_create();
    const sh_auth_opts_t auth = {opts->jwt_keys, opts->jwt_leeway_s, opts->user_lookup, opts->data, opts->user_ttl_ms, opts->user_cache_max};
    e->auth = sh_auth_create(&auth);
    for (int i = 2; i < 6; i++) {
        snprintf(labels, sizeof labels, "service=\"edge\",method=\"\",route=\"\",status=\"%s\"", classes[i]);
        e->unrouted[i] = sh_metrics_series(opts->metrics, SH_COUNTER, "shama_http_requests_total", labels, "Requests by route and class of status.");
    }
    e->refused_auth = sh_metrics_series(opts->metrics, SH_COUNTER, "shama_auth_refused_total", "", "Requests without a valid token of a known user.");
    *out = e;
    return SH_OK;
}

void sh_edge_destroy(sh_edge_t *e) {
    if (!e) return;
    sh_generation_release(e->current);
    sh_auth_destroy(e->auth);
    sh_uuid_source_destroy(e->uuids);
    sh_buf_dispose(&e->openapi);
    free(e->environment);
    free(e->cors_origins);
    free(e);
}

static void router_destroy(void *router) { sh_router_destroy(router); }

int sh_edge_prepare(sh_edge_t *e, sh_generation_t *generation, sh_buf_t *error) {
    sh_router_t *router;
    int rc = sh_router_build(generation, &router, error);
    if (rc) return rc;
    sh_router_name_series(router, e->opts.metrics);
    generation->router = router;
    generation->router_destroy = router_destroy;
    return SH_OK;
}

void sh_edge_swap(sh_edge_t *e, sh_generation_t *generation) {
    sh_generation_t *old = e->current;
    e->current = sh_generation_retain(generation);
    sh_buf_dispose(&e->openapi);
    sh_generation_release(old);
}

void sh_edge_set_keys(sh_edge_t *e, const sh_jwt_keys_t *keys) { sh_auth_set_keys(e->auth, keys); }

/* A generation whose last request has just been answered. That may have happened inside a task of its own, which still needs its vm
 * to end in, so it is closed from the loop. */
typedef struct retired {
    uv_timer_t timer;
    sh_generation_t *generation;
} retired_t;

static void retired_closed(uv_handle_t *handle) { free(handle->data); }

static void retire_done(uv_timer_t *timer) {
    retired_t *r = timer->data;
    sh_generation_release(r->generation);
    uv_close((uv_handle_t *)timer, retired_closed);
}

static void release_generation(sh_edge_t *e, sh_generation_t *generation) {
    if (!generation || generation->retained > 1) {
        sh_generation_release(generation);
        return;
    }
    retired_t *r = sh_alloc(sizeof *r);
    r->generation = generation;
    uv_timer_init(e->opts.loop, &r->timer);
    r->timer.data = r;
    uv_timer_start(&r->timer, retire_done, 0, 0);
}

/* ---- the rule */

static void on_reply(void *data, sh_call_t *call, sh_reply_t *reply) {
    sh_exchange_t *x = data;
    sh_outcome_t *outcome = x->generation ? x->generation->outcome : NULL;
    const char *code = reply->code ? reply->code : "";
    x->request->on_gone = NULL;
    if (outcome) {
        /* what the rules cannot help does not count against them */
        bool failed = reply->status >= 500 && strcmp(code, "CANCELED") != 0 && strncmp(code, "DATABASE", 8) != 0;
        atomic_fetch_add_explicit(&outcome->requests, 1, memory_order_relaxed);
        if (failed) atomic_fetch_add_explicit(&outcome->failures, 1, memory_order_relaxed);
    }
    sh_exchange_reply(x, call, reply);
}

static void on_gone(sh_http_request_t *request) {
    sh_exchange_t *x = request->user;
    if (x->call.task) sh_task_cancel(x->call.task, SH_ECANCELED);
}

static void start_call(sh_exchange_t *x) {
    sh_http_request_t *request = x->request;
    sh_edge_t *e = x->edge;
    if (!sh_input_check(x)) return;
    if (e->opts.board && x->match.route->label && sh_board_is_quarantined(e->opts.board, x->match.route->label)) {
        sh_exchange_refuse(x, 503, "ROUTE_QUARANTINED", SH_STR_NULL);
        return;
    }
    x->call.vm = x->match.vm;
    x->call.route = x->match.route;
    x->call.caller = &x->caller;
    x->call.arena = &request->arena;
    x->call.request_id = x->request_id;
    x->call.traceparent = request->traceparent;
    x->call.if_match = request->if_match;
    x->call.idempotency_key = request->idempotency_key;
    x->call.peer = sh_http_peer(request);
    request->on_gone = on_gone;
    e->opts.start(&x->call, on_reply, x);
}

/* ---- built-in endpoints */

static void answer_ready(sh_exchange_t *x) {
    sh_edge_opts_t *opts = &x->edge->opts;
    sh_buf_t body = {0};
    bool ready = opts->ready(opts->data, &body);
    if (!x->is_admin && !opts->metrics_public) { /* what exactly is down is for operators */
        sh_buf_clear(&body);
        sh_buf_put_c(&body, ready ? "{\"status\":\"ready\"}" : "{\"status\":\"unavailable\"}");
    }
    sh_exchange_answer(x, ready ? 200 : 503, "application/json", body);
}

static void answer_builtin(sh_exchange_t *x) {
    sh_edge_t *e = x->edge;
    sh_buf_t body = {0};
    switch (x->builtin) {
    case SH_BUILTIN_HEALTH: sh_buf_put_lit(&body, "{\"status\":\"ok\"}"); break;
    case SH_BUILTIN_READY: answer_ready(x); return;
    case SH_BUILTIN_METRICS:
        if (!e->opts.metrics_public && !x->is_admin) {
            sh_exchange_refuse(x, 404, "NOT_FOUND", SH_STR_NULL);
            return;
        }
        sh_metrics_write(e->opts.metrics, &body);
        sh_exchange_answer(x, 200, "text/plain; version=0.0.4; charset=utf-8", body);
        return;
    case SH_BUILTIN_OPENAPI:
        if (!e->openapi.len) sh_openapi_write(e->current, &e->openapi);
        sh_buf_put_str(&body, sh_buf_str(&e->openapi));
        break;
    default:
        if (!sh_exchange_has_role(x, "ADMIN")) {
            sh_exchange_refuse(x, 403, "FORBIDDEN", SH_STR_NULL);
            return;
        }
        e->opts.admin_rules(e->opts.data, &body);
    }
    sh_exchange_answer(x, 200, "application/json", body);
}

static sh_builtin_t builtin_of(sh_str_t path) {
    for (size_t i = 0; i < SH_ARRAY_LEN(builtins); i++)
        if (sh_str_eq_c(path, builtins[i].path)) return builtins[i].what;
    return SH_BUILTIN_NONE;
}

/* ---- the stages */

static int on_head(void *data, sh_http_request_t *request, uint64_t *body_bytes_max) {
    sh_edge_t *e = data;
    sh_exchange_t *x = sh_exchange_of(e, request);
    *body_bytes_max = e->opts.body_bytes_max;
    if (request->method == SH_HTTP_OPTIONS) return 0;
    x->builtin = builtin_of(request->path);
    if (x->builtin) {
        x->allow = "GET, HEAD";
        return request->method == SH_HTTP_GET || request->method == SH_HTTP_HEAD ? 0 : 405;
    }
    int rc = sh_router_find(e->current->router, request->method_name, request->path, &x->match);
    if (rc == SH_ENOTFOUND) return 404;
    if (rc) {
        x->allow = x->match.allow;
        return 405;
    }
    const sh_route_t *route = x->match.route;
    x->generation = sh_generation_retain(e->current);
    if (!sh_input_accepts(request->accept, route->produces)) return 406;
    if (route->body && request->content_type.len && !sh_input_is_json(request->content_type)) return 415;
    if (route->body_bytes_max) *body_bytes_max = route->body_bytes_max;
    return 0;
}

static void authorized(void *data, int status, const char *code) {
    sh_exchange_t *x = data;
    const sh_route_t *route = x->match.route;
    if (code) {
        if (status == 401) sh_series_add(x->edge->refused_auth, 1);
        sh_exchange_refuse(x, status, code, SH_STR_NULL);
        return;
    }
    if (!route) {
        answer_builtin(x);
        return;
    }
    bool open = route->role_count == 0;
    for (uint32_t i = 0; i < route->role_count && !open; i++) open = sh_exchange_has_role(x, route->roles[i]);
    if (open)
        start_call(x);
    else
        sh_exchange_refuse(x, 403, "FORBIDDEN", SH_STR_NULL);
}

static void on_request(void *data, sh_http_request_t *request) {
    sh_exchange_t *x = sh_exchange_of(data, request);
    bool needs_user = x->builtin ? x->builtin == SH_BUILTIN_ADMIN_RULES : x->match.route && !x->match.route->is_public;
    if (request->method == SH_HTTP_OPTIONS)
        sh_exchange_preflight(x);
    else if (needs_user)
        sh_auth_check(x->edge->auth, request->authorization, &request->arena, &x->caller, authorized, x);
    else if (x->builtin)
        answer_builtin(x);
    else
        start_call(x);
}

static void on_bad(void *data, sh_http_request_t *request, int status, const char *reason, sh_http_response_t *response) {
    sh_exchange_t *x = sh_exchange_of(data, request);
    const sh_problem_t problem = {.status = status, .code = sh_problem_code_of(status), .request_id = x->request_id, .language = x->caller.language};
    sh_exchange_problem(x, &problem, status == 503 ? 1 : 0, response);
    sh_log_info(x->edge->opts.log, "bad request", SH_LOG_STR("request_id", x->request_id), SH_LOG_I64("status", status), SH_LOG_C("reason", reason));
}

static void on_done(void *data, sh_http_request_t *request, int status, uint64_t bytes) {
    sh_edge_t *e = data;
    sh_exchange_t *x = sh_exchange_of(e, request);
    uint64_t took_ns = sh_time_mono_ns() - request->started_ns;
    const sh_route_t *route = x->match.route;
    const sh_route_metrics_t *named = route ? route->metrics : NULL;
    int status_class = status >= 200 && status < 600 ? status / 100 : 5;
    const sh_generation_t *generation = x->generation ? x->generation : e->current;
    sh_series_add(named ? named->status[status_class] : e->unrouted[status_class], 1);
    if (named) sh_series_observe_ns(named->duration, took_ns);
    if (e->opts.access_log)
        sh_log_info(e->opts.log, "request", SH_LOG_STR("request_id", x->request_id), SH_LOG_C("env", e->opts.environment),
                    SH_LOG_C("service", x->match.vm ? sh_vm_service(x->match.vm) : "edge"), SH_LOG_STR("user", x->caller.user_id),
                    SH_LOG_STR("method", request->method_name), SH_LOG_C("route", route ? route->pattern : ""), SH_LOG_I64("status", status),
                    SH_LOG_I64("bytes", (int64_t)bytes), SH_LOG_I64("us", (int64_t)(took_ns / 1000)),
                    SH_LOG_C("rules", generation ? generation->version : ""));
    release_generation(e, x->generation);
    x->generation = NULL;
}

/* The admin listener serves what operators look at, and no rule. */
static int on_admin_head(void *data, sh_http_request_t *request, uint64_t *body_bytes_max) {
    sh_exchange_t *x = sh_exchange_of(data, request);
    *body_bytes_max = 0;
    x->is_admin = true;
    x->allow = "GET, HEAD";
    x->builtin = builtin_of(request->path);
    if (x->builtin != SH_BUILTIN_HEALTH && x->builtin != SH_BUILTIN_READY && x->builtin != SH_BUILTIN_METRICS) return 404;
    return request->method == SH_HTTP_GET || request->method == SH_HTTP_HEAD ? 0 : 405;
}

const sh_http_handlers_t sh_edge_admin_handlers = {on_admin_head, on_request, on_bad, on_done};
const sh_http_handlers_t sh_edge_handlers = {on_head, on_request, on_bad, on_done};
