#include "broker/core/backlog.h"

#include "broker/core/chunk.h"
#include "broker/core/message.h"
#include "tests/unit/check_util.h"
#include "tests/unit/method_args.h"

static struct backlog b;

static void
setup(void)
{
    backlog_init(&b);
}

/* A message whose body says its number; every third number has a longer one. */
static struct message *
new_message(uint64_t seq, bool persistent)
{
    size_t n = seq % 3 == 0 ? 100 : sizeof seq;
    struct message *m = message_new(slice_of("\0\1q", 3), slice_of("\0\0", 2), n);

    ck_assert_ptr_nonnull(m);
    memset(message_body(m), 0, n);
    memcpy(message_body(m), &seq, sizeof seq);
    m->persistent = persistent;
    return m;
}

static void
push(uint64_t seq)
{
    backlog_push(&b, new_message(seq, false), seq, NULL);
}

static void
give_back(uint64_t seq)
{
    const struct entry e = {
        .message = new_message(seq, false), .seq = seq, .chunk = NULL, .redelivered = true};

    backlog_return(&b, &e);
}

static struct entry
expect_pop(uint64_t seq, bool redelivered)
{
    struct entry e;

    ck_assert(backlog_has_resident(&b));
    ck_assert(backlog_pop(&b, &e));
    ck_assert_uint_eq(e.seq, seq);
    ck_assert_int_eq(e.redelivered, redelivered);
    ck_assert_mem_eq(message_body(e.message), &seq, sizeof seq);
    message_unref(e.message);
    return e;
}

/* Nothing is counted, nothing is owned. */
static void
expect_nothing_left(void)
{
    struct entry e;

    ck_assert(!backlog_has_resident(&b));
    ck_assert(!backlog_pop(&b, &e));
    ck_assert_uint_eq(b.count, 0);
    ck_assert_uint_eq(b.bytes, 0);
    ck_assert_uint_eq(b.resident, 0);
    ck_assert_uint_eq(b.front, 0);
    ck_assert_uint_eq(b.n_paged, 0);
    ck_assert(TAILQ_EMPTY(&b.blocks));
    ck_assert_ptr_null(b.returned);
}

static unsigned
count_blocks(void)
{
    struct block *bl;
    unsigned n = 0;

    TAILQ_FOREACH(bl, &b.blocks, link)
    n++;
    return n;
}

START_TEST(test_empty)
{
    expect_nothing_left();
    push(1);
    ck_assert_uint_eq(b.count, 1);
    ck_assert_uint_eq(b.bytes, sizeof(uint64_t));
    expect_pop(1, false);
    expect_nothing_left();
}
END_TEST

/* An empty backlog owns nothing: a queue costs nothing for having been used. */
START_TEST(test_empty_owns_nothing)
{
    for (uint64_t seq = 1; seq <= 1000; seq++)
        push(seq);
    for (uint64_t seq = 1; seq <= 1000; seq++)
        expect_pop(seq, false);
    give_back(5);
    expect_pop(5, true);
    expect_nothing_left();
}
END_TEST

START_TEST(test_return_in_any_order)
{
    for (uint64_t seq = 1; seq <= 6; seq++)
        push(seq);
    for (uint64_t seq = 1; seq <= 4; seq++)
        expect_pop(seq, false);
    give_back(3);
    give_back(1);
    give_back(4);
    give_back(2);
    ck_assert_uint_eq(b.count, 6);
    for (uint64_t seq = 1; seq <= 4; seq++)
        expect_pop(seq, true);
    expect_pop(5, false);
    expect_pop(6, false);
    expect_nothing_left();
}
END_TEST

/* What it says of memory is what the messages take, returned ones included. */
START_TEST(test_memory)
{
    struct message *m = new_message(3, false);
    uint64_t large = backlog_cost(m);

    ck_assert_uint_ge(large, sizeof *m + 5 + 100);
    message_unref(m);
    push(3);
    ck_assert_uint_eq(b.resident, large);
    ck_assert_uint_eq(b.front, large);
    give_back(0);
    ck_assert_uint_eq(b.resident, 2 * large);
    ck_assert_uint_eq(b.front, large);
    ck_assert_uint_eq(b.bytes, 200);
    expect_pop(0, true);
    expect_pop(3, false);
    expect_nothing_left();
}
END_TEST

/* A long backlog needs few blocks, a short one little memory. */
START_TEST(test_blocks_grow)
{
    push(1);
    ck_assert_uint_le(TAILQ_FIRST(&b.blocks)->cap, 16);
    for (uint64_t seq = 2; seq <= 10000; seq++)
        push(seq);
    ck_assert_uint_lt(count_blocks(), 10000 / 100 + 8);
    for (uint64_t seq = 1; seq <= 10000; seq++)
        expect_pop(seq, false);
    expect_nothing_left();
}
END_TEST

/* A number that is missing in between begins another block. */
START_TEST(test_gap)
{
    push(1);
    push(2);
    push(7);
    push(8);
    ck_assert_uint_eq(count_blocks(), 2);
    expect_pop(1, false);
    expect_pop(2, false);
    expect_pop(7, false);
    expect_pop(8, false);
    expect_nothing_left();
}
END_TEST

