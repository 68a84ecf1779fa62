"""What tools/compare and tools/backlog share: brokers that are started for a measurement, loads of coney-perf, and how
figures are printed. Not a program."""

import json
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TOP, "tests", "wire"))

import amqp  # noqa: E402  (the raw toolkit of the wire tests)

RABBITMQ = "/usr/lib/rabbitmq/bin/rabbitmq-server"
TICK = os.sysconf("SC_CLK_TCK")
START_TIMEOUT = 120  # seconds; RabbitMQ's
SETTLE_TIMEOUT = 60
IN_MEMORY = ("tmpfs", "ramfs")


def fail(text):
    sys.exit(f"tools/{os.path.basename(sys.argv[0])}: {text}")


def read(path):
    with open(path, encoding="utf-8", errors="replace") as f:
        return f.read()


# --- processes ---


def process_tree(pid):
    """pid and all its descendants that still live."""
    children = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            parent = int(read(f"/proc/{entry}/stat").rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        children.setdefault(parent, []).append(int(entry))
    tree, todo = [], [pid]
    while todo:
        pid = todo.pop()
        tree.append(pid)
        todo += children.get(pid, [])
    return tree


def status_sum(pids, key):
    """MiB under this key of /proc/PID/status, over all of these processes that still live."""
    total = 0
    for pid in pids:
        try:
            status = read(f"/proc/{pid}/status")
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(int(line.split()[1]) for line in status.splitlines() if line.startswith(key + ":"))
    return total / 1024


class MemorySampler:
    """The most RssAnon (MiB) of a broker's processes while this context lasts, looked at every 50 ms: what they hold
    themselves, without mapped files. The kernel keeps no maximum of it."""

    def __init__(self, broker):
        self.pids = process_tree(broker.process.pid)
        self.peak = 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.sample)

    def sample(self):
        while True:
            self.peak = max(self.peak, status_sum(self.pids, "RssAnon"))
            if self.over.wait(0.05):
                return

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


# --- brokers ---


def free_ports(count):
    """Ports that nobody uses, all different: they are held until all are chosen."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


class Broker:
    """A broker in its own session; its processes are those of the tree below self.process."""

    poll = 0.02  # seconds between looks at whether it is ready

    def __init__(self, folder):
        self.folder = folder
        self.process = None

    def spawn(self, command, env=None):
        with open(os.path.join(self.folder, self.name + ".log"), "ab") as log:
            self.process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=subprocess.STDOUT, start_new_session=True)

    def await_ready(self, is_ready, timeout=START_TIMEOUT):
        deadline = time.monotonic() + timeout
        while not is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                log = read(os.path.join(self.folder, self.name + ".log"))
                fail(f"{self.name} did not start:\n{log}")
            time.sleep(self.poll)

    @property
    def uri(self):
        return f"amqp://guest:guest@127.0.0.1:{self.port}/%2F"

    def connect(self):
        """A connection of the wire tests' toolkit, which knows no heartbeats."""
        return amqp.Conn(("127.0.0.1", self.port)).handshake()

    def signal_all(self, number):
        for pid in process_tree(self.process.pid):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def cpu(self):
        """Seconds of CPU, user and system, that the processes have used so far, with all their threads."""
        ticks = 0
        for pid in process_tree(self.process.pid):
            try:
                fields = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            ticks += int(fields[11]) + int(fields[12])
        return ticks / TICK

    def reset_peak(self):
        for pid in process_tree(self.process.pid):
            with open(f"/proc/{pid}/clear_refs", "w", encoding="ascii") as f:
                f.write("5")

    def peak(self):
        """MiB of resident memory at most since reset_peak(), over all processes."""
        return status_sum(process_tree(self.process.pid), "VmHWM")

    def anon(self):
        """MiB of memory that the processes hold themselves, without mapped files."""
        return status_sum(process_tree(self.process.pid), "RssAnon")

    def settle(self):
        """Waits until the broker has worked off what a load left behind, and hardly uses CPU any more."""
        deadline = time.monotonic() + SETTLE_TIMEOUT
        busy = self.cpu()
        while time.monotonic() < deadline:
            time.sleep(0.5)
            before, busy = busy, self.cpu()
            if busy - before < 0.03:
                return
        print(f"{self.name} is still busy {SETTLE_TIMEOUT} s after its load", file=sys.stderr)

    def stop(self):
        if self.process is None:
            return
        self.signal_all(signal.SIGCONT)
        tree = process_tree(self.process.pid)
        self.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            pass
        for pid in tree:  # what is left of our own processes
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()
        self.process = None

    def terminate(self):
        self.process.terminate()


