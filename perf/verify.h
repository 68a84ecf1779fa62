#ifndef CONEY_PERF_VERIFY_H
#define CONEY_PERF_VERIFY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/mem.h"

/*
 * Which messages of which producer channel arrived by which queue: one bit per message. Meant for
 * finding a broker's mistakes, not for top speed: one lock.
 */
struct verify;

struct verify *verify_new(unsigned producers, unsigned queues);
void verify_free(struct verify **verify);

/* Notes message `sequence` of `producer`, which came by `queue`. Any thread. */
void verify_message(struct verify *verify, unsigned producer, unsigned queue, uint32_t sequence,
                    bool redelivered);

/* Notes a message that came behind a later one of its producer. */
void verify_disorder(struct verify *verify);

struct verify_result {
    uint64_t distinct;   /* messages, each counted once per queue */
    uint64_t duplicates; /* came again without being marked as redelivered */
    uint64_t out_of_order;
    uint64_t foreign; /* not of any producer of this run */
};
struct verify_result verify_result(struct verify *verify);

#endif
