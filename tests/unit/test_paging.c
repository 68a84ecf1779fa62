#include "broker/core/paging.h"

#include <stdio.h>

#include "base/log.h"
#include "broker/core/vhost.h"
#include "tests/unit/client.h"

/* Queues that may keep next to nothing in memory. */

enum {
    BUDGET = 64 * 1024,
    BODY = 1000,
    /* Beyond its budget: a chunk that collects, one that has come back, and blocks that are not full. */
    RESIDENT_MAX = BUDGET + 3 * CHUNK_FULL,
};

enum kind { TRANSIENT, PERSISTENT, MIXED };

static struct fake fake;
static struct fake_peer *p, *other;

static void
setup(void)
{
    fake_init_durable(&fake, NULL);
    fake.settings.queue_memory_max = BUDGET;
    p = client_open(&fake);
    other = client_open(&fake);
    declare_durable(p, "q");
}

static void
teardown(void)
{
    fake_fini(&fake);
}

static struct queue *
queue(void)
{
    return vhost_find_queue(fake_vhost(&fake), S("q"));
}

static struct slice
body(unsigned i)
{
    static uint8_t bytes[BODY];

    memset(bytes, (int)(i % 251), sizeof bytes);
    memcpy(bytes, &i, sizeof i);
    return slice_of(bytes, sizeof bytes);
}

static bool
is_persistent(enum kind kind, unsigned i)
{
    return kind == PERSISTENT || (kind == MIXED && i % 3 != 0);
}

static void
fill(enum kind kind, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++) {
        send_publish(p, 1, "", "q", false,
                     is_persistent(kind, i) ? persistent : slice_of("\0\0", 2), body(i));
        if (i % 50 == 49)
            fake_run(&fake);
    }
    fake_run(&fake);
    check_queues(&fake);
}

/* The next message; returns its delivery tag. */
static uint64_t
read_one(struct fake_peer *peer, unsigned i, bool redelivered)
{
    struct fake_content content;
    const struct amqp_basic_get_ok *m = &expect(peer, 1, AMQP_basic_get_ok)->basic_get_ok;
    uint64_t tag = m->delivery_tag;

    ck_assert_int_eq(m->redelivered, redelivered);
    ck_assert(fake_read_content(peer, 1, &content));
    ck_assert_slice_eq(content.body, body(i));
    return tag;
}

static void
get(unsigned i)
{
    FAKE_SEND(p, 1, basic, get, .queue = S("q"), .no_ack = true);
    fake_run(&fake);
    read_one(p, i, false);
}

/* Everything from a number on comes, through a consumer, and nothing is left. */
static void
drain(unsigned from, unsigned to)
{
    struct fake_content content;

    FAKE_SEND(other, 1, basic, consume, .queue = S("q"), .consumer_tag = S("c"), .no_ack = true);
    fake_run(&fake);
    expect(other, 1, AMQP_basic_consume_ok);
    for (unsigned i = from; i < to; i++) {
        expect(other, 1, AMQP_basic_deliver);
        ck_assert(fake_read_content(other, 1, &content));
        ck_assert_slice_eq(content.body, body(i));
    }
    CALL(other, 1, basic, cancel, .consumer_tag = S("c"));
    fake_advance(&fake, 1000);
    check_queues(&fake);
    check_drained(&fake, "q");
    ck_assert_uint_eq(count_stored(&fake).chunks, 0);
}

/* --- out and in, in order --- */

START_TEST(test_kinds)
{
    fill((enum kind)_i, 0, 3000);
    ck_assert_uint_ge(queue()->ready.n_paged, 1);
    ck_assert_uint_le(queue()->ready.resident, RESIDENT_MAX);
    ck_assert_uint_eq(queue()->ready.count, 3000);
    ck_assert_uint_eq(queue()->ready.bytes, 3000 * BODY);
    drain(0, 3000);
}
END_TEST

