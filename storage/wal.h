#ifndef CONEY_STORAGE_WAL_H
#define CONEY_STORAGE_WAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/slice.h"
#include "storage/store.h"

/*
 * The write-ahead log: batches are appended to it and synced, which costs one write, and reach the
 * database later, many in one transaction. Two files take turns: one is written while what is in
 * the other goes to the database.
 *
 * A record is a batch: a header, then the batch's bytes, in whole blocks. The headers of one
 * filling of a segment carry the same salt, a random number, so that what an earlier filling left
 * behind, or what a publisher puts into a message, is never taken for a record.
 */
struct wal;

enum {
    WAL_BLOCK = 4096,
    WAL_HEADER = 64,
    WAL_SEGMENTS = 2,
};

/* Bytes of the segments, room for batches up to about this size. */
struct wal_options {
    const char *directory;
    uint64_t segment_size;
    bool read_only; /* for wal_replay() alone; what is not there is empty */
};

/* NULL with the reason logged. */
MUST_USE struct wal *wal_open(const struct wal_options *options);

void wal_close(struct wal *w);

/* A batch that is found; `bytes` lasts for the call. False stops. */
typedef bool wal_batch_fn(void *ctx, uint64_t number, struct slice bytes);

struct wal_report {
    uint64_t n;    /* batches given out */
    uint64_t lost; /* batches that must have been there, and are damaged */
};

/*
 * Gives out all batches with numbers above `after`, in their order. The last one may have been cut
 * off by the end of the process that wrote it: nobody was told that it is safe. False when the
 * files cannot be read.
 */
bool wal_replay(struct wal *w, uint64_t after, wal_batch_fn *fn, void *ctx,
                struct wal_report *report_r);

/* --- writing, by one thread --- */

/* Memory for the record of a batch of n bytes: the batch goes behind WAL_HEADER. To be released by
 * free(). */
MUST_USE uint8_t *wal_buffer(size_t n);

/* Bytes that such a record takes. */
static inline size_t
wal_record_size(size_t n)
{
    return (WAL_HEADER + n + WAL_BLOCK - 1) / WAL_BLOCK * WAL_BLOCK;
}

/* True when the record fits into what is left of the segment that is being written. */
bool wal_has_room(const struct wal *w, size_t record_size);

/* Which segment that is. */
unsigned wal_current(const struct wal *w);

/* Goes on at the beginning of the other one, whose batches must all be in the database. */
void wal_turn(struct wal *w);

/* The disk has no room for more of this segment: another turn of it may have. */
void wal_fill(struct wal *w);

/* Writes a record and syncs it. STORE_FULL: nothing has happened, and the segment has no more room.
 */
enum store_status wal_append(struct wal *w, uint8_t *buffer, size_t n, uint64_t number);

#endif
