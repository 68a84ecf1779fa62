#include "broker/auth/password.h"

#include <check.h>
#include <stdlib.h>

/* The vectors of RabbitMQ's documentation of its hashes. */
static const struct {
    const char *password, *text;
    uint8_t salt[PASSWORD_SALT_SIZE];
} vectors[] = {
    {"foo", "dvuak6nGWh4Y+EHVmst7iLempiqHq7GgShdE8AjA7t2R90le", {0x76, 0xfb, 0x9a, 0x93}},
    {"test12", "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR", {0x90, 0x8d, 0xc6, 0x0a}},
};

START_TEST(test_vector)
{
    struct password_hash hash;
    char text[PASSWORD_TEXT_MAX];

    ck_assert(password_hash_parse(slice_str(vectors[_i].text), PASSWORD_SHA256, &hash));
    ck_assert_mem_eq(hash.salt, vectors[_i].salt, sizeof hash.salt);
    ck_assert(password_verify(&hash, slice_str(vectors[_i].password)));
    ck_assert(!password_verify(&hash, slice_str("bar")));
    ck_assert(!password_verify(&hash, slice_str("fo")));
    ck_assert(!password_verify(&hash, slice_str("foo ")));
    ck_assert(!password_verify(&hash, slice_str("")));
    password_hash_print(&hash, text);
    ck_assert_str_eq(text, vectors[_i].text);
}
END_TEST

START_TEST(test_hash_verifies)
{
    struct password_hash hash, again;
    char text[PASSWORD_TEXT_MAX];

    ck_assert(password_hash(slice_str("s3cret"), &hash));
    ck_assert_int_eq(hash.algorithm, PASSWORD_SHA256);
    ck_assert(password_verify(&hash, slice_str("s3cret")));
    ck_assert(!password_verify(&hash, slice_str("S3cret")));
    password_hash_print(&hash, text);
    ck_assert(password_hash_parse(slice_str(text), PASSWORD_SHA256, &again));
    ck_assert(password_verify(&again, slice_str("s3cret")));
}
END_TEST

START_TEST(test_any_bytes)
{
    static const char with_nul[] = "a\0b";
    struct slice password = slice_of(with_nul, sizeof with_nul - 1);
    struct password_hash hash;

    ck_assert(password_hash(password, &hash));
    ck_assert(password_verify(&hash, password));
    ck_assert(!password_verify(&hash, slice_str("a")));
}
END_TEST

START_TEST(test_salts_differ)
{
    struct password_hash a, b;

    /* Two equal salts happen once in four thousand million runs, four of four never. */
    ck_assert(password_hash(slice_str("x"), &a));
    bool differs = false;
    for (int i = 0; i < 4; i++) {
        ck_assert(password_hash(slice_str("x"), &b));
        if (memcmp(a.salt, b.salt, sizeof a.salt) != 0) {
            differs = true;
            ck_assert(memcmp(a.digest, b.digest, 32) != 0);
        }
    }
    ck_assert(differs);
}
END_TEST

START_TEST(test_blank_never_verifies)
{
    struct password_hash hash;

    ck_assert(password_hash(slice_str(""), &hash));
    ck_assert(!password_verify(&hash, slice_str("")));
    ck_assert(!password_verify(&hash, slice_of(NULL, 0)));
}
END_TEST

START_TEST(test_one_bit_matters)
{
    struct password_hash hash;

    ck_assert(password_hash_parse(slice_str(vectors[0].text), PASSWORD_SHA256, &hash));
    for (size_t bit = 0; bit < 8 * 32; bit++) {
        struct password_hash wrong = hash;
        wrong.digest[bit / 8] ^= (uint8_t)(1 << bit % 8);
        ck_assert(!password_verify(&wrong, slice_str("foo")));
    }
}
END_TEST

static const char *const bad_texts[] = {
    "",
    "dvuak6nGWh4Y+EHVmst7iLempiqHq7GgShdE8AjA7t2R90l",      /* short */
    "dvuak6nGWh4Y+EHVmst7iLempiqHq7GgShdE8AjA7t2R90leAAAA", /* long */
    "dvuak6nGWh4Y+EHVmst7iLempiqHq7GgShdE8AjA7t2R90l=",     /* padded: a byte is missing */
    "dvuak6nGWh4Y+EHVmst7iLempiqHq7GgShdE8AjA7t2R90l\n",
    "    vuak6nGWh4Y+EHVmst7iLempiqHq7GgShdE8AjA7t2R90le",
    "dvuak6nGWh4Y+EHVmst7iLem*iqHq7GgShdE8AjA7t2R90le",
    "dvuak6nGWh4Y+EHVmst7iLem-iqHq7GgShdE8AjA7t2R90le",
};

START_TEST(test_bad_text)
{
    struct password_hash hash = {.salt = {1, 2, 3, 4}};

    ck_assert(!password_hash_parse(slice_str(bad_texts[_i]), PASSWORD_SHA256, &hash));
    ck_assert_uint_eq(hash.salt[3], 4);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("password");
    TCase *tc = tcase_create("password");

    tcase_add_loop_test(tc, test_vector, 0, sizeof vectors / sizeof *vectors);
    tcase_add_test(tc, test_hash_verifies);
    tcase_add_test(tc, test_any_bytes);
    tcase_add_test(tc, test_salts_differ);
    tcase_add_test(tc, test_blank_never_verifies);
    tcase_add_test(tc, test_one_bit_matters);
    tcase_add_loop_test(tc, test_bad_text, 0, sizeof bad_texts / sizeof *bad_texts);
    suite_add_tcase(suite, tc);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
