/* Class connection: handshake, opening a vhost, closing (AMQP 0-9-1, 1.4.2; refusals as RabbitMQ
 * makes them). */
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "broker/core/broker.h"
#include "broker/core/connection.h"
#include "broker/core/sasl.h"
#include "broker/core/vhost.h"
#include "protocol/frame.h"
#include "protocol/table.h"

static const char *const server_capabilities[] = {
    "publisher_confirms",           "exchange_exchange_bindings", "basic.nack",
    "consumer_cancel_notify",       "connection.blocked",         "consumer_priorities",
    "authentication_failure_close", "per_consumer_qos",
};

static void
write_server_properties(struct writer *w, const struct settings *s)
{
    amqp_write_key(w, slice_str("capabilities"));
    write_u8(w, AMQP_TAG_TABLE);
    uint8_t *at = amqp_write_begin(w);
    for (size_t i = 0; i < sizeof server_capabilities / sizeof *server_capabilities; i++)
        amqp_write_bool(w, server_capabilities[i], true);
    amqp_write_end(w, at);
    amqp_write_str(w, "cluster_name", slice_str(s->cluster_name));
    amqp_write_str(w, "copyright", slice_str("Copyright (c) the Coney authors"));
    amqp_write_str(w, "information", slice_str("Licensed under the Apache License 2.0"));
    amqp_write_str(w, "platform", slice_str("C"));
    amqp_write_str(w, "product", slice_str(s->product));
    amqp_write_str(w, "version", slice_str(s->version));
}

void
connection_start(struct connection *c)
{
    const struct settings *s = c->broker->settings;
    size_t size = 1024 + strlen(s->cluster_name) + strlen(s->product) + strlen(s->version);
    uint8_t *buf = mem_alloc(size);
    struct writer w = writer_init(buf, size);

    write_server_properties(&w, s);
    union amqp_args args = {.connection_start = {
                                .version_major = 0,
                                .version_minor = 9,
                                .server_properties = slice_of(buf, (size_t)(w.p - buf)),
                                .mechanisms = slice_str(SASL_MECHANISMS),
                                .locales = slice_str("en_US"),
                            }};
    connection_send(c, 0, AMQP_connection_start, &args);
    free(buf);
    c->state = CONNECTION_START;
}

static struct slice
own(struct slice s)
{
    return slice_of(mem_dup(s.p, s.n), s.n);
}

/* A capability counts only as a boolean inside a table (RabbitMQ takes anything else as absent). */
static bool
capability(struct slice capabilities, const char *key)
{
    struct amqp_value v;

    return amqp_table_get(capabilities, key, &v) && v.tag == AMQP_TAG_BOOL && v.boolean;
}

static void
read_client_properties(struct connection *c, struct slice properties)
{
    struct amqp_value v;

    c->properties = own(properties);
    if (!amqp_table_get(c->properties, "capabilities", &v) || v.tag != AMQP_TAG_TABLE)
        return;
    c->capabilities.authentication_failure_close = capability(v.s, "authentication_failure_close");
    c->capabilities.consumer_cancel_notify = capability(v.s, "consumer_cancel_notify");
    c->capabilities.connection_blocked = capability(v.s, "connection.blocked");
}

/* Wrong credentials, whatever is wrong with them: a word to those who understand it, and a pause.
 */
static void
refuse_login(struct connection *c)
{
    struct amqp_error err;

    amqp_fail(&err, AMQP_ACCESS_REFUSED,
              "Login was refused using authentication mechanism %.*s. "
              "For details see the broker logfile.",
              SLICE_FMT(c->mechanism));
    connection_refuse(c, c->capabilities.authentication_failure_close ? &err : NULL,
                      "PLAIN or AMQPLAIN login refused: user or password is wrong, "
                      "or the user may log in only from this machine");
}

static void
on_start_ok(struct connection *c, const struct amqp_connection_start_ok *m)
{
    struct sasl_credentials credentials;

    read_client_properties(c, m->client_properties);
    c->mechanism = own(m->mechanism);
    switch (sasl_parse(m->mechanism, m->response, &credentials)) {
    case SASL_NO_MECHANISM:
        connection_refuse(c, NULL,
                          "client asked for an authentication mechanism that is not offered");
        break;
    case SASL_MALFORMED:
        connection_refuse(c, NULL, "malformed authentication response");
        break;
    case SASL_REFUSED:
        refuse_login(c);
        break;
    case SASL_OK:
        c->user = own(credentials.user);
        c->state = CONNECTION_AUTH;
        connection_hold(c, HOLD_AUTH);
        c->broker->env.authenticate(c->broker->env.ctx, c->handle, credentials.user,
                                    credentials.password, c->peer_is_loopback);
        break;
    }
}

void
connection_authenticated(struct connection *c, bool granted)
{
    const struct settings *s = c->broker->settings;

    if (c->state != CONNECTION_AUTH)
        return;
    connection_release_hold(c, HOLD_AUTH);
    if (!granted) {
        refuse_login(c);
        return;
    }
    union amqp_args args = {.connection_tune = {
                                .channel_max = s->channel_max,
                                .frame_max = s->frame_max,
                                .heartbeat = s->heartbeat,
                            }};
    connection_send(c, 0, AMQP_connection_tune, &args);
    c->state = CONNECTION_TUNE;
}

