#include "broker/core/broker.h"

#include <bsd/stdlib.h>
#include <stdlib.h>

#include "base/mem.h"
#include "broker/core/channel.h"
#include "broker/core/definitions.h"
#include "broker/core/message.h"
#include "broker/core/vhost.h"

/*
 * Messages handed out in one tick, so that reading and writing get their turn. More than one turn
 * of reading brings in, or queues would grow although their consumers are willing.
 */
enum { DISPATCH_PER_TICK = 65536 };

uint64_t htab_seed;

struct broker *
broker_new(const struct settings *settings, const struct env *env, uint64_t now)
{
    struct broker *b = mem_zalloc(sizeof *b);

    if (htab_seed == 0)
        arc4random_buf(&htab_seed, sizeof htab_seed);
    b->settings = settings;
    b->env = *env;
    b->now = now;
    b->free_slot = NO_SLOT;
    TAILQ_INIT(&b->connections);
    TAILQ_INIT(&b->pending);
    TAILQ_INIT(&b->settling);
    journal_init(&b->journal, b);
    reaper_init(&b->reaper);
    pager_init(&b->pager);
    return b;
}

bool
broker_open(struct broker *b, struct store *s, recovered_user_fn *user, void *ctx)
{
    if (s != NULL) {
        journal_open(&b->journal, s);
        if (!recovery_run(b, s, user, ctx))
            return false;
    }
    if (b->vhosts == NULL)
        definition_add_vhost(vhost_new(b, slice_str(b->settings->default_vhost), 0));
    return true;
}

void
broker_close(struct broker *b)
{
    reaper_fini(&b->reaper);
    journal_close(&b->journal);
}

void
broker_free(struct broker *b)
{
    journal_drop(&b->journal);
    while (b->vhosts != NULL)
        vhost_free(b->vhosts);
    reaper_fini(&b->reaper);
    journal_fini(&b->journal);
    timers_fini(&b->timers);
    free(b->slots);
    free(b);
    message_trim();
}

void
broker_want_tick(struct broker *b)
{
    if (b->tick_wanted)
        return;
    b->tick_wanted = true;
    b->env.want_tick(b->env.ctx);
}

void
broker_tick(struct broker *b)
{
    struct channel *ch;
    unsigned left = DISPATCH_PER_TICK;
    bool more = false;

    /* What gets output from here on is written right behind this, and needs no further tick. */
    b->tick_wanted = true;
    for (struct vhost *v = b->vhosts; v != NULL; v = v->hh.next) {
        unsigned n = vhost_dispatch(v, left);
        left = n < left ? left - n : 0;
        more |= !TAILQ_EMPTY(&v->scheduled);
    }
    more |= reaper_run(&b->reaper);
    more |= journal_commit(&b->journal);
    while ((ch = TAILQ_FIRST(&b->settling)) != NULL)
        channel_tell_confirms(ch);
    b->tick_wanted = false;
    if (more)
        broker_want_tick(b);
}

void
broker_slow_down(struct broker *b, struct connection *c, enum hold_reason reason)
{
    b->publishers_wait |= reason;
    connection_hold(c, reason);
}

void
broker_release_publishers(struct broker *b)
{
    struct connection *c;
    unsigned reasons = 0;

    if (b->journal.behind <= JOURNAL_BEHIND / 2)
        reasons |= b->publishers_wait & HOLD_STORE;
    if (b->pager.behind <= PAGING_BEHIND / 2)
        reasons |= b->publishers_wait & HOLD_PAGING;
    if (reasons == 0)
        return;
    b->publishers_wait &= ~reasons;
    TAILQ_FOREACH (c, &b->connections, link)
        connection_release_hold(c, reasons);
}

struct connection *
broker_find(const struct broker *b, uint64_t handle)
{
    uint32_t slot = (uint32_t)handle, generation = (uint32_t)(handle >> 32);

    if (slot >= b->n_slots || b->slots[slot].generation != generation)
        return NULL;
    return b->slots[slot].connection;
}

void
broker_authenticated(struct broker *b, uint64_t handle, bool granted)
{
    struct connection *c = broker_find(b, handle);

    if (c != NULL)
        connection_authenticated(c, granted);
}

void
broker_shutdown(struct broker *b)
{
    struct connection *c, *next;

    TAILQ_FOREACH_SAFE (c, &b->connections, link, next)
        connection_force_close(c, "broker forced connection closure with reason 'shutdown'");
}
