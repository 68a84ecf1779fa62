#include "storage/backend.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/buf.h"
#include "tests/unit/check_util.h"

/* --- a disk that fails --- */

/*
 * LMDB's calls of these functions come here, as do those of the backend. Pages are written with
 * pwrite() or writev(), the meta page with a pwrite() of less than a page.
 */
static struct {
    int pages;      /* error of the next writes of pages */
    bool cut;       /* every second one of them is a short one first */
    int meta;       /* error of the writes of the meta page */
    int sync;       /* error of the next syncs */
    int sync_times; /* how many */
    unsigned writes;
} disk;

enum { PAGE = 4096 };

static bool
write_fails(size_t n, ssize_t *rc_r)
{
    if (disk.pages == 0)
        return false;
    *rc_r = -1;
    errno = disk.pages;
    if (disk.cut && disk.writes++ % 2 == 0)
        *rc_r = (ssize_t)n / 2;
    return true;
}

ssize_t
pwrite(int fd, const void *p, size_t n, off_t at)
{
    ssize_t rc;

    if (n < PAGE && disk.meta != 0) {
        errno = disk.meta;
        return -1;
    }
    if (n >= PAGE && write_fails(n, &rc))
        return rc;
    return syscall(SYS_pwrite64, fd, p, n, at);
}

ssize_t
writev(int fd, const struct iovec *iov, int n)
{
    ssize_t rc;

    if (write_fails(PAGE, &rc))
        return rc;
    return syscall(SYS_writev, fd, iov, n);
}

