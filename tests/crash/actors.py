"""Those who use the broker while it is killed: each has a thread, a connection, and tells the ledger what it does.

What is about to be sent is written down first; an answer counts when it has been read. When the connection ends, what
had arrived until then is still read: a confirm that the broker sent before it was killed is a promise.
"""

import collections
import os
import select
import sys
import threading
import time
import traceback

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "wire"))

import amqp  # noqa: E402

import ledger as books  # noqa: E402

REPLY_TIMEOUT = 60  # seconds until a broker that nobody has killed counts as stuck
PERSISTENT, TRANSIENT = 2, 1


class Refused(Exception):
    """The broker has closed a channel or the connection, or says what it should not. code: its reply code, if any."""

    code = None


NOT_DONE = 506  # reply code for what the broker will not do because its store has failed


class Stuck(Exception):
    """An answer does not come."""


class Link:
    """One connection whose methods come in the order of their arrival, whatever the channel."""

    def __init__(self, address):
        self.conn = amqp.Conn(address).handshake()
        self.conn.socket.settimeout(REPLY_TIMEOUT)
        self.ready = collections.deque()
        self.partial = {}  # channel -> [method, header seen, bytes missing, parts]

    def send(self, data):
        self.conn.send_bytes(data)

    def next(self, timeout):
        """The next method, or None after this many seconds without one."""
        deadline = time.monotonic() + timeout
        while not self.ready:
            left = max(0, deadline - time.monotonic())
            if not select.select([self.conn.socket], [], [], left)[0]:
                return None
            self._receive()
            self._parse()
        return self.ready.popleft()

    def _receive(self):
        try:
            data = self.conn.socket.recv(1 << 18)
        except ConnectionResetError:
            raise amqp.Ended(reset=True) from None
        if not data:
            raise amqp.Ended(reset=False)
        self.conn.data += data

    def _parse(self):
        data, at = self.conn.data, 0
        while len(data) - at >= 8:
            type_, channel = data[at], int.from_bytes(data[at + 1:at + 3], "big")
            size = int.from_bytes(data[at + 3:at + 7], "big")
            if len(data) - at < size + 8:
                break
            assert data[at + 7 + size] == amqp.FRAME_END
            self._frame(type_, channel, bytes(data[at + 7:at + 7 + size]))
            at += size + 8
        del data[:at]

    def _frame(self, type_, channel, payload):
        if type_ == amqp.METHOD:
            method = amqp.decode_method(payload, channel)
            if method.name in amqp.WITH_CONTENT:
                self.partial[channel] = [method, None, []]
            else:
                self.ready.append(method)
            return
        if type_ == amqp.HEARTBEAT:
            return
        method, missing, parts = self.partial[channel]
        if type_ == amqp.HEADER:
            missing = int.from_bytes(payload[4:12], "big")
            method.properties = amqp.decode_properties(payload[12:])
        else:
            missing -= len(payload)
            parts.append(payload)
        self.partial[channel][1] = missing
        if missing == 0:
            method.body = b"".join(parts)
            del self.partial[channel]
            self.ready.append(method)

    def close(self):
        self.conn.abort()