class Coney(Broker):
    name = "coneyd"
    poll = 0.0005

    def __init__(self, folder, program, settings=()):
        super().__init__(folder)
        self.program = program
        self.settings = [word for setting in settings for word in ("--set", setting)]
        self.data = os.path.join(folder, "data")
        self.port = None

    def start(self, timeout=START_TIMEOUT):
        """Returns how long it took, from exec to the ready file, in seconds. May be called again once it has ended."""
        ready = os.path.join(self.folder, "ready")
        if os.path.exists(ready):
            os.unlink(ready)
        begin = time.monotonic()
        self.spawn([self.program, "--set", "listeners.tcp.default=127.0.0.1:0", "--data-dir", self.data,
                    "--ready-file", ready] + self.settings)

        def is_ready():
            if not os.path.exists(ready):
                return False
            lines = dict(line.split("=", 1) for line in read(ready).splitlines() if "=" in line)
            if "amqp" not in lines:
                return False
            self.port = int(lines["amqp"].rpartition(":")[2])
            return True

        self.await_ready(is_ready, timeout)
        return time.monotonic() - begin

    def version(self):
        done = subprocess.run([self.program, "--version"], capture_output=True, text=True, check=False)
        return done.stdout.strip() or "coneyd"


class Rabbit(Broker):
    name = "rabbitmq"

    def __init__(self, folder, queue_version=1):
        """queue_version: of classic queues; 1 is the default of RabbitMQ 3, 2 the only one of RabbitMQ 4."""
        super().__init__(folder)
        self.queue_version = queue_version
        self.port, self.dist_port, self.epmd_port = free_ports(3)
        self.data = os.path.join(folder, "rabbitmq")

    def start(self):
        home = self.data
        os.mkdir(home)
        files = {"rabbitmq.conf": f"listeners.tcp.default = 127.0.0.1:{self.port}\nlog.console.level = warning\n"
                                  f"classic_queue.default_version = {self.queue_version}\n",
                 "enabled_plugins": "[].\n"}
        for name, text in files.items():
            with open(os.path.join(home, name), "w", encoding="ascii") as f:
                f.write(text)
        if os.geteuid() == 0:
            subprocess.run(["chown", "-R", "rabbitmq:", home], check=False)
        env = dict(os.environ, HOME=home, RABBITMQ_NODENAME=f"compare{os.getpid()}@localhost",
                   RABBITMQ_CONFIG_FILE=os.path.join(home, "rabbitmq.conf"),
                   RABBITMQ_ENABLED_PLUGINS_FILE=os.path.join(home, "enabled_plugins"),
                   RABBITMQ_MNESIA_BASE=os.path.join(home, "mnesia"), RABBITMQ_LOG_BASE=os.path.join(home, "log"),
                   RABBITMQ_PID_FILE=os.path.join(home, "pid"), RABBITMQ_DIST_PORT=str(self.dist_port),
                   RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}",
                   ERL_EPMD_ADDRESS="127.0.0.1", ERL_EPMD_PORT=str(self.epmd_port))
        self.epmd = subprocess.Popen([shutil.which("epmd") or "epmd"], env=env, stdin=subprocess.DEVNULL,
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.spawn([RABBITMQ], env)

        def is_ready():
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as s:
                    s.settimeout(5)
                    s.sendall(b"AMQP\0\0\x09\x01")
                    return s.recv(1) == b"\x01"
            except OSError:
                return False

        self.await_ready(is_ready)

    def stop(self):
        started = self.process is not None
        super().stop()
        if started:
            self.epmd.kill()
            self.epmd.wait()

    def terminate(self):
        # The outermost process is a shell that waits: the signal is for the emulator below it.
        for pid in process_tree(self.process.pid):
            try:
                if read(f"/proc/{pid}/comm").startswith("beam"):
                    os.kill(pid, signal.SIGTERM)
            except (FileNotFoundError, ProcessLookupError):
                pass

    def version(self):
        done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", "rabbitmq-server"], capture_output=True,
                              text=True, check=False)
        return (f"RabbitMQ {done.stdout.strip() or '(version unknown)'} with classic queues of version "
                f"{self.queue_version}")