int
fdatasync(int fd)
{
    if (disk.sync_times > 0) {
        disk.sync_times--;
        errno = disk.sync;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

static void
disk_works(void)
{
    memset(&disk, 0, sizeof disk);
}

/* --- backends --- */

static char *directory;
static struct backend *be;

static struct backend *
open_lmdb_as(struct lmdb_options options)
{
    if (options.directory == NULL)
        options.directory = directory;
    if (options.size_max == 0)
        options.size_max = 256 << 20;
    return backend_lmdb_open(&options);
}

static struct backend *
open_memory(void)
{
    return backend_memory_open();
}

static struct backend *
open_lmdb(void)
{
    return open_lmdb_as((struct lmdb_options){.sync = true});
}

static struct backend *
open_lmdb_unsynced(void)
{
    return open_lmdb_as((struct lmdb_options){.sync = false});
}

static struct backend *
open_faulty(void)
{
    return backend_faulty_open(backend_memory_open(), "write:1000000:EIO");
}

static struct backend *(*const openers[])(void) = {open_memory, open_lmdb, open_lmdb_unsynced,
                                                   open_faulty};
enum { N_OPENERS = sizeof openers / sizeof *openers };

static void
setup(void)
{
    const char *tmp = getenv("TMPDIR");

    disk_works();
    directory = mem_printf("%s/test_backend.XXXXXX", tmp != NULL ? tmp : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(directory));
}

static void
remove_all(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *e;

    while (dir != NULL && (e = readdir(dir)) != NULL) {
        char *file = mem_printf("%s/%s", path, e->d_name);
        if (e->d_name[0] != '.' && unlink(file) != 0)
            remove_all(file);
        free(file);
    }
    if (dir != NULL)
        closedir(dir);
    rmdir(path);
}

static void
close_backend(void)
{
    be->ops->close(be);
    be = NULL;
}

static void
teardown(void)
{
    disk_works();
    if (be != NULL)
        close_backend();
    remove_all(directory);
    free(directory);
}

static void
setup_lmdb(void)
{
    setup();
    be = open_lmdb();
    ck_assert_ptr_nonnull(be);
}

static void
reopen_lmdb(void)
{
    close_backend();
    be = open_lmdb();
    ck_assert_ptr_nonnull(be);
}

/* --- rows --- */

static struct slice
key_of(uint64_t n)
{
    static uint8_t bytes[4][8];
    static unsigned next;
    uint8_t *p = bytes[next++ % 4];

    put_u64(p, n);
    return slice_of(p, 8);
}

/* What the value of row k begins with depends on k; the rest on its length. */
static void
fill(uint8_t *p, size_t n, uint64_t k)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(k + n + i * 7);
}

static void
check_value(struct slice value, size_t n, uint64_t k)
{
    uint8_t *wanted = mem_alloc(n + 1);

    fill(wanted, n, k);
    ck_assert_slice_eq(value, slice_of(wanted, n));
    free(wanted);
}

static void
begin(void)
{
    ck_assert_int_eq(be->ops->begin(be), STORE_OK);
}

static void
commit(void)
{
    ck_assert_int_eq(be->ops->commit(be), STORE_OK);
}

static enum store_status
try_put(enum table t, uint64_t k, size_t n)
{
    uint8_t *room = NULL;

    enum store_status status = be->ops->put(be, t, key_of(k), n, &room);
    if (status == STORE_OK)
        fill(room, n, k);
    return status;
}

static void
put(enum table t, uint64_t k, size_t n)
{
    ck_assert_int_eq(try_put(t, k, n), STORE_OK);
}

static enum store_status
del(enum table t, uint64_t k)
{
    return be->ops->del(be, t, key_of(k));
}

static void
put_one(enum table t, uint64_t k, size_t n)
{
    begin();
    put(t, k, n);
    commit();
}

static struct backend_reader *
read_begin(void)
{
    struct backend_reader *r;

    ck_assert_int_eq(be->ops->read_begin(be, &r), STORE_OK);
    return r;
}

static enum store_status
get(struct backend_reader *r, enum table t, uint64_t k, struct slice *value_r)
{
    return be->ops->get(r, t, key_of(k), value_r);
}

static void
check_row_of(struct backend_reader *r, enum table t, uint64_t k, size_t n)
{
    struct slice value;

    ck_assert_int_eq(get(r, t, k, &value), STORE_OK);
    check_value(value, n, k);
}

static void
check_row(enum table t, uint64_t k, size_t n)
{
    struct backend_reader *r = read_begin();

    check_row_of(r, t, k, n);
    be->ops->read_end(r);
}

static enum store_status
look(enum table t, uint64_t k)
{
    struct backend_reader *r = read_begin();
    struct slice value;

    enum store_status status = get(r, t, k, &value);
    be->ops->read_end(r);
    return status;
}

static size_t
count_rows(enum table t)
{
    struct backend_reader *r = read_begin();
    struct slice key = {NULL, 0}, value;
    enum store_status status;
    size_t n = 0;

    while ((status = be->ops->next(r, t, key, false, &key, &value)) == STORE_OK)
        n++;
    ck_assert_int_eq(status, STORE_ABSENT);
    be->ops->read_end(r);
    return n;
}

/* --- what is logged --- */

static int log_saved = -1;
static FILE *log_file;

static void
log_catch(void)
{
    fflush(stderr);
    log_file = tmpfile();
    ck_assert_ptr_nonnull(log_file);
    log_saved = dup(STDERR_FILENO);
    ck_assert_int_ge(dup2(fileno(log_file), STDERR_FILENO), 0);
}

/* How many lines there are with `text` in them since log_catch(). */
static int
log_caught(const char *text)
{
    char line[2048];
    int n = 0;

    ck_assert_int_ge(dup2(log_saved, STDERR_FILENO), 0);
    close(log_saved);
    rewind(log_file);
    while (fgets(line, sizeof line, log_file) != NULL)
        n += strstr(line, text) != NULL;
    fclose(log_file);
    return n;
}

/* --- all backends --- */

START_TEST(test_put_get)
{
    static const size_t sizes[] = {0, 1, 2000, 5000, 300000};

    be = openers[_i]();
    begin();
    for (uint64_t k = 0; k < 5; k++)
        put(TABLE_LOG, k, sizes[k]);
    commit();
    for (uint64_t k = 0; k < 5; k++)
        check_row(TABLE_LOG, k, sizes[k]);
    ck_assert_int_eq(look(TABLE_LOG, 5), STORE_ABSENT);
    ck_assert_int_eq(look(TABLE_META, 1), STORE_ABSENT);
}
END_TEST

START_TEST(test_order)
{
    static const uint64_t keys[] = {UINT64_C(1) << 40, 2, 255, 256, 1, 65536};
    static const uint64_t sorted[] = {1, 2, 255, 256, 65536, UINT64_C(1) << 40};
    struct slice key = {NULL, 0}, value;

    be = openers[_i]();
    begin();
    for (size_t i = 0; i < 6; i++)
        put(TABLE_DEAD, keys[i], 10);
    commit();
    struct backend_reader *r = read_begin();
    for (size_t i = 0; i < 6; i++) {
        ck_assert_int_eq(be->ops->next(r, TABLE_DEAD, key, false, &key, &value), STORE_OK);
        ck_assert_slice_eq(key, key_of(sorted[i]));
        check_value(value, 10, sorted[i]);
    }
    ck_assert_int_eq(be->ops->next(r, TABLE_DEAD, key, false, &key, &value), STORE_ABSENT);
    be->ops->read_end(r);
}
END_TEST

START_TEST(test_next)
{
    struct slice key, value;

    be = openers[_i]();
    begin();
    put(TABLE_LOG, 10, 1);
    put(TABLE_LOG, 20, 1);
    put(TABLE_SHARED, 15, 1);
    commit();
    struct backend_reader *r = read_begin();
    ck_assert_int_eq(be->ops->next(r, TABLE_LOG, key_of(10), true, &key, &value), STORE_OK);
    ck_assert_slice_eq(key, key_of(10));
    ck_assert_int_eq(be->ops->next(r, TABLE_LOG, key_of(10), false, &key, &value), STORE_OK);
    ck_assert_slice_eq(key, key_of(20));
    ck_assert_int_eq(be->ops->next(r, TABLE_LOG, key_of(11), true, &key, &value), STORE_OK);
    ck_assert_slice_eq(key, key_of(20));
    ck_assert_int_eq(be->ops->next(r, TABLE_LOG, key_of(20), true, &key, &value), STORE_OK);
    ck_assert_slice_eq(key, key_of(20));
    ck_assert_int_eq(be->ops->next(r, TABLE_LOG, key_of(20), false, &key, &value), STORE_ABSENT);
    ck_assert_int_eq(be->ops->next(r, TABLE_LOG, key_of(21), true, &key, &value), STORE_ABSENT);
    ck_assert_int_eq(be->ops->next(r, TABLE_QUEUES, slice_of(NULL, 0), true, &key, &value),
                     STORE_ABSENT);
    /* A key's beginning is below it. */
    ck_assert_int_eq(be->ops->next(r, TABLE_LOG, slice_of(key_of(10).p, 7), true, &key, &value),
                     STORE_OK);
    ck_assert_slice_eq(key, key_of(10));
    be->ops->read_end(r);
}
END_TEST

START_TEST(test_replace)
{
    static const size_t sizes[] = {10, 300000, 299000, 5000, 3000, 10, 0, 5000, 20000};

    be = openers[_i]();
    for (size_t i = 0; i < 9; i++) {
        put_one(TABLE_LOG, 1, sizes[i]);
        check_row(TABLE_LOG, 1, sizes[i]);
    }
    ck_assert_uint_eq(count_rows(TABLE_LOG), 1);

    /* In one transaction, too. */
    for (size_t i = 1; i < 9; i++) {
        begin();
        put(TABLE_LOG, 1, sizes[i - 1]);
        put(TABLE_LOG, 1, sizes[i]);
        commit();
        check_row(TABLE_LOG, 1, sizes[i]);
    }
    begin();
    ck_assert_int_eq(del(TABLE_LOG, 1), STORE_OK);
    commit();
    ck_assert_uint_eq(count_rows(TABLE_LOG), 0);
}
END_TEST

START_TEST(test_del)
{
    be = openers[_i]();
    begin();
    put(TABLE_LOG, 1, 10);
    put(TABLE_LOG, 2, 300000);
    put(TABLE_LOG, 3, 10);
    commit();
    begin();
    ck_assert_int_eq(del(TABLE_LOG, 2), STORE_OK);
    ck_assert_int_eq(del(TABLE_LOG, 2), STORE_ABSENT);
    ck_assert_int_eq(del(TABLE_DEAD, 1), STORE_ABSENT);
    put(TABLE_LOG, 4, 10);
    ck_assert_int_eq(del(TABLE_LOG, 4), STORE_OK);
    commit();
    ck_assert_int_eq(look(TABLE_LOG, 2), STORE_ABSENT);
    ck_assert_int_eq(look(TABLE_LOG, 4), STORE_ABSENT);
    check_row(TABLE_LOG, 1, 10);
    check_row(TABLE_LOG, 3, 10);
}
END_TEST

START_TEST(test_abort)
{
    be = openers[_i]();
    begin();
    put(TABLE_LOG, 1, 10);
    put(TABLE_LOG, 2, 5000);
    put(TABLE_LOG, 3, 10);
    commit();
    begin();
    put(TABLE_LOG, 1, 20);
    put(TABLE_LOG, 1, 30);
    ck_assert_int_eq(del(TABLE_LOG, 2), STORE_OK);
    ck_assert_int_eq(del(TABLE_LOG, 3), STORE_OK);
    put(TABLE_LOG, 3, 40);
    put(TABLE_LOG, 4, 300000);
    put(TABLE_DEAD, 5, 1);
    ck_assert_int_eq(del(TABLE_DEAD, 5), STORE_OK);
    be->ops->abort(be);
    check_row(TABLE_LOG, 1, 10);
    check_row(TABLE_LOG, 2, 5000);
    check_row(TABLE_LOG, 3, 10);
    ck_assert_uint_eq(count_rows(TABLE_LOG), 3);
    ck_assert_uint_eq(count_rows(TABLE_DEAD), 0);

    put_one(TABLE_LOG, 4, 10);
    ck_assert_uint_eq(count_rows(TABLE_LOG), 4);
}
END_TEST

START_TEST(test_tables)
{
    be = openers[_i]();
    begin();
    for (size_t t = 0; t < TABLE_COUNT; t++) {
        for (uint64_t k = 0; k < 1000; k++)
            put((enum table)t, k, t * 10 + k % 10);
    }
    commit();
    for (size_t t = 0; t < TABLE_COUNT; t++) {
        ck_assert_uint_eq(count_rows((enum table)t), 1000);
        check_row((enum table)t, 777, t * 10 + 7);
    }
}
END_TEST

/* Among the rows of a model, after many random transactions. */
START_TEST(test_random)
{
    enum { KEYS = 60 };
    static const size_t sizes[] = {0, 1, 100, 2037, 2040, 4080, 4081, 9000, 70000};
    size_t committed[KEYS], now[KEYS];
    unsigned seed = 4711;

    be = openers[_i]();
    memset(committed, 0xff, sizeof committed);
    for (int round = 0; round < 300; round++) {
        memcpy(now, committed, sizeof now);
        begin();
        for (int i = rand_r(&seed) % 30; i >= 0; i--) {
            uint64_t k = (uint64_t)rand_r(&seed) % KEYS;
            if (rand_r(&seed) % 3 != 0) {
                now[k] = sizes[(size_t)rand_r(&seed) % (sizeof sizes / sizeof *sizes)];
                put(TABLE_LOG, k, now[k]);
            } else {
                ck_assert_int_eq(del(TABLE_LOG, k), now[k] == SIZE_MAX ? STORE_ABSENT : STORE_OK);
                now[k] = SIZE_MAX;
            }
        }
        if (rand_r(&seed) % 4 != 0) {
            commit();
            memcpy(committed, now, sizeof now);
        } else {
            be->ops->abort(be);
        }
        struct backend_reader *r = read_begin();
        for (uint64_t k = 0; k < KEYS; k++) {
            struct slice value;
            if (committed[k] != SIZE_MAX)
                check_row_of(r, TABLE_LOG, k, committed[k]);
            else
                ck_assert_int_eq(get(r, TABLE_LOG, k, &value), STORE_ABSENT);
        }
        be->ops->read_end(r);
    }
}
END_TEST

static void *
look_for_row_1(void *arg)
{
    *(enum store_status *)arg = look(TABLE_LOG, 1);
    return NULL;
}

START_TEST(test_open_write_is_not_seen)
{
    enum store_status seen;
    pthread_t thread;

    be = openers[_i]();
    begin();
    put(TABLE_LOG, 1, 10);
    ck_assert_int_eq(pthread_create(&thread, NULL, look_for_row_1, &seen), 0);
    be->ops->abort(be);
    pthread_join(thread, NULL);
    ck_assert_int_eq(seen, STORE_ABSENT);
}
END_TEST

START_TEST(test_usage)
{
    uint64_t used, free_bytes, used_before;

    be = openers[_i]();
    be->ops->usage(be, &used_before, &free_bytes);
    begin();
    for (uint64_t k = 0; k < 10; k++)
        put(TABLE_LOG, k, 100000);
    commit();
    be->ops->usage(be, &used, &free_bytes);
    ck_assert_uint_ge(used, used_before + 1000000);
    ck_assert_uint_lt(used, used_before + 1200000);
    ck_assert_uint_lt(free_bytes, 100000);
    begin();
    for (uint64_t k = 0; k < 9; k++)
        ck_assert_int_eq(del(TABLE_LOG, k), STORE_OK);
    commit();
    be->ops->usage(be, &used, &free_bytes);
    ck_assert_uint_lt(used - free_bytes, used_before + 200000);
    ck_assert_uint_ge(used - free_bytes, 100000);
}
END_TEST

/* --- memory --- */

START_TEST(test_memory_has_no_copy)
{
    be = open_memory();
    log_catch();
    ck_assert_int_eq(be->ops->copy(be, directory, false), STORE_FAILED);
    ck_assert_int_eq(log_caught(directory), 1);
}
END_TEST

/* --- LMDB --- */

START_TEST(test_lmdb_snapshot)
{
    struct slice value;

    put_one(TABLE_LOG, 1, 10);
    struct backend_reader *r = read_begin();
    begin();
    put(TABLE_LOG, 1, 5000);
    put(TABLE_LOG, 2, 10);
    check_row_of(r, TABLE_LOG, 1, 10);
    ck_assert_int_eq(get(r, TABLE_LOG, 2, &value), STORE_ABSENT);
    commit();
    check_row_of(r, TABLE_LOG, 1, 10);
    ck_assert_int_eq(get(r, TABLE_LOG, 2, &value), STORE_ABSENT);
    /* Two at a time are allowed here. */
    check_row(TABLE_LOG, 1, 5000);
    check_row(TABLE_LOG, 2, 10);
    be->ops->read_end(r);
    check_row(TABLE_LOG, 1, 5000);
    ck_assert_uint_eq(count_rows(TABLE_LOG), 2);
}
END_TEST

START_TEST(test_lmdb_reopen)
{
    put_one(TABLE_META, 1, 10);
    put_one(TABLE_LOG, 2, 300000);
    begin();
    put(TABLE_LOG, 3, 10);
    be->ops->abort(be);
    reopen_lmdb();
    check_row(TABLE_META, 1, 10);
    check_row(TABLE_LOG, 2, 300000);
    ck_assert_uint_eq(count_rows(TABLE_LOG), 1);
}
END_TEST

START_TEST(test_lmdb_read_only)
{
    put_one(TABLE_LOG, 1, 5000);
    close_backend();
    be = open_lmdb_as((struct lmdb_options){.read_only = true});
    ck_assert_ptr_nonnull(be);
    check_row(TABLE_LOG, 1, 5000);
    ck_assert_uint_eq(count_rows(TABLE_LOG), 1);
    ck_assert_uint_eq(count_rows(TABLE_QUEUES), 0);
    log_catch();
    ck_assert_int_eq(be->ops->begin(be), STORE_FAILED);
    ck_assert_int_eq(log_caught("Permission denied"), 1);
}
END_TEST

START_TEST(test_lmdb_copy)
{
    char *to = mem_printf("%s/copy", directory);

    begin();
    for (uint64_t k = 0; k < 100; k++)
        put(TABLE_LOG, k, k * 100);
    put(TABLE_META, 1, 10);
    commit();
    begin();
    for (uint64_t k = 50; k < 100; k++)
        ck_assert_int_eq(del(TABLE_LOG, k), STORE_OK);
    commit();
    ck_assert_int_eq(mkdir(to, 0700), 0);
    /* What a transaction has not committed is not copied. Without compaction LMDB would wait for
     * it. */
    if (_i == 1) {
        begin();
        put(TABLE_LOG, 99, 10);
    }
    ck_assert_int_eq(be->ops->copy(be, to, _i == 1), STORE_OK);
    if (_i == 1)
        be->ops->abort(be);
    log_catch();
    ck_assert_int_eq(be->ops->copy(be, to, _i == 1), STORE_FAILED);
    ck_assert_int_eq(log_caught("exists"), 1);
    close_backend();

    be = open_lmdb_as((struct lmdb_options){.directory = to, .sync = true});
    ck_assert_ptr_nonnull(be);
    ck_assert_uint_eq(count_rows(TABLE_LOG), 50);
    ck_assert_uint_eq(count_rows(TABLE_META), 1);
    for (uint64_t k = 0; k < 50; k++)
        check_row(TABLE_LOG, k, k * 100);
    uint64_t used, free_bytes;
    be->ops->usage(be, &used, &free_bytes);
    if (_i == 1)
        ck_assert_uint_eq(free_bytes, 0);
    else
        ck_assert_uint_gt(free_bytes, 300000);
    put_one(TABLE_LOG, 200, 10);
    free(to);
}
END_TEST

/* As many rows as there is room for, one by one. */
static uint64_t
fill_up(enum table t, size_t size)
{
    enum store_status status = STORE_OK;
    uint64_t n = 0;

    while (status == STORE_OK) {
        begin();
        status = try_put(t, n, size);
        if (status == STORE_OK) {
            commit();
            n++;
        } else {
            be->ops->abort(be);
        }
    }
    ck_assert_int_eq(status, STORE_FULL);
    return n;
}

START_TEST(test_lmdb_full)
{
    uint64_t n;

    close_backend();
    be = open_lmdb_as((struct lmdb_options){.sync = true, .size_max = 1 << 20});
    log_catch();
    /* A commit after a failure does not keep half of the transaction. */
    for (int i = 0; i < 3; i++) {
        begin();
        put(TABLE_DEAD, 1, 1);
        ck_assert_int_eq(try_put(TABLE_LOG, 1, 2 << 20), STORE_FULL);
        ck_assert_int_eq(be->ops->commit(be), STORE_FULL);
    }
    ck_assert_int_eq(log_caught("MDB_MAP_FULL"), 1);
    log_catch();
    n = fill_up(TABLE_LOG, 20000);
    ck_assert_uint_gt(n, 30);
    ck_assert_uint_lt(n, 53);
    fill_up(TABLE_SHARED, 4000);
    fill_up(TABLE_QUEUES, 1);
    ck_assert_uint_eq(count_rows(TABLE_LOG), n);
    ck_assert_uint_eq(count_rows(TABLE_DEAD), 0);
    /* Again after it had worked. */
    ck_assert_int_ge(log_caught("MDB_MAP_FULL"), 1);

    /* Pages are free for use in the second transaction after the one that freed them. */
    begin();
    for (uint64_t k = 0; k < 10; k++)
        ck_assert_int_eq(del(TABLE_LOG, k), STORE_OK);
    commit();
    put_one(TABLE_META, 1, 1);
    put_one(TABLE_META, 2, 1);
    /* Not all of them are next to each other any more. */
    for (uint64_t k = 0; k < 7; k++)
        put_one(TABLE_LOG, k, 20000);
    check_row(TABLE_LOG, 6, 20000);
}
END_TEST

static void
check_refused(const char *why)
{
    log_catch();
    struct backend *opened = open_lmdb();
    int lines = log_caught(why);
    ck_assert_ptr_null(opened);
    ck_assert_int_eq(lines, 1);
}

START_TEST(test_lmdb_bad_directory)
{
    char *file = mem_printf("%s/file", directory);
    FILE *f = fopen(file, "w");

    close_backend();
    fclose(f);
    log_catch();
    ck_assert_ptr_null(open_lmdb_as((struct lmdb_options){.directory = "/nonexistent/coney"}));
    ck_assert_int_eq(log_caught("/nonexistent/coney"), 1);
    log_catch();
    ck_assert_ptr_null(open_lmdb_as((struct lmdb_options){.directory = file}));
    ck_assert_int_eq(log_caught("Not a directory"), 1);
    free(file);

    /* root may write everywhere. */
    bool is_root = geteuid() == 0;
    remove_all(directory);
    ck_assert_int_eq(mkdir(directory, 0555), 0);
    if (is_root)
        ck_assert_int_eq(seteuid(65534), 0);
    check_refused("Permission denied");
    if (is_root)
        ck_assert_int_eq(seteuid(0), 0);
}
END_TEST

/* Changes data.mdb. */
static void
patch(off_t at, const void *p, size_t n)
{
    char *path = mem_printf("%s/data.mdb", directory);
    int fd = open(path, O_RDWR);

    ck_assert_int_eq(pwrite(fd, p, n, at), (ssize_t)n);
    close(fd);
    free(path);
}

static struct slice
read_data_file(void)
{
    char *path = mem_printf("%s/data.mdb", directory);
    int fd = open(path, O_RDONLY);
    struct stat st;

    ck_assert_int_eq(fstat(fd, &st), 0);
    uint8_t *p = mem_alloc((size_t)st.st_size);
    ck_assert_int_eq(read(fd, p, (size_t)st.st_size), st.st_size);
    close(fd);
    free(path);
    return slice_of(p, (size_t)st.st_size);
}

START_TEST(test_lmdb_foreign_file)
{
    uint32_t version = 99, magic = 0x12345678;
    uint32_t page_size = 0;

    close_backend();
    for (off_t page = 0; page < 2; page++)
        patch(page * PAGE + 20, &version, sizeof version);
    check_refused("MDB_VERSION_MISMATCH");
    patch(16, &magic, sizeof magic);
    check_refused("MDB_INVALID");
    patch(40, &page_size, sizeof page_size);
    check_refused("MDB_INVALID");
    for (off_t at = 0; at < 8 * PAGE; at += 16)
        patch(at, "anything at all!", 16);
    check_refused("MDB_INVALID");
}
END_TEST

START_TEST(test_lmdb_bad_page_size)
{
    uint32_t page_size = 0;

    close_backend();
    for (off_t page = 0; page < 2; page++)
        patch(page * PAGE + 40, &page_size, sizeof page_size);
    check_refused("MDB_INVALID");
}
END_TEST

START_TEST(test_lmdb_short_file)
{
    char *path = mem_printf("%s/data.mdb", directory);
    struct stat st;

    for (uint64_t k = 0; k < 20; k++)
        put_one(TABLE_LOG, k, 50000);
    close_backend();
    ck_assert_int_eq(truncate(path, 500001), 0);
    check_refused("has been cut");
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_size, 500001);

    /* Reading may save what is there. */
    log_catch();
    be = open_lmdb_as((struct lmdb_options){.read_only = true});
    ck_assert_int_eq(log_caught("may have been cut"), 1);
    ck_assert_ptr_nonnull(be);
    free(path);
}
END_TEST

