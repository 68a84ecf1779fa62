#include "perf/setup.h"

#include <stdio.h>
#include <string.h>

#include "perf/link.h"

/* Memory that the images of a worker's producers share: they stay in the processor's caches. */
enum { IMAGE_BUDGET = 2 * 1024 * 1024, IMAGE_MIN = 16 * 1024, IMAGE_MAX = 128 * 1024 };

/* --- topology, over a connection of its own --- */

static bool
call(struct conn *conn, enum amqp_method_id id, union amqp_args args, enum amqp_method_id answer,
     char **error_r)
{
    union amqp_args reply;

    return conn_call(conn, 1, id, &args, answer, &reply, error_r);
}

static bool
declare_exchange(struct conn *conn, const struct perf_options *o, char **error_r)
{
    if (*o->exchange == '\0' || strncmp(o->exchange, "amq.", 4) == 0)
        return true;
    union amqp_args args = {.exchange_declare = {
                                .exchange = slice_str(o->exchange),
                                .type = slice_str(o->type),
                                .durable = o->flags.persistent,
                                .auto_delete = o->auto_delete,
                            }};
    return call(conn, AMQP_exchange_declare, args, AMQP_exchange_declare_ok, error_r);
}

static bool
declare_queue(struct conn *conn, const struct perf_options *o, const char *name, char **error_r)
{
    union amqp_args args = {.queue_declare = {
                                .queue = slice_str(name),
                                .durable = o->flags.persistent,
                                .auto_delete = o->auto_delete,
                                .arguments = bytes_slice(&o->queue_args),
                            }};
    return call(conn, AMQP_queue_declare, args, AMQP_queue_declare_ok, error_r);
}

static bool
bind(struct conn *conn, const struct perf_options *o, const char *queue, struct slice key,
     char **error_r)
{
    union amqp_args args = {.queue_bind = {
                                .queue = slice_str(queue),
                                .exchange = slice_str(o->exchange),
                                .routing_key = key,
                            }};
    return call(conn, AMQP_queue_bind, args, AMQP_queue_bind_ok, error_r);
}

static bool
bind_by_file(struct conn *conn, const struct run *run, const char *queue, char **error_r)
{
    char line[512];
    bool ok = true;
    FILE *file = fopen(run->o.binding_file, "re");

    if (file == NULL) {
        *error_r = mem_printf("%s: %m", run->o.binding_file);
        return false;
    }
    while (ok && fgets(line, sizeof line, file) != NULL) {
        size_t n = strcspn(line, "\r\n");
        if (n > UINT8_MAX) {
            *error_r = mem_printf("%s: a key over 255 bytes", run->o.binding_file);
            ok = false;
        } else if (n != 0) {
            ok = bind(conn, &run->o, queue, slice_of(line, n), error_r);
        }
    }
    fclose(file);
    return ok;
}

static bool
bind_queue(struct conn *conn, const struct run *run, const char *queue, char **error_r)
{
    const struct routing *routing = run->routing;

    if (*run->o.exchange == '\0' || run->o.skip_binding)
        return true;
    if (run->o.binding_file != NULL)
        return bind_by_file(conn, run, queue, error_r);
    if (routing->keys == NULL)
        return bind(conn, &run->o, queue, slice_str(queue), error_r);
    for (unsigned i = 0; i < routing->n_keys; i++) {
        if (!bind(conn, &run->o, queue, slice_str(routing->keys[i]), error_r))
            return false;
    }
    return true;
}

/*
 * The queue with many bindings is exclusive to the connection that declares it, so that it goes
 * away with it: that connection stays for the run.
 */
static bool
bind_other_queue(struct conn *conn, const struct run *run, char **error_r)
{
    char *name = mem_printf("%s-others", run->routing->queues[0]);
    union amqp_args args = {.queue_declare = {.queue = slice_str(name), .exclusive = true}};
    bool ok = call(conn, AMQP_queue_declare, args, AMQP_queue_declare_ok, error_r);

    for (unsigned i = 0; ok && i < run->o.topic_bindings; i++) {
        char *key = routing_topic_pattern(run->o.type, i);
        ok = bind(conn, &run->o, name, slice_str(key), error_r);
        free(key);
    }
    free(name);
    return ok;
}

static bool
declare_all(struct conn *conn, const struct run *run, char **error_r)
{
    if (!call(conn, AMQP_channel_open, (union amqp_args){0}, AMQP_channel_open_ok, error_r))
        return false;
    if (run->o.predeclared)
        return true;
    if (!declare_exchange(conn, &run->o, error_r))
        return false;
    for (unsigned i = 0; i < run->routing->n_queues; i++) {
        const char *queue = run->routing->queues[i];
        if (!declare_queue(conn, &run->o, queue, error_r) || !bind_queue(conn, run, queue, error_r))
            return false;
    }
    return run->o.topic_bindings == 0 || bind_other_queue(conn, run, error_r);
}

