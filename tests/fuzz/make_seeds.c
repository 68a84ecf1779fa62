/*
 * Writes the first inputs of the fuzz targets, and a dictionary, into a folder: make_seeds DIR.
 * They are the same on every machine. Run it when methods.def or tables.def has changed; see
 * README.md.
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <sys/stat.h>

#include "protocol/frame.h"
#include "protocol/props.h"
#include "protocol/table.h"
#include "tests/unit/method_args.h"

static const char *out_dir;

static FILE *
open_output(const char *path)
{
    FILE *f = fopen(path, "wb");
    if (f == NULL) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        exit(EXIT_FAILURE);
    }
    return f;
}

static void
make_folder(const char *path)
{
    if (mkdir(path, 0777) != 0 && errno != EEXIST) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        exit(EXIT_FAILURE);
    }
}

static void
save(const char *target, const char *name, struct slice bytes)
{
    char *folder = mem_printf("%s/%s", out_dir, target);
    char *path = mem_printf("%s/seed-%s", folder, name);

    make_folder(folder);
    FILE *f = open_output(path);
    fwrite(bytes.p, 1, bytes.n, f);
    if (fclose(f) != 0)
        exit(EXIT_FAILURE);
    free(path);
    free(folder);
}

static struct slice
written(const uint8_t *start, const struct writer *w)
{
    MUST(!w->bad);
    return slice_of(start, (size_t)(w->p - start));
}

static void
seed_methods(void)
{
    struct prng g = {.state = 1};
    uint8_t bytes[4096];

    for (unsigned id = 0; id < AMQP_METHOD_COUNT; id++) {
        union amqp_args args;
        args_random((enum amqp_method_id)id, &args, &g);
        struct writer w = writer_init(bytes, sizeof bytes);
        amqp_method_encode((enum amqp_method_id)id, &w, &args);
        save("methods", amqp_method_info((enum amqp_method_id)id)->name, written(bytes, &w));
    }
}

/* --- tables --- */

static const struct amqp_value examples[] = {
    {.tag = AMQP_TAG_BOOL, .boolean = true},
    {.tag = AMQP_TAG_INT8, .i = -1},
    {.tag = AMQP_TAG_UINT8, .i = 255},
    {.tag = AMQP_TAG_INT16, .i = -2},
    {.tag = AMQP_TAG_UINT16, .i = 65535},
    {.tag = AMQP_TAG_INT32, .i = -3},
    {.tag = AMQP_TAG_UINT32, .i = 4294967295},
    {.tag = AMQP_TAG_INT64, .i = INT64_MIN},
    {.tag = AMQP_TAG_INT64_L, .i = INT64_MAX},
    {.tag = AMQP_TAG_FLOAT, .f = 1.5},
    {.tag = AMQP_TAG_DOUBLE, .f = -0.1},
    {.tag = AMQP_TAG_DECIMAL, .decimal = {2, 314}},
    {.tag = AMQP_TAG_LONGSTR, .s = {(const uint8_t *)"text", 4}},
    {.tag = AMQP_TAG_BINARY, .s = {(const uint8_t *)"\0\xff", 2}},
    {.tag = AMQP_TAG_TIMESTAMP, .time = 1700000000},
    {.tag = AMQP_TAG_TABLE, .s = {NULL, 0}},
    {.tag = AMQP_TAG_ARRAY, .s = {NULL, 0}},
    {.tag = AMQP_TAG_VOID},
};

static void
write_examples(struct writer *w)
{
    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
        amqp_write_key(w, slice_str(amqp_tag_name(examples[i].tag)));
        amqp_write_value(w, &examples[i]);
    }
}

static void
seed_each_tag(void)
{
    uint8_t bytes[64];

    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
        char name[] = "tag-?";
        name[4] = (char)examples[i].tag;
        struct writer w = writer_init(bytes, sizeof bytes);
        amqp_write_key(&w, slice_str("k"));
        amqp_write_value(&w, &examples[i]);
        save("tables", name, written(bytes, &w));
    }
}

