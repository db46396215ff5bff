/* Bundle, syntax, texts, loaded services, routes, database, luacheck, gate: in this order, each as far as the one before lets it. */
#include "app/inspect.h"

#include "app/capture.h"
#include "app/check.h"
#include "app/gate.h"
#include "app/workbench.h"
#include "app/worker.h"
#include "base/err.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdlib.h>
#include <unistd.h>

enum { LUACHECK_MS = 20000, INSPECT_MS = 10000, STATEMENTS_MAX = 4096, NOT_FOUND = 127 };

typedef struct inspection {
    const sh_inspect_opts_t *opts;
    sh_bundle_t *bundle;
    sh_findings_t *findings;
    sh_arena_t arena;
    sh_inspect_statement_t *statements;
    size_t statement_count;
    const char *service; /* the one that is looked at */
} inspection_t;

/* ---- Lua helpers */

/* { file name = text } of rules/. */
static void push_files(lua_State *L, const sh_bundle_t *bundle) {
    lua_newtable(L);
    for (size_t i = 0; i < sh_bundle_count(bundle); i++) {
        sh_str_t name, content;
        sh_bundle_at(bundle, i, &name, &content);
        if (!sh_str_has_prefix(name, SH_STR("rules/"))) continue;
        lua_pushlstring(L, name.ptr, name.len);
        lua_pushlstring(L, content.ptr, content.len);
        lua_rawset(L, -3);
    }
}

/* Every folder below rules/ that has a manifest, whether this server runs it or not. */
static void push_services(lua_State *L, const sh_bundle_t *bundle) {
    int n = 0;
    lua_newtable(L);
    for (size_t i = 0; i < sh_bundle_count(bundle); i++) {
        sh_str_t name, content, end = SH_STR("/service.lua");
        sh_bundle_at(bundle, i, &name, &content);
        if (!sh_str_has_prefix(name, SH_STR("rules/")) || name.len <= 6 + end.len || memcmp(name.ptr + name.len - end.len, end.ptr, end.len) != 0)
            continue;
        lua_pushlstring(L, name.ptr + 6, name.len - 6 - end.len);
        lua_rawseti(L, -2, ++n);
    }
}

static void push_chunk(lua_State *L, const sh_bundle_t *bundle, const char *path) {
    char name[64];
    sh_str_t source = sh_bundle_file(bundle, path);
    snprintf(name, sizeof name, "@%s", path);
    if (!source.ptr) luaL_error(L, "the bundle has no %s", path);
    if (luaL_loadbufferx(L, source.ptr, source.len, name, "t")) lua_error(L);
}

static const char *text_of(lua_State *L, int index, const char *key) {
    lua_getfield(L, index, key);
    const char *text = lua_tostring(L, -1);
    lua_pop(L, 1); /* the table keeps it */
    return text ? text : "";
}

static long line_of(lua_State *L, int index) {
    lua_getfield(L, index, "line");
    long line = (long)lua_tointeger(L, -1);
    lua_pop(L, 1);
    return line;
}

/* The list at `index`. */
static void take_findings(inspection_t *in, lua_State *L, int index) {
    size_t n = lua_objlen(L, index);
    for (size_t i = 1; i <= n; i++) {
        lua_rawgeti(L, index, (int)i);
        int at = lua_gettop(L);
        sh_severity_t severity = strcmp(text_of(L, at, "severity"), "warning") == 0 ? SH_SEVERITY_WARNING : SH_SEVERITY_ERROR;
        sh_findings_add(in->findings, severity, text_of(L, at, "code"), text_of(L, at, "file"), line_of(L, at), text_of(L, at, "message"));
        lua_pop(L, 1);
    }
}

/* ---- the text of the rules */

