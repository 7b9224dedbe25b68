/* What the shim needs of an operating system: its start, its system calls, and four functions a compiler may call.
 *
 * No libc: a static one costs 800 kB (glibc) or a package more to build with (musl), and the shim uses a dozen calls.
 * Structures and numbers come from the C library's headers; nothing of the library is linked. x86-64 and arm64. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#undef errno

#if defined(__x86_64__)

__asm__(".globl _start\n_start:\n xor %ebp, %ebp\n mov %rsp, %rdi\n and $-16, %rsp\n call begin\n hlt\n");

static long call(long number, long a, long b, long c, long d, long e) {
    register long four __asm__("r10") = d, five __asm__("r8") = e;
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(four), "r"(five)
                     : "rcx", "r11", "memory");
    return result;
}

#elif defined(__aarch64__)

__asm__(".globl _start\n_start:\n mov x29, #0\n mov x30, #0\n mov x0, sp\n and sp, x0, #-16\n bl begin\n brk #0\n");

static long call(long number, long a, long b, long c, long d, long e) {
    register long n __asm__("x8") = number, r __asm__("x0") = a, two __asm__("x1") = b;
    register long three __asm__("x2") = c, four __asm__("x3") = d, five __asm__("x4") = e;
    __asm__ volatile("svc #0" : "+r"(r) : "r"(n), "r"(two), "r"(three), "r"(four), "r"(five) : "memory");
    return r;
}

#else
#error "the shim is written for x86-64 and arm64; add the start and the system call of this machine to sys.h"
#endif

/* All answer like the kernel: a negative errno, or the result. */
#define CALL(name, a, b, c, d, e) call(SYS_##name, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e))

static long sys_read(int fd, void *to, size_t size) { return CALL(read, fd, to, size, 0, 0); }
static long sys_write(int fd, const void *from, size_t size) { return CALL(write, fd, from, size, 0, 0); }
static long sys_open(const char *path, int flags, int mode) { return CALL(openat, AT_FDCWD, path, flags, mode, 0); }
static long sys_close(int fd) { return CALL(close, fd, 0, 0, 0, 0); }
static long sys_mkdir(const char *path, int mode) { return CALL(mkdirat, AT_FDCWD, path, mode, 0, 0); }
static long sys_unlink(const char *path) { return CALL(unlinkat, AT_FDCWD, path, 0, 0, 0); }
static long sys_rename(const char *from, const char *to) {
    return CALL(renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}
static long sys_setns(int fd, int kind) { return CALL(setns, fd, kind, 0, 0, 0); }
static long sys_socket(int family, int type, int protocol) { return CALL(socket, family, type, protocol, 0, 0); }
static long sys_connect(int fd, const void *to, size_t size) { return CALL(connect, fd, to, size, 0, 0); }
static long sys_sendmsg(int fd, const struct msghdr *what) { return CALL(sendmsg, fd, what, MSG_NOSIGNAL, 0, 0); }
static long sys_getpid(void) { return CALL(getpid, 0, 0, 0, 0, 0); }
static long sys_poll(struct pollfd *fds, unsigned long count, long milliseconds) {
    struct timespec wait = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    return CALL(ppoll, fds, count, &wait, 0, 0);
}
static int64_t nanoseconds(void) {
    struct timespec now = {0, 0};
    CALL(clock_gettime, CLOCK_MONOTONIC, &now, 0, 0, 0);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}
static _Noreturn void sys_exit(int status) {
    for (;;)
        CALL(exit_group, status, 0, 0, 0, 0);
}

/* A compiler may call these for what is written as an assignment or a loop; -fno-tree-loop-distribute-patterns keeps
 * it from turning them into calls of themselves. */
void *memcpy(void *to, const void *from, size_t size) {
    char *t = to;
    for (const char *f = from; size > 0; size--)
        *t++ = *f++;
    return to;
}
void *memset(void *at, int value, size_t size) {
    for (char *t = at; size > 0; size--)
        *t++ = (char)value;
    return at;
}
void *memmove(void *to, const void *from, size_t size) {
    char *t = to;
    const char *f = from;
    if (t <= f)
        return memcpy(to, from, size);
    while (size-- > 0)
        t[size] = f[size];
    return to;
}
int memcmp(const void *a, const void *b, size_t size) {
    const unsigned char *x = a, *y = b;
    for (; size > 0; size--, x++, y++)
        if (*x != *y)
            return *x - *y;
    return 0;
}
