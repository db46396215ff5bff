/* The loop side of the NATS client: states, requests that wait for an answer, publishing. Streams and consumers have files of their own.
 *
 * Every message that wants an answer gets a slot; its reply subject is <inbox>.r<generation and slot>. Acks of the broker are told from
 * API replies by the slot's kind, and pulled messages by their own reply subject ($JS.ACK...), since JetStream shows
 * the original subject there. One subscription is enough for all of it. */
#include "net/nats_internal.h"
#include "net/nats_proto.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { IN_FLIGHT_DEFAULT = 512, IN_FLIGHT_CEILING = 65536, IN_FLIGHT_BYTES_DEFAULT = 8 << 20, TIMEOUT_MS_DEFAULT = 5000 };

enum { STREAM_FULL = 10077 }; /* JSStreamStoreFailedF: "maximum bytes exceeded" and kin */

static const sh_nats_wire_events_t WIRE_EVENTS;
static void on_tick(uv_timer_t *timer);

/* --- life --- */

static void make_inbox(sh_nats_t *nats) {
    unsigned char random[10];
    SH_ASSERT(uv_random(NULL, NULL, random, sizeof(random), 0, NULL) == 0);
    char *at = nats->inbox + sprintf(nats->inbox, "_INBOX.");
    for (size_t i = 0; i < sizeof(random); i++) at += sprintf(at, "%02x", random[i]);
}

static int check_opts(const sh_nats_opts_t *opts) {
    if (!opts->url || !*opts->url || opts->stream_count > SH_NATS_STREAMS_MAX) return SH_EINVAL;
    bool has_cert = opts->cert_file && *opts->cert_file, has_key = opts->key_file && *opts->key_file;
    if (has_cert != has_key || opts->in_flight_max > IN_FLIGHT_CEILING) return SH_EINVAL;
    return 0;
}

int sh_nats_open(uv_loop_t *loop, const sh_nats_opts_t *opts, sh_log_t *log, sh_nats_t **out) {
    int status = check_opts(opts);
    if (status) return status;
    sh_nats_t *nats = sh_calloc(1, sizeof(*nats));
    nats->loop = loop;
    nats->log = log;
    nats->in_flight_max = opts->in_flight_max ? opts->in_flight_max : IN_FLIGHT_DEFAULT;
    nats->in_flight_bytes_max = opts->in_flight_bytes_max ? opts->in_flight_bytes_max : IN_FLIGHT_BYTES_DEFAULT;
    nats->timeout_ms = opts->timeout_ms ? opts->timeout_ms : TIMEOUT_MS_DEFAULT;
    snprintf(nats->status, sizeof(nats->status), "connecting");
    sh_list_init(&nats->consumers);
    sh_list_init(&nats->held);
    sh_list_init(&nats->watches);
    sh_list_init(&nats->free_slots);
    sh_list_init(&nats->waiting);
    make_inbox(nats);
    nats->slot_count = nats->in_flight_max + SH_NATS_API_SLOTS;
    nats->slots = sh_calloc(nats->slot_count, sizeof(*nats->slots));
    for (uint32_t i = 0; i < nats->slot_count; i++) sh_list_link(&nats->free_slots, &nats->slots[i].link);
    status = sh_nats_streams_init(nats, opts->streams, opts->stream_count);
    if (status) goto fail_streams;
    status = sh_nats_wire_open(loop, opts, nats->inbox, &WIRE_EVENTS, nats, &nats->wire);
    if (status == SH_EINVAL) goto fail_streams;
    SH_ASSERT(uv_timer_init(loop, &nats->timer) == 0);
    if (status) return status; /* the wire's handles need a turn of the loop to go, and the memory goes with them */
    SH_ASSERT(uv_timer_start(&nats->timer, on_tick, SH_NATS_TICK_MS, SH_NATS_TICK_MS) == 0);
    *out = nats;
    return 0;

fail_streams:
    sh_nats_streams_dispose(nats);
    free(nats->slots);
    free(nats);
    return status;
}

void sh_nats_close(sh_nats_t *nats, void (*fn)(void *data), void *data) {
    SH_ASSERT(nats->state != SH_NATS_CLOSING);
    while (!sh_list_is_empty(&nats->consumers)) sh_nats_consumer_stop((sh_nats_consumer_t *)(void *)nats->consumers.next);
    nats->close_fn = fn;
    nats->close_data = data;
    sh_nats_set_state(nats, SH_NATS_CLOSING, "closing");
    sh_nats_wire_close(nats->wire);
}

