/* Gate specs: pure specs that rules must pass before they may go live.
 *
 * A file tests/spec/<service>/<what>_spec.lua whose first line begins with "-- gate" is one. It runs as under `shama test`, without a database. */
#ifndef SH_GATE_H
#define SH_GATE_H

#include "app/config.h"
#include "host/bundle.h"

enum { SH_GATE_FILES_MAX = 256, SH_GATE_FAILURES_SHOWN = 10 };

/* Runs the gate specs of the configured services against the bundle in a child. SH_OK also when there are none, or no busted: that is a line in
 * `warnings`. SH_EINVAL: `error` has a line "file:line: "name" failed: message" per failure, or names what hangs. */
int sh_gate_run(const sh_config_t *config, sh_bundle_t *bundle, uint64_t limit_ms, sh_buf_t *warnings, sh_buf_t *error) SH_MUSTCHECK;

#endif
