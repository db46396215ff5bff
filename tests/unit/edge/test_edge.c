/* Proves the edge through real HTTP: each kind of bad request gets its 4xx as problem+json with a code, a sentence in the reader's language
 * and a log line; good ones reach the rule in canonical form; replies come back with their headers. A real server listens on a free port, a
 * plain socket is the client, and instead of Lua a function of the test replies. */
#include "unit/edge/world.h"

/* ---- tests */

static void answers_its_own_endpoints(void **state) {
    (void)state;
    assert_int_equal(ask_as(NULL, "GET", "/health", NULL, NULL), 200);
    assert_string_equal(answer_body(), "{\"status\":\"ok\"}");
    assert_int_equal(ask_as(NULL, "HEAD", "/health", NULL, NULL), 200);
    assert_string_equal(answer_body(), "");
    assert_int_equal(ask_as(NULL, "GET", "/health/ready", NULL, NULL), 200);
    assert_string_equal(answer_body(), "{\"status\":\"ready\"}"); /* the details are for operators */
    w.ready = false;
    assert_int_equal(ask_as(NULL, "GET", "/health/ready", NULL, NULL), 503);
    assert_problem(ask_as(NULL, "POST", "/health", NULL, NULL), 405, "METHOD_NOT_ALLOWED");
    assert_string_equal(field("Allow"), "GET, HEAD");
    assert_problem(ask_as(NULL, "GET", "/metrics", NULL, NULL), 404, "NOT_FOUND");
    assert_int_equal(ask_as(NULL, "GET", "/openapi.json", NULL, NULL), 200);
    assert_string_equal(member("openapi"), "3.1.0");
    assert_problem(ask_as(NULL, "GET", "/api/v1/admin/rules", NULL, NULL), 401, "TOKEN_MISSING");
    assert_problem(ask("GET", "/api/v1/admin/rules", NULL, NULL), 403, "FORBIDDEN"); /* ADMIN in the token, not in the database */
    assert_int_equal(w.calls, 0);
}

static void serves_operators_on_their_own_port(void **state) {
    (void)state;
    static const struct {
        const char *target;
        int status;
        const char *holds;
    } cases[] = {
        {"/metrics", 200, "shama_http_requests_total{service=\"things\""},
        {"/health/ready", 200, "10.0.0.7"},
        {"/api/v1/things", 404, "NOT_FOUND"},
        {"/openapi.json", 404, "NOT_FOUND"},
    };
    assert_int_equal(ask("GET", "/api/v1/things", NULL, NULL), 200);
    for (size_t i = 0; i < SH_ARRAY_LEN(cases); i++) {
        char request[128];
        int status = 0, n = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", cases[i].target);
        talk(dial(w.admin_fd), request, (size_t)n);
        assert_int_equal(sscanf(answer, "HTTP/1.1 %d", &status), 1);
        assert_int_equal(status, cases[i].status);
        if (!strstr(answer_body(), cases[i].holds)) fail_msg("%s: %s", cases[i].target, answer_body());
    }
}

static void refuses_what_it_does_not_know(void **state) {
    (void)state;
    assert_problem(ask("GET", "/api/v1/nothing", NULL, NULL), 404, "NOT_FOUND");
    assert_string_equal(member("detail"), "No existe nada en esta dirección.");
    assert_string_equal(field("Content-Language"), "es");
    assert_problem(ask("GET", "/api/v1/nothing", "Accept-Language: en-GB, es;q=0.5\r\n", NULL), 404, "NOT_FOUND");
    assert_string_equal(member("detail"), "There is nothing at this address.");
    assert_string_equal(field("Content-Language"), "en");
    assert_problem(ask("GET", "/api/v1/things/", NULL, NULL), 404, "NOT_FOUND");
    assert_problem(ask("DELETE", "/api/v1/things", NULL, NULL), 405, "METHOD_NOT_ALLOWED");
    assert_string_equal(field("Allow"), "GET, HEAD, POST");
    assert_problem(ask("GET", "/api/v1/things", "Accept: text/html\r\n", NULL), 406, "NOT_ACCEPTABLE");
    assert_problem(ask("POST", "/api/v1/things", "Content-Type: text/plain\r\n", "{\"price\":\"1\"}"), 415, "UNSUPPORTED_MEDIA_TYPE");
    assert_problem(ask("POST", "/api/v1/things", NULL, "{\"price\":\"1\"}"), 415, "UNSUPPORTED_MEDIA_TYPE");
    assert_problem(ask("GET", "/api/v1/things/%00", NULL, NULL), 400, "BAD_REQUEST");
    assert_problem(ask("GET", "/api/v1/things", "Broken\r\n", NULL), 400, "BAD_REQUEST");
    assert_int_equal(w.calls, 0);
}

