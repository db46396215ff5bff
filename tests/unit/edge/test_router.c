/* Proves that the router finds the route of a path and method, tells 404 from 405 with the right Allow, prefers static segments, and refuses
 * two routes that are the same: over the routes of two invented services. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/err.h"
#include "edge/router.h"
#include "unit/edge/rules.h"

static sh_route_t a_routes[] = {
    {.method = "GET", .pattern = "/api/v1/things"},
    {.method = "POST", .pattern = "/api/v1/things"},
    {.method = "GET", .pattern = "/api/v1/things/:id"},
    {.method = "PATCH", .pattern = "/api/v1/things/:id"},
    {.method = "DELETE", .pattern = "/api/v1/things/:id"},
    {.method = "POST", .pattern = "/api/v1/things/import"},
    {.method = "GET", .pattern = "/api/v1/things/:id/parts/:part_id"},
};
static sh_route_t b_routes[] = {
    {.method = "POST", .pattern = "/api/v1/things/:id/approve"},
    {.method = "GET", .pattern = "/api/v1/reports/stock"},
    {.method = "GET", .pattern = "/api/v1/x/special/end"},
    {.method = "GET", .pattern = "/api/v1/x/:name/other"},
};

static sh_generation_t *generation;
static sh_router_t *router;

static int set_up(void **state) {
    (void)state;
    sh_buf_t error = {0};
    generation = rules_make("test");
    rules_add(generation, "a", a_routes, SH_ARRAY_LEN(a_routes));
    rules_add(generation, "b", b_routes, SH_ARRAY_LEN(b_routes));
    return sh_router_build(generation, &router, &error);
}
static int tear_down(void **state) {
    (void)state;
    sh_router_destroy(router);
    sh_generation_release(generation);
    return 0;
}

static const char *find(const char *method, const char *path) {
    static char text[128];
    sh_match_t m = {0};
    switch (sh_router_find(router, sh_str_of(method), sh_str_of(path), &m)) {
    case SH_OK: {
        size_t n = (size_t)snprintf(text, sizeof text, "%s %s of %s", m.route->method, m.route->pattern + 7, sh_vm_service(m.vm));
        const char *p = m.route->pattern;
        for (int i = 0; (p = strchr(p, ':')); i++, p++)
            n += (size_t)snprintf(text + n, sizeof text - n, " %.*s", (int)m.params[i].len, m.params[i].ptr);
        return text;
    }
    case SH_ENOTFOUND: return "404";
    default: snprintf(text, sizeof text, "405 %s", m.allow); return text;
    }
}

static void finds_routes(void **state) {
    (void)state;
    assert_string_equal(find("GET", "/api/v1/things"), "GET /things of a");
    assert_string_equal(find("HEAD", "/api/v1/things"), "GET /things of a");
    assert_string_equal(find("POST", "/api/v1/things"), "POST /things of a");
    assert_string_equal(find("GET", "/api/v1/things/7"), "GET /things/:id of a 7");
    assert_string_equal(find("DELETE", "/api/v1/things/7"), "DELETE /things/:id of a 7");
    assert_string_equal(find("GET", "/api/v1/things/7/parts/x y"), "GET /things/:id/parts/:part_id of a 7 x y");
    assert_string_equal(find("POST", "/api/v1/things/7/approve"), "POST /things/:id/approve of b 7");
    assert_string_equal(find("GET", "/api/v1/reports/stock"), "GET /reports/stock of b");
}

static void prefers_static_segments(void **state) {
    (void)state;
    assert_string_equal(find("POST", "/api/v1/things/import"), "POST /things/import of a");
    assert_string_equal(find("GET", "/api/v1/things/import"), "GET /things/:id of a import"); /* the static one has no GET */
    assert_string_equal(find("GET", "/api/v1/x/special/end"), "GET /x/special/end of b");
    assert_string_equal(find("GET", "/api/v1/x/special/other"), "GET /x/:name/other of b special"); /* back from a dead end */
}

static void tells_404_from_405(void **state) {
    (void)state;
    static const char *const unknown[] = {
        "",
        "/",
        "//",
        "/api",
        "/api/v1",
        "/api/v1/",
        "/api/v1/thing",
        "/api/v1/thingss",
        "/api/v1/things/",
        "/api/v1/things//",
        "/api/v1/things/7/",
        "/api/v1/things//parts/1",
        "/api/v1/things/7/parts",
        "/api/v1/things/7/parts/1/x",
        "/api/v1/x/special",
        "/API/v1/things",
        "/api/v1/things?x",
        "api/v1/things",
        "/api/v1/reports",
        "/api/v1//things",
    };
    for (size_t i = 0; i < SH_ARRAY_LEN(unknown); i++)
        if (strcmp(find("GET", unknown[i]), "404") != 0) fail_msg("%s is %s", unknown[i], find("GET", unknown[i]));
    assert_string_equal(find("DELETE", "/api/v1/things"), "405 GET, HEAD, POST");
    assert_string_equal(find("POST", "/api/v1/things/7"), "405 GET, HEAD, PATCH, DELETE");
    assert_string_equal(find("GET", "/api/v1/things/7/approve"), "405 POST");
    assert_string_equal(find("PUT", "/api/v1/things/import"), "405 GET, HEAD, POST, PATCH, DELETE");
    assert_string_equal(find("TRACE", "/api/v1/reports/stock"), "405 GET, HEAD");
    assert_string_equal(find("get", "/api/v1/reports/stock"), "405 GET, HEAD"); /* methods are case-sensitive */
    assert_string_equal(find("", "/api/v1/reports/stock"), "405 GET, HEAD");
}

static void refuses_the_same_route_twice(void **state) {
    (void)state;
    sh_route_t more[] = {{.method = "GET", .pattern = "/api/v1/things/:other"}};
    sh_buf_t error = {0};
    sh_router_t *second = NULL;
    rules_add(generation, "c", more, 1);
    assert_int_equal(sh_router_build(generation, &second, &error), SH_EINVAL);
    assert_null(second);
    assert_string_equal(sh_buf_c(&error), "rules/c/service.lua: GET /api/v1/things/:other is the same as /api/v1/things/:id of a");
    sh_buf_dispose(&error);
}

static void names_series_once(void **state) {
    (void)state;
    sh_buf_t text = {0};
    void *memory = sh_calloc(1, sh_metrics_size());
    sh_metrics_t *metrics = sh_metrics_init(memory);
    sh_router_name_series(router, metrics);
    const sh_route_metrics_t *named = a_routes[2].metrics;
    sh_series_add(named->status[2], 3);
    sh_series_observe_ns(named->duration, 1000000);
    sh_metrics_write(metrics, &text);
    assert_non_null(strstr(sh_buf_c(&text), "shama_http_requests_total{service=\"a\",method=\"GET\",route=\"/api/v1/things/:id\",status=\"2xx\"} 3"));
    sh_router_name_series(router, metrics); /* the next generation finds the same ones */
    assert_ptr_equal(((const sh_route_metrics_t *)a_routes[2].metrics)->status[2], named->status[2]);
    sh_buf_dispose(&text);
    free(memory);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(finds_routes), TEST(prefers_static_segments), TEST(tells_404_from_405), TEST(refuses_the_same_route_twice), TEST(names_series_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
