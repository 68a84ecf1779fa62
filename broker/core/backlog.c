#include "broker/core/backlog.h"

#include <stdlib.h>

#include "base/mem.h"
#include "broker/core/chunk.h"
#include "broker/core/message.h"
#include "broker/core/paging.h"

/* A lone message in each of many queues should cost little, a long backlog few allocations. */
enum { BLOCK_MIN = 8, BLOCK_MAX = 120 };

void
backlog_init(struct backlog *b)
{
    *b = (struct backlog){0};
    TAILQ_INIT(&b->blocks);
}

struct block *
block_new(uint64_t first, uint32_t cap, struct chunk *chunk)
{
    struct block *bl = mem_alloc(sizeof *bl + cap * sizeof *bl->slots);

    *bl = (struct block){.first = first, .cap = cap, .chunk = chunk};
    if (chunk != NULL)
        chunk->refs++;
    return bl;
}

void
block_free(struct block *bl)
{
    if (bl->chunk != NULL)
        chunk_unref(bl->chunk);
    free(bl);
}

/* A message may join the last block if it has room for its number and is in no other chunk. Large
 * messages make short blocks: a block leaves memory as a whole. */
static bool
has_room(const struct block *bl, const struct message *m, uint64_t seq, const struct chunk *chunk)
{
    return bl != NULL && bl->end < bl->cap && bl->first + bl->end == seq &&
           (bl->chunk == chunk || !m->persistent) && bl->state == BLOCK_RESIDENT &&
           bl->cost < CHUNK_FULL;
}

/* Twice what the block before took, so that neither few messages nor small chunks cost much. */
static uint32_t
next_cap(const struct block *bl)
{
    uint32_t cap = bl == NULL ? 0 : 2 * (bl->end - bl->start);

    return cap < BLOCK_MIN ? BLOCK_MIN : cap > BLOCK_MAX ? BLOCK_MAX : cap;
}

void
backlog_push(struct backlog *b, struct message *m, uint64_t seq, struct chunk *chunk)
{
    struct block *bl = TAILQ_LAST(&b->blocks, block_list);
    uint64_t cost = backlog_cost(m);

    if (!has_room(bl, m, seq, chunk)) {
        bl = block_new(seq, next_cap(bl), chunk);
        TAILQ_INSERT_TAIL(&b->blocks, bl, link);
    }
    bl->slots[bl->end++] = m;
    bl->count++;
    bl->n_stored += chunk != NULL;
    bl->cost += cost;
    b->count++;
    b->bytes += m->body_len;
    b->resident += cost;
    if (b->n_paged == 0)
        b->front += cost;
}

void
backlog_return(struct backlog *b, const struct entry *e)
{
    if (b->n_returned == b->cap_returned) {
        b->cap_returned = b->cap_returned == 0 ? 16 : 2 * b->cap_returned;
        b->returned = mem_resize(b->returned, b->cap_returned, sizeof *b->returned);
    }
    size_t pos = b->n_returned++;
    while (pos > 0 && b->returned[(pos - 1) / 2].seq > e->seq) {
        b->returned[pos] = b->returned[(pos - 1) / 2];
        pos = (pos - 1) / 2;
    }
    b->returned[pos] = *e;
    b->count++;
    b->bytes += e->message->body_len;
    b->resident += backlog_cost(e->message);
}

/* Takes the top of the heap. */
static void
pop_heap(struct backlog *b, struct entry *e_r)
{
    struct entry *h = b->returned;
    size_t n = --b->n_returned, pos = 0;
    struct entry last = h[n];

    *e_r = h[0];
    for (size_t child; (child = 2 * pos + 1) < n; pos = child) {
        if (child + 1 < n && h[child + 1].seq < h[child].seq)
            child++;
        if (h[child].seq >= last.seq)
            break;
        h[pos] = h[child];
    }
    h[pos] = last;
    if (n == 0) {
        free(b->returned);
        b->returned = NULL;
        b->cap_returned = 0;
    }
}

/* A message leaves its block; `cost` is its own. */
static void
leave_block(struct block *bl, struct entry *e, uint64_t cost)
{
    bl->count--;
    bl->cost -= cost;
    if (bl->chunk == NULL || !e->message->persistent)
        return;
    /* The chunk lives as long as it has messages that are not settled, such as this one. */
    bl->n_stored--;
    e->chunk = bl->chunk;
}

/* Takes the first message of the list, if it is resident; its cost, or 0. */
static uint64_t
pop_listed(struct backlog *b, struct entry *e_r)
{
    struct block *bl;
    struct message *m = NULL;
    uint64_t cost = 0;

    while (m == NULL) {
        bl = TAILQ_FIRST(&b->blocks);
        if (bl == NULL || bl->state >= BLOCK_PAGED)
            return 0;
        if (bl->state == BLOCK_LEAVING)
            paging_stay(bl);
        m = bl->slots[bl->start];
        *e_r = (struct entry){.message = m, .seq = bl->first + bl->start};
        if (m != NULL) {
            cost = backlog_cost(m);
            leave_block(bl, e_r, cost);
        }
        if (++bl->start != bl->end)
            continue;
        TAILQ_REMOVE(&b->blocks, bl, link);
        block_free(bl);
    }
    b->front -= cost;
    return cost;
}

static void
uncount(struct backlog *b, const struct entry *e, uint64_t cost)
{
    b->count--;
    b->bytes -= e->message->body_len;
    b->resident -= cost;
}

void
backlog_pop_returned(struct backlog *b, struct entry *e_r)
{
    pop_heap(b, e_r);
    uncount(b, e_r, backlog_cost(e_r->message));
}

bool
backlog_pop(struct backlog *b, struct entry *e_r)
{
    uint64_t cost;

    if (backlog_begins_with_stub(b))
        return false;
    if (b->n_returned != 0) {
        backlog_pop_returned(b, e_r);
        return true;
    }
    cost = pop_listed(b, e_r);
    if (cost == 0)
        return false;
    uncount(b, e_r, cost);
    return true;
}
