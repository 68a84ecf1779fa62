"""exchange.declare, delete, bind, unbind (3.2, 3.3, 8.1)."""

import pytest

from conftest import differs_from_rabbitmq_3_10

DEFAULT = "ACCESS_REFUSED - operation not permitted on the default exchange"


def x(name):
    return f"exchange '{name}' in vhost '/'"


def inequivalent(field, name, received, current):
    return f"PRECONDITION_FAILED - inequivalent arg '{field}' for {x(name)}: received {received} but current is {current}"


# --- predeclared (8.1) ---


@pytest.mark.parametrize("name, type_, internal", [
    ("amq.direct", "direct", False), ("amq.fanout", "fanout", False), ("amq.topic", "topic", False),
    ("amq.headers", "headers", False), ("amq.match", "headers", False), ("amq.rabbitmq.trace", "topic", True),
])
def test_predeclared(ch, name, type_, internal):
    ch.call("exchange.declare", exchange=name, passive=True)
    ch.call("exchange.declare", exchange=name, type=type_, durable=True, internal=internal)


def test_publish_to_the_trace_exchange(ch):
    ch.publish("amq.rabbitmq.trace", "k")
    ch.expect_refusal("basic.publish", f"ACCESS_REFUSED - cannot publish to internal {x('amq.rabbitmq.trace')}")


# --- declare ---


@pytest.mark.parametrize("type_", ["direct", "fanout", "topic", "headers"])
def test_declare(ch, exchange, type_):
    name = exchange(type_, durable=True)
    ch.call("exchange.declare", exchange=name, type=type_, durable=True)
    ch.call("exchange.declare", exchange=name, passive=True, type="whatever", internal=True, arguments={"a": 1})


@differs_from_rabbitmq_3_10("503 on the connection")
@pytest.mark.parametrize("name", ["", "amq.x", "some"])
def test_unknown_type_is_told_before_the_name(ch, name):
    ch.refuse("exchange.declare", "PRECONDITION_FAILED - unknown exchange type 'x-nope'", exchange=name, type="x-nope")


@differs_from_rabbitmq_3_10("503 on the connection")
def test_empty_type(ch):
    ch.refuse("exchange.declare", "PRECONDITION_FAILED - invalid exchange type ''", exchange="some")


@pytest.mark.parametrize("passive", [True, False])
def test_declare_the_default_exchange(ch, passive):
    ch.refuse("exchange.declare", DEFAULT, exchange="", type="direct", passive=passive)


@pytest.mark.parametrize("name", ["amq.", "amq.new"])
def test_reserved_names(ch, name):
    ch.refuse("exchange.declare", f"ACCESS_REFUSED - exchange name '{name}' contains reserved prefix 'amq.*'",
              exchange=name, type="direct")


@pytest.mark.parametrize("name", ["nope", "amq.nope", "grün"])
def test_passive_declare_of_a_missing_one(ch, name):
    ch.refuse("exchange.declare", f"NOT_FOUND - no {x(name)}", exchange=name, passive=True)


@pytest.mark.parametrize("change, field, received, current", [
    ({"type": "fanout"}, "type", "'fanout'", "'direct'"),
    ({"durable": True}, "durable", "'true'", "'false'"),
    ({"auto_delete": True}, "auto_delete", "'true'", "'false'"),
    ({"internal": True}, "internal", "'true'", "'false'"),
    ({"type": "topic", "durable": True}, "type", "'topic'", "'direct'"),
    ({"arguments": {"alternate-exchange": "ae"}}, "alternate-exchange", "the value 'ae' of type 'longstr'", "none"),
])
def test_inequivalent(ch, exchange, change, field, received, current):
    name = exchange()
    ch.refuse("exchange.declare", inequivalent(field, name, received, current),
              **{"exchange": name, "type": "direct", **change})


