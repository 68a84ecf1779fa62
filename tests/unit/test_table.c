#include "protocol/table.h"

#include <math.h>
#include <stdio.h>

#include "tests/unit/check_util.h"
#include "tests/unit/method_args.h"

/* --- one value of each type: bytes from the specification, number or bytes that they mean --- */

static const struct {
    const char *name; /* RabbitMQ's */
    struct slice bytes;
    struct amqp_value value;
} values[] = {
#define B(literal)                                                                                 \
    {                                                                                              \
        (const uint8_t *)literal, sizeof literal - 1                                               \
    }
    {"bool", B("t\001"), {.tag = 't', .boolean = true}},
    {"bool", B("t\000"), {.tag = 't', .boolean = false}},
    {"byte", B("b\200"), {.tag = 'b', .i = -128}},
    {"byte", B("b\177"), {.tag = 'b', .i = 127}},
    {"unsignedbyte", B("B\377"), {.tag = 'B', .i = 255}},
    {"short", B("s\200\000"), {.tag = 's', .i = -32768}},
    {"short", B("s\001\002"), {.tag = 's', .i = 258}},
    {"unsignedshort", B("u\377\376"), {.tag = 'u', .i = 65534}},
    {"signedint", B("I\200\000\000\000"), {.tag = 'I', .i = INT32_MIN}},
    {"signedint", B("I\001\002\003\004"), {.tag = 'I', .i = 0x01020304}},
    {"unsignedint", B("i\377\377\377\377"), {.tag = 'i', .i = UINT32_MAX}},
    {"long", B("l\200\000\000\000\000\000\000\000"), {.tag = 'l', .i = INT64_MIN}},
    {"long", B("l\001\002\003\004\005\006\007\010"), {.tag = 'l', .i = 0x0102030405060708}},
    {"long", B("L\377\377\377\377\377\377\377\377"), {.tag = 'L', .i = -1}},
    {"float", B("f\277\300\000\000"), {.tag = 'f', .f = -1.5}},
    {"double", B("d\077\271\231\231\231\231\231\232"), {.tag = 'd', .f = 0.1}},
    {"decimal", B("D\002\000\000\001\072"), {.tag = 'D', .decimal = {2, 314}}},
    {"decimal", B("D\377\377\377\377\377"), {.tag = 'D', .decimal = {255, UINT32_MAX}}},
    {"longstr", B("S\000\000\000\003abc"), {.tag = 'S', .s = B("abc")}},
    {"longstr", B("S\000\000\000\000"), {.tag = 'S', .s = B("")}},
    {"longstr", B("S\000\000\000\002\377\000"), {.tag = 'S', .s = B("\377\000")}},
    {"binary", B("x\000\000\000\002\000\377"), {.tag = 'x', .s = B("\000\377")}},
    {"timestamp", B("T\000\000\000\000\145\123\361\000"), {.tag = 'T', .time = 1700000000}},
    {"timestamp", B("T\377\377\377\377\377\377\377\377"), {.tag = 'T', .time = UINT64_MAX}},
    {"table", B("F\000\000\000\004\001ktV"), {.tag = 'F', .s = B("\001ktV")}},
    {"table", B("F\000\000\000\003\001kV"), {.tag = 'F', .s = B("\001kV")}},
    {"table", B("F\000\000\000\000"), {.tag = 'F', .s = B("")}},
    {"array", B("A\000\000\000\003Vt\001"), {.tag = 'A', .s = B("Vt\001")}},
    {"array", B("A\000\000\000\000"), {.tag = 'A', .s = B("")}},
    {"void", B("V"), {.tag = 'V'}},
#undef B
};
#define N_VALUES (sizeof values / sizeof *values)

static bool
same_contents(const struct amqp_value *a, const struct amqp_value *b)
{
    return a->tag == b->tag && amqp_value_eq(a, b);
}

