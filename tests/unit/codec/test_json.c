/* Proves that the JSON reader takes exactly RFC 8259 (less what json.h refuses), with the offset and reason of each refusal, keeps
 * integers exact and text as written, and that what is written reads back the same: by tables of texts. */
#include "base/err.h"
#include "codec/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

/* Reads from a heap copy of exactly the text's length, so that the sanitizer sees any step beyond it. */
static int read_text(sh_arena_t *arena, const char *bytes, size_t len, sh_json_limits_t limits, sh_json_value_t **out, sh_json_error_t *error) {
    char *copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, len);
    sh_json_value_t *value = NULL;
    int status = sh_json_read(arena, sh_str(copy, len), limits, &value, error);
    sh_buf_t written = {0};
    if (status == SH_OK) sh_json_write(&written, value);
    free(copy);
    if (status == SH_OK) { /* strings pointed into the copy: read again from memory that stays */
        sh_str_t kept = sh_arena_str(arena, sh_str(bytes, len));
        assert_int_equal(sh_json_read(arena, kept, limits, out, error), SH_OK);
    }
    sh_buf_dispose(&written);
    return status;
}

typedef struct refusal {
    sh_str_t text;
    size_t offset;
    const char *reason;
} refusal_t;

static const refusal_t refusals[] = {
    {SH_STR(""), 0, "value expected"},
    {SH_STR("  "), 2, "value expected"},
    {SH_STR("\xef\xbb\xbf{}"), 0, "byte order mark is not allowed"},
    {SH_STR("{} {}"), 3, "text after the value"},
    {SH_STR("1 2"), 2, "text after the value"},
    {SH_STR("[1]]"), 3, "text after the value"},
    {SH_STR("{}\0"), 2, "text after the value"},
    {SH_STR("01"), 0, "number with a leading zero"},
    {SH_STR("-01"), 0, "number with a leading zero"},
    {SH_STR("00"), 0, "number with a leading zero"},
    {SH_STR("1."), 2, "digit expected after the point"},
    {SH_STR("1.e3"), 2, "digit expected after the point"},
    {SH_STR("+1"), 0, "value expected"},
    {SH_STR(".5"), 0, "value expected"},
    {SH_STR("-"), 1, "digit expected"},
    {SH_STR("-.5"), 1, "digit expected"},
    {SH_STR("- 1"), 1, "digit expected"},
    {SH_STR("1e"), 2, "digit expected in the exponent"},
    {SH_STR("1e+"), 3, "digit expected in the exponent"},
    {SH_STR("0x10"), 1, "text after the value"},
    {SH_STR("[0x10]"), 2, "',' or ']' expected"},
    {SH_STR("1_000"), 1, "text after the value"},
    {SH_STR("NaN"), 0, "value expected"},
    {SH_STR("nan"), 0, "unknown word"},
    {SH_STR("Infinity"), 0, "value expected"},
    {SH_STR("-Infinity"), 1, "digit expected"},
    {SH_STR("True"), 0, "value expected"},
    {SH_STR("tru"), 0, "unknown word"},
    {SH_STR("truex"), 4, "text after the value"},
    {SH_STR("nul"), 0, "unknown word"},
    {SH_STR("{\"a\":1,\"a\":2}"), 7, "duplicate key"},
    {SH_STR("{\"a\":1,\"b\":{},\"\\u0061\":2}"), 14, "duplicate key"},
    {SH_STR("{\"\":1,\"\":2}"), 6, "duplicate key"},
    {SH_STR("[{\"a\":{\"b\":1,\"b\":1}}]"), 13, "duplicate key"},
    {SH_STR("{a:1}"), 1, "a key in quotes expected"},
    {SH_STR("{'a':1}"), 1, "a key in quotes expected"},
    {SH_STR("{1:1}"), 1, "a key in quotes expected"},
    {SH_STR("{\"a\":1,}"), 7, "a key in quotes expected"},
    {SH_STR("{,}"), 1, "a key in quotes expected"},
    {SH_STR("{\"a\" 1}"), 5, "':' expected"},
    {SH_STR("{\"a\"}"), 4, "':' expected"},
    {SH_STR("{\"a\":}"), 5, "value expected"},
    {SH_STR("{\"a\":1"), 6, "object without end"},
    {SH_STR("{\"a\":1,"), 7, "object without end"},
    {SH_STR("{\"a\":1]"), 6, "',' or '}' expected"},
    {SH_STR("{\"a\":1 \"b\":2}"), 7, "',' or '}' expected"},
    {SH_STR("{"), 1, "object without end"},
    {SH_STR("["), 1, "value expected"},
    {SH_STR("[1,]"), 3, "value expected"},
    {SH_STR("[,1]"), 1, "value expected"},
    {SH_STR("[1"), 2, "array without end"},
    {SH_STR("[1 2]"), 3, "',' or ']' expected"},
    {SH_STR("[1}"), 2, "',' or ']' expected"},
    {SH_STR("]"), 0, "value expected"},
    {SH_STR("// x\n1"), 0, "value expected"},
    {SH_STR("/**/1"), 0, "value expected"},
    {SH_STR("\v1"), 0, "value expected"},
    {SH_STR("\xc2\xa0"
            "1"),
     0, "value expected"},
    {SH_STR("\"abc"), 4, "string without end"},
    {SH_STR("\""), 1, "string without end"},
    {SH_STR("\"a\\"), 2, "string without end"},
    {SH_STR("\"a\\\""), 2, "string without end"},
    {SH_STR("\"a\\n\\"), 2, "string without end"},
    {SH_STR("'a'"), 0, "value expected"},
    {SH_STR("\"a\nb\""), 2, "control character in a string"},
    {SH_STR("\"a\tb\""), 2, "control character in a string"},
    {SH_STR("\"a\0b\""), 2, "control character in a string"},
    {SH_STR("\"\\n\x1f\""), 3, "control character in a string"},
    {SH_STR("\"\\x41\""), 1, "unknown escape"},
    {SH_STR("\"\\a\""), 1, "unknown escape"},
    {SH_STR("\"\\'\""), 1, "unknown escape"},
    {SH_STR("\"\\U0041\""), 1, "unknown escape"},
    {SH_STR("\"\\u00\""), 3, "incomplete \\u escape"},
    {SH_STR("\"\\u00\" "), 5, "\\u needs four hexadecimal digits"},
    {SH_STR("\"\\u00g0\""), 5, "\\u needs four hexadecimal digits"},
    {SH_STR("\"\\u0000\""), 1, "\\u0000 is not allowed"},
    {SH_STR("\"ab\\u0000\""), 3, "\\u0000 is not allowed"},
    {SH_STR("\"\\ud800\""), 1, "unpaired surrogate"},
    {SH_STR("\"\\ud800x\""), 1, "unpaired surrogate"},
    {SH_STR("\"\\ud800\\n\""), 1, "unpaired surrogate"},
    {SH_STR("\"\\ud800\\ud800\""), 1, "unpaired surrogate"},
    {SH_STR("\"\\ud83d\\u0041\""), 1, "unpaired surrogate"},
    {SH_STR("\"\\udc00\""), 1, "unpaired surrogate"},
    {SH_STR("\"\\ude00\\ud83d\""), 1, "unpaired surrogate"},
    {SH_STR("\"\x80\""), 1, "invalid UTF-8"},
    {SH_STR("\"\xff\""), 1, "invalid UTF-8"},
    {SH_STR("\"a\xc3\""), 2, "invalid UTF-8"},
    {SH_STR("\"\xc0\xaf\""), 1, "invalid UTF-8"},
    {SH_STR("\"\xc1\xbf\""), 1, "invalid UTF-8"},
    {SH_STR("\"\xe0\x80\xaf\""), 1, "invalid UTF-8"},
    {SH_STR("\"\xe0\x9f\xbf\""), 1, "invalid UTF-8"},
    {SH_STR("\"\xed\xa0\x80\""), 1, "invalid UTF-8"},
    {SH_STR("\"\xed\xbf\xbf\""), 1, "invalid UTF-8"},
    {SH_STR("\"\xf0\x8f\xbf\xbf\""), 1, "invalid UTF-8"},
    {SH_STR("\"\xf4\x90\x80\x80\""), 1, "invalid UTF-8"},
    {SH_STR("\"\xf5\x80\x80\x80\""), 1, "invalid UTF-8"},
    {SH_STR("\"\xe2\x82\""), 1, "invalid UTF-8"},
    {SH_STR("\"\xf0\x9f\x98\""), 1, "invalid UTF-8"},
    {SH_STR("\"\xe2\x82"), 1, "invalid UTF-8"},
    {SH_STR("\"\\n\xf0\x9f\x98\""), 3, "invalid UTF-8"},
    {SH_STR("{\"\xff\":1}"), 2, "invalid UTF-8"},
};

