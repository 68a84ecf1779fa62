#ifndef CONEY_BROKER_AUTH_USERS_H
#define CONEY_BROKER_AUTH_USERS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/mem.h"
#include "base/slice.h"

/*
 * The users that may log in and the hashes of their passwords. Never changes once it is made, so
 * that any thread may read it without a lock.
 */
struct users;
struct password_hash;

/* A user to be; the slices are copied. */
struct user_spec {
    struct slice name;
    struct slice password;            /* blank: the user exists but cannot log in with a password */
    const struct password_hash *hash; /* of it, in its place; or NULL */
    bool loopback_only;               /* may log in from the local machine only */
};

enum users_verdict {
    USERS_ACCEPTED,
    USERS_BAD_CREDENTIALS, /* no such user, or not this password: nobody outside is told which */
    USERS_NOT_LOOPBACK,    /* the password is right, but this user may only connect from the local
                              machine */
};

/* NULL when the passwords cannot be hashed (no randomness) or a name occurs twice. Hashes: not for
 * an event loop. */
MUST_USE struct users *users_new(const struct user_spec *specs, size_t n);

/* Frees and sets to NULL; accepts NULL. */
void users_free(struct users **users);

/*
 * Whether the user may log in. Costs one hash, for unknown names too, so that the time does not
 * tell which names exist. For a worker thread.
 */
MUST_USE enum users_verdict users_check(const struct users *users, struct slice name,
                                        struct slice password, bool peer_is_loopback);

#endif
