/* Makes all calls into nats.c from one thread, and turns nats.c's callbacks into letters for the loop.
 *
 * The thread's life: configure ─▶ connect (again and again) ─▶ send items ─▶ (connection closed for good? connect anew) ─▶ stop.
 * nats.c reconnects by itself; it gives up only when the server refuses the login twice, and then this thread begins from the start. */
#include "net/nats_wire.h"

#include <nats/nats.h>
#include <stdlib.h>

enum {
    CONNECT_TIMEOUT_MS = 2000,
    RETRY_MS = 500,
    PING_MS = 5000, /* a peer that is silent for two of these is gone */
    PINGS_OUT_MAX = 2,
    FLUSH_MS = 2000, /* at the end, for acks on their way */
    IO_BUFFER_BYTES = 65536,
    SERVERS_MAX = 16,
};

struct sh_nats_wire {
    sh_mailbox_t *mailbox;
    uv_thread_t thread;
    uv_mutex_t mutex;
    uv_cond_t wake;
    sh_list_t items; /* guarded by mutex, as are the three below */
    bool is_stopping;
    bool is_conn_closed;    /* nats.c's last callback of this connection came */
    bool is_inbox_complete; /* its message handler will not run any more */
    char *url, *name, *ca_file, *cert_file, *key_file;
    char inbox[SH_NATS_INBOX_LEN + 3];
    natsOptions *options; /* the thread's, as are those below */
    natsConnection *connection;
    natsSubscription *subscription;
};

/* --- letters and items --- */

static sh_nats_letter_t *letter_create(sh_nats_letter_kind_t kind, const char *reason) {
    size_t reason_len = reason ? strnlen(reason, SH_NATS_REASON_MAX - 1) : 0;
    sh_nats_letter_t *letter = sh_alloc(offsetof(sh_nats_letter_t, reason) + reason_len + 1);
    sh_list_init(&letter->link);
    letter->kind = kind;
    letter->raw = NULL;
    letter->token = 0;
    letter->status = 0;
    if (reason_len) memcpy(letter->reason, reason, reason_len);
    letter->reason[reason_len] = 0;
    return letter;
}

void sh_nats_letter_destroy(sh_nats_letter_t *letter) {
    if (letter->raw) sh_nats_raw_destroy(letter->raw);
    free(letter);
}

static void post(sh_nats_wire_t *wire, sh_nats_letter_kind_t kind, const char *reason) {
    sh_mailbox_post(wire->mailbox, &letter_create(kind, reason)->link);
}

static char *copy_text(char *at, sh_str_t text) {
    if (text.len) memcpy(at, text.ptr, text.len);
    at[text.len] = 0;
    return at + text.len + 1;
}

sh_nats_item_t *sh_nats_item_create(sh_str_t subject, sh_str_t reply, const sh_nats_header_t *headers, uint32_t header_count, sh_str_t payload) {
    size_t size = sizeof(sh_nats_item_t) + subject.len + 1 + reply.len + 1 + payload.len;
    for (uint32_t i = 0; i < header_count; i++) size += headers[i].name.len + headers[i].value.len + 2;
    sh_nats_item_t *item = sh_alloc(size);
    char *at = (char *)(item + 1);
    *item = (sh_nats_item_t){.header_count = header_count, .payload_len = payload.len};
    sh_list_init(&item->link);
    item->subject = at;
    at = copy_text(at, subject);
    item->reply = reply.len ? at : NULL;
    at = copy_text(at, reply);
    item->headers = at;
    for (uint32_t i = 0; i < header_count; i++) at = copy_text(copy_text(at, headers[i].name), headers[i].value);
    item->payload = at;
    if (payload.len) memcpy(at, payload.ptr, payload.len);
    return item;
}

/* --- callbacks on nats.c's threads --- */

static void on_message(natsConnection *connection, natsSubscription *subscription, natsMsg *msg, void *data) {
    (void)connection;
    (void)subscription;
    sh_nats_wire_t *wire = data;
    sh_nats_letter_t *letter = letter_create(SH_NATS_LETTER_MESSAGE, NULL);
    letter->raw = (sh_nats_raw_t *)msg;
    sh_mailbox_post(wire->mailbox, &letter->link);
}

static void on_disconnected(natsConnection *connection, void *data) {
    const char *reason = NULL;
    if (natsConnection_GetLastError(connection, &reason) == NATS_OK || !reason || !*reason) reason = "connection lost";
    post(data, SH_NATS_LETTER_DOWN, reason);
}

