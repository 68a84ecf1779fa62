"""A coneyd that is started, stopped, paused and killed again and again on one data directory."""

import datetime
import os
import signal
import subprocess
import threading
import time

START_TIMEOUT = 60  # seconds; recovery under sanitizers on a busy machine included
STOP_TIMEOUT = 60

SANITIZER_SIGNS = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "runtime error:")
# From such a line on nothing more may get to the disk.
STORE_SIGNS = ("store: writing has failed", "store: no space on the disk")


class BrokerError(Exception):
    """coneyd does not do what it should: start, stay, or stop."""


class Broker:
    """clock() is time in which coneyd was free to work: it stands still while coneyd is paused."""

    def __init__(self, program, folder, data_dir, settings, environment):
        self.program, self.data_dir = program, data_dir
        self.ready_file = folder / "ready"
        self.log_file = folder / "coneyd.log"
        self.settings = ["listeners.tcp.default=127.0.0.1:0", *settings]
        self.environment = environment
        self.process = self.address = self.killed_at = None
        self.pauses = None, 0.0  # since when it is paused, how long it was before; replaced as a whole
        self.log_checked = self.log_launched = 0  # how far the log was looked at; how long it was at the last launch
        self.lock = threading.Lock()
        self.log_file.touch()

    def clock(self):
        paused_at, paused_for = self.pauses
        return (paused_at or time.monotonic()) - paused_for

    # start

    def launch(self, environment=None):
        """Starts the process; await_ready() says when it serves."""
        self.ready_file.unlink(missing_ok=True)
        command = [self.program, "--data-dir", str(self.data_dir), "--ready-file", str(self.ready_file)]
        for setting in self.settings:
            command += ["--set", setting]
        self.killed_at = None
        self.log_launched = self.log_file.stat().st_size
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                            env={**os.environ, **self.environment, **(environment or {})})

    def is_ready(self):
        return self.ready_file.exists()

    def await_ready(self):
        deadline = time.monotonic() + START_TIMEOUT
        while not self.is_ready():
            self.check_alive()
            if time.monotonic() > deadline:
                self.kill()
                raise BrokerError(f"coneyd is not ready after {START_TIMEOUT} s")
            time.sleep(0.001)
        ready = dict(line.split("=", 1) for line in self.ready_file.read_text().splitlines())
        host, port = ready["amqp"].rsplit(":", 1)
        self.address = host, int(port)

    def check_alive(self):
        if self.process.poll() is not None and self.killed_at is None:
            raise BrokerError(f"coneyd has ended by itself with {self.process.returncode}")

    # end

    def kill(self):
        """kill -9. Returns whether this was the kill and not one that came too late."""
        with self.lock:
            if self.killed_at is not None:
                return False
            self.check_alive()
            self.killed_at = self.clock()
            self.process.kill()
            self.process.wait()
            self._running_again()
            return True

    def stop(self):
        """An orderly end."""
        self.check_alive()
        self.killed_at = self.clock()
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise BrokerError(f"coneyd has not stopped {STOP_TIMEOUT} s after SIGTERM") from None
        if status != 0:
            raise BrokerError(f"coneyd ended with {status} after SIGTERM")

    def discard(self):
        """Whatever the state is: no process is left."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    # pause

    def pause(self):
        """Returns whether there was something to pause."""
        with self.lock:
            if self.killed_at is not None:
                return False
            self.pauses = time.monotonic(), self.pauses[1]
            self.process.send_signal(signal.SIGSTOP)
            return True

    def resume(self):
        with self.lock:
            if self.killed_at is None:
                self.process.send_signal(signal.SIGCONT)
                self._running_again()

    def _running_again(self):
        paused_at, paused_for = self.pauses
        if paused_at is not None:
            self.pauses = None, paused_for + time.monotonic() - paused_at

    # log

    def new_problems(self, critical_is_one=True):
        """Lines that came to the log since the last call and should not be there."""
        with open(self.log_file, "rb") as log:
            log.seek(self.log_checked)
            text = log.read()
            self.log_checked += len(text)
        return [line for line in text.decode(errors="replace").splitlines()
                if any(sign in line for sign in SANITIZER_SIGNS) or (critical_is_one and "[critical]" in line.lower())]

    def lines_since_launch(self):
        with open(self.log_file, "rb") as log:
            log.seek(self.log_launched)
            return log.read().decode(errors="replace").splitlines()

    def store_trouble_at(self):
        """When, by clock(), the store of the process that was launched last could not write any more, or None. After a
        pause the answer may be too early."""
        for line in self.lines_since_launch():
            if any(sign in line for sign in STORE_SIGNS):
                date, clock, _ = line.split(" ", 2)
                ago = time.time() - datetime.datetime.fromisoformat(f"{date} {clock[:-2]}:{clock[-2:]}").timestamp()
                return self.clock() - ago
        return None

    def refusal(self):
        """Why a process that was launched has ended before it served, from its log; None when that was no refusal."""
        if self.process.poll() is None or self.process.returncode <= 0:
            return None
        return next((line for line in self.lines_since_launch() if "[error]" in line or "[critical]" in line), None)

    def last_lines(self, n=40):
        return self.log_file.read_text(errors="replace").splitlines()[-n:]
