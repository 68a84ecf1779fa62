"""queue.declare, bind, unbind, purge, delete (3.3, 3.4), exclusive and auto-delete queues (4.4)."""

import re

import pytest

import amqp


def q(name):
    return f"queue '{name}' in vhost '/'"


def locked(name):
    return (f"RESOURCE_LOCKED - cannot obtain exclusive access to locked {q(name)}. It could be originally declared on "
            "another connection or the exclusive property value does not match that of the original declaration.")


def inequivalent(field, name, received, current):
    return f"PRECONDITION_FAILED - inequivalent arg '{field}' for {q(name)}: received {received} but current is {current}"


def reserved(name):
    return f"ACCESS_REFUSED - queue name '{name}' contains reserved prefix 'amq.*'"


NO_LAST_QUEUE = "NOT_FOUND - no previously declared queue"


# --- declare ---


def test_declare(ch, pub, unique):
    name = unique()
    ch.send("queue.declare", queue=name, exclusive=True)
    ch.expect("queue.declare-ok", queue=name, message_count=0, consumer_count=0)
    pub.fill(name, b"1", b"2", b"3")
    ch.call("basic.qos", prefetch_count=1)
    ch.consume(name)
    ch.deliver()
    ch.send("queue.declare", queue=name, exclusive=True)
    ch.expect("queue.declare-ok", queue=name, message_count=2, consumer_count=1)


def test_server_named(ch):
    names = {ch.queue() for _ in range(3)}
    assert len(names) == 3
    assert all(re.fullmatch("amq\\.gen-[A-Za-z0-9_-]{22}", name) for name in names)


@pytest.mark.parametrize("name", ["amq.", "amq.new", "amq.gen-x"])
def test_reserved_names(ch, name):
    ch.refuse("queue.declare", reserved(name), queue=name)
    ch.reopen().refuse("queue.declare", f"NOT_FOUND - no {q(name)}", queue=name, passive=True)


def test_reserved_name_of_a_queue_of_ones_own(ch):
    name = ch.queue()
    ch.call("queue.declare", queue=name, passive=True)
    ch.refuse("queue.declare", reserved(name), queue=name, exclusive=True)


@pytest.mark.parametrize("name", ["nope", "", "grün"])
def test_passive_declare_of_a_missing_one(ch, name):
    ch.queue()
    ch.refuse("queue.declare", f"NOT_FOUND - no {q(name)}", queue=name, passive=True)


def test_passive_declare_ignores_flags_and_arguments(ch):
    name = ch.queue()
    ch.call("queue.declare", queue=name, passive=True, durable=True, auto_delete=True, arguments={"x-expires": "?"})


def test_line_ends_are_stripped(ch, unique):
    name = unique()
    assert ch.queue(f"{name[:4]}\r\n{name[4:]}\n") == name
    assert ch.call("queue.delete", queue=name + "\r").message_count == 0
    assert not ch.exists("queue", name)


def test_names_may_be_any_text(ch, unique):
    for name in (unique() + " grün \t'", (unique() + "x" * 255)[:255]):
        assert ch.queue(name) == name
        ch.call("queue.delete", queue=name)


# --- equivalence (3.3) ---


@pytest.mark.parametrize("change, field, received, current", [
    ({"durable": True}, "durable", "'true'", "'false'"), ({"auto_delete": True}, "auto_delete", "'true'", "'false'"),
    ({"durable": True, "auto_delete": True}, "durable", "'true'", "'false'"),
    ({"auto_delete": True, "arguments": {"x-expires": 1000000}}, "auto_delete", "'true'", "'false'"),
    ({"arguments": {"x-max-length": 5}}, "x-max-length", "the value '5' of type 'signedint'", "none"),
    ({"arguments": {"x-dead-letter-exchange": "d"}}, "x-dead-letter-exchange", "the value 'd' of type 'longstr'", "none"),
    ({"arguments": {"x-max-length": 5, "x-expires": 1000000}}, "x-expires", "the value '1000000' of type 'signedint'", "none"),
])
def test_inequivalent(ch, shared_queue, change, field, received, current):
    name = shared_queue()
    ch.refuse("queue.declare", inequivalent(field, name, received, current), queue=name, **change)


