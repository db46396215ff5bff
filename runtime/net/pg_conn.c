/* The life of one connection and what comes back on it; what goes out is in pg_flight.c.
 *
 * libpq's PQpipelineSync() always writes to the socket. With one flight a turn that is the one write there is; where several share a
 * connection in one turn, the socket is corked meanwhile, so that they still leave as one packet. */
#include "net/pg_conn.h"

#include "base/err.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

enum {
    STUCK_EXTRA_MS = 2000, /* beyond statement_timeout: then the server or the network is gone */
    BACKOFF_MIN_MS = 50,
    BACKOFF_MAX_MS = 5000,
};

/* ---- results */

static bool has_state(const PGresult *r, const char *sqlstate) {
    const char *have = PQresultErrorField(r, PG_DIAG_SQLSTATE);
    return have && strncmp(have, sqlstate, strlen(sqlstate)) == 0;
}

/* Did the server (or libpq) end the connection with it? */
static bool is_fatal(const PGresult *r) {
    const char *severity = PQresultErrorField(r, PG_DIAG_SEVERITY_NONLOCALIZED);
    return !severity || strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0;
}

/* What an error means for the caller. `has_effect`: the flight may have had an effect although no answer came. */
static int code_of(const PGresult *r, bool has_effect) {
    if (is_fatal(r)) return has_effect ? SH_EMAYBE : SH_EUNAVAILABLE;
    if (has_state(r, "57014") || has_state(r, "55P03")) return SH_ETIMEDOUT;
    if (has_state(r, "26000")) return SH_EUNAVAILABLE; /* the server forgot the statement: it did not run */
    return SH_EDB;
}

static const char *field(const PGresult *r, int which) {
    const char *text = PQresultErrorField(r, which);
    return text ? text : "";
}

static void fill_error(sh_pg_error_t *e, const sh_pg_flight_t *flight) {
    const PGresult *r = flight->failure;
    *e = (sh_pg_error_t){
        .code = code_of(r, flight->has_effect),
        .message = field(r, PG_DIAG_MESSAGE_PRIMARY),
        .detail = field(r, PG_DIAG_MESSAGE_DETAIL),
        .constraint = field(r, PG_DIAG_CONSTRAINT_NAME),
        .table = field(r, PG_DIAG_TABLE_NAME),
        .column = field(r, PG_DIAG_COLUMN_NAME),
        .statement = flight->failed_statement,
    };
    if (!*e->message) e->message = PQresultErrorMessage(r);
    snprintf(e->sqlstate, sizeof e->sqlstate, "%s", field(r, PG_DIAG_SQLSTATE));
}

static void finish(sh_pg_flight_t *flight, const sh_pg_error_t *error) {
    sh_pg_flight_fn fn = flight->fn;
    void *data = flight->data;
    uint32_t count = flight->statement_count;
    PGresult *failure = flight->failure;
    sh_pg_rows_t *kept[SH_PG_INLINE_ROWS], **rows = flight->rows;
    for (uint32_t i = flight->done; i < flight->command_count; i++)
        if (flight->commands[i].prepared) sh_pg_prepared_unpin(flight->commands[i].prepared);
    if (flight->commands != flight->inline_commands) free(flight->commands);
    bool is_inline = rows == flight->inline_rows;
    if (is_inline) {
        memcpy(kept, rows, sizeof kept);
        rows = kept;
    }
    fn(data, error ? error->code : SH_OK, error ? NULL : rows, error ? 0 : count, error); /* the flight may be gone now */
    for (uint32_t i = 0; i < count; i++) sh_pg_rows_release(rows[i]);
    if (!is_inline) free(rows);
    PQclear(failure);
}

static void set_up(sh_pg_conn_t *conn);

/* DISCARD ALL, or another server behind a pooler: neither statements nor settings are there any more. */
static void start_over(sh_pg_conn_t *conn) {
    sh_pg_prepared_forget(&conn->prepared);
    if (conn->in_transaction || sh_list_is_linked(&conn->setup.link))
        sh_pg_conn_doom(conn);
    else
        set_up(conn);
}

static void look_at_first(sh_pg_conn_t *conn) {
    const sh_pg_flight_t *first = sh_list_first(&conn->flights, sh_pg_flight_t, link);
    conn->progress_ms = uv_now(conn->loop);
    conn->first_statements = first ? first->statement_count : 0;
}

