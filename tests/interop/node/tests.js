'use strict';

// Tests of an AMQP 0-9-1 broker with the Node client, amqplib.

const assert = require('node:assert/strict');
const crypto = require('node:crypto');
const {broker, Mailbox, run} = require('./harness');
const {Proxy} = require('./proxy');

async function expectBodies(deliveries, bodies) {
  for (const body of bodies) {
    assert.equal((await deliveries.take()).content.toString(), body);
  }
}

async function expectCount(channel, queue, count) {
  assert.equal((await channel.checkQueue(queue)).messageCount, count);
}

async function helloWorld(t) {
  const channel = await t.open();
  const queue = await t.queue(channel, 'q');
  channel.sendToQueue(queue, Buffer.from('Hello World!'));

  const message = await (await t.consume(await t.open(), queue, {noAck: true})).take();
  assert.equal(message.content.toString(), 'Hello World!');
  assert.equal(message.fields.exchange, '');
  assert.equal(message.fields.routingKey, queue);
  assert.equal(message.fields.redelivered, false);
}

// With a prefetch of one, a worker that is busy with its first task gets no second one, and the
// other worker does all the rest.
async function workQueue(t) {
  const tasks = 10;
  const channel = await t.open();
  const queue = await t.queue(channel, 'tasks');
  const busy = await t.open();
  const quick = await t.open();
  await busy.prefetch(1);
  await quick.prefetch(1);
  const forBusy = await t.consume(busy, queue);
  const forQuick = await t.consume(quick, queue);

  for (let i = 0; i < tasks; i++) {
    channel.sendToQueue(queue, Buffer.from(`task ${i}`));
  }
  const held = await forBusy.take();
  const done = new Set([held.content.toString()]);
  for (let i = 1; i < tasks; i++) {
    const message = await forQuick.take();
    done.add(message.content.toString());
    quick.ack(message);
  }
  assert.equal(done.size, tasks);
  assert.equal(forBusy.items.length, 0);
  busy.ack(held);
}

async function publishSubscribe(t) {
  const channel = await t.open();
  const exchange = await t.exchange(channel, 'logs', 'fanout');
  const subscribers = [];
  for (let i = 0; i < 3; i++) {
    const subscriber = await t.open();
    const queue = await t.privateQueue(subscriber);
    await subscriber.bindQueue(queue, exchange, '');
    subscribers.push(await t.consume(subscriber, queue, {noAck: true}));
  }
  channel.publish(exchange, 'ignored', Buffer.from('first'));
  channel.publish(exchange, '', Buffer.from('second'));
  for (const deliveries of subscribers) {
    await expectBodies(deliveries, ['first', 'second']);
  }
}

async function routing(t) {
  const channel = await t.openConfirming();
  const exchange = await t.exchange(channel, 'direct_logs', 'direct');
  const errors = await t.privateQueue(channel);
  const all = await t.privateQueue(channel);
  await channel.bindQueue(errors, exchange, 'error');
  for (const severity of ['info', 'warning', 'error']) {
    await channel.bindQueue(all, exchange, severity);
  }
  for (const severity of ['info', 'error', 'debug', 'warning']) {
    channel.publish(exchange, severity, Buffer.from(severity));
  }
  await channel.waitForConfirms();
  await expectCount(channel, errors, 1);
  await expectCount(channel, all, 3);
  await expectBodies(await t.consume(channel, errors), ['error']);
  await expectBodies(await t.consume(channel, all), ['info', 'error', 'warning']);
}

