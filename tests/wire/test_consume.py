"""basic.qos, consume, cancel (3.5) and how messages are dealt out among consumers (7.1 to 7.6)."""

import re

import pytest

import amqp
from conftest import differs_from_rabbitmq_3_10


def q(name):
    return f"queue '{name}' in vhost '/'"


def numbered(n, first=1):
    return [b"%d" % i for i in range(first, first + n)]


@pytest.fixture
def two(conn):
    return conn.channel()


# --- qos ---


def test_prefetch_size(ch):
    ch.refuse("basic.qos", "NOT_IMPLEMENTED - prefetch_size!=0 (10)", prefetch_size=10)


def test_prefetch_is_per_consumer(ch, pub):
    one, other = ch.queue(), ch.queue()
    ch.call("basic.qos", prefetch_count=2)
    ch.consume(one, "a")
    ch.consume(other, "b")
    pub.fill(one, *numbered(3))
    pub.fill(other, *numbered(3))
    assert [(d.consumer_tag, d.body) for d in (ch.deliver() for _ in range(4))] == [
        ("a", b"1"), ("a", b"2"), ("b", b"1"), ("b", b"2")]
    ch.nothing()


def test_acks_free_slots_one_by_one(ch, pub):
    queue = ch.queue()
    ch.call("basic.qos", prefetch_count=2)
    ch.consume(queue)
    pub.fill(queue, *numbered(5))
    first, second = ch.deliver(), ch.deliver()
    ch.nothing()
    ch.send("basic.ack", delivery_tag=second.delivery_tag)
    assert ch.deliver().body == b"3"
    ch.nothing()
    ch.send("basic.nack", delivery_tag=first.delivery_tag)
    assert ch.deliver().body == b"4"
    ch.nothing()


def test_prefetch_does_not_limit_no_ack_consumers_nor_get(ch, pub):
    queue = ch.queue()
    ch.call("basic.qos", prefetch_count=1)
    tag = ch.consume(queue, no_ack=True)
    pub.fill(queue, *numbered(5))
    assert ch.deliveries(5) == numbered(5)
    ch.call("basic.cancel", consumer_tag=tag)
    pub.fill(queue, *numbered(3))
    assert [ch.get(queue).body for _ in range(3)] == numbered(3)


@differs_from_rabbitmq_3_10("leaves running consumers as they are")
def test_qos_changes_running_consumers_of_its_channel(ch, two, pub):
    queue, other = ch.queue(), ch.queue()
    for channel, name in ((ch, queue), (two, other)):
        channel.call("basic.qos", prefetch_count=1)
        channel.consume(name)
        pub.fill(name, *numbered(6))
        channel.deliver()
        channel.nothing()
    ch.send("basic.qos", prefetch_count=3)
    ch.expect("basic.qos-ok")
    assert ch.deliveries(2) == [b"2", b"3"]
    ch.nothing()
    two.nothing()
    # Fewer than there are out: nothing until enough came back.
    ch.call("basic.qos", prefetch_count=1)
    ch.send("basic.ack", delivery_tag=2, multiple=True)
    ch.nothing()
    ch.send("basic.ack", delivery_tag=3)
    assert ch.deliver().body == b"4"
    ch.nothing()


@differs_from_rabbitmq_3_10("leaves running consumers as they are")
def test_qos_zero_takes_the_limit_of_running_consumers_away(ch, pub):
    queue = ch.queue()
    ch.call("basic.qos", prefetch_count=1)
    ch.consume(queue)
    pub.fill(queue, *numbered(5))
    ch.deliver()
    ch.call("basic.qos", prefetch_count=0)
    assert ch.deliveries(4) == numbered(4, 2)


def test_global_qos_is_one_window_of_the_channel(ch, two, pub):
    queue, other = ch.queue(), ch.queue()
    ch.call("basic.qos", prefetch_count=3, global_=True)
    ch.consume(queue, "a")
    ch.consume(other, "b")
    for _ in range(2):
        pub.fill(queue, b"a")
        pub.fill(other, b"b")
    got = [ch.deliver() for _ in range(3)]
    ch.nothing()
    # What basic.get has taken is not counted, and other channels have a window of their own.
    assert ch.get(other).body == b"b"
    two.consume(queue, no_ack=True)
    pub.fill(queue, b"a")
    assert two.deliver().body == b"a"
    ch.nothing()
    ch.send("basic.ack", delivery_tag=got[0].delivery_tag)
    pub.fill(other, b"b2")
    assert ch.deliver().body == b"b2"
    ch.nothing()


def test_global_qos_counts_at_once(ch, pub):
    queue = ch.queue()
    ch.consume(queue)
    pub.fill(queue, b"1", b"2")
    assert ch.deliveries(2) == [b"1", b"2"]
    ch.call("basic.qos", prefetch_count=2, global_=True)
    pub.fill(queue, b"3")
    ch.nothing()
    ch.call("basic.qos", prefetch_count=3, global_=True)
    assert ch.deliver().body == b"3"


