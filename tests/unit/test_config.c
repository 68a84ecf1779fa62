#include "broker/main/config.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "broker/main/config_value.h"

static struct config config;
static struct config_report report;

static void
setup(void)
{
    unsetenv("RABBITMQ_DEFAULT_USER");
    unsetenv("RABBITMQ_DEFAULT_PASS");
    unsetenv("RABBITMQ_DEFAULT_VHOST");
}

static void
teardown(void)
{
    config_free(&config);
    config_report_free(&report);
}

static bool
load(const char *text)
{
    teardown();
    return config_load_text(&config, "test.conf", slice_str(text), &report);
}

static void
load_ok(const char *text)
{
    bool ok = load(text);
    ck_assert_msg(ok, "%s", report.n_messages != 0 ? report.messages[0].text : "");
    ck_assert_uint_eq(report.n_messages, 0);
}

/* The text has one fault, which is reported in these words. */
static void
load_fails(const char *text, const char *message)
{
    ck_assert(!load(text));
    ck_assert_uint_eq(report.n_errors, 1);
    ck_assert_uint_eq(report.n_messages, 1);
    ck_assert_int_eq(report.messages[0].severity, CONFIG_ERROR);
    ck_assert_str_eq(report.messages[0].text, message);
}

static bool
load_sets(const char *path, const char *const *sets, size_t n)
{
    teardown();
    return config_load(&config, path, sets, n, &report);
}

/* A file with these bytes, to be removed by the caller. */
static void
write_file(char *path, const void *bytes, size_t n)
{
    strcpy(path, "/tmp/test_config.XXXXXX");
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, bytes, n), (ssize_t)n);
    close(fd);
}

/* Defaults */

START_TEST(test_defaults)
{
    char host[256], name[300];

    load_ok("");
    ck_assert_uint_eq(config.n_listeners, 1);
    ck_assert_str_eq(config.listeners[0].name, "default");
    ck_assert_ptr_null(config.listeners[0].host);
    ck_assert_uint_eq(config.listeners[0].port, 5672);
    ck_assert_str_eq(config.default_user, "guest");
    ck_assert_str_eq(config.default_pass, "guest");
    ck_assert_str_eq(config.default_vhost, "/");
    ck_assert(config_user_is_loopback_only(&config, "guest"));
    ck_assert(!config_user_is_loopback_only(&config, "alice"));
    ck_assert_uint_eq(config.heartbeat, 60);
    ck_assert_uint_eq(config.frame_max, 131072);
    ck_assert_uint_eq(config.initial_frame_max, 65536);
    ck_assert_uint_eq(config.channel_max, 2047);
    ck_assert_uint_eq(config.max_message_size, 134217728);
    ck_assert_uint_eq(config.handshake_timeout, 10000);
    ck_assert_uint_eq(config.connection_max, CONFIG_INFINITY);
    ck_assert_uint_eq(config.consumer_max_per_channel, CONFIG_INFINITY);
    ck_assert_uint_eq(config.backlog, 1024);
    ck_assert(config.nodelay);
    ck_assert(!config.keepalive);
    ck_assert_int_eq(config.log_level, LOG_INFO);
    ck_assert_str_eq(config.product_name, "Coney");
    ck_assert_str_eq(config.product_version, "4.3.0");
    ck_assert_uint_eq(config.output_high_watermark, 1048576);
    ck_assert_double_eq(config.memory_relative, 0.6);
    ck_assert_uint_eq(config.memory_absolute, CONFIG_UNSET);
    ck_assert_uint_eq(config.memory_total, CONFIG_UNSET);
    ck_assert_uint_eq(config.disk_absolute, CONFIG_UNSET);
    ck_assert_double_eq(config.disk_relative, CONFIG_RATIO_UNSET);
    ck_assert_int_eq(gethostname(host, sizeof host), 0);
    snprintf(name, sizeof name, "coney@%s", host);
    ck_assert_str_eq(config.cluster_name, name);
}
END_TEST

/* Syntax */

