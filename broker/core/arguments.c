/*
 * Arguments of queues, exchanges and consumers: what is valid and what counts as the same, with
 * RabbitMQ's texts. The order of the list below is the order in which RabbitMQ checks and compares.
 */
#include "broker/core/arguments.h"

#include <stdio.h>

#include "base/log.h"
#include "broker/core/vhost.h"
#include "protocol/table.h"

#define RES_FMT "%s " RESOURCE_FMT
#define RES_ARGS(res) (res)->kind, RESOURCE_ARGS((res)->vhost, (res)->name)

/* --- validity --- */

struct argument {
    const char *name;
    /* The value is good; otherwise false with RabbitMQ's reason in `why` (or an error of its own).
     */
    bool (*check)(const struct resource *res, const struct argument *arg,
                  const struct amqp_value *v, struct amqp_error *err);
    int64_t min, max; /* of integers */
    bool ineffective; /* accepted, stored and compared, but without effect in this version */
};

static bool
invalid(const struct resource *res, const struct argument *arg, struct amqp_error *err,
        const char *why)
{
    return amqp_fail(err, AMQP_PRECONDITION_FAILED, "invalid arg '%s' for " RES_FMT ": %s",
                     arg->name, RES_ARGS(res), why);
}

static bool
unacceptable_type(const struct resource *res, const struct argument *arg,
                  const struct amqp_value *v, struct amqp_error *err)
{
    char why[64];

    snprintf(why, sizeof why, "{unacceptable_type,%s}", amqp_tag_name(v->tag));
    return invalid(res, arg, err, why);
}

/* Decimals are of the integers' kind in RabbitMQ's comparisons, but no integers here. */
static bool
expect_integer(const struct resource *res, const struct argument *arg, const struct amqp_value *v,
               struct amqp_error *err)
{
    char why[64];

    if (amqp_value_kind(v) == AMQP_KIND_INT)
        return true;
    snprintf(why, sizeof why, "\"expected integer, got %s\"", amqp_tag_name(v->tag));
    return invalid(res, arg, err, why);
}

static bool
check_integer(const struct resource *res, const struct argument *arg, const struct amqp_value *v,
              struct amqp_error *err)
{
    char why[64];

    if (!expect_integer(res, arg, v, err))
        return false;
    if (v->i < 0)
        snprintf(why, sizeof why, "{value_negative,%lld}", (long long)v->i);
    else if (v->i < arg->min)
        snprintf(why, sizeof why, "{value_zero,%lld}", (long long)v->i);
    else if (v->i > arg->max)
        snprintf(why, sizeof why,
                 arg->max == UINT8_MAX ? "{max_value_exceeded,%lld}" : "{value_too_large,%lld}",
                 (long long)v->i);
    else
        return true;
    return invalid(res, arg, err, why);
}

static bool
check_exchange_name(const struct resource *res, const struct argument *arg,
                    const struct amqp_value *v, struct amqp_error *err)
{
    if (v->tag == AMQP_TAG_LONGSTR)
        return true;
    return amqp_fail(err, AMQP_PRECONDITION_FAILED, "invalid type '%s' for arg '%s' in " RES_FMT,
                     amqp_tag_name(v->tag), arg->name, RES_ARGS(res));
}

static bool
check_string(const struct resource *res, const struct argument *arg, const struct amqp_value *v,
             struct amqp_error *err)
{
    return v->tag == AMQP_TAG_LONGSTR || unacceptable_type(res, arg, v, err);
}

static bool
check_bool(const struct resource *res, const struct argument *arg, const struct amqp_value *v,
           struct amqp_error *err)
{
    return v->tag == AMQP_TAG_BOOL || unacceptable_type(res, arg, v, err);
}

static bool
check_overflow(const struct resource *res, const struct argument *arg, const struct amqp_value *v,
               struct amqp_error *err)
{
    if (!check_string(res, arg, v, err))
        return false;
    if (slice_is(v->s, "drop-head") || slice_is(v->s, "reject-publish") ||
        slice_is(v->s, "reject-publish-dlx"))
        return true;
    return invalid(res, arg, err, "invalid_overflow");
}

static bool
check_queue_type(const struct resource *res, const struct argument *arg, const struct amqp_value *v,
                 struct amqp_error *err)
{
    char why[300];

    if (!check_string(res, arg, v, err))
        return false;
    if (v->s.n == 0 || slice_is(v->s, "classic"))
        return true;
    snprintf(why, sizeof why, "\"unsupported queue type '%.*s'\"", SLICE_FMT(v->s));
    return invalid(res, arg, err, why);
}

static bool
check_leader_locator(const struct resource *res, const struct argument *arg,
                     const struct amqp_value *v, struct amqp_error *err)
{
    static const char *const locators[] = {"client-local", "balanced", "random", "least-leaders"};

    if (!check_string(res, arg, v, err))
        return false;
    for (size_t i = 0; i < sizeof locators / sizeof *locators; i++) {
        if (slice_is(v->s, locators[i]))
            return true;
    }
    return invalid(res, arg, err, "invalid_queue_locator_arg");
}

