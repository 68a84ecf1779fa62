/* What a tick costs and whom it serves: only queues with work, a bounded number of messages, each
 * queue in its turn. */
#include "base/log.h"
#include "broker/core/connection.h"
#include "broker/core/message.h"
#include "broker/core/queue.h"
#include "broker/core/vhost.h"
#include "tests/unit/client.h"

#include <stdio.h>

static struct fake fake;
static struct fake_peer *p;
static struct vhost *v;

static void
setup(void)
{
    log_set_level(LOG_NONE);
    fake_init(&fake);
    p = client_open(&fake);
    v = fake_vhost(&fake);
}

static void
teardown(void)
{
    fake_fini(&fake);
}

static struct queue *
find_queue(const char *name)
{
    return vhost_find_queue(v, S(name));
}

static size_t
n_scheduled(void)
{
    struct queue *q;
    size_t n = 0;

    TAILQ_FOREACH(q, &v->scheduled, schedule_link)
    n++;
    return n;
}

static void
fill(const char *queue, unsigned n)
{
    struct queue *q = find_queue(queue);
    struct message *m = message_new(slice_of("\0\1q", 3), slice_of("\0\0", 2), 1);

    *message_body(m) = 'x';
    for (unsigned i = 0; i < n; i++)
        queue_publish(q, m, 0);
    message_unref(m);
}

START_TEST(test_idle_queues_cost_nothing)
{
    enum { N = 10000 };
    char name[16];

    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "idle%d", i);
        FAKE_SEND(p, 1, queue, declare, .queue = S(name), .nowait = true);
        if (i % 2 == 0)
            FAKE_SEND(p, 1, basic, consume, .queue = S(name), .nowait = true);
        else
            send_publish(p, 1, "", name, false, slice_of(NULL, 0), S("x"));
    }
    fake_run(&fake);
    expect_nothing(p);
    ck_assert_uint_eq(HASH_COUNT(v->queues), N);
    ck_assert_uint_eq(n_scheduled(), 0);
    ck_assert(!fake.tick_wanted);

    send_publish(p, 1, "", "idle0", false, slice_of(NULL, 0), S("x"));
    ck_assert_uint_eq(n_scheduled(), 1);
    ck_assert_ptr_eq(TAILQ_FIRST(&v->scheduled), find_queue("idle0"));
    ck_assert(fake.tick_wanted);
    uint64_t ticks = fake.n_ticks;
    fake_run(&fake);
    ck_assert_uint_eq(fake.n_ticks, ticks + 1);
    ck_assert_uint_eq(n_scheduled(), 0);
    expect(p, 1, AMQP_basic_deliver);
}
END_TEST

/* Time alone makes no work either, except for heartbeats. */
START_TEST(test_nothing_to_do)
{
    declare_queue(p, "q");
    uint64_t ticks = fake.n_ticks;
    fake_advance(&fake, 29000);
    ck_assert_uint_eq(fake.n_ticks, ticks + 1);
}
END_TEST

/* Consumers that cannot take anything are no work: the queue sleeps until one has credit. */
START_TEST(test_blocked_consumers_cost_nothing)
{
    declare_queue(p, "q");
    CALL(p, 1, basic, qos, .prefetch_count = 1);
    for (int i = 0; i < 100; i++)
        FAKE_SEND(p, 1, basic, consume, .queue = S("q"), .nowait = true);
    fill("q", 1000);
    fake_run(&fake);
    ck_assert_uint_eq(fake_read_all(p), 100);
    ck_assert(TAILQ_EMPTY(&find_queue("q")->ready_consumers));
    fill("q", 1);
    ck_assert_uint_eq(n_scheduled(), 0);
    FAKE_SEND(p, 1, basic, ack, .delivery_tag = 50);
    ck_assert_uint_eq(n_scheduled(), 1);
    fake_run(&fake);
    ck_assert_uint_eq(fake_read_all(p), 1);
    ck_assert_uint_eq(n_scheduled(), 0);
}
END_TEST

/* A long backlog does not keep the loop from reading and writing. */
START_TEST(test_bounded)
{
    fake.settings.output_high_watermark = UINT64_MAX;
    declare_queue(p, "q");
    fill("q", 150000);
    FAKE_SEND(p, 1, basic, consume, .queue = S("q"), .no_ack = true, .nowait = true);
    size_t left = find_queue("q")->ready.count;
    ck_assert_uint_eq(left, 150000);
    while (left != 0) {
        ck_assert(fake.tick_wanted);
        fake_turn(&fake);
        size_t now = find_queue("q")->ready.count;
        ck_assert_uint_lt(now, left);
        ck_assert_uint_le(left - now, 70000);
        left = now;
    }
    fake_run(&fake);
    ck_assert_uint_eq(fake_read_all(p), 150000);
}
END_TEST

