/*
 * Exchanges, bindings and the walk over them. How an exchange of one type finds its bindings is in
 * exchange_*.c; this file keeps what they have in common: identity of bindings, both ends' lists,
 * exchange-to-exchange bindings, alternate exchanges, automatic deletion.
 */
#include "broker/core/exchange.h"

#include <stdlib.h>

#include "base/mem.h"
#include "broker/core/broker.h"
#include "broker/core/definitions.h"
#include "broker/core/queue.h"
#include "broker/core/vhost.h"
#include "protocol/table.h"

static const struct exchange_type *const types[] = {
    &exchange_direct,
    &exchange_fanout,
    &exchange_topic,
    &exchange_headers,
};

const struct exchange_type *
exchange_type_find(struct slice name)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (slice_is(name, types[i]->name))
            return types[i];
    }
    return NULL;
}

struct exchange *
exchange_new(struct vhost *v, struct slice name, const struct exchange_type *type, bool durable,
             bool auto_delete, bool internal, struct slice arguments, uint64_t id)
{
    struct exchange *x = mem_zalloc(sizeof *x + name.n + arguments.n);
    uint8_t *bytes = (uint8_t *)(x + 1);
    struct amqp_value alternate;

    if (name.n != 0)
        memcpy(bytes, name.p, name.n);
    if (arguments.n != 0)
        memcpy(bytes + name.n, arguments.p, arguments.n);
    x->vhost = v;
    x->name = slice_of(bytes, name.n);
    x->arguments = slice_of(bytes + name.n, arguments.n);
    x->id = id;
    x->type = type;
    x->durable = durable;
    x->auto_delete = auto_delete;
    x->internal = internal;
    x->is_default = name.n == 0;
    if (amqp_table_get(x->arguments, "alternate-exchange", &alternate))
        x->alternate = alternate.s;
    TAILQ_INIT(&x->inbound);
    HASH_ADD_KEYPTR(hh, v->exchanges, x->name.p, x->name.n, x);
    return x;
}

/* --- bindings --- */

/*
 * The hash key of a binding's identity: destination, a hash of the arguments that does not depend
 * on their order, routing key. Bindings that are equal in it but not in their arguments hang behind
 * each other as twins.
 */
struct identity {
    size_t n;
    uint8_t bytes[2 * sizeof(void *) + sizeof(uint64_t) + UINT8_MAX];
};

static void
identity_init(struct identity *id, struct destination dest, struct slice key,
              struct slice arguments)
{
    uint64_t hash = amqp_table_hash(arguments, htab_seed);
    uint8_t *p = id->bytes;

    memcpy(p, &dest.queue, sizeof(void *));
    memcpy(p + sizeof(void *), &dest.exchange, sizeof(void *));
    memcpy(p + 2 * sizeof(void *), &hash, sizeof hash);
    id->n = 2 * sizeof(void *) + sizeof hash;
    if (key.n != 0)
        memcpy(p + id->n, key.p, key.n);
    id->n += key.n;
}

static struct binding *
binding_find(struct exchange *source, const struct identity *id, struct slice arguments)
{
    struct binding *b;

    HASH_FIND(hh, source->identities, id->bytes, id->n, b);
    while (b != NULL && !amqp_table_same(b->arguments, arguments))
        b = b->twin;
    return b;
}

static struct binding *
binding_new(struct exchange *source, struct destination dest, const struct identity *id,
            struct slice key, struct slice arguments)
{
    struct binding *b = mem_zalloc(sizeof *b + id->n + arguments.n);

    b->source = source;
    b->dest = dest;
    memcpy(b->identity, id->bytes, id->n);
    b->key = slice_of(b->identity + id->n - key.n, key.n);
    b->arguments = slice_of(b->identity + id->n, arguments.n);
    if (arguments.n != 0)
        memcpy(b->identity + id->n, arguments.p, arguments.n);
    return b;
}

