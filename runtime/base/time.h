/* Clocks and RFC 3339: monotonic time for waits, wall time for people. */
#ifndef SH_TIME_H
#define SH_TIME_H

#include "base/base.h"
#include "base/str.h"

enum { SH_RFC3339_LEN = 27 }; /* 2026-11-24T09:06:14.123456Z */

uint64_t sh_time_mono_ns(void); /* never goes back; for deadlines */
uint64_t sh_time_thread_cpu_ns(void);
int64_t sh_time_wall_us(void); /* microseconds since 1970-01-01T00:00:00Z */

/* Writes SH_RFC3339_LEN bytes, no NUL. Years 0000 to 9999. */
void sh_time_format(int64_t wall_us, char out[SH_RFC3339_LEN]);
/* Parses RFC 3339 with any offset, up to microseconds (further digits are refused). SH_EINVAL otherwise. */
int sh_time_parse(sh_str_t text, int64_t *wall_us) SH_MUSTCHECK;
/* Is it a date that exists, YYYY-MM-DD? */
bool sh_time_is_date(sh_str_t text);

#endif
