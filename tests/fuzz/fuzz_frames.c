/*
 * A stream of frames as a peer sends it, taken apart the way a connection does: head, limit, end
 * octet, then the payload by type. The first octet chooses the frame-max. What is understood is
 * written again and must come out as the same frame.
 */
#include "tests/fuzz/fuzz.h"

#include "protocol/frame.h"
#include "protocol/props.h"
#include "tests/unit/method_args.h"

static bool
decode_method(struct slice payload, enum amqp_method_id *id_r, union amqp_args *args_r)
{
    struct reader r = reader_init(payload);
    uint16_t class_id = read_u16(&r);
    uint16_t method_id = read_u16(&r);

    *id_r = amqp_method_find(class_id, method_id);
    return *id_r != AMQP_METHOD_UNKNOWN && amqp_method_decode(*id_r, &r, args_r);
}

static void
check_method(struct slice frame, struct amqp_frame_head head, struct slice payload,
             struct writer *w)
{
    enum amqp_method_id id, again_id;
    union amqp_args args, again;

    if (!decode_method(payload, &id, &args))
        return;
    MUST(amqp_method_frame_size(id, &args) == frame.n);
    uint8_t *start = w->p;
    amqp_write_method_frame(w, head.channel, id, &args);
    MUST(!w->bad && (size_t)(w->p - start) == frame.n);
    MUST(memcmp(start, frame.p, AMQP_FRAME_HEAD_SIZE + 4) == 0);
    MUST(w->p[-1] == AMQP_FRAME_END);
    MUST(decode_method(slice_of(start + AMQP_FRAME_HEAD_SIZE, payload.n), &again_id, &again));
    MUST(again_id == id && args_difference(id, &args, &again) == NULL);
}

static void
check_header(struct slice frame, struct amqp_frame_head head, struct slice payload,
             struct writer *w)
{
    struct amqp_content_header header;
    struct amqp_props props;

    bool ok = amqp_content_header_decode(payload, &header);
    MUST(ok == (payload.n >= AMQP_CONTENT_HEADER_FIXED + 2));
    if (!ok || header.class_id != AMQP_CLASS_BASIC || header.weight != 0)
        return;
    MUST(header.props.n == payload.n - AMQP_CONTENT_HEADER_FIXED);
    if (amqp_props_decode(header.props, &props))
        MUST(amqp_props_size(&props) == header.props.n);
    uint8_t *start = w->p;
    amqp_write_header_frame(w, head.channel, header.body_size, header.props);
    MUST(!w->bad && slice_eq(slice_of(start, (size_t)(w->p - start)), frame));
}

static void
check_body(struct slice frame, struct amqp_frame_head head, struct slice payload, struct writer *w)
{
    uint8_t *start = w->p;

    amqp_write_body_frame(w, head.channel, payload);
    MUST(!w->bad && slice_eq(slice_of(start, (size_t)(w->p - start)), frame));
}

static void
check_heartbeat(struct slice frame, struct amqp_frame_head head, struct writer *w)
{
    uint8_t *start = w->p;

    if (head.channel != 0 || head.size != 0)
        return;
    amqp_write_heartbeat(w);
    MUST(!w->bad && slice_eq(slice_of(start, (size_t)(w->p - start)), frame));
}

static void
check_frame(struct slice frame, struct writer *w)
{
    struct amqp_frame_head head = amqp_frame_head(frame.p);
    struct slice payload = slice_of(frame.p + AMQP_FRAME_HEAD_SIZE, head.size);

    switch (head.type) {
    case AMQP_FRAME_METHOD:
        check_method(frame, head, payload, w);
        break;
    case AMQP_FRAME_HEADER:
        check_header(frame, head, payload, w);
        break;
    case AMQP_FRAME_BODY:
        check_body(frame, head, payload, w);
        break;
    case AMQP_FRAME_HEARTBEAT:
        check_heartbeat(frame, head, w);
        break;
    default:
        break; /* the connection would end here; the next frame may still be worth a look */
    }
}

/*
 * Takes the next whole frame off `r`; false at the end, at a frame over the limit and at a wrong
 * end octet.
 */
static bool
next_frame(struct reader *r, size_t frame_max, struct slice *frame_r)
{
    if (reader_left(r) < AMQP_FRAME_OVERHEAD)
        return false;
    size_t size = amqp_frame_head(r->p).size;
    if (size > frame_max - AMQP_FRAME_OVERHEAD || size > reader_left(r) - AMQP_FRAME_OVERHEAD)
        return false;
    *frame_r = read_bytes(r, size + AMQP_FRAME_OVERHEAD);
    MUST(!r->bad);
    return frame_r->p[frame_r->n - 1] == AMQP_FRAME_END;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice frame;

    if (size < 1)
        return 0;
    size_t frame_max = (size_t)(data[0] % 32 + 1) * AMQP_FRAME_MIN_SIZE;
    struct reader r = reader_init(slice_of(data + 1, size - 1));
    /* What is written is never longer than what was read. */
    uint8_t *out = mem_alloc(size);
    struct writer w = writer_init(out, size - 1);
    while (next_frame(&r, frame_max, &frame))
        check_frame(frame, &w);
    free(out);
    return 0;
}
