"""kombu: its high-level queues, declarations, serialisers, retries, pidbox and event loop."""

import socket
import threading
import time

import kombu
import pytest
from kombu import Consumer, Exchange, Producer, Queue, pools
from kombu.asynchronous import Hub
from kombu.exceptions import ContentDisallowed
from kombu.mixins import ConsumerProducerMixin
from kombu.pidbox import Mailbox
from kombu.pools import producers
from kombu.simple import SimpleQueue


def url(broker, **changes):
    user, password, host, port = (
        changes.get(key, getattr(broker, key)) for key in ("user", "password", "host", "port"))
    return f"amqp://{user}:{password}@{host}:{port}/%2F"


@pytest.fixture
def connect_kombu(broker, names):
    made = []

    def open_connection(**changes):
        connection = kombu.Connection(url(broker, **changes), connect_timeout=10)
        made.append(connection)
        return connection

    yield open_connection
    for connection in made:
        connection.release()


@pytest.fixture
def connection(connect_kombu):
    return connect_kombu()


@pytest.fixture
def channel(connection):
    """Publishing and getting on the same channel keeps their order."""
    return connection.channel()


def drain(connection, until, seconds=20):
    deadline = time.monotonic() + seconds
    while not until():
        connection.drain_events(timeout=max(0.01, deadline - time.monotonic()))


class Collector:
    """A callback that keeps bodies and acknowledges."""

    def __init__(self):
        self.bodies = []
        self.messages = []

    def __call__(self, body, message):
        self.bodies.append(body)
        self.messages.append(message)
        message.ack()

    def holds(self, count):
        return lambda: len(self.bodies) >= count


def test_connection_describes_itself(connection):
    connection.connect()
    assert connection.connected
    assert connection.transport.driver_name == "py-amqp"
    assert connection.default_channel.connection.server_properties["capabilities"]


def test_simple_queue(connection, names):
    with SimpleQueue(connection, names.queue()) as queue:
        for number in range(3):
            queue.put({"number": number})
        message = queue.get(timeout=10)
        assert message.payload == {"number": 0}
        message.reject()
        message = queue.get(timeout=10)
        assert message.payload == {"number": 1}
        message.requeue()
        # it comes back behind the one that this client already holds
        for number in (2, 1):
            message = queue.get(timeout=10)
            assert message.payload == {"number": number}
            message.ack()


def test_simple_buffer(connection, names):
    with connection.SimpleBuffer(names.queue()) as buffer:
        buffer.put("fleeting")
        assert buffer.get(timeout=10).payload == "fleeting"
        with pytest.raises(buffer.Empty):
            buffer.get_nowait()


def test_declared_with_the_producer_and_the_consumer(connection, names):
    """Nobody declares anything by hand: publish(declare=) and Consumer do."""
    exchange = Exchange(names.exchange(), "topic", durable=False)
    queue = Queue(names.queue(), exchange, routing_key="news.#", durable=False)
    collector = Collector()
    Producer(connection).publish(
        {"text": "hello"}, exchange=exchange, routing_key="news.today", declare=[queue])
    with Consumer(connection, [queue], callbacks=[collector], accept=["json"]):
        drain(connection, until=collector.holds(1))
    assert collector.bodies == [{"text": "hello"}]
    assert collector.messages[0].delivery_info["routing_key"] == "news.today"
    queue(connection.default_channel).delete()
    exchange(connection.default_channel).delete()


def test_queue_options(connection, names):
    queue = Queue(
        names.queue(), Exchange(names.exchange(), durable=False), routing_key="key",
        durable=False, expires=60.0, message_ttl=30.0, queue_arguments={"x-custom": [1, {"a": 2}]})
    for number in range(2):
        channel = connection.channel()
        bound = queue(channel)
        bound.declare()
        Producer(channel).publish(number, exchange=queue.exchange, routing_key="key")
        assert bound.get(no_ack=True, accept=["json"]).payload == number
    with pytest.raises(connection.channel_errors):
        Queue(queue.name, durable=False, expires=61.0)(connection.channel()).declare()


def test_several_bindings(channel, names):
    exchange = Exchange(names.exchange(), "direct", durable=False)
    keys = ("red", "green", "blue")
    queue = Queue(names.queue(), [kombu.binding(exchange, routing_key=key) for key in keys],
                  durable=False)
    bound = queue(channel)
    bound.declare()
    producer = Producer(channel, exchange)
    for key in keys + ("grey",):
        producer.publish(key, routing_key=key)
    assert [bound.get(no_ack=True).payload for _ in keys] == list(keys)
    assert bound.get() is None


