/* The pool: places, each on the list that is its state; tickets that wait; and the turn in which both meet.
 *
 *              open              up                first ticket          last ticket done
 *     (none) ───────▶ opening ───────▶ idle ─────────────────▶ shared ─────────────────────▶ idle
 *                        │              │  ▲ settled
 *                        │              └──┴──▶ leased          (idle too long and not the last: closed)
 *                        ▼ refused, lost from any state
 *                      broken ── backoff ──▶ opening
 *
 * Leases and statements wait in two lists with one numbering. A lease whose turn it is but finds no idle connection reserves the shared one
 * with the least on it: that one takes no more statements, empties and is given to the lease. Statements behind it may use other shared ones. */
#include "net/pg_pool_internal.h"

#include "base/err.h"

#include <stdlib.h>

enum {
    TICK_MS = 50,
    CLOSING_TICK_MS = 5,
    READY_AFTER_LOSS_MS = 1000,
    TICKETS_KEPT = 256,
    WAITING_PER_OPENING = 8,
    DEPTH_DEFAULT = 8,
    WAITING_DEFAULT = 2000,
    WAIT_MS_DEFAULT = 2000,
    IDLE_MS_DEFAULT = 30000,
    PREPARED_DEFAULT = 256,
};

/* ---- places */

static void on_tick(uv_timer_t *timer);

void sh_pg_pool_want_tick(sh_pg_pool_t *pool) {
    if (pool->is_ticking || pool->is_ending) return;
    pool->is_ticking = true;
    uint64_t every_ms = pool->is_closing ? CLOSING_TICK_MS : TICK_MS;
    uv_timer_start(&pool->tick, on_tick, every_ms, every_ms);
}

void sh_pg_place_move(sh_pg_place_t *place, sh_pg_place_state_t state) {
    sh_pg_pool_t *pool = place->pool;
    sh_list_unlink(&place->link);
    pool->counts[place->state]--;
    place->state = state;
    pool->counts[state]++;
    if (state == SH_PG_IDLE)
        sh_list_link_front(&pool->places[state], &place->link); /* the last used one is used next, so that others can rest */
    else
        sh_list_link(&pool->places[state], &place->link);
    place->since_ms = uv_now(pool->loop);
    if (pool->reserved == place) pool->reserved = NULL;
    if (state != SH_PG_IDLE || pool->counts[SH_PG_IDLE] > 1) sh_pg_pool_want_tick(pool);
}

static uint32_t up_count(const sh_pg_pool_t *pool) { return pool->counts[SH_PG_IDLE] + pool->counts[SH_PG_SHARED] + pool->counts[SH_PG_LEASED]; }
static uint32_t place_count(const sh_pg_pool_t *pool) { return up_count(pool) + pool->counts[SH_PG_OPENING] + pool->counts[SH_PG_BROKEN]; }

static void answer(sh_pg_ticket_t *ticket, int code, const char *why) {
    ticket->state = SH_PG_ANSWERED;
    ticket->code = code;
    ticket->why = why;
    sh_list_unlink(&ticket->link);
    sh_list_link(&ticket->pool->answers, &ticket->link);
    sh_pg_turn_want(&ticket->pool->turn);
}

static void fail_waiting(sh_pg_pool_t *pool, int code, const char *why) {
    sh_list_t *lists[] = {&pool->statements, &pool->leases};
    for (size_t i = 0; i < SH_ARRAY_LEN(lists); i++) sh_list_each(it, tmp, lists[i]) answer(SH_CONTAINER_OF(it, sh_pg_ticket_t, link), code, why);
    pool->waiting = 0;
}

static void on_up(void *data) {
    sh_pg_place_t *place = data;
    sh_pg_pool_t *pool = place->pool;
    if (pool->is_down) sh_log_info(pool->log, "Postgres is back", SH_LOG_C("pool", pool->name));
    pool->tries = 0;
    pool->is_down = false;
    pool->stats.connects++;
    sh_pg_place_move(place, SH_PG_IDLE);
    sh_pg_pool_dispatch(pool);
}

