#include "broker/core/recovery.h"

#include <stdio.h>

#include "base/log.h"
#include "broker/core/definitions.h"
#include "broker/core/vhost.h"
#include "tests/unit/client.h"

/* What is there again after the end of a broker, orderly or not. */

static struct fake fake;
static struct fake_peer *p;

static void
setup(void)
{
    fake_init_durable(&fake, NULL);
    p = client_open(&fake);
}

static void
teardown(void)
{
    fake_fini(&fake);
}

static void
restart(int how)
{
    fake_restart(&fake, how == 0 ? FAKE_STOP : FAKE_CRASH);
    fake.store_is_held = false;
    check_queues(&fake);
    p = client_open(&fake);
}

static struct queue *
queue(const char *name)
{
    return vhost_find_queue(fake_vhost(&fake), S(name));
}

static struct exchange *
exchange(const char *name)
{
    return vhost_find_exchange(fake_vhost(&fake), S(name));
}

/* --- definitions --- */

START_TEST(test_queues)
{
    struct slice arguments = table_of("x-max-length", value_int(10));

    declare_durable(p, "durable");
    declare_queue(p, "transient");
    CALL(p, 1, queue, declare, .queue = S("exclusive"), .durable = true, .exclusive = true);
    CALL(p, 1, queue, declare, .queue = S("auto"), .durable = true, .auto_delete = true);
    CALL(p, 1, queue, declare, .queue = S("arguments"), .durable = true, .arguments = arguments);
    declare_durable(p, "deleted");
    CALL(p, 1, queue, delete, .queue = S("deleted"));
    restart(_i);
    ck_assert_uint_eq(HASH_COUNT(fake_vhost(&fake)->queues), 3);
    ck_assert(queue("durable")->durable);
    ck_assert(!queue("durable")->auto_delete);
    ck_assert(queue("auto")->auto_delete);
    ck_assert_slice_eq(queue("arguments")->arguments, arguments);
    /* The same declaration is the same queue. */
    CALL(p, 1, queue, declare, .queue = S("arguments"), .durable = true, .arguments = arguments);
}
END_TEST

START_TEST(test_exchanges)
{
    static const char *const types[] = {"direct", "fanout", "topic", "headers"};
    struct slice arguments = table_of("alternate-exchange", value_str("fanout"));

    for (size_t i = 0; i < 4; i++)
        CALL(p, 1, exchange, declare, .exchange = S(types[i]), .type = S(types[i]),
             .durable = true, .internal = i == 2, .arguments = i == 0 ? arguments : S(""));
    CALL(p, 1, exchange, declare, .exchange = S("auto"), .type = S("fanout"), .durable = true,
         .auto_delete = true);
    declare_exchange(p, "transient", "fanout");
    CALL(p, 1, exchange, declare, .exchange = S("deleted"), .type = S("fanout"), .durable = true);
    CALL(p, 1, exchange, delete, .exchange = S("deleted"));
    restart(_i);
    for (size_t i = 0; i < 4; i++) {
        ck_assert_ptr_nonnull(exchange(types[i]));
        ck_assert_str_eq(exchange(types[i])->type->name, types[i]);
        ck_assert_int_eq(exchange(types[i])->internal, i == 2);
    }
    ck_assert_slice_eq(exchange("direct")->alternate, S("fanout"));
    ck_assert(exchange("auto")->auto_delete);
    ck_assert_ptr_null(exchange("transient"));
    ck_assert_ptr_null(exchange("deleted"));
}
END_TEST

