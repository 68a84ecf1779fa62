#include "storage/backend.h"

#include <bsd/sys/queue.h>
#include <bsd/sys/tree.h>
#include <pthread.h>

#include "base/log.h"

/*
 * Rows in trees. A reader sees the live rows, and has them to itself: one lock is held from begin()
 * to commit() or abort(), and from read_begin() to read_end(). So a thread that reads must have
 * ended that before it writes.
 */

struct row {
    RB_ENTRY(row) node;
    struct slice key;
    size_t n;
    uint8_t bytes[]; /* value, then key */
};

RB_HEAD(rows, row);

/* A change of the transaction, last one first. */
struct change {
    SLIST_ENTRY(change) link;
    enum table table;
    struct row *now;    /* NULL: deleted */
    struct row *before; /* NULL: there was none */
};

struct memory {
    struct backend be;
    pthread_mutex_t lock;
    struct rows tables[TABLE_COUNT];
    uint64_t used;
    SLIST_HEAD(, change) changes;
    enum store_status txn_status; /* what went wrong in the transaction */
};

struct backend_reader {
    struct memory *m;
};

/* As LMDB has it. */
static int
row_compare(const struct row *a, const struct row *b)
{
    size_t n = a->key.n < b->key.n ? a->key.n : b->key.n;
    int d = n != 0 ? memcmp(a->key.p, b->key.p, n) : 0;

    return d != 0 ? d : (a->key.n > b->key.n) - (a->key.n < b->key.n);
}

/* RB_GENERATE_STATIC() needs a macro that only libbsd's own headers give. */
RB_GENERATE_INTERNAL(rows, row, node, row_compare, __attribute__((unused)) static)

static struct row *
row_find(struct memory *m, enum table t, struct slice key)
{
    struct row wanted = {.key = key};

    return RB_FIND(rows, &m->tables[t], &wanted);
}

static void
row_insert(struct memory *m, enum table t, struct row *row)
{
    RB_INSERT(rows, &m->tables[t], row);
    m->used += row->n + row->key.n;
}

static void
row_remove(struct memory *m, enum table t, struct row *row)
{
    RB_REMOVE(rows, &m->tables[t], row);
    m->used -= row->n + row->key.n;
}

static void
note_change(struct memory *m, enum table t, struct row *now, struct row *before)
{
    struct change *c = mem_alloc(sizeof *c);

    *c = (struct change){.table = t, .now = now, .before = before};
    SLIST_INSERT_HEAD(&m->changes, c, link);
}

static enum store_status
memory_begin(struct backend *be)
{
    struct memory *m = (struct memory *)be;

    pthread_mutex_lock(&m->lock);
    m->txn_status = STORE_OK;
    return STORE_OK;
}

static enum store_status
memory_put(struct backend *be, enum table t, struct slice key, size_t n, uint8_t **room_r)
{
    struct memory *m = (struct memory *)be;
    struct row *before = row_find(m, t, key);
    struct row *row = mem_try_alloc(sizeof *row + n + key.n);

    if (row == NULL) {
        m->txn_status = STORE_FULL;
        return STORE_FULL;
    }
    row->n = n;
    memcpy(row->bytes + n, key.p, key.n);
    row->key = slice_of(row->bytes + n, key.n);
    if (before != NULL)
        row_remove(m, t, before);
    row_insert(m, t, row);
    note_change(m, t, row, before);
    *room_r = row->bytes;
    return STORE_OK;
}

static enum store_status
memory_del(struct backend *be, enum table t, struct slice key)
{
    struct memory *m = (struct memory *)be;
    struct row *row = row_find(m, t, key);

    if (row == NULL)
        return STORE_ABSENT;
    row_remove(m, t, row);
    note_change(m, t, NULL, row);
    return STORE_OK;
}

