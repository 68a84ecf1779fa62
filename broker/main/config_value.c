#include "broker/main/config_value.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <strings.h>

bool
config_parse_number(struct slice text, uint64_t *value_r)
{
    uint64_t value = 0;

    if (text.n == 0)
        return false;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return false;
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(text.p[i] - '0'), &value))
            return false;
    }
    *value_r = value;
    return true;
}

static bool
is_word(struct slice text, const char *word)
{
    return text.n == strlen(word) && strncasecmp((const char *)text.p, word, text.n) == 0;
}

bool
config_parse_size(struct slice text, uint64_t *bytes_r)
{
    static const struct {
        const char *name;
        uint64_t factor;
    } units[] = {
        {"", 1},
        {"k", 1000},
        {"kb", 1000},
        {"ki", 1 << 10},
        {"kib", 1 << 10},
        {"m", 1000000},
        {"mb", 1000000},
        {"mi", 1 << 20},
        {"mib", 1 << 20},
        {"g", 1000000000},
        {"gb", 1000000000},
        {"gi", 1 << 30},
        {"gib", 1 << 30},
        {"t", 1000000000000},
        {"tb", 1000000000000},
        {"ti", UINT64_C(1) << 40},
        {"tib", UINT64_C(1) << 40},
    };
    size_t digits = 0;
    uint64_t value, bytes;

    while (digits < text.n && text.p[digits] >= '0' && text.p[digits] <= '9')
        digits++;
    if (!config_parse_number(slice_of(text.p, digits), &value))
        return false;
    struct slice unit = slice_of(text.p + digits, text.n - digits);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (is_word(unit, units[i].name)) {
            if (__builtin_mul_overflow(value, units[i].factor, &bytes))
                return false;
            *bytes_r = bytes;
            return true;
        }
    }
    return false;
}

bool
config_parse_ratio(struct slice text, double *value_r)
{
    enum { DIGITS = 9 };
    const uint8_t *point = text.n == 0 ? NULL : memchr(text.p, '.', text.n);
    size_t n = point != NULL ? (size_t)(point - text.p) : text.n;
    size_t n_fraction = point != NULL ? text.n - n - 1 : 0;
    uint64_t whole, fraction = 0;
    double scale = 1;

    if (n > DIGITS || n_fraction > DIGITS || !config_parse_number(slice_of(text.p, n), &whole))
        return false;
    if (point != NULL && !config_parse_number(slice_of(point + 1, n_fraction), &fraction))
        return false;
    for (size_t i = 0; i < n_fraction; i++)
        scale *= 10;
    *value_r = (double)whole + (double)fraction / scale;
    return true;
}

bool
config_parse_boolean(struct slice text, bool *value_r)
{
    bool value = slice_is(text, "true");

    if (!value && !slice_is(text, "false"))
        return false;
    *value_r = value;
    return true;
}

bool
config_parse_level(struct slice text, enum log_level *level_r)
{
    char name[16];

    if (text.n == 0 || text.n >= sizeof name)
        return false;
    memcpy(name, text.p, text.n);
    name[text.n] = '\0';
    if (log_level_parse(name, level_r))
        return true;
    if (strcasecmp(name, "notice") == 0)
        *level_r = LOG_INFO;
    else if (strcasecmp(name, "alert") == 0 || strcasecmp(name, "emergency") == 0)
        *level_r = LOG_CRITICAL;
    else
        return false;
    return true;
}

/* A host name's characters; one of digits and dots alone would be an IPv4 address, and a wrong one.
 */
static bool
is_host_name(const char *host)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-";

    return host[strspn(host, allowed)] == '\0' && host[strspn(host, "0123456789.")] != '\0';
}

static bool
is_host(struct slice text, bool in_brackets)
{
    char host[256];
    struct in6_addr v6;
    struct in_addr v4;

    if (text.n == 0 || text.n >= sizeof host)
        return false;
    memcpy(host, text.p, text.n);
    host[text.n] = '\0';
    if (inet_pton(AF_INET6, host, &v6) == 1)
        return true;
    return !in_brackets && (inet_pton(AF_INET, host, &v4) == 1 || is_host_name(host));
}

bool
config_parse_address(struct slice text, struct slice *host_r, uint16_t *port_r)
{
    struct slice host = {text.p, 0};
    struct slice digits = text;
    uint64_t port;

    const uint8_t *colon = text.n == 0 ? NULL : memrchr(text.p, ':', text.n);
    if (colon != NULL) {
        host.n = (size_t)(colon - text.p);
        digits = slice_of(colon + 1, text.n - host.n - 1);
        bool in_brackets = host.n >= 2 && host.p[0] == '[' && host.p[host.n - 1] == ']';
        if (in_brackets)
            host = slice_of(host.p + 1, host.n - 2);
        if (!is_host(host, in_brackets))
            return false;
    }
    if (!config_parse_number(digits, &port) || port > UINT16_MAX)
        return false;
    *host_r = host;
    *port_r = (uint16_t)port;
    return true;
}

size_t
config_edit_distance(struct slice a, struct slice b)
{
    size_t row[65]; /* distances from the prefix of `a` seen so far to each prefix of `b` */

    if (b.n >= sizeof row / sizeof *row)
        return a.n > b.n ? a.n : b.n;
    for (size_t j = 0; j <= b.n; j++)
        row[j] = j;
    for (size_t i = 1; i <= a.n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.n; j++) {
            size_t replaced = diagonal + (a.p[i - 1] != b.p[j - 1]);
            size_t shifted = 1 + (row[j] < row[j - 1] ? row[j] : row[j - 1]);
            diagonal = row[j];
            row[j] = replaced < shifted ? replaced : shifted;
        }
    }
    return row[b.n];
}
