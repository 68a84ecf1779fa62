#ifndef CONEY_STORAGE_WRITER_H
#define CONEY_STORAGE_WRITER_H

#include "base/buf.h"
#include "storage/store_int.h"

/*
 * How batches reach the disk. With a write-ahead log a batch is safe, and answered, when it is in
 * the log; a second thread brings what has collected there into the database, in one transaction
 * now and then. What is deleted before that, as most messages are that are consumed soon, never
 * gets there. A large batch goes to the database itself, along with what is waiting, rather than
 * being written twice.
 */
struct store_writer;

/* The writer of a backend with a log in `directory`. NULL with the reason logged. Brings into the
 * database what an earlier process left in the log. */
MUST_USE struct store_writer *writer_open(struct backend *be, const char *directory);

/* Brings everything into the database and ends. */
void writer_close(struct store_writer *w);

/* Makes a batch safe; on the writer's thread. */
enum store_status writer_write(struct store_writer *w, const struct store_batch *b);

/* Brings everything into the database that is safe by now; false when it cannot. From any thread.
 */
bool writer_flush(struct store_writer *w);

/* The last batch of the log that is in the database; STORE_DAMAGED, with the reason logged, when
 * that cannot be told. */
enum store_status writer_read_applied(struct backend *be, uint64_t *number_r);

/* A change of a batch as it is in the log; borrows from it. */
struct writer_change {
    bool is_put; /* else the row is deleted */
    enum table table;
    struct slice key, value;
};

/* Takes the next change off a batch's bytes. False at the end or when they make no sense (r->bad):
 * then nothing of the batch is done. */
bool writer_next_change(struct reader *r, struct writer_change *c_r);

/* A row that is safe and not in the database yet: a copy, malloc'ed, or NULL. From any thread. */
uint8_t *writer_find(struct store_writer *w, enum table t, struct slice key, size_t *n_r);

#endif
