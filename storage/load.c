/* Loading chunks, on the reader's thread. */
#include <stdlib.h>

#include "storage/writer.h"

/* A row's value, copied; NULL when it is not there or there is no memory. What is not in the
 * database yet is with the writer. */
static uint8_t *
read_row(struct space *sp, enum table t, struct slice key, size_t *n_r, enum store_status *status_r)
{
    struct backend *be = sp->backend;
    struct backend_reader *r;
    struct slice value;
    uint8_t *copy = sp->writer != NULL ? writer_find(sp->writer, t, key, n_r) : NULL;

    *status_r = STORE_OK;
    if (copy != NULL || (*status_r = be->ops->read_begin(be, &r)) != STORE_OK)
        return copy;
    *status_r = be->ops->get(r, t, key, &value);
    if (*status_r == STORE_OK && (copy = mem_try_alloc(value.n + 1)) == NULL)
        *status_r = STORE_FULL;
    if (copy != NULL) {
        memcpy(copy, value.p, value.n);
        *n_r = value.n;
    }
    be->ops->read_end(r);
    return copy;
}

/* The bytes of a shared message; NULL when it is damaged or not there. */
static uint8_t *
load_shared(struct space *sp, struct store_record *rec)
{
    struct key key = format_id_key(rec->shared);
    struct store_record found;
    enum store_status status;
    size_t n;
    uint8_t *value = read_row(sp, TABLE_SHARED, key_slice(&key), &n, &status);

    if (value == NULL || !format_shared_decode(slice_of(value, n), rec->shared, &found)) {
        free(value);
        return NULL;
    }
    found.offset = rec->offset;
    found.shared = rec->shared;
    *rec = found;
    return value;
}

static void
resolve_shared(struct store_load *ld, struct space *sp)
{
    for (uint32_t i = 0; i < ld->n_records; i++) {
        struct store_record *rec = &ld->records[i];
        uint8_t *value;
        if (rec->shared == 0 || rec->bytes != NULL || (value = load_shared(sp, rec)) == NULL)
            continue;
        ld->shared = mem_resize(ld->shared, ld->n_shared + 1U, sizeof *ld->shared);
        ld->shared[ld->n_shared++] = value;
    }
}

static enum store_status
load(struct store_load *ld, struct space *sp)
{
    struct key key = format_chunk_key(&ld->head);
    enum store_status status;
    size_t n;

    ld->bytes = read_row(sp, TABLE_LOG, key_slice(&key), &n, &status);
    if (ld->bytes == NULL)
        return status;
    if (!format_chunk_decode(slice_of(ld->bytes, n), &ld->head, &ld->records))
        return STORE_DAMAGED;
    ld->n_records = ld->head.n;
    if (ld->head.has_shared)
        resolve_shared(ld, sp);
    return STORE_OK;
}

static void
run_load(struct job *job)
{
    struct store_load *ld = (void *)((char *)job - offsetof(struct store_load, job));
    struct store *s = ld->store;

    ld->status = load(ld, &s->spaces[ld->space]);
    pthread_mutex_lock(&s->mutex);
    STAILQ_INSERT_TAIL(&s->done_loads, ld, link);
    store_answered(s);
}

void
store_load(struct store *s, struct store_load *ld)
{
    ld->store = s;
    ld->job.run = run_load;
    ld->bytes = NULL;
    ld->records = NULL;
    ld->shared = NULL;
    ld->n_records = ld->n_shared = 0;
    s->n_out++;
    if (s->reader != NULL)
        workers_submit(s->reader, &ld->job);
    else
        STAILQ_INSERT_TAIL(&s->todo, &ld->job, link);
}

void
store_load_free(struct store_load *ld)
{
    for (uint32_t i = 0; i < ld->n_shared; i++)
        free(ld->shared[i]);
    free(ld->shared);
    free(ld->records);
    free(ld->bytes);
}
