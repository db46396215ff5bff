/* Who touches the connection: the keeper until it posts UP, the loop from then on until it has let go; there is no moment in which both may.
 *
 *     down ──UP──▶ live ──lost──▶ down          live ──close──▶ closing (what was sent is confirmed by a PONG) ──▶ let go */
#include "net/nats_wire.h"

#include "loop/mailbox.h"
#include "net/nats_dial.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    DIAL_TIMEOUT_MS = 2000,
    RETRY_MS = 500,
    PING_MS = 5000,
    SILENCE_MS_MAX = 12000, /* two pings without any answer */
    CLOSE_MS_MAX = 2000,    /* for acks on their way */
    READ_BYTES = 65536,     /* more than a TLS record: what OpenSSL keeps back no poll would tell */
    UNSENT_BYTES_MAX = 16 << 20,
    UNSENT_BYTES_KEPT = 256 << 10, /* a buffer that had to be larger is given back when it is empty */
    SUBJECT_MAX = 512,             /* a subject for acks names stream, consumer and six numbers */
};

typedef enum letter_kind {
    LETTER_UP,     /* dialled: the connection is the loop's */
    LETTER_DOWN,   /* not connected: reason says why */
    LETTER_CLOSED, /* the keeper's last */
} letter_kind_t;

typedef struct letter {
    sh_list_t link;
    letter_kind_t kind;
    char reason[SH_NATS_REASON_MAX];
} letter_t;

struct sh_nats_wire {
    uv_loop_t *loop;
    const sh_nats_wire_events_t *events;
    void *data;
    sh_mailbox_t mailbox;
    uv_prepare_t flusher; /* active while something is to be written in this turn */
    uint32_t handles_open;
    bool is_live; /* the connection is the loop's */
    int poll_events;
    uv_poll_t poll;           /* open while live */
    bool wants_write_to_read; /* TLS alone */
    sh_buf_t unsent;          /* from sent_len on */
    size_t sent_len;
    uint32_t pings_out;           /* not yet answered */
    uint64_t heard_ms, pinged_ms; /* when the broker last said anything, when we last asked */
    uint64_t close_at_ms;         /* not 0: closing, and let go of by then */
    char *read_bytes;             /* READ_BYTES of them */
    sh_nats_dialled_t connection;
    uv_thread_t keeper;
    uv_mutex_t mutex;
    uv_cond_t wake;
    bool is_stopping, is_let_go;                   /* guarded by mutex */
    sh_nats_server_t servers[SH_NATS_SERVERS_MAX]; /* from here on the keeper's */
    int server_count;
    char *name, *ca_file, *cert_file, *key_file;
    char inbox[SH_NATS_INBOX_LEN + 3];
};

static void post(sh_nats_wire_t *wire, letter_kind_t kind, const char *reason) {
    letter_t *letter = sh_alloc(sizeof(*letter));
    sh_list_init(&letter->link);
    letter->kind = kind;
    snprintf(letter->reason, sizeof(letter->reason), "%s", reason);
    sh_mailbox_post(&wire->mailbox, &letter->link);
}

static void set_flag(sh_nats_wire_t *wire, bool *flag) {
    uv_mutex_lock(&wire->mutex);
    *flag = true;
    uv_cond_signal(&wire->wake);
    uv_mutex_unlock(&wire->mutex);
}

/* --- letting go --- */

static void on_poll_closed(uv_handle_t *handle) {
    sh_nats_wire_t *wire = SH_CONTAINER_OF((uv_poll_t *)handle, sh_nats_wire_t, poll);
    sh_nats_dialled_dispose(&wire->connection);
    set_flag(wire, &wire->is_let_go);
}

static void let_go(sh_nats_wire_t *wire) {
    wire->is_live = false;
    uv_prepare_stop(&wire->flusher);
    sh_buf_dispose(&wire->unsent);
    wire->sent_len = 0;
    uv_close((uv_handle_t *)&wire->poll, on_poll_closed);
}

static void lose(sh_nats_wire_t *wire, const char *reason) {
    let_go(wire);
    wire->events->down(wire->data, reason);
}

/* --- writing --- */

static void on_poll(uv_poll_t *poll, int status, int events);

static void watch(sh_nats_wire_t *wire, bool is_blocked) {
    int events = UV_READABLE | (is_blocked || wire->wants_write_to_read ? UV_WRITABLE : 0);
    if (events == wire->poll_events) return;
    wire->poll_events = events;
    (void)uv_poll_start(&wire->poll, events, on_poll);
}

