"""Heartbeats (1.7)."""

import time

import amqp

HEARTBEAT = amqp.encode_frame(amqp.HEARTBEAT, 0, b"")


def test_a_silent_client_is_reset_without_a_word(open_connection):
    c = open_connection(tune_ok={"heartbeat": 1})
    since, heartbeats = time.monotonic(), 0
    try:
        while True:
            assert c.read_frame() == amqp.Frame(amqp.HEARTBEAT, 0, b"")
            heartbeats += 1
    except amqp.Ended as ended:
        c.is_open = False
        assert ended.reset
    # Two intervals without a byte, seen at an interval's end; one heartbeat each half interval until then.
    assert 1.8 < time.monotonic() - since < 6
    assert heartbeats >= 2


def test_any_byte_keeps_a_client_alive(open_connection):
    heartbeat, bytewise = (open_connection(tune_ok={"heartbeat": 1}) for _ in range(2))
    drip = iter(amqp.method_frame(1, "channel.open"))
    for _ in range(10):
        heartbeat.send_bytes(HEARTBEAT)
        bytewise.send_bytes(bytes([next(drip)]))
        deadline = time.monotonic() + 0.5
        while (left := deadline - time.monotonic()) > 0:
            try:
                assert heartbeat.read_frame(left).type == amqp.HEARTBEAT
                heartbeat.heartbeats += 1
            except TimeoutError:
                break
    assert heartbeat.heartbeats >= 4
    heartbeat.channel().nothing()
    bytewise.send_bytes(bytes(drip))
    bytewise.expect("channel.open-ok", 1)


def test_heartbeat_zero_is_off_in_both_directions(open_connection):
    off = open_connection(tune_ok={"heartbeat": 0})
    off.expect_silence(2.5)
    off.send_bytes(HEARTBEAT)
    off.channel().nothing()


def test_the_clients_value_counts(broker):
    c = broker({"heartbeat": 1}).open(tune_ok={"heartbeat": 30})
    c.expect_silence(3.5)
    c.channel().nothing()
    c.close()
