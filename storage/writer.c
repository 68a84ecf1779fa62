#include "storage/writer.h"

#include <bsd/sys/queue.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <time.h>
#include <xxhash.h>

#define HASH_FUNCTION(key, len, hashv) (hashv) = (unsigned)XXH3_64bits((key), (len))
#include <uthash.h>

#include "base/buf.h"
#include "base/log.h"
#include "storage/wal.h"

enum {
    SEGMENT_SIZE = 4 << 20,
    SEGMENT_LEAST = 256 << 10,
    LARGE = 1 << 20,       /* bytes of a batch that is not worth writing twice */
    ENOUGH = 3 << 20,      /* bytes waiting for the database that are brought there at once ... */
    ENOUGH_CHANGES = 2048, /* or so many changes: deletions are small and take their time ... */
    PATIENCE = 250,        /* ... and less after so many ms */
    CHANGE_HEAD = 8, /* of a change in the log: what, table, size of the key, size of the value */
};

enum change_kind { CHANGE_PUT = 1, CHANGE_DELETE = 2 };

/* A change that is in the log. */
struct logged {
    uint8_t kind, table; /* enum change_kind; enum table */
    uint8_t key_len;
    bool is_void; /* a later one has made it needless */
    bool is_indexed;
    struct entry *entry; /* the batch that it is of */
    const uint8_t *key;
    struct slice value;
    UT_hash_handle
        hh; /* writer->rows; by the byte in front of the key, which is the table, and the key */
};

/* A batch that is in the log and not in the database. */
struct entry {
    STAILQ_ENTRY(entry) link;
    uint64_t number;
    unsigned segment;
    bool is_taken; /* being brought into the database: too late to change anything */
    uint8_t *buffer;
    size_t size;
    uint32_t n;
    struct logged changes[];
};

STAILQ_HEAD(entry_list, entry);

struct store_writer {
    struct backend *be;
    struct wal *wal;
    pthread_t thread;
    bool has_thread;
    uint64_t applied; /* number of the last batch in the database; of who writes it */
    uint64_t room;    /* bytes for the database that are kept for deletions */
    uint64_t last;    /* number of the last batch; the writing thread's */

    pthread_mutex_t lock; /* for the rest */
    pthread_cond_t work;  /* for the thread: there may be something to do */
    pthread_cond_t done;  /* for the writing thread: something has been done */
    struct entry_list waiting;
    size_t waiting_size, taken_size;
    size_t waiting_changes;
    struct timespec since;    /* when the first of them came */
    struct logged *rows;      /* puts among them into tables that are loaded from */
    uint64_t logged, brought; /* last batch of the log, and the last of those in the database */
    unsigned in_segment[WAL_SEGMENTS]; /* batches that keep it from being written anew */
    bool is_busy;                      /* the database is being written */
    bool is_hurried;                   /* somebody waits for it */
    bool is_full, has_failed, is_stopping;
};

/* --- changes as bytes --- */

static bool
is_loaded_from(uint8_t table)
{
    return table == TABLE_LOG || table == TABLE_SHARED;
}

static size_t
encoded_size(const struct store_batch *b)
{
    size_t n = 0;

    for (size_t i = 0; i < b->n; i++)
        n += CHANGE_HEAD + b->changes[i].key.n + batch_value_size(&b->changes[i]);
    return n;
}

/* As docs/storage-format.md has it. The table is in front of the key, so that the two can be hashed
 * together. */
static void
encode(uint8_t *p, const struct store_batch *b)
{
    for (size_t i = 0; i < b->n; i++) {
        const struct change *c = &b->changes[i];
        size_t n = batch_value_size(c);

        p[0] = c->what == DELETE_ROW ? CHANGE_DELETE : CHANGE_PUT;
        p[1] = c->key.n;
        put_u32(p + 2, (uint32_t)n);
        p[6] = 0;
        p[7] = (uint8_t)c->table;
        p += CHANGE_HEAD;
        memcpy(p, c->key.bytes, c->key.n);
        p += c->key.n;
        batch_encode_value(p, c);
        p += n;
    }
}

