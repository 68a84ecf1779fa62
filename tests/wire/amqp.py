"""AMQP 0-9-1 over a plain socket, for tests that say exactly what goes over the wire.

Nothing here is clever on the client's behalf: no heartbeats are sent, no frame is answered unless a test says so, and
every step of the handshake can be left out, changed or sent twice.
"""

import collections
import re
import socket
import struct
import time

# --- constants ---

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
FRAME_END = 0xCE
PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
TIMEOUT = 10  # seconds until a reply that does not come is a failure

# class.method, ids, fields: o octet, h short, l long, Q longlong, b bit, S shortstr, L longstr, T table.
METHOD_TABLE = """
connection.start            10 10  o:version_major o:version_minor T:server_properties L:mechanisms L:locales
connection.start-ok         10 11  T:client_properties S:mechanism L:response S:locale
connection.secure           10 20  L:challenge
connection.secure-ok        10 21  L:response
connection.tune             10 30  h:channel_max l:frame_max h:heartbeat
connection.tune-ok          10 31  h:channel_max l:frame_max h:heartbeat
connection.open             10 40  S:virtual_host S:capabilities b:insist
connection.open-ok          10 41  S:known_hosts
connection.close            10 50  h:reply_code S:reply_text h:class_id h:method_id
connection.close-ok         10 51
connection.blocked          10 60  S:reason
connection.unblocked        10 61
connection.update-secret    10 70  L:new_secret S:reason
connection.update-secret-ok 10 71
channel.open                20 10  S:out_of_band
channel.open-ok             20 11  L:channel_id
channel.flow                20 20  b:active
channel.flow-ok             20 21  b:active
channel.close               20 40  h:reply_code S:reply_text h:class_id h:method_id
channel.close-ok            20 41
access.request              30 10  S:realm b:exclusive b:passive b:active b:write b:read
access.request-ok           30 11  h:ticket
exchange.declare            40 10  h:ticket S:exchange S:type b:passive b:durable b:auto_delete b:internal b:nowait \
                                   T:arguments
exchange.declare-ok         40 11
exchange.delete             40 20  h:ticket S:exchange b:if_unused b:nowait
exchange.delete-ok          40 21
exchange.bind               40 30  h:ticket S:destination S:source S:routing_key b:nowait T:arguments
exchange.bind-ok            40 31
exchange.unbind             40 40  h:ticket S:destination S:source S:routing_key b:nowait T:arguments
exchange.unbind-ok          40 51
queue.declare               50 10  h:ticket S:queue b:passive b:durable b:exclusive b:auto_delete b:nowait T:arguments
queue.declare-ok            50 11  S:queue l:message_count l:consumer_count
queue.bind                  50 20  h:ticket S:queue S:exchange S:routing_key b:nowait T:arguments
queue.bind-ok               50 21
queue.purge                 50 30  h:ticket S:queue b:nowait
queue.purge-ok              50 31  l:message_count
queue.delete                50 40  h:ticket S:queue b:if_unused b:if_empty b:nowait
queue.delete-ok             50 41  l:message_count
queue.unbind                50 50  h:ticket S:queue S:exchange S:routing_key T:arguments
queue.unbind-ok             50 51
basic.qos                   60 10  l:prefetch_size h:prefetch_count b:global_
basic.qos-ok                60 11
basic.consume               60 20  h:ticket S:queue S:consumer_tag b:no_local b:no_ack b:exclusive b:nowait T:arguments
basic.consume-ok            60 21  S:consumer_tag
basic.cancel                60 30  S:consumer_tag b:nowait
basic.cancel-ok             60 31  S:consumer_tag
basic.publish               60 40  h:ticket S:exchange S:routing_key b:mandatory b:immediate
basic.return                60 50  h:reply_code S:reply_text S:exchange S:routing_key
basic.deliver               60 60  S:consumer_tag Q:delivery_tag b:redelivered S:exchange S:routing_key
basic.get                   60 70  h:ticket S:queue b:no_ack
basic.get-ok                60 71  Q:delivery_tag b:redelivered S:exchange S:routing_key l:message_count
basic.get-empty             60 72  S:cluster_id
basic.ack                   60 80  Q:delivery_tag b:multiple
basic.reject                60 90  Q:delivery_tag b:requeue
basic.recover-async         60 100 b:requeue
basic.recover               60 110 b:requeue
basic.recover-ok            60 111
basic.nack                  60 120 Q:delivery_tag b:multiple b:requeue
confirm.select              85 10  b:nowait
confirm.select-ok           85 11
tx.select                   90 10
tx.select-ok                90 11
tx.commit                   90 20
tx.commit-ok                90 21
tx.rollback                 90 30
tx.rollback-ok              90 31
"""

