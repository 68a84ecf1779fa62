#include "broker/core/names.h"

#include <bsd/stdlib.h>
#include <string.h>

struct name
name_generate(const char *prefix)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint8_t random[18] = {0}; /* 16 bytes and what base64's last group lacks */
    struct name n;

    arc4random_buf(random, 16);
    n.len = (uint8_t)strlen(prefix);
    memcpy(n.bytes, prefix, n.len);
    for (unsigned i = 0; i < 22; i++) {
        unsigned bit = i * 6, byte = bit / 8;
        unsigned pair = (unsigned)random[byte] << 8 | random[byte + 1];
        n.bytes[n.len++] = (uint8_t)digits[(pair >> (10 - bit % 8)) & 63];
    }
    return n;
}

struct name
name_clean(struct slice s)
{
    struct name n = {.len = 0};

    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] != '\r' && s.p[i] != '\n')
            n.bytes[n.len++] = s.p[i];
    }
    return n;
}