START_TEST(test_syntax)
{
    load_ok("# a comment\n"
            "\n"
            "   \t \n"
            "heartbeat=10\n"
            "  channel_max \t=  12   # with a comment\r\n"
            "default_user = 'a # b'  # quoted\n"
            "default_pass = it's\n"
            "product.name = two words\n"
            "   # indented\n"
            "default_vhost = ' '");
    ck_assert_uint_eq(config.heartbeat, 10);
    ck_assert_uint_eq(config.channel_max, 12);
    ck_assert_str_eq(config.default_user, "a # b");
    ck_assert_str_eq(config.default_pass, "it's");
    ck_assert_str_eq(config.product_name, "two words");
    ck_assert_str_eq(config.default_vhost, " ");
}
END_TEST

START_TEST(test_last_wins)
{
    load_ok("heartbeat = 1\ndefault_user = a\nheartbeat = 2\ndefault_user = b\n");
    ck_assert_uint_eq(config.heartbeat, 2);
    ck_assert_str_eq(config.default_user, "b");
}
END_TEST

START_TEST(test_bad_lines)
{
    static const char form[] = "test.conf:1: not of the form 'key = value'";
    static const char control[] = "test.conf:1: the line has control characters or is not UTF-8";

    load_fails("default_pass hunter2", form);
    load_fails("= 1", form);
    load_fails("default pass = hunter2", form);
    load_fails("[heartbeat] = 1", form);
    load_fails("heartbeat\\ = 1", form);
    load_fails("heartbeat =", "test.conf:1: heartbeat: the value is missing");
    load_fails("heartbeat = # 3", "test.conf:1: heartbeat: the value is missing");
    load_fails("default_pass = 'hunter2",
               "test.conf:1: default_pass: the quoted value has no closing quote");
    load_fails("default_pass = 'hunter2' 3",
               "test.conf:1: default_pass: there is text behind the closing quote");
    load_fails("default_user = \x1b[2J", control);
    load_fails("default_user = \xff", control);
    load_fails("default_user = \xc0\x80", control);
    load_fails("default_pass = encrypted:Zm9v",
               "test.conf:1: default_pass: encrypted values are not supported (quote the value if "
               "it is meant literally)");
    load_fails("default_pass = $(SECRET)",
               "test.conf:1: default_pass: $(...) is not supported in values (quote the value if "
               "it is meant literally)");
    load_ok("default_pass = '$(SECRET)'");
    ck_assert_str_eq(config.default_pass, "$(SECRET)");
}
END_TEST

START_TEST(test_nul_bytes)
{
    static const char text[] = "heartbeat = 5\0000\n";

    ck_assert(!config_load_text(&config, "nul", slice_of(text, sizeof text - 1), &report));
    ck_assert_str_eq(report.messages[0].text,
                     "nul:1: the line has control characters or is not UTF-8");
}
END_TEST

START_TEST(test_line_length)
{
    char *text = mem_alloc(CONFIG_LINE_MAX + 2);

    memset(text, '#', CONFIG_LINE_MAX);
    text[CONFIG_LINE_MAX] = '\0';
    load_ok(text);
    memcpy(text + CONFIG_LINE_MAX, "#", 2);
    load_fails(text, "test.conf:1: the line is longer than 4096 bytes");
    memset(text, 'a', CONFIG_LINE_MAX - 1);
    memcpy(text + CONFIG_LINE_MAX - 1, "=", 2);
    load_fails(text,
               "test.conf:1: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
               "aaaaaaaaaa: the value is missing");
    free(text);
}
END_TEST

/* Values */

START_TEST(test_numbers)
{
    load_ok("heartbeat = 0");
    ck_assert_uint_eq(config.heartbeat, 0);
    load_ok("heartbeat = 65535");
    load_fails("heartbeat = 65536",
               "test.conf:1: heartbeat = 65536: must be a whole number from 0 to 65535");
    load_fails("heartbeat = -1",
               "test.conf:1: heartbeat = -1: must be a whole number from 0 to 65535");
    load_fails("heartbeat = 1k",
               "test.conf:1: heartbeat = 1k: must be a whole number from 0 to 65535");
    load_fails("heartbeat = infinity",
               "test.conf:1: heartbeat = infinity: must be a whole number from 0 to 65535");
    load_fails("heartbeat = ''",
               "test.conf:1: heartbeat = : must be a whole number from 0 to 65535");
    load_fails(
        "heartbeat = 18446744073709551676",
        "test.conf:1: heartbeat = 18446744073709551676: must be a whole number from 0 to 65535");
}
END_TEST