static void refuses_what_is_not_json(void **state) {
    (void)state;
    for (size_t i = 0; i < SH_ARRAY_LEN(refusals); i++) {
        const refusal_t *c = &refusals[i];
        sh_arena_t arena;
        sh_arena_init(&arena);
        sh_json_value_t *value = NULL;
        sh_json_error_t error = {0};
        int status = read_text(&arena, c->text.ptr, c->text.len, SH_JSON_LIMITS_DEFAULT, &value, &error);
        if (status != SH_EINVAL || error.offset != c->offset || strcmp(error.reason, c->reason) != 0)
            fail_msg("%.*s: status %d, \"%s\" at %zu, expected \"%s\" at %zu", (int)c->text.len, c->text.ptr, status,
                     error.reason ? error.reason : "", error.offset, c->reason, c->offset);
        assert_null(value);
        sh_arena_dispose(&arena);
    }
}

static sh_json_value_t *must_read(sh_arena_t *arena, const char *text) {
    sh_json_value_t *value = NULL;
    sh_json_error_t error = {0};
    int status = read_text(arena, text, strlen(text), SH_JSON_LIMITS_DEFAULT, &value, &error);
    if (status != SH_OK) fail_msg("%s: %s at %zu", text, error.reason, error.offset);
    return value;
}

