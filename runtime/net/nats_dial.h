/* Makes a connection to one server, up to the point where messages come: everything about it that blocks, for a thread of its own.
 *
 *     name ─▶ connect ─▶ INFO ─▶ TLS ─▶ CONNECT, SUB, PING ─▶ PONG */
#ifndef SH_NATS_DIAL_H
#define SH_NATS_DIAL_H

#include "net/nats_link.h"
#include "net/nats_proto.h"
#include "net/nats_url.h"

typedef struct sh_nats_dial_opts {
    const char *name;    /* of the connection */
    const char *inbox;   /* the subject to subscribe to, with sid 1 */
    sh_nats_tls_t tls;   /* any file of it requires TLS, as does a tls:// URL or the server */
    uint64_t timeout_ms; /* in all, but for resolving the name, which takes as long as the system's resolver takes */
} sh_nats_dial_opts_t;

/* A connection that is logged in, for the loop to go on with. */
typedef struct sh_nats_dialled {
    sh_nats_link_t link;
    sh_nats_parser_t parser; /* knows the server's max_payload */
    sh_buf_t rest;           /* what came behind the PONG */
} sh_nats_dialled_t;

/* Blocks. `out` is written on success only; else `reason` says why, without secrets: "Authorization Violation", "connection refused" ... */
int sh_nats_dial(const sh_nats_server_t *server, const sh_nats_dial_opts_t *opts, sh_nats_dialled_t *out,
                 char reason[SH_NATS_REASON_MAX]) SH_MUSTCHECK;
void sh_nats_dialled_dispose(sh_nats_dialled_t *dialled);

#endif
