/* The CNI plugin that a container runtime starts: hands everything to the node's agent and copies its answer.
 *
 * One message: the CNI_* variables and stdin, with descriptors of the pod's network namespace and of a netlink socket
 * opened inside it, so that the agent itself needs no right to enter namespaces. cni/wire.py has the other side.
 * It decides only what must be decided without an agent: VERSION, input that is none, an agent that is away (an error
 * to try again, but a DEL is queued as a file and succeeds), and an end of waiting. */

#include "sys.h"
#include "json.h"

#define LARGEST_INPUT (4 << 20)
#define LARGEST_ANSWER (1 << 20)
#define SOCKET "/run/vallum/cni.sock"
#define QUEUE "/var/lib/vallum/cni/queue"
#define SECONDS 60
#define NEWEST "1.1.0"
#define SUPPORTED "\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\""
#define RETRY_MILLISECONDS 5

/* Codes of the CNI specification. */
enum { ENVIRONMENT = 4, IO = 5, DECODE = 6, CONFIG = 7, TRY_LATER = 11, UNAVAILABLE = 50 };

static char input[LARGEST_INPUT + 1];
static char message[LARGEST_INPUT + (64 << 10)];
static char answer[LARGEST_ANSWER];
static char output[8 << 10];
static size_t input_size, message_size, output_size;
static char version[32] = NEWEST, agent[sizeof(((struct sockaddr_un *)0)->sun_path)] = SOCKET, queue[4096] = QUEUE;
static int64_t deadline;
static char **environment;

static size_t length(const char *text) {
    size_t size = 0;
    while (text[size])
        size++;
    return size;
}

static int same(const char *a, const char *b) {
    return length(a) == length(b) && memcmp(a, b, length(a)) == 0;
}

/* Output */

static void put(const char *text) {
    for (; *text && output_size < sizeof output; text++)
        output[output_size++] = *text;
}

/* Within a JSON text. What is not plain ASCII becomes a question mark: it may be no UTF-8. */
static void put_escaped(const char *text) {
    char one[2] = {0, 0};
    for (; *text && output_size < sizeof output - 64; text++) {
        *one = *text >= 0x20 && *text < 0x7f ? *text : '?';
        if (*one == '"' || *one == '\\')
            put("\\");
        put(one);
    }
}

/* Writes the number so that texts of one length sort as numbers do. */
static const char *decimal(uint64_t number, char to[21]) {
    for (int at = 19; at >= 0; at--, number /= 10)
        to[at] = (char)('0' + number % 10);
    to[20] = 0;
    return to;
}

static const char *short_decimal(uint64_t number, char to[21]) {
    const char *at = decimal(number, to);
    while (*at == '0' && at[1])
        at++;
    return at;
}

static _Noreturn void finish(int status, const char *text, size_t size) {
    while (size > 0) {
        long done = sys_write(1, text, size);
        if (done <= 0)
            sys_exit(1);
        text += done;
        size -= (size_t)done;
    }
    sys_exit(status);
}

/* The error that the specification asks for, its text in several pieces that end with NULL. */
static _Noreturn void fail(unsigned code, ...) {
    char number[21];
    va_list pieces;
    put("{\"cniVersion\":\"");
    put(version);
    put("\",\"code\":");
    put(short_decimal(code, number));
    put(",\"msg\":\"");
    va_start(pieces, code);
    for (const char *piece; (piece = va_arg(pieces, const char *));)
        put_escaped(piece);
    va_end(pieces);
    put("\"}\n");
    finish(1, output, output_size);
}

static const char *reason(long error) {
    static char text[32] = "error ";
    switch (-error) {
    case ENOENT: return "no such file or directory";
    case ECONNREFUSED: return "nobody listens there";
    case EACCES: case EPERM: return "permission denied";
    case ENOSPC: return "no space left on the device";
    case EROFS: return "the file system is read-only";
    case ENOTDIR: return "not a directory";
    case ENAMETOOLONG: return "the path is too long";
    case ENOTSOCK: case EPROTOTYPE: return "it is not such a socket";
    }
    char number[21];
    const char *at = short_decimal((uint64_t)-error, number);
    memcpy(text + 6, at, length(at) + 1);
    return text;
}

