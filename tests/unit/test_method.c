#include "protocol/method.h"

#include <stdio.h>

#include "tests/unit/check_util.h"
#include "tests/unit/method_args.h"

/* --- every method, through its descriptors --- */

#define ROUNDS 50

static const char *
name_of(enum amqp_method_id id)
{
    return amqp_method_info(id)->name;
}

/* Encoded into a block of exactly the size that the method claims to need. */
static struct slice
encoded(enum amqp_method_id id, const union amqp_args *args)
{
    size_t n = amqp_method_size(id, args);
    uint8_t *bytes = malloc(n);
    struct writer w = writer_init(bytes, n);

    amqp_method_encode(id, &w, args);
    ck_assert_msg(!w.bad && w.p == w.end, "%s: writes other than %zu bytes", name_of(id), n);
    return slice_of(bytes, n);
}

static void
release(struct slice s)
{
    free((void *)(uintptr_t)s.p);
}

/* Decodes the arguments behind class and method id. */
static bool
decode(enum amqp_method_id id, struct slice s, union amqp_args *args_r)
{
    struct reader r = reader_init(slice_of(s.p + 4, s.n - 4));
    return amqp_method_decode(id, &r, args_r);
}

START_TEST(test_round_trip)
{
    enum amqp_method_id id = (enum amqp_method_id)_i;
    struct prng g = {.state = (uint64_t)_i + 1};
    union amqp_args args, again;

    for (unsigned round = 0; round < ROUNDS; round++) {
        args_random(id, &args, &g);
        struct slice bytes = encoded(id, &args);
        ck_assert_uint_eq(get_u16(bytes.p), amqp_method_info(id)->class_id);
        ck_assert_uint_eq(get_u16(bytes.p + 2), amqp_method_info(id)->method_id);
        memset(&again, 0xa5, sizeof again);
        ck_assert_msg(decode(id, bytes, &again), "%s", name_of(id));
        const char *field = args_difference(id, &args, &again);
        ck_assert_msg(field == NULL, "%s: %s", name_of(id), field);
        ck_assert(amqp_method_utf8_ok(id, &again));
        release(bytes);
    }
}
END_TEST

START_TEST(test_wrong_length)
{
    enum amqp_method_id id = (enum amqp_method_id)_i;
    struct prng g = {.state = (uint64_t)_i + 1};
    union amqp_args args;

    for (unsigned round = 0; round < ROUNDS / 10; round++) {
        args_random(id, &args, &g);
        struct slice bytes = encoded(id, &args);
        for (size_t n = 4; n < bytes.n; n++) {
            uint8_t *cut = exact_bytes(slice_of(bytes.p, n));
            ck_assert_msg(!decode(id, slice_of(cut, n), &args), "%s cut to %zu bytes", name_of(id),
                          n);
            free(cut);
        }
        uint8_t *longer = mem_zalloc(bytes.n + 1);
        memcpy(longer, bytes.p, bytes.n);
        ck_assert_msg(!decode(id, slice_of(longer, bytes.n + 1), &args), "%s and a byte",
                      name_of(id));
        free(longer);
        release(bytes);
    }
}
END_TEST

/* A writer with too little room goes bad, and what lies behind it stays as it was. */
START_TEST(test_no_room)
{
    enum amqp_method_id id = (enum amqp_method_id)_i;
    struct prng g = {.state = (uint64_t)_i + 1};
    union amqp_args args;
    static uint8_t bytes[8192];

    args_random(id, &args, &g);
    size_t size = amqp_method_size(id, &args);
    ck_assert_uint_lt(size, sizeof bytes);
    for (size_t room = 0; room < size; room++) {
        memset(bytes, 0x5a, size);
        struct writer w = writer_init(bytes, room);
        amqp_method_encode(id, &w, &args);
        ck_assert_msg(w.bad, "%s in %zu of %zu bytes", name_of(id), room, size);
        for (size_t i = room; i < size; i++)
            ck_assert_uint_eq(bytes[i], 0x5a);
    }
}
END_TEST

