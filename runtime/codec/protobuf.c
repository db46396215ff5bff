/* Instances: set and read by offsets, checked before libprotobuf-c unpacks them, packed by it. */
#include "codec/protobuf.h"

#include "base/err.h"
#include "codec/json.h"
#include "codec/protobuf_internal.h"

#include <stdlib.h>
#include <string.h>

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_LENGTH = 2, WIRE_32 = 5, VARINT_BYTES_MAX = 10 };

/* ---- the wire */

static bool take_varint(sh_str_t *in, uint64_t *out) {
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

static bool take_bytes(sh_str_t *in, uint64_t len, sh_str_t *out) {
    if (len > in->len) return false;
    *out = sh_str(in->ptr, len);
    *in = sh_str(in->ptr + len, in->len - len);
    return true;
}

int sh_protobuf_next(sh_str_t *in, sh_protobuf_record_t *out) {
    uint64_t tag, len;
    if (in->len == 0) return 0;
    if (!take_varint(in, &tag) || tag > UINT32_MAX || tag >> 3 == 0) return SH_EINVAL;
    out->number = (uint32_t)tag >> 3;
    out->wire = (uint32_t)tag & 7;
    out->varint = 0;
    out->bytes = SH_STR_NULL;
    bool ok = false;
    if (out->wire == WIRE_VARINT) ok = take_varint(in, &out->varint);
    if (out->wire == WIRE_LENGTH) ok = take_varint(in, &len) && take_bytes(in, len, &out->bytes);
    if (out->wire == WIRE_64) ok = take_bytes(in, 8, &out->bytes);
    if (out->wire == WIRE_32) ok = take_bytes(in, 4, &out->bytes);
    return ok ? 1 : SH_EINVAL;
}

/* ---- what a set declares */

const sh_protobuf_message_t *sh_protobuf_find(const sh_protobuf_t *pb, sh_str_t full_name) { return sh_map_get(&pb->messages, full_name); }

const sh_protobuf_message_t *sh_protobuf_of_subject(const sh_protobuf_t *pb, sh_str_t subject) {
    static const char package[] = "shama.events.", suffix[] = "Event";
    char name[SH_PROTOBUF_NAME_MAX];
    size_t n = sizeof package - 1;
    bool word_starts = true;
    if (subject.len + sizeof package + sizeof suffix > sizeof name) return NULL;
    memcpy(name, package, n);
    for (size_t i = 0; i < subject.len; i++) {
        char c = subject.ptr[i];
        bool is_gap = c == '.' || c == '_';
        if (is_gap && word_starts) return NULL;
        if (!is_gap) name[n++] = word_starts && c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
        word_starts = is_gap;
    }
    if (word_starts) return NULL;
    memcpy(name + n, suffix, sizeof suffix - 1);
    return sh_protobuf_find(pb, sh_str(name, n + sizeof suffix - 1));
}

const char *sh_protobuf_nearest(const sh_protobuf_t *pb, const char *full_name) {
    size_t cursor = 0, n = 0;
    const char **names = sh_alloc((pb->messages.count + 1) * sizeof *names);
    for (sh_map_entry_t *e; (e = sh_map_next(&pb->messages, &cursor));) names[n++] = e->key;
    const char *nearest = sh_str_nearest(full_name, names, n);
    free(names);
    return nearest;
}

sh_str_t sh_protobuf_name(const sh_protobuf_message_t *message) { return message->name; }
sh_str_t sh_protobuf_short_name(const sh_protobuf_message_t *message) { return message->short_name; }
uint32_t sh_protobuf_field_count(const sh_protobuf_message_t *message) { return message->field_count; }

const sh_protobuf_field_t *sh_protobuf_field_at(const sh_protobuf_message_t *message, uint32_t place) {
    SH_ASSERT(place < message->field_count);
    return &message->fields[place];
}

const sh_protobuf_field_t *sh_protobuf_field(const sh_protobuf_message_t *message, sh_str_t name) {
    size_t low = 0, high = message->field_count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        sh_str_t at = message->by_name[mid]->name;
        int order = memcmp(name.ptr, at.ptr, name.len < at.len ? name.len : at.len);
        if (order == 0 && name.len == at.len) return message->by_name[mid];
        if (order < 0 || (order == 0 && name.len < at.len))
            high = mid;
        else
            low = mid + 1;
    }
    return NULL;
}

