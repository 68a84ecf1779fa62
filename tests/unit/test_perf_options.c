#include "perf/options.h"

#include "perf/options.def"
#include "perf/routing.h"
#include "tests/unit/check_util.h"

static struct perf_options options;

static bool
parse(const char *command_line)
{
    static char words[256];
    char *argv[32];
    int argc = 0;

    ck_assert_uint_lt(strlen(command_line), sizeof words);
    strcpy(words, command_line);
    for (char *word = strtok(words, " "); word != NULL; word = strtok(NULL, " "))
        argv[argc++] = word;
    argv[argc] = NULL;
    return options_parse(&options, argc, argv);
}

static void
teardown(void)
{
    options_free(&options);
}

START_TEST(defaults)
{
    ck_assert(parse("coney-perf"));
    ck_assert_uint_eq(options.producers, 1);
    ck_assert_uint_eq(options.consumers, 1);
    ck_assert_str_eq(options.exchange, "");
    ck_assert_str_eq(options.queue, "perf-test");
    ck_assert_str_eq(options.uri.vhost, "/");
    ck_assert(options.auto_delete && !options.autoack);
}
END_TEST

START_TEST(names)
{
    ck_assert(parse("coney-perf -x 2 --consumers=3 -qp q-%d -qpt 4 -ad false -f persistent -f "
                    "mandatory -mp priority=1 "
                    "-h amqp://u:p@h/v -t fanout -z 0.5"));
    ck_assert_uint_eq(options.producers, 2);
    ck_assert_uint_eq(options.consumers, 3);
    ck_assert_str_eq(options.queue_pattern, "q-%d");
    ck_assert_uint_eq(options.queue_to, 4);
    ck_assert(!options.auto_delete);
    ck_assert(options.flags.mandatory);
    ck_assert_uint_eq(options.props.delivery_mode, 2);
    ck_assert_uint_eq(options.props.priority, 1);
    ck_assert_str_eq(options.uri.host, "h");
    ck_assert_str_eq(options.exchange, "fanout");
}
END_TEST

static const char *const refused[] = {
    "coney-perf -Z",
    "coney-perf nonsense",
    "coney-perf --nonsense=1",
    "coney-perf -",
    "coney-perf --",
    "coney-perf -x",
    "coney-perf -x many",
    "coney-perf -x 65536",
    "coney-perf -x 0 -y 0",
    "coney-perf --autoack=1",
    "coney-perf -f durable",
    "coney-perf -ad maybe",
    "coney-perf -qp perf",
    "coney-perf -qp perf-%d -qpf 2 -qpt 1",
    "coney-perf -a -A 10",
    "coney-perf -q 10 -A 20",
    "coney-perf -k a -K",
    "coney-perf --verify -s 12",
    "coney-perf --topic-bindings 10",
};

START_TEST(refusals)
{
    ck_assert_msg(!parse(refused[_i]), "%s", refused[_i]);
}
END_TEST

/* How many queues get each message: what the end of a run waits for. */
static const struct {
    const char *command_line;
    unsigned copies;
} reaches[] = {
    {"coney-perf", 1},
    {"coney-perf -qp q-%d -qpt 5", 1},
    {"coney-perf -t fanout -qp q-%d -qpt 5", 5},
    {"coney-perf -t direct -qp q-%d -qpt 5", 1},
    {"coney-perf -t topic -qp q-%d -qpt 5 -k a.b", 5},
    {"coney-perf -t headers", 0},
    {"coney-perf -t topic -K", 0},
    {"coney-perf -k elsewhere", 0},
    {"coney-perf -e there -p", 0},
};

START_TEST(copies)
{
    ck_assert(parse(reaches[_i].command_line));
    struct routing *routing = routing_new(&options);
    ck_assert_msg(routing->copies == reaches[_i].copies, "%s: %u", reaches[_i].command_line,
                  routing->copies);
    routing_free(&routing);
}
END_TEST

/* The patterns are different, some of each kind, and none ends like the keys they must not match.
 */
START_TEST(patterns)
{
    unsigned stars = 0, hashes = 0;

    for (unsigned i = 0; i < 1000; i++) {
        char *topic = routing_topic_pattern("topic", i),
             *direct = routing_topic_pattern("direct", i);
        stars += strchr(topic, '*') != NULL;
        hashes += strchr(topic, '#') != NULL;
        ck_assert_ptr_null(strpbrk(direct, "*#"));
        ck_assert_ptr_null(strstr(topic, "quote"));
        const char *last = strrchr(topic, '.') + 1;
        ck_assert_msg(strpbrk(last, "*#") == NULL, "%s", topic);
        free(topic);
        free(direct);
    }
    ck_assert_uint_eq(stars, 250);
    ck_assert_uint_eq(hashes, 100);
}
END_TEST

static const char *const long_names[] = {
#define OPT(s, l, arg, kind, field, lo, hi, help) l,
    PERF_OPTIONS(OPT)
#undef OPT
};

/* The manual describes every option. */
START_TEST(manual)
{
    static char text[65536];
    const char *srcdir = getenv("srcdir");
    char *path = mem_printf("%s/man/coney-perf.1", srcdir != NULL ? srcdir : ".");
    char *name = mem_printf("Fl -%s", long_names[_i]);
    FILE *file = fopen(path, "r");
    bool found = false;

    ck_assert_msg(file != NULL, "%s", path);
    size_t n = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[n] = '\0';
    for (const char *at = strstr(text, name); at != NULL; at = strstr(at + 1, name))
        found |= at[strlen(name)] == '\n' || at[strlen(name)] == ' ';
    ck_assert_msg(found, "%s is not in %s", name, path);
    free(name);
    free(path);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("perf/options");
    TCase *t = tcase_create("options");

    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, defaults);
    tcase_add_test(t, names);
    tcase_add_loop_test(t, refusals, 0, sizeof refused / sizeof *refused);
    tcase_add_loop_test(t, copies, 0, sizeof reaches / sizeof *reaches);
    tcase_add_test(t, patterns);
    tcase_add_loop_test(t, manual, 0, sizeof long_names / sizeof *long_names);
    suite_add_tcase(s, t);
    return run_suite(s);
}
