"""Clients that mean harm, or might as well: nobody else notices them, and the broker's memory stays bounded."""

import contextlib
import multiprocessing
import random
import socket
import time

import pytest

import amqp

MIB = 1 << 20
SANITIZED_ADDRESS_SPACE = 1 << 40  # bytes; no broker of ours has that much, AddressSanitizer's shadow does

ROUND_TRIPS = 400
P99 = 0.1  # seconds, on a machine that runs sanitizers and the hostile client on the same two cores


def memory_limit(broker):
    """How far RssAnon may grow. AddressSanitizer alone keeps up to 256 MiB of freed memory in quarantine."""
    with open(f"/proc/{broker.pid}/statm", encoding="ascii") as statm:
        pages = int(statm.read().split()[0])
    return 400 * MIB if pages * 4096 > SANITIZED_ADDRESS_SPACE else 48 * MIB


@pytest.fixture
def victim(broker):
    """A broker of its own for each test, so that its memory is that test's doing."""
    coneyd = broker()
    # What the first connections and messages need counts as nobody's fault.
    measure_round_trips(coneyd, 50)
    return coneyd


def measure_round_trips(broker, n, pause=0.0):
    """n times publish to deliver on a connection of its own; the time of each."""
    conn = broker.open()
    ch = conn.channel()
    queue = ch.queue()
    ch.consume(queue, no_ack=True)
    times = []
    for i in range(n):
        since = time.perf_counter()
        ch.publish("", queue, b"%d" % i)
        assert ch.deliver().body == b"%d" % i
        times.append(time.perf_counter() - since)
        time.sleep(pause)
    conn.close()
    return times


