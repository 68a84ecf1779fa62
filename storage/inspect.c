#include "storage/inspect.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "storage/writer.h"

/* The last that the log says about a row. */
struct row {
    struct slice key, value; /* value: malloc'ed together, at key.p */
    uint64_t order;          /* in the log */
    bool is_put;             /* else it is deleted */
};

struct rows {
    struct row *rows; /* by key */
    size_t n, cap;
};

struct inspect {
    int lock; /* or -1 */
    struct backend *be;
    struct backend_reader *r;
    struct rows overlay[TABLE_COUNT];
    uint64_t n_changes;
    struct inspect_findings found;
};

/* --- the log --- */

static int
compare(struct slice a, struct slice b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n != 0 ? memcmp(a.p, b.p, n) : 0;

    return c != 0 ? c : (a.n > b.n) - (a.n < b.n);
}

static int
by_key_and_order(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    int c = compare(x->key, y->key);

    return c != 0 ? c : (x->order > y->order) - (x->order < y->order);
}

static void
add_change(struct inspect *in, const struct writer_change *c)
{
    struct rows *to = &in->overlay[c->table];
    uint8_t *bytes = mem_alloc(c->key.n + c->value.n + 1);

    if (to->n == to->cap) {
        to->cap = to->cap == 0 ? 64 : 2 * to->cap;
        to->rows = mem_resize(to->rows, to->cap, sizeof *to->rows);
    }
    memcpy(bytes, c->key.p, c->key.n);
    memcpy(bytes + c->key.n, c->value.p, c->value.n);
    to->rows[to->n++] = (struct row){
        .key = slice_of(bytes, c->key.n),
        .value = slice_of(bytes + c->key.n, c->value.n),
        .order = in->n_changes++,
        .is_put = c->is_put,
    };
}

/* A batch is carried out as a whole or, if it makes no sense anywhere, not at all. */
static bool
on_batch(void *ctx, uint64_t number, struct slice bytes)
{
    struct inspect *in = ctx;
    struct reader r = reader_init(bytes);
    struct writer_change c;

    (void)number;
    in->found.log_bytes += bytes.n;
    while (writer_next_change(&r, &c))
        ;
    if (r.bad) {
        in->found.n_nonsense++;
        return true;
    }
    r = reader_init(bytes);
    while (writer_next_change(&r, &c))
        add_change(in, &c);
    return true;
}

static void
free_row(const struct row *row)
{
    free((void *)(uintptr_t)row->key.p);
}

/* Leaves the last change of each row. */
static void
settle(struct rows *rows)
{
    size_t n = 0;

    if (rows->n != 0)
        qsort(rows->rows, rows->n, sizeof *rows->rows, by_key_and_order);
    for (size_t i = 0; i < rows->n; i++) {
        if (i + 1 < rows->n && slice_eq(rows->rows[i].key, rows->rows[i + 1].key))
            free_row(&rows->rows[i]);
        else
            rows->rows[n++] = rows->rows[i];
    }
    rows->n = n;
}

static bool
read_log(struct inspect *in, const char *directory)
{
    const struct wal_options options = {.directory = directory, .read_only = true};
    enum store_status status;
    uint64_t applied;

    status = writer_read_applied(in->be, &applied);
    in->found.applied_is_damaged = status == STORE_DAMAGED;
    if (status != STORE_OK)
        return status == STORE_DAMAGED;
    struct wal *w = wal_open(&options);
    if (w == NULL)
        return false;
    bool ok = wal_replay(w, applied, on_batch, in, &in->found.log);
    wal_close(w);
    for (size_t t = 0; t < TABLE_COUNT; t++)
        settle(&in->overlay[t]);
    return ok;
}

/* --- opening --- */

static bool
is_directory(const char *path)
{
    struct stat st;

    if (stat(path, &st) == 0 && !S_ISDIR(st.st_mode))
        errno = ENOTDIR;
    else if (errno = 0, stat(path, &st) == 0)
        return true;
    log_error("cannot look into %s: %s", path, strerror(errno));
    return false;
}

