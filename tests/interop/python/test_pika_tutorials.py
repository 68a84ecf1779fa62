"""The patterns of RabbitMQ's tutorials, as pika programs write them."""

import uuid

import pika

from support import Inbox, depth, get_all, pump, settle


def test_hello_world(channel, names):
    queue = names.queue()
    channel.queue_declare(queue)
    channel.basic_publish("", queue, b"Hello World!")
    inbox = Inbox(channel, queue, auto_ack=True)
    pump(channel.connection, until=inbox.holds(1))
    assert inbox.bodies == [b"Hello World!"]
    method = inbox.methods[0]
    assert (method.exchange, method.routing_key, method.redelivered) == ("", queue, False)
    assert method.consumer_tag == inbox.tag
    assert method.delivery_tag == 1


def test_start_consuming_and_stop_consuming(channel, names):
    queue = names.queue()
    channel.queue_declare(queue)
    bodies = []

    def receive(own, _method, _properties, body):
        bodies.append(body)
        if len(bodies) == 3:
            own.stop_consuming()

    for number in range(3):
        channel.basic_publish("", queue, b"%d" % number)
    channel.basic_consume(queue, receive, auto_ack=True)
    channel.start_consuming()
    assert bodies == [b"0", b"1", b"2"]


def test_consume_generator(channel, names):
    queue = names.queue()
    channel.queue_declare(queue)
    for number in range(5):
        channel.basic_publish("", queue, b"%d" % number)
    bodies = []
    for method, _, body in channel.consume(queue):
        bodies.append(body)
        channel.basic_ack(method.delivery_tag)
        if len(bodies) == 3:
            break
    channel.cancel()
    assert bodies == [b"0", b"1", b"2"]
    assert get_all(channel, queue) == [b"3", b"4"]


def test_work_queue_dispatches_fairly(connect, names):
    """Whoever has not finished its message gets no other one; the free worker gets them all."""
    queue = names.queue()
    slow = connect().channel()
    fast = connect().channel()
    slow.queue_declare(queue, durable=True)
    for worker in (slow, fast):
        worker.basic_qos(prefetch_count=1)
    stuck = Inbox(slow, queue)
    slow.basic_publish("", queue, b"0", pika.BasicProperties(delivery_mode=2))
    pump(slow.connection, until=stuck.holds(1))

    free = Inbox(fast, queue, ack=True)
    for number in range(1, 10):
        slow.basic_publish("", queue, b"%d" % number, pika.BasicProperties(delivery_mode=2))
    pump(slow.connection, fast.connection, until=free.holds(9))
    assert stuck.bodies == [b"0"]
    assert free.bodies == [b"%d" % number for number in range(1, 10)]

    slow.basic_ack(stuck.methods[0].delivery_tag)
    settle(slow)
    settle(fast)
    assert depth(slow, queue) == 0


def test_work_queue_takes_turns(connect, names):
    """Among idle workers messages go round."""
    queue = names.queue()
    channel = connect().channel()
    channel.queue_declare(queue)
    inboxes = [Inbox(channel, queue, auto_ack=True) for _ in range(3)]
    for number in range(9):
        channel.basic_publish("", queue, b"%d" % number)
    pump(channel.connection, until=lambda: sum(len(i.bodies) for i in inboxes) == 9)
    assert sorted(inbox.bodies for inbox in inboxes) == [
        [b"0", b"3", b"6"], [b"1", b"4", b"7"], [b"2", b"5", b"8"]]


def test_publish_subscribe(connect, names):
    exchange = names.exchange()
    publisher = connect().channel()
    publisher.exchange_declare(exchange, "fanout")
    publisher.basic_publish(exchange, "", b"nobody listens yet")
    inboxes = []
    for _ in range(3):
        channel = connect().channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        assert queue.startswith("amq.gen-")
        channel.queue_bind(queue, exchange)
        inboxes.append((channel.connection, Inbox(channel, queue, auto_ack=True)))
    publisher.basic_publish(exchange, "ignored", b"to all")
    for connection, inbox in inboxes:
        pump(connection, until=inbox.holds(1))
        assert inbox.bodies == [b"to all"]
        assert inbox.methods[0].exchange == exchange
        assert inbox.methods[0].routing_key == "ignored"


