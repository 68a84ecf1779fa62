#include "storage/wal.h"

#include <bsd/stdlib.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/buf.h"
#include "base/log.h"

/*
 * A record's header:
 *     0  u32 magic        4  u32 version     8  u64 salt      16  u64 number of the batch
 *    24  u64 its bytes   32  u64 XXH3 of its bytes            40  u64 XXH3 of what is before
 */
#define MAGIC 0x434e4557u /* "CNEW" */

enum { WAL_VERSION = 1, CHECKED = 40 };

struct segment {
    int fd;
    uint64_t limit; /* bytes that may be used, this turn */
};

struct wal {
    struct segment segments[WAL_SEGMENTS];
    uint64_t segment_size;
    unsigned current;
    uint64_t at; /* where the next record goes */
    uint64_t salt;
};

/* --- opening --- */

/*
 * Records are written past the page cache, which has no use for them, and are on the disk when the
 * write returns. Not all file systems can do the former.
 */
static int
open_file(const char *path, bool read_only)
{
    if (read_only) {
        int only = open(path, O_RDONLY | O_CLOEXEC);
        if (only < 0 && errno != ENOENT)
            log_error("cannot open %s: %s", path, strerror(errno));
        return only;
    }
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_DSYNC | O_DIRECT, 0600);

    if (fd < 0 && errno == EINVAL)
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_DSYNC, 0600);
    if (fd < 0)
        log_error("cannot open %s: %s", path, strerror(errno));
    return fd;
}

/* A file whose name is not on the disk is not there after a power cut, whatever was synced into it.
 */
