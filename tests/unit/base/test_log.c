/* Proves that log lines are one JSON object each, whatever their fields contain, that levels hold lines back, and that a log file can be
 * rotated: lines are read back from a file and parsed. */
#include "base/err.h"
#include "base/log.h"
#include "base/time.h"
#include "codec/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char folder[] = "/tmp/test_log_XXXXXX";
static char path[64], rotated[64];
static sh_arena_t arena;

static int set_up(void **state) {
    (void)state;
    sh_arena_init(&arena);
    snprintf(folder, sizeof folder, "/tmp/test_log_XXXXXX");
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/log", folder);
    snprintf(rotated, sizeof rotated, "%s/log.1", folder);
    return 0;
}
static int tear_down(void **state) {
    (void)state;
    unlink(path);
    unlink(rotated);
    rmdir(folder);
    sh_arena_dispose(&arena);
    return 0;
}

static sh_str_t content(const char *name) {
    FILE *f = fopen(name, "r");
    if (!f) return SH_STR("");
    char *text = sh_arena_alloc(&arena, 100000);
    size_t n = fread(text, 1, 100000, f);
    fclose(f);
    return sh_str(text, n);
}

static const sh_json_value_t *line(sh_str_t text, int index) {
    while (index--) {
        const char *end = memchr(text.ptr, '\n', text.len);
        assert_non_null(end);
        text = sh_str(end + 1, text.len - (size_t)(end + 1 - text.ptr));
    }
    const char *end = memchr(text.ptr, '\n', text.len);
    assert_non_null(end);
    sh_json_value_t *value = NULL;
    sh_json_error_t error = {0};
    if (sh_json_read(&arena, sh_str(text.ptr, (size_t)(end - text.ptr)), SH_JSON_LIMITS_DEFAULT, &value, &error) != SH_OK)
        fail_msg("%s at %zu in %.*s", error.reason, error.offset, (int)(end - text.ptr), text.ptr);
    return value;
}

static int lines(sh_str_t text) {
    int n = 0;
    for (size_t i = 0; i < text.len; i++) n += text.ptr[i] == '\n';
    return n;
}

static void writes_json_lines(void **state) {
    (void)state;
    sh_log_t log;
    assert_int_equal(sh_log_open(&log, path, SH_LOG_INFO, "worker-1"), SH_OK);
    sh_log_debug(&log, "held back");
    sh_log_info(&log, "started");
    sh_log_warn(&log, "odd \"name\"\n{}", SH_LOG_STR("text", SH_STR("a\"\n\x01\x1b b")), SH_LOG_C("c", "x"), SH_LOG_I64("n", -5),
                SH_LOG_RAW("list", SH_STR("[1,2]")));
    assert_int_equal(content(path).len, 0); /* gathered */
    sh_log_flush(&log);
    sh_str_t text = content(path);
    assert_int_equal(lines(text), 2);
    const sh_json_value_t *v = line(text, 0);
    int64_t us;
    assert_int_equal(sh_time_parse(sh_json_get(v, "time")->text, &us), SH_OK);
    assert_true(sh_str_eq_c(sh_json_get(v, "level")->text, "info"));
    assert_true(sh_str_eq_c(sh_json_get(v, "process")->text, "worker-1"));
    assert_true(sh_str_eq_c(sh_json_get(v, "msg")->text, "started"));
    v = line(text, 1);
    assert_true(sh_str_eq_c(sh_json_get(v, "msg")->text, "odd \"name\"\n{}"));
    assert_true(sh_str_eq_c(sh_json_get(v, "text")->text, "a\"\n\x01\x1b b"));
    assert_true(sh_json_get(v, "n")->i64 == -5);
    assert_int_equal(sh_json_get(v, "list")->count, 2);
    sh_log_error(&log, "at once"); /* an error does not wait for the flush */
    assert_int_equal(lines(content(path)), 3);
    sh_log_info(&log, "last");
    sh_log_close(&log);
    assert_int_equal(lines(content(path)), 4);
    sh_log_error(&log, "closed");
    assert_int_equal(lines(content(path)), 4);
}

static void survives_rotation(void **state) {
    (void)state;
    sh_log_t log;
    assert_int_equal(sh_log_open(&log, path, SH_LOG_DEBUG, "m"), SH_OK);
    sh_log_info(&log, "before");
    assert_int_equal(rename(path, rotated), 0);
    sh_log_debug(&log, "still before");
    assert_int_equal(sh_log_reopen(&log), SH_OK);
    sh_log_info(&log, "after");
    sh_log_close(&log);
    assert_int_equal(lines(content(rotated)), 2);
    assert_int_equal(lines(content(path)), 1);
}

static void flushes_much_by_itself(void **state) {
    (void)state;
    sh_log_t log;
    assert_int_equal(sh_log_open(&log, path, SH_LOG_INFO, "m"), SH_OK);
    for (int i = 0; i < 300; i++) sh_log_info(&log, "line", SH_LOG_I64("i", i));
    assert_true(content(path).len > 10000);
    sh_log_close(&log);
    sh_str_t text = content(path);
    assert_int_equal(lines(text), 300);
    assert_true(sh_json_get(line(text, 299), "i")->i64 == 299);
}

static void knows_levels_and_bad_paths(void **state) {
    (void)state;
    static const char *const names[] = {"debug", "info", "warn", "error", "off"};
    for (size_t i = 0; i < SH_ARRAY_LEN(names); i++) {
        sh_log_level_t level = SH_LOG_OFF;
        assert_int_equal(sh_log_level_of(sh_str_of(names[i]), &level), SH_OK);
        assert_int_equal(level, i);
    }
    sh_log_level_t level;
    assert_int_equal(sh_log_level_of(SH_STR("INFO"), &level), SH_EINVAL);
    assert_int_equal(sh_log_level_of(SH_STR(""), &level), SH_EINVAL);
    sh_log_t log;
    assert_int_equal(sh_log_open(&log, "/nonexistent/folder/log", SH_LOG_INFO, "m"), SH_EIO);
    char long_path[400];
    memset(long_path, 'x', sizeof long_path - 1);
    long_path[sizeof long_path - 1] = 0;
    assert_int_equal(sh_log_open(&log, long_path, SH_LOG_INFO, "m"), SH_EINVAL);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(writes_json_lines),
        TEST(survives_rotation),
        TEST(flushes_much_by_itself),
        TEST(knows_levels_and_bad_paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
