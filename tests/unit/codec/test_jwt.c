/* Proves that only tokens signed with one of our secrets by HS256 are read at all, that everything in a signed one is still checked, and
 * that time is respected to the second. Tokens are put together here by hand, so that wrong ones can be signed rightly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "codec/crypto.h"
#include "codec/jwt.h"

#include <stdio.h>
#include <stdlib.h>

enum { NOW = 1800000000 };

static const sh_str_t secret = SH_STR("0123456789abcdef0123456789abcdef"), old_secret = SH_STR("an older secret of 32 bytes at least");
static const char good_header[] = "{\"alg\":\"HS256\",\"typ\":\"JWT\"}";
static const char good_claims[] = "{\"sub\":\"018f0000-0000-7000-8000-000000000001\",\"exp\":1800000900,\"iat\":1800000000,\"roles\":[\"SALES\","
                                  "\"ADMIN\"],\"jti\":\"x1\",\"extra\":{\"a\":1}}";

typedef struct fixture {
    sh_jwt_keys_t *keys;
    sh_arena_t arena;
    sh_buf_t token;
} fixture_t;

static int make_fixture(void **state) {
    fixture_t *f = sh_calloc(1, sizeof *f);
    if (sh_jwt_keys_create(secret, old_secret, &f->keys) != SH_OK) return -1;
    sh_arena_init(&f->arena);
    *state = f;
    return 0;
}

static int drop_fixture(void **state) {
    fixture_t *f = *state;
    sh_jwt_keys_destroy(f->keys);
    sh_arena_dispose(&f->arena);
    sh_buf_dispose(&f->token);
    free(f);
    return 0;
}

/* header.claims.signature with any header, any claims and any key. */
static sh_str_t build(fixture_t *f, const char *header, const char *claims, sh_str_t key) {
    uint8_t mac[SH_SHA256_LEN];
    sh_buf_clear(&f->token);
    sh_base64url_encode(&f->token, header, strlen(header));
    sh_buf_put_byte(&f->token, '.');
    sh_base64url_encode(&f->token, claims, strlen(claims));
    sh_hmac_t *hmac = sh_hmac_create(key.ptr, key.len);
    sh_hmac_compute(hmac, f->token.ptr, f->token.len, mac);
    sh_hmac_destroy(hmac);
    sh_buf_put_byte(&f->token, '.');
    sh_base64url_encode(&f->token, mac, sizeof mac);
    return sh_buf_str(&f->token);
}

static int check(fixture_t *f, sh_str_t token, int64_t now) {
    sh_jwt_claims_t claims;
    return sh_jwt_verify(f->keys, token, now, 0, &f->arena, &claims);
}

static void signs_and_reads(void **state) {
    fixture_t *f = *state;
    assert_int_equal(sh_jwt_sign_hs256(f->keys, SH_STR(good_claims), &f->token), SH_OK);
    sh_jwt_claims_t claims;
    assert_int_equal(sh_jwt_verify(f->keys, sh_buf_str(&f->token), NOW, 0, &f->arena, &claims), SH_OK);
    assert_true(sh_str_eq_c(claims.sub, "018f0000-0000-7000-8000-000000000001"));
    assert_true(sh_str_eq_c(claims.jti, "x1"));
    assert_int_equal(claims.role_count, 2);
    assert_true(sh_str_eq_c(claims.roles[1], "ADMIN"));
    assert_int_equal(claims.exp, 1800000900);
    assert_int_equal(claims.iat, 1800000000);
    const sh_json_value_t *extra = sh_json_get(claims.json, "extra");
    assert_non_null(extra);
    assert_int_equal(sh_json_get(extra, "a")->i64, 1);
    /* Byte for byte what anybody else would make of it. */
    char *ours = sh_strdup(sh_buf_c(&f->token));
    assert_true(sh_str_eq_c(build(f, good_header, good_claims, secret), ours));
    free(ours);
}

/* RFC 7515, appendix A.1: a header with line breaks in it, a key of 64 bytes. */
static void reads_the_published_token(void **state) {
    fixture_t *f = *state;
    static const char token[] = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt"
                                "cGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    uint8_t key[64];
    size_t len;
    assert_int_equal(sh_base64url_decode(SH_STR("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"), key, &len),
                     SH_OK);
    sh_jwt_keys_t *keys;
    assert_int_equal(sh_jwt_keys_create(sh_str((char *)key, len), SH_STR_NULL, &keys), SH_OK);
    sh_jwt_claims_t claims;
    /* Signed rightly, but without a "sub" it is no token for us. */
    assert_int_equal(sh_jwt_verify(keys, SH_STR(token), 1300819379, 0, &f->arena, &claims), SH_EDENIED);
    sh_jwt_keys_destroy(keys);
}

