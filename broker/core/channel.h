#ifndef CONEY_CORE_CHANNEL_H
#define CONEY_CORE_CHANNEL_H

#include <bsd/sys/queue.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "broker/core/backlog.h"
#include "broker/core/confirms.h"
#include "broker/core/journal.h"
#include "broker/core/consumer.h"
#include "broker/core/message.h"
#include "broker/core/queue.h"
#include "broker/core/tx.h"
#include "broker/core/unacked.h"
#include "protocol/error.h"
#include "protocol/frame.h"
#include "protocol/method.h"

struct connection;
struct exchange;
struct queue;

/* What a channel must receive next. */
enum content_state { CONTENT_NONE, CONTENT_HEADER, CONTENT_BODY };

/* A basic.publish whose content is coming in. */
struct content {
    enum content_state state;
    bool mandatory, immediate;
    uint8_t *address; /* exchange and routing key as shortstrs; allocated by the first publish */
    uint16_t address_len;
    uint16_t prop_flags;
    uint64_t size, got;      /* of the body */
    struct message *message; /* NULL: too large, the body is thrown away */
};

enum channel_mode { CHANNEL_PLAIN, CHANNEL_CONFIRM, CHANNEL_TX };

struct channel {
    struct connection *connection;
    uint16_t number;
    bool closing; /* we sent channel.close: everything is dropped until close-ok */
    enum channel_mode mode;
    uint16_t prefetch;        /* of consumers to come */
    uint16_t global_prefetch; /* of all consumers together; 0: no limit */
    uint32_t n_consumed;      /* unacknowledged deliveries to consumers (not of basic.get) */
    uint64_t last_tag;
    struct content content;
    struct unacked unacked;
    struct consumer *tags;
    struct consumer_list consumers;
    struct confirms confirms;
    struct channel_run_list runs; /* of confirms that wait for the store */
    struct get get;
    struct tx tx;
    bool is_settling;
    TAILQ_ENTRY(channel) settling_link; /* broker->settling */
    uint8_t *last_queue;                /* shortstr: the name of the last queue.declare, or NULL */
};

TAILQ_HEAD(channel_list, channel);

/* Channels are kept in pages of this many numbers. */
#define CHANNEL_PAGE 32
struct channel_page {
    struct channel *channels[CHANNEL_PAGE];
};

/* The channel of this number, NULL when it is not open. */
struct channel *channel_find(const struct connection *c, uint16_t number);

/* Frees it: consumers go, unacknowledged messages are requeued, a transaction is dropped. */
void channel_free(struct channel *ch);

/* A method frame for a channel other than 0. */
void channel_method(struct connection *c, uint16_t number, enum amqp_method_id id,
                    const union amqp_args *args);

/* A content header frame; `payload` is the frame's. */
void channel_header(struct connection *c, uint16_t number, struct slice payload);

/* A body frame of `size` bytes begins; the connection may fail by it. */
void channel_body_begin(struct connection *c, uint16_t number, uint32_t size);

/* Bytes of a body frame; and its end. */
void channel_body(struct channel *ch, const uint8_t *p, size_t n);
void channel_body_end(struct channel *ch);

/* Hands a message to a consumer of this channel. */
void channel_deliver(struct channel *ch, struct consumer *c, struct entry e);

/* Tells the client that its consumer is over (basic.cancel), if it understands that. */
void channel_notify_cancel(struct channel *ch, const struct consumer *c);

/* Sends the confirms that have collected in this tick. */
void channel_tell_confirms(struct channel *ch);

/* --- between the parts of the channel --- */

/* A method's handler: false with `err` set when it fails. */
typedef bool channel_method_fn(struct channel *ch, const union amqp_args *args,
                               struct amqp_error *err);

/* The methods that a client may send on an open channel, beside channel.open, close and close-ok.
 */
#define CHANNEL_HANDLERS(H)                                                                        \
    H(channel, flow)                                                                               \
    H(access, request)                                                                             \
    H(exchange, declare)                                                                           \
    H(exchange, delete)                                                                            \
    H(exchange, bind)                                                                              \
    H(exchange, unbind)                                                                            \
    H(queue, declare)                                                                              \
    H(queue, bind) H(queue, purge) H(queue, delete) H(queue, unbind) H(basic, qos)                 \
        H(basic, consume) H(basic, cancel) H(basic, publish) H(basic, get) H(basic, ack)           \
            H(basic, reject) H(basic, recover_async) H(basic, recover) H(basic, nack)              \
                H(confirm, select) H(tx, select) H(tx, commit) H(tx, rollback)

#define H(c, m) channel_method_fn channel_on_##c##_##m;
CHANNEL_HANDLERS(H)
#undef H

/* Sends a method on this channel. */
void channel_send(struct channel *ch, enum amqp_method_id id, const union amqp_args *args);

/* The error goes to the peer: the channel or the whole connection ends by it. */
void channel_fail(struct channel *ch, const struct amqp_error *err, uint16_t class_id,
                  uint16_t method_id);

/* What was published is complete: route it (channel_publish.c). */
bool channel_publish(struct channel *ch, struct amqp_error *err);

/* Puts a publish into its queues; with no queue at all, returns it if it is mandatory. True when it
 * is to be stored: then it is safe when the journal's next batch is. */
bool channel_enqueue(struct channel *ch, struct message *m, struct queue **queues, size_t n,
                     bool mandatory);

/* Number `seq` of this channel is accepted; the publisher is told at the end of the tick. */
void channel_confirm(struct channel *ch, uint64_t seq);

/* The same for first .. last, or they are refused. */
void channel_settle_confirms(struct channel *ch, uint64_t first, uint64_t last,
                             enum confirm_kind kind);

/* A basic.get that has waited is answered. */
void channel_finish_get(struct get *g);

/* Sends the reply to a method that may have changed what is durable: it leaves when that is on the
 * disk. */
void channel_send_durable(struct channel *ch, bool durable, enum amqp_method_id id,
                          const union amqp_args *args);

/* Whether something durable can be changed; false with `err` set when the store has failed. */
bool channel_check_store(struct channel *ch, bool durable, struct amqp_error *err);

enum settlement { SETTLE_ACK, SETTLE_REQUEUE, SETTLE_DISCARD };

/* Carries out the settlement of deliveries that have left the window; descending order keeps
 * requeues cheap. */
void channel_settle(struct channel *ch, const struct delivery *d, enum settlement how);

/* Lets consumers that waited for credit have another look. */
void channel_wake_consumers(struct channel *ch);

/* Requeues everything unacknowledged. */
void channel_requeue_all(struct channel *ch);

/* The queue that an empty name means: the last one declared here. NULL with `err` set when there is
 * none. */
bool channel_queue_name(const struct channel *ch, struct slice given, struct slice *name_r,
                        struct amqp_error *err);

/* The queue of this name, if there is one and it is not exclusive to another connection. */
struct queue *channel_queue(struct channel *ch, struct slice name, struct amqp_error *err);

/* The exchange of this name, if there is one. */
struct exchange *channel_exchange(struct channel *ch, struct slice name, struct amqp_error *err);

/* The name is not the default exchange's, on which most operations are refused. */
bool channel_not_default(struct slice exchange, struct amqp_error *err);

/* 405 for a queue that is exclusive to another connection, or not as exclusive as the request says.
 */
bool channel_fail_locked(const struct queue *q, struct amqp_error *err);

#endif
