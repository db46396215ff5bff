/* Encoded messages, read and written a value at a time along their descriptors: what a value becomes is the caller's, nothing lies in between.
 *
 * Reading is stricter than the format, since only our own peers write here: a singular message field may stand once, strings are UTF-8 and
 * hold no NUL, a field has the wire type of its declaration, and the limits below hold. Unknown fields are skipped.
 * What is written has the form that protoc writes when fields are put in the order of their numbers. */
#ifndef SH_PROTOBUF_WIRE_H
#define SH_PROTOBUF_WIRE_H

#include "base/buf.h"
#include "codec/protobuf.h"

enum {
    SH_PROTOBUF_BYTES_MAX = 1 << 20, /* of an encoded message */
    SH_PROTOBUF_VALUES_MAX = 100000, /* field values of an encoded message, all levels together */
};

/* One value. Which member counts is the field's kind: i64 for int32, int64 and enum; u64 for uint32 and uint64; number for float and
 * double; text for string, bytes and a message that is read (its encoding). */
typedef union sh_protobuf_value {
    bool boolean;
    int64_t i64;
    uint64_t u64;
    double number;
    sh_str_t text;
} sh_protobuf_value_t;

/* ---- reading */

/* Where a walk over one message stands; on the caller's stack, nothing to dispose of. */
typedef struct sh_protobuf_reader {
    const sh_protobuf_message_t *message;
    const sh_protobuf_field_t *field; /* of the value before */
    sh_str_t rest, run;               /* what is left of the message, and of a packed list in it */
    uint32_t depth;
    uint32_t values, *total;                    /* read so far; total is the outermost reader's */
    uint64_t seen[SH_PROTOBUF_FIELDS_MAX / 64]; /* singular messages that were there; set up where there can be one */
} sh_protobuf_reader_t;

/* Begins with a whole message; `bytes` is borrowed while it is read. SH_ELIMIT: it is too long. */
int sh_protobuf_reader_init(sh_protobuf_reader_t *reader, const sh_protobuf_message_t *message, sh_str_t bytes) SH_MUSTCHECK;
/* Begins with the message that `above` has just read as a value. SH_ELIMIT: too deep. */
int sh_protobuf_reader_enter(sh_protobuf_reader_t *reader, sh_protobuf_reader_t *above, sh_str_t bytes) SH_MUSTCHECK;
/* 1: `field` and `value` are the next, in the order of the wire, elements of lists one by one; text is lent by the bytes. The last value of a
 * singular field counts. 0: the end. SH_EINVAL: no encoding of this message; SH_ELIMIT. Does not look inside the messages that it hands out. */
int sh_protobuf_read(sh_protobuf_reader_t *reader, const sh_protobuf_field_t **field, sh_protobuf_value_t *value) SH_MUSTCHECK;

/* ---- writing */

/* Appends a value, but for the default of a singular field without presence, which is said by silence. Elements of a packed list go between open
 * and close. SH_EINVAL: an int32, uint32 or enum value that does not fit, a string that is not UTF-8 or holds a NUL; nothing is appended then. */
int sh_protobuf_put(sh_buf_t *out, const sh_protobuf_field_t *field, sh_protobuf_value_t value) SH_MUSTCHECK;
/* Begins a message or a packed list: what is put until sh_protobuf_close() with the returned place is inside. */
size_t sh_protobuf_open(sh_buf_t *out, const sh_protobuf_field_t *field);
void sh_protobuf_close(sh_buf_t *out, size_t place);

#endif
