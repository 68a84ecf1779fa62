/*
 * Frames from the broker. Deliveries are recognised by their first bytes and looked at in place: of
 * a method, a header and a body frame only the tag, the size and the stamp are read. Bodies are
 * skipped, not collected, so that their size does not matter. All else takes the decoder.
 */
#include "perf/link.h"

#include "perf/clock.h"

enum { METHOD_ID_SIZE = 4 };

static bool
malformed(struct link *link)
{
    run_fail(link_run_of(link), "malformed frame from the broker");
    return false;
}

static struct channel *
find_channel(struct link *link, uint16_t id)
{
    return id != 0 && id <= link->n_channels ? &link->channels[id - 1] : NULL;
}

/* --- methods --- */

/* The arguments of basic.deliver: shortstr, tag, redelivered, two shortstrs. */
static bool
take_deliver(struct link *link, struct channel *ch, struct slice args)
{
    if (ch == NULL || args.n < 1 || args.n < (size_t)1 + args.p[0] + 9)
        return malformed(link);
    const uint8_t *p = args.p + 1 + args.p[0];
    ch->tag = get_u64(p);
    ch->redelivered = p[8] != 0;
    ch->content = CONTENT_DELIVERY;
    return true;
}

static bool
take_close(struct link *link, const char *what, uint16_t code, struct slice text)
{
    char *message = conn_close_text(what, code, text);

    run_fail(link_run_of(link), "%s", message);
    free(message);
    return false;
}

static void
hold(struct link *link, bool held)
{
    if (held && !link->held)
        counter_add(&link->worker->measure.n.blocked, 1);
    link->held = held;
}

static bool
take_method(struct link *link, struct channel *ch, uint16_t channel_id, enum amqp_method_id id,
            const union amqp_args *args)
{
    struct counters *n = &link->worker->measure.n;
    union amqp_args answer = {0};

    switch ((int)id) {
    case AMQP_basic_ack:
        if (ch == NULL || !link->is_producer)
            return malformed(link);
        producer_confirm(link, ch, args->basic_ack.delivery_tag, args->basic_ack.multiple,
                         &n->confirmed);
        return true;
    case AMQP_basic_nack:
        if (ch == NULL || !link->is_producer)
            return malformed(link);
        producer_confirm(link, ch, args->basic_nack.delivery_tag, args->basic_nack.multiple,
                         &n->nacked);
        return true;
    case AMQP_basic_return:
        if (ch == NULL)
            return malformed(link);
        ch->content = CONTENT_RETURN;
        return true;
    case AMQP_basic_consume_ok:
    case AMQP_channel_close_ok:
    case AMQP_connection_close_ok:
        return true;
    case AMQP_connection_blocked:
        hold(link, true);
        return true;
    case AMQP_connection_unblocked:
        hold(link, false);
        return true;
    case AMQP_channel_flow:
        hold(link, !args->channel_flow.active);
        answer.channel_flow_ok.active = args->channel_flow.active;
        conn_send(&link->conn, channel_id, AMQP_channel_flow_ok, &answer);
        return true;
    case AMQP_basic_cancel:
        run_fail(link_run_of(link), "the broker cancelled consumer %.*s",
                 SLICE_FMT(args->basic_cancel.consumer_tag));
        return false;
    case AMQP_channel_close:
        return take_close(link, "channel", args->channel_close.reply_code,
                          args->channel_close.reply_text);
    case AMQP_connection_close:
        return take_close(link, "connection", args->connection_close.reply_code,
                          args->connection_close.reply_text);
    default:
        run_fail(link_run_of(link), "unexpected %s from the broker", amqp_method_info(id)->name);
        return false;
    }
}

