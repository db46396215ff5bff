/* Boxes: each a bundle of the runtime's Lua library and the spec's files, loaded into a vm that runs requests one by one. */
#include "app/test_sandbox.h"

#include "base/err.h"
#include "bind/lua_call.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { FILES_MAX = 64, RUNS_MAX = 64 };

typedef struct box box_t;

typedef struct run {
    box_t *box;
    sh_arena_t arena;
    sh_call_t call;
    sh_reply_t reply;
    bool done;
} run_t;

struct box {
    sh_workbench_t *bench;
    sh_vm_t *vm;   /* NULL when closed */
    sh_log_t *log; /* the pool's too, which closes later */
    sh_lua_context_t context;
    bool has_pool;
    run_t *runs[RUNS_MAX]; /* parked ones keep their place */
    run_t *now;
};

static const char box_key; /* registry: the metatable */

/* ---- the primitive `wait` of a box */

static void cancel_wait(void *data) { (void)data; }

static int wait_here(lua_State *L) {
    box_t *box = lua_touserdata(L, lua_upvalueindex(1));
    if (!box->now) return luaL_error(L, "shama.wait works before anything else was waited for");
    return sh_task_park(L, cancel_wait, box->now);
}

static int open_wait(lua_State *L, void *data) {
    lua_newtable(L);
    lua_pushlightuserdata(L, data);
    lua_pushcclosure(L, wait_here, 1);
    lua_setfield(L, -2, "here");
    return 1;
}

/* ---- making a box */

static void set_limit(lua_State *L, int budget, const char *key, uint64_t unit, uint64_t *out) {
    lua_getfield(L, budget, key);
    if (lua_isnumber(L, -1)) *out = (uint64_t)lua_tonumber(L, -1) * unit;
    lua_pop(L, 1);
}

static sh_budget_t budget_of(lua_State *L, int options) {
    sh_budget_t b = {
        .slice_ms = 50, .task_ms = 100, .memory_bytes = 16 << 20, .deadline_ms = 10000, .event_deadline_ms = 30000, .response_bytes_max = 1 << 20};
    uint64_t statements = 20, rows = 1000, events = 10;
    lua_getfield(L, options, "budget");
    if (lua_istable(L, -1)) {
        int budget = lua_gettop(L);
        set_limit(L, budget, "slice_ms", 1, &b.slice_ms);
        set_limit(L, budget, "task_ms", 1, &b.task_ms);
        set_limit(L, budget, "memory_mb", 1 << 20, &b.memory_bytes);
        set_limit(L, budget, "response_bytes", 1, &b.response_bytes_max);
        set_limit(L, budget, "statements", 1, &statements);
        set_limit(L, budget, "events", 1, &events);
    }
    lua_pop(L, 1);
    b.statements_max = (uint32_t)statements;
    b.rows_max = (uint32_t)rows;
    b.events_max = (uint32_t)events;
    return b;
}

static int build_bundle(lua_State *L, const box_t *box, sh_bundle_t **out, sh_buf_t *error) {
    sh_bundle_source_t sources[FILES_MAX];
    sh_bundle_t *ours = box->bench->opts.bundle;
    sh_arena_t names; /* those of a bundle do not end in a NUL */
    size_t n = 0;
    sh_arena_init(&names);
    lua_getfield(L, 1, "files");
    for (lua_pushnil(L); lua_istable(L, -2) && lua_next(L, -2); lua_pop(L, 1)) { /* the texts stay in the spec's table */
        SH_ASSERT(n < FILES_MAX);
        sources[n++] = (sh_bundle_source_t){.prefix = lua_tostring(L, -2), .bytes = {lua_tostring(L, -1), lua_objlen(L, -1)}};
    }
    for (size_t i = 0; i < sh_bundle_count(ours); i++) {
        sh_str_t name, content;
        sh_bundle_at(ours, i, &name, &content);
        if (!sh_str_has_prefix(name, SH_STR("lua/host/")) && !sh_str_has_prefix(name, SH_STR("lua/shama/"))) continue;
        SH_ASSERT(n < FILES_MAX);
        sources[n++] = (sh_bundle_source_t){.prefix = sh_arena_str(&names, name).ptr, .bytes = content};
    }
    int rc = sh_bundle_build(sources, n, out, error);
    sh_arena_dispose(&names);
    return rc;
}

