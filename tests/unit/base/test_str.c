/* Proves that slices compare, parse and suggest as str.h says: tables of cases at the borders. */
#include "base/err.h"
#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void compares(void **state) {
    (void)state;
    assert_true(sh_str_eq(SH_STR_NULL, SH_STR("")));
    assert_true(sh_str_eq(SH_STR("a\0b"), SH_STR("a\0b")));
    assert_false(sh_str_eq(SH_STR("a\0b"), SH_STR("a\0c")));
    assert_false(sh_str_eq(SH_STR("ab"), SH_STR("abc")));
    assert_true(sh_str_eq_nocase(SH_STR("Content-Type"), SH_STR("cONTENT-tYPE")));
    assert_false(sh_str_eq_nocase(SH_STR("a["), SH_STR("a{"))); /* 32 apart like letters, and no letters */
    assert_false(sh_str_eq_nocase(SH_STR("\xc3\x81"), SH_STR("\xc3\xa1")));
    assert_true(sh_str_has_prefix(SH_STR("Bearer x"), SH_STR("Bearer ")));
    assert_false(sh_str_has_prefix(SH_STR("Bear"), SH_STR("Bearer")));
    assert_true(sh_str_has_prefix(SH_STR("x"), SH_STR("")));
    assert_true(sh_str_has_prefix(SH_STR_NULL, SH_STR_NULL));
    assert_int_equal(sh_str_of(NULL).len, 0);
}

static void parses_integers(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t value;
    } good[] = {
        {"0", 0}, {"7", 7}, {"-7", -7}, {"9223372036854775807", INT64_MAX}, {"-9223372036854775808", INT64_MIN},
    };
    for (size_t i = 0; i < SH_ARRAY_LEN(good); i++) {
        int64_t n = 42;
        assert_int_equal(sh_str_to_i64(sh_str_of(good[i].text), &n), SH_OK);
        assert_true(n == good[i].value);
    }
    static const char *const bad[] = {"",
                                      "-",
                                      "+1",
                                      " 1",
                                      "1 ",
                                      "01",
                                      "-0",
                                      "-01",
                                      "00",
                                      "1.0",
                                      "1e3",
                                      "0x1",
                                      "9223372036854775808",
                                      "-9223372036854775809",
                                      "99999999999999999999",
                                      "12345678901234567890123",
                                      "1a",
                                      "--1"};
    for (size_t i = 0; i < SH_ARRAY_LEN(bad); i++) {
        int64_t n = 42;
        assert_int_equal(sh_str_to_i64(sh_str_of(bad[i]), &n), SH_EINVAL);
        assert_true(n == 42);
    }
    int64_t n = 0;
    assert_int_equal(sh_str_to_i64(sh_str("123", 2), &n), SH_OK); /* the slice, not the NUL, ends it */
    assert_true(n == 12);
}

static void knows_uuids(void **state) {
    (void)state;
    assert_true(sh_str_is_uuid(SH_STR("0192f0c1-2345-7abc-8def-0123456789ab")));
    assert_true(sh_str_is_uuid(SH_STR("0192F0C1-2345-7ABC-8DEF-0123456789AB")));
    assert_false(sh_str_is_uuid(SH_STR("0192f0c1-2345-7abc-8def-0123456789a")));
    assert_false(sh_str_is_uuid(SH_STR("0192f0c1-2345-7abc-8def-0123456789abc")));
    assert_false(sh_str_is_uuid(SH_STR("0192f0c1-2345-7abc-8def-0123456789ag")));
    for (size_t at = 0; at < 36; at++) { /* a character that is wrong everywhere */
        char text[37] = "0192f0c1-2345-7abc-8def-0123456789ab";
        text[at] = 'x';
        assert_false(sh_str_is_uuid(sh_str(text, 36)));
    }
    assert_false(sh_str_is_uuid(SH_STR("0192f0c12345-7abc-8def--0123456789ab")));
    assert_false(sh_str_is_uuid(SH_STR("0192f0c1-2345-7abc-8def-01234567\0009a")));
    assert_false(sh_str_is_uuid(SH_STR("0192f0c1-2345-7abc-8def-0123456789a`")));
    assert_false(sh_str_is_uuid(SH_STR("0192f0c1-2345-7abc-8def-0123456789a@")));
    assert_false(sh_str_is_uuid(SH_STR("")));
}

static void hashes_like_fnv_1a(void **state) {
    (void)state;
    assert_true(sh_str_hash(SH_STR("")) == UINT64_C(0xcbf29ce484222325));
    assert_true(sh_str_hash(SH_STR("a")) == UINT64_C(0xaf63dc4c8601ec8c));
    assert_true(sh_str_hash(SH_STR("foobar")) == UINT64_C(0x85944171f73967e8));
}

static void suggests_the_nearest(void **state) {
    (void)state;
    static const char *const names[] = {"quantity", "product_id", "discount_percent", "id"};
    size_t n = SH_ARRAY_LEN(names);
    assert_string_equal(sh_str_nearest("quantity", names, n), "quantity");
    assert_string_equal(sh_str_nearest("quantty", names, n), "quantity");      /* a letter missing */
    assert_string_equal(sh_str_nearest("quanttiy", names, n), "quantity");     /* two swapped */
    assert_string_equal(sh_str_nearest("prodct_ids", names, n), "product_id"); /* missing and more */
    assert_null(sh_str_nearest("price", names, n));
    assert_null(sh_str_nearest("", names, n));
    assert_null(sh_str_nearest("quantity", names, 0));
    /* at most a third of the name: two of six, not three */
    static const char *const one[] = {"abcdef"};
    assert_string_equal(sh_str_nearest("abcdxx", one, 1), "abcdef");
    assert_null(sh_str_nearest("abcxxx", one, 1));
    assert_null(sh_str_nearest("ix", names, n));
    /* the nearer of two, whatever the order */
    static const char *const two[] = {"customers", "customer"}, *const swapped[] = {"customer", "customers"};
    assert_string_equal(sh_str_nearest("custmer", two, 2), "customer");
    assert_string_equal(sh_str_nearest("custmer", swapped, 2), "customer");
    char big[200];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = 0;
    const char *const bigs[] = {big};
    assert_null(sh_str_nearest("x", bigs, 1));
    assert_null(sh_str_nearest(big, bigs, 1));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compares),           cmocka_unit_test(parses_integers),      cmocka_unit_test(knows_uuids),
        cmocka_unit_test(hashes_like_fnv_1a), cmocka_unit_test(suggests_the_nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