START_TEST(test_limits)
{
    load_ok("connection_max = 0\nconsumer_max_per_channel = 1");
    ck_assert_uint_eq(config.connection_max, 0);
    ck_assert_uint_eq(config.consumer_max_per_channel, 1);
    load_ok("connection_max = 5\nconnection_max = infinity");
    ck_assert_uint_eq(config.connection_max, CONFIG_INFINITY);
    load_ok("max_connections = 7");
    ck_assert_uint_eq(config.connection_max, 7);
    load_fails("connection_max = 4294967295",
               "test.conf:1: connection_max = 4294967295: must be a whole "
               "number from 0 to 4294967294, or infinity");
}
END_TEST

START_TEST(test_sizes)
{
    load_ok("frame_max = 4096\nmax_message_size = 512MiB");
    ck_assert_uint_eq(config.frame_max, 4096);
    ck_assert_uint_eq(config.max_message_size, 536870912);
    load_fails(
        "frame_max = 4095",
        "test.conf:1: frame_max = 4095: must be a whole number from 4096 to 16777216 bytes; units "
        "such as k, MB and GiB may follow the number");
    load_fails("frame_max = 0",
               "test.conf:1: frame_max = 0: must be a whole number from 4096 to 16777216 bytes; "
               "units such "
               "as k, MB and GiB may follow the number; 0 (no limit) is not supported");
    load_fails(
        "max_message_size = 536870913",
        "test.conf:1: max_message_size = 536870913: must be a whole number from 1 to 536870912 "
        "bytes; units such as k, MB and GiB may follow the number");
}
END_TEST

START_TEST(test_size_units)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {
        {"0", 0},
        {"17", 17},
        {"1k", 1000},
        {"2kB", 2000},
        {"2KB", 2000},
        {"3KiB", 3072},
        {"3Ki", 3072},
        {"4M", 4000000},
        {"4mb", 4000000},
        {"5MiB", 5242880},
        {"6G", 6000000000},
        {"6GB", 6000000000},
        {"7GiB", 7516192768},
        {"8T", 8000000000000},
        {"8TB", 8000000000000},
        {"9Ti", 9895604649984},
        {"9TiB", 9895604649984},
        {"18446744073709551615", UINT64_MAX},
    };
    static const char *const bad[] = {"",
                                      "k",
                                      "1 k",
                                      "1kk",
                                      "-1",
                                      "0x10",
                                      "1P",
                                      "1.5M",
                                      "+1",
                                      "1B",
                                      "18446744073709551616",
                                      "18446744073709551615k"};
    uint64_t bytes;

    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        ck_assert_msg(config_parse_size(slice_str(good[i].text), &bytes), "%s", good[i].text);
        ck_assert_uint_eq(bytes, good[i].bytes);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(!config_parse_size(slice_str(bad[i]), &bytes), "%s", bad[i]);
}
END_TEST

START_TEST(test_strings)
{
    char text[400];

    snprintf(text, sizeof text, "default_user = %0255d", 1);
    load_ok(text);
    ck_assert_uint_eq(strlen(config.default_user), 255);
    load_fails("default_user = ''", "test.conf:1: default_user = : must be 1 to 255 bytes of text");
    load_ok("default_user = J\xc3\xbcrgen");
    ck_assert_str_eq(config.default_user, "J\xc3\xbcrgen");
}
END_TEST

START_TEST(test_host_name)
{
    char host[256], name[300];

    ck_assert_int_eq(gethostname(host, sizeof host), 0);
    load_ok("cluster_name = east@<hostname>\nproduct.name = <hostname>");
    snprintf(name, sizeof name, "east@%s", host);
    ck_assert_str_eq(config.cluster_name, name);
    ck_assert_str_eq(config.product_name, "<hostname>");
    load_ok("cluster_name = <hostname>.east");
    ck_assert_str_eq(config.cluster_name, "<hostname>.east");
}
END_TEST

