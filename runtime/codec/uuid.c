/* UUIDs from a page of random bytes that the kernel empties on fork. */
#include "codec/uuid.h"

#include "codec/crypto.h"

#include <string.h>
#include <sys/mman.h>

enum { STOCK_BYTES = 4096 - 16, FRACTIONS = 4096 };

/* All of it lies in a page marked MADV_WIPEONFORK: in a child `left` is 0, as in a new source. */
struct sh_uuid_source {
    uint64_t last; /* milliseconds and fraction of the newest v7, 60 bits */
    uint32_t left; /* bytes of stock not handed out yet, at its end */
    uint8_t stock[STOCK_BYTES];
};
_Static_assert(sizeof(struct sh_uuid_source) <= 4096, "one page");

sh_uuid_source_t *sh_uuid_source_create(void) {
    void *page = mmap(NULL, sizeof(sh_uuid_source_t), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    SH_ASSERT(page != MAP_FAILED);
    SH_ASSERT(madvise(page, 4096, MADV_WIPEONFORK) == 0);
    return page;
}

void sh_uuid_source_destroy(sh_uuid_source_t *source) {
    if (source) munmap(source, sizeof *source);
}

static void draw(sh_uuid_source_t *source, uint8_t *out, uint32_t len) {
    if (source->left < len) {
        sh_crypto_random(source->stock, STOCK_BYTES);
        source->left = STOCK_BYTES;
    }
    uint8_t *from = source->stock + STOCK_BYTES - source->left;
    memcpy(out, from, len);
    memset(from, 0, len); /* what was handed out cannot be read from memory later */
    source->left -= len;
}

static void write_text(uint8_t id[16], int version, char out[SH_UUID_LEN]) {
    id[6] = (uint8_t)((id[6] & 0x0f) | version << 4);
    id[8] = (uint8_t)((id[8] & 0x3f) | 0x80);
    char digits[32];
    sh_hex_encode(id, 16, digits);
    memcpy(out, digits, 8);
    memcpy(out + 9, digits + 8, 4);
    memcpy(out + 14, digits + 12, 4);
    memcpy(out + 19, digits + 16, 4);
    memcpy(out + 24, digits + 20, 12);
    out[8] = out[13] = out[18] = out[23] = '-';
}

void sh_uuid_v4(sh_uuid_source_t *source, char out[SH_UUID_LEN]) {
    uint8_t id[16];
    draw(source, id, sizeof id);
    write_text(id, 4, out);
}

void sh_uuid_v7(sh_uuid_source_t *source, int64_t wall_us, char out[SH_UUID_LEN]) {
    uint64_t us = wall_us > 0 ? (uint64_t)wall_us : 0;
    uint64_t moment = us / 1000 * FRACTIONS + us % 1000 * FRACTIONS / 1000;
    if (moment <= source->last) moment = source->last + 1;
    source->last = moment;

    uint64_t ms = moment / FRACTIONS, fraction = moment % FRACTIONS;
    uint8_t id[16];
    for (int i = 0; i < 6; i++) id[i] = (uint8_t)(ms >> (40 - 8 * i));
    id[6] = (uint8_t)(fraction >> 8);
    id[7] = (uint8_t)fraction;
    draw(source, id + 8, 8);
    write_text(id, 7, out);
}