START_TEST(test_shortstr_limits)
{
    enum amqp_method_id id = (enum amqp_method_id)_i;
    const struct amqp_method_info *info = amqp_method_info(id);
    static uint8_t text[256], bytes[2048];
    union amqp_args args, again;

    memset(text, 'x', sizeof text);
    for (unsigned i = 0; i < info->n_fields; i++) {
        if (info->fields[i].type != AMQP_FT_shortstr)
            continue;
        memset(&args, 0, sizeof args);
        struct slice *s = arg_at(&args, &info->fields[i]);
        *s = slice_of(text, 255);
        struct slice longest = encoded(id, &args);
        ck_assert(decode(id, longest, &again));
        ck_assert_ptr_null(args_difference(id, &args, &again));
        release(longest);

        *s = slice_of(text, 256);
        struct writer w = writer_init(bytes, sizeof bytes);
        amqp_method_encode(id, &w, &args);
        ck_assert_msg(w.bad, "%s: %s of 256 bytes", info->name, info->fields[i].name);
    }
}
END_TEST

/* A length that does not fit into its four bytes is refused before any byte is looked at. */
START_TEST(test_longstr_limits)
{
    enum amqp_method_id id = (enum amqp_method_id)_i;
    const struct amqp_method_info *info = amqp_method_info(id);
    uint8_t bytes[512];
    union amqp_args args;

    for (unsigned i = 0; i < info->n_fields; i++) {
        if (info->fields[i].type != AMQP_FT_longstr && info->fields[i].type != AMQP_FT_table)
            continue;
        memset(&args, 0, sizeof args);
        *(struct slice *)arg_at(&args, &info->fields[i]) = slice_of("", (size_t)UINT32_MAX + 1);
        struct writer w = writer_init(bytes, sizeof bytes);
        amqp_method_encode(id, &w, &args);
        ck_assert_msg(w.bad, "%s: %s of 4 GiB", info->name, info->fields[i].name);
    }
}
END_TEST

/* Every shortstr is looked at, and nothing else is. */
START_TEST(test_utf8_ok)
{
    enum amqp_method_id id = (enum amqp_method_id)_i;
    const struct amqp_method_info *info = amqp_method_info(id);
    union amqp_args args;

    for (unsigned i = 0; i < info->n_fields; i++) {
        const struct amqp_field_info *f = &info->fields[i];
        if (f->type != AMQP_FT_shortstr && f->type != AMQP_FT_longstr && f->type != AMQP_FT_table)
            continue;
        memset(&args, 0, sizeof args);
        struct slice *s = arg_at(&args, f);
        *s = slice_str("\xc3\xa9");
        ck_assert(amqp_method_utf8_ok(id, &args));
        *s = slice_str("\xc3");
        ck_assert_msg(amqp_method_utf8_ok(id, &args) == (f->type != AMQP_FT_shortstr), "%s: %s",
                      info->name, f->name);
    }
}
END_TEST

START_TEST(test_find)
{
    const struct amqp_method_info *info = amqp_method_info((enum amqp_method_id)_i);

    ck_assert_int_eq(amqp_method_find(info->class_id, info->method_id), _i);
}
END_TEST

START_TEST(test_find_no_other)
{
    unsigned found = 0;

    for (unsigned class_id = 0; class_id <= 300; class_id++) {
        for (unsigned method_id = 0; method_id <= 300; method_id++)
            found +=
                amqp_method_find((uint16_t)class_id, (uint16_t)method_id) != AMQP_METHOD_UNKNOWN;
    }
    ck_assert_uint_eq(found, AMQP_METHOD_COUNT);
    ck_assert_int_eq(amqp_method_find(40, 41), AMQP_METHOD_UNKNOWN);
    ck_assert_int_eq(amqp_method_find(65535, 65535), AMQP_METHOD_UNKNOWN);
    /* Class and method must not run into each other. */
    ck_assert_int_eq(amqp_method_find(0, 10), AMQP_METHOD_UNKNOWN);
    ck_assert_int_eq(amqp_method_find(10 << 8, 10), AMQP_METHOD_UNKNOWN);
}
END_TEST

