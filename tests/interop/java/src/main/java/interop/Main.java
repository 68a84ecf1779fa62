package interop;

/** Tests of an AMQP 0-9-1 broker with the Java client, com.rabbitmq:amqp-client. */
final class Main {
    private Main() {}

    public static void main(String[] args) {
        Runner runner = new Runner();
        runner.run("hello_world", Patterns::helloWorld);
        runner.run("work_queue", Patterns::workQueue);
        runner.run("publish_subscribe", Patterns::publishSubscribe);
        runner.run("routing", Patterns::routing);
        runner.run("topics", Patterns::topics);
        runner.run("rpc", Patterns::rpc);
        runner.run("headers_exchange", Patterns::headersExchange);
        runner.run("exchange_to_exchange", Patterns::exchangeToExchange);
        runner.run("consumer_priorities", Patterns::consumerPriorities);
        runner.run("properties", Patterns::properties);
        runner.run("publisher_confirms", Reliability::publisherConfirms);
        runner.run("mandatory_return", Reliability::mandatoryReturn);
        runner.run("nack_requeue", Reliability::nackRequeue);
        runner.run("cancel_notification", Reliability::cancelNotification);
        runner.run("tx_commit_rollback", Reliability::txCommitRollback);
        runner.run("missing_queue", Reliability::missingQueue);
        runner.run("inequivalent_redeclare", Reliability::inequivalentRedeclare);
        runner.run("exclusive_queue", Reliability::exclusiveQueue);
        runner.run("wrong_password", Reliability::wrongPassword);
        runner.run("connection_loss", Reliability::connectionLoss);
        runner.run("topology_recovery", Reliability::topologyRecovery);
        runner.run("big_body", Reliability::bigBody);
        runner.run("many_channels", Reliability::manyChannels);
        System.exit(runner.summary());
    }
}
