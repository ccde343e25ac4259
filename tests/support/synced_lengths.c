/* Preloaded into a server: notes how much of each file has reached the disk.
 *
 * One line "device inode length" for every flush that succeeded, with the length that the file
 * had when the flush began. What was written later would be lost in a power cut.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static void note(const struct stat *file) {
    static int notes = -1;
    char line[96];
    int length;
    if (notes < 0) {
        const char *path = getenv("SYNCED_LENGTHS");
        if (path == NULL) return;
        notes = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (notes < 0) abort();
    }
    length = snprintf(line, sizeof line, "%lu %lu %lld\n", (unsigned long)file->st_dev,
                      (unsigned long)file->st_ino, (long long)file->st_size);
    if (write(notes, line, length) != length) abort();
}

static int flush(const char *name, int fd) {
    struct stat before;
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    int is_file = fstat(fd, &before) == 0 && S_ISREG(before.st_mode);
    int result = real(fd);
    if (result == 0 && is_file) note(&before);
    return result;
}

int fsync(int fd) { return flush("fsync", fd); }
int fdatasync(int fd) { return flush("fdatasync", fd); }
