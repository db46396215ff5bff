/* Proves what rows become as JSON, kind by kind, null told from empty, and that an array's text is taken apart as Postgres wrote it.
 * How: results made by hand with libpq, no server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "net/pg_rows.h"

#include <stdlib.h>

typedef struct cell {
    const char *name;
    Oid type;
    const char *value; /* NULL: SQL NULL */
} cell_t;

/* One row. */
static sh_pg_rows_t *rows_of(const cell_t *cells, int count, int row_count) {
    PGresAttDesc attributes[32] = {0};
    PGresult *result = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
    for (int i = 0; i < count; i++) {
        attributes[i].name = (char *)(uintptr_t)cells[i].name;
        attributes[i].typid = cells[i].type;
    }
    assert_true(PQsetResultAttrs(result, count, attributes));
    for (int row = 0; row < row_count; row++)
        for (int i = 0; i < count; i++)
            assert_true(PQsetvalue(result, row, i, (char *)(uintptr_t)cells[i].value, cells[i].value ? (int)strlen(cells[i].value) : -1));
    return sh_pg_rows_create(result);
}

static void is_written(Oid type, const char *value, const char *json) {
    const cell_t cell = {"v", type, value};
    sh_pg_rows_t *rows = rows_of(&cell, 1, 1);
    sh_buf_t out = {0};
    sh_pg_rows_write_value(rows, 0, 0, &out);
    assert_string_equal(sh_buf_c(&out), json);
    sh_buf_dispose(&out);
    sh_pg_rows_release(rows);
}

static void each_kind_has_its_json(void **state) {
    (void)state;
    is_written(25, "a \"b\"\n", "\"a \\\"b\\\"\\n\"");
    is_written(25, "", "\"\"");
    is_written(25, NULL, "null");
    is_written(16, "t", "true");
    is_written(16, "f", "false");
    is_written(23, "-12", "-12");
    is_written(20, "9007199254740991", "9007199254740991");
    is_written(20, "9007199254740992", "\"9007199254740992\"");
    is_written(20, "-9007199254740993", "\"-9007199254740993\"");
    is_written(20, "999999999999999", "999999999999999");
    is_written(20, "9223372036854775807", "\"9223372036854775807\"");
    is_written(1700, "1234.50", "\"1234.50\"");
    is_written(1700, "NaN", "\"NaN\"");
    is_written(701, "1.5", "1.5");
    is_written(701, "1e+20", "1e+20");
    is_written(701, "NaN", "null");
    is_written(701, "-Infinity", "null");
    is_written(2950, "0191d6c1-5d3b-7c3e-8f1a-2b3c4d5e6f70", "\"0191d6c1-5d3b-7c3e-8f1a-2b3c4d5e6f70\"");
    is_written(1082, "2026-11-24", "\"2026-11-24\"");
    is_written(1184, "2026-11-24 09:06:14.123456+00", "\"2026-11-24T09:06:14.123456Z\"");
    is_written(1184, "2026-11-24 09:06:14+00", "\"2026-11-24T09:06:14.000000Z\"");
    is_written(1184, "2026-11-24 09:06:14.5+00", "\"2026-11-24T09:06:14.500000Z\"");
    is_written(1184, "infinity", "\"infinity\"");
    is_written(1184, "12026-11-24 09:06:14+00", "\"12026-11-24 09:06:14+00\"");
    is_written(3802, "{\"a\": [1, null]}", "{\"a\": [1, null]}");
    is_written(17, "\\x00ff", "\"\\\\x00ff\"");
    is_written(99999, "whatever", "\"whatever\"");
}

