#ifndef CONEY_STORAGE_INSPECT_H
#define CONEY_STORAGE_INSPECT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/slice.h"
#include "storage/lmdb_verify.h"
#include "storage/store_int.h"
#include "storage/wal.h"

/*
 * A store that nobody uses, looked at without changing a byte of it: for programs that check or
 * print it.
 *
 * What is safe is in two places, the database and the write-ahead log, and only opening the store
 * brings the one into the other. So the log's batches are read into memory here, the last change of
 * each row, and laid over the database's rows: what inspect_next() gives is what the next start
 * would find. That is no more memory than the log is large.
 */
struct inspect;

struct inspect_findings {
    struct lmdb_report file; /* of data.mdb, everything looked at */
    bool has_rows; /* there are rows to look at: if not, it is because of the file's damage */
    enum store_format format; /* never STORE_FORMAT_OTHER; this and the rest with has_rows */
    bool applied_is_damaged;  /* it is not known which batches are in the database: none is taken */
    struct wal_report log;    /* batches that are not in the database */
    uint64_t log_bytes;       /* of them */
    uint64_t
        n_nonsense; /* of them, with a right checksum, and yet not what could have been written */
};

/*
 * Takes the lock of the data directory, if there is one. NULL, with the reason logged, when the
 * directory is in use, has no store, or has one that this program cannot judge: of another format
 * or machine.
 */
MUST_USE struct inspect *inspect_open(const char *directory);

void inspect_close(struct inspect *in);

const struct inspect_findings *inspect_findings(const struct inspect *in);

/*
 * The first row of a table whose key is above `after` (at or above it when `inclusive`);
 * STORE_ABSENT when there is none. The slices are good until inspect_close().
 */
enum store_status inspect_next(struct inspect *in, enum table t, struct slice after, bool inclusive,
                               struct slice *key_r, struct slice *value_r);

enum store_status inspect_get(struct inspect *in, enum table t, struct slice key,
                              struct slice *value_r);

#endif
