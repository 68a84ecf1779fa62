#include "harness.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <amqp_tcp_socket.h>

#define WAIT_SECONDS 10 /* for any single event */
#define TEST_SECONDS 30 /* for a whole test */
#define NAME_MAX_LEN 128
#define MAX_DECLARED 16

/* What a test's processes leave to the parent: the first failure, and what is to be deleted. */
struct report {
    char failure[1024];
    unsigned n_declared;
    struct {
        bool is_exchange;
        char name[NAME_MAX_LEN];
    } declared[MAX_DECLARED];
};

static struct report *report;
static const char *test_name;
static pid_t run_id;

void
t_fail(const char *format, ...)
{
    va_list args;

    if (report->failure[0] == '\0') {
        va_start(args, format);
        vsnprintf(report->failure, sizeof(report->failure), format, args);
        va_end(args);
    }
    exit(EXIT_FAILURE);
}

void
t_check(bool holds, const char *what)
{
    if (!holds)
        t_fail("not so: %s", what);
}

void
t_equal_int(const char *what, long long got, long long want)
{
    if (got != want)
        t_fail("%s is %lld, expected %lld", what, got, want);
}

void
t_equal(const char *what, const char *got, const char *want)
{
    if (strcmp(got, want) != 0)
        t_fail("%s is '%s', expected '%s'", what, got, want);
}

static char *
copy_text(amqp_bytes_t bytes)
{
    char *text = calloc(1, bytes.len + 1);

    t_check(text != NULL, "there is memory");
    if (bytes.len > 0)
        memcpy(text, bytes.bytes, bytes.len);
    return text;
}

static const char *
setting(const char *key, const char *fallback)
{
    const char *value = getenv(key);

    return value != NULL && *value != '\0' ? value : fallback;
}

const char *
t_name(const char *suffix)
{
    char name[NAME_MAX_LEN];

    snprintf(name, sizeof(name), "interop-c-%ld.%s.%s", (long)run_id, test_name, suffix);
    return copy_text(amqp_cstring_bytes(name));
}

static const char *
declared_name(const char *suffix, bool is_exchange)
{
    const char *name = t_name(suffix);

    t_check(report->n_declared < MAX_DECLARED, "there is room to remember one more name");
    report->declared[report->n_declared].is_exchange = is_exchange;
    strcpy(report->declared[report->n_declared].name, name);
    report->n_declared++;
    return name;
}

static void
fail_reply(const char *method, amqp_rpc_reply_t reply)
{
    if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION)
        t_fail("%s: %s", method, amqp_error_string2(reply.library_error));
    if (reply.reply.id == AMQP_CHANNEL_CLOSE_METHOD) {
        const amqp_channel_close_t *close = reply.reply.decoded;

        t_fail("%s: channel error %d", method, close->reply_code);
    }
    if (reply.reply.id == AMQP_CONNECTION_CLOSE_METHOD) {
        const amqp_connection_close_t *close = reply.reply.decoded;

        t_fail("%s: connection error %d", method, close->reply_code);
    }
    t_fail("%s: response type %d", method, (int)reply.reply_type);
}

void
t_reply(amqp_connection_state_t conn, const char *method)
{
    amqp_rpc_reply_t reply = amqp_get_rpc_reply(conn);

    if (reply.reply_type != AMQP_RESPONSE_NORMAL)
        fail_reply(method, reply);
}

static void
check_status(int status, const char *what)
{
    if (status != AMQP_STATUS_OK)
        t_fail("%s: %s", what, amqp_error_string2(status));
}

