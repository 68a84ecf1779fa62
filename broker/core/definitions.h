#ifndef CONEY_CORE_DEFINITIONS_H
#define CONEY_CORE_DEFINITIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

struct binding;
struct exchange;
struct queue;
struct vhost;

/*
 * Definitions as they are stored: a kind and a payload each, by id. Names are shortstrs, arguments
 * are the pairs of a field table, with their length in four bytes before them.
 */
enum definition_kind {
    DEFINITION_VHOST = 'v',
    DEFINITION_USER = 'u',
    DEFINITION_EXCHANGE = 'x',
    DEFINITION_QUEUE = 'q',
    DEFINITION_BINDING = 'b',
    DEFINITION_DELETED_QUEUE = 'd', /* what is stored of it is being deleted */
};

/* A definition taken apart; which members mean anything depends on the kind. */
struct definition {
    uint64_t id;
    enum definition_kind kind;
    uint64_t vhost; /* id of the virtual host that it is in */
    struct slice name;
    bool durable, auto_delete, internal;
    struct slice type;                     /* exchange */
    struct slice arguments;                /* exchange, queue, binding */
    struct slice source, destination, key; /* binding */
    bool to_exchange;
    struct slice password_hash, tags; /* user: as in RabbitMQ's definitions */
};

/* False when the bytes are no definition. The slices borrow from the payload. */
bool definition_decode(uint64_t id, uint8_t kind, struct slice payload, struct definition *d_r);

/* malloc'ed bytes of a payload; `n_r` is their number. */
uint8_t *definition_encode(const struct definition *d, size_t *n_r);

/* --- what is made in memory and durable gets into the store with the next batch --- */

void definition_add_vhost(struct vhost *v);
void definition_add_exchange(struct exchange *x);
void definition_add_queue(struct queue *q);
void definition_add_binding(struct binding *b);

/* A deleted queue of which chunks are left. */
void definition_bury_queue(struct queue *q);

#endif
