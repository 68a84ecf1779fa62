#include "perf/image.h"

#include "perf/verify.h"
#include "protocol/frame.h"
#include "tests/unit/check_util.h"

static struct perf_options options;
static struct routing *routing;
static struct image_plan plan;
static struct image image;

enum { FRAME_MAX = 4096 };

/* An image of `room` bytes for a command line of words. */
static void
make(size_t room, const char *command_line)
{
    static char words[256];
    char *argv[32];
    int argc = 0;

    ck_assert_uint_lt(strlen(command_line), sizeof words);
    strcpy(words, command_line);
    for (char *word = strtok(words, " "); word != NULL; word = strtok(NULL, " "))
        argv[argc++] = word;
    ck_assert(options_parse(&options, argc, argv));
    routing = routing_new(&options);
    image_plan_init(&plan, &options, routing, FRAME_MAX);
    image_init(&image, &plan, 5, room);
}

static void
teardown(void)
{
    image_free(&image);
    image_plan_free(&plan);
    routing_free(&routing);
    options_free(&options);
}

/* Takes a frame of this type off *in and returns its payload. */
static struct slice
take_frame(struct slice *in, uint8_t type, uint16_t channel)
{
    ck_assert_uint_ge(in->n, AMQP_FRAME_OVERHEAD);
    struct amqp_frame_head head = amqp_frame_head(in->p);
    size_t total = (size_t)head.size + AMQP_FRAME_OVERHEAD;
    ck_assert_uint_le(total, in->n);
    ck_assert_uint_le(total, FRAME_MAX);
    ck_assert_uint_eq(head.type, type);
    ck_assert_uint_eq(head.channel, channel);
    ck_assert_uint_eq(in->p[total - 1], AMQP_FRAME_END);
    struct slice payload = slice_of(in->p + AMQP_FRAME_HEAD_SIZE, head.size);
    *in = slice_of(in->p + total, in->n - total);
    return payload;
}

/* Checks message n of the image, which stands at `at`, to its first body frame; returns that. */
static struct slice
check_message(uint64_t n, unsigned at, const char *key)
{
    uint16_t channel = (uint16_t)image_channel(&image, n);
    struct slice in =
        slice_of(image.buf.p + image.start[at], image.start[at + 1] - image.start[at]);
    struct amqp_basic_publish publish;
    struct amqp_content_header header;

    struct slice method = take_frame(&in, AMQP_FRAME_METHOD, channel);
    struct reader r = reader_init(method);
    ck_assert_uint_eq(read_u32(&r), 60U << 16 | 40U);
    ck_assert(amqp_basic_publish_decode(&r, &publish));
    ck_assert(slice_is(publish.routing_key, key));
    ck_assert(slice_is(publish.exchange, options.exchange));
    ck_assert(amqp_content_header_decode(take_frame(&in, AMQP_FRAME_HEADER, channel), &header));
    ck_assert_uint_eq(header.body_size, options.size);
    struct slice body = take_frame(&in, AMQP_FRAME_BODY, channel);
    ck_assert_uint_eq(in.n, 0);
    return body;
}

static void
check_stamp(struct slice body, uint64_t now, uint32_t sequence, uint32_t producer)
{
    ck_assert_uint_eq(get_u64(body.p), now);
    ck_assert_uint_eq(get_u32(body.p + 8), sequence);
    ck_assert_uint_eq(get_u32(body.p + 12), producer);
}

START_TEST(one_key)
{
    unsigned at;

    make(10000, "coney-perf -s 20");
    ck_assert(image.fixed);
    ck_assert_uint_gt(image.n, 50);
    /* The end of the image cuts a batch short; the next begins at its front again. */
    ck_assert_uint_eq(image_take(&image, image.n - 2, 10, &at), 2);
    ck_assert_uint_eq(at, image.n - 2);
    ck_assert_uint_eq(image_take(&image, image.n, 10, &at), 10);
    ck_assert_uint_eq(at, 0);
    image_stamp(&image, at, image.n, 123456789);
    struct slice body = check_message(image.n, at, "perf-test");
    ck_assert_uint_eq(body.n, 20);
    check_stamp(body, 123456789, image.n, 5);
}
END_TEST

