#ifndef CONEY_PERF_ARGS_H
#define CONEY_PERF_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "perf/bytes.h"
#include "protocol/props.h"

/* Reading of the values that options take. No I/O here: what fails returns false, the caller names
 * the option. */

struct perf_uri {
    char *user, *password, *host, *port, *vhost;
};

/* amqp://user:password@host:port/vhost, each part optional and percent-decoded. No path and "/"
 * both mean vhost "/". */
MUST_USE bool uri_parse(const char *text, struct perf_uri *uri_r);
void uri_free(struct perf_uri *uri);

/* The number a text is, whole, within [lo, hi]. */
MUST_USE bool number_parse(const char *text, uint64_t lo, uint64_t hi, uint64_t *number_r);
MUST_USE bool real_parse(const char *text, double *number_r);

/* `pattern` with its only %d (or %03d and the like) replaced by n; NULL when it has none or another
 * one. */
char *pattern_expand(const char *pattern, uint64_t n);

/* Appends "k=v,k=v" to a field table: integers as long, true and false as bool, everything else as
 * longstr. */
MUST_USE bool table_parse(const char *text, struct bytes *table);

/*
 * Sets properties from "priority=5,contentType=text/plain" (names with or without underscores, in
 * any case); a name that is no property goes to the table `headers`. The properties borrow from
 * `text`.
 */
MUST_USE bool props_parse(const char *text, struct amqp_props *props, struct bytes *headers);

#endif
