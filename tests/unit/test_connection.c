/* Connections: handshake, refusals, frames, heartbeats, closing, and the limits of output, all
 * under a virtual clock. */
#include "broker/core/connection.h"

#include <stdio.h>

#include "base/log.h"
#include "broker/core/queue.h"
#include "broker/core/vhost.h"
#include "tests/unit/client.h"
#include "tests/unit/method_args.h"

static struct fake fake;

static void
setup(void)
{
    log_set_level(LOG_NONE);
    fake_init(&fake);
}

static void
teardown(void)
{
    fake_fini(&fake);
}

static const struct slice none = {NULL, 0};

static void
send_protocol_header(struct fake_peer *p)
{
    fake_send(p, slice_of(amqp_protocol_header, AMQP_PROTOCOL_HEADER_SIZE));
}

static void
send_start_ok(struct fake_peer *p, const char *mechanism, struct slice response,
              struct slice properties)
{
    FAKE_SEND(p, 0, connection, start_ok, .client_properties = properties,
              .mechanism = S(mechanism), .response = response);
}

#define GUEST slice_of("\0guest\0guest", 12)

/* Ended without a word: a reset after 3 s and not before. */
static void
expect_silent_refusal(struct fake_peer *p)
{
    fake_run(&fake);
    expect_nothing(p);
    fake_advance(&fake, 2999);
    ck_assert(!p->shut);
    fake_advance(&fake, 1);
    ck_assert(p->shut && p->reset);
    ck_assert_ptr_null(p->connection);
    expect_nothing(p);
}

/* --- handshake --- */

START_TEST(test_handshake)
{
    struct fake_peer *p = fake_connect(&fake);
    struct amqp_value v;

    send_protocol_header(p);
    fake_run(&fake);
    const struct amqp_connection_start *start =
        &expect(p, 0, AMQP_connection_start)->connection_start;
    ck_assert_uint_eq(start->version_major, 0);
    ck_assert_uint_eq(start->version_minor, 9);
    ck_assert_slice_eq(start->mechanisms, S("PLAIN AMQPLAIN"));
    ck_assert_slice_eq(start->locales, S("en_US"));
    ck_assert(amqp_table_check(start->server_properties));
    ck_assert(amqp_table_get(start->server_properties, "product", &v));
    ck_assert_slice_eq(v.s, S("Coney"));
    ck_assert(amqp_table_get(start->server_properties, "capabilities", &v));
    ck_assert(amqp_table_get(v.s, "basic.nack", &v) && v.boolean);

    send_start_ok(p, "PLAIN", GUEST, fake_properties());
    fake_run(&fake);
    const struct amqp_connection_tune *tune = &expect(p, 0, AMQP_connection_tune)->connection_tune;
    ck_assert_uint_eq(tune->channel_max, 2047);
    ck_assert_uint_eq(tune->frame_max, 131072);
    ck_assert_uint_eq(tune->heartbeat, 60);

    CAST(p, 0, connection, tune_ok, .channel_max = 10, .frame_max = 4096, .heartbeat = 0);
    FAKE_SEND(p, 0, connection, open, .virtual_host = S("/"));
    fake_run(&fake);
    ck_assert_uint_eq(expect(p, 0, AMQP_connection_open_ok)->connection_open_ok.known_hosts.n, 0);
    client_open_channel(p, 1);
    /* No heartbeat was agreed upon: silence for a day is fine. */
    fake_advance(&fake, 86400000);
    expect_nothing(p);
    ck_assert(!p->shut);
}
END_TEST

/* The header of AMQP 0-9 is taken too. */
START_TEST(test_version_0_9)
{
    struct fake_peer *p = fake_connect(&fake);

    fake_send(p, slice_of("AMQP\1\1\0\11", 8));
    fake_run(&fake);
    expect(p, 0, AMQP_connection_start);
}
END_TEST

static const struct slice wrong_headers[] = {
    {(const uint8_t *)"AMQP\0\0\11\0", 8},
    {(const uint8_t *)"AMQP\0\0\12\1", 8},
    {(const uint8_t *)"AMQP\0\1\0\0", 8},
    {(const uint8_t *)"AMQP\3\1\0\0", 8},
    {(const uint8_t *)"AMQQ\0\0\11\1", 8},
    {(const uint8_t *)"GET / HTTP/1.1\r\n", 16},
    {(const uint8_t *)"\26\3\1\0\376\1\0\0\372", 9},
};

START_TEST(test_wrong_header)
{
    struct fake_peer *p = fake_connect(&fake);

    fake_send(p, wrong_headers[_i]);
    fake_run(&fake);
    ck_assert_slice_eq(slice_of(p->out, p->n_out), slice_of(amqp_protocol_header, 8));
    ck_assert(p->shut && !p->reset);
    ck_assert_ptr_null(p->connection);
}
END_TEST

START_TEST(test_handshake_timeout)
{
    struct fake_peer *p = fake_connect(&fake);

    if (_i >= 1)
        send_protocol_header(p);
    if (_i >= 2)
        send_start_ok(p, "PLAIN", GUEST, none);
    if (_i >= 3)
        FAKE_SEND(p, 0, connection, tune_ok, .channel_max = 2047, .frame_max = 131072,
                  .heartbeat = 1);
    fake_advance(&fake, 9999);
    fake_read_all(p);
    ck_assert(!p->shut);
    fake_advance(&fake, 1);
    ck_assert(p->shut && p->reset);
    expect_nothing(p);
}
END_TEST

