/* Steps of a non-blocking link, each waited for with poll() until the one deadline of the attempt.
 *
 * Nothing that is secret is sent before TLS where TLS is asked for, and bytes that came with INFO, before TLS, end the attempt: nobody vouches for
 * them. */
#include "net/nats_dial.h"

#include "base/err.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <uv.h>

enum {
    READ_BYTES = 16384, /* a whole TLS record: what OpenSSL keeps back no poll would tell */
    LOGIN_BYTES = 4096,
    KEEPALIVE_IDLE_S = 30,
};

typedef struct dial {
    const sh_nats_server_t *server;
    const sh_nats_dial_opts_t *opts;
    sh_nats_dialled_t made;
    size_t told; /* bytes of made.rest that the last event used */
    uint64_t deadline_ns;
    char *reason;
} dial_t;

static int fail(dial_t *d, const char *why) {
    snprintf(d->reason, SH_NATS_REASON_MAX, "%s", why);
    return SH_EIO;
}

/* 0 when the socket is ready, or has an error that the next step will find. */
static int wait_for(dial_t *d, short events) {
    struct pollfd pollfd = {.fd = d->made.link.fd, .events = events};
    for (;;) {
        uint64_t now = uv_hrtime();
        if (now >= d->deadline_ns) return fail(d, "no answer in time");
        int ready = poll(&pollfd, 1, (int)((d->deadline_ns - now) / 1000000) + 1);
        if (ready > 0) return 0;
        if (ready < 0 && errno != EINTR) return fail(d, uv_strerror(-errno));
    }
}

/* After a step of the link that did not get through. */
static int wait_as_asked(dial_t *d, ssize_t outcome) {
    if (outcome == SH_NATS_LINK_END) return SH_EIO; /* the reason is written */
    return wait_for(d, outcome == SH_NATS_LINK_WANT_READ ? POLLIN : POLLOUT);
}

/* --- connecting --- */

static void set_options(int fd) {
    int on = 1, idle_s = KEEPALIVE_IDLE_S;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
}

