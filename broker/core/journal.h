#ifndef CONEY_CORE_JOURNAL_H
#define CONEY_CORE_JOURNAL_H

#include <bsd/sys/queue.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/core/chunk.h"
#include "broker/core/timers.h"

struct broker;
struct channel;
struct connection;
struct queue;

/*
 * What the store must be told. Changes are made in memory at once and collected here; when the
 * store has finished a batch, everything that has collected since becomes the next one (group
 * commit). What is already over by then, a message that has been acknowledged say, is never
 * written. The end of a batch releases what waited for it: confirms, and replies that must not
 * leave earlier.
 *
 * Settlements are lazy: dead sets and what has been delivered go out every JOURNAL_LAZY ms, or with
 * the batch of a transaction.
 */
enum {
    JOURNAL_LAZY = 100,        /* ms */
    JOURNAL_RETRY = 500,       /* ms between attempts while there is no space */
    JOURNAL_DELETIONS = 256,   /* settled chunks that one batch deletes: it must not take long */
    JOURNAL_BURIALS = 64,      /* and of those, ones of purged and deleted queues */
    JOURNAL_BEHIND = 8 << 20,  /* bytes not written above which publishers wait */
    JOURNAL_SHARED_MIN = 4096, /* a smaller body is stored with each queue's messages */
};

/* Publishes of a channel that wait for a batch: confirms first .. last. */
struct confirm_run {
    struct channel *channel; /* NULL: it is gone */
    uint64_t first, last;
    bool is_waiting; /* for the batch to come, which may have more of it */
    TAILQ_ENTRY(confirm_run) link;
    LIST_ENTRY(confirm_run) channel_link; /* channel->runs */
};

TAILQ_HEAD(confirm_run_list, confirm_run);
LIST_HEAD(channel_run_list, confirm_run);

/* A connection's output that waits: nothing from a position on is written before. */
#define NO_FENCE UINT64_MAX

struct fence {
    uint64_t position; /* of the connection's output, counted from its beginning; or NO_FENCE */
    struct connection *connection;
    TAILQ_ENTRY(fence) link;
};

TAILQ_HEAD(fence_list, fence);

/* A change of a definition or another small row. */
struct row_change {
    enum {
        ROW_PUT_DEFINITION,
        ROW_DEL_DEFINITION,
        ROW_DEL_QUEUE_STATE,
        ROW_DEL_SHARED,
        ROW_NEXT_ID,
    } what;
    uint64_t id;
    uint8_t kind;
    struct slice payload; /* malloc'ed */
    TAILQ_ENTRY(row_change) link;
};

TAILQ_HEAD(row_change_list, row_change);

TAILQ_HEAD(journal_queue_list, queue);

/* What goes together into one batch. */
struct parcel {
    struct row_change_list rows;
    struct chunk_list chunks; /* to be written */
    struct confirm_run_list runs;
    struct fence_list fences;
};

struct shared; /* a message stored for several chunks */

struct journal {
    struct broker *broker;
    struct store *store; /* NULL: nothing is durable */
    struct parcel waiting, flying;
    struct chunk_list dirty, flying_dirty;           /* dead sets to be written */
    struct chunk_list doomed, buried, flying_doomed; /* to be deleted: settled, and others */
    struct journal_queue_list states, flying_states; /* queues whose state is to be written */
    struct shared *shared;                           /* by id */
    struct timer timer;                              /* lazy things, and retries */
    uint64_t behind;               /* bytes of messages that are not written yet */
    uint64_t next_id, reserved_id; /* ids below `reserved` may be given out */
    uint64_t n_batches;
    uint64_t retry_at; /* ms; while there is no space */
    bool is_flying;    /* a batch is under way */
    bool is_partial;   /* it has the deletions only */
    bool is_urgent;    /* something waits for a batch */
    bool with_dead;    /* the next batch writes all dead sets and states */
    bool in_tx;        /* a transaction is being applied */
    bool is_full;      /* the last batch found no space */
    bool gives_turn;   /* the next turn of the loop is for those who have just been answered */
    bool has_failed;
};

