/* Proves that the HTTP server refuses what RFC 9110 and 9112 forbid, keeps answers in order, bounds time and memory, and ends cleanly.
 * How: the parser is fed each raw request of http_cases.h whole and byte by byte; then a real server runs on a loop in a thread, and raw
 * sockets send the same requests, pipelines, slow and broken ones. */
#include "http_cases.h"

#include "base/err.h"
#include "net/http_conn.h"
#include "net/http_text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- a server that echoes ---- */

enum { HELD_MAX = 64 };

typedef struct {
    uv_loop_t loop;
    uv_async_t command;
    int wanted; /* 'd' drain, 'x' close, 'a' answer what is held */
    sh_http_server_t *server;
    sh_log_t log;
    int fd, port;
    pthread_t thread;
    pthread_mutex_t lock; /* for what the test's thread reads */
    sh_http_request_t *held[HELD_MAX];
    int held_count;
    int gone, done, done_unsent, drained, closed, seen;
    uint32_t connections;
} fixture_t;

static void answer_text(sh_http_request_t *r, const char *text, size_t len) {
    sh_http_response_t response = {.status = 200, .content_type = "text/plain"};
    sh_buf_put(&response.body, text, len);
    sh_http_respond(r, &response);
}

static void answer_echo(sh_http_request_t *r) {
    sh_buf_t text = {0};
    sh_buf_put_str(&text, r->method_name);
    sh_buf_put_byte(&text, ' ');
    sh_buf_put_str(&text, r->path);
    sh_buf_put_byte(&text, '|');
    sh_buf_put_str(&text, r->query);
    sh_buf_put_byte(&text, '|');
    sh_buf_put_str(&text, r->body);
    answer_text(r, text.ptr, text.len);
    sh_buf_dispose(&text);
}

static void on_gone(sh_http_request_t *r) {
    fixture_t *f = r->user;
    assert_true(r->client_gone);
    pthread_mutex_lock(&f->lock);
    f->gone++;
    pthread_mutex_unlock(&f->lock);
}

static void answer_held(fixture_t *f) {
    while (f->held_count) answer_echo(f->held[--f->held_count]); /* the newest first: the server must put them in order */
}

static int on_head(void *data, sh_http_request_t *r, uint64_t *body_bytes_max) {
    (void)data;
    if (sh_str_eq_c(r->path, "/missing")) return 404;
    if (sh_str_eq_c(r->path, "/typed")) return 415;
    if (sh_str_eq_c(r->path, "/small")) *body_bytes_max = 10;
    if (sh_str_eq_c(r->path, "/huge")) *body_bytes_max = 8 << 20;
    return 0;
}

static void on_request(void *data, sh_http_request_t *r) {
    fixture_t *f = data;
    pthread_mutex_lock(&f->lock);
    f->seen++;
    pthread_mutex_unlock(&f->lock);
    if (sh_str_has_prefix(r->path, SH_STR("/hold"))) {
        r->user = f;
        r->on_gone = on_gone;
        assert_true(f->held_count < HELD_MAX);
        f->held[f->held_count++] = r;
        if (sh_str_eq_c(r->query, "last")) answer_held(f);
        return;
    }
    sh_str_t probe = sh_str_eq_c(r->path, "/field") ? sh_http_header(r, "x-probe") : r->forwarded_for;
    if (sh_str_eq_c(r->path, "/field") || sh_str_eq_c(r->path, "/forwarded")) {
        sh_buf_t text = {0};
        sh_buf_printf(&text, "[%.*s]", (int)probe.len, probe.ptr);
        answer_text(r, text.ptr, text.len);
        sh_buf_dispose(&text);
    } else if (sh_str_eq_c(r->path, "/peer")) {
        sh_str_t peer = sh_http_peer(r);
        answer_text(r, peer.ptr, peer.len);
    } else if (sh_str_eq_c(r->path, "/huge")) {
        sh_buf_t text = {0};
        sh_buf_printf(&text, "%zu bytes", r->body.len);
        answer_text(r, text.ptr, text.len);
        sh_buf_dispose(&text);
    } else if (sh_str_eq_c(r->path, "/large")) {
        sh_http_response_t response = {.status = 200};
        memset(sh_buf_reserve(&response.body, 20 << 20), 'z', 20 << 20);
        response.body.len = 20 << 20;
        sh_http_respond(r, &response);
    } else if (sh_str_eq_c(r->path, "/headers")) {
        sh_http_header_t headers[] = {{SH_STR("X-Evil"), SH_STR("a\r\nX-Injected: 1")}};
        sh_http_response_t response = {.status = 204, .headers = headers, .header_count = 1};
        sh_http_respond(r, &response);
    } else if (sh_str_eq_c(r->path, "/bye")) {
        sh_http_response_t response = {.status = 200, .close = true};
        sh_http_respond(r, &response);
    } else {
        answer_echo(r);
    }
}

