#ifndef CONEY_NET_RESOURCES_H
#define CONEY_NET_RESOURCES_H

#include <stdbool.h>
#include <stdint.h>

/*
 * What the system says about memory and disk. These read files of the kernel or ask a file system,
 * which may take its time: not for a loop's thread. `root` stands in front of /proc and /sys: "",
 * or a folder that a test has filled.
 */

/*
 * Bytes of memory that this process keeps from others: anonymous and shared memory. Pages that are
 * backed by a file do not count: the store's map grows with what is read from it, and the kernel
 * takes such pages back whenever it needs them. False when it is not known.
 */
bool resources_memory_used(const char *root, uint64_t *bytes_r);

/*
 * Bytes of memory that there are for this process: of the machine, or the limit of its control
 * group or of one above that (cgroup v2 and v1), whichever is lowest. False when it is not known.
 */
bool resources_memory_total(const char *root, uint64_t *bytes_r);

/* Bytes that an ordinary user may still write to the file system of `dir`. False with errno set. */
bool resources_disk_free(const char *dir, uint64_t *bytes_r);

#endif
