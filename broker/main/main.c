/* coneyd: start-up, signals and the orderly end. */
#include <config.h>

#include <errno.h>
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "broker/main/accounts.h"
#include "broker/main/config.h"
#include "broker/main/offline.h"
#include "broker/net/listener.h"
#include "broker/net/loop.h"
#include "broker/net/monitor.h"

enum {
    WORKERS = 2,
    EXIT_USAGE = 64,
    DISK_FREE_LIMIT = 50000000, /* bytes, RabbitMQ's default */
};

struct arguments {
    const char *config_file, *data_dir, *ready_file;
    const char **sets;
    size_t n_sets;
    int (*offline)(const char *directory); /* instead of serving, on offline_dir */
    const char *offline_dir;
};

struct daemon {
    struct arguments args;
    struct config config;
    struct settings settings;
    struct store *store;
    struct users *users;
    struct workers *workers;
    struct loop *loop;
    struct listener **listeners;
    size_t n_listeners;
    struct event *signals[3];
};

static void
usage(FILE *to)
{
    fprintf(to,
            "usage: coneyd [-c FILE] [--set KEY=VALUE]... [--data-dir DIR] [--ready-file FILE]\n"
            "       coneyd --check DIR | --dump DIR | --compact DIR\n"
            "       coneyd --help | --version\n");
}

static void
set_offline(struct arguments *a, int (*what)(const char *directory), const char *directory)
{
    if (a->offline != NULL) {
        fprintf(stderr, "coneyd: --check, --dump and --compact are done one at a time\n");
        usage(stderr);
        exit(EXIT_USAGE);
    }
    a->offline = what;
    a->offline_dir = directory;
}

static void
parse_arguments(struct arguments *a, int argc, char **argv)
{
    enum { SET = 256, DATA_DIR, READY_FILE, CHECK, DUMP, COMPACT, HELP, VERSION_ };
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"set", required_argument, NULL, SET},
        {"data-dir", required_argument, NULL, DATA_DIR},
        {"ready-file", required_argument, NULL, READY_FILE},
        {"check", required_argument, NULL, CHECK},
        {"dump", required_argument, NULL, DUMP},
        {"compact", required_argument, NULL, COMPACT},
        {"help", no_argument, NULL, HELP},
        {"version", no_argument, NULL, VERSION_},
        {NULL, 0, NULL, 0},
    };
    int option;

    while ((option = getopt_long(argc, argv, "c:", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            a->config_file = optarg;
            break;
        case SET:
            a->sets = mem_resize(a->sets, a->n_sets + 1, sizeof *a->sets);
            a->sets[a->n_sets++] = optarg;
            break;
        case DATA_DIR:
            a->data_dir = optarg;
            break;
        case READY_FILE:
            a->ready_file = optarg;
            break;
        case CHECK:
            set_offline(a, offline_check, optarg);
            break;
        case DUMP:
            set_offline(a, offline_dump, optarg);
            break;
        case COMPACT:
            set_offline(a, offline_compact, optarg);
            break;
        case HELP:
            usage(stdout);
            exit(0);
        case VERSION_:
            printf("coneyd %s\n", PACKAGE_VERSION);
            exit(0);
        default:
            usage(stderr);
            exit(EXIT_USAGE);
        }
    }
    if (optind < argc) {
        fprintf(stderr, "coneyd: unexpected argument '%s'\n", argv[optind]);
        usage(stderr);
        exit(EXIT_USAGE);
    }
}

/* --- start-up --- */

static bool
load_config(struct daemon *d)
{
    struct config_report report;
    bool ok = config_load(&d->config, d->args.config_file, d->args.sets, d->args.n_sets, &report);

    if (ok)
        log_set_level(d->config.log_level);
    for (size_t i = 0; i < report.n_messages; i++) {
        const struct config_message *m = &report.messages[i];
        log_msg(m->severity == CONFIG_ERROR ? LOG_ERROR : LOG_WARNING, "%s", m->text);
    }
    config_report_free(&report);
    return ok;
}

static void
fill_settings(struct daemon *d)
{
    const struct config *c = &d->config;

    d->settings = (struct settings){
        .product = c->product_name,
        .version = c->product_version,
        .cluster_name = c->cluster_name,
        .default_vhost = c->default_vhost,
        .channel_max = (uint16_t)c->channel_max,
        .heartbeat = (uint16_t)c->heartbeat,
        .frame_max = c->frame_max,
        .initial_frame_max = c->initial_frame_max,
        .max_message_size = c->max_message_size,
        .handshake_timeout = c->handshake_timeout,
        .consumer_max =
            c->consumer_max_per_channel == CONFIG_INFINITY ? 0 : c->consumer_max_per_channel,
        .output_high_watermark = c->output_high_watermark,
        .queue_memory_max = c->queue_memory_max,
        .messages_memory_max = c->messages_memory_max,
    };
}

/* Opens the store and takes over what is in it. */
static bool
open_store(struct daemon *d)
{
    const struct store_options options = {
        .directory = d->args.data_dir,
        .size_max = d->config.store_size_max,
        .faults = getenv("CONEY_STORE_FAULTS"), /* for tests */
        .threads = true,
    };
    struct accounts accounts = {0};

    d->store = store_open(&options);
    if (d->store == NULL)
        return false;
    if (loop_open(d->loop, d->store, accounts_recovered, &accounts))
        d->users = accounts_users(&accounts, &d->config, d->loop->broker);
    accounts_free(&accounts);
    config_forget_secrets(&d->config);
    loop_set_users(d->loop, d->users);
    return d->users != NULL;
}

/* Every connection is a descriptor: take as many as the system lets us have. */
static void
raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        log_warning("cannot raise the limit of open files: %s", strerror(errno));
}

