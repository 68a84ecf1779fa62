#include "broker/core/journal.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "broker/core/alarms.h"
#include "broker/core/broker.h"
#include "broker/core/channel.h"
#include "broker/core/connection.h"
#include "broker/core/htab.h"
#include "broker/core/message.h"
#include "broker/core/paging.h"
#include "broker/core/queue.h"

/* Ids are reserved in the store by so many: one write for all of them. */
enum { ID_STEP = 1024 };

struct shared {
    uint64_t id;
    uint32_t refs; /* records of open chunks, and chunks that are stored */
    bool is_stored;
    uint64_t batch; /* that writes it */
    UT_hash_handle hh;
};

static void on_timer(struct timer *t);

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
    timer_init(&j->timer, on_timer);
    j->next_id = 1;
}

void
journal_open(struct journal *j, struct store *s)
{
    j->store = s;
}

static void
free_rows(struct row_change_list *rows)
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
    free_rows(&j->waiting.rows);
    free_rows(&j->flying.rows);
    free_runs(&j->waiting.runs);
    free_runs(&j->flying.runs);
    HASH_ITER(hh, j->shared, sh, next)
    {
        HASH_DEL(j->shared, sh);
        free(sh);
    }
}

/* A batch is due at the end of this tick, or when the one under way is done. */
static void
want_batch(struct journal *j)
{
    j->is_urgent = true;
    if (!j->is_flying)
        broker_want_tick(j->broker);
}

/* Lazy work is there. */
static void
want_timer(struct journal *j)
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
    want_batch(j);
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

static struct shared *
find_shared(struct journal *j, uint64_t id)
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

static void
release_shared(struct journal *j, uint64_t id)
{
    struct shared *sh = find_shared(j, id);

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
    want_batch(j);
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
        find_shared(j, shared)->refs++;
    return c;
}

struct chunk *
journal_merge(struct journal *j, struct chunk *first)
{
    struct chunk *c = chunk_new_before(first);

    TAILQ_INSERT_TAIL(&j->waiting.chunks, c, link);
    want_batch(j);
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
static void
chunk_gone(struct journal *j, struct chunk *c)
{
    struct queue *q = c->queue;

    keep_replaced(c);
    c->state = CHUNK_GONE;
    if (c->is_dirty)
        TAILQ_REMOVE(&j->dirty, c, dirty_link);
    c->is_dirty = false;
    for (uint32_t i = 0; i < c->n_shared; i++)
        release_shared(j, c->shared[i]);
    c->n_shared = 0;
    for (uint32_t i = 0; i < c->n_records; i++) {
        if (c->records[i].shared != 0 && c->records[i].bytes != NULL)
            release_shared(j, c->records[i].shared);
    }
    chunk_release_records(c);
    TAILQ_REMOVE(&q->chunks, c, queue_link);
    if (q->open == c)
        q->open = NULL;
    chunk_unref(c);
    queue_chunk_gone(q);
    queue_unref(q);
}

static void
doom(struct journal *j, struct chunk *c, struct chunk_list *list)
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
    want_timer(j);
}

void
journal_bury(struct journal *j, struct chunk *c)
{
    if (c->state == CHUNK_STORED)
        doom(j, c, &j->buried);
}

static void
mark_dirty(struct journal *j, struct chunk *c)
{
    if (c->is_dirty)
        return;
    c->is_dirty = true;
    TAILQ_INSERT_TAIL(&j->dirty, c, dirty_link);
    want_timer(j);
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
            want_batch(j);
        }
        return;
    }
    if (c->live == 0)
        doom(j, c, &j->doomed);
    else
        mark_dirty(j, c);
}

