"""What a restart keeps and what it does not, after a clean stop and after kill -9."""

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import tempfile

import pytest

import amqp
from conftest import START_TIMEOUT

MIB = 1 << 20
PERSISTENT = {"delivery_mode": 2}
TRANSIENT = {"delivery_mode": 1}
ENDS = [pytest.param(signal.SIGTERM, id="stopped"), pytest.param(signal.SIGKILL, id="killed")]
LOGIN_REFUSED = "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker " \
    "logfile."


@pytest.fixture(params=ENDS)
def end(request):
    return request.param


@pytest.fixture
def store(broker, end):
    """A broker of the test's own, and how it is ended."""
    return Store(broker(), end)


class Store:
    def __init__(self, coneyd, end):
        self.coneyd, self.end = coneyd, end

    def open(self):
        """A channel in confirm mode on a new connection."""
        return self.coneyd.open().channel(confirm=True)

    def restart(self):
        """Ends the broker and starts it again; a channel in confirm mode. Nothing is amiss."""
        self.coneyd.restart(self.end)
        amiss = re.findall(r".*\[(?:error|critical)\] (?!connection |channel ).*", self.coneyd.log())
        assert not amiss
        return self.open()


def publish(ch, exchange, key, messages):
    """Publishes (body, properties) on a channel in confirm mode, all at once, and waits until all are confirmed."""
    first = ch.published + 1
    ch.conn.send_bytes(b"".join(amqp.publish_frames(ch.number, exchange, key, body, properties)
                                for body, properties in messages))
    ch.published += len(messages)
    confirmed(ch, range(first, ch.published + 1))


def confirmed(ch, tags):
    waiting = set(tags)
    while waiting:
        ack = ch.expect("basic.ack")
        told = {tag for tag in waiting if tag == ack.delivery_tag or (ack.multiple and tag < ack.delivery_tag)}
        assert told, ack
        waiting -= told


def fill(ch, queue, *bodies):
    publish(ch, "", queue, [(body, PERSISTENT) for body in bodies])


def numbered(n, start=0):
    return [b"%d" % i for i in range(start, start + n)]


def take(ch, queue):
    """What is ready: bodies with their redelivered flag, taken for good."""
    taken = []
    while (got := ch.get(queue, no_ack=True)) is not None:
        taken.append((got.body, got.redelivered))
    return taken


def get(ch, queue, n):
    """Delivery tags of the next n messages, which stay unacknowledged."""
    return [ch.get(queue).delivery_tag for _ in range(n)]


def write_lazy_state(conn):
    """All that was settled and delivered up to here, on this connection, is on the disk: it goes there with a
    transaction that settles something."""
    ch, tx = conn.channel(confirm=True), conn.channel()
    ch.queue("of-write-lazy-state", durable=True, exclusive=False)
    fill(ch, "of-write-lazy-state", b"")
    tx.call("tx.select")
    tx.send("basic.ack", delivery_tag=tx.get("of-write-lazy-state").delivery_tag)
    tx.call("tx.commit")


def routed(ch, exchange, key, queues, headers=None):
    """Which of these queues a message gets to. They are empty before and afterwards."""
    publish(ch, exchange, key, [(b"", {"headers": headers or {}})])
    return {queue for queue in queues if ch.call("queue.purge", queue=queue).message_count}


# --- definitions ---


