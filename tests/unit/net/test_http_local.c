/* Proves that a request without a socket goes the way of one with: head, body, one answer, and that it can be answered later or given up.
 * How: bytes by hand, handlers that note what they see; memory is the sanitizer's to watch. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "net/http_local.h"

#include <stdio.h>
#include <string.h>

typedef struct seen {
    sh_http_request_t *held; /* on_request keeps it */
    bool holds;
    int head_status, done, done_status, gone;
    int answers, status;
    char path[64], query[64], body[64], header[64], answer[64];
    size_t answer_len;
} seen_t;

static const sh_http_opts_t opts = {.header_bytes_max = 4096, .header_count_max = 20, .target_bytes_max = 256, .body_bytes_max = 32};

static void copy(char *to, size_t size, sh_str_t from) { snprintf(to, size, "%.*s", (int)from.len, from.ptr ? from.ptr : ""); }

static void reply(sh_http_request_t *request, const char *text) {
    static const sh_http_header_t header = {SH_STR("X-Thing"), SH_STR("yes")};
    sh_http_response_t response = {.status = 200, .content_type = "text/plain", .headers = &header, .header_count = 1};
    sh_buf_put_c(&response.body, text);
    sh_http_respond(request, &response);
}

static int on_head(void *data, sh_http_request_t *request, uint64_t *body_bytes_max) {
    seen_t *s = data;
    (void)body_bytes_max;
    copy(s->path, sizeof s->path, request->path);
    copy(s->query, sizeof s->query, request->query);
    return s->head_status;
}
static void on_gone(sh_http_request_t *request) {
    seen_t *s = request->user;
    s->gone++;
}
static void on_request(void *data, sh_http_request_t *request) {
    seen_t *s = data;
    copy(s->body, sizeof s->body, request->body);
    copy(s->header, sizeof s->header, sh_http_header(request, "x-own"));
    assert_int_equal(sh_http_peer(request).len, 0);
    request->user = s;
    request->on_gone = on_gone;
    if (s->holds)
        s->held = request;
    else
        reply(request, "hello");
}
static void on_bad(void *data, sh_http_request_t *request, int status, const char *reason, sh_http_response_t *response) {
    (void)data;
    (void)request;
    assert_true(reason[0]);
    response->status = status;
    sh_buf_put_c(&response->body, "bad");
}
static void on_done(void *data, sh_http_request_t *request, int status, uint64_t bytes) {
    seen_t *s = data;
    (void)request;
    (void)bytes;
    s->done++;
    s->done_status = status;
}
static const sh_http_handlers_t handlers = {on_head, on_request, on_bad, on_done};

static void answered(void *data, const sh_http_response_t *response) {
    seen_t *s = data;
    s->answers++;
    s->status = response->status;
    s->answer_len = response->body.len;
    copy(s->answer, sizeof s->answer, sh_str(response->body.ptr, response->body.len));
}

static sh_http_local_t *start(seen_t *s, const char *bytes) { return sh_http_local_start(&opts, &handlers, s, sh_str_of(bytes), answered, s); }

static void a_request_is_answered_at_once(void **state) {
    (void)state;
    seen_t s = {0};
    assert_null(start(&s, "POST /a%20b?x=1 HTTP/1.1\r\nHost: h\r\nX-Own: mine\r\nContent-Length: 4\r\n\r\nbody"));
    assert_int_equal(s.answers, 1);
    assert_int_equal(s.status, 200);
    assert_string_equal(s.answer, "hello");
    assert_string_equal(s.path, "/a b");
    assert_string_equal(s.query, "x=1");
    assert_string_equal(s.body, "body");
    assert_string_equal(s.header, "mine");
    assert_int_equal(s.done, 1);
}

static void what_has_no_body_on_the_wire_has_none(void **state) {
    (void)state;
    seen_t s = {0};
    assert_null(start(&s, "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n"));
    assert_int_equal(s.status, 200);
    assert_int_equal(s.answer_len, 0);
}

static void refused_ones_are_answered_by_on_bad(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        int head_status, status;
    } cases[] = {
        {"GET /x HTTP/1.1\r\nHost: h\r\n\r\n", 404, 404},
        {"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab", 405, 405},
        {"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 33\r\n\r\n012345678901234567890123456789012", 0, 413},
        {"GET /x\r\n\r\n", 0, 400},
        {"GET /x HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\n\r\n", 0, 400},
        {"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nshort", 0, 400},
        {"", 0, 400},
    };
    for (size_t i = 0; i < SH_ARRAY_LEN(cases); i++) {
        seen_t s = {.head_status = cases[i].head_status};
        assert_null(start(&s, cases[i].bytes));
        if (s.status != cases[i].status) fail_msg("case %zu: %d", i, s.status);
        assert_int_equal(s.answers, 1);
        assert_int_equal(s.done, 1);
        assert_int_equal(s.done_status, s.status);
        assert_string_equal(s.answer, "bad");
    }
}

static void it_can_be_answered_later(void **state) {
    (void)state;
    seen_t s = {.holds = true};
    assert_non_null(start(&s, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"));
    assert_int_equal(s.answers, 0);
    reply(s.held, "late");
    assert_int_equal(s.answers, 1);
    assert_string_equal(s.answer, "late");
    assert_int_equal(s.done, 1);
}

static void an_abandoned_one_tells_nobody(void **state) {
    (void)state;
    seen_t s = {.holds = true};
    sh_http_local_t *local = start(&s, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    sh_http_local_abandon(local);
    assert_int_equal(s.gone, 1);
    reply(s.held, "for nobody");
    assert_int_equal(s.answers, 0);
    assert_int_equal(s.done, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_answered_at_once),       cmocka_unit_test(what_has_no_body_on_the_wire_has_none),
        cmocka_unit_test(refused_ones_are_answered_by_on_bad), cmocka_unit_test(it_can_be_answered_later),
        cmocka_unit_test(an_abandoned_one_tells_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