START_TEST(test_booleans)
{
    load_ok("tcp_listen_options.nodelay = false\ntcp_listen_options.keepalive = true");
    ck_assert(!config.nodelay);
    ck_assert(config.keepalive);
    load_fails("tcp_listen_options.nodelay = yes",
               "test.conf:1: tcp_listen_options.nodelay = yes: must be true or false");
}
END_TEST

START_TEST(test_levels)
{
    load_ok("log.console.level = debug");
    ck_assert_int_eq(config.log_level, LOG_DEBUG);
    load_ok("log.console.level = none");
    ck_assert_int_eq(config.log_level, LOG_NONE);
    load_ok("log.console.level = notice");
    ck_assert_int_eq(config.log_level, LOG_INFO);
    load_ok("log.console.level = emergency");
    ck_assert_int_eq(config.log_level, LOG_CRITICAL);
    load_fails(
        "log.console.level = loud",
        "test.conf:1: log.console.level = loud: must be debug, info, warning, error, critical or "
        "none");
}
END_TEST

/* Listeners */

START_TEST(test_listeners)
{
    load_ok("listeners.tcp.local = 127.0.0.1:5673\n"
            "listeners.tcp.local_v6 = ::1:5674\n"
            "listeners.tcp.v6 = [fe80::1]:5675\n"
            "listeners.tcp.name = broker-1.example.org:5676\n"
            "listeners.tcp.free = 0\n");
    ck_assert_uint_eq(config.n_listeners, 5);
    ck_assert_str_eq(config.listeners[0].name, "local");
    ck_assert_str_eq(config.listeners[0].host, "127.0.0.1");
    ck_assert_uint_eq(config.listeners[0].port, 5673);
    ck_assert_str_eq(config.listeners[1].host, "::1");
    ck_assert_uint_eq(config.listeners[1].port, 5674);
    ck_assert_str_eq(config.listeners[2].host, "fe80::1");
    ck_assert_str_eq(config.listeners[3].host, "broker-1.example.org");
    ck_assert_ptr_null(config.listeners[4].host);
    ck_assert_uint_eq(config.listeners[4].port, 0);
}
END_TEST

START_TEST(test_listener_replaced)
{
    load_ok("listeners.tcp.default = 127.0.0.1:1\nlisteners.tcp.default = 2");
    ck_assert_uint_eq(config.n_listeners, 1);
    ck_assert_ptr_null(config.listeners[0].host);
    ck_assert_uint_eq(config.listeners[0].port, 2);
}
END_TEST

START_TEST(test_no_listeners)
{
    load_ok("listeners.tcp = none");
    ck_assert_uint_eq(config.n_listeners, 0);
    load_ok("listeners.tcp.default = none");
    ck_assert_uint_eq(config.n_listeners, 0);
    load_ok("listeners.tcp.a = 1\nlisteners.tcp.b = 2\nlisteners.tcp.a = none");
    ck_assert_uint_eq(config.n_listeners, 1);
    ck_assert_str_eq(config.listeners[0].name, "b");
    load_ok("listeners.tcp = none\nlisteners.tcp.b = 2");
    ck_assert_uint_eq(config.n_listeners, 1);
    load_fails(
        "listeners.tcp = 5672",
        "test.conf:1: listeners.tcp = 5672: must be none, or listeners.tcp.NAME be set instead");
}
END_TEST

START_TEST(test_bad_addresses)
{
    static const char *const bad[] = {
        "65536",       "127.0.0.1", "127.0.0.1:", ":5672",       "127.0.0.300:5672",
        "1.2.3:5672",  "[::1]",     "[::1:5672",  "::g:5672",    "[127.0.0.1]:5672",
        "a b:5672",    "host:amqp", "[]:5672",    "[host]:5672", "127.0.0.1:-1",
        "[::1]x:5672", "*:5672",    "1:2:3",
    };
    struct slice host;
    uint16_t port;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(!config_parse_address(slice_str(bad[i]), &host, &port), "%s", bad[i]);
    load_fails("listeners.tcp.default = 127.0.0.1",
               "test.conf:1: listeners.tcp.default = 127.0.0.1: must be PORT, ADDRESS:PORT, "
               "[IPV6-ADDRESS]:PORT or none");
}
END_TEST