static void
identities_add(struct exchange *source, struct binding *b, const struct identity *id)
{
    struct binding *first;

    HASH_FIND(hh, source->identities, id->bytes, id->n, first);
    if (first != NULL) {
        b->twin = first->twin;
        first->twin = b;
    } else {
        HASH_ADD(hh, source->identities, identity, id->n, b);
    }
}

static void
identities_remove(struct exchange *source, struct binding *b)
{
    struct identity id;
    struct binding *first;

    identity_init(&id, b->dest, b->key, b->arguments);
    HASH_FIND(hh, source->identities, id.bytes, id.n, first);
    if (first != b) {
        while (first->twin != b)
            first = first->twin;
        first->twin = b->twin;
        return;
    }
    HASH_DEL(source->identities, b);
    if (b->twin != NULL)
        HASH_ADD(hh, source->identities, identity, id.n, b->twin);
}

static struct binding_list *
inbound_of(struct destination dest)
{
    return dest.queue != NULL ? &dest.queue->bindings : &dest.exchange->inbound;
}

/* Binds unless it is bound already; the new binding, or NULL. */
static struct binding *
bind(struct exchange *source, struct destination dest, struct slice key, struct slice arguments)
{
    struct identity id;

    identity_init(&id, dest, key, arguments);
    if (binding_find(source, &id, arguments) != NULL)
        return NULL;

    struct binding *b = binding_new(source, dest, &id, key, arguments);
    identities_add(source, b, &id);
    if (source->n_bindings == source->cap_bindings) {
        source->cap_bindings = source->cap_bindings == 0 ? 4 : 2 * source->cap_bindings;
        source->bindings = mem_resize(source->bindings, source->cap_bindings, sizeof b);
    }
    b->pos = source->n_bindings++;
    source->bindings[b->pos] = b;
    TAILQ_INSERT_TAIL(inbound_of(dest), b, dest_link);
    source->type->add(source, b);
    return b;
}

bool
exchange_bind(struct exchange *source, struct destination dest, struct slice key,
              struct slice arguments, struct amqp_error *err)
{
    bool to_durable = dest.queue != NULL ? dest.queue->durable : dest.exchange->durable;

    if (source->type->check != NULL && !source->type->check(arguments, err))
        return false;
    struct binding *b = bind(source, dest, key, arguments);
    if (b != NULL && source->durable && to_durable)
        definition_add_binding(b);
    return true;
}

bool
exchange_restore_binding(struct exchange *source, struct destination dest, struct slice key,
                         struct slice arguments, uint64_t id)
{
    struct amqp_error err;

    if (source->type->check != NULL && !source->type->check(arguments, &err))
        return false;
    struct binding *b = bind(source, dest, key, arguments);
    if (b != NULL)
        b->id = id;
    return true;
}

/* Removes a binding without looking at what that means for its source. */
static void
binding_remove(struct binding *b)
{
    struct exchange *x = b->source;

    if (b->id != 0)
        journal_del_definition(&x->vhost->broker->journal, b->id);
    x->type->remove(x, b);
    identities_remove(x, b);
    TAILQ_REMOVE(inbound_of(b->dest), b, dest_link);
    struct binding *last = x->bindings[--x->n_bindings];
    x->bindings[b->pos] = last;
    last->pos = b->pos;
    free(b);
}

/*
 * Deletion goes through a list, not by recursion: auto-delete exchanges bound to each other make a
 * chain as long as a client likes.
 */
static void
doom(struct exchange *x, struct exchange **doomed)
{
    /* Out of sight first: a cycle of auto-delete exchanges leads back here. */
    x->auto_delete = false;
    HASH_DEL(x->vhost->exchanges, x);
    x->next_doomed = *doomed;
    *doomed = x;
}

static void
doom_if_unused(struct exchange *x, struct exchange **doomed)
{
    if (x->auto_delete && x->n_bindings == 0)
        doom(x, doomed);
}

