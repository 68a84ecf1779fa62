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

/* --- what has been delivered and is not acknowledged --- */

/* A consumer takes everything, and acknowledges nothing; returns the tag of the last delivery. */
static uint64_t
take_all(struct fake_peer *peer, unsigned n, bool redelivered)
{
    struct fake_content content;
    uint64_t tag = 0;

    FAKE_SEND(peer, 1, basic, consume, .queue = S("q"), .consumer_tag = S("c"));
    fake_run(&fake);
    expect(peer, 1, AMQP_basic_consume_ok);
    for (unsigned i = 0; i < n; i++) {
        const struct amqp_basic_deliver *d = &expect(peer, 1, AMQP_basic_deliver)->basic_deliver;
        tag = d->delivery_tag;
        ck_assert_int_eq(d->redelivered, redelivered);
        ck_assert(fake_read_content(peer, 1, &content));
        ck_assert_slice_eq(content.body, body(i));
    }
    expect_nothing(peer);
    ck_assert_uint_eq(queue()->n_unacked, n);
    ck_assert_uint_eq(queue()->ready.count, 0);
    return tag;
}

/* Memory of what is unacknowledged: the budget, what is being stored, and a stub for each. */
#define UNACKED_MAX(n) (BUDGET + 60 * BODY + (n) * sizeof(struct message) * 2)

static void
check_settled(void)
{
    fake_advance(&fake, 1000);
    check_queues(&fake);
    check_drained(&fake, "q");
    ck_assert_uint_eq(fake.broker->pager.unacked, 0);
    ck_assert_uint_eq(count_stored(&fake).chunks, 0);
}

/* Delivered before they are stored, or from the store; acknowledged, they leave nothing. */
START_TEST(test_unacked)
{
    bool is_there_first = _i == 1;
    uint64_t tag;

    if (is_there_first)
        CALL(other, 1, basic, consume, .queue = S("q"), .consumer_tag = S("early"));
    fill(PERSISTENT, 0, 2000);
    if (is_there_first) {
        fake_read_all(other);
        tag = 2000;
    } else {
        tag = take_all(other, 2000, false);
    }
    ck_assert_uint_eq(queue()->n_unacked, 2000);
    ck_assert_uint_le(queue()->unacked_memory, UNACKED_MAX(2000));
    CAST(other, 1, basic, ack, .delivery_tag = tag, .multiple = true);
    check_settled();
}
END_TEST

/* What is not stored stays. */
START_TEST(test_unacked_transient)
{
    fill(TRANSIENT, 0, 500);
    uint64_t tag = take_all(other, 500, false);
    ck_assert_uint_ge(queue()->unacked_memory, 500 * BODY);
    CAST(other, 1, basic, ack, .delivery_tag = tag, .multiple = true);
    check_settled();
}
END_TEST

/* A queue may have much for itself, but all have not. */
START_TEST(test_unacked_of_all)
{
    fake.settings.queue_memory_max = UINT64_MAX;
    fake.settings.messages_memory_max = BUDGET;
    fill(PERSISTENT, 0, 2000);
    uint64_t tag = take_all(other, 2000, false);
    ck_assert_uint_le(fake.broker->pager.unacked, UNACKED_MAX(2000));
    CAST(other, 1, basic, ack, .delivery_tag = tag, .multiple = true);
    check_settled();
}
END_TEST

/* Whoever took it all goes: it comes back in its order, and out of the store again. */
START_TEST(test_unacked_comes_back)
{
    fill((enum kind)_i, 0, 2000);
    take_all(other, 2000, false);
    fake_cut(other);
    fake_run(&fake);
    check_queues(&fake);
    if (_i == PERSISTENT)
        ck_assert_uint_le(queue()->ready.resident, RESIDENT_MAX);
    other = client_open(&fake);
    uint64_t tag = take_all(other, 2000, true);
    ck_assert_uint_eq(queue()->unacked_memory <= UNACKED_MAX(2000), _i == PERSISTENT);
    CAST(other, 1, basic, ack, .delivery_tag = tag, .multiple = true);
    check_settled();
}
END_TEST

