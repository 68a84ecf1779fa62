#include "protocol/table.h"

#include <xxhash.h>

enum amqp_kind
amqp_value_kind(const struct amqp_value *v)
{
    switch (v->tag) {
#define T(name, tag, text, kind)                                                                   \
    case tag:                                                                                      \
        return kind;
        AMQP_TAGS(T)
#undef T
    default:
        return AMQP_KIND_VOID;
    }
}

const char *
amqp_tag_name(uint8_t tag)
{
    switch (tag) {
#define T(name, t, text, kind)                                                                     \
    case t:                                                                                        \
        return text;
        AMQP_TAGS(T)
#undef T
    default:
        return "unknown";
    }
}

static double
read_float(struct reader *r)
{
    uint32_t bits = read_u32(r);
    float f;
    memcpy(&f, &bits, sizeof f);
    return (double)f;
}

static double
read_double(struct reader *r)
{
    uint64_t bits = read_u64(r);
    double d;
    memcpy(&d, &bits, sizeof d);
    return d;
}

/* Reads the value behind its tag; an unknown tag makes the reader bad. */
static void
read_value(struct reader *r, struct amqp_value *v)
{
    v->tag = read_u8(r);
    switch (v->tag) {
    case AMQP_TAG_BOOL:
        v->boolean = read_u8(r) != 0;
        break;
    case AMQP_TAG_INT8:
        v->i = (int8_t)read_u8(r);
        break;
    case AMQP_TAG_UINT8:
        v->i = read_u8(r);
        break;
    case AMQP_TAG_INT16:
        v->i = (int16_t)read_u16(r);
        break;
    case AMQP_TAG_UINT16:
        v->i = read_u16(r);
        break;
    case AMQP_TAG_INT32:
        v->i = (int32_t)read_u32(r);
        break;
    case AMQP_TAG_UINT32:
        v->i = read_u32(r);
        break;
    case AMQP_TAG_INT64:
    case AMQP_TAG_INT64_L:
        v->i = (int64_t)read_u64(r);
        break;
    case AMQP_TAG_FLOAT:
        v->f = read_float(r);
        break;
    case AMQP_TAG_DOUBLE:
        v->f = read_double(r);
        break;
    case AMQP_TAG_DECIMAL:
        v->decimal.scale = read_u8(r);
        v->decimal.digits = read_u32(r);
        break;
    case AMQP_TAG_TIMESTAMP:
        v->time = read_u64(r);
        break;
    case AMQP_TAG_LONGSTR:
    case AMQP_TAG_BINARY:
    case AMQP_TAG_TABLE:
    case AMQP_TAG_ARRAY:
        v->s = read_bytes(r, read_u32(r));
        break;
    case AMQP_TAG_VOID:
        break;
    default:
        r->bad = true;
    }
}

bool
amqp_table_next(struct reader *r, struct amqp_pair *pair_r)
{
    if (r->bad || reader_left(r) == 0)
        return false;
    pair_r->key = read_bytes(r, read_u8(r));
    read_value(r, &pair_r->value);
    return !r->bad;
}

bool
amqp_array_next(struct reader *r, struct amqp_value *value_r)
{
    if (r->bad || reader_left(r) == 0)
        return false;
    read_value(r, value_r);
    return !r->bad;
}

static bool check_nested(const struct amqp_value *v, unsigned depth);

static bool
check_table(struct slice table, unsigned depth)
{
    struct reader r = reader_init(table);
    struct amqp_pair pair;

    while (amqp_table_next(&r, &pair)) {
        if (!check_nested(&pair.value, depth))
            return false;
    }
    return !r.bad;
}

static bool
check_array(struct slice array, unsigned depth)
{
    struct reader r = reader_init(array);
    struct amqp_value v;

    while (amqp_array_next(&r, &v)) {
        if (!check_nested(&v, depth))
            return false;
    }
    return !r.bad;
}

static bool
check_nested(const struct amqp_value *v, unsigned depth)
{
    if (v->tag != AMQP_TAG_TABLE && v->tag != AMQP_TAG_ARRAY)
        return true;
    if (depth == AMQP_TABLE_MAX_DEPTH)
        return false;
    return v->tag == AMQP_TAG_TABLE ? check_table(v->s, depth + 1) : check_array(v->s, depth + 1);
}

bool
amqp_table_check(struct slice table)
{
    return check_table(table, 1);
}

bool
amqp_table_get(struct slice table, const char *key, struct amqp_value *value_r)
{
    struct reader r = reader_init(table);
    struct slice wanted = slice_str(key);
    struct amqp_pair pair;

    while (amqp_table_next(&r, &pair)) {
        if (slice_eq(pair.key, wanted)) {
            *value_r = pair.value;
            return true;
        }
    }
    return false;
}

static bool
is_bytes(const struct amqp_value *v)
{
    return v->tag == AMQP_TAG_LONGSTR || v->tag == AMQP_TAG_BINARY;
}

bool
amqp_value_eq(const struct amqp_value *a, const struct amqp_value *b)
{
    if (is_bytes(a) && is_bytes(b))
        return slice_eq(a->s, b->s);
    if (amqp_value_kind(a) != amqp_value_kind(b))
        return false;
    switch (amqp_value_kind(a)) {
    case AMQP_KIND_BOOL:
        return a->boolean == b->boolean;
    case AMQP_KIND_INT:
        return a->i == b->i;
    case AMQP_KIND_FLOAT:
        return a->f <= b->f && a->f >= b->f;
    case AMQP_KIND_DECIMAL:
        return a->decimal.scale == b->decimal.scale && a->decimal.digits == b->decimal.digits;
    case AMQP_KIND_TIMESTAMP:
        return a->time == b->time;
    case AMQP_KIND_STRING:
    case AMQP_KIND_BINARY:
    case AMQP_KIND_TABLE:
    case AMQP_KIND_ARRAY:
        return slice_eq(a->s, b->s);
    case AMQP_KIND_VOID:
        return true;
    }
    return false;
}

