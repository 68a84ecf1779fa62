#include "tests/unit/fake_env.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "broker/core/connection.h"
#include "broker/core/vhost.h"
#include "protocol/props.h"
#include "protocol/table.h"

/* A password that is being checked. */
struct fake_login {
    struct fake_login *next;
    uint64_t handle;
    bool granted;
};

static _Noreturn void
die(const char *what)
{
    fprintf(stderr, "%s\n", what);
    abort();
}

/* --- the environment --- */

static void
want_tick(void *ctx)
{
    struct fake *f = ctx;
    f->tick_wanted = true;
}

static void
hold_input(void *io, bool held)
{
    struct fake_peer *p = io;

    if (p->held == held)
        die("hold_input: nothing changes");
    p->held = held;
    p->fake->tick_wanted = true;
}

static void
shut(void *io, bool reset)
{
    struct fake_peer *p = io;

    p->shut = true;
    p->reset |= reset;
    p->fake->tick_wanted = true;
}

static void
authenticate(void *ctx, uint64_t handle, struct slice user, struct slice password,
             bool peer_is_loopback)
{
    struct fake *f = ctx;
    struct fake_login *login = mem_alloc(sizeof *login);

    login->next = f->logins;
    login->handle = handle;
    login->granted = slice_is(user, "guest") && slice_is(password, "guest") && peer_is_loopback;
    f->logins = login;
    f->tick_wanted = true;
}

static void
wake(void *ctx)
{
    want_tick(ctx);
}

/* --- life --- */

static void
on_user(void *ctx, const struct definition *user)
{
    struct fake *f = ctx;

    if (f->on_user != NULL)
        f->on_user(f->user_ctx, user);
}

bool
fake_start(struct fake *f)
{
    const struct env env = {f, want_tick, hold_input, shut, authenticate};

    f->broker = broker_new(&f->settings, &env, 1000000);
    return broker_open(f->broker, f->store, on_user, f);
}

static void
init(struct fake *f, struct store *s)
{
    *f = (struct fake){
        .settings =
            {
                .product = "Coney",
                .version = "4.3.0",
                .cluster_name = "coney@test",
                .default_vhost = "/",
                .channel_max = 2047,
                .heartbeat = 60,
                .frame_max = 131072,
                .initial_frame_max = 8192,
                .max_message_size = 16777216,
                .handshake_timeout = 10000,
                .output_high_watermark = 1048576,
                .queue_memory_max = UINT64_MAX,
                .messages_memory_max = UINT64_MAX,
            },
    };
    TAILQ_INIT(&f->peers);
    f->store = s;
    if (!fake_start(f))
        die("the broker does not start");
}

void
fake_init(struct fake *f)
{
    init(f, NULL);
}

void
fake_init_durable(struct fake *f, const char *faults)
{
    const struct store_options options = {.faults = faults, .wake = wake, .ctx = f};
    struct store *s = store_open(&options);

    if (s == NULL)
        die("the store cannot be opened");
    init(f, s);
}

void
fake_cut(struct fake_peer *p)
{
    if (p->connection != NULL)
        connection_free(p->connection);
    p->connection = NULL;
}

bool
fake_end(struct fake *f, enum fake_end how)
{
    struct fake_peer *p;
    bool is_written = how == FAKE_STOP;

    TAILQ_FOREACH(p, &f->peers, link)
    fake_cut(p);
    if (how == FAKE_STOP)
        broker_close(f->broker);
    /* Writing what is paged out refers to queues. */
    if (f->store != NULL)
        store_finish(f->store);
    is_written &= !f->broker->journal.is_full && !f->broker->journal.has_failed;
    broker_free(f->broker);
    f->broker = NULL;
    f->tick_wanted = false;
    return is_written;
}

bool
fake_restart(struct fake *f, enum fake_end how)
{
    bool is_written = fake_end(f, how);

    if (!fake_start(f))
        die("the broker does not start again");
    return is_written;
}

void
fake_fini(struct fake *f)
{
    struct fake_peer *p;
    struct fake_login *login;

    if (f->broker != NULL)
        fake_end(f, FAKE_CRASH);
    while ((p = TAILQ_FIRST(&f->peers)) != NULL) {
        TAILQ_REMOVE(&f->peers, p, link);
        free(p->in);
        free(p->out);
        free(p->body);
        free(p);
    }
    while ((login = f->logins) != NULL) {
        f->logins = login->next;
        free(login);
    }
    if (f->store != NULL)
        store_close(f->store);
}

