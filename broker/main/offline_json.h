#ifndef CONEY_MAIN_OFFLINE_JSON_H
#define CONEY_MAIN_OFFLINE_JSON_H

#include <jansson.h>

#include "base/slice.h"

/*
 * AMQP's values as JSON, in the way of RabbitMQ's management: tables are objects (the first of
 * equal keys), arrays are arrays, numbers numbers, void is null. What is not UTF-8 becomes the text
 * "Not UTF-8, base64 is: ...". Each returns a new reference.
 */
json_t *json_of_string(struct slice s);

/* The pairs of a well-formed table. */
json_t *json_of_table(struct slice table);

#endif
