#include "storage/format.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/buf.h"
#include "base/mem.h"

enum { FLAG_HAS_SHARED = 1, RECORD_IS_SHARED = 1 };

/* --- keys --- */

struct key
format_id_key(uint64_t id)
{
    struct key k = {.n = 8};

    put_u64(k.bytes, id);
    return k;
}

bool
format_id_key_decode(struct slice key, uint64_t *id_r)
{
    if (key.n != 8)
        return false;
    *id_r = get_u64(key.p);
    return true;
}

struct key
format_meta_key(const char *name)
{
    struct key k = {.n = (uint8_t)strlen(name)};

    memcpy(k.bytes, name, k.n);
    return k;
}

/* A chunk's head is in its key: recovery then reads the tree's leaves only, not the messages'
 * pages. */
struct key
format_chunk_key(const struct chunk_head *head)
{
    struct key k = {.n = FORMAT_CHUNK_KEY_SIZE};
    uint8_t *p = k.bytes;

    put_u64(p, head->queue);
    put_u64(p + 8, head->first);
    p[16] = FORMAT_VERSION;
    p[17] = FORMAT_ENCODING_PLAIN;
    p[18] = head->priority;
    p[19] = head->has_shared ? FLAG_HAS_SHARED : 0;
    put_u32(p + 20, head->n);
    put_u32(p + 24, head->span);
    put_u64(p + 28, head->bytes);
    put_u32(p + 36, (uint32_t)XXH3_64bits(p, 36));
    return k;
}

bool
format_chunk_key_decode(struct slice key, struct chunk_head *head_r)
{
    const uint8_t *p = key.p;

    if (key.n != FORMAT_CHUNK_KEY_SIZE || get_u32(p + 36) != (uint32_t)XXH3_64bits(p, 36))
        return false;
    head_r->queue = get_u64(p);
    head_r->first = get_u64(p + 8);
    head_r->priority = p[18];
    head_r->has_shared = (p[19] & FLAG_HAS_SHARED) != 0;
    head_r->n = get_u32(p + 20);
    head_r->span = get_u32(p + 24);
    head_r->bytes = get_u64(p + 28);
    return p[16] == FORMAT_VERSION && p[17] == FORMAT_ENCODING_PLAIN && p[19] <= FLAG_HAS_SHARED &&
           head_r->span <= CHUNK_SPAN_MAX && head_r->n - 1 <= head_r->span &&
           head_r->first <= UINT64_MAX - head_r->span;
}

struct key
format_dead_key(const struct chunk_head *head)
{
    struct key k = {.n = FORMAT_CHUNK_ROW_KEY_SIZE};

    put_u64(k.bytes, head->queue);
    put_u64(k.bytes + 8, head->first);
    return k;
}

bool
format_dead_key_decode(struct slice key, uint64_t *queue_r, uint64_t *first_r)
{
    if (key.n != FORMAT_CHUNK_ROW_KEY_SIZE)
        return false;
    *queue_r = get_u64(key.p);
    *first_r = get_u64(key.p + 8);
    return true;
}

/* --- small values --- */

static uint64_t
frame_check(struct slice key, const uint8_t *value, size_t n)
{
    return XXH3_64bits_withSeed(value, n, XXH3_64bits(key.p, key.n));
}

void
format_frame(uint8_t *to, struct slice key, struct slice payload)
{
    to[0] = FORMAT_VERSION;
    if (payload.n != 0)
        memcpy(to + 1, payload.p, payload.n);
    put_u64(to + 1 + payload.n, frame_check(key, to, 1 + payload.n));
}

bool
format_unframe(struct slice key, struct slice value, struct slice *payload_r)
{
    if (value.n < FORMAT_FRAME_SIZE)
        return false;
    size_t n = value.n - 8;
    if (get_u64(value.p + n) != frame_check(key, value.p, n) || value.p[0] != FORMAT_VERSION)
        return false;
    *payload_r = slice_of(value.p + 1, n - 1);
    return true;
}

