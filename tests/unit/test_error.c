#include "protocol/error.h"

#include <stdio.h>

#include "protocol/utf8.h"
#include "tests/unit/check_util.h"

/*
 * The constants of the specification, with the scope that RabbitMQ gives them, written down again.
 */
static const struct {
    uint16_t code;
    const char *name;
    enum amqp_scope scope;
} constants[] = {
    {200, "REPLY_SUCCESS", AMQP_SCOPE_NONE},
    {311, "CONTENT_TOO_LARGE", AMQP_SCOPE_CHANNEL},
    {312, "NO_ROUTE", AMQP_SCOPE_NONE},
    {313, "NO_CONSUMERS", AMQP_SCOPE_NONE},
    {320, "CONNECTION_FORCED", AMQP_SCOPE_CONNECTION},
    {402, "INVALID_PATH", AMQP_SCOPE_CONNECTION},
    {403, "ACCESS_REFUSED", AMQP_SCOPE_CHANNEL},
    {404, "NOT_FOUND", AMQP_SCOPE_CHANNEL},
    {405, "RESOURCE_LOCKED", AMQP_SCOPE_CHANNEL},
    {406, "PRECONDITION_FAILED", AMQP_SCOPE_CHANNEL},
    {501, "FRAME_ERROR", AMQP_SCOPE_CONNECTION},
    {502, "SYNTAX_ERROR", AMQP_SCOPE_CONNECTION},
    {503, "COMMAND_INVALID", AMQP_SCOPE_CONNECTION},
    {504, "CHANNEL_ERROR", AMQP_SCOPE_CONNECTION},
    {505, "UNEXPECTED_FRAME", AMQP_SCOPE_CONNECTION},
    {506, "RESOURCE_ERROR", AMQP_SCOPE_CONNECTION},
    {530, "NOT_ALLOWED", AMQP_SCOPE_CONNECTION},
    {540, "NOT_IMPLEMENTED", AMQP_SCOPE_CONNECTION},
    {541, "INTERNAL_ERROR", AMQP_SCOPE_CONNECTION},
};
#define N_CONSTANTS (sizeof constants / sizeof *constants)

START_TEST(test_constant)
{
    ck_assert_str_eq(amqp_error_name(constants[_i].code), constants[_i].name);
    ck_assert_int_eq(amqp_error_scope(constants[_i].code), constants[_i].scope);
}
END_TEST

START_TEST(test_no_other_constants)
{
    unsigned n = 0;

    for (unsigned code = 0; code <= UINT16_MAX; code++) {
        if (amqp_error_name((uint16_t)code) != NULL)
            n++;
        else
            ck_assert_int_eq(amqp_error_scope((uint16_t)code), AMQP_SCOPE_NONE);
    }
    ck_assert_uint_eq(n, N_CONSTANTS);
}
END_TEST

START_TEST(test_fail)
{
    struct amqp_error err = {0};

    ck_assert(!amqp_fail(&err, AMQP_NOT_FOUND, "no queue '%s' in vhost '%s'", "q", "/"));
    ck_assert_uint_eq(err.code, 404);
    ck_assert_slice_eq(amqp_error_text(&err), slice_str("NOT_FOUND - no queue 'q' in vhost '/'"));
}
END_TEST

START_TEST(test_fail_without_detail)
{
    struct amqp_error err = {0};

    ck_assert(!amqp_fail(&err, AMQP_INTERNAL_ERROR, NULL));
    ck_assert_uint_eq(err.code, 541);
    ck_assert_slice_eq(amqp_error_text(&err), slice_str("INTERNAL_ERROR"));
}
END_TEST

#define PREFIX "NOT_FOUND - "
#define PREFIX_SIZE (sizeof PREFIX - 1)

/*
 * The text of an error whose detail is `unit` repeated as often as it fits into `n` bytes, and
 * letters after it.
 */
static struct slice
text_of_length(struct amqp_error *err, const char *unit, size_t n)
{
    static char detail[8192];
    size_t len = strlen(unit), at = 0;

    ck_assert_uint_lt(n, sizeof detail);
    while (at + len <= n) {
        memcpy(detail + at, unit, len);
        at += len;
    }
    memset(detail + at, 'z', n - at);
    detail[n] = '\0';
    amqp_fail(err, AMQP_NOT_FOUND, "%s", detail);
    return amqp_error_text(err);
}

