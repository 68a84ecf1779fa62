/* The store's life: its directory, its threads, and the answers that come back from them. */
#include "storage/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "storage/lmdb_verify.h"
#include "storage/writer.h"

/* --- the directory --- */

static bool
make_directory(const char *path)
{
    if (mkdir(path, 0700) == 0 || errno == EEXIST)
        return true;
    log_error("cannot make the directory %s: %s", path, strerror(errno));
    return false;
}

/* The same with all directories above it. */
static bool
make_path(const char *path)
{
    char *copy = mem_strdup(path);
    bool ok = true;

    for (char *slash = strchr(copy + 1, '/'); ok && slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        ok = make_directory(copy);
        *slash = '/';
    }
    free(copy);
    return ok && make_directory(path);
}

/* Two processes on one directory would each undo what the other does. */
int
store_lock(const char *directory, bool create)
{
    char *path = mem_printf("%s/lock", directory);
    int fd = open(path, (create ? O_RDWR | O_CREAT : O_RDONLY) | O_CLOEXEC, 0600);

    if (fd < 0) {
        if (create || errno != ENOENT)
            log_error("cannot open %s: %s", path, strerror(errno));
    } else if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK)
            log_error("the data directory %s is in use by another process", directory);
        else
            log_error("cannot lock %s: %s", path, strerror(errno));
        close(fd);
        fd = -1;
        errno = EWOULDBLOCK;
    }
    free(path);
    return fd;
}

/* The database is there before the log gets its first record. */
static bool
has_log(const char *directory)
{
    bool found = false;

    for (int i = 0; i < 2 && !found; i++) {
        char *path = mem_printf("%s/wal-%d", directory, i);
        struct stat st;
        found = stat(path, &st) == 0 && st.st_size != 0;
        free(path);
    }
    return found;
}

/* LMDB trusts its file; we look at it first. */
static bool
verify_file(const char *directory)
{
    char *path = mem_printf("%s/data.mdb", directory);
    struct lmdb_report report;

    lmdb_verify(path, LMDB_TREES, &report);
    free(path);
    if (report.verdict == LMDB_ABSENT && has_log(directory)) {
        log_error(
            "the store cannot be opened: %s/data.mdb is missing or empty, but the write-ahead log "
            "beside it is not",
            directory);
        return false;
    }
    if (report.verdict == LMDB_SOUND || report.verdict == LMDB_ABSENT)
        return true;
    log_error("the store cannot be opened: %s", report.text);
    return false;
}

struct backend *
store_open_database(const char *directory, uint64_t size_max)
{
    const struct lmdb_options lmdb = {.directory = directory, .size_max = size_max, .sync = true};

    return verify_file(directory) ? backend_lmdb_open(&lmdb) : NULL;
}

static struct backend *
open_durable(const struct store_options *o)
{
    char *path = mem_printf("%s/store", o->directory);
    struct backend *be = NULL;

    if (store_remove_leftovers(o->directory) && make_directory(path))
        be = store_open_database(path, o->size_max);
    free(path);
    return be;
}

/* What was paged out by an earlier process is of no use. */
static struct backend *
open_paging(const struct store_options *o)
{
    static const char *const files[] = {"data.mdb", "lock.mdb"};
    char *path = mem_printf("%s/paging", o->directory);
    const struct lmdb_options lmdb = {.directory = path, .size_max = o->size_max, .sync = false};
    struct backend *be = NULL;
    bool ok = make_directory(path);

    for (size_t i = 0; ok && i < sizeof files / sizeof *files; i++) {
        char *file = mem_printf("%s/%s", path, files[i]);
        ok = unlink(file) == 0 || errno == ENOENT;
        if (!ok)
            log_error("cannot remove %s: %s", file, strerror(errno));
        free(file);
    }
    if (ok)
        be = backend_lmdb_open(&lmdb);
    free(path);
    return be;
}

/* --- the format --- */

static bool
write_format(struct backend *be)
{
    struct key key = format_meta_key(META_FORMAT);
    uint8_t version[4], *room;

    put_u32(version, FORMAT_VERSION);
    enum store_status status = be->ops->begin(be);
    if (status == STORE_OK)
        status = be->ops->put(be, TABLE_META, key_slice(&key), sizeof version + FORMAT_FRAME_SIZE,
                              &room);
    if (status != STORE_OK) {
        be->ops->abort(be);
        return false;
    }
    format_frame(room, key_slice(&key), slice_of(version, sizeof version));
    return be->ops->commit(be) == STORE_OK;
}

