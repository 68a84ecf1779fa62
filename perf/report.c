#include "perf/report.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "perf/link.h"

struct cpu {
    double user, system; /* seconds */
};

struct report {
    struct run *run;
    FILE *progress;
    uint64_t began, last; /* ns */
    struct cpu cpu;       /* at the beginning, from the end on: what the load took */
    struct totals totals, before;
};

/* --- adding up --- */

static void
span_widen(struct span *to, const struct span *from)
{
    uint64_t first = counter_get(&from->first), last = counter_get(&from->last);

    if (first != 0 && (to->first == 0 || first < to->first))
        to->first = first;
    if (last > to->last)
        to->last = last;
}

void
totals_get(const struct run *run, struct totals *totals)
{
    memset(totals, 0, sizeof *totals);
    for (unsigned i = 0; i < run->n_workers; i++) {
        const struct measure *m = &run->workers[i]->measure;
#define C(name) totals->n.name += counter_get(&m->n.name);
        PERF_COUNTERS(C)
#undef C
        span_widen(&totals->sent, &m->sent);
        span_widen(&totals->confirmed, &m->confirmed);
        span_widen(&totals->received, &m->received);
        histogram_add(&totals->latency, &m->latency);
        histogram_add(&totals->confirm_latency, &m->confirm_latency);
    }
}

uint64_t
totals_expected(const struct run *run, const struct totals *totals)
{
    uint64_t lost = totals->n.returned + totals->n.nacked;

    if (run->o.producers == 0 || run->o.consumers == 0 || run->o.cmessages != 0 ||
        lost > totals->n.sent)
        return 0;
    return (totals->n.sent - lost) * run->routing->copies;
}

