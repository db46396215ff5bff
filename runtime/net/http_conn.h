/* What the HTTP server's files share: server, connection, exchange. Private to net/http_*.c.
 *
 * A connection is always on exactly one of the server's lists, and that list is its state; conn_settle() alone moves it:
 *
 *   IDLE -> HEAD -> BODY -> BUSY -> IDLE ...        what is being waited for: a request, its head, its body, its answer
 *                 \-> WRITE (the peer is slow to read)  -> LINGER (answered, our side shut) -> CLOSING (uv_close is under way)
 *
 * Each timed list is in order of `since_ms`, so one coarse timer looks only at the lists' fronts.
 * An exchange is a request with its answer. While it is read it is conn->reading; then it stands in conn->queue until its answer is
 * written. A connection whose socket is closed lives on until all its exchanges were answered, since the edge holds their requests. */
#ifndef SH_HTTP_CONN_H
#define SH_HTTP_CONN_H

#include "net/http_request.h"

#include <netinet/in.h>

enum {
    SH_HTTP_READ_BYTES = 65536, /* the one read buffer of a server */
    SH_HTTP_STATUS_GONE = 499,  /* told by on_done when the client went away before its request was whole */
    SH_HTTP_DATE_LEN = 29,      /* "Tue, 24 Nov 2026 09:06:14 GMT" */
    SH_HTTP_LINGER_MS = 2000,
    SH_HTTP_LINGER_BYTES_MAX = 16 << 20, /* read and dropped behind the last answer */
    SH_HTTP_DISCARD_BYTES_MAX = 65536,   /* a refused body up to this size is read over, so that the connection can be kept */
    SH_HTTP_SPARE_EXCHANGES_MAX = 256,
    SH_HTTP_SPARE_ARENA_BYTES_MAX = 4096,
    SH_HTTP_REFUSED_CONNECTIONS_MAX = 64, /* above connections_max: still told 503; beyond that just closed */
};

typedef enum sh_http_conn_state {
    SH_HTTP_CONN_IDLE,
    SH_HTTP_CONN_HEAD,
    SH_HTTP_CONN_BODY,
    SH_HTTP_CONN_BUSY,
    SH_HTTP_CONN_WRITE,
    SH_HTTP_CONN_LINGER,
    SH_HTTP_CONN_CLOSING,
    SH_HTTP_CONN_STATES,
} sh_http_conn_state_t;

typedef struct sh_http_exchange {
    sh_http_request_t request; /* its link: place in conn->queue, or in server->spare */
    sh_http_parser_t parser;
    int refused;        /* status that on_head gave; its small body is being read over */
    bool is_seen;       /* the edge knows it: on_done is owed */
    bool is_dispatched; /* on_request was called */
    bool is_answered;
    bool is_gone_told;
    bool closes; /* the connection ends behind this answer */
    int status;
    sh_str_t head; /* of the answer, in the arena; with the body when that is small */
    sh_buf_t body;
    size_t body_len; /* bytes of `body` to send: 0 for HEAD */
} sh_http_exchange_t;

struct sh_http_server {
    uv_loop_t *loop;
    uv_tcp_t listener;
    uv_timer_t timer;
    sh_http_opts_t opts;
    sh_http_handlers_t handlers;
    void *data;
    sh_log_t *log;
    sh_list_t states[SH_HTTP_CONN_STATES];
    uint32_t connections, in_flight;
    sh_list_t spare; /* exchanges with a warm arena */
    uint32_t spare_count;
    bool is_draining, is_closing, is_listener_closed;
    void (*drained_fn)(void *data);
    void *drained_data;
    void (*closed_fn)(void *data);
    void *closed_data;
    uint64_t tick_ms, date_ms; /* date_ms: loop time when `date` was made; 0: never */
    char date[SH_HTTP_DATE_LEN + 1];
    char read_bytes[SH_HTTP_READ_BYTES];
};

struct sh_http_conn {
    sh_http_server_t *server;
    uv_tcp_t tcp;
    sh_list_t link; /* in server->states[state] */
    uint8_t state;
    bool is_pumping;     /* sh_http_conn_pump is on the stack: answers wait for its end and travel together */
    bool is_reading;     /* uv_read_start is in force */
    bool is_last;        /* no request is taken any more */
    bool is_peer_closed; /* EOF came */
    bool is_lingering, is_closing, is_closed;
    bool owes_continue; /* 100 Continue, once what comes before is written */
    bool is_restarted;  /* the same state again, for another request or write: its time starts anew */
    uint64_t since_ms;
    sh_http_exchange_t *reading;
    sh_list_t queue;          /* in the order of arrival */
    uint32_t queued, writing; /* of those: being written by `write` */
    uint32_t served;
    sh_buf_t held; /* read, not yet parsed: more requests than pipeline_max */
    uv_write_t write;
    size_t write_left; /* as of the last look of the timer */
    size_t dropped_bytes;
    char peer[INET6_ADDRSTRLEN];
};

/* http_conn.c */
void sh_http_conn_accept(sh_http_server_t *server);
/* Closes now; unanswered requests learn it by on_gone. Idempotent. */
void sh_http_conn_close(sh_http_conn_t *conn);
/* Time is up in the state that it is in. */
void sh_http_conn_expire(sh_http_conn_t *conn);
/* For a drain: closes the connection unless bytes of a request wait in its socket. */
void sh_http_conn_close_if_quiet(sh_http_conn_t *conn);

/* http_exchange.c */
sh_http_exchange_t *sh_http_exchange_create(sh_http_conn_t *conn);
void sh_http_exchange_destroy(sh_http_exchange_t *exchange);
/* Puts the answer's bytes together; takes response->body. */
void sh_http_exchange_answer(sh_http_exchange_t *exchange, sh_http_response_t *response, bool closes);

/* http_server.c */
const char *sh_http_server_date(sh_http_server_t *server);
/* A connection's memory was given back. */
void sh_http_server_conn_freed(sh_http_server_t *server);

#endif
