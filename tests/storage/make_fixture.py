#!/usr/bin/env python3
"""Makes the data directory of a fixture with a coneyd: make_fixture.py CONEYD FOLDER, FOLDER being format-1.

FOLDER/contents.py says what comes into it. Needs pika and mdb_copy (lmdb-utils).
"""

import pathlib
import runpy
import signal
import subprocess
import sys
import tempfile
import time

import pika

TIMEOUT = 30  # seconds


def start(coneyd, folder, contents):
    """Starts a broker whose first virtual host and user are the fixture's; returns its process and port."""
    ready = folder / "ready"
    settings = {
        "listeners.tcp.default": "127.0.0.1:0",
        "default_vhost": contents["VHOST"],
        "default_user": contents["USER"],
        "default_pass": contents["PASSWORD"],
    }
    command = [coneyd, "--data-dir", str(folder / "data"), "--ready-file", str(ready)]
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    process = subprocess.Popen(command)
    deadline = time.monotonic() + TIMEOUT
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            sys.exit("coneyd does not start")
        time.sleep(0.01)
    lines = dict(line.split("=", 1) for line in ready.read_text().splitlines())
    return process, int(lines["amqp"].rsplit(":", 1)[1])


def connect(port, contents):
    return pika.BlockingConnection(pika.ConnectionParameters(
        "127.0.0.1", port, contents["VHOST"], pika.PlainCredentials(contents["USER"], contents["PASSWORD"])))


def define(channel, contents):
    for name, type_, options, arguments in contents["EXCHANGES"]:
        channel.exchange_declare(name, type_, durable=True, arguments=arguments, **options)
    for name, options, arguments in contents["QUEUES"]:
        channel.queue_declare(name, durable=True, arguments=arguments, **options)
    for source, destination, kind, key, arguments in contents["BINDINGS"]:
        if kind == "queue":
            channel.queue_bind(destination, source, key, arguments)
        else:
            channel.exchange_bind(destination, source, key, arguments)
    # Definitions and messages that are gone leave holes between the numbers.
    channel.exchange_declare("f.gone", "fanout", durable=True)
    channel.queue_declare("f.gone", durable=True)
    channel.queue_bind("f.gone", "f.gone")
    channel.basic_publish("f.gone", "", b"gone", pika.BasicProperties(delivery_mode=2))
    channel.queue_delete("f.gone")
    channel.exchange_delete("f.gone")


def publish(channel, contents):
    channel.tx_select()
    for _, publishes in contents["TRANSACTIONS"]:
        for exchange, key, properties, body in publishes:
            channel.basic_publish(exchange, key, body, pika.BasicProperties(**properties))
        channel.tx_commit()
    for queue, messages in contents["published"]().items():
        count = channel.queue_declare(queue, passive=True).method.message_count
        if count != len(messages):
            sys.exit(f"{queue} has {count} messages instead of {len(messages)}")


def deliver(connection, contents):
    for queue, (n, acked) in contents["DELIVERIES"].items():
        channel = connection.channel()
        tags = [channel.basic_get(queue)[0].delivery_tag for _ in range(n)]
        for i in sorted(acked):
            channel.basic_ack(tags[i])
        channel.close()


def main():
    coneyd, target = sys.argv[1], pathlib.Path(sys.argv[2])
    contents = runpy.run_path(str(target / "contents.py"))
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        process, port = start(coneyd, folder, contents)
        try:
            connection = connect(port, contents)
            define(connection.channel(), contents)
            publish(connection.channel(), contents)
            deliver(connection, contents)
            connection.close()
        except BaseException:
            process.kill()
            raise
        finally:
            process.send_signal(signal.SIGTERM)
            status = process.wait(TIMEOUT)
        if status != 0:
            sys.exit(f"coneyd has ended with {status}")
        # Without the pages that are free. The write-ahead log has nothing that is not in the database.
        (target / "store").mkdir(exist_ok=True)
        (target / "store" / "data.mdb").unlink(missing_ok=True)
        subprocess.run(["mdb_copy", "-c", str(folder / "data" / "store"), str(target / "store")], check=True)
    (target / "store" / "data.mdb").chmod(0o644)


if __name__ == "__main__":
    main()
