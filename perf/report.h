#ifndef CONEY_PERF_REPORT_H
#define CONEY_PERF_REPORT_H

#include "perf/run.h"

/* What is printed: one line per interval, and a summary at the end. Main thread only. */

/* What all workers have measured so far. */
struct totals {
    struct counters n;
    struct span sent, confirmed, received;
    struct histogram latency, confirm_latency;
};

void totals_get(const struct run *run, struct totals *totals_r);

/* Messages that should have been received by now; 0 when that cannot be told. */
uint64_t totals_expected(const struct run *run, const struct totals *totals);

struct report;

struct report *report_new(struct run *run);
void report_free(struct report **report);
void report_begin(struct report *report);
void report_progress(struct report *report);

/* The load is over: before the connections are closed, since the CPU time is taken here. */
void report_end(struct report *report);

/* `missing`: messages that were published, but did not arrive. */
void report_summary(struct report *report, uint64_t missing);

#endif