/* A file may be shorter than LMDB's count of pages. */
START_TEST(test_lmdb_shorter_file)
{
    char *path = mem_printf("%s/data.mdb", directory);
    uint64_t used, free_bytes;
    struct stat st;

    /* Free pages for LMDB to begin with: then it takes pages of the same transaction back. */
    for (uint64_t k = 0; k < 5; k++)
        put_one(TABLE_LOG, k, 10);
    begin();
    put(TABLE_LOG, 5, 10);
    put(TABLE_LOG, 6, 300000);
    ck_assert_int_eq(del(TABLE_LOG, 6), STORE_OK);
    commit();
    be->ops->usage(be, &used, &free_bytes);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_lt(st.st_size, used);
    reopen_lmdb();
    check_row(TABLE_LOG, 5, 10);
    ck_assert_uint_eq(count_rows(TABLE_LOG), 6);
    free(path);
}
END_TEST

/* LMDB's header of a row is 8 bytes in front of its key; makes the value's length 4 GB. */
static void
lengthen_value(uint64_t k)
{
    struct slice file = read_data_file(), key = key_of(k);
    int n = 0;

    for (size_t i = 2 * PAGE; i + key.n <= file.n; i++) {
        if (memcmp(file.p + i, key.p, key.n) == 0 && file.p[i - 2] == key.n) {
            patch((off_t)i - 8, "\360\377\377\377", 4);
            n++;
        }
    }
    free((void *)(uintptr_t)file.p);
    ck_assert_int_ge(n, 1);
}

