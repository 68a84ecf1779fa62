#include "broker/core/tx.h"

#include <stdlib.h>

#include "base/mem.h"
#include "broker/core/message.h"
#include "broker/core/queue.h"

void
tx_publish(struct tx *tx, struct message *m, struct queue **queues, size_t n, bool mandatory)
{
    if (tx->n_publishes == tx->cap_publishes) {
        tx->cap_publishes = tx->cap_publishes == 0 ? 8 : 2 * tx->cap_publishes;
        tx->publishes = mem_resize(tx->publishes, tx->cap_publishes, sizeof *tx->publishes);
    }
    struct tx_publish *p = &tx->publishes[tx->n_publishes++];
    p->message = message_ref(m);
    p->queues = mem_dup(queues, n * sizeof(struct queue *));
    p->n_queues = n;
    p->mandatory = mandatory;
    for (size_t i = 0; i < n; i++)
        queues[i]->refs++;
}

void
tx_settle(struct tx *tx, const struct delivery *d, int how)
{
    if (tx->n_settlements == tx->cap_settlements) {
        tx->cap_settlements = tx->cap_settlements == 0 ? 8 : 2 * tx->cap_settlements;
        tx->settlements = mem_resize(tx->settlements, tx->cap_settlements, sizeof *tx->settlements);
    }
    tx->settlements[tx->n_settlements++] = (struct tx_settlement){*d, how};
}

bool
tx_is_durable(const struct tx *tx)
{
    for (size_t i = 0; i < tx->n_publishes; i++) {
        const struct tx_publish *p = &tx->publishes[i];
        for (size_t j = 0; j < p->n_queues; j++) {
            if (queue_stores(p->queues[j], p->message))
                return true;
        }
    }
    for (size_t i = 0; i < tx->n_settlements; i++) {
        if (tx->settlements[i].delivery.entry.chunk != NULL)
            return true;
    }
    return false;
}

void
tx_drop_publishes(struct tx *tx)
{
    for (size_t i = 0; i < tx->n_publishes; i++) {
        struct tx_publish *p = &tx->publishes[i];
        message_unref(p->message);
        for (size_t j = 0; j < p->n_queues; j++)
            queue_unref(p->queues[j]);
        free(p->queues);
    }
    tx->n_publishes = 0;
}

void
tx_restore(struct tx *tx, struct unacked *u)
{
    size_t n = tx->n_settlements;

    if (n == 0)
        return;
    struct delivery *ds = mem_resize(NULL, n, sizeof *ds);
    for (size_t i = 0; i < n; i++)
        ds[i] = tx->settlements[i].delivery;
    unacked_restore(u, ds, n);
    free(ds);
    tx->n_settlements = 0;
}

void
tx_fini(struct tx *tx)
{
    free(tx->publishes);
    free(tx->settlements);
    *tx = (struct tx){0};
}
