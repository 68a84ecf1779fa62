#include "storage/format.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "base/buf.h"
#include "broker/core/definitions.h"
#include "storage/store_int.h"
#include "tests/unit/check_util.h"

/*
 * What is written must be read by every later version, so some bytes are spelled out here. And
 * whatever happens to them on the disk must be noticed: each bit of each kind of key and value is
 * turned over once, and everything is cut and made longer. Decoders get blocks of the very size.
 */

/* --- bytes --- */

/* Hexadecimal digits; anything else between them is for the reader. */
static struct slice
hex(const char *text)
{
    static uint8_t bytes[1024];
    size_t n = 0;
    unsigned high = 16;

    for (; *text != '\0'; text++) {
        unsigned digit = *text >= '0' && *text <= '9'   ? (unsigned)(*text - '0')
                         : *text >= 'a' && *text <= 'f' ? (unsigned)(*text - 'a') + 10
                                                        : 16;
        if (digit == 16)
            continue;
        if (high == 16) {
            high = digit;
            continue;
        }
        ck_assert_uint_lt(n, sizeof bytes);
        bytes[n++] = (uint8_t)(high << 4 | digit);
        high = 16;
    }
    ck_assert_uint_eq(high, 16);
    return slice_of(bytes, n);
}

static void
print_hex(const char *what, struct slice s)
{
    printf("%s:", what);
    for (size_t i = 0; i < s.n; i++)
        printf("%s%02x", i % 4 == 0 ? " " : "", s.p[i]);
    printf("\n");
}

/* The digits are in the test's log when they differ. */
static void
assert_bytes(struct slice got, const char *wanted)
{
    struct slice w = hex(wanted);

    if (!slice_eq(got, w)) {
        print_hex("got", got);
        print_hex("wanted", w);
    }
    ck_assert(slice_eq(got, w));
}

/* Cut, or made longer with zeros, in a block of its own. */
static uint8_t *
resized(struct slice s, size_t n)
{
    uint8_t *p = malloc(n);

    ck_assert(p != NULL || n == 0);
    for (size_t i = 0; i < n; i++)
        p[i] = i < s.n ? s.p[i] : 0;
    return p;
}

static void
flip(uint8_t *bytes, size_t bit)
{
    bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
}

/* --- samples --- */

/*
 * Five messages, the third of them stored on its own, numbers missing in between and at the begin.
 * The first has neither properties nor body beyond what must be, the fourth is longer.
 */
enum { N = 5, SHARED = 2, SHARED_ID = 77 };

static const struct store_record sample_records[N] = {
    {.bytes = (const uint8_t *)"\0\1q\0\0", .address_len = 3, .props_len = 2, .offset = 1},
    {.bytes = (const uint8_t *)"\1x\1k\x10\0\2body",
     .address_len = 4,
     .props_len = 3,
     .body_len = 4,
     .offset = 2},
    {.bytes = NULL,
     .address_len = 4,
     .props_len = 3,
     .body_len = 5000,
     .shared = SHARED_ID,
     .offset = 5},
    {.bytes = (const uint8_t *)"\0\5queue\x10\0\2twenty-two bytes long",
     .address_len = 7,
     .props_len = 3,
     .body_len = 21,
     .offset = 6},
    {.bytes = (const uint8_t *)"\0\0\x10\0\2!",
     .address_len = 2,
     .props_len = 3,
     .body_len = 1,
     .offset = 11},
};

static const struct chunk_head sample_head = {
    .queue = 7,
    .first = 1000,
    .bytes = 5026,
    .n = N,
    .span = 11,
    .has_shared = true,
};

enum { DIRECTORY_END = FORMAT_CHUNK_HEAD_SIZE + N * FORMAT_RECORD_SIZE };

static struct slice
encode_chunk(const struct chunk_head *head, const struct store_record *records)
{
    size_t n = format_chunk_size(head, records);
    uint8_t *p = malloc(n);

    ck_assert_ptr_nonnull(p);
    format_chunk(p, head, records);
    return slice_of(p, n);
}

static uint8_t *
bytes_of(struct slice s)
{
    return (uint8_t *)(uintptr_t)s.p;
}

static void
assert_same_head(const struct chunk_head *a, const struct chunk_head *b)
{
    ck_assert_uint_eq(a->queue, b->queue);
    ck_assert_uint_eq(a->first, b->first);
    ck_assert_uint_eq(a->bytes, b->bytes);
    ck_assert_uint_eq(a->n, b->n);
    ck_assert_uint_eq(a->span, b->span);
    ck_assert_uint_eq(a->priority, b->priority);
    ck_assert_uint_eq(a->has_shared, b->has_shared);
}

static bool
same_record(const struct store_record *a, const struct store_record *b)
{
    return a->offset == b->offset && a->address_len == b->address_len &&
           a->props_len == b->props_len && a->body_len == b->body_len && a->shared == b->shared &&
           (a->bytes == NULL) == (b->bytes == NULL) &&
           (a->bytes == NULL || memcmp(a->bytes, b->bytes, store_record_size(a)) == 0);
}