static void refuses_what_is_too_large(void **state) {
    (void)state;
    char *big = sh_arena_calloc(&arena, 20001);
    memset(big, 'x', 20000);
    assert_problem(ask("POST", "/api/v1/things", TYPE, big), 413, "BODY_TOO_LARGE");
    big[150] = 0;
    assert_problem(ask_as(NULL, "POST", "/api/v1/login", TYPE, big), 413, "BODY_TOO_LARGE"); /* the route's own limit */
    big[150] = 'x';
    assert_problem(ask("GET", sh_arena_printf(&arena, "/%s", big), NULL, NULL), 414, "URI_TOO_LONG");
    assert_problem(ask("GET", "/health", sh_arena_printf(&arena, "X-Big: %s\r\n", big), NULL), 431, "HEADERS_TOO_LARGE");
    sh_buf_t many = {0};
    for (int i = 0; i < 200; i++) sh_buf_printf(&many, "X-%d: y\r\n", i);
    assert_problem(ask("GET", "/health", sh_buf_c(&many), NULL), 431, "HEADERS_TOO_LARGE");
    sh_buf_dispose(&many);
    assert_int_equal(w.calls, 0);
}

static void checks_who_asks(void **state) {
    (void)state;
    assert_problem(ask_as(NULL, "GET", "/api/v1/things", NULL, NULL), 401, "TOKEN_MISSING");
    assert_string_equal(field("WWW-Authenticate"), "Bearer");
    assert_problem(ask_as("x.y.z", "GET", "/api/v1/things", NULL, NULL), 401, "TOKEN_INVALID");
    assert_string_equal(field("WWW-Authenticate"), "Bearer error=\"invalid_token\"");
    assert_problem(ask_as("eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.", "GET", "/api/v1/things", NULL, NULL), 401, "TOKEN_INVALID");
    assert_problem(ask_as(token_of(ID, -10, "\"SALES\""), "GET", "/api/v1/things", NULL, NULL), 401, "TOKEN_EXPIRED");
    assert_problem(ask_as(token_of(NOBODY, 60, "\"SALES\""), "GET", "/api/v1/things", NULL, NULL), 401, "USER_UNKNOWN_OR_DISABLED");
    assert_problem(ask_as(token_of(ID, 60, "\"INVENTORY\""), "GET", "/api/v1/things", NULL, NULL), 403, "FORBIDDEN");
    assert_problem(ask("GET", "/api/v1/secret", NULL, NULL), 403, "FORBIDDEN");                /* claims ADMIN, is SALES only */
    assert_problem(ask_as(NULL, "GET", "/api/v1/things/x", NULL, NULL), 401, "TOKEN_MISSING"); /* before anything is checked */
    assert_int_equal(w.calls, 0);
    assert_int_equal(ask("GET", "/api/v1/things", NULL, NULL), 200);
    assert_string_equal(member("user"), ID);
    assert_string_equal(member("roles"), "1");
    w.database_down = true;
    assert_problem(ask_as(token_of("0192f0c1-2345-7abc-8def-000000000001", 60, ""), "GET", "/api/v1/things", NULL, NULL), 503,
                   "DATABASE_UNAVAILABLE");
    assert_string_equal(field("Retry-After"), "1");
}

