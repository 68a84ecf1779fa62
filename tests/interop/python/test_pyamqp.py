"""py-amqp, the client below kombu and Celery, used directly."""

import datetime
import decimal
import hashlib
import random
import time

import amqp
import pytest
from amqp.exceptions import (
    AccessRefused, NotFound, PreconditionFailed, ResourceLocked)


@pytest.fixture
def connect_amqp(broker, names):
    """Makes py-amqp connections; they are closed after the test."""
    made = []

    def open_connection(**changes):
        settings = dict(
            host=f"{broker.host}:{broker.port}", userid=broker.user, password=broker.password,
            virtual_host=broker.vhost, read_timeout=20, write_timeout=20)
        connection = amqp.Connection(**{**settings, **changes})
        made.append(connection)
        connection.connect()
        return connection

    yield open_connection
    for connection in made:
        if connection.connected:
            connection.close()
        else:
            connection.collect()


@pytest.fixture
def connection(connect_amqp):
    return connect_amqp()


@pytest.fixture
def channel(connection):
    return connection.channel()


def drain(connection, until, seconds=20):
    deadline = time.monotonic() + seconds
    while not until():
        connection.drain_events(timeout=max(0.01, deadline - time.monotonic()))


def test_server_properties(connection):
    properties = connection.server_properties
    assert isinstance(properties["product"], str)
    assert [int(part) for part in properties["version"].split(".")] >= [3, 8]
    for capability in ("publisher_confirms", "exchange_exchange_bindings", "basic.nack",
                       "consumer_cancel_notify", "connection.blocked", "consumer_priorities",
                       "authentication_failure_close", "per_consumer_qos"):
        assert properties["capabilities"][capability] is True


@pytest.mark.parametrize("mechanism", ["PLAIN", "AMQPLAIN"])
def test_login(connect_amqp, mechanism):
    assert connect_amqp(login_method=mechanism).channel().is_open
    with pytest.raises(AccessRefused) as caught:
        connect_amqp(login_method=mechanism, password="wrong")
    assert caught.value.reply_code == 403
    assert caught.value.reply_text == (
        f"ACCESS_REFUSED - Login was refused using authentication mechanism {mechanism}. "
        "For details see the broker logfile.")


def test_publish_and_consume(connection, channel):
    queue = channel.queue_declare("", exclusive=True).queue
    got = []
    channel.basic_qos(0, 10, False)
    tag = channel.basic_consume(queue, callback=got.append)
    for number in range(20):
        channel.basic_publish(amqp.Message(str(number), content_type="text/plain"), "", queue)
    drain(connection, until=lambda: len(got) == 10)
    channel.basic_ack(got[-1].delivery_tag, multiple=True)
    drain(connection, until=lambda: len(got) == 20)
    assert [message.body for message in got] == [str(number) for number in range(20)]
    assert got[0].delivery_info == {
        "consumer_tag": tag, "delivery_tag": 1, "redelivered": False, "exchange": "",
        "routing_key": queue}
    assert channel.basic_cancel(tag) == tag


def test_get_and_reject(channel):
    queue = channel.queue_declare("", exclusive=True).queue
    assert channel.basic_get(queue) is None
    channel.basic_publish(amqp.Message("again"), "", queue)
    channel.basic_reject(channel.basic_get(queue).delivery_tag, requeue=True)
    message = channel.basic_get(queue, no_ack=True)
    assert message.body == "again"
    assert message.delivery_info["redelivered"] is True


def test_confirms(connect_amqp):
    channel = connect_amqp(confirm_publish=True).channel()
    queue = channel.queue_declare("", exclusive=True).queue
    for _ in range(100):
        channel.basic_publish(amqp.Message("x", delivery_mode=2), "", queue)
    assert channel.queue_declare(queue, passive=True).message_count == 100


def test_returns(connection, channel, names):
    missing = names.queue()
    returned = []
    channel.events["basic_return"].add(lambda *call: returned.append(call))
    channel.basic_publish(amqp.Message("back", message_id="7"), "", missing, mandatory=True)
    drain(connection, until=lambda: returned)
    ((error, exchange, key, message),) = returned
    assert (error.reply_code, error.reply_text) == (312, "NO_ROUTE")
    assert (exchange, key, message.body, message.message_id) == ("", missing, "back", "7")


def test_methods_without_answer(connection, channel, names):
    """nowait: nothing comes back when it succeeds, and the next answer belongs to the next call."""
    queue, exchange = names.queue(), names.exchange()
    channel.exchange_declare(exchange, "direct", nowait=True)
    channel.queue_declare(queue, nowait=True)
    channel.queue_bind(queue, exchange, "key", nowait=True)
    channel.basic_publish(amqp.Message("1"), exchange, "key")
    assert channel.basic_get(queue).body == "1"
    channel.queue_purge(queue, nowait=True)
    channel.queue_delete(queue, nowait=True)
    channel.exchange_delete(exchange, nowait=True)
    assert channel.queue_declare(queue).message_count == 0


def test_exchange_to_exchange(channel, names):
    source, target = names.exchange(), names.exchange()
    channel.exchange_declare(source, "fanout", auto_delete=False)
    channel.exchange_declare(target, "fanout", auto_delete=False)
    queue = channel.queue_declare("", exclusive=True).queue
    channel.exchange_bind(target, source)
    channel.queue_bind(queue, target)
    channel.basic_publish(amqp.Message("through"), source, "")
    assert channel.basic_get(queue, no_ack=True).body == "through"
    channel.exchange_unbind(target, source)
    channel.basic_publish(amqp.Message("cut"), source, "")
    assert channel.basic_get(queue) is None


