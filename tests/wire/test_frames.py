"""Frames that are wrong or in an unexpected order (1.9), and contents within their limits (1.10)."""

import re
import struct
import time

import pytest

import amqp
from conftest import differs_from_rabbitmq_3_10

FLOW = amqp.encode_method("channel.flow", active=True)
NOT_A_METHOD = "UNEXPECTED_FRAME - expected method frame, got non method frame instead"
NOT_A_HEADER = "UNEXPECTED_FRAME - expected content header for class 60, got non content header frame instead"
NOT_A_BODY = "UNEXPECTED_FRAME - expected content body, got non content body frame instead"
PUBLISH = amqp.ids_of("basic.publish")


def octets(data):
    return ",".join(str(b) for b in data)


def begin_publish(ch, size=None, **header):
    """basic.publish to a queue that is not there, and (with a size) the content header."""
    ch.send("basic.publish", routing_key="nowhere")
    if size is not None:
        ch.conn.send_frame(amqp.HEADER, ch.number, amqp.encode_header(size, **header))


# --- frames as such ---


@pytest.mark.parametrize("channel", [0, 1, 9])
def test_unknown_frame_type(conn, ch, channel):
    conn.send_frame(5, channel, b"abc")
    conn.expect_connection_close(501, 'FRAME_ERROR - type 5, all octets = <<"abc">>: unknown_frame')


def test_wrong_frame_end(conn, ch):
    conn.send_frame(amqp.METHOD, 1, FLOW, end=0xCD)
    since = time.monotonic()
    conn.expect_connection_close(
        501, f"FRAME_ERROR - type 1, all octets = <<{octets(FLOW)}>>: {{invalid_frame_end_marker,205}}", reply=False)
    # Nothing behind such a frame can be understood: not even close-ok is waited for.
    conn.expect_end()
    assert 2.5 < time.monotonic() - since < 6


def test_wrong_frame_end_of_a_body(conn, ch):
    begin_publish(ch, 4)
    conn.send_frame(amqp.BODY, 1, b"body", end=0)
    conn.expect_connection_close(501, re.compile("FRAME_ERROR - type 3, .*: {invalid_frame_end_marker,0}"), reply=False)
    conn.expect_end()


def test_frame_too_large(conn, ch):
    conn.send_bytes(struct.pack(">BHI", amqp.METHOD, 1, 131073))
    since = time.monotonic()
    conn.expect_connection_close(501, "FRAME_ERROR - type 1, all octets = <<>>: {frame_too_large,131073,131064}", reply=False)
    conn.expect_end()
    assert 2.5 < time.monotonic() - since < 6


def test_heartbeat_on_a_channel(conn, ch):
    conn.send_frame(amqp.HEARTBEAT, 1, b"")
    conn.expect_connection_close(505, "UNEXPECTED_FRAME - type 8, all octets = <<>>")


def test_heartbeat_with_payload(conn):
    conn.send_frame(amqp.HEARTBEAT, 0, b"x")
    conn.expect_connection_close(501, 'FRAME_ERROR - type 8, all octets = <<"x">>: unknown_frame')


def test_header_on_channel_0(conn):
    header = amqp.encode_header(1)
    conn.send_frame(amqp.HEADER, 0, header)
    conn.expect_connection_close(505, f"UNEXPECTED_FRAME - type 2, all octets = <<{octets(header)}>>")


def test_body_on_channel_0(conn):
    conn.send_frame(amqp.BODY, 0, b"x")
    conn.expect_connection_close(505, re.compile("UNEXPECTED_FRAME - type 3, all octets = <<.*>>"))


# --- methods that cannot be decoded ---


@pytest.mark.parametrize("name, fields", [
    ("channel.flow", b"\1\x63"), ("channel.flow", b""), ("queue.purge", b"\0\0\5abc"), ("basic.ack", b"\0\0\0"),
])
def test_bytes_missing_or_left_over(conn, ch, name, fields):
    conn.send_frame(amqp.METHOD, 1, struct.pack(">HH", *amqp.ids_of(name)) + fields)
    ch.expect_refusal(name, f"FRAME_ERROR - cannot decode <<{octets(fields)}>>")


@pytest.mark.parametrize("name, fields", [
    ("queue.declare", {"queue": b"\xff"}), ("queue.bind", {"routing_key": b"a\xc3"}),
    ("basic.consume", {"consumer_tag": b"tag\x80"}),
])
def test_invalid_utf8_in_a_method_without_content(conn, ch, name, fields):
    ch.send(name, **fields)
    conn.expect_connection_close(501, "FRAME_ERROR - Malformed UTF-8 in shortstr")


