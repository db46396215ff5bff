/* Proves that decimals are exact: results agree with schoolbook arithmetic on strings of digits, which shares no code with them,
 * for thousands of random pairs; rounding agrees with a table for each mode; and every bound is refused, never wrapped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "codec/decimal.h"

#include <stdio.h>
#include <stdlib.h>

static sh_decimal_t D(const char *text) {
    sh_decimal_t d = {0, 0};
    if (sh_decimal_parse(sh_str_of(text), &d) != SH_OK) fail_msg("\"%s\" was refused", text);
    return d;
}

static void assert_is(sh_decimal_t d, const char *expected) {
    char text[SH_DECIMAL_TEXT_MAX + 1];
    text[sh_decimal_format(d, text)] = 0;
    assert_string_equal(text, expected);
}

static void reads_and_writes(void **state) {
    (void)state;
    static const char *const same[] = {
        "0",
        "0.00",
        "5",
        "-5",
        "12.50",
        "-0.01",
        "0.000000000001",
        "18446744073709551615",
        "18446744073709551616",
        "-184467440737095516.16",
        "999999999999999999999999999999",
        "-999999999999999999.999999999999",
        "100",
        "10.0",
    };
    for (size_t i = 0; i < SH_ARRAY_LEN(same); i++) assert_is(D(same[i]), same[i]);
    assert_is(D("-0.00"), "0.00");
    assert_is(sh_decimal_of_i64(INT64_MIN), "-9223372036854775808");

    static const char *const bad[] = {"",      "-",  "+1", ".5",  "5.",  "01",  "00",  "-01",  "1e3",
                                      "1.2.3", " 1", "1 ", "1,5", "0x1", "NaN", "--1", "1.-2", "-.5"};
    sh_decimal_t d;
    for (size_t i = 0; i < SH_ARRAY_LEN(bad); i++)
        if (sh_decimal_parse(sh_str_of(bad[i]), &d) != SH_EINVAL) fail_msg("took \"%s\"", bad[i]);
    assert_int_equal(sh_decimal_parse(SH_STR("1000000000000000000000000000000"), &d), SH_ELIMIT);
    assert_int_equal(sh_decimal_parse(SH_STR("0.0000000000001"), &d), SH_ELIMIT);
    assert_int_equal(sh_decimal_parse(SH_STR("9999999999999999999999999999999999999999999999x"), &d), SH_EINVAL);
    assert_int_equal(sh_decimal_parse(sh_str("1\0", 2), &d), SH_EINVAL);
}

/* ---- schoolbook arithmetic on digit strings, least digit first */

enum { LONG = 80 };
typedef struct longnum {
    bool negative;
    int digits[LONG];
} longnum_t;

static longnum_t long_of(sh_decimal_t d, int scale) {
    longnum_t n = {.negative = d.units < 0};
    __int128 rest = d.units;
    for (int i = scale - d.scale; rest != 0; i++, rest /= 10) {
        int digit = (int)(rest % 10);
        n.digits[i] = digit < 0 ? -digit : digit;
    }
    return n;
}

static int long_compare_magnitude(const longnum_t *a, const longnum_t *b) {
    for (int i = LONG - 1; i >= 0; i--)
        if (a->digits[i] != b->digits[i]) return a->digits[i] < b->digits[i] ? -1 : 1;
    return 0;
}

static longnum_t long_add(longnum_t a, longnum_t b) {
    longnum_t sum = {0};
    if (a.negative == b.negative) {
        sum.negative = a.negative;
        for (int i = 0, carry = 0; i < LONG; i++) {
            carry += a.digits[i] + b.digits[i];
            sum.digits[i] = carry % 10;
            carry /= 10;
        }
        return sum;
    }
    const longnum_t *big = long_compare_magnitude(&a, &b) >= 0 ? &a : &b, *small = big == &a ? &b : &a;
    sum.negative = big->negative;
    for (int i = 0, borrow = 0; i < LONG; i++) {
        int digit = big->digits[i] - small->digits[i] - borrow;
        borrow = digit < 0;
        sum.digits[i] = digit + 10 * borrow;
    }
    return sum;
}

static longnum_t long_mul(const longnum_t *a, const longnum_t *b) {
    longnum_t product = {.negative = a->negative != b->negative};
    int sums[2 * LONG] = {0};
    for (int i = 0; i < LONG; i++)
        for (int j = 0; j < LONG; j++) sums[i + j] += a->digits[i] * b->digits[j];
    for (int i = 0, carry = 0; i < LONG; i++) {
        carry += sums[i];
        product.digits[i] = carry % 10;
        carry /= 10;
    }
    return product;
}

static int long_length(const longnum_t *n) {
    int len = LONG;
    while (len > 0 && n->digits[len - 1] == 0) len--;
    return len;
}