/* The sent part goes when it is the larger one, so that each byte moves but a few times. */
static void forget_sent(sh_nats_wire_t *wire) {
    sh_buf_t *unsent = &wire->unsent;
    if (wire->sent_len == unsent->len) {
        sh_buf_clear(unsent);
        wire->sent_len = 0;
        if (unsent->cap > UNSENT_BYTES_KEPT) sh_buf_dispose(unsent);
    } else if (wire->sent_len > unsent->len / 2) {
        unsent->len -= wire->sent_len;
        memmove(unsent->ptr, unsent->ptr + wire->sent_len, unsent->len);
        wire->sent_len = 0;
    }
}

/* Writes until all is sent or the socket is full; in one call, nearly always. */
static void flush(sh_nats_wire_t *wire) {
    char reason[SH_NATS_REASON_MAX];
    ssize_t n = 0;
    while (wire->sent_len < wire->unsent.len) {
        n = sh_nats_link_write(&wire->connection.link, wire->unsent.ptr + wire->sent_len, wire->unsent.len - wire->sent_len, reason);
        if (n < 0) break;
        wire->sent_len += (size_t)n;
    }
    if (n == SH_NATS_LINK_END) {
        lose(wire, reason);
        return;
    }
    forget_sent(wire);
    watch(wire, n < 0);
}

static void on_turn(uv_prepare_t *prepare) {
    sh_nats_wire_t *wire = SH_CONTAINER_OF(prepare, sh_nats_wire_t, flusher);
    uv_prepare_stop(prepare);
    if (!(wire->poll_events & UV_WRITABLE)) flush(wire); /* else the poll says when */
}

static void flush_soon(sh_nats_wire_t *wire) { (void)uv_prepare_start(&wire->flusher, on_turn); }

static void ping(sh_nats_wire_t *wire) {
    wire->pings_out++;
    wire->pinged_ms = uv_now(wire->loop);
    sh_buf_put_lit(&wire->unsent, "PING\r\n");
    flush_soon(wire);
}

int sh_nats_wire_publish(sh_nats_wire_t *wire, sh_str_t subject, sh_str_t reply, const sh_nats_header_t *headers, uint32_t header_count,
                         sh_str_t payload) {
    if (!wire->is_live) return SH_EUNAVAILABLE;
    if (subject.len > SUBJECT_MAX || !sh_nats_is_subject(subject)) return SH_EINVAL;
    if (reply.len && (reply.len > SUBJECT_MAX || !sh_nats_is_subject(reply))) return SH_EINVAL;
    size_t len = sh_nats_block_len(headers, header_count) + payload.len;
    if (len > wire->connection.parser.payload_max || wire->unsent.len - wire->sent_len + len > UNSENT_BYTES_MAX) return SH_ELIMIT;
    sh_nats_write_publish(&wire->unsent, subject, reply, headers, header_count, payload);
    flush_soon(wire);
    return 0;
}

/* --- reading --- */

static void on_error(sh_nats_wire_t *wire, sh_str_t text) {
    char reason[SH_NATS_REASON_MAX];
    if (sh_nats_is_survivable(text)) {
        wire->events->denied(wire->data, text);
        return;
    }
    snprintf(reason, sizeof(reason), "%.*s", (int)text.len, text.ptr);
    lose(wire, reason);
}

static void on_pong(sh_nats_wire_t *wire) {
    if (wire->pings_out > 0) wire->pings_out--;
    if (wire->close_at_ms && wire->pings_out == 0) let_go(wire); /* the broker has what was sent before */
}

static void on_info(sh_nats_wire_t *wire, sh_str_t json) {
    sh_nats_info_t info;
    if (sh_nats_info_read(json, &info) == 0) wire->connection.parser.payload_max = info.payload_max;
}