/* All records are what they should be but for one, or none (N), which is told to be damaged. */
static void
assert_records(const struct store_record *records, unsigned damaged)
{
    for (unsigned i = 0; i < N; i++) {
        struct store_record wanted = sample_records[i];
        if (i == damaged) {
            wanted.bytes = NULL;
            wanted.shared = 0;
        }
        ck_assert_msg(same_record(&records[i], &wanted), "record %u of a chunk with %u damaged", i,
                      damaged);
    }
}

/* --- keys --- */

START_TEST(test_id_keys)
{
    static const uint64_t ids[] = {0,
                                   1,
                                   255,
                                   256,
                                   65535,
                                   1 << 24,
                                   4294967295,
                                   1L << 32,
                                   (1L << 56),
                                   UINT64_MAX / 2,
                                   UINT64_MAX - 1,
                                   UINT64_MAX};
    uint64_t id;

    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        struct key k = format_id_key(ids[i]);
        ck_assert(format_id_key_decode(key_slice(&k), &id));
        ck_assert_uint_eq(id, ids[i]);
        for (size_t j = 0; j < i; j++) {
            struct key lower = format_id_key(ids[j]);
            ck_assert_int_lt(memcmp(lower.bytes, k.bytes, 8), 0);
        }
        for (size_t n = 0; n < 20; n++)
            ck_assert_int_eq(format_id_key_decode(slice_of(k.bytes, n), &id), n == 8);
    }
    struct key k = format_id_key(0x0102030405060708);
    assert_bytes(key_slice(&k), "01020304 05060708");
    k = format_meta_key(META_NEXT_ID);
    ck_assert_slice_eq(key_slice(&k), slice_str("next-id"));
}
END_TEST

static const struct chunk_head heads[] = {
    {.queue = 0, .first = 0, .n = 1},
    {.queue = 0, .first = 1, .n = 1, .bytes = UINT64_MAX},
    {.queue = 0, .first = 255, .n = 2, .span = 1},
    {.queue = 0, .first = 256, .n = CHUNK_SPAN_MAX + 1, .span = CHUNK_SPAN_MAX, .priority = 255},
    {.queue = 0, .first = 65536, .n = 1, .span = CHUNK_SPAN_MAX, .has_shared = true},
    {.queue = 0, .first = (uint64_t)1 << 32, .n = 1},
    {.queue = 0, .first = UINT64_MAX - 5, .n = 6, .span = 5},
    {.queue = 0, .first = UINT64_MAX, .n = 1},
    {.queue = 1, .first = 0, .n = 1},
    {.queue = 255, .first = 3, .n = 1},
    {.queue = 256, .first = 2, .n = 1},
    {.queue = (uint64_t)1 << 40, .first = 1, .n = 1},
    {.queue = UINT64_MAX, .first = 0, .n = 1},
};

/* They are in the order of queues and numbers, whatever else is in a head. */
START_TEST(test_chunk_keys)
{
    uint64_t queue, first;
    struct chunk_head head;

    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        struct key k = format_chunk_key(&heads[i]), dead = format_dead_key(&heads[i]);
        uint8_t *exact = exact_bytes(key_slice(&k)), *exact_dead = exact_bytes(key_slice(&dead));
        ck_assert_uint_eq(k.n, FORMAT_CHUNK_KEY_SIZE);
        ck_assert(format_chunk_key_decode(slice_of(exact, k.n), &head));
        assert_same_head(&head, &heads[i]);
        ck_assert(format_dead_key_decode(slice_of(exact_dead, dead.n), &queue, &first));
        ck_assert_uint_eq(queue, heads[i].queue);
        ck_assert_uint_eq(first, heads[i].first);
        ck_assert_mem_eq(dead.bytes, k.bytes, dead.n);
        for (size_t j = 0; j < i; j++) {
            struct key lower = format_chunk_key(&heads[j]);
            ck_assert_int_lt(memcmp(lower.bytes, k.bytes, k.n), 0);
        }
        free(exact);
        free(exact_dead);
    }
}
END_TEST

START_TEST(test_chunk_key_damaged)
{
    struct key k = format_chunk_key(&sample_head), dead = format_dead_key(&sample_head);
    uint8_t longer[FORMAT_CHUNK_KEY_SIZE + 1] = {0};
    struct chunk_head head;
    uint64_t queue, first;

    for (size_t bit = 0; bit < 8 * FORMAT_CHUNK_KEY_SIZE; bit++) {
        flip(k.bytes, bit);
        ck_assert_msg(!format_chunk_key_decode(key_slice(&k), &head), "bit %zu", bit);
        flip(k.bytes, bit);
    }
    memcpy(longer, k.bytes, k.n);
    for (size_t n = 0; n <= sizeof longer; n++) {
        uint8_t *exact = exact_bytes(slice_of(longer, n));
        ck_assert_int_eq(format_chunk_key_decode(slice_of(exact, n), &head), n == k.n);
        ck_assert_int_eq(format_dead_key_decode(slice_of(exact, n), &queue, &first), n == dead.n);
        free(exact);
    }
}
END_TEST

