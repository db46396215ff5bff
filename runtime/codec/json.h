/* JSON in and out, strictly by RFC 8259: a reader that builds values in an arena, and helpers that write.
 *
 * Refused on reading: anything after the value, duplicate keys, invalid UTF-8, unpaired surrogates, \u0000, numbers
 * like 01 1. +1 .5 0x10 NaN, control characters in strings, a byte order mark, and more than the limits allow.
 * Integers stay exact: an int64 is kept as such, everything else keeps its text. */
#ifndef SH_JSON_H
#define SH_JSON_H

#include "base/arena.h"
#include "base/buf.h"

typedef enum sh_json_kind {
    SH_JSON_NULL,
    SH_JSON_FALSE,
    SH_JSON_TRUE,
    SH_JSON_INTEGER, /* no fraction, no exponent, fits int64: i64 (text is kept too) */
    SH_JSON_NUMBER,  /* any other number: text as written, f64 */
    SH_JSON_STRING,
    SH_JSON_ARRAY,
    SH_JSON_OBJECT,
} sh_json_kind_t;

typedef struct sh_json_value sh_json_value_t;
typedef struct sh_json_member sh_json_member_t;

struct sh_json_value {
    sh_json_kind_t kind;
    uint32_t count; /* items or members */
    sh_str_t text;  /* string (decoded), or a number as written */
    union {
        int64_t i64;
        double f64;
        sh_json_value_t *items;    /* count of them, contiguous */
        sh_json_member_t *members; /* count of them, in the order written */
    };
};

struct sh_json_member {
    sh_str_t key;
    sh_json_value_t value;
};

typedef struct sh_json_limits {
    uint32_t depth_max;  /* levels of [] and {}; 32 by default */
    uint32_t values_max; /* values in all; 100,000 by default */
} sh_json_limits_t;

#define SH_JSON_LIMITS_DEFAULT ((sh_json_limits_t){.depth_max = 32, .values_max = 100000})

typedef struct sh_json_error {
    size_t offset;      /* byte in the text */
    const char *reason; /* English, static: "duplicate key", "nested too deeply" ... */
} sh_json_error_t;

/* Reads one value that fills `text` (white space around it allowed). The value lives in `arena`; strings without escapes point
 * into `text`, which must live as long. SH_EINVAL, or SH_ELIMIT past a limit, with `error` filled (never NULL). */
int sh_json_read(sh_arena_t *arena, sh_str_t text, sh_json_limits_t limits, sh_json_value_t **out, sh_json_error_t *error) SH_MUSTCHECK;

/* A member of an object by key, or NULL (also when `object` is no object). */
const sh_json_value_t *sh_json_get(const sh_json_value_t *object, const char *key);

/* Appends the value as compact JSON. */
void sh_json_write(sh_buf_t *out, const sh_json_value_t *value);

/* Is it well-formed UTF-8 (no overlong forms, no surrogates, at most U+10FFFF)? */
bool sh_utf8_is_valid(sh_str_t text);

#endif
