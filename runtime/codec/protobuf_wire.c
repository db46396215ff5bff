/* Varints, fixed numbers and runs of bytes: the wire format, along the fields of a message. */
#include "codec/protobuf_wire.h"

#include "base/err.h"
#include "codec/json.h"
#include "codec/protobuf_internal.h"

#include <string.h>

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_LENGTH = 2, WIRE_32 = 5, VARINT_BYTES_MAX = 10 };

/* ---- reading */

static bool take_long_varint(sh_str_t *in, uint64_t *out) {
    uint64_t n = 0;
    for (size_t i = 0; i < in->len && i < VARINT_BYTES_MAX; i++) {
        uint8_t byte = (uint8_t)in->ptr[i];
        n |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte & 0x80) continue;
        if (i == VARINT_BYTES_MAX - 1 && byte > 1) return false;
        *in = sh_str(in->ptr + i + 1, in->len - i - 1);
        *out = n;
        return true;
    }
    return false;
}

/* Nearly all of them are one byte: tags, lengths, small numbers. */
static inline bool take_varint(sh_str_t *in, uint64_t *out) {
    if (in->len == 0 || (in->ptr[0] & 0x80)) return take_long_varint(in, out);
    *out = (uint8_t)in->ptr[0];
    *in = sh_str(in->ptr + 1, in->len - 1);
    return true;
}

static inline bool take_bytes(sh_str_t *in, uint64_t len, sh_str_t *out) {
    if (len > in->len) return false;
    *out = sh_str(in->ptr, len);
    *in = sh_str(in->ptr + len, in->len - len);
    return true;
}

/* The value behind a tag. */
static inline bool take_record(sh_str_t *in, sh_protobuf_record_t *out) {
    uint64_t len;
    switch (out->wire) {
    case WIRE_VARINT: return take_varint(in, &out->varint);
    case WIRE_LENGTH: return take_varint(in, &len) && take_bytes(in, len, &out->bytes);
    case WIRE_64: return take_bytes(in, 8, &out->bytes);
    case WIRE_32: return take_bytes(in, 4, &out->bytes);
    default: return false;
    }
}

static inline int next_record(sh_str_t *in, sh_protobuf_record_t *out) {
    uint64_t tag;
    if (in->len == 0) return 0;
    if (!take_varint(in, &tag) || tag > UINT32_MAX || tag >> 3 == 0) return SH_EINVAL;
    *out = (sh_protobuf_record_t){.number = (uint32_t)tag >> 3, .wire = (uint32_t)tag & 7};
    return take_record(in, out) ? 1 : SH_EINVAL;
}

int sh_protobuf_next(sh_str_t *in, sh_protobuf_record_t *out) { return next_record(in, out); }

static uint32_t wire_of(sh_protobuf_encoding_t encoding) {
    static const uint8_t wires[] = {[SH_PROTOBUF_VARINT] = WIRE_VARINT,
                                    [SH_PROTOBUF_ZIGZAG] = WIRE_VARINT,
                                    [SH_PROTOBUF_FIXED32] = WIRE_32,
                                    [SH_PROTOBUF_FIXED64] = WIRE_64,
                                    [SH_PROTOBUF_LENGTH] = WIRE_LENGTH};
    return wires[encoding];
}

/* Most often the field of the value before, or the one behind it. */
static const sh_protobuf_field_t *field_of_number(const sh_protobuf_reader_t *r, uint32_t number) {
    const sh_protobuf_field_t *fields = r->message->fields, *guess = r->field ? r->field : fields;
    uint32_t low = 0, high = r->message->field_count;
    for (int i = 0; i < 2 && guess < fields + high; i++, guess++)
        if (guess->number == number) return guess;
    while (low < high) {
        uint32_t mid = (low + high) / 2;
        if (fields[mid].number == number) return &fields[mid];
        if (fields[mid].number > number)
            high = mid;
        else
            low = mid + 1;
    }
    return NULL;
}

