"""Where messages go (8): each type of exchange, alternate exchanges, exchange-to-exchange bindings, their ends."""

import time

import pytest

from amqp import Tagged
from conftest import differs_from_rabbitmq_3_10


@pytest.fixture
def bound(ch):
    """bound(exchange, key, arguments): a new queue that is bound so."""

    def bind(exchange, routing_key="", arguments=None):
        queue = ch.queue()
        ch.call("queue.bind", queue=queue, exchange=exchange, routing_key=routing_key, arguments=arguments or {})
        return queue

    return bind


@pytest.fixture
def chain(ch):
    """chain(source, destination, key, arguments): binds one exchange to another."""

    def bind(source, destination, routing_key="", arguments=None):
        ch.call("exchange.bind", source=source, destination=destination, routing_key=routing_key,
                arguments=arguments or {})

    return bind


def returned(pub, exchange, routing_key="", properties=None):
    """Publishes; whether the message came back."""
    pub.publish(exchange, routing_key, b"x", properties, mandatory=True)
    reply = pub.conn.next_method(pub.number)
    if reply.name == "basic.return":
        pub.expect("basic.ack")
        return True
    assert reply.name == "basic.ack", reply
    return False


# --- direct, fanout, default (8.1, 8.2) ---


def test_direct(ch, pub, exchange, bound):
    x = exchange("direct")
    a, b, again = bound(x, "a"), bound(x, "b"), bound(x, "a")
    for key in ("a", "b", "A", "", "a."):
        pub.put(x, key, key.encode())
    assert [ch.drain(queue) for queue in (a, b, again)] == [[b"a"], [b"b"], [b"a"]]


def test_fanout(ch, pub, exchange, bound):
    x = exchange("fanout")
    queues = [bound(x, "some"), bound(x, "other"), bound(x)]
    pub.put(x, "whatever", b"x")
    assert [ch.drain(queue) for queue in queues] == [[b"x"]] * 3


def test_default_exchange(ch, pub, unique):
    queue = ch.queue(unique())
    pub.put("", queue, b"x")
    got = ch.get(queue)
    assert (got.exchange, got.routing_key, got.body) == ("", queue, b"x")


@pytest.mark.parametrize("type_", ["direct", "fanout", "topic", "headers"])
def test_one_copy_however_many_bindings(ch, pub, exchange, bound, type_):
    x = exchange(type_)
    queue = bound(x, "k")
    for key, arguments in (("k", {"a": 1}), ("#", {}), ("*", {}), ("k", {"b": Tagged("l", 1)})):
        ch.call("queue.bind", queue=queue, exchange=x, routing_key=key, arguments=arguments)
    pub.put(x, "k", b"x", {"headers": {"a": 1, "b": 1}})
    assert ch.drain(queue) == [b"x"]


# --- topic (8.3) ---

KEYS = ["", "a", "b", "#", "*", ".", "..", "a.", ".a", "a.b", "a..b", "a.x.b", "a.b.c", "a.x.y.b", "b.a", "x.a.y", "a*",
        "aa", "**", "kern.info.disk"]

TOPICS = {
    "": [""],
    "a": ["a"],
    ".": ["."],
    "*": ["a", "b", "#", "*", "a*", "aa", "**"],
    "a.*": ["a.", "a.b"],
    "*.a": [".a", "b.a"],
    "a.*.b": ["a..b", "a.x.b"],
    "a.#": ["a", "a.", "a.b", "a..b", "a.x.b", "a.b.c", "a.x.y.b"],
    "#.a": ["a", ".a", "b.a"],
    "a.#.b": ["a.b", "a..b", "a.x.b", "a.x.y.b"],
    "#": KEYS,
    "#.#": KEYS,
    "*.#": [key for key in KEYS if key != ""],
    "#.*": [key for key in KEYS if key != ""],
    "*.*": [".", "a.", ".a", "a.b", "b.a"],
    "*.*.*": ["..", "a..b", "a.x.b", "a.b.c", "x.a.y", "kern.info.disk"],
    "#.a.#": ["a", "a.", ".a", "a.b", "a..b", "a.x.b", "a.b.c", "a.x.y.b", "b.a", "x.a.y"],
    "a*": ["a*"],
    "**": ["**"],
    "a.b": ["a.b"],
    "kern.*.disk": ["kern.info.disk"],
    "kern.#": ["kern.info.disk"],
    "A": [],
}


