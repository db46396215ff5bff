/* Runs nats.c on the loop, with a keeper thread for what blocks.
 *
 * Who touches the connection: the keeper until it posts UP and after the loop let go; between the two the loop, and the keeper only
 * for a last flush, which nats.c's own lock allows. nats.c's timer thread sends pings; whether anything comes back is judged here.
 *
 * Answers of the kind "nobody listens" are off, since reading a subscription this way swallows them: what is not ours is refused before it is
 * sent, and what has vanished at the broker is found by its silence. */
#include "net/nats_wire.h"

#include "loop/mailbox.h"

#include <fcntl.h>
#include <limits.h>
#include <nats/nats.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    CONNECT_TIMEOUT_MS = 2000,
    RETRY_MS = 500,
    PING_MS = 5000,
    SILENCE_MS_MAX = 12000, /* two pings without any answer */
    FLUSH_MS = 2000,        /* at the end, for acks on their way */
    IO_BUFFER_BYTES = 65536,
    SERVERS_MAX = 16,
    SUBJECT_MAX = 512, /* a subject for acks names stream, consumer and six numbers */
};

typedef enum letter_kind {
    LETTER_UP,     /* connected: the connection is the loop's */
    LETTER_DOWN,   /* not connected: reason says why */
    LETTER_WRITE,  /* another thread put something into the buffer */
    LETTER_LET_GO, /* the keeper wants to close */
    LETTER_CLOSED, /* the keeper's last */
} letter_kind_t;

typedef struct letter {
    sh_list_t link;
    letter_kind_t kind;
    char reason[SH_NATS_REASON_MAX];
} letter_t;

struct sh_nats_wire {
    uv_loop_t *loop;
    uv_thread_t loop_thread;
    const sh_nats_wire_events_t *events;
    void *data;
    sh_mailbox_t mailbox;
    uv_prepare_t flusher; /* active while something is to be written in this turn */
    uint32_t handles_open;
    uint64_t heard_ms;
    bool is_live;     /* the loop may touch the connection */
    bool is_lost;     /* nats.c has closed it, inside a call of the loop */
    bool is_writing;  /* nats.c's buffer is not empty */
    bool is_blocked;  /* the socket was full: it is polled for writing */
    uv_poll_t poll;   /* open while live */
    uv_thread_t keeper;
    uv_mutex_t mutex;
    uv_cond_t wake;
    bool is_stopping, is_let_go; /* guarded by mutex */
    char *url, *name, *ca_file, *cert_file, *key_file;
    char inbox[SH_NATS_INBOX_LEN + 3];
    int fd; /* a copy of nats.c's socket: it closes its own when it likes, and a number that is polled must not become another file */
    natsOptions *options; /* the keeper's */
    natsConnection *connection;
    natsSubscription *subscription;
};

/* --- letters --- */

static void post(sh_nats_wire_t *wire, letter_kind_t kind, const char *reason) {
    letter_t *letter = sh_alloc(sizeof(*letter));
    sh_list_init(&letter->link);
    letter->kind = kind;
    snprintf(letter->reason, sizeof(letter->reason), "%s", reason ? reason : "");
    sh_mailbox_post(&wire->mailbox, &letter->link);
}

static void set_flag(sh_nats_wire_t *wire, bool *flag) {
    uv_mutex_lock(&wire->mutex);
    *flag = true;
    uv_cond_signal(&wire->wake);
    uv_mutex_unlock(&wire->mutex);
}

static bool is_on_loop(const sh_nats_wire_t *wire) {
    uv_thread_t self = uv_thread_self();
    return uv_thread_equal(&self, &wire->loop_thread);
}

/* --- the loop's side of the connection --- */

static void on_poll_closed(uv_handle_t *handle) {
    sh_nats_wire_t *wire = SH_CONTAINER_OF((uv_poll_t *)handle, sh_nats_wire_t, poll);
    close(wire->fd);
    set_flag(wire, &wire->is_let_go);
}

static void let_go(sh_nats_wire_t *wire) {
    if (!wire->is_live) return;
    wire->is_live = wire->is_writing = wire->is_blocked = false;
    uv_prepare_stop(&wire->flusher);
    uv_close((uv_handle_t *)&wire->poll, on_poll_closed);
}

static void lose(sh_nats_wire_t *wire, const char *reason) {
    if (!wire->is_live) return;
    let_go(wire);
    wire->events->down(wire->data, reason);
}

