#ifndef CONEY_CORE_ARGUMENTS_H
#define CONEY_CORE_ARGUMENTS_H

#include <stdbool.h>

#include "base/slice.h"
#include "protocol/error.h"

struct vhost;

/* RabbitMQ's upper bound for times: ten years in ms. */
#define ARGUMENT_TIME_MAX INT64_C(315360000000)

/* What an error text says about the thing whose arguments are looked at. */
struct resource {
    const char *kind; /* "queue" or "exchange" */
    const struct vhost *vhost;
    struct slice name;
};

/* The arguments of a queue that is being declared are ones that RabbitMQ takes for a classic queue.
 */
bool arguments_check_queue(const struct resource *res, struct slice arguments,
                           struct amqp_error *err);

/* The alternate-exchange of an exchange that is being declared, if any, is a longstr. */
bool arguments_check_exchange(const struct resource *res, struct slice arguments,
                              struct amqp_error *err);

/* The arguments of basic.consume make sense for a classic queue; sets the consumer's priority. */
bool arguments_check_consumer(const struct resource *res, struct slice arguments,
                              int64_t *priority_r, struct amqp_error *err);

/*
 * Equivalence of a redeclaration with what is there (RabbitMQ's rules: flags exactly, and the
 * arguments that it compares, by value within the same kind of type). False with RabbitMQ's text in
 * `err`.
 */
bool arguments_same_flag(const struct resource *res, const char *field, bool given, bool current,
                         struct amqp_error *err);
bool arguments_same_queue(const struct resource *res, struct slice given, struct slice current,
                          struct amqp_error *err);
bool arguments_same_exchange(const struct resource *res, struct slice given, struct slice current,
                             struct amqp_error *err);

#endif