/* Input */

static const char *variable(const char *name) {
    size_t size = length(name);
    for (char **at = environment; *at; at++)
        if (length(*at) > size && memcmp(*at, name, size) == 0 && (*at)[size] == '=')
            return *at + size + 1;
    return "";
}

static long left(void) {
    int64_t rest = (deadline - nanoseconds()) / 1000000;
    return rest > 0 ? rest : 0;
}

/* Waits for the descriptor; 0 when the time is over. */
static int ready(int fd, short events) {
    struct pollfd one = {fd, events, 0};
    for (;;) {
        long rest = left();
        long found = sys_poll(&one, 1, rest);
        if (found > 0)
            return 1;
        if (rest == 0 || (found < 0 && found != -EINTR))
            return 0;
    }
}

static void read_input(void) {
    for (;;) {
        if (!ready(0, POLLIN))
            fail(DECODE, "the configuration on standard input does not end", NULL);
        long got = sys_read(0, input + input_size, LARGEST_INPUT + 1 - input_size);
        if (got == -EINTR || got == -EAGAIN)
            continue;
        if (got <= 0)
            break;
        input_size += (size_t)got;
        if (input_size > LARGEST_INPUT)
            fail(DECODE, "the configuration on standard input is longer than 4 MiB", NULL);
    }
    input[input_size] = 0;
    if (input_size == 0)
        fail(DECODE, "there is no configuration on standard input; a CNI runtime gives it there", NULL);
    if (!is_object(input))
        fail(DECODE, "the configuration on standard input is no JSON object", NULL);
}

/* Copies a string of the configuration without escapes, if it is there. */
static void take(const char *key, char *to, size_t size) {
    const char *at = value_of(input, key, length(key));
    if (!at)
        return;
    const char *end = *at == '"' ? after_string(at) - 1 : at;
    size_t found = end > at ? (size_t)(end - at - 1) : 0;
    for (const char *one = at + 1; one < end; one++)
        if (*one == '\\')
            found = 0;
    if (found == 0 || found >= size)
        fail(CONFIG, key, " in the configuration must be a plain text, not empty and not too long", NULL);
    memcpy(to, at + 1, found);
    to[found] = 0;
}

static void take_version(void) {
    char stated[sizeof version] = NEWEST;
    take("cniVersion", stated, sizeof stated);
    for (const char *at = stated; *at; at++)
        if (!((*at >= '0' && *at <= '9') || (*at >= 'a' && *at <= 'z') || *at == '.' || *at == '-' || *at == '+'))
            fail(CONFIG, "cniVersion in the configuration is no version", NULL);
    memcpy(version, stated, sizeof version);
}

static void take_deadline(int64_t start) {
    const char *at = value_of(input, "timeoutSeconds", 14);
    int64_t seconds = 0;
    if (!at)
        return;
    for (; *at >= '0' && *at <= '9' && seconds < 10000; at++)
        seconds = seconds * 10 + (*at - '0');
    if (seconds < 1 || seconds > 3600 || (*at >= '-' && *at != '}' && *at != ']'))
        fail(CONFIG, "timeoutSeconds in the configuration must be a whole number from 1 to 3600", NULL);
    deadline = start + seconds * 1000000000;
}

static void need(const char *command, const char *name) {
    if (!*variable(name))
        fail(ENVIRONMENT, "the environment lacks ", name, ", which ", command, " needs", NULL);
}

/* Without an agent */

