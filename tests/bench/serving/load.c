/* Load for a gRPC inference server: many streams on a few connections, headers that vary as real clients' do, and a look
 * at every reply. Built and started by generator.py; HTTP/2 and HPACK are libnghttp2's, which is what h2load uses.
 *
 * load --port N --path /package.Service/Method --requests FILE [--connections 1] [--streams 1] [--warm S] [--seconds S]
 *      [--headers vary|literal|same] [--calls stream|unary] [--sampled N] [--records FILE] [--limit N]
 *
 * The file holds a u32 count, then for each request u32 length, the protobuf message, u32 length, the name of an output,
 * u32 number of values, these as float32: what the reply must hold in that output (0: nothing is compared).
 * The streams of a connection send their next request when a reply has come (closed loop). "begin" and "end" are
 * printed when the part that counts begins and ends, then one line of JSON. --headers: vary = traceparent and
 * grpc-timeout differ in each request and go through HPACK's dynamic table, as grpc-go and Netty send them; literal =
 * the same, never indexed, as the C core sends metadata; same = equal headers in all requests, as h2load sends them.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define MOST_CONNECTIONS 1024
#define WINDOW (1 << 30)

typedef struct {
    uint8_t *body; /* with the five bytes of gRPC before the message */
    size_t size;
    char *output;
    size_t output_size;
    float *expected;
    uint32_t expected_count;
} Request;

typedef struct Connection Connection;

typedef struct { /* one stream of one connection, and the call that it is busy with */
    Connection *connection;
    Request *request;
    uint32_t index;
    int32_t id;
    uint64_t began_ns;
    size_t sent;
    uint8_t *reply;
    size_t got, room;
    int http_status, grpc_status;
    int answered; /* messages of this call so far */
} Slot;

struct Connection {
    int socket;
    int writing;
    nghttp2_session *session;
    uint8_t *unsent;
    size_t unsent_size, unsent_room;
    Slot *slots;
};

typedef struct {
    uint64_t began_ns, ended_ns;
    int32_t status, version;
    uint32_t index;
    float first;
} Record;

static struct {
    int port, connections, streams, vary, literal, streaming, sampled;
    double warm, seconds;
    uint64_t limit;
    const char *path, *requests, *records;
} options = {.connections = 1, .streams = 1, .warm = 1, .seconds = 3, .vary = 1, .sampled = 100};

static Request *requests;
static uint32_t request_count;
static int epoll;
static volatile sig_atomic_t stopping;
static int counting; /* 0 warming up, 1 in the part that counts, 2 after it */
static uint64_t sent, answered, counted, not_ok, wrong, broken, number, most_bytes, least_bytes = UINT64_MAX;
static int first_status = -1;
static char first_wrong[256], authority[32];
static float *latencies;
static size_t latencies_room;
static FILE *records;
static uint64_t seed = 88172645463325252ull;

static void die(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static uint64_t random64(void) { /* xorshift: trace ids that do not repeat */
    seed ^= seed << 13;
    seed ^= seed >> 7;
    return seed ^= seed << 17;
}

static void *grown(void *memory, size_t *room, size_t wanted, size_t size) {
    if (wanted <= *room) return memory;
    *room = wanted * 2;
    if (!(memory = realloc(memory, *room * size))) die("memory");
    return memory;
}

/* ---- what a reply says: enough of protobuf for ModelInferResponse ------------------------------------------------- */

typedef struct {
    const uint8_t *at, *end;
} Bytes;

static uint64_t varint(Bytes *b) {
    uint64_t value = 0;
    for (int shift = 0; b->at < b->end && shift < 64; shift += 7) {
        uint8_t byte = *b->at++;
        value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) return value;
    }
    b->at = b->end + 1; /* broken: seen by the caller */
    return 0;
}

/* The next field; its bytes where it has some. 0 at the end, -1 when it cannot be read. */
static int field(Bytes *b, Bytes *value) {
    if (b->at == b->end) return 0;
    uint64_t tag = varint(b);
    size_t size = 0;
    value->at = value->end = b->at;
    switch (tag & 7) {
    case 0: varint(b); break;
    case 1: size = 8; break;
    case 2: size = varint(b); break;
    case 5: size = 4; break;
    default: return -1;
    }
    if (b->at > b->end || size > (size_t)(b->end - b->at)) return -1;
    if ((tag & 7) == 2) *value = (Bytes){b->at, b->at + size};
    b->at += size;
    return (int)(tag >> 3);
}