START_TEST(test_read_value)
{
    uint8_t *bytes = exact_bytes(values[_i].bytes);
    struct reader r = reader_init(slice_of(bytes, values[_i].bytes.n));
    struct amqp_value v;

    ck_assert(amqp_array_next(&r, &v));
    ck_assert(same_contents(&v, &values[_i].value));
    ck_assert(reader_done(&r));
    ck_assert(!amqp_array_next(&r, &v));
    ck_assert(!r.bad);
    free(bytes);
}
END_TEST

START_TEST(test_write_value)
{
    uint8_t bytes[64];
    struct slice wanted = values[_i].bytes;

    struct writer w = writer_init(bytes, sizeof bytes);
    amqp_write_value(&w, &values[_i].value);
    ck_assert(!w.bad);
    ck_assert_slice_eq(slice_of(bytes, (size_t)(w.p - bytes)), wanted);
    for (size_t room = 0; room < wanted.n; room++) {
        memset(bytes, 0x5a, sizeof bytes);
        w = writer_init(bytes, room);
        amqp_write_value(&w, &values[_i].value);
        ck_assert(w.bad);
        ck_assert_uint_eq(bytes[room], 0x5a);
    }
}
END_TEST

START_TEST(test_tag_name)
{
    ck_assert_str_eq(amqp_tag_name(values[_i].value.tag), values[_i].name);
}
END_TEST

/* A pair that is cut anywhere is malformed; and so is the array of it. */
START_TEST(test_value_cut_short)
{
    struct slice full = values[_i].bytes;
    struct amqp_value v;

    for (size_t n = 0; n < full.n; n++) {
        uint8_t *pair = malloc(2 + n);
        memcpy(pair, "\001k", 2);
        memcpy(pair + 2, full.p, n);
        ck_assert(!amqp_table_check(slice_of(pair, 2 + n)));
        struct reader r = reader_init(slice_of(pair + 2, n));
        ck_assert(!amqp_array_next(&r, &v));
        ck_assert_int_eq(r.bad, n != 0);
        free(pair);
    }
}
END_TEST

/* Every other byte in the place of a tag is refused: RabbitMQ knows none of U, C, c, q ... */
START_TEST(test_unknown_tags)
{
    unsigned known = 0;

    for (unsigned tag = 0; tag < 256; tag++) {
        uint8_t pair[19] = {1, 'k', (uint8_t)tag};
        bool any = false;
        for (size_t n = 3; n <= 11; n++)
            any |= amqp_table_check(slice_of(pair, n));
        known += any;
        ck_assert_int_eq(strcmp(amqp_tag_name((uint8_t)tag), "unknown") != 0, any);
    }
    ck_assert_uint_eq(known, 18);
}
END_TEST

START_TEST(test_true_is_any_but_zero)
{
    struct amqp_value v;

    ck_assert(amqp_table_get(BYTES("\001kt\007"), "k", &v));
    ck_assert(v.boolean);
    uint8_t bytes[2];
    struct writer w = writer_init(bytes, sizeof bytes);
    amqp_write_value(&w, &v);
    ck_assert_mem_eq(bytes, "t\001", 2);
}
END_TEST

/* --- well-formed or not --- */

static const struct slice good_tables[] = {
    {NULL, 0},
#define B(literal)                                                                                 \
    {                                                                                              \
        (const uint8_t *)literal, sizeof literal - 1                                               \
    }
    B("\000V"), /* an empty key */
    B("\001aV\001aV\000V"),
    B("\003a\000bV"),
    B("\001\377V"), /* keys need not be UTF-8 */
    B("\001aF\000\000\000\000"),
    B("\001aF\000\000\000\010\001bA\000\000\000\001V"),
};

START_TEST(test_good)
{
    ck_assert(amqp_table_check(good_tables[_i]));
}
END_TEST

/* The tables that tests give to methods. */
START_TEST(test_example_tables)
{
    struct prng g = {.state = 1};

    for (unsigned i = 0; i < 100; i++)
        ck_assert(amqp_table_check(prng_table(&g)));
}
END_TEST