WITH_CONTENT = {"basic.publish", "basic.return", "basic.deliver", "basic.get-ok"}

REPLY_CODES = {
    "CONTENT_TOO_LARGE": 311, "NO_ROUTE": 312, "NO_CONSUMERS": 313, "CONNECTION_FORCED": 320, "INVALID_PATH": 402,
    "ACCESS_REFUSED": 403, "NOT_FOUND": 404, "RESOURCE_LOCKED": 405, "PRECONDITION_FAILED": 406, "FRAME_ERROR": 501,
    "SYNTAX_ERROR": 502, "COMMAND_INVALID": 503, "CHANNEL_ERROR": 504, "UNEXPECTED_FRAME": 505,
    "RESOURCE_ERROR": 506, "NOT_ALLOWED": 530, "NOT_IMPLEMENTED": 540, "INTERNAL_ERROR": 541,
}

# Content properties in the order of their flags, bit 15 first.
PROPERTIES = [
    ("content_type", "S"), ("content_encoding", "S"), ("headers", "T"), ("delivery_mode", "o"), ("priority", "o"),
    ("correlation_id", "S"), ("reply_to", "S"), ("expiration", "S"), ("message_id", "S"), ("timestamp", "Q"),
    ("type", "S"), ("user_id", "S"), ("app_id", "S"), ("cluster_id", "S"),
]


def _parse_methods():
    by_name, by_id = {}, {}
    for line in METHOD_TABLE.strip().splitlines():
        name, class_id, method_id, *fields = line.split()
        ids = (int(class_id), int(method_id))
        by_name[name] = (ids, [tuple(f.split(":")) for f in fields])
        by_id[ids] = name
    return by_name, by_id


METHODS, METHOD_NAMES = _parse_methods()


def ids_of(name):
    """(class id, method id) of "queue.declare"."""
    return METHODS[name][0]


# --- values and tables ---


class Tagged(collections.namedtuple("Tagged", "tag value")):
    """A table value with the type tag that it is to be sent with."""


class Table(dict):
    """A decoded table: a dict of plain values (the first of equal keys), and the bytes that it came from."""

    raw = b""


_NUMBERS = {
    "b": ">b", "B": ">B", "s": ">h", "u": ">H", "I": ">i", "i": ">I", "l": ">q", "L": ">q", "f": ">f", "d": ">d",
    "T": ">Q",
}


def as_bytes(text):
    return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else bytes(text)


def as_text(data):
    return data.decode("utf-8", "surrogateescape")


def shortstr(text):
    data = as_bytes(text)
    return struct.pack(">B", len(data)) + data


def longstr(text):
    data = as_bytes(text)
    return struct.pack(">I", len(data)) + data


def _tag_of(value):
    if isinstance(value, bool):
        return "t"
    if isinstance(value, int):
        return "I" if -(2**31) <= value < 2**31 else "l"
    for kind, tag in ((float, "d"), ((str, bytes), "S"), (dict, "F"), (list, "A"), (type(None), "V")):
        if isinstance(value, kind):
            return tag
    raise TypeError(f"no AMQP type for {value!r}")


def encode_value(value):
    tag, value = value if isinstance(value, Tagged) else (_tag_of(value), value)
    if tag == "t":
        data = struct.pack(">B", int(value))
    elif tag in _NUMBERS:
        data = struct.pack(_NUMBERS[tag], value)
    elif tag == "D":
        data = struct.pack(">BI", *value)
    elif tag in "Sx":
        data = longstr(value)
    elif tag == "F":
        data = encode_table(value)
    elif tag == "A":
        data = longstr(b"".join(encode_value(v) for v in value))
    elif tag == "V":
        data = b""
    else:
        raise ValueError(f"unknown type tag {tag!r}")
    return tag.encode() + data


def encode_pairs(pairs):
    """The inside of a table, from (key, value) pairs: any order, any duplicates."""
    return b"".join(shortstr(key) + encode_value(value) for key, value in pairs)