/* What no writer would write, with a checksum that is right. */
START_TEST(test_chunk_key_absurd)
{
    static const struct {
        const char *what;
        size_t at;
        uint8_t width;
        uint64_t value;
    } cases[] = {
        {"no message", 20, 4, 0},
        {"more messages than numbers", 20, 4, 13},
        {"messages for which n * size wraps", 20, 4, 0x0aaaaaab},
        {"as many messages as can be", 20, 4, UINT32_MAX},
        {"a span over the limit", 24, 4, CHUNK_SPAN_MAX + 1},
        {"the largest span", 24, 4, UINT32_MAX},
        {"numbers over the last", 8, 8, UINT64_MAX - 10},
        {"no version", 16, 1, 0},
        {"the next version", 16, 1, FORMAT_VERSION + 1},
        {"an unknown encoding", 17, 1, FORMAT_ENCODING_PLAIN + 1},
    };
    struct chunk_head head;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct key k = format_chunk_key(&sample_head);
        for (unsigned b = 0; b < cases[i].width; b++)
            k.bytes[cases[i].at + b] = (uint8_t)(cases[i].value >> 8 * (cases[i].width - 1 - b));
        put_u32(k.bytes + 36, (uint32_t)XXH3_64bits(k.bytes, 36));
        ck_assert_msg(!format_chunk_key_decode(key_slice(&k), &head), "%s", cases[i].what);
    }
    /* The same by hand gives a good one. */
    struct key k = format_chunk_key(&sample_head);
    put_u64(k.bytes + 8, UINT64_MAX - 11);
    put_u32(k.bytes + 36, (uint32_t)XXH3_64bits(k.bytes, 36));
    ck_assert(format_chunk_key_decode(key_slice(&k), &head));
}
END_TEST

START_TEST(test_chunk_key_golden)
{
    struct chunk_head head = {.queue = 0x0102030405060708,
                              .first = 0x1112131415161718,
                              .bytes = 0x2122232425262728,
                              .n = 0x0304,
                              .span = 0x3132,
                              .priority = 9,
                              .has_shared = true};
    struct key k = format_chunk_key(&head);

    assert_bytes(key_slice(&k), "01020304 05060708 | 11121314 15161718 | 01 00 09 01 | 00000304 |"
                                "00003132 | 21222324 25262728 | ce11a206");
    k = format_dead_key(&head);
    assert_bytes(key_slice(&k), "01020304 05060708 | 11121314 15161718");
}
END_TEST

/* --- chunks --- */

START_TEST(test_chunk)
{
    struct slice value = encode_chunk(&sample_head, sample_records);
    struct store_record *records;
    struct chunk_head head;

    ck_assert(format_chunk_decode(value, &sample_head, &records));
    assert_records(records, N);
    free(records);
    ck_assert(format_chunk_head_decode(value, &head));
    assert_same_head(&head, &sample_head);
    free(bytes_of(value));
}
END_TEST

START_TEST(test_chunk_of_most)
{
    uint32_t n = CHUNK_SPAN_MAX + 1;
    struct store_record *records = mem_zalloc(n * sizeof *records), *back;
    struct chunk_head head = {.queue = 1, .first = 1, .n = n, .span = CHUNK_SPAN_MAX, .bytes = n};

    for (uint32_t i = 0; i < n; i++)
        records[i] = (struct store_record){.bytes = (const uint8_t *)"\0\0\0\0b",
                                           .address_len = 2,
                                           .props_len = 2,
                                           .body_len = 1,
                                           .offset = i};
    struct slice value = encode_chunk(&head, records);
    ck_assert(format_chunk_decode(value, &head, &back));
    for (uint32_t i = 0; i < n; i++) {
        if (!same_record(&back[i], &records[i]))
            ck_abort_msg("record %u", i);
    }
    free(back);
    free(records);
    free(bytes_of(value));
}
END_TEST

/* Which record has this byte of the data. */
static unsigned
record_at(size_t at)
{
    size_t end = DIRECTORY_END;

    for (unsigned i = 0; i < N; i++) {
        end += sample_records[i].shared != 0 ? 8 : store_record_size(&sample_records[i]);
        if (at < end)
            return i;
    }
    return N;
}

START_TEST(test_chunk_damaged)
{
    struct slice value = encode_chunk(&sample_head, sample_records);
    struct store_record *records;
    struct chunk_head head;

    for (size_t bit = 0; bit < 8 * value.n; bit++) {
        bool in_data = bit / 8 >= DIRECTORY_END;
        flip(bytes_of(value), bit);
        ck_assert_int_eq(format_chunk_head_decode(value, &head), in_data);
        bool ok = format_chunk_decode(value, &sample_head, &records);
        ck_assert_msg(ok == in_data, "bit %zu", bit);
        if (ok) {
            assert_records(records, record_at(bit / 8));
            free(records);
        }
        flip(bytes_of(value), bit);
    }
    free(bytes_of(value));
}
END_TEST

START_TEST(test_chunk_cut_and_longer)
{
    struct slice value = encode_chunk(&sample_head, sample_records);
    struct store_record *records;
    struct chunk_head head;

    for (size_t n = 0; n <= value.n + 9; n++) {
        if (n == value.n)
            continue;
        uint8_t *exact = resized(value, n);
        ck_assert_msg(!format_chunk_decode(slice_of(exact, n), &sample_head, &records),
                      "%zu of %zu bytes", n, value.n);
        /* For the head alone the directory is enough. */
        ck_assert_int_eq(format_chunk_head_decode(slice_of(exact, n), &head), n >= DIRECTORY_END);
        free(exact);
    }
    ck_assert(!format_chunk_decode(slice_of(NULL, 0), &sample_head, &records));
    ck_assert(!format_chunk_head_decode(slice_of(NULL, 0), &head));
    free(bytes_of(value));
}
END_TEST