START_TEST(test_refused_login)
{
    static const struct {
        const char *mechanism;
        struct slice response;
    } logins[] = {
        {"PLAIN", {(const uint8_t *)"\0guest\0wrong", 12}},
        {"PLAIN", {(const uint8_t *)"\0nobody\0guest", 13}},
        {"AMQPLAIN", {(const uint8_t *)"\005LOGINS\0\0\0\5guest\010PASSWORDI\0\0\0\1", 30}},
    };

    for (size_t i = 0; i < sizeof logins / sizeof *logins; i++) {
        struct fake_peer *p = fake_connect(&fake), *old = fake_connect(&fake);
        char text[200];

        send_protocol_header(p);
        send_start_ok(p, logins[i].mechanism, logins[i].response, fake_properties());
        send_protocol_header(old);
        send_start_ok(old, logins[i].mechanism, logins[i].response, none);
        fake_run(&fake);
        expect(p, 0, AMQP_connection_start);
        snprintf(text, sizeof text,
                 "ACCESS_REFUSED - Login was refused using authentication mechanism %s. For "
                 "details see the broker logfile.",
                 logins[i].mechanism);
        expect_connection_close(p, 403, text, AMQP_METHOD_UNKNOWN);
        /* Whatever is sent now is not looked at. */
        FAKE_SEND(p, 0, connection, close_ok, );
        fake_send(p, S("garbage"));
        expect(old, 0, AMQP_connection_start);
        expect_silent_refusal(old);
        ck_assert(p->shut && p->reset);
    }
}
END_TEST

START_TEST(test_malformed_login)
{
    struct fake_peer *p = fake_connect(&fake);

    send_protocol_header(p);
    fake_run(&fake);
    expect(p, 0, AMQP_connection_start);
    switch (_i) {
    case 0:
        send_start_ok(p, "EXTERNAL", none, fake_properties());
        break;
    case 1:
        send_start_ok(p, "PLAIN", S("guest"), fake_properties());
        break;
    case 2:
        FAKE_SEND(p, 0, connection, open, .virtual_host = S("/"));
        break;
    case 3:
        FAKE_SEND(p, 0, connection, close, .reply_code = 200);
        break;
    case 4:
        FAKE_SEND(p, 1, channel, open, );
        break;
    case 5:
        fake_send_frame(p, AMQP_FRAME_METHOD, 0, slice_of("\0\12\0\13\0\0", 6));
        break;
    case 6:
        fake_send_frame(p, AMQP_FRAME_METHOD, 0, slice_of("\377\377\0\1", 4));
        break;
    case 7:
        fake_send_frame(p, AMQP_FRAME_BODY, 1, S("body"));
        break;
    case 8:
        fake_send_header(p, 1, 0, slice_of("\0\0", 2));
        break;
    case 9:
        fake_send_frame(p, 77, 0, S("what"));
        break;
    case 10:
        /* Larger than a frame may be before tune-ok. */
        fake_send(p, slice_of("\1\0\0\0\0\40\11", 7));
        break;
    default:
        fake_send(p, slice_of("\10\0\0\0\0\0\0\315", 8));
    }
    expect_silent_refusal(p);
}
END_TEST

static const struct {
    uint16_t channel_max;
    uint32_t frame_max;
    const char *text; /* NULL: accepted */
} tunings[] = {
    {2047, 131072, NULL},
    {1, 4096, NULL},
    {2047, 4095, "frame_max = 4095 is lower than the minimum allowed value (4096)"},
    {2047, 131073, "frame_max = 131073 is higher than the maximum allowed value (131072)"},
    {2047, 0, "frame_max = 0 is higher than the maximum allowed value (131072)"},
    {0, 131072, "channel_max = 0 (no limit) is higher than the maximum allowed value (2047)"},
    {2048, 131072, "channel_max = 2048 is higher than the maximum allowed value (2047)"},
};

START_TEST(test_tune)
{
    struct fake_peer *p = fake_connect(&fake);
    char text[200];

    send_protocol_header(p);
    send_start_ok(p, "PLAIN", GUEST, none);
    fake_run(&fake);
    fake_read_all(p);
    FAKE_SEND(p, 0, connection, tune_ok, .channel_max = tunings[_i].channel_max,
              .frame_max = tunings[_i].frame_max, .heartbeat = 60);
    FAKE_SEND(p, 0, connection, open, .virtual_host = S("/"));
    fake_run(&fake);
    if (tunings[_i].text == NULL) {
        expect(p, 0, AMQP_connection_open_ok);
        return;
    }
    snprintf(text, sizeof text,
             "NOT_ALLOWED - failed to negotiate connection parameters: negotiated %s",
             tunings[_i].text);
    expect_connection_close(p, 530, text, AMQP_METHOD_UNKNOWN);
    expect_silent_refusal(p);
}
END_TEST

START_TEST(test_unknown_vhost)
{
    struct fake_peer *p = fake_connect(&fake);

    send_protocol_header(p);
    send_start_ok(p, "PLAIN", GUEST, none);
    fake_run(&fake);
    fake_read_all(p);
    FAKE_SEND(p, 0, connection, tune_ok, .channel_max = 2047, .frame_max = 131072, .heartbeat = 60);
    FAKE_SEND(p, 0, connection, open, .virtual_host = S("nope"));
    fake_run(&fake);
    expect_connection_close(p, 530, "NOT_ALLOWED - vhost nope not found", AMQP_connection_open);
    FAKE_SEND(p, 0, connection, close_ok, );
    fake_run(&fake);
    ck_assert(p->shut && !p->reset);
}
END_TEST

