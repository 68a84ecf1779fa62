<?php

// Tests of an AMQP 0-9-1 broker with the PHP client, php-amqplib.

declare(strict_types=1);

use PhpAmqpLib\Exception\AMQPBasicCancelException;
use PhpAmqpLib\Exception\AMQPConnectionClosedException;
use PhpAmqpLib\Message\AMQPMessage;
use PhpAmqpLib\Wire\AMQPTable;

require_once __DIR__ . '/harness.php';

function helloWorld(Fixture $t): void
{
    $channel = $t->open();
    $queue = $t->queue($channel, 'q');
    $t->publish($channel, '', $queue, 'Hello World!');

    $message = (new Deliveries($t->open(), $queue, true))->take();
    equal('body', $message->getBody(), 'Hello World!');
    equal('exchange', $message->getExchange(), '');
    equal('routing key', $message->getRoutingKey(), $queue);
    equal('redelivered', (bool) $message->isRedelivered(), false);
}

/**
 * With a prefetch of one, a worker that is busy with its first task gets no second one, and the
 * other worker does all the rest.
 */
function workQueue(Fixture $t): void
{
    $tasks = 10;
    $channel = $t->open();
    $queue = $t->queue($channel, 'tasks');
    [$busy, $quick] = [$t->open(), $t->open()];
    $busy->basic_qos(0, 1, false);
    $quick->basic_qos(0, 1, false);
    $forBusy = new Deliveries($busy, $queue, false);
    $forQuick = new Deliveries($quick, $queue, false);

    for ($i = 0; $i < $tasks; $i++) {
        $t->publish($channel, '', $queue, "task $i");
    }
    $held = $forBusy->take();
    $done = [$held->getBody() => true];
    for ($i = 1; $i < $tasks; $i++) {
        $message = $forQuick->take();
        $done[$message->getBody()] = true;
        $message->ack();
    }
    equal('tasks done', count($done), $tasks);
    check('the busy worker has no second task', $forBusy->isEmpty($queue));
    $held->ack();
}

function publishSubscribe(Fixture $t): void
{
    $channel = $t->open();
    $exchange = $t->exchange($channel, 'logs', 'fanout');
    $subscribers = [];
    for ($i = 0; $i < 3; $i++) {
        $subscriber = $t->open();
        $queue = $t->privateQueue($subscriber);
        $subscriber->queue_bind($queue, $exchange);
        $subscribers[] = new Deliveries($subscriber, $queue, true);
    }
    $t->publish($channel, $exchange, 'ignored', 'first');
    $t->publish($channel, $exchange, '', 'second');
    foreach ($subscribers as $deliveries) {
        $deliveries->expect('first', 'second');
    }
}

function routing(Fixture $t): void
{
    $channel = $t->openConfirming();
    $exchange = $t->exchange($channel, 'direct_logs', 'direct');
    [$errors, $all] = [$t->privateQueue($channel), $t->privateQueue($channel)];
    $channel->queue_bind($errors, $exchange, 'error');
    foreach (['info', 'warning', 'error'] as $severity) {
        $channel->queue_bind($all, $exchange, $severity);
    }
    foreach (['info', 'error', 'debug', 'warning'] as $severity) {
        $t->publish($channel, $exchange, $severity, $severity);
    }
    $t->confirmed($channel);
    $t->expectCount($channel, $errors, 1);
    $t->expectCount($channel, $all, 3);
    (new Deliveries($channel, $errors, true))->expect('error');
    (new Deliveries($channel, $all, true))->expect('info', 'error', 'warning');
}