/* After a call in which nats.c may have closed the connection. */
static void lose_if_closed(sh_nats_wire_t *wire) {
    char reason[SH_NATS_REASON_MAX];
    const char *text = NULL;
    if (!wire->is_lost || !wire->is_live) return;
    bool has_text = natsConnection_GetLastError(wire->connection, &text) != NATS_OK && text && *text;
    snprintf(reason, sizeof(reason), "%s", has_text ? text : "closed by the server");
    lose(wire, reason);
}

static void on_poll(uv_poll_t *poll, int status, int events);

static void watch(sh_nats_wire_t *wire) { (void)uv_poll_start(&wire->poll, UV_READABLE | (wire->is_blocked ? UV_WRITABLE : 0), on_poll); }

static void flush(sh_nats_wire_t *wire) {
    if (!wire->is_live || !wire->is_writing) return;
    natsConnection_ProcessWriteEvent(wire->connection);
    lose_if_closed(wire);
    if (!wire->is_live || wire->is_writing == wire->is_blocked) return;
    wire->is_blocked = wire->is_writing;
    watch(wire);
}

static void on_turn(uv_prepare_t *prepare) {
    uv_prepare_stop(prepare);
    sh_nats_raw_sweep();
    flush(SH_CONTAINER_OF(prepare, sh_nats_wire_t, flusher));
}

static void hand_over(sh_nats_wire_t *wire) {
    uint64_t waiting = 0;
    natsMsg *msg;
    if (natsSubscription_QueuedMsgs(wire->subscription, &waiting) != NATS_OK) return;
    while (waiting-- > 0 && wire->is_live && natsSubscription_NextMsg(&msg, wire->subscription, 0) == NATS_OK)
        wire->events->message(wire->data, (sh_nats_raw_t *)msg);
}

static void on_poll(uv_poll_t *poll, int status, int events) {
    sh_nats_wire_t *wire = SH_CONTAINER_OF(poll, sh_nats_wire_t, poll);
    if (status != 0 || (events & UV_READABLE)) { /* an error is found, and told, by reading */
        wire->heard_ms = uv_now(wire->loop);
        natsConnection_ProcessReadEvent(wire->connection);
        hand_over(wire);
        lose_if_closed(wire);
        wire->events->read(wire->data);
    }
    if (events & UV_WRITABLE) flush(wire);
}

static void start(sh_nats_wire_t *wire) {
    wire->is_live = true;
    wire->is_lost = wire->is_blocked = false;
    wire->is_writing = true; /* the subscription */
    wire->heard_ms = uv_now(wire->loop);
    SH_ASSERT(uv_poll_init(wire->loop, &wire->poll, wire->fd) == 0); /* a connected socket that nobody else polls */
    watch(wire);
    wire->events->up(wire->data);
    flush(wire);
}

/* --- what nats.c asks of an event loop --- */

/* `loop` is the wire. On the keeper's thread, before UP. */
static natsStatus attach(void **user, void *loop, natsConnection *connection, natsSock socket) {
    (void)connection;
    sh_nats_wire_t *wire = loop;
    *user = wire;
    wire->fd = fcntl(socket, F_DUPFD_CLOEXEC, 0);
    return wire->fd < 0 ? NATS_ERR : NATS_OK;
}

/* Reading never pauses, and what ends is let go of in detach(). */
static natsStatus on_read_wanted(void *user, bool add) {
    (void)user;
    (void)add;
    return NATS_OK;
}

/* With nats.c's lock held. */
static natsStatus on_write_wanted(void *user, bool add) {
    sh_nats_wire_t *wire = user;
    if (!is_on_loop(wire)) {
        if (add) post(wire, LETTER_WRITE, NULL);
        return NATS_OK;
    }
    wire->is_writing = add;
    if (add && wire->is_live) (void)uv_prepare_start(&wire->flusher, on_turn);
    return NATS_OK;
}

static natsStatus detach(void *user) {
    sh_nats_wire_t *wire = user;
    if (is_on_loop(wire)) wire->is_lost = true; /* else the keeper closes what the loop let go */
    return NATS_OK;
}

static void on_async_error(natsConnection *connection, natsSubscription *subscription, natsStatus status, void *data) {
    /* Without a handler nats.c prints to stderr. Slow consumers cannot occur: the inbox has no limit, pulls bound what comes. */
    (void)connection;
    (void)subscription;
    (void)status;
    (void)data;
}

/* --- the keeper --- */