static void writes_what_it_read(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"null", "null"},
        {" true ", "true"},
        {"\t\r\nfalse\n", "false"},
        {"0", "0"},
        {"-1", "-1"},
        {"9223372036854775807", "9223372036854775807"},
        {"-9223372036854775808", "-9223372036854775808"},
        {"9223372036854775808", "9223372036854775808"},
        {"9007199254740993", "9007199254740993"},
        {"123456789012345678901234567890", "123456789012345678901234567890"},
        {"1.50", "1.50"},
        {"1e3", "1e3"},
        {"-0.0E-2", "-0.0E-2"},
        {"0e0", "0e0"},
        {"\"\"", "\"\""},
        {"\"a\\/b\"", "\"a/b\""},
        {"\"\\u00e1\\n\\\"\\\\\"", "\"\xc3\xa1\\n\\\"\\\\\""},
        {"\"\\ud83d\\ude00\"", "\"\xf0\x9f\x98\x80\""},
        {"\"\\b\\f\\t\\r\"", "\"\\u0008\\u000c\\t\\r\""},
        {"\"\xf4\x8f\xbf\xbf\xef\xbf\xbf\xed\x9f\xbf\xe0\xa0\x80\"", "\"\xf4\x8f\xbf\xbf\xef\xbf\xbf\xed\x9f\xbf\xe0\xa0\x80\""},
        {"[]", "[]"},
        {"{}", "{}"},
        {"[ ]", "[]"},
        {"{ }", "{}"},
        {"[[],{},[[]]]", "[[],{},[[]]]"},
        {"{\"b\" : 1 , \"a\" : [ 1 , { \"c\" : null } ] }", "{\"b\":1,\"a\":[1,{\"c\":null}]}"},
        {"{\"\":{\"\":\"\"}}", "{\"\":{\"\":\"\"}}"},
    };
    for (size_t i = 0; i < SH_ARRAY_LEN(cases); i++) {
        sh_arena_t arena;
        sh_buf_t out = {0};
        sh_arena_init(&arena);
        sh_json_write(&out, must_read(&arena, cases[i][0]));
        assert_string_equal(sh_buf_c(&out), cases[i][1]);
        sh_buf_dispose(&out);
        sh_arena_dispose(&arena);
    }
}