/* The password's answer comes when the connection is gone, and another has its place. */
START_TEST(test_late_answer)
{
    struct fake_peer *p = fake_connect(&fake);

    fake.auth = FAKE_AUTH_LATER;
    fake_send_handshake(p, none);
    fake_run(&fake);
    uint64_t handle = p->connection->handle;
    fake_cut(p);
    struct fake_peer *next = fake_connect(&fake);
    ck_assert_uint_eq((uint32_t)next->connection->handle, (uint32_t)handle);
    ck_assert_uint_ne(next->connection->handle, handle);
    ck_assert_ptr_null(broker_find(fake.broker, handle));
    ck_assert_ptr_eq(broker_find(fake.broker, next->connection->handle), next->connection);
    ck_assert_ptr_null(broker_find(fake.broker, handle + 1));
    fake_answer(&fake, true);
    ck_assert_int_eq(next->connection->state, CONNECTION_HEADER);
    expect_nothing(next);

    /* Input that comes meanwhile waits. */
    fake_send_handshake(next, none);
    ck_assert(next->held);
    ck_assert_int_eq(next->connection->state, CONNECTION_AUTH);
    fake_run(&fake);
    fake_answer(&fake, true);
    fake_run(&fake);
    ck_assert_int_eq(next->connection->state, CONNECTION_RUNNING);
}
END_TEST

/* A connection that is refused while its password is being checked: the answer changes nothing any
 * more. */
START_TEST(test_timeout_during_check)
{
    struct fake_peer *p = fake_connect(&fake);

    fake.auth = FAKE_AUTH_LATER;
    fake_send_handshake(p, none);
    fake_advance(&fake, 10000);
    ck_assert(p->shut && p->reset);
    fake_answer(&fake, true);
    fake_run(&fake);
    expect(p, 0, AMQP_connection_start);
    expect_nothing(p);
}
END_TEST

/* --- heartbeats --- */

static struct fake_peer *
open_with_heartbeat(uint16_t seconds)
{
    fake.settings.heartbeat = seconds;
    return client_open(&fake);
}

static void
expect_heartbeat(struct fake_peer *p)
{
    struct fake_frame frame;

    ck_assert(fake_read(p, &frame));
    ck_assert_int_eq(frame.type, AMQP_FRAME_HEARTBEAT);
}

START_TEST(test_heartbeat_is_sent)
{
    struct fake_peer *p = open_with_heartbeat(10);
    const uint8_t heartbeat[] = {8, 0, 0, 0, 0, 0, 0, 0xce};

    fake_advance(&fake, 10000);
    expect_heartbeat(p);
    fake_read_all(p);
    /* From now on there is one in each half interval, as long as nothing else is sent. */
    for (int i = 0; i < 20; i++) {
        fake_send(p, slice_of(heartbeat, sizeof heartbeat));
        fake_advance(&fake, 5000);
        expect_heartbeat(p);
        expect_nothing(p);
    }
    CALL(p, 1, queue, declare, .queue = S("q"));
    fake_advance(&fake, 5000);
    expect_nothing(p);
    fake_advance(&fake, 5000);
    expect_heartbeat(p);
}
END_TEST

START_TEST(test_silent_client)
{
    struct fake_peer *p = open_with_heartbeat(2);

    CALL(p, 1, queue, declare, .queue = S("mine"), .exclusive = true);
    fake_advance(&fake, 3999);
    ck_assert(!p->shut);
    fake_advance(&fake, 2001);
    ck_assert(p->shut && p->reset);
    ck_assert_ptr_null(vhost_find_queue(fake_vhost(&fake), S("mine")));
    while (p->at_out < p->n_out)
        expect_heartbeat(p);
}
END_TEST

/* Any byte is a sign of life, even of a frame that takes minutes. */
START_TEST(test_slow_client)
{
    struct fake_peer *p = open_with_heartbeat(2);

    FAKE_SEND(p, 1, basic, publish, .routing_key = S("q"));
    fake_send_header(p, 1, 100, slice_of("\0\0", 2));
    fake_send(p, slice_of("\3\0\1\0\0\0\144", 7));
    for (int i = 0; i < 100; i++) {
        fake_advance(&fake, 1900);
        fake_send(p, S("x"));
    }
    fake_read_all(p);
    fake_send(p, slice_of("\xce", 1));
    CALL(p, 1, queue, declare, .queue = S("q"));
}
END_TEST

/* --- frames --- */

