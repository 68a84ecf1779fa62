"""One thread of the store stands still, as it does when a disk hangs: who needs it waits, in bounded memory, and nobody
else notices. The thread is stopped by ptrace."""

import contextlib
import ctypes
import errno
import os
import pathlib
import select
import signal
import sys
import time

import pytest

import amqp

MIB = 1 << 20
PERSISTENT = {"delivery_mode": 2}
SEGMENT = 4 * MIB  # of the write-ahead log, of which there are two
BEHIND = 8 * MIB   # bytes that the store has not written above which publishers are held
PATIENCE = 0.5     # seconds in which nothing comes from a broker that is not busy: it waits

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="threads are found in /proc")


# --- stopping a thread ---

PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH = 0x4206, 0x4207, 17
WALL = 0x40000000  # waitpid: threads, too


def ptrace(request, tid):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long
    if libc.ptrace(request, tid, None, None) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"ptrace: {os.strerror(code)}")


class Thread:
    """A thread of a broker, by its name."""

    def __init__(self, coneyd, name):
        found = [task for task in pathlib.Path(f"/proc/{coneyd.pid}/task").iterdir()
                 if (task / "comm").read_text().strip() == name]
        assert len(found) == 1, (name, found)
        self.coneyd, self.task, self.tid = coneyd, found[0], int(found[0].name)
        self.is_stopped = False

    def _system_call(self, task=None):
        try:
            return ((task or self.task) / "syscall").read_text().split()
        except OSError as error:
            pytest.skip(f"may not look at threads here: {error}")

    def stop(self):
        """Stops it where it waits for work: there it holds no lock. It must have none, or soon."""
        deadline = time.monotonic() + amqp.TIMEOUT
        while True:
            before = self._system_call()
            try:
                ptrace(PTRACE_SEIZE, self.tid)
            except OSError as error:
                if error.errno != errno.EPERM:
                    raise
                pytest.skip(f"may not stop threads here: {error}")
            ptrace(PTRACE_INTERRUPT, self.tid)
            os.waitpid(self.tid, WALL)
            self.is_stopped = True
            # It was inside of a system call and is still there: the one in which idle threads are.
            if before == self._system_call() and before[0] == self._idle_call():
                return
            self.resume()
            assert time.monotonic() < deadline, f"{self.task} is never idle: {before}"

    def _idle_call(self):
        """What the threads that check passwords are in, which have nothing to do."""
        for task in self.task.parent.iterdir():
            if (task / "comm").read_text().strip() == "worker":
                return self._system_call(task)[0]
        raise AssertionError("no idle thread")

    def resume(self):
        if self.is_stopped:
            self.is_stopped = False
            ptrace(PTRACE_DETACH, self.tid)

    def kill(self):
        """kill -9 for the whole broker, without another step of this thread."""
        os.kill(self.coneyd.pid, signal.SIGKILL)
        os.waitpid(self.tid, WALL)  # the tracer's business, before the process can be waited for
        self.is_stopped = False
        self.coneyd.process.wait()


@pytest.fixture
def stop():
    """stop(coneyd, name): a Thread that stands still."""
    threads = []

    def start(coneyd, name):
        threads.append(Thread(coneyd, name))
        threads[-1].stop()
        return threads[-1]

    yield start
    for thread in threads:
        thread.resume()


# --- clients ---


