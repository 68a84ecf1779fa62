"""Publishing with pika: confirms, returns, transactions, large bodies, properties and headers."""

import datetime
import decimal
import hashlib
import random

import pika
import pytest
from pika.exceptions import UnroutableError

from conftest import parameters
from support import Inbox, await_depth, depth, get_all, pump

MEGABYTE = 1024 * 1024


def test_confirms_one_by_one(channel, names):
    queue = names.queue()
    channel.queue_declare(queue, durable=True)
    channel.confirm_delivery()
    for number in range(50):
        channel.basic_publish("", queue, b"%d" % number, pika.BasicProperties(delivery_mode=2))
    assert depth(channel, queue) == 50


def test_confirms_of_unroutable_messages(channel, names):
    """A message that reaches no queue is confirmed; mandatory makes it come back before that."""
    channel.confirm_delivery()
    channel.basic_publish("", names.queue(), b"nowhere")
    with pytest.raises(UnroutableError) as caught:
        channel.basic_publish("", names.queue(), b"nowhere", mandatory=True)
    (returned,) = caught.value.messages
    assert (returned.method.reply_code, returned.method.reply_text) == (312, "NO_ROUTE")
    assert returned.body == b"nowhere"


class ConfirmingPublisher:
    """The asynchronous publisher of pika's documentation: all messages at once, then count."""

    def __init__(self, broker, queue, count):
        self._queue = queue
        self._count = count
        self._channel = None
        self.open_tags = set()
        self.nacked = 0
        self.confirmations = 0
        self.order = []
        self.error = None
        self.connection = pika.SelectConnection(
            parameters(broker), on_open_callback=self._opened,
            on_open_error_callback=self._failed, on_close_callback=self._closed)

    def run(self):
        self.connection.ioloop.start()

    def _failed(self, _connection, error):
        self.error = error
        self.connection.ioloop.stop()

    def _closed(self, _connection, reason):
        if not isinstance(reason, pika.exceptions.ConnectionClosedByClient):
            self.error = reason
        self.connection.ioloop.stop()

    def _opened(self, connection):
        connection.channel(on_open_callback=self._channel_opened)

    def _channel_opened(self, channel):
        self._channel = channel
        channel.queue_declare(self._queue, callback=self._declared)

    def _declared(self, _frame):
        self._channel.confirm_delivery(self._confirmed, callback=self._publish)

    def _publish(self, _frame):
        for number in range(1, self._count + 1):
            self.open_tags.add(number)
            self._channel.basic_publish("", self._queue, b"%d" % number)

    def _confirmed(self, frame):
        self.confirmations += 1
        method = frame.method
        tags = {method.delivery_tag}
        if method.multiple:
            tags |= {tag for tag in self.open_tags if tag <= method.delivery_tag}
        assert tags <= self.open_tags, "confirmed twice, or never published"
        self.open_tags -= tags
        if isinstance(method, pika.spec.Basic.Nack):
            self.nacked += len(tags)
        if not self.open_tags:
            self.connection.close()


def test_asynchronous_confirms(broker, channel, names):
    """Each tag is confirmed exactly once, alone or as one of several."""
    queue = names.queue()
    publisher = ConfirmingPublisher(broker, queue, 2000)
    publisher.run()
    assert publisher.error is None
    assert not publisher.open_tags and publisher.nacked == 0
    assert 1 <= publisher.confirmations <= 2000
    assert get_all(channel, queue) == [b"%d" % number for number in range(1, 2001)]


def test_mandatory_returns(channel, names):
    """Whatever has no route comes back whole, and in order; the rest is routed."""
    queue = names.queue()
    missing = names.queue()
    channel.queue_declare(queue)
    returned = []
    channel.add_on_return_callback(lambda *message: returned.append(message))
    properties = pika.BasicProperties(content_type="text/plain", headers={"k": "v"}, message_id="7")
    channel.basic_publish("", missing, b"first", properties, mandatory=True)
    channel.basic_publish("", queue, b"routed", properties, mandatory=True)
    channel.basic_publish("amq.direct", missing, b"second", properties, mandatory=True)
    channel.basic_publish("amq.direct", missing, b"dropped", properties)
    pump(channel.connection, until=lambda: len(returned) == 2)
    assert get_all(channel, queue) == [b"routed"]
    seen = [(method.reply_code, method.reply_text, method.exchange, method.routing_key, body)
            for _, method, _, body in returned]
    assert seen == [(312, "NO_ROUTE", "", missing, b"first"),
                    (312, "NO_ROUTE", "amq.direct", missing, b"second")]
    assert all(message[2] == properties for message in returned)


