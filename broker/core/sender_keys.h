#ifndef CONEY_CORE_SENDER_KEYS_H
#define CONEY_CORE_SENDER_KEYS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/mem.h"
#include "base/slice.h"
#include "protocol/error.h"

struct message;

/*
 * RabbitMQ's sender-selected distribution: the headers CC and BCC of a message are arrays of
 * further routing keys. BCC is taken out of what consumers see.
 */
struct sender_keys {
    struct slice *keys; /* borrow from the message; the message's own routing key is the first */
    size_t n;
    bool has_bcc;
};

/* False with `err` set when a header is no array. To be freed with sender_keys_fini() when true. */
MUST_USE bool sender_keys_init(struct sender_keys *sk, const struct message *m,
                               struct amqp_error *err);

void sender_keys_fini(struct sender_keys *sk);

/* A copy of the message without its BCC header; NULL when there is no memory for it. */
MUST_USE struct message *message_without_bcc(struct message *m);

#endif
