/* argon2id by libargon2, with bounds on what a stored hash may ask for. */
#include "codec/password.h"

#include "base/err.h"
#include "codec/crypto.h"

#include <argon2.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

enum { SALT_LEN = 16, HASH_LEN = 32 };

static bool are_sane(const sh_password_params_t *p) {
    return p->parallelism >= 1 && p->parallelism <= SH_PASSWORD_PARALLELISM_MAX && p->iterations >= 1 &&
           p->iterations <= SH_PASSWORD_ITERATIONS_MAX && p->memory_kib >= 8 * p->parallelism && p->memory_kib <= SH_PASSWORD_MEMORY_KIB_MAX;
}

static int status_of(int argon) {
    if (argon == ARGON2_OK) return SH_OK;
    if (argon == ARGON2_VERIFY_MISMATCH) return SH_EDENIED;
    if (argon == ARGON2_MEMORY_ALLOCATION_ERROR || argon == ARGON2_THREAD_FAIL) return SH_EMEMORY;
    return SH_EINVAL;
}

int sh_password_hash(const sh_password_params_t *params, sh_str_t password, char out[SH_PASSWORD_HASH_MAX]) {
    if (password.len == 0 || !are_sane(params)) return SH_EINVAL;
    if (password.len > SH_PASSWORD_BYTES_MAX) return SH_ELIMIT;
    uint8_t salt[SALT_LEN];
    char text[SH_PASSWORD_HASH_MAX];
    sh_crypto_random(salt, sizeof salt);
    int rc = status_of(argon2id_hash_encoded(params->iterations, params->memory_kib, params->parallelism, password.ptr, password.len, salt,
                                             sizeof salt, HASH_LEN, text, sizeof text));
    if (rc == SH_OK) memcpy(out, text, strlen(text) + 1);
    return rc;
}

/* The same work as for a user who exists; the result is thrown away. */
static int verify_nobody(const sh_password_params_t *params, sh_str_t password) {
    static const uint8_t salt[SALT_LEN] = "nobody has this";
    uint8_t hash[HASH_LEN];
    if (!are_sane(params)) return SH_EINVAL;
    int rc = status_of(argon2id_hash_raw(params->iterations, params->memory_kib, params->parallelism, password.ptr, password.len, salt, sizeof salt,
                                         hash, sizeof hash));
    OPENSSL_cleanse(hash, sizeof hash);
    return rc == SH_OK ? SH_EDENIED : rc;
}

int sh_password_verify(const sh_password_params_t *params, sh_str_t password, sh_str_t hash) {
    /* Nobody has such a password: what is too long to be hashed costs nothing, for known and unknown users alike. */
    if (password.len == 0 || password.len > SH_PASSWORD_BYTES_MAX) return SH_EDENIED;
    if (hash.len == 0) return verify_nobody(params, password);

    char text[SH_PASSWORD_HASH_MAX];
    if (hash.len >= sizeof text || memchr(hash.ptr, 0, hash.len)) return SH_EINVAL;
    memcpy(text, hash.ptr, hash.len);
    text[hash.len] = 0;
    sh_password_params_t asked;
    int end = 0;
    if (sscanf(text, "$argon2id$v=19$m=%9u,t=%9u,p=%9u$%n", &asked.memory_kib, &asked.iterations, &asked.parallelism, &end) != 3 || end == 0 ||
        !are_sane(&asked))
        return SH_EINVAL;
    return status_of(argon2id_verify(text, password.ptr, password.len));
}
