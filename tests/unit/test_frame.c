#include "protocol/frame.h"

#include "tests/unit/check_util.h"
#include "tests/unit/method_args.h"

START_TEST(test_protocol_header)
{
    ck_assert_mem_eq(amqp_protocol_header, "AMQP\0\0\011\001", AMQP_PROTOCOL_HEADER_SIZE);
}
END_TEST

START_TEST(test_head)
{
    struct amqp_frame_head head = amqp_frame_head(BYTES("\003\002\001\004\005\006\007").p);
    uint8_t bytes[AMQP_FRAME_HEAD_SIZE];

    ck_assert_uint_eq(head.type, AMQP_FRAME_BODY);
    ck_assert_uint_eq(head.channel, 0x0201);
    ck_assert_uint_eq(head.size, 0x04050607);
    amqp_put_frame_head(bytes, head.type, head.channel, head.size);
    ck_assert_mem_eq(bytes, "\003\002\001\004\005\006\007", sizeof bytes);
}
END_TEST

/* --- content headers --- */

START_TEST(test_content_header)
{
    struct slice payload = BYTES("\000\074\000\000\001\002\003\004\005\006\007\010\020\000\002");
    struct amqp_content_header header;

    ck_assert(amqp_content_header_decode(payload, &header));
    ck_assert_uint_eq(header.class_id, 60);
    ck_assert_uint_eq(header.weight, 0);
    ck_assert_uint_eq(header.body_size, 0x0102030405060708);
    ck_assert_slice_eq(header.props, BYTES("\020\000\002"));
}
END_TEST

START_TEST(test_content_header_class_and_weight)
{
    struct amqp_content_header header;

    ck_assert(amqp_content_header_decode(
        BYTES("\000\062\000\007\377\377\377\377\377\377\377\377\000\000"), &header));
    ck_assert_uint_eq(header.class_id, 50);
    ck_assert_uint_eq(header.weight, 7);
    ck_assert_uint_eq(header.body_size, UINT64_MAX);
}
END_TEST

START_TEST(test_content_header_short)
{
    struct slice payload = BYTES("\000\074\000\000\000\000\000\000\000\000\000\000\000\000");
    struct amqp_content_header header;

    ck_assert_uint_eq(payload.n, AMQP_CONTENT_HEADER_FIXED + 2);
    for (size_t n = 0; n < payload.n; n++) {
        uint8_t *cut = exact_bytes(slice_of(payload.p, n));
        ck_assert(!amqp_content_header_decode(slice_of(cut, n), &header));
        free(cut);
    }
    ck_assert(amqp_content_header_decode(payload, &header));
}
END_TEST

/* --- writing --- */

/*
 * What one of the writers below writes, into as much room as it needs; each byte of room less is an
 * error.
 */
static void
expect(void (*write)(struct writer *w), struct slice wanted)
{
    uint8_t *bytes = malloc(wanted.n);

    struct writer w = writer_init(bytes, wanted.n);
    write(&w);
    ck_assert(!w.bad);
    ck_assert_slice_eq(slice_of(bytes, (size_t)(w.p - bytes)), wanted);
    for (size_t room = 0; room < wanted.n; room++) {
        memset(bytes, 0x5a, wanted.n);
        w = writer_init(bytes, room);
        write(&w);
        ck_assert(w.bad);
        for (size_t i = room; i < wanted.n; i++)
            ck_assert_uint_eq(bytes[i], 0x5a);
    }
    free(bytes);
}

static void
write_ack(struct writer *w)
{
    union amqp_args args = {.basic_ack = {.delivery_tag = 5, .multiple = true}};

    ck_assert_uint_eq(amqp_method_frame_size(AMQP_basic_ack, &args), 21);
    amqp_write_method_frame(w, 0x0102, AMQP_basic_ack, &args);
}

START_TEST(test_method_frame)
{
    expect(write_ack, BYTES("\001\001\002\000\000\000\015"
                            "\000\074\000\120"
                            "\000\000\000\000\000\000\000\005"
                            "\001"
                            "\316"));
}
END_TEST

