/* The journal: what collects, and who waits for it. How it is written is in journal_batch.c. */
#include "broker/core/journal_int.h"

#include <stdlib.h>

#include "base/mem.h"
#include "broker/core/broker.h"
#include "broker/core/channel.h"
#include "broker/core/connection.h"
#include "broker/core/queue.h"

/* Ids are reserved in the store by so many: one write for all of them. */
enum { ID_STEP = 1024 };

/* --- life --- */

static void
parcel_init(struct parcel *p)
{
    TAILQ_INIT(&p->rows);
    TAILQ_INIT(&p->chunks);
    TAILQ_INIT(&p->runs);
    TAILQ_INIT(&p->fences);
}

void
journal_init(struct journal *j, struct broker *b)
{
    j->broker = b;
    parcel_init(&j->waiting);
    parcel_init(&j->flying);
    TAILQ_INIT(&j->dirty);
    TAILQ_INIT(&j->flying_dirty);
    TAILQ_INIT(&j->doomed);
    TAILQ_INIT(&j->buried);
    TAILQ_INIT(&j->flying_doomed);
    TAILQ_INIT(&j->states);
    TAILQ_INIT(&j->flying_states);
    timer_init(&j->timer, journal_on_timer);
    j->next_id = 1;
}

void
journal_open(struct journal *j, struct store *s)
{
    j->store = s;
}

void
journal_free_rows(struct row_change_list *rows)
{
    struct row_change *r;

    while ((r = TAILQ_FIRST(rows)) != NULL) {
        TAILQ_REMOVE(rows, r, link);
        free((void *)(uintptr_t)r->payload.p);
        free(r);
    }
}

static void
free_runs(struct confirm_run_list *runs)
{
    struct confirm_run *run;

    while ((run = TAILQ_FIRST(runs)) != NULL) {
        TAILQ_REMOVE(runs, run, link);
        if (run->channel != NULL)
            LIST_REMOVE(run, channel_link);
        free(run);
    }
}

void
journal_fini(struct journal *j)
{
    struct shared *sh, *next;

    timer_stop(&j->broker->timers, &j->timer);
    journal_free_rows(&j->waiting.rows);
    journal_free_rows(&j->flying.rows);
    free_runs(&j->waiting.runs);
    free_runs(&j->flying.runs);
    HASH_ITER (hh, j->shared, sh, next) {
        HASH_DEL(j->shared, sh);
        free(sh);
    }
}

/* A batch is due at the end of this tick, or when the one under way is done. */
void
journal_want_batch(struct journal *j)
{
    j->is_urgent = true;
    if (!j->is_flying)
        broker_want_tick(j->broker);
}

/* Lazy work is there. */
void
journal_want_timer(struct journal *j)
{
    if (!timer_is_running(&j->timer))
        timer_start(&j->broker->timers, &j->timer, j->broker->now + JOURNAL_LAZY);
}

/* --- ids and small rows --- */

static void
add_row(struct journal *j, int what, uint64_t id, uint8_t kind, struct slice payload)
{
    if (j->store == NULL || j->has_failed)
        return;
    struct row_change *r = mem_alloc(sizeof *r);
    r->what = what;
    r->id = id;
    r->kind = kind;
    r->payload = slice_of(mem_dup(payload.p, payload.n), payload.n);
    TAILQ_INSERT_TAIL(&j->waiting.rows, r, link);
    journal_want_batch(j);
}

static const struct slice nothing;

uint64_t
journal_new_id(struct journal *j)
{
    if (j->next_id >= j->reserved_id && j->store != NULL) {
        j->reserved_id = j->next_id + ID_STEP;
        add_row(j, ROW_NEXT_ID, j->reserved_id, 0, nothing);
    }
    return j->next_id++;
}

void
journal_put_definition(struct journal *j, uint64_t id, uint8_t kind, struct slice payload)
{
    add_row(j, ROW_PUT_DEFINITION, id, kind, payload);
}

void
journal_del_definition(struct journal *j, uint64_t id)
{
    add_row(j, ROW_DEL_DEFINITION, id, 0, nothing);
}