def test_topic_table(ch, pub, exchange, bound):
    x = exchange("topic")
    queues = {pattern: bound(x, pattern) for pattern in TOPICS}
    for key in KEYS:
        pub.put(x, key, key.encode())
    assert {pattern: [body.decode() for body in ch.drain(queue)] for pattern, queue in queues.items()} == TOPICS


def test_topic_with_many_hash_words(ch, pub, exchange, bound):
    x = exchange("topic")
    queue = bound(x, "#.a.#.b.#.c.#")
    for key in ("a.b.c", "x.a.x.x.b.c.x", "a.c.b", "a.b"):
        pub.put(x, key, key.encode())
    assert ch.drain(queue) == [b"a.b.c", b"x.a.x.x.b.c.x"]


def test_topic_unbind(ch, pub, exchange):
    x, queue = exchange("topic"), ch.queue()
    patterns = ["a.b", "a.*", "a.#", "#", "*.b", "a.b.c"]
    for pattern in patterns:
        ch.call("queue.bind", queue=queue, exchange=x, routing_key=pattern)
    for pattern in patterns[:-1]:
        assert not returned(pub, x, "a.b")
        ch.call("queue.unbind", queue=queue, exchange=x, routing_key=pattern)
    assert returned(pub, x, "a.b")
    assert not returned(pub, x, "a.b.c")


# --- headers (8.4) ---

ANY, ALL, ANY_X, ALL_X = ({"x-match": mode} for mode in ("any", "all", "any-with-x", "all-with-x"))


@pytest.mark.parametrize("arguments, headers, matches", [
    # all, also by default
    ({}, None, True), (ALL, None, True), (ALL, {}, True), ({"a": 1}, {"a": 1}, True), ({"a": 1}, {"a": 2}, False),
    ({"a": 1}, {}, False), ({"a": 1}, None, False), ({"a": 1, "b": 2}, {"b": 2, "a": 1, "c": 3}, True),
    ({"a": 1, "b": 2}, {"a": 1}, False), ({**ALL, "a": 1}, {"a": 1}, True), ({"x-y": 1, "a": 1}, {"a": 1}, True),
    ({**ALL, "x-y": 1}, None, True),
    # any
    (ANY, {"a": 1}, False), (ANY, None, False), ({**ANY, "a": 1, "b": 2}, {"b": 2}, True),
    ({**ANY, "a": 1, "b": 2}, {"a": 2, "b": 1}, False), ({**ANY, "x-y": 1}, {"x-y": 1}, False),
    # arguments that begin with x- count
    ({**ALL_X, "x-y": 1}, {"x-y": 1}, True), ({**ALL_X, "x-y": 1}, {}, False),
    ({**ALL_X, "x-y": 1, "a": 1}, {"a": 1}, False),
    ({**ANY_X, "x-y": 1}, {"x-y": 1}, True), ({**ANY_X, "x-y": 1, "a": 1}, {"a": 1}, True),
    (ANY_X, {"x-match": "any-with-x"}, False),
    # void: the key is enough
    ({"a": None}, {"a": 5}, True), ({"a": None}, {"a": None}, True), ({"a": None}, {"b": 5}, False),
    # kinds of values
    ({"a": Tagged("I", 1)}, {"a": Tagged("l", 1)}, True), ({"a": Tagged("b", 1)}, {"a": Tagged("u", 1)}, True),
    ({"a": "s"}, {"a": Tagged("x", b"s")}, True), ({"a": Tagged("f", 0.5)}, {"a": 0.5}, True),
    pytest.param({"a": 1}, {"a": 1.0}, False, marks=differs_from_rabbitmq_3_10("compares across kinds of numbers")),
    ({"a": 1}, {"a": True}, False), ({"a": "1"}, {"a": 1}, False), ({"a": "s"}, {"a": "S"}, False),
    ({"a": True}, {"a": True}, True), ({"a": True}, {"a": False}, False), ({"a": [1]}, {"a": [1]}, True),
    ({"a": [Tagged("I", 1)]}, {"a": [Tagged("l", 1)]}, False), ({"a": [1, 2]}, {"a": [2, 1]}, False),
    ({"a": {"b": 1}}, {"a": {"b": 1}}, True), ({"a": {"b": 1}}, {"a": {"b": 2}}, False),
    ({"a": Tagged("D", (2, 100))}, {"a": Tagged("D", (2, 100))}, True),
    ({"a": Tagged("D", (2, 100))}, {"a": Tagged("D", (1, 10))}, False),
    # duplicates: each argument must match, the first header counts
    ([("a", 1), ("a", 2)], {"a": 1}, False),
    pytest.param([("a", 1), ("a", 1)], {"a": 1}, True, marks=differs_from_rabbitmq_3_10("wants a header for each argument")),
    ({"a": 1}, [("a", 1), ("a", 2)], True),
])
def test_headers(pub, exchange, bound, arguments, headers, matches):
    x = exchange("headers")
    bound(x, "ignored", arguments)
    properties = None if headers is None else {"headers": headers}
    assert returned(pub, x, "key", properties) is not matches


