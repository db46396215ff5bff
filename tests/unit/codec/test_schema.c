/* Proves that the schema check takes and refuses what schema.h says, names every bad field at once by its pointer, rewrites values into
 * their canonical form, and has a Spanish and an English sentence for every code: JSON texts against small schemas. */
#include "base/err.h"
#include "codec/schema.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static sh_arena_t arena;
static sh_schema_report_t report;

static int set_up(void **state) {
    (void)state;
    sh_arena_init(&arena);
    memset(&report, 0, sizeof report);
    report.arena = &arena;
    return 0;
}
static int tear_down(void **state) {
    (void)state;
    sh_arena_dispose(&arena);
    return 0;
}

/* Checks a text; returns "POINTER CODE, POINTER CODE" or, when all is well, the value rewritten. */
static const char *checked(const sh_schema_t *schema, const char *text, bool partial) {
    sh_json_value_t *value;
    sh_json_error_t error = {0};
    report.count = 0;
    if (sh_json_read(&arena, sh_str_of(text), SH_JSON_LIMITS_DEFAULT, &value, &error) != SH_OK)
        return sh_arena_printf(&arena, "not JSON: %s at %zu", error.reason, error.offset);
    sh_buf_t out = {0};
    if (sh_schema_check(schema, value, partial, &report) == SH_OK) {
        sh_json_write(&out, value);
    } else {
        for (uint32_t i = 0; i < report.count; i++)
            sh_buf_printf(&out, "%s%.*s %s", i ? ", " : "", (int)report.issues[i].pointer.len, report.issues[i].pointer.ptr, report.issues[i].code);
    }
    const char *result = sh_arena_str(&arena, sh_buf_str(&out)).ptr;
    sh_buf_dispose(&out);
    return result;
}

typedef struct expectation {
    const char *text, *result;
} expectation_t;

static void expect_all(const sh_schema_t *schema, const expectation_t *list, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const char *result = checked(schema, list[i].text, false);
        if (strcmp(result, list[i].result) != 0) fail_msg("%s: got \"%s\", expected \"%s\"", list[i].text, result, list[i].result);
    }
}
#define EXPECT(schema, ...)                                                                                                                          \
    do {                                                                                                                                             \
        static const expectation_t list_[] = {__VA_ARGS__};                                                                                          \
        expect_all((schema), list_, SH_ARRAY_LEN(list_));                                                                                            \
    } while (0)

static const sh_schema_t quantity = {.type = SH_SCHEMA_INTEGER, .has_min = true, .min = 1, .has_max = true, .max = 100000};
static const sh_schema_t any_integer = {.type = SH_SCHEMA_INTEGER};
static const sh_schema_t text_2_5 = {.type = SH_SCHEMA_STRING, .has_min = true, .min = 2, .has_max = true, .max = 5};
static const sh_schema_t money = {.type = SH_SCHEMA_MONEY, .scale = 2};
static const sh_schema_t price = {.type = SH_SCHEMA_MONEY, .scale = 2, .has_min = true, .min = 1, .has_max = true, .max = 100000};
static const sh_schema_t balance = {.type = SH_SCHEMA_MONEY, .scale = 2, .has_min = true, .min = -500};
static const sh_schema_t percent = {.type = SH_SCHEMA_DECIMAL, .scale = 4, .has_min = true, .min = 0, .has_max = true, .max = 1000000};
static const sh_schema_t uuid = {.type = SH_SCHEMA_UUID};
static const sh_schema_t date = {.type = SH_SCHEMA_DATE};
static const sh_schema_t timestamp = {.type = SH_SCHEMA_TIMESTAMP};
static const sh_schema_t email = {.type = SH_SCHEMA_EMAIL};
static const sh_schema_t boolean = {.type = SH_SCHEMA_BOOLEAN};
static const sh_schema_t anything = {.type = SH_SCHEMA_ANY};
static const sh_schema_t nullable_text = {.type = SH_SCHEMA_STRING, .nullable = true};
static const sh_str_t kinds[] = {{"PERSON", 6}, {"COMPANY", 7}};
static const sh_schema_t kind = {.type = SH_SCHEMA_STRING, .choices = kinds, .choice_count = 2};