amqp_rpc_reply_t
t_login(const char *password, amqp_connection_state_t *conn_r)
{
    const struct timeval limit = {.tv_sec = WAIT_SECONDS};
    /* The broker tells of a cancelled consumer only those clients that ask for it. */
    amqp_table_entry_t capability = {
        .key = amqp_cstring_bytes("consumer_cancel_notify"),
        .value = {.kind = AMQP_FIELD_KIND_BOOLEAN, .value.boolean = 1},
    };
    amqp_table_entry_t capabilities = {
        .key = amqp_cstring_bytes("capabilities"),
        .value = {.kind = AMQP_FIELD_KIND_TABLE,
                  .value.table = {.num_entries = 1, .entries = &capability}},
    };
    const amqp_table_t properties = {.num_entries = 1, .entries = &capabilities};
    amqp_connection_state_t conn = amqp_new_connection();
    amqp_socket_t *socket = amqp_tcp_socket_new(conn);

    t_check(socket != NULL, "there is memory");
    check_status(amqp_socket_open_noblock(socket, setting("CONEY_HOST", "127.0.0.1"),
                                          atoi(setting("CONEY_PORT", "5672")), &limit),
                 "connect");
    check_status(amqp_set_rpc_timeout(conn, &limit), "set the timeout");
    *conn_r = conn;
    return amqp_login_with_properties(conn, setting("CONEY_VHOST", "/"), 0, 131072, 0, &properties,
                                      AMQP_SASL_METHOD_PLAIN, setting("CONEY_USER", "guest"),
                                      password);
}

amqp_connection_state_t
t_connect(void)
{
    amqp_connection_state_t conn;
    amqp_rpc_reply_t reply = t_login(setting("CONEY_PASS", "guest"), &conn);

    if (reply.reply_type != AMQP_RESPONSE_NORMAL)
        fail_reply("login", reply);
    amqp_channel_open(conn, CH);
    t_reply(conn, "channel.open");
    return conn;
}

void
t_close(amqp_connection_state_t conn)
{
    amqp_rpc_reply_t reply = amqp_connection_close(conn, AMQP_REPLY_SUCCESS);

    if (reply.reply_type != AMQP_RESPONSE_NORMAL)
        fail_reply("connection.close", reply);
    check_status(amqp_destroy_connection(conn), "destroy the connection");
}

void
t_refused(amqp_connection_state_t conn, amqp_channel_t channel, int code)
{
    amqp_rpc_reply_t reply = amqp_get_rpc_reply(conn);
    amqp_channel_close_ok_t close_ok = {0};
    const amqp_channel_close_t *close = reply.reply.decoded;

    if (reply.reply_type != AMQP_RESPONSE_SERVER_EXCEPTION)
        t_fail("the method was accepted, expected error %d", code);
    t_check(reply.reply.id == AMQP_CHANNEL_CLOSE_METHOD, "the error is one of the channel");
    t_equal_int("reply code", close->reply_code, code);
    check_status(amqp_send_method(conn, channel, AMQP_CHANNEL_CLOSE_OK_METHOD, &close_ok),
                 "channel.close-ok");
}

const char *
t_queue(amqp_connection_state_t conn, const char *suffix)
{
    const char *name = declared_name(suffix, false);

    amqp_queue_declare(conn, CH, amqp_cstring_bytes(name), 0, 1, 0, 0, amqp_empty_table);
    t_reply(conn, "queue.declare");
    return name;
}

const char *
t_private_queue(amqp_connection_state_t conn)
{
    const amqp_queue_declare_ok_t *ok =
        amqp_queue_declare(conn, CH, amqp_empty_bytes, 0, 0, 1, 0, amqp_empty_table);

    t_reply(conn, "queue.declare");
    return copy_text(ok->queue);
}

const char *
t_exchange(amqp_connection_state_t conn, const char *suffix, const char *type)
{
    const char *name = declared_name(suffix, true);

    amqp_exchange_declare(conn, CH, amqp_cstring_bytes(name), amqp_cstring_bytes(type), 0, 0, 0, 0,
                          amqp_empty_table);
    t_reply(conn, "exchange.declare");
    return name;
}

void
t_bind(amqp_connection_state_t conn, const char *queue, const char *exchange, const char *key)
{
    amqp_queue_bind(conn, CH, amqp_cstring_bytes(queue), amqp_cstring_bytes(exchange),
                    amqp_cstring_bytes(key), amqp_empty_table);
    t_reply(conn, "queue.bind");
}

