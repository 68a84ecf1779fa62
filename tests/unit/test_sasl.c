#include "broker/core/sasl.h"

#include "protocol/table.h"
#include "tests/unit/check_util.h"

/* String literals with NULs in them. */
#define B(literal)                                                                                 \
    {                                                                                              \
        (const uint8_t *)"" literal, sizeof(literal) - 1                                           \
    }

static const struct {
    const char *mechanism;
    struct slice response;
    enum sasl_result result;
    struct slice user, password;
} cases[] = {
    {"PLAIN", B("\0guest\0secret"), SASL_OK, B("guest"), B("secret")},
    {"PLAIN", B("\0\0"), SASL_OK, B(""), B("")},
    {"PLAIN", B("\0guest\0"), SASL_OK, B("guest"), B("")},
    {"PLAIN", B("\0\0secret"), SASL_OK, B(""), B("secret")},
    {"PLAIN", B("\0\303\244\0\377"), SASL_OK, B("\303\244"), B("\377")},
    {"PLAIN", B(""), SASL_MALFORMED, B(""), B("")},
    {"PLAIN", B("\0"), SASL_MALFORMED, B(""), B("")},
    {"PLAIN", B("guest"), SASL_MALFORMED, B(""), B("")},
    {"PLAIN", B("\0guest"), SASL_MALFORMED, B(""), B("")},
    /* An authorisation identity, and one NUL too many. */
    {"PLAIN", B("root\0guest\0secret"), SASL_MALFORMED, B(""), B("")},
    {"PLAIN", B("\0guest\0secret\0"), SASL_MALFORMED, B(""), B("")},
    {"PLAIN", B("\0guest\0sec\0ret"), SASL_MALFORMED, B(""), B("")},

    {"AMQPLAIN", B("\005LOGINS\0\0\0\1u\010PASSWORDS\0\0\0\1p"), SASL_OK, B("u"), B("p")},
    {"AMQPLAIN", B("\010PASSWORDx\0\0\0\1p\003fooI\0\0\0\1\005LOGINx\0\0\0\1u"), SASL_OK, B("u"),
     B("p")},
    {"AMQPLAIN", B(""), SASL_MALFORMED, B(""), B("")},
    {"AMQPLAIN", B("\005LOGINS\0\0\0\1u"), SASL_MALFORMED, B(""), B("")},
    {"AMQPLAIN", B("\010PASSWORDS\0\0\0\1p"), SASL_MALFORMED, B(""), B("")},
    {"AMQPLAIN", B("\005LOGINS\0\0\0\1u\010PASSWORDS\0\0\0\2p"), SASL_MALFORMED, B(""), B("")},
    {"AMQPLAIN", B("\005loginS\0\0\0\1u\010PASSWORDS\0\0\0\1p"), SASL_MALFORMED, B(""), B("")},
    /* An integer is nobody's password. */
    {"AMQPLAIN", B("\005LOGINS\0\0\0\1u\010PASSWORDI\0\0\0\1"), SASL_REFUSED, B(""), B("")},
    {"AMQPLAIN", B("\005LOGINt\1\010PASSWORDS\0\0\0\1p"), SASL_REFUSED, B(""), B("")},

    {"", B("\0guest\0secret"), SASL_NO_MECHANISM, B(""), B("")},
    {"plain", B("\0guest\0secret"), SASL_NO_MECHANISM, B(""), B("")},
    {"PLAINX", B("\0guest\0secret"), SASL_NO_MECHANISM, B(""), B("")},
    {"EXTERNAL", B(""), SASL_NO_MECHANISM, B(""), B("")},
    {"ANONYMOUS", B(""), SASL_NO_MECHANISM, B(""), B("")},
};

START_TEST(test_parse)
{
    struct sasl_credentials credentials;
    uint8_t *response = exact_bytes(cases[_i].response);
    enum sasl_result result = sasl_parse(slice_str(cases[_i].mechanism),
                                         slice_of(response, cases[_i].response.n), &credentials);

    ck_assert_int_eq(result, cases[_i].result);
    if (result == SASL_OK) {
        ck_assert_slice_eq(credentials.user, cases[_i].user);
        ck_assert_slice_eq(credentials.password, cases[_i].password);
    }
    free(response);
}
END_TEST

START_TEST(test_no_response)
{
    struct sasl_credentials credentials;

    ck_assert_int_eq(sasl_parse(slice_str("PLAIN"), slice_of(NULL, 0), &credentials),
                     SASL_MALFORMED);
    ck_assert_int_eq(sasl_parse(slice_str("AMQPLAIN"), slice_of(NULL, 0), &credentials),
                     SASL_MALFORMED);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("sasl");
    TCase *tc = tcase_create("sasl");

    tcase_add_loop_test(tc, test_parse, 0, sizeof cases / sizeof *cases);
    tcase_add_test(tc, test_no_response);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