static const struct slice bad_tables[] = {
    B("\000"),                                               /* no value */
    B("\001a"),                                              /* no value */
    B("\002a"),                                              /* key beyond the end */
    B("\377a"),                                              /* key beyond the end */
    B("\001aU\000\001"),                                     /* unknown tag */
    B("\001aV\000"),                                         /* half a pair behind a good one */
    B("\001aVV"),                                            /* a stray byte */
    B("\001aS\000\000\000\004abc"),                          /* string beyond the end */
    B("\001aS\377\377\377\377abc"),                          /* far beyond */
    B("\001aS\000\000\000"),                                 /* half a length */
    B("\001aF\000\000\000\002\001bV"),                       /* nested table cut by its length */
    B("\001aF\000\000\000\004\001bV"),                       /* nested table beyond the outer one */
    B("\001aF\000\000\000\001\000"),                         /* nested pair without a value */
    B("\001aF\000\000\000\004\001bU\000"),                   /* unknown tag inside */
    B("\001aA\000\000\000\001q"),                            /* unknown tag inside */
    B("\001aA\000\000\000\002V"),                            /* array beyond the table */
    B("\001aA\000\000\000\004I\000\000\000"),                /* value cut by the array's length */
    B("\001aA\000\000\000\003I\000\000\000\001"),            /* value longer than its array */
    B("\001aA\000\000\000\006S\000\000\000\002a\001bV"),     /* string reaches out of its array */
    B("\001aF\000\000\000\010\001bF\000\000\000\002\001cV"), /* inner one too long */
#undef B
};

START_TEST(test_bad)
{
    uint8_t *bytes = exact_bytes(bad_tables[_i]);
    ck_assert(!amqp_table_check(slice_of(bytes, bad_tables[_i].n)));
    free(bytes);
}
END_TEST

/* `depth` tables or arrays inside each other, the outermost table included. */
static struct slice
nested(uint8_t *bytes, size_t n, unsigned depth, uint8_t tag)
{
    uint8_t *at[100];
    struct writer w = writer_init(bytes, n);

    for (unsigned i = 0; i + 1 < depth; i++) {
        if (i == 0 || tag == AMQP_TAG_TABLE)
            amqp_write_key(&w, slice_str("k"));
        write_u8(&w, tag);
        at[i] = amqp_write_begin(&w);
    }
    for (unsigned i = depth - 1; i-- > 0;)
        amqp_write_end(&w, at[i]);
    ck_assert(!w.bad);
    return slice_of(bytes, (size_t)(w.p - bytes));
}

START_TEST(test_depth)
{
    static const uint8_t tags[] = {AMQP_TAG_TABLE, AMQP_TAG_ARRAY};
    uint8_t bytes[1024];

    ck_assert_int_eq(AMQP_TABLE_MAX_DEPTH, 64);
    for (size_t i = 0; i < sizeof tags; i++) {
        ck_assert(amqp_table_check(nested(bytes, sizeof bytes, 1, tags[i])));
        ck_assert(amqp_table_check(nested(bytes, sizeof bytes, 2, tags[i])));
        ck_assert(amqp_table_check(nested(bytes, sizeof bytes, 64, tags[i])));
        ck_assert(!amqp_table_check(nested(bytes, sizeof bytes, 65, tags[i])));
        ck_assert(!amqp_table_check(nested(bytes, sizeof bytes, 100, tags[i])));
    }
}
END_TEST

/* --- walking and looking up --- */

START_TEST(test_next)
{
    struct reader r = reader_init(BYTES("\001at\001\002bcb\377\000V"));
    struct amqp_pair pair;

    ck_assert(amqp_table_next(&r, &pair));
    ck_assert_slice_eq(pair.key, slice_str("a"));
    ck_assert_int_eq(pair.value.tag, 't');
    ck_assert(amqp_table_next(&r, &pair));
    ck_assert_slice_eq(pair.key, slice_str("bc"));
    ck_assert_int_eq(pair.value.i, -1);
    ck_assert(amqp_table_next(&r, &pair));
    ck_assert_uint_eq(pair.key.n, 0);
    ck_assert(!amqp_table_next(&r, &pair));
    ck_assert(reader_done(&r));
}
END_TEST

