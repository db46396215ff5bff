/* Proves that a captured child's output and exit code come back, that one which does not end is killed in time with what it said, and that endless
 * output is bounded. How: small functions in children, a clock. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "app/capture.h"
#include "base/err.h"
#include "base/time.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int speak(void *data) {
    printf("out %d\n", *(int *)data);
    fflush(stdout);
    fprintf(stderr, "err\n");
    return 7;
}
static int hang(void *data) {
    (void)data;
    fprintf(stderr, "before\n");
    while (pause() < 0) continue;
    return 0;
}
static int die(void *data) {
    (void)data;
    signal(SIGTERM, SIG_DFL);
    raise(SIGTERM);
    return 0;
}
static int shout(void *data) {
    static char chunk[65536];
    (void)data;
    memset(chunk, 'x', sizeof chunk);
    for (int i = 0; i < 64; i++) fwrite(chunk, 1, sizeof chunk, stdout);
    return 0;
}

static void output_and_code_come_back(void **state) {
    (void)state;
    sh_buf_t out = {0};
    int number = 42, code = -1;
    assert_int_equal(sh_capture(speak, &number, 10000, &out, &code), SH_OK);
    assert_int_equal(code, 7);
    assert_string_equal(sh_buf_c(&out), "out 42\nerr\n");
    sh_buf_dispose(&out);
}

static void one_that_hangs_is_killed(void **state) {
    (void)state;
    sh_buf_t out = {0};
    int code = -1;
    uint64_t start = sh_time_mono_ns();
    assert_int_equal(sh_capture(hang, NULL, 200, &out, &code), SH_ETIMEDOUT);
    assert_in_range((sh_time_mono_ns() - start) / 1000000, 200, 5000);
    assert_string_equal(sh_buf_c(&out), "before\n");
    assert_int_equal(code, -1);
    sh_buf_dispose(&out);
}

static void a_signal_is_told(void **state) {
    (void)state;
    sh_buf_t out = {0};
    int code = -1;
    assert_int_equal(sh_capture(die, NULL, 10000, &out, &code), SH_OK);
    assert_int_equal(code, 128 + SIGTERM);
    sh_buf_dispose(&out);
}

static void output_is_bounded(void **state) {
    (void)state;
    sh_buf_t out = {0};
    int code = -1;
    assert_int_equal(sh_capture(shout, NULL, 10000, &out, &code), SH_OK);
    assert_int_equal(code, 0);
    assert_int_equal(out.len, SH_CAPTURE_BYTES_MAX);
    sh_buf_dispose(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(output_and_code_come_back),
        cmocka_unit_test(one_that_hangs_is_killed),
        cmocka_unit_test(a_signal_is_told),
        cmocka_unit_test(output_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
