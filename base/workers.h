#ifndef CONEY_BASE_WORKERS_H
#define CONEY_BASE_WORKERS_H

#include <bsd/sys/queue.h>

/*
 * A few threads for what may take its time (hashing passwords) and must not do so on a loop. A job
 * is part of what the submitter allocated; `run` gets it on a worker's thread and owns it then;
 * answers go back by mailbox.
 */
struct job {
    STAILQ_ENTRY(job) link;
    void (*run)(struct job *);
};

struct workers;

/* Starts n threads; exits the process when that fails. The name, of at most 15 bytes, is what
 * top(1) shows. */
struct workers *workers_new(unsigned n, const char *name);

/* Any thread. Jobs are begun in order. */
void workers_submit(struct workers *w, struct job *job);

/* Runs what has been submitted to its end, then stops the threads. */
void workers_free(struct workers *w);

#endif
