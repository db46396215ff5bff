/* Percent escapes, tokens, host names and reason phrases. */
#include "net/http_text.h"

#include "base/err.h"
#include "codec/json.h"
#include "net/http_server.h"

/* tchar of RFC 9110, 5.6.2 */
static const bool token_char[256] = {
    ['0' ... '9'] = 1, ['A' ... 'Z'] = 1, ['a' ... 'z'] = 1, ['!'] = 1, ['#'] = 1, ['$'] = 1, ['%'] = 1, ['&'] = 1, ['\''] = 1,
    ['*'] = 1,         ['+'] = 1,         ['-'] = 1,         ['.'] = 1, ['^'] = 1, ['_'] = 1, ['`'] = 1, ['|'] = 1, ['~'] = 1,
};

/* unreserved, sub-delims and '%' of RFC 3986; ':' and brackets are looked at one by one */
static const bool host_char[256] = {
    ['0' ... '9'] = 1, ['A' ... 'Z'] = 1, ['a' ... 'z'] = 1, ['-'] = 1, ['.'] = 1, ['_'] = 1, ['~'] = 1, ['%'] = 1, ['!'] = 1, ['$'] = 1,
    ['&'] = 1,         ['\''] = 1,        ['('] = 1,         [')'] = 1, ['*'] = 1, ['+'] = 1, [','] = 1, [';'] = 1, ['='] = 1,
};

bool sh_http_is_token(sh_str_t text) {
    for (size_t i = 0; i < text.len; i++)
        if (!token_char[(unsigned char)text.ptr[i]]) return false;
    return text.len > 0;
}

bool sh_http_is_host(sh_str_t text) {
    size_t i = 0;
    if (text.len && text.ptr[0] == '[') { /* IP-literal */
        for (i = 1; i < text.len && text.ptr[i] != ']'; i++)
            if (!host_char[(unsigned char)text.ptr[i]] && text.ptr[i] != ':') return false;
        if (i == 1 || i == text.len) return false;
        i++;
    } else {
        while (i < text.len && host_char[(unsigned char)text.ptr[i]]) i++;
        if (i == 0) return false;
    }
    if (i == text.len) return true;
    if (text.ptr[i] != ':' || text.len - i > 6) return false;
    for (i++; i < text.len; i++)
        if (text.ptr[i] < '0' || text.ptr[i] > '9') return false;
    return true;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

/* The byte that the escape at `at` stands for, or -1. */
static int escape_at(sh_str_t text, size_t at) {
    if (text.len - at < 3) return -1;
    int high = hex_digit(text.ptr[at + 1]), low = hex_digit(text.ptr[at + 2]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

static bool has_dot_segment(sh_str_t path) {
    const char *p = path.ptr, *end = p + path.len;
    while ((p = memchr(p, '/', (size_t)(end - p)))) {
        p++;
        size_t left = (size_t)(end - p);
        if (left >= 1 && p[0] == '.' && (left == 1 || p[1] == '/')) return true;
        if (left >= 2 && p[0] == '.' && p[1] == '.' && (left == 2 || p[2] == '/')) return true;
    }
    return false;
}

int sh_http_path_decode(sh_arena_t *arena, sh_str_t raw, sh_str_t *out, const char **reason) {
    sh_str_t path = raw;
    if (raw.len && memchr(raw.ptr, '%', raw.len)) {
        char *to = sh_arena_alloc(arena, raw.len + 1);
        size_t len = 0;
        for (size_t i = 0; i < raw.len; i++) {
            int c = (unsigned char)raw.ptr[i];
            if (c == '%') {
                if ((c = escape_at(raw, i)) < 0) return *reason = "bad percent escape in the path", SH_EINVAL;
                /* An escaped slash would make one segment look like two to whoever decodes next. */
                if (c < 0x20 || c == 0x7f || c == '/' || c == '\\') return *reason = "forbidden character escaped in the path", SH_EINVAL;
                i += 2;
            }
            to[len++] = (char)c;
        }
        to[len] = 0;
        path = sh_str(to, len);
        if (!sh_utf8_is_valid(path)) return *reason = "the path is not UTF-8", SH_EINVAL;
    }
    if (has_dot_segment(path)) return *reason = "dot segment in the path", SH_EINVAL;
    *out = path;
    return SH_OK;
}

int sh_http_query_decode(sh_arena_t *arena, sh_str_t text, sh_str_t *out) {
    char *to = sh_arena_alloc(arena, text.len + 1);
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        int c = (unsigned char)text.ptr[i];
        if (c == '%') {
            if ((c = escape_at(text, i)) <= 0) return SH_EINVAL;
            i += 2;
        } else if (c == '+') {
            c = ' ';
        }
        to[len++] = (char)c;
    }
    to[len] = 0;
    if (!sh_utf8_is_valid(sh_str(to, len))) return SH_EINVAL;
    *out = sh_str(to, len);
    return SH_OK;
}

const char *sh_http_reason(int status) {
    switch (status) {
    case 100: return "Continue";
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 204: return "No Content";
    case 206: return "Partial Content";
    case 301: return "Moved Permanently";
    case 302: return "Found";
    case 303: return "See Other";
    case 304: return "Not Modified";
    case 307: return "Temporary Redirect";
    case 308: return "Permanent Redirect";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 406: return "Not Acceptable";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 410: return "Gone";
    case 411: return "Length Required";
    case 412: return "Precondition Failed";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 415: return "Unsupported Media Type";
    case 417: return "Expectation Failed";
    case 421: return "Misdirected Request";
    case 422: return "Unprocessable Content";
    case 428: return "Precondition Required";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    default: return "";
    }
}
