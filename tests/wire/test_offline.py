"""coneyd --check, --dump and --compact: what they say about a data directory is what the next start finds.

Damage is done to bytes that are found by what is around them, see docs/storage-format.md. A page of the database that was
written anew may be in the file twice, so that every place with the same bytes is changed.
"""

import contextlib
import json
import os
import re
import shutil
import struct
import subprocess

import pytest

from conftest import REFERENCE_PORT, Coneyd

pytestmark = pytest.mark.skipif(REFERENCE_PORT is not None, reason="needs a coneyd with data of its own")

TIMEOUT = 60


def run(*arguments, **options):
    return subprocess.run([os.environ["CONEYD"], *map(str, arguments)], capture_output=True, text=True,
                          timeout=TIMEOUT, check=False, **options)


class Directory:
    """A data directory, and the coneyd on it, if there is one."""

    def __init__(self, folder):
        self.folder, self.data = folder, folder / "data"
        self.store = self.data / "store"
        self.coneyd = None

    # with a broker

    def start(self):
        (self.folder / "ready").unlink(missing_ok=True)
        self.coneyd = Coneyd(self.folder, {})

    def stop(self):
        coneyd, self.coneyd = self.coneyd, None
        coneyd.stop()

    def kill(self):
        coneyd, self.coneyd = self.coneyd, None
        coneyd.process.kill()
        coneyd.process.wait()

    @contextlib.contextmanager
    def channel(self):
        """A channel in confirm mode of a broker that is stopped afterwards."""
        self.start()
        connection = self.coneyd.open()
        yield connection.channel(confirm=True)
        connection.close()
        self.stop()

    # without

    def check(self, status=0):
        """The lines of the report."""
        done = run("--check", self.data)
        assert done.returncode == status, done
        return done.stdout.splitlines()

    def problems(self):
        """What is wrong, the last line apart, whose number must be right."""
        lines = self.check(1)
        found = [line for line in lines[:-1] if not re.match(r"[a-z -]+: \d", line)]
        assert lines[-1] == f"{len(found)} problem" + "s" * (len(found) != 1), lines
        return found

    def dump(self, status=0):
        done = run("--dump", self.data)
        assert done.returncode == status, done
        return json.loads(done.stdout)

    def damage(self, pattern, where, file="data.mdb", times=None):
        """Changes a byte of all that matches; `where` says which."""
        path = self.store / file
        data = bytearray(path.read_bytes())
        places = [where(m) for m in re.finditer(pattern, bytes(data), re.DOTALL)]
        assert places and (times is None or len(places) == times), places
        for at in places:
            data[at] ^= 0x10
        path.write_bytes(data)

    def definition(self, name):
        """Id of the queue or exchange of this name."""
        data = (self.store / "data.mdb").read_bytes()
        found = {m.group(1) for m in re.finditer(named(name), data, re.DOTALL)}
        assert len(found) == 1, found
        return struct.unpack(">Q", found.pop())[0]


def named(name):
    """The row of a queue or exchange: id, version, kind, virtual host, name."""
    name = name.encode()
    return rb"(\0{4}.{4})\x01[qx]\0{4}.{4}" + re.escape(bytes([len(name)]) + name)


@pytest.fixture
def directory(tmp_path):
    made = Directory(tmp_path)
    yield made
    if made.coneyd is not None:
        made.kill()


def publish(ch, key, messages, exchange="", **properties):
    """Until all of them are confirmed."""
    waiting = set()
    for body in messages:
        ch.publish(exchange, key, body, properties={"delivery_mode": 2, **properties})
        waiting.add(ch.published)
    while waiting:
        ack = ch.expect("basic.ack")
        waiting -= {tag for tag in waiting if tag == ack.delivery_tag or ack.multiple and tag < ack.delivery_tag}


def total(lines, what):
    return next(line for line in lines if line.startswith(what + ": "))


def bodies(n, size=40):
    """n of them, none of which is part of another."""
    return [b"<body %06d>" % i + b"." * size for i in range(n)]


