/* Proves that every problem is RFC 9457 JSON with all its members in the reader's language, that no code of the edge is without a sentence
 * (by the source of edge/ itself), that each thing the JSON reader says has Spanish words, and that Accept-Language is read as RFC 9110 asks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/err.h"
#include "edge/problem.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#ifndef SHAMA_SOURCE_DIR
#define SHAMA_SOURCE_DIR "."
#endif

static sh_arena_t arena;

static int set_up(void **state) {
    (void)state;
    sh_arena_init(&arena);
    return 0;
}
static int tear_down(void **state) {
    (void)state;
    sh_arena_dispose(&arena);
    return 0;
}

static const sh_json_value_t *written(const sh_problem_t *problem) {
    sh_buf_t out = {0};
    sh_json_value_t *value = NULL;
    sh_json_error_t error = {0};
    sh_problem_write(problem, &out);
    sh_str_t text = sh_arena_str(&arena, sh_buf_str(&out));
    sh_buf_dispose(&out);
    if (sh_json_read(&arena, text, SH_JSON_LIMITS_DEFAULT, &value, &error) != SH_OK)
        fail_msg("%s at %zu of %s", error.reason, error.offset, text.ptr);
    return value;
}
static const char *text_of(const sh_json_value_t *object, const char *key) {
    const sh_json_value_t *v = sh_json_get(object, key);
    if (!v || v->kind != SH_JSON_STRING) fail_msg("no text \"%s\"", key);
    return sh_arena_str(&arena, v->text).ptr;
}

static void writes_every_member(void **state) {
    (void)state;
    sh_problem_t p = {.status = 404, .code = "NOT_FOUND", .request_id = SH_STR("r-1"), .language = "es"};
    const sh_json_value_t *v = written(&p);
    assert_string_equal(text_of(v, "type"), "/problems/not-found");
    assert_string_equal(text_of(v, "title"), "No encontrado");
    assert_true(sh_json_get(v, "status")->i64 == 404);
    assert_string_equal(text_of(v, "detail"), "No existe nada en esta dirección.");
    assert_string_equal(text_of(v, "code"), "NOT_FOUND");
    assert_string_equal(text_of(v, "request_id"), "r-1");
    assert_null(sh_json_get(v, "errors"));
    p.language = "en";
    v = written(&p);
    assert_string_equal(text_of(v, "title"), "Not found");
    assert_string_equal(text_of(v, "detail"), "There is nothing at this address.");
}

static void takes_what_a_rule_brings(void **state) {
    (void)state;
    const sh_problem_t p = {.status = 409,
                            .code = "QUOTATION_NOT_PENDING",
                            .detail = SH_STR("Solo cotizaciones \"PENDING\" pueden aprobarse"),
                            .errors = SH_STR("[{\"pointer\":\"/x\"}]"),
                            .extra = SH_STR("\"current_version\":3"),
                            .request_id = SH_STR(""),
                            .language = "es"};
    const sh_json_value_t *v = written(&p);
    assert_string_equal(text_of(v, "type"), "/problems/quotation-not-pending");
    assert_string_equal(text_of(v, "title"), "Conflicto");
    assert_string_equal(text_of(v, "detail"), "Solo cotizaciones \"PENDING\" pueden aprobarse");
    assert_int_equal(sh_json_get(v, "errors")->count, 1);
    assert_true(sh_json_get(v, "current_version")->i64 == 3);
    /* a code that nobody knows gets the status's words, and cannot break out of the type */
    const sh_problem_t odd = {.status = 499, .code = "A\"B/../C", .request_id = SH_STR("x"), .language = "en"};
    v = written(&odd);
    assert_string_equal(text_of(v, "type"), "/problems/a-b----c");
    assert_string_equal(text_of(v, "detail"), "The request is not well-formed HTTP.");
}

static void has_a_code_for_every_status(void **state) {
    (void)state;
    static const struct {
        int status;
        const char *code;
    } cases[] = {
        {400, "BAD_REQUEST"},        {404, "NOT_FOUND"},
        {405, "METHOD_NOT_ALLOWED"}, {406, "NOT_ACCEPTABLE"},
        {408, "REQUEST_TIMEOUT"},    {413, "BODY_TOO_LARGE"},
        {414, "URI_TOO_LONG"},       {415, "UNSUPPORTED_MEDIA_TYPE"},
        {417, "EXPECTATION_FAILED"}, {431, "HEADERS_TOO_LARGE"},
        {500, "INTERNAL"},           {501, "NOT_IMPLEMENTED"},
        {503, "OVERLOADED"},         {505, "HTTP_VERSION_NOT_SUPPORTED"},
        {418, "BAD_REQUEST"},        {599, "INTERNAL"},
        {0, "BAD_REQUEST"},
    };
    for (size_t i = 0; i < SH_ARRAY_LEN(cases); i++) assert_string_equal(sh_problem_code_of(cases[i].status), cases[i].code);
    for (int status = 400; status < 600; status++) {
        const char *code = sh_problem_code_of(status), *es = sh_problem_sentence(code, "es"), *en = sh_problem_sentence(code, "en");
        if (!es || !en || strcmp(es, en) == 0) fail_msg("%s has no two sentences", code);
    }
}

static char *read_file(const char *path) {
    FILE *f = fopen(path, "r");
    if (!f) fail_msg("%s cannot be read", path);
    char *text = sh_arena_calloc(&arena, 200000);
    size_t n = fread(text, 1, 199999, f);
    fclose(f);
    text[n] = 0;
    return text;
}

