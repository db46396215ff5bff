/* Queues what arrives for a subscription, runs a few jobs at a time, and answers the broker by their outcome. The header draws the ways. */
#include "events/consumer.h"

#include "base/err.h"
#include "base/list.h"
#include "base/time.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    BATCH_DEFAULT = 64,
    ACK_WAIT_MS_DEFAULT = 60000,
    DELAY_MS_DEFAULT = 30000,
    RETRY_MS_MIN = 250, /* after the database was away */
    RETRY_MS_MAX = 4000,
    GIVE_BACK_MS = 100,
    GATHER_MS_MIN = 4, /* the first wait when events begin to come together */
    CRASHES_MAX = 3,
};

typedef struct queue {
    sh_nats_msg_t **items;     /* owned array of held messages */
    uint32_t head, count, cap; /* count from head on; cap is 0 or a power of two */
} queue_t;

/* One call of the rule, or of its burial, with the messages it is about. */
typedef struct job {
    sh_list_t link;
    sh_consumer_t *consumer;
    sh_generation_t *generation; /* retained */
    uv_timer_t retry;
    uint64_t retry_ms;
    char burial_error[SH_CONSUMER_ERROR_MAX]; /* "": the events are handled */
    uint32_t count;
    sh_nats_msg_t *messages[];
} job_t;

struct sh_consumer {
    uv_loop_t *loop;
    sh_log_t *log;
    sh_nats_t *nats;
    sh_generation_t *generation; /* current; NULL once closing */
    char *service, *stream, *durable, *subject;
    uint32_t batch, parallel_max, max_deliver;
    uint64_t ack_wait_ms;
    uint64_t delays_ms[SH_CONSUMER_DELAYS_MAX];
    uint32_t delay_count;
    sh_consumer_start_fn start;
    const sh_board_t *board;
    sh_nats_consumer_t *pull; /* NULL while it rests */
    queue_t fresh, alone;
    sh_list_t jobs;
    uint32_t job_count, working; /* working: not waiting for a retry and not ended */
    uv_timer_t gather;           /* lets a batch fill for a moment */
    uv_timer_t progress;         /* tells the broker that held messages are still worked on */
    uint64_t gather_ms, gather_ms_max;
    bool is_starting, is_closing, is_paused;
    uint32_t handles_open;
    uint64_t random;
    sh_consumer_stats_t stats;
    sh_series_t *handled, *failed, *buried, *age, *over;
    void (*close_fn)(void *data);
    void *close_data;
};

static void start_jobs(sh_consumer_t *consumer);
static void gather(sh_consumer_t *consumer);
static void adapt_gather(sh_consumer_t *consumer, uint32_t count);
static void run(job_t *job);
static void end_if_empty(sh_consumer_t *consumer);

/* --- queues --- */

static sh_nats_msg_t **queue_at(queue_t *q, uint32_t index) { return &q->items[(q->head + index) & (q->cap - 1)]; }

static void queue_put(queue_t *q, sh_nats_msg_t *msg) {
    if (q->count == q->cap) {
        uint32_t cap = q->cap ? q->cap * 2 : 64;
        sh_nats_msg_t **items = sh_alloc(cap * sizeof(*items));
        for (uint32_t i = 0; i < q->count; i++) items[i] = *queue_at(q, i);
        free(q->items);
        *q = (queue_t){items, 0, q->count, cap};
    }
    q->count++;
    *queue_at(q, q->count - 1) = msg;
}

static sh_nats_msg_t *queue_take(queue_t *q) {
    if (q->count == 0) return NULL;
    sh_nats_msg_t *msg = *queue_at(q, 0);
    q->head = (q->head + 1) & (q->cap - 1);
    q->count--;
    return msg;
}

static void queue_put_anywhere(queue_t *q, sh_nats_msg_t *msg, uint64_t *random) {
    queue_put(q, msg);
    *random ^= *random << 13; /* xorshift64: nobody gains by guessing it */
    *random ^= *random >> 7;
    *random ^= *random << 17;
    sh_nats_msg_t **other = queue_at(q, (uint32_t)(*random % q->count)), **last = queue_at(q, q->count - 1);
    *last = *other;
    *other = msg;
}

static void on_messages(void *data, sh_nats_msg_t *const *messages, uint32_t count) {
    sh_consumer_t *c = data;
    for (uint32_t i = 0; i < count; i++) {
        if (sh_nats_msg_deliveries(messages[i]) <= 1)
            queue_put(&c->fresh, messages[i]);
        else
            queue_put_anywhere(&c->alone, messages[i], &c->random);
    }
    gather(c);
}