static natsStatus configure_servers(sh_nats_wire_t *wire) {
    char *urls = sh_strdup(wire->url), *save = NULL;
    const char *servers[SERVERS_MAX];
    int count = 0;
    for (char *url = strtok_r(urls, ", ", &save); url && count < SERVERS_MAX; url = strtok_r(NULL, ", ", &save)) servers[count++] = url;
    natsStatus s = count ? natsOptions_SetServers(wire->options, servers, count) : NATS_INVALID_ARG;
    free(urls);
    return s;
}

static natsStatus configure_tls(sh_nats_wire_t *wire) {
    natsStatus s = NATS_OK;
    if (!wire->ca_file && !wire->cert_file) return s;
    s = natsOptions_SetSecure(wire->options, true);
    if (s == NATS_OK && wire->ca_file) s = natsOptions_LoadCATrustedCertificates(wire->options, wire->ca_file);
    if (s == NATS_OK && wire->cert_file) s = natsOptions_LoadCertificatesChain(wire->options, wire->cert_file, wire->key_file);
    return s;
}

static natsStatus configure(sh_nats_wire_t *wire) {
    natsStatus s = natsOptions_Create(&wire->options);
    if (s == NATS_OK) s = configure_servers(wire);
    if (s == NATS_OK) s = natsOptions_SetName(wire->options, wire->name);
    if (s == NATS_OK) s = natsOptions_SetTimeout(wire->options, CONNECT_TIMEOUT_MS);
    if (s == NATS_OK) s = natsOptions_SetAllowReconnect(wire->options, false);
    if (s == NATS_OK) s = natsOptions_DisableNoResponders(wire->options, true);
    if (s == NATS_OK) s = natsOptions_SetPingInterval(wire->options, PING_MS);
    if (s == NATS_OK) s = natsOptions_SetMaxPingsOut(wire->options, INT_MAX); /* the timer thread must not close */
    if (s == NATS_OK) s = natsOptions_SetIOBufSize(wire->options, IO_BUFFER_BYTES);
    if (s == NATS_OK) s = natsOptions_SetSendAsap(wire->options, true); /* no flusher thread: the loop flushes once a turn */
    if (s == NATS_OK) s = natsOptions_SetErrorHandler(wire->options, on_async_error, NULL);
    if (s == NATS_OK) s = natsOptions_SetEventLoop(wire->options, wire, attach, on_read_wanted, on_write_wanted, detach);
    if (s == NATS_OK) s = configure_tls(wire);
    return s;
}

static void disconnect(sh_nats_wire_t *wire) {
    natsConnection_Close(wire->connection);
    natsSubscription_Destroy(wire->subscription);
    natsConnection_Destroy(wire->connection);
    wire->subscription = NULL;
    wire->connection = NULL;
}

static natsStatus connect_once(sh_nats_wire_t *wire) {
    natsStatus s = wire->options ? NATS_OK : configure(wire);
    if (s != NATS_OK) {
        natsOptions_Destroy(wire->options);
        wire->options = NULL; /* a certificate may be there the next time */
        return s;
    }
    s = natsConnection_Connect(&wire->connection, wire->options);
    if (s != NATS_OK) return s;
    s = natsConnection_SubscribeSync(&wire->subscription, wire->connection, wire->inbox);
    if (s == NATS_OK) s = natsSubscription_SetPendingLimits(wire->subscription, -1, -1);
    if (s != NATS_OK) {
        disconnect(wire);
        close(wire->fd);
    }
    return s;
}

/* True when the wire is stopping. */
static bool rest(sh_nats_wire_t *wire) {
    uint64_t until = uv_hrtime() + RETRY_MS * 1000000ull;
    uv_mutex_lock(&wire->mutex);
    while (!wire->is_stopping && uv_hrtime() < until) (void)uv_cond_timedwait(&wire->wake, &wire->mutex, until - uv_hrtime() + 1);
    bool is_stopping = wire->is_stopping;
    uv_mutex_unlock(&wire->mutex);
    return is_stopping;
}

/* While the loop has the connection; returns when it let go. */
static void stand_by(sh_nats_wire_t *wire) {
    uv_mutex_lock(&wire->mutex);
    while (!wire->is_stopping && !wire->is_let_go) uv_cond_wait(&wire->wake, &wire->mutex);
    if (!wire->is_let_go) {
        uv_mutex_unlock(&wire->mutex);
        (void)natsConnection_FlushTimeout(wire->connection, FLUSH_MS);
        post(wire, LETTER_LET_GO, NULL);
        uv_mutex_lock(&wire->mutex);
        while (!wire->is_let_go) uv_cond_wait(&wire->wake, &wire->mutex);
    }
    wire->is_let_go = false;
    uv_mutex_unlock(&wire->mutex);
}

