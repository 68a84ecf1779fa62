#ifndef CONEY_CORE_TIMERS_H
#define CONEY_CORE_TIMERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Timers in order of their deadline: a binary heap whose entries know their place, so that
 * starting, moving and stopping one costs O(log n) and an idle one costs nothing. Times are
 * milliseconds of a monotonic clock that the caller reads: under test it is a variable.
 */
struct timer {
    uint64_t when;
    size_t pos; /* place in the heap + 1; 0: not running */
    void (*fn)(struct timer *);
};

struct timers {
    struct timer **heap;
    size_t n, cap;
};

void timer_init(struct timer *t, void (*fn)(struct timer *));

static inline bool
timer_is_running(const struct timer *t)
{
    return t->pos != 0;
}

/* Starts a timer or moves it to another deadline. It fires once. */
void timer_start(struct timers *ts, struct timer *t, uint64_t when);

/* Stops it if it runs. Must be called before its memory goes. */
void timer_stop(struct timers *ts, struct timer *t);

/* Calls everything due at `now`; functions may start and stop any timer. */
void timers_run(struct timers *ts, uint64_t now);

/* Deadline of the next timer, UINT64_MAX when none runs. */
uint64_t timers_next(const struct timers *ts);

/* Releases the heap; the timers are the callers'. */
void timers_fini(struct timers *ts);

#endif
