#ifndef CONEY_STORAGE_COMPACT_H
#define CONEY_STORAGE_COMPACT_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Makes the database of a store that nobody uses as small as it can be: brings the write-ahead log
 * into it, writes a copy without free pages beside it, compares the two row by row, and puts the
 * copy in its place. Needs room for that copy. Whatever ends the process, the one or the other is
 * there, whole; what else is left is removed by the next compaction or start. Sizes are in bytes of
 * the file. False with the reason logged; the old database is there then.
 */
bool store_compact(const char *directory, uint64_t *before_r, uint64_t *after_r);

#endif
