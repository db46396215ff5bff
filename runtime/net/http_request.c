/* The scan over a head, llhttp's callbacks, and what a strict server asks of a request (RFC 9112). */
#include "net/http_request.h"

#include "base/err.h"
#include "net/http_text.h"

#if !LLHTTP_STRICT_MODE
#error "build with -DLLHTTP_STRICT_MODE=1: Debian's default accepts 'Host : x' and chunks without CRLF"
#endif

enum {
    REQUEST_LINE_EXTRA = 48,    /* method, version and spaces around the target */
    BODY_FIRST_RESERVE = 16384, /* a claimed Content-Length is believed this far before bytes come */
    FRAMING_PER_BYTE = 8,       /* of a chunked body: chunks of one byte need 5 */
};

static sh_http_event_t bad(sh_http_parser_t *p, int status, const char *reason) {
    p->stage = SH_HTTP_STAGE_END;
    p->bad_status = status;
    p->bad_reason = reason;
    return SH_HTTP_EVENT_BAD;
}

/* ---- the request line ---- */

static const struct {
    sh_str_t name;
    sh_http_method_t method;
} methods[] = {
    {SH_STR("GET"), SH_HTTP_GET},
    {SH_STR("POST"), SH_HTTP_POST},
    {SH_STR("HEAD"), SH_HTTP_HEAD},
    {SH_STR("PUT"), SH_HTTP_PUT},
    {SH_STR("PATCH"), SH_HTTP_PATCH},
    {SH_STR("DELETE"), SH_HTTP_DELETE},
    {SH_STR("OPTIONS"), SH_HTTP_OPTIONS},
    /* known, so that the router can say 405; all else is 501, among it CONNECT and the RTSP methods that llhttp takes */
    {SH_STR("TRACE"), SH_HTTP_METHOD_OTHER},
    {SH_STR("PROPFIND"), SH_HTTP_METHOD_OTHER},
    {SH_STR("SEARCH"), SH_HTTP_METHOD_OTHER},
};

static bool method_of(sh_str_t name, sh_http_method_t *out) {
    for (size_t i = 0; i < SH_ARRAY_LEN(methods); i++) {
        if (!sh_str_eq(name, methods[i].name)) continue;
        *out = methods[i].method;
        return true;
    }
    return false;
}

static bool is_absolute(sh_str_t target, size_t *authority_at) {
    size_t http = sizeof "http://" - 1, https = sizeof "https://" - 1;
    if (target.len > http && sh_str_eq_nocase(sh_str(target.ptr, http), SH_STR("http://"))) return *authority_at = http, true;
    if (target.len > https && sh_str_eq_nocase(sh_str(target.ptr, https), SH_STR("https://"))) return *authority_at = https, true;
    return false;
}

/* Returns false after bad(). */
static bool check_target(sh_http_parser_t *p, sh_str_t target) {
    if (target.len > p->opts->target_bytes_max) return bad(p, 414, "the request target is too long"), false;
    for (size_t i = 0; i < target.len; i++) {
        unsigned char c = (unsigned char)target.ptr[i];
        if (c <= 0x20 || c >= 0x7f || c == '#') return bad(p, 400, "forbidden character in the request target"), false;
    }
    size_t at;
    if (target.ptr[0] == '/' || is_absolute(target, &at)) return true;
    if (sh_str_eq(target, SH_STR("*")) && p->request->method == SH_HTTP_OPTIONS) return true;
    return bad(p, 400, "the request target is neither a path nor an http URL"), false;
}

/* `at` is the line's offset in the request. Returns false after bad(). */
static bool check_request_line(sh_http_parser_t *p, sh_str_t line, size_t at) {
    const char *end = line.ptr + line.len, *one = memchr(line.ptr, ' ', line.len);
    const char *two = one ? memchr(one + 1, ' ', (size_t)(end - one - 1)) : NULL;
    if (!two || one == line.ptr || two == one + 1 || memchr(two + 1, ' ', (size_t)(end - two - 1)))
        return bad(p, 400, "malformed request line"), false;
    sh_str_t method = sh_str(line.ptr, (size_t)(one - line.ptr)), target = sh_str(one + 1, (size_t)(two - one - 1));
    const char *v = two + 1;
    if (end - v != 8 || memcmp(v, "HTTP/", 5) != 0 || v[5] < '0' || v[5] > '9' || v[6] != '.' || v[7] < '0' || v[7] > '9')
        return bad(p, 400, "malformed HTTP version"), false;
    if (v[5] != '1' || v[7] > '1') return bad(p, 505, "only HTTP/1.0 and HTTP/1.1 are spoken here"), false;
    if (!sh_http_is_token(method)) return bad(p, 400, "malformed method"), false;
    if (!method_of(method, &p->request->method)) return bad(p, 501, "unknown method"), false;
    p->is_1_1 = v[7] == '1';
    p->method_len = method.len;
    p->target_at = at + method.len + 1;
    p->target_len = target.len;
    p->has_request_line = true;
    return check_target(p, target);
}