static int connect_to(dial_t *d, const struct addrinfo *address) {
    sh_nats_link_t *link = &d->made.link;
    int error = 0;
    socklen_t size = sizeof(error);
    sh_nats_link_close(link);
    link->fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (link->fd < 0) return fail(d, uv_strerror(-errno));
    set_options(link->fd);
    if (connect(link->fd, address->ai_addr, address->ai_addrlen) == 0) return 0;
    if (errno != EINPROGRESS) return fail(d, uv_strerror(-errno));
    if (wait_for(d, POLLOUT) != 0) return SH_EIO;
    if (getsockopt(link->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
    return error ? fail(d, uv_strerror(-error)) : 0;
}

/* The first of the name's addresses that takes us. */
static int connect_server(dial_t *d) {
    static const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *addresses = NULL;
    int error = getaddrinfo(d->server->host, d->server->port, &hints, &addresses);
    if (error) return fail(d, gai_strerror(error));
    d->deadline_ns = uv_hrtime() + d->opts->timeout_ms * 1000000;
    int status = SH_EIO;
    for (const struct addrinfo *it = addresses; it && status != 0; it = it->ai_next) status = connect_to(d, it);
    freeaddrinfo(addresses);
    return status;
}

/* --- talking --- */

static void forget(sh_buf_t *bytes, size_t count) {
    if (count) memmove(bytes->ptr, bytes->ptr + count, bytes->len - count);
    bytes->len -= count;
}

/* Reads until the next operation, whose text is lent until the next call; what came behind it stays in `rest`. */
static int next_event(dial_t *d, sh_nats_event_t *out) {
    sh_buf_t *rest = &d->made.rest;
    forget(rest, d->told);
    d->told = 0;
    for (;;) {
        size_t used;
        sh_nats_event_t event = sh_nats_parser_feed(&d->made.parser, rest->ptr, rest->len, &used);
        if (event == SH_NATS_EVENT_BAD) return fail(d, "the server does not speak NATS");
        if (event != SH_NATS_EVENT_MORE) {
            d->told = used;
            *out = event;
            return 0;
        }
        sh_buf_clear(rest);
        ssize_t n = sh_nats_link_read(&d->made.link, sh_buf_reserve(rest, READ_BYTES), READ_BYTES, d->reason);
        if (n > 0)
            rest->len += (size_t)n;
        else if (wait_as_asked(d, n) != 0)
            return SH_EIO;
    }
}

static int send_all(dial_t *d, sh_str_t bytes) {
    while (bytes.len) {
        ssize_t n = sh_nats_link_write(&d->made.link, bytes.ptr, bytes.len, d->reason);
        if (n >= 0)
            bytes = sh_str(bytes.ptr + n, bytes.len - (size_t)n);
        else if (wait_as_asked(d, n) != 0)
            return SH_EIO;
    }
    return 0;
}

static int fail_as_told(dial_t *d) {
    sh_str_t text = d->made.parser.text;
    snprintf(d->reason, SH_NATS_REASON_MAX, "%.*s", (int)text.len, text.ptr);
    return SH_EIO;
}

static int take_info(dial_t *d, sh_nats_info_t *info) {
    sh_nats_event_t event;
    if (next_event(d, &event) != 0) return SH_EIO;
    if (event == SH_NATS_EVENT_ERR) return fail_as_told(d); /* "maximum connections exceeded" */
    if (event != SH_NATS_EVENT_INFO || sh_nats_info_read(d->made.parser.text, info) != 0) return fail(d, "the server does not speak NATS");
    if (!info->has_headers) return fail(d, "the server takes no headers; nats-server 2.2 or later does");
    d->made.parser.payload_max = info->payload_max;
    return 0;
}

static int secure(dial_t *d, const sh_nats_info_t *info) {
    const sh_nats_tls_t *tls = &d->opts->tls;
    int status;
    if (!d->server->is_tls && !tls->ca_file && !tls->cert_file && !info->is_tls_required) return 0;
    if (!info->is_tls_required && !info->is_tls_available) return fail(d, "the server offers no TLS");
    if (d->made.rest.len > d->told) return fail(d, "the server sent something before TLS");
    if (sh_nats_link_secure(&d->made.link, d->server->host, tls, d->reason) != 0) return SH_EIO;
    while ((status = sh_nats_link_handshake(&d->made.link, d->reason)) != 0)
        if (wait_as_asked(d, status) != 0) return SH_EIO;
    return 0;
}

static void put_member(sh_buf_t *out, const char *key, const char *value) {
    if (!value) return;
    sh_buf_printf(out, ",\"%s\":", key);
    sh_buf_put_json(out, sh_str_of(value));
}

static int log_in(dial_t *d) {
    const sh_nats_server_t *server = d->server;
    sh_buf_t text;
    sh_buf_init(&text);
    (void)sh_buf_reserve(&text, LOGIN_BYTES); /* growing would leave secrets in freed memory */
    sh_buf_printf(&text,
                  "CONNECT {\"verbose\":false,\"pedantic\":false,\"tls_required\":%s,\"lang\":\"c\",\"version\":\"" SHAMA_VERSION "\","
                  "\"protocol\":1,\"headers\":true,\"no_responders\":true",
                  d->made.link.ssl ? "true" : "false");
    put_member(&text, "name", d->opts->name);
    put_member(&text, "user", server->user);
    put_member(&text, "pass", server->password);
    put_member(&text, "auth_token", server->token);
    sh_buf_printf(&text, "}\r\nSUB %s 1\r\nPING\r\n", d->opts->inbox);
    int status = send_all(d, sh_buf_str(&text));
    explicit_bzero(text.ptr, text.cap);
    sh_buf_dispose(&text);
    return status;
}

static int await_pong(dial_t *d) {
    sh_nats_event_t event;
    for (;;) {
        if (next_event(d, &event) != 0) return SH_EIO;
        switch (event) {
        case SH_NATS_EVENT_PONG: return 0;
        case SH_NATS_EVENT_ERR: return fail_as_told(d);
        case SH_NATS_EVENT_PING:
            if (send_all(d, SH_STR("PONG\r\n")) != 0) return SH_EIO;
            break;
        case SH_NATS_EVENT_MSG: sh_nats_raw_destroy(d->made.parser.msg); break; /* nobody knows the inbox yet */
        default: break;
        }
    }
}

int sh_nats_dial(const sh_nats_server_t *server, const sh_nats_dial_opts_t *opts, sh_nats_dialled_t *out, char reason[SH_NATS_REASON_MAX]) {
    dial_t d = {.server = server, .opts = opts, .made = {.link = {.fd = -1}}, .reason = reason};
    sh_nats_info_t info;
    sh_nats_parser_init(&d.made.parser, 0);
    if (connect_server(&d) != 0 || take_info(&d, &info) != 0 || secure(&d, &info) != 0) goto fail;
    if (log_in(&d) != 0 || await_pong(&d) != 0) goto fail;
    forget(&d.made.rest, d.told);
    *out = d.made;
    return 0;

fail:
    sh_nats_dialled_dispose(&d.made);
    return SH_EIO;
}

void sh_nats_dialled_dispose(sh_nats_dialled_t *dialled) {
    sh_nats_link_close(&dialled->link);
    sh_nats_parser_dispose(&dialled->parser);
    sh_buf_dispose(&dialled->rest);
}