/* A sound value under the key of another chunk. */
START_TEST(test_chunk_of_another_key)
{
    struct slice value = encode_chunk(&sample_head, sample_records);
    struct store_record *records;
    struct chunk_head others[7];

    for (unsigned i = 0; i < 7; i++)
        others[i] = sample_head;
    others[0].queue++;
    others[1].first++;
    others[2].bytes++;
    others[3].n--;
    others[4].span++;
    others[5].priority++;
    others[6].has_shared = false;
    for (unsigned i = 0; i < 7; i++)
        ck_assert_msg(!format_chunk_decode(value, &others[i], &records), "head %u", i);
    free(bytes_of(value));
}
END_TEST

/* Changed directories whose checksums are right. */
START_TEST(test_chunk_absurd)
{
    enum { AT_OFFSET = 0, AT_PROPS = 4, AT_BODY = 8, AT_ADDRESS = 12, AT_FLAGS = 14 };
    static const struct {
        const char *what;
        unsigned record, at, width;
        uint32_t value;
    } cases[] = {
        {"the offset of the one before", 1, AT_OFFSET, 4, 1},
        {"an offset that descends", 1, AT_OFFSET, 4, 0},
        {"the offset of the next", 3, AT_OFFSET, 4, 11},
        {"an offset over the span", 4, AT_OFFSET, 4, 12},
        {"the largest offset", 4, AT_OFFSET, 4, UINT32_MAX},
        {"properties a byte longer", 0, AT_PROPS, 4, 3},
        {"a body a byte shorter", 3, AT_BODY, 4, 20},
        {"a body a byte longer", 4, AT_BODY, 4, 2},
        {"the longest body", 1, AT_BODY, 4, UINT32_MAX},
        {"the longest properties", 1, AT_PROPS, 4, UINT32_MAX},
        {"a body for which the sum of 32 bits wraps", 1, AT_BODY, 4, UINT32_MAX - 2},
        {"the longest address", 4, AT_ADDRESS, 2, UINT16_MAX},
        {"a message stored here that is elsewhere", 2, AT_FLAGS, 1, 0},
        {"a message elsewhere that is stored here", 3, AT_FLAGS, 1, 1},
    };
    struct store_record *records;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct slice value = encode_chunk(&sample_head, sample_records);
        uint8_t *p = bytes_of(value), *entry = p + FORMAT_CHUNK_HEAD_SIZE;
        entry += cases[i].record * FORMAT_RECORD_SIZE + cases[i].at;
        for (unsigned b = 0; b < cases[i].width; b++)
            entry[b] = (uint8_t)(cases[i].value >> 8 * (cases[i].width - 1 - b));
        put_u64(p + 40, XXH3_64bits_withSeed(p + FORMAT_CHUNK_HEAD_SIZE, N * FORMAT_RECORD_SIZE,
                                             XXH3_64bits(p, FORMAT_CHUNK_KEY_SIZE)));
        ck_assert_msg(!format_chunk_decode(value, &sample_head, &records), "%s", cases[i].what);
        free(p);
    }
}
END_TEST

/* A head of many messages, made by nobody's writer: nothing is believed before it is compared with
 * the length of the value. */
START_TEST(test_chunk_of_absurd_head)
{
    static const uint32_t counts[] = {N + 1, CHUNK_SPAN_MAX + 1, 0x0aaaaaab, 0x80000000,
                                      UINT32_MAX};
    struct slice value = encode_chunk(&sample_head, sample_records);
    struct store_record *records;

    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        struct chunk_head head = sample_head;
        head.n = counts[i];
        struct key k = format_chunk_key(&head);
        memcpy(bytes_of(value), k.bytes, k.n);
        ck_assert(!format_chunk_decode(value, &head, &records));
        ck_assert(!format_chunk_head_decode(value, &head));
    }
    free(bytes_of(value));
}
END_TEST

START_TEST(test_chunk_golden)
{
    static const struct store_record records[2] = {
        {.bytes = (const uint8_t *)"\1x\1k\x10\0\2hello",
         .address_len = 4,
         .props_len = 3,
         .body_len = 5,
         .offset = 0},
        {.address_len = 0x0102,
         .props_len = 0x03040506,
         .body_len = 0x0708090a,
         .shared = 0x1112131415161718,
         .offset = 0x21},
    };
    struct chunk_head head = {
        .queue = 5, .first = 0x0100, .bytes = 0x0708090f, .n = 2, .span = 0x21, .has_shared = true};
    struct slice value = encode_chunk(&head, records);

    assert_bytes(value,
                 "00000000 00000005 | 00000000 00000100 | 01 00 00 01 | 00000002 | 00000021 |"
                 "00000000 0708090f | f2c5b164 | 614eb117 1de21009"
                 "00000000 | 00000003 | 00000005 | 0004 | 00 00 | b7e7ca22 b758fd7e"
                 "00000021 | 03040506 | 0708090a | 0102 | 01 00 | 39e3203d d23a1abe"
                 "01 78 01 6b | 10 00 02 | 68 65 6c 6c 6f"
                 "11121314 15161718");
    free(bytes_of(value));
}
END_TEST

/* --- shared messages --- */

