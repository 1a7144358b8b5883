// An ordinary step, to see what one finds and leaves. `step ACTION [ARGUMENT…]`; exit status 0 when all went well.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static int fail(const char *what) {
    printf("%s: errno %d\n", what, errno);
    return 1;
}

static int write_file(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    if (!file)
        return fail(path);
    if (fputs(text, file) < 0 || fclose(file))
        return fail(path);
    return 0;
}

// Changes the owner in every way that there is, and prints who it is then.
static int give_away(const char *path) {
    struct stat found;
    int file = open(path, O_RDONLY);
    if (file < 0)
        return fail(path);
    if (chown(path, 1000, 1000) || lchown(path, -1, 7) || fchown(file, 65534, 0) || fchownat(AT_FDCWD, path, 1, -1, AT_SYMLINK_NOFOLLOW))
        return fail("chown");
    if (fstat(file, &found))
        return fail("fstat");
    printf("%d %d\n", found.st_uid, found.st_gid);
    return 0;
}

static int about(void) {
    struct utsname names;
    char folder[4096];
    gid_t groups[64];
    uname(&names);
    mode_t mask = umask(0);
    printf("uid %d %d gid %d %d\n", getuid(), geteuid(), getgid(), getegid());
    printf("pid %d of %d session %d\n", getpid(), getppid(), getsid(0));
    printf("host %s domain %s\n", names.nodename, names.domainname);
    printf("folder %s\n", getcwd(folder, sizeof folder));
    printf("mask %03o\n", mask);
    printf("foreign groups %s\n", getgroups(64, groups) > 1 ? "some" : "none");
    sigset_t blocked;
    sigprocmask(SIG_BLOCK, NULL, &blocked);
    for (int number = 1; number < 65; number++) {
        struct sigaction action;
        if (sigaction(number, NULL, &action) == 0 && action.sa_handler != SIG_DFL)
            printf("signal %d is not default\n", number);
        if (sigismember(&blocked, number) == 1)
            printf("signal %d is blocked\n", number);
    }
    struct rlimit limit;
    getrlimit(RLIMIT_CORE, &limit);
    printf("core %ld\n", (long)limit.rlim_cur);
    getrlimit(RLIMIT_STACK, &limit);
    printf("stack %ld\n", (long)limit.rlim_cur);
    char line[256];
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status))
        if (!strncmp(line, "Cap", 3) || !strncmp(line, "NoNewPrivs", 10) || !strncmp(line, "Seccomp:", 8))
            fputs(line, stdout);
    for (char **entry = environ; *entry; entry++)
        printf("env %s\n", *entry);
    return 0;
}

static int list(const char *path) {
    DIR *folder = opendir(path);
    if (!folder)
        return fail(path);
    for (struct dirent *entry; (entry = readdir(folder));)
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            printf("%s\n", entry->d_name);
    return 0;
}

static int cat(const char *path) {
    char buffer[4096];
    int file = open(path, O_RDONLY);
    if (file < 0)
        return fail(path);
    for (ssize_t length; (length = read(file, buffer, sizeof buffer)) > 0;)
        if (write(1, buffer, length) != length)
            return 1;
    return 0;
}

// Takes a job from the jobserver and gives it back; then the same again in a program that this one starts.
static int take_a_job(const char *again) {
    char token;
    if (read(98, &token, 1) != 1)
        return fail("read");
    printf("%c\n", token);
    fflush(stdout);
    if (write(99, &token, 1) != 1)
        return fail("write");
    return strcmp(again, "no more") ? execl("/bin/step", "step", "take-a-job", "no more", (char *)0) : 0;
}

// Removes a folder with one file in it, and makes it anew.
static int remake(const char *folder, const char *file) {
    if (unlink(file))
        return fail("unlink");
    if (rmdir(folder))
        return fail("rmdir");
    if (mkdir(folder, 0755))
        return fail("mkdir");
    return 0;
}

// Leaves two processes behind that have sessions of their own.
static int leave(void) {
    for (int i = 0; i < 2; i++) {
        if (fork() == 0) {
            setsid();
            if (fork() == 0) {
                if (pthread_setname_np(pthread_self(), i ? "second (left)" : "first-left"))
                    _exit(1);
                int file = open("/alive", O_WRONLY | O_CREAT | O_APPEND, 0644);
                for (;;) {
                    if (write(file, "x", 1) < 0)
                        _exit(1);
                    usleep(5000);
                }
            }
            _exit(0);
        }
        wait(NULL);
    }
    usleep(50000);
    return 3;
}

// Leaves a process behind that ends by itself soon.
static int leave_briefly(void) {
    if (fork() == 0) {
        usleep(20000);
        _exit(0);
    }
    return 0;
}

