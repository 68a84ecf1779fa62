#ifndef CONEY_TESTS_CLIENT_H
#define CONEY_TESTS_CLIENT_H

#include "protocol/table.h"
#include "tests/unit/check_util.h"
#include "tests/unit/fake_env.h"

/* What tests of the broker's core do as a client, and what they expect to hear. Failures end the
 * test. */

#define S(s) slice_str(s)

/* A new connection with channel 1 open, everything read. */
struct fake_peer *client_open(struct fake *f);

/* Another channel. */
void client_open_channel(struct fake_peer *p, uint16_t channel);

/* The next frame is this method on this channel. Its arguments are valid until more comes in. */
const union amqp_args *expect(struct fake_peer *p, uint16_t channel, enum amqp_method_id id);

/* Nothing more has come. */
void expect_nothing(struct fake_peer *p);

/* Sends a method, and its reply is all that comes. */
#define CALL(p, channel, c, m, ...)                                                                \
    do {                                                                                           \
        FAKE_SEND((p), (channel), c, m, __VA_ARGS__);                                              \
        fake_run((p)->fake);                                                                       \
        expect((p), (channel), AMQP_##c##_##m##_ok);                                               \
        expect_nothing((p));                                                                       \
    } while (0)

/* Sends a method that is answered by nothing. */
#define CAST(p, channel, c, m, ...)                                                                \
    do {                                                                                           \
        FAKE_SEND((p), (channel), c, m, __VA_ARGS__);                                              \
        fake_run((p)->fake);                                                                       \
        expect_nothing((p));                                                                       \
    } while (0)

/* The next frame is channel.close or connection.close with this code and text, which ids point to.
 */
void expect_channel_close(struct fake_peer *p, uint16_t channel, uint16_t code, const char *text,
                          enum amqp_method_id culprit);
void expect_connection_close(struct fake_peer *p, uint16_t code, const char *text,
                             enum amqp_method_id culprit);

/* Closes a channel that the broker has closed, and opens it again. */
void client_reopen(struct fake_peer *p, uint16_t channel);

/* Sends a whole publish; `props` are flags and values. */
void send_publish(struct fake_peer *p, uint16_t channel, const char *exchange, const char *key,
                  bool mandatory, struct slice props, struct slice body);

/* The same without properties, not mandatory; and lets the broker run. */
void publish(struct fake_peer *p, uint16_t channel, const char *exchange, const char *key,
             const char *body);

/* The same, persistent. */
void publish_persistent(struct fake_peer *p, uint16_t channel, const char *exchange, const char *key,
                        const char *body);

/* Properties with a delivery mode of 2, and no others. */
extern const struct slice persistent;

/* The next frames are basic.deliver with this; returns the delivery tag. */
uint64_t expect_deliver(struct fake_peer *p, uint16_t channel, const char *consumer_tag,
                        bool redelivered, const char *body);

/* basic.get, and its answer; returns the delivery tag. */
uint64_t expect_get(struct fake_peer *p, uint16_t channel, const char *queue, bool no_ack,
                    bool redelivered, uint32_t left, const char *body);

/* basic.get finds nothing. */
void expect_empty(struct fake_peer *p, uint16_t channel, const char *queue);

void declare_queue(struct fake_peer *p, const char *queue);
void declare_durable(struct fake_peer *p, const char *queue);
void declare_exchange(struct fake_peer *p, const char *exchange, const char *type);
void consume(struct fake_peer *p, uint16_t channel, const char *queue, const char *tag,
             bool no_ack);

/* Everything that the default vhost's queues say of their messages agrees with what is there. */
void check_queues(struct fake *f);

/* Nothing of the queue's messages is counted or kept any more. */
void check_drained(struct fake *f, const char *queue);

/* Rows in the store, by what they are. */
struct stored {
    unsigned definitions, states, chunks, messages, dead, shared;
};

struct stored count_stored(struct fake *f);

/* A table of one pair, or two; in memory of its own that the next 16 calls leave alone. */
struct slice table_of(const char *key, struct amqp_value value);
struct slice table_of2(const char *key, struct amqp_value value, const char *key2,
                       struct amqp_value value2);

static inline struct amqp_value
value_int(int64_t i)
{
    return (struct amqp_value){.tag = AMQP_TAG_INT32, .i = i};
}

static inline struct amqp_value
value_str(const char *s)
{
    return (struct amqp_value){.tag = AMQP_TAG_LONGSTR, .s = slice_str(s)};
}

/* Properties with only a headers table. */
struct slice props_with_headers(struct slice headers);

#endif
