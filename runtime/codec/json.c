/* The JSON reader and writer.
 *
 * The reader goes over the text once. Children of an open array or object are gathered on one stack that all levels share, and are
 * copied together, contiguous, when their parent closes:
 *
 *     [1, {"a": 2, "b": 3      stack: | 1 | a:2 | b:3 |
 *     [1, {"a": 2, "b": 3}     stack: | 1 | {...} |         a:2, b:3 now in the arena
 *
 * The stack begins on the C stack, which holds an ordinary request; a larger one moves to the arena. */
#include "codec/json.h"

#include "base/err.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>

enum {
    DEPTH_HARD_MAX = 512, /* of the reader's recursion, whatever the caller's limit is */
    NUMBER_BYTES_MAX = 128,
    STACK_FIRST = 48,
    LINEAR_KEYS_MAX = 16, /* larger objects find duplicate keys with a hash table */
};

typedef struct key_slot {
    uint32_t hash, index; /* index + 1 of the member within its object; 0: free */
} key_slot_t;

typedef struct key_table {
    key_slot_t *slots;
    uint32_t cap; /* power of two */
} key_table_t;

typedef struct reader {
    const char *p, *start, *end;
    sh_arena_t *arena;
    sh_json_limits_t limits;
    uint32_t depth, values;
    sh_json_member_t *stack;
    uint32_t top, cap;
    sh_json_error_t error;
    int status;
} reader_t;

static bool read_value(reader_t *r, sh_json_value_t *out);

static bool fail_at(reader_t *r, const char *at, int status, const char *reason) {
    r->error = (sh_json_error_t){(size_t)(at - r->start), reason};
    r->status = status;
    return false;
}
static bool fail(reader_t *r, const char *reason) { return fail_at(r, r->p, SH_EINVAL, reason); }