static const struct store_record shared_record = {.bytes = (const uint8_t *)"\1x\1k\x10\0\2hello",
                                                  .address_len = 4,
                                                  .props_len = 3,
                                                  .body_len = 5};

static struct slice
encode_shared(uint64_t id)
{
    size_t n = format_shared_size(&shared_record);
    uint8_t *p = malloc(n);

    ck_assert_ptr_nonnull(p);
    format_shared(p, id, &shared_record);
    return slice_of(p, n);
}

START_TEST(test_shared)
{
    struct slice value = encode_shared(SHARED_ID);
    struct store_record r;

    ck_assert(format_shared_decode(value, SHARED_ID, &r));
    ck_assert(same_record(&r, &shared_record));
    ck_assert(!format_shared_decode(slice_of(NULL, 0), SHARED_ID, &r));
    for (unsigned bit = 0; bit < 64; bit++)
        ck_assert(!format_shared_decode(value, SHARED_ID ^ (uint64_t)1 << bit, &r));
    for (size_t bit = 0; bit < 8 * value.n; bit++) {
        flip(bytes_of(value), bit);
        ck_assert_msg(!format_shared_decode(value, SHARED_ID, &r), "bit %zu", bit);
        flip(bytes_of(value), bit);
    }
    for (size_t n = 0; n <= value.n + 9; n++) {
        uint8_t *exact = resized(value, n);
        ck_assert_int_eq(format_shared_decode(slice_of(exact, n), SHARED_ID, &r), n == value.n);
        free(exact);
    }
    free(bytes_of(value));
}
END_TEST

START_TEST(test_shared_absurd)
{
    static const struct {
        unsigned at, width;
        uint32_t value;
    } cases[] = {
        {0, 1, 0},
        {0, 1, FORMAT_VERSION + 1},
        {1, 1, FORMAT_ENCODING_PLAIN + 1},
        {2, 2, 3},
        {2, 2, UINT16_MAX},
        {4, 4, 4},
        {4, 4, UINT32_MAX},
        {8, 4, UINT32_MAX},
        {8, 4, UINT32_MAX - 6}, /* 2^32 + 0 in all */
        {8, 4, 4},
        {8, 4, 6},
    };
    struct store_record r;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct slice value = encode_shared(SHARED_ID);
        uint8_t *p = bytes_of(value);
        for (unsigned b = 0; b < cases[i].width; b++)
            p[cases[i].at + b] = (uint8_t)(cases[i].value >> 8 * (cases[i].width - 1 - b));
        put_u64(p + 24, XXH3_64bits_withSeed(p, 24, SHARED_ID));
        ck_assert_msg(!format_shared_decode(value, SHARED_ID, &r), "case %zu", i);
        free(p);
    }
}
END_TEST

START_TEST(test_shared_golden)
{
    struct slice value = encode_shared(0x0102030405060708);

    assert_bytes(
        value,
        "01 00 | 0004 | 00000003 | 00000005 | 00000000 | b7e7ca22 b758fd7e | b4e89859 69325a3f"
        "01 78 01 6b | 10 00 02 | 68 65 6c 6c 6f");
    free(bytes_of(value));
}
END_TEST

/* --- small values --- */

static struct slice
frame(struct key key, struct slice payload)
{
    uint8_t *p = malloc(payload.n + FORMAT_FRAME_SIZE);

    ck_assert_ptr_nonnull(p);
    format_frame(p, key_slice(&key), payload);
    return slice_of(p, payload.n + FORMAT_FRAME_SIZE);
}

/* Nothing that is done to a row leaves it readable. */
static void
assert_row_guarded(struct key key, struct slice payload)
{
    struct slice value = frame(key, payload), back;

    ck_assert(format_unframe(key_slice(&key), value, &back));
    ck_assert_slice_eq(back, payload);
    for (size_t bit = 0; bit < 8 * value.n; bit++) {
        flip(bytes_of(value), bit);
        ck_assert_msg(!format_unframe(key_slice(&key), value, &back), "bit %zu of the value", bit);
        flip(bytes_of(value), bit);
    }
    for (size_t bit = 0; bit < 8U * key.n; bit++) {
        flip(key.bytes, bit);
        ck_assert_msg(!format_unframe(key_slice(&key), value, &back), "bit %zu of the key", bit);
        flip(key.bytes, bit);
    }
    for (size_t n = 0; n <= value.n + 9; n++) {
        uint8_t *exact = resized(value, n);
        ck_assert_int_eq(format_unframe(key_slice(&key), slice_of(exact, n), &back), n == value.n);
        free(exact);
    }
    key.n--;
    ck_assert(!format_unframe(key_slice(&key), value, &back));
    free(bytes_of(value));
}

START_TEST(test_frame)
{
    struct key key = format_id_key(3);
    struct slice payload;

    assert_row_guarded(key, slice_of(NULL, 0));
    assert_row_guarded(key, slice_of("\0", 1));
    assert_row_guarded(format_meta_key(META_FORMAT), slice_of("\0\0\0\1", 4));
    ck_assert(!format_unframe(key_slice(&key), slice_of(NULL, 0), &payload));

    /* Another version, with the checksum that it would have. */
    struct slice value = frame(key, slice_of("abc", 3));
    uint8_t *p = bytes_of(value);
    for (unsigned version = 0; version < 256; version++) {
        p[0] = (uint8_t)version;
        put_u64(p + 4, XXH3_64bits_withSeed(p, 4, XXH3_64bits(key.bytes, key.n)));
        ck_assert_int_eq(format_unframe(key_slice(&key), value, &payload),
                         version == FORMAT_VERSION);
    }
    free(p);
}
END_TEST

