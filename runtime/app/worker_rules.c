/* Building rules generations in a worker, and taking them into use. */
#include "app/worker_internal.h"

#include "base/err.h"
#include "base/time.h"

#include <stdlib.h>

enum { STEP_PAUSE_MS = 2 };

static void wake_relay(void *data) {
    sh_service_t *service = data;
    if (service->relay) sh_relay_wake(service->relay);
}

static void rules_destroyed(void *data, sh_generation_t *g) {
    (void)g;
    sh_rules_t *rules = data;
    sh_worker_t *w = rules->worker;
    sh_list_unlink(&rules->link);
    w->generations--;
    atomic_store(&w->slot->generations, w->generations);
}

/* The context must outlive the vms: it is freed by the generation's last act, through the router's place in the order. */
static void free_rules(void *data) {
    sh_rules_t *rules = data;
    sh_protobuf_destroy(rules->protobuf);
    free(rules);
}

/* A generation without vms. */
static int begin(sh_worker_t *w, sh_bundle_t *bundle, uint32_t serial, sh_rules_t **out, sh_buf_t *error) {
    sh_rules_t *rules = sh_calloc(1, sizeof *rules);
    rules->worker = w;
    sh_str_t descriptors = sh_bundle_file(bundle, "proto/descriptors.bin");
    char why[256] = "";
    if (!descriptors.ptr || sh_protobuf_create(descriptors, &rules->protobuf, why, sizeof why)) {
        sh_buf_printf(error, "the event descriptors in the bundle cannot be used: %s", why);
        free(rules);
        return SH_EINVAL;
    }
    sh_generation_t *g = sh_generation_create(bundle);
    rules->generation = g;
    g->serial = serial;
    g->outcome = sh_board_outcome(w->opts->board, serial);
    g->data = rules;
    g->on_destroy = rules_destroyed;
    g->on_destroyed = free_rules;
    sh_list_init(&rules->link);
    sh_list_link(&w->alive, &rules->link);
    w->generations++;
    atomic_store(&w->slot->generations, w->generations);
    *out = rules;
    return SH_OK;
}

static int create_vm(sh_worker_t *w, sh_rules_t *rules, const sh_config_t *config, sh_buf_t *error) {
    sh_generation_t *g = rules->generation;
    uint32_t i = g->vm_count;
    sh_service_t *service = &w->services[i];
    const sh_primitive_data_t data = {w->uuids, &w->clock, &w->jwt, &w->password, &w->lua_config, &w->pdf};
    sh_primitive_t primitives[SH_PRIMITIVES_MAX];
    size_t count = sh_primitives_list(&data, primitives);
    rules->contexts[i] = (sh_lua_context_t){
        .service = service->name,
        .pool = service->pool,
        .protobuf = rules->protobuf,
        .uuids = w->uuids,
        .clock = &w->clock,
        .wake_relay = wake_relay,
        .wake_data = service,
    };
    const sh_vm_opts_t opts = {
        .service = service->name,
        .bundle = g->bundle,
        .primitives = primitives,
        .primitive_count = count,
        .budget = sh_primitives_budget(config),
        .loop = &w->loop,
        .slot = w->slot,
        .log = &w->log,
        .user = &rules->contexts[i],
    };
    int rc = sh_vm_create(&opts, &g->vms[i], error);
    if (!rc) g->vm_count = i + 1;
    return rc;
}

/* A vm made, a module loaded, or all routed: 1: more to do; 0: ready; negative with `error`. */
static int step(sh_worker_t *w, sh_rules_t *rules, const sh_config_t *config, sh_buf_t *error) {
    sh_generation_t *g = rules->generation;
    if (rules->loading == g->vm_count && g->vm_count < w->service_count) {
        int rc = create_vm(w, rules, config, error);
        return rc ? rc : 1;
    }
    if (rules->loading < g->vm_count) {
        int rc = sh_vm_load_step(g->vms[rules->loading], error);
        if (rc < 0) return rc;
        if (rc == 0) rules->loading++;
        return 1;
    }
    return sh_edge_prepare(w->edge, g, error);
}

int sh_worker_load(sh_worker_t *w, sh_bundle_t *bundle, uint32_t serial, sh_generation_t **out, sh_buf_t *error) {
    sh_rules_t *rules;
    int rc = begin(w, bundle, serial, &rules, error);
    if (rc) return rc;
    while ((rc = step(w, rules, w->config, error)) > 0) continue;
    if (rc) {
        sh_generation_release(rules->generation);
        return rc;
    }
    *out = rules->generation;
    return SH_OK;
}

/* ---- beside the current one */

static void answer(sh_worker_t *w, sh_message_type_t type, uint32_t serial, const char *text) {
    if (sh_channel_send(w->opts->channel, type, serial, text, NULL, 0))
        sh_log_warn(&w->log, "the master does not take messages", SH_LOG_I64("type", type));
}

static void drop_preparing(sh_worker_t *w) {
    uv_timer_stop(&w->prepare_step);
    if (w->preparing) sh_generation_release(w->preparing->generation);
    w->preparing = NULL;
    if (w->preparing_config) {
        sh_config_dispose(w->preparing_config);
        free(w->preparing_config);
    }
    w->preparing_config = NULL;
}