static void complete(sh_pg_conn_t *conn, sh_pg_flight_t *flight) {
    sh_pg_error_t error;
    sh_list_unlink(&flight->link);
    conn->flight_count--;
    look_at_first(conn);
    if (SH_LIKELY(!flight->failure)) {
        finish(flight, NULL);
        return;
    }
    fill_error(&error, flight);
    if (has_state(flight->failure, "26000")) start_over(conn);
    finish(flight, &error);
}

static void fail_command(sh_pg_conn_t *conn, sh_pg_flight_t *flight, const sh_pg_command_t *command, PGresult *r) {
    if (command->kind == SH_PG_CMD_PARSE)
        sh_pg_prepared_drop(&conn->prepared, command->prepared, false);
    else if (command->prepared && has_state(r, "0A000"))
        sh_pg_prepared_drop(&conn->prepared, command->prepared, true);                                             /* its result type changed */
    if (command->kind == SH_PG_CMD_COMMIT && PQresultStatus(r) == PGRES_FATAL_ERROR) conn->in_transaction = false; /* a refused COMMIT ends it */
    if (flight->failure || PQresultStatus(r) == PGRES_PIPELINE_ABORTED) {
        PQclear(r);
        return;
    }
    flight->failure = r;
    flight->failed_statement = command->statement;
}

static void succeed_command(sh_pg_conn_t *conn, sh_pg_flight_t *flight, const sh_pg_command_t *command, PGresult *r) {
    switch (command->kind) {
    case SH_PG_CMD_RUN: flight->rows[command->statement] = sh_pg_rows_create(r); return;
    case SH_PG_CMD_PARSE:
        if (command->prepared->state == SH_PG_PREPARED_SENT) command->prepared->state = SH_PG_PREPARED_READY;
        break;
    case SH_PG_CMD_BEGIN: conn->in_transaction = true; break;
    case SH_PG_CMD_COMMIT:
    case SH_PG_CMD_ROLLBACK: conn->in_transaction = false; break;
    case SH_PG_CMD_DEALLOCATE: break;
    }
    PQclear(r);
}

/* False: the connection was given up. */
static bool take_result(sh_pg_conn_t *conn, PGresult *r) {
    sh_pg_flight_t *flight = sh_list_first(&conn->flights, sh_pg_flight_t, link);
    ExecStatusType status = PQresultStatus(r);
    if (status == PGRES_PIPELINE_SYNC) {
        PQclear(r);
        SH_ASSERT(flight->done == flight->command_count);
        complete(conn, flight);
        return true;
    }
    if (flight->done == flight->command_count) { /* libpq's own word about a connection that broke before the Sync */
        PQclear(r);
        sh_pg_conn_lose(conn, PQerrorMessage(conn->pg));
        return false;
    }
    sh_pg_command_t command = flight->commands[flight->done++];
    if (SH_LIKELY(status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK || status == PGRES_EMPTY_QUERY))
        succeed_command(conn, flight, &command, r);
    else
        fail_command(conn, flight, &command, r);
    if (command.prepared) sh_pg_prepared_unpin(command.prepared);
    if (SH_UNLIKELY(PQstatus(conn->pg) == CONNECTION_BAD)) {
        sh_pg_conn_lose(conn, PQerrorMessage(conn->pg));
        return false;
    }
    return true;
}

/* Takes what has arrived. Callbacks may start new flights, but not close the connection. */
static void drain(sh_pg_conn_t *conn) {
    int nulls = 0; /* one ends each command's results */
    PGresult *r;
    while (!sh_list_is_empty(&conn->flights) && !PQisBusy(conn->pg)) {
        r = PQgetResult(conn->pg);
        if (!r) {
            if (++nulls > 2) return;
            continue;
        }
        nulls = 0;
        if (!take_result(conn, r)) return;
    }
    if (sh_list_is_empty(&conn->flights)) (void)PQisBusy(conn->pg); /* reads notices */
}

/* ---- losing */

static void on_poll_closed(uv_handle_t *handle) { free(handle); }

static void take_down(sh_pg_conn_t *conn) {
    conn->state = SH_PG_CONN_CLOSED;
    if (conn->connecting) sh_pg_connect_cancel(conn->connecting);
    conn->connecting = NULL;
    if (conn->poll) uv_close((uv_handle_t *)conn->poll, on_poll_closed);
    conn->poll = NULL;
    if (conn->pg) PQfinish(conn->pg);
    conn->pg = NULL;
    sh_list_unlink(&conn->dirty);
    conn->unsynced = NULL;
    conn->is_corked = conn->is_doomed = conn->is_writable_wanted = conn->has_unread = conn->in_transaction = false;
}