static enum store_format
judge_format(struct slice key, struct slice value)
{
    struct slice payload;

    if (value.n != 0 && value.p[0] > FORMAT_VERSION) {
        log_error("the store has format %u, written by a newer version of this program; this one "
                  "reads format %u",
                  value.p[0], FORMAT_VERSION);
        return STORE_FORMAT_OTHER;
    }
    if (!format_unframe(key, value, &payload)) {
        log_error("the store is damaged: the record of its format cannot be read");
        return STORE_FORMAT_DAMAGED;
    }
    if (payload.n != 4 || get_u32(payload.p) != FORMAT_VERSION) {
        log_error("the store has format %u, this program reads format %u",
                  payload.n == 4 ? get_u32(payload.p) : 0, FORMAT_VERSION);
        return STORE_FORMAT_OTHER;
    }
    return STORE_FORMAT_READABLE;
}

enum store_format
store_read_format(struct backend *be)
{
    struct key key = format_meta_key(META_FORMAT);
    enum store_format format = STORE_FORMAT_UNREADABLE;
    struct backend_reader *r;
    struct slice value;

    if (be->ops->read_begin(be, &r) != STORE_OK)
        return format;
    enum store_status status = be->ops->get(r, TABLE_META, key_slice(&key), &value);
    if (status == STORE_OK)
        format = judge_format(key_slice(&key), value);
    else if (status == STORE_ABSENT)
        format = STORE_FORMAT_ABSENT;
    be->ops->read_end(r);
    return format;
}

/* A store that is new gets the format's version; one that has another version is refused. */
static bool
check_format(struct backend *be)
{
    enum store_format format = store_read_format(be);

    return format == STORE_FORMAT_READABLE || (format == STORE_FORMAT_ABSENT && write_format(be));
}

/* --- life --- */

static bool
open_backends(struct store *s, const struct store_options *o)
{
    if (o->directory == NULL) {
        s->spaces[STORE_DURABLE].backend = backend_memory_open();
        s->spaces[STORE_PAGING].backend = backend_memory_open();
    } else {
        if (!make_path(o->directory) || (s->lock = store_lock(o->directory, true)) < 0)
            return false;
        if ((s->spaces[STORE_DURABLE].backend = open_durable(o)) == NULL ||
            (s->spaces[STORE_PAGING].backend = open_paging(o)) == NULL)
            return false;
    }
    return check_format(s->spaces[STORE_DURABLE].backend);
}

static bool
inject_faults(struct store *s, const char *spec)
{
    struct backend **be = &s->spaces[STORE_DURABLE].backend;

    if (spec == NULL)
        return true;
    log_warning("the store will fail on purpose: %s", spec);
    *be = backend_faulty_open(*be, spec);
    return *be != NULL;
}

static bool
open_writer(struct store *s, const struct store_options *o)
{
    char *path = mem_printf("%s/store", o->directory);

    s->spaces[STORE_DURABLE].writer = writer_open(s->spaces[STORE_DURABLE].backend, path);
    free(path);
    return s->spaces[STORE_DURABLE].writer != NULL;
}

struct store *
store_open(const struct store_options *o)
{
    struct store *s = mem_zalloc(sizeof *s);

    s->lock = -1;
    s->wake = o->wake;
    s->wake_ctx = o->ctx;
    pthread_mutex_init(&s->mutex, NULL);
    pthread_cond_init(&s->answered, NULL);
    STAILQ_INIT(&s->done_batches);
    STAILQ_INIT(&s->done_loads);
    STAILQ_INIT(&s->todo);
    if (!open_backends(s, o) || !inject_faults(s, o->faults)) {
        store_close(s);
        return NULL;
    }
    if (o->threads) {
        if (o->directory != NULL && !open_writer(s, o)) {
            store_close(s);
            return NULL;
        }
        s->spaces[STORE_DURABLE].thread = workers_new(1, "store-writer");
        s->spaces[STORE_PAGING].thread = workers_new(1, "store-paging");
        s->reader = workers_new(1, "store-reader");
    }
    return s;
}

