"""What the broker has promised, and what it has kept: the judge of the crash tests.

The ledger holds one Copy for each message in each queue that it was routed to, and one state for each definition.
Actors write down what they are about to send and what was answered; crash() draws the line that a kill -9 (or an
orderly stop) draws; delivered() and drained() compare what comes back with what may, must and must not come back.

A copy *must* come back when its publish was confirmed (or committed), it is persistent and nobody has begun to take it
away. It *may* come back while an answer is missing, or while its acknowledgement may not have reached the disk yet. It
*must not* once it is settled: acknowledged long enough ago, purged, rolled back, absent from a full drain.

Times are seconds of a clock that stands still while the broker is stopped.
"""

import collections
import struct
import threading
import zlib

# --- bodies ---

PREFIX = struct.Struct(">III")  # run, publisher, number
CHECKSUM = struct.Struct(">I")
MIN_BODY = PREFIX.size + CHECKSUM.size

_FILLER = bytes((i * 7 + (i >> 8) * 13 + (i >> 16)) & 0xFF for i in range(1 << 19))


def make_body(run, publisher, number, label, size):
    """A body of exactly this size (at least MIN_BODY) that says what it is; the label is cut when there is no room."""
    prefix = PREFIX.pack(run, publisher, number)
    rest = label.encode()[:size - MIN_BODY]
    offset = (number * 61) & 0xFFFF
    rest += _FILLER[offset:offset + size - MIN_BODY - len(rest)]
    return prefix + CHECKSUM.pack(zlib.crc32(rest, zlib.crc32(prefix))) + rest


def read_body(body):
    """(run, publisher, number), or None when the body is damaged."""
    if len(body) < MIN_BODY:
        return None
    checksum, = CHECKSUM.unpack_from(body, PREFIX.size)
    if zlib.crc32(memoryview(body)[MIN_BODY:], zlib.crc32(body[:PREFIX.size])) != checksum:
        return None
    return PREFIX.unpack_from(body)


# --- records ---

ABSENT, UNSURE, PRESENT = "absent", "unsure", "present"  # definitions

# Where a copy stands.
UNCOMMITTED, READY, LEAVING, ACKED = "uncommitted", "ready", "leaving", "acknowledged"

# Whether a copy has been shown to a consumer, as far as the broker must remember it.
NEVER, PERHAPS, CERTAINLY = 0, 1, 2

# Why a copy must not come (back), and what it is when it does.
QUEUE_GONE = "deleted with its queue"
REASONS = {
    "acknowledged": "ack",
    "purged": "purge",
    QUEUE_GONE: "delete",
    "rolled back": "tx",
    "refused": "tx",
    "not committed before the kill": "tx",
    "transient, and the broker was restarted": "phantom",
    "missing from a full drain": "phantom",
    "returned": "phantom",
}
_REASON_NUMBERS = {reason: i + 1 for i, reason in enumerate(REASONS)}
_REASON_NAMES = {i: reason for reason, i in _REASON_NUMBERS.items()}

KINDS = {
    "lost": "lost",
    "phantom": "phantom",
    "corrupt": "corrupt",
    "misordered": "misordered",
    "doubled": "doubled",
    "ack": "ack violations",
    "purge": "purge violations",
    "delete": "delete violations",
    "tx": "tx torn",
    "definition": "definitions",
    "flag": "redelivered flags",
    "count": "counts",
    "refused": "refused",
    "stuck": "stuck",
    "process": "process failures",
    "harness": "harness failures",
}

Violation = collections.namedtuple("Violation", "kind round count text")


class Message:
    """One publish. copies: one for each queue that it reaches."""

    __slots__ = ("publisher", "number", "size", "persistent", "exchange", "key", "round", "epoch", "confirmed",
                 "copies")

    def __str__(self):
        return f"{self.publisher}-{self.number}"


class Copy:
    """A message in one queue."""

    __slots__ = ("message", "queue", "state", "sure", "in_doubt", "exposure", "delivered_at", "seen_epoch",
                 "acked_epoch", "acked_at", "acked_by", "settled")

    def __init__(self, message, queue, in_doubt=False):
        self.message, self.queue = message, queue
        self.state = READY
        self.sure = False  # known to be in the queue
        self.in_doubt = in_doubt  # a confirm does not say that it is in this queue
        self.exposure = NEVER
        self.delivered_at = None  # when a consumer first saw it in this epoch
        self.seen_epoch = -1  # the last epoch in which one did
        self.acked_epoch = None
        self.acked_at = None  # when the broker had processed the acknowledgement
        self.acked_by = None  # the transaction
        self.settled = None  # reason

    def must_come(self):
        return self.sure and self.state == READY and self.message.persistent and self.settled is None

    def __str__(self):
        m = self.message
        return f"{m} ({m.size} bytes to '{m.exchange}' '{m.key}' in round {m.round}) in queue '{self.queue.name}'"


