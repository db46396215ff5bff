/* Proves that civil time agrees with the C library's over every day from 1600 to 2400 and at the ends of the calendar, that parsing undoes
 * formatting, and that dates which do not exist are refused. */
#include "base/err.h"
#include "base/time.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <time.h>

static int64_t parsed(const char *text) {
    int64_t us = INT64_MIN;
    if (sh_time_parse(sh_str_of(text), &us) != SH_OK) fail_msg("%s was refused", text);
    return us;
}

static void agrees_with_the_c_library(void **state) {
    (void)state;
    for (int64_t day = -135140; day <= 157000; day++) {
        time_t seconds = (time_t)(day * 86400 + (day * 7919 % 86400 + 86400) % 86400);
        struct tm tm;
        char expected[40], text[SH_RFC3339_LEN + 1] = {0};
        int64_t us = (int64_t)seconds * 1000000 + 123456, back;
        assert_non_null(gmtime_r(&seconds, &tm));
        strftime(expected, sizeof expected, "%Y-%m-%dT%H:%M:%S.123456Z", &tm);
        sh_time_format(us, text);
        if (strcmp(text, expected) != 0) fail_msg("%lld: %s, expected %s", (long long)us, text, expected);
        assert_int_equal(sh_time_parse(sh_str(text, SH_RFC3339_LEN), &back), SH_OK);
        assert_true(back == us);
        assert_true(sh_time_is_date(sh_str(text, 10)));
    }
}

static void knows_the_ends(void **state) {
    (void)state;
    static const struct {
        int64_t us;
        const char *text;
    } cases[] = {
        {0, "1970-01-01T00:00:00.000000Z"},
        {-1, "1969-12-31T23:59:59.999999Z"},
        {INT64_C(951782400000000), "2000-02-29T00:00:00.000000Z"},
        {INT64_C(-62135596800000000), "0001-01-01T00:00:00.000000Z"},
        {INT64_C(-62167219200000000), "0000-01-01T00:00:00.000000Z"},
        {INT64_C(253402300799999999), "9999-12-31T23:59:59.999999Z"},
    };
    for (size_t i = 0; i < SH_ARRAY_LEN(cases); i++) {
        char text[SH_RFC3339_LEN + 1] = {0};
        sh_time_format(cases[i].us, text);
        assert_string_equal(text, cases[i].text);
        assert_true(parsed(text) == cases[i].us);
    }
}

static void parses_offsets_and_fractions(void **state) {
    (void)state;
    int64_t base = parsed("2026-11-24T09:06:14Z");
    assert_true(base == INT64_C(1795511174000000));
    assert_true(parsed("2026-11-24t09:06:14z") == base);
    assert_true(parsed("2026-11-24T09:06:14+00:00") == base);
    assert_true(parsed("2026-11-24T11:06:14+02:00") == base);
    assert_true(parsed("2026-11-24T03:36:14-05:30") == base);
    assert_true(parsed("2026-11-25T08:06:14+23:00") == base);
    assert_true(parsed("2026-11-24T09:06:14.5Z") == base + 500000);
    assert_true(parsed("2026-11-24T09:06:14.000001-00:00") == base + 1);
    assert_true(parsed("2024-02-29T23:59:59.999999+00:00") + 1 == parsed("2024-03-01T00:00:00Z"));
    static const char *const bad[] = {
        "",
        "2026-11-24",
        "2026-11-24T09:06:14",
        "2026-11-24 09:06:14Z",
        "2026-11-24T09:06Z",
        "2026-11-24T24:00:00Z",
        "2026-11-24T09:60:00Z",
        "2026-11-24T09:06:60Z",
        "2026-11-24T09:06:14.Z",
        "2026-11-24T09:06:14.1234567Z",
        "2026-11-24T09:06:14+2:00",
        "2026-11-24T09:06:14+24:00",
        "2026-11-24T09:06:14+02:60",
        "2026-11-24T09:06:14+0200",
        "2026-11-24T09:06:14ZZ",
        "2026-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-00-10T00:00:00Z",
        "2026-01-00T00:00:00Z",
        "+026-11-24T09:06:14Z",
        "2026-11-24T09:06:1xZ",
        " 2026-11-24T09:06:14Z",
        "2026-11-24T09:06:14.123456+00:000",
    };
    for (size_t i = 0; i < SH_ARRAY_LEN(bad); i++) {
        int64_t us = 42;
        if (sh_time_parse(sh_str_of(bad[i]), &us) != SH_EINVAL) fail_msg("%s was taken", bad[i]);
        assert_true(us == 42);
    }
}

static void knows_leap_days(void **state) {
    (void)state;
    static const char *const good[] = {"2024-02-29", "2000-02-29", "1600-02-29", "0000-02-29", "2026-02-28", "2026-12-31", "9999-12-31"};
    static const char *const bad[] = {"2023-02-29", "1900-02-29", "2100-02-29", "2024-02-30",  "2026-04-31", "2026-01-32",
                                      "2026-1-01",  "2026/01/01", "20260101",   "2026-01-01 ", "",           "-026-01-01"};
    for (size_t i = 0; i < SH_ARRAY_LEN(good); i++) assert_true(sh_time_is_date(sh_str_of(good[i])));
    for (size_t i = 0; i < SH_ARRAY_LEN(bad); i++)
        if (sh_time_is_date(sh_str_of(bad[i]))) fail_msg("%s was taken", bad[i]);
}

static void clocks_go_forward(void **state) {
    (void)state;
    uint64_t mono = sh_time_mono_ns(), cpu = sh_time_thread_cpu_ns();
    for (int i = 0; i < 1000; i++) {
        uint64_t m = sh_time_mono_ns(), c = sh_time_thread_cpu_ns();
        assert_true(m >= mono && c >= cpu);
        mono = m, cpu = c;
    }
    int64_t wall = sh_time_wall_us() / 1000000, now = (int64_t)time(NULL);
    assert_true(wall >= now - 2 && wall <= now + 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_c_library), cmocka_unit_test(knows_the_ends),    cmocka_unit_test(parses_offsets_and_fractions),
        cmocka_unit_test(knows_leap_days),           cmocka_unit_test(clocks_go_forward),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
