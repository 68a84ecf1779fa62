/* Resource alarms: who is blocked, from when on, and what blocked and unblocked clients hear. */
#include "broker/core/alarms.h"

#include "base/log.h"
#include "broker/core/vhost.h"
#include "tests/unit/client.h"

static struct fake fake;
static const struct slice none;

static void
setup(void)
{
    log_set_level(LOG_NONE);
    fake_init(&fake);
}

static void
teardown(void)
{
    fake_fini(&fake);
}

static void
set_alarm(enum alarm alarm, bool is_set)
{
    broker_set_alarm(fake.broker, alarm, is_set);
    fake_run(&fake);
}

static void
expect_blocked(struct fake_peer *p, const char *reason)
{
    ck_assert_slice_eq(expect(p, 0, AMQP_connection_blocked)->connection_blocked.reason, S(reason));
    expect_nothing(p);
    ck_assert(p->held);
}

static void
expect_unblocked(struct fake_peer *p)
{
    expect(p, 0, AMQP_connection_unblocked);
    ck_assert(!p->held);
}

static size_t
count(const char *queue)
{
    return vhost_find_queue(fake_vhost(&fake), S(queue))->ready.count;
}

/* A new connection with a queue, no alarm yet. */
static struct fake_peer *
open_with_queue(const char *queue)
{
    struct fake_peer *p = client_open(&fake);

    declare_queue(p, queue);
    return p;
}

START_TEST(test_blocked_by_header)
{
    struct fake_peer *p = open_with_queue("q");

    client_open_channel(p, 2);
    set_alarm(ALARM_MEMORY, true);
    expect_nothing(p);
    FAKE_SEND(p, 1, basic, publish, .routing_key = S("q"));
    CALL(p, 2, channel, flow, .active = true);
    ck_assert(!p->held);

    fake_send_header(p, 1, 1, slice_of("\0\0", 2));
    fake_run(&fake);
    expect_blocked(p, "low on memory");
    fake_send_body(p, 1, S("x"));
    FAKE_SEND(p, 2, queue, declare, .queue = S("q"), .passive = true);
    fake_run(&fake);
    expect_nothing(p);
    ck_assert_uint_eq(count("q"), 0);

    set_alarm(ALARM_MEMORY, false);
    expect_unblocked(p);
    expect(p, 2, AMQP_queue_declare_ok);
    expect_get(p, 1, "q", true, false, 0, "x");
}
END_TEST

/* The header frame alone, before the rest of it has come: what it will say does not matter. */
START_TEST(test_blocked_by_part_of_a_header)
{
    struct fake_peer *p = open_with_queue("q");

    set_alarm(ALARM_MEMORY, true);
    FAKE_SEND(p, 1, basic, publish, .routing_key = S("q"));
    fake_send(p, slice_of("\2\0\1\0\0\0\016", 7));
    fake_run(&fake);
    expect_blocked(p, "low on memory");
    fake_send(p, slice_of("\0\74\0\0\0\0\0\0\0\0\0\0\0\0\316", 15));
    set_alarm(ALARM_MEMORY, false);
    expect_unblocked(p);
    expect_get(p, 1, "q", true, false, 0, "");
}
END_TEST

/* The alarm comes while a message does: the frame that has begun is taken, the next is not. */
START_TEST(test_blocked_within_a_message)
{
    struct fake_peer *p = open_with_queue("q");

    FAKE_SEND(p, 1, basic, publish, .routing_key = S("q"));
    fake_send_header(p, 1, 6, slice_of("\0\0", 2));
    fake_send(p, slice_of("\3\0\1\0\0\0\3a", 8));
    fake_run(&fake);
    set_alarm(ALARM_DISK, true);
    fake_send(p, slice_of("bc\316", 3));
    fake_run(&fake);
    ck_assert(!p->held);
    expect_nothing(p);

    fake_send_body(p, 1, S("def"));
    fake_run(&fake);
    expect_blocked(p, "low on disk");
    ck_assert_uint_eq(count("q"), 0);
    set_alarm(ALARM_DISK, false);
    expect_unblocked(p);
    expect_get(p, 1, "q", true, false, 0, "abcdef");
}
END_TEST

