/* Compiles .proto files with protoc into the descriptor set that a bundle carries. Blocking; for the check process, not for workers. */
#ifndef SH_PROTO_COMPILE_H
#define SH_PROTO_COMPILE_H

#include "base/buf.h"

enum { SH_PROTO_FILES_MAX = 256, SH_PROTO_COMPILE_MS = 10000, SH_PROTO_ERROR_MAX = 8192 };

/* Runs `protoc --include_imports --descriptor_set_out=/dev/stdout -I <folder> <folder>/ *.proto` and appends what it writes to `out`.
 * SH_EINVAL with protoc's own words in `error` ("config/proto/stock.proto:12:3: Expected \";\"."), SH_EIO when protoc cannot be run,
 * SH_ETIMEDOUT, SH_ELIMIT. Files are taken in the order of their names, so that the same files give the same bytes. */
int sh_proto_compile(const char *folder, sh_buf_t *out, sh_buf_t *error) SH_MUSTCHECK;

#endif