/* A number out of its bits; 32-bit kinds take the lower half of a varint, as the format says. */
static void set_number(const sh_protobuf_field_t *field, uint64_t bits, sh_protobuf_value_t *out) {
    if (field->encoding == SH_PROTOBUF_ZIGZAG) bits = (bits >> 1) ^ (0 - (bits & 1));
    switch (field->kind) {
    case SH_PROTOBUF_BOOL: out->boolean = bits != 0; break;
    case SH_PROTOBUF_INT32:
    case SH_PROTOBUF_ENUM: out->i64 = (int32_t)(uint32_t)bits; break;
    case SH_PROTOBUF_UINT32: out->u64 = (uint32_t)bits; break;
    case SH_PROTOBUF_FLOAT: {
        float number;
        uint32_t half = (uint32_t)bits;
        memcpy(&number, &half, sizeof number);
        out->number = (double)number;
        break;
    }
    default: out->u64 = bits; break; /* int64, uint64 and double lie in the value as they are */
    }
}

static uint64_t little_endian(sh_str_t bytes) {
    uint64_t bits = 0;
    for (size_t i = bytes.len; i-- > 0;) bits = bits << 8 | (uint8_t)bytes.ptr[i];
    return bits;
}

/* The next number of a packed list. */
static bool take_packed(sh_protobuf_reader_t *r, sh_protobuf_value_t *value) {
    sh_protobuf_record_t record = {.wire = wire_of(r->field->encoding)};
    if (!take_record(&r->run, &record)) return false;
    set_number(r->field, record.wire == WIRE_VARINT ? record.varint : little_endian(record.bytes), value);
    return true;
}

static bool is_text(sh_str_t s) { return !(s.len && memchr(s.ptr, 0, s.len)) && sh_utf8_is_valid(s); }

/* A message that stands twice would be merged, its lists copied again and again: quadratic work for whoever may send. */
static bool was_there(sh_protobuf_reader_t *r, const sh_protobuf_field_t *field) {
    uint64_t *word = &r->seen[field->place / 64], bit = 1ull << field->place % 64;
    bool was = *word & bit;
    *word |= bit;
    return was;
}

static bool take_value(sh_protobuf_reader_t *r, const sh_protobuf_record_t *record, sh_protobuf_value_t *value) {
    const sh_protobuf_field_t *field = r->field;
    switch (field->kind) {
    case SH_PROTOBUF_STRING: value->text = record->bytes; return is_text(record->bytes);
    case SH_PROTOBUF_BYTES: value->text = record->bytes; return true;
    case SH_PROTOBUF_MESSAGE: value->text = record->bytes; return field->is_repeated || !was_there(r, field);
    default: set_number(field, record->wire == WIRE_VARINT ? record->varint : little_endian(record->bytes), value); return true;
    }
}

static int begin(sh_protobuf_reader_t *r, const sh_protobuf_message_t *message, sh_str_t bytes, uint32_t depth) {
    if (depth > SH_PROTOBUF_DEPTH_MAX) return SH_ELIMIT;
    r->message = message;
    r->field = NULL;
    r->rest = bytes;
    r->run = SH_STR_NULL;
    r->depth = depth;
    if (message->has_parts) memset(r->seen, 0, sizeof r->seen);
    return SH_OK;
}

int sh_protobuf_reader_init(sh_protobuf_reader_t *r, const sh_protobuf_message_t *message, sh_str_t bytes) {
    r->values = 0;
    r->total = &r->values;
    return bytes.len > SH_PROTOBUF_BYTES_MAX ? SH_ELIMIT : begin(r, message, bytes, 1);
}

int sh_protobuf_reader_enter(sh_protobuf_reader_t *r, sh_protobuf_reader_t *above, sh_str_t bytes) {
    r->total = above->total;
    return begin(r, above->field->message, bytes, above->depth + 1);
}

int sh_protobuf_read(sh_protobuf_reader_t *r, const sh_protobuf_field_t **field, sh_protobuf_value_t *value) {
    sh_protobuf_record_t record;
    while (r->run.len == 0) {
        int rc = next_record(&r->rest, &record);
        if (rc <= 0) return rc;
        const sh_protobuf_field_t *found = field_of_number(r, record.number);
        if (found && found->is_repeated && record.wire == WIRE_LENGTH && found->encoding != SH_PROTOBUF_LENGTH) {
            r->field = found; /* numbers in lists are read packed and loose, however they are declared */
            r->run = record.bytes;
            continue;
        }
        if (++*r->total > SH_PROTOBUF_VALUES_MAX) return SH_ELIMIT;
        if (!found) continue;
        *field = r->field = found;
        return wire_of(found->encoding) == record.wire && take_value(r, &record, value) ? 1 : SH_EINVAL;
    }
    *field = r->field;
    if (!take_packed(r, value)) return SH_EINVAL;
    return ++*r->total > SH_PROTOBUF_VALUES_MAX ? SH_ELIMIT : 1;
}

