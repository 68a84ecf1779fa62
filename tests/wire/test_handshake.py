"""From the protocol header to connection.open-ok (1.1 to 1.6)."""

import struct
import time

import pytest

import amqp
from conftest import differs_from_rabbitmq_3_10

# Seconds from the refusal until the socket is reset: RabbitMQ's 3, and room for a slow machine.
REFUSAL = (2.5, 6)

LOGIN_REFUSED = "ACCESS_REFUSED - Login was refused using authentication mechanism {}. For details see the broker logfile."
NEGOTIATION = "NOT_ALLOWED - failed to negotiate connection parameters: negotiated "


def expect_ends_after_refusal(connections, since):
    """All of them end, silently, after the pause that brakes guessing."""
    for c in connections:
        c.expect_end()
        assert REFUSAL[0] < time.monotonic() - since < REFUSAL[1]


# --- protocol header (1.1) ---


@pytest.mark.parametrize("header", [b"AMQP\0\0\x09\1", b"AMQP\1\1\0\x09"])
def test_accepted_headers(connect, header):
    c = connect()
    c.send_header(header)
    c.expect("connection.start", version_major=0, version_minor=9)


@pytest.mark.parametrize("header", [
    b"AMQP\0\0\x09\0", b"AMQP\0\0\x09\2", b"AMQP\0\0\x0a\1",
    pytest.param(b"AMQP\1\1\x08\0", marks=differs_from_rabbitmq_3_10("still takes AMQP 0-8")),
    b"AMQP\0\0\x08\0", b"AMQP\0\1\0\0", b"AMQP\2\1\0\0", b"AMQP\3\1\0\0", b"AMQP\x09\x09\x09\x09", b"AMQQ\0\0\x09\1",
    b"GET / HT", b"HTTP/1.1", b"\x16\x03\1\2\0\1\0\1",
])
def test_other_headers_are_answered_with_ours(connect, header):
    c = connect()
    c.send_header(header)
    assert c.read_bytes(8) == b"AMQP\0\0\x09\1"
    c.expect_end()


def test_header_in_pieces(connect):
    c = connect()
    for i in range(8):
        c.send_bytes(amqp.PROTOCOL_HEADER[i:i + 1])
    c.expect("connection.start")


# --- connection.start (1.2) ---


def test_start(connect):
    start = connect().to_start()
    assert sorted(start.mechanisms.decode().split()) == ["AMQPLAIN", "PLAIN"]
    assert start.locales == b"en_US"
    properties = start.server_properties
    assert {"capabilities", "cluster_name", "copyright", "information", "platform", "product", "version"} <= set(properties)
    assert all(isinstance(v, str) for k, v in properties.items() if k != "capabilities")
    for name in ("publisher_confirms", "exchange_exchange_bindings", "basic.nack", "consumer_cancel_notify",
                 "connection.blocked", "consumer_priorities", "authentication_failure_close", "per_consumer_qos"):
        assert properties["capabilities"][name] is True


@differs_from_rabbitmq_3_10("another product")
def test_product(connect):
    properties = connect().to_start().server_properties
    assert (properties["product"], properties["version"]) == ("Coney", "4.3.0")


def test_product_from_settings(broker):
    c = broker({"product.name": "RabbitMQ", "product.version": "4.1.2"}).connect()
    properties = c.to_start().server_properties
    assert (properties["product"], properties["version"]) == ("RabbitMQ", "4.1.2")
    c.close()


# --- authentication (1.4) ---


def amqplain(*pairs):
    return amqp.encode_pairs(pairs)


@pytest.mark.parametrize("mechanism, response", [
    ("PLAIN", amqp.plain()),
    ("AMQPLAIN", amqplain(("LOGIN", "guest"), ("PASSWORD", "guest"))),
    ("AMQPLAIN", amqplain(("PASSWORD", "guest"), ("extra", 5), ("LOGIN", "guest"))),
])
def test_login(connect, mechanism, response):
    c = connect()
    tune = c.to_tune(mechanism=mechanism, response=response)
    assert (tune.channel_max, tune.frame_max, tune.heartbeat) == (2047, 131072, 60)
    c.tune_ok()
    assert c.open().known_hosts == ""


