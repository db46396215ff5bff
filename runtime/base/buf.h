/* A growable run of bytes: where answers, log lines and frames are put together. */
#ifndef SH_BUF_H
#define SH_BUF_H

#include "base/base.h"
#include "base/str.h"

typedef struct sh_buf {
    char *ptr; /* owned; NULL while empty, so that a buffer at rest costs nothing */
    size_t len, cap;
} sh_buf_t;

static inline void sh_buf_init(sh_buf_t *b) { *b = (sh_buf_t){0}; }
void sh_buf_dispose(sh_buf_t *b);
static inline void sh_buf_clear(sh_buf_t *b) { b->len = 0; }

/* Makes room for `more` bytes behind len and returns where they go; len is the caller's to move. */
char *sh_buf_reserve_slow(sh_buf_t *b, size_t more);
static inline char *sh_buf_reserve(sh_buf_t *b, size_t more) {
    return SH_LIKELY(b->cap - b->len > more) ? b->ptr + b->len : sh_buf_reserve_slow(b, more);
}

static inline void sh_buf_put(sh_buf_t *b, const void *bytes, size_t len) {
    if (len) memcpy(sh_buf_reserve(b, len), bytes, len);
    b->len += len;
}
#define sh_buf_put_lit(b, literal) sh_buf_put((b), (literal), sizeof(literal) - 1)
static inline void sh_buf_put_str(sh_buf_t *b, sh_str_t s) { sh_buf_put(b, s.ptr, s.len); }
static inline void sh_buf_put_c(sh_buf_t *b, const char *text) { sh_buf_put(b, text, strlen(text)); }
static inline void sh_buf_put_byte(sh_buf_t *b, char c) {
    *sh_buf_reserve(b, 1) = c;
    b->len++;
}
void sh_buf_put_i64(sh_buf_t *b, int64_t n);
void sh_buf_put_u64(sh_buf_t *b, uint64_t n);
void sh_buf_printf(sh_buf_t *b, const char *fmt, ...) SH_PRINTF(2, 3);

/* Writes `s` as a JSON string with its quotes (RFC 8259). Bytes >= 0x80 are copied as they are. */
void sh_buf_put_json(sh_buf_t *b, sh_str_t s);
/* The same for ASCII with nothing to escape, which most texts are; else false, and nothing was written. */
bool sh_buf_put_json_plain(sh_buf_t *b, sh_str_t s);

static inline sh_str_t sh_buf_str(const sh_buf_t *b) { return sh_str(b->ptr, b->len); }
/* A NUL behind the bytes, not counted by len. */
const char *sh_buf_c(sh_buf_t *b);

#endif