START_TEST(test_too_many_listeners)
{
    char *text = mem_strdup("");

    for (int i = 0; i <= CONFIG_LISTENERS_MAX; i++) {
        char *longer = mem_printf("%slisteners.tcp.n%d = %d\n", text, i, i);
        free(text);
        text = longer;
    }
    load_fails(text, "test.conf:65: listeners.tcp.n64: more than 64 listeners");
    free(text);
}
END_TEST

/* Alarms */

START_TEST(test_alarm_limits)
{
    load_ok("vm_memory_high_watermark.relative = 0.25\n"
            "vm_memory_high_watermark.absolute = 1024MiB\n"
            "total_memory_available_override_value = 8GB\n"
            "disk_free_limit.absolute = 2TB\n"
            "disk_free_limit.relative = 1.5\n");
    ck_assert_double_eq(config.memory_relative, 0.25);
    ck_assert_uint_eq(config.memory_absolute, UINT64_C(1) << 30);
    ck_assert_uint_eq(config.memory_total, UINT64_C(8000000000));
    ck_assert_uint_eq(config.disk_absolute, UINT64_C(2000000000000));
    ck_assert_double_eq(config.disk_relative, 1.5);
    load_ok("vm_memory_high_watermark.relative = 0\ndisk_free_limit.absolute = 0\n");
    ck_assert_double_eq(config.memory_relative, 0);
    ck_assert_uint_eq(config.disk_absolute, 0);
    load_ok("vm_memory_high_watermark.relative = unset\nvm_memory_high_watermark.absolute = 1\n"
            "vm_memory_high_watermark.absolute = unset\n");
    ck_assert_double_eq(config.memory_relative, CONFIG_RATIO_UNSET);
    ck_assert_uint_eq(config.memory_absolute, CONFIG_UNSET);
}
END_TEST

START_TEST(test_bad_alarm_limits)
{
    static const char *const ratios[] = {
        "-0.1", "1.1", "1.000000001", "0,5",      ".5",    "0.",           "",           "50%",
        "0x1p", "1e0", "nan",         "infinity", "0.6.1", "0.1234567890", "12345678901"};
    char text[100];

    for (size_t i = 0; i < sizeof ratios / sizeof *ratios; i++) {
        snprintf(text, sizeof text, "vm_memory_high_watermark.relative = '%s'", ratios[i]);
        ck_assert_msg(!load(text), "%s", text);
    }
    load_fails("disk_free_limit.relative = 1000.1",
               "test.conf:1: disk_free_limit.relative = 1000.1: must be a number from 0 to 1000, "
               "such as 0.6, or unset");
    load_fails("disk_free_limit.absolute = -1",
               "test.conf:1: disk_free_limit.absolute = -1: must be a whole number from 0 to "
               "9223372036854775807 bytes; units such as k, MB and GiB may follow the number, or "
               "unset");
    load_fails(
        "total_memory_available_override_value = 9223372036854775808",
        "test.conf:1: total_memory_available_override_value = 9223372036854775808: must be "
        "a whole number from 1 to 9223372036854775807 bytes; units such as k, MB and GiB may "
        "follow the number, or unset");
}
END_TEST

/* Loopback users */

START_TEST(test_loopback_users)
{
    load_ok("loopback_users.alice = true\nloopback_users.j\\.doe = true");
    ck_assert(config_user_is_loopback_only(&config, "guest"));
    ck_assert(config_user_is_loopback_only(&config, "alice"));
    ck_assert(config_user_is_loopback_only(&config, "j.doe"));
    load_ok("loopback_users.guest = false");
    ck_assert(!config_user_is_loopback_only(&config, "guest"));
    load_ok("loopback_users = none");
    ck_assert(!config_user_is_loopback_only(&config, "guest"));
    load_ok("loopback_users.guest = false\nloopback_users.guest = true");
    ck_assert(config_user_is_loopback_only(&config, "guest"));
    load_fails("loopback_users.guest = no",
               "test.conf:1: loopback_users.guest = no: must be true or false");
}
END_TEST

