#include "broker/main/offline_json.h"

#include <math.h>

#include "protocol/table.h"
#include "tests/unit/check_util.h"

/* --- tables --- */

struct made {
    uint8_t bytes[4096];
    struct writer w;
};

static void
begin(struct made *m)
{
    m->w = writer_init(m->bytes, sizeof m->bytes);
}

static void
add(struct made *m, const char *key, struct amqp_value v)
{
    amqp_write_key(&m->w, slice_str(key));
    amqp_write_value(&m->w, &v);
}

static void
check(const struct made *m, const char *wanted)
{
    struct slice table = slice_of(m->bytes, (size_t)(m->w.p - m->bytes));

    ck_assert(!m->w.bad);
    ck_assert(amqp_table_check(table));
    json_t *j = json_of_table(table);
    char *text = json_dumps(j, JSON_COMPACT);
    ck_assert_str_eq(text, wanted);
    free(text);
    json_decref(j);
}

static void
check_string(struct slice s, const char *wanted)
{
    json_t *j = json_of_string(s);
    char *text = json_dumps(j, JSON_COMPACT | JSON_ENCODE_ANY);

    ck_assert_str_eq(text, wanted);
    free(text);
    json_decref(j);
}

START_TEST(test_strings)
{
    check_string(slice_of(NULL, 0), "\"\"");
    check_string(slice_str("k\xc3\xa4se \"\\\n"), "\"k\xc3\xa4se \\\"\\\\\\n\"");
    check_string(BYTES("a\0b"), "\"a\\u0000b\"");
    check_string(BYTES("\xff"), "\"Not UTF-8, base64 is: /w==\"");
    check_string(BYTES("\xff\x00"), "\"Not UTF-8, base64 is: /wA=\"");
    check_string(BYTES("\xff\xee\xdd"), "\"Not UTF-8, base64 is: /+7d\"");
    check_string(BYTES("\xff\xee\xdd\x01"), "\"Not UTF-8, base64 is: /+7dAQ==\"");
}
END_TEST

START_TEST(test_numbers)
{
    struct made m;

    begin(&m);
    add(&m, "b", (struct amqp_value){.tag = AMQP_TAG_INT8, .i = -128});
    add(&m, "B", (struct amqp_value){.tag = AMQP_TAG_UINT8, .i = 255});
    add(&m, "l", (struct amqp_value){.tag = AMQP_TAG_INT64, .i = INT64_MIN});
    add(&m, "i", (struct amqp_value){.tag = AMQP_TAG_UINT32, .i = UINT32_MAX});
    add(&m, "d", (struct amqp_value){.tag = AMQP_TAG_DOUBLE, .f = -0.25});
    add(&m, "f", (struct amqp_value){.tag = AMQP_TAG_FLOAT, .f = 1.5});
    add(&m, "D", (struct amqp_value){.tag = AMQP_TAG_DECIMAL, .decimal = {2, 1250}});
    add(&m, "t", (struct amqp_value){.tag = AMQP_TAG_BOOL, .boolean = true});
    add(&m, "T", (struct amqp_value){.tag = AMQP_TAG_TIMESTAMP, .time = 1700000000});
    check(&m, "{\"b\":-128,\"B\":255,\"l\":-9223372036854775808,\"i\":4294967295,\"d\":-0.25,"
              "\"f\":1.5,\"D\":12.5,\"t\":true,\"T\":1700000000}");
}
END_TEST

/* What JSON has no numbers for. */
START_TEST(test_odd_numbers)
{
    struct made m;

    begin(&m);
    add(&m, "nan", (struct amqp_value){.tag = AMQP_TAG_DOUBLE, .f = NAN});
    add(&m, "inf", (struct amqp_value){.tag = AMQP_TAG_DOUBLE, .f = -INFINITY});
    add(&m, "void", (struct amqp_value){.tag = AMQP_TAG_VOID});
    add(&m, "large", (struct amqp_value){.tag = AMQP_TAG_TIMESTAMP, .time = UINT64_C(1) << 63});
    check(&m, "{\"nan\":null,\"inf\":null,\"void\":null,\"large\":9.2233720368547758e18}");
}
END_TEST

START_TEST(test_keys)
{
    struct made m;

    begin(&m);
    add(&m, "same", (struct amqp_value){.tag = AMQP_TAG_INT32, .i = 1});
    add(&m, "same", (struct amqp_value){.tag = AMQP_TAG_INT32, .i = 2});
    add(&m, "", (struct amqp_value){.tag = AMQP_TAG_INT32, .i = 3});
    add(&m, "\xff", (struct amqp_value){.tag = AMQP_TAG_INT32, .i = 4});
    amqp_write_key(&m.w, BYTES("a\0b"));
    amqp_write_value(&m.w, &(struct amqp_value){.tag = AMQP_TAG_INT32, .i = 5});
    check(&m, "{\"same\":1,\"\":3,\"Not UTF-8, base64 is: /w==\":4,\"a\\u0000b\":5}");
}
END_TEST

START_TEST(test_nested)
{
    static const uint8_t array[] = {'I', 0, 0, 0, 7, 'A', 0, 0, 0, 1, 'V', 'S', 0, 0, 0, 1, 'x'};
    static const uint8_t table[] = {1, 'k', 't', 0};
    struct made m;

    begin(&m);
    add(&m, "empty", (struct amqp_value){.tag = AMQP_TAG_TABLE, .s = slice_of(NULL, 0)});
    add(&m, "table",
        (struct amqp_value){.tag = AMQP_TAG_TABLE, .s = slice_of(table, sizeof table)});
    add(&m, "array",
        (struct amqp_value){.tag = AMQP_TAG_ARRAY, .s = slice_of(array, sizeof array)});
    check(&m, "{\"empty\":{},\"table\":{\"k\":false},\"array\":[7,[null],\"x\"]}");
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("offline_json");
    TCase *tc = tcase_create("json");

    tcase_add_test(tc, test_strings);
    tcase_add_test(tc, test_numbers);
    tcase_add_test(tc, test_odd_numbers);
    tcase_add_test(tc, test_keys);
    tcase_add_test(tc, test_nested);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
