#ifndef CONEY_STORAGE_STORE_INT_H
#define CONEY_STORAGE_STORE_INT_H

#include <pthread.h>

#include "storage/backend.h"
#include "storage/format.h"
#include "storage/store.h"

/* Between the parts of the store. */

struct space {
    struct backend *backend;
    struct store_writer
        *writer; /* NULL: batches go into the backend, each in a transaction of its own */
    struct workers *thread; /* NULL: work is done by store_poll() */
    bool failed;            /* the writer's: its disk has failed, nothing more is tried */
};

struct store {
    struct space spaces[2]; /* by enum store_space */
    struct workers *reader;
    int lock; /* of the directory, or -1 */
    void (*wake)(void *ctx);
    void *wake_ctx;
    size_t n_out;          /* batches and loads that have not been answered; the owner's */
    pthread_mutex_t mutex; /* for what follows */
    pthread_cond_t answered;
    STAILQ_HEAD(, store_batch) done_batches;
    STAILQ_HEAD(, store_load) done_loads;
    STAILQ_HEAD(, job) todo; /* without threads */
    bool woken;
};

struct change {
    enum { PUT_ROW, PUT_CHUNK, PUT_SHARED, DELETE_ROW } what;
    enum table table;
    struct key key;
    struct chunk_head head; /* PUT_CHUNK */
    union {
        struct slice value;                 /* PUT_ROW: malloc'ed */
        const struct store_record *records; /* PUT_CHUNK */
        struct store_record record;         /* PUT_SHARED */
    };
};

struct store_batch {
    struct job job;
    struct store *store;
    struct space *space;
    struct change *changes;
    size_t n, cap;
    store_done_fn *done;
    void *ctx;
    enum store_status status;
    STAILQ_ENTRY(store_batch) link;
};

/* Name of the row in TABLE_META that says which format this is, and of the one with the next free
 * id. */
#define META_FORMAT "format"
#define META_NEXT_ID "next-id"
/* The last batch of the write-ahead log that is in the database. */
#define META_APPLIED "applied"

/* What the row META_FORMAT says. */
enum store_format {
    STORE_FORMAT_READABLE,
    STORE_FORMAT_ABSENT,
    STORE_FORMAT_DAMAGED, /* this and the rest with the reason logged */
    STORE_FORMAT_OTHER,   /* of another version of this program */
    STORE_FORMAT_UNREADABLE,
};

enum store_format store_read_format(struct backend *be);

/*
 * The lock of a data directory, a descriptor to be closed; or -1, with the reason logged. With
 * `create` it is made if it is not there; without, and opened for reading only, there is no error
 * then, but errno is ENOENT: nobody has ever used the directory as it is here.
 */
int store_lock(const char *directory, bool create);

/* Removes what a compaction that was killed has left behind; false with the reason logged. */
bool store_remove_leftovers(const char *directory);

/* Looks through directory/data.mdb and opens it; NULL with the reason logged. */
struct backend *store_open_database(const char *directory, uint64_t size_max);

/* Takes a row out. What is not there, or cannot be taken out without harm to the rest, is left
 * alone: nobody refers to it any more. */
enum store_status batch_delete_row(struct backend *be, enum table t, struct slice key);

/* The value that a change puts: its bytes, 0 for a deletion; and writes them. */
size_t batch_value_size(const struct change *c);
void batch_encode_value(uint8_t *to, const struct change *c);

/* Makes all changes of a batch in the transaction that is open. */
enum store_status batch_apply(struct backend *be, const struct store_batch *b);

/* Call with the mutex held: an answer has been put into its list. Releases it. */
void store_answered(struct store *s);

#endif
