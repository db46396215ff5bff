/* Exact decimals on 128-bit integers; ten to the thirtieth leaves room for a sign and one more digit. */
#include "codec/decimal.h"

#include "base/err.h"

#include <stdlib.h>

typedef unsigned __int128 wide_t;

/* 10^0 .. 10^SH_DECIMAL_SCALE_MAX fit int64. */
static const int64_t powers[SH_DECIMAL_SCALE_MAX + 1] = {
    1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000, 1000000000, 10000000000, 100000000000, 1000000000000,
};

static const __int128 units_end = (__int128)1000000000000000 * 1000000000000000; /* 10^30 */
_Static_assert(SH_DECIMAL_DIGITS_MAX == 30, "units_end says the same");

static bool fits(__int128 units) { return units < units_end && units > -units_end; }

static wide_t magnitude(__int128 n) { return n < 0 ? (wide_t)0 - (wide_t)n : (wide_t)n; }

int sh_rounding_of(sh_str_t name, sh_rounding_t *out) {
    if (sh_str_eq(name, SH_STR("half_up")))
        *out = SH_ROUND_HALF_UP;
    else if (sh_str_eq(name, SH_STR("half_even")))
        *out = SH_ROUND_HALF_EVEN;
    else if (sh_str_eq(name, SH_STR("down")))
        *out = SH_ROUND_DOWN;
    else if (sh_str_eq(name, SH_STR("up")))
        *out = SH_ROUND_UP;
    else
        return SH_EINVAL;
    return SH_OK;
}

/* ---- text */

int sh_decimal_parse(sh_str_t text, sh_decimal_t *out) {
    const char *at = text.ptr, *end = text.ptr + text.len;
    bool negative = at < end && *at == '-';
    if (negative) at++;
    const char *first = at;
    __int128 units = 0;
    int scale = 0;
    bool too_long = false, in_fraction = false;
    for (; at < end; at++) {
        if (*at == '.' && !in_fraction && at > first && at + 1 < end) {
            in_fraction = true;
            continue;
        }
        if (*at < '0' || *at > '9') return SH_EINVAL;
        if (!in_fraction && at == first + 1 && *first == '0') return SH_EINVAL;
        if (in_fraction && ++scale > SH_DECIMAL_SCALE_MAX) too_long = true;
        if (!too_long) units = units * 10 + (*at - '0');
        if (!fits(units)) too_long = true;
    }
    if (at == first) return SH_EINVAL;
    if (too_long) return SH_ELIMIT;
    *out = (sh_decimal_t){negative ? -units : units, scale};
    return SH_OK;
}

sh_decimal_t sh_decimal_of_i64(int64_t n) { return (sh_decimal_t){n, 0}; }

/* "00" to "99" */
static const char pairs[] = "0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849"
                            "5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";

static inline char *pair_before(char *at, uint64_t n) { return memcpy(at - 2, pairs + 2 * n, 2); }

/* Writes the digits of n before `at`, with a point before the last `scale` of them and at least one before that; returns where they begin. */
static inline char *digits_before(char *at, uint64_t n, int scale) {
    if (scale == 2) { /* money */
        at = pair_before(at, n % 100) - 1;
        *at = '.';
        n /= 100;
    } else if (scale) {
        for (int i = 0; i < scale; i++, n /= 10) *--at = (char)('0' + n % 10);
        *--at = '.';
    }
    for (; n >= 100; n /= 100) at = pair_before(at, n % 100);
    if (n >= 10) return pair_before(at, n);
    *--at = (char)('0' + n);
    return at;
}

size_t sh_decimal_format(sh_decimal_t d, char out[SH_DECIMAL_TEXT_MAX]) {
    char text[SH_DECIMAL_TEXT_MAX], *end = text + sizeof text, *at = end;
    wide_t units = magnitude(d.units);
    int scale = d.scale;
    while (units > UINT64_MAX) { /* dividing 64 bits is an instruction, 128 a function */
        *--at = (char)('0' + (int)(units % 10));
        units /= 10;
        if (scale && --scale == 0) *--at = '.';
    }
    at = digits_before(at, (uint64_t)units, scale);
    if (d.units < 0) *--at = '-';
    memcpy(out, at, (size_t)(end - at));
    return (size_t)(end - at);
}

/* ---- arithmetic */

/* Brings both to the greater scale. */
static int align(sh_decimal_t *a, sh_decimal_t *b) {
    sh_decimal_t *coarse = a->scale < b->scale ? a : b;
    int scale = a->scale < b->scale ? b->scale : a->scale;
    if (coarse->scale == scale) return SH_OK;
    if (__builtin_mul_overflow(coarse->units, (__int128)powers[scale - coarse->scale], &coarse->units) || !fits(coarse->units)) return SH_ELIMIT;
    coarse->scale = scale;
    return SH_OK;
}

/* Below 2^53 the units are a double without loss, as the power of ten is, so that the one division rounds once, as strtod() would. */
double sh_decimal_to_double(sh_decimal_t d) {
    const __int128 exact = (__int128)1 << 53;
    if (d.units <= exact && d.units >= -exact) return (double)(int64_t)d.units / (double)powers[d.scale];
    char text[SH_DECIMAL_TEXT_MAX + 1];
    text[sh_decimal_format(d, text)] = 0;
    return strtod(text, NULL);
}

int sh_decimal_add(sh_decimal_t a, sh_decimal_t b, sh_decimal_t *out) {
    int rc = align(&a, &b);
    if (rc) return rc;
    __int128 sum = a.units + b.units; /* both below 10^30 */
    if (!fits(sum)) return SH_ELIMIT;
    *out = (sh_decimal_t){sum, a.scale};
    return SH_OK;
}

