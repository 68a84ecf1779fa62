/* Tests of an AMQP 0-9-1 broker with the C client, rabbitmq-c. Failed tests say so in their line
 * of output, whatever the exit status. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "harness.h"

#define BODIES(...) ((const char *const[]){__VA_ARGS__, NULL})

static void
hello_world(void)
{
    amqp_connection_state_t sender = t_connect();
    amqp_connection_state_t receiver = t_connect();
    const char *queue = t_queue(sender, "q");
    struct t_message message;

    t_publish(sender, "", queue, "Hello World!");
    t_consume(receiver, queue, true);
    message = t_receive(receiver);
    t_equal_body(message, "Hello World!");
    t_equal("exchange", message.exchange, "");
    t_equal("routing key", message.key, queue);
    t_check(!message.redelivered, "a first delivery is not a redelivery");
    t_message_free(&message);
    t_close(receiver);
    t_close(sender);
}

static amqp_connection_state_t
start_worker(const char *queue)
{
    amqp_connection_state_t conn = t_connect();

    amqp_basic_qos(conn, CH, 0, 1, 0);
    t_reply(conn, "basic.qos");
    t_consume(conn, queue, false);
    return conn;
}

/* With a prefetch of one, a worker that is busy with its first task gets no second one, and the
 * other worker does all the rest. */
static void
work_queue(void)
{
    enum { TASKS = 10 };
    amqp_connection_state_t conn = t_connect();
    const char *queue = t_queue(conn, "tasks");
    amqp_connection_state_t busy = start_worker(queue);
    amqp_connection_state_t quick = start_worker(queue);
    struct t_message held;
    unsigned done = 0;

    for (int i = 0; i < TASKS; i++) {
        const char task[] = {(char)('0' + i), '\0'};

        t_publish(conn, "", queue, task);
    }
    held = t_receive(busy);
    done |= 1U << (*(const char *)held.content.body.bytes - '0');
    for (int i = 1; i < TASKS; i++) {
        struct t_message message = t_receive(quick);

        done |= 1U << (*(const char *)message.content.body.bytes - '0');
        t_ack(quick, message);
        t_message_free(&message);
    }
    t_equal_int("tasks done, as bits", done, (1U << TASKS) - 1);
    t_check(t_nothing_delivered(busy, queue), "the busy worker has no second task");
    t_ack(busy, held);
    t_message_free(&held);
    t_close(quick);
    t_close(busy);
    t_close(conn);
}

static void
publish_subscribe(void)
{
    enum { SUBSCRIBERS = 3 };
    amqp_connection_state_t conn = t_connect();
    amqp_connection_state_t subscribers[SUBSCRIBERS];
    const char *exchange = t_exchange(conn, "logs", "fanout");

    for (int i = 0; i < SUBSCRIBERS; i++) {
        const char *queue;

        subscribers[i] = t_connect();
        queue = t_private_queue(subscribers[i]);
        t_bind(subscribers[i], queue, exchange, "");
        t_consume(subscribers[i], queue, true);
    }
    t_publish(conn, exchange, "ignored", "first");
    t_publish(conn, exchange, "", "second");
    for (int i = 0; i < SUBSCRIBERS; i++) {
        t_expect_bodies(subscribers[i], BODIES("first", "second"));
        t_close(subscribers[i]);
    }
    t_close(conn);
}

/* Publishes a message to each of the keys, up to a NULL, with the key as its body. */
static void
publish_keys(amqp_connection_state_t conn, const char *exchange, const char *const *keys)
{
    uint64_t number = 0;

    t_confirm_select(conn);
    for (; *keys != NULL; keys++) {
        t_publish(conn, exchange, *keys, *keys);
        t_wait_confirm(conn, ++number);
    }
}

/* Checks with basic.get, since a consumer would mix into what the channel receives later. */
static void
expect_queued(amqp_connection_state_t conn, const char *queue, const char *const *bodies)
{
    unsigned count = 0;

    while (bodies[count] != NULL)
        count++;
    t_expect_count(conn, queue, count);
    for (; *bodies != NULL; bodies++) {
        struct t_message message = t_get(conn, queue);

        t_equal_body(message, *bodies);
        t_message_free(&message);
    }
}