static void check_syntax(inspection_t *in, lua_State *L) {
    for (size_t i = 0; i < sh_bundle_count(in->bundle); i++) {
        sh_str_t name, content;
        char chunk[512];
        sh_bundle_at(in->bundle, i, &name, &content);
        if (!sh_str_has_prefix(name, SH_STR("rules/"))) continue;
        snprintf(chunk, sizeof chunk, "@%.*s", (int)name.len, name.ptr);
        if (luaL_loadbufferx(L, content.ptr, content.len, chunk, "t"))
            sh_findings_add_text(in->findings, SH_SEVERITY_ERROR, "syntax", lua_tostring(L, -1));
        lua_pop(L, 1);
    }
}

static int read_sources(lua_State *L) {
    inspection_t *in = lua_touserdata(L, 1);
    luaL_openlibs(L);
    check_syntax(in, L);
    push_chunk(L, in->bundle, "lua/check/sources.lua");
    push_files(L, in->bundle);
    push_services(L, in->bundle);
    lua_call(L, 2, 1);
    take_findings(in, L, lua_gettop(L));
    return 0;
}

static void check_sources(inspection_t *in) {
    lua_State *L = luaL_newstate();
    SH_ASSERT(L);
    if (lua_cpcall(L, read_sources, in)) sh_findings_add_text(in->findings, SH_SEVERITY_ERROR, "internal", lua_tostring(L, -1));
    lua_close(L);
}

int sh_inspect_places(sh_bundle_t *bundle, sh_buf_t *error) {
    sh_findings_t findings;
    inspection_t in = {.bundle = bundle, .findings = &findings};
    sh_findings_init(&findings);
    check_sources(&in);
    sh_findings_sort(&findings);
    for (size_t i = 0; i < findings.count && !error->len; i++) {
        const sh_finding_t *f = &findings.items[i];
        if (strcmp(f->code, "sql-place") == 0) sh_buf_printf(error, "%s:%ld: %s", f->file, f->line, f->message);
    }
    sh_findings_dispose(&findings);
    return error->len ? SH_EINVAL : SH_OK;
}

/* ---- the loaded services */

static int push_modules(lua_State *L, void *data) {
    inspection_t *in = data;
    push_chunk(L, in->bundle, "lua/check/modules.lua");
    sh_vm_push_function(L, "modules");
    lua_call(L, 0, 1);
    sh_vm_push_function(L, "melt");
    push_files(L, in->bundle);
    return 3;
}

static void take_statements(inspection_t *in, lua_State *L, int index) {
    size_t n = lua_objlen(L, index);
    for (size_t i = 1; i <= n && in->statement_count < STATEMENTS_MAX; i++) {
        lua_rawgeti(L, index, (int)i);
        int at = lua_gettop(L);
        const char *file = sh_arena_str(&in->arena, sh_str_of(text_of(L, at, "file"))).ptr;
        in->statements[in->statement_count++] = (sh_inspect_statement_t){
            .service = in->service,
            .file = file,
            .key = sh_arena_str(&in->arena, sh_str_of(text_of(L, at, "key"))).ptr,
            .sql = sh_arena_str(&in->arena, sh_str_of(text_of(L, at, "sql"))).ptr,
            .line = line_of(L, at),
            .source = sh_bundle_file(in->bundle, file),
        };
        lua_pop(L, 1);
    }
}

static void take_modules(void *data, sh_task_t *task, int status, lua_State *L, int nresults) {
    inspection_t *in = data;
    (void)task;
    if (status == SH_OK && nresults == 2) {
        int top = lua_gettop(L);
        take_findings(in, L, top - 1);
        take_statements(in, L, top);
        return;
    }
    const char *text = status == SH_ELUA ? lua_tostring(L, -1) : NULL;
    sh_findings_add_text(in->findings, SH_SEVERITY_ERROR, "internal", text ? text : sh_err_text(status));
}

/* Adds what is wrong with `name`, at the line of service.lua that has it in quotes first. */
static void add_at_name(inspection_t *in, const char *name, const char *code, const char *message) {
    char file[96], quoted[128];
    long line = 1;
    snprintf(file, sizeof file, "rules/%s/service.lua", in->service);
    snprintf(quoted, sizeof quoted, "\"%s\"", name);
    sh_str_t text = sh_bundle_file(in->bundle, file);
    const char *at = memmem(text.ptr, text.len, quoted, strlen(quoted));
    for (const char *c = text.ptr; at && c < at; c++) line += *c == '\n';
    sh_findings_add(in->findings, SH_SEVERITY_ERROR, code, file, line, message);
}

