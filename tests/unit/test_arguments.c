#include "broker/core/arguments.h"

#include "base/log.h"
#include "broker/core/vhost.h"
#include "tests/unit/client.h"

static struct fake fake;
static struct resource queue = {.kind = "queue"}, exchange = {.kind = "exchange"};

static void
setup(void)
{
    log_set_level(LOG_NONE);
    fake_init(&fake);
    queue.vhost = exchange.vhost = fake_vhost(&fake);
    queue.name = S("q");
    exchange.name = S("x");
}

static void
teardown(void)
{
    fake_fini(&fake);
}

/* No text means success. */
static void
expect_result(bool ok, const struct amqp_error *err, const char *text)
{
    char got[256] = {0};

    if (text == NULL) {
        ck_assert(ok);
        return;
    }
    ck_assert(!ok);
    ck_assert_uint_eq(err->code, AMQP_PRECONDITION_FAILED);
    memcpy(got, err->text, err->text_len);
    ck_assert_str_eq(got, text);
}

#define INT(v)                                                                                     \
    {                                                                                              \
        .tag = AMQP_TAG_INT32, .i = (v)                                                            \
    }
#define LONG(v)                                                                                    \
    {                                                                                              \
        .tag = AMQP_TAG_INT64, .i = (v)                                                            \
    }
#define STR(v)                                                                                     \
    {                                                                                              \
        .tag = AMQP_TAG_LONGSTR, .s = {(const uint8_t *)(v), sizeof(v) - 1 }                       \
    }
#define BIN(v)                                                                                     \
    {                                                                                              \
        .tag = AMQP_TAG_BINARY, .s = {(const uint8_t *)(v), sizeof(v) - 1 }                        \
    }
#define BOOL(v)                                                                                    \
    {                                                                                              \
        .tag = AMQP_TAG_BOOL, .boolean = (v)                                                       \
    }
#define INVALID(arg, why)                                                                          \
    "PRECONDITION_FAILED - invalid arg '" arg "' for queue 'q' in vhost '/': " why
#define FOREIGN(arg)                                                                               \
    "PRECONDITION_FAILED - invalid arg '" arg                                                      \
    "' for queue 'q' in vhost '/' of queue type rabbit_classic_queue"

/* --- validity --- */

