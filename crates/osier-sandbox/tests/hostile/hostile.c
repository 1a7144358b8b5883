// A step that tries to get out. `hostile ATTACK [ARGUMENT]`: exit status 0 when the attack succeeded, 1 when it was refused, with the
// error number on standard output; 2 when the attack could not even be tried.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int refused(void) {
    printf("%d\n", errno);
    return 1;
}

static int outcome(long result) { return result < 0 ? refused() : 0; }

static int cannot_try(const char *what) {
    perror(what);
    return 2;
}

static int open_to(const char *path, int flags) { return outcome(open(path, flags)); }

static int read_from(const char *path) {
    char byte;
    int file = open(path, O_RDONLY);
    return file < 0 ? refused() : outcome(read(file, &byte, 1));
}

static int write_to(const char *path, const char *text) {
    int file = open(path, O_WRONLY);
    if (file < 0)
        return refused();
    return outcome(write(file, text, strlen(text)));
}

// A TCP connection to a listener of the host.
static int connect_loopback(const char *port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(port)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0)
        return cannot_try("socket");
    return outcome(connect(fd, (struct sockaddr *)&address, sizeof address));
}

// A route to the world. A datagram socket sends nothing when it is connected.
static int connect_outside(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(9)};
    inet_pton(AF_INET, "192.0.2.1", &address.sin_addr);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (fd < 0)
        return cannot_try("socket");
    return outcome(connect(fd, (struct sockaddr *)&address, sizeof address));
}

static int connect_abstract(const char *name) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path + 1, name, strlen(name));
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0)
        return cannot_try("socket");
    return outcome(connect(fd, (struct sockaddr *)&address, offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name)));
}

static int type_into_terminal(void) {
    int terminal = posix_openpt(O_RDWR | O_NOCTTY);
    if (terminal < 0)
        return cannot_try("posix_openpt");
    if (grantpt(terminal) || unlockpt(terminal))
        return cannot_try("unlockpt");
    int other = open(ptsname(terminal), O_RDWR);
    if (other < 0)
        return cannot_try("open of the terminal");
    // The kernel looks at the lower half of the request only.
    if (ioctl(other, TIOCSTI | (1UL << 32), "x") == 0)
        return 0;
    return outcome(ioctl(other, TIOCSTI, "x"));
}

static int descriptors(void) {
    DIR *folder = opendir("/proc/self/fd");
    if (!folder)
        return cannot_try("/proc/self/fd");
    int extra = 0;
    for (struct dirent *entry; (entry = readdir(folder));) {
        int fd = atoi(entry->d_name);
        if (fd > 2 && fd != dirfd(folder)) {
            char link[64], target[256] = "";
            snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
            if (readlink(link, target, sizeof target - 1) < 0)
                strcpy(target, "?");
            fprintf(stderr, "%d is %s\n", fd, target);
            extra++;
        }
    }
    errno = 0;
    return extra ? 0 : refused();
}

// Opens, reads or follows any descriptor of the first process.
static int descriptors_of_first(void) {
    char path[300], target[256];
    DIR *folder = opendir("/proc/1/fd");
    if (!folder)
        return refused();
    errno = EACCES;
    for (struct dirent *entry; (entry = readdir(folder));) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "/proc/1/fd/%s", entry->d_name);
        if (open(path, O_PATH) >= 0 || open(path, O_RDONLY) >= 0 || readlink(path, target, sizeof target) >= 0)
            return 0;
    }
    return refused();
}

// Counts how many processes can live at one time, up to `limit` and no more: the attack is bounded even where nothing stops it.
static int many_processes(const char *limit) {
    int most = atoi(limit), count = 0, error = 0;
    pid_t *children = calloc(most, sizeof *children);
    while (count < most && (children[count] = fork()) >= 0)
        if (children[count++] == 0) {
            pause();
            _exit(0);
        }
    error = errno;
    fprintf(stderr, "%d children\n", count);
    for (int i = 0; i < count; i++)
        kill(children[i], SIGKILL);
    for (int i = 0; i < count; i++)
        waitpid(children[i], NULL, 0);
    errno = error;
    return count == most ? 0 : refused();
}

// Forks and forks, and outlives the command; the number of tries is bounded all the same.
static int bomb(void) {
    int *tries = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (fork() != 0) {
        usleep(200000);
        return 0;
    }
    while (__atomic_fetch_add(tries, 1, __ATOMIC_SEQ_CST) < 3000)
        if (fork() < 0)
            usleep(1000);
    for (;;)
        pause();
}

// Processes that make others, with one that stays; bounded in time, so that it ends where nothing stops it.
static int endless_bomb(void) {
    time_t end = time(NULL) + 20;
    while (time(NULL) < end)
        if (fork() < 0)
            usleep(100);
    return 0;
}

