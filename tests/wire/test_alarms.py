"""Resource alarms: the memory and the disk that a real broker sees, and what its clients notice."""

import os
import time

import pika
import pytest

import amqp

MIB = 1 << 20
ALWAYS = {"vm_memory_high_watermark.relative": "0"}


def wait_for_log(broker, text):
    deadline = time.monotonic() + 30
    while text not in broker.log():
        assert time.monotonic() < deadline, f"no '{text}' in the log:\n{broker.log()}"
        time.sleep(0.02)


def expect_blocked(channel, reason):
    """The channel's publish is blocked, and so is what comes behind it."""
    channel.conn.expect("connection.blocked", reason=reason)
    channel.send("queue.declare", queue="nowhere", passive=True)
    channel.conn.expect_silence(0.3)


def publish_until_blocked(channel, queue, body, reason):
    """Publishes one message after the other on a channel in confirm mode; returns how many were taken."""
    while channel.published < 50000:
        channel.publish("", queue, body)
        frame = channel.conn.read_frame()
        method = amqp.decode_method(frame.payload, frame.channel)
        if method.name == "connection.blocked":
            assert method.reason == reason
            return channel.published - 1
        assert (method.name, method.delivery_tag) == ("basic.ack", channel.published)
    raise AssertionError("never blocked")


@pytest.mark.parametrize("settings, reason", [
    (ALWAYS, "low on memory"),
    ({"vm_memory_high_watermark.absolute": "1"}, "low on memory"),
    ({"total_memory_available_override_value": "1MB"}, "low on memory"),
    ({"disk_free_limit.absolute": "1000TB"}, "low on disk"),
    ({"disk_free_limit.relative": "1000", "total_memory_available_override_value": "1TB"}, "low on disk"),
    ({"disk_free_limit.absolute": "1000TB", **ALWAYS}, "low on disk & memory"),
], ids=lambda value: None if isinstance(value, dict) else value)
def test_alarm_from_the_start(broker, settings, reason):
    """The first publish of the first client is blocked. Who does not publish is not, nor is basic.publish alone."""
    b = broker(settings)
    publisher, consumer = b.open().channel(), b.open().channel()
    queue = consumer.queue()
    publisher.send("basic.publish", exchange="", routing_key=queue)
    publisher.conn.channel()
    publisher.conn.send_bytes(amqp.encode_frame(amqp.HEADER, publisher.number, amqp.encode_header(1)))
    expect_blocked(publisher, reason)
    consumer.consume(queue)
    assert consumer.counts(queue) == (0, 1)
    publisher.conn.abort()


@pytest.mark.parametrize("settings", [
    {},
    {"vm_memory_high_watermark.relative": "unset", "disk_free_limit.absolute": "0"},
    # The absolute limit wins over the relative one.
    {"vm_memory_high_watermark.absolute": "100GB", **ALWAYS},
    {"disk_free_limit.absolute": "0", "disk_free_limit.relative": "1000"},
])
def test_no_alarm(broker, settings):
    b = broker(settings)
    channel = b.open().channel(confirm=True)
    channel.put("", channel.queue(), b"x")
    assert "alarm" not in b.log()


def test_memory_alarm_comes_and_goes(broker, monkeypatch):
    """A backlog sets it, and purging the backlog clears it."""
    # What the address sanitizer keeps of freed memory counts as used.
    monkeypatch.setenv("ASAN_OPTIONS", os.environ.get("ASAN_OPTIONS", "") +
                       ":quarantine_size_mb=1:allocator_release_to_os_interval_ms=0")
    # Nothing is paged out, so that the backlog is felt.
    b = broker({"vm_memory_high_watermark.absolute": "160MiB", "coney.queue_memory_max": "1TB",
                "coney.messages_memory_max": "1TB"})
    publisher, other = b.open().channel(confirm=True), b.open().channel()
    queue = other.queue("backlog")
    taken = publish_until_blocked(publisher, queue, bytes(64 * 1024), "low on memory")
    assert taken > 2000
    assert "vm_memory_high_watermark set. Memory used:" in b.log()
    assert " allowed:167772160" in b.log()
    assert other.call("queue.purge", queue=queue).message_count == taken

    publisher.conn.expect("connection.unblocked", timeout=30)
    publisher.expect("basic.ack", delivery_tag=taken + 1)
    assert other.counts(queue) == (1, 0)
    assert "memory resource limit alarm cleared" in b.log()


def test_disk_alarm_comes_and_goes(broker, tmp_path):
    """A file that fills the disk sets it, and deleting the file clears it."""
    size = 512 * MIB
    st = os.statvfs(tmp_path)
    # Others may use the disk meanwhile: there is room for half of the file's size either way.
    b = broker({"disk_free_limit.absolute": str(st.f_bavail * st.f_frsize - size // 2)})
    publisher = b.open().channel(confirm=True)
    queue = publisher.queue()
    publisher.put("", queue, b"before")
    with open(tmp_path / "ballast", "wb") as ballast:
        os.posix_fallocate(ballast.fileno(), 0, size)
        os.fsync(ballast.fileno())
    wait_for_log(b, "disk resource limit alarm set")
    assert "Free disk space is insufficient. Free bytes: " in b.log()
    publisher.publish("", queue, b"pending")
    publisher.conn.expect("connection.blocked", reason="low on disk")

    (tmp_path / "ballast").unlink()
    os.sync()  # the file system counts the blocks as free when it has written that down
    publisher.conn.expect("connection.unblocked", timeout=30)
    publisher.expect("basic.ack", delivery_tag=2)
    assert publisher.drain(queue) == [b"before", b"pending"]
    assert "Free disk space is sufficient. Free bytes: " in b.log()


def test_heartbeats_while_blocked(broker):
    """The broker goes on sending them, and does not ask for the client's."""
    c = broker({"heartbeat": 1, **ALWAYS}).open(tune_ok={"heartbeat": 1})
    channel = c.channel()
    channel.publish("", "q", b"x")
    c.expect("connection.blocked")
    for _ in range(8):
        assert c.read_frame(10).type == amqp.HEARTBEAT
    c.abort()


def test_pika_is_told(broker):
    """pika's blocked_connection_timeout runs from connection.blocked on."""
    host, port = broker(ALWAYS).address
    reasons = []
    parameters = pika.ConnectionParameters(host, port, blocked_connection_timeout=1)
    connection = pika.BlockingConnection(parameters)
    connection.add_on_connection_blocked_callback(lambda _c, method: reasons.append(method.method.reason))
    connection.channel().basic_publish("", "q", b"x")
    with pytest.raises(pika.exceptions.ConnectionBlockedTimeout):
        for _ in range(10):  # it returns when it has called back
            connection.process_data_events(time_limit=30)
    assert reasons == ["low on memory"]
