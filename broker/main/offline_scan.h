#ifndef CONEY_MAIN_OFFLINE_SCAN_H
#define CONEY_MAIN_OFFLINE_SCAN_H

#include <stdio.h>

#include "broker/main/offline_model.h"
#include "storage/inspect.h"

/*
 * A walk through all of a store: everything is decoded and compared, and what is wrong is told as a
 * line of text that says, too, what the next start will do about it.
 */
struct scan {
    struct inspect *in;
    FILE *to; /* where the lines go */
    uint64_t n_problems;
    struct model model;
    struct scan_shared *shared; /* by id */

    uint64_t n_chunks, n_messages, bytes; /* wanted, as recovery counts them */
    uint64_t n_unwanted_chunks;           /* that wait to be deleted */
    uint64_t n_shared, n_unreferenced;
};

/* Gets a message that is there, wanted and sound. */
typedef void scan_message_fn(void *ctx, const struct model_object *queue, uint64_t seq,
                             const struct store_record *message);

/* The file, the log and the definitions. False when that is all that can be read. */
bool scan_definitions(struct scan *s);

/* Then the messages, by queue and number. `fn` may be NULL. */
void scan_messages(struct scan *s, scan_message_fn *fn, void *ctx);

/* Decodes a row of definitions; false when it is damaged. */
bool scan_decode_definition(struct slice key, struct slice value, struct definition *d_r);

void scan_fini(struct scan *s);

#endif