static void take(sh_nats_wire_t *wire, const char *bytes, size_t len) {
    sh_nats_parser_t *parser = &wire->connection.parser;
    while (wire->is_live) {
        size_t used;
        sh_nats_event_t event = sh_nats_parser_feed(parser, bytes, len, &used);
        bytes += used;
        len -= used;
        switch (event) {
        case SH_NATS_EVENT_MORE: return;
        case SH_NATS_EVENT_MSG: wire->events->message(wire->data, parser->msg); break;
        case SH_NATS_EVENT_PING:
            sh_buf_put_lit(&wire->unsent, "PONG\r\n");
            flush_soon(wire);
            break;
        case SH_NATS_EVENT_PONG: on_pong(wire); break;
        case SH_NATS_EVENT_INFO: on_info(wire, parser->text); break;
        case SH_NATS_EVENT_OK: break;
        case SH_NATS_EVENT_ERR: on_error(wire, parser->text); break;
        case SH_NATS_EVENT_BAD: lose(wire, parser->text.ptr); break;
        }
    }
}

static void read_once(sh_nats_wire_t *wire) {
    char reason[SH_NATS_REASON_MAX];
    ssize_t n = sh_nats_link_read(&wire->connection.link, wire->read_bytes, READ_BYTES, reason);
    wire->wants_write_to_read = n == SH_NATS_LINK_WANT_WRITE;
    if (n == SH_NATS_LINK_END) {
        lose(wire, reason);
    } else if (n > 0) {
        wire->heard_ms = uv_now(wire->loop);
        take(wire, wire->read_bytes, (size_t)n);
        wire->events->read(wire->data);
    }
}

static void on_poll(uv_poll_t *poll, int status, int events) {
    sh_nats_wire_t *wire = SH_CONTAINER_OF(poll, sh_nats_wire_t, poll);
    bool was_blocked = wire->poll_events & UV_WRITABLE;
    if (status != 0) wire->poll_events = 0; /* libuv has stopped polling; the error is found, and told, by reading */
    if (status != 0 || (events & UV_READABLE) || wire->wants_write_to_read) read_once(wire);
    if (!wire->is_live) return;
    if (was_blocked)
        flush(wire);
    else
        watch(wire, false);
}

/* --- the keeper --- */

static bool is_stopping(sh_nats_wire_t *wire) {
    uv_mutex_lock(&wire->mutex);
    bool is = wire->is_stopping;
    uv_mutex_unlock(&wire->mutex);
    return is;
}

/* The servers in the order of the list; `reason` is the last one's. */
static bool dial(sh_nats_wire_t *wire, char reason[SH_NATS_REASON_MAX]) {
    const sh_nats_dial_opts_t opts = {
        .name = wire->name, .inbox = wire->inbox, .tls = {wire->ca_file, wire->cert_file, wire->key_file}, .timeout_ms = DIAL_TIMEOUT_MS};
    for (int i = 0; i < wire->server_count && !is_stopping(wire); i++)
        if (sh_nats_dial(&wire->servers[i], &opts, &wire->connection, reason) == 0) return true;
    return false;
}

/* True when the wire is stopping. */
static bool rest(sh_nats_wire_t *wire) {
    uint64_t until = uv_hrtime() + RETRY_MS * 1000000ull;
    uv_mutex_lock(&wire->mutex);
    while (!wire->is_stopping && uv_hrtime() < until) (void)uv_cond_timedwait(&wire->wake, &wire->mutex, until - uv_hrtime() + 1);
    uv_mutex_unlock(&wire->mutex);
    return is_stopping(wire);
}

/* While the loop has the connection. */
static void stand_by(sh_nats_wire_t *wire) {
    uv_mutex_lock(&wire->mutex);
    while (!wire->is_let_go) uv_cond_wait(&wire->wake, &wire->mutex);
    wire->is_let_go = false;
    uv_mutex_unlock(&wire->mutex);
}

static void keep(void *data) {
    sh_nats_wire_t *wire = data;
    do {
        char reason[SH_NATS_REASON_MAX] = "";
        if (dial(wire, reason)) {
            post(wire, LETTER_UP, "");
            stand_by(wire);
        } else {
            post(wire, LETTER_DOWN, reason);
        }
    } while (!rest(wire));
    OPENSSL_thread_stop();
    post(wire, LETTER_CLOSED, "");
}

/* --- life --- */

static void start(sh_nats_wire_t *wire) {
    sh_buf_t *early = &wire->connection.rest;
    wire->is_live = true;
    wire->wants_write_to_read = false;
    wire->poll_events = 0;
    wire->pings_out = 0;
    wire->heard_ms = wire->pinged_ms = uv_now(wire->loop);
    SH_ASSERT(uv_poll_init(wire->loop, &wire->poll, wire->connection.link.fd) == 0); /* a connected socket that nobody else polls */
    if (wire->close_at_ms) {
        let_go(wire);
        return;
    }
    watch(wire, false);
    wire->events->up(wire->data);
    if (early->len) take(wire, early->ptr, early->len);
}