def test_global_and_per_consumer_limits_add_up(ch, pub):
    one, other = ch.queue(), ch.queue()
    ch.call("basic.qos", prefetch_count=2)
    ch.call("basic.qos", prefetch_count=3, global_=True)
    ch.consume(one, "a")
    ch.consume(other, "b")
    pub.fill(one, *numbered(4))
    assert [ch.deliver().consumer_tag for _ in range(2)] == ["a", "a"]
    ch.nothing()
    pub.fill(other, *numbered(4))
    assert ch.deliver().consumer_tag == "b"
    ch.nothing()


# --- consume ---


def test_consume(ch, pub):
    queue = ch.queue()
    pub.fill(queue, b"x")
    ch.send("basic.consume", queue=queue, consumer_tag="tag", no_local=True)
    # consume-ok precedes the first delivery.
    ch.expect("basic.consume-ok", consumer_tag="tag")
    got = ch.deliver(consumer_tag="tag", delivery_tag=1, redelivered=False, exchange="", routing_key=queue)
    assert (got.body, got.properties) == (b"x", {})


def test_server_chosen_tags(ch):
    queue = ch.queue()
    tags = {ch.consume(queue) for _ in range(3)}
    assert len(tags) == 3
    assert all(re.fullmatch("amq\\.ctag-[A-Za-z0-9_-]{22}", tag) for tag in tags)


def test_duplicate_tag(ch, two):
    queue = ch.queue()
    ch.consume(queue, "same")
    two.consume(queue, "same")
    # Told even before the queue is looked up.
    ch.refuse("basic.consume", "NOT_ALLOWED - attempt to reuse consumer tag 'same'", queue="nope", consumer_tag="same")


def test_tag_is_free_after_cancel(ch):
    queue = ch.queue()
    for _ in range(2):
        ch.consume(queue, "same")
        ch.call("basic.cancel", consumer_tag="same")


def test_consume_from_a_missing_queue(ch):
    ch.refuse("basic.consume", f"NOT_FOUND - no {q('nope')}", queue="nope")


@pytest.mark.parametrize("first, second", [(True, False), (True, True), (False, True)])
def test_exclusive_consumer(ch, two, first, second):
    queue = ch.queue()
    tag = ch.consume(queue, exclusive=first)
    two.refuse("basic.consume", f"ACCESS_REFUSED - {q(queue)} in exclusive use", queue=queue, exclusive=second)
    two.reopen()
    ch.call("basic.cancel", consumer_tag=tag)
    two.consume(queue, exclusive=second)


def test_get_beside_an_exclusive_consumer(ch, two, pub):
    queue = ch.queue()
    ch.call("basic.qos", prefetch_count=1)
    ch.consume(queue, exclusive=True)
    pub.fill(queue, b"1", b"2")
    assert ch.deliver().body == b"1"
    assert two.get(queue).body == b"2"


@pytest.mark.parametrize("argument, value, what", [
    ("x-priority", "5", ": \"expected integer, got longstr\""),
    ("x-priority", 5.0, ": \"expected integer, got double\""),
    ("x-stream-offset", "first", " of queue type rabbit_classic_queue"),
    pytest.param("x-consumer-timeout", 60000, " of queue type rabbit_classic_queue",
                 marks=differs_from_rabbitmq_3_10("ignores it")),
])
def test_invalid_consumer_arguments(ch, argument, value, what):
    queue = ch.queue()
    ch.refuse("basic.consume", f"PRECONDITION_FAILED - invalid arg '{argument}' for {q(queue)}{what}", queue=queue,
              arguments={argument: value})


def test_other_consumer_arguments_are_ignored(ch):
    ch.consume(ch.queue(), arguments={"x-cancel-on-ha-failover": True, "x-credit": {"credit": 1}, "mine": 1})


def test_consumers_per_channel_can_be_limited(broker):
    conn = broker({"consumer_max_per_channel": 2}).open()
    ch = conn.channel()
    queue = ch.queue()
    ch.consume(queue)
    ch.consume(queue)
    conn.channel().consume(queue)
    ch.refuse("basic.consume", "NOT_ALLOWED - reached maximum (2) of consumers per channel", queue=queue)


# --- cancel ---


def test_cancel_of_an_unknown_tag(ch):
    ch.send("basic.cancel", consumer_tag="nope")
    ch.expect("basic.cancel-ok", consumer_tag="nope")


def test_cancel(ch, pub):
    queue = ch.queue()
    tag = ch.consume(queue)
    pub.fill(queue, b"1")
    held = ch.deliver()
    ch.send("basic.cancel", consumer_tag=tag)
    ch.expect("basic.cancel-ok", consumer_tag=tag)
    pub.fill(queue, b"2")
    ch.nothing()
    assert ch.counts(queue) == (1, 0)
    # What it had can still be settled, and does not count against other consumers.
    ch.call("basic.qos", prefetch_count=1)
    ch.consume(queue)
    assert ch.deliver().body == b"2"
    ch.send("basic.ack", delivery_tag=held.delivery_tag)
    ch.nothing()


