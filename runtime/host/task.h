/* A task: one request, event, schedule or spec while it runs Lua, and the account of what it used.
 *
 * A task is one coroutine of its vm and has at most one pending operation, with a cancel function:
 *
 *     start ─▶ running ─▶ parked ─▶ running ─▶ ... ─▶ done (exactly one call of `done`)
 *                │           │
 *                └── error, budget, cancel, deadline ──▶ done with a status
 *
 * A primitive that must wait calls sh_task_park() as its last act (`return sh_task_park(...)`); when the answer is there, its callback pushes
 * results on sh_task_lua(task) and calls sh_task_resume(). Since Lua 5.1 C functions cannot go on after a yield, what is
 * pushed is what the Lua caller gets: a primitive returns (value) or (nil, error table), and the Lua library above raises.
 *
 * Resume only from the loop, never inside a primitive's start call. */
#ifndef SH_TASK_H
#define SH_TASK_H

#include "base/list.h"
#include "base/str.h"

#include <lua.h>

typedef struct sh_vm sh_vm_t;
typedef struct sh_task sh_task_t;

typedef enum sh_task_kind { SH_TASK_REQUEST, SH_TASK_EVENT, SH_TASK_SCHEDULE, SH_TASK_SPEC, SH_TASK_LOAD } sh_task_kind_t;

/* What a task has used; over budget it ends with SH_EBUDGET. */
typedef struct sh_task_account {
    uint64_t lua_ns; /* time inside Lua slices */
    uint32_t slices, statements, rows, events;
    uint32_t log_lines;
    uint64_t sent_bytes;   /* parameters and events on their way to the database */
    uint64_t memory_bytes; /* allocated while it ran, not given back count */
} sh_task_account_t;

typedef struct sh_task_opts {
    sh_task_kind_t kind;
    const char *name;            /* route template, subject or spec; borrowed until done */
    sh_str_t request_id;         /* correlation id; copied, at most 64 bytes */
    sh_str_t traceparent;        /* copied, at most 55 bytes */
    sh_str_t user_id;            /* copied; "" for none */
    uint64_t deadline_ms;        /* from now; 0: none */
    uint64_t slice_ms, total_ms; /* 0: the vm's */
} sh_task_opts_t;

/* Pushes the function and its arguments on L; returns the number of arguments. Runs inside a protected call. */
typedef int (*sh_task_push_fn)(lua_State *L, void *data);
/* status 0: `nresults` results are on top of L. SH_ELUA: the error value is on top. SH_EBUDGET, SH_EMEMORY, SH_ETIMEDOUT, SH_ECANCELED: nothing.
 * Runs exactly once; the task is gone after it. L may be used only inside. */
typedef void (*sh_task_done_fn)(void *data, sh_task_t *task, int status, lua_State *L, int nresults);
/* Drops the pending operation: its callback will not come any more. */
typedef void (*sh_task_cancel_fn)(void *data);

/* Starts a task and runs its first slice at once: `done` may run before this call returns. Returns the task, or NULL when it is already done. */
sh_task_t *sh_task_start(sh_vm_t *vm, const sh_task_opts_t *opts, sh_task_push_fn push, sh_task_done_fn done, void *data);
/* Ends a parked task with `status` (SH_ECANCELED): pending operation dropped, resources disposed, done called. */
void sh_task_cancel(sh_task_t *task, int status);

/* --- for primitives --- */
sh_vm_t *sh_vm_of(lua_State *L);          /* cheap: it is the allocator's argument */
sh_task_t *sh_task_current(lua_State *L); /* raises a Lua error when no task runs (at load): "shama.db can be used only while handling a request" */
/* The task that runs, or the one whose end is being told; NULL when there is none. Whose is what Lua shows here? */
sh_task_t *sh_task_owner(lua_State *L);
sh_vm_t *sh_task_vm(const sh_task_t *task);
lua_State *sh_task_lua(const sh_task_t *task);
int sh_task_park(lua_State *L, sh_task_cancel_fn cancel, void *data);
void sh_task_resume(sh_task_t *task, int nresults);
/* The same with results that `push` makes: it runs protected, so that memory running out ends this task and nothing else. At most
 * SH_TASK_RESULTS_MAX results; raising in it ends the task as an error of the rule. Use it whenever results are more than booleans. */
enum { SH_TASK_RESULTS_MAX = 16 };
void sh_task_resume_push(sh_task_t *task, int (*push)(lua_State *L, void *data), void *data);
sh_task_account_t *sh_task_account(sh_task_t *task);
sh_str_t sh_task_request_id(const sh_task_t *task);
sh_str_t sh_task_traceparent(const sh_task_t *task);
sh_str_t sh_task_user_id(const sh_task_t *task);
const char *sh_task_name(const sh_task_t *task);
uint64_t sh_task_serial(const sh_task_t *task); /* never used again in this vm: tells a handle of an ended task */
/* Milliseconds until the deadline; UINT64_MAX when there is none. */
uint64_t sh_task_left_ms(const sh_task_t *task);

/* Something that must not outlive the task (a lease, row sets). dispose runs when the task ends, however it ends, unless unlinked before. */
typedef struct sh_task_resource {
    sh_list_t link;
    void (*dispose)(struct sh_task_resource *resource);
} sh_task_resource_t;
void sh_task_attach(sh_task_t *task, sh_task_resource_t *resource);
static inline void sh_task_detach(sh_task_resource_t *resource) { sh_list_unlink(&resource->link); }

#endif
