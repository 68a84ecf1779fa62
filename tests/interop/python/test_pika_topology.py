"""Queues, exchanges and bindings with pika: their life and death, and many of them."""

import pytest
from pika.exceptions import ChannelClosedByBroker

from support import Inbox, await_depth, get_all, pump


def exists(connection, queue):
    try:
        connection.channel().queue_declare(queue, passive=True)
    except ChannelClosedByBroker as error:
        assert error.reply_code == 404
        return False
    return True


def exchange_exists(connection, exchange):
    try:
        connection.channel().exchange_declare(exchange, passive=True)
    except ChannelClosedByBroker as error:
        assert error.reply_code == 404
        return False
    return True


def test_passive_declare_counts(channel, names):
    queue = names.queue()
    channel.queue_declare(queue)
    for _ in range(3):
        channel.basic_publish("", queue, b"")
    channel.basic_get(queue)
    answer = channel.queue_declare(queue, passive=True).method
    assert (answer.queue, answer.message_count, answer.consumer_count) == (queue, 2, 0)
    inbox = Inbox(channel, queue)
    pump(channel.connection, until=inbox.holds(2))
    answer = channel.queue_declare(queue, passive=True).method
    assert (answer.message_count, answer.consumer_count) == (0, 1)


def test_purge_takes_what_is_ready(channel, names):
    queue = names.queue()
    channel.queue_declare(queue)
    for _ in range(4):
        channel.basic_publish("", queue, b"")
    unacked = channel.basic_get(queue)[0]
    assert channel.queue_purge(queue).method.message_count == 3
    channel.basic_nack(unacked.delivery_tag)
    await_depth(channel, queue, 1)


def test_delete(channel, names):
    queue, exchange = names.queue(), names.exchange()
    channel.queue_declare(queue)
    channel.exchange_declare(exchange)
    channel.basic_publish("", queue, b"")
    channel.basic_publish("", queue, b"")
    assert channel.queue_delete(queue).method.message_count == 2
    assert channel.queue_delete(queue).method.message_count == 0
    channel.exchange_delete(exchange)
    channel.exchange_delete(exchange)
    assert not exists(channel.connection, queue)
    assert not exchange_exists(channel.connection, exchange)


def test_deleting_an_exchange_deletes_its_bindings(channel, names):
    queue, exchange = names.queue(), names.exchange()
    channel.queue_declare(queue)
    for _ in range(2):
        channel.exchange_declare(exchange)
        channel.basic_publish(exchange, "key", b"not bound")
        channel.queue_bind(queue, exchange, "key")
        channel.exchange_delete(exchange)
    assert get_all(channel, queue) == []


def test_exclusive_queue_ends_with_its_connection(connect, connection, names):
    queue = names.queue()
    owner = connect()
    owner.channel().queue_declare(queue, exclusive=True)
    owner.channel().basic_publish("", queue, b"")
    owner.close()
    assert not exists(connection, queue)


def test_auto_delete_queue_ends_with_its_last_consumer(connection, names):
    queue = names.queue()
    channel = connection.channel()
    channel.queue_declare(queue, auto_delete=True)
    assert exists(connection, queue)
    first, second = Inbox(channel, queue), Inbox(channel, queue)
    channel.basic_cancel(first.tag)
    assert exists(connection, queue)
    channel.basic_cancel(second.tag)
    assert not exists(connection, queue)


def test_auto_delete_exchange_ends_with_its_last_binding(connection, names):
    exchange, upstream = names.exchange(), names.exchange()
    queues = [names.queue(), names.queue()]
    channel = connection.channel()
    channel.exchange_declare(upstream, auto_delete=True)
    channel.exchange_declare(exchange, auto_delete=True)
    channel.exchange_bind(exchange, upstream)
    for queue in queues:
        channel.queue_declare(queue)
        channel.queue_bind(queue, exchange)
    channel.queue_unbind(queues[0], exchange)
    assert exchange_exists(connection, exchange)
    channel.queue_delete(queues[1])
    assert not exchange_exists(connection, exchange)
    assert not exchange_exists(connection, upstream)


def test_predeclared_exchanges(connection):
    for exchange in ("amq.direct", "amq.fanout", "amq.topic", "amq.headers", "amq.match"):
        assert exchange_exists(connection, exchange)
    connection.channel().exchange_declare("amq.topic", "topic", durable=True)


def test_last_declared_queue(channel):
    """An empty queue name means the queue that this channel declared last."""
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind("", "amq.direct", queue + ".key")
    channel.basic_publish("amq.direct", queue + ".key", b"bound")
    assert channel.basic_get("", auto_ack=True)[2] == b"bound"
    inbox = Inbox(channel, "", auto_ack=True)
    channel.basic_publish("", queue, b"consumed")
    pump(channel.connection, until=inbox.holds(1))