static void on_down(void *data, const char *why) {
    sh_pg_place_t *place = data;
    sh_pg_pool_t *pool = place->pool;
    bool was_opening = place->state == SH_PG_OPENING;
    if (place->lease) {
        sh_pg_lease_t *lease = place->lease;
        place->lease = NULL;
        lease->place = NULL;
        if (!lease->is_flying) sh_pg_lease_settle(lease); /* else when its flight is told */
    }
    place->tickets = 0;
    sh_pg_place_move(place, SH_PG_BROKEN);
    if (pool->is_closing) return;
    sh_log_warn(pool->log, was_opening ? "Postgres cannot be reached" : "a connection to Postgres was lost", SH_LOG_C("pool", pool->name),
                SH_LOG_C("reason", why), SH_LOG_I64("tries", pool->tries));
    if (!was_opening) {
        pool->lost_ms = uv_now(pool->loop);
        return; /* tried again at the next tick */
    }
    place->since_ms = uv_now(pool->loop) + sh_pg_backoff_ms(pool->tries++);
    if (up_count(pool) == 0) {
        pool->is_down = true;
        fail_waiting(pool, SH_EUNAVAILABLE, "Postgres cannot be reached");
    }
}

static void open_place(sh_pg_pool_t *pool) {
    static const sh_pg_conn_events_t events = {.up = on_up, .down = on_down};
    sh_pg_place_t *place = sh_calloc(1, sizeof *place);
    place->pool = pool;
    place->state = SH_PG_OPENING;
    sh_list_init(&place->link);
    sh_list_link(&pool->places[SH_PG_OPENING], &place->link);
    pool->counts[SH_PG_OPENING]++;
    sh_pg_conn_init(&place->conn, pool->loop, pool->target, &pool->opts, &pool->turn, &events, place, pool->log);
    sh_pg_conn_open(&place->conn);
    sh_pg_pool_want_tick(pool);
}

/* Not inside a flight's callback. */
static void close_place(sh_pg_place_t *place) {
    sh_pg_pool_t *pool = place->pool;
    if (pool->reserved == place) pool->reserved = NULL;
    sh_pg_conn_dispose(&place->conn);
    sh_list_unlink(&place->link);
    pool->counts[place->state]--;
    free(place);
}

static void grow(sh_pg_pool_t *pool) {
    if (pool->is_closing || pool->counts[SH_PG_BROKEN] || place_count(pool) >= pool->opts.connections_max) return;
    if (pool->counts[SH_PG_OPENING] < 1 + pool->waiting / WAITING_PER_OPENING) open_place(pool);
}

/* ---- tickets */

static sh_pg_ticket_t *take_ticket(sh_pg_pool_t *pool, sh_pg_ticket_kind_t kind, void *data) {
    sh_pg_ticket_t *ticket = sh_list_first(&pool->spare, sh_pg_ticket_t, link);
    if (ticket) {
        sh_list_unlink(&ticket->link);
        pool->spare_count--;
    } else {
        ticket = sh_alloc(sizeof *ticket);
        sh_list_init(&ticket->link);
    }
    ticket->pool = pool;
    ticket->kind = kind;
    ticket->data = data;
    ticket->is_cancelled = false;
    ticket->statements = NULL;
    ticket->lease = NULL;
    ticket->code = SH_OK;
    return ticket;
}

static void give_ticket(sh_pg_ticket_t *ticket) {
    sh_pg_pool_t *pool = ticket->pool;
    sh_list_unlink(&ticket->link);
    free(ticket->statements);
    if (pool->spare_count >= TICKETS_KEPT) {
        free(ticket);
        return;
    }
    pool->spare_count++;
    sh_list_link_front(&pool->spare, &ticket->link);
}

static sh_pg_statement_t *copy_statements(const sh_pg_statement_t *from, uint32_t count) {
    size_t size = count * sizeof *from;
    for (uint32_t i = 0; i < count; i++) {
        size += from[i].param_count * sizeof(char *) + from[i].sql.len;
        for (uint32_t k = 0; k < from[i].param_count; k++) size += from[i].params[k] ? strlen(from[i].params[k]) + 1 : 0;
    }
    sh_pg_statement_t *to = sh_alloc(size);
    const char **params = (const char **)(void *)(to + count);
    for (uint32_t i = 0; i < count; i++) {
        to[i] = (sh_pg_statement_t){.param_count = from[i].param_count, .params = params};
        params += from[i].param_count;
    }
    char *text = (char *)params;
    for (uint32_t i = 0; i < count; i++) {
        memcpy(text, from[i].sql.ptr, from[i].sql.len);
        to[i].sql = sh_str(text, from[i].sql.len);
        text += from[i].sql.len;
        const char **own = (const char **)(uintptr_t)to[i].params;
        for (uint32_t k = 0; k < from[i].param_count; k++) {
            own[k] = from[i].params[k] ? text : NULL;
            if (own[k]) text = stpcpy(text, from[i].params[k]) + 1;
        }
    }
    return to;
}

