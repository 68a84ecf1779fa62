/* Loading chunks, on the reader's thread. */
#include <stdlib.h>

#include "storage/store_int.h"

/* A shared message, copied; NULL when it is damaged or not there. */
static uint8_t *
load_shared(struct backend *be, struct backend_reader *r, struct store_record *rec)
{
    struct key key = format_id_key(rec->shared);
    struct store_record found;
    struct slice value;

    if (be->ops->get(r, TABLE_SHARED, key_slice(&key), &value) != STORE_OK ||
        !format_shared_decode(value, rec->shared, &found))
        return NULL;
    size_t n = store_record_size(&found);
    uint8_t *copy = mem_try_alloc(n + 1);
    if (copy == NULL)
        return NULL;
    memcpy(copy, found.bytes, n);
    rec->bytes = copy;
    rec->address_len = found.address_len;
    rec->props_len = found.props_len;
    rec->body_len = found.body_len;
    return copy;
}

static void
resolve_shared(struct store_load *ld, struct backend *be, struct backend_reader *r)
{
    for (uint32_t i = 0; i < ld->n_records; i++) {
        struct store_record *rec = &ld->records[i];
        if (rec->shared == 0 || rec->bytes != NULL)
            continue;
        uint8_t *copy = load_shared(be, r, rec);
        if (copy == NULL)
            continue;
        ld->shared = mem_resize(ld->shared, ld->n_shared + 1U, sizeof *ld->shared);
        ld->shared[ld->n_shared++] = copy;
    }
}

static enum store_status
load(struct store_load *ld, struct backend *be, struct backend_reader *r)
{
    struct key key = format_chunk_key(&ld->head);
    struct slice value;
    enum store_status status = be->ops->get(r, TABLE_LOG, key_slice(&key), &value);

    if (status != STORE_OK)
        return status;
    ld->bytes = mem_try_alloc(value.n + 1);
    if (ld->bytes == NULL)
        return STORE_FULL;
    memcpy(ld->bytes, value.p, value.n);
    if (!format_chunk_decode(slice_of(ld->bytes, value.n), &ld->head, &ld->records))
        return STORE_DAMAGED;
    ld->n_records = ld->head.n;
    if (ld->head.has_shared)
        resolve_shared(ld, be, r);
    return STORE_OK;
}

static void
run_load(struct job *job)
{
    struct store_load *ld = (void *)((char *)job - offsetof(struct store_load, job));
    struct store *s = ld->store;
    struct backend *be = s->spaces[ld->space].backend;
    struct backend_reader *r;

    ld->status = be->ops->read_begin(be, &r);
    if (ld->status == STORE_OK) {
        ld->status = load(ld, be, r);
        be->ops->read_end(r);
    }
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
