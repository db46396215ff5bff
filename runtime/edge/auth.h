/* Who asks: a bearer token that verifies, and a user who exists, is not disabled and has the token's roles at this moment. */
#ifndef SH_AUTH_H
#define SH_AUTH_H

#include "edge/edge.h"

typedef struct sh_auth sh_auth_t;

enum { SH_AUTH_TTL_MS_MAX = 1000 }; /* disabling a user takes effect within it */

typedef struct sh_auth_opts {
    const sh_jwt_keys_t *keys; /* borrowed until sh_auth_set_keys */
    int64_t leeway_s;
    int (*lookup)(void *data, sh_str_t user_id, sh_user_status_fn fn, void *fn_data);
    void *data;
    uint64_t ttl_ms;    /* how long an answer of the database is believed, counted from the question; SH_AUTH_TTL_MS_MAX at most */
    uint32_t cache_max; /* users remembered */
} sh_auth_opts_t;

sh_auth_t *sh_auth_create(const sh_auth_opts_t *opts);
/* No check may be pending. */
void sh_auth_destroy(sh_auth_t *auth);
void sh_auth_set_keys(sh_auth_t *auth, const sh_jwt_keys_t *keys);

/* `code` NULL: `caller` is filled. Else status 401 or 503 with the problem's code. */
typedef void (*sh_auth_fn)(void *data, int status, const char *code);

/* Checks the Authorization field. The token is verified each time, the user's status comes from the cache or from the database, for many at
 * once by one question. `fn` runs exactly once, perhaps inside this call. `caller` and `arena` live until then; caller->language is left alone. */
void sh_auth_check(sh_auth_t *auth, sh_str_t authorization, sh_arena_t *arena, sh_caller_t *caller, sh_auth_fn fn, void *data);

#endif
