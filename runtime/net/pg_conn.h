/* One connection to Postgres in pipeline mode: flights of statements go out, their rows come back in order.
 *
 *     closed ──open──▶ opening ──▶ up ──lost──▶ closed
 *
 * A flight is what lies before one Sync. Flights that are started in one turn of the loop are written in the same turn's end, just before
 * the loop waits (sh_pg_turn_t), so that the statements of many requests cost few system calls. Private to net/pg_*. */
#ifndef SH_PG_CONN_H
#define SH_PG_CONN_H

#include "base/list.h"
#include "net/pg_connect.h"
#include "net/pg_pool.h"
#include "net/pg_prepared.h"

typedef struct sh_pg_conn sh_pg_conn_t;
typedef struct sh_pg_flight sh_pg_flight_t;

/* ---- the turn's end */

typedef struct sh_pg_turn {
    uv_prepare_t prepare;
    uv_idle_t idle;         /* active while something is unwritten: keeps the loop from waiting, whoever started it */
    sh_list_t dirty;        /* sh_pg_conn_t.dirty */
    void (*fn)(void *data); /* before writing: answers that must not come inside a start call */
    void *data;
    bool is_wanted;
    int open_handles;
    void (*close_fn)(void *data);
    void *close_data;
} sh_pg_turn_t;

void sh_pg_turn_open(sh_pg_turn_t *turn, uv_loop_t *loop, void (*fn)(void *data), void *data);
void sh_pg_turn_close(sh_pg_turn_t *turn, void (*fn)(void *data), void *data);
/* The turn's fn will run before the loop waits. */
void sh_pg_turn_want(sh_pg_turn_t *turn);

/* ---- flights */

enum {
    SH_PG_FLIGHT_MAX = 1024, /* statements of a flight */
    SH_PG_PARAMS_MAX = 64,
    SH_PG_INLINE_COMMANDS = 8,
    SH_PG_INLINE_ROWS = 4,
    SH_PG_INTERNAL = 1 << 16,    /* a flight flag: may hold control statements */
    SH_PG_BINARY_ROWS = 1 << 17, /* another: see sh_pg_session_query_bytes() */
};

typedef struct sh_pg_command {
    sh_pg_prepared_t *prepared; /* pinned; NULL: sent unprepared */
    int32_t statement;          /* index, -1: ours (BEGIN, COMMIT, ROLLBACK) */
    enum { SH_PG_CMD_PARSE, SH_PG_CMD_RUN, SH_PG_CMD_COMMIT, SH_PG_CMD_ROLLBACK, SH_PG_CMD_BEGIN, SH_PG_CMD_DEALLOCATE } kind;
} sh_pg_command_t;

/* Embedded in whoever waits for it; lives until its fn was called. */
struct sh_pg_flight {
    sh_list_t link;
    sh_pg_flight_fn fn;
    void *data;
    uint32_t command_count, command_cap, done, statement_count;
    bool is_sent;    /* its Sync was given to the socket */
    bool is_binary;  /* rows are asked for in Postgres' binary form */
    bool has_effect; /* once sent, it may have been done even if no answer comes: no transaction without COMMIT */
    int failed_statement;
    PGresult *failure; /* the first error */
    sh_pg_command_t *commands, inline_commands[SH_PG_INLINE_COMMANDS];
    sh_pg_rows_t **rows, *inline_rows[SH_PG_INLINE_ROWS];
};

/* ---- the connection */

typedef enum sh_pg_conn_state { SH_PG_CONN_CLOSED, SH_PG_CONN_OPENING, SH_PG_CONN_UP } sh_pg_conn_state_t;

/* Neither may destroy the connection. Down runs before what was in flight is told. */
typedef struct sh_pg_conn_events {
    void (*up)(void *data);
    void (*down)(void *data, const char *why);
} sh_pg_conn_events_t;

typedef struct sh_pg_cancel sh_pg_cancel_t;

struct sh_pg_conn {
    sh_pg_conn_state_t state;
    uv_loop_t *loop;
    sh_log_t *log;
    const sh_pg_target_t *target;
    const sh_pg_opts_t *opts; /* the owner's copy */
    sh_pg_turn_t *turn;
    const sh_pg_conn_events_t *events;
    void *data;
    sh_pg_connect_t *connecting;
    PGconn *pg;
    uv_poll_t *poll;
    bool is_tcp, is_corked, is_writable_wanted, is_doomed, has_unread;
    sh_list_t dirty;
    sh_list_t flights;
    uint32_t flight_count;
    sh_pg_flight_t *unsynced; /* the last one of this turn */
    sh_pg_flight_t setup;
    uint64_t progress_ms;      /* when the first flight began to be the first */
    uint32_t first_statements; /* it has */
    bool in_transaction;       /* after the flights that came back */
    sh_pg_prepared_cache_t prepared;
    sh_pg_cancel_t *cancelling;
};

void sh_pg_conn_init(sh_pg_conn_t *conn, uv_loop_t *loop, const sh_pg_target_t *target, const sh_pg_opts_t *opts, sh_pg_turn_t *turn,
                     const sh_pg_conn_events_t *events, void *data, sh_log_t *log);
/* Closes without telling; nothing may be in flight (sh_pg_conn_lose() first). Not inside a flight's fn. */
void sh_pg_conn_dispose(sh_pg_conn_t *conn);
/* From closed: tries once; up or down runs later. */
void sh_pg_conn_open(sh_pg_conn_t *conn);
/* Gives the connection up: down, then all flights are told. */
void sh_pg_conn_lose(sh_pg_conn_t *conn, const char *why);
/* Gives it up at the turn's end; allowed everywhere. */
void sh_pg_conn_doom(sh_pg_conn_t *conn);
/* Has the server not answered for much longer than a statement may take? Then the owner loses it. */
bool sh_pg_conn_is_stuck(const sh_pg_conn_t *conn, uint64_t now_ms);

/* Sends [BEGIN] statements [COMMIT | ROLLBACK] Sync. fn runs later, exactly once. On SH_EINVAL (a statement that may not travel here, too many
 * parameters) or SH_EUNAVAILABLE nothing was sent and fn never runs. */
int sh_pg_conn_send(sh_pg_conn_t *conn, sh_pg_flight_t *flight, const sh_pg_statement_t *statements, uint32_t count, unsigned flags,
                    const char *begin_sql, sh_pg_flight_fn fn, void *data) SH_MUSTCHECK;
/* For pg_flight.c: the connection has something to write at the turn's end; and an earlier flight of this turn gets its Sync now. */
void sh_pg_conn_want_write(sh_pg_conn_t *conn);
void sh_pg_conn_sync_early(sh_pg_conn_t *conn);

/* Could these statements travel? For those that must wait for a connection. */
int sh_pg_statements_check(const sh_pg_statement_t *statements, uint32_t count, unsigned flags) SH_MUSTCHECK;

/* Asks the server to cancel what runs now, off the loop. The connection must not send before is_cancelling() is false again. */
void sh_pg_conn_cancel(sh_pg_conn_t *conn, void (*fn)(void *data), void *data);
static inline bool sh_pg_conn_is_cancelling(const sh_pg_conn_t *conn) { return conn->cancelling != NULL; }

/* Milliseconds before try number `tries` (0: the first one after a failure): 50 to 5000, with jitter. */
uint64_t sh_pg_backoff_ms(uint32_t tries);

#endif
