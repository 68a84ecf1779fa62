/*
 * The journal's batches: what goes on board, and what becomes of it when the store has answered
 * that it is on the disk, that there is no space, or that the disk has failed.
 */
#include "broker/core/journal_int.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "broker/core/alarms.h"
#include "broker/core/broker.h"
#include "broker/core/channel.h"
#include "broker/core/connection.h"
#include "broker/core/paging.h"
#include "broker/core/queue.h"

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
        struct shared *sh = r->shared != 0 ? journal_find_shared(j, r->shared) : NULL;
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
                journal_doom(j, old, &j->doomed);
            }
            journal_chunk_gone(j, c);
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
        struct shared *sh =
            c->records[i].shared != 0 ? journal_find_shared(j, c->records[i].shared) : NULL;
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
        journal_chunk_gone(j, old);
    }
    note_shared(j, c);
    chunk_release_records(c);
    c->state = CHUNK_STORED;
    if (c->queue->deleted) {
        journal_bury(j, c);
        return;
    }
    if (c->live == 0)
        journal_doom(j, c, &j->doomed);
    else if (c->n_dead != 0)
        journal_mark_dirty(j, c);
    if (c->queue->ready.resident > c->queue->page_at)
        paging_check(c->queue);
}

static void
finish_batch(struct journal *j)
{
    struct chunk *c;
    struct queue *q;

    journal_free_rows(&j->flying.rows);
    while ((c = TAILQ_FIRST(&j->flying.chunks)) != NULL)
        chunk_stored(j, c);
    while ((c = TAILQ_FIRST(&j->flying_doomed)) != NULL) {
        TAILQ_REMOVE(&j->flying_doomed, c, link);
        journal_chunk_gone(j, c);
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
            journal_release_shared(j, shared);
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
            journal_mark_dirty(j, c);
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
    journal_want_timer(j);
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
    journal_free_rows(&j->flying.rows);
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

void
journal_on_timer(struct timer *t)
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
    journal_want_batch(j);
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