static void on_bad(void *data, sh_http_request_t *r, int status, const char *reason, sh_http_response_t *response) {
    (void)data, (void)r;
    response->status = status;
    response->content_type = "text/plain";
    sh_buf_put_c(&response->body, reason);
}

static void on_done(void *data, sh_http_request_t *r, int status, uint64_t bytes) {
    fixture_t *f = data;
    (void)r, (void)status;
    pthread_mutex_lock(&f->lock);
    f->done++;
    if (!bytes) f->done_unsent++;
    pthread_mutex_unlock(&f->lock);
}

static const sh_http_handlers_t handlers = {on_head, on_request, on_bad, on_done};

static const sh_http_opts_t usual = {
    .connections_max = 2000,
    .header_bytes_max = 4096,
    .header_count_max = 20,
    .target_bytes_max = 200,
    .body_bytes_max = 1000,
    .pipeline_max = 8,
    .head_timeout_ms = 5000,
    .body_timeout_ms = 5000,
    .idle_timeout_ms = 20000,
    .write_timeout_ms = 5000,
    .keep_alive_requests_max = 100000,
};

static void drained(void *data) {
    fixture_t *f = data;
    pthread_mutex_lock(&f->lock);
    f->drained++;
    pthread_mutex_unlock(&f->lock);
}

static void closed(void *data) {
    fixture_t *f = data;
    f->closed++;
    uv_close((uv_handle_t *)&f->command, NULL);
}

static void on_command(uv_async_t *async) {
    fixture_t *f = async->data;
    pthread_mutex_lock(&f->lock);
    int wanted = f->wanted;
    f->wanted = 0;
    pthread_mutex_unlock(&f->lock);
    if (wanted == 'd') sh_http_server_drain(f->server, drained, f);
    if (wanted == 'a') answer_held(f);
    if (wanted == 'x') {
        sh_http_server_close(f->server, closed, f);
        answer_held(f); /* what a closed server still waits for */
    }
}

static void *run_loop(void *data) {
    fixture_t *f = data;
    uv_run(&f->loop, UV_RUN_DEFAULT);
    return NULL;
}

static void command(fixture_t *f, int what) {
    pthread_mutex_lock(&f->lock);
    f->wanted = what;
    pthread_mutex_unlock(&f->lock);
    uv_async_send(&f->command);
}

static fixture_t *fixture_open(const sh_http_opts_t *opts) {
    fixture_t *f = sh_calloc(1, sizeof *f);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    f->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(f->fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(f->fd, 512), 0);
    getsockname(f->fd, (struct sockaddr *)&address, &len);
    f->port = ntohs(address.sin_port);
    assert_int_equal(sh_log_open(&f->log, NULL, SH_LOG_OFF, "test"), 0);
    pthread_mutex_init(&f->lock, NULL);
    uv_loop_init(&f->loop);
    uv_async_init(&f->loop, &f->command, on_command);
    f->command.data = f;
    assert_int_equal(sh_http_server_create(&f->loop, f->fd, opts, &handlers, f, &f->log, &f->server), 0);
    pthread_create(&f->thread, NULL, run_loop, f);
    return f;
}

static void fixture_close(fixture_t *f) {
    command(f, 'x');
    pthread_join(f->thread, NULL);
    assert_int_equal(f->closed, 1);
    assert_int_equal(uv_loop_close(&f->loop), 0); /* no handle was forgotten */
    close(f->fd);
    sh_log_close(&f->log);
    free(f);
}

static int count_of(fixture_t *f, const int *field) {
    pthread_mutex_lock(&f->lock);
    int n = *field;
    pthread_mutex_unlock(&f->lock);
    return n;
}

/* Waits up to 3 s for a counter. */
static void wait_for(fixture_t *f, const int *field, int wanted) {
    for (int i = 0; i < 600 && count_of(f, field) < wanted; i++) usleep(5000);
    assert_int_equal(count_of(f, field), wanted);
}

