"""Data directories that earlier versions have left: this one opens them and finds all that is in them.

tests/storage/README.md tells where they come from.
"""

import collections
import pathlib
import runpy
import shutil
import struct

import pika
import pytest

from conftest import REFERENCE_PORT, Coneyd

STORAGE = pathlib.Path(__file__).parents[1] / "storage"
FORMATS = sorted(path.name for path in STORAGE.glob("format-*"))

pytestmark = pytest.mark.skipif(REFERENCE_PORT is not None, reason="needs a coneyd with data of its own")


class Fixture:
    """A coneyd on a copy of a data directory. `has` is what contents.py says."""

    def __init__(self, folder, directory):
        self.has = runpy.run_path(str(folder / "contents.py"))
        self.version = int(folder.name.removeprefix("format-"))
        self.directory = directory
        shutil.copytree(folder, directory / "data", ignore=shutil.ignore_patterns("contents.py", "__pycache__"))
        self.coneyd = self.connection = None

    def start(self):
        """Nothing is amiss with what is found. Returns a channel."""
        self.coneyd = Coneyd(self.directory, {})
        amiss = [line for line in self.coneyd.log().splitlines() if "[error]" in line or "[critical]" in line]
        assert not amiss
        self.connection = self.connect()
        return self.connection.channel()

    def connect(self, user=None, password=None, vhost=None):
        has = self.has
        return pika.BlockingConnection(pika.ConnectionParameters(
            *self.coneyd.address, vhost or has["VHOST"],
            pika.PlainCredentials(user or has["USER"], password or has["PASSWORD"])))

    def stop(self):
        self.connection.close()
        self.coneyd.stop()
        self.coneyd.ready_file.unlink()
        self.coneyd = None

    def discard(self):
        if self.coneyd is not None:
            self.coneyd.process.kill()
            self.coneyd.process.wait()


@pytest.fixture(params=FORMATS)
def fixture(request, tmp_path):
    fixture = Fixture(STORAGE / request.param, tmp_path)
    yield fixture
    fixture.discard()


def refused(fixture, code, method, *args, **kwargs):
    """The method, on a channel of its own, closes it with this code."""
    channel = fixture.connection.channel()
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as error:
        getattr(channel, method)(*args, **kwargs)
    assert error.value.reply_code == code


def take(channel, queue):
    """All messages of a queue, acknowledged: (exchange, routing key, properties, body, redelivered) of each."""
    taken = []
    while True:
        method, properties, body = channel.basic_get(queue)
        if method is None:
            return taken
        channel.basic_ack(method.delivery_tag)
        taken.append((method.exchange, method.routing_key, vars(properties), body, method.redelivered))


def as_taken(messages):
    return [(exchange, key, vars(pika.BasicProperties(**properties)), body, redelivered)
            for exchange, key, properties, body, redelivered in messages]


def counts(channel, queues):
    return {queue: channel.queue_declare(queue, passive=True).method.message_count for queue in queues}


def test_there_are_fixtures():
    assert "format-1" in FORMATS


def test_users_and_vhosts(fixture):
    """They are those of the store: the defaults are for a new one."""
    fixture.start()
    for wrong in {"password": "guest"}, {"user": "guest", "password": "guest"}, {"vhost": "/"}:
        with pytest.raises(pika.exceptions.AMQPConnectionError):
            fixture.connect(**wrong)
    fixture.stop()


def test_exchanges(fixture):
    channel = fixture.start()
    for name, type_, options, arguments in fixture.has["EXCHANGES"]:
        channel.exchange_declare(name, passive=True)
        channel.exchange_declare(name, type_, durable=True, arguments=arguments, **options)
        refused(fixture, 406, "exchange_declare", name, "fanout" if type_ != "fanout" else "topic", durable=True,
                arguments=arguments, **options)
        for option in "internal", "auto_delete":
            changed = {**options, option: not options.get(option, False)}
            refused(fixture, 406, "exchange_declare", name, type_, durable=True, arguments=arguments, **changed)
        if "alternate-exchange" in arguments:
            refused(fixture, 406, "exchange_declare", name, type_, durable=True, **options)
    refused(fixture, 404, "exchange_declare", "f.gone", passive=True)
    fixture.stop()


