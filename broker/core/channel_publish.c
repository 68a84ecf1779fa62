/* basic.publish and what becomes of it: routing, returns, publisher confirms, transactions. */
#include <stdlib.h>

#include "base/mem.h"
#include "broker/core/arguments.h"
#include "broker/core/broker.h"
#include "broker/core/channel.h"
#include "broker/core/delivery.h"
#include "broker/core/queue.h"
#include "broker/core/sender_keys.h"
#include "broker/core/vhost.h"
#include "protocol/props.h"

/* --- basic.publish --- */

bool
channel_on_basic_publish(struct channel *ch, const union amqp_args *args, struct amqp_error *err)
{
    const struct amqp_basic_publish *m = &args->basic_publish;
    struct content *content = &ch->content;

    (void)err;
    if (content->address == NULL)
        content->address = mem_alloc(2 + 2 * UINT8_MAX);
    uint8_t *p = content->address;
    *p++ = (uint8_t)m->exchange.n;
    memcpy(p, m->exchange.p, m->exchange.n);
    p += m->exchange.n;
    *p++ = (uint8_t)m->routing_key.n;
    memcpy(p, m->routing_key.p, m->routing_key.n);
    p += m->routing_key.n;
    content->address_len = (uint16_t)(p - content->address);
    content->mandatory = m->mandatory;
    content->immediate = m->immediate;
    content->state = CONTENT_HEADER;
    return true;
}

/* Erlang's reading of a decimal integer, with the texts that RabbitMQ gives back. */
static bool
check_expiration(struct slice s, struct amqp_error *err)
{
    size_t sign = s.n != 0 && (s.p[0] == '-' || s.p[0] == '+'), i = sign;
    int64_t v = 0;

    while (i < s.n && s.p[i] >= '0' && s.p[i] <= '9') {
        if (v <= ARGUMENT_TIME_MAX)
            v = v * 10 + (s.p[i] - '0');
        i++;
    }
    if (i == sign)
        return amqp_fail(err, AMQP_PRECONDITION_FAILED, "invalid expiration '%.*s': no_integer",
                         SLICE_FMT(s));
    if (i != s.n)
        return amqp_fail(err, AMQP_PRECONDITION_FAILED,
                         "invalid expiration '%.*s': {leftover_string,\"%.*s\"}", SLICE_FMT(s),
                         (int)(s.n - i), (const char *)s.p + i);
    if (s.p[0] == '-' && v > 0)
        return amqp_fail(err, AMQP_PRECONDITION_FAILED,
                         "invalid expiration '%.*s': {value_negative,%.*s}", SLICE_FMT(s),
                         SLICE_FMT(s));
    if (v > ARGUMENT_TIME_MAX)
        return amqp_fail(err, AMQP_PRECONDITION_FAILED,
                         "invalid expiration '%.*s': {value_too_large,%.*s}", SLICE_FMT(s),
                         (int)(s.n - sign), (const char *)s.p + sign);
    return true;
}

/* Properties that mean something to the broker; most messages have none of them. */
static bool
check_props(const struct channel *ch, const struct message *m, struct amqp_error *err)
{
    struct amqp_props props;

    if (!(ch->content.prop_flags & (AMQP_PROP(expiration) | AMQP_PROP(user_id))))
        return true;
    if (!amqp_props_decode(message_props(m), &props))
        return amqp_fail(err, AMQP_INTERNAL_ERROR, NULL);
    if ((props.flags & AMQP_PROP(expiration)) && !check_expiration(props.expiration, err))
        return false;
    if ((props.flags & AMQP_PROP(user_id)) && !slice_eq(props.user_id, ch->connection->user))
        return amqp_fail(err, AMQP_PRECONDITION_FAILED,
                         "user_id property set to '%.*s' but authenticated user was '%.*s'",
                         SLICE_FMT(props.user_id), SLICE_FMT(ch->connection->user));
    return true;
}

/* The exchange of a publish that may go ahead; NULL with `err` set otherwise. In RabbitMQ's order
 * of checks. */