START_TEST(test_255_bytes_fit)
{
    struct amqp_error err;
    struct slice text = text_of_length(&err, "a", 255 - PREFIX_SIZE);

    ck_assert_uint_eq(text.n, 255);
    ck_assert_uint_eq(text.p[254], 'a');
}
END_TEST

static const size_t too_long[] = {256 - PREFIX_SIZE, 257, 900, 1011, 1012, 1013, 8000};

START_TEST(test_cut)
{
    struct amqp_error err;
    struct slice text = text_of_length(&err, "a", too_long[_i]);

    ck_assert_uint_eq(text.n, 255);
    ck_assert_mem_eq(text.p, PREFIX "aaa", PREFIX_SIZE + 3);
    ck_assert_mem_eq(text.p + 251, "a...", 4);
}
END_TEST

/* Characters of every length, at every offset to the cut. */
START_TEST(test_cut_between_characters)
{
    static const char *const units[] = {"\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x90\xb0"};
    char unit[16];

    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        size_t len = strlen(units[i]);
        for (unsigned shift = 0; shift < len; shift++) {
            struct amqp_error err;
            char detail[1000] = "";
            memset(detail, 'a', shift);
            for (size_t at = shift; at + len < 600; at += len)
                memcpy(detail + at, units[i], len);
            amqp_fail(&err, AMQP_NOT_FOUND, "%s", detail);
            struct slice text = amqp_error_text(&err);
            ck_assert_uint_gt(text.n, 255 - len);
            ck_assert_uint_le(text.n, 255);
            ck_assert(utf8_valid(text));
            snprintf(unit, sizeof unit, "%s...", units[i]);
            ck_assert_mem_eq(text.p + text.n - len - 3, unit, len + 3);
        }
    }
}
END_TEST

/* A name need not be UTF-8, a reply-text must be. */
START_TEST(test_malformed)
{
    struct amqp_error err;

    amqp_fail(&err, AMQP_NOT_FOUND, "no queue '%s'", "a\x7f\x80\xff~");
    ck_assert_slice_eq(amqp_error_text(&err), slice_str("NOT_FOUND - no queue 'a\x7f??~'"));
    amqp_fail(&err, AMQP_NOT_FOUND, "no queue '%s'", "\xc3\xa9");
    ck_assert_slice_eq(amqp_error_text(&err), slice_str("NOT_FOUND - no queue '\xc3\xa9'"));
}
END_TEST

START_TEST(test_cut_malformed)
{
    static const char *const units[] = {"\x80", "\xff", "\xc3", "\xe2\x82", "a\x80\x80"};

    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        struct amqp_error err;
        struct slice text = text_of_length(&err, units[i], 500);
        ck_assert_uint_le(text.n, 255);
        ck_assert(utf8_valid(text));
        ck_assert_mem_eq(text.p, "NOT_FOUND", 9);
        ck_assert_mem_eq(text.p + text.n - 3, "...", 3);
    }
}
END_TEST

START_TEST(test_text_is_utf8)
{
    struct amqp_error err;

    amqp_fail(&err, AMQP_NOT_FOUND, "no exchange '%s'", "caf\xc3\xa9");
    ck_assert(slice_is(amqp_error_text(&err), "NOT_FOUND - no exchange 'caf\xc3\xa9'"));
    amqp_fail(&err, AMQP_NOT_FOUND, "no exchange '%s'", "\xff\xfe x");
    ck_assert(slice_is(amqp_error_text(&err), "NOT_FOUND - no exchange '?? x'"));
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("error");
    TCase *tc = tcase_create("error");

    tcase_add_loop_test(tc, test_constant, 0, N_CONSTANTS);
    tcase_add_test(tc, test_no_other_constants);
    tcase_add_test(tc, test_fail);
    tcase_add_test(tc, test_fail_without_detail);
    tcase_add_test(tc, test_255_bytes_fit);
    tcase_add_loop_test(tc, test_cut, 0, sizeof too_long / sizeof *too_long);
    tcase_add_test(tc, test_cut_between_characters);
    tcase_add_test(tc, test_malformed);
    tcase_add_test(tc, test_cut_malformed);
    tcase_add_test(tc, test_text_is_utf8);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
