/*
 * A Runtime API that answers at once and keeps time: the platform that is not the bottleneck.
 *
 *     stub_runtime_api [options] EVENT-FILE -- COMMAND [ARGUMENT ...]
 *
 * It starts the runtime itself, so the time from exec to the first next is measured here too. It serves the Runtime API and
 * as much of the Extensions API as a silent internal extension needs, on one thread and any number of connections, so several
 * invocations may be in flight: --slots 16 hands out nothing before sixteen nexts wait. When all invocations are answered it
 * ends the runtime, with --sigterm 1 by that signal once it waits in its next, and prints one JSON object.
 * All times are nanoseconds of CLOCK_MONOTONIC. With --spin 1 it never sleeps: on virtual machines waking a sleeping core costs
 * more than a whole invocation, and that is the machine's time, not the runtime's.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_CONNECTIONS = 128, READ_SIZE = 1 << 18, HEADER_LIMIT = 1 << 16 };

enum body_kind { BODY_LENGTH, BODY_CHUNKED };

struct connection {
    int fd;
    char *buffer;            /* what was read and not consumed */
    size_t used, capacity;
    size_t header_end;       /* 0 while the request's header is not complete */
    enum body_kind kind;
    size_t body_left;        /* of a body with a length */
    size_t body_bytes;       /* seen so far */
    size_t chunk_cursor;     /* where the next chunk's size line starts, in buffer */
    long response_id;        /* the invocation that this request answers, or -1 */
};

static struct {
    long invocations, warmup;
    int runtime_cpu, stub_cpu;
    long pause_ms;
    int spin, freeze, end_with_sigterm;
    int slots;
    const char *content_type;
    long timeout_s;
} options = {.invocations = 1000, .warmup = 100, .runtime_cpu = -1, .stub_cpu = -1, .slots = 1,
             .content_type = "application/json", .timeout_s = 120};

static char *event;
static size_t event_size;
static int64_t *answered_at, *first_byte_at, *response_at;
static long handed_out, finished, errors, total;
static int64_t started_at, first_next_at, last_answer_at, idle_at, sigterm_at, exited_at;
static int waiting[MAX_CONNECTIONS], waiting_count; /* nexts held until all slots are there */
static int64_t cpu_after_warmup, cpu_at_end;
static long rss_first_next, rss_end, group_pss;
static size_t response_bytes;
static pid_t runtime;
static struct connection connections[MAX_CONNECTIONS];
static int connection_count;

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("stub_runtime_api: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    if (runtime > 0)
        kill(-runtime, SIGKILL);
    exit(1);
}

/* CPU time of the runtime and of the children it has waited for (a shell loop is nothing without its curls). */
static int64_t cpu_time(void) {
    int64_t nanoseconds = 0;
    clockid_t clock;
    struct timespec time;
    if (clock_getcpuclockid(runtime, &clock) == 0 && clock_gettime(clock, &time) == 0)
        nanoseconds = (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
    char path[64], line[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)runtime);
    FILE *file = fopen(path, "r");
    if (file && fgets(line, sizeof line, file)) {
        char *fields = strrchr(line, ')');
        long user = 0, system = 0;
        if (fields && sscanf(fields + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %ld %ld", &user, &system) == 2)
            nanoseconds += (int64_t)(user + system) * (1000000000 / sysconf(_SC_CLK_TCK));
    }
    if (file)
        fclose(file);
    return nanoseconds;
}

/* Resident kilobytes of the runtime. */
static long resident_memory(void) {
    char path[64], line[256];
    long kilobytes = 0;
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)runtime);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "Rss: %ld kB", &kilobytes) == 1)
            break;
    if (file)
        fclose(file);
    return kilobytes;
}

/* Kilobytes of all processes of the runtime together, what they share counted once. */
static long group_memory(void) {
    long sum = 0;
    DIR *processes = opendir("/proc");
    for (struct dirent *entry; processes && (entry = readdir(processes));) {
        pid_t pid = (pid_t)atol(entry->d_name);
        if (pid <= 0 || getpgid(pid) != runtime)
            continue;
        char path[64], line[256];
        long kilobytes = 0;
        snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
        FILE *file = fopen(path, "r");
        while (file && fgets(line, sizeof line, file))
            if (sscanf(line, "Pss: %ld kB", &kilobytes) == 1)
                break;
        if (file)
            fclose(file);
        sum += kilobytes;
    }
    if (processes)
        closedir(processes);
    return sum;
}

