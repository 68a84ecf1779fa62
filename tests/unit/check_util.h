#ifndef CONEY_TESTS_CHECK_UTIL_H
#define CONEY_TESTS_CHECK_UTIL_H

#include <check.h>
#include <stdlib.h>

#include "base/slice.h"

/* The bytes of a string literal without its terminating zero: BYTES("\000\012"). */
#define BYTES(literal) slice_of("" literal, sizeof(literal) - 1)

#define ck_assert_slice_eq(a, b)                                                                   \
    do {                                                                                           \
        struct slice got_ = (a), wanted_ = (b);                                                    \
        ck_assert_uint_eq(got_.n, wanted_.n);                                                      \
        if (wanted_.n != 0)                                                                        \
            ck_assert_mem_eq(got_.p, wanted_.p, wanted_.n);                                        \
    } while (0)

/*
 * A copy in a block of exactly its size, in which a sanitizer or valgrind sees an access beyond the
 * end.
 */
static inline uint8_t *
exact_bytes(struct slice s)
{
    uint8_t *p = malloc(s.n);
    ck_assert(p != NULL || s.n == 0);
    if (s.n != 0)
        memcpy(p, s.p, s.n);
    return p;
}

/* What a test program's main() ends with. */
static inline int
run_suite(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
