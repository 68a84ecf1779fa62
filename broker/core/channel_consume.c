/* The consuming half of class basic: qos, consume, cancel, get, deliveries and their settlement,
 * recover. */
#include "base/mem.h"
#include "broker/core/arguments.h"
#include "broker/core/broker.h"
#include "broker/core/channel.h"
#include "broker/core/delivery.h"
#include "broker/core/names.h"
#include "broker/core/paging.h"
#include "broker/core/queue.h"
#include "broker/core/stubs.h"
#include "broker/core/vhost.h"

/* --- qos --- */

void
channel_wake_consumers(struct channel *ch)
{
    struct consumer *c;

    TAILQ_FOREACH (c, &ch->consumers, channel_link)
        consumer_wake(c);
}

/*
 * A non-global limit is RabbitMQ's default for consumers to come; here it is also given to those
 * that are there, as LavinMQ does: clients that see another product name than "RabbitMQ" count on
 * it. A global limit is one window over all of the channel's consumers (RabbitMQ up to 4.2).
 */
bool
channel_on_basic_qos(struct channel *ch, const union amqp_args *args, struct amqp_error *err)
{
    const struct amqp_basic_qos *m = &args->basic_qos;
    const union amqp_args ok = {0};
    struct consumer *c;

    if (m->prefetch_size != 0)
        return amqp_fail(err, AMQP_NOT_IMPLEMENTED, "prefetch_size!=0 (%u)", m->prefetch_size);
    if (m->global) {
        ch->global_prefetch = m->prefetch_count;
    } else {
        ch->prefetch = m->prefetch_count;
        TAILQ_FOREACH (c, &ch->consumers, channel_link)
            c->prefetch = m->prefetch_count;
    }
    channel_wake_consumers(ch);
    channel_send(ch, AMQP_basic_qos_ok, &ok);
    return true;
}

/* --- consume, cancel --- */

static struct consumer *
find_consumer(struct channel *ch, struct slice tag)
{
    struct consumer *c;

    HASH_FIND(hh, ch->tags, tag.p, tag.n, c);
    return c;
}

static bool
check_exclusivity(const struct queue *q, bool exclusive, struct amqp_error *err)
{
    if (!q->has_exclusive_consumer && !(exclusive && q->n_consumers != 0))
        return true;
    return amqp_fail(err, AMQP_ACCESS_REFUSED, "queue " RESOURCE_FMT " in exclusive use",
                     RESOURCE_ARGS(q->vhost, q->name));
}

static bool
check_tag(struct channel *ch, struct slice tag, struct amqp_error *err)
{
    uint32_t max = ch->connection->broker->settings->consumer_max;

    if (find_consumer(ch, tag) != NULL)
        return amqp_fail(err, AMQP_NOT_ALLOWED, "attempt to reuse consumer tag '%.*s'",
                         SLICE_FMT(tag));
    if (max != 0 && HASH_COUNT(ch->tags) >= max)
        return amqp_fail(err, AMQP_NOT_ALLOWED, "reached maximum (%u) of consumers per channel",
                         max);
    return true;
}

bool
channel_on_basic_consume(struct channel *ch, const union amqp_args *args, struct amqp_error *err)
{
    const struct amqp_basic_consume *m = &args->basic_consume;
    struct name generated;
    struct slice tag = m->consumer_tag, name;
    struct queue *q;
    int64_t priority;

    if (!channel_queue_name(ch, m->queue, &name, err) || !check_tag(ch, tag, err) ||
        (q = channel_queue(ch, name, err)) == NULL)
        return false;
    const struct resource res = {"queue", q->vhost, q->name};
    if (!arguments_check_consumer(&res, m->arguments, &priority, err) ||
        !check_exclusivity(q, m->exclusive, err))
        return false;
    if (tag.n == 0) {
        generated = name_generate("amq.ctag-");
        tag = name_slice(&generated);
    }
    consumer_new(ch, q, tag, m->no_ack, m->exclusive, priority, ch->prefetch);
    if (!m->nowait) {
        union amqp_args ok = {.basic_consume_ok = {.consumer_tag = tag}};
        channel_send(ch, AMQP_basic_consume_ok, &ok);
    }
    return true;
}

bool
channel_on_basic_cancel(struct channel *ch, const union amqp_args *args, struct amqp_error *err)
{
    const struct amqp_basic_cancel *m = &args->basic_cancel;
    const union amqp_args ok = {.basic_cancel_ok = {.consumer_tag = m->consumer_tag}};
    struct consumer *c = find_consumer(ch, m->consumer_tag);

    (void)err;
    if (c != NULL)
        consumer_cancel(c);
    if (!m->nowait)
        channel_send(ch, AMQP_basic_cancel_ok, &ok);
    return true;
}

void
channel_notify_cancel(struct channel *ch, const struct consumer *c)
{
    const union amqp_args args = {.basic_cancel = {.consumer_tag = c->tag, .nowait = true}};

    if (ch->connection->capabilities.consumer_cancel_notify)
        channel_send(ch, AMQP_basic_cancel, &args);
}

/* --- deliveries --- */

/* Keeps a delivery until it is settled; `c` is NULL for basic.get. */
static void
hold(struct channel *ch, uint64_t tag, const struct entry *e, struct queue *q, struct consumer *c)
{
    const struct delivery d = {.tag = tag, .entry = *e, .queue = q, .consumer = c};

    q->refs++;
    q->n_unacked++;
    if (c != NULL) {
        c->refs++;
        c->unacked++;
        ch->n_consumed++;
    }
    unacked_push(&ch->unacked, &d);
    stubs_delivered(ch, &d);
}

