/* The process behind `shama test`: what a worker has for its rules, without edge and events, and a watch over the time of each spec file. */
#include "app/test_command.h"

#include "app/check.h"
#include "app/commands.h"
#include "app/options.h"
#include "app/test_app.h"
#include "app/test_sandbox.h"
#include "app/workbench.h"
#include "base/err.h"
#include "base/time.h"

#include <lauxlib.h>
#include <lualib.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>

enum { GRACE_S = 2, NAME_MAX_BYTES = 400 };

typedef struct test {
    const sh_test_opts_t *opts;
    sh_workbench_t bench;
    sh_test_app_t app;
    sh_test_databases_t *databases;
    char file[NAME_MAX_BYTES]; /* the spec file that runs */
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
    uv_timer_init(&t->bench.loop, &n->timer);
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

static int test_use(lua_State *L) {
    const char *service = luaL_checkstring(L, 1);
    int rc = sh_workbench_use(&self(L)->bench, service);
    if (rc == SH_ENOTFOUND) return luaL_error(L, "there is no service \"%s\" in the configuration", service);
    if (rc == SH_EDENIED) return luaL_error(L, "a gate spec has no database: take the line `-- gate` out of it, or test deciders and policies only");
    return rc ? luaL_error(L, "the database settings of %s cannot be used (%s)", service, sh_err_text(rc)) : 0;
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
    t->bench.clock.frozen_us = us;
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
    t->code = 1;
    if (status == SH_OK) {
        t->code = nresults ? (int)lua_tointeger(L, -1) : 0;
    } else if (status == SH_EBUDGET) {
        fwrite(watch_message, 1, (size_t)watch_message_len, stderr);
        fprintf(stderr, "%s\n", sh_vm_traceback(t->bench.vm));
    } else if (status == SH_ELUA) {
        const char *text = lua_tostring(L, -1);
        fprintf(stderr, "shama test: %s\n", text ? text : "an error that is no text");
    } else {
        fprintf(stderr, "shama test: %s: %s\n", t->file[0] ? t->file : "the run", sh_err_text(status));
    }
}

static int set_up(test_t *t, sh_buf_t *error) {
    const sh_primitive_t extra[] = {{"test", open_test, t, true},
                                    {"test.run", open_run, t, true},
                                    {"test.app", sh_test_app_open, &t->app, true},
                                    {"test.sandbox", sh_test_sandbox_open, &t->bench, true}};
    sh_workbench_opts_t opts = {.config = t->opts->config,
                                .bundle = t->opts->bundle,
                                .name = "test",
                                .budget = sh_primitives_budget(t->opts->config),
                                .has_database = !t->opts->is_gate,
                                .extra = extra,
                                .extra_count = SH_ARRAY_LEN(extra)};
    opts.budget.memory_bytes = SH_TEST_MEMORY_BYTES;
    opts.budget.slice_ms = t->opts->limit_s * 1000ull;
    opts.budget.task_ms = SH_TEST_LIMIT_S_MAX * 1000ull * 24;
    opts.budget.statements_max = opts.budget.rows_max = opts.budget.events_max = UINT32_MAX;
    int rc = sh_workbench_init(&t->bench, &opts, error);
    t->databases = sh_test_databases_create(t->opts->config);
    sh_test_app_init(&t->app, &t->bench, t->databases);
    t->app.service = t->opts->service;
    t->app.is_gate = t->opts->is_gate;
    return rc;
}

int sh_test_run(const sh_test_opts_t *opts) {
    test_t *t = sh_calloc(1, sizeof *t);
    sh_buf_t error = {0};
    struct sigaction alarm_action = {.sa_handler = on_alarm}, before;
    t->opts = opts;
    int rc = set_up(t, &error), code = 1;
    if (!rc && opts->service) {
        rc = sh_workbench_use(&t->bench, opts->service);
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
        sh_workbench_run(&t->bench, &task, push_run, on_done, t);
        sigaction(SIGALRM, &before, NULL);
        code = t->code;
    } else {
        fprintf(stderr, "shama test: %s\n", error.len ? sh_buf_c(&error) : sh_err_text(rc));
    }
    sh_test_app_dispose(&t->app);
    sh_workbench_dispose(&t->bench);
    sh_test_databases_destroy(t->databases);
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
