#include "broker/core/definitions.h"

#include <stdlib.h>

#include "base/buf.h"
#include "base/mem.h"
#include "broker/core/broker.h"
#include "broker/core/exchange.h"
#include "broker/core/queue.h"
#include "broker/core/vhost.h"
#include "protocol/table.h"

enum { FLAG_DURABLE = 1, FLAG_AUTO_DELETE = 2, FLAG_INTERNAL = 4, FLAG_TO_EXCHANGE = 8 };

/* --- encoding --- */

static void
write_short(struct writer *w, struct slice s)
{
    write_u8(w, (uint8_t)s.n);
    write_bytes(w, s);
}

static void
write_long(struct writer *w, struct slice s)
{
    write_u32(w, (uint32_t)s.n);
    write_bytes(w, s);
}

static uint8_t
flags_of(const struct definition *d)
{
    return (uint8_t)((d->durable ? FLAG_DURABLE : 0) | (d->auto_delete ? FLAG_AUTO_DELETE : 0) |
                     (d->internal ? FLAG_INTERNAL : 0) | (d->to_exchange ? FLAG_TO_EXCHANGE : 0));
}

uint8_t *
definition_encode(const struct definition *d, size_t *n_r)
{
    size_t size = 64 + d->name.n + d->type.n + d->arguments.n + d->source.n + d->destination.n +
                  d->key.n + d->password_hash.n + d->tags.n;
    uint8_t *bytes = mem_alloc(size);
    struct writer w = writer_init(bytes, size);

    switch (d->kind) {
    case DEFINITION_VHOST:
        write_short(&w, d->name);
        break;
    case DEFINITION_USER:
        write_short(&w, d->name);
        write_long(&w, d->password_hash);
        write_long(&w, d->tags);
        break;
    case DEFINITION_EXCHANGE:
        write_u64(&w, d->vhost);
        write_short(&w, d->name);
        write_u8(&w, flags_of(d));
        write_short(&w, d->type);
        write_long(&w, d->arguments);
        break;
    case DEFINITION_QUEUE:
        write_u64(&w, d->vhost);
        write_short(&w, d->name);
        write_u8(&w, flags_of(d));
        write_long(&w, d->arguments);
        break;
    case DEFINITION_BINDING:
        write_u64(&w, d->vhost);
        write_u8(&w, flags_of(d));
        write_short(&w, d->source);
        write_short(&w, d->destination);
        write_short(&w, d->key);
        write_long(&w, d->arguments);
        break;
    case DEFINITION_DELETED_QUEUE:
        break;
    }
    *n_r = (size_t)(w.p - bytes);
    return bytes;
}

/* --- decoding --- */

static struct slice
read_short(struct reader *r)
{
    return read_bytes(r, read_u8(r));
}

static struct slice
read_long(struct reader *r)
{
    return read_bytes(r, read_u32(r));
}

static void
read_flags(struct reader *r, struct definition *d)
{
    uint8_t flags = read_u8(r);

    r->bad |= (flags & ~(FLAG_DURABLE | FLAG_AUTO_DELETE | FLAG_INTERNAL | FLAG_TO_EXCHANGE)) != 0;

    d->durable = (flags & FLAG_DURABLE) != 0;
    d->auto_delete = (flags & FLAG_AUTO_DELETE) != 0;
    d->internal = (flags & FLAG_INTERNAL) != 0;
    d->to_exchange = (flags & FLAG_TO_EXCHANGE) != 0;
}

bool
definition_decode(uint64_t id, uint8_t kind, struct slice payload, struct definition *d_r)
{
    struct reader r = reader_init(payload);

    *d_r = (struct definition){.id = id, .kind = kind};
    switch (d_r->kind) {
    case DEFINITION_VHOST:
        d_r->name = read_short(&r);
        break;
    case DEFINITION_USER:
        d_r->name = read_short(&r);
        d_r->password_hash = read_long(&r);
        d_r->tags = read_long(&r);
        break;
    case DEFINITION_EXCHANGE:
        d_r->vhost = read_u64(&r);
        d_r->name = read_short(&r);
        read_flags(&r, d_r);
        d_r->type = read_short(&r);
        d_r->arguments = read_long(&r);
        break;
    case DEFINITION_QUEUE:
        d_r->vhost = read_u64(&r);
        d_r->name = read_short(&r);
        read_flags(&r, d_r);
        d_r->arguments = read_long(&r);
        break;
    case DEFINITION_BINDING:
        d_r->vhost = read_u64(&r);
        read_flags(&r, d_r);
        d_r->source = read_short(&r);
        d_r->destination = read_short(&r);
        d_r->key = read_short(&r);
        d_r->arguments = read_long(&r);
        break;
    case DEFINITION_DELETED_QUEUE:
        break;
    default:
        return false;
    }
    return reader_done(&r) && amqp_table_check(d_r->arguments);
}

/* --- into the store --- */

static void
put(struct broker *b, const struct definition *d)
{
    size_t n;
    uint8_t *payload = definition_encode(d, &n);

    journal_put_definition(&b->journal, d->id, (uint8_t)d->kind, slice_of(payload, n));
    free(payload);
}

void
definition_add_vhost(struct vhost *v)
{
    v->id = journal_new_id(&v->broker->journal);
    put(v->broker, &(struct definition){.id = v->id, .kind = DEFINITION_VHOST, .name = v->name});
}

void
definition_add_exchange(struct exchange *x)
{
    x->id = journal_new_id(&x->vhost->broker->journal);
    put(x->vhost->broker, &(struct definition){
                              .id = x->id,
                              .kind = DEFINITION_EXCHANGE,
                              .vhost = x->vhost->id,
                              .name = x->name,
                              .durable = x->durable,
                              .auto_delete = x->auto_delete,
                              .internal = x->internal,
                              .type = slice_str(x->type->name),
                              .arguments = x->arguments,
                          });
}

void
definition_add_queue(struct queue *q)
{
    put(q->vhost->broker, &(struct definition){
                              .id = q->id,
                              .kind = DEFINITION_QUEUE,
                              .vhost = q->vhost->id,
                              .name = q->name,
                              .durable = q->durable,
                              .auto_delete = q->auto_delete,
                              .arguments = q->arguments,
                          });
}

void
definition_add_binding(struct binding *b)
{
    struct vhost *v = b->source->vhost;

    b->id = journal_new_id(&v->broker->journal);
    put(v->broker,
        &(struct definition){
            .id = b->id,
            .kind = DEFINITION_BINDING,
            .vhost = v->id,
            .source = b->source->name,
            .destination = b->dest.queue != NULL ? b->dest.queue->name : b->dest.exchange->name,
            .to_exchange = b->dest.queue == NULL,
            .key = b->key,
            .arguments = b->arguments,
        });
}

void
definition_bury_queue(struct queue *q)
{
    put(q->vhost->broker, &(struct definition){.id = q->id, .kind = DEFINITION_DELETED_QUEUE});
}