/* Every "CODE" behind `before` in a file. */
static int check_codes(const char *path, const char *before) {
    int found = 0;
    for (char *p = read_file(path); (p = strstr(p, before));) {
        p += strlen(before);
        size_t n = strspn(p, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_");
        if (n < 3 || p[n] != '"') continue;
        char code[64];
        snprintf(code, sizeof code, "%.*s", (int)n, p);
        if (!sh_problem_sentence(code, "es") || !sh_problem_sentence(code, "en")) fail_msg("%s: %s has no sentence", path, code);
        found++;
    }
    return found;
}

static void has_a_sentence_for_every_code(void **state) {
    (void)state;
    int found = 0;
    for (int status = 400; status < 600; status++) {
        char before[24];
        snprintf(before, sizeof before, ", %d, \"", status);
        found += check_codes(SHAMA_SOURCE_DIR "/runtime/edge/edge.c", before);
        found += check_codes(SHAMA_SOURCE_DIR "/runtime/edge/input.c", before);
        found += check_codes(SHAMA_SOURCE_DIR "/runtime/edge/auth.c", before);
    }
    assert_true(found >= 12);
    assert_true(check_codes(SHAMA_SOURCE_DIR "/runtime/bind/lua_call.c", "code = \"") >= 4);
    assert_true(check_codes(SHAMA_SOURCE_DIR "/runtime/bind/lua_call.c", "\", \"") >= 5);
}

static void translates_what_the_json_reader_says(void **state) {
    (void)state;
    int found = 0;
    for (char *p = read_file(SHAMA_SOURCE_DIR "/runtime/codec/json.c"); (p = strstr(p, "fail"));) {
        char *open = strchr(p, '"'), *end = strchr(p, ';');
        p += 4;
        if (!open || !end || open > end) continue;
        char reason[80];
        size_t n = 0;
        for (open++; *open != '"' && n < sizeof reason - 1; open++) {
            if (*open == '\\') open++;
            reason[n++] = *open;
        }
        reason[n] = 0;
        const sh_json_error_t error = {7, reason};
        sh_str_t es = sh_problem_json_errors(&error, "es", &arena), en = sh_problem_json_errors(&error, "en", &arena);
        if (sh_str_eq(es, en)) fail_msg("\"%s\" has no Spanish words", reason);
        sh_json_value_t *v;
        sh_json_error_t e;
        assert_int_equal(sh_json_read(&arena, es, SH_JSON_LIMITS_DEFAULT, &v, &e), SH_OK);
        assert_int_equal(sh_json_read(&arena, en, SH_JSON_LIMITS_DEFAULT, &v, &e), SH_OK);
        assert_string_equal(text_of(&v->items[0], "detail"), sh_arena_printf(&arena, "%s (byte 7)", reason));
        found++;
    }
    assert_true(found > 25);
}

static void lists_schema_issues(void **state) {
    (void)state;
    static const sh_schema_t quantity = {.type = SH_SCHEMA_INTEGER, .has_min = true, .min = 1, .has_max = true, .max = 9};
    sh_schema_report_t report = {.arena = &arena, .count = 2};
    report.issues[0] = (sh_schema_issue_t){SH_STR("/items/0/quantity"), "MIN", &quantity};
    report.issues[1] = (sh_schema_issue_t){SH_STR("/a\"b"), "UNKNOWN_FIELD", NULL};
    assert_string_equal(sh_problem_errors(&report, "es").ptr,
                        "[{\"pointer\":\"/items/0/quantity\",\"code\":\"MIN\",\"detail\":\"debe ser un entero entre 1 y 9\"},"
                        "{\"pointer\":\"/a\\\"b\",\"code\":\"UNKNOWN_FIELD\",\"detail\":\"no es un campo conocido\"}]");
    assert_non_null(strstr(sh_problem_errors(&report, "en").ptr, "must be an integer between 1 and 9"));
}

static void chooses_the_language(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"", "es"},
        {"es", "es"},
        {"en", "en"},
        {"EN", "en"},
        {"en-US", "en"},
        {"en-US,en;q=0.9,es;q=0.8", "en"},
        {"es-MX,en;q=0.9", "es"},
        {"en;q=0.8, es;q=0.9", "es"},
        {"en;q=0.9, es;q=0.899", "en"},
        {"es,en", "es"},
        {"en,es", "es"},
        {"fr", "es"},
        {"fr, en;q=0.1", "en"},
        {"*", "es"},
        {"en;q=0.5, *;q=0.1", "en"},
        {"en;q=0.1, *;q=0.5", "es"},
        {"es;q=0, *", "en"},
        {"en;q=0", "es"},
        {"es;q=0, en;q=0", "es"},
        {"es;q=0", "es"},
        {"en ; q=1.0 , es ; q=0.5", "en"},
        {"en;q=2, es;q=0.1", "es"},
        {"en;q=x", "es"},
        {"en;q=0.1234, es;q=0.1", "es"},
        {"english", "es"},
        {"e", "es"},
        {",,;;,en", "en"},
        {"en;level=1;q=0.5", "en"},
        {";q=1", "es"},
        {"en-", "en"},
    };
    for (size_t i = 0; i < SH_ARRAY_LEN(cases); i++) {
        const char *language = sh_problem_language(sh_str_of(cases[i][0]));
        if (strcmp(language, cases[i][1]) != 0) fail_msg("%s: %s", cases[i][0], language);
    }
    assert_string_equal(sh_problem_language(SH_STR_NULL), "es");
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(writes_every_member),
        TEST(takes_what_a_rule_brings),
        TEST(has_a_code_for_every_status),
        TEST(has_a_sentence_for_every_code),
        TEST(translates_what_the_json_reader_says),
        TEST(lists_schema_issues),
        TEST(chooses_the_language),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
