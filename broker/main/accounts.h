#ifndef CONEY_MAIN_ACCOUNTS_H
#define CONEY_MAIN_ACCOUNTS_H

#include <stddef.h>

#include "broker/auth/users.h"

struct broker;
struct config;
struct definition;

/* The users that are in the store, on their way to those who check passwords. */
struct accounts {
    struct account *accounts;
    size_t n;
};

/* One that recovery has found; `ctx` is the struct accounts. */
void accounts_recovered(void *ctx, const struct definition *user);

/*
 * All of them. When there is none the configured default user is made and put into the store, as
 * RabbitMQ does at its first start. NULL, with the reason logged, when no password can be hashed.
 */
struct users *accounts_users(struct accounts *a, const struct config *config, struct broker *b);

void accounts_free(struct accounts *a);

#endif
