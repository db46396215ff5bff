/* Fuzzes what a NATS server sends: any bytes, cut at any place, must be read as in one piece, and headers are found without touching memory that is
 * not the message's. The first byte of the input is the size of the pieces. */
#include "net/nats_proto.h"

#include <stdlib.h>

enum { PAYLOAD_MAX = 1024, HEADERS_MAX = 8 };

typedef struct {
    uint64_t hash, events;
} verdict_t;

static void mix(verdict_t *v, sh_str_t text) { v->hash = v->hash * 31 + sh_str_hash(text); }

static void take_message(sh_nats_raw_t *msg, verdict_t *v) {
    sh_nats_header_t headers[HEADERS_MAX];
    uint32_t count = sh_nats_raw_headers(msg, headers, HEADERS_MAX);
    SH_ASSERT(sh_nats_raw_payload(msg).len <= PAYLOAD_MAX + SH_NATS_BLOCK_MAX);
    SH_ASSERT(!memchr(sh_nats_raw_subject(msg).ptr, '\r', msg->subject_len));
    mix(v, sh_nats_raw_subject(msg));
    mix(v, sh_nats_raw_reply(msg));
    mix(v, sh_nats_raw_payload(msg));
    for (uint32_t i = 0; i < count; i++) {
        SH_ASSERT(headers[i].name.len > 0 && !memchr(headers[i].value.ptr, '\n', headers[i].value.len));
        mix(v, headers[i].name);
        mix(v, headers[i].value);
    }
    (void)sh_nats_raw_header(msg, "Status");
    sh_nats_raw_destroy(msg);
}

/* True: the connection would be over. */
static bool feed(sh_nats_parser_t *parser, const char *bytes, size_t len, verdict_t *v) {
    char *copy = sh_alloc(len);
    size_t at = 0, used;
    sh_nats_event_t event;
    memcpy(copy, bytes, len);
    do {
        event = sh_nats_parser_feed(parser, copy + at, len - at, &used);
        at += used;
        SH_ASSERT(at <= len && (event != SH_NATS_EVENT_MORE || at == len));
        if (event != SH_NATS_EVENT_MORE) v->hash = v->hash * 31 + (uint64_t)event, v->events++;
        if (event == SH_NATS_EVENT_MSG) take_message(parser->msg, v);
        if (event == SH_NATS_EVENT_INFO || event == SH_NATS_EVENT_ERR || event == SH_NATS_EVENT_BAD) mix(v, parser->text);
        sh_nats_info_t info;
        if (event == SH_NATS_EVENT_INFO && sh_nats_info_read(parser->text, &info) == 0) SH_ASSERT(info.payload_max <= SH_NATS_PAYLOAD_CEILING);
    } while (event != SH_NATS_EVENT_MORE && event != SH_NATS_EVENT_BAD);
    free(copy);
    return event == SH_NATS_EVENT_BAD;
}

static verdict_t run(const char *bytes, size_t len, size_t step) {
    sh_nats_parser_t parser;
    verdict_t v = {0};
    bool is_over = false;
    sh_nats_parser_init(&parser, PAYLOAD_MAX);
    for (size_t at = 0; at < len && !is_over; at += step) {
        is_over = feed(&parser, bytes + at, len - at < step ? len - at : step, &v);
        if (len - at <= step) break;
    }
    sh_nats_parser_dispose(&parser);
    return v;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2) return 0;
    verdict_t whole = run((const char *)data + 1, size - 1, size), pieces = run((const char *)data + 1, size - 1, (size_t)data[0] + 1);
    SH_ASSERT(whole.hash == pieces.hash && whole.events == pieces.events);
    return 0;
}
