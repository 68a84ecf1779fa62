package interop;

import static interop.Fixture.bytes;
import static interop.Fixture.check;
import static interop.Fixture.consume;
import static interop.Fixture.equal;
import static interop.Fixture.expectBodies;
import static interop.Fixture.expectCount;
import static interop.Fixture.get;
import static interop.Fixture.privateQueue;
import static interop.Fixture.publish;
import static interop.Fixture.receive;
import static interop.Fixture.refused;
import static interop.Fixture.take;
import static interop.Fixture.text;

import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.AuthenticationFailureException;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.Delivery;
import com.rabbitmq.client.GetResponse;
import com.rabbitmq.client.Recoverable;
import com.rabbitmq.client.RecoveryListener;
import com.rabbitmq.client.Return;
import com.rabbitmq.client.ShutdownSignalException;
import java.net.Socket;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/** Confirms, returns, errors, transactions, lost connections and the limits of size. */
final class Reliability {
    private Reliability() {}

    static void publisherConfirms(Fixture t) throws Exception {
        final int messages = 500;
        Channel channel = t.openConfirming();
        String queue = t.queue(channel, "q");
        for (int i = 0; i < messages; i++) {
            equal("next publish number", channel.getNextPublishSeqNo(), i + 1L);
            publish(channel, "", queue, "m" + i);
        }
        check("all messages were acked",
                channel.waitForConfirms(TimeUnit.SECONDS.toMillis(Fixture.WAIT_SECONDS)));
        expectCount(channel, queue, messages);
    }

    static void mandatoryReturn(Fixture t) throws Exception {
        Channel channel = t.openConfirming();
        BlockingQueue<Return> returns = new LinkedBlockingQueue<>();
        channel.addReturnListener(returns::add);
        AMQP.BasicProperties properties =
                new AMQP.BasicProperties.Builder().messageId("m1").build();
        channel.basicPublish("amq.direct", t.name("nowhere"), true, properties, bytes("come back"));
        check("an unroutable message is acked",
                channel.waitForConfirms(TimeUnit.SECONDS.toMillis(Fixture.WAIT_SECONDS)));
        Return returned = returns.poll();
        check("the return comes before the ack", returned != null);
        equal("reply code", returned.getReplyCode(), AMQP.NO_ROUTE);
        equal("reply text", returned.getReplyText(), "NO_ROUTE");
        equal("exchange", returned.getExchange(), "amq.direct");
        equal("routing key", returned.getRoutingKey(), t.name("nowhere"));
        equal("message id", returned.getProperties().getMessageId(), "m1");
        equal("body", text(returned.getBody()), "come back");
    }

    static void nackRequeue(Fixture t) throws Exception {
        Channel channel = t.open();
        String queue = t.queue(channel, "q");
        for (String body : List.of("a", "b", "c")) {
            publish(channel, "", queue, body);
        }
        get(channel, queue);
        GetResponse second = get(channel, queue);
        channel.basicNack(second.getEnvelope().getDeliveryTag(), true, true);
        for (String body : List.of("a", "b")) {
            GetResponse again = get(channel, queue);
            equal("body", text(again.getBody()), body);
            equal("redelivered", again.getEnvelope().isRedeliver(), true);
            channel.basicNack(again.getEnvelope().getDeliveryTag(), false, false);
        }
        GetResponse last = get(channel, queue);
        equal("body", text(last.getBody()), "c");
        equal("redelivered", last.getEnvelope().isRedeliver(), false);
        channel.basicReject(last.getEnvelope().getDeliveryTag(), false);
        check("the queue is empty", channel.basicGet(queue, false) == null);
    }

    static void cancelNotification(Fixture t) throws Exception {
        Channel channel = t.open();
        String queue = t.queue(channel, "q");
        BlockingQueue<String> cancelled = new LinkedBlockingQueue<>();
        channel.basicConsume(queue, false, "the-tag", (tag, delivery) -> {}, cancelled::add);
        t.open().queueDelete(queue);
        equal("cancelled tag", take("cancellation", cancelled), "the-tag");
        privateQueue(channel); // the channel stays usable
    }

    static void txCommitRollback(Fixture t) throws Exception {
        Channel channel = t.open();
        String queue = t.queue(channel, "q");
        channel.txSelect();
        publish(channel, "", queue, "rolled back");
        channel.txRollback();
        publish(channel, "", queue, "committed");
        expectCount(channel, queue, 0);
        channel.txCommit();

        GetResponse response = get(channel, queue);
        equal("body", text(response.getBody()), "committed");
        channel.basicAck(response.getEnvelope().getDeliveryTag(), false);
        channel.txRollback();
        channel.close();
        equal("redelivered after the rollback of its ack",
                get(t.open(), queue).getEnvelope().isRedeliver(), true);
    }

    static void missingQueue(Fixture t) throws Exception {
        Connection connection = t.connect(Fixture.factory());
        Channel channel = connection.createChannel();
        refused(AMQP.NOT_FOUND, () -> channel.queueDeclarePassive(t.name("missing")));
        check("the channel is closed", !channel.isOpen());
        privateQueue(connection.createChannel());
    }

    static void inequivalentRedeclare(Fixture t) throws Exception {
        Connection connection = t.connect(Fixture.factory());
        Channel channel = connection.createChannel();
        String queue = t.queue(channel, "q");
        refused(AMQP.PRECONDITION_FAILED,
                () -> channel.queueDeclare(queue, true, false, true, null));

        Channel next = connection.createChannel();
        publish(next, "", queue, "after the error");
        equal("body", text(get(next, queue).getBody()), "after the error");
    }