#define NEGOTIATION "failed to negotiate connection parameters: negotiated "

static bool
check_tune(const struct settings *s, const struct amqp_connection_tune_ok *m,
           struct amqp_error *err)
{
    if (m->frame_max == 0)
        return amqp_fail(err, AMQP_NOT_ALLOWED,
                         NEGOTIATION "frame_max = 0 is higher than the maximum allowed value (%u)",
                         s->frame_max);
    if (m->frame_max > s->frame_max)
        return amqp_fail(err, AMQP_NOT_ALLOWED,
                         NEGOTIATION "frame_max = %u is higher than the maximum allowed value (%u)",
                         m->frame_max, s->frame_max);
    if (m->frame_max < AMQP_FRAME_MIN_SIZE)
        return amqp_fail(err, AMQP_NOT_ALLOWED,
                         NEGOTIATION "frame_max = %u is lower than the minimum allowed value (%u)",
                         m->frame_max, AMQP_FRAME_MIN_SIZE);
    if (s->channel_max != 0 && m->channel_max == 0)
        return amqp_fail(err, AMQP_NOT_ALLOWED,
                         NEGOTIATION
                         "channel_max = 0 (no limit) is higher than the maximum allowed value (%u)",
                         s->channel_max);
    if (s->channel_max != 0 && m->channel_max > s->channel_max)
        return amqp_fail(err, AMQP_NOT_ALLOWED,
                         NEGOTIATION
                         "channel_max = %u is higher than the maximum allowed value (%u)",
                         m->channel_max, s->channel_max);
    return true;
}

static void
on_tune_ok(struct connection *c, const struct amqp_connection_tune_ok *m)
{
    struct amqp_error err;

    if (!check_tune(c->broker->settings, m, &err)) {
        connection_refuse(c, &err, "tune-ok outside of what tune offered");
        return;
    }
    c->frame_max = m->frame_max;
    c->channel_max = m->channel_max;
    c->heartbeat = m->heartbeat;
    c->state = CONNECTION_OPEN;
}

static void
on_open(struct connection *c, const struct amqp_connection_open *m)
{
    const union amqp_args ok = {.connection_open_ok = {.known_hosts = {NULL, 0}}};
    struct vhost *v = vhost_find(c->broker, m->virtual_host);
    struct amqp_error err;

    if (v == NULL) {
        amqp_fail(&err, AMQP_NOT_ALLOWED, "vhost %.*s not found", SLICE_FMT(m->virtual_host));
        connection_fail(c, &err, 10, 40);
        return;
    }
    timer_stop(&c->broker->timers, &c->deadline);
    c->vhost = v;
    c->state = CONNECTION_RUNNING;
    connection_send(c, 0, AMQP_connection_open_ok, &ok);
    connection_start_heartbeat(c);
    log_info("connection %s: user '%.*s' authenticated and granted access to vhost '%.*s'", c->name,
             SLICE_FMT(c->user), SLICE_FMT(v->name));
}

/* The client ends it: exclusive queues are gone before it hears close-ok. */
static void
on_close(struct connection *c)
{
    const union amqp_args ok = {0};

    connection_release(c);
    connection_send(c, 0, AMQP_connection_close_ok, &ok);
    if (c->state == CONNECTION_CLOSING)
        return;
    c->state = CONNECTION_ENDED;
    connection_await_close(c);
}

static void
running_method(struct connection *c, enum amqp_method_id id)
{
    const struct amqp_method_info *info = amqp_method_info(id);
    const union amqp_args ok = {0};
    struct amqp_error err;

    if (id == AMQP_connection_close) {
        on_close(c);
    } else if (id == AMQP_connection_update_secret) {
        /* Passwords do not expire: there is nothing to renew, and the client may go on. */
        connection_send(c, 0, AMQP_connection_update_secret_ok, &ok);
    } else {
        amqp_fail(&err, AMQP_CHANNEL_ERROR, "unexpected method in connection state running");
        connection_fail(c, &err, info->class_id, info->method_id);
    }
}

void
connection_method(struct connection *c, enum amqp_method_id id, const union amqp_args *args)
{
    switch (c->state) {
    case CONNECTION_RUNNING:
        running_method(c, id);
        return;
    case CONNECTION_CLOSING:
        if (id == AMQP_connection_close)
            on_close(c);
        else if (id == AMQP_connection_close_ok)
            c->broker->env.shut(c->io, false);
        return;
    case CONNECTION_START:
        if (id == AMQP_connection_start_ok) {
            on_start_ok(c, &args->connection_start_ok);
            return;
        }
        break;
    case CONNECTION_TUNE:
        if (id == AMQP_connection_tune_ok) {
            on_tune_ok(c, &args->connection_tune_ok);
            return;
        }
        break;
    case CONNECTION_OPEN:
        if (id == AMQP_connection_open) {
            on_open(c, &args->connection_open);
            return;
        }
        break;
    case CONNECTION_HEADER:
    case CONNECTION_AUTH:
    case CONNECTION_ENDED:
        break;
    }
    connection_refuse(c, NULL, "method out of order during the handshake");
}
