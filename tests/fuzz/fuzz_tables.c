/*
 * The pairs of a field table. A second, much plainer walk over the bytes decides independently what
 * is well-formed; what is well-formed must survive reading and writing, and the notions of sameness
 * must agree with each other.
 */
#include "tests/fuzz/fuzz.h"

#include "protocol/table.h"

/* --- the second opinion: where does the value at p end? --- */

/*
 * Bytes of a value behind its tag; -1 for a length that stands in front of the value, -2 for no
 * such tag.
 */
static int
fixed_width(uint8_t tag)
{
    switch (tag) {
    case 'V':
        return 0;
    case 't':
    case 'b':
    case 'B':
        return 1;
    case 's':
    case 'u':
        return 2;
    case 'I':
    case 'i':
    case 'f':
        return 4;
    case 'D':
        return 5;
    case 'l':
    case 'L':
    case 'd':
    case 'T':
        return 8;
    case 'S':
    case 'x':
    case 'F':
    case 'A':
        return -1;
    default:
        return -2;
    }
}

static bool well_formed(const uint8_t *p, size_t n, bool keys, unsigned depth);

/* Bytes that the value at p takes with its tag, 0 when it is malformed. */
static size_t
value_length(const uint8_t *p, size_t n, unsigned depth)
{
    int width = n == 0 ? -2 : fixed_width(p[0]);

    if (width >= 0)
        return n - 1 < (size_t)width ? 0 : 1 + (size_t)width;
    if (width == -2 || n < 5)
        return 0;
    size_t len = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
    if (n - 5 < len)
        return 0;
    if ((p[0] == 'F' || p[0] == 'A') && !well_formed(p + 5, len, p[0] == 'F', depth + 1))
        return 0;
    return 5 + len;
}

static bool
well_formed(const uint8_t *p, size_t n, bool keys, unsigned depth)
{
    if (depth > AMQP_TABLE_MAX_DEPTH)
        return false;
    while (n != 0) {
        size_t key = keys ? 1 + (size_t)p[0] : 0;
        if (n < key)
            return false;
        size_t len = value_length(p + key, n - key, depth);
        if (len == 0)
            return false;
        p += key + len;
        n -= key + len;
    }
    return true;
}

/* --- reading and writing --- */

static void copy_table(struct writer *w, struct slice table);

static void
copy_array(struct writer *w, struct slice array)
{
    struct reader r = reader_init(array);
    struct amqp_value v;

    while (amqp_array_next(&r, &v))
        amqp_write_value(w, &v);
    MUST(reader_done(&r));
}

/* Nested values are taken apart and put together again, not copied as bytes. */
static void
copy_value(struct writer *w, const struct amqp_value *v)
{
    if (v->tag != AMQP_TAG_TABLE && v->tag != AMQP_TAG_ARRAY) {
        amqp_write_value(w, v);
        return;
    }
    write_u8(w, v->tag);
    uint8_t *at = amqp_write_begin(w);
    if (v->tag == AMQP_TAG_TABLE)
        copy_table(w, v->s);
    else
        copy_array(w, v->s);
    amqp_write_end(w, at);
}

static void
copy_table(struct writer *w, struct slice table)
{
    struct reader r = reader_init(table);
    struct amqp_pair pair;

    while (amqp_table_next(&r, &pair)) {
        amqp_write_key(w, pair.key);
        copy_value(w, &pair.value);
    }
    MUST(reader_done(&r));
}

static bool
is_nan(const struct amqp_value *v)
{
    return amqp_value_kind(v) == AMQP_KIND_FLOAT && !(v->f <= 0 || v->f >= 0);
}

/*
 * Values without others inside are equal after a copy; those with others may have had a boolean
 * normalised.
 */
