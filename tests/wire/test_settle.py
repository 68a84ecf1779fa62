"""basic.get, ack, nack, reject, recover (3.5) and where requeued messages go (7.5)."""

import pytest

UNKNOWN = "PRECONDITION_FAILED - unknown delivery tag {}"


@pytest.fixture
def two(conn):
    return conn.channel()


@pytest.fixture
def filled(ch, pub):
    """filled(n): a queue with messages b"1" to b"n"."""

    def fill(n):
        queue = ch.queue()
        pub.fill(queue, *[b"%d" % i for i in range(1, n + 1)])
        return queue

    return fill


def take(ch, queue, n):
    """n messages by basic.get, unacked; their delivery tags."""
    return [ch.get(queue).delivery_tag for _ in range(n)]


def left(ch, queue):
    """What is ready in the queue, and whether it was delivered before; taken for good."""
    seen = []
    while (got := ch.get(queue, no_ack=True)) is not None:
        seen.append((got.body.decode(), got.redelivered))
    return seen


# --- get ---


def test_get(ch, pub, filled):
    queue = filled(3)
    ch.send("basic.get", queue=queue)
    got = ch.expect("basic.get-ok", delivery_tag=1, redelivered=False, exchange="", routing_key=queue, message_count=2)
    assert got.body == b"1"
    assert ch.get(queue).message_count == 1
    assert ch.get(queue, no_ack=True).message_count == 0
    ch.send("basic.get", queue=queue)
    ch.expect("basic.get-empty", cluster_id="")


def test_get_from_a_missing_queue(ch):
    ch.refuse("basic.get", "NOT_FOUND - no queue 'nope' in vhost '/'", queue="nope")


# --- ack, nack, reject ---


@pytest.mark.parametrize("method", ["basic.ack", "basic.nack", "basic.reject"])
def test_unknown_tags(ch, two, filled, method):
    queue = filled(3)
    take(two, queue, 1)
    for tag in (0, 1, 82):
        ch.refuse(method, UNKNOWN.format(tag), delivery_tag=tag)
        ch.reopen()


@pytest.mark.parametrize("method", ["basic.ack", "basic.nack", "basic.reject"])
def test_settled_twice(ch, filled, method):
    queue = filled(2)
    take(ch, queue, 2)
    ch.send(method, delivery_tag=1)
    ch.refuse(method, UNKNOWN.format(1), delivery_tag=1)


def test_ack_of_a_no_ack_delivery(ch, filled):
    ch.consume(filled(1), no_ack=True)
    ch.deliver()
    ch.refuse("basic.ack", UNKNOWN.format(1), delivery_tag=1)


@pytest.mark.parametrize("method", ["basic.ack", "basic.nack"])
def test_multiple_needs_a_tag_that_is_outstanding(ch, filled, method):
    queue = filled(3)
    take(ch, queue, 3)
    ch.refuse(method, UNKNOWN.format(4), delivery_tag=4, multiple=True)
    ch.reopen()
    take(ch, queue, 3)
    ch.send("basic.ack", delivery_tag=2)
    ch.refuse(method, UNKNOWN.format(2), delivery_tag=2, multiple=True)


@pytest.mark.parametrize("method", ["basic.ack", "basic.nack"])
def test_multiple_with_tag_zero_is_everything(ch, filled, method):
    queue = filled(3)
    ch.send(method, delivery_tag=0, multiple=True)
    take(ch, queue, 3)
    ch.send(method, delivery_tag=0, multiple=True)
    ch.refuse(method, UNKNOWN.format(3), delivery_tag=3)
    assert left(ch.reopen(), queue) == []


def test_ack_multiple(ch, filled):
    queue = filled(5)
    take(ch, queue, 5)
    ch.send("basic.ack", delivery_tag=3, multiple=True)
    ch.send("basic.ack", delivery_tag=5)
    ch.call("channel.close")
    assert left(ch.reopen(), queue) == [("4", True)]


