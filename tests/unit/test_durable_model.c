#include <stdarg.h>
#include <stdio.h>

#include "base/log.h"
#include "broker/core/vhost.h"
#include "tests/unit/client.h"
#include "tests/unit/method_args.h"

/*
 * Random work on a broker whose store is in memory and whose queues have hardly any memory, with
 * restarts, against a model that knows for each message in each queue whether it must be there, must not
 * be there, or may be: what was confirmed must survive a crash, what was published and not confirmed, or
 * acknowledged a moment ago, may.
 */
enum {
    QUEUES = 4, /* the last one is transient */
    CASES = 8,
    SEEDS = 25, /* in a case */
    STEPS = 500,
    COPIES_MAX = 4000, /* messages in a queue, ever */
    MESSAGES_MAX = 4000,
    PENDING_MAX = 64, /* of a transaction */
};

enum state {
    READY,
    UNACKED,
    TX_ACKED, /* unacknowledged for all others: the transaction is not committed */
    SETTLED,  /* but it may be back after a crash */
    GONE,
};

enum maybe { NO, PERHAPS, YES };

/* A message in a queue. */
struct copy {
    unsigned id;
    enum state state;
    bool is_uncertain;      /* READY, or lost in a crash */
    enum maybe redelivered; /* what it must say */
    bool is_delivery_known; /* the store knows that it was delivered */
    unsigned channel;       /* UNACKED, TX_ACKED */
    uint64_t tag;
    unsigned group; /* the transaction that was being committed at the last crash; 0: none */
    bool came_by_group;
};

struct model_queue {
    char name[8];
    bool durable;
    struct copy copies[COPIES_MAX];
    unsigned n, head; /* those before `head` are gone */
    unsigned n_ready;
    bool has_consumer, no_ack;
};

struct model_message {
    bool persistent;
    bool is_safe; /* confirmed, or committed */
    uint64_t confirm; /* its number on the publishers' channel; 0: none */
    unsigned commit;  /* transaction that published it; 0: none */
};

/* Channels: the number of a channel, and its connection. */
enum { GETS, CONSUMERS, TX, CHANNELS };

static struct fake fake;
static struct prng g;
static struct model_queue queues[QUEUES];
static struct model_message messages[MESSAGES_MAX];
static unsigned n_messages;
static struct fake_peer *publisher, *consumer, *transactor;
static uint64_t last_confirm;
static unsigned n_commits;
static bool is_committing; /* commit-ok has not come */
static bool is_replied;    /* to what was asked */
static uint32_t reply_count;

static struct {
    unsigned id;
    int queue; /* -1: all */
} pending[PENDING_MAX];
static unsigned n_pending;

/* What the last crash has made of transactions whose commit-ok had not come. */
static enum maybe outcome;

static uint64_t trace_seed;
static unsigned trace_step;

#define FAIL(...) fail_with(__LINE__, __VA_ARGS__)

static _Noreturn __attribute__((format(printf, 2, 3))) void
fail_with(int line, const char *fmt, ...)
{
    char text[256];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    ck_abort_msg("seed %u, step %u, line %d: %s", (unsigned)trace_seed, trace_step, line, text);
    abort();
}

static bool
chance(unsigned percent)
{
    return prng_below(&g, 100) < percent;
}

/* --- bodies --- */

static uint8_t
pattern(unsigned id, size_t i)
{
    return (uint8_t)(id * 31 + i * 7);
}

static struct slice
body_of(unsigned id, size_t n)
{
    static uint8_t bytes[65536];

    for (size_t i = 4; i < n; i++)
        bytes[i] = pattern(id, i);
    memcpy(bytes, &id, 4);
    return slice_of(bytes, n);
}

static unsigned
id_of(struct slice body)
{
    unsigned id;

    if (body.n < 4)
        FAIL("a body of %zu bytes", body.n);
    memcpy(&id, body.p, 4);
    for (size_t i = 4; i < body.n; i++) {
        if (body.p[i] != pattern(id, i))
            FAIL("message %u: wrong content at %zu", id, i);
    }
    return id;
}