static struct fake_peer *
session(size_t piece, struct prng *g)
{
    static uint8_t bytes[65536];
    struct fake_peer *source = fake_connect(&fake), *p = fake_connect(&fake);

    /* Recorded through a connection that the broker never looks at. */
    source->held = true;
    fake_send_handshake(source, fake_properties());
    FAKE_SEND(source, 1, channel, open, );
    FAKE_SEND(source, 7, channel, open, );
    FAKE_SEND(source, 1, queue, declare, .queue = S("q"));
    FAKE_SEND(source, 1, confirm, select, .nowait = false);
    FAKE_SEND(source, 7, basic, consume, .queue = S("q"), .consumer_tag = S("tag"));
    send_publish(source, 1, "", "q", true, none, S("hello"));
    fake_send_frame(source, AMQP_FRAME_HEARTBEAT, 0, none);
    /* Frames of two channels between each other, and a body frame without contents. */
    FAKE_SEND(source, 1, basic, publish, .routing_key = S("q"));
    FAKE_SEND(source, 7, basic, publish, .routing_key = S("nowhere"), .mandatory = true);
    fake_send_header(source, 7, 0, slice_of("\0\0", 2));
    fake_send_header(source, 1, 6, slice_of("\0\0", 2));
    fake_send_body(source, 1, S("wor"));
    fake_send_body(source, 1, none);
    FAKE_SEND(source, 7, basic, ack, .delivery_tag = 0, .multiple = true);
    fake_send_body(source, 1, S("ld!"));
    FAKE_SEND(source, 1, queue, declare, .queue = S("nope"), .passive = true);
    FAKE_SEND(source, 0, connection, close, .reply_code = 200);
    size_t n = source->n_in;
    ck_assert_uint_lt(n, sizeof bytes);
    memcpy(bytes, source->in, n);
    source->n_in = 0;

    for (size_t at = 0, k; at < n; at += k) {
        k = piece != 0 ? piece : 1 + (size_t)prng_below(g, 40);
        if (k > n - at)
            k = n - at;
        fake_send(p, slice_of(bytes + at, k));
        /* The password is the only thing that waits for the loop. */
        if (p->held)
            fake_run(&fake);
    }
    fake_run(&fake);
    return p;
}

/* However the bytes of a session are cut, the same comes out. */
START_TEST(test_split_input)
{
    struct prng g = {.state = (uint64_t)_i + 1};
    static const size_t pieces[] = {1, 2, 3, 7, 8, 0, 0, 0, 0, 0};
    struct fake_peer *whole = session(65536, &g);
    struct slice wanted = slice_of(whole->out, whole->n_out);
    uint8_t *copy = exact_bytes(wanted);

    ck_assert_uint_gt(wanted.n, 600);
    fake_cut(whole);
    /* A new broker: the first session has left a queue. */
    fake_fini(&fake);
    fake_init(&fake);
    struct fake_peer *p = session(pieces[_i], &g);
    ck_assert_slice_eq(slice_of(p->out, p->n_out), slice_of(copy, wanted.n));
    free(copy);
    while (fake_read_all(p) != 0)
        continue;
    ck_assert_uint_eq(p->at_out, p->n_out);
}
END_TEST

static const struct {
    struct slice bytes;
    uint16_t code;
    const char *text;
    enum amqp_method_id culprit;
    bool unparsable; /* reset after 3 s, whatever comes */
} bad_frames[] = {
#define FRAME(literal)                                                                             \
    {                                                                                              \
        (const uint8_t *)"" literal, sizeof(literal) - 1                                           \
    }
    {FRAME("\5\0\1\0\0\0\3abc\xce"), 501,
     "FRAME_ERROR - type 5, all octets = <<\"abc\">>: unknown_frame", AMQP_METHOD_UNKNOWN, false},
    {FRAME("\1\0\1\0\0\0\4\0\12\0\12\xcd"), 501,
     "FRAME_ERROR - type 1, all octets = <<0,10,0,10>>: {invalid_frame_end_marker,205}",
     AMQP_METHOD_UNKNOWN, true},
    {FRAME("\1\0\1\0\2\0\1"), 501,
     "FRAME_ERROR - type 1, all octets = <<>>: {frame_too_large,131073,131064}",
     AMQP_METHOD_UNKNOWN, true},
    {FRAME("\3\0\1\377\377\377\377"), 501,
     "FRAME_ERROR - type 3, all octets = <<>>: {frame_too_large,4294967295,131064}",
     AMQP_METHOD_UNKNOWN, true},
    {FRAME("\10\0\1\0\0\0\0\xce"), 505, "UNEXPECTED_FRAME - type 8, all octets = <<>>",
     AMQP_METHOD_UNKNOWN, false},
    {FRAME("\10\0\0\0\0\0\1x\xce"), 501,
     "FRAME_ERROR - type 8, all octets = <<\"x\">>: unknown_frame", AMQP_METHOD_UNKNOWN, false},
    {FRAME("\2\0\0\0\0\0\22aaaaaaaaaaaaaaaaab\xce"), 505,
     "UNEXPECTED_FRAME - type 2, first 16 octets = <<\"aaaaaaaaaaaaaaaa\">>", AMQP_METHOD_UNKNOWN,
     false},
    {FRAME("\3\0\0\0\0\0\3abc\xce"), 505, "UNEXPECTED_FRAME - type 3, all octets = <<>>",
     AMQP_METHOD_UNKNOWN, false},
    {FRAME("\3\0\1\0\0\0\3abc\xce"), 505,
     "UNEXPECTED_FRAME - expected method frame, got non method frame instead", AMQP_METHOD_UNKNOWN,
     false},
    {FRAME("\2\0\1\0\0\0\16\0\74\0\0\0\0\0\0\0\0\0\0\0\0\xce"), 505,
     "UNEXPECTED_FRAME - expected method frame, got non method frame instead", AMQP_METHOD_UNKNOWN,
     false},
    {FRAME("\3\0\11\0\0\0\3abc\xce"), 505,
     "UNEXPECTED_FRAME - expected method frame, got non method frame instead", AMQP_METHOD_UNKNOWN,
     false},
    {FRAME("\1\0\0\0\0\0\5\0\24\0\12\0\xce"), 504,
     "CHANNEL_ERROR - unexpected method in connection state running", AMQP_channel_open, false},
    {FRAME("\1\0\11\0\0\0\5\0\132\0\12\xce\xce"), 501, "FRAME_ERROR - cannot decode <<206>>",
     AMQP_tx_select, false},
    {FRAME("\1\0\11\0\0\0\4\0\132\0\12\xce"), 504, "CHANNEL_ERROR - expected 'channel.open'",
     AMQP_tx_select, false},
    {FRAME("\1\0\1\0\0\0\5\0\24\0\12\0\xce"), 504, "CHANNEL_ERROR - second 'channel.open' seen",
     AMQP_channel_open, false},
    {FRAME("\1\0\1\0\0\0\4\0\12\0\63\xce"), 503, "COMMAND_INVALID - unimplemented method",
     AMQP_connection_close_ok, false},
    {FRAME("\1\0\1\0\0\0\7\0\74\0\37\2\377\376\xce"), 501,
     "FRAME_ERROR - Malformed UTF-8 in shortstr", AMQP_METHOD_UNKNOWN, false},
    {FRAME("\1\0\1\0\0\0\6\0\74\0\37\1a\xce"), 541, "INTERNAL_ERROR", AMQP_METHOD_UNKNOWN, false},
    {FRAME("\1\0\1\0\0\0\6\0\74\0\25\1a\xce"), 503, "COMMAND_INVALID - unimplemented method",
     AMQP_basic_consume_ok, false},
    {FRAME("\1\0\1\0\0\0\5\0\24\0\24\0\xce"), 540, "NOT_IMPLEMENTED - active=false",
     AMQP_channel_flow, false},
#undef FRAME
};

