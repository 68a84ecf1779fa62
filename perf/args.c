#include "perf/args.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "protocol/table.h"

/* --- numbers --- */

bool
number_parse(const char *text, uint64_t lo, uint64_t hi, uint64_t *number_r)
{
    char *end;

    if (!isdigit((unsigned char)*text))
        return false;
    errno = 0;
    uint64_t n = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0' || n < lo || n > hi)
        return false;
    *number_r = n;
    return true;
}

bool
real_parse(const char *text, double *number_r)
{
    char *end;

    if (!isdigit((unsigned char)*text) && *text != '.')
        return false;
    double x = strtod(text, &end);
    if (*end != '\0' || end == text || !isfinite(x))
        return false;
    *number_r = x;
    return true;
}

/* --- URI --- */

static int
hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A new string with %XX decoded, `fallback` for no text at all; NULL when an escape is malformed or
 * stands for NUL. */
static char *
percent_decode(struct slice text, const char *fallback)
{
    if (text.n == 0)
        return mem_strdup(fallback);
    char *out = mem_alloc(text.n + 1), *o = out;
    for (size_t i = 0; i < text.n; i++) {
        char c = (char)text.p[i];
        if (c == '%') {
            int hi = text.n - i > 2 ? hex_digit((char)text.p[i + 1]) : -1;
            int lo = text.n - i > 2 ? hex_digit((char)text.p[i + 2]) : -1;
            if (hi < 0 || lo < 0 || hi + lo == 0) {
                free(out);
                return NULL;
            }
            c = (char)(hi * 16 + lo);
            i += 2;
        }
        *o++ = c;
    }
    *o = '\0';
    return out;
}

/* What of *rest stands before the first `c`, which is taken off too; all of it when there is none.
 */
static struct slice
take_until(struct slice *rest, char c)
{
    const uint8_t *at = rest->n == 0 ? NULL : memchr(rest->p, c, rest->n);
    struct slice part = *rest;

    if (at != NULL)
        part.n = (size_t)(at - rest->p);
    size_t taken = part.n + (at != NULL);
    *rest = slice_of(rest->p + taken, rest->n - taken);
    return part;
}

/* Splits host:port and [host]:port. */
static bool
split_host(struct slice authority, struct slice *host_r, struct slice *port_r)
{
    if (authority.n != 0 && authority.p[0] == '[') {
        authority = slice_of(authority.p + 1, authority.n - 1);
        if (memchr(authority.p, ']', authority.n) == NULL)
            return false;
        *host_r = take_until(&authority, ']');
        if (authority.n != 0 && authority.p[0] != ':')
            return false;
        *port_r = authority.n == 0 ? authority : slice_of(authority.p + 1, authority.n - 1);
        return true;
    }
    *host_r = take_until(&authority, ':');
    *port_r = authority;
    return true;
}

bool
uri_parse(const char *text, struct perf_uri *uri_r)
{
    struct slice rest = slice_str(text), user = {0}, password = {0}, host, port;
    uint64_t number;

    *uri_r = (struct perf_uri){0};
    if (!slice_starts(rest, "amqp://"))
        return false;
    rest = slice_of(rest.p + 7, rest.n - 7);
    struct slice authority = take_until(&rest, '/');
    if (authority.n != 0 && memchr(authority.p, '@', authority.n) != NULL) {
        struct slice login = take_until(&authority, '@');
        user = take_until(&login, ':');
        password = login;
    }
    if (!split_host(authority, &host, &port))
        return false;
    *uri_r = (struct perf_uri){
        percent_decode(user, "guest"),     percent_decode(password, "guest"),
        percent_decode(host, "localhost"), percent_decode(port, "5672"),
        percent_decode(rest, "/"),
    };
    if (uri_r->user != NULL && uri_r->password != NULL && uri_r->host != NULL &&
        uri_r->port != NULL && uri_r->vhost != NULL &&
        number_parse(uri_r->port, 1, UINT16_MAX, &number))
        return true;
    uri_free(uri_r);
    return false;
}

void
uri_free(struct perf_uri *uri)
{
    free(uri->user);
    free(uri->password);
    free(uri->host);
    free(uri->port);
    free(uri->vhost);
    *uri = (struct perf_uri){0};
}

