/* Confirms and transactions, seen by a client. */
#include "base/log.h"
#include "broker/core/queue.h"
#include "broker/core/vhost.h"
#include "tests/unit/client.h"

static struct fake fake;
static struct fake_peer *p;

static void
setup(void)
{
    log_set_level(LOG_NONE);
    fake_init(&fake);
    p = client_open(&fake);
    client_open_channel(p, 2);
    declare_queue(p, "q");
}

static void
teardown(void)
{
    fake_fini(&fake);
}

static uint64_t
ready(const char *name)
{
    return vhost_find_queue(fake_vhost(&fake), S(name))->ready.count;
}

static void
send(const char *key, bool mandatory)
{
    send_publish(p, 1, "", key, mandatory, slice_of(NULL, 0), S("x"));
}

static void
expect_ack(uint64_t tag, bool multiple)
{
    const struct amqp_basic_ack *m = &expect(p, 1, AMQP_basic_ack)->basic_ack;

    ck_assert_uint_eq(m->delivery_tag, tag);
    ck_assert_int_eq(m->multiple, multiple);
}

static void
expect_return(const char *key)
{
    const struct amqp_basic_return *m = &expect(p, 1, AMQP_basic_return)->basic_return;
    struct fake_content content;

    ck_assert_uint_eq(m->reply_code, 312);
    ck_assert_slice_eq(m->reply_text, S("NO_ROUTE"));
    ck_assert_slice_eq(m->exchange, S(""));
    ck_assert_slice_eq(m->routing_key, S(key));
    ck_assert(fake_read_content(p, 1, &content));
    ck_assert_slice_eq(content.body, S("x"));
}

/* --- confirms --- */

START_TEST(test_confirm)
{
    send("q", false);
    CALL(p, 1, confirm, select, .nowait = false);
    CAST(p, 1, confirm, select, .nowait = true);
    send("q", false);
    fake_run(&fake);
    expect_ack(1, false);
    expect_nothing(p);
    for (int i = 0; i < 5; i++)
        send("q", false);
    fake_run(&fake);
    expect_ack(6, true);
    expect_nothing(p);
    ck_assert_uint_eq(ready("q"), 7);
}
END_TEST

START_TEST(test_confirm_of_return)
{
    CALL(p, 1, confirm, select, .nowait = false);
    send("nowhere", true);
    send("nowhere", false);
    fake_run(&fake);
    expect_return("nowhere");
    expect_ack(2, true);
    expect_nothing(p);
}
END_TEST

/* What is settled is told before close-ok; after an error nothing is. */
START_TEST(test_confirm_and_close)
{
    CALL(p, 1, confirm, select, .nowait = false);
    send("q", false);
    FAKE_SEND(p, 1, channel, close, .reply_code = 200);
    fake_run(&fake);
    expect_ack(1, false);
    expect(p, 1, AMQP_channel_close_ok);
    client_open_channel(p, 1);
    CALL(p, 1, confirm, select, .nowait = false);
    send("q", false);
    FAKE_SEND(p, 1, basic, ack, .delivery_tag = 1);
    fake_run(&fake);
    expect_channel_close(p, 1, 406, "PRECONDITION_FAILED - unknown delivery tag 1", AMQP_basic_ack);
    client_reopen(p, 1);
    send("q", false);
    fake_run(&fake);
    expect_nothing(p);
}
END_TEST

START_TEST(test_modes_exclude_each_other)
{
    CALL(p, 1, confirm, select, .nowait = false);
    FAKE_SEND(p, 1, tx, select, );
    fake_run(&fake);
    expect_channel_close(p, 1, 406, "PRECONDITION_FAILED - cannot switch from confirm to tx mode",
                         AMQP_tx_select);
    client_reopen(p, 1);
    CALL(p, 1, tx, select, );
    CALL(p, 1, tx, select, );
    FAKE_SEND(p, 1, confirm, select, .nowait = true);
    fake_run(&fake);
    expect_channel_close(p, 1, 406, "PRECONDITION_FAILED - cannot switch from tx to confirm mode",
                         AMQP_confirm_select);
}
END_TEST

START_TEST(test_not_transactional)
{
    FAKE_SEND(p, 1, tx, commit, );
    fake_run(&fake);
    expect_channel_close(p, 1, 406, "PRECONDITION_FAILED - channel is not transactional",
                         AMQP_tx_commit);
    client_reopen(p, 1);
    FAKE_SEND(p, 1, tx, rollback, );
    fake_run(&fake);
    expect_channel_close(p, 1, 406, "PRECONDITION_FAILED - channel is not transactional",
                         AMQP_tx_rollback);
}
END_TEST

/* --- transactions --- */

START_TEST(test_publishes)
{
    CALL(p, 1, tx, select, );
    send("q", false);
    send("nowhere", true);
    fake_run(&fake);
    expect_nothing(p);
    ck_assert_uint_eq(ready("q"), 0);
    FAKE_SEND(p, 1, tx, commit, );
    fake_run(&fake);
    expect_return("nowhere");
    expect(p, 1, AMQP_tx_commit_ok);
    ck_assert_uint_eq(ready("q"), 1);
    send("q", false);
    CALL(p, 1, tx, rollback, );
    CALL(p, 1, tx, commit, );
    ck_assert_uint_eq(ready("q"), 1);
}
END_TEST

