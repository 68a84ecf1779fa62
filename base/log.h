#ifndef CONEY_BASE_LOG_H
#define CONEY_BASE_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * One line per event on stderr (a service manager adds the rest): time, level, text. RabbitMQ's
 * level names. Safe from any thread: a line is one write(2). Payloads and secrets are never logged.
 */
enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR, LOG_CRITICAL, LOG_NONE };

/* Lines below this level are dropped. Set once at start-up, before there are threads. */
void log_set_level(enum log_level level);

/* Level of a name such as "info" (RabbitMQ's log.console.level); false when there is none such. */
bool log_level_parse(const char *name, enum log_level *level_r);

void log_msg(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/*
 * A peer can cause a line with every few bytes it sends, and writing may wait for whoever reads our
 * log: above so many lines a second they are only counted.
 */
enum { LOG_LINES_PER_SECOND = 500 };

struct log_throttle {
    atomic_int_fast64_t second;
    atomic_uint lines; /* wanted in it */
};

/* True when a line may go out in this second; `missed_r` is how many did not in the one before,
 * told once. */
bool log_throttle_pass(struct log_throttle *t, int64_t second, unsigned *missed_r);

#define log_debug(...) log_msg(LOG_DEBUG, __VA_ARGS__)
#define log_info(...) log_msg(LOG_INFO, __VA_ARGS__)
#define log_warning(...) log_msg(LOG_WARNING, __VA_ARGS__)
#define log_error(...) log_msg(LOG_ERROR, __VA_ARGS__)

#endif