START_TEST(test_next_malformed)
{
    struct reader r = reader_init(BYTES("\001aV\001bq\001cV"));
    struct amqp_pair pair;

    ck_assert(amqp_table_next(&r, &pair));
    ck_assert(!amqp_table_next(&r, &pair));
    ck_assert(r.bad);
    ck_assert(!amqp_table_next(&r, &pair));
}
END_TEST

START_TEST(test_get)
{
    struct slice table = BYTES("\001aI\000\000\000\001\001bt\001\001aI\000\000\000\002\002abV");
    struct amqp_value v;

    ck_assert(amqp_table_get(table, "a", &v));
    ck_assert_int_eq(v.i, 1); /* the first of two */
    ck_assert(amqp_table_get(table, "b", &v));
    ck_assert(v.boolean);
    ck_assert(amqp_table_get(table, "ab", &v));
    ck_assert_int_eq(v.tag, 'V');
    ck_assert(!amqp_table_get(table, "A", &v));
    ck_assert(!amqp_table_get(table, "", &v));
    ck_assert(!amqp_table_get(table, "abc", &v));
    ck_assert(!amqp_table_get(slice_of(NULL, 0), "a", &v));
    ck_assert(amqp_table_get(BYTES("\000V"), "", &v));
}
END_TEST

/* Keys inside a nested table are no keys of the outer one. */
START_TEST(test_get_not_nested)
{
    struct slice table = BYTES("\001aF\000\000\000\003\001bV");
    struct amqp_value v;

    ck_assert(!amqp_table_get(table, "b", &v));
    ck_assert(amqp_table_get(table, "a", &v));
    ck_assert(amqp_table_get(v.s, "b", &v));
}
END_TEST

START_TEST(test_get_malformed)
{
    struct amqp_value v;

    ck_assert(amqp_table_get(BYTES("\001aV\001bq"), "a", &v));
    ck_assert(!amqp_table_get(BYTES("\001aV\001bq\001cV"), "b", &v));
    ck_assert(!amqp_table_get(BYTES("\001aV\001bq\001cV"), "c", &v));
}
END_TEST

/* --- equality --- */

START_TEST(test_integers_equal_by_number)
{
    static const uint8_t tags[] = {'b', 'B', 's', 'u', 'I', 'i', 'l', 'L'};

    for (size_t i = 0; i < sizeof tags; i++) {
        for (size_t j = 0; j < sizeof tags; j++) {
            struct amqp_value a = {.tag = tags[i], .i = 100}, b = {.tag = tags[j], .i = 100};
            ck_assert(amqp_value_eq(&a, &b));
            b.i = 101;
            ck_assert(!amqp_value_eq(&a, &b));
        }
    }
}
END_TEST

START_TEST(test_strings_equal_by_bytes)
{
    struct amqp_value s = {.tag = 'S', .s = slice_str("a")}, x = {.tag = 'x', .s = slice_str("a")};

    ck_assert(amqp_value_eq(&s, &x));
    ck_assert(amqp_value_eq(&x, &s));
    x.s = slice_str("b");
    ck_assert(!amqp_value_eq(&s, &x));
    x.s = slice_str("aa");
    ck_assert(!amqp_value_eq(&s, &x));
}
END_TEST

START_TEST(test_floats_equal_by_number)
{
    struct amqp_value f = {.tag = 'f', .f = 0.5}, d = {.tag = 'd', .f = 0.5};

    ck_assert(amqp_value_eq(&f, &d));
    d.f = 0.25;
    ck_assert(!amqp_value_eq(&f, &d));
    f.f = d.f = (double)NAN;
    ck_assert(!amqp_value_eq(&f, &d));
    f.f = 0.0;
    d.f = -0.0;
    ck_assert(amqp_value_eq(&f, &d));
}
END_TEST