/* ---- a client over a raw socket ---- */

typedef struct {
    int fd;
    char bytes[65536];
    size_t len;
} client_t;

static client_t client_open(fixture_t *f) {
    client_t c = {.fd = socket(AF_INET, SOCK_STREAM, 0)};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)f->port)};
    assert_int_equal(connect(c.fd, (struct sockaddr *)&address, sizeof address), 0);
    return c;
}

static void client_send(client_t *c, const char *bytes, size_t len) {
    while (len) {
        ssize_t n = send(c->fd, bytes, len, MSG_NOSIGNAL);
        if (n <= 0) return; /* refused meanwhile: the answer tells */
        bytes += n;
        len -= (size_t)n;
    }
}
#define client_say(c, literal) client_send((c), (literal), sizeof(literal) - 1)

/* Reads more; 0 at the end, -1 on a reset or after `wait_ms`. */
static int client_more(client_t *c, int wait_ms) {
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    if (c->len == sizeof c->bytes || poll(&p, 1, wait_ms) != 1) return -1;
    ssize_t n = recv(c->fd, c->bytes + c->len, sizeof c->bytes - c->len, 0);
    if (n > 0) c->len += (size_t)n;
    return n > 0 ? 1 : n == 0 ? 0 : -1;
}

typedef struct {
    int status;
    char head[2048], body[8192];
} answer_t;

/* Takes one answer; status 0 at the connection's end, -1 on a reset or when nothing comes. */
static answer_t client_answer_of(client_t *c, bool is_head, int wait_ms) {
    answer_t a = {0};
    for (;;) {
        char *end = c->len ? memmem(c->bytes, c->len, "\r\n\r\n", 4) : NULL;
        if (end) {
            size_t head = (size_t)(end - c->bytes) + 4, body = 0;
            assert_true(head < sizeof a.head);
            memcpy(a.head, c->bytes, head);
            char *length = strstr(a.head, "Content-Length: ");
            if (length && !is_head) body = strtoul(length + 16, NULL, 10);
            assert_true(body < sizeof a.body);
            if (c->len >= head + body) {
                memcpy(a.body, c->bytes + head, body);
                assert_int_equal(strncmp(a.head, "HTTP/1.1 ", 9), 0);
                a.status = atoi(a.head + 9);
                memmove(c->bytes, c->bytes + head + body, c->len - head - body);
                c->len -= head + body;
                return a;
            }
        }
        int rc = client_more(c, wait_ms);
        if (rc <= 0) return a.status = rc, a;
    }
}
static answer_t client_answer(client_t *c) { return client_answer_of(c, false, 3000); }

static void client_expect(client_t *c, int status) { assert_int_equal(client_answer(c).status, status); }

/* ---- the table ---- */

static void run_case(fixture_t *f, const http_case_t *t, bool by_byte) {
    client_t c = client_open(f);
    bool is_head = strncmp(t->raw, "HEAD", 4) == 0;
    if (by_byte) {
        for (size_t i = 0; i < t->raw_len; i++) client_send(&c, t->raw + i, 1);
    } else {
        client_send(&c, t->raw, t->raw_len);
    }
    char got[256] = "";
    answer_t last = {0};
    size_t wanted = 1;
    for (const char *p = t->statuses; *p; p++) wanted += *p == ',';
    for (size_t i = 0; i < wanted; i++) {
        last = client_answer_of(&c, is_head, 3000);
        snprintf(got + strlen(got), sizeof got - strlen(got), "%s%d", i ? "," : "", last.status);
        if (last.status <= 0) break;
    }
    if (strcmp(got, t->statuses) != 0) fail_msg("%s: got %s, wanted %s (%s)", t->name, got, t->statuses, last.body);
    if (t->text && strcmp(last.body, t->text) != 0) fail_msg("%s: body '%s', wanted '%s'", t->name, last.body, t->text);
    if ((strstr(last.head, "Connection: close") == NULL) != t->keeps) fail_msg("%s: wrong Connection in %s", t->name, last.head);
    if (t->keeps) {
        client_say(&c, GET("/alive"));
        if (client_answer(&c).status != 200) fail_msg("%s: the connection did not go on", t->name);
    } else if (client_answer(&c).status != 0) {
        fail_msg("%s: the connection did not end cleanly", t->name);
    }
    close(c.fd);
}

