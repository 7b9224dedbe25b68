/*
 * The load tool of `vallum bench`: an HTTP/1.1 server and a closed-loop client, a new TCP connection a request.
 *
 * It is in C because a client in Python would be what is measured. It needs libc alone; IPv4 and IPv6 are one.
 * Who closes first: the server, straight after the body (keep-alive is off). The client takes its last time
 * stamp at the last byte of the body, then waits for that FIN and resets (SO_LINGER 0). So no end is left in
 * TIME_WAIT, tens of thousands of connections fit in one namespace, every packet that is timed belongs to an
 * ordinary exchange, and the reset, which the kernel handles within close(), is over before the next request.
 * A request that fails is a row with its reason; it never vanishes.
 * Ignored: pipelining, request bodies, name resolution, TLS.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "common.h"

enum { BODY = 1 << 20, HEAD = 2048, EVENTS = 64, PORTS = 64, WORKERS_MOST = 256 };

static const char USAGE[] =
    "usage: load server --port P[,P...] [--address A] [--size BYTES] [--cpu N]\n"
    "       load client --address A --port P [--size BYTES] [--requests N] [--workers N]\n"
    "                   [--timeout-ms MS] [--rate PER_SECOND] [--cpu N]\n"
    "       load client --address A --port P --stdin   reads `run REQUESTS SIZE [WORKERS [RATE]]`,\n"
    "                                                  `try TIMEOUT_MS`, `quit`; answers each\n"
    "       load try --address A --port P [--timeout-ms MS]   one request; exit 0 through, 1 not\n";

struct options {
    const char *address, *ports;
    long size, requests, workers, timeout_ms, rate, cpu;
    int commands;
};

static _Noreturn void die(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(2);
}

static _Noreturn void usage(const char *what) {
    fprintf(stderr, "load: %s\n%s", what, USAGE);
    exit(2);
}

static socklen_t end_of(struct sockaddr_storage *out, const char *address, int port) {
    socklen_t size = end_point(out, address, port);
    if (!size) usage("--address takes an IPv4 or IPv6 address");
    return size;
}

/* ---- server ---- */

struct connection {
    int fd, listener, used, head_size;
    size_t sent, total;
    char head[HEAD];
};

static char body[BODY];

static void fill_body(void) {
    uint64_t x = (uint64_t)now() | 1;
    for (size_t i = 0; i < BODY; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17; /* xorshift: random enough that nothing compresses it */
        body[i] = (char)x;
    }
}

static void listen_on(int poll_fd, const char *address, int port) {
    struct sockaddr_storage to;
    int one = 1, both = 0;
    socklen_t size = end_of(&to, address, port);
    struct connection *self = calloc(1, sizeof *self);
    int fd = socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (!self || fd < 0) die("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (to.ss_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &both, sizeof both);
    if (bind(fd, (struct sockaddr *)&to, size) < 0) die("bind");
    if (listen(fd, SOMAXCONN) < 0) die("listen");
    self->fd = fd;
    self->listener = 1;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = self};
    if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event) < 0) die("epoll_ctl");
}

static void finish(struct connection *c) {
    close(c->fd);
    free(c);
}

/* Header and as much of the body as goes; the random megabyte repeats in larger bodies. */
static void push(int poll_fd, struct connection *c) {
    while (c->sent < c->total) {
        struct iovec part[2];
        int parts = 0;
        size_t head = (size_t)c->head_size, at = c->sent > head ? c->sent - head : 0;
        size_t rest = c->total - head - at, room = BODY - at % BODY;
        if (c->sent < head) part[parts++] = (struct iovec){c->head + c->sent, head - c->sent};
        if (rest) part[parts++] = (struct iovec){body + at % BODY, rest < room ? rest : room};
        struct msghdr message = {.msg_iov = part, .msg_iovlen = (size_t)parts};
        ssize_t n = sendmsg(c->fd, &message, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            struct epoll_event event = {.events = EPOLLOUT, .data.ptr = c};
            epoll_ctl(poll_fd, EPOLL_CTL_MOD, c->fd, &event);
            return;
        }
        if (n < 0) break;
        c->sent += (size_t)n;
    }
    finish(c);
}

