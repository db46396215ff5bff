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
    [0 ... 31] = 1,
    ['"'] = 1,
    ['\\'] = 1,
    [0x7f] = 1,
};

#define EACH_BYTE(c) (0x0101010101010101u * (c))

/* Is one of the eight bytes no plain ASCII: below 0x20, '"', '\\', 0x7f or above? Bytes are compared by subtraction: it borrows into the
 * high bit of a byte that is smaller, and what it does to the bytes behind that one no longer matters. */
static inline uint64_t special_of(uint64_t eight) {
    uint64_t quote = eight ^ EACH_BYTE('"'), backslash = eight ^ EACH_BYTE('\\');
    uint64_t below = (eight - EACH_BYTE(0x20)) | (quote - EACH_BYTE(1)) | (backslash - EACH_BYTE(1));
    return (below | eight | (eight + EACH_BYTE(1))) & EACH_BYTE(0x80);
}

/* The same for sixteen; as signed bytes, those from 0x80 on are below 0x20 too. */
typedef int8_t sixteen_t __attribute__((vector_size(16)));
typedef uint64_t halves_t __attribute__((vector_size(16)));

static inline uint64_t special_of_sixteen(sixteen_t s) {
    halves_t special = (halves_t)((s < 0x20) | (s == '"') | (s == '\\') | (s == 0x7f));
    return special[0] | special[1];
}

static inline uint64_t copy_sixteen(char *out, const char *from) {
    sixteen_t s;
    memcpy(&s, from, sizeof s);
    memcpy(out, &s, sizeof s);
    return special_of_sixteen(s);
}

/* Eight to fifteen: the first and the last eight. */
static inline uint64_t copy_ends(char *out, const char *from, size_t len) {
    uint64_t first, last;
    memcpy(&first, from, sizeof first);
    memcpy(&last, from + len - sizeof last, sizeof last);
    memcpy(out, &first, sizeof first);
    memcpy(out + len - sizeof last, &last, sizeof last);
    return special_of_sixteen((sixteen_t)(halves_t){first, last});
}

/* Copies while it looks; the last bytes of a longer text overlap with those before them. Not 0: one is special. */
static inline uint64_t copy_plain(char *out, const char *from, size_t len) {
    uint64_t special = 0;
    if (len >= 16) {
        for (size_t i = 0; i + 16 < len && !special; i += 16) special = copy_sixteen(out + i, from + i);
        return special | copy_sixteen(out + len - 16, from + len - 16);
    }
    if (len >= 8) return copy_ends(out, from, len);
    if (len >= 4) {
        uint32_t first, last;
        memcpy(&first, from, 4);
        memcpy(&last, from + len - 4, 4);
        memcpy(out, &first, 4);
        memcpy(out + len - 4, &last, 4);
        return special_of((uint64_t)last << 32 | first);
    }
    for (size_t i = 0; i < len; i++) {
        out[i] = from[i];
        special |= must_escape[(unsigned char)from[i]] | (unsigned char)from[i] >> 7;
    }
    return special;
}

bool sh_buf_put_json_plain(sh_buf_t *b, sh_str_t s) {
    char *out = sh_buf_reserve(b, s.len + 2);
    if (copy_plain(out + 1, s.ptr, s.len)) return false;
    out[0] = out[s.len + 1] = '"';
    b->len += s.len + 2;
    return true;
}

void sh_buf_put_json(sh_buf_t *b, sh_str_t s) {
    static const char hex[] = "0123456789abcdef";
    if (sh_buf_put_json_plain(b, s)) return;
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
        case '"':
        case '\\':
            esc[1] = (char)c;
            sh_buf_put(b, esc, 2);
            break;
        case '\n':
            esc[1] = 'n';
            sh_buf_put(b, esc, 2);
            break;
        case '\r':
            esc[1] = 'r';
            sh_buf_put(b, esc, 2);
            break;
        case '\t':
            esc[1] = 't';
            sh_buf_put(b, esc, 2);
            break;
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
