#ifndef CONEY_STORAGE_BACKEND_H
#define CONEY_STORAGE_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/slice.h"
#include "storage/store.h"

/*
 * Where a store keeps its rows: ordered tables of byte keys and values, changed by one writer in
 * transactions, read by others in snapshots. LMDB is the real one; memory is for tests; a third
 * wraps another and makes calls of it fail.
 */

enum table {
    TABLE_META, /* see docs/storage-format.md for what is in each */
    TABLE_DEFINITIONS,
    TABLE_QUEUES,
    TABLE_LOG,
    TABLE_DEAD,
    TABLE_SHARED,
    TABLE_COUNT,
};

extern const char *const table_names[TABLE_COUNT];

/* A key has at most this many bytes (LMDB's limit is 511). */
enum { BACKEND_KEY_MAX = 64 };

struct backend;
struct backend_reader;

struct backend_ops {
    const char *name;

    void (*close)(struct backend *be);

    /* --- for the writer's thread --- */

    /* STORE_DAMAGED of put and del leaves the row as it was, and the transaction can go on. After
     * STORE_FULL and STORE_FAILED it cannot: commit gives the same again. */

    enum store_status (*begin)(struct backend *be);
    /* Makes a row, or replaces it; the caller fills *room_r with n bytes before its next call. */
    enum store_status (*put)(struct backend *be, enum table t, struct slice key, size_t n,
                             uint8_t **room_r);
    /* STORE_ABSENT when there is no such row. */
    enum store_status (*del)(struct backend *be, enum table t, struct slice key);
    /* Returns when all is on the disk, or nothing of it will ever be seen; but after STORE_FAILED
     * of LMDB it is not known until a restart which. Ends the transaction either way. */
    enum store_status (*commit)(struct backend *be);
    void (*abort)(struct backend *be);
    /* Asked before a batch is appended to the write-ahead log in front of this backend, which fails
     * so if it is not STORE_OK. NULL: it never has to. */
    enum store_status (*append)(struct backend *be);

    /* --- for any other one thread at a time --- */

    enum store_status (*read_begin)(struct backend *be, struct backend_reader **r_r);
    void (*read_end)(struct backend_reader *r);
    /* What these give is valid until read_end(). STORE_ABSENT: no such row. */
    enum store_status (*get)(struct backend_reader *r, enum table t, struct slice key,
                             struct slice *value_r);
    /* The first row whose key is above `after` (at or above it when `inclusive`). */
    enum store_status (*next)(struct backend_reader *r, enum table t, struct slice after,
                              bool inclusive, struct slice *key_r, struct slice *value_r);

    /* STORE_OK when rows that take so many bytes will find room on the disk: keeps it for them if
     * need be. NULL: always. On the thread of who promises it. */
    enum store_status (*room)(struct backend *be, uint64_t bytes);

    /* A consistent copy into an existing, empty directory, while it is in use. */
    enum store_status (*copy)(struct backend *be, const char *directory, bool compact);
    /* Bytes that the rows take on the disk, and of them bytes that are free for new rows. */
    void (*usage)(struct backend *be, uint64_t *used_r, uint64_t *free_r);
};

struct backend {
    const struct backend_ops *ops;
};

/* How LMDB is opened. */
struct lmdb_options {
    const char *directory; /* exists */
    uint64_t size_max;     /* bytes of address space: what the file may grow to */
    bool sync;             /* false: nothing needs to survive */
    bool read_only;
    bool alone; /* nobody else has it open, which the caller has made sure of: no lock file is made
                 */
};

/* Messages for people go to the log. NULL when it cannot be opened, with the reason logged. */
MUST_USE struct backend *backend_lmdb_open(const struct lmdb_options *options);

MUST_USE struct backend *backend_memory_open(void);

/*
 * Wraps `inner`, which it owns from then on. `spec` names what fails: "CALL:N:ERROR", CALL being
 * write (put and del), read (get and next), commit or log (a batch appended to the write-ahead
 * log), N its number from 1 on, with a + behind it for every one from there on, ERROR being ENOSPC,
 * EIO or MDB_MAP_FULL; several are separated by commas. NULL, and `inner` closed, when the text is
 * none of that.
 */
MUST_USE struct backend *backend_faulty_open(struct backend *inner, const char *spec);

#endif
