/* One attempt: resolving ─▶ connecting ─▶ done. The attempt's memory goes when its timer and its resolving have ended.
 *
 * libpq resolves host names by itself, but blocking; so each host of the list that is a name gets its `hostaddr` here. A name that
 * does not resolve leaves the list; several addresses of one name: the first is taken.
 * libpq may close its socket and open another one while it connects, so the poll handle is stopped before each of its steps. */
#include "net/pg_connect.h"

#include "base/err.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>

enum { OPTIONS_MAX = 64, HOSTS_MAX = 8, ADDRESS_MAX = 64, ERROR_MAX = 256, CONNECT_MS_DEFAULT = 2000 };

struct sh_pg_target {
    PQconninfoOption *options;
    char *hosts[HOSTS_MAX], *ports[HOSTS_MAX];
    bool is_name[HOSTS_MAX];         /* must be resolved */
    uint32_t host_count, port_count; /* host_count 0: libpq's default, or hostaddr is given */
    char application_name[64];
    uint64_t connect_ms_max;
};

struct sh_pg_connect {
    uv_loop_t *loop;
    const sh_pg_target_t *target;
    sh_pg_connect_fn fn;
    void *data;
    uv_timer_t timer;
    uv_getaddrinfo_t resolving;
    uint32_t next_host;
    char addresses[HOSTS_MAX][ADDRESS_MAX]; /* "": the host as it is; "-": did not resolve */
    PGconn *pg;
    uv_poll_t *poll;
    int poll_fd;
    bool is_resolving, is_over;
    int holders; /* the timer, and the resolving */
};

/* ---- target */

static const char *option(const sh_pg_target_t *t, const char *keyword) {
    for (const PQconninfoOption *o = t->options; o->keyword; o++)
        if (strcmp(o->keyword, keyword) == 0) return o->val && *o->val ? o->val : NULL;
    return NULL;
}

static uint32_t split(const char *list, char *out[HOSTS_MAX]) {
    uint32_t n = 0;
    for (const char *at = list; at && n < HOSTS_MAX; n++) {
        const char *comma = strchr(at, ',');
        out[n] = comma ? strndup(at, (size_t)(comma - at)) : strdup(at);
        SH_ASSERT(out[n]);
        at = comma ? comma + 1 : NULL;
    }
    return n;
}

static bool is_name(const char *host) {
    unsigned char bytes[sizeof(struct in6_addr)];
    return *host && *host != '/' && *host != '@' && inet_pton(AF_INET, host, bytes) != 1 && inet_pton(AF_INET6, host, bytes) != 1;
}

int sh_pg_target_create(const sh_pg_opts_t *opts, sh_log_t *log, sh_pg_target_t **out) {
    char *problem = NULL;
    PQconninfoOption *options = PQconninfoParse(opts->conninfo, &problem);
    if (!options) {
        sh_log_error(log, "the database's connection string is not understood", SH_LOG_C("pool", opts->name));
        PQfreemem(problem); /* quotes the string, perhaps the password */
        return SH_EINVAL;
    }
    sh_pg_target_t *t = sh_calloc(1, sizeof *t);
    t->options = options;
    t->connect_ms_max = opts->connect_ms_max ? opts->connect_ms_max : CONNECT_MS_DEFAULT;
    snprintf(t->application_name, sizeof t->application_name, "shama/%s", opts->name ? opts->name : "");
    if (!option(t, "hostaddr")) {
        t->host_count = split(option(t, "host"), t->hosts);
        t->port_count = split(option(t, "port"), t->ports);
        for (uint32_t i = 0; i < t->host_count; i++) t->is_name[i] = is_name(t->hosts[i]);
    }
    *out = t;
    return SH_OK;
}

void sh_pg_target_destroy(sh_pg_target_t *t) {
    for (uint32_t i = 0; i < t->host_count; i++) free(t->hosts[i]);
    for (uint32_t i = 0; i < t->port_count; i++) free(t->ports[i]);
    for (PQconninfoOption *o = t->options; o->keyword; o++)
        if (o->val && *o->dispchar == '*') explicit_bzero(o->val, strlen(o->val));
    PQconninfoFree(t->options);
    free(t);
}

