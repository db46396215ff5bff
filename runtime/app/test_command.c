/* The process behind `shama test`: what a worker has for its rules, without edge and events, and a watch over the time of each spec file. */
#include "app/test_command.h"

#include "app/check.h"
#include "app/commands.h"
#include "app/options.h"
#include "app/primitives.h"
#include "app/worker.h"
#include "base/err.h"
#include "base/time.h"
#include "host/generation.h"

#include <lauxlib.h>
#include <lualib.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>

enum { POOL_CONNECTIONS = 4, CLOSE_GRACE_MS = 2000, GRACE_S = 2, NAME_MAX_BYTES = 400, CLOCK_TEXT_MAX = 40 };

typedef struct test_pool {
    char service[32];
    sh_pg_pool_t *pool;
} test_pool_t;

typedef struct test {
    const sh_test_opts_t *opts;
    uv_loop_t loop;
    sh_log_t log;
    sh_vm_t *vm;
    sh_protobuf_t *protobuf;
    sh_lua_context_t context;
    sh_lua_clock_t clock;
    sh_lua_jwt_t jwt;
    sh_lua_password_t password;
    sh_lua_config_t lua_config;
    sh_lua_pdf_opts_t pdf;
    sh_jwt_keys_t *keys;
    test_pool_t pools[SH_SERVICES_MAX];
    uint32_t pool_count, closing;
    char file[NAME_MAX_BYTES]; /* the spec file that runs */
    bool done;
    int code;
} test_t;

/* ---- the watch: a signal, since what hangs may be C code or an operation that never answers */

static char watch_message[2 * NAME_MAX_BYTES + 64]; /* ready to be written; a signal handler may do no more than that */
static volatile sig_atomic_t watch_message_len;

static void on_alarm(int number) {
    (void)number;
    if (write(STDERR_FILENO, watch_message, (size_t)watch_message_len) < 0) _exit(1);
    _exit(1);
}

static void watch(const test_t *t, const char *name) {
    char text[sizeof watch_message];
    int n = snprintf(text, sizeof text, "\n%s: did not end within %u s; it hangs in: %s\n", t->file, t->opts->limit_s, name);
    watch_message_len = 0;
    memcpy(watch_message, text, sizeof text);
    watch_message_len = n < (int)sizeof text ? n : (int)sizeof text - 1;
}

/* The budget ends an endless Lua loop first, with a traceback; the signal is for the rest. */
static void arm(uint32_t seconds) {
    struct itimerval at = {.it_value = {.tv_sec = seconds}};
    setitimer(ITIMER_REAL, &at, NULL);
}

/* ---- the primitives `test` and `test.run` */

static test_t *self(lua_State *L) { return lua_touserdata(L, lua_upvalueindex(1)); }

typedef struct nap {
    uv_timer_t timer;
    sh_task_t *task;
} nap_t;

static void free_nap(uv_handle_t *handle) { free(handle->data); }
static void cancel_nap(void *data) { uv_close((uv_handle_t *)&((nap_t *)data)->timer, free_nap); }

static void wake_up(uv_timer_t *timer) {
    nap_t *nap = timer->data;
    sh_task_t *task = nap->task;
    uv_close((uv_handle_t *)timer, free_nap);
    sh_task_resume(task, 0);
}

/* Parks for `ms`. Each return is also a new slice of the CPU budget. */
static int nap(lua_State *L, test_t *t, uint64_t ms) {
    sh_task_t *task = sh_task_current(L);
    nap_t *n = sh_alloc(sizeof *n);
    n->task = task;
    uv_timer_init(&t->loop, &n->timer);
    n->timer.data = n;
    uv_timer_start(&n->timer, wake_up, ms, 0);
    return sh_task_park(L, cancel_nap, n);
}

static int test_sleep(lua_State *L) {
    lua_Number ms = luaL_checknumber(L, 1);
    luaL_argcheck(L, ms >= 0 && ms <= SH_TEST_LIMIT_S_MAX * 1000.0, 1, "milliseconds");
    return nap(L, self(L), (uint64_t)ms);
}