static struct exchange *
check_publish(struct channel *ch, struct amqp_error *err)
{
    const struct content *content = &ch->content;
    struct vhost *v = ch->connection->vhost;

    if (content->immediate) {
        amqp_fail(err, AMQP_NOT_IMPLEMENTED, "immediate=true");
        return NULL;
    }
    if (content->message == NULL) {
        amqp_fail(err, AMQP_PRECONDITION_FAILED,
                  "message size %llu is larger than configured max size %llu",
                  (unsigned long long)content->size,
                  (unsigned long long)v->broker->settings->max_message_size);
        return NULL;
    }
    struct exchange *x = channel_exchange(ch, message_exchange(content->message), err);
    if (x == NULL)
        return NULL;
    if (x->internal) {
        amqp_fail(err, AMQP_ACCESS_REFUSED, "cannot publish to internal exchange " RESOURCE_FMT,
                  RESOURCE_ARGS(v, x->name));
        return NULL;
    }
    return check_props(ch, content->message, err) ? x : NULL;
}

/* Some of these queues is paging out what has been published to it. */
static bool
any_is_leaving(const struct route *r)
{
    for (size_t i = 0; i < r->n; i++) {
        if (r->queues[i]->n_leaving != 0)
            return true;
    }
    return false;
}

/* Where a routed message goes now, or at the transaction's commit. */
static void
accept_publish(struct channel *ch, struct message *m, const struct route *r)
{
    struct broker *b = ch->connection->broker;

    if (ch->mode == CHANNEL_TX) {
        tx_publish(&ch->tx, m, r->queues, r->n, ch->content.mandatory);
        return;
    }
    bool is_stored = channel_enqueue(ch, m, r->queues, r->n, ch->content.mandatory);
    if (ch->mode == CHANNEL_CONFIRM) {
        uint64_t seq = confirms_next(&ch->confirms);
        if (!is_stored)
            channel_confirm(ch, seq);
        else if (journal_works(&b->journal))
            journal_confirm(&b->journal, ch, seq);
        else
            channel_settle_confirms(ch, seq, seq, CONFIRM_NACK);
    }
    if (is_stored && journal_is_behind(&b->journal))
        broker_slow_down(b, ch->connection, HOLD_STORE);
    if (pager_is_behind(&b->pager) && any_is_leaving(r))
        broker_slow_down(b, ch->connection, HOLD_PAGING);
}

/* A message with headers may name further routing keys. */
static bool
publish_with_headers(struct channel *ch, struct exchange *x, struct message *m,
                     struct amqp_error *err)
{
    struct sender_keys sk;
    struct message *stripped = NULL;

    if (!sender_keys_init(&sk, m, err))
        return false;
    struct route *r = exchange_route(x, m, sk.keys, sk.n);
    if (sk.has_bcc && (stripped = message_without_bcc(m)) == NULL) {
        sender_keys_fini(&sk);
        return amqp_fail(err, AMQP_RESOURCE_ERROR, "no memory for a message of %llu bytes",
                         (unsigned long long)m->body_len);
    }
    accept_publish(ch, stripped != NULL ? stripped : m, r);
    if (stripped != NULL)
        message_unref(stripped);
    sender_keys_fini(&sk);
    return true;
}

bool
channel_publish(struct channel *ch, struct amqp_error *err)
{
    struct message *m = ch->content.message;
    struct exchange *x = check_publish(ch, err);

    if (x == NULL)
        return false; /* the content goes with the channel */
    if (ch->content.prop_flags & AMQP_PROP(headers)) {
        if (!publish_with_headers(ch, x, m, err))
            return false;
    } else {
        struct slice key = message_routing_key(m);
        accept_publish(ch, m, exchange_route(x, m, &key, 1));
    }
    ch->content.message = NULL;
    message_unref(m);
    return true;
}

/* How many of the queues, which may have been deleted since a transaction routed, store the
 * message. */
static size_t
count_storing(const struct message *m, struct queue *const *queues, size_t n)
{
    size_t storing = 0;

    for (size_t i = 0; i < n; i++)
        storing += queue_stores(queues[i], m) && !queues[i]->deleted;
    return storing;
}

bool
channel_enqueue(struct channel *ch, struct message *m, struct queue **queues, size_t n,
                bool mandatory)
{
    struct journal *j = &ch->connection->broker->journal;
    size_t storing = m->persistent && j->store != NULL ? count_storing(m, queues, n) : 0;
    uint64_t shared = 0;

    if (n == 0 && mandatory)
        delivery_return(ch, m);
    ch->connection->broker->work += n;
    if (storing > 1 && m->body_len >= JOURNAL_SHARED_MIN && journal_works(j))
        shared = journal_share(j);
    for (size_t i = 0; i < n; i++) {
        if (!queues[i]->deleted)
            queue_publish(queues[i], m, shared);
    }
    return storing != 0;
}