/* A message that is complete when the alarm comes is none of its business. */
START_TEST(test_last_message_before)
{
    struct fake_peer *p = open_with_queue("q");

    FAKE_SEND(p, 1, basic, publish, .routing_key = S("q"));
    fake_send_header(p, 1, 3, slice_of("\0\0", 2));
    fake_send(p, slice_of("\3\0\1\0\0\0\3a", 8));
    fake_run(&fake);
    set_alarm(ALARM_DISK, true);
    fake_send(p, slice_of("bc\316", 3));
    expect_get(p, 1, "q", true, false, 0, "abc");
    ck_assert(!p->held);
}
END_TEST

START_TEST(test_acks_wait)
{
    struct fake_peer *p = open_with_queue("q"), *other = client_open(&fake);

    publish(other, 1, "", "q", "one");
    publish(other, 1, "", "q", "two");
    CALL(p, 1, basic, qos, .prefetch_count = 1);
    consume(p, 1, "q", "a", false);
    uint64_t tag = expect_deliver(p, 1, "a", false, "one");
    set_alarm(ALARM_MEMORY, true);
    send_publish(p, 1, "", "q", false, none, S("three"));
    FAKE_SEND(p, 1, basic, ack, .delivery_tag = tag);
    fake_run(&fake);
    expect_blocked(p, "low on memory");

    set_alarm(ALARM_MEMORY, false);
    expect_unblocked(p);
    expect_deliver(p, 1, "a", false, "two");
    ck_assert_uint_eq(count("q"), 1);
}
END_TEST

/* Consumers must drain what fills the broker. */
START_TEST(test_others_go_on)
{
    struct fake_peer *publisher = open_with_queue("q"), *p = client_open(&fake);

    for (int i = 0; i < 3; i++)
        publish(publisher, 1, "", "q", "x");
    set_alarm(ALARM_MEMORY, true);
    publish(publisher, 1, "", "q", "y");
    expect_blocked(publisher, "low on memory");

    CALL(p, 1, queue, bind, .queue = S("q"), .exchange = S("amq.fanout"));
    expect_get(p, 1, "q", true, false, 2, "x");
    CALL(p, 1, basic, qos, .prefetch_count = 1);
    consume(p, 1, "q", "a", false);
    uint64_t tag = expect_deliver(p, 1, "a", false, "x");
    expect_nothing(p);
    FAKE_SEND(p, 1, basic, ack, .delivery_tag = tag);
    fake_run(&fake);
    expect_deliver(p, 1, "a", false, "x");
    expect_nothing(p);
    ck_assert(!p->held);
    FAKE_SEND(p, 0, connection, close, .reply_code = 200);
    fake_run(&fake);
    expect(p, 0, AMQP_connection_close_ok);
}
END_TEST

/* A blocked connection is not read, but still written to. */
START_TEST(test_deliveries_while_blocked)
{
    struct fake_peer *p = open_with_queue("q"), *other = client_open(&fake);

    publish(other, 1, "", "q", "x");
    uint64_t tag = expect_get(other, 1, "q", false, false, 0, "x");
    consume(p, 1, "q", "a", false);
    set_alarm(ALARM_MEMORY, true);
    publish(p, 1, "", "q", "y");
    expect_blocked(p, "low on memory");
    CAST(other, 1, basic, reject, .delivery_tag = tag, .requeue = true);
    expect_deliver(p, 1, "a", true, "x");
    expect_nothing(p);
}
END_TEST

START_TEST(test_without_capability)
{
    struct fake_peer *p = fake_connect(&fake);

    fake_send_handshake(p, none);
    fake_run(&fake);
    fake_read_all(p);
    client_open_channel(p, 1);
    declare_queue(p, "q");
    set_alarm(ALARM_DISK, true);
    publish(p, 1, "", "q", "x");
    expect_nothing(p);
    ck_assert(p->held);
    ck_assert_uint_eq(count("q"), 0);
    set_alarm(ALARM_DISK, false);
    expect_nothing(p);
    ck_assert(!p->held);
    expect_get(p, 1, "q", true, false, 0, "x");
}
END_TEST

