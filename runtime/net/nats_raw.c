/* Lays a message out, and looks headers up by reading through the block: there are few, and most are never asked for.
 *
 * The broker hands a block on as the publisher wrote it, so one that is malformed is no fault of the connection: what cannot be read is no header. */
#include "net/nats_raw.h"

#include "net/nats_proto.h"

#include <stdlib.h>

sh_nats_raw_t *sh_nats_raw_alloc(sh_str_t subject, sh_str_t reply, size_t block_len, size_t payload_len) {
    sh_nats_raw_t *raw = sh_alloc(sizeof(*raw) + subject.len + reply.len + 2 + block_len + payload_len);
    *raw = (sh_nats_raw_t){(uint32_t)subject.len, (uint32_t)reply.len, (uint32_t)block_len, (uint32_t)payload_len};
    memcpy(raw->bytes, subject.ptr, subject.len);
    raw->bytes[subject.len] = 0;
    char *at = raw->bytes + subject.len + 1;
    if (reply.len) memcpy(at, reply.ptr, reply.len);
    at[reply.len] = 0;
    return raw;
}

char *sh_nats_raw_block(sh_nats_raw_t *raw) { return raw->bytes + raw->subject_len + raw->reply_len + 2; }

sh_nats_raw_t *sh_nats_raw_create(const char *subject, const char *reply, const sh_nats_header_t *headers, uint32_t header_count, sh_str_t payload) {
    if (!sh_nats_is_subject(sh_str_of(subject)) || (reply && !sh_nats_is_subject(sh_str_of(reply)))) return NULL;
    for (uint32_t i = 0; i < header_count; i++)
        if (!sh_nats_is_header(&headers[i])) return NULL;
    size_t block_len = sh_nats_block_len(headers, header_count);
    sh_nats_raw_t *raw = sh_nats_raw_alloc(sh_str_of(subject), sh_str_of(reply), block_len, payload.len);
    char *at = sh_nats_block_write(sh_nats_raw_block(raw), headers, header_count);
    if (payload.len) memcpy(at, payload.ptr, payload.len);
    return raw;
}

void sh_nats_raw_destroy(sh_nats_raw_t *raw) { free(raw); }

sh_str_t sh_nats_raw_subject(const sh_nats_raw_t *raw) { return sh_str(raw->bytes, raw->subject_len); }
sh_str_t sh_nats_raw_reply(const sh_nats_raw_t *raw) { return sh_str(raw->bytes + raw->subject_len + 1, raw->reply_len); }

static sh_str_t block_of(const sh_nats_raw_t *raw) { return sh_str(raw->bytes + raw->subject_len + raw->reply_len + 2, raw->block_len); }

sh_str_t sh_nats_raw_payload(const sh_nats_raw_t *raw) {
    sh_str_t block = block_of(raw);
    return sh_str(block.ptr + block.len, raw->payload_len);
}

/* --- headers --- */

static sh_str_t trim(sh_str_t text) {
    while (text.len && (text.ptr[0] == ' ' || text.ptr[0] == '\t')) text = sh_str(text.ptr + 1, text.len - 1);
    while (text.len && (text.ptr[text.len - 1] == ' ' || text.ptr[text.len - 1] == '\t')) text.len--;
    return text;
}

/* Takes the next line off the block, without its CRLF; false when there is none. */
static bool take_line(sh_str_t *block, sh_str_t *line) {
    const char *end = block->len ? memchr(block->ptr, '\n', block->len) : NULL;
    if (!end) return false;
    size_t len = (size_t)(end - block->ptr);
    *line = sh_str(block->ptr, len && end[-1] == '\r' ? len - 1 : len);
    *block = sh_str(end + 1, block->len - len - 1);
    return true;
}

/* Takes the next header off the lines behind the status line. */
static bool take_header(sh_str_t *lines, sh_nats_header_t *out) {
    sh_str_t line;
    while (take_line(lines, &line)) {
        const char *colon = line.len ? memchr(line.ptr, ':', line.len) : NULL;
        if (!colon || colon == line.ptr) continue;
        size_t len = (size_t)(colon - line.ptr);
        *out = (sh_nats_header_t){sh_str(line.ptr, len), trim(sh_str(colon + 1, line.len - len - 1))};
        return true;
    }
    return false;
}

/* "NATS/1.0", perhaps a code and words behind it, which come out as two headers; the block is left behind that line. */
static uint32_t take_status(sh_str_t *block, sh_nats_header_t out[2]) {
    sh_str_t line, version = SH_STR("NATS/1.0");
    if (!take_line(block, &line) || !sh_str_has_prefix(line, version)) {
        *block = SH_STR_NULL;
        return 0;
    }
    sh_str_t rest = trim(sh_str(line.ptr + version.len, line.len - version.len));
    if (!rest.len) return 0;
    size_t len = 0;
    while (len < rest.len && rest.ptr[len] != ' ') len++;
    out[0] = (sh_nats_header_t){SH_STR("Status"), sh_str(rest.ptr, len)};
    out[1] = (sh_nats_header_t){SH_STR("Description"), trim(sh_str(rest.ptr + len, rest.len - len))};
    return out[1].value.len ? 2 : 1;
}

sh_str_t sh_nats_raw_header(const sh_nats_raw_t *raw, const char *name) {
    sh_str_t block = block_of(raw), wanted = sh_str_of(name);
    sh_nats_header_t status[2], header;
    uint32_t count = take_status(&block, status);
    for (uint32_t i = 0; i < count; i++)
        if (sh_str_eq(status[i].name, wanted)) return status[i].value;
    while (take_header(&block, &header))
        if (sh_str_eq(header.name, wanted)) return header.value;
    return SH_STR_NULL;
}

static bool is_among(const sh_nats_header_t *headers, uint32_t count, sh_str_t name) {
    for (uint32_t i = 0; i < count; i++)
        if (sh_str_eq(headers[i].name, name)) return true;
    return false;
}

uint32_t sh_nats_raw_headers(const sh_nats_raw_t *raw, sh_nats_header_t *out, uint32_t max) {
    sh_str_t block = block_of(raw);
    sh_nats_header_t status[2], header;
    uint32_t found = take_status(&block, status), count = 0;
    for (uint32_t i = 0; i < found && count < max; i++) out[count++] = status[i];
    while (count < max && take_header(&block, &header))
        if (!is_among(out, count, header.name)) out[count++] = header;
    return count;
}
