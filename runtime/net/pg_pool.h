/* A pool of Postgres connections for one login: single statements of many tasks share pipelined connections, transactions lease one.
 *
 * A connection is always on exactly one list, and that list is its state: opening, idle, shared, leased, broken (waiting to reconnect).
 * One function moves it. Shared statements travel in libpq's pipeline mode, each with its own Sync, so that a failed one
 * hurts nobody else. A lease owns its connection: BEGIN travels with the first flight, COMMIT with the last.
 *
 * Fairness: leases and shared statements wait in order; a lease waiting for a connection stops new shared statements from
 * crowding out the last one; with one connection the two alternate. */
#ifndef SH_PG_POOL_H
#define SH_PG_POOL_H

#include "base/log.h"
#include "net/pg_rows.h"

#include <uv.h>

typedef struct sh_pg_pool sh_pg_pool_t;
typedef struct sh_pg_lease sh_pg_lease_t;
typedef struct sh_pg_ticket sh_pg_ticket_t;

typedef struct sh_pg_opts {
    const char *conninfo; /* libpq keyword/value string, password included; copied */
    const char *name;     /* for logs and metrics: "sales" */
    uint32_t connections_max;
    uint32_t shared_depth;     /* statements in flight on a shared connection before another one is used; 8 */
    uint32_t waiting_max;      /* statements and leases that may wait; above: SH_ELIMIT at once */
    uint64_t wait_ms_max;      /* then SH_ETIMEDOUT; 2000 */
    uint64_t statement_ms_max; /* statement_timeout set at connect, and a local timer behind it */
    uint64_t idle_ms_max;      /* idle connections above one are closed; 30000 */
    uint64_t connect_ms_max;   /* 2000 */
    uint32_t prepared_max;     /* prepared statements a connection remembers; 256 */
} sh_pg_opts_t;

/* A statement with text parameters; NULL value is SQL NULL. Everything is copied or sent inside the call that takes it.
 * Refused with SH_EINVAL where it is taken: more than 64 parameters, COPY, and (but on a session) what begins or ends a transaction or leaves
 * something behind on the connection: BEGIN, SAVEPOINT, SET, PREPARE, LISTEN, DECLARE and their kin. A flight holds 1024 at most. */
typedef struct sh_pg_statement {
    sh_str_t sql;              /* prepared by this text, once a connection */
    uint32_t param_count;      /* at most 64 */
    const char *const *params; /* NUL-terminated text; for bytea the \x hex form */
} sh_pg_statement_t;

/* What a failed statement tells. Strings are lent until the callback returns. */
typedef struct sh_pg_error {
    int code;         /* SH_EDB, SH_ETIMEDOUT, SH_EUNAVAILABLE, SH_EMAYBE, SH_ELIMIT, SH_ECANCELED. Of a lost connection: SH_EMAYBE for
                         what was sent, but SH_EUNAVAILABLE inside a transaction whose COMMIT was not: nothing of it was done */
    char sqlstate[6]; /* "23505", or "" */
    const char *message, *detail, *constraint, *table, *column; /* "" when unknown */
    int statement;                                              /* index within the flight, or -1 */
} sh_pg_error_t;

/* `status` 0: rows (lent: sh_pg_rows_retain() to keep), error NULL. Otherwise rows NULL and error set. */
typedef void (*sh_pg_rows_fn)(void *data, int status, sh_pg_rows_t *rows, const sh_pg_error_t *error);
/* A flight's outcome: `rows[i]` belongs to statement i (lent as above). On failure all of the flight failed. */
typedef void (*sh_pg_flight_fn)(void *data, int status, sh_pg_rows_t *const *rows, uint32_t count, const sh_pg_error_t *error);
typedef void (*sh_pg_lease_fn)(void *data, int status, sh_pg_lease_t *lease, const sh_pg_error_t *error);

/* Never fails on an unreachable server: it connects in the background and keeps trying with backoff. */
int sh_pg_pool_create(uv_loop_t *loop, const sh_pg_opts_t *opts, sh_log_t *log, sh_pg_pool_t **out) SH_MUSTCHECK;
/* Waiting work fails with SH_ECANCELED, what is in flight is awaited up to `grace_ms`, then fn runs and the pool is gone. */
void sh_pg_pool_close(sh_pg_pool_t *pool, uint64_t grace_ms, void (*fn)(void *data), void *data);
bool sh_pg_pool_is_ready(const sh_pg_pool_t *pool); /* at least one connection is up, or was until a moment ago */

