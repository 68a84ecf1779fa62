#ifndef CONEY_CORE_BACKLOG_H
#define CONEY_CORE_BACKLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct message;

/*
 * The ready messages of a queue in the order of their sequence numbers.
 *
 * A message that was never delivered always has a larger number than every one that was, since
 * deliveries start at the front. So two parts suffice: a list of blocks that only grows at its end
 * and shrinks at its start, and a heap of returned entries, all of which come before the list.
 * Requeueing to the original position is a heap insertion, in whatever order entries come back.
 */
struct entry {
    struct message *message;
    uint64_t seq;
    bool redelivered;
};

struct backlog {
    struct block *head, *tail; /* never delivered */
    struct entry *returned;    /* min-heap by sequence number */
    size_t n_returned, cap_returned;
    size_t count; /* of both parts */
};

/* Adds a new entry, whose number is larger than all before it. */
void backlog_push(struct backlog *b, const struct entry *e);

/* Puts an entry back to its place. */
void backlog_return(struct backlog *b, const struct entry *e);

/* Takes the first entry; false when there is none. */
bool backlog_pop(struct backlog *b, struct entry *e_r);

#endif
