/* The relay: takes events from a service's outbox table to JetStream, at least once and in order per aggregate.
 *
 * Every worker has one per service; an advisory lock on a session of its own makes one of them the leader, wherever it runs:
 *
 *     following ──lock──▶ idle ─▶ fetching ─▶ publishing ─▶ (a pause, then) fetching, which also marks what was acknowledged
 *         ▲                                                                                   │ nothing left
 *         └──────────── session lost (and the lock with it) ◀─────────────────────────────── idle
 *
 * One statement marks the last batch and takes the next, so that a row is never out twice at a time, and a batch costs one round trip. A crash
 * between the broker's ack and the mark sends the rows again under the same Nats-Msg-Id, which the broker drops. An event waits for the ack of
 * the one before it with the same aggregate. While the broker is away rows wait in the table.
 *
 * The table: <schema>.outbox(id bigint, event_id uuid, subject text, aggregate text, headers jsonb, payload bytea, created_at, published_at),
 * with a partial index on (id) where published_at is null. */
#ifndef SH_OUTBOX_RELAY_H
#define SH_OUTBOX_RELAY_H

#include "base/log.h"
#include "board/metrics.h"
#include "net/nats.h"
#include "net/pg_pool.h"

typedef struct sh_relay sh_relay_t;

enum { SH_RELAY_BATCH_MAX = 256 };

typedef struct sh_relay_opts {
    const char *schema;    /* of the service: "sales"; [a-z][a-z0-9_]*; copied */
    sh_pg_opts_t session;  /* the service's login, for one session outside the pool */
    sh_nats_t *nats;       /* outlives the relay */
    int wake_fd;           /* an eventfd (non-blocking) that all processes of the service share, made before the fork; stays the caller's.
                              -1: the poll alone */
    uint32_t batch;        /* rows taken at a time; 0: SH_RELAY_BATCH_MAX */
    uint64_t poll_ms;      /* looks even if nobody woke it; 0: 500 */
    uint64_t pause_ms;     /* between two batches that are not full, while events come together; else 5 at most; 0: 5 */
    uint32_t keep_days;    /* published rows older than this are deleted, now and then; 0: never */
    sh_metrics_t *metrics; /* NULL: none */
} sh_relay_opts_t;

typedef struct sh_relay_stats {
    bool is_leader;
    uint64_t published, refused, batches;
} sh_relay_stats_t;

/* SH_EINVAL for a schema that is no plain name; SH_EIO. An unreachable database or broker is no failure. */
int sh_relay_create(uv_loop_t *loop, const sh_relay_opts_t *opts, sh_log_t *log, sh_relay_t **out) SH_MUSTCHECK;
/* Waits for the acks of the batch that is out, marks it, gives up the lock; then `fn` runs and the relay is gone. Before sh_nats_close(). */
void sh_relay_close(sh_relay_t *relay, void (*fn)(void *data), void *data);
void sh_relay_stats(const sh_relay_t *relay, sh_relay_stats_t *out);

/* After a commit with outbox rows: the leader, in whichever process it is, looks at once, or after its pause when it has just done so. One system
 * call; the leader does not listen while it is busy, so that many commits wake it once. */
void sh_relay_wake(sh_relay_t *relay);

#endif