BAD_CREDENTIALS = [
    ("PLAIN", amqp.plain("guest", "wrong")), ("PLAIN", amqp.plain("nobody", "guest")),
    ("PLAIN", amqp.plain("guest", "")), ("PLAIN", amqp.plain("", "")),
    ("AMQPLAIN", amqplain(("LOGIN", "guest"), ("PASSWORD", "wrong"))),
    ("AMQPLAIN", amqplain(("LOGIN", "guest"), ("PASSWORD", 5))),
]


def test_bad_credentials_with_the_capability(connect):
    connections = []
    for mechanism, response in BAD_CREDENTIALS:
        c = connect()
        c.to_start()
        since = time.monotonic()
        c.start_ok(mechanism=mechanism, response=response)
        c.expect_connection_close(403, LOGIN_REFUSED.format(mechanism), reply=False)
        assert time.monotonic() - since < REFUSAL[0]
        connections.append(c)
    expect_ends_after_refusal(connections, since)


def test_bad_credentials_without_the_capability(connect):
    connections = []
    for mechanism, response in BAD_CREDENTIALS:
        c = connect()
        c.to_start()
        since = time.monotonic()
        c.start_ok(mechanism=mechanism, response=response, capabilities={})
        connections.append(c)
    expect_ends_after_refusal(connections, since)


def test_malformed_login_is_refused_in_silence(connect):
    cases = [
        ("PLAIN", b""), ("PLAIN", b"guest"), ("PLAIN", b"\0guest"), ("PLAIN", b"admin\0guest\0guest"),
        ("PLAIN", b"\0guest\0guest\0"), ("AMQPLAIN", amqplain(("LOGIN", "guest"))),
        ("AMQPLAIN", amqplain(("PASSWORD", "guest"))), ("AMQPLAIN", b"\x05LOGIN"), ("AMQPLAIN", b""),
        ("EXTERNAL", b""), ("NONSENSE", b""), ("", b""), ("plain", amqp.plain()),
    ]
    connections = []
    since = time.monotonic()
    for mechanism, response in cases:
        c = connect()
        c.to_start()
        since = time.monotonic()
        c.start_ok(mechanism=mechanism, response=response)
        connections.append(c)
    expect_ends_after_refusal(connections, since)


# --- methods out of order (1.4) ---


def test_methods_out_of_order_are_refused_in_silence(connect):
    def open_first(c):
        c.to_start()
        c.send("connection.open", virtual_host="/")

    def close_during_tune(c):
        c.to_tune()
        c.send("connection.close", reply_code=200)

    def start_ok_twice(c):
        c.to_tune()
        c.start_ok()

    connections = []
    for step in (open_first, close_during_tune, start_ok_twice):
        c = connect()
        step(c)
        since = time.monotonic()
        connections.append(c)
    expect_ends_after_refusal(connections, since)


@differs_from_rabbitmq_3_10("sends UNEXPECTED_FRAME")
def test_channel_frames_before_open_are_refused_in_silence(connect):
    def method_before_open(c):
        c.to_tune()
        c.tune_ok()
        c.send("channel.open", 1)

    def header_before_start_ok(c):
        c.to_start()
        c.send_frame(amqp.HEADER, 1, amqp.encode_header(1))

    def body_before_start_ok(c):
        c.to_start()
        c.send_frame(amqp.BODY, 1, b"x")

    connections = []
    for step in (method_before_open, header_before_start_ok, body_before_start_ok):
        c = connect()
        step(c)
        since = time.monotonic()
        connections.append(c)
    expect_ends_after_refusal(connections, since)


