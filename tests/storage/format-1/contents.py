"""What is in this data directory. make_fixture.py puts it there, tests/wire/test_format_fixture.py finds it there."""

from datetime import datetime, timezone
from decimal import Decimal

VHOST = "fixture/α"
USER, PASSWORD = "keeper", "pass word"

# name, type, options, arguments
EXCHANGES = [
    ("f.direct", "direct", {}, {"alternate-exchange": "f.unrouted"}),
    ("f.fanout", "fanout", {}, {}),
    ("f.topic", "topic", {"internal": True}, {}),
    ("f.headers", "headers", {"auto_delete": True}, {"x-note": {"nested": [1, "two", None]}}),
    ("f.unrouted", "fanout", {}, {}),
    ("f.entry", "topic", {}, {}),
]

# name, options, arguments. Nothing that limits or expires messages: they are to stay for years.
QUEUES = [
    ("f.plain", {}, {}),
    ("f.limited", {}, {"x-max-length": 1000000, "x-overflow": "reject-publish", "x-queue-type": "classic"}),
    ("f.dead-lettering", {}, {"x-dead-letter-exchange": "f.fanout", "x-dead-letter-routing-key": "again"}),
    ("f.acked", {}, {}),
    ("f.delivered", {"auto_delete": True}, {}),
    ("f.large-1", {}, {}),
    ("f.large-2", {}, {}),
    ("f.unrouted", {}, {}),
    ("f.empty", {}, {"x-max-length-bytes": 123456789}),
]

# source, destination, "queue" or "exchange", routing key, arguments
BINDINGS = [
    ("f.direct", "f.plain", "queue", "plain", {}),
    ("f.direct", "f.limited", "queue", "plain", {}),
    ("f.direct", "f.limited", "queue", "limited", {}),
    ("f.fanout", "f.large-1", "queue", "", {}),
    ("f.fanout", "f.large-2", "queue", "ignored", {}),
    ("f.topic", "f.acked", "queue", "a.*.c", {}),
    ("f.topic", "f.empty", "queue", "#.z", {}),
    ("f.entry", "f.topic", "exchange", "#", {}),
    ("f.headers", "f.plain", "queue", "", {"x-match": "all", "kind": "report", "pages": 3}),
    ("f.headers", "f.empty", "queue", "", {"x-match": "any", "urgent": True, "size": Decimal("1.5")}),
    ("f.unrouted", "f.unrouted", "queue", "", {}),
    ("amq.topic", "f.dead-lettering", "queue", "dead.#", {}),
]

# exchange, routing key, headers, the queues that such a message reaches
ROUTES = [
    ("f.direct", "plain", {}, {"f.plain", "f.limited"}),
    ("f.direct", "limited", {}, {"f.limited"}),
    ("f.direct", "PLAIN", {}, {"f.unrouted"}),
    ("f.fanout", "any", {}, {"f.large-1", "f.large-2"}),
    ("f.entry", "a.b.c", {}, {"f.acked"}),
    ("f.entry", "x.y.z", {}, {"f.empty"}),
    ("f.entry", "a.b.z", {}, {"f.empty"}),
    ("f.entry", "a.b.c.d", {}, set()),
    ("f.headers", "", {"kind": "report", "pages": 3}, {"f.plain"}),
    ("f.headers", "", {"kind": "report", "pages": 4}, set()),
    ("f.headers", "", {"kind": "report", "pages": 3, "urgent": True}, {"f.plain", "f.empty"}),
    ("f.headers", "", {"size": Decimal("1.5")}, {"f.empty"}),
    ("amq.topic", "dead.or.alive", {}, {"f.dead-lettering"}),
    ("amq.direct", "f.plain", {}, set()),
    ("", "f.delivered", {}, {"f.delivered"}),
]

ALL_PROPERTIES = {
    "content_type": "application/json",
    "content_encoding": "gzip",
    "headers": {
        "text": "größer", "bytes": b"\x00\xff", "yes": True, "small": -7, "large": 1 << 40, "none": None,
        "decimal": Decimal("3.14"), "when": datetime.fromtimestamp(1700000000, timezone.utc),
        "list": [1, "a", [False]], "table": {"deeper": {"deepest": "x"}},
    },
    "delivery_mode": 2,
    "priority": 7,
    "correlation_id": "c-1",
    "reply_to": "f.empty",
    "message_id": "m-1",
    "timestamp": 1700000000,
    "type": "t",
    "user_id": USER,
    "app_id": "fixture",
}
PERSISTENT = {"delivery_mode": 2}

LARGE = bytes(range(256)) * 32

# Transactions, each of which becomes one chunk per queue: the queues that all of it reaches, and the exchange, routing
# key, properties and body of each publish.
TRANSACTIONS = [
    ({"f.plain", "f.limited"}, [("f.direct", "plain", PERSISTENT, b"plain-%d" % i) for i in range(10)]),
    ({"f.plain", "f.limited"}, [("f.direct", "plain", ALL_PROPERTIES, b'{"a": 1}')]),
    ({"f.limited"}, [("f.direct", "limited", PERSISTENT, b"")]),
    ({"f.unrouted"}, [("f.direct", "nobody", PERSISTENT, b"an alternate exchange")]),
    ({"f.acked"}, [("f.entry", "a.%d.c" % i, {**PERSISTENT, "message_id": str(i)}, b"%d" % i) for i in range(20)]),
    ({"f.acked"}, [("f.entry", "a.%d.c" % i, {**PERSISTENT, "message_id": str(i)}, b"%d" % i) for i in range(20, 40)]),
    ({"f.acked"}, [("f.entry", "a.%d.c" % i, {**PERSISTENT, "message_id": str(i)}, b"%d" % i) for i in range(40, 50)]),
    ({"f.delivered"}, [("", "f.delivered", PERSISTENT, b"delivered-%d" % i) for i in range(6)]),
    ({"f.large-1", "f.large-2"}, [("f.fanout", "one", {**PERSISTENT, "message_id": "large"}, LARGE),
                                  ("f.fanout", "two", PERSISTENT, b"small")]),
    ({"f.large-1", "f.large-2"}, [("f.fanout", "three", {**PERSISTENT, "message_id": "half"}, LARGE[::-1])]),
    ({"f.dead-lettering"}, [("amq.topic", "dead.1", PERSISTENT, b"x" * 300),
                            ("amq.topic", "dead.2", {"delivery_mode": 1}, b"transient")]),
]

# Queue: (how many are delivered, which of them are acknowledged, by their number from 0 on). The rest is given back.
DELIVERIES = {
    "f.acked": (45, {1, 2, 5, 19, *range(20, 40), 43}),
    "f.delivered": (3, set()),
    "f.large-1": (3, {2}),
}


def published():
    """Queue: the messages that it got, as (exchange, routing key, properties, body)."""
    return {name: [message for queues, publishes in TRANSACTIONS if name in queues for message in publishes]
            for name, _, _ in QUEUES}


def messages():
    """Queue: what is left in it, as (exchange, routing key, properties, body, redelivered)."""
    left = {}
    for queue, all_messages in published().items():
        delivered, acked = DELIVERIES.get(queue, (0, set()))
        left[queue] = [(*message, i < delivered) for i, message in enumerate(all_messages)
                       if i not in acked and message[2]["delivery_mode"] == 2]
    return left
