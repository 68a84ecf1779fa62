/*
 * Channels: their life, the order of frames on them, and the dispatch of methods to handlers. What
 * the methods do is in channel_exchange.c, channel_queue.c, channel_publish.c (publish, confirm,
 * tx) and channel_consume.c.
 */
#include "broker/core/channel.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "broker/core/broker.h"
#include "broker/core/queue.h"
#include "broker/core/vhost.h"
#include "protocol/props.h"

/* --- the channels of a connection --- */

struct channel *
channel_find(const struct connection *c, uint16_t number)
{
    uint16_t page = number / CHANNEL_PAGE;

    if (page >= c->n_pages || c->pages[page] == NULL)
        return NULL;
    return c->pages[page]->channels[number % CHANNEL_PAGE];
}

static struct channel *
channel_new(struct connection *c, uint16_t number)
{
    struct channel *ch = mem_zalloc(sizeof *ch);
    uint16_t page = number / CHANNEL_PAGE;

    if (page >= c->n_pages) {
        c->pages = mem_resize(c->pages, page + 1U, sizeof *c->pages);
        while (c->n_pages <= page)
            c->pages[c->n_pages++] = NULL;
    }
    if (c->pages[page] == NULL)
        c->pages[page] = mem_zalloc(sizeof *c->pages[page]);
    c->pages[page]->channels[number % CHANNEL_PAGE] = ch;
    c->n_channels++;
    ch->connection = c;
    ch->number = number;
    TAILQ_INIT(&ch->consumers);
    LIST_INIT(&ch->runs);
    ch->get.channel = ch;
    return ch;
}

/* Gives up everything the channel has, as it stands with an error or a close. */
static void
release(struct channel *ch)
{
    struct connection *c = ch->connection;
    struct consumer *consumer;

    if (ch->content.message != NULL)
        message_unref(ch->content.message);
    ch->content.message = NULL;
    ch->content.state = CONTENT_NONE;
    if (c->body_channel == ch)
        c->body_channel = NULL;
    if (ch->is_settling) {
        TAILQ_REMOVE(&c->broker->settling, ch, settling_link);
        ch->is_settling = false;
    }
    tx_drop_publishes(&ch->tx);
    tx_restore(&ch->tx, &ch->unacked);
    journal_forget_channel(ch);
    queue_forget_get(&ch->get);
    connection_release_hold(c, HOLD_GET);
    while ((consumer = TAILQ_FIRST(&ch->consumers)) != NULL)
        consumer_cancel(consumer);
    channel_requeue_all(ch);
}

void
channel_free(struct channel *ch)
{
    struct connection *c = ch->connection;

    release(ch);
    c->pages[ch->number / CHANNEL_PAGE]->channels[ch->number % CHANNEL_PAGE] = NULL;
    c->n_channels--;
    free(ch->content.address);
    free(ch->last_queue);
    unacked_fini(&ch->unacked);
    confirms_fini(&ch->confirms);
    tx_fini(&ch->tx);
    free(ch);
}

void
channel_send(struct channel *ch, enum amqp_method_id id, const union amqp_args *args)
{
    connection_send(ch->connection, ch->number, id, args);
}

void
channel_send_durable(struct channel *ch, bool durable, enum amqp_method_id id,
                     const union amqp_args *args)
{
    if (durable)
        journal_fence(&ch->connection->broker->journal, ch->connection);
    channel_send(ch, id, args);
}

bool
channel_check_store(struct channel *ch, bool durable, struct amqp_error *err)
{
    if (!durable || journal_works(&ch->connection->broker->journal))
        return true;
    return amqp_fail(err, AMQP_RESOURCE_ERROR,
                     "nothing durable can be changed: the store has failed");
}

void
channel_fail(struct channel *ch, const struct amqp_error *err, uint16_t class_id,
             uint16_t method_id)
{
    struct slice text = amqp_error_text(err);
    union amqp_args args = {.channel_close = {
                                .reply_code = err->code,
                                .reply_text = text,
                                .class_id = class_id,
                                .method_id = method_id,
                            }};

    if (amqp_error_scope(err->code) == AMQP_SCOPE_CONNECTION) {
        connection_fail(ch->connection, err, class_id, method_id);
        return;
    }
    log_error("connection %s, channel %u: %.*s", ch->connection->name, ch->number, SLICE_FMT(text));
    release(ch);
    ch->closing = true;
    channel_send(ch, AMQP_channel_close, &args);
}

/* --- open and close --- */

static void
fail(struct connection *c, enum amqp_reply_code code, const char *text, uint16_t class_id,
     uint16_t method_id)
{
    struct amqp_error err;

    amqp_fail(&err, code, "%s", text);
    connection_fail(c, &err, class_id, method_id);
}

/* 541 as RabbitMQ sends it after a crash: the bare constant, no ids. */
static void
fail_internally(struct connection *c)
{
    struct amqp_error err;

    amqp_fail(&err, AMQP_INTERNAL_ERROR, NULL);
    connection_fail(c, &err, 0, 0);
}