bool
writer_next_change(struct reader *r, struct writer_change *c_r)
{
    if (reader_left(r) == 0)
        return false;
    struct slice head = read_bytes(r, CHANGE_HEAD);
    if (r->bad || head.p[0] < CHANGE_PUT || head.p[0] > CHANGE_DELETE ||
        head.p[1] > BACKEND_KEY_MAX || head.p[7] >= TABLE_COUNT) {
        r->bad = true;
        return false;
    }
    c_r->is_put = head.p[0] == CHANGE_PUT;
    c_r->table = head.p[7];
    c_r->key = read_bytes(r, head.p[1]);
    c_r->value = read_bytes(r, get_u32(head.p + 2));
    return !r->bad;
}

static uint32_t
count(struct slice bytes)
{
    struct reader r = reader_init(bytes);
    struct writer_change change;
    uint32_t n = 0;

    while (writer_next_change(&r, &change))
        n++;
    return r.bad ? 0 : n;
}

/* The entry of a batch whose bytes are at buffer + WAL_HEADER. It owns the buffer. */
static struct entry *
entry_new(uint8_t *buffer, struct slice bytes, uint64_t number, unsigned segment)
{
    uint32_t n = count(bytes);
    struct entry *e = mem_alloc(sizeof *e + n * sizeof *e->changes);
    struct reader r = reader_init(bytes);
    struct writer_change c;

    *e = (struct entry){
        .number = number, .segment = segment, .buffer = buffer, .size = bytes.n, .n = n};
    for (uint32_t i = 0; i < n && writer_next_change(&r, &c); i++)
        e->changes[i] = (struct logged){
            .kind = c.is_put ? CHANGE_PUT : CHANGE_DELETE,
            .table = (uint8_t)c.table,
            .key_len = (uint8_t)c.key.n,
            .entry = e,
            .key = c.key.p,
            .value = c.value,
        };
    return e;
}

/* --- what waits --- */

static struct logged *
find(struct store_writer *w, const struct logged *like)
{
    struct logged *l;

    HASH_FIND(hh, w->rows, like->key - 1, like->key_len + 1U, l);
    return l;
}

/* A put that is followed by a deletion, or by another put, before it is brought over is needless:
 * most messages are, when consumers keep up. */
static void
index_change(struct store_writer *w, struct logged *l)
{
    struct logged *before;

    if (!is_loaded_from(l->table))
        return;
    before = find(w, l);
    if (before != NULL) {
        HASH_DEL(w->rows, before);
        before->is_indexed = false;
        if (!before->entry->is_taken)
            before->is_void = true;
    }
    if (l->kind == CHANGE_PUT) {
        HASH_ADD_KEYPTR(hh, w->rows, l->key - 1, l->key_len + 1U, l);
        l->is_indexed = true;
    }
}

static void
entry_free(struct store_writer *w, struct entry *e)
{
    for (uint32_t i = 0; i < e->n; i++) {
        if (e->changes[i].is_indexed)
            HASH_DEL(w->rows, &e->changes[i]);
    }
    free(e->buffer);
    free(e);
}

static bool
is_enough(const struct store_writer *w)
{
    return w->waiting_size >= ENOUGH || w->waiting_changes >= ENOUGH_CHANGES;
}

static void
add_entry(struct store_writer *w, struct entry *e)
{
    if (STAILQ_EMPTY(&w->waiting))
        clock_gettime(CLOCK_MONOTONIC, &w->since);
    STAILQ_INSERT_TAIL(&w->waiting, e, link);
    w->waiting_size += e->size;
    w->waiting_changes += e->n;
    w->logged = e->number;
    w->in_segment[e->segment]++;
    for (uint32_t i = 0; i < e->n; i++)
        index_change(w, &e->changes[i]);
    if (is_enough(w) || e == STAILQ_FIRST(&w->waiting))
        pthread_cond_signal(&w->work);
}