static void checks_integers(void **state) {
    (void)state;
    EXPECT(&quantity, {"1", "1"}, {"100000", "100000"}, {"0", " MIN"}, {"-1", " MIN"}, {"100001", " MAX"}, {"9007199254740993", " MAX"},
           {"99999999999999999999", " MAX"}, {"-99999999999999999999", " MIN"}, {"1.5", " TYPE"}, {"1.0", " TYPE"}, {"1e3", " TYPE"},
           {"\"1\"", " TYPE"}, {"true", " TYPE"}, {"null", " TYPE"}, {"[1]", " TYPE"}, {"{}", " TYPE"});
    EXPECT(&any_integer, {"9007199254740991", "9007199254740991"}, {"9007199254740993", " MAX"}, {"-9007199254740991", "-9007199254740991"},
           {"-9007199254740992", " MIN"});
}

static void checks_texts(void **state) {
    (void)state;
    EXPECT(&text_2_5, {"\"ab\"", "\"ab\""}, {"\"a\"", " MIN_LENGTH"}, {"\"\"", " MIN_LENGTH"}, {"\"abcdef\"", " MAX_LENGTH"},
           {"\"\xc3\xa1\xc3\xa9\xc3\xad\xc3\xb3\xf0\x9f\x98\x80\"", "\"\xc3\xa1\xc3\xa9\xc3\xad\xc3\xb3\xf0\x9f\x98\x80\""},
           {"\"\xc3\xa1\"", " MIN_LENGTH"}, {"12", " TYPE"}, {"null", " TYPE"});
    EXPECT(&kind, {"\"PERSON\"", "\"PERSON\""}, {"\"person\"", " ENUM"}, {"\"\"", " ENUM"}, {"1", " TYPE"});
    EXPECT(&nullable_text, {"null", "null"}, {"\"\"", "\"\""}, {"0", " TYPE"});
    EXPECT(&boolean, {"true", "true"}, {"false", "false"}, {"\"true\"", " TYPE"}, {"1", " TYPE"}, {"null", " TYPE"});
    EXPECT(&anything, {"null", "null"}, {"[1,{}]", "[1,{}]"});
}

static void checks_money(void **state) {
    (void)state;
    EXPECT(&money, {"\"5\"", "\"5.00\""}, {"\"5.5\"", "\"5.50\""}, {"\"1234.50\"", "\"1234.50\""}, {"\"0\"", "\"0.00\""}, {"\"0.05\"", "\"0.05\""},
           {"\"99999999.99\"", "\"99999999.99\""}, {"\"100000000\"", " MONEY"}, {"\"1.005\"", " MONEY"}, {"\"1.000\"", " MONEY"},
           {"\"1e3\"", " MONEY"}, {"\"01\"", " MONEY"}, {"\"00.50\"", " MONEY"}, {"\".5\"", " MONEY"}, {"\"5.\"", " MONEY"}, {"\"\"", " MONEY"},
           {"\"-\"", " MONEY"}, {"\"-1\"", " MONEY"}, {"\"+1\"", " MONEY"}, {"\" 1\"", " MONEY"}, {"\"1 \"", " MONEY"}, {"\"1,50\"", " MONEY"},
           {"\"1.5.0\"", " MONEY"}, {"\"0x1\"", " MONEY"}, {"\"NaN\"", " MONEY"}, {"5", " TYPE"}, {"5.00", " TYPE"}, {"1e3", " TYPE"},
           {"null", " TYPE"});
    EXPECT(&price, {"\"0.01\"", "\"0.01\""}, {"\"0\"", " MIN"}, {"\"-1\"", " MIN"}, {"\"1000\"", "\"1000.00\""}, {"\"1000.01\"", " MAX"});
    EXPECT(&balance, {"\"-5\"", "\"-5.00\""}, {"\"-5.01\"", " MIN"}, {"\"-0.5\"", "\"-0.50\""}, {"\"-0\"", "\"0.00\""});
    EXPECT(&percent, {"\"10\"", "\"10.0000\""}, {"\"100\"", "\"100.0000\""}, {"\"100.0001\"", " MAX"}, {"\"0.00001\"", " DECIMAL"},
           {"\"x\"", " DECIMAL"}, {"10", " TYPE"});
}

