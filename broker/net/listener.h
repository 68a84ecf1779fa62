#ifndef CONEY_NET_LISTENER_H
#define CONEY_NET_LISTENER_H

#include <stdbool.h>
#include <stdint.h>

struct listener;
struct loop;

/*
 * Listens on host and port and hands what it accepts to the loop. No host: all interfaces, IPv6 and
 * IPv4. Port 0 takes a free one. NULL when that fails, with the reason logged.
 */
struct listener *listener_new(struct loop *l, const char *host, uint16_t port, int backlog);

/* "127.0.0.1:5672": where it really listens. Valid as long as the listener is. */
const char *listener_address(const struct listener *ls);

/* Closes it; what was accepted lives on. */
void listener_free(struct listener *ls);

#endif