@pytest.mark.parametrize("argument, was, now, received, current", [
    ("x-message-ttl", 1000, 2000, "'2000'", "'1000'"),
    ("x-message-ttl", 1000, None, "none", "the value '1000' of type 'signedint'"),
    ("x-expires", amqp.Tagged("l", 600000), None, "none", "the value '600000' of type 'long'"),
    ("x-max-length", 5, 6, "'6'", "'5'"),
    ("x-max-length-bytes", 5, 6, "'6'", "'5'"),
    ("x-max-priority", amqp.Tagged("b", 5), 6, "'6'", "'5'"),
    ("x-dead-letter-exchange", "a", "b", "'b'", "'a'"),
    ("x-overflow", "reject-publish", "drop-head", "'drop-head'", "'reject-publish'"),
    ("x-single-active-consumer", True, False, "'false'", "'true'"),
])
def test_inequivalent_arguments(ch, unique, argument, was, now, received, current):
    name = ch.queue(unique(), {argument: was})
    ch.refuse("queue.declare", inequivalent(argument, name, received, current), queue=name, exclusive=True,
              arguments={} if now is None else {argument: now})


def test_integers_of_any_width_are_equal(ch, unique):
    name = ch.queue(unique(), {"x-max-length": amqp.Tagged("b", 5)})
    for tag in "BsuIilL":
        assert ch.queue(name, {"x-max-length": amqp.Tagged(tag, 5)}) == name


def test_other_arguments_are_not_compared(ch, unique):
    name = ch.queue(unique(), {"a": 1})
    assert ch.queue(name, {"b": "2"}) == name


@pytest.mark.parametrize("was, now", [({}, {"x-queue-type": "classic"}), ({"x-queue-type": "classic"}, {})])
def test_no_queue_type_is_classic(ch, unique, was, now):
    name = ch.queue(unique(), was)
    assert ch.queue(name, now) == name


# --- exclusive (4.4) ---


@pytest.mark.parametrize("method, fields", [
    ("queue.declare", {"exclusive": True}), ("queue.declare", {}), ("queue.declare", {"passive": True}),
    ("queue.bind", {"exchange": "amq.direct"}), ("queue.purge", {}), ("queue.delete", {}),
    ("basic.consume", {}), ("basic.get", {}),
])
def test_exclusive_queue_of_another_connection(ch, other, unique, method, fields):
    name = ch.queue(unique())
    other.channel().refuse(method, locked(name), queue=name, **fields)


def test_exclusive_flag_must_be_the_same(ch, unique, shared_queue):
    name = ch.queue(unique())
    ch.refuse("queue.declare", locked(name), queue=name)
    ch.reopen()
    name = shared_queue()
    ch.refuse("queue.declare", locked(name), queue=name, exclusive=True)


def test_exclusive_is_told_before_other_differences(ch, other, unique):
    name = ch.queue(unique())
    other.channel().refuse("queue.declare", locked(name), queue=name, auto_delete=True, arguments={"x-expires": 1000})


@pytest.mark.parametrize("first, second", [(True, False), (False, True)])
def test_exclusive_queues_ignore_durable(ch, unique, first, second):
    name = ch.queue(unique(), durable=first)
    assert ch.queue(name, durable=second) == name


def test_publish_to_an_exclusive_queue_of_another_connection(ch, other, unique):
    name = ch.queue(unique())
    other.channel(confirm=True).put("", name, b"x")
    assert ch.get(name).body == b"x"


def test_unbind_of_an_exclusive_queue_of_another_connection(ch, other, unique):
    name = ch.queue(unique())
    other.channel().call("queue.unbind", queue=name, exchange="amq.direct", routing_key="never bound")