def test_any_bytes_in_the_routing_key_of_a_publish(ch, pub, exchange):
    queue = ch.queue()
    ch.call("queue.bind", queue=queue, exchange="amq.fanout")
    pub.put("amq.fanout", b"\xff\xfe", b"x")
    assert amqp.as_bytes(ch.get(queue).routing_key) == b"\xff\xfe"


@differs_from_rabbitmq_3_10("resets the connection")
@pytest.mark.parametrize("ids", [(60, 99), (99, 10), (0, 0), (65535, 65535)])
def test_unknown_method(conn, ch, ids):
    conn.send_frame(amqp.METHOD, 1, struct.pack(">HH", *ids))
    assert conn.expect("connection.close").reply_code == 503
    conn.send("connection.close-ok")
    conn.expect_end()


@differs_from_rabbitmq_3_10("resets the connection")
@pytest.mark.parametrize("table", [
    b"\1kU\0\1", b"\1kC\1", b"\1kc\1", b"\1kq\1", b"\1kI\0", b"\1kS\0\0\0\x09abc", b"\1kF\0\0\0\2\1", b"\1kA\0\0\0\1I",
    b"\5k", b"\1k",
])
def test_table_that_cannot_be_decoded(conn, ch, table):
    ch.send("queue.declare", queue="q", exclusive=True, arguments=table)
    assert conn.expect("connection.close").reply_code == 501
    conn.send("connection.close-ok")
    conn.expect_end()


# --- methods, headers and bodies out of order ---


def test_header_without_a_method(conn, ch):
    conn.send_frame(amqp.HEADER, 1, amqp.encode_header(1))
    conn.expect_connection_close(505, NOT_A_METHOD)


def test_body_without_a_method(conn, ch):
    conn.send_frame(amqp.BODY, 1, b"x")
    conn.expect_connection_close(505, NOT_A_METHOD)


def test_body_behind_a_content_without_body(conn, ch):
    begin_publish(ch, 0)
    conn.send_frame(amqp.BODY, 1, b"")
    conn.expect_connection_close(505, NOT_A_METHOD)


def test_method_instead_of_a_header(conn, ch):
    begin_publish(ch)
    ch.send("channel.flow", active=True)
    conn.expect_connection_close(505, NOT_A_HEADER, *PUBLISH)


def test_body_instead_of_a_header(conn, ch):
    begin_publish(ch)
    conn.send_frame(amqp.BODY, 1, b"x")
    conn.expect_connection_close(505, NOT_A_HEADER, *PUBLISH)


def test_header_of_another_class(conn, ch):
    begin_publish(ch, 1, class_id=50)
    conn.expect_connection_close(
        505, "UNEXPECTED_FRAME - expected content header for class 60, got one for class 50 instead", *PUBLISH)


def test_header_with_a_weight(conn, ch):
    begin_publish(ch, 1, weight=1)
    conn.expect_connection_close(505, NOT_A_HEADER, *PUBLISH)


def test_method_instead_of_a_body(conn, ch):
    begin_publish(ch, 2)
    conn.send_frame(amqp.BODY, 1, b"x")
    ch.send("channel.flow", active=True)
    conn.expect_connection_close(505, NOT_A_BODY, *PUBLISH)


def test_header_instead_of_a_body(conn, ch):
    begin_publish(ch, 2)
    conn.send_frame(amqp.HEADER, 1, amqp.encode_header(2))
    conn.expect_connection_close(505, NOT_A_BODY, *PUBLISH)


@differs_from_rabbitmq_3_10("takes it")
@pytest.mark.parametrize("bodies", [[b"xyz"], [b"x", b"yz"]])
def test_body_longer_than_announced(conn, ch, bodies):
    begin_publish(ch, 2)
    for body in bodies:
        conn.send_frame(amqp.BODY, 1, body)
    conn.expect_connection_close(501, "FRAME_ERROR - content body frame exceeds remaining content size", *PUBLISH)


@differs_from_rabbitmq_3_10("has no such cap")
def test_body_size_beyond_the_cap(conn, ch):
    begin_publish(ch, 536870913)
    conn.expect_connection_close(
        501, "FRAME_ERROR - content body size 536870913 exceeds maximum allowed size 536870912", *PUBLISH)


# --- content properties ---