static void
open_channel(struct connection *c, uint16_t number)
{
    const union amqp_args ok = {.channel_open_ok = {.channel_id = {NULL, 0}}};
    struct amqp_error err;

    if (c->channel_max != 0 && c->n_channels >= c->channel_max) {
        amqp_fail(&err, AMQP_NOT_ALLOWED,
                  "number of channels opened (%u) has reached the negotiated channel_max (%u)",
                  c->n_channels, c->channel_max);
        connection_fail(c, &err, 0, 0);
        return;
    }
    channel_send(channel_new(c, number), AMQP_channel_open_ok, &ok);
}

static void
close_channel(struct channel *ch)
{
    struct connection *c = ch->connection;
    const union amqp_args ok = {0};
    uint16_t number = ch->number;

    /* What has been settled is told before the channel ends. */
    if (ch->is_settling)
        channel_tell_confirms(ch);
    channel_free(ch);
    connection_send(c, number, AMQP_channel_close_ok, &ok);
}

/* Methods for a channel that we have closed: only the end of it, or the client's own close, mean
 * anything. */
static void
closing_method(struct channel *ch, enum amqp_method_id id)
{
    const union amqp_args ok = {0};

    if (id == AMQP_channel_close_ok)
        channel_free(ch);
    else if (id == AMQP_channel_close)
        channel_send(ch, AMQP_channel_close_ok, &ok);
    else if (id == AMQP_channel_open)
        fail(ch->connection, AMQP_CHANNEL_ERROR, "second 'channel.open' seen", 20, 10);
}

/* --- methods --- */

static channel_method_fn *const handlers[AMQP_METHOD_COUNT] = {
#define H(c, m) [AMQP_##c##_##m] = channel_on_##c##_##m,
    CHANNEL_HANDLERS(H)
#undef H
};

static void
fail_content_order(struct channel *ch)
{
    const char *text =
        ch->content.state == CONTENT_HEADER
            ? "expected content header for class 60, got non content header frame instead"
            : "expected content body, got non content body frame instead";

    fail(ch->connection, AMQP_UNEXPECTED_FRAME, text, 60, 40);
}

void
channel_method(struct connection *c, uint16_t number, enum amqp_method_id id,
               const union amqp_args *args)
{
    const struct amqp_method_info *info = amqp_method_info(id);
    struct channel *ch = channel_find(c, number);
    struct amqp_error err;

    if (ch == NULL) {
        if (info->class_id == AMQP_CLASS_CONNECTION)
            fail(c, AMQP_COMMAND_INVALID, "unimplemented method", info->class_id, info->method_id);
        else if (id == AMQP_channel_open)
            open_channel(c, number);
        else
            fail(c, AMQP_CHANNEL_ERROR, "expected 'channel.open'", info->class_id, info->method_id);
        return;
    }
    if (ch->closing) {
        closing_method(ch, id);
        return;
    }
    if (ch->content.state != CONTENT_NONE) {
        fail_content_order(ch);
        return;
    }
    if (handlers[id] != NULL) {
        if (!handlers[id](ch, args, &err))
            channel_fail(ch, &err, info->class_id, info->method_id);
        return;
    }
    if (id == AMQP_channel_close)
        close_channel(ch);
    else if (id == AMQP_channel_open)
        fail(c, AMQP_CHANNEL_ERROR, "second 'channel.open' seen", 20, 10);
    else if (id == AMQP_basic_cancel_ok)
        fail_internally(c);
    else
        fail(c, AMQP_COMMAND_INVALID, "unimplemented method", info->class_id, info->method_id);
}

bool
channel_on_channel_flow(struct channel *ch, const union amqp_args *args, struct amqp_error *err)
{
    const union amqp_args ok = {.channel_flow_ok = {.active = true}};

    if (!args->channel_flow.active)
        return amqp_fail(err, AMQP_NOT_IMPLEMENTED, "active=false");
    channel_send(ch, AMQP_channel_flow_ok, &ok);
    return true;
}

bool
channel_on_access_request(struct channel *ch, const union amqp_args *args, struct amqp_error *err)
{
    const union amqp_args ok = {.access_request_ok = {.ticket = 1}};

    (void)args, (void)err;
    channel_send(ch, AMQP_access_request_ok, &ok);
    return true;
}

/* --- content --- */

/* The channel that a content frame is for; NULL when it is dropped or the connection has failed by
 * it. */
static struct channel *
content_channel(struct connection *c, uint16_t number)
{
    struct channel *ch = channel_find(c, number);

    if (ch != NULL && ch->closing)
        return NULL;
    if (ch == NULL || ch->content.state == CONTENT_NONE) {
        fail(c, AMQP_UNEXPECTED_FRAME, "expected method frame, got non method frame instead", 0, 0);
        return NULL;
    }
    return ch;
}

/* The largest body that RabbitMQ's frame assembly takes, whatever is configured. */
#define BODY_SIZE_CAP 536870912U

