#include "broker/core/unacked.h"

#include "tests/unit/check_util.h"
#include "tests/unit/method_args.h"

static char address[1];
#define MESSAGE ((struct message *)(void *)address)

static void
push(struct unacked *u, uint64_t tag)
{
    const struct delivery d = {.tag = tag, .entry = {.message = MESSAGE, .seq = 10 * tag}};
    unacked_push(u, &d);
}

static void
expect_take(struct unacked *u, uint64_t tag)
{
    struct delivery d;

    ck_assert(unacked_has(u, tag));
    ck_assert(unacked_take(u, tag, &d));
    ck_assert_uint_eq(d.tag, tag);
    ck_assert_uint_eq(d.entry.seq, 10 * tag);
    ck_assert_ptr_eq(d.entry.message, MESSAGE);
    ck_assert(!unacked_has(u, tag));
    ck_assert(!unacked_take(u, tag, &d));
}

START_TEST(test_empty)
{
    struct unacked u = {0};
    struct delivery d;

    ck_assert(!unacked_has(&u, 0));
    ck_assert(!unacked_has(&u, 1));
    ck_assert(!unacked_take(&u, 1, &d));
    ck_assert(!unacked_take_first(&u, UINT64_MAX, &d));
    unacked_restore(&u, NULL, 0);
    unacked_fini(&u);
}
END_TEST

START_TEST(test_take)
{
    struct unacked u = {0};
    struct delivery d;

    for (uint64_t tag = 1; tag <= 5; tag++)
        push(&u, tag);
    expect_take(&u, 3);
    expect_take(&u, 5);
    ck_assert(!unacked_has(&u, 6));
    ck_assert_uint_eq(u.live, 3);
    ck_assert(unacked_take_first(&u, 4, &d));
    ck_assert_uint_eq(d.tag, 1);
    ck_assert(unacked_take_first(&u, 4, &d));
    ck_assert_uint_eq(d.tag, 2);
    ck_assert(!unacked_take_first(&u, 3, &d));
    ck_assert(unacked_take_first(&u, 4, &d));
    ck_assert_uint_eq(d.tag, 4);
    ck_assert(!unacked_take_first(&u, UINT64_MAX, &d));
    unacked_fini(&u);
}
END_TEST

/* A transaction's rollback: what was taken comes back between what stayed. */
START_TEST(test_restore)
{
    struct unacked u = {0};
    struct delivery taken[3], d;

    for (uint64_t tag = 1; tag <= 6; tag++)
        push(&u, tag);
    ck_assert(unacked_take(&u, 5, &taken[0]));
    ck_assert(unacked_take(&u, 1, &taken[1]));
    ck_assert(unacked_take(&u, 3, &taken[2]));
    unacked_restore(&u, taken, 3);
    ck_assert_uint_eq(u.live, 6);
    for (uint64_t tag = 1; tag <= 6; tag++) {
        ck_assert(unacked_take_first(&u, UINT64_MAX, &d));
        ck_assert_uint_eq(d.tag, tag);
    }
    unacked_fini(&u);
}
END_TEST

/* One message held for hours while others pass must not make the window grow. */
START_TEST(test_held_delivery_costs_nothing)
{
    struct unacked u = {0};
    struct delivery d;
    size_t cap = 0;
    bool ok = true; /* an assertion in each of a million rounds takes long */

    push(&u, 1);
    for (uint64_t tag = 2; tag <= 1000000; tag++) {
        push(&u, tag);
        if (tag % 2 == 0)
            ok &= unacked_take(&u, tag, &d);
        else if (tag >= 21)
            ok &= unacked_take(&u, tag - 18, &d);
        if (u.cap > cap)
            cap = u.cap;
    }
    ck_assert(ok);
    ck_assert_uint_le(cap, 64);
    expect_take(&u, 1);
    while (unacked_take_first(&u, UINT64_MAX, &d))
        continue;
    unacked_fini(&u);
}
END_TEST

/* A large window gives its memory back when it is empty. */
START_TEST(test_gives_memory_back)
{
    struct unacked u = {0};
    struct delivery d;

    for (uint64_t tag = 1; tag <= 100000; tag++)
        push(&u, tag);
    while (unacked_take_first(&u, UINT64_MAX, &d))
        continue;
    ck_assert_uint_le(u.cap, 1024);
    unacked_fini(&u);
}
END_TEST

/* --- against a model --- */

enum { TAGS = 1500, RESTORE_MAX = 50 };

static bool outstanding[TAGS + 1];

struct model {
    struct unacked u;
    uint64_t last;
    size_t n;
    struct delivery taken[RESTORE_MAX];
    size_t n_taken;
};