START_TEST(test_queue_state)
{
    static const struct store_range ranges[3] = {{1, 1}, {5, 900}, {1000, UINT64_MAX}};
    struct store_queue_state state = {.delivered = UINT64_MAX - 1, .purged = ranges}, back;
    struct store_range *got;
    size_t n;

    for (state.n_purged = 0; state.n_purged <= 3; state.n_purged++) {
        uint8_t *payload = format_queue_state(&state, &n);
        ck_assert_uint_eq(n, 12 + 16 * state.n_purged);
        ck_assert(format_queue_state_decode(slice_of(payload, n), &back, &got));
        ck_assert_uint_eq(back.delivered, state.delivered);
        ck_assert_uint_eq(back.n_purged, state.n_purged);
        ck_assert_ptr_eq(back.purged, got);
        for (uint32_t i = 0; i < state.n_purged; i++) {
            ck_assert_uint_eq(got[i].from, ranges[i].from);
            ck_assert_uint_eq(got[i].to, ranges[i].to);
        }
        free(got);
        assert_row_guarded(format_id_key(9), slice_of(payload, n));
        for (size_t cut = 0; cut < n; cut++) {
            uint8_t *exact = exact_bytes(slice_of(payload, cut));
            ck_assert(!format_queue_state_decode(slice_of(exact, cut), &back, &got));
            free(exact);
        }
        free(payload);
    }
}
END_TEST

START_TEST(test_queue_state_absurd)
{
    /* 16 times each of these is 0 or 16 in 32 bits, or more than there can be. */
    static const uint32_t counts[] = {0, 2, 0x10000000, 0x10000001, 0x80000001, UINT32_MAX};
    uint8_t payload[8 + 4 + 16] = {0};
    struct store_queue_state state;
    struct store_range *ranges;

    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        put_u32(payload + 8, counts[i]);
        ck_assert(!format_queue_state_decode(slice_of(payload, sizeof payload), &state, &ranges));
    }
    for (size_t i = 2; i < sizeof counts / sizeof *counts; i++) {
        put_u32(payload + 8, counts[i]);
        ck_assert(!format_queue_state_decode(slice_of(payload, 12), &state, &ranges));
    }
    ck_assert(!format_queue_state_decode(slice_of(NULL, 0), &state, &ranges));
}
END_TEST

START_TEST(test_dead)
{
    static const uint32_t spans[] = {0, 1, 6, 7, 8, 9, 11, 63, 64, CHUNK_SPAN_MAX};
    uint8_t *bits = mem_alloc(chunk_dead_size(CHUNK_SPAN_MAX));
    struct chunk_dead dead = {.n = 3, .bytes = 12345678901, .bits = bits}, back;
    size_t n;

    for (size_t i = 0; i < chunk_dead_size(CHUNK_SPAN_MAX); i++)
        bits[i] = (uint8_t)(i * 37 + 1);
    for (size_t i = 0; i < sizeof spans / sizeof *spans; i++) {
        uint8_t *encoded = format_dead(&dead, spans[i], &n);
        uint8_t *payload = exact_bytes(slice_of(encoded, n));
        ck_assert_uint_eq(n, 12 + spans[i] / 8 + 1);
        ck_assert(format_dead_decode(slice_of(payload, n), spans[i], &back));
        ck_assert_uint_eq(back.n, dead.n);
        ck_assert_uint_eq(back.bytes, dead.bytes);
        ck_assert_mem_eq(back.bits, bits, chunk_dead_size(spans[i]));
        ck_assert(!format_dead_decode(slice_of(payload, n), spans[i] + 8, &back));
        ck_assert(spans[i] < 8 || !format_dead_decode(slice_of(payload, n), spans[i] - 8, &back));
        if (spans[i] < 100) {
            assert_row_guarded(format_dead_key(&sample_head), slice_of(payload, n));
            for (size_t cut = 0; cut < n; cut++) {
                uint8_t *exact = exact_bytes(slice_of(payload, cut));
                ck_assert(!format_dead_decode(slice_of(exact, cut), spans[i], &back));
                free(exact);
            }
        }
        free(payload);
        free(encoded);
    }
    ck_assert(!format_dead_decode(slice_of(NULL, 0), 0, &back));
    free(bits);
}
END_TEST

START_TEST(test_small_golden)
{
    static const struct store_range ranges[2] = {{1, 0x0102}, {0x0304, 0x1112131415161718}};
    struct store_queue_state state = {.delivered = 0x0506, .purged = ranges, .n_purged = 2};
    struct chunk_dead dead = {.n = 2, .bytes = 0x0102, .bits = (const uint8_t *)"\x01\x08"};
    struct chunk_head head = {.queue = 5, .first = 0x0100, .n = 9, .span = 11};
    size_t n;

    uint8_t *payload = format_queue_state(&state, &n);
    struct slice value = frame(format_id_key(5), slice_of(payload, n));
    assert_bytes(value,
                 "01 | 00000000 00000506 | 00000002 | 00000000 00000001 | 00000000 00000102 |"
                 "00000000 00000304 | 11121314 15161718 | bff76a36 379776db");
    free(payload);
    free(bytes_of(value));
    payload = format_dead(&dead, head.span, &n);
    value = frame(format_dead_key(&head), slice_of(payload, n));
    assert_bytes(value, "01 | 00000002 | 00000000 00000102 | 01 08 | f442cc1b 269ebbc1");
    free(payload);
    free(bytes_of(value));
}
END_TEST