/* ---- writing */

static char *write_varint(char *at, uint64_t n) {
    for (; n > 0x7f; n >>= 7) *at++ = (char)(n | 0x80);
    *at++ = (char)n;
    return at;
}

static void put_varint(sh_buf_t *out, uint64_t n) {
    char *at = sh_buf_reserve(out, VARINT_BYTES_MAX);
    out->len += (size_t)(write_varint(at, n) - at);
}

static void put_little_endian(sh_buf_t *out, uint64_t bits, size_t len) {
    char *at = sh_buf_reserve(out, len);
    for (size_t i = 0; i < len; i++, bits >>= 8) at[i] = (char)bits;
    out->len += len;
}

/* A number's bits before their encoding; false: it does not fit. */
static bool bits_of(const sh_protobuf_field_t *field, sh_protobuf_value_t value, uint64_t *out) {
    float single = 0;
    uint32_t half;
    switch (field->kind) {
    case SH_PROTOBUF_BOOL: *out = value.boolean; return true;
    case SH_PROTOBUF_INT32:
    case SH_PROTOBUF_ENUM: *out = value.u64; return value.i64 >= INT32_MIN && value.i64 <= INT32_MAX;
    case SH_PROTOBUF_UINT32: *out = value.u64; return value.u64 <= UINT32_MAX;
    case SH_PROTOBUF_FLOAT:
        single = (float)value.number;
        memcpy(&half, &single, sizeof half);
        *out = half;
        return true;
    default: *out = value.u64; return true;
    }
}

static void put_number(sh_buf_t *out, sh_protobuf_encoding_t encoding, uint64_t bits) {
    switch (encoding) {
    case SH_PROTOBUF_ZIGZAG: put_varint(out, (bits << 1) ^ (0 - (bits >> 63))); break;
    case SH_PROTOBUF_FIXED32: put_little_endian(out, bits, 4); break;
    case SH_PROTOBUF_FIXED64: put_little_endian(out, bits, 8); break;
    default: put_varint(out, bits); break;
    }
}

static void put_tag(sh_buf_t *out, const sh_protobuf_field_t *field, uint32_t wire) { put_varint(out, (uint64_t)field->number << 3 | wire); }

int sh_protobuf_put(sh_buf_t *out, const sh_protobuf_field_t *field, sh_protobuf_value_t value) {
    bool is_silent = !field->is_repeated && !field->has_presence; /* about its default */
    uint64_t bits;
    SH_ASSERT(field->kind != SH_PROTOBUF_MESSAGE);
    if (field->encoding == SH_PROTOBUF_LENGTH) {
        if (field->kind == SH_PROTOBUF_STRING && !is_text(value.text)) return SH_EINVAL;
        if (is_silent && value.text.len == 0) return SH_OK;
        put_tag(out, field, WIRE_LENGTH);
        put_varint(out, value.text.len);
        sh_buf_put_str(out, value.text);
        return SH_OK;
    }
    if (!bits_of(field, value, &bits)) return SH_EINVAL;
    if (is_silent && bits == 0) return SH_OK;
    if (!field->is_packed) put_tag(out, field, wire_of(field->encoding));
    put_number(out, field->encoding, bits);
    return SH_OK;
}

/* The length is known at the end; a byte is kept for it, which is enough below 128. */
size_t sh_protobuf_open(sh_buf_t *out, const sh_protobuf_field_t *field) {
    put_tag(out, field, WIRE_LENGTH);
    sh_buf_put_byte(out, 0);
    return out->len;
}

void sh_protobuf_close(sh_buf_t *out, size_t place) {
    char length[VARINT_BYTES_MAX];
    size_t inside = out->len - place, bytes = (size_t)(write_varint(length, inside) - length);
    if (bytes > 1) {
        sh_buf_reserve(out, bytes - 1);
        memmove(out->ptr + place + bytes - 1, out->ptr + place, inside);
        out->len += bytes - 1;
    }
    memcpy(out->ptr + place - 1, length, bytes);
}
