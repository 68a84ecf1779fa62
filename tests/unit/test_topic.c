/*
 * The trie of topic exchanges from inside: its nodes, and matching against a naive matcher. The
 * file is included because nothing outside of it may know its nodes.
 */
#include "broker/core/exchange_topic.c"

#include <stdio.h>

#include "base/log.h"
#include "broker/core/queue.h"
#include "broker/core/vhost.h"
#include "tests/unit/client.h"
#include "tests/unit/method_args.h"

static struct fake fake;
static struct vhost *v;
static struct exchange *x;

static void
setup(void)
{
    log_set_level(LOG_NONE);
    fake_init(&fake);
    v = fake_vhost(&fake);
    x = vhost_find_exchange(v, S("amq.topic"));
}

static void
teardown(void)
{
    fake_fini(&fake);
}

static struct queue *
new_queue(const char *name)
{
    return queue_new(v, S(name), false, false, NULL, slice_of(NULL, 0), 0);
}

static void
bind(struct queue *q, const char *pattern)
{
    struct amqp_error err;
    ck_assert(
        exchange_bind(x, (struct destination){.queue = q}, S(pattern), slice_of(NULL, 0), &err));
}

static void
unbind(struct queue *q, const char *pattern)
{
    exchange_unbind(x, (struct destination){.queue = q}, S(pattern), slice_of(NULL, 0));
}

static struct route *
route(struct slice key)
{
    return exchange_route(x, NULL, &key, 1);
}

static bool
reaches(const char *key, const struct queue *q)
{
    struct route *r = route(S(key));

    for (size_t i = 0; i < r->n; i++) {
        if (r->queues[i] == q)
            return true;
    }
    return false;
}

/* --- what a pattern matches, as the specification says it --- */

struct word_list {
    struct slice words[300];
    size_t n;
};

static void
split(struct word_list *list, struct slice key)
{
    size_t start = 0;

    list->n = 0;
    if (key.n == 0)
        return;
    for (size_t i = 0; i <= key.n; i++) {
        if (i == key.n || key.p[i] == '.') {
            list->words[list->n++] = slice_of(key.p + start, i - start);
            start = i + 1;
        }
    }
}

static bool
naive(const struct slice *pattern, size_t n_pattern, const struct slice *key, size_t n_key)
{
    if (n_pattern == 0)
        return n_key == 0;
    if (slice_is(pattern[0], "#")) {
        for (size_t skip = 0; skip <= n_key; skip++) {
            if (naive(pattern + 1, n_pattern - 1, key + skip, n_key - skip))
                return true;
        }
        return false;
    }
    return n_key != 0 && (slice_is(pattern[0], "*") || slice_eq(pattern[0], key[0])) &&
           naive(pattern + 1, n_pattern - 1, key + 1, n_key - 1);
}

static bool
naive_match(const char *pattern, const char *key)
{
    static struct word_list a, b;

    split(&a, S(pattern));
    split(&b, S(key));
    return naive(a.words, a.n, b.words, b.n);
}

/* --- the table that was probed --- */

static const struct {
    const char *pattern;
    const char *yes[8], *no[8];
} probed[] = {
    {"*", {"a", "#", "*"}, {"", "a.", "a.b", ".", ".."}},
    {"a.*", {"a.", "a.b", "a.*"}, {"a", "", "a.b.c", "a.."}},
    {"a.#", {"a", "a.", "a..b", "a.b.c"}, {"", "b", "b.a"}},
    {"#.a", {"a", ".a", "b.c.a"}, {"", "a.b", "a."}},
    {"a.*.b", {"a..b", "a.x.b"}, {"a.b", "a.x.y.b"}},
    {"*.#", {"a", ".", "a.b", "..", "a."}, {""}},
    {"#.*", {"a", ".", "a.b", "..", "a."}, {""}},
    {"#", {"", "a", ".", "a.b.c"}, {NULL}},
    {"#.#", {"", "a", ".", "a.b.c"}, {NULL}},
    {"", {""}, {"a", ".", "#", "*"}},
    {".", {"."}, {"", "a", "..", "a."}},
    {"a*", {"a*"}, {"a", "ab", "a.b"}},
    {"**", {"**"}, {"a", "a.b", "*"}},
    {"a.##", {"a.##"}, {"a", "a.b"}},
    {"#.b.#", {"b", "a.b", "b.c", "a.b.c"}, {"", "a", "a.c"}},
    {"*.*.#.c", {"a.b.c", "a.b.x.y.c"}, {"a.c", "c", "b.c"}},
    {"#.a.#.b.#", {"a.b", "x.a.y.b.z", "a.a.b.b"}, {"b.a", "a", ""}},
};

