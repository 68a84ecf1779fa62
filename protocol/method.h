#ifndef CONEY_PROTOCOL_METHOD_H
#define CONEY_PROTOCOL_METHOD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/mem.h"
#include "protocol/methods.def"

/* Who may send a method, and whether a content header and body follow it. */
enum {
    AMQP_FROM_CLIENT = 1,
    AMQP_FROM_SERVER = 2,
    AMQP_FROM_BOTH = 3,
    AMQP_HAS_CONTENT = 4,
};

enum {
    AMQP_CLASS_CONNECTION = 10,
    AMQP_CLASS_CHANNEL = 20,
    AMQP_CLASS_BASIC = 60,
};

/* A dense number per method, AMQP_basic_publish and so on: for tables and switches. */
enum amqp_method_id {
#define M(c, m, cid, mid, flags) AMQP_##c##_##m,
    AMQP_METHODS(M)
#undef M
    AMQP_METHOD_COUNT,
    AMQP_METHOD_UNKNOWN = AMQP_METHOD_COUNT,
};

/* The C type of each field type. Strings and tables are borrowed from the frame they were decoded from. */
typedef uint8_t amqp_t_octet;
typedef uint16_t amqp_t_short;
typedef uint32_t amqp_t_long;
typedef uint64_t amqp_t_longlong;
typedef bool amqp_t_bit;
typedef struct slice amqp_t_shortstr;
typedef struct slice amqp_t_longstr;
typedef struct slice amqp_t_table; /* the pairs, without the length before them */

/* struct amqp_basic_publish { struct slice exchange; ... } and so on. Methods without fields have only `none_`. */
#define F(S, type, name) amqp_t_##type name;
#define M(c, m, cid, mid, flags)  \
    struct amqp_##c##_##m {       \
        FIELDS_##c##_##m(F, )     \
        char none_;               \
    };
AMQP_METHODS(M)
#undef M
#undef F

/* Any method's arguments. */
union amqp_args {
#define M(c, m, cid, mid, flags) struct amqp_##c##_##m c##_##m;
    AMQP_METHODS(M)
#undef M
};

/*
 * bool amqp_basic_publish_decode(struct reader *, struct amqp_basic_publish *)
 *   Reads the arguments (without class and method id). False when bytes are missing or left over, or when a
 *   shortstr or a table does not fit. Tables are delimited but not looked into (see amqp_table_check).
 * size_t amqp_basic_publish_size(const struct amqp_basic_publish *)
 *   Bytes that the encoder writes: class id, method id and arguments.
 * void amqp_basic_publish_encode(struct writer *, const struct amqp_basic_publish *)
 *   Writes class id, method id and arguments. A shortstr over 255 bytes makes the writer bad.
 */
#define M(c, m, cid, mid, flags)                                                       \
    MUST_USE bool amqp_##c##_##m##_decode(struct reader *r, struct amqp_##c##_##m *a); \
    size_t amqp_##c##_##m##_size(const struct amqp_##c##_##m *a);                      \
    void amqp_##c##_##m##_encode(struct writer *w, const struct amqp_##c##_##m *a);
AMQP_METHODS(M)
#undef M

enum amqp_field_type {
    AMQP_FT_octet,
    AMQP_FT_short,
    AMQP_FT_long,
    AMQP_FT_longlong,
    AMQP_FT_bit,
    AMQP_FT_shortstr,
    AMQP_FT_longstr,
    AMQP_FT_table,
};

struct amqp_field_info {
    const char *name;
    enum amqp_field_type type;
    size_t offset; /* in struct amqp_<class>_<method> */
};

struct amqp_method_info {
    const char *name; /* "basic.publish", as RabbitMQ writes it: "queue.declare_ok" */
    uint16_t class_id, method_id;
    unsigned flags;
    const struct amqp_field_info *fields;
    unsigned n_fields;
};

/* What is known of a method; id below AMQP_METHOD_COUNT. */
const struct amqp_method_info *amqp_method_info(enum amqp_method_id id);

/* The number of a class and method id from the wire, AMQP_METHOD_UNKNOWN if there is none such. */
enum amqp_method_id amqp_method_find(uint16_t class_id, uint16_t method_id);

/* The decoder, size and encoder of a method chosen at run time. */
MUST_USE bool amqp_method_decode(enum amqp_method_id id, struct reader *r, union amqp_args *args);
size_t amqp_method_size(enum amqp_method_id id, const union amqp_args *args);
void amqp_method_encode(enum amqp_method_id id, struct writer *w, const union amqp_args *args);

/* True when every shortstr among the arguments is well-formed UTF-8. */
bool amqp_method_utf8_ok(enum amqp_method_id id, const union amqp_args *args);

#endif