static const sh_protobuf_message_t *check_subject(inspection_t *in, const sh_protobuf_t *protobuf, const char *subject) {
    char message[256];
    const sh_protobuf_message_t *found = sh_protobuf_of_subject(protobuf, sh_str_of(subject));
    if (found) return found;
    snprintf(message, sizeof message, "no message in config/proto says `subject: %s`; add one, or correct the name", subject);
    add_at_name(in, subject, "event-unknown", message);
    return NULL;
}

static void check_fields(inspection_t *in, const sh_subscription_t *s, const sh_protobuf_message_t *of) {
    char message[256];
    for (uint32_t i = 0; of && i < s->field_count; i++) {
        if (sh_protobuf_field(of, sh_str_of(s->fields[i]))) continue;
        snprintf(message, sizeof message, "%s has no field \"%s\"; correct the name in `fields` of %s", sh_protobuf_short_name(of).ptr, s->fields[i],
                 s->subject);
        add_at_name(in, s->fields[i], "event-field-unknown", message);
    }
}

static void check_events(inspection_t *in, const sh_workbench_t *bench) {
    const sh_manifest_t *m = sh_vm_manifest(bench->vm);
    for (uint32_t i = 0; i < m->publish_count; i++) check_subject(in, bench->protobuf, m->publishes[i]);
    for (uint32_t i = 0; i < m->subscription_count; i++)
        check_fields(in, &m->subscriptions[i], check_subject(in, bench->protobuf, m->subscriptions[i].subject));
}

/* What sources.lua and the syntax check found already, better placed. */
static bool is_known(const inspection_t *in, const char *text) {
    char file[512], *end;
    size_t len = strcspn(text, ":");
    if (strstr(text, " has no text in messages/")) return true;
    if (text[len] != ':' || len >= sizeof file) return false;
    snprintf(file, sizeof file, "%.*s", (int)len, text);
    return sh_findings_has(in->findings, file, strtol(text + len + 1, &end, 10));
}

static void check_service(inspection_t *in, const char *service) {
    sh_workbench_t *bench = sh_calloc(1, sizeof *bench);
    sh_buf_t error = {0};
    const sh_workbench_opts_t opts = {
        .config = in->opts->config, .bundle = in->bundle, .name = "check", .service = service, .budget = sh_primitives_budget(in->opts->config)};
    in->service = sh_arena_str(&in->arena, sh_str_of(service)).ptr;
    int rc = sh_workbench_init(bench, &opts, &error);
    if (!rc) rc = sh_workbench_load(bench, &error);
    if (!rc) {
        const sh_task_opts_t task = {.kind = SH_TASK_LOAD, .name = "check", .slice_ms = INSPECT_MS, .total_ms = INSPECT_MS};
        check_events(in, bench);
        sh_workbench_run(bench, &task, push_modules, take_modules, in);
    } else if (!is_known(in, sh_buf_c(&error))) {
        sh_findings_add_text(in->findings, SH_SEVERITY_ERROR, "load", error.len ? sh_buf_c(&error) : sh_err_text(rc));
    }
    sh_workbench_dispose(bench);
    sh_buf_dispose(&error);
    free(bench);
}

static void check_services(inspection_t *in) {
    char names[SH_SERVICES_MAX][32];
    uint32_t count = sh_worker_services(in->opts->config, names, SH_SERVICES_MAX);
    for (uint32_t i = 0; i < count; i++) check_service(in, names[i]);
}

/* What only all services together show: two routes of the same path. */
static void check_together(inspection_t *in) {
    sh_buf_t error = {0};
    if (sh_findings_errors(in->findings) == 0 && sh_check_rules(in->opts->config, in->bundle, NULL, &error))
        sh_findings_add_text(in->findings, SH_SEVERITY_ERROR, "load", sh_buf_c(&error));
    sh_buf_dispose(&error);
}

