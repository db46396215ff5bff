/* What a set declares: messages by name and by subject, fields by name and by place. */
#include "codec/protobuf.h"

#include "base/err.h"
#include "codec/protobuf_internal.h"

#include <stdlib.h>
#include <string.h>

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
