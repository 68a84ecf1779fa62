"""The broker under test, connections to it, and what to clean up afterwards.

CONEYD names the daemon to start. With CONEY_PORT set, the tests run against whatever listens there instead: against
RabbitMQ, to see that they say the truth about it.
"""

import itertools
import os
import signal
import subprocess
import time

import pytest

import amqp

START_TIMEOUT = 10  # seconds

REFERENCE_PORT = os.environ.get("CONEY_PORT")


def differs_from_rabbitmq_3_10(why):
    """Marks what RabbitMQ 3.10 does otherwise; the test counts as before against coneyd."""
    return pytest.mark.xfail(REFERENCE_PORT is not None, reason=why, strict=True)


class Broker:
    """A coneyd of our own, or (pid None) one that runs already."""

    def __init__(self, address, pid=None):
        self.address, self.pid = address, pid

    def connect(self):
        return amqp.Conn(self.address)

    def open(self, **handshake):
        return self.connect().handshake(**handshake)

    def anonymous_memory(self):
        """Bytes of RssAnon."""
        with open(f"/proc/{self.pid}/status", encoding="ascii") as status:
            for line in status:
                if line.startswith("RssAnon:"):
                    return int(line.split()[1]) * 1024
        raise AssertionError("no RssAnon in /proc")


class Coneyd(Broker):
    def __init__(self, directory, settings):
        super().__init__(None)
        self.directory, self.settings = directory, settings
        self.ready_file = directory / "ready"
        self._start("wb")

    def _start(self, log_mode):
        options = {"listeners.tcp.default": "127.0.0.1:0", **self.settings}
        command = [os.environ["CONEYD"], "--data-dir", str(self.directory / "data"),
                   "--ready-file", str(self.ready_file)]
        for key, value in options.items():
            command += ["--set", f"{key}={value}"]
        with open(self.directory / "log", log_mode) as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        ready = self._wait_until_ready()
        host, port = ready["amqp"].rsplit(":", 1)
        self.address, self.pid = (host, int(port)), int(ready["pid"])

    def _wait_until_ready(self):
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log()
            if self.ready_file.exists():
                return dict(line.split("=", 1) for line in self.ready_file.read_text().splitlines())
            time.sleep(0.01)
        self.process.kill()
        raise AssertionError(f"coneyd is not ready after {START_TIMEOUT} s:\n{self.log()}")

    def log(self):
        return (self.directory / "log").read_text(errors="replace")

    def stop(self):
        """A clean stop: the sanitizers report here, too."""
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(START_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        assert status == 0, f"coneyd ended with {status}:\n{self.log()[-10000:]}"

    def kill(self):
        """kill -9. Connections to it are of no use any more."""
        self.process.kill()
        self.process.wait()

    def restart(self, how=signal.SIGTERM, settings=None):
        """Ends it by this signal, unless it has ended already, and starts it on the same data directory, by default
        with the same settings. It listens on another port; the log goes on."""
        if self.process.poll() is None:
            if how == signal.SIGKILL:
                self.kill()
            else:
                self.stop()
        self.ready_file.unlink()
        if settings is not None:
            self.settings = settings
        self._start("ab")


@pytest.fixture(scope="session")
def main_broker(tmp_path_factory):
    if REFERENCE_PORT is not None:
        yield Broker(("127.0.0.1", int(REFERENCE_PORT)))
        return
    coneyd = Coneyd(tmp_path_factory.mktemp("coneyd"), {})
    yield coneyd
    coneyd.stop()


@pytest.fixture
def broker(tmp_path_factory):
    """broker(settings): a coneyd of the test's own."""
    if REFERENCE_PORT is not None:
        pytest.skip("needs a coneyd with settings of its own")
    started = []

    def start(settings=None):
        started.append(Coneyd(tmp_path_factory.mktemp("coneyd"), settings or {}))
        return started[-1]

    yield start
    for coneyd in started:
        coneyd.stop()


@pytest.fixture
def connect(main_broker):
    """connect(): a socket, nothing sent yet."""
    connections = []

    def start():
        connections.append(main_broker.connect())
        return connections[-1]

    yield start
    for c in connections:
        c.close()


@pytest.fixture
def open_connection(connect):
    """open_connection(): one that has shaken hands. It must live until the test ends, unless it expects a close."""

    def start(**handshake):
        return connect().handshake(**handshake)

    return start


@pytest.fixture
def conn(open_connection):
    return open_connection()


@pytest.fixture
def other(open_connection):
    """A second connection."""
    return open_connection()


@pytest.fixture
def ch(conn):
    return conn.channel()


@pytest.fixture
def pub(conn):
    """A channel in confirm mode to publish on."""
    return conn.channel(confirm=True)


_numbers = itertools.count()


@pytest.fixture
def unique():
    """unique(): a name that no other test uses."""
    return lambda: f"wire-{os.getpid()}-{next(_numbers)}"


@pytest.fixture
def tidy(main_broker):
    """tidy("queue", name): deleted when the test is over, whatever has become of its connections."""
    left = []

    def add(kind, name):
        left.append((kind, name))
        return name

    yield add
    with_connection = main_broker.open()
    channel = with_connection.channel()
    for kind, name in left:
        channel.call(kind + ".delete", **{kind: name})
    with_connection.close()


@pytest.fixture
def exchange(ch, unique, tidy):
    """exchange(type, ...): declares one and returns its name."""

    def declare(type_="direct", arguments=None, **fields):
        name = tidy("exchange", unique())
        ch.call("exchange.declare", exchange=name, type=type_, arguments=arguments or {}, **fields)
        return name

    return declare


@pytest.fixture
def shared_queue(ch, unique, tidy):
    """shared_queue(...): declares a queue that is not exclusive and returns its name."""

    def declare(arguments=None, **fields):
        name = tidy("queue", unique())
        return ch.queue(name, arguments, exclusive=False, **fields)

    return declare
