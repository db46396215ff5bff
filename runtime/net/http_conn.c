/* A connection: reading, the order of answers, writing, and its end. */
#include "net/http_conn.h"

#include "base/err.h"
#include "base/time.h"

#include <stdlib.h>
#include <sys/socket.h>

enum { BATCH_MAX = 16, BATCH_VECTORS_MAX = BATCH_MAX * 2 };

static void conn_pump(sh_http_conn_t *conn, const char *bytes, size_t len);
static void conn_flush(sh_http_conn_t *conn);
static void conn_linger(sh_http_conn_t *conn);

static sh_http_exchange_t *exchange_of(sh_http_request_t *request) { return SH_CONTAINER_OF(request, sh_http_exchange_t, request); }

/* ---- states ---- */

static sh_http_conn_state_t state_now(const sh_http_conn_t *conn) {
    if (conn->is_closing) return SH_HTTP_CONN_CLOSING;
    if (conn->is_lingering) return SH_HTTP_CONN_LINGER;
    if (conn->writing) return SH_HTTP_CONN_WRITE;
    if (conn->reading) return conn->reading->parser.stage == SH_HTTP_STAGE_HEAD ? SH_HTTP_CONN_HEAD : SH_HTTP_CONN_BODY;
    return conn->queued ? SH_HTTP_CONN_BUSY : SH_HTTP_CONN_IDLE;
}

static void conn_move(sh_http_conn_t *conn, sh_http_conn_state_t state) {
    sh_list_unlink(&conn->link);
    sh_list_link(&conn->server->states[state], &conn->link);
    conn->state = (uint8_t)state;
    conn->since_ms = uv_now(conn->server->loop);
}

/* Puts the connection on the list where it belongs by now. Within a tick an idle one keeps its place, so that a request that is
 * answered at once touches no neighbour's memory. */
static void conn_settle(sh_http_conn_t *conn) {
    sh_http_server_t *server = conn->server;
    bool is_quiet = !conn->queued && !conn->reading && !conn->writing && !conn->held.len;
    if (is_quiet && !conn->is_lingering && (conn->is_peer_closed || server->is_draining)) sh_http_conn_close(conn);
    sh_http_conn_state_t state = state_now(conn);
    bool is_due = state == SH_HTTP_CONN_IDLE ? uv_now(server->loop) - conn->since_ms >= server->tick_ms : conn->is_restarted;
    if (state != conn->state || is_due) conn_move(conn, state);
    conn->is_restarted = false;
}

/* ---- the end of exchanges ---- */

/* The last word about an exchange; it is freed. */
static void exchange_finish(sh_http_exchange_t *exchange, uint64_t bytes_sent) {
    sh_http_conn_t *conn = exchange->request.conn;
    sh_http_server_t *server = conn->server;
    if (sh_list_is_linked(&exchange->request.link)) {
        sh_list_unlink(&exchange->request.link);
        conn->queued--;
    }
    if (exchange->is_dispatched) server->in_flight--;
    if (exchange->is_seen && server->handlers.on_done) server->handlers.on_done(server->data, &exchange->request, exchange->status, bytes_sent);
    sh_http_exchange_destroy(exchange);
}

static void conn_abort_reading(sh_http_conn_t *conn) {
    sh_http_exchange_t *exchange = conn->reading;
    if (!exchange) return;
    conn->reading = NULL;
    exchange->request.client_gone = true;
    exchange->status = SH_HTTP_STATUS_GONE;
    exchange_finish(exchange, 0);
}

static sh_http_exchange_t *first_untold(sh_http_conn_t *conn) {
    sh_list_each(it, tmp, &conn->queue) {
        sh_http_exchange_t *exchange = exchange_of(SH_CONTAINER_OF(it, sh_http_request_t, link));
        if (!exchange->is_answered && !exchange->is_gone_told) return exchange;
    }
    return NULL;
}

/* Tells the edge of each request that is still unanswered. It may answer from within, which frees the request. */
static void conn_tell_gone(sh_http_conn_t *conn) {
    sh_http_exchange_t *exchange;
    while ((exchange = first_untold(conn))) {
        exchange->is_gone_told = true;
        exchange->request.client_gone = true;
        if (exchange->request.on_gone) exchange->request.on_gone(&exchange->request);
    }
}

