/*
 * Writes the first inputs of fuzz_lmdb_verify into a folder: make_lmdb_images DIR. LMDB makes them,
 * with pages of the machine's size, which must be 4,096 bytes. See fuzz_lmdb_verify.c for their
 * form.
 */
#include "tests/fuzz/fuzz.h"

#include <lmdb.h>
#include <unistd.h>

/* Zeros make a small input of a long key or value. */
static void
put(MDB_txn *txn, const char *db_name, size_t width, unsigned number, size_t size)
{
    uint8_t key[512] = {0};
    MDB_val k = {width, key}, v = {size, NULL};
    MDB_dbi db;

    key[width - 1] = (uint8_t)number;
    MUST(mdb_dbi_open(txn, db_name, MDB_CREATE, &db) == 0);
    MUST(mdb_put(txn, db, &k, &v, MDB_RESERVE) == 0);
    memset(v.mv_data, 0, size);
}

static MDB_txn *
begin(MDB_env *env)
{
    MDB_txn *txn;

    MUST(mdb_txn_begin(env, NULL, 0, &txn) == 0);
    return txn;
}

static void
commit(MDB_txn *txn)
{
    MUST(mdb_txn_commit(txn) == 0);
}

static void
fill_empty(MDB_env *env)
{
    (void)env;
}

static void
fill_few(MDB_env *env)
{
    MDB_txn *txn = begin(env);
    put(txn, "queues", 4, 1, 10);
    put(txn, "queues", 4, 2, 0);
    put(txn, "vhosts", 4, 1, 30);
    commit(txn);
}

static void
fill_main(MDB_env *env)
{
    MDB_txn *txn = begin(env);
    for (unsigned i = 0; i < 12; i++)
        put(txn, NULL, 300, i, 100);
    commit(txn);
}

static void
fill_large(MDB_env *env)
{
    MDB_txn *txn = begin(env);
    put(txn, "bodies", 2, 1, 9000);
    put(txn, "bodies", 2, 2, 4080);
    put(txn, "bodies", 2, 3, 9000);
    put(txn, "bodies", 2, 3, 100);
    commit(txn);
}

static void
fill_free(MDB_env *env)
{
    for (unsigned i = 0; i < 5; i++) {
        MDB_txn *txn = begin(env);
        put(txn, "bodies", 2, i % 2, 5000);
        put(txn, "queues", 4, i, 20);
        commit(txn);
    }
}

/* Branches of the smallest kind, in three levels. */
static void
fill_deep(MDB_env *env)
{
    MDB_txn *txn = begin(env);
    for (unsigned i = 0; i < 36; i++)
        put(txn, "deep", 500, i, 1400);
    commit(txn);
}

/* A free list with a value that has pages of its own, in more than one page. */
static void
fill_long_free_list(MDB_env *env)
{
    MDB_txn *txn = begin(env);
    for (unsigned i = 0; i < 5; i++)
        put(txn, "bodies", 2, i, 160000);
    commit(txn);
    txn = begin(env);
    MDB_dbi db;
    MUST(mdb_dbi_open(txn, "bodies", 0, &db) == 0 && mdb_drop(txn, db, 0) == 0);
    commit(txn);
}

/* Zeros are counted, see fuzz_lmdb_verify.c. */
static void
pack(FILE *from, FILE *to)
{
    int c = getc(from);

    while (c != EOF) {
        putc(c, to);
        if (c != 0) {
            c = getc(from);
            continue;
        }
        int more = 0;
        while ((c = getc(from)) == 0 && more < 255)
            more++;
        putc(more, to);
    }
}

static void
make(const char *folder, const char *name, void (*fill)(MDB_env *))
{
    char *from = mem_printf("%s/image.tmp", folder), *to = mem_printf("%s/seed-%s", folder, name);
    MDB_env *env;

    unlink(from);
    MUST(mdb_env_create(&env) == 0 && mdb_env_set_maxdbs(env, 4) == 0);
    MUST(mdb_env_open(env, from, MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOSYNC, 0666) == 0);
    fill(env);
    mdb_env_close(env);
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    MUST(in != NULL && out != NULL);
    pack(in, out);
    MUST(fclose(in) == 0 && fclose(out) == 0);
    unlink(from);
    free(from);
    free(to);
}

int
main(int argc, char **argv)
{
    if (argc != 2 || sysconf(_SC_PAGESIZE) != 4096) {
        fprintf(stderr, "usage: make_lmdb_images DIR, where pages have 4096 bytes\n");
        return EXIT_FAILURE;
    }
    make(argv[1], "empty", fill_empty);
    make(argv[1], "few", fill_few);
    make(argv[1], "main", fill_main);
    make(argv[1], "large", fill_large);
    make(argv[1], "free", fill_free);
    make(argv[1], "deep", fill_deep);
    make(argv[1], "long-free-list", fill_long_free_list);
    return EXIT_SUCCESS;
}
