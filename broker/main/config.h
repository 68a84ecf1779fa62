#ifndef CONEY_BROKER_MAIN_CONFIG_H
#define CONEY_BROKER_MAIN_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/slice.h"
#include "broker/main/config.def"

/* A `limit` that is none. */
#define CONFIG_INFINITY UINT32_MAX

/* A number of `bytes` and a `ratio` that are not set. */
#define CONFIG_UNSET UINT64_MAX
#define CONFIG_RATIO_UNSET (-1.0)

/* Bounds on what an operator hands us. */
#define CONFIG_FILE_MAX (1024 * 1024)
#define CONFIG_LINE_MAX 4096
#define CONFIG_LISTENERS_MAX 64
#define CONFIG_LOOPBACK_USERS_MAX 1024
#define CONFIG_MESSAGES_MAX 100

struct config_listener {
    char *name;
    char *host;    /* an address or a name, without brackets; NULL: all interfaces, IPv6 and IPv4 */
    uint16_t port; /* 0: any free one */
};

#define CONFIG_TYPE_string char *
#define CONFIG_TYPE_number uint32_t
#define CONFIG_TYPE_limit uint32_t
#define CONFIG_TYPE_size uint32_t
#define CONFIG_TYPE_bytes uint64_t
#define CONFIG_TYPE_ratio double
#define CONFIG_TYPE_boolean bool
#define CONFIG_TYPE_level enum log_level

/* The settings in force, defaults included. What each field means is said in config.def. */
struct config {
    struct config_listener *listeners;
    size_t n_listeners;
    char **loopback_users; /* names of those who may log in from the local machine only */
    size_t n_loopback_users;
#define CONF(key, type, field, deflt, min, max, flags, text) CONFIG_TYPE_##type field;
    CONFIG_OPTIONS(CONF)
#undef CONF
};

enum config_severity { CONFIG_WARNING, CONFIG_ERROR };

struct config_message {
    enum config_severity severity;
    char *text; /* "coneyd.conf:3: unknown key 'fram_max'; did you mean 'frame_max'?". Never a
                   secret. */
};

/* What was found wrong, in the order of finding. */
struct config_report {
    struct config_message *messages;
    size_t n_messages; /* at most CONFIG_MESSAGES_MAX and a line that says so */
    size_t n_errors;
};

/*
 * The defaults, then the file (none when `path` is NULL), then the environment, then each
 * "KEY=VALUE" of `sets`; the later wins. True when no error was found; there may be warnings.
 * Otherwise `config_r` is left empty and every error is in the report. The report is to be freed in
 * either case. Logs nothing, reads nothing else.
 */
MUST_USE bool config_load(struct config *config_r, const char *path, const char *const *sets,
                          size_t n_sets, struct config_report *report_r);

/*
 * The same from a file's text: no environment, no further settings. `name` stands for the file in
 * messages.
 */
MUST_USE bool config_load_text(struct config *config_r, const char *name, struct slice text,
                               struct config_report *report_r);

/* Whether the named user is restricted to loopback connections. */
bool config_user_is_loopback_only(const struct config *config, const char *name);

/* Wipes and releases default_pass, which becomes NULL: for when the user database has its hash. */
void config_forget_secrets(struct config *config);

/* Releases what the struct holds and empties it. */
void config_free(struct config *config);
void config_report_free(struct config_report *report);

#endif
