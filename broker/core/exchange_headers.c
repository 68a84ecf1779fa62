/* Headers exchanges: RabbitMQ's four x-match modes (amqp-0-9-1 3.1.3.4 and RabbitMQ's extensions).
 */
#include <stdlib.h>

#include "base/mem.h"
#include "broker/core/broker.h"
#include "broker/core/exchange.h"
#include "broker/core/message.h"
#include "broker/core/vhost.h"
#include "protocol/table.h"

/* A binding's arguments, taken apart once: what must be in a message. */
struct match {
    bool any; /* one of the pairs is enough */
    size_t n;
    struct amqp_pair pairs[]; /* borrow from binding.arguments */
};

struct mode {
    const char *name;
    bool any, with_x;
};

static const struct mode modes[] = {
    {"all", false, false},
    {"any", true, false},
    {"all-with-x", false, true},
    {"any-with-x", true, true},
};

/* The mode of a binding; NULL with the offending value when there is none such. */
static const struct mode *
mode_of(struct slice arguments, struct amqp_value *v)
{
    if (!amqp_table_get(arguments, "x-match", v))
        return &modes[0];
    if (v->tag != AMQP_TAG_LONGSTR)
        return NULL;
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        if (slice_is(v->s, modes[i].name))
            return &modes[i];
    }
    return NULL;
}

static bool
headers_check(struct slice arguments, struct amqp_error *err)
{
    struct amqp_value v;

    if (mode_of(arguments, &v) != NULL)
        return true;
    if (v.tag == AMQP_TAG_LONGSTR)
        return amqp_fail(err, AMQP_PRECONDITION_FAILED,
                         "Invalid x-match field value <<\"%.*s\">>; "
                         "expected all, any, all-with-x, or any-with-x",
                         SLICE_FMT(v.s));
    if (amqp_value_kind(&v) == AMQP_KIND_INT)
        return amqp_fail(err, AMQP_PRECONDITION_FAILED,
                         "Invalid x-match field type %s (value %lld); expected longstr",
                         amqp_tag_name(v.tag), (long long)v.i);
    return amqp_fail(err, AMQP_PRECONDITION_FAILED,
                     "Invalid x-match field type %s; expected longstr", amqp_tag_name(v.tag));
}

static bool
takes_part(const struct mode *mode, struct slice key)
{
    return mode->with_x ? !slice_is(key, "x-match") : !slice_starts(key, "x-");
}

static size_t
count_pairs(struct slice table)
{
    struct reader r = reader_init(table);
    struct amqp_pair pair;
    size_t n = 0;

    while (amqp_table_next(&r, &pair))
        n++;
    return n;
}

static void
headers_add(struct exchange *x, struct binding *b)
{
    struct reader r = reader_init(b->arguments);
    struct amqp_value v;
    const struct mode *mode = mode_of(b->arguments, &v);
    struct amqp_pair pair;
    struct match *match =
        mem_alloc(sizeof *match + count_pairs(b->arguments) * sizeof(struct amqp_pair));

    (void)x;
    match->any = mode->any;
    match->n = 0;
    while (amqp_table_next(&r, &pair)) {
        if (takes_part(mode, pair.key))
            match->pairs[match->n++] = pair;
    }
    b->place = match;
}

static void
headers_remove(struct exchange *x, struct binding *b)
{
    (void)x;
    free(b->place);
}

/*
 * A message's headers, sorted: bindings and headers may have thousands of pairs each, which must
 * not be compared all with all. Equal keys stay in their order, since lookups take the first.
 */
struct index {
    struct amqp_pair *pairs;
    size_t n;
};

static int
compare_keys(struct slice a, struct slice b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n == 0 ? 0 : memcmp(a.p, b.p, n);

    return c != 0 ? c : (a.n > b.n) - (a.n < b.n);
}

static int
compare_pairs(const void *left, const void *right)
{
    const struct amqp_pair *a = left, *b = right;
    int c = compare_keys(a->key, b->key);

    return c != 0 ? c : (a->key.p > b->key.p) - (a->key.p < b->key.p);
}

static struct index
index_headers(struct slice headers)
{
    struct index index = {.pairs = mem_resize(NULL, count_pairs(headers) + 1, sizeof *index.pairs)};
    struct reader r = reader_init(headers);

    while (amqp_table_next(&r, &index.pairs[index.n]))
        index.n++;
    qsort(index.pairs, index.n, sizeof *index.pairs, compare_pairs);
    return index;
}

/* A void argument asks only for the header's presence. */
static bool
has_pair(const struct index *index, const struct amqp_pair *wanted)
{
    size_t lo = 0, hi = index->n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (compare_keys(index->pairs[mid].key, wanted->key) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == index->n || !slice_eq(index->pairs[lo].key, wanted->key))
        return false;
    return wanted->value.tag == AMQP_TAG_VOID ||
           amqp_value_eq(&index->pairs[lo].value, &wanted->value);
}

static bool
matches(const struct match *match, const struct index *index)
{
    for (size_t i = 0; i < match->n; i++) {
        if (has_pair(index, &match->pairs[i]) == match->any)
            return match->any;
    }
    return !match->any;
}

static void
headers_route(struct exchange *x, struct slice key, struct route *r)
{
    struct index index = index_headers(message_headers(r->message));

    (void)key;
    x->vhost->broker->work += x->n_bindings;
    for (size_t i = 0; i < x->n_bindings; i++) {
        if (matches(x->bindings[i]->place, &index))
            route_add(r, x->bindings[i]);
    }
    free(index.pairs);
}

const struct exchange_type exchange_headers = {
    .name = "headers",
    .check = headers_check,
    .add = headers_add,
    .remove = headers_remove,
    .route = headers_route,
    .ignores_keys = true,
};
