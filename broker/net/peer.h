#ifndef CONEY_NET_PEER_H
#define CONEY_NET_PEER_H

#include <bsd/sys/queue.h>
#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct connection;
struct loop;

enum peer_end { PEER_OPEN, PEER_SHUT, PEER_RESET };

/* The socket of a connection, with the input that the core could not take yet. */
struct peer {
    struct loop *loop;
    struct connection *connection;
    struct event *readable, *writable;
    int fd;
    bool held;        /* the core wants no input */
    bool is_resuming; /* in loop->resuming */
    bool is_blocked;  /* the kernel takes no output: wait for writable */
    bool is_dying;    /* in loop->dying */
    enum peer_end end;
    uint8_t *stash; /* input that has not been taken; NULL when there is none */
    size_t n_stash;
    TAILQ_ENTRY(peer) resuming_link, dying_link;
};

TAILQ_HEAD(peer_list, peer);

/* Takes an accepted, non-blocking socket over. */
void peer_accept(struct loop *l, int fd, const struct sockaddr *addr, socklen_t addr_len);

/* Writes what its connection has to say, as far as the kernel takes it. */
void peer_flush(struct peer *p);

/* Feeds what was held back and reads on. */
void peer_resume(struct peer *p);

/* Carries out what was asked of a dying peer, if it can be done now: ends it and frees everything.
 */
void peer_try_end(struct peer *p);

/* Ends it now. */
void peer_free(struct peer *p);

/* For struct env. */
void peer_hold_input(void *io, bool held);
void peer_shut(void *io, bool reset);

#endif