static int load(lua_State *L, box_t *box, sh_buf_t *error) {
    sh_workbench_t *b = box->bench;
    static const sh_pg_opts_t nowhere = {.conninfo = "host=127.0.0.1 port=1",
                                         .name = "nowhere",
                                         .connections_max = 1,
                                         .shared_depth = 1,
                                         .waiting_max = 10,
                                         .wait_ms_max = 100,
                                         .connect_ms_max = 100};
    sh_primitive_t primitives[SH_PRIMITIVES_MAX + 1];
    const sh_primitive_data_t data = {b->context.uuids, &b->clock, &b->jwt, &b->password, &b->lua_config, &b->pdf};
    size_t count = sh_primitives_list(&data, primitives);
    primitives[count++] = (sh_primitive_t){"wait", open_wait, box, false};
    sh_bundle_t *bundle;
    int rc = build_bundle(L, box, &bundle, error);
    if (rc) return rc;
    box->context = b->context;
    box->context.service = "demo";
    rc = sh_pg_pool_create(&b->loop, &nowhere, box->log, &box->context.pool);
    box->has_pool = rc == SH_OK;
    const sh_vm_opts_t opts = {.service = "demo",
                               .bundle = bundle,
                               .primitives = primitives,
                               .primitive_count = count,
                               .budget = budget_of(L, 1),
                               .loop = &b->loop,
                               .log = box->log,
                               .user = &box->context};
    if (!rc) rc = sh_vm_create(&opts, &box->vm, error);
    sh_bundle_release(bundle);
    if (rc) return rc;
    while ((rc = sh_vm_load_step(box->vm, error)) > 0) continue;
    return rc;
}

static int sandbox_open(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    sh_buf_t error = {0};
    box_t *box = lua_newuserdata(L, sizeof *box);
    memset(box, 0, sizeof *box);
    box->bench = lua_touserdata(L, lua_upvalueindex(1));
    box->log = sh_calloc(1, sizeof *box->log);
    *box->log = (sh_log_t){.level = SH_LOG_INFO, .fd = memfd_create("sandbox-log", MFD_CLOEXEC)};
    lua_pushlightuserdata(L, (void *)&box_key);
    lua_rawget(L, LUA_REGISTRYINDEX);
    lua_setmetatable(L, -2);
    int place = lua_gettop(L), rc = load(L, box, &error);
    lua_settop(L, place);
    if (rc) {
        lua_pushnil(L);
        lua_pushstring(L, error.len ? sh_buf_c(&error) : sh_err_text(rc));
    }
    sh_buf_dispose(&error);
    return rc ? 2 : 1;
}

/* ---- running */

static void set_str(lua_State *L, const char *key, sh_str_t value) {
    lua_pushlstring(L, value.ptr ? value.ptr : "", value.len);
    lua_setfield(L, -2, key);
}

/* What was logged since the last time. */
static void push_log(lua_State *L, box_t *box) {
    char chunk[4096];
    luaL_Buffer b;
    ssize_t n;
    sh_log_flush(box->log);
    off_t at = 0;
    luaL_buffinit(L, &b);
    while ((n = pread(box->log->fd, chunk, sizeof chunk, at)) > 0) {
        luaL_addlstring(&b, chunk, (size_t)n);
        at += n;
    }
    luaL_pushresult(&b);
    if (ftruncate(box->log->fd, 0) == 0) lseek(box->log->fd, 0, SEEK_SET);
}

static void free_run(run_t *run) {
    sh_buf_dispose(&run->reply.body);
    sh_arena_dispose(&run->arena);
    free(run);
}

