#ifndef CONEY_CORE_CONNECTION_H
#define CONEY_CORE_CONNECTION_H

#include <bsd/sys/queue.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "broker/core/channel.h"
#include "broker/core/journal.h"
#include "broker/core/outq.h"
#include "broker/core/queue.h"
#include "broker/core/timers.h"
#include "protocol/error.h"
#include "protocol/method.h"

struct broker;
struct vhost;

enum connection_state {
    CONNECTION_HEADER, /* the peer's protocol header is awaited */
    CONNECTION_START,  /* start is sent */
    CONNECTION_AUTH,   /* a password is being checked; input is held */
    CONNECTION_TUNE,   /* tune is sent */
    CONNECTION_OPEN,   /* tune-ok is there, open is awaited */
    CONNECTION_RUNNING,
    CONNECTION_CLOSING, /* we sent close and wait for close-ok */
    CONNECTION_ENDED,   /* nothing of what comes in is looked at any more */
};

/* Why no input is taken from a connection; any number of them at once. */
enum hold_reason {
    HOLD_AUTH = 1,    /* its password is being checked */
    HOLD_OUTPUT = 2,  /* it does not read what it is sent */
    HOLD_ALARM = 4,   /* it publishes, and a resource alarm is set */
    HOLD_STORE = 8,   /* the store is behind with what it has published */
    HOLD_PAGING = 16, /* a queue cannot page out as fast as it publishes to it */
    HOLD_GET = 32,    /* a basic.get waits for a message that is paged out */
};

#define HOLD_ALL (HOLD_AUTH | HOLD_OUTPUT | HOLD_ALARM | HOLD_STORE | HOLD_PAGING | HOLD_GET)

/* What the client says it understands (connection.start-ok, client-properties.capabilities). */
struct capabilities {
    bool authentication_failure_close, consumer_cancel_notify, connection_blocked;
};

struct connection {
    struct broker *broker;
    void *io;            /* the owner's */
    struct vhost *vhost; /* from connection.open on */
    uint64_t handle;
    enum connection_state state;
    bool peer_is_loopback;
    bool is_pending;  /* in broker->pending */
    bool output_full; /* consumers wait until the output is below the low-water mark */
    uint8_t holds;    /* of enum hold_reason; input is held while it is not 0 */
    struct capabilities capabilities;
    uint16_t channel_max, heartbeat;
    uint32_t frame_max; /* as negotiated; before that, what is accepted */

    /* The body frame that is being received. */
    bool in_body;
    uint32_t body_left;
    struct channel *body_channel; /* NULL: thrown away */

    struct outq out;
    struct channel_page **pages; /* channels by number */
    uint16_t n_pages;
    uint32_t n_channels;
    struct fence fence_flying,
        fence_waiting; /* output that waits for the batch under way, and the next */
    struct queue_list exclusive_queues;

    uint64_t received, sent; /* bytes */
    uint64_t received_before, sent_before;
    uint8_t silent_ticks;
    struct timer deadline; /* of the handshake or of closing */
    struct timer heartbeat_timer;

    char *name;                           /* "127.0.0.1:40000 -> 127.0.0.1:5672" */
    struct slice user;                    /* own copy */
    struct slice properties;              /* client-properties, own copy */
    struct slice mechanism;               /* own copy */
    TAILQ_ENTRY(connection) link;         /* broker->connections */
    TAILQ_ENTRY(connection) pending_link; /* broker->pending */
};

TAILQ_HEAD(connection_list, connection);

/* A new connection; `io` is passed to env's functions. The handshake's time starts to run. */
struct connection *connection_new(struct broker *b, void *io, const char *name,
                                  bool peer_is_loopback);

/* Ends it and everything it owned: unacknowledged messages are requeued, exclusive queues deleted.
 */
void connection_free(struct connection *c);

/* `n` bytes came in (for heartbeats; whether they are taken or not). */
static inline void
connection_received(struct connection *c, size_t n)
{
    c->received += n;
}

/*
 * Handles input and returns how many bytes were taken; the rest must come again, with more behind
 * it. Less than all is taken when a frame is not complete, when input is held, or when what was
 * taken made a lot of work (then env.hold_input() has been called to hold it and let it go: it goes
 * on after the next tick).
 */
size_t connection_input(struct connection *c, const uint8_t *p, size_t n);

/*
 * Takes no input from now on, until every reason that was given is released. It may be called from
 * within connection_input(), whose next frame is the first that waits. Without effect on a
 * connection that is closing: the peer's close-ok must get through.
 */
void connection_hold(struct connection *c, enum hold_reason reason);

/* These reasons (of enum hold_reason, added up) are gone, whether they were there or not. */
void connection_release_hold(struct connection *c, unsigned reasons);

/* The first n bytes of c->out are written. */
void connection_written(struct connection *c, size_t n);

/* True when nothing may be delivered to it until its output has drained. */
static inline bool
connection_output_full(const struct connection *c)
{
    return c->output_full;
}

/* Bytes of c->out that may be written now: the rest waits for the store. */
static inline size_t
connection_writable(const struct connection *c)
{
    uint64_t fence = c->fence_flying.position < c->fence_waiting.position
                         ? c->fence_flying.position
                         : c->fence_waiting.position;
    uint64_t left = fence - c->sent;

    return left < c->out.bytes ? (size_t)left : c->out.bytes;
}

/* Ends it at once, without a word to the peer. */
void connection_abort(struct connection *c, const char *why);

/* Marks that c->out has bytes. */
void connection_output_pending(struct connection *c);

/* Sends a method on a channel. */
void connection_send(struct connection *c, uint16_t channel, enum amqp_method_id id,
                     const union amqp_args *args);

/* The peer is told of an error and the connection ends; ids of the method at fault, or 0. */
void connection_fail(struct connection *c, const struct amqp_error *err, uint16_t class_id,
                     uint16_t method_id);

/* Closes with 320 and this detail. */
void connection_force_close(struct connection *c, const char *reason);

/* The password was right or not. */
void connection_authenticated(struct connection *c, bool granted);

/* --- between the parts of the connection --- */

/* A method on channel 0 (connection_methods.c). */
void connection_method(struct connection *c, enum amqp_method_id id, const union amqp_args *args);

/* Sends connection.start; the peer's protocol header was right. */
void connection_start(struct connection *c);

/* Ends without or with (err != NULL) a word, as RabbitMQ does during the handshake: reset 3 s
 * later. */
void connection_refuse(struct connection *c, const struct amqp_error *err, const char *log);

/* Takes down channels and exclusive queues. */
void connection_release(struct connection *c);

/* ms until a refused peer is reset: a brake on guessing passwords, as long as RabbitMQ's. */
enum { CONNECTION_REFUSAL_DELAY = 3000 };

/* Input is ignored from now on; the connection is reset after `ms`. */
void connection_end(struct connection *c, uint64_t ms);

/* Starts the heartbeat that was negotiated. */
void connection_start_heartbeat(struct connection *c);

/* Puts a deadline on the present state: 30 s or less for the peer's close-ok. */
void connection_await_close(struct connection *c);

#endif
