#include "perf/link.h"
#include "tests/unit/check_util.h"

/* A producer without a socket: what it would write is looked at and thrown away. */

enum { IMAGE_ROOM = 16384 };

static const uint64_t ms = 1000000; /* ns */

static struct run run;
static struct worker worker;
static struct link *producer;

static void
make(const char *command_line)
{
    static char words[256];
    char *argv[32];
    int argc = 0;

    /* Without a fork these are as the test before left them. */
    memset(&run, 0, sizeof run);
    memset(&worker, 0, sizeof worker);
    ck_assert_uint_lt(strlen(command_line), sizeof words);
    strcpy(words, command_line);
    for (char *word = strtok(words, " "); word != NULL; word = strtok(NULL, " "))
        argv[argc++] = word;
    argv[argc] = NULL;
    ck_assert(options_parse(&run.o, argc, argv));
    run.routing = routing_new(&run.o);
    run.producers_left = 1;
    image_plan_init(&run.plan, &run.o, run.routing, run.o.frame_max);
    worker.run = &run;
    producer = mem_zalloc(sizeof *producer);
    producer->conn.fd = -1;
    producer->worker = &worker;
    producer_init(producer, 0, IMAGE_ROOM);
}

static void
teardown(void)
{
    link_free(&producer);
    image_plan_free(&run.plan);
    routing_free(&run.routing);
    options_free(&run.o);
    free(run.error);
}

/* Publishes what may be published now; returns how much. */
static uint64_t
publish(void)
{
    uint64_t before = worker.measure.n.sent;

    while (producer_fill(producer))
        continue;
    return worker.measure.n.sent - before;
}

/* A confirm that is read at the moment `now`. */
static void
confirm(uint64_t now, uint64_t tag, bool multiple)
{
    worker.now = now;
    producer_confirm(producer, &producer->channels[0], tag, multiple, &worker.measure.n.confirmed);
    ck_assert_msg(run.error == NULL, "%s", run.error);
}

static struct percentiles
latency(void)
{
    return histogram_percentiles(&worker.measure.confirm_latency);
}

/* `us` as far as a histogram knows it, when its beginning lies between two readings of the clock. */
static void
assert_about(uint64_t us, uint64_t expected_us, uint64_t before, uint64_t after)
{
    double most = (double)expected_us + (double)(after - before) / 1000;

    ck_assert_double_ge((double)us, (double)expected_us * 0.996 - 1);
    ck_assert_double_le((double)us, most * 1.004 + 1);
}

/* The time that counts is that of the publish itself, not of whatever the worker did before. */
START_TEST(window_of_one)
{
    make("coney-perf -c 1 -s 1024");
    for (uint64_t tag = 1; tag <= 3; tag++) {
        worker.measure.confirm_latency = (struct histogram){0};
        worker.now = 1; /* long ago */
        uint64_t before = clock_ns();
        ck_assert_uint_eq(publish(), 1);
        uint64_t after = clock_ns();
        ck_assert_uint_eq(publish(), 0);
        confirm(after + 5 * ms, tag, false);
        ck_assert_uint_eq(worker.measure.n.confirmed, tag);
        ck_assert_uint_eq(latency().count, 1);
        assert_about(latency().max, 5000, before, after);
    }
    ck_assert_uint_eq(worker.measure.confirmed.last, worker.now);
}
END_TEST

/* Each message of a batch is counted once, with the time at which its own confirm came. */
START_TEST(window_of_four)
{
    make("coney-perf -c 4 -s 12");
    uint64_t before = clock_ns();
    ck_assert_uint_eq(publish(), 4);
    uint64_t after = clock_ns();

    confirm(after + 1 * ms, 2, false);
    ck_assert_uint_eq(publish(), 0); /* the first one is still out */
    confirm(after + 1 * ms, 2, false);
    ck_assert_uint_eq(worker.measure.n.confirmed, 1);
    confirm(after + 50 * ms, 4, true);
    ck_assert_uint_eq(worker.measure.n.confirmed, 4);
    struct percentiles p = latency();
    ck_assert_uint_eq(p.count, 4);
    assert_about(p.min, 1000, before, after);
    assert_about(p.p50, 50000, before, after);
    assert_about(p.max, 50000, before, after);
    ck_assert_uint_eq(publish(), 4);
}
END_TEST

/* With a rate each message is stamped when it is due, and so is what its confirm is compared with. */
START_TEST(rated)
{
    make("coney-perf -c 100 -r 1000000000 -s 12");
    worker.now = clock_ns();
    run.start = worker.now - ms;
    uint64_t before = clock_ns();
    ck_assert_uint_eq(publish(), 100);
    uint64_t after = clock_ns();
    for (uint64_t tag = 2; tag <= 100; tag++)
        ck_assert_uint_ge(producer->channels[0].sent_ns[tag & producer->channels[0].mask],
                          producer->channels[0].sent_ns[(tag - 1) & producer->channels[0].mask]);
    confirm(after + 20 * ms, 0, true);
    assert_about(latency().min, 20000, before, after);
    assert_about(latency().max, 20000, before, after);
}
END_TEST

START_TEST(unknown_tag)
{
    make("coney-perf -c 2");
    ck_assert_uint_eq(publish(), 2);
    producer_confirm(producer, &producer->channels[0], 3, false, &worker.measure.n.confirmed);
    ck_assert_ptr_nonnull(run.error);
    ck_assert_uint_eq(worker.measure.n.confirmed, 0);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("perf/producer");
    TCase *t = tcase_create("confirms");

    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, window_of_one);
    tcase_add_test(t, window_of_four);
    tcase_add_test(t, rated);
    tcase_add_test(t, unknown_tag);
    suite_add_tcase(s, t);
    return run_suite(s);
}