void
journal_settle(struct journal *j, struct chunk *c, uint64_t seq, uint64_t body_len)
{
    if (j->store == NULL || c->state >= CHUNK_REPLACED)
        return;
    if (c->state == CHUNK_OPEN) {
        uint64_t shared = chunk_drop_record(c, seq);
        if (shared != 0)
            release_shared(j, shared);
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
        want_batch(j);
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
    want_timer(j);
}

void
journal_touch_now(struct journal *j, struct queue *q)
{
    journal_touch(j, q);
    j->with_dead = true;
    want_batch(j);
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
            chunk_gone(j, c);
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
        chunk_gone(j, c);
    if (j->store == NULL)
        return;
    add_row(j, ROW_DEL_QUEUE_STATE, q->id, 0, nothing);
    TAILQ_FOREACH_SAFE (c, &q->chunks, queue_link, next) {
        if (c->state == CHUNK_OPEN) {
            TAILQ_REMOVE(&j->waiting.chunks, c, link);
            j->behind -= c->weight;
            chunk_gone(j, c);
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
    want_batch(j);
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
    want_batch(j);
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

/* --- the batch --- */

static void
put_rows(struct journal *j, struct store_batch *b)
{
    struct row_change *r;

    TAILQ_FOREACH (r, &j->flying.rows, link) {
        switch (r->what) {
        case ROW_PUT_DEFINITION:
            store_put_definition(b, r->id, r->kind, r->payload);
            break;
        case ROW_DEL_DEFINITION:
            store_del_definition(b, r->id);
            break;
        case ROW_DEL_QUEUE_STATE:
            store_del_queue_state(b, r->id);
            break;
        case ROW_DEL_SHARED:
            store_del_shared(b, r->id);
            break;
        case ROW_NEXT_ID:
            store_put_next_id(b, r->id);
            break;
        }
    }
}

static void
put_shared(struct journal *j, struct store_batch *b, const struct chunk *c)
{
    for (uint32_t i = 0; c->head.has_shared && i < c->n_records; i++) {
        const struct store_record *r = &c->records[i];
        struct shared *sh = r->shared != 0 ? find_shared(j, r->shared) : NULL;
        if (sh == NULL || sh->is_stored || sh->batch == j->n_batches)
            continue;
        sh->batch = j->n_batches;
        store_put_shared(b, sh->id, r);
    }
}

static void
put_chunks(struct journal *j, struct store_batch *b)
{
    struct chunk *c, *next, *old;

    TAILQ_FOREACH_SAFE (c, &j->flying.chunks, link, next) {
        if (c->queue->open == c)
            c->queue->open = NULL;
        if (!chunk_seal(c)) {
            TAILQ_REMOVE(&j->flying.chunks, c, link);
            j->behind -= c->weight;
            while ((old = TAILQ_FIRST(&c->replaces)) != NULL) {
                TAILQ_REMOVE(&c->replaces, old, link);
                doom(j, old, &j->doomed);
            }
            chunk_gone(j, c);
            continue;
        }
        c->state = CHUNK_WRITING;
        TAILQ_FOREACH (old, &c->replaces, link)
            store_del_chunk(b, &old->head);
        put_shared(j, b, c);
        store_put_chunk(b, &c->head, c->records);
    }
}

/*
 * Whether a batch of deletions only must leave this chunk alone: what a transaction has settled
 * must not get to the disk before what it has published.
 */
static bool
must_wait(const struct journal *j, struct chunk *c)
{
    if (j->is_partial)
        return c->in_tx;
    c->was_in_tx = c->in_tx;
    c->in_tx = false;
    return false;
}

static void
del_chunks(struct journal *j, struct store_batch *b, struct chunk_list *list, unsigned *n,
           unsigned max)
{
    struct chunk *c, *next;

    TAILQ_FOREACH_SAFE (c, list, link, next) {
        if (*n >= max && !c->in_tx)
            break;
        if (must_wait(j, c))
            continue;
        TAILQ_REMOVE(list, c, link);
        TAILQ_INSERT_TAIL(&j->flying_doomed, c, link);
        store_del_chunk(b, &c->head);
        (*n)++;
    }
}

static void
put_dead_sets(struct journal *j, struct store_batch *b)
{
    struct chunk *c, *next;

    TAILQ_FOREACH_SAFE (c, &j->dirty, dirty_link, next) {
        const struct chunk_dead dead = {c->n_dead, c->dead_bytes, c->dead};
        if (must_wait(j, c))
            continue;
        TAILQ_REMOVE(&j->dirty, c, dirty_link);
        c->is_dirty = false;
        c->refs++;
        TAILQ_INSERT_TAIL(&j->flying_dirty, c, flying_link);
        store_put_dead(b, &c->head, &dead);
    }
}

static void
put_states(struct journal *j, struct store_batch *b)
{
    struct queue *q;

    while ((q = TAILQ_FIRST(&j->states)) != NULL) {
        const struct store_queue_state state = {q->delivered, q->purged, q->n_purged};
        TAILQ_REMOVE(&j->states, q, state_link);
        TAILQ_INSERT_TAIL(&j->flying_states, q, flying_state_link);
        q->has_new_state = false;
        if (!q->deleted)
            store_put_queue_state(b, q->id, &state);
    }
}

/* Everything that waits gets on board. */
static void
board(struct journal *j)
{
    struct fence *f;
    struct confirm_run *run;

    TAILQ_CONCAT(&j->flying.rows, &j->waiting.rows, link);
    TAILQ_CONCAT(&j->flying.chunks, &j->waiting.chunks, link);
    TAILQ_CONCAT(&j->flying.runs, &j->waiting.runs, link);
    TAILQ_FOREACH (run, &j->flying.runs, link)
        run->is_waiting = false;
    while ((f = TAILQ_FIRST(&j->waiting.fences)) != NULL) {
        struct fence *to = &f->connection->fence_flying;
        TAILQ_REMOVE(&j->waiting.fences, f, link);
        if (to->position == NO_FENCE) { /* always, but when the store has failed */
            *to = (struct fence){.position = f->position, .connection = f->connection};
            TAILQ_INSERT_TAIL(&j->flying.fences, to, link);
        }
        f->position = NO_FENCE;
    }
}

static void on_done(void *ctx, enum store_status status);

/* `partial`: the deletions only. */
static void
submit(struct journal *j, bool partial)
{
    struct store_batch *b = store_batch_new();
    unsigned n_deleted = 0;

    j->n_batches++;
    j->is_flying = true;
    j->is_partial = partial;
    if (!partial) {
        j->is_urgent = false;
        board(j);
        put_rows(j, b);
        put_chunks(j, b);
    }
    del_chunks(j, b, &j->doomed, &n_deleted, JOURNAL_DELETIONS);
    del_chunks(j, b, &j->buried, &n_deleted, JOURNAL_BURIALS);
    if (j->with_dead || partial) {
        put_dead_sets(j, b);
        put_states(j, b);
        j->with_dead &= partial;
    }
    if (store_batch_count(b) == 0) {
        store_batch_free(b);
        on_done(j, STORE_OK);
        return;
    }
    store_submit(j->store, STORE_DURABLE, b, on_done, j);
}

static bool
has_lazy_work(const struct journal *j)
{
    return !TAILQ_EMPTY(&j->dirty) || !TAILQ_EMPTY(&j->states) || !TAILQ_EMPTY(&j->doomed) ||
           !TAILQ_EMPTY(&j->buried);
}

bool
journal_commit(struct journal *j)
{
    if (j->store == NULL || j->is_flying || j->has_failed || !j->is_urgent)
        return false;
    if (j->is_full && j->broker->now < j->retry_at)
        return false;
    if (j->gives_turn) {
        j->gives_turn = false;
        return true;
    }
    submit(j, false);
    return false;
}

/* --- the end of a batch --- */

static void
lift_fences(struct journal *j, bool ok)
{
    struct fence *f;

    while ((f = TAILQ_FIRST(&j->flying.fences)) != NULL) {
        struct connection *c = f->connection;
        TAILQ_REMOVE(&j->flying.fences, f, link);
        f->position = NO_FENCE;
        if (ok)
            connection_output_pending(c);
        else
            connection_abort(c, "the store has failed: what was asked for cannot be kept");
    }
}

static void
tell_runs(struct journal *j, enum confirm_kind kind)
{
    struct confirm_run *run;

    while ((run = TAILQ_FIRST(&j->flying.runs)) != NULL) {
        TAILQ_REMOVE(&j->flying.runs, run, link);
        if (run->channel != NULL) {
            LIST_REMOVE(run, channel_link);
            channel_settle_confirms(run->channel, run->first, run->last, kind);
        }
        free(run);
    }
}

static void
note_shared(struct journal *j, struct chunk *c)
{
    if (!c->head.has_shared)
        return;
    c->shared = mem_resize(NULL, c->n_records, sizeof *c->shared);
    for (uint32_t i = 0; i < c->n_records; i++) {
        struct shared *sh = c->records[i].shared != 0 ? find_shared(j, c->records[i].shared) : NULL;
        if (sh == NULL)
            continue;
        sh->is_stored = true;
        c->shared[c->n_shared++] = sh->id;
    }
}

static void
chunk_stored(struct journal *j, struct chunk *c)
{
    struct chunk *old;

    TAILQ_REMOVE(&j->flying.chunks, c, link);
    j->behind -= c->weight;
    while ((old = TAILQ_FIRST(&c->replaces)) != NULL) {
        TAILQ_REMOVE(&c->replaces, old, link);
        chunk_gone(j, old);
    }
    note_shared(j, c);
    chunk_release_records(c);
    c->state = CHUNK_STORED;
    if (c->queue->deleted) {
        journal_bury(j, c);
        return;
    }
    if (c->live == 0)
        doom(j, c, &j->doomed);
    else if (c->n_dead != 0)
        mark_dirty(j, c);
    if (c->queue->ready.resident > c->queue->page_at)
        paging_check(c->queue);
}

static void
finish_batch(struct journal *j)
{
    struct chunk *c;
    struct queue *q;

    free_rows(&j->flying.rows);
    while ((c = TAILQ_FIRST(&j->flying.chunks)) != NULL)
        chunk_stored(j, c);
    while ((c = TAILQ_FIRST(&j->flying_doomed)) != NULL) {
        TAILQ_REMOVE(&j->flying_doomed, c, link);
        chunk_gone(j, c);
    }
    while ((c = TAILQ_FIRST(&j->flying_dirty)) != NULL) {
        TAILQ_REMOVE(&j->flying_dirty, c, flying_link);
        chunk_unref(c);
    }
    while ((q = TAILQ_FIRST(&j->flying_states)) != NULL) {
        TAILQ_REMOVE(&j->flying_states, q, flying_state_link);
        queue_unref(q);
    }
}

/* A chunk that has not been written collects dead records again as an open one does. */
static void
reopen(struct journal *j, struct chunk *c)
{
    for (uint32_t i = 0; i < c->n_records; i++) {
        uint32_t offset = c->records[i].offset;
        if (!chunk_is_dead(c, offset))
            continue;
        c->live++; /* it was counted when it was marked */
        uint64_t shared = chunk_drop_record(c, c->head.first + offset);
        if (shared != 0)
            release_shared(j, shared);
    }
    free(c->dead);
    c->dead = NULL;
    c->n_dead = 0;
    c->dead_bytes = 0;
    c->state = CHUNK_OPEN;
}

/* Nothing of the batch has happened: all of it waits again, in front of what has come since. */
static void
undo_batch(struct journal *j)
{
    struct chunk *c;
    struct queue *q;
    struct fence *f;

    TAILQ_CONCAT(&j->flying.rows, &j->waiting.rows, link);
    TAILQ_CONCAT(&j->waiting.rows, &j->flying.rows, link);
    TAILQ_CONCAT(&j->flying.runs, &j->waiting.runs, link);
    TAILQ_CONCAT(&j->waiting.runs, &j->flying.runs, link);
    TAILQ_FOREACH (c, &j->flying.chunks, link)
        reopen(j, c);
    TAILQ_CONCAT(&j->flying.chunks, &j->waiting.chunks, link);
    TAILQ_CONCAT(&j->waiting.chunks, &j->flying.chunks, link);
    while ((c = TAILQ_FIRST(&j->flying_doomed)) != NULL) {
        TAILQ_REMOVE(&j->flying_doomed, c, link);
        TAILQ_INSERT_HEAD(&j->doomed, c, link);
        c->in_tx |= !j->is_partial && c->was_in_tx;
    }
    while ((c = TAILQ_FIRST(&j->flying_dirty)) != NULL) {
        TAILQ_REMOVE(&j->flying_dirty, c, flying_link);
        c->in_tx |= !j->is_partial && c->was_in_tx;
        if (c->state == CHUNK_STORED)
            mark_dirty(j, c);
        chunk_unref(c);
    }
    while ((q = TAILQ_FIRST(&j->flying_states)) != NULL) {
        TAILQ_REMOVE(&j->flying_states, q, flying_state_link);
        journal_touch(j, q);
        queue_unref(q);
    }
    while ((f = TAILQ_FIRST(&j->flying.fences)) != NULL) {
        struct fence *to = &f->connection->fence_waiting;
        TAILQ_REMOVE(&j->flying.fences, f, link);
        if (to->position == NO_FENCE) {
            to->connection = f->connection;
            TAILQ_INSERT_TAIL(&j->waiting.fences, to, link);
        }
        to->position = f->position;
        f->position = NO_FENCE;
    }
    j->with_dead = true;
}

static void
set_full(struct journal *j, bool full)
{
    if (j->is_full == full)
        return;
    j->is_full = full;
    broker_set_alarm(j->broker, ALARM_STORE, full);
    if (full)
        log_error(
            "store: no space on the disk: publishers of persistent messages wait until there is");
    else
        log_info("store: there is space again");
}

/* No space: nothing is lost yet. What frees space goes on by itself, the rest is tried now and
 * then. */
static void
wait_for_space(struct journal *j)
{
    undo_batch(j);
    set_full(j, true);
    j->is_urgent = true;
    j->retry_at = j->broker->now + JOURNAL_RETRY;
    want_timer(j);
}

/*
 * The disk has failed: what has been written stays, nothing more will be. Whoever waits is told so;
 * messages stay in memory for consumers, and publishers are blocked until a restart.
 */
static void
fail(struct journal *j)
{
    struct chunk *c;

    if (!j->has_failed)
        log_msg(LOG_CRITICAL, "store: writing has failed; nothing persistent is accepted until a "
                              "restart, publishers are refused, consumers go on");
    j->has_failed = true;
    board(j);
    lift_fences(j, false);
    tell_runs(j, CONFIRM_NACK);
    free_rows(&j->flying.rows);
    /* Messages that are being delivered still point to their chunks: these stay, empty. */
    TAILQ_FOREACH (c, &j->flying.chunks, link) {
        if (c->queue->open == c)
            c->queue->open = NULL;
        j->behind -= c->weight;
        chunk_release_records(c);
        c->state = CHUNK_WRITING;
    }
    broker_set_alarm(j->broker, ALARM_STORE, true);
    broker_release_publishers(j->broker);
}

static void
on_done(void *ctx, enum store_status status)
{
    struct journal *j = ctx;

    j->is_flying = false;
    if (status == STORE_FULL) {
        wait_for_space(j);
        return;
    }
    if (status != STORE_OK) {
        fail(j);
        return;
    }
    /* Publishers that wait for these answers go on at once: one turn for what they send then. */
    j->gives_turn = !TAILQ_EMPTY(&j->flying.runs);
    finish_batch(j);
    tell_runs(j, CONFIRM_ACK);
    lift_fences(j, true);
    if (!j->is_partial)
        set_full(j, false);
    if (!TAILQ_EMPTY(&j->doomed) || !TAILQ_EMPTY(&j->buried))
        j->is_urgent = true;
    broker_release_publishers(j->broker);
    if (j->is_urgent)
        broker_want_tick(j->broker);
}

static void
on_timer(struct timer *t)
{
    struct journal *j = (void *)((char *)t - offsetof(struct journal, timer));

    if (j->has_failed)
        return;
    if (j->is_flying) {
        timer_start(&j->broker->timers, t, j->broker->now + JOURNAL_LAZY / 4);
        return;
    }
    if (j->is_full && j->broker->now < j->retry_at) {
        timer_start(&j->broker->timers, t, j->broker->now + JOURNAL_LAZY);
        if (has_lazy_work(j))
            submit(j, true);
        return;
    }
    if (!has_lazy_work(j) && !j->is_urgent)
        return;
    j->with_dead = true;
    want_batch(j);
}

void
journal_close(struct journal *j)
{
    if (j->store == NULL)
        return;
    store_finish(j->store);
    do {
        if (j->has_failed || (!j->is_urgent && !has_lazy_work(j)))
            break;
        j->with_dead = true;
        submit(j, false);
        store_finish(j->store);
    } while (!j->is_full);
    j->store = NULL;
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
        struct shared *sh = find_shared(j, ids[i]);
        if (sh == NULL)
            sh = add_shared(j, ids[i]);
        sh->refs++;
    }
}

void
journal_recovered(struct journal *j)
{
    struct shared *sh, *next;

    HASH_ITER(hh, j->shared, sh, next)
    {
        if (sh->refs != 0)
            continue;
        add_row(j, ROW_DEL_SHARED, sh->id, 0, nothing);
        HASH_DEL(j->shared, sh);
        free(sh);
    }
}
