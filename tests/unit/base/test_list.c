/* Proves that linking and unlinking keep the order and never leave a dangling link. */
#include "base/list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

typedef struct item {
    int n;
    sh_list_t link;
} item_t;

static int order(sh_list_t *head) {
    int digits = 0;
    sh_list_each(it, tmp, head) digits = digits * 10 + SH_CONTAINER_OF(it, item_t, link)->n;
    return digits;
}

static void keeps_order(void **state) {
    (void)state;
    sh_list_t head;
    item_t items[5];
    sh_list_init(&head);
    assert_true(sh_list_is_empty(&head));
    assert_null(sh_list_first(&head, item_t, link));
    for (int i = 0; i < 5; i++) {
        items[i].n = i + 1;
        sh_list_init(&items[i].link);
        assert_false(sh_list_is_linked(&items[i].link));
        if (i < 3)
            sh_list_link(&head, &items[i].link);
        else
            sh_list_link_front(&head, &items[i].link);
    }
    assert_int_equal(order(&head), 54123);
    assert_int_equal(sh_list_first(&head, item_t, link)->n, 5);
    sh_list_unlink(&items[0].link); /* in the middle */
    assert_int_equal(order(&head), 5423);
    assert_false(sh_list_is_linked(&items[0].link));
    sh_list_unlink(&items[0].link); /* twice does no harm */
    assert_int_equal(order(&head), 5423);
    sh_list_unlink(&items[4].link);
    sh_list_unlink(&items[2].link);
    assert_int_equal(order(&head), 42);
    sh_list_link(&head, &items[0].link);
    assert_int_equal(order(&head), 421);
}

static void may_unlink_while_walking(void **state) {
    (void)state;
    sh_list_t head;
    item_t items[4];
    sh_list_init(&head);
    for (int i = 0; i < 4; i++) {
        items[i].n = i + 1;
        sh_list_link(&head, &items[i].link);
    }
    sh_list_each(it, tmp, &head) {
        if (SH_CONTAINER_OF(it, item_t, link)->n % 2) sh_list_unlink(it);
    }
    assert_int_equal(order(&head), 24);
    sh_list_each(it, tmp, &head) sh_list_unlink(it);
    assert_true(sh_list_is_empty(&head));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(keeps_order), cmocka_unit_test(may_unlink_while_walking)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