/*
 * Output buffers come and go with every turn of the loop: a heap that gives its end back to the
 * system each time spends its days in page faults.
 */
static void
tune_malloc(void)
{
    mallopt(M_TRIM_THRESHOLD, 8 * 1024 * 1024);
    mallopt(M_TOP_PAD, 1024 * 1024);
}

static bool
listen_all(struct daemon *d)
{
    const struct config *c = &d->config;

    d->listeners = mem_zalloc((c->n_listeners + 1) * sizeof *d->listeners);
    for (size_t i = 0; i < c->n_listeners; i++) {
        const struct config_listener *where = &c->listeners[i];
        struct listener *ls = listener_new(d->loop, where->host, where->port, (int)c->backlog);
        if (ls == NULL)
            return false;
        d->listeners[d->n_listeners++] = ls;
        log_info("started TCP listener on %s", listener_address(ls));
    }
    return true;
}

/* Written aside and renamed, so that whoever waits for the file finds it whole. */
static bool
write_ready_file(const struct daemon *d)
{
    const char *path = d->args.ready_file;

    if (path == NULL)
        return true;
    char *aside = mem_printf("%s.new", path);
    FILE *f = fopen(aside, "w");
    bool ok = f != NULL;
    if (ok) {
        fprintf(f, "pid=%ld\n", (long)getpid());
        for (size_t i = 0; i < d->n_listeners; i++)
            fprintf(f, "amqp=%s\n", listener_address(d->listeners[i]));
        ok = !ferror(f);
        ok &= fclose(f) == 0;
        ok = ok && rename(aside, path) == 0;
    }
    if (!ok)
        log_error("cannot write the ready file %s: %s", path, strerror(errno));
    free(aside);
    return ok;
}

#define NO_LIMIT (MONITOR_UNSET - 1)

/* A limit from the configuration; `deflt` bytes when nothing is set. */
static struct monitor_limit
alarm_limit(uint64_t absolute, double relative, uint64_t deflt)
{
    if (absolute == CONFIG_UNSET && relative < 0)
        absolute = deflt;
    return (struct monitor_limit){absolute == CONFIG_UNSET ? MONITOR_UNSET : absolute, relative};
}

static void
watch_resources(struct daemon *d)
{
    const struct config *c = &d->config;
    const struct monitor_options options = {
        .memory = alarm_limit(c->memory_absolute, c->memory_relative, NO_LIMIT),
        .disk = alarm_limit(c->disk_absolute, c->disk_relative, DISK_FREE_LIMIT),
        .memory_total = c->memory_total == CONFIG_UNSET ? MONITOR_UNSET : c->memory_total,
        .data_dir = d->args.data_dir,
        .store = d->store,
    };

    d->loop->monitor = monitor_new(d->loop, &options);
}

/* --- signals --- */

static void
on_stop(evutil_socket_t sig, short what, void *arg)
{
    struct daemon *d = arg;

    (void)what;
    log_info("stopping on signal %d", (int)sig);
    for (size_t i = 0; i < d->n_listeners; i++)
        listener_free(d->listeners[i]);
    d->n_listeners = 0;
    loop_stop(d->loop);
}

static void
on_hangup(evutil_socket_t sig, short what, void *arg)
{
    (void)sig, (void)what, (void)arg;
    log_warning("SIGHUP: the configuration cannot be reloaded yet, restart instead");
}

static void
catch_signals(struct daemon *d)
{
    struct event_base *base = d->loop->base;

    signal(SIGPIPE, SIG_IGN);
    d->signals[0] = evsignal_new(base, SIGTERM, on_stop, d);
    d->signals[1] = evsignal_new(base, SIGINT, on_stop, d);
    d->signals[2] = evsignal_new(base, SIGHUP, on_hangup, d);
    for (size_t i = 0; i < 3; i++)
        event_add(d->signals[i], NULL);
}

/* --- the whole --- */

static bool
start(struct daemon *d)
{
    if (!load_config(d))
        return false;
    if (d->args.data_dir == NULL)
        d->args.data_dir = DEFAULT_DATA_DIR;
    raise_descriptor_limit();
    tune_malloc();
    fill_settings(d);
    const struct loop_options options = {
        .connection_max = d->config.connection_max,
        .nodelay = d->config.nodelay,
        .keepalive = d->config.keepalive,
    };
    d->workers = workers_new(WORKERS, "worker");
    d->loop = loop_new(&d->settings, &options, d->workers);
    catch_signals(d);
    if (!open_store(d))
        return false;
    watch_resources(d);
    return listen_all(d) && write_ready_file(d);
}

static void
finish(struct daemon *d)
{
    for (size_t i = 0; i < d->n_listeners; i++)
        listener_free(d->listeners[i]);
    free(d->listeners);
    if (d->workers != NULL)
        workers_free(d->workers);
    if (d->loop != NULL) {
        for (size_t i = 0; i < 3; i++)
            event_free(d->signals[i]);
        loop_close(d->loop);
        if (d->store != NULL)
            store_close(d->store);
        loop_free(d->loop);
    }
    libevent_global_shutdown();
    users_free(&d->users);
    config_free(&d->config);
    free(d->args.sets);
}

int
main(int argc, char **argv)
{
    struct daemon d = {0};

    parse_arguments(&d.args, argc, argv);
    if (d.args.offline != NULL) {
        free(d.args.sets);
        return d.args.offline(d.args.offline_dir);
    }
    bool ok = start(&d);
    if (ok) {
        log_info("%s %s is ready", d.config.product_name, PACKAGE_VERSION);
        loop_run(d.loop);
        log_info("stopped");
    }
    finish(&d);
    return ok ? 0 : 1;
}