START_TEST(test_lmdb_value_beyond_end)
{
    enum { KEY = 0x1122334455667788 };
    struct slice key, value;

    put_one(TABLE_LOG, KEY, _i == 0 ? 300000 : 100);
    put_one(TABLE_LOG, 1, 10);
    close_backend();
    lengthen_value(KEY);
    be = open_lmdb();
    ck_assert_ptr_nonnull(be);
    ck_assert_int_eq(look(TABLE_LOG, KEY), STORE_DAMAGED);
    struct backend_reader *r = read_begin();
    ck_assert_int_eq(be->ops->next(r, TABLE_LOG, key_of(2), false, &key, &value), STORE_DAMAGED);
    be->ops->read_end(r);
    check_row(TABLE_LOG, 1, 10);
    if (_i == 0) {
        begin();
        ck_assert_int_eq(del(TABLE_LOG, KEY), STORE_DAMAGED);
        be->ops->abort(be);
    }
}
END_TEST

/* The header of the pages of the one large value of the file: page number (8 bytes), 2 bytes, flags
 * (2 bytes), number of pages (4 bytes). */
static off_t
overflow_header(void)
{
    struct slice file = read_data_file();
    off_t at = 0;

    for (size_t i = 2 * PAGE; i + PAGE <= file.n; i += PAGE) {
        uint64_t number = i / PAGE;
        if (memcmp(file.p + i, &number, 8) == 0 && memcmp(file.p + i + 8, "\0\0\4\0", 4) == 0)
            at = (off_t)i;
    }
    free((void *)(uintptr_t)file.p);
    ck_assert_int_ne(at, 0);
    return at;
}

