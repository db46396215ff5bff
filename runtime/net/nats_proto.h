/* The NATS protocol as bytes, without sockets: a parser of what the server sends, and writers of what a client sends.
 *
 * https://docs.nats.io/reference/reference-protocols/nats-protocol; headers: ADR-4 of NATS. Strict: lines end with CRLF, lengths must fit, and
 * whatever breaks a rule ends the connection, since nobody knows where the next operation begins. */
#ifndef SH_NATS_PROTO_H
#define SH_NATS_PROTO_H

#include "base/buf.h"
#include "net/nats_raw.h"

enum {
    SH_NATS_LINE_MAX = 4096,           /* an operation's line, its CRLF included */
    SH_NATS_INFO_MAX = 65536,          /* INFO's: it names all servers of a cluster */
    SH_NATS_BLOCK_MAX = 65536,         /* headers that a message may have beside max_payload: the broker adds some of its own */
    SH_NATS_PAYLOAD_CEILING = 1 << 26, /* what a server may set as max_payload */
};

/* --- reading --- */

typedef enum sh_nats_event {
    SH_NATS_EVENT_MORE, /* everything was used; feed on */
    SH_NATS_EVENT_MSG,  /* parser->msg is the receiver's */
    SH_NATS_EVENT_PING,
    SH_NATS_EVENT_PONG,
    SH_NATS_EVENT_INFO, /* parser->text: JSON */
    SH_NATS_EVENT_OK,
    SH_NATS_EVENT_ERR, /* parser->text: the reason, without its quotes */
    SH_NATS_EVENT_BAD, /* parser->text: which rule was broken; the connection cannot go on */
} sh_nats_event_t;

typedef struct sh_nats_parser {
    size_t payload_max;     /* the server's max_payload */
    sh_nats_raw_t *msg;     /* after EVENT_MSG */
    sh_str_t text;          /* lent until the next call, by the caller's bytes or by `line` */
    sh_nats_raw_t *filling; /* a message whose head is known */
    size_t filled;          /* bytes of its headers, payload and CRLF that have come */
    sh_buf_t line;          /* a line that came in pieces */
    bool is_line_over;      /* it has been told: the next one begins anew */
} sh_nats_parser_t;

void sh_nats_parser_init(sh_nats_parser_t *parser, size_t payload_max);
void sh_nats_parser_dispose(sh_nats_parser_t *parser);
/* Reads up to the end of one operation, or of the bytes; `used` says how many were. Bytes may be cut anywhere. */
sh_nats_event_t sh_nats_parser_feed(sh_nats_parser_t *parser, const char *bytes, size_t len, size_t *used) SH_MUSTCHECK;

/* Does the connection go on after this -ERR? After any other the server closes it. */
bool sh_nats_is_survivable(sh_str_t reason);

/* What a client must know of INFO. */
typedef struct sh_nats_info {
    size_t payload_max;
    bool has_headers, is_tls_required, is_tls_available;
} sh_nats_info_t;
/* SH_EINVAL: no JSON object, or without max_payload. */
int sh_nats_info_read(sh_str_t json, sh_nats_info_t *out) SH_MUSTCHECK;

/* --- writing --- */

/* Tokens parted by dots, none of them empty, without blanks and control characters. Wildcards are the caller's concern. */
bool sh_nats_is_subject(sh_str_t subject);
/* As nats.h asks: no CR, LF or NUL, no ':' or blank in the name, which is not empty. */
bool sh_nats_is_header(const sh_nats_header_t *header);

/* PUB, or HPUB when there are headers. Subject, reply (may be empty) and headers must have passed the checks above. */
void sh_nats_write_publish(sh_buf_t *out, sh_str_t subject, sh_str_t reply, const sh_nats_header_t *headers, uint32_t header_count, sh_str_t payload);

/* The header block: how many bytes it has (0 without headers), and the writing of it, which returns where it ends. */
size_t sh_nats_block_len(const sh_nats_header_t *headers, uint32_t count);
char *sh_nats_block_write(char *at, const sh_nats_header_t *headers, uint32_t count);

#endif
