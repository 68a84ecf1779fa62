#ifndef CONEY_PERF_CONN_H
#define CONEY_PERF_CONN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "perf/bytes.h"
#include "perf/options.h"
#include "protocol/frame.h"

/*
 * A client's connection. While it is set up its calls block (with a timeout); under load only
 * conn_flush() and the worker's own reads are used, which never do.
 */
struct conn {
    int fd; /* -1: none */
    uint32_t frame_max;
    uint16_t heartbeat;         /* seconds, 0: none */
    struct iovec image[2];      /* message bytes on their way out, not ours */
    struct bytes control;       /* other frames, sent when no message is half sent */
    struct bytes in;            /* what was received and not yet taken: less than a frame */
    uint64_t last_in, last_out; /* ns */
};

/*
 * Connects and shakes hands; `name` becomes connection_name. What fails returns false and leaves a
 * new string in *error_r, here and below.
 */
MUST_USE bool conn_open(struct conn *conn, const struct perf_options *o, const char *name,
                        char **error_r);

/* Sends a method and waits for its answer, whose strings stay valid until the next call. */
MUST_USE bool conn_call(struct conn *conn, uint16_t channel, enum amqp_method_id id,
                        const union amqp_args *args, enum amqp_method_id answer,
                        union amqp_args *answer_r, char **error_r);

/* Queues a method behind what is to be sent. */
void conn_send(struct conn *conn, uint16_t channel, enum amqp_method_id id,
               const union amqp_args *args);

static inline bool
conn_is_pending(const struct conn *conn)
{
    return conn->image[0].iov_len != 0 || conn->image[1].iov_len != 0 ||
           bytes_left(&conn->control) != 0;
}

/* Writes as much as the socket takes; false with errno set when the connection is lost. */
MUST_USE bool conn_flush(struct conn *conn);

/* A new string: a close's code and text, as "the broker closed the channel: 404 NOT_FOUND - no
 * queue ...". */
char *conn_close_text(const char *what, uint16_t code, struct slice text);

/* Both give up at the moment `until` (ns); 0: at once. */

/* Sends what is pending and connection.close. */
void conn_say_goodbye(struct conn *conn, uint64_t until);

/* Hangs up, after the broker has had the chance to do so first, and frees everything. */
void conn_close(struct conn *conn, uint64_t until);

#endif
