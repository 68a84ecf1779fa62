#include "broker/auth/users.h"

#include <check.h>
#include <stdlib.h>

#include "broker/auth/password.h"

static struct users *users;

static struct user_spec
spec(const char *name, const char *password, bool loopback_only)
{
    return (struct user_spec){.name = slice_str(name),
                              .password = slice_str(password),
                              .hash = NULL,
                              .loopback_only = loopback_only};
}

static void
setup(void)
{
    const struct user_spec specs[] = {
        spec("guest", "guest", true),
        spec("alice", "wonderland", false),
        spec("blank", "", false),
        spec("", "nameless", false),
    };

    users = users_new(specs, sizeof specs / sizeof *specs);
    ck_assert_ptr_nonnull(users);
}

static void
teardown(void)
{
    users_free(&users);
    ck_assert_ptr_null(users);
}

static enum users_verdict
check(const char *name, const char *password, bool peer_is_loopback)
{
    return users_check(users, slice_str(name), slice_str(password), peer_is_loopback);
}

START_TEST(test_accepts)
{
    ck_assert_int_eq(check("guest", "guest", true), USERS_ACCEPTED);
    ck_assert_int_eq(check("alice", "wonderland", true), USERS_ACCEPTED);
    ck_assert_int_eq(check("alice", "wonderland", false), USERS_ACCEPTED);
    ck_assert_int_eq(check("", "nameless", false), USERS_ACCEPTED);
}
END_TEST

START_TEST(test_refuses)
{
    ck_assert_int_eq(check("alice", "guest", true), USERS_BAD_CREDENTIALS);
    ck_assert_int_eq(check("alice", "", true), USERS_BAD_CREDENTIALS);
    ck_assert_int_eq(check("bob", "wonderland", true), USERS_BAD_CREDENTIALS);
    ck_assert_int_eq(check("bob", "", true), USERS_BAD_CREDENTIALS);
    ck_assert_int_eq(check("ALICE", "wonderland", true), USERS_BAD_CREDENTIALS);
    ck_assert_int_eq(check("alic", "wonderland", true), USERS_BAD_CREDENTIALS);
    ck_assert_int_eq(check("blank", "", true), USERS_BAD_CREDENTIALS);
}
END_TEST

START_TEST(test_name_with_nul)
{
    struct slice name = slice_of("alice\0x", 7);

    ck_assert_int_eq(users_check(users, name, slice_str("wonderland"), true),
                     USERS_BAD_CREDENTIALS);
}
END_TEST

/* A restricted user's password is not confirmed to a distant peer that guesses wrongly. */
START_TEST(test_loopback)
{
    ck_assert_int_eq(check("guest", "guest", false), USERS_NOT_LOOPBACK);
    ck_assert_int_eq(check("guest", "wrong", false), USERS_BAD_CREDENTIALS);
}
END_TEST

START_TEST(test_specs_are_copied)
{
    char name[] = "carol", password[] = "pw";
    struct user_spec carol = spec(name, password, false);
    struct users *one = users_new(&carol, 1);

    ck_assert_ptr_nonnull(one);
    memset(name, 'x', sizeof name - 1);
    memset(password, 'x', sizeof password - 1);
    ck_assert_int_eq(users_check(one, slice_str("carol"), slice_str("pw"), true), USERS_ACCEPTED);
    users_free(&one);
}
END_TEST

/* A hash is taken in place of the password, which need not be known. */
START_TEST(test_hashed)
{
    struct password_hash hash;
    ck_assert(password_hash(slice_str("secret"), &hash));
    const struct user_spec dave = {.name = slice_str("dave"), .hash = &hash};
    struct users *one = users_new(&dave, 1);

    ck_assert_ptr_nonnull(one);
    memset(&hash, 0, sizeof hash);
    ck_assert_int_eq(users_check(one, slice_str("dave"), slice_str("secret"), false),
                     USERS_ACCEPTED);
    ck_assert_int_eq(users_check(one, slice_str("dave"), slice_str(""), false),
                     USERS_BAD_CREDENTIALS);
    ck_assert_int_eq(users_check(one, slice_str("dave"), slice_str("Secret"), false),
                     USERS_BAD_CREDENTIALS);
    users_free(&one);
}
END_TEST

START_TEST(test_twice_the_same_name)
{
    const struct user_spec specs[] = {spec("a", "1", false), spec("a", "2", false)};

    ck_assert_ptr_null(users_new(specs, 2));
}
END_TEST

START_TEST(test_nobody)
{
    struct users *none = users_new(NULL, 0);

    ck_assert_ptr_nonnull(none);
    ck_assert_int_eq(users_check(none, slice_str("guest"), slice_str("guest"), true),
                     USERS_BAD_CREDENTIALS);
    users_free(&none);
    users_free(&none);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("users");
    TCase *tc = tcase_create("users");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, test_accepts);
    tcase_add_test(tc, test_refuses);
    tcase_add_test(tc, test_name_with_nul);
    tcase_add_test(tc, test_loopback);
    tcase_add_test(tc, test_specs_are_copied);
    tcase_add_test(tc, test_hashed);
    tcase_add_test(tc, test_twice_the_same_name);
    tcase_add_test(tc, test_nobody);
    suite_add_tcase(suite, tc);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
