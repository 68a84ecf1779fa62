#ifndef CONEY_CORE_REAPER_H
#define CONEY_CORE_REAPER_H

#include <bsd/sys/queue.h>
#include <stdbool.h>

struct broker;
struct queue;

/*
 * Backlogs that have been purged, or whose queue has been deleted, are taken down a slice at a
 * time: a hundred million messages are no reason for others to wait.
 */
struct reaper {
    TAILQ_HEAD(, reap) reaps;
};

void reaper_init(struct reaper *r);

/* Takes all ready messages of the queue; it is empty from then on. */
void reaper_take(struct reaper *r, struct queue *q);

/* Does a slice; true when there is more. */
bool reaper_run(struct reaper *r);

/* Does all of it. */
void reaper_fini(struct reaper *r);

#endif
