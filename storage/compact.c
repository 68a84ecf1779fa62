#include "storage/compact.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "storage/lmdb_verify.h"
#include "storage/writer.h"

/* What the database may grow by when it takes what is in the log, which is less than this. */
#define ROOM (UINT64_C(1) << 30)

/* The paths that it is about. */
struct paths {
    char *store, *file;   /* the database */
    char *aside, *copied; /* its copy, in a directory of its own next to it */
};

static void
make_paths(struct paths *p, const char *directory)
{
    p->store = mem_printf("%s/store", directory);
    p->file = mem_printf("%s/data.mdb", p->store);
    p->aside = mem_printf("%s/store.new", directory);
    p->copied = mem_printf("%s/data.mdb", p->aside);
}

static void
free_paths(struct paths *p)
{
    free(p->store);
    free(p->file);
    free(p->aside);
    free(p->copied);
}

static bool
failed(const char *doing, const char *path)
{
    log_error("cannot %s %s: %s", doing, path, strerror(errno));
    return false;
}

static bool
remove_aside(const struct paths *p)
{
    if (unlink(p->copied) != 0 && errno != ENOENT)
        return failed("remove", p->copied);
    if (rmdir(p->aside) != 0 && errno != ENOENT)
        return failed("remove", p->aside);
    return true;
}

bool
store_remove_leftovers(const char *directory)
{
    struct paths p;

    make_paths(&p, directory);
    bool ok = remove_aside(&p);
    free_paths(&p);
    return ok;
}

/* --- the copy --- */

/* Brings into the database what is in the log. What cannot be brought there stays in the log. */
static bool
bring_over(struct backend *be, const char *store)
{
    struct store_writer *w = writer_open(be, store);

    if (w == NULL)
        return false;
    writer_close(w);
    return true;
}

static bool
same_table(struct backend *a, struct backend_reader *ra, struct backend *b,
           struct backend_reader *rb, enum table t)
{
    struct slice key_a = {NULL, 0}, key_b = {NULL, 0}, value_a, value_b;
    bool first = true;

    for (;; first = false) {
        enum store_status sa = a->ops->next(ra, t, key_a, first, &key_a, &value_a);
        enum store_status sb = b->ops->next(rb, t, key_b, first, &key_b, &value_b);
        if (sa != sb || (sa != STORE_OK && sa != STORE_ABSENT))
            return false;
        if (sa == STORE_ABSENT)
            return true;
        if (!slice_eq(key_a, key_b) || !slice_eq(value_a, value_b))
            return false;
    }
}

static bool
same_rows(struct backend *a, struct backend *b)
{
    struct backend_reader *ra, *rb;
    bool same = true;

    if (a->ops->read_begin(a, &ra) != STORE_OK)
        return false;
    if (b->ops->read_begin(b, &rb) != STORE_OK) {
        a->ops->read_end(ra);
        return false;
    }
    for (enum table t = 0; same && t < TABLE_COUNT; t++)
        same = same_table(a, ra, b, rb, t);
    b->ops->read_end(rb);
    a->ops->read_end(ra);
    return same;
}

static bool
compare_copy(struct backend *be, const struct paths *p)
{
    const struct lmdb_options options = {
        .directory = p->aside, .size_max = 64 << 20, .read_only = true, .alone = true};
    struct lmdb_report report;

    lmdb_verify(p->copied, LMDB_EVERYTHING, &report);
    if (report.verdict != LMDB_SOUND) {
        log_error("the copy is not sound: %s", report.text);
        return false;
    }
    struct backend *copy = backend_lmdb_open(&options);
    if (copy == NULL)
        return false;
    bool same = same_rows(be, copy);
    copy->ops->close(copy);
    if (!same)
        log_error("the copy has other rows than the database");
    return same;
}

/* For the same user, who need not be the one that compacts. */
static bool
take_over_owner(const struct paths *p, const struct stat *st)
{
    int fd = open(p->copied, O_RDWR | O_CLOEXEC);

    if (fd < 0)
        return failed("open", p->copied);
    bool ok = fchown(fd, st->st_uid, st->st_gid) == 0 && fchmod(fd, st->st_mode & 07777) == 0 &&
              fsync(fd) == 0;
    if (!ok)
        failed("hand over", p->copied);
    close(fd);
    return ok;
}

static bool
sync_directory(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return failed("open", path);
    bool ok = fsync(fd) == 0 || failed("sync", path);
    close(fd);
    return ok;
}

static bool
copy(struct backend *be, const struct paths *p, const struct stat *old)
{
    if (mkdir(p->aside, 0700) != 0)
        return failed("make", p->aside);
    return be->ops->copy(be, p->aside, true) == STORE_OK && compare_copy(be, p) &&
           take_over_owner(p, old);
}

/* --- the whole --- */

/* Only after the database has been closed. */
static bool
put_in_place(const struct paths *p)
{
    if (rename(p->copied, p->file) != 0)
        return failed("rename", p->copied);
    return sync_directory(p->store);
}

static bool
compact(const struct paths *p, uint64_t *before_r, uint64_t *after_r)
{
    struct stat st;
    bool ok;

    if (stat(p->file, &st) != 0)
        return failed("look at", p->file);
    *before_r = (uint64_t)st.st_size;
    struct backend *be = store_open_database(p->store, *before_r + ROOM);
    if (be == NULL)
        return false;
    enum store_format format = store_read_format(be);
    if (format == STORE_FORMAT_ABSENT)
        log_error("there is nothing in the store yet");
    ok = format == STORE_FORMAT_READABLE && bring_over(be, p->store) && copy(be, p, &st);
    be->ops->close(be);
    ok = ok && put_in_place(p);
    if (ok && stat(p->file, &st) == 0)
        *after_r = (uint64_t)st.st_size;
    return ok;
}

bool
store_compact(const char *directory, uint64_t *before_r, uint64_t *after_r)
{
    struct paths p;

    make_paths(&p, directory);
    if (access(p.file, F_OK) != 0) {
        log_error("there is no store: %s: %s", p.file, strerror(errno));
        free_paths(&p);
        return false;
    }
    int lock = store_lock(directory, true);
    bool ok = lock >= 0;
    if (ok) {
        ok = remove_aside(&p) && compact(&p, before_r, after_r);
        ok = remove_aside(&p) && ok;
        close(lock);
    }
    free_paths(&p);
    return ok;
}
