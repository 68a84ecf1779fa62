/* Class queue: declare, bind, unbind, purge, delete. The order of checks is RabbitMQ's. */
#include <stdlib.h>

#include "base/mem.h"
#include "broker/core/arguments.h"
#include "broker/core/channel.h"
#include "broker/core/broker.h"
#include "broker/core/connection.h"
#include "broker/core/definitions.h"
#include "broker/core/names.h"
#include "broker/core/vhost.h"

static struct vhost *
vhost_of(const struct channel *ch)
{
    return ch->connection->vhost;
}

/* --- declare --- */

/* The channel's other methods mean this queue when they name none. */
static void
remember(struct channel *ch, struct slice name)
{
    free(ch->last_queue);
    ch->last_queue = mem_alloc(1 + name.n);
    ch->last_queue[0] = (uint8_t)name.n;
    memcpy(ch->last_queue + 1, name.p, name.n);
}

static struct queue *
check_same(struct channel *ch, struct queue *q, const struct amqp_queue_declare *m,
           struct amqp_error *err)
{
    const struct resource res = {"queue", q->vhost, q->name};

    if (channel_queue(ch, q->name, err) == NULL)
        return NULL;
    if ((q->owner != NULL) != m->exclusive) {
        channel_fail_locked(q, err);
        return NULL;
    }
    /* An exclusive queue is transient whatever its durable bit says. */
    if ((q->owner == NULL && !arguments_same_flag(&res, "durable", m->durable, q->durable, err)) ||
        !arguments_same_flag(&res, "auto_delete", m->auto_delete, q->auto_delete, err) ||
        !arguments_same_queue(&res, m->arguments, q->arguments, err))
        return NULL;
    return q;
}

static struct queue *
declare_named(struct channel *ch, struct slice name, const struct amqp_queue_declare *m,
              struct amqp_error *err)
{
    const struct resource res = {"queue", vhost_of(ch), name};
    struct queue *q = vhost_find_queue(vhost_of(ch), name);

    if (q != NULL)
        return check_same(ch, q, m, err);
    if (!arguments_check_queue(&res, m->arguments, err))
        return NULL;
    bool durable = m->durable && !m->exclusive;
    if (!channel_check_store(ch, durable, err))
        return NULL;
    uint64_t id = durable ? journal_new_id(&ch->connection->broker->journal) : 0;
    q = queue_new(vhost_of(ch), name, durable, m->auto_delete, m->exclusive ? ch->connection : NULL,
                  m->arguments, id);
    if (durable)
        definition_add_queue(q);
    return q;
}

static struct queue *
declare(struct channel *ch, const struct amqp_queue_declare *m, struct amqp_error *err)
{
    struct name name = name_clean(m->queue);

    if (m->passive)
        return channel_queue(ch, name_slice(&name), err);
    if (name.len == 0)
        name = name_generate("amq.gen-");
    else if (slice_starts(name_slice(&name), "amq.")) {
        amqp_fail(err, AMQP_ACCESS_REFUSED, "queue name '%.*s' contains reserved prefix 'amq.*'",
                  SLICE_FMT(name_slice(&name)));
        return NULL;
    }
    return declare_named(ch, name_slice(&name), m, err);
}

bool
channel_on_queue_declare(struct channel *ch, const union amqp_args *args, struct amqp_error *err)
{
    const struct amqp_queue_declare *m = &args->queue_declare;
    struct queue *q = declare(ch, m, err);

    if (q == NULL)
        return false;
    remember(ch, q->name);
    if (m->nowait)
        return true;
    union amqp_args ok = {.queue_declare_ok = {
                              .queue = q->name,
                              .message_count = queue_message_count(q),
                              .consumer_count = q->n_consumers,
                          }};
    channel_send_durable(ch, q->durable, AMQP_queue_declare_ok, &ok);
    return true;
}

/* --- bind, unbind --- */

/* What queue.bind and queue.unbind name, with the short forms resolved. */
struct ends {
    struct name queue, exchange;
    struct slice key;
};

static bool
resolve_ends(struct channel *ch, struct slice queue, struct slice exchange, struct slice key,
             struct ends *ends_r, struct amqp_error *err)
{
    struct slice name;

    if (!channel_queue_name(ch, queue, &name, err))
        return false;
    ends_r->queue = name_clean(name);
    ends_r->exchange = name_clean(exchange);
    ends_r->key = queue.n == 0 && key.n == 0 ? name_slice(&ends_r->queue) : key;
    return channel_not_default(name_slice(&ends_r->exchange), err);
}