START_TEST(test_lmdb_damaged_header)
{
    static const struct {
        off_t at;
        size_t n;
        const char *bytes;
    } damages[] = {
        {0, 8, "\3\0\0\0\0\0\0\0"}, /* page number */
        {10, 2, "\2\0"},            /* flags */
        {12, 4, "\1\0\0\0"},        /* fewer pages */
        {12, 4, "\377\377\0\0"},    /* more */
        {12, 4, "\0\0\0\0"},
    };

    put_one(TABLE_LOG, 1, 300000);
    put_one(TABLE_LOG, 2, 10);
    close_backend();
    patch(overflow_header() + damages[_i].at, damages[_i].bytes, damages[_i].n);
    be = open_lmdb();
    begin();
    log_catch();
    ck_assert_int_eq(del(TABLE_LOG, 1), STORE_DAMAGED);
    ck_assert_int_eq(try_put(TABLE_LOG, 1, 10), STORE_DAMAGED);
    ck_assert_int_eq(try_put(TABLE_LOG, 1, 300000), STORE_DAMAGED);
    ck_assert_int_eq(log_caught("left as it is"), 3);
    /* The transaction is still good. */
    ck_assert_int_eq(del(TABLE_LOG, 2), STORE_OK);
    put(TABLE_LOG, 3, 300000);
    commit();
    check_row(TABLE_LOG, 1, 300000);
    check_row(TABLE_LOG, 3, 300000);
    ck_assert_uint_eq(count_rows(TABLE_LOG), 2);
}
END_TEST

