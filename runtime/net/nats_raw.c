/* Wraps natsMsg.
 *
 * nats.c frees messages on a thread of its own, which each one would wake; those that end in one turn of the loop are given to it together. */
#include "net/nats_raw.h"

#include "base/buf.h"

#include <nats/nats.h>
#include <stdlib.h>

enum { ENDED_MAX = 64 };

static _Thread_local natsMsg *ended[ENDED_MAX];
static _Thread_local uint32_t ended_count;

sh_str_t sh_nats_raw_subject(const sh_nats_raw_t *raw) { return sh_str_of(natsMsg_GetSubject((const natsMsg *)raw)); }

sh_str_t sh_nats_raw_reply(const sh_nats_raw_t *raw) { return sh_str_of(natsMsg_GetReply((const natsMsg *)raw)); }

sh_str_t sh_nats_raw_payload(const sh_nats_raw_t *raw) {
    int len = natsMsg_GetDataLength((const natsMsg *)raw);
    return sh_str(natsMsg_GetData((const natsMsg *)raw), len > 0 ? (size_t)len : 0);
}

sh_str_t sh_nats_raw_header(sh_nats_raw_t *raw, const char *name) {
    const char *value = NULL;
    return natsMsgHeader_Get((natsMsg *)raw, name, &value) == NATS_OK ? sh_str_of(value) : SH_STR_NULL;
}

uint32_t sh_nats_raw_headers(sh_nats_raw_t *raw, sh_nats_header_t *out, uint32_t max) {
    const char **keys = NULL;
    int count = 0;
    uint32_t filled = 0;
    if (natsMsgHeader_Keys((natsMsg *)raw, &keys, &count) != NATS_OK) return 0;
    for (int i = 0; i < count && filled < max; i++, filled++) out[filled] = (sh_nats_header_t){sh_str_of(keys[i]), sh_nats_raw_header(raw, keys[i])};
    free((void *)keys);
    return filled;
}

void sh_nats_raw_destroy(sh_nats_raw_t *raw) {
    if (!raw) return;
    if (ended_count == ENDED_MAX) sh_nats_raw_sweep();
    ended[ended_count++] = (natsMsg *)raw;
}

void sh_nats_raw_sweep(void) {
    for (uint32_t i = 0; i < ended_count; i++) natsMsg_Destroy(ended[i]);
    ended_count = 0;
}

/* nats.c wants C strings: name and value of all headers stand one after the other in `texts`. */
static natsStatus set_headers(natsMsg *msg, const sh_nats_header_t *headers, uint32_t count) {
    natsStatus s = NATS_OK;
    sh_buf_t texts;
    sh_buf_init(&texts);
    for (uint32_t i = 0; s == NATS_OK && i < count; i++) {
        sh_buf_clear(&texts);
        sh_buf_put_str(&texts, headers[i].name);
        sh_buf_put_byte(&texts, 0);
        sh_buf_put_str(&texts, headers[i].value);
        const char *name = sh_buf_c(&texts);
        s = natsMsgHeader_Set(msg, name, name + headers[i].name.len + 1);
    }
    sh_buf_dispose(&texts);
    return s;
}

sh_nats_raw_t *sh_nats_raw_create(const char *subject, const char *reply, const sh_nats_header_t *headers, uint32_t header_count, sh_str_t payload) {
    natsMsg *msg = NULL;
    natsStatus s = nats_Open(-1); /* does nothing when it is open; a message is freed by its collector */
    if (s == NATS_OK) s = natsMsg_Create(&msg, subject, reply, payload.ptr ? payload.ptr : "", (int)payload.len);
    if (s == NATS_OK && header_count) s = set_headers(msg, headers, header_count);
    if (s == NATS_OK) return (sh_nats_raw_t *)msg;
    natsMsg_Destroy(msg);
    return NULL;
}
