/* What stands between a saved file and production: everything is read and loaded once in a process that can be thrown away. */
#include "app/check.h"

#include "app/channel.h"
#include "app/check_schema.h"
#include "app/gate.h"
#include "app/inspect.h"
#include "app/primitives.h"
#include "app/proto_compile.h"
#include "app/worker.h"
#include "base/err.h"
#include "base/time.h"
#include "codec/jwt.h"
#include "edge/edge.h"
#include "edge/router.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PATH_MAX_LEN = 4096 };

int sh_check_bundle(const sh_config_t *config, sh_bundle_t **out, sh_buf_t *error) {
    char rules[PATH_MAX_LEN], library[PATH_MAX_LEN], proto[PATH_MAX_LEN];
    sh_buf_t descriptors = {0};
    snprintf(rules, sizeof rules, "%s/rules", config->root);
    snprintf(library, sizeof library, "%s/runtime/lua", config->root);
    snprintf(proto, sizeof proto, "%s/config/proto", config->root);
    int rc = sh_proto_compile(proto, &descriptors, error);
    if (!rc) {
        const sh_bundle_source_t sources[] = {
            {.prefix = "rules/", .folder = rules, .suffix = ".lua"},
            {.prefix = "lua/", .folder = library, .suffix = ".lua"},
            {.prefix = "proto/descriptors.bin", .bytes = sh_buf_str(&descriptors)},
        };
        rc = sh_bundle_build(sources, SH_ARRAY_LEN(sources), out, error);
    }
    sh_buf_dispose(&descriptors);
    return rc;
}

/* What a handler says that it reads must be in the message. */
static int check_fields(const sh_manifest_t *m, const sh_subscription_t *s, const sh_protobuf_message_t *message, sh_buf_t *error) {
    for (uint32_t i = 0; i < s->field_count; i++) {
        if (sh_protobuf_field(message, sh_str_of(s->fields[i]))) continue;
        const char *near = sh_protobuf_nearest_field(message, s->fields[i]);
        sh_buf_printf(error, "rules/%s/service.lua: events \"%s\": the message has no field \"%s\"", m->name, s->subject, s->fields[i]);
        if (near) sh_buf_printf(error, " (did you mean \"%s\"?)", near);
        return SH_EINVAL;
    }
    return SH_OK;
}

/* Every event a service publishes or hears of must have a message in the .proto files. */
static int check_events(const sh_manifest_t *m, const sh_protobuf_t *protobuf, sh_buf_t *error) {
    for (uint32_t i = 0; i < m->publish_count; i++)
        if (!sh_protobuf_of_subject(protobuf, sh_str_of(m->publishes[i]))) {
            sh_buf_printf(error, "rules/%s/service.lua: publishes[%u] \"%s\": no message for it in config/proto", m->name, i + 1, m->publishes[i]);
            return SH_EINVAL;
        }
    for (uint32_t i = 0; i < m->subscription_count; i++) {
        const sh_protobuf_message_t *message = sh_protobuf_of_subject(protobuf, sh_str_of(m->subscriptions[i].subject));
        if (!message) {
            sh_buf_printf(error, "rules/%s/service.lua: events[%u] \"%s\": no message for it in config/proto", m->name, i + 1,
                          m->subscriptions[i].subject);
            return SH_EINVAL;
        }
        int rc = check_fields(m, &m->subscriptions[i], message, error);
        if (rc) return rc;
    }
    return SH_OK;
}

int sh_check_rules(const sh_config_t *config, sh_bundle_t *bundle, sh_buf_t *schema_warnings, sh_buf_t *error) {
    char names[SH_SERVICES_MAX][32], why[256] = "";
    sh_log_t log;
    sh_protobuf_t *protobuf = NULL;
    sh_lua_clock_t clock = {0};
    sh_lua_jwt_t jwt = {0};
    sh_lua_password_t password = {0};
    sh_lua_config_t lua_config = {0};
    sh_lua_pdf_opts_t pdf = {0};
    sh_lua_context_t context = {0};
    sh_primitive_t primitives[SH_PRIMITIVES_MAX];
    const sh_primitive_data_t data = {NULL, &clock, &jwt, &password, &lua_config, &pdf};
    size_t count = sh_primitives_list(&data, primitives);
    if (sh_log_open(&log, NULL, SH_LOG_OFF, "check")) return SH_EIO;
    int rc = sh_protobuf_create(sh_bundle_file(bundle, "proto/descriptors.bin"), &protobuf, why, sizeof why);
    if (rc) {
        sh_buf_printf(error, "config/proto: %s", why);
        return rc;
    }
    uint32_t services = sh_worker_services(config, names, SH_SERVICES_MAX);
    sh_generation_t *g = sh_generation_create(bundle);
    for (uint32_t i = 0; i < services && !rc; i++) {
        const sh_vm_opts_t opts = {.service = names[i],
                                   .bundle = bundle,
                                   .primitives = primitives,
                                   .primitive_count = count,
                                   .budget = sh_primitives_budget(config),
                                   .log = &log,
                                   .user = &context};
        rc = sh_vm_create(&opts, &g->vms[i], error);
        if (rc) break;
        g->vm_count = i + 1;
        while ((rc = sh_vm_load_step(g->vms[i], error)) > 0) continue;
        if (!rc) rc = check_events(sh_vm_manifest(g->vms[i]), protobuf, error);
    }
    if (!rc && schema_warnings) rc = sh_check_schemas(config, g, schema_warnings, error);
    if (!rc) {
        sh_router_t *router = NULL;
        rc = sh_router_build(g, &router, error);
        if (!rc) sh_router_destroy(router);
    }
    sh_generation_release(g);
    sh_protobuf_destroy(protobuf);
    sh_log_close(&log);
    return rc;
}

