/* An HTTP/1.1 server on the loop (RFC 9110, RFC 9112): strict parsing, keep-alive, pipelining in order, bounded everything.
 *
 * A connection at rest owns no buffer and no arena beyond its struct. A request and all that it points to live in the request's arena
 * until sh_http_respond()'s bytes are written. The server calls `on_request` once the whole body is there; bodies are collected up to
 * the limit that `on_head` returns. What is malformed never reaches on_request: the server asks `on_bad` for the answer
 * (so that problem+json is built in one place, the edge) and closes. */
#ifndef SH_HTTP_SERVER_H
#define SH_HTTP_SERVER_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/list.h"
#include "base/log.h"

#include <uv.h>

typedef struct sh_http_server sh_http_server_t;
typedef struct sh_http_conn sh_http_conn_t;
typedef struct sh_http_request sh_http_request_t;
typedef struct sh_http_response sh_http_response_t;

typedef enum sh_http_method {
    SH_HTTP_GET,
    SH_HTTP_HEAD,
    SH_HTTP_POST,
    SH_HTTP_PUT,
    SH_HTTP_PATCH,
    SH_HTTP_DELETE,
    SH_HTTP_OPTIONS,
    SH_HTTP_METHOD_OTHER,
} sh_http_method_t;

typedef struct sh_http_header {
    sh_str_t name, value; /* name as sent; compare with sh_str_eq_nocase; value trimmed */
} sh_http_header_t;

struct sh_http_request {
    sh_arena_t arena; /* everything below lives here */
    sh_http_conn_t *conn;
    sh_list_t link; /* the server's: place in the connection's queue */
    sh_http_method_t method;
    sh_str_t method_name;
    sh_str_t target; /* as sent */
    sh_str_t path;   /* percent-decoded, no dot segments, never with %00 */
    sh_str_t query;  /* raw, without '?' */
    const sh_http_header_t *headers;
    uint32_t header_count;
    /* found while parsing, because each request needs them; empty when absent */
    sh_str_t authorization, content_type, accept, accept_language, accept_encoding, request_id, traceparent, if_match, if_none_match, idempotency_key,
        origin, forwarded_for;
    sh_str_t body;       /* whole; contiguous */
    uint64_t started_ns; /* monotonic, first byte of the request */
    bool keep_alive;
    bool client_gone;                            /* the peer closed or reset before the answer */
    void *user;                                  /* the edge's own state for this request */
    void (*on_gone)(sh_http_request_t *request); /* set by the edge: client vanished before sh_http_respond; may be NULL */
    /* NULL: sh_http_respond() answers on `conn`. Else the request came by none (http_local) and this takes its answer. */
    void (*respond)(sh_http_request_t *request, sh_http_response_t *response);
};

/* An answer. `body` is taken over (its memory is freed by the server once written); headers are copied.
 * Content-Length, Date, Connection are the server's. For HEAD the body is counted and not sent; 204 and 304 have none. */
struct sh_http_response {
    int status;
    const char *content_type; /* NULL: none */
    const sh_http_header_t *headers;
    uint32_t header_count;
    sh_buf_t body;
    bool close; /* end the connection after this answer */
};

typedef struct sh_http_opts {
    uint32_t connections_max;  /* per worker; above it: 503 and close */
    uint32_t header_bytes_max; /* request line and header section together; 431 (or 414 for the line) */
    uint32_t header_count_max; /* 431 */
    uint32_t target_bytes_max; /* 414 */
    uint64_t body_bytes_max;   /* unless on_head says another limit; 413 */
    uint32_t pipeline_max;     /* requests taken from one connection at a time; reading stops above it */
    uint64_t head_timeout_ms, body_timeout_ms, idle_timeout_ms, write_timeout_ms;
    uint32_t keep_alive_requests_max;
} sh_http_opts_t;

typedef struct sh_http_handlers {
    /* The head is complete. Returns 0, or the HTTP status that ends the request here (404, 405, 413, 415 ... before the body is read;
     * the answer is then asked from on_bad). May set *body_bytes_max. */
    int (*on_head)(void *data, sh_http_request_t *request, uint64_t *body_bytes_max);
    /* The request is complete. The handler answers now or later, exactly once, by sh_http_respond(). */
    void (*on_request)(void *data, sh_http_request_t *request);
    /* Builds the answer for a request that the server or on_head refuses: status is 400, 404, 405, 408, 413, 414, 415, 417, 431, 501, 503, 505;
     * `reason` is a short English sentence. `request` has whatever was parsed so far. */
    void (*on_bad)(void *data, sh_http_request_t *request, int status, const char *reason, sh_http_response_t *response);
    /* The answer was written, or failed (bytes_sent 0): for access log and metrics. Once for each request that on_head or on_bad saw;
     * status 499 when the client went away before its request was whole. The request is freed after this. NULL allowed. */
    void (*on_done)(void *data, sh_http_request_t *request, int status, uint64_t bytes_sent);
} sh_http_handlers_t;

/* Listens on `fd`, a bound and listening socket that stays the caller's (dup'd; the server sets CLOEXEC on its copy). `log`, `data` are borrowed. */
int sh_http_server_create(uv_loop_t *loop, int fd, const sh_http_opts_t *opts, const sh_http_handlers_t *handlers, void *data, sh_log_t *log,
                          sh_http_server_t **out) SH_MUSTCHECK;
/* Stops accepting; open connections finish their requests with `Connection: close`, idle ones are closed. `fn` runs when none is left. */
void sh_http_server_drain(sh_http_server_t *server, void (*fn)(void *data), void *data);
/* Closes whatever is left, then frees the server in the last close callback and calls `fn`. Requests that are still unanswered learn it by
 * on_gone; the server waits for their sh_http_respond() before it is freed. */
void sh_http_server_close(sh_http_server_t *server, void (*fn)(void *data), void *data);
uint32_t sh_http_server_connections(const sh_http_server_t *server);
uint32_t sh_http_server_in_flight(const sh_http_server_t *server);

/* Answers. Exactly once a request. Answers of pipelined requests are put in order by the server. After this call the
 * request may be freed at any time (on_done comes first). */
void sh_http_respond(sh_http_request_t *request, sh_http_response_t *response);

/* A header by name (any case), or an empty slice. */
sh_str_t sh_http_header(const sh_http_request_t *request, const char *name);
/* The peer's address as text, "127.0.0.1" (asked from the socket once, then kept); "" without a socket. */
sh_str_t sh_http_peer(sh_http_request_t *request);
/* Standard reason phrase (RFC 9110); "" when unknown. */
const char *sh_http_reason(int status);
/* Percent-decodes a query component ('+' is a space). SH_EINVAL for a bad escape, %00 or invalid UTF-8. */
int sh_http_query_decode(sh_arena_t *arena, sh_str_t text, sh_str_t *out) SH_MUSTCHECK;

#endif