/* Tables in arrays in tables, `depth` in all with the outermost. */
static void
seed_nested(const char *name, unsigned depth)
{
    uint8_t bytes[4096], *at[128];
    struct writer w = writer_init(bytes, sizeof bytes);

    MUST(depth <= 128);
    for (unsigned i = 0; i + 1 < depth; i++) {
        if (i % 2 == 0)
            amqp_write_key(&w, slice_str("k"));
        write_u8(&w, i % 2 == 0 ? AMQP_TAG_ARRAY : AMQP_TAG_TABLE);
        at[i] = amqp_write_begin(&w);
    }
    for (unsigned i = depth - 1; i-- > 0;)
        amqp_write_end(&w, at[i]);
    save("tables", name, written(bytes, &w));
}

static void
seed_tables(void)
{
    uint8_t bytes[4096];

    save("tables", "empty", slice_of("", 0));
    seed_each_tag();
    seed_nested("depth-5", 5);
    seed_nested("depth-64", AMQP_TABLE_MAX_DEPTH);
    seed_nested("depth-65", AMQP_TABLE_MAX_DEPTH + 1);

    struct writer w = writer_init(bytes, sizeof bytes);
    write_examples(&w);
    save("tables", "all-tags", written(bytes, &w));
    write_examples(&w);
    save("tables", "duplicate-keys", written(bytes, &w));
    amqp_write_key(&w, slice_str("nested"));
    write_u8(&w, AMQP_TAG_TABLE);
    uint8_t *at = amqp_write_begin(&w);
    write_examples(&w);
    amqp_write_end(&w, at);
    save("tables", "all-tags-nested", written(bytes, &w));
    put_u32(at, get_u32(at) + 1);
    save("tables", "nested-too-long", written(bytes, &w));
    save("tables", "unknown-tag", slice_of("\001kU\000\001", 5));
    save("tables", "cut-short", slice_of("\001kI\000\000", 5));
}

/* --- properties --- */

static const struct amqp_props all_properties = {
    .flags = (uint16_t)~3U,
    .content_type = {(const uint8_t *)"application/json", 16},
    .content_encoding = {(const uint8_t *)"gzip", 4},
    .headers = {(const uint8_t *)"\002ktS\000\000\000\001v\002ktI\000\000\000\001\001dV", 21},
    .delivery_mode = 2,
    .priority = 9,
    .correlation_id = {(const uint8_t *)"1", 1},
    .reply_to = {(const uint8_t *)"amq.rabbitmq.reply-to", 21},
    .expiration = {(const uint8_t *)"60000", 5},
    .message_id = {(const uint8_t *)"id", 2},
    .timestamp = 1700000000,
    .type = {(const uint8_t *)"t", 1},
    .user_id = {(const uint8_t *)"guest", 5},
    .app_id = {NULL, 0},
    .cluster_id = {NULL, 0},
};

static struct slice
props_bytes(uint8_t *bytes, size_t n, uint16_t flags)
{
    struct amqp_props props = all_properties;
    struct writer w = writer_init(bytes, n);

    props.flags = flags;
    amqp_props_encode(&w, &props);
    return written(bytes, &w);
}

static void
seed_properties(void)
{
    uint8_t bytes[512];

#define P(name, type) save("properties", #name, props_bytes(bytes, sizeof bytes, AMQP_PROP(name)));
    AMQP_PROPERTIES(P)
#undef P
    save("properties", "none", props_bytes(bytes, sizeof bytes, 0));
    struct slice all = props_bytes(bytes, sizeof bytes, (uint16_t)~3U);
    save("properties", "all", all);
    save("properties", "cut-short", slice_of(bytes, all.n - 1));
    save("properties", "trailing", slice_of(bytes, all.n + 1));
    bytes[1] |= 2;
    save("properties", "undefined-flag", all);
    bytes[1] |= 1;
    save("properties", "continuation-flag", all);
    save("properties", "continuation-word", slice_of("\000\001\000\000", 4));
}

/* --- frames --- */

static void
write_method(struct writer *w, uint16_t channel, enum amqp_method_id id, struct prng *g)
{
    union amqp_args args;

    args_random(id, &args, g);
    amqp_write_method_frame(w, channel, id, &args);
}

static void
write_publish(struct writer *w, uint16_t channel, struct slice body, struct prng *g)
{
    uint8_t bytes[512];

    write_method(w, channel, AMQP_basic_publish, g);
    amqp_write_header_frame(w, channel, body.n, props_bytes(bytes, sizeof bytes, (uint16_t)~3U));
    if (body.n != 0)
        amqp_write_body_frame(w, channel, body);
}

