/* Databases for specs: one per spec file that asks, made from a template that has the migrations.
 *
 * They lie on the server of DATABASE_URL when its login may create databases, else on a private Postgres: in a folder of its own in /tmp, reached
 * by a Unix socket only, without fsync. Nothing is started or made before the first database is asked for. A keeper process ends the server, or
 * drops what was made on one that was given, however we end.
 *
 * All calls block: for the time of a spec's setup. */
#ifndef SH_TEST_DATABASES_H
#define SH_TEST_DATABASES_H

#include "app/config.h"

#include <libpq-fe.h>

typedef struct sh_test_databases sh_test_databases_t;

/* `config` is borrowed. */
sh_test_databases_t *sh_test_databases_create(const sh_config_t *config);
/* Ends the server, or drops what is left. */
void sh_test_databases_destroy(sh_test_databases_t *databases);

/* Makes a database; it is the current one. Must not be called while there is one. `error` gets a sentence. */
int sh_test_databases_make(sh_test_databases_t *databases, sh_buf_t *error) SH_MUSTCHECK;
/* Drops the current one, with whoever is connected to it. Harmless without. */
void sh_test_databases_drop(sh_test_databases_t *databases);
/* Is there a current one? */
bool sh_test_databases_has(const sh_test_databases_t *databases);

/* libpq conninfo of a service's login on the current one. */
void sh_test_databases_conninfo(const sh_test_databases_t *databases, const char *service, sh_buf_t *out);
/* A connection to the current one as shama_owner, who sees everything; lent until it is dropped. */
PGconn *sh_test_databases_owner(sh_test_databases_t *databases);

#endif
