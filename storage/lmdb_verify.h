#ifndef CONEY_STORAGE_LMDB_VERIFY_H
#define CONEY_STORAGE_LMDB_VERIFY_H

#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

/*
 * Looks through the data file of an LMDB environment without LMDB, which trusts every byte of its
 * file and crashes on a damaged one. What is found sound here can be opened and read; if everything
 * was looked at, it can be written, too.
 *
 * Understands what LMDB 0.9 writes on 64 bits, with databases of plain flags (no DUPSORT, no
 * integer keys), no FIXEDMAP, and nothing but named databases in the main one, if there are any.
 * What a value says is not looked at.
 */
enum lmdb_verdict {
    LMDB_SOUND,
    LMDB_DAMAGED,
    LMDB_FOREIGN,    /* not damaged, but another page size, byte order, word size or version */
    LMDB_UNREADABLE, /* the system refused: its reason is in the text */
    LMDB_ABSENT,     /* no file, or an empty one: LMDB makes a new environment of it */
};

enum lmdb_depth {
    LMDB_TREES,      /* all pages of the trees, and the lists of free pages */
    LMDB_EVERYTHING, /* the first page of each value that has pages of its own, too */
};

struct lmdb_report {
    enum lmdb_verdict verdict;
    char text[512];      /* a sentence for the log: the file, and what is wrong with which page */
    uint64_t txn;        /* number of the last transaction; this and the rest if LMDB_SOUND */
    uint64_t pages;      /* in use or not, with the two of the header */
    uint64_t used_pages; /* in a tree or in a value */
    uint64_t free_pages; /* in the list of free pages */
    uint64_t lost_pages; /* neither used nor free: they do no harm, but are never used again */
    unsigned databases;  /* named ones */
};

/*
 * Looks through the file `path`. Nobody may write to it meanwhile. Takes memory for a bit per page
 * and time by the number of pages that are read; those of values are not read with LMDB_TREES.
 */
void lmdb_verify(const char *path, enum lmdb_depth depth, struct lmdb_report *report_r);

/*
 * The same for a file's bytes in memory. `page_size` is the one that LMDB would take here, a power
 * of two from 256 to 32,768; `name` is for the text.
 */
void lmdb_verify_image(struct slice image, size_t page_size, const char *name,
                       enum lmdb_depth depth, struct lmdb_report *report_r);

#endif