START_TEST(test_unknown)
{
    struct reader r = reader_init(slice_str(""));
    uint8_t bytes[16];
    struct writer w = writer_init(bytes, sizeof bytes);
    union amqp_args args = {0};

    ck_assert(!amqp_method_decode(AMQP_METHOD_UNKNOWN, &r, &args));
    ck_assert_uint_eq(amqp_method_size(AMQP_METHOD_UNKNOWN, &args), 0);
    amqp_method_encode(AMQP_METHOD_UNKNOWN, &w, &args);
    ck_assert(w.bad);
}
END_TEST

START_TEST(test_flags)
{
    const struct amqp_method_info *info = amqp_method_info((enum amqp_method_id)_i);
    bool content =
        strcmp(info->name, "basic.publish") == 0 || strcmp(info->name, "basic.return") == 0 ||
        strcmp(info->name, "basic.deliver") == 0 || strcmp(info->name, "basic.get_ok") == 0;

    ck_assert_uint_ne(info->flags & AMQP_FROM_BOTH, 0);
    ck_assert_int_eq((info->flags & AMQP_HAS_CONTENT) != 0, content);
}
END_TEST

/* --- the whole list once more, as signatures in the order of the wire --- */

static const struct {
    uint16_t class_id, method_id;
    const char *name, *fields;
} signatures[] = {
    {10, 10, "connection.start", "ooTLL"},
    {10, 11, "connection.start_ok", "TSLS"},
    {10, 20, "connection.secure", "L"},
    {10, 21, "connection.secure_ok", "L"},
    {10, 30, "connection.tune", "hlh"},
    {10, 31, "connection.tune_ok", "hlh"},
    {10, 40, "connection.open", "SSb"},
    {10, 41, "connection.open_ok", "S"},
    {10, 50, "connection.close", "hShh"},
    {10, 51, "connection.close_ok", ""},
    {10, 60, "connection.blocked", "S"},
    {10, 61, "connection.unblocked", ""},
    {10, 70, "connection.update_secret", "LS"},
    {10, 71, "connection.update_secret_ok", ""},
    {20, 10, "channel.open", "S"},
    {20, 11, "channel.open_ok", "L"},
    {20, 20, "channel.flow", "b"},
    {20, 21, "channel.flow_ok", "b"},
    {20, 40, "channel.close", "hShh"},
    {20, 41, "channel.close_ok", ""},
    {30, 10, "access.request", "Sbbbbb"},
    {30, 11, "access.request_ok", "h"},
    {40, 10, "exchange.declare", "hSSbbbbbT"},
    {40, 11, "exchange.declare_ok", ""},
    {40, 20, "exchange.delete", "hSbb"},
    {40, 21, "exchange.delete_ok", ""},
    {40, 30, "exchange.bind", "hSSSbT"},
    {40, 31, "exchange.bind_ok", ""},
    {40, 40, "exchange.unbind", "hSSSbT"},
    {40, 51, "exchange.unbind_ok", ""},
    {50, 10, "queue.declare", "hSbbbbbT"},
    {50, 11, "queue.declare_ok", "Sll"},
    {50, 20, "queue.bind", "hSSSbT"},
    {50, 21, "queue.bind_ok", ""},
    {50, 30, "queue.purge", "hSb"},
    {50, 31, "queue.purge_ok", "l"},
    {50, 40, "queue.delete", "hSbbb"},
    {50, 41, "queue.delete_ok", "l"},
    {50, 50, "queue.unbind", "hSSST"},
    {50, 51, "queue.unbind_ok", ""},
    {60, 10, "basic.qos", "lhb"},
    {60, 11, "basic.qos_ok", ""},
    {60, 20, "basic.consume", "hSSbbbbT"},
    {60, 21, "basic.consume_ok", "S"},
    {60, 30, "basic.cancel", "Sb"},
    {60, 31, "basic.cancel_ok", "S"},
    {60, 40, "basic.publish", "hSSbb"},
    {60, 50, "basic.return", "hSSS"},
    {60, 60, "basic.deliver", "SQbSS"},
    {60, 70, "basic.get", "hSb"},
    {60, 71, "basic.get_ok", "QbSSl"},
    {60, 72, "basic.get_empty", "S"},
    {60, 80, "basic.ack", "Qb"},
    {60, 90, "basic.reject", "Qb"},
    {60, 100, "basic.recover_async", "b"},
    {60, 110, "basic.recover", "b"},
    {60, 111, "basic.recover_ok", ""},
    {60, 120, "basic.nack", "Qbb"},
    {85, 10, "confirm.select", "b"},
    {85, 11, "confirm.select_ok", ""},
    {90, 10, "tx.select", ""},
    {90, 11, "tx.select_ok", ""},
    {90, 20, "tx.commit", ""},
    {90, 21, "tx.commit_ok", ""},
    {90, 30, "tx.rollback", ""},
    {90, 31, "tx.rollback_ok", ""},
};
#define N_SIGNATURES (sizeof signatures / sizeof *signatures)

