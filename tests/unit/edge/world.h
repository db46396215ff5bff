/* The world around an edge, for its tests: a real HTTP server on a free port with routes of its own, a plain socket as the client, a stand-in
 * for the table of users, and instead of Lua a function of the test that replies. Everything runs on one loop, turned by the client. */
#ifndef TEST_EDGE_WORLD_H
#define TEST_EDGE_WORLD_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/time.h"
#include "edge/edge.h"
#include "edge/router.h"
#include "unit/edge/rules.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define ID "0192f0c1-2345-7abc-8def-0123456789ab"
#define NOBODY "0192f0c1-2345-7abc-8def-000000000000"
enum { BODY_MAX = 2000, ANSWER_MAX = 1 << 20, TURNS_MAX = 20000 };

/* ---- routes */

static const sh_schema_t uuid = {.type = SH_SCHEMA_UUID};
static const sh_schema_t money = {.type = SH_SCHEMA_MONEY, .scale = 2};
static const sh_schema_t quantity = {.type = SH_SCHEMA_INTEGER, .has_min = true, .min = 1, .has_max = true, .max = 100000};
static const sh_schema_t limit = {.type = SH_SCHEMA_INTEGER, .has_min = true, .min = 1, .has_max = true, .max = 200};
static const sh_schema_t text = {.type = SH_SCHEMA_STRING};
static const sh_json_value_t fifty = {.kind = SH_JSON_INTEGER, .i64 = 50};
static const sh_schema_field_t body_fields[] = {{SH_STR("price"), &money, true, NULL}, {SH_STR("quantity"), &quantity, false, NULL}};
static const sh_schema_t body = {.type = SH_SCHEMA_OBJECT, .fields = body_fields, .field_count = 2};
static const sh_schema_field_t query_fields[] = {{SH_STR("limit"), &limit, false, &fifty}, {SH_STR("search"), &text, false, NULL}};
static const sh_schema_t query = {.type = SH_SCHEMA_OBJECT, .fields = query_fields, .field_count = 2};

enum { LIST, CREATE, GET_ONE, CHANGE, ACT, SECRET, SLOW, PUBLIC };
#define JSON .produces = "application/json", .summary = "", .operation = "x"
#define BY_ID .params = {"id"}, .param_schemas = {&uuid}, .param_count = 1
static const sh_route_t routes_proto[] = {
    [LIST] = {.method = "GET", .pattern = "/api/v1/things", .query = &query, .roles = {"SALES", "ADMIN"}, .role_count = 2, .status = 200, JSON},
    [CREATE] = {.method = "POST", .pattern = "/api/v1/things", .body = &body, .status = 201, JSON},
    [GET_ONE] = {.method = "GET", .pattern = "/api/v1/things/:id", BY_ID, .status = 200, JSON},
    [CHANGE] =
        {.method = "PATCH", .pattern = "/api/v1/things/:id", BY_ID, .body = &body, .body_optional = true, .partial = true, .status = 200, JSON},
    [ACT] = {.method = "POST", .pattern = "/api/v1/things/:id/act", BY_ID, .status = 200, JSON},
    [SECRET] = {.method = "GET", .pattern = "/api/v1/secret", .roles = {"ADMIN"}, .role_count = 1, .status = 200, JSON},
    [SLOW] = {.method = "GET", .pattern = "/api/v1/slow", .is_public = true, .status = 200, JSON},
    [PUBLIC] = {.method = "POST", .pattern = "/api/v1/login", .body = &body, .is_public = true, .body_bytes_max = 100, .status = 200, JSON},
};

/* ---- the world around the edge */

typedef struct world {
    uv_loop_t loop;
    sh_log_t log;
    char log_path[64];
    void *metrics_memory;
    sh_metrics_t *metrics;
    sh_jwt_keys_t *keys;
    sh_edge_t *edge;
    sh_http_server_t *server, *admin;
    int fd, admin_fd;
    sh_generation_t *generation;
    sh_route_t routes[SH_ARRAY_LEN(routes_proto)];
    bool ready, closed, admin_closed;
    bool database_down;
    /* the question about a user that is still open, answered a turn later */
    sh_user_status_fn user_fn;
    void *user_data;
    char user_id[40];
    /* the rule's turn */
    void (*rule)(sh_call_t *call, sh_reply_t *reply);
    sh_call_t *held;
    sh_call_done_fn held_fn;
    void *held_data;
    int calls;
} world_t;