static void keys_have_a_least_length(void **state) {
    (void)state;
    sh_jwt_keys_t *keys;
    sh_str_t brief = sh_str(secret.ptr, SH_JWT_SECRET_MIN - 1);
    assert_int_equal(sh_jwt_keys_create(brief, SH_STR_NULL, &keys), SH_EINVAL);
    assert_int_equal(sh_jwt_keys_create(SH_STR_NULL, SH_STR_NULL, &keys), SH_EINVAL);
    assert_int_equal(sh_jwt_keys_create(secret, brief, &keys), SH_EINVAL);
    assert_int_equal(sh_jwt_keys_create(secret, SH_STR_NULL, &keys), SH_OK);
    sh_jwt_keys_destroy(keys);
    sh_jwt_keys_destroy(NULL);
}

static void rotation(void **state) {
    fixture_t *f = *state;
    assert_int_equal(check(f, build(f, good_header, good_claims, old_secret), NOW), SH_OK);
    assert_int_equal(check(f, build(f, good_header, good_claims, SH_STR("somebody else's secret, 32 bytes!")), NOW), SH_EDENIED);
    sh_jwt_keys_t *alone;
    sh_jwt_claims_t claims;
    assert_int_equal(sh_jwt_keys_create(secret, SH_STR_NULL, &alone), SH_OK);
    assert_int_equal(sh_jwt_verify(alone, build(f, good_header, good_claims, old_secret), NOW, 0, &f->arena, &claims), SH_EDENIED);
    sh_jwt_keys_destroy(alone);
}

static void any_changed_byte_is_denied(void **state) {
    fixture_t *f = *state;
    sh_str_t token = build(f, good_header, good_claims, secret);
    assert_int_equal(check(f, token, NOW), SH_OK);
    for (size_t i = 0; i < token.len; i++) {
        char before = f->token.ptr[i];
        for (int flip = 1; flip <= 128; flip *= 2) {
            f->token.ptr[i] = (char)(before ^ flip);
            assert_int_equal(check(f, token, NOW), SH_EDENIED);
        }
        f->token.ptr[i] = before;
    }
    for (size_t len = 0; len < token.len; len++) assert_int_equal(check(f, sh_str(token.ptr, len), NOW), SH_EDENIED);
    sh_buf_put_lit(&f->token, ".");
    assert_int_equal(check(f, sh_buf_str(&f->token), NOW), SH_EDENIED);
}

static void headers(void **state) {
    fixture_t *f = *state;
    static const struct {
        const char *header;
        int status;
    } table[] = {
        {"{\"typ\":\"JWT\",\"alg\":\"HS256\"}", SH_OK},
        {"{\"alg\":\"HS256\"}", SH_OK},
        {"{\"alg\":\"HS256\",\"kid\":\"1\"}", SH_OK},
        {"{\"alg\":\"none\"}", SH_EDENIED},
        {"{\"alg\":\"None\"}", SH_EDENIED},
        {"{\"alg\":\"hs256\"}", SH_EDENIED},
        {"{\"alg\":\"HS384\"}", SH_EDENIED},
        {"{\"alg\":\"RS256\"}", SH_EDENIED},
        {"{\"alg\":[\"HS256\"]}", SH_EDENIED},
        {"{\"alg\":\"HS256\",\"alg\":\"none\"}", SH_EDENIED},
        {"{\"typ\":\"JWT\"}", SH_EDENIED},
        {"{\"alg\":\"HS256\",\"typ\":\"at+jwt\"}", SH_EDENIED},
        {"{\"alg\":\"HS256\",\"typ\":null}", SH_EDENIED},
        {"{\"alg\":\"HS256\",\"crit\":[\"exp\"]}", SH_EDENIED},
        {"[\"HS256\"]", SH_EDENIED},
        {"", SH_EDENIED},
        {"{", SH_EDENIED},
    };
    for (size_t i = 0; i < SH_ARRAY_LEN(table); i++)
        if (check(f, build(f, table[i].header, good_claims, secret), NOW) != table[i].status) fail_msg("header %s", table[i].header);

    /* alg none as it comes in the wild: no signature at all. */
    sh_buf_clear(&f->token);
    sh_base64url_encode(&f->token, "{\"alg\":\"none\"}", 14);
    sh_buf_put_byte(&f->token, '.');
    sh_base64url_encode(&f->token, good_claims, sizeof good_claims - 1);
    sh_buf_put_byte(&f->token, '.');
    assert_int_equal(check(f, sh_buf_str(&f->token), NOW), SH_EDENIED);
}