/* --- producers and consumers --- */

static bool
open_channels(struct link *link, char **error_r)
{
    union amqp_args none = {0}, reply;

    for (unsigned i = 0; i < link->n_channels; i++) {
        if (!conn_call(&link->conn, link->channels[i].id, AMQP_channel_open, &none,
                       AMQP_channel_open_ok, &reply, error_r))
            return false;
    }
    return true;
}

static bool
select_confirms(struct link *link, char **error_r)
{
    union amqp_args none = {0}, reply;

    for (unsigned i = 0; i < link->n_channels; i++) {
        if (!conn_call(&link->conn, link->channels[i].id, AMQP_confirm_select, &none,
                       AMQP_confirm_select_ok, &reply, error_r))
            return false;
    }
    return true;
}

static bool
set_prefetch(struct link *link, unsigned count, bool global, char **error_r)
{
    union amqp_args args = {.basic_qos = {.prefetch_count = (uint16_t)count, .global = global}},
                    reply;

    for (unsigned i = 0; count != 0 && i < link->n_channels; i++) {
        if (!conn_call(&link->conn, link->channels[i].id, AMQP_basic_qos, &args, AMQP_basic_qos_ok,
                       &reply, error_r))
            return false;
    }
    return true;
}

/* Only queued here: the worker sends it, since deliveries follow at once. */
static void
consume(struct link *link)
{
    const struct run *run = link_run_of(link);

    for (unsigned i = 0; i < link->n_channels; i++) {
        struct channel *ch = &link->channels[i];
        union amqp_args args = {.basic_consume = {
                                    .queue = slice_str(run->routing->queues[ch->queue]),
                                    .consumer_tag = slice_str("perf"),
                                    .no_ack = run->o.autoack,
                                    .arguments = bytes_slice(&run->o.consumer_args),
                                }};
        conn_send(&link->conn, ch->id, AMQP_basic_consume, &args);
    }
}

static size_t
image_room(const struct run *run)
{
    unsigned per_worker = (run->o.producers + run->n_workers - 1) / run->n_workers;
    size_t room = IMAGE_BUDGET / per_worker;

    return room > IMAGE_MAX ? IMAGE_MAX : room < IMAGE_MIN ? IMAGE_MIN : room;
}

static bool
add_link(struct run *run, bool is_producer, unsigned number, char **error_r)
{
    struct link *link = mem_zalloc(sizeof *link);
    char *name = mem_printf("%s-%s-%u", run->o.id, is_producer ? "producer" : "consumer", number);
    bool ok = conn_open(&link->conn, &run->o, name, error_r);

    free(name);
    link->worker = run->workers[number % run->n_workers];
    if (ok && is_producer) {
        producer_init(link, number, image_room(run));
        ok =
            open_channels(link, error_r) && (run->o.confirm == 0 || select_confirms(link, error_r));
    } else if (ok) {
        consumer_init(link, number);
        ok = open_channels(link, error_r) && set_prefetch(link, run->o.qos, false, error_r) &&
             set_prefetch(link, run->o.global_qos, true, error_r);
    }
    if (!ok) {
        link_free(&link);
        return false;
    }
    if (!is_producer)
        consume(link);
    worker_add(link->worker, link);
    return true;
}

static bool
add_links(struct run *run, char **error_r)
{
    unsigned most = (run->o.producers + run->n_workers) / run->n_workers +
                    (run->o.consumers + run->n_workers) / run->n_workers;

    for (unsigned i = 0; i < run->n_workers; i++)
        run->workers[i] = worker_new(run, most);
    for (unsigned i = 0; i < run->o.consumers; i++) {
        if (!add_link(run, false, i, error_r))
            return false;
    }
    for (unsigned i = 0; i < run->o.producers; i++) {
        if (!add_link(run, true, i, error_r))
            return false;
    }
    return true;
}

bool
setup_run(struct run *run)
{
    struct perf_options quiet = run->o;
    char *error = NULL;
    char *name = mem_printf("%s-control", run->o.id);

    quiet.heartbeat = 0; /* nobody looks after this connection during the run */
    bool ok = conn_open(&run->control, &quiet, name, &error);

    free(name);
    if (ok) {
        image_plan_init(&run->plan, &run->o, run->routing, run->control.frame_max);
        ok = declare_all(&run->control, run, &error) && add_links(run, &error);
    }
    if (!ok)
        run_fail(run, "%s", error);
    free(error);
    return ok;
}
