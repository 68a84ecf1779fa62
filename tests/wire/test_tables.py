"""Field tables and properties (2): what is taken, and that messages come out as they went in."""

import pytest

import amqp
from amqp import Tagged
from conftest import differs_from_rabbitmq_3_10

ALL_TYPES = [
    ("t", True), ("b", -128), ("B", 255), ("s", -32768), ("u", 65535), ("I", -(2**31)), ("i", 2**32 - 1),
    ("l", -(2**63)), ("f", 0.5), ("d", -1e300), ("D", (255, 2**32 - 1)), ("S", b"\xff\0 not UTF-8"), ("S", ""),
    ("x", b"\0\1\2"), ("T", 2**64 - 1), ("F", {}), ("F", {"a": 1, "b": {"c": [1, 2]}}), ("A", []),
    ("A", [1, "two", {"three": 3}, [4]]), ("V", None),
]


def through(ch, pub, properties):
    """A message's properties when they come back, as bytes."""
    queue = ch.queue()
    pub.put("", queue, b"x", properties)
    return ch.get(queue).properties_raw


@pytest.mark.parametrize("tag, value", ALL_TYPES, ids=[f"{t}-{i}" for i, (t, _) in enumerate(ALL_TYPES)])
def test_types_in_headers(ch, pub, tag, value):
    properties = {"headers": {"key": Tagged(tag, value)}}
    assert through(ch, pub, properties) == amqp.encode_properties(properties)


@pytest.mark.parametrize("headers", [
    [], [("", 1)], [("b", 1), ("a", 2), ("b", 3)], [("k" * 255, "v")], [("t", Tagged("t", 7))], [("L", Tagged("L", 5))],
    [(f"k{i}", i) for i in range(2000)],
], ids=["empty", "empty key", "order and duplicates", "long key", "odd bool", "unsigned long", "many"])
def test_headers_come_out_as_they_went_in(ch, pub, headers):
    properties = {"headers": headers}
    assert through(ch, pub, properties) == amqp.encode_properties(properties)


def test_deep_headers(ch, pub):
    headers = {"end": 1}
    for _ in range(30):
        headers = {"down": [headers]}
    assert through(ch, pub, {"headers": headers}) == amqp.encode_properties({"headers": headers})


@pytest.mark.parametrize("properties", [
    {},
    {"content_type": "text/plain", "content_encoding": "gzip", "headers": {"a": 1}, "delivery_mode": 2, "priority": 9,
     "correlation_id": "c", "reply_to": "r", "expiration": "100000", "message_id": "m", "timestamp": 2**63,
     "type": "t", "user_id": "guest", "app_id": "a", "cluster_id": "cl"},
    {name: "" for name, kind in amqp.PROPERTIES if kind == "S" and name not in ("expiration", "user_id")},
    pytest.param({"delivery_mode": 3}, marks=differs_from_rabbitmq_3_10("knows modes 1 and 2 only")),
    {"delivery_mode": 1, "priority": 255, "timestamp": 0},
    {"content_type": b"\xff\xfe", "message_id": "x" * 255},
], ids=["none", "all", "empty", "odd delivery mode", "zero", "any bytes"])
def test_properties_come_out_as_they_went_in(ch, pub, properties):
    assert through(ch, pub, properties) == amqp.encode_properties(properties)


def test_headers_come_out_the_same_for_every_copy(ch, pub, exchange):
    x = exchange("headers")
    queues = [ch.queue() for _ in range(3)]
    for queue in queues:
        ch.call("queue.bind", queue=queue, exchange=x, arguments={"b": 2})
    properties = {"headers": [("b", 2), ("a", 1), ("b", 3)], "app_id": "x"}
    pub.put(x, "", b"x", properties)
    for queue in queues:
        assert ch.get(queue).properties_raw == amqp.encode_properties(properties)


def test_every_type_in_arguments(ch, unique):
    arguments = [(f"any-{i}", Tagged(tag, value)) for i, (tag, value) in enumerate(ALL_TYPES)] + [("", 1), ("", 2)]
    queue = ch.queue(unique(), arguments)
    ch.call("queue.bind", queue=queue, exchange="amq.direct", routing_key="k", arguments=arguments)
    ch.call("queue.unbind", queue=queue, exchange="amq.direct", routing_key="k", arguments=arguments)
    ch.consume(queue, arguments=arguments)


def test_every_type_in_client_properties(open_connection):
    open_connection(start_ok={"properties": [(f"k{i}", Tagged(t, v)) for i, (t, v) in enumerate(ALL_TYPES)]})
