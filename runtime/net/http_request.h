/* From bytes to a request: the parser, without sockets, so that tests and the fuzzer can feed it by hand.
 *
 * llhttp (strict) reads tokens and frames bodies; what it lets through is refused here, in a scan over the head's lines that runs
 * before it: bare LF, obs-fold, empty names, doubled spaces, versions, target forms. The scan also finds the head's end, so a head that
 * arrived whole is copied once, into the request's arena, and llhttp's spans point into that copy.
 *
 *   HEAD --(event HEAD: the caller may refuse, sets the body's limit)--> BODY --(event DONE)--> nothing more
 *     \_________________________ event BAD: bad_status, bad_reason ________/
 */
#ifndef SH_HTTP_REQUEST_H
#define SH_HTTP_REQUEST_H

#include "net/http_server.h"

#include <llhttp.h>

typedef enum sh_http_event {
    SH_HTTP_EVENT_MORE, /* everything was used; more is needed */
    SH_HTTP_EVENT_HEAD, /* once; then feed again, also with nothing */
    SH_HTTP_EVENT_DONE, /* the request is whole */
    SH_HTTP_EVENT_BAD,  /* refused; the connection cannot go on */
} sh_http_event_t;

typedef enum sh_http_stage { SH_HTTP_STAGE_HEAD, SH_HTTP_STAGE_BODY, SH_HTTP_STAGE_END } sh_http_stage_t;

typedef struct sh_http_parser {
    sh_http_request_t *request; /* filled in; its arena is used */
    const sh_http_opts_t *opts; /* borrowed: the limits */
    llhttp_t llhttp;
    sh_http_stage_t stage;

    /* the head's scan; offsets count from the first byte of this request */
    sh_buf_t partial;          /* a head that came in pieces */
    size_t head_at;            /* past an empty line before the request line */
    size_t line_at, search_at; /* start of the current line; where its LF has not been looked for yet */
    size_t method_len, target_at, target_len;
    uint32_t lines; /* field lines so far */
    bool has_request_line;
    sh_http_header_t *headers;
    uint32_t header_count;

    bool head_whole, message_whole; /* set by llhttp's callbacks */
    bool is_1_1, chunked, expects_continue, discards;
    uint64_t content_length; /* 0 when absent */
    uint64_t body_bytes_max, body_bytes;
    uint64_t framing_bytes; /* of a chunked body: what is not body */
    sh_buf_t body;

    int bad_status;
    const char *bad_reason; /* static text */
} sh_http_parser_t;

/* `request` has an initialized, empty arena. */
void sh_http_parser_init(sh_http_parser_t *parser, sh_http_request_t *request, const sh_http_opts_t *opts);
/* Frees what the parser holds; also what request->body points to. */
void sh_http_parser_dispose(sh_http_parser_t *parser);
/* Takes bytes; *used tells how many belonged to this request. Must not be called after DONE or BAD. */
sh_http_event_t sh_http_parser_feed(sh_http_parser_t *parser, const char *bytes, size_t len, size_t *used) SH_MUSTCHECK;
/* After HEAD: does a body follow? */
static inline bool sh_http_parser_has_body(const sh_http_parser_t *parser) { return !parser->message_whole; }

#endif