/* Header and body in one call: a second one would be time that the runtime waits for. */
static void send_message(int fd, char *header, size_t header_size, char *body, size_t body_size) {
    struct iovec parts[2] = {{header, header_size}, {body, body_size}};
    for (size_t left = header_size + body_size; left;) {
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
        ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno == EINTR)
                continue;
            if (errno == EPIPE || errno == ECONNRESET)
                return;
            fail("send: %s", strerror(errno));
        }
        left -= (size_t)sent;
        for (int part = 0; part < 2; part++) {
            size_t taken = (size_t)sent < parts[part].iov_len ? (size_t)sent : parts[part].iov_len;
            parts[part].iov_base = (char *)parts[part].iov_base + taken;
            parts[part].iov_len -= taken;
            sent -= (ssize_t)taken;
        }
    }
}

static void hand_out(int fd) {
    if (handed_out == total) {
        idle_at = now();
        return; /* the last next is never answered */
    }
    if (options.pause_ms) {
        struct timespec pause = {options.pause_ms / 1000, options.pause_ms % 1000 * 1000000};
        if (options.freeze)
            kill(-runtime, SIGSTOP);
        nanosleep(&pause, NULL);
    }
    long id = handed_out++;
    if (id == options.warmup)
        cpu_after_warmup = cpu_time();
    struct timespec wall;
    clock_gettime(CLOCK_REALTIME, &wall);
    char header[1024];
    int size = snprintf(header, sizeof header,
        "HTTP/1.1 200 OK\r\n"
        "Content-Type: %s\r\n"
        "Lambda-Runtime-Aws-Request-Id: 8476a536-e9f4-11e8-9739-%012ld\r\n"
        "Lambda-Runtime-Deadline-Ms: %lld\r\n"
        "Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:us-east-1:123456789012:function:benchmark\r\n"
        "Lambda-Runtime-Trace-Id: Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=1\r\n"
        "Date: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
        "Content-Length: %zu\r\n\r\n",
        options.content_type, id, (long long)wall.tv_sec * 1000 + wall.tv_nsec / 1000000 + 60000, event_size);
    answered_at[id] = now();
    if (options.freeze && options.pause_ms)
        kill(-runtime, SIGCONT);
    send_message(fd, header, (size_t)size, event, event_size);
}

static void answer_next(int fd) {
    if (!first_next_at) {
        first_next_at = now();
        rss_first_next = resident_memory();
    }
    if (waiting_count == options.slots) {
        hand_out(fd);
    } else {
        waiting[waiting_count++] = fd;
        for (int slot = 0; waiting_count == options.slots && slot < waiting_count; slot++)
            hand_out(waiting[slot]);
    }
}

static void answer(struct connection *connection, const char *status, const char *headers, const char *body) {
    char reply[512];
    int size = snprintf(reply, sizeof reply, "HTTP/1.1 %s\r\nContent-Type: application/json\r\n%sContent-Length: %zu\r\n\r\n%s",
                        status, headers, strlen(body), body);
    send_message(connection->fd, reply, (size_t)size, NULL, 0);
}

static const char *find_header(const struct connection *connection, const char *name) {
    size_t length = strlen(name);
    const char *line = connection->buffer, *end = connection->buffer + connection->header_end;
    while ((line = memchr(line, '\n', (size_t)(end - line))) != NULL && ++line < end)
        if (strncasecmp(line, name, length) == 0 && line[length] == ':')
            return line + length + 1 + strspn(line + length + 1, " ");
    return NULL;
}