/* ---- ending */

static void let_go(sh_pg_connect_t *c) {
    if (--c->holders == 0) free(c);
}

static void on_timer_closed(uv_handle_t *handle) { let_go(SH_CONTAINER_OF(handle, sh_pg_connect_t, timer)); }

static void on_poll_closed(uv_handle_t *handle) { free(handle); }

static void drop_poll(sh_pg_connect_t *c) {
    if (c->poll) uv_close((uv_handle_t *)c->poll, on_poll_closed);
    c->poll = NULL;
}

static void stop(sh_pg_connect_t *c) {
    c->is_over = true;
    drop_poll(c);
    if (c->is_resolving) uv_cancel((uv_req_t *)&c->resolving);
    uv_close((uv_handle_t *)&c->timer, on_timer_closed);
}

void sh_pg_connect_cancel(sh_pg_connect_t *c) {
    if (c->pg) PQfinish(c->pg);
    c->pg = NULL;
    stop(c);
}

static void fail(sh_pg_connect_t *c, const char *why) {
    char error[ERROR_MAX];
    snprintf(error, sizeof error, "%s", why);
    error[strcspn(error, "\n")] = 0;
    sh_pg_connect_fn fn = c->fn;
    void *data = c->data;
    sh_pg_connect_cancel(c);
    fn(data, NULL, error);
}

/* ---- connecting */

static void on_socket(uv_poll_t *poll, int status, int events);

static int watch(sh_pg_connect_t *c, int events) {
    int fd = PQsocket(c->pg);
    if (fd < 0) return SH_EIO;
    if (c->poll && c->poll_fd != fd) drop_poll(c);
    if (!c->poll) {
        c->poll = sh_calloc(1, sizeof *c->poll);
        if (uv_poll_init(c->loop, c->poll, fd)) {
            free(c->poll);
            c->poll = NULL;
            return SH_EIO;
        }
        c->poll->data = c;
        c->poll_fd = fd;
    }
    return uv_poll_start(c->poll, events, on_socket) ? SH_EIO : SH_OK;
}

static void step(sh_pg_connect_t *c) {
    switch (PQconnectPoll(c->pg)) {
    case PGRES_POLLING_READING:
        if (watch(c, UV_READABLE)) fail(c, "the socket cannot be watched");
        return;
    case PGRES_POLLING_WRITING:
        if (watch(c, UV_WRITABLE)) fail(c, "the socket cannot be watched");
        return;
    case PGRES_POLLING_OK: {
        PGconn *pg = c->pg;
        sh_pg_connect_fn fn = c->fn;
        void *data = c->data;
        c->pg = NULL;
        stop(c);
        fn(data, pg, NULL);
        return;
    }
    default: fail(c, PQerrorMessage(c->pg));
    }
}

static void on_socket(uv_poll_t *poll, int status, int events) {
    (void)status, (void)events; /* libpq finds out what is wrong */
    sh_pg_connect_t *c = poll->data;
    uv_poll_stop(poll);
    step(c);
}

/* "a,b" of the hosts that are left, and their addresses and ports in the same order. */
static bool lists_of(const sh_pg_connect_t *c, sh_buf_t *hosts, sh_buf_t *addresses, sh_buf_t *ports) {
    const sh_pg_target_t *t = c->target;
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->host_count; i++) {
        if (c->addresses[i][0] == '-') continue;
        if (n++) {
            sh_buf_put_byte(hosts, ',');
            sh_buf_put_byte(addresses, ',');
            sh_buf_put_byte(ports, ',');
        }
        sh_buf_put_c(hosts, t->hosts[i]);
        sh_buf_put_c(addresses, c->addresses[i]);
        if (t->port_count) sh_buf_put_c(ports, t->ports[i < t->port_count ? i : t->port_count - 1]);
    }
    return n > 0 || t->host_count == 0;
}