def test_headers_timestamp(pub, exchange, bound):
    x = exchange("headers")
    bound(x, "", {"a": Tagged("T", 5)})
    assert not returned(pub, x, "", {"headers": {"a": Tagged("T", 5)}})
    assert returned(pub, x, "", {"headers": {"a": Tagged("T", 6)}})


def test_headers_by_the_thousand(pub, exchange, bound):
    """Nearly a frame full of pairs on both sides, in opposite orders: as many lookups, not all with all."""
    x = exchange("headers")
    pairs = {f"k{i:04}": i for i in range(8000)}
    bound(x, "", {"x-match": "all", **pairs})
    reverse = dict(reversed(pairs.items()))
    start = time.monotonic()
    for _ in range(20):
        assert not returned(pub, x, "", {"headers": reverse})
    assert returned(pub, x, "", {"headers": {**reverse, "k0000": 1}})
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("value, text", [
    ("foo", 'Invalid x-match field value <<"foo">>; expected all, any, all-with-x, or any-with-x'),
    ("ALL", 'Invalid x-match field value <<"ALL">>; expected all, any, all-with-x, or any-with-x'),
    (5, "Invalid x-match field type signedint (value 5); expected longstr"),
])
def test_invalid_x_match(ch, exchange, value, text):
    x = exchange("headers")
    ch.refuse("queue.bind", "PRECONDITION_FAILED - " + text, queue=ch.queue(), exchange=x, arguments={"x-match": value})


# --- alternate exchange (8.6) ---


def test_alternate_exchange(ch, pub, exchange, bound):
    ae = exchange("fanout")
    x = exchange("direct", {"alternate-exchange": ae})
    bound(x, "routed")
    unrouted = bound(ae)
    pub.put(x, "routed", b"not here")
    assert not returned(pub, x, "other")
    got = ch.get(unrouted)
    # As published: the detour does not show.
    assert (got.exchange, got.routing_key, got.body) == (x, "other", b"x")
    assert ch.get(unrouted) is None


def test_alternate_exchanges_in_a_chain_and_in_a_loop(ch, pub, exchange, unique, tidy, bound):
    second, third = tidy("exchange", unique()), tidy("exchange", unique())
    first = exchange("direct", {"alternate-exchange": second})
    for name, ae in ((second, third), (third, first)):
        ch.call("exchange.declare", exchange=name, type="direct", arguments={"alternate-exchange": ae})
    assert returned(pub, first, "k")
    queue = bound(third, "k")
    assert not returned(pub, first, "k")
    assert ch.drain(queue) == [b"x"]


def test_alternate_exchange_that_is_missing(pub, exchange):
    assert returned(pub, exchange("direct", {"alternate-exchange": "nope"}), "k")


def test_a_binding_to_an_exchange_that_leads_nowhere_counts_as_routed(ch, pub, exchange, bound, chain):
    ae = exchange("fanout")
    x, dead_end = exchange("fanout", {"alternate-exchange": ae}), exchange("fanout")
    queue = bound(ae)
    chain(x, dead_end)
    assert returned(pub, x)
    assert ch.drain(queue) == []


def test_alternate_exchange_of_an_exchange_on_the_way(ch, pub, exchange, bound, chain):
    ae = exchange("fanout")
    x, middle = exchange("fanout"), exchange("direct", {"alternate-exchange": ae})
    queue = bound(ae)
    chain(x, middle)
    assert not returned(pub, x, "k")
    assert ch.drain(queue) == [b"x"]


# --- exchange to exchange (8.7) ---


def test_exchange_to_exchange(ch, pub, exchange, bound, chain):
    source, middle, end = exchange("topic"), exchange("direct"), exchange("fanout", internal=True)
    chain(source, middle, "a.#")
    chain(middle, end, "a.b")
    direct, fanout = bound(middle, "a.b"), bound(end)
    for key in ("a.b", "a.c", "b"):
        pub.put(source, key, key.encode())
    got = ch.get(direct)
    assert (got.exchange, got.routing_key, got.body) == (source, "a.b", b"a.b")
    assert (ch.drain(direct), ch.drain(fanout)) == ([], [b"a.b"])