/* enter(file, name): a spec file begins, or one of its parts. */
static int run_enter(lua_State *L) {
    test_t *t = self(L);
    const char *file = luaL_checkstring(L, 1), *name = luaL_checkstring(L, 2);
    if (strcmp(file, t->file) != 0) {
        snprintf(t->file, sizeof t->file, "%s", file);
        arm(t->opts->limit_s + GRACE_S);
    }
    watch(t, name);
    return nap(L, t, 0);
}

static int push_pg_error(lua_State *L, const char *service, int rc) {
    return luaL_error(L, "the database settings of %s cannot be used (%s)", service, sh_err_text(rc));
}

static int open_pool(test_t *t, const char *service, sh_pg_pool_t **out) {
    const sh_config_t *c = t->opts->config;
    sh_buf_t conninfo = {0};
    sh_config_conninfo(c, service, &conninfo);
    const sh_pg_opts_t opts = {
        .conninfo = sh_buf_c(&conninfo),
        .name = service,
        .connections_max = POOL_CONNECTIONS,
        .shared_depth = (uint32_t)sh_config_int(c, "db.shared_depth"),
        .waiting_max = (uint32_t)sh_config_int(c, "db.waiting"),
        .wait_ms_max = (uint64_t)sh_config_int(c, "db.wait_ms"),
        .statement_ms_max = (uint64_t)sh_config_int(c, "db.statement_ms"),
        .idle_ms_max = (uint64_t)sh_config_int(c, "db.idle_ms"),
        .connect_ms_max = (uint64_t)sh_config_int(c, "db.connect_ms"),
        .prepared_max = 256,
    };
    int rc = sh_pg_pool_create(&t->loop, &opts, &t->log, out);
    explicit_bzero(conninfo.ptr, conninfo.cap);
    sh_buf_dispose(&conninfo);
    return rc;
}

/* From here on shama.db logs in as this service. SH_ENOTFOUND: the configuration has no such service. */
static int use(test_t *t, const char *service) {
    char names[SH_SERVICES_MAX][32];
    uint32_t count = sh_worker_services(t->opts->config, names, SH_SERVICES_MAX), at = 0, i = 0;
    while (at < count && strcmp(names[at], service) != 0) at++;
    if (at == count) return SH_ENOTFOUND;
    while (i < t->pool_count && strcmp(t->pools[i].service, service) != 0) i++;
    if (i == t->pool_count) {
        int rc = open_pool(t, service, &t->pools[i].pool);
        if (rc) return rc;
        memcpy(t->pools[i].service, names[at], sizeof t->pools[i].service);
        t->pool_count++;
    }
    t->context.service = t->pools[i].service;
    t->context.pool = t->pools[i].pool;
    return SH_OK;
}

static int test_use(lua_State *L) {
    const char *service = luaL_checkstring(L, 1);
    int rc = use(self(L), service);
    if (rc == SH_ENOTFOUND) return luaL_error(L, "there is no service \"%s\" in the configuration", service);
    return rc ? push_pg_error(L, service, rc) : 0;
}

/* freeze("2026-01-31T12:00:00Z"), or freeze() for the real time. */
static int test_freeze(lua_State *L) {
    test_t *t = self(L);
    int64_t us = 0;
    size_t len;
    if (!lua_isnoneornil(L, 1)) {
        const char *text = luaL_checklstring(L, 1, &len);
        if (sh_time_parse(sh_str(text, len), &us))
            return luaL_error(L, "freeze takes an RFC 3339 time like \"2026-01-31T12:00:00Z\", not \"%s\"", text);
    }
    t->clock.frozen_us = us;
    return 0;
}

static int test_melt(lua_State *L) {
    luaL_checkany(L, 1);
    lua_settop(L, 1);
    sh_vm_melt(L, 1); /* pushes the table of a frozen one */
    return 1;
}

