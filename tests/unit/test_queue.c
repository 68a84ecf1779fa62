/* Queues and consumers, seen by clients: order, turns, credit, requeueing, deletion. */
#include "base/log.h"
#include "broker/core/queue.h"
#include "broker/core/vhost.h"
#include "tests/unit/client.h"

#include <stdio.h>

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

static struct queue *
find_queue(const char *name)
{
    return vhost_find_queue(fake_vhost(&fake), S(name));
}

static void
publish_all(const char *queue, const char *bodies)
{
    for (; *bodies != '\0'; bodies++) {
        char body[2] = {*bodies, '\0'};
        send_publish(p, 1, "", queue, false, slice_of(NULL, 0), S(body));
    }
    fake_run(&fake);
}

static void
ack(uint16_t channel, uint64_t tag, bool multiple)
{
    FAKE_SEND(p, channel, basic, ack, .delivery_tag = tag, .multiple = multiple);
    fake_run(&fake);
}

static void
qos(uint16_t channel, uint16_t count, bool global)
{
    CALL(p, channel, basic, qos, .prefetch_count = count, .global = global);
}

/* Reads deliveries and writes down who got them: "a1 b2 a3", with "!" for redelivered ones. */
static void
expect_deliveries(struct fake_peer *peer, const char *wanted)
{
    struct fake_frame frame;
    struct fake_content content;
    char got[1000] = "";
    size_t n = 0;

    while (fake_read(peer, &frame)) {
        ck_assert_str_eq(amqp_method_info(frame.id)->name, "basic.deliver");
        const struct amqp_basic_deliver *m = &frame.args.basic_deliver;
        n += (size_t)snprintf(got + n, sizeof got - n, "%s%.*s", n == 0 ? "" : " ",
                              SLICE_FMT(m->consumer_tag));
        bool redelivered = m->redelivered;
        ck_assert(fake_read_content(peer, frame.channel, &content));
        n += (size_t)snprintf(got + n, sizeof got - n, "%.*s%s", SLICE_FMT(content.body),
                              redelivered ? "!" : "");
        ck_assert_uint_lt(n, sizeof got);
    }
    ck_assert_str_eq(got, wanted);
}

/* --- declare --- */

START_TEST(test_declare)
{
    const struct amqp_queue_declare_ok *ok;

    publish_all("q", "123");
    consume(p, 1, "q", "a", true);
    expect_deliveries(p, "a1 a2 a3");
    qos(1, 1, false);
    FAKE_SEND(p, 1, queue, declare, .queue = S("q"), .passive = true);
    fake_run(&fake);
    ok = &expect(p, 1, AMQP_queue_declare_ok)->queue_declare_ok;
    ck_assert_slice_eq(ok->queue, S("q"));
    ck_assert_uint_eq(ok->message_count, 0);
    ck_assert_uint_eq(ok->consumer_count, 1);

    FAKE_SEND(p, 1, queue, declare, .queue = S(""));
    fake_run(&fake);
    struct slice name = expect(p, 1, AMQP_queue_declare_ok)->queue_declare_ok.queue;
    ck_assert_uint_eq(name.n, 8 + 22);
    ck_assert(slice_starts(name, "amq.gen-"));
}
END_TEST

static const struct {
    struct amqp_queue_declare m;
    uint16_t code;
    const char *text;
} declare_errors[] = {
    {{.queue = {(const uint8_t *)"amq.q", 5}},
     403,
     "ACCESS_REFUSED - queue name 'amq.q' contains reserved prefix 'amq.*'"},
    {{.queue = {(const uint8_t *)"nope", 4}, .passive = true},
     404,
     "NOT_FOUND - no queue 'nope' in vhost '/'"},
    {{.queue = {(const uint8_t *)"", 0}, .passive = true},
     404,
     "NOT_FOUND - no queue '' in vhost '/'"},
    {{.queue = {(const uint8_t *)"q", 1}, .durable = true},
     406,
     "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'q' in vhost '/': received 'true' "
     "but current is 'false'"},
    {{.queue = {(const uint8_t *)"q\n", 2}, .auto_delete = true},
     406,
     "PRECONDITION_FAILED - inequivalent arg 'auto_delete' for queue 'q' in vhost '/': received "
     "'true' but current is 'false'"},
    {{.queue = {(const uint8_t *)"q", 1}, .exclusive = true},
     405,
     "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'q' in vhost '/'. It could "
     "be originally declared "
     "on another connection or the exclusive property value does not match that of the original "
     "declaration."},
};