START_TEST(test_bad_frame)
{
    struct fake_peer *p = client_open(&fake);

    CALL(p, 1, queue, declare, .queue = S("mine"), .exclusive = true);
    fake_send(p, bad_frames[_i].bytes);
    fake_run(&fake);
    expect_connection_close(p, bad_frames[_i].code, bad_frames[_i].text, bad_frames[_i].culprit);
    ck_assert_ptr_null(vhost_find_queue(fake_vhost(&fake), S("mine")));
    if (bad_frames[_i].unparsable) {
        FAKE_SEND(p, 0, connection, close_ok, );
        expect_silent_refusal(p);
        return;
    }
    /* Frames for channels are not looked at any more, close-ok is. */
    FAKE_SEND(p, 1, queue, declare, .queue = S("q"));
    send_publish(p, 1, "", "q", false, none, S("x"));
    fake_send_frame(p, AMQP_FRAME_HEARTBEAT, 0, none);
    fake_run(&fake);
    ck_assert(!p->shut);
    expect_nothing(p);
    FAKE_SEND(p, 0, connection, close_ok, );
    fake_run(&fake);
    ck_assert(p->shut && !p->reset);
    ck_assert_ptr_null(vhost_find_queue(fake_vhost(&fake), S("q")));
}
END_TEST

/* Exactly the limit and its fudge of eight bytes are accepted. */
START_TEST(test_frame_max)
{
    struct fake_peer *p = client_open(&fake);
    static uint8_t body[131072];
    struct fake_content content;

    fake.settings.output_high_watermark = UINT64_MAX;
    declare_queue(p, "q");
    FAKE_SEND(p, 1, basic, publish, .routing_key = S("q"));
    fake_send_header(p, 1, sizeof body, slice_of("\0\0", 2));
    fake_send_body(p, 1, slice_of(body, sizeof body));
    FAKE_SEND(p, 1, basic, get, .queue = S("q"));
    fake_run(&fake);
    expect(p, 1, AMQP_basic_get_ok);
    /* It goes out in frames within the limit: fake_read() looks. */
    ck_assert(fake_read_content(p, 1, &content));
    ck_assert_uint_eq(content.body.n, sizeof body);
}
END_TEST

/* --- content --- */

static void
expect_content_error(struct fake_peer *p, uint16_t code, const char *text)
{
    fake_run(&fake);
    expect_connection_close(p, code, text, AMQP_basic_publish);
    FAKE_SEND(p, 0, connection, close_ok, );
    fake_run(&fake);
    ck_assert(p->shut && !p->reset);
}

