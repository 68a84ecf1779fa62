#include "tests/unit/client.h"

#include "broker/core/vhost.h"
#include "protocol/props.h"

struct fake_peer *
client_open(struct fake *f)
{
    struct fake_peer *p = fake_connect(f);

    fake_send_handshake(p, fake_properties());
    fake_run(f);
    expect(p, 0, AMQP_connection_start);
    expect(p, 0, AMQP_connection_tune);
    expect(p, 0, AMQP_connection_open_ok);
    client_open_channel(p, 1);
    return p;
}

void
client_open_channel(struct fake_peer *p, uint16_t channel)
{
    CALL(p, channel, channel, open, );
}

const union amqp_args *
expect(struct fake_peer *p, uint16_t channel, enum amqp_method_id id)
{
    static struct fake_frame frame;
    const char *name = amqp_method_info(id)->name;

    ck_assert_msg(fake_read(p, &frame), "nothing comes where %s should", name);
    ck_assert_int_eq(frame.type, AMQP_FRAME_METHOD);
    ck_assert_str_eq(amqp_method_info(frame.id)->name, name);
    ck_assert_uint_eq(frame.channel, channel);
    return &frame.args;
}

void
expect_nothing(struct fake_peer *p)
{
    struct fake_frame frame;

    if (fake_read(p, &frame))
        ck_abort_msg("%s comes where nothing should", frame.type == AMQP_FRAME_METHOD
                                                          ? amqp_method_info(frame.id)->name
                                                          : "a frame");
    ck_assert_uint_eq(p->n_out - p->at_out, 0);
}

static void
assert_close(struct slice text_got, uint16_t class_id, uint16_t method_id, const char *text,
             enum amqp_method_id culprit)
{
    ck_assert_int_le(text_got.n, 255);
    char got[256] = {0};
    memcpy(got, text_got.p, text_got.n);
    ck_assert_str_eq(got, text);
    uint16_t class_wanted = 0, method_wanted = 0;
    if (culprit != AMQP_METHOD_UNKNOWN) {
        class_wanted = amqp_method_info(culprit)->class_id;
        method_wanted = amqp_method_info(culprit)->method_id;
    }
    ck_assert_uint_eq(class_id, class_wanted);
    ck_assert_uint_eq(method_id, method_wanted);
}

void
expect_channel_close(struct fake_peer *p, uint16_t channel, uint16_t code, const char *text,
                     enum amqp_method_id culprit)
{
    const struct amqp_channel_close *m = &expect(p, channel, AMQP_channel_close)->channel_close;

    ck_assert_uint_eq(m->reply_code, code);
    assert_close(m->reply_text, m->class_id, m->method_id, text, culprit);
}

void
expect_connection_close(struct fake_peer *p, uint16_t code, const char *text,
                        enum amqp_method_id culprit)
{
    const struct amqp_connection_close *m = &expect(p, 0, AMQP_connection_close)->connection_close;

    ck_assert_uint_eq(m->reply_code, code);
    assert_close(m->reply_text, m->class_id, m->method_id, text, culprit);
}

void
client_reopen(struct fake_peer *p, uint16_t channel)
{
    expect_nothing(p);
    FAKE_SEND(p, channel, channel, close_ok, );
    client_open_channel(p, channel);
}

void
send_publish(struct fake_peer *p, uint16_t channel, const char *exchange, const char *key,
             bool mandatory, struct slice props, struct slice body)
{
    FAKE_SEND(p, channel, basic, publish, .exchange = S(exchange), .routing_key = S(key),
              .mandatory = mandatory);
    fake_send_header(p, channel, body.n, props.n != 0 ? props : slice_of("\0\0", 2));
    if (body.n != 0)
        fake_send_body(p, channel, body);
}

void
publish(struct fake_peer *p, uint16_t channel, const char *exchange, const char *key,
        const char *body)
{
    send_publish(p, channel, exchange, key, false, slice_of(NULL, 0), S(body));
    fake_run(p->fake);
}

const struct slice persistent = {(const uint8_t *)"\x10\0\2", 3};

void
publish_persistent(struct fake_peer *p, uint16_t channel, const char *exchange, const char *key,
                   const char *body)
{
    send_publish(p, channel, exchange, key, false, persistent, S(body));
    fake_run(p->fake);
}

static void
expect_body(struct fake_peer *p, uint16_t channel, const char *body)
{
    struct fake_content content;

    ck_assert(fake_read_content(p, channel, &content));
    ck_assert_slice_eq(content.body, S(body));
}

