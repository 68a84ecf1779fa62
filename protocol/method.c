/*
 * The expansions of methods.def. Each decoder and encoder is straight-line code: the position inside a run of
 * bits is a constant to the compiler, because any other field resets it.
 */
#include "protocol/method.h"

#include "protocol/utf8.h"

/* --- decoding --- */

static inline struct slice
get_shortstr(struct reader *r)
{
    return read_bytes(r, read_u8(r));
}

static inline struct slice
get_longstr(struct reader *r)
{
    return read_bytes(r, read_u32(r));
}

#define D_octet(name) nbits = 0, a->name = read_u8(r);
#define D_short(name) nbits = 0, a->name = read_u16(r);
#define D_long(name) nbits = 0, a->name = read_u32(r);
#define D_longlong(name) nbits = 0, a->name = read_u64(r);
#define D_shortstr(name) nbits = 0, a->name = get_shortstr(r);
#define D_longstr(name) nbits = 0, a->name = get_longstr(r);
#define D_table(name) nbits = 0, a->name = get_longstr(r);
#define D_bit(name)                         \
    if (nbits % 8 == 0)                     \
        bits = read_u8(r);                  \
    a->name = (bits >> (nbits++ % 8)) & 1U;

#define F(S, type, name) D_##type(name)
#define M(c, m, cid, mid, flags)                                              \
    bool amqp_##c##_##m##_decode(struct reader *r, struct amqp_##c##_##m *a)  \
    {                                                                         \
        unsigned bits = 0, nbits = 0;                                         \
        (void)bits, (void)nbits, (void)a;                                     \
        FIELDS_##c##_##m(F, )                                                   \
        return reader_done(r);                                                \
    }
AMQP_METHODS(M)
#undef M
#undef F

/* --- sizes --- */

#define Z_octet(name) nbits = 0, n += 1;
#define Z_short(name) nbits = 0, n += 2;
#define Z_long(name) nbits = 0, n += 4;
#define Z_longlong(name) nbits = 0, n += 8;
#define Z_shortstr(name) nbits = 0, n += 1 + a->name.n;
#define Z_longstr(name) nbits = 0, n += 4 + a->name.n;
#define Z_table(name) nbits = 0, n += 4 + a->name.n;
#define Z_bit(name) n += nbits++ % 8 == 0;

#define F(S, type, name) Z_##type(name)
#define M(c, m, cid, mid, flags)                                    \
    size_t amqp_##c##_##m##_size(const struct amqp_##c##_##m *a)    \
    {                                                               \
        size_t n = 4;                                               \
        unsigned nbits = 0;                                         \
        (void)nbits, (void)a;                                       \
        FIELDS_##c##_##m(F, )                                         \
        return n;                                                   \
    }
AMQP_METHODS(M)
#undef M
#undef F

/* --- encoding --- */

static inline void
put_shortstr(struct writer *w, struct slice s)
{
    if (s.n > UINT8_MAX) {
        w->bad = true;
        return;
    }
    write_u8(w, (uint8_t)s.n);
    write_bytes(w, s);
}

static inline void
put_longstr(struct writer *w, struct slice s)
{
    if (s.n > UINT32_MAX) {
        w->bad = true;
        return;
    }
    write_u32(w, (uint32_t)s.n);
    write_bytes(w, s);
}

/* A run of bits is written when a field of another type or the end of the method follows it. */
#define FLUSH_BITS                 \
    if (nbits != 0)                \
        write_u8(w, (uint8_t)bits); \
    bits = 0, nbits = 0;

#define E_octet(name) FLUSH_BITS write_u8(w, a->name);
#define E_short(name) FLUSH_BITS write_u16(w, a->name);
#define E_long(name) FLUSH_BITS write_u32(w, a->name);
#define E_longlong(name) FLUSH_BITS write_u64(w, a->name);
#define E_shortstr(name) FLUSH_BITS put_shortstr(w, a->name);
#define E_longstr(name) FLUSH_BITS put_longstr(w, a->name);
#define E_table(name) FLUSH_BITS put_longstr(w, a->name);
#define E_bit(name) bits |= (unsigned)a->name << nbits++;

