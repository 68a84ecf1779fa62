/* Exchanges of all types, bindings and their identity, exchange-to-exchange bindings, alternate
 * exchanges. */
#include "base/log.h"
#include "broker/core/exchange.h"
#include "broker/core/message.h"
#include "broker/core/queue.h"
#include "broker/core/vhost.h"
#include "tests/unit/client.h"

#include <stdio.h>

static struct fake fake;
static struct vhost *v;
static const struct slice none = {NULL, 0};

static void
setup(void)
{
    log_set_level(LOG_NONE);
    fake_init(&fake);
    v = fake_vhost(&fake);
}

static void
teardown(void)
{
    fake_fini(&fake);
}

static struct queue *
new_queue(const char *name)
{
    return queue_new(v, S(name), false, false, NULL, none, 0);
}

static struct exchange *
find(const char *name)
{
    return vhost_find_exchange(v, S(name));
}

static struct exchange *
new_exchange(const char *name, const struct exchange_type *type)
{
    return exchange_new(v, S(name), type, false, false, false, none, 0);
}

static struct exchange *
new_with_alternate(const char *name, const char *alternate)
{
    return exchange_new(v, S(name), &exchange_direct, false, false, false,
                        table_of("alternate-exchange", value_str(alternate)), 0);
}

static struct exchange *
new_auto_delete(const char *name)
{
    return exchange_new(v, S(name), &exchange_fanout, false, true, false, none, 0);
}

static void
bind_with(struct exchange *x, struct queue *q, const char *key, struct slice arguments)
{
    struct amqp_error err;
    ck_assert(exchange_bind(x, (struct destination){.queue = q}, S(key), arguments, &err));
}

static void
bind(struct exchange *x, struct queue *q, const char *key)
{
    bind_with(x, q, key, none);
}

static void
unbind_with(struct exchange *x, struct queue *q, const char *key, struct slice arguments)
{
    exchange_unbind(x, (struct destination){.queue = q}, S(key), arguments);
}

static void
chain(struct exchange *from, struct exchange *to, const char *key)
{
    struct amqp_error err;
    ck_assert(exchange_bind(from, (struct destination){.exchange = to}, S(key), none, &err));
}

static void
unchain(struct exchange *from, struct exchange *to, const char *key)
{
    exchange_unbind(from, (struct destination){.exchange = to}, S(key), none);
}

/* The names of the queues that a message with these properties reaches, "a b c" in any order they
 * are found. */
static void
expect_route_props(struct exchange *x, const char *key, struct slice props,
                   const char *const *names)
{
    uint8_t address[2 + UINT8_MAX] = {0, (uint8_t)strlen(key)};
    memcpy(address + 2, key, strlen(key));
    struct message *m = message_new(slice_of(address, 2 + strlen(key)), props, 0);
    struct slice routing_key = message_routing_key(m);
    struct route *r = exchange_route(x, m, &routing_key, 1);
    size_t n = 0;

    for (; names[n] != NULL; n++) {
        struct queue *q = vhost_find_queue(v, S(names[n]));
        ck_assert_msg(q->reached == r->epoch, "'%s' does not reach %s", key, names[n]);
    }
    ck_assert_uint_eq(r->n, n);
    message_unref(m);
}

#define expect_route(x, key, ...)                                                                  \
    expect_route_props((x), (key), slice_of("\0\0", 2), (const char *const[]){__VA_ARGS__})

/* --- direct, fanout, default --- */

START_TEST(test_default)
{
    new_queue("a");
    new_queue("b");
    expect_route(find(""), "a", "a", NULL);
    expect_route(find(""), "c", NULL);
    expect_route(find(""), "", NULL);
}
END_TEST

START_TEST(test_direct)
{
    struct exchange *x = find("amq.direct");
    struct queue *a = new_queue("a"), *b = new_queue("b");

    expect_route(x, "k", NULL);
    bind(x, a, "k");
    bind(x, b, "k");
    bind(x, b, "");
    bind(x, a, "K");
    expect_route(x, "k", "a", "b", NULL);
    expect_route(x, "K", "a", NULL);
    expect_route(x, "", "b", NULL);
    expect_route(x, "kk", NULL);
    unbind_with(x, a, "k", none);
    expect_route(x, "k", "b", NULL);
    unbind_with(x, a, "k", none);
    unbind_with(x, b, "k", none);
    unbind_with(x, b, "", none);
    unbind_with(x, a, "K", none);
    ck_assert_ptr_null(x->table);
    ck_assert_ptr_null(x->identities);
    ck_assert_uint_eq(x->n_bindings, 0);
}
END_TEST

