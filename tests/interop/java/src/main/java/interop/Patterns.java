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
import static interop.Fixture.publishConfirmed;
import static interop.Fixture.receive;
import static interop.Fixture.text;

import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Delivery;
import com.rabbitmq.client.GetResponse;
import java.util.ArrayList;
import java.util.Date;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.BlockingQueue;

/** The patterns of messaging: from a plain queue to RPC, and all kinds of routing. */
final class Patterns {
    private Patterns() {}

    static void helloWorld(Fixture t) throws Exception {
        Channel channel = t.open();
        String queue = t.queue(channel, "q");
        publish(channel, "", queue, "Hello World!");

        Delivery delivery = receive(consume(t.open(), queue, true));
        equal("body", text(delivery.getBody()), "Hello World!");
        equal("exchange", delivery.getEnvelope().getExchange(), "");
        equal("routing key", delivery.getEnvelope().getRoutingKey(), queue);
        equal("redelivered", delivery.getEnvelope().isRedeliver(), false);
    }

    /**
     * With a prefetch of one, a worker that is busy with its first task gets no second one, and
     * the other worker does all the rest.
     */
    static void workQueue(Fixture t) throws Exception {
        final int tasks = 10;
        Channel channel = t.open();
        String queue = t.queue(channel, "tasks");
        Channel busy = t.open();
        Channel quick = t.open();
        busy.basicQos(1);
        quick.basicQos(1);
        BlockingQueue<Delivery> forBusy = consume(busy, queue, false);
        BlockingQueue<Delivery> forQuick = consume(quick, queue, false);

        for (int i = 0; i < tasks; i++) {
            publish(channel, "", queue, "task " + i);
        }
        Delivery held = receive(forBusy);
        Set<String> done = new HashSet<>(Set.of(text(held.getBody())));
        for (int i = 1; i < tasks; i++) {
            Delivery delivery = receive(forQuick);
            done.add(text(delivery.getBody()));
            quick.basicAck(delivery.getEnvelope().getDeliveryTag(), false);
        }
        equal("tasks done", done.size(), tasks);
        check("the busy worker has no second task", forBusy.isEmpty());
        busy.basicAck(held.getEnvelope().getDeliveryTag(), false);
    }