uint64_t
expect_deliver(struct fake_peer *p, uint16_t channel, const char *consumer_tag, bool redelivered,
               const char *body)
{
    const struct amqp_basic_deliver *m = &expect(p, channel, AMQP_basic_deliver)->basic_deliver;
    uint64_t tag = m->delivery_tag;

    ck_assert_slice_eq(m->consumer_tag, S(consumer_tag));
    ck_assert_int_eq(m->redelivered, redelivered);
    expect_body(p, channel, body);
    return tag;
}

uint64_t
expect_get(struct fake_peer *p, uint16_t channel, const char *queue, bool no_ack, bool redelivered,
           uint32_t left, const char *body)
{
    FAKE_SEND(p, channel, basic, get, .queue = S(queue), .no_ack = no_ack);
    fake_run(p->fake);
    const struct amqp_basic_get_ok *m = &expect(p, channel, AMQP_basic_get_ok)->basic_get_ok;
    uint64_t tag = m->delivery_tag;
    ck_assert_int_eq(m->redelivered, redelivered);
    ck_assert_uint_eq(m->message_count, left);
    expect_body(p, channel, body);
    expect_nothing(p);
    return tag;
}

void
expect_empty(struct fake_peer *p, uint16_t channel, const char *queue)
{
    FAKE_SEND(p, channel, basic, get, .queue = S(queue));
    fake_run(p->fake);
    expect(p, channel, AMQP_basic_get_empty);
    expect_nothing(p);
}

void
declare_queue(struct fake_peer *p, const char *queue)
{
    CALL(p, 1, queue, declare, .queue = S(queue));
}

void
declare_durable(struct fake_peer *p, const char *queue)
{
    CALL(p, 1, queue, declare, .queue = S(queue), .durable = true);
}

void
declare_exchange(struct fake_peer *p, const char *exchange, const char *type)
{
    CALL(p, 1, exchange, declare, .exchange = S(exchange), .type = S(type));
}

void
consume(struct fake_peer *p, uint16_t channel, const char *queue, const char *tag, bool no_ack)
{
    FAKE_SEND(p, channel, basic, consume, .queue = S(queue), .consumer_tag = S(tag),
              .no_ack = no_ack);
    fake_run(p->fake);
    ck_assert_slice_eq(expect(p, channel, AMQP_basic_consume_ok)->basic_consume_ok.consumer_tag,
                       S(tag));
}

/* --- what is inside --- */