int sh_decimal_sub(sh_decimal_t a, sh_decimal_t b, sh_decimal_t *out) { return sh_decimal_add(a, sh_decimal_neg(b), out); }

int sh_decimal_mul(sh_decimal_t a, sh_decimal_t b, sh_decimal_t *out) {
    __int128 product;
    if (__builtin_mul_overflow(a.units, b.units, &product) || !fits(product)) return SH_ELIMIT;
    int scale = a.scale + b.scale;
    if (scale > SH_DECIMAL_SCALE_MAX) return SH_ELIMIT;
    *out = (sh_decimal_t){product, scale};
    return SH_OK;
}

/* Where the part that is cut off lies, seen from the two values around it. */
typedef enum { CUT_NOTHING, CUT_BELOW_HALF, CUT_HALF, CUT_ABOVE_HALF } cut_t;

static cut_t cut_of(wide_t remainder, wide_t divisor) {
    if (remainder == 0) return CUT_NOTHING;
    wide_t other = divisor - remainder;
    return remainder < other ? CUT_BELOW_HALF : remainder == other ? CUT_HALF : CUT_ABOVE_HALF;
}

/* Rounds a magnitude and gives it its sign. */
static int finish(wide_t quotient, cut_t cut, bool negative, int scale, sh_rounding_t mode, sh_decimal_t *out) {
    bool away = false;
    switch (mode) {
    case SH_ROUND_HALF_UP: away = cut >= CUT_HALF; break;
    case SH_ROUND_HALF_EVEN: away = cut == CUT_ABOVE_HALF || (cut == CUT_HALF && (quotient & 1)); break;
    case SH_ROUND_DOWN: break;
    case SH_ROUND_UP: away = cut != CUT_NOTHING; break;
    }
    if (away) quotient++;
    if (quotient >= (wide_t)units_end) return SH_ELIMIT;
    *out = (sh_decimal_t){negative ? -(__int128)quotient : (__int128)quotient, scale};
    return SH_OK;
}

int sh_decimal_div(sh_decimal_t a, sh_decimal_t b, int scale, sh_rounding_t mode, sh_decimal_t *out) {
    if (b.units == 0 || scale < 0 || scale > SH_DECIMAL_SCALE_MAX) return SH_EINVAL;
    bool negative = (a.units < 0) != (b.units < 0);
    wide_t dividend = magnitude(a.units), divisor = magnitude(b.units);
    int more = scale + b.scale - a.scale; /* places that the quotient needs beyond the plain one */
    if (more < 0 && __builtin_mul_overflow(divisor, (wide_t)powers[-more], &divisor))
        /* The divisor is beyond 10^38 and the dividend below 10^30: next to nothing is left. */
        return finish(0, dividend == 0 ? CUT_NOTHING : CUT_BELOW_HALF, negative, scale, mode, out);

    wide_t scaled;
    if (more <= SH_DECIMAL_SCALE_MAX && !__builtin_mul_overflow(dividend, (wide_t)(more > 0 ? powers[more] : 1), &scaled) && scaled <= UINT64_MAX &&
        divisor <= UINT64_MAX) { /* as in sh_decimal_format() */
        uint64_t a64 = (uint64_t)scaled, b64 = (uint64_t)divisor;
        return finish(a64 / b64, cut_of(a64 % b64, b64), negative, scale, mode, out);
    }
    wide_t quotient = dividend / divisor, remainder = dividend % divisor;
    for (; more > 0; more--) { /* long division: remainder < 10^30, so ten times it fits */
        remainder *= 10;
        quotient = quotient * 10 + remainder / divisor;
        remainder %= divisor;
        if (quotient >= (wide_t)units_end) return SH_ELIMIT;
    }
    return finish(quotient, cut_of(remainder, divisor), negative, scale, mode, out);
}

int sh_decimal_round(sh_decimal_t a, int scale, sh_rounding_t mode, sh_decimal_t *out) {
    if (scale < 0 || scale > SH_DECIMAL_SCALE_MAX) return SH_EINVAL;
    if (scale >= a.scale) {
        sh_decimal_t target = {0, scale};
        int rc = align(&a, &target);
        if (rc == SH_OK) *out = a;
        return rc;
    }
    wide_t units = magnitude(a.units);
    uint64_t unit = (uint64_t)powers[a.scale - scale];
    if (units <= UINT64_MAX) { /* as in sh_decimal_format() */
        uint64_t small = (uint64_t)units;
        return finish(small / unit, cut_of(small % unit, unit), a.units < 0, scale, mode, out);
    }
    return finish(units / unit, cut_of(units % unit, unit), a.units < 0, scale, mode, out);
}

int sh_decimal_cmp(sh_decimal_t a, sh_decimal_t b) {
    sh_decimal_t x = a, y = b;
    if (align(&x, &y) == SH_OK) return (x.units > y.units) - (x.units < y.units);
    /* Whole parts first, then fractions in the smallest unit: no product can overflow. */
    __int128 whole_a = a.units / powers[a.scale], whole_b = b.units / powers[b.scale];
    if (whole_a != whole_b) return whole_a > whole_b ? 1 : -1;
    __int128 rest_a = a.units % powers[a.scale] * powers[SH_DECIMAL_SCALE_MAX - a.scale];
    __int128 rest_b = b.units % powers[b.scale] * powers[SH_DECIMAL_SCALE_MAX - b.scale];
    return (rest_a > rest_b) - (rest_a < rest_b);
}