/* No queue waits for the end of another's backlog. */
START_TEST(test_fair)
{
    fake.settings.output_high_watermark = UINT64_MAX;
    declare_queue(p, "long");
    declare_queue(p, "short");
    fill("long", 150000);
    fill("short", 3000);
    FAKE_SEND(p, 1, basic, consume, .queue = S("long"), .no_ack = true, .nowait = true);
    FAKE_SEND(p, 1, basic, consume, .queue = S("short"), .no_ack = true, .nowait = true);
    fake_turn(&fake);
    ck_assert_uint_eq(find_queue("short")->ready.count, 0);
    ck_assert_uint_gt(find_queue("long")->ready.count, 70000);
    fake_run(&fake);
    ck_assert_uint_eq(fake_read_all(p), 153000);
}
END_TEST

/* Confirms of a tick are one frame, on every channel for itself. */
START_TEST(test_confirms_are_batched)
{
    declare_queue(p, "q");
    client_open_channel(p, 2);
    for (uint16_t channel = 1; channel <= 2; channel++)
        CALL(p, channel, confirm, select, .nowait = false);
    for (int i = 0; i < 1000; i++)
        send_publish(p, (uint16_t)(1 + i % 2), "", "q", false, slice_of(NULL, 0), S("x"));
    ck_assert(!TAILQ_EMPTY(&fake.broker->settling));
    fake_turn(&fake);
    for (uint16_t channel = 1; channel <= 2; channel++) {
        const struct amqp_basic_ack *m = &expect(p, channel, AMQP_basic_ack)->basic_ack;
        ck_assert_uint_eq(m->delivery_tag, 500);
        ck_assert(m->multiple);
    }
    expect_nothing(p);
    ck_assert(!fake.tick_wanted);
}
END_TEST

/* A connection that does not read: the rest goes on. */
START_TEST(test_slow_consumer_harms_nobody)
{
    struct fake_peer *slow = client_open(&fake);

    fake.settings.output_high_watermark = 10000;
    declare_queue(p, "q");
    FAKE_SEND(slow, 1, basic, consume, .queue = S("q"), .no_ack = true, .nowait = true);
    FAKE_SEND(p, 1, basic, consume, .queue = S("q"), .no_ack = true, .nowait = true);
    slow->is_blocked = true;
    fill("q", 10000);
    fake_run(&fake);
    ck_assert_uint_eq(find_queue("q")->ready.count, 0);
    ck_assert_uint_lt(slow->connection->out.bytes, 11000);
    size_t n = fake_read_all(p);
    slow->is_blocked = false;
    fake_run(&fake);
    ck_assert_uint_eq(n + fake_read_all(slow), 10000);
}
END_TEST

/* A buffer of publishes to hundreds of queues is work for long: others have their turn in between.
 */
START_TEST(test_fan_out_takes_turns)
{
    enum { QUEUES = 500, PUBLISHES = 200 };
    struct fake_peer *other = client_open(&fake);
    struct queue *q;
    char name[16];

    for (int i = 0; i < QUEUES; i++) {
        snprintf(name, sizeof name, "q%d", i);
        FAKE_SEND(p, 1, queue, declare, .queue = S(name), .nowait = true);
        FAKE_SEND(p, 1, queue, bind, .queue = S(name), .exchange = S("amq.fanout"), .nowait = true);
    }
    fake_run(&fake);
    q = find_queue("q0");
    /* All of it is there before the broker looks. */
    p->held = true;
    for (int i = 0; i < PUBLISHES; i++)
        send_publish(p, 1, "amq.fanout", "", false, slice_of(NULL, 0), S("x"));
    p->held = false;
    fake_turn(&fake);
    ck_assert_uint_gt(q->ready.count, 0);
    ck_assert_uint_le(q->ready.count, 40);
    ck_assert(fake.tick_wanted);
    FAKE_SEND(other, 1, queue, declare, .queue = S("mine"));
    fake_turn(&fake);
    expect(other, 1, AMQP_queue_declare_ok);
    ck_assert_uint_lt(q->ready.count, PUBLISHES);
    fake_run(&fake);
    ck_assert_uint_eq(q->ready.count, PUBLISHES);
    expect_nothing(p);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("tick");
    TCase *tc = tcase_create("tick");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, test_idle_queues_cost_nothing);
    tcase_add_test(tc, test_nothing_to_do);
    tcase_add_test(tc, test_blocked_consumers_cost_nothing);
    tcase_add_test(tc, test_bounded);
    tcase_add_test(tc, test_fair);
    tcase_add_test(tc, test_confirms_are_batched);
    tcase_add_test(tc, test_slow_consumer_harms_nobody);
    tcase_add_test(tc, test_fan_out_takes_turns);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
