#include "storage/backend.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <lmdb.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

/*
 * What LMDB 0.9.24 does when a commit fails, from reading mdb.c, and what follows.
 *
 * mdb_txn_commit() writes the transaction's pages, all of them to places that no earlier commit
 * refers to, then calls fdatasync(), then writes a meta page through a second descriptor that is
 * O_DSYNC. Whichever step fails, the transaction is aborted and its locks and memory are released.
 *
 * - The pages: the meta page has not been touched. Nothing has happened, the environment is as it
 *   was, and the same transaction may be tried again. The error is that of the write, except that a
 *   short write, which is what a full disk commonly gives first, becomes EIO. (A large transaction
 *   writes some of its pages earlier, in put and del; that is the same case.)
 * - fdatasync(): nothing has happened either, as far as the meta page goes, and a retry would write
 *   every page again that the next meta page refers to: the others are those of earlier commits,
 *   whose sync succeeded. So it could be sound. But Linux tells a write-back error once to each
 *   descriptor of the file: the retry would get it from its O_DSYNC write of the meta page, the one
 *   place where LMDB cannot go on. A failed sync is therefore final, whatever its errno.
 * - The meta page: LMDB sets its fatal error flag, and everything after it gives MDB_PANIC, reads
 *   too. Whether the transaction is there after a restart is not known: its pages are synced, and
 *   its meta page may or may not have reached the disk. Final, also for ENOSPC (a file system that
 *   copies on write).
 *
 * The code does not tell these apart, so why_commit_failed() finds out: mdb_txn_begin() tells of
 * the fatal error, and fdatasync() through a descriptor of our own, which nobody else syncs, tells
 * again of the failed one.
 */

enum {
    SIZE_LEAST = 64 << 20, /* the map is not made smaller when there is no address space */
    KEPT_MOST = 64 << 20,  /* of it is kept for deleting */
    PAGE_HEADER = 16,
    PAGE_IS_OVERFLOW = 0x04,
};

/* The beginning of an overflow page. */
struct page_header {
    uint64_t number;
    uint16_t pad;
    uint16_t flags;
    uint32_t pages;
};
_Static_assert(sizeof(struct page_header) == PAGE_HEADER, "as in mdb.c");

enum { ROOM_STEP = 1 << 20 }; /* bytes by which the file is made longer, if there are as many */

struct lmdb {
    struct backend be;
    MDB_env *env;
    MDB_dbi dbis[TABLE_COUNT];
    bool exists[TABLE_COUNT]; /* false: a read-only environment has no such table */
    bool sync;
    int fd; /* of data.mdb, and ours alone */
    size_t page_size;
    const uint8_t *map; /* where data.mdb is mapped; NULL: not known */
    size_t map_size;
    uint64_t room_most; /* what puts may fill; the rest of the map is for deleting */
    _Atomic(struct backend_reader *) idle; /* kept for the next read_begin() */

    /* The writer's thread. */
    MDB_txn *txn;
    enum store_status txn_status; /* what went wrong in it */
    uint64_t txn_used;            /* bytes of the file in use, with what its puts have added */
    bool txn_free_counted;        /* pages that are free in the file are not among them */
    bool failed;                  /* STORE_FAILED has been given */
    bool full_logged;
};

struct backend_reader {
    struct lmdb *lm;
    MDB_txn *txn;
    MDB_cursor *cursors[TABLE_COUNT];
    bool renewed[TABLE_COUNT];
    uint64_t file_size;
};

static enum store_status
status_of(int rc)
{
    switch (rc) {
    case MDB_SUCCESS:
        return STORE_OK;
    case MDB_NOTFOUND:
        return STORE_ABSENT;
    case ENOSPC:
    case EDQUOT:
    case EFBIG: /* the file system's largest file, or RLIMIT_FSIZE */
    case MDB_MAP_FULL:
    case MDB_TXN_FULL:
        return STORE_FULL;
    case MDB_PAGE_NOTFOUND:
    case MDB_CORRUPTED:
    case MDB_VERSION_MISMATCH:
    case MDB_INVALID:
    case MDB_INCOMPATIBLE:
    case MDB_BAD_RSLOT:
    case MDB_BAD_TXN:
    case MDB_BAD_VALSIZE:
    case MDB_BAD_DBI:
        return STORE_DAMAGED;
    default:
        return STORE_FAILED;
    }
}

