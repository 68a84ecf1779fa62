#include "broker/core/paging.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "broker/core/backlog.h"
#include "broker/core/broker.h"
#include "broker/core/message.h"
#include "broker/core/queue.h"
#include "broker/core/stubs.h"
#include "broker/core/vhost.h"
#include "protocol/props.h"

enum {
    LOADS_MAX = 64,             /* chunks of a queue on their way back at the same time */
    MERGE_MIN = CHUNK_FULL / 4, /* bytes of a chunk that is worth a place of its own */
};

/* Blocks first .. last of a queue on their way out, one behind the other. Each message is held by a
 * reference, so that it stays while it is written. */
struct page_out {
    struct queue *queue; /* a reference; its list has the blocks, unless they stay */
    struct block *first, *last;
    bool is_void; /* the blocks stay */
    struct chunk_head head;
    struct store_record *records;
    uint64_t cost;
};

struct page_load {
    struct store_load load;
    struct queue *queue; /* a reference */
    struct block *block; /* NULL: it is not wanted any more */
};

static struct broker *
broker_of(const struct queue *q)
{
    return q->vhost->broker;
}

uint64_t
paging_budget(const struct queue *q)
{
    uint64_t own = broker_of(q)->settings->queue_memory_max, share = broker_of(q)->pager.budget;

    return own < share ? own : share;
}

static uint64_t
step(const struct queue *q)
{
    uint64_t half = paging_budget(q) / 2;

    return half < PAGING_STEP ? half : PAGING_STEP;
}

static struct message *
message_of(const struct store_record *r)
{
    return (void *)(uintptr_t)(r->bytes - offsetof(struct message, bytes));
}

static void
no_answer(void *ctx, enum store_status status)
{
    (void)ctx, (void)status;
}

/* --- the paging space --- */

static void
delete_page(struct queue *q, const struct chunk_head *head)
{
    struct store *s = broker_of(q)->journal.store;

    if (s == NULL)
        return;
    struct store_batch *b = store_batch_new();
    store_del_chunk(b, head);
    store_submit(s, STORE_PAGING, b, no_answer, NULL);
}

/* What a block keeps where its slots were. */
struct absent {
    uint64_t bytes, stored_bytes; /* of bodies: of all messages, and of those in the chunk */
    struct chunk_head head;       /* in the paging space */
};

static struct absent *
absent(struct block *bl)
{
    return (void *)bl->slots;
}

static struct block *
paged_block(uint64_t first, uint32_t start, uint32_t end, struct chunk *chunk)
{
    struct block *bl = mem_zalloc(sizeof *bl + sizeof(struct absent));

    bl->first = first;
    bl->start = start;
    bl->end = end;
    bl->state = BLOCK_PAGED;
    bl->chunk = chunk;
    if (chunk != NULL)
        chunk->refs++;
    return bl;
}

void
paging_recovered(struct queue *q, struct chunk *c)
{
    struct block *bl = paged_block(c->head.first, 0, c->head.span + 1, c);

    bl->count = bl->n_stored = c->live;
    bl->cost = c->head.bytes + c->live * (sizeof(struct message) + 64);
    absent(bl)->bytes = absent(bl)->stored_bytes = c->head.bytes - c->dead_bytes;
    TAILQ_INSERT_TAIL(&q->ready.blocks, bl, link);
    q->ready.count += c->live;
    q->ready.bytes += absent(bl)->bytes;
    q->ready.n_paged++;
}

/* --- out --- */

/* The memory in front of the first block that is out. */
static void
count_front(struct backlog *b)
{
    struct block *bl;

    b->front = 0;
    TAILQ_FOREACH (bl, &b->blocks, link) {
        if (bl->state >= BLOCK_PAGED)
            break;
        b->front += bl->cost;
    }
}

/* Moves a resident block's messages out of memory into the sums of one that is paged out. */
static void
drop_messages(struct block *from, struct block *to)
{
    for (uint32_t i = from->start; i < from->end; i++) {
        struct message *m = from->slots[i];
        if (m == NULL)
            continue;
        absent(to)->bytes += m->body_len;
        if (m->persistent && from->chunk != NULL)
            absent(to)->stored_bytes += m->body_len;
        message_unref(m);
    }
    to->count += from->count;
    to->n_stored += from->n_stored;
    to->cost += from->cost;
}

