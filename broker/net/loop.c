#include "broker/net/loop.h"

#include <stdlib.h>
#include <time.h>

#include "base/mem.h"
#include "broker/net/monitor.h"
#include "protocol/frame.h"

enum {
    STOP_TIMEOUT = 1, /* s for clients to answer connection.close */
    TIMER_NONE = 0,
};

/* --- time --- */

static uint64_t
clock_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

void
loop_enter(struct loop *l)
{
    l->broker->now = clock_ms();
}

void
loop_leave(struct loop *l)
{
    uint64_t next = timers_next(&l->broker->timers);

    if (next == l->timer_armed)
        return;
    l->timer_armed = next;
    if (next == UINT64_MAX) {
        event_del(l->timer);
        return;
    }
    uint64_t ms = next > l->broker->now ? next - l->broker->now : 0;
    struct timeval tv = {(time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000)};
    event_add(l->timer, &tv);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct loop *l = arg;

    (void)fd, (void)what;
    loop_enter(l);
    l->timer_armed = TIMER_NONE;
    timers_run(&l->broker->timers, l->broker->now);
    loop_leave(l);
}

/* --- the tick --- */

static void
want_tick(void *ctx)
{
    static const struct timeval at_once = {0, 0};
    struct loop *l = ctx;

    /*
     * An event made active at its own priority runs after all callbacks that are active already.
     * From within the tick that would be at once, again and again, before any socket is looked at:
     * a timer waits for the next turn.
     */
    if (l->in_tick)
        event_add(l->tick, &at_once);
    else
        event_active(l->tick, EV_TIMEOUT, 0);
}

static void
resume_peers(struct loop *l)
{
    struct peer *p;
    struct peer_list now = TAILQ_HEAD_INITIALIZER(now);

    /* One that is held again and let go by its own input waits for the next tick, see on_tick(). */
    TAILQ_CONCAT(&now, &l->resuming, resuming_link);
    while ((p = TAILQ_FIRST(&now)) != NULL) {
        TAILQ_REMOVE(&now, p, resuming_link);
        p->is_resuming = false;
        if (p->end == PEER_OPEN)
            peer_resume(p);
    }
}

static void
flush_connections(struct loop *l)
{
    struct connection *c;
    struct connection_list now = TAILQ_HEAD_INITIALIZER(now);

    TAILQ_CONCAT(&now, &l->broker->pending, pending_link);
    while ((c = TAILQ_FIRST(&now)) != NULL) {
        TAILQ_REMOVE(&now, c, pending_link);
        c->is_pending = false;
        peer_flush(c->io);
    }
}

static void
end_peers(struct loop *l)
{
    struct peer *p, *next;

    TAILQ_FOREACH_SAFE (p, &l->dying, dying_link, next)
        peer_try_end(p);
}

/* The coming turn's share, from how many were busy lately: more count at once, fewer only by and
 * by. */
static void
share_input(struct loop *l)
{
    l->n_busy = l->n_readable > l->n_busy ? l->n_readable : (7 * l->n_busy + l->n_readable) / 8;
    size_t share = READ_PER_TURN / (l->n_busy + 1);

    l->read_size = share > READ_MAX ? READ_MAX : share < READ_MIN ? READ_MIN : share;
    l->n_readable = 0;
}

static void
on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct loop *l = arg;

    (void)fd, (void)what;
    loop_enter(l);
    share_input(l);
    l->in_tick = true;
    resume_peers(l);
    broker_tick(l->broker);
    flush_connections(l);
    end_peers(l);
    /* Whoever has had its turn while it was resumed asked for a tick that was already running. */
    if (!TAILQ_EMPTY(&l->resuming))
        broker_want_tick(l->broker);
    l->in_tick = false;
    loop_leave(l);
    if (l->stopping && l->broker->n_connections == 0)
        event_base_loopbreak(l->base);
}

/* --- passwords, on a worker --- */

struct login {
    struct job job;
    struct letter letter;
    struct loop *loop;
    uint64_t handle;
    bool peer_is_loopback, granted;
    size_t n_user, n_password;
    uint8_t bytes[]; /* user, password */
};

static void
login_answer(struct letter *letter)
{
    struct login *login = (void *)((char *)letter - offsetof(struct login, letter));
    struct loop *l = login->loop;

    loop_enter(l);
    broker_authenticated(l->broker, login->handle, login->granted);
    loop_leave(l);
    free(login);
}