def test_exclusive_queue_is_gone_before_close_ok(conn, ch, other, unique):
    name = ch.queue(unique())
    conn.close()
    assert not other.channel().exists("queue", name)


def test_exclusive_queue_outlives_its_channel(conn, ch, unique):
    name = ch.queue(unique())
    ch.call("channel.close")
    assert conn.channel().counts(name) == (0, 0)


# --- auto-delete (4.4) ---


def test_auto_delete_needs_a_first_consumer(ch, pub, shared_queue):
    name = shared_queue(auto_delete=True)
    pub.fill(name, b"1", b"2")
    assert ch.get(name, no_ack=True).body == b"1"
    assert ch.counts(name) == (1, 0)


def test_auto_delete_by_cancel(ch, pub, shared_queue):
    name = shared_queue(auto_delete=True)
    first, second = ch.consume(name), ch.consume(name)
    pub.fill(name, b"unacked")
    ch.deliver()
    ch.call("basic.cancel", consumer_tag=first)
    assert ch.counts(name)[1] == 1
    ch.call("basic.cancel", consumer_tag=second)
    assert not ch.exists("queue", name)


def test_auto_delete_by_channel_close(conn, ch, shared_queue):
    name = shared_queue(auto_delete=True)
    consumer = conn.channel()
    consumer.consume(name)
    consumer.call("channel.close")
    assert not ch.exists("queue", name)


def test_auto_delete_by_connection_close(ch, other, shared_queue):
    name = shared_queue(auto_delete=True)
    other.channel().consume(name)
    other.close()
    assert not ch.exists("queue", name)


# --- the last declared queue ---


def test_empty_name_without_a_declared_queue(ch):
    for method, fields in (("queue.bind", {"exchange": "amq.direct"}), ("queue.unbind", {"exchange": "amq.direct"}),
                           ("queue.purge", {}), ("queue.delete", {}), ("basic.consume", {}), ("basic.get", {})):
        ch.refuse(method, NO_LAST_QUEUE, **fields)
        ch.reopen()


def test_empty_name_is_the_last_declared_queue(conn, ch, pub, unique):
    first, last = ch.queue(unique()), ch.queue(unique())
    pub.fill(last, b"1", b"2", b"3")
    assert ch.get("").body == b"1"
    assert ch.call("queue.purge").message_count == 2
    ch.call("queue.bind", exchange="amq.direct", routing_key=last + "-key")
    pub.put("amq.direct", last + "-key", b"bound")
    assert ch.get("").body == b"bound"
    ch.call("queue.unbind", exchange="amq.direct", routing_key=last + "-key")
    ch.call("queue.declare", queue=first, passive=True)
    ch.call("queue.delete")
    assert not ch.exists("queue", first)
    # Not the channel's any more after it was reopened, nor that of another.
    conn.channel().refuse("queue.purge", NO_LAST_QUEUE)


def test_last_queue_is_not_forgotten_with_the_queue(ch, unique):
    name = ch.queue(unique())
    ch.call("queue.delete")
    ch.refuse("queue.purge", f"NOT_FOUND - no {q(name)}")


def test_nowait_and_server_named_declares_count(ch, pub):
    ch.send("queue.declare", exclusive=True, nowait=True)
    ch.consume("", no_ack=True)
    name = ch.queue()
    pub.fill(name, b"x")
    assert ch.get("").body == b"x"


def test_bind_with_neither_queue_nor_key(ch, pub, unique):
    name = ch.queue(unique())
    ch.call("queue.bind", exchange="amq.direct")
    pub.put("amq.direct", name, b"x")
    assert ch.get(name).body == b"x"
    ch.call("queue.unbind", exchange="amq.direct")
    pub.put("amq.direct", name, b"y")
    assert ch.get(name) is None


