#ifndef CONEY_CORE_VHOST_H
#define CONEY_CORE_VHOST_H

#include "base/slice.h"
#include "broker/core/exchange.h"
#include "broker/core/queue.h"

struct broker;

/* A virtual host: the unit of isolation. Everything in it belongs to one loop. */
struct vhost {
    struct broker *broker;
    struct slice name; /* bytes behind the struct */
    uint64_t id;       /* of its definition; 0: it is not in the store */
    struct exchange *exchanges;
    struct exchange *default_exchange; /* of the empty name; also among the others */
    struct queue *queues;
    struct queue_list scheduled; /* queues with a message and a consumer */
    struct route route;
    UT_hash_handle hh; /* broker->vhosts */
};

/* "queue 'q' in vhost '/'", as RabbitMQ names resources in its texts. */
#define RESOURCE_FMT "'%.*s' in vhost '%.*s'"
#define RESOURCE_ARGS(v, n) SLICE_FMT(n), SLICE_FMT((v)->name)

/* The exchanges that RabbitMQ predeclares in every vhost; they are in no store. */
enum { PREDECLARED_EXCHANGES = 7 };

extern const struct predeclared_exchange {
    const char *name;
    const struct exchange_type *type;
    bool internal;
} predeclared_exchanges[PREDECLARED_EXCHANGES];

/* A vhost with the exchanges that RabbitMQ predeclares. `id` is that of its definition in the
 * store, or 0. */
struct vhost *vhost_new(struct broker *b, struct slice name, uint64_t id);

/* Deletes it with everything in it. No connection may be in it. */
void vhost_free(struct vhost *v);

/* These return NULL when there is no such thing. */
struct vhost *vhost_find(struct broker *b, struct slice name);
struct vhost *vhost_find_id(struct broker *b, uint64_t id);
struct queue *vhost_find_queue(struct vhost *v, struct slice name);
struct exchange *vhost_find_exchange(struct vhost *v, struct slice name);

/* Hands out messages of the scheduled queues in turn, at most about `max`; returns how many. */
unsigned vhost_dispatch(struct vhost *v, unsigned max);

void vhost_want_tick(struct vhost *v);

#endif