void sh_pg_conn_lose(sh_pg_conn_t *conn, const char *why) {
    char reason[256];
    sh_list_t lost;
    if (conn->state == SH_PG_CONN_CLOSED) return;
    snprintf(reason, sizeof reason, "%s", why);
    reason[strcspn(reason, "\n")] = 0;
    take_down(conn);
    sh_list_init(&lost);
    sh_list_each(it, tmp, &conn->flights) {
        sh_list_unlink(it);
        sh_list_link(&lost, it);
    }
    conn->flight_count = 0;
    conn->events->down(conn->data, reason);
    while (!sh_list_is_empty(&lost)) {
        sh_pg_flight_t *flight = SH_CONTAINER_OF(lost.next, sh_pg_flight_t, link);
        sh_list_unlink(&flight->link);
        sh_pg_error_t error = {
            .code = flight->is_sent && flight->has_effect ? SH_EMAYBE : SH_EUNAVAILABLE,
            .message = reason,
            .detail = "",
            .constraint = "",
            .table = "",
            .column = "",
            .statement = -1,
        };
        if (flight->failure && !is_fatal(flight->failure)) fill_error(&error, flight); /* the answer had come: only its Sync is missing */
        finish(flight, &error);
    }
    sh_pg_prepared_dispose(&conn->prepared);
    sh_pg_prepared_init(&conn->prepared, conn->opts->prepared_max);
}

/* ---- events */

static void on_poll(uv_poll_t *poll, int status, int events);

static void watch(sh_pg_conn_t *conn, bool is_writable_wanted) {
    if (conn->is_writable_wanted == is_writable_wanted) return;
    conn->is_writable_wanted = is_writable_wanted;
    uv_poll_start(conn->poll, UV_READABLE | (is_writable_wanted ? UV_WRITABLE : 0), on_poll);
}

/* False: lost. */
static bool flush(sh_pg_conn_t *conn) {
    int rc = PQflush(conn->pg);
    if (rc < 0) {
        sh_pg_conn_lose(conn, PQerrorMessage(conn->pg));
        return false;
    }
    if (rc > 0) conn->has_unread = true; /* libpq reads while it cannot write */
    watch(conn, rc > 0);
    return true;
}

static void on_poll(uv_poll_t *poll, int status, int events) {
    sh_pg_conn_t *conn = poll->data;
    if (status < 0) {
        sh_pg_conn_lose(conn, "the socket failed");
        return;
    }
    if ((events & UV_WRITABLE) && !flush(conn)) return;
    if (events & UV_READABLE) {
        if (!PQconsumeInput(conn->pg)) {
            drain(conn); /* what came before the end */
            if (conn->pg) sh_pg_conn_lose(conn, PQerrorMessage(conn->pg));
            return;
        }
    }
    drain(conn);
}

static void cork(sh_pg_conn_t *conn, int on) {
    if (!conn->is_tcp || conn->is_corked == on) return;
    conn->is_corked = on;
    setsockopt(PQsocket(conn->pg), IPPROTO_TCP, TCP_CORK, &on, sizeof on);
}

static void sync_now(sh_pg_conn_t *conn) {
    sh_pg_flight_t *flight = conn->unsynced;
    conn->unsynced = NULL;
    flight->is_sent = true;
    if (!PQpipelineSync(conn->pg)) conn->is_doomed = true;
}

void sh_pg_conn_sync_early(sh_pg_conn_t *conn) {
    if (!conn->unsynced) return;
    cork(conn, 1);
    sync_now(conn);
}

static void write_out(sh_pg_conn_t *conn) {
    if (conn->unsynced && !conn->is_doomed) sync_now(conn);
    if (conn->is_corked) cork(conn, 0);
    const char *why = PQerrorMessage(conn->pg);
    if (conn->is_doomed)
        sh_pg_conn_lose(conn, *why ? why : "the connection cannot be used any more");
    else if (flush(conn) && conn->has_unread) {
        conn->has_unread = false;
        drain(conn);
    }
}

/* ---- the turn's end */

static void stop_turn(sh_pg_turn_t *turn) {
    turn->is_wanted = false;
    uv_prepare_stop(&turn->prepare);
    uv_idle_stop(&turn->idle);
}

