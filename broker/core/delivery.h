#ifndef CONEY_CORE_DELIVERY_H
#define CONEY_CORE_DELIVERY_H

#include <stdbool.h>
#include <stdint.h>

struct channel;
struct consumer;
struct message;

/* The three methods that carry a message to a client, with its content, on a channel's connection.
 */

/* basic.deliver. */
void delivery_deliver(struct channel *ch, const struct consumer *c, struct message *m, uint64_t tag,
                      bool redelivered);

/* basic.get-ok; `left` messages are ready behind this one. */
void delivery_get_ok(struct channel *ch, struct message *m, uint64_t tag, bool redelivered,
                     uint32_t left);

/* basic.return with 312 NO_ROUTE. */
void delivery_return(struct channel *ch, struct message *m);

#endif