def test_cancelled_consumers_messages_return_with_the_channel(ch, two, pub):
    queue = ch.queue()
    tag = ch.consume(queue)
    pub.fill(queue, b"1")
    ch.deliver()
    ch.call("basic.cancel", consumer_tag=tag)
    ch.call("channel.close")
    got = two.get(queue)
    assert (got.body, got.redelivered) == (b"1", True)


def test_server_cancels_consumers_of_a_deleted_queue(ch, two, pub):
    queue = ch.queue()
    ch.consume(queue, "mine")
    pub.fill(queue, b"1")
    held = ch.deliver()
    two.call("queue.delete", queue=queue)
    ch.expect("basic.cancel", consumer_tag="mine", nowait=True)
    ch.send("basic.ack", delivery_tag=held.delivery_tag)
    ch.nothing()


def test_the_deleting_channel_hears_of_its_own_consumers(ch):
    queue = ch.queue()
    ch.consume(queue, "mine")
    ch.send("queue.delete", queue=queue)
    assert {ch.conn.next_method(1).name for _ in range(2)} == {"queue.delete-ok", "basic.cancel"}


def test_no_cancel_without_the_capability(open_connection, two, shared_queue):
    queue = shared_queue()
    silent = open_connection(start_ok={"capabilities": {}}).channel()
    silent.consume(queue, "mine")
    two.call("queue.delete", queue=queue)
    silent.nothing()
    silent.call("basic.cancel", consumer_tag="mine")


# --- dispatch (7.1) ---


def test_round_robin(ch, pub):
    queue = ch.queue()
    for tag in "abc":
        ch.consume(queue, tag)
    pub.fill(queue, *numbered(7))
    got = [ch.deliver() for _ in range(7)]
    assert "".join(d.consumer_tag for d in got) == "abcabca"
    assert [d.body for d in got] == numbered(7)
    assert [d.delivery_tag for d in got] == list(range(1, 8))


def test_round_robin_passes_over_the_blocked(ch, two, pub):
    queue = ch.queue()
    ch.call("basic.qos", prefetch_count=1)
    ch.consume(queue, "one")
    two.consume(queue, "any", no_ack=True)
    pub.fill(queue, *numbered(6))
    assert ch.deliver().body == b"1"
    assert two.deliveries(5) == numbered(5, 2)
    ch.send("basic.ack", delivery_tag=1)
    ch.nothing()
    pub.fill(queue, *numbered(2, 7))
    assert {ch.deliver().body, two.deliver().body} == {b"7", b"8"}


def test_order_is_kept_for_one_consumer(conn, ch, pub):
    queue = ch.queue()
    ch.consume(queue, no_ack=True)
    conn.send_bytes(b"".join(amqp.publish_frames(pub.number, "", queue, body) for body in numbered(500)))
    assert ch.deliveries(500) == numbered(500)


def test_messages_that_wait_go_to_a_new_consumer(ch, pub):
    queue = ch.queue()
    pub.fill(queue, *numbered(20))
    ch.consume(queue, no_ack=True)
    assert ch.deliveries(20) == numbered(20)
    assert ch.counts(queue) == (0, 1)


# --- priorities (7.3) ---


def test_consumer_priorities(ch, pub):
    queue = ch.queue()
    ch.call("basic.qos", prefetch_count=2)
    for tag, priority in (("low", -5), ("none", None), ("high", 10)):
        ch.consume(queue, tag, {} if priority is None else {"x-priority": priority})
    pub.fill(queue, *numbered(7))
    got = [ch.deliver().consumer_tag for _ in range(6)]
    assert got == ["high", "high", "none", "none", "low", "low"]
    ch.nothing()
    ch.send("basic.ack", delivery_tag=1)
    assert ch.deliver().consumer_tag == "high"


@pytest.mark.parametrize("tag", "bBsuIil")
def test_priority_of_any_integer_type(ch, pub, tag):
    queue = ch.queue()
    ch.consume(queue, "none")
    ch.consume(queue, "high", {"x-priority": amqp.Tagged(tag, 1)})
    pub.fill(queue, *numbered(2))
    assert [ch.deliver().consumer_tag for _ in range(2)] == ["high", "high"]


def test_equal_priorities_take_turns(ch, pub):
    queue = ch.queue()
    for tag in "ab":
        ch.consume(queue, tag, {"x-priority": 3})
    ch.consume(queue, "low")
    pub.fill(queue, *numbered(4))
    assert "".join(ch.deliver().consumer_tag for _ in range(4)) == "abab"


# --- delivery tags (7.4) ---


def test_delivery_tags_count_everything_that_the_channel_gets(ch, two, pub):
    queue = ch.queue()
    pub.fill(queue, *numbered(4))
    assert ch.get(queue, no_ack=True).delivery_tag == 1
    assert ch.get(queue).delivery_tag == 2
    ch.consume(queue, no_ack=True)
    assert [ch.deliver().delivery_tag for _ in range(2)] == [3, 4]
    pub.fill(queue, b"5")
    assert ch.deliver().delivery_tag == 5
    assert two.get(queue) is None