START_TEST(test_declare_errors)
{
    /* A nowait method that fails is answered too. */
    for (int nowait = 0; nowait < 2; nowait++) {
        union amqp_args args = {.queue_declare = declare_errors[_i].m};
        args.queue_declare.nowait = nowait;
        fake_send_method(p, 1, AMQP_queue_declare, &args);
        fake_run(&fake);
        expect_channel_close(p, 1, declare_errors[_i].code, declare_errors[_i].text,
                             AMQP_queue_declare);
        client_reopen(p, 1);
    }
}
END_TEST

/* An empty name means the queue that this channel declared last. */
START_TEST(test_last_queue)
{
    FAKE_SEND(p, 2, queue, purge, .queue = S(""));
    fake_run(&fake);
    expect_channel_close(p, 2, 404, "NOT_FOUND - no previously declared queue", AMQP_queue_purge);
    client_reopen(p, 2);
    CAST(p, 1, queue, declare, .queue = S("other"), .nowait = true);
    CALL(p, 1, queue, bind, .exchange = S("amq.direct"));
    publish(p, 1, "amq.direct", "other", "x");
    CALL(p, 1, queue, declare, .queue = S("q"), .passive = true);
    expect_empty(p, 1, "");
    expect_get(p, 1, "other", true, false, 0, "x");
    CALL(p, 1, queue, delete, );
    ck_assert_ptr_null(find_queue("q"));
    ck_assert_ptr_nonnull(find_queue("other"));
}
END_TEST

/* --- turns and priorities --- */

START_TEST(test_round_robin)
{
    consume(p, 1, "q", "a", true);
    consume(p, 1, "q", "b", true);
    consume(p, 2, "q", "c", true);
    publish_all("q", "1234567");
    expect_deliveries(p, "a1 b2 c3 a4 b5 c6 a7");
    CALL(p, 1, basic, cancel, .consumer_tag = S("b"));
    publish_all("q", "123");
    expect_deliveries(p, "c1 a2 c3");
}
END_TEST

START_TEST(test_fifo)
{
    char wanted[3 * 26 + 1] = "";

    publish_all("q", "abcdefghijklmnopqrstuvwxyz");
    for (char c = 'a'; c <= 'z'; c++)
        sprintf(wanted + strlen(wanted), "%s.%c", c == 'a' ? "" : " ", c);
    consume(p, 1, "q", ".", true);
    expect_deliveries(p, wanted);
}
END_TEST

static void
consume_with(uint16_t channel, const char *tag, struct slice arguments)
{
    FAKE_SEND(p, channel, basic, consume, .queue = S("q"), .consumer_tag = S(tag),
              .arguments = arguments);
    fake_run(&fake);
    expect(p, channel, AMQP_basic_consume_ok);
    expect_nothing(p);
}

START_TEST(test_priorities)
{
    qos(1, 2, false);
    consume_with(1, "low", table_of("x-priority", value_int(-1)));
    consume_with(1, "mid", slice_of(NULL, 0));
    consume_with(1, "high", table_of("x-priority", value_int(7)));
    consume_with(1, "also", table_of("x-priority", value_int(7)));
    publish_all("q", "123456789");
    expect_deliveries(p, "high1 also2 high3 also4 mid5 mid6 low7 low8");
    ack(1, 3, false);
    expect_deliveries(p, "high9");
}
END_TEST

