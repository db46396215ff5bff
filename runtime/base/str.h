/* A slice of bytes that somebody else owns; never assumed to end with NUL. */
#ifndef SH_STR_H
#define SH_STR_H

#include "base/base.h"

#include <string.h>

typedef struct sh_str {
    const char *ptr;
    size_t len;
} sh_str_t;

#define SH_STR(literal) ((sh_str_t){(literal), sizeof(literal) - 1})
#define SH_STR_NULL ((sh_str_t){NULL, 0})

static inline sh_str_t sh_str(const char *ptr, size_t len) { return (sh_str_t){ptr, len}; }
static inline sh_str_t sh_str_of(const char *text) { return (sh_str_t){text, text ? strlen(text) : 0}; }
static inline bool sh_str_eq(sh_str_t a, sh_str_t b) { return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0); }
static inline bool sh_str_eq_c(sh_str_t a, const char *b) { return sh_str_eq(a, sh_str_of(b)); }

/* ASCII case is ignored, as HTTP field names ask (RFC 9110, 5.1). */
bool sh_str_eq_nocase(sh_str_t a, sh_str_t b);
bool sh_str_has_prefix(sh_str_t s, sh_str_t prefix);

/* Parses a decimal integer that fills the whole slice (no sign but '-', no spaces, no leading zeros).
 * SH_EINVAL when it is anything else or does not fit. */
int sh_str_to_i64(sh_str_t s, int64_t *out) SH_MUSTCHECK;

/* Is it 8-4-4-4-12 hexadecimal digits (RFC 9562)? */
bool sh_str_is_uuid(sh_str_t s);

/* FNV-1a, 64 bits; for tables inside one process, not against an attacker who picks the keys. */
uint64_t sh_str_hash(sh_str_t s);

/* The candidate with the smallest edit distance to `name` (at most 1/3 of its length), or NULL:
 * for "did you mean". */
const char *sh_str_nearest(const char *name, const char *const *candidates, size_t count);

#endif