def test_queues(fixture):
    channel = fixture.start()
    messages = fixture.has["messages"]()
    for name, options, arguments in fixture.has["QUEUES"]:
        assert counts(channel, [name]) == {name: len(messages[name])}
        channel.queue_declare(name, durable=True, arguments=arguments, **options)
        refused(fixture, 406, "queue_declare", name, durable=True, arguments=arguments,
                auto_delete=not options.get("auto_delete", False))
        for argument in arguments.keys() - {"x-queue-type"}:
            others = {key: value for key, value in arguments.items() if key != argument}
            refused(fixture, 406, "queue_declare", name, durable=True, arguments=others, **options)
    refused(fixture, 404, "queue_declare", "f.gone", passive=True)
    fixture.stop()


def test_bindings(fixture):
    """Each message reaches the queues that it should, and no other."""
    channel = fixture.start()
    queues = [name for name, _, _ in fixture.has["QUEUES"]]
    channel.confirm_delivery()
    for exchange, key, headers, reached in fixture.has["ROUTES"]:
        wanted = collections.Counter(counts(channel, queues))
        wanted.update(reached)
        try:
            channel.basic_publish(exchange, key, b"", pika.BasicProperties(headers=headers), mandatory=True)
            was_returned = False
        except pika.exceptions.UnroutableError:
            was_returned = True
        assert was_returned == (not reached)
        assert counts(channel, queues) == wanted, (exchange, key, headers)
    fixture.stop()


def test_messages(fixture):
    """All of them, as they were published, in their order; those that had been delivered are marked."""
    channel = fixture.start()
    for queue, messages in fixture.has["messages"]().items():
        assert take(channel, queue) == as_taken(messages), queue
    fixture.stop()


def test_consumed_messages_stay_away(fixture):
    channel = fixture.start()
    messages = fixture.has["messages"]()
    taken = {}
    for queue in messages:
        method, _, _ = channel.basic_get(queue)
        taken[queue] = method is not None
        if method is not None:
            channel.basic_ack(method.delivery_tag)
    fixture.stop()
    channel = fixture.start()
    for queue, left in messages.items():
        assert take(channel, queue) == as_taken(left[taken[queue]:]), queue
    fixture.stop()
    channel = fixture.start()
    assert set(counts(channel, messages).values()) == {0}
    fixture.stop()


def test_it_goes_on(fixture):
    """What is added gets numbers that nothing else has: after a restart all of it is there, behind what was."""
    channel = fixture.start()
    messages = fixture.has["messages"]()
    properties = {"delivery_mode": 2, "headers": {"new": True}}
    channel.queue_declare("new", durable=True)
    channel.queue_bind("new", "amq.fanout")
    channel.confirm_delivery()
    for queue in [*messages, "new"]:
        channel.basic_publish("", queue, b"new", pika.BasicProperties(**properties))
    channel.basic_publish("amq.fanout", "key", b"newer", pika.BasicProperties(**properties))
    fixture.stop()
    channel = fixture.start()
    for queue, left in messages.items():
        assert take(channel, queue) == as_taken([*left, ("", queue, properties, b"new", False)]), queue
    assert take(channel, "new") == as_taken([("", "new", properties, b"new", False),
                                             ("amq.fanout", "key", properties, b"newer", False)])
    fixture.stop()


def test_a_newer_format_is_refused(fixture):
    """By its version, before anything is changed."""
    path = fixture.directory / "data" / "store" / "data.mdb"
    data = path.read_bytes()
    row = struct.pack(">6sBI", b"format", fixture.version, fixture.version)
    assert data.count(row) == 1
    newer = data.replace(row, struct.pack(">6sBI", b"format", 99, 99))
    path.write_bytes(newer)
    with pytest.raises(AssertionError, match="format 99, written by a newer version"):
        Coneyd(fixture.directory, {})
    assert path.read_bytes() == newer