#define F(S, type, name) E_##type(name)
#define M(c, m, cid, mid, flags)                                                      \
    void amqp_##c##_##m##_encode(struct writer *w, const struct amqp_##c##_##m *a)    \
    {                                                                                 \
        unsigned bits = 0, nbits = 0;                                                 \
        (void)a;                                                                      \
        write_u16(w, cid);                                                            \
        write_u16(w, mid);                                                            \
        FIELDS_##c##_##m(F, )                                                           \
        FLUSH_BITS                                                                    \
    }
AMQP_METHODS(M)
#undef M
#undef F

/* --- chosen at run time --- */

#define F(S, type, name) {#name, AMQP_FT_##type, offsetof(struct S, name)},
#define M(c, m, cid, mid, flags)                              \
    static const struct amqp_field_info fields_##c##_##m[] = { \
        FIELDS_##c##_##m(F, amqp_##c##_##m){NULL, AMQP_FT_octet, 0}};
AMQP_METHODS(M)
#undef M
#undef F

static const struct amqp_method_info infos[] = {
#define M(c, m, cid, mid, flags)       \
    {#c "." #m, cid, mid, flags, fields_##c##_##m, sizeof fields_##c##_##m / sizeof *fields_##c##_##m - 1},
    AMQP_METHODS(M)
#undef M
};

const struct amqp_method_info *
amqp_method_info(enum amqp_method_id id)
{
    return &infos[id];
}

enum amqp_method_id
amqp_method_find(uint16_t class_id, uint16_t method_id)
{
    switch ((uint32_t)class_id << 16 | method_id) {
#define M(c, m, cid, mid, flags)       \
    case (uint32_t)(cid) << 16 | (mid): \
        return AMQP_##c##_##m;
        AMQP_METHODS(M)
#undef M
    default:
        return AMQP_METHOD_UNKNOWN;
    }
}

bool
amqp_method_decode(enum amqp_method_id id, struct reader *r, union amqp_args *args)
{
    switch (id) {
#define M(c, m, cid, mid, flags) \
    case AMQP_##c##_##m:         \
        return amqp_##c##_##m##_decode(r, &args->c##_##m);
        AMQP_METHODS(M)
#undef M
    case AMQP_METHOD_UNKNOWN:
        break;
    }
    return false;
}

size_t
amqp_method_size(enum amqp_method_id id, const union amqp_args *args)
{
    switch (id) {
#define M(c, m, cid, mid, flags) \
    case AMQP_##c##_##m:         \
        return amqp_##c##_##m##_size(&args->c##_##m);
        AMQP_METHODS(M)
#undef M
    case AMQP_METHOD_UNKNOWN:
        break;
    }
    return 0;
}

void
amqp_method_encode(enum amqp_method_id id, struct writer *w, const union amqp_args *args)
{
    switch (id) {
#define M(c, m, cid, mid, flags)                         \
    case AMQP_##c##_##m:                                 \
        amqp_##c##_##m##_encode(w, &args->c##_##m);      \
        return;
        AMQP_METHODS(M)
#undef M
    case AMQP_METHOD_UNKNOWN:
        break;
    }
    w->bad = true;
}

bool
amqp_method_utf8_ok(enum amqp_method_id id, const union amqp_args *args)
{
    const struct amqp_method_info *info = &infos[id];

    for (unsigned i = 0; i < info->n_fields; i++) {
        const struct amqp_field_info *f = &info->fields[i];
        if (f->type != AMQP_FT_shortstr)
            continue;
        const struct slice *s = (const void *)((const char *)args + f->offset);
        if (!utf8_valid(*s))
            return false;
    }
    return true;
}