# --- size of frames before tune-ok (1.3) ---


@differs_from_rabbitmq_3_10("takes 4096 bytes")
def test_large_start_ok_is_taken(connect):
    c = connect()
    c.to_tune(properties={"token": "x" * 20000})
    c.tune_ok()
    c.open()


def test_huge_start_ok_is_refused(connect):
    c = connect()
    c.to_start()
    c.send_bytes(struct.pack(">BHI", amqp.METHOD, 0, 1 << 20))
    since = time.monotonic()
    expect_ends_after_refusal([c], since)


@pytest.mark.parametrize("capabilities", [5, "text", amqp.Tagged("A", [True])])
def test_capabilities_that_are_no_table_are_as_none(connect, capabilities):
    c = connect()
    c.to_start()
    c.start_ok(capabilities=capabilities)
    c.expect("connection.tune")


# --- tune (1.5) ---


@pytest.mark.parametrize("tune_ok", [
    {"frame_max": 4096}, {"frame_max": 8192}, {"frame_max": 131072}, {"channel_max": 1}, {"channel_max": 2047},
    {"heartbeat": 65535}, {"heartbeat": 0},
])
def test_tune_within_the_limits(open_connection, tune_ok):
    ch = open_connection(tune_ok=tune_ok).channel()
    queue = ch.queue()
    ch.publish("", queue, b"x" * 10000)
    assert ch.counts(queue)[1] == 0


TUNE_VIOLATIONS = [
    ({"frame_max": 4095}, "frame_max = 4095 is lower than the minimum allowed value (4096)"),
    ({"frame_max": 1}, "frame_max = 1 is lower than the minimum allowed value (4096)"),
    ({"frame_max": 0}, "frame_max = 0 is higher than the maximum allowed value (131072)"),
    ({"frame_max": 131073}, "frame_max = 131073 is higher than the maximum allowed value (131072)"),
    ({"channel_max": 0}, "channel_max = 0 (no limit) is higher than the maximum allowed value (2047)"),
    ({"channel_max": 2048}, "channel_max = 2048 is higher than the maximum allowed value (2047)"),
    ({"channel_max": 65535}, "channel_max = 65535 is higher than the maximum allowed value (2047)"),
]


@differs_from_rabbitmq_3_10("says nothing and resets")
def test_tune_violations(connect):
    connections = []
    for tune_ok, text in TUNE_VIOLATIONS:
        c = connect()
        c.to_tune()
        c.tune_ok(**tune_ok)
        since = time.monotonic()
        c.expect_connection_close(530, NEGOTIATION + text, reply=False)
        connections.append(c)
    expect_ends_after_refusal(connections, since)


def test_offered_values_are_settings(broker):
    own = broker({"channel_max": 5, "frame_max": 8192, "heartbeat": 7})
    c = own.connect()
    tune = c.to_tune()
    assert (tune.channel_max, tune.frame_max, tune.heartbeat) == (5, 8192, 7)
    c.tune_ok(channel_max=5, frame_max=8193)
    c.expect_connection_close(530, NEGOTIATION + "frame_max = 8193 is higher than the maximum allowed value (8192)",
                              reply=False)
    c.close()


def test_channel_max_counts_channels_and_not_their_numbers(open_connection):
    c = open_connection(tune_ok={"channel_max": 2})
    c.channel(65535)
    two = c.channel(40000)
    two.call("channel.close")
    c.channel(2)
    c.send("channel.open", 3)
    c.expect_connection_close(530, "NOT_ALLOWED - number of channels opened (2) has reached the negotiated channel_max (2)")


# --- frame_max (1.5) ---


def body_sizes(ch, queue):
    """The sizes of the body frames of one basic.get-ok."""
    ch.send("basic.get", queue=queue, no_ack=True)
    frames = [ch.conn.next_frame(ch.number) for _ in range(2)]
    size = struct.unpack(">Q", frames[1].payload[4:12])[0]
    sizes = []
    while sum(sizes) < size:
        sizes.append(len(ch.conn.next_frame(ch.number).payload))
    return sizes