static bool
check_nothing(const struct resource *res, const struct argument *arg, const struct amqp_value *v,
              struct amqp_error *err)
{
    (void)res, (void)arg, (void)v, (void)err;
    return true;
}

/* RabbitMQ knows these, but not for classic queues. */
static bool
check_other_type(const struct resource *res, const struct argument *arg, const struct amqp_value *v,
                 struct amqp_error *err)
{
    (void)v;
    return amqp_fail(err, AMQP_PRECONDITION_FAILED,
                     "invalid arg '%s' for " RES_FMT " of queue type rabbit_classic_queue",
                     arg->name, RES_ARGS(res));
}

static const struct argument queue_arguments[] = {
    {"x-expires", check_integer, 1, ARGUMENT_TIME_MAX, true},
    {"x-message-ttl", check_integer, 0, ARGUMENT_TIME_MAX, true},
    {"x-dead-letter-exchange", check_exchange_name, 0, 0, true},
    {"x-dead-letter-routing-key", check_string, 0, 0, true},
    {"x-max-length", check_integer, 0, INT64_MAX, true},
    {"x-max-length-bytes", check_integer, 0, INT64_MAX, true},
    {"x-max-priority", check_integer, 0, UINT8_MAX, true},
    {"x-overflow", check_overflow, 0, 0, true},
    {"x-queue-mode", check_nothing, 0, 0, false},
    {"x-queue-version", check_nothing, 0, 0, false},
    {"x-single-active-consumer", check_bool, 0, 0, true},
    {"x-queue-type", check_queue_type, 0, 0, false},
    {"x-queue-master-locator", check_nothing, 0, 0, false},
    {"x-queue-leader-locator", check_leader_locator, 0, 0, false},
};

/* Of other queue types: refused on a classic queue, or on its consumers. */
static const struct argument foreign_queue_arguments[] = {
    {.name = "x-delivery-limit"},
    {.name = "x-dead-letter-strategy"},
    {.name = "x-quorum-initial-group-size"},
    {.name = "x-consumer-timeout"},
    {.name = "x-consumer-disconnected-timeout"},
    {.name = "x-delayed-retry-type"},
    {.name = "x-delayed-retry-min"},
    {.name = "x-delayed-retry-max"},
    {.name = "x-max-age"},
    {.name = "x-stream-max-segment-size-bytes"},
    {.name = "x-stream-filter-size-bytes"},
    {.name = "x-initial-cluster-size"},
};

static const struct argument foreign_consumer_arguments[] = {
    {.name = "x-stream-offset"},
    {.name = "x-consumer-timeout"},
};

#define COUNT(a) (sizeof(a) / sizeof *(a))

static bool
refuse_foreign(const struct resource *res, const struct argument *foreign, size_t n,
               struct slice arguments, struct amqp_error *err)
{
    struct amqp_value v;

    for (size_t i = 0; i < n; i++) {
        if (amqp_table_get(arguments, foreign[i].name, &v))
            return check_other_type(res, &foreign[i], &v, err);
    }
    return true;
}

bool
arguments_check_queue(const struct resource *res, struct slice arguments, struct amqp_error *err)
{
    struct amqp_value v;

    if (!refuse_foreign(res, foreign_queue_arguments, COUNT(foreign_queue_arguments), arguments,
                        err))
        return false;
    for (size_t i = 0; i < COUNT(queue_arguments); i++) {
        const struct argument *arg = &queue_arguments[i];
        if (!amqp_table_get(arguments, arg->name, &v))
            continue;
        if (!arg->check(res, arg, &v, err))
            return false;
        if (arg->ineffective)
            log_warning(RES_FMT ": argument '%s' has no effect in this version", RES_ARGS(res),
                        arg->name);
    }
    if (amqp_table_get(arguments, "x-dead-letter-routing-key", &v) &&
        !amqp_table_get(arguments, "x-dead-letter-exchange", &v))
        return invalid(res, &(struct argument){.name = "x-dead-letter-routing-key"}, err,
                       "routing_key_but_no_dlx_defined");
    return true;
}

static const struct argument alternate_exchange = {.name = "alternate-exchange"};

bool
arguments_check_exchange(const struct resource *res, struct slice arguments, struct amqp_error *err)
{
    struct amqp_value v;

    return !amqp_table_get(arguments, alternate_exchange.name, &v) ||
           check_exchange_name(res, &alternate_exchange, &v, err);
}

bool
arguments_check_consumer(const struct resource *res, struct slice arguments, int64_t *priority_r,
                         struct amqp_error *err)
{
    static const struct argument priority = {.name = "x-priority"};
    struct amqp_value v;

