#include "broker/core/recovery.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "broker/core/broker.h"
#include "broker/core/definitions.h"
#include "broker/core/paging.h"
#include "broker/core/vhost.h"

struct recovery {
    struct broker *broker;
    recovered_user_fn *user;
    void *user_ctx;
    struct queue **queues; /* by ascending id; those that were being deleted, too */
    size_t n_queues, cap_queues;
    uint64_t n_messages, n_chunks, n_exchanges, n_bindings;
    uint64_t n_orphans, orphaned; /* chunks of queues that are not defined, and messages in them */
    uint64_t n_unusable;          /* definitions that make no sense */
};

static void
on_next_id(void *ctx, uint64_t id)
{
    struct recovery *rec = ctx;

    journal_recovered_id(&rec->broker->journal, id - 1);
}

/* --- definitions, in the order in which they were made --- */

static void
add_queue(struct recovery *rec, struct queue *q)
{
    if (rec->n_queues == rec->cap_queues) {
        rec->cap_queues = rec->cap_queues == 0 ? 64 : 2 * rec->cap_queues;
        rec->queues = mem_resize(rec->queues, rec->cap_queues, sizeof(struct queue *));
    }
    q->refs++;
    rec->queues[rec->n_queues++] = q;
}

static bool
restore_exchange(struct recovery *rec, const struct definition *d)
{
    struct vhost *v = vhost_find_id(rec->broker, d->vhost);
    const struct exchange_type *type = exchange_type_find(d->type);

    if (v == NULL || type == NULL || vhost_find_exchange(v, d->name) != NULL)
        return false;
    exchange_new(v, d->name, type, true, d->auto_delete, d->internal, d->arguments, d->id);
    rec->n_exchanges++;
    return true;
}

static bool
restore_queue(struct recovery *rec, const struct definition *d)
{
    struct vhost *v = vhost_find_id(rec->broker, d->vhost);

    if (v == NULL || vhost_find_queue(v, d->name) != NULL)
        return false;
    add_queue(rec, queue_new(v, d->name, true, d->auto_delete, NULL, d->arguments, d->id));
    return true;
}

static bool
restore_binding(struct recovery *rec, const struct definition *d)
{
    struct vhost *v = vhost_find_id(rec->broker, d->vhost);
    struct exchange *source = v != NULL ? vhost_find_exchange(v, d->source) : NULL;
    struct destination dest = {NULL, NULL};

    if (source == NULL)
        return false;
    if (d->to_exchange)
        dest.exchange = vhost_find_exchange(v, d->destination);
    else
        dest.queue = vhost_find_queue(v, d->destination);
    if ((dest.queue == NULL && dest.exchange == NULL) ||
        !exchange_restore_binding(source, dest, d->key, d->arguments, d->id))
        return false;
    rec->n_bindings++;
    return true;
}

static bool
restore(struct recovery *rec, const struct definition *d)
{
    switch (d->kind) {
    case DEFINITION_VHOST:
        if (vhost_find(rec->broker, d->name) != NULL)
            return false;
        vhost_new(rec->broker, d->name, d->id);
        return true;
    case DEFINITION_USER:
        rec->user(rec->user_ctx, d);
        return true;
    case DEFINITION_EXCHANGE:
        return restore_exchange(rec, d);
    case DEFINITION_QUEUE:
        return restore_queue(rec, d);
    case DEFINITION_BINDING:
        return restore_binding(rec, d);
    case DEFINITION_DELETED_QUEUE:
        if (rec->broker->vhosts == NULL)
            return false;
        add_queue(rec, queue_new_deleted(rec->broker->vhosts, d->id));
        queue_unref(rec->queues[rec->n_queues - 1]); /* the list's reference is enough */
        return true;
    }
    return false;
}

static void
on_definition(void *ctx, uint64_t id, uint8_t kind, struct slice payload)
{
    struct recovery *rec = ctx;
    struct definition d;

    journal_recovered_id(&rec->broker->journal, id);
    if (definition_decode(id, kind, payload, &d) && restore(rec, &d))
        return;
    log_error("store: definition %" PRIu64 " (%c) makes no sense here and has been left out", id,
              kind >= ' ' && kind < 127 ? kind : '?');
    rec->n_unusable++;
}

/* --- queues --- */