static void on_reconnected(natsConnection *connection, void *data) {
    (void)connection;
    post(data, SH_NATS_LETTER_UP, NULL);
}

static void set_flag(sh_nats_wire_t *wire, bool *flag) {
    uv_mutex_lock(&wire->mutex);
    *flag = true;
    uv_cond_signal(&wire->wake);
    uv_mutex_unlock(&wire->mutex);
}

static void on_closed(natsConnection *connection, void *data) {
    (void)connection;
    sh_nats_wire_t *wire = data;
    set_flag(wire, &wire->is_conn_closed);
}

static void on_inbox_complete(void *data) {
    sh_nats_wire_t *wire = data;
    set_flag(wire, &wire->is_inbox_complete);
}

static void on_async_error(natsConnection *connection, natsSubscription *subscription, natsStatus status, void *data) {
    /* Without a handler nats.c prints to stderr. Slow consumers cannot occur: the inbox has no limit, pulls bound what comes. */
    (void)connection;
    (void)subscription;
    (void)status;
    (void)data;
}

/* --- the thread --- */

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
    if (s == NATS_OK) s = natsOptions_SetAllowReconnect(wire->options, true);
    if (s == NATS_OK) s = natsOptions_SetMaxReconnect(wire->options, -1);
    if (s == NATS_OK) s = natsOptions_SetReconnectWait(wire->options, RETRY_MS);
    if (s == NATS_OK) s = natsOptions_SetReconnectJitter(wire->options, 100, 100);
    if (s == NATS_OK) s = natsOptions_SetPingInterval(wire->options, PING_MS);
    if (s == NATS_OK) s = natsOptions_SetMaxPingsOut(wire->options, PINGS_OUT_MAX);
    if (s == NATS_OK) s = natsOptions_SetIOBufSize(wire->options, IO_BUFFER_BYTES);
    if (s == NATS_OK) s = natsOptions_SetErrorHandler(wire->options, on_async_error, wire);
    if (s == NATS_OK) s = natsOptions_SetDisconnectedCB(wire->options, on_disconnected, wire);
    if (s == NATS_OK) s = natsOptions_SetReconnectedCB(wire->options, on_reconnected, wire);
    if (s == NATS_OK) s = natsOptions_SetClosedCB(wire->options, on_closed, wire);
    if (s == NATS_OK) s = configure_tls(wire);
    return s;
}

static natsStatus subscribe(sh_nats_wire_t *wire) {
    natsStatus s = natsConnection_Subscribe(&wire->subscription, wire->connection, wire->inbox, on_message, wire);
    if (s == NATS_OK) s = natsSubscription_SetPendingLimits(wire->subscription, -1, -1);
    if (s == NATS_OK) s = natsSubscription_SetOnCompleteCB(wire->subscription, on_inbox_complete, wire);
    if (s != NATS_OK) {
        natsSubscription_Destroy(wire->subscription); /* disconnect() must not wait for a callback that is not set */
        wire->subscription = NULL;
    }
    return s;
}

/* Leaves nothing of the connection, its callbacks included. */
static void disconnect(sh_nats_wire_t *wire) {
    bool has_inbox = wire->subscription != NULL;
    natsSubscription_Destroy(wire->subscription);
    natsConnection_Close(wire->connection);
    uv_mutex_lock(&wire->mutex);
    while (!wire->is_conn_closed || (has_inbox && !wire->is_inbox_complete)) uv_cond_wait(&wire->wake, &wire->mutex);
    wire->is_conn_closed = wire->is_inbox_complete = false;
    uv_mutex_unlock(&wire->mutex);
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
    s = subscribe(wire);
    if (s != NATS_OK) disconnect(wire);
    return s;
}

/* False when the wire is stopping before there is a connection. */
static bool connect_until(sh_nats_wire_t *wire) {
    for (;;) {
        natsStatus s = connect_once(wire);
        if (s == NATS_OK) {
            post(wire, SH_NATS_LETTER_UP, NULL);
            return true;
        }
        post(wire, SH_NATS_LETTER_DOWN, natsStatus_GetText(s));
        uv_mutex_lock(&wire->mutex);
        uint64_t until = uv_hrtime() + RETRY_MS * 1000000ull;
        while (!wire->is_stopping && uv_hrtime() < until) (void)uv_cond_timedwait(&wire->wake, &wire->mutex, until - uv_hrtime() + 1);
        bool is_stopping = wire->is_stopping;
        uv_mutex_unlock(&wire->mutex);
        if (is_stopping) return false;
    }
}