START_TEST(test_fanout)
{
    struct exchange *x = find("amq.fanout");
    struct queue *a = new_queue("a"), *b = new_queue("b");

    bind(x, a, "");
    bind(x, a, "other");
    bind(x, b, "ignored");
    expect_route(x, "k", "a", "b", NULL);
    unbind_with(x, a, "", none);
    expect_route(x, "k", "a", "b", NULL);
    unbind_with(x, a, "other", none);
    expect_route(x, "k", "b", NULL);
}
END_TEST

/* --- binding identity --- */

START_TEST(test_same_binding)
{
    struct exchange *x = find("amq.direct");
    struct queue *q = new_queue("q");
    struct amqp_value int32 = value_int(1), int64 = {.tag = AMQP_TAG_INT64, .i = 1};

    bind(x, q, "k");
    bind(x, q, "k");
    ck_assert_uint_eq(x->n_bindings, 1);
    bind_with(x, q, "k", table_of2("a", int32, "b", value_str("x")));
    bind_with(x, q, "k", table_of2("b", value_str("x"), "a", int32));
    ck_assert_uint_eq(x->n_bindings, 2);
    /* Another tag for the same number is another binding. */
    bind_with(x, q, "k", table_of2("a", int64, "b", value_str("x")));
    ck_assert_uint_eq(x->n_bindings, 3);
    expect_route(x, "k", "q", NULL);

    unbind_with(x, q, "k", table_of2("b", value_str("x"), "a", int32));
    ck_assert_uint_eq(x->n_bindings, 2);
    unbind_with(x, q, "k", table_of("a", int32));
    ck_assert_uint_eq(x->n_bindings, 2);
    unbind_with(x, q, "k", none);
    unbind_with(x, q, "k", table_of2("b", value_str("x"), "a", int64));
    ck_assert_uint_eq(x->n_bindings, 0);
    expect_route(x, "k", NULL);
}
END_TEST

START_TEST(test_many_bindings)
{
    struct exchange *x = find("amq.direct");
    struct queue *q = new_queue("q");
    char key[16];

    for (int i = 0; i < 2000; i++) {
        snprintf(key, sizeof key, "%d", i);
        bind_with(x, q, key, table_of("i", value_int(i % 3)));
    }
    ck_assert_uint_eq(x->n_bindings, 2000);
    for (int i = 0; i < 2000; i += 2) {
        snprintf(key, sizeof key, "%d", i);
        unbind_with(x, q, key, table_of("i", value_int(i % 3)));
    }
    ck_assert_uint_eq(x->n_bindings, 1000);
    expect_route(x, "7", "q", NULL);
    expect_route(x, "8", NULL);
    queue_delete(q);
    ck_assert_uint_eq(x->n_bindings, 0);
    ck_assert_ptr_null(x->table);
}
END_TEST

/* --- headers --- */

#define INT(v)                                                                                     \
    {                                                                                              \
        .tag = AMQP_TAG_INT32, .i = (v)                                                            \
    }
#define STR(v)                                                                                     \
    {                                                                                              \
        .tag = AMQP_TAG_LONGSTR, .s = {(const uint8_t *)(v), sizeof(v) - 1 }                       \
    }
#define RAW(t, v)                                                                                  \
    {                                                                                              \
        .tag = (t), .s = {(const uint8_t *)(v), sizeof(v) - 1 }                                    \
    }

