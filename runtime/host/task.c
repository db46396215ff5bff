/* Tasks: coroutines that park and resume, under a budget that no pcall escapes.
 *
 * The hook fires every SH_HOOK_INSTRUCTIONS instructions and compares the monotonic clock with the slice's check time. Past half
 * the limit it notes the thread's CPU time; past the other half it confirms with CPU time, so that a busy neighbour on the machine
 * kills nobody. Over budget it arms itself at every instruction and raises: whatever pcall catches it is hit again at once. */
#include "host/task.h"

#include "base/err.h"
#include "base/time.h"
#include "host/vm_internal.h"

#include <lauxlib.h>
#include <stdlib.h>

enum { SWEEP_MS = 20, HOG_PART = 8, RESERVE_PART = 16, HOOK_BYTES = 1 << 20 };

struct sh_task {
    sh_list_t link;
    sh_vm_t *vm;
    sh_coroutine_t co;
    sh_task_kind_t kind;
    const char *name;
    uint64_t serial, deadline_ns;
    uint64_t slice_ms, total_ns;
    bool parked, ended;
    bool *gone; /* told while sh_task_start() is on the stack */
    sh_task_cancel_fn cancel;
    void *cancel_data;
    sh_list_t resources;
    uint64_t held; /* about what it has allocated and not let go */
    sh_task_account_t account;
    sh_task_done_fn done;
    void *data;
    uint8_t request_id_len, traceparent_len, user_id_len;
    char request_id[64], traceparent[56], user_id[36];
};

/* ---- budget */

static void raise_over(lua_State *L, sh_vm_t *vm) {
    lua_sethook(L, sh_task_hook, LUA_MASKCOUNT, 1);
    lua_pushstring(L, vm->over == SH_EMEMORY ? "memory budget exceeded" : "CPU budget exceeded");
    lua_error(L);
}

/* Where `of` is, pushed on L for a moment; the cap does not count for it. */
static void keep_traceback(lua_State *L, lua_State *of, sh_vm_t *vm) {
    uint64_t limit = vm->memory_limit;
    vm->memory_limit = UINT64_MAX;
    sh_buf_clear(&vm->traceback);
    luaL_traceback(L, of, NULL, 0);
    sh_buf_put_c(&vm->traceback, lua_tostring(L, -1));
    lua_pop(L, 1);
    vm->memory_limit = limit;
}

static int keep_traceback_protected(lua_State *L) {
    keep_traceback(L, lua_touserdata(L, 1), sh_vm_of(L));
    return 0;
}

static void go_over(lua_State *L, sh_vm_t *vm, int why) {
    vm->over = why;
    keep_traceback(L, L, vm);
    raise_over(L, vm);
}

static void collect(lua_State *L, sh_vm_t *vm) {
    vm->collect_wanted = false;
    lua_gc(L, LUA_GCCOLLECT, 0);
    vm->collected = vm->memory;
    uint64_t first = vm->budget.memory_bytes / 10 * 7;
    vm->crowded = vm->memory >= first;
    vm->collect_at = vm->memory < first ? first : vm->memory + (vm->budget.memory_bytes - vm->memory) / 2;
}

/* What the running task holds; `held` is as of its last slice. */
static uint64_t holds(const sh_vm_t *vm) {
    uint64_t held = vm->current ? vm->current->held : 0;
    if (vm->memory >= vm->slice_memory) return held + (vm->memory - vm->slice_memory);
    return held - (held < vm->slice_memory - vm->memory ? held : vm->slice_memory - vm->memory);
}

/* Who holds much leaves the last part of the memory to the others. */
static void set_limit(sh_vm_t *vm) {
    uint64_t cap = vm->budget.memory_bytes;
    vm->memory_limit = holds(vm) > cap / HOG_PART ? cap - cap / RESERVE_PART : cap;
}

/* Garbage is not held: before a task is ended for half of the memory, it is collected, once in a while. */
static bool is_hog(lua_State *L, sh_vm_t *vm) {
    uint64_t cap = vm->budget.memory_bytes;
    if (!vm->current || holds(vm) <= cap / 2) return false;
    if (vm->memory < vm->collected + cap / RESERVE_PART) return false;
    collect(L, vm);
    return holds(vm) > cap / 2;
}

