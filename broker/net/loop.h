#ifndef CONEY_NET_LOOP_H
#define CONEY_NET_LOOP_H

#include <bsd/sys/queue.h>
#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/workers.h"
#include "broker/auth/users.h"
#include "broker/core/broker.h"
#include "broker/net/mailbox.h"
#include "broker/net/peer.h"

/*
 * Input taken from one socket in one turn. A busy turn should carry much: every write to a client
 * that waits wakes it up, which costs more than all we do with a message. (Measured with 1 KiB
 * messages: 1.2 us of CPU each with 128 KiB a turn, 0.6 us with 512 KiB, no better with more.) When
 * many sockets are busy each gets a smaller share of READ_PER_TURN, so that a turn stays short.
 */
enum {
    READ_MAX = 512 * 1024,
    READ_MIN = 8 * 1024,
    READ_PER_TURN = 4 * 1024 * 1024,
};

/*
 * One thread, one event_base, one mailbox, and the broker core that they drive. A turn of the loop,
 * the tick: read every ready socket and run the methods; hand out messages; write every
 * connection's output once. (Later: commit.) Whatever makes work asks for a tick, which runs once
 * after all sockets that are ready in this turn.
 */
struct loop {
    struct event_base *base;
    struct broker *broker;
    struct mailbox mailbox;
    struct workers *workers;   /* shared, borrowed */
    const struct users *users; /* borrowed */
    struct store *store;       /* borrowed; NULL: nothing is durable */
    struct letter store_letter;
    struct event *tick;
    struct event *timer;  /* wakes up for the core's timers */
    uint64_t timer_armed; /* what for, ms */
    bool in_tick, stopping;
    uint32_t connection_max;
    bool nodelay, keepalive;
    uint8_t *buf;              /* everything is read into it */
    size_t read_size;          /* what a socket may bring in this turn */
    size_t n_readable;         /* sockets read since the last tick */
    size_t n_busy;             /* the same, smoothed */
    struct peer_list resuming; /* may be read again */
    struct peer_list dying;    /* asked to be shut */
    struct monitor *monitor;   /* sets alarms; owned, may be NULL */
};

struct loop_options {
    uint32_t connection_max;
    bool nodelay, keepalive;
};

/* Settings, workers and users are borrowed for the loop's lifetime. */
struct loop *loop_new(const struct settings *settings, const struct loop_options *options,
                      struct workers *workers);

/* Attaches the store, which the caller keeps until the loop is freed, and takes over what is in it;
 * see broker_open(). Before loop_run(), as is the other. */
bool loop_open(struct loop *l, struct store *s, recovered_user_fn *user, void *ctx);

/* Who may log in; borrowed. */
void loop_set_users(struct loop *l, const struct users *users);

/* Runs until loop_stop() and the end of all connections. */
void loop_run(struct loop *l);

/* Closes all connections (320 CONNECTION_FORCED) and ends the loop when they are gone, after a
 * second at the most. */
void loop_stop(struct loop *l);

/* Ends what is left of connections and writes what is not in the store yet. The workers must be
 * gone before. */
void loop_close(struct loop *l);

/* Then the store is closed, and after that: */
void loop_free(struct loop *l);

/* Reads the clock for the core; first thing in every callback. */
void loop_enter(struct loop *l);

/* Sets the timer to the core's next; last thing in every callback. */
void loop_leave(struct loop *l);

#endif
