/*
 * The encoding of deliveries, the hottest output there is: the method, the content header and a
 * body of one frame are written into the output in one go. A message keeps its address, its
 * properties and its body in the form they have here, so this is mostly copying; larger bodies are
 * not even copied.
 */
#include "broker/core/delivery.h"

#include "broker/core/channel.h"
#include "broker/core/connection.h"
#include "broker/core/consumer.h"
#include "broker/core/message.h"
#include "protocol/frame.h"

enum {
    METHOD_IDS = 4,
    HEADER_FRAME_FIXED = AMQP_FRAME_OVERHEAD + AMQP_CONTENT_HEADER_FIXED,
};

static uint8_t *
put(uint8_t *p, const void *from, size_t n)
{
    memcpy(p, from, n);
    return p + n;
}

static uint8_t *
put_frame_head(uint8_t *p, uint8_t type, uint16_t channel, size_t size)
{
    amqp_put_frame_head(p, type, channel, (uint32_t)size);
    return p + AMQP_FRAME_HEAD_SIZE;
}

/* Opens a method frame of `args` bytes of arguments, leaving the writing position behind class and
 * method id. */
static uint8_t *
put_method_head(uint8_t *p, uint16_t channel, uint16_t method_id, size_t args)
{
    p = put_frame_head(p, AMQP_FRAME_METHOD, channel, METHOD_IDS + args);
    put_u16(p, AMQP_CLASS_BASIC);
    put_u16(p + 2, method_id);
    return p + METHOD_IDS;
}

static uint8_t *
put_content_header(uint8_t *p, uint16_t channel, const struct message *m)
{
    struct slice props = message_props(m);

    p = put_frame_head(p, AMQP_FRAME_HEADER, channel, AMQP_CONTENT_HEADER_FIXED + props.n);
    put_u16(p, AMQP_CLASS_BASIC);
    put_u16(p + 2, 0);
    put_u64(p + 4, m->body_len);
    p = put(p + AMQP_CONTENT_HEADER_FIXED, props.p, props.n);
    *p++ = AMQP_FRAME_END;
    return p;
}

/* A body that goes out by reference, in frames as large as the peer takes. */
static void
refer_body(struct connection *c, uint16_t channel, struct message *m)
{
    size_t max = c->frame_max - AMQP_FRAME_OVERHEAD;
    uint8_t *p;

    for (uint64_t at = 0; at < m->body_len;) {
        size_t n = m->body_len - at < max ? (size_t)(m->body_len - at) : max;
        p = outq_extend(&c->out, AMQP_FRAME_HEAD_SIZE);
        put_frame_head(p, AMQP_FRAME_BODY, channel, n);
        outq_refer(&c->out, m, slice_of(message_body(m) + at, n));
        *outq_extend(&c->out, 1) = AMQP_FRAME_END;
        at += n;
    }
}

static bool
is_copied(const struct connection *c, const struct message *m)
{
    return m->body_len <= OUTQ_COPY_MAX && m->body_len <= c->frame_max - AMQP_FRAME_OVERHEAD;
}

/* Bytes of the contiguous part: a method frame with `args` bytes of arguments, header, and a body
 * that is copied. */
static size_t
contiguous_size(const struct connection *c, const struct message *m, size_t args)
{
    size_t n = AMQP_FRAME_OVERHEAD + METHOD_IDS + args + HEADER_FRAME_FIXED + m->props_len;

    if (m->body_len != 0 && is_copied(c, m))
        n += AMQP_FRAME_OVERHEAD + (size_t)m->body_len;
    return n;
}

/* Ends the method frame at `p` and writes the content behind it. */
static void
put_content(struct connection *c, uint8_t *p, uint16_t channel, struct message *m)
{
    *p++ = AMQP_FRAME_END;
    p = put_content_header(p, channel, m);
    if (m->body_len != 0 && is_copied(c, m)) {
        p = put_frame_head(p, AMQP_FRAME_BODY, channel, (size_t)m->body_len);
        p = put(p, message_body(m), (size_t)m->body_len);
        *p = AMQP_FRAME_END;
    } else {
        refer_body(c, channel, m);
    }
    connection_output_pending(c);
}

void
delivery_deliver(struct channel *ch, const struct consumer *consumer, struct message *m,
                 uint64_t tag, bool redelivered)
{
    struct connection *c = ch->connection;
    size_t tag_len = 1 + consumer->tag.n;
    size_t args = tag_len + 8 + 1 + m->address_len;
    uint8_t *p = outq_extend(&c->out, contiguous_size(c, m, args));

    p = put_method_head(p, ch->number, 60, args);
    p = put(p, consumer->wire_tag, tag_len);
    put_u64(p, tag);
    p[8] = redelivered;
    p = put(p + 9, m->bytes, m->address_len);
    put_content(c, p, ch->number, m);
}

void
delivery_get_ok(struct channel *ch, struct message *m, uint64_t tag, bool redelivered,
                uint32_t left)
{
    struct connection *c = ch->connection;
    size_t args = 8 + 1 + m->address_len + 4U;
    uint8_t *p = outq_extend(&c->out, contiguous_size(c, m, args));

    p = put_method_head(p, ch->number, 71, args);
    put_u64(p, tag);
    p[8] = redelivered;
    p = put(p + 9, m->bytes, m->address_len);
    put_u32(p, left);
    put_content(c, p + 4, ch->number, m);
}

void
delivery_return(struct channel *ch, struct message *m)
{
    static const char text[] = "NO_ROUTE";
    struct connection *c = ch->connection;
    size_t text_len = sizeof text - 1;
    size_t args = 2 + 1 + text_len + m->address_len;
    uint8_t *p = outq_extend(&c->out, contiguous_size(c, m, args));

    p = put_method_head(p, ch->number, 50, args);
    put_u16(p, AMQP_NO_ROUTE);
    p[2] = (uint8_t)text_len;
    p = put(p + 3, text, text_len);
    p = put(p, m->bytes, m->address_len);
    put_content(c, p, ch->number, m);
}
