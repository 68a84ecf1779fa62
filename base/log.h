#ifndef CONEY_BASE_LOG_H
#define CONEY_BASE_LOG_H

#include <stdbool.h>

/*
 * One line per event on stderr (a service manager adds the rest): time, level, text. RabbitMQ's level names.
 * Safe from any thread: a line is one write(2). Payloads and secrets are never logged.
 */
enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR, LOG_CRITICAL, LOG_NONE };

/* Lines below this level are dropped. Set once at start-up, before there are threads. */
void log_set_level(enum log_level level);

/* Level of a name such as "info" (RabbitMQ's log.console.level); false when there is none such. */
bool log_level_parse(const char *name, enum log_level *level_r);

void log_msg(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_debug(...) log_msg(LOG_DEBUG, __VA_ARGS__)
#define log_info(...) log_msg(LOG_INFO, __VA_ARGS__)
#define log_warning(...) log_msg(LOG_WARNING, __VA_ARGS__)
#define log_error(...) log_msg(LOG_ERROR, __VA_ARGS__)

#endif
