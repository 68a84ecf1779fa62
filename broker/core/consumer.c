#include "broker/core/consumer.h"

#include <stdlib.h>

#include "base/mem.h"
#include "broker/core/channel.h"
#include "broker/core/connection.h"
#include "broker/core/queue.h"

struct consumer *
consumer_new(struct channel *ch, struct queue *q, struct slice tag, bool no_ack, bool exclusive,
             int64_t priority, uint16_t prefetch)
{
    struct consumer *c = mem_zalloc(sizeof *c + 1 + tag.n);

    c->channel = ch;
    c->queue = q;
    c->refs = 1;
    c->no_ack = no_ack;
    c->exclusive = exclusive;
    c->priority = priority;
    c->prefetch = prefetch;
    c->wire_tag[0] = (uint8_t)tag.n;
    memcpy(c->wire_tag + 1, tag.p, tag.n);
    c->tag = slice_of(c->wire_tag + 1, tag.n);
    HASH_ADD_KEYPTR(hh, ch->tags, c->tag.p, c->tag.n, c);
    TAILQ_INSERT_TAIL(&ch->consumers, c, channel_link);

    q->refs++;
    q->n_consumers++;
    q->has_exclusive_consumer |= exclusive;
    queue_line_up(q, c);
    queue_schedule(q);
    return c;
}

void
consumer_unref(struct consumer *c)
{
    if (--c->refs == 0) {
        queue_unref(c->queue);
        free(c);
    }
}

void
consumer_detach(struct consumer *c)
{
    struct queue *q = c->queue;
    struct channel *ch = c->channel;

    if (c->state == CONSUMER_READY)
        TAILQ_REMOVE(&q->ready_consumers, c, queue_link);
    else
        TAILQ_REMOVE(&q->blocked_consumers, c, queue_link);
    c->state = CONSUMER_GONE;
    c->channel = NULL;
    q->n_consumers--;
    if (c->exclusive)
        q->has_exclusive_consumer = false;
    HASH_DEL(ch->tags, c);
    TAILQ_REMOVE(&ch->consumers, c, channel_link);
    consumer_unref(c);
}

void
consumer_cancel(struct consumer *c)
{
    struct queue *q = c->queue;

    q->refs++;
    consumer_detach(c);
    if (q->auto_delete && q->n_consumers == 0 && !q->deleted)
        queue_delete(q);
    queue_unref(q);
}

bool
consumer_can_take(const struct consumer *c)
{
    const struct channel *ch = c->channel;

    if (connection_output_full(ch->connection))
        return false;
    if (c->no_ack)
        return true;
    return (c->prefetch == 0 || c->unacked < c->prefetch) &&
           (ch->global_prefetch == 0 || ch->n_consumed < ch->global_prefetch);
}

void
consumer_wake(struct consumer *c)
{
    if (c->state != CONSUMER_BLOCKED || !consumer_can_take(c))
        return;
    TAILQ_REMOVE(&c->queue->blocked_consumers, c, queue_link);
    c->state = CONSUMER_READY;
    queue_line_up(c->queue, c);
    queue_schedule(c->queue);
}