static size_t
random_size(void)
{
    switch (prng_below(&g, 8)) {
    case 0:
        return 4096 + prng_below(&g, 4000);
    case 1:
        return chance(20) ? 30000 : 1000;
    default:
        return 4 + prng_below(&g, 200);
    }
}

/* --- the model --- */

static void
observe(struct copy *c, bool is_there)
{
    enum maybe committed;

    c->is_uncertain = false;
    if (c->group == 0)
        return;
    committed = is_there == c->came_by_group ? YES : NO;
    c->group = 0;
    if (outcome == PERHAPS)
        outcome = committed;
    if (outcome != committed)
        FAIL("half of a transaction: message %u is %s", c->id, is_there ? "there" : "not there");
}

static void
add_copy(struct model_queue *q, unsigned id)
{
    if (q->n == COPIES_MAX)
        FAIL("too many copies");
    q->copies[q->n++] = (struct copy){.id = id, .state = READY};
    q->n_ready++;
}

static void
add_copies(unsigned id, int queue)
{
    for (int i = 0; i < QUEUES; i++) {
        if (queue < 0 || queue == i)
            add_copy(&queues[i], id);
    }
}

/* The message that the broker hands out next must be this one. */
static struct copy *
take(struct model_queue *q, unsigned id, bool redelivered)
{
    for (unsigned i = q->head; i < q->n; i++) {
        struct copy *c = &q->copies[i];
        if (c->state != READY)
            continue;
        if (c->id == id) {
            observe(c, true);
            if (q->n_ready-- == 0)
                FAIL("%s: more messages than were counted", q->name);
            if ((c->redelivered == YES && !redelivered) || (c->redelivered == NO && redelivered))
                FAIL("%s: message %u: redelivered is %d", q->name, id, redelivered);
            if (c->redelivered != YES)
                c->is_delivery_known = false;
            c->redelivered = YES;
            return c;
        }
        if (!c->is_uncertain)
            FAIL("%s: message %u comes where %u should", q->name, id, c->id);
        observe(c, false);
        c->state = GONE;
    }
    for (unsigned i = 0; i < q->n; i++) {
        const struct copy *c = &q->copies[i];
        if (c->id == id)
            FAIL("%s: message %u comes, whose state is %d, redelivered %d", q->name, id, c->state,
                 c->redelivered);
    }
    FAIL("%s: message %u comes out of nothing", q->name, id);
}

static void
check_empty(struct model_queue *q)
{
    for (unsigned i = q->head; i < q->n; i++) {
        struct copy *c = &q->copies[i];
        if (c->state != READY)
            continue;
        if (!c->is_uncertain)
            FAIL("%s: message %u is lost", q->name, c->id);
        observe(c, false);
        c->state = GONE;
    }
    if (q->n_ready != 0)
        FAIL("%s: %u messages are counted and not there", q->name, q->n_ready);
}

static struct copy *
find_delivery(unsigned channel, uint64_t tag)
{
    for (int i = 0; i < QUEUES; i++) {
        for (unsigned k = queues[i].head; k < queues[i].n; k++) {
            struct copy *c = &queues[i].copies[k];
            if (c->state == UNACKED && c->channel == channel && c->tag == tag)
                return c;
        }
    }
    return NULL;
}

/* Some message that waits for its acknowledgement on a channel; NULL when there is none. */
static struct copy *
random_delivery(unsigned channel, struct model_queue **q_r)
{
    struct copy *found = NULL;
    unsigned n = 0;

    for (int i = 0; i < QUEUES; i++) {
        for (unsigned k = queues[i].head; k < queues[i].n; k++) {
            struct copy *c = &queues[i].copies[k];
            if (c->state != UNACKED || c->channel != channel || prng_below(&g, ++n) != 0)
                continue;
            found = c;
            *q_r = &queues[i];
        }
    }
    return found;
}

static void
put_back(struct model_queue *q, struct copy *c)
{
    c->state = READY;
    q->n_ready++;
}

