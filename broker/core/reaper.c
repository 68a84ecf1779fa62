#include "broker/core/reaper.h"

#include <stdlib.h>

#include "base/mem.h"
#include "broker/core/backlog.h"
#include "broker/core/broker.h"
#include "broker/core/message.h"
#include "broker/core/paging.h"
#include "broker/core/queue.h"
#include "broker/core/vhost.h"

/* Messages and blocks of one slice: some hundred microseconds. */
enum { SLICE = 4096 };

struct reap {
    struct queue *queue; /* a reference */
    struct backlog backlog;
    TAILQ_ENTRY(reap) link;
};

void
reaper_init(struct reaper *r)
{
    TAILQ_INIT(&r->reaps);
}

void
reaper_take(struct reaper *r, struct queue *q)
{
    struct block *bl;

    /* A block whose last messages were settled long ago may be there without any. */
    if (q->ready.count == 0 && TAILQ_EMPTY(&q->ready.blocks))
        return;
    /* Answers that are under way must not find the blocks in another list. */
    TAILQ_FOREACH (bl, &q->ready.blocks, link)
        if (bl->state != BLOCK_RESIDENT)
            paging_forget(q, bl);
    struct reap *reap = mem_alloc(sizeof *reap);
    reap->queue = q;
    q->refs++;
    reap->backlog = q->ready;
    TAILQ_INIT(&reap->backlog.blocks);
    TAILQ_CONCAT(&reap->backlog.blocks, &q->ready.blocks, link);
    backlog_init(&q->ready);
    paging_leave(q);
    TAILQ_INSERT_TAIL(&r->reaps, reap, link);
    broker_want_tick(q->vhost->broker);
}

/* What was out: nothing of it is in memory. */
static void
reap_paged(struct queue *q, struct block *bl)
{
    struct chunk *c = bl->chunk;

    if (c == NULL || q->deleted || c->state >= CHUNK_DOOMED)
        return;
    if (c->live == bl->n_stored) {
        journal_bury(&q->vhost->broker->journal, c);
        return;
    }
    journal_settle_range(&q->vhost->broker->journal, c, bl->first + bl->start,
                         bl->first + bl->end - 1, bl->n_stored, paging_stored_bytes(bl));
}

static unsigned
reap_block(struct queue *q, struct block *bl)
{
    unsigned n = 1;

    if (bl->cap == 0)
        reap_paged(q, bl);
    for (; bl->cap != 0 && bl->start < bl->end; bl->start++, n++) {
        struct message *m = bl->slots[bl->start];
        if (m == NULL)
            continue;
        struct entry e = {m, bl->first + bl->start, m->persistent ? bl->chunk : NULL, false};
        queue_settle(q, &e);
    }
    return n;
}

/* The next piece of one backlog; 0 when there is none left. */
static unsigned
reap_some(struct reap *reap)
{
    struct backlog *b = &reap->backlog;
    struct block *bl = TAILQ_FIRST(&b->blocks);
    unsigned n;

    /* These first: the range of numbers that a purge writes does not have them. */
    if (b->n_returned != 0) {
        queue_settle(reap->queue, &b->returned[--b->n_returned]);
        return 1;
    }
    if (bl == NULL)
        return 0;
    TAILQ_REMOVE(&b->blocks, bl, link);
    n = reap_block(reap->queue, bl);
    block_free(bl);
    return n;
}

static void
reap_end(struct reaper *r, struct reap *reap)
{
    struct queue *q = reap->queue;

    TAILQ_REMOVE(&r->reaps, reap, link);
    free(reap->backlog.returned);
    free(reap);
    queue_unref(q);
}

bool
reaper_run(struct reaper *r)
{
    struct reap *reap;
    unsigned left = SLICE;

    while (left != 0 && (reap = TAILQ_FIRST(&r->reaps)) != NULL) {
        unsigned n = reap_some(reap);
        if (n == 0)
            reap_end(r, reap);
        left = n < left ? left - n : 0;
    }
    return !TAILQ_EMPTY(&r->reaps);
}

void
reaper_fini(struct reaper *r)
{
    while (reaper_run(r))
        continue;
}