static natsStatus to_msg(const sh_nats_item_t *item, natsMsg **out) {
    natsMsg *msg = NULL;
    natsStatus s = natsMsg_Create(&msg, item->subject, item->reply, item->payload, (int)item->payload_len);
    const char *at = item->headers;
    for (uint32_t i = 0; s == NATS_OK && i < item->header_count; i++) {
        const char *value = at + strlen(at) + 1;
        s = natsMsgHeader_Set(msg, at, value);
        at = value + strlen(value) + 1;
    }
    *out = msg;
    return s;
}

static natsStatus publish_with_headers(sh_nats_wire_t *wire, const sh_nats_item_t *item) {
    natsMsg *msg;
    natsStatus s = to_msg(item, &msg);
    if (s == NATS_OK) s = natsConnection_PublishMsg(wire->connection, msg);
    natsMsg_Destroy(msg);
    return s;
}

static void publish(sh_nats_wire_t *wire, sh_nats_item_t *item) {
    natsStatus s;
    if (!wire->connection || (item->token && natsConnection_Status(wire->connection) != NATS_CONN_STATUS_CONNECTED)) {
        s = NATS_CONNECTION_DISCONNECTED;
    } else if (item->header_count) {
        s = publish_with_headers(wire, item);
    } else if (item->reply) {
        s = natsConnection_PublishRequest(wire->connection, item->subject, item->reply, item->payload, (int)item->payload_len);
    } else {
        s = natsConnection_Publish(wire->connection, item->subject, item->payload, (int)item->payload_len);
    }
    if (s != NATS_OK && item->token) {
        sh_nats_letter_t *letter = letter_create(SH_NATS_LETTER_UNSENT, natsStatus_GetText(s));
        letter->token = item->token;
        letter->status = s == NATS_MAX_PAYLOAD ? SH_ELIMIT : SH_EUNAVAILABLE;
        sh_mailbox_post(wire->mailbox, &letter->link);
    }
    free(item);
}

/* Publishes what there is, waiting for more until the wire stops (true) or the connection is closed for good (false). */
static bool send_items(sh_nats_wire_t *wire) {
    for (;;) {
        sh_list_t items;
        sh_list_init(&items);
        uv_mutex_lock(&wire->mutex);
        while (sh_list_is_empty(&wire->items) && !wire->is_stopping && !wire->is_conn_closed) uv_cond_wait(&wire->wake, &wire->mutex);
        sh_list_each(it, tmp, &wire->items) {
            sh_list_unlink(it);
            sh_list_link(&items, it);
        }
        bool is_stopping = wire->is_stopping, is_conn_closed = wire->is_conn_closed;
        uv_mutex_unlock(&wire->mutex);
        sh_list_each(it, tmp, &items) publish(wire, SH_CONTAINER_OF(it, sh_nats_item_t, link));
        if (is_stopping) return true;
        if (is_conn_closed) return false;
    }
}

static void run(void *data) {
    sh_nats_wire_t *wire = data;
    for (bool is_stopping = false; !is_stopping;) {
        if (!connect_until(wire)) break;
        is_stopping = send_items(wire);
        if (is_stopping && natsConnection_Status(wire->connection) == NATS_CONN_STATUS_CONNECTED)
            (void)natsConnection_FlushTimeout(wire->connection, FLUSH_MS);
        disconnect(wire);
        if (!is_stopping) post(wire, SH_NATS_LETTER_DOWN, "closed by the server");
    }
    natsOptions_Destroy(wire->options);
    nats_ReleaseThreadMemory();
    post(wire, SH_NATS_LETTER_CLOSED, NULL);
}

/* --- the loop's side --- */

static char *copy_option(const char *text) { return text && *text ? sh_strdup(text) : NULL; }

static void free_wire(sh_nats_wire_t *wire) {
    free(wire->url);
    free(wire->name);
    free(wire->ca_file);
    free(wire->cert_file);
    free(wire->key_file);
    free(wire);
}

