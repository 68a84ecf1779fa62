#include "broker/main/config_int.h"

#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "broker/main/config_value.h"
#include "protocol/utf8.h"

/*
 * What a key means: it is looked up in the lists of config.def and its value checked and stored.
 * Keys are echoed in messages, values only when the key is known not to be secret.
 */

enum {
    CONFIG_SECRET = 1,
    CONFIG_HOSTNAME = 2,
    SUGGESTION_KEY_MAX = 64, /* keys beyond are no misspelling, and comparing costs their length */
};

enum option_type {
#define T(type, shown) TYPE_##type,
    CONFIG_TYPES(T)
#undef T
};

struct option {
    const char *key;
    enum option_type type;
    size_t offset; /* of the field in struct config */
    const char *deflt;
    uint64_t min, max;
    unsigned flags;
};

static const struct option options[] = {
#define CONF(key, type, field, deflt, min, max, flags, text)                                       \
    {key, TYPE_##type, offsetof(struct config, field), deflt, min, max, flags},
    CONFIG_OPTIONS(CONF)
#undef CONF
};

static const struct {
    const char *name, *key;
} aliases[] = {
#define ALIAS(name, key) {name, key},
    CONFIG_ALIASES(ALIAS)
#undef ALIAS
};

static const char *const ignored[] = {
#define IGNORED(pattern) pattern,
    CONFIG_IGNORED(IGNORED)
#undef IGNORED
};

/* Messages */

static void
report_add(struct config_report *report, enum config_severity severity, char *take_text)
{
    report->messages =
        mem_resize(report->messages, report->n_messages + 1, sizeof *report->messages);
    report->messages[report->n_messages++] = (struct config_message){severity, take_text};
}

void
config_note(struct loader *l, enum config_severity severity, const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    if (severity == CONFIG_ERROR)
        l->report->n_errors++;
    if (l->report->n_messages > CONFIG_MESSAGES_MAX)
        return;
    if (l->report->n_messages == CONFIG_MESSAGES_MAX) {
        report_add(l->report, severity, mem_strdup("too many messages: the rest is left out"));
        return;
    }
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    report_add(l->report, severity,
               l->line != 0 ? mem_printf("%s:%u: %s", l->source, l->line, text)
                            : mem_printf("%s: %s", l->source, text));
}

struct slice
config_shown(struct slice s)
{
    return slice_of(s.p, utf8_cut(s, 80));
}

static void
bad_value(struct loader *l, const struct option *o, struct slice value, const char *allowed)
{
    if (o->flags & CONFIG_SECRET)
        config_note(l, CONFIG_ERROR, "%s: %s", o->key, allowed);
    else
        config_note(l, CONFIG_ERROR, "%s = %.*s: %s", o->key, SLICE_FMT(config_shown(value)),
                    allowed);
}

/* Values */

static char *
slice_strdup(struct slice s)
{
    char *copy = mem_alloc(s.n + 1);
    if (s.n != 0)
        memcpy(copy, s.p, s.n);
    copy[s.n] = '\0';
    return copy;
}

/* Wipes every string: some are secrets. */
static void
string_free(char **string)
{
    if (*string != NULL)
        explicit_bzero(*string, strlen(*string));
    free(*string);
    *string = NULL;
}

/* A copy of the text in which "<hostname>" at its end is replaced. */
static char *
with_host_name(struct slice text)
{
    static const char suffix[] = "<hostname>";
    char host[HOST_NAME_MAX + 1];
    size_t n_suffix = sizeof suffix - 1;

    if (text.n < n_suffix || memcmp(text.p + text.n - n_suffix, suffix, n_suffix) != 0)
        return slice_strdup(text);
    if (gethostname(host, sizeof host) != 0 || !utf8_valid(slice_str(host)))
        strcpy(host, "localhost");
    return mem_printf("%.*s%s", (int)(text.n - n_suffix), (const char *)text.p, host);
}

static void
set_string(struct loader *l, const struct option *o, struct slice value, char **field)
{
    char allowed[64];

    if (value.n < o->min || value.n > o->max) {
        snprintf(allowed, sizeof allowed, "must be %" PRIu64 " to %" PRIu64 " bytes of text",
                 o->min, o->max);
        bad_value(l, o, value, allowed);
        return;
    }
    string_free(field);
    *field = o->flags & CONFIG_HOSTNAME ? with_host_name(value) : slice_strdup(value);
}

static const char units[] = " bytes; units such as k, MB and GiB may follow the number";

static void
set_number(struct loader *l, const struct option *o, struct slice value, uint32_t *field)
{
    bool is_size = o->type == TYPE_size;
    char allowed[160];
    uint64_t n;

    if (o->type == TYPE_limit && slice_is(value, "infinity")) {
        *field = CONFIG_INFINITY;
        return;
    }
    bool parsed = is_size ? config_parse_size(value, &n) : config_parse_number(value, &n);
    if (parsed && n >= o->min && n <= o->max) {
        *field = (uint32_t)n;
        return;
    }
    snprintf(allowed, sizeof allowed,
             "must be a whole number from %" PRIu64 " to %" PRIu64 "%s%s%s", o->min, o->max,
             is_size ? units : "", o->type == TYPE_limit ? ", or infinity" : "",
             parsed && n == 0 ? "; 0 (no limit) is not supported" : "");
    bad_value(l, o, value, allowed);
}

static void
set_bytes(struct loader *l, const struct option *o, struct slice value, uint64_t *field)
{
    char allowed[160];
    uint64_t n;

    if (slice_is(value, "unset")) {
        *field = CONFIG_UNSET;
        return;
    }
    if (config_parse_size(value, &n) && n >= o->min && n <= o->max) {
        *field = n;
        return;
    }
    snprintf(allowed, sizeof allowed,
             "must be a whole number from %" PRIu64 " to %" PRIu64 "%s, or unset", o->min, o->max,
             units);
    bad_value(l, o, value, allowed);
}

static void
set_ratio(struct loader *l, const struct option *o, struct slice value, double *field)
{
    char allowed[160];
    double x;

    if (slice_is(value, "unset")) {
        *field = CONFIG_RATIO_UNSET;
        return;
    }
    if (config_parse_ratio(value, &x) && x >= (double)o->min && x <= (double)o->max) {
        *field = x;
        return;
    }
    snprintf(allowed, sizeof allowed,
             "must be a number from %" PRIu64 " to %" PRIu64 ", such as 0.6, or unset", o->min,
             o->max);
    bad_value(l, o, value, allowed);
}

static void
set_option(struct loader *l, const struct option *o, struct slice value)
{
    void *field = (char *)l->config + o->offset;

    switch (o->type) {
    case TYPE_string:
        set_string(l, o, value, field);
        break;
    case TYPE_number:
    case TYPE_limit:
    case TYPE_size:
        set_number(l, o, value, field);
        break;
    case TYPE_bytes:
        set_bytes(l, o, value, field);
        break;
    case TYPE_ratio:
        set_ratio(l, o, value, field);
        break;
    case TYPE_boolean:
        if (!config_parse_boolean(value, field))
            bad_value(l, o, value, "must be true or false");
        break;
    case TYPE_level:
        if (!config_parse_level(value, field))
            bad_value(l, o, value, "must be debug, info, warning, error, critical or none");
        break;
    }
}

/* Groups of keys with a name at their end */

static void
listener_free(struct config_listener *listener)
{
    free(listener->name);
    free(listener->host);
}

static void
free_listeners(struct config *config)
{
    for (size_t i = 0; i < config->n_listeners; i++)
        listener_free(&config->listeners[i]);
    free(config->listeners);
    config->listeners = NULL;
    config->n_listeners = 0;
}

static void
clear_listeners(struct loader *l)
{
    free_listeners(l->config);
    l->listeners_are_default = false;
}

/* The place of the named listener, or the end. */
static size_t
find_listener(const struct config *config, struct slice name)
{
    size_t i = 0;
    while (i < config->n_listeners && !slice_is(name, config->listeners[i].name))
        i++;
    return i;
}

static void
remove_listener(struct config *config, size_t i)
{
    if (i == config->n_listeners)
        return;
    listener_free(&config->listeners[i]);
    config->n_listeners--;
    memmove(&config->listeners[i], &config->listeners[i + 1],
            (config->n_listeners - i) * sizeof *config->listeners);
}

static void
set_listener(struct loader *l, struct slice name, struct slice value)
{
    struct config *config = l->config;
    struct slice host;
    uint16_t port;

    if (l->listeners_are_default)
        clear_listeners(l);
    size_t i = find_listener(config, name);
    if (slice_is(value, "none")) {
        remove_listener(config, i);
        return;
    }
    if (!config_parse_address(value, &host, &port)) {
        config_note(
            l, CONFIG_ERROR,
            "listeners.tcp.%.*s = %.*s: must be PORT, ADDRESS:PORT, [IPV6-ADDRESS]:PORT or none",
            SLICE_FMT(config_shown(name)), SLICE_FMT(config_shown(value)));
        return;
    }
    if (i == config->n_listeners) {
        if (i == CONFIG_LISTENERS_MAX) {
            config_note(l, CONFIG_ERROR, "listeners.tcp.%.*s: more than %d listeners",
                        SLICE_FMT(config_shown(name)), CONFIG_LISTENERS_MAX);
            return;
        }
        config->listeners = mem_resize(config->listeners, i + 1, sizeof *config->listeners);
        config->listeners[config->n_listeners++] =
            (struct config_listener){.name = slice_strdup(name)};
    }
    free(config->listeners[i].host);
    config->listeners[i].host = host.n != 0 ? slice_strdup(host) : NULL;
    config->listeners[i].port = port;
}

static void
free_loopback_users(struct config *config)
{
    for (size_t i = 0; i < config->n_loopback_users; i++)
        free(config->loopback_users[i]);
    free(config->loopback_users);
    config->loopback_users = NULL;
    config->n_loopback_users = 0;
}

static void
clear_loopback_users(struct loader *l)
{
    free_loopback_users(l->config);
}

static size_t
find_loopback_user(const struct config *config, struct slice name)
{
    size_t i = 0;
    while (i < config->n_loopback_users && !slice_is(name, config->loopback_users[i]))
        i++;
    return i;
}

static void
set_loopback_user(struct loader *l, struct slice name, struct slice value)
{
    struct config *config = l->config;
    bool only;

    if (!config_parse_boolean(value, &only)) {
        config_note(l, CONFIG_ERROR, "loopback_users.%.*s = %.*s: must be true or false",
                    SLICE_FMT(config_shown(name)), SLICE_FMT(config_shown(value)));
        return;
    }
    size_t i = find_loopback_user(config, name);
    if (only == (i < config->n_loopback_users))
        return;
    if (!only) {
        free(config->loopback_users[i]);
        config->loopback_users[i] = config->loopback_users[--config->n_loopback_users];
        return;
    }
    if (i == CONFIG_LOOPBACK_USERS_MAX) {
        config_note(l, CONFIG_ERROR, "loopback_users.%.*s: more than %d users",
                    SLICE_FMT(config_shown(name)), CONFIG_LOOPBACK_USERS_MAX);
        return;
    }
    config->loopback_users =
        mem_resize(config->loopback_users, i + 1, sizeof *config->loopback_users);
    config->loopback_users[config->n_loopback_users++] = slice_strdup(name);
}

struct group {
    const char *prefix;
    void (*set)(struct loader *l, struct slice name, struct slice value);
    void (*clear)(struct loader *l);
    const char *deflt; /* a line of the file */
};

static const struct group groups[] = {
#define GROUP(prefix, name, handler, deflt, value, text)                                           \
    {prefix, set_##handler, clear_##handler##s, deflt},
    CONFIG_GROUPS(GROUP)
#undef GROUP
};

/* A setting of the prefix alone. */
static void
empty_group(struct loader *l, const struct group *group, struct slice value)
{
    if (slice_is(value, "none"))
        group->clear(l);
    else
        config_note(l, CONFIG_ERROR, "%s = %.*s: must be none, or %s.NAME be set instead",
                    group->prefix, SLICE_FMT(config_shown(value)), group->prefix);
}

/* Keys */

static const struct option *
find_option(struct slice key)
{
    for (size_t i = 0; i < COUNT(aliases); i++) {
        if (slice_is(key, aliases[i].name))
            key = slice_str(aliases[i].key);
    }
    for (size_t i = 0; i < COUNT(options); i++) {
        if (slice_is(key, options[i].key))
            return &options[i];
    }
    return NULL;
}

/* The group of the key, or NULL; what follows the dot behind the prefix is `name_r`, maybe empty.
 */
static const struct group *
find_group(struct slice key, struct slice *name_r)
{
    for (size_t i = 0; i < COUNT(groups); i++) {
        size_t n = strlen(groups[i].prefix);
        if (!slice_starts(key, groups[i].prefix))
            continue;
        if (key.n == n)
            *name_r = slice_of(key.p + n, 0);
        else if (key.n > n + 1 && key.p[n] == '.')
            *name_r = slice_of(key.p + n + 1, key.n - n - 1);
        else
            continue;
        return &groups[i];
    }
    return NULL;
}

static bool
is_ignored(struct slice key)
{
    for (size_t i = 0; i < COUNT(ignored); i++) {
        size_t n = strlen(ignored[i]);
        if (ignored[i][n - 1] == '*' ? key.n >= n - 1 && memcmp(key.p, ignored[i], n - 1) == 0
                                     : slice_is(key, ignored[i]))
            return true;
    }
    return false;
}

struct match {
    const char *text;
    size_t distance;
};

static void
consider(struct match *best, struct slice key, const char *candidate)
{
    size_t distance = config_edit_distance(key, slice_str(candidate));
    if (distance != 0 && distance < best->distance)
        *best = (struct match){candidate, distance};
}

static void
unknown_key(struct loader *l, struct slice key)
{
    struct match best = {NULL, 2 + key.n / 4};
    struct match best_group = {NULL, 3};

    if (key.n > SUGGESTION_KEY_MAX) {
        config_note(l, CONFIG_ERROR, "unknown key '%.*s'", SLICE_FMT(config_shown(key)));
        return;
    }
    for (size_t i = 0; i < COUNT(options); i++)
        consider(&best, key, options[i].key);
    for (size_t i = 0; i < COUNT(aliases); i++)
        consider(&best, key, aliases[i].name);

    /* Of a group's key, the part before the last dot is what may be misspelt. */
    const uint8_t *dot = memrchr(key.p, '.', key.n);
    struct slice prefix = slice_of(key.p, dot != NULL ? (size_t)(dot - key.p) : key.n);
    for (size_t i = 0; i < COUNT(groups); i++)
        consider(&best_group, prefix, groups[i].prefix);

    if (best_group.text != NULL && best_group.distance < best.distance)
        config_note(l, CONFIG_ERROR, "unknown key '%.*s'; did you mean '%s%.*s'?",
                    SLICE_FMT(config_shown(key)), best_group.text,
                    SLICE_FMT(config_shown(slice_of(key.p + prefix.n, key.n - prefix.n))));
    else if (best.text != NULL)
        config_note(l, CONFIG_ERROR, "unknown key '%.*s'; did you mean '%s'?",
                    SLICE_FMT(config_shown(key)), best.text);
    else
        config_note(l, CONFIG_ERROR, "unknown key '%.*s'", SLICE_FMT(config_shown(key)));
}

void
config_apply(struct loader *l, struct slice key, struct slice value)
{
    struct slice name;

    const struct option *option = find_option(key);
    const struct group *group = find_group(key, &name);
    if (option != NULL)
        set_option(l, option, value);
    else if (group != NULL && name.n != 0)
        group->set(l, name, value);
    else if (group != NULL)
        empty_group(l, group, value);
    else if (is_ignored(key))
        config_note(l, CONFIG_WARNING, "'%.*s' has no effect here and is ignored",
                    SLICE_FMT(config_shown(key)));
    else
        unknown_key(l, key);
}

/* Defaults */

/* A group's default is written as a line of the file, "KEY = VALUE". */
static void
load_group_default(struct loader *l, const char *line)
{
    const char *equals = strstr(line, " = ");
    config_apply(l, slice_of(line, (size_t)(equals - line)), slice_str(equals + 3));
}

void
config_apply_defaults(struct loader *l)
{
    l->source = "default";
    for (size_t i = 0; i < COUNT(options); i++)
        set_option(l, &options[i], slice_str(options[i].deflt));
    for (size_t i = 0; i < COUNT(groups); i++)
        load_group_default(l, groups[i].deflt);
    l->listeners_are_default = true;
}

bool
config_user_is_loopback_only(const struct config *config, const char *name)
{
    return find_loopback_user(config, slice_str(name)) < config->n_loopback_users;
}

static void
forget_strings(struct config *config, unsigned flags)
{
    for (size_t i = 0; i < COUNT(options); i++) {
        void *field = (char *)config + options[i].offset;
        if (options[i].type == TYPE_string && (options[i].flags & flags) == flags)
            string_free(field);
    }
}

void
config_forget_secrets(struct config *config)
{
    forget_strings(config, CONFIG_SECRET);
}

void
config_free(struct config *config)
{
    free_listeners(config);
    free_loopback_users(config);
    forget_strings(config, 0);
    memset(config, 0, sizeof *config);
}
