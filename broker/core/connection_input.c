/*
 * What comes in on a connection: protocol header, frames, and their way to the methods.
 *
 * Frames are decoded in place from whatever the peer has sent so far. Methods and content headers
 * are handled when they are whole; a body frame is taken as it comes, straight into its message, so
 * that nothing large ever waits in a buffer.
 */
#include <stdio.h>

#include "base/log.h"
#include "broker/core/alarms.h"
#include "broker/core/broker.h"
#include "broker/core/connection.h"
#include "protocol/frame.h"
#include "protocol/table.h"

enum { WORK_PER_TURN = 16384 }; /* see connection_input() */

/* --- errors of frames --- */

/* A frame that cannot be made sense of: nothing behind it can either. */
static void
fail_unparsable(struct connection *c, const struct amqp_error *err)
{
    connection_fail(c, err, 0, 0);
    connection_end(c, CONNECTION_REFUSAL_DELAY);
}

/* RabbitMQ's way to show a frame: "all octets = <<"abc">>" or "first 16 octets = <<0,50,...>>". */
struct octets {
    char text[96];
};

static const char *
show_octets(struct octets *o, struct slice payload)
{
    size_t n = payload.n > 16 ? 16 : payload.n;
    bool printable = true;
    int at = snprintf(o->text, sizeof o->text,
                      payload.n > 16 ? "first 16 octets = <<" : "all octets = <<");

    for (size_t i = 0; i < n; i++)
        printable &= payload.p[i] >= 0x20 && payload.p[i] < 0x7f;
    if (printable && n != 0) {
        snprintf(o->text + at, sizeof o->text - (size_t)at, "\"%.*s\">>", (int)n,
                 (const char *)payload.p);
        return o->text;
    }
    for (size_t i = 0; i < n; i++)
        at += snprintf(o->text + at, sizeof o->text - (size_t)at, "%s%u", i == 0 ? "" : ",",
                       payload.p[i]);
    snprintf(o->text + at, sizeof o->text - (size_t)at, ">>");
    return o->text;
}

static size_t
input_protocol_header(struct connection *c, const uint8_t *p, size_t n)
{
    static const uint8_t version_0_9[] = {'A', 'M', 'Q', 'P', 1, 1, 0, 9};

    if (n < AMQP_PROTOCOL_HEADER_SIZE)
        return 0;
    if (memcmp(p, amqp_protocol_header, AMQP_PROTOCOL_HEADER_SIZE) == 0 ||
        memcmp(p, version_0_9, AMQP_PROTOCOL_HEADER_SIZE) == 0) {
        log_debug("accepting AMQP connection (%s)", c->name);
        connection_start(c);
        return AMQP_PROTOCOL_HEADER_SIZE;
    }
    if (p[0] == 0x16 && p[1] == 3)
        log_error("connection %s: a TLS client on a plain AMQP port", c->name);
    else if (memcmp(p, "GET ", 4) == 0 || memcmp(p, "POST", 4) == 0 || memcmp(p, "HEAD", 4) == 0)
        log_error("connection %s: an HTTP client on an AMQP port", c->name);
    else
        log_error("connection %s: bad protocol header", c->name);
    memcpy(outq_extend(&c->out, AMQP_PROTOCOL_HEADER_SIZE), amqp_protocol_header,
           AMQP_PROTOCOL_HEADER_SIZE);
    connection_output_pending(c);
    c->state = CONNECTION_ENDED;
    c->broker->env.shut(c->io, false);
    return n;
}

static void
fail_frame(struct connection *c, const struct amqp_frame_head *head, struct slice payload,
           enum amqp_reply_code code, const char *what)
{
    struct amqp_error err;
    struct octets o;

    amqp_fail(&err, code, "type %u, %s%s", head->type, show_octets(&o, payload), what);
    if (c->state == CONNECTION_RUNNING)
        connection_fail(c, &err, 0, 0);
    else if (c->state != CONNECTION_CLOSING)
        connection_refuse(c, NULL, "unexpected frame during the handshake");
}

static void
fail_frame_end(struct connection *c, uint8_t type, struct slice payload, uint8_t end)
{
    struct amqp_error err;
    struct octets o;

    amqp_fail(&err, AMQP_FRAME_ERROR, "type %u, %s: {invalid_frame_end_marker,%u}", type,
              show_octets(&o, payload), end);
    if (c->state == CONNECTION_RUNNING)
        fail_unparsable(c, &err);
    else
        connection_refuse(c, NULL, "invalid frame end");
}