static const struct {
    const char *name;
    struct amqp_value value;
    const char *text;
} queue_cases[] = {
    {"x-message-ttl", INT(0), NULL},
    {"x-message-ttl", LONG(315360000000), NULL},
    {"x-message-ttl", LONG(315360000001),
     INVALID("x-message-ttl", "{value_too_large,315360000001}")},
    {"x-message-ttl", INT(-1), INVALID("x-message-ttl", "{value_negative,-1}")},
    {"x-message-ttl", STR("1"), INVALID("x-message-ttl", "\"expected integer, got longstr\"")},
    {"x-message-ttl",
     {.tag = AMQP_TAG_DECIMAL},
     INVALID("x-message-ttl", "\"expected integer, got decimal\"")},
    {"x-message-ttl",
     {.tag = AMQP_TAG_TIMESTAMP},
     INVALID("x-message-ttl", "\"expected integer, got timestamp\"")},
    {"x-message-ttl",
     {.tag = AMQP_TAG_FLOAT},
     INVALID("x-message-ttl", "\"expected integer, got float\"")},
    {"x-message-ttl",
     {.tag = AMQP_TAG_DOUBLE},
     INVALID("x-message-ttl", "\"expected integer, got double\"")},
    {"x-message-ttl", BOOL(true), INVALID("x-message-ttl", "\"expected integer, got bool\"")},
    {"x-message-ttl",
     {.tag = AMQP_TAG_VOID},
     INVALID("x-message-ttl", "\"expected integer, got void\"")},
    {"x-message-ttl", {.tag = AMQP_TAG_UINT8, .i = 1}, NULL},
    {"x-message-ttl", {.tag = AMQP_TAG_INT8, .i = 1}, NULL},
    {"x-message-ttl", {.tag = AMQP_TAG_UINT16, .i = 1}, NULL},
    {"x-message-ttl", {.tag = AMQP_TAG_INT16, .i = 1}, NULL},
    {"x-message-ttl", {.tag = AMQP_TAG_UINT32, .i = 1}, NULL},
    {"x-message-ttl", {.tag = AMQP_TAG_INT64_L, .i = 1}, NULL},
    {"x-expires", INT(1), NULL},
    {"x-expires", INT(0), INVALID("x-expires", "{value_zero,0}")},
    {"x-expires", INT(-5), INVALID("x-expires", "{value_negative,-5}")},
    {"x-expires", LONG(315360000001), INVALID("x-expires", "{value_too_large,315360000001}")},
    {"x-max-length", INT(0), NULL},
    {"x-max-length", LONG(INT64_MAX), NULL},
    {"x-max-length", INT(-1), INVALID("x-max-length", "{value_negative,-1}")},
    {"x-max-length-bytes", INT(-1), INVALID("x-max-length-bytes", "{value_negative,-1}")},
    {"x-max-priority", INT(0), NULL},
    {"x-max-priority", INT(255), NULL},
    {"x-max-priority", INT(256), INVALID("x-max-priority", "{max_value_exceeded,256}")},
    {"x-max-priority", INT(-1), INVALID("x-max-priority", "{value_negative,-1}")},
    {"x-overflow", STR("drop-head"), NULL},
    {"x-overflow", STR("reject-publish"), NULL},
    {"x-overflow", STR("reject-publish-dlx"), NULL},
    {"x-overflow", STR("foo"), INVALID("x-overflow", "invalid_overflow")},
    {"x-overflow", INT(1), INVALID("x-overflow", "{unacceptable_type,signedint}")},
    {"x-dead-letter-exchange", STR(""), NULL},
    {"x-dead-letter-exchange", STR("missing"), NULL},
    {"x-dead-letter-exchange", INT(1),
     "PRECONDITION_FAILED - invalid type 'signedint' for arg 'x-dead-letter-exchange' in queue 'q' "
     "in vhost '/'"},
    {"x-dead-letter-exchange", BIN("x"),
     "PRECONDITION_FAILED - invalid type 'binary' for arg 'x-dead-letter-exchange' in queue 'q' in "
     "vhost '/'"},
    {"x-dead-letter-routing-key", STR("k"),
     INVALID("x-dead-letter-routing-key", "routing_key_but_no_dlx_defined")},
    {"x-dead-letter-routing-key", INT(1),
     INVALID("x-dead-letter-routing-key", "{unacceptable_type,signedint}")},
    {"x-single-active-consumer", BOOL(true), NULL},
    {"x-single-active-consumer", INT(1),
     INVALID("x-single-active-consumer", "{unacceptable_type,signedint}")},
    {"x-queue-type", STR("classic"), NULL},
    {"x-queue-type", STR(""), NULL},
    {"x-queue-type", STR("bogus"), INVALID("x-queue-type", "\"unsupported queue type 'bogus'\"")},
    {"x-queue-type", INT(1), INVALID("x-queue-type", "{unacceptable_type,signedint}")},
    {"x-queue-mode", STR("foo"), NULL},
    {"x-queue-mode", INT(5), NULL},
    {"x-queue-leader-locator", STR("balanced"), NULL},
    {"x-queue-leader-locator", STR("nowhere"),
     INVALID("x-queue-leader-locator", "invalid_queue_locator_arg")},
    {"x-delivery-limit", INT(1), FOREIGN("x-delivery-limit")},
    {"x-dead-letter-strategy", STR("at-least-once"), FOREIGN("x-dead-letter-strategy")},
    {"x-quorum-initial-group-size", INT(3), FOREIGN("x-quorum-initial-group-size")},
    {"x-consumer-timeout", INT(3), FOREIGN("x-consumer-timeout")},
    {"x-max-age", STR("1h"), FOREIGN("x-max-age")},
    {"x-stream-max-segment-size-bytes", INT(3), FOREIGN("x-stream-max-segment-size-bytes")},
    {"x-initial-cluster-size", INT(3), FOREIGN("x-initial-cluster-size")},
    {"x-of-my-own", {.tag = AMQP_TAG_VOID}, NULL},
    {"", INT(-1), NULL},
};

