#include "perf/conn.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "perf/clock.h"
#include "protocol/table.h"

enum { SETUP_TIMEOUT = 30 }; /* seconds */

static bool
fail(char **error_r, const char *what)
{
    *error_r = mem_printf("%s: %s", what, strerror(errno));
    return false;
}

char *
conn_close_text(const char *what, uint16_t code, struct slice text)
{
    return mem_printf("the broker closed the %s: %u %.*s", what, code, SLICE_FMT(text));
}

static void
set_timeout(int fd, uint64_t ns)
{
    /* All zero would mean to wait forever. */
    struct timeval tv = {(time_t)(ns / 1000000000), (suseconds_t)(ns % 1000000000 / 1000 + 1)};

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
}

static bool
dial(struct conn *conn, const struct perf_uri *uri, char **error_r)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
    int one = 1;

    int rc = getaddrinfo(uri->host, uri->port, &hints, &list);
    if (rc != 0) {
        *error_r = mem_printf("%s: %s", uri->host, gai_strerror(rc));
        return false;
    }
    for (struct addrinfo *a = list; a != NULL && conn->fd < 0; a = a->ai_next) {
        conn->fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
        if (conn->fd < 0)
            continue;
        set_timeout(conn->fd, SETUP_TIMEOUT * (uint64_t)1000000000);
        if (connect(conn->fd, a->ai_addr, a->ai_addrlen) < 0) {
            int saved = errno;
            close(conn->fd);
            conn->fd = -1;
            errno = saved;
        }
    }
    freeaddrinfo(list);
    if (conn->fd < 0) {
        *error_r = mem_printf("%s:%s: %s", uri->host, uri->port, strerror(errno));
        return false;
    }
    setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return true;
}

/* --- output --- */

void
conn_send(struct conn *conn, uint16_t channel, enum amqp_method_id id, const union amqp_args *args)
{
    size_t n = amqp_method_frame_size(id, args);
    struct writer w = writer_init(bytes_room(&conn->control, n), n);

    amqp_write_method_frame(&w, channel, id, args);
    conn->control.n += n;
}

static void
consume_iov(struct iovec *iov, size_t *n)
{
    size_t part = *n < iov->iov_len ? *n : iov->iov_len;

    iov->iov_base = (uint8_t *)iov->iov_base + part;
    iov->iov_len -= part;
    *n -= part;
}

static bool
send_pending(struct conn *conn, int flags)
{
    while (conn_is_pending(conn)) {
        struct iovec iov[3] = {conn->image[0],
                               conn->image[1],
                               {conn->control.p + conn->control.off, bytes_left(&conn->control)}};
        struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 3};
        ssize_t sent = sendmsg(conn->fd, &msg, flags | MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return false;
        size_t n = (size_t)sent;
        consume_iov(&conn->image[0], &n);
        consume_iov(&conn->image[1], &n);
        bytes_take(&conn->control, n);
    }
    return true;
}

bool
conn_flush(struct conn *conn)
{
    return send_pending(conn, MSG_DONTWAIT) || errno == EAGAIN;
}

/* --- calls --- */

