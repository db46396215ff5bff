/* Durable pull consumers: asks the broker for messages with requests that are renewed for ever, and keeps count of the messages handed over.
 *
 *     waiting ─▶ creating ─▶ pulling ─▶ (consumer gone, connection lost) ─▶ waiting ...
 *
 * A pull asks for `batch` messages within PULL_EXPIRES_MS; the broker sends a heartbeat while it has none. The next pull is
 * sent when the last one is used up, expired or silent for too long, and when there is room for a whole batch again. A pulled message
 * tells by its reply subject which consumer it is for, how often it was delivered, and how many wait behind it. */
#include "net/nats_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    PULL_EXPIRES_MS = 30000,
    HEARTBEAT_MS = 5000,
    SILENCE_MS_MAX = 12000, /* two heartbeats missed */
    RETRY_MS = 1000,
    STOP_NAK_MS = 100, /* messages given back unread come again soon, at another process */
    BATCH_DEFAULT = 64,
    ACK_PENDING_DEFAULT = 1024,
    ACK_WAIT_MS_DEFAULT = 60000,
};

typedef enum consumer_state { CONSUMER_WAITING, CONSUMER_CREATING, CONSUMER_PULLING } consumer_state_t;

struct sh_nats_consumer {
    sh_list_t link; /* first: sh_nats_close() walks the list */
    sh_nats_t *nats;
    consumer_state_t state;
    char *stream, *durable, *filter_subject;
    uint64_t ack_wait_ms;
    uint32_t ack_pending_max, batch, outstanding_max;
    sh_nats_messages_fn fn;
    void *data;
    sh_list_t queued;     /* arrived in this turn */
    uint32_t outstanding; /* queued or held */
    uint64_t pull_serial; /* of the pull that is out; 0: none */
    uint32_t pull_left;   /* messages it may still bring */
    uint64_t heard_ms;    /* when the broker last said anything about it */
    uint64_t retry_at_ms; /* 0: nothing is put off */
    uint64_t backlog;
    uint32_t retained; /* the owner, and a creation under way */
    bool is_stopped;
};

struct sh_nats_msg {
    sh_list_t link;               /* on queued or nats->held */
    sh_nats_t *nats;              /* NULL after close */
    sh_nats_consumer_t *consumer; /* NULL after stop */
    sh_nats_raw_t *raw;
    uint32_t deliveries;
    uint64_t sequence;
    int64_t time_ms;
};

/* --- pulling --- */

static void consumer_release(sh_nats_consumer_t *consumer) {
    if (--consumer->retained > 0) return;
    free(consumer->stream);
    free(consumer->durable);
    free(consumer->filter_subject);
    free(consumer);
}

static void pull(sh_nats_consumer_t *consumer) {
    sh_nats_t *nats = consumer->nats;
    char subject[SH_NATS_SUBJECT_MAX], reply[SH_NATS_REPLY_MAX], body[128];
    consumer->pull_serial = ++nats->pull_serial;
    consumer->pull_left = consumer->batch;
    consumer->heard_ms = uv_now(nats->loop);
    int subject_len = snprintf(subject, sizeof(subject), "$JS.API.CONSUMER.MSG.NEXT.%s.%s", consumer->stream, consumer->durable);
    int reply_len = snprintf(reply, sizeof(reply), "%s.p%" PRIx64, nats->inbox, consumer->pull_serial);
    int body_len = snprintf(body, sizeof(body), "{\"batch\":%u,\"expires\":%d000000,\"idle_heartbeat\":%d000000}", consumer->batch, PULL_EXPIRES_MS,
                            HEARTBEAT_MS);
    sh_nats_send(nats, sh_str(subject, (size_t)subject_len), sh_str(reply, (size_t)reply_len), sh_str(body, (size_t)body_len));
}

static void pull_if_due(sh_nats_consumer_t *consumer) {
    if (consumer->state != CONSUMER_PULLING || consumer->pull_serial || consumer->retry_at_ms) return;
    if (consumer->outstanding + consumer->batch <= consumer->outstanding_max) pull(consumer);
}

