/* Running something in a child for its output and its exit code, under a time limit. Blocking; for commands and the check process. */
#ifndef SH_CAPTURE_H
#define SH_CAPTURE_H

#include "base/buf.h"

enum { SH_CAPTURE_BYTES_MAX = 1 << 20 };

/* Calls fn(data) in a child whose stdout and stderr go to `out` (no more than SH_CAPTURE_BYTES_MAX of it) and whose exit code is what fn returns;
 * 128 + n when signal n ended it. The child dies with us. SH_ETIMEDOUT: it was killed; `out` has what it said. SH_EIO: no child. */
int sh_capture(int (*fn)(void *data), void *data, uint64_t limit_ms, sh_buf_t *out, int *code) SH_MUSTCHECK;

#endif
