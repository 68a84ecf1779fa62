#include "broker/net/monitor.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "broker/core/alarms.h"
#include "broker/net/loop.h"
#include "broker/net/resources.h"
#include "storage/store.h"

enum {
    INTERVAL_MAX = 1000, /* ms between checks */
    INTERVAL_MIN = 100,
    /* What a disk may be filled with, bytes per ms, as RabbitMQ assumes: the next check comes when
     * half of what is left could be gone. */
    FILL_RATE = 250000,
    TRIM_INTERVAL = 5000, /* ms */
    MIB = 1024 * 1024,
};

/* What a check finds. */
struct figures {
    bool memory_is_known, disk_is_known;
    int disk_errno; /* when that is not known */
    uint64_t memory_total, memory_used, memory_limit;
    uint64_t disk_free, disk_limit;
};

struct monitor {
    struct loop *loop;
    struct monitor_options options;
    struct event *timer;
    /* One check at a time: the worker has these until the letter is opened. */
    struct job job;
    struct letter letter;
    bool wants_trim;
    struct figures figures;
    /* The rest is the loop's. */
    uint64_t trimmed_at;               /* ms */
    uint64_t memory_limit, disk_limit; /* as logged last */
    bool memory_is_unknown;            /* and that is logged */
    int disk_errno;                    /* the same */
};

/* --- a check, on any thread --- */

static uint64_t
limit_in_bytes(const struct monitor_limit *limit, uint64_t memory_total)
{
    if (limit->absolute != MONITOR_UNSET)
        return limit->absolute;
    return (uint64_t)(limit->relative * (double)memory_total);
}

static void
check(const struct monitor_options *o, struct figures *f)
{
    uint64_t used, reusable;

    *f = (struct figures){0};
    bool total_is_known = o->memory_total != MONITOR_UNSET;
    if (total_is_known)
        f->memory_total = o->memory_total;
    else
        total_is_known = resources_memory_total("", &f->memory_total);
    f->memory_is_known = (total_is_known || o->memory.absolute != MONITOR_UNSET) &&
                         resources_memory_used("", &f->memory_used);
    f->memory_limit = limit_in_bytes(&o->memory, f->memory_total);
    if (o->data_dir == NULL || (!total_is_known && o->disk.absolute == MONITOR_UNSET))
        return;
    f->disk_is_known = resources_disk_free(o->data_dir, &f->disk_free);
    f->disk_errno = f->disk_is_known ? 0 : errno;
    f->disk_limit = limit_in_bytes(&o->disk, f->memory_total);
    /* The store's file never shrinks: without this an alarm would last after all has been consumed.
     */
    if (f->disk_is_known && f->disk_free < f->disk_limit && o->store != NULL) {
        store_usage(o->store, &used, &reusable);
        f->disk_free += reusable;
    }
}

/* --- what follows from it, on the loop --- */

static void
judge_memory(struct monitor *m, const struct figures *f)
{
    struct broker *b = m->loop->broker;
    bool is_set = f->memory_used > f->memory_limit;

    if (!f->memory_is_known) {
        if (!m->memory_is_unknown)
            log_warning("the use of memory cannot be found out: there is no memory alarm");
        m->memory_is_unknown = true;
        return;
    }
    m->memory_is_unknown = false;
    if (f->memory_limit != m->memory_limit)
        log_info(
            "Memory high watermark set to %llu MiB (%llu bytes) of %llu MiB (%llu bytes) total",
            (unsigned long long)f->memory_limit / MIB, (unsigned long long)f->memory_limit,
            (unsigned long long)f->memory_total / MIB, (unsigned long long)f->memory_total);
    m->memory_limit = f->memory_limit;
    if (is_set != ((b->alarms & ALARM_MEMORY) != 0))
        log_warning("vm_memory_high_watermark %s. Memory used:%llu allowed:%llu",
                    is_set ? "set" : "clear", (unsigned long long)f->memory_used,
                    (unsigned long long)f->memory_limit);
    broker_set_alarm(b, ALARM_MEMORY, is_set);
}

