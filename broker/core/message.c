#include "broker/core/message.h"

#include <stdlib.h>

#include "protocol/props.h"

/*
 * Messages come and go at the rate of the whole broker, in few sizes: the memory of small ones goes
 * through free lists of its own, a list for each multiple of 64 bytes. (Measured against malloc()
 * alone: a fifth less CPU per 16-byte message, a twelfth less for 1 KiB.) The lists keep what a
 * turn of the loop needs. Each loop's thread has its own: messages never leave their loop.
 */
enum {
    CLASS_STEP = 64,
    CLASSES = 32,                                    /* class 0: not from a list */
    KEPT_MAX = MEM_IS_CHECKED ? 0 : 4 * 1024 * 1024, /* bytes */
};

struct free_message {
    struct free_message *next;
};

static _Thread_local struct free_message *free_lists[CLASSES];
static _Thread_local size_t kept; /* bytes on all lists */

static struct message *
allocate(size_t size)
{
    size_t n = (size + CLASS_STEP - 1) / CLASS_STEP;
    struct message *m;

    if (n >= CLASSES) {
        m = mem_try_alloc(size);
        if (m != NULL)
            m->size_class = 0;
        return m;
    }
    struct free_message *f = free_lists[n];
    if (f != NULL) {
        free_lists[n] = f->next;
        kept -= n * CLASS_STEP;
        m = (struct message *)f;
    } else {
        m = mem_alloc(n * CLASS_STEP);
    }
    m->size_class = (uint8_t)n;
    return m;
}

void
message_free(struct message *m)
{
    size_t size = m->size_class * (size_t)CLASS_STEP;

    if (size == 0 || kept + size > KEPT_MAX) {
        free(m);
        return;
    }
    struct free_message *f = (struct free_message *)m, **list = &free_lists[m->size_class];
    f->next = *list;
    *list = f;
    kept += size;
}

void
message_trim(void)
{
    for (size_t i = 0; i < CLASSES; i++) {
        while (free_lists[i] != NULL) {
            struct free_message *f = free_lists[i];
            free_lists[i] = f->next;
            free(f);
        }
    }
    kept = 0;
}

struct message *
message_new(struct slice address, struct slice props, uint64_t body_len)
{
    size_t head = sizeof(struct message) + address.n + props.n;

    if (body_len > SIZE_MAX - head)
        return NULL;
    struct message *m = allocate(head + (size_t)body_len);
    if (m == NULL)
        return NULL;
    m->refs = 1;
    m->props_len = (uint32_t)props.n;
    m->body_len = body_len;
    m->address_len = (uint16_t)address.n;
    m->persistent = m->is_stub = false;
    memcpy(m->bytes, address.p, address.n);
    memcpy(m->bytes + address.n, props.p, props.n);
    /* The undefined flag bits are not passed on: a client might take one for the sign of a further
     * word. */
    m->bytes[address.n + 1] &= (uint8_t)~3U;
    return m;
}

struct message *
message_stub(const struct message *m)
{
    struct message *stub = allocate(sizeof *stub);

    if (stub == NULL)
        mem_exhausted(sizeof *stub);
    stub->refs = 1;
    stub->props_len = 0;
    stub->body_len = m->body_len;
    stub->address_len = 0;
    stub->persistent = m->persistent;
    stub->is_stub = true;
    return stub;
}

struct slice
message_headers(const struct message *m)
{
    struct amqp_props props;

    if (!amqp_props_decode(message_props(m), &props) || !(props.flags & AMQP_PROP(headers)))
        return slice_of(NULL, 0);
    return props.headers;
}
