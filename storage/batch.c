/* Batches: how changes are collected, and carried out in one transaction by the writer. */
#include <stdlib.h>

#include "base/buf.h"
#include "storage/store_int.h"
#include "storage/writer.h"

struct store_batch *
store_batch_new(void)
{
    return mem_zalloc(sizeof(struct store_batch));
}

void
store_batch_free(struct store_batch *b)
{
    for (size_t i = 0; i < b->n; i++) {
        if (b->changes[i].what == PUT_ROW)
            free((void *)(uintptr_t)b->changes[i].value.p);
    }
    free(b->changes);
    free(b);
}

size_t
store_batch_count(const struct store_batch *b)
{
    return b->n;
}

static struct change *
add(struct store_batch *b, enum table t, struct key key)
{
    if (b->n == b->cap) {
        b->cap = b->cap == 0 ? 8 : 2 * b->cap;
        b->changes = mem_resize(b->changes, b->cap, sizeof *b->changes);
    }
    struct change *c = &b->changes[b->n++];
    c->table = t;
    c->key = key;
    return c;
}

static void
put_row(struct store_batch *b, enum table t, struct key key, struct slice payload)
{
    struct change *c = add(b, t, key);
    uint8_t *value = mem_alloc(payload.n + FORMAT_FRAME_SIZE);

    format_frame(value, key_slice(&key), payload);
    c->what = PUT_ROW;
    c->value = slice_of(value, payload.n + FORMAT_FRAME_SIZE);
}

static void
delete_row(struct store_batch *b, enum table t, struct key key)
{
    add(b, t, key)->what = DELETE_ROW;
}

void
store_put_definition(struct store_batch *b, uint64_t id, uint8_t kind, struct slice payload)
{
    uint8_t *bytes = mem_alloc(1 + payload.n);

    bytes[0] = kind;
    if (payload.n != 0)
        memcpy(bytes + 1, payload.p, payload.n);
    put_row(b, TABLE_DEFINITIONS, format_id_key(id), slice_of(bytes, 1 + payload.n));
    free(bytes);
}

void
store_del_definition(struct store_batch *b, uint64_t id)
{
    delete_row(b, TABLE_DEFINITIONS, format_id_key(id));
}

void
store_put_next_id(struct store_batch *b, uint64_t id)
{
    uint8_t bytes[8];

    put_u64(bytes, id);
    put_row(b, TABLE_META, format_meta_key(META_NEXT_ID), slice_of(bytes, sizeof bytes));
}

void
store_put_queue_state(struct store_batch *b, uint64_t queue, const struct store_queue_state *state)
{
    size_t n;
    uint8_t *bytes = format_queue_state(state, &n);

    put_row(b, TABLE_QUEUES, format_id_key(queue), slice_of(bytes, n));
    free(bytes);
}

void
store_del_queue_state(struct store_batch *b, uint64_t queue)
{
    delete_row(b, TABLE_QUEUES, format_id_key(queue));
}

void
store_put_chunk(struct store_batch *b, const struct chunk_head *head,
                const struct store_record *records)
{
    struct change *c = add(b, TABLE_LOG, format_chunk_key(head));

    c->what = PUT_CHUNK;
    c->head = *head;
    c->records = records;
}

void
store_del_chunk(struct store_batch *b, const struct chunk_head *head)
{
    delete_row(b, TABLE_LOG, format_chunk_key(head));
    delete_row(b, TABLE_DEAD, format_dead_key(head));
}

void
store_put_dead(struct store_batch *b, const struct chunk_head *head, const struct chunk_dead *dead)
{
    size_t n;
    uint8_t *bytes = format_dead(dead, head->span, &n);

    put_row(b, TABLE_DEAD, format_dead_key(head), slice_of(bytes, n));
    free(bytes);
}

void
store_put_shared(struct store_batch *b, uint64_t id, const struct store_record *record)
{
    struct change *c = add(b, TABLE_SHARED, format_id_key(id));

    c->what = PUT_SHARED;
    c->record = *record;
}

void
store_del_shared(struct store_batch *b, uint64_t id)
{
    delete_row(b, TABLE_SHARED, format_id_key(id));
}

/* --- the writer --- */

enum store_status
batch_delete_row(struct backend *be, enum table t, struct slice key)
{
    enum store_status status = be->ops->del(be, t, key);

    return status == STORE_ABSENT || status == STORE_DAMAGED ? STORE_OK : status;
}

size_t
batch_value_size(const struct change *c)
{
    switch (c->what) {
    case PUT_ROW:
        return c->value.n;
    case PUT_CHUNK:
        return format_chunk_size(&c->head, c->records);
    case PUT_SHARED:
        return format_shared_size(&c->record);
    case DELETE_ROW:
        break;
    }
    return 0;
}

void
batch_encode_value(uint8_t *to, const struct change *c)
{
    switch (c->what) {
    case PUT_ROW:
        memcpy(to, c->value.p, c->value.n);
        break;
    case PUT_CHUNK:
        format_chunk(to, &c->head, c->records);
        break;
    case PUT_SHARED:
        format_shared(to, get_u64(c->key.bytes), &c->record);
        break;
    case DELETE_ROW:
        break;
    }
}

static enum store_status
apply(struct backend *be, const struct change *c)
{
    uint8_t *room;

    if (c->what == DELETE_ROW)
        return batch_delete_row(be, c->table, key_slice(&c->key));
    enum store_status status =
        be->ops->put(be, c->table, key_slice(&c->key), batch_value_size(c), &room);
    if (status == STORE_OK)
        batch_encode_value(room, c);
    return status;
}

enum store_status
batch_apply(struct backend *be, const struct store_batch *b)
{
    enum store_status status = STORE_OK;

    for (size_t i = 0; i < b->n && status == STORE_OK; i++)
        status = apply(be, &b->changes[i]);
    return status;
}

static enum store_status
carry_out(struct backend *be, const struct store_batch *b)
{
    enum store_status status = be->ops->begin(be);

    if (status != STORE_OK)
        return status;
    status = batch_apply(be, b);
    if (status != STORE_OK) {
        be->ops->abort(be);
        return status;
    }
    return be->ops->commit(be);
}

/* On the writer's thread. */
static void
run_batch(struct job *job)
{
    struct store_batch *b = (void *)((char *)job - offsetof(struct store_batch, job));
    struct store *s = b->store;

    if (b->space->failed)
        b->status = STORE_FAILED;
    else if (b->space->writer != NULL)
        b->status = writer_write(b->space->writer, b);
    else
        b->status = carry_out(b->space->backend, b);
    /* A tree that is damaged where we write is as final as a failing disk. */
    if (b->status == STORE_DAMAGED)
        b->status = STORE_FAILED;
    if (b->status == STORE_FAILED)
        b->space->failed = true;
    pthread_mutex_lock(&s->mutex);
    STAILQ_INSERT_TAIL(&s->done_batches, b, link);
    store_answered(s);
}

void
store_submit(struct store *s, enum store_space space, struct store_batch *b, store_done_fn *done,
             void *ctx)
{
    b->store = s;
    b->space = &s->spaces[space];
    b->done = done;
    b->ctx = ctx;
    b->job.run = run_batch;
    s->n_out++;
    if (b->space->thread != NULL)
        workers_submit(b->space->thread, &b->job);
    else
        STAILQ_INSERT_TAIL(&s->todo, &b->job, link);
}