def test_transactions(connect, names):
    queue = names.queue()
    channel = connect().channel()
    observer = connect().channel()
    channel.queue_declare(queue)
    channel.tx_select()

    channel.basic_publish("", queue, b"rolled back")
    channel.tx_rollback()
    channel.basic_publish("", queue, b"one")
    channel.basic_publish("", queue, b"two")
    assert depth(observer, queue) == 0
    channel.tx_commit()
    await_depth(observer, queue, 2)

    first, _, body = channel.basic_get(queue)
    assert body == b"one"
    channel.basic_ack(first.delivery_tag)
    channel.tx_rollback()
    channel.basic_ack(first.delivery_tag)
    channel.tx_commit()
    channel.close()
    assert get_all(observer, queue) == [b"two"]


def test_acks_of_an_uncommitted_transaction_are_void(connect, names):
    queue = names.queue()
    channel = connect().channel()
    observer = connect().channel()
    channel.queue_declare(queue)
    observer.confirm_delivery()
    observer.basic_publish("", queue, b"kept")
    channel.tx_select()
    method, _, _ = channel.basic_get(queue)
    channel.basic_ack(method.delivery_tag)
    channel.close()
    method, _, body = observer.basic_get(queue, auto_ack=True)
    assert (body, method.redelivered) == (b"kept", True)


@pytest.mark.parametrize("frame_max", [4096, 8192, 131072])
def test_body_of_ten_megabytes(connect, names, frame_max):
    queue = names.queue()
    channel = connect(frame_max=frame_max).channel()
    channel.queue_declare(queue)
    channel.confirm_delivery()
    body = random.Random(frame_max).randbytes(10 * MEGABYTE + 1)
    channel.basic_publish("", queue, body)
    inbox = Inbox(channel, queue, auto_ack=True)
    pump(channel.connection, until=inbox.holds(1))
    assert len(inbox.bodies[0]) == len(body)
    assert hashlib.sha256(inbox.bodies[0]).digest() == hashlib.sha256(body).digest()


def test_body_from_large_to_small_frames(connect, names):
    """The consumer's frame size rules what it gets, not the publisher's."""
    queue = names.queue()
    large = connect(frame_max=131072).channel()
    small = connect(frame_max=4096).channel()
    large.queue_declare(queue)
    body = random.Random(1).randbytes(MEGABYTE)
    large.basic_publish("", queue, body)
    inbox = Inbox(small, queue, auto_ack=True)
    pump(small.connection, until=inbox.holds(1))
    assert inbox.bodies == [body]


@pytest.mark.parametrize("size", [0, 1, 4088, 4089, 4096, 8176, 131064, 131065, 262128])
def test_body_sizes_around_frame_boundaries(connect, size):
    channel = connect(frame_max=4096 if size < 10000 else 131072).channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    body = random.Random(size).randbytes(size)
    channel.basic_publish("", queue, body)
    assert get_all(channel, queue) == [body]


def test_all_properties_round_trip(channel):
    queue = channel.queue_declare("", exclusive=True).method.queue
    properties = pika.BasicProperties(
        content_type="application/json", content_encoding="utf-8", headers={"key": "value"},
        delivery_mode=2, priority=9, correlation_id="correlation", reply_to="replies",
        expiration="600000", message_id="message", timestamp=1700000000, type="kind",
        user_id="guest", app_id="application", cluster_id="cluster")
    channel.basic_publish("", queue, b"", properties)
    _, got, _ = channel.basic_get(queue, auto_ack=True)
    assert got == properties


def test_absent_properties_stay_absent(channel):
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.basic_publish("", queue, b"")
    _, got, _ = channel.basic_get(queue, auto_ack=True)
    assert got == pika.BasicProperties()


# every type that pika can send; floating point is in the suite of py-amqp
HEADERS = {
    "true": True,
    "false": False,
    "small": -7,
    "int": 2 ** 31 - 1,
    "negative": -2 ** 31,
    "long": 2 ** 62,
    "text": "Käse, 乳酪",
    "empty": "",
    "bytes": b"\x00\xff\xfe",
    "decimal": decimal.Decimal("3.14159"),
    "time": datetime.datetime(2024, 2, 29, 12, 30, 15, tzinfo=datetime.timezone.utc),
    "void": None,
    "table": {"nested": {"deeper": {"deepest": [1, 2, 3]}}, "empty": {}},
    "array": [1, "two", True, None, {"k": [b"v", []]}],
    "long text": "x" * 70000,
}


def test_headers_of_all_types_round_trip(channel):
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.basic_publish("", queue, b"", pika.BasicProperties(headers=HEADERS))
    _, got, _ = channel.basic_get(queue, auto_ack=True)
    assert got.headers == HEADERS
    assert got.headers["true"] is True and got.headers["false"] is False


def test_cc_and_bcc_are_further_routing_keys(channel, names):
    queues = [names.queue() for _ in range(3)]
    for queue in queues:
        channel.queue_declare(queue)
    headers = {"CC": [queues[1]], "BCC": [queues[2]]}
    channel.basic_publish("", queues[0], b"to three", pika.BasicProperties(headers=headers))
    for queue in queues:
        method, properties, body = channel.basic_get(queue, auto_ack=True)
        assert (body, method.routing_key) == (b"to three", queues[0])
        assert properties.headers == {"CC": [queues[1]]}
