#ifndef CONEY_CORE_SASL_H
#define CONEY_CORE_SASL_H

#include <stdbool.h>

#include "base/slice.h"

/* The mechanisms that connection.start offers. */
#define SASL_MECHANISMS "PLAIN AMQPLAIN"

enum sasl_result {
    SASL_OK,
    SASL_NO_MECHANISM, /* not one of ours */
    SASL_MALFORMED,
    SASL_REFUSED, /* well-formed, but can be no one's credentials */
};

struct sasl_credentials {
    struct slice user, password; /* borrowed from the response */
};

/*
 * Takes the response of connection.start-ok apart. PLAIN: NUL user NUL password, without an
 * authorisation identity (RFC 4616, as RabbitMQ reads it); AMQPLAIN: a field table's pairs with
 * LOGIN and PASSWORD.
 */
enum sasl_result sasl_parse(struct slice mechanism, struct slice response,
                            struct sasl_credentials *credentials_r);

#endif
