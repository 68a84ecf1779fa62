#include "storage/backend.h"

/* These are in files: they stay as they are. */
const char *const table_names[TABLE_COUNT] = {
    [TABLE_META] = "meta",     [TABLE_DEFINITIONS] = "definitions",
    [TABLE_QUEUES] = "queues", [TABLE_LOG] = "log",
    [TABLE_DEAD] = "dead",     [TABLE_SHARED] = "shared",
};
