#ifndef CONEY_NET_MONITOR_H
#define CONEY_NET_MONITOR_H

#include <stdint.h>

struct loop;
struct monitor;
struct store;

#define MONITOR_UNSET UINT64_MAX

/* A number of bytes or, when that is MONITOR_UNSET, a multiple of the memory that there is. */
struct monitor_limit {
    uint64_t absolute;
    double relative;
};

struct monitor_options {
    struct monitor_limit memory; /* alarm when more is used */
    struct monitor_limit disk;   /* alarm when less is free */
    uint64_t memory_total;       /* bytes; MONITOR_UNSET: what the system says */
    const char *data_dir;        /* whose file system is watched, borrowed; NULL: none */
    struct store *store;         /* what it can use again counts as free; borrowed; NULL: none */
};

/*
 * Watches memory and disk and sets the alarms of the loop's broker. The first check is made before
 * this returns, on the caller's thread, so that the alarms are right when the first client comes;
 * later ones on a worker, each second, and more often when the disk is nearly full.
 */
struct monitor *monitor_new(struct loop *l, const struct monitor_options *options);

/* No check may be under way: the workers are gone and the mailbox is empty. May be NULL. */
void monitor_free(struct monitor *m);

#endif