/* It comes and goes while there is always some of it out. */
START_TEST(test_moving)
{
    unsigned in = 0, out = 0;

    for (int round = 0; round < 40; round++) {
        fill((enum kind)_i, in, in + 300);
        in += 300;
        ck_assert_uint_le(queue()->ready.resident, RESIDENT_MAX);
        for (int i = 0; i < 200; i++)
            get(out++);
        check_queues(&fake);
    }
    drain(out, in);
}
END_TEST

/* One by one, from a consumer that has credit for one: what is brought back ahead is bounded as well. */
START_TEST(test_read_ahead)
{
    fill((enum kind)_i, 0, 3000);
    CALL(other, 1, basic, qos, .prefetch_count = 1);
    FAKE_SEND(other, 1, basic, consume, .queue = S("q"), .consumer_tag = S("c"));
    fake_run(&fake);
    expect(other, 1, AMQP_basic_consume_ok);
    for (unsigned i = 0; i < 3000; i++) {
        struct fake_content content;
        uint64_t tag = expect(other, 1, AMQP_basic_deliver)->basic_deliver.delivery_tag;
        ck_assert(fake_read_content(other, 1, &content));
        ck_assert_slice_eq(content.body, body(i));
        expect_nothing(other);
        ck_assert_uint_le(queue()->ready.resident, RESIDENT_MAX);
        FAKE_SEND(other, 1, basic, ack, .delivery_tag = tag);
        fake_run(&fake);
    }
    CALL(other, 1, basic, cancel, .consumer_tag = S("c"));
    fake_advance(&fake, 1000);
    check_drained(&fake, "q");
}
END_TEST

/* What goes back to its place is in front of what is out. */
START_TEST(test_requeue)
{
    uint64_t tags[100];

    fill((enum kind)_i, 0, 2000);
    for (unsigned i = 0; i < 100; i++) {
        FAKE_SEND(p, 1, basic, get, .queue = S("q"));
        fake_run(&fake);
        tags[i] = read_one(p, i, false);
    }
    for (unsigned i = 100; i-- != 0;) {
        if (i % 2 == 0)
            FAKE_SEND(p, 1, basic, nack, .delivery_tag = tags[i], .requeue = true);
        else
            FAKE_SEND(p, 1, basic, ack, .delivery_tag = tags[i]);
    }
    fake_run(&fake);
    check_queues(&fake);
    ck_assert_uint_eq(queue()->ready.count, 1950);
    for (unsigned i = 0; i < 100; i += 2) {
        FAKE_SEND(p, 1, basic, get, .queue = S("q"), .no_ack = true);
        fake_run(&fake);
        read_one(p, i, true);
    }
    drain(100, 2000);
}
END_TEST

/* After a restart everything persistent is out, and counted. */
START_TEST(test_restart)
{
    fill(MIXED, 0, 3000);
    fake_restart(&fake, _i == 0 ? FAKE_STOP : FAKE_CRASH);
    p = client_open(&fake);
    ck_assert_uint_eq(queue()->ready.count, 2000);
    ck_assert_uint_eq(queue()->ready.bytes, 2000 * BODY);
    ck_assert_uint_eq(queue()->ready.resident, 0);
    check_queues(&fake);
    for (unsigned i = 0; i < 3000; i++) {
        if (is_persistent(MIXED, i))
            get(i);
    }
    fake_advance(&fake, 1000);
    check_drained(&fake, "q");
}
END_TEST

