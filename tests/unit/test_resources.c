/* What /proc and /sys say about memory, from copies of what they say on different systems. */
#include "broker/net/resources.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "tests/unit/check_util.h"

enum { GIB = 1024 * 1024 * 1024 };

static char root[64];

static void
setup(void)
{
    strcpy(root, "/tmp/test_resources.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(root));
}

static void
teardown(void)
{
    char *command = mem_printf("rm -rf '%s'", root);
    ck_assert_int_eq(system(command), 0);
    free(command);
}

/* A file below the root, with its folders. */
static void
put(const char *path, const char *text)
{
    char *whole = mem_printf("%s%s", root, path);

    for (char *p = whole + strlen(root) + 1; (p = strchr(p, '/')) != NULL; *p++ = '/') {
        *p = '\0';
        ck_assert(mkdir(whole, 0700) == 0 || errno == EEXIST);
    }
    FILE *f = fopen(whole, "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
    free(whole);
}

static uint64_t
total(void)
{
    uint64_t bytes;

    ck_assert(resources_memory_total(root, &bytes));
    return bytes;
}

static void
put_meminfo(void)
{
    put("/proc/meminfo", "MemTotal:        4194304 kB\nMemFree:           10000 kB\n");
}

START_TEST(test_used)
{
    uint64_t bytes;

    ck_assert(!resources_memory_used(root, &bytes));
    put("/proc/self/status", "Name:\tconeyd\nVmRSS:\t    9000 kB\nRssAnon:\t    1234 kB\n"
                             "RssFile:\t    7000 kB\nRssShmem:\t      66 kB\nVmData:\t 1 kB\n");
    ck_assert(resources_memory_used(root, &bytes));
    ck_assert_uint_eq(bytes, 1300 * 1024);
    put("/proc/self/status", "Name:\tconeyd\nVmRSS:\t    9000 kB\n");
    ck_assert(!resources_memory_used(root, &bytes));
}
END_TEST

/* This process, as it is. */
START_TEST(test_used_grows)
{
    const size_t size = 64 << 20;
    uint64_t before, after, free_bytes;

    ck_assert(resources_memory_used("", &before));
    char *p = mem_alloc(size);
    explicit_bzero(p, size); /* which no compiler leaves out */
    ck_assert(resources_memory_used("", &after));
    free(p);
    ck_assert_uint_ge(after - before, size * 9 / 10);
    ck_assert(resources_memory_total("", &before));
    ck_assert_uint_gt(before, after);
    ck_assert(resources_disk_free(".", &free_bytes));
    errno = 0;
    ck_assert(!resources_disk_free("/nonexistent", &free_bytes));
    ck_assert_int_eq(errno, ENOENT);
}
END_TEST

START_TEST(test_no_groups)
{
    uint64_t bytes;

    ck_assert(!resources_memory_total(root, &bytes));
    put_meminfo();
    ck_assert_uint_eq(total(), UINT64_C(4) * GIB);
}
END_TEST

START_TEST(test_version_2)
{
    put_meminfo();
    put("/proc/self/cgroup", "0::/system.slice/coneyd.service\n");
    ck_assert_uint_eq(total(), UINT64_C(4) * GIB);
    put("/sys/fs/cgroup/system.slice/coneyd.service/memory.max", "max\n");
    ck_assert_uint_eq(total(), UINT64_C(4) * GIB);
    put("/sys/fs/cgroup/system.slice/coneyd.service/memory.max", "2147483648\n");
    ck_assert_uint_eq(total(), UINT64_C(2) * GIB);
    /* The lowest on the way up counts. */
    put("/sys/fs/cgroup/system.slice/memory.max", "3221225472\n");
    ck_assert_uint_eq(total(), UINT64_C(2) * GIB);
    put("/sys/fs/cgroup/system.slice/memory.max", "1073741824\n");
    ck_assert_uint_eq(total(), GIB);
    put("/sys/fs/cgroup/other.slice/memory.max", "1\n");
    ck_assert_uint_eq(total(), GIB);
    put("/sys/fs/cgroup/system.slice/memory.max", "9223372036854771712\n");
    put("/sys/fs/cgroup/system.slice/coneyd.service/memory.max", "9223372036854771712\n");
    ck_assert_uint_eq(total(), UINT64_C(4) * GIB);
}
END_TEST

/* A container with a namespace for its groups, and one without. */
START_TEST(test_container)
{
    put_meminfo();
    put("/proc/self/cgroup", "0::/\n");
    put("/sys/fs/cgroup/memory.max", "536870912\n");
    ck_assert_uint_eq(total(), GIB / 2);
    put("/proc/self/cgroup", "0::/docker/0123456789abcdef\n");
    ck_assert_uint_eq(total(), GIB / 2);
    put("/proc/self/cgroup", "0::/../../outside\n");
    ck_assert_uint_eq(total(), GIB / 2);
}
END_TEST

START_TEST(test_version_1)
{
    put_meminfo();
    put("/proc/self/cgroup", "12:memoryless:/wrong\n5:cpu,memory:/docker/abc\n"
                             "1:name=systemd:/wrong\n0::/wrong\n");
    put("/sys/fs/cgroup/memory/wrong/memory.limit_in_bytes", "1\n");
    put("/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "1073741824\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    ck_assert_uint_eq(total(), GIB);
}
END_TEST

START_TEST(test_nonsense)
{
    char *path = mem_zalloc(20000);

    put_meminfo();
    memset(path, 'x', 19999);
    memcpy(path, "0::/", 4);
    put("/proc/self/cgroup", path);
    ck_assert_uint_eq(total(), UINT64_C(4) * GIB);
    path[5000] = '\n';
    put("/proc/self/cgroup", path);
    ck_assert_uint_eq(total(), UINT64_C(4) * GIB);
    free(path);
    put("/proc/self/cgroup", "\n:\n0:\n::\nmemory");
    put("/sys/fs/cgroup/memory.max", "");
    ck_assert_uint_eq(total(), UINT64_C(4) * GIB);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("resources");
    TCase *tc = tcase_create("resources");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, test_used);
    tcase_add_test(tc, test_used_grows);
    tcase_add_test(tc, test_no_groups);
    tcase_add_test(tc, test_version_2);
    tcase_add_test(tc, test_container);
    tcase_add_test(tc, test_version_1);
    tcase_add_test(tc, test_nonsense);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