static void give_back_queued(sh_consumer_t *c) {
    sh_nats_msg_t *msg;
    while ((msg = queue_take(&c->fresh)) || (msg = queue_take(&c->alone))) sh_nats_nak(msg, GIVE_BACK_MS);
}

/* --- jobs --- */

static void on_job_closed(uv_handle_t *handle) {
    job_t *job = SH_CONTAINER_OF((uv_timer_t *)handle, job_t, retry);
    sh_consumer_t *c = job->consumer;
    sh_list_unlink(&job->link);
    c->job_count--;
    /* Here and not in job_done(), which runs inside a task of this generation's vm. */
    sh_generation_release(job->generation);
    free(job);
    end_if_empty(c);
}

/* The messages were answered or queued again. */
static void end(job_t *job) {
    job->count = 0;
    job->consumer->working--;
    uv_close((uv_handle_t *)&job->retry, on_job_closed);
}

static void give_back(job_t *job) {
    for (uint32_t i = 0; i < job->count; i++) sh_nats_nak(job->messages[i], GIVE_BACK_MS);
    end(job);
}

static uint64_t delay_of(const sh_consumer_t *c, uint32_t deliveries) {
    if (c->delay_count == 0) return DELAY_MS_DEFAULT;
    uint32_t index = deliveries ? deliveries - 1 : 0;
    return c->delays_ms[index < c->delay_count ? index : c->delay_count - 1];
}

static void log_failure(const sh_consumer_t *c, sh_log_level_t level, const char *what, sh_nats_msg_t *msg, const char *error) {
    sh_log_at(c->log, level, what, SH_LOG_C("service", c->service), SH_LOG_C("subject", c->subject),
              SH_LOG_STR("event_id", sh_nats_msg_header(msg, "Nats-Msg-Id")),
              SH_LOG_STR("request_id", sh_nats_msg_header(msg, "Shama-Correlation-Id")), SH_LOG_I64("deliveries", sh_nats_msg_deliveries(msg)),
              SH_LOG_C("error", error));
}

static void fail_one(job_t *job, const char *error) {
    sh_consumer_t *c = job->consumer;
    sh_nats_msg_t *msg = job->messages[0];
    uint32_t deliveries = sh_nats_msg_deliveries(msg);
    bool was_burial = job->burial_error[0] != 0;
    if (!was_burial) {
        c->stats.failed++;
        if (c->failed) sh_series_add(c->failed, 1);
    }
    if (!was_burial && deliveries >= c->max_deliver) {
        snprintf(job->burial_error, sizeof(job->burial_error), "%s", error);
        log_failure(c, SH_LOG_ERROR, "event failed for the last time", msg, error);
        run(job);
        return;
    }
    log_failure(c, SH_LOG_WARN, was_burial ? "dead letter cannot be written" : "event failed", msg, error);
    sh_nats_nak(msg, delay_of(c, deliveries));
    end(job);
}

static void succeed(job_t *job) {
    sh_consumer_t *c = job->consumer;
    bool was_burial = job->burial_error[0] != 0;
    int64_t now_ms = sh_time_wall_us() / 1000;
    for (uint32_t i = 0; i < job->count; i++) {
        int64_t sent_ms;
        if (c->age && sh_str_to_i64(sh_nats_msg_header(job->messages[i], "Shama-Time"), &sent_ms) == 0)
            sh_series_observe_ns(c->age, now_ms > sent_ms ? (uint64_t)(now_ms - sent_ms) * 1000000 : 0);
        if (was_burial)
            sh_nats_term(job->messages[i]);
        else
            sh_nats_ack(job->messages[i]);
    }
    if (was_burial)
        c->stats.buried += job->count;
    else
        c->stats.handled += job->count;
    sh_series_t *series = was_burial ? c->buried : c->handled;
    if (series) sh_series_add(series, job->count);
    end(job);
}

static void on_retry(uv_timer_t *timer) {
    job_t *job = SH_CONTAINER_OF(timer, job_t, retry);
    job->consumer->working++;
    run(job);
}

static void put_off(job_t *job) {
    job->retry_ms = job->retry_ms ? job->retry_ms * 2 : RETRY_MS_MIN;
    if (job->retry_ms > RETRY_MS_MAX) job->retry_ms = RETRY_MS_MAX;
    job->consumer->working--;
    SH_ASSERT(uv_timer_start(&job->retry, on_retry, job->retry_ms, 0) == 0);
}