/* --- shared messages --- */

struct shared *
journal_find_shared(struct journal *j, uint64_t id)
{
    struct shared *sh;

    HASH_FIND(hh, j->shared, &id, sizeof id, sh);
    return sh;
}

static struct shared *
add_shared(struct journal *j, uint64_t id)
{
    struct shared *sh = mem_zalloc(sizeof *sh);

    sh->id = id;
    HASH_ADD(hh, j->shared, id, sizeof id, sh);
    return sh;
}

uint64_t
journal_share(struct journal *j)
{
    return add_shared(j, journal_new_id(j))->id;
}

void
journal_release_shared(struct journal *j, uint64_t id)
{
    struct shared *sh = journal_find_shared(j, id);

    if (sh == NULL || --sh->refs != 0)
        return;
    /* While it is being written it is known as stored, and may be deleted behind that. */
    if (sh->is_stored || (j->is_flying && sh->batch == j->n_batches))
        add_row(j, ROW_DEL_SHARED, id, 0, nothing);
    HASH_DEL(j->shared, sh);
    free(sh);
}

/* --- messages --- */

/* The queue's chunk that takes a message of this size; a full one waits for the batch as it is. */
static struct chunk *
open_chunk(struct journal *j, struct queue *q, uint64_t seq, uint64_t size)
{
    if (q->open != NULL && chunk_has_room(q->open, seq, size))
        return q->open;
    q->open = chunk_new(q, seq);
    TAILQ_INSERT_TAIL(&j->waiting.chunks, q->open, link);
    journal_want_batch(j);
    return q->open;
}

struct chunk *
journal_add(struct journal *j, struct queue *q, struct message *m, uint64_t seq, uint64_t shared)
{
    uint64_t size = m->address_len + m->props_len + m->body_len;

    if (j->store == NULL || j->has_failed)
        return NULL;
    struct chunk *c = open_chunk(j, q, seq, size);
    chunk_add(c, m, seq, shared);
    j->behind += size + CHUNK_RECORD_OVERHEAD;
    if (shared != 0)
        journal_find_shared(j, shared)->refs++;
    return c;
}

struct chunk *
journal_merge(struct journal *j, struct chunk *first)
{
    struct chunk *c = chunk_new_before(first);

    TAILQ_INSERT_TAIL(&j->waiting.chunks, c, link);
    journal_want_batch(j);
    return c;
}

void
journal_move(struct journal *j, struct chunk *to, struct message *m, uint64_t seq)
{
    uint64_t before = to->weight;

    chunk_add(to, m, seq, 0);
    j->behind += to->weight - before;
}

void
journal_replace(struct chunk *to, struct chunk *from)
{
    from->state = CHUNK_REPLACED;
    TAILQ_INSERT_TAIL(&to->replaces, from, link);
}

/* The chunk that was to replace others never comes: they stay what they were. */
static void
keep_replaced(struct chunk *c)
{
    struct chunk *old;

    while ((old = TAILQ_FIRST(&c->replaces)) != NULL) {
        TAILQ_REMOVE(&c->replaces, old, link);
        old->state = CHUNK_STORED;
    }
}

/* A chunk is not, or no longer, in the store. */
void
journal_chunk_gone(struct journal *j, struct chunk *c)
{
    struct queue *q = c->queue;

    keep_replaced(c);
    c->state = CHUNK_GONE;
    if (c->is_dirty)
        TAILQ_REMOVE(&j->dirty, c, dirty_link);
    c->is_dirty = false;
    for (uint32_t i = 0; i < c->n_shared; i++)
        journal_release_shared(j, c->shared[i]);
    c->n_shared = 0;
    for (uint32_t i = 0; i < c->n_records; i++) {
        if (c->records[i].shared != 0 && c->records[i].bytes != NULL)
            journal_release_shared(j, c->records[i].shared);
    }
    chunk_release_records(c);
    TAILQ_REMOVE(&q->chunks, c, queue_link);
    if (q->open == c)
        q->open = NULL;
    chunk_unref(c);
    queue_chunk_gone(q);
    queue_unref(q);
}

