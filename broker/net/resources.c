#include "broker/net/resources.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { TEXT_SIZE = 16 * 1024 }; /* of a file in /proc or /sys; what is longer is cut */

static bool
read_text(const char *path, char *text)
{
    size_t n = 0;
    ssize_t got;

    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    do {
        got = read(fd, text + n, TEXT_SIZE - 1 - n);
        n += got > 0 ? (size_t)got : 0;
    } while (got > 0 || (got < 0 && errno == EINTR));
    close(fd);
    text[n] = '\0';
    return got == 0;
}

/* The number behind a key at the start of a line: "MemTotal:       16318480 kB". */
static bool
find_kilobytes(const char *text, const char *key, uint64_t *bytes_r)
{
    size_t n = strlen(key);

    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, n) == 0 && line[n] == ':') {
            *bytes_r = strtoull(line + n + 1, NULL, 10) * 1024;
            return true;
        }
    }
    return false;
}

bool
resources_memory_used(const char *root, uint64_t *bytes_r)
{
    char path[PATH_MAX], text[TEXT_SIZE];
    uint64_t anonymous, shared;

    snprintf(path, sizeof path, "%s/proc/self/status", root);
    if (!read_text(path, text) || !find_kilobytes(text, "RssAnon", &anonymous) ||
        !find_kilobytes(text, "RssShmem", &shared))
        return false;
    *bytes_r = anonymous + shared;
    return true;
}

/* --- control groups --- */

/* A limit that is not there, or "max", is none. */
static uint64_t
read_limit(const char *group, const char *file)
{
    char path[PATH_MAX], text[TEXT_SIZE];

    if (snprintf(path, sizeof path, "%s/%s", group, file) >= (int)sizeof path)
        return UINT64_MAX;
    if (!read_text(path, text) || !isdigit((unsigned char)text[0]))
        return UINT64_MAX;
    return strtoull(text, NULL, 10);
}

/*
 * The lowest limit on the way from a group up to the root of its hierarchy. In a container without
 * a namespace for control groups the path is the host's, of which only the root is there: it is the
 * container's own group.
 */
static uint64_t
lowest_limit(const char *hierarchy, const char *path, size_t n_path, const char *file)
{
    uint64_t lowest = UINT64_MAX;
    char group[PATH_MAX];
    size_t n = strlen(hierarchy);

    if (n + n_path >= sizeof group)
        return UINT64_MAX;
    memcpy(group, hierarchy, n);
    memcpy(group + n, path, n_path);
    group[n + n_path] = '\0';
    for (size_t end = n + n_path; end >= n; end--) {
        if (end != n && group[end] != '/' && group[end] != '\0')
            continue;
        group[end] = '\0';
        uint64_t limit = read_limit(group, file);
        lowest = limit < lowest ? limit : lowest;
    }
    return lowest;
}

/* Whether "cpu,memory" has the word. */
static bool
has_memory(const char *controllers, size_t n)
{
    static const char word[] = "memory";
    const size_t n_word = sizeof word - 1;

    for (size_t i = 0; i + n_word <= n; i++) {
        if ((i == 0 || controllers[i - 1] == ',') && memcmp(controllers + i, word, n_word) == 0 &&
            (i + n_word == n || controllers[i + n_word] == ','))
            return true;
    }
    return false;
}

/* A line of /proc/self/cgroup, "HIERARCHY:CONTROLLERS:PATH"; version 2 names no controllers. */
static uint64_t
limit_of_line(const char *root, const char *line)
{
    char hierarchy[PATH_MAX];
    const char *controllers = strchr(line, ':');
    const char *path = controllers != NULL ? strchr(controllers + 1, ':') : NULL;

    if (path == NULL)
        return UINT64_MAX;
    size_t n_controllers = (size_t)(path - ++controllers);
    bool is_version_2 = n_controllers == 0;
    if (!is_version_2 && !has_memory(controllers, n_controllers))
        return UINT64_MAX;
    snprintf(hierarchy, sizeof hierarchy, "%s/sys/fs/cgroup%s", root,
             is_version_2 ? "" : "/memory");
    return lowest_limit(hierarchy, path + 1, strlen(path + 1),
                        is_version_2 ? "memory.max" : "memory.limit_in_bytes");
}

static uint64_t
group_limit(const char *root)
{
    char path[PATH_MAX], text[TEXT_SIZE];
    uint64_t lowest = UINT64_MAX;

    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    if (!read_text(path, text))
        return UINT64_MAX;
    char *rest = text, *line;
    while ((line = strsep(&rest, "\n")) != NULL) {
        uint64_t limit = limit_of_line(root, line);
        lowest = limit < lowest ? limit : lowest;
    }
    return lowest;
}

bool
resources_memory_total(const char *root, uint64_t *bytes_r)
{
    char path[PATH_MAX], text[TEXT_SIZE];
    uint64_t total;

    snprintf(path, sizeof path, "%s/proc/meminfo", root);
    if (!read_text(path, text) || !find_kilobytes(text, "MemTotal", &total))
        total = UINT64_MAX;
    uint64_t limit = group_limit(root);
    total = limit < total ? limit : total;
    if (total == UINT64_MAX)
        return false;
    *bytes_r = total;
    return true;
}

bool
resources_disk_free(const char *dir, uint64_t *bytes_r)
{
    struct statvfs st;

    while (statvfs(dir, &st) != 0) {
        if (errno != EINTR)
            return false;
    }
    *bytes_r = (uint64_t)st.f_bavail * st.f_frsize;
    return true;
}
