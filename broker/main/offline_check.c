/* coneyd --check and --compact. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/log.h"
#include "broker/main/offline.h"
#include "broker/main/offline_scan.h"
#include "storage/compact.h"

static void
print_totals(const struct scan *s)
{
    const struct inspect_findings *found = inspect_findings(s->in);
    const struct model *m = &s->model;

    if (found->file.verdict == LMDB_SOUND)
        printf("database: %" PRIu64 " pages, %" PRIu64 " of them in use and %" PRIu64 " free\n",
               found->file.pages, found->file.used_pages, found->file.free_pages);
    if (!found->has_rows)
        return;
    printf("write-ahead log: %" PRIu64 " batches with %" PRIu64
           " bytes that are not in the database yet\n",
           found->log.n, found->log_bytes);
    printf("definitions: %" PRIu64 " vhosts, %" PRIu64 " users, %" PRIu64 " exchanges, %" PRIu64
           " queues, %" PRIu64 " bindings\n",
           m->n_vhosts, m->n_users, m->n_exchanges, m->n_queues, m->n_bindings);
    printf("messages: %" PRIu64 " with %" PRIu64 " bytes in %" PRIu64 " chunks\n", s->n_messages,
           s->bytes, s->n_chunks);
    printf("shared messages: %" PRIu64 "\n", s->n_shared);
    printf("to be deleted: %" PRIu64 " queues, %" PRIu64 " chunks, %" PRIu64 " shared messages\n",
           m->n_deleted, s->n_unwanted_chunks, s->n_unreferenced);
}

int
offline_check(const char *directory)
{
    struct scan s = {.in = inspect_open(directory)};
    char *problems;
    size_t size;

    if (s.in == NULL)
        return OFFLINE_FAILED;
    s.to = open_memstream(&problems, &size);
    if (s.to == NULL)
        mem_exhausted(0);
    if (scan_definitions(&s))
        scan_messages(&s, NULL, NULL);
    fclose(s.to);
    print_totals(&s);
    fputs(problems, stdout);
    if (s.n_problems == 0)
        printf("sound\n");
    else
        printf("%" PRIu64 " problem%s\n", s.n_problems, s.n_problems == 1 ? "" : "s");
    free(problems);
    scan_fini(&s);
    inspect_close(s.in);
    if (fflush(stdout) != 0) {
        log_error("the report cannot be written");
        return OFFLINE_FAILED;
    }
    return s.n_problems == 0 ? OFFLINE_SOUND : OFFLINE_PROBLEMS;
}

int
offline_compact(const char *directory)
{
    uint64_t before = 0, after = 0;

    if (!store_compact(directory, &before, &after))
        return OFFLINE_FAILED;
    printf("%" PRIu64 " bytes before, %" PRIu64 " bytes after\n", before, after);
    return OFFLINE_SOUND;
}
