/* Proves that the OpenAPI document is JSON and says of every route what the router and the checks know: paths with all their methods,
 * parameters, bodies, roles, limits, defaults. The document of two invented services is read back with the JSON reader. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/err.h"
#include "edge/openapi.h"
#include "unit/edge/rules.h"

static const sh_schema_t uuid = {.type = SH_SCHEMA_UUID};
static const sh_schema_t name = {.type = SH_SCHEMA_STRING, .has_min = true, .min = 1, .has_max = true, .max = 40};
static const sh_schema_t money = {.type = SH_SCHEMA_MONEY, .scale = 2, .nullable = true};
static const sh_schema_t limit = {.type = SH_SCHEMA_INTEGER, .has_min = true, .min = 1, .has_max = true, .max = 200};
static const sh_json_value_t fifty = {.kind = SH_JSON_INTEGER, .i64 = 50};
static const sh_str_t kinds[] = {{"A", 1}, {"B\"", 2}};
static const sh_schema_t kind = {.type = SH_SCHEMA_STRING, .choices = kinds, .choice_count = 2, .nullable = true};
static const sh_schema_t tags = {.type = SH_SCHEMA_ARRAY, .items = &name, .has_max = true, .max = 5};
static const sh_schema_t any = {.type = SH_SCHEMA_ANY};
static const sh_schema_field_t thing_fields[] = {
    {SH_STR("name"), &name, true, NULL},  {SH_STR("price"), &money, true, NULL},    {SH_STR("kind"), &kind, false, NULL},
    {SH_STR("tags"), &tags, false, NULL}, {SH_STR("pages"), &limit, false, &fifty}, {SH_STR("more"), &any, false, &fifty},
};
static const sh_schema_t thing = {.type = SH_SCHEMA_OBJECT, .fields = thing_fields, .field_count = SH_ARRAY_LEN(thing_fields)};
static const sh_schema_field_t query_fields[] = {{SH_STR("limit"), &limit, false, &fifty}, {SH_STR("from"), &name, true, NULL}};
static const sh_schema_t query = {.type = SH_SCHEMA_OBJECT, .fields = query_fields, .field_count = 2};

static sh_route_t a_routes[] = {
    {.method = "GET",
     .pattern = "/api/v1/things",
     .query = &query,
     .status = 200,
     .summary = "List \"things\"",
     .operation = "a.get_things",
     .produces = "application/json",
     .roles = {"ADMIN", "SALES"},
     .role_count = 2},
    {.method = "GET",
     .pattern = "/api/v1/things/:id",
     .params = {"id"},
     .param_schemas = {&uuid},
     .param_count = 1,
     .status = 200,
     .summary = "",
     .operation = "a.get_things_id",
     .produces = "application/json",
     .answer = &thing},
    {.method = "POST",
     .pattern = "/api/v1/things",
     .body = &thing,
     .status = 201,
     .summary = "",
     .operation = "a.post_things",
     .produces = "application/json",
     .is_public = true},
};
static sh_route_t b_routes[] = {
    {.method = "PATCH",
     .pattern = "/api/v1/things/:id",
     .params = {"id"},
     .param_schemas = {&uuid},
     .param_count = 1,
     .body = &thing,
     .body_optional = true,
     .partial = true,
     .status = 200,
     .summary = "",
     .operation = "b.patch",
     .produces = "application/json"},
    {.method = "DELETE",
     .pattern = "/api/v1/things/:id/parts/:part_id",
     .params = {"id", "part_id"},
     .param_schemas = {&uuid, &name},
     .param_count = 2,
     .status = 204,
     .summary = "",
     .operation = "b.delete",
     .produces = "application/json"},
};

static sh_generation_t *generation;
static sh_arena_t arena;
static const sh_json_value_t *document;

static int set_up(void **state) {
    (void)state;
    sh_buf_t out = {0};
    sh_json_value_t *value = NULL;
    sh_json_error_t error = {0};
    sh_arena_init(&arena);
    generation = rules_make("test");
    rules_add(generation, "a", a_routes, SH_ARRAY_LEN(a_routes));
    rules_add(generation, "b", b_routes, SH_ARRAY_LEN(b_routes));
    sh_openapi_write(generation, &out);
    sh_str_t text = sh_arena_str(&arena, sh_buf_str(&out));
    sh_buf_dispose(&out);
    if (sh_json_read(&arena, text, SH_JSON_LIMITS_DEFAULT, &value, &error) != SH_OK) {
        print_error("%s at %zu: %s\n", error.reason, error.offset, text.ptr + error.offset);
        return -1;
    }
    document = value;
    return 0;
}
static int tear_down(void **state) {
    (void)state;
    sh_generation_release(generation);
    sh_arena_dispose(&arena);
    return 0;
}

/* What stands under keys (or indices "0"), as JSON text; "" when there is nothing. */
#define AT(...) at((const char *const[]){__VA_ARGS__, NULL})
static const char *at(const char *const *keys) {
    const sh_json_value_t *v = document;
    for (; *keys && v; keys++) {
        if (v->kind == SH_JSON_ARRAY)
            v = (uint32_t)atoi(*keys) < v->count ? &v->items[atoi(*keys)] : NULL;
        else
            v = sh_json_get(v, *keys);
    }
    if (!v) return "";
    sh_buf_t out = {0};
    sh_json_write(&out, v);
    const char *text = sh_arena_str(&arena, sh_buf_str(&out)).ptr;
    sh_buf_dispose(&out);
    return text;
}

