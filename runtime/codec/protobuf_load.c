/* Reads a FileDescriptorSet (google/protobuf/descriptor.proto) into messages and their fields.
 *
 * Two passes: the first gives every message and enum its name, the second builds fields, whose types may stand further down or in
 * another file. Only the few members of descriptor.proto that matter here are read; their numbers stand in the enums below. */
#include "codec/protobuf.h"

#include "base/err.h"
#include "codec/protobuf_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SET_FILE = 1 };
enum { FILE_NAME = 1, FILE_PACKAGE = 2, FILE_MESSAGE = 4, FILE_ENUM = 5, FILE_EXTENSION = 7, FILE_SYNTAX = 12 };
enum { MESSAGE_NAME = 1, MESSAGE_FIELD = 2, MESSAGE_NESTED = 3, MESSAGE_ENUM = 4, MESSAGE_EXTENSION = 6, MESSAGE_OPTIONS = 7, MESSAGE_MAP_ENTRY = 7 };
enum {
    FIELD_NAME = 1,
    FIELD_NUMBER = 3,
    FIELD_LABEL = 4,
    FIELD_TYPE = 5,
    FIELD_TYPE_NAME = 6,
    FIELD_OPTIONS = 8,
    FIELD_ONEOF = 9,
    FIELD_OPTIONAL = 17,
    FIELD_PACKED = 2
};
enum { ENUM_NAME = 1, ENUM_VALUE = 2, VALUE_NAME = 1, VALUE_NUMBER = 2 };
enum { LABEL_REQUIRED = 2, LABEL_REPEATED = 3, TYPE_GROUP = 10, NUMBER_MAX = (1 << 29) - 1 };

/* A declaration before its fields are built. */
typedef struct pending {
    sh_protobuf_message_t *message;
    sh_str_t bytes;
    struct pending *next;
} pending_t;

typedef struct load {
    sh_protobuf_t *pb;
    pending_t *pending;
    sh_str_t file;
    char *err;
    size_t err_size;
} load_t;

/* A field as the descriptor has it. */
typedef struct raw_field {
    sh_str_t name, type_name;
    uint64_t number, label, type;
    bool is_packed, in_oneof, is_optional;
} raw_field_t;

SH_PRINTF(2, 3) static int refuse(load_t *l, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    vsnprintf(l->err, l->err_size, fmt, args);
    va_end(args);
    return SH_EINVAL;
}

static int malformed(load_t *l) { return refuse(l, "this is no descriptor set: write it with protoc --include_imports --descriptor_set_out"); }

/* Letters, digits, '_' and, in full names, '.'; so a name can be printed, and used as a C string. */
static bool is_name(sh_str_t s, bool dots) {
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || (dots && c == '.'))) return false;
    }
    return s.len > 0 && s.len <= SH_PROTOBUF_NAME_MAX;
}

/* Adds scope + '.' + name; the copy lives in the set. */
static int full_name(load_t *l, sh_str_t scope, sh_str_t name, sh_str_t *out) {
    if (!is_name(name, false) || scope.len + name.len + 1 > SH_PROTOBUF_NAME_MAX) return malformed(l);
    char *text = scope.len ? sh_arena_printf(&l->pb->arena, "%.*s.%.*s", (int)scope.len, scope.ptr, (int)name.len, name.ptr)
                           : sh_arena_printf(&l->pb->arena, "%.*s", (int)name.len, name.ptr);
    *out = sh_str_of(text);
    if (sh_map_get(&l->pb->messages, *out) || sh_map_get(&l->pb->enums, *out))
        return refuse(l, "%.*s: %s is declared twice", (int)l->file.len, l->file.ptr, text);
    return SH_OK;
}

/* ---- first pass: names */

static int add_enum_values(load_t *l, sh_str_t bytes, sh_protobuf_enum_t *e) {
    struct sh_protobuf_enum_value *values = sh_arena_calloc(&l->pb->arena, e->count * sizeof *values);
    sh_protobuf_record_t r, v;
    uint32_t n = 0;
    int rc;
    e->values = values;
    while ((rc = sh_protobuf_next(&bytes, &r)) > 0) {
        if (r.number != ENUM_VALUE) continue;
        sh_str_t value = r.bytes;
        while ((rc = sh_protobuf_next(&value, &v)) > 0) {
            if (v.number == VALUE_NAME) values[n].name = sh_arena_str(&l->pb->arena, v.bytes);
            if (v.number == VALUE_NUMBER) values[n].number = (int32_t)v.varint;
        }
        if (rc || !is_name(values[n++].name, false)) return malformed(l);
    }
    return rc ? malformed(l) : SH_OK;
}

