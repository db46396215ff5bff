/* Proves that the heap hands out blocks that never overlap, keeps contents over resizes across the small/large border, and reuses what was freed.
 * How: a long random sequence of allocations, resizes and frees, each block filled with a pattern of its own that is checked before each change. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "host/heap.h"

#include <string.h>

enum { BLOCKS = 500, STEPS = 200000 };

typedef struct block {
    unsigned char *at;
    size_t size;
    unsigned char pattern;
} block_t;

static uint64_t seed = 42;
static size_t next_random(size_t below) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(seed >> 33) % below;
}

static void check(const block_t *b, size_t size) {
    for (size_t i = 0; i < size; i++)
        if (b->at[i] != b->pattern) fail_msg("a block of %zu bytes was overwritten at %zu", b->size, i);
}

static void blocks_keep_what_is_theirs(void **state) {
    (void)state;
    static block_t blocks[BLOCKS];
    sh_heap_t heap;
    sh_heap_init(&heap);
    for (int step = 0; step < STEPS; step++) {
        block_t *b = &blocks[next_random(BLOCKS)];
        size_t size = next_random(4) ? 1 + next_random(SH_HEAP_SMALL_MAX + 64) : 1 + next_random(5000);
        if (b->at && next_random(3) == 0) {
            check(b, b->size);
            sh_heap_free(&heap, b->at, b->size);
            *b = (block_t){0};
            continue;
        }
        if (b->at) check(b, b->size);
        unsigned char *moved = sh_heap_resize(&heap, b->at, b->size, size);
        assert_non_null(moved);
        assert_int_equal((uintptr_t)moved % 16, 0);
        if (b->at) {
            b->at = moved;
            check(b, b->size < size ? b->size : size);
        }
        *b = (block_t){moved, size, (unsigned char)(1 + step % 255)};
        memset(moved, b->pattern, size);
    }
    for (int i = 0; i < BLOCKS; i++)
        if (blocks[i].at) sh_heap_free(&heap, blocks[i].at, blocks[i].size);
    sh_heap_dispose(&heap);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(blocks_keep_what_is_theirs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
