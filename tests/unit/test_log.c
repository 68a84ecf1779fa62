#include "base/log.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/check_util.h"

/* --- what goes to stderr while a test runs --- */

static int saved_stderr, log_pipe;
static char line[4096];

static void
redirect(void)
{
    int fds[2];

    ck_assert_int_eq(pipe(fds), 0);
    saved_stderr = dup(STDERR_FILENO);
    ck_assert_int_eq(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
    close(fds[1]);
    log_pipe = fds[0];
}

static void
restore(void)
{
    log_set_level(LOG_INFO);
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    close(log_pipe);
}

/*
 * All that has been logged so far, terminated; puts stderr back, so that a failing assertion can be
 * read.
 */
static const char *
logged(void)
{
    dup2(saved_stderr, STDERR_FILENO);
    ssize_t n = read(log_pipe, line, sizeof line - 1);
    ck_assert_int_ge(n, 0);
    line[n] = '\0';
    return line;
}

/* The text behind "[info] ". */
static const char *
logged_text(void)
{
    const char *text = strstr(logged(), "] ");
    ck_assert_ptr_nonnull(text);
    return text + 2;
}

START_TEST(test_throttle)
{
    struct log_throttle t = {0};
    unsigned missed, passed = 0;

    for (unsigned i = 0; i < LOG_LINES_PER_SECOND + 70; i++) {
        passed += log_throttle_pass(&t, 100, &missed);
        ck_assert_uint_eq(missed, 0);
    }
    ck_assert_uint_eq(passed, LOG_LINES_PER_SECOND);
    ck_assert(log_throttle_pass(&t, 101, &missed));
    ck_assert_uint_eq(missed, 70);
    ck_assert(log_throttle_pass(&t, 101, &missed));
    ck_assert_uint_eq(missed, 0);
    ck_assert(log_throttle_pass(&t, 105, &missed));
    ck_assert_uint_eq(missed, 0);
}
END_TEST

START_TEST(test_line)
{
    int year, month, day, hour, minute, second, fraction, zone, end = 0;

    log_info("listening on %s:%d", "127.0.0.1", 5672);
    int n = sscanf(logged(), "%4d-%2d-%2d %2d:%2d:%2d.%6d%5d [info] listening on 127.0.0.1:5672%n",
                   &year, &month, &day, &hour, &minute, &second, &fraction, &zone, &end);
    ck_assert_int_eq(n, 8);
    ck_assert_str_eq(line + end, "\n");
}
END_TEST

START_TEST(test_control_characters)
{
    log_info("%s", "a\nb\rc\td\033[31me\177f\001g\037h");
    ck_assert_str_eq(logged_text(), "a?b?c?d?[31me?f?g?h\n");
}
END_TEST

START_TEST(test_text_is_kept)
{
    log_info("%s", "caf\303\251 ~ \"quoted\" \\ 100%");
    ck_assert_str_eq(logged_text(), "caf\303\251 ~ \"quoted\" \\ 100%\n");
}
END_TEST

/* A line that is too long is cut, but stays one line. */
START_TEST(test_long_text)
{
    char text[3000];

    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    log_info("%s", text);
    text[0] = '\0';
    size_t n = strlen(logged());
    ck_assert_uint_gt(n, 900);
    ck_assert_uint_le(n, 1024);
    ck_assert_ptr_eq(strchr(line, '\n'), line + n - 1);
    ck_assert_int_eq(line[n - 2], 'x');
}
END_TEST

static const struct {
    const char *name;
    enum log_level level;
} levels[] = {
    {"debug", LOG_DEBUG}, {"info", LOG_INFO},         {"warning", LOG_WARNING},
    {"error", LOG_ERROR}, {"critical", LOG_CRITICAL}, {"none", LOG_NONE},
};
#define N_LEVELS (sizeof levels / sizeof *levels)

/* Of one line on each level those from the threshold up appear, each with its level's name. */
START_TEST(test_threshold)
{
    char wanted[32];

    log_set_level(levels[_i].level);
    for (size_t i = 0; i < N_LEVELS - 1; i++)
        log_msg(levels[i].level, "hello");
    log_msg(LOG_NONE, "end");
    const char *text = logged();
    for (size_t i = 0; i < N_LEVELS - 1; i++) {
        snprintf(wanted, sizeof wanted, " [%s] hello\n", levels[i].name);
        ck_assert_int_eq(strstr(text, wanted) != NULL, i >= (size_t)_i);
    }
}
END_TEST

START_TEST(test_info_is_the_default)
{
    log_debug("unseen");
    log_info("seen");
    ck_assert_str_eq(logged_text(), "seen\n");
    ck_assert_ptr_null(strstr(line, "unseen"));
}
END_TEST

START_TEST(test_macros)
{
    log_set_level(LOG_DEBUG);
    log_debug("one");
    log_warning("two");
    log_error("three");
    const char *text = logged();
    ck_assert_ptr_nonnull(strstr(text, " [debug] one\n"));
    ck_assert_ptr_nonnull(strstr(text, " [warning] two\n"));
    ck_assert_ptr_nonnull(strstr(text, " [error] three\n"));
}
END_TEST

START_TEST(test_level_names)
{
    enum log_level level = LOG_NONE;

    ck_assert(log_level_parse(levels[_i].name, &level));
    ck_assert_int_eq(level, levels[_i].level);
}
END_TEST

START_TEST(test_level_names_in_capitals)
{
    enum log_level level = LOG_NONE;

    ck_assert(log_level_parse("WARNING", &level));
    ck_assert_int_eq(level, LOG_WARNING);
}
END_TEST

START_TEST(test_no_level)
{
    static const char *const names[] = {"", "inf", "infos", " info", "verbose", "1"};
    enum log_level level = LOG_CRITICAL;

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        ck_assert(!log_level_parse(names[i], &level));
    ck_assert_int_eq(level, LOG_CRITICAL);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("log");
    TCase *tc = tcase_create("lines");

    tcase_add_checked_fixture(tc, redirect, restore);
    tcase_add_test(tc, test_line);
    tcase_add_test(tc, test_throttle);
    tcase_add_test(tc, test_control_characters);
    tcase_add_test(tc, test_text_is_kept);
    tcase_add_test(tc, test_long_text);
    tcase_add_loop_test(tc, test_threshold, 0, N_LEVELS);
    tcase_add_test(tc, test_info_is_the_default);
    tcase_add_test(tc, test_macros);
    suite_add_tcase(suite, tc);

    tc = tcase_create("levels");
    tcase_add_loop_test(tc, test_level_names, 0, N_LEVELS);
    tcase_add_test(tc, test_level_names_in_capitals);
    tcase_add_test(tc, test_no_level);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