# --- loads ---


class Load:
    """A run of coney-perf, a context: it is ended with it at the latest. `cpu` is what the broker used meanwhile."""

    def __init__(self, perf, broker, options):
        self.command = [perf, "--uri", broker.uri, "--json", "--interval", "0"] + options
        self.broker = broker
        self.begun = threading.Event()
        self.begin_cpu = self.cpu = None
        self.errors, self.output = [], []

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.threads = [threading.Thread(target=self.watch),
                        threading.Thread(target=lambda: self.output.append(self.process.stdout.read()))]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for thread in self.threads:
            thread.join()

    def watch(self):
        for line in self.process.stderr:
            if "load begins" in line:
                self.begin_cpu = self.broker.cpu()
                self.begun.set()
            elif "load ends" in line:
                self.cpu = self.broker.cpu() - self.begin_cpu
            else:
                self.errors.append(line)
        self.begun.set()  # or it never will

    def interrupt(self):
        """Has a load without an end stop now."""
        self.process.send_signal(signal.SIGINT)

    def result(self, timeout=None):
        """What coney-perf reports."""
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            fail(f"{' '.join(self.command)} does not end after {timeout:.0f} s")
        for thread in self.threads:
            thread.join()
        if self.process.returncode != 0 or self.cpu is None:
            fail(f"{' '.join(self.command)} failed:\n{''.join(self.errors)}")
        return json.loads(self.output[0])


def find_program(given, name):
    candidates = [given] if given else [os.path.join(d, name) for d in (os.path.join(TOP, "build"), TOP)]
    if not given:
        build = os.path.join(TOP, "build")
        folders = sorted(os.listdir(build)) if os.path.isdir(build) else []
        candidates += [os.path.join(build, d, name) for d in folders]
    for path in candidates:
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return os.path.abspath(path)
    fail(f"no {name} in {' or '.join(candidates)}: build it, or give --{name}")


# --- what is printed ---


def number(value):
    """Three figures, thousands apart."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def machine():
    model = [line.partition(":")[2].strip() for line in read("/proc/cpuinfo").splitlines()
             if line.startswith("model name")]
    return f"{model[0] if model else platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}"


def filesystem(path):
    """(type, device) of the file system that holds path."""
    done = subprocess.run(["findmnt", "-n", "-o", "FSTYPE,SOURCE", "-T", path], capture_output=True, text=True,
                          check=False)
    kind, _, source = done.stdout.strip().partition(" ")
    return kind or "unknown", source.strip() or "unknown"


def sync_time(folder):
    """Seconds that it takes to append 4 KiB to a file and sync them: no confirm that waits for the disk is faster."""
    times = []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as f:
        for _ in range(50):
            begin = time.monotonic()
            f.write(bytes(4096))
            os.fdatasync(f.fileno())
            times.append(time.monotonic() - begin)
    return statistics.median(times)


def disk(folder):
    """What the data is on, in a line."""
    kind, device = filesystem(folder)
    return f"data on {kind} ({device}); to append 4 KiB and sync takes {sync_time(folder) * 1e6:,.0f} us (median of 50)"


def disk_folder(given):
    """The folder below which data goes: the one given, or the system's for temporary files that outlast a reboot.
    A sync must cost what it costs, so memory will not do."""
    folder = os.path.abspath(given or "/var/tmp")
    if not os.path.isdir(folder):
        fail(f"{folder} is not a folder")
    kind, _ = filesystem(folder)
    if kind in IN_MEMORY:
        fail(f"{folder} is on {kind}, where a sync costs nothing: give --folder one on a disk")
    return folder