class Bystander:
    """Connections that have nothing to do with what is held: a publisher and a consumer of transient messages, a client
    that only reads, and a new one that only wants heartbeats."""

    def __init__(self, b):
        self.publisher = b.open().channel(confirm=True)
        self.consumer, self.reader = b.open().channel(), b.open().channel()
        self.queue = self.publisher.queue("bystander", exclusive=False)
        self.consumer.consume(self.queue)
        self.broker = b

    def goes_on(self, n=100):
        """n messages, each published when the one before is confirmed, delivered and acknowledged."""
        start = time.monotonic()
        for i in range(n):
            body = b"%d" % i
            self.publisher.put("", self.queue, body)
            delivery = self.consumer.deliver()
            assert delivery.body == body
            self.consumer.send("basic.ack", delivery_tag=delivery.delivery_tag)
        assert time.monotonic() - start < n * 0.05

    def reads_on(self, n=100):
        """n requests of somebody who does not publish."""
        start = time.monotonic()
        for _ in range(n):
            assert self.reader.get(self.queue) is None
        assert time.monotonic() - start < n * 0.05

    def has_heartbeats(self):
        """The broker sends them, and takes ours for life: without either the connection would end after 2 s."""
        idle = self.broker.open(tune_ok={"heartbeat": 1})
        for _ in range(4):
            assert idle.read_frame().type == amqp.HEARTBEAT
            idle.send_frame(amqp.HEARTBEAT, 0, b"")
        idle.close()


class Push:
    """Publishes of a channel in confirm mode, on a connection that the broker may not want to read."""

    def __init__(self, channel, queue, messages):
        self.channel = channel
        self.data = memoryview(b"".join(amqp.publish_frames(channel.number, "", queue, body, properties)
                                        for body, properties in messages))
        self.left = self.data
        self.waiting = set(range(channel.published + 1, channel.published + len(messages) + 1))
        channel.published += len(messages)

    def push(self):
        """Until the broker takes no more; how many bytes that was."""
        sock = self.channel.conn.socket
        sock.setblocking(False)
        while self.left and select.select([], [sock], [], PATIENCE)[1]:
            with contextlib.suppress(BlockingIOError):
                self.left = self.left[sock.send(self.left):]
        sock.settimeout(amqp.TIMEOUT)
        return len(self.data) - len(self.left)

    def read_confirm(self, timeout=amqp.TIMEOUT):
        ack = self.channel.expect("basic.ack", timeout=timeout)
        told = {tag for tag in self.waiting if tag == ack.delivery_tag or (ack.multiple and tag < ack.delivery_tag)}
        assert told, ack
        self.waiting -= told

    def read_confirms(self):
        """Those that come by themselves."""
        with contextlib.suppress(TimeoutError):
            while True:
                self.read_confirm(PATIENCE)

    def finish(self):
        """Sends the rest; everything is confirmed."""
        self.channel.conn.send_bytes(self.left)
        while self.waiting:
            self.read_confirm()


def confirmed(ch, n):
    """All of the next n publishes, and none of them refused."""
    waiting = set(range(ch.published + 1, ch.published + n + 1))
    ch.published += n
    while waiting:
        ack = ch.expect("basic.ack")
        waiting -= {tag for tag in waiting if tag == ack.delivery_tag or (ack.multiple and tag < ack.delivery_tag)}


def send(ch, queue, body, properties=PERSISTENT):
    """Publishes without waiting."""
    ch.conn.send_bytes(amqp.publish_frames(ch.number, "", queue, body, properties))


def put(ch, queue, *bodies, properties=PERSISTENT):
    for body in bodies:
        send(ch, queue, body, properties)
    confirmed(ch, len(bodies))


def durable(ch, name="q"):
    return ch.queue(name, durable=True, exclusive=False)


def small(n, size=0):
    return [b"%06d" % i + b"." * size for i in range(n)]


def is_silent(ch):
    ch.conn.expect_silence(PATIENCE)
    return True


def memory_is_what_it_is(monkeypatch):
    """What the address sanitizer keeps of freed memory would count as used."""
    monkeypatch.setenv("ASAN_OPTIONS", os.environ.get("ASAN_OPTIONS", "") +
                       ":quarantine_size_mb=1:allocator_release_to_os_interval_ms=0")


# --- store-writer: nothing gets to the disk ---