    *priority_r = 0;
    if (amqp_table_get(arguments, priority.name, &v)) {
        if (!expect_integer(res, &priority, &v, err))
            return false;
        *priority_r = v.i;
    }
    return refuse_foreign(res, foreign_consumer_arguments, COUNT(foreign_consumer_arguments),
                          arguments, err);
}

/* --- equivalence --- */

static bool
differs(const struct resource *res, const char *field, struct amqp_error *err, const char *given,
        const char *current)
{
    return amqp_fail(err, AMQP_PRECONDITION_FAILED,
                     "inequivalent arg '%s' for " RES_FMT ": received %s but current is %s", field,
                     RES_ARGS(res), given, current);
}

bool
arguments_same_flag(const struct resource *res, const char *field, bool given, bool current,
                    struct amqp_error *err)
{
    if (given == current)
        return true;
    return differs(res, field, err, given ? "'true'" : "'false'", current ? "'true'" : "'false'");
}

/* A value as RabbitMQ prints it in these texts. */
static void
show_value(char *text, size_t size, const struct amqp_value *v)
{
    switch (amqp_value_kind(v)) {
    case AMQP_KIND_BOOL:
        snprintf(text, size, "%s", v->boolean ? "true" : "false");
        break;
    case AMQP_KIND_INT:
        snprintf(text, size, "%lld", (long long)v->i);
        break;
    case AMQP_KIND_FLOAT:
        snprintf(text, size, "%g", v->f);
        break;
    case AMQP_KIND_TIMESTAMP:
        snprintf(text, size, "%llu", (unsigned long long)v->time);
        break;
    case AMQP_KIND_DECIMAL:
        snprintf(text, size, "{%u,%u}", v->decimal.scale, v->decimal.digits);
        break;
    case AMQP_KIND_STRING:
    case AMQP_KIND_BINARY:
        snprintf(text, size, "%.*s", SLICE_FMT(v->s));
        break;
    case AMQP_KIND_TABLE:
    case AMQP_KIND_ARRAY:
    case AMQP_KIND_VOID:
        snprintf(text, size, "%s", amqp_tag_name(v->tag));
        break;
    }
}

/* One argument of both sides; either may lack it (NULL). */
static bool
same_argument(const struct resource *res, const char *name, const struct amqp_value *given,
              const struct amqp_value *current, struct amqp_error *err)
{
    char value[300], text[400], other[400];

    if (given == NULL && current == NULL)
        return true;
    if (given != NULL && current != NULL) {
        if (amqp_value_eq(given, current))
            return true;
        show_value(value, sizeof value, given);
        snprintf(text, sizeof text, "'%s'", value);
        show_value(value, sizeof value, current);
        snprintf(other, sizeof other, "'%s'", value);
        return differs(res, name, err, text, other);
    }
    const struct amqp_value *v = given != NULL ? given : current;
    show_value(value, sizeof value, v);
    snprintf(text, sizeof text, "the value '%s' of type '%s'", value, amqp_tag_name(v->tag));
    return differs(res, name, err, given != NULL ? text : "none", current != NULL ? text : "none");
}

static bool
same(const struct resource *res, const char *name, struct slice given, struct slice current,
     struct amqp_error *err)
{
    struct amqp_value a, b;
    bool has_a = amqp_table_get(given, name, &a), has_b = amqp_table_get(current, name, &b);

    return same_argument(res, name, has_a ? &a : NULL, has_b ? &b : NULL, err);
}

/* No type, an empty one and "classic" are the same. */
static bool
same_queue_type(const struct resource *res, struct slice given, struct slice current,
                struct amqp_error *err)
{
    const struct amqp_value classic = {.tag = AMQP_TAG_LONGSTR, .s = slice_str("classic")};
    struct amqp_value a, b;

    if (!amqp_table_get(given, "x-queue-type", &a) || (a.tag == AMQP_TAG_LONGSTR && a.s.n == 0))
        a = classic;
    if (!amqp_table_get(current, "x-queue-type", &b) || (b.tag == AMQP_TAG_LONGSTR && b.s.n == 0))
        b = classic;
    return same_argument(res, "x-queue-type", &a, &b, err);
}

bool
arguments_same_queue(const struct resource *res, struct slice given, struct slice current,
                     struct amqp_error *err)
{
    for (size_t i = 0; i < COUNT(queue_arguments); i++) {
        const char *name = queue_arguments[i].name;
        bool is_type = strcmp(name, "x-queue-type") == 0;
        if (is_type ? !same_queue_type(res, given, current, err)
                    : !same(res, name, given, current, err))
            return false;
    }
    return true;
}

bool
arguments_same_exchange(const struct resource *res, struct slice given, struct slice current,
                        struct amqp_error *err)
{
    return same(res, alternate_exchange.name, given, current, err);
}