static void begin_request(struct connection *connection) {
    const char *length = find_header(connection, "Content-Length");
    const char *encoding = find_header(connection, "Transfer-Encoding");
    const char *expect = find_header(connection, "Expect");
    connection->kind = encoding && strncasecmp(encoding, "chunked", 7) == 0 ? BODY_CHUNKED : BODY_LENGTH;
    connection->body_left = length ? strtoull(length, NULL, 10) : 0;
    connection->body_bytes = 0;
    connection->chunk_cursor = connection->header_end;
    connection->response_id = -1;
    char *path = memchr(connection->buffer, ' ', connection->header_end);
    char *id = path ? memmem(path, 200 < connection->header_end ? 200 : connection->header_end, "/invocation/", 12) : NULL;
    if (connection->buffer[0] == 'P' && id)
        connection->response_id = strtol(id + 12 + strlen("8476a536-e9f4-11e8-9739-"), NULL, 10);
    if (expect && strncasecmp(expect, "100-continue", 12) == 0)
        send_message(connection->fd, "HTTP/1.1 100 Continue\r\n\r\n", 25, NULL, 0);
}

static void note_body(struct connection *connection, size_t bytes) {
    long id = connection->response_id;
    if (bytes && !connection->body_bytes && id >= 0 && id < total)
        first_byte_at[id] = now();
    connection->body_bytes += bytes;
}

/* Consume what is there of the body; true when the body is complete. */
static int read_body(struct connection *connection) {
    if (connection->kind == BODY_LENGTH) {
        size_t here = connection->used - connection->header_end;
        size_t taken = here < connection->body_left ? here : connection->body_left;
        note_body(connection, taken);
        connection->body_left -= taken;
        memmove(connection->buffer + connection->header_end, connection->buffer + connection->header_end + taken, here - taken);
        connection->used -= taken;
        return connection->body_left == 0;
    }
    /* Chunks: body_left counts what is left of the current chunk with its CRLF; sizes are read as they come. */
    for (;;) {
        char *data = connection->buffer + connection->header_end;
        size_t here = connection->used - connection->header_end;
        if (connection->body_left) {
            size_t taken = here < connection->body_left ? here : connection->body_left;
            note_body(connection, taken);
            connection->body_left -= taken;
            memmove(data, data + taken, here - taken);
            connection->used -= taken;
            if (connection->body_left)
                return 0;
            continue;
        }
        char *line_end = memmem(data, here, "\r\n", 2);
        if (!line_end)
            return 0;
        size_t size = strtoull(data, NULL, 16), line = (size_t)(line_end - data) + 2;
        if (size == 0) { /* trailers, if any, end with an empty line */
            char *end = memmem(line_end, here - (size_t)(line_end - data), "\r\n\r\n", 4);
            if (!end)
                return 0;
            size_t taken = (size_t)(end - data) + 4;
            memmove(data, data + taken, here - taken);
            connection->used -= taken;
            return 1;
        }
        memmove(data, data + line, here - line);
        connection->used -= line;
        connection->body_left = size + 2;
    }
}

static void end_request(struct connection *connection) {
    char *line = connection->buffer;
    line[connection->header_end - 1] = '\0';
    *strchr(line, '\r') = '\0';
    if (strstr(line, "/runtime/invocation/next")) {
        answer_next(connection->fd);
    } else if (strstr(line, "/response ") || strstr(line, "/error ")) {
        if (strstr(line, "/init/error "))
            fail("the runtime reported an init error");
        long id = connection->response_id;
        if (id < 0 || id >= total)
            fail("an answer for no invocation: %s", line);
        response_at[id] = now();
        response_bytes = connection->body_bytes;
        errors += strstr(line, "/error ") != NULL;
        if (++finished == total) {
            last_answer_at = now();
            cpu_at_end = cpu_time();
            rss_end = resident_memory();
            group_pss = group_memory();
        }
        answer(connection, "202 Accepted", "", "{\"status\":\"OK\"}\n");
    } else if (strstr(line, "/extension/register")) {
        answer(connection, "200 OK", "Lambda-Extension-Identifier: 8476a536-e9f4-11e8-9739-aaaaaaaaaaaa\r\n",
               "{\"functionName\":\"benchmark\",\"functionVersion\":\"$LATEST\",\"handler\":\"app.handler\"}");
    } else if (!strstr(line, "/extension/event/next")) { /* a silent extension's next is never answered */
        answer(connection, "404 Not Found", "", "{}");
    }
    size_t rest = connection->used - connection->header_end;
    memmove(connection->buffer, connection->buffer + connection->header_end, rest);
    connection->used = rest;
    connection->header_end = 0;
}

