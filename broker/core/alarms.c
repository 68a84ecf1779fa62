#include "broker/core/alarms.h"

#include "base/log.h"
#include "broker/core/broker.h"

static const char *
describe(enum alarm alarm)
{
    switch (alarm) {
    case ALARM_MEMORY:
        return "memory resource limit alarm";
    case ALARM_DISK:
        return "disk resource limit alarm";
    case ALARM_STORE:
        return "store alarm";
    }
    return "alarm";
}

/* RabbitMQ's words, in its order. */
static const char *
reason(unsigned alarms)
{
    bool disk = (alarms & (ALARM_DISK | ALARM_STORE)) != 0;

    if (!(alarms & ALARM_MEMORY))
        return "low on disk";
    return disk ? "low on disk & memory" : "low on memory";
}

void
connection_block(struct connection *c)
{
    const union amqp_args args = {
        .connection_blocked = {.reason = slice_str(reason(c->broker->alarms))}};

    connection_hold(c, HOLD_ALARM);
    log_debug("connection %s is blocked: %s", c->name, reason(c->broker->alarms));
    if (c->capabilities.connection_blocked)
        connection_send(c, 0, AMQP_connection_blocked, &args);
}

static void
unblock(struct connection *c)
{
    const union amqp_args args = {0};

    log_debug("connection %s is no longer blocked", c->name);
    if (c->capabilities.connection_blocked)
        connection_send(c, 0, AMQP_connection_unblocked, &args);
    connection_release_hold(c, HOLD_ALARM);
}

void
broker_set_alarm(struct broker *b, enum alarm alarm, bool is_set)
{
    struct connection *c;

    if (((b->alarms & alarm) != 0) == is_set)
        return;
    b->alarms ^= alarm;
    if (is_set) {
        log_warning("%s set: publishers will be blocked until this alarm clears", describe(alarm));
        return;
    }
    log_warning("%s cleared%s", describe(alarm),
                b->alarms != 0 ? ", but publishers stay blocked by another" : "");
    if (b->alarms != 0)
        return;
    TAILQ_FOREACH (c, &b->connections, link) {
        if (c->holds & HOLD_ALARM)
            unblock(c);
    }
}
