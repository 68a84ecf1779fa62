#ifndef CONEY_CORE_ALARMS_H
#define CONEY_CORE_ALARMS_H

#include <stdbool.h>

struct broker;
struct connection;

/*
 * Resource alarms, as RabbitMQ has them. While any is set a connection is blocked from the first
 * content frame on that it sends: its input is held in front of that frame, it is told by
 * connection.blocked if it understands that, and it goes on when all alarms are cleared. Whoever
 * does not publish is not affected, so that consumers can drain what fills the broker.
 */
enum alarm {
    ALARM_MEMORY = 1, /* too much memory is in use */
    ALARM_DISK = 2,   /* too little disk space is free */
    ALARM_STORE = 4,  /* the store cannot write; clients are told the same as of ALARM_DISK */
};

/* Sets or clears an alarm and logs it; without effect when it is so already. */
void broker_set_alarm(struct broker *b, enum alarm alarm, bool is_set);

/* A running connection is publishing while an alarm is set. */
void connection_block(struct connection *c);

#endif