START_TEST(test_probed)
{
    struct queue *q = new_queue("q");

    bind(q, probed[_i].pattern);
    for (size_t i = 0; i < 8 && probed[_i].yes[i] != NULL; i++) {
        ck_assert_msg(reaches(probed[_i].yes[i], q), "'%s'", probed[_i].yes[i]);
        ck_assert(naive_match(probed[_i].pattern, probed[_i].yes[i]));
    }
    for (size_t i = 0; i < 8 && probed[_i].no[i] != NULL; i++) {
        ck_assert_msg(!reaches(probed[_i].no[i], q), "'%s'", probed[_i].no[i]);
        ck_assert(!naive_match(probed[_i].pattern, probed[_i].no[i]));
    }
}
END_TEST

/* --- random patterns and keys against the naive matcher --- */

enum { PATTERNS = 400, KEYS = 400, KEY_SIZE = 64 };

/* Up to `max` words of an alphabet so small that matches are frequent. */
static void
random_key(struct prng *g, char *key, unsigned max, bool wild)
{
    static const char *const words[] = {"a", "b", "", "ab", "a", "b", "*", "#", "#", "*"};
    unsigned n = (unsigned)prng_below(g, max + 1);

    *key = '\0';
    for (unsigned i = 0; i < n; i++) {
        if (i != 0)
            strcat(key, ".");
        strcat(key, words[prng_below(g, wild || prng_below(g, 20) == 0 ? 10 : 6)]);
    }
}

static char patterns[PATTERNS][KEY_SIZE];
static struct queue *queues[PATTERNS];
static bool bound[PATTERNS];

static void
check_key(const char *key)
{
    struct route *r = route(S(key));
    size_t n = 0;

    for (size_t i = 0; i < PATTERNS; i++) {
        bool reached = queues[i]->reached == r->epoch;
        n += reached;
        if (reached != (bound[i] && naive_match(patterns[i], key)))
            ck_abort_msg("pattern '%s', key '%s': %s", patterns[i], key,
                         reached ? "must not match" : "must match");
    }
    ck_assert_uint_eq(r->n, n);
}

START_TEST(test_random)
{
    struct prng g = {.state = (uint64_t)_i + 7};
    char key[KEY_SIZE];

    for (size_t i = 0; i < PATTERNS; i++) {
        snprintf(key, sizeof key, "q%zu", i);
        queues[i] = new_queue(key);
        random_key(&g, patterns[i], 6, true);
        bind(queues[i], patterns[i]);
        bound[i] = true;
    }
    for (unsigned i = 0; i < KEYS; i++) {
        random_key(&g, key, 8, false);
        check_key(key);
        /* The trie changes while it is in use. */
        size_t j = prng_below(&g, PATTERNS);
        if (bound[j])
            unbind(queues[j], patterns[j]);
        else
            bind(queues[j], patterns[j]);
        bound[j] = !bound[j];
    }
}
END_TEST

/* --- the trie --- */

static size_t
count_nodes(void)
{
    const struct topic *t = x->table;
    return t->n_nodes;
}

