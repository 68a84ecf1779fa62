"""Celery with real workers: prefork pool, results by rpc://, remote control, events."""

import datetime
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from celery import chain, group
from celery.exceptions import TaskRevokedError

from celery_tasks import (
    PREFIX, add, app, fail, fail_at_every_attempt, hold, now, size, succeed_at_third_attempt, who)
from conftest import delete
from support import await_depth

WAIT = 30


class Worker:
    """A worker process of its own, two pool processes below it."""

    def __init__(self, name, *options, **environment):
        self.node = f"{name}@interop"
        self._lines = []
        self._ready = threading.Event()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "celery_tasks", "worker", "--pool", "prefork",
             "--concurrency", "2", "--hostname", self.node, "--loglevel", "INFO", *options],
            cwd=Path(__file__).parent, env={**os.environ, **environment},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self._lines.append(line)
            if line.rstrip().endswith("ready."):
                self._ready.set()
        self._ready.set()

    def log(self):
        return "".join(self._lines)

    def await_ready(self):
        assert self._ready.wait(WAIT) and self.process.poll() is None, self.log()

    def stop(self):
        """A warm shutdown: running tasks finish, and the exit status is 0."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(WAIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            self._reader.join(WAIT)
        return self.process.returncode

    def kill(self):
        """No farewell to the broker; its pool processes end when they find it gone."""
        self.process.kill()
        self.process.wait()


@pytest.fixture
def queue(names):
    """A queue for the workers of one test alone."""
    return names.queue()


@pytest.fixture
def make_worker(names):
    made = []

    def start(*arguments, **environment):
        worker = Worker(*arguments, **environment)
        made.append(worker)
        worker.await_ready()
        return worker

    yield start
    for worker in made:
        if worker.process.poll() is None:
            worker.stop()


@pytest.fixture(scope="module")
def worker(broker):
    """The worker that serves the application's own queue."""
    made = Worker("main")
    made.await_ready()
    yield made
    status = made.stop()
    app.close()
    delete(broker, [PREFIX, f"{PREFIX}.pidbox", f"reply.{PREFIX}.pidbox", f"{PREFIX}.events"])
    assert status == 0, made.log()


@pytest.fixture
def gate(tmp_path):
    """A file that lets held tasks go on; it is there at the latest when the test is over."""
    path = tmp_path / "gate"
    yield path
    path.touch()


def started(node, count):
    """Waits until so many tasks run on the node."""
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        active = app.control.inspect([node], timeout=5).active() or {}
        if len(active.get(node, [])) == count:
            return
    raise AssertionError(f"{count} running tasks expected, there are {active}")


def test_results(worker):
    results = [add.delay(number, 10) for number in range(50)]
    assert [result.get(WAIT) for result in results] == [number + 10 for number in range(50)]
    assert all(result.successful() for result in results)


def test_both_processes_of_the_pool_work(worker, gate):
    held = hold.delay(str(gate))
    other = who.delay().get(WAIT)
    assert other["hostname"] == worker.node
    assert other["pid"] != worker.process.pid
    gate.touch()
    assert held.get(WAIT) == str(gate)


def test_errors(worker):
    result = fail.delay("on purpose")
    with pytest.raises(ValueError, match="on purpose"):
        result.get(WAIT)
    assert result.failed()
    assert "celery_tasks.py" in result.traceback


def test_retries(worker):
    assert succeed_at_third_attempt.delay().get(WAIT) == 2


def test_retries_run_out(worker):
    with pytest.raises(KeyError, match="attempt 2"):
        fail_at_every_attempt.delay().get(WAIT)


def test_countdown(worker):
    earliest = time.time() + 1
    assert now.apply_async(countdown=1).get(WAIT) >= earliest


def test_eta(worker):
    eta = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=1)
    assert now.apply_async(eta=eta).get(WAIT) >= eta.timestamp()


def test_expired_tasks_are_not_run(worker):
    result = now.apply_async(countdown=0.5, expires=0.1)
    with pytest.raises(TaskRevokedError):
        result.get(WAIT)


def test_chain(worker):
    assert chain(add.s(1, 2), add.s(10), add.s(100)).delay().get(WAIT) == 113


def test_group(worker):
    result = group(add.s(number, number) for number in range(20)).delay()
    assert result.get(WAIT) == [2 * number for number in range(20)]


def test_large_argument(worker):
    assert size.delay("x" * 3_000_000).get(WAIT) == 3_000_000


def test_tasks_with_an_eta_do_not_stall_the_worker(worker):
    """A worker holds tasks that are not due yet unacknowledged, and asks for a greater prefetch for
    each. How it asks, kombu decides by the product of the broker's server-properties (Transport.
    qos_semantics_matches_spec in kombu/transport/pyamqp.py): for "RabbitMQ" of the versions 3.3 to
    3.x by basic.qos with global=1; for RabbitMQ 4 and for any other product by basic.qos with
    global=0, and then it counts on the new value to hold for the consumer that already runs.
    Where it does not, the worker stalls here: prefetch 2, 30 tasks not due, and no further one.

    The worker asks only when its event loop turns. With any broker, if a task arrives while it
    waits for qos-ok, that may be as late as its next timer (up to 2 s). A ping turns the loop, and
    each turn lets at least one more task in."""
    seconds = 5
    begin = time.time()
    not_due = [now.apply_async(countdown=seconds) for _ in range(30)]
    immediate = now.apply_async()
    for _ in range(len(not_due) + 1):
        assert app.control.ping([worker.node], timeout=5)
    assert immediate.get(WAIT) < begin + seconds / 2
    assert not any(result.ready() for result in not_due)
    times = [result.get(WAIT) for result in not_due]
    assert min(times) >= begin + seconds
    assert [add.delay(number, 0).get(WAIT) for number in range(5)] == list(range(5))