static void run_done(void *data, int status, const char *error) {
    job_t *job = data;
    sh_consumer_t *c = job->consumer;
    bool is_leaving = c->is_closing || !c->pull;
    if (!error || !*error) error = sh_err_text(status);
    if ((status == SH_EBUDGET || status == SH_EMEMORY) && c->over) sh_series_add(c->over, 1);
    if (status == 0) {
        succeed(job);
    } else if (status == SH_ECANCELED || (status == SH_EUNAVAILABLE && is_leaving)) {
        give_back(job);
    } else if (status == SH_EUNAVAILABLE) {
        if (job->retry_ms == 0)
            sh_log_warn(c->log, "events wait", SH_LOG_C("service", c->service), SH_LOG_C("subject", c->subject), SH_LOG_C("reason", error));
        put_off(job);
        return;
    } else if (job->count > 1) {
        sh_log_info(c->log, "a batch of events failed, each is tried alone", SH_LOG_C("service", c->service), SH_LOG_C("subject", c->subject),
                    SH_LOG_I64("events", job->count), SH_LOG_C("error", error));
        for (uint32_t i = 0; i < job->count; i++) queue_put(&c->alone, job->messages[i]);
        end(job);
        if (is_leaving) give_back_queued(c);
    } else {
        fail_one(job, error);
    }
    gather(c);
}

static const sh_subscription_t *subscription_in(const sh_generation_t *generation, const char *service, const char *durable, sh_vm_t **vm) {
    *vm = sh_generation_vm(generation, service);
    const sh_manifest_t *manifest = *vm ? sh_vm_manifest(*vm) : NULL;
    for (uint32_t i = 0; manifest && i < manifest->subscription_count; i++)
        if (strcmp(manifest->subscriptions[i].durable, durable) == 0) return &manifest->subscriptions[i];
    return NULL;
}

static void run(job_t *job) {
    sh_consumer_t *c = job->consumer;
    sh_vm_t *vm;
    const sh_subscription_t *subscription = subscription_in(job->generation, c->service, c->durable, &vm);
    SH_ASSERT(subscription); /* looked up before the job was made */
    c->start(vm, subscription, job->messages, job->count, job->burial_error[0] ? job->burial_error : NULL, run_done, job);
}

static job_t *job_create(sh_consumer_t *c) {
    bool is_alone = c->alone.count > 0;
    uint32_t count = is_alone ? 1 : c->fresh.count < c->batch ? c->fresh.count : c->batch;
    job_t *job = sh_alloc(sizeof(*job) + count * sizeof(job->messages[0]));
    memset(job, 0, sizeof(*job));
    job->consumer = c;
    job->generation = sh_generation_retain(c->generation);
    job->count = count;
    for (uint32_t i = 0; i < count; i++) job->messages[i] = queue_take(is_alone ? &c->alone : &c->fresh);
    uint32_t deliveries = sh_nats_msg_deliveries(job->messages[0]);
    if (!is_alone) adapt_gather(c, count);
    if (is_alone && deliveries > c->max_deliver + CRASHES_MAX)
        snprintf(job->burial_error, sizeof(job->burial_error), "no outcome after %u deliveries: its handler may end the process", deliveries);
    SH_ASSERT(uv_timer_init(c->loop, &job->retry) == 0);
    sh_list_init(&job->link);
    sh_list_link(&c->jobs, &job->link);
    c->job_count++;
    c->working++;
    return job;
}

static bool is_quarantined(sh_consumer_t *c) {
    if (!c->board || !sh_board_is_quarantined(c->board, c->durable)) return false;
    if (!c->is_paused)
        sh_log_error(c->log, "a consumer is paused until the next reload: its handler ended workers", SH_LOG_C("service", c->service),
                     SH_LOG_C("consumer", c->durable));
    c->is_paused = true;
    return true;
}

static void start_jobs(sh_consumer_t *c) {
    if (c->is_starting) return; /* a job that ended inside its start call: the loop below goes on */
    if ((c->fresh.count || c->alone.count) && is_quarantined(c)) return;
    c->is_starting = true;
    /* Jobs that wait for the database count too: there is no use in starting others. */
    while (c->pull && !c->is_closing && (c->fresh.count || c->alone.count)) {
        uint32_t waiting = 0;
        sh_list_each(it, tmp, &c->jobs) waiting += uv_is_active((uv_handle_t *)&SH_CONTAINER_OF(it, job_t, link)->retry) ? 1 : 0;
        if (c->working + waiting >= c->parallel_max) break;
        run(job_create(c));
    }
    c->is_starting = false;
}

static void on_gathered(uv_timer_t *timer) { start_jobs(SH_CONTAINER_OF(timer, sh_consumer_t, gather)); }