/* Read what came; false when the other side closed. */
static int serve(struct connection *connection) {
    if (connection->capacity - connection->used < READ_SIZE) {
        connection->capacity = connection->used + 2 * READ_SIZE;
        connection->buffer = realloc(connection->buffer, connection->capacity);
        if (!connection->buffer)
            fail("out of memory");
    }
    ssize_t got = recv(connection->fd, connection->buffer + connection->used, READ_SIZE, 0);
    if (got < 0 && (errno == EINTR || errno == EAGAIN))
        return 1;
    if (got <= 0)
        return 0;
    connection->used += (size_t)got;
    for (;;) {
        if (!connection->header_end) {
            char *end = memmem(connection->buffer, connection->used, "\r\n\r\n", 4);
            if (!end) {
                if (connection->used > HEADER_LIMIT)
                    fail("a request header of more than %d bytes", HEADER_LIMIT);
                return 1;
            }
            connection->header_end = (size_t)(end - connection->buffer) + 4;
            begin_request(connection);
        }
        if (!read_body(connection))
            return 1;
        end_request(connection);
    }
}

static void pin(int cpu) {
    if (cpu < 0)
        return;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    sched_setaffinity(0, sizeof set, &set);
}

static void start_runtime(char **command, int port) {
    char api[64];
    snprintf(api, sizeof api, "127.0.0.1:%d", port);
    setenv("AWS_LAMBDA_RUNTIME_API", api, 1);
    started_at = now();
    runtime = fork();
    if (runtime < 0)
        fail("fork: %s", strerror(errno));
    if (runtime == 0) {
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        pin(options.runtime_cpu);
        dup2(STDERR_FILENO, STDOUT_FILENO);
        execvp(command[0], command);
        fprintf(stderr, "stub_runtime_api: cannot run %s: %s\n", command[0], strerror(errno));
        _exit(127);
    }
    setpgid(runtime, runtime);
}

static void print_times(const char *name, const int64_t *from, const int64_t *to, long first, long last) {
    printf(", \"%s\": [", name);
    for (long id = first; id < last; id++)
        printf("%s%lld", id > first ? ", " : "", (long long)(to[id] - from[id]));
    printf("]");
}

static void read_event(const char *path) {
    struct stat status;
    int fd = open(path, O_RDONLY);
    if (fd < 0 || fstat(fd, &status) < 0)
        fail("cannot read %s: %s", path, strerror(errno));
    event_size = (size_t)status.st_size;
    event = malloc(event_size + 1);
    for (size_t got = 0; got < event_size;) {
        ssize_t more = read(fd, event + got, event_size - got);
        if (more <= 0)
            fail("cannot read %s", path);
        got += (size_t)more;
    }
    close(fd);
}

