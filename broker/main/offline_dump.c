/* coneyd --dump. Everything is printed as it is read: there is no bound to what a queue holds. */
#include <stdlib.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "broker/main/offline.h"
#include "broker/main/offline_json.h"
#include "broker/main/offline_scan.h"
#include "protocol/props.h"
#include "protocol/table.h"
#include "storage/format.h"

struct dump {
    struct scan scan;
    enum definition_kind kind; /* whose list is being printed */
    bool has_items;            /* it is not empty */
};

/* Releases the item. */
static void
print_item(struct dump *d, json_t *item)
{
    fputs(d->has_items ? ",\n  " : "\n  ", stdout);
    if (json_dumpf(item, stdout, JSON_COMPACT) != 0 && !ferror(stdout))
        mem_exhausted(0);
    json_decref(item);
    d->has_items = true;
}

static void
begin_list(struct dump *d, const char *name)
{
    printf(",\n \"%s\": [", name);
    d->has_items = false;
}

static void
end_list(const struct dump *d)
{
    fputs(d->has_items ? "\n ]" : "]", stdout);
}

static void
set(json_t *object, const char *name, json_t *value)
{
    if (object == NULL || json_object_set_new(object, name, value) != 0)
        mem_exhausted(0);
}

/* --- definitions, with the names of RabbitMQ's export --- */

/* Tags are one text with commas between them. */
static json_t *
list_of_tags(struct slice tags)
{
    json_t *list = json_array();

    while (tags.n != 0) {
        const uint8_t *comma = memchr(tags.p, ',', tags.n);
        size_t n = comma != NULL ? (size_t)(comma - tags.p) : tags.n;
        json_array_append_new(list, json_of_string(slice_of(tags.p, n)));
        n += comma != NULL;
        tags = slice_of(tags.p + n, tags.n - n);
    }
    return list;
}

static void
fill_user(json_t *o, const struct definition *d)
{
    set(o, "name", json_of_string(d->name));
    set(o, "password_hash", json_of_string(d->password_hash));
    set(o, "hashing_algorithm", json_string("rabbit_password_hashing_sha256"));
    set(o, "tags", list_of_tags(d->tags));
}

static void
fill_exchange(json_t *o, const struct definition *d)
{
    set(o, "type", json_of_string(d->type));
    set(o, "durable", json_boolean(d->durable));
    set(o, "auto_delete", json_boolean(d->auto_delete));
    set(o, "internal", json_boolean(d->internal));
    set(o, "arguments", json_of_table(d->arguments));
}

static void
fill_queue(json_t *o, const struct definition *d)
{
    struct amqp_value type;
    bool is_given = amqp_table_get(d->arguments, "x-queue-type", &type) &&
                    amqp_value_kind(&type) == AMQP_KIND_STRING;

    set(o, "type", is_given ? json_of_string(type.s) : json_string("classic"));
    set(o, "durable", json_boolean(d->durable));
    set(o, "auto_delete", json_boolean(d->auto_delete));
    set(o, "arguments", json_of_table(d->arguments));
}

static void
fill_binding(json_t *o, const struct definition *d, struct slice vhost)
{
    set(o, "source", json_of_string(d->source));
    set(o, "vhost", json_of_string(vhost));
    set(o, "destination", json_of_string(d->destination));
    set(o, "destination_type", json_string(d->to_exchange ? "exchange" : "queue"));
    set(o, "routing_key", json_of_string(d->key));
    set(o, "arguments", json_of_table(d->arguments));
}

static json_t *
json_of_definition(const struct definition *d, const struct model_object *taken)
{
    json_t *o = json_object();

    if (d->kind == DEFINITION_EXCHANGE || d->kind == DEFINITION_QUEUE) {
        set(o, "name", json_of_string(d->name));
        set(o, "vhost", json_of_string(taken->vhost->name));
    }
    switch (d->kind) {
    case DEFINITION_VHOST:
        set(o, "name", json_of_string(d->name));
        break;
    case DEFINITION_USER:
        fill_user(o, d);
        break;
    case DEFINITION_EXCHANGE:
        fill_exchange(o, d);
        break;
    case DEFINITION_QUEUE:
        fill_queue(o, d);
        break;
    case DEFINITION_BINDING:
        fill_binding(o, d, taken->vhost->name);
        break;
    case DEFINITION_DELETED_QUEUE:
        break;
    }
    return o;
}