/* --- definitions --- */

/* A table with one pair: "k" with the value true. */
#define ARGUMENTS                                                                                  \
    {                                                                                              \
        (const uint8_t *)"\1kt\1", 4                                                               \
    }
#define NAME(literal)                                                                              \
    {                                                                                              \
        (const uint8_t *)(literal), sizeof(literal) - 1                                            \
    }

static const struct {
    struct definition d;
    const char *payload;
} definitions[] = {
    {{.kind = DEFINITION_VHOST, .name = NAME("/")}, "01 2f"},
    {{.kind = DEFINITION_USER,
      .name = NAME("me"),
      .password_hash = NAME("h4sh"),
      .tags = NAME("a")},
     "02 6d 65 | 00000004 68 34 73 68 | 00000001 61"},
    {{.kind = DEFINITION_EXCHANGE,
      .vhost = 0x0102030405060708,
      .name = NAME("x"),
      .durable = true,
      .internal = true,
      .type = NAME("topic"),
      .arguments = ARGUMENTS},
     "01020304 05060708 | 01 78 | 05 | 05 74 6f 70 69 63 | 00000004 01 6b 74 01"},
    {{.kind = DEFINITION_QUEUE,
      .vhost = 1,
      .name = NAME("q1"),
      .durable = true,
      .auto_delete = true},
     "00000000 00000001 | 02 71 31 | 03 | 00000000"},
    {{.kind = DEFINITION_BINDING,
      .vhost = 1,
      .source = NAME("x"),
      .destination = NAME("y"),
      .to_exchange = true,
      .key = NAME("#"),
      .arguments = ARGUMENTS},
     "00000000 00000001 | 08 | 01 78 | 01 79 | 01 23 | 00000004 01 6b 74 01"},
    {{.kind = DEFINITION_DELETED_QUEUE}, ""},
};

static void
assert_same_definition(const struct definition *a, const struct definition *b)
{
    ck_assert_uint_eq(a->id, b->id);
    ck_assert_int_eq(a->kind, b->kind);
    ck_assert_uint_eq(a->vhost, b->vhost);
    ck_assert_slice_eq(a->name, b->name);
    ck_assert_int_eq(a->durable, b->durable);
    ck_assert_int_eq(a->auto_delete, b->auto_delete);
    ck_assert_int_eq(a->internal, b->internal);
    ck_assert_int_eq(a->to_exchange, b->to_exchange);
    ck_assert_slice_eq(a->type, b->type);
    ck_assert_slice_eq(a->arguments, b->arguments);
    ck_assert_slice_eq(a->source, b->source);
    ck_assert_slice_eq(a->destination, b->destination);
    ck_assert_slice_eq(a->key, b->key);
    ck_assert_slice_eq(a->password_hash, b->password_hash);
    ck_assert_slice_eq(a->tags, b->tags);
}

START_TEST(test_definition)
{
    struct definition d = definitions[_i].d, back;
    uint8_t kind = (uint8_t)d.kind;
    size_t n;

    d.id = 42;
    uint8_t *encoded = definition_encode(&d, &n);
    assert_bytes(slice_of(encoded, n), definitions[_i].payload);
    uint8_t *payload = exact_bytes(slice_of(encoded, n));
    ck_assert(definition_decode(42, kind, slice_of(payload, n), &back));
    assert_same_definition(&back, &d);
    for (size_t cut = 0; cut < n; cut++) {
        uint8_t *exact = exact_bytes(slice_of(payload, cut));
        ck_assert_msg(!definition_decode(42, kind, slice_of(exact, cut), &back), "%zu bytes", cut);
        free(exact);
    }
    uint8_t *longer = mem_zalloc(n + 1);
    memcpy(longer, payload, n);
    ck_assert(!definition_decode(42, kind, slice_of(longer, n + 1), &back));

    /* As the store keeps it: the kind in front. */
    memmove(longer + 1, payload, n);
    longer[0] = kind;
    assert_row_guarded(format_id_key(42), slice_of(longer, n + 1));
    free(longer);
    free(payload);
    free(encoded);
}
END_TEST