def test_bodies_are_sent_in_frames_of_frame_max(open_connection):
    ch = open_connection(tune_ok={"frame_max": 4096}).channel()
    pub = ch.conn.channel(confirm=True)
    queue = ch.queue()
    pub.fill(queue, b"x" * (2 * 4088 + 1), b"x" * 4088, b"x", b"")
    assert [body_sizes(ch, queue) for _ in range(4)] == [[4088, 4088, 1], [4088], [1], []]


def test_headers_are_never_split(open_connection):
    properties = {"headers": {"long": "x" * 20000}}
    large, small = open_connection(), open_connection(tune_ok={"frame_max": 4096})
    ch = small.channel()
    queue = ch.queue()
    large.channel(confirm=True).put("", queue, b"x" * 5000, properties)
    got = ch.get(queue)
    assert got.properties == properties and len(got.body) == 5000


def test_frames_may_be_eight_bytes_longer(open_connection):
    ch = open_connection(tune_ok={"frame_max": 4096}).channel()
    queue = ch.queue()
    ch.send("basic.publish", routing_key=queue)
    ch.conn.send_frame(amqp.HEADER, 1, amqp.encode_header(4096))
    ch.conn.send_frame(amqp.BODY, 1, b"x" * 4096)
    ch.nothing()
    ch.send("basic.publish", routing_key=queue)
    ch.conn.send_frame(amqp.HEADER, 1, amqp.encode_header(4097))
    # Told by the frame's first seven bytes.
    ch.conn.send_bytes(struct.pack(">BHI", amqp.BODY, 1, 4097))
    since = time.monotonic()
    ch.conn.expect_connection_close(501, "FRAME_ERROR - type 3, all octets = <<>>: {frame_too_large,4097,4088}", reply=False)
    expect_ends_after_refusal([ch.conn], since)


# --- connection.open (1.6) ---


@pytest.mark.parametrize("name", ["nope", "", "//"])
def test_unknown_vhost(connect, name):
    c = connect()
    c.to_tune()
    c.tune_ok()
    c.send("connection.open", virtual_host=name)
    c.expect_connection_close(530, f"NOT_ALLOWED - vhost {name} not found", *amqp.ids_of("connection.open"))


def test_all_of_it_in_one_write(connect):
    c = connect()
    c.send_bytes(amqp.PROTOCOL_HEADER
                 + amqp.method_frame(0, "connection.start-ok", mechanism="PLAIN", response=amqp.plain(), locale="en_US")
                 + amqp.method_frame(0, "connection.tune-ok", channel_max=10, frame_max=131072, heartbeat=0)
                 + amqp.method_frame(0, "connection.open", virtual_host="/")
                 + amqp.method_frame(7, "channel.open"))
    for name in ("connection.start", "connection.tune", "connection.open-ok"):
        c.expect(name)
    c.expect("channel.open-ok", 7)


def test_another_default_vhost_and_user(broker):
    own = broker({"default_vhost": "shop", "default_user": "anna", "default_pass": "sésame"})
    c = own.open(start_ok={"response": amqp.plain("anna", "sésame")}, virtual_host="shop")
    c.channel().refuse("basic.get", "NOT_FOUND - no queue 'q' in vhost 'shop'", queue="q")
    c.close()


# --- handshake timeout (1.4) ---


def test_handshake_timeout(broker):
    own = broker({"handshake_timeout": 500})
    since = time.monotonic()
    silent, started = own.connect(), own.connect()
    started.to_start()
    tuned = own.connect()
    tuned.to_tune()
    opened = own.open()
    for c in (silent, started, tuned):
        c.expect_end()
        assert 0.4 < time.monotonic() - since < 4
    opened.channel().nothing()
    opened.close()
