/* Proves that hashes and MACs are the published ones (FIPS 180-4, RFC 4231), that base64url and hex refuse every text which is not the
 * one form of its bytes, and that comparisons tell equal from different. Known answers, round trips, and every way to spoil a text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <ctype.h>
#include <stdio.h>

#include "base/err.h"
#include "codec/crypto.h"

#include <stdio.h>
#include <stdlib.h>

static void assert_hex(const uint8_t *bytes, size_t len, const char *expected) {
    char text[129];
    assert_true(len <= 64);
    sh_hex_encode(bytes, len, text);
    text[2 * len] = 0;
    assert_string_equal(text, expected);
}

static void sha256_known_answers(void **state) {
    (void)state;
    uint8_t out[SH_SHA256_LEN];
    sh_crypto_sha256("abc", 3, out);
    assert_hex(out, sizeof out, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    sh_crypto_sha256("", 0, out);
    assert_hex(out, sizeof out, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void hmac_known_answers(void **state) {
    (void)state;
    uint8_t out[SH_SHA256_LEN], long_key[131];
    /* RFC 4231, test cases 2 and 6 (a key longer than a block). */
    sh_hmac_t *hmac = sh_hmac_create("Jefe", 4);
    for (int i = 0; i < 2; i++) { /* a key is not used up */
        sh_hmac_compute(hmac, "what do ya want for nothing?", 28, out);
        assert_hex(out, sizeof out, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
    sh_hmac_destroy(hmac);
    memset(long_key, 0xaa, sizeof long_key);
    hmac = sh_hmac_create(long_key, sizeof long_key);
    const char *text = "Test Using Larger Than Block-Size Key - Hash Key First";
    sh_hmac_compute(hmac, text, strlen(text), out);
    assert_hex(out, sizeof out, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    sh_hmac_destroy(hmac);
    sh_hmac_destroy(NULL);
}

static void base64url_round_trips(void **state) {
    (void)state;
    uint8_t in[64], back[64];
    for (size_t len = 0; len <= sizeof in; len++) {
        sh_crypto_random(in, len);
        sh_buf_t text;
        sh_buf_init(&text);
        sh_base64url_encode(&text, in, len);
        assert_int_equal(text.len, sh_base64url_len(len));
        assert_true(sh_base64url_room(text.len) >= len);
        size_t back_len = 99;
        assert_int_equal(sh_base64url_decode(sh_buf_str(&text), back, &back_len), SH_OK);
        assert_int_equal(back_len, len);
        if (len) assert_memory_equal(back, in, len);
        sh_buf_dispose(&text);
    }
}

static void base64url_is_strict(void **state) {
    (void)state;
    uint8_t out[16];
    size_t len = 0;
    static const char *const bad[] = {"A", "AA==", "AA=", "A+AA", "A/AA", "AAAA\n", " AAA", "AAAAA", "AB", "AAB", "A.AA"};
    for (size_t i = 0; i < SH_ARRAY_LEN(bad); i++)
        if (sh_base64url_decode(sh_str_of(bad[i]), out, &len) != SH_EINVAL) fail_msg("accepted \"%s\"", bad[i]);
    assert_int_equal(sh_base64url_decode(SH_STR("-_8"), out, &len), SH_OK);
    assert_int_equal(len, 2);
    assert_int_equal(out[0], 0xfb);
    assert_int_equal(out[1], 0xff);
    /* Of the 64 texts "A?" exactly four stand for one byte: stray bits are refused. */
    int taken = 0;
    for (int c = 0; c < 256; c++) {
        char two[2] = {'A', (char)c};
        if (sh_base64url_decode(sh_str(two, 2), out, &len) == SH_OK) taken++;
    }
    assert_int_equal(taken, 4);
}

static void hex_has_two_digits_a_byte(void **state) {
    (void)state;
    char text[2], expected[3];
    for (unsigned i = 0; i < 256; i++) {
        uint8_t byte = (uint8_t)i;
        snprintf(expected, sizeof expected, "%02x", i);
        sh_hex_encode(&byte, 1, text);
        assert_memory_equal(text, expected, 2);
    }
}

static void hex_is_strict(void **state) {
    (void)state;
    uint8_t out[4];
    assert_int_equal(sh_hex_decode(SH_STR("00fFA1"), out), SH_OK);
    assert_memory_equal(out, "\x00\xff\xa1", 3);
    assert_int_equal(sh_hex_decode(SH_STR("0"), out), SH_EINVAL);
    char many[50]; /* one wrong character among good ones, at every place */
    for (size_t at = 0; at < sizeof many; at++) {
        for (int c = 0; c < 256; c++) {
            uint8_t back[sizeof many / 2];
            memset(many, 'a', sizeof many);
            many[at] = (char)c;
            assert_int_equal(sh_hex_decode(sh_str(many, sizeof many), back) == SH_OK, c < 128 && isxdigit(c));
        }
    }
    assert_int_equal(sh_hex_decode(SH_STR("0g"), out), SH_EINVAL);
    assert_int_equal(sh_hex_decode(SH_STR("0x"), out), SH_EINVAL);
    for (int c = 1; c < 256; c++) {
        char text[2] = {'0', (char)c};
        assert_int_equal(sh_hex_decode(sh_str(text, 2), out) == SH_OK, c < 128 && isxdigit(c));
    }
    uint8_t bytes[256], back[256];
    char text[512], expected[513];
    for (int i = 0; i < 256; i++) {
        bytes[i] = (uint8_t)i;
        snprintf(expected + 2 * i, 3, "%02x", i);
    }
    for (size_t first = 0; first < 8; first++) { /* any length, at any address */
        for (size_t len = 0; len + first <= sizeof bytes; len++) {
            sh_hex_encode(bytes + first, len, text);
            assert_memory_equal(text, expected + 2 * first, 2 * len);
        }
        assert_int_equal(sh_hex_decode(sh_str(text, 2 * (sizeof bytes - first)), back), SH_OK);
        assert_memory_equal(back, bytes + first, sizeof bytes - first);
    }
}

static void comparisons(void **state) {
    (void)state;
    assert_true(sh_crypto_equal("same", "same", 4));
    assert_false(sh_crypto_equal("same", "samE", 4));
    assert_true(sh_crypto_equal_str(SH_STR_NULL, SH_STR_NULL));
    assert_false(sh_crypto_equal_str(SH_STR("same"), SH_STR("sam")));
    assert_true(sh_crypto_equal_str(SH_STR("same"), SH_STR("same")));
}

static void random_bytes_differ(void **state) {
    (void)state;
    uint8_t a[32] = {0}, b[32] = {0};
    sh_crypto_random(a, sizeof a);
    sh_crypto_random(b, sizeof b);
    assert_memory_not_equal(a, b, sizeof a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha256_known_answers), cmocka_unit_test(hmac_known_answers),  cmocka_unit_test(base64url_round_trips),
        cmocka_unit_test(base64url_is_strict),  cmocka_unit_test(hex_is_strict),       cmocka_unit_test(hex_has_two_digits_a_byte),
        cmocka_unit_test(comparisons),          cmocka_unit_test(random_bytes_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