START_TEST(test_lmdb_little_address_space)
{
    enum { GIB = 1 << 30 };
    unsigned long pages;
    struct rlimit before, now;

    close_backend();
    FILE *f = fopen("/proc/self/statm", "r");
    ck_assert_int_eq(fscanf(f, "%lu", &pages), 1);
    fclose(f);
    ck_assert_int_eq(getrlimit(RLIMIT_AS, &before), 0);
    now = before;
    now.rlim_cur = pages * (rlim_t)sysconf(_SC_PAGESIZE) + GIB / 4;
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &now), 0);
    log_catch();
    ck_assert_ptr_eq(mmap(NULL, GIB, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), MAP_FAILED);
    be = open_lmdb_as((struct lmdb_options){.sync = true, .size_max = GIB});
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &before), 0);
    ck_assert_int_eq(log_caught("address space"), 1);
    ck_assert_ptr_nonnull(be);
    put_one(TABLE_LOG, 1, 300000);
    check_row(TABLE_LOG, 1, 300000);
}
END_TEST

/* --- LMDB on a disk that fails --- */

/* Two rows, and a transaction that writes many pages. */
static void
begin_large(void)
{
    put_one(TABLE_LOG, 1, 10);
    put_one(TABLE_LOG, 2, 5000);
    begin();
    put(TABLE_LOG, 1, 9000);
    ck_assert_int_eq(del(TABLE_LOG, 2), STORE_OK);
    put(TABLE_LOG, 3, 300000);
    for (uint64_t k = 10; k < 100; k++)
        put(TABLE_LOG, k, 1000);
}

static void
check_nothing_happened(void)
{
    check_row(TABLE_LOG, 1, 10);
    check_row(TABLE_LOG, 2, 5000);
    ck_assert_uint_eq(count_rows(TABLE_LOG), 2);
}

