#include "broker/main/config_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "protocol/utf8.h"

/*
 * Where settings come from: every source (file, environment, command line) becomes a series of keys
 * and values for config_apply(). An error is noted and the work goes on, so that an operator sees
 * them all at once. A line that has not the form of a setting is never echoed: it may well hold a
 * password.
 */

static const struct {
    const char *variable, *key;
} environment[] = {
#define ENV(variable, key) {variable, key},
    CONFIG_ENVIRONMENT(ENV)
#undef ENV
};

/* Lines */

static bool
is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

static struct slice
trim(struct slice s)
{
    while (s.n != 0 && is_blank(s.p[0]))
        s = slice_of(s.p + 1, s.n - 1);
    while (s.n != 0 && is_blank(s.p[s.n - 1]))
        s.n--;
    return s;
}

/* What messages, logs and the wire can bear: UTF-8, and no control character but the tab. */
static bool
is_text(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        if ((s.p[i] < 0x20 && s.p[i] != '\t') || s.p[i] == 0x7f)
            return false;
    }
    return utf8_valid(s);
}

/*
 * Splits "KEY = VALUE" and takes the backslash from "\." in the key, which RabbitMQ has for dots
 * within a name; the result is written to `buf`, of CONFIG_LINE_MAX bytes.
 */
