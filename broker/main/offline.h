#ifndef CONEY_MAIN_OFFLINE_H
#define CONEY_MAIN_OFFLINE_H

/*
 * What coneyd does with a data directory that no coneyd uses, instead of serving: each returns the
 * program's exit status. Errors that keep it from doing anything are logged.
 */
enum {
    OFFLINE_SOUND = 0,
    OFFLINE_PROBLEMS = 1,
    OFFLINE_FAILED = 2, /* it could not be done */
};

/* Looks at every byte of the store, without changing any, and reports on standard output. */
int offline_check(const char *directory);

/* Writes definitions and heads of messages as JSON to standard output, and to standard error what
 * cannot be read. */
int offline_dump(const char *directory);

/* Makes the database small; OFFLINE_SOUND or OFFLINE_FAILED. */
int offline_compact(const char *directory);

#endif