static void on_timer_closed(uv_handle_t *handle) {
    sh_nats_t *nats = SH_CONTAINER_OF((uv_timer_t *)handle, sh_nats_t, timer);
    void (*fn)(void *data) = nats->close_fn;
    void *data = nats->close_data;
    sh_nats_streams_dispose(nats);
    free(nats->slots);
    free(nats);
    if (fn) fn(data);
}

void sh_nats_set_state(sh_nats_t *nats, sh_nats_state_t state, const char *status) {
    bool was_ready = nats->state == SH_NATS_READY, is_ready = state == SH_NATS_READY;
    nats->state = state;
    snprintf(nats->status, sizeof(nats->status), "%s", status);
    if (was_ready == is_ready) return;
    sh_list_each(it, tmp, &nats->watches) {
        sh_nats_watch_t *watch = SH_CONTAINER_OF(it, sh_nats_watch_t, link);
        watch->fn(watch->data, is_ready);
    }
}

bool sh_nats_is_ready(const sh_nats_t *nats) { return nats->state == SH_NATS_READY; }
const char *sh_nats_status(const sh_nats_t *nats) { return nats->status; }
uint32_t sh_nats_in_flight(const sh_nats_t *nats) { return nats->in_flight; }

uint32_t sh_nats_room(const sh_nats_t *nats) {
    if (nats->state != SH_NATS_READY || nats->in_flight_bytes >= nats->in_flight_bytes_max) return 0;
    return nats->in_flight_max - nats->in_flight;
}

void sh_nats_watch_link(sh_nats_t *nats, sh_nats_watch_t *watch) { sh_list_link(&nats->watches, &watch->link); }
void sh_nats_watch_unlink(sh_nats_watch_t *watch) { sh_list_unlink(&watch->link); }

/* --- requests --- */

static uint64_t token_of(const sh_nats_t *nats, const sh_nats_request_t *request) {
    return (uint64_t)request->generation << 32 | (uint64_t)(request - nats->slots);
}

static sh_nats_request_t *request_of(sh_nats_t *nats, uint64_t token) {
    uint32_t slot = (uint32_t)token;
    if (slot >= nats->slot_count) return NULL;
    sh_nats_request_t *request = &nats->slots[slot];
    bool is_waiting = request->publish_fn || request->reply_fn;
    return is_waiting && request->generation == (uint32_t)(token >> 32) ? request : NULL;
}

static sh_nats_request_t *request_start(sh_nats_t *nats) {
    sh_nats_request_t *request = sh_list_first(&nats->free_slots, sh_nats_request_t, link);
    if (!request) return NULL;
    sh_list_unlink(&request->link);
    request->generation++;
    if (request->generation == 0) request->generation = 1; /* a token is never 0 */
    request->deadline_ms = uv_now(nats->loop) + nats->timeout_ms;
    sh_list_link(&nats->waiting, &request->link);
    return request;
}

/* The slot is free again; behind the others, so that it rests as long as possible before its next generation. */
static void request_end(sh_nats_t *nats, sh_nats_request_t *request) {
    if (request->is_publish) {
        nats->in_flight--;
        nats->in_flight_bytes -= request->bytes;
    }
    request->publish_fn = NULL;
    request->reply_fn = NULL;
    sh_list_unlink(&request->link);
    sh_list_link(&nats->free_slots, &request->link);
}

/* Frees the slot, then tells the one who asked; `raw` and `reason` are lent. */
static void request_done(sh_nats_t *nats, sh_nats_request_t *request, int status, sh_nats_raw_t *raw, const char *reason) {
    sh_nats_request_t done = *request;
    request_end(nats, request);
    if (done.is_publish)
        done.publish_fn(done.data, status, reason);
    else
        done.reply_fn(done.data, status, raw);
}

static void fail_waiting(sh_nats_t *nats, int status, const char *reason) {
    sh_list_t failed;
    sh_list_init(&failed);
    /* Those only that wait now: a callback may ask anew. */
    sh_list_each(it, tmp, &nats->waiting) {
        sh_list_unlink(it);
        sh_list_link(&failed, it);
    }
    while (!sh_list_is_empty(&failed)) request_done(nats, sh_list_first(&failed, sh_nats_request_t, link), status, NULL, reason);
}