int sh_nats_wire_create(const sh_nats_opts_t *opts, const char *inbox, sh_mailbox_t *mailbox, sh_nats_wire_t **out) {
    sh_nats_wire_t *wire = sh_calloc(1, sizeof(*wire));
    wire->mailbox = mailbox;
    wire->url = sh_strdup(opts->url);
    wire->name = sh_strdup(opts->name ? opts->name : "shama");
    wire->ca_file = copy_option(opts->ca_file);
    wire->cert_file = copy_option(opts->cert_file);
    wire->key_file = copy_option(opts->key_file);
    SH_ASSERT(strlen(inbox) <= SH_NATS_INBOX_LEN);
    strcpy(wire->inbox, inbox);
    strcat(wire->inbox, ".*");
    sh_list_init(&wire->items);
    if (uv_mutex_init(&wire->mutex) != 0) goto fail_mutex;
    if (uv_cond_init(&wire->wake) != 0) goto fail_cond;
    if (uv_thread_create(&wire->thread, run, wire) != 0) goto fail_thread;
    *out = wire;
    return 0;

fail_thread:
    uv_cond_destroy(&wire->wake);
fail_cond:
    uv_mutex_destroy(&wire->mutex);
fail_mutex:
    free_wire(wire);
    return SH_EIO;
}

void sh_nats_wire_send(sh_nats_wire_t *wire, sh_nats_item_t *item) {
    uv_mutex_lock(&wire->mutex);
    bool wake = sh_list_is_empty(&wire->items);
    sh_list_link(&wire->items, &item->link);
    if (wake) uv_cond_signal(&wire->wake);
    uv_mutex_unlock(&wire->mutex);
}

void sh_nats_wire_stop(sh_nats_wire_t *wire) { set_flag(wire, &wire->is_stopping); }

void sh_nats_wire_destroy(sh_nats_wire_t *wire) {
    uv_thread_join(&wire->thread);
    sh_list_each(it, tmp, &wire->items) {
        sh_list_unlink(it);
        free(SH_CONTAINER_OF(it, sh_nats_item_t, link));
    }
    uv_cond_destroy(&wire->wake);
    uv_mutex_destroy(&wire->mutex);
    free_wire(wire);
}

/* --- raw messages --- */

sh_str_t sh_nats_raw_subject(const sh_nats_raw_t *raw) { return sh_str_of(natsMsg_GetSubject((const natsMsg *)raw)); }

sh_str_t sh_nats_raw_reply(const sh_nats_raw_t *raw) { return sh_str_of(natsMsg_GetReply((const natsMsg *)raw)); }

sh_str_t sh_nats_raw_payload(const sh_nats_raw_t *raw) {
    int len = natsMsg_GetDataLength((const natsMsg *)raw);
    return sh_str(natsMsg_GetData((const natsMsg *)raw), len > 0 ? (size_t)len : 0);
}

sh_str_t sh_nats_raw_header(sh_nats_raw_t *raw, const char *name) {
    const char *value = NULL;
    return natsMsgHeader_Get((natsMsg *)raw, name, &value) == NATS_OK ? sh_str_of(value) : SH_STR_NULL;
}

uint32_t sh_nats_raw_headers(sh_nats_raw_t *raw, sh_nats_header_t *out, uint32_t max) {
    const char **keys = NULL;
    int count = 0;
    uint32_t filled = 0;
    if (natsMsgHeader_Keys((natsMsg *)raw, &keys, &count) != NATS_OK) return 0;
    for (int i = 0; i < count && filled < max; i++, filled++) out[filled] = (sh_nats_header_t){sh_str_of(keys[i]), sh_nats_raw_header(raw, keys[i])};
    free((void *)keys);
    return filled;
}

void sh_nats_raw_destroy(sh_nats_raw_t *raw) { natsMsg_Destroy((natsMsg *)raw); }

sh_nats_raw_t *sh_nats_raw_create(const char *subject, const sh_nats_header_t *headers, uint32_t header_count, sh_str_t payload) {
    sh_nats_item_t *item = sh_nats_item_create(sh_str_of(subject), SH_STR_NULL, headers, header_count, payload);
    natsMsg *msg = NULL;
    natsStatus s = nats_Open(-1); /* does nothing when it is open; a message is freed by its collector */
    if (s == NATS_OK) s = to_msg(item, &msg);
    free(item);
    if (s == NATS_OK) return (sh_nats_raw_t *)msg;
    natsMsg_Destroy(msg);
    return NULL;
}