static int add_enum(load_t *l, sh_str_t scope, sh_str_t bytes) {
    sh_protobuf_enum_t *e = SH_ARENA_NEW(&l->pb->arena, sh_protobuf_enum_t);
    sh_str_t rest = bytes, name = SH_STR_NULL, full;
    sh_protobuf_record_t r;
    int rc;
    while ((rc = sh_protobuf_next(&rest, &r)) > 0) {
        if (r.number == ENUM_NAME) name = r.bytes;
        e->count += r.number == ENUM_VALUE;
    }
    if (rc) return malformed(l);
    if ((rc = full_name(l, scope, name, &full))) return rc;
    e->name = sh_arena_str(&l->pb->arena, name);
    if ((rc = add_enum_values(l, bytes, e))) return rc;
    if (e->count == 0 || e->values[0].number != 0) return refuse(l, "%.*s: the first value of %s must be 0", (int)l->file.len, l->file.ptr, full.ptr);
    sh_map_set(&l->pb->enums, full, e);
    return SH_OK;
}

static bool is_map_entry(sh_str_t options) {
    sh_protobuf_record_t r;
    while (sh_protobuf_next(&options, &r) > 0)
        if (r.number == MESSAGE_MAP_ENTRY && r.varint) return true;
    return false;
}

static int add_message(load_t *l, sh_str_t scope, sh_str_t bytes, int depth) {
    sh_str_t rest = bytes, name = SH_STR_NULL, full;
    sh_protobuf_record_t r;
    int rc;
    if (depth > SH_PROTOBUF_DEPTH_MAX) return refuse(l, "%.*s: messages are declared inside messages too deeply", (int)l->file.len, l->file.ptr);
    while ((rc = sh_protobuf_next(&rest, &r)) > 0)
        if (r.number == MESSAGE_NAME) name = r.bytes;
    if (rc) return malformed(l);
    if ((rc = full_name(l, scope, name, &full))) return rc;
    pending_t *p = SH_ARENA_NEW(&l->pb->arena, pending_t);
    p->message = SH_ARENA_NEW(&l->pb->arena, sh_protobuf_message_t);
    p->message->name = full;
    p->message->short_name = sh_arena_str(&l->pb->arena, name);
    p->bytes = bytes;
    p->next = l->pending;
    l->pending = p;
    sh_map_set(&l->pb->messages, full, p->message);
    for (rest = bytes; (rc = sh_protobuf_next(&rest, &r)) > 0;) {
        if (r.number == MESSAGE_EXTENSION) return refuse(l, "%.*s: %s: extensions are not supported", (int)l->file.len, l->file.ptr, full.ptr);
        if (r.number == MESSAGE_OPTIONS && is_map_entry(r.bytes))
            return refuse(l, "%.*s: %.*s: maps are not supported; use a repeated message with a key and a value", (int)l->file.len, l->file.ptr,
                          (int)scope.len, scope.ptr);
        if (r.number == MESSAGE_NESTED && (rc = add_message(l, full, r.bytes, depth + 1))) return rc;
        if (r.number == MESSAGE_ENUM && (rc = add_enum(l, full, r.bytes))) return rc;
    }
    return SH_OK;
}

static int add_file(load_t *l, sh_str_t bytes) {
    sh_str_t rest = bytes, package = SH_STR_NULL, syntax = SH_STR_NULL;
    sh_protobuf_record_t r;
    int rc;
    l->file = SH_STR("?");
    while ((rc = sh_protobuf_next(&rest, &r)) > 0) {
        if (r.number == FILE_NAME) l->file = r.bytes;
        if (r.number == FILE_PACKAGE) package = r.bytes;
        if (r.number == FILE_SYNTAX) syntax = r.bytes;
    }
    if (rc || (package.len && !is_name(package, true))) return malformed(l);
    if (!sh_str_eq(syntax, SH_STR("proto3")))
        return refuse(l, "%.*s: only proto3 is supported; begin it with syntax = \"proto3\";", (int)l->file.len, l->file.ptr);
    for (rest = bytes; (rc = sh_protobuf_next(&rest, &r)) > 0;) {
        if (r.number == FILE_EXTENSION) return refuse(l, "%.*s: extensions are not supported", (int)l->file.len, l->file.ptr);
        if (r.number == FILE_MESSAGE && (rc = add_message(l, package, r.bytes, 1))) return rc;
        if (r.number == FILE_ENUM && (rc = add_enum(l, package, r.bytes))) return rc;
    }
    return SH_OK;
}

/* ---- second pass: fields */

