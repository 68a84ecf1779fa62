/*
 * A key or value of the store: octet 0 chooses which. As nothing gets past a checksum by chance,
 * most inputs have theirs put right first; RAW ones are taken as they are.
 */
#include "tests/fuzz/fuzz.h"

#include <xxhash.h>

#include "base/buf.h"
#include "broker/core/definitions.h"
#include "storage/format.h"

enum {
    KINDS = 5, /* octet 0 modulo this: CHUNK .. DEFINITION */
    RAW = 0x80,
    KEEP_DATA = 0x40, /* the messages' own checksums stay, so that some are damaged */
};

enum kind { CHUNK, SHARED, QUEUE_STATE, DEAD, DEFINITION };

static uint8_t *
bytes_of(struct slice s)
{
    return (uint8_t *)(uintptr_t)s.p;
}

/* Each byte is read, for AddressSanitizer to see where it is. */
static void
touch(struct slice s)
{
    volatile uint8_t sum = 0;

    for (size_t i = 0; i < s.n; i++)
        sum = (uint8_t)(sum + s.p[i]);
}

/* --- chunks --- */

static void
seal_data(uint8_t *entry, size_t n, struct slice data)
{
    struct reader r = reader_init(data);

    for (; n != 0; n--, entry += FORMAT_RECORD_SIZE) {
        size_t size = (size_t)get_u32(entry + 4) + get_u32(entry + 8) + get_u16(entry + 12);
        struct slice bytes = read_bytes(&r, entry[14] & 1 ? 8 : size);
        if (r.bad)
            return;
        put_u64(entry + 16, XXH3_64bits(bytes.p, bytes.n));
    }
}

static void
seal_chunk(struct slice value, bool keep_data)
{
    uint8_t *p = bytes_of(value), *entries = p + FORMAT_CHUNK_HEAD_SIZE;

    if (value.n < FORMAT_CHUNK_HEAD_SIZE)
        return;
    put_u32(p + 36, (uint32_t)XXH3_64bits(p, 36));
    size_t n = (size_t)get_u32(p + 20) * FORMAT_RECORD_SIZE,
           room = value.n - FORMAT_CHUNK_HEAD_SIZE;
    if (n > room)
        return;
    if (!keep_data)
        seal_data(entries, get_u32(p + 20), slice_of(entries + n, room - n));
    put_u64(p + 40, XXH3_64bits_withSeed(entries, n, XXH3_64bits(p, FORMAT_CHUNK_KEY_SIZE)));
}

/* Records are in the value or elsewhere or damaged, and ascend. Returns how many are damaged. */
static uint32_t
check_records(struct slice value, const struct chunk_head *head, const struct store_record *records)
{
    uint32_t n_damaged = 0;

    for (uint32_t i = 0; i < head->n; i++) {
        const struct store_record *r = &records[i];
        MUST(r->offset <= head->span && (i == 0 || r->offset > records[i - 1].offset));
        MUST(r->bytes == NULL || r->shared == 0);
        if (r->bytes != NULL && store_record_size(r) != 0) {
            MUST(r->bytes >= value.p && store_record_size(r) <= value.n);
            touch(slice_of(r->bytes, store_record_size(r)));
        }
        n_damaged += r->bytes == NULL && r->shared == 0;
    }
    return n_damaged;
}

/* Bits without a meaning, which nobody writes. */
static bool
has_unknown_bits(struct slice value, uint32_t n)
{
    const uint8_t *entry = value.p + FORMAT_CHUNK_HEAD_SIZE;

    for (; n != 0; n--, entry += FORMAT_RECORD_SIZE) {
        if (entry[14] > 1 || entry[15] != 0)
            return true;
    }
    return false;
}

static void
check_same_chunk(struct slice value, const struct chunk_head *head,
                 const struct store_record *records)
{
    MUST(format_chunk_size(head, records) == value.n);
    struct slice again = exact_copy(slice_of(NULL, 0), value.n);
    format_chunk(bytes_of(again), head, records);
    MUST(slice_eq(again, value));
    exact_free(again);
}

static void
check_chunk(struct slice value)
{
    struct chunk_head head, from_key;
    struct store_record *records;

    if (!format_chunk_head_decode(value, &head))
        return;
    MUST(head.n != 0 && head.span <= CHUNK_SPAN_MAX && head.n <= head.span + 1);
    MUST(head.first + head.span >= head.first);
    MUST(format_chunk_key_decode(slice_of(value.p, FORMAT_CHUNK_KEY_SIZE), &from_key));
    struct key key = format_chunk_key(&from_key);
    MUST(memcmp(key.bytes, value.p, key.n) == 0);
    if (!format_chunk_decode(value, &head, &records))
        return;
    if (check_records(value, &head, records) == 0 && !has_unknown_bits(value, head.n))
        check_same_chunk(value, &head, records);
    free(records);
    MUST(!format_chunk_decode(slice_of(value.p, value.n - 1), &head, &records));
    head.first ^= 1;
    MUST(!format_chunk_decode(value, &head, &records));
}

/* --- shared messages --- */

