"""Fixtures that all Python suites share, and the summary line that the runner reads."""

import collections
import os
import signal
import uuid

import pika
import pytest

from relay import Relay

TEST_SECONDS = 120

Broker = collections.namedtuple("Broker", "host port user password vhost")


def broker_from_environment():
    return Broker(os.environ["CONEY_HOST"], int(os.environ["CONEY_PORT"]), os.environ["CONEY_USER"],
                  os.environ["CONEY_PASS"], os.environ["CONEY_VHOST"])


def parameters(broker, **changes):
    """pika's connection parameters for a broker; the changes are keyword arguments of theirs."""
    settings = dict(
        host=broker.host, port=broker.port, virtual_host=broker.vhost,
        credentials=pika.PlainCredentials(broker.user, broker.password))
    return pika.ConnectionParameters(**{**settings, **changes})


def delete(broker, names):
    """Deletes the queues and the exchanges of these names, those that exist."""
    with pika.BlockingConnection(parameters(broker)) as connection:
        channel = connection.channel()
        for name in names:
            channel.queue_delete(name)
            channel.exchange_delete(name)


class Names:
    """Names that no other test uses, and that are deleted when the test is over."""

    def __init__(self):
        # short, because error texts repeat the name and are cut at 255 characters
        self._prefix = f"interop.{uuid.uuid4().hex[:12]}"
        self.used = []

    def _new(self, kind):
        name = f"{self._prefix}.{kind}{len(self.used)}"
        self.used.append(name)
        return name

    def queue(self):
        return self._new("q")

    def exchange(self):
        return self._new("x")


@pytest.fixture(autouse=True)
def deadline():
    """A test whose broker does not answer fails, instead of holding up all the others."""
    def expire(_signum, _frame):
        raise TimeoutError(f"the test took longer than {TEST_SECONDS} s")

    previous = signal.signal(signal.SIGALRM, expire)
    signal.alarm(TEST_SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


@pytest.fixture(scope="session")
def broker():
    return broker_from_environment()


@pytest.fixture
def names(broker):
    made = Names()
    yield made
    if made.used:
        delete(broker, made.used)


@pytest.fixture
def relay(broker):
    made = Relay(broker.host, broker.port)
    yield made
    made.close()


@pytest.fixture
def connect(broker, names):
    """Makes pika connections, with parameters changed if need be, and closes them afterwards."""
    made = []

    def open_connection(**changes):
        connection = pika.BlockingConnection(parameters(broker, **changes))
        made.append(connection)
        return connection

    yield open_connection
    for connection in made:
        if connection.is_open:
            connection.close()


@pytest.fixture
def connection(connect):
    return connect()


@pytest.fixture
def channel(connection):
    return connection.channel()


def pytest_unconfigure(config):
    """The last line of the output, which the runner of all suites reads."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return
    passed, failed, errors, skipped = (
        len(reporter.getreports(outcome)) for outcome in ("passed", "failed", "error", "skipped"))
    line = f"{passed} passed, {failed + errors} failed"
    print(line + f", {skipped} skipped" if skipped else line)
