#ifndef CONEY_PROTOCOL_TABLE_H
#define CONEY_PROTOCOL_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/mem.h"
#include "protocol/tables.def"

/*
 * Field tables with the type tags that RabbitMQ knows (they differ from the letter of the
 * specification; source: RabbitMQ's errata page and its behaviour). A table is handled as the raw
 * bytes of its pairs, without the length before them, and is looked into only on demand.
 */

/* The wire's tag of each type. */
enum amqp_tag {
#define T(name, tag, text, kind) AMQP_TAG_##name = tag,
    AMQP_TAGS(T)
#undef T
};

/* Types that may stand for each other when arguments are compared (RabbitMQ's argument
 * equivalence). */
enum amqp_kind {
    AMQP_KIND_BOOL,
    AMQP_KIND_INT,
    AMQP_KIND_FLOAT,
    AMQP_KIND_DECIMAL,
    AMQP_KIND_STRING,
    AMQP_KIND_BINARY,
    AMQP_KIND_TIMESTAMP,
    AMQP_KIND_TABLE,
    AMQP_KIND_ARRAY,
    AMQP_KIND_VOID,
};

struct amqp_value {
    uint8_t tag; /* one of enum amqp_tag */
    union {
        bool boolean;
        int64_t i;     /* all integer types */
        uint64_t time; /* seconds */
        double f;      /* float and double */
        struct {
            uint8_t scale;
            uint32_t digits;
        } decimal;
        struct slice s; /* longstr, binary; table: its pairs; array: its values */
    };
};

struct amqp_pair {
    struct slice key;
    struct amqp_value value;
};

/* Tables and arrays inside each other at most this deep; deeper ones count as malformed. */
#define AMQP_TABLE_MAX_DEPTH 64

/* True when the bytes are well-formed pairs to the last byte, nested ones included. */
MUST_USE bool amqp_table_check(struct slice table);

/* Takes the next pair off `r`, which runs over a table's bytes. False at the end or when malformed
 * (r->bad). */
MUST_USE bool amqp_table_next(struct reader *r, struct amqp_pair *pair_r);

/* Takes the next value off `r`, which runs over an array's bytes. False at the end or when
 * malformed (r->bad). */
MUST_USE bool amqp_array_next(struct reader *r, struct amqp_value *value_r);

/* Looks a key up: the first of several equal ones (as RabbitMQ does). The value borrows from the
 * table. */
bool amqp_table_get(struct slice table, const char *key, struct amqp_value *value_r);

/* The kind of a known tag. */
enum amqp_kind amqp_value_kind(const struct amqp_value *v);

/* The type's name in RabbitMQ's error texts: "signedint" for I. */
const char *amqp_tag_name(uint8_t tag);

/*
 * Equality for argument equivalence and header matching: integers by number whatever their width,
 * strings and binaries by bytes, float and double by number; never across those kinds. Arrays and
 * tables by their bytes, with inner tags. S and x are equal for the same bytes.
 */
bool amqp_value_eq(const struct amqp_value *a, const struct amqp_value *b);

/*
 * True when two well-formed tables hold the same pairs, tags included, in
 * whatever order: the identity of a binding (RabbitMQ sorts a binding's arguments and compares tags
 * too).
 */
bool amqp_table_same(struct slice a, struct slice b);

/* A hash with the same notion of sameness: independent of the order of the pairs. */
uint64_t amqp_table_hash(struct slice table, uint64_t seed);

/*
 * Writing. A nested table or array is bracketed: `uint8_t *at = amqp_write_begin(w); ...;
 * amqp_write_end(w, at)` fills in its length. Keys over 255 bytes make the writer bad.
 */
void amqp_write_key(struct writer *w, struct slice key);
void amqp_write_str(struct writer *w, const char *key, struct slice s);
void amqp_write_bool(struct writer *w, const char *key, bool b);
void amqp_write_value(struct writer *w, const struct amqp_value *v);
uint8_t *amqp_write_begin(struct writer *w);
void amqp_write_end(struct writer *w, uint8_t *at);

#endif
