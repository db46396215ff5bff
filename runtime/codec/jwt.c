/* Signing and checking tokens: split, compare the MAC, and only then read. */
#include "codec/jwt.h"

#include "base/err.h"
#include "codec/crypto.h"

#include <stdlib.h>

enum { SIGNATURE_TEXT_LEN = 43 }; /* 32 bytes in base64url */

/* Claims are a flat object; what a token of 4 KiB can hold beyond this is not meant for us. */
static const sh_json_limits_t claim_limits = {.depth_max = 8, .values_max = 512};

/* {"alg":"HS256","typ":"JWT"} */
static const char our_header[] = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

struct sh_jwt_keys {
    sh_hmac_t *current, *previous; /* previous may be NULL */
};

int sh_jwt_keys_create(sh_str_t current, sh_str_t previous, sh_jwt_keys_t **out) {
    if (current.len < SH_JWT_SECRET_MIN) return SH_EINVAL;
    if (previous.len > 0 && previous.len < SH_JWT_SECRET_MIN) return SH_EINVAL;
    sh_jwt_keys_t *keys = sh_calloc(1, sizeof *keys);
    keys->current = sh_hmac_create(current.ptr, current.len);
    if (previous.len > 0) keys->previous = sh_hmac_create(previous.ptr, previous.len);
    *out = keys;
    return SH_OK;
}

void sh_jwt_keys_destroy(sh_jwt_keys_t *keys) {
    if (!keys) return;
    sh_hmac_destroy(keys->current);
    sh_hmac_destroy(keys->previous);
    free(keys);
}

int sh_jwt_sign_hs256(const sh_jwt_keys_t *keys, sh_str_t claims_json, sh_buf_t *out) {
    size_t header_len = sizeof our_header - 1, start = out->len;
    if (claims_json.len > SH_JWT_BYTES_MAX || header_len + 1 + sh_base64url_len(claims_json.len) + 1 + SIGNATURE_TEXT_LEN > SH_JWT_BYTES_MAX)
        return SH_ELIMIT;
    uint8_t mac[SH_SHA256_LEN];
    sh_buf_put(out, our_header, header_len);
    sh_buf_put_byte(out, '.');
    sh_base64url_encode(out, claims_json.ptr, claims_json.len);
    sh_hmac_compute(keys->current, out->ptr + start, out->len - start, mac);
    sh_buf_put_byte(out, '.');
    sh_base64url_encode(out, mac, sizeof mac);
    return SH_OK;
}

/* ---- checking */

typedef struct parts {
    sh_str_t header, payload, signature; /* base64url */
    sh_str_t signed_bytes;               /* header.payload */
} parts_t;

static bool split(sh_str_t token, parts_t *out) {
    if (token.len == 0 || token.len > SH_JWT_BYTES_MAX) return false;
    const char *end = token.ptr + token.len;
    const char *first = memchr(token.ptr, '.', token.len);
    if (!first) return false;
    const char *second = memchr(first + 1, '.', (size_t)(end - first - 1));
    if (!second) return false;
    out->header = sh_str(token.ptr, (size_t)(first - token.ptr));
    out->payload = sh_str(first + 1, (size_t)(second - first - 1));
    out->signature = sh_str(second + 1, (size_t)(end - second - 1)); /* a third dot is no base64url digit */
    out->signed_bytes = sh_str(token.ptr, (size_t)(second - token.ptr));
    return true;
}

static bool has_our_signature(const sh_jwt_keys_t *keys, const parts_t *parts) {
    uint8_t claimed[SH_SHA256_LEN], mac[SH_SHA256_LEN];
    size_t len;
    if (parts->signature.len != SIGNATURE_TEXT_LEN || sh_base64url_decode(parts->signature, claimed, &len) != SH_OK) return false;
    sh_hmac_compute(keys->current, parts->signed_bytes.ptr, parts->signed_bytes.len, mac);
    if (sh_crypto_equal(claimed, mac, sizeof mac)) return true;
    if (!keys->previous) return false;
    sh_hmac_compute(keys->previous, parts->signed_bytes.ptr, parts->signed_bytes.len, mac);
    return sh_crypto_equal(claimed, mac, sizeof mac);
}