function topics(Fixture $t): void
{
    $keys = ['kern.critical', 'kern', 'kern.disk.warning', 'cron.critical', ''];
    $expected = [
        '#' => $keys,
        'kern.*' => ['kern.critical'],
        'kern.#' => ['kern.critical', 'kern', 'kern.disk.warning'],
        '*.critical' => ['kern.critical', 'cron.critical'],
        '#.warning' => ['kern.disk.warning'],
        'kern.critical' => ['kern.critical'],
    ];
    $channel = $t->openConfirming();
    $exchange = $t->exchange($channel, 'topic_logs', 'topic');
    $queues = [];
    foreach (array_keys($expected) as $pattern) {
        $queues[$pattern] = $t->privateQueue($channel);
        $channel->queue_bind($queues[$pattern], $exchange, $pattern);
    }
    foreach ($keys as $key) {
        $t->publish($channel, $exchange, $key, $key);
    }
    $t->confirmed($channel);
    foreach ($expected as $pattern => $bodies) {
        $t->expectCount($channel, $queues[$pattern], count($bodies));
        (new Deliveries($channel, $queues[$pattern], true))->expect(...$bodies);
    }
}

function rpc(Fixture $t): void
{
    $server = $t->open();
    $queue = $t->queue($server, 'rpc');
    $server->basic_qos(0, 1, false);
    $requests = new Deliveries($server, $queue, false);

    $client = $t->open();
    $replyTo = $t->privateQueue($client);
    $replies = new Deliveries($client, $replyTo, true);
    for ($i = 0; $i < 20; $i++) {
        $properties = ['correlation_id' => "call-$i", 'reply_to' => $replyTo];
        $client->basic_publish(new AMQPMessage((string) $i, $properties), '', $queue);

        $request = $requests->take();
        $n = (int) $request->getBody();
        $properties = ['correlation_id' => $request->get('correlation_id')];
        $server->basic_publish(
            new AMQPMessage((string) ($n * $n), $properties),
            '',
            $request->get('reply_to')
        );
        $request->ack();

        $reply = $replies->take();
        equal('correlation id', $reply->get('correlation_id'), "call-$i");
        equal('reply', $reply->getBody(), (string) ($i * $i));
    }
}

function properties(Fixture $t): void
{
    $headers = [
        'string' => 'value', 'int' => 5, 'big' => 2 ** 40, 'bool' => true, 'null' => null,
        'list' => ['a', 1], 'table' => ['nested' => 'yes'],
    ];
    $sent = [
        'content_type' => 'text/plain', 'content_encoding' => 'utf-8', 'delivery_mode' => 2,
        'priority' => 7, 'correlation_id' => 'corr', 'reply_to' => 'reply',
        'expiration' => '60000', 'message_id' => 'msg', 'timestamp' => 1700000000,
        'type' => 'type', 'user_id' => setting('CONEY_USER', 'guest'), 'app_id' => 'app',
        'cluster_id' => 'cluster',
    ];
    $channel = $t->open();
    $queue = $t->queue($channel, 'q');
    $properties = $sent + ['application_headers' => new AMQPTable($headers)];
    $channel->basic_publish(new AMQPMessage('with every property', $properties), '', $queue);
    $message = $t->get($channel, $queue);
    equal('headers', $message->get('application_headers')->getNativeData(), $headers);
    foreach ($sent as $name => $value) {
        equal($name, $message->get($name), $value);
    }
    equal('body', $message->getBody(), 'with every property');
}

function publisherConfirms(Fixture $t): void
{
    $messages = 500;
    $channel = $t->openConfirming();
    $queue = $t->queue($channel, 'q');
    $acked = 0;
    $channel->set_ack_handler(function () use (&$acked): void {
        $acked++;
    });
    for ($i = 0; $i < $messages; $i++) {
        $t->publish($channel, '', $queue, "m$i");
    }
    $t->confirmed($channel);
    equal('acks', $acked, $messages);
    $t->expectCount($channel, $queue, $messages);
}