/* --- credit --- */

START_TEST(test_prefetch)
{
    qos(1, 2, false);
    consume(p, 1, "q", "a", false);
    publish_all("q", "12345");
    expect_deliveries(p, "a1 a2");
    ack(1, 1, false);
    expect_deliveries(p, "a3");
    ack(1, 3, true);
    expect_deliveries(p, "a4 a5");
    /* Without acknowledgements there is no limit. */
    consume(p, 1, "q", "b", true);
    publish_all("q", "123");
    expect_deliveries(p, "b1 b2 b3");
}
END_TEST

START_TEST(test_prefetch_is_per_consumer)
{
    qos(1, 1, false);
    consume(p, 1, "q", "a", false);
    consume(p, 1, "q", "b", false);
    publish_all("q", "1234");
    expect_deliveries(p, "a1 b2");
    ack(1, 2, false);
    expect_deliveries(p, "b3");
    /* What a cancelled consumer has not acknowledged counts against nobody. */
    CALL(p, 1, basic, cancel, .consumer_tag = S("a"));
    consume(p, 1, "q", "c", false);
    expect_deliveries(p, "c4");
    ack(1, 1, false);
    expect_nothing(p);
    ck_assert_uint_eq(find_queue("q")->n_unacked, 2);
}
END_TEST

/* A new limit counts for consumers that are there already. */
START_TEST(test_prefetch_raised)
{
    qos(1, 1, false);
    consume(p, 1, "q", "a", false);
    publish_all("q", "12345");
    expect_deliveries(p, "a1");
    FAKE_SEND(p, 1, basic, qos, .prefetch_count = 3);
    fake_run(&fake);
    expect(p, 1, AMQP_basic_qos_ok);
    expect_deliveries(p, "a2 a3");
    FAKE_SEND(p, 1, basic, qos, .prefetch_count = 0);
    fake_run(&fake);
    expect(p, 1, AMQP_basic_qos_ok);
    expect_deliveries(p, "a4 a5");
}
END_TEST

START_TEST(test_global_prefetch)
{
    qos(1, 3, true);
    consume(p, 1, "q", "a", false);
    consume(p, 1, "q", "b", false);
    consume(p, 2, "q", "c", false);
    publish_all("q", "123456789");
    /* The other channel has no limit. */
    expect_deliveries(p, "a1 b2 c3 a4 c5 c6 c7 c8 c9");
    CALL(p, 2, basic, cancel, .consumer_tag = S("c"));
    publish_all("q", "xyz");
    expect_nothing(p);
    ack(1, 3, true);
    expect_deliveries(p, "ax by az");
    /* Fetched messages do not count. */
    ack(1, 0, true);
    publish_all("q", "1");
    expect_deliveries(p, "b1");
    ack(1, 0, true);
    CALL(p, 1, queue, declare, .queue = S("other"));
    publish_all("other", "123");
    expect_get(p, 1, "other", false, false, 2, "1");
    expect_get(p, 1, "other", false, false, 1, "2");
    publish_all("q", "xyz!");
    expect_deliveries(p, "ax by az");
}
END_TEST

/* --- requeueing --- */

START_TEST(test_requeue_order)
{
    publish_all("q", "123456");
    for (uint32_t i = 0; i < 5; i++) {
        char body[2] = {(char)('1' + i), '\0'};
        ck_assert_uint_eq(expect_get(p, 1, "q", false, false, 5 - i, body), i + 1);
    }
    CAST(p, 1, basic, reject, .delivery_tag = 3, .requeue = true);
    CAST(p, 1, basic, nack, .delivery_tag = 5, .requeue = true);
    CAST(p, 1, basic, nack, .delivery_tag = 2, .multiple = true, .requeue = true);
    CAST(p, 1, basic, reject, .delivery_tag = 4, .requeue = false);
    consume(p, 2, "q", ".", true);
    expect_deliveries(p, ".1! .2! .3! .5! .6");
}
END_TEST

