/* An exchange's memory, and the bytes of its answer. */
#include "base/err.h"
#include "net/http_conn.h"

#include <stdlib.h>

enum { BODY_BESIDE_HEAD_MAX = 1024 }; /* up to this size one copy is cheaper than a second vector */

/* Under a sanitizer memory is never reused, so that it sees who uses a request too late. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
static const uint32_t spare_max = 0;
#else
static const uint32_t spare_max = SH_HTTP_SPARE_EXCHANGES_MAX;
#endif

sh_http_exchange_t *sh_http_exchange_create(sh_http_conn_t *conn) {
    sh_http_server_t *server = conn->server;
    sh_http_request_t *spare = sh_list_first(&server->spare, sh_http_request_t, link);
    sh_http_exchange_t *exchange;
    sh_arena_t arena;
    if (spare) {
        sh_list_unlink(&spare->link);
        server->spare_count--;
        exchange = SH_CONTAINER_OF(spare, sh_http_exchange_t, request);
        arena = spare->arena;
    } else {
        exchange = sh_alloc(sizeof *exchange);
        sh_arena_init(&arena);
    }
    memset(exchange, 0, sizeof *exchange);
    exchange->request.arena = arena;
    exchange->request.conn = conn;
    exchange->request.method = SH_HTTP_METHOD_OTHER;
    sh_list_init(&exchange->request.link);
    sh_http_parser_init(&exchange->parser, &exchange->request, &server->opts);
    return exchange;
}

void sh_http_exchange_destroy(sh_http_exchange_t *exchange) {
    sh_http_server_t *server = exchange->request.conn->server;
    sh_http_parser_dispose(&exchange->parser);
    sh_buf_dispose(&exchange->body);
    if (server->spare_count < spare_max) {
        sh_arena_reset(&exchange->request.arena);
        if (exchange->request.arena.total > SH_HTTP_SPARE_ARENA_BYTES_MAX) sh_arena_dispose(&exchange->request.arena);
        sh_list_link_front(&server->spare, &exchange->request.link);
        server->spare_count++;
        return;
    }
    sh_arena_dispose(&exchange->request.arena);
    free(exchange);
}

/* ---- the answer's head ---- */

typedef struct {
    char *at;
} writer_t;

static void put(writer_t *w, const char *bytes, size_t len) {
    memcpy(w->at, bytes, len);
    w->at += len;
}
#define put_lit(w, literal) put((w), (literal), sizeof(literal) - 1)

static void put_u64(writer_t *w, uint64_t n) {
    char digits[20];
    size_t at = sizeof digits;
    do digits[--at] = (char)('0' + n % 10);
    while (n /= 10);
    put(w, digits + at, sizeof digits - at);
}

/* A line end inside a field would let whoever chose it write header lines of their own: it becomes a space. */
static void put_field(writer_t *w, const char *text, size_t len) {
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        w->at[i] = (c < 0x20 && c != '\t') || c == 0x7f ? ' ' : (char)c;
    }
    w->at += len;
}

static bool has_body(int status) { return status >= 200 && status != 204 && status != 304; }

void sh_http_exchange_answer(sh_http_exchange_t *exchange, sh_http_response_t *response, bool closes) {
    static const size_t fixed = sizeof "HTTP/1.1 200 \r\nDate: \r\nContent-Type: \r\nContent-Length: 18446744073709551615\r\n"
                                       "Connection: keep-alive\r\n\r\n" +
                                SH_HTTP_DATE_LEN;
    const char *reason = sh_http_reason(response->status);
    size_t reason_len = strlen(reason), type_len = response->content_type ? strlen(response->content_type) : 0;
    bool carries = has_body(response->status), sends = carries && exchange->request.method != SH_HTTP_HEAD;
    bool beside = sends && response->body.len <= BODY_BESIDE_HEAD_MAX;
    size_t room = fixed + reason_len + type_len + (beside ? response->body.len : 0);
    for (uint32_t i = 0; i < response->header_count; i++) room += response->headers[i].name.len + response->headers[i].value.len + 4;

    char *start = sh_arena_alloc(&exchange->request.arena, room);
    writer_t w = {start};
    SH_ASSERT(response->status >= 200 && response->status <= 599);
    put_lit(&w, "HTTP/1.1 ");
    put_u64(&w, (uint64_t)response->status);
    put_lit(&w, " ");
    put(&w, reason, reason_len);
    put_lit(&w, "\r\nDate: ");
    put(&w, sh_http_server_date(exchange->request.conn->server), SH_HTTP_DATE_LEN);
    if (response->content_type && carries) {
        put_lit(&w, "\r\nContent-Type: ");
        put_field(&w, response->content_type, type_len);
    }
    if (carries) {
        put_lit(&w, "\r\nContent-Length: ");
        put_u64(&w, response->body.len);
    }
    put_lit(&w, "\r\n");
    for (uint32_t i = 0; i < response->header_count; i++) {
        put_field(&w, response->headers[i].name.ptr, response->headers[i].name.len);
        put_lit(&w, ": ");
        put_field(&w, response->headers[i].value.ptr, response->headers[i].value.len);
        put_lit(&w, "\r\n");
    }
    if (closes)
        put_lit(&w, "Connection: close\r\n");
    else if (!exchange->parser.is_1_1)
        put_lit(&w, "Connection: keep-alive\r\n");
    put_lit(&w, "\r\n");
    if (beside && response->body.len) put(&w, response->body.ptr, response->body.len);

    exchange->head = sh_str(start, (size_t)(w.at - start));
    exchange->status = response->status;
    exchange->closes = closes;
    if (sends && !beside) {
        exchange->body = response->body;
        exchange->body_len = response->body.len;
    } else {
        sh_buf_dispose(&response->body);
    }
    sh_buf_init(&response->body);
}