def test_exchange_to_exchange(channel, names):
    source = Exchange(names.exchange(), "fanout", durable=False)
    target = Exchange(names.exchange(), "fanout", durable=False)
    source(channel).declare()
    bound_target = target(channel)
    bound_target.declare()
    bound_target.bind_to(source)
    queue = Queue(names.queue(), target, durable=False)(channel)
    queue.declare()
    Producer(channel, source).publish("through")
    assert queue.get(no_ack=True).payload == "through"


BODY = {"text": "Käse, 乳酪", "list": [1, 2.5, None, True], "nested": {"deep": {"er": "x" * 5000}}}


@pytest.mark.parametrize("compression", [None, "zlib", "bzip2", "lzma"])
@pytest.mark.parametrize("serializer", ["json", "pickle"])
def test_serialisers_and_compression(channel, names, serializer, compression):
    queue = Queue(names.queue(), durable=False)(channel)
    queue.declare()
    Producer(channel).publish(
        BODY, routing_key=queue.name, serializer=serializer, compression=compression,
        headers={"kept": ["as", "sent"]})
    message = queue.get(no_ack=True, accept=[serializer])
    assert message.decode() == BODY
    assert message.headers["kept"] == ["as", "sent"]
    assert ("compression" in message.headers) == bool(compression)


def test_unwanted_content_type(channel, names):
    queue = Queue(names.queue(), durable=False)(channel)
    queue.declare()
    Producer(channel).publish({"a": 1}, routing_key=queue.name, serializer="pickle")
    with pytest.raises(ContentDisallowed):
        queue.get(no_ack=True, accept=["json"]).decode()


def test_raw_bodies(channel, names):
    queue = Queue(names.queue(), durable=False)(channel)
    queue.declare()
    Producer(channel).publish(
        b"\x00\x01\xff", routing_key=queue.name, content_type="application/data",
        content_encoding="binary")
    message = queue.get(no_ack=True)
    assert (message.body, message.content_type) == (b"\x00\x01\xff", "application/data")


def test_prefetch_can_be_raised_on_a_running_consumer(connection, names):
    """Celery's workers do so for each task with a countdown. By kombu's rule they set it globally
    on RabbitMQ 3, and on any other broker rely on a plain basic.qos for the running consumers."""
    queue = Queue(names.queue(), durable=False)
    Producer(connection).publish(0, routing_key=queue.name, declare=[queue])
    for number in range(1, 6):
        Producer(connection).publish(number, routing_key=queue.name)
    held = []
    consumer = Consumer(connection, [queue], on_message=held.append, accept=["json"])
    globally = not connection.qos_semantics_matches_spec
    consumer.qos(prefetch_count=2, apply_global=globally)
    with consumer:
        drain(connection, until=lambda: len(held) == 2)
        with pytest.raises(socket.timeout):
            connection.drain_events(timeout=0.3)
        consumer.qos(prefetch_count=4, apply_global=globally)
        drain(connection, until=lambda: len(held) == 4)
        with pytest.raises(socket.timeout):
            connection.drain_events(timeout=0.3)
    assert [message.payload for message in held] == [0, 1, 2, 3]


def test_publish_with_retry_policy(connect_kombu, relay, names):
    """The connection breaks between two publishes; the producer makes a new one and goes on."""
    queue = Queue(names.queue(), durable=False)
    connection = connect_kombu(host=relay.host, port=relay.port)
    producer = connection.Producer()
    policy = {"max_retries": 5, "interval_start": 0, "interval_step": 0.05, "interval_max": 0.2}

    def publish(number):
        producer.publish(number, routing_key=queue.name, declare=[queue], retry=True,
                         retry_policy=policy, confirm_timeout=10)

    connection.transport_options["confirm_publish"] = True
    publish(1)
    relay.cut()
    publish(2)
    bound = queue(connect_kombu().channel())
    assert [bound.get(no_ack=True).payload for _ in range(2)] == [1, 2]


