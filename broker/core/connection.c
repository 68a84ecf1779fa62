/*
 * A connection: its life, its output, heartbeats, and the ways it ends. What comes in is taken
 * apart in connection_input.c; what the methods of class connection do is in connection_methods.c.
 */
#include "broker/core/connection.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "broker/core/broker.h"
#include "broker/core/vhost.h"
#include "protocol/frame.h"

enum { CLOSE_OK_TIMEOUT = 30000 }; /* ms, at most */

/* --- life --- */

/* Doubles the slots; the new ones are chained as free. None was before. */
static void
add_slots(struct broker *b)
{
    uint32_t n = b->n_slots == 0 ? 16 : 2 * b->n_slots;

    b->slots = mem_resize(b->slots, n, sizeof *b->slots);
    b->free_slot = b->n_slots;
    for (; b->n_slots < n; b->n_slots++)
        b->slots[b->n_slots] = (struct slot){NULL, 1, b->n_slots + 1};
    b->slots[n - 1].next_free = NO_SLOT;
}

static uint64_t
take_slot(struct broker *b, struct connection *c)
{
    if (b->free_slot == NO_SLOT)
        add_slots(b);
    uint32_t i = b->free_slot;
    b->free_slot = b->slots[i].next_free;
    b->slots[i].connection = c;
    return (uint64_t)b->slots[i].generation << 32 | i;
}

static void
leave_slot(struct broker *b, uint64_t handle)
{
    uint32_t i = (uint32_t)handle;

    b->slots[i].connection = NULL;
    b->slots[i].generation++;
    b->slots[i].next_free = b->free_slot;
    b->free_slot = i;
}

static void
on_deadline(struct timer *t)
{
    struct connection *c = (void *)((char *)t - offsetof(struct connection, deadline));

    if (c->state != CONNECTION_CLOSING && c->state != CONNECTION_ENDED)
        log_warning("connection %s: handshake timeout", c->name);
    connection_release(c);
    c->state = CONNECTION_ENDED;
    c->broker->env.shut(c->io, true);
}

static void on_heartbeat(struct timer *t);

struct connection *
connection_new(struct broker *b, void *io, const char *name, bool peer_is_loopback)
{
    struct connection *c = mem_zalloc(sizeof *c);

    c->broker = b;
    c->io = io;
    c->state = CONNECTION_HEADER;
    c->peer_is_loopback = peer_is_loopback;
    c->frame_max = b->settings->initial_frame_max;
    c->name = mem_strdup(name);
    TAILQ_INIT(&c->exclusive_queues);
    c->fence_flying.position = c->fence_waiting.position = NO_FENCE;
    timer_init(&c->deadline, on_deadline);
    timer_init(&c->heartbeat_timer, on_heartbeat);
    timer_start(&b->timers, &c->deadline, b->now + b->settings->handshake_timeout);
    c->handle = take_slot(b, c);
    b->n_connections++;
    TAILQ_INSERT_TAIL(&b->connections, c, link);
    return c;
}

void
connection_release(struct connection *c)
{
    for (uint16_t i = 0; i < c->n_pages; i++) {
        if (c->pages[i] == NULL)
            continue;
        for (unsigned j = 0; j < CHANNEL_PAGE && c->pages[i] != NULL; j++) {
            if (c->pages[i]->channels[j] != NULL)
                channel_free(c->pages[i]->channels[j]);
        }
    }
    while (!TAILQ_EMPTY(&c->exclusive_queues))
        queue_delete(TAILQ_FIRST(&c->exclusive_queues));
}

void
connection_free(struct connection *c)
{
    struct broker *b = c->broker;

    connection_release(c);
    if (c->vhost != NULL)
        log_info("closing AMQP connection (%s), %llu bytes received, %llu sent", c->name,
                 (unsigned long long)c->received, (unsigned long long)c->sent);
    journal_forget_connection(c);
    timer_stop(&b->timers, &c->deadline);
    timer_stop(&b->timers, &c->heartbeat_timer);
    if (c->is_pending)
        TAILQ_REMOVE(&b->pending, c, pending_link);
    TAILQ_REMOVE(&b->connections, c, link);
    leave_slot(b, c->handle);
    b->n_connections--;
    outq_clear(&c->out);
    for (uint16_t i = 0; i < c->n_pages; i++)
        free(c->pages[i]);
    free(c->pages);
    free(c->name);
    free((void *)(uintptr_t)c->user.p);
    free((void *)(uintptr_t)c->properties.p);
    free((void *)(uintptr_t)c->mechanism.p);
    free(c);
}

/* --- output --- */

void
connection_output_pending(struct connection *c)
{
    struct broker *b = c->broker;

    if (c->out.bytes >= b->settings->output_high_watermark)
        c->output_full = true;
    if (c->is_pending)
        return;
    c->is_pending = true;
    TAILQ_INSERT_TAIL(&b->pending, c, pending_link);
    broker_want_tick(b);
}

void
connection_send(struct connection *c, uint16_t channel, enum amqp_method_id id,
                const union amqp_args *args)
{
    size_t n = amqp_method_frame_size(id, args);
    struct writer w = writer_init(outq_extend(&c->out, n), n);

    amqp_write_method_frame(&w, channel, id, args);
    connection_output_pending(c);
}

void
connection_hold(struct connection *c, enum hold_reason reason)
{
    bool was_held = c->holds != 0;

    if (c->state >= CONNECTION_CLOSING)
        return;
    c->holds |= (uint8_t)reason;
    if (!was_held)
        c->broker->env.hold_input(c->io, true);
}