def test_bind_with_queue_and_empty_key(ch, pub, unique, exchange):
    name, source = ch.queue(unique()), exchange()
    ch.call("queue.bind", queue=name, exchange=source)
    pub.put(source, name, b"not bound")
    pub.put(source, "", b"bound")
    assert ch.drain(name) == [b"bound"]


# --- bind, unbind ---


@pytest.mark.parametrize("method", ["queue.bind", "queue.unbind"])
def test_the_default_exchange_cannot_be_bound(ch, method):
    ch.refuse(method, "ACCESS_REFUSED - operation not permitted on the default exchange", queue=ch.queue(), exchange="")


def test_bind_of_missing_ends(ch):
    name = ch.queue()
    for fields, missing in (({"queue": name, "exchange": "nope"}, "exchange 'nope' in vhost '/'"),
                            ({"queue": "nope", "exchange": "amq.direct"}, q("nope")),
                            ({"queue": "no-queue", "exchange": "nope"}, "exchange 'nope' in vhost '/'")):
        ch.refuse("queue.bind", f"NOT_FOUND - no {missing}", **fields)
        ch.reopen()


def test_unbind_of_missing_ends(ch):
    name = ch.queue()
    for fields in ({"queue": name, "exchange": "nope"}, {"queue": "nope", "exchange": "amq.direct"},
                   {"queue": name, "exchange": "amq.direct", "routing_key": "never bound"}):
        ch.call("queue.unbind", **fields)


# --- purge ---


def test_purge(ch, pub):
    name = ch.queue()
    pub.fill(name, b"1", b"2", b"3")
    held = ch.get(name)
    assert ch.call("queue.purge", queue=name).message_count == 2
    assert ch.counts(name) == (0, 0)
    ch.send("basic.nack", delivery_tag=held.delivery_tag, requeue=True)
    assert ch.get(name).body == b"1"


def test_purge_of_a_missing_one(ch):
    ch.refuse("queue.purge", f"NOT_FOUND - no {q('nope')}", queue="nope")


# --- delete ---


def test_delete(ch, pub):
    name = ch.queue()
    pub.fill(name, b"1", b"2", b"3")
    held = ch.get(name)
    assert ch.call("queue.delete", queue=name).message_count == 2
    ch.send("basic.ack", delivery_tag=held.delivery_tag)
    assert ch.call("queue.delete", queue=name).message_count == 0


def test_delete_if_empty(ch, pub):
    name = ch.queue()
    pub.fill(name, b"1")
    ch.refuse("queue.delete", f"PRECONDITION_FAILED - {q(name)} not empty", queue=name, if_empty=True)
    ch.reopen()
    # A queue with nothing but unacked messages is empty.
    assert ch.get(name).body == b"1"
    assert ch.call("queue.delete", queue=name, if_empty=True).message_count == 0


def test_delete_if_unused(conn, ch, pub):
    name = ch.queue()
    consumer = conn.channel()
    tag = consumer.consume(name)
    ch.refuse("queue.delete", f"PRECONDITION_FAILED - {q(name)} in use", queue=name, if_unused=True)
    ch.reopen()
    consumer.call("basic.cancel", consumer_tag=tag)
    pub.fill(name, b"1")
    assert ch.call("queue.delete", queue=name, if_unused=True).message_count == 1


def test_delete_tells_of_messages_before_consumers(conn, ch, pub):
    name = ch.queue()
    consumer = conn.channel()
    consumer.call("basic.qos", prefetch_count=1)
    consumer.consume(name)
    pub.fill(name, b"1", b"2")
    ch.refuse("queue.delete", f"PRECONDITION_FAILED - {q(name)} not empty", queue=name, if_empty=True, if_unused=True)


def test_a_deleted_queue_is_not_routed_to(ch, pub):
    name = ch.queue()
    ch.call("queue.bind", queue=name, exchange="amq.fanout")
    ch.call("queue.delete", queue=name)
    pub.publish("", name, b"x", mandatory=True)
    pub.expect("basic.return", reply_code=312)
    pub.expect("basic.ack")
