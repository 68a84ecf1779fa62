#ifndef CONEY_CORE_BROKER_H
#define CONEY_CORE_BROKER_H

#include <bsd/sys/queue.h>
#include <stdbool.h>
#include <stdint.h>

#include "broker/core/connection.h"
#include "broker/core/env.h"
#include "broker/core/journal.h"
#include "broker/core/paging.h"
#include "broker/core/reaper.h"
#include "broker/core/recovery.h"
#include "broker/core/timers.h"

/* Limits and names from the configuration, fixed while the broker runs. Strings are borrowed. */
struct settings {
    const char *product, *version, *cluster_name, *default_vhost;
    uint16_t channel_max, heartbeat;
    uint32_t frame_max, initial_frame_max;
    uint64_t max_message_size;
    uint32_t handshake_timeout;     /* ms */
    uint32_t consumer_max;          /* per channel; 0: no limit */
    uint64_t output_high_watermark; /* bytes */
    uint64_t queue_memory_max;      /* bytes of ready messages that a queue keeps in memory */
    uint64_t messages_memory_max;   /* and that all queues do together */
};

/* One slot per connection, for handles that outlive it: slot number and generation. */
struct slot {
    struct connection *connection; /* NULL: free */
    uint32_t generation;
    uint32_t next_free;
};

#define NO_SLOT UINT32_MAX

/* Everything that one loop owns: its virtual hosts and the connections in them. */
struct broker {
    const struct settings *settings;
    struct env env;
    uint64_t now; /* ms of a monotonic clock, kept current by the owner */
    struct timers timers;
    struct vhost *vhosts;
    struct connection_list connections;
    uint32_t n_connections;
    struct slot *slots;
    uint32_t n_slots, free_slot;
    struct connection_list pending; /* with output to write */
    struct channel_list settling;   /* with confirms to tell */
    bool tick_wanted;
    struct journal journal;
    struct reaper reaper;
    struct pager pager;
    uint64_t last_page_id;    /* given to a queue without an id of its own */
    unsigned publishers_wait; /* reasons of enum hold_reason by which some are held */
    unsigned alarms;          /* those that are set, of enum alarm */
    uint64_t
        work; /* messages put into queues and header bindings tried, ever: see connection_input() */
};

/* An empty broker. Settings are borrowed for its lifetime. */
struct broker *broker_new(const struct settings *settings, const struct env *env, uint64_t now);

/*
 * Takes over what is in the store, which is borrowed until broker_close(), and makes the default
 * vhost if there is none. NULL: nothing is durable. False when the store cannot be read.
 */
bool broker_open(struct broker *b, struct store *s, recovered_user_fn *user, void *ctx);

/* Writes what is not in the store yet, waiting for it, and lets go of the store. */
void broker_close(struct broker *b);

/* All connections must be freed before, and the store be closed. */
void broker_free(struct broker *b);

/* A publisher's input is held for a while: by HOLD_STORE or HOLD_PAGING, whichever is behind. */
void broker_slow_down(struct broker *b, struct connection *c, enum hold_reason reason);

/* Something has been written: publishers go on if it is enough. */
void broker_release_publishers(struct broker *b);

/*
 * The middle of a tick: hands out messages (a bounded number; asks for another tick if there is
 * more to do), hands the store what is to be durable, and tells publishers what is confirmed. Then
 * write the output of what is in b->pending.
 */
void broker_tick(struct broker *b);

void broker_want_tick(struct broker *b);

/* The connection of a handle, NULL when it is gone. */
struct connection *broker_find(const struct broker *b, uint64_t handle);

/* The answer to env.authenticate(). */
void broker_authenticated(struct broker *b, uint64_t handle, bool granted);

/* Closes all connections with 320 CONNECTION_FORCED, as RabbitMQ does when it stops. */
void broker_shutdown(struct broker *b);

#endif
