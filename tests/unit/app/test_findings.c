/* Proves that findings keep their place whoever wrote the sentence (Lua, busted, our own checks), come out in order, one line each, and as an array
 * that is JSON whatever stands in a message. How: adds sentences, looks at the fields, the printed lines and the array. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "app/findings.h"
#include "codec/json.h"

#include <stdlib.h>

static void add(sh_findings_t *f, const char *text) { sh_findings_add_text(f, SH_SEVERITY_ERROR, "load", text); }

static void places_are_read(void **state) {
    (void)state;
    static const struct {
        const char *text, *file;
        long line;
        const char *message;
    } cases[] = {
        {"rules/sales/service.lua:12: unexpected symbol near '='", "rules/sales/service.lua", 12, "unexpected symbol near '='"},
        {"rules/sales/service.lua: routes[3] has no roles", "rules/sales/service.lua", 0, "routes[3] has no roles"},
        {"rules/a.lua:7:no space", "rules/a.lua", 7, "no space"},
        {"modules require each other in a circle: a -> b", "", 0, "modules require each other in a circle: a -> b"},
        {"config/proto: protoc is missing", "", 0, "config/proto: protoc is missing"},
        {"nothing of this", "", 0, "nothing of this"},
        {"", "", 0, ""},
        {"rules/a.lua:", "rules/a.lua", 0, ""},
        {"rules/a.lua:-3: odd", "rules/a.lua", 0, "-3: odd"},
        {"rules/a.lua:5: two\nlines\n", "rules/a.lua", 5, "two lines"},
    };
    sh_findings_t f;
    sh_findings_init(&f);
    for (size_t i = 0; i < SH_ARRAY_LEN(cases); i++) {
        add(&f, cases[i].text);
        assert_string_equal(f.items[i].file, cases[i].file);
        assert_int_equal(f.items[i].line, cases[i].line);
        assert_string_equal(f.items[i].message, cases[i].message);
    }
    assert_true(sh_findings_has(&f, "rules/a.lua", 7));
    assert_false(sh_findings_has(&f, "rules/a.lua", 8));
    sh_findings_dispose(&f);
}

static char *printed(const sh_findings_t *f, bool colour) {
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    sh_findings_print(f, out, colour);
    fclose(out);
    return text;
}

static void they_are_sorted_and_printed_a_line_each(void **state) {
    (void)state;
    sh_findings_t f;
    sh_findings_init(&f);
    add(&f, "rules/b.lua:10: later");
    add(&f, "rules/b.lua:9: earlier");
    sh_findings_add(&f, SH_SEVERITY_WARNING, "message-unused", "rules/a.lua", 3, "nothing uses X; remove it");
    add(&f, "no place");
    sh_findings_sort(&f);
    char *text = printed(&f, false);
    assert_string_equal(text, "no place\nrules/a.lua:3: warning: nothing uses X; remove it\nrules/b.lua:9: earlier\nrules/b.lua:10: later\n");
    free(text);
    text = printed(&f, true);
    assert_non_null(strstr(text, "\033[31m"));
    assert_non_null(strstr(text, "rules/b.lua:9:"));
    free(text);
    assert_int_equal(sh_findings_errors(&f), 3);
    sh_findings_dispose(&f);
}

static void the_array_is_json(void **state) {
    (void)state;
    sh_findings_t f;
    sh_buf_t out = {0};
    sh_arena_t arena;
    sh_json_value_t *value;
    sh_json_error_t problem;
    sh_findings_init(&f);
    sh_arena_init(&arena);
    add(&f, "rules/a.lua:3: a \"quote\", a \\ and a \x01");
    for (int i = 0; i < 40; i++) sh_findings_add(&f, SH_SEVERITY_WARNING, "c", "f.lua", i, "m"); /* the list grows */
    sh_findings_put_json(&f, &out);
    assert_int_equal(sh_json_read(&arena, sh_buf_str(&out), SH_JSON_LIMITS_DEFAULT, &value, &problem), 0);
    assert_int_equal(value->kind, SH_JSON_ARRAY);
    assert_int_equal(value->count, 41);
    const sh_json_value_t *message = sh_json_get(&value->items[0], "message"), *severity = sh_json_get(&value->items[1], "severity");
    assert_true(sh_str_eq_c(message->text, "a \"quote\", a \\ and a \x01"));
    assert_true(sh_str_eq_c(severity->text, "warning"));
    assert_int_equal(sh_json_get(&value->items[0], "line")->i64, 3);
    sh_arena_dispose(&arena);
    sh_buf_dispose(&out);
    sh_findings_dispose(&f);
}

static void none_is_an_empty_array(void **state) {
    (void)state;
    sh_findings_t f;
    sh_buf_t out = {0};
    sh_findings_init(&f);
    sh_findings_sort(&f);
    sh_findings_put_json(&f, &out);
    assert_string_equal(sh_buf_c(&out), "[]\n");
    sh_buf_dispose(&out);
    sh_findings_dispose(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(places_are_read),
        cmocka_unit_test(they_are_sorted_and_printed_a_line_each),
        cmocka_unit_test(the_array_is_json),
        cmocka_unit_test(none_is_an_empty_array),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