const char *sh_protobuf_nearest_field(const sh_protobuf_message_t *message, const char *name) {
    return sh_str_nearest(name, message->names, message->field_count);
}

const char *sh_protobuf_type_text(const sh_protobuf_field_t *field) {
    switch (field->kind) {
    case SH_PROTOBUF_BOOL: return "bool";
    case SH_PROTOBUF_INT32: return "int32";
    case SH_PROTOBUF_UINT32: return "uint32";
    case SH_PROTOBUF_INT64: return "int64";
    case SH_PROTOBUF_UINT64: return "uint64";
    case SH_PROTOBUF_FLOAT: return "float";
    case SH_PROTOBUF_DOUBLE: return "double";
    case SH_PROTOBUF_STRING: return "string";
    case SH_PROTOBUF_BYTES: return "bytes";
    case SH_PROTOBUF_ENUM: return field->enumeration->name.ptr;
    case SH_PROTOBUF_MESSAGE: return field->message->short_name.ptr;
    }
    SH_ASSERT(false);
}

/* ---- members of instances */

size_t sh_protobuf_size_of(sh_protobuf_kind_t kind) {
    switch (kind) {
    case SH_PROTOBUF_BOOL: return sizeof(protobuf_c_boolean);
    case SH_PROTOBUF_INT32:
    case SH_PROTOBUF_UINT32:
    case SH_PROTOBUF_FLOAT:
    case SH_PROTOBUF_ENUM: return 4;
    case SH_PROTOBUF_INT64:
    case SH_PROTOBUF_UINT64:
    case SH_PROTOBUF_DOUBLE: return 8;
    case SH_PROTOBUF_STRING:
    case SH_PROTOBUF_MESSAGE: return sizeof(void *);
    case SH_PROTOBUF_BYTES: return sizeof(ProtobufCBinaryData);
    }
    SH_ASSERT(false);
}

static void *member(void *instance, uint32_t offset) { return (char *)instance + offset; }
static const void *const_member(const void *instance, uint32_t offset) { return (const char *)instance + offset; }

static int put_text(void *at, sh_protobuf_kind_t kind, sh_str_t text, sh_arena_t *arena) {
    if (kind == SH_PROTOBUF_STRING && ((text.len && memchr(text.ptr, 0, text.len)) || !sh_utf8_is_valid(text))) return SH_EINVAL;
    sh_str_t copy = sh_arena_str(arena, text);
    if (kind == SH_PROTOBUF_STRING)
        *(const char **)at = copy.ptr;
    else
        *(ProtobufCBinaryData *)at = (ProtobufCBinaryData){copy.len, (uint8_t *)(uintptr_t)copy.ptr};
    return SH_OK;
}

static int put(void *at, sh_protobuf_kind_t kind, sh_protobuf_value_t value, sh_arena_t *arena) {
    switch (kind) {
    case SH_PROTOBUF_BOOL: *(protobuf_c_boolean *)at = value.boolean; break;
    case SH_PROTOBUF_INT32:
    case SH_PROTOBUF_ENUM:
        if (value.i64 < INT32_MIN || value.i64 > INT32_MAX) return SH_EINVAL;
        *(int32_t *)at = (int32_t)value.i64;
        break;
    case SH_PROTOBUF_UINT32:
        if (value.u64 > UINT32_MAX) return SH_EINVAL;
        *(uint32_t *)at = (uint32_t)value.u64;
        break;
    case SH_PROTOBUF_INT64: *(int64_t *)at = value.i64; break;
    case SH_PROTOBUF_UINT64: *(uint64_t *)at = value.u64; break;
    case SH_PROTOBUF_FLOAT: *(float *)at = (float)value.number; break;
    case SH_PROTOBUF_DOUBLE: *(double *)at = value.number; break;
    case SH_PROTOBUF_STRING:
    case SH_PROTOBUF_BYTES: return put_text(at, kind, value.text, arena);
    case SH_PROTOBUF_MESSAGE: *(void **)at = value.message; break;
    }
    return SH_OK;
}