static void on_ticket_flown(void *data, int status, sh_pg_rows_t *const *rows, uint32_t count, const sh_pg_error_t *error) {
    sh_pg_ticket_t *ticket = data;
    sh_pg_pool_t *pool = ticket->pool;
    sh_pg_place_t *place = ticket->place;
    if (place->state == SH_PG_SHARED && --place->tickets == 0) sh_pg_place_move(place, SH_PG_IDLE);
    if (status) pool->stats.errors++;
    if (!ticket->is_cancelled) {
        if (ticket->kind == SH_PG_QUERY)
            ticket->fn.query(ticket->data, status, status ? NULL : rows[0], error);
        else
            ticket->fn.flight(ticket->data, status, rows, count, error);
    }
    give_ticket(ticket);
    if (pool->waiting) sh_pg_pool_dispatch(pool);
}

static int fly(sh_pg_place_t *place, sh_pg_ticket_t *ticket, const sh_pg_statement_t *statements, uint32_t count) {
    int rc = sh_pg_conn_send(&place->conn, &ticket->flight, statements, count, 0, NULL, on_ticket_flown, ticket);
    if (rc) return rc;
    ticket->place = place;
    ticket->state = SH_PG_FLYING;
    place->tickets++;
    place->pool->stats.queries += count;
    place->pool->stats.flights++;
    if (place->state != SH_PG_SHARED) sh_pg_place_move(place, SH_PG_SHARED);
    return SH_OK;
}

static sh_pg_place_t *pick_shared(sh_pg_pool_t *pool) {
    sh_list_each(it, tmp, &pool->places[SH_PG_SHARED]) {
        sh_pg_place_t *place = SH_CONTAINER_OF(it, sh_pg_place_t, link);
        if (place->tickets < pool->opts.shared_depth && place != pool->reserved && !place->conn.is_doomed) return place;
    }
    return NULL;
}

static sh_pg_place_t *pick_idle(sh_pg_pool_t *pool) {
    sh_list_each(it, tmp, &pool->places[SH_PG_IDLE]) {
        sh_pg_place_t *place = SH_CONTAINER_OF(it, sh_pg_place_t, link);
        if (!place->conn.is_doomed) return place;
    }
    return NULL;
}

static void leave_queue(sh_pg_ticket_t *ticket) {
    sh_list_unlink(&ticket->link);
    ticket->pool->waiting--;
    ticket->pool->stats.wait_ns += uv_hrtime() - ticket->queued_ns;
}

static void grant(sh_pg_ticket_t *ticket, sh_pg_place_t *place) {
    sh_pg_lease_t *lease = sh_calloc(1, sizeof *lease);
    lease->place = place;
    lease->begin_sql = "BEGIN";
    sh_list_init(&lease->flight.link);
    place->lease = lease;
    sh_pg_place_move(place, SH_PG_LEASED);
    ticket->lease = lease;
    answer(ticket, SH_OK, NULL);
}

static void reserve(sh_pg_pool_t *pool) {
    if (pool->reserved) return;
    sh_list_each(it, tmp, &pool->places[SH_PG_SHARED]) {
        sh_pg_place_t *place = SH_CONTAINER_OF(it, sh_pg_place_t, link);
        if (!pool->reserved || place->tickets < pool->reserved->tickets) pool->reserved = place;
    }
}

void sh_pg_pool_dispatch(sh_pg_pool_t *pool) {
    for (;;) {
        sh_pg_ticket_t *lease = sh_list_first(&pool->leases, sh_pg_ticket_t, link);
        sh_pg_ticket_t *statement = sh_list_first(&pool->statements, sh_pg_ticket_t, link);
        bool is_lease_first = lease && (!statement || lease->number < statement->number);
        sh_pg_place_t *place = NULL;
        if (!lease) pool->reserved = NULL;
        if (is_lease_first && (place = pick_idle(pool))) {
            leave_queue(lease);
            grant(lease, place);
            continue;
        }
        if (is_lease_first) reserve(pool);
        if (statement && ((place = pick_shared(pool)) || (!is_lease_first && (place = pick_idle(pool))))) {
            leave_queue(statement);
            int rc = fly(place, statement, statement->statements, statement->count);
            if (rc) answer(statement, rc, "the connection was lost");
            continue;
        }
        break;
    }
    if (pool->waiting) grow(pool);
}

