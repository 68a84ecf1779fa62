#ifndef CONEY_PERF_IMAGE_H
#define CONEY_PERF_IMAGE_H

#include <stdint.h>

#include "perf/options.h"
#include "perf/routing.h"

/*
 * Messages as they go over the wire, built ahead: a producer's image holds many complete messages
 * one behind the other, and sending them costs no more than patching the stamps at the beginning of
 * their bodies. What is behind the first body frame of a message with several is the same for all
 * and kept once per channel number.
 *
 * A stamp: time (8 bytes, ns), number of the message in its producer channel modulo 2^32 (4),
 * producer channel (4); bodies under 16 bytes do without the last, those under 12 carry no stamp.
 */

/* What all producers of a run have in common. */
struct image_plan {
    const struct routing *routing;
    uint64_t body_size;
    size_t frame_body; /* bytes of a body in one frame, at most */
    bool mandatory;
    struct bytes props;
    unsigned n_channels;
    struct bytes *tails; /* per channel: body frames behind the first */
};

void image_plan_init(struct image_plan *plan, const struct perf_options *o,
                     const struct routing *routing, uint32_t frame_max);
void image_plan_free(struct image_plan *plan);

struct image {
    const struct image_plan *plan;
    unsigned first_producer; /* number of the producer channel that is channel 1 here */
    bool fixed;              /* the keys repeat within the image: it is built once */
    unsigned n;              /* messages in it */
    struct bytes buf;
    uint32_t *start; /* [n + 1]: where in buf each message begins */
    uint32_t *stamp; /* [n]: where its body begins */
};

/* An image of about `room` bytes, of one message at least. */
void image_init(struct image *image, const struct image_plan *plan, unsigned first_producer,
                size_t room);
void image_free(struct image *image);

/*
 * Prepares messages from number `first` (counted over all channels of the connection, which take
 * turns) on and tells where they stand in the image. Returns how many, at most `want`.
 */
unsigned image_take(struct image *image, uint64_t first, uint64_t want, unsigned *at_r);

/* The channel of message `n`, 1 and up, and its number there. */
static inline unsigned
image_channel(const struct image *image, uint64_t n)
{
    return (unsigned)(n % image->plan->n_channels) + 1;
}

static inline void
image_stamp(struct image *image, unsigned at, uint64_t number, uint64_t now)
{
    uint8_t *p = image->buf.p + image->stamp[at];
    uint64_t size = image->plan->body_size;
    unsigned n_channels = image->plan->n_channels;

    if (size < PERF_STAMP_TIMED)
        return;
    put_u64(p, now);
    if (n_channels == 1) { /* the usual case, without divisions */
        put_u32(p + 8, (uint32_t)number);
        return;
    }
    put_u32(p + 8, (uint32_t)(number / n_channels));
}

#endif