static bool
sync_names(const char *directory)
{
    static const char *const above[] = {".", "..", "../.."};
    bool ok = true;

    for (size_t i = 0; ok && i < sizeof above / sizeof *above; i++) {
        char *path = mem_printf("%s/%s", directory, above[i]);
        int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        /* What we may not read was not made by us. */
        ok = fd < 0 ? errno == EACCES : fsync(fd) == 0;
        if (!ok)
            log_error("cannot sync the directory %s: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        free(path);
    }
    return ok;
}

static uint64_t
new_salt(void)
{
    uint64_t salt;

    arc4random_buf(&salt, sizeof salt);
    return salt;
}

struct wal *
wal_open(const struct wal_options *o)
{
    struct wal *w = mem_zalloc(sizeof *w);
    bool ok = true;

    w->salt = new_salt();
    w->segment_size = o->segment_size / WAL_BLOCK * WAL_BLOCK;
    for (unsigned i = 0; i < WAL_SEGMENTS; i++) {
        char *path = mem_printf("%s/wal-%u", o->directory, i);
        w->segments[i].fd = ok ? open_file(path, o->read_only) : -1;
        w->segments[i].limit = w->segment_size;
        ok = ok && (w->segments[i].fd >= 0 || (o->read_only && errno == ENOENT));
        free(path);
    }
    if (ok && (o->read_only || sync_names(o->directory)))
        return w;
    wal_close(w);
    return NULL;
}

void
wal_close(struct wal *w)
{
    for (unsigned i = 0; i < WAL_SEGMENTS; i++) {
        if (w->segments[i].fd >= 0)
            close(w->segments[i].fd);
    }
    free(w);
}

/* --- replay --- */

struct record {
    uint64_t number, salt;
    struct slice bytes;
};

/* A file's content, and the records that were found in it. */
struct found {
    uint8_t *bytes[WAL_SEGMENTS];
    struct record *records;
    size_t n, cap;
    uint32_t foreign; /* a version that this program does not know; 0: none */
};

static bool
decode(struct found *f, const uint8_t *p, size_t left, struct record *r_r)
{
    if (left < WAL_HEADER || get_u32(p) != MAGIC || get_u64(p + CHECKED) != XXH3_64bits(p, CHECKED))
        return false;
    if (get_u32(p + 4) != WAL_VERSION) {
        f->foreign = get_u32(p + 4);
        return false;
    }
    uint64_t n = get_u64(p + 24);
    if (n > left - WAL_HEADER || XXH3_64bits(p + WAL_HEADER, n) != get_u64(p + 32))
        return false;
    r_r->salt = get_u64(p + 8);
    r_r->number = get_u64(p + 16);
    r_r->bytes = slice_of(p + WAL_HEADER, n);
    return true;
}

static void
add(struct found *f, const struct record *r)
{
    if (f->n == f->cap) {
        f->cap = f->cap == 0 ? 64 : 2 * f->cap;
        f->records = mem_resize(f->records, f->cap, sizeof *f->records);
    }
    f->records[f->n++] = *r;
}

/*
 * Collects the records of a segment. Behind a damaged one others of the same filling may follow:
 * they are looked for block by block, since no record of it is wanted less for that.
 */
static void
scan(struct found *f, const uint8_t *p, size_t n, uint64_t after)
{
    struct record r;
    uint64_t salt = 0, last = 0;

    for (size_t at = 0; at < n;) {
        if (!decode(f, p + at, n - at, &r) || (last != 0 && (r.salt != salt || r.number <= last))) {
            at += WAL_BLOCK;
            continue;
        }
        salt = r.salt;
        last = r.number;
        if (r.number > after)
            add(f, &r);
        at += wal_record_size(r.bytes.n);
    }
}

static bool
read_segment(struct found *f, unsigned i, int fd, uint64_t after)
{
    struct stat st;
    size_t size, n = 0;
    ssize_t k = 1;

    if (fstat(fd, &st) != 0 || st.st_size < 0)
        return false;
    size = ((size_t)st.st_size + WAL_BLOCK - 1) / WAL_BLOCK * WAL_BLOCK;
    f->bytes[i] = wal_buffer(size);
    while (n < size && (k = pread(fd, f->bytes[i] + n, size - n, (off_t)n)) > 0)
        n += (size_t)k;
    if (k < 0)
        return false;
    scan(f, f->bytes[i], n, after);
    return true;
}

static int
by_number(const void *a, const void *b)
{
    const struct record *x = a, *y = b;

    return x->number < y->number ? -1 : x->number > y->number;
}

/* Numbers follow each other: what is missing in between was there. */
static bool
give_out(const struct found *f, uint64_t after, wal_batch_fn *fn, void *ctx,
         struct wal_report *report)
{
    for (size_t i = 0; i < f->n; i++) {
        const struct record *r = &f->records[i];
        if (i != 0 && r->number == f->records[i - 1].number)
            continue;
        report->lost += r->number - after - 1;
        after = r->number;
        report->n++;
        if (!fn(ctx, r->number, r->bytes))
            return false;
    }
    return true;
}

bool
wal_replay(struct wal *w, uint64_t after, wal_batch_fn *fn, void *ctx, struct wal_report *report_r)
{
    struct found f = {0};
    bool ok = true;

    *report_r = (struct wal_report){0};
    for (unsigned i = 0; ok && i < WAL_SEGMENTS; i++) {
        if (w->segments[i].fd < 0)
            continue;
        ok = read_segment(&f, i, w->segments[i].fd, after);
        if (!ok)
            log_error("store: wal-%u cannot be read: %s", i, strerror(errno));
    }
    if (ok && f.foreign != 0) {
        log_error("store: the write-ahead log has version %" PRIu32
                  ", this program reads version %d",
                  f.foreign, WAL_VERSION);
        ok = false;
    }
    if (f.n != 0)
        qsort(f.records, f.n, sizeof *f.records, by_number);
    ok = ok && give_out(&f, after, fn, ctx, report_r);
    for (unsigned i = 0; i < WAL_SEGMENTS; i++)
        free(f.bytes[i]);
    free(f.records);
    return ok;
}

/* --- writing --- */

uint8_t *
wal_buffer(size_t n)
{
    size_t size = wal_record_size(n);
    void *p;

    if (posix_memalign(&p, WAL_BLOCK, size) != 0)
        mem_exhausted(size);
    return p;
}

bool
wal_has_room(const struct wal *w, size_t record_size)
{
    return record_size <= w->segments[w->current].limit - w->at;
}

unsigned
wal_current(const struct wal *w)
{
    return w->current;
}

void
wal_turn(struct wal *w)
{
    w->current = (w->current + 1) % WAL_SEGMENTS;
    w->segments[w->current].limit = w->segment_size;
    w->at = 0;
    w->salt = new_salt();
}

void
wal_fill(struct wal *w)
{
    w->segments[w->current].limit = w->at;
}

enum store_status
wal_append(struct wal *w, uint8_t *buffer, size_t n, uint64_t number)
{
    struct segment *s = &w->segments[w->current];
    size_t size = wal_record_size(n), done = 0;

    put_u32(buffer, MAGIC);
    put_u32(buffer + 4, WAL_VERSION);
    put_u64(buffer + 8, w->salt);
    put_u64(buffer + 16, number);
    put_u64(buffer + 24, n);
    put_u64(buffer + 32, XXH3_64bits(buffer + WAL_HEADER, n));
    put_u64(buffer + CHECKED, XXH3_64bits(buffer, CHECKED));
    memset(buffer + CHECKED + 8, 0, WAL_HEADER - CHECKED - 8);
    memset(buffer + WAL_HEADER + n, 0, size - WAL_HEADER - n);
    while (done < size) {
        ssize_t k = pwrite(s->fd, buffer + done, size - done, (off_t)(w->at + done));
        if (k < 0 && errno == EINTR)
            continue;
        /* A disk that fills up writes less than it is given first. */
        if (k < 0 && (errno == ENOSPC || errno == EDQUOT || errno == EFBIG))
            return STORE_FULL;
        if (k <= 0 || (size_t)k % WAL_BLOCK != 0) {
            if (k > 0)
                errno = ENOSPC;
            log_error("store: writing wal-%u: %s", w->current, strerror(k == 0 ? EIO : errno));
            return k > 0 ? STORE_FULL : STORE_FAILED;
        }
        done += (size_t)k;
    }
    w->at += size;
    return STORE_OK;
}
