/* Growth, numbers and JSON strings for sh_buf_t. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void sh_buf_dispose(sh_buf_t *b) {
    free(b->ptr);
    *b = (sh_buf_t){0};
}

char *sh_buf_reserve_slow(sh_buf_t *b, size_t more) {
    size_t cap = b->cap ? b->cap * 2 : 256;
    while (cap - b->len < more) cap *= 2;
    b->ptr = sh_realloc(b->ptr, cap);
    b->cap = cap;
    return b->ptr + b->len;
}

void sh_buf_put_u64(sh_buf_t *b, uint64_t n) {
    char digits[20];
    size_t at = sizeof digits;
    do digits[--at] = (char)('0' + n % 10);
    while (n /= 10);
    sh_buf_put(b, digits + at, sizeof digits - at);
}

void sh_buf_put_i64(sh_buf_t *b, int64_t n) {
    if (n < 0) sh_buf_put_byte(b, '-');
    sh_buf_put_u64(b, n < 0 ? 0 - (uint64_t)n : (uint64_t)n);
}

void sh_buf_printf(sh_buf_t *b, const char *fmt, ...) {
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    SH_ASSERT(n >= 0);
    vsnprintf(sh_buf_reserve(b, (size_t)n + 1), (size_t)n + 1, fmt, again);
    b->len += (size_t)n;
    va_end(again);
    va_end(args);
}

/* 1 for bytes that must be escaped: below 0x20, '"', '\\', and 0x7f for the sake of terminals. */
static const unsigned char must_escape[256] = {
    [0 ... 31] = 1, ['"'] = 1, ['\\'] = 1, [0x7f] = 1,
};

void sh_buf_put_json(sh_buf_t *b, sh_str_t s) {
    static const char hex[] = "0123456789abcdef";
    if (!s.len) return sh_buf_put_lit(b, "\"\"");
    char *out = sh_buf_reserve(b, s.len + 2);
    const char *p = s.ptr, *end = s.ptr + s.len;
    *out++ = '"';
    const char *run = p;
    while (p < end && !must_escape[(unsigned char)*p]) p++;
    memcpy(out, run, (size_t)(p - run));
    b->len += 1 + (size_t)(p - run);
    while (p < end) {
        unsigned char c = (unsigned char)*p++;
        char esc[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
        switch (c) {
        case '"': case '\\': esc[1] = (char)c; sh_buf_put(b, esc, 2); break;
        case '\n': esc[1] = 'n'; sh_buf_put(b, esc, 2); break;
        case '\r': esc[1] = 'r'; sh_buf_put(b, esc, 2); break;
        case '\t': esc[1] = 't'; sh_buf_put(b, esc, 2); break;
        default: sh_buf_put(b, esc, 6);
        }
        run = p;
        while (p < end && !must_escape[(unsigned char)*p]) p++;
        sh_buf_put(b, run, (size_t)(p - run));
    }
    sh_buf_put_byte(b, '"');
}

const char *sh_buf_c(sh_buf_t *b) {
    *sh_buf_reserve(b, 1) = 0;
    return b->ptr;
}