// More processes than are allowed, that do nothing, and no end.
static int crowd(const char *count) {
    for (int i = atoi(count); i > 0; i--)
        if (fork() == 0) {
            sleep(20);
            _exit(0);
        }
    sleep(20);
    return 0;
}

// Uses a processor for some seconds, in a child.
static int spin(const char *seconds) {
    time_t end = time(NULL) + atoi(seconds);
    if (fork() == 0) {
        while (time(NULL) < end)
            ;
        _exit(0);
    }
    return wait(NULL) < 0;
}

static int eat(const char *mib) {
    for (int i = atoi(mib); i > 0; i--) {
        char *block = malloc(1 << 20);
        if (!block)
            return refused();
        memset(block, i, 1 << 20);
    }
    return 0;
}

static int other_interface(void) {
#ifdef __x86_64__
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(20 /* getpid in the 32-bit interface */) : "memory");
    return result > 0 ? 0 : 1;
#else
    raise(SIGSYS);
    return 0;
#endif
}

static int grow_capabilities(void) {
    struct { uint32_t version; int pid; } header = {0x20080522, 0};
    struct { uint32_t effective, permitted, inheritable; } sets[2];
    if (syscall(SYS_capget, &header, sets))
        return cannot_try("capget");
    sets[0].effective |= 1u << 21; // CAP_SYS_ADMIN
    sets[0].permitted |= 1u << 21;
    return outcome(syscall(SYS_capset, &header, sets));
}

// Executes a set-user-id program of another owner; succeeds when that changes the effective user.
static int become_owner(const char *program) {
    struct stat stat_;
    if (stat(program, &stat_) || !(stat_.st_mode & S_ISUID))
        return cannot_try("no set-user-id program");
    execl(program, program, "effective-user", NULL);
    return cannot_try("execl");
}

static int all_pages_of_first(void) {
    char buffer[16];
    struct iovec local = {buffer, sizeof buffer}, remote = {(void *)0x400000, sizeof buffer};
    return outcome(process_vm_readv(1, &local, 1, &remote, 1, 0));
}

static int namespace_of_first(void) {
    int fd = open("/proc/1/ns/mnt", O_RDONLY);
    return fd < 0 ? refused() : outcome(setns(fd, 0));
}

static int join_namespace(void) {
    int fd = open("/proc/self/ns/uts", O_RDONLY);
    return fd < 0 ? cannot_try("/proc/self/ns/uts") : outcome(setns(fd, 0));
}

static int clone_with(unsigned long flags) {
    long pid = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        _exit(0);
    return outcome(pid);
}

static int clone3_with(uint64_t flags) {
    uint64_t arguments[11] = {flags, 0, 0, 0, SIGCHLD};
    long pid = syscall(SYS_clone3, arguments, sizeof arguments);
    if (pid == 0)
        _exit(0);
    return outcome(pid);
}

// The first process must survive whatever is sent to it; the caller sees whether this exit status arrives.
static int kill_first(void) {
    for (int number = 1; number < 32; number++)
        kill(1, number);
    usleep(20000);
    return 1;
}

static int raise_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NPROC, &limit))
        return cannot_try("getrlimit");
    limit.rlim_cur = limit.rlim_max = RLIM_INFINITY;
    return outcome(setrlimit(RLIMIT_NPROC, &limit));
}

