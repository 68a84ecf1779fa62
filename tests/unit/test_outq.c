#include "broker/core/outq.h"

#include "broker/core/message.h"
#include "tests/unit/check_util.h"
#include "tests/unit/method_args.h"

static struct message *
message_of(size_t n)
{
    struct message *m = message_new(slice_of("\1x\1k", 4), slice_of("\0\0", 2), n);

    ck_assert_ptr_nonnull(m);
    for (size_t i = 0; i < n; i++)
        message_body(m)[i] = (uint8_t)i;
    return m;
}

static void
put(struct outq *q, const char *text)
{
    memcpy(outq_extend(q, strlen(text)), text, strlen(text));
}

START_TEST(test_empty_owns_nothing)
{
    struct outq q = {0};
    struct iovec iov[4];

    ck_assert_int_eq(outq_peek(&q, iov, 4), 0);
    put(&q, "hello");
    ck_assert_uint_eq(q.bytes, 5);
    outq_drop(&q, 5);
    ck_assert_uint_eq(q.bytes, 0);
    ck_assert_ptr_null(q.head);
    ck_assert_ptr_null(q.tail);
    outq_clear(&q);
}
END_TEST

START_TEST(test_small_things_share_a_piece)
{
    struct outq q = {0};
    struct iovec iov[4];

    put(&q, "one ");
    put(&q, "two ");
    put(&q, "three");
    ck_assert_int_eq(outq_peek(&q, iov, 4), 1);
    ck_assert_slice_eq(slice_of(iov[0].iov_base, iov[0].iov_len), slice_str("one two three"));
    outq_drop(&q, 4);
    ck_assert_int_eq(outq_peek(&q, iov, 4), 1);
    ck_assert_slice_eq(slice_of(iov[0].iov_base, iov[0].iov_len), slice_str("two three"));
    put(&q, "!");
    ck_assert_int_eq(outq_peek(&q, iov, 4), 1);
    ck_assert_slice_eq(slice_of(iov[0].iov_base, iov[0].iov_len), slice_str("two three!"));
    outq_clear(&q);
}
END_TEST

/* A body is not copied, and lives as long as it is waiting. */
START_TEST(test_refer)
{
    struct outq q = {0};
    struct iovec iov[4];
    struct message *m = message_of(10000);
    const uint8_t *body = message_body(m);

    put(&q, "head");
    outq_refer(&q, m, slice_of(body, 10000));
    put(&q, "end");
    message_unref(m);
    ck_assert_uint_eq(q.bytes, 10007);
    ck_assert_int_eq(outq_peek(&q, iov, 4), 3);
    ck_assert_ptr_eq(iov[1].iov_base, body);
    ck_assert_uint_eq(iov[1].iov_len, 10000);
    ck_assert_int_eq(outq_peek(&q, iov, 2), 2);
    outq_drop(&q, 4 + 9999);
    ck_assert_int_eq(outq_peek(&q, iov, 4), 2);
    ck_assert_ptr_eq(iov[0].iov_base, body + 9999);
    ck_assert_uint_eq(iov[0].iov_len, 1);
    outq_drop(&q, 1);
    ck_assert_int_eq(outq_peek(&q, iov, 4), 1);
    ck_assert_slice_eq(slice_of(iov[0].iov_base, iov[0].iov_len), slice_str("end"));
    outq_clear(&q);
    ck_assert_uint_eq(q.bytes, 0);
}
END_TEST

START_TEST(test_clear_gives_references_back)
{
    struct outq q = {0};
    struct message *m = message_of(5000);

    outq_refer(&q, m, slice_of(message_body(m), 5000));
    outq_refer(&q, m, slice_of(message_body(m), 100));
    ck_assert_uint_eq(m->refs, 3);
    outq_clear(&q);
    ck_assert_uint_eq(m->refs, 1);
    message_unref(m);
}
END_TEST

/* --- against one long buffer --- */

enum { LENGTH = 3000000 };

struct model {
    struct outq q;
    uint8_t *wanted;
    size_t n, dropped;
};

static void
model_append(struct model *m, struct prng *g)
{
    size_t kind = prng_below(g, 8), n = 1 + prng_below(g, kind == 0 ? 100000 : 300);

    if (m->n + n > LENGTH)
        return;
    if (kind == 1) {
        struct message *message = message_of(n + 10);
        size_t from = prng_below(g, 10);
        outq_refer(&m->q, message, slice_of(message_body(message) + from, n));
        memcpy(m->wanted + m->n, message_body(message) + from, n);
        message_unref(message);
    } else {
        uint8_t *p = outq_extend(&m->q, n);
        memset(p, (int)prng_below(g, 256), n);
        memcpy(m->wanted + m->n, p, n);
    }
    m->n += n;
}

/* Some of what is waiting is written, often in the middle of a piece. */
static void
model_write(struct model *m, struct prng *g)
{
    struct iovec iov[5];
    int pieces = outq_peek(&m->q, iov, 5);
    size_t limit = prng_below(g, 2) != 0 ? prng_below(g, 100) : prng_below(g, 200000), n = 0;

    for (int i = 0; i < pieces && n < limit; i++) {
        size_t k = iov[i].iov_len < limit - n ? iov[i].iov_len : limit - n;
        ck_assert_mem_eq(iov[i].iov_base, m->wanted + m->dropped + n, k);
        n += k;
    }
    outq_drop(&m->q, n);
    m->dropped += n;
}

START_TEST(test_model)
{
    struct prng g = {.state = (uint64_t)_i + 1};
    struct model m = {.wanted = malloc(LENGTH)};

    ck_assert_ptr_nonnull(m.wanted);
    for (unsigned step = 0; step < 4000; step++) {
        if (prng_below(&g, 3) == 0)
            model_write(&m, &g);
        else
            model_append(&m, &g);
        ck_assert_uint_eq(m.q.bytes, m.n - m.dropped);
    }
    while (m.q.bytes != 0)
        model_write(&m, &g);
    ck_assert_uint_eq(m.n, m.dropped);
    ck_assert_ptr_null(m.q.head);
    free(m.wanted);
    message_trim();
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("outq");
    TCase *tc = tcase_create("outq");

    tcase_add_test(tc, test_empty_owns_nothing);
    tcase_add_test(tc, test_small_things_share_a_piece);
    tcase_add_test(tc, test_refer);
    tcase_add_test(tc, test_clear_gives_references_back);
    tcase_add_loop_test(tc, test_model, 0, 3);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