def test_queues(store):
    ch = store.open()
    arguments = {"x-max-length": 7, "x-overflow": "reject-publish", "x-other": [1, {"k": b"v"}, None]}
    for name, fields in {
            "durable": {"durable": True},
            "arguments": {"durable": True, "arguments": arguments},
            "auto-delete": {"durable": True, "auto_delete": True},
            "transient": {}, "transient-auto-delete": {"auto_delete": True},
            "exclusive": {"exclusive": True}, "durable-exclusive": {"durable": True, "exclusive": True},
    }.items():
        ch.queue(name, **{"exclusive": False, **fields})
    ch = store.restart()
    for name in "transient", "transient-auto-delete", "exclusive", "durable-exclusive":
        assert not ch.exists("queue", name)
    for name in "durable", "arguments", "auto-delete":
        assert ch.counts(name) == (0, 0)

    def refuse(text, name, **fields):
        ch.refuse("queue.declare", f"PRECONDITION_FAILED - inequivalent arg {text}".replace("NAME", name), queue=name,
                  **{"durable": True, **fields})
        ch.reopen()

    ch.queue("durable", exclusive=False, durable=True)
    ch.queue("auto-delete", exclusive=False, durable=True, auto_delete=True)
    ch.queue("arguments", arguments, exclusive=False, durable=True)
    refuse("'durable' for queue 'NAME' in vhost '/': received 'false' but current is 'true'", "durable", durable=False)
    refuse("'auto_delete' for queue 'NAME' in vhost '/': received 'true' but current is 'false'", "durable",
           auto_delete=True)
    refuse("'auto_delete' for queue 'NAME' in vhost '/': received 'false' but current is 'true'", "auto-delete")
    ch.refuse("queue.declare", re.compile("PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue 'arguments' "
                                          "in vhost '/': received none but current is .*'7'.*"),
              queue="arguments", durable=True)


def test_what_was_deleted_stays_away(store):
    ch = store.open()
    for name in "kept", "gone":
        ch.queue(name, durable=True, exclusive=False)
        ch.call("exchange.declare", exchange=f"x-{name}", type="direct", durable=True)
        ch.call("queue.bind", queue=name, exchange="amq.direct", routing_key="key")
        ch.call("queue.bind", queue="kept", exchange="amq.direct", routing_key=f"to-{name}")
        fill(ch, name, *numbered(3))
    ch.call("queue.delete", queue="gone")
    ch.call("exchange.delete", exchange="x-gone")
    ch.call("queue.unbind", queue="kept", exchange="amq.direct", routing_key="to-gone")
    ch = store.restart()
    assert not ch.exists("queue", "gone") and ch.exists("queue", "kept")
    assert not ch.exists("exchange", "x-gone") and ch.exists("exchange", "x-kept")
    ch = store.open()
    assert take(ch, "kept") == [(body, False) for body in numbered(3)]
    assert routed(ch, "amq.direct", "to-gone", ["kept"]) == set()
    assert routed(ch, "amq.direct", "to-kept", ["kept"]) == {"kept"}
    ch.queue("gone", durable=True, exclusive=False)
    assert take(ch, "gone") == []
    assert routed(ch, "amq.direct", "key", ["gone", "kept"]) == {"kept"}


def test_auto_delete_queue_waits_for_its_first_consumer(store):
    ch = store.open()
    ch.queue("auto", durable=True, auto_delete=True, exclusive=False)
    fill(ch, "auto", b"x")
    ch = store.restart()
    assert ch.counts("auto") == (1, 0)
    tag = ch.consume("auto")
    assert ch.deliver().body == b"x"
    ch.call("basic.cancel", consumer_tag=tag)
    assert not ch.exists("queue", "auto")
    assert not store.restart().exists("queue", "auto")


def test_auto_delete_queue_with_a_consumer(store):
    """A clean stop cancels the consumer, which deletes the queue; what is killed has no time for that."""
    ch = store.open()
    ch.queue("auto", durable=True, auto_delete=True, exclusive=False)
    ch.consume("auto")
    assert store.restart().exists("queue", "auto") == (store.end == signal.SIGKILL)


def test_exchanges(store):
    ch = store.open()
    kinds = {f"{type_}-{name}": {"type": type_, **fields} for type_ in ("direct", "fanout", "topic", "headers")
             for name, fields in {"plain": {}, "internal": {"internal": True}, "auto": {"auto_delete": True},
                                  "alternate": {"arguments": {"alternate-exchange": "amq.fanout", "x": 1}}}.items()}
    for name, fields in kinds.items():
        ch.call("exchange.declare", exchange=name, durable=True, **fields)
        ch.call("exchange.declare", exchange=f"transient-{name}", **fields)
    ch = store.restart()
    for name, fields in kinds.items():
        assert not ch.exists("exchange", f"transient-{name}")
        ch.call("exchange.declare", exchange=name, durable=True, **fields)
        changes = {
            "type": {"type": "direct" if fields["type"] != "direct" else "topic"},
            "durable": {"durable": False},
            "auto_delete": {"auto_delete": not fields.get("auto_delete", False)},
            "internal": {"internal": not fields.get("internal", False)},
            "alternate-exchange": {"arguments": {"alternate-exchange": "amq.topic"}},
        }
        for field, change in changes.items():
            ch.refuse("exchange.declare",
                      re.compile(f"PRECONDITION_FAILED - inequivalent arg '{field}' for exchange '{name}' in vhost '/'"
                                 ": received .* but current is .*"),
                      exchange=name, **{"durable": True, **fields, **change})
            ch.reopen()