static int burn(void) {
    for (clock_t start = clock(); clock() - start < CLOCKS_PER_SEC / 10;)
        ;
    volatile char *memory = malloc(40 << 20);
    for (int i = 0; i < 40 << 20; i += 4096)
        memory[i] = 1;
    return memory[4096] - 1;
}

static int loopback(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1))
        return fail("listen");
    if (getsockname(listener, (struct sockaddr *)&address, &length))
        return fail("getsockname");
    if (connect(client, (struct sockaddr *)&address, sizeof address))
        return fail("connect");
    return 0;
}

static int terminal(void) {
    if (!isatty(0))
        return fail("isatty");
    if (tcgetsid(0) != getsid(0))
        return fail("not the controlling terminal");
    int own = open("/dev/tty", O_RDWR);
    if (own < 0)
        return fail("/dev/tty");
    struct winsize size;
    if (ioctl(own, TIOCGWINSZ, &size))
        return fail("window size");
    dprintf(own, "%s %d %d\n", ttyname(0), size.ws_row, size.ws_col);
    char line[64];
    ssize_t length = read(0, line, sizeof line);
    return length > 0 ? !!memcmp(line, "typed\n", length) : fail("read");
}

static int devices(void) {
    char byte;
    int null = open("/dev/null", O_WRONLY), random = open("/dev/urandom", O_RDONLY), zero = open("/dev/zero", O_RDONLY);
    if (write(null, "x", 1) != 1 || read(random, &byte, 1) != 1 || read(zero, &byte, 1) != 1 || byte != 0)
        return fail("null, urandom, zero");
    if (write(open("/dev/full", O_WRONLY), "x", 1) != -1 || errno != ENOSPC)
        return fail("full");
    int pty = posix_openpt(O_RDWR | O_NOCTTY);
    if (pty < 0 || grantpt(pty) || unlockpt(pty) || open(ptsname(pty), O_RDWR | O_NOCTTY) < 0)
        return fail("pty");
    int shared = open("/dev/shm/x", O_RDWR | O_CREAT, 0600);
    if (shared < 0)
        return fail("shm");
    if (write(open("/dev/stdout", O_WRONLY), "out\n", 4) != 4)
        return fail("/dev/stdout");
    return 0;
}

// Fills a file until something stops it; prints how much fitted.
static int fill(const char *path) {
    static char block[65536];
    long total = 0;
    signal(SIGXFSZ, SIG_IGN);
    int file = open(path, O_WRONLY | O_CREAT, 0644);
    for (ssize_t length; total < 1L << 28 && (length = write(file, block, sizeof block)) > 0;)
        total += length;
    printf("%ld errno %d\n", total, errno);
    return 0;
}

static void *idle(void *nothing) {
    pause();
    return nothing;
}

// Starts threads until something stops it; prints how many.
static int threads(void) {
    int count = 0;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 65536);
    for (pthread_t thread; count < 5000 && pthread_create(&thread, &attributes, idle, NULL) == 0;)
        count++;
    printf("%d\n", count);
    return 0;
}

int main(int count, char **arguments) {
    const char *action = count > 1 ? arguments[1] : "";
    const char *first = count > 2 ? arguments[2] : "", *second = count > 3 ? arguments[3] : "";
#define ACTION(name) if (strcmp(action, name) == 0)
    ACTION("exit") return atoi(first);
    ACTION("signal") { raise(atoi(first)); return 0; }
    ACTION("about") return about();
    ACTION("list") return list(first);
    ACTION("take-a-job") return take_a_job(first);
    ACTION("cat") return cat(first);
    ACTION("write") return write_file(first, second);
    ACTION("copy-input") return cat("/dev/stdin");
    ACTION("streams") return write(2, "err\n", 4) == 4 && write(1, "out\n", 4) == 4 ? 0 : fail("write");
    ACTION("remove") return unlink(first) ? fail(first) : 0;
    ACTION("remake") return remake(first, second);
    ACTION("chown") return chown(first, 0, 0) ? fail(first) : 0;
    ACTION("give-away") return give_away(first);
    ACTION("leave") return leave();
    ACTION("leave-briefly") return leave_briefly();
    ACTION("burn") return burn();
    ACTION("sleep") { usleep(atoi(first) * 1000); return 0; }
    ACTION("loopback") return loopback();
    ACTION("terminal") return terminal();
    ACTION("devices") return devices();
    ACTION("fill") return fill(first);
    ACTION("threads") return threads();
    ACTION("open-for-reading") return open(first, O_RDONLY) < 0 ? fail(first) : 0;
    printf("no action \"%s\"\n", action);
    return 100;
}