static void checks_formats(void **state) {
    (void)state;
    EXPECT(&uuid, {"\"0192F0C1-2345-7ABC-8DEF-0123456789AB\"", "\"0192f0c1-2345-7abc-8def-0123456789ab\""},
           {"\"0192f0c1-2345-7abc-8def-0123456789ab\"", "\"0192f0c1-2345-7abc-8def-0123456789ab\""},
           {"\"0192f0c1-2345-7abc-8def-0123456789a\"", " UUID"}, {"\"0192f0c1-2345-7abc-8def-0123456789ag\"", " UUID"},
           {"\"{0192f0c1-2345-7abc-8def-0123456789ab}\"", " UUID"}, {"\"0192f0c123457abc8def0123456789ab\"", " UUID"},
           {"\"'; drop table quotations; --        \"", " UUID"}, {"1", " TYPE"});
    EXPECT(&date, {"\"2024-02-29\"", "\"2024-02-29\""}, {"\"2023-02-29\"", " DATE"}, {"\"2026-13-01\"", " DATE"}, {"\"0000-01-01\"", " DATE"},
           {"\"0001-01-01\"", "\"0001-01-01\""}, {"\"2026-1-1\"", " DATE"}, {"\"\"", " DATE"}, {"\"2026-01-01T00:00:00Z\"", " DATE"},
           {"20260101", " TYPE"});
    EXPECT(&timestamp, {"\"2026-11-24T09:06:14Z\"", "\"2026-11-24T09:06:14.000000Z\""},
           {"\"2026-11-24T00:30:00.5+02:00\"", "\"2026-11-23T22:30:00.500000Z\""}, {"\"2026-11-24 09:06:14Z\"", " TIMESTAMP"},
           {"\"2026-11-24T09:06:14\"", " TIMESTAMP"}, {"\"0001-01-01T00:00:00+01:00\"", " TIMESTAMP"},
           {"\"9999-12-31T23:59:59-01:00\"", " TIMESTAMP"}, {"\"9999-12-31T23:59:59Z\"", "\"9999-12-31T23:59:59.000000Z\""}, {"1", " TYPE"});
    EXPECT(&email, {"\"ana@ejemplo.com\"", "\"ana@ejemplo.com\""}, {"\"a.b+c@sub.ejemplo-uno.com.mx\"", "\"a.b+c@sub.ejemplo-uno.com.mx\""},
           {"\"ana\"", " EMAIL"}, {"\"@ejemplo.com\"", " EMAIL"}, {"\"ana@\"", " EMAIL"}, {"\"ana@localhost\"", " EMAIL"},
           {"\"ana@@ejemplo.com\"", " EMAIL"}, {"\"an a@ejemplo.com\"", " EMAIL"}, {"\"ana@ejem plo.com\"", " EMAIL"},
           {"\"ana@ejemplo.com\\nBcc: x@y.z\"", " EMAIL"}, {"\"ana@.com\"", " EMAIL"}, {"\"ana@ejemplo.com.\"", " EMAIL"},
           {"\"ana@ejemplo..com\"", " EMAIL"}, {"\"ana@-ejemplo.com\"", " EMAIL"}, {"\"ana@ejemplo-.com\"", " EMAIL"},
           {"\".ana@ejemplo.com\"", " EMAIL"}, {"\"ana.@ejemplo.com\"", " EMAIL"}, {"\"a..b@ejemplo.com\"", " EMAIL"},
           {"\"<ana@ejemplo.com>\"", " EMAIL"}, {"\"\"", " EMAIL"}, {"null", " TYPE"});
    char text[300];
    memset(text, 'a', sizeof text);
    snprintf(text + 65, sizeof text - 65, "@ejemplo.com\"");
    text[0] = '"';
    assert_true(checked(&email, text, false)[0] == '"'); /* 64 bytes before the @ */
    memset(text + 1, 'a', 70);
    snprintf(text + 66, sizeof text - 66, "@ejemplo.com\"");
    assert_string_equal(checked(&email, text, false), " EMAIL");
}

