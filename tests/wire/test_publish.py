"""basic.publish (3.6), returned messages, publisher confirms (6.1), transactions (6.2)."""

import pytest

import amqp
from conftest import differs_from_rabbitmq_3_10


def refuse_publish(ch, text, exchange="", routing_key="k", **publish):
    ch.publish(exchange, routing_key, b"body", **publish)
    ch.expect_refusal("basic.publish", text)


# --- errors ---


def test_missing_exchange(ch):
    refuse_publish(ch, "NOT_FOUND - no exchange 'nope' in vhost '/'", "nope")


def test_immediate(ch):
    # Told before the exchange is looked up.
    refuse_publish(ch, "NOT_IMPLEMENTED - immediate=true", "nope", immediate=True)


def test_internal_exchange(ch, exchange):
    name = exchange("fanout", internal=True)
    refuse_publish(ch, f"ACCESS_REFUSED - cannot publish to internal exchange '{name}' in vhost '/'", name)


@pytest.mark.parametrize("expiration, why", [
    ("abc", "no_integer"), ("", "no_integer"), ("-", "no_integer"), ("10s", '{leftover_string,"s"}'),
    ("1.5", '{leftover_string,".5"}'), ("-1", "{value_negative,-1}"),
    ("315360000001", "{value_too_large,315360000001}"),
    ("99999999999999", "{value_too_large,99999999999999}"),
])
def test_invalid_expiration(ch, expiration, why):
    refuse_publish(ch, f"PRECONDITION_FAILED - invalid expiration '{expiration}': {why}",
                   properties={"expiration": expiration})


@pytest.mark.parametrize("expiration", ["60000", "+60000", "060000", "315360000000"])
def test_valid_expiration(ch, pub, expiration):
    queue = ch.queue()
    pub.put("", queue, b"x", {"expiration": expiration})
    assert ch.get(queue).properties == {"expiration": expiration}


def test_user_id(ch, pub):
    pub.put("", "nowhere", b"x", {"user_id": "guest"})
    refuse_publish(ch, "PRECONDITION_FAILED - user_id property set to 'zz' but authenticated user was 'guest'",
                   properties={"user_id": "zz"})


def test_an_error_does_not_harm_what_was_published_before(conn, ch, pub):
    queue = ch.queue()
    conn.send_bytes(b"".join(amqp.publish_frames(pub.number, "", queue, b"%d" % i) for i in range(3))
                    + amqp.publish_frames(pub.number, "nope", queue, b"x")
                    + amqp.publish_frames(pub.number, "", queue, b"dropped"))
    while (method := conn.next_method(pub.number)).name == "basic.ack":
        pass
    amqp.check_close(method, 404, "NOT_FOUND - no exchange 'nope' in vhost '/'", 60, 40)
    assert ch.drain(queue) == [b"0", b"1", b"2"]


# --- mandatory ---


PROPERTIES = {"content_type": "t", "headers": {"a": 1}, "message_id": "m"}


def test_mandatory(ch, exchange):
    name = exchange()
    ch.publish(name, "key", b"body" * 50000, PROPERTIES, mandatory=True)
    returned = ch.expect("basic.return", reply_code=312, reply_text="NO_ROUTE", exchange=name, routing_key="key")
    assert (returned.body, returned.properties) == (b"body" * 50000, PROPERTIES)


def test_mandatory_that_is_routed_and_unroutable_that_is_not_mandatory(ch, pub):
    queue = ch.queue()
    pub.publish("", queue, b"x", mandatory=True)
    pub.expect("basic.ack")
    pub.put("", "nowhere", b"x")
    pub.nothing()


def test_return_of_an_empty_body(ch):
    ch.publish("", "nowhere", b"", mandatory=True)
    assert ch.expect("basic.return").body == b""


# --- confirms ---


def test_confirm_counts_from_its_selection(ch):
    queue = ch.queue()
    ch.publish("", queue, b"not counted")
    ch.call("confirm.select")
    ch.call("confirm.select")
    for i in (1, 2, 3):
        ch.publish("", queue if i != 2 else "nowhere", b"x", {"delivery_mode": 2} if i == 3 else None)
        ch.expect("basic.ack", delivery_tag=i, multiple=False)
    assert len(ch.drain(queue)) == 3


def test_return_precedes_its_confirm(pub):
    pub.publish("", "nowhere", b"x", mandatory=True)
    pub.expect("basic.return")
    pub.expect("basic.ack", delivery_tag=1)


def test_sequence_starts_again_with_the_channel(pub):
    pub.put("", "nowhere")
    pub.call("channel.close")
    pub.reopen().call("confirm.select")
    pub.put("", "nowhere")


def acked(ch, n):
    """Reads acks until 1 to n have each been acked exactly once; how many frames that took."""
    outstanding, frames = set(range(1, n + 1)), 0
    while outstanding:
        ack = ch.expect("basic.ack")
        frames += 1
        covered = {tag for tag in outstanding if tag <= ack.delivery_tag} if ack.multiple else {ack.delivery_tag}
        assert ack.delivery_tag in outstanding and covered <= outstanding
        outstanding -= covered
    return frames


@pytest.mark.parametrize("routable", [
    True, pytest.param(False, marks=differs_from_rabbitmq_3_10("confirms what is unroutable one by one")),
])
def test_confirms_of_a_burst_are_merged(conn, ch, pub, routable):
    queue = ch.queue() if routable else "nowhere"
    conn.send_bytes(b"".join(amqp.publish_frames(pub.number, "", queue, b"x") for _ in range(1000)))
    assert acked(pub, 1000) < 200
    ch.nothing()
    if routable:
        assert ch.counts(queue)[0] == 1000


