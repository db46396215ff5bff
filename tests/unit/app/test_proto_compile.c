/* Proves that .proto files become one descriptor set, always the same for the same files, and that a mistake is told with file and line.
 * How: folders made here, with the real protoc, and with none on the PATH. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "app/proto_compile.h"
#include "base/err.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static char folder[64];
static sh_buf_t out, error;

static int set_up(void **state) {
    (void)state;
    char path[128];
    strcpy(folder, "/tmp/shama-proto-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/config", folder);
    assert_int_equal(mkdir(path, 0755), 0);
    strcat(path, "/proto");
    assert_int_equal(mkdir(path, 0755), 0);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    char command[128];
    sh_buf_dispose(&out);
    sh_buf_dispose(&error);
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

static void write_file(const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/config/proto/%s", folder, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static int compile(void) {
    char path[128];
    snprintf(path, sizeof path, "%s/config/proto", folder);
    sh_buf_clear(&out);
    sh_buf_clear(&error);
    return sh_proto_compile(path, &out, &error);
}

static void files_become_one_set(void **state) {
    (void)state;
    write_file("b.proto", "syntax = \"proto3\"; import \"a.proto\"; message B { A a = 1; }");
    write_file("a.proto", "syntax = \"proto3\"; message A { string s = 1; }");
    write_file(".hidden.proto", "not for us");
    write_file("README.md", "not for us");
    assert_int_equal(compile(), SH_OK);
    assert_int_equal(error.len, 0);
    char *first = strdup(sh_buf_c(&out)), *place = memmem(out.ptr, out.len, "b.proto", 7);
    size_t len = out.len;
    assert_non_null(place);
    assert_non_null(memmem(out.ptr, (size_t)(place - out.ptr), "a.proto", 7));
    assert_int_equal(compile(), SH_OK);
    assert_int_equal(out.len, len);
    assert_memory_equal(out.ptr, first, strlen(first));
    free(first);
}

static void mistakes_name_file_and_line(void **state) {
    (void)state;
    write_file("good.proto", "syntax = \"proto3\"; message A {}");
    write_file("bad.proto", "syntax = \"proto3\";\nmessage M {\n  int33 x = 1;\n  string y = 1;\n}\n");
    assert_int_equal(compile(), SH_EINVAL);
    assert_int_equal(out.len, 0);
    assert_int_equal(strncmp(sh_buf_c(&error), "config/proto/bad.proto:", 23), 0);
    assert_non_null(strstr(sh_buf_c(&error), "config/proto/bad.proto:3:3: \"int33\" is not defined."));
    assert_true(error.ptr[error.len - 1] != '\n');
}

static void a_folder_without_files_is_told(void **state) {
    (void)state;
    assert_int_equal(compile(), SH_EINVAL);
    assert_non_null(strstr(sh_buf_c(&error), "there is no .proto file in it"));
    sh_buf_clear(&error);
    assert_int_equal(sh_proto_compile("/nonexistent/proto", &out, &error), SH_EIO);
    assert_string_equal(sh_buf_c(&error), "/nonexistent/proto: No such file or directory");
}

static void a_missing_compiler_is_told(void **state) {
    (void)state;
    char *path = strdup(getenv("PATH"));
    write_file("a.proto", "syntax = \"proto3\"; message A {}");
    setenv("PATH", folder, 1);
    int rc = compile();
    setenv("PATH", path, 1);
    free(path);
    assert_int_equal(rc, SH_EIO);
    assert_string_equal(sh_buf_c(&error), "there is no protoc to compile the .proto files with; install protobuf-compiler");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(files_become_one_set, set_up, tear_down),
        cmocka_unit_test_setup_teardown(mistakes_name_file_and_line, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_folder_without_files_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_missing_compiler_is_told, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
