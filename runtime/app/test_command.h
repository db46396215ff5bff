/* `shama test`: busted inside the runtime, so that a spec can use what a rule can use, and wait where a rule can wait.
 *
 * One process, one loop, one trusted Lua state (io, os, package: busted needs them) in which the whole run is one task. Rule modules that a
 * spec requires come from a bundle through the sandboxed loader, as in production. A spec file that does not end in time ends the run, with
 * the name of the `it` that hangs. */
#ifndef SH_TEST_COMMAND_H
#define SH_TEST_COMMAND_H

#include "app/config.h"
#include "host/bundle.h"

enum { SH_TEST_LIMIT_S = 60, SH_TEST_LIMIT_S_MAX = 3600, SH_TEST_MEMORY_BYTES = 1 << 30 };

typedef struct sh_test_opts {
    const sh_config_t *config; /* borrowed */
    sh_bundle_t *bundle;       /* borrowed */
    const char *service;       /* whose login shama.db uses at first, or NULL: none until a spec says test.use("sales") */
    uint32_t limit_s;          /* of a spec file */
    bool is_gate;              /* deciders and policies only: no database */
    int argc;                  /* for busted: paths and options */
    char *const *argv;
} sh_test_opts_t;

/* Runs and returns the exit code: 0 all passed, 1 otherwise (busted's own codes). A hanging spec file ends the process with 1. */
int sh_test_run(const sh_test_opts_t *opts) SH_MUSTCHECK;

#endif
