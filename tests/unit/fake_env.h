#ifndef CONEY_TESTS_FAKE_ENV_H
#define CONEY_TESTS_FAKE_ENV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "broker/core/broker.h"
#include "protocol/frame.h"
#include "protocol/method.h"
#include "storage/store.h"

/*
 * The world around a broker, without sockets, threads and real time: connections are byte buffers,
 * the clock is a variable, passwords are checked by the test, the store, if there is one, is in memory
 * and outlives the broker. Everything happens in fake_run() and fake_advance(), in the order in which
 * broker/net does it. Free of Check, so that fuzz targets can use it.
 */

/* A connection, seen from its other end. It outlives the broker's side of it. */
struct fake_peer {
    struct fake *fake;
    struct connection *connection; /* NULL once the broker has ended it */
    bool held;                     /* the broker does not want input */
    bool shut, reset;              /* how the broker ended it */
    bool is_blocked;               /* the test: takes no output */
    size_t write_max;              /* the test: bytes that one write takes; 0: all */
    uint8_t *in;                   /* sent and not yet taken */
    size_t n_in, cap_in;
    uint8_t *out; /* received and not yet read from `at_out` on */
    size_t at_out, n_out, cap_out;
    uint8_t *body; /* of the last content read */
    TAILQ_ENTRY(fake_peer) link;
};

TAILQ_HEAD(fake_peer_list, fake_peer);

enum fake_auth {
    FAKE_AUTH_GUEST, /* guest with password guest is let in */
    FAKE_AUTH_LATER, /* the test answers through fake_answer() */
};

struct fake {
    struct settings settings; /* may be changed before the first fake_connect() */
    struct broker *broker;
    enum fake_auth auth;
    bool tick_wanted;
    uint64_t n_ticks;
    struct fake_login *logins; /* not answered, newest first */
    struct fake_peer_list peers;
    struct store *store; /* NULL: nothing is durable */
    bool store_is_held;  /* the test: the store does nothing, and answers nothing */
    recovered_user_fn *on_user; /* the test: gets the users that recovery finds; or NULL */
    void *user_ctx;
};

/* Settings as they are by default; nothing is durable. */
void fake_init(struct fake *f);

/* The same with an empty store, which fails as `faults` says: see backend_faulty_open(); NULL: it works. */
void fake_init_durable(struct fake *f, const char *faults);

enum fake_end {
    FAKE_STOP,  /* what is in memory is written first */
    FAKE_CRASH, /* what has been handed to the store is carried out, and nobody hears of it; the rest is lost */
};

/* The broker ends, with all connections; only the store stays, if there is one. False when not all that
 * should be was written, for want of space or because the store has failed. */
bool fake_end(struct fake *f, enum fake_end how);

/* The same, and another broker starts with what is in the store. */
bool fake_restart(struct fake *f, enum fake_end how);

/* The second half of that. False when the store cannot be read. */
bool fake_start(struct fake *f);

/* Ends what is left of connections, as a crash of all clients would, and frees everything. */
void fake_fini(struct fake *f);

/* The default virtual host. */
struct vhost *fake_vhost(struct fake *f);

/* A new connection. Its memory is the fake's. */
struct fake_peer *fake_connect(struct fake *f);

/* Resumed input, ticks and writes, until there is nothing left to do. */
void fake_run(struct fake *f);

/* One turn of that. */
void fake_turn(struct fake *f);

/* Lets time pass; timers fire in their order, each at its time. */
void fake_advance(struct fake *f, uint64_t ms);

/* Answers all passwords that are being checked, the oldest first. */
void fake_answer(struct fake *f, bool granted);

/* The network breaks: the broker's side is freed without a word. */
void fake_cut(struct fake_peer *p);

/* --- what a client sends; nothing is answered before fake_run() --- */

/* Bytes as they are. They reach the broker at once unless it holds the input. */
void fake_send(struct fake_peer *p, struct slice bytes);

void fake_send_method(struct fake_peer *p, uint16_t channel, enum amqp_method_id id,
                      const union amqp_args *args);
void fake_send_header(struct fake_peer *p, uint16_t channel, uint64_t body_size,
                      struct slice props);
void fake_send_body(struct fake_peer *p, uint16_t channel, struct slice body);
void fake_send_frame(struct fake_peer *p, uint8_t type, uint16_t channel, struct slice payload);

/* FAKE_SEND(peer, 1, queue, declare, .queue = slice_str("q"), .durable = true) */
#define FAKE_SEND(p, channel, c, m, ...)                                                           \
    fake_send_method((p), (channel), AMQP_##c##_##m, &(union amqp_args){.c##_##m = {__VA_ARGS__}})

/* The client's part of the handshake, up to connection.open, with these client-properties. */
void fake_send_handshake(struct fake_peer *p, struct slice properties);

/* Client-properties with all capabilities that the broker looks at. */
struct slice fake_properties(void);

/* --- what a client receives --- */

struct fake_frame {
    uint8_t type;
    uint16_t channel;
    struct slice payload;   /* valid until more comes in */
    enum amqp_method_id id; /* of a method frame */
    union amqp_args args;
};

/*
 * Takes the next whole frame; false when there is none. Aborts when it is none that a server may
 * send, or one that is larger than the connection allows.
 */
bool fake_read(struct fake_peer *p, struct fake_frame *frame_r);

struct fake_content {
    uint64_t size;
    struct slice props, body; /* valid until the next read */
};

/* Takes the content that follows a method on its channel; false when it is not complete. */
bool fake_read_content(struct fake_peer *p, uint16_t channel, struct fake_content *content_r);

/* Reads everything: methods, their content, heartbeats; returns how many methods there were. */
size_t fake_read_all(struct fake_peer *p);

#endif