int main(int count, char **arguments) {
    const char *attack = count > 1 ? arguments[1] : "";
    const char *argument = count > 2 ? arguments[2] : "";
#define ATTACK(name) if (strcmp(attack, name) == 0)
    ATTACK("open") return open_to(argument, O_RDONLY);
    ATTACK("read") return read_from(argument);
    ATTACK("open-path") return open_to(argument, O_PATH);
    ATTACK("write-1") return write_to(argument, "1");
    ATTACK("connect-loopback") return connect_loopback(argument);
    ATTACK("connect-outside") return connect_outside();
    ATTACK("connect-abstract") return connect_abstract(argument);
    ATTACK("mount-tmpfs") return outcome(mount("none", "/tmp", "tmpfs", 0, NULL));
    ATTACK("mount-bind") return outcome(mount("/", "/tmp", NULL, MS_BIND, NULL));
    ATTACK("remount-proc") return outcome(mount(NULL, "/proc", NULL, MS_REMOUNT | MS_BIND, NULL));
    ATTACK("umount-proc") return outcome(umount2("/proc", MNT_DETACH));
    ATTACK("fsopen") return outcome(syscall(SYS_fsopen, "tmpfs", 0));
    ATTACK("open-tree") return outcome(syscall(SYS_open_tree, AT_FDCWD, "/", 1));
    ATTACK("pivot") return outcome(syscall(SYS_pivot_root, ".", "."));
    ATTACK("chroot") return outcome(chroot("/tmp"));
    ATTACK("unshare-user") return outcome(unshare(CLONE_NEWUSER));
    ATTACK("unshare-mount") return outcome(unshare(CLONE_NEWNS));
    ATTACK("unshare-time") return outcome(unshare(0x80));
    ATTACK("clone-user") return clone_with(CLONE_NEWUSER);
    ATTACK("clone-net") return clone_with(CLONE_NEWNET);
    ATTACK("clone3-user") return clone3_with(CLONE_NEWUSER);
    ATTACK("setns") return join_namespace();
    ATTACK("setns-first") return namespace_of_first();
    ATTACK("ptrace-first") return outcome(ptrace(PTRACE_ATTACH, 1, NULL, NULL));
    ATTACK("ptrace-seize-first") return outcome(ptrace(PTRACE_SEIZE, 1, NULL, NULL));
    ATTACK("read-first") return all_pages_of_first();
    ATTACK("kill-first") return kill_first();
    ATTACK("tiocsti") return type_into_terminal();
    ATTACK("keyctl") return outcome(syscall(SYS_keyctl, 0 /* KEYCTL_GET_KEYRING_ID */, -3, 1));
    ATTACK("add-key") return outcome(syscall(SYS_add_key, "user", "osier", "x", 1, -3));
    ATTACK("request-key") return outcome(syscall(SYS_request_key, "user", "osier", NULL, -3));
    ATTACK("descriptors") return descriptors();
    ATTACK("descriptors-of-first") return descriptors_of_first();
    ATTACK("many-processes") return many_processes(argument);
    ATTACK("bomb") return bomb();
    ATTACK("endless-bomb") return endless_bomb();
    ATTACK("crowd") return crowd(argument);
    ATTACK("spin") return spin(argument);
    ATTACK("eat") return eat(argument);
    ATTACK("raise-limit") return raise_limit();
    ATTACK("chown") return outcome(chown(argument, 1000, 1000));
    ATTACK("chown-root") return outcome(chown(argument, 0, 0));
    ATTACK("mknod-memory") return outcome(mknod("/tmp/mem", S_IFCHR | 0600, makedev(1, 1)));
    ATTACK("mknod-whiteout") return outcome(mknod("/whiteout", S_IFCHR | 0600, makedev(0, 0)));
    ATTACK("chmod") return outcome(chmod(argument, 0600));
    ATTACK("touch") return outcome(utimensat(AT_FDCWD, argument, NULL, 0));
    ATTACK("become-owner") return become_owner(argument);
    ATTACK("effective-user") return geteuid() != 0 || getuid() != 0 ? 0 : (errno = 0, refused());
    ATTACK("grow-capabilities") return grow_capabilities();
    ATTACK("ambient") return outcome(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 21, 0, 0));
    ATTACK("sethostname") return outcome(sethostname("x", 1));
    ATTACK("bpf") return outcome(syscall(SYS_bpf, 0, NULL, 0));
    ATTACK("perf") return outcome(syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0));
    ATTACK("userfaultfd") return outcome(syscall(SYS_userfaultfd, 1));
    ATTACK("io-uring") return outcome(syscall(SYS_io_uring_setup, 1, NULL));
    ATTACK("by-handle") return outcome(syscall(SYS_open_by_handle_at, AT_FDCWD, NULL, 0));
    ATTACK("reboot") return outcome(syscall(SYS_reboot, 0, 0, 0, NULL)); // wrong magic numbers: EINVAL if it were let through
    ATTACK("module") return outcome(syscall(SYS_init_module, NULL, 0, ""));
    ATTACK("kexec") return outcome(syscall(SYS_kexec_load, 0, 0, NULL, 0));
    ATTACK("swapon") return outcome(syscall(SYS_swapon, "/nonexistent", 0));
    ATTACK("acct") return outcome(acct("/nonexistent"));
    ATTACK("syslog") return outcome(syscall(SYS_syslog, 10 /* size of the buffer */, NULL, 0));
    ATTACK("settime") return outcome(syscall(SYS_clock_settime, 0, NULL));
    ATTACK("packet-socket") return outcome(socket(AF_PACKET, SOCK_RAW, 0));
    ATTACK("raw-socket") return outcome(socket(AF_INET, SOCK_RAW, 1));
    ATTACK("alg-socket") return outcome(socket(38 /* AF_ALG */, SOCK_SEQPACKET, 0));
    ATTACK("vsock-socket") return outcome(socket(40 /* AF_VSOCK */, SOCK_STREAM, 0));
    ATTACK("audit-socket") return outcome(socket(AF_NETLINK, SOCK_RAW, NETLINK_AUDIT));
    ATTACK("inet-socket") return outcome(socket(AF_INET, SOCK_STREAM, 0));
    ATTACK("personality") return outcome(personality(READ_IMPLIES_EXEC));
    ATTACK("other-interface") return other_interface();
    ATTACK("x32") return outcome(syscall(0x40000000 | 39 /* getpid */));
    fprintf(stderr, "no attack \"%s\"\n", attack);
    return 2;
}
