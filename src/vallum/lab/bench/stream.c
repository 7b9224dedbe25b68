/*
 * The stream tool of `vallum bench throughput`: one TCP connection that sends as fast as it goes, and who counts it.
 *
 * The receiver counts, because what was sent may still be on its way. After a warm-up, in which the congestion window
 * opens, it takes the bytes of a window of time, and what all CPUs of the machine did meanwhile (/proc/stat is the
 * whole machine's in every namespace). The sender tells how many segments it had to send again (TCP_INFO). A stream
 * that stalls or breaks ends with a word instead of figures; it never vanishes. Congestion control is cubic whatever
 * the machine's default: one that paces (bbr) measures itself.
 * Ignored: several streams, latency, UDP.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "common.h"

enum { CHUNK = 1 << 17, PATIENCE_S = 3 };

static const char CUBIC[] = "cubic";
static const char USAGE[] =
    "usage: stream server --port P [--cpu N]                 answers a line a stream: BYTES NS BUSY_MS or a reason\n"
    "       stream client --address A --port P [--cpu N]     reads `run WARM_MS LENGTH_MS`, `try TIMEOUT_MS`\n";

struct span { int64_t warm, length; }; /* nanoseconds, the first bytes of each stream */

static char chunk[CHUNK];

static _Noreturn void die(const char *what) {
    fprintf(stderr, "stream: %s: %s\n", what, strerror(errno));
    exit(2);
}

static _Noreturn void usage(void) {
    fputs(USAGE, stderr);
    exit(2);
}

/* What all CPUs did so far, in ms: everything but idle, waiting for disks, and what a hypervisor took. */
static int64_t busy_ms(void) {
    long long user, nice, system, idle, wait, irq, softirq;
    FILE *file = fopen("/proc/stat", "re");
    if (!file || fscanf(file, "cpu %lld %lld %lld %lld %lld %lld %lld", &user, &nice, &system, &idle, &wait, &irq,
                        &softirq) != 7) die("/proc/stat");
    fclose(file);
    return (user + nice + system + irq + softirq) * 1000 / sysconf(_SC_CLK_TCK);
}

/* ---- server ---- */

static const char *count(int fd, int64_t *bytes, int64_t *ns, int64_t *busy) {
    struct timeval patience = {.tv_sec = PATIENCE_S};
    struct span span;
    int64_t start, at, first_busy;
    ssize_t n;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (recv(fd, &span, sizeof span, MSG_WAITALL) != sizeof span) return "nothing-came";
    for (at = now(), start = at + span.warm; at < start; at = now())
        if ((n = recv(fd, chunk, CHUNK, 0)) <= 0) return n ? "stalled" : "ended-early";
    start = at;
    first_busy = busy_ms();
    for (*bytes = 0; at < start + span.length; at = now(), *bytes += n)
        if ((n = recv(fd, chunk, CHUNK, 0)) <= 0) return n ? "stalled" : "ended-early";
    *ns = at - start;
    *busy = busy_ms() - first_busy;
    return NULL;
}

static _Noreturn void serve(int port) {
    struct sockaddr_storage to;
    int one = 1, none = 0;
    socklen_t size = end_point(&to, "::", port);
    int fd = socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) die("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &none, sizeof none);
    if (bind(fd, (struct sockaddr *)&to, size) < 0) die("bind");
    if (listen(fd, 8) < 0) die("listen");
    puts("ready");
    for (;;) {
        int64_t bytes, ns, busy;
        fflush(stdout);
        int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
        if (peer < 0) continue;
        const char *reason = count(peer, &bytes, &ns, &busy);
        close(peer); /* the sender goes on until it is told to stop: by this reset */
        if (reason) puts(reason);
        else printf("%lld %lld %lld\n", (long long)bytes, (long long)ns, (long long)busy);
    }
}

/* ---- client ---- */

static int reach(const struct sockaddr_storage *to, socklen_t size, long timeout_ms) {
    struct timeval patience = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};
    int fd = socket(to->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) die("socket");
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, CUBIC, sizeof CUBIC - 1) < 0) die("congestion control cubic");
    if (connect(fd, (const struct sockaddr *)to, size) == 0) return fd;
    int why = errno;
    close(fd);
    errno = why;
    return -1;
}

static void run(const struct sockaddr_storage *to, socklen_t size, struct span span) {
    struct tcp_info info;
    socklen_t info_size = sizeof info;
    uint32_t again = 0, mss = 0;
    int64_t looked = 0, at;
    int fd = reach(to, size, PATIENCE_S * 1000L);
    if (fd < 0) {
        printf("%s\n", strerror(errno));
        return;
    }
    ssize_t n = send(fd, &span, sizeof span, MSG_NOSIGNAL);
    while (n > 0) { /* a socket that was reset tells nothing any more: it is asked now and then while it lives */
        if ((at = now()) > looked + 10000000 && getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &info_size) == 0) {
            looked = at;
            again = info.tcpi_total_retrans;
            mss = info.tcpi_snd_mss;
        }
        n = send(fd, chunk, CHUNK, MSG_NOSIGNAL);
    }
    if (errno == ECONNRESET || errno == EPIPE) printf("%u %u\n", again, mss);
    else printf("%s\n", errno == EAGAIN ? "stalled" : strerror(errno));
    close(fd);
}

static int obey(const struct sockaddr_storage *to, socklen_t size) {
    char line[128];
    while (fgets(line, sizeof line, stdin)) {
        long warm, length;
        if (sscanf(line, "run %ld %ld", &warm, &length) == 2 && warm >= 0 && length > 0) {
            run(to, size, (struct span){warm * 1000000, length * 1000000});
        } else if (sscanf(line, "try %ld", &length) == 1 && length > 0) {
            int fd = reach(to, size, length);
            puts(fd < 0 ? strerror(errno) : "through");
            if (fd >= 0) close(fd);
        } else {
            puts("unknown command");
        }
        fflush(stdout);
    }
    return 0;
}

int main(int argc, char **argv) {
    struct sockaddr_storage to;
    const char *verb = argc > 1 ? argv[1] : "", *address = NULL;
    long port = 0, cpu = -1;
    cpu_set_t set;
    for (int i = 2; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--address") == 0) address = argv[i + 1];
        else if (strcmp(argv[i], "--port") == 0) port = atol(argv[i + 1]);
        else if (strcmp(argv[i], "--cpu") == 0) cpu = atol(argv[i + 1]);
        else usage();
    }
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* whoever started this is gone: so are we */
    CPU_ZERO(&set);
    if (cpu >= 0) CPU_SET((size_t)cpu, &set);
    if (cpu >= 0 && sched_setaffinity(0, sizeof set, &set) < 0) die("sched_setaffinity");
    if (strcmp(verb, "server") == 0 && port) serve((int)port);
    socklen_t size = address ? end_point(&to, address, (int)port) : 0;
    if (strcmp(verb, "client") != 0 || !size || !port) usage();
    return obey(&to, size);
}
