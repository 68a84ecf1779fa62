#ifndef CONEY_STORAGE_FORMAT_H
#define CONEY_STORAGE_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "storage/backend.h"
#include "storage/store.h"

/*
 * The bytes of keys and values, version 1, as docs/storage-format.md describes them. All numbers
 * are big-endian; every value and every key of a chunk carries a checksum (XXH3), and reading
 * checks everything as if it came from a peer. Decoders return false for what cannot be right.
 */

enum {
    FORMAT_VERSION = 1,
    FORMAT_ENCODING_PLAIN = 0,

    FORMAT_CHUNK_KEY_SIZE = 40,
    FORMAT_CHUNK_ROW_KEY_SIZE = 16, /* of what belongs to a chunk: queue, first */
    FORMAT_CHUNK_HEAD_SIZE = 48,    /* of its value: the key again, a checksum */
    FORMAT_RECORD_SIZE = 24,        /* a message's entry in the directory behind that */
    FORMAT_SHARED_HEAD_SIZE = 32,
    FORMAT_FRAME_SIZE = 9, /* version and checksum of a small value */
};

/* --- keys --- */

struct key {
    uint8_t n;
    uint8_t bytes[BACKEND_KEY_MAX];
};

static inline struct slice
key_slice(const struct key *k)
{
    return slice_of(k->bytes, k->n);
}

/* Of definitions, queue states and shared messages: the id. */
struct key format_id_key(uint64_t id);
bool format_id_key_decode(struct slice key, uint64_t *id_r);

struct key format_meta_key(const char *name);

struct key format_chunk_key(const struct chunk_head *head);
bool format_chunk_key_decode(struct slice key, struct chunk_head *head_r);

/* Of a dead set. */
struct key format_dead_key(const struct chunk_head *head);
bool format_dead_key_decode(struct slice key, uint64_t *queue_r, uint64_t *first_r);

/* --- small values: version, payload, checksum over key and both --- */

/* Writes payload.n + FORMAT_FRAME_SIZE bytes. */
void format_frame(uint8_t *to, struct slice key, struct slice payload);
bool format_unframe(struct slice key, struct slice value, struct slice *payload_r);

/* Payloads of their kinds. Encoders return malloc'ed bytes. */
uint8_t *format_queue_state(const struct store_queue_state *state, size_t *n_r);
/* The ranges are malloc'ed, the caller's. */
bool format_queue_state_decode(struct slice payload, struct store_queue_state *state_r,
                               struct store_range **ranges_r);
uint8_t *format_dead(const struct chunk_dead *dead, uint32_t span, size_t *n_r);
bool format_dead_decode(struct slice payload, uint32_t span, struct chunk_dead *dead_r);

/* --- chunks --- */

size_t format_chunk_size(const struct chunk_head *head, const struct store_record *records);

/* Writes a chunk of that size. */
void format_chunk(uint8_t *to, const struct chunk_head *head, const struct store_record *records);

/*
 * Checks head and directory of a chunk. `records_r` gets head->n records that point into the value;
 * those with damaged data have bytes NULL; a shared one has bytes NULL and its id. It is malloc'ed,
 * the caller's.
 */
bool format_chunk_decode(struct slice value, const struct chunk_head *head,
                         struct store_record **records_r);

/* The head as the value has it, for when the key is damaged. */
bool format_chunk_head_decode(struct slice value, struct chunk_head *head_r);

/* --- shared messages --- */

size_t format_shared_size(const struct store_record *r);
void format_shared(uint8_t *to, uint64_t id, const struct store_record *r);
bool format_shared_decode(struct slice value, uint64_t id, struct store_record *r_r);

#endif
