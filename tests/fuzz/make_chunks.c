/* Writes the first inputs of fuzz_chunk into a folder: make_chunks DIR. See fuzz_chunk.c for their
 * form. */
#include "tests/fuzz/fuzz.h"

#include "broker/core/definitions.h"
#include "storage/format.h"

enum { CHUNK, SHARED, QUEUE_STATE, DEAD, DEFINITION, RAW = 0x80, KEEP_DATA = 0x40 };

static const char *folder;

static void
save(const char *name, uint8_t kind, struct slice bytes)
{
    char *path = mem_printf("%s/seed-%s", folder, name);
    FILE *f = fopen(path, "wb");

    MUST(f != NULL);
    MUST(fwrite(&kind, 1, 1, f) == 1 && fwrite(bytes.p, 1, bytes.n, f) == bytes.n);
    MUST(fclose(f) == 0);
    free(path);
}

/* As it would be read from the disk. */
static void
save_framed(const char *name, uint8_t kind, struct slice payload)
{
    struct key key = format_id_key(0x0102030405060708);
    uint8_t *value = mem_alloc(payload.n + FORMAT_FRAME_SIZE);

    format_frame(value, key_slice(&key), payload);
    save(name, kind | RAW, slice_of(value, payload.n + FORMAT_FRAME_SIZE));
    free(value);
}

/* --- chunks --- */

static const struct store_record records[] = {
    {.bytes = (const uint8_t *)"\0\1q\0\0", .address_len = 3, .props_len = 2, .offset = 0},
    {.bytes = (const uint8_t *)"\1x\1k\x10\0\2hello",
     .address_len = 4,
     .props_len = 3,
     .body_len = 5,
     .offset = 1},
    {.address_len = 4, .props_len = 3, .body_len = 8192, .shared = 9, .offset = 5},
    {.bytes = (const uint8_t *)"\1x\1k\x10\0\2hello",
     .address_len = 4,
     .props_len = 3,
     .body_len = 5,
     .offset = 300},
};

static void
save_chunk(const char *name, uint32_t n, bool has_shared)
{
    struct chunk_head head = {
        .queue = 5,
        .first = 1000,
        .n = n,
        .span = records[n - 1].offset,
        .has_shared = has_shared,
    };

    for (uint32_t i = 0; i < n; i++)
        head.bytes += records[i].body_len;
    size_t size = format_chunk_size(&head, records);
    uint8_t *value = mem_alloc(size);
    format_chunk(value, &head, records);
    save(name, CHUNK, slice_of(value, size));
    char *other = mem_printf("%s-raw", name);
    save(other, CHUNK | RAW, slice_of(value, size));
    free(other);
    value[size - 1] ^= 1;
    other = mem_printf("%s-damaged", name);
    save(other, CHUNK | KEEP_DATA, slice_of(value, size));
    free(other);
    free(value);
}

static void
save_shared(void)
{
    const struct store_record *r = &records[1];
    uint8_t value[64];

    format_shared(value, 1, r);
    save("shared", SHARED, slice_of(value, format_shared_size(r)));
    save("shared-raw", SHARED | RAW, slice_of(value, format_shared_size(r)));
}

/* --- small values --- */

static void
save_queue_state(const char *name, uint32_t n)
{
    static const struct store_range ranges[] = {{1, 10}, {500, 100000}};
    struct store_queue_state state = {.delivered = 123456, .purged = ranges, .n_purged = n};
    size_t size;
    uint8_t *payload = format_queue_state(&state, &size);

    save(name, QUEUE_STATE, slice_of(payload, size));
    char *other = mem_printf("%s-raw", name);
    save_framed(other, QUEUE_STATE, slice_of(payload, size));
    free(other);
    free(payload);
}

static void
save_dead(void)
{
    struct chunk_dead dead = {.n = 3, .bytes = 300, .bits = (const uint8_t *)"\x81\0\x01"};
    size_t size;
    uint8_t *payload = format_dead(&dead, 20, &size);

    save("dead", DEAD, slice_of(payload, size));
    save_framed("dead-raw", DEAD, slice_of(payload, size));
    free(payload);
}

static void
save_definition(const char *name, const struct definition *d)
{
    size_t n;
    uint8_t *payload = definition_encode(d, &n), *bytes = mem_alloc(1 + n);

    bytes[0] = (uint8_t)d->kind;
    memcpy(bytes + 1, payload, n);
    save(name, DEFINITION, slice_of(bytes, 1 + n));
    free(bytes);
    free(payload);
}

static void
save_definitions(void)
{
    const struct definition definitions[] = {
        {.kind = DEFINITION_VHOST, .name = slice_str("/")},
        {.kind = DEFINITION_USER,
         .name = slice_str("guest"),
         .password_hash = slice_str("aGFzaA=="),
         .tags = slice_str("administrator")},
        {.kind = DEFINITION_EXCHANGE,
         .vhost = 1,
         .name = slice_str("x"),
         .durable = true,
         .type = slice_str("topic"),
         .arguments = slice_of("\022alternate-exchangeS\0\0\0\1y", 25)},
        {.kind = DEFINITION_QUEUE,
         .vhost = 1,
         .name = slice_str("q"),
         .durable = true,
         .arguments = slice_of("\015x-message-ttlI\0\0\352\140", 19)},
        {.kind = DEFINITION_BINDING,
         .vhost = 1,
         .source = slice_str("x"),
         .destination = slice_str("q"),
         .key = slice_str("a.#")},
        {.kind = DEFINITION_DELETED_QUEUE},
    };
    static const char *const names[] = {"vhost", "user", "exchange", "queue", "binding", "deleted"};

    for (size_t i = 0; i < sizeof definitions / sizeof *definitions; i++)
        save_definition(names[i], &definitions[i]);
}

int
main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: make_chunks DIR\n");
        return EXIT_FAILURE;
    }
    folder = argv[1];
    save_chunk("chunk-of-one", 1, false);
    save_chunk("chunk-of-two", 2, false);
    save_chunk("chunk-of-four", 4, true);
    save_shared();
    save_queue_state("queue-state", 0);
    save_queue_state("queue-state-purged", 2);
    save_dead();
    save_definitions();
    return EXIT_SUCCESS;
}
