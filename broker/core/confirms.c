#include "broker/core/confirms.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum confirm_state { PENDING, ACKED, NACKED, TOLD };

static uint8_t *
state_of(struct confirms *c, uint64_t seq)
{
    return &c->states[seq & (c->cap - 1)];
}

static void
grow(struct confirms *c)
{
    size_t cap = c->cap == 0 ? 64 : 2 * c->cap;
    uint8_t *states = mem_zalloc(cap);

    for (uint64_t seq = c->told + 1; seq < c->published; seq++)
        states[seq & (cap - 1)] = *state_of(c, seq);
    free(c->states);
    c->states = states;
    c->cap = cap;
}

uint64_t
confirms_next(struct confirms *c)
{
    c->published++;
    if (c->published - c->told > c->cap)
        grow(c);
    *state_of(c, c->published) = PENDING;
    return c->published;
}

void
confirms_settle(struct confirms *c, uint64_t seq, enum confirm_kind kind)
{
    *state_of(c, seq) = kind == CONFIRM_ACK ? ACKED : NACKED;
    c->settled++;
}

/* Tells all numbers in state `which`: those below the cutoff together, the others one by one. */
static void
tell(struct confirms *c, uint8_t which, uint64_t cutoff, bool multiple, confirms_emit_fn *emit,
     void *ctx)
{
    enum confirm_kind kind = which == ACKED ? CONFIRM_ACK : CONFIRM_NACK;
    uint64_t last = 0;

    for (uint64_t seq = c->told + 1; seq <= c->published; seq++) {
        uint8_t *state = state_of(c, seq);
        if (*state != which)
            continue;
        *state = TOLD;
        if (seq < cutoff) {
            last = seq;
            continue;
        }
        if (last != 0)
            emit(ctx, kind, last, multiple);
        last = 0;
        emit(ctx, kind, seq, false);
    }
    if (last != 0)
        emit(ctx, kind, last, multiple);
}

void
confirms_flush(struct confirms *c, confirms_emit_fn *emit, void *ctx)
{
    uint64_t pending = UINT64_MAX, nacked = UINT64_MAX;
    size_t n_acked = 0;

    if (c->settled == 0)
        return;
    /* The common case: everything is settled and accepted. */
    if (c->settled == c->published - c->told && memchr(c->states, NACKED, c->cap) == NULL) {
        emit(ctx, CONFIRM_ACK, c->published, c->settled > 1);
        c->told = c->published;
        c->settled = 0;
        return;
    }
    for (uint64_t seq = c->told + 1; seq <= c->published; seq++) {
        uint8_t state = *state_of(c, seq);
        n_acked += state == ACKED;
        if (state == PENDING && pending == UINT64_MAX)
            pending = seq;
        if (state == NACKED && nacked == UINT64_MAX)
            nacked = seq;
    }
    /* A lone ack goes without the multiple bit, a merged nack always with it, as RabbitMQ sends
     * them. */
    tell(c, ACKED, pending < nacked ? pending : nacked, n_acked > 1, emit, ctx);
    tell(c, NACKED, pending, true, emit, ctx);
    while (c->told < c->published && *state_of(c, c->told + 1) == TOLD)
        c->told++;
    c->settled = 0;
}

void
confirms_fini(struct confirms *c)
{
    free(c->states);
    *c = (struct confirms){0};
}