typedef struct {
    int version;
    Bytes values; /* the wanted output, little-endian float32 */
} Answer;

/* Reads a ModelInferResponse. 0 when it cannot be read or lacks the wanted output. */
static int read_answer(Bytes message, const Request *request, Answer *answer) {
    Bytes value, inner, deeper;
    int number, output = 0, raw = 0, wanted = -1;
    answer->version = 0;
    answer->values = (Bytes){NULL, NULL};
    for (Bytes b = message; (number = field(&b, &value)) != 0;) {
        if (number < 0) return 0;
        if (number == 2)
            for (const uint8_t *c = value.at; c < value.end; c++) answer->version = answer->version * 10 + *c - '0';
        if (number != 5) continue;
        int named = 0;
        for (Bytes t = value; (number = field(&t, &inner)) != 0;) {
            if (number < 0) return 0;
            if (number == 1 && (size_t)(inner.end - inner.at) == request->output_size)
                named = !memcmp(inner.at, request->output, request->output_size);
            if (number != 5 || !named) continue;
            for (Bytes c = inner; (number = field(&c, &deeper)) > 0;)
                if (number == 6) answer->values = deeper; /* typed contents: fp32_contents, packed */
        }
        if (named) wanted = output;
        output++;
    }
    for (Bytes b = message; (number = field(&b, &value)) != 0;)
        if (number == 6 && raw++ == wanted) answer->values = value;
    return !request->expected_count || (wanted >= 0 && answer->values.at != NULL);
}

static int as_expected(const Request *request, Bytes values) {
    if (!request->expected_count) return 1;
    if ((size_t)(values.end - values.at) != 4ul * request->expected_count) return 0;
    for (uint32_t i = 0; i < request->expected_count; i++) {
        float value;
        memcpy(&value, values.at + 4 * i, 4);
        float wanted = request->expected[i];
        if (!(fabsf(value - wanted) <= 1e-4f + 1e-3f * fabsf(wanted))) return 0;
    }
    return 1;
}

/* ---- calls -------------------------------------------------------------------------------------------------------- */

static ssize_t next_bytes(nghttp2_session *session, int32_t id, uint8_t *into, size_t room, uint32_t *flags,
                          nghttp2_data_source *source, void *user) {
    Slot *slot = source->ptr;
    size_t left = slot->request->size - slot->sent;
    if (options.streaming && !left) {
        if (!stopping) return NGHTTP2_ERR_DEFERRED;
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        return 0;
    }
    size_t size = left < room ? left : room;
    memcpy(into, slot->request->body + slot->sent, size);
    slot->sent += size;
    if (!options.streaming && slot->sent == slot->request->size) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)size;
}

static void next_request(Slot *slot) {
    slot->index = (uint32_t)(number++ % request_count);
    slot->request = &requests[slot->index];
    slot->sent = 0;
    slot->began_ns = now_ns();
    sent++;
}

static void hexadecimal(char *into, uint64_t value) {
    static const char digits[] = "0123456789abcdef";
    for (int i = 15; i >= 0; i--, value >>= 4) into[i] = digits[value & 15];
}

#define NV(n, v, size, flags) {(uint8_t *)(n), (uint8_t *)(v), sizeof(n) - 1, (size), (flags)}

static void call(Slot *slot) {
    char trace[56] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", timeout[16] = "19999999u";
    uint8_t how = options.literal ? NGHTTP2_NV_FLAG_NO_INDEX : 0;
    next_request(slot);
    if (options.streaming) strcpy(timeout, "3600S");
    if (options.vary) {
        hexadecimal(trace + 3, random64());
        hexadecimal(trace + 19, random64());
        hexadecimal(trace + 36, random64());
        trace[54] = options.sampled && sent % (uint64_t)options.sampled == 0 ? '1' : '0';
        if (!options.streaming) snprintf(timeout, sizeof timeout, "19%06uu", (unsigned)(random64() % 1000000));
    }
    nghttp2_nv headers[] = {
        NV(":method", "POST", 4, 0),
        NV(":scheme", "http", 4, 0),
        NV(":path", options.path, strlen(options.path), 0),
        NV(":authority", authority, strlen(authority), 0),
        NV("content-type", "application/grpc", 16, 0),
        NV("user-agent", "grpc-bench/1", 12, 0),
        NV("te", "trailers", 8, 0),
        NV("grpc-timeout", timeout, strlen(timeout), how),
        NV("traceparent", trace, 55, how),
    };
    nghttp2_data_provider provider = {.source.ptr = slot, .read_callback = next_bytes};
    slot->got = 0;
    slot->answered = 0;
    slot->http_status = slot->grpc_status = -1;
    slot->id = nghttp2_submit_request(slot->connection->session, NULL, headers, sizeof headers / sizeof *headers,
                                      &provider, slot);
    if (slot->id < 0) die(nghttp2_strerror(slot->id));
}

