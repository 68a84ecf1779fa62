/* A store that is looked at, copied and compacted: what is found is what the next start would find.
 */
#include "storage/inspect.h"

#include <bsd/stdlib.h>
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "storage/compact.h"
#include "storage/writer.h"
#include "tests/unit/check_util.h"

/* --- a process that ends between two changes of the disk --- */

static unsigned calls, last_call; /* ends at this one; 0: never */

static void
may_end(void)
{
    if (++calls == last_call)
        kill(getpid(), SIGKILL);
}

ssize_t
write(int fd, const void *p, size_t n)
{
    if (fd > 2)
        may_end();
    return syscall(SYS_write, fd, p, n);
}

ssize_t
pwrite(int fd, const void *p, size_t n, off_t at)
{
    may_end();
    return syscall(SYS_pwrite64, fd, p, n, at);
}

int
mkdir(const char *path, mode_t mode)
{
    may_end();
    return (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}

int
rename(const char *from, const char *to)
{
    may_end();
    return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int
unlink(const char *path)
{
    may_end();
    return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}

int
rmdir(const char *path)
{
    may_end();
    return (int)syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR);
}

int
fsync(int fd)
{
    may_end();
    return (int)syscall(SYS_fsync, fd);
}

/* --- directories --- */

static char *dir;

static char *
in_dir(const char *name)
{
    return mem_printf("%s/%s", dir, name);
}

static void
setup(void)
{
    const char *tmp = getenv("TMPDIR");

    dir = mem_printf("%s/coney-offline-XXXXXX", tmp != NULL ? tmp : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void
remove_tree(const char *path)
{
    DIR *d = opendir(path);
    const struct dirent *e;

    while (d != NULL && (e = readdir(d)) != NULL) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        char *below = mem_printf("%s/%s", path, e->d_name);
        remove_tree(below);
        free(below);
    }
    if (d != NULL) {
        closedir(d);
        ck_assert_int_eq(rmdir(path), 0);
    } else {
        ck_assert_int_eq(unlink(path), 0);
    }
}

static void
teardown(void)
{
    remove_tree(dir);
    free(dir);
}

/* --- stores --- */

static struct store *
open_store(const char *directory, const char *faults)
{
    const struct store_options options = {
        .directory = directory, .size_max = 256 << 20, .threads = true, .faults = faults};
    struct store *s = store_open(&options);

    ck_assert_ptr_nonnull(s);
    return s;
}

static void
on_done(void *ctx, enum store_status status)
{
    enum store_status *to = ctx;

    *to = status;
}

static enum store_status
submit(struct store *s, struct store_batch *b)
{
    enum store_status status = STORE_FAILED;

    store_submit(s, STORE_DURABLE, b, on_done, &status);
    store_finish(s);
    return status;
}

static void
put_chunk(struct store_batch *b, uint64_t queue, uint64_t first, const uint8_t *body, uint32_t n)
{
    /* Lasts until the batch is answered, as it must. */
    static struct store_record record;

    record = (struct store_record){.bytes = body, .body_len = n};
    store_put_chunk(b, &(struct chunk_head){.queue = queue, .first = first, .bytes = n, .n = 1},
                    &record);
}

/* A batch of a few random changes, among them ones of rows that others have changed. */
static struct store_batch *
random_batch(void)
{
    static const uint8_t text[4096] = {'x'};
    struct store_batch *b = store_batch_new();

    for (uint32_t i = 1 + arc4random_uniform(4); i != 0; i--) {
        uint64_t id = 1 + arc4random_uniform(60);
        const struct chunk_head head = {.queue = 7, .first = id, .bytes = 10, .n = 1};
        const struct store_range range = {id, id + 1};
        const struct store_queue_state state = {id, &range, 1};
        uint8_t bit = 1;
        switch (arc4random_uniform(6)) {
        case 0:
            store_put_definition(b, id, 'v', slice_of(text, arc4random_uniform(3000)));
            break;
        case 1:
            store_del_definition(b, id);
            break;
        case 2:
            store_put_queue_state(b, id, &state);
            break;
        case 3:
            store_del_queue_state(b, id);
            break;
        case 4:
            store_put_dead(b, &head, &(struct chunk_dead){1, 10, &bit});
            break;
        default:
            store_del_chunk(b, &head);
        }
    }
    if (arc4random_uniform(2) == 0)
        put_chunk(b, 7, 1 + arc4random_uniform(60), text, 10);
    return b;
}

/* --- rows as text --- */

static bool
is_applied(enum table t, struct slice key)
{
    return t == TABLE_META && slice_is(key, META_APPLIED);
}

/* All rows but the one that says how far the log has been brought over. */
static char *
rows_of(struct inspect *in, size_t *n_r)
{
    char *text;
    FILE *f = open_memstream(&text, n_r);

    for (enum table t = 0; t < TABLE_COUNT; t++) {
        struct slice key = {NULL, 0}, value;
        enum store_status status;
        while ((status = inspect_next(in, t, key, key.n == 0, &key, &value)) == STORE_OK) {
            struct slice again;
            ck_assert_int_eq(inspect_get(in, t, key, &again), STORE_OK);
            ck_assert_slice_eq(again, value);
            if (is_applied(t, key))
                continue;
            fprintf(f, "%d %zu %zu ", (int)t, key.n, value.n);
            fwrite(key.p, 1, key.n, f);
            fwrite(value.p, 1, value.n, f);
        }
        ck_assert_int_eq(status, STORE_ABSENT);
    }
    fclose(f);
    return text;
}

static void
check_rows(const char *directory, bool log_is_empty, struct slice wanted)
{
    struct inspect *in = inspect_open(directory);
    size_t n;

    ck_assert_ptr_nonnull(in);
    ck_assert(inspect_findings(in)->has_rows);
    ck_assert_int_eq(inspect_findings(in)->file.verdict, LMDB_SOUND);
    ck_assert_int_eq(inspect_findings(in)->file.lost_pages, 0);
    if (log_is_empty)
        ck_assert_uint_eq(inspect_findings(in)->log.n, 0);
    char *rows = rows_of(in, &n);
    ck_assert_slice_eq(slice_of(rows, n), wanted);
    free(rows);
    inspect_close(in);
}

/* Fills a store and leaves part of it in the log only. Returns the rows that are to be found. */
static struct slice
fill(void)
{
    struct store *s = open_store(dir, NULL);
    unsigned n_ok = 0;
    size_t n;

    for (int i = 0; i < 100; i++)
        ck_assert_int_eq(submit(s, random_batch()), STORE_OK);
    store_close(s);
    /* Nothing gets into the database any more, so that it stays in the log. */
    s = open_store(dir, "commit:1+:ENOSPC");
    for (int i = 0; i < 200; i++)
        n_ok += submit(s, random_batch()) == STORE_OK;
    store_close(s);
    struct inspect *in = inspect_open(dir);
    ck_assert_ptr_nonnull(in);
    ck_assert_uint_gt(n_ok, 0);
    ck_assert_uint_eq(inspect_findings(in)->log.n, n_ok);
    ck_assert_uint_eq(inspect_findings(in)->log.lost, 0);
    ck_assert_uint_eq(inspect_findings(in)->n_nonsense, 0);
    char *rows = rows_of(in, &n);
    inspect_close(in);
    return slice_of(rows, n);
}

/* Names, sizes and contents of all that is below a directory, hashed. */
static uint64_t
fingerprint(const char *path, uint64_t h)
{
    DIR *d = opendir(path);
    const struct dirent *e;
    FILE *f;
    int c;

    if (d == NULL) {
        f = fopen(path, "rb");
        ck_assert_ptr_nonnull(f);
        while ((c = getc(f)) != EOF)
            h = (h ^ (uint64_t)c) * 0x100000001b3;
        fclose(f);
        return h + 1;
    }
    uint64_t sum = 1; /* in whatever order they come */
    while ((e = readdir(d)) != NULL) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        char *below = mem_printf("%s/%s", path, e->d_name);
        uint64_t name = 0xcbf29ce484222325;
        for (const char *p = e->d_name; *p != '\0'; p++)
            name = (name ^ (uint64_t)*p) * 0x100000001b3;
        sum += fingerprint(below, name);
        free(below);
    }
    closedir(d);
    return sum;
}

/* --- inspecting --- */

START_TEST(test_log_over_database)
{
    struct slice rows = fill();

    /* What was seen is what a start makes of it. */
    store_close(open_store(dir, NULL));
    check_rows(dir, true, rows);
    free((void *)(uintptr_t)rows.p);
}
END_TEST

START_TEST(test_nothing_is_changed)
{
    struct slice rows = fill();
    uint64_t before = fingerprint(dir, 0);

    check_rows(dir, false, rows);
    ck_assert_uint_eq(fingerprint(dir, 0), before);
    free((void *)(uintptr_t)rows.p);
}
END_TEST

START_TEST(test_in_use)
{
    struct store *s = open_store(dir, NULL);
    uint64_t before, after;

    ck_assert_ptr_null(inspect_open(dir));
    ck_assert(!store_compact(dir, &before, &after));
    store_close(s);
    struct inspect *in = inspect_open(dir);
    ck_assert_ptr_nonnull(in);
    const struct store_options options = {.directory = dir, .size_max = 64 << 20, .threads = true};
    ck_assert_ptr_null(store_open(&options));
    inspect_close(in);
}
END_TEST

/* --- compaction --- */

static bool
exists(const char *name)
{
    char *path = in_dir(name);
    bool is_there = access(path, F_OK) == 0;

    free(path);
    return is_there;
}

START_TEST(test_compact)
{
    static const uint8_t text[100000] = {'x'};
    struct store *s = open_store(dir, NULL);
    uint64_t before, after;

    for (uint64_t i = 1; i <= 100; i++) {
        struct store_batch *b = store_batch_new();
        put_chunk(b, 8, i, text, sizeof text);
        ck_assert_int_eq(submit(s, b), STORE_OK);
        /* Or what is deleted soon never gets into the database. */
        ck_assert(i % 10 != 0 || writer_flush(s->spaces[STORE_DURABLE].writer));
    }
    for (uint64_t i = 1; i <= 90; i++) {
        struct store_batch *b = store_batch_new();
        store_del_chunk(b,
                        &(struct chunk_head){.queue = 8, .first = i, .bytes = sizeof text, .n = 1});
        ck_assert_int_eq(submit(s, b), STORE_OK);
    }
    store_close(s);
    struct slice rows = fill();
    ck_assert(store_compact(dir, &before, &after));
    ck_assert_uint_gt(before, 90 * sizeof text);
    ck_assert_uint_lt(after, 20 * sizeof text);
    check_rows(dir, true, rows);
    ck_assert(!exists("store.new"));
    /* It is a store like any other. */
    s = open_store(dir, NULL);
    ck_assert_int_eq(submit(s, random_batch()), STORE_OK);
    store_close(s);
    free((void *)(uintptr_t)rows.p);
}
END_TEST

/* A compaction that ends at its first change of the disk, one at its second, until one gets
 * through. */
static void
compact_and_be_killed(struct slice rows)
{
    int status = 0;

    for (unsigned at = 1; at == 1 || WTERMSIG(status) == SIGKILL; at++) {
        pid_t pid = fork();
        if (pid == 0) {
            uint64_t before, after;
            calls = 0;
            last_call = at;
            /* By a signal, too: memory of the parent is not to be looked at for leaks here. */
            kill(getpid(), store_compact(dir, &before, &after) ? SIGUSR1 : SIGUSR2);
        }
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert(WIFSIGNALED(status));
        ck_assert(WTERMSIG(status) == SIGKILL || WTERMSIG(status) == SIGUSR1);
        check_rows(dir, false, rows);
    }
    ck_assert(!exists("store.new"));
    check_rows(dir, true, rows);
}

/* Whenever the process ends, all rows are there, and what is left behind is removed. */
START_TEST(test_compact_killed)
{
    struct slice rows = fill();

    compact_and_be_killed(rows);
    /* Each brings some of the log over, so that the next has less to do: now all have the same. */
    compact_and_be_killed(rows);
    free((void *)(uintptr_t)rows.p);
}
END_TEST

START_TEST(test_leftovers)
{
    struct slice rows = fill();
    char *aside = in_dir("store.new"), *file = in_dir("store.new/data.mdb");

    ck_assert_int_eq(mkdir(aside, 0700), 0);
    FILE *f = fopen(file, "w");
    ck_assert_ptr_nonnull(f);
    fputs("half a copy", f);
    fclose(f);
    store_close(open_store(dir, NULL));
    ck_assert(!exists("store.new"));
    check_rows(dir, true, rows);
    free(aside);
    free(file);
    free((void *)(uintptr_t)rows.p);
}
END_TEST

/* --- backup --- */

enum { BACKUPS = 6 };

struct backup {
    struct store *store;
    atomic_uint answered;     /* batches */
    unsigned before[BACKUPS]; /* of them, when each backup began */
    atomic_bool is_over;
};

static void *
back_up(void *arg)
{
    struct backup *bk = arg;

    for (int i = 0; i < BACKUPS; i++) {
        char *to = mem_printf("%s/backup-%d", dir, i);
        bk->before[i] = atomic_load(&bk->answered);
        ck_assert_int_eq(store_backup(bk->store, to, i % 2 == 0), STORE_OK);
        free(to);
    }
    atomic_store(&bk->is_over, true);
    return NULL;
}

static void
count_answer(void *ctx, enum store_status status)
{
    struct backup *bk = ctx;

    ck_assert_int_eq(status, STORE_OK);
    atomic_fetch_add(&bk->answered, 1);
}

/* Batch i makes definition i and chunk i, and deletes definition i / 2: at most 8 are under way. */
static uint32_t
load(struct backup *bk)
{
    static const uint8_t body[2000] = {'b'};
    static struct store_record record = {.bytes = body, .body_len = sizeof body};
    uint32_t i = 0;

    while (!atomic_load(&bk->is_over)) {
        struct store_batch *b = store_batch_new();
        i++;
        store_put_definition(b, i, 'v', slice_of(body, 50));
        store_del_definition(b, i / 2);
        store_put_chunk(
            b, &(struct chunk_head){.queue = 1, .first = i, .bytes = sizeof body, .n = 1}, &record);
        store_submit(bk->store, STORE_DURABLE, b, count_answer, bk);
        if (i % 8 == 0)
            store_finish(bk->store);
    }
    store_finish(bk->store);
    return i;
}

static uint64_t
first_number(struct slice key)
{
    return get_u64(key.p + key.n - (key.n == 8 ? 8 : FORMAT_CHUNK_KEY_SIZE - 8));
}

/* Rows from .. to of a table, and no other. */
static void
check_run(struct inspect *in, enum table t, uint64_t from, uint64_t to)
{
    struct slice key = {NULL, 0}, value;
    uint64_t next = from;

    while (inspect_next(in, t, key, key.n == 0, &key, &value) == STORE_OK) {
        ck_assert_uint_eq(first_number(key), next);
        next++;
    }
    ck_assert_uint_eq(next, to + 1);
}

START_TEST(test_backup_under_load)
{
    struct backup bk = {.store = open_store(dir, NULL)};
    pthread_t thread;

    ck_assert_int_eq(pthread_create(&thread, NULL, back_up, &bk), 0);
    uint32_t n = load(&bk);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    store_close(bk.store);
    for (int i = 0; i < BACKUPS; i++) {
        char *copy = mem_printf("%s/backup-%d", dir, i);
        struct inspect *in = inspect_open(copy);
        struct slice key, value, last = {NULL, 0};
        char *file = mem_printf("%s/store/data.mdb", copy);
        struct stat st;
        ck_assert_int_eq(stat(file, &st), 0);
        ck_assert_uint_eq(st.st_mode & 0777, 0600);
        free(file);
        ck_assert_ptr_nonnull(in);
        ck_assert_int_eq(inspect_findings(in)->file.verdict, LMDB_SOUND);
        ck_assert_uint_eq(inspect_findings(in)->log.n, 0);
        /* How many batches it has: at least those that had been answered. */
        for (key = last; inspect_next(in, TABLE_LOG, key, key.n == 0, &key, &value) == STORE_OK;)
            last = key;
        uint64_t k = last.n != 0 ? first_number(last) : 0;
        ck_assert_uint_ge(k, bk.before[i]);
        ck_assert_uint_le(k, n);
        check_run(in, TABLE_LOG, 1, k);
        if (k != 0)
            check_run(in, TABLE_DEFINITIONS, k / 2 + 1, k);
        inspect_close(in);
        store_close(open_store(copy, NULL));
        free(copy);
    }
    ck_assert_uint_gt(bk.before[BACKUPS - 1], 0);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("offline");
    TCase *tc = tcase_create("store");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, test_log_over_database);
    tcase_add_test(tc, test_nothing_is_changed);
    tcase_add_test(tc, test_in_use);
    tcase_add_test(tc, test_compact);
    tcase_add_test(tc, test_compact_killed);
    tcase_add_test(tc, test_leftovers);
    tcase_add_test(tc, test_backup_under_load);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