static void on_prepare(uv_prepare_t *prepare) {
    sh_pg_turn_t *turn = SH_CONTAINER_OF(prepare, sh_pg_turn_t, prepare);
    stop_turn(turn);
    if (turn->fn) turn->fn(turn->data);
    while (!sh_list_is_empty(&turn->dirty)) {
        sh_pg_conn_t *conn = SH_CONTAINER_OF(turn->dirty.next, sh_pg_conn_t, dirty);
        sh_list_unlink(&conn->dirty);
        write_out(conn);
    }
}

static void on_idle(uv_idle_t *idle) { (void)idle; }

void sh_pg_turn_open(sh_pg_turn_t *turn, uv_loop_t *loop, void (*fn)(void *data), void *data) {
    *turn = (sh_pg_turn_t){.fn = fn, .data = data, .open_handles = 2};
    sh_list_init(&turn->dirty);
    uv_prepare_init(loop, &turn->prepare);
    uv_idle_init(loop, &turn->idle);
}

static void turn_closed(sh_pg_turn_t *turn) {
    if (--turn->open_handles == 0) turn->close_fn(turn->close_data);
}
static void on_prepare_closed(uv_handle_t *handle) { turn_closed(SH_CONTAINER_OF(handle, sh_pg_turn_t, prepare)); }
static void on_idle_closed(uv_handle_t *handle) { turn_closed(SH_CONTAINER_OF(handle, sh_pg_turn_t, idle)); }

void sh_pg_turn_close(sh_pg_turn_t *turn, void (*fn)(void *data), void *data) {
    turn->close_fn = fn;
    turn->close_data = data;
    uv_close((uv_handle_t *)&turn->prepare, on_prepare_closed);
    uv_close((uv_handle_t *)&turn->idle, on_idle_closed);
}

void sh_pg_turn_want(sh_pg_turn_t *turn) {
    if (turn->is_wanted) return;
    turn->is_wanted = true;
    uv_prepare_start(&turn->prepare, on_prepare);
    uv_idle_start(&turn->idle, on_idle);
}

void sh_pg_conn_want_write(sh_pg_conn_t *conn) {
    if (sh_list_is_linked(&conn->dirty)) return;
    sh_list_link(&conn->turn->dirty, &conn->dirty);
    sh_pg_turn_want(conn->turn);
}

void sh_pg_conn_doom(sh_pg_conn_t *conn) {
    if (!conn->pg) return;
    conn->is_doomed = true;
    sh_pg_conn_want_write(conn);
}

/* ---- opening */

static void on_setup(void *data, int status, sh_pg_rows_t *const *rows, uint32_t count, const sh_pg_error_t *error) {
    sh_pg_conn_t *conn = data;
    (void)rows, (void)count;
    if (conn->state == SH_PG_CONN_CLOSED) return; /* lost meanwhile: down was told */
    if (status) {
        sh_log_error(conn->log, "a new connection's settings are refused", SH_LOG_C("pool", conn->opts->name), SH_LOG_C("reason", error->message));
        sh_pg_conn_doom(conn);
        return;
    }
    if (conn->state == SH_PG_CONN_UP) return; /* started over */
    conn->state = SH_PG_CONN_UP;
    conn->events->up(conn->data);
}

/* By a statement, not by the `options` of the start packet: poolers refuse those. */
static void set_up(sh_pg_conn_t *conn) {
    char timeout[24];
    snprintf(timeout, sizeof timeout, "%llu", (unsigned long long)conn->opts->statement_ms_max);
    const char *params[] = {timeout};
    const sh_pg_statement_t statement = {
        SH_STR("SELECT set_config('TimeZone', 'UTC', false), set_config('DateStyle', 'ISO', false), set_config('bytea_output', 'hex', false), "
               "set_config('statement_timeout', $1, false)"),
        1, params};
    if (sh_pg_conn_send(conn, &conn->setup, &statement, 1, 0, NULL, on_setup, conn)) sh_pg_conn_doom(conn);
}

static void on_notice(void *data, const PGresult *r) {
    const sh_pg_conn_t *conn = data;
    sh_log_debug(conn->log, "Postgres says", SH_LOG_C("pool", conn->opts->name), SH_LOG_C("notice", field(r, PG_DIAG_MESSAGE_PRIMARY)));
}

