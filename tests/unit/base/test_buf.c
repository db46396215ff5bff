/* Proves that a buffer keeps what is put, whatever the growth, and writes numbers and JSON strings as they should be. */
#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

static void grows_and_keeps(void **state) {
    (void)state;
    sh_buf_t b = {0};
    assert_null(b.ptr);
    for (int i = 0; i < 10000; i++) sh_buf_put_byte(&b, (char)i);
    assert_int_equal(b.len, 10000);
    for (int i = 0; i < 10000; i++) assert_int_equal((unsigned char)b.ptr[i], (unsigned char)i);
    size_t cap = b.cap;
    sh_buf_clear(&b);
    assert_int_equal(b.cap, cap);
    char *big = calloc(1, 100000);
    assert_non_null(big);
    sh_buf_put(&b, big, 100000); /* more than twice the capacity at once */
    free(big);
    assert_int_equal(b.len, 100000);
    sh_buf_put(&b, NULL, 0);
    sh_buf_put_str(&b, SH_STR_NULL);
    assert_int_equal(b.len, 100000);
    sh_buf_dispose(&b);
    assert_null(b.ptr);
    sh_buf_dispose(&b);
}

static void writes_numbers(void **state) {
    (void)state;
    sh_buf_t b = {0};
    static const int64_t numbers[] = {0, 7, -7, 10, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < SH_ARRAY_LEN(numbers); i++) {
        char expected[32];
        snprintf(expected, sizeof expected, "%lld", (long long)numbers[i]);
        sh_buf_clear(&b);
        sh_buf_put_i64(&b, numbers[i]);
        assert_string_equal(sh_buf_c(&b), expected);
    }
    sh_buf_clear(&b);
    sh_buf_put_u64(&b, UINT64_MAX);
    assert_string_equal(sh_buf_c(&b), "18446744073709551615");
    assert_int_equal(b.len, 20); /* the NUL is not counted */
    sh_buf_clear(&b);
    sh_buf_printf(&b, "%s-%d", "x", 5);
    sh_buf_printf(&b, "%500s", "y"); /* longer than what is left */
    assert_int_equal(b.len, 503);
    assert_memory_equal(b.ptr, "x-5 ", 4);
    sh_buf_dispose(&b);
}

static void writes_json_strings(void **state) {
    (void)state;
    static const struct {
        sh_str_t text;
        const char *json;
    } cases[] = {
        {SH_STR(""), "\"\""},
        {SH_STR_NULL, "\"\""},
        {SH_STR("plain"), "\"plain\""},
        {SH_STR("\""), "\"\\\"\""},
        {SH_STR("a\\b\"c"), "\"a\\\\b\\\"c\""},
        {SH_STR("\n\r\t"), "\"\\n\\r\\t\""},
        {SH_STR("\0\x01\x1f\x7f"), "\"\\u0000\\u0001\\u001f\\u007f\""},
        {SH_STR("ma\xc3\xb1"
                "ana"),
         "\"ma\xc3\xb1"
         "ana\""},
        {SH_STR("\x1b[31m"), "\"\\u001b[31m\""},
    };
    for (size_t i = 0; i < SH_ARRAY_LEN(cases); i++) {
        sh_buf_t b = {0};
        sh_buf_put_json(&b, cases[i].text);
        assert_string_equal(sh_buf_c(&b), cases[i].json);
        sh_buf_dispose(&b);
    }
    sh_buf_t b = {0};
    char controls[600];
    memset(controls, 1, sizeof controls);
    sh_buf_put_json(&b, sh_str(controls, sizeof controls)); /* six times as long as first reserved */
    assert_int_equal(b.len, 2 + 6 * sizeof controls);
    sh_buf_dispose(&b);
}

/* Each byte at each place of texts of each length that the copy treats differently. */
static void tells_plain_texts(void **state) {
    (void)state;
    char text[70], expected[72];
    for (size_t len = 0; len < sizeof text; len++) {
        memset(text, '~', len);
        sh_buf_t b = {0};
        assert_true(sh_buf_put_json_plain(&b, sh_str(text, len)));
        expected[0] = expected[len + 1] = '"';
        memcpy(expected + 1, text, len);
        assert_int_equal(b.len, len + 2);
        assert_memory_equal(b.ptr, expected, len + 2);
        for (size_t at = 0; at < len; at++) {
            for (int c = 0; c < 256; c++) {
                bool is_plain = c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
                text[at] = (char)c;
                sh_buf_clear(&b);
                assert_int_equal(sh_buf_put_json_plain(&b, sh_str(text, len)), is_plain);
                assert_int_equal(b.len, is_plain ? len + 2 : 0);
            }
            text[at] = '~';
        }
        sh_buf_dispose(&b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_and_keeps),
        cmocka_unit_test(writes_numbers),
        cmocka_unit_test(writes_json_strings),
        cmocka_unit_test(tells_plain_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
