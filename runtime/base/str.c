/* Comparisons, strict integers and suggestions over slices. */
#include "base/str.h"

#include "base/err.h"

static inline unsigned char lower(unsigned char c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; }

bool sh_str_eq_nocase(sh_str_t a, sh_str_t b) {
    if (a.len != b.len) return false;
    for (size_t i = 0; i < a.len; i++)
        if (lower((unsigned char)a.ptr[i]) != lower((unsigned char)b.ptr[i])) return false;
    return true;
}

bool sh_str_has_prefix(sh_str_t s, sh_str_t prefix) { return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.ptr, prefix.ptr, prefix.len) == 0); }

int sh_str_to_i64(sh_str_t s, int64_t *out) {
    size_t i = 0;
    bool negative = false;
    if (s.len && s.ptr[0] == '-') negative = true, i = 1;
    if (i == s.len || s.len - i > 19) return SH_EINVAL;
    if (s.ptr[i] == '0' && (s.len - i > 1 || negative)) return SH_EINVAL;
    uint64_t n = 0;
    for (; i < s.len; i++) {
        unsigned digit = (unsigned char)s.ptr[i] - '0';
        if (digit > 9) return SH_EINVAL;
        n = n * 10 + digit;
    }
    if (n > (uint64_t)INT64_MAX + (negative ? 1 : 0)) return SH_EINVAL;
    *out = negative ? (int64_t)(0 - n) : (int64_t)n;
    return SH_OK;
}

static const unsigned char is_hex[256] = {['0' ... '9'] = 1, ['a' ... 'f'] = 1, ['A' ... 'F'] = 1};

static inline unsigned are_digits(const char *at, size_t count) {
    unsigned all = 1;
    for (size_t i = 0; i < count; i++) all &= is_hex[(unsigned char)at[i]];
    return all;
}

bool sh_str_is_uuid(sh_str_t s) {
    const char *p = s.ptr;
    if (s.len != 36 || p[8] != '-' || p[13] != '-' || p[18] != '-' || p[23] != '-') return false;
    return are_digits(p, 8) & are_digits(p + 9, 4) & are_digits(p + 14, 4) & are_digits(p + 19, 4) & are_digits(p + 24, 12);
}

uint64_t sh_str_hash(sh_str_t s) {
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < s.len; i++) h = (h ^ (unsigned char)s.ptr[i]) * 0x100000001b3u;
    return h;
}

enum { NAME_MAX_LEN = 64 };

/* Levenshtein distance with one row; names longer than NAME_MAX_LEN are never near. */
static size_t distance(const char *a, size_t na, const char *b, size_t nb) {
    size_t row[NAME_MAX_LEN + 1];
    for (size_t j = 0; j <= nb; j++) row[j] = j;
    for (size_t i = 1; i <= na; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            size_t substituted = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            size_t best = row[j] + 1 < row[j - 1] + 1 ? row[j] + 1 : row[j - 1] + 1;
            row[j] = best < substituted ? best : substituted;
        }
    }
    return row[nb];
}

const char *sh_str_nearest(const char *name, const char *const *candidates, size_t count) {
    size_t n = strlen(name), best = n / 3 + 1;
    const char *found = NULL;
    if (n > NAME_MAX_LEN) return NULL;
    for (size_t i = 0; i < count; i++) {
        size_t m = strlen(candidates[i]);
        if (m > NAME_MAX_LEN) continue;
        size_t d = distance(name, n, candidates[i], m);
        if (d < best) best = d, found = candidates[i];
    }
    return found;
}
