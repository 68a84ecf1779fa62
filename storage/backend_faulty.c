#include "storage/backend.h"

#include <stdatomic.h>
#include <string.h>

#include "base/log.h"

enum call { CALL_WRITE, CALL_READ, CALL_COMMIT, CALL_LOG, CALL_COUNT };

static const char *const call_names[CALL_COUNT] = {
    [CALL_WRITE] = "write", [CALL_READ] = "read", [CALL_COMMIT] = "commit", [CALL_LOG] = "log"};

static const struct {
    const char *name;
    enum store_status status;
} error_kinds[] = {
    {"ENOSPC", STORE_FULL},
    {"MDB_MAP_FULL", STORE_FULL},
    {"EIO", STORE_FAILED},
};

enum { RULES_MAX = 16 };

struct rule {
    enum call call;
    bool onwards; /* not only call number n */
    uint64_t n;
    enum store_status status;
};

struct faulty {
    struct backend be;
    struct backend *inner;
    size_t n_rules;
    struct rule rules[RULES_MAX];
    atomic_uint_fast64_t calls[CALL_COUNT]; /* readers and the writer are different threads */
    enum store_status txn_status;           /* what went wrong in the transaction */
};

struct backend_reader {
    struct faulty *f;
    struct backend_reader *inner;
};

/* Counts a call, and says what becomes of it. */
static enum store_status
fault(struct faulty *f, enum call call)
{
    uint64_t n = atomic_fetch_add(&f->calls[call], 1) + 1;

    for (size_t i = 0; i < f->n_rules; i++) {
        const struct rule *r = &f->rules[i];
        if (r->call == call && (r->onwards ? n >= r->n : n == r->n))
            return r->status;
    }
    return STORE_OK;
}

static enum store_status
faulty_begin(struct backend *be)
{
    struct faulty *f = (struct faulty *)be;

    f->txn_status = STORE_OK;
    return f->inner->ops->begin(f->inner);
}

static enum store_status
faulty_put(struct backend *be, enum table t, struct slice key, size_t n, uint8_t **room_r)
{
    struct faulty *f = (struct faulty *)be;
    enum store_status status = fault(f, CALL_WRITE);

    if (status != STORE_OK) {
        f->txn_status = status;
        return status;
    }
    return f->inner->ops->put(f->inner, t, key, n, room_r);
}

static enum store_status
faulty_del(struct backend *be, enum table t, struct slice key)
{
    struct faulty *f = (struct faulty *)be;
    enum store_status status = fault(f, CALL_WRITE);

    if (status != STORE_OK) {
        f->txn_status = status;
        return status;
    }
    return f->inner->ops->del(f->inner, t, key);
}

static void
faulty_abort(struct backend *be)
{
    struct faulty *f = (struct faulty *)be;

    f->inner->ops->abort(f->inner);
}

static enum store_status
faulty_commit(struct backend *be)
{
    struct faulty *f = (struct faulty *)be;
    enum store_status status = fault(f, CALL_COMMIT);

    if (f->txn_status != STORE_OK)
        status = f->txn_status;
    if (status == STORE_OK)
        return f->inner->ops->commit(f->inner);
    f->inner->ops->abort(f->inner);
    return status;
}

static enum store_status
faulty_append(struct backend *be)
{
    return fault((struct faulty *)be, CALL_LOG);
}

static enum store_status
faulty_read_begin(struct backend *be, struct backend_reader **r_r)
{
    struct faulty *f = (struct faulty *)be;
    struct backend_reader *inner;

    enum store_status status = f->inner->ops->read_begin(f->inner, &inner);
    if (status != STORE_OK)
        return status;
    *r_r = mem_alloc(sizeof **r_r);
    **r_r = (struct backend_reader){f, inner};
    return STORE_OK;
}

static void
faulty_read_end(struct backend_reader *r)
{
    r->f->inner->ops->read_end(r->inner);
    free(r);
}

/* Reading has only one way to fail. */
static enum store_status
faulty_get(struct backend_reader *r, enum table t, struct slice key, struct slice *value_r)
{
    if (fault(r->f, CALL_READ) != STORE_OK)
        return STORE_FAILED;
    return r->f->inner->ops->get(r->inner, t, key, value_r);
}