/* Every mebibyte counts like a thousand instructions: what allocates is looked at in time, however few instructions that takes. */
void sh_task_hook_soon(sh_vm_t *vm) {
    vm->hook_soon = true;
    if (vm->slice_limit_ns) lua_sethook(vm->L, sh_task_hook, LUA_MASKCOUNT, 1);
}

void sh_task_hook(lua_State *L, lua_Debug *ar) {
    (void)ar;
    sh_vm_t *vm = sh_vm_of(L);
    if (vm->over) raise_over(L, vm);
    if (vm->hook_soon) {
        vm->hook_soon = false;
        vm->hook_at = vm->allocated + HOOK_BYTES;
        lua_sethook(L, sh_task_hook, LUA_MASKCOUNT, SH_HOOK_INSTRUCTIONS);
    }
    if (vm->slice_limit_ns == 0) return;
    if (vm->collect_wanted) collect(L, vm);
    if (vm->denied || is_hog(L, vm)) go_over(L, vm, SH_EMEMORY);
    set_limit(vm);
    uint64_t now = sh_time_mono_ns();
    if (now < vm->slice_check_ns) return;
    uint64_t cpu = sh_time_thread_cpu_ns(), half = vm->slice_limit_ns / 2;
    if (vm->slice_cpu_ns == 0) { /* first half over by the wall clock: from here on CPU time counts */
        vm->slice_cpu_ns = cpu;
        vm->slice_check_ns = now + half;
    } else if (cpu - vm->slice_cpu_ns < half) {
        vm->slice_check_ns = now + half - (cpu - vm->slice_cpu_ns);
    } else {
        go_over(L, vm, SH_EBUDGET);
    }
}

int sh_vm_slice(sh_vm_t *vm, lua_State *co, int nargs, uint64_t limit_ms) {
    vm->slice_started_ns = sh_time_mono_ns();
    vm->slice_limit_ns = limit_ms * 1000000;
    vm->slice_check_ns = vm->slice_started_ns + vm->slice_limit_ns / 2;
    vm->slice_cpu_ns = 0;
    vm->slice_memory = vm->memory;
    vm->hook_at = vm->allocated + HOOK_BYTES;
    vm->hook_soon = vm->denied = false;
    set_limit(vm);
    int status = lua_resume(co, nargs);
    vm->memory_limit = UINT64_MAX; /* what the host does between slices must not fail */
    vm->slice_limit_ns = 0;
    if (vm->over || vm->hook_soon) lua_sethook(vm->L, sh_task_hook, LUA_MASKCOUNT, SH_HOOK_INSTRUCTIONS);
    if (status == LUA_ERRMEM && !vm->over && lua_cpcall(vm->L, keep_traceback_protected, co)) lua_pop(vm->L, 1);
    if (vm->collect_wanted) collect(vm->L, vm);
    return status;
}

/* ---- coroutines */

void sh_vm_take_coroutine(sh_vm_t *vm, sh_coroutine_t *out) {
    if (vm->idle_count) {
        *out = vm->idle[--vm->idle_count];
        return;
    }
    out->L = lua_newthread(vm->L);
    out->ref = luaL_ref(vm->L, LUA_REGISTRYINDEX);
}

void sh_vm_give_coroutine(sh_vm_t *vm, sh_coroutine_t co, bool reusable) {
    if (reusable && vm->idle_count < SH_COROUTINES_KEPT) {
        lua_settop(co.L, 0);
        vm->idle[vm->idle_count++] = co;
    } else {
        luaL_unref(vm->L, LUA_REGISTRYINDEX, co.ref);
    }
}

/* ---- deadlines */

static void sweep(uv_timer_t *timer) {
    sh_vm_t *vm = timer->data;
    uint64_t now = sh_time_mono_ns();
    sh_list_each(it, tmp, &vm->tasks) {
        sh_task_t *task = SH_CONTAINER_OF(it, sh_task_t, link);
        if (task->deadline_ns && now > task->deadline_ns && task->parked) sh_task_cancel(task, SH_ETIMEDOUT);
    }
    if (sh_list_is_empty(&vm->tasks)) uv_timer_stop(timer);
}