START_TEST(test_bindings)
{
    struct slice match = table_of2("x-match", value_str("all"), "colour", value_str("red"));

    declare_durable(p, "q");
    declare_queue(p, "t");
    CALL(p, 1, exchange, declare, .exchange = S("x"), .type = S("fanout"), .durable = true);
    declare_exchange(p, "tx", "fanout");
    CALL(p, 1, queue, bind, .queue = S("q"), .exchange = S("amq.topic"), .routing_key = S("a.#"));
    CALL(p, 1, queue, bind, .queue = S("q"), .exchange = S("amq.direct"), .routing_key = S("gone"));
    CALL(p, 1, queue, unbind, .queue = S("q"), .exchange = S("amq.direct"),
         .routing_key = S("gone"));
    CALL(p, 1, queue, bind, .queue = S("q"), .exchange = S("amq.headers"), .arguments = match);
    CALL(p, 1, queue, bind, .queue = S("q"), .exchange = S("x"));
    CALL(p, 1, exchange, bind, .destination = S("x"), .source = S("amq.direct"),
         .routing_key = S("k"));
    CALL(p, 1, queue, bind, .queue = S("t"), .exchange = S("amq.direct"), .routing_key = S("t"));
    CALL(p, 1, queue, bind, .queue = S("q"), .exchange = S("tx"));
    CALL(p, 1, exchange, bind, .destination = S("tx"), .source = S("amq.direct"),
         .routing_key = S("tx"));
    restart(_i);
    ck_assert_uint_eq(exchange("amq.topic")->n_bindings, 1);
    ck_assert_uint_eq(exchange("amq.headers")->n_bindings, 1);
    ck_assert_uint_eq(exchange("amq.direct")->n_bindings, 1);
    ck_assert_uint_eq(exchange("x")->n_bindings, 1);
    publish(p, 1, "amq.topic", "a.b.c", "topic");
    publish(p, 1, "amq.direct", "k", "through an exchange");
    publish(p, 1, "amq.direct", "gone", "nobody gets this");
    send_publish(p, 1, "amq.headers", "", false,
                 props_with_headers(table_of("colour", value_str("red"))), S("headers"));
    send_publish(p, 1, "amq.headers", "", false,
                 props_with_headers(table_of("colour", value_str("blue"))), S("not this"));
    fake_run(&fake);
    expect_get(p, 1, "q", true, false, 2, "topic");
    expect_get(p, 1, "q", true, false, 1, "through an exchange");
    expect_get(p, 1, "q", true, false, 0, "headers");
    /* They go for good with the queue. */
    CALL(p, 1, queue, delete, .queue = S("q"));
    restart(_i);
    ck_assert_uint_eq(exchange("amq.topic")->n_bindings, 0);
    ck_assert_uint_eq(exchange("x")->n_bindings, 0);
    ck_assert_uint_eq(exchange("amq.direct")->n_bindings, 1);
}
END_TEST

static unsigned n_users;
static char user_tags[16];

static void
on_user(void *ctx, const struct definition *d)
{
    (void)ctx;
    ck_assert_slice_eq(d->name, S("alice"));
    ck_assert_slice_eq(d->password_hash, S("hash"));
    memcpy(user_tags, d->tags.p, d->tags.n);
    n_users++;
}

START_TEST(test_vhost_and_users)
{
    struct journal *j = &fake.broker->journal;
    const struct definition alice = {.id = journal_new_id(j),
                                     .kind = DEFINITION_USER,
                                     .name = S("alice"),
                                     .password_hash = S("hash"),
                                     .tags = S("management")};
    size_t n;
    uint8_t *payload = definition_encode(&alice, &n);

    journal_put_definition(j, alice.id, DEFINITION_USER, slice_of(payload, n));
    free(payload);
    fake_run(&fake);
    uint64_t id = fake_vhost(&fake)->id;
    n_users = 0;
    fake.on_user = on_user;
    fake.settings.default_vhost = "another default";
    restart(_i);
    ck_assert_uint_eq(n_users, 1);
    ck_assert_str_eq(user_tags, "management");
    /* The one that is there, no other is made. */
    ck_assert_uint_eq(fake_vhost(&fake)->id, id);
    ck_assert_uint_eq(HASH_COUNT(fake.broker->vhosts), 1);
}
END_TEST

/* --- messages --- */

START_TEST(test_messages)
{
    declare_durable(p, "q");
    publish_persistent(p, 1, "", "q", "1");
    publish(p, 1, "", "q", "transient");
    publish_persistent(p, 1, "", "q", "22");
    publish_persistent(p, 1, "", "q", "333");
    restart(_i);
    ck_assert_uint_eq(queue("q")->ready.count, 3);
    ck_assert_uint_eq(queue("q")->ready.bytes, 6);
    ck_assert_uint_eq(queue("q")->ready.resident, 0);
    publish_persistent(p, 1, "", "q", "4444");
    expect_get(p, 1, "q", true, false, 3, "1");
    expect_get(p, 1, "q", true, false, 2, "22");
    expect_get(p, 1, "q", true, false, 1, "333");
    expect_get(p, 1, "q", true, false, 0, "4444");
    fake_advance(&fake, 1000);
    check_drained(&fake, "q");
}
END_TEST

