"""Channel and connection errors as pika reports them: codes, texts, and life after them."""

import pytest
from pika.exceptions import (
    ChannelClosedByBroker, ConnectionClosedByBroker, ProbableAccessDeniedError)

from support import Inbox, get_all, pump


def channel_error(action, *arguments, **keywords):
    with pytest.raises(ChannelClosedByBroker) as caught:
        action(*arguments, **keywords)
    return caught.value.reply_code, caught.value.reply_text


def connection_error(action, *arguments, **keywords):
    with pytest.raises(ConnectionClosedByBroker) as caught:
        action(*arguments, **keywords)
    return caught.value.reply_code, caught.value.reply_text


def after(channel, action, *arguments, **keywords):
    """The error that a method without an answer causes shows at the next one that has an answer."""
    action(*arguments, **keywords)
    return channel_error(channel.basic_qos, prefetch_count=1)


def locked(queue):
    return (405, f"RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{queue}' in "
                 "vhost '/'. It could be originally declared on another connection or the "
                 "exclusive property value does not match that of the original declaration.")


@pytest.fixture(autouse=True)
def recovery(connection, names):
    """After whatever error of a channel, its connection serves a new channel."""
    yield
    channel = connection.channel()
    queue = names.queue()
    channel.queue_declare(queue)
    channel.basic_publish("", queue, b"recovered")
    assert get_all(channel, queue) == [b"recovered"]


def test_404_queue(channel, names):
    queue = names.queue()
    expected = (404, f"NOT_FOUND - no queue '{queue}' in vhost '/'")
    connection = channel.connection
    assert channel_error(channel.queue_declare, queue, passive=True) == expected
    assert channel_error(connection.channel().queue_purge, queue) == expected
    assert channel_error(connection.channel().basic_get, queue) == expected
    assert channel_error(connection.channel().basic_consume, queue, print) == expected
    assert channel_error(connection.channel().queue_bind, queue, "amq.direct") == expected


def test_404_exchange(channel, names):
    exchange = names.exchange()
    expected = (404, f"NOT_FOUND - no exchange '{exchange}' in vhost '/'")
    other = channel.connection.channel()
    assert channel_error(channel.exchange_declare, exchange, passive=True) == expected
    assert after(other, other.basic_publish, exchange, "key", b"") == expected


def test_404_exchange_while_confirming(channel, names):
    exchange = names.exchange()
    channel.confirm_delivery()
    assert channel_error(channel.basic_publish, exchange, "key", b"") == (
        404, f"NOT_FOUND - no exchange '{exchange}' in vhost '/'")


def test_406_acknowledged_twice(channel, names):
    queue = names.queue()
    channel.queue_declare(queue)
    channel.basic_publish("", queue, b"")
    tag = channel.basic_get(queue)[0].delivery_tag
    channel.basic_ack(tag)
    assert after(channel, channel.basic_ack, tag) == (
        406, "PRECONDITION_FAILED - unknown delivery tag 1")


@pytest.mark.parametrize("settle", ["basic_ack", "basic_nack", "basic_reject"])
def test_406_never_delivered(channel, settle):
    assert after(channel, getattr(channel, settle), 82) == (
        406, "PRECONDITION_FAILED - unknown delivery tag 82")


def test_406_acknowledged_on_another_channel(connection, channel, names):
    queue = names.queue()
    channel.queue_declare(queue)
    channel.basic_publish("", queue, b"")
    tag = channel.basic_get(queue)[0].delivery_tag
    other = connection.channel()
    assert after(other, other.basic_ack, tag) == (
        406, "PRECONDITION_FAILED - unknown delivery tag 1")
    channel.basic_ack(tag)


def test_406_queue_declared_differently(connection, names):
    queue = names.queue()
    where = f"for queue '{queue}' in vhost '/'"
    connection.channel().queue_declare(queue, durable=True, arguments={"x-expires": 600000})
    cases = [
        (dict(durable=False, arguments={"x-expires": 600000}),
         f"inequivalent arg 'durable' {where}: received 'false' but current is 'true'"),
        (dict(durable=True, auto_delete=True, arguments={"x-expires": 600000}),
         f"inequivalent arg 'auto_delete' {where}: received 'true' but current is 'false'"),
        (dict(durable=True, arguments={"x-expires": 500000}),
         f"inequivalent arg 'x-expires' {where}: received '500000' but current is '600000'"),
        (dict(durable=True),
         f"inequivalent arg 'x-expires' {where}: received none but current is the value '600000' "
         "of type 'signedint'"),
    ]
    for different, text in cases:
        assert channel_error(connection.channel().queue_declare, queue, **different) == (
            406, f"PRECONDITION_FAILED - {text}")
    connection.channel().queue_declare(queue, durable=True, arguments={"x-expires": 600000})