START_TEST(test_recover)
{
    qos(1, 3, false);
    consume(p, 1, "q", "a", false);
    publish_all("q", "1234");
    expect_deliveries(p, "a1 a2 a3");
    ack(1, 2, false);
    expect_deliveries(p, "a4");
    FAKE_SEND(p, 1, basic, recover, .requeue = true);
    fake_run(&fake);
    expect(p, 1, AMQP_basic_recover_ok);
    expect_deliveries(p, "a1! a3! a4!");
    FAKE_SEND(p, 1, basic, recover_async, .requeue = true);
    fake_run(&fake);
    expect_deliveries(p, "a1! a3! a4!");
    FAKE_SEND(p, 1, basic, recover, .requeue = false);
    fake_run(&fake);
    expect_connection_close(p, 540, "NOT_IMPLEMENTED - requeue=false", AMQP_basic_recover);
}
END_TEST

/* However a channel ends, what it has not acknowledged comes back. */
START_TEST(test_end_requeues)
{
    struct fake_peer *other = client_open(&fake);

    publish_all("q", "123");
    CALL(other, 1, basic, qos, .prefetch_count = 2);
    consume(other, 1, "q", "a", false);
    expect_deliveries(other, "a1 a2");
    expect_get(p, 1, "q", false, false, 0, "3");
    switch (_i) {
    case 0:
        CALL(other, 1, channel, close, .reply_code = 200);
        break;
    case 1:
        FAKE_SEND(other, 1, basic, ack, .delivery_tag = 99);
        break;
    case 2:
        FAKE_SEND(other, 0, connection, close, .reply_code = 200);
        break;
    case 3:
        FAKE_SEND(other, 1, channel, open, );
        break;
    default:
        fake_cut(other);
    }
    fake_run(&fake);
    ck_assert_uint_eq(find_queue("q")->n_consumers, 0);
    CALL(p, 1, channel, close, .reply_code = 200);
    consume(p, 2, "q", ".", true);
    expect_deliveries(p, ".1! .2! .3!");
}
END_TEST

/* --- acknowledgements --- */

static void
expect_unknown_tag(uint64_t tag, enum amqp_method_id id, const union amqp_args *args)
{
    char text[80];

    snprintf(text, sizeof text, "PRECONDITION_FAILED - unknown delivery tag %llu",
             (unsigned long long)tag);
    fake_send_method(p, 1, id, args);
    fake_run(&fake);
    expect_channel_close(p, 1, 406, text, id);
    client_reopen(p, 1);
}