static void keeps_kinds_and_integers_exact(void **state) {
    (void)state;
    sh_arena_t arena;
    sh_arena_init(&arena);
    const sh_json_value_t *v = must_read(&arena, "[9007199254740993,-9223372036854775808,9223372036854775808,1.0,1e2,-0,\"x\",null]");
    assert_int_equal(v->kind, SH_JSON_ARRAY);
    assert_int_equal(v->count, 8);
    assert_int_equal(v->items[0].kind, SH_JSON_INTEGER);
    assert_true(v->items[0].i64 == INT64_C(9007199254740993));
    assert_true(v->items[1].kind == SH_JSON_INTEGER && v->items[1].i64 == INT64_MIN);
    assert_int_equal(v->items[2].kind, SH_JSON_NUMBER);
    assert_true(v->items[2].f64 == 9223372036854775808.0);
    assert_true(sh_str_eq_c(v->items[2].text, "9223372036854775808"));
    assert_int_equal(v->items[3].kind, SH_JSON_NUMBER);
    assert_true(sh_str_eq_c(v->items[3].text, "1.0"));
    assert_true(v->items[4].kind == SH_JSON_NUMBER && v->items[4].f64 == 100.0);
    assert_true(v->items[5].kind == SH_JSON_INTEGER && v->items[5].i64 == 0);
    assert_int_equal(v->items[6].kind, SH_JSON_STRING);
    assert_int_equal(v->items[7].kind, SH_JSON_NULL);
    sh_arena_dispose(&arena);
}

static void finds_members(void **state) {
    (void)state;
    sh_arena_t arena;
    sh_arena_init(&arena);
    const sh_json_value_t *v = must_read(&arena, "{\"a\":1,\"ab\":2,\"\\u00e1\":3}");
    assert_true(sh_json_get(v, "ab")->i64 == 2);
    assert_true(sh_json_get(v, "\xc3\xa1")->i64 == 3);
    assert_null(sh_json_get(v, "b"));
    assert_null(sh_json_get(sh_json_get(v, "a"), "a"));
    assert_null(sh_json_get(NULL, "a"));
    sh_arena_dispose(&arena);
}

static char *nested(int depth) {
    char *text = malloc((size_t)depth * 2 + 1);
    assert_non_null(text);
    memset(text, '[', (size_t)depth);
    memset(text + depth, ']', (size_t)depth);
    text[depth * 2] = 0;
    return text;
}

static int read_status(const char *text, sh_json_limits_t limits, const char **reason) {
    sh_arena_t arena;
    sh_json_value_t *value;
    sh_json_error_t error = {0};
    sh_arena_init(&arena);
    int status = read_text(&arena, text, strlen(text), limits, &value, &error);
    sh_arena_dispose(&arena);
    *reason = error.reason;
    return status;
}

static void holds_its_limits(void **state) {
    (void)state;
    const char *reason;
    static const struct {
        int depth;
        uint32_t limit;
        int status;
    } cases[] = {
        {32, 32, SH_OK},      {33, 32, SH_ELIMIT},      {100, 32, SH_ELIMIT},        {100, 100, SH_OK},
        {512, 100000, SH_OK}, {513, 100000, SH_ELIMIT}, {100000, 100000, SH_ELIMIT},
    };
    for (size_t i = 0; i < SH_ARRAY_LEN(cases); i++) {
        char *text = nested(cases[i].depth);
        assert_int_equal(read_status(text, (sh_json_limits_t){cases[i].limit, 1000}, &reason), cases[i].status);
        if (cases[i].status) assert_string_equal(reason, "nested too deeply");
        free(text);
    }
    /* siblings do not add to the depth */
    assert_int_equal(read_status("[[],[],{},{\"a\":[]}]", (sh_json_limits_t){3, 100}, &reason), SH_OK);
    assert_int_equal(read_status("[1,2,{\"a\":3}]", (sh_json_limits_t){3, 5}, &reason), SH_OK);
    assert_int_equal(read_status("[1,2,{\"a\":3}]", (sh_json_limits_t){3, 4}, &reason), SH_ELIMIT);
    assert_string_equal(reason, "too many values");

    char digits[200];
    memset(digits, '7', sizeof digits);
    digits[128] = 0;
    assert_int_equal(read_status(digits, SH_JSON_LIMITS_DEFAULT, &reason), SH_OK);
    digits[128] = '7', digits[129] = 0;
    assert_int_equal(read_status(digits, SH_JSON_LIMITS_DEFAULT, &reason), SH_ELIMIT);
    assert_string_equal(reason, "number too long");
    assert_int_equal(read_status("1e999", SH_JSON_LIMITS_DEFAULT, &reason), SH_ELIMIT);
    assert_string_equal(reason, "number out of range");
}