static void test_table(void **state) {
    (void)state;
    fixture_t *f = fixture_open(&usual);
    assert_true(SH_ARRAY_LEN(http_cases) >= 120);
    for (size_t i = 0; i < SH_ARRAY_LEN(http_cases); i++) run_case(f, &http_cases[i], false);
    for (size_t i = 0; i < SH_ARRAY_LEN(http_cases); i++)
        if (http_cases[i].raw_len < 1500) run_case(f, &http_cases[i], true);
    fixture_close(f);
}

/* The first verdict of the parser over bytes that come in steps: 200 when whole, else the refusal; 0 when it waits. */
static int verdict(const http_case_t *t, size_t step) {
    sh_http_request_t request = {.method = SH_HTTP_METHOD_OTHER};
    sh_http_parser_t parser;
    sh_arena_init(&request.arena);
    sh_http_parser_init(&parser, &request, &usual);
    size_t at = 0;
    int status = 0;
    while (!status && at < t->raw_len) {
        size_t give = t->raw_len - at < step ? t->raw_len - at : step, used = 0;
        char *copy = sh_alloc(give); /* so that the sanitizer sees who looks at bytes that are gone */
        memcpy(copy, t->raw + at, give);
        for (;;) {
            size_t n;
            sh_http_event_t event = sh_http_parser_feed(&parser, copy + used, give - used, &n);
            used += n;
            assert_true(used <= give);
            if (event == SH_HTTP_EVENT_HEAD) continue;
            if (event == SH_HTTP_EVENT_DONE) status = 200;
            if (event == SH_HTTP_EVENT_BAD) status = parser.bad_status;
            break;
        }
        free(copy);
        at += used;
    }
    if (status == 200) { /* what was kept still reads, though the bytes it came from are gone */
        uint64_t hash = sh_str_hash(request.path) ^ sh_str_hash(request.body);
        for (uint32_t i = 0; i < request.header_count; i++) hash ^= sh_str_hash(request.headers[i].name) ^ sh_str_hash(request.headers[i].value);
        assert_true(hash != 1);
    }
    sh_http_parser_dispose(&parser);
    sh_arena_dispose(&request.arena);
    return status;
}

static void test_parser_in_pieces(void **state) {
    (void)state;
    for (size_t i = 0; i < SH_ARRAY_LEN(http_cases); i++) {
        const http_case_t *t = &http_cases[i];
        int whole = verdict(t, SIZE_MAX);
        for (size_t step = 1; step <= 17; step += step < 4 ? 1 : 13) {
            int pieces = verdict(t, step);
            if (pieces != whole) fail_msg("%s: whole %d, by %zu bytes %d", t->name, whole, step, pieces);
        }
    }
}

/* ---- order, pipelining, life ---- */

static void test_answers_in_order(void **state) {
    (void)state;
    fixture_t *f = fixture_open(&usual);
    client_t c = client_open(f);
    client_say(&c, GET("/hold?1") GET("/hold?2") GET("/e") GET("/hold?3") GET("/hold?last") GET("/after"));
    const char *wanted[] = {"GET /hold|1|", "GET /hold|2|", "GET /e||", "GET /hold|3|", "GET /hold|last|", "GET /after||"};
    for (size_t i = 0; i < SH_ARRAY_LEN(wanted); i++) assert_string_equal(client_answer(&c).body, wanted[i]);
    close(c.fd);
    fixture_close(f);
}

static void test_pipeline_is_bounded(void **state) {
    (void)state;
    fixture_t *f = fixture_open(&usual);
    client_t c = client_open(f);
    for (int i = 0; i < 30; i++) client_say(&c, GET("/hold"));
    wait_for(f, &f->seen, 8);
    usleep(50000);
    assert_int_equal(count_of(f, &f->seen), 8); /* no more were taken */
    for (int answered = 0; answered < 30;) {
        command(f, 'a');
        while (answered < 30 && client_answer_of(&c, false, 30).status == 200) answered++;
    }
    assert_int_equal(count_of(f, &f->seen), 30);
    close(c.fd);
    fixture_close(f);
}