static void lists_every_path_once(void **state) {
    (void)state;
    assert_string_equal(AT("openapi"), "\"3.1.0\"");
    assert_int_equal(sh_json_get(document, "paths")->count, 5 + 3); /* the platform's and three patterns; a key twice would not be read */
    assert_string_equal(AT("paths", "/api/v1/things", "get", "operationId"), "\"a.get_things\"");
    assert_string_equal(AT("paths", "/api/v1/things", "get", "summary"), "\"List \\\"things\\\"\"");
    assert_string_equal(AT("paths", "/api/v1/things", "post", "operationId"), "\"a.post_things\"");
    assert_string_equal(AT("paths", "/api/v1/things/{id}", "get", "tags"), "[\"a\"]");
    assert_string_equal(AT("paths", "/api/v1/things/{id}", "patch", "tags"), "[\"b\"]"); /* of another service */
    assert_string_equal(AT("paths", "/api/v1/things/{id}/parts/{part_id}", "delete", "operationId"), "\"b.delete\"");
    assert_string_equal(AT("paths", "/health", "get", "operationId"), "\"platform.health\"");
}

static void tells_parameters_and_rights(void **state) {
    (void)state;
    assert_string_equal(AT("paths", "/api/v1/things", "get", "parameters"),
                        "[{\"name\":\"limit\",\"in\":\"query\",\"required\":false,\"schema\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":200,"
                        "\"default\":50}},{\"name\":\"from\",\"in\":\"query\",\"required\":true,\"schema\":{\"type\":\"string\",\"minLength\":1,"
                        "\"maxLength\":40}}]");
    assert_string_equal(AT("paths", "/api/v1/things/{id}/parts/{part_id}", "delete", "parameters", "1", "name"), "\"part_id\"");
    assert_string_equal(AT("paths", "/api/v1/things/{id}", "get", "parameters", "0"),
                        "{\"name\":\"id\",\"in\":\"path\",\"required\":true,\"schema\":{\"type\":\"string\",\"format\":\"uuid\"}}");
    assert_string_equal(AT("paths", "/api/v1/things", "get", "x-roles"), "[\"ADMIN\",\"SALES\"]");
    assert_string_equal(AT("paths", "/api/v1/things", "get", "security"), "");
    assert_string_equal(AT("paths", "/api/v1/things", "post", "security"), "[]");
}

static void tells_bodies_and_answers(void **state) {
    (void)state;
    static const char *const json = "application/json";
    assert_string_equal(AT("paths", "/api/v1/things", "post", "requestBody", "required"), "true");
    assert_string_equal(AT("paths", "/api/v1/things", "post", "requestBody", "content", json, "schema", "required"), "[\"name\",\"price\"]");
    assert_string_equal(AT("paths", "/api/v1/things", "post", "requestBody", "content", json, "schema", "additionalProperties"), "false");
    assert_string_equal(AT("paths", "/api/v1/things", "post", "requestBody", "content", json, "schema", "properties"),
                        "{\"name\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":40},"
                        "\"price\":{\"type\":[\"string\",\"null\"],\"format\":\"decimal\",\"pattern\":\"^(0|[1-9][0-9]{0,7})(\\\\.[0-9]{1,2})?$\"},"
                        "\"kind\":{\"type\":[\"string\",\"null\"],\"enum\":[\"A\",\"B\\\"\",null]},"
                        "\"tags\":{\"type\":\"array\",\"maxItems\":5,\"items\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":40}},"
                        "\"pages\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":200,\"default\":50},\"more\":{\"default\":50}}");
    /* a patch requires nothing and fills in nothing */
    assert_string_equal(AT("paths", "/api/v1/things/{id}", "patch", "requestBody", "content", "application/merge-patch+json", "schema", "required"),
                        "");
    assert_string_equal(
        AT("paths", "/api/v1/things/{id}", "patch", "requestBody", "content", "application/merge-patch+json", "schema", "properties", "pages"),
        "{\"type\":\"integer\",\"minimum\":1,\"maximum\":200}");
    assert_string_equal(AT("paths", "/api/v1/things", "post", "responses", "201", "description"), "\"created\"");
    assert_string_equal(AT("paths", "/api/v1/things/{id}", "get", "responses", "200", "content", json, "schema", "properties", "more"),
                        "{\"default\":50}");
    assert_string_equal(AT("paths", "/api/v1/things/{id}/parts/{part_id}", "delete", "responses", "204"), "{\"description\":\"done\"}");
    assert_string_equal(AT("paths", "/api/v1/things", "post", "responses", "default", "$ref"), "\"#/components/responses/Problem\"");
    assert_true(AT("components", "responses", "Problem")[0] && AT("components", "schemas", "Problem")[0]);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
int main(void) {
    const struct CMUnitTest tests[] = {TEST(lists_every_path_once), TEST(tells_parameters_and_rights), TEST(tells_bodies_and_answers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