struct vhost *
fake_vhost(struct fake *f)
{
    return vhost_find(f->broker, slice_str("/"));
}

struct fake_peer *
fake_connect(struct fake *f)
{
    struct fake_peer *p = mem_zalloc(sizeof *p);

    p->fake = f;
    TAILQ_INSERT_TAIL(&f->peers, p, link);
    p->connection = connection_new(f->broker, p, "127.0.0.1:40000 -> 127.0.0.1:5672", true);
    return p;
}

/* --- input and output --- */

static void
append(uint8_t **buf, size_t *n, size_t *cap, const void *bytes, size_t n_bytes)
{
    if (n_bytes == 0)
        return;
    if (*cap - *n < n_bytes) {
        *cap = 2 * (*n + n_bytes);
        *buf = mem_resize(*buf, *cap, 1);
    }
    memcpy(*buf + *n, bytes, n_bytes);
    *n += n_bytes;
}

/*
 * Offers what has been sent, in a block of exactly its size in which a sanitizer sees an access
 * beyond the end. The broker must take something whenever it asks for more.
 */
static void
feed(struct fake_peer *p)
{
    if (p->connection == NULL || p->held || p->shut || p->n_in == 0)
        return;
    uint8_t *block = mem_dup(p->in, p->n_in);
    size_t taken = connection_input(p->connection, block, p->n_in);
    free(block);
    if (taken > p->n_in)
        die("connection_input took more than there was");
    memmove(p->in, p->in + taken, p->n_in - taken);
    p->n_in -= taken;
}

static void
receive(struct fake_peer *p, const struct iovec *iov, int n)
{
    if (p->at_out != 0) {
        memmove(p->out, p->out + p->at_out, p->n_out - p->at_out);
        p->n_out -= p->at_out;
        p->at_out = 0;
    }
    for (int i = 0; i < n; i++)
        append(&p->out, &p->n_out, &p->cap_out, iov[i].iov_base, iov[i].iov_len);
}

/* Cuts the pieces to `max` bytes in all (not 0); returns the number of bytes and of pieces left. */
static size_t
limit(struct iovec *iov, int *n, size_t max)
{
    size_t bytes = 0;

    for (int i = 0; i < *n; i++) {
        if (bytes + iov[i].iov_len >= max) {
            iov[i].iov_len = max - bytes;
            *n = i + 1;
        }
        bytes += iov[i].iov_len;
    }
    return bytes;
}

static void
write_out(struct fake_peer *p)
{
    struct connection *c = p->connection;
    size_t left;

    while (!p->is_blocked && (left = connection_writable(c)) != 0) {
        struct iovec iov[3];
        int n = outq_peek(&c->out, iov, 3);
        size_t bytes = limit(iov, &n, p->write_max != 0 && p->write_max < left ? p->write_max : left);
        if (bytes == 0)
            die("outq: bytes are waiting and none are there");
        receive(p, iov, n);
        connection_written(c, bytes);
    }
}

static void
flush(struct fake *f)
{
    struct fake_peer *p;
    struct connection *c;

    while ((c = TAILQ_FIRST(&f->broker->pending)) != NULL) {
        TAILQ_REMOVE(&f->broker->pending, c, pending_link);
        c->is_pending = false;
        write_out(c->io);
    }
    /* Those that take output again. */
    TAILQ_FOREACH(p, &f->peers, link)
    {
        if (p->connection != NULL)
            write_out(p);
    }
}

static void
end_peers(struct fake *f)
{
    struct fake_peer *p;

    TAILQ_FOREACH(p, &f->peers, link)
    {
        if (p->shut && p->connection != NULL && (p->reset || p->connection->out.bytes == 0))
            fake_cut(p);
    }
}

void
fake_turn(struct fake *f)
{
    struct fake_peer *p;

    f->tick_wanted = false;
    f->n_ticks++;
    if (f->auth == FAKE_AUTH_GUEST)
        fake_answer(f, true);
    TAILQ_FOREACH(p, &f->peers, link)
    feed(p);
    broker_tick(f->broker);
    flush(f);
    end_peers(f);
    if (f->store != NULL && !f->store_is_held)
        store_poll(f->store);
}

