/* Feeds tokens to the checker twice: as they come, which must never pass, and signed with the right key, so that header and claims are
 * reached too. The input is "header.claims" as plain bytes, or any text. */
#include "base/err.h"
#include "codec/crypto.h"
#include "codec/jwt.h"

#include <stdlib.h>

static const char secret[] = "0123456789abcdef0123456789abcdef";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static sh_jwt_keys_t *keys;
    static sh_hmac_t *hmac;
    if (!keys) {
        SH_ASSERT(sh_jwt_keys_create(SH_STR(secret), SH_STR_NULL, &keys) == SH_OK);
        hmac = sh_hmac_create(secret, sizeof secret - 1);
    }
    sh_arena_t arena;
    sh_arena_init(&arena);
    sh_jwt_claims_t claims;
    SH_ASSERT(sh_jwt_verify(keys, sh_str((const char *)data, size), 1800000000, 5, &arena, &claims) != SH_OK);

    const uint8_t *point = size ? memchr(data, '.', size) : NULL;
    size_t header_len = point ? (size_t)(point - data) : 0, claims_len = point ? size - header_len - 1 : size;
    uint8_t mac[SH_SHA256_LEN];
    sh_buf_t token;
    sh_buf_init(&token);
    sh_base64url_encode(&token, data, header_len);
    sh_buf_put_byte(&token, '.');
    sh_base64url_encode(&token, point ? point + 1 : data, claims_len);
    sh_hmac_compute(hmac, token.ptr, token.len, mac);
    sh_buf_put_byte(&token, '.');
    sh_base64url_encode(&token, mac, sizeof mac);
    if (sh_jwt_verify(keys, sh_buf_str(&token), 1800000000, 5, &arena, &claims) == SH_OK) {
        SH_ASSERT(claims.sub.len > 0 && claims.role_count <= SH_JWT_ROLES_MAX && claims.exp > 1800000000 - 5);
        SH_ASSERT(claims.json->kind == SH_JSON_OBJECT);
    }
    sh_buf_dispose(&token);
    sh_arena_dispose(&arena);
    return 0;
}
