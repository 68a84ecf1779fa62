/*
 * Property flags and values, as they stand in a content header. What the decoder accepts, the
 * encoder must reproduce; one byte less or more must be refused.
 */
#include "tests/fuzz/fuzz.h"

#include "protocol/props.h"
#include "protocol/table.h"

#define SAME_octet(name) (a->name == b->name)
#define SAME_longlong(name) (a->name == b->name)
#define SAME_shortstr(name) slice_eq(a->name, b->name)
#define SAME_table(name) slice_eq(a->name, b->name)

static void
check_same(const struct amqp_props *a, const struct amqp_props *b)
{
    MUST(a->flags == b->flags);
#define P(name, type) MUST(!(a->flags & AMQP_PROP(name)) || SAME_##type(name));
    AMQP_PROPERTIES(P)
#undef P
}

static void
check_encoding(struct slice raw, const struct amqp_props *props)
{
    struct amqp_props again;
    size_t n = raw.n;
    uint8_t *bytes = mem_alloc(n);

    struct writer w = writer_init(bytes, n);
    amqp_props_encode(&w, props);
    MUST(amqp_props_size(props) == n && !w.bad && w.p == w.end);
    MUST(amqp_props_decode(slice_of(bytes, n), &again));
    check_same(props, &again);
    /* Undefined flags go, the values stay to the byte. */
    MUST(slice_eq(slice_of(bytes + 2, n - 2), slice_of(raw.p + 2, n - 2)));

    w = writer_init(bytes, n - 1);
    amqp_props_encode(&w, props);
    MUST(w.bad);
    free(bytes);
}

static void
check_one_byte_off(struct slice raw)
{
    struct amqp_props props;

    struct slice longer = exact_copy(raw, 1);
    MUST(!amqp_props_decode(longer, &props));
    exact_free(longer);
    struct slice shorter = exact_copy(slice_of(raw.p, raw.n - 1), 0);
    MUST(!amqp_props_decode(shorter, &props));
    exact_free(shorter);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice raw = slice_of(data, size);
    struct amqp_props props;

    if (!amqp_props_decode(raw, &props))
        return 0;
    MUST(!(props.flags & AMQP_PROP(headers)) || amqp_table_check(props.headers));
    check_encoding(raw, &props);
    check_one_byte_off(raw);
    return 0;
}
