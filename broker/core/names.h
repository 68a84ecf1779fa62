#ifndef CONEY_CORE_NAMES_H
#define CONEY_CORE_NAMES_H

#include <stdint.h>

#include "base/slice.h"

/* A name from a peer or of our own making. */
struct name {
    uint8_t len;
    uint8_t bytes[UINT8_MAX];
};

static inline struct slice
name_slice(const struct name *n)
{
    return slice_of(n->bytes, n->len);
}

/* `prefix` and 22 characters of url-safe base64 from 16 random bytes: RabbitMQ's amq.gen- and
 * amq.ctag- names. */
struct name name_generate(const char *prefix);

/* The name without CR and LF, which RabbitMQ strips from names of queues and exchanges. `s` is a
 * shortstr. */
struct name name_clean(struct slice s);

#endif