def test_late_acknowledgement_and_prefetch(make_worker, channel, queue, gate):
    """Two processes, multiplier 1, acknowledged late: the worker takes two tasks, the rest stays in
    the queue for other workers."""
    worker = make_worker("late", "--queues", queue)
    held = [hold.apply_async([str(gate)], queue=queue) for _ in range(5)]
    started(worker.node, 2)
    await_depth(channel, queue, 3)
    gate.touch()
    assert [result.get(WAIT) for result in held] == [str(gate)] * 5
    await_depth(channel, queue, 0)


def test_inspect(worker, gate):
    inspect = app.control.inspect([worker.node], timeout=5)
    assert inspect.ping() == {worker.node: {"ok": "pong"}}
    assert app.control.ping([worker.node], timeout=5) == [{worker.node: {"ok": "pong"}}]
    held = hold.delay(str(gate))
    started(worker.node, 1)
    (active,) = inspect.active()[worker.node]
    assert (active["id"], active["name"]) == (held.id, "celery_tasks.hold")
    assert "celery_tasks.add" in inspect.registered()[worker.node]
    assert [queue["name"] for queue in inspect.active_queues()[worker.node]] == [PREFIX]
    assert inspect.stats()[worker.node]["pool"]["max-concurrency"] == 2
    gate.touch()
    assert held.get(WAIT) == str(gate)


def test_revoke(worker, gate):
    held = [hold.delay(str(gate)) for _ in range(2)]
    started(worker.node, 2)
    revoked = add.delay(1, 1)
    assert app.control.revoke(revoked.id, reply=True, destination=[worker.node], timeout=5)
    assert revoked.id in app.control.inspect([worker.node], timeout=5).revoked()[worker.node]
    gate.touch()
    with pytest.raises(TaskRevokedError):
        revoked.get(WAIT)
    assert [result.get(WAIT) for result in held] == [str(gate)] * 2


def test_revoke_a_running_task(worker, gate):
    """The process of the pool is killed and replaced."""
    held = hold.delay(str(gate))
    started(worker.node, 1)
    app.control.revoke(held.id, terminate=True, signal="SIGKILL")
    with pytest.raises(TaskRevokedError):
        held.get(WAIT)
    assert add.delay(1, 2).get(WAIT) == 3


def test_events(worker):
    """Events go through a topic exchange to queues with x-expires and x-message-ttl."""
    seen = []
    wanted = ["task-received", "task-sent", "task-started", "task-succeeded"]
    with app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection, handlers={"*": seen.append})
        # it has declared its queue when the block is entered, so nothing is missed
        with receiver.consumer_context() as (events, _, _):
            result = add.delay(20, 22)
            deadline = time.monotonic() + WAIT
            while time.monotonic() < deadline:
                events.drain_events(timeout=WAIT)
                got = sorted(event["type"] for event in seen if event.get("uuid") == result.id)
                if got == wanted:
                    break
    assert got == wanted
    assert result.get(WAIT) == 42


def test_warm_shutdown(make_worker, queue, gate):
    """SIGTERM: the task that runs is finished and its result sent, one that waits stays queued."""
    worker = make_worker("warm", "--queues", queue)
    held = [hold.apply_async([str(gate)], queue=queue) for _ in range(2)]
    started(worker.node, 2)
    waiting = add.apply_async([1, 2], queue=queue)
    worker.process.send_signal(signal.SIGTERM)
    while "Warm shutdown" not in worker.log():
        time.sleep(0.02)
    gate.touch()
    assert [result.get(WAIT) for result in held] == [str(gate)] * 2
    assert worker.process.wait(WAIT) == 0
    assert not waiting.ready()
    successor = make_worker("successor", "--queues", queue)
    assert waiting.get(WAIT) == 3
    assert successor.stop() == 0


def test_worker_survives_a_lost_connection(make_worker, relay, queue, gate):
    """The worker comes back by itself, and its unacknowledged task comes back to it."""
    address = f"{relay.host}:{relay.port}"
    worker = make_worker("lost", "--queues", queue, INTEROP_CELERY_ADDRESS=address)
    assert who.apply_async(queue=queue).get(WAIT)["redelivered"] is False
    held = hold.apply_async([str(gate)], queue=queue)
    started(worker.node, 1)
    relay.cut()
    gate.touch()
    assert held.get(WAIT) == str(gate)
    assert add.apply_async([1, 2], queue=queue).get(WAIT) == 3
    # no warm shutdown here: after a reconnect it can take Celery over 30 s, with RabbitMQ as well
    worker.kill()


def test_killed_worker_leaves_its_tasks_to_another(make_worker, queue, gate):
    worker = make_worker("killed", "--queues", queue)
    held = hold.apply_async([str(gate)], queue=queue)
    started(worker.node, 1)
    worker.kill()
    successor = make_worker("heir", "--queues", queue)
    started(successor.node, 1)
    gate.touch()
    assert held.get(WAIT) == str(gate)
    assert successor.stop() == 0
