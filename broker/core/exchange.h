#ifndef CONEY_CORE_EXCHANGE_H
#define CONEY_CORE_EXCHANGE_H

#include <bsd/sys/queue.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "broker/core/htab.h"
#include "protocol/error.h"

struct binding;
struct exchange;
struct message;
struct queue;
struct vhost;

/* Where a binding leads. */
struct destination {
    struct queue *queue; /* one of the two */
    struct exchange *exchange;
};

/*
 * A binding belongs to its source exchange and is known to its destination too. Its identity is
 * (source, destination, key, arguments as a set of pairs with their tags), as in RabbitMQ.
 */
struct binding {
    struct exchange *source;
    struct destination dest;
    struct slice key;
    struct slice arguments;
    uint64_t id; /* of its definition in the store; 0: it is not durable */
    size_t pos;  /* in source->bindings */
    TAILQ_ENTRY(binding) dest_link;
    LIST_ENTRY(binding)
    place_link;           /* among the bindings that the exchange's type keeps at one place */
    void *place;          /* the type's own: bucket, trie node or precomputed match */
    struct binding *twin; /* next with equal identity hash and other arguments */
    UT_hash_handle hh;    /* source->identities */
    uint8_t identity[];   /* hash key, then the bytes of key and arguments */
};

TAILQ_HEAD(binding_list, binding);
LIST_HEAD(binding_place, binding);

/*
 * What a publish reaches: a set of queues, each once. Scratch memory of the vhost, used for one
 * publish at a time; queues and exchanges remember the `epoch` in which they were last reached.
 */
struct route {
    uint64_t epoch;
    struct queue **queues;
    size_t n, cap;
    struct exchange **exchanges; /* reached and to be walked */
    size_t n_exchanges, cap_exchanges;
    size_t found; /* destinations that the present exchange yielded, reached before or not */
    const struct message *message;
    const struct slice *keys; /* the routing key, then those of CC and BCC headers */
    size_t n_keys;
};

/* Adds a binding's destination; for the exchange types. */
void route_add(struct route *r, const struct binding *b);

struct exchange_type {
    const char *name;
    /* A binding's arguments make sense to this type; NULL: any do. */
    bool (*check)(struct slice arguments, struct amqp_error *err);
    void (*add)(struct exchange *x, struct binding *b);
    void (*remove)(struct exchange *x, struct binding *b);
    /* Adds the destinations of r->message; once for every routing key, or once if the type ignores
     * keys. */
    void (*route)(struct exchange *x, struct slice key, struct route *r);
    bool ignores_keys;
    void (*fini)(struct exchange *x);
};

extern const struct exchange_type exchange_direct, exchange_fanout, exchange_topic,
    exchange_headers;

struct exchange {
    struct vhost *vhost;
    struct slice name; /* bytes behind the struct */
    uint64_t id;       /* of its definition in the store; 0: it is predeclared or not durable */
    const struct exchange_type *type;
    bool durable, auto_delete, internal;
    bool is_default;              /* the nameless one: routes to the queue named by the key */
    struct slice arguments;       /* own copy */
    struct slice alternate;       /* within arguments; p NULL: none */
    uint64_t reached;             /* route.epoch */
    struct exchange *next_doomed; /* those that are being deleted */
    struct binding **bindings;    /* as source */
    size_t n_bindings, cap_bindings;
    struct binding *identities;  /* the same by identity */
    struct binding_list inbound; /* as destination */
    void *table;                 /* the type's own */
    UT_hash_handle hh;           /* vhost->exchanges */
};

/* The type of this name, or NULL. */
const struct exchange_type *exchange_type_find(struct slice name);

/* Makes an exchange of the vhost; the name must be free. Arguments are copied. `id` is that of its
 * definition in the store, or 0. */
struct exchange *exchange_new(struct vhost *v, struct slice name, const struct exchange_type *type,
                              bool durable, bool auto_delete, bool internal, struct slice arguments,
                              uint64_t id);

/* Removes an exchange with all its bindings, and auto-delete exchanges that lose their last one by
 * it. */
void exchange_delete(struct exchange *x);

/*
 * Binds; nothing happens when the same binding is there. False with `err` set when the type refuses
 * the arguments. Between durable ends the binding is durable, too.
 */
bool exchange_bind(struct exchange *source, struct destination dest, struct slice key,
                   struct slice arguments, struct amqp_error *err);

/* A binding that is in the store. False when its arguments make no sense. */
bool exchange_restore_binding(struct exchange *source, struct destination dest, struct slice key,
                              struct slice arguments, uint64_t id);

/* Unbinds, if there is such a binding; an auto-delete source that loses its last one goes with it.
 */
void exchange_unbind(struct exchange *source, struct destination dest, struct slice key,
                     struct slice arguments);

/* Removes all bindings of a list of inbound ones (their destination is going away). */
void exchange_unbind_inbound(struct binding_list *inbound);

/*
 * The queues that a message published to `x` goes to by any of these keys, in x->vhost->route.
 * Follows alternate exchanges.
 */
struct route *exchange_route(struct exchange *x, const struct message *m, const struct slice *keys,
                             size_t n_keys);

#endif