START_TEST(test_queue)
{
    struct amqp_error err;
    bool ok =
        arguments_check_queue(&queue, table_of(queue_cases[_i].name, queue_cases[_i].value), &err);

    expect_result(ok, &err, queue_cases[_i].text);
}
END_TEST

START_TEST(test_dead_letter_pair)
{
    struct slice both = table_of2("x-dead-letter-routing-key", value_str("k"),
                                  "x-dead-letter-exchange", value_str(""));
    struct amqp_error err;

    ck_assert(arguments_check_queue(&queue, both, &err));
    ck_assert(arguments_check_queue(&queue, slice_of(NULL, 0), &err));
}
END_TEST

START_TEST(test_exchange)
{
    struct amqp_error err;

    ck_assert(arguments_check_exchange(&exchange, slice_of(NULL, 0), &err));
    ck_assert(
        arguments_check_exchange(&exchange, table_of("alternate-exchange", value_str("ae")), &err));
    expect_result(
        arguments_check_exchange(&exchange, table_of("alternate-exchange", value_int(1)), &err),
        &err,
        "PRECONDITION_FAILED - invalid type 'signedint' for arg 'alternate-exchange' in exchange "
        "'x' in vhost '/'");
}
END_TEST

static const struct {
    const char *name;
    struct amqp_value value;
    int64_t priority;
    const char *text;
} consumer_cases[] = {
    {"x-priority", INT(5), 5, NULL},
    {"x-priority", LONG(-7), -7, NULL},
    {"x-priority", {.tag = AMQP_TAG_UINT8, .i = 200}, 200, NULL},
    {"x-priority", STR("5"), 0, INVALID("x-priority", "\"expected integer, got longstr\"")},
    {"x-priority",
     {.tag = AMQP_TAG_DECIMAL},
     0,
     INVALID("x-priority", "\"expected integer, got decimal\"")},
    {"x-stream-offset", STR("first"), 0, FOREIGN("x-stream-offset")},
    {"x-consumer-timeout", INT(1), 0, FOREIGN("x-consumer-timeout")},
    {"x-cancel-on-ha-failover", BOOL(true), 0, NULL},
    {"x-credit", STR("?"), 0, NULL},
};

START_TEST(test_consumer)
{
    struct amqp_error err;
    int64_t priority;
    struct slice arguments = table_of(consumer_cases[_i].name, consumer_cases[_i].value);
    bool ok = arguments_check_consumer(&queue, arguments, &priority, &err);

    expect_result(ok, &err, consumer_cases[_i].text);
    if (ok)
        ck_assert_int_eq(priority, consumer_cases[_i].priority);
}
END_TEST

/* --- equivalence --- */

#define DIFFERS(arg, given, current)                                                               \
    "PRECONDITION_FAILED - inequivalent arg '" arg "' for queue 'q' in vhost '/': received " given \
    " but current is " current

START_TEST(test_flags)
{
    struct amqp_error err;

    ck_assert(arguments_same_flag(&queue, "durable", true, true, &err));
    ck_assert(arguments_same_flag(&queue, "durable", false, false, &err));
    expect_result(arguments_same_flag(&queue, "durable", true, false, &err), &err,
                  DIFFERS("durable", "'true'", "'false'"));
    expect_result(arguments_same_flag(&queue, "auto_delete", false, true, &err), &err,
                  DIFFERS("auto_delete", "'false'", "'true'"));
}
END_TEST

#define ABSENT                                                                                     \
    {                                                                                              \
        .tag = 0                                                                                   \
    }

