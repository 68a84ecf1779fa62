#include "broker/net/listener.h"

#include <errno.h>
#include <event2/event.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "broker/net/loop.h"
#include "broker/net/peer.h"

enum {
    ACCEPTS_PER_TURN = 64,
    RETRY_MS = 200, /* after the system ran out of descriptors */
};

struct listener {
    struct loop *loop;
    int fd;
    struct event *readable, *retry;
    char address[NI_MAXHOST + NI_MAXSERV + 4];
};

/* Out of descriptors or memory: what waits in the backlog stays there for a moment. */
static void
pause_accepting(struct listener *ls)
{
    const struct timeval tv = {0, RETRY_MS * 1000};

    log_error("accept on %s: %s", ls->address, strerror(errno));
    event_del(ls->readable);
    event_add(ls->retry, &tv);
}

static void
on_retry(evutil_socket_t fd, short what, void *arg)
{
    struct listener *ls = arg;

    (void)fd, (void)what;
    event_add(ls->readable, NULL);
}

static bool
accept_one(struct listener *ls)
{
    struct loop *l = ls->loop;
    struct sockaddr_storage addr;
    socklen_t len = sizeof addr;
    int fd = accept4(ls->fd, (struct sockaddr *)&addr, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd < 0) {
        if (errno == ECONNABORTED || errno == EINTR)
            return true;
        if (errno != EAGAIN)
            pause_accepting(ls);
        return false;
    }
    if (l->broker->n_connections >= l->connection_max) {
        log_warning("connection refused: the limit of %u connections is reached",
                    l->connection_max);
        close(fd);
        return true;
    }
    peer_accept(l, fd, (struct sockaddr *)&addr, len);
    return true;
}

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct listener *ls = arg;

    (void)fd, (void)what;
    loop_enter(ls->loop);
    for (int i = 0; i < ACCEPTS_PER_TURN && accept_one(ls); i++)
        ;
    loop_leave(ls->loop);
}

static int
bind_socket(const struct addrinfo *ai, int backlog)
{
    const int on = 1, off = 0;
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (ai->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind(fd, ai->ai_addr, ai->ai_addrlen) == 0 && listen(fd, backlog) == 0)
        return fd;
    int why = errno;
    close(fd);
    errno = why;
    return -1;
}

/* Tries the addresses that host and port stand for, IPv6 first when all interfaces are meant. */
static int
open_socket(const char *host, uint16_t port, int backlog)
{
    const struct addrinfo hints = {
        .ai_family = host == NULL ? AF_INET6 : AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_PASSIVE | AI_NUMERICSERV,
    };
    struct addrinfo *list, any4 = hints;
    char service[8];
    int fd = -1;

    snprintf(service, sizeof service, "%u", port);
    int rc = getaddrinfo(host, service, &hints, &list);
    if (rc == 0) {
        for (const struct addrinfo *ai = list; ai != NULL && fd < 0; ai = ai->ai_next)
            fd = bind_socket(ai, backlog);
        freeaddrinfo(list);
    } else {
        log_error("cannot listen on %s:%u: %s", host == NULL ? "*" : host, port, gai_strerror(rc));
        return -1;
    }
    if (fd < 0 && host == NULL && (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL)) {
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
        any4.ai_family = AF_INET;
        any4.ai_addr = (struct sockaddr *)&in;
        any4.ai_addrlen = sizeof in;
        fd = bind_socket(&any4, backlog);
    }
    if (fd < 0)
        log_error("cannot listen on %s:%u: %s", host == NULL ? "*" : host, port, strerror(errno));
    return fd;
}

static void
read_address(struct listener *ls)
{
    struct sockaddr_storage addr;
    socklen_t len = sizeof addr;
    char host[NI_MAXHOST] = "?", port[NI_MAXSERV] = "0";

    if (getsockname(ls->fd, (struct sockaddr *)&addr, &len) == 0)
        getnameinfo((struct sockaddr *)&addr, len, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(ls->address, sizeof ls->address, strchr(host, ':') != NULL ? "[%s]:%s" : "%s:%s", host,
             port);
}

struct listener *
listener_new(struct loop *l, const char *host, uint16_t port, int backlog)
{
    int fd = open_socket(host, port, backlog);

    if (fd < 0)
        return NULL;
    struct listener *ls = mem_zalloc(sizeof *ls);
    ls->loop = l;
    ls->fd = fd;
    read_address(ls);
    ls->readable = event_new(l->base, fd, EV_READ | EV_PERSIST, on_readable, ls);
    ls->retry = event_new(l->base, -1, 0, on_retry, ls);
    event_add(ls->readable, NULL);
    return ls;
}

const char *
listener_address(const struct listener *ls)
{
    return ls->address;
}

void
listener_free(struct listener *ls)
{
    event_free(ls->readable);
    event_free(ls->retry);
    close(ls->fd);
    free(ls);
}