/* --- confirms --- */

bool
channel_on_confirm_select(struct channel *ch, const union amqp_args *args, struct amqp_error *err)
{
    const union amqp_args ok = {0};

    if (ch->mode == CHANNEL_TX)
        return amqp_fail(err, AMQP_PRECONDITION_FAILED, "cannot switch from tx to confirm mode");
    ch->mode = CHANNEL_CONFIRM;
    if (!args->confirm_select.nowait)
        channel_send(ch, AMQP_confirm_select_ok, &ok);
    return true;
}

void
channel_confirm(struct channel *ch, uint64_t seq)
{
    channel_settle_confirms(ch, seq, seq, CONFIRM_ACK);
}

void
channel_settle_confirms(struct channel *ch, uint64_t first, uint64_t last, enum confirm_kind kind)
{
    struct broker *b = ch->connection->broker;

    for (uint64_t seq = first; seq <= last; seq++)
        confirms_settle(&ch->confirms, seq, kind);
    if (ch->is_settling)
        return;
    ch->is_settling = true;
    TAILQ_INSERT_TAIL(&b->settling, ch, settling_link);
    broker_want_tick(b);
}

static void
emit_confirm(void *ctx, enum confirm_kind kind, uint64_t tag, bool multiple)
{
    struct channel *ch = ctx;
    union amqp_args args;

    if (kind == CONFIRM_ACK) {
        args.basic_ack = (struct amqp_basic_ack){.delivery_tag = tag, .multiple = multiple};
        channel_send(ch, AMQP_basic_ack, &args);
    } else {
        args.basic_nack =
            (struct amqp_basic_nack){.delivery_tag = tag, .multiple = multiple, .requeue = true};
        channel_send(ch, AMQP_basic_nack, &args);
    }
}

void
channel_tell_confirms(struct channel *ch)
{
    if (ch->is_settling)
        TAILQ_REMOVE(&ch->connection->broker->settling, ch, settling_link);
    ch->is_settling = false;
    confirms_flush(&ch->confirms, emit_confirm, ch);
}

/* --- transactions --- */

bool
channel_on_tx_select(struct channel *ch, const union amqp_args *args, struct amqp_error *err)
{
    const union amqp_args ok = {0};

    (void)args;
    if (ch->mode == CHANNEL_CONFIRM)
        return amqp_fail(err, AMQP_PRECONDITION_FAILED, "cannot switch from confirm to tx mode");
    ch->mode = CHANNEL_TX;
    channel_send(ch, AMQP_tx_select_ok, &ok);
    return true;
}

static bool
check_tx(const struct channel *ch, struct amqp_error *err)
{
    if (ch->mode == CHANNEL_TX)
        return true;
    return amqp_fail(err, AMQP_PRECONDITION_FAILED, "channel is not transactional");
}

bool
channel_on_tx_commit(struct channel *ch, const union amqp_args *args, struct amqp_error *err)
{
    const union amqp_args ok = {0};
    struct tx *tx = &ch->tx;
    struct journal *j = &ch->connection->broker->journal;

    bool durable = tx_is_durable(tx);

    (void)args;
    if (!check_tx(ch, err) || !channel_check_store(ch, durable, err))
        return false;
    journal_begin_tx(j);
    for (size_t i = 0; i < tx->n_publishes; i++) {
        struct tx_publish *p = &tx->publishes[i];
        channel_enqueue(ch, p->message, p->queues, p->n_queues, p->mandatory);
    }
    tx_drop_publishes(tx);
    for (size_t i = 0; i < tx->n_settlements; i++)
        channel_settle(ch, &tx->settlements[i].delivery, tx->settlements[i].how);
    tx->n_settlements = 0;
    journal_end_tx(j);
    channel_wake_consumers(ch);
    channel_send_durable(ch, durable, AMQP_tx_commit_ok, &ok);
    return true;
}

bool
channel_on_tx_rollback(struct channel *ch, const union amqp_args *args, struct amqp_error *err)
{
    const union amqp_args ok = {0};

    (void)args;
    if (!check_tx(ch, err))
        return false;
    tx_drop_publishes(&ch->tx);
    tx_restore(&ch->tx, &ch->unacked);
    channel_send(ch, AMQP_tx_rollback_ok, &ok);
    return true;
}
