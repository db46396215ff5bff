/* A request's way through the edge. The stages are functions that hand over to the next; each may end the request by refuse() or answer().
 *
 *   on_head:     route, method, media types (no body read yet)
 *   on_request:  built-in endpoints, or auth -> authorized -> checked -> called
 *   on_done:     access log, metrics */
#include "edge/edge.h"

#include "base/err.h"
#include "base/time.h"
#include "codec/uuid.h"
#include "edge/auth.h"
#include "edge/openapi.h"
#include "edge/problem.h"
#include "edge/router.h"

#include <stdio.h>
#include <stdlib.h>

enum { REQUEST_ID_MAX = 64, QUERY_PAIRS_MAX = 32, BUILTIN_COUNT = 5 };

struct sh_edge {
    sh_edge_opts_t opts;
    sh_auth_t *auth;
    sh_uuid_source_t *uuids;
    sh_generation_t *current;
    sh_buf_t openapi;            /* of the current generation, made when first asked for */
    sh_series_t *unrouted[6], *refused_auth, *budget_kills;
};

typedef enum builtin { NOT_BUILTIN, HEALTH, READY, METRICS, OPENAPI, ADMIN_RULES } builtin_t;

/* The edge's state of one request, in its arena. */
typedef struct exchange {
    sh_edge_t *edge;
    sh_http_request_t *request;
    sh_generation_t *generation; /* retained until the answer */
    sh_match_t match;            /* route NULL: built in, or none */
    builtin_t builtin;
    bool is_admin;               /* came by the admin listener */
    sh_call_t call;
    sh_caller_t caller;
    sh_str_t request_id;
    const char *allow;           /* for 405 */
    int status;
} exchange_t;

static const struct {
    const char *path;
    builtin_t what;
} builtins[BUILTIN_COUNT] = {
    {"/health", HEALTH}, {"/health/ready", READY}, {"/metrics", METRICS}, {"/openapi.json", OPENAPI}, {"/api/v1/admin/rules", ADMIN_RULES},
};

/* ---- life */