static enum store_status
faulty_next(struct backend_reader *r, enum table t, struct slice after, bool inclusive,
            struct slice *key_r, struct slice *value_r)
{
    if (fault(r->f, CALL_READ) != STORE_OK)
        return STORE_FAILED;
    return r->f->inner->ops->next(r->inner, t, after, inclusive, key_r, value_r);
}

static enum store_status
faulty_copy(struct backend *be, const char *directory, bool compact)
{
    struct faulty *f = (struct faulty *)be;

    return f->inner->ops->copy(f->inner, directory, compact);
}

static enum store_status
faulty_room(struct backend *be, uint64_t bytes)
{
    struct faulty *f = (struct faulty *)be;

    return f->inner->ops->room != NULL ? f->inner->ops->room(f->inner, bytes) : STORE_OK;
}

static void
faulty_usage(struct backend *be, uint64_t *used_r, uint64_t *free_r)
{
    struct faulty *f = (struct faulty *)be;

    f->inner->ops->usage(f->inner, used_r, free_r);
}

static void
faulty_close(struct backend *be)
{
    struct faulty *f = (struct faulty *)be;

    f->inner->ops->close(f->inner);
    free(f);
}

static const struct backend_ops faulty_ops = {
    .name = "faulty",
    .close = faulty_close,
    .begin = faulty_begin,
    .put = faulty_put,
    .del = faulty_del,
    .commit = faulty_commit,
    .abort = faulty_abort,
    .append = faulty_append,
    .read_begin = faulty_read_begin,
    .read_end = faulty_read_end,
    .get = faulty_get,
    .next = faulty_next,
    .copy = faulty_copy,
    .usage = faulty_usage,
    .room = faulty_room,
};

/* --- the text --- */

/* Takes what is in front of the next `end`, or all that is left. */
static struct slice
take_until(struct slice *rest, char end)
{
    const uint8_t *p = rest->n != 0 ? memchr(rest->p, end, rest->n) : NULL;
    size_t n = p != NULL ? (size_t)(p - rest->p) : rest->n;
    struct slice taken = slice_of(rest->p, n);
    size_t gone = p != NULL ? n + 1 : n;

    *rest = slice_of(rest->p + gone, rest->n - gone);
    return taken;
}

static bool
parse_call(struct slice s, enum call *call_r)
{
    for (size_t i = 0; i < CALL_COUNT; i++) {
        if (slice_is(s, call_names[i])) {
            *call_r = (enum call)i;
            return true;
        }
    }
    return false;
}

static bool
parse_number(struct slice s, uint64_t *n_r, bool *onwards_r)
{
    *onwards_r = s.n != 0 && s.p[s.n - 1] == '+';
    s.n -= *onwards_r;
    if (s.n == 0 || s.n > 18)
        return false;
    *n_r = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        *n_r = *n_r * 10 + (uint64_t)(s.p[i] - '0');
    }
    return *n_r != 0;
}

static bool
parse_error(struct slice s, enum store_status *status_r)
{
    for (size_t i = 0; i < sizeof error_kinds / sizeof *error_kinds; i++) {
        if (slice_is(s, error_kinds[i].name)) {
            *status_r = error_kinds[i].status;
            return true;
        }
    }
    return false;
}

static bool
parse_rule(struct slice s, struct rule *r)
{
    return parse_call(take_until(&s, ':'), &r->call) &&
           parse_number(take_until(&s, ':'), &r->n, &r->onwards) && parse_error(s, &r->status);
}

static bool
parse_spec(struct faulty *f, struct slice spec)
{
    size_t commas = 0;

    for (size_t i = 0; i < spec.n; i++)
        commas += spec.p[i] == ',';
    if (commas >= RULES_MAX)
        return false;
    for (f->n_rules = 0; f->n_rules <= commas; f->n_rules++) {
        if (!parse_rule(take_until(&spec, ','), &f->rules[f->n_rules]))
            return false;
    }
    return true;
}

struct backend *
backend_faulty_open(struct backend *inner, const char *spec)
{
    struct faulty *f = mem_zalloc(sizeof *f);

    f->be.ops = &faulty_ops;
    f->inner = inner;
    if (!parse_spec(f, slice_str(spec))) {
        log_error("faults: '%s' is not CALL:N:ERROR, with write, read, commit or log, a number, "
                  "and ENOSPC, EIO or MDB_MAP_FULL",
                  spec);
        faulty_close(&f->be);
        return NULL;
    }
    return &f->be;
}
