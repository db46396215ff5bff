/* Parses operations in place where they come whole, which nearly all do; a line or a message that is cut goes on with the next bytes.
 *
 *     line ──(MSG, HMSG)──▶ filling the message ──CRLF──▶ line          line ──(any other)──▶ line
 *
 * A message's memory is taken when its head is known and filled as its bytes come, so that each byte is copied once. */
#include "net/nats_proto.h"

#include "base/err.h"
#include "codec/json.h"

enum { TOKENS_MAX = 5 };

#define BLOCK_FIRST_LINE "NATS/1.0\r\n"

void sh_nats_parser_init(sh_nats_parser_t *parser, size_t payload_max) { *parser = (sh_nats_parser_t){.payload_max = payload_max}; }

void sh_nats_parser_dispose(sh_nats_parser_t *parser) {
    sh_nats_raw_destroy(parser->filling);
    sh_buf_dispose(&parser->line);
    *parser = (sh_nats_parser_t){0};
}

static sh_nats_event_t bad(sh_nats_parser_t *parser, const char *rule) {
    parser->text = sh_str_of(rule);
    return SH_NATS_EVENT_BAD;
}

/* --- a message --- */

static bool is_blank(char c) { return c == ' ' || c == '\t'; }

/* At most TOKENS_MAX; more are told as one more, which no operation has. */
static uint32_t split(sh_str_t args, sh_str_t out[TOKENS_MAX]) {
    const char *at = args.ptr, *end = args.ptr + args.len;
    uint32_t count = 0;
    for (;;) {
        while (at < end && is_blank(*at)) at++;
        if (at == end) return count;
        if (count == TOKENS_MAX) return TOKENS_MAX + 1;
        const char *from = at;
        while (at < end && !is_blank(*at)) at++;
        out[count++] = sh_str(from, (size_t)(at - from));
    }
}

static bool read_size(sh_str_t digits, size_t max, size_t *out) {
    int64_t number;
    if (sh_str_to_i64(digits, &number) != 0 || number < 0 || (uint64_t)number > max) return false;
    *out = (size_t)number;
    return true;
}

/* <subject> <sid> [reply] <total>, or with headers <subject> <sid> [reply] <block> <total>. */
static sh_nats_event_t begin_message(sh_nats_parser_t *parser, sh_str_t args, bool has_block) {
    sh_str_t tokens[TOKENS_MAX];
    uint32_t count = split(args, tokens), least = has_block ? 4 : 3;
    size_t block = 0, total, max = parser->payload_max + SH_NATS_BLOCK_MAX;
    if (count != least && count != least + 1) return bad(parser, "a message's line has too few or too many words");
    if (!read_size(tokens[count - 1], max, &total)) return bad(parser, "a message's size is no number, or too large");
    if (has_block && !read_size(tokens[count - 2], total, &block)) return bad(parser, "the size of a message's headers is no number, or too large");
    sh_str_t reply = count > least ? tokens[2] : SH_STR_NULL;
    parser->filling = sh_nats_raw_alloc(tokens[0], reply, block, total - block);
    parser->filled = 0;
    return SH_NATS_EVENT_MORE;
}

/* The bytes behind the line; the CRLF is counted, and checked, but not kept. */
static sh_nats_event_t fill(sh_nats_parser_t *parser, const char *bytes, size_t len, size_t *used) {
    sh_nats_raw_t *msg = parser->filling;
    size_t total = (size_t)msg->block_len + msg->payload_len, at = 0;
    if (parser->filled < total) {
        size_t missing = total - parser->filled;
        at = len < missing ? len : missing;
        memcpy(sh_nats_raw_block(msg) + parser->filled, bytes, at);
        parser->filled += at;
    }
    for (; at < len && parser->filled < total + 2; at++, parser->filled++)
        if (bytes[at] != (parser->filled == total ? '\r' : '\n')) return bad(parser, "a message is longer than its line says");
    *used += at;
    if (parser->filled < total + 2) return SH_NATS_EVENT_MORE;
    parser->filling = NULL;
    parser->msg = msg;
    return SH_NATS_EVENT_MSG;
}

/* --- lines --- */

static sh_str_t unquote(sh_str_t text) {
    bool is_quoted = text.len >= 2 && text.ptr[0] == '\'' && text.ptr[text.len - 1] == '\'';
    return is_quoted ? sh_str(text.ptr + 1, text.len - 2) : text;
}

