/* The thread side of the NATS client: the only file that calls nats.c. Items go in from the loop, letters come out in a mailbox.
 *
 * One thread connects, publishes and closes; nats.c's own threads call back and post letters. Everything the loop must know
 * is in a letter, so that the loop never asks nats.c for a state and never waits for one of its locks. */
#ifndef SH_NATS_WIRE_H
#define SH_NATS_WIRE_H

#include "base/str.h"
#include "loop/mailbox.h"
#include "net/nats.h"

enum { SH_NATS_INBOX_LEN = 30, SH_NATS_REASON_MAX = 200 };

typedef struct sh_nats_wire sh_nats_wire_t;
typedef struct sh_nats_raw sh_nats_raw_t; /* a natsMsg */

typedef enum sh_nats_letter_kind {
    SH_NATS_LETTER_UP,      /* connected, the inbox is subscribed */
    SH_NATS_LETTER_DOWN,    /* connection lost, or not made: reason says why */
    SH_NATS_LETTER_MESSAGE, /* something came to the inbox */
    SH_NATS_LETTER_UNSENT,  /* an item with a token could not be sent */
    SH_NATS_LETTER_CLOSED,  /* the last one: no thread posts any more */
} sh_nats_letter_kind_t;

/* Freed by the receiver: sh_nats_letter_destroy(). */
typedef struct sh_nats_letter {
    sh_list_t link;
    sh_nats_letter_kind_t kind;
    sh_nats_raw_t *raw;              /* MESSAGE: owned */
    uint64_t token;                  /* UNSENT */
    int status;                      /* UNSENT */
    char reason[SH_NATS_REASON_MAX]; /* not initialized past its NUL; MESSAGE: "" */
} sh_nats_letter_t;
void sh_nats_letter_destroy(sh_nats_letter_t *letter);

/* Something to publish. Made on the loop in one allocation, taken by sh_nats_wire_send(). */
typedef struct sh_nats_item {
    sh_list_t link;
    uint64_t token;              /* not 0: an UNSENT letter tells when it could not be sent */
    const char *subject, *reply; /* NUL-terminated; reply NULL for none */
    uint32_t header_count;
    const char *headers; /* name NUL value NUL ... */
    const char *payload;
    size_t payload_len;
} sh_nats_item_t;

/* Copies everything. */
sh_nats_item_t *sh_nats_item_create(sh_str_t subject, sh_str_t reply, const sh_nats_header_t *headers, uint32_t header_count, sh_str_t payload);

/* Starts the thread. `inbox` is a subject prefix ("_INBOX.abc"); what comes to inbox.* is posted. Options are copied. */
int sh_nats_wire_create(const sh_nats_opts_t *opts, const char *inbox, sh_mailbox_t *mailbox, sh_nats_wire_t **out) SH_MUSTCHECK;
/* Takes the item. While there is no connection, items without one to go to are kept by nats.c (a little) or dropped with UNSENT. */
void sh_nats_wire_send(sh_nats_wire_t *wire, sh_nats_item_t *item);
/* Sends what is queued, then closes; ends with SH_NATS_LETTER_CLOSED. */
void sh_nats_wire_stop(sh_nats_wire_t *wire);
/* After that letter. */
void sh_nats_wire_destroy(sh_nats_wire_t *wire);

/* What a raw message holds; lent. */
sh_str_t sh_nats_raw_subject(const sh_nats_raw_t *raw);
sh_str_t sh_nats_raw_reply(const sh_nats_raw_t *raw);
sh_str_t sh_nats_raw_payload(const sh_nats_raw_t *raw);
sh_str_t sh_nats_raw_header(sh_nats_raw_t *raw, const char *name);
uint32_t sh_nats_raw_headers(sh_nats_raw_t *raw, sh_nats_header_t *out, uint32_t max);
void sh_nats_raw_destroy(sh_nats_raw_t *raw);
/* One that no broker sent; everything is copied. NULL: nats.c does not take the subject or a header. */
sh_nats_raw_t *sh_nats_raw_create(const char *subject, const sh_nats_header_t *headers, uint32_t header_count, sh_str_t payload);

#endif