START_TEST(test_pruning)
{
    static const char *const keys[] = {"",    "a", "a.b", "a.b.c", "a.*.c",
                                       "a.#", "#", "*",   "a..",   "#.#.b"};
    struct queue *q = new_queue("q");
    const struct topic *t;

    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        bind(q, keys[i]);
    /* root; a, a.b, a.b.c; a.*, a.*.c; a.#; #; *; a., a..; #.#, #.#.b */
    ck_assert_uint_eq(count_nodes(), 13);
    bind(q, "a.b");
    ck_assert_uint_eq(count_nodes(), 13);
    unbind(q, "a.b");
    ck_assert_uint_eq(count_nodes(), 13);
    unbind(q, "a.b.c");
    ck_assert_uint_eq(count_nodes(), 11);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        unbind(q, keys[i]);
    t = x->table;
    ck_assert_uint_eq(count_nodes(), 1);
    ck_assert_uint_eq(t->n_edges, 0);
    ck_assert_uint_eq(t->root.n_children, 0);
}
END_TEST

START_TEST(test_pruning_random)
{
    struct prng g = {.state = 99};
    struct queue *q = new_queue("q");
    const struct topic *t;

    memset(bound, 0, sizeof bound);
    for (size_t i = 0; i < PATTERNS; i++)
        snprintf(patterns[i], KEY_SIZE, "%d.%d.%s.%zu", (int)prng_below(&g, 5),
                 (int)prng_below(&g, 9), prng_below(&g, 2) != 0 ? "#" : "x", i);
    for (unsigned step = 0; step < 4000; step++) {
        size_t i = prng_below(&g, PATTERNS);
        if (bound[i])
            unbind(q, patterns[i]);
        else
            bind(q, patterns[i]);
        bound[i] = !bound[i];
    }
    for (size_t i = 0; i < PATTERNS; i++) {
        if (bound[i])
            unbind(q, patterns[i]);
    }
    t = x->table;
    ck_assert_uint_eq(count_nodes(), 1);
    ck_assert_uint_eq(t->n_edges, 0);
    for (size_t i = 0; i < t->cap_edges; i++)
        ck_assert_ptr_null(t->edges[i].child);
}
END_TEST

/* A deleted queue takes its bindings along. */
START_TEST(test_queue_deletion_prunes)
{
    struct queue *q = new_queue("q"), *other = new_queue("other");

    bind(q, "a.b.c.d");
    bind(other, "a.b");
    queue_delete(q);
    ck_assert_uint_eq(count_nodes(), 3);
    ck_assert(reaches("a.b", other));
}
END_TEST

/* Work is bounded by words x nodes: a matcher that goes back would not finish this in a lifetime.
 */
START_TEST(test_many_hashes)
{
    char pattern[256] = "", key[256] = "";
    struct queue *q = new_queue("q");

    for (unsigned i = 0; i < 60; i++)
        strcat(pattern, i == 0 ? "#" : ".#");
    strcat(pattern, ".b");
    for (unsigned i = 0; i < 127; i++)
        strcat(key, i == 0 ? "a" : ".a");
    bind(q, pattern);
    ck_assert(!reaches(key, q));
    key[strlen(key) - 1] = 'b';
    ck_assert(reaches(key, q));

    /* Words between them must still be found, in their number: 63 pairs end in "b", 64 are not
     * there. */
    struct queue *words = new_queue("words");
    pattern[0] = '\0';
    for (unsigned i = 0; i < 63; i++)
        strcat(pattern, "#.a.");
    bind(words, strcat(pattern, "b"));
    ck_assert(reaches(key, words));
    key[0] = 'b';
    ck_assert(reaches(key, words));
    memset(key, 'b', 127);
    ck_assert(!reaches(key, words));
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("topic");
    TCase *tc = tcase_create("topic");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, test_probed, 0, sizeof probed / sizeof *probed);
    tcase_add_loop_test(tc, test_random, 0, 5);
    tcase_add_test(tc, test_pruning);
    tcase_add_test(tc, test_pruning_random);
    tcase_add_test(tc, test_queue_deletion_prunes);
    tcase_add_test(tc, test_many_hashes);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
