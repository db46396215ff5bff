/* Proves that a map agrees with a plain array of keys over a long random churn of set, replace, remove and walk, and that it does not grow
 * by churning. */
#include "base/map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

enum { KEYS = 300, STEPS = 200000 };

static void churns_like_an_array(void **state) {
    (void)state;
    static char values[KEYS][2];
    void *expected[KEYS] = {0};
    size_t count = 0;
    sh_map_t m;
    sh_map_init(&m);
    srand(7);
    for (int step = 0; step < STEPS; step++) {
        int k = rand() % KEYS, what = rand() % 4;
        char name[16];
        sh_str_t key = sh_str(name, (size_t)snprintf(name, sizeof name, "key-%d", k));
        if (what < 2) {
            void *value = &values[k][what];
            assert_ptr_equal(sh_map_set(&m, key, value), expected[k]);
            count += !expected[k];
            expected[k] = value;
        } else if (what == 2) {
            assert_ptr_equal(sh_map_remove(&m, key), expected[k]);
            count -= expected[k] != NULL;
            expected[k] = NULL;
        } else {
            assert_ptr_equal(sh_map_get(&m, key), expected[k]);
        }
        assert_int_equal(m.count, count);
    }
    for (int k = 0; k < KEYS; k++) {
        char name[16];
        assert_ptr_equal(sh_map_get(&m, sh_str(name, (size_t)snprintf(name, sizeof name, "key-%d", k))), expected[k]);
    }
    assert_true(m.cap <= 512); /* 300 keys at three quarters */
    size_t walked = 0, cursor = 0;
    for (sh_map_entry_t *e; (e = sh_map_next(&m, &cursor));) {
        assert_ptr_equal(e->value, expected[atoi(e->key + 4)]);
        walked++;
    }
    assert_int_equal(walked, count);
    sh_map_dispose(&m);
}

static void takes_any_bytes_as_keys(void **state) {
    (void)state;
    int a = 0, b = 0, c = 0;
    sh_map_t m;
    sh_map_init(&m);
    assert_null(sh_map_get(&m, SH_STR("x")));
    assert_null(sh_map_remove(&m, SH_STR("x")));
    assert_null(sh_map_set(&m, SH_STR(""), &a));
    assert_null(sh_map_set(&m, SH_STR("a\0b"), &b));
    assert_null(sh_map_set(&m, SH_STR("a\0c"), &c));
    assert_ptr_equal(sh_map_get(&m, SH_STR_NULL), &a);
    assert_ptr_equal(sh_map_get(&m, SH_STR("a\0b")), &b);
    assert_ptr_equal(sh_map_get(&m, SH_STR("a\0c")), &c);
    assert_null(sh_map_get(&m, SH_STR("a")));
    sh_map_dispose(&m);
    assert_int_equal(m.count, 0);
    sh_map_dispose(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(churns_like_an_array), cmocka_unit_test(takes_any_bytes_as_keys)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