/* The same number or bytes in another kind is another value. */
START_TEST(test_kinds_never_equal)
{
    static const struct amqp_value ones[] = {
        {.tag = 't', .boolean = true},
        {.tag = 'I', .i = 1},
        {.tag = 'd', .f = 1},
        {.tag = 'D', .decimal = {0, 1}},
        {.tag = 'S', .s = {(const uint8_t *)"\0V", 2}},
        {.tag = 'T', .time = 1},
        {.tag = 'F', .s = {(const uint8_t *)"\0V", 2}},
        {.tag = 'A', .s = {(const uint8_t *)"\0V", 2}},
        {.tag = 'V'},
    };
    const size_t n = sizeof ones / sizeof *ones;

    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < n; j++)
            ck_assert_int_eq(amqp_value_eq(&ones[i], &ones[j]), i == j);
    }
}
END_TEST

START_TEST(test_other_values_differ)
{
    struct amqp_value a = {.tag = 'D', .decimal = {2, 314}}, b = {.tag = 'D', .decimal = {3, 314}};

    ck_assert(!amqp_value_eq(&a, &b));
    b.decimal.scale = 2;
    ck_assert(amqp_value_eq(&a, &b));
    b.decimal.digits = 315;
    ck_assert(!amqp_value_eq(&a, &b));

    a = (struct amqp_value){.tag = 't', .boolean = true};
    b = (struct amqp_value){.tag = 't', .boolean = false};
    ck_assert(!amqp_value_eq(&a, &b));
    a = (struct amqp_value){.tag = 'T', .time = 1};
    b = (struct amqp_value){.tag = 'T', .time = 2};
    ck_assert(!amqp_value_eq(&a, &b));
}
END_TEST

/* Inside arrays and tables tags count. */
START_TEST(test_inner_tags_count)
{
    struct amqp_value a = {.tag = 'A', .s = BYTES("b\001")}, b = {.tag = 'A', .s = BYTES("B\001")};

    ck_assert(!amqp_value_eq(&a, &b));
    b.s = BYTES("b\001");
    ck_assert(amqp_value_eq(&a, &b));
    a = (struct amqp_value){.tag = 'F', .s = BYTES("\001kS\000\000\000\001v")};
    b = (struct amqp_value){.tag = 'F', .s = BYTES("\001kx\000\000\000\001v")};
    ck_assert(!amqp_value_eq(&a, &b));
}
END_TEST

/* --- sameness and hash --- */

/*
 * The hash may not tell apart what is the same; that it tells these few others apart shows that it
 * hashes.
 */
static void
expect_same(struct slice a, struct slice b, bool same)
{
    ck_assert_int_eq(amqp_table_same(a, b), same);
    ck_assert_int_eq(amqp_table_same(b, a), same);
    ck_assert_int_eq(amqp_table_hash(a, 1) == amqp_table_hash(b, 1), same);
}

START_TEST(test_same)
{
    struct slice ab = BYTES("\001aV\001bt\001"), ba = BYTES("\001bt\001\001aV");

    expect_same(ab, ab, true);
    expect_same(ab, ba, true);
    expect_same(slice_of(NULL, 0), slice_str(""), true);
    expect_same(ab, slice_of(NULL, 0), false);
    expect_same(ab, BYTES("\001aV"), false);
    expect_same(ab, BYTES("\001aV\001ct\001"), false);
    expect_same(ab, BYTES("\001aV\001bt\000"), false);
}
END_TEST

START_TEST(test_same_duplicates)
{
    expect_same(BYTES("\001aV\001aV\001bV"), BYTES("\001bV\001aV\001aV"), true);
    /* As many bytes and the same keys, but not as often. */
    expect_same(BYTES("\001aV\001aV\001bV"), BYTES("\001aV\001bV\001bV"), false);
    expect_same(BYTES("\001aV\001aV"), BYTES("\001aV\001bV"), false);
}
END_TEST

