#include "broker/core/definitions.h"

#include "tests/unit/client.h"

/* Payloads of definitions: there and back, and what is none. */

static struct definition decoded;

static const uint8_t kinds[] = {DEFINITION_VHOST, DEFINITION_USER,    DEFINITION_EXCHANGE,
                                DEFINITION_QUEUE, DEFINITION_BINDING, DEFINITION_DELETED_QUEUE};

static struct definition
full(enum definition_kind kind)
{
    return (struct definition){
        .id = 7,
        .kind = kind,
        .vhost = UINT64_C(0x1122334455667788),
        .name = S("name"),
        .durable = true,
        .auto_delete = true,
        .internal = true,
        .type = S("topic"),
        .arguments = table_of2("x-a", value_int(-5), "x-b", value_str("text")),
        .source = S("source"),
        .destination = S("destination"),
        .key = S("key.#"),
        .to_exchange = true,
        .password_hash = S("hash"),
        .tags = S("administrator"),
    };
}

static void
expect_same(const struct definition *a, const struct definition *b)
{
    ck_assert_uint_eq(a->id, b->id);
    ck_assert_int_eq(a->kind, b->kind);
    switch (b->kind) {
    case DEFINITION_VHOST:
        ck_assert_slice_eq(a->name, b->name);
        break;
    case DEFINITION_USER:
        ck_assert_slice_eq(a->name, b->name);
        ck_assert_slice_eq(a->password_hash, b->password_hash);
        ck_assert_slice_eq(a->tags, b->tags);
        break;
    case DEFINITION_EXCHANGE:
        ck_assert_slice_eq(a->type, b->type);
        ck_assert_int_eq(a->internal, b->internal);
        /* fall through */
    case DEFINITION_QUEUE:
        ck_assert_uint_eq(a->vhost, b->vhost);
        ck_assert_slice_eq(a->name, b->name);
        ck_assert_int_eq(a->durable, b->durable);
        ck_assert_int_eq(a->auto_delete, b->auto_delete);
        ck_assert_slice_eq(a->arguments, b->arguments);
        break;
    case DEFINITION_BINDING:
        ck_assert_uint_eq(a->vhost, b->vhost);
        ck_assert_slice_eq(a->source, b->source);
        ck_assert_slice_eq(a->destination, b->destination);
        ck_assert_slice_eq(a->key, b->key);
        ck_assert_int_eq(a->to_exchange, b->to_exchange);
        ck_assert_slice_eq(a->arguments, b->arguments);
        break;
    case DEFINITION_DELETED_QUEUE:
        break;
    }
}

static void
round_trip(const struct definition *d)
{
    size_t n;
    uint8_t *bytes = definition_encode(d, &n);
    uint8_t *exact = exact_bytes(slice_of(bytes, n));

    free(bytes);
    ck_assert(definition_decode(d->id, (uint8_t)d->kind, slice_of(exact, n), &decoded));
    expect_same(&decoded, d);
    free(exact);
}

START_TEST(test_round_trip)
{
    const struct definition d = full((enum definition_kind)kinds[_i]);
    const struct definition empty = {.id = 1, .kind = d.kind};

    round_trip(&d);
    round_trip(&empty);
}
END_TEST

/* Names of 255 bytes, the longest there are. */
START_TEST(test_long_names)
{
    char name[256];
    struct definition d = full((enum definition_kind)kinds[_i]);

    memset(name, 'n', 255);
    name[255] = '\0';
    d.name = d.source = d.destination = d.key = d.type = S(name);
    round_trip(&d);
}
END_TEST

/* A piece cut off, or more behind it, is no definition. */
START_TEST(test_cut)
{
    const struct definition d = full((enum definition_kind)kinds[_i]);
    size_t n;
    uint8_t *bytes = definition_encode(&d, &n);

    for (size_t k = 0; k < n; k++) {
        uint8_t *exact = exact_bytes(slice_of(bytes, k));
        ck_assert(!definition_decode(7, kinds[_i], slice_of(exact, k), &decoded));
        free(exact);
    }
    uint8_t *longer = malloc(n + 1);
    ck_assert_ptr_nonnull(longer);
    memcpy(longer, bytes, n);
    longer[n] = 0;
    ck_assert(!definition_decode(7, kinds[_i], slice_of(longer, n + 1), &decoded));
    free(longer);
    free(bytes);
}
END_TEST

/* Any byte may be anything: whatever is accepted stays inside its payload, which sanitizers watch. */
START_TEST(test_hostile)
{
    const struct definition d = full((enum definition_kind)kinds[_i]);
    size_t n;
    uint8_t *bytes = definition_encode(&d, &n);

    for (size_t k = 0; k < n; k++) {
        for (unsigned v = 0; v < 256; v += 5) {
            uint8_t *exact = exact_bytes(slice_of(bytes, n));
            exact[k] = (uint8_t)v;
            if (definition_decode(7, kinds[_i], slice_of(exact, n), &decoded))
                ck_assert(amqp_table_check(decoded.arguments));
            free(exact);
        }
    }
    free(bytes);
}
END_TEST

START_TEST(test_unknown_kind)
{
    ck_assert(!definition_decode(1, 0, slice_of(NULL, 0), &decoded));
    ck_assert(!definition_decode(1, 'z', slice_of(NULL, 0), &decoded));
    ck_assert(!definition_decode(1, 255, slice_of(NULL, 0), &decoded));
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("definitions");
    TCase *tc = tcase_create("definitions");

    tcase_add_loop_test(tc, test_round_trip, 0, sizeof kinds);
    tcase_add_loop_test(tc, test_long_names, 0, sizeof kinds);
    tcase_add_loop_test(tc, test_cut, 0, sizeof kinds);
    tcase_add_loop_test(tc, test_hostile, 0, sizeof kinds);
    tcase_add_test(tc, test_unknown_kind);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
