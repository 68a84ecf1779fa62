"""Connections with pika: login, negotiation, heartbeats, loss and reconnect."""

import pika
import pytest
from pika.exceptions import AMQPConnectionError, ProbableAuthenticationError

from conftest import parameters
from support import Inbox, await_depth, depth, get_all, pump


def test_wrong_password(connect):
    with pytest.raises(ProbableAuthenticationError) as caught:
        connect(credentials=pika.PlainCredentials("guest", "wrong"))
    assert "403" in str(caught.value)
    assert "Login was refused using authentication mechanism PLAIN" in str(caught.value)


def test_unknown_user(connect):
    with pytest.raises(ProbableAuthenticationError):
        connect(credentials=pika.PlainCredentials("nobody", "guest"))


def test_url(broker):
    url = f"amqp://{broker.user}:{broker.password}@{broker.host}:{broker.port}/%2F?heartbeat=10"
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        assert connection.channel().is_open


def test_capabilities(connection):
    assert connection.basic_nack_supported
    assert connection.consumer_cancel_notify_supported
    assert connection.exchange_exchange_bindings_supported
    assert connection.publisher_confirms_supported


def test_connection_name_and_other_client_properties(connect, names):
    connection = connect(client_properties={
        "connection_name": "billing worker 3", "team": {"name": "billing", "people": [1, "two"]}})
    queue = names.queue()
    channel = connection.channel()
    channel.queue_declare(queue)
    assert depth(channel, queue) == 0


def test_update_secret(connection, names):
    connection.update_secret("new secret", "rotated")
    connection.channel().queue_declare(names.queue())


def test_blocked_callbacks_do_no_harm(connect, names):
    connection = connect(blocked_connection_timeout=300)
    calls = []
    connection.add_on_connection_blocked_callback(lambda *call: calls.append(call))
    connection.add_on_connection_unblocked_callback(lambda *call: calls.append(call))
    channel = connection.channel()
    queue = names.queue()
    channel.queue_declare(queue)
    channel.confirm_delivery()
    channel.basic_publish("", queue, b"not blocked")
    assert get_all(channel, queue) == [b"not blocked"]
    assert calls == []


def test_flow(channel):
    assert channel.flow(True) is True


def test_channel_numbers_can_be_chosen_and_used_again(connect):
    connection = connect()
    for number in (2000, 1, 2000, 7):
        channel = connection.channel(number)
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.basic_publish("", queue, b"%d" % number)
        assert channel.basic_get(queue, auto_ack=True)[2] == b"%d" % number
        channel.close()


def test_a_hundred_connections(connect, names):
    queue = names.queue()
    connections = [connect() for _ in range(100)]
    connections[0].channel().queue_declare(queue)
    for connection in connections:
        connection.channel().basic_publish("", queue, b"")
        connection.close()
    await_depth(connect().channel(), queue, 100)


def test_heartbeats_keep_an_idle_connection(connect, names):
    """Both sides beat: pika would give up a silent broker, and the broker a silent pika."""
    connection = connect(heartbeat=1)
    connection.sleep(5)
    assert connection.is_open
    connection.channel().queue_declare(names.queue())


def test_a_silent_client_is_given_up(connect, relay, names):
    """Nothing of the client's reaches the broker any more, as with a pulled cable."""
    queue = names.queue()
    doomed = connect(host=relay.host, port=relay.port, heartbeat=1)
    channel = doomed.channel()
    channel.queue_declare(queue)
    channel.basic_publish("", queue, b"taken over")
    inbox = Inbox(channel, queue)
    pump(doomed, until=inbox.holds(1))
    relay.mute_clients()
    assert relay.broker_closed.wait(10)
    survivor = connect().channel()
    taker = Inbox(survivor, queue, auto_ack=True)
    pump(survivor.connection, until=taker.holds(1))
    assert taker.methods[0].redelivered
    with pytest.raises(AMQPConnectionError):
        doomed.sleep(10)


def test_lost_connection_and_reconnect(broker, connect, relay, names):
    """What a lost consumer had not acknowledged goes to another one, in order and marked."""
    queue = names.queue()
    other = connect().channel()
    other.queue_declare(queue)
    for number in range(6):
        other.basic_publish("", queue, b"%d" % number)

    lost = connect(host=relay.host, port=relay.port)
    channel = lost.channel()
    channel.basic_qos(prefetch_count=3)
    inbox = Inbox(channel, queue)
    pump(lost, until=inbox.holds(3))
    channel.basic_ack(inbox.methods[0].delivery_tag)
    pump(lost, until=inbox.holds(4))
    assert inbox.bodies == [b"0", b"1", b"2", b"3"]
    await_depth(other, queue, 2)
    relay.cut()
    with pytest.raises(AMQPConnectionError):
        lost.sleep(10)
    assert lost.is_closed

    await_depth(other, queue, 5)
    taker = Inbox(other, queue, ack=True)
    pump(other.connection, until=taker.holds(5))
    assert [(body, method.redelivered) for method, _, body in taker.messages] == [
        (b"1", True), (b"2", True), (b"3", True), (b"4", False), (b"5", False)]

    again = pika.BlockingConnection(parameters(broker, host=relay.host, port=relay.port))
    with again:
        again.channel().basic_publish("", queue, b"after the reconnect")
        pump(other.connection, until=taker.holds(6))
    assert taker.bodies[-1] == b"after the reconnect"


def test_lost_connection_takes_its_exclusive_queue_along(connect, relay, names):
    queue = names.queue()
    lost = connect(host=relay.host, port=relay.port)
    lost.channel().queue_declare(queue, exclusive=True)
    relay.cut()
    with pytest.raises(AMQPConnectionError):
        lost.sleep(10)
    survivor = connect()

    def free():
        try:
            survivor.channel().queue_declare(queue)
        except pika.exceptions.ChannelClosedByBroker as error:
            assert error.reply_code == 405
            return False
        return True

    pump(survivor, until=free)


def test_closing_a_connection_closes_its_channels(connect):
    connection = connect()
    channels = [connection.channel() for _ in range(3)]
    connection.close(reply_code=200, reply_text="bye")
    assert connection.is_closed
    assert all(channel.is_closed for channel in channels)