static sh_json_value_t *read_object(sh_str_t part, sh_arena_t *arena) {
    uint8_t *bytes = sh_arena_alloc(arena, sh_base64url_room(part.len) + 1);
    size_t len;
    sh_json_value_t *value;
    sh_json_error_t error;
    if (sh_base64url_decode(part, bytes, &len) != SH_OK) return NULL;
    if (sh_json_read(arena, sh_str((char *)bytes, len), claim_limits, &value, &error) != SH_OK) return NULL;
    return value->kind == SH_JSON_OBJECT ? value : NULL;
}

static bool is_text(const sh_json_value_t *value, const char *text) {
    return value && value->kind == SH_JSON_STRING && sh_str_eq_c(value->text, text);
}

static bool is_header_fine(sh_str_t part, sh_arena_t *arena) {
    if (sh_str_eq(part, SH_STR(our_header))) return true;
    const sh_json_value_t *header = read_object(part, arena);
    if (!header || !is_text(sh_json_get(header, "alg"), "HS256") || sh_json_get(header, "crit")) return false;
    const sh_json_value_t *typ = sh_json_get(header, "typ");
    return !typ || is_text(typ, "JWT");
}

static bool read_roles(const sh_json_value_t *roles, sh_jwt_claims_t *claims) {
    if (!roles) return true;
    if (roles->kind != SH_JSON_ARRAY || roles->count > SH_JWT_ROLES_MAX) return false;
    for (uint32_t i = 0; i < roles->count; i++) {
        if (roles->items[i].kind != SH_JSON_STRING) return false;
        claims->roles[i] = roles->items[i].text;
    }
    claims->role_count = roles->count;
    return true;
}

/* An optional integer member: absent leaves `out` as it is. */
static bool read_time(const sh_json_value_t *value, int64_t *out) {
    if (!value) return true;
    if (value->kind != SH_JSON_INTEGER) return false;
    *out = value->i64;
    return true;
}

static bool read_claims(const sh_json_value_t *json, sh_jwt_claims_t *claims, int64_t *nbf) {
    const sh_json_value_t *sub = sh_json_get(json, "sub"), *exp = sh_json_get(json, "exp"), *jti = sh_json_get(json, "jti");
    if (!sub || sub->kind != SH_JSON_STRING || sub->text.len == 0 || sub->text.len > SH_JWT_SUB_MAX) return false;
    if (!exp || exp->kind != SH_JSON_INTEGER) return false;
    if (jti && jti->kind != SH_JSON_STRING) return false;
    claims->sub = sub->text;
    claims->exp = exp->i64;
    claims->json = json;
    if (jti) claims->jti = jti->text;
    return read_time(sh_json_get(json, "iat"), &claims->iat) && read_time(sh_json_get(json, "nbf"), nbf) &&
           read_roles(sh_json_get(json, "roles"), claims);
}

int sh_jwt_verify(const sh_jwt_keys_t *keys, sh_str_t token, int64_t now_s, int64_t leeway_s, sh_arena_t *arena, sh_jwt_claims_t *out) {
    parts_t parts;
    if (!split(token, &parts) || !has_our_signature(keys, &parts)) return SH_EDENIED;
    if (!is_header_fine(parts.header, arena)) return SH_EDENIED;

    const sh_json_value_t *json = read_object(parts.payload, arena);
    sh_jwt_claims_t claims = {0};
    int64_t nbf = INT64_MIN;
    if (!json || !read_claims(json, &claims, &nbf)) return SH_EDENIED;
    /* The clock is ours and far from the ends of int64; the claims may be anything, so nothing is added to them. */
    if (nbf > now_s + leeway_s) return SH_EDENIED;
    if (claims.exp <= now_s - leeway_s) return SH_EEXPIRED;
    *out = claims;
    return SH_OK;
}
