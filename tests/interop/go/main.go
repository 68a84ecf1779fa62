// Tests of an AMQP 0-9-1 broker with the Go client, github.com/rabbitmq/amqp091-go.
package main

import "os"

func main() {
	failed := runAll([]test{
		{"hello_world", helloWorld},
		{"work_queue", workQueue},
		{"publish_subscribe", publishSubscribe},
		{"routing", routing},
		{"topics", topics},
		{"rpc", rpc},
		{"headers_exchange", headersExchange},
		{"exchange_to_exchange", exchangeToExchange},
		{"properties", properties},
		{"publisher_confirms", publisherConfirms},
		{"mandatory_return", mandatoryReturn},
		{"nack_requeue", nackRequeue},
		{"cancel_notification", cancelNotification},
		{"tx_commit_rollback", txCommitRollback},
		{"tx_ack_rollback", txAckRollback},
		{"missing_queue", missingQueue},
		{"inequivalent_redeclare", inequivalentRedeclare},
		{"wrong_password", wrongPassword},
		{"connection_loss", connectionLoss},
		{"big_body", bigBody},
		{"heartbeat_idle", heartbeatIdle},
		{"many_channels", manyChannels},
		{"many_queues", manyQueues},
	})
	if failed > 0 {
		os.Exit(1)
	}
}
