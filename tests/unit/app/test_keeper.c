/* Proves that a keeper cleans up however its process ends, and that a failure to begin is told.
 * How: "cleaning up" is making a file; the process that ends is a child, killed by signals that no handler can soften. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "app/keeper.h"
#include "base/err.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/tmp/shama-keeper-XXXXXX", mark[64];

static int set_up(void **state) {
    (void)state;
    if (!mkdtemp(folder)) return -1;
    snprintf(mark, sizeof mark, "%s/finished", folder);
    return 0;
}
static int tear_down(void **state) {
    (void)state;
    unlink(mark);
    return rmdir(folder);
}

static int refuse(void *data, sh_buf_t *error) {
    sh_buf_printf(error, "no %s today", (const char *)data);
    return SH_EUNAVAILABLE;
}
static void finish(void *data) {
    (void)data;
    close(open(mark, O_CREAT | O_WRONLY, 0600));
}

static bool is_finished(int wait_ms) {
    for (int i = 0; i <= wait_ms / 10; i++) {
        if (access(mark, F_OK) == 0) return unlink(mark) == 0;
        usleep(10000);
    }
    return false;
}

static void a_failure_to_begin_is_told(void **state) {
    (void)state;
    char what[] = "bread";
    const sh_keeper_opts_t opts = {refuse, finish, what};
    sh_keeper_t keeper = {0};
    sh_buf_t error = {0};
    assert_int_equal(sh_keeper_start(&opts, &keeper, &error), SH_EUNAVAILABLE);
    assert_string_equal(sh_buf_c(&error), "no bread today");
    assert_int_equal(keeper.pid, 0);
    sh_keeper_stop(&keeper);
    assert_false(is_finished(0));
    sh_buf_dispose(&error);
}

static void stopping_waits_for_the_end(void **state) {
    (void)state;
    const sh_keeper_opts_t opts = {NULL, finish, NULL};
    sh_keeper_t keeper = {0};
    sh_buf_t error = {0};
    assert_int_equal(sh_keeper_start(&opts, &keeper, &error), SH_OK);
    assert_false(is_finished(0));
    sh_keeper_stop(&keeper);
    assert_true(is_finished(0));
}

static void a_killed_process_is_cleaned_up_after(void **state) {
    (void)state;
    static const int signals[] = {SIGTERM, SIGINT, SIGKILL};
    for (size_t i = 0; i < SH_ARRAY_LEN(signals); i++) {
        int ready[2], status;
        char byte;
        assert_int_equal(pipe(ready), 0);
        pid_t pid = fork();
        if (pid == 0) {
            const sh_keeper_opts_t opts = {NULL, finish, NULL};
            sh_keeper_t keeper;
            sh_buf_t error = {0};
            signal(signals[i], SIG_DFL);
            if (sh_keeper_start(&opts, &keeper, &error) || write(ready[1], "x", 1) != 1) _exit(9);
            for (;;) pause();
        }
        assert_int_equal(read(ready[0], &byte, 1), 1);
        assert_false(is_finished(0));
        kill(pid, signals[i]);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        assert_true(is_finished(5000));
        close(ready[0]);
        close(ready[1]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_failure_to_begin_is_told), cmocka_unit_test(stopping_waits_for_the_end),
                                       cmocka_unit_test(a_killed_process_is_cleaned_up_after)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
