#include "broker/core/vhost.h"

#include <stdlib.h>

#include "base/mem.h"
#include "broker/core/broker.h"

/* Messages that a queue may hand out before the next queue has its turn. */
enum { DISPATCH_TURN = 256 };

const struct predeclared_exchange predeclared_exchanges[PREDECLARED_EXCHANGES] = {
    {"", &exchange_direct, false},
    {"amq.direct", &exchange_direct, false},
    {"amq.fanout", &exchange_fanout, false},
    {"amq.topic", &exchange_topic, false},
    {"amq.headers", &exchange_headers, false},
    {"amq.match", &exchange_headers, false},
    {"amq.rabbitmq.trace", &exchange_topic, true},
};

struct vhost *
vhost_new(struct broker *b, struct slice name, uint64_t id)
{
    struct vhost *v = mem_zalloc(sizeof *v + name.n);

    memcpy(v + 1, name.p, name.n);
    v->name = slice_of(v + 1, name.n);
    v->broker = b;
    v->id = id;
    TAILQ_INIT(&v->scheduled);
    for (size_t i = 0; i < PREDECLARED_EXCHANGES; i++) {
        const struct predeclared_exchange *x = &predeclared_exchanges[i];
        exchange_new(v, slice_str(x->name), x->type, true, false, x->internal, slice_of(NULL, 0),
                     0);
    }
    v->default_exchange = vhost_find_exchange(v, slice_str(""));
    HASH_ADD_KEYPTR(hh, b->vhosts, v->name.p, v->name.n, v);
    return v;
}

void
vhost_free(struct vhost *v)
{
    while (v->queues != NULL)
        queue_delete(v->queues);
    while (v->exchanges != NULL)
        exchange_delete(v->exchanges);
    HASH_DEL(v->broker->vhosts, v);
    free(v->route.queues);
    free(v->route.exchanges);
    free(v);
}

struct vhost *
vhost_find(struct broker *b, struct slice name)
{
    struct vhost *v;

    HASH_FIND(hh, b->vhosts, name.p, name.n, v);
    return v;
}

struct vhost *
vhost_find_id(struct broker *b, uint64_t id)
{
    struct vhost *v = b->vhosts;

    while (v != NULL && v->id != id)
        v = v->hh.next;
    return v;
}

struct queue *
vhost_find_queue(struct vhost *v, struct slice name)
{
    struct queue *q;

    HASH_FIND(hh, v->queues, name.p, name.n, q);
    return q;
}

struct exchange *
vhost_find_exchange(struct vhost *v, struct slice name)
{
    struct exchange *x;

    if (name.n == 0 && v->default_exchange != NULL)
        return v->default_exchange;
    HASH_FIND(hh, v->exchanges, name.p, name.n, x);
    return x;
}

unsigned
vhost_dispatch(struct vhost *v, unsigned max)
{
    struct queue *q;
    unsigned n = 0;

    while (n < max && (q = TAILQ_FIRST(&v->scheduled)) != NULL) {
        TAILQ_REMOVE(&v->scheduled, q, schedule_link);
        q->scheduled = false;
        n += queue_dispatch(q, DISPATCH_TURN);
        queue_schedule(q);
    }
    return n;
}

void
vhost_want_tick(struct vhost *v)
{
    broker_want_tick(v->broker);
}
