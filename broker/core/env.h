#ifndef CONEY_CORE_ENV_H
#define CONEY_CORE_ENV_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

/*
 * What the core needs of the world around it, handed in at construction. It does no I/O itself:
 * bytes come in through connection_input(), go out through connection.out, time is broker.now. `io`
 * is what the owner of the sockets gave to connection_new(). None of these may call back into the
 * core before it returns.
 */
struct env {
    void *ctx;

    /* There is something to dispatch, to confirm or to write: call broker_tick() soon. */
    void (*want_tick)(void *ctx);

    /* Stop feeding this connection (held) or go on with what it has not taken yet. */
    void (*hold_input)(void *io, bool held);

    /* End this connection: after its output is written, or at once with a TCP reset. Then
     * connection_free(). */
    void (*shut)(void *io, bool reset);

    /*
     * Check a password away from the loop. The answer goes to broker_authenticated() with the same
     * handle, later. User and password are copied by the callee.
     */
    void (*authenticate)(void *ctx, uint64_t handle, struct slice user, struct slice password,
                         bool peer_is_loopback);
};

#endif