/* The sandbox replaced `require` by its own; specs need Lua's too. */
static void push_system_require(lua_State *L) {
    lua_getglobal(L, "require");
    lua_pushcfunction(L, luaopen_package);
    lua_pushliteral(L, LUA_LOADLIBNAME);
    lua_call(L, 1, 0);
    lua_getglobal(L, "require");
    lua_insert(L, -2);
    lua_setglobal(L, "require");
}

/* has_rule("sales.quotation"): is there a folder rules/sales? */
static int run_has_rule(lua_State *L) {
    const sh_bundle_t *bundle = self(L)->opts->bundle;
    const char *name = luaL_checkstring(L, 1);
    char prefix[128];
    int n = snprintf(prefix, sizeof prefix, "rules/%.*s/", (int)strcspn(name, "."), name);
    bool found = false;
    for (size_t i = 0; i < sh_bundle_count(bundle) && !found && n < (int)sizeof prefix; i++) {
        sh_str_t path, content;
        sh_bundle_at(bundle, i, &path, &content);
        found = sh_str_has_prefix(path, sh_str(prefix, (size_t)n));
    }
    lua_pushboolean(L, found);
    return 1;
}

static void push_functions(lua_State *L, const luaL_Reg *functions, void *data) {
    lua_newtable(L);
    lua_pushlightuserdata(L, data);
    luaL_setfuncs(L, functions, 1);
}

/* For specs. */
static int open_test(lua_State *L, void *data) {
    static const luaL_Reg functions[] = {{"sleep", test_sleep}, {"use", test_use}, {"freeze", test_freeze}, {"melt", test_melt}, {NULL, NULL}};
    push_functions(L, functions, data);
    return 1;
}

/* For lua/shama/test/run.lua alone. */
static int open_run(lua_State *L, void *data) {
    static const luaL_Reg functions[] = {{"enter", run_enter}, {"has_rule", run_has_rule}, {NULL, NULL}};
    push_functions(L, functions, data);
    push_system_require(L);
    lua_setfield(L, -2, "system_require");
    sh_vm_push_function(L, "require");
    lua_setfield(L, -2, "sandbox_require");
    sh_vm_push_function(L, "environment");
    lua_setfield(L, -2, "environment");
    return 1;
}

/* ---- the run */

