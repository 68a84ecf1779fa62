#include "protocol/frame.h"

const uint8_t amqp_protocol_header[AMQP_PROTOCOL_HEADER_SIZE] = {'A', 'M', 'Q', 'P', 0, 0, 9, 1};

bool
amqp_content_header_decode(struct slice payload, struct amqp_content_header *header_r)
{
    struct reader r = reader_init(payload);

    header_r->class_id = read_u16(&r);
    header_r->weight = read_u16(&r);
    header_r->body_size = read_u64(&r);
    header_r->props = slice_of(r.p, reader_left(&r));
    return !r.bad && header_r->props.n >= 2;
}

static void
write_frame_head(struct writer *w, uint8_t type, uint16_t channel, size_t size)
{
    if (writer_has(w, AMQP_FRAME_HEAD_SIZE)) {
        amqp_put_frame_head(w->p, type, channel, (uint32_t)size);
        w->p += AMQP_FRAME_HEAD_SIZE;
    }
}

size_t
amqp_method_frame_size(enum amqp_method_id id, const union amqp_args *args)
{
    return AMQP_FRAME_OVERHEAD + amqp_method_size(id, args);
}

void
amqp_write_method_frame(struct writer *w, uint16_t channel, enum amqp_method_id id,
                        const union amqp_args *args)
{
    write_frame_head(w, AMQP_FRAME_METHOD, channel, amqp_method_size(id, args));
    amqp_method_encode(id, w, args);
    write_u8(w, AMQP_FRAME_END);
}

void
amqp_write_header_frame(struct writer *w, uint16_t channel, uint64_t body_size, struct slice props)
{
    write_frame_head(w, AMQP_FRAME_HEADER, channel, AMQP_CONTENT_HEADER_FIXED + props.n);
    write_u16(w, AMQP_CLASS_BASIC);
    write_u16(w, 0);
    write_u64(w, body_size);
    write_bytes(w, props);
    write_u8(w, AMQP_FRAME_END);
}

void
amqp_write_body_frame(struct writer *w, uint16_t channel, struct slice body)
{
    write_frame_head(w, AMQP_FRAME_BODY, channel, body.n);
    write_bytes(w, body);
    write_u8(w, AMQP_FRAME_END);
}

void
amqp_write_heartbeat(struct writer *w)
{
    write_frame_head(w, AMQP_FRAME_HEARTBEAT, 0, 0);
    write_u8(w, AMQP_FRAME_END);
}