void
journal_doom(struct journal *j, struct chunk *c, struct chunk_list *list)
{
    c->state = CHUNK_DOOMED;
    if (c->is_dirty)
        TAILQ_REMOVE(&j->dirty, c, dirty_link);
    c->is_dirty = false;
    /* The next batch must have what a transaction has settled, however long the list is. */
    if (c->in_tx)
        TAILQ_INSERT_HEAD(list, c, link);
    else
        TAILQ_INSERT_TAIL(list, c, link);
    journal_want_timer(j);
}

void
journal_bury(struct journal *j, struct chunk *c)
{
    if (c->state == CHUNK_STORED)
        journal_doom(j, c, &j->buried);
}

void
journal_mark_dirty(struct journal *j, struct chunk *c)
{
    if (c->is_dirty)
        return;
    c->is_dirty = true;
    TAILQ_INSERT_TAIL(&j->dirty, c, dirty_link);
    journal_want_timer(j);
}

/* Something of a chunk that is written or being written has been settled. */
static void
settled(struct journal *j, struct chunk *c)
{
    c->in_tx |= j->in_tx;
    if (c->state != CHUNK_STORED) {
        /* It is being written: the next batch has this. */
        if (j->in_tx) {
            j->with_dead = true;
            journal_want_batch(j);
        }
        return;
    }
    if (c->live == 0)
        journal_doom(j, c, &j->doomed);
    else
        journal_mark_dirty(j, c);
}

void
journal_settle(struct journal *j, struct chunk *c, uint64_t seq, uint64_t body_len)
{
    if (j->store == NULL || c->state >= CHUNK_REPLACED)
        return;
    if (c->state == CHUNK_OPEN) {
        uint64_t shared = chunk_drop_record(c, seq);
        if (shared != 0)
            journal_release_shared(j, shared);
        return;
    }
    if (chunk_mark_dead(c, seq, body_len))
        settled(j, c);
}

void
journal_settle_range(struct journal *j, struct chunk *c, uint64_t from, uint64_t to, uint32_t n,
                     uint64_t bytes)
{
    if (j->store == NULL || c->state != CHUNK_STORED)
        return;
    chunk_mark_range_dead(c, from, to, n, bytes);
    settled(j, c);
}

void
journal_begin_tx(struct journal *j)
{
    j->in_tx = true;
}

void
journal_end_tx(struct journal *j)
{
    j->in_tx = false;
    if (!TAILQ_EMPTY(&j->dirty) || !TAILQ_EMPTY(&j->doomed)) {
        j->with_dead = true;
        journal_want_batch(j);
    }
}

void
journal_touch(struct journal *j, struct queue *q)
{
    if (j->store == NULL || q->has_new_state || q->deleted)
        return;
    q->has_new_state = true;
    q->refs++;
    TAILQ_INSERT_TAIL(&j->states, q, state_link);
    journal_want_timer(j);
}

void
journal_touch_now(struct journal *j, struct queue *q)
{
    journal_touch(j, q);
    j->with_dead = true;
    journal_want_batch(j);
}

void
journal_drop(struct journal *j)
{
    struct chunk_list *lists[] = {&j->waiting.chunks, &j->flying.chunks, &j->doomed, &j->buried,
                                  &j->flying_doomed};
    struct chunk *c;
    struct queue *q;

    j->store = NULL;
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        while ((c = TAILQ_FIRST(lists[i])) != NULL) {
            TAILQ_REMOVE(lists[i], c, link);
            journal_chunk_gone(j, c);
        }
    }
    while ((c = TAILQ_FIRST(&j->flying_dirty)) != NULL) {
        TAILQ_REMOVE(&j->flying_dirty, c, flying_link);
        chunk_unref(c);
    }
    while ((q = TAILQ_FIRST(&j->states)) != NULL) {
        TAILQ_REMOVE(&j->states, q, state_link);
        queue_unref(q);
    }
    while ((q = TAILQ_FIRST(&j->flying_states)) != NULL) {
        TAILQ_REMOVE(&j->flying_states, q, flying_state_link);
        queue_unref(q);
    }
}