/* The blocks first .. last of the queue become one that is paged out. */
static struct block *
replace_by_paged(struct queue *q, struct block *first, struct block *last)
{
    struct backlog *b = &q->ready;
    struct block *bl, *next;
    uint32_t end = (uint32_t)(last->first + last->end - first->first);
    struct block *paged = paged_block(first->first, first->start, end, first->chunk);

    TAILQ_INSERT_BEFORE(first, paged, link);
    for (bl = first; bl != NULL; bl = next) {
        next = bl != last ? TAILQ_NEXT(bl, link) : NULL;
        drop_messages(bl, paged);
        TAILQ_REMOVE(&b->blocks, bl, link);
        block_free(bl);
    }
    b->resident -= paged->cost;
    b->n_paged++;
    count_front(b);
    return paged;
}

/* Resident blocks, one behind the other, with the same chunk or none. */
struct run {
    struct block *last;
    uint32_t n, n_stored; /* messages, and those of them that are in the chunk */
    uint64_t cost;
};

/* At most what one chunk of the paging space may have, when there is no chunk already. */
static struct run
measure_run(struct block *first)
{
    struct run run = {.last = first};
    struct block *bl;

    for (bl = first; bl != NULL && bl->chunk == first->chunk; bl = TAILQ_NEXT(bl, link)) {
        bool is_full =
            run.cost >= CHUNK_FULL || bl->first + bl->end - first->first > CHUNK_SPAN_MAX;
        if (bl->state != BLOCK_RESIDENT || (first->chunk == NULL && bl != first && is_full))
            break;
        run.n += bl->count;
        run.n_stored += bl->n_stored;
        run.cost += bl->cost;
        run.last = bl;
    }
    return run;
}

static void
on_page_written(void *ctx, enum store_status status)
{
    struct page_out *po = ctx;
    struct queue *q = po->queue;
    struct broker *b = broker_of(q);

    b->pager.behind -= po->cost;
    q->n_leaving--;
    if (status != STORE_OK && !po->is_void)
        paging_stay(po->first);
    if (!po->is_void) {
        struct block *paged = replace_by_paged(q, po->first, po->last);
        paged->in_paging_space = true;
        absent(paged)->head = po->head;
    } else if (status == STORE_OK) {
        delete_page(q, &po->head);
    } else {
        log_warning("queue " RESOURCE_FMT ": messages cannot be paged out",
                    RESOURCE_ARGS(q->vhost, q->name));
    }
    for (uint32_t i = 0; i < po->head.n; i++)
        message_unref(message_of(&po->records[i]));
    free(po->records);
    free(po);
    /* Only now is it known how much is left in memory. */
    if (status == STORE_OK)
        paging_check(q);
    broker_release_publishers(b);
    queue_unref(q);
}

/* Takes the messages of a block along, each with a reference. */
static void
take_along(struct page_out *po, struct block *bl, uint32_t *n)
{
    bl->state = BLOCK_LEAVING;
    bl->leaving = po;
    for (uint32_t i = bl->start; i < bl->end; i++) {
        struct message *m = bl->slots[i];
        if (m == NULL)
            continue;
        po->records[(*n)++] = (struct store_record){
            .bytes = message_ref(m)->bytes,
            .props_len = m->props_len,
            .body_len = (uint32_t)m->body_len,
            .offset = (uint32_t)(bl->first + i - po->head.first),
            .address_len = m->address_len,
        };
        po->head.bytes += m->body_len;
    }
}

/* Begins to write a run to the paging space. */
static void
page_out(struct queue *q, struct block *first, const struct run *run)
{
    struct page_out *po = mem_zalloc(sizeof *po);
    struct journal *j = &broker_of(q)->journal;
    struct block *bl = first;
    uint32_t n = 0;

    po->queue = q;
    q->refs++;
    po->first = first;
    po->last = run->last;
    po->cost = run->cost;
    po->records = mem_resize(NULL, run->n, sizeof *po->records);
    po->head = (struct chunk_head){.queue = q->page_id, .first = first->first, .n = run->n};
    for (; bl != run->last; bl = TAILQ_NEXT(bl, link))
        take_along(po, bl, &n);
    take_along(po, bl, &n);
    po->head.span = po->records[n - 1].offset;
    broker_of(q)->pager.behind += po->cost;
    q->n_leaving++;
    struct store_batch *b = store_batch_new();
    store_put_chunk(b, &po->head, po->records);
    store_submit(j->store, STORE_PAGING, b, on_page_written, po);
}