/* ---- luacheck */

static int run_luacheck(void *data) {
    const sh_config_t *config = data;
    if (chdir(config->root)) return NOT_FOUND;
    execlp("luacheck", "luacheck", "rules", "--formatter", "plain", "--codes", (char *)NULL);
    return NOT_FOUND;
}

/* "rules/a.lua:3:7: (W113) accessing undefined variable 'x'". E0 is syntax, which is found already. */
static void take_luacheck(inspection_t *in, char *line) {
    char *number = strchr(line, ':'), *code = strstr(line, ": ("), *message = code ? strchr(code, ')') : NULL;
    if (!number || !message || message[1] != ' ' || strncmp(code + 3, "E0", 2) == 0) return;
    *number = *message = 0;
    bool is_error = strncmp(code + 3, "W1", 2) == 0 || code[3] == 'E'; /* a global that is not there ends a request */
    sh_findings_add(in->findings, is_error ? SH_SEVERITY_ERROR : SH_SEVERITY_WARNING, sh_arena_printf(&in->arena, "luacheck-%s", code + 3), line,
                    strtol(number + 1, NULL, 10), message + 2);
}

static void check_style(inspection_t *in) {
    char rc[4096];
    sh_buf_t output = {0};
    int code = NOT_FOUND;
    snprintf(rc, sizeof rc, "%s/.luacheckrc", in->opts->config->root);
    if (access(rc, R_OK) == 0 && !sh_capture(run_luacheck, (void *)(uintptr_t)in->opts->config, LUACHECK_MS, &output, &code) && code != NOT_FOUND) {
        char *save = NULL;
        for (char *line = strtok_r((char *)(uintptr_t)sh_buf_c(&output), "\n", &save); line; line = strtok_r(NULL, "\n", &save))
            take_luacheck(in, line);
    }
    sh_buf_dispose(&output);
}

/* ---- gate */

static void check_gate(inspection_t *in) {
    sh_buf_t error = {0}, warnings = {0};
    const sh_config_t *config = in->opts->config;
    if (sh_findings_errors(in->findings) || !sh_config_bool(config, "reload.gate")) return;
    if (sh_gate_run(config, in->bundle, (uint64_t)sh_config_int(config, "reload.check_ms"), &warnings, &error)) {
        char *save = NULL;
        for (char *line = strtok_r((char *)(uintptr_t)sh_buf_c(&error), "\n", &save); line; line = strtok_r(NULL, "\n", &save))
            sh_findings_add_text(in->findings, SH_SEVERITY_ERROR, "gate", line);
    }
    if (warnings.len) sh_findings_add(in->findings, SH_SEVERITY_WARNING, "gate", "", 0, sh_buf_c(&warnings));
    sh_buf_dispose(&error);
    sh_buf_dispose(&warnings);
}

void sh_inspect(const sh_inspect_opts_t *opts, sh_findings_t *findings, sh_bundle_t **out) {
    inspection_t in = {.opts = opts, .findings = findings};
    sh_buf_t error = {0};
    if (sh_check_bundle(opts->config, &in.bundle, &error)) {
        sh_findings_add_text(findings, SH_SEVERITY_ERROR, "bundle", sh_buf_c(&error));
    } else {
        sh_arena_init(&in.arena);
        in.statements = sh_calloc(STATEMENTS_MAX, sizeof *in.statements);
        check_sources(&in);
        check_services(&in);
        check_together(&in);
        if (opts->with_database) sh_inspect_sql(opts, in.statements, in.statement_count, findings);
        check_style(&in);
        check_gate(&in);
        free(in.statements);
        sh_arena_dispose(&in.arena);
    }
    sh_buf_dispose(&error);
    sh_findings_sort(findings);
    if (out)
        *out = in.bundle;
    else if (in.bundle)
        sh_bundle_release(in.bundle);
}
