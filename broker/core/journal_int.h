#ifndef CONEY_CORE_JOURNAL_INT_H
#define CONEY_CORE_JOURNAL_INT_H

#include "broker/core/htab.h"
#include "broker/core/journal.h"

/* Between the two parts of the journal. */

struct shared {
    uint64_t id;
    uint32_t refs; /* records of open chunks, and chunks that are stored */
    bool is_stored;
    uint64_t batch; /* that writes it */
    UT_hash_handle hh;
};

/* NULL when there is none. */
struct shared *journal_find_shared(struct journal *j, uint64_t id);

/* One reference less; the last one deletes it. */
void journal_release_shared(struct journal *j, uint64_t id);

void journal_free_rows(struct row_change_list *rows);

/* A batch is due at the end of this tick, or when the one under way is done. */
void journal_want_batch(struct journal *j);

/* Lazy work is there. */
void journal_want_timer(struct journal *j);
void journal_on_timer(struct timer *t);

/* Nothing of a stored chunk is wanted any more: it joins a list of those to be deleted. */
void journal_doom(struct journal *j, struct chunk *c, struct chunk_list *list);

/* Its dead set has changed. */
void journal_mark_dirty(struct journal *j, struct chunk *c);

/* It is not, or no longer, in the store. */
void journal_chunk_gone(struct journal *j, struct chunk *c);

#endif