static const struct {
    unsigned alarms;
    const char *reason;
} reasons[] = {
    {ALARM_MEMORY, "low on memory"},
    {ALARM_DISK, "low on disk"},
    {ALARM_STORE, "low on disk"},
    {ALARM_DISK | ALARM_STORE, "low on disk"},
    {ALARM_MEMORY | ALARM_DISK, "low on disk & memory"},
    {ALARM_MEMORY | ALARM_STORE, "low on disk & memory"},
    {ALARM_MEMORY | ALARM_DISK | ALARM_STORE, "low on disk & memory"},
};

START_TEST(test_reasons)
{
    struct fake_peer *p = open_with_queue("q");

    for (unsigned a = 1; a <= ALARM_STORE; a *= 2) {
        if (reasons[_i].alarms & a)
            set_alarm(a, true);
    }
    publish(p, 1, "", "q", "x");
    expect_blocked(p, reasons[_i].reason);
    /* Only the last to go unblocks. */
    for (unsigned a = 1; fake.broker->alarms != 0; a *= 2) {
        expect_nothing(p);
        set_alarm(a, false);
    }
    expect_unblocked(p);
    expect_nothing(p);
    ck_assert_uint_eq(count("q"), 1);
}
END_TEST

/* One word at the beginning and one at the end, whatever comes and goes in between. */
START_TEST(test_told_once)
{
    struct fake_peer *p = open_with_queue("q");

    set_alarm(ALARM_MEMORY, true);
    set_alarm(ALARM_MEMORY, true);
    for (int i = 0; i < 3; i++)
        publish(p, 1, "", "q", "x");
    expect_blocked(p, "low on memory");
    set_alarm(ALARM_DISK, true);
    set_alarm(ALARM_MEMORY, false);
    set_alarm(ALARM_MEMORY, true);
    set_alarm(ALARM_DISK, false);
    expect_nothing(p);
    ck_assert(p->held);
    set_alarm(ALARM_MEMORY, false);
    expect_unblocked(p);
    set_alarm(ALARM_MEMORY, false);
    expect_nothing(p);
    ck_assert_uint_eq(count("q"), 3);
}
END_TEST

/* The alarm returns before what was held back has been read. */
START_TEST(test_blocked_again)
{
    struct fake_peer *p = open_with_queue("q");

    set_alarm(ALARM_MEMORY, true);
    publish(p, 1, "", "q", "x");
    expect_blocked(p, "low on memory");
    broker_set_alarm(fake.broker, ALARM_MEMORY, false);
    broker_set_alarm(fake.broker, ALARM_DISK, true);
    fake_run(&fake);
    expect(p, 0, AMQP_connection_unblocked);
    expect_blocked(p, "low on disk");
    ck_assert_uint_eq(count("q"), 0);
    set_alarm(ALARM_DISK, false);
    expect_unblocked(p);
    ck_assert_uint_eq(count("q"), 1);
}
END_TEST

START_TEST(test_new_connection)
{
    set_alarm(ALARM_MEMORY, true);
    struct fake_peer *p = open_with_queue("q");

    CALL(p, 1, confirm, select, .nowait = false);
    publish(p, 1, "", "q", "x");
    expect_blocked(p, "low on memory");
    set_alarm(ALARM_MEMORY, false);
    expect_unblocked(p);
    ck_assert_uint_eq(expect(p, 1, AMQP_basic_ack)->basic_ack.delivery_tag, 1);
    expect_get(p, 1, "q", true, false, 0, "x");
}
END_TEST

/* While blocked the client cannot be heard, so it is not taken for dead; it hears us. */
START_TEST(test_heartbeats)
{
    struct fake_peer *p = open_with_queue("q");
    struct fake_frame frame;
    int heartbeats = 0;

    set_alarm(ALARM_MEMORY, true);
    publish(p, 1, "", "q", "x");
    expect_blocked(p, "low on memory");
    fake_advance(&fake, 600000);
    ck_assert(!p->shut);
    while (fake_read(p, &frame)) {
        ck_assert_int_eq(frame.type, AMQP_FRAME_HEARTBEAT);
        heartbeats++;
    }
    ck_assert_int_ge(heartbeats, 10);

    /* From here on it is expected to speak. */
    set_alarm(ALARM_MEMORY, false);
    expect_unblocked(p);
    fake_advance(&fake, 90000);
    ck_assert(!p->shut);
    fake_advance(&fake, 60000);
    ck_assert(p->shut);
}
END_TEST

