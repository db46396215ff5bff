/* Answers and their headers: problems, bodies of the edge's own, and the replies of rules. */
#include "edge/exchange.h"

#include "base/err.h"
#include "base/time.h"
#include "net/http_text.h"

#include <stdio.h>

enum { REQUEST_ID_MAX = 64, HEADERS_MAX = 20 };

/* Headers of an answer while they are gathered; the server copies them. */
typedef struct header_list {
    sh_http_header_t at[HEADERS_MAX];
    uint32_t count;
} header_list_t;

static void add(header_list_t *list, const char *name, sh_str_t value) {
    SH_ASSERT(list->count < HEADERS_MAX);
    list->at[list->count++] = (sh_http_header_t){sh_str_of(name), value};
}

static void take_request_id(sh_exchange_t *x) {
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

sh_exchange_t *sh_exchange_of(sh_edge_t *edge, sh_http_request_t *request) {
    if (request->user) return request->user;
    sh_exchange_t *x = SH_ARENA_NEW(&request->arena, sh_exchange_t);
    x->edge = edge;
    x->request = request;
    x->caller.language = sh_problem_language(request->accept_language);
    take_request_id(x);
    request->user = x;
    return x;
}

bool sh_exchange_has_role(const sh_exchange_t *x, const char *role) {
    for (uint32_t i = 0; i < x->caller.role_count; i++)
        if (sh_str_eq_c(x->caller.roles[i], role)) return true;
    return false;
}

/* ---- headers */

static bool is_origin_allowed(const char *origins, sh_str_t origin) {
    for (const char *p = origins; *p;) {
        p += strspn(p, ", ");
        size_t len = strcspn(p, ", ");
        if (len && sh_str_eq(sh_str(p, len), origin)) return true;
        p += len;
    }
    return false;
}

static void add_cors(sh_exchange_t *x, header_list_t *list) {
    const char *origins = x->edge->opts.cors_origins;
    sh_str_t origin = x->request->origin;
    if (!origins || !*origins) return;
    bool open = strcmp(origins, "*") == 0;
    if (!open) add(list, "Vary", SH_STR("Origin")); /* also when this one is not allowed: a cache must not mix them */
    if (!origin.len || !(open || is_origin_allowed(origins, origin))) return;
    add(list, "Access-Control-Allow-Origin", open ? SH_STR("*") : origin);
    add(list, "Access-Control-Expose-Headers", SH_STR("X-Request-Id, ETag, Location, Link, Retry-After"));
}

static void begin_headers(sh_exchange_t *x, header_list_t *list, const char *cache_control) {
    list->count = 0;
    add(list, "X-Request-Id", x->request_id);
    add(list, "X-Content-Type-Options", SH_STR("nosniff"));
    add(list, "Cache-Control", sh_str_of(cache_control));
    add_cors(x, list);
}

static void respond(sh_exchange_t *x, int status, const char *content_type, const header_list_t *list, sh_buf_t body) {
    sh_http_response_t response = {.status = status, .content_type = content_type, .headers = list->at, .header_count = list->count, .body = body};
    sh_http_respond(x->request, &response);
}

/* ---- problems */

static sh_str_t challenge(const char *code) {
    return strcmp(code, "TOKEN_MISSING") == 0 ? SH_STR("Bearer") : SH_STR("Bearer error=\"invalid_token\""); /* RFC 6750, 3 */
}

void sh_exchange_problem(sh_exchange_t *x, const sh_problem_t *problem, uint32_t retry_after_s, sh_http_response_t *response) {
    header_list_t *list = sh_arena_alloc(&x->request->arena, sizeof *list);
    begin_headers(x, list, "no-store");
    add(list, "Content-Language", sh_str_of(x->caller.language));
    if (problem->status == 401) add(list, "WWW-Authenticate", challenge(problem->code));
    if (problem->status == 405 && x->allow) add(list, "Allow", sh_str_of(x->allow));
    if (retry_after_s) add(list, "Retry-After", sh_str_of(sh_arena_printf(&x->request->arena, "%u", retry_after_s)));
    response->status = problem->status;
    response->content_type = "application/problem+json";
    response->headers = list->at;
    response->header_count = list->count;
    sh_problem_write(problem, &response->body);
}

void sh_exchange_refuse(sh_exchange_t *x, int status, const char *code, sh_str_t errors) {
    sh_http_response_t response = {0};
    const sh_problem_t problem = {.status = status, .code = code, .errors = errors, .request_id = x->request_id, .language = x->caller.language};
    sh_exchange_problem(x, &problem, status == 503 ? 1 : 0, &response);
    sh_http_respond(x->request, &response);
}

/* ---- answers */

void sh_exchange_answer(sh_exchange_t *x, int status, const char *content_type, sh_buf_t body) {
    header_list_t list;
    begin_headers(x, &list, "no-store");
    respond(x, status, content_type, &list, body);
}

void sh_exchange_preflight(sh_exchange_t *x) {
    header_list_t list;
    begin_headers(x, &list, "no-store");
    add(&list, "Allow", SH_STR("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
    add(&list, "Access-Control-Allow-Methods", SH_STR("GET, HEAD, POST, PUT, PATCH, DELETE"));
    add(&list, "Access-Control-Allow-Headers",
        SH_STR("Authorization, Content-Type, Accept-Language, Idempotency-Key, If-Match, If-None-Match, X-Request-Id"));
    add(&list, "Access-Control-Max-Age", SH_STR("600"));
    respond(x, 204, NULL, &list, (sh_buf_t){0});
}

static void refuse_for_rule(sh_exchange_t *x, const sh_call_t *call, sh_reply_t *reply) {
    sh_http_response_t response = {0};
    if (strcmp(reply->code, "BUDGET_EXCEEDED") == 0 || strcmp(reply->code, "MEMORY_EXCEEDED") == 0) {
        char labels[SH_SERIES_LABELS_MAX];
        snprintf(labels, sizeof labels, "service=\"%s\",route=\"%s\"", sh_vm_service(call->vm), call->route->pattern);
        sh_series_add(sh_metrics_series(x->edge->opts.metrics, SH_COUNTER, "shama_budget_exceeded_total", labels, "Tasks ended over their budget."),
                      1);
    }
    const sh_problem_t problem = {.status = reply->status,
                                  .code = reply->code,
                                  .detail = reply->detail,
                                  .errors = reply->errors,
                                  .extra = reply->extra,
                                  .request_id = x->request_id,
                                  .language = x->caller.language};
    sh_buf_dispose(&reply->body);
    sh_exchange_problem(x, &problem, reply->retry_after_s, &response);
    sh_http_respond(x->request, &response);
}

/* Names that are the server's or this file's to set. */
static bool is_reserved(sh_str_t name) {
    static const sh_str_t names[] = {SH_STR("Connection"),
                                     SH_STR("Content-Length"),
                                     SH_STR("Content-Type"),
                                     SH_STR("Date"),
                                     SH_STR("Keep-Alive"),
                                     SH_STR("Server-Timing"),
                                     SH_STR("Trailer"),
                                     SH_STR("Transfer-Encoding"),
                                     SH_STR("Upgrade"),
                                     SH_STR("X-Request-Id"),
                                     SH_STR("X-Content-Type-Options"),
                                     SH_STR("Cache-Control")};
    for (size_t i = 0; i < SH_ARRAY_LEN(names); i++)
        if (sh_str_eq_nocase(name, names[i])) return true;
    return false;
}

static sh_str_t reply_header(const sh_reply_t *reply, const char *name) {
    for (uint32_t i = 0; i < reply->header_count; i++)
        if (sh_str_eq_nocase(reply->headers[i].name, sh_str_of(name))) return reply->headers[i].value;
    return SH_STR_NULL;
}

static sh_str_t without_weak(sh_str_t tag) { return tag.len > 2 && tag.ptr[0] == 'W' && tag.ptr[1] == '/' ? sh_str(tag.ptr + 2, tag.len - 2) : tag; }

/* If-None-Match by weak comparison (RFC 9110, 13.1.2). */
static bool is_known_to_client(const sh_exchange_t *x, const sh_reply_t *reply, sh_str_t etag) {
    sh_str_t rest = x->request->if_none_match;
    bool reads = x->request->method == SH_HTTP_GET || x->request->method == SH_HTTP_HEAD;
    if (!reads || reply->status != 200 || !etag.len || !rest.len) return false;
    if (sh_str_eq_c(rest, "*")) return true;
    etag = without_weak(etag);
    while (rest.len) {
        const char *comma = memchr(rest.ptr, ',', rest.len);
        sh_str_t tag = sh_str(rest.ptr, comma ? (size_t)(comma - rest.ptr) : rest.len);
        rest = comma ? sh_str(comma + 1, rest.len - tag.len - 1) : SH_STR_NULL;
        while (tag.len && tag.ptr[0] == ' ') tag.ptr++, tag.len--;
        while (tag.len && tag.ptr[tag.len - 1] == ' ') tag.len--;
        if (sh_str_eq(without_weak(tag), etag)) return true;
    }
    return false;
}

static void add_timing(sh_exchange_t *x, header_list_t *list, const sh_task_account_t *used) {
    if (!sh_exchange_has_role(x, "ADMIN")) return;
    add(list, "Server-Timing",
        sh_str_of(sh_arena_printf(&x->request->arena,
                                  "lua;dur=%.3f, statements;desc=\"%u\", rows;desc=\"%u\", events;desc=\"%u\", "
                                  "memory;desc=\"%u KiB\"",
                                  (double)used->lua_ns / 1e6, used->statements, used->rows, used->events, (unsigned)(used->memory_bytes >> 10))));
}

void sh_exchange_reply(sh_exchange_t *x, sh_call_t *call, sh_reply_t *reply) {
    header_list_t list;
    const sh_route_metrics_t *named = call->route->metrics;
    if (named) {
        sh_series_observe_ns(named->lua, reply->used.lua_ns);
        sh_series_add(named->statements, reply->used.statements);
    }
    if (reply->code) {
        refuse_for_rule(x, call, reply);
        return;
    }
    sh_str_t etag = reply_header(reply, "ETag");
    /* with an ETag a client may keep the answer, if it asks each time */
    begin_headers(x, &list, etag.len ? "private, no-cache" : "no-store");
    for (uint32_t i = 0; i < reply->header_count; i++)
        if (sh_http_is_token(reply->headers[i].name) && !is_reserved(reply->headers[i].name) && list.count < HEADERS_MAX - 1)
            list.at[list.count++] = (sh_http_header_t){reply->headers[i].name, reply->headers[i].value};
    add_timing(x, &list, &reply->used);
    if (is_known_to_client(x, reply, etag)) {
        sh_buf_dispose(&reply->body);
        respond(x, 304, NULL, &list, (sh_buf_t){0});
        return;
    }
    respond(x, reply->status, reply->content_type, &list, reply->body);
}
