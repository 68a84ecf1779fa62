#include "broker/main/offline_model.h"

#include <stdlib.h>

#include "base/buf.h"
#include "base/mem.h"
#include "broker/auth/password.h"
#include "broker/core/vhost.h"

enum { KEY_HEAD = 9 }; /* kind and virtual host */

static void
write_key(uint8_t *key, enum definition_kind kind, uint64_t vhost, struct slice name)
{
    key[0] = (uint8_t)kind;
    put_u64(key + 1, vhost);
    if (name.n != 0)
        memcpy(key + KEY_HEAD, name.p, name.n);
}

static struct model_object *
find_name(struct model *m, enum definition_kind kind, uint64_t vhost, struct slice name)
{
    uint8_t key[KEY_HEAD + UINT8_MAX];
    struct model_object *o;

    write_key(key, kind, vhost, name);
    HASH_FIND(by_name, m->by_name, key, KEY_HEAD + name.n, o);
    return o;
}

static struct model_object *
add(struct model *m, uint64_t id, enum definition_kind kind, const struct model_object *vhost,
    struct slice name)
{
    struct model_object *o = mem_zalloc(sizeof *o + KEY_HEAD + name.n);

    o->id = id;
    o->kind = kind;
    o->vhost = vhost;
    write_key(o->key, kind, vhost != NULL ? vhost->id : 0, name);
    o->name = slice_of(o->key + KEY_HEAD, name.n);
    if (id != 0)
        HASH_ADD(by_id, m->by_id, id, sizeof id, o);
    return o;
}

static struct model_object *
add_named(struct model *m, uint64_t id, enum definition_kind kind, const struct model_object *vhost,
          struct slice name)
{
    struct model_object *o = add(m, id, kind, vhost, name);

    HASH_ADD_KEYPTR(by_name, m->by_name, o->key, KEY_HEAD + name.n, o);
    return o;
}

static void
object_free(struct model_object *o)
{
    free(o->purged);
    free(o);
}

void
model_free(struct model *m)
{
    struct model_object *o, *next;

    HASH_ITER (by_name, m->by_name, o, next) {
        HASH_DELETE(by_name, m->by_name, o);
        if (o->id == 0)
            object_free(o);
    }
    HASH_ITER (by_id, m->by_id, o, next) {
        HASH_DELETE(by_id, m->by_id, o);
        object_free(o);
    }
}

struct model_object *
model_find(struct model *m, uint64_t id)
{
    struct model_object *o;

    HASH_FIND(by_id, m->by_id, &id, sizeof id, o);
    return o;
}

/* --- definitions --- */

static const char *
add_vhost(struct model *m, const struct definition *d)
{
    if (find_name(m, d->kind, 0, d->name) != NULL)
        return "there is another virtual host of this name";
    struct model_object *v = add_named(m, d->id, d->kind, NULL, d->name);
    for (size_t i = 0; i < PREDECLARED_EXCHANGES; i++) {
        const struct predeclared_exchange *x = &predeclared_exchanges[i];
        if (x->name[0] != '\0') /* the default exchange has no bindings that are stored */
            add_named(m, 0, DEFINITION_EXCHANGE, v, slice_str(x->name))->type = x->type;
    }
    m->n_vhosts++;
    return NULL;
}

static const char *
add_user(struct model *m, const struct definition *d)
{
    struct password_hash hash;

    if (find_name(m, d->kind, 0, d->name) != NULL)
        return "there is another user of this name, and coneyd will not start";
    if (!password_hash_parse(d->password_hash, PASSWORD_SHA256, &hash))
        return "the hash of its password is none: the user cannot log in";
    add_named(m, d->id, d->kind, NULL, d->name);
    m->n_users++;
    return NULL;
}