/* Objects beyond the linear search: every key is found again, and a duplicate of any earlier key is refused. */
static void finds_duplicates_in_large_objects(void **state) {
    (void)state;
    enum { KEYS = 1000 };
    static const int twins[] = {-1, 0, 15, 16, 17, 500, KEYS - 1};
    for (size_t t = 0; t < SH_ARRAY_LEN(twins); t++) {
        sh_arena_t arena;
        sh_buf_t text = {0};
        sh_json_value_t *v = NULL;
        sh_json_error_t error = {0};
        sh_arena_init(&arena);
        sh_buf_put_byte(&text, '{');
        for (int i = 0; i < KEYS; i++) sh_buf_printf(&text, "\"key%d\":[%d],", i, i);
        size_t at = text.len;
        if (twins[t] >= 0)
            sh_buf_printf(&text, "\"\\u006bey%d\":0}", twins[t]);
        else
            sh_buf_printf(&text, "\"other\":0}");
        int status = read_text(&arena, text.ptr, text.len, SH_JSON_LIMITS_DEFAULT, &v, &error);
        if (twins[t] >= 0) {
            assert_int_equal(status, SH_EINVAL);
            assert_string_equal(error.reason, "duplicate key");
            assert_int_equal(error.offset, at);
        } else {
            assert_int_equal(status, SH_OK);
            assert_int_equal(v->count, KEYS + 1);
            for (int i = 0; i < KEYS; i++) {
                char key[16];
                snprintf(key, sizeof key, "key%d", i);
                assert_true(sh_json_get(v, key)->items[0].i64 == i);
            }
        }
        sh_buf_dispose(&text);
        sh_arena_dispose(&arena);
    }
}

/* Every prefix of a valid text is refused, and none reads beyond its end (the sanitizer watches the heap copy). */
static void refuses_every_prefix(void **state) {
    (void)state;
    static const char text[] = "{\"a\":[1.5e-3,\"x\\u00e1\\ud83d\\ude00\xc3\xb1\xe2\x82\xac\",{\"b\":true,\"c\":null}],\"d\":false}";
    for (size_t len = 0; len < sizeof text; len++) {
        sh_arena_t arena;
        sh_json_value_t *v;
        sh_json_error_t error;
        sh_arena_init(&arena);
        int status = read_text(&arena, text, len, SH_JSON_LIMITS_DEFAULT, &v, &error);
        assert_int_equal(status, len == sizeof text - 1 ? SH_OK : SH_EINVAL);
        if (status) assert_true(error.offset <= len);
        sh_arena_dispose(&arena);
    }
}

static void judges_utf8(void **state) {
    (void)state;
    assert_true(sh_utf8_is_valid(SH_STR("")));
    assert_true(sh_utf8_is_valid(SH_STR("ma\xc3\xb1"
                                        "ana \xe2\x82\xac \xf0\x9f\x98\x80")));
    assert_true(sh_utf8_is_valid(SH_STR("\xee\x80\x80\xf4\x8f\xbf\xbf")));
    assert_false(sh_utf8_is_valid(SH_STR("a\x80")));
    assert_false(sh_utf8_is_valid(SH_STR("\xc3")));
    assert_false(sh_utf8_is_valid(SH_STR("\xed\xa0\x80")));
    assert_false(sh_utf8_is_valid(SH_STR("\xf4\x90\x80\x80")));
    assert_false(sh_utf8_is_valid(SH_STR("\xc0\x80")));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_what_is_not_json),
        cmocka_unit_test(writes_what_it_read),
        cmocka_unit_test(keeps_kinds_and_integers_exact),
        cmocka_unit_test(finds_members),
        cmocka_unit_test(holds_its_limits),
        cmocka_unit_test(finds_duplicates_in_large_objects),
        cmocka_unit_test(refuses_every_prefix),
        cmocka_unit_test(judges_utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
