"""Consuming with pika: get, acknowledge, requeue, prefetch, priorities, cancellation."""

import pytest

from support import Inbox, await_depth, depth, get_all, pump, settle


@pytest.fixture
def queue(channel):
    """A queue that holds the messages 1, 2, 3, 4 and 5."""
    name = channel.queue_declare("", exclusive=True).method.queue
    for number in range(1, 6):
        channel.basic_publish("", name, b"%d" % number)
    return name


def test_get(channel, queue):
    method, _, body = channel.basic_get(queue)
    assert (body, method.message_count, method.delivery_tag) == (b"1", 4, 1)
    assert (method.exchange, method.routing_key, method.redelivered) == ("", queue, False)
    assert get_all(channel, queue) == [b"2", b"3", b"4", b"5"]
    assert channel.basic_get(queue) == (None, None, None)
    channel.basic_ack(method.delivery_tag)


def test_requeued_messages_return_to_their_places(channel, queue):
    tags = [channel.basic_get(queue)[0].delivery_tag for _ in range(4)]
    for tag in (tags[2], tags[0], tags[3]):
        channel.basic_nack(tag, requeue=True)
    got = [channel.basic_get(queue, auto_ack=True) for _ in range(4)]
    assert [(body, method.redelivered) for method, _, body in got] == [
        (b"1", True), (b"3", True), (b"4", True), (b"5", False)]
    channel.basic_ack(tags[1])


def test_nack_multiple(channel, queue):
    tags = [channel.basic_get(queue)[0].delivery_tag for _ in range(4)]
    channel.basic_nack(tags[2], multiple=True, requeue=True)
    assert get_all(channel, queue) == [b"1", b"2", b"3", b"5"]
    channel.basic_ack(tags[3])


def test_rejected_without_requeue_is_gone(channel, queue):
    for _ in range(2):
        channel.basic_reject(channel.basic_get(queue)[0].delivery_tag, requeue=False)
    channel.basic_nack(channel.basic_get(queue)[0].delivery_tag, requeue=False)
    assert get_all(channel, queue) == [b"4", b"5"]


def test_ack_multiple_and_tag_zero(connection, channel, queue):
    tags = [channel.basic_get(queue)[0].delivery_tag for _ in range(4)]
    channel.basic_ack(tags[1], multiple=True)
    channel.basic_ack(0, multiple=True)
    channel.basic_ack(0, multiple=True)
    channel.close()
    assert get_all(connection.channel(), queue) == [b"5"]


def test_recover(channel, queue):
    inbox = Inbox(channel, queue)
    pump(channel.connection, until=inbox.holds(5))
    channel.basic_recover(requeue=True)
    pump(channel.connection, until=inbox.holds(10))
    assert inbox.bodies[5:] == [b"1", b"2", b"3", b"4", b"5"]
    assert all(method.redelivered for method in inbox.methods[5:])
    assert inbox.methods[-1].delivery_tag == 10


def test_closing_the_channel_requeues(connection, channel, queue):
    other = connection.channel()
    inbox = Inbox(other, queue)
    pump(connection, until=inbox.holds(5))
    assert depth(channel, queue) == 0
    other.close()
    method, _, body = channel.basic_get(queue)
    assert (body, method.redelivered, method.message_count) == (b"1", True, 4)
    channel.basic_ack(method.delivery_tag)


def test_prefetch_limits_what_is_unacknowledged(channel, queue):
    channel.basic_qos(prefetch_count=2)
    inbox = Inbox(channel, queue)
    pump(channel.connection, until=inbox.holds(2))
    assert depth(channel, queue) == 3
    channel.basic_ack(inbox.methods[0].delivery_tag)
    pump(channel.connection, until=inbox.holds(3))
    assert depth(channel, queue) == 2
    channel.basic_ack(inbox.methods[2].delivery_tag, multiple=True)
    pump(channel.connection, until=inbox.holds(5))
    assert inbox.bodies == [b"1", b"2", b"3", b"4", b"5"]


def test_prefetch_does_not_limit_automatic_acknowledgement(channel, queue):
    channel.basic_qos(prefetch_count=1)
    inbox = Inbox(channel, queue, auto_ack=True)
    pump(channel.connection, until=inbox.holds(5))
    assert depth(channel, queue) == 0


def test_prefetch_counts_per_consumer(channel, queue):
    channel.basic_qos(prefetch_count=1)
    inboxes = [Inbox(channel, queue) for _ in range(2)]
    pump(channel.connection, until=lambda: all(inbox.messages for inbox in inboxes))
    assert sorted(body for inbox in inboxes for body in inbox.bodies) == [b"1", b"2"]
    assert depth(channel, queue) == 3