def test_writer_holds_back_what_is_durable_and_nothing_else(broker, stop):
    b = broker()
    publisher, declarer, consumer = b.open().channel(confirm=True), b.open().channel(), b.open().channel()
    durable(publisher)
    consumer.consume("q")
    bystander = Bystander(b)
    put(publisher, "q", b"before")
    consumer.send("basic.ack", delivery_tag=consumer.deliver().delivery_tag)
    writer = stop(b, "store-writer")
    for body in b"one", b"two":
        send(publisher, "q", body)
        # It is not on the disk, but on its way to who waits for it.
        delivery = consumer.deliver()
        assert (delivery.body, delivery.redelivered) == (body, False)
        consumer.send("basic.ack", delivery_tag=delivery.delivery_tag)
    declarer.send("queue.declare", queue="new", durable=True)
    bystander.goes_on()
    bystander.reads_on()
    bystander.has_heartbeats()
    assert is_silent(publisher) and is_silent(declarer)
    bystander.goes_on()
    writer.resume()
    confirmed(publisher, 2)
    declarer.expect("queue.declare-ok", queue="new")
    put(publisher, "q", b"after")
    assert consumer.deliver().body == b"after"
    b.restart()
    assert b.open().channel().exists("queue", "new")


@pytest.mark.parametrize("method, fields", [
    ("exchange.declare", {"exchange": "x", "type": "topic", "durable": True}),
    ("queue.bind", {"queue": "q", "exchange": "amq.fanout"}),
    ("queue.delete", {"queue": "q"}),
    ("queue.purge", {"queue": "q"}),
    ("tx.commit", {}),
])
def test_writer_holds_back_answers(broker, stop, method, fields):
    """What was asked for has happened when the answer is there, and not before it is on the disk."""
    b = broker()
    ch = b.open().channel()
    pub = ch.conn.channel(confirm=True)
    durable(ch)
    put(pub, "q", b"x")
    if method == "tx.commit":
        ch.call("tx.select")
        ch.publish("", "q", b"y", PERSISTENT)
        ch.call("channel.flow", active=True)
    writer = stop(b, "store-writer")
    ch.send(method, **fields)
    assert is_silent(ch)
    writer.resume()
    ch.expect(method + "-ok")
    b.restart(signal.SIGKILL)
    ch = b.open().channel()
    if method == "exchange.declare":
        assert ch.exists("exchange", "x")
    elif method == "queue.bind":
        ch.publish("amq.fanout", "", b"z")
        assert ch.drain("q") == [b"x", b"z"]
    elif method == "queue.delete":
        assert not ch.exists("queue", "q")
    else:
        assert ch.drain("q") == ([] if method == "queue.purge" else [b"x", b"y"])


def test_writer_holds_publishers(broker, stop, monkeypatch):
    """Two of them want to publish 48 MiB each: they are read no further, and lose nothing."""
    memory_is_what_it_is(monkeypatch)
    b = broker()
    ch = b.open().channel()
    bystander = Bystander(b)
    for name in "q", "r":
        durable(ch, name)
    bodies = small(768, 65536)
    messages = [(body, PERSISTENT) for body in bodies]
    pushes = [Push(b.open().channel(confirm=True), name, messages) for name in ("q", "r")]
    used = b.anonymous_memory()
    writer = stop(b, "store-writer")
    for push in pushes:
        assert push.push() < 32 * MIB
    assert b.anonymous_memory() - used < 2 * BEHIND
    bystander.reads_on()
    bystander.has_heartbeats()
    for push in pushes:
        assert is_silent(push.channel)
    writer.resume()
    for push in pushes:
        push.finish()
    b.restart()
    ch = b.open().channel()
    for name in "q", "r":
        assert ch.counts(name) == (len(bodies), 0)
        assert ch.drain(name) == bodies