static char
field_letter(enum amqp_field_type type)
{
    switch (type) {
    case AMQP_FT_octet:
        return 'o';
    case AMQP_FT_short:
        return 'h';
    case AMQP_FT_long:
        return 'l';
    case AMQP_FT_longlong:
        return 'Q';
    case AMQP_FT_bit:
        return 'b';
    case AMQP_FT_shortstr:
        return 'S';
    case AMQP_FT_longstr:
        return 'L';
    case AMQP_FT_table:
        return 'T';
    }
    return '?';
}

START_TEST(test_signature)
{
    enum amqp_method_id id = amqp_method_find(signatures[_i].class_id, signatures[_i].method_id);
    char fields[32] = "";

    ck_assert_int_ne(id, AMQP_METHOD_UNKNOWN);
    const struct amqp_method_info *info = amqp_method_info(id);
    ck_assert_str_eq(info->name, signatures[_i].name);
    ck_assert_uint_lt(info->n_fields, sizeof fields);
    for (unsigned i = 0; i < info->n_fields; i++)
        fields[i] = field_letter(info->fields[i].type);
    ck_assert_str_eq(fields, signatures[_i].fields);
}
END_TEST

START_TEST(test_all_have_signatures)
{
    ck_assert_uint_eq(N_SIGNATURES, AMQP_METHOD_COUNT);
}
END_TEST

/* --- bytes written by hand from the specification --- */

static void
expect(enum amqp_method_id id, const union amqp_args *args, struct slice wanted)
{
    union amqp_args decoded;

    struct slice bytes = encoded(id, args);
    ck_assert_slice_eq(bytes, wanted);
    release(bytes);
    ck_assert(decode(id, wanted, &decoded));
    ck_assert_ptr_null(args_difference(id, args, &decoded));
}

START_TEST(test_connection_start_bytes)
{
    union amqp_args a = {.connection_start = {.version_major = 0,
                                              .version_minor = 9,
                                              .server_properties = BYTES("\001atV"),
                                              .mechanisms = slice_str("PLAIN"),
                                              .locales = slice_str("en_US")}};

    expect(AMQP_connection_start, &a,
           BYTES("\000\012\000\012"
                 "\000\011"
                 "\000\000\000\004"
                 "\001atV"
                 "\000\000\000\005"
                 "PLAIN"
                 "\000\000\000\005"
                 "en_US"));
}
END_TEST

START_TEST(test_connection_tune_bytes)
{
    union amqp_args a = {
        .connection_tune = {.channel_max = 2047, .frame_max = 131072, .heartbeat = 60}};

    expect(AMQP_connection_tune, &a,
           BYTES("\000\012\000\036"
                 "\007\377"
                 "\000\002\000\000"
                 "\000\074"));
}
END_TEST

START_TEST(test_connection_close_bytes)
{
    union amqp_args a = {.connection_close = {.reply_code = 504,
                                              .reply_text = slice_str("CHANNEL_ERROR"),
                                              .class_id = 60,
                                              .method_id = 40}};

    expect(AMQP_connection_close, &a,
           BYTES("\000\012\000\062"
                 "\001\370"
                 "\015"
                 "CHANNEL_ERROR"
                 "\000\074\000\050"));
}
END_TEST

