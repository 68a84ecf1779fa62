#ifndef CONEY_CORE_UNACKED_H
#define CONEY_CORE_UNACKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/core/backlog.h"

struct consumer;
struct queue;

/*
 * What a channel has been handed and has not settled yet, in the order of delivery tags: a ring in
 * which settled deliveries leave holes. Holes at the start go at once; when half of a full ring is
 * holes it is compacted instead of grown, so that one message held for hours costs nothing while
 * others pass.
 */
struct delivery {
    uint64_t tag;
    struct entry entry;        /* entry.message NULL: a hole */
    struct queue *queue;       /* holds a reference */
    struct consumer *consumer; /* holds a reference; NULL for basic.get */
};

struct unacked {
    struct delivery *slots;
    size_t head, used, cap; /* used: slots from head on, holes included */
    size_t live;
    uint64_t seen; /* unacked_next() goes on behind this tag */
};

/* Adds a delivery, whose tag is larger than all before. Takes over its references. */
void unacked_push(struct unacked *u, const struct delivery *d);

/* True when the tag is outstanding. */
bool unacked_has(const struct unacked *u, uint64_t tag);

/* Takes the delivery with this tag out; its references are the caller's. False when it is not
 * outstanding. */
bool unacked_take(struct unacked *u, uint64_t tag, struct delivery *d_r);

/* Takes the oldest delivery if its tag is at most `tag`. */
bool unacked_take_first(struct unacked *u, uint64_t tag, struct delivery *d_r);

/* The first delivery with a tag above u->seen, NULL when there is none: for looking at each once. */
struct delivery *unacked_next(struct unacked *u);

/* Puts deliveries that were taken back to their places (a transaction's rollback). */
void unacked_restore(struct unacked *u, const struct delivery *ds, size_t n);

/* Releases what an empty window still owns. */
void unacked_fini(struct unacked *u);

#endif
