#ifndef CONEY_BASE_SLICE_H
#define CONEY_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Bytes that somebody else owns. `p` may be NULL when `n` is 0. */
struct slice {
    const uint8_t *p;
    size_t n;
};

/* For printf's "%.*s". */
#define SLICE_FMT(s) (int)(s).n, (s).n != 0 ? (const char *)(s).p : ""

static inline struct slice
slice_of(const void *p, size_t n)
{
    return (struct slice){p, n};
}

static inline struct slice
slice_str(const char *s)
{
    return (struct slice){(const uint8_t *)s, strlen(s)};
}

static inline bool
slice_eq(struct slice a, struct slice b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool
slice_is(struct slice a, const char *s)
{
    return slice_eq(a, slice_str(s));
}

static inline bool
slice_starts(struct slice a, const char *prefix)
{
    size_t n = strlen(prefix);
    return a.n >= n && (n == 0 || memcmp(a.p, prefix, n) == 0);
}

#endif
