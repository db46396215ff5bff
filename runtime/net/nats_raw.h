/* A message of the broker: subject, reply subject, headers and payload in one piece of memory, read where they lie. */
#ifndef SH_NATS_RAW_H
#define SH_NATS_RAW_H

#include "base/str.h"
#include "net/nats.h"

/* bytes: the subject and a NUL, the reply subject and a NUL, the header block as it came (ADR-4 of NATS), the payload. */
typedef struct sh_nats_raw {
    uint32_t subject_len, reply_len, block_len, payload_len;
    char bytes[];
} sh_nats_raw_t;

/* With subject and reply in place; block and payload are the caller's to fill, from sh_nats_raw_block() on. */
sh_nats_raw_t *sh_nats_raw_alloc(sh_str_t subject, sh_str_t reply, size_t block_len, size_t payload_len);
char *sh_nats_raw_block(sh_nats_raw_t *raw);
/* A new one; everything is copied. NULL: a bad subject or header. `reply` may be NULL. */
sh_nats_raw_t *sh_nats_raw_create(const char *subject, const char *reply, const sh_nats_header_t *headers, uint32_t header_count, sh_str_t payload);
void sh_nats_raw_destroy(sh_nats_raw_t *raw); /* NULL is fine */

/* What it holds; lent. Subject and reply are NUL-terminated. */
sh_str_t sh_nats_raw_subject(const sh_nats_raw_t *raw);
sh_str_t sh_nats_raw_reply(const sh_nats_raw_t *raw);
sh_str_t sh_nats_raw_payload(const sh_nats_raw_t *raw);
/* The first value of a header (exact case), without blanks around it, or SH_STR_NULL. The broker's own answers ("NATS/1.0 503 No Responders") have
 * "Status" and "Description". */
sh_str_t sh_nats_raw_header(const sh_nats_raw_t *raw, const char *name);
/* Fills at most `max`, returns how many; of several with the same name the first. */
uint32_t sh_nats_raw_headers(const sh_nats_raw_t *raw, sh_nats_header_t *out, uint32_t max);

#endif