static void
routing(void)
{
    amqp_connection_state_t conn = t_connect();
    const char *exchange = t_exchange(conn, "direct_logs", "direct");
    const char *errors = t_private_queue(conn);
    const char *all = t_private_queue(conn);

    t_bind(conn, errors, exchange, "error");
    t_bind(conn, all, exchange, "info");
    t_bind(conn, all, exchange, "warning");
    t_bind(conn, all, exchange, "error");
    publish_keys(conn, exchange, BODIES("info", "error", "debug", "warning"));
    expect_queued(conn, errors, BODIES("error"));
    expect_queued(conn, all, BODIES("info", "error", "warning"));
    t_close(conn);
}

static void
topics(void)
{
    const char *const keys[] = {"kern.critical", "kern", "kern.disk.warning",
                                "cron.critical", "",     NULL};
    const struct {
        const char *pattern;
        const char *const *bodies;
    } expected[] = {
        {"#", keys},
        {"kern.*", BODIES("kern.critical")},
        {"kern.#", BODIES("kern.critical", "kern", "kern.disk.warning")},
        {"*.critical", BODIES("kern.critical", "cron.critical")},
        {"#.warning", BODIES("kern.disk.warning")},
        {"kern.critical", BODIES("kern.critical")},
    };
    enum { PATTERNS = sizeof(expected) / sizeof(expected[0]) };
    amqp_connection_state_t conn = t_connect();
    const char *exchange = t_exchange(conn, "topic_logs", "topic");
    const char *queues[PATTERNS];

    for (int i = 0; i < PATTERNS; i++) {
        queues[i] = t_private_queue(conn);
        t_bind(conn, queues[i], exchange, expected[i].pattern);
    }
    publish_keys(conn, exchange, keys);
    for (int i = 0; i < PATTERNS; i++)
        expect_queued(conn, queues[i], expected[i].bodies);
    t_close(conn);
}

static void
publish_call(amqp_connection_state_t conn, const char *key, const char *reply_to,
             const char *correlation_id, const char *body)
{
    amqp_basic_properties_t properties = {
        ._flags = AMQP_BASIC_REPLY_TO_FLAG | AMQP_BASIC_CORRELATION_ID_FLAG,
        .reply_to = amqp_cstring_bytes(reply_to),
        .correlation_id = amqp_cstring_bytes(correlation_id),
    };
    int status = amqp_basic_publish(conn, CH, amqp_empty_bytes, amqp_cstring_bytes(key), 0, 0,
                                    &properties, amqp_cstring_bytes(body));

    t_equal_int("status of basic.publish", status, AMQP_STATUS_OK);
}

/* The server answers each request with the request's own body, doubled. */
static void
serve_one(amqp_connection_state_t server)
{
    struct t_message request = t_receive(server);
    int length = (int)request.content.body.len;
    char reply[64];

    snprintf(reply, sizeof(reply), "%.*s%.*s", length, (const char *)request.content.body.bytes,
             length, (const char *)request.content.body.bytes);
    publish_call(server, request.reply_to, "", request.correlation_id, reply);
    t_ack(server, request);
    t_message_free(&request);
}

static void
rpc(void)
{
    amqp_connection_state_t client = t_connect();
    amqp_connection_state_t declarer = t_connect();
    const char *requests = t_queue(declarer, "rpc");
    amqp_connection_state_t server = start_worker(requests);
    const char *replies = t_private_queue(client);

    t_consume(client, replies, true);
    for (int i = 0; i < 20; i++) {
        char id[16], body[16], doubled[64];
        struct t_message reply;

        snprintf(id, sizeof(id), "call-%d", i);
        snprintf(body, sizeof(body), "<%d>", i);
        snprintf(doubled, sizeof(doubled), "%s%s", body, body);
        publish_call(client, requests, replies, id, body);
        serve_one(server);
        reply = t_receive(client);
        t_equal("correlation id", reply.correlation_id, id);
        t_equal_body(reply, doubled);
        t_message_free(&reply);
    }
    t_close(server);
    t_close(declarer);
    t_close(client);
}