static void
fail_frame_size(struct connection *c, const struct amqp_frame_head *head)
{
    struct amqp_error err;

    if (c->state != CONNECTION_RUNNING) {
        connection_refuse(c, NULL, "frame too large during the handshake");
        return;
    }
    amqp_fail(&err, AMQP_FRAME_ERROR, "type %u, all octets = <<>>: {frame_too_large,%u,%u}",
              head->type, head->size, c->frame_max - AMQP_FRAME_OVERHEAD);
    fail_unparsable(c, &err);
}

/* RabbitMQ shows the bytes of the arguments that it could not decode. */
static void
fail_decode(struct connection *c, struct slice arguments, uint16_t class_id, uint16_t method_id)
{
    struct amqp_error err;
    char text[256];
    size_t at = 0;

    for (size_t i = 0; i < arguments.n && at < sizeof text - 4; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%u", i == 0 ? "" : ",",
                               arguments.p[i]);
    text[at] = '\0';
    amqp_fail(&err, AMQP_FRAME_ERROR, "cannot decode <<%s>>", text);
    connection_fail(c, &err, class_id, method_id);
}

/* Tables inside method arguments: the only fields whose inside is checked at once. */
static bool
tables_ok(enum amqp_method_id id, const union amqp_args *args)
{
    const struct amqp_method_info *info = amqp_method_info(id);

    for (unsigned i = 0; i < info->n_fields; i++) {
        const struct amqp_field_info *f = &info->fields[i];
        if (f->type != AMQP_FT_table)
            continue;
        const struct slice *s = (const void *)((const char *)args + f->offset);
        if (!amqp_table_check(*s))
            return false;
    }
    return true;
}

static void
input_method(struct connection *c, uint16_t channel, struct slice payload)
{
    struct reader r = reader_init(payload);
    union amqp_args args;
    struct amqp_error err;
    uint16_t class_id = read_u16(&r), method_id = read_u16(&r);
    enum amqp_method_id id = amqp_method_find(class_id, method_id);

    if (c->state == CONNECTION_CLOSING && channel != 0)
        return;
    if (c->state < CONNECTION_RUNNING && (channel != 0 || id == AMQP_METHOD_UNKNOWN)) {
        connection_refuse(c, NULL, "unexpected method during the handshake");
        return;
    }
    if (id == AMQP_METHOD_UNKNOWN) {
        amqp_fail(&err, AMQP_COMMAND_INVALID, "unimplemented method");
        connection_fail(c, &err, class_id, method_id);
        return;
    }
    if (!amqp_method_decode(id, &r, &args) || !tables_ok(id, &args)) {
        if (c->state < CONNECTION_RUNNING)
            connection_refuse(c, NULL, "malformed method during the handshake");
        else
            fail_decode(c, slice_of(payload.p + 4, payload.n - 4), class_id, method_id);
        return;
    }
    if (id != AMQP_basic_publish && !amqp_method_utf8_ok(id, &args)) {
        amqp_fail(&err, AMQP_FRAME_ERROR, "Malformed UTF-8 in shortstr");
        connection_fail(c, &err, 0, 0);
        return;
    }
    if (channel == 0)
        connection_method(c, id, &args);
    else
        channel_method(c, channel, id, &args);
}

/* A whole frame that is no body. */
static void
input_frame(struct connection *c, const struct amqp_frame_head *head, struct slice payload)
{
    switch (head->type) {
    case AMQP_FRAME_METHOD:
        input_method(c, head->channel, payload);
        break;
    case AMQP_FRAME_HEADER:
        if (c->state == CONNECTION_CLOSING)
            break;
        if (c->state != CONNECTION_RUNNING || head->channel == 0)
            fail_frame(c, head, payload, AMQP_UNEXPECTED_FRAME, "");
        else
            channel_header(c, head->channel, payload);
        break;
    case AMQP_FRAME_HEARTBEAT:
        if (head->channel != 0)
            fail_frame(c, head, payload, AMQP_UNEXPECTED_FRAME, "");
        else if (payload.n != 0)
            fail_frame(c, head, payload, AMQP_FRAME_ERROR, ": unknown_frame");
        break;
    default:
        fail_frame(c, head, payload, AMQP_FRAME_ERROR, ": unknown_frame");
    }
}