@pytest.mark.parametrize("arguments, received, current", [
    ({"alternate-exchange": "other"}, "'other'", "'ae'"), ({}, "none", "the value 'ae' of type 'longstr'"),
])
def test_inequivalent_alternate_exchange(ch, exchange, arguments, received, current):
    name = exchange(arguments={"alternate-exchange": "ae"})
    ch.refuse("exchange.declare", inequivalent("alternate-exchange", name, received, current), exchange=name,
              type="direct", arguments=arguments)


def test_other_arguments_are_not_compared(ch, exchange):
    name = exchange(arguments={"a": 1})
    ch.call("exchange.declare", exchange=name, type="direct", arguments={"b": "2"})


def test_alternate_exchange_must_be_text(ch, unique):
    name = unique()
    ch.refuse("exchange.declare",
              f"PRECONDITION_FAILED - invalid type 'signedint' for arg 'alternate-exchange' in {x(name)}",
              exchange=name, type="direct", arguments={"alternate-exchange": 5})


def test_line_ends_are_stripped(ch, unique, tidy):
    name = tidy("exchange", unique())
    ch.call("exchange.declare", exchange=f"\r\n{name[:5]}\n{name[5:]}\r", type="fanout")
    assert ch.exists("exchange", name)
    ch.call("exchange.delete", exchange=name + "\n")
    assert not ch.exists("exchange", name)


# --- delete ---


def test_delete(ch, exchange):
    name = exchange()
    ch.call("exchange.delete", exchange=name)
    assert not ch.exists("exchange", name)
    ch.call("exchange.delete", exchange=name)


def test_delete_the_default_exchange(ch):
    ch.refuse("exchange.delete", DEFAULT, exchange="")


@pytest.mark.parametrize("name", ["amq.direct", "amq.nope"])
def test_delete_of_a_reserved_name(ch, name):
    ch.refuse("exchange.delete", f"ACCESS_REFUSED - deletion of system {x(name)} not allowed", exchange=name)


def test_delete_if_unused(ch, exchange):
    source, destination = exchange(), exchange()
    ch.call("exchange.bind", source=source, destination=destination)
    ch.refuse("exchange.delete", f"PRECONDITION_FAILED - {x(source)} in use", exchange=source, if_unused=True)
    ch.reopen().call("exchange.delete", exchange=destination, if_unused=True)
    ch.call("exchange.delete", exchange=source, if_unused=True)


# --- bind, unbind ---


@pytest.mark.parametrize("method", ["exchange.bind", "exchange.unbind"])
@pytest.mark.parametrize("ends", [{"source": "", "destination": "amq.direct"}, {"source": "amq.direct", "destination": ""},
                                  {"source": "", "destination": "nope"}])
def test_the_default_exchange_cannot_be_bound(ch, method, ends):
    ch.refuse(method, DEFAULT, **ends)


@pytest.mark.parametrize("ends, missing", [
    ({"source": "nope", "destination": "amq.direct"}, "nope"), ({"source": "amq.direct", "destination": "nope"}, "nope"),
    ({"source": "no-source", "destination": "no-destination"}, "no-source"),
])
def test_bind_of_missing_ends(ch, ends, missing):
    ch.refuse("exchange.bind", f"NOT_FOUND - no {x(missing)}", **ends)


def test_bind_twice_and_unbind_twice(ch, exchange):
    ends = {"source": exchange(), "destination": exchange(), "routing_key": "k"}
    for method in ("exchange.bind", "exchange.bind", "exchange.unbind", "exchange.unbind"):
        ch.call(method, **ends)


@pytest.mark.parametrize("ends", [{"source": "nope", "destination": "amq.direct"},
                                  {"source": "amq.direct", "destination": "nope"}, {"source": "no", "destination": "nope"}])
def test_unbind_of_missing_ends(ch, ends):
    ch.call("exchange.unbind", **ends)


def test_bind_to_itself(ch, exchange):
    name = exchange("fanout")
    ch.call("exchange.bind", source=name, destination=name)


def test_unbind_ok_has_an_id_of_its_own(conn, ch):
    ch.send("exchange.unbind", source="amq.direct", destination="amq.fanout")
    assert conn.next_frame(1).payload == b"\0\x28\0\x33"