void
connection_release_hold(struct connection *c, unsigned reasons)
{
    bool was_held = c->holds != 0;

    c->holds &= (uint8_t)~reasons;
    if (was_held && c->holds == 0)
        c->broker->env.hold_input(c->io, false);
}

void
connection_written(struct connection *c, size_t n)
{
    outq_drop(&c->out, n);
    c->sent += n;
    if (!c->output_full || c->out.bytes > c->broker->settings->output_high_watermark / 2)
        return;
    c->output_full = false;
    if (c->state != CONNECTION_RUNNING)
        return;
    connection_release_hold(c, HOLD_OUTPUT);
    for (uint16_t i = 0; i < c->n_pages; i++) {
        for (unsigned j = 0; j < CHANNEL_PAGE && c->pages[i] != NULL; j++) {
            if (c->pages[i]->channels[j] != NULL)
                channel_wake_consumers(c->pages[i]->channels[j]);
        }
    }
}

/* --- heartbeats (RabbitMQ: send at half the interval, two silent intervals are death) --- */

void
connection_start_heartbeat(struct connection *c)
{
    if (c->heartbeat == 0)
        return;
    /* What is waiting counts as sent: only what comes after it can spare us the next heartbeat. */
    c->sent_before = c->sent + c->out.bytes;
    timer_start(&c->broker->timers, &c->heartbeat_timer,
                c->broker->now + c->heartbeat * UINT64_C(1000) / 2);
}

/* In front of a fence, if there is one: all before it has been written, so no frame is cut in two.
 */
static void
send_heartbeat(struct connection *c)
{
    struct writer w = writer_init(outq_insert(&c->out, AMQP_FRAME_OVERHEAD), AMQP_FRAME_OVERHEAD);

    amqp_write_heartbeat(&w);
    if (c->fence_flying.position != NO_FENCE)
        c->fence_flying.position += AMQP_FRAME_OVERHEAD;
    if (c->fence_waiting.position != NO_FENCE)
        c->fence_waiting.position += AMQP_FRAME_OVERHEAD;
    connection_output_pending(c);
}

static void
on_heartbeat(struct timer *t)
{
    struct connection *c = (void *)((char *)t - offsetof(struct connection, heartbeat_timer));

    if (c->state == CONNECTION_ENDED)
        return;
    /* Input that we hold back ourselves says nothing about the peer. */
    if (c->received != c->received_before || c->holds != 0)
        c->silent_ticks = 0;
    else
        c->silent_ticks++;
    c->received_before = c->received;
    if (c->silent_ticks >= 4) {
        log_warning("connection %s: missed heartbeats from client, timeout: %us", c->name,
                    c->heartbeat);
        c->state = CONNECTION_ENDED;
        connection_release(c);
        c->broker->env.shut(c->io, true);
        return;
    }
    if (c->out.bytes == 0 ? c->sent == c->sent_before : connection_writable(c) == 0)
        send_heartbeat(c);
    connection_start_heartbeat(c);
}

/* --- ends --- */

void
connection_end(struct connection *c, uint64_t ms)
{
    connection_release(c);
    c->state = CONNECTION_ENDED;
    timer_start(&c->broker->timers, &c->deadline, c->broker->now + ms);
}

void
connection_await_close(struct connection *c)
{
    uint64_t ms = c->heartbeat * UINT64_C(1000);

    if (ms == 0 || ms > CLOSE_OK_TIMEOUT)
        ms = CLOSE_OK_TIMEOUT;
    timer_start(&c->broker->timers, &c->deadline, c->broker->now + ms);
}

static void
send_close(struct connection *c, const struct amqp_error *err, uint16_t class_id,
           uint16_t method_id)
{
    union amqp_args args = {.connection_close = {
                                .reply_code = err->code,
                                .reply_text = amqp_error_text(err),
                                .class_id = class_id,
                                .method_id = method_id,
                            }};

    connection_send(c, 0, AMQP_connection_close, &args);
}

void
connection_fail(struct connection *c, const struct amqp_error *err, uint16_t class_id,
                uint16_t method_id)
{
    struct slice text = amqp_error_text(err);

    if (c->state == CONNECTION_CLOSING || c->state == CONNECTION_ENDED)
        return;
    log_error("connection %s: %u: %.*s", c->name, err->code, SLICE_FMT(text));
    connection_release(c);
    send_close(c, err, class_id, method_id);
    c->state = CONNECTION_CLOSING;
    connection_release_hold(c, HOLD_ALL);
    connection_await_close(c);
}

void
connection_abort(struct connection *c, const char *why)
{
    log_error("connection %s: %s", c->name, why);
    c->state = CONNECTION_ENDED;
    connection_release(c);
    outq_clear(&c->out); /* nothing of it may leave with the next flush */
    c->broker->env.shut(c->io, true);
}

void
connection_refuse(struct connection *c, const struct amqp_error *err, const char *why)
{
    log_error("connection %s: %s", c->name, why);
    if (err != NULL)
        send_close(c, err, 0, 0);
    connection_end(c, CONNECTION_REFUSAL_DELAY);
}

void
connection_force_close(struct connection *c, const char *reason)
{
    struct amqp_error err;

    if (c->state != CONNECTION_RUNNING)
        return;
    amqp_fail(&err, AMQP_CONNECTION_FORCED, "%s", reason);
    connection_fail(c, &err, 0, 0);
}
