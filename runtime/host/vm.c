/* The life of a vm: its allocator, its sandbox, its load in steps, its end. */
#include "host/vm.h"

#include "base/err.h"
#include "base/time.h"
#include "host/vm_internal.h"

#include <lauxlib.h>
#include <lualib.h>
#include <luajit.h>
#include <stdlib.h>

enum {
    LOAD_SLICE_MS = 1000,
    GC_PAUSE_PERCENT = 200, /* measured: a larger heap costs more in cache misses than its collections save */
    GC_STEP_PERCENT = 1000, /* a step of a collection is 10 KiB of work: fewer of them than LuaJIT's 2 KiB, and still some microseconds only */
};

/* ---- memory */

/* Not every allocation comes by here: there is no room, or it is time to collect or to look at the budget. False: refused. */
static bool grow_slow(sh_vm_t *vm, size_t more) {
    bool is_refused = vm->memory + more > vm->memory_limit;
    if (is_refused)
        vm->denied = true;
    else
        vm->allocated += more;
    if (is_refused || vm->memory + more > vm->collect_at) vm->collect_wanted = true;
    if (!vm->hook_soon && (vm->collect_wanted || vm->allocated > vm->hook_at)) sh_task_hook_soon(vm);
    return !is_refused;
}

static inline bool grow(sh_vm_t *vm, size_t more) {
    uint64_t memory = vm->memory + more, allocated = vm->allocated + more;
    if (SH_UNLIKELY(memory > vm->memory_limit || memory > vm->collect_at || allocated > vm->hook_at || vm->collect_wanted))
        return grow_slow(vm, more);
    vm->allocated = allocated;
    return true;
}

static void *vm_alloc(void *data, void *ptr, size_t old_size, size_t new_size) {
    sh_vm_t *vm = data;
    if (new_size == 0) {
        vm->memory -= old_size;
        sh_heap_free(&vm->heap, ptr, old_size);
        return NULL;
    }
    if (new_size > old_size && !grow(vm, new_size - old_size)) return NULL;
    void *p = old_size ? sh_heap_resize(&vm->heap, ptr, old_size, new_size) : sh_heap_alloc(&vm->heap, new_size);
    if (p) vm->memory += new_size - old_size;
    return p;
}

/* ---- what lua/host/sandbox.lua calls */

static int host_compile(lua_State *L) {
    const char *path = luaL_checkstring(L, 1);
    sh_str_t source = sh_bundle_file(sh_vm_of(L)->bundle, path);
    lua_pushfstring(L, "@%s", path);
    if (source.ptr && luaL_loadbufferx(L, source.ptr, source.len, lua_tostring(L, -1), "t") == 0) return 1;
    if (!source.ptr)
        lua_pushfstring(L, "there is no file %s", path);
    else if (strncmp(lua_tostring(L, -1), path, strlen(path)) != 0)
        lua_pushfstring(L, "%s: %s", path, lua_tostring(L, -1));
    lua_pushnil(L);
    lua_insert(L, -2);
    return 2;
}

/* The next instruction is looked at: before something that takes long inside C. */
static int host_tick(lua_State *L) {
    sh_task_hook_soon(sh_vm_of(L));
    return 0;
}

static int host_has(lua_State *L) {
    lua_pushboolean(L, sh_bundle_file(sh_vm_of(L)->bundle, luaL_checkstring(L, 1)).ptr != NULL);
    return 1;
}

static int host_primitive(lua_State *L) {
    sh_vm_t *vm = sh_vm_of(L);
    const char *name = luaL_checkstring(L, 1);
    for (size_t i = 0; i < vm->primitive_count; i++) {
        const sh_primitive_t *p = &vm->primitives[i];
        if (strcmp(p->name, name) != 0) continue;
        if (p->open(L, p->data) != 1) return luaL_error(L, "primitive %s did not open", name);
        lua_pushboolean(L, p->pure);
        return 2;
    }
    lua_pushnil(L);
    return 1;
}

static int host_nearest(lua_State *L) {
    const char *names[256];
    const char *name = luaL_checkstring(L, 1);
    size_t n = 0;
    luaL_checktype(L, 2, LUA_TTABLE);
    for (; n < SH_ARRAY_LEN(names); n++) {
        lua_rawgeti(L, 2, (int)n + 1);
        names[n] = lua_tostring(L, -1);
        lua_pop(L, 1); /* the table keeps it alive */
        if (!names[n]) break;
    }
    const char *near = sh_str_nearest(name, names, n);
    if (near)
        lua_pushstring(L, near);
    else
        lua_pushnil(L);
    return 1;
}

