/*
 * What a machine can do at all for publishers that await each confirm: two processes send each
 * other requests and replies of the sizes that a publish of 1 KiB and its confirm have, over many
 * connections of the loopback interface, each with one request under way, and do nothing else.
 *
 *     exchange CONNECTIONS SECONDS
 *
 * Prints exchanges per second, and microseconds of CPU for each in the server and in the client.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    REQUEST = 1073, /* basic.publish, content header, a body of 1 KiB */
    REPLY = 21,     /* basic.ack */
    CONNECTIONS_MAX = 1000,
    EVENTS = 64,
};

static char buffer[65536];

static _Noreturn void
fail(const char *what)
{
    perror(what);
    exit(1);
}

static double
seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double
cpu_of(const struct rusage *r)
{
    return (double)(r->ru_utime.tv_sec + r->ru_stime.tv_sec) +
           (double)(r->ru_utime.tv_usec + r->ru_stime.tv_usec) / 1e6;
}

static void
watch(int epoll, int fd)
{
    struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
    int on = 1;

    if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) != 0)
        fail("connection");
}

/* The messages that came in on this connection; -1 at its end. */
static int
receive(int fd, size_t size, size_t *partial)
{
    ssize_t n = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);

    if (n == 0 || (n < 0 && errno != EAGAIN))
        return -1;
    size_t got = *partial + (n < 0 ? 0 : (size_t)n);
    *partial = got % size;
    return (int)(got / size);
}

/* Answers each message of `in` bytes by one of `out` bytes, until a time or the end of a
 * connection; returns how many. */
static uint64_t
answer(int epoll, size_t in, size_t out, double until)
{
    static size_t partial[CONNECTIONS_MAX + 64]; /* by descriptor */
    struct epoll_event events[EVENTS];
    uint64_t n = 0;

    while (seconds() < until) {
        int ready = epoll_wait(epoll, events, EVENTS, 100);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd, k = receive(fd, in, &partial[fd]);
            if (k < 0)
                return n;
            for (; k != 0; k--, n++) {
                if (send(fd, buffer, out, MSG_NOSIGNAL) != (ssize_t)out)
                    return n;
            }
        }
    }
    return n;
}

static _Noreturn void
serve(int listener, int connections, double time)
{
    int epoll = epoll_create1(0);

    /* Whatever becomes of the client. */
    alarm((unsigned)time + 60);
    for (int i = 0; i < connections; i++)
        watch(epoll, accept(listener, NULL, NULL));
    answer(epoll, REQUEST, REPLY, seconds() + 1e9);
    _exit(0);
}

int
main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int connections = argc == 3 ? atoi(argv[1]) : 0;
    double time = argc == 3 ? atof(argv[2]) : 0;
    int fds[CONNECTIONS_MAX];
    struct rusage server, client;

    if (connections < 1 || connections > CONNECTIONS_MAX || time <= 0) {
        fprintf(stderr, "usage: exchange CONNECTIONS SECONDS\n");
        return 64;
    }
    int listener = socket(AF_INET, SOCK_STREAM, 0), epoll = epoll_create1(0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, len) != 0 ||
        listen(listener, connections) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &len) != 0)
        fail("listen");
    pid_t child = fork();
    if (child < 0)
        fail("fork");
    if (child == 0)
        serve(listener, connections, time);
    for (int i = 0; i < connections; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(fds[i], (struct sockaddr *)&address, sizeof address) != 0)
            fail("connect");
        watch(epoll, fds[i]);
    }
    for (int i = 0; i < connections; i++) {
        if (send(fds[i], buffer, REQUEST, 0) != REQUEST)
            fail("send");
    }
    double begin = seconds();
    uint64_t n = answer(epoll, REPLY, REQUEST, begin + time);
    double took = seconds() - begin;
    getrusage(RUSAGE_SELF, &client);
    for (int i = 0; i < connections; i++)
        close(fds[i]);
    if (wait4(child, NULL, 0, &server) != child || n == 0)
        fail("server");
    printf("%.0f %.2f %.2f\n", (double)n / took, cpu_of(&server) * 1e6 / (double)n,
           cpu_of(&client) * 1e6 / (double)n);
    return 0;
}
