# frozen_string_literal: true

# Tests of an AMQP 0-9-1 broker with the Ruby client, bunny.

require_relative 'harness'
require_relative 'proxy'

module Tests
  module_function

  def hello_world(t)
    channel = t.open
    queue = t.queue(channel, 'q')
    queue.publish('Hello World!')

    message = t.consume(t.queue(t.open, 'q')).take
    t.equal('body', message.body, 'Hello World!')
    t.equal('exchange', message.info.exchange, '')
    t.equal('routing key', message.info.routing_key, queue.name)
    t.equal('redelivered', message.info.redelivered?, false)
  end

  # With a prefetch of one, a worker that is busy with its first task gets no second one, and the
  # other worker does all the rest.
  def work_queue(t)
    tasks = 10
    queue = t.queue(t.open, 'tasks')
    busy, quick = Array.new(2) { t.open.tap { |channel| channel.prefetch(1) } }
    for_busy = t.consume(t.queue(busy, 'tasks'), manual_ack: true)
    for_quick = t.consume(t.queue(quick, 'tasks'), manual_ack: true)

    tasks.times { |i| queue.publish("task #{i}") }
    held = for_busy.take
    done = [held.body]
    (tasks - 1).times do
      message = for_quick.take
      done << message.body
      quick.ack(message.info.delivery_tag)
    end
    t.equal('tasks done', done.uniq.size, tasks)
    t.check('the busy worker has no second task', for_busy.empty?)
    busy.ack(held.info.delivery_tag)
  end

  def publish_subscribe(t)
    exchange = t.exchange(t.open, :fanout, 'logs')
    subscribers = Array.new(3) do
      t.consume(t.private_queue(t.open).bind(exchange.name))
    end
    exchange.publish('first', routing_key: 'ignored')
    exchange.publish('second')
    subscribers.each { |deliveries| t.expect_bodies(deliveries, 'first', 'second') }
  end

  def routing(t)
    channel = t.open
    channel.confirm_select
    exchange = t.exchange(channel, :direct, 'direct_logs')
    errors = t.private_queue(channel).bind(exchange, routing_key: 'error')
    all = t.private_queue(channel)
    %w[info warning error].each { |severity| all.bind(exchange, routing_key: severity) }
    %w[info error debug warning].each do |severity|
      exchange.publish(severity, routing_key: severity)
    end
    t.wait_for_confirms(channel)
    t.equal('errors', errors.message_count, 1)
    t.equal('all', all.message_count, 3)
    t.expect_bodies(t.consume(errors), 'error')
    t.expect_bodies(t.consume(all), 'info', 'error', 'warning')
  end

  def topics(t)
    keys = ['kern.critical', 'kern', 'kern.disk.warning', 'cron.critical', '']
    expected = {
      '#' => keys,
      'kern.*' => ['kern.critical'],
      'kern.#' => ['kern.critical', 'kern', 'kern.disk.warning'],
      '*.critical' => ['kern.critical', 'cron.critical'],
      '#.warning' => ['kern.disk.warning'],
      'kern.critical' => ['kern.critical']
    }
    channel = t.open
    channel.confirm_select
    exchange = t.exchange(channel, :topic, 'topic_logs')
    queues = expected.keys.to_h do |pattern|
      [pattern, t.private_queue(channel).bind(exchange, routing_key: pattern)]
    end
    keys.each { |key| exchange.publish(key, routing_key: key) }
    t.wait_for_confirms(channel)
    expected.each do |pattern, bodies|
      t.equal("messages for #{pattern}", queues[pattern].message_count, bodies.size)
      t.expect_bodies(t.consume(queues[pattern]), *bodies)
    end
  end

  def rpc(t)
    server = t.open
    server.prefetch(1)
    requests = t.queue(server, 'rpc')
    requests.subscribe(manual_ack: true) do |info, properties, body|
      server.default_exchange.publish((Integer(body)**2).to_s,
                                      routing_key: properties.reply_to,
                                      correlation_id: properties.correlation_id)
      server.ack(info.delivery_tag)
    end

    client = t.open
    reply_queue = t.private_queue(client)
    replies = t.consume(reply_queue)
    20.times do |i|
      client.default_exchange.publish(i.to_s, routing_key: requests.name,
                                              correlation_id: "call-#{i}",
                                              reply_to: reply_queue.name)
    end
    20.times do |i|
      reply = replies.take
      t.equal('correlation id', reply.properties.correlation_id, "call-#{i}")
      t.equal('reply', reply.body, (i * i).to_s)
    end
  end

  def properties(t)
    sent = {
      content_type: 'text/plain', content_encoding: 'utf-8', delivery_mode: 2, priority: 7,
      correlation_id: 'corr', reply_to: 'reply', expiration: '60000', message_id: 'msg',
      timestamp: 1_700_000_000, type: 'type', user_id: BROKER[:username], app_id: 'app',
      headers: { 'string' => 'value', 'int' => 5, 'bool' => true, 'double' => 2.5, 'nil' => nil,
                 'list' => ['a', 1], 'table' => { 'nested' => 'yes' },
                 'time' => Time.at(1_600_000_000) }
    }
    queue = t.queue(t.open, 'q')
    queue.publish('with every property', sent)
    message = t.get(queue)
    t.equal('properties', message.properties.to_hash,
            sent.merge(timestamp: Time.at(sent[:timestamp])))
    t.equal('body', message.body, 'with every property')
  end

  def publisher_confirms(t)
    messages = 500
    channel = t.open
    queue = t.queue(channel, 'q')
    channel.confirm_select
    messages.times do |i|
      t.equal('next publish number', channel.next_publish_seq_no, i + 1)
      queue.publish("m#{i}")
    end
    t.wait_for_confirms(channel)
    t.equal('nacked', channel.nacked_set.size, 0)
    t.equal('message count', queue.message_count, messages)
  end

  def mandatory_return(t)
    channel = t.open
    channel.confirm_select
    exchange = channel.direct('amq.direct')
    returns = Mailbox.new('returned message')
    exchange.on_return do |info, properties, body|
      returns.put(Message.new(info, properties, body))
    end
    exchange.publish('come back', routing_key: t.name('nowhere'), mandatory: true,
                                  message_id: 'm1')
    t.wait_for_confirms(channel)
    message = returns.take
    t.equal('reply code', message.info.reply_code, 312)
    t.equal('reply text', message.info.reply_text, 'NO_ROUTE')
    t.equal('exchange', message.info.exchange, 'amq.direct')
    t.equal('routing key', message.info.routing_key, t.name('nowhere'))
    t.equal('message id', message.properties.message_id, 'm1')
    t.equal('body', message.body, 'come back')
  end

  def cancel_notification(t)
    channel = t.open
    queue = t.queue(channel, 'q')
    cancelled = Mailbox.new('cancellation')
    queue.subscribe(on_cancellation: ->(method) { cancelled.put(method.consumer_tag) },
                    consumer_tag: 'the-tag') {}
    t.open.queue_delete(queue.name)
    t.equal('consumer tag', cancelled.take, 'the-tag')
    t.private_queue(channel) # the channel stays usable
  end

  def missing_queue(t)
    session = t.connect
    t.refused(Bunny::NotFound, 404) do
      session.create_channel.queue(t.name('missing'), passive: true)
    end
    t.private_queue(session.create_channel)
  end

  def inequivalent_redeclare(t)
    session = t.connect
    name = t.queue(session.create_channel, 'q').name
    t.refused(Bunny::PreconditionFailed, 406) do
      session.create_channel.queue(name, durable: false)
    end
    queue = t.queue(session.create_channel, 'q')
    queue.publish('after the error')
    t.equal('body', t.get(queue).body, 'after the error')
  end

  def wrong_password(t)
    t.raised(Bunny::AuthenticationFailureError) { t.connect(password: 'not the password') }
  end

  def with_proxy
    proxy = Proxy.new(BROKER[:host], BROKER[:port])
    yield proxy
  ensure
    proxy.close
  end

  def connection_loss(t)
    with_proxy do |proxy|
      lost = ErrorMailbox.new('notice of the loss')
      session = t.connect(host: '127.0.0.1', port: proxy.port, session_error_handler: lost)
      queue = t.queue(session.create_channel, 'q')
      queue.publish('survives')
      first = t.consume(queue, manual_ack: true).take
      t.equal('redelivered', first.info.redelivered?, false)

      proxy.cut
      lost.take

      channel = t.open
      second = t.consume(t.queue(channel, 'q'), manual_ack: true).take
      t.equal('body', second.body, 'survives')
      t.equal('redelivered', second.info.redelivered?, true)
      channel.ack(second.info.delivery_tag)
    end
  end

  # The client reconnects by itself and declares its exchange, queues, bindings, consumers anew.
  def topology_recovery(t)
    with_proxy do |proxy|
      recovered = Mailbox.new('recovery')
      session = t.connect(host: '127.0.0.1', port: proxy.port, automatically_recover: true,
                          network_recovery_interval: 0.1,
                          recovery_completed: -> { recovered.put(true) })
      channel = session.create_channel
      exchange = t.exchange(channel, :direct, 'x')
      queue = t.queue(channel, 'q').bind(exchange, routing_key: 'key')
      own = t.private_queue(channel).bind(exchange, routing_key: 'own')
      deliveries = t.consume(queue, manual_ack: true)
      own_deliveries = t.consume(own)
      exchange.publish('before', routing_key: 'key')
      t.equal('redelivered', deliveries.take.info.redelivered?, false)

      proxy.cut
      recovered.take

      again = deliveries.take
      t.equal('body', again.body, 'before')
      t.equal('redelivered', again.info.redelivered?, true)
      channel.ack(again.info.delivery_tag)
      exchange.publish('after', routing_key: 'key')
      exchange.publish('after, to the exclusive queue', routing_key: 'own')
      t.expect_bodies(deliveries, 'after')
      t.expect_bodies(own_deliveries, 'after, to the exclusive queue')
    end
  end

  def big_body(t)
    body = SecureRandom.random_bytes(10 << 20)
    queue = t.queue(t.open, 'q')
    queue.publish(body)
    received = t.consume(t.queue(t.open, 'q')).take.body
    t.check('the body is unchanged', received.b == body)
  end
end

exit run_all(%i[hello_world work_queue publish_subscribe routing topics rpc properties
                publisher_confirms mandatory_return cancel_notification missing_queue
                inequivalent_redeclare wrong_password connection_loss topology_recovery big_body])
