#include "broker/main/offline_json.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "protocol/table.h"
#include "protocol/utf8.h"

static json_t *
made(json_t *j)
{
    if (j == NULL)
        mem_exhausted(0);
    return j;
}

static char *
base64(struct slice s)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *text = mem_alloc((s.n + 2) / 3 * 4 + 1), *to = text;

    for (size_t i = 0; i < s.n; i += 3) {
        size_t left = s.n - i;
        uint32_t three = (uint32_t)s.p[i] << 16 | (left > 1 ? (uint32_t)s.p[i + 1] << 8 : 0) |
                         (left > 2 ? s.p[i + 2] : 0U);
        *to++ = digits[three >> 18];
        *to++ = digits[three >> 12 & 63];
        *to++ = left > 1 ? digits[three >> 6 & 63] : '=';
        *to++ = left > 2 ? digits[three & 63] : '=';
    }
    *to = '\0';
    return text;
}

/* The bytes, if they are UTF-8, or a text about them that must be freed. */
static struct slice
as_utf8(struct slice s, char **text_r)
{
    *text_r = NULL;
    if (utf8_valid(s))
        return s.n != 0 ? s : slice_str("");
    char *encoded = base64(s);
    *text_r = mem_printf("Not UTF-8, base64 is: %s", encoded);
    free(encoded);
    return slice_str(*text_r);
}

json_t *
json_of_string(struct slice s)
{
    char *text;
    struct slice u = as_utf8(s, &text);
    json_t *j = made(json_stringn((const char *)u.p, u.n));

    free(text);
    return j;
}

/* JSON has no infinities and no NaN. */
static json_t *
json_of_double(double d)
{
    return made(isfinite(d) ? json_real(d) : json_null());
}

static json_t *
json_of_unsigned(uint64_t n)
{
    return n <= INT64_MAX ? made(json_integer((json_int_t)n)) : json_of_double((double)n);
}

static json_t *json_of_value(const struct amqp_value *v);

static json_t *
json_of_array(struct slice values)
{
    struct reader r = reader_init(values);
    json_t *array = made(json_array());
    struct amqp_value v;

    while (amqp_array_next(&r, &v))
        json_array_append_new(array, json_of_value(&v));
    return array;
}

static json_t *
json_of_value(const struct amqp_value *v)
{
    switch (amqp_value_kind(v)) {
    case AMQP_KIND_BOOL:
        return json_boolean(v->boolean);
    case AMQP_KIND_INT:
        return made(json_integer(v->i));
    case AMQP_KIND_FLOAT:
        return json_of_double(v->f);
    case AMQP_KIND_DECIMAL:
        return json_of_double(v->decimal.digits / pow(10, v->decimal.scale));
    case AMQP_KIND_STRING:
    case AMQP_KIND_BINARY:
        return json_of_string(v->s);
    case AMQP_KIND_TIMESTAMP:
        return json_of_unsigned(v->time);
    case AMQP_KIND_TABLE:
        return json_of_table(v->s);
    case AMQP_KIND_ARRAY:
        return json_of_array(v->s);
    case AMQP_KIND_VOID:
        break;
    }
    return json_null();
}

json_t *
json_of_table(struct slice table)
{
    struct reader r = reader_init(table);
    json_t *object = made(json_object());
    struct amqp_pair pair;
    char *text;

    while (amqp_table_next(&r, &pair)) {
        struct slice key = as_utf8(pair.key, &text);
        if (json_object_getn(object, (const char *)key.p, key.n) == NULL)
            json_object_setn_new(object, (const char *)key.p, key.n, json_of_value(&pair.value));
        free(text);
    }
    return object;
}