/* As many bytes in fewer pairs. */
START_TEST(test_same_needs_as_many_pairs)
{
    expect_same(BYTES("\001aV\001bV"), BYTES("\004abcdV"), false);
    expect_same(BYTES("\004\001aV\000V"), BYTES("\001aV\001aV"), false);
}
END_TEST

/* Unlike in an equivalence check, a binding with I 1 is not the one with i 1. */
START_TEST(test_same_counts_tags)
{
    expect_same(BYTES("\001aI\000\000\000\001"), BYTES("\001ai\000\000\000\001"), false);
    expect_same(BYTES("\001aS\000\000\000\001x"), BYTES("\001ax\000\000\000\001x"), false);
}
END_TEST

START_TEST(test_hash_seed)
{
    struct slice table = BYTES("\001aV\001bt\001");

    ck_assert_uint_ne(amqp_table_hash(table, 1), amqp_table_hash(table, 2));
}
END_TEST

#define N_PAIRS 12

/* Pairs of random types, in an order given by `order`. */
static struct slice
shuffled(uint8_t *bytes, size_t n, const unsigned *order)
{
    struct writer w = writer_init(bytes, n);
    char key[8];

    for (unsigned i = 0; i < N_PAIRS; i++) {
        snprintf(key, sizeof key, "k%u", order[i] % 1000);
        amqp_write_key(&w, slice_str(key));
        amqp_write_value(&w, &values[order[i] % N_VALUES].value);
    }
    ck_assert(!w.bad);
    return slice_of(bytes, (size_t)(w.p - bytes));
}

START_TEST(test_order_does_not_matter)
{
    struct prng g = {.state = 42};
    uint8_t a[512], b[512];
    unsigned order[N_PAIRS];

    for (unsigned i = 0; i < N_PAIRS; i++)
        order[i] = (unsigned)prng_below(&g, 1000);
    struct slice first = shuffled(a, sizeof a, order);
    for (unsigned round = 0; round < 100; round++) {
        for (unsigned i = N_PAIRS - 1; i > 0; i--) {
            unsigned j = (unsigned)prng_below(&g, i + 1), kept = order[i];
            order[i] = order[j];
            order[j] = kept;
        }
        struct slice again = shuffled(b, sizeof b, order);
        expect_same(first, again, true);
        b[1] ^= 1;
        expect_same(first, again, false);
    }
}
END_TEST

/*
 * As many pairs as a frame can hold, in reverse: must not take a time that grows with their square.
 */
START_TEST(test_same_large)
{
    enum { PAIRS = 20000, PAIR_SIZE = 6 };
    uint8_t *bytes = malloc(2 * PAIRS * PAIR_SIZE);
    struct writer w = writer_init(bytes, 2 * PAIRS * PAIR_SIZE);

    for (unsigned i = 0; i < 2 * PAIRS; i++) {
        write_u8(&w, 4);
        write_u32(&w, i < PAIRS ? i : 2 * PAIRS - 1 - i);
        write_u8(&w, AMQP_TAG_VOID);
    }
    ck_assert(!w.bad && w.p == w.end);
    expect_same(slice_of(bytes, PAIRS * PAIR_SIZE),
                slice_of(bytes + PAIRS * PAIR_SIZE, PAIRS * PAIR_SIZE), true);
    bytes[4] ^= 0x80;
    expect_same(slice_of(bytes, PAIRS * PAIR_SIZE),
                slice_of(bytes + PAIRS * PAIR_SIZE, PAIRS * PAIR_SIZE), false);
    free(bytes);
}
END_TEST

/* --- writing --- */