static void
remove_inbound(struct binding_list *inbound, struct exchange **doomed)
{
    struct binding *b;

    while ((b = TAILQ_FIRST(inbound)) != NULL) {
        struct exchange *source = b->source;
        binding_remove(b);
        doom_if_unused(source, doomed);
    }
}

static void
delete_doomed(struct exchange *doomed)
{
    struct exchange *x;

    while ((x = doomed) != NULL) {
        doomed = x->next_doomed;
        while (x->n_bindings != 0)
            binding_remove(x->bindings[x->n_bindings - 1]);
        remove_inbound(&x->inbound, &doomed);
        if (x->id != 0)
            journal_del_definition(&x->vhost->broker->journal, x->id);
        if (x->type->fini != NULL)
            x->type->fini(x);
        free(x->bindings);
        free(x);
    }
}

void
exchange_unbind(struct exchange *source, struct destination dest, struct slice key,
                struct slice arguments)
{
    struct identity id;
    struct exchange *doomed = NULL;

    identity_init(&id, dest, key, arguments);
    struct binding *b = binding_find(source, &id, arguments);
    if (b == NULL)
        return;
    binding_remove(b);
    doom_if_unused(source, &doomed);
    delete_doomed(doomed);
}

void
exchange_unbind_inbound(struct binding_list *inbound)
{
    struct exchange *doomed = NULL;

    remove_inbound(inbound, &doomed);
    delete_doomed(doomed);
}

void
exchange_delete(struct exchange *x)
{
    struct exchange *doomed = NULL;

    doom(x, &doomed);
    delete_doomed(doomed);
}

/* --- routing --- */

static void
reach_queue(struct route *r, struct queue *q)
{
    if (q->reached == r->epoch)
        return;
    q->reached = r->epoch;
    if (r->n == r->cap) {
        r->cap = r->cap == 0 ? 16 : 2 * r->cap;
        r->queues = mem_resize(r->queues, r->cap, sizeof(struct queue *));
    }
    r->queues[r->n++] = q;
}

static void
reach_exchange(struct route *r, struct exchange *x)
{
    if (x->reached == r->epoch)
        return;
    x->reached = r->epoch;
    if (r->n_exchanges == r->cap_exchanges) {
        r->cap_exchanges = r->cap_exchanges == 0 ? 16 : 2 * r->cap_exchanges;
        r->exchanges = mem_resize(r->exchanges, r->cap_exchanges, sizeof(struct exchange *));
    }
    r->exchanges[r->n_exchanges++] = x;
}

void
route_add(struct route *r, const struct binding *b)
{
    r->found++;
    if (b->dest.queue != NULL)
        reach_queue(r, b->dest.queue);
    else
        reach_exchange(r, b->dest.exchange);
}

/* The nameless exchange has a binding to every queue, by its name. */
static void
route_default(struct exchange *x, struct slice key, struct route *r)
{
    struct queue *q = vhost_find_queue(x->vhost, key);

    if (q != NULL) {
        r->found++;
        reach_queue(r, q);
    }
}

static void
walk(struct exchange *x, struct route *r)
{
    size_t n_keys = x->type->ignores_keys ? 1 : r->n_keys;

    r->found = 0;
    for (size_t i = 0; i < n_keys; i++) {
        if (x->is_default)
            route_default(x, r->keys[i], r);
        else
            x->type->route(x, r->keys[i], r);
    }
    if (r->found == 0 && x->alternate.p != NULL) {
        struct exchange *alternate = vhost_find_exchange(x->vhost, x->alternate);
        if (alternate != NULL)
            reach_exchange(r, alternate);
    }
}

struct route *
exchange_route(struct exchange *x, const struct message *m, const struct slice *keys, size_t n_keys)
{
    struct route *r = &x->vhost->route;

    r->epoch++;
    r->n = 0;
    r->n_exchanges = 0;
    r->message = m;
    r->keys = keys;
    r->n_keys = n_keys;
    x->reached = r->epoch;
    walk(x, r);
    while (r->n_exchanges != 0)
        walk(r->exchanges[--r->n_exchanges], r);
    return r;
}
