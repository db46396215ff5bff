/* Proves how media types are compared: what counts as JSON, and what an Accept field allows (RFC 9110, 12.5.1). The checks of path, query and
 * body are proved through HTTP in test_edge.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "edge/input.h"

static void knows_json(void **state) {
    (void)state;
    static const char *const good[] = {"application/json",
                                       "Application/JSON",
                                       "application/json; charset=utf-8",
                                       "application/json;charset=utf-8",
                                       "application/merge-patch+json",
                                       "application/json \t; x=y"};
    static const char *const bad[] = {"",
                                      "text/plain",
                                      "application/jsonx",
                                      "application/x-www-form-urlencoded",
                                      "application/problem+json",
                                      "json",
                                      "application/json/x",
                                      "text/plain; application/json",
                                      ";application/json"};
    for (size_t i = 0; i < SH_ARRAY_LEN(good); i++) assert_true(sh_input_is_json(sh_str_of(good[i])));
    for (size_t i = 0; i < SH_ARRAY_LEN(bad); i++) assert_false(sh_input_is_json(sh_str_of(bad[i])));
}

static void reads_accept(void **state) {
    (void)state;
    static const char *const good[] = {
        "",
        "*/*",
        "application/json",
        "APPLICATION/JSON",
        "application/*",
        "text/html, application/json;q=0.1",
        "text/html,*/*;q=0.8",
        "application/json;q=0.5, */*;q=0",
        "application/*;q=0.1, */*;q=0",
        "text/html;q=0, */*",
        "application/json; charset=utf-8",
    };
    static const char *const bad[] = {
        "text/html",
        "application/json;q=0",
        "*/*, application/json;q=0",
        "*/*;q=0",
        "application/*;q=0, */*",
        "application/xml",
        "application",
        "application/",
        "app/*",
        "*",
        "application/jsonp",
        ",",
        "application/json;q=x",
    };
    for (size_t i = 0; i < SH_ARRAY_LEN(good); i++)
        if (!sh_input_accepts(sh_str_of(good[i]), "application/json")) fail_msg("%s was refused", good[i]);
    for (size_t i = 0; i < SH_ARRAY_LEN(bad); i++)
        if (sh_input_accepts(sh_str_of(bad[i]), "application/json")) fail_msg("%s was taken", bad[i]);
    assert_true(sh_input_accepts(SH_STR("text/csv"), "text/csv; charset=utf-8"));
    assert_true(sh_input_accepts(SH_STR("text/*"), "text/csv; charset=utf-8"));
    assert_false(sh_input_accepts(SH_STR("application/json"), "application/pdf"));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(knows_json), cmocka_unit_test(reads_accept)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