/* All that waits on a channel goes back to its queue. */
static void
put_all_back(unsigned channel)
{
    for (int i = 0; i < QUEUES; i++) {
        for (unsigned k = queues[i].head; k < queues[i].n; k++) {
            struct copy *c = &queues[i].copies[k];
            if ((c->state == UNACKED || c->state == TX_ACKED) && c->channel == channel)
                put_back(&queues[i], c);
        }
    }
}

/* The store has been told everything. */
static void
all_told(void)
{
    for (int i = 0; i < QUEUES; i++) {
        struct model_queue *q = &queues[i];
        for (unsigned k = q->head; k < q->n; k++) {
            if (q->copies[k].state == SETTLED)
                q->copies[k].state = GONE;
            q->copies[k].is_delivery_known = true;
        }
        while (q->head < q->n && q->copies[q->head].state == GONE)
            q->head++;
    }
}

static void
model_restart_copy(struct copy *c, bool durable, enum fake_end how)
{
    const struct model_message *m = &messages[c->id];
    bool crash = how == FAKE_CRASH;

    c->group = 0;
    if (c->state == GONE)
        return;
    if (!durable || !m->persistent || (!crash && c->state == SETTLED)) {
        c->state = GONE;
        return;
    }
    if (crash && is_committing && (c->state == SETTLED || c->state == READY) && !c->is_uncertain) {
        bool published = m->commit == n_commits && c->state == READY;
        bool acked = c->state == SETTLED && c->channel == TX && c->tag == UINT64_MAX && m->is_safe;
        c->group = published || acked ? n_commits : 0;
        c->came_by_group = published;
    }
    if (crash && (c->state == SETTLED || !m->is_safe))
        c->is_uncertain = true;
    if (crash && c->redelivered == YES && !c->is_delivery_known)
        c->redelivered = PERHAPS;
    c->is_delivery_known = true;
    c->state = READY;
}

static void
model_restart(enum fake_end how)
{
    outcome = PERHAPS;
    for (int i = 0; i < QUEUES; i++) {
        queues[i].has_consumer = false;
        for (unsigned k = queues[i].head; k < queues[i].n; k++)
            model_restart_copy(&queues[i].copies[k], queues[i].durable, how);
    }
    for (unsigned i = 0; i < n_messages; i++) {
        messages[i].confirm = 0;
        messages[i].commit = 0;
        messages[i].is_safe = true; /* or uncertain */
    }
    n_pending = 0;
    is_committing = false;
}

/* --- what the broker says --- */

static void
confirmed(uint64_t tag, bool multiple)
{
    for (unsigned i = 0; i < n_messages; i++) {
        struct model_message *m = &messages[i];
        if (m->confirm != 0 && (m->confirm == tag || (multiple && m->confirm < tag)))
            m->is_safe = true;
    }
}

static void
committed(void)
{
    is_committing = false;
    for (unsigned i = 0; i < n_messages; i++)
        messages[i].is_safe |= messages[i].commit != 0;
    for (int i = 0; i < QUEUES; i++) {
        for (unsigned k = queues[i].head; k < queues[i].n; k++) {
            struct copy *c = &queues[i].copies[k];
            if (c->state == SETTLED && c->channel == TX && c->tag == UINT64_MAX)
                c->state = GONE;
        }
    }
}

static struct model_queue *
queue_of(struct slice name)
{
    for (int i = 0; i < QUEUES; i++) {
        if (slice_is(name, queues[i].name))
            return &queues[i];
    }
    FAIL("no such queue: %.*s", SLICE_FMT(name));
}

static unsigned
read_id(struct fake_peer *p, uint16_t channel)
{
    struct fake_content content;

    if (!fake_read_content(p, channel, &content))
        FAIL("a delivery without its content");
    return id_of(content.body);
}

/* Which queue a basic.get has asked. */
static struct model_queue *asked;
static bool asked_no_ack;

static void
delivered(struct copy *c, bool no_ack, unsigned channel, uint64_t tag)
{
    c->state = no_ack ? SETTLED : UNACKED;
    c->channel = channel;
    c->tag = tag;
}

