/* Proves that children start, that every way they can fail comes back as a sentence, that they run as the user they are told to, and that
 * stopping waits and in the end is obeyed. Real children of the system's own programs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "app/process.h"
#include "base/err.h"
#include "base/time.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/shama-process-XXXXXX";
static char output[64];

static int make_folder(void **state) {
    (void)state;
    if (!mkdtemp(folder)) return -1;
    snprintf(output, sizeof output, "%s/output", folder);
    return 0;
}

static int drop_folder(void **state) {
    (void)state;
    unlink(output);
    return rmdir(folder);
}

static const char *const *shell(const char *script, const char **argv) {
    argv[0] = "/bin/sh", argv[1] = "-c", argv[2] = script, argv[3] = NULL;
    return argv;
}

static void output_and_failures_are_told(void **state) {
    (void)state;
    const char *argv[4];
    sh_buf_t error = {0}, text = {0};
    assert_int_equal(
        sh_process_run(&(sh_process_opts_t){.argv = shell("echo out; echo err >&2; pwd", argv), .output = output, .directory = "/"}, &error), SH_OK);
    sh_process_tail(output, 1000, &text);
    assert_string_equal(sh_buf_c(&text), "out\nerr\n/\n");
    sh_buf_clear(&text);
    sh_process_tail(output, 4, &text);
    assert_string_equal(sh_buf_c(&text), "r\n/\n");

    assert_int_equal(sh_process_run(&(sh_process_opts_t){.argv = shell("echo no luck; exit 3", argv), .output = output}, &error), SH_EIO);
    assert_non_null(strstr(sh_buf_c(&error), "no luck"));
    sh_buf_clear(&error);
    argv[0] = "/nonexistent/program";
    pid_t pid;
    assert_int_equal(sh_process_start(&(sh_process_opts_t){.argv = argv}, &pid, &error), SH_EIO);
    assert_string_equal(sh_buf_c(&error), "cannot start /nonexistent/program: could not execute it: No such file or directory");
    sh_buf_clear(&error);
    assert_int_equal(sh_process_start(&(sh_process_opts_t){.argv = shell("true", argv), .user = "no such user"}, &pid, &error), SH_EIO);
    assert_string_equal(sh_buf_c(&error), "there is no user \"no such user\"");
    sh_buf_dispose(&error);
    sh_buf_dispose(&text);
}

static void stopping_is_obeyed(void **state) {
    (void)state;
    const char *argv[4];
    sh_buf_t error = {0};
    pid_t pid;
    assert_int_equal(sh_process_start(&(sh_process_opts_t){.argv = shell("exec sleep 60", argv)}, &pid, &error), SH_OK);
    assert_true(sh_process_is_alive(pid));
    assert_false(sh_process_wait(pid, 50));
    assert_true(sh_process_stop(pid, SIGTERM, 5000));
    assert_false(sh_process_is_alive(pid));

    /* One that ignores the signal is killed after the wait, not before. It says by its output that it is ready to ignore. */
    unlink(output);
    assert_int_equal(
        sh_process_start(&(sh_process_opts_t){.argv = shell("trap '' TERM; echo ready; while :; do sleep 0.1; done", argv), .output = output}, &pid,
                         &error),
        SH_OK);
    struct stat at;
    for (int i = 0; i < 500 && (stat(output, &at) || at.st_size == 0); i++) usleep(10000);
    uint64_t started = sh_time_mono_ns();
    assert_false(sh_process_stop(pid, SIGTERM, 200));
    assert_true(sh_time_mono_ns() - started >= 200000000);
    assert_false(sh_process_is_alive(pid));
    sh_buf_dispose(&error);
}

static void ports(void **state) {
    (void)state;
    int port = sh_process_free_port();
    assert_true(port > 0);
    assert_true(sh_process_is_port_free("127.0.0.1", port));
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_false(sh_process_is_port_free("127.0.0.1", port));
    assert_int_equal(sh_process_wait_port(port, getpid(), 1000), SH_OK);
    close(fd);

    const char *argv[4];
    sh_buf_t error = {0};
    pid_t pid;
    port = sh_process_free_port();
    assert_int_equal(sh_process_start(&(sh_process_opts_t){.argv = shell("exit 0", argv)}, &pid, &error), SH_OK);
    assert_int_equal(sh_process_wait_port(port, pid, 5000), SH_ECLOSED);
    assert_int_equal(sh_process_wait_port(port, getpid(), 50), SH_ETIMEDOUT);
    sh_buf_dispose(&error);
}

static void programs_are_found(void **state) {
    (void)state;
    char path[256];
    assert_true(sh_process_find("sh", NULL, path, sizeof path));
    assert_true(sh_process_find("sh", "/nonexistent:/bin", path, sizeof path));
    assert_string_equal(path, "/bin/sh");
    assert_false(sh_process_find("no-such-program-here", "/bin", path, sizeof path));
}

static void another_user(void **state) {
    (void)state;
    if (geteuid() != 0) skip();
    const char *argv[4];
    sh_buf_t error = {0}, text = {0};
    unlink(output);
    assert_int_equal(
        sh_process_run(&(sh_process_opts_t){.argv = shell("id -un; id -G", argv), .output = output, .user = "nobody", .directory = "/"}, &error),
        SH_OK);
    sh_process_tail(output, 1000, &text);
    assert_string_equal(sh_buf_c(&text), "nobody\n65534\n");
    assert_false(sh_process_can_enter("nobody", folder)); /* 0700 */
    assert_int_equal(chmod(folder, 0755), 0);
    assert_true(sh_process_can_enter("nobody", folder));
    sh_buf_dispose(&error);
    sh_buf_dispose(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(output_and_failures_are_told), cmocka_unit_test(stopping_is_obeyed), cmocka_unit_test(ports),
        cmocka_unit_test(programs_are_found),           cmocka_unit_test(another_user),
    };
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
