#include "storage/lmdb_verify.h"

#include <errno.h>
#include <lmdb.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "tests/unit/check_util.h"

/*
 * LMDB itself makes the files. They are damaged in memory, at places that are found by the few
 * offsets below; what is found sound in spite of it must not hurt LMDB. That would be by a signal,
 * which ends the test's own process: Check forks one for each test.
 */

#define DBS 3
static const char *const db_names[DBS] = {"bindings", "messages", "queues"};

static char folder[64], copy_folder[80];
static char *data_path, *copy_path;
static size_t psize;

/* --- environments --- */

static void
must(int rc, const char *what)
{
    if (rc != MDB_SUCCESS)
        ck_abort_msg("%s: %s", what, mdb_strerror(rc));
}

#define MUST_LMDB(call) must((call), #call)

static MDB_env *
env_open(const char *path, unsigned flags)
{
    MDB_env *env;

    MUST_LMDB(mdb_env_create(&env));
    MUST_LMDB(mdb_env_set_mapsize(env, (size_t)64 << 20));
    MUST_LMDB(mdb_env_set_maxdbs(env, DBS + 1));
    MUST_LMDB(mdb_env_open(env, path, flags | MDB_NOSYNC | MDB_NOTLS, 0600));
    return env;
}

static MDB_txn *
txn_begin(MDB_env *env, unsigned flags)
{
    MDB_txn *txn;

    MUST_LMDB(mdb_txn_begin(env, NULL, flags, &txn));
    return txn;
}

static MDB_dbi
db_open(MDB_txn *txn, const char *name)
{
    MDB_dbi db;

    MUST_LMDB(mdb_dbi_open(txn, name, MDB_CREATE, &db));
    return db;
}

/* A key of `width` characters, and a value of `size` bytes that tells where it belongs. */
static void
put(MDB_txn *txn, MDB_dbi db, int width, unsigned number, size_t size)
{
    char key[512];
    MDB_val k = {(size_t)snprintf(key, sizeof key, "%0*u", width, number), key}, v = {size, NULL};

    MUST_LMDB(mdb_put(txn, db, &k, &v, MDB_RESERVE));
    memset(v.mv_data, (int)number, size);
}

static void
del(MDB_txn *txn, MDB_dbi db, int width, unsigned number)
{
    char key[512];
    MDB_val k = {(size_t)snprintf(key, sizeof key, "%0*u", width, number), key};

    MUST_LMDB(mdb_del(txn, db, &k, NULL));
}

static void
fill_nothing(MDB_env *env)
{
    (void)env;
}

static void
fill_few(MDB_env *env)
{
    MDB_txn *txn = txn_begin(env, 0);
    MDB_dbi db = db_open(txn, "queues");

    for (unsigned i = 0; i < 5; i++)
        put(txn, db, 4, i, 20);
    MUST_LMDB(mdb_txn_commit(txn));
}

static void
fill_without_names(MDB_env *env)
{
    MDB_txn *txn = txn_begin(env, 0);
    MDB_dbi db;

    MUST_LMDB(mdb_dbi_open(txn, NULL, 0, &db));
    for (unsigned i = 0; i < 500; i++)
        put(txn, db, 8, i, i % 9);
    MUST_LMDB(mdb_txn_commit(txn));
}

/* Long keys make a deep tree. */
static void
fill_many(MDB_env *env)
{
    for (unsigned round = 0; round < 4; round++) {
        MDB_txn *txn = txn_begin(env, 0);
        MDB_dbi db = db_open(txn, "bindings");
        for (unsigned i = 0; i < 1000; i++)
            put(txn, db, 400, i * 4 + round, 30);
        MUST_LMDB(mdb_txn_commit(txn));
    }
}

static void
fill_large(MDB_env *env)
{
    static const size_t sizes[] = {0, 1, 2000, 4079, 4080, 4081, 70000, 262144};

    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        MDB_txn *txn = txn_begin(env, 0);
        MDB_dbi db = db_open(txn, "messages");
        put(txn, db, 8, i, sizes[i]);
        MUST_LMDB(mdb_txn_commit(txn));
    }
}

/* A value that shrinks in its own transaction keeps its pages. */
static void
fill_shrinking(MDB_env *env)
{
    MDB_txn *txn = txn_begin(env, 0);
    MDB_dbi db = db_open(txn, "messages");

    for (unsigned i = 0; i < 300; i++) {
        put(txn, db, 100, i, 20000);
        put(txn, db, 100, i, i * 60);
    }
    MUST_LMDB(mdb_txn_commit(txn));
}

/* Some of everything, and free pages. */
static void
fill_mixed(MDB_env *env)
{
    for (unsigned round = 0; round < 6; round++) {
        MDB_txn *txn = txn_begin(env, 0);
        MDB_dbi bindings = db_open(txn, "bindings"), messages = db_open(txn, "messages");
        MDB_dbi queues = db_open(txn, "queues");
        for (unsigned i = 0; i < 60; i++)
            put(txn, bindings, 60, round * 60 + i, 40);
        for (unsigned i = 0; i < 3; i++)
            put(txn, messages, 8, round * 3 + i, 9000);
        put(txn, queues, 4, round, 100);
        if (round > 2)
            del(txn, messages, 8, round);
        MUST_LMDB(mdb_txn_commit(txn));
    }
}