static void free_wire(sh_nats_wire_t *wire) {
    for (int i = 0; i < wire->server_count; i++) sh_nats_server_dispose(&wire->servers[i]);
    uv_cond_destroy(&wire->wake);
    uv_mutex_destroy(&wire->mutex);
    free(wire->read_bytes);
    free(wire->name);
    free(wire->ca_file);
    free(wire->cert_file);
    free(wire->key_file);
    free(wire);
}

static void handle_closed(sh_nats_wire_t *wire) {
    if (--wire->handles_open > 0) return;
    void (*closed)(void *) = wire->events->closed;
    void *data = wire->data;
    free_wire(wire);
    closed(data);
}

static void on_flusher_closed(uv_handle_t *handle) { handle_closed(SH_CONTAINER_OF((uv_prepare_t *)handle, sh_nats_wire_t, flusher)); }
static void on_mailbox_closed(void *data) { handle_closed(data); }

static void close_handles(sh_nats_wire_t *wire) {
    wire->handles_open = 2;
    uv_close((uv_handle_t *)&wire->flusher, on_flusher_closed);
    sh_mailbox_close(&wire->mailbox, on_mailbox_closed, wire);
}

static void on_letters(void *data, sh_list_t *letters) {
    sh_nats_wire_t *wire = data;
    sh_list_each(it, tmp, letters) {
        letter_t *letter = SH_CONTAINER_OF(it, letter_t, link);
        sh_list_unlink(it);
        switch (letter->kind) {
        case LETTER_UP: start(wire); break;
        case LETTER_DOWN: wire->events->down(wire->data, letter->reason); break;
        case LETTER_CLOSED:
            uv_thread_join(&wire->keeper);
            close_handles(wire);
            break;
        }
        free(letter);
    }
}

static char *copy_option(const char *text) { return text && *text ? sh_strdup(text) : NULL; }

int sh_nats_wire_open(uv_loop_t *loop, const sh_nats_opts_t *opts, const char *inbox, const sh_nats_wire_events_t *events, void *data,
                      sh_nats_wire_t **out) {
    sh_nats_server_t servers[SH_NATS_SERVERS_MAX];
    int count = sh_nats_url_read(opts->url, servers);
    if (count < 0) return SH_EINVAL;
    sh_nats_wire_t *wire = sh_calloc(1, sizeof(*wire));
    memcpy(wire->servers, servers, sizeof(*servers) * (size_t)count);
    wire->server_count = count;
    wire->loop = loop;
    wire->events = events;
    wire->data = data;
    wire->name = sh_strdup(opts->name ? opts->name : "shama");
    wire->ca_file = copy_option(opts->ca_file);
    wire->cert_file = copy_option(opts->cert_file);
    wire->key_file = copy_option(opts->key_file);
    wire->read_bytes = sh_alloc(READ_BYTES);
    SH_ASSERT(strlen(inbox) <= SH_NATS_INBOX_LEN);
    strcpy(wire->inbox, inbox);
    strcat(wire->inbox, ".*");
    SH_ASSERT(uv_mutex_init(&wire->mutex) == 0 && uv_cond_init(&wire->wake) == 0);
    SH_ASSERT(uv_prepare_init(loop, &wire->flusher) == 0);
    SH_ASSERT(sh_mailbox_open(&wire->mailbox, loop, on_letters, wire) == 0);
    *out = wire;
    if (uv_thread_create(&wire->keeper, keep, wire) == 0) return 0;
    close_handles(wire);
    return SH_EIO;
}

void sh_nats_wire_close(sh_nats_wire_t *wire) {
    wire->close_at_ms = uv_now(wire->loop) + CLOSE_MS_MAX;
    if (wire->is_live) ping(wire);
    set_flag(wire, &wire->is_stopping);
}

void sh_nats_wire_tick(sh_nats_wire_t *wire) {
    uint64_t now = uv_now(wire->loop);
    if (!wire->is_live) return;
    if (wire->close_at_ms && now >= wire->close_at_ms)
        let_go(wire);
    else if (now > wire->heard_ms + SILENCE_MS_MAX)
        lose(wire, "the broker is silent");
    else if (now >= wire->heard_ms + PING_MS && now >= wire->pinged_ms + PING_MS)
        ping(wire);
}
