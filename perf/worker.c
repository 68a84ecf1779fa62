/*
 * A worker's loop. Level-triggered epoll; a socket is watched for output only while there is
 * something to write, so that producers held back by confirms, a rate or the broker cost nothing.
 * One read and one write per connection and round, so that no connection starves another.
 */
#include "perf/link.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "perf/clock.h"

enum {
    READ_SIZE = 256 * 1024,
    RATED_READ_SIZE = 4096, /* for consumers with a rate: what has been read counts as consumed */
    MAX_CONTROL = 1024 * 1024, /* unsent acks above this stop reading */
    MAX_EVENTS = 256,
};

static const uint64_t second_ns = 1000000000;

/* --- one connection --- */

static void
lost(struct link *link, const char *what)
{
    run_fail(link_run_of(link), "%s the broker: %s", what, strerror(errno));
}

static void
update_interest(struct link *link, bool wants_output)
{
    bool reads = !link->rate_held && !(link->done && !link->is_producer) &&
                 bytes_left(&link->conn.control) < MAX_CONTROL;
    uint32_t interest = (reads ? EPOLLIN : 0U) | (wants_output ? EPOLLOUT : 0U);
    struct epoll_event event = {.events = interest, .data.ptr = link};

    if (interest == link->interest)
        return;
    epoll_ctl(link->worker->epoll_fd, EPOLL_CTL_MOD, link->conn.fd, &event);
    link->interest = interest;
}

/* Sets the timer when this connection is due before it would ring. */
static void
arm_timer(struct worker *worker, uint64_t due)
{
    struct itimerspec when = {.it_value = {(time_t)(due / second_ns), (long)(due % second_ns)}};

    if (due == 0 || (worker->timer_at != 0 && worker->timer_at <= due))
        return;
    timerfd_settime(worker->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
    worker->timer_at = due;
}

static void
link_output(struct link *link)
{
    struct conn *conn = &link->conn;
    bool more = false;

    if (!conn_flush(conn)) {
        lost(link, "writing to");
        return;
    }
    if (link->is_producer && !conn_is_pending(conn)) {
        more = producer_fill(link);
        if (!conn_flush(conn)) {
            lost(link, "writing to");
            return;
        }
        producer_check_done(link);
        conn->last_out = link->worker->now;
    }
    if (!link->is_producer)
        link->rate_held = !consumer_may_read(link);
    arm_timer(link->worker, link->due);
    update_interest(link, more || conn_is_pending(conn));
}

/* Takes n bytes more, which stand in the worker's buffer behind those of an incomplete frame. */
static void
take_input(struct link *link, size_t n)
{
    struct worker *worker = link->worker;
    struct bytes *in = &link->conn.in;
    size_t done = link_input(link, worker->buffer, n);

    in->off = in->n = 0;
    bytes_add(in, slice_of(worker->buffer + done, n - done));
}

static void
link_read(struct link *link)
{
    struct worker *worker = link->worker;
    struct slice rest = bytes_slice(&link->conn.in);
    uint64_t received = worker->measure.n.received;
    size_t room = link->rate > 0 && !link->is_producer ? RATED_READ_SIZE : READ_SIZE;

    if (rest.n != 0)
        memcpy(worker->buffer, rest.p, rest.n);
    ssize_t n = recv(link->conn.fd, worker->buffer + rest.n, room, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0) {
        lost(link, "reading from");
        return;
    }
    worker->now = link->conn.last_in = clock_ns();
    if (n == 0) {
        run_fail(worker->run, "the broker hung up");
        return;
    }
    take_input(link, rest.n + (size_t)n);
    if (worker->measure.n.received != received)
        span_touch(&worker->measure.received, worker->now);
}

/* --- heartbeats --- */

static void
heartbeat(struct link *link)
{
    struct conn *conn = &link->conn;
    uint64_t now = link->worker->now, interval = conn->heartbeat * second_ns;
    uint8_t frame[AMQP_FRAME_OVERHEAD];
    struct writer w = writer_init(frame, sizeof frame);

    if (interval == 0)
        return;
    bool reads = (link->interest & EPOLLIN) != 0;
    if (reads && now > conn->last_in && now - conn->last_in > 2 * interval) {
        run_fail(link_run_of(link), "no heartbeat from the broker for %u s", 2U * conn->heartbeat);
        return;
    }
    if (now > conn->last_out && now - conn->last_out > interval / 2 && !conn_is_pending(conn)) {
        amqp_write_heartbeat(&w);
        bytes_add(&conn->control, slice_of(frame, sizeof frame));
        conn->last_out = now;
        link_output(link);
    }
}

/* --- the loop --- */

static void
drain(int fd)
{
    uint64_t count;

    if (read(fd, &count, sizeof count) < 0)
        return; /* nothing there: another wake-up took it */
}

static void
output_of_all(struct worker *worker)
{
    worker->timer_at = 0;
    for (unsigned i = 0; i < worker->n_links; i++)
        link_output(worker->links[i]);
}

/* Connections whose time has come. */
static void
output_of_due(struct worker *worker)
{
    worker->timer_at = 0;
    for (unsigned i = 0; i < worker->n_links; i++) {
        struct link *link = worker->links[i];
        if (link->due != 0 && link->due <= worker->now)
            link_output(link);
        else
            arm_timer(worker, link->due);
    }
}

static void
handle(struct worker *worker, const struct epoll_event *event)
{
    if (event->data.ptr == &worker->wake_fd) {
        drain(worker->wake_fd);
        output_of_all(worker);
    } else if (event->data.ptr == &worker->timer_fd) {
        drain(worker->timer_fd);
        output_of_due(worker);
    } else {
        struct link *link = event->data.ptr;
        if ((event->events & ~(uint32_t)EPOLLOUT) != 0)
            link_read(link);
        link_output(link);
    }
}

static void *
worker_main(void *arg)
{
    struct worker *worker = arg;
    struct epoll_event events[MAX_EVENTS];
    uint64_t next_heartbeats = 0;

    prctl(PR_SET_TIMERSLACK, 1UL);
    output_of_all(worker);
    while (run_phase(worker->run) != RUN_ENDING) {
        int n = epoll_wait(worker->epoll_fd, events, MAX_EVENTS, 1000);
        worker->now = clock_ns();
        for (int i = 0; i < n && run_phase(worker->run) != RUN_ENDING; i++)
            handle(worker, &events[i]);
        if (worker->now >= next_heartbeats) {
            next_heartbeats = worker->now + second_ns;
            for (unsigned i = 0; i < worker->n_links; i++)
                heartbeat(worker->links[i]);
        }
    }
    return NULL;
}

/* --- from the main thread --- */

static void
watch(struct worker *worker, int fd, void *tag)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = tag};

    epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