/* More of a body frame, and its end octet. */
static size_t
input_body(struct connection *c, const uint8_t *p, size_t n)
{
    size_t k = n < c->body_left ? n : c->body_left;

    if (c->body_channel != NULL)
        channel_body(c->body_channel, p, k);
    c->body_left -= (uint32_t)k;
    if (k == n)
        return n;
    c->in_body = false;
    if (p[k] != AMQP_FRAME_END)
        fail_frame_end(c, AMQP_FRAME_BODY, slice_of(p, k), p[k]);
    else if (c->body_channel != NULL)
        channel_body_end(c->body_channel);
    c->body_channel = NULL;
    return k + 1;
}

static size_t
begin_body(struct connection *c, const struct amqp_frame_head *head)
{
    /* Also when the connection fails by this frame: the peer's close-ok comes behind it. */
    c->in_body = true;
    c->body_left = head->size;
    c->body_channel = NULL;
    if (c->state == CONNECTION_RUNNING) {
        if (head->channel == 0)
            fail_frame(c, head, slice_of(NULL, 0), AMQP_UNEXPECTED_FRAME, "");
        else
            channel_body_begin(c, head->channel, head->size);
    } else if (c->state != CONNECTION_CLOSING) {
        connection_refuse(c, NULL, "body frame during the handshake");
    }
    return AMQP_FRAME_HEAD_SIZE;
}

/*
 * A publisher is stopped in front of its content header, or of the next body frame when the alarm
 * comes in between: basic.publish alone stops nobody, as in RabbitMQ. A body frame that has begun
 * is taken to its end.
 */
static bool
stopped_by_alarm(struct connection *c, const struct amqp_frame_head *head)
{
    if (c->broker->alarms == 0 || c->state != CONNECTION_RUNNING)
        return false;
    if (head->type != AMQP_FRAME_HEADER && head->type != AMQP_FRAME_BODY)
        return false;
    connection_block(c);
    return true;
}

static size_t
input_some(struct connection *c, const uint8_t *p, size_t n)
{
    if (c->state == CONNECTION_ENDED)
        return n;
    if (c->in_body)
        return input_body(c, p, n);
    if (c->state == CONNECTION_HEADER)
        return input_protocol_header(c, p, n);
    if (n < AMQP_FRAME_HEAD_SIZE)
        return 0;

    struct amqp_frame_head head = amqp_frame_head(p);
    if (head.size > c->frame_max) {
        fail_frame_size(c, &head);
        return n;
    }
    if (stopped_by_alarm(c, &head))
        return 0;
    if (head.type == AMQP_FRAME_BODY)
        return begin_body(c, &head);
    if (n - AMQP_FRAME_HEAD_SIZE <= head.size)
        return 0;

    struct slice payload = slice_of(p + AMQP_FRAME_HEAD_SIZE, head.size);
    uint8_t end = payload.p[payload.n];
    if (end != AMQP_FRAME_END)
        fail_frame_end(c, head.type, payload, end);
    else
        input_frame(c, &head, payload);
    return payload.n + AMQP_FRAME_OVERHEAD;
}

/* A peer that sends requests but does not read the replies is not read either. */
static void
hold_input_if_full(struct connection *c)
{
    if (c->output_full && c->state == CONNECTION_RUNNING)
        connection_hold(c, HOLD_OUTPUT);
}

/*
 * A buffer of small publishes to an exchange with thousands of queues is work for seconds: after a
 * fair share of it others have their turn, and this connection goes on in the next.
 */
static bool
has_had_its_turn(struct connection *c, uint64_t work_before)
{
    if (c->holds != 0 || c->broker->work - work_before < WORK_PER_TURN)
        return false;
    c->broker->env.hold_input(c->io, true);
    c->broker->env.hold_input(c->io, false);
    return true;
}

size_t
connection_input(struct connection *c, const uint8_t *p, size_t n)
{
    uint64_t work_before = c->broker->work;
    size_t done = 0;

    while (done < n && c->holds == 0) {
        size_t k = input_some(c, p + done, n - done);
        if (k == 0)
            break;
        done += k;
        hold_input_if_full(c);
        if (has_had_its_turn(c, work_before))
            break;
    }
    return done;
}
