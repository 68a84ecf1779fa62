#include "broker/core/timers.h"

#include "tests/unit/check_util.h"
#include "tests/unit/method_args.h"

static struct timers ts;
static struct timer *fired[64];
static size_t n_fired;

static void
setup(void)
{
    ts = (struct timers){0};
    n_fired = 0;
}

static void
teardown(void)
{
    timers_fini(&ts);
}

static void
on_fire(struct timer *t)
{
    ck_assert(!timer_is_running(t));
    if (n_fired < sizeof fired / sizeof *fired)
        fired[n_fired] = t;
    n_fired++;
}

START_TEST(test_order)
{
    struct timer t[3];

    ck_assert_uint_eq(timers_next(&ts), UINT64_MAX);
    for (size_t i = 0; i < 3; i++)
        timer_init(&t[i], on_fire);
    timer_start(&ts, &t[0], 30);
    timer_start(&ts, &t[1], 10);
    timer_start(&ts, &t[2], 20);
    ck_assert_uint_eq(timers_next(&ts), 10);
    timers_run(&ts, 9);
    ck_assert_uint_eq(n_fired, 0);
    timers_run(&ts, 20);
    ck_assert_uint_eq(n_fired, 2);
    ck_assert_ptr_eq(fired[0], &t[1]);
    ck_assert_ptr_eq(fired[1], &t[2]);
    ck_assert(timer_is_running(&t[0]));
    timer_stop(&ts, &t[0]);
    timers_run(&ts, 100);
    ck_assert_uint_eq(n_fired, 2);
}
END_TEST

START_TEST(test_stop_idle)
{
    struct timer t;

    timer_init(&t, on_fire);
    timer_stop(&ts, &t);
    ck_assert(!timer_is_running(&t));
}
END_TEST

START_TEST(test_restart)
{
    struct timer t;

    timer_init(&t, on_fire);
    timer_start(&ts, &t, 10);
    timer_start(&ts, &t, 50);
    timers_run(&ts, 49);
    ck_assert_uint_eq(n_fired, 0);
    timer_start(&ts, &t, 5);
    timers_run(&ts, 49);
    timers_run(&ts, 100);
    ck_assert_uint_eq(n_fired, 1);
}
END_TEST

/* --- functions that use timers --- */

static struct timer victim, again;
static unsigned n_again;

static void
stop_victim(struct timer *t)
{
    (void)t;
    n_fired++;
    timer_stop(&ts, &victim);
}

static void
start_again(struct timer *t)
{
    if (++n_again < 5)
        timer_start(&ts, t, t->when + 10);
}

START_TEST(test_stop_from_callback)
{
    struct timer t;

    timer_init(&t, stop_victim);
    timer_init(&victim, on_fire);
    timer_start(&ts, &t, 1);
    timer_start(&ts, &victim, 2);
    timers_run(&ts, 10);
    ck_assert_uint_eq(n_fired, 1);
}
END_TEST

START_TEST(test_start_from_callback)
{
    n_again = 0;
    timer_init(&again, start_again);
    timer_start(&ts, &again, 10);
    timers_run(&ts, 30);
    ck_assert_uint_eq(n_again, 3);
    timers_run(&ts, 1000);
    ck_assert_uint_eq(n_again, 5);
    ck_assert(!timer_is_running(&again));
}
END_TEST

/* --- against a model --- */

enum { TIMERS = 500, STEPS = 20000 };

struct modelled {
    struct timer timer;
    uint64_t when; /* 0: not running */
};

static struct modelled many[TIMERS];
static uint64_t model_now, last_when;

static void
on_modelled(struct timer *t)
{
    struct modelled *m = (void *)t;

    ck_assert_uint_ne(m->when, 0);
    ck_assert_uint_le(m->when, model_now);
    ck_assert_uint_ge(m->when, last_when);
    last_when = m->when;
    m->when = 0;
}

static uint64_t
model_next(void)
{
    uint64_t next = UINT64_MAX;

    for (size_t i = 0; i < TIMERS; i++) {
        if (many[i].when != 0 && many[i].when < next)
            next = many[i].when;
    }
    return next;
}

START_TEST(test_model)
{
    struct prng g = {.state = 42};

    model_now = 1;
    for (size_t i = 0; i < TIMERS; i++) {
        timer_init(&many[i].timer, on_modelled);
        many[i].when = 0;
    }
    for (unsigned step = 0; step < STEPS; step++) {
        struct modelled *m = &many[prng_below(&g, TIMERS)];
        switch (prng_below(&g, 8)) {
        case 0:
            model_now += prng_below(&g, 50);
            last_when = 0;
            timers_run(&ts, model_now);
            ck_assert_uint_gt(timers_next(&ts), model_now);
            break;
        case 1:
        case 2:
            timer_stop(&ts, &m->timer);
            m->when = 0;
            break;
        default:
            m->when = model_now + prng_below(&g, 300);
            timer_start(&ts, &m->timer, m->when);
        }
        ck_assert_int_eq(timer_is_running(&m->timer), m->when != 0);
        if (step % 16 == 0)
            ck_assert_uint_eq(timers_next(&ts), model_next());
    }
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("timers");
    TCase *tc = tcase_create("timers");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, test_order);
    tcase_add_test(tc, test_stop_idle);
    tcase_add_test(tc, test_restart);
    tcase_add_test(tc, test_stop_from_callback);
    tcase_add_test(tc, test_start_from_callback);
    tcase_add_test(tc, test_model);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
