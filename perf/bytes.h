#ifndef CONEY_PERF_BYTES_H
#define CONEY_PERF_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "base/slice.h"

/* A byte string that grows at its end and is taken off its front. All zero: empty. */
struct bytes {
    uint8_t *p;
    size_t off, n, cap; /* the contents are p[off..n) */
};

static inline size_t
bytes_left(const struct bytes *b)
{
    return b->n - b->off;
}

static inline struct slice
bytes_slice(const struct bytes *b)
{
    return slice_of(b->p + b->off, bytes_left(b));
}

/* Room for n more bytes; the caller fills it and adds to b->n. */
static inline uint8_t *
bytes_room(struct bytes *b, size_t n)
{
    if (b->off == b->n)
        b->off = b->n = 0;
    if (b->cap - b->n < n) {
        b->cap = (b->n + n) * 2;
        b->p = mem_resize(b->p, b->cap, 1);
    }
    return b->p + b->n;
}

static inline void
bytes_add(struct bytes *b, struct slice s)
{
    if (s.n == 0)
        return;
    memcpy(bytes_room(b, s.n), s.p, s.n);
    b->n += s.n;
}

static inline void
bytes_take(struct bytes *b, size_t n)
{
    b->off += n;
}

static inline void
bytes_free(struct bytes *b)
{
    free(b->p);
    *b = (struct bytes){0};
}

#endif