static _Noreturn void away(const char *command, const char *what, long error) {
    const char *cure = "; see that it runs on this node and look into its log, then try again";
    unsigned code = same(command, "STATUS") ? UNAVAILABLE : TRY_LATER;
    if (error)
        fail(code, "the Vallum agent ", what, " at ", agent, " (", reason(error), ")", cure, NULL);
    fail(code, "the Vallum agent ", what, " at ", agent, cure, NULL);
}

static long write_file(const char *path) {
    long fd = sys_open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return fd;
    for (size_t done = 0; done < message_size;) {
        long wrote = sys_write((int)fd, message + done, message_size - done);
        if (wrote <= 0)
            return wrote ? wrote : -ENOSPC;
        done += (size_t)wrote;
    }
    return sys_close((int)fd);
}

static void make_folders(const char *path) {
    char part[sizeof queue];
    for (size_t at = 0;; at++) {
        part[at] = path[at];
        if (at > 0 && (path[at] == '/' || !path[at])) {
            part[at] = 0;
            sys_mkdir(part, 0700);
            part[at] = path[at];
        }
        if (!path[at])
            return;
    }
}

/* A DEL must succeed: it is kept as a file, whole or not at all, and the agent does it when it comes back. */
static _Noreturn void enqueue(void) {
    char aside[sizeof queue + 64], name[sizeof queue + 64], stamp[21], pid[21];
    const char *pieces[] = {queue, "/", ".", decimal((uint64_t)nanoseconds(), stamp), "-",
                            short_decimal((uint64_t)sys_getpid(), pid)};
    size_t full = 0, visible = 0;
    for (size_t at = 0; at < sizeof pieces / sizeof *pieces; at++) {
        size_t size = length(pieces[at]);
        memcpy(aside + full, pieces[at], size);
        full += size;
        if (at != 2) {
            memcpy(name + visible, pieces[at], size);
            visible += size;
        }
    }
    aside[full] = name[visible] = 0;
    make_folders(queue);
    long failed = write_file(aside);
    if (!failed)
        failed = sys_rename(aside, name);
    if (failed) {
        sys_unlink(aside);
        fail(TRY_LATER, "the Vallum agent is away, and DEL cannot be queued in ", queue, " (", reason(failed), ")", NULL);
    }
    sys_exit(0);
}

/* With the agent */

static void add(const char *text, size_t size) {
    if (message_size + size > sizeof message)
        fail(ENVIRONMENT, "the CNI variables of the environment are longer than 60 kB", NULL);
    memcpy(message + message_size, text, size);
    message_size += size;
}

static void add_number(uint32_t number) {
    char bytes[4] = {(char)(number >> 24), (char)(number >> 16), (char)(number >> 8), (char)number};
    add(bytes, 4);
}

/* Its length, NAME=VALUE and a NUL for each variable, a NUL, stdin. `refused`: the errno of opening the namespace. */
static void compose(long refused) {
    char number[21];
    message_size = 0;
    add_number(0);
    for (char **at = environment; *at; at++)
        if (length(*at) > 4 && memcmp(*at, "CNI_", 4) == 0)
            add(*at, length(*at) + 1);
    if (refused) {
        const char *code = short_decimal((uint64_t)-refused, number);
        add("VALLUM_ERRNO=", 13);
        add(code, length(code) + 1);
    }
    add("", 1);
    add(input, input_size);
    size_t size = message_size;
    message_size = 0;
    add_number((uint32_t)(size - 4));
    message_size = size;
}

static int reach(const char *command) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    memcpy(to.sun_path, agent, sizeof agent);
    long fd = sys_socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    long failed = fd < 0 ? fd : 0;
    while (!failed) {
        failed = sys_connect((int)fd, &to, sizeof to);
        if (!failed)
            return (int)fd;
        if ((failed == -EAGAIN || failed == -EINTR) && left() > 0) { /* its queue of callers is full */
            sys_poll(NULL, 0, RETRY_MILLISECONDS);
            failed = 0;
        }
    }
    if (same(command, "DEL"))
        enqueue();
    away(command, "cannot be reached", failed);
}