static int request_send(sh_nats_t *nats, sh_nats_request_t *request, sh_str_t subject, const sh_nats_header_t *headers, uint32_t header_count,
                        sh_str_t payload) {
    char reply[SH_NATS_REPLY_MAX];
    size_t reply_len = (size_t)snprintf(reply, sizeof(reply), "%s.r%" PRIx64, nats->inbox, token_of(nats, request));
    int status = sh_nats_wire_publish(nats->wire, subject, sh_str(reply, reply_len), headers, header_count, payload);
    if (status) request_end(nats, request);
    return status;
}

int sh_nats_publish(sh_nats_t *nats, sh_str_t subject, const sh_nats_header_t *headers, uint32_t header_count, sh_str_t payload,
                    sh_nats_publish_fn fn, void *data) {
    bool has_wildcard = subject.len && (memchr(subject.ptr, '*', subject.len) || memchr(subject.ptr, '>', subject.len));
    if (subject.len > SH_NATS_SUBJECT_MAX || has_wildcard || !sh_nats_is_subject(subject)) return SH_EINVAL;
    if (header_count > SH_NATS_HEADERS_MAX) return SH_EINVAL;
    for (uint32_t i = 0; i < header_count; i++)
        if (!sh_nats_is_header(&headers[i])) return SH_EINVAL;
    if (nats->state != SH_NATS_READY) return SH_EUNAVAILABLE;
    if (!sh_nats_streams_take(nats, subject)) return SH_ENOTFOUND;
    if (payload.len > SH_NATS_PAYLOAD_MAX || sh_nats_room(nats) == 0) return SH_ELIMIT;
    sh_nats_request_t *request = request_start(nats);
    if (!request) return SH_ELIMIT;
    request->is_publish = true;
    request->bytes = payload.len;
    request->publish_fn = fn;
    request->data = data;
    nats->in_flight++;
    nats->in_flight_bytes += payload.len;
    return request_send(nats, request, subject, headers, header_count, payload);
}

int sh_nats_request(sh_nats_t *nats, const char *subject, sh_str_t payload, sh_nats_reply_fn fn, void *data) {
    sh_nats_request_t *request = request_start(nats);
    if (!request) return SH_ELIMIT;
    request->is_publish = false;
    request->bytes = 0;
    request->reply_fn = fn;
    request->data = data;
    return request_send(nats, request, sh_str_of(subject), NULL, 0, payload);
}

void sh_nats_send(sh_nats_t *nats, sh_str_t subject, sh_str_t reply, sh_str_t payload) {
    if (sh_nats_wire_publish(nats->wire, subject, reply, NULL, 0, payload) != 0) return; /* the broker asks, or delivers, again */
}

/* --- what the wire says --- */

/* The broker's own answer that nobody listens to the subject. */
static bool is_unheard(sh_nats_raw_t *raw) { return sh_nats_raw_payload(raw).len == 0 && sh_str_eq_c(sh_nats_raw_header(raw, "Status"), "503"); }

/* {"stream":"S","seq":1} or {"error":{...},...}: the server writes nothing else, so that looking for the one word is enough; only a refusal
 * is read as JSON. */
static int publish_status(sh_nats_raw_t *raw, char *reason, size_t size) {
    sh_str_t payload = sh_nats_raw_payload(raw);
    if (sh_str_has_prefix(payload, SH_STR("{\"stream\""))) return 0;
    if (is_unheard(raw)) {
        snprintf(reason, size, "no stream takes this subject");
        return SH_ENOTFOUND;
    }
    return sh_nats_api_error(raw, reason, size) == STREAM_FULL ? SH_ELIMIT : SH_EIO;
}

static void check_streams(sh_nats_t *nats) {
    nats->is_in_doubt = false;
    nats->stream_checked = 0;
    sh_nats_streams_check(nats);
}

/* After a subject that nobody takes, or an answer that never came: somebody may have removed a stream while we were connected. A broker may as well
 * be slow, so not too often. */
static void look_again_if_due(sh_nats_t *nats, uint64_t now_ms) {
    if (!nats->is_in_doubt || nats->state != SH_NATS_READY || now_ms < nats->checked_ms + SH_NATS_LOOK_AGAIN_MS) return;
    sh_nats_set_state(nats, SH_NATS_CHECKING, "checking streams");
    check_streams(nats);
}