static void answer(int poll_fd, struct connection *c, long size) {
    long asked = -1;
    const char *status = "200 OK";
    if (sscanf(c->head, "GET /%ld HTTP/1.", &asked) == 1 && asked >= 0) size = asked;
    if (strncmp(c->head, "GET /", 5) != 0) status = "405 Method Not Allowed", size = 0;
    c->head_size = snprintf(c->head, sizeof c->head,
                            "HTTP/1.1 %s\r\nContent-Type: application/octet-stream\r\n"
                            "Content-Length: %ld\r\nConnection: close\r\n\r\n", status, size);
    c->total = (size_t)c->head_size + (size_t)size;
    push(poll_fd, c);
}

static void take(int poll_fd, struct connection *c, long size) {
    ssize_t n = recv(c->fd, c->head + c->used, (size_t)(HEAD - 1 - c->used), 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
        finish(c);
        return;
    }
    c->used += (int)n;
    c->head[c->used] = 0;
    if (strstr(c->head, "\r\n\r\n")) answer(poll_fd, c, size);
    else if (c->used == HEAD - 1) finish(c);
}

static void welcome(int poll_fd, int listener, long size) {
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct connection *c = calloc(1, sizeof *c);
        if (!c) die("calloc");
        c->fd = fd;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event) < 0) die("epoll_ctl");
        take(poll_fd, c, size); /* the request is often here already; this saves a round through epoll */
    }
}

static _Noreturn void serve(const struct options *o) {
    int poll_fd = epoll_create1(EPOLL_CLOEXEC), ports = 0;
    char *list = strdup(o->ports ? o->ports : ""), *rest = NULL;
    fill_body();
    for (char *p = strtok_r(list, ",", &rest); p && ports < PORTS; p = strtok_r(NULL, ",", &rest), ports++)
        listen_on(poll_fd, o->address ? o->address : "::", atoi(p));
    free(list);
    if (!ports) usage("server needs --port");
    puts("ready");
    fflush(stdout);
    for (;;) {
        struct epoll_event events[EVENTS];
        int n = epoll_wait(poll_fd, events, EVENTS, -1);
        if (n < 0 && errno != EINTR) die("epoll_wait");
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (c->listener) welcome(poll_fd, c->fd, o->size);
            else if (events[i].events & EPOLLOUT) push(poll_fd, c);
            else take(poll_fd, c, o->size);
        }
    }
}

/* ---- client ---- */

struct sample {
    int64_t start, connected, first, complete; /* CLOCK_MONOTONIC ns; 0 where that stage was not reached */
    const char *reason;
};

struct worker {
    pthread_t thread;
    const struct sockaddr_storage *to;
    socklen_t to_size;
    long count, size, timeout_ms, gap_ns;
    struct sample *samples;
};

static const char *why(int error, const char *late) {
    switch (error) {
    case EAGAIN: case EINPROGRESS: case ETIMEDOUT: return late;
    case ECONNREFUSED: return "refused";
    case ECONNRESET: return "reset";
    case EHOSTUNREACH: case ENETUNREACH: return "unreachable";
    case EADDRNOTAVAIL: return "no-local-port";
    default: return "error";
    }
}

static void patience(int fd, int64_t deadline) {
    int64_t left = deadline - now();
    if (left < 1000) left = 1000;
    struct timeval t = {.tv_sec = left / 1000000000, .tv_usec = left % 1000000000 / 1000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t);
}