static void start_sweep(sh_vm_t *vm) {
    if (!vm->loop) return;
    if (!vm->sweep) {
        vm->sweep = sh_calloc(1, sizeof *vm->sweep);
        uv_timer_init(vm->loop, vm->sweep);
        vm->sweep->data = vm;
        uv_unref((uv_handle_t *)vm->sweep);
    }
    if (!uv_is_active((uv_handle_t *)vm->sweep)) uv_timer_start(vm->sweep, sweep, SWEEP_MS, SWEEP_MS);
}

static void free_handle(uv_handle_t *handle) { free(handle); }

void sh_vm_stop_sweep(sh_vm_t *vm) {
    if (vm->sweep) uv_close((uv_handle_t *)vm->sweep, free_handle);
    vm->sweep = NULL;
}

/* ---- life */

static void dispose_resources(sh_task_t *task) {
    while (!sh_list_is_empty(&task->resources)) {
        sh_task_resource_t *r = SH_CONTAINER_OF(task->resources.next, sh_task_resource_t, link);
        sh_list_unlink(&r->link);
        r->dispose(r);
    }
}

/* Every task ends here. For an error the resources go first: a transaction is rolled back before anybody is told. */
static void end(sh_task_t *task, int status, int nresults) {
    sh_vm_t *vm = task->vm;
    task->ended = true;
    task->parked = false;
    sh_list_unlink(&task->link);
    vm->task_count--;
    if (status) dispose_resources(task);
    sh_task_t *ending = vm->ending;
    vm->ending = task;
    task->done(task->data, task, status, task->co.L, nresults);
    vm->ending = ending;
    dispose_resources(task);
    sh_vm_give_coroutine(vm, task->co, status == SH_OK);
    if (status == SH_EMEMORY && !vm->current) collect(vm->L, vm); /* what it held goes now, not in somebody's slice */
    if (task->gone) *task->gone = true;
    free(task);
    if (vm->task_count == 0 && vm->idle_fn) {
        void (*fn)(void *) = vm->idle_fn;
        vm->idle_fn = NULL;
        fn(vm->idle_data);
    }
}

static int status_of(sh_vm_t *vm, int lua_status) {
    int over = vm->over;
    vm->over = 0;
    if (lua_status == 0) return SH_OK; /* it finished all the same */
    if (over) return over;
    return lua_status == LUA_ERRMEM ? SH_EMEMORY : SH_ELUA;
}

/* Memory is nearly full after a collection: the task that holds most goes, and not whoever asks for more next. */
static void end_hog(sh_vm_t *vm) {
    sh_task_t *hog = NULL;
    vm->crowded = false;
    sh_list_each(it, tmp, &vm->tasks) {
        sh_task_t *task = SH_CONTAINER_OF(it, sh_task_t, link);
        if (task->parked && (!hog || task->held > hog->held)) hog = task;
    }
    if (!hog || hog->held < vm->budget.memory_bytes / HOG_PART) return; /* then it is the modules' own tables */
    sh_buf_clear(&vm->traceback);
    sh_buf_put_lit(&vm->traceback, "it waited, holding most of the service's memory");
    sh_task_cancel(hog, SH_EMEMORY);
    vm->collect_wanted = true;
}

