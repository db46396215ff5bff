/* Services and an edge on the workbench. */
#include "app/test_app.h"

#include "app/user_lookup.h"
#include "app/worker.h"
#include "base/err.h"
#include "bind/lua_call.h"

#include <stdlib.h>

void sh_test_app_init(sh_test_app_t *app, sh_workbench_t *bench, sh_test_databases_t *databases) {
    *app = (sh_test_app_t){.bench = bench, .databases = databases};
}

void sh_test_app_dispose(sh_test_app_t *app) {
    if (app->edge) sh_edge_destroy(app->edge);
    sh_generation_release(app->generation);
    free(app->metrics_memory);
    *app = (sh_test_app_t){0};
}

static int user_lookup(void *data, sh_str_t user_id, sh_user_status_fn fn, void *fn_data) {
    const sh_test_app_t *app = data;
    return app->contexts[0].pool ? sh_user_lookup(app->contexts[0].pool, user_id, fn, fn_data) : SH_EUNAVAILABLE;
}

static bool ready(void *data, sh_buf_t *out) {
    (void)data;
    sh_buf_put_lit(out, "{\"status\":\"ready\",\"checks\":{}}");
    return true;
}

static void admin_rules(void *data, sh_buf_t *out) {
    sh_buf_printf(out, "{\"version\":\"%s\",\"generation\":0,\"services\":[]}", ((sh_test_app_t *)data)->generation->version);
}

static int open_edge(sh_test_app_t *app) {
    const sh_config_t *c = app->bench->opts.config;
    app->metrics_memory = sh_calloc(1, sh_metrics_size());
    const sh_edge_opts_t opts = {
        .loop = &app->bench->loop,
        .log = &app->bench->log,
        .metrics = sh_metrics_init(app->metrics_memory),
        .jwt_keys = app->bench->keys,
        .start = sh_lua_call_start,
        .user_lookup = user_lookup,
        .ready = ready,
        .admin_rules = admin_rules,
        .data = app,
        .user_ttl_ms = 0, /* what a spec changed of a user holds for its next call */
        .user_cache_max = (uint32_t)sh_config_int(c, "auth.user_cache"),
        .environment = sh_config_str(c, "env"),
        .metrics_public = true,
        .body_bytes_max = (uint64_t)sh_config_int(c, "http.body_bytes"),
        .cors_origins = sh_config_str(c, "http.cors_origins"),
    };
    app->http = (sh_http_opts_t){
        .header_bytes_max = (uint32_t)sh_config_int(c, "http.header_bytes"),
        .header_count_max = (uint32_t)sh_config_int(c, "http.headers"),
        .target_bytes_max = (uint32_t)sh_config_int(c, "http.target_bytes"),
        .body_bytes_max = (uint64_t)sh_config_int(c, "http.body_bytes"),
    };
    return sh_edge_create(&opts, &app->edge);
}

static int load_service(sh_test_app_t *app, const char *name, sh_buf_t *error) {
    sh_workbench_t *b = app->bench;
    sh_generation_t *g = app->generation;
    uint32_t i = g->vm_count;
    const sh_primitive_data_t data = {b->context.uuids, &b->clock, &b->jwt, &b->password, &b->lua_config, &b->pdf};
    sh_primitive_t primitives[SH_PRIMITIVES_MAX];
    size_t count = sh_primitives_list(&data, primitives);
    app->contexts[i] = (sh_lua_context_t){.protobuf = b->protobuf, .uuids = b->context.uuids, .clock = &b->clock};
    const sh_vm_opts_t opts = {
        .service = name,
        .bundle = b->opts.bundle,
        .primitives = primitives,
        .primitive_count = count,
        .budget = sh_primitives_budget(b->opts.config),
        .loop = &b->loop,
        .log = &b->log,
        .user = &app->contexts[i],
    };
    int rc = sh_vm_create(&opts, &g->vms[i], error);
    if (rc) return rc;
    g->vm_count = i + 1;
    app->contexts[i].service = sh_vm_service(g->vms[i]);
    while ((rc = sh_vm_load_step(g->vms[i], error)) > 0) continue;
    return rc;
}

int sh_test_app_load(sh_test_app_t *app, sh_buf_t *error) {
    char names[SH_SERVICES_MAX][32];
    if (app->edge) return SH_OK;
    uint32_t count = sh_worker_services(app->bench->opts.config, names, SH_SERVICES_MAX);
    app->generation = sh_generation_create(app->bench->opts.bundle);
    int rc = count ? SH_OK : SH_EINVAL;
    for (uint32_t i = 0; i < count && rc == SH_OK; i++) rc = load_service(app, names[i], error);
    if (rc == SH_OK) rc = open_edge(app);
    if (rc == SH_OK) rc = sh_edge_prepare(app->edge, app->generation, error);
    if (rc == SH_OK) {
        sh_edge_swap(app->edge, app->generation);
        return SH_OK;
    }
    if (app->edge) sh_edge_destroy(app->edge);
    sh_generation_release(app->generation);
    free(app->metrics_memory);
    app->edge = NULL;
    app->generation = NULL;
    app->metrics_memory = NULL;
    return rc;
}

int sh_test_app_connect(sh_test_app_t *app) {
    int rc = SH_OK;
    for (uint32_t i = 0; i < app->generation->vm_count && rc == SH_OK; i++)
        rc = sh_workbench_pool(app->bench, app->contexts[i].service, &app->contexts[i].pool);
    return rc;
}
