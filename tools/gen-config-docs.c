/*
 * Writes what config.def says into etc/coneyd.conf (whole) and man/coneyd.conf.5 (between its
 * markers).
 *
 *   gen-config-docs --write DIR   brings the files below the source directory DIR up to date
 *   gen-config-docs               fails when they are not, with DIR from $srcdir, as `make check`
 * sets it
 */

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "broker/main/config.def"

enum type {
#define T(type, shown) TYPE_##type,
    CONFIG_TYPES(T)
#undef T
};

static const char *const type_names[] = {
#define T(type, shown) shown,
    CONFIG_TYPES(T)
#undef T
};

static const struct option {
    const char *key;
    enum type type;
    const char *deflt;
    uint64_t min, max;
    const char *text;
} options[] = {
#define CONF(key, type, field, deflt, min, max, flags, text)                                       \
    {key, TYPE_##type, deflt, min, max, text},
    CONFIG_OPTIONS(CONF)
#undef CONF
};

static const struct group {
    const char *prefix, *name, *deflt, *value, *text;
} groups[] = {
#define GROUP(prefix, name, handler, deflt, value, text) {prefix, name, deflt, value, text},
    CONFIG_GROUPS(GROUP)
#undef GROUP
};

static const char *const ignored[] = {
#define IGNORED(pattern) pattern,
    CONFIG_IGNORED(IGNORED)
#undef IGNORED
};

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* "From 0 to 65535.", or nothing where there is no more to say. */
static char *
range_text(const struct option *o)
{
    switch (o->type) {
    case TYPE_string:
        return mem_printf(" From %" PRIu64 " to %" PRIu64 " bytes long.", o->min, o->max);
    case TYPE_number:
        return mem_printf(" From %" PRIu64 " to %" PRIu64 ".", o->min, o->max);
    case TYPE_limit:
        return mem_printf(" From %" PRIu64 " to %" PRIu64 ", or infinity.", o->min, o->max);
    case TYPE_size:
        return mem_printf(" From %" PRIu64 " to %" PRIu64 " bytes.", o->min, o->max);
    case TYPE_ratio:
        return mem_printf(" From %" PRIu64 " to %" PRIu64 ".", o->min, o->max);
    case TYPE_bytes: /* bounded by what there is */
    case TYPE_boolean:
    case TYPE_level:
        break;
    }
    return mem_strdup("");
}

static char *
option_text(const struct option *o)
{
    char *range = range_text(o);
    char *text = mem_printf("%s%s", o->text, range);
    free(range);
    return text;
}

/* Writes the text in lines of at most `width`, each after `prefix`; a sentence begins a line if
 * mdoc(7) is to like it. */
static void
put_wrapped(FILE *out, const char *text, const char *prefix, size_t width, bool by_sentence)
{
    size_t column = 0;
    bool sentence_ended = false;

    while (*text != '\0') {
        size_t n = strcspn(text, " ");
        if (column != 0 && (column + 1 + n > width || (by_sentence && sentence_ended))) {
            fputc('\n', out);
            column = 0;
        }
        column += (size_t)fprintf(out, "%s%.*s", column == 0 ? prefix : " ", (int)n, text);
        sentence_ended = text[n - 1] == '.';
        text += n;
        text += strspn(text, " ");
    }
    fputc('\n', out);
}

/* The sample file */

static void
put_sample_text(FILE *out, const char *text)
{
    put_wrapped(out, text, "## ", 90, false);
}

static void
put_sample(FILE *out)
{
    fputs("## The configuration of coneyd, see coneyd.conf(5). Made from broker/main/config.def.\n"
          "##\n"
          "## Every key is shown with its default. Syntax and names are those of rabbitmq.conf.\n",
          out);
    for (size_t i = 0; i < COUNT(groups); i++) {
        char *text = mem_printf("%s Value: %s.", groups[i].text, groups[i].value);
        fputc('\n', out);
        put_sample_text(out, text);
        fprintf(out, "# %s\n", groups[i].deflt);
        free(text);
    }
    for (size_t i = 0; i < COUNT(options); i++) {
        char *text = option_text(&options[i]);
        fputc('\n', out);
        put_sample_text(out, text);
        fprintf(out, "# %s = %s\n", options[i].key, options[i].deflt);
        free(text);
    }
}

/* The manual page */

static void
put_manual_text(FILE *out, const char *text)
{
    put_wrapped(out, text, "", 79, true);
}

static void
put_options(FILE *out)
{
    fputs(".Bl -tag -width Ds\n", out);
    for (size_t i = 0; i < COUNT(groups); i++) {
        fprintf(out, ".It Ic %s.\\& Ns Ar %s No = Ar %s\n", groups[i].prefix, groups[i].name + 1,
                groups[i].value);
        put_manual_text(out, groups[i].text);
        fprintf(out, "Default:\n.Ql %s .\n", groups[i].deflt);
    }
    for (size_t i = 0; i < COUNT(options); i++) {
        char *text = option_text(&options[i]);
        fprintf(out, ".It Ic %s No = Ar %s\n", options[i].key, type_names[options[i].type]);
        put_manual_text(out, text);
        fprintf(out, "Default:\n.Ql %s .\n", options[i].deflt);
        free(text);
    }
    fputs(".El\n", out);
}

static void
put_ignored(FILE *out)
{
    for (size_t i = 0; i < COUNT(ignored); i++)
        fprintf(out, ".Ic %s%s\n", ignored[i], i + 1 < COUNT(ignored) ? " ," : " .");
}

static const struct {
    const char *begin;
    void (*put)(FILE *out);
} blocks[] = {
    {".\\\" begin options", put_options},
    {".\\\" begin ignored", put_ignored},
};

static const char block_end[] = ".\\\" end";

/* Copies the page with new text between each pair of markers. */
static void
put_manual(FILE *out, const char *page)
{
    void (*put)(FILE * out) = NULL;

    while (*page != '\0') {
        size_t n = strcspn(page, "\n");
        if (put != NULL && strncmp(page, block_end, n) == 0 && n == sizeof block_end - 1) {
            put(out);
            put = NULL;
        }
        if (put == NULL)
            fprintf(out, "%.*s\n", (int)n, page);
        for (size_t i = 0; i < COUNT(blocks); i++) {
            if (n == strlen(blocks[i].begin) && strncmp(page, blocks[i].begin, n) == 0)
                put = blocks[i].put;
        }
        page += n;
        page += *page != '\0';
    }
}

/* Files */

static void
die(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

static char *
read_text(const char *path)
{
    char *text = NULL;
    size_t size = 0;

    FILE *in = fopen(path, "r");
    if (in == NULL)
        die(path);
    if (getdelim(&text, &size, '\0', in) < 0)
        die(path);
    fclose(in);
    return text;
}

/* The text that the file should have, given the one it has. */
static char *
made_text(bool is_manual, const char *present)
{
    char *text = NULL;
    size_t n;

    FILE *out = open_memstream(&text, &n);
    if (out == NULL)
        die("open_memstream");
    if (is_manual)
        put_manual(out, present);
    else
        put_sample(out);
    if (fclose(out) != 0)
        die("open_memstream");
    return text;
}

static void
write_text(const char *path, const char *text)
{
    FILE *out = fopen(path, "w");
    if (out == NULL || fputs(text, out) < 0 || fclose(out) != 0)
        die(path);
}

/* False when the file is not up to date and was to be checked only. */
static bool
visit(const char *dir, const char *name, bool is_manual, bool may_write)
{
    char *path = mem_printf("%s/%s", dir, name);
    char *present = read_text(path);
    char *text = made_text(is_manual, present);

    bool ok = strcmp(present, text) == 0;
    if (!ok && may_write) {
        write_text(path, text);
        ok = true;
    }
    if (!ok)
        fprintf(stderr, "%s is not what broker/main/config.def says: run gen-config-docs --write\n",
                path);
    free(text);
    free(present);
    free(path);
    return ok;
}

int
main(int argc, char **argv)
{
    bool may_write = argc == 3 && strcmp(argv[1], "--write") == 0;
    const char *dir = may_write ? argv[2] : getenv("srcdir");

    if ((argc != 1 && !may_write) || dir == NULL) {
        fputs("usage: gen-config-docs --write DIR, or srcdir=DIR gen-config-docs\n", stderr);
        return 2;
    }
    bool sample_ok = visit(dir, "etc/coneyd.conf", false, may_write);
    bool manual_ok = visit(dir, "man/coneyd.conf.5", true, may_write);
    return sample_ok && manual_ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
