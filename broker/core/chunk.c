#include "broker/core/chunk.h"

#include <stdlib.h>

#include "base/mem.h"
#include "broker/core/message.h"
#include "broker/core/queue.h"

struct chunk *
chunk_new(struct queue *q, uint64_t first)
{
    struct chunk *c = mem_zalloc(sizeof *c);

    c->queue = q;
    c->head.queue = q->id;
    c->head.first = first;
    c->refs = 1;
    q->refs++;
    TAILQ_INIT(&c->replaces);
    TAILQ_INSERT_TAIL(&q->chunks, c, queue_link);
    return c;
}

struct chunk *
chunk_new_before(struct chunk *old)
{
    struct queue *q = old->queue;
    struct chunk *c = chunk_new(q, old->head.first);

    TAILQ_REMOVE(&q->chunks, c, queue_link);
    TAILQ_INSERT_BEFORE(old, c, queue_link);
    return c;
}

struct chunk *
chunk_recovered(struct queue *q, const struct chunk_head *head, const struct chunk_dead *dead)
{
    struct chunk *c = chunk_new(q, head->first);

    c->head = *head;
    c->state = CHUNK_STORED;
    c->live = head->n;
    if (dead != NULL) {
        c->dead = mem_dup(dead->bits, chunk_dead_size(head->span));
        c->n_dead = dead->n;
        c->dead_bytes = dead->bytes;
        c->live -= dead->n;
    }
    return c;
}

void
chunk_unref(struct chunk *c)
{
    if (--c->refs == 0) {
        free(c->dead);
        free(c->shared);
        free(c);
    }
}

bool
chunk_has_room(const struct chunk *c, uint64_t seq, uint64_t size)
{
    return c->n_records == 0 || (c->weight + size + CHUNK_RECORD_OVERHEAD <= CHUNK_FULL &&
                                 seq - c->head.first <= CHUNK_SPAN_MAX);
}

void
chunk_add(struct chunk *c, struct message *m, uint64_t seq, uint64_t shared)
{
    if (c->n_records == c->cap_records) {
        c->cap_records = c->cap_records == 0 ? 4 : 2 * c->cap_records;
        c->records = mem_resize(c->records, c->cap_records, sizeof *c->records);
    }
    c->records[c->n_records++] = (struct store_record){
        .bytes = message_ref(m)->bytes,
        .props_len = m->props_len,
        .body_len = (uint32_t)m->body_len,
        .shared = shared,
        .offset = (uint32_t)(seq - c->head.first),
        .address_len = m->address_len,
    };
    c->weight += store_record_size(&c->records[c->n_records - 1]) + CHUNK_RECORD_OVERHEAD;
    c->live++;
}

static struct message *
message_of(const struct store_record *r)
{
    return (void *)(uintptr_t)(r->bytes - offsetof(struct message, bytes));
}

/* The record of a number: usually all numbers are there, so it is where it would be then. */
static struct store_record *
find_record(const struct chunk *c, uint32_t offset)
{
    uint32_t lo = 0, hi = c->n_records;

    if (offset < c->n_records && c->records[offset].offset == offset)
        return &c->records[offset];
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (c->records[mid].offset < offset)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < c->n_records && c->records[lo].offset == offset ? &c->records[lo] : NULL;
}

uint64_t
chunk_drop_record(struct chunk *c, uint64_t seq)
{
    struct store_record *r = find_record(c, (uint32_t)(seq - c->head.first));

    if (r == NULL || r->bytes == NULL)
        return 0;
    message_unref(message_of(r));
    r->bytes = NULL;
    c->live--;
    return r->shared;
}

bool
chunk_seal(struct chunk *c)
{
    struct chunk_head *h = &c->head;
    uint32_t n = 0;

    h->bytes = 0;
    h->has_shared = false;
    for (uint32_t i = 0; i < c->n_records; i++) {
        struct store_record *r = &c->records[i];
        if (r->bytes == NULL)
            continue;
        h->bytes += r->body_len;
        h->has_shared |= r->shared != 0;
        c->records[n++] = *r;
    }
    c->n_records = h->n = n;
    if (n == 0)
        return false;
    h->span = c->records[n - 1].offset;
    return true;
}

void
chunk_release_records(struct chunk *c)
{
    for (uint32_t i = 0; i < c->n_records; i++) {
        if (c->records[i].bytes != NULL)
            message_unref(message_of(&c->records[i]));
    }
    free(c->records);
    c->records = NULL;
    c->n_records = c->cap_records = 0;
}

static void
mark(struct chunk *c, uint32_t offset)
{
    if (c->dead == NULL)
        c->dead = mem_zalloc(chunk_dead_size(c->head.span));
    c->dead[offset / 8] |= (uint8_t)(1U << offset % 8);
}

bool
chunk_mark_dead(struct chunk *c, uint64_t seq, uint64_t body_len)
{
    uint32_t offset = (uint32_t)(seq - c->head.first);

    if (offset > c->head.span || chunk_is_dead(c, offset))
        return false;
    mark(c, offset);
    c->n_dead++;
    c->dead_bytes += body_len;
    c->live--;
    return true;
}

void
chunk_mark_range_dead(struct chunk *c, uint64_t from, uint64_t to, uint32_t n, uint64_t bytes)
{
    uint64_t end = c->head.first + c->head.span;

    if (from < c->head.first)
        from = c->head.first;
    for (uint64_t seq = from; seq <= to && seq <= end; seq++)
        mark(c, (uint32_t)(seq - c->head.first));
    c->n_dead += n;
    c->dead_bytes += bytes;
    c->live -= n;
}