def test_writer_holds_only_whom_it_keeps_waiting(broker, stop):
    """Who publishes what is not stored goes on when others are held."""
    b = broker()
    bystander = Bystander(b)
    durable(ch := b.open().channel(confirm=True))
    push = Push(ch, "q", [(body, PERSISTENT) for body in small(768, 65536)])
    writer = stop(b, "store-writer")
    assert push.push() < 32 * MIB
    try:
        bystander.goes_on()
    finally:
        writer.resume()
    push.finish()


def test_writer_and_heartbeats_of_who_waits(broker, stop):
    """A client that waits for an answer is not to take the broker for dead."""
    b = broker()
    ch = b.open(tune_ok={"heartbeat": 1}).channel()
    writer = stop(b, "store-writer")
    ch.send("queue.declare", queue="new", durable=True)
    for _ in range(4):
        assert ch.conn.read_frame().type == amqp.HEARTBEAT
        ch.conn.send_frame(amqp.HEARTBEAT, 0, b"")
    writer.resume()
    ch.expect("queue.declare-ok", queue="new")


def test_killed_while_the_writer_stands_still(broker, stop):
    """What was confirmed is there. What was not may be, in its order and without gaps."""
    b = broker()
    ch = b.open().channel(confirm=True)
    durable(ch)
    put(ch, "q", *small(100))
    writer = stop(b, "store-writer")
    for body in small(200)[100:]:
        send(ch, "q", body)
    ch.send("basic.get", queue="q")
    assert ch.expect("basic.get-ok").message_count == 199
    writer.kill()
    b.restart()
    found = b.open().channel().drain("q")
    assert len(found) >= 100
    assert found == small(len(found))


# --- store-database: the write-ahead log is not emptied ---


def fill_log(ch, queue, bodies):
    """Publishes one after the other, until one is not confirmed; how many were."""
    for i, body in enumerate(bodies):
        send(ch, queue, body)
        try:
            ch.expect("basic.ack", timeout=3, delivery_tag=ch.published + 1, multiple=False)
        except TimeoutError:
            return i
        ch.published += 1
    raise AssertionError("the log is never full")


def test_database_lets_the_log_fill_up(broker, stop):
    """Then publishers wait, without a refusal, until it goes on."""
    b = broker()
    bystander = Bystander(b)
    ch = b.open().channel(confirm=True)
    durable(ch)
    put(ch, "q", b"first")
    bodies = small(300, 60000)
    database = stop(b, "store-database")
    n = fill_log(ch, "q", bodies)
    assert SEGMENT < n * len(bodies[0]) <= 2 * SEGMENT
    bystander.goes_on()
    bystander.reads_on()
    bystander.has_heartbeats()
    assert is_silent(ch)
    database.resume()
    confirmed(ch, 1)
    put(ch, "q", *bodies[n + 1:])
    b.restart()
    assert b.open().channel().drain("q") == [b"first", *bodies]


def test_killed_with_a_full_log(broker, stop):
    b = broker()
    ch = b.open().channel(confirm=True)
    durable(ch)
    put(ch, "q", b"first")
    bodies = small(300, 60000)
    database = stop(b, "store-database")
    durable(ch, "declared-meanwhile")
    n = fill_log(ch, "q", bodies)
    database.kill()
    b.restart()
    ch = b.open().channel(confirm=True)
    assert ch.exists("queue", "declared-meanwhile")
    found = ch.drain("q")
    assert found[:n + 1] == [b"first", *bodies[:n]]
    assert found[n + 1:] in ([], [bodies[n]])
    put(ch, "q", *bodies)
    b.restart(signal.SIGKILL)
    assert set(b.open().channel().drain("q")) >= set(bodies)


def test_database_and_a_large_message(broker, stop):
    """It is written to the database by the writer itself, which empties the log on the way."""
    b = broker()
    ch = b.open().channel(confirm=True)
    durable(ch)
    put(ch, "q", b"first")
    database = stop(b, "store-database")
    bodies = []
    for i in range(4):
        bodies += [*small(40, 60000), b"%d" % i * (3 * MIB)]
        put(ch, "q", *bodies[-41:-1])
        put(ch, "q", bodies[-1])
    database.kill()
    b.restart()
    assert b.open().channel().drain("q") == [b"first", *bodies]