START_TEST(test_content_order)
{
    static const char not_header[] = "UNEXPECTED_FRAME - expected content header for class 60, got "
                                     "non content header frame instead";
    static const char not_body[] =
        "UNEXPECTED_FRAME - expected content body, got non content body frame instead";
    struct fake_peer *p = client_open(&fake);
    const struct slice no_props = slice_of("\0\0", 2);

    FAKE_SEND(p, 1, basic, publish, .routing_key = S("q"));
    switch (_i) {
    case 0:
        FAKE_SEND(p, 1, tx, select, );
        expect_content_error(p, 505, not_header);
        break;
    case 1:
        fake_send_body(p, 1, S("x"));
        expect_content_error(p, 505, not_header);
        break;
    case 2:
        fake_send_frame(p, AMQP_FRAME_HEADER, 1, slice_of("\0\62\0\0\0\0\0\0\0\0\0\0\0\0", 14));
        expect_content_error(p, 505,
                             "UNEXPECTED_FRAME - expected content header for class 60, got one for "
                             "class 50 instead");
        break;
    case 3:
        fake_send_frame(p, AMQP_FRAME_HEADER, 1, slice_of("\0\74\0\1\0\0\0\0\0\0\0\0\0\0", 14));
        expect_content_error(p, 505, not_header);
        break;
    case 4:
        fake_send_header(p, 1, 5, no_props);
        fake_send_header(p, 1, 5, no_props);
        expect_content_error(p, 505, not_body);
        break;
    case 5:
        fake_send_header(p, 1, 5, no_props);
        fake_send_body(p, 1, S("abc"));
        FAKE_SEND(p, 1, channel, close, .reply_code = 200);
        expect_content_error(p, 505, not_body);
        break;
    case 6:
        fake_send_header(p, 1, 5, no_props);
        fake_send_body(p, 1, S("abc"));
        fake_send_body(p, 1, S("def"));
        expect_content_error(p, 501,
                             "FRAME_ERROR - content body frame exceeds remaining content size");
        break;
    default:
        fake_send_header(p, 1, 536870913, no_props);
        expect_content_error(
            p, 501,
            "FRAME_ERROR - content body size 536870913 exceeds maximum allowed size 536870912");
    }
}
END_TEST

START_TEST(test_message_size)
{
    struct fake_peer *p = client_open(&fake);

    fake.settings.max_message_size = 10;
    declare_queue(p, "q");
    publish(p, 1, "", "q", "0123456789");
    expect_get(p, 1, "q", true, false, 0, "0123456789");
    FAKE_SEND(p, 1, basic, publish, .routing_key = S("q"));
    fake_send_header(p, 1, 11, slice_of("\0\0", 2));
    fake_send_body(p, 1, S("0123456789"));
    fake_run(&fake);
    expect_nothing(p);
    fake_send_body(p, 1, S("x"));
    fake_run(&fake);
    expect_channel_close(
        p, 1, 406, "PRECONDITION_FAILED - message size 11 is larger than configured max size 10",
        AMQP_basic_publish);
}
END_TEST

/* --- channels --- */

START_TEST(test_thousand_channels)
{
    struct fake_peer *p = client_open(&fake);

    declare_queue(p, "q");
    for (unsigned i = 2; i <= 1000; i++)
        client_open_channel(p, (uint16_t)(i * 65));
    ck_assert_uint_eq(p->connection->n_channels, 1000);
    for (unsigned i = 2; i <= 1000; i++)
        FAKE_SEND(p, (uint16_t)(i * 65), basic, consume, .queue = S("q"), .nowait = true);
    for (unsigned i = 0; i < 999; i++)
        send_publish(p, 1, "", "q", false, none, S("x"));
    fake_run(&fake);
    ck_assert_uint_eq(fake_read_all(p), 999);
    for (unsigned i = 2; i <= 1000; i += 2)
        FAKE_SEND(p, (uint16_t)(i * 65), channel, close, .reply_code = 200);
    fake_run(&fake);
    ck_assert_uint_eq(p->connection->n_channels, 500);
    /* Beside their close-ok: what they had not acknowledged went to the others. */
    ck_assert_uint_eq(fake_read_all(p), 500 + 500);
    ck_assert_uint_eq(vhost_find_queue(fake_vhost(&fake), S("q"))->n_unacked, 999);
}
END_TEST

START_TEST(test_channel_max)
{
    fake.settings.channel_max = 2;
    struct fake_peer *p = client_open(&fake);

    client_open_channel(p, 65535);
    FAKE_SEND(p, 2, channel, open, );
    fake_run(&fake);
    expect_connection_close(
        p, 530,
        "NOT_ALLOWED - number of channels opened (2) has reached the negotiated channel_max (2)",
        AMQP_METHOD_UNKNOWN);
}
END_TEST

/* We have closed a channel: everything on it is dropped until close-ok, other channels go on. */
START_TEST(test_closing_channel)
{
    struct fake_peer *p = client_open(&fake);

    client_open_channel(p, 2);
    FAKE_SEND(p, 1, basic, publish, .exchange = S("nope"));
    FAKE_SEND(p, 1, basic, get, .queue = S("nope"));
    fake_run(&fake);
    expect_connection_close(p, 505,
                            "UNEXPECTED_FRAME - expected content header for class 60, got non "
                            "content header frame instead",
                            AMQP_basic_publish);

    p = client_open(&fake);
    client_open_channel(p, 2);
    FAKE_SEND(p, 1, basic, get, .queue = S("nope"));
    send_publish(p, 1, "nope", "", false, none, S("x"));
    FAKE_SEND(p, 1, queue, declare, .queue = S("q"));
    fake_run(&fake);
    expect_channel_close(p, 1, 404, "NOT_FOUND - no queue 'nope' in vhost '/'", AMQP_basic_get);
    expect_nothing(p);
    CALL(p, 2, queue, declare, .queue = S("r"));
    ck_assert_ptr_null(vhost_find_queue(fake_vhost(&fake), S("q")));
    CALL(p, 1, channel, close, .reply_code = 200);
    CAST(p, 1, channel, close_ok, );
    client_open_channel(p, 1);

    FAKE_SEND(p, 1, basic, get, .queue = S("nope"));
    FAKE_SEND(p, 1, channel, open, );
    fake_run(&fake);
    expect(p, 1, AMQP_channel_close);
    expect_connection_close(p, 504, "CHANNEL_ERROR - second 'channel.open' seen",
                            AMQP_channel_open);
}
END_TEST

