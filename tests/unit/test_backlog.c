#include "broker/core/backlog.h"

#include "tests/unit/check_util.h"
#include "tests/unit/method_args.h"

/* A backlog only keeps messages' addresses: any will do. */
static char address[1];
#define MESSAGE ((struct message *)(void *)address)

static void
push(struct backlog *b, uint64_t seq)
{
    const struct entry e = {MESSAGE, seq, false};
    backlog_push(b, &e);
}

static void
give_back(struct backlog *b, uint64_t seq)
{
    const struct entry e = {MESSAGE, seq, true};
    backlog_return(b, &e);
}

static void
expect_pop(struct backlog *b, uint64_t seq, bool redelivered)
{
    struct entry e;

    ck_assert(backlog_pop(b, &e));
    ck_assert_uint_eq(e.seq, seq);
    ck_assert_int_eq(e.redelivered, redelivered);
    ck_assert_ptr_eq(e.message, MESSAGE);
}

START_TEST(test_empty)
{
    struct backlog b = {0};
    struct entry e;

    ck_assert(!backlog_pop(&b, &e));
    push(&b, 1);
    ck_assert_uint_eq(b.count, 1);
    expect_pop(&b, 1, false);
    ck_assert_uint_eq(b.count, 0);
    ck_assert(!backlog_pop(&b, &e));
}
END_TEST

/* An empty backlog owns nothing: a queue costs nothing for having been used. */
START_TEST(test_empty_owns_nothing)
{
    struct backlog b = {0};

    for (uint64_t seq = 1; seq <= 1000; seq++)
        push(&b, seq);
    for (uint64_t seq = 1; seq <= 1000; seq++)
        expect_pop(&b, seq, false);
    give_back(&b, 5);
    expect_pop(&b, 5, true);
    ck_assert_ptr_null(b.head);
    ck_assert_ptr_null(b.tail);
    ck_assert_ptr_null(b.returned);
}
END_TEST

START_TEST(test_return_in_any_order)
{
    struct backlog b = {0};

    for (uint64_t seq = 1; seq <= 6; seq++)
        push(&b, seq);
    for (uint64_t seq = 1; seq <= 4; seq++)
        expect_pop(&b, seq, false);
    give_back(&b, 3);
    give_back(&b, 1);
    give_back(&b, 4);
    give_back(&b, 2);
    ck_assert_uint_eq(b.count, 6);
    for (uint64_t seq = 1; seq <= 4; seq++)
        expect_pop(&b, seq, true);
    expect_pop(&b, 5, false);
    expect_pop(&b, 6, false);
}
END_TEST

/* --- against a model: where each number is --- */

enum { NUMBERS = 3000 };
enum place { UNBORN, READY, OUT, GONE };

static enum place places[NUMBERS + 1];
static bool was_out[NUMBERS + 1];

static uint64_t
first_ready(void)
{
    for (uint64_t seq = 1; seq <= NUMBERS; seq++) {
        if (places[seq] == READY)
            return seq;
    }
    return 0;
}

static void
model_pop(struct backlog *b, struct prng *g)
{
    struct entry e;
    uint64_t seq = first_ready();

    if (seq == 0) {
        ck_assert(!backlog_pop(b, &e));
        return;
    }
    expect_pop(b, seq, was_out[seq]);
    places[seq] = prng_below(g, 3) == 0 ? GONE : OUT;
    was_out[seq] = true;
}

static void
model_return(struct backlog *b, struct prng *g)
{
    uint64_t seq = 1 + prng_below(g, NUMBERS);

    if (places[seq] != OUT)
        return;
    give_back(b, seq);
    places[seq] = READY;
}

START_TEST(test_model)
{
    struct prng g = {.state = (uint64_t)_i + 1};
    struct backlog b = {0};
    uint64_t last = 0;

    memset(places, 0, sizeof places);
    memset(was_out, 0, sizeof was_out);
    for (unsigned step = 0; step < 20000; step++) {
        unsigned what = (unsigned)prng_below(&g, 4);
        if (what == 0 && last < NUMBERS) {
            push(&b, ++last);
            places[last] = READY;
        } else if (what == 1) {
            model_pop(&b, &g);
        } else {
            model_return(&b, &g);
        }
    }
    size_t n = 0;
    for (uint64_t seq = 1; seq <= last; seq++)
        n += places[seq] == READY;
    ck_assert_uint_eq(b.count, n);
    while (b.count != 0)
        model_pop(&b, &g);
    model_pop(&b, &g);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("backlog");
    TCase *tc = tcase_create("backlog");

    tcase_add_test(tc, test_empty);
    tcase_add_test(tc, test_empty_owns_nothing);
    tcase_add_test(tc, test_return_in_any_order);
    tcase_add_loop_test(tc, test_model, 0, 3);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