static void run(sh_task_t *task, int nargs) {
    sh_vm_t *vm = task->vm;
    SH_ASSERT(!vm->current);
    uint64_t allocated = vm->allocated, memory = vm->memory;
    uint64_t left_ms = task->total_ns > task->account.lua_ns ? (task->total_ns - task->account.lua_ns) / 1000000 + 1 : 1;
    vm->current = task;
    task->parked = false;
    sh_slot_enter(vm->slot, task->kind, vm->service, task->name, sh_task_request_id(task), sh_time_mono_ns());
    int status = sh_vm_slice(vm, task->co.L, nargs, left_ms < task->slice_ms ? left_ms : task->slice_ms);
    sh_slot_leave(vm->slot);
    vm->current = NULL;
    task->account.slices++;
    task->account.lua_ns += sh_time_mono_ns() - vm->slice_started_ns;
    task->account.memory_bytes += vm->allocated - allocated;
    if (vm->memory >= memory)
        task->held += vm->memory - memory;
    else
        task->held -= task->held < memory - vm->memory ? task->held : memory - vm->memory;
    if (status == LUA_YIELD) {
        if (SH_LIKELY(task->cancel != NULL)) {
            task->parked = true;
            if (SH_UNLIKELY(vm->crowded)) end_hog(vm);
            return;
        }
        lua_settop(task->co.L, 0);
        lua_pushliteral(task->co.L, "a rule yielded outside of a primitive");
        end(task, SH_ELUA, 1);
        return;
    }
    end(task, status_of(vm, status), status ? 1 : lua_gettop(task->co.L));
}

typedef struct pusher {
    sh_task_push_fn fn;
    void *data;
} pusher_t;

static int push_protected(lua_State *L) {
    const pusher_t *p = lua_touserdata(L, 1);
    lua_settop(L, 0);
    int nargs = p->fn(L, p->data);
    SH_ASSERT(lua_gettop(L) == nargs + 1);
    return nargs + 1;
}

static uint8_t copy_id(char *to, size_t size, sh_str_t from) {
    size_t n = from.len < size ? from.len : size;
    if (n) memcpy(to, from.ptr, n);
    return (uint8_t)n;
}

sh_task_t *sh_task_start(sh_vm_t *vm, const sh_task_opts_t *opts, sh_task_push_fn push, sh_task_done_fn done, void *data) {
    sh_task_t *task = sh_alloc(sizeof *task);
    memset(task, 0, offsetof(sh_task_t, request_id));
    task->vm = vm;
    task->kind = opts->kind;
    task->name = opts->name ? opts->name : "";
    task->serial = ++vm->serial;
    task->slice_ms = opts->slice_ms ? opts->slice_ms : vm->budget.slice_ms;
    task->total_ns = (opts->total_ms ? opts->total_ms : vm->budget.task_ms) * 1000000;
    task->done = done;
    task->data = data;
    if (opts->deadline_ms) task->deadline_ns = sh_time_mono_ns() + opts->deadline_ms * 1000000;
    sh_list_init(&task->resources);
    sh_list_init(&task->link);
    sh_list_link(&vm->tasks, &task->link);
    vm->task_count++;
    task->request_id_len = copy_id(task->request_id, sizeof task->request_id, opts->request_id);
    task->traceparent_len = copy_id(task->traceparent, sizeof task->traceparent, opts->traceparent);
    task->user_id_len = copy_id(task->user_id, sizeof task->user_id, opts->user_id);
    sh_vm_take_coroutine(vm, &task->co);
    start_sweep(vm);

    bool gone = false;
    task->gone = &gone;
    lua_State *L = task->co.L;
    pusher_t pusher = {push, data};
    lua_pushcfunction(L, push_protected);
    lua_pushlightuserdata(L, &pusher);
    vm->memory_limit = vm->budget.memory_bytes;
    int status = lua_pcall(L, 1, LUA_MULTRET, 0);
    vm->memory_limit = UINT64_MAX;
    if (status)
        end(task, status_of(vm, status), 1);
    else
        run(task, lua_gettop(L) - 1);
    if (gone) return NULL;
    task->gone = NULL;
    return task;
}

void sh_task_cancel(sh_task_t *task, int status) {
    SH_ASSERT(status < 0);
    if (!task->parked || task->ended) return;
    sh_task_cancel_fn cancel = task->cancel;
    task->cancel = NULL;
    if (cancel) cancel(task->cancel_data);
    end(task, status, 0);
}

void sh_vm_cancel_tasks(sh_vm_t *vm) { sh_list_each(it, tmp, &vm->tasks) sh_task_cancel(SH_CONTAINER_OF(it, sh_task_t, link), SH_ECANCELED); }

/* ---- for primitives */

