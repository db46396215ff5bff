/* Do the rules fit the database? A manifest names the migration it was written for. */
#ifndef SH_CHECK_SCHEMA_H
#define SH_CHECK_SCHEMA_H

#include "app/config.h"
#include "host/generation.h"

/* Compares each service's `schema_version` with the newest migration of its schema, asked with the service's own login. SH_EINVAL with a
 * sentence when another one is there. When the database cannot be asked (within a few seconds) that is a line in `warnings`: a reload must
 * be possible while it is away. Blocks: only for the check process. */
int sh_check_schemas(const sh_config_t *config, const sh_generation_t *generation, sh_buf_t *warnings, sh_buf_t *error) SH_MUSTCHECK;

#endif