class Client:
    """A connection with the requests that all need. Subclasses see what arrives in on_method()."""

    def __init__(self, ledger, rng):
        self.ledger, self.rng = ledger, rng
        self.link = None
        self.blocked = False

    def connect(self, address):
        self.link = Link(address)

    def send(self, channel, name, **fields):
        self.link.send(amqp.method_frame(channel, name, **fields))

    def wait(self, channel, name, timeout=REPLY_TIMEOUT):
        """Handles what comes until this method does."""
        deadline = time.monotonic() + timeout
        while (method := self.link.next(max(0, deadline - time.monotonic()))) is not None:
            if method.name == name and method.channel == channel:
                return method
            self.handle(method)
        raise Stuck(f"no {name} within {timeout} s")

    def request(self, channel, name, **fields):
        self.send(channel, name, **fields)
        return self.wait(channel, name + "-ok")

    def pump(self, timeout):
        """Handles what has arrived; waits so long for the first of it."""
        while (method := self.link.next(timeout)) is not None:
            self.handle(method)
            timeout = 0

    def handle(self, method):
        if method.name in ("channel.close", "connection.close"):
            refused = Refused(f"{method.name}: {method.reply_code} {method.reply_text}")
            refused.code = method.reply_code
            raise refused
        if method.name in ("connection.blocked", "connection.unblocked"):
            self.blocked = method.name == "connection.blocked"
            self.ledger.counters["blocked"] += self.blocked
        else:
            self.on_method(method)

    def on_method(self, method):
        raise Refused(f"unexpected {method}")

    def publish_frames(self, channel, message, body, mandatory=False):
        properties = {"delivery_mode": PERSISTENT if message.persistent else TRANSIENT, "message_id": str(message)}
        return amqp.publish_frames(channel, message.exchange, message.key, body, properties, mandatory)

    def judge(self, reader, method):
        """Shows a delivery to the ledger."""
        return self.ledger.delivered(reader, method.body, method.redelivered, method.properties.get("message_id"),
                                     method.properties.get("delivery_mode") == PERSISTENT)

    # definitions that last

    def declare_queue(self, channel, queue, durable=True):
        was_absent = queue.state == books.ABSENT
        self.ledger.declare_sent(queue, durable)
        ok = self.request(channel, "queue.declare", queue=queue.name, durable=durable)
        self.ledger.declare_ok(queue, ok.message_count, was_absent)

    def declare_exchange(self, channel, name, type_):
        self.ledger.exchange_declare_sent(name)
        self.request(channel, "exchange.declare", exchange=name, type=type_, durable=True)
        self.ledger.exchange_declare_ok(name)

    def bind(self, channel, queue, exchange, key=""):
        self.ledger.bind_sent(queue, exchange, key)
        self.request(channel, "queue.bind", queue=queue.name, exchange=exchange, routing_key=key)
        self.ledger.bind_ok(queue, exchange, key)


class Load:
    """What the actors of one round share."""

    def __init__(self, ledger, address, actors, byte_budget=0, message_budget=0, backlog_limit=0, kill=None,
                 is_killed=None):
        self.ledger, self.address = ledger, address
        self.bytes_left = byte_budget  # when it is used up bodies are small
        self.messages_left = message_budget  # when it is used up publishers go slowly
        self.backlog_limit = backlog_limit  # bytes in all queues above which publishers wait
        self.kill = kill  # at once, from the thread that calls it
        self.is_killed = is_killed
        self.over = threading.Event()
        self.kill_wanted = threading.Event()  # a little later
        self.connected = threading.Semaphore(0)
        self.tolerant = False  # a refusal is no violation: the store has been made to fail
        self.actors = actors
        self.threads = [threading.Thread(target=actor.run, args=(self,), daemon=True) for actor in actors]

    def start(self):
        for thread in self.threads:
            thread.start()

    def finish(self):
        """After the broker has ended: until everybody has read what had arrived."""
        self.over.set()
        for thread, actor in zip(self.threads, self.actors):
            thread.join(REPLY_TIMEOUT + 10)
            if thread.is_alive():
                self.ledger.violate("harness", f"{type(actor).__name__} does not end")