uint8_t *
writer_find(struct store_writer *w, enum table t, struct slice key, size_t *n_r)
{
    uint8_t bytes[1 + BACKEND_KEY_MAX];
    struct logged *l;
    uint8_t *copy = NULL;

    bytes[0] = (uint8_t)t;
    memcpy(bytes + 1, key.p, key.n);
    pthread_mutex_lock(&w->lock);
    HASH_FIND(hh, w->rows, bytes, key.n + 1, l);
    if (l != NULL && (copy = mem_try_alloc(l->value.n + 1)) != NULL) {
        memcpy(copy, l->value.p, l->value.n);
        *n_r = l->value.n;
    }
    pthread_mutex_unlock(&w->lock);
    return copy;
}

/* --- into the database --- */

static enum store_status
put(struct backend *be, uint8_t table, struct slice key, struct slice value)
{
    uint8_t *room;
    enum store_status status = be->ops->put(be, table, key, value.n, &room);

    if (status == STORE_OK)
        memcpy(room, value.p, value.n);
    return status;
}

static enum store_status
apply_entry(struct backend *be, const struct entry *e, bool deletions_only)
{
    enum store_status status = STORE_OK;

    for (uint32_t i = 0; i < e->n && status == STORE_OK; i++) {
        const struct logged *l = &e->changes[i];
        struct slice key = slice_of(l->key, l->key_len);
        if (l->is_void || (deletions_only && l->kind != CHANGE_DELETE))
            continue;
        if (l->kind == CHANGE_PUT)
            status = put(be, l->table, key, l->value);
        else
            status = batch_delete_row(be, l->table, key);
    }
    return status;
}

static enum store_status
put_applied(struct backend *be, uint64_t number)
{
    struct key key = format_meta_key(META_APPLIED);
    uint8_t payload[8], value[8 + FORMAT_FRAME_SIZE];

    put_u64(payload, number);
    format_frame(value, key_slice(&key), slice_of(payload, sizeof payload));
    return put(be, TABLE_META, key_slice(&key), slice_of(value, sizeof value));
}

/*
 * All entries, and then a batch that has not been logged, if any, in one transaction. Deletions
 * only: doing them early is harmless, since all is done again, in order, later.
 */
static enum store_status
apply(struct backend *be, const struct entry_list *entries, const struct store_batch *b,
      uint64_t number, bool deletions_only)
{
    enum store_status status = be->ops->begin(be);
    const struct entry *e;

    if (status != STORE_OK)
        return status;
    STAILQ_FOREACH (e, entries, link) {
        if (status == STORE_OK)
            status = apply_entry(be, e, deletions_only);
    }
    if (status == STORE_OK && b != NULL)
        status = batch_apply(be, b);
    /* With deletions only, too: what a transaction has freed can be used in the next but one, and
     * one that changes nothing does not count. */
    if (status == STORE_OK)
        status = put_applied(be, number);
    if (status != STORE_OK) {
        be->ops->abort(be);
        return status == STORE_DAMAGED ? STORE_FAILED : status;
    }
    return be->ops->commit(be);
}

/* Takes what waits; the lock is held. */
static void
take(struct store_writer *w, struct entry_list *to)
{
    struct entry *e;

    STAILQ_INIT(to);
    STAILQ_CONCAT(to, &w->waiting);
    w->taken_size = w->waiting_size;
    w->waiting_size = 0;
    w->waiting_changes = 0;
    STAILQ_FOREACH (e, to, link)
        e->is_taken = true;
    w->is_busy = true;
}

static void
put_back(struct store_writer *w, struct entry_list *entries)
{
    struct entry *e;

    STAILQ_FOREACH (e, entries, link) {
        w->waiting_size += e->size;
        w->waiting_changes += e->n;
    }
    STAILQ_CONCAT(entries, &w->waiting);
    STAILQ_CONCAT(&w->waiting, entries);
}

static void
release(struct store_writer *w, struct entry_list *entries)
{
    struct entry *e;

    while ((e = STAILQ_FIRST(entries)) != NULL) {
        STAILQ_REMOVE_HEAD(entries, link);
        w->brought = e->number;
        w->in_segment[e->segment]--;
        entry_free(w, e);
    }
}

