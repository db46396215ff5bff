/* A NATS JetStream client for one loop: publishes with the broker's ack, makes streams and durable consumers, and delivers messages in batches.
 *
 * Nothing here blocks the loop: net/nats_wire reads and writes on it, and has a thread of its own connect. One inbox serves for acks, replies
 * and pulled messages.
 *
 * Life: connecting ─▶ checking (streams, then consumers) ─▶ ready ─▶ down ─▶ checking ... ; it connects for ever, and after each
 * connect streams and consumers are made or checked again, so that a broker which lost its store is filled anew.
 * While it is not ready publishing is refused at once, and consumers wait. */
#ifndef SH_NATS_H
#define SH_NATS_H

#include "base/err.h"
#include "base/list.h"
#include "base/log.h"
#include "base/str.h"

#include <uv.h>

typedef struct sh_nats sh_nats_t;
typedef struct sh_nats_consumer sh_nats_consumer_t;
typedef struct sh_nats_msg sh_nats_msg_t;

enum {
    SH_NATS_SUBJECT_MAX = 256,
    SH_NATS_HEADERS_MAX = 16,
    SH_NATS_PAYLOAD_MAX = 1 << 20, /* the broker's default max_payload */
    SH_NATS_STREAMS_MAX = 4,
    SH_NATS_BATCH_MAX = 256,
};

/* A stream that must exist. One that exists with other subjects, storage, retention or discard policy is a conflict: is_ready stays
 * false and sh_nats_status() says what differs. Other limits are brought up to date. */
typedef struct sh_nats_stream {
    const char *name;            /* "SHAMA_EVENTS" */
    const char *const *subjects; /* NULL-terminated: "quotation.*" ... */
    int64_t bytes_max;           /* beyond it publishing is refused (discard new) */
    int64_t age_s_max;
    uint32_t duplicate_window_s; /* how long a Nats-Msg-Id is remembered; 0: 600, at most the age */
    uint32_t replicas;           /* when it is made; 0: 1 */
} sh_nats_stream_t;

typedef struct sh_nats_opts {
    const char *url;                            /* nats://[user:password@|token@]host[:port][,...]; copied, never logged */
    const char *name;                           /* of the connection: "shama-worker-1" */
    const char *ca_file, *cert_file, *key_file; /* TLS: NULL or "" for none; any of them, or a tls:// URL, requires TLS */
    const sh_nats_stream_t *streams;            /* copied */
    uint32_t stream_count;
    uint32_t in_flight_max;     /* published and not yet acknowledged; 0: 512 */
    size_t in_flight_bytes_max; /* of their payloads; 0: 8 MiB */
    uint64_t timeout_ms;        /* for the broker's ack; 0: 5000 */
} sh_nats_opts_t;

typedef struct sh_nats_header {
    sh_str_t name, value; /* no CR, LF or NUL in either, no ':' in a name */
} sh_nats_header_t;

/* 0: the broker has stored the message (or knew its Nats-Msg-Id already). SH_ELIMIT: the stream is full or the message too large.
 * SH_ENOTFOUND: no stream takes the subject any more. SH_EMAYBE, SH_ETIMEDOUT: it may have been stored.
 * SH_ECANCELED: closing. SH_EIO: refused for another reason. `reason` is lent, "" when there is none. Runs on the loop, exactly once. */
typedef void (*sh_nats_publish_fn)(void *data, int status, const char *reason);

/* Connects in the background; an unreachable broker is no failure. SH_EINVAL for options that can never work, SH_EIO. */
int sh_nats_open(uv_loop_t *loop, const sh_nats_opts_t *opts, sh_log_t *log, sh_nats_t **out) SH_MUSTCHECK;
/* Consumers stop, what is in flight gets SH_ECANCELED (callbacks run before `fn`, not inside this call), acks already asked for are still sent
 * (for at most two seconds). Messages still held stay valid; answering them only releases them. Then `fn` runs and nats is gone. Once. */
void sh_nats_close(sh_nats_t *nats, void (*fn)(void *data), void *data);

bool sh_nats_is_ready(const sh_nats_t *nats); /* connected, streams as asked for */
/* "ready", or a sentence about what is missing. Lent until the next turn of the loop. */
const char *sh_nats_status(const sh_nats_t *nats);
/* `fn` runs on the loop at each change of is_ready; NULL for nobody. Several may listen: each has its own node. */
typedef struct sh_nats_watch {
    sh_list_t link;
    void (*fn)(void *data, bool is_ready);
    void *data;
} sh_nats_watch_t;
void sh_nats_watch_link(sh_nats_t *nats, sh_nats_watch_t *watch);
void sh_nats_watch_unlink(sh_nats_watch_t *watch);

