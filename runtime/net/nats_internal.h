/* What the files of the NATS client share (nats, nats_stream, nats_consumer); nobody else includes it. */
#ifndef SH_NATS_INTERNAL_H
#define SH_NATS_INTERNAL_H

#include "base/buf.h"
#include "base/list.h"
#include "net/nats.h"
#include "net/nats_wire.h"

enum {
    SH_NATS_RECHECK_MS = 2000,
    SH_NATS_LOOK_AGAIN_MS = 2000,
    SH_NATS_DENIED_MS = 1000,
    SH_NATS_TICK_MS = 100,
    SH_NATS_API_SLOTS = 64,
    SH_NATS_REPLY_MAX = 64,
};

typedef enum sh_nats_state {
    SH_NATS_CONNECTING, /* never connected */
    SH_NATS_CHECKING,   /* connected; streams are being made or checked */
    SH_NATS_READY,
    SH_NATS_DOWN,
    SH_NATS_CLOSING,
} sh_nats_state_t;

/* The answer to an API request; raw is lent and NULL unless status is 0. */
typedef void (*sh_nats_reply_fn)(void *data, int status, sh_nats_raw_t *raw);

/* One message that waits for an answer. Its place in `slots` and a generation make the reply subject; a late answer finds another generation. */
typedef struct sh_nats_request {
    sh_list_t link; /* on free_slots, or on waiting in the order of deadlines */
    uint32_t generation;
    bool is_publish;
    uint64_t deadline_ms;
    size_t bytes;
    sh_nats_publish_fn publish_fn;
    sh_nats_reply_fn reply_fn;
    void *data;
} sh_nats_request_t;

typedef struct sh_nats_stream_copy {
    char *name;
    char **subjects;         /* NULL-terminated */
    sh_nats_stream_t wanted; /* its pointers are not used */
} sh_nats_stream_copy_t;

struct sh_nats {
    uv_loop_t *loop;
    sh_log_t *log;
    sh_nats_wire_t *wire;
    uv_timer_t timer;
    sh_nats_state_t state;
    char status[320];
    char inbox[SH_NATS_INBOX_LEN + 1];
    sh_nats_stream_copy_t streams[SH_NATS_STREAMS_MAX];
    uint32_t stream_count, stream_checked;
    uint64_t recheck_at_ms;   /* 0: no check is due */
    uint64_t checked_ms;      /* when all were found right */
    bool is_in_doubt;         /* something hints that they no longer are */
    uint64_t denied_ms;       /* when the log was last told of a refusal */
    sh_nats_request_t *slots; /* in_flight_max for publishing and SH_NATS_API_SLOTS */
    uint32_t slot_count;
    sh_list_t free_slots, waiting;
    uint32_t in_flight, in_flight_max;
    size_t in_flight_bytes, in_flight_bytes_max;
    uint64_t timeout_ms;
    sh_list_t consumers, held, watches;
    uint64_t pull_serial;
    void (*close_fn)(void *data);
    void *close_data;
};

/* nats.c */
void sh_nats_set_state(sh_nats_t *nats, sh_nats_state_t state, const char *status);
int sh_nats_request(sh_nats_t *nats, const char *subject, sh_str_t payload, sh_nats_reply_fn fn, void *data) SH_MUSTCHECK;
void sh_nats_send(sh_nats_t *nats, sh_str_t subject, sh_str_t reply, sh_str_t payload);

/* nats_stream.c: checks one stream after the other, then the state is READY. */
void sh_nats_streams_check(sh_nats_t *nats);
/* Copies; SH_EINVAL. */
int sh_nats_streams_init(sh_nats_t *nats, const sh_nats_stream_t *streams, uint32_t count) SH_MUSTCHECK;
void sh_nats_streams_dispose(sh_nats_t *nats);
/* Is the subject one that a stream of ours keeps? */
bool sh_nats_streams_take(const sh_nats_t *nats, sh_str_t subject);
/* Is it an error answer of the JetStream API? Writes "description (code)" and returns its err_code, 0 when it is none. */
int sh_nats_api_error(sh_nats_raw_t *raw, char *text, size_t size);

/* nats_consumer.c */
void sh_nats_consumers_up(sh_nats_t *nats);
void sh_nats_consumers_down(sh_nats_t *nats);
void sh_nats_consumers_tick(sh_nats_t *nats, uint64_t now_ms);
void sh_nats_consumers_message(sh_nats_t *nats, sh_nats_raw_t *raw);                      /* takes raw */
void sh_nats_consumers_pull_status(sh_nats_t *nats, sh_str_t suffix, sh_nats_raw_t *raw); /* lent */
void sh_nats_consumers_deliver(sh_nats_t *nats);
void sh_nats_consumers_dispose(sh_nats_t *nats); /* and detaches held messages */

#endif
