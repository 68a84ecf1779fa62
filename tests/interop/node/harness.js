'use strict';

const crypto = require('node:crypto');
const amqplib = require('amqplib');

const WAIT_MS = 10000; // for any single event
const TEST_MS = 30000; // for a whole test

const broker = {
  hostname: process.env.CONEY_HOST || '127.0.0.1',
  port: Number(process.env.CONEY_PORT || 5672),
  username: process.env.CONEY_USER || 'guest',
  password: process.env.CONEY_PASS || 'guest',
  vhost: process.env.CONEY_VHOST || '/',
};

// Rejects when the promise takes too long.
async function within(ms, what, promise) {
  let timer;
  const limit = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no ${what} within ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([promise, limit]);
  } finally {
    clearTimeout(timer);
  }
}

// A queue of events: handlers put, the test awaits.
class Mailbox {
  constructor(what) {
    this.what = what;
    this.items = [];
    this.waiting = [];
  }

  put(item) {
    const resolve = this.waiting.shift();
    if (resolve) {
      resolve(item);
    } else {
      this.items.push(item);
    }
  }

  take() {
    const taken = this.items.length > 0
      ? Promise.resolve(this.items.shift())
      : new Promise((resolve) => this.waiting.push(resolve));
    return within(WAIT_MS, this.what, taken);
  }
}

// What one test needs: unique names, connections, and the removal of all that it declared.
class Fixture {
  constructor(test) {
    this.prefix = `interop-node-${crypto.randomUUID()}.${test}.`;
    this.connections = [];
    this.queues = [];
    this.exchanges = [];
  }

  name(suffix) {
    return this.prefix + suffix;
  }

  async connect(overrides = {}, options = {}) {
    const connection = await amqplib.connect({...broker, ...overrides}, options);
    connection.errors = new Mailbox('connection error');
    connection.on('error', (error) => connection.errors.put(error));
    this.connections.push(connection);
    return connection;
  }

  // A channel on a connection of its own.
  async open() {
    return this.channel(await this.connect());
  }

  // A channel whose publish can be awaited with waitForConfirms.
  async openConfirming() {
    const connection = await this.connect();
    return this.watch(await connection.createConfirmChannel());
  }

  async channel(connection) {
    return this.watch(await connection.createChannel());
  }

  // Collects the channel's errors and returned messages.
  watch(channel) {
    channel.errors = new Mailbox('channel error');
    channel.returned = new Mailbox('returned message');
    channel.on('error', (error) => channel.errors.put(error));
    channel.on('return', (message) => channel.returned.put(message));
    return channel;
  }

  // Declares a queue that is shared between connections and deleted after the test.
  async queue(channel, suffix) {
    const name = this.name(suffix);
    this.queues.push(name);
    await channel.assertQueue(name, {durable: true});
    return name;
  }

  async privateQueue(channel) {
    return (await channel.assertQueue('', {exclusive: true, durable: false})).queue;
  }

  async exchange(channel, suffix, type) {
    const name = this.name(suffix);
    this.exchanges.push(name);
    await channel.assertExchange(name, type, {durable: false});
    return name;
  }

  async consume(channel, queue, options) {
    const deliveries = new Mailbox('delivery');
    await channel.consume(queue, (message) => deliveries.put(message), options);
    return deliveries;
  }

  // Deletes through a fresh connection since the test may have lost its own.
  async close() {
    for (const connection of this.connections) {
      try {
        await within(WAIT_MS, 'close-ok', connection.close());
      } catch (error) {
        if (!(error instanceof amqplib.IllegalOperationError)) { // not just closed already
          throw error;
        }
      }
    }
    const connection = await amqplib.connect(broker);
    const channel = await connection.createChannel();
    for (const queue of this.queues) {
      await channel.deleteQueue(queue);
    }
    for (const exchange of this.exchanges) {
      await channel.deleteExchange(exchange);
    }
    await connection.close();
  }
}

async function attempt(name, body) {
  const fixture = new Fixture(name);
  try {
    await within(TEST_MS, 'end of the test', body(fixture));
  } catch (error) {
    // The first failure is the one to report; it may be why the cleaning fails as well.
    await within(TEST_MS, 'end of cleaning', fixture.close()).catch(() => {});
    throw error;
  }
  await within(TEST_MS, 'end of cleaning', fixture.close());
}

// Runs the tests, named by the object's keys, one after the other; sets the exit status.
async function run(tests) {
  let passed = 0;
  let failed = 0;
  for (const [name, body] of Object.entries(tests)) {
    try {
      await attempt(name, body);
      passed++;
      console.log(`ok ${name}`);
    } catch (error) {
      failed++;
      console.log(`not ok ${name}: ${error.stack}`);
    }
  }
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed > 0 ? 1 : 0);
}

module.exports = {broker, Mailbox, run};
