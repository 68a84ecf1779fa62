#ifndef CONEY_CORE_STUBS_H
#define CONEY_CORE_STUBS_H

#include <stdint.h>

struct channel;
struct delivery;
struct entry;
struct queue;

/*
 * What keeps messages that have been delivered from filling the memory: a consumer without a
 * prefetch limit takes a whole backlog, and may never acknowledge it. Beyond a queue's budget, and
 * beyond what all may have together, the oldest of them that are stored give their bytes back, and
 * a stub stands for each. An acknowledgement needs no more. One that is requeued comes back from
 * the store when it is at the front again. Messages that are not stored stay.
 */

/* A delivery of the channel now waits for its acknowledgement. */
void stubs_delivered(struct channel *ch, const struct delivery *d);

/* It no longer does. */
void stubs_settled(const struct delivery *d);

/* An entry is about to return to its queue: it does so without its bytes if there is no room. */
void stubs_requeue(struct queue *q, struct entry *e);

/* The queue's first message is a stub, and wanted: brings back what is stored with it. */
void stubs_load(struct queue *q);

#endif
