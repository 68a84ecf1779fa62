#include "protocol/props.h"

#include "protocol/table.h"

static inline struct slice
get_string(struct reader *r)
{
    return read_bytes(r, read_u8(r));
}

#define D_octet(name) props_r->name = read_u8(&r)
#define D_longlong(name) props_r->name = read_u64(&r)
#define D_shortstr(name) props_r->name = get_string(&r)
#define D_table(name)                                 \
    props_r->name = read_bytes(&r, read_u32(&r));     \
    if (r.bad || !amqp_table_check(props_r->name))    \
    return false

bool
amqp_props_decode(struct slice raw, struct amqp_props *props_r)
{
    struct reader r = reader_init(raw);

    props_r->flags = read_u16(&r) & (uint16_t)~3U;
#define P(name, type)                       \
    if (props_r->flags & AMQP_PROP(name)) { \
        D_##type(name);                     \
    }
    AMQP_PROPERTIES(P)
#undef P
    return reader_done(&r);
}

#define Z_octet(name) 1
#define Z_longlong(name) 8
#define Z_shortstr(name) (1 + props->name.n)
#define Z_table(name) (4 + props->name.n)

size_t
amqp_props_size(const struct amqp_props *props)
{
    size_t n = 2;

#define P(name, type)                   \
    if (props->flags & AMQP_PROP(name)) \
        n += Z_##type(name);
    AMQP_PROPERTIES(P)
#undef P
    return n;
}

static void
put_string(struct writer *w, struct slice s)
{
    if (s.n > UINT8_MAX) {
        w->bad = true;
        return;
    }
    write_u8(w, (uint8_t)s.n);
    write_bytes(w, s);
}

static void
put_table(struct writer *w, struct slice s)
{
    if (s.n > UINT32_MAX) {
        w->bad = true;
        return;
    }
    write_u32(w, (uint32_t)s.n);
    write_bytes(w, s);
}

#define E_octet(name) write_u8(w, props->name)
#define E_longlong(name) write_u64(w, props->name)
#define E_shortstr(name) put_string(w, props->name)
#define E_table(name) put_table(w, props->name)

void
amqp_props_encode(struct writer *w, const struct amqp_props *props)
{
    write_u16(w, props->flags & (uint16_t)~3U);
#define P(name, type)                   \
    if (props->flags & AMQP_PROP(name)) \
        E_##type(name);
    AMQP_PROPERTIES(P)
#undef P
}