START_TEST(test_disk_full)
{
    static const struct {
        int error;
        bool cut;
    } ways[] = {{ENOSPC, false}, {ENOSPC, true}, {EDQUOT, false}, {EFBIG, true}};

    begin_large();
    disk.pages = ways[_i].error;
    disk.cut = ways[_i].cut;
    log_catch();
    ck_assert_int_eq(be->ops->commit(be), STORE_FULL);
    disk.writes = 0;
    begin();
    put(TABLE_LOG, 3, 300000);
    ck_assert_int_eq(be->ops->commit(be), STORE_FULL);
    ck_assert_int_eq(log_caught("committing"), 1);
    check_nothing_happened();

    disk_works();
    begin();
    put(TABLE_LOG, 3, 300000);
    commit();
    check_row(TABLE_LOG, 3, 300000);
    reopen_lmdb();
    check_row(TABLE_LOG, 1, 10);
    check_row(TABLE_LOG, 3, 300000);
    ck_assert_uint_eq(count_rows(TABLE_LOG), 3);
}
END_TEST

/* No change is accepted any more, but all is there after opening again. */
static void
check_final(void)
{
    disk_works();
    ck_assert_int_eq(be->ops->begin(be), STORE_FAILED);
    reopen_lmdb();
    check_nothing_happened();
    put_one(TABLE_LOG, 3, 300000);
    check_row(TABLE_LOG, 3, 300000);
}

START_TEST(test_disk_write_error)
{
    begin_large();
    disk.pages = EIO;
    ck_assert_int_eq(be->ops->commit(be), STORE_FAILED);
    check_nothing_happened();
    check_final();
}
END_TEST

START_TEST(test_disk_sync_error)
{
    begin_large();
    disk.sync = _i == 0 ? EIO : ENOSPC;
    disk.sync_times = 2; /* each of the two descriptors is told */
    log_catch();
    ck_assert_int_eq(be->ops->commit(be), STORE_FAILED);
    ck_assert_int_eq(log_caught("syncing"), 1);
    check_nothing_happened();
    check_final();
}
END_TEST

START_TEST(test_disk_meta_error)
{
    begin_large();
    disk.meta = _i == 0 ? EIO : ENOSPC;
    log_catch();
    ck_assert_int_eq(be->ops->commit(be), STORE_FAILED);
    ck_assert_int_eq(log_caught("MDB_PANIC"), 1);
    check_final();
}
END_TEST

/* A transaction that is too large for memory is written before its commit. */
START_TEST(test_disk_full_before_commit)
{
    enum store_status status = STORE_OK;

    put_one(TABLE_LOG, 1, 10);
    put_one(TABLE_LOG, 2, 5000);
    disk.pages = ENOSPC;
    disk.cut = true;
    begin();
    for (uint64_t k = 10; k < 400000 && status == STORE_OK; k++)
        status = try_put(TABLE_LOG, k, 1900);
    ck_assert_int_eq(status, STORE_FULL);
    disk_works();
    ck_assert_int_eq(be->ops->commit(be), STORE_FULL);
    check_nothing_happened();
    put_one(TABLE_LOG, 3, 300000);
    check_row(TABLE_LOG, 3, 300000);
}
END_TEST

/* --- faulty --- */

static void
open_with(const char *spec)
{
    be = backend_faulty_open(backend_memory_open(), spec);
    ck_assert_ptr_nonnull(be);
}

START_TEST(test_faulty_commit)
{
    static const struct {
        const char *spec;
        enum store_status status;
    } cases[] = {{"commit:2:ENOSPC", STORE_FULL},
                 {"commit:2:MDB_MAP_FULL", STORE_FULL},
                 {"commit:2:EIO", STORE_FAILED}};

    open_with(cases[_i].spec);
    put_one(TABLE_LOG, 1, 10);
    begin();
    put(TABLE_LOG, 1, 20);
    put(TABLE_LOG, 2, 10);
    ck_assert_int_eq(be->ops->commit(be), cases[_i].status);
    check_row(TABLE_LOG, 1, 10);
    ck_assert_uint_eq(count_rows(TABLE_LOG), 1);
    put_one(TABLE_LOG, 2, 10);
    ck_assert_uint_eq(count_rows(TABLE_LOG), 2);
}
END_TEST

START_TEST(test_faulty_onwards)
{
    open_with("commit:2+:EIO");
    put_one(TABLE_LOG, 1, 10);
    for (int i = 0; i < 5; i++) {
        begin();
        put(TABLE_LOG, 2, 10);
        ck_assert_int_eq(be->ops->commit(be), STORE_FAILED);
    }
    ck_assert_uint_eq(count_rows(TABLE_LOG), 1);
}
END_TEST

START_TEST(test_faulty_write)
{
    open_with("write:3:ENOSPC,write:5:EIO");
    begin();
    put(TABLE_LOG, 1, 10);
    put(TABLE_LOG, 2, 10);
    commit();
    begin();
    ck_assert_int_eq(try_put(TABLE_LOG, 3, 10), STORE_FULL);
    be->ops->abort(be);
    begin();
    ck_assert_int_eq(del(TABLE_LOG, 1), STORE_OK);
    ck_assert_int_eq(del(TABLE_LOG, 2), STORE_FAILED);
    /* What has failed cannot be committed. */
    ck_assert_int_eq(be->ops->commit(be), STORE_FAILED);
    ck_assert_uint_eq(count_rows(TABLE_LOG), 2);
    begin();
    ck_assert_int_eq(del(TABLE_LOG, 1), STORE_OK);
    commit();
    ck_assert_uint_eq(count_rows(TABLE_LOG), 1);
}
END_TEST

START_TEST(test_faulty_read)
{
    struct slice key, value;

    open_with("read:2:EIO,read:4+:ENOSPC");
    put_one(TABLE_LOG, 1, 10);
    struct backend_reader *r = read_begin();
    check_row_of(r, TABLE_LOG, 1, 10);
    ck_assert_int_eq(get(r, TABLE_LOG, 1, &value), STORE_FAILED);
    ck_assert_int_eq(be->ops->next(r, TABLE_LOG, key_of(0), true, &key, &value), STORE_OK);
    ck_assert_int_eq(be->ops->next(r, TABLE_LOG, key_of(0), true, &key, &value), STORE_FAILED);
    ck_assert_int_eq(get(r, TABLE_LOG, 1, &value), STORE_FAILED);
    be->ops->read_end(r);
}
END_TEST