void
paging_stay(struct block *bl)
{
    struct page_out *po = bl->leaving;

    po->is_void = true;
    for (bl = po->first; bl != NULL; bl = bl != po->last ? TAILQ_NEXT(bl, link) : NULL) {
        bl->state = BLOCK_RESIDENT;
        bl->leaving = NULL;
    }
}

/* The first block that may leave: behind those that are out or leaving, or behind the front. */
static struct block *
first_leaver(struct queue *q)
{
    struct block *bl;
    uint64_t front = 0;

    TAILQ_FOREACH_REVERSE (bl, &q->ready.blocks, block_list, link) {
        if (bl->state != BLOCK_RESIDENT)
            return TAILQ_NEXT(bl, link);
    }
    TAILQ_FOREACH (bl, &q->ready.blocks, link) {
        front += bl->cost;
        if (front >= paging_budget(q) / 2)
            return TAILQ_NEXT(bl, link);
    }
    return NULL;
}

/* True when the run's messages are exactly those of its chunk that are live. */
static bool
is_whole(const struct block *first, const struct run *run)
{
    const struct chunk *c = first->chunk;

    return c != NULL && c->state == CHUNK_STORED && run->n == c->live && run->n_stored == run->n;
}

/* Moves a run's messages to another chunk; its blocks, too. */
static void
move_run(struct queue *q, struct block *first, const struct run *run, struct chunk *to)
{
    struct journal *j = &broker_of(q)->journal;
    struct chunk *from = first->chunk;

    journal_replace(to, from);
    for (struct block *bl = first;; bl = TAILQ_NEXT(bl, link)) {
        for (uint32_t i = bl->start; i < bl->end; i++) {
            if (bl->slots[i] != NULL)
                journal_move(j, to, bl->slots[i], bl->first + i);
        }
        to->refs++;
        bl->chunk = to;
        chunk_unref(from);
        if (bl == run->last)
            break;
    }
}

static bool
is_small(const struct block *first, const struct run *run)
{
    return is_whole(first, run) && run->cost < MERGE_MIN && !first->chunk->head.has_shared;
}

/*
 * Small chunks, as a slow publisher makes them, would cost more memory each than their messages:
 * what one chunk can take of them, from `first` on, becomes one, which can leave when it is stored.
 * NULL when that has to wait, for that or for more of them; else the next block that is none of
 * them.
 */
static struct block *
merge(struct queue *q, struct block *first)
{
    struct block *bl = first;
    uint64_t cost = 0;
    unsigned n = 0;
    struct run run;

    for (; bl != NULL; bl = TAILQ_NEXT(run.last, link), n++) {
        run = measure_run(bl);
        if (!is_small(bl, &run) || bl->first + bl->end - first->first > CHUNK_SPAN_MAX ||
            cost + run.cost > CHUNK_FULL)
            break;
        cost += run.cost;
    }
    if (bl == NULL ||
        (n > 1 && cost < MERGE_MIN && bl->chunk != NULL && bl->chunk->state < CHUNK_STORED))
        return NULL; /* the list ends with more of them */
    if (n == 1) {
        run = measure_run(first);
        replace_by_paged(q, first, run.last);
        return bl;
    }
    struct chunk *to = journal_merge(&broker_of(q)->journal, first->chunk);
    for (struct block *from = first; from != bl; from = TAILQ_NEXT(run.last, link)) {
        run = measure_run(from);
        move_run(q, from, &run, to);
    }
    return NULL;
}

/* Lets the run that begins with this block leave, if it can; the next one, or NULL when that must
 * wait. */
static struct block *
leave(struct queue *q, struct block *first)
{
    struct chunk *c = first->chunk;
    struct run run = measure_run(first);
    struct block *next = TAILQ_NEXT(run.last, link);

    /* The last block is still being filled, and what is not stored yet will be in a moment. */
    if (next == NULL || (c != NULL && c->state < CHUNK_STORED))
        return NULL;
    if (run.n == 0)
        return next;
    if (is_small(first, &run))
        return merge(q, first);
    if (is_whole(first, &run))
        replace_by_paged(q, first, run.last);
    else if (c == NULL && run.cost < CHUNK_FULL && run.cost < paging_budget(q) / 2 &&
             next->chunk == NULL)
        return NULL; /* it will be more */
    else
        page_out(q, first, &run);
    return next;
}

/* Whatever of the queue can leave does, down to what it may keep. */
static void
shrink(struct queue *q)
{
    if (q->ready.resident <= paging_budget(q) || broker_of(q)->journal.store == NULL || q->deleted)
        return;
    for (struct block *bl = first_leaver(q); bl != NULL;)
        bl = leave(q, bl);
}

