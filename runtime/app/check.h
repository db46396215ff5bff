/* The throw-away check process: reads configuration and rules from the disk, loads everything once, and only then lets the master have them. */
#ifndef SH_CHECK_H
#define SH_CHECK_H

#include "app/config.h"
#include "host/bundle.h"

/* Reads rules/, runtime/lua/ and config/proto/ (compiled by protoc) into a bundle. `error` names file and line. */
int sh_check_bundle(const sh_config_t *config, sh_bundle_t **out, sh_buf_t *error) SH_MUSTCHECK;

/* Loads every service of `config` from the bundle with primitives that go nowhere, and builds the router. `error` names file and line.
 * With `schema_warnings` the migrations of the database are compared too; that it cannot be asked goes there. */
int sh_check_rules(const sh_config_t *config, sh_bundle_t *bundle, sh_buf_t *schema_warnings, sh_buf_t *error) SH_MUSTCHECK;

/* Body of the check process: configuration again (same root and file), bundle (or the given one, for a rollback), rules;
 * for the first one nothing is asked of the database, which may still be starting;
 * sends SH_MSG_CHECKED or SH_MSG_REFUSED on `channel` and returns the exit code. */
int sh_check_run(const sh_config_t *config, sh_bundle_t *given, bool is_first, int channel);

#endif