/* The channel ends in the middle of a body: of its own, and of another channel's. */
START_TEST(test_channel_ends_in_body)
{
    struct fake_peer *p = client_open(&fake), *other = client_open(&fake);

    declare_queue(p, "q");
    FAKE_SEND(p, 1, basic, publish, .routing_key = S("q"));
    fake_send_header(p, 1, 10, slice_of("\0\0", 2));
    fake_send(p, slice_of("\3\0\1\0\0\0\12abc", 10));
    fake_cut(p);
    FAKE_SEND(other, 1, basic, publish, .routing_key = S("q"));
    fake_send_header(other, 1, 10, slice_of("\0\0", 2));
    fake_send(other, slice_of("\3\0\1\0\0\0\12abc", 10));
    broker_shutdown(fake.broker);
    fake_run(&fake);
    expect_connection_close(
        other, 320, "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'",
        AMQP_METHOD_UNKNOWN);
    fake_send(other, slice_of("defghij\xce", 8));
    FAKE_SEND(other, 0, connection, close_ok, );
    fake_run(&fake);
    ck_assert(other->shut && !other->reset);
}
END_TEST

/* --- closing --- */

START_TEST(test_close_by_client)
{
    struct fake_peer *p = client_open(&fake);

    FAKE_SEND(p, 0, connection, close, .reply_code = 200);
    FAKE_SEND(p, 1, queue, declare, .queue = S("q"));
    fake_run(&fake);
    expect(p, 0, AMQP_connection_close_ok);
    expect_nothing(p);
    ck_assert_ptr_null(vhost_find_queue(fake_vhost(&fake), S("q")));
    fake_advance(&fake, 29999);
    ck_assert(!p->shut);
    fake_advance(&fake, 1);
    ck_assert(p->shut && p->reset);
}
END_TEST

/* The peer's close-ok is awaited for the heartbeat's time, 30 s at most. */
START_TEST(test_close_ok_timeout)
{
    static const struct {
        uint16_t heartbeat;
        uint64_t ms;
    } timeouts[] = {{0, 30000}, {60, 30000}, {7, 7000}};
    struct fake_peer *p = open_with_heartbeat(timeouts[_i].heartbeat);

    broker_shutdown(fake.broker);
    fake_run(&fake);
    expect(p, 0, AMQP_connection_close);
    fake_advance(&fake, timeouts[_i].ms - 1);
    ck_assert(!p->shut);
    fake_advance(&fake, 1);
    ck_assert(p->shut && p->reset);
}
END_TEST

START_TEST(test_close_crosses_close)
{
    struct fake_peer *p = client_open(&fake);

    broker_shutdown(fake.broker);
    FAKE_SEND(p, 0, connection, close, .reply_code = 200);
    fake_run(&fake);
    expect(p, 0, AMQP_connection_close);
    expect(p, 0, AMQP_connection_close_ok);
    FAKE_SEND(p, 0, connection, close_ok, );
    fake_run(&fake);
    ck_assert(p->shut && !p->reset);
    expect_nothing(p);
}
END_TEST

/* --- output that is not read --- */

START_TEST(test_watermarks)
{
    fake.settings.output_high_watermark = 10000;
    struct fake_peer *p = client_open(&fake), *publisher = client_open(&fake);
    struct queue *q;

    declare_queue(p, "q");
    q = vhost_find_queue(fake_vhost(&fake), S("q"));
    consume(p, 1, "q", "a", true);
    p->is_blocked = true;
    for (int i = 0; i < 1000; i++)
        publish(publisher, 1, "", "q", "0123456789");
    /* It stops just above the mark, and starts below half of it. */
    ck_assert(connection_output_full(p->connection));
    ck_assert_uint_ge(p->connection->out.bytes, 10000);
    ck_assert_uint_lt(p->connection->out.bytes, 10200);
    size_t left = q->ready.count;
    ck_assert_uint_gt(left, 800);

    connection_written(p->connection, p->connection->out.bytes - 5001);
    fake_run(&fake);
    ck_assert_uint_eq(q->ready.count, left);
    connection_written(p->connection, 1);
    fake_run(&fake);
    ck_assert_uint_lt(q->ready.count, left);
    ck_assert_uint_ge(p->connection->out.bytes, 10000);
}
END_TEST

/* A peer that asks and does not listen is not listened to. */
START_TEST(test_input_held)
{
    fake.settings.output_high_watermark = 10000;
    struct fake_peer *p = client_open(&fake);

    p->is_blocked = true;
    for (int i = 0; i < 2000; i++)
        FAKE_SEND(p, 1, basic, recover, .requeue = true);
    fake_run(&fake);
    ck_assert(p->held);
    ck_assert_uint_gt(p->n_in, 0);
    ck_assert_uint_lt(p->connection->out.bytes, 10200);
    /* Being held back is no reason to be taken for dead. */
    fake_advance(&fake, 600000);
    ck_assert(!p->shut);
    p->is_blocked = false;
    fake_run(&fake);
    ck_assert(!p->held);
    ck_assert_uint_eq(p->n_in, 0);
    ck_assert_uint_eq(fake_read_all(p), 2000);
}
END_TEST