def test_routing(channel, names):
    exchange = names.exchange()
    channel.exchange_declare(exchange, "direct")
    errors = channel.queue_declare("", exclusive=True).method.queue
    everything = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(errors, exchange, "error")
    for severity in ("info", "warning", "error"):
        channel.queue_bind(everything, exchange, severity)
    for severity in ("info", "warning", "error", "debug"):
        channel.basic_publish(exchange, severity, severity.encode())
    assert get_all(channel, errors) == [b"error"]
    assert get_all(channel, everything) == [b"info", b"warning", b"error"]

    channel.queue_unbind(everything, exchange, "warning")
    channel.basic_publish(exchange, "warning", b"unbound")
    assert get_all(channel, everything) == []


def test_topics(channel, names):
    exchange = names.exchange()
    channel.exchange_declare(exchange, "topic")
    patterns = {
        "*.orange.*": {"quick.orange.rabbit", "lazy.orange.elephant", "quick.orange.fox"},
        "*.*.rabbit": {"quick.orange.rabbit"},
        "lazy.#": {"lazy.orange.elephant", "lazy.brown.fox", "lazy.pink.male.rabbit", "lazy"},
        "#": {"quick.orange.rabbit", "lazy.orange.elephant", "quick.orange.fox", "lazy.brown.fox",
              "lazy.pink.male.rabbit", "lazy", "orange"},
        "#.rabbit": {"quick.orange.rabbit", "lazy.pink.male.rabbit"},
        "lazy.#.rabbit": {"lazy.pink.male.rabbit"},
        "orange": {"orange"},
    }
    queues = {}
    for pattern in patterns:
        queues[pattern] = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queues[pattern], exchange, pattern)
    for key in sorted(patterns["#"]):
        channel.basic_publish(exchange, key, key.encode())
    for pattern, expected in patterns.items():
        got = [body.decode() for body in get_all(channel, queues[pattern])]
        assert got == sorted(expected), pattern


def test_one_copy_per_queue_whatever_the_number_of_bindings(channel, names):
    exchange = names.exchange()
    channel.exchange_declare(exchange, "topic")
    queue = channel.queue_declare("", exclusive=True).method.queue
    for pattern in ("a.b", "a.*", "#", "#.b"):
        channel.queue_bind(queue, exchange, pattern)
    channel.basic_publish(exchange, "a.b", b"once")
    assert get_all(channel, queue) == [b"once"]


def test_rpc(connect, names):
    requests = names.queue()
    server = connect().channel()
    server.queue_declare(requests)
    server.basic_qos(prefetch_count=1)

    def serve(channel, method, properties, body):
        channel.basic_publish("", properties.reply_to, b"%d" % (int(body) ** 2),
                              pika.BasicProperties(correlation_id=properties.correlation_id))
        channel.basic_ack(method.delivery_tag)

    server.basic_consume(requests, serve)

    client = connect().channel()
    callback_queue = client.queue_declare("", exclusive=True).method.queue
    inbox = Inbox(client, callback_queue, auto_ack=True)
    expected = {}
    for number in range(20):
        correlation_id = str(uuid.uuid4())
        expected[correlation_id] = b"%d" % number ** 2
        client.basic_publish(
            "", requests, b"%d" % number,
            pika.BasicProperties(reply_to=callback_queue, correlation_id=correlation_id))
    pump(server.connection, client.connection, until=inbox.holds(20))
    assert {p.correlation_id: body for _, p, body in inbox.messages} == expected


def test_headers_exchange(channel, names):
    exchange = names.exchange()
    channel.exchange_declare(exchange, "headers")
    bindings = {
        "all": {"x-match": "all", "format": "pdf", "pages": 7},
        "any": {"x-match": "any", "format": "pdf", "pages": 7},
        "default": {"format": "pdf", "pages": 7},
        "with-x": {"x-match": "all-with-x", "format": "pdf", "x-origin": "scan"},
        "any-with-x": {"x-match": "any-with-x", "format": "tiff", "x-origin": "scan"},
    }
    queues = {}
    for label, arguments in bindings.items():
        queues[label] = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queues[label], exchange, "", arguments)
    messages = {
        b"both": {"format": "pdf", "pages": 7, "more": True},
        b"one": {"format": "pdf", "pages": 8},
        b"x": {"format": "pdf", "x-origin": "scan"},
        b"text is no number": {"format": "tex", "pages": "7"},
        b"none": {},
    }
    for body, headers in messages.items():
        channel.basic_publish(exchange, "", body, pika.BasicProperties(headers=headers))
    channel.basic_publish(exchange, "", b"no headers at all")
    got = {label: get_all(channel, queue) for label, queue in queues.items()}
    assert got == {
        "all": [b"both"],
        "any": [b"both", b"one", b"x"],
        "default": [b"both"],
        "with-x": [b"x"],
        "any-with-x": [b"x"],
    }