static void test_head_and_injection(void **state) {
    (void)state;
    fixture_t *f = fixture_open(&usual);
    client_t c = client_open(f);
    client_say(&c, "HEAD /e HTTP/1.1\r\n" H "\r\n");
    answer_t a = client_answer_of(&c, true, 3000);
    assert_non_null(strstr(a.head, "Content-Length: 9\r\n"));
    assert_non_null(strstr(a.head, "\r\nDate: "));
    assert_int_equal(c.len, 0);
    client_say(&c, GET("/headers"));
    a = client_answer(&c);
    assert_int_equal(a.status, 204);
    assert_null(strstr(a.head, "Content-Length"));
    assert_null(strstr(a.head, "\r\nX-Injected"));
    client_say(&c, GET("/peer"));
    assert_string_equal(client_answer(&c).body, "127.0.0.1");
    client_say(&c, "GET /e HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_non_null(strstr(client_answer(&c).head, "Connection: keep-alive"));
    client_say(&c, GET("/bye") GET("/never"));
    assert_non_null(strstr(client_answer(&c).head, "Connection: close"));
    assert_int_equal(client_answer(&c).status, 0);
    close(c.fd);
    fixture_close(f);
}

static void test_continue(void **state) {
    (void)state;
    fixture_t *f = fixture_open(&usual);
    client_t c = client_open(f);
    client_say(&c, "POST /e HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    client_expect(&c, 100);
    client_say(&c, "ok");
    assert_string_equal(client_answer(&c).body, "POST /e||ok");
    /* behind an answer that is not out yet the 100 waits its turn */
    client_say(&c, GET("/hold") "POST /e HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    wait_for(f, &f->seen, 2);
    assert_int_equal(client_answer_of(&c, false, 50).status, -1);
    command(f, 'a');
    client_expect(&c, 200);
    client_expect(&c, 100);
    client_say(&c, "ok");
    client_expect(&c, 200);
    /* refused by length: no 100 */
    client_say(&c, "POST /e HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 2000\r\n\r\n");
    client_expect(&c, 413);
    close(c.fd);
    fixture_close(f);
}

static void test_keep_alive_limit(void **state) {
    (void)state;
    sh_http_opts_t opts = usual;
    opts.keep_alive_requests_max = 3;
    fixture_t *f = fixture_open(&opts);
    client_t c = client_open(f);
    client_say(&c, GET("/1") GET("/2") GET("/3") GET("/4"));
    client_expect(&c, 200);
    client_expect(&c, 200);
    assert_non_null(strstr(client_answer(&c).head, "Connection: close"));
    assert_int_equal(client_answer(&c).status, 0);
    close(c.fd);
    fixture_close(f);
}

/* ---- bodies ---- */

/* A client that sends all of a refused body before it reads must still see the answer, not a reset. */
static void test_huge_bodies(void **state) {
    (void)state;
    fixture_t *f = fixture_open(&usual);
    enum { HUGE_LEN = 4 << 20 };
    char *body = sh_calloc(1, HUGE_LEN), head[200];
    client_t c = client_open(f);
    snprintf(head, sizeof head, "POST /e HTTP/1.1\r\n" H "Content-Length: %d\r\n\r\n", HUGE_LEN);
    client_send(&c, head, strlen(head));
    client_send(&c, body, HUGE_LEN);
    client_expect(&c, 413);
    assert_int_equal(client_answer(&c).status, 0);
    close(c.fd);

    c = client_open(f);
    client_say(&c, POST_CHUNKED);
    for (int i = 0; i < 64; i++) {
        client_say(&c, "10000\r\n");
        client_send(&c, body, 65536);
        client_say(&c, "\r\n");
    }
    client_expect(&c, 413);
    close(c.fd);

    c = client_open(f);
    snprintf(head, sizeof head, "POST /huge HTTP/1.1\r\n" H "Content-Length: %d\r\n\r\n", HUGE_LEN);
    client_send(&c, head, strlen(head));
    client_send(&c, body, HUGE_LEN);
    assert_string_equal(client_answer(&c).body, "4194304 bytes");
    close(c.fd);
    free(body);
    fixture_close(f);
}

static void test_large_answer_to_slow_reader(void **state) {
    (void)state;
    fixture_t *f = fixture_open(&usual);
    client_t c = client_open(f);
    client_say(&c, GET("/large") GET("/after"));
    char *sink = sh_alloc(65536);
    size_t total = 0;
    bool found = false;
    while (!found) {
        ssize_t n = recv(c.fd, sink, 65536, 0);
        assert_true(n > 0);
        total += (size_t)n;
        found = memmem(sink, (size_t)n, "GET /after", 10) != NULL;
        if (total < 200000) usleep(20000);
    }
    assert_true(total > 20 << 20);
    free(sink);
    close(c.fd);
    fixture_close(f);
}

/* ---- time ---- */

static void test_timeouts(void **state) {
    (void)state;
    sh_http_opts_t opts = usual;
    opts.head_timeout_ms = opts.body_timeout_ms = 100;
    opts.idle_timeout_ms = opts.write_timeout_ms = 150;
    fixture_t *f = fixture_open(&opts);
    client_t idle = client_open(f), head = client_open(f), body = client_open(f), drip = client_open(f), reader = client_open(f);
    client_say(&head, "GET /e HTTP/1.1\r\nHos");
    client_say(&body, "POST /e HTTP/1.1\r\n" H "Content-Length: 10\r\n\r\nabc");
    client_say(&reader, GET("/large"));
    client_say(&drip, "GET /e HTTP/1.1\r\nA: ");
    for (int i = 0; i < 12; i++) { /* a byte now and then does not move the deadline */
        usleep(20000);
        client_say(&drip, "x");
    }
    client_expect(&head, 408);
    client_expect(&body, 408);
    client_expect(&drip, 408);
    assert_int_equal(client_answer(&idle).status, 0);
    usleep(300000);
    char *sink = sh_alloc(1 << 20); /* the reader that did not read is cut off before its answer is whole */
    size_t total = 0;
    for (ssize_t n; (n = recv(reader.fd, sink, 1 << 20, 0)) > 0;) total += (size_t)n;
    assert_true(total < 20 << 20);
    free(sink);
    /* a request that takes long is nobody's timeout here */
    client_t busy = client_open(f);
    client_say(&busy, GET("/hold"));
    usleep(400000);
    command(f, 'a');
    client_expect(&busy, 200);
    close(idle.fd), close(head.fd), close(body.fd), close(drip.fd), close(reader.fd), close(busy.fd);
    fixture_close(f);
}

/* A busy pipelining client whose reads always end inside a head is not slow. */
static void test_time_starts_anew(void **state) {
    (void)state;
    sh_http_opts_t opts = usual;
    opts.head_timeout_ms = 120;
    fixture_t *f = fixture_open(&opts);
    client_t c = client_open(f);
    client_say(&c, "GET /e HTT");
    for (int i = 0; i < 10; i++) {
        usleep(40000);
        client_say(&c, "P/1.1\r\n" H "\r\n"
                       "GET /e HTT");
        client_expect(&c, 200);
    }
    close(c.fd);
    fixture_close(f);
}

/* ---- clients that vanish ---- */

static void test_client_gone(void **state) {
    (void)state;
    fixture_t *f = fixture_open(&usual);
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    client_t c = client_open(f);
    client_say(&c, GET("/hold") GET("/hold"));
    wait_for(f, &f->seen, 2);
    setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(c.fd);
    wait_for(f, &f->gone, 2);
    command(f, 'a'); /* harmless, and each is over exactly once */
    wait_for(f, &f->done, 2);
    assert_int_equal(count_of(f, &f->done_unsent), 2);
    /* a peer that shuts only its own side still reads its answer */
    c = client_open(f);
    client_say(&c, GET("/hold"));
    wait_for(f, &f->seen, 3);
    shutdown(c.fd, SHUT_WR);
    wait_for(f, &f->gone, 3);
    command(f, 'a');
    client_expect(&c, 200);
    assert_int_equal(client_answer(&c).status, 0);
    close(c.fd);
    /* gone in the middle of a body: the edge had seen the head, so it hears the end */
    c = client_open(f);
    client_say(&c, "POST /e HTTP/1.1\r\n" H "Content-Length: 10\r\n\r\nabc");
    usleep(30000);
    close(c.fd);
    wait_for(f, &f->done, 4);
    assert_int_equal(count_of(f, &f->gone), 3);
    fixture_close(f);
}

/* ---- many connections, draining, closing ---- */

static void test_thousand_idle(void **state) {
    (void)state;
    enum { MANY = 1000 };
    assert_true(sizeof(sh_http_conn_t) < 1024);
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    sh_http_opts_t opts = usual;
    opts.connections_max = MANY + 1;
    fixture_t *f = fixture_open(&opts);
    client_t *clients = sh_calloc(MANY, sizeof *clients);
    for (int i = 0; i < MANY; i++) {
        clients[i].fd = client_open(f).fd;
        client_say(&clients[i], GET("/e"));
        client_expect(&clients[i], 200);
    }
    client_t one = client_open(f);
    client_say(&one, GET("/e"));
    client_expect(&one, 200);
    client_t refused = client_open(f); /* above the limit: told so without asking */
    answer_t a = client_answer(&refused);
    assert_int_equal(a.status, 503);
    close(refused.fd);
    for (int i = 0; i < MANY; i += 97) {
        client_say(&clients[i], GET("/e"));
        client_expect(&clients[i], 200);
    }
    for (int i = 0; i < MANY; i++) close(clients[i].fd);
    close(one.fd);
    free(clients);
    fixture_close(f);
}

static void test_drain(void **state) {
    (void)state;
    fixture_t *f = fixture_open(&usual);
    client_t idle = client_open(f), busy = client_open(f), reading = client_open(f);
    client_say(&idle, GET("/e"));
    client_expect(&idle, 200);
    client_say(&busy, GET("/hold?1") GET("/hold?2"));
    client_say(&reading, "POST /e HTTP/1.1\r\n" H "Content-Length: 4\r\n\r\nab");
    wait_for(f, &f->seen, 3);
    usleep(30000);
    command(f, 'd');
    assert_int_equal(client_answer(&idle).status, 0);
    usleep(50000);
    assert_int_equal(count_of(f, &f->drained), 0);
    client_say(&reading, "cd");
    answer_t a = client_answer(&reading);
    assert_string_equal(a.body, "POST /e||abcd");
    assert_non_null(strstr(a.head, "Connection: close"));
    command(f, 'a');
    client_expect(&busy, 200); /* both answers of the pipeline come, the second one says close */
    a = client_answer(&busy);
    assert_string_equal(a.body, "GET /hold|2|");
    assert_non_null(strstr(a.head, "Connection: close"));
    close(idle.fd), close(busy.fd), close(reading.fd);
    wait_for(f, &f->drained, 1);
    assert_int_equal(count_of(f, &f->done), 4);
    fixture_close(f);
}

static void test_drain_of_nothing(void **state) {
    (void)state;
    fixture_t *f = fixture_open(&usual);
    command(f, 'd');
    wait_for(f, &f->drained, 1);
    fixture_close(f);
}

static void test_close_with_requests_in_flight(void **state) {
    (void)state;
    fixture_t *f = fixture_open(&usual);
    client_t c = client_open(f), d = client_open(f), e = client_open(f);
    client_say(&c, GET("/hold") GET("/e") GET("/hold"));
    client_say(&d, "POST /e HTTP/1.1\r\n" H "Content-Length: 4\r\n\r\nab");
    client_say(&e, GET("/large"));
    wait_for(f, &f->seen, 4);
    fixture_close(f); /* asserts that nothing leaks and all is over */
    close(c.fd), close(d.fd), close(e.fd);
}

/* ---- text ---- */

static void test_query_decode(void **state) {
    (void)state;
    sh_arena_t arena;
    sh_arena_init(&arena);
    sh_str_t out;
    assert_int_equal(sh_http_query_decode(&arena, SH_STR("caf%C3%A9+x%2B%2f"), &out), 0);
    assert_string_equal(out.ptr, "caf\xc3\xa9 x+/");
    assert_int_equal(sh_http_query_decode(&arena, SH_STR(""), &out), 0);
    assert_int_equal(out.len, 0);
    static const char *const bad[] = {"%", "%4", "%zz", "%00", "a%C3", "%C0%80", "%ff"};
    for (size_t i = 0; i < SH_ARRAY_LEN(bad); i++) assert_int_equal(sh_http_query_decode(&arena, sh_str_of(bad[i]), &out), SH_EINVAL);
    sh_arena_dispose(&arena);
    assert_string_equal(sh_http_reason(404), "Not Found");
    assert_string_equal(sh_http_reason(299), "");
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_query_decode),
        cmocka_unit_test(test_parser_in_pieces),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_answers_in_order),
        cmocka_unit_test(test_pipeline_is_bounded),
        cmocka_unit_test(test_head_and_injection),
        cmocka_unit_test(test_continue),
        cmocka_unit_test(test_keep_alive_limit),
        cmocka_unit_test(test_huge_bodies),
        cmocka_unit_test(test_large_answer_to_slow_reader),
        cmocka_unit_test(test_timeouts),
        cmocka_unit_test(test_time_starts_anew),
        cmocka_unit_test(test_client_gone),
        cmocka_unit_test(test_thousand_idle),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_drain_of_nothing),
        cmocka_unit_test(test_close_with_requests_in_flight),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