static void on_reply(sh_nats_t *nats, sh_str_t suffix, sh_nats_raw_t *raw) {
    char text[32] = {0};
    if (suffix.len >= sizeof(text)) return;
    memcpy(text, suffix.ptr, suffix.len);
    sh_nats_request_t *request = request_of(nats, strtoull(text, NULL, 16));
    if (!request) return; /* timed out, or lost with a connection */
    if (request->is_publish) {
        char reason[SH_NATS_REASON_MAX] = "";
        int status = publish_status(raw, reason, sizeof(reason));
        if (status == SH_ENOTFOUND) nats->is_in_doubt = true;
        request_done(nats, request, status, NULL, reason);
    } else {
        bool is_lost = is_unheard(raw); /* JetStream is not there (yet) */
        request_done(nats, request, is_lost ? SH_EUNAVAILABLE : 0, is_lost ? NULL : raw, "");
    }
}

static void on_message(void *data, sh_nats_raw_t *raw) {
    sh_nats_t *nats = data;
    sh_str_t subject = sh_nats_raw_subject(raw), inbox = sh_str_of(nats->inbox);
    if (subject.len <= inbox.len + 2 || !sh_str_has_prefix(subject, inbox)) {
        sh_nats_consumers_message(nats, raw);
        return;
    }
    sh_str_t suffix = sh_str(subject.ptr + inbox.len + 2, subject.len - inbox.len - 2);
    if (subject.ptr[inbox.len + 1] == 'r')
        on_reply(nats, suffix, raw);
    else
        sh_nats_consumers_pull_status(nats, suffix, raw);
    sh_nats_raw_destroy(raw);
}

static void on_read(void *data) { sh_nats_consumers_deliver(data); }

/* Each message that may not be published is one of these; a line a second tells enough. */
static void on_denied(void *data, sh_str_t reason) {
    sh_nats_t *nats = data;
    uint64_t now_ms = uv_now(nats->loop);
    if (now_ms < nats->denied_ms + SH_NATS_DENIED_MS) return;
    nats->denied_ms = now_ms;
    sh_log_warn(nats->log, "the broker refuses something", SH_LOG_STR("reason", reason));
}

static void on_up(void *data) {
    sh_nats_t *nats = data;
    if (nats->state == SH_NATS_CLOSING) return;
    sh_log_info(nats->log, "broker connected");
    sh_nats_set_state(nats, SH_NATS_CHECKING, "connected, checking streams");
    check_streams(nats);
}

static void on_down(void *data, const char *reason) {
    sh_nats_t *nats = data;
    char status[sizeof(nats->status)];
    if (nats->state == SH_NATS_CLOSING) return;
    snprintf(status, sizeof(status), "broker not connected: %s", reason);
    /* A broker that stays away is tried again every half second; one line tells it. */
    if (strcmp(status, nats->status) != 0) sh_log_warn(nats->log, "broker not connected", SH_LOG_C("reason", reason));
    sh_nats_set_state(nats, SH_NATS_DOWN, status);
    nats->recheck_at_ms = 0;
    sh_nats_consumers_down(nats);
    fail_waiting(nats, SH_EMAYBE, "connection lost");
}

static void on_wire_closed(void *data) {
    sh_nats_t *nats = data;
    fail_waiting(nats, SH_ECANCELED, "closing");
    sh_nats_consumers_dispose(nats);
    uv_close((uv_handle_t *)&nats->timer, on_timer_closed);
}

static const sh_nats_wire_events_t WIRE_EVENTS = {
    .up = on_up, .down = on_down, .message = on_message, .read = on_read, .denied = on_denied, .closed = on_wire_closed};

static void on_tick(uv_timer_t *timer) {
    sh_nats_t *nats = SH_CONTAINER_OF(timer, sh_nats_t, timer);
    uint64_t now_ms = uv_now(nats->loop);
    sh_nats_request_t *request;
    sh_nats_wire_tick(nats->wire);
    while ((request = sh_list_first(&nats->waiting, sh_nats_request_t, link)) && request->deadline_ms <= now_ms) {
        nats->is_in_doubt |= request->is_publish;
        request_done(nats, request, SH_ETIMEDOUT, NULL, "no answer from the broker");
    }
    look_again_if_due(nats, now_ms);
    if (nats->state == SH_NATS_CHECKING && nats->recheck_at_ms && nats->recheck_at_ms <= now_ms) {
        nats->recheck_at_ms = 0;
        sh_nats_streams_check(nats);
    }
    if (nats->state == SH_NATS_READY) sh_nats_consumers_tick(nats, now_ms);
}
