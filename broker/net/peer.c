#include "broker/net/peer.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "broker/core/connection.h"
#include "broker/net/loop.h"

enum { IOV_MAX_PER_WRITE = 64 };

/* --- input --- */

/*
 * Hands `n` bytes at the start of the loop's buffer to the core and keeps what it does not take: an
 * incomplete frame, or more when the core holds input back. Then nothing is read until that has
 * been fed, so the buffer has room for what is kept and one more read.
 */
static void
feed(struct peer *p, size_t n)
{
    struct loop *l = p->loop;
    size_t done = connection_input(p->connection, l->buf, n);
    size_t left = n - done;

    /* Nearly always the buffer was taken whole, or there was nothing kept before. */
    if (p->stash != NULL && left != p->n_stash) {
        free(p->stash);
        p->stash = NULL;
    }
    if (left != 0) {
        if (p->stash == NULL)
            p->stash = mem_alloc(left);
        memcpy(p->stash, l->buf + done, left);
    }
    p->n_stash = left;
}

static void
lost(struct peer *p, const char *why)
{
    if (p->connection->state == CONNECTION_RUNNING)
        log_warning("connection %s: %s", p->connection->name, why);
    peer_shut(p, true);
}

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct peer *p = arg;
    struct loop *l = p->loop;

    (void)what;
    loop_enter(l);
    if (p->n_stash != 0)
        memcpy(l->buf, p->stash, p->n_stash);
    l->n_readable++;
    ssize_t n = recv(fd, l->buf + p->n_stash, l->read_size, 0);
    if (n > 0) {
        connection_received(p->connection, (size_t)n);
        feed(p, p->n_stash + (size_t)n);
    } else if (n == 0) {
        lost(p, "client unexpectedly closed TCP connection");
    } else if (errno != EAGAIN && errno != EINTR) {
        lost(p, strerror(errno));
    }
    loop_leave(l);
}

void
peer_hold_input(void *io, bool held)
{
    struct peer *p = io;

    p->held = held;
    if (held) {
        event_del(p->readable);
    } else if (!p->is_resuming) {
        p->is_resuming = true;
        TAILQ_INSERT_TAIL(&p->loop->resuming, p, resuming_link);
        broker_want_tick(p->loop->broker);
    }
}

void
peer_resume(struct peer *p)
{
    if (p->held)
        return;
    if (p->n_stash != 0) {
        memcpy(p->loop->buf, p->stash, p->n_stash);
        feed(p, p->n_stash);
    }
    if (!p->held && !p->is_resuming && p->end == PEER_OPEN)
        event_add(p->readable, NULL);
}

/* --- output --- */

/* Cuts the pieces to `max` bytes in all; returns how many are left. */
static int
limit(struct iovec *iov, int n, size_t max)
{
    for (int i = 0; i < n; i++) {
        if (iov[i].iov_len >= max) {
            iov[i].iov_len = max;
            return i + 1;
        }
        max -= iov[i].iov_len;
    }
    return n;
}

void
peer_flush(struct peer *p)
{
    struct connection *c = p->connection;
    struct iovec iov[IOV_MAX_PER_WRITE];
    size_t left;

    while (!p->is_blocked && (left = connection_writable(c)) != 0) {
        int n = limit(iov, outq_peek(&c->out, iov, IOV_MAX_PER_WRITE), left);
        struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)n};
        ssize_t k = sendmsg(p->fd, &msg, MSG_NOSIGNAL);
        if (k >= 0) {
            connection_written(c, (size_t)k);
        } else if (errno == EAGAIN) {
            p->is_blocked = true;
            event_add(p->writable, NULL);
        } else if (errno != EINTR) {
            outq_clear(&c->out);
            lost(p, strerror(errno));
            return;
        }
    }
}

static void
on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct peer *p = arg;
    struct loop *l = p->loop;

    (void)fd, (void)what;
    loop_enter(l);
    p->is_blocked = false;
    peer_flush(p);
    if (p->end != PEER_OPEN)
        peer_try_end(p);
    loop_leave(l);
}

/* --- beginning and end --- */

static bool
is_loopback(const struct sockaddr *addr)
{
    if (addr->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)addr;
        return ntohl(in->sin_addr.s_addr) >> 24 == 127;
    }
    if (addr->sa_family == AF_INET6) {
        const struct in6_addr *in6 = &((const struct sockaddr_in6 *)(const void *)addr)->sin6_addr;
        return IN6_IS_ADDR_LOOPBACK(in6) || (IN6_IS_ADDR_V4MAPPED(in6) && in6->s6_addr[12] == 127);
    }
    return false;
}

/* "127.0.0.1:40000", "[::1]:40000"; a mapped IPv4 address is shown as what it is. */
static void
show_address(char *text, size_t size, const struct sockaddr *addr, socklen_t len)
{
    char host[NI_MAXHOST], port[NI_MAXSERV];

    if (getnameinfo(addr, len, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        snprintf(text, size, "unknown");
    else if (strncmp(host, "::ffff:", 7) == 0)
        snprintf(text, size, "%s:%s", host + 7, port);
    else
        snprintf(text, size, strchr(host, ':') != NULL ? "[%s]:%s" : "%s:%s", host, port);
}

void
peer_accept(struct loop *l, int fd, const struct sockaddr *addr, socklen_t addr_len)
{
    char from[NI_MAXHOST + NI_MAXSERV + 4], to[NI_MAXHOST + NI_MAXSERV + 4];
    char name[sizeof from + sizeof to + 4];
    struct sockaddr_storage local;
    socklen_t local_len = sizeof local;
    const int on = 1;
    struct peer *p = mem_zalloc(sizeof *p);

    if (l->nodelay)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (l->keepalive)
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    show_address(from, sizeof from, addr, addr_len);
    if (getsockname(fd, (struct sockaddr *)&local, &local_len) != 0)
        local.ss_family = AF_UNSPEC;
    show_address(to, sizeof to, (struct sockaddr *)&local, local_len);
    snprintf(name, sizeof name, "%s -> %s", from, to);

    p->loop = l;
    p->fd = fd;
    p->readable = event_new(l->base, fd, EV_READ | EV_PERSIST, on_readable, p);
    p->writable = event_new(l->base, fd, EV_WRITE, on_writable, p);
    p->connection = connection_new(l->broker, p, name, is_loopback(addr));
    event_add(p->readable, NULL);
}

void
peer_shut(void *io, bool reset)
{
    struct peer *p = io;

    if (reset || p->end == PEER_OPEN)
        p->end = reset ? PEER_RESET : PEER_SHUT;
    event_del(p->readable);
    if (p->is_dying)
        return;
    p->is_dying = true;
    TAILQ_INSERT_TAIL(&p->loop->dying, p, dying_link);
    broker_want_tick(p->loop->broker);
}

void
peer_try_end(struct peer *p)
{
    const struct linger now = {.l_onoff = 1, .l_linger = 0};

    if (p->end == PEER_SHUT && p->connection->out.bytes != 0)
        return;
    if (p->end == PEER_RESET)
        setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    else
        shutdown(p->fd, SHUT_WR);
    peer_free(p);
}

void
peer_free(struct peer *p)
{
    if (p->is_dying)
        TAILQ_REMOVE(&p->loop->dying, p, dying_link);
    if (p->is_resuming)
        TAILQ_REMOVE(&p->loop->resuming, p, resuming_link);
    event_free(p->readable);
    event_free(p->writable);
    connection_free(p->connection);
    close(p->fd);
    free(p->stash);
    free(p);
}
