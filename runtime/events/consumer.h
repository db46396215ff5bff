/* A consumer: what arrives for one subscription goes to a rule in batches, and the outcome becomes ack, nak or a dead letter.
 *
 *     arrived ─┬─ first delivery ─▶ a batch ──done──▶ ack all
 *              │                       └──failed──▶ each alone, like those below
 *              └─ delivered before ─▶ alone ──done──▶ ack
 *                                       ├──failed──▶ nak, with the delay of this try
 *                                       ├──failed, and it was the last try──▶ burial (a dead letter) ──done──▶ term
 *                                       └──database away──▶ held and tried again soon; the broker is told that it goes on
 *
 * At most parallel_max jobs run at a time, so that what arrives meanwhile makes the next batch larger. Deliveries are counted by the broker and
 * judged here; its own limit is off. An event whose handler ends its process never reports a failure: past CRASHES_MAX deliveries
 * more than allowed it is buried unread. Events delivered before run in random order, so that those which merely sat beside such
 * an event get done before they are taken for the culprit.
 *
 * A handler that had two workers ended under it is in quarantine on the board, under its durable's name: until the next reload what arrives
 * is held in all workers and not begun (giving it back would count as a delivery each time).
 *
 * A consumer outlives rules generations: each job runs in the generation that is current when it starts, and keeps it alive. */
#ifndef SH_CONSUMER_H
#define SH_CONSUMER_H

#include "base/log.h"
#include "board/board.h"
#include "host/generation.h"
#include "net/nats.h"

typedef struct sh_consumer sh_consumer_t;

enum { SH_CONSUMER_ERROR_MAX = 512, SH_CONSUMER_DELAYS_MAX = 16, SH_CONSUMER_PARALLEL_MAX = 16 };

/* status 0: the effect is committed (or the dead letter written). SH_EUNAVAILABLE: not the events' fault, try again soon. SH_ECANCELED: the
 * service is closing. Anything else: failed, nothing was kept; `error` says why (lent, NULL allowed). */
typedef void (*sh_consumer_done_fn)(void *data, int status, const char *error);
/* Starts the work of a job in `vm`: handle the messages, or with burial_error write the one message as a dead letter that failed with this. The
 * messages stay the consumer's and are valid until `fn` runs: exactly once, perhaps inside this call. */
typedef void (*sh_consumer_start_fn)(sh_vm_t *vm, const sh_subscription_t *subscription, sh_nats_msg_t *const *messages, uint32_t count,
                                     const char *burial_error, sh_consumer_done_fn fn, void *data);

typedef struct sh_consumer_opts {
    const char *service, *stream;  /* "sales", "SHAMA_EVENTS"; copied */
    uint32_t batch;                /* events of one job at most; 0: 64 */
    uint32_t parallel_max;         /* jobs at a time; 0: 1 */
    uint64_t ack_wait_ms;          /* 0: 60000 */
    uint64_t gather_ms;            /* how long a batch may fill, at most, while events come together; 0: not at all */
    const uint64_t *nak_delays_ms; /* before the 2nd, 3rd ... try; the last one counts on; copied; none: 30000 */
    uint32_t nak_delay_count;
    sh_consumer_start_fn start;
    sh_metrics_t *metrics;   /* NULL: none */
    const sh_board_t *board; /* for handlers in quarantine; NULL: none */
} sh_consumer_opts_t;

/* Consumes for `subscription` of `generation`'s vm of the service (which is retained). SH_EINVAL for what the broker could never have. */
int sh_consumer_create(sh_nats_t *nats, const sh_consumer_opts_t *opts, sh_generation_t *generation, const sh_subscription_t *subscription,
                       sh_log_t *log, sh_consumer_t **out) SH_MUSTCHECK;
/* Jobs from now on run in this generation. Where it has no such subscription, the consumer rests until one has it again. */
void sh_consumer_use(sh_consumer_t *consumer, sh_generation_t *generation);
/* Gives back what was not begun, waits for the jobs that run, then `fn` runs and the consumer is gone. Before sh_nats_close(). */
void sh_consumer_close(sh_consumer_t *consumer, void (*fn)(void *data), void *data);
const char *sh_consumer_durable(const sh_consumer_t *consumer);
bool sh_consumer_is_ready(const sh_consumer_t *consumer); /* it pulls, or rests */

typedef struct sh_consumer_stats {
    uint64_t handled, failed, buried; /* events */
    uint64_t backlog;                 /* waiting at the broker, as last told, and here */
} sh_consumer_stats_t;
void sh_consumer_stats(const sh_consumer_t *consumer, sh_consumer_stats_t *out);

#endif