def encode_table(table):
    """A dict, a list of pairs, or the raw inside of a table, with its length in front."""
    if isinstance(table, Table):
        table = table.raw
    if isinstance(table, dict):
        table = table.items()
    return longstr(table if isinstance(table, bytes) else encode_pairs(table))


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        if n > len(self.data) - self.at:
            raise ValueError(f"{n} bytes wanted at {self.at} of {self.data!r}")
        self.at += n
        return self.data[self.at - n:self.at]

    def number(self, fmt):
        return struct.unpack(fmt, self.take(struct.calcsize(fmt)))[0]

    def shortstr(self):
        return as_text(self.take(self.number(">B")))

    def longstr(self):
        return self.take(self.number(">I"))

    def at_end(self):
        return self.at == len(self.data)

    def value(self):
        tag = self.take(1).decode("latin-1")
        if tag == "t":
            return self.number(">B") != 0
        if tag in _NUMBERS:
            return self.number(_NUMBERS[tag])
        if tag == "D":
            return (self.number(">B"), self.number(">I"))
        if tag == "S":
            return as_text(self.longstr())
        if tag == "x":
            return self.longstr()
        if tag == "F":
            return self.table()
        if tag == "A":
            inner, values = Reader(self.longstr()), []
            while not inner.at_end():
                values.append(inner.value())
            return values
        if tag == "V":
            return None
        raise ValueError(f"unknown type tag {tag!r}")

    def table(self):
        inner, table = Reader(self.longstr()), Table()
        table.raw = inner.data
        while not inner.at_end():
            key = inner.shortstr()
            table.setdefault(key, inner.value())
        return table


# --- methods, contents, frames ---

_FIELD_DEFAULTS = {"S": "", "L": b"", "T": {}}
_FIELD_NUMBERS = {"o": ">B", "h": ">H", "l": ">I", "Q": ">Q"}


def _encode_field(kind, value):
    if kind in _FIELD_NUMBERS:
        return struct.pack(_FIELD_NUMBERS[kind], value)
    return {"S": shortstr, "L": longstr, "T": encode_table}[kind](value)


def _decode_field(kind, reader):
    if kind in _FIELD_NUMBERS:
        return reader.number(_FIELD_NUMBERS[kind])
    return {"S": reader.shortstr, "L": reader.longstr, "T": reader.table}[kind]()


def encode_method(name, **fields):
    """The payload of a method frame; fields that are not given are zero or empty."""
    ids, layout = METHODS[name]
    unknown = set(fields) - {field for _, field in layout}
    if unknown:
        raise TypeError(f"{name} has no {sorted(unknown)}")
    out, bits, n_bits = struct.pack(">HH", *ids), 0, 0
    for kind, field in layout:
        if kind == "b":
            bits |= bool(fields.get(field, False)) << n_bits
            n_bits += 1
            continue
        if n_bits:
            out, bits, n_bits = out + bytes([bits]), 0, 0
        out += _encode_field(kind, fields.get(field, _FIELD_DEFAULTS.get(kind, 0)))
    return out + bytes([bits]) if n_bits else out


class Method:
    """A received method: its fields are attributes; .properties and .body when content followed."""

    def __init__(self, name, channel, fields):
        self.name, self.channel, self.fields = name, channel, fields
        self.__dict__.update(fields)

    def __repr__(self):
        return f"<{self.name} on {self.channel} {self.fields}>"


def decode_method(payload, channel=0):
    reader = Reader(payload)
    ids = reader.number(">H"), reader.number(">H")
    name, fields, bits, n_bits = METHOD_NAMES[ids], {}, 0, 0
    for kind, field in METHODS[name][1]:
        if kind != "b":
            n_bits = 0
            fields[field] = _decode_field(kind, reader)
            continue
        if n_bits == 0:
            bits = reader.number(">B")
        fields[field] = bool(bits >> n_bits & 1)
        n_bits += 1
    if not reader.at_end():
        raise ValueError(f"bytes left behind {name}: {payload!r}")
    return Method(name, channel, fields)


def encode_properties(properties):
    """Property flags and values."""
    flags, out = 0, b""
    for i, (name, kind) in enumerate(PROPERTIES):
        if name in properties:
            flags |= 1 << (15 - i)
            out += _encode_field(kind, properties[name])
    return struct.pack(">H", flags) + out