def test_ensure_repeats_after_a_lost_connection(connect_kombu, relay, names):
    name = names.queue()
    connection = connect_kombu(host=relay.host, port=relay.port)
    producer = connection.Producer()
    calls, errors = [], []

    def work():
        calls.append(producer.channel)
        if len(calls) == 1:
            relay.cut()
        return Queue(name, durable=False)(producer.channel).queue_declare()

    producer.channel
    ensured = connection.ensure(producer, work, errback=lambda error, _: errors.append(error),
                                max_retries=3, interval_start=0)
    assert ensured().queue == name
    assert len(calls) == 2 and len(errors) == 1
    assert connection.connected


def test_producer_pool(connection, names):
    queue = Queue(names.queue(), durable=False)
    for number in range(3):
        with producers[connection].acquire(block=True) as producer:
            producer.publish(number, routing_key=queue.name, declare=[queue])
    collector = Collector()
    with Consumer(connection, [queue], callbacks=[collector], accept=["json"]):
        drain(connection, until=collector.holds(3))
    assert collector.bodies == [0, 1, 2]
    pools.reset()


def mailbox(namespace, connection):
    """Queues with x-expires and x-message-ttl, as Celery's remote control has them."""
    return Mailbox(namespace, type="fanout", queue_ttl=300.0, queue_expires=10.0,
                   reply_queue_ttl=300.0, reply_queue_expires=10.0, accept=["json"])(connection)


def test_pidbox_fanout(connect_kombu, names):
    """All nodes hear a command and answer on a reply queue; one can be addressed alone."""
    namespace = names.exchange()
    names.used += [f"{namespace}.pidbox", f"reply.{namespace}.pidbox"]
    hearing = connect_kombu()
    heard = []

    def add(state, a, b):
        heard.append(state)
        return a + b

    for name in ("one", "two"):
        node = mailbox(namespace, hearing).Node(
            name, state=name, channel=hearing.channel(), handlers={"add": add})
        node.listen(callback=node.handle_message)

    over = threading.Event()

    def listen():
        while not over.is_set():
            try:
                hearing.drain_events(timeout=0.1)
            except socket.timeout:
                pass

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        asking = mailbox(namespace, connect_kombu())
        arguments = {"a": 2, "b": 40}
        replies = asking.multi_call("add", arguments, timeout=20, limit=2)
        assert sorted(replies, key=str) == [{"one": 42}, {"two": 42}]
        assert asking.call(["two"], "add", arguments, timeout=5) == [{"two": 42}]
    finally:
        over.set()
        listener.join()
    assert sorted(heard) == ["one", "two", "two"]


def test_event_loop(connection, names):
    """Celery's way to consume: the hub watches the socket, nothing blocks in drain_events."""
    queue = Queue(names.queue(), durable=False)
    producer = Producer(connection)
    producer.publish(0, routing_key=queue.name, declare=[queue])
    collector = Collector()
    hub = Hub()
    connection.register_with_event_loop(hub)
    with Consumer(connection, [queue], callbacks=[collector], accept=["json"], prefetch_count=1):
        for number in range(1, 50):
            producer.publish(number, routing_key=queue.name)
        deadline = time.monotonic() + 20
        while len(collector.bodies) < 50 and time.monotonic() < deadline:
            hub.run_once()
    hub.close()
    assert collector.bodies == list(range(50))


class Doubler(ConsumerProducerMixin):
    """A server in kombu's documented style: answers until told to stop."""

    def __init__(self, connection, queue):
        self.connection = connection
        self.queue = queue

    def get_consumers(self, Consumer, channel):
        return [Consumer([self.queue], on_message=self.answer, accept=["json"], prefetch_count=1)]

    def answer(self, message):
        if message.payload is None:
            self.should_stop = True
        else:
            self.producer.publish(
                message.payload * 2, exchange="", routing_key=message.properties["reply_to"],
                correlation_id=message.properties["correlation_id"], retry=True)
        message.ack()


def test_consumer_producer_mixin(connect_kombu, names):
    requests = Queue(names.queue(), durable=False)
    client = connect_kombu()
    replies = Queue(names.queue(), durable=False, exclusive=True)(client.channel())
    replies.declare()
    producer = Producer(client)
    for number in (1, 2, None):
        producer.publish(number, routing_key=requests.name, declare=[requests],
                         reply_to=replies.name, correlation_id=str(number))
    server = Doubler(connect_kombu(), requests)
    server.run(timeout=10)
    server.producer_connection.release()
    messages = [replies.get(no_ack=True) for _ in range(2)]
    assert [(m.properties["correlation_id"], m.payload) for m in messages] == [("1", 2), ("2", 4)]