int sh_edge_create(const sh_edge_opts_t *opts, sh_edge_t **out) {
    static const char *const classes[6] = {"0xx", "1xx", "2xx", "3xx", "4xx", "5xx"};
    sh_edge_t *e = sh_calloc(1, sizeof *e);
    char labels[96];
    e->opts = *opts;
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
    sh_generation_release(e->current);
    sh_auth_destroy(e->auth);
    sh_uuid_source_destroy(e->uuids);
    sh_buf_dispose(&e->openapi);
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

/* ---- answering */

static void take_request_id(exchange_t *x) {
    sh_str_t given = x->request->request_id;
    bool usable = given.len > 0 && given.len <= REQUEST_ID_MAX;
    for (size_t i = 0; i < given.len && usable; i++) {
        char c = given.ptr[i];
        usable = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
    }
    if (usable) {
        x->request_id = given;
        return;
    }
    char *id = sh_arena_alloc(&x->request->arena, SH_UUID_LEN);
    sh_uuid_v7(x->edge->uuids, sh_time_wall_us(), id);
    x->request_id = sh_str(id, SH_UUID_LEN);
}

static exchange_t *exchange_of(sh_edge_t *e, sh_http_request_t *request) {
    if (request->user) return request->user;
    exchange_t *x = SH_ARENA_NEW(&request->arena, exchange_t);
    x->edge = e;
    x->request = request;
    x->caller.language = sh_problem_language(request->accept_language);
    take_request_id(x);
    request->user = x;
    return x;
}

static uint32_t common_headers(exchange_t *x, sh_http_header_t *headers) {
    uint32_t n = 0;
    headers[n++] = (sh_http_header_t){SH_STR("X-Request-Id"), x->request_id};
    headers[n++] = (sh_http_header_t){SH_STR("X-Content-Type-Options"), SH_STR("nosniff")};
    headers[n++] = (sh_http_header_t){SH_STR("Cache-Control"), SH_STR("no-store")};
    return n;
}

static uint32_t cors_headers(exchange_t *x, sh_http_header_t *headers, uint32_t n) {
    const char *origins = x->edge->opts.cors_origins;
    sh_str_t origin = x->request->origin;
    if (!origins || !*origins || !origin.len) return n;
    bool open = strcmp(origins, "*") == 0, found = open;
    for (const char *p = origins; *p && !found;) {
        size_t len = strcspn(p, ",");
        found = sh_str_eq(sh_str(p, len), origin);
        p += len + (p[len] == ',');
    }
    if (!found) return n;
    headers[n++] = (sh_http_header_t){SH_STR("Access-Control-Allow-Origin"), open ? SH_STR("*") : origin};
    headers[n++] = (sh_http_header_t){SH_STR("Vary"), SH_STR("Origin")};
    return n;
}

static void respond(exchange_t *x, sh_http_response_t *response) {
    x->status = response->status;
    sh_http_respond(x->request, response);
}

static void fill_problem(exchange_t *x, const sh_problem_t *problem, uint32_t retry_after_s, sh_http_header_t *headers, sh_http_response_t *response) {
    uint32_t n = cors_headers(x, headers, common_headers(x, headers));
    headers[n++] = (sh_http_header_t){SH_STR("Content-Language"), sh_str_of(x->caller.language)};
    if (problem->status == 401) headers[n++] = (sh_http_header_t){SH_STR("WWW-Authenticate"), SH_STR("Bearer")};
    if (problem->status == 405 && x->allow) headers[n++] = (sh_http_header_t){SH_STR("Allow"), sh_str_of(x->allow)};
    if (retry_after_s) headers[n++] = (sh_http_header_t){SH_STR("Retry-After"), sh_str_of(sh_arena_printf(&x->request->arena, "%u", retry_after_s))};
    response->status = problem->status;
    response->content_type = "application/problem+json";
    response->headers = headers;
    response->header_count = n;
    sh_problem_write(problem, &response->body);
    x->status = problem->status;
}

static void refuse_with(exchange_t *x, int status, const char *code, sh_str_t errors) {
    sh_http_header_t headers[10];
    sh_http_response_t response = {0};
    const sh_problem_t problem = {.status = status, .code = code, .errors = errors, .request_id = x->request_id, .language = x->caller.language};
    fill_problem(x, &problem, status == 503 ? 1 : 0, headers, &response);
    respond(x, &response);
}

static void refuse(exchange_t *x, int status, const char *code) { refuse_with(x, status, code, SH_STR_NULL); }

static void answer_body(exchange_t *x, int status, const char *content_type, sh_buf_t body) {
    sh_http_header_t headers[10];
    uint32_t n = cors_headers(x, headers, common_headers(x, headers));
    sh_http_response_t response = {.status = status, .content_type = content_type, .headers = headers, .header_count = n, .body = body};
    respond(x, &response);
}

/* ---- the rule's reply */

static void on_reply(void *data, sh_call_t *call, sh_reply_t *reply) {
    exchange_t *x = data;
    sh_http_header_t headers[20];
    sh_http_response_t response = {0};
    sh_outcome_t *outcome = x->generation ? x->generation->outcome : NULL;
    x->request->on_gone = NULL;
    if (outcome) {
        atomic_fetch_add_explicit(&outcome->requests, 1, memory_order_relaxed);
        if (reply->status >= 500 && strcmp(reply->code ? reply->code : "", "CANCELED") != 0 && strncmp(reply->code ? reply->code : "", "DATABASE", 8) != 0)
            atomic_fetch_add_explicit(&outcome->failures, 1, memory_order_relaxed);
    }
    if (reply->code) {
        if (strcmp(reply->code, "BUDGET_EXCEEDED") == 0 || strcmp(reply->code, "MEMORY_EXCEEDED") == 0) {
            char labels[SH_SERIES_LABELS_MAX];
            snprintf(labels, sizeof labels, "service=\"%s\",route=\"%s\"", sh_vm_service(call->vm), call->route->pattern);
            sh_series_add(sh_metrics_series(x->edge->opts.metrics, SH_COUNTER, "shama_budget_exceeded_total", labels, "Tasks ended over their budget."), 1);
        }
        const sh_problem_t problem = {.status = reply->status, .code = reply->code, .detail = reply->detail, .errors = reply->errors,
                                      .extra = reply->extra, .request_id = x->request_id, .language = x->caller.language};
        sh_buf_dispose(&reply->body);
        fill_problem(x, &problem, reply->retry_after_s, headers, &response);
        respond(x, &response);
        return;
    }
    uint32_t n = cors_headers(x, headers, common_headers(x, headers));
    for (uint32_t i = 0; i < reply->header_count; i++) headers[n++] = (sh_http_header_t){reply->headers[i].name, reply->headers[i].value};
    for (uint32_t i = 0; i < x->caller.role_count; i++)
        if (sh_str_eq_c(x->caller.roles[i], "ADMIN")) {
            const char *timing = sh_arena_printf(&x->request->arena, "lua;dur=%.3f, statements;desc=\"%u\", rows;desc=\"%u\"", (double)reply->used.lua_ns / 1e6,
                                                 reply->used.statements, reply->used.rows);
            headers[n++] = (sh_http_header_t){SH_STR("Server-Timing"), sh_str_of(timing)};
        }
    response = (sh_http_response_t){.status = reply->status, .content_type = reply->content_type, .headers = headers, .header_count = n, .body = reply->body};
    respond(x, &response);
}

static void on_gone(sh_http_request_t *request) {
    exchange_t *x = request->user;
    if (x->call.task) sh_task_cancel(x->call.task, SH_ECANCELED);
}

/* ---- checks */

static bool parse_query(exchange_t *x, sh_schema_pair_t *pairs, uint32_t *count) {
    sh_str_t rest = x->request->query;
    *count = 0;
    while (rest.len) {
        const char *end = memchr(rest.ptr, '&', rest.len);
        sh_str_t part = sh_str(rest.ptr, end ? (size_t)(end - rest.ptr) : rest.len);
        rest = end ? sh_str(end + 1, rest.len - part.len - 1) : SH_STR_NULL;
        if (!part.len) continue;
        if (*count == QUERY_PAIRS_MAX) return false;
        const char *equals = memchr(part.ptr, '=', part.len);
        sh_str_t name = sh_str(part.ptr, equals ? (size_t)(equals - part.ptr) : part.len);
        sh_str_t value = equals ? sh_str(equals + 1, part.len - name.len - 1) : SH_STR_NULL;
        sh_schema_pair_t *pair = &pairs[(*count)++];
        if (sh_http_query_decode(&x->request->arena, name, &pair->name) || sh_http_query_decode(&x->request->arena, value, &pair->value)) return false;
    }
    return true;
}

static bool check_params(exchange_t *x, sh_schema_report_t *report) {
    const sh_route_t *route = x->match.route;
    for (uint32_t i = 0; i < route->param_count; i++) {
        sh_json_value_t value = {.kind = SH_JSON_STRING, .text = x->match.params[i]};
        uint32_t before = report->count;
        if (sh_schema_check(route->param_schemas[i], &value, false, report)) {
            for (uint32_t k = before; k < report->count; k++) report->issues[k].pointer = sh_str_of(route->params[i]);
        }
        x->call.params[i] = value.text;
    }
    return report->count == 0;
}

static bool check_query(exchange_t *x, sh_schema_report_t *report) {
    static const sh_schema_t nothing = {.type = SH_SCHEMA_OBJECT};
    const sh_schema_t *schema = x->match.route->query;
    sh_schema_pair_t pairs[QUERY_PAIRS_MAX];
    uint32_t count;
    sh_json_value_t *query;
    if (!schema && !x->request->query.len) return true;
    if (!parse_query(x, pairs, &count)) {
        refuse(x, 400, "QUERY_MALFORMED");
        return false;
    }
    if (sh_schema_check_query(schema ? schema : &nothing, pairs, count, report, &query)) {
        refuse_with(x, 400, "INVALID_QUERY", sh_problem_errors(report, x->caller.language));
        return false;
    }
    x->call.query = schema ? query : NULL;
    return true;
}

static bool is_json_type(sh_str_t type) {
    size_t n = 0;
    while (n < type.len && type.ptr[n] != ';' && type.ptr[n] != ' ') n++;
    type.len = n;
    return sh_str_eq_nocase(type, SH_STR("application/json")) || sh_str_eq_nocase(type, SH_STR("application/merge-patch+json"));
}

/* Where a JSON error is, as an entry of `errors`. */
static sh_str_t json_errors(exchange_t *x, const sh_json_error_t *error) {
    return sh_str_of(sh_arena_printf(&x->request->arena, "[{\"pointer\":\"\",\"code\":\"JSON\",\"detail\":\"byte %zu: %s\"}]", error->offset, error->reason));
}

static bool check_body(exchange_t *x, sh_schema_report_t *report) {
    static const sh_schema_t nothing = {.type = SH_SCHEMA_OBJECT};
    const sh_route_t *route = x->match.route;
    const sh_schema_t *schema = route->body ? route->body : &nothing;
    sh_http_request_t *request = x->request;
    sh_json_value_t *body;
    sh_json_error_t error;
    if (!request->body.len) {
        if (route->body_optional || !route->body) {
            body = SH_ARENA_NEW(&request->arena, sh_json_value_t);
            body->kind = SH_JSON_OBJECT;
        } else {
            refuse(x, 400, "BODY_MISSING");
            return false;
        }
    } else if (!is_json_type(request->content_type)) {
        refuse(x, 415, "UNSUPPORTED_MEDIA_TYPE");
        return false;
    } else if (sh_json_read(&request->arena, request->body, SH_JSON_LIMITS_DEFAULT, &body, &error)) {
        refuse_with(x, 400, "MALFORMED_JSON", json_errors(x, &error));
        return false;
    }
    if (sh_schema_check(schema, body, route->partial, report)) {
        bool unknown = report->count > 0;
        for (uint32_t i = 0; i < report->count; i++) unknown &= strcmp(report->issues[i].code, "UNKNOWN_FIELD") == 0;
        refuse_with(x, 400, unknown ? "UNKNOWN_FIELD" : "INVALID_BODY", sh_problem_errors(report, x->caller.language));
        return false;
    }
    x->call.body = route->body ? body : NULL;
    return true;
}

static void start_call(exchange_t *x) {
    sh_http_request_t *request = x->request;
    sh_schema_report_t *report = SH_ARENA_NEW(&request->arena, sh_schema_report_t);
    report->arena = &request->arena;
    if (!check_params(x, report)) {
        refuse_with(x, 400, "INVALID_PATH", sh_problem_errors(report, x->caller.language));
        return;
    }
    if (!check_query(x, report) || !check_body(x, report)) return;
    if (x->edge->opts.board && sh_board_is_quarantined(x->edge->opts.board, x->match.route->pattern)) {
        refuse(x, 503, "ROUTE_QUARANTINED");
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
    x->edge->opts.start(&x->call, on_reply, x);
}

/* ---- built-in endpoints */

static bool has_role(const exchange_t *x, const char *role) {
    for (uint32_t i = 0; i < x->caller.role_count; i++)
        if (sh_str_eq_c(x->caller.roles[i], role)) return true;
    return false;
}

static void answer_builtin(exchange_t *x) {
    sh_edge_t *e = x->edge;
    sh_buf_t body = {0};
    switch (x->builtin) {
    case HEALTH:
        sh_buf_put_lit(&body, "{\"status\":\"ok\"}");
        answer_body(x, 200, "application/json", body);
        return;
    case READY: {
        bool ready = e->opts.ready(e->opts.data, &body);
        answer_body(x, ready ? 200 : 503, "application/json", body);
        return;
    }
    case METRICS:
        if (!e->opts.metrics_public && !x->is_admin) {
            refuse(x, 404, "NOT_FOUND");
            return;
        }
        sh_metrics_write(e->opts.metrics, &body);
        answer_body(x, 200, "text/plain; version=0.0.4; charset=utf-8", body);
        return;
    case OPENAPI:
        if (!e->openapi.len) sh_openapi_write(e->current, &e->openapi);
        sh_buf_put_str(&body, sh_buf_str(&e->openapi));
        answer_body(x, 200, "application/json", body);
        return;
    default:
        if (!has_role(x, "ADMIN")) {
            refuse(x, 403, "FORBIDDEN");
            return;
        }
        e->opts.admin_rules(e->opts.data, &body);
        answer_body(x, 200, "application/json", body);
    }
}

/* ---- the stages */

static void authorized(void *data, int status, const char *code) {
    exchange_t *x = data;
    const sh_route_t *route = x->match.route;
    if (code) {
        if (status == 401) sh_series_add(x->edge->refused_auth, 1);
        refuse(x, status, code);
        return;
    }
    if (!route) {
        answer_builtin(x);
        return;
    }
    bool open = route->role_count == 0;
    for (uint32_t i = 0; i < route->role_count && !open; i++) open = has_role(x, route->roles[i]);
    if (!open) {
        refuse(x, 403, "FORBIDDEN");
        return;
    }
    start_call(x);
}

static void preflight(exchange_t *x) {
    sh_http_header_t headers[10];
    sh_http_response_t response = {.status = 204, .headers = headers};
    uint32_t n = cors_headers(x, headers, common_headers(x, headers));
    headers[n++] = (sh_http_header_t){SH_STR("Allow"), SH_STR("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")};
    headers[n++] = (sh_http_header_t){SH_STR("Access-Control-Allow-Methods"), SH_STR("GET, HEAD, POST, PUT, PATCH, DELETE")};
    headers[n++] = (sh_http_header_t){SH_STR("Access-Control-Allow-Headers"), SH_STR("Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, X-Request-Id")};
    response.header_count = n;
    respond(x, &response);
}

static builtin_t builtin_of(sh_str_t path) {
    for (int i = 0; i < BUILTIN_COUNT; i++)
        if (sh_str_eq_c(path, builtins[i].path)) return builtins[i].what;
    return NOT_BUILTIN;
}

/* Does Accept allow `type`? A list without q=0 subtleties: what nobody sends is treated as not excluded. */
static bool accepts(sh_str_t accept, const char *type) {
    if (!accept.len) return true;
    sh_str_t whole = sh_str_of(type);
    size_t main_len = strcspn(type, "/");
    const char *p = accept.ptr, *end = accept.ptr + accept.len;
    while (p < end) {
        while (p < end && (*p == ' ' || *p == ',')) p++;
        const char *from = p;
        while (p < end && *p != ',' && *p != ';') p++;
        sh_str_t range = sh_str(from, (size_t)(p - from));
        while (range.len && range.ptr[range.len - 1] == ' ') range.len--;
        while (p < end && *p != ',') p++;
        if (sh_str_eq_c(range, "*/*") || sh_str_eq_nocase(range, whole)) return true;
        if (range.len == main_len + 2 && memcmp(range.ptr + main_len, "/*", 2) == 0 && sh_str_eq_nocase(sh_str(range.ptr, main_len), sh_str(type, main_len)))
            return true;
    }
    return false;
}

static int on_head(void *data, sh_http_request_t *request, uint64_t *body_bytes_max) {
    sh_edge_t *e = data;
    exchange_t *x = exchange_of(e, request);
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
    x->generation = sh_generation_retain(e->current);
    if (!accepts(request->accept, x->match.route->produces)) return 406;
    if (request->content_type.len && x->match.route->body && !is_json_type(request->content_type)) return 415;
    *body_bytes_max = x->match.route->body_bytes_max ? x->match.route->body_bytes_max : e->opts.body_bytes_max;
    return 0;
}

static void on_request(void *data, sh_http_request_t *request) {
    exchange_t *x = exchange_of(data, request);
    if (request->method == SH_HTTP_OPTIONS) preflight(x);
    else if (x->builtin == ADMIN_RULES) sh_auth_check(x->edge->auth, request->authorization, &request->arena, &x->caller, authorized, x);
    else if (x->builtin) answer_builtin(x);
    else if (x->match.route->is_public) start_call(x);
    else sh_auth_check(x->edge->auth, request->authorization, &request->arena, &x->caller, authorized, x);
}

static void on_bad(void *data, sh_http_request_t *request, int status, const char *reason, sh_http_response_t *response) {
    exchange_t *x = exchange_of(data, request);
    sh_http_header_t *headers = sh_arena_alloc(&request->arena, 10 * sizeof *headers);
    const sh_problem_t problem = {.status = status, .code = sh_problem_code_of(status), .request_id = x->request_id, .language = x->caller.language,
                                  .extra = SH_STR_NULL};
    fill_problem(x, &problem, status == 503 ? 1 : 0, headers, response);
    sh_log_info(x->edge->opts.log, "bad request", SH_LOG_STR("request_id", x->request_id), SH_LOG_I64("status", status), SH_LOG_C("reason", reason));
}

static void on_done(void *data, sh_http_request_t *request, int status, uint64_t bytes) {
    sh_edge_t *e = data;
    exchange_t *x = exchange_of(e, request);
    uint64_t took_ns = sh_time_mono_ns() - request->started_ns;
    const sh_route_t *route = x->match.route;
    const sh_route_metrics_t *named = route ? route->metrics : NULL;
    int status_class = status >= 200 && status < 600 ? status / 100 : 5;
    sh_series_add(named ? named->status[status_class] : e->unrouted[status_class], 1);
    if (named) sh_series_observe_ns(named->duration, took_ns);
    if (e->opts.access_log)
        sh_log_info(e->opts.log, "request", SH_LOG_STR("request_id", x->request_id), SH_LOG_C("env", e->opts.environment),
                    SH_LOG_C("service", x->match.vm ? sh_vm_service(x->match.vm) : "edge"), SH_LOG_STR("user", x->caller.user_id),
                    SH_LOG_STR("method", request->method_name), SH_LOG_C("route", route ? route->pattern : ""), SH_LOG_I64("status", status),
                    SH_LOG_I64("bytes", (int64_t)bytes), SH_LOG_I64("us", (int64_t)(took_ns / 1000)),
                    SH_LOG_C("rules", x->generation ? x->generation->version : e->current->version));
    sh_generation_release(x->generation);
    x->generation = NULL;
}

/* The admin listener serves what operators look at, and no rule. */
static int on_admin_head(void *data, sh_http_request_t *request, uint64_t *body_bytes_max) {
    exchange_t *x = exchange_of(data, request);
    *body_bytes_max = 0;
    x->is_admin = true;
    x->builtin = builtin_of(request->path);
    x->allow = "GET, HEAD";
    if (x->builtin != HEALTH && x->builtin != READY && x->builtin != METRICS) return 404;
    return request->method == SH_HTTP_GET || request->method == SH_HTTP_HEAD ? 0 : 405;
}

const sh_http_handlers_t sh_edge_admin_handlers = {on_admin_head, on_request, on_bad, on_done};
const sh_http_handlers_t sh_edge_handlers = {on_head, on_request, on_bad, on_done};
