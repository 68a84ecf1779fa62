#include "perf/run.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void
run_notify(struct run *run)
{
    uint64_t one = 1;

    if (write(run->notify_fd, &one, sizeof one) < 0)
        return; /* the counter is full: main has yet to look */
}

void
run_fail(struct run *run, const char *fmt, ...)
{
    char *text = NULL, *none = NULL;
    va_list ap;

    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) < 0)
        mem_exhausted(strlen(fmt));
    va_end(ap);
    if (!__atomic_compare_exchange_n(&run->error, &none, text, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_ACQUIRE))
        free(text);
    run_notify(run);
}
