#ifndef CONEY_CORE_TX_H
#define CONEY_CORE_TX_H

#include <stdbool.h>
#include <stddef.h>

#include "broker/core/unacked.h"

struct message;
struct queue;

/*
 * What a transaction of a channel has collected: publishes, already routed, and settlements, in
 * their order. Commit applies all publishes, then the settlements; rollback drops the publishes and
 * gives the deliveries back.
 */
struct tx_publish {
    struct message *message;
    struct queue **queues; /* holds references */
    size_t n_queues;
    bool mandatory;
};

struct tx_settlement {
    struct delivery delivery;
    int how; /* enum settlement */
};

struct tx {
    struct tx_publish *publishes;
    size_t n_publishes, cap_publishes;
    struct tx_settlement *settlements;
    size_t n_settlements, cap_settlements;
};

/* Notes a publish to these queues, with references of its own. */
void tx_publish(struct tx *tx, struct message *m, struct queue **queues, size_t n, bool mandatory);

/* Notes the settlement of a delivery that has left the window; takes over its references. */
void tx_settle(struct tx *tx, const struct delivery *d, int how);

/* True when some of it concerns what is stored. */
bool tx_is_durable(const struct tx *tx);

/* Drops the publishes. */
void tx_drop_publishes(struct tx *tx);

/* Gives all deliveries back to the window. */
void tx_restore(struct tx *tx, struct unacked *u);

/* Releases the memory of an empty transaction. */
void tx_fini(struct tx *tx);

#endif
