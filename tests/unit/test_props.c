#include "protocol/props.h"

#include "protocol/table.h"
#include "tests/unit/check_util.h"

#define HEADERS "\001kS\000\000\000\001v"
#define N_HEADERS (sizeof HEADERS - 1)

/* Every property: its flag from the specification and its bytes on the wire. */
static const struct {
    const char *name;
    uint16_t flag;
    struct slice bytes;
} properties[] = {
#define B(literal)                                                                                 \
    {                                                                                              \
        (const uint8_t *)literal, sizeof literal - 1                                               \
    }
    {"content_type", 1 << 15, B("\012text/plain")},
    {"content_encoding", 1 << 14, B("\004gzip")},
    {"headers", 1 << 13, B("\000\000\000\010" HEADERS)},
    {"delivery_mode", 1 << 12, B("\002")},
    {"priority", 1 << 11, B("\011")},
    {"correlation_id", 1 << 10, B("\003cid")},
    {"reply_to", 1 << 9, B("\005reply")},
    {"expiration", 1 << 8, B("\00560000")},
    {"message_id", 1 << 7, B("\002id")},
    {"timestamp", 1 << 6, B("\000\000\000\000\145\123\361\000")},
    {"type", 1 << 5, B("\001t")},
    {"user_id", 1 << 4, B("\005guest")},
    {"app_id", 1 << 3, B("\003app")},
    {"cluster_id", 1 << 2, B("\000")},
#undef B
};
#define N_PROPERTIES (sizeof properties / sizeof *properties)

static const struct amqp_props all = {
    .flags = 0xfffc,
    .content_type = {(const uint8_t *)"text/plain", 10},
    .content_encoding = {(const uint8_t *)"gzip", 4},
    .headers = {(const uint8_t *)HEADERS, N_HEADERS},
    .delivery_mode = 2,
    .priority = 9,
    .correlation_id = {(const uint8_t *)"cid", 3},
    .reply_to = {(const uint8_t *)"reply", 5},
    .expiration = {(const uint8_t *)"60000", 5},
    .message_id = {(const uint8_t *)"id", 2},
    .timestamp = 1700000000,
    .type = {(const uint8_t *)"t", 1},
    .user_id = {(const uint8_t *)"guest", 5},
    .app_id = {(const uint8_t *)"app", 3},
    .cluster_id = {NULL, 0},
};

/* Flags and the values that belong to them, put together from the list above. */
static struct slice
wire(uint8_t *bytes, size_t n, uint16_t flags)
{
    struct writer w = writer_init(bytes, n);

    write_u16(&w, flags);
    for (size_t i = 0; i < N_PROPERTIES; i++) {
        if (flags & properties[i].flag)
            write_bytes(&w, properties[i].bytes);
    }
    ck_assert(!w.bad);
    return slice_of(bytes, (size_t)(w.p - bytes));
}

#define SAME_octet(a, b) ck_assert_uint_eq(a, b)
#define SAME_longlong(a, b) ck_assert_uint_eq(a, b)
#define SAME_shortstr(a, b) ck_assert_slice_eq(a, b)
#define SAME_table(a, b) ck_assert_slice_eq(a, b)

/* Decodes to the values of `all` whose flags are set, and encodes to the same bytes. */
static void
check_flags(uint16_t flags)
{
    uint8_t raw_bytes[256], bytes[256];
    struct slice raw = wire(raw_bytes, sizeof raw_bytes, flags);
    struct amqp_props props;

    memset(&props, 0xa5, sizeof props);
    ck_assert(amqp_props_decode(raw, &props));
    ck_assert_uint_eq(props.flags, flags);
#define P(name, type)                                                                              \
    if (flags & AMQP_PROP(name)) {                                                                 \
        SAME_##type(props.name, all.name);                                                         \
    }
    AMQP_PROPERTIES(P)
#undef P

    ck_assert_uint_eq(amqp_props_size(&props), raw.n);
    struct writer w = writer_init(bytes, raw.n);
    amqp_props_encode(&w, &props);
    ck_assert(!w.bad);
    ck_assert_slice_eq(slice_of(bytes, (size_t)(w.p - bytes)), raw);
}