async function topics(t) {
  const keys = ['kern.critical', 'kern', 'kern.disk.warning', 'cron.critical', ''];
  const expected = {
    '#': keys,
    'kern.*': ['kern.critical'],
    'kern.#': ['kern.critical', 'kern', 'kern.disk.warning'],
    '*.critical': ['kern.critical', 'cron.critical'],
    '#.warning': ['kern.disk.warning'],
    'kern.critical': ['kern.critical'],
  };
  const channel = await t.openConfirming();
  const exchange = await t.exchange(channel, 'topic_logs', 'topic');
  const queues = {};
  for (const pattern of Object.keys(expected)) {
    queues[pattern] = await t.privateQueue(channel);
    await channel.bindQueue(queues[pattern], exchange, pattern);
  }
  for (const key of keys) {
    channel.publish(exchange, key, Buffer.from(key));
  }
  await channel.waitForConfirms();
  for (const [pattern, bodies] of Object.entries(expected)) {
    await expectCount(channel, queues[pattern], bodies.length);
    await expectBodies(await t.consume(channel, queues[pattern]), bodies);
  }
}

async function rpc(t) {
  const server = await t.open();
  const requests = await t.queue(server, 'rpc');
  await server.prefetch(1);
  await server.consume(requests, (request) => {
    const n = Number(request.content.toString());
    const {replyTo, correlationId} = request.properties;
    server.sendToQueue(replyTo, Buffer.from(String(n * n)), {correlationId});
    server.ack(request);
  });

  const client = await t.open();
  const replyTo = await t.privateQueue(client);
  const replies = await t.consume(client, replyTo, {noAck: true});
  for (let i = 0; i < 20; i++) {
    client.sendToQueue(requests, Buffer.from(String(i)), {correlationId: `call-${i}`, replyTo});
  }
  for (let i = 0; i < 20; i++) {
    const reply = await replies.take();
    assert.equal(reply.properties.correlationId, `call-${i}`);
    assert.equal(reply.content.toString(), String(i * i));
  }
}

async function properties(t) {
  const sent = {
    contentType: 'text/plain', contentEncoding: 'utf-8', deliveryMode: 2, priority: 7,
    correlationId: 'corr', replyTo: 'reply', expiration: '60000', messageId: 'msg',
    timestamp: 1700000000, type: 'type', userId: broker.username, appId: 'app',
    headers: {
      string: 'value', int: 5, negative: -5, big: 2 ** 40, bool: true, double: 2.5, nothing: null,
      list: ['a', 1], table: {nested: 'yes'}, bytes: Buffer.from([0, 255]),
    },
  };
  const channel = await t.open();
  const queue = await t.queue(channel, 'q');
  channel.sendToQueue(queue, Buffer.from('with every property'), sent);
  const message = await channel.get(queue, {noAck: true});
  assert.deepEqual({...message.properties}, {...sent, clusterId: undefined});
  assert.equal(message.content.toString(), 'with every property');
}

async function publisherConfirms(t) {
  const messages = 500;
  const channel = await t.openConfirming();
  const queue = await t.queue(channel, 'q');
  const confirms = new Mailbox('confirm');
  for (let i = 0; i < messages; i++) {
    channel.sendToQueue(queue, Buffer.from(`m${i}`), {}, (error) => confirms.put(error));
  }
  for (let i = 0; i < messages; i++) {
    assert.equal(await confirms.take(), null);
  }
  await expectCount(channel, queue, messages);
}

async function mandatoryReturn(t) {
  const channel = await t.openConfirming();
  const key = t.name('nowhere');
  channel.publish('amq.direct', key, Buffer.from('come back'), {mandatory: true, messageId: 'm1'});
  await channel.waitForConfirms();
  assert.equal(channel.returned.items.length, 1, 'the return comes before the ack');

  const message = await channel.returned.take();
  assert.equal(message.fields.replyCode, 312);
  assert.equal(message.fields.replyText, 'NO_ROUTE');
  assert.equal(message.fields.exchange, 'amq.direct');
  assert.equal(message.fields.routingKey, key);
  assert.equal(message.properties.messageId, 'm1');
  assert.equal(message.content.toString(), 'come back');
}

// A client gets null for a message when its consumer is cancelled.
async function cancelNotification(t) {
  const channel = await t.open();
  const queue = await t.queue(channel, 'q');
  const deliveries = await t.consume(channel, queue);
  await (await t.open()).deleteQueue(queue);
  assert.equal(await deliveries.take(), null);
  await t.privateQueue(channel); // the channel stays usable
}

