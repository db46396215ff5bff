/* Messages whose shapes are known only at load: descriptors read from what `protoc --descriptor_set_out` wrote, packing and unpacking by
 * libprotobuf-c.
 *
 * Three kinds of things:
 *   a set      everything that the .proto files of one bundle declare; immutable, shared by all that holds a pointer to it
 *   a message  the shape of one message type, with its fields in the order of their numbers
 *   an instance  a C struct laid out as libprotobuf-c wants it, in an arena; only the functions here know its offsets
 *
 * proto3 only. Refused at load, by name: proto2, groups, maps, real oneofs, extensions. `optional` is supported (a field with presence).
 * Stricter than the format at unpacking, since only our own peers write here: a singular message field may stand once, strings
 * hold no NUL (libprotobuf-c ends them there), and sizes are bounded by the limits below. */
#ifndef SH_PROTOBUF_H
#define SH_PROTOBUF_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/str.h"

enum {
    SH_PROTOBUF_BYTES_MAX = 1 << 20,     /* of an encoded message */
    SH_PROTOBUF_DEPTH_MAX = 16,          /* messages inside messages, the outermost counted */
    SH_PROTOBUF_VALUES_MAX = 100000,     /* field values of an encoded message, all levels together */
    SH_PROTOBUF_SET_BYTES_MAX = 4 << 20, /* of a descriptor set */
    SH_PROTOBUF_FIELDS_MAX = 512,        /* of a message type */
    SH_PROTOBUF_NAME_MAX = 255,          /* bytes of a full name */
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
    sh_protobuf_kind_t kind;
    bool is_repeated;
    bool has_presence;                     /* `optional`, or a singular message: unset is told from the default */
    const sh_protobuf_message_t *message;  /* of SH_PROTOBUF_MESSAGE */
    const sh_protobuf_enum_t *enumeration; /* of SH_PROTOBUF_ENUM */
    uint32_t offset, quantifier;           /* in the instance: the member, and its count or presence */
} sh_protobuf_field_t;

/* One value. Which member counts is the field's kind: i64 for int32, int64 and enum; u64 for uint32 and uint64; number for float and
 * double; text for string and bytes. */
typedef union sh_protobuf_value {
    bool boolean;
    int64_t i64;
    uint64_t u64;
    double number;
    sh_str_t text;
    void *message;
} sh_protobuf_value_t;

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

/* A new instance with every field unset; it lives in the arena. */
void *sh_protobuf_new(const sh_protobuf_message_t *message, sh_arena_t *arena);
/* Sets a singular field; text is copied into the arena, a message is not. SH_EINVAL: an int32, uint32 or enum value that does not fit,
 * a string that is not UTF-8 or holds a NUL. */
int sh_protobuf_set(void *instance, const sh_protobuf_field_t *field, sh_protobuf_value_t value, sh_arena_t *arena) SH_MUSTCHECK;
/* Gives a repeated field `count` places, to be filled with sh_protobuf_set_at() before packing. SH_ELIMIT. */
int sh_protobuf_resize(void *instance, const sh_protobuf_field_t *field, size_t count, sh_arena_t *arena) SH_MUSTCHECK;
int sh_protobuf_set_at(void *instance, const sh_protobuf_field_t *field, size_t at, sh_protobuf_value_t value, sh_arena_t *arena) SH_MUSTCHECK;

/* Is it there? A repeated field: has it any; a field without presence: is it not the default. */
bool sh_protobuf_has(const void *instance, const sh_protobuf_field_t *field);
size_t sh_protobuf_count(const void *instance, const sh_protobuf_field_t *field); /* of a repeated field */
/* The default where nothing is set (message: NULL). Text is lent as long as the instance lives. */
sh_protobuf_value_t sh_protobuf_get(const void *instance, const sh_protobuf_field_t *field);
sh_protobuf_value_t sh_protobuf_get_at(const void *instance, const sh_protobuf_field_t *field, size_t at);

/* Appends the encoded instance. SH_ELIMIT: more than SH_PROTOBUF_BYTES_MAX; nothing is appended then. */
int sh_protobuf_pack(const void *instance, sh_buf_t *out) SH_MUSTCHECK;
/* Decodes into a new instance in the arena; text points into the arena, not into `bytes`. Unknown fields are skipped.
 * SH_EINVAL: not an encoding of this message; SH_ELIMIT. */
int sh_protobuf_unpack(const sh_protobuf_message_t *message, sh_str_t bytes, sh_arena_t *arena, void **out) SH_MUSTCHECK;

#endif