/* A chunk of the largest span, with transient messages behind it in its last block. */
START_TEST(test_largest_span)
{
    enum { N = CHUNK_SPAN_MAX + 1 };

    for (unsigned i = 0; i < N; i++)
        send_publish(p, 1, "", "q", false, persistent, slice_of("p", 1));
    for (unsigned i = 0; i < 3000; i++)
        send_publish(p, 1, "", "q", false, slice_of("\0\0", 2), slice_of("t", 1));
    fake_run(&fake);
    fill(TRANSIENT, 0, 1000);
    ck_assert_uint_ge(queue()->ready.n_paged, 1);
    for (unsigned i = 0; i < N + 3000; i++)
        FAKE_SEND(p, 1, basic, get, .queue = S("q"), .no_ack = true);
    fake_run(&fake);
    ck_assert_uint_eq(fake_read_all(p), N + 3000);
    drain(0, 1000);
}
END_TEST

/* --- taken away meanwhile --- */

START_TEST(test_purge)
{
    fill((enum kind)_i, 0, 2000);
    CALL(other, 1, queue, purge, .queue = S("q"));
    fake_advance(&fake, 1000);
    check_drained(&fake, "q");
    ck_assert_uint_eq(count_stored(&fake).chunks, 0);
    fill((enum kind)_i, 0, 1000);
    drain(0, 1000);
}
END_TEST

START_TEST(test_delete)
{
    fill((enum kind)_i, 0, 2000);
    CALL(other, 1, queue, delete, .queue = S("q"));
    fake_advance(&fake, 1000);
    ck_assert_uint_eq(count_stored(&fake).chunks, 0);
    ck_assert_uint_eq(count_stored(&fake).states, 0);
    ck_assert_uint_eq(count_stored(&fake).definitions, 1);
    declare_durable(p, "q");
    fill((enum kind)_i, 0, 1000);
    drain(0, 1000);
}
END_TEST

/* While blocks are on their way out. */
START_TEST(test_leaving)
{
    fill(TRANSIENT, 0, 50);
    fake.store_is_held = true;
    fill(TRANSIENT, 50, 1500);
    bool leaving = false;
    struct block *bl;
    TAILQ_FOREACH(bl, &queue()->ready.blocks, link)
    leaving |= bl->state == BLOCK_LEAVING;
    ck_assert(leaving);
    switch (_i) {
    case 0:
        FAKE_SEND(p, 1, queue, purge, .queue = S("q"));
        break;
    case 1:
        FAKE_SEND(p, 1, queue, delete, .queue = S("q"));
        break;
    default: /* those that are wanted stay */
        for (unsigned i = 0; i < 1000; i++)
            get(i);
    }
    fake_run(&fake);
    fake.store_is_held = false;
    fake_run(&fake);
    fake_read_all(p);
    check_queues(&fake);
    ck_assert_uint_eq(fake.broker->journal.behind, 0);
    if (_i == 1)
        return;
    if (_i == 0)
        check_drained(&fake, "q");
    else
        drain(1000, 1500);
}
END_TEST

/* --- basic.get that waits for a load --- */

/* The front is out; the load does not come back. */
static void
wait_for_load(enum kind kind)
{
    fill(kind, 0, 1500);
    while (backlog_has_resident(&queue()->ready)) {
        FAKE_SEND(p, 1, basic, get, .queue = S("q"), .no_ack = true);
        fake.store_is_held = true;
        fake_run(&fake);
        fake_read_all(p);
    }
    FAKE_SEND(other, 1, basic, get, .queue = S("q"), .no_ack = true);
    FAKE_SEND(other, 1, basic, qos, .prefetch_count = 0);
    fake_run(&fake);
    expect_nothing(other);
    ck_assert(other->held);
    ck_assert(!TAILQ_EMPTY(&queue()->gets));
}

static void
let_go(void)
{
    fake.store_is_held = false;
    fake_run(&fake);
    check_queues(&fake);
}

START_TEST(test_get_waits)
{
    struct fake_content content;

    wait_for_load((enum kind)_i);
    size_t before = queue()->ready.count;
    let_go();
    ck_assert(!other->held);
    ck_assert_uint_eq(expect(other, 1, AMQP_basic_get_ok)->basic_get_ok.message_count, before - 1);
    ck_assert(fake_read_content(other, 1, &content));
    ck_assert_slice_eq(content.body, body(1500 - (unsigned)before));
    expect(other, 1, AMQP_basic_qos_ok);
    expect_nothing(other);
}
END_TEST