static const struct {
    struct amqp_value wanted, given;
    bool matches;
} values[] = {
    {INT(1), INT(1), true},
    {INT(1), INT(2), false},
    {INT(1), {.tag = AMQP_TAG_INT64, .i = 1}, true},
    {INT(1), {.tag = AMQP_TAG_INT8, .i = 1}, true},
    {INT(1), {.tag = AMQP_TAG_BOOL, .boolean = true}, false},
    {INT(1), {.tag = AMQP_TAG_DOUBLE, .f = 1}, false},
    {INT(1), STR("1"), false},
    {STR("s"), STR("s"), true},
    {STR("s"), RAW(AMQP_TAG_BINARY, "s"), true},
    {STR("s"), STR("t"), false},
    {{.tag = AMQP_TAG_FLOAT, .f = 1.5}, {.tag = AMQP_TAG_DOUBLE, .f = 1.5}, true},
    {{.tag = AMQP_TAG_VOID}, STR("anything"), true},
    {{.tag = AMQP_TAG_VOID}, {.tag = AMQP_TAG_VOID}, true},
    {STR("s"), {.tag = AMQP_TAG_VOID}, false},
    {{.tag = AMQP_TAG_DECIMAL, .decimal = {1, 10}},
     {.tag = AMQP_TAG_DECIMAL, .decimal = {1, 10}},
     true},
    {{.tag = AMQP_TAG_DECIMAL, .decimal = {1, 10}},
     {.tag = AMQP_TAG_DECIMAL, .decimal = {2, 100}},
     false},
    {{.tag = AMQP_TAG_TIMESTAMP, .time = 5}, {.tag = AMQP_TAG_TIMESTAMP, .time = 5}, true},
    {RAW(AMQP_TAG_ARRAY, "I\0\0\0\1"), RAW(AMQP_TAG_ARRAY, "I\0\0\0\1"), true},
    {RAW(AMQP_TAG_ARRAY, "I\0\0\0\1"), RAW(AMQP_TAG_ARRAY, "l\0\0\0\0\0\0\0\1"), false},
};

START_TEST(test_headers_value)
{
    struct exchange *x = find("amq.headers");
    struct slice props =
        props_with_headers(table_of2("other", value_int(9), "k", values[_i].given));

    bind_with(x, new_queue("q"), "", table_of("k", values[_i].wanted));
    if (values[_i].matches)
        expect_route_props(x, "", props, (const char *const[]){"q", NULL});
    else
        expect_route_props(x, "", props, (const char *const[]){NULL});
}
END_TEST

/* A binding's arguments beside x-match are a and x-b; which of the messages' headers reach it? */
static const struct {
    const char *mode; /* NULL: none */
    bool nothing, only_a, only_xb, both, wrong_a;
} modes[] = {
    {NULL, false, true, false, true, false},       {"all", false, true, false, true, false},
    {"any", false, true, false, true, false},      {"all-with-x", false, false, false, true, false},
    {"any-with-x", false, true, true, true, true},
};

static void
expect_reached(bool reached, struct slice headers)
{
    const char *const names[] = {reached ? "q" : NULL, NULL};

    expect_route_props(find("amq.match"), "",
                       headers.n != 0 ? props_with_headers(headers) : slice_of("\0\0", 2), names);
}

START_TEST(test_headers_mode)
{
    struct amqp_value one = value_int(1);
    struct slice both = table_of2("a", one, "x-b", one), arguments = both;
    uint8_t bytes[128];

    if (modes[_i].mode != NULL) {
        struct writer w = writer_init(bytes, sizeof bytes);
        amqp_write_str(&w, "x-match", S(modes[_i].mode));
        write_bytes(&w, both);
        arguments = slice_of(bytes, (size_t)(w.p - bytes));
    }
    bind_with(find("amq.match"), new_queue("q"), "", arguments);
    expect_reached(modes[_i].nothing, none);
    expect_reached(modes[_i].only_a, table_of("a", one));
    expect_reached(modes[_i].only_xb, table_of("x-b", one));
    expect_reached(modes[_i].both, both);
    expect_reached(modes[_i].wrong_a, table_of2("a", value_int(2), "x-b", one));
}
END_TEST

/* Nothing to look at: "all" matches everything, even messages without headers, "any" nothing. */
START_TEST(test_headers_empty)
{
    struct exchange *x = find("amq.match");
    struct queue *q = new_queue("q");

    bind(x, q, "");
    expect_reached(true, none);
    expect_reached(true, table_of("a", value_int(1)));
    unbind_with(x, q, "", none);
    bind_with(x, q, "", table_of("x-match", value_str("any")));
    expect_reached(false, none);
    expect_reached(false, table_of("a", value_int(1)));
    bind_with(x, q, "", table_of2("x-match", value_str("all"), "x-ignored", value_int(1)));
    expect_reached(true, none);
}
END_TEST

