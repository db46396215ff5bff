/* Exact decimal numbers for money: an integer count of units of 10^-scale, where nothing is ever rounded unasked.
 *
 * Every operation checks its bounds: at most SH_DECIMAL_DIGITS_MAX digits in all and SH_DECIMAL_SCALE_MAX places behind the point.
 * SH_ELIMIT means that the exact result has more; the caller rounds earlier or refuses. */
#ifndef SH_DECIMAL_H
#define SH_DECIMAL_H

#include "base/base.h"
#include "base/str.h"

enum {
    SH_DECIMAL_DIGITS_MAX = 30,
    SH_DECIMAL_SCALE_MAX = 12,
    SH_DECIMAL_TEXT_MAX = 1 + SH_DECIMAL_DIGITS_MAX + 2, /* '-', "0.", digits */
};

typedef struct sh_decimal {
    __int128 units; /* value * 10^scale */
    int scale;      /* 0..SH_DECIMAL_SCALE_MAX */
} sh_decimal_t;

typedef enum sh_rounding {
    SH_ROUND_HALF_UP,   /* ties away from zero */
    SH_ROUND_HALF_EVEN, /* ties to the even digit */
    SH_ROUND_DOWN,      /* towards zero */
    SH_ROUND_UP,        /* away from zero */
} sh_rounding_t;

/* "half_up", "half_even", "down", "up"; SH_EINVAL otherwise. */
int sh_rounding_of(sh_str_t name, sh_rounding_t *out) SH_MUSTCHECK;

/* Digits with an optional '-' before and an optional fraction behind: "0", "-12.50". No '+', exponent, spaces, bare point, or
 * leading zero but that of "0.5". SH_EINVAL, or SH_ELIMIT for a well-formed one with too many digits. The scale is kept: "1.50" has 2. */
int sh_decimal_parse(sh_str_t text, sh_decimal_t *out) SH_MUSTCHECK;
sh_decimal_t sh_decimal_of_i64(int64_t n);
/* Writes all places of the scale ("12.50"; zero has no sign) and returns the length; no NUL. */
size_t sh_decimal_format(sh_decimal_t d, char out[SH_DECIMAL_TEXT_MAX]);

/* The nearest double: for readers that only show it. */
double sh_decimal_to_double(sh_decimal_t d);

/* Sum and difference have the greater scale of the two. */
int sh_decimal_add(sh_decimal_t a, sh_decimal_t b, sh_decimal_t *out) SH_MUSTCHECK;
int sh_decimal_sub(sh_decimal_t a, sh_decimal_t b, sh_decimal_t *out) SH_MUSTCHECK;
/* The scales add up: "2.50" * "0.150" is "0.37500". */
int sh_decimal_mul(sh_decimal_t a, sh_decimal_t b, sh_decimal_t *out) SH_MUSTCHECK;
/* SH_EINVAL: division by zero, or no such scale. */
int sh_decimal_div(sh_decimal_t a, sh_decimal_t b, int scale, sh_rounding_t mode, sh_decimal_t *out) SH_MUSTCHECK;
/* To exactly `scale` places, fewer or more. SH_EINVAL: no such scale; SH_ELIMIT: more places than fit. */
int sh_decimal_round(sh_decimal_t a, int scale, sh_rounding_t mode, sh_decimal_t *out) SH_MUSTCHECK;

static inline sh_decimal_t sh_decimal_neg(sh_decimal_t a) { return (sh_decimal_t){-a.units, a.scale}; }
/* By value: 1.5 and 1.50 are equal. Negative, 0 or positive. */
int sh_decimal_cmp(sh_decimal_t a, sh_decimal_t b);

#endif
