#ifndef CONEY_CORE_RECOVERY_H
#define CONEY_CORE_RECOVERY_H

#include <stdbool.h>

struct broker;
struct definition;
struct store;

/* Gets each user that is in the store; what it is given lasts for the call only. */
typedef void recovered_user_fn(void *ctx, const struct definition *user);

/*
 * Takes what is in the store into an empty broker, messages as paged out. What is damaged is logged
 * and left out. False, with the reason logged, when the store cannot be read.
 */
bool recovery_run(struct broker *b, struct store *s, recovered_user_fn *user, void *ctx);

#endif