static void
print_definitions(struct dump *dump, enum definition_kind kind)
{
    struct slice key = {NULL, 0}, value;
    struct definition d;

    while (inspect_next(dump->scan.in, TABLE_DEFINITIONS, key, key.n == 0, &key, &value) ==
           STORE_OK) {
        if (!scan_decode_definition(key, value, &d) || d.kind != kind)
            continue;
        const struct model_object *taken = model_find(&dump->scan.model, d.id);
        if (taken != NULL)
            print_item(dump, json_of_definition(&d, taken));
    }
}

static void
print_all_definitions(struct dump *d)
{
    static const struct {
        const char *name;
        enum definition_kind kind;
    } lists[] = {
        {"vhosts", DEFINITION_VHOST},       {"users", DEFINITION_USER},
        {"exchanges", DEFINITION_EXCHANGE}, {"queues", DEFINITION_QUEUE},
        {"bindings", DEFINITION_BINDING},
    };

    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        begin_list(d, lists[i].name);
        print_definitions(d, lists[i].kind);
        end_list(d);
    }
}

/* --- messages --- */

static json_t *
json_of_octet(amqp_t_octet n)
{
    return json_integer(n);
}

static json_t *
json_of_longlong(amqp_t_longlong n)
{
    return n <= INT64_MAX ? json_integer((json_int_t)n) : json_real((double)n);
}

#define json_of_shortstr json_of_string

/* All that the publisher has set, but delivery_mode. */
static void
fill_props(json_t *o, const struct amqp_props *props)
{
#define P(name, type)                                                                              \
    if ((props->flags & AMQP_PROP(name)) != 0 && AMQP_PROP(name) != AMQP_PROP(delivery_mode))      \
        set(o, #name, json_of_##type(props->name));
    AMQP_PROPERTIES(P)
#undef P
}

static void
print_message(void *ctx, const struct model_object *queue, uint64_t seq,
              const struct store_record *r)
{
    struct dump *d = ctx;
    struct reader address = reader_init(slice_of(r->bytes, r->address_len));
    struct amqp_props props;
    json_t *o = json_object();

    set(o, "queue", json_of_string(queue->name));
    set(o, "vhost", json_of_string(queue->vhost->name));
    set(o, "seq", json_of_longlong(seq));
    set(o, "exchange", json_of_string(read_bytes(&address, read_u8(&address))));
    set(o, "routing_key", json_of_string(read_bytes(&address, read_u8(&address))));
    if (amqp_props_decode(slice_of(r->bytes + r->address_len, r->props_len), &props)) {
        set(o, "persistent",
            json_boolean((props.flags & AMQP_PROP(delivery_mode)) != 0 &&
                         props.delivery_mode == 2));
        fill_props(o, &props);
    }
    set(o, "redelivered", json_boolean(seq <= queue->delivered));
    set(o, "body_bytes", json_integer(r->body_len));
    print_item(d, o);
}

int
offline_dump(const char *directory)
{
    struct dump d = {.scan = {.in = inspect_open(directory), .to = stderr}};

    if (d.scan.in == NULL)
        return OFFLINE_FAILED;
    bool has_rows = scan_definitions(&d.scan);
    if (has_rows) {
        printf("{\"format\": %d", FORMAT_VERSION);
        print_all_definitions(&d);
        begin_list(&d, "messages");
        scan_messages(&d.scan, print_message, &d);
        end_list(&d);
        printf("\n}\n");
    }
    bool is_written = fflush(stdout) == 0 && !ferror(stdout);
    if (!is_written)
        log_error("the dump cannot be written");
    bool is_whole = d.scan.n_problems == 0;
    scan_fini(&d.scan);
    inspect_close(d.scan.in);
    if (!has_rows || !is_written)
        return OFFLINE_FAILED;
    return is_whole ? OFFLINE_SOUND : OFFLINE_PROBLEMS;
}
