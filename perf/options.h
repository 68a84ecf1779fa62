#ifndef CONEY_PERF_OPTIONS_H
#define CONEY_PERF_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "perf/args.h"

struct perf_options {
    bool help, version;
    const char *id;
    struct perf_uri uri;
    unsigned producers, consumers, producer_channels, consumer_channels, threads;
    uint64_t size;
    double rate, consumer_rate, time; /* 0: unlimited */
    uint64_t pmessages, cmessages;    /* 0: unlimited */
    bool autoack;
    unsigned ack_every, qos, global_qos;
    unsigned confirm; /* 0: no confirms */
    struct {
        bool persistent, mandatory;
    } flags;
    struct amqp_props props;
    struct bytes headers; /* of props */
    const char *queue, *queue_pattern;
    uint64_t queue_from, queue_to;
    struct bytes queue_args, consumer_args;
    bool auto_delete, predeclared, skip_binding;
    const char *exchange, *type; /* exchange is never NULL once parsed */
    const char *routing_key, *key_pattern;
    bool random_key;
    uint64_t key_from, key_to;
    const char *binding_file;
    unsigned topic_bindings;
    unsigned frame_max, heartbeat;
    double interval, drain_timeout;
    bool verify, json;
};

/* What every body from this size on begins with, see image.h. */
enum { PERF_STAMP_TIMED = 12, PERF_STAMP_FULL = 16 };

/* Reads the command line. False, with a message on stderr, when it makes no sense. */
MUST_USE bool options_parse(struct perf_options *o, int argc, char *const argv[]);
void options_print_help(FILE *out);
void options_free(struct perf_options *o);

#endif
