#ifndef CONEY_PROTOCOL_PROPS_H
#define CONEY_PROTOCOL_PROPS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/mem.h"
#include "protocol/method.h"
#include "protocol/props.def"

/*
 * The properties of a message, as they stand in a content header behind the body size: flags and values. The
 * broker keeps these bytes as the publisher sent them and decodes them only when something asks for a field.
 */

/* Bit of a property in the flags. */
enum amqp_prop_index {
#define P(name, type) AMQP_PROP_INDEX_##name,
    AMQP_PROPERTIES(P)
#undef P
    AMQP_PROP_COUNT,
};
#define AMQP_PROP(name) (1U << (15 - AMQP_PROP_INDEX_##name))

/* A field has a meaning only when its bit in `flags` is set. Strings borrow from the decoded bytes. */
struct amqp_props {
    uint16_t flags;
#define P(name, type) amqp_t_##type name;
    AMQP_PROPERTIES(P)
#undef P
};

/*
 * Decodes flags and values. False when a value is cut short, bytes are left over or the headers table is malformed.
 * The two lowest flag bits are ignored. No word of further flags follows the first, whatever its continuation bit
 * says (RabbitMQ reads it so too).
 */
MUST_USE bool amqp_props_decode(struct slice raw, struct amqp_props *props_r);

/* Bytes that amqp_props_encode() writes, and the encoder: flags, then the values whose bits are set. */
size_t amqp_props_size(const struct amqp_props *props);
void amqp_props_encode(struct writer *w, const struct amqp_props *props);

#endif