/* One line without its CRLF. MORE: it began a message. */
static sh_nats_event_t read_line(sh_nats_parser_t *parser, sh_str_t line) {
    size_t len = 0;
    if (memchr(line.ptr, '\r', line.len) || memchr(line.ptr, 0, line.len)) return bad(parser, "a line has a CR or NUL in it");
    while (len < line.len && !is_blank(line.ptr[len])) len++;
    sh_str_t operation = sh_str(line.ptr, len), args = sh_str(line.ptr + len, line.len - len);
    if (sh_str_eq_nocase(operation, SH_STR("MSG"))) return begin_message(parser, args, false);
    if (sh_str_eq_nocase(operation, SH_STR("HMSG"))) return begin_message(parser, args, true);
    while (args.len && is_blank(args.ptr[0])) args = sh_str(args.ptr + 1, args.len - 1);
    if (sh_str_eq_nocase(operation, SH_STR("INFO"))) {
        parser->text = args;
        return SH_NATS_EVENT_INFO;
    }
    if (sh_str_eq_nocase(operation, SH_STR("-ERR"))) {
        parser->text = unquote(args);
        return SH_NATS_EVENT_ERR;
    }
    if (args.len) return bad(parser, "unknown operation");
    if (sh_str_eq_nocase(operation, SH_STR("PING"))) return SH_NATS_EVENT_PING;
    if (sh_str_eq_nocase(operation, SH_STR("PONG"))) return SH_NATS_EVENT_PONG;
    if (sh_str_eq_nocase(operation, SH_STR("+OK"))) return SH_NATS_EVENT_OK;
    return bad(parser, "unknown operation");
}

static bool has_prefix_nocase(sh_str_t text, sh_str_t prefix) {
    return text.len >= prefix.len && sh_str_eq_nocase(sh_str(text.ptr, prefix.len), prefix);
}

static bool is_too_long(sh_str_t line) {
    return line.len > SH_NATS_LINE_MAX && line.len > (has_prefix_nocase(line, SH_STR("INFO")) ? SH_NATS_INFO_MAX : SH_NATS_LINE_MAX);
}

static sh_nats_event_t take_line(sh_nats_parser_t *parser, const char *bytes, size_t len, size_t *used) {
    const char *newline = memchr(bytes, '\n', len);
    size_t taken = newline ? (size_t)(newline - bytes) + 1 : len;
    sh_str_t line = sh_str(bytes, taken);
    if (parser->is_line_over) sh_buf_clear(&parser->line);
    parser->is_line_over = false;
    if (!newline || parser->line.len) {
        sh_buf_put(&parser->line, bytes, taken);
        line = sh_buf_str(&parser->line);
    }
    *used += taken;
    if (is_too_long(line)) return bad(parser, "a line is too long");
    if (!newline) return SH_NATS_EVENT_MORE;
    parser->is_line_over = true;
    if (line.len < 2 || line.ptr[line.len - 2] != '\r') return bad(parser, "a line does not end with CRLF");
    return read_line(parser, sh_str(line.ptr, line.len - 2));
}

sh_nats_event_t sh_nats_parser_feed(sh_nats_parser_t *parser, const char *bytes, size_t len, size_t *used) {
    *used = 0;
    while (*used < len) {
        const char *rest = bytes + *used;
        size_t rest_len = len - *used;
        sh_nats_event_t event = parser->filling ? fill(parser, rest, rest_len, used) : take_line(parser, rest, rest_len, used);
        if (event != SH_NATS_EVENT_MORE) return event;
    }
    return SH_NATS_EVENT_MORE;
}

bool sh_nats_is_survivable(sh_str_t reason) {
    return has_prefix_nocase(reason, SH_STR("Permissions Violation")) || has_prefix_nocase(reason, SH_STR("Invalid Subject"));
}

/* --- INFO --- */

static bool is_true(const sh_json_value_t *object, const char *key) {
    const sh_json_value_t *value = sh_json_get(object, key);
    return value && value->kind == SH_JSON_TRUE;
}