static void conn_free_if_done(sh_http_conn_t *conn) {
    if (!conn->is_closed || conn->queued) return;
    sh_http_server_t *server = conn->server;
    sh_list_unlink(&conn->link);
    free(conn);
    sh_http_server_conn_freed(server);
}

static void conn_closed(uv_handle_t *handle) {
    sh_http_conn_t *conn = handle->data;
    sh_list_each(it, tmp, &conn->queue) {
        sh_http_exchange_t *exchange = exchange_of(SH_CONTAINER_OF(it, sh_http_request_t, link));
        if (exchange->is_answered) exchange_finish(exchange, 0);
    }
    conn->is_closed = true;
    conn_free_if_done(conn);
}

void sh_http_conn_close(sh_http_conn_t *conn) {
    if (conn->is_closing) return;
    conn->is_closing = conn->is_last = true;
    conn->is_reading = false;
    conn_abort_reading(conn);
    sh_buf_dispose(&conn->held);
    uv_close((uv_handle_t *)&conn->tcp, conn_closed);
    conn_move(conn, SH_HTTP_CONN_CLOSING);
    conn_tell_gone(conn);
}

void sh_http_conn_close_if_quiet(sh_http_conn_t *conn) {
    uv_os_fd_t fd;
    char byte;
    if (uv_fileno((uv_handle_t *)&conn->tcp, &fd) == 0 && recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0) return;
    sh_http_conn_close(conn);
}

/* ---- writing ---- */

static void conn_written(uv_write_t *write, int status) {
    sh_http_conn_t *conn = write->data;
    if (conn->is_closing) return; /* conn_closed settles what was being written */
    if (status < 0) {
        sh_http_conn_close(conn);
        return;
    }
    uint32_t count = conn->writing;
    conn->writing = 0;
    bool closes = false;
    while (count--) {
        sh_http_exchange_t *exchange = exchange_of(sh_list_first(&conn->queue, sh_http_request_t, link));
        closes = exchange->closes;
        exchange_finish(exchange, exchange->head.len + exchange->body_len);
    }
    if (closes) conn_linger(conn);
    conn_pump(conn, NULL, 0);
}

/* Gathers the answers at the queue's front that are ready. Returns how many. */
static uint32_t gather(sh_http_conn_t *conn, uv_buf_t *bufs, uint32_t *buf_count, size_t *total) {
    uint32_t count = 0;
    sh_list_each(it, tmp, &conn->queue) {
        sh_http_exchange_t *exchange = exchange_of(SH_CONTAINER_OF(it, sh_http_request_t, link));
        if (!exchange->is_answered || count == BATCH_MAX) break;
        bufs[(*buf_count)++] = uv_buf_init((char *)(uintptr_t)exchange->head.ptr, (unsigned)exchange->head.len);
        if (exchange->body_len) bufs[(*buf_count)++] = uv_buf_init(exchange->body.ptr, (unsigned)exchange->body_len);
        *total += exchange->head.len + exchange->body_len;
        count++;
        if (exchange->closes) break;
    }
    return count;
}

/* Writes at once what the socket takes, the rest by uv_write. Returns false when it must wait or the connection is gone. */
static bool conn_write_batch(sh_http_conn_t *conn) {
    uv_buf_t bufs[BATCH_VECTORS_MAX], *rest = bufs;
    uint32_t buf_count = 0;
    size_t total = 0;
    uint32_t count = gather(conn, bufs, &buf_count, &total);
    if (!count) return false;
    int rc = uv_try_write((uv_stream_t *)&conn->tcp, bufs, buf_count);
    if (rc < 0 && rc != UV_EAGAIN) {
        sh_http_conn_close(conn);
        return false;
    }
    size_t written = rc > 0 ? (size_t)rc : 0;
    conn->writing = count;
    if (written == total) {
        bool closes = false;
        while (conn->writing) {
            sh_http_exchange_t *exchange = exchange_of(sh_list_first(&conn->queue, sh_http_request_t, link));
            conn->writing--;
            closes = exchange->closes;
            exchange_finish(exchange, exchange->head.len + exchange->body_len);
        }
        if (closes) conn_linger(conn);
        return !closes;
    }
    while (written >= rest->len) written -= rest->len, rest++, buf_count--;
    rest->base += written;
    rest->len -= written;
    conn->write.data = conn;
    rc = uv_write(&conn->write, (uv_stream_t *)&conn->tcp, rest, buf_count, conn_written);
    if (rc < 0) {
        conn->writing = 0;
        sh_http_conn_close(conn);
    } else {
        conn->is_restarted = true;
        conn->write_left = uv_stream_get_write_queue_size((uv_stream_t *)&conn->tcp);
    }
    return false;
}

