#include "broker/core/journal.h"

#include <stdio.h>

#include "base/log.h"
#include "broker/core/vhost.h"
#include "tests/unit/client.h"

/* What waits for the store, for how long, and what becomes of it when the store has no space or fails. */

static struct fake fake;
static struct fake_peer *p, *other;

static void
begin(const char *faults)
{
    fake_init_durable(&fake, faults);
    p = client_open(&fake);
    other = client_open(&fake);
}

static void
setup(void)
{
    begin(NULL);
}

static void
teardown(void)
{
    fake_fini(&fake);
}

static struct journal *
journal(void)
{
    return &fake.broker->journal;
}

static void
hold(void)
{
    fake_run(&fake);
    fake.store_is_held = true;
}

static void
let_go(void)
{
    fake.store_is_held = false;
    fake_run(&fake);
}

static void
confirm_select(struct fake_peer *peer)
{
    CALL(peer, 1, confirm, select, );
}

static void
expect_confirm(struct fake_peer *peer, uint64_t tag, bool multiple)
{
    const struct amqp_basic_ack *m = &expect(peer, 1, AMQP_basic_ack)->basic_ack;

    ck_assert_uint_eq(m->delivery_tag, tag);
    ck_assert_int_eq(m->multiple, multiple);
}

static void
send(struct fake_peer *peer, const char *queue, const char *body)
{
    send_publish(peer, 1, "", queue, false, persistent, S(body));
}

/* A new broker after a crash, with one client. */
static void
crash(void)
{
    fake_restart(&fake, FAKE_CRASH);
    fake.store_is_held = false;
    p = client_open(&fake);
}

static uint32_t
count(const char *queue)
{
    FAKE_SEND(p, 1, queue, declare, .queue = S(queue), .passive = true);
    fake_run(&fake);
    uint32_t n = expect(p, 1, AMQP_queue_declare_ok)->queue_declare_ok.message_count;
    expect_nothing(p);
    return n;
}

/* --- group commit --- */

/* While a batch is under way everything collects, and goes with the next one. */
START_TEST(test_one_batch_at_a_time)
{
    declare_durable(p, "q");
    confirm_select(p);
    uint64_t batches = journal()->n_batches;
    hold();
    publish_persistent(p, 1, "", "q", "1");
    ck_assert_uint_eq(journal()->n_batches, batches + 1);
    for (int i = 0; i < 10; i++)
        publish_persistent(p, 1, "", "q", "x");
    ck_assert_uint_eq(journal()->n_batches, batches + 1);
    expect_nothing(p);
    store_poll(fake.store);
    fake_run(&fake);
    expect_confirm(p, 1, false);
    expect_nothing(p);
    ck_assert_uint_eq(journal()->n_batches, batches + 2);
    let_go();
    expect_confirm(p, 11, true);
    expect_nothing(p);
    ck_assert_uint_eq(journal()->n_batches, batches + 2);
    ck_assert_uint_eq(journal()->behind, 0);
    ck_assert_uint_eq(count_stored(&fake).chunks, 2);
    ck_assert_uint_eq(count_stored(&fake).messages, 11);
}
END_TEST

/* A consumer does not wait for the disk, the publisher does. */
START_TEST(test_delivered_before_it_is_stored)
{
    declare_durable(p, "q");
    confirm_select(p);
    consume(other, 1, "q", "tag", false);
    hold();
    publish_persistent(p, 1, "", "q", "1");
    expect_deliver(other, 1, "tag", false, "1");
    expect_nothing(p);
    let_go();
    expect_confirm(p, 1, false);
}
END_TEST

START_TEST(test_acked_before_its_batch)
{
    declare_durable(p, "q");
    confirm_select(p);
    consume(other, 1, "q", "tag", true);
    hold();
    publish_persistent(p, 1, "", "q", "under way");
    publish_persistent(p, 1, "", "q", "over before the next batch");
    fake_read_all(other);
    let_go();
    expect_confirm(p, 1, false);
    expect_confirm(p, 2, false);
    fake_advance(&fake, 1000);
    ck_assert_uint_eq(count_stored(&fake).chunks, 0);
    ck_assert(TAILQ_EMPTY(&vhost_find_queue(fake_vhost(&fake), S("q"))->chunks));
}
END_TEST

