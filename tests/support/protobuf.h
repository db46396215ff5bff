/* Reads a whole encoded message and writes it again: what both sides of codec/protobuf_wire are tried by. */
#ifndef SH_TEST_PROTOBUF_H
#define SH_TEST_PROTOBUF_H

#include "base/err.h"
#include "codec/protobuf_wire.h"

/* Appends what `reader` reads; every message is entered. `out` NULL: reads only. Returns what the first failing call said. */
static inline int sh_test_protobuf_copy(sh_protobuf_reader_t *reader, sh_buf_t *out) {
    const sh_protobuf_field_t *field, *list = NULL;
    sh_protobuf_reader_t inside;
    sh_protobuf_value_t value;
    size_t run = 0;
    int rc;
    while ((rc = sh_protobuf_read(reader, &field, &value)) > 0) {
        if (out && field != list) {
            if (list) sh_protobuf_close(out, run);
            list = field->is_packed ? field : NULL;
            if (list) run = sh_protobuf_open(out, field);
        }
        if (field->kind != SH_PROTOBUF_MESSAGE) {
            rc = out ? sh_protobuf_put(out, field, value) : SH_OK;
        } else if ((rc = sh_protobuf_reader_enter(&inside, reader, value.text)) == SH_OK) {
            size_t place = out ? sh_protobuf_open(out, field) : 0;
            rc = sh_test_protobuf_copy(&inside, out);
            if (out) sh_protobuf_close(out, place);
        }
        if (rc) break;
    }
    if (list) sh_protobuf_close(out, run);
    return rc;
}

#endif
