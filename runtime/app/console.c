/* `shama console`: a prompt inside a service's sandbox. A trusted state evaluates each line in a task of its own (lua/host/console.lua), so that
 * primitives may wait. */
#include "app/check.h"
#include "app/commands.h"
#include "app/dev_attach.h"
#include "app/options.h"
#include "app/workbench.h"
#include "app/worker.h"
#include "base/err.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 65536, SLICE_MS = 10000, TASK_MS = 60000, MEMORY_MB = 512, ROWS_MAX = 1000000 };

typedef struct console {
    sh_workbench_t bench;
    int evaluate;      /* registry reference */
    const char *code;  /* what runs now */
    bool failed, more; /* what came of it */
} console_t;

static const char help[] =
    "Usage: shama console [SERVICE] [--write] [--eval CODE]\n\n"
    "A prompt in the sandbox of a service (default: the first of `services`), against the configured database (or that of the `shama dev` which\n"
    "runs in this folder), as this service's login.\n"
    "`db`, `decimal` and `json` are there; everything else comes by require \"sales.store\", require \"shama.clock\".\n\n"
    "  --write       transactions may write; else they are read-only\n"
    "  --eval CODE   runs this and ends: exit code 0, or 1 when it raises\n\n"
    "An expression is shown as JSON. A line that is not complete goes on in the next one. Ctrl-D ends.\n";

static int make_evaluate(lua_State *L, void *data) {
    console_t *c = data;
    static const char path[] = "lua/host/console.lua";
    sh_str_t source = sh_bundle_file(c->bench.opts.bundle, path);
    if (!source.ptr) return luaL_error(L, "the bundle has no %s", path);
    sh_vm_push_function(L, "unseal");
    lua_call(L, 0, 0);
    if (luaL_loadbufferx(L, source.ptr, source.len, "@lua/host/console.lua", "t")) return lua_error(L);
    lua_newtable(L);
    static const char *const functions[] = {"environment", "require"};
    for (size_t i = 0; i < SH_ARRAY_LEN(functions); i++) {
        sh_vm_push_function(L, functions[i]);
        lua_setfield(L, -2, functions[i]);
    }
    return 1;
}

static void show_failure(console_t *c, int status, lua_State *L) {
    c->failed = true;
    if (status == SH_ELUA)
        fprintf(stderr, "%s\n", lua_tostring(L, -1) ? lua_tostring(L, -1) : "an error that is no text");
    else if (status == SH_EBUDGET)
        fprintf(stderr, "ended: more than %d s of work\n%s\n", SLICE_MS / 1000, sh_vm_traceback(c->bench.vm));
    else
        fprintf(stderr, "ended: %s\n", sh_err_text(status));
}

static void take_evaluate(void *data, sh_task_t *task, int status, lua_State *L, int nresults) {
    console_t *c = data;
    (void)task;
    if (status || nresults != 1)
        show_failure(c, status, L);
    else
        c->evaluate = luaL_ref(L, LUA_REGISTRYINDEX);
}

static int push_code(lua_State *L, void *data) {
    const console_t *c = data;
    lua_rawgeti(L, LUA_REGISTRYINDEX, c->evaluate);
    lua_pushstring(L, c->code);
    return 1;
}

static void show(void *data, sh_task_t *task, int status, lua_State *L, int nresults) {
    console_t *c = data;
    (void)task;
    if (status) {
        show_failure(c, status, L);
        return;
    }
    const char *what = lua_tostring(L, -nresults), *text = nresults > 1 ? lua_tostring(L, 1 - nresults) : NULL;
    c->more = strcmp(what, "more") == 0;
    c->failed = strcmp(what, "value") != 0;
    if (text && !c->more) fprintf(c->failed ? stderr : stdout, "%s\n", text);
}

static void evaluate(console_t *c, const char *code) {
    const sh_task_opts_t task = {.kind = SH_TASK_SPEC, .name = "console", .slice_ms = SLICE_MS, .total_ms = TASK_MS};
    c->code = code;
    c->failed = c->more = false;
    sh_workbench_run(&c->bench, &task, push_code, show, c);
    fflush(stdout);
}

