package interop;

import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.Delivery;
import com.rabbitmq.client.GetResponse;
import com.rabbitmq.client.ShutdownSignalException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.UUID;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/** What one test needs: unique names, connections, checks, and the removal of all it declared. */
final class Fixture {
    static final long WAIT_SECONDS = 10;

    private final String prefix;
    private final List<Connection> connections = Collections.synchronizedList(new ArrayList<>());
    private final List<String> queues = Collections.synchronizedList(new ArrayList<>());
    private final List<String> exchanges = Collections.synchronizedList(new ArrayList<>());

    /** A failed check. */
    static final class Failure extends RuntimeException {
        private static final long serialVersionUID = 1;

        Failure(String message) {
            super(message);
        }
    }

    /** An operation that the broker must refuse. */
    interface Operation {
        void run() throws Exception;
    }

    Fixture(String test) {
        prefix = "interop-java-" + UUID.randomUUID() + "." + test + ".";
    }

    String name(String suffix) {
        return prefix + suffix;
    }

    static String env(String key, String fallback) {
        String value = System.getenv(key);
        return value == null || value.isEmpty() ? fallback : value;
    }

    static String host() {
        return env("CONEY_HOST", "127.0.0.1");
    }

    static int port() {
        return Integer.parseInt(env("CONEY_PORT", "5672"));
    }

    static ConnectionFactory factory() {
        ConnectionFactory factory = new ConnectionFactory();
        factory.setHost(host());
        factory.setPort(port());
        factory.setUsername(env("CONEY_USER", "guest"));
        factory.setPassword(env("CONEY_PASS", "guest"));
        factory.setVirtualHost(env("CONEY_VHOST", "/"));
        factory.setAutomaticRecoveryEnabled(false);
        return factory;
    }

    Connection connect(ConnectionFactory factory) throws Exception {
        Connection connection = factory.newConnection();
        connections.add(connection);
        return connection;
    }

    /** A channel on a connection of its own. */
    Channel open() throws Exception {
        return connect(factory()).createChannel();
    }

    /** A channel for which publishConfirmed can wait. */
    Channel openConfirming() throws Exception {
        Channel channel = open();
        channel.confirmSelect();
        return channel;
    }

    /** Declares a queue that is shared between connections and deleted after the test. */
    String queue(Channel channel, String suffix) throws IOException {
        String name = name(suffix);
        queues.add(name);
        channel.queueDeclare(name, true, false, false, null);
        return name;
    }

    static String privateQueue(Channel channel) throws IOException {
        return channel.queueDeclare().getQueue();
    }

    String exchange(Channel channel, String suffix, String type) throws IOException {
        String name = name(suffix);
        exchanges.add(name);
        channel.exchangeDeclare(name, type);
        return name;
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static String text(byte[] body) {
        return new String(body, StandardCharsets.UTF_8);
    }

    static void publish(Channel channel, String exchange, String key, String body)
            throws IOException {
        channel.basicPublish(exchange, key, null, bytes(body));
    }

    /** Returns once the message has reached its queues, so that their counts include it. */
    static void publishConfirmed(
            Channel channel, String exchange, String key, Map<String, Object> headers, String body)
            throws Exception {
        AMQP.BasicProperties properties =
                new AMQP.BasicProperties.Builder().headers(headers).build();
        channel.basicPublish(exchange, key, properties, bytes(body));
        channel.waitForConfirmsOrDie(TimeUnit.SECONDS.toMillis(WAIT_SECONDS));
    }

    static BlockingQueue<Delivery> consume(Channel channel, String queue, boolean autoAck)
            throws IOException {
        return consume(channel, queue, autoAck, Map.of());
    }

    static BlockingQueue<Delivery> consume(
            Channel channel, String queue, boolean autoAck, Map<String, Object> arguments)
            throws IOException {
        BlockingQueue<Delivery> deliveries = new LinkedBlockingQueue<>();
        channel.basicConsume(queue, autoAck, arguments,
                (tag, delivery) -> deliveries.add(delivery), tag -> {});
        return deliveries;
    }

    /** Waits for the next element; what names it in the message of a failure. */
    static <E> E take(String what, BlockingQueue<E> queue) throws InterruptedException {
        E element = queue.poll(WAIT_SECONDS, TimeUnit.SECONDS);
        if (element == null) {
            throw new Failure("no " + what + " within " + WAIT_SECONDS + " s");
        }
        return element;
    }

    static Delivery receive(BlockingQueue<Delivery> deliveries) throws InterruptedException {
        return take("delivery", deliveries);
    }

    static void expectBodies(BlockingQueue<Delivery> deliveries, String... bodies)
            throws InterruptedException {
        for (String body : bodies) {
            equal("body", text(receive(deliveries).getBody()), body);
        }
    }

    static GetResponse get(Channel channel, String queue) throws IOException {
        GetResponse response = channel.basicGet(queue, false);
        check("queue " + queue + " has a message", response != null);
        return response;
    }

    static void expectCount(Channel channel, String queue, long count) throws IOException {
        equal("message count", channel.messageCount(queue), count);
    }

    static void check(String what, boolean holds) {
        if (!holds) {
            throw new Failure("not so: " + what);
        }
    }

    static void equal(String what, Object got, Object want) {
        if (!Objects.equals(got, want)) {
            throw new Failure(what + " is " + got + ", expected " + want);
        }
    }

    /** Expects that the broker answers with channel.close and the given code. */
    static void refused(int code, Operation operation) throws Exception {
        try {
            operation.run();
        } catch (IOException e) {
            if (!(e.getCause() instanceof ShutdownSignalException signal)) {
                throw e;
            }
            check("a channel error, not a connection error", !signal.isHardError());
            AMQP.Channel.Close close = (AMQP.Channel.Close) signal.getReason();
            equal("reply code", close.getReplyCode(), code);
            return;
        }
        throw new Failure("the operation was accepted, expected error " + code);
    }

    /** Deletes through a fresh connection since the test may have lost its own. */
    void close() throws Exception {
        for (Connection connection : connections) {
            connection.abort((int) TimeUnit.SECONDS.toMillis(WAIT_SECONDS));
        }
        try (Connection connection = factory().newConnection();
                Channel channel = connection.createChannel()) {
            for (String queue : queues) {
                channel.queueDelete(queue);
            }
            for (String exchange : exchanges) {
                channel.exchangeDelete(exchange);
            }
        }
    }
}