void
channel_deliver(struct channel *ch, struct consumer *c, struct entry e)
{
    uint64_t tag = ++ch->last_tag;

    delivery_deliver(ch, c, e.message, tag, e.redelivered);
    if (c->no_ack)
        queue_settle(c->queue, &e);
    else
        hold(ch, tag, &e, c->queue, c);
}

static const union amqp_args get_empty = {.basic_get_empty = {.cluster_id = {NULL, 0}}};

/* Answers a basic.get if there is a message in memory. */
static bool
get(struct channel *ch, struct queue *q, bool no_ack)
{
    struct entry e;

    if (!queue_take(q, &e))
        return false;
    uint64_t tag = ++ch->last_tag;
    delivery_get_ok(ch, e.message, tag, e.redelivered, queue_message_count(q));
    if (no_ack)
        queue_settle(q, &e);
    else
        hold(ch, tag, &e, q, NULL);
    return true;
}

bool
channel_on_basic_get(struct channel *ch, const union amqp_args *args, struct amqp_error *err)
{
    const struct amqp_basic_get *m = &args->basic_get;
    struct slice name;
    struct queue *q;

    if (!channel_queue_name(ch, m->queue, &name, err) || (q = channel_queue(ch, name, err)) == NULL)
        return false;
    if (get(ch, q, m->no_ack))
        return true;
    if (q->ready.count == 0) {
        channel_send(ch, AMQP_basic_get_empty, &get_empty);
        return true;
    }
    ch->get.queue = q;
    ch->get.no_ack = m->no_ack;
    TAILQ_INSERT_TAIL(&q->gets, &ch->get, link);
    connection_hold(ch->connection, HOLD_GET);
    paging_read_ahead(q);
    return true;
}

void
channel_finish_get(struct get *g)
{
    struct channel *ch = g->channel;
    struct queue *q = g->queue;

    queue_forget_get(g);
    connection_release_hold(ch->connection, HOLD_GET);
    if (!get(ch, q, g->no_ack))
        channel_send(ch, AMQP_basic_get_empty, &get_empty);
}

/* --- settlement --- */

void
channel_settle(struct channel *ch, const struct delivery *d, enum settlement how)
{
    d->queue->n_unacked--;
    stubs_settled(d);
    if (how == SETTLE_REQUEUE)
        queue_requeue(d->queue, d->entry);
    else
        queue_settle(d->queue, &d->entry);
    if (d->consumer != NULL) {
        d->consumer->unacked--;
        ch->n_consumed--;
        consumer_wake(d->consumer);
        consumer_unref(d->consumer);
    }
    queue_unref(d->queue);
}

/* A delivery has left the window: now, or when the transaction commits. */
static void
settle(struct channel *ch, const struct delivery *d, enum settlement how)
{
    if (ch->mode == CHANNEL_TX)
        tx_settle(&ch->tx, d, how);
    else
        channel_settle(ch, d, how);
}

/* basic.ack, nack and reject: tag 0 with multiple means everything outstanding. */
static bool
settle_tags(struct channel *ch, uint64_t tag, bool multiple, enum settlement how,
            struct amqp_error *err)
{
    struct delivery d;

    if (!(multiple && tag == 0) && !unacked_has(&ch->unacked, tag))
        return amqp_fail(err, AMQP_PRECONDITION_FAILED, "unknown delivery tag %llu",
                         (unsigned long long)tag);
    if (multiple) {
        while (unacked_take_first(&ch->unacked, tag == 0 ? UINT64_MAX : tag, &d))
            settle(ch, &d, how);
    } else if (unacked_take(&ch->unacked, tag, &d)) {
        settle(ch, &d, how);
    }
    if (ch->global_prefetch != 0)
        channel_wake_consumers(ch);
    return true;
}

bool
channel_on_basic_ack(struct channel *ch, const union amqp_args *args, struct amqp_error *err)
{
    const struct amqp_basic_ack *m = &args->basic_ack;

    return settle_tags(ch, m->delivery_tag, m->multiple, SETTLE_ACK, err);
}

bool
channel_on_basic_nack(struct channel *ch, const union amqp_args *args, struct amqp_error *err)
{
    const struct amqp_basic_nack *m = &args->basic_nack;

    return settle_tags(ch, m->delivery_tag, m->multiple,
                       m->requeue ? SETTLE_REQUEUE : SETTLE_DISCARD, err);
}

bool
channel_on_basic_reject(struct channel *ch, const union amqp_args *args, struct amqp_error *err)
{
    const struct amqp_basic_reject *m = &args->basic_reject;

    return settle_tags(ch, m->delivery_tag, false, m->requeue ? SETTLE_REQUEUE : SETTLE_DISCARD,
                       err);
}

/* --- recover --- */

void
channel_requeue_all(struct channel *ch)
{
    struct delivery d;

    while (unacked_take_first(&ch->unacked, UINT64_MAX, &d))
        channel_settle(ch, &d, SETTLE_REQUEUE);
}

static bool
recover(struct channel *ch, bool requeue, struct amqp_error *err)
{
    if (!requeue)
        return amqp_fail(err, AMQP_NOT_IMPLEMENTED, "requeue=false");
    channel_requeue_all(ch);
    channel_wake_consumers(ch);
    return true;
}

bool
channel_on_basic_recover(struct channel *ch, const union amqp_args *args, struct amqp_error *err)
{
    const union amqp_args ok = {0};

    if (!recover(ch, args->basic_recover.requeue, err))
        return false;
    channel_send(ch, AMQP_basic_recover_ok, &ok);
    return true;
}

bool
channel_on_basic_recover_async(struct channel *ch, const union amqp_args *args,
                               struct amqp_error *err)
{
    return recover(ch, args->basic_recover_async.requeue, err);
}
