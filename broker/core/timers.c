#include "broker/core/timers.h"

#include <stdlib.h>

#include "base/mem.h"

static void
place(struct timers *ts, size_t pos, struct timer *t)
{
    ts->heap[pos] = t;
    t->pos = pos + 1;
}

static void
sift_up(struct timers *ts, size_t pos)
{
    struct timer *t = ts->heap[pos];

    while (pos > 0) {
        size_t parent = (pos - 1) / 2;
        if (ts->heap[parent]->when <= t->when)
            break;
        place(ts, pos, ts->heap[parent]);
        pos = parent;
    }
    place(ts, pos, t);
}

static void
sift_down(struct timers *ts, size_t pos)
{
    struct timer *t = ts->heap[pos];

    for (;;) {
        size_t child = 2 * pos + 1;
        if (child >= ts->n)
            break;
        if (child + 1 < ts->n && ts->heap[child + 1]->when < ts->heap[child]->when)
            child++;
        if (ts->heap[child]->when >= t->when)
            break;
        place(ts, pos, ts->heap[child]);
        pos = child;
    }
    place(ts, pos, t);
}

void
timer_init(struct timer *t, void (*fn)(struct timer *))
{
    t->when = 0;
    t->pos = 0;
    t->fn = fn;
}

void
timer_start(struct timers *ts, struct timer *t, uint64_t when)
{
    timer_stop(ts, t);
    if (ts->n == ts->cap) {
        ts->cap = ts->cap == 0 ? 64 : 2 * ts->cap;
        ts->heap = mem_resize(ts->heap, ts->cap, sizeof(struct timer *));
    }
    t->when = when;
    ts->n++;
    place(ts, ts->n - 1, t);
    sift_up(ts, ts->n - 1);
}

void
timer_stop(struct timers *ts, struct timer *t)
{
    if (t->pos == 0)
        return;
    size_t pos = t->pos - 1;
    struct timer *last = ts->heap[--ts->n];
    t->pos = 0;
    if (last == t)
        return;
    place(ts, pos, last);
    sift_up(ts, pos);
    sift_down(ts, last->pos - 1);
}

void
timers_run(struct timers *ts, uint64_t now)
{
    while (ts->n != 0 && ts->heap[0]->when <= now) {
        struct timer *t = ts->heap[0];
        timer_stop(ts, t);
        t->fn(t);
    }
}

uint64_t
timers_next(const struct timers *ts)
{
    return ts->n == 0 ? UINT64_MAX : ts->heap[0]->when;
}

void
timers_fini(struct timers *ts)
{
    free(ts->heap);
    *ts = (struct timers){0};
}