static void
login_check(struct job *job)
{
    struct login *login = (void *)((char *)job - offsetof(struct login, job));
    struct slice password = slice_of(login->bytes + login->n_user, login->n_password);

    login->granted = users_check(login->loop->users, slice_of(login->bytes, login->n_user),
                                 password, login->peer_is_loopback) == USERS_ACCEPTED;
    explicit_bzero(login->bytes, login->n_user + login->n_password);
    login->letter.open = login_answer;
    mailbox_post(&login->loop->mailbox, &login->letter);
}

static void
authenticate(void *ctx, uint64_t handle, struct slice user, struct slice password,
             bool peer_is_loopback)
{
    struct loop *l = ctx;
    struct login *login = mem_alloc(sizeof *login + user.n + password.n);

    login->job.run = login_check;
    login->loop = l;
    login->handle = handle;
    login->peer_is_loopback = peer_is_loopback;
    login->n_user = user.n;
    login->n_password = password.n;
    memcpy(login->bytes, user.p, user.n);
    memcpy(login->bytes + user.n, password.p, password.n);
    workers_submit(l->workers, &login->job);
}

/* --- life --- */

struct loop *
loop_new(const struct settings *settings, const struct loop_options *options,
         struct workers *workers)
{
    struct loop *l = mem_zalloc(sizeof *l);
    const struct env env = {
        .ctx = l,
        .want_tick = want_tick,
        .hold_input = peer_hold_input,
        .shut = peer_shut,
        .authenticate = authenticate,
    };
    uint32_t frame_max = settings->frame_max > settings->initial_frame_max
                             ? settings->frame_max
                             : settings->initial_frame_max;

    l->base = event_base_new();
    if (l->base == NULL)
        mem_exhausted(0);
    l->broker = broker_new(settings, &env, clock_ms());
    l->workers = workers;
    l->connection_max = options->connection_max;
    l->nodelay = options->nodelay;
    l->keepalive = options->keepalive;
    /* An incomplete frame is kept and must fit in front of what is read next. */
    l->buf = mem_alloc(READ_MAX + frame_max + AMQP_FRAME_OVERHEAD);
    l->read_size = READ_MAX;
    l->timer_armed = UINT64_MAX;
    TAILQ_INIT(&l->resuming);
    TAILQ_INIT(&l->dying);
    l->tick = event_new(l->base, -1, 0, on_tick, l);
    l->timer = event_new(l->base, -1, 0, on_timer, l);
    mailbox_init(&l->mailbox, l->base);
    return l;
}

/* The store has answers. */
static void
on_store(struct letter *letter)
{
    struct loop *l = (void *)((char *)letter - offsetof(struct loop, store_letter));

    loop_enter(l);
    store_poll(l->store);
    loop_leave(l);
}

/* From the store's threads, once until it is polled. */
static void
wake(void *ctx)
{
    struct loop *l = ctx;

    l->store_letter.open = on_store;
    mailbox_post(&l->mailbox, &l->store_letter);
}

bool
loop_open(struct loop *l, struct store *s, recovered_user_fn *user, void *ctx)
{
    l->store = s;
    if (s != NULL)
        store_set_wake(s, wake, l);
    loop_enter(l);
    bool ok = broker_open(l->broker, s, user, ctx);
    loop_leave(l);
    return ok;
}

void
loop_set_users(struct loop *l, const struct users *users)
{
    l->users = users;
}

void
loop_run(struct loop *l)
{
    event_base_loop(l->base, EVLOOP_NO_EXIT_ON_EMPTY);
}

void
loop_stop(struct loop *l)
{
    const struct timeval patience = {STOP_TIMEOUT, 0};

    loop_enter(l);
    l->stopping = true;
    broker_shutdown(l->broker);
    broker_want_tick(l->broker);
    event_base_loopexit(l->base, &patience);
}

void
loop_close(struct loop *l)
{
    struct connection *c;

    if (l->store != NULL)
        store_set_wake(l->store, NULL, NULL);
    mailbox_fini(&l->mailbox);
    monitor_free(l->monitor);
    while ((c = TAILQ_FIRST(&l->broker->connections)) != NULL)
        peer_free(c->io);
    broker_close(l->broker);
}

void
loop_free(struct loop *l)
{
    broker_free(l->broker);
    event_free(l->tick);
    event_free(l->timer);
    event_base_free(l->base);
    free(l->buf);
    free(l);
}
