#ifndef CONEY_MAIN_OFFLINE_MODEL_H
#define CONEY_MAIN_OFFLINE_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/core/definitions.h"
#include "broker/core/exchange.h"
#include "storage/store.h"

/*
 * What recovery would make of a store's definitions and states of queues, without a broker: which
 * it would take and which leave out. Its rules are those of broker/core/recovery.c.
 */

/* An object that is taken; or a queue that nothing defines and chunks refer to, which is not. */
struct model_object {
    uint64_t id;
    enum definition_kind kind;
    bool is_unknown;                  /* a queue without a definition */
    const struct model_object *vhost; /* of an exchange, queue or binding */
    struct slice name;                /* but of a binding */
    const struct exchange_type *type; /* of an exchange */

    /* Of a queue. */
    uint64_t delivered;
    struct store_range *purged;
    uint32_t n_purged;
    uint64_t n_ready, bytes;       /* as recovery counts them */
    uint64_t next;                 /* number behind the last that has been seen */
    uint64_t n_chunks, n_messages; /* seen, wanted or not */
    uint64_t n_damaged, n_damaged_dead, n_gone_shared, n_overlaps, n_bad_sums, n_bad_dead;

    UT_hash_handle by_id, by_name;
    uint8_t key[]; /* of by_name: kind, id of the virtual host, name */
};

struct model {
    struct model_object *by_id, *by_name;
    uint64_t n_vhosts, n_users, n_exchanges, n_queues, n_bindings;
    uint64_t n_deleted; /* queues of which the rest is to be deleted */
};

void model_free(struct model *m);

/* Takes a definition; in the order of ids. NULL, or why it is left out. */
const char *model_add(struct model *m, const struct definition *d);

/* False when nobody has this id. */
bool model_add_state(struct model *m, uint64_t queue, const struct store_queue_state *state);

/* NULL when what has this id is not taken. */
struct model_object *model_find(struct model *m, uint64_t id);

/* The queue of a chunk; makes one that is unknown. NULL when something else has its id. */
struct model_object *model_queue(struct model *m, uint64_t id);

/* Whether recovery would give out messages of this chunk. */
bool model_wants(const struct model_object *queue, const struct chunk_head *head);

#endif