#define EXPECT_UNKNOWN_TAG(tag, c, m, ...)                                                         \
    expect_unknown_tag((tag), AMQP_##c##_##m,                                                      \
                       &(union amqp_args){.c##_##m = {.delivery_tag = (tag), __VA_ARGS__}})

START_TEST(test_unknown_tags)
{
    EXPECT_UNKNOWN_TAG(0, basic, ack, );
    EXPECT_UNKNOWN_TAG(1, basic, ack, .multiple = true);
    EXPECT_UNKNOWN_TAG(UINT64_MAX, basic, nack, .requeue = true);
    EXPECT_UNKNOWN_TAG(0, basic, reject, );
    /* Everything there is may be nothing. */
    CAST(p, 1, basic, ack, .multiple = true);
    CAST(p, 1, basic, nack, .multiple = true);
    publish_all("q", "12");
    expect_get(p, 1, "q", true, false, 1, "1");
    EXPECT_UNKNOWN_TAG(1, basic, ack, );
    expect_get(p, 1, "q", false, false, 0, "2");
    CAST(p, 1, basic, ack, .delivery_tag = 1);
    EXPECT_UNKNOWN_TAG(1, basic, ack, );
}
END_TEST

START_TEST(test_multiple)
{
    publish_all("q", "12345");
    consume(p, 1, "q", "a", false);
    expect_deliveries(p, "a1 a2 a3 a4 a5");
    ack(1, 2, false);
    ack(1, 4, true);
    ck_assert_uint_eq(find_queue("q")->n_unacked, 1);
    ack(1, 0, true);
    ck_assert_uint_eq(find_queue("q")->n_unacked, 0);
    ck_assert_uint_eq(find_queue("q")->ready.count, 0);
}
END_TEST

/* --- exclusive, auto-delete --- */

START_TEST(test_exclusive_queue)
{
    struct fake_peer *other = client_open(&fake);

    CALL(p, 1, queue, declare, .queue = S("mine"), .exclusive = true, .durable = true);
    CALL(p, 1, queue, declare, .queue = S("mine"), .exclusive = true);
    FAKE_SEND(other, 1, basic, get, .queue = S("mine"));
    fake_run(&fake);
    expect_channel_close(other, 1, 405,
                         "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'mine' "
                         "in vhost '/'. It could "
                         "be originally declared on another connection or the exclusive property "
                         "value does not match "
                         "that of the original declaration.",
                         AMQP_basic_get);
    client_reopen(other, 1);
    publish(other, 1, "", "mine", "x");
    expect_get(p, 1, "mine", true, false, 0, "x");
    /* It is gone before close-ok. */
    FAKE_SEND(p, 0, connection, close, .reply_code = 200);
    ck_assert_ptr_null(find_queue("mine"));
    fake_run(&fake);
    expect(p, 0, AMQP_connection_close_ok);
}
END_TEST

START_TEST(test_exclusive_queue_of_lost_connection)
{
    struct fake_peer *other = client_open(&fake);

    CALL(other, 1, queue, declare, .queue = S("mine"), .exclusive = true);
    publish(p, 1, "", "mine", "x");
    consume(other, 1, "mine", "a", false);
    expect_deliver(other, 1, "a", false, "x");
    fake_cut(other);
    ck_assert_ptr_null(find_queue("mine"));
}
END_TEST

START_TEST(test_exclusive_consumer)
{
    FAKE_SEND(p, 1, basic, consume, .queue = S("q"), .consumer_tag = S("a"), .exclusive = true);
    fake_run(&fake);
    expect(p, 1, AMQP_basic_consume_ok);
    FAKE_SEND(p, 2, basic, consume, .queue = S("q"));
    fake_run(&fake);
    expect_channel_close(p, 2, 403, "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use",
                         AMQP_basic_consume);
    client_reopen(p, 2);
    expect_empty(p, 2, "q");
    CALL(p, 1, basic, cancel, .consumer_tag = S("a"));
    consume(p, 2, "q", "b", true);
    FAKE_SEND(p, 1, basic, consume, .queue = S("q"), .exclusive = true);
    fake_run(&fake);
    expect_channel_close(p, 1, 403, "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use",
                         AMQP_basic_consume);
}
END_TEST

START_TEST(test_auto_delete)
{
    CALL(p, 1, queue, declare, .queue = S("auto"), .auto_delete = true);
    publish_all("auto", "12");
    expect_get(p, 1, "auto", false, false, 1, "1");
    consume(p, 1, "auto", "a", false);
    expect_deliveries(p, "a2");
    consume(p, 2, "auto", "b", false);
    CALL(p, 2, channel, close, .reply_code = 200);
    ck_assert_ptr_nonnull(find_queue("auto"));
    CALL(p, 1, basic, cancel, .consumer_tag = S("a"));
    ck_assert_ptr_null(find_queue("auto"));
    ack(1, 0, true);
    expect_nothing(p);
}
END_TEST

START_TEST(test_consumer_tags)
{
    FAKE_SEND(p, 1, basic, consume, .queue = S("q"));
    fake_run(&fake);
    struct slice tag = expect(p, 1, AMQP_basic_consume_ok)->basic_consume_ok.consumer_tag;
    ck_assert_uint_eq(tag.n, 9 + 22);
    ck_assert(slice_starts(tag, "amq.ctag-"));
    CALL(p, 1, basic, cancel, .consumer_tag = S("unknown"));
    CAST(p, 1, basic, cancel, .consumer_tag = S("unknown"), .nowait = true);
    CAST(p, 1, basic, consume, .queue = S("q"), .consumer_tag = S("same"), .nowait = true);
    consume(p, 2, "q", "same", true);
    FAKE_SEND(p, 1, basic, consume, .queue = S("q"), .consumer_tag = S("same"));
    fake_run(&fake);
    expect_connection_close(p, 530, "NOT_ALLOWED - attempt to reuse consumer tag 'same'",
                            AMQP_basic_consume);
}
END_TEST

/* --- purge, delete --- */

static uint32_t
purge(const char *name)
{
    FAKE_SEND(p, 1, queue, purge, .queue = S(name));
    fake_run(&fake);
    return expect(p, 1, AMQP_queue_purge_ok)->queue_purge_ok.message_count;
}

START_TEST(test_purge)
{
    publish_all("q", "1234");
    expect_get(p, 1, "q", false, false, 3, "1");
    ck_assert_uint_eq(purge("q"), 3);
    ck_assert_uint_eq(purge("q"), 0);
    CAST(p, 1, basic, nack, .delivery_tag = 1, .requeue = true);
    ck_assert_uint_eq(purge("q"), 1);
    FAKE_SEND(p, 1, queue, purge, .queue = S("nope"));
    fake_run(&fake);
    expect_channel_close(p, 1, 404, "NOT_FOUND - no queue 'nope' in vhost '/'", AMQP_queue_purge);
}
END_TEST

START_TEST(test_delete)
{
    struct fake_peer *other = client_open(&fake);

    publish_all("q", "1234");
    consume(other, 1, "q", "a", false);
    fake_read_all(other);
    expect_empty(p, 1, "q");
    publish_all("q", "");
    FAKE_SEND(p, 1, queue, delete, .queue = S("q"));
    fake_run(&fake);
    ck_assert_uint_eq(expect(p, 1, AMQP_queue_delete_ok)->queue_delete_ok.message_count, 0);
    /* The consumer is told, and its acknowledgements still go. */
    const struct amqp_basic_cancel *cancel = &expect(other, 1, AMQP_basic_cancel)->basic_cancel;
    ck_assert_slice_eq(cancel->consumer_tag, S("a"));
    ck_assert(cancel->nowait);
    CAST(other, 1, basic, ack, .delivery_tag = 2);
    CAST(other, 1, basic, nack, .delivery_tag = 3, .multiple = true, .requeue = true);
    /* A new queue of this name has nothing of the old one. */
    declare_queue(p, "q");
    CAST(other, 1, basic, reject, .delivery_tag = 4, .requeue = true);
    expect_empty(p, 1, "q");
    CALL(p, 1, queue, delete, .queue = S("q"));
    CALL(p, 1, queue, delete, .queue = S("q"));
}
END_TEST

/* Clients that do not know basic.cancel from a server do not get one. */
START_TEST(test_delete_without_capability)
{
    struct fake_peer *other = fake_connect(&fake);

    fake_send_handshake(other, slice_of(NULL, 0));
    FAKE_SEND(other, 1, channel, open, );
    FAKE_SEND(other, 1, basic, consume, .queue = S("q"));
    fake_run(&fake);
    fake_read_all(other);
    CALL(p, 1, queue, delete, .queue = S("q"));
    expect_nothing(other);
}
END_TEST

START_TEST(test_delete_conditions)
{
    publish_all("q", "1");
    FAKE_SEND(p, 1, queue, delete, .queue = S("q"), .if_empty = true, .if_unused = true);
    fake_run(&fake);
    expect_channel_close(p, 1, 406, "PRECONDITION_FAILED - queue 'q' in vhost '/' not empty",
                         AMQP_queue_delete);
    client_reopen(p, 1);
    consume(p, 2, "q", "a", false);
    expect_deliveries(p, "a1");
    FAKE_SEND(p, 1, queue, delete, .queue = S("q"), .if_empty = true, .if_unused = true);
    fake_run(&fake);
    expect_channel_close(p, 1, 406, "PRECONDITION_FAILED - queue 'q' in vhost '/' in use",
                         AMQP_queue_delete);
    client_reopen(p, 1);
    CALL(p, 2, basic, cancel, .consumer_tag = S("a"));
    /* Only unacknowledged messages: that counts as empty. */
    CALL(p, 1, queue, delete, .queue = S("q"), .if_empty = true, .if_unused = true);
    ack(2, 1, false);
    expect_nothing(p);
}
END_TEST

START_TEST(test_cancel_keeps_unacked)
{
    publish_all("q", "12");
    consume(p, 1, "q", "a", false);
    expect_deliveries(p, "a1 a2");
    CALL(p, 1, basic, cancel, .consumer_tag = S("a"));
    publish_all("q", "3");
    expect_nothing(p);
    ack(1, 1, false);
    CAST(p, 1, basic, reject, .delivery_tag = 2, .requeue = true);
    expect_get(p, 2, "q", true, true, 1, "2");
    expect_get(p, 2, "q", true, false, 0, "3");
}
END_TEST

/* A message that reaches several queues is one message in all of them, and in each on its own. */
START_TEST(test_fan_out)
{
    declare_queue(p, "r");
    CALL(p, 1, queue, bind, .queue = S("q"), .exchange = S("amq.fanout"));
    CALL(p, 1, queue, bind, .queue = S("r"), .exchange = S("amq.fanout"));
    publish(p, 1, "amq.fanout", "", "x");
    expect_get(p, 1, "q", false, false, 0, "x");
    CAST(p, 1, basic, reject, .delivery_tag = 1, .requeue = true);
    expect_get(p, 1, "q", true, true, 0, "x");
    expect_get(p, 1, "r", true, false, 0, "x");
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("queue");
    TCase *tc = tcase_create("declare");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, test_declare);
    tcase_add_loop_test(tc, test_declare_errors, 0, sizeof declare_errors / sizeof *declare_errors);
    tcase_add_test(tc, test_last_queue);
    tcase_add_test(tc, test_purge);
    tcase_add_test(tc, test_delete);
    tcase_add_test(tc, test_delete_without_capability);
    tcase_add_test(tc, test_delete_conditions);
    tcase_add_test(tc, test_exclusive_queue);
    tcase_add_test(tc, test_exclusive_queue_of_lost_connection);
    tcase_add_test(tc, test_auto_delete);
    suite_add_tcase(suite, tc);

    tc = tcase_create("consume");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, test_round_robin);
    tcase_add_test(tc, test_fifo);
    tcase_add_test(tc, test_priorities);
    tcase_add_test(tc, test_prefetch);
    tcase_add_test(tc, test_prefetch_is_per_consumer);
    tcase_add_test(tc, test_prefetch_raised);
    tcase_add_test(tc, test_global_prefetch);
    tcase_add_test(tc, test_exclusive_consumer);
    tcase_add_test(tc, test_consumer_tags);
    tcase_add_test(tc, test_cancel_keeps_unacked);
    tcase_add_test(tc, test_fan_out);
    suite_add_tcase(suite, tc);

    tc = tcase_create("settle");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, test_requeue_order);
    tcase_add_test(tc, test_recover);
    tcase_add_loop_test(tc, test_end_requeues, 0, 5);
    tcase_add_test(tc, test_unknown_tags);
    tcase_add_test(tc, test_multiple);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
