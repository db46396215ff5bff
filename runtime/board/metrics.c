/* The table of series in shared memory. A place is claimed by a compare-and-swap and published by its state, so that
 * processes that name the same series at the same time agree. */
#include "board/metrics.h"

#include <stdatomic.h>
#include <stdio.h>

enum { FREE, CLAIMED, READY };

struct sh_series {
    _Atomic uint32_t state;
    uint32_t kind;
    uint64_t hash;
    char name[SH_SERIES_NAME_MAX], labels[SH_SERIES_LABELS_MAX], help[96];
    _Atomic int64_t value; /* counter, gauge, or count of a histogram */
    _Atomic uint64_t sum_ns;
    _Atomic uint64_t buckets[SH_HISTOGRAM_BUCKETS];
};

struct sh_metrics {
    sh_series_t overflow;
    sh_series_t series[SH_SERIES_MAX];
};

static const struct {
    uint64_t ns;
    const char *text;
} bounds[SH_HISTOGRAM_BUCKETS] = {
    {500000, "0.0005"}, {1000000, "0.001"},  {2500000, "0.0025"}, {5000000, "0.005"}, {10000000, "0.01"},   {25000000, "0.025"}, {50000000, "0.05"},
    {100000000, "0.1"}, {250000000, "0.25"}, {500000000, "0.5"},  {1000000000, "1"},  {2500000000u, "2.5"}, {5000000000u, "5"},  {10000000000u, "10"},
};

size_t sh_metrics_size(void) { return sizeof(sh_metrics_t); }

sh_metrics_t *sh_metrics_init(void *memory) {
    sh_metrics_t *m = memory;
    snprintf(m->overflow.name, sizeof m->overflow.name, "shama_series_overflow_total");
    snprintf(m->overflow.help, sizeof m->overflow.help, "Values of series that found no place in the table.");
    atomic_store(&m->overflow.state, READY);
    return m;
}

static uint64_t hash_of(const char *name, const char *labels) { return sh_str_hash(sh_str_of(name)) * 31 + sh_str_hash(sh_str_of(labels)); }

sh_series_t *sh_metrics_series(sh_metrics_t *m, sh_series_kind_t kind, const char *name, const char *labels, const char *help) {
    uint64_t hash = hash_of(name, labels);
    if (strlen(name) >= SH_SERIES_NAME_MAX || strlen(labels) >= SH_SERIES_LABELS_MAX) return &m->overflow;
    for (uint32_t i = 0; i < SH_SERIES_MAX; i++) {
        sh_series_t *s = &m->series[(hash + i) % SH_SERIES_MAX];
        uint32_t state = FREE;
        if (atomic_compare_exchange_strong(&s->state, &state, CLAIMED)) {
            s->kind = kind;
            s->hash = hash;
            snprintf(s->name, sizeof s->name, "%s", name);
            snprintf(s->labels, sizeof s->labels, "%s", labels);
            snprintf(s->help, sizeof s->help, "%s", help);
            atomic_store_explicit(&s->state, READY, memory_order_release);
            return s;
        }
        /* A process that died between claim and publish leaves its place claimed: give up on it after a while. */
        for (int spin = 0; state == CLAIMED && spin < 10000; spin++) state = atomic_load_explicit(&s->state, memory_order_acquire);
        if (state == READY && s->hash == hash && strcmp(s->name, name) == 0 && strcmp(s->labels, labels) == 0) return s;
    }
    return &m->overflow;
}

void sh_series_add(sh_series_t *s, uint64_t n) { atomic_fetch_add_explicit(&s->value, (int64_t)n, memory_order_relaxed); }
void sh_series_set(sh_series_t *s, int64_t value) { atomic_store_explicit(&s->value, value, memory_order_relaxed); }
void sh_series_change(sh_series_t *s, int64_t delta) { atomic_fetch_add_explicit(&s->value, delta, memory_order_relaxed); }

void sh_series_observe_ns(sh_series_t *s, uint64_t ns) {
    atomic_fetch_add_explicit(&s->value, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->sum_ns, ns, memory_order_relaxed);
    for (int i = 0; i < SH_HISTOGRAM_BUCKETS; i++)
        if (ns <= bounds[i].ns) {
            atomic_fetch_add_explicit(&s->buckets[i], 1, memory_order_relaxed);
            break;
        }
}

int64_t sh_series_value(const sh_series_t *s) { return atomic_load_explicit(&((sh_series_t *)s)->value, memory_order_relaxed); }

static void write_histogram(const sh_series_t *s, sh_buf_t *out) {
    const char *comma = s->labels[0] ? "," : "";
    uint64_t below = 0;
    sh_series_t *series = (sh_series_t *)s;
    uint64_t count = (uint64_t)sh_series_value(s);
    for (int i = 0; i < SH_HISTOGRAM_BUCKETS; i++) {
        below += atomic_load_explicit(&series->buckets[i], memory_order_relaxed);
        sh_buf_printf(out, "%s_bucket{%s%sle=\"%s\"} %llu\n", s->name, s->labels, comma, bounds[i].text, (unsigned long long)below);
    }
    if (below > count) count = below; /* read while others add */
    sh_buf_printf(out, "%s_bucket{%s%sle=\"+Inf\"} %llu\n", s->name, s->labels, comma, (unsigned long long)count);
    double sum = (double)atomic_load_explicit(&series->sum_ns, memory_order_relaxed) / 1e9;
    sh_buf_printf(out, s->labels[0] ? "%s_sum{%s} %.9f\n" : "%s_sum%s %.9f\n", s->name, s->labels, sum);
    sh_buf_printf(out, s->labels[0] ? "%s_count{%s} %llu\n" : "%s_count%s %llu\n", s->name, s->labels, (unsigned long long)count);
}

static void write_series(const sh_series_t *s, sh_buf_t *out) {
    if (s->kind == SH_HISTOGRAM) {
        write_histogram(s, out);
        return;
    }
    sh_buf_put_c(out, s->name);
    if (s->labels[0]) sh_buf_printf(out, "{%s}", s->labels);
    sh_buf_printf(out, " %lld\n", (long long)sh_series_value(s));
}

void sh_metrics_write(const sh_metrics_t *m, sh_buf_t *out) {
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    bool written[SH_SERIES_MAX] = {false};
    const sh_series_t *all = m->series;
    for (uint32_t i = 0; i < SH_SERIES_MAX; i++) {
        if (written[i] || atomic_load_explicit(&((sh_series_t *)all)[i].state, memory_order_acquire) != READY) continue;
        sh_buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", all[i].name, all[i].help, all[i].name, kinds[all[i].kind]);
        for (uint32_t k = i; k < SH_SERIES_MAX; k++) {
            if (written[k] || atomic_load_explicit(&((sh_series_t *)all)[k].state, memory_order_acquire) != READY ||
                strcmp(all[k].name, all[i].name) != 0)
                continue;
            written[k] = true;
            write_series(&all[k], out);
        }
    }
    if (sh_series_value(&m->overflow))
        sh_buf_printf(out, "# HELP %s %s\n# TYPE %s counter\n%s %lld\n", m->overflow.name, m->overflow.help, m->overflow.name, m->overflow.name,
                      (long long)sh_series_value(&m->overflow));
}
