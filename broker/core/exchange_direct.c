/* Direct and fanout exchanges. */
#include <stdlib.h>

#include "base/mem.h"
#include "broker/core/exchange.h"

/* The bindings of one key; exchange.table is a hash of them. */
struct bucket {
    struct binding_place bindings;
    UT_hash_handle hh;
    uint8_t key[];
};

static struct bucket *
find(struct exchange *x, struct slice key)
{
    struct bucket *buckets = x->table, *bu;

    HASH_FIND(hh, buckets, key.p, key.n, bu);
    return bu;
}

static void
direct_add(struct exchange *x, struct binding *b)
{
    struct bucket *buckets = x->table, *bu = find(x, b->key);

    if (bu == NULL) {
        bu = mem_alloc(sizeof *bu + b->key.n);
        LIST_INIT(&bu->bindings);
        if (b->key.n != 0)
            memcpy(bu->key, b->key.p, b->key.n);
        HASH_ADD(hh, buckets, key, b->key.n, bu);
        x->table = buckets;
    }
    b->place = bu;
    LIST_INSERT_HEAD(&bu->bindings, b, place_link);
}

static void
direct_remove(struct exchange *x, struct binding *b)
{
    struct bucket *buckets = x->table, *bu = b->place;

    LIST_REMOVE(b, place_link);
    if (!LIST_EMPTY(&bu->bindings))
        return;
    HASH_DEL(buckets, bu);
    x->table = buckets;
    free(bu);
}

static void
direct_route(struct exchange *x, struct slice key, struct route *r)
{
    struct bucket *bu = find(x, key);
    struct binding *b;

    if (bu == NULL)
        return;
    LIST_FOREACH (b, &bu->bindings, place_link)
        route_add(r, b);
}

const struct exchange_type exchange_direct = {
    .name = "direct",
    .add = direct_add,
    .remove = direct_remove,
    .route = direct_route,
};

/* Fanout needs nothing beside the exchange's own array of bindings. */

static void
fanout_add(struct exchange *x, struct binding *b)
{
    (void)x, (void)b;
}

static void
fanout_route(struct exchange *x, struct slice key, struct route *r)
{
    (void)key;
    for (size_t i = 0; i < x->n_bindings; i++)
        route_add(r, x->bindings[i]);
}

const struct exchange_type exchange_fanout = {
    .name = "fanout",
    .add = fanout_add,
    .remove = fanout_add,
    .route = fanout_route,
    .ignores_keys = true,
};
