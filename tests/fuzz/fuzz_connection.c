/*
 * A whole broker and one or two clients that send whatever the input says. Octet 0 says how it is
 * set up, then come steps: an octet for what and where, and for most a length in two octets and as
 * many bytes. Frames are closed properly unless their bytes come raw, so that the fuzzer gets past
 * the first frame. What the broker sends must be frames that a server may send, and at the end all
 * memory is free (LeakSanitizer looks).
 */
#include "tests/fuzz/fuzz.h"

#include "base/log.h"
#include "broker/core/connection.h"
#include "tests/unit/fake_env.h"

enum setup {
    SETUP_TWO = 1,   /* a second connection, of another client */
    SETUP_FRESH = 2, /* the first one has not yet shaken hands */
    SETUP_LATER = 4, /* passwords are checked later */
    SETUP_SMALL = 8, /* low limits: frames, messages, output, channels */
    SETUP_SMALL_WRITES = 16,
};

enum step {
    STEP_RAW,
    STEP_METHOD,
    STEP_HEADER,
    STEP_BODY,
    STEP_TIME,  /* the length is in units of 16 ms */
    STEP_BLOCK, /* the client stops reading, or goes on */
    STEP_CUT,   /* the connection breaks and there is a new one */
    STEP_AUTH,  /* passwords are answered: right, if the length is even */
    STEP_KINDS,

    STEP_SECOND = 0x08,  /* the second connection */
    STEP_CHANNEL = 0x30, /* its number */
    STEP_PIECES = 0x40,  /* raw bytes come one by one */
    STEP_NO_RUN = 0x80,  /* the next step follows in the same tick */
};

static void
set_up_limits(struct settings *s)
{
    s->channel_max = 2;
    s->heartbeat = 2;
    s->frame_max = 4096;
    s->max_message_size = 100;
    s->consumer_max = 3;
    s->output_high_watermark = 200;
}

static struct fake_peer *
connect_peer(struct fake *f, unsigned setup, bool fresh)
{
    struct fake_peer *p = fake_connect(f);

    if (setup & SETUP_SMALL_WRITES)
        p->write_max = 13;
    if (fresh)
        return p;
    fake_send_handshake(p, fake_properties());
    FAKE_SEND(p, 1, channel, open, );
    FAKE_SEND(p, 2, channel, open, );
    fake_run(f);
    return p;
}

static void
send_pieces(struct fake_peer *p, struct slice bytes, bool one_by_one)
{
    if (!one_by_one) {
        fake_send(p, bytes);
        return;
    }
    for (size_t i = 0; i < bytes.n; i++)
        fake_send(p, slice_of(bytes.p + i, 1));
}

/* A broker that answers a wrong protocol header sends its own instead of frames. */
static void
read_output(struct fake_peer *p)
{
    if (p->n_out - p->at_out >= AMQP_PROTOCOL_HEADER_SIZE &&
        memcmp(p->out + p->at_out, "AMQP", 4) == 0)
        p->at_out += AMQP_PROTOCOL_HEADER_SIZE;
    fake_read_all(p);
}

static void
do_step(struct fake *f, struct fake_peer **peer, unsigned setup, uint8_t step, struct slice bytes,
        uint16_t length)
{
    struct fake_peer *p = *peer;
    uint16_t channel = (step & STEP_CHANNEL) >> 4;

    switch (step % STEP_KINDS) {
    case STEP_RAW:
        send_pieces(p, bytes, step & STEP_PIECES);
        break;
    case STEP_METHOD:
        fake_send_frame(p, AMQP_FRAME_METHOD, channel, bytes);
        break;
    case STEP_HEADER:
        fake_send_frame(p, AMQP_FRAME_HEADER, channel, bytes);
        break;
    case STEP_BODY:
        fake_send_frame(p, AMQP_FRAME_BODY, channel, bytes);
        break;
    case STEP_TIME:
        fake_advance(f, length * UINT64_C(16));
        break;
    case STEP_BLOCK:
        p->is_blocked = !p->is_blocked;
        break;
    case STEP_CUT:
        read_output(p);
        fake_cut(p);
        *peer = connect_peer(f, setup, length % 2 != 0);
        break;
    case STEP_AUTH:
    default:
        fake_answer(f, length % 2 == 0);
    }
}

static bool
has_bytes(uint8_t step)
{
    return step % STEP_KINDS <= STEP_BODY;
}

static void
run_steps(struct fake *f, struct fake_peer **peers, unsigned setup, struct reader *r)
{
    while (reader_left(r) != 0) {
        uint8_t step = read_u8(r);
        uint16_t length = read_u16(r);
        size_t n = has_bytes(step) ? length : 0;
        struct slice bytes = read_bytes(r, n < reader_left(r) ? n : reader_left(r));
        struct fake_peer **peer = &peers[setup & SETUP_TWO && step & STEP_SECOND ? 1 : 0];

        do_step(f, peer, setup, step, bytes, length);
        if (step & STEP_NO_RUN)
            continue;
        fake_run(f);
        read_output(*peer);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader r = reader_init(slice_of(data, size));
    struct fake_peer *peers[2] = {NULL};
    struct fake f;

    if (size > 20000)
        return 0;
    log_set_level(LOG_NONE);
    fake_init(&f);
    f.settings.max_message_size = 65536;
    unsigned setup = read_u8(&r);
    if (setup & SETUP_SMALL)
        set_up_limits(&f.settings);
    if (setup & SETUP_TWO)
        peers[1] = connect_peer(&f, setup, false);
    peers[0] = connect_peer(&f, setup, setup & SETUP_FRESH);
    if (setup & SETUP_LATER)
        f.auth = FAKE_AUTH_LATER;
    run_steps(&f, peers, setup, &r);
    fake_run(&f);
    fake_fini(&f);
    return 0;
}