def test_406_exchange_declared_differently(connection, names):
    exchange = names.exchange()
    where = f"for exchange '{exchange}' in vhost '/'"
    connection.channel().exchange_declare(exchange, "direct")
    cases = [
        (dict(exchange_type="fanout"),
         f"inequivalent arg 'type' {where}: received 'fanout' but current is 'direct'"),
        (dict(durable=True),
         f"inequivalent arg 'durable' {where}: received 'true' but current is 'false'"),
        (dict(internal=True),
         f"inequivalent arg 'internal' {where}: received 'true' but current is 'false'"),
    ]
    for different, text in cases:
        assert channel_error(connection.channel().exchange_declare, exchange, **different) == (
            406, f"PRECONDITION_FAILED - {text}")


def test_406_delete_with_conditions(connection, names):
    queue, exchange = names.queue(), names.exchange()
    channel = connection.channel()
    channel.exchange_declare(exchange)
    channel.queue_declare(queue)
    channel.queue_bind(queue, exchange, "key")
    channel.basic_publish("", queue, b"")
    assert channel_error(channel.queue_delete, queue, if_empty=True) == (
        406, f"PRECONDITION_FAILED - queue '{queue}' in vhost '/' not empty")
    channel = connection.channel()
    Inbox(channel, queue)
    assert channel_error(connection.channel().queue_delete, queue, if_unused=True) == (
        406, f"PRECONDITION_FAILED - queue '{queue}' in vhost '/' in use")
    assert channel_error(connection.channel().exchange_delete, exchange, if_unused=True) == (
        406, f"PRECONDITION_FAILED - exchange '{exchange}' in vhost '/' in use")


def test_403_reserved_names(connection):
    assert channel_error(connection.channel().queue_declare, "amq.mine") == (
        403, "ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'")
    assert channel_error(connection.channel().exchange_declare, "amq.mine") == (
        403, "ACCESS_REFUSED - exchange name 'amq.mine' contains reserved prefix 'amq.*'")


def test_403_default_exchange(connection, names):
    queue = names.queue()
    expected = (403, "ACCESS_REFUSED - operation not permitted on the default exchange")
    connection.channel().queue_declare(queue)
    assert channel_error(connection.channel().queue_bind, queue, "", "key") == expected
    assert channel_error(connection.channel().exchange_delete, "") == expected


def test_403_internal_exchange(connection, names):
    exchange = names.exchange()
    channel = connection.channel()
    channel.exchange_declare(exchange, internal=True)
    assert after(channel, channel.basic_publish, exchange, "key", b"") == (
        403, f"ACCESS_REFUSED - cannot publish to internal exchange '{exchange}' in vhost '/'")


def test_403_exclusive_consumer(connection, names):
    queue = names.queue()
    channel = connection.channel()
    channel.queue_declare(queue)
    Inbox(channel, queue, exclusive=True)
    expected = (403, f"ACCESS_REFUSED - queue '{queue}' in vhost '/' in exclusive use")
    assert channel_error(connection.channel().basic_consume, queue, print) == expected


def test_405_from_a_second_connection(connect, connection, names):
    queue = names.queue()
    owner = connect()
    owner.channel().queue_declare(queue, exclusive=True)
    for exclusive in (False, True):
        assert channel_error(
            connection.channel().queue_declare, queue, exclusive=exclusive) == locked(queue)
    assert channel_error(connection.channel().queue_declare, queue, passive=True) == locked(queue)
    assert channel_error(connection.channel().basic_consume, queue, print) == locked(queue)
    assert channel_error(connection.channel().basic_get, queue) == locked(queue)
    assert channel_error(connection.channel().queue_purge, queue) == locked(queue)
    assert channel_error(connection.channel().queue_delete, queue) == locked(queue)
    owner.close()
    connection.channel().queue_declare(queue)


def test_an_error_harms_no_other_channel(connection, names):
    queue = names.queue()
    healthy = connection.channel()
    healthy.queue_declare(queue)
    inbox = Inbox(healthy, queue, auto_ack=True)
    failing = connection.channel()
    after(failing, failing.basic_ack, 99)
    healthy.basic_publish("", queue, b"still here")
    pump(connection, until=inbox.holds(1))


def test_an_error_requeues_what_was_unacknowledged(connection, names):
    queue = names.queue()
    channel = connection.channel()
    channel.queue_declare(queue)
    channel.basic_publish("", queue, b"again")
    inbox = Inbox(channel, queue)
    pump(connection, until=inbox.holds(1))
    after(channel, channel.basic_ack, 99)
    method, _, body = connection.channel().basic_get(queue, auto_ack=True)
    assert (body, method.redelivered) == (b"again", True)


def test_540_ends_the_connection(connect):
    assert connection_error(connect().channel().flow, False) == (
        540, "NOT_IMPLEMENTED - active=false")
    assert connection_error(connect().channel().basic_qos, prefetch_size=10) == (
        540, "NOT_IMPLEMENTED - prefetch_size!=0 (10)")
    assert connection_error(connect().channel().basic_recover, requeue=False) == (
        540, "NOT_IMPLEMENTED - requeue=false")


def test_530_unknown_vhost(connect):
    with pytest.raises(ProbableAccessDeniedError) as caught:
        connect(virtual_host="nowhere")
    assert str(caught.value) == (
        "ConnectionClosedByBroker: (530) 'NOT_ALLOWED - vhost nowhere not found'")