/* A transaction for many events costs little more than for one, so a batch may fill for a moment when events come together; one that
 * comes alone waits for nobody. */
static void adapt_gather(sh_consumer_t *c, uint32_t count) {
    c->gather_ms = count < 2 ? c->gather_ms / 2 : c->gather_ms < GATHER_MS_MIN ? GATHER_MS_MIN : c->gather_ms * 2;
    if (c->gather_ms > c->gather_ms_max) c->gather_ms = c->gather_ms_max;
}

/* Begins at once with what cannot get larger, else lets the batch fill. */
static void gather(sh_consumer_t *c) {
    if (c->alone.count || c->fresh.count >= c->batch || c->gather_ms == 0)
        start_jobs(c);
    else if (c->fresh.count && !c->is_closing && !uv_is_active((uv_handle_t *)&c->gather))
        uv_timer_start(&c->gather, on_gathered, c->gather_ms, 0);
}

static void on_progress(uv_timer_t *timer) {
    sh_consumer_t *c = SH_CONTAINER_OF(timer, sh_consumer_t, progress);
    sh_list_each(it, tmp, &c->jobs) {
        job_t *job = SH_CONTAINER_OF(it, job_t, link);
        for (uint32_t i = 0; i < job->count; i++) sh_nats_in_progress(job->messages[i]);
    }
    for (uint32_t i = 0; i < c->fresh.count; i++) sh_nats_in_progress(*queue_at(&c->fresh, i));
    for (uint32_t i = 0; i < c->alone.count; i++) sh_nats_in_progress(*queue_at(&c->alone, i));
}

/* --- life --- */

static int start_pull(sh_consumer_t *c) {
    const sh_nats_consumer_opts_t opts = {.stream = c->stream,
                                          .durable = c->durable,
                                          .filter_subject = c->subject,
                                          .ack_wait_ms = c->ack_wait_ms,
                                          .batch = c->batch,
                                          .outstanding_max = c->batch * (c->parallel_max + 1)};
    return sh_nats_consume(c->nats, &opts, on_messages, c, &c->pull);
}

static void stop_pull(sh_consumer_t *c) {
    if (!c->pull) return;
    sh_nats_consumer_stop(c->pull);
    c->pull = NULL;
    give_back_queued(c);
    sh_list_each(it, tmp, &c->jobs) {
        job_t *job = SH_CONTAINER_OF(it, job_t, link);
        if (!uv_is_active((uv_handle_t *)&job->retry)) continue;
        uv_timer_stop(&job->retry); /* between two tries: nobody is at work */
        c->working++;
        give_back(job);
    }
}

static void make_series(sh_consumer_t *c, sh_metrics_t *metrics) {
    char labels[SH_SERIES_LABELS_MAX];
    if (!metrics) return;
    snprintf(labels, sizeof(labels), "consumer=\"%s\"", c->durable);
    c->handled = sh_metrics_series(metrics, SH_COUNTER, "shama_events_handled_total", labels, "Events whose effect is committed.");
    c->failed = sh_metrics_series(metrics, SH_COUNTER, "shama_events_failed_total", labels, "Tries of single events that failed.");
    c->buried = sh_metrics_series(metrics, SH_COUNTER, "shama_events_buried_total", labels, "Events that became dead letters.");
    char over[SH_SERIES_LABELS_MAX];
    snprintf(over, sizeof(over), "service=\"%s\",route=\"event %s\"", c->service, c->subject);
    c->over = sh_metrics_series(metrics, SH_COUNTER, "shama_budget_exceeded_total", over, "Tasks ended over their budget.");
    c->age = sh_metrics_series(metrics, SH_HISTOGRAM, "shama_event_age_seconds", labels, "From emitting an event to its committed effect.");
}

static void free_consumer(sh_consumer_t *c) {
    free(c->fresh.items);
    free(c->alone.items);
    free(c->service);
    free(c->stream);
    free(c->durable);
    free(c->subject);
    free(c);
}

static int check_opts(const sh_consumer_opts_t *opts) {
    if (!opts->start || !opts->service || !opts->stream || opts->batch > SH_NATS_BATCH_MAX) return SH_EINVAL;
    if (opts->parallel_max > SH_CONSUMER_PARALLEL_MAX || opts->nak_delay_count > SH_CONSUMER_DELAYS_MAX) return SH_EINVAL;
    for (uint32_t i = 0; i < opts->nak_delay_count; i++)
        if (opts->nak_delays_ms[i] == 0) return SH_EINVAL; /* a nak without delay makes a loop */
    return 0;
}

