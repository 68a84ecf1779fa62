#ifndef CONEY_CORE_QUEUE_H
#define CONEY_CORE_QUEUE_H

#include <bsd/sys/queue.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "broker/core/backlog.h"
#include "broker/core/consumer.h"
#include "broker/core/exchange.h"

struct connection;
struct message;
struct vhost;

struct queue {
    struct vhost *vhost;
    struct slice name; /* bytes behind the struct, as are the arguments */
    struct slice arguments;
    uint32_t refs; /* one while declared, and one per consumer, delivery and buffered publish */
    bool durable, auto_delete, deleted;
    bool has_exclusive_consumer;
    bool scheduled;           /* on the vhost's list of queues to dispatch */
    struct connection *owner; /* of an exclusive queue */
    struct backlog ready;
    uint64_t last_seq;
    uint64_t n_unacked;
    uint32_t n_consumers;
    struct consumer_list ready_consumers; /* by falling priority, round robin inside one */
    struct consumer_list blocked_consumers;
    struct binding_list bindings;
    uint64_t reached; /* route.epoch */
    TAILQ_ENTRY(queue) schedule_link;
    TAILQ_ENTRY(queue) owner_link; /* owner->exclusive_queues */
    UT_hash_handle hh;             /* vhost->queues */
};

TAILQ_HEAD(queue_list, queue);

/* Declares a queue whose name is free. `owner` makes it exclusive. Arguments are copied. */
struct queue *queue_new(struct vhost *v, struct slice name, bool durable, bool auto_delete,
                        struct connection *owner, struct slice arguments);

/*
 * Deletes it: bindings go (and auto-delete exchanges with their last one), consumers are told,
 * ready messages are dropped. What is unacknowledged may still be settled.
 */
void queue_delete(struct queue *q);

void queue_unref(struct queue *q);

/* Appends a message, taking a reference of its own, and schedules the queue's dispatch. */
void queue_publish(struct queue *q, struct message *m);

/* Takes the next ready message for basic.get or a delivery; false when there is none. */
bool queue_take(struct queue *q, struct entry *e_r);

/* Puts a delivered message back to its place, now redelivered; drops it when the queue is gone. */
void queue_requeue(struct queue *q, struct entry e);

/* Drops all ready messages. */
void queue_purge(struct queue *q);

/* Ready messages, as AMQP counts them: in 32 bits. */
static inline uint32_t
queue_message_count(const struct queue *q)
{
    return q->ready.count < UINT32_MAX ? (uint32_t)q->ready.count : UINT32_MAX;
}

/* Puts the queue on its vhost's list if it has a message and somebody who may take it. */
void queue_schedule(struct queue *q);

/* Hands out at most `max` messages; returns how many. */
unsigned queue_dispatch(struct queue *q, unsigned max);

/* The place of a ready consumer: behind all of its priority. */
void queue_line_up(struct queue *q, struct consumer *c);

#endif
