/* Class exchange: declare, delete, bind, unbind. The order of checks is RabbitMQ's. */
#include "broker/core/arguments.h"
#include "broker/core/channel.h"
#include "broker/core/connection.h"
#include "broker/core/definitions.h"
#include "broker/core/names.h"
#include "broker/core/vhost.h"

static const union amqp_args no_args;

static struct vhost *
vhost_of(const struct channel *ch)
{
    return ch->connection->vhost;
}

/* --- declare --- */

static const struct exchange_type *
find_type(struct slice name, struct amqp_error *err)
{
    const struct exchange_type *type = exchange_type_find(name);

    if (type == NULL)
        amqp_fail(err, AMQP_PRECONDITION_FAILED, "%s exchange type '%.*s'",
                  name.n == 0 ? "invalid" : "unknown", SLICE_FMT(name));
    return type;
}

static bool
check_same(const struct exchange *x, const struct exchange_type *type,
           const struct amqp_exchange_declare *m, struct amqp_error *err)
{
    const struct resource res = {"exchange", x->vhost, x->name};

    if (x->type != type)
        return amqp_fail(err, AMQP_PRECONDITION_FAILED,
                         "inequivalent arg 'type' for exchange " RESOURCE_FMT
                         ": received '%s' but current is '%s'",
                         RESOURCE_ARGS(x->vhost, x->name), type->name, x->type->name);
    return arguments_same_flag(&res, "durable", m->durable, x->durable, err) &&
           arguments_same_flag(&res, "auto_delete", m->auto_delete, x->auto_delete, err) &&
           arguments_same_flag(&res, "internal", m->internal, x->internal, err) &&
           arguments_same_exchange(&res, m->arguments, x->arguments, err);
}

static struct exchange *
declare_new(struct channel *ch, struct slice name, const struct exchange_type *type,
            const struct amqp_exchange_declare *m, struct amqp_error *err)
{
    const struct resource res = {"exchange", vhost_of(ch), name};

    if (slice_starts(name, "amq.")) {
        amqp_fail(err, AMQP_ACCESS_REFUSED, "exchange name '%.*s' contains reserved prefix 'amq.*'",
                  SLICE_FMT(name));
        return NULL;
    }
    if (!arguments_check_exchange(&res, m->arguments, err))
        return NULL;
    if (!channel_check_store(ch, m->durable, err))
        return NULL;
    struct exchange *x = exchange_new(vhost_of(ch), name, type, m->durable, m->auto_delete,
                                      m->internal, m->arguments, 0);
    if (m->durable)
        definition_add_exchange(x);
    return x;
}

/* The exchange, new or there; NULL with `err` set when it may not be. */
static struct exchange *
declare(struct channel *ch, const struct amqp_exchange_declare *m, struct amqp_error *err)
{
    struct name name = name_clean(m->exchange);

    if (m->passive)
        return channel_not_default(name_slice(&name), err)
                   ? channel_exchange(ch, name_slice(&name), err)
                   : NULL;

    const struct exchange_type *type = find_type(m->type, err);
    if (type == NULL || !channel_not_default(name_slice(&name), err))
        return NULL;
    struct exchange *x = vhost_find_exchange(vhost_of(ch), name_slice(&name));
    if (x != NULL)
        return check_same(x, type, m, err) ? x : NULL;
    return declare_new(ch, name_slice(&name), type, m, err);
}

bool
channel_on_exchange_declare(struct channel *ch, const union amqp_args *args, struct amqp_error *err)
{
    const struct exchange *x = declare(ch, &args->exchange_declare, err);

    if (x == NULL)
        return false;
    if (!args->exchange_declare.nowait)
        channel_send_durable(ch, x->durable, AMQP_exchange_declare_ok, &no_args);
    return true;
}

/* --- delete --- */

bool
channel_on_exchange_delete(struct channel *ch, const union amqp_args *args, struct amqp_error *err)
{
    const struct amqp_exchange_delete *m = &args->exchange_delete;
    struct name cleaned = name_clean(m->exchange);
    struct slice name = name_slice(&cleaned);

    if (!channel_not_default(name, err))
        return false;
    if (slice_starts(name, "amq."))
        return amqp_fail(err, AMQP_ACCESS_REFUSED,
                         "deletion of system exchange " RESOURCE_FMT " not allowed",
                         RESOURCE_ARGS(vhost_of(ch), name));
    struct exchange *x = vhost_find_exchange(vhost_of(ch), name);
    if (x != NULL && m->if_unused && x->n_bindings != 0)
        return amqp_fail(err, AMQP_PRECONDITION_FAILED, "exchange " RESOURCE_FMT " in use",
                         RESOURCE_ARGS(vhost_of(ch), name));
    /* What is not there may have gone just now, and not on the disk yet. */
    bool durable = x == NULL || x->durable;
    if (x != NULL && !channel_check_store(ch, durable, err))
        return false;
    if (x != NULL)
        exchange_delete(x);
    if (!m->nowait)
        channel_send_durable(ch, durable, AMQP_exchange_delete_ok, &no_args);
    return true;
}

/* --- bind, unbind --- */

bool
channel_on_exchange_bind(struct channel *ch, const union amqp_args *args, struct amqp_error *err)
{
    const struct amqp_exchange_bind *m = &args->exchange_bind;
    struct name destination = name_clean(m->destination), source = name_clean(m->source);

    if (!channel_not_default(name_slice(&destination), err) ||
        !channel_not_default(name_slice(&source), err))
        return false;
    struct exchange *from = channel_exchange(ch, name_slice(&source), err);
    if (from == NULL)
        return false;
    struct exchange *to = channel_exchange(ch, name_slice(&destination), err);
    if (to == NULL || !channel_check_store(ch, from->durable && to->durable, err) ||
        !exchange_bind(from, (struct destination){.exchange = to}, m->routing_key, m->arguments,
                       err))
        return false;
    if (!m->nowait)
        channel_send_durable(ch, from->durable && to->durable, AMQP_exchange_bind_ok, &no_args);
    return true;
}

bool
channel_on_exchange_unbind(struct channel *ch, const union amqp_args *args, struct amqp_error *err)
{
    const struct amqp_exchange_unbind *m = &args->exchange_unbind;
    struct name destination = name_clean(m->destination), source = name_clean(m->source);

    if (!channel_not_default(name_slice(&destination), err) ||
        !channel_not_default(name_slice(&source), err))
        return false;
    struct exchange *from = vhost_find_exchange(vhost_of(ch), name_slice(&source));
    struct exchange *to = vhost_find_exchange(vhost_of(ch), name_slice(&destination));
    bool durable = from == NULL || to == NULL || from->durable;
    if (from != NULL && to != NULL && !channel_check_store(ch, durable, err))
        return false;
    if (from != NULL && to != NULL)
        exchange_unbind(from, (struct destination){.exchange = to}, m->routing_key, m->arguments);
    if (!m->nowait)
        channel_send_durable(ch, durable, AMQP_exchange_unbind_ok, &no_args);
    return true;
}