static bool
begin_content(struct channel *ch, const struct amqp_content_header *h,
              const struct amqp_props *props, struct amqp_error *err)
{
    struct content *content = &ch->content;

    if (h->body_size > BODY_SIZE_CAP)
        return amqp_fail(err, AMQP_FRAME_ERROR,
                         "content body size %llu exceeds maximum allowed size %u",
                         (unsigned long long)h->body_size, BODY_SIZE_CAP);
    content->prop_flags = props->flags;
    content->size = h->body_size;
    content->got = 0;
    content->message = NULL;
    content->state = CONTENT_BODY;
    if (h->body_size > ch->connection->broker->settings->max_message_size)
        return true; /* refused when it is complete, as RabbitMQ does */
    content->message =
        message_new(slice_of(content->address, content->address_len), h->props, h->body_size);
    if (content->message == NULL)
        return amqp_fail(err, AMQP_RESOURCE_ERROR, "no memory for a message of %llu bytes",
                         (unsigned long long)h->body_size);
    content->message->persistent =
        (props->flags & AMQP_PROP(delivery_mode)) && props->delivery_mode == 2;
    return true;
}

/* The content is whole: off it goes. */
static void
end_content(struct channel *ch)
{
    struct amqp_error err;

    ch->content.state = CONTENT_NONE;
    if (!channel_publish(ch, &err))
        channel_fail(ch, &err, 60, 40);
}

void
channel_header(struct connection *c, uint16_t number, struct slice payload)
{
    struct channel *ch = content_channel(c, number);
    struct amqp_content_header h;
    struct amqp_props props;
    struct amqp_error err;

    if (ch == NULL)
        return;
    if (ch->content.state != CONTENT_HEADER) {
        fail_content_order(ch);
        return;
    }
    if (!amqp_content_header_decode(payload, &h)) {
        fail(c, AMQP_FRAME_ERROR, "content header is too short", 60, 40);
        return;
    }
    if (h.class_id != AMQP_CLASS_BASIC) {
        amqp_fail(&err, AMQP_UNEXPECTED_FRAME,
                  "expected content header for class 60, got one for class %u instead", h.class_id);
        connection_fail(c, &err, 60, 40);
        return;
    }
    if (h.weight != 0) {
        fail_content_order(ch);
        return;
    }
    if (!amqp_props_decode(h.props, &props)) {
        fail_internally(c);
        return;
    }
    if (!begin_content(ch, &h, &props, &err)) {
        connection_fail(c, &err, 60, 40);
        return;
    }
    if (h.body_size == 0)
        end_content(ch);
}

void
channel_body_begin(struct connection *c, uint16_t number, uint32_t size)
{
    struct channel *ch = content_channel(c, number);

    if (ch == NULL)
        return;
    if (ch->content.state != CONTENT_BODY)
        fail_content_order(ch);
    else if (size > ch->content.size - ch->content.got)
        fail(c, AMQP_FRAME_ERROR, "content body frame exceeds remaining content size", 60, 40);
    else
        c->body_channel = ch;
}

void
channel_body(struct channel *ch, const uint8_t *p, size_t n)
{
    struct content *content = &ch->content;

    if (content->message != NULL)
        memcpy(message_body(content->message) + content->got, p, n);
    content->got += n;
}

void
channel_body_end(struct channel *ch)
{
    if (ch->content.got == ch->content.size)
        end_content(ch);
}

/* --- queues and exchanges by name --- */

bool
channel_queue_name(const struct channel *ch, struct slice given, struct slice *name_r,
                   struct amqp_error *err)
{
    if (given.n != 0) {
        *name_r = given;
        return true;
    }
    if (ch->last_queue == NULL)
        return amqp_fail(err, AMQP_NOT_FOUND, "no previously declared queue");
    *name_r = slice_of(ch->last_queue + 1, ch->last_queue[0]);
    return true;
}

bool
channel_fail_locked(const struct queue *q, struct amqp_error *err)
{
    return amqp_fail(err, AMQP_RESOURCE_LOCKED,
                     "cannot obtain exclusive access to locked queue " RESOURCE_FMT
                     ". It could be originally declared on another connection or the exclusive "
                     "property value does not match that of the original declaration.",
                     RESOURCE_ARGS(q->vhost, q->name));
}

struct queue *
channel_queue(struct channel *ch, struct slice name, struct amqp_error *err)
{
    struct connection *c = ch->connection;
    struct queue *q = vhost_find_queue(c->vhost, name);

    if (q == NULL) {
        amqp_fail(err, AMQP_NOT_FOUND, "no queue " RESOURCE_FMT, RESOURCE_ARGS(c->vhost, name));
        return NULL;
    }
    if (q->owner != NULL && q->owner != c) {
        channel_fail_locked(q, err);
        return NULL;
    }
    return q;
}

struct exchange *
channel_exchange(struct channel *ch, struct slice name, struct amqp_error *err)
{
    struct vhost *v = ch->connection->vhost;
    struct exchange *x = vhost_find_exchange(v, name);

    if (x == NULL)
        amqp_fail(err, AMQP_NOT_FOUND, "no exchange " RESOURCE_FMT, RESOURCE_ARGS(v, name));
    return x;
}

bool
channel_not_default(struct slice exchange, struct amqp_error *err)
{
    if (exchange.n != 0)
        return true;
    return amqp_fail(err, AMQP_ACCESS_REFUSED, "operation not permitted on the default exchange");
}