uint8_t *
format_queue_state(const struct store_queue_state *state, size_t *n_r)
{
    size_t n = 8 + 4 + 16 * (size_t)state->n_purged;
    uint8_t *bytes = mem_alloc(n);
    struct writer w = writer_init(bytes, n);

    write_u64(&w, state->delivered);
    write_u32(&w, state->n_purged);
    for (uint32_t i = 0; i < state->n_purged; i++) {
        write_u64(&w, state->purged[i].from);
        write_u64(&w, state->purged[i].to);
    }
    *n_r = n;
    return bytes;
}

bool
format_queue_state_decode(struct slice payload, struct store_queue_state *state_r,
                          struct store_range **ranges_r)
{
    struct reader r = reader_init(payload);

    state_r->delivered = read_u64(&r);
    state_r->n_purged = read_u32(&r);
    if (r.bad || reader_left(&r) != 16 * (size_t)state_r->n_purged)
        return false;
    struct store_range *ranges = mem_resize(NULL, state_r->n_purged + 1U, sizeof *ranges);
    for (uint32_t i = 0; i < state_r->n_purged; i++) {
        ranges[i].from = read_u64(&r);
        ranges[i].to = read_u64(&r);
    }
    state_r->purged = *ranges_r = ranges;
    return true;
}

uint8_t *
format_dead(const struct chunk_dead *dead, uint32_t span, size_t *n_r)
{
    size_t n = 4 + 8 + chunk_dead_size(span);
    uint8_t *bytes = mem_alloc(n);
    struct writer w = writer_init(bytes, n);

    write_u32(&w, dead->n);
    write_u64(&w, dead->bytes);
    write_bytes(&w, slice_of(dead->bits, chunk_dead_size(span)));
    *n_r = n;
    return bytes;
}

bool
format_dead_decode(struct slice payload, uint32_t span, struct chunk_dead *dead_r)
{
    struct reader r = reader_init(payload);

    dead_r->n = read_u32(&r);
    dead_r->bytes = read_u64(&r);
    dead_r->bits = read_bytes(&r, chunk_dead_size(span)).p;
    return reader_done(&r);
}

/* --- chunks --- */

static size_t
data_size(const struct store_record *r)
{
    return r->shared != 0 ? 8 : store_record_size(r);
}

size_t
format_chunk_size(const struct chunk_head *head, const struct store_record *records)
{
    size_t n = FORMAT_CHUNK_HEAD_SIZE + (size_t)head->n * FORMAT_RECORD_SIZE;

    for (uint32_t i = 0; i < head->n; i++)
        n += data_size(&records[i]);
    return n;
}

/* Over the key's copy and the directory, whose entries have checksums of the messages. */
static uint64_t
head_check(const uint8_t *value, uint32_t n)
{
    uint64_t key = XXH3_64bits(value, FORMAT_CHUNK_KEY_SIZE);

    return XXH3_64bits_withSeed(value + FORMAT_CHUNK_HEAD_SIZE, (size_t)n * FORMAT_RECORD_SIZE,
                                key);
}

void
format_chunk(uint8_t *to, const struct chunk_head *head, const struct store_record *records)
{
    struct key key = format_chunk_key(head);
    uint8_t *entry = to + FORMAT_CHUNK_HEAD_SIZE;
    uint8_t *data = entry + (size_t)head->n * FORMAT_RECORD_SIZE;

    memcpy(to, key.bytes, FORMAT_CHUNK_KEY_SIZE);
    for (uint32_t i = 0; i < head->n; i++, entry += FORMAT_RECORD_SIZE) {
        const struct store_record *r = &records[i];
        size_t n = data_size(r);

        if (r->shared != 0)
            put_u64(data, r->shared);
        else
            memcpy(data, r->bytes, n);
        put_u32(entry, r->offset);
        put_u32(entry + 4, r->props_len);
        put_u32(entry + 8, r->body_len);
        put_u16(entry + 12, r->address_len);
        entry[14] = r->shared != 0 ? RECORD_IS_SHARED : 0;
        entry[15] = 0;
        put_u64(entry + 16, XXH3_64bits(data, n));
        data += n;
    }
    put_u64(to + FORMAT_CHUNK_KEY_SIZE, head_check(to, head->n));
}

