<?php

declare(strict_types=1);

use PhpAmqpLib\Channel\AMQPChannel;
use PhpAmqpLib\Connection\AMQPStreamConnection;
use PhpAmqpLib\Exception\AMQPProtocolChannelException;
use PhpAmqpLib\Message\AMQPMessage;

require_once 'PhpAmqpLib/autoload.php';

const WAIT_SECONDS = 10; // for any single event
const TEST_SECONDS = 30; // for a whole test

class Failure extends Exception
{
}

function setting(string $key, string $fallback): string
{
    $value = getenv($key);
    return $value === false || $value === '' ? $fallback : $value;
}

function check(string $what, bool $holds): void
{
    if (!$holds) {
        throw new Failure("not so: $what");
    }
}

function equal(string $what, mixed $got, mixed $want): void
{
    if ($got !== $want) {
        throw new Failure("$what is " . json_encode($got) . ', expected ' . json_encode($want));
    }
}

/** Expects that the broker closes the channel with the given code. */
function refused(int $code, callable $operation): void
{
    try {
        $operation();
    } catch (AMQPProtocolChannelException $e) {
        equal('reply code', $e->amqp_reply_code, $code);
        return;
    }
    throw new Failure("the operation was accepted, expected error $code");
}

/** A consumer and the messages that it has received. */
class Deliveries
{
    private array $messages = [];

    public function __construct(private AMQPChannel $channel, string $queue, bool $noAck)
    {
        $channel->basic_consume(
            $queue,
            no_ack: $noAck,
            callback: function (AMQPMessage $message): void {
                $this->messages[] = $message;
            }
        );
    }

    public function take(): AMQPMessage
    {
        while (!$this->messages) {
            $this->channel->wait(null, false, WAIT_SECONDS);
        }
        return array_shift($this->messages);
    }

    /** Whether nothing is there and nothing was on its way before the broker's last reply. */
    public function isEmpty(string $queue): bool
    {
        $this->channel->queue_declare($queue, passive: true);
        $this->channel->wait(null, true);
        return !$this->messages;
    }

    public function expect(string ...$bodies): void
    {
        foreach ($bodies as $body) {
            equal('body', $this->take()->getBody(), $body);
        }
    }
}

/** What one test needs: unique names, connections, and the removal of all it declared. */
class Fixture
{
    private string $prefix;
    private array $connections = [];
    private array $queues = [];
    private array $exchanges = [];

    public function __construct(string $test)
    {
        $this->prefix = 'interop-php-' . getmypid() . '-' . bin2hex(random_bytes(4)) . ".$test.";
    }

    public function name(string $suffix): string
    {
        return $this->prefix . $suffix;
    }

    public function connect(?string $password = null): AMQPStreamConnection
    {
        $connection = new AMQPStreamConnection(
            setting('CONEY_HOST', '127.0.0.1'),
            setting('CONEY_PORT', '5672'),
            setting('CONEY_USER', 'guest'),
            $password ?? setting('CONEY_PASS', 'guest'),
            setting('CONEY_VHOST', '/'),
            read_write_timeout: WAIT_SECONDS,
            channel_rpc_timeout: WAIT_SECONDS
        );
        $this->connections[] = $connection;
        return $connection;
    }

    /** A channel on a connection of its own. */
    public function open(): AMQPChannel
    {
        return $this->connect()->channel();
    }

    /** A channel on which confirmed() can wait. */
    public function openConfirming(): AMQPChannel
    {
        $channel = $this->open();
        $channel->confirm_select();
        return $channel;
    }

    public function confirmed(AMQPChannel $channel): void
    {
        $channel->set_nack_handler(function (): void {
            throw new Failure('a message was nacked');
        });
        $channel->wait_for_pending_acks_returns(WAIT_SECONDS);
    }

    /** Declares a queue that is shared between connections and deleted after the test. */
    public function queue(AMQPChannel $channel, string $suffix): string
    {
        $name = $this->name($suffix);
        $this->queues[] = $name;
        $channel->queue_declare($name, durable: true, auto_delete: false);
        return $name;
    }

    public function privateQueue(AMQPChannel $channel): string
    {
        return $channel->queue_declare('', exclusive: true)[0];
    }

    public function exchange(AMQPChannel $channel, string $suffix, string $type): string
    {
        $name = $this->name($suffix);
        $this->exchanges[] = $name;
        $channel->exchange_declare($name, $type, auto_delete: false);
        return $name;
    }

    public function publish(AMQPChannel $channel, string $exchange, string $key, string $body): void
    {
        $channel->basic_publish(new AMQPMessage($body), $exchange, $key);
    }

    public function get(AMQPChannel $channel, string $queue): AMQPMessage
    {
        $message = $channel->basic_get($queue);
        check("queue $queue has a message", $message !== null);
        return $message;
    }

    public function expectCount(AMQPChannel $channel, string $queue, int $count): void
    {
        equal('message count', $channel->queue_declare($queue, passive: true)[1], $count);
    }

    /** Deletes through a fresh connection since the test may have lost its own. */
    public function close(): void
    {
        foreach ($this->connections as $connection) {
            if ($connection->isConnected()) {
                $connection->close();
            }
        }
        $connection = $this->connect();
        $channel = $connection->channel();
        foreach ($this->queues as $queue) {
            $channel->queue_delete($queue);
        }
        foreach ($this->exchanges as $exchange) {
            $channel->exchange_delete($exchange);
        }
        $connection->close();
    }
}

/** Returns what went wrong, or null. */
function attempt(callable $body): ?string
{
    pcntl_alarm(TEST_SECONDS);
    try {
        $body();
        return null;
    } catch (Failure $e) {
        return $e->getMessage();
    } catch (Throwable $e) {
        return get_class($e) . ': ' . $e->getMessage() . ' at ' . $e->getTraceAsString();
    } finally {
        pcntl_alarm(0);
    }
}

/** Runs a function for each name; returns the exit status. */
function runAll(array $tests): int
{
    pcntl_async_signals(true);
    pcntl_signal(SIGALRM, function (): void {
        throw new Failure('not finished after ' . TEST_SECONDS . ' s');
    });
    $failed = 0;
    foreach ($tests as $name => $body) {
        $fixture = new Fixture($name);
        $failure = attempt(fn () => $body($fixture));
        $cleaning = attempt(fn () => $fixture->close());
        if ($failure === null && $cleaning !== null) {
            $failure = "cleaning up: $cleaning";
        }
        echo $failure === null ? "ok $name\n" : "not ok $name: $failure\n";
        $failed += $failure === null ? 0 : 1;
    }
    echo count($tests) - $failed, " passed, $failed failed\n";
    return $failed === 0 ? 0 : 1;
}