/* The broker closes a connection whose input it holds: close-ok must get through. */
START_TEST(test_close_while_held)
{
    fake.settings.output_high_watermark = 1000;
    struct fake_peer *p = client_open(&fake);

    p->is_blocked = true;
    for (int i = 0; i < 200; i++)
        FAKE_SEND(p, 1, basic, recover, .requeue = true);
    fake_run(&fake);
    ck_assert(p->held);
    broker_shutdown(fake.broker);
    ck_assert(!p->held);
    FAKE_SEND(p, 0, connection, close_ok, );
    fake_run(&fake);
    ck_assert(p->shut && !p->reset);
    /* Not before the output is written. */
    ck_assert_ptr_nonnull(p->connection);
    p->is_blocked = false;
    fake_run(&fake);
    ck_assert_ptr_null(p->connection);
}
END_TEST

/* --- ends in every state --- */

START_TEST(test_cut_in_every_state)
{
    struct fake_peer *p = fake_connect(&fake), *other = client_open(&fake);

    fake.auth = FAKE_AUTH_LATER;
    send_protocol_header(p);
    if (_i >= 1)
        send_start_ok(p, "PLAIN", GUEST, fake_properties());
    fake_run(&fake);
    if (_i >= 2) {
        fake_answer(&fake, true);
        fake_run(&fake);
    }
    if (_i >= 3)
        FAKE_SEND(p, 0, connection, tune_ok, .channel_max = 9, .frame_max = 8192, .heartbeat = 1);
    if (_i >= 4) {
        FAKE_SEND(p, 0, connection, open, .virtual_host = S("/"));
        FAKE_SEND(p, 1, channel, open, );
        FAKE_SEND(p, 1, queue, declare, .queue = S("q"), .exclusive = true, .auto_delete = true);
        FAKE_SEND(p, 1, queue, bind, .exchange = S("amq.topic"), .routing_key = S("#"));
        FAKE_SEND(p, 1, basic, consume, .consumer_tag = S("a"));
        FAKE_SEND(p, 1, confirm, select, .nowait = false);
    }
    for (int i = 0; _i >= 5 && i < 10; i++)
        send_publish(p, 1, "amq.topic", "k", false, none, S("x"));
    if (_i >= 6)
        fake_run(&fake);
    if (_i >= 7)
        connection_force_close(p->connection, "test");
    fake_cut(p);
    expect_nothing(other);
    fake_run(&fake);
    ck_assert_uint_eq(fake.broker->n_connections, 1);
    ck_assert_ptr_null(vhost_find_queue(fake_vhost(&fake), S("q")));
}
END_TEST

START_TEST(test_update_secret)
{
    struct fake_peer *p = client_open(&fake);

    CALL(p, 0, connection, update_secret, .new_secret = S("new"), .reason = S("why not"));
    CALL(p, 1, access, request, .realm = S("/data"));
    CALL(p, 1, channel, flow, .active = true);
}
END_TEST

#define COUNT(a) (sizeof(a) / sizeof *(a))

int
main(void)
{
    Suite *suite = suite_create("connection");
    TCase *tc = tcase_create("handshake");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, test_handshake);
    tcase_add_test(tc, test_version_0_9);
    tcase_add_loop_test(tc, test_wrong_header, 0, COUNT(wrong_headers));
    tcase_add_loop_test(tc, test_handshake_timeout, 0, 4);
    tcase_add_test(tc, test_refused_login);
    tcase_add_loop_test(tc, test_malformed_login, 0, 12);
    tcase_add_loop_test(tc, test_tune, 0, COUNT(tunings));
    tcase_add_test(tc, test_unknown_vhost);
    tcase_add_test(tc, test_late_answer);
    tcase_add_test(tc, test_timeout_during_check);
    suite_add_tcase(suite, tc);

    tc = tcase_create("heartbeat");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, test_heartbeat_is_sent);
    tcase_add_test(tc, test_silent_client);
    tcase_add_test(tc, test_slow_client);
    suite_add_tcase(suite, tc);

    tc = tcase_create("frames");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, test_split_input, 0, 10);
    tcase_add_loop_test(tc, test_bad_frame, 0, COUNT(bad_frames));
    tcase_add_test(tc, test_frame_max);
    tcase_add_loop_test(tc, test_content_order, 0, 8);
    tcase_add_test(tc, test_message_size);
    suite_add_tcase(suite, tc);

    tc = tcase_create("channels");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, test_thousand_channels);
    tcase_add_test(tc, test_channel_max);
    tcase_add_test(tc, test_closing_channel);
    tcase_add_test(tc, test_channel_ends_in_body);
    tcase_add_test(tc, test_update_secret);
    suite_add_tcase(suite, tc);

    tc = tcase_create("end");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, test_close_by_client);
    tcase_add_loop_test(tc, test_close_ok_timeout, 0, 3);
    tcase_add_test(tc, test_close_crosses_close);
    tcase_add_loop_test(tc, test_cut_in_every_state, 0, 8);
    suite_add_tcase(suite, tc);

    tc = tcase_create("output");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, test_watermarks);
    tcase_add_test(tc, test_input_held);
    tcase_add_test(tc, test_close_while_held);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
