/*
 * PerfTest's options have short names of several letters after one dash (-qpf), which getopt_long()
 * cannot do without also taking -x for --x...: so the table is searched by exact name here, which
 * is less code anyway.
 */
#include "perf/options.h"

#include <stddef.h>
#include <string.h>

#include "perf/options.def"

enum option_kind {
    OPTION_HELP,
    OPTION_FLAG,
    OPTION_BOOL,
    OPTION_UINT,
    OPTION_U64,
    OPTION_REAL,
    OPTION_STRING,
    OPTION_URI,
    OPTION_FLAGS,
    OPTION_TABLE,
    OPTION_PROPS,
};

struct option_info {
    const char *short_name, *long_name;
    const char *argument; /* NULL: takes none */
    enum option_kind kind;
    size_t offset; /* in struct perf_options */
    uint64_t lo, hi;
    const char *help;
};

static const struct option_info options[] = {
#define OPT(s, l, arg, kind, field, lo, hi, help)                                                  \
    {s, l, arg, OPTION_##kind, offsetof(struct perf_options, field), lo, hi, help},
    PERF_OPTIONS(OPT)
#undef OPT
};

enum { N_OPTIONS = sizeof options / sizeof *options };

void
options_print_help(FILE *out)
{
    fputs("usage: coney-perf [OPTION]...\nLoads an AMQP 0-9-1 broker and measures it.\n\n", out);
    for (size_t i = 0; i < N_OPTIONS; i++) {
        const struct option_info *o = &options[i];
        char names[64];
        int n = snprintf(names, sizeof names, "%s%s%s--%s", *o->short_name != '\0' ? "-" : "",
                         o->short_name, *o->short_name != '\0' ? ", " : "", o->long_name);
        if (o->argument != NULL)
            snprintf(names + n, sizeof names - (size_t)n, " %s", o->argument);
        fprintf(out, "  %-38s %s\n", names, o->help);
    }
}

/* The option called `arg` (with its dashes); *value_r is what follows an '=' in it, else NULL. */
static const struct option_info *
find_option(const char *arg, const char **value_r)
{
    bool is_long = arg[0] == '-' && arg[1] == '-';
    const char *name = arg + 1 + is_long;
    const char *equals = is_long ? strchr(name, '=') : NULL;
    size_t n = equals != NULL ? (size_t)(equals - name) : strlen(name);

    *value_r = equals != NULL ? equals + 1 : NULL;
    if (arg[0] != '-' || n == 0)
        return NULL;
    for (size_t i = 0; i < N_OPTIONS; i++) {
        const char *candidate = is_long ? options[i].long_name : options[i].short_name;
        if (slice_is(slice_of(name, n), candidate))
            return &options[i];
    }
    return NULL;
}

static bool
set_bool(bool *field, const char *value)
{
    *field = strcmp(value, "true") == 0;
    return *field || strcmp(value, "false") == 0;
}

static bool
set_flags(struct perf_options *o, const char *value)
{
    if (strcmp(value, "persistent") == 0)
        o->flags.persistent = true;
    else if (strcmp(value, "mandatory") == 0)
        o->flags.mandatory = true;
    else
        return false;
    return true;
}

static bool
set_option(struct perf_options *o, const struct option_info *info, const char *value)
{
    void *field = (char *)o + info->offset;
    uint64_t number;

    switch (info->kind) {
    case OPTION_HELP:
    case OPTION_FLAG:
        *(bool *)field = true;
        return true;
    case OPTION_BOOL:
        return set_bool(field, value);
    case OPTION_UINT:
        if (!number_parse(value, info->lo, info->hi, &number))
            return false;
        *(unsigned *)field = (unsigned)number;
        return true;
    case OPTION_U64:
        return number_parse(value, info->lo, info->hi, field);
    case OPTION_REAL:
        return real_parse(value, field);
    case OPTION_STRING:
        *(const char **)field = value;
        return true;
    case OPTION_URI:
        uri_free(field);
        return uri_parse(value, field);
    case OPTION_FLAGS:
        return set_flags(o, value);
    case OPTION_TABLE:
        return table_parse(value, field);
    case OPTION_PROPS:
        return props_parse(value, field, &o->headers);
    }
    return false;
}

static bool
refuse(const char *why)
{
    fprintf(stderr, "coney-perf: %s\n", why);
    return false;
}

static bool
read_arguments(struct perf_options *o, int argc, char *const argv[])
{
    for (int i = 1; i < argc; i++) {
        const char *value;
        const struct option_info *info = find_option(argv[i], &value);
        if (info == NULL) {
            fprintf(stderr, "coney-perf: unknown option '%s'; --help lists all\n", argv[i]);
            return false;
        }
        if (info->argument != NULL && value == NULL)
            value = argv[++i];
        else if (info->argument == NULL && value != NULL)
            return refuse("an option that takes no value was given one");
        if (info->argument != NULL && value == NULL) {
            fprintf(stderr, "coney-perf: --%s needs %s\n", info->long_name, info->argument);
            return false;
        }
        if (!set_option(o, info, value)) {
            fprintf(stderr, "coney-perf: bad value '%s' for --%s\n", value, info->long_name);
            return false;
        }
    }
    return true;
}

/* False, with the reason on stderr, for options that contradict each other. */
static bool
check(const struct perf_options *o)
{
    char *queue =
        o->queue_pattern != NULL ? pattern_expand(o->queue_pattern, 1) : mem_strdup(o->queue);
    char *key = o->key_pattern != NULL ? pattern_expand(o->key_pattern, 1) : mem_strdup("");
    bool expands = queue != NULL && key != NULL;

    free(queue);
    free(key);
    if (!expands)
        return refuse("a pattern needs one %d (or %03d and the like)");
    if (o->queue_from > o->queue_to || o->key_from > o->key_to)
        return refuse("a pattern's range ends before it begins");
    if (o->producers == 0 && o->consumers == 0)
        return refuse("neither producers nor consumers");
    if (!o->autoack && ((o->qos != 0 && o->ack_every > o->qos) ||
                        (o->global_qos != 0 && o->ack_every > o->global_qos)))
        return refuse("--multi-ack-every above the prefetch would wait forever");
    if (o->autoack && o->ack_every > 1)
        return refuse("--autoack and --multi-ack-every exclude each other");
    if ((o->routing_key != NULL) + (o->key_pattern != NULL) + o->random_key > 1)
        return refuse("only one of --routing-key, --routing-key-pattern, --random-routing-key");
    if (o->verify && (o->size < PERF_STAMP_FULL || o->producers == 0 || o->consumers == 0))
        return refuse("--verify needs producers, consumers and bodies of 16 bytes or more");
    if (*o->exchange == '\0' && (o->topic_bindings != 0 || o->binding_file != NULL))
        return refuse("nothing can be bound to the default exchange: give --type or --exchange");
    return true;
}

bool
options_parse(struct perf_options *o, int argc, char *const argv[])
{
    *o = (struct perf_options){
        .id = "test",
        .producers = 1,
        .consumers = 1,
        .producer_channels = 1,
        .consumer_channels = 1,
        .threads = 1,
        .size = 16,
        .ack_every = 1,
        .queue = "perf-test",
        .queue_from = 1,
        .queue_to = 1,
        .key_from = 1,
        .key_to = 1,
        .auto_delete = true,
        .frame_max = 131072,
        .heartbeat = 60,
        .interval = 1,
        .drain_timeout = 10,
    };
    if (!uri_parse("amqp://", &o->uri) || !read_arguments(o, argc, argv))
        return false;
    if (o->exchange == NULL)
        o->exchange = o->type != NULL ? o->type : "";
    if (o->type == NULL)
        o->type = "direct";
    if (o->flags.persistent) {
        o->props.flags |= AMQP_PROP(delivery_mode);
        o->props.delivery_mode = 2;
    }
    return o->help || o->version || check(o);
}

void
options_free(struct perf_options *o)
{
    uri_free(&o->uri);
    bytes_free(&o->headers);
    bytes_free(&o->queue_args);
    bytes_free(&o->consumer_args);
}