static sh_protobuf_value_t take(const void *at, sh_protobuf_kind_t kind) {
    sh_protobuf_value_t v = {0};
    switch (kind) {
    case SH_PROTOBUF_BOOL: v.boolean = *(const protobuf_c_boolean *)at != 0; break;
    case SH_PROTOBUF_INT32:
    case SH_PROTOBUF_ENUM: v.i64 = *(const int32_t *)at; break;
    case SH_PROTOBUF_UINT32: v.u64 = *(const uint32_t *)at; break;
    case SH_PROTOBUF_INT64: v.i64 = *(const int64_t *)at; break;
    case SH_PROTOBUF_UINT64: v.u64 = *(const uint64_t *)at; break;
    case SH_PROTOBUF_FLOAT: v.number = (double)*(const float *)at; break;
    case SH_PROTOBUF_DOUBLE: v.number = *(const double *)at; break;
    case SH_PROTOBUF_STRING: {
        const char *text = *(const char *const *)at;
        v.text = text ? sh_str_of(text) : SH_STR("");
        break;
    }
    case SH_PROTOBUF_BYTES: {
        const ProtobufCBinaryData *data = at;
        v.text = data->len ? sh_str((const char *)data->data, data->len) : SH_STR("");
        break;
    }
    case SH_PROTOBUF_MESSAGE: v.message = *(void *const *)at; break;
    }
    return v;
}

static bool is_pointer(const sh_protobuf_field_t *field) { return field->kind == SH_PROTOBUF_STRING || field->kind == SH_PROTOBUF_MESSAGE; }

void *sh_protobuf_new(const sh_protobuf_message_t *message, sh_arena_t *arena) {
    ProtobufCMessage *instance = sh_arena_calloc(arena, message->c.sizeof_message);
    instance->descriptor = &message->c;
    return instance;
}

int sh_protobuf_set(void *instance, const sh_protobuf_field_t *field, sh_protobuf_value_t value, sh_arena_t *arena) {
    SH_ASSERT(!field->is_repeated);
    int rc = put(member(instance, field->offset), field->kind, value, arena);
    if (rc == SH_OK && field->has_presence && !is_pointer(field)) *(protobuf_c_boolean *)member(instance, field->quantifier) = 1;
    return rc;
}

int sh_protobuf_resize(void *instance, const sh_protobuf_field_t *field, size_t count, sh_arena_t *arena) {
    SH_ASSERT(field->is_repeated);
    if (count > SH_PROTOBUF_VALUES_MAX) return SH_ELIMIT;
    *(size_t *)member(instance, field->quantifier) = count;
    *(void **)member(instance, field->offset) = count ? sh_arena_calloc(arena, count * sh_protobuf_size_of(field->kind)) : NULL;
    return SH_OK;
}

int sh_protobuf_set_at(void *instance, const sh_protobuf_field_t *field, size_t at, sh_protobuf_value_t value, sh_arena_t *arena) {
    SH_ASSERT(at < sh_protobuf_count(instance, field));
    char *array = *(char **)member(instance, field->offset);
    return put(array + at * sh_protobuf_size_of(field->kind), field->kind, value, arena);
}

size_t sh_protobuf_count(const void *instance, const sh_protobuf_field_t *field) {
    SH_ASSERT(field->is_repeated);
    return *(const size_t *)const_member(instance, field->quantifier);
}

sh_protobuf_value_t sh_protobuf_get(const void *instance, const sh_protobuf_field_t *field) {
    SH_ASSERT(!field->is_repeated);
    return take(const_member(instance, field->offset), field->kind);
}

sh_protobuf_value_t sh_protobuf_get_at(const void *instance, const sh_protobuf_field_t *field, size_t at) {
    SH_ASSERT(at < sh_protobuf_count(instance, field));
    const char *array = *(const char *const *)const_member(instance, field->offset);
    return take(array + at * sh_protobuf_size_of(field->kind), field->kind);
}

bool sh_protobuf_has(const void *instance, const sh_protobuf_field_t *field) {
    if (field->is_repeated) return sh_protobuf_count(instance, field) > 0;
    if (field->has_presence && is_pointer(field)) return *(void *const *)const_member(instance, field->offset) != NULL;
    if (field->has_presence) return *(const protobuf_c_boolean *)const_member(instance, field->quantifier) != 0;
    sh_protobuf_value_t v = sh_protobuf_get(instance, field);
    switch (field->kind) {
    case SH_PROTOBUF_BOOL: return v.boolean;
    case SH_PROTOBUF_FLOAT:
    case SH_PROTOBUF_DOUBLE: return v.number != 0;
    case SH_PROTOBUF_STRING:
    case SH_PROTOBUF_BYTES: return v.text.len > 0;
    default: return v.u64 != 0;
    }
}

/* ---- packing */

