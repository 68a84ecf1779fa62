#include "broker/core/names.h"

#include "tests/unit/check_util.h"

START_TEST(test_generate)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    bool seen[64] = {false};

    for (unsigned i = 0; i < 500; i++) {
        struct name n = name_generate("amq.gen-");
        ck_assert_uint_eq(n.len, 8 + 22);
        ck_assert_mem_eq(n.bytes, "amq.gen-", 8);
        for (unsigned j = 8; j < n.len; j++) {
            const char *digit = memchr(digits, n.bytes[j], 64);
            ck_assert_ptr_nonnull(digit);
            seen[digit - digits] = true;
        }
        /* 128 bits in 22 digits of 6: the last one has only two of them. */
        const char *last = memchr(digits, n.bytes[n.len - 1], 64);
        ck_assert_int_eq((last - digits) % 16, 0);
    }
    for (unsigned i = 0; i < 64; i++)
        ck_assert(seen[i]);
}
END_TEST

START_TEST(test_generate_differs)
{
    struct name a = name_generate("amq.ctag-"), b = name_generate("amq.ctag-");

    ck_assert(!slice_eq(name_slice(&a), name_slice(&b)));
}
END_TEST

static const struct {
    struct slice given, clean;
} names[] = {
    {{(const uint8_t *)"", 0}, {(const uint8_t *)"", 0}},
    {{(const uint8_t *)"queue", 5}, {(const uint8_t *)"queue", 5}},
    {{(const uint8_t *)"b\nq", 3}, {(const uint8_t *)"bq", 2}},
    {{(const uint8_t *)"\r\na\r\nb\n", 7}, {(const uint8_t *)"ab", 2}},
    {{(const uint8_t *)"\r\n", 2}, {(const uint8_t *)"", 0}},
    {{(const uint8_t *)"\303\244\0 \t", 5}, {(const uint8_t *)"\303\244\0 \t", 5}},
};

START_TEST(test_clean)
{
    struct name n = name_clean(names[_i].given);
    ck_assert_slice_eq(name_slice(&n), names[_i].clean);
}
END_TEST

START_TEST(test_clean_longest)
{
    uint8_t bytes[UINT8_MAX];

    memset(bytes, 'q', sizeof bytes);
    struct name n = name_clean(slice_of(bytes, sizeof bytes));
    ck_assert_slice_eq(name_slice(&n), slice_of(bytes, sizeof bytes));
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("names");
    TCase *tc = tcase_create("names");

    tcase_add_test(tc, test_generate);
    tcase_add_test(tc, test_generate_differs);
    tcase_add_loop_test(tc, test_clean, 0, sizeof names / sizeof *names);
    tcase_add_test(tc, test_clean_longest);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
