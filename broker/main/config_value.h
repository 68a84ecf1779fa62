#ifndef CONEY_BROKER_MAIN_CONFIG_VALUE_H
#define CONEY_BROKER_MAIN_CONFIG_VALUE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "base/slice.h"

/* What the text of a setting means. Each is false, and the result untouched, when the text is no
 * such value. */

/* Decimal digits only; false also when it does not fit. */
bool config_parse_number(struct slice text, uint64_t *value_r);

/*
 * A number of bytes with one of RabbitMQ's units: k, kB, M, MB, G, GB, T, TB are powers of 1000,
 * KiB, Ki, MiB, Mi, GiB, Gi, TiB, Ti of 1024 (RabbitMQ since 3.13), in any case of letters.
 */
bool config_parse_size(struct slice text, uint64_t *bytes_r);

/* Digits with a decimal point among them or none, at most nine on each side: "0.6", "2". */
bool config_parse_ratio(struct slice text, double *value_r);

bool config_parse_boolean(struct slice text, bool *value_r);

/* Our levels and the three of RabbitMQ that we fold into them. */
bool config_parse_level(struct slice text, enum log_level *level_r);

/* "5672", "127.0.0.1:5672", "[::1]:5672", "::1:5672", "localhost:5672". The host borrows from the
 * text; empty: all. */
bool config_parse_address(struct slice text, struct slice *host_r, uint16_t *port_r);

/* The number of insertions, deletions and replacements that make `b` of `a`; at least the
 * difference in length. */
size_t config_edit_distance(struct slice a, struct slice b);

#endif