/* --- all queues together --- */

void
pager_init(struct pager *pg)
{
    TAILQ_INIT(&pg->heavy);
    pg->budget = UINT64_MAX;
}

static void
weigh(struct pager *pg, struct queue *q)
{
    bool is_heavy = q->ready.resident >= PAGING_STEP;

    if (is_heavy && !q->is_heavy) {
        TAILQ_INSERT_TAIL(&pg->heavy, q, pager_link);
        pg->n_heavy++;
    } else if (!is_heavy && q->is_heavy) {
        TAILQ_REMOVE(&pg->heavy, q, pager_link);
        pg->n_heavy--;
    }
    q->is_heavy = is_heavy;
    pg->memory -= q->pager_memory;
    q->pager_memory = is_heavy ? q->ready.resident : 0;
    pg->memory += q->pager_memory;
}

/* All have together more than they may: each gets an equal share. */
static void
share_out(struct broker *b)
{
    struct pager *pg = &b->pager;
    uint64_t max = b->settings->messages_memory_max;
    struct queue *q, *next;

    TAILQ_FOREACH_SAFE (q, &pg->heavy, pager_link, next)
        weigh(pg, q);
    if (pg->memory <= max) {
        if (pg->memory <= max / 2)
            pg->budget = UINT64_MAX;
        return;
    }
    pg->budget = max / pg->n_heavy;
    if (pg->budget < PAGING_STEP)
        pg->budget = PAGING_STEP;
    TAILQ_FOREACH (q, &pg->heavy, pager_link)
        shrink(q);
}

void
paging_check(struct queue *q)
{
    struct broker *b = broker_of(q);

    weigh(&b->pager, q);
    if (b->pager.memory > b->settings->messages_memory_max)
        share_out(b);
    else
        shrink(q);
    q->page_at = q->ready.resident + step(q);
}

void
paging_enter(struct queue *q)
{
    q->page_at = step(q);
}

void
paging_leave(struct queue *q)
{
    weigh(&broker_of(q)->pager, q);
    q->page_at = step(q);
}

/* --- in --- */

struct message *
paging_message(const struct store_record *r)
{
    struct slice address = slice_of(r->bytes, r->address_len);
    struct slice props = slice_of(r->bytes + r->address_len, r->props_len);
    struct amqp_props decoded;

    /* What has a right checksum is what we wrote, which was checked when it came in; but still. */
    if (r->address_len < 2 || r->bytes[0] + 2U > r->address_len ||
        r->bytes[0] + 2U + r->bytes[r->bytes[0] + 1] != r->address_len ||
        !amqp_props_decode(props, &decoded))
        return NULL;
    struct message *m = message_new(address, props, r->body_len);
    if (m == NULL)
        return NULL;
    m->persistent = (decoded.flags & AMQP_PROP(delivery_mode)) && decoded.delivery_mode == 2;
    memcpy(message_body(m), r->bytes + r->address_len + r->props_len, r->body_len);
    return m;
}

/* Puts a loaded message into its slot, if it is one that was wanted. */
static void
put_record(struct block *to, const struct block *from, const struct store_load *ld,
           const struct store_record *r, uint64_t *bytes)
{
    uint64_t seq = ld->head.first + r->offset;
    struct message *m;

    if (seq < to->first || seq - to->first >= to->end ||
        (!from->in_paging_space && chunk_is_dead(from->chunk, r->offset)))
        return;
    if (r->bytes == NULL || (m = paging_message(r)) == NULL)
        return;
    to->slots[seq - to->first] = m;
    to->count++;
    to->n_stored += m->persistent && to->chunk != NULL;
    to->cost += backlog_cost(m);
    *bytes += m->body_len;
}

/* Messages that were there and cannot be read are gone; what is left of their chunk need not wait
 * for them. */
static void
settle_lost(struct queue *q, const struct block *from, const struct block *to,
            const struct store_load *ld)
{
    struct journal *j = &broker_of(q)->journal;

    if (from->in_paging_space || from->chunk == NULL || ld->status == STORE_FAILED)
        return;
    if (ld->status != STORE_OK) {
        if (from->chunk->live == from->n_stored)
            journal_bury(j, from->chunk);
        return;
    }
    for (uint32_t i = 0; i < ld->n_records; i++) {
        const struct store_record *r = &ld->records[i];
        uint64_t seq = ld->head.first + r->offset;
        if (seq >= to->first && seq - to->first < to->end && to->slots[seq - to->first] == NULL &&
            !chunk_is_dead(from->chunk, r->offset))
            journal_settle(j, from->chunk, seq, r->body_len);
    }
}