@pytest.mark.parametrize("properties", [
    b"\x80\0\5tex", b"\x08\0", b"\x10\0\1\2", b"\0\0\0", b"\x20\0\0\0\0\3\1kU",
], ids=["short string", "missing octet", "left over", "left over without flags", "undecodable headers"])
def test_properties_that_cannot_be_decoded(conn, ch, properties):
    ch.send("basic.publish", routing_key="nowhere")
    conn.send_frame(amqp.HEADER, 1, struct.pack(">HHQ", 60, 0, 1) + properties)
    conn.send_frame(amqp.BODY, 1, b"x")
    conn.expect_connection_close(541, "INTERNAL_ERROR")


def test_unknown_property_flags_are_ignored(ch):
    queue = ch.queue()
    ch.send("basic.publish", routing_key=queue)
    ch.conn.send_frame(amqp.HEADER, 1, struct.pack(">HHQH", 60, 0, 0, 0x1002) + b"\2")
    ch.nothing()


# --- order among channels ---


def test_channels_interleave_within_a_content(conn, ch):
    two = conn.channel()
    queue = ch.queue()
    heartbeat = amqp.encode_frame(amqp.HEARTBEAT, 0, b"")
    for number in (1, 2):
        conn.send("basic.publish", number, routing_key=queue)
        conn.send_bytes(heartbeat)
    for number in (1, 2):
        conn.send_frame(amqp.HEADER, number, amqp.encode_header(4))
        conn.send_bytes(heartbeat)
    for part in ("first", "other"):
        for number in (1, 2):
            conn.send_frame(amqp.BODY, number, f"{part[0]}{number}".encode())
            conn.send_bytes(heartbeat)
    ch.nothing()
    two.nothing()
    assert sorted(ch.drain(queue)) == [b"f1o1", b"f2o2"]


def test_zero_length_body_frames_within_a_body(conn, ch, pub):
    queue = ch.queue()
    pub.send("basic.publish", routing_key=queue)
    conn.send_frame(amqp.HEADER, pub.number, amqp.encode_header(4))
    for part in (b"", b"bo", b"", b"", b"dy"):
        conn.send_frame(amqp.BODY, pub.number, part)
    pub.expect("basic.ack", delivery_tag=1)
    assert ch.get(queue).body == b"body"


def test_frames_in_single_bytes(conn, ch, pub):
    queue = ch.queue()
    for byte in amqp.publish_frames(pub.number, "", queue, b"body", {"headers": {"a": 1}}):
        conn.send_bytes(bytes([byte]))
    pub.expect("basic.ack", delivery_tag=1)
    got = ch.get(queue)
    assert (got.body, got.properties) == (b"body", {"headers": {"a": 1}})


@pytest.mark.parametrize("size", [0, 1, 131064, 131065, 262144, 5_000_000])
def test_bodies_of_all_sizes(ch, pub, size):
    queue = ch.queue()
    body = bytes(i % 251 for i in range(1000)) * (size // 1000 + 1)
    pub.put("", queue, body[:size])
    assert ch.get(queue).body == body[:size]


# --- message size (1.10) ---


def test_max_message_size(broker):
    conn = broker({"max_message_size": 1000}).open()
    ch, sync = conn.channel(), conn.channel()
    queue = sync.queue()
    ch.publish("", queue, b"x" * 1000)
    ch.nothing()
    assert len(sync.get(queue).body) == 1000
    # Told only when all of it is there, and before the exchange is looked up.
    ch.send("basic.publish", exchange="nope", routing_key=queue)
    conn.send_frame(amqp.HEADER, 1, amqp.encode_header(1001))
    conn.send_frame(amqp.BODY, 1, b"x" * 1000)
    sync.nothing()
    assert not conn.inbox[1]
    conn.send_frame(amqp.BODY, 1, b"x")
    ch.expect_refusal("basic.publish",
                      "PRECONDITION_FAILED - message size 1001 is larger than configured max size 1000")
    ch.reopen().nothing()
    conn.close()


def test_default_max_message_size(conn, ch):
    limit = 134217728
    begin_publish(ch, limit + 1)
    frame = amqp.encode_frame(amqp.BODY, 1, b"x" * 131064)
    for _ in range((limit + 1) // 131064):
        conn.send_bytes(frame)
    conn.send_frame(amqp.BODY, 1, b"x" * ((limit + 1) % 131064))
    ch.expect_refusal("basic.publish", f"PRECONDITION_FAILED - message size {limit + 1} is larger than configured max "
                                       f"size {limit}")
