/* A disk that can lose its power: an LD_PRELOAD library that watches what a program writes below the directory
 * POWERCUT_DIR and notes in POWERCUT_LOG (outside of it), before each write, what stood there. A file that was
 * synced is durable up to the moment at which the sync began. When the program has been killed, powercut.py takes
 * back what was not durable: all of it, or what a disk would lose that had written some sectors and not others.
 *
 * Names are durable when their directory was synced; a file's own sync also keeps the name it was made under, as
 * ext4, xfs and btrfs do. Faults by environment: POWERCUT_FSYNC_FAILS_AFTER=N (then EIO), POWERCUT_SPACE_BYTES=N
 * (files may grow by that much together, then ENOSPC), POWERCUT_FSYNC_MS=N (each sync takes that much longer).
 *
 * Deliberately absent: mmap (SQLite's -shm is no durable state and is deleted at a power cut), fallocate,
 * copy_file_range, io_uring, several processes writing one directory. System calls are made directly, so that
 * nothing here can come back to its own names. Needs a 64-bit system, where open and open64 are one.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define DESCRIPTORS 65536
#define OTHER_NAME(ret, name, twin, ...) ret twin(__VA_ARGS__) __attribute__((alias(name)))

/* One entry of the log: this, then `name_bytes` of name, then `kept_bytes` of what stood there. */
struct entry {
    uint64_t kind;       /* N named, W written, T truncated, S synced, D directory synced, R renamed, U unlinked, F a fault was shown */
    uint64_t file;       /* inode */
    uint64_t offset;     /* W: where; T: the new length; S, D: the log's length when the sync began; N: 1 if made;
                            R, U: number of the hard link that keeps what the name had stood for, or 0 */
    uint64_t length;     /* W: how much */
    uint64_t size;       /* W, T: the file's length before */
    uint64_t name_bytes;
    uint64_t kept_bytes;
};

static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER; /* entries stand in the order of the writes */
static ino_t watched[DESCRIPTORS];                        /* inode of a file below the directory, or 0 */
static char directory[PATH_MAX], log_name[PATH_MAX];
static size_t directory_bytes;
static int log_file = -1;
static uint64_t log_bytes, links;
static long syncs, fsync_fails_after = -1, space_bytes = -1, fsync_ms;

static void give_up(const char *why) {
    dprintf(2, "powercut: %s: %s\n", why, strerror(errno));
    abort();
}

static long number(const char *name, long otherwise) {
    const char *text = getenv(name);
    return text && *text ? atol(text) : otherwise;
}