def test_exchange_to_exchange(channel, names):
    source, middle, end = (names.exchange() for _ in range(3))
    channel.exchange_declare(source, "topic")
    channel.exchange_declare(middle, "fanout")
    channel.exchange_declare(end, "direct")
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.exchange_bind(middle, source, "a.#")
    channel.exchange_bind(end, middle)
    channel.exchange_bind(source, end, "a.loop")
    channel.queue_bind(queue, end, "a.b")
    channel.queue_bind(queue, end, "a.loop")
    for key in ("a.b", "a.c", "b.a", "a.loop"):
        channel.basic_publish(source, key, key.encode())
    got = []
    while (message := channel.basic_get(queue, auto_ack=True))[0]:
        got.append((message[0].exchange, message[2]))
    assert got == [(source, b"a.b"), (source, b"a.loop")]

    channel.exchange_unbind(middle, source, "a.#")
    channel.basic_publish(source, "a.b", b"cut off")
    assert get_all(channel, queue) == []


def test_alternate_exchange(channel, names):
    exchange, alternate = names.exchange(), names.exchange()
    routed, unrouted = names.queue(), names.queue()
    returned = []
    channel.add_on_return_callback(lambda *message: returned.append(message))
    channel.exchange_declare(alternate, "fanout")
    channel.exchange_declare(exchange, arguments={"alternate-exchange": alternate})
    for queue in (routed, unrouted):
        channel.queue_declare(queue)
    channel.queue_bind(routed, exchange, "known")
    channel.queue_bind(unrouted, alternate)
    channel.basic_publish(exchange, "known", b"1", mandatory=True)
    channel.basic_publish(exchange, "unknown", b"2", mandatory=True)
    assert get_all(channel, routed) == [b"1"]
    method, _, body = channel.basic_get(unrouted, auto_ack=True)
    assert (body, method.exchange, method.routing_key) == (b"2", exchange, "unknown")
    assert returned == []


def test_bindings_that_differ_in_arguments_only(channel, names):
    exchange = names.exchange()
    channel.exchange_declare(exchange)
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(queue, exchange, "key", {"n": 1})
    channel.queue_bind(queue, exchange, "key", {"n": 2})
    channel.basic_publish(exchange, "key", b"once")
    channel.queue_unbind(queue, exchange, "key", {"n": 1})
    channel.basic_publish(exchange, "key", b"still bound")
    channel.queue_unbind(queue, exchange, "key", {"n": 2})
    channel.basic_publish(exchange, "key", b"not bound")
    assert get_all(channel, queue) == [b"once", b"still bound"]


@pytest.mark.parametrize("arguments", [
    {"x-expires": 60000},
    {"x-message-ttl": 60000},
    {"x-expires": 60000, "x-message-ttl": 5000},
    {"x-queue-type": "classic"},
    {"x-queue-mode": "lazy"},
    {"anything": {"at": ["all", 1, True]}},
])
def test_queue_arguments_are_accepted(channel, names, arguments):
    queue = names.queue()
    for _ in range(2):
        channel.queue_declare(queue, arguments=arguments)
    channel.basic_publish("", queue, b"in")
    assert get_all(channel, queue) == [b"in"]


def test_names_are_utf8(channel, names):
    queue, exchange = names.queue() + ".größe-队列", names.exchange() + ".обмен"
    channel.exchange_declare(exchange, auto_delete=True)
    channel.queue_declare(queue, exclusive=True)
    channel.queue_bind(queue, exchange, "schlüssel")
    channel.basic_publish(exchange, "schlüssel", b"found")
    method, _, body = channel.basic_get(queue, auto_ack=True)
    assert (body, method.exchange, method.routing_key) == (b"found", exchange, "schlüssel")


def test_a_thousand_channels(connect, names):
    """On each of 1,000 channels a consumer with prefetch 1: each gets one of 1,000 messages."""
    queue = names.queue()
    connection = connect()
    publisher = connection.channel()
    publisher.queue_declare(queue)
    channels = [connection.channel() for _ in range(1000)]
    inboxes = []
    for channel in channels:
        channel.basic_qos(prefetch_count=1)
        inboxes.append(Inbox(channel, queue))
    for number in range(1001):
        publisher.basic_publish("", queue, b"%d" % number)
    pump(connection, until=lambda: all(inbox.messages for inbox in inboxes))
    assert [len(inbox.messages) for inbox in inboxes] == [1] * 1000
    assert {body for inbox in inboxes for body in inbox.bodies} == {b"%d" % n for n in range(1000)}
    await_depth(publisher, queue, 1)


def test_five_thousand_queues(connect, names):
    """One message to a fanout exchange fills 5,000 queues."""
    exchange = names.exchange()
    connection = connect()
    channel = connection.channel()
    channel.exchange_declare(exchange, "fanout")
    queues = [channel.queue_declare("", exclusive=True).method.queue for _ in range(5000)]
    assert len(set(queues)) == 5000
    for queue in queues:
        channel.queue_bind(queue, exchange)
    channel.basic_publish(exchange, "", b"to all")
    for queue in queues:
        assert channel.basic_get(queue, auto_ack=True)[2] == b"to all"