def fill(ch, queue="offline", n=250):
    ch.call("queue.declare", queue=queue, durable=True)
    publish(ch, queue, bodies(n))


# --- sound ones ---


def test_check_of_a_sound_directory(directory):
    with directory.channel() as ch:
        fill(ch)
        ch.call("exchange.declare", exchange="x", type="topic", durable=True)
        ch.call("queue.bind", queue="offline", exchange="x", routing_key="a.#")
        ch.call("queue.declare", queue="transient")
    lines = directory.check()
    assert lines[-1] == "sound"
    assert total(lines, "definitions") == "definitions: 1 vhosts, 1 users, 1 exchanges, 1 queues, 1 bindings"
    n_bytes = sum(len(body) for body in bodies(250))
    assert re.fullmatch(f"messages: 250 with {n_bytes} bytes in [0-9]+ chunks", total(lines, "messages"))
    assert total(lines, "write-ahead log").startswith("write-ahead log: 0 batches")


def test_check_writes_nothing(directory):
    with directory.channel() as ch:
        fill(ch, n=10)

    def everything():
        return {path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes())
                for path in directory.data.rglob("*")}

    before = everything()
    directory.check()
    directory.dump()
    assert everything() == before


def test_what_settles_under_load_is_sound_whenever_it_is_killed(directory):
    """Acknowledgements, purges and deletions leave nothing behind that --check would call a problem."""
    for turn in range(6):
        directory.start()
        connection = directory.coneyd.open()
        ch = connection.channel(confirm=True)
        for name in ("a", "b", "c"):
            ch.call("queue.declare", queue=name, durable=True)
            ch.call("queue.bind", queue=name, exchange="amq.fanout")
        publish(ch, "", bodies(200) + [b"x" * 70000] * 3, exchange="amq.fanout")
        ch.call("basic.consume", queue="a", consumer_tag="t")
        for i in range(50 + 20 * turn):
            tag = ch.expect("basic.deliver").delivery_tag
            if i % 3 != 2:
                ch.send("basic.ack", delivery_tag=tag)
        # On a connection of its own, since deliveries go on here.
        other = directory.coneyd.open()
        oc = other.channel(confirm=True)
        if turn % 2 == 0:
            oc.call("queue.purge", queue="b")
        if turn % 3 == 0:
            oc.call("queue.delete", queue="c")
        publish(oc, "a", bodies(5))
        directory.kill()
        connection.abort()
        other.abort()
        assert directory.check()[-1] == "sound"


# --- what is refused ---


def test_directory_in_use(directory):
    directory.start()
    for option in ("--check", "--dump", "--compact"):
        done = run(option, directory.data)
        assert (done.returncode, done.stdout) == (2, "")
        assert f"the data directory {directory.data} is in use by another process" in done.stderr
    second = run("--data-dir", directory.data, "--set", "listeners.tcp.default=127.0.0.1:0")
    assert second.returncode == 1
    assert f"the data directory {directory.data} is in use by another process" in second.stderr
    directory.stop()
    directory.check()


