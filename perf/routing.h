#ifndef CONEY_PERF_ROUTING_H
#define CONEY_PERF_ROUTING_H

#include <stdint.h>

#include "perf/options.h"

/* Where messages go: the queues of a run, and the routing keys of its producers. */
struct routing {
    struct slice exchange;
    char **queues;
    unsigned n_queues;
    char **keys; /* what all producers publish with in turn; NULL: each the name of its queue */
    unsigned n_keys;
    bool random_key;
    /* Queues that each message reaches; 0 when that depends on what we do not know. */
    unsigned copies;
};

struct routing *routing_new(const struct perf_options *o);
void routing_free(struct routing **routing);

/* Queue of the n-th producer or consumer channel. */
static inline unsigned
routing_queue(const struct routing *r, unsigned n)
{
    return n % r->n_queues;
}

/* How many messages a producer channel sends until its keys repeat; 0: they never do. */
static inline unsigned
routing_cycle(const struct routing *r)
{
    return r->random_key ? 0 : r->keys != NULL ? r->n_keys : 1;
}

enum { ROUTING_KEY_ROOM = 24 };

/* Routing key of message `sequence` of a producer channel; a random one is written to `room`. */
struct slice routing_key(const struct routing *r, unsigned producer, uint64_t sequence,
                         char room[ROUTING_KEY_ROOM]);

/* The pattern of the n-th of --topic-bindings: none of them matches a key that ends in ".quote". */
char *routing_topic_pattern(const char *type, unsigned n);

#endif
