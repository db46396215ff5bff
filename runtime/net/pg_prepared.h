/* Which statements a connection has prepared: found by the text's address first, by its bytes else; the longest unused one is given up.
 *
 * A statement is `sent` from the flight that carries its Parse until the server's answer, then `ready`. Until it is ready only that flight
 * may use it by name: should the flight fail before the Parse, another one would find nothing. Private to net/pg_*. */
#ifndef SH_PG_PREPARED_H
#define SH_PG_PREPARED_H

#include "base/list.h"
#include "base/str.h"

typedef enum sh_pg_sql_kind {
    SH_PG_SQL_PLAIN,
    SH_PG_SQL_CONTROL, /* begins or ends transactions, or leaves something on the session: on nobody's shared connection */
    SH_PG_SQL_COPY,    /* breaks pipelines */
} sh_pg_sql_kind_t;

typedef enum sh_pg_prepared_state { SH_PG_PREPARED_NEW, SH_PG_PREPARED_SENT, SH_PG_PREPARED_READY, SH_PG_PREPARED_GONE } sh_pg_prepared_state_t;

typedef struct sh_pg_prepared {
    sh_list_t link;              /* by use, oldest first */
    struct sh_pg_prepared *next; /* in its bucket */
    uint32_t bucket;
    sh_pg_prepared_state_t state;
    sh_pg_sql_kind_t kind;
    uint32_t pins;      /* commands on their way; freed when GONE and none is left */
    const void *sender; /* the flight that carries the Parse */
    char name[16];
    size_t len;
    char sql[]; /* and a NUL */
} sh_pg_prepared_t;

enum { SH_PG_PLACES = 128, SH_PG_BUCKETS = 256 /* powers of two */ };

typedef struct sh_pg_prepared_cache {
    sh_pg_prepared_t *by_text[SH_PG_BUCKETS];
    struct {
        const char *ptr;
        sh_pg_prepared_t *prepared;
    } by_address[SH_PG_PLACES];
    sh_list_t used;
    uint32_t count, max;
    uint64_t serial;
    sh_list_t garbage; /* sh_pg_garbage_t: names the server still holds */
} sh_pg_prepared_cache_t;

typedef struct sh_pg_garbage {
    sh_list_t link;
    char sql[32]; /* DEALLOCATE s12 */
} sh_pg_garbage_t;

void sh_pg_prepared_init(sh_pg_prepared_cache_t *cache, uint32_t max);
void sh_pg_prepared_dispose(sh_pg_prepared_cache_t *cache);

/* Finds or makes the entry. NULL when the cache is full of statements on their way: send it unprepared. */
sh_pg_prepared_t *sh_pg_prepared_find(sh_pg_prepared_cache_t *cache, sh_str_t sql);
static inline void sh_pg_prepared_pin(sh_pg_prepared_t *p) { p->pins++; }
void sh_pg_prepared_unpin(sh_pg_prepared_t *p);
/* Takes the entry out of the cache; with `is_held` the server holds it and it becomes garbage. */
void sh_pg_prepared_drop(sh_pg_prepared_cache_t *cache, sh_pg_prepared_t *p, bool is_held);
/* The server has lost them all (DISCARD ALL). */
void sh_pg_prepared_forget(sh_pg_prepared_cache_t *cache);

sh_pg_sql_kind_t sh_pg_sql_kind(sh_str_t sql);

#endif