int main(int count, char **arguments) {
    int position = 1;
    for (; position + 1 < count && arguments[position][0] == '-' && strcmp(arguments[position], "--"); position += 2) {
        const char *name = arguments[position], *value = arguments[position + 1];
        if (!strcmp(name, "--invocations")) options.invocations = atol(value);
        else if (!strcmp(name, "--warmup")) options.warmup = atol(value);
        else if (!strcmp(name, "--runtime-cpu")) options.runtime_cpu = atoi(value);
        else if (!strcmp(name, "--stub-cpu")) options.stub_cpu = atoi(value);
        else if (!strcmp(name, "--spin")) options.spin = atoi(value);
        else if (!strcmp(name, "--pause-ms")) options.pause_ms = atol(value);
        else if (!strcmp(name, "--freeze")) options.freeze = atoi(value);
        else if (!strcmp(name, "--sigterm")) options.end_with_sigterm = atoi(value);
        else if (!strcmp(name, "--slots")) options.slots = atoi(value);
        else if (!strcmp(name, "--content-type")) options.content_type = value;
        else if (!strcmp(name, "--timeout")) options.timeout_s = atol(value);
        else fail("unknown option %s", name);
    }
    if (position + 2 >= count || strcmp(arguments[position + 1], "--"))
        fail("usage: stub_runtime_api [options] EVENT-FILE -- COMMAND [ARGUMENT ...]");
    read_event(arguments[position]);
    total = options.warmup + options.invocations;
    answered_at = calloc((size_t)total + 1, sizeof *answered_at);
    first_byte_at = calloc((size_t)total + 1, sizeof *first_byte_at);
    response_at = calloc((size_t)total + 1, sizeof *response_at);

    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t address_size = sizeof address;
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, MAX_CONNECTIONS) < 0)
        fail("cannot listen: %s", strerror(errno));
    getsockname(listener, (struct sockaddr *)&address, &address_size);
    pin(options.stub_cpu);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* who measures is gone: end, and the runtime with it */
    signal(SIGPIPE, SIG_IGN);
    start_runtime(arguments + position + 2, ntohs(address.sin_port));

    int64_t give_up = now() + options.timeout_s * 1000000000;
    int64_t look_again = 0;
    while (finished < total || (options.end_with_sigterm && !idle_at)) { /* an idle runtime is what SIGTERM is asked about */
        struct pollfd polled[MAX_CONNECTIONS + 1];
        for (int index = 0; index < connection_count; index++)
            polled[index] = (struct pollfd){.fd = connections[index].fd, .events = POLLIN};
        polled[connection_count] = (struct pollfd){.fd = listener, .events = POLLIN};
        int watched = connection_count + 1, status;
        if (poll(polled, (nfds_t)watched, options.spin ? 0 : 100) < 0 && errno != EINTR)
            fail("poll: %s", strerror(errno));
        if (now() > look_again) {
            look_again = now() + 100000000;
            if (waitpid(runtime, &status, WNOHANG) == runtime) {
                runtime = 0;
                fail("the runtime ended early, status %d, after %ld of %ld invocations", status, finished, total);
            }
            if (look_again > give_up)
                fail("no end after %ld seconds: %ld of %ld invocations answered", options.timeout_s, finished, total);
        }
        for (int index = connection_count - 1; index >= 0; index--)
            if (polled[index].revents && !serve(&connections[index])) {
                close(connections[index].fd);
                free(connections[index].buffer);
                connections[index] = connections[--connection_count];
            }
        if (polled[watched - 1].revents) {
            int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
            if (fd < 0 || connection_count == MAX_CONNECTIONS)
                fail("cannot accept a connection");
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            connections[connection_count++] = (struct connection){.fd = fd};
        }
    }
    int status;
    if (options.end_with_sigterm) { /* its next is here, and it is about to wait for the answer */
        struct timespec rest = {0, 20000000};
        nanosleep(&rest, NULL);
        sigterm_at = now();
        kill(-runtime, SIGTERM);
        siginfo_t ended = {0};
        for (int waited = 0; waited < 10000 && waitid(P_PID, (id_t)runtime, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && !ended.si_pid; waited++) {
            struct timespec tick = {0, 1000000};
            nanosleep(&tick, NULL);
        }
        exited_at = now();
    }
    kill(-runtime, SIGKILL);
    struct rusage usage = {0};
    wait4(runtime, &status, 0, &usage);

    long first = options.warmup;
    printf("{\"cold_ns\": %lld, \"rss_first_next_kb\": %ld, \"rss_end_kb\": %ld", (long long)(first_next_at - started_at),
           rss_first_next, rss_end);
    printf(", \"rss_peak_kb\": %ld, \"group_pss_kb\": %ld", usage.ru_maxrss, group_pss);
    printf(", \"cpu_ns\": %lld, \"elapsed_ns\": %lld", (long long)(cpu_at_end - cpu_after_warmup),
           (long long)(last_answer_at - answered_at[first]));
    printf(", \"errors\": %ld, \"response_bytes\": %zu", errors, response_bytes);
    printf(", \"sigterm_at\": %lld, \"exited_after_ns\": %lld", (long long)sigterm_at, (long long)(exited_at - sigterm_at));
    print_times("latency_ns", answered_at, response_at, first, total);
    print_times("first_byte_ns", answered_at, first_byte_at, first, total);
    print_times("cycle_ns", answered_at, answered_at + 1, first, total - 1);
    printf("}\n");
    return 0;
}