static void
fill_and_delete(MDB_env *env)
{
    fill_many(env);
    fill_mixed(env);
    MDB_txn *txn = txn_begin(env, 0);
    MDB_dbi db = db_open(txn, "bindings");
    for (unsigned i = 0; i < 4000; i++) {
        if (i % 50 != 7)
            del(txn, db, 400, i);
    }
    MUST_LMDB(mdb_drop(txn, db_open(txn, "messages"), 0));
    MUST_LMDB(mdb_txn_commit(txn));
    txn = txn_begin(env, 0);
    MUST_LMDB(mdb_drop(txn, db_open(txn, "queues"), 1));
    MUST_LMDB(mdb_txn_commit(txn));
}

/* Three levels, in few pages. */
static void
fill_deep(MDB_env *env)
{
    MDB_txn *txn = txn_begin(env, 0);
    MDB_dbi db = db_open(txn, "bindings");

    for (unsigned i = 0; i < 120; i++)
        put(txn, db, 500, i, 1400);
    MUST_LMDB(mdb_txn_commit(txn));
    fill_few(env);
}

/* Pages that were never written, because they are free again: the file ends before them. */
static void
fill_beyond(MDB_env *env)
{
    fill_mixed(env);
    MDB_txn *txn = txn_begin(env, 0);
    MDB_dbi db = db_open(txn, "messages");
    put(txn, db, 4, 1, 10);
    put(txn, db, 4, 2, 300000);
    del(txn, db, 4, 2);
    MUST_LMDB(mdb_txn_commit(txn));
}

typedef void fill_fn(MDB_env *env);
static fill_fn *const fills[] = {
    fill_nothing,   fill_few,   fill_without_names, fill_many, fill_large,
    fill_shrinking, fill_mixed, fill_and_delete,    fill_deep, fill_beyond,
};
enum { N_FILLS = sizeof fills / sizeof *fills };

static void
make_env(fill_fn *fill)
{
    MDB_env *env = env_open(folder, 0);

    fill(env);
    mdb_env_close(env);
}

/* --- files --- */

static void
clear_folder(const char *path)
{
    static const char *const names[] = {"data.mdb", "lock.mdb", "single", "single-lock"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *file = mem_printf("%s/%s", path, names[i]);
        unlink(file);
        free(file);
    }
}

