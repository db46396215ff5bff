/* [scheme://][user[:password]@]host[:port]: parted from the outside in, and %XX decoded only then, so that a password may hold any byte but NUL. */
#include "net/nats_url.h"

#include "base/err.h"
#include "base/str.h"

#include <stdlib.h>

enum { PORT_MAX = 65535 };

#define PORT_DEFAULT "4222"
#define SEPARATORS ", \t\r\n"

static void wipe(char *text, size_t len) {
    if (text) explicit_bzero(text, len);
    free(text);
}

static void wipe_text(char *text) { wipe(text, text ? strlen(text) : 0); }

void sh_nats_server_dispose(sh_nats_server_t *server) {
    free(server->host);
    wipe_text(server->user);
    wipe_text(server->password);
    wipe_text(server->token);
    *server = (sh_nats_server_t){0};
}

static int hex_of(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A copy with %XX decoded; SH_EINVAL for one that is cut, no hexadecimal, or a NUL. */
static int decode(sh_str_t text, char **out) {
    char *copy = sh_calloc(1, text.len + 1), *at = copy;
    const char *from = text.ptr, *end = text.ptr + text.len;
    while (from < end) {
        char c = *from++;
        if (c == '%') {
            int high = end - from >= 2 ? hex_of(from[0]) : -1, low = end - from >= 2 ? hex_of(from[1]) : -1;
            if (high < 0 || low < 0 || !(high | low)) goto fail_byte;
            c = (char)(high << 4 | low);
            from += 2;
        }
        *at++ = c;
    }
    *out = copy;
    return 0;

fail_byte:
    wipe(copy, text.len);
    return SH_EINVAL;
}

/* "user:password" or "token". */
static int read_login(sh_str_t login, sh_nats_server_t *out) {
    const char *colon = memchr(login.ptr, ':', login.len);
    if (!colon) return decode(login, &out->token);
    size_t len = (size_t)(colon - login.ptr);
    int status = decode(sh_str(login.ptr, len), &out->user);
    return status ? status : decode(sh_str(colon + 1, login.len - len - 1), &out->password);
}

static int read_port(sh_str_t text, char port[6]) {
    int64_t number;
    if (sh_str_to_i64(text, &number) != 0 || number < 1 || number > PORT_MAX) return SH_EINVAL;
    memcpy(port, text.ptr, text.len);
    port[text.len] = 0;
    return 0;
}

/* "host", "host:port", "[::1]:port". */
static int read_address(sh_str_t address, sh_nats_server_t *out) {
    const char *end = address.ptr + address.len, *host_end;
    bool has_brackets = address.len && address.ptr[0] == '[';
    if (has_brackets) {
        address = sh_str(address.ptr + 1, address.len - 1);
        host_end = memchr(address.ptr, ']', address.len);
        if (!host_end) return SH_EINVAL;
    } else {
        const char *colon = memchr(address.ptr, ':', address.len);
        host_end = colon ? colon : end;
    }
    const char *port = has_brackets ? host_end + 1 : host_end;
    if (host_end == address.ptr || (port < end && *port != ':')) return SH_EINVAL;
    memcpy(out->port, PORT_DEFAULT, sizeof(PORT_DEFAULT));
    if (port < end && read_port(sh_str(port + 1, (size_t)(end - port - 1)), out->port) != 0) return SH_EINVAL;
    return decode(sh_str(address.ptr, (size_t)(host_end - address.ptr)), &out->host);
}

static bool take_prefix(sh_str_t *url, sh_str_t prefix) {
    if (!sh_str_has_prefix(*url, prefix)) return false;
    *url = sh_str(url->ptr + prefix.len, url->len - prefix.len);
    return true;
}

static int read_server(sh_str_t url, sh_nats_server_t *out) {
    *out = (sh_nats_server_t){.is_tls = take_prefix(&url, SH_STR("tls://"))};
    if (!out->is_tls && !take_prefix(&url, SH_STR("nats://")) && memmem(url.ptr, url.len, "://", 3)) return SH_EINVAL;
    if (url.len && url.ptr[url.len - 1] == '/') url.len--;
    const char *at = url.len ? memrchr(url.ptr, '@', url.len) : NULL;
    if (at) {
        size_t len = (size_t)(at - url.ptr);
        if (read_login(sh_str(url.ptr, len), out) != 0) return SH_EINVAL;
        url = sh_str(at + 1, url.len - len - 1);
    }
    return read_address(url, out);
}

int sh_nats_url_read(const char *list, sh_nats_server_t *out) {
    int count = 0;
    while (*(list += strspn(list, SEPARATORS))) {
        size_t len = strcspn(list, SEPARATORS);
        if (count == SH_NATS_SERVERS_MAX) goto fail_server;
        if (read_server(sh_str(list, len), &out[count++]) != 0) goto fail_server;
        list += len;
    }
    if (count) return count;

fail_server:
    while (count > 0) sh_nats_server_dispose(&out[--count]);
    return SH_EINVAL;
}
