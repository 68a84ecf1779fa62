#ifndef CONEY_BASE_MEM_H
#define CONEY_BASE_MEM_H

#include <stddef.h>
#include <stdlib.h>

#define MUST_USE __attribute__((warn_unused_result))

/*
 * Memory for the daemon's own structures. The plain functions never return NULL: when the system
 * has no memory for a few hundred bytes there is nothing sensible left to do, and the process
 * aborts with a line on stderr. Where a peer chooses the size, use mem_try_alloc() and refuse the
 * peer instead. Everything is released with free().
 */

/* True in a build with AddressSanitizer: free lists should then keep nothing, or they hide what it
 * looks for. */
#if defined __SANITIZE_ADDRESS__
#define MEM_IS_CHECKED 1
#elif defined __has_feature
#if __has_feature(address_sanitizer)
#define MEM_IS_CHECKED 1
#endif
#endif
#ifndef MEM_IS_CHECKED
#define MEM_IS_CHECKED 0
#endif

/* Prints what was asked for and aborts. */
_Noreturn void mem_exhausted(size_t n);

/* n bytes, uninitialised. */
static inline void *
mem_alloc(size_t n)
{
    void *p = malloc(n);
    if (__builtin_expect(p == NULL, 0))
        mem_exhausted(n);
    return p;
}

/* n bytes, all zero. */
void *mem_zalloc(size_t n);

/* Room for `n` elements of `size` bytes in place of `p` (which may be NULL). Aborts on overflow
 * too. */
void *mem_resize(void *p, size_t n, size_t size);

/* A copy of `n` bytes; valid to free() when n is 0. */
void *mem_dup(const void *p, size_t n);

/* A copy of a C string. */
char *mem_strdup(const char *s);

/* printf into a new string. */
char *mem_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* n bytes or NULL: for sizes that come from a peer, a file or an operator. */
MUST_USE static inline void *
mem_try_alloc(size_t n)
{
    return malloc(n);
}

#endif