static void put_off(sh_nats_consumer_t *consumer, consumer_state_t state) {
    consumer->state = state;
    consumer->pull_serial = 0;
    consumer->retry_at_ms = uv_now(consumer->nats->loop) + RETRY_MS;
}

/* A status line instead of a message: 100 heartbeat, 408 expired, 409 ended for another reason, 503 no such consumer. */
void sh_nats_consumers_pull_status(sh_nats_t *nats, sh_str_t suffix, sh_nats_raw_t *raw) {
    char serial_text[24] = {0};
    if (suffix.len >= sizeof(serial_text)) return;
    memcpy(serial_text, suffix.ptr, suffix.len);
    uint64_t serial = strtoull(serial_text, NULL, 16);
    sh_list_each(it, tmp, &nats->consumers) {
        sh_nats_consumer_t *consumer = SH_CONTAINER_OF(it, sh_nats_consumer_t, link);
        if (consumer->pull_serial != serial) continue;
        sh_str_t status = sh_nats_raw_header(raw, "Status"), text = sh_nats_raw_header(raw, "Description");
        consumer->heard_ms = uv_now(nats->loop);
        if (sh_str_eq_c(status, "100")) return;
        consumer->pull_serial = 0;
        if (sh_str_eq_c(status, "408") || sh_str_eq_c(status, "404")) {
            pull_if_due(consumer);
            return;
        }
        bool is_gone = sh_str_eq_c(status, "503") || sh_str_eq_c(text, "Consumer Deleted");
        sh_log_warn(nats->log, "pull ended by the broker", SH_LOG_C("consumer", consumer->durable), SH_LOG_STR("status", status),
                    SH_LOG_STR("reason", text));
        put_off(consumer, is_gone ? CONSUMER_WAITING : CONSUMER_PULLING);
        return;
    }
}

/* --- making the durable --- */

static void on_created(void *data, int status, sh_nats_raw_t *raw) {
    sh_nats_consumer_t *consumer = data;
    char text[SH_NATS_REASON_MAX] = "";
    if (!consumer->is_stopped && consumer->state == CONSUMER_CREATING) {
        if (status) snprintf(text, sizeof(text), "%s", sh_err_text(status));
        if (status || sh_nats_api_error(raw, text, sizeof(text))) {
            sh_log_error(consumer->nats->log, "consumer cannot be made", SH_LOG_C("consumer", consumer->durable), SH_LOG_C("reason", text));
            put_off(consumer, CONSUMER_WAITING);
        } else {
            consumer->state = CONSUMER_PULLING;
            pull_if_due(consumer);
        }
    }
    consumer_release(consumer);
}

/* The same request makes it, adopts it, or changes what may be changed; all processes send the same one. */
static void create_durable(sh_nats_consumer_t *consumer) {
    sh_nats_t *nats = consumer->nats;
    char subject[SH_NATS_SUBJECT_MAX];
    snprintf(subject, sizeof(subject), "$JS.API.CONSUMER.DURABLE.CREATE.%s.%s", consumer->stream, consumer->durable);
    sh_buf_t body;
    sh_buf_init(&body);
    sh_buf_put_lit(&body, "{\"stream_name\":");
    sh_buf_put_json(&body, sh_str_of(consumer->stream));
    sh_buf_put_lit(&body, ",\"config\":{\"durable_name\":");
    sh_buf_put_json(&body, sh_str_of(consumer->durable));
    sh_buf_put_lit(&body, ",\"filter_subject\":");
    sh_buf_put_json(&body, sh_str_of(consumer->filter_subject));
    sh_buf_printf(&body,
                  ",\"deliver_policy\":\"all\",\"ack_policy\":\"explicit\",\"replay_policy\":\"instant\",\"max_deliver\":-1,"
                  "\"ack_wait\":%" PRIu64 "000000,\"max_ack_pending\":%u}}",
                  consumer->ack_wait_ms, consumer->ack_pending_max);
    consumer->state = CONSUMER_CREATING;
    consumer->retry_at_ms = 0;
    consumer->retained++;
    if (sh_nats_request(nats, subject, sh_buf_str(&body), on_created, consumer) != 0) {
        consumer->retained--;
        put_off(consumer, CONSUMER_WAITING);
    }
    sh_buf_dispose(&body);
}