static void refuses_bad_bodies(void **state) {
    (void)state;
    static const struct {
        const char *body, *code, *errors;
    } cases[] = {
        {"", "BODY_MISSING", ""},
        {"{", "MALFORMED_JSON", "objeto sin cerrar (byte 1)"},
        {"{\"quantity\":01}", "MALFORMED_JSON", "cero a la izquierda"},
        {"{\"quantity\":1.}", "MALFORMED_JSON", NULL},
        {"{\"quantity\":+1}", "MALFORMED_JSON", NULL},
        {"{\"quantity\":NaN}", "MALFORMED_JSON", NULL},
        {"{\"quantity\":0x10}", "MALFORMED_JSON", NULL},
        {"{\"price\":\"1\",\"price\":\"2\"}", "MALFORMED_JSON", "clave repetida (byte 13)"},
        {"{\"price\":\"\xff\"}", "MALFORMED_JSON", "UTF-8"},
        {"{\"price\":\"\\u0000\"}", "MALFORMED_JSON", "\\\\u0000"},
        {"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", "MALFORMED_JSON", "demasiados niveles"},
        {"[]", "INVALID_BODY", "{\"pointer\":\"\",\"code\":\"TYPE\""},
        {"{}", "INVALID_BODY", "{\"pointer\":\"/price\",\"code\":\"REQUIRED\",\"detail\":\"es obligatorio\"}"},
        {"{\"price\":\"1\",\"x\":1}", "UNKNOWN_FIELD", "\"/x\""},
        {"{\"x\":1}", "INVALID_BODY", "\"/x\""},
        {"{\"price\":1}", "INVALID_BODY", "\"/price\",\"code\":\"TYPE\""},
        {"{\"price\":\"1.005\"}", "INVALID_BODY", "\"/price\",\"code\":\"MONEY\""},
        {"{\"price\":\"1e3\"}", "INVALID_BODY", "\"code\":\"MONEY\""},
        {"{\"price\":\"1\",\"quantity\":0}", "INVALID_BODY", "\"/quantity\",\"code\":\"MIN\",\"detail\":\"debe ser un entero entre 1 y 100000\""},
        {"{\"price\":\"1\",\"quantity\":1.5}", "INVALID_BODY", "\"code\":\"TYPE\""},
        {"{\"price\":\"1\",\"quantity\":9007199254740993}", "INVALID_BODY", "\"code\":\"MAX\""},
    };
    for (size_t i = 0; i < SH_ARRAY_LEN(cases); i++) {
        assert_problem(ask("POST", "/api/v1/things", TYPE, cases[i].body), 400, cases[i].code);
        if (cases[i].errors && !strstr(member("errors"), cases[i].errors)) fail_msg("%s: %s", cases[i].body, member("errors"));
    }
    assert_problem(ask("POST", "/api/v1/things/" ID "/act", TYPE, "{\"x\":1}"), 400, "UNKNOWN_FIELD"); /* a route without a body */
    assert_int_equal(w.calls, 0);
}