static struct queue *
find_queue(const struct recovery *rec, uint64_t id)
{
    size_t lo = 0, hi = rec->n_queues;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (rec->queues[mid]->id < id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < rec->n_queues && rec->queues[lo]->id == id ? rec->queues[lo] : NULL;
}

static void
on_queue_state(void *ctx, uint64_t id, const struct store_queue_state *state)
{
    struct recovery *rec = ctx;
    struct queue *q = find_queue(rec, id);

    if (q == NULL)
        return;
    q->delivered = state->delivered;
    if (q->last_seq < state->delivered)
        q->last_seq = state->delivered;
    q->n_purged = state->n_purged;
    q->purged = mem_dup(state->purged, state->n_purged * sizeof *q->purged);
    for (uint32_t i = 0; i < q->n_purged; i++) {
        if (q->last_seq < q->purged[i].to)
            q->last_seq = q->purged[i].to;
    }
}

static void
on_shared(void *ctx, uint64_t id)
{
    struct recovery *rec = ctx;

    journal_recovered_shared(&rec->broker->journal, id);
}

static bool
is_purged(const struct queue *q, const struct chunk_head *head)
{
    for (uint32_t i = 0; i < q->n_purged; i++) {
        if (head->first >= q->purged[i].from && head->first + head->span <= q->purged[i].to)
            return true;
    }
    return false;
}

static void
on_chunk(void *ctx, const struct chunk_head *head, const struct chunk_dead *dead,
         const uint64_t *shared, uint32_t n_shared)
{
    struct recovery *rec = ctx;
    struct journal *j = &rec->broker->journal;
    struct queue *q = find_queue(rec, head->queue);

    journal_recovered_id(j, head->queue);
    if (q == NULL) {
        journal_recovered_orphan(j, shared, n_shared);
        rec->n_orphans++;
        rec->orphaned += head->n;
        return;
    }
    struct chunk *c = chunk_recovered(q, head, dead);
    journal_recovered_references(j, c, shared, n_shared);
    rec->n_chunks++;
    if (q->last_seq < head->first + head->span)
        q->last_seq = head->first + head->span;
    if (c->live == 0 || q->deleted || is_purged(q, head)) {
        journal_bury(j, c);
        return;
    }
    paging_recovered(q, c);
    rec->n_messages += c->live;
}

/* --- the whole --- */

static void
report(const struct recovery *rec, const struct store_damage *damage)
{
    uint64_t damaged = damage->definitions + damage->queue_states + damage->chunks +
                       damage->dead_sets + damage->shared;

    if (rec->n_orphans != 0)
        log_error("store: %" PRIu64 " chunks with %" PRIu64
                  " messages belong to queues whose definition is lost; they are kept",
                  rec->n_orphans, rec->orphaned);
    if (damaged + rec->n_unusable != 0)
        log_error("store: damaged and left out: %" PRIu64 " definitions, %" PRIu64
                  " states of queues, %" PRIu64 " chunks with %" PRIu64 " messages, %" PRIu64
                  " dead sets, %" PRIu64 " shared messages; see coneyd --check",
                  damage->definitions + rec->n_unusable, damage->queue_states, damage->chunks,
                  damage->messages, damage->dead_sets, damage->shared);
    log_info("store: recovered %zu queues with %" PRIu64 " messages in %" PRIu64 " chunks, %" PRIu64
             " exchanges, %" PRIu64 " bindings",
             rec->n_queues, rec->n_messages, rec->n_chunks, rec->n_exchanges, rec->n_bindings);
}

static void
release_queues(struct recovery *rec)
{
    for (size_t i = 0; i < rec->n_queues; i++) {
        struct queue *q = rec->queues[i];
        queue_chunk_gone(q);
        queue_unref(q);
    }
    free(rec->queues);
}

bool
recovery_run(struct broker *b, struct store *s, recovered_user_fn *user, void *ctx)
{
    struct recovery rec = {.broker = b, .user = user, .user_ctx = ctx};
    const struct store_recovery steps = {
        .ctx = &rec,
        .next_id = on_next_id,
        .definition = on_definition,
        .queue_state = on_queue_state,
        .chunk = on_chunk,
        .shared = on_shared,
    };
    struct store_damage damage;

    if (store_recover(s, &steps, &damage) != STORE_OK) {
        log_error("store: it cannot be read");
        release_queues(&rec);
        return false;
    }
    journal_recovered(&b->journal);
    report(&rec, &damage);
    release_queues(&rec);
    return true;
}
