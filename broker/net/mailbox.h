#ifndef CONEY_NET_MAILBOX_H
#define CONEY_NET_MAILBOX_H

#include <bsd/sys/queue.h>
#include <event2/event.h>
#include <pthread.h>

/*
 * How other threads talk to a loop: a mutex, a list and an eventfd that wakes the loop up. A letter
 * is part of whatever the sender allocated; `open` runs on the loop's thread, once, and owns it
 * then.
 */
struct letter {
    STAILQ_ENTRY(letter) link;
    void (*open)(struct letter *);
};

struct mailbox {
    pthread_mutex_t lock;
    STAILQ_HEAD(, letter) letters;
    int fd;
    struct event *event;
};

/* Attaches to a loop. Exits the process when the system has no eventfd. */
void mailbox_init(struct mailbox *mb, struct event_base *base);

/* Any thread. */
void mailbox_post(struct mailbox *mb, struct letter *l);

/* Opens what has come in so far, then detaches. No other thread may post any more. */
void mailbox_fini(struct mailbox *mb);

#endif