class Actor(Client):
    """prepare() once, then step() until the connection ends."""

    load = None

    def run(self, load):
        self.load = load
        try:
            try:
                self.connect(load.address)
                self.prepare()
            finally:
                load.connected.release()
            while not load.over.is_set():
                self.step()
        except (amqp.Ended, OSError) as ended:
            if not load.tolerant and not load.is_killed():
                self.ledger.violate("refused", f"{type(self).__name__}: the connection has ended: {ended}")
        except Refused as refused:
            if not load.tolerant:
                self.ledger.violate("refused", f"{type(self).__name__}: {refused}")
        except Stuck as stuck:
            self.ledger.violate("stuck", f"{type(self).__name__}: {stuck}")
        except Exception:  # pylint: disable=broad-except
            self.ledger.violate("harness", f"{type(self).__name__}:\n{traceback.format_exc()}")
        self.read_the_rest()

    def read_the_rest(self):
        """What the broker sent before its end."""
        try:
            while self.link is not None:
                method = self.link.next(REPLY_TIMEOUT)
                if method is None:
                    break
                if method.name not in ("channel.close", "connection.close"):
                    self.on_late_method(method)
        except (amqp.Ended, OSError, Refused):
            pass
        if self.link is not None:
            self.link.close()

    def prepare(self):
        """Opens channels."""

    def step(self):
        raise NotImplementedError

    def on_late_method(self, method):
        """As on_method, when nobody waits for replies any more."""
        self.on_method(method)

    def body_size(self):
        """Most are small, some are large, a few larger than two frames."""
        kind = self.rng.random()
        if kind < 0.7 or self.load.bytes_left <= 0:
            size = self.rng.randint(books.MIN_BODY, 512)
        elif kind < 0.9:
            size = self.rng.randint(512, 4096)
        elif kind < 0.99:
            size = self.rng.randint(4096, 65536)
        else:
            size = 300_000
        self.load.bytes_left -= size
        return size

    def bring_about_the_kill(self):
        """Right after a request has been sent: before the broker has seen it, or while it works."""
        if self.rng.random() < 0.5:
            self.load.kill()
        self.load.kill_wanted.set()

    def there_is_room(self):
        return self.ledger.outstanding_bytes() < self.load.backlog_limit


class ConfirmChannel:
    """A channel in confirm mode: what was published on it and is not answered."""

    def __init__(self, client, number, window=1 << 30):
        self.client, self.number, self.window = client, number, window
        self.publisher = client.ledger.publisher()
        self.tag = 0
        self.unconfirmed = {}  # by delivery tag, ascending

    def open(self):
        self.client.request(self.number, "channel.open")
        self.client.request(self.number, "confirm.select")

    def frames(self, exchange, key, size, persistent=True, mandatory=False):
        """Notes a publish; the caller sends it."""
        message, body = self.client.ledger.publish(self.publisher, exchange, key, size, persistent)
        self.tag += 1
        self.unconfirmed[self.tag] = message
        return self.client.publish_frames(self.number, message, body, mandatory)

    def has_room(self):
        return len(self.unconfirmed) < self.window

    def answered(self, method):
        """basic.ack or basic.nack."""
        if method.multiple:
            tags = [tag for tag in self.unconfirmed if tag <= method.delivery_tag]
        else:
            tags = [method.delivery_tag]
        for tag in tags:
            if tag not in self.unconfirmed:
                raise Refused(f"{method} for something that was not published or is answered already")
            message = self.unconfirmed.pop(tag)
            if method.name == "basic.ack":
                self.client.ledger.confirmed(message)
            else:
                self.client.ledger.refused(message)
                if not self.client.load.tolerant:
                    raise Refused(f"{method} although nothing is wrong with the store")

    def wait_for_confirms(self):
        deadline = time.monotonic() + REPLY_TIMEOUT
        while self.unconfirmed:
            if time.monotonic() > deadline:
                raise Stuck(f"{len(self.unconfirmed)} publishes are not confirmed within {REPLY_TIMEOUT} s")
            self.client.pump(0.05)


class Publisher(Actor):
    """Several channels with windows of their own, to queues and to a fanout exchange."""

    def __init__(self, ledger, rng, targets, windows, transient=0.1, backlog=False):
        super().__init__(ledger, rng)
        self.targets, self.transient, self.backlog = targets, transient, backlog
        self.channels = {n: ConfirmChannel(self, n, window) for n, window in enumerate(windows, 1)}

    def prepare(self):
        for channel in self.channels.values():
            channel.open()

    def step(self):
        frames = []
        if self.there_is_room() and not self.blocked:
            for channel in self.channels.values():
                for _ in range(self.rng.randint(1, 20) if self.load.messages_left > 0 else 1):
                    if not channel.has_room():
                        break
                    exchange, key = self.rng.choice(self.targets)
                    size = max(self.body_size(), 256 if self.backlog else 0)
                    self.load.messages_left -= 1
                    frames.append(channel.frames(exchange, key, size, self.rng.random() >= self.transient))
        if frames:
            self.link.send(b"".join(frames))
        self.pump(0 if frames and self.load.messages_left > 0 else 0.02)

    def on_method(self, method):
        if method.name not in ("basic.ack", "basic.nack"):
            raise Refused(f"unexpected {method}")
        self.channels[method.channel].answered(method)