/* Address and properties are as they were published. */
START_TEST(test_properties)
{
    /* delivery-mode 2, priority 7, message-id */
    static const uint8_t props[] = {0x18, 0x80, 2, 7, 2, 'i', 'd'};
    struct fake_content content;

    declare_durable(p, "q");
    CALL(p, 1, queue, bind, .queue = S("q"), .exchange = S("amq.topic"), .routing_key = S("a.*"));
    send_publish(p, 1, "amq.topic", "a.b", false, slice_of(props, sizeof props), S(""));
    fake_run(&fake);
    restart(_i);
    FAKE_SEND(p, 1, basic, get, .queue = S("q"));
    fake_run(&fake);
    const struct amqp_basic_get_ok *m = &expect(p, 1, AMQP_basic_get_ok)->basic_get_ok;
    ck_assert_slice_eq(m->exchange, S("amq.topic"));
    ck_assert_slice_eq(m->routing_key, S("a.b"));
    ck_assert(fake_read_content(p, 1, &content));
    ck_assert_slice_eq(content.props, slice_of(props, sizeof props));
    ck_assert_uint_eq(content.size, 0);
}
END_TEST

/* Delivered before: it says so. Never delivered: it does not. */
START_TEST(test_redelivered)
{
    declare_durable(p, "q");
    publish_persistent(p, 1, "", "q", "1");
    publish_persistent(p, 1, "", "q", "2");
    publish_persistent(p, 1, "", "q", "3");
    expect_get(p, 1, "q", false, false, 2, "1");
    expect_get(p, 1, "q", false, false, 1, "2");
    if (_i != 0)
        fake_advance(&fake, JOURNAL_LAZY);
    restart(_i);
    expect_get(p, 1, "q", false, true, 2, "1");
    restart(_i);
    expect_get(p, 1, "q", true, true, 2, "1");
    expect_get(p, 1, "q", true, true, 1, "2");
    expect_get(p, 1, "q", true, false, 0, "3");
}
END_TEST

/* Acknowledged out of order, in one chunk. */
START_TEST(test_holes)
{
    char text[8];

    declare_durable(p, "q");
    for (int i = 1; i <= 9; i++) {
        snprintf(text, sizeof text, "%d", i);
        send_publish(p, 1, "", "q", false, persistent, S(text));
    }
    fake_run(&fake);
    for (unsigned i = 1; i <= 9; i++) {
        snprintf(text, sizeof text, "%u", i);
        expect_get(p, 1, "q", false, false, 9 - i, text);
    }
    CAST(p, 1, basic, ack, .delivery_tag = 5);
    CAST(p, 1, basic, ack, .delivery_tag = 1);
    CAST(p, 1, basic, reject, .delivery_tag = 9);
    CAST(p, 1, basic, nack, .delivery_tag = 4);
    fake_advance(&fake, JOURNAL_LAZY);
    ck_assert_uint_eq(count_stored(&fake).chunks, 1);
    ck_assert_uint_eq(count_stored(&fake).dead, 1);
    restart(_i);
    ck_assert_uint_eq(queue("q")->ready.count, 5);
    ck_assert_uint_eq(queue("q")->ready.bytes, 5);
    expect_get(p, 1, "q", true, true, 4, "2");
    expect_get(p, 1, "q", true, true, 3, "3");
    expect_get(p, 1, "q", true, true, 2, "6");
    expect_get(p, 1, "q", true, true, 1, "7");
    expect_get(p, 1, "q", true, true, 0, "8");
    fake_advance(&fake, 1000);
    ck_assert_uint_eq(count_stored(&fake).chunks, 0);
    ck_assert_uint_eq(count_stored(&fake).dead, 0);
}
END_TEST

START_TEST(test_purge)
{
    declare_durable(p, "q");
    for (int i = 0; i < 20; i++)
        publish_persistent(p, 1, "", "q", "x");
    CALL(p, 1, queue, purge, .queue = S("q"));
    publish_persistent(p, 1, "", "q", "behind");
    restart(_i);
    expect_get(p, 1, "q", true, false, 0, "behind");
    fake_advance(&fake, 1000);
    check_drained(&fake, "q");
    ck_assert_uint_eq(count_stored(&fake).chunks, 0);
}
END_TEST

/* Unacknowledged is not ready: a purge does not take it. */
START_TEST(test_purge_leaves_unacknowledged)
{
    declare_durable(p, "q");
    send_publish(p, 1, "", "q", false, persistent, S("out"));
    send_publish(p, 1, "", "q", false, persistent, S("ready"));
    fake_run(&fake);
    expect_get(p, 1, "q", false, false, 1, "out");
    fake_advance(&fake, 1000);
    CALL(p, 1, queue, purge, .queue = S("q"));
    restart(_i);
    expect_get(p, 1, "q", true, true, 0, "out");
}
END_TEST