/* ---- the scan for the head's end ---- */

/* Looks at as much of the request line as is there: a peer that speaks something else (TLS, say) or never ends the line should not have
 * to wait for a time limit to hear it. Returns false after bad(). */
static bool check_line_start(sh_http_parser_t *p, const char *line, size_t len) {
    bool is_empty = line[0] == '\r' && (len == 1 || line[1] == '\n');
    if (!is_empty && line[0] != '\n' && !sh_http_is_token(sh_str(line, 1))) return bad(p, 400, "this is not an HTTP request"), false;
    if (len > p->opts->target_bytes_max + REQUEST_LINE_EXTRA) return bad(p, 414, "the request line is too long"), false;
    return true;
}

/* Sets *end behind the head when it is whole, else 0. Returns false after bad(). */
static bool scan(sh_http_parser_t *p, const char *view, size_t have, size_t *end) {
    const size_t max = p->opts->header_bytes_max;
    const char *lf;
    while ((lf = memchr(view + p->search_at, '\n', have - p->search_at))) {
        size_t at = (size_t)(lf - view), line_at = p->line_at;
        if (at + 1 > max) break;
        if (!p->has_request_line && !check_line_start(p, view + line_at, at + 1 - line_at)) return false;
        if (at == line_at || view[at - 1] != '\r') return bad(p, 400, "a line does not end with CRLF"), false;
        sh_str_t line = sh_str(view + line_at, at - 1 - line_at);
        p->line_at = p->search_at = at + 1;
        if (!p->has_request_line) {
            if (line.len) {
                if (!check_request_line(p, line, line_at)) return false;
            } else { /* one empty line before a request is forgiven (RFC 9112, 2.2) */
                if (p->head_at) return bad(p, 400, "empty lines instead of a request"), false;
                p->head_at = at + 1;
            }
        } else if (!line.len) {
            *end = at + 1;
            return true;
        } else if (line.ptr[0] == ' ' || line.ptr[0] == '\t') {
            return bad(p, 400, "folded header lines are not accepted"), false;
        } else if (line.ptr[0] == ':') {
            return bad(p, 400, "empty header name"), false;
        } else if (++p->lines > p->opts->header_count_max) {
            return bad(p, 431, "too many header fields"), false;
        }
    }
    if (!p->has_request_line && have > p->line_at) {
        if (!check_line_start(p, view + p->line_at, have - p->line_at)) return false;
        if (have > max) return bad(p, 414, "the request line is too long"), false;
    }
    if (have > max) return bad(p, 431, "the header section is too large"), false;
    p->search_at = have;
    *end = 0;
    return true;
}

/* ---- llhttp ---- */

static int on_header_field(llhttp_t *l, const char *at, size_t len) {
    sh_http_parser_t *p = l->data;
    if (p->head_whole) return 0; /* a trailer: read and forgotten */
    if (p->header_count >= p->lines) return -1;
    p->headers[p->header_count++] = (sh_http_header_t){.name = sh_str(at, len), .value = sh_str(at + len, 0)};
    return 0;
}

static int on_header_value(llhttp_t *l, const char *at, size_t len) {
    sh_http_parser_t *p = l->data;
    if (p->head_whole) return 0;
    if (!p->header_count) return -1;
    /* llhttp hands some values over in pieces; they lie side by side, since folded lines were refused before. */
    sh_str_t *value = &p->headers[p->header_count - 1].value;
    if (!value->len) value->ptr = at;
    value->len = (size_t)(at + len - value->ptr);
    return 0;
}

