#ifndef CONEY_CORE_CONFIRMS_H
#define CONEY_CORE_CONFIRMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The publisher confirms of a channel: which sequence numbers are settled and not yet told to the
 * publisher. Numbers may settle in any order; confirms_flush() merges them as RabbitMQ does: with
 *     cutoff = min(lowest number not settled, lowest nack of this batch)
 * everything below the cutoff is one ack with multiple set, the rest single acks in ascending
 * order; then the nacks by the same rule. A multiple nack is safe because every lower number was
 * acked before it.
 */
struct confirms {
    uint64_t published; /* numbers given out: 1 .. published */
    uint64_t told;      /* everything up to here has been told; `states` starts behind it */
    uint8_t *states;    /* a ring of enum confirm_state */
    size_t cap;
    size_t settled; /* settled and not told */
};

enum confirm_kind { CONFIRM_ACK, CONFIRM_NACK };

/* Sends one basic.ack or basic.nack. */
typedef void confirms_emit_fn(void *ctx, enum confirm_kind kind, uint64_t tag, bool multiple);

/* Gives out the next number. */
uint64_t confirms_next(struct confirms *c);

/* Number `seq` is accepted by all its queues, or refused by one. Once for every number. */
void confirms_settle(struct confirms *c, uint64_t seq, enum confirm_kind kind);

/* Tells what has settled since the last call. */
void confirms_flush(struct confirms *c, confirms_emit_fn *emit, void *ctx);

void confirms_fini(struct confirms *c);

#endif
