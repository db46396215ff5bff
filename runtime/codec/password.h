/* Passwords kept as argon2id (RFC 9106), in the PHC string format: "$argon2id$v=19$m=19456,t=2,p=1$salt$hash".
 *
 * These functions block for tens of milliseconds and take the memory they are told to: never call them on a loop. */
#ifndef SH_PASSWORD_H
#define SH_PASSWORD_H

#include "base/base.h"
#include "base/str.h"

typedef struct sh_password_params {
    uint32_t memory_kib, iterations, parallelism;
} sh_password_params_t;

/* OWASP's smallest recommended set. */
#define SH_PASSWORD_PARAMS_DEFAULT ((sh_password_params_t){.memory_kib = 19456, .iterations = 2, .parallelism = 1})

enum {
    SH_PASSWORD_BYTES_MAX = 1024, /* of a password */
    SH_PASSWORD_HASH_MAX = 192,   /* of a hash in text form, with its NUL */
    SH_PASSWORD_MEMORY_KIB_MAX = 262144,
    SH_PASSWORD_ITERATIONS_MAX = 64,
    SH_PASSWORD_PARALLELISM_MAX = 16,
};

/* Makes a hash with a new random salt. SH_EINVAL: empty password or parameters out of bounds; SH_ELIMIT: password too long;
 * SH_EMEMORY: no memory for the function. */
int sh_password_hash(const sh_password_params_t *params, sh_str_t password, char out[SH_PASSWORD_HASH_MAX]) SH_MUSTCHECK;

/* SH_OK, or SH_EDENIED when it does not match. An empty `hash` (there is no such user) spends what a hash with `params` costs and is
 * SH_EDENIED, so that the time tells nobody who has an account. SH_EINVAL: the hash is damaged or asks for more than
 * the limits above; SH_EMEMORY. */
int sh_password_verify(const sh_password_params_t *params, sh_str_t password, sh_str_t hash) SH_MUSTCHECK;

#endif