static int read_field(load_t *l, sh_str_t bytes, raw_field_t *out) {
    sh_protobuf_record_t r, option;
    int rc;
    *out = (raw_field_t){.is_packed = true}; /* proto3's default */
    while ((rc = sh_protobuf_next(&bytes, &r)) > 0) {
        switch (r.number) {
        case FIELD_NAME: out->name = r.bytes; break;
        case FIELD_NUMBER: out->number = r.varint; break;
        case FIELD_LABEL: out->label = r.varint; break;
        case FIELD_TYPE: out->type = r.varint; break;
        case FIELD_TYPE_NAME: out->type_name = r.bytes; break;
        case FIELD_ONEOF: out->in_oneof = true; break;
        case FIELD_OPTIONAL: out->is_optional = r.varint != 0; break;
        case FIELD_OPTIONS:
            for (sh_str_t options = r.bytes; (rc = sh_protobuf_next(&options, &option)) > 0;)
                if (option.number == FIELD_PACKED) out->is_packed = option.varint != 0;
            if (rc) return malformed(l);
            break;
        default: break;
        }
    }
    return rc || !is_name(out->name, false) ? malformed(l) : SH_OK;
}

/* FieldDescriptorProto.Type, from 1 on. */
static const struct {
    sh_protobuf_kind_t kind;
    sh_protobuf_encoding_t encoding;
} types[] = {
    [1] = {SH_PROTOBUF_DOUBLE, SH_PROTOBUF_FIXED64}, [2] = {SH_PROTOBUF_FLOAT, SH_PROTOBUF_FIXED32},
    [3] = {SH_PROTOBUF_INT64, SH_PROTOBUF_VARINT},   [4] = {SH_PROTOBUF_UINT64, SH_PROTOBUF_VARINT},
    [5] = {SH_PROTOBUF_INT32, SH_PROTOBUF_VARINT},   [6] = {SH_PROTOBUF_UINT64, SH_PROTOBUF_FIXED64},
    [7] = {SH_PROTOBUF_UINT32, SH_PROTOBUF_FIXED32}, [8] = {SH_PROTOBUF_BOOL, SH_PROTOBUF_VARINT},
    [9] = {SH_PROTOBUF_STRING, SH_PROTOBUF_LENGTH},  [11] = {SH_PROTOBUF_MESSAGE, SH_PROTOBUF_LENGTH},
    [12] = {SH_PROTOBUF_BYTES, SH_PROTOBUF_LENGTH},  [13] = {SH_PROTOBUF_UINT32, SH_PROTOBUF_VARINT},
    [14] = {SH_PROTOBUF_ENUM, SH_PROTOBUF_VARINT},   [15] = {SH_PROTOBUF_INT32, SH_PROTOBUF_FIXED32},
    [16] = {SH_PROTOBUF_INT64, SH_PROTOBUF_FIXED64}, [17] = {SH_PROTOBUF_INT32, SH_PROTOBUF_ZIGZAG},
    [18] = {SH_PROTOBUF_INT64, SH_PROTOBUF_ZIGZAG},
};

static int build_field(load_t *l, const char *where, const raw_field_t *raw, sh_protobuf_field_t *field) {
    const char *name = (field->name = sh_arena_str(&l->pb->arena, raw->name)).ptr;
    if (raw->type == TYPE_GROUP) return refuse(l, "%s.%s: groups are not supported", where, name);
    if (raw->type == 0 || raw->type >= SH_ARRAY_LEN(types)) return malformed(l);
    if (raw->label == LABEL_REQUIRED) return refuse(l, "%s.%s: required fields are not supported", where, name);
    if (raw->in_oneof && !raw->is_optional) return refuse(l, "%s.%s: oneof is not supported", where, name);
    if (raw->number == 0 || raw->number > NUMBER_MAX) return malformed(l);
    field->number = (uint32_t)raw->number;
    field->kind = types[raw->type].kind;
    field->encoding = types[raw->type].encoding;
    field->is_repeated = raw->label == LABEL_REPEATED;
    field->is_packed = field->is_repeated && raw->is_packed && field->encoding != SH_PROTOBUF_LENGTH;
    field->has_presence = !field->is_repeated && (raw->is_optional || field->kind == SH_PROTOBUF_MESSAGE);
    sh_str_t type_name = raw->type_name.len ? sh_str(raw->type_name.ptr + 1, raw->type_name.len - 1) : SH_STR_NULL; /* begins with '.' */
    if (field->kind == SH_PROTOBUF_MESSAGE) field->message = sh_map_get(&l->pb->messages, type_name);
    if (field->kind == SH_PROTOBUF_ENUM) field->enumeration = sh_map_get(&l->pb->enums, type_name);
    if ((field->kind == SH_PROTOBUF_MESSAGE && !field->message) || (field->kind == SH_PROTOBUF_ENUM && !field->enumeration))
        return refuse(l, "%s.%s: its type %.*s is not in the set; write it with --include_imports", where, name, (int)raw->type_name.len,
                      raw->type_name.ptr);
    return SH_OK;
}