static int wait_in(sh_pg_pool_t *pool, sh_list_t *queue, sh_pg_ticket_t *ticket) {
    if (pool->waiting >= pool->opts.waiting_max) return SH_ELIMIT;
    ticket->state = SH_PG_WAITING;
    ticket->number = ++pool->serial;
    ticket->queued_ns = uv_hrtime();
    sh_list_link(queue, &ticket->link);
    pool->waiting++;
    pool->stats.waits++;
    sh_pg_pool_want_tick(pool);
    return SH_OK;
}

static int refused(const sh_pg_pool_t *pool) { return pool->is_closing ? SH_ECLOSED : pool->is_down ? SH_EUNAVAILABLE : SH_OK; }

static int start(sh_pg_pool_t *pool, sh_pg_ticket_t *ticket, const sh_pg_statement_t *statements, uint32_t count) {
    sh_pg_place_t *place = sh_list_is_empty(&pool->statements) ? pick_shared(pool) : NULL;
    if (!place && !pool->waiting) place = pick_idle(pool);
    if (SH_LIKELY(place != NULL)) return fly(place, ticket, statements, count);
    int rc = sh_pg_statements_check(statements, count, 0);
    if (!rc) rc = wait_in(pool, &pool->statements, ticket);
    if (rc) return rc;
    ticket->statements = copy_statements(statements, count);
    ticket->count = count;
    sh_pg_pool_dispatch(pool);
    return SH_OK;
}

static int started(int rc, sh_pg_ticket_t *ticket, sh_pg_ticket_t **out) {
    if (rc)
        give_ticket(ticket);
    else if (out)
        *out = ticket;
    return rc;
}

int sh_pg_pool_query(sh_pg_pool_t *pool, const sh_pg_statement_t *statement, sh_pg_rows_fn fn, void *data, sh_pg_ticket_t **out) {
    int rc = refused(pool);
    if (rc) return rc;
    sh_pg_ticket_t *ticket = take_ticket(pool, SH_PG_QUERY, data);
    ticket->fn.query = fn;
    return started(start(pool, ticket, statement, 1), ticket, out);
}

int sh_pg_pool_flight(sh_pg_pool_t *pool, const sh_pg_statement_t *statements, uint32_t count, sh_pg_flight_fn fn, void *data, sh_pg_ticket_t **out) {
    int rc = refused(pool);
    if (rc) return rc;
    sh_pg_ticket_t *ticket = take_ticket(pool, SH_PG_FLIGHT, data);
    ticket->fn.flight = fn;
    return started(start(pool, ticket, statements, count), ticket, out);
}

int sh_pg_pool_lease(sh_pg_pool_t *pool, sh_pg_lease_fn fn, void *data, sh_pg_ticket_t **out) {
    int rc = refused(pool);
    if (rc) return rc;
    sh_pg_ticket_t *ticket = take_ticket(pool, SH_PG_LEASE, data);
    ticket->fn.lease = fn;
    sh_pg_place_t *place = pool->waiting ? NULL : pick_idle(pool);
    if (place) {
        grant(ticket, place);
    } else if (!(rc = wait_in(pool, &pool->leases, ticket))) {
        sh_pg_pool_dispatch(pool);
    }
    return started(rc, ticket, out);
}

void sh_pg_ticket_cancel(sh_pg_ticket_t *ticket) {
    sh_pg_pool_t *pool = ticket->pool;
    ticket->is_cancelled = true;
    if (ticket->state == SH_PG_FLYING) return; /* the rows are dropped */
    if (ticket->state == SH_PG_WAITING) {
        leave_queue(ticket);
        if (pool->waiting) sh_pg_pool_dispatch(pool); /* it may have stood in the way */
    }
    if (ticket->lease) sh_pg_lease_return(ticket->lease);
    give_ticket(ticket);
}

/* ---- time */

static void tick_queue(sh_pg_pool_t *pool, sh_list_t *queue) {
    uint64_t now_ns = uv_hrtime();
    sh_list_each(it, tmp, queue) {
        sh_pg_ticket_t *ticket = SH_CONTAINER_OF(it, sh_pg_ticket_t, link);
        if (now_ns - ticket->queued_ns < pool->opts.wait_ms_max * 1000000) return; /* in order */
        leave_queue(ticket);
        pool->stats.errors++;
        answer(ticket, SH_ETIMEDOUT, "no connection within db.wait_ms");
    }
}