/* Where a message goes is settled when it is published. */
START_TEST(test_routed_at_once)
{
    CALL(p, 2, queue, bind, .queue = S("q"), .exchange = S("amq.fanout"));
    CALL(p, 2, queue, declare, .queue = S("late"));
    CALL(p, 2, queue, declare, .queue = S("gone"));
    CALL(p, 2, queue, bind, .queue = S("gone"), .exchange = S("amq.fanout"));
    CALL(p, 1, tx, select, );
    send_publish(p, 1, "amq.fanout", "", false, slice_of(NULL, 0), S("x"));
    CALL(p, 2, queue, bind, .queue = S("late"), .exchange = S("amq.fanout"));
    CALL(p, 2, queue, unbind, .queue = S("q"), .exchange = S("amq.fanout"));
    CALL(p, 2, queue, delete, .queue = S("gone"));
    CALL(p, 1, tx, commit, );
    ck_assert_uint_eq(ready("q"), 1);
    ck_assert_uint_eq(ready("late"), 0);
}
END_TEST

START_TEST(test_settlements)
{
    for (int i = 0; i < 4; i++)
        publish(p, 2, "", "q", i % 2 == 0 ? "even" : "odd");
    CALL(p, 1, tx, select, );
    expect_get(p, 1, "q", false, false, 3, "even");
    expect_get(p, 1, "q", false, false, 2, "odd");
    expect_get(p, 1, "q", false, false, 1, "even");
    CAST(p, 1, basic, ack, .delivery_tag = 1);
    CAST(p, 1, basic, nack, .delivery_tag = 2, .requeue = true);
    ck_assert_uint_eq(ready("q"), 1);
    CALL(p, 1, tx, commit, );
    ck_assert_uint_eq(ready("q"), 2);
    expect_get(p, 2, "q", true, true, 1, "odd");
    CALL(p, 1, channel, close, .reply_code = 200);
    expect_get(p, 2, "q", true, true, 1, "even");
}
END_TEST

/* A tag is gone from the window when it is settled, and comes back by rollback. */
START_TEST(test_rollback_restores)
{
    for (int i = 0; i < 3; i++)
        publish(p, 2, "", "q", "x");
    CALL(p, 1, tx, select, );
    consume(p, 1, "q", "a", false);
    for (int i = 0; i < 3; i++)
        expect_deliver(p, 1, "a", false, "x");
    CAST(p, 1, basic, ack, .delivery_tag = 3);
    CAST(p, 1, basic, reject, .delivery_tag = 1, .requeue = true);
    CALL(p, 1, tx, rollback, );
    ck_assert_uint_eq(ready("q"), 0);
    CAST(p, 1, basic, ack, .delivery_tag = 2, .multiple = true);
    CALL(p, 1, tx, commit, );
    CAST(p, 1, basic, ack, .delivery_tag = 3);
    FAKE_SEND(p, 1, basic, ack, .delivery_tag = 3);
    fake_run(&fake);
    expect_channel_close(p, 1, 406, "PRECONDITION_FAILED - unknown delivery tag 3", AMQP_basic_ack);
    /* The channel's end rolled the last acknowledgement back. */
    ck_assert_uint_eq(ready("q"), 1);
}
END_TEST

/* Credit comes back with the commit. */
START_TEST(test_credit)
{
    CALL(p, 1, basic, qos, .prefetch_count = 1);
    CALL(p, 1, tx, select, );
    consume(p, 1, "q", "a", false);
    publish(p, 2, "", "q", "1");
    publish(p, 2, "", "q", "2");
    expect_deliver(p, 1, "a", false, "1");
    CAST(p, 1, basic, ack, .delivery_tag = 1);
    FAKE_SEND(p, 1, tx, commit, );
    fake_run(&fake);
    expect(p, 1, AMQP_tx_commit_ok);
    expect_deliver(p, 1, "a", false, "2");
}
END_TEST

/* A connection ends with a transaction open: nothing of it is done, nothing leaks. */
START_TEST(test_cut)
{
    publish(p, 2, "", "q", "1");
    CALL(p, 1, tx, select, );
    expect_get(p, 1, "q", false, false, 0, "1");
    CAST(p, 1, basic, ack, .delivery_tag = 1);
    send("q", false);
    fake_run(&fake);
    fake_cut(p);
    ck_assert_uint_eq(ready("q"), 1);
}
END_TEST

/* An error of a publish comes at once and takes the transaction along. */
START_TEST(test_error)
{
    CALL(p, 1, tx, select, );
    send("q", false);
    send_publish(p, 1, "nope", "q", false, slice_of(NULL, 0), S("x"));
    fake_run(&fake);
    expect_channel_close(p, 1, 404, "NOT_FOUND - no exchange 'nope' in vhost '/'",
                         AMQP_basic_publish);
    ck_assert_uint_eq(ready("q"), 0);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("tx");
    TCase *tc = tcase_create("confirm");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, test_confirm);
    tcase_add_test(tc, test_confirm_of_return);
    tcase_add_test(tc, test_confirm_and_close);
    tcase_add_test(tc, test_modes_exclude_each_other);
    tcase_add_test(tc, test_not_transactional);
    suite_add_tcase(suite, tc);

    tc = tcase_create("tx");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, test_publishes);
    tcase_add_test(tc, test_routed_at_once);
    tcase_add_test(tc, test_settlements);
    tcase_add_test(tc, test_rollback_restores);
    tcase_add_test(tc, test_credit);
    tcase_add_test(tc, test_cut);
    tcase_add_test(tc, test_error);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