START_TEST(test_close_while_blocked)
{
    struct fake_peer *p = open_with_queue("q");

    set_alarm(ALARM_MEMORY, true);
    publish(p, 1, "", "q", "x");
    expect_blocked(p, "low on memory");
    broker_shutdown(fake.broker);
    ck_assert(!p->held);
    fake_run(&fake);
    expect(p, 0, AMQP_connection_close);
    set_alarm(ALARM_MEMORY, false);
    expect_nothing(p);
    FAKE_SEND(p, 0, connection, close_ok, );
    fake_run(&fake);
    ck_assert_ptr_null(p->connection);
    ck_assert_uint_eq(count("q"), 0);
}
END_TEST

START_TEST(test_cut_while_blocked)
{
    struct fake_peer *p = open_with_queue("q"), *other = client_open(&fake);

    set_alarm(ALARM_MEMORY, true);
    publish(p, 1, "", "q", "x");
    publish(other, 1, "", "q", "y");
    fake_cut(p);
    set_alarm(ALARM_MEMORY, false);
    expect(other, 0, AMQP_connection_blocked);
    expect_unblocked(other);
    expect_get(other, 1, "q", true, false, 0, "y");
}
END_TEST

/* Reasons to hold a connection's input do not undo each other. */
START_TEST(test_holds)
{
    struct fake_peer *p = open_with_queue("q");
    struct connection *c = p->connection;

    connection_hold(c, HOLD_STORE);
    connection_hold(c, HOLD_STORE);
    connection_hold(c, HOLD_OUTPUT);
    ck_assert(p->held);
    connection_release_hold(c, HOLD_STORE);
    ck_assert(p->held);
    connection_release_hold(c, HOLD_ALARM | HOLD_STORE);
    ck_assert(p->held);
    connection_release_hold(c, HOLD_OUTPUT);
    ck_assert(!p->held);

    connection_hold(c, HOLD_STORE);
    set_alarm(ALARM_MEMORY, true);
    publish(p, 1, "", "q", "x");
    expect_nothing(p);
    connection_release_hold(c, HOLD_STORE);
    fake_run(&fake);
    expect_blocked(p, "low on memory");
    connection_hold(c, HOLD_STORE);
    set_alarm(ALARM_MEMORY, false);
    expect(p, 0, AMQP_connection_unblocked);
    ck_assert(p->held);
    ck_assert_uint_eq(count("q"), 0);
    connection_release_hold(c, HOLD_STORE);
    fake_run(&fake);
    ck_assert_uint_eq(count("q"), 1);

    /* Nothing holds one that is closing. */
    connection_force_close(c, "test");
    connection_hold(c, HOLD_STORE);
    ck_assert(!p->held);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("alarms");
    TCase *tc = tcase_create("alarms");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, test_blocked_by_header);
    tcase_add_test(tc, test_blocked_by_part_of_a_header);
    tcase_add_test(tc, test_blocked_within_a_message);
    tcase_add_test(tc, test_last_message_before);
    tcase_add_test(tc, test_acks_wait);
    tcase_add_test(tc, test_others_go_on);
    tcase_add_test(tc, test_deliveries_while_blocked);
    tcase_add_test(tc, test_without_capability);
    tcase_add_loop_test(tc, test_reasons, 0, sizeof reasons / sizeof *reasons);
    tcase_add_test(tc, test_told_once);
    tcase_add_test(tc, test_blocked_again);
    tcase_add_test(tc, test_new_connection);
    tcase_add_test(tc, test_heartbeats);
    tcase_add_test(tc, test_close_while_blocked);
    tcase_add_test(tc, test_cut_while_blocked);
    tcase_add_test(tc, test_holds);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
