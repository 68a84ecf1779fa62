#ifndef CONEY_PERF_LINK_H
#define CONEY_PERF_LINK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "perf/conn.h"
#include "perf/run.h"

/* A connection under load, one producer or one consumer, and the worker that it belongs to. */

enum content_kind { CONTENT_NONE, CONTENT_DELIVERY, CONTENT_RETURN };

struct channel {
    uint16_t id;
    /* The content being received. */
    enum content_kind content;
    bool stamped; /* the beginning of its body was seen */
    bool redelivered;
    uint64_t tag, body_left;
    /* Producer: confirms. Tags below `base` are confirmed; sent_ns[tag & mask] is 0 for the
     * confirmed ones above it. */
    uint64_t published, base;
    uint64_t *sent_ns;
    uint64_t mask;
    /* Consumer. */
    unsigned number, queue, unacked;
    uint64_t received;
    uint32_t *last_sequence; /* with --verify: of each producer channel, plus one; 0: none yet */
};

struct link {
    struct conn conn;
    struct worker *worker;
    bool is_producer;
    bool done;         /* has sent or received all that it was to */
    bool held;         /* the broker wants no publishing now */
    bool rate_held;    /* a consumer that must not read before `due` */
    uint32_t interest; /* what epoll watches for */
    uint64_t skip;     /* bytes of the current frame that nobody needs to look at */
    unsigned n_channels;
    struct channel *channels;
    struct image image;   /* producer */
    uint64_t next, limit; /* producer: messages sent over all channels, and how many to send */
    uint64_t rate_start;  /* ns: when the first message is due */
    double rate;          /* messages per second; 0: unlimited */
    uint64_t due;         /* ns: when the next one is due; 0: not waiting */
};

struct worker {
    struct run *run;
    pthread_t thread;
    int epoll_fd, wake_fd, timer_fd;
    uint64_t now;      /* ns, read once per round of the loop and after each read */
    uint64_t timer_at; /* ns; 0: not set */
    unsigned n_links;
    struct link **links;
    uint8_t *buffer; /* where sockets are read to; input never outlives a read but for an incomplete
                        frame */
    size_t buffer_size;
    struct measure measure;
};

static inline struct run *
link_run_of(const struct link *link)
{
    return link->worker->run;
}

void link_free(struct link **link);

/* input.c: takes the frames in p[0..n), returns how many bytes those had. Failures end the run. */
size_t link_input(struct link *link, const uint8_t *p, size_t n);

/* producer.c */
void producer_init(struct link *link, unsigned number, size_t image_room);
/* Prepares messages to be written. True when more could follow right away. */
bool producer_fill(struct link *link);
void producer_confirm(struct link *link, struct channel *channel, uint64_t tag, bool multiple,
                      uint64_t *counter);
/* Notes that it has sent, and got confirmed, all that it was to. */
void producer_check_done(struct link *link);

/* consumer.c */
void consumer_init(struct link *link, unsigned number);
void consumer_message(struct link *link, struct channel *channel);
void consumer_stamp(struct link *link, struct channel *channel, const uint8_t *body, size_t n);
/* Acknowledges what --multi-ack-every left over, at the end. */
void consumer_ack_rest(struct link *link);
/* With --consumer-rate: whether it may read now. */
bool consumer_may_read(struct link *link);

/* worker.c */
struct worker *worker_new(struct run *run, unsigned max_links);
void worker_free(struct worker **worker);
void worker_add(struct worker *worker, struct link *link);
MUST_USE bool worker_start(struct worker *worker);
/* Has the worker look at the run's phase. Main thread. */
void worker_wake(struct worker *worker);
/* Waits for the thread, which ends with the run. */
void worker_join(struct worker *worker);
/* Ends all its connections in an orderly way, all at the same time, by `until` (ns); the thread is
 * joined. */
void worker_close(struct worker *worker, uint64_t until);

#endif
