#include "base/mem.h"

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/check_util.h"

/* AddressSanitizer would rather abort than return NULL for a size that no system has. */
const char *__asan_default_options(void);

const char *
__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

/* Not known to the compiler, which would warn of the sizes below. */
static volatile size_t too_much = SIZE_MAX / 2;

START_TEST(test_alloc)
{
    uint8_t *p = mem_alloc(100);
    memset(p, 0xff, 100);
    free(p);

    p = mem_zalloc(100);
    for (size_t i = 0; i < 100; i++)
        ck_assert_uint_eq(p[i], 0);
    free(p);
}
END_TEST

START_TEST(test_try_alloc)
{
    void *p = mem_try_alloc(100);
    ck_assert_ptr_nonnull(p);
    free(p);
    ck_assert_ptr_null(mem_try_alloc(too_much));
}
END_TEST

START_TEST(test_resize)
{
    uint32_t *p = mem_resize(NULL, 2, sizeof *p);
    p[0] = 1;
    p[1] = 2;
    p = mem_resize(p, 1000, sizeof *p);
    ck_assert_uint_eq(p[0], 1);
    ck_assert_uint_eq(p[1], 2);
    p[999] = 3;
    p = mem_resize(p, 0, sizeof *p);
    ck_assert_ptr_nonnull(p);
    free(p);
}
END_TEST

START_TEST(test_dup)
{
    uint8_t *p = mem_dup("a\0b", 3);
    ck_assert_mem_eq(p, "a\0b", 3);
    free(p);
    p = mem_dup(NULL, 0);
    ck_assert_ptr_nonnull(p);
    free(p);
}
END_TEST

START_TEST(test_strings)
{
    char *s = mem_strdup("");
    ck_assert_str_eq(s, "");
    free(s);
    s = mem_strdup("queue");
    ck_assert_str_eq(s, "queue");
    free(s);
    s = mem_printf("%s-%d", "queue", 42);
    ck_assert_str_eq(s, "queue-42");
    free(s);
    s = mem_printf("%s", "");
    ck_assert_str_eq(s, "");
    free(s);
}
END_TEST

/* A compiler may leave out an allocation that nobody looks at. */
static void *volatile sink;

static void
exhaust_alloc(void)
{
    sink = mem_alloc(too_much);
}

static void
exhaust_zalloc(void)
{
    sink = mem_zalloc(too_much);
}

static void
exhaust_resize(void)
{
    sink = mem_resize(NULL, too_much, 1);
}

static void
exhaust_dup(void)
{
    sink = mem_dup("", too_much);
}

/* n * size wraps to 4: an allocation would succeed. */
static void
overflow_resize(void)
{
    sink = mem_resize(NULL, SIZE_MAX / 4 + 2, 4);
}

static void (*const fatal[])(void) = {
    exhaust_alloc, exhaust_zalloc, exhaust_resize, exhaust_dup, overflow_resize,
};

/* A child of the test's own, so that this also works where Check does not fork. */
START_TEST(test_exhaustion_aborts)
{
    char text[4096];
    int fds[2], status;

    ck_assert_int_eq(pipe(fds), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        dup2(fds[1], STDERR_FILENO);
        fatal[_i]();
        _exit(0);
    }
    close(fds[1]);
    FILE *err = fdopen(fds[0], "r");
    size_t n = fread(text, 1, sizeof text - 1, err);
    text[n] = '\0';
    fclose(err);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status));
    ck_assert_int_eq(WTERMSIG(status), SIGABRT);
    ck_assert_ptr_nonnull(strstr(text, "out of memory: "));
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("mem");
    TCase *tc = tcase_create("mem");

    tcase_add_test(tc, test_alloc);
    tcase_add_test(tc, test_try_alloc);
    tcase_add_test(tc, test_resize);
    tcase_add_test(tc, test_dup);
    tcase_add_test(tc, test_strings);
    tcase_add_loop_test(tc, test_exhaustion_aborts, 0, sizeof fatal / sizeof *fatal);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
