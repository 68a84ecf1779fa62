#ifndef CONEY_CORE_CHUNK_H
#define CONEY_CORE_CHUNK_H

#include <bsd/sys/queue.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/store.h"

struct message;
struct queue;

/*
 * Persistent messages of a queue that are stored together, as far as memory must know them: which
 * of them are settled, and where in the store they are. Collected by the journal from the publishes
 * of a while, written as one value, and deleted when the last one is settled.
 */
enum chunk_state {
    CHUNK_OPEN,    /* collects messages, or waits for the next batch with what it has */
    CHUNK_WRITING, /* in the batch under way */
    CHUNK_STORED,
    CHUNK_REPLACED, /* stored, and about to be replaced by one that has its messages with others' */
    CHUNK_DOOMED,   /* stored, wanted by nobody, and to be deleted or being deleted */
    CHUNK_GONE,     /* not in the store; kept while a block refers to it */
};

TAILQ_HEAD(chunk_list, chunk);

struct chunk {
    struct queue *queue; /* holds a reference until it is gone */
    struct chunk_head head;
    uint32_t refs;  /* one of its own until it is gone, and one for each block */
    uint8_t state;  /* enum chunk_state */
    bool is_dirty;  /* on the journal's list of those whose dead set has changed */
    bool in_tx;     /* messages of it have been settled by a transaction that no batch has yet */
    bool was_in_tx; /* the batch under way has them */
    uint32_t live;  /* messages that are not settled */
    uint32_t n_dead;
    uint64_t dead_bytes;
    uint8_t *dead; /* bits by offset; NULL: none, or not written yet */

    struct store_record *records; /* until it is stored; each holds a reference to its message */
    uint32_t n_records, cap_records;
    uint64_t weight; /* bytes that they take in the store */
    struct chunk_list
        replaces; /* smaller ones whose messages it has taken over; until it is stored */

    uint64_t *shared; /* ids of shared messages that it refers to, once it is stored */
    uint32_t n_shared;

    TAILQ_ENTRY(chunk) link;        /* the journal's list for its state */
    TAILQ_ENTRY(chunk) dirty_link;  /* journal->dirty */
    TAILQ_ENTRY(chunk) flying_link; /* journal->flying_dirty */
    TAILQ_ENTRY(chunk) queue_link;  /* queue->chunks */
};

/*
 * Bytes at which a chunk is full: with its head it then takes 64 pages of the store, neither more
 * nor less, so that what one leaves fits the next.
 */
enum { CHUNK_FULL = 256 * 1024 - 128, CHUNK_RECORD_OVERHEAD = 24 };

/* An empty, open chunk of the queue whose first message is to have this number. One reference. */
struct chunk *chunk_new(struct queue *q, uint64_t first);

/* The same, for messages of `old`, in front of which it comes in the queue's list. */
struct chunk *chunk_new_before(struct chunk *old);

/* A chunk that recovery has found. */
struct chunk *chunk_recovered(struct queue *q, const struct chunk_head *head,
                              const struct chunk_dead *dead);

void chunk_unref(struct chunk *c);

/* True when a message of this size and number may still be added. */
bool chunk_has_room(const struct chunk *c, uint64_t seq, uint64_t size);

/* Adds a message to an open chunk, with a reference of its own. */
void chunk_add(struct chunk *c, struct message *m, uint64_t seq, uint64_t shared);

/* Drops the record of a message that is settled before it was written; returns the id of the shared
 * message that it was, or 0. */
uint64_t chunk_drop_record(struct chunk *c, uint64_t seq);

/* Takes the dropped records out and completes the head: ready to be written. False when none is
 * left. */
bool chunk_seal(struct chunk *c);

/* Lets go of the records: they are written, or never will be. */
void chunk_release_records(struct chunk *c);

/* Marks as settled in a chunk that has been sealed; false when it was already. */
bool chunk_mark_dead(struct chunk *c, uint64_t seq, uint64_t body_len);

/* The same for all between two numbers that are not; they are `n`, with `bytes` of bodies. */
void chunk_mark_range_dead(struct chunk *c, uint64_t from, uint64_t to, uint32_t n, uint64_t bytes);

static inline bool
chunk_is_dead(const struct chunk *c, uint32_t offset)
{
    return c->dead != NULL && (c->dead[offset / 8] >> offset % 8 & 1) != 0;
}

#endif
