#include "broker/core/sender_keys.h"

#include <stdlib.h>

#include "broker/core/message.h"
#include "protocol/props.h"
#include "protocol/table.h"

static void
add(struct sender_keys *sk, struct slice key)
{
    sk->keys = mem_resize(sk->keys, sk->n + 1, sizeof *sk->keys);
    sk->keys[sk->n++] = key;
}

/* The strings in the header of this name; anything else in the array is skipped, as RabbitMQ does.
 */
static bool
add_header(struct sender_keys *sk, struct slice headers, const char *name, bool *found_r,
           struct amqp_error *err)
{
    struct amqp_value header, key;

    *found_r = amqp_table_get(headers, name, &header);
    if (!*found_r)
        return true;
    if (header.tag != AMQP_TAG_ARRAY)
        return amqp_fail(err, AMQP_PRECONDITION_FAILED,
                         "invalid message: {unacceptable_type_in_header,\"%s\",%s}", name,
                         amqp_tag_name(header.tag));
    struct reader r = reader_init(header.s);
    while (amqp_array_next(&r, &key)) {
        if (key.tag == AMQP_TAG_LONGSTR)
            add(sk, key.s);
    }
    return true;
}

bool
sender_keys_init(struct sender_keys *sk, const struct message *m, struct amqp_error *err)
{
    struct slice headers = message_headers(m);
    bool has_cc;

    *sk = (struct sender_keys){0};
    add(sk, message_routing_key(m));
    if (add_header(sk, headers, "CC", &has_cc, err) &&
        add_header(sk, headers, "BCC", &sk->has_bcc, err))
        return true;
    sender_keys_fini(sk);
    return false;
}

void
sender_keys_fini(struct sender_keys *sk)
{
    free(sk->keys);
}

/* Writes all pairs of a table but those of this key. */
static struct slice
copy_without(uint8_t *to, struct slice table, const char *key)
{
    struct reader r = reader_init(table);
    struct amqp_pair pair;
    size_t n = 0;

    for (const uint8_t *start = r.p; amqp_table_next(&r, &pair); start = r.p) {
        if (slice_is(pair.key, key))
            continue;
        memcpy(to + n, start, (size_t)(r.p - start));
        n += (size_t)(r.p - start);
    }
    return slice_of(to, n);
}

struct message *
message_without_bcc(struct message *m)
{
    struct amqp_props props;
    struct message *copy = NULL;

    if (!amqp_props_decode(message_props(m), &props))
        return NULL;
    uint8_t *headers = mem_alloc(props.headers.n + m->props_len), *raw = headers + props.headers.n;
    props.headers = copy_without(headers, props.headers, "BCC");
    struct writer w = writer_init(raw, m->props_len);
    amqp_props_encode(&w, &props);
    if (!w.bad)
        copy = message_new(message_address(m), slice_of(raw, (size_t)(w.p - raw)), m->body_len);
    free(headers);
    if (copy == NULL)
        return NULL;
    copy->persistent = m->persistent;
    memcpy(message_body(copy), message_body(m), (size_t)m->body_len);
    return copy;
}
