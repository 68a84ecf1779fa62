package main

import (
	"bytes"
	"fmt"
	"math/rand"
	"net"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

func publisherConfirms(t *T) {
	const messages = 500
	ch := t.open()
	queue := t.queue(ch, "q")
	confirms := ch.NotifyPublish(make(chan amqp.Confirmation, messages))
	t.check(ch.Confirm(false))
	for i := 0; i < messages; i++ {
		t.publish(ch, "", queue, strconv.Itoa(i))
	}
	for tag := uint64(1); tag <= messages; tag++ {
		select {
		case c := <-confirms:
			t.equal("delivery tag", c.DeliveryTag, tag)
			t.equal("ack", c.Ack, true)
		case <-time.After(waitLimit):
			t.fatalf("message %d was not confirmed", tag)
		}
	}
	t.expectCount(ch, queue, messages)
}

func mandatoryReturn(t *T) {
	ch := t.open()
	returns := ch.NotifyReturn(make(chan amqp.Return, 1))
	t.check(ch.Publish("amq.direct", t.name("nowhere"), true, false,
		amqp.Publishing{MessageId: "m1", Body: []byte("come back")}))
	select {
	case r := <-returns:
		t.equal("reply code", int(r.ReplyCode), amqp.NoRoute)
		t.equal("reply text", r.ReplyText, "NO_ROUTE")
		t.equal("exchange", r.Exchange, "amq.direct")
		t.equal("routing key", r.RoutingKey, t.name("nowhere"))
		t.equal("message id", r.MessageId, "m1")
		t.equal("body", string(r.Body), "come back")
	case <-time.After(waitLimit):
		t.fatalf("the message was not returned")
	}
}

func nackRequeue(t *T) {
	ch := t.open()
	queue := t.queue(ch, "q")
	for _, body := range []string{"a", "b", "c"} {
		t.publish(ch, "", queue, body)
	}
	t.get(ch, queue)
	second := t.get(ch, queue)
	t.check(second.Nack(true, true))

	for _, want := range []string{"a", "b"} {
		d := t.get(ch, queue)
		t.equal("body", string(d.Body), want)
		t.equal("redelivered", d.Redelivered, true)
		t.check(d.Nack(false, false))
	}
	last := t.get(ch, queue)
	t.equal("body", string(last.Body), "c")
	t.equal("redelivered", last.Redelivered, false)
	t.check(last.Reject(false))
	_, ok, err := ch.Get(queue, false)
	t.check(err)
	t.equal("queue has a message", ok, false)
}

func cancelNotification(t *T) {
	ch := t.open()
	queue := t.queue(ch, "q")
	cancelled := ch.NotifyCancel(make(chan string, 1))
	deliveries, err := ch.Consume(queue, "the-tag", false, false, false, false, nil)
	t.check(err)

	_, err = t.open().QueueDelete(queue, false, false, false)
	t.check(err)
	select {
	case tag := <-cancelled:
		t.equal("consumer tag", tag, "the-tag")
	case <-time.After(waitLimit):
		t.fatalf("the consumer was not cancelled")
	}
	if _, open := <-deliveries; open {
		t.fatalf("a delivery from a deleted queue")
	}
	t.privateQueue(ch) // the channel stays usable
}

func txCommitRollback(t *T) {
	ch, other := t.open(), t.open()
	queue := t.queue(ch, "q")
	t.check(ch.Tx())

	t.publish(ch, "", queue, "rolled back")
	t.check(ch.TxRollback())
	t.publish(ch, "", queue, "committed")
	t.expectCount(ch, queue, 0)
	t.check(ch.TxCommit())
	t.expectBodies(t.consume(other, queue, true), "committed")
}

func txAckRollback(t *T) {
	ch := t.open()
	queue := t.queue(ch, "q")
	t.publish(ch, "", queue, "acked twice")
	t.check(ch.Tx())
	d := t.get(ch, queue)
	t.check(d.Ack(false))
	t.check(ch.TxRollback())
	t.check(ch.Close())

	ch = t.open()
	t.check(ch.Tx())
	d = t.get(ch, queue)
	t.equal("redelivered after the rollback of its ack", d.Redelivered, true)
	t.check(d.Ack(false))
	t.check(ch.TxCommit())
	t.check(ch.Close())
	_, ok, err := t.open().Get(queue, false)
	t.check(err)
	t.equal("queue has a message after the commit of its ack", ok, false)
}

func missingQueue(t *T) {
	conn := t.connect()
	ch := t.channel(conn)
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	_, err := ch.QueueDeclarePassive(t.name("missing"), false, false, false, false, nil)
	t.expectClosed(err, closed, amqp.NotFound)
	t.queue(t.channel(conn), "q")
}

func inequivalentRedeclare(t *T) {
	conn := t.connect()
	ch := t.channel(conn)
	queue := t.queue(ch, "q")
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	_, err := ch.QueueDeclare(queue, true, true, false, false, nil)
	t.expectClosed(err, closed, amqp.PreconditionFailed)

	ch = t.channel(conn)
	t.publish(ch, "", queue, "after the error")
	t.equal("body", string(t.get(ch, queue).Body), "after the error")
}

func wrongPassword(t *T) {
	address := net.JoinHostPort(env("CONEY_HOST", "127.0.0.1"), env("CONEY_PORT", "5672"))
	_, err := amqp.DialConfig("amqp://"+address, amqp.Config{
		Vhost: env("CONEY_VHOST", "/"),
		SASL: []amqp.Authentication{&amqp.PlainAuth{
			Username: env("CONEY_USER", "guest"), Password: "not the password"}},
	})
	refusal, ok := err.(*amqp.Error)
	if !ok {
		t.fatalf("the login gave %v, expected error 403", err)
	}
	t.equal("reply code", refusal.Code, amqp.AccessRefused)
}

func connectionLoss(t *T) {
	var socket *net.TCPConn
	conn := t.dial(amqp.Config{Dial: func(network, address string) (net.Conn, error) {
		c, err := net.DialTimeout(network, address, waitLimit)
		if err == nil {
			socket = c.(*net.TCPConn)
		}
		return c, err
	}})
	ch := t.channel(conn)
	queue := t.queue(ch, "q")
	t.publish(ch, "", queue, "survives")
	t.equal("redelivered", t.receive(t.consume(ch, queue, false)).Redelivered, false)

	lost := conn.NotifyClose(make(chan *amqp.Error, 1))
	t.check(socket.SetLinger(0)) // closing sends a reset, as when a process dies
	t.check(socket.Close())
	select {
	case <-lost:
	case <-time.After(waitLimit):
		t.fatalf("the client did not notice the loss")
	}

	ch = t.open()
	d := t.receive(t.consume(ch, queue, false))
	t.equal("body", string(d.Body), "survives")
	t.equal("redelivered", d.Redelivered, true)
	t.check(d.Ack(false))
}

func bigBody(t *T) {
	body := make([]byte, 10<<20)
	rand.Read(body)
	ch := t.open()
	queue := t.queue(ch, "q")
	t.publish(ch, "", queue, string(body))
	if !bytes.Equal(t.receive(t.consume(t.open(), queue, true)).Body, body) {
		t.fatalf("the body changed on its way")
	}
}

// The client gives up after three silent intervals and the broker after two, so a connection
// that outlives four seconds has seen heartbeats in both directions.
func heartbeatIdle(t *T) {
	conn := t.dial(amqp.Config{Heartbeat: time.Second})
	lost := conn.NotifyClose(make(chan *amqp.Error, 1))
	t.equal("heartbeat", conn.Config.Heartbeat, time.Second)
	select {
	case err := <-lost:
		t.fatalf("the idle connection was closed: %v", err)
	case <-time.After(5 * time.Second):
	}
	t.privateQueue(t.channel(conn))
}

// Each channel consumes from a queue of its own; the message for it comes from its neighbour.
func manyChannels(t *T) {
	const count = 1000
	conn := t.connect()
	channels := make([]*amqp.Channel, count)
	queues := make([]string, count)
	deliveries := make([]<-chan amqp.Delivery, count)
	for i := range channels {
		channels[i] = t.channel(conn)
		queues[i] = t.privateQueue(channels[i])
		deliveries[i] = t.consume(channels[i], queues[i], true)
	}
	for i := range channels {
		t.publish(channels[i], "", queues[(i+1)%count], strconv.Itoa(i))
	}
	for i := range channels {
		t.expectBodies(deliveries[i], strconv.Itoa((i+count-1)%count))
	}
	for _, ch := range channels {
		t.check(ch.Close())
	}
}

// The queues are exclusive, so closing the connection deletes them all. Several channels share
// the work because every declaration waits for its answer.
func manyQueues(t *T) {
	const count, workers = 5000, 10
	conn := t.connect()
	results := make(chan error, workers)
	for w := 0; w < workers; w++ {
		ch := t.channel(conn)
		go func(first int) {
			results <- attempt(t, func(t *T) { useQueues(t, ch, first, count/workers) })
		}(w * count / workers)
	}
	for w := 0; w < workers; w++ {
		t.check(<-results)
	}
	q, err := t.channel(conn).QueueDeclarePassive(t.name(strconv.Itoa(count-1)),
		false, false, true, false, nil)
	t.check(err)
	t.equal("message count", q.Messages, 0)
}

func useQueues(t *T, ch *amqp.Channel, first, count int) {
	for i := first; i < first+count; i++ {
		_, err := ch.QueueDeclare(t.name(strconv.Itoa(i)), false, false, true, false, nil)
		t.check(err)
		t.publish(ch, "", t.name(strconv.Itoa(i)), fmt.Sprintf("message %d", i))
	}
	for i := first; i < first+count; i++ {
		d, ok, err := ch.Get(t.name(strconv.Itoa(i)), true)
		t.check(err)
		t.equal("queue has its message", ok, true)
		t.equal("body", string(d.Body), fmt.Sprintf("message %d", i))
	}
}