static void assert_agrees(int rc, sh_decimal_t d, longnum_t expected, int scale) {
    if (long_length(&expected) > SH_DECIMAL_DIGITS_MAX || scale > SH_DECIMAL_SCALE_MAX) {
        assert_int_equal(rc, SH_ELIMIT);
        return;
    }
    assert_int_equal(rc, SH_OK);
    assert_int_equal(d.scale, scale);
    longnum_t got = long_of(d, scale);
    assert_int_equal(long_compare_magnitude(&got, &expected), 0);
    if (long_length(&got) > 0) assert_int_equal(got.negative, expected.negative);
}

static sh_decimal_t random_decimal(unsigned *seed) {
    int digits = (int)((unsigned)rand_r(seed) % (SH_DECIMAL_DIGITS_MAX + 1));
    sh_decimal_t d = {0, (int)((unsigned)rand_r(seed) % (SH_DECIMAL_SCALE_MAX + 1))};
    for (int i = 0; i < digits; i++) d.units = d.units * 10 + rand_r(seed) % 10;
    if (rand_r(seed) % 2) d.units = -d.units;
    return d;
}

static void agrees_with_long_arithmetic(void **state) {
    (void)state;
    unsigned seed = 20261124;
    for (int i = 0; i < 4000; i++) {
        sh_decimal_t a = random_decimal(&seed), b = random_decimal(&seed), d = {0, 0};
        int scale = a.scale > b.scale ? a.scale : b.scale;
        longnum_t la = long_of(a, scale), lb = long_of(b, scale), minus_lb = lb;
        minus_lb.negative = !lb.negative;

        /* An operand that cannot be brought to the common scale is a limit too. */
        bool fit = long_length(&la) <= SH_DECIMAL_DIGITS_MAX && long_length(&lb) <= SH_DECIMAL_DIGITS_MAX;
        int rc = sh_decimal_add(a, b, &d);
        if (fit)
            assert_agrees(rc, d, long_add(la, lb), scale);
        else
            assert_int_equal(rc, SH_ELIMIT);
        rc = sh_decimal_sub(a, b, &d);
        if (fit) assert_agrees(rc, d, long_add(la, minus_lb), scale);

        longnum_t pa = long_of(a, a.scale), pb = long_of(b, b.scale);
        rc = sh_decimal_mul(a, b, &d);
        assert_agrees(rc, d, long_mul(&pa, &pb), a.scale + b.scale);

        longnum_t difference = long_add(la, minus_lb);
        int cmp = sh_decimal_cmp(a, b), expected = long_length(&difference) == 0 ? 0 : difference.negative ? -1 : 1;
        assert_int_equal((cmp > 0) - (cmp < 0), expected);

        char text[SH_DECIMAL_TEXT_MAX];
        sh_decimal_t back;
        size_t len = sh_decimal_format(a, text);
        assert_int_equal(sh_decimal_parse(sh_str(text, len), &back), SH_OK);
        assert_true(back.units == a.units && back.scale == a.scale);
    }
}

/* |a - q * b| against b's unit tells whether q is the right neighbour: below one unit for "down", at most half of one for the halves. */
static void quotients_are_the_nearest(void **state) {
    (void)state;
    unsigned seed = 7;
    int tried = 0;
    for (int i = 0; i < 20000; i++) {
        sh_decimal_t a = random_decimal(&seed), b = random_decimal(&seed), q;
        int scale = (int)((unsigned)rand_r(&seed) % (SH_DECIMAL_SCALE_MAX + 1));
        sh_rounding_t mode = (sh_rounding_t)(rand_r(&seed) % 4);
        int rc = sh_decimal_div(a, b, scale, mode, &q);
        if (b.units == 0) {
            assert_int_equal(rc, SH_EINVAL);
            continue;
        }
        if (rc == SH_ELIMIT) continue;
        assert_int_equal(rc, SH_OK);
        assert_int_equal(q.scale, scale);
        tried++;
        /* All in units of 10^-(scale + b.scale), or of a's if that is finer. */
        int fine = scale + b.scale > a.scale ? scale + b.scale : a.scale;
        longnum_t la = long_of(a, fine), lb = long_of((sh_decimal_t){b.units, b.scale}, fine - scale), lq = long_of(q, scale);
        longnum_t product = long_mul(&lq, &lb);
        product.negative = !product.negative;
        if (long_length(&product) == 0) product.negative = false;
        longnum_t rest = long_add(la, product);
        longnum_t twice = long_add(rest, rest);
        lb.negative = twice.negative = false;
        rest.negative = long_length(&rest) > 0 && rest.negative;
        if (mode == SH_ROUND_DOWN || mode == SH_ROUND_UP) {
            bool magnitude_grew = long_length(&rest) > 0 && rest.negative != la.negative;
            if (long_length(&rest) > 0) assert_int_equal(magnitude_grew, mode == SH_ROUND_UP);
            rest.negative = false;
            assert_true(long_compare_magnitude(&rest, &lb) < 0);
        } else {
            assert_true(long_compare_magnitude(&twice, &lb) <= 0);
        }
    }
    assert_true(tried > 5000);
}