static void note(Slot *slot, int status, int version, float first) {
    uint64_t ended = now_ns();
    answered++;
    if (records) {
        Record record = {slot->began_ns, ended, status, version, slot->index, first};
        fwrite(&record, sizeof record, 1, records);
    }
    if (counting != 1) return;
    latencies = grown(latencies, &latencies_room, counted + 1, sizeof *latencies);
    latencies[counted++] = (float)(ended - slot->began_ns) / 1000;
}

/* One complete message of a reply. */
static void judge(Slot *slot, Bytes message) {
    Answer answer;
    Bytes value, inner = message;
    int number, readable = 1;
    if (options.streaming) { /* ModelStreamInferResponse: error_message 1, infer_response 2 */
        inner = (Bytes){NULL, NULL};
        for (Bytes b = message; (number = field(&b, &value)) > 0;)
            if (number == 2) inner = value;
            else if (number == 1) readable = 0;
    }
    uint64_t size = (uint64_t)(message.end - message.at);
    most_bytes = size > most_bytes ? size : most_bytes;
    least_bytes = size < least_bytes ? size : least_bytes;
    readable = readable && inner.at && read_answer(inner, slot->request, &answer);
    float first = 0;
    if (readable && answer.values.end - answer.values.at >= 8) memcpy(&first, answer.values.at + 4, 4);
    if (!readable || !as_expected(slot->request, answer.values)) {
        if (!wrong++) snprintf(first_wrong, sizeof first_wrong, "request %u, %lu bytes", slot->index, (unsigned long)size);
        if (readable && records) answer.version = -answer.version;
    }
    note(slot, slot->grpc_status < 0 ? 0 : slot->grpc_status, readable ? answer.version : 0, first);
}

static int take(Slot *slot) { /* complete messages so far; returns how many */
    size_t at = 0;
    int found = 0;
    while (slot->got - at >= 5) {
        uint32_t size;
        memcpy(&size, slot->reply + at + 1, 4);
        size = ntohl(size);
        if (slot->got - at - 5 < size) break;
        judge(slot, (Bytes){slot->reply + at + 5, slot->reply + at + 5 + size});
        at += 5 + size;
        found++;
    }
    memmove(slot->reply, slot->reply + at, slot->got -= at);
    slot->answered += found;
    return found;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes, size_t size, void *user) {
    Slot *slot = nghttp2_session_get_stream_user_data(session, id);
    if (!slot) return 0;
    slot->reply = grown(slot->reply, &slot->room, slot->got + size, 1);
    memcpy(slot->reply + slot->got, bytes, size);
    slot->got += size;
    if (options.streaming && take(slot) && !stopping) {
        next_request(slot);
        nghttp2_session_resume_data(session, id);
    }
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_size,
                     const uint8_t *value, size_t size, uint8_t flags, void *user) {
    int which = name_size == 11 && !memcmp(name, "grpc-status", 11) ? 1 : name_size == 7 && !memcmp(name, ":status", 7) ? 2 : 0;
    if (!which) return 0;
    Slot *slot = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    int parsed = 0;
    for (size_t i = 0; i < size; i++) parsed = parsed * 10 + value[i] - '0';
    if (slot && which == 1) slot->grpc_status = parsed;
    if (slot && which == 2) slot->http_status = parsed;
    return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t error, void *user) {
    Slot *slot = nghttp2_session_get_stream_user_data(session, id);
    if (!slot) return 0;
    if (slot->grpc_status != 0 || slot->http_status != 200 || error) {
        not_ok++;
        if (first_status < 0) first_status = slot->grpc_status;
        if (!options.streaming) note(slot, slot->grpc_status, 0, 0);
    } else if (!options.streaming && take(slot) != 1) {
        broken++;
        note(slot, 0, 0, 0);
    }
    slot->id = 0;
    if (!stopping) call(slot);
    return 0;
}