class Queue:
    def __init__(self, name):
        self.name = name
        self.state = ABSENT
        self.durable = True
        self.copies = {}  # by publisher, number
        self.past = collections.defaultdict(bytearray)  # publisher -> reason of each number that is settled
        self.bindings = {}  # by exchange, key -> state
        self.leaving_for = None  # publisher whose purge or delete is not answered yet
        self.readers = 0  # consumers that were here in this epoch
        self.bytes = 0


class Tx:
    """A transaction: what it publishes and acknowledges."""

    def __init__(self):
        self.copies, self.acks = [], []
        self.epoch = self.round = None


class Reader:
    """One consumer of a queue, as order is seen from there. strict: it is alone in a quiet queue."""

    def __init__(self, queue, strict):
        self.queue, self.strict = queue, strict
        self.last = {}  # by publisher


class Ledger:
    """All methods may be called from any thread. clock: see the top of the file."""

    def __init__(self, run, clock, lazy_window=1.0):
        self.run, self.clock = run, clock
        self.cuts = False  # the broker may cut connections, with deliveries that nobody has seen yet
        self.lazy_window = lazy_window  # seconds within which a processed ack may be forgotten; None: it always may
        self.round = self.epoch = 0
        self.queues, self.exchanges = {}, {}
        self.in_flight = set()  # messages that are neither confirmed nor refused
        self.unanswered_txs = set()
        self.doubtful_txs = []
        self.publishers = 0
        self.numbers = collections.Counter()
        self.counters = collections.Counter()
        self.violations = []
        self.lock = threading.RLock()

    def violate(self, kind, text, count=1, in_round=None):
        assert kind in KINDS
        with self.lock:
            self.violations.append(Violation(kind, self.round if in_round is None else in_round, count, text))

    def queue(self, name):
        with self.lock:
            return self.queues.setdefault(name, Queue(name))

    # definitions

    def declare_sent(self, queue, durable=True):
        with self.lock:
            queue.durable = durable
            if queue.state == ABSENT:
                queue.state = UNSURE

    def declare_ok(self, queue, count, was_absent=False):
        """was_absent: it was not there when the declare was sent, so it must be empty."""
        with self.lock:
            queue.state = PRESENT
            if was_absent and count > len(queue.copies):
                self.violate("delete", f"queue '{queue.name}' was new and holds {count} messages")

    def exchange_declare_sent(self, name):
        with self.lock:
            if self.exchanges.get(name, ABSENT) == ABSENT:
                self.exchanges[name] = UNSURE

    def exchange_declare_ok(self, name):
        with self.lock:
            self.exchanges[name] = PRESENT

    def exchange_delete_sent(self, name):
        with self.lock:
            self.exchanges[name] = UNSURE
            for queue in self.queues.values():
                for binding in [b for b in queue.bindings if b[0] == name]:
                    self._unsure_binding(queue, binding)

    def exchange_delete_ok(self, name):
        with self.lock:
            self.exchanges[name] = ABSENT
            for queue in self.queues.values():
                for binding in [b for b in queue.bindings if b[0] == name]:
                    queue.bindings[binding] = ABSENT

    def bind_sent(self, queue, exchange, key):
        with self.lock:
            if queue.bindings.get((exchange, key), ABSENT) == ABSENT:
                queue.bindings[exchange, key] = UNSURE
                for message in self.in_flight:
                    if (message.exchange, message.key) == (exchange, key):
                        self._add_copy(message, queue, in_doubt=True)

    def bind_ok(self, queue, exchange, key):
        with self.lock:
            queue.bindings[exchange, key] = PRESENT

    def unbind_sent(self, queue, exchange, key):
        with self.lock:
            self._unsure_binding(queue, (exchange, key))

    def unbind_ok(self, queue, exchange, key):
        with self.lock:
            queue.bindings[exchange, key] = ABSENT

    def _unsure_binding(self, queue, binding):
        if queue.bindings[binding] == PRESENT:
            queue.bindings[binding] = UNSURE
            for message in self.in_flight:
                if (message.exchange, message.key) == binding:
                    for copy in message.copies:
                        copy.in_doubt |= copy.queue is queue

    def found(self, queue, exists):
        """What a passive declare after a restart says about a queue."""
        with self.lock:
            if queue.state == PRESENT and not exists:
                self.violate("definition", f"durable queue '{queue.name}' is gone")
                self._report_lost(queue, "its queue is gone")
            elif queue.state == ABSENT and exists:
                kind = "delete" if queue.durable else "definition"
                self.violate(kind, f"queue '{queue.name}' is there again after its end was confirmed")
            queue.state = PRESENT if exists else ABSENT
            if not exists:
                for copy in list(queue.copies.values()):
                    self._settle(copy, QUEUE_GONE)
                queue.bindings = {binding: ABSENT for binding in queue.bindings}

    def found_exchange(self, name, exists):
        with self.lock:
            expected = self.exchanges[name]
            if expected == PRESENT and not exists:
                self.violate("definition", f"durable exchange '{name}' is gone")
            elif expected == ABSENT and exists:
                self.violate("delete", f"exchange '{name}' is there again after exchange.delete-ok")
            self.exchanges[name] = PRESENT if exists else ABSENT
            if not exists:
                for queue in self.queues.values():
                    for binding in [b for b in queue.bindings if b[0] == name]:
                        queue.bindings[binding] = ABSENT

    def found_route(self, queue, exchange, key, routed):
        """What became of a mandatory message for which this is the only binding."""
        with self.lock:
            expected = queue.bindings[exchange, key]
            if expected == PRESENT and not routed:
                self.violate("definition", f"the binding of '{queue.name}' to '{exchange}' by '{key}' is gone")
            elif expected == ABSENT and routed:
                self.violate("delete", f"the binding of '{queue.name}' to '{exchange}' by '{key}' is there again")
            queue.bindings[exchange, key] = PRESENT if routed else ABSENT

    # publishing

    def publisher(self):
        """A number for one channel that publishes."""
        with self.lock:
            self.publishers += 1
            return self.publishers

    def publish(self, publisher, exchange, key, size, persistent=True, tx=None):
        """Before the message is sent. Returns it and its body."""
        with self.lock:
            m = Message()
            m.publisher, m.exchange, m.key, m.size, m.persistent = publisher, exchange, key, size, persistent
            m.number = self.numbers[publisher]
            self.numbers[publisher] += 1
            m.round, m.epoch, m.confirmed, m.copies = self.round, self.epoch, False, []
            for queue, in_doubt in self._route(exchange, key):
                copy = self._add_copy(m, queue, in_doubt or queue.leaving_for not in (None, publisher))
                if tx is not None:
                    copy.state = UNCOMMITTED
                    tx.copies.append(copy)
            if tx is None:
                self.in_flight.add(m)
        label = f"{m} {exchange} {key} {'persistent' if persistent else 'transient'} {'tx' if tx else ''} "
        return m, make_body(self.run, publisher, m.number, label, size)

    def _route(self, exchange, key):
        """(queue, whether it is unsure) of each queue that may be reached."""
        if exchange == "":
            return [(self.queues[key], self.queues[key].state != PRESENT)]
        return [(queue, queue.bindings[exchange, key] == UNSURE) for queue in self.queues.values()
                if queue.bindings.get((exchange, key), ABSENT) != ABSENT]

    def _add_copy(self, message, queue, in_doubt):
        for copy in message.copies:
            if copy.queue is queue:
                copy.in_doubt |= in_doubt
                return copy
        copy = Copy(message, queue, in_doubt)
        message.copies.append(copy)
        queue.copies[message.publisher, message.number] = copy
        queue.bytes += message.size
        return copy

    def confirmed(self, message):
        with self.lock:
            self.in_flight.discard(message)
            message.confirmed = True
            self.counters["confirmed"] += 1
            for copy in message.copies:
                copy.sure = copy.sure or not copy.in_doubt

    def refused(self, message):
        """basic.nack: it may be in its queues or not."""
        with self.lock:
            self.in_flight.discard(message)
            self.counters["nacked"] += 1

    def returned(self, message):
        """basic.return: it has reached no queue."""
        with self.lock:
            for copy in message.copies:
                self._settle(copy, "returned")

    def outstanding_bytes(self):
        return sum(queue.bytes for queue in list(self.queues.values()))

    # transactions

    def commit_sent(self, tx):
        with self.lock:
            tx.epoch, tx.round = self.epoch, self.round
            self.unanswered_txs.add(tx)
            for copy in tx.copies:
                copy.state = READY
            for copy in tx.acks:
                copy.state, copy.acked_epoch, copy.acked_at, copy.acked_by = ACKED, self.epoch, None, tx

    def commit_ok(self, tx):
        with self.lock:
            self.unanswered_txs.discard(tx)
            self.counters["transactions"] += 1
            for copy in tx.copies:
                copy.sure = copy.sure or not copy.in_doubt
                copy.message.confirmed = True
            self.counters["confirmed"] += len({copy.message for copy in tx.copies})
            self.counters["acked"] += len(tx.acks)
            for copy in tx.acks:
                if copy.acked_by is not tx:
                    self.violate("ack", f"{copy} has come again although its acknowledgement was committed")
                self._settle(copy, "acknowledged")

    def commit_unknown(self, tx):
        """The answer to a commit will not come although the broker still runs."""
        with self.lock:
            if tx in self.unanswered_txs:
                self.unanswered_txs.discard(tx)
                self.doubtful_txs.append(tx)

    def commit_refused(self, tx):
        """The broker has said that nothing of it will happen."""
        with self.lock:
            self.unanswered_txs.discard(tx)
            self.counters["refused"] += 1
            for copy in tx.copies:
                self._settle(copy, "refused")
            for copy in tx.acks:
                if copy.acked_by is tx and copy.state == ACKED:
                    copy.state, copy.acked_epoch, copy.acked_by = READY, None, None

    def rollback_sent(self, tx):
        """From now on the publishes must not come; the acknowledgements have never been."""
        with self.lock:
            self.counters["rollbacks"] += 1
            for copy in tx.copies:
                self._settle(copy, "rolled back")

    # consuming

    def reader(self, queue, strict=False):
        """Before basic.consume or basic.get is sent."""
        with self.lock:
            queue.readers += 1
            return Reader(queue, strict)

    def delivered(self, reader, body, redelivered, message_id=None, persistent=None):
        """Judges a delivery. Returns its copy, or None when it should not have come."""
        with self.lock:
            self.counters["delivered"] += 1
            queue = reader.queue
            ident = read_body(body)
            if ident is None:
                self.violate("corrupt", f"a body of {len(body)} bytes from queue '{queue.name}', id {message_id}: "
                                        f"its checksum is wrong")
                return None
            run, *key = ident
            copy = queue.copies.get(tuple(key)) if run == self.run else None
            if copy is None:
                self._judge_unexpected(queue, *ident)
                return None
            message = copy.message
            if len(body) != message.size or message_id not in (None, str(message)) or \
                    persistent not in (None, message.persistent):
                self.violate("corrupt", f"{copy}: came with {len(body)} bytes, id {message_id}, "
                                        f"persistent {persistent}")
            self._judge_state(copy)
            self._judge_order(reader, copy, redelivered)
            self._judge_flag(copy, redelivered)
            if copy.delivered_at is None:
                copy.delivered_at = self.clock()
            copy.seen_epoch = self.epoch
            if message.epoch < self.epoch:  # it has come from the disk, so there it is
                copy.sure = message.persistent
                copy.in_doubt = False
            return copy

    def _judge_unexpected(self, queue, run, publisher, number):
        past = queue.past.get(publisher, b"")
        name = f"{publisher}-{number} in queue '{queue.name}'"
        if run != self.run or number >= self.numbers.get(publisher, 0):
            self.violate("phantom", f"message {name} of run {run:#x} was never published")
        elif number < len(past) and past[number]:
            reason = _REASON_NAMES[past[number]]
            self.violate(REASONS[reason], f"message {name} has come although it was {reason}")
        else:
            self.violate("phantom", f"message {name} was not published to this queue")

    def _judge_state(self, copy):
        if copy.state == UNCOMMITTED:
            self.violate("tx", f"{copy} has come before tx.commit was sent")
        elif copy.state == ACKED:
            # A commit that is refused gives back what it was to acknowledge, perhaps before its answer is read.
            if copy.acked_epoch == self.epoch and copy.acked_by not in self.unanswered_txs:
                self.violate("ack", f"{copy} has come again after its acknowledgement, without a restart")
            self.counters["duplicated"] += copy.acked_epoch != self.epoch
            copy.state, copy.acked_by = READY, None
        elif copy.state == LEAVING and copy.queue.leaving_for is None:
            copy.state = READY  # the purge has not happened

    def _judge_order(self, reader, copy, redelivered):
        message = copy.message
        if redelivered and not reader.strict:
            return
        last = reader.last.get(message.publisher, -1)
        if message.number == last or (reader.strict and copy.seen_epoch == self.epoch):
            self.violate("doubled", f"{copy} has come twice")
        elif message.number < last:
            self.violate("misordered", f"{copy} has come after {message.publisher}-{last}")
        reader.last[message.publisher] = max(last, message.number)

    def _judge_flag(self, copy, redelivered):
        if redelivered:
            self.counters["redelivered"] += 1
            unseen = self.cuts and copy.queue.readers > 1
            if copy.exposure == NEVER and copy.delivered_at is None and not unseen:
                self.violate("flag", f"{copy} comes redelivered and has never been delivered")
        elif copy.delivered_at is not None:
            self.violate("flag", f"{copy} comes again and is not redelivered")
        elif copy.exposure == CERTAINLY:
            self.violate("flag", f"{copy} was delivered before the restart and is not redelivered")

    def acked(self, copies):
        """Before an acknowledgement (or a reject without requeue) is sent."""
        with self.lock:
            for copy in copies:
                copy.state, copy.acked_epoch, copy.acked_at, copy.acked_by = ACKED, self.epoch, None, None
                self.counters["acked"] += 1

    def acks_processed(self, copies):
        """The broker has answered something that was sent after these acknowledgements."""
        with self.lock:
            for copy in copies:
                if copy.settled is None and copy.state == ACKED:
                    copy.acked_at = self.clock()

    # purge and delete

    def purge_sent(self, queue, publisher):
        """publisher: the number of the publisher whose channel sends the purge, so that its own order is known."""
        with self.lock:
            self._leave(queue, publisher)

    def purge_ok(self, queue):
        with self.lock:
            self.counters["purges"] += 1
            self._left(queue, "purged")

    def delete_sent(self, queue, publisher):
        with self.lock:
            queue.state = UNSURE
            queue.bindings = {b: ABSENT if s == ABSENT else UNSURE for b, s in queue.bindings.items()}
            self._leave(queue, publisher)

    def delete_ok(self, queue):
        with self.lock:
            self.counters["deletes"] += 1
            queue.state = ABSENT
            queue.bindings = {b: ABSENT for b in queue.bindings}
            self._left(queue, QUEUE_GONE)

    def _leave(self, queue, publisher):
        queue.leaving_for = publisher
        for copy in queue.copies.values():
            if copy.state != READY:
                continue
            if copy.message.publisher == publisher or (copy.message.confirmed and not copy.in_doubt) or copy.sure:
                copy.state = LEAVING
            else:
                copy.in_doubt = True

    def leaving_refused(self, queue):
        """The broker has said that the purge or the delete will not happen."""
        with self.lock:
            self.counters["refused"] += 1
            queue.leaving_for = None
            queue.state = PRESENT
            for copy in queue.copies.values():
                if copy.state == LEAVING:
                    copy.state = READY

    def _left(self, queue, reason):
        queue.leaving_for = None
        for copy in [c for c in queue.copies.values() if c.state == LEAVING]:
            self._settle(copy, reason)

    # the line

    def crash(self, at, clean=False, trouble_at=None):
        """The broker has ended at this time of the clock: killed, or (clean) stopped in good order. trouble_at: when
        its store ceased to work."""
        with self.lock:
            horizon = None
            if self.lazy_window is not None:
                horizon = at if clean else at - self.lazy_window
                if trouble_at is not None:
                    horizon = min(horizon, trouble_at - self.lazy_window)
            for queue in self.queues.values():
                queue.leaving_for = None
                for copy in list(queue.copies.values()):
                    self._cross(copy, horizon)
                queue.readers = 0
                if not queue.durable:
                    queue.state = ABSENT
            self.in_flight.clear()
            self.doubtful_txs += self.unanswered_txs
            self.unanswered_txs.clear()
            self.epoch += 1

    def _cross(self, copy, horizon):
        """What a copy is after the end of the broker. Everything that was processed until the horizon is on disk."""
        delivered_at, copy.delivered_at = copy.delivered_at, None
        acked_at, copy.acked_at = copy.acked_at, None  # an ack that may be forgotten now may be so for ever

        def on_disk(when):
            return horizon is not None and when is not None and when <= horizon

        if not copy.message.persistent or not copy.queue.durable:
            self._settle(copy, "transient, and the broker was restarted")
        elif copy.state == UNCOMMITTED:
            self._settle(copy, "not committed before the kill")
        elif copy.state == ACKED and on_disk(acked_at):
            self._settle(copy, "acknowledged")
        elif on_disk(delivered_at):
            copy.exposure = CERTAINLY
        elif copy.queue.readers:
            copy.exposure = max(copy.exposure, PERHAPS)

    def _settle(self, copy, reason):
        if copy.settled is None:
            copy.settled = reason
            queue, message = copy.queue, copy.message
            del queue.copies[message.publisher, message.number]
            queue.bytes -= message.size
            past = queue.past[message.publisher]
            past.extend(bytes(max(0, message.number + 1 - len(past))))
            past[message.number] = _REASON_NUMBERS[reason]

    # drains

    def expect_count(self, queue, count):
        """What message-count says right after a restart."""
        with self.lock:
            must = sum(copy.must_come() for copy in queue.copies.values())
            if not must <= count <= len(queue.copies):
                self.violate("count", f"queue '{queue.name}' holds {count} messages after the restart, expected were "
                                      f"{must} to {len(queue.copies)}")

    def drained(self, queue):
        """A strict reader has seen everything that was in the queue."""
        with self.lock:
            self._report_lost(queue, "missing from a full drain", lambda copy: copy.seen_epoch < self.epoch)
            for copy in [c for c in queue.copies.values() if c.seen_epoch < self.epoch]:
                self._settle(copy, "acknowledged" if copy.state == ACKED else "missing from a full drain")

    def _report_lost(self, queue, why, among=lambda copy: True):
        """One violation for each round in which what is lost was published."""
        lost = collections.defaultdict(list)
        for copy in queue.copies.values():
            if copy.must_come() and among(copy):
                lost[copy.message.round].append(copy)
        for in_round, copies in sorted(lost.items()):
            first = min(copies, key=lambda c: (c.message.publisher, c.message.number))
            self.violate("lost", f"{len(copies)} confirmed messages of round {in_round}, the first is {first}: {why}",
                         len(copies), in_round)
            for copy in copies:
                self._settle(copy, "missing from a full drain")

    def judge_transactions(self):
        """After all queues were drained: of each transaction without an answer, has it happened in whole or not at
        all?"""
        with self.lock:
            for tx in self.doubtful_txs:
                happened = [c for c in tx.copies if self._publish_happened(tx, c) is True] + \
                           [c for c in tx.acks if self._ack_happened(tx, c) is True]
                failed = [c for c in tx.copies if self._publish_happened(tx, c) is False] + \
                         [c for c in tx.acks if self._ack_happened(tx, c) is False]
                self.counters["happened"] += bool(happened)
                self.counters["not happened"] += bool(failed)
                if happened and failed:
                    self.violate("tx", f"a transaction of round {tx.round} is torn: "
                                       f"{self._describe(tx, happened)} happened, {self._describe(tx, failed)} did not",
                                 in_round=tx.round)
            self.doubtful_txs.clear()

    @staticmethod
    def _publish_happened(tx, copy):
        """None when nothing proves it either way."""
        if copy.seen_epoch > tx.epoch:
            return True
        consumed_before = copy.acked_epoch is not None and copy.acked_epoch <= tx.epoch
        if copy.settled == QUEUE_GONE or not copy.message.persistent or consumed_before:
            return None
        return False

    @staticmethod
    def _ack_happened(tx, copy):
        if copy.seen_epoch > tx.epoch:
            return False
        return True if copy.sure and copy.message.persistent and copy.settled != QUEUE_GONE else None

    @staticmethod
    def _describe(tx, copies):
        return ", ".join(("the publish of " if c in tx.copies else "the ack of ") + str(c) for c in copies[:4]) + \
            (f" and {len(copies) - 4} more" if len(copies) > 4 else "")

    # the sum

    def total(self, kind):
        return sum(v.count for v in self.violations if v.kind == kind)

    def failed_rounds(self):
        return {v.round for v in self.violations}