static void
finish(struct store_writer *w, struct entry_list *entries, enum store_status status)
{
    if (status == STORE_OK)
        release(w, entries);
    else
        put_back(w, entries);
    w->is_busy = false;
    w->taken_size = 0;
    w->is_hurried = false;
    w->is_full = status == STORE_FULL;
    w->has_failed |= status == STORE_FAILED;
    clock_gettime(CLOCK_MONOTONIC, &w->since);
    pthread_cond_broadcast(&w->done);
    /* The thread sleeps without a limit while somebody else writes: what was put back is its work. */
    pthread_cond_signal(&w->work);
}

static uint64_t
last_number(const struct entry_list *entries, uint64_t otherwise)
{
    const struct entry *e;
    uint64_t number = otherwise;

    STAILQ_FOREACH (e, entries, link)
        number = e->number;
    return number;
}

/* When there is no space, deletions may make some, which can be used after another transaction. */
static enum store_status
apply_all(struct store_writer *w, const struct entry_list *entries, uint64_t number)
{
    enum store_status status = apply(w->be, entries, NULL, number, false);

    if (status == STORE_FULL && apply(w->be, entries, NULL, w->applied, true) == STORE_OK &&
        apply(w->be, entries, NULL, w->applied, true) == STORE_OK)
        status = apply(w->be, entries, NULL, number, false);
    if (status == STORE_OK)
        w->applied = number;
    return status;
}

/* One round of the thread; the lock is held. */
static void
bring_over(struct store_writer *w)
{
    struct entry_list entries;

    take(w, &entries);
    pthread_mutex_unlock(&w->lock);
    uint64_t number = last_number(&entries, 0);
    enum store_status status = apply_all(w, &entries, number);
    pthread_mutex_lock(&w->lock);
    finish(w, &entries, status);
}

/* When what waits has waited long enough. */
static struct timespec
due(const struct store_writer *w)
{
    struct timespec t = w->since;

    t.tv_nsec += PATIENCE * 1000000L;
    if (t.tv_nsec >= 1000000000L) {
        t.tv_nsec -= 1000000000L;
        t.tv_sec++;
    }
    return t;
}

static bool
is_past(struct timespec t)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec > t.tv_sec || (now.tv_sec == t.tv_sec && now.tv_nsec >= t.tv_nsec);
}

static bool
should_bring_over(const struct store_writer *w)
{
    if (w->is_busy || w->has_failed || STAILQ_EMPTY(&w->waiting))
        return false;
    if (w->is_full && !w->is_stopping) /* no haste, it fails anyway */
        return is_past(due(w));
    return w->is_stopping || w->is_hurried || is_enough(w) || is_past(due(w));
}

