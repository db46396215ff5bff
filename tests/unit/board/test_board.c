/* Proves what workers and master tell each other through the board: counters of a rules version begin at nothing, the second kill puts work
 * in quarantine until it is cleared, and the master's state is read whole or not at all, also while it is written. */
#include "board/board.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static int create(void **state) { return sh_board_create((sh_board_t **)state); }
static int destroy(void **state) {
    sh_board_destroy(*state);
    return 0;
}

static void outcomes_begin_at_nothing(void **state) {
    sh_board_t *board = *state;
    sh_outcome_t *first = sh_board_outcome(board, 3);
    atomic_store(&first->requests, 10);
    atomic_store(&first->failures, 2);
    assert_ptr_equal(sh_board_outcome(board, 3), first);
    assert_int_equal(atomic_load(&first->requests), 10);
    sh_outcome_t *later = sh_board_outcome(board, 3 + SH_OUTCOMES); /* the same place */
    assert_ptr_equal(later, first);
    assert_int_equal(atomic_load(&later->requests), 0);
    assert_int_equal(atomic_load(&later->failures), 0);
}

static void the_second_kill_is_quarantine(void **state) {
    sh_board_t *board = *state;
    assert_int_equal(sh_board_quarantine_add(board, "GET /a"), 1);
    assert_int_equal(sh_board_quarantine_add(board, "POST /a"), 1);
    assert_false(sh_board_is_quarantined(board, "GET /a"));
    assert_int_equal(sh_board_quarantine_add(board, "GET /a"), 2);
    assert_true(sh_board_is_quarantined(board, "GET /a"));
    assert_false(sh_board_is_quarantined(board, "POST /a"));
    sh_board_quarantine_clear(board);
    assert_false(sh_board_is_quarantined(board, "GET /a"));
    assert_int_equal(sh_board_quarantine_add(board, "GET /a"), 1);
}

static void a_slot_tells_what_runs(void **state) {
    sh_board_t *board = *state;
    sh_slot_t *slot = &board->slots[1];
    char long_name[300];
    memset(long_name, 'x', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = 0;
    sh_slot_enter(slot, 1, "sales", long_name, SH_STR("id"), 42);
    assert_int_equal(atomic_load(&slot->busy_since_ns), 42);
    assert_string_equal(slot->service, "sales");
    assert_int_equal(strlen(slot->name), SH_SLOT_NAME_MAX - 1);
    sh_slot_leave(slot);
    assert_int_equal(atomic_load(&slot->busy_since_ns), 0);
    sh_slot_enter(NULL, 1, "sales", "x", SH_STR("id"), 42);
    sh_slot_leave(NULL);
}

static void the_state_is_read_whole(void **state) {
    enum { LEN = 5000, TIMES = 2000 };
    sh_board_t *board = *state;
    sh_buf_t got = {0};
    static char text[LEN], too_long[SH_STATE_MAX + 1];
    assert_false(sh_board_state_read(board, &got));
    assert_false(sh_board_state_write(board, sh_str(too_long, sizeof too_long)));
    memset(text, 'a', LEN);
    assert_true(sh_board_state_write(board, sh_str(text, LEN)));
    pid_t writer = fork();
    if (writer == 0) {
        for (char c = 'a';; c = c == 'z' ? 'a' : (char)(c + 1)) {
            memset(text, c, LEN);
            if (!sh_board_state_write(board, sh_str(text, LEN))) _exit(1);
            usleep(20);
        }
    }
    int read = 0, mixed = 0;
    for (int i = 0; i < TIMES; i++) {
        sh_buf_clear(&got);
        if (!sh_board_state_read(board, &got)) continue;
        read++;
        mixed += got.len != LEN;
        for (size_t k = 1; k < got.len; k++) mixed += got.ptr[k] != got.ptr[0];
    }
    kill(writer, SIGKILL);
    waitpid(writer, NULL, 0);
    sh_buf_dispose(&got);
    assert_int_equal(mixed, 0);
    assert_true(read > TIMES / 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(outcomes_begin_at_nothing, create, destroy),
        cmocka_unit_test_setup_teardown(the_second_kill_is_quarantine, create, destroy),
        cmocka_unit_test_setup_teardown(a_slot_tells_what_runs, create, destroy),
        cmocka_unit_test_setup_teardown(the_state_is_read_whole, create, destroy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
