#ifndef CONEY_PROTOCOL_ERROR_H
#define CONEY_PROTOCOL_ERROR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "protocol/errors.def"

enum amqp_scope { AMQP_SCOPE_NONE, AMQP_SCOPE_CHANNEL, AMQP_SCOPE_CONNECTION };

enum amqp_reply_code {
#define E(name, code, scope) AMQP_##name = code,
    AMQP_ERRORS(E)
#undef E
};

/* What a peer is told when its request fails. code 0: no error. */
struct amqp_error {
    uint16_t code;
    uint8_t text_len;
    char text[255]; /* reply-text, "NOT_FOUND - no queue 'q' in vhost '/'", not terminated */
};

/*
 * Fills in `err` with the constant's name, " - " and the detail, cut to 255 bytes ending in "..."
 * on a character boundary (RabbitMQ cuts to 255 characters). If the text is not UTF-8, bytes that
 * are not ASCII become '?'. No format (NULL) gives the bare constant. Always returns false, so that
 * a request's handler can end with `return amqp_fail(...)`.
 */
bool amqp_fail(struct amqp_error *err, enum amqp_reply_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* "NOT_FOUND" for 404; NULL for a code that AMQP does not define. */
const char *amqp_error_name(uint16_t code);

/* What an error of this code ends. */
enum amqp_scope amqp_error_scope(uint16_t code);

static inline struct slice
amqp_error_text(const struct amqp_error *err)
{
    return slice_of(err->text, err->text_len);
}

#endif