static sh_json_value_t usd = {.kind = SH_JSON_STRING, .text = {"USD", 3}};
static const sh_schema_field_t item_fields[] = {
    {SH_STR("product_id"), &uuid, true, NULL},
    {SH_STR("quantity"), &quantity, true, NULL},
    {SH_STR("a/b~c"), &boolean, false, NULL},
};
static const sh_schema_t item = {.type = SH_SCHEMA_OBJECT, .fields = item_fields, .field_count = SH_ARRAY_LEN(item_fields)};
static const sh_schema_t items = {.type = SH_SCHEMA_ARRAY, .items = &item, .has_min = true, .min = 1, .has_max = true, .max = 3};
static const sh_schema_t currency = {.type = SH_SCHEMA_STRING};
static const sh_schema_field_t address_fields[] = {{SH_STR("city"), &text_2_5, true, NULL}, {SH_STR("zip"), &currency, true, NULL}};
static const sh_schema_t address = {.type = SH_SCHEMA_OBJECT, .fields = address_fields, .field_count = 2};
static const sh_schema_field_t order_fields[] = {
    {SH_STR("customer_id"), &uuid, true, NULL},     {SH_STR("items"), &items, true, NULL},      {SH_STR("currency"), &currency, false, &usd},
    {SH_STR("notes"), &nullable_text, false, NULL}, {SH_STR("address"), &address, false, NULL},
};
static const sh_schema_t order = {.type = SH_SCHEMA_OBJECT, .fields = order_fields, .field_count = SH_ARRAY_LEN(order_fields)};

#define ID "\"0192f0c1-2345-7abc-8def-0123456789ab\""

static void names_every_bad_field(void **state) {
    (void)state;
    EXPECT(
        &order,
        {"{\"customer_id\":" ID ",\"items\":[{\"product_id\":" ID ",\"quantity\":2}]}",
         "{\"customer_id\":" ID ",\"items\":[{\"product_id\":" ID ",\"quantity\":2}],\"currency\":\"USD\"}"},
        {"{\"currency\":\"EUR\",\"customer_id\":" ID ",\"items\":[{\"product_id\":" ID ",\"quantity\":2}]}",
         "{\"currency\":\"EUR\",\"customer_id\":" ID ",\"items\":[{\"product_id\":" ID ",\"quantity\":2}]}"},
        {"{}", "/customer_id REQUIRED, /items REQUIRED"}, {"[]", " TYPE"}, {"null", " TYPE"}, {"\"x\"", " TYPE"},
        {"{\"customer_id\":\"x\",\"items\":[{\"product_id\":1,\"quantity\":0},{\"quantity\":1.5,\"extra\":1,\"a/b~c\":3}],\"other\":{}}",
         "/customer_id UUID, /items/0/product_id TYPE, /items/0/quantity MIN, /items/1/quantity TYPE, /items/1/extra UNKNOWN_FIELD, "
         "/items/1/a~1b~0c TYPE, /items/1/product_id REQUIRED, /other UNKNOWN_FIELD"},
        {"{\"customer_id\":" ID ",\"items\":[]}", "/items MIN_ITEMS"}, {"{\"customer_id\":" ID ",\"items\":[1,2,3,4]}", "/items MAX_ITEMS"},
        {"{\"customer_id\":" ID ",\"items\":[[]]}", "/items/0 TYPE"}, {"{\"customer_id\":" ID ",\"items\":{}}", "/items TYPE"},
        {"{\"customer_id\":null,\"items\":null}", "/customer_id TYPE, /items TYPE"},
        {"{\"customer_id\":" ID ",\"items\":[{\"product_id\":" ID ",\"quantity\":2}],\"\":1,\"Notes\":1}", "/ UNKNOWN_FIELD, /Notes UNKNOWN_FIELD"});
}