static void keep(void *data) {
    sh_nats_wire_t *wire = data;
    do {
        natsStatus s = connect_once(wire);
        if (s == NATS_OK) {
            post(wire, LETTER_UP, NULL);
            stand_by(wire);
            disconnect(wire);
        } else {
            post(wire, LETTER_DOWN, natsStatus_GetText(s));
        }
    } while (!rest(wire));
    natsOptions_Destroy(wire->options);
    nats_ReleaseThreadMemory();
    post(wire, LETTER_CLOSED, NULL);
}

/* --- life --- */

static char *copy_option(const char *text) { return text && *text ? sh_strdup(text) : NULL; }

static void free_wire(sh_nats_wire_t *wire) {
    uv_cond_destroy(&wire->wake);
    uv_mutex_destroy(&wire->mutex);
    free(wire->url);
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
        case LETTER_WRITE:
            wire->is_writing = true;
            flush(wire);
            break;
        case LETTER_LET_GO: let_go(wire); break;
        case LETTER_CLOSED:
            uv_thread_join(&wire->keeper);
            close_handles(wire);
            break;
        }
        free(letter);
    }
}

int sh_nats_wire_open(uv_loop_t *loop, const sh_nats_opts_t *opts, const char *inbox, const sh_nats_wire_events_t *events, void *data,
                      sh_nats_wire_t **out) {
    sh_nats_wire_t *wire = sh_calloc(1, sizeof(*wire));
    wire->loop = loop;
    wire->loop_thread = uv_thread_self();
    wire->events = events;
    wire->data = data;
    wire->url = sh_strdup(opts->url);
    wire->name = sh_strdup(opts->name ? opts->name : "shama");
    wire->ca_file = copy_option(opts->ca_file);
    wire->cert_file = copy_option(opts->cert_file);
    wire->key_file = copy_option(opts->key_file);
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

void sh_nats_wire_close(sh_nats_wire_t *wire) { set_flag(wire, &wire->is_stopping); }

void sh_nats_wire_tick(sh_nats_wire_t *wire) {
    sh_nats_raw_sweep();
    if (wire->is_live && uv_now(wire->loop) > wire->heard_ms + SILENCE_MS_MAX) lose(wire, "the broker is silent");
}

/* --- sending --- */

static natsStatus publish_with_headers(sh_nats_wire_t *wire, const char *subject, const char *reply, const sh_nats_header_t *headers,
                                       uint32_t header_count, sh_str_t payload) {
    sh_nats_raw_t *raw = sh_nats_raw_create(subject, reply, headers, header_count, payload);
    natsStatus s = raw ? natsConnection_PublishMsg(wire->connection, (natsMsg *)raw) : NATS_INVALID_ARG;
    sh_nats_raw_destroy(raw);
    return s;
}

static bool terminate(sh_str_t text, char out[SUBJECT_MAX]) {
    if (text.len >= SUBJECT_MAX) return false;
    if (text.len) memcpy(out, text.ptr, text.len);
    out[text.len] = 0;
    return true;
}

int sh_nats_wire_publish(sh_nats_wire_t *wire, sh_str_t subject, sh_str_t reply, const sh_nats_header_t *headers, uint32_t header_count,
                         sh_str_t payload) {
    char subject_c[SUBJECT_MAX], reply_c[SUBJECT_MAX];
    natsStatus s;
    if (!wire->is_live) return SH_EUNAVAILABLE;
    if (!terminate(subject, subject_c) || !terminate(reply, reply_c)) return SH_EINVAL;
    if (header_count)
        s = publish_with_headers(wire, subject_c, reply.len ? reply_c : NULL, headers, header_count, payload);
    else if (reply.len)
        s = natsConnection_PublishRequest(wire->connection, subject_c, reply_c, payload.ptr, (int)payload.len);
    else
        s = natsConnection_Publish(wire->connection, subject_c, payload.ptr, (int)payload.len);
    switch (s) {
    case NATS_OK: return 0;
    case NATS_MAX_PAYLOAD: return SH_ELIMIT;
    case NATS_INVALID_ARG:
    case NATS_INVALID_SUBJECT: return SH_EINVAL;
    default: return SH_EUNAVAILABLE;
    }
}