/* ---- connections -------------------------------------------------------------------------------------------------- */

static void watch(Connection *c, int operation, int writing) {
    struct epoll_event event = {.events = EPOLLIN | (writing ? EPOLLOUT : 0), .data.ptr = c};
    if (epoll_ctl(epoll, operation, c->socket, &event)) die("epoll");
    c->writing = writing;
}

/* Everything that is to be said goes out in as few writes as possible: once a turn. */
static void flush(Connection *c) {
    const uint8_t *bytes;
    ssize_t size;
    while ((size = nghttp2_session_mem_send(c->session, &bytes)) > 0) {
        c->unsent = grown(c->unsent, &c->unsent_room, c->unsent_size + (size_t)size, 1);
        memcpy(c->unsent + c->unsent_size, bytes, (size_t)size);
        c->unsent_size += (size_t)size;
    }
    if (size < 0) die(nghttp2_strerror((int)size));
    size_t at = 0;
    while (at < c->unsent_size) {
        size = write(c->socket, c->unsent + at, c->unsent_size - at);
        if (size < 0 && errno == EAGAIN) break;
        if (size < 0) die("the server has closed a connection");
        at += (size_t)size;
    }
    memmove(c->unsent, c->unsent + at, c->unsent_size -= at);
    if ((c->unsent_size > 0) != c->writing) watch(c, EPOLL_CTL_MOD, c->unsent_size > 0);
}

static void receive(Connection *c) {
    static uint8_t buffer[1 << 18];
    ssize_t size = read(c->socket, buffer, sizeof buffer);
    if (size < 0 && errno == EAGAIN) return;
    if (size <= 0) {
        if (stopping) _exit(1);
        die("the server has closed a connection");
    }
    ssize_t taken = nghttp2_session_mem_recv(c->session, buffer, (size_t)size);
    if (taken < 0) die(nghttp2_strerror((int)taken));
}

static void connect_to(Connection *c, nghttp2_session_callbacks *callbacks) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int yes = 1;
    c->socket = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(c->socket, (struct sockaddr *)&address, sizeof address)) die("connect");
    setsockopt(c->socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    fcntl(c->socket, F_SETFL, O_NONBLOCK);
    nghttp2_session_client_new(&c->session, callbacks, c);
    nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0}, {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW}};
    nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, settings, 2);
    nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0, WINDOW);
    watch(c, EPOLL_CTL_ADD, 0);
    c->slots = calloc((size_t)options.streams, sizeof(Slot));
    for (int i = 0; i < options.streams; i++) {
        c->slots[i].connection = c;
        call(&c->slots[i]);
    }
}

/* No more requests; streams are ended, the others' replies awaited. */
static void stop(Connection *connections) {
    stopping = 1;
    for (int i = 0; options.streaming && i < options.connections; i++)
        for (int s = 0; s < options.streams; s++) nghttp2_session_resume_data(connections[i].session, connections[i].slots[s].id);
}

static int busy(Connection *connections) {
    for (int i = 0; i < options.connections; i++)
        for (int s = 0; s < options.streams; s++)
            if (connections[i].slots[s].id) return 1;
    return 0;
}

static void asked_to_stop(int signal) { stopping = 2; }

static uint64_t tick(uint64_t began, uint64_t *counted_from) { /* the clock: what counts now; 0: go on, else when it ended */
    uint64_t now = now_ns();
    if (!counting && (double)(now - began) >= options.warm * 1e9) {
        counting = 1;
        *counted_from = now;
        puts("begin");
        fflush(stdout);
    }
    if (counting != 1) return 0;
    int over = options.limit ? counted >= options.limit : (double)(now - *counted_from) >= options.seconds * 1e9;
    if (!over && stopping != 2) return 0;
    counting = 2;
    puts("end");
    fflush(stdout);
    return now;
}

static double run(Connection *connections) {
    struct epoll_event events[64];
    uint64_t began = now_ns(), from = began, ended = 0, late = 0;
    while (!ended || (busy(connections) && now_ns() < late)) {
        for (int i = 0; i < options.connections; i++) flush(&connections[i]);
        int ready = epoll_wait(epoll, events, 64, ended ? 100 : 20);
        for (int i = 0; i < ready; i++)
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) receive(events[i].data.ptr);
        if (!ended && (ended = tick(began, &from))) {
            stop(connections);
            late = ended + 30000000000ull;
        }
    }
    return (double)(ended - from) / 1e9;
}

