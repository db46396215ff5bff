/* Token, then user. The token's signature costs less than remembering it would; what the database says is remembered for less than a second,
 * so that a disabled user is out within that time on every worker, without any notification that could be lost. */
#include "edge/auth.h"

#include "base/err.h"
#include "base/list.h"
#include "base/map.h"
#include "base/time.h"

#include <stdlib.h>

typedef struct user {
    sh_auth_t *auth;
    sh_user_status_t status;
    uint64_t asked_ns; /* when the answer that we know was asked for; 0: none yet */
    uint64_t asking_ns;
    bool fetching;
    sh_list_t waiters;
    char id[37];
} user_t;

typedef struct waiter {
    sh_list_t link;
    sh_arena_t *arena;
    sh_caller_t *caller;
    sh_jwt_claims_t claims;
    sh_auth_fn fn;
    void *data;
} waiter_t;

struct sh_auth {
    sh_auth_opts_t opts;
    sh_map_t users;
};

sh_auth_t *sh_auth_create(const sh_auth_opts_t *opts) {
    sh_auth_t *a = sh_calloc(1, sizeof *a);
    a->opts = *opts;
    if (a->opts.ttl_ms > SH_AUTH_TTL_MS_MAX) a->opts.ttl_ms = SH_AUTH_TTL_MS_MAX;
    return a;
}

static void forget_all(sh_auth_t *a) {
    sh_map_entry_t *e;
    sh_map_t kept = {0};
    for (size_t i = 0; (e = sh_map_next(&a->users, &i));) {
        user_t *user = e->value;
        if (user->fetching)
            sh_map_set(&kept, sh_str(e->key, e->key_len), user);
        else
            free(user);
    }
    sh_map_dispose(&a->users);
    a->users = kept;
}

void sh_auth_destroy(sh_auth_t *a) {
    forget_all(a);
    SH_ASSERT(a->users.count == 0);
    sh_map_dispose(&a->users);
    free(a);
}

void sh_auth_set_keys(sh_auth_t *a, const sh_jwt_keys_t *keys) { a->opts.keys = keys; }

/* The token's roles that the user also has; unknown ones fall out by themselves. */
static void effective(const sh_user_status_t *user, const sh_jwt_claims_t *claims, sh_arena_t *arena, sh_caller_t *caller) {
    caller->user_id = claims->sub;
    caller->role_count = 0;
    for (uint32_t i = 0; i < claims->role_count && caller->role_count < SH_ROLES_MAX; i++)
        for (uint32_t k = 0; k < user->role_count; k++)
            if (sh_str_eq_c(claims->roles[i], user->roles[k])) {
                caller->roles[caller->role_count++] = claims->roles[i];
                break;
            }
    caller->customer_id = user->customer_id[0] ? sh_arena_str(arena, sh_str_of(user->customer_id)) : SH_STR_NULL;
}

static void decide(const sh_user_status_t *user, const sh_jwt_claims_t *claims, sh_arena_t *arena, sh_caller_t *caller, sh_auth_fn fn, void *data) {
    if (!user->exists || user->disabled) {
        fn(data, 401, "USER_UNKNOWN_OR_DISABLED");
        return;
    }
    effective(user, claims, arena, caller);
    fn(data, 0, NULL);
}

static void looked_up(void *data, int status, const sh_user_status_t *found) {
    user_t *user = data;
    user->fetching = false;
    if (!status) {
        user->status = *found;
        user->asked_ns = user->asking_ns; /* the answer may be as old as the question */
    }
    sh_list_t waiters;
    sh_list_init(&waiters);
    while (!sh_list_is_empty(&user->waiters)) { /* a callback may ask for the same user again */
        sh_list_t *link = user->waiters.next;
        sh_list_unlink(link);
        sh_list_link(&waiters, link);
    }
    sh_user_status_t known = user->status;
    while (!sh_list_is_empty(&waiters)) {
        waiter_t *w = SH_CONTAINER_OF(waiters.next, waiter_t, link);
        sh_list_unlink(&w->link);
        if (status)
            w->fn(w->data, 503, "DATABASE_UNAVAILABLE");
        else
            decide(&known, &w->claims, w->arena, w->caller, w->fn, w->data);
    }
}

static user_t *user_of(sh_auth_t *a, sh_str_t id) {
    user_t *user = sh_map_get(&a->users, id);
    if (user) return user;
    if (a->users.count >= a->opts.cache_max) forget_all(a);
    user = sh_calloc(1, sizeof *user);
    user->auth = a;
    sh_list_init(&user->waiters);
    memcpy(user->id, id.ptr, id.len);
    sh_map_set(&a->users, id, user);
    return user;
}

void sh_auth_check(sh_auth_t *a, sh_str_t authorization, sh_arena_t *arena, sh_caller_t *caller, sh_auth_fn fn, void *data) {
    static const sh_str_t scheme = {"Bearer ", 7};
    sh_jwt_claims_t claims;
    if (!authorization.len) {
        fn(data, 401, "TOKEN_MISSING");
        return;
    }
    if (authorization.len < scheme.len || !sh_str_eq_nocase(sh_str(authorization.ptr, scheme.len), scheme)) {
        fn(data, 401, "TOKEN_INVALID");
        return;
    }
    sh_str_t token = sh_str(authorization.ptr + scheme.len, authorization.len - scheme.len);
    int rc = sh_jwt_verify(a->opts.keys, token, sh_time_wall_us() / 1000000, a->opts.leeway_s, arena, &claims);
    if (rc || !sh_str_is_uuid(claims.sub)) {
        fn(data, 401, rc == SH_EEXPIRED ? "TOKEN_EXPIRED" : "TOKEN_INVALID");
        return;
    }
    user_t *user = user_of(a, claims.sub);
    uint64_t now = sh_time_mono_ns();
    if (user->asked_ns && now - user->asked_ns < a->opts.ttl_ms * 1000000) {
        decide(&user->status, &claims, arena, caller, fn, data);
        return;
    }
    waiter_t *w = sh_arena_alloc(arena, sizeof *w);
    *w = (waiter_t){.arena = arena, .caller = caller, .claims = claims, .fn = fn, .data = data};
    sh_list_init(&w->link);
    if (!user->fetching) {
        if (a->opts.lookup(a->opts.data, claims.sub, looked_up, user)) {
            fn(data, 503, "DATABASE_UNAVAILABLE");
            return;
        }
        user->asking_ns = now;
        user->fetching = true;
    }
    sh_list_link(&user->waiters, &w->link);
}
