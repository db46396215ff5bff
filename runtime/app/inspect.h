/* Everything that can be said about rules without running them for anybody: all findings at once, for `shama check` and `shama dev`.
 *
 * What a reload would refuse is an error here, and so is what would fail later: texts that differ between languages, states without a way
 * in or out, columns that the database does not have. Parts: lua/check/sources.lua reads the text, lua/check/modules.lua looks at the loaded service,
 * inspect_sql.c asks the database, and luacheck and the gate specs are run. */
#ifndef SH_INSPECT_H
#define SH_INSPECT_H

#include "app/config.h"
#include "app/findings.h"
#include "host/bundle.h"

typedef struct sh_inspect_opts {
    const sh_config_t *config;
    bool with_database; /* prepare the statements of the stores as each service's role, in transactions that are rolled back */
    bool database_must; /* that it cannot be asked is an error, else a warning */
} sh_inspect_opts_t;

/* `out`, if it is not NULL, gets the bundle when there is one; the caller releases it. */
void sh_inspect(const sh_inspect_opts_t *opts, sh_findings_t *findings, sh_bundle_t **out);

/* What a reload refuses although it loads: SQL outside of stores. SH_EINVAL: `error` names file and line. */
int sh_inspect_places(sh_bundle_t *bundle, sh_buf_t *error) SH_MUSTCHECK;

/* --- inside --- */
typedef struct sh_inspect_statement {
    const char *service, *file, *key, *sql; /* "crm", "rules/crm/store.lua", "store.get" */
    long line;
    sh_str_t source; /* text of the file */
} sh_inspect_statement_t;

/* inspect_sql.c: statements of one service lie together. */
void sh_inspect_sql(const sh_inspect_opts_t *opts, const sh_inspect_statement_t *statements, size_t count, sh_findings_t *findings);

#endif
