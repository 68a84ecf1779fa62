#ifndef CONEY_PERF_RUN_H
#define CONEY_PERF_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "perf/clock.h"
#include "perf/conn.h"
#include "perf/histogram.h"
#include "perf/image.h"
#include "perf/options.h"
#include "perf/routing.h"
#include "perf/verify.h"

/*
 * One run: set up over blocking connections by the main thread (setup.c), then loaded by worker
 * threads, each with its own epoll and its own share of the connections (worker.c), while the main
 * thread reports (report.c, main.c). A worker's counters are written by it alone and read by the
 * main thread at any time.
 */
#define PERF_COUNTERS(C)                                                                           \
    C(sent) C(confirmed) C(nacked) C(returned) C(received) C(redelivered) C(blocked)

struct counters {
#define C(name) uint64_t name;
    PERF_COUNTERS(C)
#undef C
};

/* ns; 0: none yet. */
struct span {
    uint64_t first, last;
};

/* What one worker measures. */
struct measure {
    struct counters n;
    struct span sent, confirmed, received;
    struct histogram latency, confirm_latency; /* us */
};

static inline uint64_t
counter_get(const uint64_t *counter)
{
    return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static inline void
counter_add(uint64_t *counter, uint64_t n)
{
    __atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

static inline void
span_touch(struct span *span, uint64_t now)
{
    if (span->first == 0)
        counter_add(&span->first, now);
    __atomic_store_n(&span->last, now, __ATOMIC_RELAXED);
}

enum run_phase {
    RUN_PUBLISHING,
    RUN_DRAINING, /* producers stop, consumers go on */
    RUN_ENDING,
};

struct run {
    struct perf_options o;
    struct routing *routing;
    struct image_plan plan;
    struct verify *verify; /* NULL without --verify */
    struct conn control;   /* declared everything; its exclusive queue lives as long as it does */
    uint64_t start;        /* ns, when the workers begin */
    unsigned n_workers;
    struct worker **workers;
    int notify_fd; /* eventfd: a worker has news for the main thread */
    /* Written by workers with atomic operations. */
    unsigned producers_left, consumers_left;
    char *error; /* the first one; set once */
    /* Written by the main thread. */
    enum run_phase phase;
};

/* Ends the run with an error, unless it has one already. Any thread. */
void run_fail(struct run *run, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Wakes the main thread. Any thread. */
void run_notify(struct run *run);

static inline enum run_phase
run_phase(const struct run *run)
{
    return __atomic_load_n(&run->phase, __ATOMIC_ACQUIRE);
}

#endif