int sh_protobuf_pack(const void *instance, sh_buf_t *out) {
    size_t size = protobuf_c_message_get_packed_size(instance);
    if (size > SH_PROTOBUF_BYTES_MAX) return SH_ELIMIT;
    if (size == 0) return SH_OK; /* nothing is set */
    out->len += protobuf_c_message_pack(instance, (uint8_t *)sh_buf_reserve(out, size));
    return SH_OK;
}

/* ---- unpacking: first a walk that allocates nothing and refuses what libprotobuf-c would take without bound */

static const sh_protobuf_field_t *field_of_number(const sh_protobuf_message_t *message, uint32_t number) {
    size_t low = 0, high = message->field_count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (message->fields[mid].number == number) return &message->fields[mid];
        if (message->fields[mid].number > number)
            high = mid;
        else
            low = mid + 1;
    }
    return NULL;
}

static uint32_t wire_of(ProtobufCType type) {
    switch (type) {
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT: return WIRE_32;
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE: return WIRE_64;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE: return WIRE_LENGTH;
    default: return WIRE_VARINT;
    }
}

/* A packed run of numbers: whole values only. Returns how many, or SH_EINVAL. */
static int count_packed(sh_str_t run, uint32_t wire) {
    uint64_t ignored;
    int n = 0;
    if (wire == WIRE_32 || wire == WIRE_64) {
        size_t size = wire == WIRE_32 ? 4 : 8;
        return run.len % size ? SH_EINVAL : (int)(run.len / size);
    }
    for (; run.len; n++)
        if (!take_varint(&run, &ignored)) return SH_EINVAL;
    return n;
}

static int check(const sh_protobuf_message_t *message, sh_str_t bytes, int depth, int *values);

/* Returns how many values the record has, or negative. */
static int check_record(const sh_protobuf_message_t *message, const sh_protobuf_field_t *field, const sh_protobuf_record_t *r, int depth,
                        int *values) {
    uint32_t wire = wire_of(message->c.fields[field - message->fields].type);
    if (wire != r->wire) return field->is_repeated && wire != WIRE_LENGTH && r->wire == WIRE_LENGTH ? count_packed(r->bytes, wire) : SH_EINVAL;
    int rc = SH_OK;
    if (field->kind == SH_PROTOBUF_STRING && ((r->bytes.len && memchr(r->bytes.ptr, 0, r->bytes.len)) || !sh_utf8_is_valid(r->bytes))) rc = SH_EINVAL;
    if (field->kind == SH_PROTOBUF_MESSAGE) rc = check(field->message, r->bytes, depth + 1, values);
    return rc ? rc : 1;
}

static int check(const sh_protobuf_message_t *message, sh_str_t bytes, int depth, int *values) {
    uint64_t seen[SH_PROTOBUF_FIELDS_MAX / 64] = {0};
    sh_protobuf_record_t r;
    int rc;
    if (depth > SH_PROTOBUF_DEPTH_MAX) return SH_ELIMIT;
    while ((rc = sh_protobuf_next(&bytes, &r)) > 0) {
        const sh_protobuf_field_t *field = field_of_number(message, r.number);
        int n = field ? check_record(message, field, &r, depth, values) : 1;
        if (n < 0) return n;
        *values += n;
        if (*values > SH_PROTOBUF_VALUES_MAX) return SH_ELIMIT;
        if (!field || field->is_repeated || field->kind != SH_PROTOBUF_MESSAGE) continue;
        /* Merging its parts copies their lists again and again: quadratic work for whoever may send. */
        size_t place = (size_t)(field - message->fields);
        if (seen[place / 64] >> (place % 64) & 1) return SH_EINVAL;
        seen[place / 64] |= 1ull << (place % 64);
    }
    return rc;
}

static void *arena_alloc(void *arena, size_t size) { return sh_arena_alloc(arena, size); }
static void arena_free(void *arena, void *ptr) { (void)arena, (void)ptr; }

int sh_protobuf_unpack(const sh_protobuf_message_t *message, sh_str_t bytes, sh_arena_t *arena, void **out) {
    ProtobufCAllocator allocator = {arena_alloc, arena_free, arena};
    int values = 0;
    if (bytes.len > SH_PROTOBUF_BYTES_MAX) return SH_ELIMIT;
    int rc = check(message, bytes, 1, &values);
    if (rc) return rc;
    void *instance = protobuf_c_message_unpack(&message->c, &allocator, bytes.len, (const uint8_t *)bytes.ptr);
    if (!instance) return SH_EINVAL;
    *out = instance;
    return SH_OK;
}