# --- store-reader: what is paged out does not come back ---


PAGED = {"coney.queue_memory_max": 65536}
KINDS = [pytest.param(PERSISTENT, id="persistent"), pytest.param({}, id="transient")]


@pytest.fixture(params=KINDS)
def paged_out(broker, request):
    """(broker, bodies) with a queue "q" of which most is out."""
    b = broker(PAGED)
    ch = b.open().channel(confirm=True)
    durable(ch)
    bodies = small(400, 4096)
    for at in range(0, 400, 50):
        put(ch, "q", *bodies[at:at + 50], properties=request.param)
    return b, bodies


def take_while_it_comes(ch, bodies):
    """Consumes and acknowledges what is in memory; how many that are."""
    ch.consume("q")
    n = 0
    with contextlib.suppress(TimeoutError):
        while True:
            delivery = ch.expect("basic.deliver", timeout=PATIENCE)
            assert delivery.body == bodies[n]
            ch.send("basic.ack", delivery_tag=delivery.delivery_tag)
            n += 1
    return n


def test_reader_keeps_consumers_waiting(paged_out, stop):
    b, bodies = paged_out
    bystander = Bystander(b)
    reader = stop(b, "store-reader")
    ch = b.open().channel()
    n = take_while_it_comes(ch, bodies)
    assert 0 < n < 100
    bystander.goes_on()
    bystander.reads_on()
    publisher = b.open().channel(confirm=True)
    put(publisher, "q", b"last")
    assert ch.counts("q")[1] == 1
    assert is_silent(ch)
    reader.resume()
    for body in [*bodies[n:], b"last"]:
        delivery = ch.deliver()
        assert (delivery.body, delivery.redelivered) == (body, False)
        ch.send("basic.ack", delivery_tag=delivery.delivery_tag)
    assert ch.counts("q") == (0, 1)


def test_reader_keeps_get_waiting(paged_out, stop):
    """The connection with it, and no other."""
    b, bodies = paged_out
    bystander = Bystander(b)
    reader = stop(b, "store-reader")
    ch = b.open().channel()
    n = 0
    with contextlib.suppress(TimeoutError):
        while True:
            ch.send("basic.get", queue="q", no_ack=True)
            assert ch.expect("basic.get-ok", timeout=PATIENCE).body == bodies[n]
            n += 1
    assert 0 < n < 100
    second = b.open().channel()
    second.send("basic.get", queue="q", no_ack=True)
    bystander.goes_on()
    assert is_silent(ch) and is_silent(second)
    reader.resume()
    assert ch.expect("basic.get-ok").body == bodies[n]
    assert second.expect("basic.get-ok").body == bodies[n + 1]
    assert ch.drain("q") == bodies[n + 2:]


@pytest.mark.parametrize("method", ["queue.purge", "queue.delete"])
def test_reader_and_a_queue_that_goes(paged_out, stop, method):
    """Who waits for its messages is told, and what the reader brings later is dropped."""
    b, bodies = paged_out
    bystander = Bystander(b)
    reader = stop(b, "store-reader")
    consumer, other = b.open().channel(), b.open().channel(confirm=True)
    n = take_while_it_comes(consumer, bodies)
    getter = b.open().channel()
    getter.send("basic.get", queue="q")
    assert is_silent(getter)
    assert other.call(method, queue="q").message_count == len(bodies) - n
    getter.expect("basic.get-empty")
    if method == "queue.delete":
        consumer.expect("basic.cancel")
        durable(other)
        consumer.consume("q")
    for body in b"new", b"newer":
        put(other, "q", body)
        delivery = consumer.deliver()
        assert delivery.body == body
        consumer.send("basic.ack", delivery_tag=delivery.delivery_tag)
        bystander.goes_on()
        reader.resume()
    assert other.counts("q") == (0, 1)
    b.restart()
    assert b.open().channel().drain("q") == []


