#ifndef CONEY_CORE_CONSUMER_H
#define CONEY_CORE_CONSUMER_H

#include <bsd/sys/queue.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "broker/core/htab.h"

struct channel;
struct queue;

/* Where a consumer stands with its queue. */
enum consumer_state {
    CONSUMER_READY,   /* on the queue's list of those who may be next */
    CONSUMER_BLOCKED, /* has no credit, or its connection's output is full */
    CONSUMER_GONE,    /* cancelled; kept while deliveries of it are unacknowledged */
};

struct consumer {
    struct channel *channel; /* NULL once the channel is gone */
    struct queue *queue;     /* holds a reference */
    uint32_t refs;           /* one while it consumes, one per unacknowledged delivery */
    enum consumer_state state;
    bool no_ack, exclusive;
    uint16_t prefetch; /* 0: no limit */
    uint32_t unacked;
    int64_t priority;
    TAILQ_ENTRY(consumer) queue_link;   /* ready or blocked */
    TAILQ_ENTRY(consumer) channel_link; /* channel->consumers */
    UT_hash_handle hh;                  /* channel->tags */
    struct slice tag;
    uint8_t wire_tag[]; /* the tag as a shortstr */
};

TAILQ_HEAD(consumer_list, consumer);

/* A consumer of the queue, ready, in its channel's list. Its tag is free and the queue admits it.
 */
struct consumer *consumer_new(struct channel *ch, struct queue *q, struct slice tag, bool no_ack,
                              bool exclusive, int64_t priority, uint16_t prefetch);

/*
 * Ends a consumer: no delivery follows. Its channel and its queue forget it; an auto-delete queue
 * that loses its last consumer is deleted.
 */
void consumer_cancel(struct consumer *c);

/* As consumer_cancel(), when the queue is being deleted: leaves the queue alone. */
void consumer_detach(struct consumer *c);

/* It has credit and its connection takes output: it may be next. Does nothing if it is not blocked.
 */
void consumer_wake(struct consumer *c);

/* True when another delivery may go to it now. */
bool consumer_can_take(const struct consumer *c);

void consumer_unref(struct consumer *c);

#endif
