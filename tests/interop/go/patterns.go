package main

import (
	"fmt"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

func helloWorld(t *T) {
	ch := t.open()
	queue := t.queue(ch, "q")
	t.publish(ch, "", queue, "Hello World!")

	d := t.receive(t.consume(t.open(), queue, true))
	t.equal("body", string(d.Body), "Hello World!")
	t.equal("exchange", d.Exchange, "")
	t.equal("routing key", d.RoutingKey, queue)
	t.equal("redelivered", d.Redelivered, false)
}

// With a prefetch of one, a worker that is busy with its first task gets no second one, and the
// other worker does all the rest.
func workQueue(t *T) {
	const tasks = 10
	ch := t.open()
	queue := t.queue(ch, "tasks")

	var workers [2]<-chan amqp.Delivery
	for i := range workers {
		worker := t.open()
		t.check(worker.Qos(1, 0, false))
		workers[i] = t.consume(worker, queue, false)
	}
	for i := 0; i < tasks; i++ {
		t.publish(ch, "", queue, strconv.Itoa(i))
	}

	held := t.receive(workers[0])
	done := map[string]bool{string(held.Body): true}
	for i := 1; i < tasks; i++ {
		d := t.receive(workers[1])
		done[string(d.Body)] = true
		t.check(d.Ack(false))
	}
	t.equal("tasks done", len(done), tasks)
	t.equal("tasks waiting at the busy worker", len(workers[0]), 0)

	t.check(held.Ack(false))
	t.publish(ch, "", queue, "one more")
	select {
	case d := <-workers[0]:
		t.check(d.Ack(false))
	case d := <-workers[1]:
		t.check(d.Ack(false))
	case <-time.After(waitLimit):
		t.fatalf("no worker got the last task")
	}
}

func publishSubscribe(t *T) {
	ch := t.open()
	exchange := t.exchange(ch, "logs", "fanout")
	var subscribers [3]<-chan amqp.Delivery
	for i := range subscribers {
		sub := t.open()
		queue := t.privateQueue(sub)
		t.bind(sub, queue, exchange, "")
		subscribers[i] = t.consume(sub, queue, true)
	}
	t.publish(ch, exchange, "ignored", "first")
	t.publish(ch, exchange, "", "second")
	for _, deliveries := range subscribers {
		t.expectBodies(deliveries, "first", "second")
	}
}

func routing(t *T) {
	ch := t.openConfirming()
	exchange := t.exchange(ch, "direct_logs", "direct")
	errors, all := t.privateQueue(ch), t.privateQueue(ch)
	t.bind(ch, errors, exchange, "error")
	for _, severity := range []string{"info", "warning", "error"} {
		t.bind(ch, all, exchange, severity)
	}
	for _, severity := range []string{"info", "error", "debug", "warning"} {
		t.publish(ch, exchange, severity, severity)
	}
	t.expectCount(ch, errors, 1)
	t.expectCount(ch, all, 3)
	t.expectBodies(t.consume(ch, errors, true), "error")
	t.expectBodies(t.consume(ch, all, true), "info", "error", "warning")
}

func topics(t *T) {
	ch := t.openConfirming()
	exchange := t.exchange(ch, "topic_logs", "topic")
	keys := []string{"kern.critical", "kern", "kern.disk.warning", "cron.critical", ""}
	expected := []struct {
		pattern string
		bodies  []string
	}{
		{"#", keys},
		{"kern.*", []string{"kern.critical"}},
		{"kern.#", []string{"kern.critical", "kern", "kern.disk.warning"}},
		{"*.critical", []string{"kern.critical", "cron.critical"}},
		{"#.warning", []string{"kern.disk.warning"}},
		{"kern.critical", []string{"kern.critical"}},
	}
	queues := make([]string, len(expected))
	for i, e := range expected {
		queues[i] = t.privateQueue(ch)
		t.bind(ch, queues[i], exchange, e.pattern)
	}
	for _, key := range keys {
		t.publish(ch, exchange, key, key)
	}
	for i, e := range expected {
		t.expectCount(ch, queues[i], len(e.bodies))
		t.expectBodies(t.consume(ch, queues[i], true), e.bodies...)
	}
}

func rpc(t *T) {
	server := t.open()
	requests := t.queue(server, "rpc")
	t.check(server.Qos(1, 0, false))
	go squareServer(server, t.consume(server, requests, false))

	client := t.open()
	replyTo := t.privateQueue(client)
	replies := t.consume(client, replyTo, true)
	for i := 0; i < 20; i++ {
		t.send(client, "", requests, amqp.Publishing{
			CorrelationId: fmt.Sprintf("call-%d", i),
			ReplyTo:       replyTo,
			Body:          []byte(strconv.Itoa(i)),
		})
	}
	for i := 0; i < 20; i++ {
		reply := t.receive(replies)
		t.equal("correlation id", reply.CorrelationId, fmt.Sprintf("call-%d", i))
		t.equal("reply", string(reply.Body), strconv.Itoa(i*i))
	}
}

// squareServer answers until its connection is closed. A failed call means no answer, which the
// client's wait reports.
func squareServer(ch *amqp.Channel, requests <-chan amqp.Delivery) {
	for d := range requests {
		n, _ := strconv.Atoi(string(d.Body))
		ch.Publish("", d.ReplyTo, false, false, amqp.Publishing{
			CorrelationId: d.CorrelationId,
			Body:          []byte(strconv.Itoa(n * n)),
		})
		d.Ack(false)
	}
}

func headersExchange(t *T) {
	ch := t.openConfirming()
	exchange := t.exchange(ch, "headers", "headers")
	all, either := t.privateQueue(ch), t.privateQueue(ch)
	criteria := amqp.Table{"format": "pdf", "pages": int32(3)}
	for queue, match := range map[string]string{all: "all", either: "any"} {
		args := amqp.Table{"x-match": match}
		for key, value := range criteria {
			args[key] = value
		}
		t.check(ch.QueueBind(queue, "", exchange, false, args))
	}
	for body, headers := range map[string]amqp.Table{
		"both":    {"format": "pdf", "pages": int32(3), "other": true},
		"one":     {"format": "pdf", "pages": int32(4)},
		"neither": {"format": "zip"},
	} {
		t.send(ch, exchange, "", amqp.Publishing{Headers: headers, Body: []byte(body)})
	}
	t.expectCount(ch, all, 1)
	t.expectCount(ch, either, 2)
	t.expectBodies(t.consume(ch, all, true), "both")
}

func exchangeToExchange(t *T) {
	ch := t.openConfirming()
	source, destination := t.exchange(ch, "source", "topic"), t.exchange(ch, "destination", "fanout")
	queue := t.privateQueue(ch)
	t.bind(ch, queue, destination, "")
	t.check(ch.ExchangeBind(destination, "orders.#", source, false, nil))
	t.publish(ch, source, "orders.new", "routed")
	t.publish(ch, source, "invoices.new", "not routed")
	t.expectCount(ch, queue, 1)

	d := t.get(ch, queue)
	t.equal("body", string(d.Body), "routed")
	t.equal("exchange", d.Exchange, source)
	t.equal("routing key", d.RoutingKey, "orders.new")

	t.check(ch.ExchangeUnbind(destination, "orders.#", source, false, nil))
	t.publish(ch, source, "orders.new", "no longer routed")
	t.expectCount(ch, queue, 0)
}

func properties(t *T) {
	ch := t.open()
	queue := t.queue(ch, "q")
	sent := amqp.Publishing{
		ContentType: "text/plain", ContentEncoding: "utf-8", DeliveryMode: amqp.Persistent,
		Priority: 7, CorrelationId: "corr", ReplyTo: "reply", Expiration: "60000",
		MessageId: "msg", Timestamp: time.Unix(1700000000, 0), Type: "type",
		UserId: env("CONEY_USER", "guest"), AppId: "app",
		Headers: amqp.Table{
			"string": "value", "int": int64(-5), "bool": true, "double": 2.5, "void": nil,
			"time": time.Unix(1600000000, 0), "table": amqp.Table{"nested": "yes"},
			"array": []interface{}{"a", int32(1)}, "bytes": []byte{0, 255},
		},
		Body: []byte("with every property"),
	}
	t.send(ch, "", queue, sent)
	got := t.get(ch, queue)
	received := amqp.Publishing{
		ContentType: got.ContentType, ContentEncoding: got.ContentEncoding,
		DeliveryMode: got.DeliveryMode, Priority: got.Priority,
		CorrelationId: got.CorrelationId, ReplyTo: got.ReplyTo, Expiration: got.Expiration,
		MessageId: got.MessageId, Timestamp: got.Timestamp, Type: got.Type,
		UserId: got.UserId, AppId: got.AppId, Headers: got.Headers, Body: got.Body,
	}
	t.equal("message", fmt.Sprintf("%+v", normal(received)), fmt.Sprintf("%+v", normal(sent)))
}

// normal puts times into one zone, which the protocol does not carry.
func normal(p amqp.Publishing) amqp.Publishing {
	p.Timestamp = p.Timestamp.UTC()
	headers := amqp.Table{}
	for key, value := range p.Headers {
		if at, isTime := value.(time.Time); isTime {
			value = at.UTC()
		}
		headers[key] = value
	}
	p.Headers = headers
	return p
}