static void refuses_bad_paths_and_queries(void **state) {
    (void)state;
    assert_problem(ask("GET", "/api/v1/things/7", NULL, NULL), 400, "INVALID_PATH");
    assert_string_equal(member("errors"), "[{\"pointer\":\"id\",\"code\":\"UUID\",\"detail\":\"debe ser un identificador UUID\"}]");
    static const struct {
        const char *query, *code;
    } cases[] = {
        {"limit=0", "INVALID_QUERY"},      {"limit=201", "INVALID_QUERY"},  {"limit=x", "INVALID_QUERY"},      {"limit=1&limit=2", "INVALID_QUERY"},
        {"colour=red", "INVALID_QUERY"},   {"search=%", "QUERY_MALFORMED"}, {"search=%zz", "QUERY_MALFORMED"}, {"search=%00", "QUERY_MALFORMED"},
        {"search=%ff", "QUERY_MALFORMED"}, {"=1", "INVALID_QUERY"},
    };
    for (size_t i = 0; i < SH_ARRAY_LEN(cases); i++)
        assert_problem(ask("GET", sh_arena_printf(&arena, "/api/v1/things?%s", cases[i].query), NULL, NULL), 400, cases[i].code);
    sh_buf_t many = {0};
    for (int i = 0; i < 40; i++) sh_buf_printf(&many, "&p%d=1", i);
    assert_problem(ask("GET", sh_arena_printf(&arena, "/api/v1/things?%s", sh_buf_c(&many)), NULL, NULL), 400, "QUERY_MALFORMED");
    sh_buf_dispose(&many);
    assert_problem(ask("GET", "/api/v1/things/" ID "?x=1", NULL, NULL), 400, "INVALID_QUERY"); /* a route without parameters */
    assert_int_equal(w.calls, 0);
}

static void hands_over_canonical_input(void **state) {
    (void)state;
    assert_int_equal(ask("GET", "/api/v1/things?search=a+b%C3%A1&&", NULL, NULL), 200);
    assert_string_equal(member("query"), "{\"search\":\"a b\xc3\xa1\",\"limit\":50}");
    assert_int_equal(ask("GET", "/api/v1/things/0192F0C1-2345-7ABC-8DEF-0123456789AB", NULL, NULL), 200);
    assert_string_equal(member("id"), ID);
    assert_int_equal(ask("POST", "/api/v1/things", TYPE "Idempotency-Key: k-1\r\n", "{\"price\":\"5\",\"quantity\":2}"), 201);
    assert_string_equal(member("body"), "{\"price\":\"5.00\",\"quantity\":2}");
    assert_string_equal(member("key"), "k-1");
    assert_int_equal(ask("PATCH", "/api/v1/things/" ID, "Content-Type: application/merge-patch+json\r\n", "{\"quantity\":2}"), 200);
    assert_string_equal(member("body"), "{\"quantity\":2}");
    assert_int_equal(ask("POST", "/api/v1/things/" ID "/act", NULL, NULL), 200);
    assert_string_equal(member("body"), "null");
    assert_int_equal(ask("POST", "/api/v1/things/" ID "/act", TYPE, "{}"), 200);
    assert_int_equal(ask("HEAD", "/api/v1/things", NULL, NULL), 200);
    assert_string_equal(answer_body(), "");
    assert_int_equal(ask_as(NULL, "POST", "/api/v1/login", TYPE, "{\"price\":\"5\"}"), 200);
    assert_string_equal(member("user"), "");
}

static void answers_with_what_the_rule_says(void **state) {
    (void)state;
    w.rule = tagged;
    assert_int_equal(ask("GET", "/api/v1/things/" ID, NULL, NULL), 200);
    assert_string_equal(field("ETag"), "\"3\"");
    assert_string_equal(field("Location"), "/api/v1/things/7");
    assert_string_equal(field("Cache-Control"), "private, no-cache");
    assert_true(strlen(answer_body()) > 1 && (size_t)atoi(field("Content-Length")) == strlen(answer_body())); /* not what the rule said */
    assert_null(strstr(answer, "not a name"));
    assert_int_equal(ask("GET", "/api/v1/things/" ID, "If-None-Match: \"2\", W/\"3\"\r\n", NULL), 304);
    assert_string_equal(answer_body(), "");
    assert_string_equal(field("ETag"), "\"3\"");
    assert_int_equal(ask("GET", "/api/v1/things/" ID, "If-None-Match: *\r\n", NULL), 304);
    assert_int_equal(ask("GET", "/api/v1/things/" ID, "If-None-Match: \"2\"\r\n", NULL), 200);
    assert_int_equal(ask("POST", "/api/v1/things", TYPE "If-None-Match: \"3\"\r\n", "{\"price\":\"1\"}"), 201);
    w.rule = refusing;
    assert_problem(ask("GET", "/api/v1/things/" ID, NULL, NULL), 409, "THING_NOT_PENDING");
    assert_string_equal(member("detail"), "Solo cosas PENDING");
    assert_string_equal(member("current_version"), "3");
    w.rule = over_budget;
    assert_problem(ask("GET", "/api/v1/things/" ID, NULL, NULL), 503, "BUDGET_EXCEEDED");
    assert_string_equal(field("Retry-After"), "7");
}

