/* A connection of its own that comes back by itself: up and down are told, statements go out one by one, each for itself. */
#include "net/pg_conn.h"

#include "base/err.h"

#include <stdlib.h>

enum { TICK_MS = 50, QUEUED_MAX = 256, PREPARED_DEFAULT = 64 };

struct sh_pg_session {
    uv_loop_t *loop;
    sh_log_t *log;
    sh_pg_opts_t opts;
    char *name;
    sh_pg_target_t *target;
    sh_pg_turn_t turn;
    uv_timer_t tick;
    sh_pg_conn_t conn;
    void (*on_up)(void *data, sh_pg_session_t *session);
    void (*on_down)(void *data, sh_pg_session_t *session);
    void *data;
    bool was_up, is_closing;
    uint32_t tries;
    uint64_t retry_at_ms;
    void (*close_fn)(void *data);
    void *close_data;
};

typedef struct asked {
    sh_pg_flight_t flight;
    sh_pg_rows_fn fn;
    void *data;
} asked_t;

static void on_tick(uv_timer_t *timer);

/* Ticks only while there is something to watch. */
static void want_tick(sh_pg_session_t *s) {
    if (!uv_is_active((uv_handle_t *)&s->tick)) uv_timer_start(&s->tick, on_tick, TICK_MS, TICK_MS);
}

static void on_up(void *data) {
    sh_pg_session_t *s = data;
    s->was_up = true;
    s->tries = 0;
    if (!s->is_closing && s->on_up) s->on_up(s->data, s);
}

static void on_down(void *data, const char *why) {
    sh_pg_session_t *s = data;
    bool was_up = s->was_up;
    s->was_up = false;
    s->retry_at_ms = uv_now(s->loop) + sh_pg_backoff_ms(s->tries++);
    if (s->is_closing) return;
    want_tick(s);
    sh_log_warn(s->log, was_up ? "a session with Postgres was lost" : "Postgres cannot be reached for a session", SH_LOG_C("pool", s->name),
                SH_LOG_C("reason", why), SH_LOG_I64("tries", s->tries));
    if (was_up && s->on_down) s->on_down(s->data, s);
}

static void on_turn_closed(void *data) {
    sh_pg_session_t *s = data;
    void (*fn)(void *) = s->close_fn;
    void *fn_data = s->close_data;
    sh_pg_target_destroy(s->target);
    free(s->name);
    free(s);
    if (fn) fn(fn_data);
}

static void on_tick_closed(uv_handle_t *handle) {
    sh_pg_session_t *s = SH_CONTAINER_OF(handle, sh_pg_session_t, tick);
    sh_pg_turn_close(&s->turn, on_turn_closed, s);
}

static void on_tick(uv_timer_t *timer) {
    sh_pg_session_t *s = SH_CONTAINER_OF(timer, sh_pg_session_t, tick);
    uint64_t now_ms = uv_now(s->loop);
    if (s->is_closing) {
        sh_pg_conn_lose(&s->conn, "the session is closed");
        sh_pg_conn_dispose(&s->conn);
        uv_close((uv_handle_t *)timer, on_tick_closed);
    } else if (sh_pg_conn_is_stuck(&s->conn, now_ms)) {
        sh_pg_conn_lose(&s->conn, "the server does not answer");
    } else if (s->conn.state == SH_PG_CONN_CLOSED && now_ms >= s->retry_at_ms) {
        sh_pg_conn_open(&s->conn);
    } else if (s->conn.state == SH_PG_CONN_UP && !s->conn.flight_count) {
        uv_timer_stop(timer);
    }
}

int sh_pg_session_open(uv_loop_t *loop, const sh_pg_opts_t *opts, void (*up)(void *data, sh_pg_session_t *session),
                       void (*down)(void *data, sh_pg_session_t *session), void *data, sh_log_t *log, sh_pg_session_t **out) {
    static const sh_pg_conn_events_t events = {.up = on_up, .down = on_down};
    sh_pg_target_t *target;
    int rc = sh_pg_target_create(opts, log, &target);
    if (rc) return rc;
    sh_pg_session_t *s = sh_calloc(1, sizeof *s);
    s->loop = loop;
    s->log = log;
    s->target = target;
    s->name = sh_strdup(opts->name ? opts->name : "");
    s->opts = *opts;
    s->opts.conninfo = NULL; /* the target has it */
    s->opts.name = s->name;
    if (!s->opts.prepared_max) s->opts.prepared_max = PREPARED_DEFAULT;
    s->on_up = up;
    s->on_down = down;
    s->data = data;
    sh_pg_turn_open(&s->turn, loop, NULL, NULL);
    SH_ASSERT(uv_timer_init(loop, &s->tick) == 0);
    sh_pg_conn_init(&s->conn, loop, target, &s->opts, &s->turn, &events, s, log);
    uv_timer_start(&s->tick, on_tick, 0, TICK_MS);
    *out = s;
    return SH_OK;
}

static void on_flown(void *data, int status, sh_pg_rows_t *const *rows, uint32_t count, const sh_pg_error_t *error) {
    asked_t *asked = data;
    (void)count;
    asked->fn(asked->data, status, status ? NULL : rows[0], error);
    free(asked);
}

static int query(sh_pg_session_t *s, const sh_pg_statement_t *statement, unsigned flags, sh_pg_rows_fn fn, void *data) {
    if (s->is_closing) return SH_ECLOSED;
    if (s->conn.state != SH_PG_CONN_UP) return SH_EUNAVAILABLE;
    if (s->conn.flight_count >= QUEUED_MAX) return SH_ELIMIT;
    asked_t *asked = sh_alloc(sizeof *asked);
    asked->fn = fn;
    asked->data = data;
    int rc = sh_pg_conn_send(&s->conn, &asked->flight, statement, 1, SH_PG_INTERNAL | flags, NULL, on_flown, asked);
    if (rc)
        free(asked);
    else
        want_tick(s);
    return rc;
}

int sh_pg_session_query(sh_pg_session_t *s, const sh_pg_statement_t *statement, sh_pg_rows_fn fn, void *data) {
    return query(s, statement, 0, fn, data);
}

int sh_pg_session_query_bytes(sh_pg_session_t *s, const sh_pg_statement_t *statement, sh_pg_rows_fn fn, void *data) {
    return query(s, statement, SH_PG_BINARY_ROWS, fn, data);
}

void sh_pg_session_close(sh_pg_session_t *s, void (*fn)(void *data), void *data) {
    SH_ASSERT(!s->is_closing);
    s->is_closing = true;
    s->close_fn = fn;
    s->close_data = data;
    uv_timer_start(&s->tick, on_tick, 0, 0); /* not here: its own callback may be calling */
}