static inline void skip_space(reader_t *r) {
    const char *p = r->p;
    while (p < r->end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t')) p++;
    r->p = p;
}

/* ---- UTF-8 (RFC 3629) */

static inline bool is_tail(unsigned char c) { return (c & 0xc0) == 0x80; }

/* Length of the well-formed sequence at p, whose first byte is >= 0x80; 0 when there is none. */
static inline size_t utf8_sequence(const char *text, size_t left) {
    const unsigned char *p = (const unsigned char *)text;
    unsigned char c = p[0];
    if (c < 0xc2 || left < 2 || !is_tail(p[1])) return 0;
    if (c < 0xe0) return 2;
    if (left < 3 || !is_tail(p[2])) return 0;
    if (c < 0xf0) return (c == 0xe0 && p[1] < 0xa0) || (c == 0xed && p[1] > 0x9f) ? 0 : 3;
    if (c > 0xf4 || left < 4 || !is_tail(p[3])) return 0;
    return (c == 0xf0 && p[1] < 0x90) || (c == 0xf4 && p[1] > 0x8f) ? 0 : 4;
}

/* Eight bytes at a time; the last ones of a longer text overlap with those before them. */
static inline bool is_ascii(sh_str_t text) {
    uint64_t all = 0, eight;
    if (text.len < sizeof eight) {
        for (size_t i = 0; i < text.len; i++) all |= (unsigned char)text.ptr[i];
        return all < 0x80;
    }
    for (size_t i = 0; i + sizeof eight < text.len; i += sizeof eight) {
        memcpy(&eight, text.ptr + i, sizeof eight);
        all |= eight;
    }
    memcpy(&eight, text.ptr + text.len - sizeof eight, sizeof eight);
    return !((all | eight) & 0x8080808080808080u);
}

bool sh_utf8_is_valid(sh_str_t text) {
    if (is_ascii(text)) return true;
    for (size_t i = 0; i < text.len;) {
        uint64_t eight;
        if (text.len - i >= sizeof eight) { /* between what is not */
            memcpy(&eight, text.ptr + i, sizeof eight);
            if (!(eight & 0x8080808080808080u)) {
                i += sizeof eight;
                continue;
            }
        }
        if ((unsigned char)text.ptr[i] < 0x80) {
            i++;
            continue;
        }
        size_t n = utf8_sequence(text.ptr + i, text.len - i);
        if (!n) return false;
        i += n;
    }
    return true;
}

static char *utf8_put(char *out, uint32_t c) {
    if (c < 0x80) {
        *out++ = (char)c;
    } else if (c < 0x800) {
        *out++ = (char)(0xc0 | c >> 6);
        *out++ = (char)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        *out++ = (char)(0xe0 | c >> 12);
        *out++ = (char)(0x80 | (c >> 6 & 0x3f));
        *out++ = (char)(0x80 | (c & 0x3f));
    } else {
        *out++ = (char)(0xf0 | c >> 18);
        *out++ = (char)(0x80 | (c >> 12 & 0x3f));
        *out++ = (char)(0x80 | (c >> 6 & 0x3f));
        *out++ = (char)(0x80 | (c & 0x3f));
    }
    return out;
}

/* ---- strings */

/* Bytes that end a run of plain ones: quote, backslash, controls, and everything that is not ASCII. */
static const unsigned char ends_run[256] = {[0 ... 31] = 1, ['"'] = 1, ['\\'] = 1, [0x80 ... 0xff] = 1};

/* Moves p over well-formed characters to the next quote or backslash. */
static bool scan_run(reader_t *r) {
    const char *p = r->p, *end = r->end;
    for (;;) {
        while (p < end && !ends_run[(unsigned char)*p]) p++;
        r->p = p;
        if (p == end) return fail(r, "string without end");
        unsigned char c = (unsigned char)*p;
        if (c == '"' || c == '\\') return true;
        if (c < 0x20) return fail(r, "control character in a string");
        size_t n = utf8_sequence(p, (size_t)(end - p));
        if (!n) return fail(r, "invalid UTF-8");
        p += n;
    }
}

static bool read_hex4(reader_t *r, uint32_t *out) {
    uint32_t n = 0;
    if (r->end - r->p < 4) return fail(r, "incomplete \\u escape");
    for (int i = 0; i < 4; i++) {
        unsigned char c = (unsigned char)*r->p, low = c | 0x20;
        if (c >= '0' && c <= '9')
            n = n << 4 | (uint32_t)(c - '0');
        else if (low >= 'a' && low <= 'f')
            n = n << 4 | (uint32_t)(low - 'a' + 10);
        else
            return fail(r, "\\u needs four hexadecimal digits");
        r->p++;
    }
    *out = n;
    return true;
}

/* p stands behind "\u". */
static bool read_unicode_escape(reader_t *r, char **out) {
    const char *at = r->p - 2;
    uint32_t c, low;
    if (!read_hex4(r, &c)) return false;
    if (c == 0) return fail_at(r, at, SH_EINVAL, "\\u0000 is not allowed");
    if (c >= 0xdc00 && c <= 0xdfff) return fail_at(r, at, SH_EINVAL, "unpaired surrogate");
    if (c >= 0xd800 && c <= 0xdbff) {
        if (r->end - r->p < 2 || r->p[0] != '\\' || r->p[1] != 'u') return fail_at(r, at, SH_EINVAL, "unpaired surrogate");
        r->p += 2;
        if (!read_hex4(r, &low)) return false;
        if (low < 0xdc00 || low > 0xdfff) return fail_at(r, at, SH_EINVAL, "unpaired surrogate");
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    }
    *out = utf8_put(*out, c);
    return true;
}

static bool read_escape(reader_t *r, char **out) {
    static const char plain[256] = {['"'] = '"', ['\\'] = '\\', ['/'] = '/', ['b'] = '\b', ['f'] = '\f', ['n'] = '\n', ['r'] = '\r', ['t'] = '\t'};
    if (r->end - r->p < 2) return fail(r, "string without end");
    unsigned char c = (unsigned char)r->p[1];
    if (c == 'u') {
        r->p += 2;
        return read_unicode_escape(r, out);
    }
    if (!plain[c]) return fail(r, "unknown escape");
    *(*out)++ = plain[c];
    r->p += 2;
    return true;
}

/* p stands on the first backslash; `from` is where the string's content begins. An escape is never shorter than what it
 * stands for, so the raw length is room enough. */
static bool read_escaped_string(reader_t *r, const char *from, sh_str_t *out) {
    size_t len = (size_t)(r->p - from), left = (size_t)(r->end - from);
    while (len < left && from[len] != '"') len += from[len] == '\\' ? 2 : 1;
    if (len >= left) return fail(r, "string without end");
    char *buffer = sh_arena_alloc(r->arena, len), *at = buffer;
    memcpy(at, from, (size_t)(r->p - from));
    at += r->p - from;
    while (*r->p != '"') {
        if (!read_escape(r, &at)) return false;
        const char *run = r->p;
        if (!scan_run(r)) return false;
        memcpy(at, run, (size_t)(r->p - run));
        at += r->p - run;
    }
    r->p++;
    *out = sh_str(buffer, (size_t)(at - buffer));
    return true;
}

/* p stands on the opening quote. */
static inline bool read_string(reader_t *r, sh_str_t *out) {
    const char *from = ++r->p;
    if (!scan_run(r)) return false;
    if (SH_UNLIKELY(*r->p == '\\')) return read_escaped_string(r, from, out);
    *out = sh_str(from, (size_t)(r->p - from));
    r->p++;
    return true;
}

/* ---- numbers */

static inline bool is_digit(const reader_t *r, const char *p) { return p < r->end && *p >= '0' && *p <= '9'; }

static bool read_real(reader_t *r, const char *from, sh_json_value_t *out) {
    char copy[NUMBER_BYTES_MAX + 1];
    memcpy(copy, from, out->text.len);
    copy[out->text.len] = 0;
    out->kind = SH_JSON_NUMBER;
    out->f64 = strtod(copy, NULL);
    return isfinite(out->f64) ? true : fail_at(r, from, SH_ELIMIT, "number out of range");
}

static bool read_number(reader_t *r, sh_json_value_t *out) {
    const char *from = r->p, *p = from;
    bool negative = *p == '-', integer = true;
    uint64_t n = 0;
    p += negative;
    if (!is_digit(r, p)) return r->p = p, fail(r, "digit expected");
    if (*p == '0' && is_digit(r, p + 1)) return fail(r, "number with a leading zero");
    for (; is_digit(r, p); p++) n = n * 10 + (uint64_t)(*p - '0');
    size_t digits = (size_t)(p - from) - negative;
    if (p < r->end && *p == '.') {
        integer = false;
        if (!is_digit(r, ++p)) return r->p = p, fail(r, "digit expected after the point");
        while (is_digit(r, p)) p++;
    }
    if (p < r->end && (*p == 'e' || *p == 'E')) {
        integer = false;
        p++;
        if (p < r->end && (*p == '+' || *p == '-')) p++;
        if (!is_digit(r, p)) return r->p = p, fail(r, "digit expected in the exponent");
        while (is_digit(r, p)) p++;
    }
    if (p - from > NUMBER_BYTES_MAX) return fail_at(r, from, SH_ELIMIT, "number too long");
    r->p = p;
    out->text = sh_str(from, (size_t)(p - from));
    /* 19 digits cannot overflow 64 bits without sign */
    if (!integer || digits > 19 || n > (uint64_t)INT64_MAX + negative) return read_real(r, from, out);
    out->kind = SH_JSON_INTEGER;
    out->i64 = negative ? (int64_t)(0 - n) : (int64_t)n;
    return true;
}

/* ---- duplicate keys */

#define ROTATE(x, n) ((x) << (n) | (x) >> (64 - (n)))
#define SIP_ROUND                                                                                                                                    \
    do {                                                                                                                                             \
        v0 += v1, v1 = ROTATE(v1, 13), v1 ^= v0, v0 = ROTATE(v0, 32);                                                                                \
        v2 += v3, v3 = ROTATE(v3, 16), v3 ^= v2;                                                                                                     \
        v0 += v3, v3 = ROTATE(v3, 21), v3 ^= v0;                                                                                                     \
        v2 += v1, v1 = ROTATE(v1, 17), v1 ^= v2, v2 = ROTATE(v2, 32);                                                                                \
    } while (0)

/* SipHash-1-3 under the 16 random bytes that the kernel gave this process (getauxval(3), AT_RANDOM): who sends keys cannot pick
 * ones that collide. */
static uint32_t hash_key(sh_str_t key) {
    uint64_t secret[2] = {0, 0};
    const void *random = (const void *)getauxval(AT_RANDOM);
    if (random) memcpy(secret, random, sizeof secret);
    uint64_t v0 = secret[0] ^ 0x736f6d6570736575u, v1 = secret[1] ^ 0x646f72616e646f6du;
    uint64_t v2 = secret[0] ^ 0x6c7967656e657261u, v3 = secret[1] ^ 0x7465646279746573u;
    size_t i = 0;
    for (; i + 8 <= key.len; i += 8) {
        uint64_t word;
        memcpy(&word, key.ptr + i, 8);
        v3 ^= word;
        SIP_ROUND;
        v0 ^= word;
    }
    uint64_t last = (uint64_t)key.len << 56;
    for (size_t j = 0; i + j < key.len; j++) last |= (uint64_t)(unsigned char)key.ptr[i + j] << (8 * j);
    v3 ^= last;
    SIP_ROUND;
    v0 ^= last;
    v2 ^= 0xff;
    SIP_ROUND;
    SIP_ROUND;
    SIP_ROUND;
    return (uint32_t)(v0 ^ v1 ^ v2 ^ v3);
}

static void key_table_put(key_table_t *t, uint32_t hash, uint32_t index) {
    uint32_t i = hash & (t->cap - 1);
    while (t->slots[i].index) i = (i + 1) & (t->cap - 1);
    t->slots[i] = (key_slot_t){hash, index + 1};
}

/* Makes the table, or doubles it. */
static void key_table_grow(key_table_t *t, sh_arena_t *arena, const sh_json_member_t *members, uint32_t count) {
    key_table_t bigger = {.cap = t->cap ? t->cap * 2 : LINEAR_KEYS_MAX * 4};
    bigger.slots = sh_arena_calloc(arena, bigger.cap * sizeof(key_slot_t));
    for (uint32_t i = 0; i < t->cap; i++)
        if (t->slots[i].index) key_table_put(&bigger, t->slots[i].hash, t->slots[i].index - 1);
    for (uint32_t i = 0; !t->cap && i < count; i++) key_table_put(&bigger, hash_key(members[i].key), i);
    *t = bigger;
}

/* Is the key among the first `count` members? If not, the table learns that it will be the next one. */
static bool is_duplicate(reader_t *r, key_table_t *t, const sh_json_member_t *members, uint32_t count, sh_str_t key) {
    if (SH_LIKELY(count < LINEAR_KEYS_MAX)) {
        for (uint32_t i = 0; i < count; i++)
            if (sh_str_eq(members[i].key, key)) return true;
        return false;
    }
    if ((count + 1) * 2 > t->cap) key_table_grow(t, r->arena, members, count);
    uint32_t hash = hash_key(key);
    for (uint32_t i = hash & (t->cap - 1); t->slots[i].index; i = (i + 1) & (t->cap - 1))
        if (t->slots[i].hash == hash && sh_str_eq(members[t->slots[i].index - 1].key, key)) return true;
    key_table_put(t, hash, count);
    return false;
}

/* ---- arrays and objects */

static inline void push(reader_t *r, const sh_json_member_t *m) {
    if (SH_UNLIKELY(r->top == r->cap)) {
        sh_json_member_t *bigger = sh_arena_alloc(r->arena, (size_t)r->cap * 2 * sizeof *bigger);
        memcpy(bigger, r->stack, r->top * sizeof *bigger);
        r->stack = bigger;
        r->cap *= 2;
    }
    r->stack[r->top++] = *m;
}

/* p stands behind the opening bracket. */
static bool read_array(reader_t *r, sh_json_value_t *out) {
    uint32_t base = r->top;
    sh_json_member_t m = {0};
    skip_space(r);
    if (r->p < r->end && *r->p == ']') {
        r->p++;
    } else {
        for (;;) {
            if (!read_value(r, &m.value)) return false;
            push(r, &m);
            skip_space(r);
            if (r->p == r->end) return fail(r, "array without end");
            char c = *r->p;
            if (c != ',' && c != ']') return fail(r, "',' or ']' expected");
            r->p++;
            if (c == ']') break;
        }
    }
    uint32_t n = r->top - base;
    out->kind = SH_JSON_ARRAY;
    out->text = SH_STR_NULL;
    out->items = n ? sh_arena_alloc(r->arena, n * sizeof *out->items) : NULL;
    for (uint32_t i = 0; i < n; i++) out->items[i] = r->stack[base + i].value;
    out->count = n;
    r->top = base;
    return true;
}

/* A key, the colon and the value; the member goes onto the stack. */
static inline bool read_member(reader_t *r, uint32_t base, key_table_t *table) {
    sh_json_member_t m;
    skip_space(r);
    const char *at = r->p;
    if (at == r->end) return fail(r, "object without end");
    if (*at != '"') return fail(r, "a key in quotes expected");
    if (!read_string(r, &m.key)) return false;
    if (is_duplicate(r, table, r->stack + base, r->top - base, m.key)) return fail_at(r, at, SH_EINVAL, "duplicate key");
    skip_space(r);
    if (r->p == r->end || *r->p != ':') return fail(r, "':' expected");
    r->p++;
    if (!read_value(r, &m.value)) return false;
    push(r, &m);
    return true;
}

static bool read_object(reader_t *r, sh_json_value_t *out) {
    uint32_t base = r->top;
    key_table_t table = {0};
    skip_space(r);
    if (r->p < r->end && *r->p == '}') {
        r->p++;
    } else {
        for (;;) {
            if (!read_member(r, base, &table)) return false;
            skip_space(r);
            if (r->p == r->end) return fail(r, "object without end");
            char c = *r->p;
            if (c != ',' && c != '}') return fail(r, "',' or '}' expected");
            r->p++;
            if (c == '}') break;
        }
    }
    uint32_t n = r->top - base;
    out->kind = SH_JSON_OBJECT;
    out->text = SH_STR_NULL;
    out->members = NULL;
    if (n) {
        out->members = sh_arena_alloc(r->arena, n * sizeof *out->members);
        memcpy(out->members, r->stack + base, n * sizeof *out->members);
    }
    out->count = n;
    r->top = base;
    return true;
}

/* ---- values */

static bool read_word(reader_t *r, const char *word, size_t len, sh_json_kind_t kind, sh_json_value_t *out) {
    if ((size_t)(r->end - r->p) < len || memcmp(r->p, word, len) != 0) return fail(r, "unknown word");
    r->p += len;
    out->kind = kind;
    out->text = SH_STR_NULL;
    out->i64 = 0;
    return true;
}

static bool read_nested(reader_t *r, sh_json_value_t *out) {
    if (r->depth == r->limits.depth_max) return fail_at(r, r->p, SH_ELIMIT, "nested too deeply");
    r->depth++;
    bool is_array = *r->p++ == '[';
    bool ok = is_array ? read_array(r, out) : read_object(r, out);
    r->depth--;
    return ok;
}

static bool read_value(reader_t *r, sh_json_value_t *out) {
    skip_space(r);
    if (r->p == r->end) return fail(r, "value expected");
    if (r->values == r->limits.values_max) return fail_at(r, r->p, SH_ELIMIT, "too many values");
    r->values++;
    out->count = 0;
    switch (*r->p) {
    case '"':
        out->kind = SH_JSON_STRING;
        out->i64 = 0;
        return read_string(r, &out->text);
    case '{':
    case '[': return read_nested(r, out);
    case '-':
    case '0':
    case '1':
    case '2':
    case '3':
    case '4':
    case '5':
    case '6':
    case '7':
    case '8':
    case '9': return read_number(r, out);
    case 't': return read_word(r, "true", 4, SH_JSON_TRUE, out);
    case 'f': return read_word(r, "false", 5, SH_JSON_FALSE, out);
    case 'n': return read_word(r, "null", 4, SH_JSON_NULL, out);
    case '\xef':
        if (r->p == r->start) return fail(r, "byte order mark is not allowed");
        /* fall through */
    default: return fail(r, "value expected");
    }
}

int sh_json_read(sh_arena_t *arena, sh_str_t text, sh_json_limits_t limits, sh_json_value_t **out, sh_json_error_t *error) {
    sh_json_member_t first[STACK_FIRST];
    const char *start = text.ptr ? text.ptr : "";
    reader_t r = {.p = start, .start = start, .end = start + text.len, .arena = arena, .limits = limits, .stack = first, .cap = STACK_FIRST};
    sh_json_value_t value;
    if (r.limits.depth_max > DEPTH_HARD_MAX) r.limits.depth_max = DEPTH_HARD_MAX;
    if (read_value(&r, &value)) {
        skip_space(&r);
        if (r.p < r.end) fail(&r, "text after the value");
    }
    if (r.status != SH_OK) {
        *error = r.error;
        return r.status;
    }
    *out = sh_arena_alloc(arena, sizeof value);
    **out = value;
    return SH_OK;
}

const sh_json_value_t *sh_json_get(const sh_json_value_t *object, const char *key) {
    if (!object || object->kind != SH_JSON_OBJECT) return NULL;
    sh_str_t k = sh_str_of(key);
    for (uint32_t i = 0; i < object->count; i++)
        if (sh_str_eq(object->members[i].key, k)) return &object->members[i].value;
    return NULL;
}

/* ---- writing */

static void write_f64(sh_buf_t *out, double n) {
    if (!isfinite(n)) return sh_buf_put_lit(out, "null"); /* JSON has no name for it */
    sh_buf_printf(out, "%.17g", n);
}

void sh_json_write(sh_buf_t *out, const sh_json_value_t *v) {
    switch (v->kind) {
    case SH_JSON_NULL: sh_buf_put_lit(out, "null"); break;
    case SH_JSON_FALSE: sh_buf_put_lit(out, "false"); break;
    case SH_JSON_TRUE: sh_buf_put_lit(out, "true"); break;
    case SH_JSON_INTEGER: sh_buf_put_i64(out, v->i64); break;
    case SH_JSON_NUMBER:
        if (v->text.len)
            sh_buf_put_str(out, v->text);
        else
            write_f64(out, v->f64);
        break;
    case SH_JSON_STRING: sh_buf_put_json(out, v->text); break;
    case SH_JSON_ARRAY:
        sh_buf_put_byte(out, '[');
        for (uint32_t i = 0; i < v->count; i++) {
            if (i) sh_buf_put_byte(out, ',');
            sh_json_write(out, &v->items[i]);
        }
        sh_buf_put_byte(out, ']');
        break;
    case SH_JSON_OBJECT:
        sh_buf_put_byte(out, '{');
        for (uint32_t i = 0; i < v->count; i++) {
            if (i) sh_buf_put_byte(out, ',');
            sh_buf_put_json(out, v->members[i].key);
            sh_buf_put_byte(out, ':');
            sh_json_write(out, &v->members[i].value);
        }
        sh_buf_put_byte(out, '}');
        break;
    }
}