/* One by one, from the end; every third is acknowledged instead. */
START_TEST(test_unacked_some_come_back)
{
    fill((enum kind)_i, 0, 1500);
    uint64_t last = take_all(other, 1500, false);
    CALL(other, 1, basic, cancel, .consumer_tag = S("c"));
    for (unsigned i = 1500; i-- != 0;) {
        uint64_t tag = last - 1499 + i;
        if (i % 3 == 0)
            CAST(other, 1, basic, ack, .delivery_tag = tag);
        else
            CAST(other, 1, basic, nack, .delivery_tag = tag, .requeue = true);
    }
    check_queues(&fake);
    ck_assert_uint_eq(queue()->ready.count, 1000);
    for (unsigned i = 0; i < 1500; i++) {
        if (i % 3 == 0)
            continue;
        FAKE_SEND(p, 1, basic, get, .queue = S("q"), .no_ack = true);
        fake_run(&fake);
        read_one(p, i, true);
    }
    check_settled();
}
END_TEST

/* A transaction that is rolled back has settled nothing. */
START_TEST(test_unacked_in_tx)
{
    CALL(other, 1, tx, select, );
    fill(PERSISTENT, 0, 500);
    uint64_t tag = take_all(other, 500, false);
    CAST(other, 1, basic, ack, .delivery_tag = tag - 100, .multiple = true);
    CALL(other, 1, tx, rollback, );
    CAST(other, 1, basic, nack, .delivery_tag = tag, .multiple = true);
    CALL(other, 1, tx, rollback, );
    fake_cut(other);
    fake_run(&fake);
    other = client_open(&fake);
    tag = take_all(other, 500, true);
    CAST(other, 1, basic, ack, .delivery_tag = tag, .multiple = true);
    check_settled();
}
END_TEST

/* The first messages are on their way back from the store, and wanted. */
static void
wait_for_stubs(void)
{
    fill(PERSISTENT, 0, 500);
    take_all(other, 500, false);
    fake_cut(other);
    fake_run(&fake);
    fake.store_is_held = true;
    FAKE_SEND(p, 1, basic, get, .queue = S("q"), .no_ack = true);
    fake_run(&fake);
    expect_nothing(p);
    ck_assert_ptr_nonnull(queue()->stub_load);
    other = client_open(&fake);
}

START_TEST(test_stubs_load)
{
    wait_for_stubs();
    let_go();
    read_one(p, 0, true);
}
END_TEST

START_TEST(test_stubs_load_and_purge)
{
    wait_for_stubs();
    FAKE_SEND(other, 1, queue, purge, .queue = S("q"));
    fake_run(&fake);
    let_go();
    ck_assert_uint_eq(expect(other, 1, AMQP_queue_purge_ok)->queue_purge_ok.message_count, 500);
    expect(p, 1, AMQP_basic_get_empty);
    check_settled();
}
END_TEST

START_TEST(test_stubs_load_and_delete)
{
    wait_for_stubs();
    FAKE_SEND(other, 1, queue, delete, .queue = S("q"));
    fake_run(&fake);
    let_go();
    ck_assert_uint_eq(expect(other, 1, AMQP_queue_delete_ok)->queue_delete_ok.message_count, 500);
    expect(p, 1, AMQP_basic_get_empty);
    fake_advance(&fake, 1000);
    ck_assert_uint_eq(count_stored(&fake).chunks, 0);
}
END_TEST