static void
memory_abort(struct backend *be)
{
    struct memory *m = (struct memory *)be;
    struct change *c;

    while ((c = SLIST_FIRST(&m->changes)) != NULL) {
        SLIST_REMOVE_HEAD(&m->changes, link);
        if (c->now != NULL)
            row_remove(m, c->table, c->now);
        free(c->now);
        if (c->before != NULL)
            row_insert(m, c->table, c->before);
        free(c);
    }
    pthread_mutex_unlock(&m->lock);
}

static enum store_status
memory_commit(struct backend *be)
{
    struct memory *m = (struct memory *)be;
    enum store_status status = m->txn_status;
    struct change *c;

    if (status != STORE_OK) {
        memory_abort(be);
        return status;
    }
    while ((c = SLIST_FIRST(&m->changes)) != NULL) {
        SLIST_REMOVE_HEAD(&m->changes, link);
        free(c->before);
        free(c);
    }
    pthread_mutex_unlock(&m->lock);
    return STORE_OK;
}

static enum store_status
memory_read_begin(struct backend *be, struct backend_reader **r_r)
{
    struct memory *m = (struct memory *)be;
    struct backend_reader *r = mem_alloc(sizeof *r);

    pthread_mutex_lock(&m->lock);
    r->m = m;
    *r_r = r;
    return STORE_OK;
}

static void
memory_read_end(struct backend_reader *r)
{
    pthread_mutex_unlock(&r->m->lock);
    free(r);
}

static enum store_status
memory_get(struct backend_reader *r, enum table t, struct slice key, struct slice *value_r)
{
    const struct row *row = row_find(r->m, t, key);

    if (row == NULL)
        return STORE_ABSENT;
    *value_r = slice_of(row->bytes, row->n);
    return STORE_OK;
}

static enum store_status
memory_next(struct backend_reader *r, enum table t, struct slice after, bool inclusive,
            struct slice *key_r, struct slice *value_r)
{
    struct row wanted = {.key = after};
    struct row *row = RB_NFIND(rows, &r->m->tables[t], &wanted);

    if (row != NULL && !inclusive && slice_eq(row->key, after))
        row = RB_NEXT(rows, &r->m->tables[t], row);
    if (row == NULL)
        return STORE_ABSENT;
    *key_r = row->key;
    *value_r = slice_of(row->bytes, row->n);
    return STORE_OK;
}

static enum store_status
memory_copy(struct backend *be, const char *directory, bool compact)
{
    (void)be;
    (void)compact;
    log_error("memory: what is kept in memory is not copied to %s", directory);
    return STORE_FAILED;
}

static void
memory_usage(struct backend *be, uint64_t *used_r, uint64_t *free_r)
{
    struct memory *m = (struct memory *)be;

    pthread_mutex_lock(&m->lock);
    *used_r = m->used;
    *free_r = 0;
    pthread_mutex_unlock(&m->lock);
}

static void
memory_close(struct backend *be)
{
    struct memory *m = (struct memory *)be;
    struct row *row;

    for (size_t i = 0; i < TABLE_COUNT; i++) {
        while ((row = RB_ROOT(&m->tables[i])) != NULL) {
            RB_REMOVE(rows, &m->tables[i], row);
            free(row);
        }
    }
    pthread_mutex_destroy(&m->lock);
    free(m);
}

static const struct backend_ops memory_ops = {
    .name = "memory",
    .close = memory_close,
    .begin = memory_begin,
    .put = memory_put,
    .del = memory_del,
    .commit = memory_commit,
    .abort = memory_abort,
    .read_begin = memory_read_begin,
    .read_end = memory_read_end,
    .get = memory_get,
    .next = memory_next,
    .copy = memory_copy,
    .usage = memory_usage,
};

struct backend *
backend_memory_open(void)
{
    struct memory *m = mem_zalloc(sizeof *m);

    m->be.ops = &memory_ops;
    pthread_mutex_init(&m->lock, NULL);
    for (size_t i = 0; i < TABLE_COUNT; i++)
        RB_INIT(&m->tables[i]);
    SLIST_INIT(&m->changes);
    return &m->be;
}
