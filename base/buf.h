#ifndef CONEY_BASE_BUF_H
#define CONEY_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/slice.h"

/*
 * Big-endian reading and writing with a sticky error: after the first access out of bounds every
 * further one is harmless (reads give 0, writes do nothing) and `bad` stays set, so that callers
 * check once. A bound is always compared with what remains, never with a sum that could wrap.
 */

struct reader {
    const uint8_t *p, *end;
    bool bad;
};

struct writer {
    uint8_t *p, *end;
    bool bad;
};

static inline struct reader
reader_init(struct slice s)
{
    /* C does not allow even NULL + 0. */
    const uint8_t *p = s.n != 0 ? s.p : (const uint8_t *)"";
    return (struct reader){p, p + s.n, false};
}

static inline size_t
reader_left(const struct reader *r)
{
    return (size_t)(r->end - r->p);
}

/* True when all bytes were taken and none was missing. */
static inline bool
reader_done(const struct reader *r)
{
    return !r->bad && r->p == r->end;
}

static inline bool
reader_has(struct reader *r, size_t n)
{
    if (__builtin_expect(reader_left(r) < n, 0)) {
        r->bad = true;
        r->p = r->end;
        return false;
    }
    return true;
}

static inline uint16_t
get_u16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return __builtin_bswap16(v);
}

static inline uint32_t
get_u32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return __builtin_bswap32(v);
}

static inline uint64_t
get_u64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return __builtin_bswap64(v);
}

static inline void
put_u16(uint8_t *p, uint16_t v)
{
    v = __builtin_bswap16(v);
    memcpy(p, &v, sizeof v);
}

static inline void
put_u32(uint8_t *p, uint32_t v)
{
    v = __builtin_bswap32(v);
    memcpy(p, &v, sizeof v);
}

static inline void
put_u64(uint8_t *p, uint64_t v)
{
    v = __builtin_bswap64(v);
    memcpy(p, &v, sizeof v);
}

static inline uint8_t
read_u8(struct reader *r)
{
    return reader_has(r, 1) ? *r->p++ : 0;
}

static inline uint16_t
read_u16(struct reader *r)
{
    if (!reader_has(r, 2))
        return 0;
    uint16_t v = get_u16(r->p);
    r->p += 2;
    return v;
}

static inline uint32_t
read_u32(struct reader *r)
{
    if (!reader_has(r, 4))
        return 0;
    uint32_t v = get_u32(r->p);
    r->p += 4;
    return v;
}

static inline uint64_t
read_u64(struct reader *r)
{
    if (!reader_has(r, 8))
        return 0;
    uint64_t v = get_u64(r->p);
    r->p += 8;
    return v;
}

/* The next n bytes, borrowed from the input. */
static inline struct slice
read_bytes(struct reader *r, size_t n)
{
    if (!reader_has(r, n))
        return (struct slice){NULL, 0};
    struct slice s = {r->p, n};
    r->p += n;
    return s;
}

static inline struct writer
writer_init(void *p, size_t n)
{
    return (struct writer){p, (uint8_t *)p + n, false};
}

static inline bool
writer_has(struct writer *w, size_t n)
{
    if (__builtin_expect((size_t)(w->end - w->p) < n, 0)) {
        w->bad = true;
        w->p = w->end;
        return false;
    }
    return true;
}

static inline void
write_u8(struct writer *w, uint8_t v)
{
    if (writer_has(w, 1))
        *w->p++ = v;
}

static inline void
write_u16(struct writer *w, uint16_t v)
{
    if (writer_has(w, 2)) {
        put_u16(w->p, v);
        w->p += 2;
    }
}

static inline void
write_u32(struct writer *w, uint32_t v)
{
    if (writer_has(w, 4)) {
        put_u32(w->p, v);
        w->p += 4;
    }
}

static inline void
write_u64(struct writer *w, uint64_t v)
{
    if (writer_has(w, 8)) {
        put_u64(w->p, v);
        w->p += 8;
    }
}

static inline void
write_bytes(struct writer *w, struct slice s)
{
    if (s.n != 0 && writer_has(w, s.n)) {
        memcpy(w->p, s.p, s.n);
        w->p += s.n;
    }
}

#endif