bool
channel_on_queue_bind(struct channel *ch, const union amqp_args *args, struct amqp_error *err)
{
    const struct amqp_queue_bind *m = &args->queue_bind;
    const union amqp_args ok = {0};
    struct ends ends;

    if (!resolve_ends(ch, m->queue, m->exchange, m->routing_key, &ends, err))
        return false;
    struct exchange *x = channel_exchange(ch, name_slice(&ends.exchange), err);
    if (x == NULL)
        return false;
    struct queue *q = channel_queue(ch, name_slice(&ends.queue), err);
    if (q == NULL || !channel_check_store(ch, x->durable && q->durable, err) ||
        !exchange_bind(x, (struct destination){.queue = q}, ends.key, m->arguments, err))
        return false;
    if (!m->nowait)
        channel_send_durable(ch, x->durable && q->durable, AMQP_queue_bind_ok, &ok);
    return true;
}

bool
channel_on_queue_unbind(struct channel *ch, const union amqp_args *args, struct amqp_error *err)
{
    const struct amqp_queue_unbind *m = &args->queue_unbind;
    const union amqp_args ok = {0};
    struct ends ends;

    if (!resolve_ends(ch, m->queue, m->exchange, m->routing_key, &ends, err))
        return false;
    struct exchange *x = vhost_find_exchange(vhost_of(ch), name_slice(&ends.exchange));
    struct queue *q = vhost_find_queue(vhost_of(ch), name_slice(&ends.queue));
    /* An exchange may go with its last binding. */
    bool durable = x == NULL || q == NULL || (x->durable && (q->durable || x->auto_delete));
    if (x != NULL && q != NULL && !channel_check_store(ch, durable, err))
        return false;
    if (x != NULL && q != NULL)
        exchange_unbind(x, (struct destination){.queue = q}, ends.key, m->arguments);
    channel_send_durable(ch, durable, AMQP_queue_unbind_ok, &ok);
    return true;
}

/* --- purge, delete --- */

bool
channel_on_queue_purge(struct channel *ch, const union amqp_args *args, struct amqp_error *err)
{
    const struct amqp_queue_purge *m = &args->queue_purge;
    struct slice name;
    struct queue *q;

    if (!channel_queue_name(ch, m->queue, &name, err) ||
        (q = channel_queue(ch, name, err)) == NULL || !channel_check_store(ch, q->durable, err))
        return false;
    union amqp_args ok = {.queue_purge_ok = {.message_count = queue_message_count(q)}};
    queue_purge(q);
    if (!m->nowait)
        channel_send_durable(ch, q->durable, AMQP_queue_purge_ok, &ok);
    return true;
}

static bool
check_delete(struct channel *ch, struct queue *q, const struct amqp_queue_delete *m,
             struct amqp_error *err)
{
    if (channel_queue(ch, q->name, err) == NULL)
        return false;
    if (m->if_empty && q->ready.count != 0)
        return amqp_fail(err, AMQP_PRECONDITION_FAILED, "queue " RESOURCE_FMT " not empty",
                         RESOURCE_ARGS(q->vhost, q->name));
    if (m->if_unused && q->n_consumers != 0)
        return amqp_fail(err, AMQP_PRECONDITION_FAILED, "queue " RESOURCE_FMT " in use",
                         RESOURCE_ARGS(q->vhost, q->name));
    return true;
}

bool
channel_on_queue_delete(struct channel *ch, const union amqp_args *args, struct amqp_error *err)
{
    const struct amqp_queue_delete *m = &args->queue_delete;
    union amqp_args ok = {.queue_delete_ok = {.message_count = 0}};
    struct slice given;

    if (!channel_queue_name(ch, m->queue, &given, err))
        return false;
    struct name name = name_clean(given);
    struct queue *q = vhost_find_queue(vhost_of(ch), name_slice(&name));
    /* What is not there may have gone just now, and not on the disk yet. */
    bool durable = q == NULL || q->durable;
    if (q != NULL) {
        if (!check_delete(ch, q, m, err) || !channel_check_store(ch, durable, err))
            return false;
        ok.queue_delete_ok.message_count = queue_message_count(q);
        queue_delete(q);
    }
    if (!m->nowait)
        channel_send_durable(ch, durable, AMQP_queue_delete_ok, &ok);
    return true;
}