static void
write_close_ok(struct writer *w)
{
    union amqp_args args = {0};
    amqp_write_method_frame(w, 0, AMQP_connection_close_ok, &args);
}

START_TEST(test_method_frame_without_fields)
{
    expect(write_close_ok, BYTES("\001\000\000\000\000\000\004"
                                 "\000\012\000\063"
                                 "\316"));
}
END_TEST

static void
write_header(struct writer *w)
{
    amqp_write_header_frame(w, 7, 5, BYTES("\020\000\002"));
}

START_TEST(test_header_frame)
{
    expect(write_header, BYTES("\002\000\007\000\000\000\017"
                               "\000\074\000\000"
                               "\000\000\000\000\000\000\000\005"
                               "\020\000\002"
                               "\316"));
}
END_TEST

static void
write_body(struct writer *w)
{
    amqp_write_body_frame(w, 65535, slice_str("hello"));
}

static void
write_empty_body(struct writer *w)
{
    amqp_write_body_frame(w, 1, slice_of(NULL, 0));
}

START_TEST(test_body_frame)
{
    expect(write_body, BYTES("\003\377\377\000\000\000\005"
                             "hello"
                             "\316"));
    expect(write_empty_body, BYTES("\003\000\001\000\000\000\000"
                                   "\316"));
}
END_TEST

START_TEST(test_heartbeat)
{
    expect(amqp_write_heartbeat, BYTES("\010\000\000\000\000\000\000\316"));
}
END_TEST

/* The size that is asked for beforehand is the size of the frame, for every method. */
START_TEST(test_method_frame_size)
{
    enum amqp_method_id id = (enum amqp_method_id)_i;
    struct prng g = {.state = (uint64_t)_i + 100};
    static uint8_t bytes[8192];
    union amqp_args args, again;

    args_random(id, &args, &g);
    size_t size = amqp_method_frame_size(id, &args);
    ck_assert_uint_le(size, sizeof bytes);
    struct writer w = writer_init(bytes, size);
    amqp_write_method_frame(&w, 3, id, &args);
    ck_assert(!w.bad && w.p == w.end);
    ck_assert_uint_eq(amqp_frame_head(bytes).size, size - AMQP_FRAME_OVERHEAD);
    ck_assert_uint_eq(bytes[size - 1], AMQP_FRAME_END);

    struct reader r =
        reader_init(slice_of(bytes + AMQP_FRAME_HEAD_SIZE + 4, size - AMQP_FRAME_OVERHEAD - 4));
    ck_assert(amqp_method_decode(id, &r, &again));
    ck_assert_ptr_null(args_difference(id, &args, &again));
}
END_TEST

/* A name that does not fit makes the writer bad, so that the frame is not sent. */
START_TEST(test_method_frame_long_name)
{
    static uint8_t name[256], bytes[1024];
    union amqp_args args = {.basic_cancel_ok = {.consumer_tag = slice_of(name, sizeof name)}};
    struct writer w = writer_init(bytes, sizeof bytes);

    amqp_write_method_frame(&w, 1, AMQP_basic_cancel_ok, &args);
    ck_assert(w.bad);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("frame");
    TCase *tc = tcase_create("reading");

    tcase_add_test(tc, test_protocol_header);
    tcase_add_test(tc, test_head);
    tcase_add_test(tc, test_content_header);
    tcase_add_test(tc, test_content_header_class_and_weight);
    tcase_add_test(tc, test_content_header_short);
    suite_add_tcase(suite, tc);

    tc = tcase_create("writing");
    tcase_add_test(tc, test_method_frame);
    tcase_add_test(tc, test_method_frame_without_fields);
    tcase_add_test(tc, test_header_frame);
    tcase_add_test(tc, test_body_frame);
    tcase_add_test(tc, test_heartbeat);
    tcase_add_loop_test(tc, test_method_frame_size, 0, AMQP_METHOD_COUNT);
    tcase_add_test(tc, test_method_frame_long_name);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