/* Steps into the pod's namespace for good: what is left to do does not depend on where we are. */
static long open_namespace(int fds[2]) {
    const char *path = variable("CNI_NETNS");
    if (!*path)
        return 0;
    long space = sys_open(path, O_RDONLY | O_CLOEXEC, 0);
    if (space < 0)
        return space;
    long failed = sys_setns((int)space, CLONE_NEWNET);
    long netlink = failed ? failed : sys_socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0);
    if (netlink < 0)
        return netlink;
    fds[0] = (int)space;
    fds[1] = (int)netlink;
    return 0;
}

/* The descriptors ride on the first byte. Gives 0 when the agent went away. */
static int send_all(int fd, const int fds[2]) {
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(2 * sizeof(int))];
    } rights = {.head = {CMSG_LEN(2 * sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
    memcpy(CMSG_DATA(&rights.head), fds, 2 * sizeof(int));
    int handed = fds[0] < 0;
    for (size_t done = 0; done < message_size;) {
        struct iovec part = {message + done, message_size - done};
        struct msghdr what = {.msg_iov = &part, .msg_iovlen = 1};
        if (!handed) {
            what.msg_control = &rights;
            what.msg_controllen = sizeof rights.room;
        }
        long sent = sys_sendmsg(fd, &what);
        if (sent > 0) {
            handed = 1;
            done += (size_t)sent;
        } else if ((sent != -EAGAIN && sent != -EINTR) || !ready(fd, POLLOUT)) {
            return 0;
        }
    }
    return 1;
}

/* Its length, the exit status in one byte, the text. Nothing is printed unless all of it came. */
static int copy_answer(int fd) {
    size_t got = 0, size = 5;
    while (got < size) {
        if (!ready(fd, POLLIN))
            return 0;
        long more = sys_read(fd, answer + got, size - got);
        if (more == -EAGAIN || more == -EINTR)
            continue;
        if (more <= 0)
            return 0;
        got += (size_t)more;
        if (got == 5 && size == 5) {
            const unsigned char *head = (unsigned char *)answer;
            size += (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
            if (size > sizeof answer)
                return 0;
        }
    }
    finish(answer[4], answer + 5, size - 5);
}

static void check_environment(const char *command) {
    int adds = same(command, "ADD") || same(command, "CHECK");
    if (!adds && !same(command, "DEL") && !same(command, "GC") && !same(command, "STATUS") && !same(command, "VERSION"))
        fail(ENVIRONMENT, "CNI_COMMAND must be ADD, DEL, CHECK, GC, STATUS or VERSION, not \"", command, "\"", NULL);
    if (adds || same(command, "DEL")) {
        need(command, "CNI_CONTAINERID");
        need(command, "CNI_IFNAME");
    }
    if (adds)
        need(command, "CNI_NETNS");
}

__attribute__((used)) _Noreturn void begin(long *stack) {
    int fds[2] = {-1, -1};
    environment = (char **)(stack + stack[0] + 2);
    const char *command = variable("CNI_COMMAND");
    int64_t start = nanoseconds();
    deadline = start + (int64_t)SECONDS * 1000000000;
    read_input();
    take_version();
    check_environment(command);
    if (same(command, "VERSION")) {
        put("{\"cniVersion\":\"");
        put(version);
        put("\",\"supportedVersions\":[" SUPPORTED "]}\n");
        finish(0, output, output_size);
    }
    take("socket", agent, sizeof agent);
    take("queueDir", queue, sizeof queue);
    take_deadline(start);
    compose(0);
    int fd = reach(command);
    long refused = open_namespace(fds);
    if (refused)
        compose(refused);
    if (send_all(fd, fds))
        copy_answer(fd);
    if (same(command, "DEL")) {
        compose(0);
        enqueue();
    }
    away(command, left() > 0 ? "ended while it was at work" : "does not answer in time", 0);
}