def test_predeclared_exchanges(store):
    """They are what they were, and can still be bound to."""
    ch = store.open()
    ch.queue("q", durable=True, exclusive=False)
    predeclared = {"amq.direct": "direct", "amq.fanout": "fanout", "amq.topic": "topic", "amq.headers": "headers",
                   "amq.match": "headers"}
    for name in predeclared:
        ch.call("queue.bind", queue="q", exchange=name, routing_key="k")
    ch = store.restart()
    for name, type_ in predeclared.items():
        ch.call("exchange.declare", exchange=name, type=type_, durable=True)
        assert routed(ch, name, "k", ["q"]) == {"q"}


def test_bindings_and_routing(store):
    """A binding is durable if both of its ends are."""
    ch = store.open()
    queues = ["a", "b", "c"]
    for name in queues:
        ch.queue(name, durable=True, exclusive=False)
    ch.queue("transient", exclusive=False)
    for type_ in "direct", "fanout", "topic", "headers":
        ch.call("exchange.declare", exchange=type_, type=type_, durable=True)
    ch.call("exchange.declare", exchange="transient-x", type="fanout")
    ch.call("exchange.declare", exchange="inner", type="topic", durable=True, internal=True)
    ch.call("exchange.declare", exchange="with-alternate", type="direct", durable=True,
            arguments={"alternate-exchange": "fanout"})

    def bind(queue, exchange, key="", arguments=None):
        ch.call("queue.bind", queue=queue, exchange=exchange, routing_key=key, arguments=arguments or {})

    for queue in queues:
        bind(queue, "direct", queue)
    bind("b", "direct", "a")
    bind("transient", "direct", "a")
    bind("a", "fanout")
    bind("c", "fanout", "ignored")
    bind("a", "topic", "*.x.#")
    bind("b", "topic", "#")
    bind("c", "headers", "", {"x-match": "all", "n": 1, "s": "text"})
    bind("b", "headers", "", {"x-match": "any", "n": 1, "s": "text"})
    bind("b", "headers", "", {"x-match": "any", "n": 2})
    bind("a", "transient-x")
    bind("c", "inner", "in.#")
    ch.call("exchange.bind", destination="inner", source="topic", routing_key="in.*.deep")
    ch.call("exchange.bind", destination="inner", source="headers", arguments={"x-match": "all", "deep": True})
    ch.call("exchange.bind", destination="transient-x", source="fanout")
    bind("c", "with-alternate", "c")

    ch = store.restart()
    ch.queue("transient", exclusive=False)
    ch.call("exchange.declare", exchange="transient-x", type="fanout")
    every = [*queues, "transient"]
    for exchange, key, headers, wanted in (
            ("direct", "a", None, {"a", "b"}),
            ("direct", "c", None, {"c"}),
            ("direct", "d", None, set()),
            ("fanout", "any", None, {"a", "c"}),
            ("topic", "one.x.two", None, {"a", "b"}),
            ("topic", "in.the.deep", None, {"b", "c"}),
            ("headers", "", {"n": 1, "s": "text"}, {"b", "c"}),
            ("headers", "", {"n": 1}, {"b"}),
            ("headers", "", {"n": 2}, {"b"}),
            ("headers", "", {"n": 3}, set()),
            ("headers", "in.some", {"deep": True}, {"c"}),
            ("transient-x", "", None, set()),
            ("with-alternate", "c", None, {"c"}),
            ("with-alternate", "other", None, {"a", "c"}),
    ):
        assert routed(ch, exchange, key, every, headers) == wanted, (exchange, key, headers)
    ch.call("queue.unbind", queue="b", exchange="direct", routing_key="a")
    ch.call("exchange.unbind", destination="inner", source="topic", routing_key="in.*.deep")
    assert routed(ch, "direct", "a", every) == {"a"}
    assert routed(ch, "topic", "in.the.deep", every) == {"b"}
    ch.publish("inner", "in.x")
    ch.expect_refusal("basic.publish", "ACCESS_REFUSED - cannot publish to internal exchange 'inner' in vhost '/'")
    ch.reopen()
    # Bindings that were taken away stay away, and auto-deletion goes by those that are left.
    ch.call("exchange.declare", exchange="auto", type="fanout", durable=True, auto_delete=True)
    ch.call("queue.bind", queue="a", exchange="auto")
    ch = store.restart()
    assert routed(ch, "direct", "a", queues) == {"a"}
    assert routed(ch, "auto", "", queues) == {"a"}
    ch.call("queue.unbind", queue="a", exchange="auto")
    assert not ch.exists("exchange", "auto")
    assert not store.restart().exists("exchange", "auto")


