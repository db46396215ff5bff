/* A message of nats.c, as it came from the broker, read in the runtime's own types. */
#ifndef SH_NATS_RAW_H
#define SH_NATS_RAW_H

#include "base/str.h"
#include "net/nats.h"

typedef struct sh_nats_raw sh_nats_raw_t; /* a natsMsg */

/* What it holds; lent, and NUL-terminated but for the payload. */
sh_str_t sh_nats_raw_subject(const sh_nats_raw_t *raw);
sh_str_t sh_nats_raw_reply(const sh_nats_raw_t *raw);
sh_str_t sh_nats_raw_payload(const sh_nats_raw_t *raw);
sh_str_t sh_nats_raw_header(sh_nats_raw_t *raw, const char *name);
uint32_t sh_nats_raw_headers(sh_nats_raw_t *raw, sh_nats_header_t *out, uint32_t max);
/* Gone for the caller at once; its memory by the next sweep on this thread, or sooner. */
void sh_nats_raw_destroy(sh_nats_raw_t *raw);
void sh_nats_raw_sweep(void);
/* A new one; everything is copied. NULL: nats.c does not take the subject or a header. `reply` may be NULL. */
sh_nats_raw_t *sh_nats_raw_create(const char *subject, const char *reply, const sh_nats_header_t *headers, uint32_t header_count, sh_str_t payload);

#endif