static void
on_deliver(struct fake_peer *p, const struct fake_frame *frame)
{
    struct amqp_basic_deliver m = frame->args.basic_deliver;
    struct model_queue *q = queue_of(m.consumer_tag);
    unsigned id = read_id(p, frame->channel);

    if (!q->has_consumer)
        FAIL("a delivery to nobody");
    delivered(take(q, id, m.redelivered), q->no_ack, CONSUMERS, m.delivery_tag);
}

static void
on_get_ok(struct fake_peer *p, const struct fake_frame *frame)
{
    struct amqp_basic_get_ok m = frame->args.basic_get_ok;
    unsigned id = read_id(p, frame->channel);

    delivered(take(asked, id, m.redelivered), asked_no_ack, p == transactor ? TX : GETS,
              m.delivery_tag);
    if (m.message_count != asked->n_ready)
        FAIL("%s: %u messages left, not %u", asked->name, m.message_count, asked->n_ready);
    is_replied = true;
}

static void
on_frame(struct fake_peer *p, const struct fake_frame *frame)
{
    switch ((int)frame->id) {
    case AMQP_basic_ack:
        confirmed(frame->args.basic_ack.delivery_tag, frame->args.basic_ack.multiple);
        break;
    case AMQP_basic_deliver:
        on_deliver(p, frame);
        break;
    case AMQP_basic_get_ok:
        on_get_ok(p, frame);
        break;
    case AMQP_basic_get_empty:
        check_empty(asked);
        is_replied = true;
        break;
    case AMQP_tx_commit_ok:
        committed();
        is_replied = true;
        break;
    case AMQP_queue_declare_ok:
        reply_count = frame->args.queue_declare_ok.message_count;
        is_replied = true;
        break;
    case AMQP_queue_purge_ok:
        reply_count = frame->args.queue_purge_ok.message_count;
        is_replied = true;
        break;
    case AMQP_queue_delete_ok:
        reply_count = frame->args.queue_delete_ok.message_count;
        is_replied = true;
        break;
    case AMQP_connection_blocked:
    case AMQP_connection_unblocked:
        break;
    case AMQP_queue_bind_ok:
    case AMQP_exchange_declare_ok:
    case AMQP_confirm_select_ok:
    case AMQP_tx_select_ok:
    case AMQP_tx_rollback_ok:
    case AMQP_channel_open_ok:
    case AMQP_basic_qos_ok:
    case AMQP_basic_consume_ok:
    case AMQP_basic_cancel_ok:
        is_replied = true;
        break;
    default:
        FAIL("%s comes", amqp_method_info(frame->id)->name);
    }
}

static void
read_all(void)
{
    struct fake_peer *peers[] = {consumer, transactor, publisher};
    struct fake_frame frame;

    for (size_t i = 0; i < sizeof peers / sizeof *peers; i++) {
        while (fake_read(peers[i], &frame))
            on_frame(peers[i], &frame);
    }
}

/* --- steps --- */

static void
run(void)
{
    fake_run(&fake);
    read_all();
}

static void
advance(uint64_t ms)
{
    fake_advance(&fake, ms);
    read_all();
}

/* The store works, until there is nothing left to do. */
static void
let_go(void)
{
    fake.store_is_held = false;
    run();
    while (fake.broker->journal.is_full)
        advance(100);
}

/* Until what was asked last is answered. */
static void
await(void)
{
    let_go();
    if (!is_replied)
        FAIL("no answer");
}

#define ASK(p, channel, c, m, ...)                                                                 \
    do {                                                                                           \
        is_replied = false;                                                                        \
        FAKE_SEND((p), (channel), c, m, __VA_ARGS__);                                              \
        await();                                                                                   \
    } while (0)

static struct model_queue *
random_queue(void)
{
    return &queues[prng_below(&g, QUEUES)];
}