/* Waits until a whole frame is there. */
static bool
read_frame(struct conn *conn, struct amqp_frame_head *head_r, char **error_r)
{
    enum { ROOM = 16384 };

    for (;;) {
        struct slice have = bytes_slice(&conn->in);
        if (have.n >= AMQP_PROTOCOL_HEADER_SIZE && slice_starts(have, "AMQP")) {
            *error_r = mem_printf("the broker does not speak AMQP 0-9-1");
            return false;
        }
        if (have.n >= AMQP_FRAME_HEAD_SIZE) {
            *head_r = amqp_frame_head(have.p);
            if (head_r->size > conn->frame_max) {
                *error_r = mem_printf("the broker does not speak AMQP 0-9-1");
                return false;
            }
            if (have.n >= head_r->size + (size_t)AMQP_FRAME_OVERHEAD)
                return true;
        }
        ssize_t n = recv(conn->fd, bytes_room(&conn->in, ROOM), ROOM, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(error_r, errno == EAGAIN ? "no answer from the broker" : "receiving");
        if (n == 0) {
            *error_r = mem_strdup("the broker hung up during set-up (wrong user or password?)");
            return false;
        }
        conn->in.n += (size_t)n;
    }
}

/* Waits for a method, past heartbeats and connection.blocked; a close is an error. */
static bool
expect(struct conn *conn, enum amqp_method_id wanted, union amqp_args *args, char **error_r)
{
    struct amqp_frame_head head;

    for (;;) {
        if (!read_frame(conn, &head, error_r))
            return false;
        struct slice payload =
            slice_of(conn->in.p + conn->in.off + AMQP_FRAME_HEAD_SIZE, head.size);
        bytes_take(&conn->in, head.size + (size_t)AMQP_FRAME_OVERHEAD);
        if (head.type != AMQP_FRAME_METHOD)
            continue;
        struct reader r = reader_init(payload);
        uint16_t class_id = read_u16(&r), method_id = read_u16(&r);
        enum amqp_method_id id = amqp_method_find(class_id, method_id);
        if (id == AMQP_METHOD_UNKNOWN || !amqp_method_decode(id, &r, args)) {
            *error_r = mem_printf("malformed method %u.%u from the broker", class_id, method_id);
            return false;
        }
        if (id == wanted)
            return true;
        if (id == AMQP_connection_close)
            *error_r = conn_close_text("connection", args->connection_close.reply_code,
                                       args->connection_close.reply_text);
        else if (id == AMQP_channel_close)
            *error_r = conn_close_text("channel", args->channel_close.reply_code,
                                       args->channel_close.reply_text);
        else if (id == AMQP_connection_blocked || id == AMQP_connection_unblocked)
            continue;
        else
            *error_r = mem_printf("unexpected %s from the broker", amqp_method_info(id)->name);
        return false;
    }
}

bool
conn_call(struct conn *conn, uint16_t channel, enum amqp_method_id id, const union amqp_args *args,
          enum amqp_method_id answer, union amqp_args *answer_r, char **error_r)
{
    conn_send(conn, channel, id, args);
    if (!send_pending(conn, 0))
        return fail(error_r, "sending");
    return expect(conn, answer, answer_r, error_r);
}

/* --- handshake --- */

static void
write_client_properties(struct bytes *table, const char *name)
{
    static const char *const capabilities[] = {"publisher_confirms", "basic.nack",
                                               "consumer_cancel_notify", "connection.blocked",
                                               "authentication_failure_close"};
    enum { ROOM = 1024 };
    struct writer w = writer_init(bytes_room(table, ROOM), ROOM);

    amqp_write_str(&w, "product", slice_str("coney-perf"));
    amqp_write_str(&w, "version", slice_str(PACKAGE_VERSION));
    amqp_write_str(&w, "connection_name", slice_str(name));
    amqp_write_key(&w, slice_str("capabilities"));
    write_u8(&w, AMQP_TAG_TABLE);
    uint8_t *at = amqp_write_begin(&w);
    for (size_t i = 0; i < sizeof capabilities / sizeof *capabilities; i++)
        amqp_write_bool(&w, capabilities[i], true);
    amqp_write_end(&w, at);
    table->n = (size_t)(w.p - table->p);
}

static bool
log_in(struct conn *conn, const struct perf_uri *uri, const char *name, char **error_r)
{
    struct bytes properties = {0}, response = {0};
    union amqp_args args;

    write_client_properties(&properties, name);
    bytes_add(&response, slice_of("", 1));
    bytes_add(&response, slice_str(uri->user));
    bytes_add(&response, slice_of("", 1));
    bytes_add(&response, slice_str(uri->password));
    args.connection_start_ok = (struct amqp_connection_start_ok){
        .client_properties = bytes_slice(&properties),
        .mechanism = slice_str("PLAIN"),
        .response = bytes_slice(&response),
        .locale = slice_str("en_US"),
    };
    bool ok =
        conn_call(conn, 0, AMQP_connection_start_ok, &args, AMQP_connection_tune, &args, error_r);
    bytes_free(&properties);
    bytes_free(&response);
    if (!ok)
        return false;
    conn->frame_max = args.connection_tune.frame_max;
    conn->heartbeat = args.connection_tune.heartbeat;
    return true;
}

static bool
tune_and_open(struct conn *conn, const struct perf_options *o, char **error_r)
{
    unsigned channels =
        o->producer_channels > o->consumer_channels ? o->producer_channels : o->consumer_channels;
    union amqp_args args = {0};

    if (conn->frame_max == 0 || conn->frame_max > o->frame_max)
        conn->frame_max = o->frame_max;
    if (o->heartbeat == 0 || o->heartbeat < conn->heartbeat || conn->heartbeat == 0)
        conn->heartbeat = (uint16_t)o->heartbeat;
    args.connection_tune_ok = (struct amqp_connection_tune_ok){.channel_max = (uint16_t)channels,
                                                               .frame_max = conn->frame_max,
                                                               .heartbeat = conn->heartbeat};
    conn_send(conn, 0, AMQP_connection_tune_ok, &args);
    args = (union amqp_args){.connection_open = {.virtual_host = slice_str(o->uri.vhost)}};
    return conn_call(conn, 0, AMQP_connection_open, &args, AMQP_connection_open_ok, &args, error_r);
}

bool
conn_open(struct conn *conn, const struct perf_options *o, const char *name, char **error_r)
{
    union amqp_args args;

    *conn = (struct conn){.fd = -1, .frame_max = o->frame_max};
    if (!dial(conn, &o->uri, error_r))
        return false;
    bytes_add(&conn->control, slice_of(amqp_protocol_header, sizeof amqp_protocol_header));
    if (!send_pending(conn, 0))
        return fail(error_r, "sending");
    if (!expect(conn, AMQP_connection_start, &args, error_r) ||
        !log_in(conn, &o->uri, name, error_r) || !tune_and_open(conn, o, error_r))
        return false;
    conn->last_in = conn->last_out = clock_ns();
    return true;
}

/* --- end --- */

static uint64_t
time_left(uint64_t until)
{
    uint64_t now = clock_ns();

    return until > now ? until - now : 0;
}

void
conn_say_goodbye(struct conn *conn, uint64_t until)
{
    union amqp_args args = {
        .connection_close = {.reply_code = 200, .reply_text = slice_str("Goodbye")}};

    if (conn->fd < 0)
        return;
    set_timeout(conn->fd, time_left(until));
    conn_send(conn, 0, AMQP_connection_close, &args);
    if (send_pending(conn, 0))
        shutdown(conn->fd, SHUT_WR);
    else
        conn_close(conn, 0);
}

void
conn_close(struct conn *conn, uint64_t until)
{
    uint8_t discarded[16384];
    uint64_t left;

    if (conn->fd >= 0) {
        while ((left = time_left(until)) != 0) {
            set_timeout(conn->fd, left);
            if (recv(conn->fd, discarded, sizeof discarded, 0) <= 0)
                break;
        }
        close(conn->fd);
    }
    bytes_free(&conn->control);
    bytes_free(&conn->in);
    *conn = (struct conn){.fd = -1};
}
