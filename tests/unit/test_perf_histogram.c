#include "perf/histogram.h"

#include "tests/unit/check_util.h"

/* Every value comes back within 0.4 %, and buckets follow each other without a gap. */
START_TEST(precision)
{
    unsigned last = 0;

    for (uint64_t value = 0; value < (uint64_t)1 << HISTOGRAM_MAX_BITS; value += 1 + value / 1000) {
        unsigned bucket = histogram_bucket(value);
        uint64_t back = histogram_value(bucket);
        uint64_t off = back > value ? back - value : value - back;
        ck_assert_uint_lt(bucket, HISTOGRAM_BUCKETS);
        ck_assert_uint_ge(bucket, last);
        ck_assert_uint_le(bucket, last + 1);
        ck_assert_msg(off * 250 <= value, "%llu came back as %llu", (unsigned long long)value,
                      (unsigned long long)back);
        last = bucket;
    }
    ck_assert_uint_eq(last, HISTOGRAM_BUCKETS - 2);
    ck_assert_uint_eq(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
}
END_TEST

START_TEST(percentiles)
{
    static struct histogram h, earlier;

    for (uint64_t value = 1; value <= 100; value++)
        histogram_record(&h, value, 10);
    struct percentiles p = histogram_percentiles(&h);
    ck_assert_uint_eq(p.count, 1000);
    ck_assert_uint_eq(p.min, 1);
    ck_assert_uint_eq(p.p50, 50);
    ck_assert_uint_eq(p.p75, 75);
    ck_assert_uint_eq(p.p95, 95);
    ck_assert_uint_eq(p.p99, 99);
    ck_assert_uint_eq(p.p999, 100);
    ck_assert_uint_eq(p.max, 100);
    ck_assert(p.mean > 50.4 && p.mean < 50.6);

    histogram_add(&earlier, &h);
    histogram_record(&h, 7, 3);
    histogram_subtract(&h, &earlier);
    p = histogram_percentiles(&h);
    ck_assert_uint_eq(p.count, 3);
    ck_assert_uint_eq(p.min, 7);
    ck_assert_uint_eq(p.p50, 7);
    ck_assert_uint_eq(p.max, 7);
}
END_TEST

START_TEST(empty)
{
    static struct histogram h;
    struct percentiles p = histogram_percentiles(&h);

    ck_assert_uint_eq(p.count, 0);
    ck_assert_uint_eq(p.p99, 0);
    ck_assert_uint_eq(p.max, 0);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("perf/histogram");
    TCase *t = tcase_create("histogram");

    tcase_add_test(t, precision);
    tcase_add_test(t, percentiles);
    tcase_add_test(t, empty);
    suite_add_tcase(s, t);
    return run_suite(s);
}
