/* A schema with every type against any JSON, and against any query text: what passes the check passes it again unchanged, since it is
 * canonical by then; what does not has pointers of bounded length and a sentence in both languages. */
#include "base/err.h"
#include "codec/schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const sh_schema_t text = {.type = SH_SCHEMA_STRING, .has_min = true, .min = 1, .has_max = true, .max = 20, .nullable = true};
static const sh_schema_t integer = {.type = SH_SCHEMA_INTEGER, .has_min = true, .min = -5, .has_max = true, .max = 100000};
static const sh_schema_t boolean = {.type = SH_SCHEMA_BOOLEAN};
static const sh_schema_t money = {.type = SH_SCHEMA_MONEY, .scale = 2};
static const sh_schema_t rate = {.type = SH_SCHEMA_DECIMAL, .scale = 6, .has_min = true, .min = -1000000};
static const sh_schema_t uuid = {.type = SH_SCHEMA_UUID};
static const sh_schema_t date = {.type = SH_SCHEMA_DATE};
static const sh_schema_t timestamp = {.type = SH_SCHEMA_TIMESTAMP};
static const sh_schema_t email = {.type = SH_SCHEMA_EMAIL};
static const sh_schema_t any = {.type = SH_SCHEMA_ANY};
static const sh_str_t choices[] = {{"A", 1}, {"B", 1}};
static const sh_schema_t kind = {.type = SH_SCHEMA_STRING, .choices = choices, .choice_count = 2};
static const sh_json_value_t fallback = {.kind = SH_JSON_INTEGER, .i64 = 7};
static const sh_schema_field_t scalars[] = {
    {SH_STR("s"), &text, false, NULL},  {SH_STR("i"), &integer, false, &fallback}, {SH_STR("b"), &boolean, false, NULL},
    {SH_STR("m"), &money, false, NULL}, {SH_STR("r"), &rate, false, NULL},         {SH_STR("u"), &uuid, false, NULL},
    {SH_STR("d"), &date, false, NULL},  {SH_STR("t"), &timestamp, false, NULL},    {SH_STR("e"), &email, false, NULL},
    {SH_STR("k"), &kind, false, NULL},  {SH_STR("x"), &any, false, NULL},
};
static const sh_schema_t object = {.type = SH_SCHEMA_OBJECT, .fields = scalars, .field_count = SH_ARRAY_LEN(scalars)};
static const sh_schema_t list = {.type = SH_SCHEMA_ARRAY, .items = &object, .has_max = true, .max = 5};
static const sh_schema_field_t fields[] = {{SH_STR("list"), &list, true, NULL}, {SH_STR("one"), &object, false, NULL}};
static const sh_schema_t root = {.type = SH_SCHEMA_OBJECT, .fields = fields, .field_count = 2};

static void see_issues(const sh_schema_report_t *report) {
    SH_ASSERT(report->count && report->count <= SH_SCHEMA_ISSUES_MAX);
    for (uint32_t i = 0; i < report->count; i++) {
        SH_ASSERT(report->issues[i].pointer.len <= SH_SCHEMA_POINTER_MAX);
        SH_ASSERT(sh_schema_issue_text(&report->issues[i], "es", report->arena).len);
        SH_ASSERT(sh_schema_issue_text(&report->issues[i], "en", report->arena).len);
    }
}

static void check_body(sh_arena_t *arena, sh_str_t input, bool partial) {
    sh_schema_report_t report = {.arena = arena};
    sh_json_value_t *value;
    sh_json_error_t error;
    sh_buf_t first = {0}, second = {0};
    if (sh_json_read(arena, input, SH_JSON_LIMITS_DEFAULT, &value, &error) != SH_OK) return;
    if (sh_schema_check(&root, value, partial, &report) != SH_OK) return see_issues(&report);
    sh_json_write(&first, value);
    SH_ASSERT(sh_schema_check(&root, value, partial, &report) == SH_OK);
    sh_json_write(&second, value);
    SH_ASSERT(sh_str_eq(sh_buf_str(&first), sh_buf_str(&second)));
    sh_buf_dispose(&first);
    sh_buf_dispose(&second);
}

/* Lines "name=value". */
static void check_query(sh_arena_t *arena, sh_str_t input) {
    sh_schema_pair_t pairs[32];
    uint32_t count = 0;
    sh_schema_report_t report = {.arena = arena};
    sh_json_value_t *out;
    while (input.len && count < SH_ARRAY_LEN(pairs)) {
        const char *end = memchr(input.ptr, '\n', input.len);
        sh_str_t line = sh_str(input.ptr, end ? (size_t)(end - input.ptr) : input.len);
        const char *equals = memchr(line.ptr, '=', line.len);
        size_t name = equals ? (size_t)(equals - line.ptr) : line.len;
        pairs[count++] = (sh_schema_pair_t){sh_str(line.ptr, name), equals ? sh_str(equals + 1, line.len - name - 1) : sh_str("", 0)};
        size_t used = line.len + (end != NULL);
        input = sh_str(input.ptr + used, input.len - used);
    }
    if (sh_schema_check_query(&object, pairs, count, &report, &out) != SH_OK)
        see_issues(&report);
    else
        SH_ASSERT(out->kind == SH_JSON_OBJECT && out->count <= object.field_count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sh_arena_t arena;
    sh_str_t input = sh_str((const char *)data, size);
    sh_arena_init(&arena);
    check_body(&arena, input, false);
    check_body(&arena, input, true);
    check_query(&arena, input);
    sh_arena_dispose(&arena);
    return 0;
}