static unsigned
send_message(struct fake_peer *p, int queue)
{
    unsigned id = n_messages++;
    bool is_persistent = chance(70);

    if (n_messages == MESSAGES_MAX)
        FAIL("too many messages");
    messages[id] = (struct model_message){.persistent = is_persistent};
    send_publish(p, 1, queue < 0 ? "fan" : "", queue < 0 ? "" : queues[queue].name, false,
                 is_persistent ? persistent : slice_of("\0\0", 2), body_of(id, random_size()));
    return id;
}

static void
step_publish(void)
{
    for (uint64_t n = 1 + prng_below(&g, chance(10) ? 60 : 3); n != 0; n--) {
        int queue = chance(15) ? -1 : (int)prng_below(&g, QUEUES);
        unsigned id = send_message(publisher, queue);
        messages[id].confirm = ++last_confirm;
        add_copies(id, queue);
        while (publisher->n_in != 0)
            let_go();
    }
    if (chance(80))
        run();
}

static void
step_get(struct fake_peer *p)
{
    asked = random_queue();
    if (p == transactor && asked->has_consumer)
        return; /* whose deliveries are read on another connection */
    asked_no_ack = p == consumer && chance(30);
    ASK(p, 1, basic, get, .queue = S(asked->name), .no_ack = asked_no_ack);
}

static void
step_settle(unsigned channel)
{
    struct model_queue *q;
    struct copy *c = random_delivery(channel, &q);
    uint16_t number = channel == CONSUMERS ? 2 : 1;

    if (c == NULL)
        return;
    uint64_t tag = c->tag;
    if (chance(25)) {
        put_back(q, c);
        FAKE_SEND(consumer, number, basic, nack, .delivery_tag = tag, .requeue = true);
    } else if (chance(20)) {
        for (uint64_t t = 1; t <= tag; t++) {
            if ((c = find_delivery(channel, t)) != NULL)
                c->state = SETTLED;
        }
        FAKE_SEND(consumer, number, basic, ack, .delivery_tag = tag, .multiple = true);
    } else {
        c->state = SETTLED;
        FAKE_SEND(consumer, number, basic, reject, .delivery_tag = tag);
    }
    if (chance(70))
        run();
}

static void
step_consume(void)
{
    struct model_queue *q = random_queue();

    if (q->has_consumer) {
        ASK(consumer, 2, basic, cancel, .consumer_tag = S(q->name));
        q->has_consumer = false;
    } else {
        q->has_consumer = true;
        q->no_ack = chance(30);
        ASK(consumer, 2, basic, consume, .queue = S(q->name), .consumer_tag = S(q->name),
            .no_ack = q->no_ack);
    }
}

static void
forget_ready(struct model_queue *q)
{
    for (unsigned k = q->head; k < q->n; k++) {
        struct copy *c = &q->copies[k];
        if (c->state != READY)
            continue;
        c->state = GONE;
        c->group = 0;
    }
    q->n_ready = 0;
}

static void
step_purge(void)
{
    struct model_queue *q = random_queue();

    let_go();
    unsigned n = q->n_ready;
    forget_ready(q);
    ASK(publisher, 2, queue, purge, .queue = S(q->name));
    if (reply_count != n)
        FAIL("%s: %u messages purged, not %u", q->name, reply_count, n);
}

static void
declare_one(struct model_queue *q)
{
    ASK(publisher, 2, queue, declare, .queue = S(q->name), .durable = q->durable);
    ASK(publisher, 2, queue, bind, .queue = S(q->name), .exchange = S("fan"));
}

/* Deleted, and made again under the same name: messages of the old one must never come back. */
static void
step_delete(void)
{
    struct model_queue *q = random_queue();

    let_go();
    if (q->has_consumer || n_pending != 0)
        return;
    unsigned n = q->n_ready;
    forget_ready(q);
    ASK(publisher, 2, queue, delete, .queue = S(q->name));
    if (reply_count != n)
        FAIL("%s: %u messages deleted, not %u", q->name, reply_count, n);
    /* What is unacknowledged may be settled, and leads nowhere: the channels are ended. */
    for (unsigned k = q->head; k < q->n; k++)
        q->copies[k].state = GONE;
    declare_one(q);
}

