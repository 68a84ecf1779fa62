#ifndef CONEY_CORE_PAGING_H
#define CONEY_CORE_PAGING_H

#include <bsd/sys/queue.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/mem.h"
#include "storage/store.h"

struct block;
struct chunk;
struct message;
struct queue;

/*
 * What keeps a backlog from filling the memory. A queue that is over its budget keeps its front,
 * which is wanted next, and its newest messages; blocks in between leave: those whose messages are
 * exactly what is live of a stored chunk just go, others are written to the paging space first.
 * They come back, through the store's reader, ahead of those who consume.
 */

/* The queues that have much in memory, for their share of what all may have together. */
struct pager {
    TAILQ_HEAD(, queue) heavy;
    uint64_t n_heavy;
    uint64_t memory; /* that they took when each was looked at last */
    uint64_t behind; /* bytes on their way to the paging space */
    uint64_t unacked; /* memory of messages that wait for their acknowledgement: see stubs.h */
    uint64_t budget; /* of each, while they are too many for all to have their own */
};

void pager_init(struct pager *pg);

/* Bytes on their way above which those who publish to such queues wait. */
#define PAGING_BEHIND (UINT64_C(8) << 20)

static inline bool
pager_is_behind(const struct pager *pg)
{
    return pg->behind > PAGING_BEHIND;
}

/* A new queue; and one that gives up all that it has. */
void paging_enter(struct queue *q);
void paging_leave(struct queue *q);

/* A queue's memory is looked at when it has grown by so much, or by less if it may not have much.
 */
#define PAGING_STEP UINT64_C(131072)

/* The queue's backlog has grown, or a chunk of it has been stored: lets blocks leave if it is over
 * its budget. */
void paging_check(struct queue *q);

/* Somebody takes messages: brings back what he needs next, if it is not there. */
void paging_read_ahead(struct queue *q);

/* A leaving block is wanted: it stays, with all that were to leave with it. */
void paging_stay(struct block *bl);

/* A block is dropped: whatever was under way with it comes to nothing. What it has in the paging
 * space is deleted. */
void paging_forget(struct queue *q, struct block *bl);

/* The queue has what is live of this chunk, out of memory. In the order of the chunks, at recovery.
 */
void paging_recovered(struct queue *q, struct chunk *c);

/* Bytes of ready messages that the queue may have in memory now. */
uint64_t paging_budget(const struct queue *q);

/* A message as it was stored; NULL when there is no memory for it. */
MUST_USE struct message *paging_message(const struct store_record *r);

/* Logs that messages of the queue are lost, which the store could not bring back. */
void paging_report_lost(const struct queue *q, uint32_t lost, uint32_t of,
                        enum store_status status);

/* Bytes of the bodies that a block which is out has in its chunk. */
uint64_t paging_stored_bytes(struct block *bl);

#endif