def test_ack_multiple_over_several_queues(ch, filled):
    one, other = filled(2), filled(2)
    for queue in (one, other, one, other):
        take(ch, queue, 1)
    ch.send("basic.ack", delivery_tag=3, multiple=True)
    ch.call("channel.close")
    ch.reopen()
    assert (left(ch, one), left(ch, other)) == ([], [("2", True)])


@pytest.mark.parametrize("method", ["basic.nack", "basic.reject"])
def test_without_requeue_a_message_is_dropped(ch, filled, method):
    queue = filled(2)
    take(ch, queue, 1)
    ch.send(method, delivery_tag=1, requeue=False)
    assert left(ch, queue) == [("2", False)]


# --- requeue (7.5) ---


@pytest.mark.parametrize("method", ["basic.nack", "basic.reject"])
def test_requeue_goes_back_to_its_place(ch, filled, method):
    queue = filled(5)
    take(ch, queue, 3)
    ch.send(method, delivery_tag=2, requeue=True)
    assert left(ch, queue) == [("2", True), ("4", False), ("5", False)]


def test_requeue_in_any_order_restores_the_order(ch, filled):
    queue = filled(6)
    take(ch, queue, 5)
    for tag in (4, 1, 5, 3, 2):
        ch.send("basic.reject", delivery_tag=tag, requeue=True)
    assert left(ch, queue) == [(str(i), i < 6) for i in range(1, 7)]


def test_requeue_multiple(ch, filled):
    queue = filled(6)
    take(ch, queue, 5)
    ch.send("basic.nack", delivery_tag=3, multiple=True, requeue=True)
    assert left(ch, queue) == [("1", True), ("2", True), ("3", True), ("6", False)]


def test_requeue_may_come_straight_back(ch, pub):
    queue = ch.queue()
    ch.call("basic.qos", prefetch_count=1)
    ch.consume(queue)
    pub.fill(queue, b"1", b"2")
    ch.deliver(delivery_tag=1, redelivered=False)
    ch.send("basic.reject", delivery_tag=1, requeue=True)
    assert ch.deliver(delivery_tag=2, redelivered=True).body == b"1"
    ch.send("basic.ack", delivery_tag=2)
    assert ch.deliver(delivery_tag=3, redelivered=False).body == b"2"


def test_requeue_goes_to_another_consumer_when_the_first_is_gone(ch, two, pub):
    queue = ch.queue()
    ch.consume(queue)
    pub.fill(queue, b"1", b"2", b"3")
    assert ch.deliveries(3) == [b"1", b"2", b"3"]
    two.consume(queue)
    ch.call("channel.close")
    got = [two.deliver(redelivered=True).body for _ in range(3)]
    assert got == [b"1", b"2", b"3"]


# --- recover ---


def test_recover(ch, filled):
    queue = filled(3)
    tag = ch.consume(queue)
    ch.deliveries(3)
    ch.call("basic.cancel", consumer_tag=tag)
    ch.send("basic.ack", delivery_tag=2)
    ch.call("basic.recover", requeue=True)
    assert left(ch, queue) == [("1", True), ("3", True)]


def test_recover_ok_precedes_the_redeliveries(ch, filled):
    queue = filled(2)
    ch.consume(queue)
    ch.deliveries(2)
    ch.send("basic.recover", requeue=True)
    ch.expect("basic.recover-ok")
    assert [ch.deliver(redelivered=True).delivery_tag for _ in range(2)] == [3, 4]
    ch.refuse("basic.ack", UNKNOWN.format(1), delivery_tag=1)


def test_recover_async(ch, filled):
    queue = filled(2)
    ch.consume(queue)
    ch.deliveries(2)
    ch.send("basic.recover-async", requeue=True)
    assert [ch.deliver(redelivered=True).body for _ in range(2)] == [b"1", b"2"]
    ch.nothing()


@pytest.mark.parametrize("method", ["basic.recover", "basic.recover-async"])
def test_recover_without_requeue(ch, method):
    ch.refuse(method, "NOT_IMPLEMENTED - requeue=false", requeue=False)
