/* Building and taking apart what one Lua state needs around it. */
#include "app/workbench.h"

#include "app/worker.h"
#include "base/err.h"

#include <stdio.h>
#include <stdlib.h>

enum { POOL_CONNECTIONS = 4, CLOSE_GRACE_MS = 2000, PATIENCE_MS = 15000 }; /* a busy machine fails no spec */

static int open_pool(sh_workbench_t *b, const char *service, sh_pg_pool_t **out) {
    const sh_config_t *c = b->opts.config;
    sh_buf_t conninfo = {0};
    if (b->conninfo)
        b->conninfo(b->conninfo_data, service, &conninfo);
    else
        sh_config_conninfo(c, service, &conninfo);
    if (b->opts.read_only) sh_buf_put_lit(&conninfo, " options='-c default_transaction_read_only=on'");
    const sh_pg_opts_t opts = {
        .conninfo = sh_buf_c(&conninfo),
        .name = service,
        .connections_max = POOL_CONNECTIONS,
        .shared_depth = (uint32_t)sh_config_int(c, "db.shared_depth"),
        .waiting_max = (uint32_t)sh_config_int(c, "db.waiting"),
        .wait_ms_max = PATIENCE_MS,
        .statement_ms_max = (uint64_t)sh_config_int(c, "db.statement_ms"),
        .idle_ms_max = (uint64_t)sh_config_int(c, "db.idle_ms"),
        .connect_ms_max = PATIENCE_MS,
        .prepared_max = 256,
    };
    int rc = sh_pg_pool_create(&b->loop, &opts, &b->log, out);
    explicit_bzero(conninfo.ptr, conninfo.cap);
    sh_buf_dispose(&conninfo);
    return rc;
}

/* The entry in b->pools. */
static int find_pool(sh_workbench_t *b, const char *service, uint32_t *out) {
    char names[SH_SERVICES_MAX][32];
    uint32_t count = sh_worker_services(b->opts.config, names, SH_SERVICES_MAX), at = 0, i = 0;
    if (!b->opts.has_database) return SH_EDENIED;
    while (at < count && strcmp(names[at], service) != 0) at++;
    if (at == count) return SH_ENOTFOUND;
    while (i < b->pool_count && strcmp(b->pools[i].service, service) != 0) i++;
    if (i == b->pool_count) {
        int rc = open_pool(b, service, &b->pools[i].pool);
        if (rc) return rc;
        memcpy(b->pools[i].service, names[at], sizeof b->pools[i].service);
        b->pool_count++;
    }
    *out = i;
    return SH_OK;
}

int sh_workbench_use(sh_workbench_t *b, const char *service) {
    uint32_t i = 0;
    int rc = find_pool(b, service, &i);
    if (rc) return rc;
    b->context.service = b->pools[i].service;
    b->context.pool = b->pools[i].pool;
    return SH_OK;
}

int sh_workbench_pool(sh_workbench_t *b, const char *service, sh_pg_pool_t **out) {
    uint32_t i = 0;
    int rc = find_pool(b, service, &i);
    if (rc == SH_OK) *out = b->pools[i].pool;
    return rc;
}

static void pool_closed(void *data) {
    sh_workbench_t *b = data;
    if (--b->closing) return;
    b->pool_count = 0;
    b->closed(b->closed_data);
}

void sh_workbench_close_pools(sh_workbench_t *b, void (*fn)(void *data), void *data) {
    SH_ASSERT(!b->closing);
    b->closed = fn;
    b->closed_data = data;
    b->context.service = b->opts.service ? b->opts.service : "";
    b->context.pool = NULL;
    b->closing = b->pool_count + 1; /* one for this call */
    for (uint32_t i = 0; i < b->pool_count; i++) sh_pg_pool_close(b->pools[i].pool, CLOSE_GRACE_MS, pool_closed, b);
    pool_closed(b);
}

/* Settings that rules may read, as in a worker. */
static const char *readable(void *data, const char *key) {
    const sh_workbench_t *b = data;
    static const char *const keys[] = {"brand.primary", "brand.secondary", "brand.name", "brand.address", "env"};
    for (size_t i = 0; i < SH_ARRAY_LEN(keys); i++)
        if (strcmp(keys[i], key) == 0) return sh_config_str(b->opts.config, key);
    return NULL;
}

