"""Small helpers of the pika suites."""

import time


def pump(*connections, until, seconds=20):
    """Lets the connections work until the condition holds."""
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline, f"nothing happened within {seconds} s"
        for connection in connections:
            connection.process_data_events(time_limit=0.02)


def settle(channel):
    """Takes in all that the broker sent to this channel so far, by one round trip on it."""
    channel.basic_qos(prefetch_count=0)
    channel.connection.process_data_events(time_limit=0)


def depth(channel, queue):
    """The number of messages that are ready in the queue."""
    return channel.queue_declare(queue, passive=True).method.message_count


def await_depth(channel, queue, expected, seconds=10):
    """For what the broker does on its own time: requeueing after a lost connection, and, in
    RabbitMQ, enqueueing (a passive declare overtakes publishes and nacks of its own channel)."""
    pump(channel.connection, until=lambda: depth(channel, queue) == expected, seconds=seconds)


class Inbox:
    """A consumer that keeps what it gets; acknowledges it if told to."""

    def __init__(self, channel, queue, ack=False, auto_ack=False, **consume):
        self.messages = []
        self._ack = ack
        self.tag = channel.basic_consume(queue, self._receive, auto_ack=auto_ack, **consume)

    def _receive(self, channel, method, properties, body):
        self.messages.append((method, properties, body))
        if self._ack:
            channel.basic_ack(method.delivery_tag)

    @property
    def bodies(self):
        return [body for _, _, body in self.messages]

    @property
    def methods(self):
        return [method for method, _, _ in self.messages]

    @property
    def properties(self):
        return [properties for _, properties, _ in self.messages]

    def holds(self, count):
        """A condition for pump(): that many messages have come."""
        return lambda: len(self.messages) >= count


def get_all(channel, queue):
    """Takes all that is ready in the queue by basic.get."""
    bodies = []
    while True:
        method, _, body = channel.basic_get(queue, auto_ack=True)
        if method is None:
            return bodies
        bodies.append(body)