def test_reader_and_who_waits_leaves(paged_out, stop):
    """A consumer that is cancelled, and connections that are closed, before their messages come."""
    b, bodies = paged_out
    reader = stop(b, "store-reader")
    consumer, getter, leaver = b.open().channel(), b.open().channel(), b.open().channel()
    take_while_it_comes(consumer, bodies)
    for ch in getter, leaver:
        ch.send("basic.get", queue="q")
    leaver.conn.send("connection.close", reply_code=200)
    assert is_silent(getter)
    getter.conn.abort()
    consumer.conn.close()
    reader.resume()
    leaver.expect("basic.get-ok")
    leaver.conn.expect("connection.close-ok")
    assert b.open().channel().drain("q")[-1] == bodies[-1]


def test_killed_while_the_reader_stands_still(paged_out, stop, request):
    b, bodies = paged_out
    reader = stop(b, "store-reader")
    ch = b.open().channel()
    ch.consume("q")
    ch.deliver()
    reader.kill()
    b.restart()
    kept = bodies if "persistent" in request.node.name else []
    assert b.open().channel().drain("q") == kept


# --- store-paging: nothing gets out of memory ---


def test_paging_holds_publishers(broker, stop, monkeypatch):
    """A transient backlog grows no further than what may be on its way out."""
    memory_is_what_it_is(monkeypatch)
    b = broker(PAGED)
    bystander = Bystander(b)
    ch, reader = b.open().channel(confirm=True), b.open().channel()
    ch.queue("q", exclusive=False)
    bodies = small(4000, 16384)
    push = Push(ch, "q", [(body, {}) for body in bodies])
    used = b.anonymous_memory()
    paging = stop(b, "store-paging")
    assert push.push() < 32 * MIB
    assert b.anonymous_memory() - used < 3 * BEHIND
    push.read_confirms()
    assert reader.counts("q") == (len(bodies) - len(push.waiting), 0)
    bystander.reads_on()
    bystander.has_heartbeats()
    paging.resume()
    push.finish()
    bystander.goes_on()
    assert reader.counts("q") == (len(bodies), 0)
    assert b.anonymous_memory() - used < 3 * BEHIND
    assert reader.drain("q") == bodies


@pytest.mark.parametrize("method", ["queue.purge", "queue.delete"])
def test_paging_and_a_queue_that_goes(broker, stop, method):
    """What is on its way out is not needed any more: the publishers that are held go on when the thread does."""
    b = broker(PAGED)
    ch, other = b.open().channel(confirm=True), b.open().channel()
    ch.queue("q", exclusive=False)
    bodies = small(4000, 16384)
    push = Push(ch, "q", [(body, {}) for body in bodies])
    paging = stop(b, "store-paging")
    push.push()
    n = other.call(method, queue="q").message_count
    assert 0 < n < len(bodies)
    assert other.exists("queue", "q") == (method == "queue.purge")
    paging.resume()
    push.finish()
    if method == "queue.purge":
        assert other.drain("q") == bodies[n:]
    other.conn.close()


def test_paging_and_consumers(broker, stop):
    """What cannot leave is in memory, and is delivered from there."""
    b = broker(PAGED)
    ch, consumer = b.open().channel(confirm=True), b.open().channel()
    ch.queue("q", exclusive=False)
    bodies = small(4000, 16384)
    push = Push(ch, "q", [(body, {}) for body in bodies])
    paging = stop(b, "store-paging")
    push.push()
    n, _ = consumer.counts("q")
    consumer.consume("q", no_ack=True)
    assert consumer.deliveries(n) == bodies[:n]
    paging.resume()
    push.finish()
    assert consumer.deliveries(len(bodies) - n) == bodies[n:]
