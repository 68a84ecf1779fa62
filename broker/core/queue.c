#include "broker/core/queue.h"

#include <stdlib.h>

#include "base/mem.h"
#include "broker/core/channel.h"
#include "broker/core/connection.h"
#include "broker/core/message.h"
#include "broker/core/vhost.h"

struct queue *
queue_new(struct vhost *v, struct slice name, bool durable, bool auto_delete,
          struct connection *owner, struct slice arguments)
{
    struct queue *q = mem_zalloc(sizeof *q + name.n + arguments.n);
    uint8_t *bytes = (uint8_t *)(q + 1);

    memcpy(bytes, name.p, name.n);
    if (arguments.n != 0)
        memcpy(bytes + name.n, arguments.p, arguments.n);
    q->vhost = v;
    q->name = slice_of(bytes, name.n);
    q->arguments = slice_of(bytes + name.n, arguments.n);
    q->refs = 1;
    q->durable = durable;
    q->auto_delete = auto_delete;
    q->owner = owner;
    TAILQ_INIT(&q->ready_consumers);
    TAILQ_INIT(&q->blocked_consumers);
    TAILQ_INIT(&q->bindings);
    if (owner != NULL)
        TAILQ_INSERT_TAIL(&owner->exclusive_queues, q, owner_link);
    HASH_ADD_KEYPTR(hh, v->queues, q->name.p, q->name.n, q);
    return q;
}

void
queue_unref(struct queue *q)
{
    if (--q->refs == 0)
        free(q);
}

static void
drop_consumers(struct consumer_list *list)
{
    struct consumer *c;

    while ((c = TAILQ_FIRST(list)) != NULL) {
        channel_notify_cancel(c->channel, c);
        consumer_detach(c);
    }
}

void
queue_delete(struct queue *q)
{
    q->deleted = true;
    HASH_DEL(q->vhost->queues, q);
    if (q->owner != NULL)
        TAILQ_REMOVE(&q->owner->exclusive_queues, q, owner_link);
    if (q->scheduled)
        TAILQ_REMOVE(&q->vhost->scheduled, q, schedule_link);
    exchange_unbind_inbound(&q->bindings);
    drop_consumers(&q->ready_consumers);
    drop_consumers(&q->blocked_consumers);
    queue_purge(q);
    queue_unref(q);
}

void
queue_publish(struct queue *q, struct message *m)
{
    struct entry e = {message_ref(m), ++q->last_seq, false};

    backlog_push(&q->ready, &e);
    queue_schedule(q);
}

bool
queue_take(struct queue *q, struct entry *e_r)
{
    return backlog_pop(&q->ready, e_r);
}

void
queue_requeue(struct queue *q, struct entry e)
{
    if (q->deleted) {
        message_unref(e.message);
        return;
    }
    e.redelivered = true;
    backlog_return(&q->ready, &e);
    queue_schedule(q);
}

void
queue_purge(struct queue *q)
{
    struct entry e;

    while (backlog_pop(&q->ready, &e))
        message_unref(e.message);
}

/* --- dispatch --- */

void
queue_schedule(struct queue *q)
{
    if (q->scheduled || q->ready.count == 0 || TAILQ_EMPTY(&q->ready_consumers))
        return;
    q->scheduled = true;
    TAILQ_INSERT_TAIL(&q->vhost->scheduled, q, schedule_link);
    vhost_want_tick(q->vhost);
}

void
queue_line_up(struct queue *q, struct consumer *c)
{
    struct consumer *before = TAILQ_LAST(&q->ready_consumers, consumer_list);

    while (before != NULL && before->priority < c->priority)
        before = TAILQ_PREV(before, consumer_list, queue_link);
    if (before != NULL)
        TAILQ_INSERT_AFTER(&q->ready_consumers, before, c, queue_link);
    else
        TAILQ_INSERT_HEAD(&q->ready_consumers, c, queue_link);
}

unsigned
queue_dispatch(struct queue *q, unsigned max)
{
    struct consumer *c;
    unsigned n = 0;

    while (n < max && q->ready.count != 0 && (c = TAILQ_FIRST(&q->ready_consumers)) != NULL) {
        if (!consumer_can_take(c)) {
            TAILQ_REMOVE(&q->ready_consumers, c, queue_link);
            TAILQ_INSERT_TAIL(&q->blocked_consumers, c, queue_link);
            c->state = CONSUMER_BLOCKED;
            continue;
        }
        struct entry e;
        queue_take(q, &e);
        channel_deliver(c->channel, c, e);
        n++;
        if (TAILQ_NEXT(c, queue_link) != NULL) {
            TAILQ_REMOVE(&q->ready_consumers, c, queue_link);
            queue_line_up(q, c);
        }
    }
    return n;
}
