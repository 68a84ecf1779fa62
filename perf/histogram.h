#ifndef CONEY_PERF_HISTOGRAM_H
#define CONEY_PERF_HISTOGRAM_H

#include <stdint.h>

/*
 * Counts of values (microseconds here) in buckets that grow with the value: below 128 one bucket
 * per value, above it 128 buckets per power of two, so that a value read back is less than 0.4 %
 * off. Values over 2^40 are counted as 2^40. One thread records; others may read while it does and
 * see each count some moment old.
 */
enum {
    HISTOGRAM_SUB_BITS = 7,
    HISTOGRAM_SUB = 1 << HISTOGRAM_SUB_BITS,
    HISTOGRAM_MAX_BITS = 40,
    HISTOGRAM_BUCKETS = (HISTOGRAM_MAX_BITS - HISTOGRAM_SUB_BITS + 1) * HISTOGRAM_SUB + 1,
};

struct histogram {
    uint64_t count[HISTOGRAM_BUCKETS];
};

static inline unsigned
histogram_bucket(uint64_t value)
{
    if (value < HISTOGRAM_SUB)
        return (unsigned)value;
    if (value >> HISTOGRAM_MAX_BITS != 0)
        return HISTOGRAM_BUCKETS - 1;
    /* The highest set bit chooses the power of two, the bits below it the bucket inside. */
    unsigned shift = 63 - (unsigned)__builtin_clzll(value) - HISTOGRAM_SUB_BITS;
    return shift * HISTOGRAM_SUB + (unsigned)(value >> shift);
}

/* The middle of a bucket's values. */
uint64_t histogram_value(unsigned bucket);

static inline void
histogram_record(struct histogram *h, uint64_t value, uint64_t n)
{
    uint64_t *count = &h->count[histogram_bucket(value)];

    __atomic_store_n(count, *count + n, __ATOMIC_RELAXED);
}

/* Adds the present counts of `from`, which another thread may be recording in. */
void histogram_add(struct histogram *to, const struct histogram *from);

/* Takes the counts of an earlier state of `h` away. */
void histogram_subtract(struct histogram *h, const struct histogram *earlier);

struct percentiles {
    uint64_t count;
    double mean;
    uint64_t min, p50, p75, p95, p99, p999, max;
};

/* All zero when nothing was recorded. */
struct percentiles histogram_percentiles(const struct histogram *h);

#endif