static void patches_need_no_field(void **state) {
    (void)state;
    assert_string_equal(checked(&order, "{}", true), "{}");
    assert_string_equal(checked(&order, "{\"notes\":null}", true), "{\"notes\":null}");
    assert_string_equal(checked(&order, "{\"customer_id\":null}", true), "/customer_id TYPE");
    assert_string_equal(checked(&order, "{\"address\":{\"city\":\"Lima\"}}", true), "{\"address\":{\"city\":\"Lima\"}}");
    assert_string_equal(checked(&order, "{\"address\":{\"town\":\"Lima\"}}", true), "/address/town UNKNOWN_FIELD");
    /* an array replaces the old one, so its items are complete */
    assert_string_equal(checked(&order, "{\"items\":[{\"quantity\":1}]}", true), "/items/0/product_id REQUIRED");
}

static void bounds_what_it_reports(void **state) {
    (void)state;
    sh_buf_t text = {0};
    sh_buf_put_byte(&text, '{');
    for (int i = 0; i < 200; i++) sh_buf_printf(&text, "%s\"f%d\":1", i ? "," : "", i);
    sh_buf_put_byte(&text, '}');
    checked(&order, sh_buf_c(&text), false);
    assert_int_equal(report.count, SH_SCHEMA_ISSUES_MAX);

    sh_buf_clear(&text);
    sh_buf_put_lit(&text, "{\"");
    for (int i = 0; i < 1000; i++) sh_buf_put_lit(&text, "\xc3\xb1");
    sh_buf_put_lit(&text, "\":1}");
    checked(&order, sh_buf_c(&text), true);
    assert_int_equal(report.count, 1);
    sh_str_t pointer = report.issues[0].pointer;
    assert_true(pointer.len <= SH_SCHEMA_POINTER_MAX && sh_utf8_is_valid(pointer));
    assert_memory_equal(pointer.ptr + pointer.len - 3, "...", 3);
    sh_buf_dispose(&text);
}

/* More fields than a word has bits. */
static void remembers_many_fields(void **state) {
    (void)state;
    enum { FIELDS = 100 };
    static sh_schema_field_t fields[FIELDS];
    static char names[FIELDS][16];
    for (int i = 0; i < FIELDS; i++) {
        snprintf(names[i], sizeof names[i], "f%02d", i);
        fields[i] = (sh_schema_field_t){sh_str_of(names[i]), &boolean, i == 3 || i == 99, NULL};
    }
    const sh_schema_t wide = {.type = SH_SCHEMA_OBJECT, .fields = fields, .field_count = FIELDS};
    assert_string_equal(checked(&wide, "{\"f99\":true}", false), "/f03 REQUIRED");
    assert_string_equal(checked(&wide, "{\"f03\":true}", false), "/f99 REQUIRED");
    assert_string_equal(checked(&wide, "{\"f03\":true,\"f99\":true}", false), "{\"f03\":true,\"f99\":true}");
}

/* ---- queries */

static sh_json_value_t fifty = {.kind = SH_JSON_INTEGER, .i64 = 50};
static const sh_schema_t limit = {.type = SH_SCHEMA_INTEGER, .has_min = true, .min = 1, .has_max = true, .max = 200};
static const sh_schema_field_t query_fields[] = {
    {SH_STR("limit"), &limit, false, &fifty},    {SH_STR("active"), &boolean, false, NULL}, {SH_STR("search"), &currency, false, NULL},
    {SH_STR("customer_id"), &uuid, false, NULL}, {SH_STR("from"), &date, true, NULL},       {SH_STR("min_price"), &money, false, NULL},
};
static const sh_schema_t query = {.type = SH_SCHEMA_OBJECT, .fields = query_fields, .field_count = SH_ARRAY_LEN(query_fields)};