static bool is_token(const char *text) { return text && *text && strlen(text) <= 64 && !strpbrk(text, " .*>/\\\t\r\n"); }

int sh_nats_consume(sh_nats_t *nats, const sh_nats_consumer_opts_t *opts, sh_nats_messages_fn fn, void *data, sh_nats_consumer_t **out) {
    SH_ASSERT(nats->state != SH_NATS_CLOSING);
    uint32_t batch = opts->batch ? opts->batch : BATCH_DEFAULT;
    uint32_t outstanding_max = opts->outstanding_max ? opts->outstanding_max : 2 * batch;
    if (!is_token(opts->stream) || !is_token(opts->durable) || !opts->filter_subject || !*opts->filter_subject) return SH_EINVAL;
    if (batch > SH_NATS_BATCH_MAX || outstanding_max < batch) return SH_EINVAL;
    sh_nats_consumer_t *consumer = sh_calloc(1, sizeof(*consumer));
    *consumer = (sh_nats_consumer_t){
        .nats = nats,
        .stream = sh_strdup(opts->stream),
        .durable = sh_strdup(opts->durable),
        .filter_subject = sh_strdup(opts->filter_subject),
        .ack_wait_ms = opts->ack_wait_ms ? opts->ack_wait_ms : ACK_WAIT_MS_DEFAULT,
        .ack_pending_max = opts->ack_pending_max ? opts->ack_pending_max : ACK_PENDING_DEFAULT,
        .batch = batch,
        .outstanding_max = outstanding_max,
        .fn = fn,
        .data = data,
        .retained = 1,
    };
    sh_list_init(&consumer->link);
    sh_list_init(&consumer->queued);
    sh_list_link(&nats->consumers, &consumer->link);
    if (nats->state == SH_NATS_READY) create_durable(consumer);
    *out = consumer;
    return 0;
}

void sh_nats_consumer_stop(sh_nats_consumer_t *consumer) {
    SH_ASSERT(!consumer->is_stopped);
    consumer->is_stopped = true;
    while (!sh_list_is_empty(&consumer->queued)) sh_nats_nak(sh_list_first(&consumer->queued, sh_nats_msg_t, link), STOP_NAK_MS);
    sh_list_each(it, tmp, &consumer->nats->held) {
        sh_nats_msg_t *msg = SH_CONTAINER_OF(it, sh_nats_msg_t, link);
        if (msg->consumer == consumer) msg->consumer = NULL;
    }
    sh_list_unlink(&consumer->link);
    consumer_release(consumer);
}

bool sh_nats_consumer_is_ready(const sh_nats_consumer_t *consumer) { return consumer->state == CONSUMER_PULLING; }
uint64_t sh_nats_consumer_backlog(const sh_nats_consumer_t *consumer) { return consumer->backlog; }

/* --- called by nats.c --- */

void sh_nats_consumers_up(sh_nats_t *nats) { sh_list_each(it, tmp, &nats->consumers) create_durable(SH_CONTAINER_OF(it, sh_nats_consumer_t, link)); }

void sh_nats_consumers_down(sh_nats_t *nats) {
    sh_list_each(it, tmp, &nats->consumers) {
        sh_nats_consumer_t *consumer = SH_CONTAINER_OF(it, sh_nats_consumer_t, link);
        consumer->state = CONSUMER_WAITING;
        consumer->pull_serial = 0;
        consumer->retry_at_ms = 0;
    }
}

void sh_nats_consumers_tick(sh_nats_t *nats, uint64_t now_ms) {
    sh_list_each(it, tmp, &nats->consumers) {
        sh_nats_consumer_t *consumer = SH_CONTAINER_OF(it, sh_nats_consumer_t, link);
        if (consumer->retry_at_ms && consumer->retry_at_ms <= now_ms) {
            consumer->retry_at_ms = 0;
            if (consumer->state == CONSUMER_WAITING)
                create_durable(consumer);
            else
                pull_if_due(consumer);
        } else if (consumer->pull_serial && now_ms > consumer->heard_ms + SILENCE_MS_MAX) {
            sh_log_warn(nats->log, "pull without heartbeat, asking again", SH_LOG_C("consumer", consumer->durable));
            consumer->pull_serial = 0;
            create_durable(consumer); /* somebody may have removed it */
        }
    }
}