/* Reads header and body. Returns why it failed, NULL when the body came whole. */
static const char *receive(int fd, struct sample *s, int64_t deadline, char *buffer) {
    long expected = -1;
    size_t used = 0, head = 0;
    for (;;) {
        size_t at = head ? 0 : used; /* once the header is known the bytes are counted, not kept */
        ssize_t n = recv(fd, buffer + at, (head ? BODY : HEAD * 8) - at - 1, 0);
        int64_t when = now();
        if (n < 0) return why(errno, "timed-out");
        if (n == 0) return "short-body";
        if (!s->first) s->first = when;
        used += (size_t)n;
        if (!head) {
            buffer[used] = 0;
            char *end = strstr(buffer, "\r\n\r\n"), *length = strcasestr(buffer, "\r\nContent-Length:");
            if (!end && used >= HEAD) return "bad-answer";
            if (!end) continue;
            if (strncmp(buffer, "HTTP/1.1 200", 12) != 0 || !length) return "bad-answer";
            expected = atol(length + 17);
            head = (size_t)(end - buffer) + 4;
        }
        if (used > head + (size_t)expected) return "long-body";
        if (used == head + (size_t)expected) {
            s->complete = when;
            return NULL;
        }
        if (when > deadline) return "timed-out";
    }
}

static const char *exchange(int fd, const struct worker *w, struct sample *s, int64_t deadline, char *buffer) {
    char request[128], drain;
    int size = snprintf(request, sizeof request, "GET /%ld HTTP/1.1\r\nHost: load\r\nConnection: close\r\n\r\n",
                        w->size);
    patience(fd, deadline);
    s->start = now();
    if (connect(fd, (const struct sockaddr *)w->to, w->to_size) < 0) return why(errno, "connect-timed-out");
    s->connected = now();
    if (send(fd, request, (size_t)size, MSG_NOSIGNAL) != size) return why(errno, "timed-out");
    const char *reason = receive(fd, s, deadline, buffer);
    if (!reason && recv(fd, &drain, 1, 0) > 0) return "long-body"; /* otherwise: the server's FIN, not timed */
    return reason;
}

static void request(const struct worker *w, struct sample *s, char *buffer) {
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    int fd = socket(w->to->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    memset(s, 0, sizeof *s);
    if (fd < 0) {
        s->start = now();
        s->reason = why(errno, "error");
        return;
    }
    s->reason = exchange(fd, w, s, now() + w->timeout_ms * 1000000, buffer);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(fd);
}

static void *work(void *arg) {
    struct worker *w = arg;
    char *buffer = malloc(BODY);
    int64_t next = now();
    if (!buffer) die("malloc");
    for (long i = 0; i < w->count; i++, next += w->gap_ns) {
        struct timespec at = {.tv_sec = next / 1000000000, .tv_nsec = next % 1000000000};
        if (w->gap_ns) clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
        request(w, &w->samples[i], buffer);
    }
    free(buffer);
    return NULL;
}

/* `rate` is that of all workers together; a worker that falls behind goes on at once (closed loop). */
static long run(const struct options *o, const struct sockaddr_storage *to, socklen_t to_size) {
    long workers = o->workers < 1 ? 1 : o->workers > WORKERS_MOST ? WORKERS_MOST : o->workers, failed = 0, at = 0;
    struct sample *samples = calloc((size_t)o->requests + 1, sizeof *samples);
    struct worker *all = calloc((size_t)workers, sizeof *all);
    if (!samples || !all) die("calloc");
    for (long i = 0; i < workers; i++) {
        long count = o->requests / workers + (i < o->requests % workers);
        all[i] = (struct worker){.to = to, .to_size = to_size, .count = count, .size = o->size,
                                 .timeout_ms = o->timeout_ms, .samples = samples + at,
                                 .gap_ns = o->rate ? workers * 1000000000 / o->rate : 0};
        at += count;
    }
    for (long i = 1; i < workers; i++)
        if ((errno = pthread_create(&all[i].thread, NULL, work, &all[i]))) die("pthread_create");
    work(&all[0]); /* the first worker is this thread: one worker starts none */
    for (long i = 1; i < workers; i++) pthread_join(all[i].thread, NULL);
    for (long i = 0; i < o->requests; i++) {
        const struct sample *s = &samples[i];
        failed += s->reason != NULL;
        printf("%lld\t%lld\t%lld\t%lld\t%s\n", (long long)s->start, (long long)s->connected,
               (long long)s->first, (long long)s->complete, s->reason ? s->reason : "ok");
    }
    free(samples);
    free(all);
    return failed;
}

static const char *try_once(const struct options *o, const struct sockaddr_storage *to, socklen_t to_size) {
    struct sample s;
    char *buffer = malloc(BODY);
    struct worker w = {.to = to, .to_size = to_size, .size = 1, .timeout_ms = o->timeout_ms};
    if (!buffer) die("malloc");
    request(&w, &s, buffer);
    free(buffer);
    return s.reason;
}

static int obey(const struct options *o, const struct sockaddr_storage *to, socklen_t to_size) {
    char line[256];
    while (fgets(line, sizeof line, stdin)) {
        struct options now_o = *o;
        if (sscanf(line, "run %ld %ld %ld %ld", &now_o.requests, &now_o.size, &now_o.workers, &now_o.rate) >= 2
            && now_o.requests >= 0 && now_o.size >= 0 && now_o.rate >= 0) {
            run(&now_o, to, to_size);
            puts("end");
        } else if (sscanf(line, "try %ld", &now_o.timeout_ms) == 1) {
            const char *reason = try_once(&now_o, to, to_size);
            printf("%s\n", reason ? reason : "through");
        } else if (strcmp(line, "quit\n") == 0) {
            return 0;
        } else {
            puts("error unknown command");
        }
        fflush(stdout);
    }
    return 0;
}

/* ---- command line ---- */

static long number(const char *name, const char *text) {
    char *end = NULL;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno || end == text || *end || value < 0) {
        fprintf(stderr, "load: %s takes a number of 0 or more, not `%s`\n", name, text);
        exit(2);
    }
    return value;
}

