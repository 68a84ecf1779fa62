#include "perf/link.h"

#include "perf/clock.h"

/* Due times closer than this are served together: a wake-up per message would cost more than the
 * messages. */
enum { RATE_STEP_NS = 50000 };

static void
channel_init(struct channel *ch, unsigned id, unsigned window)
{
    ch->id = (uint16_t)id;
    ch->base = 1;
    if (window == 0)
        return;
    uint64_t size = 1;
    while (size < window)
        size *= 2;
    ch->mask = size - 1;
    ch->sent_ns = mem_zalloc(size * sizeof *ch->sent_ns);
}

void
producer_init(struct link *link, unsigned number, size_t image_room)
{
    const struct perf_options *o = &link_run_of(link)->o;

    link->is_producer = true;
    link->n_channels = o->producer_channels;
    link->channels = mem_zalloc(link->n_channels * sizeof *link->channels);
    for (unsigned i = 0; i < link->n_channels; i++)
        channel_init(&link->channels[i], i + 1, o->confirm);
    image_init(&link->image, &link_run_of(link)->plan, number * link->n_channels, image_room);
    link->limit = o->pmessages != 0 ? o->pmessages * link->n_channels : UINT64_MAX;
    link->rate = o->rate * link->n_channels;
    /* Producers of the same rate take turns instead of all publishing at the same moments. */
    if (link->rate > 0)
        link->rate_start = (uint64_t)(1e9 / link->rate * number / o->producers);
}

/* --- how much may be sent now --- */

static uint64_t
min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The number of the first message that the confirm windows forbid: channels take turns, so one that
 * is full stops all. */
static uint64_t
window_end(const struct link *link, unsigned window)
{
    uint64_t end = UINT64_MAX;

    for (unsigned i = 0; i < link->n_channels; i++)
        end = min_u64(end, (link->channels[i].base - 1 + window) * link->n_channels + i);
    return end;
}

/* The number of the first message that is not due yet, and when it will be. */
static uint64_t
rate_end(struct link *link)
{
    uint64_t begin = link_run_of(link)->start + link->rate_start, now = link->worker->now;
    uint64_t end = now < begin ? 0 : (uint64_t)((double)(now - begin) * link->rate / 1e9) + 1;

    link->due = begin + (uint64_t)((double)end / link->rate * 1e9);
    if (link->due < now + RATE_STEP_NS)
        link->due = now + RATE_STEP_NS;
    return end;
}

static uint64_t
allowed(struct link *link)
{
    const struct perf_options *o = &link_run_of(link)->o;
    uint64_t end = link->limit;

    link->due = 0;
    if (link->held || run_phase(link_run_of(link)) != RUN_PUBLISHING)
        return 0;
    if (o->confirm != 0)
        end = min_u64(end, window_end(link, o->confirm));
    if (link->rate > 0 && link->next < end)
        end = min_u64(end, rate_end(link));
    return end > link->next ? end - link->next : 0;
}

/* --- sending --- */

/* Remembers when message `number` was sent, for its confirm. */
static void
note_sent(struct link *link, uint64_t number, uint64_t now)
{
    struct channel *ch = &link->channels[image_channel(&link->image, number) - 1];

    ch->published++;
    ch->sent_ns[ch->published & ch->mask] = now;
}

/* Unlimited producers share one reading of the clock per batch; those with a rate get a fresh one
 * per message. */
static void
stamp_batch(struct link *link, unsigned at, unsigned n)
{
    bool confirms = link_run_of(link)->o.confirm != 0;
    uint64_t now = clock_ns();

    for (unsigned i = 0; i < n; i++) {
        if (link->rate > 0 && i != 0)
            now = clock_ns();
        image_stamp(&link->image, at + i, link->next + i, now);
        if (confirms)
            note_sent(link, link->next + i, now);
    }
    span_touch(&link->worker->measure.sent, now);
}

bool
producer_fill(struct link *link)
{
    struct image *image = &link->image;
    uint64_t may = allowed(link);
    unsigned at;

    if (may == 0)
        return false;
    unsigned n = image_take(image, link->next, may, &at);
    stamp_batch(link, at, n);
    uint32_t start = image->start[at];
    link->conn.image[0] = (struct iovec){image->buf.p + start, image->start[at + n] - start};
    const struct bytes *tail = &image->plan->tails[image_channel(image, link->next) - 1];
    link->conn.image[1] = (struct iovec){tail->p, tail->n};
    link->next += n;
    counter_add(&link->worker->measure.n.sent, n);
    return n < may;
}

/* --- confirms --- */

static unsigned
confirm_one(struct link *link, struct channel *ch, uint64_t tag)
{
    uint64_t *sent = &ch->sent_ns[tag & ch->mask];
    uint64_t now = link->worker->now;

    if (*sent == 0)
        return 0;
    histogram_record(&link->worker->measure.confirm_latency,
                     now > *sent ? (now - *sent) / 1000 : 0, 1);
    *sent = 0;
    return 1;
}

void
producer_confirm(struct link *link, struct channel *ch, uint64_t tag, bool multiple,
                 uint64_t *counter)
{
    uint64_t n = 0;

    if (ch->sent_ns == NULL || tag > ch->published || (tag == 0 && !multiple)) {
        run_fail(link_run_of(link), "confirm of a message that was not sent: %lu",
                 (unsigned long)tag);
        return;
    }
    if (multiple) {
        for (uint64_t end = tag == 0 ? ch->published : tag; ch->base <= end; ch->base++)
            n += confirm_one(link, ch, ch->base);
    } else if (tag >= ch->base) {
        n = confirm_one(link, ch, tag);
    }
    while (ch->base <= ch->published && ch->sent_ns[ch->base & ch->mask] == 0)
        ch->base++;
    counter_add(counter, n);
    span_touch(&link->worker->measure.confirmed, link->worker->now);
}

void
producer_check_done(struct link *link)
{
    if (link->done || link->next < link->limit || conn_is_pending(&link->conn))
        return;
    if (link_run_of(link)->o.confirm != 0) {
        for (unsigned i = 0; i < link->n_channels; i++) {
            if (link->channels[i].base <= link->channels[i].published)
                return;
        }
    }
    link->done = true;
    __atomic_sub_fetch(&link_run_of(link)->producers_left, 1, __ATOMIC_ACQ_REL);
    run_notify(link_run_of(link));
}
