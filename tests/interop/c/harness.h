#ifndef INTEROP_HARNESS_H
#define INTEROP_HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <amqp.h>

/* Everything below fails the test, and so ends its process, when the client reports an error. */

/* The channel that t_connect opens. */
#define CH 1

struct t_case {
    const char *name;
    void (*run)(void);
};

/* A received message as text: of a delivery, of basic.get or of basic.return. */
struct t_message {
    uint64_t tag;
    bool redelivered;
    char exchange[256];
    char key[256];
    char reply_to[256];
    char correlation_id[256];
    amqp_message_t content; /* owned by the message, given back by t_message_free */
};

/* Runs each test in a child process with a time limit and prints its result. */
void t_run_all(const struct t_case *cases, size_t n_cases);

_Noreturn void t_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
void t_check(bool holds, const char *what);
void t_equal_int(const char *what, long long got, long long want);
void t_equal(const char *what, const char *got, const char *want);

/* A name that is unique to this run and test. The string lives as long as the test. */
const char *t_name(const char *suffix);

amqp_connection_state_t t_connect(void);
/* Like t_connect, but without a check, and up to the login only. */
amqp_rpc_reply_t t_login(const char *password, amqp_connection_state_t *conn_r);
void t_close(amqp_connection_state_t conn);

/* Fails unless the last synchronous method went well. */
void t_reply(amqp_connection_state_t conn, const char *method);
/* Expects that the broker closed the channel with the code, and confirms the closing. */
void t_refused(amqp_connection_state_t conn, amqp_channel_t channel, int code);

/* A queue that is shared between connections and deleted after the test. */
const char *t_queue(amqp_connection_state_t conn, const char *suffix);
/* A server-named exclusive queue. */
const char *t_private_queue(amqp_connection_state_t conn);
const char *t_exchange(amqp_connection_state_t conn, const char *suffix, const char *type);
void t_bind(amqp_connection_state_t conn, const char *queue, const char *exchange, const char *key);
void t_expect_count(amqp_connection_state_t conn, const char *queue, unsigned count);

void t_publish(amqp_connection_state_t conn, const char *exchange, const char *key,
               const char *body);
void t_confirm_select(amqp_connection_state_t conn);
/* Waits until the broker has acked the publish of this number, counted from 1 on the channel. */
void t_wait_confirm(amqp_connection_state_t conn, uint64_t number);
/* Waits for a method that the broker sends on its own account, and returns its arguments. */
void *t_wait_method(amqp_connection_state_t conn, amqp_method_number_t method);

void t_consume(amqp_connection_state_t conn, const char *queue, bool no_ack);
struct t_message t_receive(amqp_connection_state_t conn);
bool t_nothing_delivered(amqp_connection_state_t conn, const char *queue);
struct t_message t_get(amqp_connection_state_t conn, const char *queue);
void t_ack(amqp_connection_state_t conn, struct t_message message);
void t_equal_body(struct t_message message, const char *body);
/* Receives messages with these bodies, in this order, up to a NULL. */
void t_expect_bodies(amqp_connection_state_t conn, const char *const *bodies);
void t_message_free(struct t_message *message);

#endif