static bool
split(struct slice text, char *buf, struct slice *key_r, struct slice *value_r)
{
    static const char word[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";
    size_t n = 0;

    const uint8_t *equals = text.n == 0 ? NULL : memchr(text.p, '=', text.n);
    if (equals == NULL)
        return false;
    struct slice key = trim(slice_of(text.p, (size_t)(equals - text.p)));
    for (size_t i = 0; i < key.n; i++) {
        if (key.p[i] == '\\' && i + 1 < key.n && key.p[i + 1] == '.')
            i++;
        if (memchr(word, key.p[i], sizeof word - 1) == NULL)
            return false;
        buf[n++] = (char)key.p[i];
    }
    *key_r = slice_of(buf, n);
    *value_r = slice_of(equals + 1, text.n - (size_t)(equals + 1 - text.p));
    return n != 0;
}

/*
 * The value of a line in a file: up to a comment, or what single quotes enclose. Returns NULL, or
 * what is wrong with it.
 */
static const char *
unquote(struct slice text, struct slice *value_r)
{
    text = trim(text);
    if (text.n != 0 && text.p[0] == '\'') {
        const uint8_t *end = memchr(text.p + 1, '\'', text.n - 1);
        if (end == NULL)
            return "the quoted value has no closing quote";
        struct slice rest = trim(slice_of(end + 1, text.n - (size_t)(end + 1 - text.p)));
        if (rest.n != 0 && rest.p[0] != '#')
            return "there is text behind the closing quote";
        *value_r = slice_of(text.p + 1, (size_t)(end - text.p) - 1);
        return NULL;
    }
    const uint8_t *comment = text.n == 0 ? NULL : memchr(text.p, '#', text.n);
    if (comment != NULL)
        text = trim(slice_of(text.p, (size_t)(comment - text.p)));
    if (text.n == 0)
        return "the value is missing";
    if (slice_starts(text, "encrypted:"))
        return "encrypted values are not supported (quote the value if it is meant literally)";
    if (memmem(text.p, text.n, "$(", 2) != NULL)
        return "$(...) is not supported in values (quote the value if it is meant literally)";
    *value_r = text;
    return NULL;
}

static void
load_line(struct loader *l, struct slice line)
{
    char buf[CONFIG_LINE_MAX];
    struct slice key, value;

    if (line.n != 0 && line.p[line.n - 1] == '\r')
        line.n--;
    if (line.n > CONFIG_LINE_MAX) {
        config_note(l, CONFIG_ERROR, "the line is longer than %d bytes", CONFIG_LINE_MAX);
        return;
    }
    if (!is_text(line)) {
        config_note(l, CONFIG_ERROR, "the line has control characters or is not UTF-8");
        return;
    }
    line = trim(line);
    if (line.n == 0 || line.p[0] == '#')
        return;
    if (!split(line, buf, &key, &value)) {
        config_note(l, CONFIG_ERROR, "not of the form 'key = value'");
        return;
    }
    const char *problem = unquote(value, &value);
    if (problem != NULL)
        config_note(l, CONFIG_ERROR, "%.*s: %s", SLICE_FMT(config_shown(key)), problem);
    else
        config_apply(l, key, value);
}

/* Sources */

static void
load_text(struct loader *l, const char *name, struct slice text)
{
    l->source = name;
    l->line = 0;
    while (text.n != 0) {
        const uint8_t *end = memchr(text.p, '\n', text.n);
        size_t n = end != NULL ? (size_t)(end - text.p) : text.n;
        l->line++;
        load_line(l, slice_of(text.p, n));
        if (end != NULL)
            n++;
        text = slice_of(text.p + n, text.n - n);
    }
}

/* Reads at most `size` bytes; -1 with errno set when the file cannot be read. */
static ssize_t
read_file(const char *path, uint8_t *buf, size_t size)
{
    size_t n = 0;
    ssize_t got = 0;

    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return -1;
    while (n < size) {
        got = read(fd, buf + n, size - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    int failure = errno;
    close(fd);
    errno = failure;
    return got < 0 ? -1 : (ssize_t)n;
}

static void
load_file(struct loader *l, const char *path)
{
    uint8_t *buf = mem_alloc(CONFIG_FILE_MAX + 1);

    l->source = path;
    l->line = 0;
    ssize_t n = read_file(path, buf, CONFIG_FILE_MAX + 1);
    if (n < 0)
        config_note(l, CONFIG_ERROR, "cannot read the file: %s", strerror(errno));
    else if (n > CONFIG_FILE_MAX)
        config_note(l, CONFIG_ERROR, "the file is larger than %d bytes", CONFIG_FILE_MAX);
    else
        load_text(l, path, slice_of(buf, (size_t)n));
    explicit_bzero(buf, n < 0 ? CONFIG_FILE_MAX + 1 : (size_t)n);
    free(buf);
}

static void
load_environment(struct loader *l)
{
    l->line = 0;
    for (size_t i = 0; i < COUNT(environment); i++) {
        const char *value = getenv(environment[i].variable);
        if (value == NULL || *value == '\0')
            continue;
        l->source = environment[i].variable;
        if (is_text(slice_str(value)))
            config_apply(l, slice_str(environment[i].key), slice_str(value));
        else
            config_note(l, CONFIG_ERROR, "the value has control characters or is not UTF-8");
    }
}

/* The shell has done the quoting: the value is taken as it is. */
static void
load_set(struct loader *l, const char *set)
{
    char buf[CONFIG_LINE_MAX];
    struct slice key, value;

    l->source = "--set";
    l->line = 0;
    if (strnlen(set, CONFIG_LINE_MAX + 1) > CONFIG_LINE_MAX)
        config_note(l, CONFIG_ERROR, "the setting is longer than %d bytes", CONFIG_LINE_MAX);
    else if (!is_text(slice_str(set)))
        config_note(l, CONFIG_ERROR, "the setting has control characters or is not UTF-8");
    else if (!split(slice_str(set), buf, &key, &value))
        config_note(l, CONFIG_ERROR, "not of the form KEY=VALUE");
    else
        config_apply(l, key, value);
}

static struct loader
loader_init(struct config *config, struct config_report *report)
{
    struct loader l = {.config = config, .report = report};

    memset(config, 0, sizeof *config);
    memset(report, 0, sizeof *report);
    config_apply_defaults(&l);
    return l;
}

static bool
loader_finish(struct loader *l)
{
    if (l->report->n_errors == 0)
        return true;
    config_free(l->config);
    return false;
}

bool
config_load(struct config *config_r, const char *path, const char *const *sets, size_t n_sets,
            struct config_report *report_r)
{
    struct loader l = loader_init(config_r, report_r);

    if (path != NULL)
        load_file(&l, path);
    load_environment(&l);
    for (size_t i = 0; i < n_sets; i++)
        load_set(&l, sets[i]);
    return loader_finish(&l);
}

bool
config_load_text(struct config *config_r, const char *name, struct slice text,
                 struct config_report *report_r)
{
    struct loader l = loader_init(config_r, report_r);

    load_text(&l, name, text);
    return loader_finish(&l);
}

void
config_report_free(struct config_report *report)
{
    for (size_t i = 0; i < report->n_messages; i++)
        free(report->messages[i].text);
    free(report->messages);
    memset(report, 0, sizeof *report);
}
