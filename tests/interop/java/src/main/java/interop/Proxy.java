package interop;

import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.ArrayList;
import java.util.List;

/** Forwards TCP connections to the broker until they are cut. */
final class Proxy implements AutoCloseable {
    private final String host;
    private final int port;
    private final ServerSocket listener;
    private final List<Socket> sockets = new ArrayList<>();

    Proxy(String host, int port) throws IOException {
        this.host = host;
        this.port = port;
        listener = new ServerSocket(0, 10, InetAddress.getByName("127.0.0.1"));
        start(this::acceptAll);
    }

    int port() {
        return listener.getLocalPort();
    }

    /** Resets all connections, on both sides; new ones are still accepted. */
    synchronized void cut() throws IOException {
        for (Socket socket : sockets) {
            if (!socket.isClosed()) {
                socket.setSoLinger(true, 0);
                socket.close();
            }
        }
        sockets.clear();
    }

    @Override
    public void close() throws IOException {
        listener.close();
        cut();
    }

    private void acceptAll() throws IOException {
        for (;;) {
            Socket client = listener.accept();
            Socket server = new Socket(host, port);
            synchronized (this) {
                sockets.add(client);
                sockets.add(server);
            }
            start(() -> forward(client, server));
            start(() -> forward(server, client));
        }
    }

    /** When one side is gone, the other side goes. */
    private void forward(Socket from, Socket to) throws IOException {
        try {
            from.getInputStream().transferTo(to.getOutputStream());
        } finally {
            closeBoth(from, to);
        }
    }

    /** Synchronized so that no socket closes while cut is about to reset it. */
    private synchronized void closeBoth(Socket from, Socket to) throws IOException {
        from.close();
        to.close();
    }

    private interface Work {
        void run() throws IOException;
    }

    /** An IOException is how the work of a thread ends: its socket was closed. */
    private static void start(Work work) {
        Thread thread = new Thread(() -> {
            try {
                work.run();
            } catch (IOException e) {
                return;
            }
        }, "proxy");
        thread.setDaemon(true);
        thread.start();
    }
}