START_TEST(test_faulty_over_lmdb)
{
    be = backend_faulty_open(open_lmdb(), "commit:1:ENOSPC");
    begin();
    put(TABLE_LOG, 1, 300000);
    ck_assert_int_eq(be->ops->commit(be), STORE_FULL);
    ck_assert_uint_eq(count_rows(TABLE_LOG), 0);
    put_one(TABLE_LOG, 2, 300000);
    check_row(TABLE_LOG, 2, 300000);
    ck_assert_uint_eq(count_rows(TABLE_LOG), 1);
}
END_TEST

START_TEST(test_faulty_bad_spec)
{
    static const char *const specs[] = {
        "",
        ",",
        "commit",
        "commit:1",
        "commit:1:",
        "commit::EIO",
        "commit:0:EIO",
        "commit:0+:EIO",
        "commit:+:EIO",
        "commit:-1:EIO",
        "commit: 1:EIO",
        "commit:1x:EIO",
        "commit:1++:EIO",
        "commit:1:EPERM",
        "commit:1:EIO:",
        "commit:1:EIO:1",
        "commit:1:EIO,",
        ",commit:1:EIO",
        "commit:1:EIO commit:2:EIO",
        "sync:1:EIO",
        "Commit:1:EIO",
        "commit:9999999999999999999:EIO",
        "read:1:EIO,read:1:EIO,read:1:EIO,read:1:EIO,read:1:EIO,read:1:EIO,read:1:EIO,read:1:EIO,"
        "read:1:EIO,read:1:EIO,read:1:EIO,read:1:EIO,read:1:EIO,read:1:EIO,read:1:EIO,read:1:EIO,"
        "read:1:EIO",
    };

    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
        log_catch();
        be = backend_faulty_open(backend_memory_open(), specs[i]);
        ck_assert_int_eq(log_caught("faults: '"), 1);
        ck_assert_msg(be == NULL, "'%s' was accepted", specs[i]);
    }
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *suite = suite_create("backend");
    TCase *all = tcase_create("all"), *memory = tcase_create("memory");
    TCase *lmdb = tcase_create("lmdb"), *disk_fails = tcase_create("disk");
    TCase *faulty = tcase_create("faulty");

    tcase_add_checked_fixture(all, setup, teardown);
    tcase_add_loop_test(all, test_put_get, 0, N_OPENERS);
    tcase_add_loop_test(all, test_order, 0, N_OPENERS);
    tcase_add_loop_test(all, test_next, 0, N_OPENERS);
    tcase_add_loop_test(all, test_replace, 0, N_OPENERS);
    tcase_add_loop_test(all, test_del, 0, N_OPENERS);
    tcase_add_loop_test(all, test_abort, 0, N_OPENERS);
    tcase_add_loop_test(all, test_tables, 0, N_OPENERS);
    tcase_add_loop_test(all, test_random, 0, N_OPENERS);
    tcase_add_loop_test(all, test_open_write_is_not_seen, 0, N_OPENERS);
    tcase_add_loop_test(all, test_usage, 0, N_OPENERS);
    tcase_set_timeout(all, 120);
    suite_add_tcase(suite, all);

    tcase_add_checked_fixture(memory, setup, teardown);
    tcase_add_test(memory, test_memory_has_no_copy);
    suite_add_tcase(suite, memory);

    tcase_add_checked_fixture(lmdb, setup_lmdb, teardown);
    tcase_add_test(lmdb, test_lmdb_snapshot);
    tcase_add_test(lmdb, test_lmdb_reopen);
    tcase_add_test(lmdb, test_lmdb_read_only);
    tcase_add_loop_test(lmdb, test_lmdb_copy, 0, 2);
    tcase_add_test(lmdb, test_lmdb_full);
    tcase_add_test(lmdb, test_lmdb_bad_directory);
    tcase_add_test(lmdb, test_lmdb_foreign_file);
    tcase_add_test(lmdb, test_lmdb_bad_page_size);
    tcase_add_test(lmdb, test_lmdb_short_file);
    tcase_add_test(lmdb, test_lmdb_shorter_file);
    tcase_add_loop_test(lmdb, test_lmdb_value_beyond_end, 0, 2);
    tcase_add_loop_test(lmdb, test_lmdb_damaged_header, 0, 5);
    tcase_add_test(lmdb, test_lmdb_little_address_space);
    tcase_set_timeout(lmdb, 120);
    suite_add_tcase(suite, lmdb);

    tcase_add_checked_fixture(disk_fails, setup_lmdb, teardown);
    tcase_add_loop_test(disk_fails, test_disk_full, 0, 4);
    tcase_add_test(disk_fails, test_disk_write_error);
    tcase_add_loop_test(disk_fails, test_disk_sync_error, 0, 2);
    tcase_add_loop_test(disk_fails, test_disk_meta_error, 0, 2);
    tcase_add_test(disk_fails, test_disk_full_before_commit);
    tcase_set_timeout(disk_fails, 120);
    suite_add_tcase(suite, disk_fails);

    tcase_add_checked_fixture(faulty, setup, teardown);
    tcase_add_loop_test(faulty, test_faulty_commit, 0, 3);
    tcase_add_test(faulty, test_faulty_onwards);
    tcase_add_test(faulty, test_faulty_write);
    tcase_add_test(faulty, test_faulty_read);
    tcase_add_test(faulty, test_faulty_over_lmdb);
    tcase_add_test(faulty, test_faulty_bad_spec);
    suite_add_tcase(suite, faulty);
    return suite;
}

int
main(void)
{
    return run_suite(make_suite());
}