/* $JS.ACK.<stream>.<consumer>.<deliveries>.<sequence>.<consumer sequence>.<time ns>.<pending>, or since 2.10 possibly
 * $JS.ACK.<domain>.<account>.<stream>... with a random token at the end (ADR-15 of NATS). */
typedef struct ack_subject {
    sh_str_t stream, durable;
    uint64_t deliveries, sequence, time_ns, pending;
} ack_subject_t;

static int parse_ack_subject(sh_str_t subject, ack_subject_t *out) {
    sh_str_t tokens[13];
    uint32_t count = 0;
    const char *at = subject.ptr, *end = subject.ptr + subject.len;
    if (!sh_str_has_prefix(subject, SH_STR("$JS.ACK."))) return SH_EINVAL;
    while (count < SH_ARRAY_LEN(tokens)) {
        const char *dot = memchr(at, '.', (size_t)(end - at));
        tokens[count++] = sh_str(at, (size_t)((dot ? dot : end) - at));
        if (!dot) break;
        at = dot + 1;
    }
    uint32_t first = count == 9 ? 2 : 4;
    if (count != 9 && count < 11) return SH_EINVAL;
    uint64_t numbers[5];
    for (uint32_t i = 0; i < 5; i++) {
        int64_t number;
        if (sh_str_to_i64(tokens[first + 2 + i], &number) != 0 || number < 0) return SH_EINVAL;
        numbers[i] = (uint64_t)number;
    }
    *out = (ack_subject_t){tokens[first], tokens[first + 1], numbers[0], numbers[1], numbers[3], numbers[4]};
    return 0;
}

void sh_nats_consumers_message(sh_nats_t *nats, sh_nats_raw_t *raw) {
    ack_subject_t ack;
    if (parse_ack_subject(sh_nats_raw_reply(raw), &ack) != 0) {
        sh_nats_raw_destroy(raw);
        return;
    }
    sh_list_each(it, tmp, &nats->consumers) {
        sh_nats_consumer_t *consumer = SH_CONTAINER_OF(it, sh_nats_consumer_t, link);
        if (!sh_str_eq_c(ack.durable, consumer->durable) || !sh_str_eq_c(ack.stream, consumer->stream)) continue;
        sh_nats_msg_t *msg = sh_alloc(sizeof(*msg));
        *msg = (sh_nats_msg_t){
            .nats = nats,
            .consumer = consumer,
            .raw = raw,
            .deliveries = ack.deliveries > UINT32_MAX ? UINT32_MAX : (uint32_t)ack.deliveries,
            .sequence = ack.sequence,
            .time_ms = (int64_t)(ack.time_ns / 1000000),
        };
        sh_list_init(&msg->link);
        sh_list_link(&consumer->queued, &msg->link);
        consumer->outstanding++;
        consumer->backlog = ack.pending;
        consumer->heard_ms = uv_now(nats->loop);
        if (consumer->pull_serial && --consumer->pull_left == 0) {
            consumer->pull_serial = 0;
            pull_if_due(consumer);
        }
        return;
    }
    /* Asked for by a consumer that was stopped since: back to the broker. */
    char body[48];
    int body_len = snprintf(body, sizeof(body), "-NAK {\"delay\":%d000000}", STOP_NAK_MS);
    if (nats->state != SH_NATS_CLOSING) sh_nats_send(nats, sh_nats_raw_reply(raw), SH_STR_NULL, sh_str(body, (size_t)body_len));
    sh_nats_raw_destroy(raw);
}

static void deliver(sh_nats_consumer_t *consumer) {
    sh_nats_msg_t *messages[SH_NATS_BATCH_MAX];
    consumer->retained++; /* fn may stop it */
    while (!consumer->is_stopped && !sh_list_is_empty(&consumer->queued)) {
        uint32_t count = 0;
        sh_nats_msg_t *msg;
        while (count < consumer->batch && (msg = sh_list_first(&consumer->queued, sh_nats_msg_t, link))) {
            sh_list_unlink(&msg->link);
            sh_list_link(&consumer->nats->held, &msg->link);
            messages[count++] = msg;
        }
        consumer->fn(consumer->data, messages, count);
    }
    consumer_release(consumer);
}