def test_exchanges_bound_in_a_circle(ch, pub, exchange, bound, chain):
    a, b = exchange("fanout"), exchange("fanout")
    chain(a, b)
    chain(b, a)
    chain(a, a)
    queues = [bound(a), bound(b)]
    pub.put(a, "", b"x")
    assert [ch.drain(queue) for queue in queues] == [[b"x"], [b"x"]]


def test_bindings_go_with_either_end(ch, pub, exchange, bound, chain):
    source, gone, stays = exchange("fanout"), exchange("fanout"), exchange("fanout")
    chain(source, gone)
    bound(gone)
    ch.call("exchange.delete", exchange=gone)
    assert returned(pub, source)
    ch.call("exchange.declare", exchange=gone, type="fanout")
    queue = bound(gone)
    assert returned(pub, source)
    ch.call("queue.bind", queue=queue, exchange=stays)
    ch.call("queue.delete", queue=queue)
    assert returned(pub, stays) and returned(pub, gone)


def test_unbind_of_an_exchange(pub, ch, exchange, bound, chain):
    source, destination = exchange("direct"), exchange("fanout")
    bound(destination)
    chain(source, destination, "k")
    assert not returned(pub, source, "k")
    ch.call("exchange.unbind", source=source, destination=destination, routing_key="k")
    assert returned(pub, source, "k")


# --- auto-delete (8.7) ---


def test_auto_delete_when_the_last_binding_is_unbound(ch, exchange):
    x = exchange("direct", auto_delete=True)
    assert ch.exists("exchange", x)
    queue = ch.queue()
    for key in "ab":
        ch.call("queue.bind", queue=queue, exchange=x, routing_key=key)
    ch.call("queue.unbind", queue=queue, exchange=x, routing_key="a")
    assert ch.exists("exchange", x)
    ch.call("queue.unbind", queue=queue, exchange=x, routing_key="b")
    assert not ch.exists("exchange", x)


def test_auto_delete_when_the_queue_is_deleted(ch, exchange, bound):
    x = exchange("fanout", auto_delete=True)
    queue = bound(x)
    ch.call("queue.delete", queue=queue)
    assert not ch.exists("exchange", x)


def test_auto_delete_goes_upstream(ch, exchange, bound, chain):
    first, second, third = (exchange("fanout", auto_delete=True) for _ in range(3))
    chain(first, second)
    chain(second, third)
    queue = bound(third)
    ch.call("queue.delete", queue=queue)
    assert [ch.exists("exchange", x) for x in (first, second, third)] == [False] * 3


def test_auto_delete_does_not_count_bindings_to_it(ch, exchange, chain):
    source, x = exchange("fanout"), exchange("fanout", auto_delete=True)
    chain(source, x)
    ch.call("exchange.unbind", source=source, destination=x)
    assert ch.exists("exchange", x)


def test_auto_delete_with_a_binding_to_itself(ch, exchange, bound, chain):
    x = exchange("fanout", auto_delete=True)
    chain(x, x)
    queue = bound(x)
    ch.call("queue.delete", queue=queue)
    assert ch.exists("exchange", x)
    ch.call("exchange.unbind", source=x, destination=x)
    assert not ch.exists("exchange", x)


# --- identity of bindings (8.7) ---


def test_bindings_differ_by_their_arguments(ch, pub, exchange, bound):
    x = exchange("direct")
    queue = bound(x, "k", {"a": 1})
    ch.call("queue.bind", queue=queue, exchange=x, routing_key="k", arguments={"a": Tagged("l", 1)})
    ch.call("queue.bind", queue=queue, exchange=x, routing_key="k")
    pub.put(x, "k", b"one copy")
    for arguments in ({"a": 1}, {"a": Tagged("l", 1)}):
        ch.call("queue.unbind", queue=queue, exchange=x, routing_key="k", arguments=arguments)
        assert not returned(pub, x, "k")
    ch.call("queue.unbind", queue=queue, exchange=x, routing_key="k")
    assert returned(pub, x, "k")
    assert ch.drain(queue) == [b"one copy", b"x", b"x"]


def test_order_of_arguments_does_not_matter(ch, pub, exchange, bound):
    x = exchange("direct")
    queue = bound(x, "k", [("a", 1), ("b", "2")])
    ch.call("queue.unbind", queue=queue, exchange=x, routing_key="k", arguments=[("b", "2"), ("a", 1)])
    assert returned(pub, x, "k")
