#ifndef CONEY_CORE_OUTQ_H
#define CONEY_CORE_OUTQ_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/slice.h"

struct message;

/*
 * Bytes that wait to be written to a connection. Small things are copied into chunks, large bodies
 * are referenced where they are. An empty queue owns no memory: an idle connection costs nothing
 * here, and the first chunk of a busy one is small, so that a fan-out to thousands of connections
 * stays cheap too.
 */
struct outq {
    struct outchunk *head, *tail;
    size_t bytes; /* waiting */
};

/* Bodies from this size on are referenced instead of copied. */
#define OUTQ_COPY_MAX 4096

/* Room for n contiguous bytes at the end, to be filled before the next call. They count as waiting
 * at once. */
uint8_t *outq_extend(struct outq *q, size_t n);

/* The same in front of all that waits. */
uint8_t *outq_insert(struct outq *q, size_t n);

/* Appends `part` of a message by reference. */
void outq_refer(struct outq *q, struct message *m, struct slice part);

/* The waiting bytes from the start, in at most `max` pieces; returns how many. */
int outq_peek(const struct outq *q, struct iovec *iov, int max);

/* The first n bytes are written. */
void outq_drop(struct outq *q, size_t n);

/* Throws everything away. */
void outq_clear(struct outq *q);

#endif
