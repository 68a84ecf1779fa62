#include "perf/routing.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static unsigned
copies_of(const struct perf_options *o, unsigned n_queues)
{
    if (*o->exchange == '\0')
        return o->routing_key == NULL && o->key_pattern == NULL && !o->random_key ? 1 : 0;
    if (o->predeclared || o->skip_binding || o->binding_file != NULL)
        return 0;
    if (strcmp(o->type, "fanout") == 0)
        return n_queues;
    if (strcmp(o->type, "direct") != 0 && strcmp(o->type, "topic") != 0)
        return 0;
    if (o->random_key)
        return 0;
    return o->routing_key != NULL || o->key_pattern != NULL ? n_queues : 1;
}

struct routing *
routing_new(const struct perf_options *o)
{
    struct routing *r = mem_zalloc(sizeof *r);

    r->exchange = slice_str(o->exchange);
    r->n_queues = o->queue_pattern != NULL ? (unsigned)(o->queue_to - o->queue_from + 1) : 1;
    r->queues = mem_zalloc(r->n_queues * sizeof *r->queues);
    for (unsigned i = 0; i < r->n_queues; i++)
        r->queues[i] = o->queue_pattern != NULL
                           ? pattern_expand(o->queue_pattern, o->queue_from + i)
                           : mem_strdup(o->queue);
    if (o->routing_key != NULL || o->key_pattern != NULL) {
        r->n_keys = o->key_pattern != NULL ? (unsigned)(o->key_to - o->key_from + 1) : 1;
        r->keys = mem_zalloc(r->n_keys * sizeof *r->keys);
        for (unsigned i = 0; i < r->n_keys; i++)
            r->keys[i] = o->key_pattern != NULL ? pattern_expand(o->key_pattern, o->key_from + i)
                                                : mem_strdup(o->routing_key);
    }
    r->random_key = o->random_key;
    r->copies = copies_of(o, r->n_queues);
    return r;
}

void
routing_free(struct routing **routing)
{
    struct routing *r = *routing;

    if (r == NULL)
        return;
    for (unsigned i = 0; i < r->n_queues; i++)
        free(r->queues[i]);
    for (unsigned i = 0; i < r->n_keys; i++)
        free(r->keys[i]);
    free(r->queues);
    free(r->keys);
    free(r);
    *routing = NULL;
}

/* Spreads the bits of a counter; keys need to be different, not unpredictable. */
static uint64_t
mix(uint64_t x)
{
    x = (x ^ (x >> 31)) * 0x9e3779b97f4a7c15U;
    x = (x ^ (x >> 29)) * 0xbf58476d1ce4e5b9U;
    return x ^ (x >> 32);
}

struct slice
routing_key(const struct routing *r, unsigned producer, uint64_t sequence,
            char room[ROUTING_KEY_ROOM])
{
    if (r->random_key) {
        uint64_t value = mix(((uint64_t)producer << 40) + sequence + 1);
        return slice_of(room, (size_t)snprintf(room, ROUTING_KEY_ROOM, "%016" PRIx64, value));
    }
    if (r->keys != NULL)
        return slice_str(r->keys[sequence % r->n_keys]);
    return slice_str(r->queues[routing_queue(r, producer)]);
}

char *
routing_topic_pattern(const char *type, unsigned n)
{
    /* They share words with "stock.eur.N.quote", so that a broker has to walk some of them to find
     * that out. */
    if (strcmp(type, "topic") == 0) {
        switch (n % 20) {
        case 0:
        case 5:
        case 10:
            return mem_printf("stock.*.%u.trade", n);
        case 1:
        case 11:
            return mem_printf("*.eur.%u.order", n);
        case 2:
            return mem_printf("stock.#.trade.%u", n);
        case 3:
            return mem_printf("#.order.%u", n);
        default:
            break;
        }
    }
    return mem_printf("stock.eur.%u.trade", n);
}