static void
connect_consumer(void)
{
    consumer = client_open(&fake);
    client_open_channel(consumer, 2);
    ASK(consumer, 2, basic, qos, .prefetch_count = (uint16_t)(1 + prng_below(&g, 20)));
}

static void
connect_transactor(void)
{
    transactor = client_open(&fake);
    ASK(transactor, 1, tx, select, );
}

static void
step_cut_consumer(void)
{
    let_go();
    fake_cut(consumer);
    put_all_back(GETS);
    put_all_back(CONSUMERS);
    for (int i = 0; i < QUEUES; i++)
        queues[i].has_consumer = false;
    connect_consumer();
}

/* --- transactions --- */

static void
step_tx_publish(void)
{
    int queue = chance(30) ? -1 : (int)prng_below(&g, QUEUES);

    if (n_pending == PENDING_MAX)
        return;
    pending[n_pending].id = send_message(transactor, queue);
    pending[n_pending++].queue = queue;
    while (transactor->n_in != 0)
        let_go();
}

static void
step_tx_ack(void)
{
    struct model_queue *q;
    struct copy *c = random_delivery(TX, &q);

    if (c == NULL)
        return;
    c->state = TX_ACKED;
    FAKE_SEND(transactor, 1, basic, ack, .delivery_tag = c->tag);
}

static void
end_tx_acks(bool commit)
{
    for (int i = 0; i < QUEUES; i++) {
        for (unsigned k = queues[i].head; k < queues[i].n; k++) {
            struct copy *c = &queues[i].copies[k];
            if (c->state != TX_ACKED)
                continue;
            c->state = commit ? SETTLED : UNACKED;
            if (commit)
                c->tag = UINT64_MAX;
        }
    }
}

static void
step_commit(void)
{
    if (is_committing)
        let_go();
    n_commits++;
    for (unsigned i = 0; i < n_messages; i++)
        messages[i].commit = 0;
    for (unsigned i = 0; i < n_pending; i++) {
        messages[pending[i].id].commit = n_commits;
        add_copies(pending[i].id, pending[i].queue);
    }
    n_pending = 0;
    end_tx_acks(true);
    is_committing = true;
    FAKE_SEND(transactor, 1, tx, commit, );
    if (chance(70))
        run();
}

static void
step_rollback(void)
{
    if (is_committing)
        let_go();
    n_pending = 0;
    end_tx_acks(false);
    ASK(transactor, 1, tx, rollback, );
}

static void
step_tx(void)
{
    if (is_committing && chance(50))
        return;
    switch (prng_below(&g, 8)) {
    case 0:
    case 1:
    case 2:
        step_tx_publish();
        break;
    case 3:
    case 4:
        step_get(transactor);
        break;
    case 5:
        step_tx_ack();
        break;
    case 6:
        step_commit();
        break;
    default:
        if (chance(30))
            step_rollback();
        else
            step_tx_ack();
    }
}

/* --- restarts --- */

static void
connect_all(void)
{
    publisher = consumer = transactor = client_open(&fake);
    client_open_channel(publisher, 2);
    ASK(publisher, 1, confirm, select, .nowait = false);
    last_confirm = 0;
    connect_consumer();
    connect_transactor();
}

static void
step_restart(enum fake_end how)
{
    if (how == FAKE_CRASH && chance(50))
        run(); /* so that it does not always lose what came last */
    if (!fake_restart(&fake, how))
        how = FAKE_CRASH;
    fake.store_is_held = false;
    model_restart(how);
    connect_all();
    for (int i = 0; i < QUEUES; i++) {
        struct model_queue *q = &queues[i];
        if (q->durable)
            ASK(publisher, 2, queue, declare, .queue = S(q->name), .passive = true);
        else
            declare_one(q);
        q->n_ready = q->durable ? reply_count : 0;
        unsigned sure = 0, perhaps = 0;
        for (unsigned k = q->head; k < q->n; k++) {
            sure += q->copies[k].state == READY && !q->copies[k].is_uncertain;
            perhaps += q->copies[k].state == READY && q->copies[k].is_uncertain;
        }
        if (q->n_ready < sure || q->n_ready > sure + perhaps)
            FAIL("%s: %u messages after a restart, not %u to %u", q->name, q->n_ready, sure,
                 sure + perhaps);
    }
}

