#ifndef CONEY_PROTOCOL_FRAME_H
#define CONEY_PROTOCOL_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "protocol/method.h"

/* A frame: type, channel, payload size, payload, end octet (AMQP 0-9-1, 2.3.5). */
enum {
    AMQP_FRAME_METHOD = 1,
    AMQP_FRAME_HEADER = 2,
    AMQP_FRAME_BODY = 3,
    AMQP_FRAME_HEARTBEAT = 8,
    AMQP_FRAME_END = 0xce,

    AMQP_FRAME_HEAD_SIZE = 7,
    AMQP_FRAME_OVERHEAD = 8,        /* head and end octet */
    AMQP_CONTENT_HEADER_FIXED = 12, /* class, weight, body size: before the property flags */
    AMQP_FRAME_MIN_SIZE = 4096,
    AMQP_PROTOCOL_HEADER_SIZE = 8,
};

/* "AMQP", 0, 0, 9, 1. */
extern const uint8_t amqp_protocol_header[AMQP_PROTOCOL_HEADER_SIZE];

struct amqp_frame_head {
    uint8_t type;
    uint16_t channel;
    uint32_t size; /* of the payload */
};

/* Reads the first AMQP_FRAME_HEAD_SIZE bytes of a frame at p. */
static inline struct amqp_frame_head
amqp_frame_head(const uint8_t *p)
{
    return (struct amqp_frame_head){p[0], get_u16(p + 1), get_u32(p + 3)};
}

/* Writes a frame's head at p. */
static inline void
amqp_put_frame_head(uint8_t *p, uint8_t type, uint16_t channel, uint32_t size)
{
    p[0] = type;
    put_u16(p + 1, channel);
    put_u32(p + 3, size);
}

struct amqp_content_header {
    uint16_t class_id, weight;
    uint64_t body_size;
    struct slice props; /* flags and values, not yet looked into */
};

/* Reads a content header frame's payload; false when it is shorter than its fixed part and the
 * property flags. */
MUST_USE bool amqp_content_header_decode(struct slice payload,
                                         struct amqp_content_header *header_r);

/* Bytes of a whole method frame, and the frame: the writer gets bad when it has less room. */
size_t amqp_method_frame_size(enum amqp_method_id id, const union amqp_args *args);
void amqp_write_method_frame(struct writer *w, uint16_t channel, enum amqp_method_id id,
                             const union amqp_args *args);

/* A content header frame of class basic; AMQP_FRAME_OVERHEAD + AMQP_CONTENT_HEADER_FIXED + props.n
 * bytes. */
void amqp_write_header_frame(struct writer *w, uint16_t channel, uint64_t body_size,
                             struct slice props);

/* One body frame; AMQP_FRAME_OVERHEAD + body.n bytes. */
void amqp_write_body_frame(struct writer *w, uint16_t channel, struct slice body);

/* A heartbeat; AMQP_FRAME_OVERHEAD bytes. */
void amqp_write_heartbeat(struct writer *w);

#endif