START_TEST(test_definition_absurd)
{
    struct definition d;

    /* Kinds that are not there, as often as not with a payload that one of them would have. */
    for (unsigned kind = 0; kind < 256; kind++) {
        bool known = kind != 0 && strchr("vuxqbd", (int)kind) != NULL;
        struct slice empty = slice_of(NULL, 0);
        ck_assert(kind == 'd' || !definition_decode(1, (uint8_t)kind, empty, &d));
        ck_assert(known || !definition_decode(1, (uint8_t)kind, BYTES("\001/"), &d));
    }
    /* Lengths near 2^32, and arguments that are no table. */
    ck_assert(definition_decode(1, 'u', BYTES("\1u\0\0\0\0\0\0\0\0"), &d));
    ck_assert(!definition_decode(1, 'u', BYTES("\1u\xff\xff\xff\xff\0\0\0\0"), &d));
    ck_assert(!definition_decode(1, 'u', BYTES("\1u\0\0\0\0\xff\xff\xff\xff"), &d));
    ck_assert(!definition_decode(1, 'u', BYTES("\1u\xff\xff\xff\xfc\0\0\0\4"), &d));
    ck_assert(!definition_decode(1, 'v', BYTES("\377/"), &d));
    ck_assert(definition_decode(1, 'q', BYTES("\0\0\0\0\0\0\0\1\1q\1\0\0\0\3\1kV"), &d));
    ck_assert(!definition_decode(1, 'q', BYTES("\0\0\0\0\0\0\0\1\1q\1\0\0\0\3\1kU"), &d));
    ck_assert(!definition_decode(1, 'q', BYTES("\0\0\0\0\0\0\0\1\1q\1\0\0\0\3\1kt"), &d));
    ck_assert(!definition_decode(1, 'q', BYTES("\0\0\0\0\0\0\0\1\1q\1\xff\xff\xff\xff\1kV"), &d));
}
END_TEST

/* --- rows as a store has them --- */

static void
no_answer(void *ctx, enum store_status status)
{
    (void)ctx;
    ck_assert_int_eq(status, STORE_OK);
}

static void
assert_row(struct store *s, enum table t, struct key key, const char *wanted)
{
    struct backend *be = s->spaces[STORE_DURABLE].backend;
    struct backend_reader *r;
    struct slice value;

    ck_assert_int_eq(be->ops->read_begin(be, &r), STORE_OK);
    ck_assert_int_eq(be->ops->get(r, t, key_slice(&key), &value), STORE_OK);
    assert_bytes(value, wanted);
    be->ops->read_end(r);
}

START_TEST(test_rows_golden)
{
    struct store *s = store_open(&(struct store_options){.size_max = 1 << 20});
    struct store_batch *b = store_batch_new();

    ck_assert_ptr_nonnull(s);
    store_put_next_id(b, 0x0102);
    store_put_definition(b, 4, DEFINITION_VHOST, BYTES("\1/"));
    store_put_definition(b, 5, DEFINITION_DELETED_QUEUE, slice_of(NULL, 0));
    store_submit(s, STORE_DURABLE, b, no_answer, NULL);
    store_poll(s);
    assert_row(s, TABLE_META, format_meta_key("format"), "01 | 00000001 | d3bff748 6eeb5d8b");
    assert_row(s, TABLE_META, format_meta_key("next-id"),
               "01 | 00000000 00000102 | 0356a9a2 1ffc4276");
    assert_row(s, TABLE_DEFINITIONS, format_id_key(4), "01 | 76 | 01 2f | 779f7bec 037f7c46");
    assert_row(s, TABLE_DEFINITIONS, format_id_key(5), "01 | 64 | 3bec47e6 9179940f");
    store_close(s);
}
END_TEST

START_TEST(test_table_names)
{
    static const char *const names[] = {"meta", "definitions", "queues", "log", "dead", "shared"};

    ck_assert_uint_eq(TABLE_COUNT, sizeof names / sizeof *names);
    for (unsigned i = 0; i < TABLE_COUNT; i++)
        ck_assert_str_eq(table_names[i], names[i]);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("format");
    TCase *keys = tcase_create("keys"), *chunks = tcase_create("chunks");
    TCase *shared = tcase_create("shared"), *small = tcase_create("small");
    TCase *defs = tcase_create("definitions"), *rows = tcase_create("rows");

    tcase_add_test(keys, test_id_keys);
    tcase_add_test(keys, test_chunk_keys);
    tcase_add_test(keys, test_chunk_key_damaged);
    tcase_add_test(keys, test_chunk_key_absurd);
    tcase_add_test(keys, test_chunk_key_golden);
    suite_add_tcase(suite, keys);
    tcase_add_test(chunks, test_chunk);
    tcase_add_test(chunks, test_chunk_of_most);
    tcase_add_test(chunks, test_chunk_damaged);
    tcase_add_test(chunks, test_chunk_cut_and_longer);
    tcase_add_test(chunks, test_chunk_of_another_key);
    tcase_add_test(chunks, test_chunk_absurd);
    tcase_add_test(chunks, test_chunk_of_absurd_head);
    tcase_add_test(chunks, test_chunk_golden);
    suite_add_tcase(suite, chunks);
    tcase_add_test(shared, test_shared);
    tcase_add_test(shared, test_shared_absurd);
    tcase_add_test(shared, test_shared_golden);
    suite_add_tcase(suite, shared);
    tcase_add_test(small, test_frame);
    tcase_add_test(small, test_queue_state);
    tcase_add_test(small, test_queue_state_absurd);
    tcase_add_test(small, test_dead);
    tcase_add_test(small, test_small_golden);
    suite_add_tcase(suite, small);
    tcase_add_loop_test(defs, test_definition, 0, sizeof definitions / sizeof *definitions);
    tcase_add_test(defs, test_definition_absurd);
    suite_add_tcase(suite, defs);
    tcase_add_test(rows, test_rows_golden);
    tcase_add_test(rows, test_table_names);
    suite_add_tcase(suite, rows);
    return run_suite(suite);
}
