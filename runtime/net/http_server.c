/* The server itself: listening, the one timer, draining and closing. */
#include "net/http_server.h"

#include "base/err.h"
#include "net/http_conn.h"

#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { BACKLOG = 1024, TICK_MS_MIN = 5, TICK_MS_MAX = 500 };

static uint64_t timeout_ms_of(const sh_http_server_t *server, sh_http_conn_state_t state) {
    switch (state) {
    case SH_HTTP_CONN_IDLE: return server->opts.idle_timeout_ms;
    case SH_HTTP_CONN_HEAD: return server->opts.head_timeout_ms;
    case SH_HTTP_CONN_BODY: return server->opts.body_timeout_ms;
    case SH_HTTP_CONN_WRITE: return server->opts.write_timeout_ms;
    case SH_HTTP_CONN_LINGER: return SH_HTTP_LINGER_MS;
    default: return 0; /* BUSY: the edge has deadlines of its own */
    }
}

const char *sh_http_server_date(sh_http_server_t *server) {
    uint64_t now_ms = uv_now(server->loop);
    if (!server->date[0] || now_ms - server->date_ms >= 1000) {
        static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
        time_t now = time(NULL);
        struct tm tm;
        gmtime_r(&now, &tm);
        char text[64];
        /* strftime would ask the locale */
        snprintf(text, sizeof text, "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT", days + 3 * tm.tm_wday, tm.tm_mday, months + 3 * tm.tm_mon,
                 tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
        memcpy(server->date, text, SH_HTTP_DATE_LEN);
        server->date_ms = now_ms;
    }
    return server->date;
}

/* ---- the end ---- */

static void server_freed(uv_handle_t *handle) {
    sh_http_server_t *server = handle->data;
    sh_list_each(it, tmp, &server->spare) {
        sh_http_exchange_t *exchange = SH_CONTAINER_OF(SH_CONTAINER_OF(it, sh_http_request_t, link), sh_http_exchange_t, request);
        sh_arena_dispose(&exchange->request.arena);
        free(exchange);
    }
    void (*fn)(void *) = server->closed_fn;
    void *data = server->closed_data;
    free(server);
    if (fn) fn(data);
}

/* The timer's handle is the last one, so that the server is never freed inside a call of its user. */
static void server_close_if_done(sh_http_server_t *server) {
    if (server->is_closing && server->is_listener_closed && server->connections == 0 && !uv_is_closing((uv_handle_t *)&server->timer))
        uv_close((uv_handle_t *)&server->timer, server_freed);
}

static void server_tick(uv_timer_t *timer) {
    sh_http_server_t *server = timer->data;
    uint64_t now_ms = uv_now(server->loop);
    for (int state = 0; state < SH_HTTP_CONN_STATES; state++) {
        uint64_t limit_ms = timeout_ms_of(server, state);
        sh_http_conn_t *conn;
        while (limit_ms && (conn = sh_list_first(&server->states[state], sh_http_conn_t, link)) && now_ms - conn->since_ms >= limit_ms)
            sh_http_conn_expire(conn);
    }
    if (server->is_draining && server->is_listener_closed && server->connections == 0 && server->drained_fn) {
        void (*fn)(void *) = server->drained_fn;
        server->drained_fn = NULL;
        fn(server->drained_data);
    }
}

/* Runs the tick in the next loop turn: whoever waits for the last connection should not wait for the period. */
static void server_tick_soon(sh_http_server_t *server) {
    if (!uv_is_closing((uv_handle_t *)&server->timer)) uv_timer_start(&server->timer, server_tick, 0, server->tick_ms);
}

void sh_http_server_conn_freed(sh_http_server_t *server) {
    server->connections--;
    if (server->connections) return;
    if (server->drained_fn) server_tick_soon(server);
    server_close_if_done(server);
}

static void listener_closed(uv_handle_t *handle) {
    sh_http_server_t *server = handle->data;
    server->is_listener_closed = true;
    if (server->drained_fn) server_tick_soon(server);
    server_close_if_done(server);
}

static void listener_close(sh_http_server_t *server) {
    if (!uv_is_closing((uv_handle_t *)&server->listener)) uv_close((uv_handle_t *)&server->listener, listener_closed);
}

void sh_http_server_drain(sh_http_server_t *server, void (*fn)(void *data), void *data) {
    server->is_draining = true;
    server->drained_fn = fn;
    server->drained_data = data;
    listener_close(server);
    sh_list_each(it, tmp, &server->states[SH_HTTP_CONN_IDLE]) sh_http_conn_close_if_quiet(SH_CONTAINER_OF(it, sh_http_conn_t, link));
    server_tick_soon(server);
}

void sh_http_server_close(sh_http_server_t *server, void (*fn)(void *data), void *data) {
    if (server->is_closing) return;
    server->is_closing = true;
    server->closed_fn = fn;
    server->closed_data = data;
    server->drained_fn = NULL;
    listener_close(server);
    for (int state = 0; state < SH_HTTP_CONN_CLOSING; state++) {
        sh_http_conn_t *conn;
        while ((conn = sh_list_first(&server->states[state], sh_http_conn_t, link))) sh_http_conn_close(conn);
    }
    server_close_if_done(server); /* after a drain nothing else would come by */
}

/* ---- the beginning ---- */

static void server_connection(uv_stream_t *listener, int status) {
    sh_http_server_t *server = listener->data;
    if (status < 0) {
        sh_log_warn(server->log, "accept failed", SH_LOG_C("error", uv_strerror(status)));
        return;
    }
    sh_http_conn_accept(server);
}

static uint64_t tick_ms_of(const sh_http_server_t *server) {
    uint64_t tick_ms = TICK_MS_MAX;
    for (int state = 0; state < SH_HTTP_CONN_STATES; state++) {
        uint64_t limit_ms = timeout_ms_of(server, state);
        if (limit_ms && limit_ms / 4 < tick_ms) tick_ms = limit_ms / 4;
    }
    return tick_ms < TICK_MS_MIN ? TICK_MS_MIN : tick_ms;
}

int sh_http_server_create(uv_loop_t *loop, int fd, const sh_http_opts_t *opts, const sh_http_handlers_t *handlers, void *data, sh_log_t *log,
                          sh_http_server_t **out) {
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (own < 0) return SH_EIO;
    sh_http_server_t *server = sh_calloc(1, sizeof *server);
    *server = (sh_http_server_t){.loop = loop, .opts = *opts, .handlers = *handlers, .data = data, .log = log};
    if (!server->opts.pipeline_max) server->opts.pipeline_max = 1;
    for (int i = 0; i < SH_HTTP_CONN_STATES; i++) sh_list_init(&server->states[i]);
    sh_list_init(&server->spare);
    server->tick_ms = tick_ms_of(server);

    SH_ASSERT(uv_timer_init(loop, &server->timer) == 0);
    SH_ASSERT(uv_tcp_init(loop, &server->listener) == 0);
    server->timer.data = server->listener.data = server;
    int rc = uv_tcp_open(&server->listener, own);
    if (rc < 0)
        close(own);
    else
        rc = uv_listen((uv_stream_t *)&server->listener, BACKLOG, server_connection);
    if (rc < 0) {
        sh_log_error(log, "cannot listen", SH_LOG_C("error", uv_strerror(rc)));
        sh_http_server_close(server, NULL, NULL); /* freed by the loop's next turns */
        return SH_EIO;
    }
    uv_timer_start(&server->timer, server_tick, server->tick_ms, server->tick_ms);
    *out = server;
    return SH_OK;
}

uint32_t sh_http_server_connections(const sh_http_server_t *server) { return server->connections; }
uint32_t sh_http_server_in_flight(const sh_http_server_t *server) { return server->in_flight; }
