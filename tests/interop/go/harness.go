package main

import (
	"fmt"
	"math/rand"
	"net"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// waitLimit bounds the wait for any single event; testLimit bounds a whole test.
const (
	waitLimit = 10 * time.Second
	testLimit = 30 * time.Second
)

type test struct {
	name string
	run  func(t *T)
}

// T is one running test: its names, its connections and what it must delete in the end.
type T struct {
	prefix string

	mu        sync.Mutex
	conns     []*amqp.Connection
	queues    []string
	exchanges []string
}

// failure is the panic value of a failed check, to tell it from a bug in the test.
type failure string

func (t *T) fatalf(format string, args ...interface{}) {
	panic(failure(fmt.Sprintf(format, args...)))
}

func (t *T) check(err error) {
	if err != nil {
		t.fatalf("%v", err)
	}
}

func (t *T) equal(what string, got, want interface{}) {
	if got != want {
		t.fatalf("%s is %v, expected %v", what, got, want)
	}
}

func (t *T) name(suffix string) string {
	return t.prefix + "." + suffix
}

func env(key, fallback string) string {
	if value := os.Getenv(key); value != "" {
		return value
	}
	return fallback
}

func dial(config amqp.Config) (*amqp.Connection, error) {
	config.Vhost = env("CONEY_VHOST", "/")
	config.SASL = []amqp.Authentication{&amqp.PlainAuth{
		Username: env("CONEY_USER", "guest"),
		Password: env("CONEY_PASS", "guest"),
	}}
	address := net.JoinHostPort(env("CONEY_HOST", "127.0.0.1"), env("CONEY_PORT", "5672"))
	return amqp.DialConfig("amqp://"+address, config)
}

func (t *T) dial(config amqp.Config) *amqp.Connection {
	conn, err := dial(config)
	t.check(err)
	t.mu.Lock()
	t.conns = append(t.conns, conn)
	t.mu.Unlock()
	return conn
}

func (t *T) connect() *amqp.Connection {
	return t.dial(amqp.Config{Heartbeat: waitLimit})
}

func (t *T) channel(conn *amqp.Connection) *amqp.Channel {
	ch, err := conn.Channel()
	t.check(err)
	return ch
}

// open is a channel on a connection of its own.
func (t *T) open() *amqp.Channel {
	return t.channel(t.connect())
}

// openConfirming is a channel whose publish returns once the message has reached its queues, so
// that their message counts include it.
func (t *T) openConfirming() *amqp.Channel {
	ch := t.open()
	t.check(ch.Confirm(false))
	return ch
}

// queue declares a queue that is shared between connections and deleted after the test.
func (t *T) queue(ch *amqp.Channel, suffix string) string {
	name := t.name(suffix)
	t.mu.Lock()
	t.queues = append(t.queues, name)
	t.mu.Unlock()
	_, err := ch.QueueDeclare(name, true, false, false, false, nil)
	t.check(err)
	return name
}

// privateQueue declares a server-named exclusive queue.
func (t *T) privateQueue(ch *amqp.Channel) string {
	q, err := ch.QueueDeclare("", false, false, true, false, nil)
	t.check(err)
	return q.Name
}

func (t *T) exchange(ch *amqp.Channel, suffix, kind string) string {
	name := t.name(suffix)
	t.mu.Lock()
	t.exchanges = append(t.exchanges, name)
	t.mu.Unlock()
	t.check(ch.ExchangeDeclare(name, kind, false, false, false, false, nil))
	return name
}

func (t *T) bind(ch *amqp.Channel, queue, exchange, key string) {
	t.check(ch.QueueBind(queue, key, exchange, false, nil))
}

// publish waits for the confirm on a channel in confirm mode.
func (t *T) publish(ch *amqp.Channel, exchange, key, body string) {
	t.send(ch, exchange, key, amqp.Publishing{Body: []byte(body)})
}

func (t *T) send(ch *amqp.Channel, exchange, key string, message amqp.Publishing) {
	confirm, err := ch.PublishWithDeferredConfirm(exchange, key, false, false, message)
	t.check(err)
	if confirm == nil {
		return
	}
	select {
	case <-confirm.Done():
		t.equal("confirm", confirm.Acked(), true)
	case <-time.After(waitLimit):
		t.fatalf("the message was not confirmed")
	}
}

func (t *T) consume(ch *amqp.Channel, queue string, autoAck bool) <-chan amqp.Delivery {
	deliveries, err := ch.Consume(queue, "", autoAck, false, false, false, nil)
	t.check(err)
	return deliveries
}

func (t *T) receive(deliveries <-chan amqp.Delivery) amqp.Delivery {
	select {
	case d, open := <-deliveries:
		if !open {
			t.fatalf("the consumer ended")
		}
		return d
	case <-time.After(waitLimit):
		t.fatalf("no delivery within %v", waitLimit)
	}
	panic("not reached")
}

func (t *T) expectBodies(deliveries <-chan amqp.Delivery, bodies ...string) {
	for _, want := range bodies {
		t.equal("body", string(t.receive(deliveries).Body), want)
	}
}

func (t *T) get(ch *amqp.Channel, queue string) amqp.Delivery {
	d, ok, err := ch.Get(queue, false)
	t.check(err)
	if !ok {
		t.fatalf("queue %s is empty", queue)
	}
	return d
}

// expectCount checks the number of ready messages.
func (t *T) expectCount(ch *amqp.Channel, queue string, want int) {
	q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
	t.check(err)
	t.equal("message count", q.Messages, want)
}

// expectClosed checks the code in err and waits for the close notification to carry it as well.
func (t *T) expectClosed(err error, closed <-chan *amqp.Error, code int) {
	reported, ok := err.(*amqp.Error)
	if !ok {
		t.fatalf("the method returned %v, expected error %d", err, code)
	}
	t.equal("reply code", reported.Code, code)
	select {
	case notified := <-closed:
		t.equal("notified reply code", notified.Code, code)
	case <-time.After(waitLimit):
		t.fatalf("the channel was not closed")
	}
}

func (t *T) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, conn := range t.conns {
		conn.CloseDeadline(time.Now().Add(waitLimit))
	}
}

