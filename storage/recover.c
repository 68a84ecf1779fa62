/*
 * Recovery: everything but the messages, table by table. What is damaged is logged, counted and
 * left out; the tree itself has been verified before it was opened.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/log.h"
#include "storage/store_int.h"

struct recovery {
    const struct store_recovery *to;
    struct store_damage *damage;
    struct backend *be;
    struct backend_reader *r;
};

typedef void row_fn(struct recovery *rec, struct slice key, struct slice value);

static enum store_status
each(struct recovery *rec, enum table t, row_fn *fn)
{
    struct slice key = {NULL, 0}, value;
    enum store_status status;
    bool inclusive = true;

    while ((status = rec->be->ops->next(rec->r, t, key, inclusive, &key, &value)) == STORE_OK) {
        fn(rec, key, value);
        inclusive = false;
    }
    return status == STORE_ABSENT ? STORE_OK : status;
}

static void
on_meta(struct recovery *rec, struct slice key, struct slice value)
{
    struct slice payload;

    if (!slice_is(key, META_NEXT_ID))
        return;
    if (format_unframe(key, value, &payload) && payload.n == 8)
        rec->to->next_id(rec->to->ctx, get_u64(payload.p));
    else
        log_error("store: the record of the next id is damaged"); /* ids in use tell it, too */
}

static void
on_definition(struct recovery *rec, struct slice key, struct slice value)
{
    struct slice payload;
    uint64_t id;

    if (!format_id_key_decode(key, &id) || !format_unframe(key, value, &payload) ||
        payload.n == 0) {
        log_error("store: a definition is damaged and has been left out");
        rec->damage->definitions++;
        return;
    }
    rec->to->definition(rec->to->ctx, id, payload.p[0], slice_of(payload.p + 1, payload.n - 1));
}

static void
on_queue_state(struct recovery *rec, struct slice key, struct slice value)
{
    struct store_queue_state state;
    struct store_range *ranges;
    struct slice payload;
    uint64_t queue;

    if (!format_id_key_decode(key, &queue) || !format_unframe(key, value, &payload) ||
        !format_queue_state_decode(payload, &state, &ranges)) {
        log_error("store: the state of a queue is damaged: what was delivered of it may come "
                  "without the redelivered flag, and what was purged last may come back");
        rec->damage->queue_states++;
        return;
    }
    rec->to->queue_state(rec->to->ctx, queue, &state);
    free(ranges);
}

static void
on_shared(struct recovery *rec, struct slice key, struct slice value)
{
    uint64_t id;

    (void)value;
    if (format_id_key_decode(key, &id))
        rec->to->shared(rec->to->ctx, id);
    else
        rec->damage->shared++;
}

/* The dead set of a chunk; false when there is none, or none that can be read: then what was
 * acknowledged comes again. */
static bool
find_dead(struct recovery *rec, const struct chunk_head *head, struct chunk_dead *dead_r)
{
    struct key key = format_dead_key(head);
    struct slice value, payload;
    enum store_status status = rec->be->ops->get(rec->r, TABLE_DEAD, key_slice(&key), &value);

    if (status == STORE_ABSENT)
        return false;
    if (status == STORE_OK && format_unframe(key_slice(&key), value, &payload) &&
        format_dead_decode(payload, head->span, dead_r) && dead_r->n <= head->n &&
        dead_r->bytes <= head->bytes)
        return true;
    log_error("store: a dead set of queue %" PRIu64 " is damaged: up to %" PRIu32
              " acknowledged messages come again",
              head->queue, head->n);
    rec->damage->dead_sets++;
    return false;
}

/* The ids of a chunk's shared messages, malloc'ed. */
static uint64_t *
find_shared(const struct chunk_head *head, struct slice value, uint32_t *n_r)
{
    struct store_record *records;
    uint64_t *ids;

    *n_r = 0;
    if (!head->has_shared || !format_chunk_decode(value, head, &records))
        return NULL;
    ids = mem_resize(NULL, head->n, sizeof *ids);
    for (uint32_t i = 0; i < head->n; i++) {
        if (records[i].shared != 0)
            ids[(*n_r)++] = records[i].shared;
    }
    free(records);
    return ids;
}

static void
on_chunk(struct recovery *rec, struct slice key, struct slice value)
{
    struct chunk_head head;
    struct chunk_dead dead;
    uint32_t n_shared;

    if (!format_chunk_key_decode(key, &head)) {
        rec->damage->chunks++;
        if (format_chunk_head_decode(value, &head)) {
            rec->damage->messages += head.n;
            log_error("store: the key of a chunk of queue %" PRIu64 " is damaged: its %" PRIu32
                      " messages are lost",
                      head.queue, head.n);
        } else {
            log_error("store: a chunk is damaged beyond recognition and lost");
        }
        return;
    }
    uint64_t *shared = find_shared(&head, value, &n_shared);
    bool has_dead = find_dead(rec, &head, &dead);
    rec->to->chunk(rec->to->ctx, &head, has_dead ? &dead : NULL, shared, n_shared);
    free(shared);
}

enum store_status
store_recover(struct store *s, const struct store_recovery *to, struct store_damage *damage_r)
{
    static const struct {
        enum table table;
        row_fn *fn;
    } steps[] = {
        {TABLE_META, on_meta},          {TABLE_DEFINITIONS, on_definition},
        {TABLE_QUEUES, on_queue_state}, {TABLE_SHARED, on_shared},
        {TABLE_LOG, on_chunk},
    };
    struct backend *be = s->spaces[STORE_DURABLE].backend;
    struct recovery rec = {.to = to, .damage = damage_r, .be = be};

    *damage_r = (struct store_damage){0};
    enum store_status status = be->ops->read_begin(be, &rec.r);
    if (status != STORE_OK)
        return status;
    for (size_t i = 0; status == STORE_OK && i < sizeof steps / sizeof *steps; i++)
        status = each(&rec, steps[i].table, steps[i].fn);
    be->ops->read_end(rec.r);
    return status;
}
