/* The inside of a vm, shared by the files of host/ only. */
#ifndef SH_VM_INTERNAL_H
#define SH_VM_INTERNAL_H

#include "host/vm.h"

#include "base/arena.h"
#include "host/heap.h"

enum { SH_COROUTINES_KEPT = 64, SH_HOOK_INSTRUCTIONS = 1000 };

typedef struct sh_coroutine {
    lua_State *L;
    int ref; /* in the registry, so that it is not collected */
} sh_coroutine_t;

struct sh_vm {
    lua_State *L;
    char service[64];
    sh_bundle_t *bundle;
    sh_primitive_t *primitives;
    size_t primitive_count;
    sh_budget_t budget;
    bool trusted;
    uv_loop_t *loop;
    sh_slot_t *slot;
    sh_log_t *log;
    void *user;

    /* memory */
    sh_heap_t heap;
    uint64_t memory, allocated; /* held now; ever allocated */
    uint64_t collect_at;        /* a full collection is wanted past this */
    uint64_t memory_limit;      /* what may be held now: the cap while rules run, less for a task that holds much, no limit between slices */
    uint64_t hook_at;           /* the hook runs early once `allocated` is past this */
    uint64_t slice_memory;      /* held when the slice began */
    uint64_t collected;         /* held after the last full collection */
    bool collect_wanted, hook_soon;
    bool denied;  /* an allocation failed in this slice */
    bool crowded; /* a full collection left more than that: somebody holds it */

    /* tasks */
    sh_list_t tasks; /* sh_task_t.link */
    uint32_t task_count;
    uint64_t serial;
    sh_task_t *current, *ending; /* runs now; its `done` runs now */
    sh_coroutine_t idle[SH_COROUTINES_KEPT];
    uint32_t idle_count;
    uv_timer_t *sweep; /* looks for passed deadlines while there are tasks; freed in its close callback */
    void (*idle_fn)(void *data);
    void *idle_data;

    /* the slice that runs now */
    uint64_t slice_started_ns, slice_check_ns, slice_cpu_ns;
    uint64_t slice_limit_ns;
    int over;           /* SH_EBUDGET or SH_EMEMORY while unwinding */
    sh_buf_t traceback; /* where it was */

    /* the load */
    sh_coroutine_t loader;
    int functions_ref; /* what lua/host/sandbox.lua returned */
    int messages_ref;  /* { es = {...}, en = {...} } */
    sh_arena_t arena;  /* of the manifest */
    sh_manifest_t *manifest;
};

/* task.c */
void sh_task_hook(lua_State *L, lua_Debug *ar);
/* The hook runs at the next instruction instead of the next thousand. For the allocator: touches no Lua value. */
void sh_task_hook_soon(sh_vm_t *vm);
/* Runs `co` for one slice under the budget; returns lua_resume's status. */
int sh_vm_slice(sh_vm_t *vm, lua_State *co, int nargs, uint64_t limit_ms);
void sh_vm_take_coroutine(sh_vm_t *vm, sh_coroutine_t *out);
void sh_vm_give_coroutine(sh_vm_t *vm, sh_coroutine_t co, bool reusable);
void sh_vm_cancel_tasks(sh_vm_t *vm);
void sh_vm_stop_sweep(sh_vm_t *vm);

/* manifest.c: the manifest table is on top of L; raises a Lua error that names the entry. */
void sh_manifest_compile(lua_State *L, sh_vm_t *vm);

#endif