static void begin(sh_pg_connect_t *c) {
    const char *keywords[OPTIONS_MAX], *values[OPTIONS_MAX];
    const sh_pg_target_t *t = c->target;
    sh_buf_t hosts = {0}, addresses = {0}, ports = {0};
    int n = 0;
    bool has_host = lists_of(c, &hosts, &addresses, &ports);
    for (const PQconninfoOption *o = t->options; o->keyword && n < OPTIONS_MAX - 8; o++) {
        bool is_ours = strcmp(o->keyword, "application_name") == 0 || strcmp(o->keyword, "client_encoding") == 0;
        bool is_listed = t->host_count && (strcmp(o->keyword, "host") == 0 || strcmp(o->keyword, "port") == 0);
        if (!o->val || !*o->val || is_ours || is_listed) continue;
        keywords[n] = o->keyword;
        values[n++] = o->val;
    }
#define ADD(keyword, value) (keywords[n] = (keyword), values[n++] = (value))
    if (t->host_count) {
        ADD("host", sh_buf_c(&hosts));
        ADD("hostaddr", sh_buf_c(&addresses));
        if (t->port_count) ADD("port", sh_buf_c(&ports));
    }
    ADD("application_name", t->application_name);
    ADD("client_encoding", "UTF8");
    if (!option(t, "gssencmode")) ADD("gssencmode", "disable"); /* looks for tickets on disk, each time */
    ADD(NULL, NULL);
#undef ADD
    if (has_host) c->pg = PQconnectStartParams(keywords, values, 0);
    sh_buf_dispose(&hosts);
    sh_buf_dispose(&addresses);
    sh_buf_dispose(&ports);
    if (!has_host)
        fail(c, "the host name does not resolve");
    else if (!c->pg)
        fail(c, "no memory for a connection");
    else if (PQstatus(c->pg) == CONNECTION_BAD)
        fail(c, PQerrorMessage(c->pg));
    else if (watch(c, UV_WRITABLE))
        fail(c, "the socket cannot be watched");
}

/* ---- resolving */

static void resolve_next(sh_pg_connect_t *c);

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *list) {
    sh_pg_connect_t *c = SH_CONTAINER_OF(request, sh_pg_connect_t, resolving);
    c->is_resolving = false;
    if (c->is_over) {
        uv_freeaddrinfo(list);
        let_go(c);
        return;
    }
    c->holders--;
    char *address = c->addresses[c->next_host];
    if (status || getnameinfo(list->ai_addr, list->ai_addrlen, address, ADDRESS_MAX, NULL, 0, NI_NUMERICHOST)) memcpy(address, "-", 2);
    uv_freeaddrinfo(list);
    c->next_host++;
    resolve_next(c);
}

static void resolve_next(sh_pg_connect_t *c) {
    static const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    const sh_pg_target_t *t = c->target;
    for (; c->next_host < t->host_count; c->next_host++) {
        if (!t->is_name[c->next_host]) continue;
        if (uv_getaddrinfo(c->loop, &c->resolving, on_resolved, t->hosts[c->next_host], NULL, &hints) == 0) {
            c->is_resolving = true;
            c->holders++;
            return;
        }
        memcpy(c->addresses[c->next_host], "-", 2);
    }
    begin(c);
}

static void on_timeout(uv_timer_t *timer) { fail(SH_CONTAINER_OF(timer, sh_pg_connect_t, timer), "no connection within db.connect_ms"); }

static void on_start(uv_timer_t *timer) {
    sh_pg_connect_t *c = SH_CONTAINER_OF(timer, sh_pg_connect_t, timer);
    uv_timer_start(timer, on_timeout, c->target->connect_ms_max, 0);
    resolve_next(c);
}

sh_pg_connect_t *sh_pg_connect_start(uv_loop_t *loop, const sh_pg_target_t *target, sh_pg_connect_fn fn, void *data) {
    sh_pg_connect_t *c = sh_calloc(1, sizeof *c);
    c->loop = loop;
    c->target = target;
    c->fn = fn;
    c->data = data;
    c->holders = 1;
    SH_ASSERT(uv_timer_init(loop, &c->timer) == 0);
    uv_timer_start(&c->timer, on_start, 0, 0);
    return c;
}