static void
seed_frames(void)
{
    static uint8_t bytes[16384];
    struct prng g = {.state = 2};

    struct writer w = writer_init(bytes, sizeof bytes);
    write_u8(&w, 0);
    amqp_write_heartbeat(&w);
    save("frames", "heartbeat", written(bytes, &w));
    write_publish(&w, 1, slice_of("", 0), &g);
    save("frames", "empty-message", written(bytes, &w));

    w = writer_init(bytes, sizeof bytes);
    write_u8(&w, 31);
    write_publish(&w, 1, slice_str("hello"), &g);
    amqp_write_heartbeat(&w);
    write_publish(&w, 65535, slice_of("\xce\xce\xce", 3), &g);
    save("frames", "messages", written(bytes, &w));

    w = writer_init(bytes, sizeof bytes);
    write_u8(&w, 7);
    write_method(&w, 0, AMQP_connection_start_ok, &g);
    write_method(&w, 0, AMQP_connection_tune_ok, &g);
    write_method(&w, 0, AMQP_connection_open, &g);
    write_method(&w, 1, AMQP_channel_open, &g);
    write_method(&w, 1, AMQP_exchange_declare, &g);
    write_method(&w, 1, AMQP_queue_declare, &g);
    write_method(&w, 1, AMQP_queue_bind, &g);
    write_method(&w, 1, AMQP_basic_qos, &g);
    write_method(&w, 1, AMQP_basic_consume, &g);
    save("frames", "client", written(bytes, &w));
    bytes[w.p - bytes - 1] = 0xcd;
    save("frames", "wrong-end", written(bytes, &w));

    w = writer_init(bytes, sizeof bytes);
    write_u8(&w, 7);
    for (unsigned id = 0; id < AMQP_METHOD_COUNT; id++) {
        if (amqp_method_info((enum amqp_method_id)id)->flags & AMQP_FROM_SERVER)
            write_method(&w, (uint16_t)id, (enum amqp_method_id)id, &g);
    }
    save("frames", "server", written(bytes, &w));

    w = writer_init(bytes, sizeof bytes);
    write_u8(&w, 0);
    amqp_put_frame_head(w.p, AMQP_FRAME_BODY, 1, AMQP_FRAME_MIN_SIZE - AMQP_FRAME_OVERHEAD + 1);
    w.p += AMQP_FRAME_HEAD_SIZE;
    save("frames", "over-the-limit", written(bytes, &w));
}

/* --- the dictionary --- */

static void
write_dictionary(void)
{
    char *path = mem_printf("%s/amqp.dict", out_dir);
    FILE *f = open_output(path);

    fprintf(f, "# Generated by make_seeds from the method and field type lists.\n");
#define M(c, m, cid, mid, flags)                                                                   \
    fprintf(f, #c "_" #m "=\"\\x%02x\\x%02x\\x%02x\\x%02x\"\n", (cid) >> 8, (cid)&0xff,            \
            (mid) >> 8, (mid)&0xff);
    AMQP_METHODS(M)
#undef M
#define T(name, tag, text, kind) fprintf(f, "tag_" #name "=\"\\x01k%c\"\n", tag);
    AMQP_TAGS(T)
#undef T
    fprintf(f, "frame_method=\"\\x01\\x00\\x01\\x00\\x00\\x00\"\n");
    fprintf(f, "frame_header=\"\\x02\\x00\\x01\\x00\\x00\\x00\"\n");
    fprintf(f, "frame_body=\"\\x03\\x00\\x01\\x00\\x00\\x00\"\n");
    fprintf(f, "frame_heartbeat=\"\\x08\\x00\\x00\\x00\\x00\\x00\\x00\\xce\"\n");
    fprintf(f, "frame_end=\"\\xce\"\n");
    if (fclose(f) != 0)
        exit(EXIT_FAILURE);
    free(path);
}

int
main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: make_seeds DIR\n");
        return EXIT_FAILURE;
    }
    out_dir = argv[1];
    make_folder(out_dir);
    seed_methods();
    seed_tables();
    seed_properties();
    seed_frames();
    write_dictionary();
    return EXIT_SUCCESS;
}