static void
judge_disk(struct monitor *m, const struct figures *f)
{
    struct broker *b = m->loop->broker;
    bool is_set = f->disk_free < f->disk_limit;

    /* What was true last stays so. */
    if (!f->disk_is_known) {
        if (f->disk_errno != m->disk_errno)
            log_error("cannot find out how much disk space is free in %s: %s", m->options.data_dir,
                      strerror(f->disk_errno));
        m->disk_errno = f->disk_errno;
        return;
    }
    m->disk_errno = 0;
    if (f->disk_limit != m->disk_limit)
        log_info("Disk free limit set to %lluMB (%llu bytes), %llu bytes are free",
                 (unsigned long long)f->disk_limit / 1000000, (unsigned long long)f->disk_limit,
                 (unsigned long long)f->disk_free);
    m->disk_limit = f->disk_limit;
    if (is_set != ((b->alarms & ALARM_DISK) != 0))
        log_warning("Free disk space is %s. Free bytes: %llu. Limit: %llu",
                    is_set ? "insufficient" : "sufficient", (unsigned long long)f->disk_free,
                    (unsigned long long)f->disk_limit);
    broker_set_alarm(b, ALARM_DISK, is_set);
}

static uint64_t
next_interval(const struct figures *f)
{
    if (!f->disk_is_known || f->disk_free < f->disk_limit)
        return INTERVAL_MAX;
    uint64_t ms = (f->disk_free - f->disk_limit) / FILL_RATE / 2;
    return ms > INTERVAL_MAX ? INTERVAL_MAX : ms < INTERVAL_MIN ? INTERVAL_MIN : ms;
}

static void
judge(struct monitor *m)
{
    const struct figures *f = &m->figures;
    uint64_t ms = next_interval(f);
    const struct timeval tv = {(time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000)};

    judge_memory(m, f);
    judge_disk(m, f);
    event_add(m->timer, &tv);
}

/* --- from the loop to a worker and back --- */

static void
on_checked(struct letter *letter)
{
    struct monitor *m = (void *)((char *)letter - offsetof(struct monitor, letter));

    loop_enter(m->loop);
    judge(m);
    loop_leave(m->loop);
}

static void
run_check(struct job *job)
{
    struct monitor *m = (void *)((char *)job - offsetof(struct monitor, job));

    if (m->wants_trim)
        malloc_trim(0);
    check(&m->options, &m->figures);
    mailbox_post(&m->loop->mailbox, &m->letter);
}

/*
 * Messages that consumers have taken leave holes in the heap, which still count as used: as long as
 * the alarm is set they are given back to the system, or it might never clear.
 */
static bool
wants_trim(struct monitor *m)
{
    const struct broker *b = m->loop->broker;

    if (!(b->alarms & ALARM_MEMORY) || b->now - m->trimmed_at < TRIM_INTERVAL)
        return false;
    m->trimmed_at = b->now;
    return true;
}

static void
on_time(evutil_socket_t fd, short what, void *arg)
{
    struct monitor *m = arg;

    (void)fd, (void)what;
    loop_enter(m->loop);
    m->wants_trim = wants_trim(m);
    workers_submit(m->loop->workers, &m->job);
    loop_leave(m->loop);
}

struct monitor *
monitor_new(struct loop *l, const struct monitor_options *options)
{
    struct monitor *m = mem_zalloc(sizeof *m);

    m->loop = l;
    m->options = *options;
    m->job.run = run_check;
    m->letter.open = on_checked;
    m->memory_limit = MONITOR_UNSET;
    m->disk_limit = MONITOR_UNSET;
    m->timer = event_new(l->base, -1, 0, on_time, m);
    check(&m->options, &m->figures);
    judge(m);
    return m;
}

void
monitor_free(struct monitor *m)
{
    if (m == NULL)
        return;
    event_free(m->timer);
    free(m);
}
