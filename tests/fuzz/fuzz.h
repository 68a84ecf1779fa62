#ifndef CONEY_TESTS_FUZZ_H
#define CONEY_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/slice.h"

/* libFuzzer's entry point; replay.c calls it too. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A property that must hold for every input. Unlike assert() it is there in every build. */
#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);         \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/*
 * A copy of some bytes and `extra` zero bytes in a block of exactly that size, so that
 * AddressSanitizer sees the first access beyond them.
 */
static inline struct slice
exact_copy(struct slice s, size_t extra)
{
    uint8_t *p = mem_zalloc(s.n + extra);
    if (s.n != 0)
        memcpy(p, s.p, s.n);
    return slice_of(p, s.n + extra);
}

static inline void
exact_free(struct slice s)
{
    /* The slice is const only to its readers. */
    free((void *)(uintptr_t)s.p);
}

#endif
