#ifndef CONEY_CORE_QUEUE_H
#define CONEY_CORE_QUEUE_H

#include <bsd/sys/queue.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "broker/core/backlog.h"
#include "broker/core/chunk.h"
#include "broker/core/consumer.h"
#include "broker/core/exchange.h"
#include "broker/core/message.h"

struct channel;
struct connection;
struct vhost;

/* A basic.get that waits for what is paged out; its connection's input is held. */
struct get {
    struct channel *channel;
    struct queue *queue; /* NULL: it does not wait */
    bool no_ack;
    TAILQ_ENTRY(get) link;
};

TAILQ_HEAD(get_list, get);

struct queue {
    struct vhost *vhost;
    struct slice name; /* bytes behind the struct, as are the arguments */
    struct slice arguments;
    uint32_t
        refs; /* one while declared, and one per consumer, delivery, buffered publish, chunk ... */
    uint64_t id;      /* of its definition and its chunks; 0: it is not durable */
    uint64_t page_id; /* of its chunks in the paging space */
    bool durable, auto_delete, deleted;
    bool has_exclusive_consumer;
    bool scheduled;           /* on the vhost's list of queues to dispatch */
    struct connection *owner; /* of an exclusive queue */
    struct backlog ready;
    uint64_t last_seq;
    uint64_t delivered; /* messages up to this number have been delivered at least once */
    struct chunk *open; /* that takes the next persistent message; NULL: none yet */
    struct chunk_list chunks;
    struct store_range *purged; /* not deleted from the store yet */
    uint32_t n_purged;
    bool has_new_state; /* on the journal's list */
    uint32_t n_leaving; /* runs of blocks on their way to the paging space */
    uint8_t n_loading;  /* blocks on their way back, and the memory that they will take */
    uint64_t loading_cost;
    uint64_t page_at; /* resident memory from which paging_check() may do something */
    bool is_heavy;    /* on the pager's list, with this much memory */
    uint64_t pager_memory;
    TAILQ_ENTRY(queue) pager_link;
    struct get_list gets; /* basic.gets that wait for the first message to come back */
    uint64_t n_unacked;
    uint64_t unacked_memory;     /* that those take, about */
    struct stub_load *stub_load; /* what brings the first of those that came back; or NULL */
    uint32_t n_consumers;
    struct consumer_list ready_consumers; /* by falling priority, round robin inside one */
    struct consumer_list blocked_consumers;
    struct binding_list bindings;
    uint64_t reached; /* route.epoch */
    TAILQ_ENTRY(queue) schedule_link;
    TAILQ_ENTRY(queue) state_link, flying_state_link; /* journal->states, flying_states */
    TAILQ_ENTRY(queue) owner_link;                    /* owner->exclusive_queues */
    UT_hash_handle hh;                                /* vhost->queues */
};

TAILQ_HEAD(queue_list, queue);

/*
 * A queue whose name is free. `owner` makes it exclusive; `id` is that of its definition in the
 * store (0: it is not durable). Arguments are copied.
 */
struct queue *queue_new(struct vhost *v, struct slice name, bool durable, bool auto_delete,
                        struct connection *owner, struct slice arguments, uint64_t id);

/* A queue that has been deleted and of which the store still has chunks; the caller's reference. */
struct queue *queue_new_deleted(struct vhost *v, uint64_t id);

/*
 * Deletes it: bindings go (and auto-delete exchanges with their last one), consumers are told,
 * ready messages are dropped. What is unacknowledged may still be settled.
 */
void queue_delete(struct queue *q);

void queue_unref(struct queue *q);

/* True when a message that enters the queue is to be stored. */
static inline bool
queue_stores(const struct queue *q, const struct message *m)
{
    return q->id != 0 && m->persistent;
}

/*
 * Appends a message, taking a reference of its own, and schedules the queue's dispatch. `shared` is
 * its id if it is stored for several queues together, or 0.
 */
void queue_publish(struct queue *q, struct message *m, uint64_t shared);

/* Takes the next ready message for basic.get or a delivery; false when there is none in memory. */
bool queue_take(struct queue *q, struct entry *e_r);

/* What queue_settle() does about a message that is stored. */
void queue_settle_stored(struct queue *q, const struct entry *e);

/* The message is done with: acknowledged, rejected or delivered for good. Takes over its reference.
 */
static inline void
queue_settle(struct queue *q, const struct entry *e)
{
    if (e->chunk != NULL)
        queue_settle_stored(q, e);
    message_unref(e->message);
}

/* Puts a delivered message back to its place, now redelivered; drops it when the queue is gone. */
void queue_requeue(struct queue *q, struct entry e);

/* Drops all ready messages; the memory and what is stored go by and by. */
void queue_purge(struct queue *q);

/* What was out of memory has come back: consumers and basic.gets go on. */
void queue_loaded(struct queue *q);

/* Stops waiting for a message. */
void queue_forget_get(struct get *g);

/* A chunk of the queue is no longer in the store. */
void queue_chunk_gone(struct queue *q);

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
