#ifndef CONEY_TESTS_METHOD_ARGS_H
#define CONEY_TESTS_METHOD_ARGS_H

#include "protocol/method.h"

/*
 * Arguments of any method, filled in and compared through the field descriptors of
 * amqp_method_info(): for tests that must reach every method without naming it.
 */

/* xorshift64*: the same numbers on every machine for the same seed (not 0). */
struct prng {
    uint64_t state;
};

static inline uint64_t
prng_next(struct prng *g)
{
    g->state ^= g->state >> 12;
    g->state ^= g->state << 25;
    g->state ^= g->state >> 27;
    return g->state * UINT64_C(2685821657736338717);
}

static inline uint64_t
prng_below(struct prng *g, uint64_t n)
{
    return (prng_next(g) >> 11) % n;
}

/*
 * Up to `max` bytes of letters; every eighth one is empty, every eighth one as long as it may be.
 */
static inline struct slice
prng_letters(struct prng *g, size_t max)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz";
    static uint8_t text[512];
    static bool filled;

    if (!filled) {
        for (size_t i = 0; i < sizeof text; i++)
            text[i] = (uint8_t)letters[i % 26];
        filled = true;
    }
    uint64_t kind = prng_below(g, 8);
    size_t n = kind == 0 ? 0 : kind == 1 ? max : (size_t)prng_below(g, max + 1);
    return slice_of(text + prng_below(g, 26), n);
}

static inline void *
arg_at(union amqp_args *args, const struct amqp_field_info *f)
{
    return (char *)args + f->offset;
}

static inline const void *
arg_const(const union amqp_args *args, const struct amqp_field_info *f)
{
    return (const char *)args + f->offset;
}

/* A well-formed table, one of a few. */
static inline struct slice
prng_table(struct prng *g)
{
    static const uint8_t one_of_each[] = "\001tt\001\001bb\377\001BB\377\001ss\377\376\001uu\377"
                                         "\376\001II\377\377\377\376\001ii\377\377\377\376"
                                         "\001ll\377\377\377\377\377\377\377\376\001LL\000\000\000"
                                         "\000\000\000\000\001\001ff\077\200\000\000"
                                         "\001dd\077\360\000\000\000\000\000\000\001DD\002\000\000"
                                         "\001\072\001SS\000\000\000\002hi\001xx\000\000"
                                         "\000\002\000\377\001TT\000\000\000\000\145\000\000\000"
                                         "\001FF\000\000\000\004\001tt\000\001AA\000\000\000"
                                         "\006I\000\000\000\001V\001VV";
    static const uint8_t arguments[] =
        "\015x-message-ttlI\000\000\352\140\014x-max-lengthl\000\000\000\000\000\000"
        "\000\012\012x-overflowS\000\000\000\011drop-head";
    static const struct slice tables[] = {
        {NULL, 0},
        {one_of_each, sizeof one_of_each - 1},
        {arguments, sizeof arguments - 1},
    };

    return tables[prng_below(g, sizeof tables / sizeof *tables)];
}

/*
 * Fills in every field with random contents of its type. The strings live as long as the program.
 */
static inline void
args_random(enum amqp_method_id id, union amqp_args *args, struct prng *g)
{
    const struct amqp_method_info *info = amqp_method_info(id);

    memset(args, 0, sizeof *args);
    for (unsigned i = 0; i < info->n_fields; i++) {
        void *field = arg_at(args, &info->fields[i]);

        switch (info->fields[i].type) {
        case AMQP_FT_octet:
            *(uint8_t *)field = (uint8_t)prng_next(g);
            break;
        case AMQP_FT_short:
            *(uint16_t *)field = (uint16_t)prng_next(g);
            break;
        case AMQP_FT_long:
            *(uint32_t *)field = (uint32_t)prng_next(g);
            break;
        case AMQP_FT_longlong:
            *(uint64_t *)field = prng_next(g);
            break;
        case AMQP_FT_bit:
            *(bool *)field = prng_below(g, 2) != 0;
            break;
        case AMQP_FT_shortstr:
            *(struct slice *)field = prng_letters(g, 255);
            break;
        case AMQP_FT_longstr:
            *(struct slice *)field = prng_letters(g, 300);
            break;
        case AMQP_FT_table:
            *(struct slice *)field = prng_table(g);
            break;
        }
    }
}

static inline bool
field_same(enum amqp_field_type type, const void *a, const void *b)
{
    switch (type) {
    case AMQP_FT_octet:
        return *(const uint8_t *)a == *(const uint8_t *)b;
    case AMQP_FT_short:
        return *(const uint16_t *)a == *(const uint16_t *)b;
    case AMQP_FT_long:
        return *(const uint32_t *)a == *(const uint32_t *)b;
    case AMQP_FT_longlong:
        return *(const uint64_t *)a == *(const uint64_t *)b;
    case AMQP_FT_bit:
        return *(const bool *)a == *(const bool *)b;
    case AMQP_FT_shortstr:
    case AMQP_FT_longstr:
    case AMQP_FT_table:
        return slice_eq(*(const struct slice *)a, *(const struct slice *)b);
    }
    return false;
}

/*
 * The first field in which two sets of arguments of one method differ, NULL when they are the same.
 */
static inline const char *
args_difference(enum amqp_method_id id, const union amqp_args *a, const union amqp_args *b)
{
    const struct amqp_method_info *info = amqp_method_info(id);

    for (unsigned i = 0; i < info->n_fields; i++) {
        const struct amqp_field_info *f = &info->fields[i];
        if (!field_same(f->type, arg_const(a, f), arg_const(b, f)))
            return f->name;
    }
    return NULL;
}

#endif