// delete removes what the test declared, through a fresh connection since the test may have
// lost its own.
func (t *T) delete() error {
	if len(t.queues)+len(t.exchanges) == 0 {
		return nil
	}
	conn, err := dial(amqp.Config{})
	if err != nil {
		return err
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	for _, name := range t.queues {
		if _, err := ch.QueueDelete(name, false, false, false); err != nil {
			return err
		}
	}
	for _, name := range t.exchanges {
		if err := ch.ExchangeDelete(name, false, false); err != nil {
			return err
		}
	}
	return nil
}

// attempt runs the test body in this goroutine and turns its panic into an error.
func attempt(t *T, body func(*T)) (err error) {
	defer func() {
		switch value := recover().(type) {
		case nil:
		case failure:
			err = fmt.Errorf("%s", string(value))
		default:
			err = fmt.Errorf("panic: %v\n%s", value, debug.Stack())
		}
	}()
	body(t)
	return nil
}

func runTest(tc test) error {
	t := &T{prefix: fmt.Sprintf("interop-go-%d-%08x.%s", os.Getpid(), rand.Uint32(), tc.name)}
	done := make(chan error, 1)
	go func() { done <- attempt(t, tc.run) }()

	var err error
	select {
	case err = <-done:
	case <-time.After(testLimit):
		err = fmt.Errorf("not finished after %v", testLimit)
	}
	t.close()
	if deleteErr := t.delete(); err == nil && deleteErr != nil {
		err = fmt.Errorf("cleaning up: %v", deleteErr)
	}
	return err
}

func runAll(tests []test) (failed int) {
	rand.Seed(time.Now().UnixNano())
	for _, tc := range tests {
		if err := runTest(tc); err != nil {
			fmt.Printf("not ok %s: %s\n", tc.name, strings.TrimSpace(err.Error()))
			failed++
		} else {
			fmt.Printf("ok %s\n", tc.name)
		}
	}
	fmt.Printf("%d passed, %d failed\n", len(tests)-failed, failed)
	return failed
}