/* Value and head belong together, and the directory is what was written. */
static bool
check_directory(struct slice value, const struct chunk_head *head)
{
    struct key key = format_chunk_key(head);

    return value.n >= FORMAT_CHUNK_HEAD_SIZE + (size_t)head->n * FORMAT_RECORD_SIZE &&
           memcmp(value.p, key.bytes, FORMAT_CHUNK_KEY_SIZE) == 0 &&
           get_u64(value.p + FORMAT_CHUNK_KEY_SIZE) == head_check(value.p, head->n);
}

bool
format_chunk_decode(struct slice value, const struct chunk_head *head,
                    struct store_record **records_r)
{
    if (!check_directory(value, head))
        return false;
    const uint8_t *entry = value.p + FORMAT_CHUNK_HEAD_SIZE;
    struct reader data = reader_init(
        slice_of(entry + (size_t)head->n * FORMAT_RECORD_SIZE,
                 value.n - FORMAT_CHUNK_HEAD_SIZE - (size_t)head->n * FORMAT_RECORD_SIZE));
    struct store_record *records = mem_resize(NULL, head->n, sizeof *records);
    bool ok = true;

    for (uint32_t i = 0; i < head->n; i++, entry += FORMAT_RECORD_SIZE) {
        struct store_record *r = &records[i];
        *r = (struct store_record){
            .offset = get_u32(entry),
            .props_len = get_u32(entry + 4),
            .body_len = get_u32(entry + 8),
            .address_len = get_u16(entry + 12),
        };
        bool is_shared = (entry[14] & RECORD_IS_SHARED) != 0;
        struct slice bytes = read_bytes(&data, is_shared ? 8 : store_record_size(r));
        ok = ok && !data.bad && entry[14] <= RECORD_IS_SHARED && entry[15] == 0 &&
             r->offset <= head->span && (i == 0 || r->offset > records[i - 1].offset);
        if (!ok || XXH3_64bits(bytes.p, bytes.n) != get_u64(entry + 16))
            continue;
        if (is_shared)
            r->shared = get_u64(bytes.p);
        else
            r->bytes = bytes.p;
    }
    if (!ok || reader_left(&data) != 0) {
        free(records);
        return false;
    }
    *records_r = records;
    return true;
}

bool
format_chunk_head_decode(struct slice value, struct chunk_head *head_r)
{
    return value.n >= FORMAT_CHUNK_HEAD_SIZE &&
           format_chunk_key_decode(slice_of(value.p, FORMAT_CHUNK_KEY_SIZE), head_r) &&
           check_directory(value, head_r);
}

/* --- shared messages --- */

size_t
format_shared_size(const struct store_record *r)
{
    return FORMAT_SHARED_HEAD_SIZE + store_record_size(r);
}

void
format_shared(uint8_t *to, uint64_t id, const struct store_record *r)
{
    uint8_t *data = to + FORMAT_SHARED_HEAD_SIZE;
    size_t n = store_record_size(r);

    memcpy(data, r->bytes, n);
    to[0] = FORMAT_VERSION;
    to[1] = FORMAT_ENCODING_PLAIN;
    put_u16(to + 2, r->address_len);
    put_u32(to + 4, r->props_len);
    put_u32(to + 8, r->body_len);
    put_u32(to + 12, 0);
    put_u64(to + 16, XXH3_64bits(data, n));
    put_u64(to + 24, XXH3_64bits_withSeed(to, 24, id));
}

bool
format_shared_decode(struct slice value, uint64_t id, struct store_record *r_r)
{
    const uint8_t *p = value.p;

    if (value.n < FORMAT_SHARED_HEAD_SIZE || p[0] != FORMAT_VERSION ||
        p[1] != FORMAT_ENCODING_PLAIN || get_u32(p + 12) != 0 ||
        get_u64(p + 24) != XXH3_64bits_withSeed(p, 24, id))
        return false;
    *r_r = (struct store_record){
        .bytes = p + FORMAT_SHARED_HEAD_SIZE,
        .address_len = get_u16(p + 2),
        .props_len = get_u32(p + 4),
        .body_len = get_u32(p + 8),
    };
    return value.n - FORMAT_SHARED_HEAD_SIZE == store_record_size(r_r) &&
           XXH3_64bits(r_r->bytes, store_record_size(r_r)) == get_u64(p + 16);
}
