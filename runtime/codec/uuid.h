/* UUIDs made by the host (RFC 9562): random ones, and those that sort by the time they were made. */
#ifndef SH_UUID_H
#define SH_UUID_H

#include "base/base.h"

enum { SH_UUID_LEN = 36 };

/* Random bytes in stock, so that an id costs no system call. One per worker; not for several threads at once.
 * The stock is wiped in the child of a fork, which then draws its own: two processes never hand out the same bytes. */
typedef struct sh_uuid_source sh_uuid_source_t;

sh_uuid_source_t *sh_uuid_source_create(void) __attribute__((returns_nonnull));
/* NULL is harmless. */
void sh_uuid_source_destroy(sh_uuid_source_t *source);

/* Both write SH_UUID_LEN lower case characters, no NUL. */
void sh_uuid_v4(sh_uuid_source_t *source, char out[SH_UUID_LEN]);
/* `wall_us` is the time now (sh_time_wall_us). 48 bits of milliseconds, 12 of their fraction (RFC 9562, 6.2, method 3), 62 random.
 * Of one source each is greater than the one before it, also when the clock stands still or goes back. */
void sh_uuid_v7(sh_uuid_source_t *source, int64_t wall_us, char out[SH_UUID_LEN]);

#endif