static void *
run(void *arg)
{
    struct store_writer *w = arg;

    pthread_mutex_lock(&w->lock);
    for (;;) {
        if (should_bring_over(w)) {
            bring_over(w);
            if (w->is_stopping && w->is_full)
                break; /* it stays in the log */
            continue;
        }
        if (w->is_stopping && !w->is_busy)
            break;
        if (STAILQ_EMPTY(&w->waiting) || w->is_busy || w->has_failed) {
            pthread_cond_wait(&w->work, &w->lock);
        } else {
            struct timespec t = due(w);
            pthread_cond_timedwait(&w->work, &w->lock, &t);
        }
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

/* --- making batches safe --- */

/* Waits until the database is not being written. The lock is held. */
static void
wait_idle(struct store_writer *w)
{
    while (w->is_busy)
        pthread_cond_wait(&w->done, &w->lock);
}

/* Into the database at once, with all that waits for it. */
static enum store_status
write_through(struct store_writer *w, const struct store_batch *b, uint64_t number)
{
    struct entry_list entries;

    pthread_mutex_lock(&w->lock);
    wait_idle(w);
    take(w, &entries);
    pthread_mutex_unlock(&w->lock);
    enum store_status status = apply(w->be, &entries, b, number, false);
    if (status == STORE_OK)
        w->applied = number;
    pthread_mutex_lock(&w->lock);
    finish(w, &entries, status);
    pthread_mutex_unlock(&w->lock);
    return status;
}

/* Makes room in the log for a record; the lock is held. */
static enum store_status
make_room(struct store_writer *w, size_t record_size)
{
    unsigned other = (wal_current(w->wal) + 1) % WAL_SEGMENTS;

    if (wal_has_room(w->wal, record_size))
        return STORE_OK;
    while (w->in_segment[other] != 0 && !w->has_failed && !w->is_full) {
        w->is_hurried = true;
        pthread_cond_signal(&w->work);
        pthread_cond_wait(&w->done, &w->lock);
    }
    if (w->has_failed)
        return STORE_FAILED;
    if (w->in_segment[other] != 0)
        return STORE_FULL;
    wal_turn(w->wal);
    return STORE_OK;
}

static bool
needs_space(const struct store_batch *b)
{
    for (size_t i = 0; i < b->n; i++) {
        if (b->changes[i].what == PUT_CHUNK || b->changes[i].what == PUT_SHARED)
            return true;
    }
    return false;
}

/* What is in the log must find room in the database: as much again for the trees and for what is
 * torn. */
static enum store_status
promise_room(struct store_writer *w, size_t record_size)
{
    const struct backend_ops *ops = w->be->ops;

    return ops->room == NULL
               ? STORE_OK
               : ops->room(w->be, 2 * (w->waiting_size + w->taken_size + record_size) + w->room);
}

static enum store_status
check(struct store_writer *w, const struct store_batch *b, size_t record_size)
{
    enum store_status status;

    pthread_mutex_lock(&w->lock);
    if (w->has_failed)
        status = STORE_FAILED;
    else if (needs_space(b) && (w->is_full || promise_room(w, record_size) != STORE_OK))
        status = STORE_FULL;
    else
        status = record_size > LARGE ? STORE_OK : make_room(w, record_size);
    pthread_mutex_unlock(&w->lock);
    return status;
}

static enum store_status
append_here(struct store_writer *w, uint8_t *buffer, size_t n, uint64_t number)
{
    const struct backend_ops *ops = w->be->ops;
    enum store_status status = ops->append != NULL ? ops->append(w->be) : STORE_OK;

    return status == STORE_OK ? wal_append(w->wal, buffer, n, number) : status;
}

/* Appends to the log, in the other segment if this one cannot grow. */
static enum store_status
append(struct store_writer *w, uint8_t *buffer, size_t n, uint64_t number)
{
    enum store_status status = append_here(w, buffer, n, number);

    if (status != STORE_FULL)
        return status;
    pthread_mutex_lock(&w->lock);
    wal_fill(w->wal);
    status = make_room(w, wal_record_size(n));
    pthread_mutex_unlock(&w->lock);
    return status == STORE_OK ? append_here(w, buffer, n, number) : status;
}

enum store_status
writer_write(struct store_writer *w, const struct store_batch *b)
{
    size_t n = encoded_size(b);
    enum store_status status = check(w, b, wal_record_size(n));

    if (status != STORE_OK)
        return status;
    uint64_t number = w->last + 1;
    if (wal_record_size(n) > LARGE) {
        status = write_through(w, b, number);
        if (status == STORE_OK)
            w->last = number;
        return status;
    }
    uint8_t *buffer = wal_buffer(n);
    encode(buffer + WAL_HEADER, b);
    status = append(w, buffer, n, number);
    pthread_mutex_lock(&w->lock);
    if (status == STORE_OK) {
        w->last = number;
        add_entry(w,
                  entry_new(buffer, slice_of(buffer + WAL_HEADER, n), number, wal_current(w->wal)));
    } else {
        free(buffer);
    }
    w->has_failed |= status == STORE_FAILED;
    pthread_mutex_unlock(&w->lock);
    return status;
}

bool
writer_flush(struct store_writer *w)
{
    pthread_mutex_lock(&w->lock);
    /* Not until nothing waits: under load there is always more. */
    uint64_t last = w->logged;
    while (w->brought < last && !w->has_failed && (!w->is_full || w->is_busy)) {
        w->is_hurried = true;
        pthread_cond_signal(&w->work);
        pthread_cond_wait(&w->done, &w->lock);
    }
    bool ok = w->brought >= last;
    pthread_mutex_unlock(&w->lock);
    return ok;
}

/* --- beginning and end --- */

enum store_status
writer_read_applied(struct backend *be, uint64_t *number_r)
{
    struct key key = format_meta_key(META_APPLIED);
    struct backend_reader *r;
    struct slice value, payload;
    enum store_status status = be->ops->read_begin(be, &r);

    *number_r = 0;
    if (status != STORE_OK)
        return status;
    status = be->ops->get(r, TABLE_META, key_slice(&key), &value);
    if (status == STORE_OK &&
        (!format_unframe(key_slice(&key), value, &payload) || payload.n != 8)) {
        log_error("store: the record of what is in the database is damaged");
        status = STORE_DAMAGED;
    } else if (status == STORE_OK) {
        *number_r = get_u64(payload.p);
    }
    be->ops->read_end(r);
    return status == STORE_ABSENT ? STORE_OK : status;
}

static bool
replay_batch(void *ctx, uint64_t number, struct slice bytes)
{
    struct store_writer *w = ctx;
    uint8_t *buffer = mem_dup(bytes.p, bytes.n);
    struct entry *e = entry_new(buffer, slice_of(buffer, bytes.n), number, 0);

    w->last = number;
    w->in_segment[0]++;
    STAILQ_INSERT_TAIL(&w->waiting, e, link);
    for (uint32_t i = 0; i < e->n; i++)
        index_change(w, &e->changes[i]);
    return true;
}

static bool
replay(struct store_writer *w)
{
    struct wal_report report;
    uint64_t applied;

    if (writer_read_applied(w->be, &applied) != STORE_OK)
        return false;
    w->last = w->applied = applied;
    if (!wal_replay(w->wal, applied, replay_batch, w, &report))
        return false;
    enum store_status status = report.n != 0 ? apply_all(w, &w->waiting, w->last) : STORE_OK;
    release(w, &w->waiting);
    if (status != STORE_OK) {
        log_error("store: what is in the write-ahead log cannot be brought into the database");
        return false;
    }
    if (report.n != 0)
        log_info("store: recovered %" PRIu64 " batches from the write-ahead log", report.n);
    if (report.lost != 0)
        log_error("store: %" PRIu64 " batches in the write-ahead log are damaged and lost",
                  report.lost);
    return true;
}

/* On a small disk the log must leave room for the database. */
static uint64_t
segment_size(const char *directory)
{
    struct statvfs fs;
    uint64_t size = SEGMENT_SIZE;

    if (statvfs(directory, &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize / 16 < size)
        size = (uint64_t)fs.f_bavail * fs.f_frsize / 16;
    return size < SEGMENT_LEAST ? SEGMENT_LEAST : size;
}

static void
start_thread(struct store_writer *w)
{
    pthread_condattr_t attr;
    sigset_t all, before;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&w->work, &attr);
    pthread_condattr_destroy(&attr);
    pthread_cond_init(&w->done, NULL);
    pthread_mutex_init(&w->lock, NULL);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    errno = pthread_create(&w->thread, NULL, run, w);
    if (errno != 0) {
        perror("pthread_create");
        exit(1);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_setname_np(w->thread, "store-database");
    w->has_thread = true;
}

struct store_writer *
writer_open(struct backend *be, const char *directory)
{
    struct store_writer *w = mem_zalloc(sizeof *w);
    const struct wal_options options = {.directory = directory,
                                        .segment_size = segment_size(directory)};

    w->be = be;
    w->room = options.segment_size / 2;
    STAILQ_INIT(&w->waiting);
    w->wal = wal_open(&options);
    if (w->wal == NULL || !replay(w)) {
        writer_close(w);
        return NULL;
    }
    start_thread(w);
    return w;
}

void
writer_close(struct store_writer *w)
{
    if (w->has_thread) {
        pthread_mutex_lock(&w->lock);
        w->is_stopping = true;
        pthread_cond_signal(&w->work);
        pthread_mutex_unlock(&w->lock);
        pthread_join(w->thread, NULL);
        release(w, &w->waiting);
        pthread_cond_destroy(&w->work);
        pthread_cond_destroy(&w->done);
        pthread_mutex_destroy(&w->lock);
    }
    if (w->wal != NULL)
        wal_close(w->wal);
    free(w);
}