START_TEST(test_flag_bits)
{
    static const uint16_t flags[] = {
#define P(name, type) AMQP_PROP(name),
        AMQP_PROPERTIES(P)
#undef P
    };
    static const char *const names[] = {
#define P(name, type) #name,
        AMQP_PROPERTIES(P)
#undef P
    };

    ck_assert_uint_eq(AMQP_PROP_COUNT, N_PROPERTIES);
    ck_assert_uint_eq(flags[_i], properties[_i].flag);
    ck_assert_str_eq(names[_i], properties[_i].name);
}
END_TEST

START_TEST(test_each_alone)
{
    check_flags(properties[_i].flag);
}
END_TEST

START_TEST(test_each_missing)
{
    check_flags((uint16_t)(0xfffc & ~properties[_i].flag));
}
END_TEST

START_TEST(test_all)
{
    check_flags(0xfffc);
}
END_TEST

START_TEST(test_none)
{
    check_flags(0);
}
END_TEST

/* --- malformed --- */

/* `flags` with their values, cut at every length and with a byte too many. */
static void
check_lengths(uint16_t flags)
{
    uint8_t bytes[256];
    struct slice raw = wire(bytes, sizeof bytes, flags);
    struct amqp_props props;

    for (size_t n = 0; n < raw.n; n++) {
        uint8_t *cut = exact_bytes(slice_of(bytes, n));
        ck_assert_msg(!amqp_props_decode(slice_of(cut, n), &props), "%04x cut to %zu", flags, n);
        free(cut);
    }
    bytes[raw.n] = 0;
    ck_assert_msg(!amqp_props_decode(slice_of(bytes, raw.n + 1), &props), "%04x and a byte", flags);
}

START_TEST(test_each_wrong_length)
{
    check_lengths(properties[_i].flag);
}
END_TEST

START_TEST(test_all_wrong_length)
{
    check_lengths(0xfffc);
}
END_TEST

START_TEST(test_none_wrong_length)
{
    check_lengths(0);
}
END_TEST

/*
 * Bits 0 and 1 belong to no property. RabbitMQ lets them pass, and the values follow right behind
 * the flags.
 */
START_TEST(test_undefined_flags)
{
    uint8_t bytes[256];
    struct amqp_props props;

    for (uint16_t low = 1; low <= 3; low++) {
        struct slice raw = wire(bytes, sizeof bytes, (uint16_t)(0xfffc | low));
        ck_assert(amqp_props_decode(raw, &props));
        ck_assert_uint_eq(props.flags, 0xfffc);
        ck_assert_uint_eq(props.delivery_mode, 2);
        ck_assert_slice_eq(props.app_id, slice_str("app"));
        ck_assert_uint_eq(amqp_props_size(&props), raw.n);
        raw = wire(bytes, sizeof bytes, low);
        ck_assert(amqp_props_decode(raw, &props));
        ck_assert_uint_eq(props.flags, 0);
    }
}
END_TEST

/*
 * The specification's continuation bit announces another word of flags; RabbitMQ takes such a word
 * for a value.
 */
START_TEST(test_no_continuation_words)
{
    struct amqp_props props;

    ck_assert(!amqp_props_decode(BYTES("\000\001\000\000"), &props));
    ck_assert(!amqp_props_decode(BYTES("\020\001\000\000\002"), &props));
    ck_assert(amqp_props_decode(BYTES("\020\001\002"), &props));
    ck_assert_uint_eq(props.delivery_mode, 2);
}
END_TEST