int sh_consumer_create(sh_nats_t *nats, const sh_consumer_opts_t *opts, sh_generation_t *generation, const sh_subscription_t *subscription,
                       sh_log_t *log, sh_consumer_t **out) {
    sh_vm_t *vm = sh_generation_vm(generation, opts->service);
    if (check_opts(opts) != 0 || !vm) return SH_EINVAL;
    sh_consumer_t *c = sh_calloc(1, sizeof(*c));
    c->loop = sh_vm_loop(vm);
    c->log = log;
    c->nats = nats;
    c->start = opts->start;
    c->board = opts->board;
    c->service = sh_strdup(opts->service);
    c->stream = sh_strdup(opts->stream);
    c->durable = sh_strdup(subscription->durable);
    c->subject = sh_strdup(subscription->subject);
    c->max_deliver = subscription->max_deliver ? subscription->max_deliver : 1;
    c->batch = opts->batch ? opts->batch : BATCH_DEFAULT;
    c->parallel_max = opts->parallel_max ? opts->parallel_max : 1;
    c->ack_wait_ms = opts->ack_wait_ms ? opts->ack_wait_ms : ACK_WAIT_MS_DEFAULT;
    c->delay_count = opts->nak_delay_count;
    for (uint32_t i = 0; i < c->delay_count; i++) c->delays_ms[i] = opts->nak_delays_ms[i];
    c->random = sh_time_mono_ns() | 1;
    sh_list_init(&c->jobs);
    int status = start_pull(c);
    if (status) {
        free_consumer(c);
        return status;
    }
    c->generation = sh_generation_retain(generation);
    make_series(c, opts->metrics);
    c->gather_ms_max = opts->gather_ms;
    SH_ASSERT(uv_timer_init(c->loop, &c->gather) == 0);
    SH_ASSERT(uv_timer_init(c->loop, &c->progress) == 0);
    c->handles_open = 2;
    SH_ASSERT(uv_timer_start(&c->progress, on_progress, c->ack_wait_ms / 3 + 1, c->ack_wait_ms / 3 + 1) == 0);
    *out = c;
    return 0;
}

void sh_consumer_use(sh_consumer_t *c, sh_generation_t *generation) {
    sh_vm_t *vm;
    SH_ASSERT(!c->is_closing);
    const sh_subscription_t *subscription = subscription_in(generation, c->service, c->durable, &vm);
    sh_generation_t *before = c->generation;
    c->generation = sh_generation_retain(generation);
    sh_generation_release(before);
    if (!subscription) {
        stop_pull(c);
        return;
    }
    c->max_deliver = subscription->max_deliver ? subscription->max_deliver : 1;
    if (!c->pull && start_pull(c) != 0) sh_log_error(c->log, "a consumer cannot be started", SH_LOG_C("durable", c->durable));
    c->is_paused = false;
    start_jobs(c);
}

static void end_if_empty(sh_consumer_t *c) {
    if (!c->is_closing || c->handles_open || c->job_count) return;
    void (*fn)(void *data) = c->close_fn;
    void *data = c->close_data;
    free_consumer(c);
    if (fn) fn(data);
}

static void on_progress_closed(uv_handle_t *handle) {
    sh_consumer_t *c = SH_CONTAINER_OF((uv_timer_t *)handle, sh_consumer_t, progress);
    c->handles_open--;
    sh_generation_release(c->generation);
    c->generation = NULL;
    end_if_empty(c);
}

static void on_gather_closed(uv_handle_t *handle) {
    sh_consumer_t *c = SH_CONTAINER_OF((uv_timer_t *)handle, sh_consumer_t, gather);
    c->handles_open--;
    end_if_empty(c);
}

void sh_consumer_close(sh_consumer_t *c, void (*fn)(void *data), void *data) {
    SH_ASSERT(!c->is_closing);
    c->is_closing = true;
    c->close_fn = fn;
    c->close_data = data;
    stop_pull(c);
    uv_close((uv_handle_t *)&c->gather, on_gather_closed);
    uv_close((uv_handle_t *)&c->progress, on_progress_closed);
}

const char *sh_consumer_durable(const sh_consumer_t *c) { return c->durable; }
bool sh_consumer_is_ready(const sh_consumer_t *c) { return !c->pull || sh_nats_consumer_is_ready(c->pull); }

void sh_consumer_stats(const sh_consumer_t *c, sh_consumer_stats_t *out) {
    *out = c->stats;
    out->backlog = c->fresh.count + c->alone.count;
    sh_list_each(it, tmp, &c->jobs) out->backlog += SH_CONTAINER_OF(it, job_t, link)->count;
    if (c->pull) out->backlog += sh_nats_consumer_backlog(c->pull);
}