static bool
take_method_frame(struct link *link, uint16_t channel_id, struct slice payload)
{
    struct channel *ch = find_channel(link, channel_id);
    union amqp_args args;

    if (payload.n < METHOD_ID_SIZE)
        return malformed(link);
    if (get_u32(payload.p) == (60U << 16 | 60U))
        return take_deliver(link, ch,
                            slice_of(payload.p + METHOD_ID_SIZE, payload.n - METHOD_ID_SIZE));
    struct reader r = reader_init(payload);
    uint16_t class_id = read_u16(&r), method_id = read_u16(&r);
    enum amqp_method_id id = amqp_method_find(class_id, method_id);
    if (id == AMQP_METHOD_UNKNOWN || !amqp_method_decode(id, &r, &args))
        return malformed(link);
    return take_method(link, ch, channel_id, id, &args);
}

/* --- content --- */

static void
content_done(struct link *link, struct channel *ch)
{
    if (ch->content == CONTENT_DELIVERY)
        consumer_message(link, ch);
    else
        counter_add(&link->worker->measure.n.returned, 1);
    ch->content = CONTENT_NONE;
}

static bool
take_header_frame(struct link *link, uint16_t channel_id, struct slice payload)
{
    struct channel *ch = find_channel(link, channel_id);

    if (ch == NULL || ch->content == CONTENT_NONE || payload.n < AMQP_CONTENT_HEADER_FIXED + 2)
        return malformed(link);
    ch->body_left = get_u64(payload.p + 4);
    ch->stamped = false;
    if (ch->body_left == 0)
        content_done(link, ch);
    return true;
}

/* `have` of the frame's `size` body bytes stand at p: all, or enough for a stamp. */
static bool
take_body_frame(struct link *link, uint16_t channel_id, const uint8_t *p, uint32_t size,
                size_t have)
{
    struct channel *ch = find_channel(link, channel_id);

    if (ch == NULL || ch->content == CONTENT_NONE || size > ch->body_left)
        return malformed(link);
    if (!ch->stamped && ch->content == CONTENT_DELIVERY)
        consumer_stamp(link, ch, p, have);
    ch->stamped = true;
    ch->body_left -= size;
    if (ch->body_left == 0)
        content_done(link, ch);
    return true;
}

/* --- frames --- */

/*
 * Takes the frame at p, of which n bytes have come. Returns the bytes it used; 0 when it needs
 * more, or the run failed.
 */
static size_t
take_frame(struct link *link, const uint8_t *p, size_t n)
{
    if (n < AMQP_FRAME_HEAD_SIZE)
        return 0;
    struct amqp_frame_head head = amqp_frame_head(p);
    const uint8_t *payload = p + AMQP_FRAME_HEAD_SIZE;
    size_t total = (size_t)head.size + AMQP_FRAME_OVERHEAD, have = n - AMQP_FRAME_HEAD_SIZE;
    bool ok = true;

    if (head.size > link->conn.frame_max || (n >= total && p[total - 1] != AMQP_FRAME_END)) {
        malformed(link);
        return 0;
    }
    if (head.type == AMQP_FRAME_BODY) {
        if (have < (head.size < PERF_STAMP_FULL ? head.size : PERF_STAMP_FULL))
            return 0;
        if (!take_body_frame(link, head.channel, payload, head.size,
                             have < head.size ? have : head.size))
            return 0;
        if (n >= total)
            return total;
        link->skip = total - n;
        return n;
    }
    if (n < total)
        return 0;
    if (head.type == AMQP_FRAME_METHOD)
        ok = take_method_frame(link, head.channel, slice_of(payload, head.size));
    else if (head.type == AMQP_FRAME_HEADER)
        ok = take_header_frame(link, head.channel, slice_of(payload, head.size));
    else if (head.type != AMQP_FRAME_HEARTBEAT)
        ok = malformed(link);
    return ok ? total : 0;
}

size_t
link_input(struct link *link, const uint8_t *p, size_t n)
{
    size_t done = link->skip < n ? (size_t)link->skip : n;

    if (done != 0) {
        link->skip -= done;
        if (link->skip == 0 && p[done - 1] != AMQP_FRAME_END)
            malformed(link);
    }
    while (done < n) {
        size_t used = take_frame(link, p + done, n - done);
        if (used == 0)
            break;
        done += used;
    }
    return done;
}