    static void publishSubscribe(Fixture t) throws Exception {
        Channel channel = t.open();
        String exchange = t.exchange(channel, "logs", "fanout");
        List<BlockingQueue<Delivery>> subscribers = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            Channel subscriber = t.open();
            String queue = privateQueue(subscriber);
            subscriber.queueBind(queue, exchange, "");
            subscribers.add(consume(subscriber, queue, true));
        }
        publish(channel, exchange, "ignored", "first");
        publish(channel, exchange, "", "second");
        for (BlockingQueue<Delivery> deliveries : subscribers) {
            expectBodies(deliveries, "first", "second");
        }
    }

    static void routing(Fixture t) throws Exception {
        Channel channel = t.openConfirming();
        String exchange = t.exchange(channel, "direct_logs", "direct");
        String errors = privateQueue(channel);
        String all = privateQueue(channel);
        channel.queueBind(errors, exchange, "error");
        for (String severity : List.of("info", "warning", "error")) {
            channel.queueBind(all, exchange, severity);
        }
        for (String severity : List.of("info", "error", "debug", "warning")) {
            publishConfirmed(channel, exchange, severity, null, severity);
        }
        expectCount(channel, errors, 1);
        expectCount(channel, all, 3);
        expectBodies(consume(channel, errors, true), "error");
        expectBodies(consume(channel, all, true), "info", "error", "warning");
    }

    static void topics(Fixture t) throws Exception {
        String[] keys = {"kern.critical", "kern", "kern.disk.warning", "cron.critical", ""};
        Map<String, String[]> expected = new LinkedHashMap<>();
        expected.put("#", keys);
        expected.put("kern.*", new String[] {"kern.critical"});
        expected.put("kern.#", new String[] {"kern.critical", "kern", "kern.disk.warning"});
        expected.put("*.critical", new String[] {"kern.critical", "cron.critical"});
        expected.put("#.warning", new String[] {"kern.disk.warning"});
        expected.put("kern.critical", new String[] {"kern.critical"});

        Channel channel = t.openConfirming();
        String exchange = t.exchange(channel, "topic_logs", "topic");
        Map<String, String> queues = new HashMap<>();
        for (String pattern : expected.keySet()) {
            queues.put(pattern, privateQueue(channel));
            channel.queueBind(queues.get(pattern), exchange, pattern);
        }
        for (String key : keys) {
            publishConfirmed(channel, exchange, key, null, key);
        }
        for (Map.Entry<String, String[]> entry : expected.entrySet()) {
            String queue = queues.get(entry.getKey());
            expectCount(channel, queue, entry.getValue().length);
            expectBodies(consume(channel, queue, true), entry.getValue());
        }
    }

    static void rpc(Fixture t) throws Exception {
        Channel server = t.open();
        String requests = t.queue(server, "rpc");
        server.basicQos(1);
        server.basicConsume(requests, false, (tag, request) -> {
            int n = Integer.parseInt(text(request.getBody()));
            AMQP.BasicProperties properties = new AMQP.BasicProperties.Builder()
                    .correlationId(request.getProperties().getCorrelationId()).build();
            server.basicPublish("", request.getProperties().getReplyTo(), properties,
                    bytes(String.valueOf(n * n)));
            server.basicAck(request.getEnvelope().getDeliveryTag(), false);
        }, tag -> {});

        Channel client = t.open();
        String replyTo = privateQueue(client);
        BlockingQueue<Delivery> replies = consume(client, replyTo, true);
        for (int i = 0; i < 20; i++) {
            AMQP.BasicProperties properties = new AMQP.BasicProperties.Builder()
                    .correlationId("call-" + i).replyTo(replyTo).build();
            client.basicPublish("", requests, properties, bytes(String.valueOf(i)));
        }
        for (int i = 0; i < 20; i++) {
            Delivery reply = receive(replies);
            equal("correlation id", reply.getProperties().getCorrelationId(), "call-" + i);
            equal("reply", text(reply.getBody()), String.valueOf(i * i));
        }
    }

    static void headersExchange(Fixture t) throws Exception {
        Channel channel = t.openConfirming();
        String exchange = t.exchange(channel, "headers", "headers");
        String all = privateQueue(channel);
        String any = privateQueue(channel);
        channel.queueBind(all, exchange, "", Map.of("x-match", "all", "format", "pdf", "pages", 3));
        channel.queueBind(any, exchange, "", Map.of("x-match", "any", "format", "pdf", "pages", 3));

        publishConfirmed(channel, exchange, "", Map.of("format", "pdf", "pages", 3L), "both");
        publishConfirmed(channel, exchange, "", Map.of("format", "pdf", "pages", 4), "one");
        publishConfirmed(channel, exchange, "", Map.of("format", "zip"), "neither");
        expectCount(channel, all, 1);
        expectCount(channel, any, 2);
        expectBodies(consume(channel, all, true), "both");
        expectBodies(consume(channel, any, true), "both", "one");
    }

    static void exchangeToExchange(Fixture t) throws Exception {
        Channel channel = t.openConfirming();
        String source = t.exchange(channel, "source", "topic");
        String destination = t.exchange(channel, "destination", "fanout");
        String queue = privateQueue(channel);
        channel.queueBind(queue, destination, "");
        channel.exchangeBind(destination, source, "orders.#");
        publishConfirmed(channel, source, "orders.new", null, "routed");
        publishConfirmed(channel, source, "invoices.new", null, "not routed");
        expectCount(channel, queue, 1);

        GetResponse response = get(channel, queue);
        equal("body", text(response.getBody()), "routed");
        equal("exchange", response.getEnvelope().getExchange(), source);
        equal("routing key", response.getEnvelope().getRoutingKey(), "orders.new");

        channel.exchangeUnbind(destination, source, "orders.#");
        publishConfirmed(channel, source, "orders.new", null, "no longer routed");
        expectCount(channel, queue, 0);
    }

    /** Messages go to the consumer of lower priority only while the other one is full. */
    static void consumerPriorities(Fixture t) throws Exception {
        Channel channel = t.openConfirming();
        String queue = t.queue(channel, "q");
        Channel low = t.open();
        Channel high = t.open();
        low.basicQos(10);
        high.basicQos(3);
        BlockingQueue<Delivery> forLow = consume(low, queue, false, Map.of("x-priority", -1));
        BlockingQueue<Delivery> forHigh = consume(high, queue, false, Map.of("x-priority", 5));

        for (int i = 0; i < 5; i++) {
            publishConfirmed(channel, "", queue, null, "m" + i);
        }
        expectBodies(forHigh, "m0", "m1", "m2");
        expectBodies(forLow, "m3", "m4");
        high.basicAck(0, true);
        for (int i = 5; i < 8; i++) {
            publish(high, "", queue, "m" + i); // on the channel of the ack, so after it
        }
        expectBodies(forHigh, "m5", "m6", "m7");
    }

    static void properties(Fixture t) throws Exception {
        Map<String, Object> headers = new HashMap<>();
        headers.put("int", 5);
        headers.put("long", Long.MIN_VALUE);
        headers.put("bool", true);
        headers.put("double", 2.5);
        headers.put("time", new Date(1600000000000L));
        headers.put("list", List.of(1, 2));
        headers.put("void", null);
        AMQP.BasicProperties sent = new AMQP.BasicProperties.Builder()
                .contentType("text/plain").contentEncoding("utf-8").deliveryMode(2).priority(7)
                .correlationId("corr").replyTo("reply").expiration("60000").messageId("msg")
                .timestamp(new Date(1700000000000L)).type("type")
                .userId(Fixture.env("CONEY_USER", "guest")).appId("app").clusterId("cluster")
                .headers(headers).build();
        Channel channel = t.open();
        String queue = t.queue(channel, "q");
        channel.basicPublish("", queue, sent, bytes("with every property"));
        GetResponse response = get(channel, queue);
        equal("properties", response.getProps(), sent);
        equal("body", text(response.getBody()), "with every property");
    }
}