def test_transaction(channel):
    queue = channel.queue_declare("", exclusive=True).queue
    channel.tx_select()
    channel.basic_publish(amqp.Message("dropped"), "", queue)
    channel.tx_rollback()
    channel.basic_publish(amqp.Message("kept"), "", queue)
    channel.tx_commit()
    assert channel.basic_get(queue).body == "kept"
    assert channel.basic_get(queue) is None


def test_channel_errors_and_recovery(connect_amqp, connection, names):
    queue = names.queue()
    cases = [
        (NotFound, 404, "queue.declare", lambda c: c.queue_declare(queue, passive=True)),
        (AccessRefused, 403, "queue.declare", lambda c: c.queue_declare("amq.own")),
        (NotFound, 404, "exchange.declare", lambda c: c.exchange_declare(queue, "", passive=True)),
        (PreconditionFailed, 406, "exchange.declare",
         lambda c: c.exchange_declare("amq.topic", "fanout", durable=True)),
        (NotFound, 404, "basic.consume", lambda c: c.basic_consume(queue)),
    ]
    for kind, code, method, action in cases:
        channel = connection.channel()
        with pytest.raises(kind) as caught:
            action(channel)
        assert caught.value.reply_code == code
        assert caught.value.method_name.lower().replace("_", ".") == method
        # py-amqp opens the channel again by itself
        assert channel.queue_declare("", exclusive=True).message_count == 0
    other = connect_amqp()
    other.channel().queue_declare(queue, exclusive=True)
    with pytest.raises(ResourceLocked):
        connection.channel().queue_declare(queue)
    assert connection.connected


def test_404_of_a_publish_while_confirming(connect_amqp, names):
    connection = connect_amqp(confirm_publish=True)
    with pytest.raises(NotFound):
        connection.channel().basic_publish(amqp.Message(""), names.exchange(), "key")
    queue = connection.channel().queue_declare("", exclusive=True).queue
    connection.channel().basic_publish(amqp.Message(""), "", queue)


def test_406_unknown_delivery_tag(connection, channel):
    channel.basic_ack(82)
    with pytest.raises(PreconditionFailed) as caught:
        drain(connection, until=lambda: False)
    assert caught.value.reply_text == "PRECONDITION_FAILED - unknown delivery tag 82"


def test_heartbeats(connect_amqp):
    connection = connect_amqp(heartbeat=1)
    assert connection.heartbeat == 1
    received = connection.bytes_recv
    end = time.monotonic() + 4
    while time.monotonic() < end:
        connection.heartbeat_tick()
        try:
            connection.drain_events(timeout=0.25)
        except TimeoutError:
            pass
    assert connection.bytes_recv > received
    assert connection.channel().is_open


def test_body_of_ten_megabytes(connection, channel):
    queue = channel.queue_declare("", exclusive=True).queue
    body = random.Random(7).randbytes(10 * 1024 * 1024)
    got = []
    channel.basic_consume(queue, callback=got.append, no_ack=True)
    channel.basic_publish(amqp.Message(body), "", queue)
    drain(connection, until=lambda: got)
    assert hashlib.sha256(got[0].body).digest() == hashlib.sha256(body).digest()


HEADERS = {
    "true": True,
    "int": -5,
    "long": 2 ** 40,
    "double": 2.718281828459045,
    "text": "Käse, 乳酪",
    "decimal": decimal.Decimal("-3.14"),
    "time": datetime.datetime(2024, 2, 29, 12, 30, 15),
    "void": None,
    "table": {"nested": {"deeper": [1.5, {"deepest": None}]}},
    "array": [1, 2.5, "three", False, None, []],
}


def test_headers_and_properties(channel):
    queue = channel.queue_declare("", exclusive=True).queue
    properties = dict(
        content_type="text/plain", content_encoding="utf-8", application_headers=HEADERS,
        delivery_mode=2, priority=3, correlation_id="c", reply_to="r", expiration="600000",
        message_id="m", timestamp=1700000000, type="t", user_id="guest", app_id="a")
    channel.basic_publish(amqp.Message("x", **properties), "", queue)
    assert channel.basic_get(queue, no_ack=True).properties == properties


def test_consumer_is_told_of_the_queue_s_end(connect_amqp, connection, channel, names):
    queue = names.queue()
    channel.queue_declare(queue)
    cancelled = []
    tag = channel.basic_consume(queue, on_cancel=cancelled.append)
    connect_amqp().channel().queue_delete(queue)
    drain(connection, until=lambda: cancelled)
    assert cancelled == [tag]


def test_lost_connection(connect_amqp, relay, names):
    queue = names.queue()
    lost = connect_amqp(host=f"{relay.host}:{relay.port}")
    channel = lost.channel()
    channel.queue_declare(queue)
    channel.basic_publish(amqp.Message("unacknowledged"), "", queue)
    assert channel.basic_get(queue).body == "unacknowledged"
    relay.cut()
    with pytest.raises(lost.recoverable_connection_errors):
        drain(lost, until=lambda: False)
    got = []
    survivor = connect_amqp()
    survivor.channel().basic_consume(queue, callback=got.append, no_ack=True)
    drain(survivor, until=lambda: got)
    assert got[0].delivery_info["redelivered"] is True