struct worker *
worker_new(struct run *run, unsigned max_links)
{
    struct worker *worker = mem_zalloc(sizeof *worker);

    worker->run = run;
    worker->links = mem_zalloc((max_links + 1) * sizeof *worker->links);
    worker->buffer_size = READ_SIZE + run->o.frame_max + AMQP_FRAME_OVERHEAD;
    worker->buffer = mem_alloc(worker->buffer_size);
    worker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    worker->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    worker->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    watch(worker, worker->wake_fd, &worker->wake_fd);
    watch(worker, worker->timer_fd, &worker->timer_fd);
    return worker;
}

void
worker_add(struct worker *worker, struct link *link)
{
    link->interest = EPOLLIN;
    worker->links[worker->n_links++] = link;
    watch(worker, link->conn.fd, link);
}

bool
worker_start(struct worker *worker)
{
    worker->now = clock_ns();
    return pthread_create(&worker->thread, NULL, worker_main, worker) == 0;
}

void
worker_wake(struct worker *worker)
{
    uint64_t one = 1;

    if (write(worker->wake_fd, &one, sizeof one) < 0)
        return; /* the counter is full: it is awake */
}

void
worker_join(struct worker *worker)
{
    pthread_join(worker->thread, NULL);
}

void
worker_close(struct worker *worker, uint64_t until)
{
    for (unsigned i = 0; i < worker->n_links; i++) {
        consumer_ack_rest(worker->links[i]);
        conn_say_goodbye(&worker->links[i]->conn, until);
    }
    for (unsigned i = 0; i < worker->n_links; i++)
        conn_close(&worker->links[i]->conn, until);
}

void
link_free(struct link **link)
{
    struct link *l = *link;

    if (l == NULL)
        return;
    conn_close(&l->conn, 0);
    for (unsigned i = 0; i < l->n_channels; i++) {
        free(l->channels[i].sent_ns);
        free(l->channels[i].last_sequence);
    }
    free(l->channels);
    image_free(&l->image);
    free(l);
    *link = NULL;
}

void
worker_free(struct worker **worker)
{
    struct worker *w = *worker;

    if (w == NULL)
        return;
    for (unsigned i = 0; i < w->n_links; i++)
        link_free(&w->links[i]);
    close(w->epoll_fd);
    close(w->wake_fd);
    close(w->timer_fd);
    free(w->links);
    free(w->buffer);
    free(w);
    *worker = NULL;
}