class Consumer(Actor):
    """Channels that each consume a queue: acks of all kinds, requeues, and some that only hold on."""

    def __init__(self, ledger, rng, queues):
        super().__init__(ledger, rng)
        self.queues = dict(enumerate(queues, 1))
        self.readers = {}
        self.held = {n: collections.deque() for n in self.queues}  # (delivery tag, copy) not settled yet
        self.probes = {n: collections.deque() for n in self.queues}  # copies acked before each basic.qos
        self.prefetch = {n: rng.choice((1, 5, 20, 50, 200)) for n in self.queues}
        self.patience = {n: rng.choice((1, 1, 3, 10, 40, 200, None)) for n in self.queues}  # held before it settles

    def prepare(self):
        for n, queue in self.queues.items():
            self.request(n, "channel.open")
            self.request(n, "basic.qos", prefetch_count=self.prefetch[n])
            self.readers[n] = self.ledger.reader(queue)
            self.send(n, "basic.consume", queue=queue.name, consumer_tag=f"c{n}")
            self.wait(n, "basic.consume-ok")

    def step(self):
        self.pump(0.02)
        frames = []
        for n, held in self.held.items():
            if self.patience[n] is not None and len(held) >= min(self.patience[n], self.prefetch[n]):
                frames += self.settle(n, held)
        if frames:
            self.link.send(b"".join(frames))

    def settle(self, n, held):
        """Frames that settle some of what a channel holds; a basic.qos behind them shows when they are processed."""
        how = self.rng.random()
        if how < 0.08:  # back to the queue, with multiple or singly
            tag, _ = held[-1]
            held.clear()
            return [amqp.method_frame(n, "basic.nack", delivery_tag=tag, multiple=True, requeue=True)]
        if how < 0.12:
            tag, _ = held.pop()
            return [amqp.method_frame(n, "basic.reject", delivery_tag=tag, requeue=True)]
        if how < 0.5:  # multiple, up to somewhere
            count = self.rng.randint(1, len(held))
            taken = [held.popleft() for _ in range(count)]
            frames = [amqp.method_frame(n, "basic.ack", delivery_tag=taken[-1][0], multiple=True)]
        else:
            taken = [held.popleft() for _ in range(len(held))]
            self.rng.shuffle(taken)
            name = "basic.reject" if how > 0.97 else "basic.ack"
            frames = [amqp.method_frame(n, name, delivery_tag=tag) for tag, _ in taken]
        copies = [copy for _, copy in taken if copy is not None]
        self.ledger.acked(copies)
        self.probes[n].append(copies)
        frames.append(amqp.method_frame(n, "basic.qos", prefetch_count=self.prefetch[n]))
        return frames

    def on_method(self, method):
        if method.name == "basic.deliver":
            copy = self.judge(self.readers[method.channel], method)
            self.held[method.channel].append((method.delivery_tag, copy))
        elif method.name == "basic.qos-ok":
            self.ledger.acks_processed(self.probes[method.channel].popleft())
        else:
            raise Refused(f"unexpected {method}")


