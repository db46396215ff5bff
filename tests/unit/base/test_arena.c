/* Proves that an arena hands out aligned, separate memory of any size, and that reset forgets all but one chunk: by filling every piece
 * with its own byte and looking again after thousands of others (the sanitizer watches the borders). */
#include "base/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void hands_out_separate_memory(void **state) {
    (void)state;
    enum { PIECES = 2000 };
    static unsigned char *pieces[PIECES];
    sh_arena_t a;
    sh_arena_init(&a);
    assert_int_equal(a.total, 0);
    for (size_t i = 0; i < PIECES; i++) {
        size_t size = i % 100 == 99 ? 100000 : i % 257;
        pieces[i] = sh_arena_alloc(&a, size);
        assert_int_equal((uintptr_t)pieces[i] % 16, 0);
        memset(pieces[i], (int)(i % 251), size);
    }
    for (size_t i = 0; i < PIECES; i++) {
        size_t size = i % 100 == 99 ? 100000 : i % 257;
        for (size_t j = 0; j < size; j++)
            if (pieces[i][j] != i % 251) fail_msg("byte %zu of piece %zu was overwritten", j, i);
    }
    sh_arena_dispose(&a);
    assert_int_equal(a.total, 0);
    sh_arena_dispose(&a);
}

static void forgets_and_keeps_one_chunk(void **state) {
    (void)state;
    sh_arena_t a;
    sh_arena_init(&a);
    sh_arena_reset(&a); /* of an empty one */
    void *first = sh_arena_alloc(&a, 100);
    size_t small = a.total;
    for (int i = 0; i < 1000; i++) sh_arena_alloc(&a, 1000);
    assert_true(a.total > 1000000);
    sh_arena_reset(&a);
    assert_int_equal(a.total, small);
    assert_ptr_equal(sh_arena_alloc(&a, 100), first);
    sh_arena_reset(&a);
    unsigned char *zeroed = sh_arena_calloc(&a, 64);
    for (int i = 0; i < 64; i++) assert_int_equal(zeroed[i], 0);
    sh_arena_dispose(&a);
    assert_non_null(sh_arena_alloc(&a, 1)); /* can be used again */
    sh_arena_dispose(&a);
}

static void copies_texts(void **state) {
    (void)state;
    sh_arena_t a;
    sh_arena_init(&a);
    sh_str_t s = sh_arena_str(&a, SH_STR("a\0b"));
    assert_int_equal(s.len, 3);
    assert_memory_equal(s.ptr, "a\0b", 4);
    assert_string_equal(sh_arena_str(&a, SH_STR_NULL).ptr, "");
    assert_string_equal(sh_arena_printf(&a, "%d-%s", 7, "x"), "7-x");
    assert_int_equal(strlen(sh_arena_printf(&a, "%9000s", "x")), 9000);
    sh_arena_dispose(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hands_out_separate_memory),
        cmocka_unit_test(forgets_and_keeps_one_chunk),
        cmocka_unit_test(copies_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