/* Requests go first: between two steps the loop and the processor are theirs. */
static void prepare_step(uv_timer_t *timer) {
    sh_worker_t *w = timer->data;
    sh_buf_t error = {0};
    int rc = step(w, w->preparing, w->preparing_config, &error);
    if (rc <= 0) {
        uv_timer_stop(timer);
        answer(w, SH_MSG_PREPARED, w->preparing_serial, rc ? sh_buf_c(&error) : "");
        if (rc) drop_preparing(w);
    } else {
        uv_timer_start(timer, prepare_step, STEP_PAUSE_MS, 0);
    }
    sh_buf_dispose(&error);
}

void sh_worker_prepare(sh_worker_t *w, sh_bundle_t *bundle, sh_config_t *config, uint32_t serial) {
    sh_buf_t error = {0};
    drop_preparing(w);
    w->preparing_serial = serial;
    w->preparing_config = config;
    if (begin(w, bundle, serial, &w->preparing, &error)) {
        answer(w, SH_MSG_PREPARED, serial, sh_buf_c(&error));
        w->preparing = NULL;
        drop_preparing(w);
    } else {
        uv_timer_start(&w->prepare_step, prepare_step, 0, 0);
    }
    sh_bundle_release(bundle); /* the generation holds it */
    sh_buf_dispose(&error);
}

void sh_worker_abort(sh_worker_t *w, uint32_t serial) {
    if (serial == w->preparing_serial) drop_preparing(w);
}

int sh_worker_apply_config(sh_worker_t *w, sh_buf_t *error) {
    sh_jwt_keys_t *keys;
    if (sh_jwt_keys_create(sh_str_of(sh_config_str(w->config, "jwt.secret")), sh_str_of(sh_config_str(w->config, "jwt.secret_previous")), &keys)) {
        sh_buf_printf(error, "jwt.secret must have at least %d bytes", SH_JWT_SECRET_MIN);
        return SH_EINVAL;
    }
    if (w->edge) sh_edge_set_keys(w->edge, keys);
    sh_jwt_keys_destroy(w->keys);
    w->keys = keys;
    w->jwt = (sh_lua_jwt_t){keys, sh_config_int(w->config, "jwt.leeway_s"), sh_config_int(w->config, "jwt.access_ttl_s"),
                            sh_config_int(w->config, "jwt.refresh_ttl_s")};
    w->pdf.loop = &w->loop;
    w->pdf.font_dir = sh_config_str(w->config, "pdf.font_dir");
    w->pdf.brand_primary = sh_config_str(w->config, "brand.primary");
    w->pdf.brand_secondary = sh_config_str(w->config, "brand.secondary");
    if (sh_log_level_of(sh_str_of(sh_config_str(w->config, "log.level")), &w->log.level)) w->log.level = SH_LOG_INFO;
    return SH_OK;
}

void sh_worker_swap(sh_worker_t *w, uint32_t serial) {
    if (!w->preparing || serial != w->preparing_serial) return;
    sh_generation_t *old = w->current;
    sh_buf_t error = {0};
    sh_config_t *old_config = w->config;
    w->config = w->preparing_config;
    w->preparing_config = NULL;
    if (sh_worker_apply_config(w, &error)) sh_log_error(&w->log, "settings were not taken over", SH_LOG_STR("error", sh_buf_str(&error)));
    if (old_config != w->opts->config) { /* the first one stays: the edge and the links borrow texts of it */
        sh_config_dispose(old_config);
        free(old_config);
    }
    ((sh_rules_t *)old->data)->retired_ns = sh_time_mono_ns();
    w->current = w->preparing->generation;
    w->preparing = NULL;
    sh_edge_swap(w->edge, w->current);
    sh_worker_use_generation(w);
    atomic_store(&w->slot->generation, serial);
    sh_generation_release(old);
    answer(w, SH_MSG_SWAPPED, serial, NULL);
    sh_buf_dispose(&error);
}

void sh_worker_watch_old(sh_worker_t *w) {
    uint64_t limit_ns = (uint64_t)sh_config_int(w->config, "reload.drain_ms") * 1000000, now = sh_time_mono_ns();
    uint32_t tasks = 0;
    sh_generation_t *late = NULL;
    sh_list_each(it, tmp, &w->alive) {
        sh_rules_t *rules = SH_CONTAINER_OF(it, sh_rules_t, link);
        uint32_t own = 0;
        if (!rules->retired_ns) continue;
        for (uint32_t i = 0; i < rules->generation->vm_count; i++) own += sh_vm_tasks(rules->generation->vms[i]);
        if (own && now - rules->retired_ns > limit_ns) late = rules->generation;
        tasks += own;
    }
    atomic_store(&w->slot->tasks, tasks);
    if (!late) return;
    sh_log_warn(&w->log, "tasks of old rules are ended (reload.drain_ms)", SH_LOG_C("rules", late->version));
    sh_generation_retain(late); /* one generation a tick: the end of its last task closes it */
    for (uint32_t i = 0; i < late->vm_count; i++) sh_vm_cancel(late->vms[i]);
    sh_generation_release(late);
}
