/* Proves how nats.url is read: lists, logins, ports, addresses, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/err.h"
#include "net/nats_url.h"

#include <string.h>

static void check_text(const char *found, const char *wanted) {
    if (wanted)
        assert_string_equal(found, wanted);
    else
        assert_null(found);
}

static void one_is(const char *url, const char *host, const char *port, const char *user, const char *password, const char *token, bool is_tls) {
    sh_nats_server_t servers[SH_NATS_SERVERS_MAX];
    assert_int_equal(sh_nats_url_read(url, servers), 1);
    check_text(servers[0].host, host);
    check_text(servers[0].port, port);
    check_text(servers[0].user, user);
    check_text(servers[0].password, password);
    check_text(servers[0].token, token);
    assert_int_equal(servers[0].is_tls, is_tls);
    sh_nats_server_dispose(&servers[0]);
}

static void servers_are_read(void **state) {
    (void)state;
    one_is("nats://a", "a", "4222", NULL, NULL, NULL, false);
    one_is("nats://a:1/", "a", "1", NULL, NULL, NULL, false);
    one_is("a.example:65535", "a.example", "65535", NULL, NULL, NULL, false);
    one_is("tls://a", "a", "4222", NULL, NULL, NULL, true);
    one_is("nats://[::1]:5", "::1", "5", NULL, NULL, NULL, false);
    one_is("nats://u:p@a:1", "a", "1", "u", "p", NULL, false);
    one_is("nats://u:@a", "a", "4222", "u", "", NULL, false);
    one_is("nats://t0ken@a", "a", "4222", NULL, NULL, "t0ken", false);
    one_is("nats://u%40x:p%3a%2F%25@w@a", "a", "4222", "u@x", "p:/%@w", NULL, false);
}

static void lists_are_read(void **state) {
    (void)state;
    sh_nats_server_t servers[SH_NATS_SERVERS_MAX];
    assert_int_equal(sh_nats_url_read(" nats://a , tls://b:2\tc,,", servers), 3);
    assert_string_equal(servers[0].host, "a");
    assert_string_equal(servers[1].port, "2");
    assert_string_equal(servers[2].host, "c");
    for (int i = 0; i < 3; i++) sh_nats_server_dispose(&servers[i]);
    char list[64] = "";
    for (int i = 0; i < SH_NATS_SERVERS_MAX; i++) strcat(list, "a,");
    assert_int_equal(sh_nats_url_read(list, servers), SH_NATS_SERVERS_MAX);
    for (int i = 0; i < SH_NATS_SERVERS_MAX; i++) sh_nats_server_dispose(&servers[i]);
    strcat(list, "a");
    assert_int_equal(sh_nats_url_read(list, servers), SH_EINVAL);
}

static void what_cannot_work_is_refused(void **state) {
    (void)state;
    static const char *const useless[] = {"",
                                          ",",
                                          "nats://",
                                          "http://a",
                                          "nats://a:",
                                          "nats://a:0",
                                          "nats://a:65536",
                                          "nats://:1",
                                          "nats://u@",
                                          "nats://[::1",
                                          "nats://[]",
                                          "nats://[::1]x",
                                          "nats://a:4222x",
                                          "nats://a:+1",
                                          "nats://%@a",
                                          "nats://%0g@a",
                                          "nats://u:%00@a",
                                          "nats://a%"};
    sh_nats_server_t servers[SH_NATS_SERVERS_MAX];
    for (size_t i = 0; i < SH_ARRAY_LEN(useless); i++) assert_int_equal(sh_nats_url_read(useless[i], servers), SH_EINVAL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(servers_are_read),
        cmocka_unit_test(lists_are_read),
        cmocka_unit_test(what_cannot_work_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
