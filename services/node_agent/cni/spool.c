/* Deletions that the agent could not take, one file an attachment, for its return.
 *
 * <runDir>/spool/<digest>.json appears whole or not at all: temporary file, fsync, rename,
 * fsync of the folder. The agent works the files off (spool.py). What no file could be written
 * for adds one byte to <runDir>/spool.lost: its size is the count, garbage collection the cure. */
#define _GNU_SOURCE
#include "berth_cni.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SPOOL_FILES_MAX 10000 /* forty nodes' worth of pods: a full spool is no normal state */

static int open_folder(int parent, const char *path, mode_t mode)
{
    if (mkdirat(parent, path, mode) != 0 && errno != EEXIST)
        return -1;
    return openat(parent, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static bool is_full(int folder)
{
    int copy = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = copy < 0 ? NULL : fdopendir(copy);
    if (!entries) {
        if (copy >= 0)
            close(copy);
        return false; /* writing will tell */
    }
    int files = 0;
    while (files < SPOOL_FILES_MAX + 2 && readdir(entries))
        files++;
    closedir(entries);
    return files >= SPOOL_FILES_MAX + 2; /* "." and ".." are counted too */
}

static bool write_file(int folder, const char *name, const struct text *body)
{
    int file = openat(folder, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file < 0)
        return false;
    size_t written = 0;
    while (written < body->length) {
        ssize_t some = write(file, body->bytes + written, body->length - written);
        if (some < 0 && errno == EINTR)
            continue;
        if (some <= 0)
            break;
        written += (size_t)some;
    }
    bool is_safe = written == body->length && fsync(file) == 0;
    return close(file) == 0 && is_safe;
}

static void describe(struct text *body, const char *network, const char *container_id,
                     const char *ifname)
{
    text_add_string(body, "{\"version\":1,\"network\":");
    text_add_json(body, network, strlen(network));
    text_add_string(body, ",\"container_id\":");
    text_add_json(body, container_id, strlen(container_id));
    text_add_string(body, ",\"ifname\":");
    text_add_json(body, ifname, strlen(ifname));
    text_add_string(body, "}\n");
}

static enum spooled write_entry(int folder, const char *digest, const struct text *body)
{
    char name[64], temporary[64];
    snprintf(name, sizeof name, "%s.json", digest);
    snprintf(temporary, sizeof temporary, ".%s.%ld", digest, (long)getpid());
    if (faccessat(folder, name, F_OK, 0) != 0 && is_full(folder))
        return SPOOL_FULL;
    if (!write_file(folder, temporary, body) ||
        renameat(folder, temporary, folder, name) != 0) {
        int reason = errno;
        unlinkat(folder, temporary, 0);
        errno = reason;
        return SPOOL_FAILED;
    }
    return fsync(folder) == 0 ? SPOOLED : SPOOL_FAILED;
}

static enum spooled write_deletion(int folder, const char *network, const char *container_id,
                                   const char *ifname)
{
    struct text key = {0}, body = {0};
    text_add_string(&key, network);
    text_add_string(&key, "/");
    text_add_string(&key, container_id);
    text_add_string(&key, "/");
    text_add_string(&key, ifname);
    char digest[DIGEST_BYTES];
    digest_text(key.bytes, key.length, digest);
    describe(&body, network, container_id, ifname);
    enum spooled outcome = write_entry(folder, digest, &body);
    int reason = errno;
    text_free(&key);
    text_free(&body);
    errno = reason;
    return outcome;
}

static void count_loss(int run)
{
    int file = openat(run, "spool.lost", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (file < 0)
        return; /* a count must not stand in the way of a deletion */
    (void)!write(file, "x", 1);
    close(file);
}

enum spooled spool_deletion(const char *run_dir, const char *network, const char *container_id,
                            const char *ifname)
{
    int run = open_folder(AT_FDCWD, run_dir, 0755);
    if (run < 0)
        return SPOOL_FAILED;
    int folder = open_folder(run, "spool", 0700);
    enum spooled outcome =
        folder < 0 ? SPOOL_FAILED : write_deletion(folder, network, container_id, ifname);
    int reason = errno;
    if (outcome != SPOOLED)
        count_loss(run);
    if (folder >= 0)
        close(folder);
    close(run);
    errno = reason;
    return outcome;
}
