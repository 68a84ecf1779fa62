/*
 * Runs a fuzz target's corpus without a fuzzer, so that every compiler and every `make check`
 * replays old finds. Without arguments: the target's own corpus below $srcdir. Arguments: files and
 * folders to run instead.
 */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

static void
fail(const char *path)
{
    fprintf(stderr, "%s: %s\n", path, strerror(errno));
    exit(EXIT_FAILURE);
}

static void
replay_file(const char *path, const struct stat *st)
{
    size_t size = (size_t)st->st_size;
    uint8_t *bytes = mem_alloc(size);
    FILE *f = fopen(path, "rb");

    if (f == NULL || fread(bytes, 1, size, f) != size)
        fail(path);
    fclose(f);
    /* A failing input ends the process: its name must be out by then. */
    printf("%s\n", path);
    fflush(stdout);
    LLVMFuzzerTestOneInput(bytes, size);
    free(bytes);
}

static unsigned replay(const char *path);

static unsigned
replay_folder(const char *path)
{
    struct dirent **names;
    unsigned n_run = 0;
    int n = scandir(path, &names, NULL, alphasort);

    if (n < 0)
        fail(path);
    for (int i = 0; i < n; i++) {
        if (names[i]->d_name[0] != '.') {
            char *inner = mem_printf("%s/%s", path, names[i]->d_name);
            n_run += replay(inner);
            free(inner);
        }
        free(names[i]);
    }
    free(names);
    return n_run;
}

static unsigned
replay(const char *path)
{
    struct stat st;

    if (stat(path, &st) != 0)
        fail(path);
    if (S_ISDIR(st.st_mode))
        return replay_folder(path);
    replay_file(path, &st);
    return 1;
}

int
main(int argc, char **argv)
{
    unsigned n_run = 0;

    if (argc > 1) {
        for (int i = 1; i < argc; i++)
            n_run += replay(argv[i]);
    } else {
        const char *srcdir = getenv("srcdir");
        char *path = mem_printf("%s/tests/fuzz/corpus/" CORPUS, srcdir != NULL ? srcdir : ".");
        n_run = replay(path);
        free(path);
    }
    printf("%u inputs replayed\n", n_run);
    /* An empty corpus is a broken checkout, not a success. */
    return n_run != 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