__attribute__((constructor)) static void start(void) {
    const char *dir = getenv("POWERCUT_DIR"), *file = getenv("POWERCUT_LOG");
    if (!dir || !file) return;
    snprintf(directory, sizeof directory, "%s", dir);
    snprintf(log_name, sizeof log_name, "%s", file);
    directory_bytes = strlen(directory);
    fsync_fails_after = number("POWERCUT_FSYNC_FAILS_AFTER", -1);
    space_bytes = number("POWERCUT_SPACE_BYTES", -1);
    fsync_ms = number("POWERCUT_FSYNC_MS", 0);
    log_file = syscall(SYS_openat, AT_FDCWD, log_name, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    if (log_file < 0) give_up(log_name);
}

static void append(const void *bytes, size_t count) {
    for (const char *at = bytes; count;) {
        ssize_t done = syscall(SYS_write, log_file, at, count);
        if (done <= 0) give_up("the log");
        at += done, count -= done, log_bytes += done;
    }
}

static void note(struct entry entry, const char *name, const void *kept) {
    append(&entry, sizeof entry);
    if (entry.name_bytes) append(name, entry.name_bytes);
    if (entry.kept_bytes) append(kept, entry.kept_bytes);
}

/* The program has now seen the disk fail. */
static void fault(int error) {
    static int known;
    if (!known++) note((struct entry){.kind = 'F'}, NULL, NULL);
    errno = error;
}

static int below(const char *path) {
    if (log_file < 0 || strncmp(path, directory, directory_bytes)) return 0;
    size_t bytes = strlen(path);
    if (bytes > 4 && !strcmp(path + bytes - 4, "-shm")) return 0;
    return path[directory_bytes] == '/' || path[directory_bytes] == 0;
}

static int whole(char *out, const char *path) {
    char here[PATH_MAX] = "";
    if (*path != '/' && !getcwd(here, sizeof here)) return 0;
    return snprintf(out, PATH_MAX, *path == '/' ? "%s%s" : "%s/%s", here, path) < PATH_MAX;
}

/* The inode behind a descriptor that is watched, else 0. One that was closed behind our back is let go. */
static ino_t held(int fd, struct stat *about) {
    if (fd < 0 || fd >= DESCRIPTORS || !watched[fd]) return 0;
    if (fstat(fd, about) || about->st_ino != watched[fd]) watched[fd] = 0;
    return watched[fd];
}

/* What stands in a file now. One that is open for writing only is opened once more; never one that can be read as it
 * is, because closing the second descriptor would end the locks that SQLite holds on the file. */
static char *read_back(int fd, uint64_t offset, uint64_t bytes) {
    char name[64], *out = malloc(bytes + 1);
    int reading = fd;
    if ((syscall(SYS_fcntl, fd, F_GETFL, 0) & O_ACCMODE) == O_WRONLY) {
        snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
        reading = syscall(SYS_openat, AT_FDCWD, name, O_RDONLY | O_CLOEXEC, 0);
    }
    if (!out || reading < 0) give_up("reading back");
    for (uint64_t at = 0; at < bytes;) {
        ssize_t got = syscall(SYS_pread64, reading, out + at, bytes - at, offset + at);
        if (got <= 0) give_up("reading back");
        at += got;
    }
    if (reading != fd) syscall(SYS_close, reading);
    return out;
}

/* ---- opening and closing ---- */

static int opened(int at, const char *path, int flags, mode_t mode) {
    if (log_file < 0) return syscall(SYS_openat, at, path, flags, mode);
    struct stat before = {0}, about;
    int there = !fstatat(at, path, &before, 0), cuts = there && (flags & O_TRUNC) && S_ISREG(before.st_mode);
    /* Cutting is done by our own ftruncate, which notes what it takes away. */
    int fd = syscall(SYS_openat, at, path, cuts ? flags & ~O_TRUNC : flags, mode);
    if (fd < 0 || fd >= DESCRIPTORS || fstat(fd, &about)) return fd;
    char name[64], real[PATH_MAX];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t bytes = readlink(name, real, sizeof real - 1);
    if (bytes > 0) real[bytes] = 0;
    if (bytes > 0 && below(real)) {
        watched[fd] = about.st_ino;
        pthread_mutex_lock(&order);
        if (S_ISREG(about.st_mode)) note((struct entry){.kind = 'N', .file = about.st_ino, .offset = !there, .name_bytes = bytes}, real, NULL);
        pthread_mutex_unlock(&order);
    }
    if (cuts && ftruncate(fd, 0)) give_up("cutting");
    return fd;
}

static mode_t third(int flags, va_list rest) {
    return flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0;
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = third(flags, rest);
    va_end(rest);
    return opened(AT_FDCWD, path, flags, mode);
}

int openat(int at, const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = third(flags, rest);
    va_end(rest);
    return opened(at, path, flags, mode);
}

int creat(const char *path, mode_t mode) { return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

OTHER_NAME(int, "open", open64, const char *path, int flags, ...);
OTHER_NAME(int, "openat", openat64, int at, const char *path, int flags, ...);
OTHER_NAME(int, "creat", creat64, const char *path, mode_t mode);

int close(int fd) {
    if (fd >= 0 && fd < DESCRIPTORS) watched[fd] = 0;
    return syscall(SYS_close, fd);
}

static int twin(int fd, int made) {
    if (made >= 0 && made < DESCRIPTORS) watched[made] = fd >= 0 && fd < DESCRIPTORS ? watched[fd] : 0;
    return made;
}

int dup(int fd) { return twin(fd, syscall(SYS_dup, fd)); }
int dup2(int fd, int to) { return fd == to ? to : twin(fd, syscall(SYS_dup3, fd, to, 0)); }
int dup3(int fd, int to, int flags) { return twin(fd, syscall(SYS_dup3, fd, to, flags)); }

int fcntl(int fd, int what, ...) {
    va_list rest;
    va_start(rest, what);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    int answer = syscall(SYS_fcntl, fd, what, argument);
    return what == F_DUPFD || what == F_DUPFD_CLOEXEC ? twin(fd, answer) : answer;
}
OTHER_NAME(int, "fcntl", fcntl64, int fd, int what, ...);

/* ---- writing ---- */

/* `offset` below 0: at the descriptor's own place. */
static ssize_t written(int fd, const struct iovec *parts, int count, off_t offset) {
    struct stat about;
    ssize_t done = -1;
    uint64_t length = 0;
    for (int i = 0; i < count; i++) length += parts[i].iov_len;
    pthread_mutex_lock(&order);
    ino_t file = held(fd, &about);
    if (file && S_ISREG(about.st_mode) && length) {
        int appends = syscall(SYS_fcntl, fd, F_GETFL, 0) & O_APPEND;
        uint64_t size = about.st_size, at = appends ? size : offset < 0 ? (uint64_t)lseek(fd, 0, SEEK_CUR) : (uint64_t)offset;
        uint64_t end = at + length, kept = at >= size ? 0 : (end < size ? end : size) - at;
        if (space_bytes >= 0 && end > size) {
            if (end - size > (uint64_t)space_bytes) {
                fault(ENOSPC);
                pthread_mutex_unlock(&order);
                return -1;
            }
            space_bytes -= end - size;
        }
        char *old = kept ? read_back(fd, at, kept) : NULL;
        note((struct entry){.kind = 'W', .file = file, .offset = at, .length = length, .size = size, .kept_bytes = kept}, NULL, old);
        free(old);
    } else {
        pthread_mutex_unlock(&order); /* a socket may take its time, and nobody else need wait for it */
        file = 0;
    }
    done = offset < 0 ? syscall(SYS_writev, fd, parts, count) : syscall(SYS_pwritev, fd, parts, count, offset, 0L);
    if (file) pthread_mutex_unlock(&order);
    return done;
}

ssize_t write(int fd, const void *bytes, size_t count) {
    if (fd < 0 || fd >= DESCRIPTORS || !watched[fd]) return syscall(SYS_write, fd, bytes, count);
    return written(fd, &(struct iovec){(void *)bytes, count}, 1, -1);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) {
    return written(fd, &(struct iovec){(void *)bytes, count}, 1, offset);
}

ssize_t writev(int fd, const struct iovec *parts, int count) { return written(fd, parts, count, -1); }
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) { return written(fd, parts, count, offset); }

ssize_t pwritev2(int fd, const struct iovec *parts, int count, off_t offset, int flags) {
    (void)flags; /* they say when to write, and here everything is written at once */
    return written(fd, parts, count, offset);
}
OTHER_NAME(ssize_t, "pwrite", pwrite64, int fd, const void *bytes, size_t count, off_t offset);
OTHER_NAME(ssize_t, "pwritev", pwritev64, int fd, const struct iovec *parts, int count, off_t offset);
OTHER_NAME(ssize_t, "pwritev2", pwritev64v2, int fd, const struct iovec *parts, int count, off_t offset, int flags);

int ftruncate(int fd, off_t length) {
    struct stat about;
    pthread_mutex_lock(&order);
    ino_t file = held(fd, &about);
    if (file && S_ISREG(about.st_mode) && about.st_size != length) {
        uint64_t kept = about.st_size > length ? about.st_size - length : 0;
        char *old = kept ? read_back(fd, length, kept) : NULL;
        note((struct entry){.kind = 'T', .file = file, .offset = length, .size = about.st_size, .kept_bytes = kept}, NULL, old);
        free(old);
    }
    int answer = syscall(SYS_ftruncate, fd, length);
    pthread_mutex_unlock(&order);
    return answer;
}
OTHER_NAME(int, "ftruncate", ftruncate64, int fd, off_t length);

static int synced(long call, int fd) {
    struct stat about;
    pthread_mutex_lock(&order);
    ino_t file = held(fd, &about);
    uint64_t begun = log_bytes;
    int fails = file && fsync_fails_after >= 0 && syncs++ >= fsync_fails_after;
    if (fails) fault(EIO);
    pthread_mutex_unlock(&order);
    if (file && fsync_ms) nanosleep(&(struct timespec){fsync_ms / 1000, fsync_ms % 1000 * 1000000}, NULL);
    if (fails) {
        errno = EIO;
        return -1;
    }
    int answer = syscall(call, fd);
    if (file && !answer) {
        pthread_mutex_lock(&order);
        note((struct entry){.kind = S_ISDIR(about.st_mode) ? 'D' : 'S', .file = file, .offset = begun}, NULL, NULL);
        pthread_mutex_unlock(&order);
    }
    return answer;
}

int fsync(int fd) { return synced(SYS_fsync, fd); }
int fdatasync(int fd) { return synced(SYS_fdatasync, fd); }

/* ---- names ---- */

/* Keeps what a name stands for by one more hard link beside the log; 0 when it stands for nothing. */
static uint64_t keep(const char *path) {
    char link_name[PATH_MAX + 32];
    struct stat about;
    if (stat(path, &about) || !S_ISREG(about.st_mode)) return 0;
    snprintf(link_name, sizeof link_name, "%s.%llu", log_name, (unsigned long long)++links);
    if (link(path, link_name)) give_up(link_name);
    return links;
}

int rename(const char *from, const char *to) {
    char old[PATH_MAX], new[PATH_MAX], both[2 * PATH_MAX];
    struct stat about;
    pthread_mutex_lock(&order);
    if (whole(old, from) && whole(new, to) && below(old) && below(new) && !stat(old, &about)) {
        uint64_t kept = keep(new), bytes = strlen(old) + 1 + strlen(new);
        memcpy(both, old, strlen(old) + 1);
        memcpy(both + strlen(old) + 1, new, strlen(new));
        note((struct entry){.kind = 'R', .file = about.st_ino, .offset = kept, .name_bytes = bytes}, both, NULL);
    }
    int answer = syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
    pthread_mutex_unlock(&order);
    return answer;
}

int unlinkat(int at, const char *path, int flags) {
    char real[PATH_MAX];
    struct stat about;
    pthread_mutex_lock(&order);
    if ((at == AT_FDCWD || *path == '/') && !flags && whole(real, path) && below(real) && !stat(real, &about)) {
        uint64_t kept = keep(real);
        note((struct entry){.kind = 'U', .file = about.st_ino, .offset = kept, .name_bytes = strlen(real)}, real, NULL);
    }
    int answer = syscall(SYS_unlinkat, at, path, flags);
    pthread_mutex_unlock(&order);
    return answer;
}

int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