class TxActor(Actor):
    """Transactions that publish to several queues and acknowledge what comes from one of them."""

    CHANNEL = 1

    def __init__(self, ledger, rng, queues, transient=0.05, kill_at_commit=None):
        super().__init__(ledger, rng)
        self.queues, self.transient, self.kill_at_commit = queues, transient, kill_at_commit
        self.publisher = ledger.publisher()
        self.source = rng.choice(queues)
        self.held = collections.deque()
        self.reader = self.tx = None
        self.commits = 0

    def prepare(self):
        self.request(self.CHANNEL, "channel.open")
        self.request(self.CHANNEL, "tx.select")
        self.request(self.CHANNEL, "basic.qos", prefetch_count=40)
        self.reader = self.ledger.reader(self.source)
        self.send(self.CHANNEL, "basic.consume", queue=self.source.name, consumer_tag="tx")
        self.wait(self.CHANNEL, "basic.consume-ok")

    def step(self):
        self.pump(0)
        tx, frames = books.Tx(), []
        if self.there_is_room():
            for queue in self.rng.sample(self.queues, self.rng.randint(2, len(self.queues))):
                for _ in range(self.rng.choice((1, 1, 1, 2, 5, 20))):
                    frames.append(self.publish(tx, queue))
        taken, ack_frames = self.take(tx)
        frames += ack_frames
        if self.rng.random() < 0.15:
            self.ledger.rollback_sent(tx)
            frames.append(amqp.method_frame(self.CHANNEL, "tx.rollback"))
            self.link.send(b"".join(frames))
            self.wait(self.CHANNEL, "tx.rollback-ok")
            self.held.extendleft(reversed(taken))
        elif frames:
            self.commit(tx, frames)
        else:
            self.pump(0.02)

    def publish(self, tx, queue):
        message, body = self.ledger.publish(self.publisher, "", queue.name, self.body_size(),
                                            self.rng.random() >= self.transient, tx)
        return self.publish_frames(self.CHANNEL, message, body)

    def take(self, tx):
        """Acknowledges some of what is held, singly or with multiple."""
        taken = [self.held.popleft() for _ in range(self.rng.randint(0, len(self.held)))]
        tx.acks = [copy for _, copy in taken if copy is not None]
        if taken and self.rng.random() < 0.5:
            return taken, [amqp.method_frame(self.CHANNEL, "basic.ack", delivery_tag=taken[-1][0], multiple=True)]
        return taken, [amqp.method_frame(self.CHANNEL, "basic.ack", delivery_tag=tag) for tag, _ in taken]

    def commit(self, tx, frames):
        if self.rng.random() < 0.3:  # publishes and acks are there for a while before the commit comes
            self.link.send(b"".join(frames))
            frames = []
            self.pump(self.rng.uniform(0, 0.005))
        self.tx = tx
        self.ledger.commit_sent(tx)
        self.link.send(b"".join(frames) + amqp.method_frame(self.CHANNEL, "tx.commit"))
        self.commits += 1
        if self.commits == self.kill_at_commit:
            self.bring_about_the_kill()
        try:
            self.wait(self.CHANNEL, "tx.commit-ok")
            self.ledger.commit_ok(tx)
            self.tx = None
        except Refused as refused:
            if refused.code == NOT_DONE:
                self.ledger.commit_refused(tx)
            else:
                self.ledger.commit_unknown(tx)
            raise

    def on_method(self, method):
        if method.name != "basic.deliver":
            raise Refused(f"unexpected {method}")
        self.held.append((method.delivery_tag, self.judge(self.reader, method)))

    def on_late_method(self, method):
        if method.name == "tx.commit-ok":
            self.ledger.commit_ok(self.tx)
        elif method.name == "basic.deliver":
            self.on_method(method)


class Emptier(Actor):
    """Publishes to a queue of its own, which may be bound to a fanout, and empties it as a whole."""

    def __init__(self, ledger, rng, queue, kill_at=None):
        super().__init__(ledger, rng)
        self.queue, self.kill_at = queue, kill_at
        self.channel = ConfirmChannel(self, 1)
        self.requests = 0
        self.asked = False

    def prepare(self):
        self.channel.open()

    def publish(self, at_most):
        frames = [self.channel.frames("", self.queue.name, self.body_size(), self.rng.random() >= 0.1)
                  for _ in range(self.rng.randint(0, at_most))]
        if frames:
            self.link.send(b"".join(frames))

    def ask(self, name):
        """Sends the request whose answer may be too late to come."""
        self.asked = True
        self.send(1, name, queue=self.queue.name)
        self.requests += 1
        if self.requests == self.kill_at:
            self.bring_about_the_kill()

    def answer(self, name):
        try:
            self.wait(1, name)
        except Refused as refused:
            if refused.code == NOT_DONE:
                self.ledger.leaving_refused(self.queue)
                self.asked = False
            raise
        self.asked = False

    def on_method(self, method):
        if method.name not in ("basic.ack", "basic.nack"):
            raise Refused(f"unexpected {method}")
        self.channel.answered(method)