void
t_expect_count(amqp_connection_state_t conn, const char *queue, unsigned count)
{
    const amqp_queue_declare_ok_t *ok =
        amqp_queue_declare(conn, CH, amqp_cstring_bytes(queue), 1, 0, 0, 0, amqp_empty_table);

    t_reply(conn, "queue.declare");
    t_equal_int("message count", ok->message_count, count);
}

void
t_publish(amqp_connection_state_t conn, const char *exchange, const char *key, const char *body)
{
    check_status(amqp_basic_publish(conn, CH, amqp_cstring_bytes(exchange), amqp_cstring_bytes(key),
                                    0, 0, NULL, amqp_cstring_bytes(body)),
                 "basic.publish");
}

void
t_confirm_select(amqp_connection_state_t conn)
{
    amqp_confirm_select(conn, CH);
    t_reply(conn, "confirm.select");
}

void *
t_wait_method(amqp_connection_state_t conn, amqp_method_number_t method)
{
    const struct timeval limit = {.tv_sec = WAIT_SECONDS};
    amqp_frame_t frame;

    check_status(amqp_simple_wait_frame_noblock(conn, &frame, &limit), "wait for a method");
    t_equal_int("frame type", frame.frame_type, AMQP_FRAME_METHOD);
    t_equal_int("method", frame.payload.method.id, method);
    return frame.payload.method.decoded;
}

void
t_wait_confirm(amqp_connection_state_t conn, uint64_t number)
{
    uint64_t acked = 0;

    while (acked < number) {
        const amqp_basic_ack_t *ack = t_wait_method(conn, AMQP_BASIC_ACK_METHOD);

        acked = ack->delivery_tag;
    }
    t_equal_int("last acked tag", (long long)acked, (long long)number);
}

void
t_consume(amqp_connection_state_t conn, const char *queue, bool no_ack)
{
    amqp_basic_consume(conn, CH, amqp_cstring_bytes(queue), amqp_empty_bytes, 0, no_ack, 0,
                       amqp_empty_table);
    t_reply(conn, "basic.consume");
}

static void
copy_field(char to[256], amqp_bytes_t from)
{
    t_check(from.len < 256, "a short string is short");
    if (from.len > 0)
        memcpy(to, from.bytes, from.len);
    to[from.len] = '\0';
}

static void
copy_properties(struct t_message *message)
{
    const amqp_basic_properties_t *properties = &message->content.properties;

    if (properties->_flags & AMQP_BASIC_REPLY_TO_FLAG)
        copy_field(message->reply_to, properties->reply_to);
    if (properties->_flags & AMQP_BASIC_CORRELATION_ID_FLAG)
        copy_field(message->correlation_id, properties->correlation_id);
}

struct t_message
t_receive(amqp_connection_state_t conn)
{
    const struct timeval limit = {.tv_sec = WAIT_SECONDS};
    struct t_message message = {0};
    amqp_envelope_t envelope;
    amqp_rpc_reply_t reply;

    amqp_maybe_release_buffers(conn);
    reply = amqp_consume_message(conn, &envelope, &limit, 0);
    if (reply.reply_type != AMQP_RESPONSE_NORMAL)
        fail_reply("basic.deliver", reply);
    message.tag = envelope.delivery_tag;
    message.redelivered = envelope.redelivered;
    copy_field(message.exchange, envelope.exchange);
    copy_field(message.key, envelope.routing_key);
    message.content = envelope.message;
    copy_properties(&message);

    /* The content is the message's now; the rest of the envelope goes. */
    amqp_bytes_free(envelope.routing_key);
    amqp_bytes_free(envelope.exchange);
    amqp_bytes_free(envelope.consumer_tag);
    return message;
}

/* The reply to a method comes after all that the broker had sent before, so that a delivery must
 * be here already if there is one. */
