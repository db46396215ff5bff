/* Makes a connection to Postgres without ever holding up the loop: names are resolved first, then libpq connects.
 *
 * Private to net/pg_*. */
#ifndef SH_PG_CONNECT_H
#define SH_PG_CONNECT_H

#include "net/pg_pool.h"

/* Where to and how: the connection string taken apart once, shared by all connections of a pool. */
typedef struct sh_pg_target sh_pg_target_t;
typedef struct sh_pg_connect sh_pg_connect_t;

/* Exactly one of both is NULL. Takes over `pg`; `error` is lent until the callback returns. */
typedef void (*sh_pg_connect_fn)(void *data, PGconn *pg, const char *error);

/* SH_EINVAL for a string that libpq does not understand (a log line says why, without the string). */
int sh_pg_target_create(const sh_pg_opts_t *opts, sh_log_t *log, sh_pg_target_t **out) SH_MUSTCHECK;
void sh_pg_target_destroy(sh_pg_target_t *target);

/* `fn` runs exactly once, later, unless cancelled. Takes at most opts.connect_ms_max, resolving included. */
sh_pg_connect_t *sh_pg_connect_start(uv_loop_t *loop, const sh_pg_target_t *target, sh_pg_connect_fn fn, void *data);
void sh_pg_connect_cancel(sh_pg_connect_t *connect);

#endif
