# frozen_string_literal: true

require 'bunny'
require 'logger'
require 'securerandom'
require 'timeout'

BROKER = {
  host: ENV.fetch('CONEY_HOST', '127.0.0.1'),
  port: Integer(ENV.fetch('CONEY_PORT', '5672')),
  username: ENV.fetch('CONEY_USER', 'guest'),
  password: ENV.fetch('CONEY_PASS', 'guest'),
  vhost: ENV.fetch('CONEY_VHOST', '/')
}.freeze

WAIT_SECONDS = 10 # for any single event
TEST_SECONDS = 30 # for a whole test

class Failure < StandardError; end

# A queue of events: the client's threads put, the test waits.
class Mailbox
  def initialize(what)
    @what = what
    @queue = Queue.new
  end

  def put(item)
    @queue.push(item)
  end

  def take
    Timeout.timeout(WAIT_SECONDS, Failure, "no #{@what} within #{WAIT_SECONDS} s") { @queue.pop }
  end

  def empty?
    @queue.empty?
  end
end

# Takes the place of the thread in which the client raises the errors of a connection. Like
# Thread#raise it returns nil, from which the client's reader sees that there is no data.
class ErrorMailbox < Mailbox
  def raise(*error)
    put(error)
    nil
  end
end

Message = Struct.new(:info, :properties, :body)

# What one test needs: unique names, connections, checks, and the removal of all it declared.
class Fixture
  def initialize(test)
    @prefix = "interop-ruby-#{SecureRandom.uuid}.#{test}."
    @sessions = []
    @queues = []
    @exchanges = []
  end

  def name(suffix)
    @prefix + suffix
  end

  def connect(**options)
    session = Bunny.new({ automatically_recover: false, logger: Logger.new(File::NULL) }
                        .merge(BROKER).merge(options))
    @sessions << session
    session.start
  end

  # A channel on a connection of its own.
  def open
    connect.create_channel
  end

  # Declares a queue that is shared between connections and deleted after the test.
  def queue(channel, suffix)
    @queues |= [name(suffix)]
    channel.queue(name(suffix), durable: true)
  end

  def private_queue(channel)
    channel.queue('', exclusive: true)
  end

  def exchange(channel, type, suffix)
    @exchanges << name(suffix)
    channel.exchange(name(suffix), type: type)
  end

  def consume(queue, **options)
    deliveries = Mailbox.new('delivery')
    queue.subscribe(**options) do |info, properties, body|
      deliveries.put(Message.new(info, properties, body))
    end
    deliveries
  end

  def expect_bodies(deliveries, *bodies)
    bodies.each { |body| equal('body', deliveries.take.body, body) }
  end

  def get(queue)
    message = Message.new(*queue.pop(manual_ack: true))
    check("queue #{queue.name} has a message", !message.info.nil?)
    message
  end

  def wait_for_confirms(channel)
    check('all messages are acked', channel.wait_for_confirms)
  end

  def check(what, holds)
    raise Failure, "not so: #{what}" unless holds
  end

  def equal(what, got, want)
    raise Failure, "#{what} is #{got.inspect}, expected #{want.inspect}" unless got == want
  end

  def raised(error_class)
    yield
  rescue error_class => e
    e
  else
    raise Failure, "#{error_class} was expected"
  end

  # Expects that the broker closes the channel with this error.
  def refused(error_class, code, &operation)
    error = raised(error_class, &operation)
    equal('reply code', error.channel_close.reply_code, code)
    check('the channel is closed', error.channel.closed?)
  end

  # Deletes through a fresh connection since the test may have lost its own.
  def close
    @sessions.each { |session| session.close if session.open? }
    @sessions.clear
    channel = open
    @queues.each { |queue| channel.queue_delete(queue) }
    @exchanges.each { |exchange| channel.exchange_delete(exchange) }
    @sessions.each(&:close)
  end
end

def limited(&block)
  Timeout.timeout(TEST_SECONDS, Failure, "not finished after #{TEST_SECONDS} s", &block)
end

# Returns what went wrong, or nil.
def attempt
  limited { yield }
  nil
rescue Failure => e
  e.message
rescue StandardError => e
  "#{e.class}: #{e.message} at #{e.backtrace.first}"
end

# Runs a method of Tests for each name; returns the exit status.
def run_all(names)
  $stdout.sync = true
  failed = names.count do |name|
    fixture = Fixture.new(name)
    failure = attempt { Tests.public_send(name, fixture) }
    cleaning = attempt { fixture.close }
    failure ||= "cleaning up: #{cleaning}" if cleaning
    puts(failure ? "not ok #{name}: #{failure}" : "ok #{name}")
    failure
  end
  puts "#{names.size - failed} passed, #{failed} failed"
  failed.zero? ? 0 : 1
end