START_TEST(test_headers_duplicates)
{
    struct amqp_value one = value_int(1), two = value_int(2);

    /* Each of a binding's equal keys must match; of a message's, the first counts. */
    bind_with(find("amq.match"), new_queue("q"), "", table_of2("a", one, "a", two));
    expect_reached(false, table_of("a", one));
    expect_reached(false, table_of2("a", one, "a", two));
    bind_with(find("amq.match"), vhost_find_queue(v, S("q")), "", table_of("a", one));
    expect_reached(true, table_of2("a", one, "a", two));
    expect_reached(false, table_of2("a", two, "a", one));
}
END_TEST

static const struct {
    struct amqp_value match;
    const char *text;
} bad_matches[] = {
    {STR("foo"), "PRECONDITION_FAILED - Invalid x-match field value <<\"foo\">>; expected all, "
                 "any, all-with-x, or any-with-x"},
    {INT(5),
     "PRECONDITION_FAILED - Invalid x-match field type signedint (value 5); expected longstr"},
    {{.tag = AMQP_TAG_VOID},
     "PRECONDITION_FAILED - Invalid x-match field type void; expected longstr"},
};

START_TEST(test_headers_bad_match)
{
    struct exchange *x = find("amq.headers");
    struct amqp_error err;

    ck_assert(!exchange_bind(x, (struct destination){.queue = new_queue("q")}, S(""),
                             table_of("x-match", bad_matches[_i].match), &err));
    ck_assert_uint_eq(err.code, AMQP_PRECONDITION_FAILED);
    ck_assert_slice_eq(amqp_error_text(&err), S(bad_matches[_i].text));
    ck_assert_uint_eq(x->n_bindings, 0);
}
END_TEST

/* --- exchange to exchange --- */

START_TEST(test_e2e)
{
    struct exchange *a = new_exchange("a", &exchange_direct),
                    *b = new_exchange("b", &exchange_topic);
    struct exchange *c = new_exchange("c", &exchange_fanout);

    chain(a, b, "k.1");
    chain(a, b, "k.2");
    chain(b, c, "k.*");
    bind(b, new_queue("q"), "k.1");
    bind(c, new_queue("r"), "");
    bind(a, vhost_find_queue(v, S("r")), "k.1");
    expect_route(a, "k.1", "q", "r", NULL);
    expect_route(a, "k.2", "r", NULL);
    expect_route(a, "k.3", NULL);
    unchain(b, c, "k.*");
    expect_route(a, "k.2", NULL);
}
END_TEST

START_TEST(test_cycles)
{
    struct exchange *a = new_exchange("a", &exchange_fanout),
                    *b = new_exchange("b", &exchange_fanout);

    chain(a, a, "");
    chain(a, b, "");
    chain(b, a, "");
    chain(b, b, "");
    bind(b, new_queue("q"), "");
    expect_route(a, "", "q", NULL);
    expect_route(b, "", "q", NULL);
    exchange_delete(b);
    ck_assert_uint_eq(a->n_bindings, 1);
    expect_route(a, "", NULL);
}
END_TEST

/* A thousand exchanges, each bound to the next ten. */
START_TEST(test_dense_graph)
{
    enum { N = 1000 };
    struct exchange *xs[N];
    char name[16];

    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "x%d", i);
        xs[i] = new_exchange(name, &exchange_fanout);
    }
    for (int i = 0; i < N; i++) {
        for (int j = 1; j <= 10; j++)
            chain(xs[i], xs[(i + j) % N], "");
    }
    bind(xs[N / 2], new_queue("q"), "");
    expect_route(xs[0], "", "q", NULL);
}
END_TEST

/* --- alternate exchanges --- */

START_TEST(test_alternate)
{
    struct exchange *a = new_with_alternate("a", "b");

    expect_route(a, "k", NULL);
    struct exchange *b = new_with_alternate("b", "c");
    bind(new_exchange("c", &exchange_fanout), new_queue("last"), "");
    expect_route(a, "k", "last", NULL);
    bind(b, new_queue("q"), "k");
    expect_route(a, "k", "q", NULL);
    expect_route(a, "other", "last", NULL);
    bind(a, vhost_find_queue(v, S("last")), "k");
    expect_route(a, "k", "last", NULL);
}
END_TEST