static world_t w;

static void start(sh_call_t *call, sh_call_done_fn fn, void *data) {
    w.calls++;
    if (!w.rule) { /* later, when the test says so */
        w.held = call;
        w.held_fn = fn;
        w.held_data = data;
        return;
    }
    sh_reply_t reply = {.status = call->route->status, .content_type = call->route->produces};
    w.rule(call, &reply);
    fn(data, call, &reply);
}

static int user_lookup(void *data, sh_str_t id, sh_user_status_fn fn, void *fn_data) {
    (void)data;
    if (w.database_down) return SH_EUNAVAILABLE;
    assert_null(w.user_fn);
    w.user_fn = fn;
    w.user_data = fn_data;
    snprintf(w.user_id, sizeof w.user_id, "%.*s", (int)id.len, id.ptr);
    return SH_OK;
}

static void answer_user(void) {
    if (!w.user_fn) return;
    sh_user_status_fn fn = w.user_fn;
    sh_user_status_t user = {.exists = strcmp(w.user_id, NOBODY) != 0, .role_count = 1, .roles = {"SALES"}};
    w.user_fn = NULL;
    fn(w.user_data, SH_OK, &user);
}

static bool ready(void *data, sh_buf_t *out) {
    (void)data;
    sh_buf_put_lit(out, "{\"status\":\"detailed\",\"checks\":{\"postgres\":\"10.0.0.7\"}}");
    return w.ready;
}
static void admin_rules(void *data, sh_buf_t *out) {
    (void)data;
    sh_buf_put_lit(out, "{\"version\":\"x\"}");
}

static int listen_on_a_free_port(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 16)) return -1;
    return fd;
}

static sh_generation_t *make_generation(const char *version, sh_route_t *routes) {
    sh_buf_t error = {0};
    sh_generation_t *g = rules_make(version);
    memcpy(routes, routes_proto, sizeof routes_proto);
    rules_add(g, "things", routes, SH_ARRAY_LEN(routes_proto));
    assert_int_equal(sh_edge_prepare(w.edge, g, &error), SH_OK);
    return g;
}

static void echo(sh_call_t *call, sh_reply_t *reply);

static int set_up(void **state) {
    (void)state;
    memset(&w, 0, sizeof w);
    snprintf(w.log_path, sizeof w.log_path, "/tmp/test_edge_%d.log", getpid());
    unlink(w.log_path);
    w.metrics_memory = sh_calloc(1, sh_metrics_size());
    w.metrics = sh_metrics_init(w.metrics_memory);
    w.ready = true;
    w.rule = echo;
    const sh_http_opts_t http = {.connections_max = 50,
                                 .header_bytes_max = 16384,
                                 .header_count_max = 100,
                                 .target_bytes_max = 4096,
                                 .body_bytes_max = BODY_MAX,
                                 .pipeline_max = 16,
                                 .head_timeout_ms = 5000,
                                 .body_timeout_ms = 5000,
                                 .idle_timeout_ms = 5000,
                                 .write_timeout_ms = 5000,
                                 .keep_alive_requests_max = 1000};
    if (uv_loop_init(&w.loop) || sh_log_open(&w.log, w.log_path, SH_LOG_INFO, "test")) return -1;
    if (sh_jwt_keys_create(SH_STR("0123456789abcdef0123456789abcdef"), SH_STR_NULL, &w.keys)) return -1;
    const sh_edge_opts_t opts = {.loop = &w.loop,
                                 .log = &w.log,
                                 .metrics = w.metrics,
                                 .jwt_keys = w.keys,
                                 .start = start,
                                 .user_lookup = user_lookup,
                                 .ready = ready,
                                 .admin_rules = admin_rules,
                                 .user_ttl_ms = 1000,
                                 .user_cache_max = 100,
                                 .environment = "test",
                                 .access_log = true,
                                 .body_bytes_max = BODY_MAX,
                                 .cors_origins = "https://shop.example, https://other.example"};
    if (sh_edge_create(&opts, &w.edge)) return -1;
    w.generation = make_generation("first", w.routes);
    sh_edge_swap(w.edge, w.generation);
    w.fd = listen_on_a_free_port();
    w.admin_fd = listen_on_a_free_port();
    if (sh_http_server_create(&w.loop, w.fd, &http, &sh_edge_handlers, w.edge, &w.log, &w.server)) return -1;
    return sh_http_server_create(&w.loop, w.admin_fd, &http, &sh_edge_admin_handlers, w.edge, &w.log, &w.admin);
}