/* The queue goes; what is out of it may still be settled, either way. */
START_TEST(test_unacked_of_deleted)
{
    fill(PERSISTENT, 0, 500);
    uint64_t tag = take_all(other, 500, false);
    CALL(p, 1, queue, delete, .queue = S("q"));
    fake_read_all(other);
    if (_i == 0)
        CAST(other, 1, basic, ack, .delivery_tag = tag, .multiple = true);
    else
        fake_cut(other);
    fake_advance(&fake, 1000);
    ck_assert_uint_eq(fake.broker->pager.unacked, 0);
    ck_assert_uint_eq(count_stored(&fake).chunks, 0);
}
END_TEST

/* A large body that two queues share. */
START_TEST(test_unacked_shared)
{
    static uint8_t large[3 * JOURNAL_SHARED_MIN];

    fake.settings.queue_memory_max = sizeof large;
    declare_exchange(p, "fan", "fanout");
    declare_durable(p, "other");
    CALL(p, 1, queue, bind, .queue = S("q"), .exchange = S("fan"));
    CALL(p, 1, queue, bind, .queue = S("other"), .exchange = S("fan"));
    for (unsigned i = 0; i < 20; i++) {
        memset(large, (int)i, sizeof large);
        send_publish(p, 1, "fan", "", false, persistent, slice_of(large, sizeof large));
        fake_run(&fake);
    }
    FAKE_SEND(other, 1, basic, consume, .queue = S("q"), .consumer_tag = S("c"));
    fake_run(&fake);
    fake_read_all(other);
    ck_assert_uint_eq(queue()->n_unacked, 20);
    ck_assert_uint_le(queue()->unacked_memory, 3 * sizeof large);
    CALL(p, 1, queue, delete, .queue = S("other"));
    fake_cut(other);
    for (unsigned i = 0; i < 20; i++) {
        struct fake_content content;
        FAKE_SEND(p, 1, basic, get, .queue = S("q"), .no_ack = true);
        fake_run(&fake);
        expect(p, 1, AMQP_basic_get_ok);
        ck_assert(fake_read_content(p, 1, &content));
        memset(large, (int)i, sizeof large);
        ck_assert_slice_eq(content.body, slice_of(large, sizeof large));
    }
    check_settled();
    ck_assert_uint_eq(count_stored(&fake).shared, 0);
}
END_TEST

/* What cannot be read is not served, and is not taken out of the store. */
START_TEST(test_stubs_unreadable)
{
    const struct chunk *c;
    unsigned live = 0;

    fake_fini(&fake);
    fake_init_durable(&fake, "read:12+:EIO");
    fake.settings.queue_memory_max = BUDGET;
    p = client_open(&fake);
    other = client_open(&fake);
    declare_durable(p, "q");
    fill(PERSISTENT, 0, 60);
    take_all(other, 60, false);
    fill(PERSISTENT, 60, 500);
    fake_cut(other);
    fake_run(&fake);
    check_queues(&fake);
    FAKE_SEND(p, 1, basic, get, .queue = S("q"));
    fake_run(&fake);
    fake_read_all(p);
    check_queues(&fake);
    ck_assert_uint_lt(queue()->ready.count, 500);
    TAILQ_FOREACH (c, &queue()->chunks, queue_link)
        live += c->live;
    ck_assert_uint_eq(live, 500);
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
    tcase_add_loop_test(tc, test_unacked, 0, 2);
    tcase_add_test(tc, test_unacked_transient);
    tcase_add_test(tc, test_unacked_of_all);
    tcase_add_loop_test(tc, test_unacked_comes_back, 0, 3);
    tcase_add_loop_test(tc, test_unacked_some_come_back, 0, 3);
    tcase_add_test(tc, test_unacked_in_tx);
    tcase_add_test(tc, test_stubs_load);
    tcase_add_test(tc, test_stubs_load_and_purge);
    tcase_add_test(tc, test_stubs_load_and_delete);
    tcase_add_loop_test(tc, test_unacked_of_deleted, 0, 2);
    tcase_add_test(tc, test_unacked_shared);
    tcase_add_test(tc, test_stubs_unreadable);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
