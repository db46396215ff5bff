/* Asks the database who a user is at this moment: what the edge decides by, beside the token. */
#ifndef SH_USER_LOOKUP_H
#define SH_USER_LOOKUP_H

#include "edge/edge.h"
#include "net/pg_pool.h"

/* Reads the view identity.user_status, which every service may; see sh_edge_opts_t.user_lookup for `fn`. */
int sh_user_lookup(sh_pg_pool_t *pool, sh_str_t user_id, sh_user_status_fn fn, void *fn_data) SH_MUSTCHECK;

#endif