/* A longstr, though channel.open has a shortstr. */
START_TEST(test_channel_open_ok_bytes)
{
    union amqp_args a = {.channel_open_ok = {.channel_id = {NULL, 0}}};

    expect(AMQP_channel_open_ok, &a,
           BYTES("\000\024\000\013"
                 "\000\000\000\000"));
}
END_TEST

START_TEST(test_exchange_declare_bytes)
{
    union amqp_args a = {.exchange_declare = {.exchange = slice_str("e"),
                                              .type = slice_str("topic"),
                                              .durable = true,
                                              .nowait = true,
                                              .arguments = {NULL, 0}}};

    expect(AMQP_exchange_declare, &a,
           BYTES("\000\050\000\012"
                 "\000\000"
                 "\001e"
                 "\005topic"
                 "\022"
                 "\000\000\000\000"));
}
END_TEST

/* 51, not 41. */
START_TEST(test_exchange_unbind_ok_bytes)
{
    union amqp_args a = {0};

    expect(AMQP_exchange_unbind_ok, &a, BYTES("\000\050\000\063"));
}
END_TEST

START_TEST(test_queue_declare_bytes)
{
    union amqp_args a = {.queue_declare = {.ticket = 258,
                                           .queue = slice_str("q1"),
                                           .passive = false,
                                           .durable = true,
                                           .exclusive = false,
                                           .auto_delete = true,
                                           .nowait = false,
                                           .arguments = BYTES("\001xI\000\000\000\005")}};

    expect(AMQP_queue_declare, &a,
           BYTES("\000\062\000\012"
                 "\001\002"
                 "\002q1"
                 "\012"
                 "\000\000\000\007"
                 "\001xI\000\000\000\005"));
    a.queue_declare.passive = a.queue_declare.exclusive = a.queue_declare.nowait = true;
    expect(AMQP_queue_declare, &a,
           BYTES("\000\062\000\012"
                 "\001\002"
                 "\002q1"
                 "\037"
                 "\000\000\000\007"
                 "\001xI\000\000\000\005"));
}
END_TEST

START_TEST(test_basic_consume_bytes)
{
    static const struct {
        bool no_local, no_ack, exclusive, nowait;
        char octet;
    } bits[] = {
        {true, false, false, false, 1}, {false, true, false, false, 2},
        {false, false, true, false, 4}, {false, false, false, true, 8},
        {true, true, true, true, 15},   {false, false, false, false, 0},
    };

    for (size_t i = 0; i < sizeof bits / sizeof *bits; i++) {
        union amqp_args a = {.basic_consume = {.queue = slice_str("q"),
                                               .consumer_tag = slice_str("ctag"),
                                               .no_local = bits[i].no_local,
                                               .no_ack = bits[i].no_ack,
                                               .exclusive = bits[i].exclusive,
                                               .nowait = bits[i].nowait,
                                               .arguments = {NULL, 0}}};
        char wanted[] = "\000\074\000\024"
                        "\000\000"
                        "\001q"
                        "\004ctag"
                        "?"
                        "\000\000\000\000";
        wanted[13] = bits[i].octet;
        expect(AMQP_basic_consume, &a, slice_of(wanted, sizeof wanted - 1));
    }
}
END_TEST

START_TEST(test_basic_publish_bytes)
{
    union amqp_args a = {.basic_publish = {.exchange = slice_str("amq.topic"),
                                           .routing_key = slice_str("a.b"),
                                           .mandatory = true}};

    expect(AMQP_basic_publish, &a,
           BYTES("\000\074\000\050"
                 "\000\000"
                 "\011amq.topic"
                 "\003a.b"
                 "\001"));
}
END_TEST

/* A bit between other fields takes an octet of its own. */
START_TEST(test_basic_deliver_bytes)
{
    union amqp_args a = {.basic_deliver = {.consumer_tag = slice_str("c"),
                                           .delivery_tag = 0x0102030405060708,
                                           .redelivered = true,
                                           .exchange = {NULL, 0},
                                           .routing_key = slice_str("q")}};

    expect(AMQP_basic_deliver, &a,
           BYTES("\000\074\000\074"
                 "\001c"
                 "\001\002\003\004\005\006\007\010"
                 "\001"
                 "\000"
                 "\001q"));
}
END_TEST