START_TEST(test_malformed_headers)
{
    struct amqp_props props;

    ck_assert(amqp_props_decode(BYTES("\040\000\000\000\000\003\001kV"), &props));
    ck_assert(amqp_props_decode(BYTES("\040\000\000\000\000\000"), &props));
    ck_assert(!amqp_props_decode(BYTES("\040\000\000\000\000\003\001kq"), &props));
    ck_assert(!amqp_props_decode(BYTES("\040\000\000\000\000\002\001k"), &props));
    ck_assert(!amqp_props_decode(BYTES("\040\000\000\000\000\004\001kV"), &props));
    ck_assert(!amqp_props_decode(BYTES("\040\000\000\000\000\002\001kV"), &props));
    ck_assert(!amqp_props_decode(BYTES("\040\000\377\377\377\377\001kV"), &props));
    ck_assert(
        !amqp_props_decode(BYTES("\040\000\000\000\000\012\001kF\000\000\000\003\001kq"), &props));
}
END_TEST

/* --- writing --- */

/* Undefined flags are not written, nor what has no flag. */
START_TEST(test_encode_flags)
{
    struct amqp_props props = all;
    uint8_t bytes[16];
    struct writer w = writer_init(bytes, sizeof bytes);

    props.flags = AMQP_PROP(priority) | 3;
    ck_assert_uint_eq(amqp_props_size(&props), 3);
    amqp_props_encode(&w, &props);
    ck_assert_slice_eq(slice_of(bytes, (size_t)(w.p - bytes)), BYTES("\010\000\011"));
}
END_TEST

START_TEST(test_encode_no_room)
{
    size_t size = amqp_props_size(&all);
    uint8_t bytes[256];

    ck_assert_uint_lt(size, sizeof bytes);
    for (size_t room = 0; room < size; room++) {
        memset(bytes, 0x5a, sizeof bytes);
        struct writer w = writer_init(bytes, room);
        amqp_props_encode(&w, &all);
        ck_assert(w.bad);
        for (size_t i = room; i < size; i++)
            ck_assert_uint_eq(bytes[i], 0x5a);
    }
}
END_TEST

START_TEST(test_encode_long_string)
{
    static uint8_t text[256], bytes[512];
    struct amqp_props props = {.flags = AMQP_PROP(message_id), .message_id = slice_of(text, 255)};

    struct writer w = writer_init(bytes, sizeof bytes);
    amqp_props_encode(&w, &props);
    ck_assert(!w.bad);
    props.message_id.n = 256;
    w = writer_init(bytes, sizeof bytes);
    amqp_props_encode(&w, &props);
    ck_assert(w.bad);
}
END_TEST

/* Refused by its length alone; there are no such bytes. */
START_TEST(test_encode_long_table)
{
    uint8_t bytes[64];
    struct amqp_props props = {.flags = AMQP_PROP(headers),
                               .headers = slice_of("", (size_t)UINT32_MAX + 1)};
    struct writer w = writer_init(bytes, sizeof bytes);

    amqp_props_encode(&w, &props);
    ck_assert(w.bad);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("props");
    TCase *tc = tcase_create("round trips");

    tcase_add_loop_test(tc, test_flag_bits, 0, N_PROPERTIES);
    tcase_add_loop_test(tc, test_each_alone, 0, N_PROPERTIES);
    tcase_add_loop_test(tc, test_each_missing, 0, N_PROPERTIES);
    tcase_add_test(tc, test_all);
    tcase_add_test(tc, test_none);
    suite_add_tcase(suite, tc);

    tc = tcase_create("malformed");
    tcase_add_loop_test(tc, test_each_wrong_length, 0, N_PROPERTIES);
    tcase_add_test(tc, test_all_wrong_length);
    tcase_add_test(tc, test_none_wrong_length);
    tcase_add_test(tc, test_undefined_flags);
    tcase_add_test(tc, test_no_continuation_words);
    tcase_add_test(tc, test_malformed_headers);
    suite_add_tcase(suite, tc);

    tc = tcase_create("writing");
    tcase_add_test(tc, test_encode_flags);
    tcase_add_test(tc, test_encode_no_room);
    tcase_add_test(tc, test_encode_long_string);
    tcase_add_test(tc, test_encode_long_table);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