/* One of several: the others are written without it. */
START_TEST(test_some_acked_before_their_batch)
{
    declare_durable(p, "q");
    hold();
    send(p, "q", "1");
    fake_run(&fake);
    send(p, "q", "2");
    send(p, "q", "3");
    send(p, "q", "4");
    FAKE_SEND(other, 1, basic, get, .queue = S("q"), .no_ack = true);
    FAKE_SEND(other, 1, basic, get, .queue = S("q"), .no_ack = true);
    fake_run(&fake);
    let_go();
    fake_advance(&fake, 1000);
    ck_assert_uint_eq(count_stored(&fake).messages, 2);
    crash();
    expect_get(p, 1, "q", true, false, 1, "3");
    expect_get(p, 1, "q", true, false, 0, "4");
}
END_TEST

START_TEST(test_transient_is_confirmed_at_once)
{
    declare_durable(p, "q");
    declare_queue(p, "t");
    confirm_select(p);
    hold();
    publish(p, 1, "", "q", "transient");
    expect_confirm(p, 1, false);
    publish_persistent(p, 1, "", "t", "in a transient queue");
    expect_confirm(p, 2, false);
    publish_persistent(p, 1, "", "nowhere", "unroutable");
    expect_confirm(p, 3, false);
    expect_nothing(p);
}
END_TEST

/* What is between two runs has been confirmed by itself. */
START_TEST(test_runs_around_transient)
{
    declare_durable(p, "q");
    confirm_select(p);
    hold();
    send(p, "q", "1");
    fake_run(&fake);
    send(p, "q", "2");
    send(p, "q", "3");
    send_publish(p, 1, "", "q", false, slice_of("\0\0", 2), S("4"));
    send(p, "q", "5");
    fake_run(&fake);
    expect_confirm(p, 4, false);
    expect_nothing(p);
    let_go();
    expect_confirm(p, 1, false);
    expect_confirm(p, 5, true);
    expect_nothing(p);
}
END_TEST

START_TEST(test_channel_gone)
{
    declare_durable(p, "q");
    confirm_select(p);
    hold();
    publish_persistent(p, 1, "", "q", "1");
    publish_persistent(p, 1, "", "q", "2");
    CALL(p, 1, channel, close, );
    publish_persistent(other, 1, "", "q", "3");
    fake_cut(other);
    let_go();
    expect_nothing(p);
    client_open_channel(p, 1);
    ck_assert_uint_eq(count("q"), 3);
}
END_TEST

/* --- fences --- */

