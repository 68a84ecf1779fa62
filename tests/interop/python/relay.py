"""A TCP relay between a client and the broker, for breaking connections as networks do."""

import queue
import selectors
import socket
import struct
import threading

RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Relay:
    """Listens on a port of its own and passes bytes on until told to cut or to mute.

    One thread owns all sockets, so that closing one takes effect at once: a close() while another
    thread is in recv() would not."""

    def __init__(self, host, port):
        self._target = (host, port)
        self._selector = selectors.DefaultSelector()
        self._peers = {}
        self._clients = set()
        self._orders = queue.SimpleQueue()
        self._wake, self._woken = socket.socketpair()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._woken, selectors.EVENT_READ, self._obey)
        self._running = True
        self.host, self.port = self._listener.getsockname()
        self.broker_closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="relay")
        self._thread.start()

    def cut(self):
        """Resets every connection, towards the client and towards the broker."""
        self._order(self._reset_all)

    def mute_clients(self):
        """From now on nothing that clients send reaches the broker; broker_closed tells when the
        broker has given a connection up."""
        self._order(self._unregister_clients)

    def close(self):
        self._order(self._end)
        self._thread.join()

    def _order(self, action):
        done = threading.Event()
        self._orders.put((action, done))
        self._wake.send(b"!")
        done.wait()

    def _run(self):
        while self._running:
            for key, _ in self._selector.select():
                # an earlier handler of this round may have closed the socket
                if key.fileobj.fileno() >= 0:
                    key.data(key.fileobj)

    def _obey(self, woken):
        woken.recv(1)
        action, done = self._orders.get()
        action()
        done.set()

    def _accept(self, listener):
        client, _ = listener.accept()
        broker = socket.create_connection(self._target)
        self._clients.add(client)
        for here, there in ((client, broker), (broker, client)):
            here.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            here.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._peers[here] = there
            self._selector.register(here, selectors.EVENT_READ, self._pass_on)

    def _pass_on(self, source):
        try:
            data = source.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            if source not in self._clients:
                self.broker_closed.set()
            self._drop(source)
            return
        try:
            self._peers[source].sendall(data)
        except ConnectionError:
            self._drop(source)

    def _drop(self, one):
        for end in (one, self._peers[one]):
            if end in self._selector.get_map():
                self._selector.unregister(end)
            self._clients.discard(end)
            del self._peers[end]
            end.close()

    def _reset_all(self):
        while self._clients:
            self._drop(next(iter(self._clients)))

    def _unregister_clients(self):
        for client in self._clients:
            self._selector.unregister(client)

    def _end(self):
        self._reset_all()
        self._selector.close()
        for end in (self._listener, self._wake, self._woken):
            end.close()
        self._running = False
