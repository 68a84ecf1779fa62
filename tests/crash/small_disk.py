"""What coneyd does when its disk is full: a file system of a few megabytes, filled by publishers to the brim.

In each round publishers fill it until they are blocked, refused or kept waiting. In every other round coneyd is killed
then; in the rest consumers must go on and empty the queues, then publishers must get on again, and then it is killed.
After each kill coneyd must start on what is left, and the ledger must agree.
"""

import os
import shutil
import subprocess
import time

import actors

DEADLINE = 60  # seconds for each thing that must happen
NO_PROGRESS = 2  # seconds without a confirm that count as being kept waiting
RESUMED = 50  # confirms that show that publishing goes on
NO_LIMIT = 1 << 40


class SmallDisk:
    """A tmpfs, as a context. Raises OSError when it cannot be mounted."""

    def __init__(self, folder, size):
        self.folder, self.size = folder, size
        self.keep_in = None  # where its files go when they are to be kept

    def __enter__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={self.size},mode=700", "tmpfs", str(self.folder)],
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise OSError(f"cannot mount a tmpfs of {self.size} at {self.folder}: {done.stderr.strip()}")
        return self

    def __exit__(self, *_):
        if self.keep_in is not None:
            shutil.copytree(self.folder, self.keep_in)
        subprocess.run(["umount", str(self.folder)], check=True)

    def state(self):
        s = os.statvfs(self.folder)
        return f"{s.f_bavail * s.f_frsize >> 10} of {s.f_blocks * s.f_frsize >> 10} KiB are free"

    def total(self):
        s = os.statvfs(self.folder)
        return s.f_blocks * s.f_frsize


class Taker(actors.Consumer):
    """Acknowledges everything that comes."""

    def settle(self, n, held):
        taken = [held.popleft() for _ in range(len(held))]
        copies = [copy for _, copy in taken if copy is not None]
        self.ledger.acked(copies)
        self.probes[n].append(copies)
        return [actors.amqp.method_frame(n, "basic.ack", delivery_tag=taken[-1][0], multiple=True),
                actors.amqp.method_frame(n, "basic.qos", prefetch_count=self.prefetch[n])]

    def prepare(self):
        self.patience = dict.fromkeys(self.patience, 1)
        super().prepare()


class Round:
    """One fill, and what comes after it. rngs: a function that makes one."""

    def __init__(self, ledger, broker, disk, rngs, targets, queues):
        self.ledger, self.broker, self.disk, self.rngs = ledger, broker, disk, rngs
        self.targets, self.queues = targets, queues
        self.loads = []

    def load(self, cast):
        load = actors.Load(self.ledger, self.broker.address, cast, NO_LIMIT, NO_LIMIT, NO_LIMIT)
        load.tolerant = True
        load.start()
        self.loads.append(load)
        return load

    def play(self, empty):
        """Returns whether all went well. The broker still runs then."""
        publishing = self.load([actors.Publisher(self.ledger, self.rngs(), self.targets, [20, 100], transient=0)
                                for _ in range(2)])
        if not self.fills_up():
            return False
        if not empty:
            return True
        publishing.backlog_limit = 0
        before = self.ledger.outstanding_bytes()
        self.load([Taker(self.ledger, self.rngs(), self.queues)])
        if not self.until(lambda: self.bytes_left() < before / 10):
            return self.fail(f"consumers do not empty the queues: {self.bytes_left()} bytes of {before} are left")
        confirmed = self.ledger.counters["confirmed"]
        publishing.backlog_limit = NO_LIMIT
        if not self.until(lambda: self.ledger.counters["confirmed"] >= confirmed + RESUMED):
            return self.fail("publishing does not go on after the queues were emptied")
        return True

    def bytes_left(self):
        """Bytes that no consumer has acknowledged."""
        with self.ledger.lock:
            return sum(c.message.size for q in self.ledger.queues.values() for c in q.copies.values() if c.must_come())

    def fills_up(self):
        """Whether publishers are stopped, in whatever way."""
        counters = self.ledger.counters
        start = counters["blocked"], counters["nacked"]
        began = moved = time.monotonic()
        confirmed, published = counters["confirmed"], self.ledger.outstanding_bytes()
        while (counters["blocked"], counters["nacked"]) == start:
            now = time.monotonic()
            if counters["confirmed"] != confirmed:
                confirmed, moved = counters["confirmed"], now
            if now - moved > NO_PROGRESS:
                counters["kept waiting"] += 1
                return True
            if now - began > DEADLINE or self.ledger.outstanding_bytes() - published > 20 * self.disk.total():
                return self.fail("the disk does not fill up")
            self.broker.check_alive()
            time.sleep(0.01)
        return True

    def until(self, condition):
        deadline = time.monotonic() + DEADLINE
        while not condition():
            self.broker.check_alive()
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    def fail(self, text):
        self.ledger.violate("stuck", f"{text} ({self.disk.state()})")
        return False