async function expectRefusal(channel, code, promise) {
  await assert.rejects(promise, {code});
  assert.equal((await channel.errors.take()).code, code);
}

async function missingQueue(t) {
  const connection = await t.connect();
  const channel = await t.channel(connection);
  await expectRefusal(channel, 404, channel.checkQueue(t.name('missing')));
  await t.privateQueue(await t.channel(connection));
}

async function inequivalentRedeclare(t) {
  const connection = await t.connect();
  const channel = await t.channel(connection);
  const queue = await t.queue(channel, 'q');
  await expectRefusal(channel, 406, channel.assertQueue(queue, {durable: false}));

  const next = await t.channel(connection);
  next.sendToQueue(queue, Buffer.from('after the error'));
  assert.equal((await next.get(queue)).content.toString(), 'after the error');
}

async function wrongPassword(t) {
  await assert.rejects(t.connect({password: 'not the password'}), /403.*ACCESS.REFUSED/);
}

async function withProxy(body) {
  const proxy = new Proxy(broker);
  const port = await proxy.listen();
  try {
    await body(proxy, {hostname: '127.0.0.1', port});
  } finally {
    proxy.close();
  }
}

async function connectionLoss(t) {
  await withProxy(async (proxy, address) => {
    const connection = await t.connect(address);
    const channel = await t.channel(connection);
    const queue = await t.queue(channel, 'q');
    channel.sendToQueue(queue, Buffer.from('survives'));
    const first = await (await t.consume(channel, queue)).take();
    assert.equal(first.fields.redelivered, false);

    proxy.cut();
    assert.equal((await connection.errors.take()).code, 'ECONNRESET');

    const next = await t.open();
    const second = await (await t.consume(next, queue)).take();
    assert.equal(second.content.toString(), 'survives');
    assert.equal(second.fields.redelivered, true);
    next.ack(second);
  });
}

// The client connects anew by itself and calls setup, which declares and consumes again.
async function recovery(t) {
  await withProxy(async (proxy, address) => {
    const deliveries = new Mailbox('delivery');
    const consuming = new Mailbox('start of the consumer');
    const setup = async (model) => {
      const channel = await t.channel(model);
      const queue = await t.queue(channel, 'q');
      await channel.consume(queue, (message) => deliveries.put({channel, message}));
      consuming.put({channel, queue});
    };
    const connection = await t.connect(address, {recovery: {initialDelay: 50, setup}});
    const before = await consuming.take();
    before.channel.sendToQueue(before.queue, Buffer.from('before'));
    assert.equal((await deliveries.take()).message.fields.redelivered, false);

    proxy.cut();
    const after = await consuming.take();
    const {channel, message} = await deliveries.take();
    assert.equal(message.content.toString(), 'before');
    assert.equal(message.fields.redelivered, true);
    channel.ack(message);
    after.channel.sendToQueue(after.queue, Buffer.from('after'));
    assert.equal((await deliveries.take()).message.content.toString(), 'after');
    await connection.close();
  });
}

async function bigBody(t) {
  const body = crypto.randomBytes(10 << 20);
  const channel = await t.open();
  const queue = await t.queue(channel, 'q');
  channel.sendToQueue(queue, body);
  const message = await (await t.consume(await t.open(), queue, {noAck: true})).take();
  assert.ok(message.content.equals(body), 'the body changed on its way');
}

run({
  hello_world: helloWorld,
  work_queue: workQueue,
  publish_subscribe: publishSubscribe,
  routing,
  topics,
  rpc,
  properties,
  publisher_confirms: publisherConfirms,
  mandatory_return: mandatoryReturn,
  cancel_notification: cancelNotification,
  missing_queue: missingQueue,
  inequivalent_redeclare: inequivalentRedeclare,
  wrong_password: wrongPassword,
  connection_loss: connectionLoss,
  recovery,
  big_body: bigBody,
});