/* Names of library modules, for suggestions: primitives and lua/shama/<name>.lua files. */
static void push_names(lua_State *L, sh_vm_t *vm) {
    int n = 0;
    lua_newtable(L);
    for (size_t i = 0; i < vm->primitive_count; i++) {
        lua_pushstring(L, vm->primitives[i].name);
        lua_rawseti(L, -2, ++n);
    }
    for (size_t i = 0; i < sh_bundle_count(vm->bundle); i++) {
        sh_str_t name, content, prefix = SH_STR("lua/shama/");
        sh_bundle_at(vm->bundle, i, &name, &content);
        if (!sh_str_has_prefix(name, prefix) || memchr(name.ptr + prefix.len, '/', name.len - prefix.len)) continue;
        lua_pushlstring(L, name.ptr + prefix.len, name.len - prefix.len - 4);
        lua_rawseti(L, -2, ++n);
    }
}

static void open_library(lua_State *L, const char *name, lua_CFunction open) {
    lua_pushcfunction(L, open);
    lua_pushstring(L, name);
    lua_call(L, 1, 0);
}

/* Runs protected: everything that may run out of memory. */
static int build(lua_State *L) {
    sh_vm_t *vm = sh_vm_of(L);
    if (vm->trusted) {
        luaL_openlibs(L);
    } else {
        open_library(L, "", luaopen_base);
        open_library(L, LUA_TABLIBNAME, luaopen_table);
        open_library(L, LUA_STRLIBNAME, luaopen_string);
        open_library(L, LUA_MATHLIBNAME, luaopen_math);
        open_library(L, LUA_BITLIBNAME, luaopen_bit);
    }
    static const luaL_Reg functions[] = {
        {"compile", host_compile}, {"has", host_has}, {"primitive", host_primitive}, {"nearest", host_nearest}, {"tick", host_tick}, {NULL, NULL},
    };
    sh_str_t source = sh_bundle_file(vm->bundle, "lua/host/sandbox.lua");
    if (!source.ptr) return luaL_error(L, "the bundle has no lua/host/sandbox.lua");
    if (luaL_loadbufferx(L, source.ptr, source.len, "@lua/host/sandbox.lua", "t")) return lua_error(L);
    lua_newtable(L);
    luaL_setfuncs(L, functions, 0);
    push_names(L, vm);
    lua_setfield(L, -2, "names");
    if (vm->service[0]) {
        lua_pushstring(L, vm->service);
        lua_setfield(L, -2, "service");
    }
    lua_pushboolean(L, vm->trusted);
    lua_setfield(L, -2, "trusted");
    lua_call(L, 1, 1);
    vm->functions_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

int sh_vm_create(const sh_vm_opts_t *opts, sh_vm_t **out, sh_buf_t *error) {
    sh_vm_t *vm = sh_calloc(1, sizeof *vm);
    vm->bundle = sh_bundle_retain(opts->bundle);
    vm->primitives = sh_alloc(opts->primitive_count * sizeof *vm->primitives);
    if (opts->primitive_count) memcpy(vm->primitives, opts->primitives, opts->primitive_count * sizeof *vm->primitives);
    vm->primitive_count = opts->primitive_count;
    vm->budget = opts->budget;
    vm->trusted = opts->trusted;
    vm->loop = opts->loop;
    vm->slot = opts->slot;
    vm->log = opts->log;
    vm->user = opts->user;
    vm->collect_at = opts->budget.memory_bytes / 10 * 7;
    vm->memory_limit = opts->budget.memory_bytes;
    vm->messages_ref = vm->functions_ref = LUA_NOREF;
    sh_list_init(&vm->tasks);
    sh_arena_init(&vm->arena);
    if (opts->service) {
        size_t n = strlen(opts->service);
        SH_ASSERT(n < sizeof vm->service);
        memcpy(vm->service, opts->service, n + 1);
    }
    sh_heap_init(&vm->heap);
    vm->L = lua_newstate(vm_alloc, vm);
    if (!vm->L) {
        sh_buf_put_lit(error, "no memory for a Lua state: raise budget.memory_mb");
        goto fail;
    }
    if (lua_cpcall(vm->L, build, NULL)) {
        const char *text = lua_tostring(vm->L, -1);
        sh_buf_put_c(error, text ? text : "the sandbox cannot be built");
        goto fail;
    }
    /* Not before: opening the `jit` library, as a trusted state does, switches the compiler on. */
    luaJIT_setmode(vm->L, 0, LUAJIT_MODE_ENGINE | (opts->jit ? LUAJIT_MODE_ON : LUAJIT_MODE_OFF));
    lua_sethook(vm->L, sh_task_hook, LUA_MASKCOUNT, SH_HOOK_INSTRUCTIONS);
    lua_gc(vm->L, LUA_GCSETPAUSE, GC_PAUSE_PERCENT);
    lua_gc(vm->L, LUA_GCSETSTEPMUL, GC_STEP_PERCENT);
    vm->memory_limit = UINT64_MAX;
    *out = vm;
    return SH_OK;
fail:
    sh_vm_destroy(vm);
    return SH_EINVAL;
}

void sh_vm_destroy(sh_vm_t *vm) {
    if (vm->L) sh_vm_cancel_tasks(vm);
    SH_ASSERT(vm->task_count == 0);
    sh_vm_stop_sweep(vm);
    if (vm->L) lua_close(vm->L);
    sh_heap_dispose(&vm->heap);
    sh_bundle_release(vm->bundle);
    sh_arena_dispose(&vm->arena);
    sh_buf_dispose(&vm->traceback);
    free(vm->primitives);
    free(vm);
}

/* ---- load */

static int compile_manifest(lua_State *L) {
    sh_vm_t *vm = sh_vm_of(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm->messages_ref); /* { manifest, messages } while loading */
    lua_rawgeti(L, -1, 1);
    sh_manifest_compile(L, vm);
    lua_pop(L, 1);
    lua_rawgeti(L, -1, 2);
    luaL_unref(L, LUA_REGISTRYINDEX, vm->messages_ref);
    vm->messages_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

static int fail_load(sh_vm_t *vm, lua_State *L, sh_buf_t *error) {
    int over = vm->over;
    vm->over = 0;
    if (over) {
        sh_buf_printf(error, "rules/%s: loading took more than its budget\n%s", vm->service, sh_buf_c(&vm->traceback));
    } else {
        const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "an error that is no text was raised while loading";
        sh_buf_put_c(error, text);
    }
    return SH_ELUA;
}

int sh_vm_load_step(sh_vm_t *vm, sh_buf_t *error) {
    lua_State *L;
    int nargs = 0;
    if (!vm->loader.L) {
        sh_vm_take_coroutine(vm, &vm->loader);
        L = vm->loader.L;
        lua_rawgeti(L, LUA_REGISTRYINDEX, vm->functions_ref);
        lua_getfield(L, -1, "load_service");
        lua_remove(L, -2);
    }
    L = vm->loader.L;
    sh_slot_enter(vm->slot, SH_TASK_LOAD, vm->service, "load", SH_STR_NULL, sh_time_mono_ns());
    int status = sh_vm_slice(vm, L, nargs, LOAD_SLICE_MS);
    sh_slot_leave(vm->slot);
    if (status == LUA_YIELD) {
        lua_settop(L, 0);
        return 1;
    }
    if (status || vm->over) return fail_load(vm, L, error);
    lua_createtable(L, 2, 0);
    lua_insert(L, -3);
    lua_rawseti(L, -3, 2);
    lua_rawseti(L, -2, 1);
    vm->messages_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    sh_vm_give_coroutine(vm, vm->loader, true);
    if (lua_cpcall(vm->L, compile_manifest, NULL)) {
        int rc = fail_load(vm, vm->L, error);
        lua_pop(vm->L, 1);
        return rc;
    }
    lua_gc(vm->L, LUA_GCCOLLECT, 0);
    if (vm->memory > vm->budget.memory_bytes / 2) {
        sh_buf_printf(error, "rules/%s: the modules alone take %u KiB, more than half of budget.memory_mb", vm->service,
                      (unsigned)(vm->memory >> 10));
        return SH_EMEMORY;
    }
    return SH_OK;
}

/* ---- reading */

const sh_manifest_t *sh_vm_manifest(const sh_vm_t *vm) { return vm->manifest; }
const char *sh_vm_service(const sh_vm_t *vm) { return vm->service; }
const sh_budget_t *sh_vm_budget(const sh_vm_t *vm) { return &vm->budget; }
sh_log_t *sh_vm_log(const sh_vm_t *vm) { return vm->log; }
uv_loop_t *sh_vm_loop(const sh_vm_t *vm) { return vm->loop; }
void *sh_vm_user(const sh_vm_t *vm) { return vm->user; }
lua_State *sh_vm_lua(const sh_vm_t *vm) { return vm->L; }
const char *sh_vm_version(const sh_vm_t *vm) { return sh_bundle_version(vm->bundle); }
uint32_t sh_vm_tasks(const sh_vm_t *vm) { return vm->task_count; }
uint64_t sh_vm_memory(const sh_vm_t *vm) { return vm->memory; }
void sh_vm_cancel(sh_vm_t *vm) { sh_vm_cancel_tasks(vm); }
const char *sh_vm_traceback(sh_vm_t *vm) { return sh_buf_c(&vm->traceback); }

void sh_vm_when_idle(sh_vm_t *vm, void (*fn)(void *data), void *data) {
    if (vm->task_count == 0) {
        fn(data);
        return;
    }
    vm->idle_fn = fn;
    vm->idle_data = data;
}

void sh_vm_push_function(lua_State *L, const char *name) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, sh_vm_of(L)->functions_ref);
    lua_getfield(L, -1, name);
    lua_remove(L, -2);
}