void sh_nats_consumers_deliver(sh_nats_t *nats) {
    for (;;) { /* from the start each time: fn may stop any of them */
        sh_nats_consumer_t *due = NULL;
        sh_list_each(it, tmp, &nats->consumers) {
            sh_nats_consumer_t *consumer = SH_CONTAINER_OF(it, sh_nats_consumer_t, link);
            if (!sh_list_is_empty(&consumer->queued)) due = consumer;
        }
        if (!due) return;
        deliver(due);
    }
}

void sh_nats_consumers_dispose(sh_nats_t *nats) {
    sh_list_each(it, tmp, &nats->held) {
        sh_nats_msg_t *msg = SH_CONTAINER_OF(it, sh_nats_msg_t, link);
        sh_list_unlink(it);
        msg->nats = NULL;
    }
}

/* --- messages --- */

static void answer(sh_nats_msg_t *msg, const char *body, size_t len) {
    if (msg->nats) sh_nats_send(msg->nats, sh_nats_raw_reply(msg->raw), SH_STR_NULL, sh_str(body, len));
}

static void msg_end(sh_nats_msg_t *msg) {
    sh_nats_consumer_t *consumer = msg->nats ? msg->consumer : NULL;
    sh_list_unlink(&msg->link);
    sh_nats_raw_destroy(msg->raw);
    free(msg);
    if (!consumer) return;
    consumer->outstanding--;
    if (!consumer->is_stopped) pull_if_due(consumer);
}

void sh_nats_ack(sh_nats_msg_t *msg) {
    answer(msg, "+ACK", 4);
    msg_end(msg);
}

void sh_nats_nak(sh_nats_msg_t *msg, uint64_t delay_ms) {
    char body[48];
    SH_ASSERT(delay_ms > 0);
    answer(msg, body, (size_t)snprintf(body, sizeof(body), "-NAK {\"delay\":%" PRIu64 "000000}", delay_ms));
    msg_end(msg);
}

void sh_nats_term(sh_nats_msg_t *msg) {
    answer(msg, "+TERM", 5);
    msg_end(msg);
}

void sh_nats_in_progress(sh_nats_msg_t *msg) { answer(msg, "+WPI", 4); }

sh_str_t sh_nats_msg_subject(const sh_nats_msg_t *msg) { return sh_nats_raw_subject(msg->raw); }
sh_str_t sh_nats_msg_payload(const sh_nats_msg_t *msg) { return sh_nats_raw_payload(msg->raw); }
sh_str_t sh_nats_msg_header(sh_nats_msg_t *msg, const char *name) { return sh_nats_raw_header(msg->raw, name); }
uint32_t sh_nats_msg_headers(sh_nats_msg_t *msg, sh_nats_header_t *out, uint32_t max) { return sh_nats_raw_headers(msg->raw, out, max); }
uint32_t sh_nats_msg_deliveries(const sh_nats_msg_t *msg) { return msg->deliveries; }
uint64_t sh_nats_msg_sequence(const sh_nats_msg_t *msg) { return msg->sequence; }
int64_t sh_nats_msg_time_ms(const sh_nats_msg_t *msg) { return msg->time_ms; }

int sh_nats_msg_create(const char *subject, const sh_nats_header_t *headers, uint32_t header_count, sh_str_t payload, uint32_t deliveries,
                       int64_t time_ms, sh_nats_msg_t **out) {
    sh_nats_raw_t *raw = sh_nats_raw_create(subject, NULL, headers, header_count, payload);
    if (!raw) return SH_EINVAL;
    sh_nats_msg_t *msg = sh_alloc(sizeof(*msg));
    *msg = (sh_nats_msg_t){.raw = raw, .deliveries = deliveries, .time_ms = time_ms};
    sh_list_init(&msg->link);
    *out = msg;
    return SH_OK;
}