static int by_number(const void *a, const void *b) {
    uint64_t x = ((const raw_field_t *)a)->number, y = ((const raw_field_t *)b)->number;
    return x < y ? -1 : x > y;
}

static int by_name(const void *a, const void *b) {
    return strcmp((*(const sh_protobuf_field_t *const *)a)->name.ptr, (*(const sh_protobuf_field_t *const *)b)->name.ptr);
}

static void index_names(sh_arena_t *arena, sh_protobuf_message_t *m) {
    m->by_name = sh_arena_calloc(arena, (m->field_count + 1) * sizeof *m->by_name);
    m->names = sh_arena_calloc(arena, (m->field_count + 1) * sizeof *m->names);
    for (uint32_t i = 0; i < m->field_count; i++) m->by_name[i] = &m->fields[i];
    qsort(m->by_name, m->field_count, sizeof *m->by_name, by_name);
    for (uint32_t i = 0; i < m->field_count; i++) m->names[i] = m->by_name[i]->name.ptr;
}

static int build_message(load_t *l, sh_protobuf_message_t *m, sh_str_t bytes) {
    raw_field_t *raw = sh_calloc(SH_PROTOBUF_FIELDS_MAX, sizeof *raw);
    sh_protobuf_record_t r;
    uint32_t n = 0;
    int rc;
    while ((rc = sh_protobuf_next(&bytes, &r)) > 0) {
        if (r.number != MESSAGE_FIELD) continue;
        if (n == SH_PROTOBUF_FIELDS_MAX)
            rc = refuse(l, "%s: more than %d fields", m->name.ptr, SH_PROTOBUF_FIELDS_MAX);
        else
            rc = read_field(l, r.bytes, &raw[n++]);
        if (rc) goto done;
    }
    qsort(raw, n, sizeof *raw, by_number);
    m->field_count = n;
    m->fields = sh_arena_calloc(&l->pb->arena, (n + 1) * sizeof *m->fields);
    for (uint32_t i = 0; i < n; i++) {
        if ((rc = build_field(l, m->name.ptr, &raw[i], &m->fields[i]))) goto done;
        m->fields[i].place = i;
        m->has_parts = m->has_parts || (m->fields[i].kind == SH_PROTOBUF_MESSAGE && !m->fields[i].is_repeated);
        if (i && m->fields[i].number == m->fields[i - 1].number) {
            rc = refuse(l, "%s: the number %u stands twice", m->name.ptr, m->fields[i].number);
            goto done;
        }
    }
    index_names(&l->pb->arena, m);
    for (uint32_t i = 1; i < n; i++)
        if (strcmp(m->names[i], m->names[i - 1]) == 0) rc = refuse(l, "%s: the field %s stands twice", m->name.ptr, m->names[i]);
done:
    free(raw);
    return rc;
}

int sh_protobuf_create(sh_str_t descriptor_set, sh_protobuf_t **out, char *err, size_t err_size) {
    sh_protobuf_t *pb = sh_calloc(1, sizeof *pb);
    load_t l = {.pb = pb, .err = err, .err_size = err_size};
    sh_protobuf_record_t r;
    int rc = SH_OK;
    sh_arena_init(&pb->arena);
    sh_map_init(&pb->messages);
    sh_map_init(&pb->enums);
    if (descriptor_set.len > SH_PROTOBUF_SET_BYTES_MAX) {
        snprintf(err, err_size, "the descriptor set has more than %d bytes", SH_PROTOBUF_SET_BYTES_MAX);
        rc = SH_ELIMIT;
    }
    for (sh_str_t rest = descriptor_set; rc == SH_OK && rest.len;) {
        if (sh_protobuf_next(&rest, &r) < 0)
            rc = malformed(&l);
        else if (r.number == SET_FILE)
            rc = add_file(&l, r.bytes);
    }
    if (rc == SH_OK && pb->messages.count == 0) rc = refuse(&l, "the descriptor set declares no message");
    for (pending_t *p = l.pending; p && rc == SH_OK; p = p->next) rc = build_message(&l, p->message, p->bytes);
    if (rc) {
        sh_protobuf_destroy(pb);
        return rc;
    }
    *out = pb;
    return SH_OK;
}

void sh_protobuf_destroy(sh_protobuf_t *pb) {
    if (!pb) return;
    sh_map_dispose(&pb->messages);
    sh_map_dispose(&pb->enums);
    sh_arena_dispose(&pb->arena);
    free(pb);
}