/* ck_assert() tells another process where it is, each time: too slow for what is called so often. */
#define CHECK(what)                                                                                \
    do {                                                                                           \
        if (!(what))                                                                               \
            ck_abort_msg("%s", #what);                                                             \
    } while (0)

static void
check_block(const struct block *bl)
{
    uint32_t n = 0, n_stored = 0;
    uint64_t cost = 0;

    for (uint32_t i = bl->start; i < bl->end; i++) {
        const struct message *m = bl->slots[i];
        if (m == NULL)
            continue;
        n++;
        n_stored += bl->chunk != NULL && m->persistent;
        cost += backlog_cost(m);
    }
    CHECK(bl->count == n);
    CHECK(bl->n_stored == n_stored);
    CHECK(bl->cost == cost);
}

static void
check_chunks(const struct queue *q)
{
    const struct chunk *c;
    uint64_t last = 0;

    TAILQ_FOREACH(c, &q->chunks, queue_link)
    {
        CHECK(c->queue == q);
        CHECK(c->head.first >= last); /* the same: one is to replace the other */
        last = c->head.first;
        if (c->state == CHUNK_STORED) {
            CHECK(c->live + c->n_dead == c->head.n);
            CHECK(c->dead_bytes <= c->head.bytes);
        }
    }
}

static void
check_queue(const struct queue *q)
{
    const struct backlog *b = &q->ready;
    size_t count = b->n_returned, n_paged = 0;
    uint64_t resident = 0, front = 0, loading = 0, bytes = 0, last = 0;
    unsigned n_loading = 0;
    struct block *bl;

    for (size_t i = 0; i < b->n_returned; i++) {
        resident += backlog_cost(b->returned[i].message);
        bytes += b->returned[i].message->body_len;
    }
    TAILQ_FOREACH(bl, &b->blocks, link)
    {
        CHECK(bl->first + bl->start >= last);
        CHECK(bl->start < bl->end);
        last = bl->first + bl->end;
        count += bl->count;
        if (bl->state >= BLOCK_PAGED) {
            n_paged++;
            n_loading += bl->state == BLOCK_LOADING;
            loading += bl->state == BLOCK_LOADING ? bl->cost : 0;
            continue;
        }
        check_block(bl);
        for (uint32_t i = bl->start; i < bl->end; i++)
            bytes += bl->slots[i] != NULL ? bl->slots[i]->body_len : 0;
        resident += bl->cost;
        if (n_paged == 0)
            front += bl->cost;
    }
    CHECK(b->count == count);
    CHECK(b->n_paged == n_paged);
    CHECK(b->resident == resident);
    CHECK(b->front == front);
    CHECK(q->loading_cost == loading);
    CHECK(q->n_loading >= n_loading);
    CHECK(b->bytes >= bytes);
    if (n_paged == 0)
        CHECK(b->bytes == bytes);
    CHECK(last <= q->last_seq + 1);
    check_chunks(q);
}

void
check_queues(struct fake *f)
{
    for (struct queue *q = fake_vhost(f)->queues; q != NULL; q = q->hh.next)
        check_queue(q);
}

void
check_drained(struct fake *f, const char *queue)
{
    const struct queue *q = vhost_find_queue(fake_vhost(f), S(queue));

    ck_assert_ptr_nonnull(q);
    ck_assert_uint_eq(q->ready.count, 0);
    ck_assert_uint_eq(q->ready.bytes, 0);
    ck_assert_uint_eq(q->ready.resident, 0);
    ck_assert_uint_eq(q->ready.front, 0);
    ck_assert_uint_eq(q->ready.n_paged, 0);
    ck_assert_uint_eq(q->n_loading, 0);
    ck_assert_uint_eq(q->loading_cost, 0);
    ck_assert_uint_eq(q->n_unacked, 0);
    ck_assert_uint_eq(q->unacked_memory, 0);
    ck_assert(TAILQ_EMPTY(&q->chunks));
    ck_assert_uint_eq(q->n_purged, 0);
}

static void
count_next_id(void *ctx, uint64_t id)
{
    (void)ctx, (void)id;
}

static void
count_definition(void *ctx, uint64_t id, uint8_t kind, struct slice payload)
{
    struct stored *n = ctx;

    (void)id, (void)kind, (void)payload;
    n->definitions++;
}

static void
count_state(void *ctx, uint64_t queue, const struct store_queue_state *state)
{
    struct stored *n = ctx;

    (void)queue, (void)state;
    n->states++;
}

static void
count_chunk(void *ctx, const struct chunk_head *head, const struct chunk_dead *dead,
            const uint64_t *shared, uint32_t n_shared)
{
    struct stored *n = ctx;

    (void)shared, (void)n_shared;
    n->chunks++;
    n->messages += head->n - (dead != NULL ? dead->n : 0);
    n->dead += dead != NULL;
}

static void
count_shared(void *ctx, uint64_t id)
{
    struct stored *n = ctx;

    (void)id;
    n->shared++;
}

struct stored
count_stored(struct fake *f)
{
    struct stored n = {0};
    const struct store_recovery steps = {
        .ctx = &n,
        .next_id = count_next_id,
        .definition = count_definition,
        .queue_state = count_state,
        .chunk = count_chunk,
        .shared = count_shared,
    };
    struct store_damage damage;

    ck_assert_int_eq(store_recover(f->store, &steps, &damage), STORE_OK);
    ck_assert_uint_eq(damage.definitions + damage.queue_states + damage.chunks + damage.dead_sets +
                          damage.shared,
                      0);
    return n;
}

/* --- tables --- */

enum { TABLE_MAX = 700 };

static uint8_t *
scratch(void)
{
    static uint8_t memory[16][TABLE_MAX];
    static unsigned next;

    return memory[next++ % 16];
}

struct slice
table_of(const char *key, struct amqp_value value)
{
    uint8_t *bytes = scratch();
    struct writer w = writer_init(bytes, TABLE_MAX);

    amqp_write_key(&w, slice_str(key));
    amqp_write_value(&w, &value);
    ck_assert(!w.bad);
    return slice_of(bytes, (size_t)(w.p - bytes));
}

struct slice
table_of2(const char *key, struct amqp_value value, const char *key2, struct amqp_value value2)
{
    uint8_t *bytes = scratch();
    struct slice one = table_of(key, value), two = table_of(key2, value2);
    struct writer w = writer_init(bytes, TABLE_MAX);

    write_bytes(&w, one);
    write_bytes(&w, two);
    ck_assert(!w.bad);
    return slice_of(bytes, one.n + two.n);
}

struct slice
props_with_headers(struct slice headers)
{
    const struct amqp_props props = {.flags = AMQP_PROP(headers), .headers = headers};
    uint8_t *bytes = scratch();
    struct writer w = writer_init(bytes, TABLE_MAX);

    amqp_props_encode(&w, &props);
    ck_assert(!w.bad);
    return slice_of(bytes, (size_t)(w.p - bytes));
}