function mandatoryReturn(Fixture $t): void
{
    $channel = $t->openConfirming();
    $key = $t->name('nowhere');
    $returns = [];
    $channel->set_return_listener(function (...$arguments) use (&$returns): void {
        $returns[] = $arguments;
    });
    $message = new AMQPMessage('come back', ['message_id' => 'm1']);
    $channel->basic_publish($message, 'amq.direct', $key, true);
    $t->confirmed($channel);

    equal('returns before the ack', count($returns), 1);
    $returned = array_pop($returns[0]);
    equal('code, text, exchange, key', $returns[0], [312, 'NO_ROUTE', 'amq.direct', $key]);
    equal('message id', $returned->get('message_id'), 'm1');
    equal('body', $returned->getBody(), 'come back');
}

function cancelNotification(Fixture $t): void
{
    $channel = $t->open();
    $queue = $t->queue($channel, 'q');
    $tag = $channel->basic_consume($queue, callback: fn () => null);
    $t->open()->queue_delete($queue);
    try {
        $channel->wait(null, false, WAIT_SECONDS);
    } catch (AMQPBasicCancelException $e) {
        equal('consumer tag', $e->consumerTag, $tag);
        $t->privateQueue($channel); // the channel stays usable
        return;
    }
    throw new Failure('the consumer was not cancelled');
}

function missingQueue(Fixture $t): void
{
    $connection = $t->connect();
    $channel = $connection->channel();
    refused(404, fn () => $channel->queue_declare($t->name('missing'), passive: true));
    $t->privateQueue($connection->channel());
}

function inequivalentRedeclare(Fixture $t): void
{
    $connection = $t->connect();
    $channel = $connection->channel();
    $queue = $t->queue($channel, 'q');
    refused(406, fn () => $channel->queue_declare($queue, durable: false, auto_delete: false));

    $next = $connection->channel();
    $t->publish($next, '', $queue, 'after the error');
    equal('body', $t->get($next, $queue)->getBody(), 'after the error');
}

function wrongPassword(Fixture $t): void
{
    try {
        $t->connect('not the password');
    } catch (AMQPConnectionClosedException $e) {
        equal('reply code', $e->getCode(), 403);
        return;
    }
    throw new Failure('the login was accepted');
}

/** The socket goes without a word of the protocol; then the connection object reconnects. */
function connectionLoss(Fixture $t): void
{
    $connection = $t->connect();
    $channel = $connection->channel();
    $queue = $t->queue($channel, 'q');
    $t->publish($channel, '', $queue, 'survives');
    $first = (new Deliveries($channel, $queue, false))->take();
    equal('redelivered', (bool) $first->isRedelivered(), false);

    stream_socket_shutdown($connection->getIO()->getSocket(), STREAM_SHUT_RDWR);
    try {
        $channel->wait(null, false, WAIT_SECONDS);
        throw new Failure('the client did not notice the loss');
    } catch (AMQPConnectionClosedException $e) {
        check('the connection is lost', !$connection->isConnected());
    }

    $connection->reconnect();
    $second = (new Deliveries($connection->channel(), $queue, false))->take();
    equal('body', $second->getBody(), 'survives');
    equal('redelivered', (bool) $second->isRedelivered(), true);
    $second->ack();
}

function bigBody(Fixture $t): void
{
    $body = random_bytes(10 << 20);
    $channel = $t->open();
    $queue = $t->queue($channel, 'q');
    $t->publish($channel, '', $queue, $body);
    $received = (new Deliveries($t->open(), $queue, true))->take()->getBody();
    check('the body is unchanged', $received === $body);
}

exit(runAll([
    'hello_world' => 'helloWorld',
    'work_queue' => 'workQueue',
    'publish_subscribe' => 'publishSubscribe',
    'routing' => 'routing',
    'topics' => 'topics',
    'rpc' => 'rpc',
    'properties' => 'properties',
    'publisher_confirms' => 'publisherConfirms',
    'mandatory_return' => 'mandatoryReturn',
    'cancel_notification' => 'cancelNotification',
    'missing_queue' => 'missingQueue',
    'inequivalent_redeclare' => 'inequivalentRedeclare',
    'wrong_password' => 'wrongPassword',
    'connection_loss' => 'connectionLoss',
    'big_body' => 'bigBody',
]));