static void keeps_sane_request_ids(void **state) {
    (void)state;
    assert_int_equal(ask_as(NULL, "GET", "/health", "X-Request-Id: abc-1.2_Z\r\n", NULL), 200);
    assert_string_equal(field("X-Request-Id"), "abc-1.2_Z");
    static const char *const bad[] = {"a b", "a\"b", "<script>", "{}", "1234567890123456789012345678901234567890123456789012345678901234x"};
    for (size_t i = 0; i < SH_ARRAY_LEN(bad); i++) {
        assert_int_equal(ask_as(NULL, "GET", "/health", sh_arena_printf(&arena, "X-Request-Id: %s\r\n", bad[i]), NULL), 200);
        assert_true(sh_str_is_uuid(sh_str_of(field("X-Request-Id"))));
    }
}

static void tells_browsers_which_origins_may(void **state) {
    (void)state;
    assert_int_equal(ask_as(NULL, "OPTIONS", "/api/v1/things", "Origin: https://other.example\r\nAccess-Control-Request-Method: POST\r\n", NULL),
                     204);
    assert_string_equal(field("Access-Control-Allow-Origin"), "https://other.example");
    assert_true(field("Access-Control-Allow-Methods")[0]);
    assert_int_equal(ask("GET", "/api/v1/things", "Origin: https://shop.example\r\n", NULL), 200);
    assert_string_equal(field("Access-Control-Allow-Origin"), "https://shop.example");
    static const char *const strangers[] = {"https://shop.example.evil", "https://shop", "null", "https://shop.example,", "*"};
    for (size_t i = 0; i < SH_ARRAY_LEN(strangers); i++) {
        assert_int_equal(ask("GET", "/api/v1/things", sh_arena_printf(&arena, "Origin: %s\r\n", strangers[i]), NULL), 200);
        assert_string_equal(field("Access-Control-Allow-Origin"), "");
        assert_string_equal(field("Vary"), "Origin");
    }
}

/* Each request has one line "request" in the log, whatever became of it. */
static void logs_every_request(void **state) {
    (void)state;
    char text_of_log[65536];
    assert_int_equal(ask("GET", "/api/v1/things", "X-Request-Id: r-ok\r\n", NULL), 200);
    assert_int_equal(ask("GET", "/nothing", "X-Request-Id: r-404\r\n", NULL), 404);
    assert_int_equal(ask_as(NULL, "GET", "/api/v1/things", "X-Request-Id: r-401\r\n", NULL), 401);
    assert_int_equal(ask("POST", "/api/v1/things", TYPE "X-Request-Id: r-400\r\n", "{"), 400);
    assert_int_equal(ask("GET", "/api/v1/things", "X-Request-Id: r-bad\r\nBroken\r\n", NULL), 400);
    sh_log_flush(&w.log);
    FILE *f = fopen(w.log_path, "r");
    assert_non_null(f);
    size_t n = fread(text_of_log, 1, sizeof text_of_log - 1, f), lines = 0;
    fclose(f);
    text_of_log[n] = 0;
    for (char *p = text_of_log; (p = strstr(p, "\"msg\":\"request\"")); p++) lines++;
    assert_int_equal(lines, 5);
    assert_non_null(strstr(text_of_log, "\"request_id\":\"r-ok\""));
    assert_non_null(strstr(text_of_log, "\"request_id\":\"r-404\""));
    assert_non_null(strstr(text_of_log, "\"route\":\"/api/v1/things\",\"status\":401"));
    assert_non_null(strstr(text_of_log, "\"service\":\"things\",\"user\":\"" ID "\""));
    assert_non_null(strstr(text_of_log, "\"rules\":\"first\""));
    const sh_route_metrics_t *named = w.routes[LIST].metrics;
    assert_true(sh_series_value(named->status[2]) == 1 && sh_series_value(named->status[4]) == 1);
    assert_true(sh_series_value(named->duration) == 2);
}