/* Two channels and three keys take turns: message n is the n/2-th of its channel. */
static void
check_turns(void)
{
    static const char *const keys[] = {"k.4", "k.5", "k.6"};

    for (uint64_t n = 0; n < 60;) {
        unsigned at, got = image_take(&image, n, 60 - n, &at);
        ck_assert_uint_ge(got, 1);
        for (unsigned i = 0; i < got; i++, n++) {
            image_stamp(&image, at + i, n, n * 1000);
            struct slice body = check_message(n, at + i, keys[n / 2 % 3]);
            check_stamp(body, n * 1000, (uint32_t)(n / 2), (uint32_t)(5 + n % 2));
        }
    }
}

#define KEYS_IN_TURN                                                                               \
    "coney-perf -X 2 -t topic --routing-key-pattern k.%d --routing-key-from 4 --routing-key-to 6"

START_TEST(turns_in_fixed_image)
{
    make(2000, KEYS_IN_TURN);
    ck_assert(image.fixed);
    check_turns();
}
END_TEST

START_TEST(turns_in_rebuilt_image)
{
    make(300, KEYS_IN_TURN);
    ck_assert(!image.fixed);
    ck_assert_uint_gt(image.n, 1);
    check_turns();
}
END_TEST

/* A body over the frame size: its first frame in the image, the others in the channel's tail. */
START_TEST(large_body)
{
    unsigned at;

    make(100000, "coney-perf -s 10000 -X 2");
    ck_assert_uint_eq(image.n, 1);
    ck_assert_uint_eq(image_take(&image, 1, 10, &at), 1);
    struct slice body = check_message(1, at, "perf-test");
    size_t total = body.n;
    struct slice tail = bytes_slice(&plan.tails[1]);
    while (tail.n != 0)
        total += take_frame(&tail, AMQP_FRAME_BODY, 2).n;
    ck_assert_uint_eq(total, 10000);
}
END_TEST

START_TEST(random_keys_differ)
{
    char a[ROUTING_KEY_ROOM], b[ROUTING_KEY_ROOM];

    make(1000, "coney-perf -K -e amq.topic");
    ck_assert(!image.fixed);
    ck_assert(!slice_eq(routing_key(routing, 0, 1, a), routing_key(routing, 0, 2, b)));
    ck_assert(!slice_eq(routing_key(routing, 0, 1, a), routing_key(routing, 1, 1, b)));
}
END_TEST

START_TEST(verification)
{
    struct verify *v = verify_new(2, 2);

    verify_message(v, 0, 0, 0, false);
    verify_message(v, 0, 0, 200, false);
    verify_message(v, 0, 1, 200, false); /* the other queue's copy */
    verify_message(v, 0, 0, 200, true);  /* redelivered: no duplicate */
    verify_message(v, 0, 0, 200, false);
    verify_message(v, 2, 0, 1, false);
    verify_disorder(v);
    struct verify_result r = verify_result(v);
    ck_assert_uint_eq(r.distinct, 3);
    ck_assert_uint_eq(r.duplicates, 1);
    ck_assert_uint_eq(r.foreign, 1);
    ck_assert_uint_eq(r.out_of_order, 1);
    verify_free(&v);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("perf/image");
    TCase *t = tcase_create("image");
    TCase *other = tcase_create("verify");

    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, one_key);
    tcase_add_test(t, turns_in_fixed_image);
    tcase_add_test(t, turns_in_rebuilt_image);
    tcase_add_test(t, large_body);
    tcase_add_test(t, random_keys_differ);
    suite_add_tcase(s, t);
    tcase_add_test(other, verification);
    suite_add_tcase(s, other);
    return run_suite(s);
}
