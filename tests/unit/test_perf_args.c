#include "perf/args.h"

#include "protocol/table.h"
#include "tests/unit/check_util.h"

static const struct {
    const char *text, *user, *password, *host, *port, *vhost; /* user NULL: refused */
} uris[] = {
    {"amqp://", "guest", "guest", "localhost", "5672", "/"},
    {"amqp://h", "guest", "guest", "h", "5672", "/"},
    {"amqp://h/", "guest", "guest", "h", "5672", "/"},
    {"amqp://h:1/%2F", "guest", "guest", "h", "1", "/"},
    {"amqp://u:p@h:65535/v%20w%2f", "u", "p", "h", "65535", "v w/"},
    {"amqp://u%40x:p%3A@h", "u@x", "p:", "h", "5672", "/"},
    {"amqp://u@[::1]:99/x", "u", "guest", "::1", "99", "x"},
    {"amqp://[::1]", "guest", "guest", "::1", "5672", "/"},
    {"http://h", NULL, NULL, NULL, NULL, NULL},
    {"amqp://h:0", NULL, NULL, NULL, NULL, NULL},
    {"amqp://h:65536", NULL, NULL, NULL, NULL, NULL},
    {"amqp://h/%", NULL, NULL, NULL, NULL, NULL},
    {"amqp://h/%2", NULL, NULL, NULL, NULL, NULL},
    {"amqp://h/%zz", NULL, NULL, NULL, NULL, NULL},
    {"amqp://h/%00", NULL, NULL, NULL, NULL, NULL},
    {"amqp://[::1", NULL, NULL, NULL, NULL, NULL},
    {"amqp://[::1]x", NULL, NULL, NULL, NULL, NULL},
};

START_TEST(uri)
{
    struct perf_uri got;
    bool ok = uri_parse(uris[_i].text, &got);

    ck_assert_msg(ok == (uris[_i].user != NULL), "%s", uris[_i].text);
    if (!ok)
        return;
    ck_assert_str_eq(got.user, uris[_i].user);
    ck_assert_str_eq(got.password, uris[_i].password);
    ck_assert_str_eq(got.host, uris[_i].host);
    ck_assert_str_eq(got.port, uris[_i].port);
    ck_assert_str_eq(got.vhost, uris[_i].vhost);
    uri_free(&got);
}
END_TEST

static const struct {
    const char *pattern;
    uint64_t n;
    const char *expanded; /* NULL: refused */
} patterns[] = {
    {"perf-%d", 7, "perf-7"}, {"%03d.x", 42, "042.x"},
    {"a%02d", 1234, "a1234"}, {"%d", UINT32_MAX, "4294967295"},
    {"plain", 1, NULL},       {"%s", 1, NULL},
    {"%d%d", 1, NULL},        {"%d%n", 1, NULL},
    {"%", 1, NULL},           {"%0d", 1, NULL},
    {"%99d", 1, NULL},
};

START_TEST(pattern)
{
    char *got = pattern_expand(patterns[_i].pattern, patterns[_i].n);

    if (patterns[_i].expanded == NULL)
        ck_assert_ptr_null(got);
    else
        ck_assert_str_eq(got, patterns[_i].expanded);
    free(got);
}
END_TEST

START_TEST(numbers)
{
    uint64_t n = 0;
    double x = 0;

    ck_assert(number_parse("10", 1, 10, &n) && n == 10);
    ck_assert(number_parse("18446744073709551615", 0, UINT64_MAX, &n) && n == UINT64_MAX);
    ck_assert(!number_parse("18446744073709551616", 0, UINT64_MAX, &n));
    ck_assert(!number_parse("11", 1, 10, &n));
    ck_assert(!number_parse("0", 1, 10, &n));
    ck_assert(!number_parse("-1", 0, UINT64_MAX, &n));
    ck_assert(!number_parse("1x", 0, 10, &n));
    ck_assert(!number_parse("", 0, 10, &n));
    ck_assert(real_parse("0.25", &x) && x > 0.24 && x < 0.26);
    ck_assert(!real_parse("-1", &x));
    ck_assert(!real_parse("nan", &x));
    ck_assert(!real_parse("1e999", &x));
    ck_assert(!real_parse("1s", &x));
}
END_TEST

START_TEST(tables)
{
    struct bytes table = {0};
    struct amqp_value v;

    ck_assert(table_parse("x-max-length=10,x-mode=lazy,x-on=true", &table));
    ck_assert(table_parse("n=-5,text=1a,empty=", &table));
    struct slice s = bytes_slice(&table);
    ck_assert(amqp_table_check(s));
    ck_assert(amqp_table_get(s, "x-max-length", &v) && v.tag == AMQP_TAG_INT64 && v.i == 10);
    ck_assert(amqp_table_get(s, "x-mode", &v) && v.tag == AMQP_TAG_LONGSTR &&
              slice_is(v.s, "lazy"));
    ck_assert(amqp_table_get(s, "x-on", &v) && v.tag == AMQP_TAG_BOOL && v.boolean);
    ck_assert(amqp_table_get(s, "n", &v) && v.tag == AMQP_TAG_INT64 && v.i == -5);
    ck_assert(amqp_table_get(s, "text", &v) && v.tag == AMQP_TAG_LONGSTR && slice_is(v.s, "1a"));
    ck_assert(amqp_table_get(s, "empty", &v) && v.tag == AMQP_TAG_LONGSTR && v.s.n == 0);
    ck_assert(!table_parse("novalue", &table));
    ck_assert(!table_parse("=x", &table));
    ck_assert(!table_parse("", &table));
    bytes_free(&table);
}
END_TEST

START_TEST(properties)
{
    struct amqp_props props = {0};
    struct bytes headers = {0};
    struct amqp_value v;

    ck_assert(
        props_parse("priority=5,contentType=text/plain,delivery_mode=2,x-id=7", &props, &headers));
    ck_assert_uint_eq(props.flags,
                      AMQP_PROP(priority) | AMQP_PROP(content_type) | AMQP_PROP(delivery_mode));
    ck_assert_uint_eq(props.priority, 5);
    ck_assert_uint_eq(props.delivery_mode, 2);
    ck_assert(slice_is(props.content_type, "text/plain"));
    ck_assert(amqp_table_get(bytes_slice(&headers), "x-id", &v) && v.i == 7);
    ck_assert(!props_parse("priority=256", &props, &headers));
    ck_assert(!props_parse("timestamp=soon", &props, &headers));
    ck_assert(!props_parse("headers=x", &props, &headers));
    bytes_free(&headers);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("perf/args");
    TCase *t = tcase_create("args");

    tcase_add_loop_test(t, uri, 0, sizeof uris / sizeof *uris);
    tcase_add_loop_test(t, pattern, 0, sizeof patterns / sizeof *patterns);
    tcase_add_test(t, numbers);
    tcase_add_test(t, tables);
    tcase_add_test(t, properties);
    suite_add_tcase(s, t);
    return run_suite(s);
}
