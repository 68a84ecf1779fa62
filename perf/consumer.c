#include "perf/link.h"

void
consumer_init(struct link *link, unsigned number)
{
    const struct run *run = link_run_of(link);
    unsigned producers = run->o.producers * run->o.producer_channels;

    link->n_channels = run->o.consumer_channels;
    link->channels = mem_zalloc(link->n_channels * sizeof *link->channels);
    for (unsigned i = 0; i < link->n_channels; i++) {
        struct channel *ch = &link->channels[i];
        ch->id = (uint16_t)(i + 1);
        ch->queue = routing_queue(run->routing, number * link->n_channels + i);
        if (run->verify != NULL)
            ch->last_sequence = mem_zalloc(producers * sizeof *ch->last_sequence);
    }
    link->rate = run->o.consumer_rate * link->n_channels;
}

static void
ack(struct link *link, struct channel *ch)
{
    union amqp_args args = {.basic_ack = {.delivery_tag = ch->tag, .multiple = ch->unacked > 1}};

    conn_send(&link->conn, ch->id, AMQP_basic_ack, &args);
    ch->unacked = 0;
}

static void
channel_done(struct link *link)
{
    for (unsigned i = 0; i < link->n_channels; i++) {
        if (link->channels[i].received < link_run_of(link)->o.cmessages)
            return;
    }
    link->done = true;
    __atomic_sub_fetch(&link_run_of(link)->consumers_left, 1, __ATOMIC_ACQ_REL);
    run_notify(link_run_of(link));
}

void
consumer_message(struct link *link, struct channel *ch)
{
    const struct perf_options *o = &link_run_of(link)->o;
    struct measure *measure = &link->worker->measure;

    if (o->cmessages != 0 && ch->received == o->cmessages)
        return; /* more than this consumer was to take: left unacknowledged */
    ch->received++;
    counter_add(&measure->n.received, 1);
    if (ch->redelivered)
        counter_add(&measure->n.redelivered, 1);
    if (!o->autoack && ++ch->unacked == o->ack_every)
        ack(link, ch);
    if (ch->received == o->cmessages)
        channel_done(link);
}

static void
check(struct link *link, struct channel *ch, uint32_t sequence, uint32_t producer)
{
    const struct run *run = link_run_of(link);

    verify_message(run->verify, producer, ch->queue, sequence, ch->redelivered);
    if (producer >= run->o.producers * run->o.producer_channels)
        return;
    if (!ch->redelivered && sequence < ch->last_sequence[producer])
        verify_disorder(run->verify);
    ch->last_sequence[producer] = sequence + 1;
}

void
consumer_stamp(struct link *link, struct channel *ch, const uint8_t *body, size_t n)
{
    struct worker *worker = link->worker;

    if (n < PERF_STAMP_TIMED)
        return;
    uint64_t sent = get_u64(body);
    histogram_record(&worker->measure.latency, worker->now > sent ? (worker->now - sent) / 1000 : 0,
                     1);
    if (worker->run->verify != NULL && n >= PERF_STAMP_FULL)
        check(link, ch, get_u32(body + 8), get_u32(body + 12));
}

void
consumer_ack_rest(struct link *link)
{
    for (unsigned i = 0; i < link->n_channels; i++) {
        if (link->channels[i].unacked != 0)
            ack(link, &link->channels[i]);
    }
}

bool
consumer_may_read(struct link *link)
{
    uint64_t received = 0;

    if (link->done)
        return false;
    if (!(link->rate > 0))
        return true;
    for (unsigned i = 0; i < link->n_channels; i++)
        received += link->channels[i].received;
    link->due = link_run_of(link)->start + (uint64_t)((double)received / link->rate * 1e9);
    if (link->due > link->worker->now)
        return false;
    link->due = 0;
    return true;
}
