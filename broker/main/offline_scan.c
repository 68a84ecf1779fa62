#include "broker/main/offline_scan.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/mem.h"
#include "broker/core/vhost.h"
#include "protocol/props.h"
#include "storage/format.h"

/* A message that is stored on its own. */
struct scan_shared {
    uint64_t id;
    uint64_t refs;
    bool is_sound;
    UT_hash_handle hh;
};

/* A chunk that is being looked at. */
struct looked {
    struct chunk_head head;
    struct model_object *queue;
    bool is_wanted;
    bool has_dead;
    struct chunk_dead dead;
    struct slice value;
};

static void problem(struct scan *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Names come from peers: no control character of theirs may forge a line. */
static void
problem(struct scan *s, const char *fmt, ...)
{
    char line[1024];
    va_list args;

    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    for (char *p = line; *p != '\0'; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?';
    }
    fprintf(s->to, "%s\n", line);
    s->n_problems++;
}

typedef void row_fn(struct scan *s, struct slice key, struct slice value);

static void
each(struct scan *s, enum table t, row_fn *fn)
{
    struct slice key = {NULL, 0}, value;
    enum store_status status;
    bool inclusive = true;

    while ((status = inspect_next(s->in, t, key, inclusive, &key, &value)) == STORE_OK) {
        fn(s, key, value);
        inclusive = false;
    }
    if (status != STORE_ABSENT)
        problem(s, "table %s cannot be read to its end: coneyd will not start", table_names[t]);
}

/* --- file and log --- */

static void
scan_file(struct scan *s, const struct inspect_findings *found)
{
    if (found->file.verdict != LMDB_SOUND)
        problem(s, "%s: %s", found->file.text,
                found->has_rows ? "what is in the value is checked below"
                                : "coneyd will not start, and nothing else can be read");
    else if (found->file.lost_pages != 0)
        problem(s, "%" PRIu64 " pages of the database are lost: they stay unused until --compact",
                found->file.lost_pages);
    if (!found->has_rows)
        return;
    if (found->format == STORE_FORMAT_DAMAGED)
        problem(s, "the record of the format is damaged: coneyd will not start");
    if (found->applied_is_damaged)
        problem(s, "the record of what is in the database is damaged: coneyd will not start, and "
                   "the write-ahead log cannot be looked at");
    if (found->log.lost != 0)
        problem(s, "%" PRIu64 " batches in the write-ahead log are damaged and will be skipped",
                found->log.lost);
    if (found->n_nonsense != 0)
        problem(s, "%" PRIu64 " batches in the write-ahead log make no sense and will be skipped",
                found->n_nonsense);
}

static void
on_meta(struct scan *s, struct slice key, struct slice value)
{
    struct slice payload;

    if (slice_is(key, META_NEXT_ID)) {
        if (!format_unframe(key, value, &payload) || payload.n != 8)
            problem(s, "the record of the next id is damaged: the ids in use tell it, too");
    } else if (!slice_is(key, META_FORMAT) && !slice_is(key, META_APPLIED)) {
        problem(s, "there is an unknown row in table meta: it will be ignored");
    }
}

/* --- definitions --- */

bool
scan_decode_definition(struct slice key, struct slice value, struct definition *d_r)
{
    struct slice payload;
    uint64_t id;

    return format_id_key_decode(key, &id) && format_unframe(key, value, &payload) &&
           payload.n != 0 &&
           definition_decode(id, payload.p[0], slice_of(payload.p + 1, payload.n - 1), d_r);
}

static void
left_out(struct scan *s, const struct definition *d, const char *why)
{
    const char *sort = NULL;

    switch (d->kind) {
    case DEFINITION_VHOST:
        sort = "virtual host";
        break;
    case DEFINITION_USER:
        sort = "user";
        break;
    case DEFINITION_EXCHANGE:
        sort = "exchange";
        break;
    case DEFINITION_QUEUE:
        sort = "queue";
        break;
    case DEFINITION_BINDING:
        problem(s,
                "definition %" PRIu64 ", the binding from '%.*s' to '%.*s' with key '%.*s', will "
                "be left out: %s",
                d->id, SLICE_FMT(d->source), SLICE_FMT(d->destination), SLICE_FMT(d->key), why);
        return;
    case DEFINITION_DELETED_QUEUE:
        problem(s, "definition %" PRIu64 ", of a deleted queue, will be left out: %s", d->id, why);
        return;
    }
    problem(s, "definition %" PRIu64 ", %s '%.*s', will be left out: %s", d->id, sort,
            SLICE_FMT(d->name), why);
}

static void
on_definition(struct scan *s, struct slice key, struct slice value)
{
    struct definition d;
    const char *why;
    uint64_t id;

    if (!format_id_key_decode(key, &id))
        problem(s, "a definition has a damaged key and will be left out");
    else if (!scan_decode_definition(key, value, &d))
        problem(s, "definition %" PRIu64 " is damaged and will be left out", id);
    else if ((why = model_add(&s->model, &d)) != NULL)
        left_out(s, &d, why);
}

static void
on_queue_state(struct scan *s, struct slice key, struct slice value)
{
    struct store_queue_state state;
    struct store_range *ranges;
    struct slice payload;
    uint64_t queue = 0;

    if (!format_id_key_decode(key, &queue) || !format_unframe(key, value, &payload) ||
        !format_queue_state_decode(payload, &state, &ranges)) {
        const struct model_object *q = model_find(&s->model, queue);
        struct slice name = q != NULL ? q->name : slice_str("?");
        problem(s,
                "the state of queue %" PRIu64 " ('%.*s') is damaged: what was delivered of it may "
                "come without the redelivered flag, and what was purged last may come back",
                queue, SLICE_FMT(name));
        return;
    }
    if (!model_add_state(&s->model, queue, &state))
        problem(s,
                "there is a state of queue %" PRIu64 ", which is not defined: it will be ignored",
                queue);
    free(ranges);
}

bool
scan_definitions(struct scan *s)
{
    const struct inspect_findings *found = inspect_findings(s->in);

    scan_file(s, found);
    if (!found->has_rows)
        return false;
    each(s, TABLE_META, on_meta);
    each(s, TABLE_DEFINITIONS, on_definition);
    each(s, TABLE_QUEUES, on_queue_state);
    if (found->format == STORE_FORMAT_ABSENT && s->model.by_id != NULL)
        problem(s, "the record of the format is missing: coneyd will take it for its own");
    return true;
}

/* --- shared messages --- */

static struct scan_shared *
find_shared(const struct scan *s, uint64_t id)
{
    struct scan_shared *sh;

    HASH_FIND(hh, s->shared, &id, sizeof id, sh);
    return sh;
}

static void
on_shared(struct scan *s, struct slice key, struct slice value)
{
    struct store_record record;
    uint64_t id;

    if (!format_id_key_decode(key, &id)) {
        problem(s, "a shared message has a damaged key and will be ignored");
        return;
    }
    struct scan_shared *sh = mem_zalloc(sizeof *sh);
    sh->id = id;
    sh->is_sound = format_shared_decode(value, id, &record);
    HASH_ADD(hh, s->shared, id, sizeof id, sh);
    s->n_shared++;
}

/* After the chunks. What nobody refers to is what a process that was killed had no time to delete.
 */
static void
judge_shared(struct scan *s)
{
    struct scan_shared *sh, *next;

    HASH_ITER(hh, s->shared, sh, next)
    {
        s->n_unreferenced += sh->refs == 0;
        if (!sh->is_sound)
            problem(s,
                    "shared message %" PRIu64 ", to which %" PRIu64 " messages refer, is damaged%s",
                    sh->id, sh->refs, sh->refs == 0 ? ": it will be deleted" : "");
    }
}

/* --- chunks --- */

static void
find_dead(struct scan *s, struct looked *c)
{
    struct key key = format_dead_key(&c->head);
    struct slice value, payload;
    enum store_status status = inspect_get(s->in, TABLE_DEAD, key_slice(&key), &value);

    if (status == STORE_ABSENT)
        return;
    c->has_dead = status == STORE_OK && format_unframe(key_slice(&key), value, &payload) &&
                  format_dead_decode(payload, c->head.span, &c->dead) && c->dead.n <= c->head.n &&
                  c->dead.bytes <= c->head.bytes;
    if (!c->has_dead)
        problem(s,
                "a dead set of queue %" PRIu64 " is damaged: up to %" PRIu32
                " acknowledged messages come again",
                c->head.queue, c->head.n);
}

static bool
is_dead(const struct looked *c, const struct store_record *r)
{
    return c->has_dead && (c->dead.bits[r->offset / 8] >> r->offset % 8 & 1) != 0;
}

/* What recovery checks when it takes a message back into memory. */
static bool
makes_sense(const struct store_record *r)
{
    struct reader address = reader_init(slice_of(r->bytes, r->address_len));
    struct amqp_props props;

    read_bytes(&address, read_u8(&address));
    read_bytes(&address, read_u8(&address));
    return reader_done(&address) &&
           amqp_props_decode(slice_of(r->bytes + r->address_len, r->props_len), &props);
}

/* Brings what a record refers to. False, and counted, when the message is lost. */
static bool
resolve(struct scan *s, struct looked *c, struct store_record *r)
{
    struct scan_shared *sh = r->shared != 0 ? find_shared(s, r->shared) : NULL;
    struct key key = format_id_key(r->shared);
    struct store_record found;
    struct slice value;
    bool is_wanted = c->is_wanted && !is_dead(c, r);

    if (r->shared == 0) {
        bool ok = r->bytes != NULL && makes_sense(r);
        c->queue->n_damaged += !ok && is_wanted;
        c->queue->n_damaged_dead += !ok && !is_wanted;
        return ok;
    }
    if (sh != NULL)
        sh->refs++;
    if (sh == NULL || !sh->is_sound ||
        inspect_get(s->in, TABLE_SHARED, key_slice(&key), &value) != STORE_OK ||
        !format_shared_decode(value, r->shared, &found) || !makes_sense(&found)) {
        c->queue->n_gone_shared += is_wanted;
        return false;
    }
    found.offset = r->offset;
    *r = found;
    return true;
}

/* Compares head and dead set with the records. */
static void
compare_sums(const struct looked *c, const struct store_record *records)
{
    uint64_t bytes = 0, dead_bytes = 0;
    uint32_t n_dead = 0;
    bool has_shared = false;

    for (uint32_t i = 0; i < c->head.n; i++) {
        bytes += records[i].body_len;
        has_shared |= records[i].shared != 0;
        if (is_dead(c, &records[i])) {
            n_dead++;
            dead_bytes += records[i].body_len;
        }
    }
    /* A shared record whose data is damaged does not tell that it is one. */
    c->queue->n_bad_sums += bytes != c->head.bytes || (has_shared && !c->head.has_shared) ||
                            c->head.span != records[c->head.n - 1].offset;
    if (c->has_dead)
        c->queue->n_bad_dead += n_dead != c->dead.n || dead_bytes != c->dead.bytes;
}

static void
scan_records(struct scan *s, struct looked *c, scan_message_fn *fn, void *ctx)
{
    struct store_record *records;
    uint32_t live = c->head.n - (c->has_dead ? c->dead.n : 0);

    if (!format_chunk_decode(c->value, &c->head, &records)) {
        c->queue->n_damaged += c->is_wanted ? live : 0;
        c->queue->n_damaged_dead += c->is_wanted ? c->head.n - live : c->head.n;
        return;
    }
    compare_sums(c, records);
    for (uint32_t i = 0; i < c->head.n; i++) {
        if (resolve(s, c, &records[i]) && fn != NULL && c->is_wanted && !is_dead(c, &records[i]))
            fn(ctx, c->queue, c->head.first + records[i].offset, &records[i]);
    }
    free(records);
}

static void
damaged_key(struct scan *s, struct slice value)
{
    struct chunk_head head;

    if (format_chunk_head_decode(value, &head))
        problem(s,
                "the key of a chunk of queue %" PRIu64 " is damaged: its %" PRIu32
                " messages are lost",
                head.queue, head.n);
    else
        problem(s, "a chunk is damaged beyond recognition: its messages are lost");
}

static void
count(struct scan *s, struct looked *c)
{
    struct model_object *q = c->queue;
    uint32_t live = c->head.n - (c->has_dead ? c->dead.n : 0);

    q->n_chunks++;
    q->n_messages += c->head.n;
    q->n_overlaps += c->head.first < q->next;
    if (q->next <= c->head.first + c->head.span)
        q->next = c->head.first + c->head.span + 1;
    c->is_wanted = live != 0 && model_wants(q, &c->head);
    if (!c->is_wanted) {
        s->n_unwanted_chunks += !q->is_unknown;
        return;
    }
    q->n_ready += live;
    s->n_chunks++;
    s->n_messages += live;
    s->bytes += c->head.bytes - (c->has_dead ? c->dead.bytes : 0);
}

static void
scan_chunks(struct scan *s, scan_message_fn *fn, void *ctx)
{
    struct slice key = {NULL, 0};
    enum store_status status;
    struct looked c = {.has_dead = false};

    while ((status = inspect_next(s->in, TABLE_LOG, key, key.n == 0, &key, &c.value)) == STORE_OK) {
        if (!format_chunk_key_decode(key, &c.head)) {
            damaged_key(s, c.value);
            continue;
        }
        c.has_dead = false;
        c.queue = model_queue(&s->model, c.head.queue);
        if (c.queue == NULL) {
            problem(s,
                    "a chunk with %" PRIu32 " messages is of a queue %" PRIu64
                    ", which is none; it will be kept",
                    c.head.n, c.head.queue);
            continue;
        }
        find_dead(s, &c);
        count(s, &c);
        scan_records(s, &c, fn, ctx);
    }
    if (status != STORE_ABSENT)
        problem(s, "table log cannot be read to its end: coneyd will not start");
}

/* Damaged ones have been found with their chunks. */
static void
on_dead(struct scan *s, struct slice key, struct slice value)
{
    struct slice found, chunk;
    uint64_t queue, first;

    (void)value;
    if (!format_dead_key_decode(key, &queue, &first)) {
        problem(s, "a dead set has a damaged key and will be ignored");
        return;
    }
    if (inspect_next(s->in, TABLE_LOG, key, true, &found, &chunk) != STORE_OK || found.n < key.n ||
        memcmp(found.p, key.p, key.n) != 0)
        problem(s,
                "there is a dead set of queue %" PRIu64 " and message %" PRIu64
                ", where no chunk begins: it will be ignored",
                queue, first);
}

/* --- what was counted for each queue --- */

static void
judge_known(struct scan *s, const struct model_object *q, const char *name)
{
    if (q->n_damaged != 0)
        problem(s, "%" PRIu64 " of %" PRIu64 " messages of %s are damaged and will be skipped",
                q->n_damaged, q->n_ready, name);
    if (q->n_gone_shared != 0)
        problem(s,
                "%" PRIu64 " of %" PRIu64 " messages of %s refer to shared messages that are "
                "damaged or missing, and will be skipped",
                q->n_gone_shared, q->n_ready, name);
    if (q->n_damaged_dead != 0)
        problem(s, "%" PRIu64 " messages of %s that are not wanted any more are damaged",
                q->n_damaged_dead, name);
    if (q->n_bad_sums != 0)
        problem(s, "%" PRIu64 " chunks of %s have other messages than their head says",
                q->n_bad_sums, name);
    if (q->n_bad_dead != 0)
        problem(s, "%" PRIu64 " dead sets of %s count other messages than they name", q->n_bad_dead,
                name);
    if (q->n_overlaps != 0)
        problem(s, "%" PRIu64 " chunks of %s begin with numbers that the chunk before has, too",
                q->n_overlaps, name);
}

static void
judge_queue(struct scan *s, const struct model_object *q)
{
    char *name;

    if (q->is_unknown) {
        problem(s,
                "%" PRIu64 " chunks with %" PRIu64 " messages are of queue %" PRIu64
                ", whose definition is lost: they will be kept, out of reach",
                q->n_chunks, q->n_messages, q->id);
        return;
    }
    if (q->kind == DEFINITION_DELETED_QUEUE)
        name = mem_printf("the deleted queue %" PRIu64, q->id);
    else
        name = mem_printf("queue " RESOURCE_FMT, RESOURCE_ARGS(q->vhost, q->name));
    judge_known(s, q, name);
    free(name);
}

static void
judge_queues(struct scan *s)
{
    const struct model_object *o;

    for (o = s->model.by_id; o != NULL; o = o->by_id.next) {
        if (o->kind == DEFINITION_QUEUE || o->kind == DEFINITION_DELETED_QUEUE)
            judge_queue(s, o);
    }
}

/* --- the whole --- */

void
scan_messages(struct scan *s, scan_message_fn *fn, void *ctx)
{
    each(s, TABLE_SHARED, on_shared);
    scan_chunks(s, fn, ctx);
    each(s, TABLE_DEAD, on_dead);
    judge_queues(s);
    judge_shared(s);
}

void
scan_fini(struct scan *s)
{
    struct scan_shared *sh, *next;

    HASH_ITER(hh, s->shared, sh, next)
    {
        HASH_DEL(s->shared, sh);
        free(sh);
    }
    model_free(&s->model);
}