static void
check_same_pairs(struct slice a, struct slice b)
{
    struct reader ra = reader_init(a), rb = reader_init(b);
    struct amqp_pair pa, pb;

    while (amqp_table_next(&ra, &pa)) {
        MUST(amqp_table_next(&rb, &pb));
        MUST(slice_eq(pa.key, pb.key) && pa.value.tag == pb.value.tag);
        if (pa.value.tag == AMQP_TAG_TABLE || pa.value.tag == AMQP_TAG_ARRAY)
            MUST(pa.value.s.n == pb.value.s.n);
        else
            MUST(is_nan(&pa.value) ? is_nan(&pb.value) : amqp_value_eq(&pa.value, &pb.value));
        MUST(amqp_value_eq(&pa.value, &pb.value) == amqp_value_eq(&pb.value, &pa.value));
    }
    MUST(reader_done(&rb));
}

static void
check_copy(struct slice table)
{
    uint8_t *bytes = mem_alloc(2 * table.n + 1);
    struct slice once = slice_of(bytes, table.n), twice = slice_of(bytes + table.n, table.n);

    struct writer w = writer_init(bytes, 2 * table.n);
    copy_table(&w, table);
    MUST(!w.bad && w.p == twice.p);
    MUST(amqp_table_check(once));
    check_same_pairs(table, once);
    copy_table(&w, once);
    MUST(!w.bad && w.p == w.end);
    MUST(slice_eq(once, twice));
    free(bytes);
}

/* --- sameness --- */

/* The same pairs from the last to the first, as bytes. */
static struct slice
reversed(struct slice table)
{
    uint8_t *bytes = mem_alloc(table.n + 1), *to = bytes + table.n;
    struct reader r = reader_init(table);
    struct amqp_pair pair;

    for (const uint8_t *from = r.p; amqp_table_next(&r, &pair); from = r.p) {
        to -= r.p - from;
        memcpy(to, from, (size_t)(r.p - from));
    }
    return slice_of(bytes, table.n);
}

static void
check_sameness(struct slice table)
{
    struct slice other = reversed(table);

    MUST(amqp_table_check(other));
    MUST(amqp_table_same(table, table));
    MUST(amqp_table_same(table, other) && amqp_table_same(other, table));
    MUST(amqp_table_hash(table, 7) == amqp_table_hash(other, 7));
    exact_free(other);
}

/* Another character in one key makes another table, however the rest is ordered. */
static void
check_difference(struct slice table)
{
    struct slice other = reversed(table);
    struct reader r = reader_init(other);
    struct amqp_pair pair;

    while (amqp_table_next(&r, &pair)) {
        if (pair.key.n == 0)
            continue;
        *(uint8_t *)(uintptr_t)pair.key.p ^= 1;
        MUST(!amqp_table_same(table, other) && !amqp_table_same(other, table));
        MUST(amqp_table_hash(table, 7) != amqp_table_hash(other, 7));
        break;
    }
    exact_free(other);
}

/* --- lookups --- */

static const uint8_t *
value_bytes(const struct amqp_value *v)
{
    return v->s.p;
}

/* Every key is found, and what is found is the first pair of that key. */
static void
check_get(struct slice table)
{
    struct reader r = reader_init(table);
    struct amqp_pair pair, first;
    struct amqp_value v;
    char key[256];

    while (amqp_table_next(&r, &pair)) {
        if (memchr(pair.key.p, 0, pair.key.n) != NULL)
            continue;
        memcpy(key, pair.key.p, pair.key.n);
        key[pair.key.n] = '\0';
        MUST(amqp_table_get(table, key, &v));
        struct reader again = reader_init(table);
        do
            MUST(amqp_table_next(&again, &first));
        while (!slice_eq(first.key, pair.key));
        MUST(v.tag == first.value.tag);
        if (amqp_value_kind(&v) == AMQP_KIND_STRING)
            MUST(value_bytes(&v) == value_bytes(&first.value));
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice table = slice_of(data, size);
    bool ok = amqp_table_check(table);

    MUST(ok == well_formed(data, size, true, 1));
    if (ok) {
        check_copy(table);
        check_sameness(table);
        check_difference(table);
        check_get(table);
    }
    return 0;
}