/* Prompts only for a person: lines from a pipe are run like a script. */
static int converse(console_t *c, bool may_write) {
    bool is_person = isatty(STDIN_FILENO);
    char line[LINE_MAX_BYTES];
    int code = 0;
    sh_buf_t text = {0};
    if (is_person) printf("%s, %s. Ctrl-D ends.\n", c->bench.opts.service, may_write ? "with WRITE access" : "read-only");
    for (;;) {
        if (is_person) printf("%s%s ", c->bench.opts.service, text.len ? ">>" : may_write ? "!" : ">"), fflush(stdout);
        if (!fgets(line, sizeof line, stdin)) break;
        if (!text.len && line[strspn(line, " \t\r\n")] == 0) continue;
        if (strcmp(line, "exit\n") == 0 || strcmp(line, "quit\n") == 0) break;
        bool is_empty = line[0] == '\n';
        sh_buf_put_c(&text, line);
        evaluate(c, sh_buf_c(&text));
        if (c->more && !is_empty) continue; /* an empty line gives up */
        if (c->more) fprintf(stderr, "the line is not complete\n");
        if (c->failed && !is_person) code = 1;
        sh_buf_clear(&text);
    }
    if (text.len) fprintf(stderr, "the last line is not complete\n"), code = 1;
    if (is_person) printf("\n");
    sh_buf_dispose(&text);
    return code;
}

static int open_console(console_t *c, const sh_workbench_opts_t *opts, sh_buf_t *error) {
    const sh_task_opts_t task = {.kind = SH_TASK_LOAD, .name = "console", .slice_ms = SLICE_MS, .total_ms = SLICE_MS};
    int rc = sh_workbench_init(&c->bench, opts, error);
    if (!rc) rc = sh_workbench_use(&c->bench, opts->service);
    if (rc == SH_ENOTFOUND) sh_buf_printf(error, "there is no service \"%s\" in the configuration", opts->service);
    if (!rc) rc = sh_workbench_load(&c->bench, error);
    if (!rc) sh_workbench_run(&c->bench, &task, make_evaluate, take_evaluate, c);
    if (!rc && c->failed) rc = SH_ELUA;
    return rc;
}

int sh_command_console(int argc, char **argv) {
    const char *code_text = NULL;
    bool may_write = false;
    const sh_option_t options[] = {{"--eval", &code_text, NULL}, {"--write", NULL, &may_write}};
    argc = sh_options_take(argc, argv, options, SH_ARRAY_LEN(options), help);
    if (argc < 1 || argc > 2) return 2;
    sh_config_t *config = sh_options_config();
    if (!config) return 1;
    sh_dev_attach(config);
    char names[SH_SERVICES_MAX][32];
    sh_bundle_t *bundle = NULL;
    sh_buf_t error = {0};
    console_t *c = sh_calloc(1, sizeof *c);
    int code = 1;
    int rc = sh_worker_services(config, names, SH_SERVICES_MAX) ? sh_check_bundle(config, &bundle, &error) : SH_ENOTFOUND;
    if (!rc) {
        sh_workbench_opts_t opts = {.config = config,
                                    .bundle = bundle,
                                    .name = "console",
                                    .service = argc == 2 ? argv[1] : names[0],
                                    .budget = sh_primitives_budget(config),
                                    .has_database = true,
                                    .read_only = !may_write};
        opts.budget.memory_bytes = (uint64_t)MEMORY_MB << 20;
        opts.budget.rows_max = ROWS_MAX;
        rc = open_console(c, &opts, &error);
        if (!rc && code_text)
            evaluate(c, code_text), code = c->failed ? 1 : 0;
        else if (!rc)
            code = converse(c, may_write);
        if (!rc && code_text && c->more) fprintf(stderr, "the code is not complete\n");
        sh_workbench_dispose(&c->bench);
    }
    if (rc && error.len) fprintf(stderr, "shama console: %s\n", sh_buf_c(&error));
    if (bundle) sh_bundle_release(bundle);
    sh_buf_dispose(&error);
    sh_config_dispose(config);
    free(config);
    free(c);
    return code;
}