static void conn_flush(sh_http_conn_t *conn) {
    while (!conn->writing && !conn->is_closing && !conn->is_lingering)
        if (!conn_write_batch(conn)) break;
    if (!conn->owes_continue || conn->queued || conn->is_closing) return;
    conn->owes_continue = false;
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    uv_buf_t buf = uv_buf_init((char *)(uintptr_t)text, sizeof text - 1);
    /* Nothing is queued before it, so a socket that does not take these bytes is not being read at all. */
    if (uv_try_write((uv_stream_t *)&conn->tcp, &buf, 1) != (int)buf.len) sh_http_conn_close(conn);
}

/* ---- requests ---- */

static void conn_enqueue(sh_http_conn_t *conn, sh_http_exchange_t *exchange) {
    conn->reading = NULL;
    conn->owes_continue = false;
    sh_list_link(&conn->queue, &exchange->request.link);
    conn->queued++;
}

/* Answers in the server's own name. `ends`: the connection cannot go on behind it. */
static void conn_refuse(sh_http_conn_t *conn, sh_http_exchange_t *exchange, int status, const char *reason, bool ends) {
    sh_http_server_t *server = conn->server;
    sh_http_response_t response = {.status = status};
    conn_enqueue(conn, exchange);
    exchange->is_seen = true;
    server->handlers.on_bad(server->data, &exchange->request, status, reason, &response);
    bool closes = ends || response.close || !exchange->request.keep_alive || server->is_draining;
    if (closes) conn->is_last = true;
    sh_http_exchange_answer(exchange, &response, closes);
    exchange->is_answered = true;
}

/* The head is whole: may the request go on? Returns false when it was refused for good. */
static bool conn_take_head(sh_http_conn_t *conn, sh_http_exchange_t *exchange, bool has_more) {
    sh_http_server_t *server = conn->server;
    sh_http_parser_t *parser = &exchange->parser;
    sh_http_request_t *request = &exchange->request;
    bool has_body = sh_http_parser_has_body(parser);
    uint32_t served_max = server->opts.keep_alive_requests_max;
    if (served_max && conn->served >= served_max) request->keep_alive = false;
    exchange->is_seen = true;
    int status = server->handlers.on_head ? server->handlers.on_head(server->data, request, &parser->body_bytes_max) : 0;
    if (conn->is_closing) return false; /* on_head closed the server; the exchange is gone */
    if (!status) {
        if (has_body && parser->expects_continue && !has_more && parser->content_length <= parser->body_bytes_max) conn->owes_continue = true;
        return true;
    }
    exchange->refused = status;
    if (has_body && (parser->chunked || parser->expects_continue || parser->content_length > SH_HTTP_DISCARD_BYTES_MAX)) {
        conn_refuse(conn, exchange, status, sh_http_reason(status), true);
        return false;
    }
    parser->discards = true;
    return true;
}

static void conn_take_request(sh_http_conn_t *conn, sh_http_exchange_t *exchange) {
    sh_http_server_t *server = conn->server;
    if (exchange->refused) {
        conn_refuse(conn, exchange, exchange->refused, sh_http_reason(exchange->refused), false);
        return;
    }
    conn_enqueue(conn, exchange);
    /* Bytes behind the last request are dropped, never read as a request. */
    if (!exchange->request.keep_alive) conn->is_last = true;
    exchange->is_dispatched = true;
    server->in_flight++;
    server->handlers.on_request(server->data, &exchange->request);
}

static bool conn_takes_more(const sh_http_conn_t *conn) { return conn->is_last || conn->reading || conn->queued < conn->server->opts.pipeline_max; }