static enum store_status
failed(int rc, const char *doing)
{
    enum store_status status = status_of(rc);

    if (status != STORE_OK && status != STORE_ABSENT)
        log_error("lmdb: %s: %s", doing, mdb_strerror(rc));
    return status;
}

/* --- space --- */

/* Calls fn with every list of free pages. LMDB keeps them in its database 0. */
static int
each_free_list(MDB_txn *txn, void (*fn)(void *ctx, const size_t *pages, size_t n), void *ctx)
{
    MDB_cursor *cursor;
    MDB_val k, v;

    int rc = mdb_cursor_open(txn, 0, &cursor);
    if (rc != MDB_SUCCESS)
        return rc;
    while ((rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) == MDB_SUCCESS) {
        const size_t *list = v.mv_data;
        size_t room = v.mv_size / sizeof *list;
        if (room == 0 || list[0] > room - 1) {
            rc = MDB_CORRUPTED;
            break;
        }
        fn(ctx, list + 1, list[0]);
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? MDB_SUCCESS : rc;
}

struct page_count {
    size_t from; /* pages with lower numbers are not counted */
    uint64_t n;
};

static void
count_pages(void *ctx, const size_t *pages, size_t n)
{
    struct page_count *count = ctx;

    for (size_t i = 0; i < n; i++)
        count->n += pages[i] >= count->from;
}

static int
count_free_pages(const struct lmdb *lm, size_t from, uint64_t *n_r)
{
    struct page_count count = {from, 0};
    MDB_txn *txn;

    int rc = mdb_txn_begin(lm->env, NULL, MDB_RDONLY, &txn);
    if (rc == MDB_SUCCESS) {
        rc = each_free_list(txn, count_pages, &count);
        mdb_txn_abort(txn);
    }
    *n_r = count.n;
    return rc;
}

static uint64_t
pages_in_use(const struct lmdb *lm)
{
    MDB_envinfo info;

    return mdb_env_info(lm->env, &info) == MDB_SUCCESS ? (uint64_t)info.me_last_pgno + 1 : 0;
}

/* --- the writer --- */

/*
 * True when the file cannot grow. Writes behind its end, where no page is in use: a page that is
 * has been written. A file that is longer than it has to be does no harm.
 */
static bool
file_cannot_grow(const struct lmdb *lm)
{
    static const uint8_t zeros[256 * 1024];
    struct stat st;

    if (fstat(lm->fd, &st) != 0)
        return false;
    ssize_t n = pwrite(lm->fd, zeros, sizeof zeros, st.st_size);
    if (n < 0)
        return status_of(errno) == STORE_FULL;
    return (size_t)n < sizeof zeros;
}

/* Takes a short write for what it is. `rc` is of a write of pages. */
static int
why_write_failed(const struct lmdb *lm, int rc)
{
    return rc == EIO && file_cannot_grow(lm) ? ENOSPC : rc;
}

/* See the top. After the transaction. */
static int
why_commit_failed(const struct lmdb *lm, int rc)
{
    MDB_txn *txn;

    if (rc < 0) /* LMDB's own codes are of what comes before the writes */
        return rc;
    int again = mdb_txn_begin(lm->env, NULL, 0, &txn);
    if (again != MDB_SUCCESS)
        return again;
    mdb_txn_abort(txn);
    if (lm->sync && fdatasync(lm->fd) != 0) {
        log_error("lmdb: syncing: %s", strerror(errno));
        return EIO;
    }
    return why_write_failed(lm, rc);
}

/* What a call of the writer gives that failed with `rc`. Being full is logged once, it may last. */
static enum store_status
write_failed(struct lmdb *lm, int rc, const char *doing)
{
    enum store_status status = status_of(rc);

    if (status != STORE_FULL || !lm->full_logged)
        log_error("lmdb: %s: %s", doing, mdb_strerror(rc));
    if (status == STORE_FULL)
        lm->full_logged = true;
    if (status == STORE_FAILED)
        lm->failed = true;
    lm->txn_status = status;
    return status;
}

static enum store_status
lmdb_begin(struct backend *be)
{
    struct lmdb *lm = (struct lmdb *)be;

    if (lm->failed)
        return STORE_FAILED;
    lm->txn_status = STORE_OK;
    lm->txn_used = pages_in_use(lm) * lm->page_size;
    lm->txn_free_counted = false;
    int rc = mdb_txn_begin(lm->env, NULL, 0, &lm->txn);
    return rc == MDB_SUCCESS ? STORE_OK : write_failed(lm, rc, "beginning a transaction");
}

static MDB_val
val_of(struct slice s)
{
    /* LMDB has no const; it only reads keys. */
    return (MDB_val){s.n, (void *)(uintptr_t)s.p};
}

static size_t
overflow_pages(const struct lmdb *lm, size_t n)
{
    return (PAGE_HEADER - 1 + n) / lm->page_size + 1;
}

/*
 * LMDB believes the header in front of a large value when it frees the value's pages, and a wrong
 * one would make it give pages away that are in use. False when the row must not be touched.
 */
static bool
can_free(const struct lmdb *lm, const MDB_val *value)
{
    const uint8_t *p = value->mv_data;
    struct page_header h;
    struct stat st;

    /* Outside of the map are pages of this transaction. */
    if (lm->map == NULL || p < lm->map || p >= lm->map + lm->map_size)
        return true;
    size_t at = (size_t)(p - lm->map);
    if (at % lm->page_size != PAGE_HEADER)
        return true; /* inside a page with other rows: no value begins there */
    /* In the middle of a transaction the file may have grown. */
    if (fstat(lm->fd, &st) != 0 || (uint64_t)st.st_size < at ||
        (uint64_t)st.st_size - at < value->mv_size)
        return false;
    memcpy(&h, p - PAGE_HEADER, sizeof h);
    return h.number == at / lm->page_size && h.flags == PAGE_IS_OVERFLOW &&
           h.pages == overflow_pages(lm, value->mv_size);
}

static enum store_status
not_freed(enum table t)
{
    log_error("lmdb: a row of table %s is damaged and is left as it is", table_names[t]);
    return STORE_DAMAGED;
}

/*
 * MDB_MAP_FULL when the rows and n more bytes would take what is kept for deleting: that needs new
 * pages too, and in a map that is full to the last one no row could ever be deleted. What the trees
 * above the rows take is not counted; there is more kept than that.
 */
static int
take_room(struct lmdb *lm, size_t n)
{
    uint64_t bytes = n < lm->page_size / 2 ? n : overflow_pages(lm, n) * lm->page_size;
    uint64_t n_free;

    if (lm->txn_used + bytes > lm->room_most && !lm->txn_free_counted) {
        int rc = count_free_pages(lm, 0, &n_free);
        if (rc != MDB_SUCCESS)
            return rc;
        uint64_t free_bytes = n_free * lm->page_size;
        lm->txn_used -= free_bytes < lm->txn_used ? free_bytes : lm->txn_used;
        lm->txn_free_counted = true;
    }
    if (lm->txn_used + bytes > lm->room_most)
        return MDB_MAP_FULL;
    lm->txn_used += bytes;
    return MDB_SUCCESS;
}

static enum store_status
lmdb_put(struct backend *be, enum table t, struct slice key, size_t n, uint8_t **room_r)
{
    struct lmdb *lm = (struct lmdb *)be;
    MDB_val k = val_of(key), v = {n, NULL};

    int rc = take_room(lm, n);
    if (rc == MDB_SUCCESS)
        rc = mdb_put(lm->txn, lm->dbis[t], &k, &v, MDB_RESERVE | MDB_NOOVERWRITE);
    if (rc == MDB_KEYEXIST) {
        if (!can_free(lm, &v))
            return not_freed(t);
        /* LMDB would leave a shorter value of this transaction in the longer one's pages, and
         * can_free() could not tell later what number of pages is right. */
        if (overflow_pages(lm, v.mv_size) != overflow_pages(lm, n))
            rc = mdb_del(lm->txn, lm->dbis[t], &k, NULL);
        else
            rc = MDB_SUCCESS;
        v = (MDB_val){n, NULL};
        if (rc == MDB_SUCCESS)
            rc = mdb_put(lm->txn, lm->dbis[t], &k, &v, MDB_RESERVE);
    }
    if (rc != MDB_SUCCESS)
        return write_failed(lm, why_write_failed(lm, rc), "writing a row");
    *room_r = v.mv_data;
    return STORE_OK;
}

static enum store_status
lmdb_del(struct backend *be, enum table t, struct slice key)
{
    struct lmdb *lm = (struct lmdb *)be;
    MDB_val k = val_of(key), v;

    int rc = mdb_get(lm->txn, lm->dbis[t], &k, &v);
    if (rc == MDB_SUCCESS) {
        if (!can_free(lm, &v))
            return not_freed(t);
        rc = mdb_del(lm->txn, lm->dbis[t], &k, NULL);
    }
    if (rc == MDB_SUCCESS || rc == MDB_NOTFOUND)
        return status_of(rc);
    return write_failed(lm, why_write_failed(lm, rc), "deleting a row");
}

static void
lmdb_abort(struct backend *be)
{
    struct lmdb *lm = (struct lmdb *)be;

    mdb_txn_abort(lm->txn);
    lm->txn = NULL;
}

static enum store_status
lmdb_commit(struct backend *be)
{
    struct lmdb *lm = (struct lmdb *)be;

    if (lm->txn_status != STORE_OK) {
        lmdb_abort(be);
        return lm->txn_status;
    }
    int rc = mdb_txn_commit(lm->txn);
    lm->txn = NULL;
    if (rc != MDB_SUCCESS)
        return write_failed(lm, why_commit_failed(lm, rc), "committing a transaction");
    lm->full_logged = false;
    return STORE_OK;
}

/* --- readers --- */

static void
reader_free(struct backend_reader *r)
{
    for (size_t i = 0; i < TABLE_COUNT; i++) {
        if (r->cursors[i] != NULL)
            mdb_cursor_close(r->cursors[i]);
    }
    mdb_txn_abort(r->txn);
    free(r);
}

static enum store_status
lmdb_read_begin(struct backend *be, struct backend_reader **r_r)
{
    struct lmdb *lm = (struct lmdb *)be;
    struct backend_reader *r = atomic_exchange(&lm->idle, NULL);
    struct stat st;
    int rc;

    if (r != NULL) {
        rc = mdb_txn_renew(r->txn);
    } else {
        r = mem_zalloc(sizeof *r);
        r->lm = lm;
        rc = mdb_txn_begin(lm->env, NULL, MDB_RDONLY, &r->txn);
    }
    if (rc == MDB_SUCCESS && fstat(lm->fd, &st) != 0)
        rc = errno;
    if (rc != MDB_SUCCESS) {
        reader_free(r);
        return failed(rc, "beginning to read");
    }
    /* After the snapshot was taken: what is in it is in the file, unless somebody cut the file. */
    r->file_size = (uint64_t)st.st_size;
    memset(r->renewed, 0, sizeof r->renewed);
    *r_r = r;
    return STORE_OK;
}

static void
lmdb_read_end(struct backend_reader *r)
{
    mdb_txn_reset(r->txn);
    struct backend_reader *other = atomic_exchange(&r->lm->idle, r);
    if (other != NULL)
        reader_free(other);
}

/* False: touching it would be a SIGBUS. */
static bool
is_in_file(const struct backend_reader *r, const MDB_val *value)
{
    const uint8_t *p = value->mv_data;

    if (r->lm->map == NULL)
        return true;
    uint64_t at = (uint64_t)(p - r->lm->map);
    return at <= r->file_size && value->mv_size <= r->file_size - at;
}

static enum store_status
give_value(const struct backend_reader *r, enum table t, const MDB_val *v, struct slice *value_r)
{
    if (!is_in_file(r, v)) {
        log_error("lmdb: a row of table %s is beyond the end of the file", table_names[t]);
        return STORE_DAMAGED;
    }
    *value_r = slice_of(v->mv_data, v->mv_size);
    return STORE_OK;
}

static enum store_status
lmdb_get(struct backend_reader *r, enum table t, struct slice key, struct slice *value_r)
{
    MDB_val k = val_of(key), v;

    if (!r->lm->exists[t])
        return STORE_ABSENT;
    int rc = mdb_get(r->txn, r->lm->dbis[t], &k, &v);
    return rc == MDB_SUCCESS ? give_value(r, t, &v, value_r) : failed(rc, "reading a row");
}

static int
reader_cursor(struct backend_reader *r, enum table t)
{
    int rc = MDB_SUCCESS;

    if (r->cursors[t] == NULL)
        rc = mdb_cursor_open(r->txn, r->lm->dbis[t], &r->cursors[t]);
    else if (!r->renewed[t])
        rc = mdb_cursor_renew(r->txn, r->cursors[t]);
    r->renewed[t] = rc == MDB_SUCCESS;
    return rc;
}

static enum store_status
lmdb_next(struct backend_reader *r, enum table t, struct slice after, bool inclusive,
          struct slice *key_r, struct slice *value_r)
{
    MDB_val k = val_of(after), v;

    if (!r->lm->exists[t])
        return STORE_ABSENT;
    int rc = reader_cursor(r, t);
    if (rc == MDB_SUCCESS) {
        /* LMDB has no empty keys. */
        rc = mdb_cursor_get(r->cursors[t], &k, &v, after.n == 0 ? MDB_FIRST : MDB_SET_RANGE);
    }
    if (rc == MDB_SUCCESS && !inclusive && slice_eq(slice_of(k.mv_data, k.mv_size), after))
        rc = mdb_cursor_get(r->cursors[t], &k, &v, MDB_NEXT);
    if (rc != MDB_SUCCESS)
        return failed(rc, "reading the next row");
    *key_r = slice_of(k.mv_data, k.mv_size);
    return give_value(r, t, &v, value_r);
}

/* --- usage and copies --- */

static void
lmdb_usage(struct backend *be, uint64_t *used_r, uint64_t *free_r)
{
    struct lmdb *lm = (struct lmdb *)be;
    struct stat st;
    uint64_t n;

    int rc = count_free_pages(lm, 0, &n);
    if (rc != MDB_SUCCESS)
        failed(rc, "counting free pages");
    uint64_t used = pages_in_use(lm) * lm->page_size, size = used;
    if (fstat(lm->fd, &st) == 0 && (uint64_t)st.st_size > used)
        size = (uint64_t)st.st_size;
    *used_r = size;
    *free_r = n * lm->page_size + size - used;
}

static int
sync_path(const char *path, int flags)
{
    int rc = 0;
    int fd = open(path, flags | O_CLOEXEC);

    if (fd < 0)
        return errno;
    if (fsync(fd) != 0)
        rc = errno;
    close(fd);
    return rc;
}

static enum store_status
lmdb_copy(struct backend *be, const char *directory, bool compact)
{
    struct lmdb *lm = (struct lmdb *)be;
    char *file = mem_printf("%s/data.mdb", directory);

    int rc = mdb_env_copy2(lm->env, directory, compact ? MDB_CP_COMPACT : 0);
    /* LMDB lets everybody read it, and does not sync it. */
    if (rc == MDB_SUCCESS && chmod(file, 0600) != 0)
        rc = errno;
    if (rc == MDB_SUCCESS)
        rc = sync_path(file, O_RDONLY);
    if (rc == MDB_SUCCESS)
        rc = sync_path(directory, O_RDONLY | O_DIRECTORY);
    if (rc != MDB_SUCCESS && rc != EEXIST)
        unlink(file);
    free(file);
    return failed(rc, "copying");
}

/* --- opening and closing --- */

static void
lmdb_close(struct backend *be)
{
    struct lmdb *lm = (struct lmdb *)be;
    struct backend_reader *idle = atomic_exchange(&lm->idle, NULL);

    if (idle != NULL)
        reader_free(idle);
    if (lm->env != NULL)
        mdb_env_close(lm->env);
    if (lm->fd >= 0)
        close(lm->fd);
    free(lm);
}

/*
 * The file is made longer than it need be, with blocks of the disk: what has been promised to be
 * brought here must not find the disk full. Of the pages that are free in the file half count,
 * since large values need several in a row.
 */
static enum store_status
lmdb_room(struct backend *be, uint64_t bytes)
{
    struct lmdb *lm = (struct lmdb *)be;
    uint64_t used = pages_in_use(lm) * lm->page_size, n_free = 0;
    struct stat st;

    if (fstat(lm->fd, &st) != 0)
        return STORE_OK;
    uint64_t tail = (uint64_t)st.st_size > used ? (uint64_t)st.st_size - used : 0;
    if (tail >= bytes || fallocate(lm->fd, 0, (off_t)used, (off_t)(bytes + ROOM_STEP)) == 0 ||
        fallocate(lm->fd, 0, (off_t)used, (off_t)bytes) == 0 || errno != ENOSPC)
        return STORE_OK;
    if (count_free_pages(lm, 0, &n_free) != MDB_SUCCESS)
        return STORE_OK;
    return tail + n_free * lm->page_size / 2 >= bytes ? STORE_OK : STORE_FULL;
}

static const struct backend_ops lmdb_ops = {
    .name = "lmdb",
    .close = lmdb_close,
    .begin = lmdb_begin,
    .put = lmdb_put,
    .del = lmdb_del,
    .commit = lmdb_commit,
    .abort = lmdb_abort,
    .read_begin = lmdb_read_begin,
    .read_end = lmdb_read_end,
    .get = lmdb_get,
    .next = lmdb_next,
    .copy = lmdb_copy,
    .usage = lmdb_usage,
    .room = lmdb_room,
};

/*
 * LMDB divides by the page size that it finds in the file. MDB_INVALID when it cannot be one. What
 * else is wrong with the first page LMDB finds itself.
 */
static int
check_page_size(const char *directory)
{
    enum { AT = PAGE_HEADER + 24 };
    char *path = mem_printf("%s/data.mdb", directory);
    uint32_t size;
    int rc = 0;

    int fd = open(path, O_RDONLY | O_CLOEXEC);
    free(path);
    if (fd < 0)
        return 0;
    if (pread(fd, &size, sizeof size, AT) == (ssize_t)sizeof size &&
        (size < 512 || size > 65536 || (size & (size - 1)) != 0))
        rc = MDB_INVALID;
    close(fd);
    return rc;
}

static int
try_open(struct lmdb *lm, const struct lmdb_options *o, size_t map_size)
{
    unsigned flags = MDB_NOTLS;

    if (!o->sync)
        flags |= MDB_NOSYNC | MDB_NOMETASYNC;
    if (o->read_only)
        flags |= MDB_RDONLY;
    if (o->alone)
        flags |= MDB_NOLOCK;
    int rc = mdb_env_create(&lm->env);
    if (rc != MDB_SUCCESS)
        return rc;
    rc = mdb_env_set_maxdbs(lm->env, TABLE_COUNT);
    if (rc == MDB_SUCCESS)
        rc = mdb_env_set_mapsize(lm->env, map_size);
    if (rc == MDB_SUCCESS)
        rc = mdb_env_open(lm->env, o->directory, flags, 0600);
    if (rc != MDB_SUCCESS) {
        mdb_env_close(lm->env);
        lm->env = NULL;
    }
    return rc;
}

/* With as large a map as the system has room for: there may be a limit on address space. */
static int
open_env(struct lmdb *lm, const struct lmdb_options *o)
{
    size_t os_page = (size_t)sysconf(_SC_PAGESIZE);
    uint64_t most = UINT64_C(1) << 46; /* half of what x86-64 has */
    uint64_t size = o->size_max < most ? o->size_max : most;

    size = (size + os_page - 1) / os_page * os_page;
    lm->map_size = size;
    int rc = check_page_size(o->directory);
    if (rc != 0)
        return rc;
    /* LMDB makes it at least as large as what is in use in the file. */
    while ((rc = try_open(lm, o, lm->map_size)) == ENOMEM && lm->map_size > SIZE_LEAST) {
        size_t half = lm->map_size / 2 / os_page * os_page;
        lm->map_size = half > SIZE_LEAST ? half : SIZE_LEAST;
    }
    if (rc == MDB_SUCCESS && lm->map_size < size)
        log_info("lmdb: there is address space for %zu of %" PRIu64 " bytes in %s", lm->map_size,
                 size, o->directory);
    return rc;
}

static int
open_tables(struct lmdb *lm, bool read_only)
{
    unsigned flags;
    MDB_txn *txn;

    int rc = mdb_txn_begin(lm->env, NULL, read_only ? MDB_RDONLY : 0, &txn);
    if (rc != MDB_SUCCESS)
        return rc;
    for (size_t i = 0; i < TABLE_COUNT; i++) {
        rc = mdb_dbi_open(txn, table_names[i], read_only ? 0 : MDB_CREATE, &lm->dbis[i]);
        lm->exists[i] = rc == MDB_SUCCESS;
        if (rc == MDB_NOTFOUND && read_only)
            continue;
        if (rc == MDB_SUCCESS)
            rc = mdb_dbi_flags(txn, lm->dbis[i], &flags);
        if (rc == MDB_SUCCESS && flags != 0)
            rc = MDB_INCOMPATIBLE; /* not made here */
        if (rc != MDB_SUCCESS) {
            mdb_txn_abort(txn);
            return rc;
        }
    }
    /* Of a reading transaction too: this is what keeps the handles. */
    return mdb_txn_commit(txn);
}

/* Where the mapping is that p points into; NULL when that cannot be found out. */
static const uint8_t *
mapping_of(const void *p)
{
    unsigned long from, to, offset;
    const uint8_t *map = NULL;
    char *line = NULL;
    size_t room = 0;

    FILE *f = fopen("/proc/self/maps", "re");
    if (f == NULL)
        return NULL;
    while (map == NULL && getline(&line, &room, f) > 0) {
        if (sscanf(line, "%lx-%lx %*s %lx", &from, &to, &offset) == 3 && (uintptr_t)p >= from &&
            (uintptr_t)p < to && offset == 0)
            map = (const uint8_t *)from;
    }
    free(line);
    fclose(f);
    return map;
}

/* LMDB does not tell where its map is, but the row that it keeps of a table is in it. */
static int
find_map(struct lmdb *lm)
{
    MDB_val k = val_of(slice_str(table_names[TABLE_META])), v;
    MDB_envinfo info;
    MDB_txn *txn;
    MDB_dbi tables;

    int rc = mdb_env_info(lm->env, &info);
    if (rc != MDB_SUCCESS)
        return rc;
    lm->map_size = info.me_mapsize;
    lm->room_most = lm->map_size - (lm->map_size / 16 < KEPT_MOST ? lm->map_size / 16 : KEPT_MOST);
    rc = mdb_txn_begin(lm->env, NULL, MDB_RDONLY, &txn);
    if (rc != MDB_SUCCESS)
        return rc;
    rc = mdb_dbi_open(txn, NULL, 0, &tables);
    if (rc == MDB_SUCCESS)
        rc = mdb_get(txn, tables, &k, &v);
    if (rc == MDB_SUCCESS) {
        lm->map = mapping_of(v.mv_data);
        if (lm->map == NULL)
            log_warning("lmdb: the map is not found in /proc/self/maps: damage is found late");
    }
    mdb_txn_abort(txn);
    return rc == MDB_NOTFOUND ? MDB_SUCCESS : rc;
}

/*
 * A file may be shorter than the pages that are in use in it: those that were free again before
 * they were written are missing. Anything else means that it was cut, and touching what is missing
 * would be a SIGBUS; so it is made longer to look, and left as it was when it was cut.
 */
static int
check_length(const struct lmdb *lm, const struct lmdb_options *o)
{
    uint64_t pages = pages_in_use(lm), n_free;
    struct stat st;

    if (fstat(lm->fd, &st) != 0)
        return errno;
    uint64_t there = (uint64_t)st.st_size / lm->page_size;
    if (there >= pages)
        return 0;
    if (o->read_only) {
        log_warning("lmdb: %s/data.mdb may have been cut: it has %" PRIu64 " of %" PRIu64 " pages",
                    o->directory, there, pages);
        return 0;
    }
    if (ftruncate(lm->fd, (off_t)(pages * lm->page_size)) != 0)
        return errno;
    int rc = count_free_pages(lm, there, &n_free);
    if (rc == MDB_SUCCESS && n_free < pages - there)
        rc = MDB_CORRUPTED;
    if (rc == MDB_SUCCESS)
        return 0;
    log_error("lmdb: %s/data.mdb has been cut: it has %" PRIu64 " of %" PRIu64 " pages",
              o->directory, there, pages);
    if (ftruncate(lm->fd, st.st_size) != 0)
        return errno;
    return rc;
}

static int
open_file(struct lmdb *lm, const struct lmdb_options *o)
{
    char *path = mem_printf("%s/data.mdb", o->directory);
    MDB_stat stat;

    lm->fd = open(path, (o->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    free(path);
    if (lm->fd < 0)
        return errno;
    int rc = mdb_env_stat(lm->env, &stat);
    lm->page_size = stat.ms_psize;
    return rc;
}

static int
open_all(struct lmdb *lm, const struct lmdb_options *o)
{
    int dead;

    int rc = open_env(lm, o);
    if (rc == MDB_SUCCESS)
        rc = open_file(lm, o);
    if (rc == MDB_SUCCESS)
        rc = check_length(lm, o);
    /* Readers of processes that have died would keep pages from being used again. */
    if (rc == MDB_SUCCESS)
        rc = mdb_reader_check(lm->env, &dead);
    if (rc == MDB_SUCCESS)
        rc = open_tables(lm, o->read_only);
    if (rc == MDB_SUCCESS)
        rc = find_map(lm);
    /* The file may be new. */
    if (rc == MDB_SUCCESS && o->sync && !o->read_only)
        rc = sync_path(o->directory, O_RDONLY | O_DIRECTORY);
    return rc;
}

struct backend *
backend_lmdb_open(const struct lmdb_options *options)
{
    struct lmdb *lm = mem_zalloc(sizeof *lm);

    lm->be.ops = &lmdb_ops;
    lm->sync = options->sync;
    lm->fd = -1;
    int rc = open_all(lm, options);
    if (rc != MDB_SUCCESS) {
        log_error("lmdb: opening %s: %s", options->directory, mdb_strerror(rc));
        lmdb_close(&lm->be);
        return NULL;
    }
    return &lm->be;
}