sh_vm_t *sh_vm_of(lua_State *L) {
    void *vm;
    lua_getallocf(L, &vm);
    return vm;
}

sh_task_t *sh_task_current(lua_State *L) {
    sh_task_t *task = sh_vm_of(L)->current;
    if (SH_UNLIKELY(!task)) luaL_error(L, "this can be used only while a request, an event or a schedule runs, not while rules are loaded");
    return task;
}

sh_task_t *sh_task_owner(lua_State *L) {
    const sh_vm_t *vm = sh_vm_of(L);
    return vm->current ? vm->current : vm->ending;
}

int sh_task_park(lua_State *L, sh_task_cancel_fn cancel, void *data) {
    sh_task_t *task = sh_vm_of(L)->current;
    SH_ASSERT(task && cancel);
    if (task->co.L != L || !lua_isyieldable(L)) {
        cancel(data); /* else its callback would resume a task that does not wait */
        return luaL_error(L, "it is not possible to wait here: not in a coroutine of your own, nor inside a function that C calls back "
                             "(a comparator of table.sort, a replacement of string.gsub)");
    }
    task->cancel = cancel;
    task->cancel_data = data;
    return lua_yield(L, 0);
}

void sh_task_resume(sh_task_t *task, int nresults) {
    SH_ASSERT(task->parked && !task->ended);
    task->cancel = NULL;
    run(task, nresults);
}

typedef struct results {
    int (*push)(lua_State *L, void *data);
    void *data;
    lua_State *to;
    int count;
} results_t;

static int push_results(lua_State *L) {
    results_t *r = lua_touserdata(L, 1);
    lua_settop(L, 0);
    r->count = r->push(L, r->data);
    SH_ASSERT(r->count >= 0 && r->count <= SH_TASK_RESULTS_MAX);
    lua_xmove(L, r->to, r->count);
    return 0;
}

void sh_task_resume_push(sh_task_t *task, int (*push)(lua_State *L, void *data), void *data) {
    sh_vm_t *vm = task->vm;
    results_t r = {push, data, task->co.L, 0};
    SH_ASSERT(task->parked && !task->ended);
    vm->current = task; /* what push makes belongs to it */
    uint64_t memory = vm->memory;
    vm->memory_limit = vm->budget.memory_bytes;
    int status = lua_cpcall(vm->L, push_results, &r);
    vm->memory_limit = UINT64_MAX;
    vm->current = NULL;
    if (vm->memory > memory) task->held += vm->memory - memory;
    if (SH_LIKELY(status == 0)) {
        sh_task_resume(task, r.count);
        return;
    }
    task->cancel = NULL;
    if (status == LUA_ERRMEM) {
        lua_pop(vm->L, 1);
        end(task, SH_EMEMORY, 0);
    } else {
        lua_xmove(vm->L, task->co.L, 1);
        end(task, SH_ELUA, 1);
    }
}

sh_vm_t *sh_task_vm(const sh_task_t *task) { return task->vm; }
lua_State *sh_task_lua(const sh_task_t *task) { return task->co.L; }
sh_task_account_t *sh_task_account(sh_task_t *task) { return &task->account; }
sh_str_t sh_task_request_id(const sh_task_t *task) { return sh_str(task->request_id, task->request_id_len); }
sh_str_t sh_task_traceparent(const sh_task_t *task) { return sh_str(task->traceparent, task->traceparent_len); }
sh_str_t sh_task_user_id(const sh_task_t *task) { return sh_str(task->user_id, task->user_id_len); }
const char *sh_task_name(const sh_task_t *task) { return task->name; }
uint64_t sh_task_serial(const sh_task_t *task) { return task->serial; }
uint64_t sh_task_left_ms(const sh_task_t *task) {
    if (!task->deadline_ns) return UINT64_MAX;
    uint64_t now = sh_time_mono_ns();
    return now < task->deadline_ns ? (task->deadline_ns - now) / 1000000 : 0;
}

void sh_task_attach(sh_task_t *task, sh_task_resource_t *resource) {
    sh_list_init(&resource->link);
    sh_list_link(&task->resources, &resource->link);
}
