#include "broker/core/outq.h"

#include <stdlib.h>

#include "base/mem.h"
#include "broker/core/message.h"

/* glibc's free() tidies up the whole heap whenever it is given 64 KiB or more: stay below. */
enum {
    CHUNK_FIRST = 2 * 1024,
    CHUNK_MORE = 32 * 1024,
};

struct outchunk {
    struct outchunk *next;
    struct message *message; /* referenced, or NULL: the bytes are in buf */
    const uint8_t *p;        /* first waiting byte */
    size_t n;                /* waiting bytes */
    size_t room;             /* free bytes behind them in buf */
    uint8_t buf[];
};

static void
append(struct outq *q, struct outchunk *c)
{
    c->next = NULL;
    if (q->tail != NULL)
        q->tail->next = c;
    else
        q->head = c;
    q->tail = c;
}

static void
release(struct outchunk *c)
{
    if (c->message != NULL)
        message_unref(c->message);
    free(c);
}

static struct outchunk *
add_buffer(struct outq *q, size_t n)
{
    size_t size = q->tail == NULL || q->tail->message != NULL ? CHUNK_FIRST : CHUNK_MORE;

    if (size < n)
        size = n;
    struct outchunk *c = mem_alloc(sizeof *c + size);
    c->message = NULL;
    c->p = c->buf;
    c->n = 0;
    c->room = size;
    append(q, c);
    return c;
}

uint8_t *
outq_extend(struct outq *q, size_t n)
{
    struct outchunk *c = q->tail;

    if (c == NULL || c->room < n)
        c = add_buffer(q, n);
    uint8_t *at = c->buf + (size_t)(c->p - c->buf) + c->n;
    c->n += n;
    c->room -= n;
    q->bytes += n;
    return at;
}

uint8_t *
outq_insert(struct outq *q, size_t n)
{
    struct outchunk *c = mem_alloc(sizeof *c + n);

    *c = (struct outchunk){.next = q->head, .p = c->buf, .n = n};
    q->head = c;
    if (q->tail == NULL)
        q->tail = c;
    q->bytes += n;
    return c->buf;
}

void
outq_refer(struct outq *q, struct message *m, struct slice part)
{
    struct outchunk *c = mem_alloc(sizeof *c);

    c->message = message_ref(m);
    c->p = part.p;
    c->n = part.n;
    c->room = 0;
    append(q, c);
    q->bytes += part.n;
}

int
outq_peek(const struct outq *q, struct iovec *iov, int max)
{
    int n = 0;

    for (const struct outchunk *c = q->head; c != NULL && n < max; c = c->next) {
        /* writev does not write through it; iovec has no const form. */
        memcpy(&iov[n].iov_base, &c->p, sizeof c->p);
        iov[n++].iov_len = c->n;
    }
    return n;
}

void
outq_drop(struct outq *q, size_t n)
{
    q->bytes -= n;
    while (q->head != NULL && n >= q->head->n) {
        struct outchunk *c = q->head;
        n -= c->n;
        q->head = c->next;
        release(c);
    }
    if (q->head == NULL) {
        q->tail = NULL;
        return;
    }
    q->head->p += n;
    q->head->n -= n;
}

void
outq_clear(struct outq *q)
{
    while (q->head != NULL) {
        struct outchunk *c = q->head;
        q->head = c->next;
        release(c);
    }
    q->tail = NULL;
    q->bytes = 0;
}
