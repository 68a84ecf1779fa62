#include "broker/core/message.h"

#include "protocol/props.h"

struct message *
message_new(struct slice address, struct slice props, uint64_t body_len)
{
    size_t head = sizeof(struct message) + address.n + props.n;

    if (body_len > SIZE_MAX - head)
        return NULL;
    struct message *m = mem_try_alloc(head + (size_t)body_len);
    if (m == NULL)
        return NULL;
    m->refs = 1;
    m->props_len = (uint32_t)props.n;
    m->body_len = body_len;
    m->address_len = (uint16_t)address.n;
    m->persistent = false;
    memcpy(m->bytes, address.p, address.n);
    memcpy(m->bytes + address.n, props.p, props.n);
    return m;
}

struct slice
message_headers(const struct message *m)
{
    struct amqp_props props;

    if (!amqp_props_decode(message_props(m), &props) || !(props.flags & AMQP_PROP(headers)))
        return slice_of(NULL, 0);
    return props.headers;
}