static const char *
add_exchange(struct model *m, const struct definition *d, const struct model_object *vhost)
{
    const struct exchange_type *type = exchange_type_find(d->type);

    if (type == NULL)
        return "its type is unknown";
    if (d->name.n == 0 || find_name(m, d->kind, vhost->id, d->name) != NULL)
        return "there is another exchange of this name";
    add_named(m, d->id, d->kind, vhost, d->name)->type = type;
    m->n_exchanges++;
    return NULL;
}

static const char *
add_queue(struct model *m, const struct definition *d, const struct model_object *vhost)
{
    if (find_name(m, d->kind, vhost->id, d->name) != NULL)
        return "there is another queue of this name";
    add_named(m, d->id, d->kind, vhost, d->name);
    m->n_queues++;
    return NULL;
}

static const char *
add_binding(struct model *m, const struct definition *d, const struct model_object *vhost)
{
    enum definition_kind to = d->to_exchange ? DEFINITION_EXCHANGE : DEFINITION_QUEUE;
    const struct model_object *source = find_name(m, DEFINITION_EXCHANGE, vhost->id, d->source);
    struct amqp_error err;

    if (source == NULL)
        return "the exchange that it is from is not there";
    if (find_name(m, to, vhost->id, d->destination) == NULL)
        return d->to_exchange ? "the exchange that it leads to is not there"
                              : "the queue that it leads to is not there";
    if (source->type->check != NULL && !source->type->check(d->arguments, &err))
        return "its arguments make no sense to an exchange of this type";
    add(m, d->id, d->kind, vhost, slice_of(NULL, 0));
    m->n_bindings++;
    return NULL;
}

const char *
model_add(struct model *m, const struct definition *d)
{
    const struct model_object *vhost = NULL;

    if (d->id == 0 || model_find(m, d->id) != NULL)
        return "its id is none";
    if (d->kind == DEFINITION_EXCHANGE || d->kind == DEFINITION_QUEUE ||
        d->kind == DEFINITION_BINDING) {
        vhost = model_find(m, d->vhost);
        if (vhost == NULL || vhost->kind != DEFINITION_VHOST)
            return "its virtual host is not there";
    }
    switch (d->kind) {
    case DEFINITION_VHOST:
        return add_vhost(m, d);
    case DEFINITION_USER:
        return add_user(m, d);
    case DEFINITION_EXCHANGE:
        return add_exchange(m, d, vhost);
    case DEFINITION_QUEUE:
        return add_queue(m, d, vhost);
    case DEFINITION_BINDING:
        return add_binding(m, d, vhost);
    case DEFINITION_DELETED_QUEUE:
        if (m->n_vhosts == 0)
            return "there is no virtual host";
        add(m, d->id, d->kind, NULL, slice_of(NULL, 0));
        m->n_deleted++;
        return NULL;
    }
    return "it is of no known kind";
}

/* --- queues --- */

static bool
is_queue(const struct model_object *o)
{
    return o->kind == DEFINITION_QUEUE || o->kind == DEFINITION_DELETED_QUEUE;
}

bool
model_add_state(struct model *m, uint64_t queue, const struct store_queue_state *state)
{
    struct model_object *q = model_find(m, queue);

    if (q == NULL || !is_queue(q))
        return false;
    q->delivered = state->delivered;
    q->n_purged = state->n_purged;
    q->purged = mem_dup(state->purged, state->n_purged * sizeof *q->purged);
    return true;
}

struct model_object *
model_queue(struct model *m, uint64_t id)
{
    struct model_object *q = model_find(m, id);

    if (id == 0)
        return NULL;
    if (q == NULL) {
        q = add(m, id, DEFINITION_QUEUE, NULL, slice_of(NULL, 0));
        q->is_unknown = true;
    }
    return is_queue(q) ? q : NULL;
}

bool
model_wants(const struct model_object *q, const struct chunk_head *head)
{
    if (q->is_unknown || q->kind == DEFINITION_DELETED_QUEUE)
        return false;
    for (uint32_t i = 0; i < q->n_purged; i++) {
        if (head->first >= q->purged[i].from && head->first + head->span <= q->purged[i].to)
            return false;
    }
    return true;
}
