#include "broker/core/unacked.h"

#include <stdlib.h>

#include "base/mem.h"

static struct delivery *
slot(const struct unacked *u, size_t i)
{
    return &u->slots[(u->head + i) & (u->cap - 1)];
}

/* Moves what is live to a ring of `cap` slots, without holes. */
static void
rebuild(struct unacked *u, size_t cap)
{
    struct delivery *slots = mem_resize(NULL, cap, sizeof *slots);
    size_t n = 0;

    for (size_t i = 0; i < u->used; i++) {
        if (slot(u, i)->entry.message != NULL)
            slots[n++] = *slot(u, i);
    }
    free(u->slots);
    u->slots = slots;
    u->head = 0;
    u->used = n;
    u->cap = cap;
}

void
unacked_push(struct unacked *u, const struct delivery *d)
{
    if (u->used == u->cap) {
        if (u->cap == 0)
            rebuild(u, 8);
        else
            rebuild(u, u->live <= u->cap / 2 ? u->cap : 2 * u->cap);
    }
    *slot(u, u->used++) = *d;
    u->live++;
}

/* The first slot with this tag or a larger one, or u->used: tags ascend, and usually without gaps.
 */
static size_t
lower_bound(const struct unacked *u, uint64_t tag)
{
    if (u->used == 0 || tag <= slot(u, 0)->tag)
        return 0;
    uint64_t guess = tag - slot(u, 0)->tag;
    if (guess < u->used && slot(u, guess)->tag == tag)
        return guess;
    size_t lo = 0, hi = u->used;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (slot(u, mid)->tag < tag)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* The slot with this tag, or NULL. */
static struct delivery *
find(const struct unacked *u, uint64_t tag)
{
    size_t i = lower_bound(u, tag);

    return i < u->used && slot(u, i)->tag == tag ? slot(u, i) : NULL;
}

static void
take(struct unacked *u, struct delivery *d, struct delivery *d_r)
{
    *d_r = *d;
    d->entry.message = NULL;
    u->live--;
    while (u->used != 0 && slot(u, 0)->entry.message == NULL) {
        u->head = (u->head + 1) & (u->cap - 1);
        u->used--;
    }
    while (u->used != 0 && slot(u, u->used - 1)->entry.message == NULL)
        u->used--;
    if (u->used == 0 && u->cap > 1024)
        unacked_fini(u);
}

bool
unacked_has(const struct unacked *u, uint64_t tag)
{
    const struct delivery *d = find(u, tag);
    return d != NULL && d->entry.message != NULL;
}

bool
unacked_take(struct unacked *u, uint64_t tag, struct delivery *d_r)
{
    struct delivery *d = find(u, tag);

    if (d == NULL || d->entry.message == NULL)
        return false;
    take(u, d, d_r);
    return true;
}

bool
unacked_take_first(struct unacked *u, uint64_t tag, struct delivery *d_r)
{
    if (u->used == 0 || slot(u, 0)->tag > tag)
        return false;
    take(u, slot(u, 0), d_r);
    return true;
}

struct delivery *
unacked_next(struct unacked *u)
{
    for (size_t i = lower_bound(u, u->seen + 1); i < u->used; i++) {
        if (slot(u, i)->entry.message != NULL)
            return slot(u, i);
        u->seen = slot(u, i)->tag;
    }
    return NULL;
}

static int
by_tag(const void *a, const void *b)
{
    const struct delivery *x = a, *y = b;
    return x->tag < y->tag ? -1 : x->tag > y->tag;
}

void
unacked_restore(struct unacked *u, const struct delivery *ds, size_t n)
{
    size_t cap = u->cap == 0 ? 8 : u->cap;

    while (cap < u->live + n)
        cap *= 2;
    rebuild(u, cap);
    for (size_t i = 0; i < n; i++)
        u->slots[u->used++] = ds[i];
    u->live += n;
    qsort(u->slots, u->used, sizeof *u->slots, by_tag);
}

void
unacked_fini(struct unacked *u)
{
    free(u->slots);
    *u = (struct unacked){0};
}