static struct cpu
cpu_now(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (struct cpu){(double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec / 1e6,
                        (double)usage.ru_stime.tv_sec + (double)usage.ru_stime.tv_usec / 1e6};
}

static double
seconds(uint64_t ns)
{
    return (double)ns / 1e9;
}

/* Messages per second from the first to the last; a single moment has no rate. */
static double
rate(uint64_t n, const struct span *span)
{
    return span->last > span->first ? (double)n / seconds(span->last - span->first) : 0;
}

/* From the first publish on: one confirm may stand for a whole window, so that the time between
 * confirms would be too short. */
static double
confirm_rate(const struct totals *t)
{
    struct span span = {t->sent.first, t->confirmed.last};

    return rate(t->n.confirmed, &span);
}

/* --- progress --- */

struct report *
report_new(struct run *run)
{
    struct report *r = mem_zalloc(sizeof *r);

    r->run = run;
    r->progress = run->o.json ? stderr : stdout;
    return r;
}

void
report_free(struct report **report)
{
    free(*report);
    *report = NULL;
}

void
report_begin(struct report *r)
{
    fprintf(r->progress, "id: %s, load begins: %u producers, %u consumers, %u queues\n",
            r->run->o.id, r->run->o.producers, r->run->o.consumers, r->run->routing->n_queues);
    fflush(r->progress);
    r->cpu = cpu_now();
    r->began = r->last = clock_ns();
}

static void
print_latency(FILE *out, const char *name, const struct histogram *now,
              const struct histogram *before)
{
    struct histogram part = *now;

    histogram_subtract(&part, before);
    struct percentiles p = histogram_percentiles(&part);
    if (p.count != 0)
        fprintf(out,
                ", min/median/75th/95th/99th %s: %" PRIu64 "/%" PRIu64 "/%" PRIu64 "/%" PRIu64
                "/%" PRIu64 " us",
                name, p.min, p.p50, p.p75, p.p95, p.p99);
}

void
report_progress(struct report *r)
{
    const struct perf_options *o = &r->run->o;
    const struct counters *n = &r->totals.n, *before = &r->before.n;
    uint64_t now = clock_ns();
    double dt = seconds(now - r->last);

    r->before = r->totals;
    totals_get(r->run, &r->totals);
    fprintf(r->progress, "id: %s, time: %.3fs", o->id, seconds(now - r->began));
    if (o->producers != 0)
        fprintf(r->progress, ", sent: %.0f msg/s", (double)(n->sent - before->sent) / dt);
    if (o->flags.mandatory)
        fprintf(r->progress, ", returned: %.0f msg/s",
                (double)(n->returned - before->returned) / dt);
    if (o->confirm != 0)
        fprintf(r->progress, ", confirmed: %.0f msg/s, nacked: %.0f msg/s",
                (double)(n->confirmed - before->confirmed) / dt,
                (double)(n->nacked - before->nacked) / dt);
    if (o->consumers != 0)
        fprintf(r->progress, ", received: %.0f msg/s",
                (double)(n->received - before->received) / dt);
    if (n->blocked != before->blocked)
        fputs(", blocked by the broker", r->progress);
    print_latency(r->progress, "latency", &r->totals.latency, &r->before.latency);
    print_latency(r->progress, "confirm latency", &r->totals.confirm_latency,
                  &r->before.confirm_latency);
    fputc('\n', r->progress);
    fflush(r->progress);
    r->last = now;
}

void
report_end(struct report *r)
{
    struct cpu now = cpu_now();

    r->cpu = (struct cpu){now.user - r->cpu.user, now.system - r->cpu.system};
    r->last = clock_ns();
    fprintf(r->progress, "id: %s, load ends\n", r->run->o.id);
    fflush(r->progress);
}

/* --- summary --- */

/* A message that was published and consumed counts once. */
static double
cpu_us_per_message(const struct report *r)
{
    uint64_t n = r->run->o.consumers != 0 ? r->totals.n.received : r->totals.n.sent;

    return n == 0 ? 0 : (r->cpu.user + r->cpu.system) * 1e6 / (double)n;
}

static void
summary_latency(const char *name, const struct histogram *h)
{
    struct percentiles p = histogram_percentiles(h);

    if (p.count != 0)
        printf("%s: min %" PRIu64 ", median %" PRIu64 ", 75th %" PRIu64 ", 95th %" PRIu64
               ", 99th %" PRIu64 ", 99.9th %" PRIu64 ", max %" PRIu64 " us, mean %.1f us\n",
               name, p.min, p.p50, p.p75, p.p95, p.p99, p.p999, p.max, p.mean);
}

static void
print_text(const struct report *r, uint64_t missing)
{
    const struct perf_options *o = &r->run->o;
    const struct totals *t = &r->totals;

    printf("id: %s, total: %.3fs, sent: %" PRIu64 ", confirmed: %" PRIu64 ", nacked: %" PRIu64
           ", returned: %" PRIu64 ", received: %" PRIu64 ", redelivered: %" PRIu64
           ", missing: %" PRIu64 "\n",
           o->id, seconds(r->last - r->began), t->n.sent, t->n.confirmed, t->n.nacked,
           t->n.returned, t->n.received, t->n.redelivered, missing);
    if (o->producers != 0)
        printf("sending rate avg: %.0f msg/s\n", rate(t->n.sent, &t->sent));
    if (o->confirm != 0)
        printf("confirming rate avg: %.0f msg/s\n", confirm_rate(t));
    if (o->consumers != 0)
        printf("receiving rate avg: %.0f msg/s\n", rate(t->n.received, &t->received));
    summary_latency("latency", &t->latency);
    summary_latency("confirm latency", &t->confirm_latency);
    printf("CPU of coney-perf: %.3f s user, %.3f s system, %.3f us per message\n", r->cpu.user,
           r->cpu.system, cpu_us_per_message(r));
    if (r->run->verify != NULL) {
        struct verify_result v = verify_result(r->run->verify);
        printf("verified: %" PRIu64 " different, %" PRIu64 " duplicates, %" PRIu64
               " out of order, %" PRIu64 " of others\n",
               v.distinct, v.duplicates, v.out_of_order, v.foreign);
    }
}

static void
json_string(const char *key, const char *s)
{
    printf("\"%s\":", key);
    if (s == NULL) {
        fputs("null", stdout);
        return;
    }
    putchar('"');
    for (; *s != '\0'; s++) {
        if (*s == '"' || *s == '\\')
            printf("\\%c", *s);
        else if ((unsigned char)*s < 0x20)
            printf("\\u%04x", (unsigned char)*s);
        else
            putchar(*s);
    }
    putchar('"');
}

static void
json_latency(const char *key, const struct histogram *h)
{
    struct percentiles p = histogram_percentiles(h);

    printf(",\"%s\":{\"count\":%" PRIu64 ",\"mean\":%.1f,\"min\":%" PRIu64 ",\"p50\":%" PRIu64
           ",\"p75\":%" PRIu64 ",\"p95\":%" PRIu64 ",\"p99\":%" PRIu64 ",\"p999\":%" PRIu64
           ",\"max\":%" PRIu64 "}",
           key, p.count, p.mean, p.min, p.p50, p.p75, p.p95, p.p99, p.p999, p.max);
}

static void
print_json(const struct report *r, uint64_t missing)
{
    const struct perf_options *o = &r->run->o;
    const struct totals *t = &r->totals;

    putchar('{');
    json_string("id", o->id);
    printf(",\"version\":\"%s\",\"time_s\":%.6f,\"size\":%" PRIu64
           ",\"producers\":%u,\"consumers\":%u",
           PACKAGE_VERSION, seconds(r->last - r->began), o->size, o->producers, o->consumers);
#define C(name) printf(",\"" #name "\":%" PRIu64, t->n.name);
    PERF_COUNTERS(C)
#undef C
    printf(",\"missing\":%" PRIu64
           ",\"send_rate\":%.1f,\"confirm_rate\":%.1f,\"receive_rate\":%.1f",
           missing, rate(t->n.sent, &t->sent), confirm_rate(t),
           rate(t->n.received, &t->received));
    json_latency("latency_us", &t->latency);
    json_latency("confirm_latency_us", &t->confirm_latency);
    printf(",\"cpu\":{\"user_s\":%.6f,\"system_s\":%.6f,\"us_per_message\":%.4f}", r->cpu.user,
           r->cpu.system, cpu_us_per_message(r));
    if (r->run->verify != NULL) {
        struct verify_result v = verify_result(r->run->verify);
        printf(",\"verify\":{\"distinct\":%" PRIu64 ",\"duplicates\":%" PRIu64
               ",\"out_of_order\":%" PRIu64 ",\"foreign\":%" PRIu64 "}",
               v.distinct, v.duplicates, v.out_of_order, v.foreign);
    }
    putchar(',');
    json_string("error", r->run->error);
    puts("}");
}

void
report_summary(struct report *r, uint64_t missing)
{
    totals_get(r->run, &r->totals);
    if (r->run->o.json)
        print_json(r, missing);
    else
        print_text(r, missing);
    fflush(stdout);
}
