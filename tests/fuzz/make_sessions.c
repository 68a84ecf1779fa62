/*
 * Writes the first inputs of fuzz_connection into a folder, sessions as real clients have them:
 * make_sessions DIR. They are the same on every machine.
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>

#include "protocol/frame.h"
#include "protocol/props.h"
#include "protocol/table.h"

/* As in fuzz_connection.c. */
enum { TWO = 1, FRESH = 2, LATER = 4, SMALL = 8, SMALL_WRITES = 16 };
enum {
    RAW,
    METHOD,
    HEADER,
    BODY,
    TIME,
    BLOCK,
    CUT,
    AUTH,
    SECOND = 8,
    PIECES = 0x40,
    NO_RUN = 0x80
};

static const char *out_dir;
static uint8_t bytes[20000];
static struct writer w;

static void
begin(unsigned setup)
{
    w = writer_init(bytes, sizeof bytes);
    write_u8(&w, (uint8_t)setup);
}

static void
save(const char *name)
{
    char *path = mem_printf("%s/seed-%s", out_dir, name);
    FILE *f = fopen(path, "wb");

    MUST(!w.bad);
    if (f == NULL || fwrite(bytes, 1, (size_t)(w.p - bytes), f) == 0 || fclose(f) != 0) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        exit(EXIT_FAILURE);
    }
    free(path);
}

static void
step(unsigned kind, uint16_t length)
{
    write_u8(&w, (uint8_t)kind);
    write_u16(&w, length);
}

static void
raw(unsigned kind, struct slice s)
{
    step(RAW | kind, (uint16_t)s.n);
    write_bytes(&w, s);
}

/* A method on channel 0 to 3, in a frame that the target makes. */
static void
method(unsigned kind, unsigned channel, enum amqp_method_id id, const union amqp_args *args)
{
    step(METHOD | kind | channel << 4, (uint16_t)amqp_method_size(id, args));
    amqp_method_encode(id, &w, args);
}