/* Persistent messages of two chunks are never in one block; transient ones join whatever is there. */
START_TEST(test_chunks)
{
    struct chunk one = {.refs = 1}, two = {.refs = 1};

    backlog_push(&b, new_message(1, true), 1, &one);
    push(2);
    backlog_push(&b, new_message(3, true), 3, &one);
    backlog_push(&b, new_message(4, true), 4, &two);
    push(5);
    ck_assert_uint_eq(count_blocks(), 2);
    ck_assert_uint_eq(TAILQ_FIRST(&b.blocks)->count, 3);
    ck_assert_uint_eq(TAILQ_FIRST(&b.blocks)->n_stored, 2);
    ck_assert_uint_eq(one.refs, 2);
    ck_assert_uint_eq(two.refs, 2);
    ck_assert_ptr_eq(expect_pop(1, false).chunk, &one);
    ck_assert_ptr_null(expect_pop(2, false).chunk);
    ck_assert_ptr_eq(expect_pop(3, false).chunk, &one);
    ck_assert_uint_eq(one.refs, 1);
    ck_assert_ptr_eq(expect_pop(4, false).chunk, &two);
    ck_assert_ptr_null(expect_pop(5, false).chunk);
    ck_assert_uint_eq(two.refs, 1);
    expect_nothing_left();
}
END_TEST

/* A block of transient messages takes no persistent one: it might have to be in two places. */
START_TEST(test_transient_then_stored)
{
    struct chunk one = {.refs = 1};

    push(1);
    backlog_push(&b, new_message(2, true), 2, &one);
    ck_assert_uint_eq(count_blocks(), 2);
    ck_assert_ptr_null(expect_pop(1, false).chunk);
    ck_assert_ptr_eq(expect_pop(2, false).chunk, &one);
    expect_nothing_left();
}
END_TEST

/* Behind what is out nothing can be taken, but what has been returned is in front of it. */
START_TEST(test_paged_block_in_front)
{
    struct entry e;

    push(1);
    push(2);
    struct block *bl = TAILQ_FIRST(&b.blocks);
    bl->state = BLOCK_PAGED;
    ck_assert(!backlog_has_resident(&b));
    ck_assert(!backlog_pop(&b, &e));
    give_back(0);
    expect_pop(0, true);
    ck_assert(!backlog_pop(&b, &e));
    bl->state = BLOCK_LOADING;
    ck_assert(!backlog_pop(&b, &e));
    push(3);
    ck_assert_uint_eq(count_blocks(), 2);
    bl->state = BLOCK_RESIDENT;
    for (uint64_t seq = 1; seq <= 3; seq++)
        expect_pop(seq, false);
    expect_nothing_left();
}
END_TEST

/* Slots without a message, as a loaded chunk has them for what was settled, are passed over. */
START_TEST(test_holes)
{
    struct block *bl = block_new(10, 5, NULL);

    memset(bl->slots, 0, 5 * sizeof *bl->slots);
    bl->end = 5;
    const uint64_t seqs[] = {11, 13};
    for (size_t i = 0; i < 2; i++) {
        struct message *m = new_message(seqs[i], false);
        bl->slots[seqs[i] - 10] = m;
        bl->count++;
        bl->cost += backlog_cost(m);
        b.bytes += m->body_len;
    }
    b.count = 2;
    b.resident = b.front = bl->cost;
    TAILQ_INSERT_TAIL(&b.blocks, bl, link);
    push(15);
    expect_pop(11, false);
    expect_pop(13, false);
    expect_pop(15, false);
    expect_nothing_left();
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
model_pop(struct prng *g)
{
    struct entry e;
    uint64_t seq = first_ready();

    if (seq == 0) {
        ck_assert(!backlog_pop(&b, &e));
        return;
    }
    expect_pop(seq, was_out[seq]);
    places[seq] = prng_below(g, 3) == 0 ? GONE : OUT;
    was_out[seq] = true;
}

static void
model_return(struct prng *g)
{
    uint64_t seq = 1 + prng_below(g, NUMBERS);

    if (places[seq] != OUT)
        return;
    give_back(seq);
    places[seq] = READY;
}

START_TEST(test_model)
{
    struct prng g = {.state = (uint64_t)_i + 1};
    uint64_t last = 0;

    memset(places, 0, sizeof places);
    memset(was_out, 0, sizeof was_out);
    for (unsigned step = 0; step < 20000; step++) {
        unsigned what = (unsigned)prng_below(&g, 4);
        if (what == 0 && last < NUMBERS) {
            push(++last);
            places[last] = READY;
        } else if (what == 1) {
            model_pop(&g);
        } else {
            model_return(&g);
        }
    }
    size_t n = 0;
    for (uint64_t seq = 1; seq <= last; seq++)
        n += places[seq] == READY;
    ck_assert_uint_eq(b.count, n);
    while (b.count != 0)
        model_pop(&g);
    expect_nothing_left();
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("backlog");
    TCase *tc = tcase_create("backlog");

    tcase_add_checked_fixture(tc, setup, message_trim);
    tcase_add_test(tc, test_empty);
    tcase_add_test(tc, test_empty_owns_nothing);
    tcase_add_test(tc, test_return_in_any_order);
    tcase_add_test(tc, test_memory);
    tcase_add_test(tc, test_blocks_grow);
    tcase_add_test(tc, test_gap);
    tcase_add_test(tc, test_chunks);
    tcase_add_test(tc, test_transient_then_stored);
    tcase_add_test(tc, test_paged_block_in_front);
    tcase_add_test(tc, test_holes);
    tcase_add_loop_test(tc, test_model, 0, 3);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