static void claims_are_checked(void **state) {
    fixture_t *f = *state;
    static const struct {
        const char *claims;
        int status;
    } table[] = {
        {"{\"sub\":\"u\",\"exp\":1800000001}", SH_OK},
        {"{\"sub\":\"u\",\"exp\":1800000000}", SH_EEXPIRED},
        {"{\"sub\":\"u\",\"exp\":-9223372036854775808}", SH_EEXPIRED},
        {"{\"sub\":\"u\",\"exp\":9223372036854775807}", SH_OK},
        {"{\"sub\":\"u\",\"exp\":9223372036854775808}", SH_EDENIED},
        {"{\"sub\":\"u\",\"exp\":1800000001.5}", SH_EDENIED},
        {"{\"sub\":\"u\",\"exp\":\"1800000001\"}", SH_EDENIED},
        {"{\"sub\":\"u\"}", SH_EDENIED},
        {"{\"exp\":1800000001}", SH_EDENIED},
        {"{\"sub\":\"\",\"exp\":1800000001}", SH_EDENIED},
        {"{\"sub\":7,\"exp\":1800000001}", SH_EDENIED},
        {"{\"sub\":\"u\",\"exp\":1800000001,\"nbf\":1800000000}", SH_OK},
        {"{\"sub\":\"u\",\"exp\":1800000009,\"nbf\":1800000001}", SH_EDENIED},
        {"{\"sub\":\"u\",\"exp\":1800000009,\"nbf\":\"now\"}", SH_EDENIED},
        {"{\"sub\":\"u\",\"exp\":1800000009,\"iat\":true}", SH_EDENIED},
        {"{\"sub\":\"u\",\"exp\":1800000009,\"jti\":1}", SH_EDENIED},
        {"{\"sub\":\"u\",\"exp\":1800000009,\"roles\":[]}", SH_OK},
        {"{\"sub\":\"u\",\"exp\":1800000009,\"roles\":\"ADMIN\"}", SH_EDENIED},
        {"{\"sub\":\"u\",\"exp\":1800000009,\"roles\":[1]}", SH_EDENIED},
        {"{\"sub\":\"u\",\"exp\":1800000009,\"roles\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\",\"10\",\"11\",\"12\",\"13\",\"14\","
         "\"15\",\"16\"]}",
         SH_OK},
        {"{\"sub\":\"u\",\"exp\":1800000009,\"roles\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\",\"10\",\"11\",\"12\",\"13\",\"14\","
         "\"15\",\"16\",\"17\"]}",
         SH_EDENIED},
        {"{\"sub\":\"u\",\"sub\":\"admin\",\"exp\":1800000009}", SH_EDENIED},
        {"[]", SH_EDENIED},
        {"{\"sub\":\"u\",\"exp\":1800000009} ", SH_OK},
        {"{\"sub\":\"u\",\"exp\":1800000009}x", SH_EDENIED},
    };
    for (size_t i = 0; i < SH_ARRAY_LEN(table); i++)
        if (check(f, build(f, good_header, table[i].claims, secret), NOW) != table[i].status) fail_msg("claims %s", table[i].claims);
}

static void leeway_reaches_both_ways(void **state) {
    fixture_t *f = *state;
    sh_jwt_claims_t claims;
    sh_str_t token = build(f, good_header, "{\"sub\":\"u\",\"nbf\":1800000010,\"exp\":1800000020}", secret);
    assert_int_equal(sh_jwt_verify(f->keys, token, 1800000004, 5, &f->arena, &claims), SH_EDENIED);
    assert_int_equal(sh_jwt_verify(f->keys, token, 1800000005, 5, &f->arena, &claims), SH_OK);
    assert_int_equal(sh_jwt_verify(f->keys, token, 1800000024, 5, &f->arena, &claims), SH_OK);
    assert_int_equal(sh_jwt_verify(f->keys, token, 1800000025, 5, &f->arena, &claims), SH_EEXPIRED);
}

static void long_tokens_are_refused(void **state) {
    fixture_t *f = *state;
    static char claims[3400];
    int n = snprintf(claims, sizeof claims, "{\"exp\":1800000009,\"sub\":\"u\",\"pad\":\"");
    size_t room = (SH_JWT_BYTES_MAX - 36 - 2 - 43) / 4 * 3; /* bytes whose base64url text fits */
    memset(claims + n, 'a', room - (size_t)n - 2);
    memcpy(claims + room - 2, "\"}", 3);
    sh_buf_clear(&f->token);
    assert_int_equal(sh_jwt_sign_hs256(f->keys, sh_str_of(claims), &f->token), SH_OK);
    assert_true(f->token.len <= SH_JWT_BYTES_MAX && f->token.len > SH_JWT_BYTES_MAX - 4);
    assert_int_equal(check(f, sh_buf_str(&f->token), NOW), SH_OK);
    memcpy(claims + room - 2, "aaa\"}", 6);
    assert_int_equal(check(f, build(f, good_header, claims, secret), NOW), SH_EDENIED);
    sh_buf_clear(&f->token);
    assert_int_equal(sh_jwt_sign_hs256(f->keys, sh_str_of(claims), &f->token), SH_ELIMIT);
    assert_int_equal(f->token.len, 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, make_fixture, drop_fixture)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(signs_and_reads),    CASE(reads_the_published_token),  CASE(keys_have_a_least_length),
        CASE(rotation),           CASE(any_changed_byte_is_denied), CASE(headers),
        CASE(claims_are_checked), CASE(leeway_reaches_both_ways),   CASE(long_tokens_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