bool
t_nothing_delivered(amqp_connection_state_t conn, const char *queue)
{
    const struct timeval no_time = {0};
    amqp_envelope_t envelope;
    amqp_rpc_reply_t reply;

    amqp_queue_declare(conn, CH, amqp_cstring_bytes(queue), 1, 0, 0, 0, amqp_empty_table);
    t_reply(conn, "queue.declare");
    reply = amqp_consume_message(conn, &envelope, &no_time, 0);
    return reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION &&
           reply.library_error == AMQP_STATUS_TIMEOUT;
}

struct t_message
t_get(amqp_connection_state_t conn, const char *queue)
{
    struct t_message message = {0};
    amqp_rpc_reply_t reply = amqp_basic_get(conn, CH, amqp_cstring_bytes(queue), 0);
    const amqp_basic_get_ok_t *ok = reply.reply.decoded;

    if (reply.reply_type != AMQP_RESPONSE_NORMAL)
        fail_reply("basic.get", reply);
    t_check(reply.reply.id == AMQP_BASIC_GET_OK_METHOD, "the queue has a message");
    message.tag = ok->delivery_tag;
    message.redelivered = ok->redelivered;
    copy_field(message.exchange, ok->exchange);
    copy_field(message.key, ok->routing_key);
    reply = amqp_read_message(conn, CH, &message.content, 0);
    if (reply.reply_type != AMQP_RESPONSE_NORMAL)
        fail_reply("content of basic.get-ok", reply);
    copy_properties(&message);
    return message;
}

void
t_ack(amqp_connection_state_t conn, struct t_message message)
{
    check_status(amqp_basic_ack(conn, CH, message.tag, 0), "basic.ack");
}

void
t_equal_body(struct t_message message, const char *body)
{
    char *text = copy_text(message.content.body);

    t_equal("body", text, body);
    free(text);
}

void
t_expect_bodies(amqp_connection_state_t conn, const char *const *bodies)
{
    for (; *bodies != NULL; bodies++) {
        struct t_message message = t_receive(conn);

        t_equal_body(message, *bodies);
        t_message_free(&message);
    }
}

void
t_message_free(struct t_message *message)
{
    amqp_destroy_message(&message->content);
}

/* Through a fresh connection, since the test may have lost its own. */
static void
delete_declared(void)
{
    amqp_connection_state_t conn = t_connect();

    for (unsigned i = 0; i < report->n_declared; i++) {
        amqp_bytes_t name = amqp_cstring_bytes(report->declared[i].name);

        if (report->declared[i].is_exchange)
            amqp_exchange_delete(conn, CH, name, 0);
        else
            amqp_queue_delete(conn, CH, name, 0, 0);
        t_reply(conn, "delete");
    }
    t_close(conn);
}

/* Runs the function in a child. However that ends, a failure is in the report. */
static void
run_child(void (*function)(void))
{
    int status;
    pid_t child;

    fflush(stdout);
    child = fork();
    if (child == 0) {
        alarm(TEST_SECONDS);
        function();
        exit(EXIT_SUCCESS);
    }
    if (child == -1 || waitpid(child, &status, 0) != child) {
        perror("fork");
        exit(EXIT_FAILURE);
    }
    if (WIFSIGNALED(status) && report->failure[0] == '\0')
        snprintf(report->failure, sizeof(report->failure), "ended by signal %d (%s)",
                 WTERMSIG(status), strsignal(WTERMSIG(status)));
}

void
t_run_all(const struct t_case *cases, size_t n_cases)
{
    run_id = getpid();
    report = mmap(NULL, sizeof(*report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (report == MAP_FAILED) {
        perror("mmap");
        exit(EXIT_FAILURE);
    }
    for (size_t i = 0; i < n_cases; i++) {
        test_name = cases[i].name;
        memset(report, 0, sizeof(*report));
        run_child(cases[i].run);
        run_child(delete_declared);
        if (report->failure[0] == '\0')
            printf("ok %s\n", test_name);
        else
            printf("not ok %s: %s\n", test_name, report->failure);
    }
}