/* Feeds one exchange until it needs more bytes or is over. Returns the bytes used. */
static size_t conn_read_exchange(sh_http_conn_t *conn, const char *bytes, size_t len) {
    sh_http_exchange_t *exchange = conn->reading;
    size_t used = 0;
    for (;;) {
        size_t step;
        sh_http_event_t event = sh_http_parser_feed(&exchange->parser, bytes + used, len - used, &step);
        used += step;
        if (event == SH_HTTP_EVENT_MORE) return used;
        if (event == SH_HTTP_EVENT_DONE) {
            conn_take_request(conn, exchange);
            return used;
        }
        if (event == SH_HTTP_EVENT_BAD) {
            conn_refuse(conn, exchange, exchange->parser.bad_status, exchange->parser.bad_reason, true);
            return used;
        }
        if (!conn_take_head(conn, exchange, used < len)) return used;
    }
}

static size_t conn_parse(sh_http_conn_t *conn, const char *bytes, size_t len) {
    size_t used = 0;
    while (used < len) {
        if (conn->is_last) {
            conn->dropped_bytes += len - used;
            return len;
        }
        if (!conn->reading) {
            if (conn->queued >= conn->server->opts.pipeline_max) break;
            conn->reading = sh_http_exchange_create(conn);
            conn->reading->request.started_ns = sh_time_mono_ns();
            conn->is_restarted = true;
            conn->served++;
        }
        used += conn_read_exchange(conn, bytes + used, len - used);
    }
    return used;
}

/* ---- reading ---- */

static void conn_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
    (void)suggested;
    sh_http_conn_t *conn = handle->data;
    *buf = uv_buf_init(conn->server->read_bytes, SH_HTTP_READ_BYTES);
}

static void conn_read(uv_stream_t *stream, ssize_t len, const uv_buf_t *buf) {
    sh_http_conn_t *conn = stream->data;
    if (len == 0) return;
    if (len < 0) {
        conn->is_peer_closed = true;
        if (len != UV_EOF || conn->is_lingering) {
            sh_http_conn_close(conn);
            return;
        }
        /* The peer may only have shut its own side: what it asked is still answered, if the edge does not give it up. */
        conn_abort_reading(conn);
        conn->is_last = true;
        conn_tell_gone(conn);
        conn_pump(conn, NULL, 0);
    } else {
        conn_pump(conn, buf->base, (size_t)len);
    }
}

/* Reading goes on exactly while bytes can be used, or an end of the peer can be noticed at no cost. */
static void conn_set_reading(sh_http_conn_t *conn) {
    bool wants =
        !conn->is_closing && !conn->is_peer_closed && !conn->held.len && conn_takes_more(conn) && conn->dropped_bytes <= SH_HTTP_LINGER_BYTES_MAX;
    if (wants == conn->is_reading || conn->is_closing) return;
    conn->is_reading = wants;
    if (wants)
        SH_ASSERT(uv_read_start((uv_stream_t *)&conn->tcp, conn_alloc, conn_read) == 0);
    else
        uv_read_stop((uv_stream_t *)&conn->tcp);
}

/* Takes what was read (or what was held back), answers what can be answered, until neither goes on. */
static void conn_pump(sh_http_conn_t *conn, const char *bytes, size_t len) {
    if (conn->is_pumping) return;
    conn->is_pumping = true;
    sh_buf_t held = conn->held; /* never together with `bytes`: while something is held, nothing is read */
    if (held.len) {
        bytes = held.ptr;
        len = held.len;
        sh_buf_init(&conn->held);
    }
    size_t used = 0;
    do {
        used += conn_parse(conn, bytes + used, len - used);
        conn_flush(conn);
    } while (used < len && !conn->is_closing && conn_takes_more(conn));
    if (used < len && !conn->is_closing) sh_buf_put(&conn->held, bytes + used, len - used);
    sh_buf_dispose(&held);
    conn->is_pumping = false;
    if (conn->is_lingering && conn->dropped_bytes > SH_HTTP_LINGER_BYTES_MAX) sh_http_conn_close(conn);
    conn_set_reading(conn);
    conn_settle(conn);
}

/* The last answer is out: our side is shut, and what the peer still sends is dropped for a while, since closing over unread bytes
 * would reset the connection and could take the answer away from the peer. */
static void conn_linger(sh_http_conn_t *conn) {
    uv_os_fd_t fd;
    conn->is_lingering = conn->is_last = true;
    conn->owes_continue = false;
    conn_abort_reading(conn);
    sh_buf_dispose(&conn->held);
    if (conn->is_peer_closed || uv_fileno((uv_handle_t *)&conn->tcp, &fd) < 0 || shutdown(fd, SHUT_WR) < 0)
        sh_http_conn_close(conn);
    else
        conn_tell_gone(conn);
}