/* Runs one statement on a shared connection, outside any transaction. `fn` runs exactly once, never inside this call.
 * While the server is known to be down: fails at once (start error SH_EUNAVAILABLE, fn never runs).
 * A read-only statement that was in flight when the connection was lost is not run again either: SH_EMAYBE tells. */
int sh_pg_pool_query(sh_pg_pool_t *pool, const sh_pg_statement_t *statement, sh_pg_rows_fn fn, void *data, sh_pg_ticket_t **ticket) SH_MUSTCHECK;
/* The callback will not run; the rows are dropped when they come. A ticket is gone once its callback began. */
void sh_pg_ticket_cancel(sh_pg_ticket_t *ticket);

/* Several statements on a shared connection in one flight, as one implicit transaction: all of them, or none. Else like sh_pg_pool_query(). */
int sh_pg_pool_flight(sh_pg_pool_t *pool, const sh_pg_statement_t *statements, uint32_t count, sh_pg_flight_fn fn, void *data,
                      sh_pg_ticket_t **ticket) SH_MUSTCHECK;

/* Leases a connection. fn gets the lease; to stop waiting, sh_pg_ticket_cancel(). */
int sh_pg_pool_lease(sh_pg_pool_t *pool, sh_pg_lease_fn fn, void *data, sh_pg_ticket_t **ticket) SH_MUSTCHECK;

enum { SH_PG_BEGIN = 1, SH_PG_COMMIT = 2, SH_PG_ROLLBACK = 4 };

/* Sends `count` statements (0 allowed with flags) in one flight: [BEGIN] statements... [COMMIT] Sync. One flight a lease at a time.
 * A failed statement skips the rest, COMMIT too; the transaction is then failed and only SH_PG_ROLLBACK or return is left.
 * `begin_sql` other than plain BEGIN is given by sh_pg_lease_isolation(). Failure of COMMIT (deferred constraint, serialization) is the flight's. */
int sh_pg_lease_send(sh_pg_lease_t *lease, const sh_pg_statement_t *statements, uint32_t count, unsigned flags, sh_pg_flight_fn fn,
                     void *data) SH_MUSTCHECK;
void sh_pg_lease_isolation(sh_pg_lease_t *lease, const char *begin_sql); /* static string: "BEGIN ISOLATION LEVEL SERIALIZABLE" */
/* Gives the connection back. In the middle of a transaction it is rolled back first; in the middle of a flight the callback is
 * dropped, the statement is cancelled at the server (off the loop) and the transaction rolled back. The lease is gone after this call. */
void sh_pg_lease_return(sh_pg_lease_t *lease);
bool sh_pg_lease_in_transaction(const sh_pg_lease_t *lease);

/* A connection of its own outside the count of the pool, kept for session things (advisory locks of a leader). Reconnects by itself; `on_up` runs
 * at each new session. Statements on it go through sh_pg_session_query. */
typedef struct sh_pg_session sh_pg_session_t;
int sh_pg_session_open(uv_loop_t *loop, const sh_pg_opts_t *opts, void (*on_up)(void *data, sh_pg_session_t *session),
                       void (*on_down)(void *data, sh_pg_session_t *session), void *data, sh_log_t *log, sh_pg_session_t **out) SH_MUSTCHECK;
int sh_pg_session_query(sh_pg_session_t *session, const sh_pg_statement_t *statement, sh_pg_rows_fn fn, void *data) SH_MUSTCHECK;
/* The same with rows in Postgres' binary form, for columns of text and bytea only: their values are the bytes themselves. */
int sh_pg_session_query_bytes(sh_pg_session_t *session, const sh_pg_statement_t *statement, sh_pg_rows_fn fn, void *data) SH_MUSTCHECK;
void sh_pg_session_close(sh_pg_session_t *session, void (*fn)(void *data), void *data);

typedef struct sh_pg_pool_stats {
    uint32_t opening, idle, shared, leased, broken, waiting;
    uint64_t queries, flights, errors, waits, wait_ns, connects;
} sh_pg_pool_stats_t;
void sh_pg_pool_stats(const sh_pg_pool_t *pool, sh_pg_pool_stats_t *out);

#endif
