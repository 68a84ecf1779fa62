#include "broker/core/queue.h"

#include <stdlib.h>

#include "base/mem.h"
#include "broker/core/broker.h"
#include "broker/core/channel.h"
#include "broker/core/connection.h"
#include "broker/core/definitions.h"
#include "broker/core/message.h"
#include "broker/core/paging.h"
#include "broker/core/stubs.h"
#include "broker/core/vhost.h"

/* Ids in the paging space of queues that have none in the store. */
#define TRANSIENT_PAGE_IDS (UINT64_C(1) << 63)

struct queue *
queue_new(struct vhost *v, struct slice name, bool durable, bool auto_delete,
          struct connection *owner, struct slice arguments, uint64_t id)
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
    q->id = id;
    q->page_id = id != 0 ? id : ++v->broker->last_page_id | TRANSIENT_PAGE_IDS;
    paging_enter(q);
    backlog_init(&q->ready);
    TAILQ_INIT(&q->chunks);
    TAILQ_INIT(&q->gets);
    TAILQ_INIT(&q->ready_consumers);
    TAILQ_INIT(&q->blocked_consumers);
    TAILQ_INIT(&q->bindings);
    if (owner != NULL)
        TAILQ_INSERT_TAIL(&owner->exclusive_queues, q, owner_link);
    HASH_ADD_KEYPTR(hh, v->queues, q->name.p, q->name.n, q);
    return q;
}

struct queue *
queue_new_deleted(struct vhost *v, uint64_t id)
{
    struct queue *q = mem_zalloc(sizeof *q);

    q->vhost = v;
    q->id = id;
    q->refs = 1;
    q->deleted = true;
    backlog_init(&q->ready);
    TAILQ_INIT(&q->chunks);
    TAILQ_INIT(&q->gets);
    return q;
}

void
queue_unref(struct queue *q)
{
    if (--q->refs != 0)
        return;
    free(q->purged);
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

/* The definition goes; where there are chunks it stays as a tombstone until they have gone. */
static void
undefine(struct queue *q)
{
    struct journal *j = &q->vhost->broker->journal;
    struct chunk *c;

    if (q->id == 0)
        return;
    journal_forget_queue(j, q);
    if (TAILQ_EMPTY(&q->chunks))
        journal_del_definition(j, q->id);
    else
        definition_bury_queue(q);
    TAILQ_FOREACH (c, &q->chunks, queue_link)
        journal_bury(j, c);
}

/* Nothing is left that could come back for those who wait. */
static void
finish_gets(struct queue *q)
{
    struct get *g;

    while ((g = TAILQ_FIRST(&q->gets)) != NULL)
        channel_finish_get(g);
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
    q->scheduled = false;
    exchange_unbind_inbound(&q->bindings);
    drop_consumers(&q->ready_consumers);
    drop_consumers(&q->blocked_consumers);
    reaper_take(&q->vhost->broker->reaper, q);
    paging_leave(q);
    undefine(q);
    finish_gets(q);
    queue_unref(q);
}

void
queue_publish(struct queue *q, struct message *m, uint64_t shared)
{
    uint64_t seq = ++q->last_seq;
    struct chunk *chunk = NULL;

    if (queue_stores(q, m))
        chunk = journal_add(&q->vhost->broker->journal, q, m, seq, shared);
    backlog_push(&q->ready, message_ref(m), seq, chunk);
    if (q->ready.resident > q->page_at)
        paging_check(q);
    queue_schedule(q);
}

bool
queue_take(struct queue *q, struct entry *e_r)
{
    if (!backlog_pop(&q->ready, e_r))
        return false;
    /* First deliveries go by ascending numbers; what this process has not delivered may have been
     * before it started. */
    if (e_r->seq <= q->delivered) {
        e_r->redelivered = true;
    } else {
        q->delivered = e_r->seq;
        if (e_r->chunk != NULL)
            journal_touch(&q->vhost->broker->journal, q);
    }
    return true;
}

void
queue_settle_stored(struct queue *q, const struct entry *e)
{
    /* The chunks of a deleted queue go as a whole. */
    if (!q->deleted)
        journal_settle(&q->vhost->broker->journal, e->chunk, e->seq, e->message->body_len);
}

void
queue_requeue(struct queue *q, struct entry e)
{
    if (q->deleted) {
        message_unref(e.message);
        return;
    }
    e.redelivered = true;
    stubs_requeue(q, &e);
    backlog_return(&q->ready, &e);
    queue_schedule(q);
}

/*
 * What has never been delivered is a range of numbers, which the store is told at once; chunks that
 * have others besides are settled message by message.
 */
static void
note_purge(struct queue *q)
{
    struct block *bl;

    if (q->id == 0)
        return;
    TAILQ_FOREACH (bl, &q->ready.blocks, link) {
        if (bl->chunk != NULL && bl->chunk->head.first >= bl->first + bl->start)
            break;
    }
    if (bl == NULL)
        return;
    q->purged = mem_resize(q->purged, q->n_purged + 1U, sizeof *q->purged);
    q->purged[q->n_purged++] = (struct store_range){bl->chunk->head.first, q->last_seq};
}

void
queue_purge(struct queue *q)
{
    if (q->ready.count == 0)
        return;
    note_purge(q);
    q->open = NULL; /* so that its chunk has nothing but what is purged */
    reaper_take(&q->vhost->broker->reaper, q);
    if (q->id != 0)
        journal_touch_now(&q->vhost->broker->journal, q);
    finish_gets(q);
}

void
queue_chunk_gone(struct queue *q)
{
    struct journal *j = &q->vhost->broker->journal;
    const struct chunk *c = TAILQ_FIRST(&q->chunks);

    if (q->deleted && c == NULL)
        journal_del_definition(j, q->id);
    /* Chunks are in the order of their numbers. */
    while (!q->deleted && q->n_purged != 0 && (c == NULL || c->head.first > q->purged[0].to)) {
        q->n_purged--;
        memmove(q->purged, q->purged + 1, q->n_purged * sizeof *q->purged);
        journal_touch(j, q);
    }
}

/* --- what is paged out --- */

void
queue_loaded(struct queue *q)
{
    struct get *g;

    while ((g = TAILQ_FIRST(&q->gets)) != NULL &&
           (backlog_has_resident(&q->ready) || q->ready.count == 0))
        channel_finish_get(g);
    if (!TAILQ_EMPTY(&q->gets) || !TAILQ_EMPTY(&q->ready_consumers))
        paging_read_ahead(q);
    queue_schedule(q);
}

void
queue_forget_get(struct get *g)
{
    if (g->queue == NULL)
        return;
    TAILQ_REMOVE(&g->queue->gets, g, link);
    g->queue = NULL;
}

/* --- dispatch --- */

void
queue_schedule(struct queue *q)
{
    if (q->scheduled || q->ready.count == 0 || TAILQ_EMPTY(&q->ready_consumers))
        return;
    if (!backlog_has_resident(&q->ready)) {
        paging_read_ahead(q);
        return;
    }
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
        if (!queue_take(q, &e))
            break;
        channel_deliver(c->channel, c, e);
        n++;
        if (TAILQ_NEXT(c, queue_link) != NULL) {
            TAILQ_REMOVE(&q->ready_consumers, c, queue_link);
            queue_line_up(q, c);
        }
    }
    if (!TAILQ_EMPTY(&q->ready_consumers))
        paging_read_ahead(q);
    return n;
}