static void rounds_by_mode(void **state) {
    (void)state;
    static const struct {
        const char *in, *half_up, *half_even, *down, *up;
    } table[] = {
        {"2.345", "2.35", "2.34", "2.34", "2.35"},
        {"2.355", "2.36", "2.36", "2.35", "2.36"},
        {"-2.345", "-2.35", "-2.34", "-2.34", "-2.35"},
        {"2.3449", "2.34", "2.34", "2.34", "2.35"},
        {"2.3451", "2.35", "2.35", "2.34", "2.35"},
        {"0.004", "0.00", "0.00", "0.00", "0.01"},
        {"-0.004", "0.00", "0.00", "0.00", "-0.01"},
        {"0.995", "1.00", "1.00", "0.99", "1.00"},
        {"7", "7.00", "7.00", "7.00", "7.00"},
        {"99999999999999999999.995", "100000000000000000000.00", "100000000000000000000.00", "99999999999999999999.99", "100000000000000000000.00"},
    };
    for (size_t i = 0; i < SH_ARRAY_LEN(table); i++) {
        const char *expected[] = {table[i].half_up, table[i].half_even, table[i].down, table[i].up};
        for (int mode = SH_ROUND_HALF_UP; mode <= SH_ROUND_UP; mode++) {
            sh_decimal_t d, q;
            assert_int_equal(sh_decimal_round(D(table[i].in), 2, (sh_rounding_t)mode, &d), SH_OK);
            assert_is(d, expected[mode]);
            assert_int_equal(sh_decimal_div(D(table[i].in), D("1"), 2, (sh_rounding_t)mode, &q), SH_OK);
            assert_is(q, expected[mode]);
        }
    }
    sh_decimal_t d;
    assert_int_equal(sh_decimal_round(D("1"), 13, SH_ROUND_DOWN, &d), SH_EINVAL);
    assert_int_equal(sh_decimal_round(D("1"), -1, SH_ROUND_DOWN, &d), SH_EINVAL);
    assert_int_equal(sh_decimal_round(D("999999999999999999999999999999"), 1, SH_ROUND_DOWN, &d), SH_ELIMIT);
    assert_int_equal(sh_decimal_round(D("99999999999999999999999999999.9"), 0, SH_ROUND_UP, &d), SH_OK);
    assert_int_equal(sh_decimal_div(D("10"), D("3"), 6, SH_ROUND_HALF_EVEN, &d), SH_OK);
    assert_is(d, "3.333333");
    /* A divisor that outgrows 128 bits when brought to the dividend's places. */
    assert_int_equal(sh_decimal_div(D("0.000000000001"), D("999999999999999999999999999999"), 0, SH_ROUND_UP, &d), SH_OK);
    assert_is(d, "1");
}

static void becomes_the_nearest_double(void **state) {
    (void)state;
    static const char *const texts[] = {"0",
                                        "0.00",
                                        "0.10",
                                        "-0.10",
                                        "4498.76",
                                        "99999999.99",
                                        "9007199254740992",
                                        "9007199254740993",
                                        "90071992547409.93",
                                        "0.000000000001",
                                        "-1234567890123456789.123456789",
                                        "999999999999999999999999999999"};
    for (size_t i = 0; i < SH_ARRAY_LEN(texts); i++) assert_true(sh_decimal_to_double(D(texts[i])) == strtod(texts[i], NULL));
    srand(7);
    for (int i = 0; i < 100000; i++) {
        char text[40];
        snprintf(text, sizeof text, "%d.%0*d", rand() - RAND_MAX / 2, 1 + i % 8, rand() % 10);
        if (text[0] == '-' && atof(text) == 0) continue;
        assert_true(sh_decimal_to_double(D(text)) == strtod(text, NULL));
    }
}

static void knows_its_modes(void **state) {
    (void)state;
    sh_rounding_t mode;
    assert_int_equal(sh_rounding_of(SH_STR("half_even"), &mode), SH_OK);
    assert_int_equal(mode, SH_ROUND_HALF_EVEN);
    assert_int_equal(sh_rounding_of(SH_STR("up"), &mode), SH_OK);
    assert_int_equal(mode, SH_ROUND_UP);
    assert_int_equal(sh_rounding_of(SH_STR("half"), &mode), SH_EINVAL);
    assert_int_equal(sh_rounding_of(SH_STR_NULL, &mode), SH_EINVAL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_and_writes),          cmocka_unit_test(agrees_with_long_arithmetic),
        cmocka_unit_test(quotients_are_the_nearest), cmocka_unit_test(rounds_by_mode),
        cmocka_unit_test(knows_its_modes),           cmocka_unit_test(becomes_the_nearest_double),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
