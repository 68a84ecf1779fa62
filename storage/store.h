#ifndef CONEY_STORAGE_STORE_H
#define CONEY_STORAGE_STORE_H

#include <bsd/sys/queue.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/slice.h"
#include "base/workers.h"

/*
 * Durable state: definitions and messages of one broker, and the place to which it pages messages
 * out. Nothing here waits: changes go as batches to a writer thread and are either wholly on the
 * disk, synced, or not there at all when the answer comes; loads go to a reader thread. Answers are
 * given by store_poll(), on the thread that owns the store.
 *
 * docs/storage-format.md describes what is on the disk.
 */
struct store;

enum store_status {
    STORE_OK,
    STORE_ABSENT,  /* there is no such row */
    STORE_FULL,    /* no space: nothing has happened, and the same may work later */
    STORE_FAILED,  /* the disk failed: no change is accepted any more */
    STORE_DAMAGED, /* what is there cannot be what was written */
};

/* Where chunks are. Only what is in STORE_DURABLE survives the end of the process. */
enum store_space { STORE_DURABLE, STORE_PAGING };

struct store_options {
    const char *directory;   /* NULL: everything is kept in memory, nothing survives */
    uint64_t size_max;       /* bytes that the files may grow to */
    const char *faults;      /* see backend_faulty_open(); NULL: none */
    bool threads;            /* false: work is done by store_poll() (for tests) */
    void (*wake)(void *ctx); /* store_poll() has something to do; from any thread */
    void *ctx;
};

/*
 * Opens, and creates what is missing. NULL with the reason logged when the directory cannot be
 * used, is used by another process, or holds what this program cannot read or must not trust.
 */
MUST_USE struct store *store_open(const struct store_options *options);

/* Finishes what has been submitted, without answers, and closes. */
void store_close(struct store *s);

/* Gives the answers that have come in. */
void store_poll(struct store *s);

/* Waits until everything that was submitted or is being loaded has been answered. */
void store_finish(struct store *s);

/* Changes the function that is called when there is something to poll. */
void store_set_wake(struct store *s, void (*wake)(void *ctx), void *ctx);

/* --- what is stored --- */

/* A chunk: messages of one queue that are stored together, by ascending sequence numbers. */
struct chunk_head {
    uint64_t queue; /* id */
    uint64_t first; /* sequence number of the first message */
    uint64_t bytes; /* of all bodies */
    uint32_t n;     /* messages */
    uint32_t span;  /* sequence number of the last message minus the first */
    uint8_t priority;
    bool has_shared; /* some of its messages are stored on their own, shared by several chunks */
};

/* Sequence numbers of a chunk that are no longer wanted. */
struct chunk_dead {
    uint32_t n;
    uint64_t bytes; /* of their bodies */
    const uint8_t
        *bits; /* by sequence number minus the first, chunk_dead_size() bytes; lowest bit first */
};

/* Largest span of a chunk, so that its dead set stays small. */
enum { CHUNK_SPAN_MAX = 16383 };

static inline size_t
chunk_dead_size(uint32_t span)
{
    return span / 8 + 1;
}

/* A message: its bytes are address, properties and body behind each other. */
struct store_record {
    const uint8_t *bytes;
    uint32_t props_len;
    uint32_t body_len;
    uint64_t shared; /* id of the shared message that this is; 0: none */
    uint32_t offset; /* sequence number minus the chunk's first */
    uint16_t address_len;
};

static inline size_t
store_record_size(const struct store_record *r)
{
    return (size_t)r->address_len + r->props_len + r->body_len;
}

/* What else is known about a queue. */
struct store_range {
    uint64_t from, to; /* inclusive */
};

struct store_queue_state {
    uint64_t delivered;               /* up to this sequence number messages have been delivered */
    const struct store_range *purged; /* nothing in these ranges is wanted any more */
    uint32_t n_purged;
};

/* --- writing --- */

