/* Loaded before libc: the n-th write, flush or rename below a folder fails as on a full or broken disk.

   fail_at(folder, kind, n, lasting) arms it for this process: kind 'w' (write), 's' (fsync) or 'r' (rename); `lasting`
   fails all after it too. how_many() says how many there were. Nothing but files below the folder counts. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char folder[PATH_MAX];
static int kind, lasting;
static long at, seen;

void fail_at(const char* where, int what, long n, int for_good) {
    strncpy(folder, where, sizeof folder - 1);
    kind = what, at = n, lasting = for_good;
    __atomic_store_n(&seen, 0, __ATOMIC_SEQ_CST);
}

long how_many(void) { return __atomic_load_n(&seen, __ATOMIC_SEQ_CST); }

static int below(const char* path) {
    return strncmp(path, folder, strlen(folder)) == 0;
}

static int fails(int what, const char* path) {
    if (!folder[0] || what != kind || !below(path)) return 0;
    long now = __atomic_add_fetch(&seen, 1, __ATOMIC_SEQ_CST);
    return at > 0 && (lasting ? now >= at : now == at);
}

static int fails_on(int what, int handle) {
    struct stat about;
    char link[64], path[PATH_MAX] = "";
    if (!folder[0] || what != kind || fstat(handle, &about)) return 0;
    if (!S_ISREG(about.st_mode) && !(what == 's' && S_ISDIR(about.st_mode))) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    ssize_t length = readlink(link, path, sizeof path - 1);
    return length > 0 && fails(what, path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FULL (errno = ENOSPC, -1)
#define BROKEN (errno = EIO, -1)

ssize_t write(int handle, const void* bytes, size_t count) {
    return fails_on('w', handle) ? FULL : REAL(write)(handle, bytes, count);
}

ssize_t pwrite(int handle, const void* bytes, size_t count, off_t where) {
    return fails_on('w', handle) ? FULL : REAL(pwrite)(handle, bytes, count, where);
}

ssize_t pwrite64(int handle, const void* bytes, size_t count, off64_t where) {
    return fails_on('w', handle) ? FULL : REAL(pwrite64)(handle, bytes, count, where);
}

ssize_t writev(int handle, const struct iovec* parts, int count) {
    return fails_on('w', handle) ? FULL : REAL(writev)(handle, parts, count);
}

int fsync(int handle) { return fails_on('s', handle) ? BROKEN : REAL(fsync)(handle); }

int fdatasync(int handle) { return fails_on('s', handle) ? BROKEN : REAL(fdatasync)(handle); }

int rename(const char* from, const char* to) { return fails('r', to) ? BROKEN : REAL(rename)(from, to); }

int renameat(int a, const char* from, int b, const char* to) {
    return fails('r', to) ? BROKEN : REAL(renameat)(a, from, b, to);
}
