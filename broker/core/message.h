#ifndef CONEY_CORE_MESSAGE_H
#define CONEY_CORE_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/slice.h"

/*
 * A message as it was published: one allocation, immutable once routed, shared by all queues that
 * hold it. What differs per queue (place, redelivered) is in the queue's entry.
 *
 * The bytes are kept in the form in which basic.deliver, basic.get-ok, basic.return and the content
 * header need them, so that a delivery is copying: address (exchange and routing key as two
 * shortstrs), properties (flags and values as sent), body.
 */
struct message {
    uint32_t refs; /* of the loop's thread only */
    uint32_t props_len;
    uint64_t body_len;
    uint16_t address_len;
    uint8_t size_class; /* of its memory, see message.c */
    bool persistent;    /* delivery_mode 2 */
    bool is_stub;       /* it has given its bytes back, the store has them: see stubs.h */
    uint8_t bytes[];
};

/*
 * A message with one reference, address and properties (well-formed) filled in and room for the
 * body, which the caller writes through message_body(). NULL when there is no memory for it: its
 * size is the publisher's choice.
 */
MUST_USE struct message *message_new(struct slice address, struct slice props, uint64_t body_len);

/* Stands for a message that is stored: of its bytes it has nothing but the length of the body. */
MUST_USE struct message *message_stub(const struct message *m);

static inline struct message *
message_ref(struct message *m)
{
    m->refs++;
    return m;
}

/* Frees a message that nobody refers to. */
void message_free(struct message *m);

static inline void
message_unref(struct message *m)
{
    if (--m->refs == 0)
        message_free(m);
}

/* Gives the memory that this thread keeps for messages to come back to the system. */
void message_trim(void);

static inline struct slice
message_address(const struct message *m)
{
    return slice_of(m->bytes, m->address_len);
}

static inline struct slice
message_exchange(const struct message *m)
{
    return slice_of(m->bytes + 1, m->bytes[0]);
}

static inline struct slice
message_routing_key(const struct message *m)
{
    const uint8_t *p = m->bytes + 1 + m->bytes[0];
    return slice_of(p + 1, p[0]);
}

static inline struct slice
message_props(const struct message *m)
{
    return slice_of(m->bytes + m->address_len, m->props_len);
}

static inline uint8_t *
message_body(struct message *m)
{
    return m->bytes + m->address_len + m->props_len;
}

/* The headers table (its pairs), empty when the message has none. */
struct slice message_headers(const struct message *m);

#endif