void
paging_report_lost(const struct queue *q, uint32_t lost, uint32_t of, enum store_status status)
{
    static const char *const reasons[] = {
        [STORE_OK] = "damaged",
        [STORE_ABSENT] = "not there",
        [STORE_FULL] = "too large for the memory there is",
        [STORE_FAILED] = "unreadable: the disk failed",
        [STORE_DAMAGED] = "damaged",
    };

    log_error("queue " RESOURCE_FMT ": %" PRIu32 " of %" PRIu32
              " messages in a chunk of the store are lost: they are %s",
              RESOURCE_ARGS(q->vhost, q->name), lost, of, reasons[status]);
}

/* The block that a loaded chunk makes of one that was out. */
static struct block *
loaded_block(struct queue *q, struct block *from, const struct store_load *ld)
{
    uint32_t n = from->end - from->start;
    struct block *to = block_new(from->first + from->start, n, from->chunk);
    struct backlog *b = &q->ready;
    uint64_t bytes = 0;

    memset(to->slots, 0, n * sizeof *to->slots);
    to->end = n;
    for (uint32_t i = 0; i < ld->n_records; i++)
        put_record(to, from, ld, &ld->records[i], &bytes);
    if (to->count < from->count) {
        paging_report_lost(q, from->count - to->count, from->count, ld->status);
        settle_lost(q, from, to, ld);
        b->count -= from->count - to->count;
        b->bytes -= absent(from)->bytes - bytes;
    }
    b->resident += to->cost;
    return to;
}

static void
on_loaded(struct store_load *ld)
{
    struct page_load *pl = (void *)((char *)ld - offsetof(struct page_load, load));
    struct queue *q = pl->queue;
    struct block *from = pl->block;

    q->n_loading--;
    if (from != NULL) {
        struct block *to = loaded_block(q, from, ld);
        TAILQ_INSERT_BEFORE(from, to, link);
        from->loading = NULL;
        q->loading_cost -= from->cost;
        if (from->in_paging_space)
            delete_page(q, &absent(from)->head);
        TAILQ_REMOVE(&q->ready.blocks, from, link);
        block_free(from);
        if (to->count == 0) {
            TAILQ_REMOVE(&q->ready.blocks, to, link);
            block_free(to);
        }
        q->ready.n_paged--;
        count_front(&q->ready);
        queue_loaded(q);
    }
    store_load_free(ld);
    free(pl);
    queue_unref(q);
}

static void
load(struct queue *q, struct block *bl)
{
    struct page_load *pl = mem_zalloc(sizeof *pl);

    pl->queue = q;
    q->refs++;
    pl->block = bl;
    bl->state = BLOCK_LOADING;
    bl->loading = pl;
    q->n_loading++;
    q->loading_cost += bl->cost;
    pl->load.space = bl->in_paging_space ? STORE_PAGING : STORE_DURABLE;
    pl->load.head = bl->in_paging_space ? absent(bl)->head : bl->chunk->head;
    pl->load.done = on_loaded;
    store_load(broker_of(q)->journal.store, &pl->load);
}

void
paging_read_ahead(struct queue *q)
{
    struct backlog *b = &q->ready;
    uint64_t ahead = b->front + q->loading_cost, enough = paging_budget(q) / 2;
    struct block *bl;

    if (broker_of(q)->journal.store == NULL)
        return;
    if (backlog_begins_with_stub(b))
        stubs_load(q);
    if (b->n_paged == 0 || ahead >= enough || q->n_loading > LOADS_MAX / 2)
        return;
    TAILQ_FOREACH (bl, &b->blocks, link) {
        if (bl->state != BLOCK_PAGED)
            continue;
        load(q, bl);
        ahead += bl->cost;
        if (ahead >= enough || q->n_loading == LOADS_MAX)
            break;
    }
}

void
paging_forget(struct queue *q, struct block *bl)
{
    if (bl->state == BLOCK_LEAVING)
        paging_stay(bl);
    if (bl->state == BLOCK_LOADING) {
        bl->loading->block = NULL;
        q->loading_cost -= bl->cost;
    }
    if (bl->in_paging_space)
        delete_page(q, &absent(bl)->head);
}

uint64_t
paging_stored_bytes(struct block *bl)
{
    return absent(bl)->stored_bytes;
}
