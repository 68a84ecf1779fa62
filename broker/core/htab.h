#ifndef CONEY_CORE_HTAB_H
#define CONEY_CORE_HTAB_H

#include <stdint.h>
#include <xxhash.h>

/*
 * uthash with a keyed hash: names and routing keys are chosen by peers, who must not be able to
 * choose collisions. Include this instead of <uthash.h>.
 */
extern uint64_t htab_seed; /* random, set once by broker_new() before the first table */

#define HASH_FUNCTION(key, len, hashv)                                                             \
    (hashv) = (unsigned)XXH3_64bits_withSeed((key), (len), htab_seed)

#include <uthash.h>

#endif