/* Keys that are not ours */

START_TEST(test_ignored_keys)
{
    ck_assert(load("heartbeat = 30\n"
                   "cluster_formation.peer_discovery_backend = k8s\n"
                   "vm_memory_high_watermark_paging_ratio = 0.75\n"
                   "log.console = true\n"
                   "tcp_listen_options.linger.on = true\n"));
    ck_assert_uint_eq(report.n_errors, 0);
    ck_assert_uint_eq(report.n_messages, 4);
    ck_assert_int_eq(report.messages[0].severity, CONFIG_WARNING);
    ck_assert_str_eq(
        report.messages[0].text,
        "test.conf:2: 'cluster_formation.peer_discovery_backend' has no effect here and is "
        "ignored");
    ck_assert_str_eq(
        report.messages[3].text,
        "test.conf:5: 'tcp_listen_options.linger.on' has no effect here and is ignored");
    ck_assert_uint_eq(config.heartbeat, 30);
}
END_TEST

START_TEST(test_unknown_keys)
{
    load_fails("framemax = 1", "test.conf:1: unknown key 'framemax'; did you mean 'frame_max'?");
    load_fails("defualt_pass = hunter2",
               "test.conf:1: unknown key 'defualt_pass'; did you mean 'default_pass'?");
    load_fails("tcp_listen_options.nodely = true",
               "test.conf:1: unknown key 'tcp_listen_options.nodely'; did you mean "
               "'tcp_listen_options.nodelay'?");
    load_fails(
        "listener.tcp.default = 1",
        "test.conf:1: unknown key 'listener.tcp.default'; did you mean 'listeners.tcp.default'?");
    load_fails(
        "loopback_user.guest = false",
        "test.conf:1: unknown key 'loopback_user.guest'; did you mean 'loopback_users.guest'?");
    load_fails("listeners.tcp. = 1", "test.conf:1: unknown key 'listeners.tcp.'");
    load_fails("something_else.entirely = 1", "test.conf:1: unknown key 'something_else.entirely'");
}
END_TEST

START_TEST(test_edit_distance)
{
    static const char sixty_four[] =
        "0123456789012345678901234567890123456789012345678901234567890123";

    ck_assert_uint_eq(config_edit_distance(slice_str(""), slice_str("")), 0);
    ck_assert_uint_eq(config_edit_distance(slice_str("abc"), slice_str("")), 3);
    ck_assert_uint_eq(config_edit_distance(slice_str(""), slice_str("abc")), 3);
    ck_assert_uint_eq(config_edit_distance(slice_str("kitten"), slice_str("sitting")), 3);
    ck_assert_uint_eq(config_edit_distance(slice_str("flaw"), slice_str("lawn")), 2);
    ck_assert_uint_eq(config_edit_distance(slice_str(""), slice_str(sixty_four)), 64);
    ck_assert_uint_eq(config_edit_distance(slice_str(sixty_four), slice_str(sixty_four)), 0);
}
END_TEST

/* Reports */

START_TEST(test_every_error_is_reported)
{
    ck_assert(
        !load("heartbeat = x\nvm_memory_calculation_strategy = rss\nfoo\n\nnodelay_x_y_z = 1\n"));
    ck_assert_uint_eq(report.n_errors, 3);
    ck_assert_uint_eq(report.n_messages, 4);
    ck_assert_int_eq(strncmp(report.messages[0].text, "test.conf:1: ", 13), 0);
    ck_assert_int_eq(strncmp(report.messages[1].text, "test.conf:2: ", 13), 0);
    ck_assert_int_eq(strncmp(report.messages[2].text, "test.conf:3: ", 13), 0);
    ck_assert_int_eq(strncmp(report.messages[3].text, "test.conf:5: ", 13), 0);
    ck_assert_ptr_null(config.default_user);
    ck_assert_uint_eq(config.n_listeners, 0);
}
END_TEST

