#include "protocol/error.h"

#include <stdarg.h>
#include <stdio.h>

#include "protocol/utf8.h"

const char *
amqp_error_name(uint16_t code)
{
    switch (code) {
#define E(name, c, scope)                                                                          \
    case c:                                                                                        \
        return #name;
        AMQP_ERRORS(E)
#undef E
    default:
        return NULL;
    }
}

enum amqp_scope
amqp_error_scope(uint16_t code)
{
    switch (code) {
#define E(name, c, scope)                                                                          \
    case c:                                                                                        \
        return scope;
        AMQP_ERRORS(E)
#undef E
    default:
        return AMQP_SCOPE_NONE;
    }
}

/* Names in basic.publish need not be UTF-8, but a reply-text must: clients decode it. */
static void
make_utf8(char *text, size_t len)
{
    if (utf8_valid(slice_of(text, len)))
        return;
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)text[i] >= 0x80)
            text[i] = '?';
    }
}

bool
amqp_fail(struct amqp_error *err, enum amqp_reply_code code, const char *fmt, ...)
{
    /* Two names of 255 bytes and the words around them fit; what does not is cut below anyway. */
    char text[1024];
    va_list ap;

    int n = snprintf(text, sizeof text, "%s%s", amqp_error_name((uint16_t)code),
                     fmt != NULL ? " - " : "");
    int m = 0;
    if (fmt != NULL) {
        va_start(ap, fmt);
        m = vsnprintf(text + n, sizeof text - (size_t)n, fmt, ap);
        va_end(ap);
    }

    size_t len = (size_t)n + (m > 0 ? (size_t)m : 0);
    if (len >= sizeof text)
        len = sizeof text - 1;
    make_utf8(text, len);
    err->code = (uint16_t)code;
    if (len > sizeof err->text) {
        len = utf8_cut(slice_of(text, len), sizeof err->text - 3);
        memcpy(text + len, "...", 3);
        len += 3;
    }
    memcpy(err->text, text, len);
    err->text_len = (uint8_t)len;
    return false;
}