static int push_outcome(lua_State *L, box_t *box, int place) {
    run_t *run = box->runs[place];
    lua_newtable(L);
    push_log(L, box);
    lua_setfield(L, -2, "log");
    lua_pushstring(L, sh_vm_traceback(box->vm));
    lua_setfield(L, -2, "traceback");
    lua_pushnumber(L, (lua_Number)sh_vm_memory(box->vm));
    lua_setfield(L, -2, "memory");
    if (!run->done) {
        lua_pushinteger(L, place + 1);
        lua_setfield(L, -2, "parked");
        return 1;
    }
    lua_pushinteger(L, run->reply.status);
    lua_setfield(L, -2, "status");
    if (run->reply.code) set_str(L, "code", sh_str_of(run->reply.code));
    set_str(L, "detail", run->reply.detail);
    set_str(L, "body", sh_buf_str(&run->reply.body));
    free_run(run);
    box->runs[place] = NULL;
    return 1;
}

static void answered(void *data, sh_call_t *call, sh_reply_t *reply) {
    run_t *run = data;
    (void)call;
    run->reply = *reply; /* its slices are in the arena */
    run->done = true;
}

static box_t *check_box(lua_State *L) {
    box_t *box = lua_touserdata(L, 1);
    if (!box || !box->vm) luaL_error(L, "a box was expected");
    return box;
}

static int box_run(lua_State *L) {
    static const sh_caller_t caller = {.language = "en"};
    box_t *box = check_box(L);
    const sh_manifest_t *m = sh_vm_manifest(box->vm);
    lua_Integer route = luaL_optinteger(L, 2, 1);
    int place = 0;
    luaL_argcheck(L, route >= 1 && route <= (lua_Integer)m->route_count, 2, "no such route");
    while (place < RUNS_MAX && box->runs[place]) place++;
    if (place == RUNS_MAX) return luaL_error(L, "too many requests wait");
    run_t *run = box->runs[place] = sh_calloc(1, sizeof *run);
    run->box = box;
    sh_arena_init(&run->arena);
    run->call = (sh_call_t){.vm = box->vm, .route = &m->routes[route - 1], .caller = &caller, .arena = &run->arena, .request_id = SH_STR("spec")};
    box->now = run;
    sh_lua_call_start(&run->call, answered, run);
    box->now = NULL;
    return push_outcome(L, box, place);
}

static int box_resume(lua_State *L) {
    box_t *box = check_box(L);
    lua_Integer place = luaL_checkinteger(L, 2) - 1;
    luaL_argcheck(L, place >= 0 && place < RUNS_MAX && box->runs[place] && box->runs[place]->call.task, 2, "nothing waits there");
    box->now = box->runs[place];
    sh_task_resume(box->now->call.task, 0);
    box->now = NULL;
    return push_outcome(L, box, (int)place);
}

static void free_log(void *data) {
    sh_log_t *log = data;
    close(log->fd);
    sh_buf_dispose(&log->pending);
    free(log);
}

static int box_collect(lua_State *L) {
    box_t *box = lua_touserdata(L, 1);
    if (box->vm) sh_vm_destroy(box->vm);
    box->vm = NULL;
    if (box->has_pool)
        sh_pg_pool_close(box->context.pool, 0, free_log, box->log);
    else if (box->log)
        free_log(box->log);
    box->has_pool = false;
    box->log = NULL;
    for (int i = 0; i < RUNS_MAX; i++)
        if (box->runs[i]) free_run(box->runs[i]);
    memset(box->runs, 0, sizeof box->runs);
    return 0;
}

int sh_test_sandbox_open(lua_State *L, void *data) {
    static const luaL_Reg methods[] = {{"run", box_run}, {"resume", box_resume}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"open", sandbox_open}, {NULL, NULL}};
    lua_pushlightuserdata(L, (void *)&box_key);
    lua_newtable(L);
    lua_pushcfunction(L, box_collect);
    lua_setfield(L, -2, "__gc");
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    lua_setfield(L, -2, "__index");
    lua_rawset(L, LUA_REGISTRYINDEX);
    lua_newtable(L);
    lua_pushlightuserdata(L, data);
    luaL_setfuncs(L, functions, 1);
    return 1;
}