/*
 * Changes that happen together, in their order. Whatever is given by pointer is copied, but for the
 * records of a chunk and what they point to: these must stay until the answer.
 */
struct store_batch;

typedef void store_done_fn(void *ctx, enum store_status status);

struct store_batch *store_batch_new(void);

/* Drops a batch that has not been submitted. */
void store_batch_free(struct store_batch *b);

/* How many changes are in it. */
size_t store_batch_count(const struct store_batch *b);

void store_put_definition(struct store_batch *b, uint64_t id, uint8_t kind, struct slice payload);
void store_del_definition(struct store_batch *b, uint64_t id);
void store_put_next_id(struct store_batch *b, uint64_t id);
void store_put_queue_state(struct store_batch *b, uint64_t queue,
                           const struct store_queue_state *state);
void store_del_queue_state(struct store_batch *b, uint64_t queue);
void store_put_chunk(struct store_batch *b, const struct chunk_head *head,
                     const struct store_record *records);
/* With its dead set. */
void store_del_chunk(struct store_batch *b, const struct chunk_head *head);
void store_put_dead(struct store_batch *b, const struct chunk_head *head,
                    const struct chunk_dead *dead);
void store_put_shared(struct store_batch *b, uint64_t id, const struct store_record *record);
void store_del_shared(struct store_batch *b, uint64_t id);

/*
 * Hands a batch to the writer of a space, which frees it. Batches are carried out one by one, in
 * their order; a batch that fails does not keep the next one from being tried. done() is called by
 * store_poll().
 */
void store_submit(struct store *s, enum store_space space, struct store_batch *b,
                  store_done_fn *done, void *ctx);

/* --- reading --- */

/* A chunk that is brought back. The caller keeps the struct until it is answered. */
struct store_load {
    struct job job;
    struct store *store;
    enum store_space space;
    struct chunk_head head;
    void (*done)(struct store_load *);
    STAILQ_ENTRY(store_load) link;

    /* The answer; the bytes are the caller's, to be released with store_load_free(). */
    enum store_status status; /* STORE_OK, or why there is nothing at all */
    uint8_t *bytes;
    struct store_record *records; /* bytes NULL: damaged */
    uint32_t n_records;
    uint8_t **shared; /* what records point to that is not in `bytes` */
    uint32_t n_shared;
};

/* Begins to load the chunk ld->head of ld->space. */
void store_load(struct store *s, struct store_load *ld);

void store_load_free(struct store_load *ld);

/* --- recovery --- */

struct store_recovery {
    void *ctx;
    void (*next_id)(void *ctx, uint64_t id);
    void (*definition)(void *ctx, uint64_t id, uint8_t kind, struct slice payload);
    void (*queue_state)(void *ctx, uint64_t queue, const struct store_queue_state *state);
    /* In order of queue and first. `dead` is NULL when nothing of it is. `shared` are the ids of
     * its shared messages, n_shared of them. */
    void (*chunk)(void *ctx, const struct chunk_head *head, const struct chunk_dead *dead,
                  const uint64_t *shared, uint32_t n_shared);
    void (*shared)(void *ctx, uint64_t id);
};

/* What could not be read. Each is logged too. */
struct store_damage {
    uint64_t definitions, queue_states, chunks, dead_sets, shared;
    uint64_t messages; /* in the damaged chunks, as far as it can be told */
};

/*
 * Reads everything but the messages, on the calling thread, in the order of struct store_recovery.
 * Before the first submit.
 */
enum store_status store_recover(struct store *s, const struct store_recovery *r,
                                struct store_damage *damage_r);

/* A consistent copy of what is durable into `directory`, which must not exist or be empty, while
 * the store is in use; `compact` leaves free space out. Takes long: for a thread that may wait. */
enum store_status store_backup(struct store *s, const char *directory, bool compact);

/* Bytes on the disk of what is durable, and of them what is free for reuse. */
void store_usage(struct store *s, uint64_t *used_r, uint64_t *free_r);

#endif
