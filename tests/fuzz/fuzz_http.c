/* Fuzzes the HTTP request parser: any bytes, cut at any place, must give the same verdict as in one piece, never touch memory that is
 * not theirs, and never let through a path that a strict server refuses. The first byte of the input is the size of the pieces. */
#include "base/base.h"
#include "net/http_request.h"

#include <stdlib.h>

enum { REQUESTS_MAX = 8 };

static const sh_http_opts_t opts = {
    .header_bytes_max = 2048,
    .header_count_max = 16,
    .target_bytes_max = 256,
    .body_bytes_max = 1024,
};

typedef struct {
    int statuses[REQUESTS_MAX], count;
    uint64_t hash;
} verdict_t;

static void check(const sh_http_request_t *r, verdict_t *v) {
    static const char *const forbidden[] = {"/./", "/../"};
    SH_ASSERT(r->path.len > 0 && (r->path.ptr[0] == '/' || sh_str_eq_c(r->path, "*")));
    SH_ASSERT(!memchr(r->path.ptr, 0, r->path.len));
    for (size_t i = 0; i < SH_ARRAY_LEN(forbidden); i++) SH_ASSERT(!memmem(r->path.ptr, r->path.len, forbidden[i], strlen(forbidden[i])));
    SH_ASSERT(r->body.len <= opts.body_bytes_max);
    SH_ASSERT(r->header_count <= opts.header_count_max);
    v->hash = v->hash * 31 + sh_str_hash(r->path) + sh_str_hash(r->query) + sh_str_hash(r->body);
    for (uint32_t i = 0; i < r->header_count; i++) {
        SH_ASSERT(r->headers[i].name.len > 0);
        v->hash = v->hash * 31 + sh_str_hash(r->headers[i].name) + sh_str_hash(r->headers[i].value);
    }
}

/* Feeds one request; returns the bytes used. */
static size_t feed(const char *bytes, size_t len, size_t step, verdict_t *v, bool *is_over) {
    sh_http_request_t request = {.method = SH_HTTP_METHOD_OTHER};
    sh_http_parser_t parser;
    sh_arena_init(&request.arena);
    sh_http_parser_init(&parser, &request, &opts);
    size_t at = 0;
    int status = 0;
    while (!status && at < len) {
        size_t give = len - at < step ? len - at : step, used = 0;
        char *copy = sh_alloc(give);
        memcpy(copy, bytes + at, give);
        for (;;) {
            size_t n;
            sh_http_event_t event = sh_http_parser_feed(&parser, copy + used, give - used, &n);
            used += n;
            SH_ASSERT(used <= give);
            if (event == SH_HTTP_EVENT_HEAD) continue;
            SH_ASSERT(event != SH_HTTP_EVENT_MORE || used == give);
            if (event == SH_HTTP_EVENT_DONE) status = 200;
            if (event == SH_HTTP_EVENT_BAD) status = parser.bad_status;
            break;
        }
        free(copy);
        at += used;
    }
    if (status == 200) check(&request, v);
    v->statuses[v->count++] = status;
    *is_over = status != 200 || !request.keep_alive;
    sh_http_parser_dispose(&parser);
    sh_arena_dispose(&request.arena);
    return at;
}

static verdict_t run(const char *bytes, size_t len, size_t step) {
    verdict_t v = {0};
    bool is_over = false;
    for (size_t at = 0; at < len && v.count < REQUESTS_MAX && !is_over;) at += feed(bytes + at, len - at, step, &v, &is_over);
    return v;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2) return 0;
    verdict_t whole = run((const char *)data + 1, size - 1, SIZE_MAX), pieces = run((const char *)data + 1, size - 1, (size_t)data[0] + 1);
    SH_ASSERT(whole.count == pieces.count && whole.hash == pieces.hash);
    for (int i = 0; i < whole.count; i++) SH_ASSERT(whole.statuses[i] == pieces.statuses[i]);
    return 0;
}