def decode_properties(data):
    reader = Reader(data)
    flags = reader.number(">H")
    properties = {name: _decode_field(kind, reader) for i, (name, kind) in enumerate(PROPERTIES)
                  if flags >> (15 - i) & 1}
    if not reader.at_end():
        raise ValueError(f"bytes left behind properties: {data!r}")
    return properties


def encode_header(size, properties=None, class_id=60, weight=0):
    """The payload of a content header frame."""
    return struct.pack(">HHQ", class_id, weight, size) + encode_properties(properties or {})


Frame = collections.namedtuple("Frame", "type channel payload")


def encode_frame(type_, channel, payload, end=FRAME_END):
    return struct.pack(">BHI", type_, channel, len(payload)) + payload + bytes([end])


def method_frame(channel, name, **fields):
    return encode_frame(METHOD, channel, encode_method(name, **fields))


def content_frames(channel, body, properties=None, frame_max=131072):
    """Header and body frames of one message."""
    step = frame_max - 8
    frames = [encode_frame(HEADER, channel, encode_header(len(body), properties))]
    frames += [encode_frame(BODY, channel, body[at:at + step]) for at in range(0, len(body), step)]
    return b"".join(frames)


def publish_frames(channel, exchange, routing_key, body=b"", properties=None, mandatory=False, immediate=False,
                   frame_max=131072):
    return method_frame(channel, "basic.publish", exchange=exchange, routing_key=routing_key, mandatory=mandatory,
                        immediate=immediate) + content_frames(channel, body, properties, frame_max)


def plain(user="guest", password="guest"):
    return b"\0" + as_bytes(user) + b"\0" + as_bytes(password)


# --- connections ---


class Ended(Exception):
    """The peer has closed the socket; .reset tells a reset from an orderly end."""

    def __init__(self, reset):
        super().__init__("reset" if reset else "end of stream")
        self.reset = reset


ALL_CAPABILITIES = {
    name: True for name in ("publisher_confirms", "exchange_exchange_bindings", "basic.nack", "consumer_cancel_notify",
                            "connection.blocked", "authentication_failure_close")
}


