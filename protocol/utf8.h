#ifndef CONEY_PROTOCOL_UTF8_H
#define CONEY_PROTOCOL_UTF8_H

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"

/* True for well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms, nothing above U+10FFFF).
 */
bool utf8_valid(struct slice s);

/* The longest prefix of `s` of at most `max` bytes that does not end inside a character. */
size_t utf8_cut(struct slice s, size_t max);

#endif