    static void exclusiveQueue(Fixture t) throws Exception {
        Connection owner = t.connect(Fixture.factory());
        Connection other = t.connect(Fixture.factory());
        String queue = privateQueue(owner.createChannel());
        owner.createChannel().queueDeclarePassive(queue);
        refused(AMQP.RESOURCE_LOCKED, () -> other.createChannel().queueDeclarePassive(queue));
        refused(AMQP.RESOURCE_LOCKED, () -> other.createChannel().basicGet(queue, true));
        refused(AMQP.RESOURCE_LOCKED,
                () -> consume(other.createChannel(), queue, true));
        refused(AMQP.RESOURCE_LOCKED, () -> other.createChannel().queueDelete(queue));
        owner.close();
        refused(AMQP.NOT_FOUND, () -> other.createChannel().queueDeclarePassive(queue));
    }

    static void wrongPassword(Fixture t) throws Exception {
        ConnectionFactory factory = Fixture.factory();
        factory.setPassword("not the password");
        try {
            t.connect(factory);
        } catch (AuthenticationFailureException e) {
            check("the reason is ACCESS_REFUSED", e.getMessage().contains("ACCESS_REFUSED"));
            return;
        }
        throw new Fixture.Failure("the login was accepted");
    }

    static void connectionLoss(Fixture t) throws Exception {
        List<Socket> sockets = new ArrayList<>();
        ConnectionFactory factory = Fixture.factory();
        factory.setSocketConfigurator(sockets::add);
        Connection connection = t.connect(factory);
        BlockingQueue<ShutdownSignalException> lost = new LinkedBlockingQueue<>();
        connection.addShutdownListener(lost::add);
        Channel channel = connection.createChannel();
        String queue = t.queue(channel, "q");
        publish(channel, "", queue, "survives");
        Delivery first = receive(consume(channel, queue, false));
        equal("redelivered", first.getEnvelope().isRedeliver(), false);

        sockets.get(0).setSoLinger(true, 0); // closing sends a reset, as when a process dies
        sockets.get(0).close();
        take("notice of the loss", lost);

        Delivery second = receive(consume(t.open(), queue, false));
        equal("body", text(second.getBody()), "survives");
        equal("redelivered", second.getEnvelope().isRedeliver(), true);
    }

    /** The client reconnects by itself and declares its exchange, queue, binding, consumer anew. */
    static void topologyRecovery(Fixture t) throws Exception {
        try (Proxy proxy = new Proxy(Fixture.host(), Fixture.port())) {
            ConnectionFactory factory = Fixture.factory();
            factory.setHost("127.0.0.1");
            factory.setPort(proxy.port());
            factory.setAutomaticRecoveryEnabled(true);
            factory.setTopologyRecoveryEnabled(true);
            factory.setNetworkRecoveryInterval(100);
            Connection connection = t.connect(factory);
            BlockingQueue<Recoverable> recovered = new LinkedBlockingQueue<>();
            ((Recoverable) connection).addRecoveryListener(listener(recovered));

            Channel channel = connection.createChannel();
            String exchange = t.exchange(channel, "x", "direct");
            String queue = t.queue(channel, "q");
            String own = privateQueue(channel);
            channel.queueBind(queue, exchange, "key");
            channel.queueBind(own, exchange, "own");
            BlockingQueue<Delivery> deliveries = consume(channel, queue, false);
            BlockingQueue<Delivery> ownDeliveries = consume(channel, own, true);
            publish(channel, exchange, "key", "before");
            equal("redelivered", receive(deliveries).getEnvelope().isRedeliver(), false);

            proxy.cut();
            take("recovery", recovered);

            Delivery again = receive(deliveries);
            equal("body", text(again.getBody()), "before");
            equal("redelivered", again.getEnvelope().isRedeliver(), true);
            channel.basicAck(again.getEnvelope().getDeliveryTag(), false);
            publish(channel, exchange, "key", "after");
            publish(channel, exchange, "own", "after, to the exclusive queue");
            expectBodies(deliveries, "after");
            expectBodies(ownDeliveries, "after, to the exclusive queue");
        }
    }

    private static RecoveryListener listener(BlockingQueue<Recoverable> recovered) {
        return new RecoveryListener() {
            @Override
            public void handleRecovery(Recoverable recoverable) {
                recovered.add(recoverable);
            }

            @Override
            public void handleRecoveryStarted(Recoverable recoverable) {}
        };
    }

    static void bigBody(Fixture t) throws Exception {
        byte[] body = new byte[10 << 20];
        new Random().nextBytes(body);
        Channel channel = t.open();
        String queue = t.queue(channel, "q");
        channel.basicPublish("", queue, null, body);
        byte[] received = receive(consume(t.open(), queue, true)).getBody();
        check("the body is unchanged", Arrays.equals(received, body));
    }

    /** Each channel consumes from a queue of its own; its message comes from its neighbour. */
    static void manyChannels(Fixture t) throws Exception {
        final int count = 1000;
        ConnectionFactory factory = Fixture.factory();
        factory.setRequestedChannelMax(count);
        Connection connection = t.connect(factory);
        equal("channel-max", connection.getChannelMax(), count);
        List<Channel> channels = new ArrayList<>();
        List<String> queues = new ArrayList<>();
        List<BlockingQueue<Delivery>> deliveries = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            Channel channel = connection.createChannel();
            String queue = privateQueue(channel);
            channels.add(channel);
            queues.add(queue);
            deliveries.add(consume(channel, queue, true));
        }
        check("the client opens no channel above the maximum", connection.createChannel() == null);
        for (int i = 0; i < count; i++) {
            publish(channels.get(i), "", queues.get((i + 1) % count), "from " + i);
        }
        for (int i = 0; i < count; i++) {
            expectBodies(deliveries.get(i), "from " + (i + count - 1) % count);
        }
    }
}
