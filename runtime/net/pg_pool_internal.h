/* The inside of the pool, shared by pg_pool.c (places and tickets) and pg_lease.c only. */
#ifndef SH_PG_POOL_INTERNAL_H
#define SH_PG_POOL_INTERNAL_H

#include "net/pg_conn.h"

typedef enum sh_pg_place_state { SH_PG_OPENING, SH_PG_IDLE, SH_PG_SHARED, SH_PG_LEASED, SH_PG_BROKEN, SH_PG_STATES } sh_pg_place_state_t;

typedef struct sh_pg_place {
    sh_list_t link; /* of its state */
    sh_pg_place_state_t state;
    sh_pg_pool_t *pool;
    sh_pg_conn_t conn;
    sh_pg_lease_t *lease;
    uint32_t tickets;  /* on the way, while shared */
    uint64_t since_ms; /* idle since; broken: may be tried again at */
} sh_pg_place_t;

struct sh_pg_pool {
    uv_loop_t *loop;
    sh_log_t *log;
    sh_pg_opts_t opts;
    char *name;
    sh_pg_target_t *target;
    sh_pg_turn_t turn;
    uv_timer_t tick;
    bool is_ticking, is_down, is_closing, is_ending;
    sh_list_t places[SH_PG_STATES];
    uint32_t counts[SH_PG_STATES];
    uint32_t tries;   /* connects that failed in a row */
    uint64_t lost_ms; /* the last connection was lost then */
    sh_pg_place_t *reserved;
    sh_list_t statements, leases; /* waiting tickets */
    uint32_t waiting;
    uint64_t serial;
    sh_list_t answers; /* tickets whose answer comes at the turn's end */
    sh_list_t spare;
    uint32_t spare_count;
    uint64_t close_at_ms;
    void (*close_fn)(void *data);
    void *close_data;
    sh_pg_pool_stats_t stats;
};

typedef enum sh_pg_ticket_kind { SH_PG_QUERY, SH_PG_FLIGHT, SH_PG_LEASE } sh_pg_ticket_kind_t;

struct sh_pg_ticket {
    sh_list_t link;
    sh_pg_pool_t *pool;
    sh_pg_ticket_kind_t kind;
    enum { SH_PG_WAITING, SH_PG_FLYING, SH_PG_ANSWERED } state;
    union {
        sh_pg_rows_fn query;
        sh_pg_flight_fn flight;
        sh_pg_lease_fn lease;
    } fn;
    bool is_cancelled;
    void *data;
    uint64_t number, queued_ns;
    sh_pg_statement_t *statements; /* a copy in one block, while it waits */
    uint32_t count;
    sh_pg_place_t *place;
    sh_pg_flight_t flight;
    sh_pg_lease_t *lease; /* answered with it */
    int code;             /* answered with this failure */
    const char *why;
};

struct sh_pg_lease {
    sh_pg_place_t *place; /* NULL: the connection is lost */
    const char *begin_sql;
    sh_pg_flight_t flight;
    sh_pg_flight_fn fn;
    void *data;
    uint64_t cancel_at_ms; /* returned in flight: then */
    uint32_t rollbacks;
    bool is_flying, is_failed, is_returned;
};

/* pg_pool.c */
void sh_pg_place_move(sh_pg_place_t *place, sh_pg_place_state_t state); /* alone changes a place's state */
void sh_pg_pool_dispatch(sh_pg_pool_t *pool);                           /* gives waiting tickets what there is, in their order */
void sh_pg_pool_want_tick(sh_pg_pool_t *pool);

/* pg_lease.c */
/* Brings a returned lease's connection back to the others, step by step: its flight, a cancel on its way, its transaction. */
void sh_pg_lease_settle(sh_pg_lease_t *lease);
void sh_pg_leases_tick(sh_pg_pool_t *pool, uint64_t now_ms); /* cancels what runs on for a returned lease */

#endif