static void
publisher_confirms(void)
{
    enum { MESSAGES = 500 };
    amqp_connection_state_t conn = t_connect();
    const char *queue = t_queue(conn, "q");

    t_confirm_select(conn);
    for (int i = 0; i < MESSAGES; i++)
        t_publish(conn, "", queue, "to be confirmed");
    t_wait_confirm(conn, MESSAGES);
    t_expect_count(conn, queue, MESSAGES);
    t_close(conn);
}

/* An unroutable message is returned, and then acked. */
static void
mandatory_return(void)
{
    amqp_connection_state_t conn = t_connect();
    const char *key = t_name("nowhere");
    const amqp_basic_return_t *returned;
    struct t_message message = {0};
    amqp_rpc_reply_t reply;
    int status;

    t_confirm_select(conn);
    status = amqp_basic_publish(conn, CH, amqp_cstring_bytes("amq.direct"), amqp_cstring_bytes(key),
                                1, 0, NULL, amqp_cstring_bytes("come back"));
    t_equal_int("status of basic.publish", status, AMQP_STATUS_OK);

    returned = t_wait_method(conn, AMQP_BASIC_RETURN_METHOD);
    t_equal_int("reply code", returned->reply_code, AMQP_NO_ROUTE);
    t_check(returned->reply_text.len == strlen("NO_ROUTE") &&
                memcmp(returned->reply_text.bytes, "NO_ROUTE", strlen("NO_ROUTE")) == 0,
            "the reply text is NO_ROUTE");
    t_check(returned->routing_key.len == strlen(key) &&
                memcmp(returned->routing_key.bytes, key, strlen(key)) == 0,
            "the routing key is that of the publish");
    reply = amqp_read_message(conn, CH, &message.content, 0);
    t_equal_int("response type", reply.reply_type, AMQP_RESPONSE_NORMAL);
    t_equal_body(message, "come back");
    t_message_free(&message);
    t_wait_confirm(conn, 1);
    t_close(conn);
}

static void
cancel_notification(void)
{
    amqp_connection_state_t conn = t_connect();
    amqp_connection_state_t other = t_connect();
    const char *queue = t_queue(conn, "q");

    t_consume(conn, queue, false);
    amqp_queue_delete(other, CH, amqp_cstring_bytes(queue), 0, 0);
    t_reply(other, "queue.delete");
    t_wait_method(conn, AMQP_BASIC_CANCEL_METHOD);
    t_private_queue(conn); /* the channel stays usable */
    t_close(other);
    t_close(conn);
}

static void
missing_queue(void)
{
    amqp_connection_state_t conn = t_connect();

    amqp_queue_declare(conn, CH, amqp_cstring_bytes(t_name("missing")), 1, 0, 0, 0,
                       amqp_empty_table);
    t_refused(conn, CH, AMQP_NOT_FOUND);
    amqp_channel_open(conn, CH);
    t_reply(conn, "channel.open of the same number");
    t_private_queue(conn);
    t_close(conn);
}

static void
inequivalent_redeclare(void)
{
    amqp_connection_state_t conn = t_connect();
    const char *queue = t_queue(conn, "q");
    struct t_message message;

    amqp_channel_open(conn, CH + 1);
    t_reply(conn, "channel.open");
    amqp_queue_declare(conn, CH + 1, amqp_cstring_bytes(queue), 0, 0, 0, 0, amqp_empty_table);
    t_refused(conn, CH + 1, AMQP_PRECONDITION_FAILED);

    t_publish(conn, "", queue, "the other channel lives");
    message = t_get(conn, queue);
    t_equal_body(message, "the other channel lives");
    t_message_free(&message);
    t_close(conn);
}

static void
wrong_password(void)
{
    amqp_connection_state_t conn;
    amqp_rpc_reply_t reply = t_login("not the password", &conn);
    const amqp_connection_close_t *close = reply.reply.decoded;

    t_equal_int("response type", reply.reply_type, AMQP_RESPONSE_SERVER_EXCEPTION);
    t_equal_int("method", reply.reply.id, AMQP_CONNECTION_CLOSE_METHOD);
    t_equal_int("reply code", close->reply_code, AMQP_ACCESS_REFUSED);
    amqp_destroy_connection(conn);
}

