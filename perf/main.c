/*
 * coney-perf: loads a broker and measures it. The main thread sets up, starts the workers, and then
 * only decides when which phase of the run is over.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "perf/link.h"
#include "perf/report.h"
#include "perf/setup.h"

enum { EXIT_FAILED = 1, EXIT_USAGE = 2 };

/* How often it is looked whether all messages have arrived: no worker knows that on its own. */
static const double drain_poll = 0.01;

/* With the number of messages to expect unknown, a quiet consumer has got them all. */
static const double quiet_enough = 1;

/* For all connections together: a broker with a backlog may take its time to read their close. */
static const double close_timeout = 3;

/* --- phases --- */

struct supervisor {
    struct run *run;
    struct report *report;
    int signal_fd;
    uint64_t next_progress, end; /* ns; 0: never */
    uint64_t last_arrived, quiet_since;
    uint64_t missing;
    struct totals totals;
};

static uint64_t
ns_of(double seconds)
{
    return (uint64_t)(seconds * 1e9);
}

static void
set_phase(struct run *run, enum run_phase phase)
{
    __atomic_store_n(&run->phase, phase, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < run->n_workers; i++)
        worker_wake(run->workers[i]);
}

/* Publishing is over: what is under way may still arrive when somebody wants to know that it does.
 */
static void
stop_publishing(struct supervisor *s, bool by_count)
{
    const struct perf_options *o = &s->run->o;
    bool awaits = o->consumers != 0 || (o->flags.mandatory && o->confirm == 0);

    s->end = 0;
    s->quiet_since = clock_ns();
    set_phase(s->run, awaits && (by_count || o->verify) ? RUN_DRAINING : RUN_ENDING);
}

/* Ends the run when all has arrived, or nothing does any more. */
static void
check_drained(struct supervisor *s, uint64_t now)
{
    const struct perf_options *o = &s->run->o;

    totals_get(s->run, &s->totals);
    uint64_t expected = totals_expected(s->run, &s->totals), received = s->totals.n.received;
    uint64_t arrived = received + s->totals.n.returned;
    if (arrived != s->last_arrived) {
        s->last_arrived = arrived;
        s->quiet_since = now;
    }
    bool known = expected != 0 || o->cmessages != 0;
    if (expected != 0 && received >= expected) {
        set_phase(s->run, RUN_ENDING);
    } else if (now - s->quiet_since > ns_of(known ? o->drain_timeout : quiet_enough)) {
        s->missing = expected > received ? expected - received : 0;
        if (o->cmessages != 0)
            run_fail(s->run, "consumers did not get as many messages as they were to");
        set_phase(s->run, RUN_ENDING);
    }
}

static void
advance(struct supervisor *s, uint64_t now)
{
    struct run *run = s->run;
    const struct perf_options *o = &run->o;

    if (__atomic_load_n(&run->error, __ATOMIC_ACQUIRE) != NULL) {
        set_phase(run, RUN_ENDING);
        return;
    }
    bool consumers_done =
        o->consumers != 0 && __atomic_load_n(&run->consumers_left, __ATOMIC_ACQUIRE) == 0;
    bool producers_done =
        o->producers != 0 && __atomic_load_n(&run->producers_left, __ATOMIC_ACQUIRE) == 0;
    if (consumers_done && (o->pmessages == 0 || o->producers == 0 || producers_done))
        set_phase(run, RUN_ENDING);
    else if (run->phase == RUN_PUBLISHING && producers_done)
        stop_publishing(s, true);
    else if (run->phase == RUN_PUBLISHING && s->end != 0 && now >= s->end)
        stop_publishing(s, false);
    else if (run->phase == RUN_DRAINING)
        check_drained(s, now);
    if (s->next_progress != 0 && now >= s->next_progress) {
        report_progress(s->report);
        s->next_progress += ns_of(o->interval);
    }
}

/* Sleeps until a signal, news from a worker, or the next moment at which something is to be done.
 */