void
fake_run(struct fake *f)
{
    do {
        fake_turn(f);
    } while (f->tick_wanted);
}

void
fake_advance(struct fake *f, uint64_t ms)
{
    struct broker *b = f->broker;
    uint64_t target = b->now + ms;

    fake_run(f);
    while (timers_next(&b->timers) <= target) {
        b->now = timers_next(&b->timers);
        timers_run(&b->timers, b->now);
        fake_run(f);
    }
    b->now = target;
}

void
fake_answer(struct fake *f, bool granted)
{
    struct fake_login *login, *oldest = NULL;

    while ((login = f->logins) != NULL) {
        f->logins = login->next;
        login->next = oldest;
        oldest = login;
    }
    while ((login = oldest) != NULL) {
        oldest = login->next;
        broker_authenticated(f->broker, login->handle, granted && login->granted);
        free(login);
    }
}

/* --- sending --- */

void
fake_send(struct fake_peer *p, struct slice bytes)
{
    append(&p->in, &p->n_in, &p->cap_in, bytes.p, bytes.n);
    if (p->connection != NULL)
        connection_received(p->connection, bytes.n);
    feed(p);
}

void
fake_send_method(struct fake_peer *p, uint16_t channel, enum amqp_method_id id,
                 const union amqp_args *args)
{
    size_t n = amqp_method_frame_size(id, args);
    uint8_t *bytes = mem_alloc(n);
    struct writer w = writer_init(bytes, n);

    amqp_write_method_frame(&w, channel, id, args);
    if (w.bad)
        die("a method cannot be encoded");
    fake_send(p, slice_of(bytes, n));
    free(bytes);
}

void
fake_send_frame(struct fake_peer *p, uint8_t type, uint16_t channel, struct slice payload)
{
    size_t n = AMQP_FRAME_OVERHEAD + payload.n;
    uint8_t *bytes = mem_alloc(n);

    amqp_put_frame_head(bytes, type, channel, (uint32_t)payload.n);
    if (payload.n != 0)
        memcpy(bytes + AMQP_FRAME_HEAD_SIZE, payload.p, payload.n);
    bytes[n - 1] = AMQP_FRAME_END;
    fake_send(p, slice_of(bytes, n));
    free(bytes);
}

void
fake_send_header(struct fake_peer *p, uint16_t channel, uint64_t body_size, struct slice props)
{
    size_t n = AMQP_FRAME_OVERHEAD + AMQP_CONTENT_HEADER_FIXED + props.n;
    uint8_t *bytes = mem_alloc(n);
    struct writer w = writer_init(bytes, n);

    amqp_write_header_frame(&w, channel, body_size, props);
    fake_send(p, slice_of(bytes, n));
    free(bytes);
}

void
fake_send_body(struct fake_peer *p, uint16_t channel, struct slice body)
{
    fake_send_frame(p, AMQP_FRAME_BODY, channel, body);
}

struct slice
fake_properties(void)
{
    static uint8_t bytes[128];
    struct writer w = writer_init(bytes, sizeof bytes);

    amqp_write_key(&w, slice_str("capabilities"));
    write_u8(&w, AMQP_TAG_TABLE);
    uint8_t *at = amqp_write_begin(&w);
    amqp_write_bool(&w, "authentication_failure_close", true);
    amqp_write_bool(&w, "consumer_cancel_notify", true);
    amqp_write_bool(&w, "connection.blocked", true);
    amqp_write_end(&w, at);
    return slice_of(bytes, (size_t)(w.p - bytes));
}

void
fake_send_handshake(struct fake_peer *p, struct slice properties)
{
    const struct settings *s = &p->fake->settings;

    fake_send(p, slice_of(amqp_protocol_header, AMQP_PROTOCOL_HEADER_SIZE));
    FAKE_SEND(p, 0, connection, start_ok, .client_properties = properties,
              .mechanism = slice_str("PLAIN"), .response = slice_of("\0guest\0guest", 12),
              .locale = slice_str("en_US"));
    FAKE_SEND(p, 0, connection, tune_ok, .channel_max = s->channel_max, .frame_max = s->frame_max,
              .heartbeat = s->heartbeat);
    FAKE_SEND(p, 0, connection, open, .virtual_host = slice_str("/"));
}