static void set_up_primitives(sh_workbench_t *b) {
    const sh_config_t *c = b->opts.config;
    b->jwt = (sh_lua_jwt_t){b->keys, 0, sh_config_int(c, "jwt.access_ttl_s"), sh_config_int(c, "jwt.refresh_ttl_s")};
    b->password = (sh_lua_password_t){.loop = &b->loop, .params = SH_PASSWORD_PARAMS_DEFAULT, .running_max = 2};
    b->lua_config = (sh_lua_config_t){readable, b};
    b->pdf = (sh_lua_pdf_opts_t){.loop = &b->loop,
                                 .font_dir = sh_config_str(c, "pdf.font_dir"),
                                 .brand_primary = sh_config_str(c, "brand.primary"),
                                 .brand_secondary = sh_config_str(c, "brand.secondary")};
    b->context = (sh_lua_context_t){
        .service = b->opts.service ? b->opts.service : "", .protobuf = b->protobuf, .uuids = sh_uuid_source_create(), .clock = &b->clock};
}

int sh_workbench_init(sh_workbench_t *b, const sh_workbench_opts_t *opts, sh_buf_t *error) {
    static const char secret[] = "a secret for the workbench only, never for a server";
    char why[256];
    const char *level = getenv("LOG_LEVEL");
    *b = (sh_workbench_t){.opts = *opts};
    if (uv_loop_init(&b->loop)) sh_panic(__FILE__, __LINE__, "no loop");
    if (sh_log_open(&b->log, NULL, SH_LOG_ERROR, opts->name)) return SH_EIO;
    if (level && sh_log_level_of(sh_str_of(level), &b->log.level)) b->log.level = SH_LOG_ERROR;
    if (sh_protobuf_create(sh_bundle_file(opts->bundle, "proto/descriptors.bin"), &b->protobuf, why, sizeof why)) {
        sh_buf_printf(error, "config/proto: %s", why);
        return SH_EINVAL;
    }
    if (sh_jwt_keys_create(SH_STR(secret), SH_STR_NULL, &b->keys)) return SH_EINVAL;
    set_up_primitives(b);
    const sh_primitive_data_t data = {b->context.uuids, &b->clock, &b->jwt, &b->password, &b->lua_config, &b->pdf};
    sh_primitive_t primitives[SH_PRIMITIVES_MAX + SH_WORKBENCH_EXTRA_MAX];
    size_t count = sh_primitives_list(&data, primitives);
    SH_ASSERT(opts->extra_count <= SH_WORKBENCH_EXTRA_MAX);
    for (size_t i = 0; i < opts->extra_count; i++) primitives[count++] = opts->extra[i];
    const sh_vm_opts_t vm = {.service = opts->service,
                             .bundle = opts->bundle,
                             .primitives = primitives,
                             .primitive_count = count,
                             .budget = opts->budget,
                             .trusted = true,
                             .loop = &b->loop,
                             .log = &b->log,
                             .user = &b->context};
    return sh_vm_create(&vm, &b->vm, error);
}

int sh_workbench_load(sh_workbench_t *b, sh_buf_t *error) {
    int rc;
    while ((rc = sh_vm_load_step(b->vm, error)) > 0) continue;
    return rc;
}

typedef struct run {
    sh_task_push_fn push;
    sh_task_done_fn done;
    void *data;
    bool ended;
} run_t;

static int push_run(lua_State *L, void *data) {
    const run_t *run = data;
    return run->push(L, run->data);
}

static void on_done(void *data, sh_task_t *task, int status, lua_State *L, int nresults) {
    run_t *run = data;
    run->ended = true;
    run->done(run->data, task, status, L, nresults);
}

void sh_workbench_run(sh_workbench_t *b, const sh_task_opts_t *task, sh_task_push_fn push, sh_task_done_fn done, void *data) {
    run_t run = {push, done, data, false};
    sh_task_start(b->vm, task, push_run, on_done, &run);
    while (!run.ended) uv_run(&b->loop, UV_RUN_ONCE);
}

static void set_true(void *data) { *(bool *)data = true; }

void sh_workbench_dispose(sh_workbench_t *b) {
    bool is_closed = false;
    sh_workbench_close_pools(b, set_true, &is_closed);
    while (!is_closed && uv_run(&b->loop, UV_RUN_ONCE)) continue;
    if (b->vm) sh_vm_destroy(b->vm);
    uv_run(&b->loop, UV_RUN_DEFAULT); /* what is still off the loop, and the last close callbacks */
    sh_lua_pdf_dispose(&b->pdf);
    if (b->context.uuids) sh_uuid_source_destroy(b->context.uuids);
    if (b->keys) sh_jwt_keys_destroy(b->keys);
    if (b->protobuf) sh_protobuf_destroy(b->protobuf);
    sh_log_flush(&b->log);
    sh_log_close(&b->log);
    if (uv_loop_close(&b->loop)) fprintf(stderr, "shama %s: something is still open in the loop\n", b->opts.name);
}