static void on_connected(void *data, PGconn *pg, const char *error) {
    sh_pg_conn_t *conn = data;
    conn->connecting = NULL;
    if (!pg) {
        sh_pg_conn_lose(conn, error);
        return;
    }
    conn->pg = pg;
    struct sockaddr_storage address;
    socklen_t len = sizeof address;
    conn->is_tcp = getsockname(PQsocket(pg), (struct sockaddr *)&address, &len) == 0 && address.ss_family != AF_UNIX;
    PQsetNoticeReceiver(pg, on_notice, conn);
    conn->poll = sh_calloc(1, sizeof *conn->poll);
    conn->poll->data = conn;
    if (uv_poll_init(conn->loop, conn->poll, PQsocket(pg))) {
        free(conn->poll);
        conn->poll = NULL;
        sh_pg_conn_lose(conn, "the socket cannot be watched");
        return;
    }
    if (PQsetnonblocking(pg, 1) || !PQenterPipelineMode(pg) || uv_poll_start(conn->poll, UV_READABLE, on_poll)) {
        sh_pg_conn_lose(conn, "the connection cannot be used");
        return;
    }
    set_up(conn);
}

void sh_pg_conn_open(sh_pg_conn_t *conn) {
    SH_ASSERT(conn->state == SH_PG_CONN_CLOSED);
    conn->state = SH_PG_CONN_OPENING;
    conn->connecting = sh_pg_connect_start(conn->loop, conn->target, on_connected, conn);
}

void sh_pg_conn_init(sh_pg_conn_t *conn, uv_loop_t *loop, const sh_pg_target_t *target, const sh_pg_opts_t *opts, sh_pg_turn_t *turn,
                     const sh_pg_conn_events_t *events, void *data, sh_log_t *log) {
    *conn = (sh_pg_conn_t){.loop = loop, .log = log, .target = target, .opts = opts, .turn = turn, .events = events, .data = data};
    sh_list_init(&conn->dirty);
    sh_list_init(&conn->flights);
    sh_list_init(&conn->setup.link);
    sh_pg_prepared_init(&conn->prepared, opts->prepared_max);
}

bool sh_pg_conn_is_stuck(const sh_pg_conn_t *conn, uint64_t now_ms) {
    if (sh_list_is_empty(&conn->flights) || !conn->opts->statement_ms_max) return false;
    uint32_t statements = conn->first_statements ? conn->first_statements : 1;
    return now_ms > conn->progress_ms + conn->opts->statement_ms_max * statements + STUCK_EXTRA_MS;
}

/* ---- cancelling */

struct sh_pg_cancel {
    uv_work_t work;
    PGcancel *cancel;
    sh_pg_conn_t *conn; /* NULL: gone meanwhile */
    void (*fn)(void *data);
    void *data;
};

static void cancel_now(uv_work_t *work) {
    char error[256];
    PQcancel(SH_CONTAINER_OF(work, sh_pg_cancel_t, work)->cancel, error, sizeof error); /* blocks; too late is as good as done */
}

static void cancel_done(uv_work_t *work, int status) {
    sh_pg_cancel_t *c = SH_CONTAINER_OF(work, sh_pg_cancel_t, work);
    (void)status;
    PQfreeCancel(c->cancel);
    if (c->conn) {
        c->conn->cancelling = NULL;
        c->fn(c->data);
    }
    free(c);
}

void sh_pg_conn_cancel(sh_pg_conn_t *conn, void (*fn)(void *data), void *data) {
    PGcancel *cancel = conn->pg && !conn->cancelling ? PQgetCancel(conn->pg) : NULL;
    if (!cancel) return;
    sh_pg_cancel_t *c = sh_calloc(1, sizeof *c);
    c->cancel = cancel;
    c->conn = conn;
    c->fn = fn;
    c->data = data;
    if (uv_queue_work(conn->loop, &c->work, cancel_now, cancel_done)) {
        PQfreeCancel(cancel);
        free(c);
        return;
    }
    conn->cancelling = c;
}

void sh_pg_conn_dispose(sh_pg_conn_t *conn) {
    SH_ASSERT(sh_list_is_empty(&conn->flights));
    if (conn->cancelling) conn->cancelling->conn = NULL;
    conn->cancelling = NULL;
    take_down(conn);
    sh_pg_prepared_dispose(&conn->prepared);
}

uint64_t sh_pg_backoff_ms(uint32_t tries) {
    uint64_t most = tries < 7 ? (uint64_t)BACKOFF_MIN_MS << tries : BACKOFF_MAX_MS;
    if (most > BACKOFF_MAX_MS) most = BACKOFF_MAX_MS;
    return most / 2 + uv_hrtime() / 1024 % (most / 2 + 1); /* jitter, so that workers do not come all at once */
}
