/* The life of the connection to the broker: a keeper thread dials, the loop reads and writes.
 *
 *     keeper: dial the servers in turn ──up──▶ loop: read, write, ping ──lost, silent, closed──▶ keeper: dial anew, or end
 *
 * Sending appends to a buffer that is written once a turn of the loop, and what arrives is parsed and handed over on the loop, so that a message
 * wakes no thread and waits for none. */
#ifndef SH_NATS_WIRE_H
#define SH_NATS_WIRE_H

#include "net/nats_link.h"
#include "net/nats_raw.h"

enum { SH_NATS_INBOX_LEN = 30 };

typedef struct sh_nats_wire sh_nats_wire_t;

/* All run on the loop. */
typedef struct sh_nats_wire_events {
    void (*up)(void *data);                          /* connected, the inbox is subscribed */
    void (*down)(void *data, const char *reason);    /* connection lost, or not made; reason is lent */
    void (*message)(void *data, sh_nats_raw_t *raw); /* something came to the inbox; raw is the receiver's */
    void (*read)(void *data);                        /* after the messages of one read */
    void (*denied)(void *data, sh_str_t reason);     /* the broker refuses something, and the connection goes on; reason is lent */
    void (*closed)(void *data);                      /* the last one: the wire is gone */
} sh_nats_wire_events_t;

/* Connects in the background, for ever. `inbox` is a subject prefix ("_INBOX.abc"); what comes to inbox.* is a message. Options are copied, events
 * stay the caller's. SH_EINVAL: a URL that can never work; nothing happens. SH_EIO when the system refuses: then no event comes, but `closed`,
 * later. */
int sh_nats_wire_open(uv_loop_t *loop, const sh_nats_opts_t *opts, const char *inbox, const sh_nats_wire_events_t *events, void *data,
                      sh_nats_wire_t **out) SH_MUSTCHECK;
/* Sends at the end of this turn of the loop; everything is copied. SH_EUNAVAILABLE: there is no connection. SH_ELIMIT: more than the broker takes,
 * or too much waits to be sent. SH_EINVAL: subject or reply is none, or too long. Headers are as sh_nats_is_header() wants them. */
int sh_nats_wire_publish(sh_nats_wire_t *wire, sh_str_t subject, sh_str_t reply, const sh_nats_header_t *headers, uint32_t header_count,
                         sh_str_t payload) SH_MUSTCHECK;
/* Several times a second: pings a broker that says nothing, lets go of one that has been silent for too long, ends a closing that takes too long. */
void sh_nats_wire_tick(sh_nats_wire_t *wire);
/* Waits until the broker has what was sent, for at most two seconds, then closes; ends with `closed`. Once. */
void sh_nats_wire_close(sh_nats_wire_t *wire);

#endif