static const char *checked_query(const sh_schema_pair_t *pairs, uint32_t count) {
    sh_json_value_t *value = NULL;
    sh_buf_t out = {0};
    report.count = 0;
    if (sh_schema_check_query(&query, pairs, count, &report, &value) == SH_OK) sh_json_write(&out, value);
    for (uint32_t i = 0; i < report.count; i++)
        sh_buf_printf(&out, "%s%.*s %s", i ? ", " : "", (int)report.issues[i].pointer.len, report.issues[i].pointer.ptr, report.issues[i].code);
    const char *result = sh_arena_str(&arena, sh_buf_str(&out)).ptr;
    sh_buf_dispose(&out);
    return result;
}
#define QUERY(...) checked_query((const sh_schema_pair_t[]){__VA_ARGS__}, SH_ARRAY_LEN(((const sh_schema_pair_t[]){__VA_ARGS__})))
#define PAIR(n, v)                                                                                                                                   \
    { SH_STR(n), SH_STR(v) }

static void checks_queries(void **state) {
    (void)state;
    assert_string_equal(QUERY(PAIR("from", "2026-01-31")), "{\"from\":\"2026-01-31\",\"limit\":50}");
    assert_string_equal(QUERY(PAIR("from", "2026-01-31"), PAIR("limit", "200"), PAIR("active", "false"), PAIR("search", "10"), PAIR("min_price", "5"),
                              PAIR("customer_id", "0192F0C1-2345-7ABC-8DEF-0123456789AB")),
                        "{\"from\":\"2026-01-31\",\"limit\":200,\"active\":false,\"search\":\"10\",\"min_price\":\"5.00\","
                        "\"customer_id\":" ID "}");
    assert_string_equal(checked_query(NULL, 0), "from REQUIRED");
    assert_string_equal(QUERY(PAIR("from", "x"), PAIR("limit", "0"), PAIR("limit", "5"), PAIR("color", "red"), PAIR("active", "1")),
                        "from DATE, limit MIN, limit REPEATED, color UNKNOWN_FIELD, active TYPE");
    static const char *const bad_limits[] = {"", "x", "01", "+5", "5.0", "1e2", " 5", "99999999999999999999"};
    for (size_t i = 0; i < SH_ARRAY_LEN(bad_limits); i++)
        assert_string_equal(checked_query((const sh_schema_pair_t[]){PAIR("from", "2026-01-31"), {SH_STR("limit"), sh_str_of(bad_limits[i])}}, 2),
                            "limit TYPE");
    assert_string_equal(QUERY(PAIR("from", "2026-01-31"), PAIR("search", "")), "{\"from\":\"2026-01-31\",\"search\":\"\",\"limit\":50}");
}

/* ---- sentences */

