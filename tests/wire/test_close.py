"""Ends of channels and connections (0.1 to 0.3), and what else concerns channels as such (3.1)."""

import re

import pytest

import amqp
from conftest import differs_from_rabbitmq_3_10

CHANNEL_CLOSED = "CHANNEL_ERROR - expected 'channel.open'"
SECOND_OPEN = "CHANNEL_ERROR - second 'channel.open' seen"
RUNNING = "CHANNEL_ERROR - unexpected method in connection state running"
NO_QUEUE = "NOT_FOUND - no queue 'nope' in vhost '/'"
PASSIVE_NOPE = {"queue": "nope", "passive": True}


def fail(ch):
    """A channel error; close-ok is left to the caller."""
    ch.send("queue.declare", **PASSIVE_NOPE)
    ch.expect_channel_close(404, NO_QUEUE, 50, 10, reply=False)


# --- after the server's channel.close (0.1) ---


def test_frames_of_a_closing_channel_are_dropped(conn, ch):
    sync = conn.channel()
    fail(ch)
    queue = sync.queue()
    ch.send("queue.declare", **PASSIVE_NOPE)
    ch.publish("", queue, b"lost")
    ch.publish("no such exchange", "k", b"")
    sync.nothing()
    assert sync.counts(queue) == (0, 0)
    ch.send("channel.close-ok")
    ch.reopen().nothing()


def test_open_directly_behind_close_ok(conn, ch):
    fail(ch)
    conn.send_bytes(amqp.method_frame(1, "channel.close-ok") + amqp.method_frame(1, "channel.open")
                    + amqp.method_frame(1, "channel.flow", active=True))
    ch.expect("channel.open-ok")
    ch.expect("channel.flow-ok", active=True)


def test_error_in_the_middle_of_a_pipeline(conn, ch):
    conn.send_bytes(b"".join(amqp.method_frame(1, "channel.flow", active=True) for _ in range(3))
                    + amqp.method_frame(1, "queue.declare", **PASSIVE_NOPE)
                    + b"".join(amqp.method_frame(1, "channel.flow", active=True) for _ in range(3)))
    for _ in range(3):
        ch.expect("channel.flow-ok")
    ch.expect_channel_close(404, NO_QUEUE, 50, 10)
    ch.reopen().nothing()


def test_client_closes_a_channel_that_is_closing(ch):
    fail(ch)
    ch.call("channel.close")
    ch.send("channel.close-ok")
    ch.reopen().nothing()


def test_open_of_a_closing_channel(ch):
    fail(ch)
    ch.refuse("channel.open", SECOND_OPEN)


def test_an_error_returns_what_the_channel_had(conn, ch, pub, other, shared_queue):
    queue = shared_queue()
    pub.fill(queue, b"1", b"2", b"3")
    ch.call("basic.qos", prefetch_count=2)
    ch.consume(queue)
    assert ch.deliveries(2) == [b"1", b"2"]
    fail(ch)
    watch = other.channel()
    assert watch.counts(queue) == (3, 0)
    got = watch.get(queue)
    assert (got.body, got.redelivered) == (b"1", True)
    ch.send("channel.close-ok")


def test_nowait_request_that_fails(ch):
    ch.refuse("queue.bind", "NOT_FOUND - no exchange 'nope' in vhost '/'", queue=ch.queue(), exchange="nope", nowait=True)


def test_nowait_requests_are_not_answered(ch, unique, tidy):
    queue, exchange = unique(), tidy("exchange", unique())
    ch.send("queue.declare", queue=queue, exclusive=True, nowait=True)
    ch.send("exchange.declare", exchange=exchange, type="fanout", nowait=True)
    ch.send("queue.bind", queue=queue, exchange=exchange, nowait=True)
    ch.send("exchange.bind", destination=exchange, source="amq.fanout", nowait=True)
    ch.send("exchange.unbind", destination=exchange, source="amq.fanout", nowait=True)
    ch.send("basic.consume", queue=queue, consumer_tag="t", nowait=True)
    ch.send("basic.cancel", consumer_tag="t", nowait=True)
    ch.send("queue.purge", queue=queue, nowait=True)
    ch.send("exchange.delete", exchange=exchange, nowait=True)
    ch.send("queue.delete", queue=queue, nowait=True)
    ch.send("confirm.select", nowait=True)
    ch.nothing()
    assert not ch.exists("queue", queue) and not ch.exists("exchange", exchange)


# --- after the server's connection.close (0.2) ---


def break_connection(conn, ch):
    ch.send("channel.open")
    conn.expect_connection_close(504, SECOND_OPEN, 20, 10, reply=False)


def test_the_socket_waits_for_close_ok(conn, ch):
    break_connection(conn, ch)
    ch.send("channel.flow", active=True)
    conn.send("connection.open", virtual_host="/")
    conn.expect_silence(1)
    conn.send("connection.close-ok")
    conn.expect_end(2)