#define DO(kind, channel, c, m, ...)                                                               \
    method((kind), (channel), AMQP_##c##_##m, &(union amqp_args){.c##_##m = {__VA_ARGS__}})

#define S(s) slice_str(s)

static void
content(unsigned kind, unsigned channel, struct slice props, struct slice body)
{
    step(HEADER | kind | channel << 4, (uint16_t)(AMQP_CONTENT_HEADER_FIXED + props.n));
    write_u16(&w, AMQP_CLASS_BASIC);
    write_u16(&w, 0);
    write_u64(&w, body.n);
    write_bytes(&w, props);
    if (body.n == 0)
        return;
    step(BODY | kind | channel << 4, (uint16_t)body.n);
    write_bytes(&w, body);
}

static const struct slice no_props = {(const uint8_t *)"\0\0", 2};

static void
publish(unsigned kind, unsigned channel, const char *exchange, const char *key, bool mandatory)
{
    DO(kind, channel, basic, publish, .exchange = S(exchange), .routing_key = S(key),
       .mandatory = mandatory);
    content(kind, channel, no_props, S("hello"));
}

/* --- sessions --- */

static void
write_handshake(struct writer *out, const char *mechanism, struct slice response,
                uint16_t heartbeat)
{
    union amqp_args args = {
        .connection_start_ok = {.mechanism = S(mechanism), .response = response}};

    write_bytes(out, slice_of(amqp_protocol_header, AMQP_PROTOCOL_HEADER_SIZE));
    amqp_write_method_frame(out, 0, AMQP_connection_start_ok, &args);
    args = (union amqp_args){.connection_tune_ok = {2047, 131072, heartbeat, 0}};
    amqp_write_method_frame(out, 0, AMQP_connection_tune_ok, &args);
    args = (union amqp_args){.connection_open = {.virtual_host = S("/")}};
    amqp_write_method_frame(out, 0, AMQP_connection_open, &args);
    args = (union amqp_args){.channel_open = {.out_of_band = S("")}};
    amqp_write_method_frame(out, 1, AMQP_channel_open, &args);
}

static void
handshakes(void)
{
    static const uint8_t amqplain[] =
        "\005LOGINS\000\000\000\005guest\010PASSWORDS\000\000\000\005guest";
    uint8_t buf[512];
    struct writer out = writer_init(buf, sizeof buf);

    write_handshake(&out, "PLAIN", slice_of("\0guest\0guest", 12), 1);
    struct slice plain = slice_of(buf, (size_t)(out.p - buf));
    begin(FRESH);
    raw(0, plain);
    step(TIME, 300);
    save("handshake");
    begin(FRESH | SMALL_WRITES);
    raw(PIECES, plain);
    save("handshake-in-pieces");
    begin(FRESH | LATER);
    raw(0, plain);
    step(AUTH, 1);
    step(TIME, 300);
    save("handshake-refused");
    begin(FRESH | LATER);
    raw(0, plain);
    step(CUT, 1);
    step(AUTH, 0);
    raw(0, plain);
    step(AUTH, 0);
    save("handshake-cut");
    out = writer_init(buf, sizeof buf);
    write_handshake(&out, "AMQPLAIN", slice_of(amqplain, sizeof amqplain - 1), 0);
    begin(FRESH);
    raw(0, slice_of(buf, (size_t)(out.p - buf)));
    save("handshake-amqplain");
    begin(FRESH);
    raw(0, S("GET / HTTP/1.1\r\n\r\n"));
    save("http");
    begin(FRESH);
    step(TIME, 700);
    save("timeout");
}

static void
consuming(void)
{
    begin(TWO);
    DO(0, 1, queue, declare, .queue = S("q"));
    DO(0, 1, basic, qos, .prefetch_count = 2);
    DO(0, 1, basic, consume, .queue = S("q"), .consumer_tag = S("a"));
    DO(SECOND, 1, basic, consume, .queue = S("q"), .no_ack = true);
    for (unsigned i = 0; i < 6; i++)
        publish(NO_RUN, 2, "", "q", false);
    DO(0, 1, basic, ack, .delivery_tag = 1);
    DO(0, 1, basic, nack, .multiple = true, .requeue = true);
    DO(0, 1, basic, reject, .delivery_tag = 3, .requeue = true);
    DO(0, 1, basic, recover, .requeue = true);
    DO(0, 1, basic, cancel, .consumer_tag = S("a"));
    DO(0, 1, basic, get, .queue = S("q"));
    DO(0, 1, queue, purge, .queue = S("q"));
    DO(SECOND, 2, queue, delete, .queue = S("q"));
    DO(0, 1, basic, ack, .delivery_tag = 4);
    DO(0, 1, channel, close, .reply_code = 200);
    DO(0, 0, connection, close, .reply_code = 200);
    save("consume");

    begin(SMALL | SMALL_WRITES);
    DO(0, 1, queue, declare, .exclusive = true, .auto_delete = true);
    DO(0, 1, basic, consume, .no_ack = true);
    step(BLOCK, 0);
    for (unsigned i = 0; i < 6; i++)
        publish(NO_RUN, 2, "amq.fanout", "", true);
    DO(0, 1, queue, bind, .exchange = S("amq.fanout"));
    for (unsigned i = 0; i < 6; i++)
        publish(0, 2, "amq.fanout", "", true);
    step(BLOCK, 0);
    step(TIME, 500);
    save("slow-consumer");
}

static void
publishing(void)
{
    begin(0);
    DO(0, 1, confirm, select, .nowait = false);
    DO(0, 1, queue, declare, .queue = S("q"), .durable = true);
    publish(NO_RUN, 1, "", "q", true);
    publish(NO_RUN, 1, "", "nowhere", true);
    publish(0, 1, "", "q", false);
    DO(0, 2, tx, select, );
    publish(0, 2, "", "q", false);
    DO(0, 2, basic, get, .queue = S("q"));
    DO(0, 2, basic, ack, .delivery_tag = 1);
    DO(0, 2, tx, rollback, );
    DO(0, 2, basic, ack, .delivery_tag = 1);
    publish(0, 2, "", "q", false);
    DO(0, 2, tx, commit, );
    publish(0, 2, "missing", "q", false);
    DO(0, 2, channel, close_ok, );
    DO(0, 2, channel, open, );
    save("publish");
}

static struct slice
table(uint8_t *buf, size_t n, const char *key, struct amqp_value v)
{
    struct writer out = writer_init(buf, n);

    amqp_write_key(&out, slice_str(key));
    amqp_write_value(&out, &v);
    amqp_write_str(&out, "x-match", slice_str("any"));
    return slice_of(buf, (size_t)(out.p - buf));
}

static void
routing(void)
{
    uint8_t args[64], raw_props[128];
    struct slice one =
        table(args, sizeof args, "k", (struct amqp_value){.tag = AMQP_TAG_INT32, .i = 1});
    struct amqp_props props = {.flags = AMQP_PROP(headers) | AMQP_PROP(delivery_mode) |
                                        AMQP_PROP(expiration),
                               .headers = one,
                               .delivery_mode = 2,
                               .expiration = S("1000")};
    struct writer out = writer_init(raw_props, sizeof raw_props);

    amqp_props_encode(&out, &props);
    begin(0);
    DO(0, 1, queue, declare, .queue = S("q"));
    DO(0, 1, queue, bind, .queue = S("q"), .exchange = S("amq.topic"), .routing_key = S("a.*.#"));
    DO(0, 1, queue, bind, .queue = S("q"), .exchange = S("amq.topic"), .routing_key = S("#.b"));
    DO(0, 1, queue, bind, .queue = S("q"), .exchange = S("amq.headers"), .arguments = one);
    DO(0, 1, exchange, declare, .exchange = S("x"), .type = S("direct"), .auto_delete = true);
    DO(0, 1, exchange, bind, .destination = S("amq.topic"), .source = S("x"),
       .routing_key = S("a.b"));
    DO(0, 1, exchange, bind, .destination = S("x"), .source = S("amq.topic"),
       .routing_key = S("#"));
    publish(0, 1, "x", "a.b", true);
    publish(0, 1, "amq.topic", "a..b", true);
    DO(0, 1, basic, publish, .exchange = S("amq.headers"));
    content(0, 1, slice_of(raw_props, (size_t)(out.p - raw_props)), S(""));
    DO(0, 1, queue, unbind, .queue = S("q"), .exchange = S("amq.topic"), .routing_key = S("#.b"));
    DO(0, 1, exchange, unbind, .destination = S("amq.topic"), .source = S("x"),
       .routing_key = S("a.b"));
    DO(0, 1, exchange, delete, .exchange = S("x"));
    save("routing");
    one = table(args, sizeof args, "alternate-exchange",
                (struct amqp_value){.tag = AMQP_TAG_LONGSTR, .s = S("amq.fanout")});
    begin(0);
    DO(0, 1, exchange, declare, .exchange = S("x"), .type = S("topic"), .arguments = one);
    DO(0, 1, queue, declare, .queue = S("q"), .arguments = one);
    DO(0, 1, queue, bind, .queue = S("q"), .exchange = S("amq.fanout"));
    publish(0, 1, "x", "a", true);
    DO(0, 1, queue, declare, .queue = S("q"), .durable = true);
    save("alternate");
}

static void
breaking(void)
{
    begin(TWO);
    DO(0, 1, queue, declare, .queue = S("q"), .exclusive = true);
    DO(SECOND, 1, queue, declare, .queue = S("q"), .passive = true);
    DO(0, 1, basic, publish, .routing_key = S("q"));
    step(BODY | 1 << 4, 5);
    write_bytes(&w, S("hello"));
    DO(0, 0, connection, close_ok, );
    step(CUT, 0);
    publish(0, 1, "", "q", true);
    step(TIME, 9000);
    save("errors");
    begin(0);
    raw(0, slice_of("\010\000\000\000\000\000\000\316\003\000\001\000\000\000\003abc\316", 19));
    save("raw-frames");
}

int
main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: make_sessions DIR\n");
        return EXIT_FAILURE;
    }
    out_dir = argv[1];
    handshakes();
    consuming();
    publishing();
    routing();
    breaking();
    return EXIT_SUCCESS;
}