static void says_what_is_wrong(void **state) {
    (void)state;
    static const sh_schema_t at_least_1 = {.type = SH_SCHEMA_INTEGER, .has_min = true, .min = 1};
    static const sh_schema_t at_most_9 = {.type = SH_SCHEMA_INTEGER, .has_max = true, .max = 9};
    static const sh_schema_t filled = {.type = SH_SCHEMA_STRING, .has_min = true, .min = 1, .has_max = true, .max = 1};
    static const struct {
        const char *code;
        const sh_schema_t *schema;
        const char *es, *en;
    } cases[] = {
        {"REQUIRED", &quantity, "es obligatorio", "is required"},
        {"UNKNOWN_FIELD", NULL, "no es un campo conocido", "is not a known field"},
        {"REPEATED", NULL, "está repetido", "is given more than once"},
        {"TYPE", &quantity, "debe ser un entero entre 1 y 100000", "must be an integer between 1 and 100000"},
        {"TYPE", &any_integer, "debe ser un entero", "must be an integer"},
        {"TYPE", &at_least_1, "debe ser un entero mayor o igual que 1", "must be an integer greater than or equal to 1"},
        {"TYPE", &at_most_9, "debe ser un entero menor o igual que 9", "must be an integer less than or equal to 9"},
        {"MIN", &quantity, "debe ser un entero entre 1 y 100000", "must be an integer between 1 and 100000"},
        {"MAX", &any_integer, "debe ser un entero entre -9007199254740991 y 9007199254740991",
         "must be an integer between -9007199254740991 and 9007199254740991"},
        {"MAX", &price, "debe ser un importe entre 0.01 y 1000.00", "must be an amount between 0.01 and 1000.00"},
        {"MIN", &balance, "debe ser un importe mayor o igual que -5.00", "must be an amount greater than or equal to -5.00"},
        {"MAX", &percent, "debe ser un número entre 0.0000 y 100.0000", "must be a number between 0.0000 and 100.0000"},
        {"MIN_LENGTH", &text_2_5, "debe tener al menos 2 caracteres", "must have at least 2 characters"},
        {"MIN_LENGTH", &filled, "no puede estar vacío", "must not be empty"},
        {"MAX_LENGTH", &text_2_5, "debe tener como máximo 5 caracteres", "must have at most 5 characters"},
        {"MAX_LENGTH", &filled, "debe tener como máximo 1 carácter", "must have at most 1 character"},
        {"MIN_ITEMS", &items, "no puede estar vacía", "must not be empty"},
        {"MAX_ITEMS", &items, "debe tener como máximo 3 elementos", "must have at most 3 items"},
        {"ENUM", &kind, "debe ser uno de estos valores: PERSON, COMPANY", "must be one of: PERSON, COMPANY"},
        {"UUID", &uuid, "debe ser un identificador UUID", "must be a UUID"},
        {"DATE", &date, "debe ser una fecha que exista, con la forma AAAA-MM-DD", "must be a date that exists, written as YYYY-MM-DD"},
        {"TIMESTAMP", &timestamp, "debe ser una fecha con hora (RFC 3339), por ejemplo \"2026-01-31T09:30:00Z\"",
         "must be a date and time (RFC 3339), for example \"2026-01-31T09:30:00Z\""},
        {"MONEY", &money, "debe ser un importe escrito como texto, con hasta 8 cifras enteras y 2 decimales, por ejemplo \"1234.50\"",
         "must be an amount written as text, with at most 8 digits before the point and 2 after it, for example \"1234.50\""},
        {"DECIMAL", &percent, "debe ser un número decimal escrito como texto, con hasta 8 cifras enteras y 4 decimales, por ejemplo \"12.5\"",
         "must be a decimal number written as text, with at most 8 digits before the point and 4 after it, for example \"12.5\""},
        {"EMAIL", &email, "debe ser una dirección de correo válida, por ejemplo \"ana@ejemplo.com\"",
         "must be a valid e-mail address, for example \"ana@example.com\""},
        {"TYPE", &boolean, "debe ser true o false", "must be true or false"},
        {"TYPE", &kind, "debe ser un texto", "must be a string"},
        {"TYPE", &items, "debe ser una lista", "must be a list"},
        {"TYPE", &order, "debe ser un objeto", "must be an object"},
    };
    for (size_t i = 0; i < SH_ARRAY_LEN(cases); i++) {
        sh_schema_issue_t issue = {SH_STR("/x"), cases[i].code, cases[i].schema};
        assert_string_equal(sh_schema_issue_text(&issue, "es", &arena).ptr, cases[i].es);
        assert_string_equal(sh_schema_issue_text(&issue, "en", &arena).ptr, cases[i].en);
    }
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(checks_integers),       TEST(checks_texts),           TEST(checks_money),          TEST(checks_formats), TEST(names_every_bad_field),
        TEST(patches_need_no_field), TEST(bounds_what_it_reports), TEST(remembers_many_fields), TEST(checks_queries), TEST(says_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