/* ---- from outside ---- */

void sh_http_respond(sh_http_request_t *request, sh_http_response_t *response) {
    if (request->respond) {
        request->respond(request, response);
        return;
    }
    sh_http_exchange_t *exchange = exchange_of(request);
    sh_http_conn_t *conn = request->conn;
    SH_ASSERT(exchange->is_dispatched && !exchange->is_answered);
    exchange->is_answered = true;
    if (conn->is_closing || conn->is_lingering) {
        exchange->status = response->status;
        sh_buf_dispose(&response->body);
        exchange_finish(exchange, 0);
        conn_free_if_done(conn);
        return;
    }
    bool is_newest = conn->queue.prev == &request->link && !conn->reading;
    bool closes = response->close || !request->keep_alive || (conn->server->is_draining && is_newest && !conn->held.len);
    if (closes) conn->is_last = true;
    sh_http_exchange_answer(exchange, response, closes);
    if (conn->is_pumping || conn->queue.next != &request->link) return; /* its turn comes */
    conn_pump(conn, NULL, 0);
}

void sh_http_conn_expire(sh_http_conn_t *conn) {
    switch ((sh_http_conn_state_t)conn->state) {
    case SH_HTTP_CONN_HEAD:
    case SH_HTTP_CONN_BODY:
        conn_refuse(conn, conn->reading, 408, "the request did not arrive in time", true);
        conn_pump(conn, NULL, 0);
        return;
    case SH_HTTP_CONN_WRITE: {
        size_t left = uv_stream_get_write_queue_size((uv_stream_t *)&conn->tcp);
        if (left < conn->write_left) { /* slow, but it reads */
            conn->write_left = left;
            conn_move(conn, SH_HTTP_CONN_WRITE);
            return;
        }
    } /* fall through */
    default: sh_http_conn_close(conn);
    }
}

sh_str_t sh_http_peer(sh_http_request_t *request) {
    sh_http_conn_t *conn = request->conn;
    if (!conn) return SH_STR("");
    if (!conn->peer[0] && !conn->is_closing) {
        struct sockaddr_storage address;
        int len = sizeof address;
        if (uv_tcp_getpeername(&conn->tcp, (struct sockaddr *)&address, &len) == 0) {
            if (address.ss_family == AF_INET) {
                uv_ip4_name((struct sockaddr_in *)&address, conn->peer, sizeof conn->peer);
            } else if (address.ss_family == AF_INET6) {
                uv_ip6_name((struct sockaddr_in6 *)&address, conn->peer, sizeof conn->peer);
                static const char mapped[] = "::ffff:"; /* an IPv4 client on a dual-stack socket */
                if (strncmp(conn->peer, mapped, sizeof mapped - 1) == 0 && strchr(conn->peer, '.'))
                    memmove(conn->peer, conn->peer + sizeof mapped - 1, strlen(conn->peer) - (sizeof mapped - 1) + 1);
            }
        }
    }
    return sh_str_of(conn->peer);
}

void sh_http_conn_accept(sh_http_server_t *server) {
    sh_http_conn_t *conn = sh_calloc(1, sizeof *conn);
    conn->server = server;
    conn->tcp.data = conn;
    sh_list_init(&conn->link);
    sh_list_init(&conn->queue);
    SH_ASSERT(uv_tcp_init(server->loop, &conn->tcp) == 0);
    server->connections++;
    conn_move(conn, SH_HTTP_CONN_IDLE);
    if (uv_accept((uv_stream_t *)&server->listener, (uv_stream_t *)&conn->tcp) < 0 ||
        server->connections > server->opts.connections_max + SH_HTTP_REFUSED_CONNECTIONS_MAX) {
        sh_http_conn_close(conn);
        return;
    }
    uv_tcp_nodelay(&conn->tcp, 1);
    if (server->connections > server->opts.connections_max) {
        sh_http_exchange_t *exchange = sh_http_exchange_create(conn);
        exchange->request.started_ns = sh_time_mono_ns();
        conn_refuse(conn, exchange, 503, "too many connections", true);
    }
    conn_pump(conn, NULL, 0);
}