def test_global_prefetch_is_one_window_for_the_channel(channel, queue):
    channel.basic_qos(prefetch_count=3, global_qos=True)
    inboxes = [Inbox(channel, queue) for _ in range(2)]
    pump(channel.connection, until=lambda: sum(len(i.messages) for i in inboxes) == 3)
    assert depth(channel, queue) == 2
    channel.basic_ack(0, multiple=True)
    pump(channel.connection, until=lambda: sum(len(i.messages) for i in inboxes) == 5)


def test_higher_priority_consumers_come_first(channel, names):
    queue = names.queue()
    channel.queue_declare(queue)
    channel.basic_qos(prefetch_count=2)
    low = Inbox(channel, queue, arguments={"x-priority": -5})
    default = Inbox(channel, queue)
    high = Inbox(channel, queue, arguments={"x-priority": 10})
    for number in range(5):
        channel.basic_publish("", queue, b"%d" % number)
    pump(channel.connection, until=low.holds(1))
    assert [inbox.bodies for inbox in (high, default, low)] == [[b"0", b"1"], [b"2", b"3"], [b"4"]]


def test_cancel_keeps_what_was_delivered(channel, queue):
    channel.basic_qos(prefetch_count=2)
    deliveries = list(zip(range(2), channel.consume(queue)))
    assert [body for _, (_, _, body) in deliveries] == [b"1", b"2"]
    assert channel.cancel() == 0
    assert depth(channel, queue) == 3
    channel.basic_nack(deliveries[0][1][0].delivery_tag, requeue=True)
    channel.basic_ack(deliveries[1][1][0].delivery_tag)
    assert get_all(channel, queue) == [b"1", b"3", b"4", b"5"]


def test_no_deliveries_after_cancel(channel, names):
    queue = names.queue()
    channel.queue_declare(queue)
    inbox = Inbox(channel, queue, auto_ack=True)
    channel.basic_cancel(inbox.tag)
    channel.basic_publish("", queue, b"stays")
    await_depth(channel, queue, 1)
    settle(channel)
    assert inbox.messages == []


def test_deleting_a_queue_cancels_its_consumers(connect, names):
    queue = names.queue()
    consumer = connect().channel()
    consumer.queue_declare(queue)
    cancelled = []
    consumer.add_on_cancel_callback(cancelled.append)
    inbox = Inbox(consumer, queue)
    connect().channel().queue_delete(queue)
    pump(consumer.connection, until=lambda: cancelled)
    assert [frame.method.consumer_tag for frame in cancelled] == [inbox.tag]
    assert consumer.is_open


def test_deleting_a_queue_ends_the_consume_generator(connect, names):
    queue = names.queue()
    consumer = connect().channel()
    consumer.queue_declare(queue)
    consumer.basic_publish("", queue, b"only one")
    generator = consumer.consume(queue)
    assert next(generator)[2] == b"only one"
    connect().channel().queue_delete(queue)
    assert list(generator) == []


def test_chosen_consumer_tag(channel, queue):
    inbox = Inbox(channel, queue, auto_ack=True, consumer_tag="my own tag")
    pump(channel.connection, until=inbox.holds(5))
    assert inbox.tag == "my own tag"
    assert {method.consumer_tag for method in inbox.methods} == {"my own tag"}


def test_exclusive_consumer_leaves_and_another_takes_over(connect, names):
    queue = names.queue()
    first, second = connect().channel(), connect().channel()
    first.queue_declare(queue)
    alone = Inbox(first, queue, exclusive=True)
    first.basic_cancel(alone.tag)
    taker = Inbox(second, queue, exclusive=True, auto_ack=True)
    first.basic_publish("", queue, b"for the second")
    pump(second.connection, until=taker.holds(1))


def test_ten_thousand_messages_stay_in_order(connect, names):
    queue = names.queue()
    publisher, consumer = connect().channel(), connect().channel()
    publisher.queue_declare(queue)
    consumer.basic_qos(prefetch_count=100)
    inbox = Inbox(consumer, queue, ack=True)
    for number in range(10000):
        publisher.basic_publish("", queue, b"%d" % number)
        if number % 500 == 0:
            consumer.connection.process_data_events(time_limit=0)
    pump(consumer.connection, until=inbox.holds(10000))
    assert inbox.bodies == [b"%d" % number for number in range(10000)]
    assert [method.delivery_tag for method in inbox.methods] == list(range(1, 10001))
    await_depth(publisher, queue, 0)
