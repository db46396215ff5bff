/* Counters, gauges and histograms in shared memory: every worker adds, any worker's /metrics tells for all.
 *
 * A series is a metric name with its labels; it gets a slot in a fixed table the first time it is named, by whichever process comes first.
 * Adding is one atomic operation on the slot. A full table drops new series and counts them; it never blocks or grows. */
#ifndef SH_METRICS_H
#define SH_METRICS_H

#include "base/buf.h"

typedef struct sh_metrics sh_metrics_t;
typedef struct sh_series sh_series_t;

typedef enum sh_series_kind { SH_COUNTER, SH_GAUGE, SH_HISTOGRAM } sh_series_kind_t;

enum { SH_SERIES_MAX = 2048, SH_SERIES_NAME_MAX = 64, SH_SERIES_LABELS_MAX = 192, SH_HISTOGRAM_BUCKETS = 14 };

size_t sh_metrics_size(void);
/* `memory` is zeroed and shared (MAP_SHARED) of sh_metrics_size() bytes; once, before the fork. */
sh_metrics_t *sh_metrics_init(void *memory);

/* Finds or makes a series; keep the pointer, it never moves. `labels` is Prometheus text without braces (route="/x",method="GET") or "".
 * `help` is kept with the first series of a name. Never NULL: past the limit a common overflow series. */
sh_series_t *sh_metrics_series(sh_metrics_t *metrics, sh_series_kind_t kind, const char *name, const char *labels, const char *help);
void sh_series_add(sh_series_t *series, uint64_t n);       /* counter */
void sh_series_set(sh_series_t *series, int64_t value);    /* gauge */
void sh_series_change(sh_series_t *series, int64_t delta); /* gauge */
/* Histogram of seconds; buckets 0.5 ms .. 10 s. */
void sh_series_observe_ns(sh_series_t *series, uint64_t ns);
int64_t sh_series_value(const sh_series_t *series); /* counter, gauge; count of a histogram */

/* Prometheus text format 0.0.4, series of a name together, HELP and TYPE once. */
void sh_metrics_write(const sh_metrics_t *metrics, sh_buf_t *out);

#endif