def test_binding_again_is_the_same_binding(store):
    """A binding is known by its arguments, in any order, after a restart, too."""
    ch = store.open()
    ch.queue("q", durable=True, exclusive=False)
    ch.call("queue.bind", queue="q", exchange="amq.headers", routing_key="k", arguments={"x": 1, "y": "2"})
    ch = store.restart()
    ch.call("queue.bind", queue="q", exchange="amq.headers", routing_key="k", arguments={"y": "2", "x": 1})
    ch.call("queue.unbind", queue="q", exchange="amq.headers", routing_key="k", arguments={"x": 1, "y": "2"})
    assert routed(ch, "amq.headers", "k", ["q"], {"x": 1, "y": "2"}) == set()
    assert routed(store.restart(), "amq.headers", "k", ["q"], {"x": 1, "y": "2"}) == set()


def test_server_named_queue(store):
    ch = store.open()
    names = [ch.queue("", durable=True, exclusive=False) for _ in range(3)]
    for name in names:
        fill(ch, name, name.encode())
    ch = store.restart()
    for name in names:
        assert take(ch, name) == [(name.encode(), False)]
    assert ch.queue("", durable=True, exclusive=False) not in names


def test_names_that_come_and_go(store):
    """Queues, bindings and exchanges of the same names, made anew so often that ids are reserved anew: nothing of an
    earlier one comes back."""
    ch = store.open()
    for i in range(400):
        ch.send("exchange.declare", exchange="x", type="fanout", durable=True, nowait=True)
        ch.send("queue.declare", queue="q", durable=True, nowait=True)
        ch.send("queue.bind", queue="q", exchange="x", nowait=True)
        ch.publish("x", "", b"%d" % i, PERSISTENT)
        if i != 399:
            ch.send("queue.delete", queue="q", nowait=True)
            ch.send("exchange.delete", exchange="x", nowait=True)
    confirmed(ch, range(1, 401))
    ch = store.restart()
    assert ch.counts("q") == (1, 0)
    ch.queue("r", durable=True, exclusive=False)
    ch.call("queue.bind", queue="r", exchange="x")
    publish(ch, "x", "", [(b"new", PERSISTENT)])
    ch = store.restart()
    assert take(ch, "q") == [(b"399", False), (b"new", False)]
    assert take(ch, "r") == [(b"new", False)]


# --- messages ---


def test_messages(store):
    """Those that are persistent, in durable queues, in their order; the counts are right at once."""
    ch = store.open()
    ch.queue("durable", durable=True, exclusive=False)
    ch.queue("transient", exclusive=False)
    mixed = [(b"%d" % i, (PERSISTENT, TRANSIENT, {}, {"delivery_mode": 3})[i % 4]) for i in range(400)]
    publish(ch, "", "durable", mixed)
    publish(ch, "", "transient", mixed)
    ch = store.restart()
    kept = [(body, False) for body in numbered(400)[::4]]
    assert ch.counts("durable") == (len(kept), 0)
    assert not ch.exists("queue", "transient")
    assert take(ch, "durable") == kept


