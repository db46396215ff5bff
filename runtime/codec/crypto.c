/* Hashes by OpenSSL, random bytes by the kernel.
 *
 * The SHA256_* functions are marked deprecated in OpenSSL 3, in favour of EVP, whose context costs more than hashing a token
 * does. They are kept here, in the one file that uses them: the state is a plain struct, so that an HMAC key is two
 * of them and a MAC starts by copying one. */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "codec/crypto.h"

#include "base/err.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <sys/random.h>

enum { HMAC_BLOCK = 64 };

struct sh_hmac {
    SHA256_CTX inner, outer;
};

void sh_crypto_random(void *out, size_t len) {
    uint8_t *at = out;
    while (len > 0) {
        ssize_t n = getrandom(at, len, 0);
        if (n < 0 && errno == EINTR) continue;
        SH_ASSERT(n > 0 && "getrandom");
        at += n;
        len -= (size_t)n;
    }
}

void sh_crypto_sha256(const void *bytes, size_t len, uint8_t out[SH_SHA256_LEN]) {
    SHA256_CTX ctx;
    SHA256_Init(&ctx);
    SHA256_Update(&ctx, bytes, len);
    SHA256_Final(out, &ctx);
}

bool sh_crypto_equal(const void *a, const void *b, size_t len) { return CRYPTO_memcmp(a, b, len) == 0; }

bool sh_crypto_equal_str(sh_str_t a, sh_str_t b) { return a.len == b.len && (a.len == 0 || sh_crypto_equal(a.ptr, b.ptr, a.len)); }

/* ---- HMAC */

sh_hmac_t *sh_hmac_create(const void *key, size_t len) {
    uint8_t block[HMAC_BLOCK] = {0};
    if (len > HMAC_BLOCK)
        sh_crypto_sha256(key, len, block);
    else if (len > 0)
        memcpy(block, key, len);

    sh_hmac_t *hmac = sh_alloc(sizeof *hmac);
    for (size_t i = 0; i < HMAC_BLOCK; i++) block[i] ^= 0x36;
    SHA256_Init(&hmac->inner);
    SHA256_Update(&hmac->inner, block, HMAC_BLOCK);
    for (size_t i = 0; i < HMAC_BLOCK; i++) block[i] ^= 0x36 ^ 0x5c;
    SHA256_Init(&hmac->outer);
    SHA256_Update(&hmac->outer, block, HMAC_BLOCK);
    OPENSSL_cleanse(block, sizeof block);
    return hmac;
}

void sh_hmac_destroy(sh_hmac_t *hmac) {
    if (!hmac) return;
    OPENSSL_cleanse(hmac, sizeof *hmac);
    free(hmac);
}

void sh_hmac_compute(const sh_hmac_t *hmac, const void *bytes, size_t len, uint8_t out[SH_SHA256_LEN]) {
    uint8_t digest[SH_SHA256_LEN];
    SHA256_CTX ctx = hmac->inner;
    SHA256_Update(&ctx, bytes, len);
    SHA256_Final(digest, &ctx);
    ctx = hmac->outer;
    SHA256_Update(&ctx, digest, sizeof digest);
    SHA256_Final(out, &ctx);
}

/* ---- text */

static const char base64url_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void sh_base64url_encode(sh_buf_t *out, const void *bytes, size_t len) {
    const uint8_t *in = bytes;
    char *to = sh_buf_reserve(out, sh_base64url_len(len) + 1);
    size_t at = 0, i = 0;
    for (; i + 3 <= len; i += 3) {
        uint32_t three = (uint32_t)in[i] << 16 | (uint32_t)in[i + 1] << 8 | in[i + 2];
        to[at++] = base64url_digits[three >> 18];
        to[at++] = base64url_digits[three >> 12 & 63];
        to[at++] = base64url_digits[three >> 6 & 63];
        to[at++] = base64url_digits[three & 63];
    }
    if (len - i == 1) {
        to[at++] = base64url_digits[in[i] >> 2];
        to[at++] = base64url_digits[(in[i] & 3) << 4];
    } else if (len - i == 2) {
        to[at++] = base64url_digits[in[i] >> 2];
        to[at++] = base64url_digits[(in[i] & 3) << 4 | in[i + 1] >> 4];
        to[at++] = base64url_digits[(in[i + 1] & 15) << 2];
    }
    out->len += at;
}

/* Value + 1 of the characters 0x20 to 0x7f; 0 for what is no digit. What is decoded is no secret, so a table may be used. */
static const uint8_t base64url_values[96] = {
    0, 0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  63, 0,  0,  53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 0,  0, 0, 0, 0, 0,
    0, 1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 0, 0, 0, 0, 64,
    0, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 0, 0, 0, 0, 0,
};

/* Negative for what is no digit. */
static inline int base64url_value(char c) {
    unsigned at = (unsigned char)c - 0x20u;
    return at < sizeof base64url_values ? base64url_values[at] - 1 : -1;
}