class Conn:
    """One socket. Frames that arrive for a channel nobody waits for are kept until somebody does."""

    def __init__(self, address):
        self.socket = socket.create_connection(address, TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.data = bytearray()
        self.inbox = collections.defaultdict(collections.deque)
        self.heartbeats = 0
        self.frame_max = 131072
        self.next_channel = 1
        self.is_open = False

    # handshake, step by step

    def send_header(self, header=PROTOCOL_HEADER):
        self.send_bytes(header)

    def start_ok(self, mechanism="PLAIN", response=None, capabilities=None, properties=None):
        """capabilities None: all that the broker knows."""
        table = dict(properties or {})
        table.setdefault("capabilities", ALL_CAPABILITIES if capabilities is None else capabilities)
        self.send("connection.start-ok", client_properties=table, mechanism=mechanism,
                  response=plain() if response is None else response, locale="en_US")

    def tune_ok(self, channel_max=2047, frame_max=131072, heartbeat=0):
        self.send("connection.tune-ok", channel_max=channel_max, frame_max=frame_max, heartbeat=heartbeat)
        self.frame_max = frame_max

    def open(self, virtual_host="/"):
        self.send("connection.open", virtual_host=virtual_host)
        reply = self.expect("connection.open-ok")
        self.is_open = True
        return reply

    def to_start(self):
        self.send_header()
        return self.expect("connection.start")

    def to_tune(self, **start_ok):
        self.to_start()
        self.start_ok(**start_ok)
        return self.expect("connection.tune")

    def handshake(self, start_ok=None, tune_ok=None, virtual_host="/"):
        """All of it; the two dicts are arguments of start_ok() and tune_ok()."""
        self.to_tune(**(start_ok or {}))
        self.tune_ok(**(tune_ok or {}))
        self.open(virtual_host)
        return self

    # output

    def send_bytes(self, data):
        self.socket.sendall(data)

    def send_frame(self, type_, channel, payload, end=FRAME_END):
        self.send_bytes(encode_frame(type_, channel, payload, end))

    def send(self, name, channel=0, **fields):
        self.send_bytes(method_frame(channel, name, **fields))

    # input

    def _receive(self, deadline):
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("nothing came")
        self.socket.settimeout(left)
        try:
            data = self.socket.recv(1 << 18)
        except ConnectionResetError:
            raise Ended(reset=True) from None
        except socket.timeout:
            raise TimeoutError("nothing came") from None
        finally:
            self.socket.settimeout(TIMEOUT)
        if not data:
            raise Ended(reset=False)
        self.data += data

    def read_bytes(self, n, timeout=TIMEOUT):
        deadline = time.monotonic() + timeout
        while len(self.data) < n:
            self._receive(deadline)
        data = bytes(self.data[:n])
        del self.data[:n]
        return data

    def read_frame(self, timeout=TIMEOUT):
        """The next frame, whatever it is."""
        deadline = time.monotonic() + timeout
        while len(self.data) < 7:
            self._receive(deadline)
        type_, channel, size = struct.unpack(">BHI", self.data[:7])
        whole = self.read_bytes(size + 8, max(deadline - time.monotonic(), 0.001))
        assert whole[-1] == FRAME_END
        return Frame(type_, channel, whole[7:-1])

    def next_frame(self, channel, timeout=TIMEOUT):
        """The next frame of one channel. Heartbeats are counted and passed over."""
        deadline = time.monotonic() + timeout
        while not self.inbox[channel]:
            frame = self.read_frame(max(deadline - time.monotonic(), 0.001))
            if frame.type == HEARTBEAT:
                assert frame == Frame(HEARTBEAT, 0, b"")
                self.heartbeats += 1
            else:
                self.inbox[frame.channel].append(frame)
        return self.inbox[channel].popleft()

    def next_method(self, channel=0, timeout=TIMEOUT):
        """The next method of one channel, with its content."""
        frame = self.next_frame(channel, timeout)
        assert frame.type == METHOD, frame
        method = decode_method(frame.payload, channel)
        if method.name in WITH_CONTENT:
            self._read_content(method, timeout)
        return method

    def _read_content(self, method, timeout):
        header = self.next_frame(method.channel, timeout)
        assert header.type == HEADER, header
        class_id, weight, size = struct.unpack(">HHQ", header.payload[:12])
        assert (class_id, weight) == (60, 0)
        method.properties_raw = header.payload[12:]
        method.properties = decode_properties(method.properties_raw)
        body = bytearray()
        while len(body) < size:
            frame = self.next_frame(method.channel, timeout)
            assert frame.type == BODY and frame.payload, frame
            body += frame.payload
        assert len(body) == size
        method.body = bytes(body)

    def expect(self, name, channel=0, timeout=TIMEOUT, **fields):
        """The next method of the channel must be this one, with these fields."""
        method = self.next_method(channel, timeout)
        assert method.name == name, method
        assert {k: method.fields[k] for k in fields} == fields
        return method

    def expect_connection_close(self, code, text, class_id=0, method_id=0, timeout=TIMEOUT, reply=True):
        """A connection.close with exactly this text (a compiled pattern: one that matches)."""
        close = self.expect("connection.close", 0, timeout)
        check_close(close, code, text, class_id, method_id)
        self.is_open = False
        if reply:
            self.send("connection.close-ok")
            self.expect_end()
        return close

    def expect_end(self, timeout=TIMEOUT):
        """Nothing more comes but the end of the socket, by FIN or reset. Returns what Ended says."""
        self.is_open = False
        try:
            frame = self.read_frame(timeout)
        except Ended as ended:
            self.socket.close()
            assert not self.data, bytes(self.data)
            return ended
        raise AssertionError(f"{frame} instead of an end")

    def expect_silence(self, seconds):
        """Nothing comes for this long, and the socket stays open."""
        try:
            frame = self.read_frame(seconds)
        except TimeoutError:
            return
        raise AssertionError(f"{frame} instead of silence")

    # open connections

    def channel(self, number=None, confirm=False):
        if number is None:
            number = self.next_channel
        self.next_channel = max(self.next_channel, number + 1)
        channel = Channel(self, number)
        channel.call("channel.open")
        if confirm:
            channel.call("confirm.select")
        return channel

    def close(self):
        """Says goodbye when the connection is open, which proves that it still is."""
        if self.is_open:
            self.is_open = False
            self.send("connection.close", reply_code=200)
            self.expect("connection.close-ok")
        self.socket.close()

    def abort(self):
        """Leaves without a word."""
        self.is_open = False
        self.socket.close()


def check_close(close, code, text, class_id, method_id):
    assert (close.reply_code, close.class_id, close.method_id) == (code, class_id, method_id), close
    if isinstance(text, re.Pattern):
        assert text.fullmatch(close.reply_text), close.reply_text
    else:
        assert close.reply_text == text


class Channel:
    def __init__(self, conn, number):
        self.conn, self.number = conn, number
        self.published = 0

    def send(self, name, **fields):
        self.conn.send(name, self.number, **fields)

    def expect(self, name, timeout=TIMEOUT, **fields):
        return self.conn.expect(name, self.number, timeout, **fields)

    def call(self, name, **fields):
        """Sends a request and returns its reply."""
        self.send(name, **fields)
        return self.expect(name + "-ok")

    def refuse(self, name, text, **fields):
        """Sends a request that must fail with exactly this text, at the scope that its code has."""
        self.send(name, **fields)
        return self.expect_refusal(name, text)

    def expect_refusal(self, name, text):
        class_id, method_id = ids_of(name)
        constant = (text.pattern if isinstance(text, re.Pattern) else text).split(" - ")[0]
        code = REPLY_CODES[constant]
        if 403 <= code <= 406:
            return self.expect_channel_close(code, text, class_id, method_id)
        return self.conn.expect_connection_close(code, text, class_id, method_id)

    def expect_channel_close(self, code, text, class_id=0, method_id=0, reply=True):
        close = self.expect("channel.close")
        check_close(close, code, text, class_id, method_id)
        if reply:
            self.send("channel.close-ok")
        return close

    def reopen(self):
        """The same number again, behind a close-ok."""
        self.published = 0
        self.call("channel.open")
        return self

    def publish(self, exchange, routing_key, body=b"", properties=None, mandatory=False, immediate=False):
        self.conn.send_bytes(publish_frames(self.number, exchange, routing_key, body, properties, mandatory, immediate,
                                            self.conn.frame_max))
        self.published += 1

    def put(self, exchange, routing_key, body=b"", properties=None):
        """Publishes on a channel in confirm mode and waits for the confirm: the message is where it goes."""
        self.publish(exchange, routing_key, body, properties)
        self.expect("basic.ack", delivery_tag=self.published, multiple=False)

    def fill(self, queue, *bodies):
        for body in bodies:
            self.put("", queue, body)

    def queue(self, name="", arguments=None, **fields):
        """Declares a queue (exclusive unless told otherwise) and returns its name."""
        fields.setdefault("exclusive", True)
        return self.call("queue.declare", queue=name, arguments=arguments or {}, **fields).queue

    def counts(self, queue):
        ok = self.call("queue.declare", queue=queue, passive=True)
        return ok.message_count, ok.consumer_count

    def exists(self, kind, name):
        """Whether a queue or an exchange is there. Leaves the channel open."""
        self.send(kind + ".declare", **{kind: name, "passive": True})
        reply = self.conn.next_method(self.number)
        if reply.name == "channel.close":
            check_close(reply, 404, f"NOT_FOUND - no {kind} '{name}' in vhost '/'", *ids_of(kind + ".declare"))
            self.send("channel.close-ok")
            self.reopen()
            return False
        assert reply.name == kind + ".declare-ok", reply
        return True

    def consume(self, queue, tag="", arguments=None, **fields):
        ok = self.call("basic.consume", queue=queue, consumer_tag=tag, arguments=arguments or {}, **fields)
        return ok.consumer_tag

    def deliver(self, **fields):
        return self.expect("basic.deliver", **fields)

    def deliveries(self, n):
        """The bodies of the next n deliveries."""
        return [self.deliver().body for _ in range(n)]

    def get(self, queue, no_ack=False):
        """A basic.get-ok, or None for basic.get-empty."""
        self.send("basic.get", queue=queue, no_ack=no_ack)
        reply = self.conn.next_method(self.number)
        assert reply.name in ("basic.get-ok", "basic.get-empty"), reply
        return reply if reply.name == "basic.get-ok" else None

    def drain(self, queue):
        """All bodies that are ready in the queue, taken for good."""
        bodies = []
        while (got := self.get(queue, no_ack=True)) is not None:
            bodies.append(got.body)
        return bodies

    def nothing(self):
        """No frame has come on this channel but the replies to these two requests: one turn of the broker lies
        between them, in which it would have delivered what it had to deliver."""
        self.call("channel.flow", active=True)
        self.call("channel.flow", active=True)
