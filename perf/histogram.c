#include "perf/histogram.h"

#include <math.h>
#include <stddef.h>

uint64_t
histogram_value(unsigned bucket)
{
    if (bucket < HISTOGRAM_SUB)
        return bucket;
    unsigned shift = bucket / HISTOGRAM_SUB - 1;
    uint64_t low = (uint64_t)(bucket - shift * HISTOGRAM_SUB) << shift;
    return low + (((uint64_t)1 << shift) - 1) / 2;
}

void
histogram_add(struct histogram *to, const struct histogram *from)
{
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        to->count[i] += __atomic_load_n(&from->count[i], __ATOMIC_RELAXED);
}

void
histogram_subtract(struct histogram *h, const struct histogram *earlier)
{
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        h->count[i] -= earlier->count[i];
}

struct percentiles
histogram_percentiles(const struct histogram *h)
{
    struct percentiles p = {0};
    const struct {
        double share;
        uint64_t *value;
    } wanted[] = {{0.5, &p.p50}, {0.75, &p.p75}, {0.95, &p.p95}, {0.99, &p.p99}, {0.999, &p.p999}};
    size_t n_wanted = sizeof wanted / sizeof *wanted, next = 0;
    uint64_t total = 0;
    double sum = 0;

    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        total += h->count[i];
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        if (h->count[i] == 0)
            continue;
        if (p.count == 0)
            p.min = histogram_value(i);
        p.max = histogram_value(i);
        p.count += h->count[i];
        sum += (double)h->count[i] * (double)histogram_value(i);
        while (next < n_wanted && (double)p.count >= ceil(wanted[next].share * (double)total))
            *wanted[next++].value = histogram_value(i);
    }
    if (total != 0)
        p.mean = sum / (double)total;
    return p;
}
