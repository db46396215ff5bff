/* Proves that ids have the form of RFC 9562, that those of version 7 carry their time and grow however the clock behaves, and that
 * a child process does not repeat its parent's ids. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/str.h"
#include "base/time.h"
#include "codec/uuid.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void assert_form(const char id[SH_UUID_LEN], char version) {
    assert_true(sh_str_is_uuid(sh_str(id, SH_UUID_LEN)));
    assert_int_equal(id[14], version);
    assert_non_null(strchr("89ab", id[19]));
    for (int i = 0; i < SH_UUID_LEN; i++) assert_false(id[i] >= 'A' && id[i] <= 'F');
}

static void v4_is_random(void **state) {
    (void)state;
    sh_uuid_source_t *source = sh_uuid_source_create();
    char before[SH_UUID_LEN] = {0}, id[SH_UUID_LEN];
    for (int i = 0; i < 2000; i++) { /* several stocks */
        sh_uuid_v4(source, id);
        assert_form(id, '4');
        assert_memory_not_equal(id, before, SH_UUID_LEN);
        memcpy(before, id, SH_UUID_LEN);
    }
    sh_uuid_source_destroy(source);
    sh_uuid_source_destroy(NULL);
}

static void v7_carries_its_time(void **state) {
    (void)state;
    sh_uuid_source_t *source = sh_uuid_source_create();
    char id[SH_UUID_LEN];
    /* RFC 9562, appendix A.6: 2022-02-22T19:22:22.000Z is 017F22E279B0. Half a millisecond later the fraction is 0x800. */
    sh_uuid_v7(source, INT64_C(1645557742000500), id);
    assert_form(id, '7');
    assert_memory_equal(id, "017f22e2-79b0-7800", 18);
    sh_uuid_source_destroy(source);
}

static void v7_always_grows(void **state) {
    (void)state;
    sh_uuid_source_t *source = sh_uuid_source_create();
    char before[SH_UUID_LEN], id[SH_UUID_LEN];
    int64_t now = sh_time_wall_us();
    sh_uuid_v7(source, now, before);
    for (int i = 0; i < 10000; i++) {
        if (i % 3 == 0) now++;
        if (i % 1000 == 999) now -= 5000000; /* the clock is set back */
        sh_uuid_v7(source, now, id);
        assert_form(id, '7');
        assert_true(memcmp(before, id, SH_UUID_LEN) < 0);
        memcpy(before, id, SH_UUID_LEN);
    }
    sh_uuid_source_destroy(source);
}

static void a_child_does_not_repeat(void **state) {
    (void)state;
    sh_uuid_source_t *source = sh_uuid_source_create();
    char ours[SH_UUID_LEN], theirs[SH_UUID_LEN];
    sh_uuid_v4(source, ours); /* the stock is filled before the fork */
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        sh_uuid_v4(source, theirs);
        _exit(write(ends[1], theirs, SH_UUID_LEN) == SH_UUID_LEN ? 0 : 1);
    }
    assert_int_equal(read(ends[0], theirs, SH_UUID_LEN), SH_UUID_LEN);
    assert_int_equal(waitpid(child, NULL, 0), child);
    sh_uuid_v4(source, ours);
    assert_memory_not_equal(ours, theirs, SH_UUID_LEN);
    close(ends[0]);
    close(ends[1]);
    sh_uuid_source_destroy(source);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(v4_is_random),
        cmocka_unit_test(v7_carries_its_time),
        cmocka_unit_test(v7_always_grows),
        cmocka_unit_test(a_child_does_not_repeat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
