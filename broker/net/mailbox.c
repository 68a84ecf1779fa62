#include "broker/net/mailbox.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void
open_letters(struct mailbox *mb)
{
    STAILQ_HEAD(, letter) letters = STAILQ_HEAD_INITIALIZER(letters);
    struct letter *l;

    pthread_mutex_lock(&mb->lock);
    STAILQ_CONCAT(&letters, &mb->letters);
    pthread_mutex_unlock(&mb->lock);
    while ((l = STAILQ_FIRST(&letters)) != NULL) {
        STAILQ_REMOVE_HEAD(&letters, link);
        l->open(l);
    }
}

static void
on_wakeup(evutil_socket_t fd, short what, void *arg)
{
    uint64_t n;

    (void)what;
    if (read(fd, &n, sizeof n) == sizeof n)
        open_letters(arg);
}

void
mailbox_init(struct mailbox *mb, struct event_base *base)
{
    pthread_mutex_init(&mb->lock, NULL);
    STAILQ_INIT(&mb->letters);
    mb->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (mb->fd < 0) {
        perror("eventfd");
        exit(1);
    }
    mb->event = event_new(base, mb->fd, EV_READ | EV_PERSIST, on_wakeup, mb);
    event_add(mb->event, NULL);
}

void
mailbox_post(struct mailbox *mb, struct letter *l)
{
    const uint64_t one = 1;

    pthread_mutex_lock(&mb->lock);
    STAILQ_INSERT_TAIL(&mb->letters, l, link);
    pthread_mutex_unlock(&mb->lock);
    /* Fails only when the counter is at its limit: then a wakeup is due anyway. */
    if (write(mb->fd, &one, sizeof one) < 0)
        return;
}

void
mailbox_fini(struct mailbox *mb)
{
    open_letters(mb);
    event_free(mb->event);
    close(mb->fd);
    pthread_mutex_destroy(&mb->lock);
}
