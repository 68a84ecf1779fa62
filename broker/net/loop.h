#ifndef CONEY_NET_LOOP_H
#define CONEY_NET_LOOP_H

#include <bsd/sys/queue.h>
#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

#include "broker/auth/users.h"
#include "broker/core/broker.h"
#include "broker/net/mailbox.h"
#include "broker/net/peer.h"
#include "broker/net/workers.h"

/*
 * Input taken from one socket in one turn: enough to make system calls cheap, and little enough
 * that what is read, the messages made of it and what is written stay near the processor. When many
 * sockets are busy each gets a smaller share of READ_PER_TURN, so that a turn stays short.
 */
enum {
    READ_MAX = 128 * 1024,
    READ_MIN = 8 * 1024,
    READ_PER_TURN = 2 * 1024 * 1024,
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
};

struct loop_options {
    uint32_t connection_max;
    bool nodelay, keepalive;
};

/* Settings, workers and users are borrowed for the loop's lifetime. */
struct loop *loop_new(const struct settings *settings, const struct loop_options *options,
                      struct workers *workers, const struct users *users);

/* Runs until loop_stop() and the end of all connections. */
void loop_run(struct loop *l);

/* Closes all connections (320 CONNECTION_FORCED) and ends the loop when they are gone, after a
 * second at the most. */
void loop_stop(struct loop *l);

/* The workers must be gone before. */
void loop_free(struct loop *l);

/* Reads the clock for the core; first thing in every callback. */
void loop_enter(struct loop *l);

/* Sets the timer to the core's next; last thing in every callback. */
void loop_leave(struct loop *l);

#endif