static void
setup(void)
{
    const char *tmp = getenv("TMPDIR");

    psize = (size_t)sysconf(_SC_PAGESIZE);
    snprintf(folder, sizeof folder, "%.30s/verify-XXXXXX", tmp != NULL ? tmp : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(copy_folder, sizeof copy_folder, "%s/copy", folder);
    ck_assert_int_eq(mkdir(copy_folder, 0700), 0);
    data_path = mem_printf("%s/data.mdb", folder);
    copy_path = mem_printf("%s/data.mdb", copy_folder);
}

static void
teardown(void)
{
    clear_folder(copy_folder);
    rmdir(copy_folder);
    clear_folder(folder);
    rmdir(folder);
    free(data_path);
    free(copy_path);
}

static void
write_file(const char *path, const uint8_t *bytes, size_t n)
{
    FILE *f = fopen(path, "wb");

    ck_assert_ptr_nonnull(f);
    if (n != 0)
        ck_assert_uint_eq(fwrite(bytes, 1, n, f), n);
    ck_assert_int_eq(fclose(f), 0);
}

/* The file of the environment that `fill` makes. */
static uint8_t *
make_image(fill_fn *fill, size_t *size_r)
{
    struct stat st;

    make_env(fill);
    FILE *f = fopen(data_path, "rb");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(fstat(fileno(f), &st), 0);
    *size_r = (size_t)st.st_size;
    uint8_t *image = mem_alloc(*size_r);
    ck_assert_uint_eq(fread(image, 1, *size_r, f), *size_r);
    fclose(f);
    return image;
}

static struct lmdb_report
verify(const char *path, enum lmdb_depth depth)
{
    struct lmdb_report report;

    lmdb_verify(path, depth, &report);
    ck_assert_ptr_nonnull(strstr(report.text, path));
    return report;
}

/* In a block of its very size, so that a sanitizer sees what is read beyond. */
static struct lmdb_report
verify_image(const uint8_t *image, size_t n, enum lmdb_depth depth)
{
    struct lmdb_report report;
    uint8_t *exact = exact_bytes(slice_of(image, n));

    lmdb_verify_image(slice_of(exact, n), psize, "image", depth, &report);
    free(exact);
    return report;
}

/* --- sound files --- */

static void
must_be_sound(const char *path)
{
    struct lmdb_report trees = verify(path, LMDB_TREES), all = verify(path, LMDB_EVERYTHING);

    if (trees.verdict != LMDB_SOUND || all.verdict != LMDB_SOUND)
        ck_abort_msg("%s / %s", trees.text, all.text);
    ck_assert_uint_eq(trees.used_pages, all.used_pages);
    ck_assert_uint_eq(trees.free_pages, all.free_pages);
    ck_assert_uint_eq(trees.databases, all.databases);
    ck_assert_uint_eq(trees.lost_pages, 0);
    ck_assert_uint_eq(all.lost_pages, 0);
    ck_assert_uint_eq(trees.used_pages + trees.free_pages + 2, trees.pages);
}

START_TEST(test_sound)
{
    make_env(fills[_i]);
    must_be_sound(data_path);
}
END_TEST

START_TEST(test_sound_after_each_transaction)
{
    for (unsigned round = 0; round < 12; round++) {
        make_env(fills[_i]);
        must_be_sound(data_path);
        make_env(fill_mixed);
        must_be_sound(data_path);
    }
}
END_TEST

START_TEST(test_sound_while_open)
{
    MDB_env *env = env_open(folder, 0);
    MDB_txn *reader = txn_begin(env, MDB_RDONLY);

    fill_mixed(env);
    must_be_sound(data_path);
    MDB_txn *writer = txn_begin(env, 0);
    put(writer, db_open(writer, "queues"), 4, 1, 50000);
    must_be_sound(data_path);
    mdb_txn_abort(writer);
    must_be_sound(data_path);
    mdb_txn_abort(reader);
    mdb_env_close(env);
    must_be_sound(data_path);
}
END_TEST

START_TEST(test_sound_copies)
{
    for (unsigned flags = 0; flags <= MDB_CP_COMPACT; flags += MDB_CP_COMPACT) {
        clear_folder(folder);
        clear_folder(copy_folder);
        MDB_env *env = env_open(folder, 0);
        fills[_i](env);
        MUST_LMDB(mdb_env_copy2(env, copy_folder, flags));
        mdb_env_close(env);
        must_be_sound(copy_path);
        for (unsigned i = 0; i < 3; i++) {
            env = env_open(copy_folder, 0);
            must_be_sound(copy_path);
            fills[_i](env);
            mdb_env_close(env);
            must_be_sound(copy_path);
        }
    }
}
END_TEST

/* The header then remembers how it was opened. */
START_TEST(test_sound_without_folder)
{
    char *path = mem_printf("%s/single", folder);
    MDB_env *env = env_open(path, MDB_NOSUBDIR);

    fill_mixed(env);
    mdb_env_close(env);
    must_be_sound(path);
    free(path);
}
END_TEST

START_TEST(test_report)
{
    make_env(fill_mixed);
    struct lmdb_report r = verify(data_path, LMDB_TREES);
    ck_assert_int_eq(r.verdict, LMDB_SOUND);
    ck_assert_uint_eq(r.txn, 6);
    ck_assert_uint_eq(r.databases, 3);
    /* 15 values of 9,000 bytes have three pages each. */
    ck_assert_uint_gt(r.used_pages, 45);
    ck_assert_uint_gt(r.free_pages, 0);
    ck_assert_ptr_nonnull(strstr(r.text, "is sound"));
}
END_TEST

/* --- what is no environment --- */

START_TEST(test_absent)
{
    ck_assert_int_eq(verify(data_path, LMDB_TREES).verdict, LMDB_ABSENT);
    write_file(data_path, NULL, 0);
    ck_assert_int_eq(verify(data_path, LMDB_TREES).verdict, LMDB_ABSENT);
}
END_TEST

START_TEST(test_unreadable)
{
    struct lmdb_report r = verify(folder, LMDB_TREES);
    ck_assert_int_eq(r.verdict, LMDB_UNREADABLE);

    ck_assert_int_eq(mkfifo(data_path, 0600), 0);
    r = verify(data_path, LMDB_TREES);
    ck_assert_int_eq(r.verdict, LMDB_UNREADABLE);
    unlink(data_path);

    ck_assert_int_eq(symlink(data_path, data_path), 0);
    r = verify(data_path, LMDB_TREES);
    ck_assert_int_eq(r.verdict, LMDB_UNREADABLE);
    ck_assert_ptr_nonnull(strstr(r.text, strerror(ELOOP)));
}
END_TEST

/* Any text is shortened, not the reason. */
START_TEST(test_long_name)
{
    struct lmdb_report r;
    char name[1000];

    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    lmdb_verify_image(slice_of(name, 100), psize, name, LMDB_TREES, &r);
    ck_assert_int_eq(r.verdict, LMDB_DAMAGED);
    ck_assert_ptr_nonnull(strstr(r.text, "has 100 bytes"));
}
END_TEST

/* --- damage --- */

/* What the damage is done to: fill_mixed(). */
static uint8_t *img;
static size_t img_size;

static uint64_t
get(size_t at, size_t width)
{
    uint16_t v16;
    uint32_t v32;
    uint64_t v64;

    ck_assert_uint_le(at + width, img_size);
    switch (width) {
    case sizeof v16:
        memcpy(&v16, img + at, width);
        return v16;
    case sizeof v32:
        memcpy(&v32, img + at, width);
        return v32;
    default:
        memcpy(&v64, img + at, width);
        return v64;
    }
}

static void
set(size_t at, size_t width, uint64_t value)
{
    uint16_t v16 = (uint16_t)value;
    uint32_t v32 = (uint32_t)value;

    ck_assert_uint_le(at + width, img_size);
    memcpy(img + at, width == 2 ? (void *)&v16 : width == 4 ? (void *)&v32 : &value, width);
}

static void
add(size_t at, size_t width, int by)
{
    set(at, width, get(at, width) + (uint64_t)by);
}

/* The header that counts, the other one. */
static size_t
newer(void)
{
    return get(psize + 144, 8) > get(144, 8) ? psize : 0;
}

static size_t
older(void)
{
    return psize - newer();
}

/* Where the record of a tree is: root at 40, depth at 6, counts from 8 on. */
static size_t
free_tree(void)
{
    return newer() + 40;
}

static size_t
main_tree(void)
{
    return newer() + 88;
}

static size_t
root(size_t tree)
{
    return get(tree + 40, 8) * psize;
}

static size_t
node(size_t page, unsigned i)
{
    return page + get(page + 16 + 2 * i, 2);
}

/* The key of a node, its data. */
static size_t
key(size_t page, unsigned i)
{
    return node(page, i) + 8;
}

static size_t
data(size_t page, unsigned i)
{
    return key(page, i) + get(node(page, i) + 6, 2);
}

static unsigned
nodes(size_t page)
{
    return (unsigned)(get(page + 12, 2) - 16) / 2;
}

/* db_names are in the order in which the main database has them. */
static size_t
named_tree(unsigned i)
{
    return data(root(main_tree()), i);
}

static size_t
child(size_t page, unsigned i)
{
    return get(node(page, i), 4) * psize;
}

/* The bindings' root is a branch, of leaves; the queues' and messages' are leaves. */
static size_t
branch(void)
{
    return root(named_tree(0));
}

static size_t
leaf(unsigned i)
{
    return child(branch(), i);
}

static size_t
messages(void)
{
    return root(named_tree(1));
}

static size_t
queues(void)
{
    return root(named_tree(2));
}

/* The first record of the free list that has pages in it. */
static size_t
free_record(void)
{
    size_t page = root(free_tree());

    for (unsigned i = 0; i < nodes(page); i++) {
        if (get(data(page, i), 8) >= 2)
            return data(page, i);
    }
    ck_abort_msg("no free pages");
}

static void
damage_swap_nodes(void)
{
    uint64_t first = get(leaf(1) + 16, 2);
    set(leaf(1) + 16, 2, get(leaf(1) + 18, 2));
    set(leaf(1) + 18, 2, first);
}

static void
damage_same_node_twice(void)
{
    set(leaf(1) + 16, 2, get(leaf(1) + 18, 2));
}

static void
damage_same_value_twice(void)
{
    set(data(messages(), 0), 8, get(data(messages(), 1), 8));
}

static void
damage_free_is_used(void)
{
    set(free_record() + 8, 8, queues() / psize);
}

static void
damage_free_is_free_twice(void)
{
    set(free_record() + 16, 8, get(free_record() + 8, 8));
}

static void
damage_zero_page(void)
{
    memset(img + leaf(1), 0, psize);
}

static void
damage_copied_page(void)
{
    memcpy(img + leaf(1), img + leaf(2), psize);
}

/* A page that was written for a later transaction, with all in order but its keys. */
static void
damage_other_leaf(void)
{
    uint64_t number = get(leaf(1), 8);
    memcpy(img + leaf(1), img + leaf(2), psize);
    set(leaf(1), 8, number);
}

static void
damage_two_leaves_swapped(void)
{
    uint64_t first = get(node(branch(), 1), 4);
    set(node(branch(), 1), 4, get(node(branch(), 2), 4));
    set(node(branch(), 2), 4, first);
}

static void
damage_headers_swapped(void)
{
    uint8_t bytes[136];
    memcpy(bytes, img + 16, sizeof bytes);
    memcpy(img + 16, img + psize + 16, sizeof bytes);
    memcpy(img + psize + 16, bytes, sizeof bytes);
}

/* As if a header's number had become larger, where the file did not grow. */
static void
damage_older_is_newer(void)
{
    set(older() + 136, 8, get(newer() + 136, 8));
    add(older() + 144, 8, 2);
}

static void
damage_no_transaction(void)
{
    set(144, 8, 0);
    set(psize + 144, 8, 0);
}

static void
damage_branch_of_one(void)
{
    set(branch() + 12, 2, 18);
}

static void
damage_version_of_both(void)
{
    set(20, 4, 2);
    set(psize + 20, 4, 2);
}

static void
damage_larger_pages(void)
{
    set(40, 4, 2 * psize);
    memcpy(img + 2 * psize, img + psize, psize);
    set(2 * psize + 40, 4, 2 * psize);
}

static void
damage_32_bits(void)
{
    memmove(img + 12, img + 16, 100);
}

static void
damage_empty_with_entries(void)
{
    set(named_tree(2) + 40, 8, UINT64_MAX);
    set(named_tree(2) + 6, 2, 0);
}

/*
 * A place is a function of the image, because pages are where LMDB puts them: `at` of `page()`.
 * Damage is to add `by` there, or what `how` does.
 */
struct damage {
    const char *wanted; /* in the text */
    size_t (*page)(void);
    int at;
    size_t width;
    int by;
    void (*how)(void);
    enum lmdb_verdict verdict;
    bool in_values; /* found with LMDB_EVERYTHING only */
};

static size_t
begin(void)
{
    return 0;
}

static size_t
bindings_tree(void)
{
    return named_tree(0);
}

static size_t
messages_tree(void)
{
    return named_tree(1);
}

static size_t
queues_tree(void)
{
    return named_tree(2);
}

static size_t
bindings_node(void)
{
    return node(root(main_tree()), 0);
}

static size_t
leaf_1(void)
{
    return leaf(1);
}

static size_t
leaf_1_node(void)
{
    return node(leaf(1), 2);
}

static size_t
leaf_0_last_key(void)
{
    return key(leaf(0), nodes(leaf(0)) - 1);
}

static size_t
leaf_1_first_key(void)
{
    return key(leaf(1), 0);
}

static size_t
branch_node_1(void)
{
    return node(branch(), 1);
}

static size_t
value_node(void)
{
    return node(messages(), 0);
}

static size_t
value_ref(void)
{
    return data(messages(), 0);
}

static size_t
value(void)
{
    return get(data(messages(), 0), 8) * psize;
}

static size_t
free_first_node(void)
{
    return node(root(free_tree()), 0);
}

static size_t
free_last_key(void)
{
    return key(root(free_tree()), nodes(root(free_tree())) - 1);
}

#define AT(place, offset, width, by) (place), (offset), (width), (by), NULL, LMDB_DAMAGED, false
#define BY(how) NULL, 0, 0, 0, (how), LMDB_DAMAGED, false
#define FOREIGN_BY(how) NULL, 0, 0, 0, (how), LMDB_FOREIGN, false
#define VALUE(place, offset, width, by) (place), (offset), (width), (by), NULL, LMDB_DAMAGED, true

static const struct damage damages[] = {
    {"page 0 is not a header", AT(begin, 10, 2, 1)},
    {"page 0 is not a header", AT(begin, 0, 8, 1)},
    {"a header, has magic", AT(begin, 16, 4, 1)},
    {"a header, has magic", AT(newer, 16, 4, 1)},
    {"and version 2", AT(newer, 20, 4, 1)},
    {"and version 2", AT(older, 20, 4, 1)},
    {"format 2", FOREIGN_BY(damage_version_of_both)},
    {"speaks of pages of", AT(newer, 40, 4, 1)},
    {"speaks of pages of", AT(older, 40, 4, 1)},
    {"those of this machine have", FOREIGN_BY(damage_larger_pages)},
    {"32 bits", FOREIGN_BY(damage_32_bits)},
    {"a header, has flags 0x9", AT(newer, 44, 2, 1)},
    {"the headers are of transactions", AT(newer, 144, 8, 1)},
    {"the headers are of transactions", AT(newer, 144, 8, 2)},
    {"the headers are of transactions", AT(newer, 144, 8, -1)},
    {"the headers are of transactions", AT(newer, 144, 8, -6)},
    {"the headers are of transactions", AT(older, 144, 8, -2)},
    {"the headers are of transactions", BY(damage_headers_swapped)},
    {"the headers are of no transaction", BY(damage_no_transaction)},
    {"in transaction 6 and", AT(older, 144, 8, 2)},
    {"in transaction 5 and", AT(older, 136, 8, 1000)},
    {"of transaction 7, the free list of 5", BY(damage_older_is_newer)},
    {"the last page is", AT(newer, 136, 8, 1 << 30)},
    {"the file ends after", AT(newer, 136, 8, 1)},
    {"the last page is", AT(newer, 34, 2, -0x400)},
    {"the main database: page 0 refers to", AT(main_tree, 40, 8, 1 << 20)},
    {"the free list: page 0 refers to", AT(free_tree, 40, 8, 1 << 20)},
    {"the main database has its root in", AT(main_tree, 6, 2, -1)},
    {"the main database has flags", AT(main_tree, 4, 2, 4)},
    {"the main database has 3 entries, 4 are", AT(main_tree, 32, 8, 1)},
    {"database \"queues\" has flags 0x4", AT(queues_tree, 4, 2, 4)},
    {"database \"queues\" has its root in", AT(queues_tree, 6, 2, 40)},
    {"has flags 0x2 instead of 0x1", AT(queues_tree, 6, 2, 1)},
    {"6 entries, 7 are recorded", AT(queues_tree, 32, 8, 1)},
    {"0 leaf pages, 1 are recorded", BY(damage_empty_with_entries)},
    {"1 branch pages, 2 are recorded", AT(bindings_tree, 8, 8, 1)},
    {"leaf pages", AT(bindings_tree, 16, 8, 1)},
    {"45 pages of values, 46 are recorded", AT(messages_tree, 24, 8, 1)},
    {"45 pages of values, 44 are recorded", AT(messages_tree, 24, 8, -1)},
    {"values among the named databases", AT(bindings_node, 4, 2, -2)},
    {"node 0 is malformed", AT(bindings_node, 0, 2, -2)},
    {"says that it is page", AT(leaf_1, 0, 8, 1)},
    {"has flags 0x12 instead of 0x2", AT(leaf_1, 10, 2, 0x10)},
    {"has flags 0x0 instead of 0x1", AT(branch, 10, 2, -1)},
    {"has its bounds at", AT(leaf_1, 12, 2, 1)},
    {"has its bounds at", AT(leaf_1, 12, 2, 20000)},
    {"has its bounds at", AT(leaf_1, 14, 2, 20000)},
    {"bytes instead of", AT(leaf_1, 14, 2, -2)},
    {"node 0 is malformed", AT(leaf_1, 16, 2, 1)},
    {"node 0 is malformed", AT(leaf_1, 16, 2, -4000)},
    {"bytes instead of", AT(leaf_1, 12, 2, -2)},
    {"has 1 nodes", BY(damage_branch_of_one)},
    {"overlaps", BY(damage_same_node_twice)},
    {"out of order", BY(damage_swap_nodes)},
    {"node 2 is malformed", AT(leaf_1_node, 6, 2, 10000)},
    {"node 2 is malformed", AT(leaf_1_node, 0, 2, 10000)},
    {"node 2 is malformed", AT(leaf_1_node, 4, 2, 2)},
    {"node 2 is malformed", AT(leaf_1_node, 4, 2, 8)},
    {"overlaps", AT(leaf_1_node, 0, 2, 2)},
    {"bytes instead of", AT(leaf_1_node, 0, 2, -2)},
    {"node 2 is malformed", AT(leaf_1_node, 6, 2, 500)},
    {"its last key belongs to the next page", AT(leaf_0_last_key, 1, 2, 100)},
    {"the key of node 0 is out of order", AT(leaf_1_first_key, 1, 2, -30)},
    {"says that it is page 0", BY(damage_zero_page)},
    {"says that it is page", BY(damage_copied_page)},
    {"its last key belongs to the next page", BY(damage_other_leaf)},
    {"its last key belongs to the next page", BY(damage_two_leaves_swapped)},
    {"database \"bindings\": page", AT(branch_node_1, 0, 4, 1 << 20)},
    {"the last one is", AT(branch_node_1, 4, 2, 1)},
    {"database \"messages\": page", AT(value_ref, 0, 8, 1 << 20)},
    {"which is used twice", BY(damage_same_value_twice)},
    {"database \"messages\"", AT(value_node, 0, 4, 8000)},
    {"database \"messages\"", AT(value_node, 0, 4, 1 << 30)},
    {"of a value, says that it is page", VALUE(value, 0, 8, 1)},
    {"of a value, has flags 0x5", VALUE(value, 10, 2, 1)},
    {"has 2 pages instead of 3", VALUE(value, 12, 4, -1)},
    {"which is used twice", VALUE(value, 12, 4, 1)},
    {"the free list has a record of transaction 7", AT(free_last_key, 0, 8, 1)},
    {"the key of node 0 has 7 bytes", AT(free_first_node, 6, 2, -1)},
    {"of the free list: transaction", AT(free_record, 0, 8, 1000)},
    {"of the free list: transaction", AT(free_record, 8, 8, 1000)},
    {"is listed as free by transaction", BY(damage_free_is_used)},
    {"of the free list: transaction", BY(damage_free_is_free_twice)},
};

static void
do_damage(const struct damage *d)
{
    if (d->how != NULL)
        d->how();
    else
        add(d->page() + (size_t)d->at, d->width, d->by);
}

START_TEST(test_damage)
{
    const struct damage *d = &damages[_i];

    img = make_image(fill_mixed, &img_size);
    do_damage(d);
    struct lmdb_report trees = verify_image(img, img_size, LMDB_TREES);
    struct lmdb_report all = verify_image(img, img_size, LMDB_EVERYTHING);
    if (all.verdict != d->verdict || strstr(all.text, d->wanted) == NULL)
        ck_abort_msg("wanted: %s, got: %s", d->wanted, all.text);
    if (trees.verdict != (d->in_values ? LMDB_SOUND : d->verdict))
        ck_abort_msg("wanted: %s, got: %s", d->wanted, trees.text);
    free(img);
}
END_TEST

START_TEST(test_other_byte_order)
{
    img = make_image(fill_mixed, &img_size);
    for (size_t i = 0; i + 4 <= img_size; i += 4)
        set(i, 4, __builtin_bswap32((uint32_t)get(i, 4)));
    ck_assert_int_eq(verify_image(img, img_size, LMDB_TREES).verdict, LMDB_FOREIGN);
    free(img);
}
END_TEST

/* Cut off anywhere; what is beyond the last page does not matter. */
START_TEST(test_truncated)
{
    img = make_image(fill_mixed, &img_size);
    struct lmdb_report whole = verify_image(img, img_size, LMDB_TREES);
    size_t needed = whole.pages * psize;
    ck_assert_int_eq(whole.verdict, LMDB_SOUND);
    ck_assert_int_eq(verify_image(img, needed, LMDB_TREES).verdict, LMDB_SOUND);
    /* All that is cut off may be free pages, so not all of these are damaged. */
    for (size_t n = 1; n < needed; n += 501) {
        struct lmdb_report r = verify_image(img, n, LMDB_TREES);
        ck_assert(r.verdict == LMDB_DAMAGED || n > needed - whole.free_pages * psize);
    }
    ck_assert_int_eq(verify_image(img, needed / 2, LMDB_TREES).verdict, LMDB_DAMAGED);
    free(img);
}
END_TEST

START_TEST(test_lost_page)
{
    img = make_image(fill_mixed, &img_size);
    struct lmdb_report before = verify_image(img, img_size, LMDB_TREES);
    /* The list descends, so its last page is forgotten. */
    add(free_record(), 8, -1);
    struct lmdb_report after = verify_image(img, img_size, LMDB_TREES);
    ck_assert_int_eq(after.verdict, LMDB_SOUND);
    ck_assert_uint_eq(after.lost_pages, 1);
    ck_assert_uint_eq(after.free_pages, before.free_pages - 1);
    ck_assert_ptr_nonnull(strstr(after.text, "1 neither used nor free"));
    free(img);
}
END_TEST

START_TEST(test_file_shorter_than_last_page)
{
    img = make_image(fill_beyond, &img_size);
    struct lmdb_report r = verify_image(img, img_size, LMDB_EVERYTHING);
    ck_assert_int_eq(r.verdict, LMDB_SOUND);
    ck_assert_uint_gt(r.pages * psize, img_size);
    /* If one of these pages is not free after all, then the file was cut off. */
    add(free_record(), 8, -1);
    memmove(img + free_record() + 8, img + free_record() + 16, get(free_record(), 8) * 8);
    r = verify_image(img, img_size, LMDB_EVERYTHING);
    ck_assert_int_eq(r.verdict, LMDB_DAMAGED);
    ck_assert_ptr_nonnull(strstr(r.text, "the file ends after"));
    free(img);
}
END_TEST

/* The values' first pages are read with LMDB_TREES, too, where pages are missing without. */
START_TEST(test_spare_pages)
{
    img = make_image(fill_shrinking, &img_size);
    size_t page = root(named_tree(0));
    while (get(page + 10, 2) == 1)
        page = child(page, 0);
    size_t run = get(data(page, 0), 8) * psize;
    ck_assert_int_eq(verify_image(img, img_size, LMDB_TREES).verdict, LMDB_SOUND);
    static const struct {
        int at;
        const char *wanted;
    } cases[] = {{0, "says that it is page"}, {10, "has flags"}, {12, "which is used twice"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        add(run + (size_t)cases[i].at, 2, 1);
        struct lmdb_report r = verify_image(img, img_size, LMDB_TREES);
        add(run + (size_t)cases[i].at, 2, -1);
        ck_assert_int_eq(r.verdict, LMDB_DAMAGED);
        if (strstr(r.text, cases[i].wanted) == NULL)
            ck_abort_msg("wanted: %s, got: %s", cases[i].wanted, r.text);
    }
    free(img);
}
END_TEST

/*
 * When the header cannot be written, LMDB puts back the numbers that it had, not the trees. The
 * transaction before is the last one then.
 */
START_TEST(test_failed_commit)
{
    img = make_image(fill_mixed, &img_size);
    size_t failed = newer();
    set(failed + 136, 8, get(older() + 136, 8));
    add(failed + 144, 8, -2);
    struct lmdb_report r = verify_image(img, img_size, LMDB_EVERYTHING);
    if (r.verdict != LMDB_SOUND)
        ck_abort_msg("%s", r.text);
    ck_assert_uint_eq(r.txn, 5);
    ck_assert_uint_eq(r.lost_pages, 0);
    free(img);
}
END_TEST

/* Any name of a database can be put in a log. */
START_TEST(test_unprintable_name)
{
    img = make_image(fill_mixed, &img_size);
    img[key(root(main_tree()), 2)] = 'q';
    img[key(root(main_tree()), 2) + 1] = '\n';
    img[key(root(main_tree()), 2) + 2] = (uint8_t)'\xff';
    add(queues_tree() + 32, 8, 1);
    struct lmdb_report r = verify_image(img, img_size, LMDB_TREES);
    ck_assert_int_eq(r.verdict, LMDB_DAMAGED);
    ck_assert_ptr_nonnull(strstr(r.text, "database \"q??ues\" has 6 entries"));
    free(img);
}
END_TEST

/* --- random damage --- */

static uint64_t random_state;

static size_t
random_below(size_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (size_t)((random_state >> 11) % n);
}

static size_t
random_page(size_t n)
{
    return random_below(n / psize) * psize;
}

/* The places that are trusted most are damaged most often. */
static size_t
random_place(size_t n)
{
    switch (random_below(4)) {
    case 0:
        return random_below(2) * psize + 16 + random_below(136);
    case 1:
        return random_page(n) + random_below(40);
    case 2:
        return random_page(n) + psize - 1 - random_below(200);
    default:
        return random_below(n);
    }
}

static void
damage_at_random(uint8_t *bytes, size_t n)
{
    size_t at;

    switch (random_below(8)) {
    case 0:
        memmove(bytes + random_page(n), bytes + random_page(n), psize);
        break;
    case 1:
        memset(bytes + random_page(n), 0, psize);
        break;
    case 2:
        at = random_page(n);
        memset(bytes + at + random_below(8) * 512, (int)random_below(256), 512);
        break;
    case 3:
        at = random_place(n);
        bytes[at] = (uint8_t)random_below(256);
        break;
    default:
        for (size_t i = random_below(3); i < 3; i++) {
            at = random_place(n);
            bytes[at] ^= (uint8_t)(1 << random_below(8));
        }
    }
}

/* All keys are there, in order; their number is the recorded one. */
static void
read_db(MDB_txn *txn, MDB_dbi db)
{
    MDB_cursor *cursor;
    MDB_stat st;
    MDB_val k, v;
    char last[511];
    size_t n = 0, last_size = 0;

    ck_assert(mdb_stat(txn, db, &st) == 0);
    ck_assert(mdb_cursor_open(txn, db, &cursor) == 0);
    while (mdb_cursor_get(cursor, &k, &v, MDB_NEXT) == 0) {
        ck_assert(k.mv_size >= 1 && k.mv_size <= sizeof last);
        size_t both = k.mv_size < last_size ? k.mv_size : last_size;
        int order = memcmp(last, k.mv_data, both);
        ck_assert(n == 0 || order < 0 || (order == 0 && last_size < k.mv_size));
        memcpy(last, k.mv_data, k.mv_size);
        last_size = k.mv_size;
        n++;
    }
    ck_assert(n == st.ms_entries);
    mdb_cursor_close(cursor);
}

/* Every key is found by a search and deleted, forwards or backwards. */
static void
empty_db(MDB_txn *txn, MDB_dbi db, MDB_cursor_op op)
{
    MDB_cursor *cursor;
    MDB_stat st;
    MDB_val k, v;

    ck_assert(mdb_cursor_open(txn, db, &cursor) == 0);
    while (mdb_cursor_get(cursor, &k, &v, op) == 0) {
        MDB_val found;
        ck_assert(mdb_get(txn, db, &k, &found) == 0 && found.mv_size == v.mv_size);
        ck_assert(mdb_cursor_del(cursor, 0) == 0);
    }
    mdb_cursor_close(cursor);
    ck_assert(mdb_stat(txn, db, &st) == 0 && st.ms_entries == 0 && st.ms_depth == 0);
}

/* LMDB crashes here if it can be hurt. The names may be damaged as well as any other key. */
static void
must_not_hurt_lmdb(bool writing)
{
    MDB_env *env = env_open(copy_folder, 0);
    MDB_txn *txn = txn_begin(env, writing ? 0 : MDB_RDONLY);
    MDB_dbi db;

    MUST_LMDB(mdb_dbi_open(txn, NULL, 0, &db));
    read_db(txn, db);
    for (unsigned i = 0; i < DBS; i++) {
        int rc = mdb_dbi_open(txn, db_names[i], 0, &db);
        ck_assert(rc == 0 || rc == MDB_NOTFOUND);
        if (rc == 0)
            read_db(txn, db);
        if (rc == 0 && writing)
            empty_db(txn, db, i % 2 == 0 ? MDB_FIRST : MDB_LAST);
    }
    MUST_LMDB(mdb_txn_commit(txn));
    mdb_env_close(env);
    if (writing)
        ck_assert_int_eq(verify(copy_path, LMDB_EVERYTHING).verdict, LMDB_SOUND);
}

START_TEST(test_random_damage)
{
    size_t n;
    uint8_t *sound = make_image(_i == 0 ? fill_mixed : fill_deep, &n);
    uint8_t *bytes = mem_alloc(n);
    unsigned n_sound = 0, n_damaged = 0;

    random_state = 0x9e3779b97f4a7c15u + (unsigned)_i;
    for (unsigned round = 0; round < 200; round++) {
        memcpy(bytes, sound, n);
        damage_at_random(bytes, n);
        struct lmdb_report trees = verify_image(bytes, n, LMDB_TREES);
        struct lmdb_report all = verify_image(bytes, n, LMDB_EVERYTHING);
        if (trees.verdict != LMDB_SOUND) {
            ck_assert_int_ne(all.verdict, LMDB_SOUND);
            n_damaged++;
            continue;
        }
        n_sound++;
        clear_folder(copy_folder);
        write_file(copy_path, bytes, n);
        must_not_hurt_lmdb(false);
        if (all.verdict == LMDB_SOUND)
            must_not_hurt_lmdb(true);
    }
    ck_assert_uint_gt(n_sound, 20);
    ck_assert_uint_gt(n_damaged, 50);
    free(bytes);
    free(sound);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("lmdb_verify");
    TCase *tc = tcase_create("lmdb_verify");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, test_sound, 0, N_FILLS);
    tcase_add_loop_test(tc, test_sound_after_each_transaction, 3, 6);
    tcase_add_test(tc, test_sound_while_open);
    tcase_add_loop_test(tc, test_sound_copies, 0, N_FILLS);
    tcase_add_test(tc, test_sound_without_folder);
    tcase_add_test(tc, test_report);
    tcase_add_test(tc, test_absent);
    tcase_add_test(tc, test_unreadable);
    tcase_add_test(tc, test_long_name);
    tcase_add_loop_test(tc, test_damage, 0, sizeof damages / sizeof *damages);
    tcase_add_test(tc, test_other_byte_order);
    tcase_add_test(tc, test_truncated);
    tcase_add_test(tc, test_lost_page);
    tcase_add_test(tc, test_file_shorter_than_last_page);
    tcase_add_test(tc, test_spare_pages);
    tcase_add_test(tc, test_failed_commit);
    tcase_add_test(tc, test_unprintable_name);
    tcase_add_loop_test(tc, test_random_damage, 0, 2);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