def test_every_byte(store):
    """Exchange, routing key, properties and body, as they were published."""
    ch = store.open()
    ch.queue("q", durable=True, exclusive=False)
    ch.call("queue.bind", queue="q", exchange="amq.topic", routing_key="#")
    headers = [
        ("t", True), ("b", amqp.Tagged("b", -1)), ("B", amqp.Tagged("B", 255)), ("s", amqp.Tagged("s", -2)),
        ("u", amqp.Tagged("u", 65535)), ("I", -(2**31)), ("i", amqp.Tagged("i", 2**32 - 1)), ("l", 2**63 - 1),
        ("f", amqp.Tagged("f", 0.5)), ("d", 1e300), ("D", amqp.Tagged("D", (3, 12345))),
        ("S", b"\xff\0 not text"), ("x", amqp.Tagged("x", bytes(range(256)))), ("T", amqp.Tagged("T", 1)),
        ("V", None), ("F", {"in": {"side": [1, "two", None]}}), ("A", [{}, [], ""]), ("twice", 1), ("twice", 2),
        ("", "no key"), ("ü" * 60, "ö"),
    ]
    properties = {
        "content_type": "text/plain", "content_encoding": "", "headers": headers, "delivery_mode": 2, "priority": 255,
        "correlation_id": "c" * 255, "reply_to": "reply", "expiration": "60000", "message_id": "ümlaut",
        "timestamp": 2**64 - 1, "type": "type", "user_id": "guest", "app_id": "app", "cluster_id": "cluster",
    }
    key = "k" * 255
    sent = [(properties, bytes(range(256)) * 3), (PERSISTENT, b""), ({"delivery_mode": 2, "headers": {}}, b"\0"),
            ({**PERSISTENT, "cluster_id": "last"}, b"\xce" * 5000)]
    for some, body in sent:
        publish(ch, "amq.topic", key, [(body, some)])
    ch = store.restart()
    for some, body in sent:
        got = ch.get("q")
        assert (got.exchange, got.routing_key, got.body) == ("amq.topic", key, body)
        assert got.properties_raw == amqp.encode_properties(some)


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 131064, 131065, 256 * 1024, MIB - 200, MIB, 3 * MIB])
def test_sizes(store, size):
    """From nothing to what does not go through the write-ahead log, between small ones, for one queue and for three."""
    ch = store.open()
    queues = ["a", "b", "c"]
    for name in queues:
        ch.queue(name, durable=True, exclusive=False)
        ch.call("queue.bind", queue=name, exchange="amq.fanout")
    body = (b"%07d\n" % size) * (size // 8 + 1)
    bodies = [b"before", body[:size], b"after"]
    fill(ch, "a", *bodies)
    publish(ch, "amq.fanout", "", [(part, PERSISTENT) for part in bodies])
    ch = store.restart()
    assert ch.drain("a") == bodies * 2
    assert ch.drain("b") == bodies
    write_lazy_state(ch.conn)
    ch = store.restart()
    assert [ch.counts(name) for name in queues] == [(0, 0), (0, 0), (3, 0)]
    assert ch.drain("c") == bodies


def test_fan_out_is_stored_once(broker):
    """40 large bodies in five queues take the room of 40, not of 200."""
    b = broker()
    ch = b.open().channel(confirm=True)
    queues = [f"q{i}" for i in range(5)]
    for name in queues:
        ch.queue(name, durable=True, exclusive=False)
        ch.call("queue.bind", queue=name, exchange="amq.fanout")
    bodies = [b"%05d" % i * 20000 for i in range(40)]
    once = sum(map(len, bodies))

    def size():
        b.restart()
        return (b.directory / "data" / "store" / "data.mdb").stat().st_size

    before = size()
    ch = b.open().channel(confirm=True)
    publish(ch, "amq.fanout", "", [(body, PERSISTENT) for body in bodies])
    grown = size() - before
    assert once < grown < 2.5 * once
    # Each queue has them all, whatever the others have done with theirs; and again after another restart.
    ch = b.open().channel()
    for name in queues[:3]:
        assert ch.drain(name) == bodies
    b.restart()
    ch = b.open().channel()
    for name in queues[3:]:
        assert ch.drain(name) == bodies


def test_mandatory_and_unroutable(store):
    ch = store.open()
    ch.queue("q", durable=True, exclusive=False)
    ch.publish("amq.direct", "nowhere", b"back", PERSISTENT, mandatory=True)
    assert ch.expect("basic.return", reply_code=312, reply_text="NO_ROUTE").body == b"back"
    ch.expect("basic.ack", delivery_tag=1, multiple=False)
    ch.publish("", "q", b"there", PERSISTENT, mandatory=True)
    ch.expect("basic.ack", delivery_tag=2, multiple=False)
    assert take(store.restart(), "q") == [(b"there", False)]


# --- deliveries and settlements ---


def test_redelivered(store):
    """What had been delivered says so, and nothing else does."""
    ch = store.open()
    ch.queue("q", durable=True, exclusive=False)
    fill(ch, "q", *numbered(10))
    tags = get(ch, "q", 5)
    ch.send("basic.ack", delivery_tag=tags[0])
    ch.send("basic.ack", delivery_tag=tags[2])
    assert ch.get("q", no_ack=True).body == b"5"
    write_lazy_state(ch.conn)
    ch = store.restart()
    assert ch.counts("q") == (7, 0)
    assert take(ch, "q") == [(b"1", True), (b"3", True), (b"4", True),
                             (b"6", False), (b"7", False), (b"8", False), (b"9", False)]


def test_redelivered_stays_so(store):
    """Over one more restart, and for what is published in between."""
    ch = store.open()
    ch.queue("q", durable=True, exclusive=False)
    fill(ch, "q", *numbered(4))
    get(ch, "q", 2)
    write_lazy_state(ch.conn)
    ch = store.restart()
    fill(ch, "q", *numbered(2, 4))
    get(ch, "q", 1)
    write_lazy_state(ch.conn)
    ch = store.restart()
    assert take(ch, "q") == [(b"0", True), (b"1", True), (b"2", False), (b"3", False), (b"4", False), (b"5", False)]


def test_acknowledged_ones_are_gone(store):
    """By ack, nack and reject without requeue, one by one and multiple, and taken without acknowledgement."""
    ch = store.open()
    ch.queue("q", durable=True, exclusive=False)
    fill(ch, "q", *numbered(20))
    tags = get(ch, "q", 16)
    ch.send("basic.ack", delivery_tag=tags[5])
    ch.send("basic.ack", delivery_tag=tags[2], multiple=True)
    ch.send("basic.reject", delivery_tag=tags[8])
    ch.send("basic.nack", delivery_tag=tags[10])
    ch.send("basic.ack", delivery_tag=tags[15])
    assert ch.get("q", no_ack=True).body == b"16"
    write_lazy_state(ch.conn)
    ch = store.restart()
    assert ch.counts("q") == (12, 0)
    assert take(ch, "q") == [(b"%d" % i, i < 17) for i in (3, 4, 6, 7, 9, 11, 12, 13, 14, 17, 18, 19)]


def test_requeued_ones_are_in_their_places(store):
    ch = store.open()
    ch.queue("q", durable=True, exclusive=False)
    fill(ch, "q", *numbered(8))
    tags = get(ch, "q", 6)
    for i in 4, 1, 3:
        ch.send("basic.nack", delivery_tag=tags[i], requeue=True)
    ch.send("basic.ack", delivery_tag=tags[0])
    fill(ch, "q", b"8")
    assert ch.get("q").body == b"1"
    write_lazy_state(ch.conn)
    ch = store.restart()
    assert take(ch, "q") == [(b"%d" % i, i < 6) for i in range(1, 9)]


def test_purged_ones_are_gone(store):
    """Not those that a consumer has, nor those that come later."""
    ch = store.open()
    ch.queue("q", durable=True, exclusive=False)
    fill(ch, "q", *numbered(300))
    get(ch, "q", 3)
    assert ch.call("queue.purge", queue="q").message_count == 297
    fill(ch, "q", b"later")
    write_lazy_state(ch.conn)
    ch = store.restart()
    assert ch.counts("q") == (4, 0)
    assert take(ch, "q") == [(b"0", True), (b"1", True), (b"2", True), (b"later", False)]


def test_consumed_to_the_end(store):
    """Order and counts of a long queue that was consumed in part, by a consumer."""
    ch = store.open()
    ch.queue("q", durable=True, exclusive=False)
    fill(ch, "q", *numbered(3000))
    ch.call("basic.qos", prefetch_count=100)
    ch.consume("q")
    for i in range(1000):
        got = ch.deliver()
        assert got.body == b"%d" % i
        ch.send("basic.ack", delivery_tag=got.delivery_tag)
    write_lazy_state(ch.conn)
    ch = store.restart()
    assert ch.counts("q") == (2000, 0)
    taken = take(ch, "q")
    assert [body for body, _ in taken] == numbered(2000, 1000)
    redelivered = [flag for _, flag in taken]
    assert redelivered == [True] * 100 + [False] * 1900


def take_without_acks(ch, queue, bodies, redelivered):
    """All of them, by a consumer that has no limit."""
    ch.consume(queue)
    for body in bodies:
        got = ch.deliver()
        assert (got.body, got.redelivered) == (body, redelivered)


def test_unacknowledged_ones_leave_memory(broker, end):
    """And come back in their places, from the disk, whether their consumer goes or the broker."""
    store = Store(broker({"coney.queue_memory_max": 65536}), end)
    ch = store.open()
    ch.queue("q", durable=True, exclusive=False)
    bodies = [b"%d " % i * 1000 for i in range(600)]
    for at in range(0, 600, 100):
        fill(ch, "q", *bodies[at:at + 100])
    idle = store.coneyd.open().channel()
    take_without_acks(idle, "q", bodies, False)
    idle.conn.close()
    assert ch.counts("q") == (600, 0)
    taker = store.coneyd.open().channel()
    take_without_acks(taker, "q", bodies, True)
    for tag in 600, 300, 301, 1:
        taker.send("basic.nack", delivery_tag=tag, requeue=True)
    assert set(taker.deliveries(4)) == {bodies[599], bodies[299], bodies[300], bodies[0]}
    write_lazy_state(ch.conn)
    ch = store.restart()
    assert take(ch, "q") == [(body, True) for body in bodies]


# --- confirms and transactions ---


def test_confirms_of_a_mix(store):
    """Persistent and transient ones, to durable and transient queues, in any order."""
    ch = store.open()
    ch.queue("durable", durable=True, exclusive=False)
    ch.queue("transient", exclusive=False)
    frames = b""
    for i in range(400):
        queue = ("durable", "transient", "nowhere")[i % 3]
        frames += amqp.publish_frames(ch.number, "", queue, b"%d" % i, (PERSISTENT, TRANSIENT)[i % 2])
    ch.conn.send_bytes(frames)
    confirmed(ch, range(1, 401))
    assert take(store.restart(), "durable") == [(b"%d" % i, False) for i in range(0, 400, 6)]


def test_confirms_of_what_is_not_stored(store):
    """Persistent messages for queues that do not store them."""
    ch = store.open()
    for name, fields in {"exclusive": {}, "transient": {"exclusive": False}}.items():
        ch.queue(name, **fields)
        ch.call("queue.bind", queue=name, exchange="amq.fanout")
    publish(ch, "amq.fanout", "", [(body, PERSISTENT) for body in numbered(50)])
    assert ch.drain("exclusive") == ch.drain("transient") == numbered(50)
    ch = store.restart()
    assert not ch.exists("queue", "exclusive") and not ch.exists("queue", "transient")


def test_committed_transaction(broker):
    """Killed as soon as commit-ok is there: all of its publishes and acknowledgements have happened."""
    b = broker()
    for turn in range(5):
        ch, tx = (conn := b.open()).channel(confirm=True), conn.channel()
        for name in "a", "b", "c", "in":
            ch.queue(name, durable=True, exclusive=False)
        fill(ch, "in", *numbered(4))
        tx.call("tx.select")
        for body in numbered(30):
            tx.publish("", ("a", "b", "c")[int(body) % 3], body * (1 + 5000 * (turn % 2)), PERSISTENT)
        tags = get(tx, "in", 3)
        tx.send("basic.ack", delivery_tag=tags[0])
        tx.send("basic.ack", delivery_tag=tags[2])
        tx.call("tx.commit")
        b.restart(signal.SIGKILL)
        ch = b.open().channel()
        for i, name in enumerate(("a", "b", "c")):
            assert ch.drain(name) == [body * (1 + 5000 * (turn % 2)) for body in numbered(30)[i::3]]
        assert take(ch, "in") == [(b"1", True), (b"3", False)]
        for name in "a", "b", "c", "in":
            ch.call("queue.delete", queue=name)
        ch.conn.close()


def test_open_transaction(store):
    """Nothing of it has happened, nor of one that was rolled back."""
    ch, tx = (conn := store.coneyd.open()).channel(confirm=True), conn.channel()
    ch.queue("q", durable=True, exclusive=False)
    fill(ch, "q", *numbered(3))
    tx.call("tx.select")
    tx.publish("", "q", b"rolled back", PERSISTENT)
    tags = get(tx, "q", 2)
    tx.send("basic.ack", delivery_tag=tags[0])
    tx.call("tx.rollback")
    tx.publish("", "q", b"open", PERSISTENT)
    tx.send("basic.ack", delivery_tag=tags[1])
    write_lazy_state(conn)
    assert take(store.restart(), "q") == [(b"0", True), (b"1", True), (b"2", False)]


# --- the data directory ---


def login(b, user, password):
    """Whether they may log in."""
    c = b.connect()
    c.to_start()
    c.start_ok(response=amqp.plain(user, password))
    reply = c.next_method()
    if reply.name == "connection.close":
        amqp.check_close(reply, 403, LOGIN_REFUSED, 0, 0)
    else:
        assert reply.name == "connection.tune", reply
    c.abort()
    return reply.name == "connection.tune"


def test_default_user_and_vhost_are_made_once(broker, end):
    def settings(name):
        return {"default_user": name, "default_pass": f"{name} secret", "default_vhost": f"vhost {name}"}

    def enter(vhost):
        return b.open(start_ok={"response": amqp.plain("one", "one secret")}, virtual_host=vhost)

    b = broker(settings("one"))
    ch = enter("vhost one").channel(confirm=True)
    ch.queue("q", durable=True, exclusive=False)
    fill(ch, "q", b"x")
    b.restart(end, settings("two"))
    assert login(b, "one", "one secret")
    assert not login(b, "two", "two secret")
    assert not login(b, "one", "two secret")
    assert not login(b, "guest", "guest")
    assert enter("vhost one").channel().drain("q") == [b"x"]
    c = b.connect()
    c.to_tune(response=amqp.plain("one", "one secret"))
    c.tune_ok()
    c.send("connection.open", virtual_host="vhost two")
    c.expect_connection_close(530, "NOT_ALLOWED - vhost vhost two not found", *amqp.ids_of("connection.open"))


def refused_start(data_dir, **options):
    """What coneyd says about a data directory that it cannot use."""
    done = subprocess.run([*options.pop("before", []), os.environ["CONEYD"], "--data-dir", str(data_dir), "--set",
                           "listeners.tcp.default=127.0.0.1:0"],
                          capture_output=True, text=True, timeout=START_TIMEOUT, check=False, **options)
    assert done.returncode == 1, done
    return done.stderr


def test_two_brokers_on_one_directory(broker):
    b = broker()
    ch = b.open().channel(confirm=True)
    ch.queue("q", durable=True, exclusive=False)
    data = b.directory / "data"
    assert f"the data directory {data} is in use by another process" in refused_start(data)
    fill(ch, "q", b"goes on")
    b.restart()
    assert b.open().channel().drain("q") == [b"goes on"]


def test_data_directory_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    for path in tmp_path / "file", tmp_path / "file" / "below":
        assert re.search(f"{re.escape(str(path))}.*: Not a directory", refused_start(path))


@contextlib.contextmanager
def public_directory():
    """One that every user can enter, unlike what is below pytest's."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield pathlib.Path(name)


def test_data_directory_is_not_writable():
    # Root may write anywhere, so that it has to be somebody else.
    other = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    with public_directory() as folder:
        (folder / "data").mkdir()
        (folder / "data").chmod(0o555)
        folder.chmod(0o555)
        assert f"cannot make the directory {folder}/new: Permission denied" in refused_start(folder / "new",
                                                                                              before=other)
        assert f"cannot open {folder}/data/lock: Permission denied" in refused_start(folder / "data", before=other)
        folder.chmod(0o755)
        (folder / "data").chmod(0o755)
