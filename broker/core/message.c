#include "broker/core/message.h"

#include <stdlib.h>

#include "protocol/props.h"

/*
 * Messages come and go at the rate of the whole broker, in few sizes: the memory of small ones goes
 * through free lists of its own, a list for each multiple of 64 bytes. (Measured against malloc()
 * alone: a fifth less CPU per 16-byte message, a twelfth less for 1 KiB.) A list keeps what one
 * turn of the loop needs. Each loop's thread has its own: messages never leave their loop.
 */
enum {
    CLASS_STEP = 64,
    CLASSES = 32, /* class 0: not from a list */
    KEPT_PER_CLASS = MEM_IS_CHECKED ? 0 : 256 * 1024,
};

struct free_message {
    struct free_message *next;
};

struct free_list {
    struct free_message *head;
    size_t bytes;
};

static _Thread_local struct free_list free_lists[CLASSES];

static struct message *
allocate(size_t size)
{
    size_t class = (size + CLASS_STEP - 1) / CLASS_STEP;
    struct message *m;

    if (class >= CLASSES) {
        m = mem_try_alloc(size);
        if (m != NULL)
            m->size_class = 0;
        return m;
    }
    struct free_list *list = &free_lists[class];
    if (list->head != NULL) {
        m = (struct message *)list->head;
        list->head = list->head->next;
        list->bytes -= class * CLASS_STEP;
    } else {
        m = mem_alloc(class * CLASS_STEP);
    }
    m->size_class = (uint8_t) class;
    return m;
}

void
message_free(struct message *m)
{
    struct free_list *list = &free_lists[m->size_class];

    if (m->size_class == 0 || list->bytes + m->size_class * (size_t)CLASS_STEP > KEPT_PER_CLASS) {
        free(m);
        return;
    }
    list->bytes += m->size_class * (size_t)CLASS_STEP;
    struct free_message *f = (struct free_message *)m;
    f->next = list->head;
    list->head = f;
}

void
message_trim(void)
{
    for (size_t i = 0; i < CLASSES; i++) {
        struct free_list *list = &free_lists[i];
        while (list->head != NULL) {
            struct free_message *f = list->head;
            list->head = f->next;
            free(f);
        }
        list->bytes = 0;
    }
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
    m->persistent = false;
    memcpy(m->bytes, address.p, address.n);
    memcpy(m->bytes + address.n, props.p, props.n);
    /* The undefined flag bits are not passed on: a client might take one for the sign of a further
     * word. */
    m->bytes[address.n + 1] &= (uint8_t)~3U;
    return m;
}

struct slice
message_headers(const struct message *m)
{
    struct amqp_props props;

    if (!amqp_props_decode(message_props(m), &props) || !(props.flags & AMQP_PROP(headers)))
        return slice_of(NULL, 0);
    return props.headers;
}
