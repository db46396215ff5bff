/* Messages whose shapes are known only at load: descriptors read from what `protoc --descriptor_set_out` wrote. codec/protobuf_wire reads and
 * writes encoded messages by them.
 *
 *   a set      everything that the .proto files of one bundle declare; immutable, shared by all that holds a pointer to it
 *   a message  the shape of one message type, with its fields in the order of their numbers
 *
 * proto3 only. Refused at load, by name: proto2, groups, maps, real oneofs, extensions. `optional` is supported (a field with presence). */
#ifndef SH_PROTOBUF_H
#define SH_PROTOBUF_H

#include "base/base.h"
#include "base/str.h"

enum {
    SH_PROTOBUF_SET_BYTES_MAX = 4 << 20, /* of a descriptor set */
    SH_PROTOBUF_FIELDS_MAX = 512,        /* of a message type */
    SH_PROTOBUF_NAME_MAX = 255,          /* bytes of a full name */
    SH_PROTOBUF_DEPTH_MAX = 16,          /* messages inside messages, declared or encoded, the outermost counted */
};

typedef struct sh_protobuf sh_protobuf_t;
typedef struct sh_protobuf_message sh_protobuf_message_t;

/* Wire encodings of one C type (int32, sint32, sfixed32) are one kind. */
typedef enum sh_protobuf_kind {
    SH_PROTOBUF_BOOL,
    SH_PROTOBUF_INT32,
    SH_PROTOBUF_UINT32,
    SH_PROTOBUF_INT64,
    SH_PROTOBUF_UINT64,
    SH_PROTOBUF_FLOAT,
    SH_PROTOBUF_DOUBLE,
    SH_PROTOBUF_ENUM,
    SH_PROTOBUF_STRING,
    SH_PROTOBUF_BYTES,
    SH_PROTOBUF_MESSAGE,
} sh_protobuf_kind_t;

/* How a value lies on the wire. */
typedef enum sh_protobuf_encoding {
    SH_PROTOBUF_VARINT,
    SH_PROTOBUF_ZIGZAG, /* a varint too: sint32, sint64 */
    SH_PROTOBUF_FIXED32,
    SH_PROTOBUF_FIXED64,
    SH_PROTOBUF_LENGTH, /* strings, bytes, messages */
} sh_protobuf_encoding_t;

typedef struct sh_protobuf_enum {
    sh_str_t name;
    uint32_t count;
    const struct sh_protobuf_enum_value {
        sh_str_t name;
        int32_t number;
    } * values; /* in the order of the file */
} sh_protobuf_enum_t;

/* All slices have a NUL behind them. */
typedef struct sh_protobuf_field {
    sh_str_t name;
    uint32_t number;
    uint32_t place; /* in its message, by number, from 0 */
    sh_protobuf_kind_t kind;
    sh_protobuf_encoding_t encoding;
    bool is_repeated;
    bool is_packed;                        /* a list that is written as one run of numbers */
    bool has_presence;                     /* `optional`, or a singular message: unset is told from the default */
    const sh_protobuf_message_t *message;  /* of SH_PROTOBUF_MESSAGE */
    const sh_protobuf_enum_t *enumeration; /* of SH_PROTOBUF_ENUM */
} sh_protobuf_field_t;

/* Builds a set. SH_EINVAL (SH_ELIMIT) with a sentence in `err` that names file, message and field. Nothing of `descriptor_set` is kept. */
int sh_protobuf_create(sh_str_t descriptor_set, sh_protobuf_t **out, char *err, size_t err_size) SH_MUSTCHECK;
/* NULL is allowed. */
void sh_protobuf_destroy(sh_protobuf_t *pb);

/* By full name ("shama.events.LineItem"), or NULL. Lent by the set. */
const sh_protobuf_message_t *sh_protobuf_find(const sh_protobuf_t *pb, sh_str_t full_name);
/* The message of an event: "quotation.approved" is shama.events.QuotationApprovedEvent, "stock.reservation_rejected"
 * is shama.events.StockReservationRejectedEvent. NULL when there is none. */
const sh_protobuf_message_t *sh_protobuf_of_subject(const sh_protobuf_t *pb, sh_str_t subject);
/* The full name with the smallest edit distance, or NULL: for "did you mean". */
const char *sh_protobuf_nearest(const sh_protobuf_t *pb, const char *full_name);

sh_str_t sh_protobuf_name(const sh_protobuf_message_t *message);       /* "shama.events.LineItem" */
sh_str_t sh_protobuf_short_name(const sh_protobuf_message_t *message); /* "LineItem" */
uint32_t sh_protobuf_field_count(const sh_protobuf_message_t *message);
/* By place, in the order of numbers. */
const sh_protobuf_field_t *sh_protobuf_field_at(const sh_protobuf_message_t *message, uint32_t place);
const sh_protobuf_field_t *sh_protobuf_field(const sh_protobuf_message_t *message, sh_str_t name);
const char *sh_protobuf_nearest_field(const sh_protobuf_message_t *message, const char *name);
/* "int32", "string", or the short name of the message or enum. Never NULL. */
const char *sh_protobuf_type_text(const sh_protobuf_field_t *field);

#endif