static void
model_took(struct model *m, const struct delivery *d)
{
    ck_assert(outstanding[d->tag]);
    ck_assert_uint_eq(d->entry.seq, 10 * d->tag);
    outstanding[d->tag] = false;
    m->n--;
    if (m->n_taken < RESTORE_MAX)
        m->taken[m->n_taken++] = *d;
}

static uint64_t
model_first(const struct model *m)
{
    for (uint64_t tag = 1; tag <= m->last; tag++) {
        if (outstanding[tag])
            return tag;
    }
    return UINT64_MAX;
}

static void
model_take_first(struct model *m, uint64_t up_to)
{
    uint64_t first = model_first(m);
    struct delivery d;

    ck_assert_int_eq(unacked_take_first(&m->u, up_to, &d), first <= up_to && first != UINT64_MAX);
    if (first > up_to || first == UINT64_MAX)
        return;
    ck_assert_uint_eq(d.tag, first);
    model_took(m, &d);
}

static void
model_take(struct model *m, uint64_t tag)
{
    struct delivery d;

    ck_assert_int_eq(unacked_has(&m->u, tag), outstanding[tag]);
    ck_assert_int_eq(unacked_take(&m->u, tag, &d), outstanding[tag]);
    if (outstanding[tag])
        model_took(m, &d);
}

static void
model_restore(struct model *m)
{
    unacked_restore(&m->u, m->taken, m->n_taken);
    for (size_t i = 0; i < m->n_taken; i++)
        outstanding[m->taken[i].tag] = true;
    m->n += m->n_taken;
    m->n_taken = 0;
}

static void
model_step(struct model *m, struct prng *g)
{
    uint64_t tag = 1 + prng_below(g, m->last + 1);

    switch (prng_below(g, 12)) {
    case 0:
        model_take_first(m, prng_below(g, 2) != 0 ? UINT64_MAX : tag);
        break;
    case 1:
        model_restore(m);
        break;
    case 2:
    case 3:
    case 4:
    case 5:
        if (m->last == TAGS)
            break;
        push(&m->u, ++m->last);
        outstanding[m->last] = true;
        m->n++;
        break;
    default:
        model_take(m, tag <= TAGS ? tag : TAGS);
    }
}

START_TEST(test_model)
{
    struct prng g = {.state = (uint64_t)_i + 1};
    struct model m = {.last = 0};

    memset(outstanding, 0, sizeof outstanding);
    for (unsigned step = 0; step < 5000; step++) {
        model_step(&m, &g);
        ck_assert_uint_eq(m.u.live, m.n);
    }
    while (m.n != 0)
        model_take_first(&m, UINT64_MAX);
    ck_assert_uint_eq(m.u.live, 0);
    unacked_fini(&m.u);
}
END_TEST

/* Each is looked at once, in order, wherever holes are and whatever is moved. */
START_TEST(test_next)
{
    struct unacked u = {0};
    struct delivery d;
    uint64_t tag = 0;

    ck_assert_ptr_null(unacked_next(&u));
    for (uint64_t i = 0; i < 200; i++) {
        push(&u, tag += 1 + i % 3);
        if (i % 2 == 0) {
            struct delivery *next = unacked_next(&u);
            ck_assert_ptr_nonnull(next);
            ck_assert_ptr_eq(next, unacked_next(&u));
            ck_assert_uint_gt(next->tag, u.seen);
            u.seen = next->tag;
        }
        if (i % 5 == 4)
            ck_assert(unacked_take_first(&u, UINT64_MAX, &d));
        if (i % 7 == 6)
            ck_assert(unacked_take(&u, tag, &d));
    }
    while (unacked_next(&u) != NULL) {
        ck_assert_uint_gt(unacked_next(&u)->tag, u.seen);
        u.seen = unacked_next(&u)->tag;
    }
    while (unacked_take_first(&u, UINT64_MAX, &d))
        ck_assert_uint_le(d.tag, u.seen);
    push(&u, tag + 1);
    ck_assert_uint_eq(unacked_next(&u)->tag, tag + 1);
    unacked_take_first(&u, UINT64_MAX, &d);
    unacked_fini(&u);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("unacked");
    TCase *tc = tcase_create("unacked");

    tcase_add_test(tc, test_empty);
    tcase_add_test(tc, test_take);
    tcase_add_test(tc, test_restore);
    tcase_add_test(tc, test_held_delivery_costs_nothing);
    tcase_add_test(tc, test_gives_memory_back);
    tcase_add_loop_test(tc, test_model, 0, 4);
    tcase_add_test(tc, test_next);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