/* Publishes to a stream; everything is copied. A header Nats-Msg-Id makes it idempotent. Fails at once, and fn never runs, with SH_ELIMIT
 * (in_flight_max, or SH_NATS_PAYLOAD_MAX), SH_EUNAVAILABLE (not ready), SH_ENOTFOUND (no stream takes the subject) or SH_EINVAL (a bad
 * subject or header). */
int sh_nats_publish(sh_nats_t *nats, sh_str_t subject, const sh_nats_header_t *headers, uint32_t header_count, sh_str_t payload,
                    sh_nats_publish_fn fn, void *data) SH_MUSTCHECK;
uint32_t sh_nats_in_flight(const sh_nats_t *nats);
/* How many more sh_nats_publish() would take now. */
uint32_t sh_nats_room(const sh_nats_t *nats);

/* --- consuming --- */

typedef struct sh_nats_consumer_opts {
    const char *stream, *durable, *filter_subject; /* one subject a consumer (nats-server 2.9); copied */
    uint64_t ack_wait_ms;                          /* then the broker gives it to another; 0: 60000 */
    uint32_t ack_pending_max;                      /* in all processes; 0: 1024 */
    uint32_t batch;                                /* messages of one call of fn at most; 0: 64 */
    uint32_t outstanding_max;                      /* no more are asked for while so many are unanswered; 0: 2 * batch; at least batch */
} sh_nats_consumer_opts_t;

/* Messages that arrived since the last turn, oldest first. Each is the receiver's from now on, until it answers it with one of the
 * calls below; the array is lent. */
typedef void (*sh_nats_messages_fn)(void *data, sh_nats_msg_t *const *messages, uint32_t count);

/* Makes (or adopts, or updates) the durable consumer and pulls from it for ever. Only before sh_nats_close(). */
int sh_nats_consume(sh_nats_t *nats, const sh_nats_consumer_opts_t *opts, sh_nats_messages_fn fn, void *data, sh_nats_consumer_t **out) SH_MUSTCHECK;
/* fn will not run any more; messages not yet handed over go back to the broker. Held ones can still be answered. The durable stays. */
void sh_nats_consumer_stop(sh_nats_consumer_t *consumer);
bool sh_nats_consumer_is_ready(const sh_nats_consumer_t *consumer);
/* Events that wait at the broker for this consumer, as told by the last message. */
uint64_t sh_nats_consumer_backlog(const sh_nats_consumer_t *consumer);

/* Each ends the message: it must not be touched after. nak asks for redelivery after delay_ms (> 0). term: never again. */
void sh_nats_ack(sh_nats_msg_t *msg);
void sh_nats_nak(sh_nats_msg_t *msg, uint64_t delay_ms);
void sh_nats_term(sh_nats_msg_t *msg);
/* Asks the broker for another ack_wait. The message stays held. */
void sh_nats_in_progress(sh_nats_msg_t *msg);

/* Lent as long as the message is held. */
sh_str_t sh_nats_msg_subject(const sh_nats_msg_t *msg);
sh_str_t sh_nats_msg_payload(const sh_nats_msg_t *msg);
/* The first value of a header (exact case), or SH_STR_NULL. */
sh_str_t sh_nats_msg_header(sh_nats_msg_t *msg, const char *name);
/* Fills at most `max`, returns how many; a header with several values is told once, with its first. */
uint32_t sh_nats_msg_headers(sh_nats_msg_t *msg, sh_nats_header_t *out, uint32_t max);
uint32_t sh_nats_msg_deliveries(const sh_nats_msg_t *msg); /* 1 the first time */
uint64_t sh_nats_msg_sequence(const sh_nats_msg_t *msg);   /* in the stream */
int64_t sh_nats_msg_time_ms(const sh_nats_msg_t *msg);     /* when the broker stored it, Unix milliseconds */

/* A message that no broker delivered, for specs; everything is copied. Answering it only releases it. SH_EINVAL: a bad subject or header. */
int sh_nats_msg_create(const char *subject, const sh_nats_header_t *headers, uint32_t header_count, sh_str_t payload, uint32_t deliveries,
                       int64_t time_ms, sh_nats_msg_t **out) SH_MUSTCHECK;

#endif