def test_client_closes_a_connection_that_is_closing(conn, ch):
    break_connection(conn, ch)
    conn.send("connection.close", reply_code=200)
    conn.expect("connection.close-ok")
    conn.send("connection.close-ok")
    conn.expect_end(2)


def test_a_connection_error_drops_exclusive_queues_first(conn, ch, other):
    queue = ch.queue()
    break_connection(conn, ch)
    assert not other.channel().exists("queue", queue)


# --- the client's close (0.3) ---


def test_connection_close(conn, ch, other):
    queue = ch.queue()
    conn.send("connection.close", reply_code=999, reply_text="whatever", class_id=1, method_id=2)
    conn.expect("connection.close-ok")
    conn.is_open = False
    assert not other.channel().exists("queue", queue)


def test_connection_close_on_a_channel(conn, ch):
    ch.refuse("connection.close", "COMMAND_INVALID - unimplemented method", reply_code=200)


@pytest.mark.parametrize("name", ["channel.close", "channel.close-ok", "queue.declare", "basic.ack", "channel.flow"])
def test_method_on_a_channel_that_was_never_open(conn, name):
    amqp.Channel(conn, 5).refuse(name, CHANNEL_CLOSED)


def test_method_on_a_channel_that_was_closed(ch):
    ch.call("channel.close")
    ch.refuse("basic.qos", CHANNEL_CLOSED)


def test_second_open(ch):
    ch.refuse("channel.open", SECOND_OPEN)


def test_channel_close_keeps_the_deliveries_before_it(ch, pub):
    queue = ch.queue()
    ch.consume(queue)
    pub.fill(queue, b"1", b"2")
    ch.send("channel.close")
    assert ch.deliveries(2) == [b"1", b"2"]
    ch.expect("channel.close-ok")
    assert pub.counts(queue) == (2, 0)
    ch.reopen()
    got = ch.get(queue)
    assert (got.body, got.redelivered, got.delivery_tag) == (b"1", True, 1)


def test_a_connection_that_is_lost_returns_what_it_had(other, ch, pub, shared_queue):
    queue = shared_queue()
    pub.fill(queue, b"1", b"2")
    lost = other.channel()
    lost.consume(queue)
    assert lost.deliveries(2) == [b"1", b"2"]
    ch.consume(queue)
    other.abort()
    first, second = ch.deliver(), ch.deliver()
    assert [(d.body, d.redelivered) for d in (first, second)] == [(b"1", True), (b"2", True)]


# --- channel 0 (1.9) ---


@pytest.mark.parametrize("name", [
    "connection.start-ok", "connection.tune-ok", "connection.open", "connection.close-ok", "connection.blocked",
    "connection.unblocked", "channel.open", "queue.declare", "basic.publish", "tx.select",
])
def test_what_does_not_belong_on_channel_0(conn, name):
    conn.send(name)
    conn.expect_connection_close(504, RUNNING, *amqp.ids_of(name))


def test_update_secret(conn):
    conn.send("connection.update-secret", new_secret=b"new", reason="why not")
    conn.expect("connection.update-secret-ok")
    conn.channel().nothing()


# --- other methods of class channel, and access (3.1) ---


def test_channel_open(conn):
    conn.send("channel.open", 3, out_of_band="ignored")
    conn.expect("channel.open-ok", 3, channel_id=b"")


def test_flow(ch):
    ch.send("channel.flow", active=True)
    ch.expect("channel.flow-ok", active=True)
    ch.refuse("channel.flow", "NOT_IMPLEMENTED - active=false", active=False)


def test_access_request(ch):
    assert ch.call("access.request", realm="/data", active=True, read=True, write=True).ticket == 1


@pytest.mark.parametrize("name", ["queue.declare-ok", "basic.qos-ok", "channel.open-ok", "channel.flow-ok"])
def test_methods_of_the_server(ch, name):
    ch.refuse(name, "COMMAND_INVALID - unimplemented method")


def test_deliver_from_a_client(conn, ch):
    ch.send("basic.deliver", consumer_tag="t", delivery_tag=1)
    conn.send_bytes(amqp.content_frames(1, b"x"))
    ch.expect_refusal("basic.deliver", "COMMAND_INVALID - unimplemented method")


@differs_from_rabbitmq_3_10("503 unimplemented method")
def test_cancel_ok_from_a_client(conn, ch):
    ch.send("basic.cancel-ok", consumer_tag="t")
    conn.expect_connection_close(541, "INTERNAL_ERROR")


# --- reply texts (0) ---


def test_reply_text_is_cut_to_255_bytes(ch):
    name = "n" * 255
    text = f"NOT_FOUND - no queue '{name}' in vhost '/'"
    close = ch.refuse("queue.declare", text[:252] + "...", queue=name, passive=True)
    assert len(close.reply_text) == 255


def test_reply_text_is_cut_between_characters(ch):
    close = ch.refuse("queue.declare", re.compile("NOT_FOUND - no queue 'é+\\.\\.\\."), queue="é" * 120, passive=True)
    assert 250 <= len(close.reply_text.encode()) <= 255