static sh_pg_place_t *find_stuck(sh_pg_pool_t *pool, uint64_t now_ms) {
    for (sh_pg_place_state_t state = SH_PG_OPENING; state <= SH_PG_LEASED; state++) sh_list_each(it, tmp, &pool->places[state]) {
            sh_pg_place_t *place = SH_CONTAINER_OF(it, sh_pg_place_t, link);
            if (sh_pg_conn_is_stuck(&place->conn, now_ms)) return place;
        }
    return NULL;
}

static void tick_places(sh_pg_pool_t *pool, uint64_t now_ms) {
    sh_pg_place_t *stuck;
    while ((stuck = find_stuck(pool, now_ms))) sh_pg_conn_lose(&stuck->conn, "the server does not answer"); /* callbacks may move any place */
    sh_pg_leases_tick(pool, now_ms);
    sh_list_each(it, tmp, &pool->places[SH_PG_IDLE]) {
        sh_pg_place_t *place = SH_CONTAINER_OF(it, sh_pg_place_t, link);
        if (pool->counts[SH_PG_IDLE] > 1 && up_count(pool) > 1 && now_ms - place->since_ms >= pool->opts.idle_ms_max) close_place(place);
    }
    bool is_needed = up_count(pool) + pool->counts[SH_PG_OPENING] == 0 || pool->waiting;
    sh_list_each(it, tmp, &pool->places[SH_PG_BROKEN]) {
        sh_pg_place_t *place = SH_CONTAINER_OF(it, sh_pg_place_t, link);
        if (!is_needed || pool->counts[SH_PG_BROKEN] > 1) {
            close_place(place);
        } else if (now_ms >= place->since_ms) {
            sh_pg_place_move(place, SH_PG_OPENING);
            sh_pg_conn_open(&place->conn);
        }
    }
}

static void end(sh_pg_pool_t *pool);

static void on_tick(uv_timer_t *timer) {
    sh_pg_pool_t *pool = SH_CONTAINER_OF(timer, sh_pg_pool_t, tick);
    uint64_t now_ms = uv_now(pool->loop);
    if (pool->is_closing) {
        if ((pool->counts[SH_PG_SHARED] == 0 && pool->counts[SH_PG_LEASED] == 0) || now_ms >= pool->close_at_ms)
            end(pool);
        else
            tick_places(pool, now_ms);
        return;
    }
    tick_queue(pool, &pool->statements);
    tick_queue(pool, &pool->leases);
    tick_places(pool, now_ms);
    if (pool->waiting) sh_pg_pool_dispatch(pool);
    if (pool->waiting || pool->counts[SH_PG_OPENING] || pool->counts[SH_PG_SHARED] || pool->counts[SH_PG_LEASED] || pool->counts[SH_PG_BROKEN] ||
        pool->counts[SH_PG_IDLE] > 1)
        return;
    pool->is_ticking = false;
    uv_timer_stop(timer);
}

static void answer_one(sh_pg_ticket_t *ticket) {
    static const sh_pg_error_t none = {.message = "", .detail = "", .constraint = "", .table = "", .column = "", .statement = -1};
    sh_pg_error_t error = none;
    error.code = ticket->code;
    error.message = ticket->why ? ticket->why : "";
    int code = ticket->code;
    const sh_pg_error_t *told = code ? &error : NULL;
    if (ticket->kind == SH_PG_LEASE)
        ticket->fn.lease(ticket->data, code, ticket->lease, told);
    else if (ticket->kind == SH_PG_QUERY)
        ticket->fn.query(ticket->data, code, NULL, told);
    else
        ticket->fn.flight(ticket->data, code, NULL, 0, told);
    ticket->lease = NULL;
    give_ticket(ticket);
}

static void on_turn(void *data) {
    sh_pg_pool_t *pool = data;
    sh_list_t now;
    sh_list_init(&now);
    sh_list_each(it, tmp, &pool->answers) { /* what callbacks add comes a turn later */
        sh_list_unlink(it);
        sh_list_link(&now, it);
    }
    while (!sh_list_is_empty(&now)) {
        sh_pg_ticket_t *ticket = SH_CONTAINER_OF(now.next, sh_pg_ticket_t, link);
        sh_list_unlink(&ticket->link);
        answer_one(ticket);
    }
}

/* ---- life */

static uint64_t or_default(uint64_t value, uint64_t otherwise) { return value ? value : otherwise; }