static int on_headers_complete(llhttp_t *l) {
    sh_http_parser_t *p = l->data;
    p->head_whole = true;
    l->upgrade = 0; /* Upgrade is ignored (RFC 9110, 7.8): the request is answered as it stands */
    return 0;
}

static int on_body(llhttp_t *l, const char *at, size_t len) {
    sh_http_parser_t *p = l->data;
    p->body_bytes += len;
    if (p->discards) return 0;
    if (p->body_bytes > p->body_bytes_max) return bad(p, 413, "the body is too large"), -1;
    if (!p->body.cap && !p->chunked)
        sh_buf_reserve(&p->body, (size_t)(p->content_length < BODY_FIRST_RESERVE ? p->content_length : BODY_FIRST_RESERVE) + 1);
    sh_buf_put(&p->body, at, len);
    return 0;
}

static int on_message_complete(llhttp_t *l) {
    sh_http_parser_t *p = l->data;
    p->message_whole = true;
    return HPE_PAUSED; /* what follows belongs to the next request */
}

static const llhttp_settings_t settings = {
    .on_header_field = on_header_field,
    .on_header_value = on_header_value,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

/* ---- the fields ---- */

/* How a field that comes more than once is read. */
typedef enum { FIELD_ONCE, FIELD_LIST, FIELD_FIRST } field_kind_t;

typedef struct {
    sh_str_t name;
    field_kind_t kind;
    size_t at; /* of the slice in the request, or SIZE_MAX for the framing's own */
} field_t;

#define FIELD(text, kind, member)                                                                                                                    \
    { SH_STR(text), kind, offsetof(sh_http_request_t, member) }
static const field_t fields[] = {
    FIELD("accept", FIELD_LIST, accept),
    FIELD("origin", FIELD_ONCE, origin),
    FIELD("if-match", FIELD_LIST, if_match),
    FIELD("traceparent", FIELD_FIRST, traceparent),
    FIELD("content-type", FIELD_ONCE, content_type),
    FIELD("x-request-id", FIELD_FIRST, request_id),
    FIELD("authorization", FIELD_ONCE, authorization),
    FIELD("if-none-match", FIELD_LIST, if_none_match),
    FIELD("accept-language", FIELD_LIST, accept_language),
    FIELD("accept-encoding", FIELD_LIST, accept_encoding),
    FIELD("idempotency-key", FIELD_ONCE, idempotency_key),
    FIELD("x-forwarded-for", FIELD_LIST, forwarded_for),
};
#undef FIELD

typedef struct {
    uint32_t hosts, lengths, encodings;
    sh_str_t host, length, encoding, expect;
} framing_t;

/* Is it one of the fields that the request keeps? Returns false after bad(). */
static bool keep_field(sh_http_parser_t *p, const sh_http_header_t *h) {
    for (size_t i = 0; i < SH_ARRAY_LEN(fields); i++) {
        if (fields[i].name.len != h->name.len || !sh_str_eq_nocase(fields[i].name, h->name)) continue;
        sh_str_t *slot = (sh_str_t *)(void *)((char *)p->request + fields[i].at);
        if (!slot->ptr) {
            *slot = h->value;
        } else if (fields[i].kind == FIELD_ONCE) {
            return bad(p, 400, "a header field that may come once came twice"), false;
        } else if (fields[i].kind == FIELD_LIST) { /* RFC 9110, 5.3 */
            size_t len = slot->len + 2 + h->value.len;
            char *joined = sh_arena_alloc(&p->request->arena, len + 1);
            memcpy(joined, slot->ptr, slot->len);
            memcpy(joined + slot->len, ", ", 2);
            memcpy(joined + slot->len + 2, h->value.ptr, h->value.len);
            joined[len] = 0;
            *slot = sh_str(joined, len);
        }
        return true;
    }
    return true;
}

static bool read_fields(sh_http_parser_t *p, framing_t *f) {
    for (uint32_t i = 0; i < p->header_count; i++) {
        sh_http_header_t *h = &p->headers[i];
        while (h->value.len && (h->value.ptr[h->value.len - 1] == ' ' || h->value.ptr[h->value.len - 1] == '\t')) h->value.len--;
        if (h->name.len == 4 && sh_str_eq_nocase(h->name, SH_STR("host"))) {
            f->host = h->value, f->hosts++;
        } else if (h->name.len == 14 && sh_str_eq_nocase(h->name, SH_STR("content-length"))) {
            f->length = h->value, f->lengths++;
        } else if (h->name.len == 17 && sh_str_eq_nocase(h->name, SH_STR("transfer-encoding"))) {
            f->encoding = h->value, f->encodings++;
        } else if (h->name.len == 6 && sh_str_eq_nocase(h->name, SH_STR("expect"))) {
            if (f->expect.ptr) return bad(p, 417, "unknown expectation"), false;
            f->expect = h->value;
        } else if (!keep_field(p, h)) {
            return false;
        }
    }
    return true;
}

/* Where the body ends must never be a guess (RFC 9112, 6). */
static bool check_framing(sh_http_parser_t *p, const framing_t *f) {
    if (f->hosts > 1 || (f->hosts == 0 && p->is_1_1)) return bad(p, 400, "exactly one Host header is needed"), false;
    if (f->hosts && !sh_http_is_host(f->host)) return bad(p, 400, "malformed Host header"), false;
    if (f->encodings) {
        if (!p->is_1_1) return bad(p, 400, "Transfer-Encoding in HTTP/1.0"), false;
        if (f->lengths) return bad(p, 400, "Content-Length together with Transfer-Encoding"), false;
        if (f->encodings > 1 || !f->encoding.len) return bad(p, 400, "malformed Transfer-Encoding"), false;
        if (!sh_str_eq_nocase(f->encoding, SH_STR("chunked"))) return bad(p, 501, "unknown transfer coding"), false;
        p->chunked = true;
    }
    if (f->lengths) {
        if (f->lengths > 1 || f->length.len == 0 || f->length.len > 18) return bad(p, 400, "malformed Content-Length"), false;
        for (size_t i = 0; i < f->length.len; i++) {
            unsigned digit = (unsigned char)f->length.ptr[i] - '0';
            if (digit > 9) return bad(p, 400, "malformed Content-Length"), false;
            p->content_length = p->content_length * 10 + digit;
        }
    }
    if (f->expect.ptr && p->is_1_1) {
        if (!sh_str_eq_nocase(f->expect, SH_STR("100-continue"))) return bad(p, 417, "unknown expectation"), false;
        p->expects_continue = true;
    }
    return true;
}

/* Splits the target into path and query. Returns false after bad(). */
static bool read_target(sh_http_parser_t *p) {
    sh_http_request_t *r = p->request;
    sh_str_t rest = r->target;
    size_t at;
    if (is_absolute(rest, &at)) {
        size_t end = at;
        while (end < rest.len && rest.ptr[end] != '/' && rest.ptr[end] != '?') end++;
        if (!sh_http_is_host(sh_str(rest.ptr + at, end - at))) return bad(p, 400, "malformed authority in the request target"), false;
        rest = sh_str(rest.ptr + end, rest.len - end);
    }
    const char *mark = rest.len ? memchr(rest.ptr, '?', rest.len) : NULL;
    sh_str_t raw = mark ? sh_str(rest.ptr, (size_t)(mark - rest.ptr)) : rest;
    if (mark) r->query = sh_str(mark + 1, rest.len - raw.len - 1);
    if (!raw.len) raw = SH_STR("/");
    const char *reason = "";
    if (sh_http_path_decode(&r->arena, raw, &r->path, &reason)) return bad(p, 400, reason), false;
    return true;
}

static sh_http_event_t read_head(sh_http_parser_t *p, const char *view, size_t end) {
    sh_http_request_t *r = p->request;
    sh_str_t head = sh_arena_str(&r->arena, sh_str(view + p->head_at, end - p->head_at));
    r->method_name = sh_str(head.ptr, p->method_len);
    r->target = sh_str(head.ptr + (p->target_at - p->head_at), p->target_len);
    p->headers = sh_arena_alloc(&r->arena, sizeof *p->headers * (p->lines ? p->lines : 1));
    sh_buf_dispose(&p->partial);

    llhttp_init(&p->llhttp, HTTP_REQUEST, &settings);
    p->llhttp.data = p;
    llhttp_errno_t rc = llhttp_execute(&p->llhttp, head.ptr, head.len);
    r->headers = p->headers;
    r->header_count = p->header_count;
    if (rc != HPE_OK && rc != HPE_PAUSED && rc != HPE_INVALID_TRANSFER_ENCODING)
        return bad(p, 400, p->llhttp.reason ? p->llhttp.reason : "malformed request");

    framing_t framing = {0};
    if (!read_fields(p, &framing) || !check_framing(p, &framing) || !read_target(p)) return SH_HTTP_EVENT_BAD;
    if (rc == HPE_INVALID_TRANSFER_ENCODING) return bad(p, 501, "unknown transfer coding");
    if (!p->head_whole) return bad(p, 400, "malformed request");
    /* Both must see the same framing; when they do not, nobody knows where the body ends. */
    if (p->message_whole != (!p->chunked && p->content_length == 0)) return bad(p, 400, "ambiguous body framing");
    r->keep_alive = llhttp_should_keep_alive(&p->llhttp) != 0;
    p->stage = SH_HTTP_STAGE_BODY;
    return SH_HTTP_EVENT_HEAD;
}

static sh_http_event_t feed_head(sh_http_parser_t *p, const char *bytes, size_t len, size_t *used) {
    const size_t before = p->partial.len, max = p->opts->header_bytes_max;
    const char *view = bytes;
    size_t have = len, end = 0;
    if (before) {
        size_t take = len < max + 1 - before ? len : max + 1 - before;
        sh_buf_put(&p->partial, bytes, take);
        view = p->partial.ptr;
        have = p->partial.len;
    }
    *used = len;
    if (!len) return SH_HTTP_EVENT_MORE;
    if (!scan(p, view, have, &end)) return SH_HTTP_EVENT_BAD;
    if (!end) {
        if (!before) sh_buf_put(&p->partial, bytes, len);
        return SH_HTTP_EVENT_MORE;
    }
    *used = end - before;
    return read_head(p, view, end);
}

static sh_http_event_t feed_body(sh_http_parser_t *p, const char *bytes, size_t len, size_t *used) {
    if (!p->message_whole) {
        if (!p->discards && p->content_length > p->body_bytes_max) return bad(p, 413, "the body is too large");
        if (!len) return SH_HTTP_EVENT_MORE;
        uint64_t body_before = p->body_bytes;
        llhttp_errno_t rc = llhttp_execute(&p->llhttp, bytes, len);
        if (p->bad_status) return SH_HTTP_EVENT_BAD;
        if (rc != HPE_OK && !(rc == HPE_PAUSED && p->message_whole)) return bad(p, 400, p->llhttp.reason ? p->llhttp.reason : "malformed body");
        *used = p->message_whole ? (size_t)(llhttp_get_error_pos(&p->llhttp) - bytes) : len;
        /* Chunk sizes, extensions and trailers cost the peer nothing and us time: they are bounded by what they carry. */
        p->framing_bytes += *used - (p->body_bytes - body_before);
        if (p->framing_bytes > p->opts->header_bytes_max + FRAMING_PER_BYTE * p->body_bytes) return bad(p, 400, "more chunk framing than body");
        if (!p->message_whole) return SH_HTTP_EVENT_MORE;
    }
    p->request->body = sh_buf_str(&p->body);
    p->stage = SH_HTTP_STAGE_END;
    return SH_HTTP_EVENT_DONE;
}

void sh_http_parser_init(sh_http_parser_t *p, sh_http_request_t *request, const sh_http_opts_t *opts) {
    *p = (sh_http_parser_t){.request = request, .opts = opts, .body_bytes_max = opts->body_bytes_max};
}

void sh_http_parser_dispose(sh_http_parser_t *p) {
    sh_buf_dispose(&p->partial);
    sh_buf_dispose(&p->body);
}

sh_http_event_t sh_http_parser_feed(sh_http_parser_t *p, const char *bytes, size_t len, size_t *used) {
    SH_ASSERT(p->stage != SH_HTTP_STAGE_END);
    *used = 0;
    return p->stage == SH_HTTP_STAGE_HEAD ? feed_head(p, bytes, len, used) : feed_body(p, bytes, len, used);
}

sh_str_t sh_http_header(const sh_http_request_t *request, const char *name) {
    sh_str_t wanted = sh_str_of(name);
    for (uint32_t i = 0; i < request->header_count; i++)
        if (sh_str_eq_nocase(request->headers[i].name, wanted)) return request->headers[i].value;
    return SH_STR_NULL;
}