static const struct {
    const char *name;
    struct amqp_value given, current;
    const char *text;
} same_cases[] = {
    {"x-message-ttl", INT(1000), INT(1000), NULL},
    {"x-max-length", {.tag = AMQP_TAG_UINT8, .i = 5}, LONG(5), NULL},
    {"x-message-ttl", INT(2000), INT(1000), DIFFERS("x-message-ttl", "'2000'", "'1000'")},
    {"x-message-ttl", ABSENT, INT(1000),
     DIFFERS("x-message-ttl", "none", "the value '1000' of type 'signedint'")},
    {"x-dead-letter-exchange", STR("d"), ABSENT,
     DIFFERS("x-dead-letter-exchange", "the value 'd' of type 'longstr'", "none")},
    {"x-dead-letter-exchange", BIN("d"), STR("d"), NULL},
    {"x-dead-letter-exchange", STR("d"), STR("e"), DIFFERS("x-dead-letter-exchange", "'d'", "'e'")},
    {"x-max-length",
     {.tag = AMQP_TAG_DOUBLE, .f = 5},
     INT(5),
     DIFFERS("x-max-length", "'5'", "'5'")},
    {"x-queue-type", STR("classic"), ABSENT, NULL},
    {"x-queue-type", ABSENT, STR("classic"), NULL},
    {"x-queue-type", STR(""), ABSENT, NULL},
    {"x-of-my-own", INT(1), INT(2), NULL},
    {"x-of-my-own", INT(1), ABSENT, NULL},
};

static struct slice
table_or_none(const char *name, struct amqp_value value)
{
    return value.tag != 0 ? table_of(name, value) : slice_of(NULL, 0);
}

START_TEST(test_same_queue)
{
    struct amqp_error err;
    struct slice given = table_or_none(same_cases[_i].name, same_cases[_i].given);
    struct slice current = table_or_none(same_cases[_i].name, same_cases[_i].current);

    expect_result(arguments_same_queue(&queue, given, current, &err), &err, same_cases[_i].text);
}
END_TEST

/* The first difference in RabbitMQ's order is the one that is told, whatever order the tables have.
 */
START_TEST(test_order_of_comparison)
{
    struct amqp_error err;
    struct slice given = table_of2("x-max-length", value_int(1), "x-expires", value_int(1));
    struct slice current = table_of2("x-max-length", value_int(2), "x-expires", value_int(2));

    expect_result(arguments_same_queue(&queue, given, current, &err), &err,
                  DIFFERS("x-expires", "'1'", "'2'"));
}
END_TEST

START_TEST(test_same_exchange)
{
    struct amqp_error err;
    struct slice ae = table_of("alternate-exchange", value_str("ae"));

    ck_assert(arguments_same_exchange(&exchange, ae, ae, &err));
    ck_assert(arguments_same_exchange(&exchange, table_of("other", value_int(1)), slice_of(NULL, 0),
                                      &err));
    expect_result(arguments_same_exchange(&exchange, slice_of(NULL, 0), ae, &err), &err,
                  "PRECONDITION_FAILED - inequivalent arg 'alternate-exchange' for exchange 'x' in "
                  "vhost '/': "
                  "received none but current is the value 'ae' of type 'longstr'");
}
END_TEST

/* Texts of more than 255 bytes are cut, whatever was put into them. */
START_TEST(test_long_texts)
{
    uint8_t name[UINT8_MAX], value[600];
    struct amqp_error err;

    memset(name, 'n', sizeof name);
    memset(value, 'v', sizeof value);
    struct resource res = {"queue", queue.vhost, slice_of(name, sizeof name)};
    struct amqp_value v = {.tag = AMQP_TAG_LONGSTR, .s = slice_of(value, sizeof value)};
    ck_assert(!arguments_check_queue(&res, table_of("x-queue-type", v), &err));
    ck_assert_uint_eq(err.text_len, 255);
    ck_assert_mem_eq(err.text + 252, "...", 3);
    ck_assert(!arguments_same_queue(&queue, table_of("x-overflow", v),
                                    table_of("x-overflow", value_int(1)), &err));
    ck_assert_uint_eq(err.text_len, 255);
}
END_TEST

#define COUNT(a) (sizeof(a) / sizeof *(a))

int
main(void)
{
    Suite *suite = suite_create("arguments");
    TCase *tc = tcase_create("arguments");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, test_queue, 0, COUNT(queue_cases));
    tcase_add_test(tc, test_dead_letter_pair);
    tcase_add_test(tc, test_exchange);
    tcase_add_loop_test(tc, test_consumer, 0, COUNT(consumer_cases));
    tcase_add_test(tc, test_flags);
    tcase_add_loop_test(tc, test_same_queue, 0, COUNT(same_cases));
    tcase_add_test(tc, test_order_of_comparison);
    tcase_add_test(tc, test_same_exchange);
    tcase_add_test(tc, test_long_texts);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