/* ---- what it was asked for, and what it says --------------------------------------------------------------------- */

static uint32_t read_u32(FILE *file) {
    uint32_t value;
    if (fread(&value, 4, 1, file) != 1) die("the file of requests is too short");
    return value;
}

static void *read_bytes(FILE *file, size_t size, size_t before) {
    uint8_t *bytes = calloc(1, before + size + 1);
    if (!bytes || fread(bytes + before, 1, size, file) != size) die("the file of requests is too short");
    return bytes;
}

static void read_requests(void) {
    FILE *file = fopen(options.requests, "rb");
    if (!file) die(options.requests);
    request_count = read_u32(file);
    requests = calloc(request_count, sizeof(Request));
    for (uint32_t i = 0; i < request_count; i++) {
        Request *r = &requests[i];
        uint32_t size = read_u32(file), order = htonl(size);
        r->body = read_bytes(file, size, 5);
        memcpy(r->body + 1, &order, 4);
        r->size = size + 5;
        r->output_size = read_u32(file);
        r->output = read_bytes(file, r->output_size, 0);
        r->expected_count = read_u32(file);
        r->expected = read_bytes(file, 4ul * r->expected_count, 0);
    }
    fclose(file);
}

static void option(const char *name, const char *value) {
    if (!strcmp(name, "--port")) options.port = atoi(value);
    else if (!strcmp(name, "--path")) options.path = value;
    else if (!strcmp(name, "--requests")) options.requests = value;
    else if (!strcmp(name, "--connections")) options.connections = atoi(value);
    else if (!strcmp(name, "--streams")) options.streams = atoi(value);
    else if (!strcmp(name, "--warm")) options.warm = atof(value);
    else if (!strcmp(name, "--seconds")) options.seconds = atof(value);
    else if (!strcmp(name, "--headers")) options.vary = *value != 's', options.literal = *value == 'l';
    else if (!strcmp(name, "--calls")) options.streaming = *value == 's';
    else if (!strcmp(name, "--sampled")) options.sampled = atoi(value);
    else if (!strcmp(name, "--records")) options.records = value;
    else if (!strcmp(name, "--limit")) options.limit = strtoull(value, NULL, 10);
    else errno = EINVAL, die(name);
}

static int ascending(const void *left, const void *right) {
    float a = *(const float *)left, b = *(const float *)right;
    return (a > b) - (a < b);
}

static double at_quantile(double q) { return counted ? latencies[(size_t)(q * (double)(counted - 1))] : 0; }

static void report(double seconds) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    qsort(latencies, counted, sizeof *latencies, ascending);
    printf("{\"seconds\": %.6f, \"counted\": %lu, \"sent\": %lu, \"answered\": %lu, \"not_ok\": %lu, \"wrong\": %lu, "
           "\"broken\": %lu, \"first_status\": %d, \"first_wrong\": \"%s\", \"p50_us\": %.2f, \"p99_us\": %.2f, "
           "\"most_us\": %.2f, \"least_bytes\": %lu, \"most_bytes\": %lu, \"cpu_s\": %.4f}\n",
           seconds, counted, sent, answered, not_ok, wrong, broken, first_status, first_wrong, at_quantile(.5),
           at_quantile(.99), at_quantile(1), answered ? least_bytes : 0, most_bytes,
           (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
}

int main(int count, char **given) {
    for (int i = 1; i + 1 < count; i += 2) option(given[i], given[i + 1]);
    if (!options.port || !options.path || !options.requests || options.connections > MOST_CONNECTIONS)
        errno = EINVAL, die("--port, --path and --requests are needed");
    read_requests();
    if (options.records && !(records = fopen(options.records, "wb"))) die(options.records);
    snprintf(authority, sizeof authority, "127.0.0.1:%d", options.port);
    seed ^= now_ns();
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, asked_to_stop);
    signal(SIGINT, asked_to_stop);
    nghttp2_session_callbacks *callbacks;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    if ((epoll = epoll_create1(0)) < 0) die("epoll");
    Connection *connections = calloc((size_t)options.connections, sizeof(Connection));
    for (int i = 0; i < options.connections; i++) connect_to(&connections[i], callbacks);
    double seconds = run(connections);
    if (records) fclose(records);
    report(seconds);
    return 0;
}