START_TEST(test_basic_nack_bytes)
{
    union amqp_args a = {.basic_nack = {.delivery_tag = 3, .multiple = false, .requeue = true}};

    expect(AMQP_basic_nack, &a,
           BYTES("\000\074\000\170"
                 "\000\000\000\000\000\000\000\003"
                 "\002"));
}
END_TEST

START_TEST(test_access_request_bytes)
{
    union amqp_args a = {
        .access_request = {.realm = slice_str("/data"), .active = true, .read = true}};

    expect(AMQP_access_request, &a,
           BYTES("\000\036\000\012"
                 "\005/data"
                 "\024"));
}
END_TEST

/* The bits of an octet that no field uses are ignored, as RabbitMQ does. */
START_TEST(test_spare_bits)
{
    union amqp_args a;

    ck_assert(decode(AMQP_basic_nack,
                     BYTES("\000\074\000\170"
                           "\000\000\000\000\000\000\000\003"
                           "\376"),
                     &a));
    ck_assert(!a.basic_nack.multiple);
    ck_assert(a.basic_nack.requeue);
}
END_TEST

/* A length inside the arguments that points beyond the frame. */
START_TEST(test_length_beyond_frame)
{
    union amqp_args a;

    ck_assert(!decode(AMQP_channel_open,
                      BYTES("\000\024\000\012"
                            "\001"),
                      &a));
    ck_assert(!decode(AMQP_channel_open_ok,
                      BYTES("\000\024\000\013"
                            "\377\377\377\377"),
                      &a));
    ck_assert(!decode(AMQP_channel_open_ok,
                      BYTES("\000\024\000\013"
                            "\177\377\377\377"
                            "abc"),
                      &a));
    ck_assert(!decode(AMQP_queue_unbind,
                      BYTES("\000\062\000\062"
                            "\000\000"
                            "\000\000\000"
                            "\000\000\000\001"),
                      &a));
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("method");
    TCase *tc = tcase_create("every method");

    tcase_add_loop_test(tc, test_round_trip, 0, AMQP_METHOD_COUNT);
    tcase_add_loop_test(tc, test_wrong_length, 0, AMQP_METHOD_COUNT);
    tcase_add_loop_test(tc, test_no_room, 0, AMQP_METHOD_COUNT);
    tcase_add_loop_test(tc, test_shortstr_limits, 0, AMQP_METHOD_COUNT);
    tcase_add_loop_test(tc, test_longstr_limits, 0, AMQP_METHOD_COUNT);
    tcase_add_loop_test(tc, test_utf8_ok, 0, AMQP_METHOD_COUNT);
    tcase_add_loop_test(tc, test_find, 0, AMQP_METHOD_COUNT);
    tcase_add_loop_test(tc, test_flags, 0, AMQP_METHOD_COUNT);
    tcase_add_loop_test(tc, test_signature, 0, N_SIGNATURES);
    tcase_add_test(tc, test_all_have_signatures);
    tcase_add_test(tc, test_find_no_other);
    tcase_add_test(tc, test_unknown);
    suite_add_tcase(suite, tc);

    tc = tcase_create("bytes");
    tcase_add_test(tc, test_connection_start_bytes);
    tcase_add_test(tc, test_connection_tune_bytes);
    tcase_add_test(tc, test_connection_close_bytes);
    tcase_add_test(tc, test_channel_open_ok_bytes);
    tcase_add_test(tc, test_exchange_declare_bytes);
    tcase_add_test(tc, test_exchange_unbind_ok_bytes);
    tcase_add_test(tc, test_queue_declare_bytes);
    tcase_add_test(tc, test_basic_consume_bytes);
    tcase_add_test(tc, test_basic_publish_bytes);
    tcase_add_test(tc, test_basic_deliver_bytes);
    tcase_add_test(tc, test_basic_nack_bytes);
    tcase_add_test(tc, test_access_request_bytes);
    tcase_add_test(tc, test_spare_bits);
    tcase_add_test(tc, test_length_beyond_frame);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