class Purger(Emptier):
    kind = "purge"

    def step(self):
        self.publish(30)
        if self.rng.random() < 0.5:
            self.channel.wait_for_confirms()
        self.ledger.purge_sent(self.queue, self.channel.publisher)
        self.ask("queue.purge")
        if self.rng.random() < 0.5:  # what is sent behind a purge is not purged
            self.publish(10)
        self.answer("queue.purge-ok")
        self.ledger.purge_ok(self.queue)
        self.publish(5)

    def on_late_method(self, method):
        if method.name == "queue.purge-ok":
            self.asked = False
            self.ledger.purge_ok(self.queue)
        else:
            self.on_method(method)


class Deleter(Emptier):
    kind = "delete"

    def __init__(self, ledger, rng, queue, exchange, kill_at=None):
        super().__init__(ledger, rng, queue, kill_at)
        self.exchange = exchange

    def step(self):
        if self.queue.state != books.PRESENT:
            self.declare_queue(1, self.queue)
            if self.rng.random() < 0.6:
                self.bind(1, self.queue, self.exchange)
        self.publish(30)
        if self.rng.random() < 0.5:
            self.channel.wait_for_confirms()
        else:
            self.pump(self.rng.uniform(0, 0.01))
        self.ledger.delete_sent(self.queue, self.channel.publisher)
        self.ask("queue.delete")
        self.answer("queue.delete-ok")
        self.ledger.delete_ok(self.queue)

    def on_late_method(self, method):
        if method.name == "queue.delete-ok":
            self.asked = False
            self.ledger.delete_ok(self.queue)
        elif method.name in ("basic.ack", "basic.nack"):
            self.channel.answered(method)
        # A declare-ok or bind-ok that nobody waits for leaves the definition unsure.


class Definer(Actor):
    """Declares, binds, unbinds and deletes queues and direct exchanges at random, one request at a time."""

    def __init__(self, ledger, rng, queues, exchanges, fleeting):
        super().__init__(ledger, rng)
        self.queues, self.exchanges, self.fleeting = queues, exchanges, fleeting
        self.publisher = ledger.publisher()

    def prepare(self):
        self.request(1, "channel.open")
        self.declare_queue(1, self.fleeting, durable=False)

    def step(self):
        queue, exchange = self.rng.choice(self.queues), self.rng.choice(self.exchanges)
        key = queue.name
        present = books.PRESENT
        if queue.state != present:
            self.declare_queue(1, queue)
        elif self.ledger.exchanges[exchange] != present:
            self.declare_exchange(1, exchange, "direct")
        elif queue.bindings.get((exchange, key)) != present:
            self.bind(1, queue, exchange, key)
        else:
            self.rng.choice((self.unbind, self.unbind, self.delete_queue, self.delete_exchange))(queue, exchange)
        self.pump(0.002)

    def unbind(self, queue, exchange):
        self.ledger.unbind_sent(queue, exchange, queue.name)
        self.request(1, "queue.unbind", queue=queue.name, exchange=exchange, routing_key=queue.name)
        self.ledger.unbind_ok(queue, exchange, queue.name)

    def delete_queue(self, queue, _):
        self.ledger.delete_sent(queue, self.publisher)
        self.request(1, "queue.delete", queue=queue.name)
        self.ledger.delete_ok(queue)

    def delete_exchange(self, _, exchange):
        self.ledger.exchange_delete_sent(exchange)
        self.request(1, "exchange.delete", exchange=exchange)
        self.ledger.exchange_delete_ok(exchange)

    def on_late_method(self, method):
        """An answer that comes too late leaves the definition unsure, which is no promise."""