static void
wait_for_news(struct supervisor *s)
{
    struct pollfd fds[] = {{.fd = s->signal_fd, .events = POLLIN},
                           {.fd = s->run->notify_fd, .events = POLLIN}};
    uint64_t now = clock_ns(), until = now + ns_of(3600);

    if (s->next_progress != 0 && s->next_progress < until)
        until = s->next_progress;
    if (s->end != 0 && s->end < until)
        until = s->end;
    if (s->run->phase == RUN_DRAINING && now + ns_of(drain_poll) < until)
        until = now + ns_of(drain_poll);
    uint64_t left = until > now ? until - now : 0;
    struct timespec timeout = {(time_t)(left / 1000000000), (long)(left % 1000000000)};
    if (ppoll(fds, 2, &timeout, NULL) < 0)
        return;
    if ((fds[0].revents & POLLIN) != 0)
        set_phase(s->run, RUN_ENDING);
    uint64_t count;
    if ((fds[1].revents & POLLIN) != 0 && read(s->run->notify_fd, &count, sizeof count) < 0)
        return;
}

static int
block_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static bool
start_workers(struct run *run)
{
    run->start = clock_ns();
    for (unsigned i = 0; i < run->n_workers; i++) {
        if (!worker_start(run->workers[i])) {
            run_fail(run, "no thread: %s", strerror(errno));
            run->n_workers = i;
            return false;
        }
    }
    return true;
}

/* Returns what did not arrive. */
static uint64_t
load(struct run *run, struct report *report)
{
    struct supervisor s = {.run = run, .report = report, .signal_fd = block_signals()};

    report_begin(report);
    bool started = start_workers(run);
    s.next_progress = run->o.interval > 0 ? run->start + ns_of(run->o.interval) : 0;
    s.end = run->o.time > 0 ? run->start + ns_of(run->o.time) : 0;
    if (!started)
        set_phase(run, RUN_ENDING);
    while (run->phase != RUN_ENDING) {
        wait_for_news(&s);
        if (run->phase != RUN_ENDING)
            advance(&s, clock_ns());
    }
    for (unsigned i = 0; i < run->n_workers; i++)
        worker_join(run->workers[i]);
    report_end(report);
    close(s.signal_fd);
    return s.missing;
}

/* --- all of it --- */

/* Thousands of connections need as many descriptors. */
static void
raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static void
run_init(struct run *run)
{
    const struct perf_options *o = &run->o;

    run->control.fd = -1;
    run->routing = routing_new(o);
    if (o->verify)
        run->verify = verify_new(o->producers * o->producer_channels, run->routing->n_queues);
    run->n_workers = o->threads;
    run->workers = mem_zalloc(run->n_workers * sizeof(struct worker *));
    run->notify_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    run->producers_left = o->producers;
    run->consumers_left = o->consumers;
}

static void
run_free(struct run *run)
{
    for (unsigned i = 0; i < run->o.threads; i++)
        worker_free(&run->workers[i]);
    free(run->workers);
    conn_close(&run->control, 0);
    if (run->plan.tails != NULL)
        image_plan_free(&run->plan);
    verify_free(&run->verify);
    routing_free(&run->routing);
    close(run->notify_fd);
    free(run->error);
    options_free(&run->o);
}

/* Whether the run proved what it was to. */
static bool
succeeded(struct run *run, uint64_t missing)
{
    if (run->error != NULL)
        fprintf(stderr, "coney-perf: %s\n", run->error);
    if (missing != 0)
        fprintf(stderr, "coney-perf: %llu messages are missing\n", (unsigned long long)missing);
    if (run->error != NULL || missing != 0)
        return false;
    if (run->verify == NULL)
        return true;
    struct verify_result v = verify_result(run->verify);
    return v.duplicates == 0 && v.out_of_order == 0;
}

static bool
execute(struct run *run)
{
    struct report *report;
    uint64_t missing;

    if (!setup_run(run))
        return succeeded(run, 0);
    report = report_new(run);
    missing = load(run, report);
    uint64_t until = clock_ns() + ns_of(close_timeout);
    for (unsigned i = 0; i < run->n_workers; i++)
        worker_close(run->workers[i], until);
    conn_say_goodbye(&run->control, until);
    conn_close(&run->control, until);
    report_summary(report, missing);
    report_free(&report);
    return succeeded(run, missing);
}

int
main(int argc, char *argv[])
{
    struct run run = {0};
    bool ok = true;

    if (!options_parse(&run.o, argc, argv)) {
        options_free(&run.o);
        return EXIT_USAGE;
    }
    if (run.o.help) {
        options_print_help(stdout);
    } else if (run.o.version) {
        puts("coney-perf " PACKAGE_VERSION);
    } else {
        raise_descriptor_limit();
        run_init(&run);
        ok = execute(&run);
        run_free(&run);
        return ok ? 0 : EXIT_FAILED;
    }
    options_free(&run.o);
    return 0;
}
