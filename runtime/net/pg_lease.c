/* Leases: a connection for one owner, whole transactions on it, and its way back to the others whatever state it was left in. */
#include "net/pg_pool_internal.h"

#include "base/err.h"

#include <stdlib.h>

enum { CANCEL_AFTER_MS = 20, ROLLBACKS_MAX = 2 /* a late cancel may hit one */ };

bool sh_pg_lease_in_transaction(const sh_pg_lease_t *lease) { return lease->place && lease->place->conn.in_transaction; }
void sh_pg_lease_isolation(sh_pg_lease_t *lease, const char *begin_sql) { lease->begin_sql = begin_sql; }

static void on_lease_flown(void *data, int status, sh_pg_rows_t *const *rows, uint32_t count, const sh_pg_error_t *error) {
    sh_pg_lease_t *lease = data;
    lease->is_flying = false;
    lease->is_failed = sh_pg_lease_in_transaction(lease) && (status || lease->is_failed);
    if (status && lease->place) lease->place->pool->stats.errors++;
    if (lease->is_returned)
        sh_pg_lease_settle(lease);
    else
        lease->fn(lease->data, status, rows, count, error);
}

static int send_flight(sh_pg_lease_t *lease, const sh_pg_statement_t *statements, uint32_t count, unsigned flags) {
    int rc = sh_pg_conn_send(&lease->place->conn, &lease->flight, statements, count, flags, lease->begin_sql, on_lease_flown, lease);
    if (!rc) lease->is_flying = true;
    return rc;
}

int sh_pg_lease_send(sh_pg_lease_t *lease, const sh_pg_statement_t *statements, uint32_t count, unsigned flags, sh_pg_flight_fn fn, void *data) {
    if (!lease->place) return SH_EUNAVAILABLE;
    bool is_inside = sh_pg_lease_in_transaction(lease);
    if (lease->is_flying || (lease->is_failed && !(flags & SH_PG_ROLLBACK)) || (is_inside && (flags & SH_PG_BEGIN))) return SH_EINVAL;
    if (lease->is_failed && count) return SH_EINVAL;
    lease->fn = fn;
    lease->data = data;
    int rc = send_flight(lease, statements, count, flags);
    if (rc) return rc;
    lease->place->pool->stats.queries += count;
    lease->place->pool->stats.flights++;
    return SH_OK;
}

static void on_cancelled(void *data) {
    sh_pg_place_t *place = data;
    if (place->lease) sh_pg_lease_settle(place->lease);
}

void sh_pg_lease_settle(sh_pg_lease_t *lease) {
    sh_pg_place_t *place = lease->place;
    if (!lease->is_returned || lease->is_flying) return;
    if (!place) {
        free(lease);
        return;
    }
    if (sh_pg_conn_is_cancelling(&place->conn)) return; /* else it would hit the next one */
    lease->cancel_at_ms = 0;
    if (place->conn.in_transaction) {
        if (lease->rollbacks++ < ROLLBACKS_MAX && send_flight(lease, NULL, 0, SH_PG_ROLLBACK) == SH_OK) return;
        sh_pg_conn_doom(&place->conn);
    }
    sh_pg_pool_t *pool = place->pool;
    place->lease = NULL;
    free(lease);
    place->tickets = 0;
    sh_pg_place_move(place, SH_PG_IDLE); /* one that is doomed is not picked */
    sh_pg_pool_dispatch(pool);
}

void sh_pg_lease_return(sh_pg_lease_t *lease) {
    lease->is_returned = true;
    if (lease->is_flying && lease->place) {
        lease->cancel_at_ms = uv_now(lease->place->pool->loop) + CANCEL_AFTER_MS; /* most are done before that */
        sh_pg_pool_want_tick(lease->place->pool);
    }
    sh_pg_lease_settle(lease);
}

void sh_pg_leases_tick(sh_pg_pool_t *pool, uint64_t now_ms) {
    sh_list_each(it, tmp, &pool->places[SH_PG_LEASED]) {
        sh_pg_place_t *place = SH_CONTAINER_OF(it, sh_pg_place_t, link);
        sh_pg_lease_t *lease = place->lease;
        if (!lease->is_returned || !lease->is_flying || !lease->cancel_at_ms || now_ms < lease->cancel_at_ms) continue;
        lease->cancel_at_ms = 0;
        sh_pg_conn_cancel(&place->conn, on_cancelled, place);
    }
}