static void
seal_shared(struct slice value, uint64_t id)
{
    uint8_t *p = bytes_of(value);

    if (value.n < FORMAT_SHARED_HEAD_SIZE)
        return;
    put_u64(p + 16, XXH3_64bits(p + FORMAT_SHARED_HEAD_SIZE, value.n - FORMAT_SHARED_HEAD_SIZE));
    put_u64(p + 24, XXH3_64bits_withSeed(p, 24, id));
}

static void
check_shared(struct slice value, uint64_t id)
{
    struct store_record r, other;

    if (!format_shared_decode(value, id, &r))
        return;
    MUST(r.bytes == value.p + FORMAT_SHARED_HEAD_SIZE);
    MUST(format_shared_size(&r) == value.n && r.shared == 0);
    touch(slice_of(r.bytes, store_record_size(&r)));
    if (get_u32(value.p + 12) == 0) {
        struct slice again = exact_copy(slice_of(NULL, 0), value.n);
        format_shared(bytes_of(again), id, &r);
        MUST(slice_eq(again, value));
        exact_free(again);
    }
    MUST(!format_shared_decode(slice_of(value.p, value.n - 1), id, &other));
    MUST(!format_shared_decode(value, id ^ 1, &other));
}

/* --- payloads of small values --- */

static void
check_queue_state(struct slice payload)
{
    struct store_queue_state state;
    struct store_range *ranges;
    size_t n;

    if (!format_queue_state_decode(payload, &state, &ranges))
        return;
    uint8_t *again = format_queue_state(&state, &n);
    MUST(slice_eq(slice_of(again, n), payload));
    free(again);
    free(ranges);
}

/* For the longest span that has a set of this size. */
static void
check_dead(struct slice payload)
{
    uint32_t span = payload.n > 12 ? (uint32_t)(payload.n - 12) * 8 - 1 : 0;
    struct chunk_dead dead;
    size_t n;

    MUST(!format_dead_decode(payload, span + 1, &dead));
    if (!format_dead_decode(payload, span, &dead))
        return;
    touch(slice_of(dead.bits, chunk_dead_size(span)));
    uint8_t *again = format_dead(&dead, span, &n);
    MUST(slice_eq(slice_of(again, n), payload));
    free(again);
}

static bool
has_unknown_flags(const struct definition *d, struct slice payload)
{
    switch (d->kind) {
    case DEFINITION_EXCHANGE:
    case DEFINITION_QUEUE:
        return payload.p[8 + 1 + d->name.n] > 15;
    case DEFINITION_BINDING:
        return payload.p[8] > 15;
    case DEFINITION_VHOST:
    case DEFINITION_USER:
    case DEFINITION_DELETED_QUEUE:
        return false;
    }
    return false;
}

/* With its kind in front. */
static void
check_definition(struct slice payload)
{
    struct definition d;
    size_t n;

    if (payload.n == 0)
        return;
    struct slice rest = slice_of(payload.p + 1, payload.n - 1);
    if (!definition_decode(1, payload.p[0], rest, &d))
        return;
    MUST(d.id == 1 && d.kind == payload.p[0]);
    uint8_t *again = definition_encode(&d, &n);
    MUST(n == rest.n);
    MUST(has_unknown_flags(&d, rest) || slice_eq(slice_of(again, n), rest));
    free(again);
    MUST(rest.n == 0 || !definition_decode(1, payload.p[0], slice_of(rest.p, n - 1), &d));
}

static void
check_payload(enum kind kind, struct slice payload)
{
    if (kind == QUEUE_STATE)
        check_queue_state(payload);
    else if (kind == DEAD)
        check_dead(payload);
    else
        check_definition(payload);
}

/* A value whose checksum must be right by itself. */
static void
check_raw(enum kind kind, struct slice key, struct slice value)
{
    struct slice payload;

    if (!format_unframe(key, value, &payload))
        return;
    struct slice again = exact_copy(slice_of(NULL, 0), value.n);
    format_frame(bytes_of(again), key, payload);
    MUST(slice_eq(again, value));
    exact_free(again);
    check_payload(kind, payload);
}

static void
check_framed(enum kind kind, struct slice key, struct slice input)
{
    struct slice value = exact_copy(slice_of(NULL, 0), input.n + FORMAT_FRAME_SIZE), payload;

    format_frame(bytes_of(value), key, input);
    MUST(format_unframe(key, value, &payload) && slice_eq(payload, input));
    bytes_of(value)[value.n / 2] ^= 1;
    MUST(!format_unframe(key, value, &payload));
    exact_free(value);
    check_payload(kind, input);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    enum kind kind = (enum kind)((data[0] & 0x3f) % KINDS);
    bool is_raw = (data[0] & RAW) != 0;
    struct slice rest = exact_copy(slice_of(data + 1, size - 1), 0);
    struct key key = format_id_key(0x0102030405060708);

    if (kind == CHUNK) {
        if (!is_raw)
            seal_chunk(rest, (data[0] & KEEP_DATA) != 0);
        check_chunk(rest);
    } else if (kind == SHARED) {
        if (!is_raw)
            seal_shared(rest, 1);
        check_shared(rest, 1);
    } else if (is_raw) {
        check_raw(kind, key_slice(&key), rest);
    } else {
        check_framed(kind, key_slice(&key), rest);
    }
    exact_free(rest);
    return 0;
}