static void arrays_become_lists(void **state) {
    (void)state;
    is_written(1009, "{}", "[]");
    is_written(1009, "{a,b}", "[\"a\",\"b\"]");
    is_written(1009, "{\"a,b\",\"c\\\"d\\\\e\",NULL,\"NULL\",\"\",\"}\"}", "[\"a,b\",\"c\\\"d\\\\e\",null,\"NULL\",\"\",\"}\"]");
    is_written(1009, "{{a,\"}\"},{c,d}}", "[[\"a\",\"}\"],[\"c\",\"d\"]]");
    is_written(1007, "{1,-2,NULL}", "[1,-2,null]");
    is_written(1016, "{9007199254740993}", "[\"9007199254740993\"]");
    is_written(1007, "[0:1]={7,8}", "[7,8]");
    is_written(1231, "{1.50,2}", "[\"1.50\",\"2\"]");
    is_written(2951, "{0191d6c1-5d3b-7c3e-8f1a-2b3c4d5e6f70}", "[\"0191d6c1-5d3b-7c3e-8f1a-2b3c4d5e6f70\"]");
    /* cut anywhere it neither hangs nor reads beyond its end */
    const char whole[] = "{\"a\\\"\",{b,\"c\\\\\"},NULL}";
    for (size_t n = 0; n < sizeof whole; n++) {
        char *cut = strndup(whole, n);
        sh_pg_array_t array;
        sh_pg_item_t item;
        sh_buf_t scratch = {0};
        int items = 0;
        sh_pg_array_open(&array, sh_str(cut, n));
        while (sh_pg_array_next(&array, &scratch, &item)) items++;
        assert_true(items <= 3);
        sh_buf_dispose(&scratch);
        free(cut);
    }
}

static void rows_become_objects(void **state) {
    (void)state;
    const cell_t cells[] = {{"id", 23, "7"}, {"odd \"name\"", 25, "x"}, {"gone", 25, NULL}};
    sh_pg_rows_t *rows = rows_of(cells, 3, 2);
    sh_buf_t out = {0};
    assert_int_equal(rows->row_count, 2);
    assert_int_equal(rows->affected, 0);
    sh_pg_rows_write_all(rows, &out);
    assert_string_equal(sh_buf_c(&out), "[{\"id\":7,\"odd \\\"name\\\"\":\"x\",\"gone\":null},{\"id\":7,\"odd \\\"name\\\"\":\"x\",\"gone\":null}]");
    sh_buf_clear(&out);
    sh_pg_rows_write_row(rows, 0, true, &out);
    assert_string_equal(sh_buf_c(&out), "{\"id\":7,\"odd \\\"name\\\"\":\"x\",\"gone\":null");
    assert_int_equal(sh_pg_rows_column(rows, SH_STR("gone")), 2);
    assert_int_equal(sh_pg_rows_column(rows, SH_STR("gon")), -1);
    assert_int_equal(sh_pg_rows_column(rows, SH_STR("gone ")), -1);
    sh_pg_rows_retain(rows);
    sh_pg_rows_release(rows);
    assert_true(sh_pg_rows_is_null(rows, 1, 2));
    sh_pg_rows_release(rows);
    sh_buf_dispose(&out);
    /* no columns, no rows */
    rows = sh_pg_rows_create(PQmakeEmptyPGresult(NULL, PGRES_COMMAND_OK));
    sh_pg_rows_write_all(rows, &out);
    assert_string_equal(sh_buf_c(&out), "[]");
    sh_buf_dispose(&out);
    sh_pg_rows_release(rows);
}

static void integers_are_exact_or_refused(void **state) {
    (void)state;
    int64_t n = 1;
    assert_true(sh_pg_exact_integer(SH_STR("-9007199254740991"), &n));
    assert_true(n == -9007199254740991);
    assert_true(sh_pg_exact_integer(SH_STR("0"), &n) && n == 0);
    assert_true(sh_pg_exact_integer(SH_STR("-42"), &n) && n == -42);
    assert_false(sh_pg_exact_integer(SH_STR("9007199254740992"), &n));
    assert_false(sh_pg_exact_integer(SH_STR("-"), &n));
    assert_false(sh_pg_exact_integer(SH_STR(""), &n));
    assert_false(sh_pg_exact_integer(SH_STR("1x"), &n));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_has_its_json),
        cmocka_unit_test(arrays_become_lists),
        cmocka_unit_test(rows_become_objects),
        cmocka_unit_test(integers_are_exact_or_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