@pytest.mark.parametrize("option", ["--check", "--dump", "--compact"])
def test_nothing_to_look_at(option, tmp_path):
    done = run(option, tmp_path / "nowhere")
    assert (done.returncode, done.stdout) == (2, "")
    assert "nowhere" in done.stderr and "No such file or directory" in done.stderr
    done = run(option, tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no store" in done.stderr
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    done = run(option, tmp_path / "file")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Not a directory" in done.stderr


def test_usage_errors(tmp_path):
    for arguments in (["--check"], ["--check", tmp_path, "--dump", tmp_path], ["--compact", tmp_path, tmp_path]):
        done = run(*arguments)
        assert done.returncode == 64
        assert "usage: coneyd" in done.stderr


def test_newer_format(directory):
    with directory.channel() as ch:
        fill(ch, n=1)
    path = directory.store / "data.mdb"
    data = path.read_bytes()
    row = b"format" + b"\x01" + struct.pack(">I", 1)
    assert row in data
    path.write_bytes(data.replace(row, b"format" + b"\x02" + struct.pack(">I", 2)))
    for arguments, status in ((["--check", directory.data], 2), (["--dump", directory.data], 2),
                              (["--compact", directory.data], 2), (["--data-dir", directory.data], 1)):
        done = run(*arguments)
        assert done.returncode == status, done
        assert "the store has format 2, written by a newer version of this program; this one reads format 1" \
            in done.stderr


def test_other_page_size(directory):
    """As from a machine with larger pages: LMDB's two meta pages say so, and the second one is where it is there."""
    with directory.channel() as ch:
        fill(ch, n=1)
    path = directory.store / "data.mdb"
    data = bytearray(path.read_bytes())
    for page in (0, 4096):
        assert struct.unpack_from("<I", data, page + 40) == (4096,)
        struct.pack_into("<I", data, page + 40, 8192)
    path.write_bytes(data[:4096] + bytes(4096) + data[4096:])
    for arguments, status in ((["--check", directory.data], 2), (["--dump", directory.data], 2),
                              (["--compact", directory.data], 2), (["--data-dir", directory.data], 1)):
        done = run(*arguments)
        assert done.returncode == status, done
        assert "has pages of 8192 bytes, those of this machine have 4096" in done.stderr


def test_read_only_directory(directory):
    """Another user, who may read: enough to look, not to serve."""
    with directory.channel() as ch:
        fill(ch, n=3)
    paths = [directory.data, *directory.data.rglob("*")]
    modes = {path: path.stat().st_mode for path in [*paths, *directory.data.parents]}
    # Root may write anywhere, so that it has to be somebody else.
    other = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []

    def as_other(*arguments):
        return subprocess.run([*other, os.environ["CONEYD"], *map(str, arguments)], capture_output=True, text=True,
                              timeout=TIMEOUT, check=False)

    try:
        for path in paths:
            path.chmod(0o555 if path.is_dir() else 0o444)
        for path in directory.data.parents:
            if path.stat().st_uid == os.geteuid():
                path.chmod(modes[path] | 0o011)
        done = as_other("--check", directory.data)
        assert done.returncode == 0, done
        assert done.stdout.splitlines()[-1] == "sound"
        for arguments, status in ((["--compact", directory.data], 2), (["--data-dir", directory.data], 1)):
            done = as_other(*arguments)
            assert done.returncode == status, done
            assert f"cannot open {directory.data}/lock: Permission denied" in done.stderr
    finally:
        for path, mode in modes.items():
            if path.stat().st_mode != mode:
                path.chmod(mode)


# --- damage ---


def consume_all(ch, queue):
    got = []
    while True:
        ch.send("basic.get", queue=queue, no_ack=True)
        reply = ch.conn.next_method(ch.number)
        if reply.name == "basic.get-empty":
            return got
        got.append(reply.body)


def test_damaged_messages(directory):
    with directory.channel() as ch:
        fill(ch)
    for i in (0, 17, 249):
        directory.damage(re.escape(b"<body %06d>" % i), lambda m: m.start() + 5)
    assert directory.problems() == [
        "3 of 250 messages of queue 'offline' in vhost '/' are damaged and will be skipped"]
    dumped = directory.dump(1)["messages"]
    assert len(dumped) == 247
    with directory.channel() as ch:
        got = consume_all(ch, "offline")
    assert got == [body for i, body in enumerate(bodies(250)) if i not in (0, 17, 249)]
    assert directory.check()[-1] == "sound"


def test_damaged_definition_of_a_queue(directory):
    with directory.channel() as ch:
        fill(ch, "kept", 3)
        fill(ch, "lost", 5)
        ch.call("queue.bind", queue="lost", exchange="amq.direct", routing_key="k")
    number = directory.definition("lost")
    directory.damage(named("lost"), lambda m: m.end() - 1)
    found = directory.problems()
    assert found[0] == f"definition {number} is damaged and will be left out"
    assert re.fullmatch(r"definition \d+, the binding from 'amq.direct' to 'lost' with key 'k', will be left out: "
                        "the queue that it leads to is not there", found[1])
    assert re.fullmatch(rf"\d+ chunks with 5 messages are of queue {number}, whose definition is lost: they will be "
                        "kept, out of reach", found[2])
    assert len(found) == 3
    dump = directory.dump(1)
    assert [queue["name"] for queue in dump["queues"]] == ["kept"]
    assert [message["queue"] for message in dump["messages"]] == ["kept"] * 3
    assert dump["bindings"] == []
    with directory.channel() as ch:
        assert len(consume_all(ch, "kept")) == 3


def test_damaged_dead_set_and_queue_state(directory):
    with directory.channel() as ch:
        fill(ch, n=10)
        for _ in range(4):
            ch.send("basic.get", queue="offline")
            tag = ch.expect("basic.get-ok").delivery_tag
        ch.send("basic.ack", delivery_tag=tag)
        # Its answer comes after the acknowledgement was taken; the stop writes what is left to write.
        ch.call("queue.declare", queue="offline", durable=True)
    assert re.match("messages: 9 with", total(directory.check(), "messages"))
    number = struct.pack(">Q", directory.definition("offline"))
    # Key (queue, first), version, how many are dead.
    directory.damage(re.escape(number) + rb"\0{7}.\x01\0\0\0\x01", lambda m: m.end() - 1)
    # Key, version, last one that was delivered.
    directory.damage(re.escape(number) + rb"\x01" + re.escape(struct.pack(">Q", 4)), lambda m: m.end() - 1)
    found = directory.problems()
    assert re.fullmatch(r"the state of queue \d+ \('offline'\) is damaged: .*", found[0])
    assert re.fullmatch(r"a dead set of queue \d+ is damaged: up to \d+ acknowledged messages come again", found[1])
    assert len(found) == 2
    messages = directory.dump(1)["messages"]
    assert len(messages) == 10 and not any(m["redelivered"] for m in messages)
    with directory.channel() as ch:
        assert consume_all(ch, "offline") == bodies(10)


def test_damaged_shared_message(directory):
    with directory.channel() as ch:
        for name in ("a", "b"):
            ch.call("queue.declare", queue=name, durable=True)
            ch.call("queue.bind", queue=name, exchange="amq.fanout")
        publish(ch, "", bodies(3, 100000) + bodies(2), exchange="amq.fanout")
    assert total(directory.check(), "shared messages") == "shared messages: 3"
    directory.damage(re.escape(b"<body 000001>" + b"." * 1000), lambda m: m.start() + 500)
    found = directory.problems()
    assert found[:2] == [f"1 of 5 messages of queue '{name}' in vhost '/' refer to shared messages that are damaged or "
                         "missing, and will be skipped" for name in "ab"]
    assert re.fullmatch(r"shared message \d+, to which 2 messages refer, is damaged", found[2])
    assert len(found) == 3
    assert [m["body_bytes"] for m in directory.dump(1)["messages"]] == [100013, 100013, 53, 53] * 2


def test_damaged_tree(directory):
    """Nothing behind it can be trusted, and no broker starts with it."""
    with directory.channel() as ch:
        fill(ch)
    path = directory.store / "data.mdb"
    data = bytearray(path.read_bytes())
    # All pages but the two in front.
    for page in range(2 * 4096, len(data), 4096):
        data[page + 10] ^= 0xff
    path.write_bytes(data)
    lines = directory.check(1)
    assert lines[-1] == "1 problem" and "coneyd will not start" in lines[0]
    assert run("--dump", directory.data).returncode == 2
    done = run("--data-dir", directory.data)
    assert done.returncode == 1 and "the store cannot be opened" in done.stderr


# --- the log ---


def leave_in_log(directory, work):
    """What a process leaves that was killed before any of its batches got into the database: work(channel) is in the log
    only."""
    with directory.channel():
        pass
    shutil.copy(directory.store / "data.mdb", directory.folder / "before")
    with directory.channel() as ch:
        work(ch)
        # The log is whole here; what follows may only add to it.
    shutil.copy(directory.folder / "before", directory.store / "data.mdb")


def test_log_that_is_not_in_the_database(directory):
    leave_in_log(directory, lambda ch: fill(ch, n=20))
    lines = directory.check()
    assert lines[-1] == "sound"
    batches = int(re.match(r"write-ahead log: (\d+) batches", total(lines, "write-ahead log")).group(1))
    assert batches > 0
    dump = directory.dump()
    assert [queue["name"] for queue in dump["queues"]] == ["offline"]
    assert [message["seq"] for message in dump["messages"]] == list(range(1, 21))
    assert run("--compact", directory.data).returncode == 0
    lines = directory.check()
    assert total(lines, "write-ahead log").startswith("write-ahead log: 0 batches")
    assert directory.dump() == dump
    with directory.channel() as ch:
        assert consume_all(ch, "offline") == bodies(20)


def test_damaged_log(directory):
    """A batch in the middle is lost, and only that."""
    def work(ch):
        ch.call("queue.declare", queue="offline", durable=True)
        for body in bodies(9):
            publish(ch, "offline", [body])

    leave_in_log(directory, work)
    directory.damage(re.escape(b"<body 000004>"), lambda m: m.start() + 3, "wal-0", times=1)
    assert directory.problems() == ["1 batches in the write-ahead log are damaged and will be skipped"]
    assert [m["seq"] for m in directory.dump(1)["messages"]] == [1, 2, 3, 4, 6, 7, 8, 9]
    with directory.channel() as ch:
        assert consume_all(ch, "offline") == [body for i, body in enumerate(bodies(9)) if i != 4]


def test_killed_broker(directory):
    """All that was confirmed is dumped, wherever it is."""
    directory.start()
    connection = directory.coneyd.open()
    ch = connection.channel(confirm=True)
    fill(ch, n=100)
    directory.kill()
    connection.abort()
    assert [m["body_bytes"] for m in directory.dump()["messages"]] == [len(body) for body in bodies(100)]
    assert directory.check()[-1] == "sound"


# --- the dump ---


def test_dump(directory):
    arguments = {"x-max-length": 1000, "nested": {"list": [1, "two", None, True]}, "real": 0.5, "bytes": b"\xff\xfe",
                 "x-queue-type": "classic"}
    with directory.channel() as ch:
        ch.call("exchange.declare", exchange="inner", type="headers", durable=True, internal=True)
        ch.call("exchange.declare", exchange="käse", type="topic", durable=True, auto_delete=True,
                arguments={"alternate-exchange": "amq.fanout"})
        ch.call("exchange.declare", exchange="not durable", type="topic")
        ch.call("queue.declare", queue="q", durable=True, arguments=arguments)
        ch.call("queue.declare", queue="gone", durable=False)
        ch.call("queue.bind", queue="q", exchange="käse", routing_key="a.#")
        ch.call("queue.bind", queue="q", exchange="inner", arguments={"x-match": "any", "h": 7})
        ch.call("exchange.bind", destination="inner", source="käse", routing_key="b")
        publish(ch, "a.b", [b"12345"], exchange="käse", message_id="m1", timestamp=2**33, priority=3, expiration="60000",
                headers={"n": -1, "dup": "first"}, content_type="text/plain")
        publish(ch, "q", [b""])
    dump = directory.dump()
    assert dump["format"] == 1
    assert dump["vhosts"] == [{"name": "/"}]
    user, = dump["users"]
    assert re.fullmatch("[A-Za-z0-9+/]{48}", user.pop("password_hash"))
    assert user == {"name": "guest", "tags": ["administrator"],
                    "hashing_algorithm": "rabbit_password_hashing_sha256"}
    assert dump["exchanges"] == [
        {"name": "inner", "vhost": "/", "type": "headers", "durable": True, "auto_delete": False, "internal": True,
         "arguments": {}},
        {"name": "käse", "vhost": "/", "type": "topic", "durable": True, "auto_delete": True, "internal": False,
         "arguments": {"alternate-exchange": "amq.fanout"}}]
    assert dump["queues"] == [{"name": "q", "vhost": "/", "type": "classic", "durable": True, "auto_delete": False,
                               "arguments": {**arguments, "bytes": "Not UTF-8, base64 is: //4="}}]
    assert dump["bindings"] == [
        {"source": "käse", "vhost": "/", "destination": "q", "destination_type": "queue", "routing_key": "a.#",
         "arguments": {}},
        {"source": "inner", "vhost": "/", "destination": "q", "destination_type": "queue", "routing_key": "",
         "arguments": {"x-match": "any", "h": 7}},
        {"source": "käse", "vhost": "/", "destination": "inner", "destination_type": "exchange", "routing_key": "b",
         "arguments": {}}]
    assert dump["messages"] == [
        {"queue": "q", "vhost": "/", "seq": 1, "exchange": "käse", "routing_key": "a.b", "persistent": True,
         "redelivered": False, "message_id": "m1", "timestamp": 2**33, "priority": 3, "expiration": "60000",
         "headers": {"n": -1, "dup": "first"}, "content_type": "text/plain", "body_bytes": 5},
        {"queue": "q", "vhost": "/", "seq": 2, "exchange": "", "routing_key": "q", "persistent": True,
         "redelivered": False, "body_bytes": 0}]


def test_dump_without_what_is_settled(directory):
    with directory.channel() as ch:
        fill(ch, "q", 30)
        fill(ch, "purged", 30)
        ch.call("queue.purge", queue="purged")
        publish(ch, "purged", bodies(2))
        tags = []
        for _ in range(10):
            ch.send("basic.get", queue="q")
            tags.append(ch.expect("basic.get-ok").delivery_tag)
        for tag in tags[::2]:
            ch.send("basic.ack", delivery_tag=tag)
    dump = directory.dump()
    assert [m["seq"] for m in dump["messages"] if m["queue"] == "q"] == [2, 4, 6, 8, *range(10, 31)]
    assert [m["seq"] for m in dump["messages"] if m["redelivered"]] == [2, 4, 6, 8, 10]
    assert [m["seq"] for m in dump["messages"] if m["queue"] == "purged"] == [31, 32]


def test_dump_that_cannot_be_written(directory):
    with directory.channel() as ch:
        fill(ch, n=10)
    with open("/dev/full", "w", encoding="ascii") as full:
        done = subprocess.run([os.environ["CONEYD"], "--dump", directory.data], stdout=full, stderr=subprocess.PIPE,
                              text=True, timeout=TIMEOUT, check=False)
    assert done.returncode == 2 and "cannot be written" in done.stderr


# --- compaction ---


def test_compaction(directory):
    """20 MB come and go; what stays is all there, and the file small."""
    with directory.channel() as ch:
        fill(ch, "kept", 100)
        ch.call("queue.declare", queue="large", durable=True)
        # More than waits in the log, so that it gets into the database.
        publish(ch, "large", [b"x" * 100000] * 200)
    with directory.channel() as ch:
        ch.call("queue.purge", queue="large")
    before = directory.dump()
    size = (directory.store / "data.mdb").stat().st_size
    assert size > 10_000_000
    done = run("--compact", directory.data)
    assert done.returncode == 0, done
    small = (directory.store / "data.mdb").stat().st_size
    assert done.stdout == f"{size} bytes before, {small} bytes after\n"
    assert small < 1_000_000
    assert (directory.store / "data.mdb").stat().st_mode & 0o777 == 0o600
    assert directory.check()[-1] == "sound"
    assert directory.dump() == before
    with directory.channel() as ch:
        assert consume_all(ch, "kept") == bodies(100)