void
journal_forget_queue(struct journal *j, struct queue *q)
{
    struct chunk *c, *next;

    while (j->store == NULL && (c = TAILQ_FIRST(&q->chunks)) != NULL)
        journal_chunk_gone(j, c);
    if (j->store == NULL)
        return;
    add_row(j, ROW_DEL_QUEUE_STATE, q->id, 0, nothing);
    TAILQ_FOREACH_SAFE (c, &q->chunks, queue_link, next) {
        if (c->state == CHUNK_OPEN) {
            TAILQ_REMOVE(&j->waiting.chunks, c, link);
            j->behind -= c->weight;
            journal_chunk_gone(j, c);
        }
    }
}

/* --- what waits --- */

void
journal_confirm(struct journal *j, struct channel *ch, uint64_t seq)
{
    struct confirm_run *run = LIST_FIRST(&ch->runs);

    if (run != NULL && run->is_waiting && run->last + 1 == seq) {
        run->last = seq;
        return;
    }
    run = mem_alloc(sizeof *run);
    run->channel = ch;
    run->first = run->last = seq;
    run->is_waiting = true;
    TAILQ_INSERT_TAIL(&j->waiting.runs, run, link);
    LIST_INSERT_HEAD(&ch->runs, run, channel_link);
    journal_want_batch(j);
}

void
journal_forget_channel(struct channel *ch)
{
    struct confirm_run *run;

    while ((run = LIST_FIRST(&ch->runs)) != NULL) {
        LIST_REMOVE(run, channel_link);
        run->channel = NULL;
    }
}

static bool
has_urgent_work(const struct journal *j)
{
    return j->is_urgent || (j->is_flying && !j->is_partial);
}

void
journal_fence(struct journal *j, struct connection *c)
{
    struct fence *f = &c->fence_waiting;

    if (j->store == NULL || j->has_failed || !has_urgent_work(j) || f->position != NO_FENCE)
        return;
    f->position = c->sent + c->out.bytes;
    f->connection = c;
    TAILQ_INSERT_TAIL(&j->waiting.fences, f, link);
    journal_want_batch(j);
}

void
journal_forget_connection(struct connection *c)
{
    struct journal *j = &c->broker->journal;

    if (c->fence_waiting.position != NO_FENCE)
        TAILQ_REMOVE(&j->waiting.fences, &c->fence_waiting, link);
    if (c->fence_flying.position != NO_FENCE)
        TAILQ_REMOVE(&j->flying.fences, &c->fence_flying, link);
    c->fence_waiting.position = c->fence_flying.position = NO_FENCE;
}

/* --- recovery --- */

void
journal_recovered_id(struct journal *j, uint64_t id)
{
    if (id >= j->next_id)
        j->next_id = id + 1;
}

void
journal_recovered_shared(struct journal *j, uint64_t id)
{
    add_shared(j, id)->is_stored = true;
    journal_recovered_id(j, id);
}

void
journal_recovered_references(struct journal *j, struct chunk *c, const uint64_t *ids, uint32_t n)
{
    if (n == 0)
        return;
    c->shared = mem_dup(ids, n * sizeof *ids);
    c->n_shared = n;
    journal_recovered_orphan(j, ids, n);
}

void
journal_recovered_orphan(struct journal *j, const uint64_t *ids, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        struct shared *sh = journal_find_shared(j, ids[i]);
        if (sh == NULL)
            sh = add_shared(j, ids[i]);
        sh->refs++;
    }
}

void
journal_recovered(struct journal *j)
{
    struct shared *sh, *next;

    HASH_ITER (hh, j->shared, sh, next) {
        if (sh->refs != 0)
            continue;
        add_row(j, ROW_DEL_SHARED, sh->id, 0, nothing);
        HASH_DEL(j->shared, sh);
        free(sh);
    }
}
