#include "broker/core/stubs.h"

#include <stdlib.h>

#include "base/mem.h"
#include "broker/core/broker.h"
#include "broker/core/channel.h"
#include "broker/core/message.h"
#include "broker/core/paging.h"
#include "broker/core/queue.h"
#include "broker/core/vhost.h"

enum {
    LOOKED_AT = 4,  /* deliveries, with each new one: more than one, so that this catches up */
    WORTH_MIN = 96, /* bytes of a message that are worth giving back */
};

struct stub_load {
    struct store_load load;
    struct queue *queue; /* a reference */
    struct chunk *chunk; /* a reference */
};

static struct pager *
pager_of(const struct queue *q)
{
    return &q->vhost->broker->pager;
}

/* --- out --- */

static bool
is_stored(const struct queue *q, const struct entry *e)
{
    /* The chunks of a deleted queue go without asking. */
    return e->chunk != NULL && !q->deleted && e->chunk->state == CHUNK_STORED;
}

/* Puts a stub into the entry, if that is possible; returns the memory that this frees. */
static uint64_t
thin(const struct queue *q, struct entry *e)
{
    struct message *m = e->message;
    uint64_t before = backlog_cost(m);

    if (m->is_stub || before < WORTH_MIN || !is_stored(q, e))
        return 0;
    e->message = message_stub(m);
    message_unref(m);
    return before - backlog_cost(e->message);
}

static void
add(struct queue *q, uint64_t cost)
{
    q->unacked_memory += cost;
    pager_of(q)->unacked += cost;
}

static void
subtract(struct queue *q, uint64_t cost)
{
    q->unacked_memory -= cost;
    pager_of(q)->unacked -= cost;
}

static bool
is_over(const struct queue *q)
{
    const struct settings *s = q->vhost->broker->settings;

    return q->unacked_memory > s->queue_memory_max || pager_of(q)->unacked > s->messages_memory_max;
}

/* True when the store will have it in a moment. */
static bool
is_on_its_way(const struct delivery *d)
{
    return d->entry.chunk != NULL && !d->queue->deleted && d->entry.chunk->state < CHUNK_STORED;
}

void
stubs_delivered(struct channel *ch, const struct delivery *d)
{
    struct delivery *old;

    add(d->queue, backlog_cost(d->entry.message));
    if (!is_over(d->queue))
        return;
    for (unsigned n = 0; n < LOOKED_AT && (old = unacked_next(&ch->unacked)) != NULL; n++) {
        if (is_on_its_way(old))
            break;
        ch->unacked.seen = old->tag;
        if (is_over(old->queue))
            subtract(old->queue, thin(old->queue, &old->entry));
    }
}

void
stubs_settled(const struct delivery *d)
{
    subtract(d->queue, backlog_cost(d->entry.message));
}

void
stubs_requeue(struct queue *q, struct entry *e)
{
    if (q->ready.resident > paging_budget(q))
        thin(q, e);
}

/* --- and back --- */

/* The record with this number, looked for from *i on; NULL when it is not there or damaged. */
static const struct store_record *
find_record(const struct store_load *ld, uint64_t seq, uint32_t *i)
{
    while (*i < ld->n_records && ld->head.first + ld->records[*i].offset < seq)
        (*i)++;
    if (*i == ld->n_records || ld->head.first + ld->records[*i].offset != seq ||
        ld->records[*i].bytes == NULL)
        return NULL;
    return &ld->records[*i];
}

/* Gives the entry its bytes back; false when they are lost. */
static bool
fill(struct entry *e, const struct stub_load *sl, uint32_t *i)
{
    const struct store_record *r;
    struct message *m;

    if (!e->message->is_stub || e->chunk != sl->chunk)
        return true;
    r = find_record(&sl->load, e->seq, i);
    if (r == NULL || (m = paging_message(r)) == NULL)
        return false;
    message_unref(e->message);
    e->message = m;
    return true;
}

static void
lose(struct queue *q, struct entry *e, enum store_status status)
{
    /* What cannot be read now may be readable after a restart. */
    if (status != STORE_FAILED && status != STORE_FULL)
        queue_settle(q, e);
    else
        message_unref(e->message);
}

/* Fills the entries at the front, as far as the chunk goes. */
static void
fill_front(struct queue *q, const struct stub_load *sl)
{
    struct backlog *b = &q->ready;
    uint64_t last = sl->load.head.first + sl->load.head.span;
    struct entry *filled = mem_resize(NULL, sl->load.head.n + 1UL, sizeof *filled);
    size_t n = 0;
    uint32_t i = 0, lost = 0, of = 0;

    while (n <= sl->load.head.n && b->n_returned != 0 && b->returned[0].seq <= last) {
        struct entry e;
        backlog_pop_returned(b, &e);
        of += e.message->is_stub;
        if (fill(&e, sl, &i)) {
            filled[n++] = e;
        } else {
            lose(q, &e, sl->load.status);
            lost++;
        }
    }
    while (n != 0)
        backlog_return(b, &filled[--n]);
    free(filled);
    if (lost != 0)
        paging_report_lost(q, lost, of, sl->load.status);
}

static void
on_loaded(struct store_load *ld)
{
    struct stub_load *sl = (void *)((char *)ld - offsetof(struct stub_load, load));
    struct queue *q = sl->queue;

    q->stub_load = NULL;
    fill_front(q, sl);
    queue_loaded(q);
    store_load_free(ld);
    chunk_unref(sl->chunk);
    free(sl);
    queue_unref(q);
}

void
stubs_load(struct queue *q)
{
    struct chunk *c = q->ready.returned[0].chunk;
    struct stub_load *sl;

    if (q->stub_load != NULL)
        return;
    sl = mem_zalloc(sizeof *sl);
    sl->queue = q;
    q->refs++;
    sl->chunk = c;
    c->refs++;
    q->stub_load = sl;
    sl->load.space = STORE_DURABLE;
    sl->load.head = c->head;
    sl->load.done = on_loaded;
    store_load(q->vhost->broker->journal.store, &sl->load);
}