static int push_run(lua_State *L, void *data) {
    test_t *t = data;
    sh_vm_push_function(L, "require");
    lua_pushliteral(L, "shama.test.run");
    lua_call(L, 1, 1);
    lua_createtable(L, t->opts->argc, 0);
    for (int i = 0; i < t->opts->argc; i++) {
        lua_pushstring(L, t->opts->argv[i]);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

static void on_done(void *data, sh_task_t *task, int status, lua_State *L, int nresults) {
    test_t *t = data;
    (void)task;
    arm(0);
    fflush(stdout);
    t->done = true;
    t->code = 1;
    if (status == SH_OK) {
        t->code = nresults ? (int)lua_tointeger(L, -1) : 0;
    } else if (status == SH_EBUDGET) {
        fwrite(watch_message, 1, (size_t)watch_message_len, stderr);
        fprintf(stderr, "%s\n", sh_vm_traceback(t->vm));
    } else if (status == SH_ELUA) {
        const char *text = lua_tostring(L, -1);
        fprintf(stderr, "shama test: %s\n", text ? text : "an error that is no text");
    } else {
        fprintf(stderr, "shama test: %s: %s\n", t->file[0] ? t->file : "the run", sh_err_text(status));
    }
}

/* Settings that rules may read, as in a worker. */
static const char *readable(void *data, const char *key) {
    const test_t *t = data;
    static const char *const keys[] = {"brand.primary", "brand.secondary", "brand.name", "brand.address", "env"};
    for (size_t i = 0; i < SH_ARRAY_LEN(keys); i++)
        if (strcmp(keys[i], key) == 0) return sh_config_str(t->opts->config, key);
    return NULL;
}

static int set_up(test_t *t, sh_buf_t *error) {
    static const char secret[] = "a secret for specs only, never for a server";
    const sh_config_t *c = t->opts->config;
    char why[256];
    const char *level = getenv("LOG_LEVEL");
    if (sh_log_open(&t->log, NULL, SH_LOG_ERROR, "test") || uv_loop_init(&t->loop)) return SH_EIO;
    if (level && sh_log_level_of(sh_str_of(level), &t->log.level)) t->log.level = SH_LOG_ERROR;
    if (sh_protobuf_create(sh_bundle_file(t->opts->bundle, "proto/descriptors.bin"), &t->protobuf, why, sizeof why)) {
        sh_buf_printf(error, "config/proto: %s", why);
        return SH_EINVAL;
    }
    if (sh_jwt_keys_create(SH_STR(secret), SH_STR_NULL, &t->keys)) return SH_EINVAL;
    t->jwt = (sh_lua_jwt_t){t->keys, 0, sh_config_int(c, "jwt.access_ttl_s"), sh_config_int(c, "jwt.refresh_ttl_s")};
    t->password = (sh_lua_password_t){.loop = &t->loop, .params = SH_PASSWORD_PARAMS_DEFAULT, .running_max = 2};
    t->lua_config = (sh_lua_config_t){readable, t};
    t->pdf = (sh_lua_pdf_opts_t){.loop = &t->loop,
                                 .font_dir = sh_config_str(c, "pdf.font_dir"),
                                 .brand_primary = sh_config_str(c, "brand.primary"),
                                 .brand_secondary = sh_config_str(c, "brand.secondary")};
    t->context = (sh_lua_context_t){.service = "", .protobuf = t->protobuf, .uuids = sh_uuid_source_create(), .clock = &t->clock};
    const sh_primitive_data_t data = {t->context.uuids, &t->clock, &t->jwt, &t->password, &t->lua_config, &t->pdf};
    sh_primitive_t primitives[SH_PRIMITIVES_MAX + 2];
    size_t count = sh_primitives_list(&data, primitives);
    primitives[count++] = (sh_primitive_t){"test", open_test, t, true};
    primitives[count++] = (sh_primitive_t){"test.run", open_run, t, true};
    sh_vm_opts_t opts = {.bundle = t->opts->bundle,
                         .primitives = primitives,
                         .primitive_count = count,
                         .budget = sh_primitives_budget(c),
                         .trusted = true,
                         .loop = &t->loop,
                         .log = &t->log,
                         .user = &t->context};
    opts.budget.memory_bytes = SH_TEST_MEMORY_BYTES;
    opts.budget.slice_ms = t->opts->limit_s * 1000ull;
    opts.budget.task_ms = SH_TEST_LIMIT_S_MAX * 1000ull * 24;
    opts.budget.statements_max = opts.budget.rows_max = opts.budget.events_max = UINT32_MAX;
    return sh_vm_create(&opts, &t->vm, error);
}

static void pool_closed(void *data) { ((test_t *)data)->closing--; }

static void tear_down(test_t *t) {
    t->closing = t->pool_count;
    for (uint32_t i = 0; i < t->pool_count; i++) sh_pg_pool_close(t->pools[i].pool, CLOSE_GRACE_MS, pool_closed, t);
    while (t->closing && uv_run(&t->loop, UV_RUN_ONCE)) continue;
    if (t->vm) sh_vm_destroy(t->vm);
    uv_run(&t->loop, UV_RUN_DEFAULT); /* what is still off the loop, and the last close callbacks */
    sh_lua_pdf_dispose(&t->pdf);
    sh_uuid_source_destroy(t->context.uuids);
    sh_jwt_keys_destroy(t->keys);
    sh_protobuf_destroy(t->protobuf);
    sh_log_flush(&t->log);
    sh_log_close(&t->log);
    if (uv_loop_close(&t->loop)) fprintf(stderr, "shama test: something is still open in the loop\n");
}

int sh_test_run(const sh_test_opts_t *opts) {
    test_t *t = sh_calloc(1, sizeof *t);
    sh_buf_t error = {0};
    struct sigaction alarm_action = {.sa_handler = on_alarm}, before;
    t->opts = opts;
    int rc = set_up(t, &error), code = 1;
    if (!rc && opts->service) {
        rc = use(t, opts->service);
        if (rc)
            sh_buf_printf(&error, "--service %s: %s", opts->service,
                          rc == SH_ENOTFOUND ? "there is no such service in the configuration" : sh_err_text(rc));
    }
    if (!rc) {
        const sh_task_opts_t task = {.kind = SH_TASK_SPEC, .name = "specs"};
        sigaction(SIGALRM, &alarm_action, &before);
        snprintf(t->file, sizeof t->file, "%s", "the specs");
        watch(t, "loading");
        arm(opts->limit_s + GRACE_S);
        sh_task_start(t->vm, &task, push_run, on_done, t);
        while (!t->done) uv_run(&t->loop, UV_RUN_ONCE);
        sigaction(SIGALRM, &before, NULL);
        code = t->code;
    } else {
        fprintf(stderr, "shama test: %s\n", error.len ? sh_buf_c(&error) : sh_err_text(rc));
    }
    tear_down(t);
    sh_buf_dispose(&error);
    free(t);
    return code;
}

/* ---- the command */

static const char help[] = "Usage: shama test [paths] [options]\n\n"
                           "Runs specs with busted inside the runtime; without a path those in tests/spec (files *_spec.lua).\n\n"
                           "  --service NAME     shama.db uses the login of this service (default: none until a spec says test.use(\"sales\"))\n"
                           "  --limit SECONDS    of a spec file (default: 60); the `it` that hangs is named\n\n"
                           "All other options are busted's, among them:\n"
                           "  --filter PATTERN   only tests whose name matches        --tags TAGS     only tests with these #tags\n"
                           "  --list             names instead of running             --shuffle       in random order\n"
                           "  -o TAP|junit|json  another output                       --no-keep-going stop at the first failure\n\n"
                           "Exit code 0: all passed; 1: failures, errors, or a file that hangs; 2: wrong usage.\n";

/* The value of our own option `name` at argv[*i], or NULL; moves *i behind a value that stands apart. */
static const char *take_value(const char *name, int argc, char **argv, int *i) {
    size_t len = strlen(name);
    if (strncmp(argv[*i], name, len) != 0) return NULL;
    if (argv[*i][len] == '=') return argv[*i] + len + 1;
    if (argv[*i][len] != 0) return NULL;
    return *i + 1 < argc ? argv[++*i] : "";
}

int sh_command_test(int argc, char **argv) {
    sh_test_opts_t opts = {.limit_s = SH_TEST_LIMIT_S};
    sh_buf_t error = {0};
    int kept = 0, code = 1;
    for (int i = 1; i < argc; i++) {
        const char *value;
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) return fputs(help, stdout), 0;
        if ((value = take_value("--service", argc, argv, &i))) {
            opts.service = value;
        } else if ((value = take_value("--limit", argc, argv, &i))) {
            int64_t n;
            if (sh_str_to_i64(sh_str_of(value), &n) || n < 1 || n > SH_TEST_LIMIT_S_MAX)
                return fprintf(stderr, "shama test: --limit takes seconds, 1 to %d\n", SH_TEST_LIMIT_S_MAX), 2;
            opts.limit_s = (uint32_t)n;
        } else {
            argv[kept++] = argv[i];
        }
    }
    setenv("SHAMA_ENV", "test", 0);
    sh_config_t *config = sh_options_config();
    if (!config) return 1;
    opts.config = config;
    opts.argc = kept;
    opts.argv = argv;
    if (sh_check_bundle(config, &opts.bundle, &error)) {
        fprintf(stderr, "shama test: %s\n", sh_buf_c(&error));
    } else {
        code = sh_test_run(&opts);
        sh_bundle_release(opts.bundle);
    }
    sh_buf_dispose(&error);
    sh_config_dispose(config);
    free(config);
    return code;
}