static size_t
count_pairs(struct slice table)
{
    struct reader r = reader_init(table);
    struct amqp_pair p;
    size_t n = 0;

    while (amqp_table_next(&r, &p))
        n++;
    return n;
}

/* Any total order of pairs as bytes will do. */
static int
compare_pairs(const void *left, const void *right)
{
    const struct slice *a = left, *b = right;

    if (a->n != b->n)
        return a->n < b->n ? -1 : 1;
    return memcmp(a->p, b->p, a->n);
}

/* The bytes of the table's `n` pairs (key, tag and value), sorted. */
static void
sort_pairs(struct slice table, struct slice *pairs, size_t n)
{
    struct reader r = reader_init(table);
    struct amqp_pair p;

    for (size_t i = 0; i < n && amqp_table_next(&r, &p); i++) {
        pairs[i] = table;
        pairs[i].n = (size_t)(r.p - table.p);
        table = slice_of(r.p, reader_left(&r));
    }
    qsort(pairs, n, sizeof *pairs, compare_pairs);
}

bool
amqp_table_same(struct slice a, struct slice b)
{
    if (slice_eq(a, b))
        return true;
    if (a.n != b.n)
        return false;
    size_t n = count_pairs(a);
    if (n != count_pairs(b))
        return false;

    /* Sorted and not counted one by one, lest a peer's table of thousands of pairs take seconds. */
    struct slice *pairs = mem_resize(NULL, 2 * n, sizeof *pairs);
    sort_pairs(a, pairs, n);
    sort_pairs(b, pairs + n, n);
    bool same = true;
    for (size_t i = 0; i < n && same; i++)
        same = slice_eq(pairs[i], pairs[n + i]);
    free(pairs);
    return same;
}

uint64_t
amqp_table_hash(struct slice table, uint64_t seed)
{
    struct reader r = reader_init(table);
    struct amqp_pair p;
    uint64_t sum = 0;

    for (const uint8_t *start = r.p; amqp_table_next(&r, &p); start = r.p)
        sum += XXH3_64bits_withSeed(start, (size_t)(r.p - start), seed);
    return sum;
}

void
amqp_write_key(struct writer *w, struct slice key)
{
    if (key.n > UINT8_MAX) {
        w->bad = true;
        return;
    }
    write_u8(w, (uint8_t)key.n);
    write_bytes(w, key);
}

void
amqp_write_value(struct writer *w, const struct amqp_value *v)
{
    write_u8(w, v->tag);
    switch ((enum amqp_tag)v->tag) {
    case AMQP_TAG_BOOL:
        write_u8(w, v->boolean);
        break;
    case AMQP_TAG_INT8:
    case AMQP_TAG_UINT8:
        write_u8(w, (uint8_t)v->i);
        break;
    case AMQP_TAG_INT16:
    case AMQP_TAG_UINT16:
        write_u16(w, (uint16_t)v->i);
        break;
    case AMQP_TAG_INT32:
    case AMQP_TAG_UINT32:
        write_u32(w, (uint32_t)v->i);
        break;
    case AMQP_TAG_INT64:
    case AMQP_TAG_INT64_L:
        write_u64(w, (uint64_t)v->i);
        break;
    case AMQP_TAG_FLOAT: {
        float f = (float)v->f;
        uint32_t bits;
        memcpy(&bits, &f, sizeof bits);
        write_u32(w, bits);
        break;
    }
    case AMQP_TAG_DOUBLE: {
        uint64_t bits;
        memcpy(&bits, &v->f, sizeof bits);
        write_u64(w, bits);
        break;
    }
    case AMQP_TAG_DECIMAL:
        write_u8(w, v->decimal.scale);
        write_u32(w, v->decimal.digits);
        break;
    case AMQP_TAG_TIMESTAMP:
        write_u64(w, v->time);
        break;
    case AMQP_TAG_LONGSTR:
    case AMQP_TAG_BINARY:
    case AMQP_TAG_TABLE:
    case AMQP_TAG_ARRAY:
        if (v->s.n > UINT32_MAX)
            w->bad = true;
        write_u32(w, (uint32_t)v->s.n);
        write_bytes(w, v->s);
        break;
    case AMQP_TAG_VOID:
        break;
    }
}

void
amqp_write_str(struct writer *w, const char *key, struct slice s)
{
    struct amqp_value v = {.tag = AMQP_TAG_LONGSTR, .s = s};

    amqp_write_key(w, slice_str(key));
    amqp_write_value(w, &v);
}

void
amqp_write_bool(struct writer *w, const char *key, bool b)
{
    struct amqp_value v = {.tag = AMQP_TAG_BOOL, .boolean = b};

    amqp_write_key(w, slice_str(key));
    amqp_write_value(w, &v);
}

uint8_t *
amqp_write_begin(struct writer *w)
{
    uint8_t *at = w->p;

    write_u32(w, 0);
    return at;
}

void
amqp_write_end(struct writer *w, uint8_t *at)
{
    if (!w->bad)
        put_u32(at, (uint32_t)(w->p - at - 4));
}