START_TEST(test_many_errors)
{
    char text[3 * 500 + 1];

    for (int i = 0; i < 500; i++)
        memcpy(text + 3 * i, "x\n\n", 4);
    ck_assert(!load(text));
    ck_assert_uint_eq(report.n_errors, 500);
    ck_assert_uint_eq(report.n_messages, CONFIG_MESSAGES_MAX + 1);
    ck_assert_str_eq(report.messages[CONFIG_MESSAGES_MAX].text,
                     "too many messages: the rest is left out");
}
END_TEST

START_TEST(test_secrets_stay_secret)
{
    char text[CONFIG_LINE_MAX];

    snprintf(text, sizeof text, "default_pass = hunter2%01100d", 0);
    load_fails(text, "test.conf:1: default_pass: must be 1 to 1024 bytes of text");
    const char *sets[] = {"default_passhunter2", "default_pass=", "default pass=hunter2",
                          "defaultpass=hunter2"};
    ck_assert(!load_sets(NULL, sets, 4));
    ck_assert_uint_eq(report.n_errors, 4);
    for (size_t i = 0; i < report.n_messages; i++)
        ck_assert_ptr_null(strstr(report.messages[i].text, "hunter2"));
}
END_TEST

START_TEST(test_forget_secrets)
{
    load_ok("default_pass = hunter2");
    config_forget_secrets(&config);
    ck_assert_ptr_null(config.default_pass);
    ck_assert_str_eq(config.default_user, "guest");
}
END_TEST

/* Sources */

START_TEST(test_precedence)
{
    static const char text[] = "default_user = file\ndefault_pass = file\nheartbeat = 1\n"
                               "default_vhost = file\n";
    const char *sets[] = {"default_pass=set", "heartbeat=2", "heartbeat=3"};
    char path[64];

    write_file(path, text, sizeof text - 1);
    setenv("RABBITMQ_DEFAULT_USER", "environment", 1);
    setenv("RABBITMQ_DEFAULT_PASS", "environment", 1);
    setenv("RABBITMQ_DEFAULT_VHOST", "", 1);
    bool ok = load_sets(path, sets, 3);
    unlink(path);
    ck_assert(ok);
    ck_assert_str_eq(config.default_user, "environment");
    ck_assert_str_eq(config.default_pass, "set");
    ck_assert_str_eq(config.default_vhost, "file");
    ck_assert_uint_eq(config.heartbeat, 3);
}
END_TEST

START_TEST(test_bad_environment)
{
    setenv("RABBITMQ_DEFAULT_USER", "a\nb", 1);
    ck_assert(!load_sets(NULL, NULL, 0));
    ck_assert_str_eq(report.messages[0].text,
                     "RABBITMQ_DEFAULT_USER: the value has control characters or is not UTF-8");
}
END_TEST

/* The shell has done the quoting. */
START_TEST(test_set_is_literal)
{
    const char *sets[] = {"default_pass='a#b' $(c)", "default_user = x=y ",
                          "listeners.tcp.default=127.0.0.1:0"};

    ck_assert(load_sets(NULL, sets, 3));
    ck_assert_str_eq(config.default_pass, "'a#b' $(c)");
    ck_assert_str_eq(config.default_user, " x=y ");
    ck_assert_uint_eq(config.n_listeners, 1);
    ck_assert_str_eq(config.listeners[0].host, "127.0.0.1");
    ck_assert_uint_eq(config.listeners[0].port, 0);
}
END_TEST

START_TEST(test_bad_sets)
{
    const char *sets[] = {"heartbeat", "=3", "heartbeat=\x01", "heartbeat=x"};

    ck_assert(!load_sets(NULL, sets, 4));
    ck_assert_uint_eq(report.n_messages, 4);
    ck_assert_str_eq(report.messages[0].text, "--set: not of the form KEY=VALUE");
    ck_assert_str_eq(report.messages[1].text, "--set: not of the form KEY=VALUE");
    ck_assert_str_eq(report.messages[2].text,
                     "--set: the setting has control characters or is not UTF-8");
    ck_assert_str_eq(report.messages[3].text,
                     "--set: heartbeat = x: must be a whole number from 0 to 65535");
}
END_TEST