/* --- receiving --- */

static void
decode_method(struct fake_frame *frame)
{
    struct reader r = reader_init(frame->payload);
    uint16_t class_id = read_u16(&r), method_id = read_u16(&r);

    frame->id = amqp_method_find(class_id, method_id);
    if (frame->id == AMQP_METHOD_UNKNOWN)
        die("received a method that does not exist");
    if (!(amqp_method_info(frame->id)->flags & AMQP_FROM_SERVER))
        die("received a method that only clients may send");
    if (!amqp_method_decode(frame->id, &r, &frame->args))
        die("received a method that cannot be decoded");
}

bool
fake_read(struct fake_peer *p, struct fake_frame *frame_r)
{
    size_t left = p->n_out - p->at_out;

    if (left < AMQP_FRAME_HEAD_SIZE)
        return false;
    const uint8_t *at = p->out + p->at_out;
    struct amqp_frame_head head = amqp_frame_head(at);
    if (head.type == AMQP_FRAME_BODY &&
        head.size > p->fake->settings.frame_max - AMQP_FRAME_OVERHEAD)
        die("received a body frame larger than allowed");
    if (left < (size_t)head.size + AMQP_FRAME_OVERHEAD)
        return false;
    *frame_r = (struct fake_frame){
        .type = head.type,
        .channel = head.channel,
        .payload = slice_of(at + AMQP_FRAME_HEAD_SIZE, head.size),
    };
    if (at[AMQP_FRAME_HEAD_SIZE + head.size] != AMQP_FRAME_END)
        die("received a frame without its end octet");
    p->at_out += head.size + AMQP_FRAME_OVERHEAD;
    if (head.type == AMQP_FRAME_METHOD)
        decode_method(frame_r);
    else if (head.type == AMQP_FRAME_HEARTBEAT
                 ? head.channel != 0 || head.size != 0
                 : head.type != AMQP_FRAME_HEADER && head.type != AMQP_FRAME_BODY)
        die("received a frame that may not be sent");
    return true;
}

static void
read_bodies(struct fake_peer *p, uint16_t channel, struct fake_content *content)
{
    struct fake_frame frame;
    uint64_t got = 0;

    free(p->body);
    p->body = mem_alloc((size_t)content->size + 1);
    while (got < content->size && fake_read(p, &frame)) {
        if (frame.type != AMQP_FRAME_BODY || frame.channel != channel || frame.payload.n == 0 ||
            frame.payload.n > content->size - got)
            die("received something else than the body");
        memcpy(p->body + got, frame.payload.p, frame.payload.n);
        got += frame.payload.n;
    }
    content->body = slice_of(p->body, (size_t)got);
}

bool
fake_read_content(struct fake_peer *p, uint16_t channel, struct fake_content *content_r)
{
    struct amqp_content_header h;
    struct amqp_props props;
    struct fake_frame frame;

    if (!fake_read(p, &frame))
        return false;
    if (frame.type != AMQP_FRAME_HEADER || frame.channel != channel)
        die("received something else than a content header");
    if (!amqp_content_header_decode(frame.payload, &h) || h.class_id != AMQP_CLASS_BASIC ||
        h.weight != 0 || !amqp_props_decode(h.props, &props))
        die("received a content header that is malformed");
    content_r->size = h.body_size;
    content_r->props = h.props;
    read_bodies(p, channel, content_r);
    return content_r->body.n == h.body_size;
}

size_t
fake_read_all(struct fake_peer *p)
{
    struct fake_frame frame;
    struct fake_content content;
    size_t n = 0;

    while (fake_read(p, &frame)) {
        if (frame.type == AMQP_FRAME_HEARTBEAT)
            continue;
        if (frame.type != AMQP_FRAME_METHOD)
            die("received content without its method");
        n++;
        if ((amqp_method_info(frame.id)->flags & AMQP_HAS_CONTENT) &&
            !fake_read_content(p, frame.channel, &content))
            break;
    }
    return n;
}