/* False when there is nothing to judge. */
static bool
verify(struct inspect *in, const char *path)
{
    struct lmdb_report trees;

    lmdb_verify(path, LMDB_EVERYTHING, &in->found.file);
    switch (in->found.file.verdict) {
    case LMDB_SOUND:
        in->found.has_rows = true;
        return true;
    case LMDB_DAMAGED:
        /* What is only wrong with a value's pages is no reason to leave the rest alone. */
        lmdb_verify(path, LMDB_TREES, &trees);
        in->found.has_rows = trees.verdict == LMDB_SOUND;
        return true;
    case LMDB_ABSENT:
        log_error("there is no store: %s", in->found.file.text);
        return false;
    case LMDB_FOREIGN:
    case LMDB_UNREADABLE:
        break;
    }
    log_error("%s", in->found.file.text);
    return false;
}

static bool
open_rows(struct inspect *in, const char *store)
{
    const struct lmdb_options options = {
        .directory = store, .size_max = 64 << 20, .read_only = true, .alone = true};

    in->be = backend_lmdb_open(&options);
    if (in->be == NULL)
        return false;
    in->found.format = store_read_format(in->be);
    if (in->found.format == STORE_FORMAT_OTHER || in->found.format == STORE_FORMAT_UNREADABLE)
        return false;
    return read_log(in, store) && in->be->ops->read_begin(in->be, &in->r) == STORE_OK;
}

struct inspect *
inspect_open(const char *directory)
{
    struct inspect *in = mem_zalloc(sizeof *in);
    char *store = mem_printf("%s/store", directory), *file = mem_printf("%s/data.mdb", store);
    bool ok;

    in->lock = -1;
    ok = is_directory(directory);
    if (ok) {
        in->lock = store_lock(directory, false);
        ok = in->lock >= 0 || errno == ENOENT;
    }
    ok = ok && verify(in, file) && (!in->found.has_rows || open_rows(in, store));
    free(store);
    free(file);
    if (ok)
        return in;
    inspect_close(in);
    return NULL;
}

void
inspect_close(struct inspect *in)
{
    if (in->r != NULL)
        in->be->ops->read_end(in->r);
    if (in->be != NULL)
        in->be->ops->close(in->be);
    for (size_t t = 0; t < TABLE_COUNT; t++) {
        for (size_t i = 0; i < in->overlay[t].n; i++)
            free_row(&in->overlay[t].rows[i]);
        free(in->overlay[t].rows);
    }
    if (in->lock >= 0)
        close(in->lock);
    free(in);
}

const struct inspect_findings *
inspect_findings(const struct inspect *in)
{
    return &in->found;
}

/* --- rows --- */

static const struct row *
next_in_log(const struct rows *rows, struct slice after, bool inclusive)
{
    size_t lo = 0, hi = rows->n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = compare(rows->rows[mid].key, after);
        if (c < 0 || (c == 0 && !inclusive))
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < rows->n ? &rows->rows[lo] : NULL;
}

enum store_status
inspect_next(struct inspect *in, enum table t, struct slice after, bool inclusive,
             struct slice *key_r, struct slice *value_r)
{
    for (;;) {
        const struct row *row = next_in_log(&in->overlay[t], after, inclusive);
        enum store_status status = in->be->ops->next(in->r, t, after, inclusive, key_r, value_r);
        if (row == NULL || (status == STORE_OK && compare(*key_r, row->key) < 0) ||
            (status != STORE_OK && status != STORE_ABSENT))
            return status;
        if (row->is_put) {
            *key_r = row->key;
            *value_r = row->value;
            return STORE_OK;
        }
        after = row->key;
        inclusive = false;
    }
}

enum store_status
inspect_get(struct inspect *in, enum table t, struct slice key, struct slice *value_r)
{
    const struct row *row = next_in_log(&in->overlay[t], key, true);

    if (row == NULL || !slice_eq(row->key, key))
        return in->be->ops->get(in->r, t, key, value_r);
    *value_r = row->value;
    return row->is_put ? STORE_OK : STORE_ABSENT;
}
