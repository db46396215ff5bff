/* Random bytes, SHA-256, HMAC-SHA256, constant-time comparison, and the two ways bytes become text: base64url and hex. */
#ifndef SH_CRYPTO_H
#define SH_CRYPTO_H

#include "base/base.h"
#include "base/buf.h"
#include "base/str.h"

enum { SH_SHA256_LEN = 32 };

/* Fills `out` from the kernel's generator. Never fails: a machine that cannot give random bytes stops the process. */
void sh_crypto_random(void *out, size_t len);

void sh_crypto_sha256(const void *bytes, size_t len, uint8_t out[SH_SHA256_LEN]);

/* Are the two equal? The time depends on `len` only. */
bool sh_crypto_equal(const void *a, const void *b, size_t len);
/* Also for different lengths; only the lengths can be learned from the time. */
bool sh_crypto_equal_str(sh_str_t a, sh_str_t b);

/* A key for HMAC-SHA256 (RFC 2104), kept as the two hash states behind its padded blocks: a MAC costs no key setup.
 * Read-only after creation, so many may use it at once. */
typedef struct sh_hmac sh_hmac_t;

/* `key` is not kept. Any length is taken; what is long enough is the caller's to decide. */
sh_hmac_t *sh_hmac_create(const void *key, size_t len) __attribute__((returns_nonnull));
/* Wipes it. NULL is harmless. */
void sh_hmac_destroy(sh_hmac_t *hmac);
void sh_hmac_compute(const sh_hmac_t *hmac, const void *bytes, size_t len, uint8_t out[SH_SHA256_LEN]);

/* Base64url without padding (RFC 4648, 5). */
static inline size_t sh_base64url_len(size_t bytes) { return bytes / 3 * 4 + (bytes % 3 ? bytes % 3 + 1 : 0); }
void sh_base64url_encode(sh_buf_t *out, const void *bytes, size_t len);
/* Bytes that a text of this length decodes to at most. */
static inline size_t sh_base64url_room(size_t text) { return text / 4 * 3 + (text % 4 ? text % 4 - 1 : 0); }
/* `out` has room for sh_base64url_room(text.len) bytes. Strict: no padding, no white space, and bits that belong to no byte are
 * zero, so that one value has one text. SH_EINVAL. */
int sh_base64url_decode(sh_str_t text, uint8_t *out, size_t *out_len) SH_MUSTCHECK;

/* Lower case; 2 * len characters, no NUL. */
void sh_hex_encode(const void *bytes, size_t len, char *out);
/* Upper or lower case; `out` has room for text.len / 2 bytes. SH_EINVAL. */
int sh_hex_decode(sh_str_t text, uint8_t *out) SH_MUSTCHECK;

#endif