int sh_pg_pool_create(uv_loop_t *loop, const sh_pg_opts_t *opts, sh_log_t *log, sh_pg_pool_t **out) {
    sh_pg_target_t *target;
    int rc = sh_pg_target_create(opts, log, &target);
    if (rc) return rc;
    sh_pg_pool_t *pool = sh_calloc(1, sizeof *pool);
    pool->loop = loop;
    pool->log = log;
    pool->target = target;
    pool->name = sh_strdup(opts->name ? opts->name : "");
    pool->opts = *opts;
    pool->opts.conninfo = NULL; /* the target has it */
    pool->opts.name = pool->name;
    pool->opts.connections_max = (uint32_t)or_default(opts->connections_max, 1);
    pool->opts.shared_depth = (uint32_t)or_default(opts->shared_depth, DEPTH_DEFAULT);
    pool->opts.waiting_max = (uint32_t)or_default(opts->waiting_max, WAITING_DEFAULT);
    pool->opts.wait_ms_max = or_default(opts->wait_ms_max, WAIT_MS_DEFAULT);
    pool->opts.idle_ms_max = or_default(opts->idle_ms_max, IDLE_MS_DEFAULT);
    pool->opts.prepared_max = (uint32_t)or_default(opts->prepared_max, PREPARED_DEFAULT);
    for (int i = 0; i < SH_PG_STATES; i++) sh_list_init(&pool->places[i]);
    sh_list_init(&pool->statements);
    sh_list_init(&pool->leases);
    sh_list_init(&pool->answers);
    sh_list_init(&pool->spare);
    sh_pg_turn_open(&pool->turn, loop, on_turn, pool);
    SH_ASSERT(uv_timer_init(loop, &pool->tick) == 0);
    open_place(pool);
    *out = pool;
    return SH_OK;
}

static void on_turn_closed(void *data) {
    sh_pg_pool_t *pool = data;
    void (*fn)(void *) = pool->close_fn;
    void *fn_data = pool->close_data;
    while (!sh_list_is_empty(&pool->spare)) {
        sh_pg_ticket_t *ticket = sh_list_first(&pool->spare, sh_pg_ticket_t, link);
        sh_list_unlink(&ticket->link);
        free(ticket);
    }
    sh_pg_target_destroy(pool->target);
    free(pool->name);
    free(pool);
    if (fn) fn(fn_data);
}

static void on_tick_closed(uv_handle_t *handle) {
    sh_pg_pool_t *pool = SH_CONTAINER_OF(handle, sh_pg_pool_t, tick);
    sh_pg_turn_close(&pool->turn, on_turn_closed, pool);
}

/* From the tick only: no callback of a connection is on the stack. */
static void end(sh_pg_pool_t *pool) {
    pool->is_ending = true;
    for (sh_pg_place_state_t state = SH_PG_OPENING; state <= SH_PG_LEASED; state++)
        while (!sh_list_is_empty(&pool->places[state])) /* losing moves it to the broken ones */
            sh_pg_conn_lose(&SH_CONTAINER_OF(pool->places[state].next, sh_pg_place_t, link)->conn, "the pool is closed");
    sh_list_each(it, tmp, &pool->places[SH_PG_BROKEN]) close_place(SH_CONTAINER_OF(it, sh_pg_place_t, link));
    while (!sh_list_is_empty(&pool->answers)) on_turn(pool); /* nothing new is taken */
    uv_close((uv_handle_t *)&pool->tick, on_tick_closed);
}

void sh_pg_pool_close(sh_pg_pool_t *pool, uint64_t grace_ms, void (*fn)(void *data), void *data) {
    SH_ASSERT(!pool->is_closing);
    pool->is_closing = true;
    pool->close_at_ms = uv_now(pool->loop) + grace_ms;
    pool->close_fn = fn;
    pool->close_data = data;
    fail_waiting(pool, SH_ECANCELED, "the pool is closing");
    uv_timer_stop(&pool->tick);
    pool->is_ticking = false;
    sh_pg_pool_want_tick(pool);
}

bool sh_pg_pool_is_ready(const sh_pg_pool_t *pool) {
    return up_count(pool) > 0 || (!pool->is_down && pool->lost_ms && uv_now(pool->loop) - pool->lost_ms < READY_AFTER_LOSS_MS);
}

void sh_pg_pool_stats(const sh_pg_pool_t *pool, sh_pg_pool_stats_t *out) {
    *out = pool->stats;
    out->opening = pool->counts[SH_PG_OPENING];
    out->idle = pool->counts[SH_PG_IDLE];
    out->shared = pool->counts[SH_PG_SHARED];
    out->leased = pool->counts[SH_PG_LEASED];
    out->broken = pool->counts[SH_PG_BROKEN];
    out->waiting = pool->waiting;
}
