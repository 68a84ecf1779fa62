#include "broker/core/backlog.h"

#include <stdlib.h>

#include "base/mem.h"

/* A lone message in each of many queues should cost little, a long backlog few allocations. */
enum { BLOCK_FIRST = 8, BLOCK_MORE = 60 };

/* Entries keep the redelivered flag apart: everything in the list has never been delivered. */
struct slot {
    struct message *message;
    uint64_t seq;
};

struct block {
    struct block *next;
    uint32_t start, end, cap;
    struct slot slots[];
};

static struct block *
add_block(struct backlog *b)
{
    uint32_t cap = b->tail == NULL ? BLOCK_FIRST : BLOCK_MORE;
    struct block *bl = mem_alloc(sizeof *bl + cap * sizeof(struct slot));

    bl->next = NULL;
    bl->start = bl->end = 0;
    bl->cap = cap;
    if (b->tail != NULL)
        b->tail->next = bl;
    else
        b->head = bl;
    b->tail = bl;
    return bl;
}

void
backlog_push(struct backlog *b, const struct entry *e)
{
    struct block *bl = b->tail;

    if (bl == NULL || bl->end == bl->cap)
        bl = add_block(b);
    bl->slots[bl->end++] = (struct slot){e->message, e->seq};
    b->count++;
}

static void
pop_listed(struct backlog *b, struct entry *e_r)
{
    struct block *bl = b->head;

    *e_r = (struct entry){bl->slots[bl->start].message, bl->slots[bl->start].seq, false};
    if (++bl->start == bl->end) {
        b->head = bl->next;
        if (b->head == NULL)
            b->tail = NULL;
        free(bl);
    }
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
}

static void
pop_returned(struct backlog *b, struct entry *e_r)
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

bool
backlog_pop(struct backlog *b, struct entry *e_r)
{
    if (b->n_returned != 0)
        pop_returned(b, e_r);
    else if (b->head != NULL)
        pop_listed(b, e_r);
    else
        return false;
    b->count--;
    return true;
}
