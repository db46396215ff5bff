/* `shama.test.sandbox`, for specs only: a service of rule code made up by the spec, in a vm of its own, sandboxed as in production.
 *
 *   local box = sandbox.open { files = { ["rules/demo/service.lua"] = source }, budget = { memory_mb = 8, task_ms = 100 } }
 *   local reply = box:run(1)          -- the first route's handler as a request; { status, code, detail, body, log, traceback, memory }
 *   local parked = box:run(1)         -- { parked = n } when it waits in shama.wait.here()
 *   local reply = box:resume(n)
 *   local box, problem = sandbox.open { ... }  -- nil and the sentence, when it does not load
 *
 * All primitives are there, and a database that is nowhere. */
#ifndef SH_TEST_SANDBOX_H
#define SH_TEST_SANDBOX_H

#include "app/workbench.h"

/* A primitive's `open`; `data` is the sh_workbench_t of the specs. */
int sh_test_sandbox_open(lua_State *L, void *data);

#endif