/* --- all of it --- */

static void
step(void)
{
    uint64_t what = prng_below(&g, 1000);

    if (what < 300)
        step_publish();
    else if (what < 420)
        step_get(consumer);
    else if (what < 580)
        step_settle(chance(50) ? GETS : CONSUMERS);
    else if (what < 620)
        step_consume();
    else if (what < 800)
        step_tx();
    else if (what < 840)
        advance(prng_below(&g, 150));
    else if (what < 900)
        fake.store_is_held = true;
    else if (what < 960)
        let_go();
    else if (what < 968)
        step_purge();
    else if (what < 972)
        step_delete();
    else if (what < 980)
        step_cut_consumer();
    else if (what < 985)
        step_restart(FAKE_STOP);
    else if (what < 995)
        step_restart(FAKE_CRASH);
    else if (!fake.store_is_held) {
        let_go();
        advance(1000);
        all_told();
    }
    check_queues(&fake);
}

/* In the end everything is taken out, and nothing of it stays in the store. */
static void
drain(void)
{
    let_go();
    step_cut_consumer();
    fake_cut(transactor);
    put_all_back(TX);
    connect_transactor();
    for (int i = 0; i < QUEUES; i++) {
        asked = &queues[i];
        asked_no_ack = true;
        while (asked->n_ready != 0) {
            ASK(consumer, 1, basic, get, .queue = S(asked->name), .no_ack = true);
            check_queues(&fake);
        }
        ASK(consumer, 1, basic, get, .queue = S(asked->name), .no_ack = true);
    }
    advance(1000);
    let_go();
    advance(1000);
    for (int i = 0; i < QUEUES; i++)
        check_drained(&fake, queues[i].name);
    struct stored n = count_stored(&fake);
    if (n.chunks != 0 || n.dead != 0 || n.shared != 0)
        FAIL("left in the store: %u chunks, %u shared messages", n.chunks, n.shared);
    /* The vhost, the exchange, and three queues with a binding each. */
    if (n.definitions != 2 + 2 * (QUEUES - 1))
        FAIL("%u definitions in the store", n.definitions);
}

static void
begin(uint64_t seed)
{
    char faults[96];

    trace_seed = seed;
    trace_step = 0;
    g.state = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15);
    memset(queues, 0, sizeof queues);
    n_messages = n_commits = n_pending = 0;
    is_committing = false;
    for (int i = 0; i < QUEUES; i++) {
        snprintf(queues[i].name, sizeof queues[i].name, "q%d", i);
        queues[i].durable = i != QUEUES - 1;
    }
    snprintf(faults, sizeof faults, "commit:%u:ENOSPC,commit:%u:ENOSPC,write:%u:ENOSPC",
             20 + (unsigned)prng_below(&g, 100), 20 + (unsigned)prng_below(&g, 200),
             100 + (unsigned)prng_below(&g, 1000));
    fake_init_durable(&fake, chance(50) ? faults : NULL);
    fake.settings.queue_memory_max = 2000 << prng_below(&g, 8);
    connect_all();
    ASK(publisher, 2, exchange, declare, .exchange = S("fan"), .type = S("fanout"), .durable = true);
    for (int i = 0; i < QUEUES; i++)
        declare_one(&queues[i]);
}

START_TEST(test_model)
{
    for (unsigned i = 0; i < SEEDS; i++) {
        begin((uint64_t)_i * SEEDS + i);
        for (trace_step = 1; trace_step <= STEPS; trace_step++)
            step();
        drain();
        fake_fini(&fake);
    }
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("durable model");
    TCase *tc = tcase_create("model");

    log_set_level(LOG_CRITICAL);
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, test_model, 0, CASES);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