void journal_init(struct journal *j, struct broker *b);
/* Lets go of what was never written; before the vhosts go. */
void journal_drop(struct journal *j);
void journal_fini(struct journal *j);

/* Attaches the store; recovery comes next. */
void journal_open(struct journal *j, struct store *s);

/* The last phase of a tick: hands a batch to the store if there is something for it. True when it
 * is to be called again in the next one. */
bool journal_commit(struct journal *j);

/*
 * Writes everything, waiting for the store, and detaches from it: for the orderly end, before what
 * is in memory is taken down.
 */
void journal_close(struct journal *j);

/* An id that was never used before. */
uint64_t journal_new_id(struct journal *j);

/* --- definitions --- */

void journal_put_definition(struct journal *j, uint64_t id, uint8_t kind, struct slice payload);
void journal_del_definition(struct journal *j, uint64_t id);

/* --- messages --- */

/*
 * A persistent message enters a durable queue; returns the chunk that it is in, NULL when nothing
 * can be stored. `shared` is 0 or what journal_share() gave for it.
 */
struct chunk *journal_add(struct journal *j, struct queue *q, struct message *m, uint64_t seq,
                          uint64_t shared);

/*
 * A new chunk for messages that are stored in smaller ones, of which this is the first; to be
 * filled by journal_move(). It is written by the next batch, which deletes the others.
 */
struct chunk *journal_merge(struct journal *j, struct chunk *first);
void journal_move(struct journal *j, struct chunk *to, struct message *m, uint64_t seq);
/* All messages of this one have been moved. */
void journal_replace(struct chunk *to, struct chunk *from);

/* An id by which several chunks may refer to one large message. */
uint64_t journal_share(struct journal *j);

/* A stored message of the queue is settled. */
void journal_settle(struct journal *j, struct chunk *c, uint64_t seq, uint64_t body_len);

/* The `n` messages of it between two numbers that are not settled yet are. */
void journal_settle_range(struct journal *j, struct chunk *c, uint64_t from, uint64_t to,
                          uint32_t n, uint64_t bytes);

/* Nothing of a stored chunk is wanted any more, since its queue has been purged or deleted. */
void journal_bury(struct journal *j, struct chunk *c);

/* A transaction is being applied until journal_end_tx(): all of it goes into the next batch. */
void journal_begin_tx(struct journal *j);
void journal_end_tx(struct journal *j);

/* What is known of the queue (delivered, purged) has changed. */
void journal_touch(struct journal *j, struct queue *q);

/* The same, and the next batch, which is due at once, has it. */
void journal_touch_now(struct journal *j, struct queue *q);

/* The queue is deleted: nothing of it is written any more, what is written goes by and by. */
void journal_forget_queue(struct journal *j, struct queue *q);

/* True when definitions and messages can be stored, or need not be. */
static inline bool
journal_works(const struct journal *j)
{
    return !j->has_failed;
}

/* --- what waits --- */

/* Publish `seq` of a channel is confirmed when the next batch is on the disk. */
void journal_confirm(struct journal *j, struct channel *ch, uint64_t seq);

/* The channel goes: its runs lead nowhere. */
void journal_forget_channel(struct channel *ch);

/*
 * What is written to the connection from now on leaves after the next batch. Only if a batch is due
 * that is more than lazy work.
 */
void journal_fence(struct journal *j, struct connection *c);

void journal_forget_connection(struct connection *c);

/* True when publishers should wait. */
static inline bool
journal_is_behind(const struct journal *j)
{
    return j->behind > JOURNAL_BEHIND;
}

/* --- recovery --- */

void journal_recovered_id(struct journal *j, uint64_t id);
void journal_recovered_shared(struct journal *j, uint64_t id);
/* A chunk that nobody owns, but is kept, refers to these. */
void journal_recovered_orphan(struct journal *j, const uint64_t *ids, uint32_t n);
/* The chunk refers to these. */
void journal_recovered_references(struct journal *j, struct chunk *c, const uint64_t *ids,
                                  uint32_t n);
/* All chunks are there: shared messages that none refers to go. */
void journal_recovered(struct journal *j);

#endif