int sh_nats_info_read(sh_str_t json, sh_nats_info_t *out) {
    sh_arena_t arena;
    sh_json_value_t *info;
    sh_json_error_t error;
    sh_arena_init(&arena);
    int status = sh_json_read(&arena, json, SH_JSON_LIMITS_DEFAULT, &info, &error);
    const sh_json_value_t *max = status ? NULL : sh_json_get(info, "max_payload");
    if (max && max->kind == SH_JSON_INTEGER && max->i64 > 0) {
        *out = (sh_nats_info_t){
            .payload_max = max->i64 < SH_NATS_PAYLOAD_CEILING ? (size_t)max->i64 : SH_NATS_PAYLOAD_CEILING,
            .has_headers = is_true(info, "headers"),
            .is_tls_required = is_true(info, "tls_required"),
            .is_tls_available = is_true(info, "tls_available"),
        };
    } else {
        status = SH_EINVAL;
    }
    sh_arena_dispose(&arena);
    return status ? SH_EINVAL : 0;
}

/* --- writing --- */

/* What a byte may not be part of. */
enum { NO_VALUE = 1, NO_NAME = 2, NO_SUBJECT = 4 };

static const unsigned char forbidden[256] = {
    [0] = NO_VALUE | NO_NAME | NO_SUBJECT,
    [1 ... '\b'] = NO_SUBJECT,
    ['\t'] = NO_NAME | NO_SUBJECT,
    ['\n'] = NO_VALUE | NO_NAME | NO_SUBJECT,
    ['\v' ... '\f'] = NO_SUBJECT,
    ['\r'] = NO_VALUE | NO_NAME | NO_SUBJECT,
    [14 ... 31] = NO_SUBJECT,
    [' '] = NO_NAME | NO_SUBJECT,
    [':'] = NO_NAME,
    [0x7f] = NO_SUBJECT,
};

static bool is_free_of(sh_str_t text, unsigned char use) {
    unsigned char seen = 0;
    for (size_t i = 0; i < text.len; i++) seen |= forbidden[(unsigned char)text.ptr[i]];
    return !(seen & use);
}

bool sh_nats_is_subject(sh_str_t subject) {
    if (!subject.len || subject.ptr[0] == '.' || subject.ptr[subject.len - 1] == '.') return false;
    return !memmem(subject.ptr, subject.len, "..", 2) && is_free_of(subject, NO_SUBJECT);
}

bool sh_nats_is_header(const sh_nats_header_t *header) {
    return header->name.len && is_free_of(header->name, NO_NAME) && is_free_of(header->value, NO_VALUE);
}

size_t sh_nats_block_len(const sh_nats_header_t *headers, uint32_t count) {
    size_t len = sizeof(BLOCK_FIRST_LINE) - 1 + 2;
    for (uint32_t i = 0; i < count; i++) len += headers[i].name.len + headers[i].value.len + 4;
    return count ? len : 0;
}

static char *put(char *at, sh_str_t text) {
    if (text.len) memcpy(at, text.ptr, text.len);
    return at + text.len;
}

#define PUT_LIT(at, literal) put((at), SH_STR(literal))

char *sh_nats_block_write(char *at, const sh_nats_header_t *headers, uint32_t count) {
    if (!count) return at;
    at = PUT_LIT(at, BLOCK_FIRST_LINE);
    for (uint32_t i = 0; i < count; i++) {
        at = put(at, headers[i].name);
        at = PUT_LIT(at, ": ");
        at = put(at, headers[i].value);
        at = PUT_LIT(at, "\r\n");
    }
    return PUT_LIT(at, "\r\n");
}

void sh_nats_write_publish(sh_buf_t *out, sh_str_t subject, sh_str_t reply, const sh_nats_header_t *headers, uint32_t header_count,
                           sh_str_t payload) {
    size_t block_len = sh_nats_block_len(headers, header_count);
    if (header_count)
        sh_buf_put_lit(out, "HPUB ");
    else
        sh_buf_put_lit(out, "PUB ");
    sh_buf_put_str(out, subject);
    sh_buf_put_byte(out, ' ');
    if (reply.len) {
        sh_buf_put_str(out, reply);
        sh_buf_put_byte(out, ' ');
    }
    if (header_count) {
        sh_buf_put_u64(out, block_len);
        sh_buf_put_byte(out, ' ');
    }
    sh_buf_put_u64(out, block_len + payload.len);
    char *at = sh_buf_reserve(out, block_len + payload.len + 4);
    char *end = PUT_LIT(put(sh_nats_block_write(PUT_LIT(at, "\r\n"), headers, header_count), payload), "\r\n");
    out->len += (size_t)(end - at);
}