static struct options parse(int argc, char **argv) {
    struct options o = {.size = 512, .requests = 1, .workers = 1, .timeout_ms = 5000, .cpu = -1};
    struct { const char *name; long *value; } numbers[] = {
        {"--size", &o.size}, {"--requests", &o.requests}, {"--workers", &o.workers},
        {"--timeout-ms", &o.timeout_ms}, {"--rate", &o.rate}, {"--cpu", &o.cpu}};
    for (int i = 2; i < argc; i++) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        long *to = NULL;
        if (strcmp(name, "--stdin") == 0) { o.commands = 1; continue; }
        for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++)
            if (strcmp(name, numbers[k].name) == 0) to = numbers[k].value;
        if (!value) usage("an option lacks its value");
        if (to) *to = number(name, value);
        else if (strcmp(name, "--address") == 0) o.address = value;
        else if (strcmp(name, "--port") == 0) o.ports = value;
        else usage("unknown option");
        i++;
    }
    return o;
}

static void pin(long cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (cpu < 0) return;
    CPU_SET((size_t)cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) < 0) die("sched_setaffinity");
}

int main(int argc, char **argv) {
    struct sockaddr_storage to;
    const char *verb = argc > 1 ? argv[1] : "";
    struct options o = parse(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* whoever started this is gone: so are we */
    pin(o.cpu);
    if (strcmp(verb, "server") == 0) serve(&o);
    if (strcmp(verb, "client") != 0 && strcmp(verb, "try") != 0) usage("server, client or try?");
    if (!o.address || !o.ports) usage("--address and --port are needed");
    socklen_t to_size = end_of(&to, o.address, atoi(o.ports));
    if (strcmp(verb, "try") == 0) {
        const char *reason = try_once(&o, &to, to_size);
        printf("%s\n", reason ? reason : "through");
        return reason != NULL;
    }
    if (o.commands) return obey(&o, &to, to_size);
    return run(&o, &to, to_size) != 0;
}
