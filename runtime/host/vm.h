/* One service in one worker and one rules generation: a lua_State with a memory cap, a sandbox, a budget and its manifest. */
#ifndef SH_VM_H
#define SH_VM_H

#include "base/buf.h"
#include "base/log.h"
#include "board/board.h"
#include "host/bundle.h"
#include "host/manifest.h"
#include "host/task.h"

#include <uv.h>

/* Limits of a service; each has a key under `budget` in config/shama.lua. */
typedef struct sh_budget {
    uint64_t slice_ms;                             /* CPU between two parks; 50 */
    uint64_t task_ms;                              /* CPU of a task; 500 */
    uint64_t memory_bytes;                         /* of the whole lua_State; 64 MiB */
    uint32_t statements_max, rows_max, events_max; /* per task */
    uint64_t response_bytes_max;
    uint64_t deadline_ms;       /* wall time of a request; 10,000 */
    uint64_t event_deadline_ms; /* of an event; 30,000 */
} sh_budget_t;

/* What `require "shama.<name>"` gives. `open` pushes one value (its C functions); a file lua/shama/<name>.lua in the bundle, if there is one,
 * is run with (name, that value) and its result is the module. `pure` modules may be used by deciders and need no `needs`. */
typedef struct sh_primitive {
    const char *name;
    int (*open)(lua_State *L, void *data);
    void *data;
    bool pure;
} sh_primitive_t;

typedef struct sh_vm_opts {
    const char *service;              /* folder under rules/; NULL: no manifest, for specs and the console */
    sh_bundle_t *bundle;              /* retained */
    const sh_primitive_t *primitives; /* copied */
    size_t primitive_count;
    sh_budget_t budget;
    bool jit;
    bool trusted;    /* specs: full standard library for the outer chunk; rule modules stay sandboxed */
    uv_loop_t *loop; /* for deadlines */
    sh_slot_t *slot; /* the worker's place on the board, or NULL */
    sh_log_t *log;
    void *user; /* sh_vm_user() */
} sh_vm_opts_t;

/* Creates the state and its sandbox; loads no rule yet. SH_EMEMORY or SH_EINVAL with `error`. */
int sh_vm_create(const sh_vm_opts_t *opts, sh_vm_t **out, sh_buf_t *error) SH_MUSTCHECK;
/* Loads the service: manifest, modules, messages; one module a call. Returns 1 while there is more, 0 when the vm is ready,
 * negative with "file:line: sentence" in `error`. */
int sh_vm_load_step(sh_vm_t *vm, sh_buf_t *error) SH_MUSTCHECK;
/* Cancels running tasks, then closes the state. */
void sh_vm_destroy(sh_vm_t *vm);

const sh_manifest_t *sh_vm_manifest(const sh_vm_t *vm);
const char *sh_vm_service(const sh_vm_t *vm);
const sh_budget_t *sh_vm_budget(const sh_vm_t *vm);
sh_log_t *sh_vm_log(const sh_vm_t *vm);
uv_loop_t *sh_vm_loop(const sh_vm_t *vm);
void *sh_vm_user(const sh_vm_t *vm);
lua_State *sh_vm_lua(const sh_vm_t *vm); /* the main state; for primitives' registry refs and for specs */
const char *sh_vm_version(const sh_vm_t *vm);
uint32_t sh_vm_tasks(const sh_vm_t *vm); /* running and parked */
uint64_t sh_vm_memory(const sh_vm_t *vm);
/* Ends every parked task with SH_ECANCELED. */
void sh_vm_cancel(sh_vm_t *vm);
/* `fn` runs once when the vm has no task left (at once, if so): for closing an old generation. */
void sh_vm_when_idle(sh_vm_t *vm, void (*fn)(void *data), void *data);

/* Where the last task that went over its budget was. Lent until the next one does. */
const char *sh_vm_traceback(sh_vm_t *vm);
/* Pushes a function of lua/host/sandbox.lua ("require", "module", "environment"). */
void sh_vm_push_function(lua_State *L, const char *name);
/* Rules see their modules' tables through frozen userdata. Is the value at `index` one? Then its table is pushed. */
bool sh_vm_melt(lua_State *L, int index);

/* Text of message `code` in `language` with {param}s filled from the table at `params` (0: none); falls back to es, then to the code. Pushes a
 * string. */
void sh_vm_push_message(lua_State *L, const char *code, const char *language, int params);

#endif
