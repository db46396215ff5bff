/* Feeds bytes to the protobuf side twice: as an encoded message of a small set, which must come out the same when it is read and written
 * again, and as a descriptor set. The set here is written by hand (FileDescriptorSet in wire format), so that the fuzzer needs no files:
 *   message M { string s = 1; repeated int32 n = 2; M m = 3; repeated M r = 4; bytes b = 5; double d = 6; optional int64 o = 7; repeated string t =
 * 8; } */
#include "base/err.h"
#include "../support/protobuf.h"

#include <stdlib.h>

#define FIELD(name, number, label, type) "\x12\x09\x0a\x01" name "\x18" number "\x20" label "\x28" type
#define FIELD_M(name, number, label) "\x12\x0d\x0a\x01" name "\x18" number "\x20" label "\x28\x0b\x32\x02.M"
#define MESSAGE                                                                                                                                      \
    "\x0a\x01M" FIELD("s", "\x01", "\x01", "\x09") FIELD("n", "\x02", "\x03", "\x05") FIELD_M("m", "\x03", "\x01") FIELD_M("r", "\x04", "\x03")      \
        FIELD("b", "\x05", "\x01", "\x0c")                                                                                                           \
            FIELD("d", "\x06", "\x01", "\x01") "\x12\x0e\x0a\x01o\x18\x07\x20\x01\x28\x03\x48\x00\x88\x01\x01" FIELD("t", "\x08", "\x03", "\x09")

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The set: one file, without a package, in proto3. */
static sh_protobuf_t *make(void) {
    static const char message[] = MESSAGE, syntax[] = "\x62\x06proto3";
    sh_buf_t file = {0}, set = {0};
    sh_protobuf_t *pb = NULL;
    char err[256];
    sh_buf_put_lit(&file, "\x0a\x01"
                          "f\x22");
    sh_buf_put_byte(&file, (char)(sizeof message - 1));
    sh_buf_put(&file, message, sizeof message - 1);
    sh_buf_put(&file, syntax, sizeof syntax - 1);
    sh_buf_put_byte(&set, 0x0a);
    SH_ASSERT(file.len < 128); /* lengths of one byte */
    sh_buf_put_byte(&set, (char)file.len);
    sh_buf_put_str(&set, sh_buf_str(&file));
    SH_ASSERT(sh_protobuf_create(sh_buf_str(&set), &pb, err, sizeof err) == SH_OK);
    sh_buf_dispose(&file);
    sh_buf_dispose(&set);
    return pb;
}

static int copy(const sh_protobuf_message_t *message, sh_str_t bytes, sh_buf_t *out) {
    sh_protobuf_reader_t reader;
    int rc = sh_protobuf_reader_init(&reader, message, bytes);
    return rc ? rc : sh_test_protobuf_copy(&reader, out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static sh_protobuf_t *pb;
    if (!pb) pb = make();
    const sh_protobuf_message_t *m = sh_protobuf_find(pb, SH_STR("M"));
    sh_buf_t once = {0}, twice = {0}, thrice = {0};
    if (copy(m, sh_str((const char *)data, size), &once) == SH_OK) {
        /* The second time, runs of a list come together that had only a default between them. */
        SH_ASSERT(copy(m, sh_buf_str(&once), &twice) == SH_OK && copy(m, sh_buf_str(&twice), &thrice) == SH_OK);
        SH_ASSERT(sh_str_eq(sh_buf_str(&twice), sh_buf_str(&thrice)));
    }
    sh_buf_dispose(&once);
    sh_buf_dispose(&twice);
    sh_buf_dispose(&thrice);

    sh_protobuf_t *other;
    char err[256];
    if (sh_protobuf_create(sh_str((const char *)data, size), &other, err, sizeof err) == SH_OK) sh_protobuf_destroy(other);
    return 0;
}