static int send_checked(const sh_config_t *config, sh_bundle_t *bundle, int channel, const char *warnings) {
    sh_buf_t text = {0};
    sh_config_write(config, &text);
    int fd = memfd_create("shama-config", MFD_CLOEXEC), code = 1;
    if (fd >= 0 && write(fd, text.ptr, text.len) == (ssize_t)text.len) {
        int fds[2] = {sh_bundle_fd(bundle), fd};
        code = sh_channel_send(channel, SH_MSG_CHECKED, 0, warnings, fds, 2) ? 1 : 0;
    }
    explicit_bzero(text.ptr, text.cap);
    sh_buf_dispose(&text);
    return code;
}

/* Settings that only a start can change, by prefix; and `.db.` of every service. */
static bool is_start_only(const char *key) {
    static const char *const prefixes[] = {"http.", "workers", "services", "db.", "nats.", "control", "log.file", "events.", "auth.", "env"};
    for (size_t i = 0; i < SH_ARRAY_LEN(prefixes); i++)
        if (strncmp(key, prefixes[i], strlen(prefixes[i])) == 0) return true;
    return strstr(key, ".db.") != NULL;
}

/* They are named, and stay as they are: a worker that is replaced later must not differ from its siblings. */
static void keep_start_settings(const sh_config_t *before, sh_config_t *after, sh_buf_t *warnings) {
    sh_buf_t names = {0};
    sh_config_diff(before, after, &names);
    char *save = NULL;
    for (char *name = strtok_r((char *)sh_buf_c(&names), "\n", &save); name; name = strtok_r(NULL, "\n", &save)) {
        const char *old = sh_map_get(&before->values, sh_str_of(name));
        if (!old || !is_start_only(name)) continue;
        sh_buf_printf(warnings, "%s%s changes only at the next start", warnings->len ? "\n" : "", name);
        sh_config_set(after, name, old);
    }
    sh_buf_dispose(&names);
}

/* What the workers could not take over. */
static int check_config(const sh_config_t *config, sh_buf_t *error) {
    static const char *const positive[] = {"budget.slice_ms",       "budget.task_ms",       "budget.memory_mb", "budget.deadline_ms",
                                           "budget.response_bytes", "budget.hard_limit_ms", "reload.check_ms",  "reload.prepare_ms"};
    sh_log_level_t level;
    if (strlen(sh_config_str(config, "jwt.secret")) < SH_JWT_SECRET_MIN) {
        sh_buf_printf(error, "jwt.secret must have at least %d bytes", SH_JWT_SECRET_MIN);
        return SH_EINVAL;
    }
    if (sh_log_level_of(sh_str_of(sh_config_str(config, "log.level")), &level)) {
        sh_buf_put_lit(error, "log.level must be debug, info, warn or error");
        return SH_EINVAL;
    }
    for (size_t i = 0; i < SH_ARRAY_LEN(positive); i++)
        if (sh_config_int(config, positive[i]) < 1) {
            sh_buf_printf(error, "%s must be 1 or more", positive[i]);
            return SH_EINVAL;
        }
    return SH_OK;
}

/* The configuration on the disk. A rollback must work also when somebody just broke that: then what runs is kept. */
static int load_config(const sh_config_t *running, bool is_rollback, sh_config_t *out, sh_buf_t *warnings, sh_buf_t *error) {
    int rc = sh_config_load(running->root, running->file, out, error);
    if (!rc) {
        keep_start_settings(running, out, warnings);
        rc = check_config(out, error);
        if (rc) sh_config_dispose(out);
    }
    if (!rc || !is_rollback) return rc;
    sh_buf_t text = {0};
    sh_buf_printf(warnings, "%sthe settings on the disk were not taken: %s", warnings->len ? "\n" : "", sh_buf_c(error));
    sh_buf_clear(error);
    sh_config_write(running, &text);
    rc = sh_config_read(sh_buf_str(&text), out);
    explicit_bzero(text.ptr, text.cap);
    sh_buf_dispose(&text);
    return rc;
}

/* In what is left of the time. A rollback and a start do without: the specs on the disk are of other rules, or there are none. */
static int check_gate(const sh_config_t *config, sh_bundle_t *bundle, uint64_t started_ns, sh_buf_t *warnings, sh_buf_t *error) {
    if (!sh_config_bool(config, "reload.gate")) return SH_OK;
    uint64_t spent_ms = (sh_time_mono_ns() - started_ns) / 1000000, limit_ms = (uint64_t)sh_config_int(config, "reload.check_ms") * 9 / 10;
    return sh_gate_run(config, bundle, limit_ms > spent_ms ? limit_ms - spent_ms : 1, warnings, error);
}

int sh_check_run(const sh_config_t *config, sh_bundle_t *given, bool is_first, int channel) {
    uint64_t started_ns = sh_time_mono_ns();
    sh_config_t fresh;
    sh_bundle_t *bundle = given;
    sh_buf_t error = {0}, warnings = {0};
    int rc = load_config(config, given != NULL, &fresh, &warnings, &error);
    if (!rc && !given) rc = sh_check_bundle(&fresh, &bundle, &error);
    if (!rc) rc = sh_check_rules(&fresh, bundle, is_first ? NULL : &warnings, &error);
    if (!rc && !given) rc = sh_inspect_places(bundle, &error);
    if (!rc && !given && !is_first) rc = check_gate(&fresh, bundle, started_ns, &warnings, &error);
    if (!rc) return send_checked(&fresh, bundle, channel, sh_buf_c(&warnings));
    if (sh_channel_send(channel, SH_MSG_REFUSED, 0, sh_buf_c(&error), NULL, 0)) fprintf(stderr, "%s\n", sh_buf_c(&error));
    return 1;
}