static bool first_is_gone;
static void see_gone(void *data) {
    (void)data;
    first_is_gone = true;
}

/* A request in flight keeps its generation while the next one answers others; the last answer closes the old one, but only from the loop:
 * it may be sent from inside a task of that very generation. */
static void requests_end_on_the_rules_they_began_with(void **state) {
    (void)state;
    static sh_route_t routes[SH_ARRAY_LEN(routes_proto)];
    static const char request[] = "GET /api/v1/slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    sh_generation_t *first = w.generation;
    first_is_gone = false;
    first->on_destroyed = see_gone;
    w.rule = NULL;
    int fd = dial(w.fd);
    assert_int_equal(send(fd, request, sizeof request - 1, 0), sizeof request - 1);
    for (int i = 0; i < TURNS_MAX && !w.held; i++) turn();
    assert_non_null(w.held);
    sh_generation_t *second = make_generation("second", routes);
    sh_edge_swap(w.edge, second);
    w.generation = second;
    sh_generation_release(first);
    assert_false(first_is_gone);
    w.rule = echo;
    assert_int_equal(ask("GET", "/api/v1/things", NULL, NULL), 200);
    assert_false(first_is_gone);

    sh_reply_t reply = {.status = 200, .content_type = "application/json"};
    sh_buf_put_lit(&reply.body, "{}");
    assert_string_equal(sh_vm_service(w.held->vm), "things");
    w.held_fn(w.held_data, w.held, &reply);
    assert_false(first_is_gone);
    talk(fd, "", 0);
    assert_non_null(strstr(answer, "200 OK"));
    for (int i = 0; i < 10 && !first_is_gone; i++) turn();
    assert_true(first_is_gone);
}

static void survives_a_client_that_leaves(void **state) {
    (void)state;
    static const char request[] = "GET /api/v1/slow HTTP/1.1\r\nHost: x\r\n\r\n";
    w.rule = NULL;
    int fd = dial(w.fd);
    assert_int_equal(send(fd, request, sizeof request - 1, 0), sizeof request - 1);
    for (int i = 0; i < TURNS_MAX && !w.held; i++) turn();
    assert_non_null(w.held);
    struct linger now = {1, 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(fd);
    for (int i = 0; i < 100; i++) turn();
    sh_reply_t reply = {.status = 200, .content_type = "application/json"};
    sh_buf_put_lit(&reply.body, "{}");
    w.held_fn(w.held_data, w.held, &reply); /* too late: the body is freed, nothing crashes */
    for (int i = 0; i < 100; i++) turn();
    w.rule = echo;
    assert_int_equal(ask("GET", "/api/v1/things", NULL, NULL), 200);
}

static int begin(void **state) {
    (void)state;
    sh_arena_init(&arena);
    return 0;
}
static int finish(void **state) {
    (void)state;
    sh_arena_dispose(&arena);
    return 0;
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(answers_its_own_endpoints),
        TEST(serves_operators_on_their_own_port),
        TEST(refuses_what_it_does_not_know),
        TEST(refuses_what_is_too_large),
        TEST(checks_who_asks),
        TEST(refuses_bad_bodies),
        TEST(refuses_bad_paths_and_queries),
        TEST(hands_over_canonical_input),
        TEST(answers_with_what_the_rule_says),
        TEST(keeps_sane_request_ids),
        TEST(tells_browsers_which_origins_may),
        TEST(logs_every_request),
        TEST(requests_end_on_the_rules_they_began_with),
        TEST(survives_a_client_that_leaves),
    };
    return cmocka_run_group_tests(tests, begin, finish);
}
