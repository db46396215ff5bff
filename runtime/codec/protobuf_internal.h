/* The inside of a descriptor set, shared by the protobuf files of this folder only. */
#ifndef SH_PROTOBUF_INTERNAL_H
#define SH_PROTOBUF_INTERNAL_H

#include "base/arena.h"
#include "base/map.h"
#include "codec/protobuf.h"

struct sh_protobuf_message {
    sh_str_t name, short_name;
    uint32_t field_count;
    bool has_parts;              /* a singular message among its fields */
    sh_protobuf_field_t *fields; /* by number */
    const sh_protobuf_field_t **by_name;
    const char **names; /* in the order of by_name; for suggestions */
};

struct sh_protobuf {
    sh_arena_t arena;
    sh_map_t messages; /* full name -> sh_protobuf_message_t */
    sh_map_t enums;    /* full name -> sh_protobuf_enum_t */
};

/* One field of an encoded message, whatever it means (protobuf.dev/programming-guides/encoding). */
typedef struct sh_protobuf_record {
    uint32_t number, wire;
    uint64_t varint; /* wire 0 */
    sh_str_t bytes;  /* wire 2; the 8 or 4 bytes of wires 1 and 5 */
} sh_protobuf_record_t;

/* Takes the next field off `in`. 1: taken; 0: the end; SH_EINVAL: malformed. */
int sh_protobuf_next(sh_str_t *in, sh_protobuf_record_t *out) SH_MUSTCHECK;

#endif