class Inspector(Client):
    """Looks at a broker that nobody else uses."""

    def __init__(self, ledger, rng, address, tolerant=False):
        super().__init__(ledger, rng)
        self.load = Load(ledger, address, [])
        self.load.tolerant = tolerant
        self.connect(address)
        self.channel = ConfirmChannel(self, 1)
        self.channel.open()
        self.request(2, "channel.open")
        self.reader = None
        self.deliveries = []  # (delivery tag, copy)
        self.returned = 0

    def on_method(self, method):
        if method.name in ("basic.ack", "basic.nack"):
            self.channel.answered(method)
        elif method.name == "basic.return":
            self.returned += 1
        elif method.name == "basic.deliver":
            self.deliveries.append((method.delivery_tag, self.judge(self.reader, method)))
        else:
            raise Refused(f"unexpected {method}")

    def passive(self, kind, name):
        """The answer to a passive declare, or None."""
        self.send(2, kind + ".declare", **{kind: name, "passive": True})
        deadline = time.monotonic() + REPLY_TIMEOUT
        while (method := self.link.next(max(0, deadline - time.monotonic()))) is not None:
            if method.name == kind + ".declare-ok":
                return method
            if method.name == "channel.close" and method.reply_code == 404:
                self.send(2, "channel.close-ok")
                self.request(2, "channel.open")
                return None
            self.handle(method)
        raise Stuck(f"no answer to a passive declare of {kind} '{name}' within {REPLY_TIMEOUT} s")

    def check_definitions(self):
        for name in self.ledger.exchanges:
            self.ledger.found_exchange(name, self.passive("exchange", name) is not None)
        for queue in self.ledger.queues.values():
            ok = self.passive("queue", queue.name)
            self.ledger.found(queue, ok is not None)
            if ok is not None:
                self.ledger.expect_count(queue, ok.message_count)

    def check_routes(self, queues, exchanges):
        """By a message each, which stays in the queue when it is routed."""
        for queue in queues:
            for exchange in exchanges:
                if queue.state == books.PRESENT and self.ledger.exchanges[exchange] == books.PRESENT and \
                        (exchange, queue.name) in queue.bindings:
                    before = self.returned
                    self.link.send(self.channel.frames(exchange, queue.name, 64, mandatory=True))
                    message = self.channel.unconfirmed[self.channel.tag]
                    self.channel.wait_for_confirms()
                    if self.returned > before:
                        self.ledger.returned(message)
                    self.ledger.found_route(queue, exchange, queue.name, self.returned == before)

    def prove_alive(self, queue):
        """A broker that never confirms keeps every promise."""
        self.link.send(self.channel.frames("", queue.name, 64))
        self.channel.wait_for_confirms()

    def drain(self, queue, take):
        """Consumes everything that a quiet queue holds. take: acknowledges it; otherwise it stays unacknowledged."""
        n = self.request(2, "queue.declare", queue=queue.name, passive=True).message_count
        self.reader, self.deliveries = self.ledger.reader(queue, strict=True), []
        acked = 0
        self.request(2, "basic.consume", queue=queue.name, consumer_tag="drain")
        deadline = time.monotonic() + REPLY_TIMEOUT
        while len(self.deliveries) < n and time.monotonic() < deadline:
            self.pump(0.5)
            if take and len(self.deliveries) - acked >= 1000:
                acked = self.ack_drained(acked)
        self.request(2, "basic.cancel", consumer_tag="drain")
        if len(self.deliveries) != n:
            self.ledger.violate("count", f"queue '{queue.name}' gave {len(self.deliveries)} messages, its "
                                         f"message-count was {n}")
        if take:
            self.ack_drained(acked)
            left = self.request(2, "queue.declare", queue=queue.name, passive=True).message_count
            if left:
                self.ledger.violate("count", f"queue '{queue.name}' holds {left} messages after a full drain")
            self.ledger.acks_processed([copy for _, copy in self.deliveries if copy is not None])
        self.ledger.drained(queue)
        return len(self.deliveries)

    def ack_drained(self, acked):
        """Acknowledges what came after the first `acked` deliveries."""
        if acked < len(self.deliveries):
            self.ledger.acked([copy for _, copy in self.deliveries[acked:] if copy is not None])
            self.send(2, "basic.ack", delivery_tag=self.deliveries[-1][0], multiple=True)
        return len(self.deliveries)
