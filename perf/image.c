#include "perf/image.h"

#include "protocol/frame.h"

/* The body of every message: zeros, apart from the stamp. */
static void
add_body_frame(struct bytes *out, uint16_t channel, size_t n)
{
    uint8_t *p = bytes_room(out, n + AMQP_FRAME_OVERHEAD);

    amqp_put_frame_head(p, AMQP_FRAME_BODY, channel, (uint32_t)n);
    memset(p + AMQP_FRAME_HEAD_SIZE, 0, n);
    p[AMQP_FRAME_HEAD_SIZE + n] = AMQP_FRAME_END;
    out->n += n + AMQP_FRAME_OVERHEAD;
}

static size_t
first_body_size(const struct image_plan *plan)
{
    return plan->body_size < plan->frame_body ? (size_t)plan->body_size : plan->frame_body;
}

static void
encode_props(struct image_plan *plan, const struct perf_options *o)
{
    struct amqp_props props = o->props;

    if (bytes_left(&o->headers) != 0) {
        props.flags |= AMQP_PROP(headers);
        props.headers = bytes_slice(&o->headers);
    }
    size_t n = amqp_props_size(&props);
    struct writer w = writer_init(bytes_room(&plan->props, n), n);
    amqp_props_encode(&w, &props);
    plan->props.n = n;
}

void
image_plan_init(struct image_plan *plan, const struct perf_options *o,
                const struct routing *routing, uint32_t frame_max)
{
    *plan = (struct image_plan){
        .routing = routing,
        .body_size = o->size,
        .frame_body = frame_max - AMQP_FRAME_OVERHEAD,
        .mandatory = o->flags.mandatory,
        .n_channels = o->producer_channels,
        .tails = mem_zalloc(o->producer_channels * sizeof(struct bytes)),
    };
    encode_props(plan, o);
    for (unsigned i = 0; i < plan->n_channels; i++) {
        for (uint64_t left = o->size - first_body_size(plan); left != 0;) {
            size_t n = left < plan->frame_body ? (size_t)left : plan->frame_body;
            add_body_frame(&plan->tails[i], (uint16_t)(i + 1), n);
            left -= n;
        }
    }
}

void
image_plan_free(struct image_plan *plan)
{
    for (unsigned i = 0; i < plan->n_channels; i++)
        bytes_free(&plan->tails[i]);
    free(plan->tails);
    bytes_free(&plan->props);
    *plan = (struct image_plan){0};
}

/* Appends message `number` up to and including its first body frame. */
static void
add_message(struct image *image, unsigned at, uint64_t number)
{
    const struct image_plan *plan = image->plan;
    unsigned channel = image_channel(image, number), producer = image->first_producer + channel - 1;
    char room[ROUTING_KEY_ROOM];
    union amqp_args publish = {
        .basic_publish = {
            .exchange = plan->routing->exchange,
            .routing_key = routing_key(plan->routing, producer, number / plan->n_channels, room),
            .mandatory = plan->mandatory,
        }};
    struct slice props = bytes_slice(&plan->props);
    size_t n = amqp_method_frame_size(AMQP_basic_publish, &publish) + AMQP_FRAME_OVERHEAD +
               AMQP_CONTENT_HEADER_FIXED + props.n;

    image->start[at] = (uint32_t)image->buf.n;
    struct writer w = writer_init(bytes_room(&image->buf, n), n);
    amqp_write_method_frame(&w, (uint16_t)channel, AMQP_basic_publish, &publish);
    amqp_write_header_frame(&w, (uint16_t)channel, plan->body_size, props);
    image->buf.n += n;
    image->stamp[at] = (uint32_t)image->buf.n + AMQP_FRAME_HEAD_SIZE;
    if (plan->body_size != 0)
        add_body_frame(&image->buf, (uint16_t)channel, first_body_size(plan));
    if (plan->body_size >= PERF_STAMP_FULL)
        put_u32(image->buf.p + image->stamp[at] + 12, producer);
    image->start[at + 1] = (uint32_t)image->buf.n;
}

static void
build(struct image *image, uint64_t first, unsigned n)
{
    image->buf.off = image->buf.n = 0;
    for (unsigned i = 0; i < n; i++)
        add_message(image, i, first + i);
}

void
image_init(struct image *image, const struct image_plan *plan, unsigned first_producer, size_t room)
{
    uint64_t cycle = (uint64_t)routing_cycle(plan->routing) * plan->n_channels;

    *image = (struct image){.plan = plan, .first_producer = first_producer};
    image->start = mem_alloc(2 * sizeof *image->start);
    image->stamp = mem_alloc(sizeof *image->stamp);
    build(image, 0, 1);
    uint64_t n = room / image->buf.n;
    if (n == 0 || bytes_left(&plan->tails[0]) != 0)
        n = 1; /* a message with a tail goes out alone */
    image->fixed = cycle != 0 && cycle <= n;
    if (image->fixed)
        n -= n % cycle;
    image->n = (unsigned)n;
    image->start = mem_resize(image->start, image->n + 1, sizeof *image->start);
    image->stamp = mem_resize(image->stamp, image->n, sizeof *image->stamp);
    if (image->fixed)
        build(image, 0, image->n);
}

void
image_free(struct image *image)
{
    bytes_free(&image->buf);
    free(image->start);
    free(image->stamp);
    *image = (struct image){0};
}

unsigned
image_take(struct image *image, uint64_t first, uint64_t want, unsigned *at_r)
{
    unsigned at = image->fixed ? (unsigned)(first % image->n) : 0;
    unsigned n = image->n - at;

    if (want < n)
        n = (unsigned)want;
    if (!image->fixed)
        build(image, first, n);
    *at_r = at;
    return n;
}
