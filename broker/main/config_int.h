#ifndef CONEY_BROKER_MAIN_CONFIG_INT_H
#define CONEY_BROKER_MAIN_CONFIG_INT_H

#include "broker/main/config.h"

/* What config.c (where settings come from) and config_set.c (what they mean) share. */

#define COUNT(array) (sizeof(array) / sizeof *(array))

struct loader {
    struct config *config;
    struct config_report *report;
    const char *source;         /* who is speaking: a file's name, "--set", a variable's name */
    unsigned line;              /* 0: the source has no lines */
    bool listeners_are_default; /* the first that is configured replaces them */
};

/* Adds a message that begins with the source and the line. */
void config_note(struct loader *l, enum config_severity severity, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* As much of a key or a value as a message bears. */
struct slice config_shown(struct slice s);

/*
 * One setting; what is wrong with it is noted. The key has the form of a key, the value no control
 * character.
 */
void config_apply(struct loader *l, struct slice key, struct slice value);

/* Gives an empty configuration its defaults. */
void config_apply_defaults(struct loader *l);

#endif