START_TEST(test_alternate_loop)
{
    struct exchange *a = new_with_alternate("a", "b"), *b = new_with_alternate("b", "a");
    struct exchange *self = new_with_alternate("self", "self");

    expect_route(a, "k", NULL);
    expect_route(b, "k", NULL);
    expect_route(self, "k", NULL);
    bind(b, new_queue("q"), "k");
    expect_route(a, "k", "q", NULL);
}
END_TEST

/* An exchange that is reached by a binding uses its alternate too. */
START_TEST(test_alternate_behind_binding)
{
    struct exchange *a = new_exchange("a", &exchange_fanout),
                    *b = new_with_alternate("b", "amq.fanout");

    chain(a, b, "");
    bind(find("amq.fanout"), new_queue("q"), "");
    expect_route(a, "k", "q", NULL);
}
END_TEST

/* --- automatic deletion --- */

START_TEST(test_auto_delete)
{
    struct exchange *x = new_auto_delete("x");
    struct queue *q = new_queue("q"), *r = new_queue("r");

    bind(x, q, "");
    bind(x, r, "");
    unbind_with(x, q, "", none);
    ck_assert_ptr_nonnull(find("x"));
    unbind_with(x, q, "", none);
    ck_assert_ptr_nonnull(find("x"));
    queue_delete(r);
    ck_assert_ptr_null(find("x"));
}
END_TEST

/* a -> b -> c -> q: with the queue goes everything that led to it, but not what is kept for other
 * reasons. */
START_TEST(test_auto_delete_cascade)
{
    struct exchange *a = new_auto_delete("a"), *b = new_auto_delete("b"), *c = new_auto_delete("c");
    struct exchange *kept = new_exchange("kept", &exchange_fanout),
                    *other = new_auto_delete("other");
    struct queue *q = new_queue("q"), *r = new_queue("r");

    chain(a, b, "");
    chain(b, c, "");
    chain(kept, c, "");
    chain(other, c, "");
    bind(other, r, "");
    bind(c, q, "");
    queue_delete(q);
    ck_assert_ptr_null(find("a"));
    ck_assert_ptr_null(find("b"));
    ck_assert_ptr_null(find("c"));
    ck_assert_uint_eq(kept->n_bindings, 0);
    ck_assert_uint_eq(other->n_bindings, 1);
}
END_TEST

START_TEST(test_auto_delete_cycle)
{
    struct exchange *a = new_auto_delete("a"), *b = new_auto_delete("b");

    chain(a, b, "");
    chain(b, a, "");
    chain(a, a, "");
    exchange_delete(a);
    ck_assert_ptr_null(find("a"));
    ck_assert_ptr_null(find("b"));
}
END_TEST

/* As long as a client likes to make it: no stack is that deep. */
START_TEST(test_auto_delete_long_chain)
{
    enum { N = 200000 };
    struct exchange *last = new_auto_delete("x");
    struct queue *q = new_queue("q");
    char name[16];

    bind(last, q, "");
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "x%d", i);
        struct exchange *x = new_auto_delete(name);
        struct amqp_error err;
        exchange_bind(x, (struct destination){.exchange = last}, none, none, &err);
        last = x;
    }
    queue_delete(q);
    ck_assert_uint_eq(HASH_COUNT(v->exchanges), 7);
}
END_TEST

/* --- further routing keys in the headers CC and BCC --- */

static struct fake_peer *
client_with_queues(void)
{
    struct fake_peer *p = client_open(&fake);

    declare_queue(p, "a");
    declare_queue(p, "b");
    declare_queue(p, "c");
    return p;
}

static struct amqp_value
array(const char *bytes, size_t n)
{
    return (struct amqp_value){.tag = AMQP_TAG_ARRAY, .s = slice_of(bytes, n)};
}

#define ARRAY(bytes) array((bytes), sizeof(bytes) - 1)

static void
expect_headers(struct fake_peer *p, const char *queue, struct slice headers)
{
    struct fake_content content;

    FAKE_SEND(p, 1, basic, get, .queue = S(queue), .no_ack = true);
    fake_run(&fake);
    ck_assert_slice_eq(expect(p, 1, AMQP_basic_get_ok)->basic_get_ok.routing_key, S("a"));
    ck_assert(fake_read_content(p, 1, &content));
    ck_assert_slice_eq(content.body, S("x"));
    ck_assert_slice_eq(content.props, props_with_headers(headers));
}