def test_a_message_for_many_queues_is_confirmed_once(ch, pub, exchange):
    name = exchange("fanout")
    queues = [ch.queue() for _ in range(20)]
    for queue in queues:
        ch.call("queue.bind", queue=queue, exchange=name)
    pub.put(name, "", b"x")
    pub.nothing()
    assert [ch.counts(queue)[0] for queue in queues] == [1] * 20


# --- transactions ---


@pytest.fixture
def tx(conn):
    channel = conn.channel()
    channel.call("tx.select")
    return channel


def test_confirm_and_tx_exclude_each_other(pub, tx):
    pub.refuse("tx.select", "PRECONDITION_FAILED - cannot switch from confirm to tx mode")
    tx.refuse("confirm.select", "PRECONDITION_FAILED - cannot switch from tx to confirm mode")


@pytest.mark.parametrize("method", ["tx.commit", "tx.rollback"])
def test_channel_without_transactions(ch, method):
    ch.refuse(method, "PRECONDITION_FAILED - channel is not transactional")


def test_publishes_wait_for_commit(ch, tx):
    queue = ch.queue()
    tx.publish("", queue, b"1")
    tx.publish("", queue, b"2")
    tx.call("tx.select")
    tx.nothing()
    assert ch.counts(queue)[0] == 0
    tx.call("tx.commit")
    assert ch.drain(queue) == [b"1", b"2"]
    tx.publish("", queue, b"3")
    tx.call("tx.rollback")
    tx.publish("", queue, b"4")
    tx.call("tx.commit")
    assert ch.drain(queue) == [b"4"]


def test_messages_are_routed_when_they_are_published(ch, tx, exchange):
    name, early, late = exchange("fanout"), ch.queue(), ch.queue()
    ch.call("queue.bind", queue=early, exchange=name)
    tx.publish(name, "", b"x")
    tx.nothing()
    ch.call("queue.bind", queue=late, exchange=name)
    ch.call("queue.unbind", queue=early, exchange=name)
    tx.call("tx.commit")
    assert (ch.drain(early), ch.drain(late)) == ([b"x"], [])


def test_queue_deleted_before_commit(ch, tx):
    queue = ch.queue()
    tx.publish("", queue, b"x")
    tx.nothing()
    ch.call("queue.delete", queue=queue)
    tx.call("tx.commit")


def test_publish_errors_are_told_at_once(ch, tx):
    queue = ch.queue()
    tx.publish("", queue, b"x")
    tx.publish("nope", "k", b"x")
    tx.expect_refusal("basic.publish", "NOT_FOUND - no exchange 'nope' in vhost '/'")
    assert ch.counts(queue)[0] == 0


def test_returns_come_with_commit(tx):
    tx.publish("", "nowhere", b"x", mandatory=True)
    tx.nothing()
    tx.send("tx.commit")
    tx.expect("basic.return", reply_code=312)
    tx.expect("tx.commit-ok")
    tx.publish("", "nowhere", b"x", mandatory=True)
    tx.call("tx.rollback")


def test_acks_wait_for_commit(ch, pub, tx):
    queue = ch.queue()
    pub.fill(queue, *[b"%d" % i for i in range(1, 6)])
    tx.call("basic.qos", prefetch_count=5)
    for _ in range(5):
        tx.get(queue)
    tx.send("basic.ack", delivery_tag=2, multiple=True)
    tx.send("basic.reject", delivery_tag=3, requeue=True)
    tx.send("basic.nack", delivery_tag=4, requeue=False)
    tx.nothing()
    assert ch.counts(queue)[0] == 0
    tx.call("tx.commit")
    assert ch.drain(queue) == [b"3"]
    tx.call("channel.close")
    assert ch.drain(queue) == [b"5"]


def test_ack_twice_within_a_transaction(ch, pub, tx):
    queue = ch.queue()
    pub.fill(queue, b"1")
    tx.get(queue)
    tx.send("basic.ack", delivery_tag=1)
    tx.refuse("basic.ack", "PRECONDITION_FAILED - unknown delivery tag 1", delivery_tag=1)
    # The transaction has gone with the channel, and its ack too.
    got = ch.get(queue)
    assert (got.body, got.redelivered) == (b"1", True)


def test_rollback_takes_acks_back(ch, pub, tx):
    queue = ch.queue()
    pub.fill(queue, b"1", b"2", b"3")
    for _ in range(3):
        tx.get(queue)
    tx.send("basic.ack", delivery_tag=1)
    tx.send("basic.nack", delivery_tag=3, requeue=True)
    tx.call("tx.rollback")
    # Unacked as before, not requeued.
    assert ch.counts(queue)[0] == 0
    tx.send("basic.ack", delivery_tag=2, multiple=True)
    tx.send("basic.reject", delivery_tag=3, requeue=True)
    tx.call("tx.commit")
    assert ch.drain(queue) == [b"3"]


def test_close_rolls_back(ch, pub, tx):
    queue = ch.queue()
    pub.fill(queue, b"1")
    tx.get(queue)
    tx.send("basic.ack", delivery_tag=1)
    tx.publish("", queue, b"never")
    tx.call("channel.close")
    assert ch.drain(queue) == [b"1"]


def test_acks_do_not_free_prefetch_before_commit(ch, pub, tx):
    queue = ch.queue()
    pub.fill(queue, b"1", b"2")
    tx.call("basic.qos", prefetch_count=1)
    tx.consume(queue)
    assert tx.deliver().body == b"1"
    tx.send("basic.ack", delivery_tag=1)
    tx.nothing()
    tx.send("tx.commit")
    assert {tx.conn.next_method(tx.number).name for _ in range(2)} == {"tx.commit-ok", "basic.deliver"}