static void set_true(void *data) { *(bool *)data = true; }

static void turn(void) {
    uv_run(&w.loop, UV_RUN_NOWAIT);
    answer_user();
}

static int tear_down(void **state) {
    (void)state;
    sh_http_server_close(w.server, set_true, &w.closed);
    sh_http_server_close(w.admin, set_true, &w.admin_closed);
    for (int i = 0; i < TURNS_MAX && !(w.closed && w.admin_closed); i++) turn();
    assert_true(w.closed && w.admin_closed);
    sh_edge_destroy(w.edge);
    sh_generation_release(w.generation);
    uv_run(&w.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w.loop), 0);
    sh_jwt_keys_destroy(w.keys);
    sh_log_close(&w.log);
    close(w.fd);
    close(w.admin_fd);
    unlink(w.log_path);
    free(w.metrics_memory);
    return 0;
}

/* ---- the client */

static char answer[ANSWER_MAX];
static sh_arena_t arena;

static int dial(int listener) {
    struct sockaddr_in address;
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, len), 0);
    return fd;
}

/* Sends bytes and reads until the server closes. */
static void talk(int fd, const char *bytes, size_t len) {
    size_t sent = 0, got = 0;
    for (int i = 0; i < TURNS_MAX; i++) {
        if (sent < len) {
            ssize_t n = send(fd, bytes + sent, len - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
            if (n > 0)
                sent += (size_t)n;
            else if (errno != EAGAIN)
                sent = len;
        }
        turn();
        ssize_t n = recv(fd, answer + got, sizeof answer - 1 - got, MSG_DONTWAIT);
        if (n > 0)
            got += (size_t)n;
        else if (n == 0 || errno != EAGAIN)
            break;
        else
            usleep(50);
    }
    answer[got] = 0;
    close(fd);
}

static const char *token_of(const char *sub, int64_t expires_in_s, const char *roles) {
    sh_buf_t out = {0};
    char claims[256];
    snprintf(claims, sizeof claims, "{\"sub\":\"%s\",\"exp\":%lld,\"roles\":[%s]}", sub, (long long)(sh_time_wall_us() / 1000000 + expires_in_s),
             roles);
    assert_int_equal(sh_jwt_sign_hs256(w.keys, sh_str_of(claims), &out), SH_OK);
    const char *kept = sh_arena_str(&arena, sh_buf_str(&out)).ptr;
    sh_buf_dispose(&out);
    return kept;
}

/* One request as a SALES user; `fields` are further header lines, each with its CRLF. Returns the status. */
static int ask_as(const char *token, const char *method, const char *target, const char *fields, const char *content) {
    sh_buf_t out = {0};
    sh_buf_printf(&out, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s", method, target, fields ? fields : "");
    if (token) sh_buf_printf(&out, "Authorization: Bearer %s\r\n", token);
    if (content) sh_buf_printf(&out, "Content-Length: %zu\r\n", strlen(content));
    sh_buf_put_lit(&out, "\r\n");
    if (content) sh_buf_put_c(&out, content);
    talk(dial(w.fd), out.ptr, out.len);
    sh_buf_dispose(&out);
    int status = 0;
    if (sscanf(answer, "HTTP/1.1 %d", &status) != 1) fail_msg("no answer to %s %s: %s", method, target, answer);
    return status;
}
static int ask(const char *method, const char *target, const char *fields, const char *content) {
    return ask_as(token_of(ID, 60, "\"SALES\",\"ADMIN\""), method, target, fields, content);
}
#define TYPE "Content-Type: application/json\r\n"

static const char *answer_body(void) {
    char *end = strstr(answer, "\r\n\r\n");
    return end ? end + 4 : "";
}
static const sh_json_value_t *answer_json(void) {
    sh_json_value_t *v = NULL;
    sh_json_error_t error = {0};
    if (sh_json_read(&arena, sh_str_of(answer_body()), SH_JSON_LIMITS_DEFAULT, &v, &error) != SH_OK)
        fail_msg("%s at %zu: %s", error.reason, error.offset, answer);
    return v;
}
static const char *member(const char *key) {
    const sh_json_value_t *v = sh_json_get(answer_json(), key);
    sh_buf_t out = {0};
    if (!v) return "";
    if (v->kind == SH_JSON_STRING) return sh_arena_str(&arena, v->text).ptr;
    sh_json_write(&out, v);
    const char *kept = sh_arena_str(&arena, sh_buf_str(&out)).ptr;
    sh_buf_dispose(&out);
    return kept;
}
static const char *field(const char *name) {
    char start_of[64];
    snprintf(start_of, sizeof start_of, "\r\n%s: ", name);
    char *p = strcasestr(answer, start_of);
    char *head_end = strstr(answer, "\r\n\r\n");
    if (!p || p > head_end) return "";
    p += strlen(start_of);
    return sh_arena_str(&arena, sh_str(p, strcspn(p, "\r"))).ptr;
}

static void assert_problem(int got, int status, const char *code) {
    if (got != status) fail_msg("status %d, expected %d %s: %s", got, status, code, answer);
    assert_string_equal(field("Content-Type"), "application/problem+json");
    if (strcmp(member("code"), code) != 0) fail_msg("code %s, expected %s: %s", member("code"), code, answer_body());
    assert_true(sh_json_get(answer_json(), "status")->i64 == status);
    assert_true(member("type")[0] && member("title")[0] && member("detail")[0]);
    assert_string_equal(member("request_id"), field("X-Request-Id"));
    assert_true(member("request_id")[0]);
}

/* ---- rules of the tests */

static void echo(sh_call_t *call, sh_reply_t *reply) {
    sh_buf_printf(&reply->body, "{\"id\":\"%.*s\",\"user\":\"%.*s\",\"roles\":%u,\"key\":\"%.*s\",\"query\":", (int)call->params[0].len,
                  call->params[0].ptr ? call->params[0].ptr : "", (int)call->caller->user_id.len,
                  call->caller->user_id.ptr ? call->caller->user_id.ptr : "", call->caller->role_count, (int)call->idempotency_key.len,
                  call->idempotency_key.ptr ? call->idempotency_key.ptr : "");
    if (call->query)
        sh_json_write(&reply->body, call->query);
    else
        sh_buf_put_lit(&reply->body, "null");
    sh_buf_put_lit(&reply->body, ",\"body\":");
    if (call->body)
        sh_json_write(&reply->body, call->body);
    else
        sh_buf_put_lit(&reply->body, "null");
    sh_buf_put_byte(&reply->body, '}');
}
static void tagged(sh_call_t *call, sh_reply_t *reply) {
    echo(call, reply);
    reply->headers[reply->header_count++] = (sh_reply_header_t){SH_STR("ETag"), SH_STR("\"3\"")};
    reply->headers[reply->header_count++] = (sh_reply_header_t){SH_STR("Location"), SH_STR("/api/v1/things/7")};
    reply->headers[reply->header_count++] = (sh_reply_header_t){SH_STR("Content-Length"), SH_STR("1")};
    reply->headers[reply->header_count++] = (sh_reply_header_t){SH_STR("not a name"), SH_STR("x")};
}
static void refusing(sh_call_t *call, sh_reply_t *reply) {
    (void)call;
    sh_buf_put_lit(&reply->body, "half an answer");
    reply->status = 409;
    reply->code = "THING_NOT_PENDING";
    reply->detail = SH_STR("Solo cosas PENDING");
    reply->extra = SH_STR("\"current_version\":3");
}
static void over_budget(sh_call_t *call, sh_reply_t *reply) {
    (void)call;
    reply->status = 503;
    reply->code = "BUDGET_EXCEEDED";
    reply->retry_after_s = 7;
}

#endif
