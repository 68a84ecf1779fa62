#include "base/mem.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

_Noreturn void
mem_exhausted(size_t n)
{
    fprintf(stderr, "out of memory: %zu bytes\n", n);
    abort();
}

void *
mem_zalloc(size_t n)
{
    void *p = calloc(1, n);
    if (p == NULL)
        mem_exhausted(n);
    return p;
}

void *
mem_resize(void *p, size_t n, size_t size)
{
    if (size != 0 && n > SIZE_MAX / size)
        mem_exhausted(SIZE_MAX);
    void *q = realloc(p, n * size == 0 ? 1 : n * size);
    if (q == NULL)
        mem_exhausted(n * size);
    return q;
}

void *
mem_dup(const void *p, size_t n)
{
    void *q = mem_alloc(n == 0 ? 1 : n);
    if (n != 0)
        memcpy(q, p, n);
    return q;
}

char *
mem_strdup(const char *s)
{
    return mem_dup(s, strlen(s) + 1);
}

char *
mem_printf(const char *fmt, ...)
{
    va_list ap;
    char *s = NULL;

    va_start(ap, fmt);
    int n = vasprintf(&s, fmt, ap);
    va_end(ap);
    if (n < 0)
        mem_exhausted(strlen(fmt));
    return s;
}
