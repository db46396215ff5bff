/* A worker without edge and events: one loop, one trusted Lua state and the pools that its rules need. For specs, the console and checks.
 *
 * The outer chunk has all of Lua (io, os, debug); rule modules come from the bundle and stay in the sandbox, as in production. */
#ifndef SH_WORKBENCH_H
#define SH_WORKBENCH_H

#include "app/primitives.h"
#include "codec/jwt.h"
#include "host/generation.h"

enum { SH_WORKBENCH_EXTRA_MAX = 4 };

typedef struct sh_workbench_opts {
    const sh_config_t *config; /* borrowed */
    sh_bundle_t *bundle;       /* borrowed */
    const char *name;          /* "test": who says what goes wrong */
    const char *service;       /* whose modules can be required, or NULL: all */
    sh_budget_t budget;
    bool has_database;           /* else use() is refused: SH_EDENIED */
    bool read_only;              /* transactions of the pools are, unless a statement says otherwise */
    const sh_primitive_t *extra; /* more primitives; copied */
    size_t extra_count;
} sh_workbench_opts_t;

typedef struct sh_workbench_pool {
    char service[32];
    sh_pg_pool_t *pool;
} sh_workbench_pool_t;

typedef struct sh_workbench {
    sh_workbench_opts_t opts;
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
    sh_workbench_pool_t pools[SH_SERVICES_MAX];
    uint32_t pool_count, closing;
    /* Appends where a pool goes; NULL: as configured. May change while no pool is open. */
    void (*conninfo)(void *data, const char *service, sh_buf_t *out);
    void *conninfo_data;
    void (*closed)(void *data); /* of sh_workbench_close_pools */
    void *closed_data;
} sh_workbench_t;

/* `bench` is zeroed and filled; dispose() it also after a failure. `error` gets a sentence. The primitives of opts->extra may point to what holds
 * the bench. */
int sh_workbench_init(sh_workbench_t *bench, const sh_workbench_opts_t *opts, sh_buf_t *error) SH_MUSTCHECK;
/* Waits for what is still open in the loop. */
void sh_workbench_dispose(sh_workbench_t *bench);

/* Loads opts.service: its modules, manifest and messages. `error` names file and line. */
int sh_workbench_load(sh_workbench_t *bench, sh_buf_t *error) SH_MUSTCHECK;
/* From here on shama.db logs in as this service. SH_ENOTFOUND: the configuration has no such service. SH_EDENIED: there is no database here. */
int sh_workbench_use(sh_workbench_t *bench, const char *service) SH_MUSTCHECK;
/* The pool of a service, opened when it is not yet; errors as above. Lent until the pools are closed. */
int sh_workbench_pool(sh_workbench_t *bench, const char *service, sh_pg_pool_t **out) SH_MUSTCHECK;
/* Closes all pools; shama.db has no database from here on. `fn` runs when they are closed, inside this call when there are none. */
void sh_workbench_close_pools(sh_workbench_t *bench, void (*fn)(void *data), void *data);
/* Runs a task to its end; `done` was called when this returns. */
void sh_workbench_run(sh_workbench_t *bench, const sh_task_opts_t *task, sh_task_push_fn push, sh_task_done_fn done, void *data);

#endif
