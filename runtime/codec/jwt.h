/* JSON Web Tokens (RFC 7519) with exactly one algorithm, HS256 (RFC 7518, 3.2): a token cannot choose how it is checked. */
#ifndef SH_JWT_H
#define SH_JWT_H

#include "base/arena.h"
#include "base/buf.h"
#include "codec/json.h"

enum {
    SH_JWT_SECRET_MIN = 32,  /* bytes */
    SH_JWT_BYTES_MAX = 4096, /* of a token; longer ones are refused */
    SH_JWT_ROLES_MAX = 16,
    SH_JWT_SUB_MAX = 255, /* bytes */
};

/* The secret that signs, and perhaps the one before it, whose tokens are still accepted while keys are rotated.
 * Read-only after creation. */
typedef struct sh_jwt_keys sh_jwt_keys_t;

/* `previous` may be empty. SH_EINVAL: a secret is shorter than SH_JWT_SECRET_MIN. The secrets are not kept. */
int sh_jwt_keys_create(sh_str_t current, sh_str_t previous, sh_jwt_keys_t **out) SH_MUSTCHECK;
/* NULL is harmless. */
void sh_jwt_keys_destroy(sh_jwt_keys_t *keys);

/* What a checked token says. Slices live in the arena that was given (or in the token's claims copied there). */
typedef struct sh_jwt_claims {
    sh_str_t sub; /* never empty */
    sh_str_t jti; /* or empty */
    sh_str_t roles[SH_JWT_ROLES_MAX];
    uint32_t role_count;         /* 0 also when there is no member "roles" */
    int64_t exp, iat;            /* Unix seconds; iat 0 when absent */
    const sh_json_value_t *json; /* all claims, an object */
} sh_jwt_claims_t;

/* Appends a token. `claims_json` is a JSON object as text, and the caller's to get right ("sub", "exp" in it).
 * SH_ELIMIT when the token would be longer than SH_JWT_BYTES_MAX; then nothing is appended. */
int sh_jwt_sign_hs256(const sh_jwt_keys_t *keys, sh_str_t claims_json, sh_buf_t *out) SH_MUSTCHECK;

/* Checks a token at `now_s` (Unix seconds), clocks being at most `leeway_s` apart. The signature comes first, in constant time: nothing
 * of a token that we did not sign is decoded. Then the header (alg exactly HS256, typ absent or JWT, no crit), then
 * the claims: sub, exp; nbf, iat, jti, roles where they are there.
 * SH_EDENIED: malformed, not ours, or not valid yet. SH_EEXPIRED: was ours. `out` is set on SH_OK only. */
int sh_jwt_verify(const sh_jwt_keys_t *keys, sh_str_t token, int64_t now_s, int64_t leeway_s, sh_arena_t *arena, sh_jwt_claims_t *out) SH_MUSTCHECK;

#endif