/* Publishes a message and takes it without an ack, on a connection that the caller breaks. */
static amqp_connection_state_t
hold_message(const char **queue_r)
{
    amqp_connection_state_t conn = t_connect();
    struct t_message message;

    *queue_r = t_queue(conn, "q");
    t_publish(conn, "", *queue_r, "survives");
    t_consume(conn, *queue_r, false);
    message = t_receive(conn);
    t_check(!message.redelivered, "a first delivery is not a redelivery");
    t_message_free(&message);
    return conn;
}

static void
expect_redelivery(const char *queue)
{
    amqp_connection_state_t conn = t_connect();
    struct t_message message;

    t_consume(conn, queue, false);
    message = t_receive(conn);
    t_equal_body(message, "survives");
    t_check(message.redelivered, "the unacked message is redelivered");
    t_ack(conn, message);
    t_message_free(&message);
    t_close(conn);
}

static void
connection_loss(void)
{
    const struct timeval limit = {.tv_sec = 10};
    const char *queue;
    amqp_connection_state_t conn = hold_message(&queue);
    amqp_envelope_t envelope;
    amqp_rpc_reply_t reply;

    t_equal_int("shutdown", shutdown(amqp_get_sockfd(conn), SHUT_RDWR), 0);
    reply = amqp_consume_message(conn, &envelope, &limit, 0);
    t_equal_int("response type", reply.reply_type, AMQP_RESPONSE_LIBRARY_EXCEPTION);
    /* The end of the stream, or the broker's reset, as RabbitMQ has it, if that is here already. */
    t_check(reply.library_error == AMQP_STATUS_CONNECTION_CLOSED ||
                reply.library_error == AMQP_STATUS_SOCKET_ERROR,
            "the library says that the connection is lost");
    amqp_destroy_connection(conn);
    expect_redelivery(queue);
}

/* As when a process dies with data unread: the socket is reset. */
static void
connection_reset(void)
{
    const struct linger no_linger = {.l_onoff = 1};
    const char *queue;
    amqp_connection_state_t conn = hold_message(&queue);

    t_equal_int(
        "setsockopt",
        setsockopt(amqp_get_sockfd(conn), SOL_SOCKET, SO_LINGER, &no_linger, sizeof(no_linger)), 0);
    amqp_destroy_connection(conn);
    expect_redelivery(queue);
}

static void
big_body(void)
{
    enum { SIZE = 10 << 20 };
    amqp_connection_state_t sender = t_connect();
    amqp_connection_state_t receiver = t_connect();
    const char *queue = t_queue(sender, "q");
    unsigned char *body = malloc(SIZE);
    struct t_message message;
    int status;

    t_check(body != NULL, "there is memory");
    for (size_t i = 0; i < SIZE; i++)
        body[i] = (unsigned char)random();
    status = amqp_basic_publish(sender, CH, amqp_empty_bytes, amqp_cstring_bytes(queue), 0, 0, NULL,
                                (amqp_bytes_t){.len = SIZE, .bytes = body});
    t_equal_int("status of basic.publish", status, AMQP_STATUS_OK);
    t_consume(receiver, queue, true);
    message = t_receive(receiver);
    t_equal_int("body size", (long long)message.content.body.len, SIZE);
    t_check(memcmp(message.content.body.bytes, body, SIZE) == 0, "the body is unchanged");
    t_message_free(&message);
    free(body);
    t_close(receiver);
    t_close(sender);
}

int
main(void)
{
    static const struct t_case cases[] = {
        {"hello_world", hello_world},
        {"work_queue", work_queue},
        {"publish_subscribe", publish_subscribe},
        {"routing", routing},
        {"topics", topics},
        {"rpc", rpc},
        {"publisher_confirms", publisher_confirms},
        {"mandatory_return", mandatory_return},
        {"cancel_notification", cancel_notification},
        {"missing_queue", missing_queue},
        {"inequivalent_redeclare", inequivalent_redeclare},
        {"wrong_password", wrong_password},
        {"connection_loss", connection_loss},
        {"connection_reset", connection_reset},
        {"big_body", big_body},
    };

    t_run_all(cases, sizeof(cases) / sizeof(cases[0]));
    return 0;
}
