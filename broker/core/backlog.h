#ifndef CONEY_CORE_BACKLOG_H
#define CONEY_CORE_BACKLOG_H

#include <bsd/sys/queue.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/core/message.h"

struct chunk;
struct page_load;
struct page_out;

/*
 * The ready messages of a queue in the order of their sequence numbers.
 *
 * A message that was never delivered always has a larger number than every one that was, since
 * deliveries start at the front. So two parts suffice: a list of blocks that only grows at its end
 * and shrinks at its start, and a heap of returned entries, all of which come before the list.
 * Requeueing to the original position is a heap insertion, in whatever order entries come back.
 *
 * Every message that is published to a queue takes the next number, so a block needs to know only
 * its first one. A block may be paged out: then it has no messages, and says how many it stands
 * for.
 */
struct entry {
    struct message *message;
    uint64_t seq;
    struct chunk *chunk; /* in which it is stored; NULL: it is not */
    bool redelivered;
};

enum block_state {
    BLOCK_RESIDENT,
    BLOCK_LEAVING, /* resident, and on its way into the paging space */
    BLOCK_PAGED,   /* out */
    BLOCK_LOADING, /* out, and on its way back */
};

struct block {
    TAILQ_ENTRY(block) link;
    uint64_t first;       /* sequence number of slot 0 */
    uint32_t start, end;  /* slots in use */
    uint32_t cap;         /* slots; 0 when paged out */
    uint32_t count;       /* messages in them */
    uint32_t n_stored;    /* those of them that are in `chunk` */
    uint8_t state;        /* enum block_state */
    bool in_paging_space; /* when paged out: it is there, or else `chunk` is it */
    uint64_t cost;        /* memory that the messages take, about */
    struct chunk *chunk;  /* which stores the persistent ones; NULL: none. A reference. */
    union {
        struct page_out *leaving;
        struct page_load *loading;
    };
    struct message *slots[]; /* NULL: there is no message with this number (any more) */
};

TAILQ_HEAD(block_list, block);

struct backlog {
    struct block_list blocks; /* never delivered by this process */
    struct entry *returned;   /* min-heap by sequence number */
    size_t n_returned, cap_returned;
    size_t count;      /* of both parts, paged out or not */
    uint64_t bytes;    /* of all bodies */
    uint64_t resident; /* memory that the resident ones take, about */
    size_t n_paged;    /* blocks that are paged out */
    uint64_t front;    /* memory of the blocks before the first paged one, if there is one */
};

void backlog_init(struct backlog *b);

/* Adds a new message, with a reference; its number is larger than all before it. `chunk` is where
 * it is stored, or NULL. */
void backlog_push(struct backlog *b, struct message *m, uint64_t seq, struct chunk *chunk);

/* Puts an entry back to its place. */
void backlog_return(struct backlog *b, const struct entry *e);

/* Takes the first entry; false when there is none, or when it is out of memory. */
bool backlog_pop(struct backlog *b, struct entry *e_r);

/* Takes the first of the returned entries, of which there is one, whether its message is there or a
 * stub. */
void backlog_pop_returned(struct backlog *b, struct entry *e_r);

/* True when the first entry is one that has come back, and a stub. */
static inline bool
backlog_begins_with_stub(const struct backlog *b)
{
    return b->n_returned != 0 && b->returned[0].message->is_stub;
}

/* True when backlog_pop() will find one. */
static inline bool
backlog_has_resident(const struct backlog *b)
{
    const struct block *bl = TAILQ_FIRST(&b->blocks);

    if (b->n_returned != 0)
        return !backlog_begins_with_stub(b);
    return bl != NULL && bl->state <= BLOCK_LEAVING;
}

/* --- blocks --- */

/* A block of `cap` slots, not in any list. */
struct block *block_new(uint64_t first, uint32_t cap, struct chunk *chunk);

/* Frees a block whose messages have been taken over. */
void block_free(struct block *bl);

/* What a message costs in memory here or unacknowledged, about. */
static inline uint64_t
backlog_cost(const struct message *m)
{
    uint64_t bytes = m->is_stub ? 0 : m->address_len + m->props_len + m->body_len;

    return sizeof *m + 3 * sizeof(void *) + bytes;
}

#endif