static void
run_todo(struct store *s)
{
    struct job *job;

    while ((job = STAILQ_FIRST(&s->todo)) != NULL) {
        STAILQ_REMOVE_HEAD(&s->todo, link);
        job->run(job);
    }
}

/* Answers that nobody waits for any more. */
static void
drop_answers(struct store *s)
{
    struct store_batch *b;

    while ((b = STAILQ_FIRST(&s->done_batches)) != NULL) {
        STAILQ_REMOVE_HEAD(&s->done_batches, link);
        store_batch_free(b);
    }
}

void
store_close(struct store *s)
{
    store_set_wake(s, NULL, NULL);
    run_todo(s);
    for (int i = 0; i < 2; i++) {
        if (s->spaces[i].thread != NULL)
            workers_free(s->spaces[i].thread);
    }
    if (s->reader != NULL)
        workers_free(s->reader);
    drop_answers(s);
    for (int i = 0; i < 2; i++) {
        struct backend *be = s->spaces[i].backend;
        if (s->spaces[i].writer != NULL)
            writer_close(s->spaces[i].writer);
        if (be != NULL)
            be->ops->close(be);
    }
    if (s->lock >= 0)
        close(s->lock);
    pthread_cond_destroy(&s->answered);
    pthread_mutex_destroy(&s->mutex);
    free(s);
}

void
store_set_wake(struct store *s, void (*wake)(void *ctx), void *ctx)
{
    pthread_mutex_lock(&s->mutex);
    s->wake = wake;
    s->wake_ctx = ctx;
    pthread_mutex_unlock(&s->mutex);
}

void
store_poll(struct store *s)
{
    STAILQ_HEAD(, store_batch) batches = STAILQ_HEAD_INITIALIZER(batches);
    STAILQ_HEAD(, store_load) loads = STAILQ_HEAD_INITIALIZER(loads);
    struct store_batch *b;
    struct store_load *ld;

    run_todo(s);
    pthread_mutex_lock(&s->mutex);
    STAILQ_CONCAT(&batches, &s->done_batches);
    STAILQ_CONCAT(&loads, &s->done_loads);
    s->woken = false;
    pthread_mutex_unlock(&s->mutex);
    while ((b = STAILQ_FIRST(&batches)) != NULL) {
        STAILQ_REMOVE_HEAD(&batches, link);
        s->n_out--;
        b->done(b->ctx, b->status);
        store_batch_free(b);
    }
    while ((ld = STAILQ_FIRST(&loads)) != NULL) {
        STAILQ_REMOVE_HEAD(&loads, link);
        s->n_out--;
        ld->done(ld);
    }
}

void
store_finish(struct store *s)
{
    while (s->n_out != 0) {
        pthread_mutex_lock(&s->mutex);
        while (STAILQ_EMPTY(&s->todo) && STAILQ_EMPTY(&s->done_batches) &&
               STAILQ_EMPTY(&s->done_loads))
            pthread_cond_wait(&s->answered, &s->mutex);
        pthread_mutex_unlock(&s->mutex);
        store_poll(s);
    }
}

/* Wakes the owner once for all answers until it polls. The function is called with the mutex held,
 * so that it cannot be called any more once it has been changed. */
void
store_answered(struct store *s)
{
    if (!s->woken && s->wake != NULL)
        s->wake(s->wake_ctx);
    s->woken = true;
    pthread_cond_signal(&s->answered);
    pthread_mutex_unlock(&s->mutex);
}

enum store_status
store_backup(struct store *s, const char *directory, bool compact)
{
    struct backend *be = s->spaces[STORE_DURABLE].backend;
    char *path = mem_printf("%s/store", directory);
    enum store_status status = STORE_FAILED;

    if (make_directory(directory) && make_directory(path) &&
        (s->spaces[STORE_DURABLE].writer == NULL || writer_flush(s->spaces[STORE_DURABLE].writer)))
        status = be->ops->copy(be, path, compact);
    free(path);
    return status;
}

void
store_usage(struct store *s, uint64_t *used_r, uint64_t *free_r)
{
    struct backend *be = s->spaces[STORE_DURABLE].backend;

    be->ops->usage(be, used_r, free_r);
}
