/*
 * The payload of a method frame. What the decoder accepts, the encoder must reproduce, in as many
 * bytes as the size function says; one byte less or more must be refused; no truncation may be read
 * beyond its end.
 */
#include "tests/fuzz/fuzz.h"

#include "protocol/method.h"
#include "protocol/table.h"
#include "tests/unit/method_args.h"

static bool
decode(enum amqp_method_id id, struct slice args_bytes, union amqp_args *args_r)
{
    struct reader r = reader_init(args_bytes);
    return amqp_method_decode(id, &r, args_r);
}

/*
 * The fields' types decide alone whether encoding loses nothing: only the unused bits of a run of
 * bits may go.
 */
static bool
has_bits(enum amqp_method_id id)
{
    const struct amqp_method_info *info = amqp_method_info(id);

    for (unsigned i = 0; i < info->n_fields; i++) {
        if (info->fields[i].type == AMQP_FT_bit)
            return true;
    }
    return false;
}

static void
check_encoding(enum amqp_method_id id, struct slice payload, const union amqp_args *args)
{
    union amqp_args again;
    uint8_t *bytes = mem_alloc(payload.n);

    struct writer w = writer_init(bytes, payload.n);
    amqp_method_encode(id, &w, args);
    MUST(!w.bad && w.p == w.end);
    MUST(decode(id, slice_of(bytes + 4, payload.n - 4), &again));
    MUST(args_difference(id, args, &again) == NULL);
    MUST(has_bits(id) || slice_eq(slice_of(bytes, payload.n), payload));

    w = writer_init(bytes, payload.n - 1);
    amqp_method_encode(id, &w, args);
    MUST(w.bad);
    free(bytes);
}

static void
check_one_byte_off(enum amqp_method_id id, struct slice args_bytes)
{
    union amqp_args args;

    struct slice longer = exact_copy(args_bytes, 1);
    MUST(!decode(id, longer, &args));
    exact_free(longer);
    if (args_bytes.n != 0) {
        struct slice shorter = exact_copy(slice_of(args_bytes.p, args_bytes.n - 1), 0);
        MUST(!decode(id, shorter, &args));
        exact_free(shorter);
    }
}

/* Tables are borrowed from the frame unchecked: looking into one must be safe whatever it holds. */
static void
look_into_tables(enum amqp_method_id id, const union amqp_args *args)
{
    const struct amqp_method_info *info = amqp_method_info(id);
    struct amqp_value v;

    for (unsigned i = 0; i < info->n_fields; i++) {
        if (info->fields[i].type != AMQP_FT_table)
            continue;
        struct slice table = *(const struct slice *)arg_const(args, &info->fields[i]);
        bool found = amqp_table_get(table, "x-message-ttl", &v);
        MUST(!found || table.n >= sizeof "x-message-ttl");
        MUST(amqp_table_same(table, table));
        MUST(!amqp_table_check(table) || amqp_table_hash(table, 1) == amqp_table_hash(table, 1));
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice payload = slice_of(data, size);
    union amqp_args args;

    if (size < 4)
        return 0;
    enum amqp_method_id id = amqp_method_find(get_u16(data), get_u16(data + 2));
    if (id == AMQP_METHOD_UNKNOWN)
        return 0;
    struct slice args_bytes = slice_of(data + 4, size - 4);
    if (!decode(id, args_bytes, &args))
        return 0;
    MUST(amqp_method_size(id, &args) == size);
    MUST(amqp_method_utf8_ok(id, &args) || amqp_method_info(id)->n_fields != 0);
    check_encoding(id, payload, &args);
    check_one_byte_off(id, args_bytes);
    look_into_tables(id, &args);
    return 0;
}