#define FENCED(c, m, ...)                                                                          \
    do {                                                                                           \
        hold();                                                                                    \
        FAKE_SEND(p, 1, c, m, __VA_ARGS__);                                                        \
        FAKE_SEND(p, 1, basic, qos, .prefetch_count = 0);                                          \
        fake_run(&fake);                                                                           \
        expect_nothing(p);                                                                         \
        CALL(other, 1, basic, qos, .prefetch_count = 0);                                           \
        let_go();                                                                                  \
        expect(p, 1, AMQP_##c##_##m##_ok);                                                         \
        expect(p, 1, AMQP_basic_qos_ok);                                                           \
        expect_nothing(p);                                                                         \
    } while (0)

/* Not a byte of the reply, nor of what comes behind it, leaves before the batch is answered; others are
 * not concerned. */
START_TEST(test_fences)
{
    FENCED(exchange, declare, .exchange = S("x"), .type = S("fanout"), .durable = true);
    FENCED(queue, declare, .queue = S("q"), .durable = true);
    FENCED(queue, bind, .queue = S("q"), .exchange = S("x"));
    FENCED(exchange, bind, .destination = S("x"), .source = S("amq.topic"));
    FENCED(exchange, unbind, .destination = S("x"), .source = S("amq.topic"));
    publish_persistent(p, 1, "", "q", "1");
    FENCED(queue, purge, .queue = S("q"));
    FENCED(queue, unbind, .queue = S("q"), .exchange = S("x"));
    publish_persistent(p, 1, "", "q", "2");
    FENCED(queue, delete, .queue = S("q"));
    FENCED(exchange, delete, .exchange = S("x"));
}
END_TEST

/* What is in front of the fence leaves. */
START_TEST(test_in_front_of_the_fence)
{
    hold();
    FAKE_SEND(p, 1, basic, qos, .prefetch_count = 0);
    FAKE_SEND(p, 1, queue, declare, .queue = S("q"), .durable = true);
    fake_run(&fake);
    expect(p, 1, AMQP_basic_qos_ok);
    expect_nothing(p);
    let_go();
    expect(p, 1, AMQP_queue_declare_ok);
}
END_TEST

/* One in the batch under way, one in the next. */
START_TEST(test_two_fences)
{
    hold();
    FAKE_SEND(p, 1, queue, declare, .queue = S("a"), .durable = true);
    fake_run(&fake);
    FAKE_SEND(p, 1, queue, declare, .queue = S("b"), .durable = true);
    FAKE_SEND(p, 1, queue, declare, .queue = S("c"), .durable = true);
    fake_run(&fake);
    expect_nothing(p);
    store_poll(fake.store);
    fake_run(&fake);
    ck_assert_slice_eq(expect(p, 1, AMQP_queue_declare_ok)->queue_declare_ok.queue, S("a"));
    expect_nothing(p);
    let_go();
    ck_assert_slice_eq(expect(p, 1, AMQP_queue_declare_ok)->queue_declare_ok.queue, S("b"));
    ck_assert_slice_eq(expect(p, 1, AMQP_queue_declare_ok)->queue_declare_ok.queue, S("c"));
    expect_nothing(p);
}
END_TEST

/* Nothing durable: nothing to wait for. */
START_TEST(test_no_fence)
{
    hold();
    CALL(p, 1, queue, declare, .queue = S("t"));
    CALL(p, 1, queue, bind, .queue = S("t"), .exchange = S("amq.fanout"));
    CALL(p, 1, queue, purge, .queue = S("t"));
    CALL(p, 1, queue, declare, .queue = S("e"), .durable = true, .exclusive = true);
    CALL(p, 1, queue, delete, .queue = S("t"));
    CALL(p, 1, exchange, declare, .exchange = S("x"), .type = S("topic"));
}
END_TEST

START_TEST(test_fenced_connection_goes)
{
    hold();
    FAKE_SEND(p, 1, queue, declare, .queue = S("a"), .durable = true);
    fake_run(&fake);
    FAKE_SEND(p, 1, queue, declare, .queue = S("b"), .durable = true);
    fake_run(&fake);
    fake_cut(p);
    let_go();
    p = other;
    ck_assert_uint_eq(count("a"), 0);
    ck_assert_uint_eq(count("b"), 0);
}
END_TEST

/* --- transactions --- */

static void
tx_select(struct fake_peer *peer)
{
    CALL(peer, 1, tx, select, );
}

START_TEST(test_tx_is_one_batch)
{
    declare_durable(p, "q");
    publish_persistent(p, 1, "", "q", "old");
    tx_select(p);
    uint64_t tag = expect_get(p, 1, "q", false, false, 0, "old");
    fake_advance(&fake, 1000);
    uint64_t batches = journal()->n_batches;
    hold();
    send(p, "q", "new 1");
    send(p, "q", "new 2");
    FAKE_SEND(p, 1, basic, ack, .delivery_tag = tag);
    fake_run(&fake);
    ck_assert_uint_eq(journal()->n_batches, batches);
    FAKE_SEND(p, 1, tx, commit, );
    fake_run(&fake);
    expect_nothing(p);
    ck_assert_uint_eq(journal()->n_batches, batches + 1);
    let_go();
    expect(p, 1, AMQP_tx_commit_ok);
    ck_assert_uint_eq(journal()->n_batches, batches + 1);
    crash();
    expect_get(p, 1, "q", true, false, 1, "new 1");
    expect_get(p, 1, "q", true, false, 0, "new 2");
}
END_TEST

/* The message is being written when a transaction settles it: commit-ok says that it is gone for good. */
START_TEST(test_tx_acks_what_is_being_written)
{
    declare_durable(p, "q");
    tx_select(p);
    hold();
    send(other, "q", "1");
    send(other, "q", "not concerned, in the same chunk");
    fake_run(&fake);
    FAKE_SEND(p, 1, basic, get, .queue = S("q"));
    FAKE_SEND(p, 1, basic, ack, .delivery_tag = 1);
    FAKE_SEND(p, 1, tx, commit, );
    fake_run(&fake);
    ck_assert_uint_eq(fake_read_all(p), 1);
    fake.store_is_held = false;
    while (p->n_out == p->at_out)
        fake_turn(&fake);
    expect(p, 1, AMQP_tx_commit_ok);
    crash();
    expect_get(p, 1, "q", true, false, 0, "not concerned, in the same chunk");
}
END_TEST

/* However many settled chunks are to be deleted, those of a transaction are. */
START_TEST(test_tx_among_many_deletions)
{
    enum { N = JOURNAL_DELETIONS + 50 };

    declare_durable(p, "q");
    declare_durable(p, "t");
    /* Large ones, each a chunk of its own. */
    static uint8_t large[131000];
    for (int i = 0; i < N; i++) {
        send_publish(other, 1, "", "q", false, persistent, slice_of(large, sizeof large));
        fake_run(&fake);
    }
    publish_persistent(other, 1, "", "t", "1");
    fake_advance(&fake, 1000);
    tx_select(p);
    uint64_t tag = expect_get(p, 1, "t", false, false, 0, "1");
    for (int i = 0; i < N; i++)
        FAKE_SEND(other, 1, basic, get, .queue = S("q"));
    fake_run(&fake);
    fake_read_all(other);
    fake_advance(&fake, 1000);
    FAKE_SEND(other, 1, basic, ack, .delivery_tag = 0, .multiple = true);
    unsigned n = 0;
    const struct chunk *c;
    TAILQ_FOREACH(c, &journal()->doomed, link)
    n++;
    ck_assert_uint_eq(n, N);
    FAKE_SEND(p, 1, basic, ack, .delivery_tag = tag);
    fake.store_is_held = true;
    FAKE_SEND(p, 1, tx, commit, );
    fake_turn(&fake);
    store_poll(fake.store); /* one batch */
    ck_assert(TAILQ_EMPTY(&vhost_find_queue(fake_vhost(&fake), S("t"))->chunks));
    fake_turn(&fake);
    expect(p, 1, AMQP_tx_commit_ok);
}
END_TEST

/* --- shared bodies --- */

static struct slice
large_body(void)
{
    static uint8_t bytes[JOURNAL_SHARED_MIN];

    memset(bytes, 'x', sizeof bytes);
    return slice_of(bytes, sizeof bytes);
}

static void
declare_three(void)
{
    static const char *const names[] = {"a", "b", "c"};

    for (size_t i = 0; i < 3; i++) {
        declare_durable(p, names[i]);
        CALL(p, 1, queue, bind, .queue = S(names[i]), .exchange = S("amq.fanout"));
    }
}

START_TEST(test_shared_body)
{
    struct fake_content content;

    declare_three();
    send_publish(p, 1, "amq.fanout", "", false, persistent, large_body());
    fake_run(&fake);
    ck_assert_uint_eq(count_stored(&fake).chunks, 3);
    ck_assert_uint_eq(count_stored(&fake).shared, 1);
    crash();
    static const char *const names[] = {"a", "b", "c"};
    for (size_t i = 0; i < 3; i++) {
        ck_assert_uint_eq(count_stored(&fake).shared, 1);
        FAKE_SEND(p, 1, basic, get, .queue = S(names[i]), .no_ack = true);
        fake_run(&fake);
        expect(p, 1, AMQP_basic_get_ok);
        ck_assert(fake_read_content(p, 1, &content));
        ck_assert_slice_eq(content.body, large_body());
        fake_advance(&fake, 1000);
        ck_assert_uint_eq(count_stored(&fake).chunks, 2 - i);
    }
    ck_assert_uint_eq(count_stored(&fake).shared, 0);
}
END_TEST

/* The last queue that had it is deleted, or what it was published by is gone before it was written. */
START_TEST(test_shared_body_of_deleted_queues)
{
    declare_three();
    send_publish(p, 1, "amq.fanout", "", false, persistent, large_body());
    fake_run(&fake);
    CALL(p, 1, queue, delete, .queue = S("a"));
    CALL(p, 1, queue, purge, .queue = S("b"));
    fake_advance(&fake, 1000);
    ck_assert_uint_eq(count_stored(&fake).shared, 1);
    CALL(p, 1, queue, delete, .queue = S("c"));
    fake_advance(&fake, 1000);
    ck_assert_uint_eq(count_stored(&fake).shared, 0);
    ck_assert_uint_eq(count_stored(&fake).chunks, 0);
    ck_assert_ptr_null(journal()->shared);
}
END_TEST

START_TEST(test_shared_body_never_written)
{
    declare_three();
    send_publish(p, 1, "amq.fanout", "", false, persistent, large_body());
    FAKE_SEND(p, 1, basic, get, .queue = S("a"), .no_ack = true);
    FAKE_SEND(p, 1, basic, get, .queue = S("b"), .no_ack = true);
    FAKE_SEND(p, 1, basic, get, .queue = S("c"), .no_ack = true);
    fake_run(&fake);
    fake_advance(&fake, 1000);
    ck_assert_uint_eq(count_stored(&fake).shared, 0);
    ck_assert_uint_eq(count_stored(&fake).chunks, 0);
    ck_assert_ptr_null(journal()->shared);
}
END_TEST

/* A small body is written with each queue's messages, and so is one that only one queue stores. */
START_TEST(test_not_shared)
{
    declare_three();
    publish_persistent(p, 1, "amq.fanout", "", "small");
    send_publish(p, 1, "", "a", false, persistent, large_body());
    fake_run(&fake);
    ck_assert_uint_eq(count_stored(&fake).shared, 0);
    ck_assert_uint_eq(count_stored(&fake).messages, 4);
}
END_TEST

/* --- no space --- */

/* The batches before, and then the one with the publish: the vhost, the queue. */
#define FULL_TWICE "commit:3:ENOSPC,commit:4:ENOSPC"

START_TEST(test_full)
{
    begin(FULL_TWICE);
    declare_durable(p, "q");
    confirm_select(p);
    publish_persistent(p, 1, "", "q", "1");
    ck_assert(journal()->is_full);
    expect_nothing(p);
    /* Whoever publishes is stopped, and told. */
    send(p, "q", "2");
    fake_run(&fake);
    expect(p, 0, AMQP_connection_blocked);
    expect_nothing(p);
    ck_assert(p->held);
    /* A consumer is served meanwhile. */
    expect_get(other, 1, "q", false, false, 0, "1");
    fake_advance(&fake, 3 * JOURNAL_RETRY);
    ck_assert(!journal()->is_full);
    bool unblocked = false;
    struct fake_frame frame;
    unsigned acks = 0;
    while (fake_read(p, &frame)) {
        unblocked |= frame.id == AMQP_connection_unblocked;
        ck_assert(frame.id == AMQP_connection_unblocked || frame.id == AMQP_basic_ack);
        acks += frame.id == AMQP_basic_ack;
    }
    ck_assert(unblocked);
    ck_assert_uint_ge(acks, 1);
    ck_assert_uint_eq(fake.broker->alarms, 0);
    crash();
    ck_assert_uint_eq(count("q"), 2);
}
END_TEST

/* A reply that is fenced waits for space, too. */
START_TEST(test_full_fence)
{
    begin("commit:2:ENOSPC,commit:3:ENOSPC");
    FAKE_SEND(p, 1, queue, declare, .queue = S("q"), .durable = true);
    fake_run(&fake);
    FAKE_SEND(p, 1, queue, declare, .queue = S("r"), .durable = true);
    fake_run(&fake);
    ck_assert(journal()->is_full);
    expect_nothing(p);
    fake_advance(&fake, 3 * JOURNAL_RETRY);
    ck_assert_slice_eq(expect(p, 1, AMQP_queue_declare_ok)->queue_declare_ok.queue, S("q"));
    ck_assert_slice_eq(expect(p, 1, AMQP_queue_declare_ok)->queue_declare_ok.queue, S("r"));
    expect_nothing(p);
    crash();
    ck_assert_uint_eq(count("q"), 0);
    ck_assert_uint_eq(count("r"), 0);
}
END_TEST

/* While there is no space, what frees some goes on: also what was in the batch that found none. */
START_TEST(test_full_frees_space)
{
    /* The vhost, the queue, the first message, what was delivered; then publish and acknowledgement. */
    begin("commit:5:ENOSPC");
    declare_durable(p, "q");
    publish_persistent(p, 1, "", "q", "1");
    uint64_t tag = expect_get(p, 1, "q", false, false, 0, "1");
    fake_advance(&fake, 1000);
    ck_assert_uint_eq(journal()->n_batches, 4);
    FAKE_SEND(p, 1, basic, ack, .delivery_tag = tag);
    send(p, "q", "2");
    fake_run(&fake);
    ck_assert(journal()->is_full);
    ck_assert_uint_eq(count_stored(&fake).chunks, 1);
    fake_advance(&fake, JOURNAL_RETRY - 1);
    ck_assert(journal()->is_full);
    ck_assert_uint_eq(count_stored(&fake).chunks, 0);
    fake_advance(&fake, 1000);
    ck_assert(!journal()->is_full);
    ck_assert_uint_eq(count_stored(&fake).chunks, 1);
}
END_TEST

/* What a transaction has settled never gets to the disk before what it has published. */
START_TEST(test_full_tx)
{
    begin("commit:5:ENOSPC");
    declare_durable(p, "q");
    publish_persistent(p, 1, "", "q", "1");
    tx_select(p);
    uint64_t tag = expect_get(p, 1, "q", false, false, 0, "1");
    fake_advance(&fake, 1000);
    send(p, "q", "2");
    FAKE_SEND(p, 1, basic, ack, .delivery_tag = tag);
    FAKE_SEND(p, 1, tx, commit, );
    fake_run(&fake);
    ck_assert(journal()->is_full);
    fake_advance(&fake, JOURNAL_RETRY - 1);
    expect_nothing(p);
    crash();
    expect_get(p, 1, "q", true, true, 0, "1");
}
END_TEST

/* --- the disk fails --- */

START_TEST(test_failed)
{
    begin("commit:3:EIO");
    declare_durable(p, "q");
    publish(p, 1, "", "q", "transient");
    confirm_select(p);
    publish_persistent(p, 1, "", "q", "1");
    const struct amqp_basic_nack *m = &expect(p, 1, AMQP_basic_nack)->basic_nack;
    ck_assert_uint_eq(m->delivery_tag, 1);
    ck_assert(journal()->has_failed);
    /* Consumers go on. */
    expect_get(other, 1, "q", true, false, 1, "transient");
    expect_get(other, 1, "q", true, false, 0, "1");
    FAKE_SEND(other, 1, queue, declare, .queue = S("r"), .durable = true);
    fake_run(&fake);
    expect_connection_close(other, 506,
                            "RESOURCE_ERROR - nothing durable can be changed: the store has failed",
                            AMQP_queue_declare);
    ck_assert_int_eq(count_stored(&fake).chunks, 0);
}
END_TEST

/* A reply that cannot be kept is never sent: the connection ends without it. */
START_TEST(test_failed_fence)
{
    begin("commit:2:EIO");
    FAKE_SEND(p, 1, queue, declare, .queue = S("q"), .durable = true);
    fake_run(&fake);
    expect_nothing(p);
    ck_assert(p->shut);
    ck_assert(p->reset);
    ck_assert_ptr_null(p->connection);
    ck_assert_ptr_nonnull(other->connection);
}
END_TEST

/* With one more in the next batch. */
START_TEST(test_failed_two_fences)
{
    begin("commit:2:EIO");
    hold();
    FAKE_SEND(p, 1, queue, declare, .queue = S("a"), .durable = true);
    fake_run(&fake);
    FAKE_SEND(p, 1, queue, declare, .queue = S("b"), .durable = true);
    FAKE_SEND(other, 1, queue, declare, .queue = S("c"), .durable = true);
    fake_run(&fake);
    let_go();
    expect_nothing(p);
    expect_nothing(other);
    ck_assert_ptr_null(p->connection);
    ck_assert_ptr_null(other->connection);
}
END_TEST

/* The answer comes in the same turn as the request, before anything has been written to the peer. */
START_TEST(test_failed_before_flush)
{
    begin("commit:2:EIO");
    hold();
    FAKE_SEND(other, 1, queue, declare, .queue = S("a"), .durable = true);
    fake_run(&fake);
    FAKE_SEND(p, 1, queue, declare, .queue = S("b"), .durable = true);
    store_poll(fake.store);
    let_go();
    expect_nothing(p);
    expect_nothing(other);
    ck_assert(p->reset);
}
END_TEST

/* Publishers that were held since the store was behind are let go, to hear of it. */
START_TEST(test_failed_behind)
{
    static uint8_t large[1 << 20];

    begin("commit:3:EIO");
    declare_durable(p, "q");
    CALL(p, 1, confirm, select, );
    hold();
    for (int i = 0; i < 12; i++) {
        FAKE_SEND(p, 1, basic, publish, .routing_key = S("q"));
        fake_send_header(p, 1, 100000, persistent);
        fake_send_body(p, 1, slice_of(large, 100000));
        fake_run(&fake);
    }
    for (int i = 0; i < 100; i++)
        send_publish(p, 1, "", "q", false, persistent, slice_of(large, 100000));
    fake_run(&fake);
    ck_assert(p->held);
    let_go();
    ck_assert(journal()->has_failed);
    ck_assert_uint_eq(journal()->behind, 0);
    ck_assert_uint_eq(p->connection->holds & HOLD_STORE, 0);
}
END_TEST

START_TEST(test_failed_tx)
{
    begin("commit:4:EIO");
    declare_durable(p, "q");
    publish_persistent(p, 1, "", "q", "1");
    tx_select(p);
    uint64_t tag = expect_get(p, 1, "q", false, false, 0, "1");
    send(p, "q", "2");
    FAKE_SEND(p, 1, basic, ack, .delivery_tag = tag);
    FAKE_SEND(p, 1, tx, commit, );
    fake_run(&fake);
    expect_nothing(p);
    ck_assert_ptr_null(p->connection);
    ck_assert_uint_eq(count_stored(&fake).messages, 1);
}
END_TEST

/* --- back-pressure --- */

START_TEST(test_behind)
{
    static uint8_t large[100000];

    declare_durable(p, "q");
    hold();
    for (int i = 0; i < 200; i++)
        send_publish(p, 1, "", "q", false, persistent, slice_of(large, sizeof large));
    fake_run(&fake);
    ck_assert(p->held);
    ck_assert_uint_ge(journal()->behind, JOURNAL_BEHIND);
    ck_assert_uint_le(journal()->behind, JOURNAL_BEHIND + 2 * sizeof large);
    CALL(other, 1, basic, qos, .prefetch_count = 0);
    let_go();
    ck_assert(!p->held);
    ck_assert_uint_eq(journal()->behind, 0);
    ck_assert_uint_eq(count("q"), 200);
}
END_TEST

/* --- ids --- */

START_TEST(test_ids)
{
    uint64_t last = 0;
    char name[16];

    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 500; i++) {
            snprintf(name, sizeof name, "%d-%d", round, i);
            FAKE_SEND(p, 1, queue, declare, .queue = S(name), .durable = true, .nowait = true);
            fake_run(&fake);
            uint64_t id = vhost_find_queue(fake_vhost(&fake), S(name))->id;
            ck_assert_uint_gt(id, last);
            last = id;
            FAKE_SEND(p, 1, queue, delete, .queue = S(name), .nowait = true);
        }
        fake_run(&fake);
        fake_restart(&fake, round % 2 == 0 ? FAKE_CRASH : FAKE_STOP);
        p = client_open(&fake);
    }
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("journal");
    TCase *tc = tcase_create("works");

    log_set_level(LOG_NONE);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, test_one_batch_at_a_time);
    tcase_add_test(tc, test_delivered_before_it_is_stored);
    tcase_add_test(tc, test_acked_before_its_batch);
    tcase_add_test(tc, test_some_acked_before_their_batch);
    tcase_add_test(tc, test_transient_is_confirmed_at_once);
    tcase_add_test(tc, test_runs_around_transient);
    tcase_add_test(tc, test_channel_gone);
    tcase_add_test(tc, test_fences);
    tcase_add_test(tc, test_in_front_of_the_fence);
    tcase_add_test(tc, test_two_fences);
    tcase_add_test(tc, test_no_fence);
    tcase_add_test(tc, test_fenced_connection_goes);
    tcase_add_test(tc, test_tx_is_one_batch);
    tcase_add_test(tc, test_tx_acks_what_is_being_written);
    tcase_add_test(tc, test_tx_among_many_deletions);
    tcase_add_test(tc, test_shared_body);
    tcase_add_test(tc, test_shared_body_of_deleted_queues);
    tcase_add_test(tc, test_shared_body_never_written);
    tcase_add_test(tc, test_not_shared);
    tcase_add_test(tc, test_behind);
    tcase_add_test(tc, test_ids);
    suite_add_tcase(suite, tc);
    tc = tcase_create("fails");
    tcase_add_checked_fixture(tc, NULL, teardown);
    tcase_add_test(tc, test_full);
    tcase_add_test(tc, test_full_fence);
    tcase_add_test(tc, test_full_frees_space);
    tcase_add_test(tc, test_full_tx);
    tcase_add_test(tc, test_failed);
    tcase_add_test(tc, test_failed_fence);
    tcase_add_test(tc, test_failed_two_fences);
    tcase_add_test(tc, test_failed_before_flush);
    tcase_add_test(tc, test_failed_behind);
    tcase_add_test(tc, test_failed_tx);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