int sh_base64url_decode(sh_str_t text, uint8_t *out, size_t *out_len) {
    if (text.len % 4 == 1) return SH_EINVAL;
    const char *in = text.ptr;
    size_t at = 0, left = text.len;
    for (; left >= 4; left -= 4, in += 4) {
        int a = base64url_value(in[0]), b = base64url_value(in[1]), c = base64url_value(in[2]), d = base64url_value(in[3]);
        if ((a | b | c | d) < 0) return SH_EINVAL;
        uint32_t three = (uint32_t)a << 18 | (uint32_t)b << 12 | (uint32_t)c << 6 | (uint32_t)d;
        out[at++] = (uint8_t)(three >> 16);
        out[at++] = (uint8_t)(three >> 8);
        out[at++] = (uint8_t)three;
    }
    if (left > 0) { /* two digits carry a byte and four zero bits, three carry two bytes and two */
        int a = base64url_value(in[0]), b = base64url_value(in[1]), c = left == 3 ? base64url_value(in[2]) : 0;
        if ((a | b | c) < 0) return SH_EINVAL;
        uint32_t bits = (uint32_t)a << 12 | (uint32_t)b << 6 | (uint32_t)c;
        if (bits & (left == 3 ? 3 : 0x3ff)) return SH_EINVAL;
        out[at++] = (uint8_t)(bits >> 10);
        if (left == 3) out[at++] = (uint8_t)(bits >> 2);
    }
    *out_len = at;
    return SH_OK;
}

/* Sixteen bytes, or digits, at once. */
typedef uint8_t sixteen_t __attribute__((vector_size(16)));

static inline sixteen_t digits_of(sixteen_t nibbles) { return nibbles + '0' + ((sixteen_t)(nibbles > 9) & ('a' - '0' - 10)); }

static void hex_of_16(const uint8_t *in, char *out) {
    sixteen_t bytes;
    memcpy(&bytes, in, sizeof bytes);
    sixteen_t high = digits_of(bytes >> 4), low = digits_of(bytes & 15);
    sixteen_t first = __builtin_shuffle(high, low, (sixteen_t){0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23});
    sixteen_t second = __builtin_shuffle(high, low, (sixteen_t){8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31});
    memcpy(out, &first, sizeof first);
    memcpy(out + sizeof first, &second, sizeof second);
}

void sh_hex_encode(const void *bytes, size_t len, char *out) {
    static const char digits[] = "0123456789abcdef";
    const uint8_t *in = bytes;
    for (; len >= 16; len -= 16, in += 16, out += 32) hex_of_16(in, out);
    for (; len; len--, in++) {
        *out++ = digits[*in >> 4];
        *out++ = digits[*in & 15];
    }
}

/* A digit's value with HEX_IS_DIGIT set; 0 for anything else. */
enum { HEX_IS_DIGIT = 16 };
static const uint8_t HEX_VALUES[256] = {
    ['0'] = 16, ['1'] = 17, ['2'] = 18, ['3'] = 19, ['4'] = 20, ['5'] = 21, ['6'] = 22, ['7'] = 23, ['8'] = 24, ['9'] = 25, ['a'] = 26,
    ['b'] = 27, ['c'] = 28, ['d'] = 29, ['e'] = 30, ['f'] = 31, ['A'] = 26, ['B'] = 27, ['C'] = 28, ['D'] = 29, ['E'] = 30, ['F'] = 31,
};

typedef uint64_t halves_t __attribute__((vector_size(16)));
typedef uint16_t pairs_t __attribute__((vector_size(16)));

/* Sixteen digits to eight bytes; a bit is set in `wrong` for what is none. */
static void bytes_of_16(const char *in, uint8_t *out, sixteen_t *wrong) {
    sixteen_t digits, bytes;
    memcpy(&digits, in, sizeof digits);
    sixteen_t number = digits - '0', letter = (digits | 0x20) - 'a';
    sixteen_t is_number = (sixteen_t)(number < 10), is_letter = (sixteen_t)(letter < 6);
    *wrong |= ~(is_number | is_letter);
    pairs_t values = (pairs_t)((number & is_number) | ((letter + 10) & is_letter)); /* the first digit of a pair is its low byte */
    bytes = (sixteen_t)(values << 4 | values >> 8);
    bytes = __builtin_shuffle(bytes, (sixteen_t){0, 2, 4, 6, 8, 10, 12, 14, 0, 2, 4, 6, 8, 10, 12, 14});
    memcpy(out, &bytes, sizeof bytes / 2);
}

int sh_hex_decode(sh_str_t text, uint8_t *out) {
    if (text.len % 2) return SH_EINVAL;
    const char *in = text.ptr;
    size_t left = text.len;
    sixteen_t wrong = {0};
    unsigned all = HEX_IS_DIGIT;
    for (; left >= 16; left -= 16, in += 16, out += 8) bytes_of_16(in, out, &wrong);
    for (; left; left -= 2, in += 2) {
        uint8_t high = HEX_VALUES[(unsigned char)in[0]], low = HEX_VALUES[(unsigned char)in[1]];
        all &= high & low;
        *out++ = (uint8_t)(high << 4 | (low & 15));
    }
    halves_t any = (halves_t)wrong;
    return all && !(any[0] | any[1]) ? SH_OK : SH_EINVAL;
}