bool sh_vm_melt(lua_State *L, int index) {
    if (lua_type(L, index) != LUA_TUSERDATA || lua_objlen(L, index) || !lua_getmetatable(L, index)) return false; /* it is an empty userdata */
    lua_getfield(L, -1, "__frozen");
    lua_remove(L, -2);
    if (lua_istable(L, -1)) return true;
    lua_pop(L, 1);
    return false;
}

/* The text of a host object (a decimal) on top; never runs what a rule wrote, since no budget watches here. */
static bool push_text_of(lua_State *L) {
    if (!lua_isuserdata(L, -1) || !luaL_getmetafield(L, -1, "__tostring")) return false;
    if (!lua_iscfunction(L, -1)) {
        lua_pop(L, 1);
        return false;
    }
    lua_pushvalue(L, -2);
    lua_call(L, 1, 1);
    return true;
}

/* Copies `text` with each {name} replaced by params[name]; unknown names stay as they are. */
static void fill(lua_State *L, luaL_Buffer *b, const char *text, int params) {
    while (*text) {
        const char *open = strchr(text, '{'), *close = open ? strchr(open, '}') : NULL;
        if (!close || !params) {
            luaL_addstring(b, text);
            return;
        }
        luaL_addlstring(b, text, (size_t)(open - text));
        lua_pushlstring(L, open + 1, (size_t)(close - open - 1));
        lua_rawget(L, params);
        if (lua_isstring(L, -1)) {
            luaL_addvalue(b);
        } else if (push_text_of(L)) {
            lua_remove(L, -2);
            luaL_addvalue(b);
        } else {
            lua_pop(L, 1);
            luaL_addlstring(b, open, (size_t)(close - open + 1));
        }
        text = close + 1;
    }
}

void sh_vm_push_message(lua_State *L, const char *code, const char *language, int params) {
    sh_vm_t *vm = sh_vm_of(L);
    const char *languages[] = {language, "es"};
    if (params < 0) params = lua_gettop(L) + params + 1;
    if (params && !lua_istable(L, params)) params = 0;
    for (int i = 0; i < 2 && vm->messages_ref != LUA_NOREF; i++) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, vm->messages_ref);
        lua_getfield(L, -1, languages[i]);
        if (lua_istable(L, -1)) {
            lua_pushstring(L, code);
            lua_rawget(L, -2);
            if (lua_type(L, -1) == LUA_TSTRING) {
                luaL_Buffer b;
                int text = lua_gettop(L);
                luaL_buffinit(L, &b);
                fill(L, &b, lua_tostring(L, text), params);
                luaL_pushresult(&b);
                lua_replace(L, text - 2);
                lua_settop(L, text - 2);
                return;
            }
            lua_pop(L, 1);
        }
        lua_pop(L, 2);
    }
    lua_pushstring(L, code);
}
