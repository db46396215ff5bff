/* Proves that letters posted by several threads all reach the loop, each once and in their thread's order, that closing delivers
 * what is left, and (built with -fsanitize=thread) that handing over needs no lock of the letter's own. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "loop/mailbox.h"

enum { THREADS = 4, LETTERS = 5000 };

typedef struct letter {
    sh_list_t link;
    int thread, serial;
} letter_t;

typedef struct fixture {
    sh_mailbox_t box;
    int next[THREADS]; /* the serial expected of each thread */
    int received, turns, closed;
    int close_after; /* close the box once so many came; 0: never */
} fixture_t;

static void count_closed(void *data) {
    fixture_t *f = data;
    f->closed++;
}

static void on_letters(void *data, sh_list_t *letters) {
    fixture_t *f = data;
    assert_false(sh_list_is_empty(letters));
    f->turns++;
    sh_list_each(it, tmp, letters) {
        letter_t *letter = SH_CONTAINER_OF(it, letter_t, link);
        sh_list_unlink(it);
        assert_int_equal(letter->serial, f->next[letter->thread]);
        f->next[letter->thread]++;
        f->received++;
        free(letter);
    }
    if (f->close_after && f->received == f->close_after) sh_mailbox_close(&f->box, count_closed, f);
}

typedef struct poster {
    fixture_t *fixture;
    int thread;
} poster_t;

static void post_letters(void *data) {
    poster_t *poster = data;
    for (int i = 0; i < LETTERS; i++) {
        letter_t *letter = sh_alloc(sizeof(*letter));
        sh_list_init(&letter->link);
        letter->thread = poster->thread;
        letter->serial = i;
        sh_mailbox_post(&poster->fixture->box, &letter->link);
    }
}

static void test_threads(void **state) {
    (void)state;
    uv_loop_t loop;
    assert_int_equal(uv_loop_init(&loop), 0);
    fixture_t f = {.close_after = THREADS * LETTERS};
    assert_int_equal(sh_mailbox_open(&f.box, &loop, on_letters, &f), 0);
    uv_thread_t threads[THREADS];
    poster_t posters[THREADS];
    for (int i = 0; i < THREADS; i++) {
        posters[i] = (poster_t){&f, i};
        assert_int_equal(uv_thread_create(&threads[i], post_letters, &posters[i]), 0);
    }
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    for (int i = 0; i < THREADS; i++) uv_thread_join(&threads[i]);
    assert_int_equal(f.received, THREADS * LETTERS);
    assert_int_equal(f.closed, 1);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void post_one(fixture_t *f, int serial) {
    letter_t *letter = sh_alloc(sizeof(*letter));
    sh_list_init(&letter->link);
    letter->thread = 0;
    letter->serial = serial;
    sh_mailbox_post(&f->box, &letter->link);
}

static void test_many_letters_one_turn(void **state) {
    (void)state;
    uv_loop_t loop;
    assert_int_equal(uv_loop_init(&loop), 0);
    fixture_t f = {.close_after = 100};
    assert_int_equal(sh_mailbox_open(&f.box, &loop, on_letters, &f), 0);
    for (int i = 0; i < 100; i++) post_one(&f, i);
    assert_int_equal(f.received, 0);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(f.received, 100);
    assert_int_equal(f.turns, 1);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void test_close_delivers_the_rest(void **state) {
    (void)state;
    uv_loop_t loop;
    assert_int_equal(uv_loop_init(&loop), 0);
    fixture_t f = {0};
    assert_int_equal(sh_mailbox_open(&f.box, &loop, on_letters, &f), 0);
    post_one(&f, 0);
    post_one(&f, 1);
    sh_mailbox_close(&f.box, count_closed, &f);
    assert_int_equal(f.received, 0);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(f.received, 2);
    assert_int_equal(f.closed, 1);
    assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_many_letters_one_turn),
        cmocka_unit_test(test_close_delivers_the_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