/* A deleted queue's chunks are many, and it is made again under its name before they are gone. */
START_TEST(test_deleted_queue)
{
    enum { N = 3 * JOURNAL_BURIALS };

    declare_durable(p, "q");
    for (int i = 0; i < N; i++)
        publish_persistent(p, 1, "", "q", "x");
    uint64_t id = queue("q")->id;
    FAKE_SEND(p, 1, queue, delete, .queue = S("q"));
    while (p->n_out == p->at_out)
        fake_turn(&fake);
    expect(p, 1, AMQP_queue_delete_ok);
    ck_assert_uint_ge(count_stored(&fake).chunks, 1);
    restart(1);
    ck_assert_ptr_null(queue("q"));
    declare_durable(p, "q");
    ck_assert_uint_gt(queue("q")->id, id);
    ck_assert_uint_eq(queue("q")->ready.count, 0);
    fake_advance(&fake, 2000);
    ck_assert_uint_eq(count_stored(&fake).chunks, 0);
    ck_assert_uint_eq(count_stored(&fake).states, 0);
    ck_assert_uint_eq(count_stored(&fake).definitions, 2);
}
END_TEST

/* --- crashes in each state of a publish --- */

START_TEST(test_crash_before_the_batch)
{
    declare_durable(p, "q");
    send_publish(p, 1, "", "q", false, persistent, S("lost"));
    restart(1);
    expect_empty(p, 1, "q");
    publish_persistent(p, 1, "", "q", "next");
    expect_get(p, 1, "q", true, false, 0, "next");
}
END_TEST

START_TEST(test_crash_during_the_batch)
{
    declare_durable(p, "q");
    CALL(p, 1, confirm, select, );
    fake.store_is_held = true;
    publish_persistent(p, 1, "", "q", "written, and nobody heard of it");
    publish_persistent(p, 1, "", "q", "lost");
    expect_nothing(p);
    restart(1);
    expect_get(p, 1, "q", true, false, 0, "written, and nobody heard of it");
}
END_TEST

START_TEST(test_crash_with_deletion_under_way)
{
    declare_durable(p, "q");
    publish_persistent(p, 1, "", "q", "1");
    publish_persistent(p, 1, "", "q", "2");
    expect_get(p, 1, "q", true, false, 1, "1");
    fake.store_is_held = true;
    fake_advance(&fake, JOURNAL_LAZY);
    expect_get(p, 1, "q", true, false, 0, "2");
    restart(1);
    /* The second acknowledgement had no time to be written. */
    ck_assert_uint_eq(queue("q")->ready.count, 1);
    FAKE_SEND(p, 1, basic, get, .queue = S("q"), .no_ack = true);
    fake_run(&fake);
    ck_assert_uint_eq(fake_read_all(p), 1);
}
END_TEST

START_TEST(test_nothing)
{
    for (int i = 0; i < 3; i++)
        restart(_i);
    ck_assert_uint_eq(count_stored(&fake).definitions, 1);
    ck_assert_uint_eq(HASH_COUNT(fake_vhost(&fake)->queues), 0);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("recovery");
    TCase *tc = tcase_create("recovery");

    log_set_level(LOG_NONE);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, test_queues, 0, 2);
    tcase_add_loop_test(tc, test_exchanges, 0, 2);
    tcase_add_loop_test(tc, test_bindings, 0, 2);
    tcase_add_loop_test(tc, test_vhost_and_users, 0, 2);
    tcase_add_loop_test(tc, test_messages, 0, 2);
    tcase_add_loop_test(tc, test_properties, 0, 2);
    tcase_add_loop_test(tc, test_redelivered, 0, 2);
    tcase_add_loop_test(tc, test_holes, 0, 2);
    tcase_add_loop_test(tc, test_purge, 0, 2);
    tcase_add_loop_test(tc, test_purge_leaves_unacknowledged, 0, 2);
    tcase_add_test(tc, test_deleted_queue);
    tcase_add_test(tc, test_crash_before_the_batch);
    tcase_add_test(tc, test_crash_during_the_batch);
    tcase_add_test(tc, test_crash_with_deletion_under_way);
    tcase_add_loop_test(tc, test_nothing, 0, 2);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