@contextlib.contextmanager
def unharmed(broker):
    """What the block starts must neither slow others down nor make the broker grow."""
    before = broker.anonymous_memory()
    yield
    times = sorted(measure_round_trips(broker, ROUND_TRIPS, pause=0.005))
    p99 = times[len(times) * 99 // 100]
    grown = broker.anonymous_memory() - before
    assert p99 < P99, f"p99 is {p99 * 1000:.1f} ms, the worst {times[-1] * 1000:.1f} ms"
    assert grown < memory_limit(broker), f"{grown / MIB:.0f} MiB more than before"


@contextlib.contextmanager
def in_background(function, *args):
    """A process of its own: this one's threads would share the interpreter with the measurement."""
    process = multiprocessing.get_context("fork").Process(target=function, args=args, daemon=True)
    process.start()
    try:
        yield process
        assert process.is_alive(), "the hostile client gave up before the measurement was over"
    finally:
        process.kill()
        process.join()


# --- does not read ---


def consume_without_reading(broker, queue, n, no_ack):
    """n connections that consume and do not read."""
    connections = []
    for _ in range(n):
        conn = broker.open()
        conn.channel().consume(queue, no_ack=no_ack)
        connections.append(conn)
    return connections


@pytest.mark.parametrize("no_ack", [True, False])
def test_consumers_that_never_read(victim, no_ack):
    conn = victim.open()
    ch, pub = conn.channel(), conn.channel(confirm=True)
    queue = ch.queue("big", exclusive=False)
    pub.fill(queue, *[bytes(MIB)] * 100)
    with unharmed(victim):
        stuck = consume_without_reading(victim, queue, 8, no_ack)
    # Back-pressure: what their sockets do not take stays in the queue.
    ready, consumers = ch.counts(queue)
    assert consumers == 8
    assert ready > 20
    for c in stuck:
        c.abort()
    conn.close()


def test_a_consumer_that_reads_again_gets_everything(victim):
    conn = victim.open()
    ch, pub = conn.channel(), conn.channel(confirm=True)
    queue = ch.queue("big", exclusive=False)
    [slow] = consume_without_reading(victim, queue, 1, no_ack=True)
    for i in range(64):
        pub.put("", queue, i.to_bytes(4, "big") * (MIB // 4))
    channel = amqp.Channel(slow, 1)
    assert [int.from_bytes(channel.deliver().body[:4], "big") for _ in range(64)] == list(range(64))
    assert ch.counts(queue) == (0, 1)
    slow.close()
    conn.close()


# --- is slow ---


def drip(address, streams):
    """One byte of each stream per second."""
    sockets = [(socket.create_connection(address), stream) for stream in streams]
    for i in range(60):
        for sock, stream in sockets:
            sock.sendall(stream[i:i + 1])
        time.sleep(1)


def test_one_byte_a_second(victim):
    handshake = amqp.PROTOCOL_HEADER + amqp.method_frame(0, "connection.start-ok", mechanism="PLAIN", response=amqp.plain())
    with in_background(drip, victim.address, [handshake] * 100), unharmed(victim):
        pass


def drip_in_a_session(broker):
    connections = [broker.open() for _ in range(20)]
    for conn in connections:
        conn.channel()
    frames = amqp.publish_frames(1, "", "nowhere", bytes(1000))
    for i in range(60):
        for conn in connections:
            conn.send_bytes(frames[i:i + 1])
        time.sleep(1)


def test_one_byte_a_second_in_a_session(victim):
    with in_background(drip_in_a_session, victim), unharmed(victim):
        pass


# --- floods ---


def flood(broker, frames):
    """Sends the same frames for ever and reads nothing, as fast as the broker takes them."""
    conn = broker.open()
    conn.channel()
    data = frames * (65536 // len(frames) + 1)
    conn.socket.settimeout(None)
    while True:
        conn.socket.sendall(data)


FLOODS = {
    "passive declares": amqp.method_frame(1, "queue.declare", queue="flooded", passive=True),
    "gets": amqp.method_frame(1, "basic.get", queue="flooded"),
    "unroutable publishes": amqp.publish_frames(1, "", "nowhere", b"x" * 100),
    "returned publishes": amqp.publish_frames(1, "", "nowhere", b"x" * 10000, mandatory=True),
    "heartbeats": amqp.encode_frame(amqp.HEARTBEAT, 0, b""),
    "server-named queues": amqp.method_frame(1, "queue.declare", exclusive=True)
                           + amqp.method_frame(1, "queue.delete"),
    "channels": amqp.method_frame(2, "channel.open") + amqp.method_frame(2, "channel.close"),
}


@pytest.mark.parametrize("what", FLOODS)
def test_floods(victim, what):
    conn = victim.open()
    conn.channel().queue("flooded", exclusive=False)
    with in_background(flood, victim, FLOODS[what]), unharmed(victim):
        pass
    conn.close()


# --- talks nonsense ---


def nonsense(random_):
    """Bytes of any value, or a frame whose head is right and whose payload is not."""
    data = random_.randbytes(random_.randrange(1, 2000))
    kind = random_.randrange(4)
    if kind == 0:
        return data
    if kind == 1:
        return amqp.encode_frame(random_.choice((1, 2, 3, 8)), random_.randrange(3), data[:200])
    name = random_.choice(sorted(amqp.METHODS))
    method = bytearray(amqp.encode_method(name))
    if kind == 2:
        for _ in range(3):
            method[random_.randrange(len(method))] = random_.randrange(256)
        return amqp.encode_frame(amqp.METHOD, random_.randrange(3), bytes(method))
    return amqp.encode_frame(amqp.METHOD, 1, bytes(method[:4]) + data[:random_.randrange(40)])


def talk_nonsense(conn, random_):
    """Until the broker has had enough; whether it says so, and how, is its business."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for _ in range(20):
            conn.send_bytes(nonsense(random_))
    conn.abort()


def nonsense_in_the_handshake(broker, random_):
    conn = broker.connect()
    if random_.randrange(2):
        conn.to_start()
    talk_nonsense(conn, random_)


def nonsense_in_a_session(broker, random_):
    conn = broker.open()
    conn.channel(1)
    conn.channel(2)
    talk_nonsense(conn, random_)


def for_ever(function, *args):
    while True:
        function(*args)


@pytest.mark.parametrize("talk", [nonsense_in_the_handshake, nonsense_in_a_session])
def test_random_bytes(victim, talk):
    with in_background(for_ever, talk, victim, random.Random(1)), unharmed(victim):
        random_ = random.Random(2)
        for _ in range(300):
            talk(victim, random_)


def test_connections_that_come_and_go(victim):
    """Resets in all states of a connection leave nothing behind."""
    with unharmed(victim):
        for i in range(300):
            conn = victim.connect()
            conn.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            steps = (conn.to_start, conn.start_ok, lambda: conn.expect("connection.tune"), conn.tune_ok, conn.open)
            for step in steps[:i % 6]:
                step()
            if i % 6 == 5:
                ch = conn.channel()
                ch.send("basic.consume", queue=ch.queue())
                ch.send("basic.publish", routing_key="nowhere")
            conn.abort()


def test_a_large_fan_out_ends_by_itself(conn):
    """One buffer of publishes that is work for many turns of the loop, with nobody else there to keep it turning."""
    ch = conn.channel(confirm=True)
    ch.call("exchange.declare", exchange="fan-out", type="fanout", auto_delete=True)
    for _ in range(500):
        queue = ch.queue(exclusive=True)
        ch.send("queue.bind", queue=queue, exchange="fan-out", nowait=True)
    conn.send_bytes(amqp.publish_frames(ch.number, "fan-out", "", b"x") * 400)
    last = 0
    while last < 400:
        last = ch.expect("basic.ack", timeout=20).delivery_tag
    assert ch.counts(queue) == (400, 0)