START_TEST(test_bad_files)
{
    char path[64];
    char *big = mem_zalloc(CONFIG_FILE_MAX + 1);

    ck_assert(!load_sets("/nonexistent/coneyd.conf", NULL, 0));
    ck_assert_str_eq(report.messages[0].text,
                     "/nonexistent/coneyd.conf: cannot read the file: No such file or directory");
    ck_assert(!load_sets("/", NULL, 0));
    ck_assert_str_eq(report.messages[0].text, "/: cannot read the file: Is a directory");
    memset(big, '\n', CONFIG_FILE_MAX + 1);
    write_file(path, big, CONFIG_FILE_MAX + 1);
    bool too_large = !load_sets(path, NULL, 0);
    unlink(path);
    ck_assert(too_large);
    ck_assert_ptr_nonnull(
        strstr(report.messages[0].text, ": the file is larger than 1048576 bytes"));
    ck_assert(!load_sets("/dev/zero", NULL, 0));
    write_file(path, big, CONFIG_FILE_MAX);
    bool just_fits = load_sets(path, NULL, 0);
    unlink(path);
    ck_assert(just_fits);
    free(big);
}
END_TEST

/* What a migrated rabbitmq.conf looks like. */
START_TEST(test_typical_file)
{
    ck_assert(load("listeners.tcp.default = 5672\n"
                   "loopback_users.guest = false\n"
                   "default_user = app\n"
                   "default_pass = s3cr3t!\n"
                   "default_vhost = prod\n"
                   "default_permissions.configure = .*\n"
                   "management.tcp.port = 15672\n"
                   "disk_free_limit.absolute = 2GB\n"
                   "log.console = true\n"
                   "log.console.level = warning\n"
                   "cluster_partition_handling = ignore\n"
                   "deprecated_features.permit.management_metrics_collection = true\n"
                   "queue_master_locator = min-masters\n"
                   "collect_statistics_interval = 10000\n"));
    ck_assert_uint_eq(report.n_messages, 7);
    ck_assert_uint_eq(config.disk_absolute, 2000000000);
    ck_assert_str_eq(config.default_user, "app");
    ck_assert_str_eq(config.default_pass, "s3cr3t!");
    ck_assert_int_eq(config.log_level, LOG_WARNING);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("config");
    TCase *tc = tcase_create("config");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, test_defaults);
    tcase_add_test(tc, test_syntax);
    tcase_add_test(tc, test_last_wins);
    tcase_add_test(tc, test_bad_lines);
    tcase_add_test(tc, test_nul_bytes);
    tcase_add_test(tc, test_line_length);
    tcase_add_test(tc, test_numbers);
    tcase_add_test(tc, test_limits);
    tcase_add_test(tc, test_sizes);
    tcase_add_test(tc, test_size_units);
    tcase_add_test(tc, test_strings);
    tcase_add_test(tc, test_host_name);
    tcase_add_test(tc, test_booleans);
    tcase_add_test(tc, test_levels);
    tcase_add_test(tc, test_listeners);
    tcase_add_test(tc, test_listener_replaced);
    tcase_add_test(tc, test_no_listeners);
    tcase_add_test(tc, test_bad_addresses);
    tcase_add_test(tc, test_too_many_listeners);
    tcase_add_test(tc, test_alarm_limits);
    tcase_add_test(tc, test_bad_alarm_limits);
    tcase_add_test(tc, test_loopback_users);
    tcase_add_test(tc, test_ignored_keys);
    tcase_add_test(tc, test_unknown_keys);
    tcase_add_test(tc, test_edit_distance);
    tcase_add_test(tc, test_every_error_is_reported);
    tcase_add_test(tc, test_many_errors);
    tcase_add_test(tc, test_secrets_stay_secret);
    tcase_add_test(tc, test_forget_secrets);
    tcase_add_test(tc, test_precedence);
    tcase_add_test(tc, test_bad_environment);
    tcase_add_test(tc, test_set_is_literal);
    tcase_add_test(tc, test_bad_sets);
    tcase_add_test(tc, test_bad_files);
    tcase_add_test(tc, test_typical_file);
    suite_add_tcase(suite, tc);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
