#include "broker/core/confirms.h"

#include <stdio.h>

#include "tests/unit/check_util.h"
#include "tests/unit/method_args.h"

/* What was emitted, as text: "ack 2 multiple, ack 4, nack 3 multiple". */
struct told {
    char text[4096];
    size_t n;
};

static void
emit(void *ctx, enum confirm_kind kind, uint64_t tag, bool multiple)
{
    struct told *t = ctx;

    t->n += (size_t)snprintf(t->text + t->n, sizeof t->text - t->n, "%s%s %llu%s",
                             t->n == 0 ? "" : ", ", kind == CONFIRM_ACK ? "ack" : "nack",
                             (unsigned long long)tag, multiple ? " multiple" : "");
    ck_assert_uint_lt(t->n, sizeof t->text);
}

static void
expect_told(struct confirms *c, const char *text)
{
    struct told t = {.n = 0};

    confirms_flush(c, emit, &t);
    ck_assert_str_eq(t.text, text);
}

/* Settles numbers: 'a' acked, 'n' nacked, '.' left alone, for 1, 2, ... */
static void
settle(struct confirms *c, const char *what)
{
    for (uint64_t seq = 1; what[seq - 1] != '\0'; seq++) {
        if (what[seq - 1] != '.')
            confirms_settle(c, seq, what[seq - 1] == 'a' ? CONFIRM_ACK : CONFIRM_NACK);
    }
}

static void
publish(struct confirms *c, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        uint64_t before = c->published;
        ck_assert_uint_eq(confirms_next(c), before + 1);
    }
}

static const struct {
    const char *settled, *told;
} batches[] = {
    {"", ""},
    {".....", ""},
    {"a", "ack 1"},
    {"a....", "ack 1"},
    {"..a..", "ack 3"},
    {"aaaaa", "ack 5 multiple"},
    {"aa...", "ack 2 multiple"},
    {"aa.aa", "ack 2 multiple, ack 4, ack 5"},
    {".a.a.", "ack 2, ack 4"},
    /* The example that was probed: tags 1, 2, 4, 5 accepted, 3 refused. */
    {"aanaa", "ack 2 multiple, ack 4, ack 5, nack 3 multiple"},
    {"n", "nack 1 multiple"},
    {"nnn", "nack 3 multiple"},
    {".n.", "nack 2"},
    {"naa", "ack 2, ack 3, nack 1 multiple"},
    {"ana", "ack 1 multiple, ack 3, nack 2 multiple"},
    {"an.", "ack 1, nack 2 multiple"},
    {"n.n", "nack 1 multiple, nack 3"},
};

START_TEST(test_batch)
{
    struct confirms c = {0};

    publish(&c, (unsigned)strlen(batches[_i].settled));
    settle(&c, batches[_i].settled);
    expect_told(&c, batches[_i].told);
    expect_told(&c, "");
    confirms_fini(&c);
}
END_TEST

START_TEST(test_later_batches)
{
    struct confirms c = {0};

    publish(&c, 6);
    settle(&c, ".a.a");
    expect_told(&c, "ack 2, ack 4");
    confirms_settle(&c, 1, CONFIRM_ACK);
    confirms_settle(&c, 5, CONFIRM_ACK);
    expect_told(&c, "ack 1 multiple, ack 5");
    confirms_settle(&c, 3, CONFIRM_ACK);
    expect_told(&c, "ack 3");
    confirms_settle(&c, 6, CONFIRM_ACK);
    expect_told(&c, "ack 6");
    publish(&c, 3);
    settle(&c, "......aaa");
    expect_told(&c, "ack 9 multiple");
    confirms_fini(&c);
}
END_TEST

/* All told: no memory but one ring, however many publishes there were. */
START_TEST(test_memory)
{
    struct confirms c = {0};

    for (unsigned round = 0; round < 5000; round++) {
        for (unsigned i = 0; i < 50; i++)
            confirms_settle(&c, confirms_next(&c), CONFIRM_ACK);
        struct told t = {.n = 0};
        confirms_flush(&c, emit, &t);
    }
    ck_assert_uint_le(c.cap, 64);
    confirms_fini(&c);
}
END_TEST

/* --- against RabbitMQ's rule, written down naively --- */

enum { NUMBERS = 600 };

static char state[NUMBERS + 1]; /* '.': pending, 'a', 'n': in this batch, 't': told */

static uint64_t
lowest(uint64_t last, char what)
{
    for (uint64_t seq = 1; seq <= last; seq++) {
        if (state[seq] == what)
            return seq;
    }
    return UINT64_MAX;
}

static void
tell(struct told *t, uint64_t last, char what, uint64_t cutoff, bool lone)
{
    enum confirm_kind kind = what == 'a' ? CONFIRM_ACK : CONFIRM_NACK;
    uint64_t below = 0;

    for (uint64_t seq = 1; seq <= last && seq < cutoff; seq++) {
        if (state[seq] == what)
            below = seq;
    }
    if (below != 0)
        emit(t, kind, below, !lone);
    for (uint64_t seq = cutoff; seq <= last; seq++) {
        if (state[seq] == what)
            emit(t, kind, seq, false);
    }
}

static void
model_flush(struct told *t, uint64_t last)
{
    uint64_t pending = lowest(last, '.'), nacked = lowest(last, 'n');
    size_t n_acked = 0;

    for (uint64_t seq = 1; seq <= last; seq++)
        n_acked += state[seq] == 'a';
    tell(t, last, 'a', pending < nacked ? pending : nacked, n_acked == 1);
    tell(t, last, 'n', pending, false);
    for (uint64_t seq = 1; seq <= last; seq++) {
        if (state[seq] != '.')
            state[seq] = 't';
    }
}

START_TEST(test_model)
{
    struct prng g = {.state = (uint64_t)_i + 1};
    struct confirms c = {0};

    memset(state, 0, sizeof state);
    for (unsigned step = 0; step < 6000; step++) {
        uint64_t seq = 1 + prng_below(&g, c.published + 1);
        if (prng_below(&g, 30) == 0) {
            struct told wanted = {.n = 0};
            model_flush(&wanted, c.published);
            expect_told(&c, wanted.text);
        } else if (prng_below(&g, 4) == 0 && c.published < NUMBERS) {
            state[confirms_next(&c)] = '.';
        } else if (seq <= c.published && state[seq] == '.') {
            state[seq] = prng_below(&g, 6) == 0 ? 'n' : 'a';
            confirms_settle(&c, seq, state[seq] == 'n' ? CONFIRM_NACK : CONFIRM_ACK);
        }
    }
    ck_assert_uint_eq(c.published, NUMBERS);
    confirms_fini(&c);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("confirms");
    TCase *tc = tcase_create("confirms");

    tcase_add_loop_test(tc, test_batch, 0, sizeof batches / sizeof *batches);
    tcase_add_test(tc, test_later_batches);
    tcase_add_test(tc, test_memory);
    tcase_add_loop_test(tc, test_model, 0, 5);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
