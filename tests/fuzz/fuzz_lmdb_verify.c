/*
 * The data file of an LMDB environment. Whatever is found sound is then opened by LMDB, which
 * crashes on a damaged file, and read from end to end.
 *
 * Pages are mostly zeros, so these are counted in the input: 0 N stands for N + 1 of them.
 */
#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <lmdb.h>
#include <sys/mman.h>
#include <unistd.h>

#include "storage/lmdb_verify.h"

#define FILE_PAGE_SIZE 4096
#define FILE_PAGES_MAX 256

/* In a block of its very size. */
static struct slice
unpack(const uint8_t *data, size_t size)
{
    static uint8_t file[FILE_PAGES_MAX * FILE_PAGE_SIZE];
    size_t n = 0;

    for (size_t i = 0; i < size && n < sizeof file; i++) {
        size_t run = data[i] == 0 && i + 1 < size ? (size_t)data[i + 1] + 1 : 1;
        if (run > sizeof file - n)
            run = sizeof file - n;
        memset(file + n, data[i], run);
        n += run;
        if (data[i] == 0)
            i++;
    }
    return exact_copy(slice_of(file, n), 0);
}

static bool
same_bytes_at_ends(MDB_val v, MDB_val w)
{
    const uint8_t *a = v.mv_data, *b = w.mv_data;
    size_t n = v.mv_size;

    return n == w.mv_size && (n == 0 || (a[0] == b[0] && a[n - 1] == b[n - 1]));
}

/* Each key is met in its turn and found by a search. */
static void
read_db(MDB_txn *txn, MDB_dbi db)
{
    MDB_cursor *cursor;
    MDB_stat st;
    MDB_val k, v, found;
    size_t n = 0;

    MUST(mdb_stat(txn, db, &st) == 0);
    MUST(mdb_cursor_open(txn, db, &cursor) == 0);
    while (mdb_cursor_get(cursor, &k, &v, MDB_NEXT) == 0) {
        MUST(mdb_get(txn, db, &k, &found) == 0 && same_bytes_at_ends(v, found));
        n++;
    }
    MUST(n == st.ms_entries);
    mdb_cursor_close(cursor);
}

static void
read_named(MDB_txn *txn, MDB_dbi main_db)
{
    MDB_cursor *cursor;
    MDB_val k, v;
    char name[512];
    MDB_dbi db;

    MUST(mdb_cursor_open(txn, main_db, &cursor) == 0);
    while (mdb_cursor_get(cursor, &k, &v, MDB_NEXT) == 0) {
        memcpy(name, k.mv_data, k.mv_size);
        name[k.mv_size] = '\0';
        int rc = strlen(name) == k.mv_size ? mdb_dbi_open(txn, name, 0, &db) : MDB_NOTFOUND;
        MUST(rc == 0 || rc == MDB_NOTFOUND || rc == MDB_INCOMPATIBLE || rc == MDB_DBS_FULL);
        if (rc == 0)
            read_db(txn, db);
    }
    mdb_cursor_close(cursor);
}

static void
read_with_lmdb(struct slice file)
{
    char path[64];
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi db;
    int fd = memfd_create("fuzz", MFD_CLOEXEC);

    MUST(fd >= 0 && write(fd, file.p, file.n) == (ssize_t)file.n);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    MUST(mdb_env_create(&env) == 0 && mdb_env_set_maxdbs(env, 16) == 0);
    MUST(mdb_env_set_mapsize(env, (size_t)64 << 20) == 0);
    MUST(mdb_env_open(env, path, MDB_NOSUBDIR | MDB_RDONLY | MDB_NOLOCK, 0) == 0);
    MUST(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn) == 0);
    MUST(mdb_dbi_open(txn, NULL, 0, &db) == 0);
    read_db(txn, db);
    read_named(txn, db);
    mdb_txn_abort(txn);
    mdb_env_close(env);
    close(fd);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice file = unpack(data, size);
    struct lmdb_report trees, all;

    lmdb_verify_image(file, FILE_PAGE_SIZE, "fuzz", LMDB_TREES, &trees);
    lmdb_verify_image(file, FILE_PAGE_SIZE, "fuzz", LMDB_EVERYTHING, &all);
    MUST(strncmp(trees.text, "fuzz: ", 6) == 0 && strncmp(all.text, "fuzz: ", 6) == 0);
    MUST(trees.verdict == LMDB_SOUND || trees.verdict == all.verdict);
    if (trees.verdict == LMDB_SOUND) {
        MUST(trees.used_pages + trees.free_pages + trees.lost_pages + 2 == trees.pages);
        MUST(all.verdict != LMDB_SOUND || trees.used_pages == all.used_pages);
        if (sysconf(_SC_PAGESIZE) == FILE_PAGE_SIZE)
            read_with_lmdb(file);
    }
    exact_free(file);
    return 0;
}