/* --- patterns --- */

char *
pattern_expand(const char *pattern, uint64_t n)
{
    const char *at = strchr(pattern, '%');
    int width = 0;

    if (at == NULL)
        return NULL;
    const char *p = at + 1;
    if (*p == '0') {
        if (!isdigit((unsigned char)p[1]))
            return NULL;
        width = p[1] - '0';
        p += 2;
    }
    if (*p != 'd' || strchr(p, '%') != NULL)
        return NULL;
    return mem_printf("%.*s%0*" PRIu64 "%s", (int)(at - pattern), pattern, width, n, p + 1);
}

/* --- k=v,k=v --- */

/* Takes the next pair off *rest. False when it has no '=' or no key. */
static bool
take_pair(struct slice *rest, struct slice *key_r, struct slice *value_r)
{
    struct slice pair = take_until(rest, ',');

    if (pair.n == 0 || memchr(pair.p, '=', pair.n) == NULL)
        return false;
    *key_r = take_until(&pair, '=');
    *value_r = pair;
    return key_r->n != 0 && key_r->n <= UINT8_MAX;
}

static bool
integer_of(struct slice s, int64_t *i_r)
{
    char text[24], *end;

    if (s.n == 0 || s.n >= sizeof text || isspace(s.p[0]))
        return false;
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    errno = 0;
    *i_r = strtoll(text, &end, 10);
    return errno == 0 && *end == '\0';
}

static void
table_add(struct bytes *table, struct slice key, struct slice text)
{
    struct amqp_value value = {.tag = AMQP_TAG_LONGSTR, .s = text};
    size_t room = key.n + text.n + 16;
    struct writer w = writer_init(bytes_room(table, room), room);
    int64_t i;

    if (slice_is(text, "true") || slice_is(text, "false")) {
        value = (struct amqp_value){.tag = AMQP_TAG_BOOL, .boolean = text.p[0] == 't'};
    } else if (integer_of(text, &i)) {
        value = (struct amqp_value){.tag = AMQP_TAG_INT64, .i = i};
    }
    amqp_write_key(&w, key);
    amqp_write_value(&w, &value);
    table->n = (size_t)(w.p - table->p);
}

bool
table_parse(const char *text, struct bytes *table)
{
    struct slice rest = slice_str(text), key, value;

    do {
        if (!take_pair(&rest, &key, &value))
            return false;
        table_add(table, key, value);
    } while (rest.n != 0);
    return true;
}

/* True for deliveryMode, delivery_mode and deliverymode alike. */
static bool
same_name(struct slice given, const char *name)
{
    size_t i = 0;

    for (; *name != '\0'; name++) {
        if (*name == '_')
            continue;
        while (i < given.n && given.p[i] == '_')
            i++;
        if (i == given.n || tolower(given.p[i++]) != *name)
            return false;
    }
    return i == given.n;
}

static bool
set_octet(uint8_t *field, struct slice text)
{
    int64_t i;

    if (!integer_of(text, &i) || i < 0 || i > UINT8_MAX)
        return false;
    *field = (uint8_t)i;
    return true;
}

static bool
set_longlong(uint64_t *field, struct slice text)
{
    int64_t i;

    if (!integer_of(text, &i) || i < 0)
        return false;
    *field = (uint64_t)i;
    return true;
}

static bool
set_shortstr(struct slice *field, struct slice text)
{
    *field = text;
    return text.n <= UINT8_MAX;
}

/* `headers=...` is no way to write headers: their names are given directly. */
static bool
set_table(struct slice *field, struct slice text)
{
    (void)field, (void)text;
    return false;
}

bool
props_parse(const char *text, struct amqp_props *props, struct bytes *headers)
{
    struct slice rest = slice_str(text), key, value;

    do {
        if (!take_pair(&rest, &key, &value))
            return false;
#define P(name, type)                                                                              \
    if (same_name(key, #name)) {                                                                   \
        if (!set_##type(&props->name, value))                                                      \
            return false;                                                                          \
        props->flags |= AMQP_PROP(name);                                                           \
        continue;                                                                                  \
    }
        AMQP_PROPERTIES(P)
#undef P
        table_add(headers, key, value);
    } while (rest.n != 0);
    return true;
}