START_TEST(test_write)
{
    uint8_t bytes[64];
    struct writer w = writer_init(bytes, sizeof bytes);

    amqp_write_str(&w, "product", slice_str("Coney"));
    amqp_write_key(&w, slice_str("capabilities"));
    write_u8(&w, AMQP_TAG_TABLE);
    uint8_t *at = amqp_write_begin(&w);
    amqp_write_bool(&w, "basic.nack", true);
    amqp_write_end(&w, at);
    ck_assert(!w.bad);
    struct slice table = slice_of(bytes, (size_t)(w.p - bytes));
    ck_assert_slice_eq(table, BYTES("\007productS\000\000\000\005Coney"
                                    "\014capabilitiesF\000\000\000\015"
                                    "\012basic.nackt\001"));
    ck_assert(amqp_table_check(table));
}
END_TEST

START_TEST(test_write_key_limits)
{
    static uint8_t key[256], bytes[512];
    struct writer w = writer_init(bytes, sizeof bytes);

    amqp_write_key(&w, slice_of(key, 255));
    ck_assert(!w.bad);
    ck_assert_uint_eq(w.p - bytes, 256);
    amqp_write_key(&w, slice_of(key, 256));
    ck_assert(w.bad);
}
END_TEST

/* Brackets in a writer without room leave what is around it alone. */
START_TEST(test_write_bracket_no_room)
{
    for (size_t room = 0; room < 6; room++) {
        uint8_t bytes[16];
        memset(bytes, 0x5a, sizeof bytes);
        struct writer w = writer_init(bytes + 4, room);
        uint8_t *at = amqp_write_begin(&w);
        write_u16(&w, 0);
        amqp_write_end(&w, at);
        ck_assert(w.bad);
        ck_assert_mem_eq(bytes, "\x5a\x5a\x5a\x5a", 4);
        for (size_t i = 4 + room; i < sizeof bytes; i++)
            ck_assert_uint_eq(bytes[i], 0x5a);
    }
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("table");
    TCase *tc = tcase_create("values");

    tcase_add_loop_test(tc, test_read_value, 0, N_VALUES);
    tcase_add_loop_test(tc, test_write_value, 0, N_VALUES);
    tcase_add_loop_test(tc, test_tag_name, 0, N_VALUES);
    tcase_add_loop_test(tc, test_value_cut_short, 0, N_VALUES);
    tcase_add_test(tc, test_unknown_tags);
    tcase_add_test(tc, test_true_is_any_but_zero);
    suite_add_tcase(suite, tc);

    tc = tcase_create("well-formed");
    tcase_add_loop_test(tc, test_good, 0, sizeof good_tables / sizeof *good_tables);
    tcase_add_test(tc, test_example_tables);
    tcase_add_loop_test(tc, test_bad, 0, sizeof bad_tables / sizeof *bad_tables);
    tcase_add_test(tc, test_depth);
    suite_add_tcase(suite, tc);

    tc = tcase_create("lookups");
    tcase_add_test(tc, test_next);
    tcase_add_test(tc, test_next_malformed);
    tcase_add_test(tc, test_get);
    tcase_add_test(tc, test_get_not_nested);
    tcase_add_test(tc, test_get_malformed);
    suite_add_tcase(suite, tc);

    tc = tcase_create("equality");
    tcase_add_test(tc, test_integers_equal_by_number);
    tcase_add_test(tc, test_strings_equal_by_bytes);
    tcase_add_test(tc, test_floats_equal_by_number);
    tcase_add_test(tc, test_kinds_never_equal);
    tcase_add_test(tc, test_other_values_differ);
    tcase_add_test(tc, test_inner_tags_count);
    suite_add_tcase(suite, tc);

    tc = tcase_create("sameness");
    tcase_add_test(tc, test_same);
    tcase_add_test(tc, test_same_duplicates);
    tcase_add_test(tc, test_same_needs_as_many_pairs);
    tcase_add_test(tc, test_same_counts_tags);
    tcase_add_test(tc, test_hash_seed);
    tcase_add_test(tc, test_order_does_not_matter);
    tcase_add_test(tc, test_same_large);
    suite_add_tcase(suite, tc);

    tc = tcase_create("writing");
    tcase_add_test(tc, test_write);
    tcase_add_test(tc, test_write_key_limits);
    tcase_add_test(tc, test_write_bracket_no_room);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
