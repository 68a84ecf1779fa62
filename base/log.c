#include "base/log.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

static enum log_level threshold = LOG_INFO;

static const char *const level_names[] = {"debug", "info", "warning", "error", "critical", "none"};

void
log_set_level(enum log_level level)
{
    threshold = level;
}

bool
log_level_parse(const char *name, enum log_level *level_r)
{
    for (size_t i = 0; i < sizeof level_names / sizeof *level_names; i++) {
        if (strcasecmp(name, level_names[i]) == 0) {
            *level_r = (enum log_level)i;
            return true;
        }
    }
    return false;
}

/* Peers choose parts of what is logged: no control character of theirs may forge a line. */
static void
make_printable(char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
            s[i] = '?';
    }
}

bool
log_throttle_pass(struct log_throttle *t, int64_t second, unsigned *missed_r)
{
    int_fast64_t before = atomic_load(&t->second);

    *missed_r = 0;
    if (before != second && atomic_compare_exchange_strong(&t->second, &before, second)) {
        unsigned n = atomic_exchange(&t->lines, 0);
        *missed_r = n > LOG_LINES_PER_SECOND ? n - LOG_LINES_PER_SECOND : 0;
    }
    return atomic_fetch_add(&t->lines, 1) < LOG_LINES_PER_SECOND;
}

void
log_msg(enum log_level level, const char *fmt, ...)
{
    static struct log_throttle throttle;
    char line[1024];
    struct timespec ts;
    struct tm tm;
    va_list ap;
    unsigned missed;

    if (level < threshold)
        return;
    clock_gettime(CLOCK_REALTIME, &ts);
    if (!log_throttle_pass(&throttle, ts.tv_sec, &missed))
        return;
    if (missed != 0)
        log_warning("%u lines were too many for their second and have not been logged", missed);
    localtime_r(&ts.tv_sec, &tm);
    size_t n = strftime(line, sizeof line, "%Y-%m-%d %H:%M:%S", &tm);
    n += (size_t)snprintf(line + n, sizeof line - n, ".%06ld", ts.tv_nsec / 1000);
    n += strftime(line + n, sizeof line - n, "%z", &tm);
    n += (size_t)snprintf(line + n, sizeof line - n, " [%s] ", level_names[level]);

    va_start(ap, fmt);
    int text = vsnprintf(line + n, sizeof line - n - 1, fmt, ap);
    va_end(ap);
    size_t room = sizeof line - n - 2;
    size_t len = text < 0 ? 0 : (size_t)text < room ? (size_t)text : room;
    make_printable(line + n, len);
    n += len;
    line[n++] = '\n';
    if (write(STDERR_FILENO, line, n) < 0)
        return; /* nowhere left to complain */
}