START_TEST(test_get_waits_and_goes)
{
    wait_for_load(PERSISTENT);
    fake_cut(other);
    ck_assert(TAILQ_EMPTY(&queue()->gets));
    let_go();
    other = client_open(&fake);
    drain(1500 - (unsigned)queue()->ready.count, 1500);
}
END_TEST

/* The queue has nothing for it any more. */
START_TEST(test_get_waits_and_queue_goes)
{
    wait_for_load(PERSISTENT);
    if (_i == 0)
        FAKE_SEND(p, 1, queue, purge, .queue = S("q"));
    else
        FAKE_SEND(p, 1, queue, delete, .queue = S("q"));
    let_go();
    ck_assert(!other->held);
    expect(other, 1, AMQP_basic_get_empty);
    expect(other, 1, AMQP_basic_qos_ok);
    expect_nothing(other);
}
END_TEST

/* --- small things --- */

/* A block whose last message was acknowledged before a restart goes with its queue. */
START_TEST(test_trailing_hole)
{
    publish_persistent(p, 1, "", "q", "1");
    send_publish(p, 1, "", "q", false, persistent, S("2"));
    send_publish(p, 1, "", "q", false, persistent, S("3"));
    fake_run(&fake);
    expect_get(p, 1, "q", false, false, 2, "1");
    expect_get(p, 1, "q", false, false, 1, "2");
    CAST(p, 1, basic, ack, .delivery_tag = expect_get(p, 1, "q", false, false, 0, "3"));
    fake_restart(&fake, FAKE_STOP);
    p = client_open(&fake);
    expect_get(p, 1, "q", true, true, 1, "1");
    expect_get(p, 1, "q", true, true, 0, "2");
    check_queues(&fake);
    if (_i == 0)
        CALL(p, 1, queue, delete, .queue = S("q"));
    else
        expect_empty(p, 1, "q");
}
END_TEST

/* A queue that is purged takes its chunk with it, also if the chunk was still being filled. */
START_TEST(test_purge_and_open_chunk)
{
    enum { N = 12000 }; /* more than the reaper takes in one tick */

    for (unsigned i = 0; i < N; i++)
        send_publish(p, 1, "", "q", false, persistent, slice_of("x", 1));
    FAKE_SEND(p, 1, queue, purge, .queue = S("q"));
    send_publish(p, 1, "", "q", false, persistent, S("behind"));
    while (p->n_out == p->at_out)
        fake_turn(&fake);
    expect(p, 1, AMQP_queue_purge_ok);
    fake_restart(&fake, FAKE_CRASH);
    p = client_open(&fake);
    expect_get(p, 1, "q", true, false, 0, "behind");
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("paging");
    TCase *tc = tcase_create("paging");

    log_set_level(LOG_NONE);
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, test_kinds, 0, 3);
    tcase_add_loop_test(tc, test_moving, 0, 3);
    tcase_add_loop_test(tc, test_read_ahead, 0, 3);
    tcase_add_loop_test(tc, test_requeue, 0, 3);
    tcase_add_loop_test(tc, test_restart, 0, 2);
    tcase_add_test(tc, test_largest_span);
    tcase_add_loop_test(tc, test_purge, 0, 3);
    tcase_add_loop_test(tc, test_delete, 0, 3);
    tcase_add_loop_test(tc, test_leaving, 0, 3);
    tcase_add_loop_test(tc, test_get_waits, 0, 3);
    tcase_add_test(tc, test_get_waits_and_goes);
    tcase_add_loop_test(tc, test_get_waits_and_queue_goes, 0, 2);
    tcase_add_loop_test(tc, test_trailing_hole, 0, 2);
    tcase_add_test(tc, test_purge_and_open_chunk);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