START_TEST(test_sender_selected)
{
    struct fake_peer *p = client_with_queues();
    /* "b", an integer that is skipped, "a" once more; and "c" */
    struct amqp_value cc = ARRAY("S\0\0\0\1bI\0\0\0\1S\0\0\0\1a"), bcc = ARRAY("S\0\0\0\1c");

    send_publish(p, 1, "", "a", true, props_with_headers(table_of2("CC", cc, "BCC", bcc)), S("x"));
    fake_run(&fake);
    expect_nothing(p);
    expect_headers(p, "a", table_of("CC", cc));
    expect_headers(p, "b", table_of("CC", cc));
    expect_headers(p, "c", table_of("CC", cc));
    expect_empty(p, 1, "a");
}
END_TEST

/* A message that only CC brings to a queue is not returned; what is returned has no BCC. */
START_TEST(test_sender_selected_mandatory)
{
    struct fake_peer *p = client_with_queues();
    struct slice wrong = table_of2("BCC", ARRAY("S\0\0\0\4nope"), "k", value_int(1));
    struct fake_content content;

    send_publish(p, 1, "", "nope", true, props_with_headers(table_of("CC", ARRAY("S\0\0\0\1b"))),
                 S("x"));
    fake_run(&fake);
    expect_nothing(p);
    send_publish(p, 1, "", "nope", true, props_with_headers(wrong), S("x"));
    fake_run(&fake);
    expect(p, 1, AMQP_basic_return);
    ck_assert(fake_read_content(p, 1, &content));
    ck_assert_slice_eq(content.props, props_with_headers(table_of("k", value_int(1))));
}
END_TEST

START_TEST(test_sender_selected_type)
{
    static const char *const names[] = {"CC", "BCC"};
    struct fake_peer *p = client_with_queues();
    char text[128];

    send_publish(p, 1, "", "a", false, props_with_headers(table_of(names[_i], value_str("b"))),
                 S("x"));
    fake_run(&fake);
    snprintf(text, sizeof text,
             "PRECONDITION_FAILED - invalid message: {unacceptable_type_in_header,\"%s\",longstr}",
             names[_i]);
    expect_channel_close(p, 1, 406, text, AMQP_basic_publish);
    client_reopen(p, 1);
    expect_empty(p, 1, "a");
}
END_TEST

#define COUNT(a) (sizeof(a) / sizeof *(a))

int
main(void)
{
    Suite *suite = suite_create("routing");
    TCase *tc = tcase_create("bindings");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, test_default);
    tcase_add_test(tc, test_direct);
    tcase_add_test(tc, test_fanout);
    tcase_add_test(tc, test_same_binding);
    tcase_add_test(tc, test_many_bindings);
    suite_add_tcase(suite, tc);

    tc = tcase_create("headers");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, test_headers_value, 0, COUNT(values));
    tcase_add_loop_test(tc, test_headers_mode, 0, COUNT(modes));
    tcase_add_test(tc, test_headers_empty);
    tcase_add_test(tc, test_headers_duplicates);
    tcase_add_loop_test(tc, test_headers_bad_match, 0, COUNT(bad_matches));
    suite_add_tcase(suite, tc);

    tc = tcase_create("graph");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, test_e2e);
    tcase_add_test(tc, test_cycles);
    tcase_add_test(tc, test_dense_graph);
    tcase_add_test(tc, test_alternate);
    tcase_add_test(tc, test_alternate_loop);
    tcase_add_test(tc, test_alternate_behind_binding);
    tcase_add_test(tc, test_auto_delete);
    tcase_add_test(tc, test_auto_delete_cascade);
    tcase_add_test(tc, test_auto_delete_cycle);
    tcase_add_test(tc, test_auto_delete_long_chain);
    suite_add_tcase(suite, tc);

    tc = tcase_create("sender-selected");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, test_sender_selected);
    tcase_add_test(tc, test_sender_selected_mandatory);
    tcase_add_loop_test(tc, test_sender_selected_type, 0, 2);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
