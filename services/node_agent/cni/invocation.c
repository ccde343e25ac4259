/* What the runtime says in environment and configuration, checked as the specification asks. */
#define _GNU_SOURCE
#include "berth_cni.h"

#include <errno.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define STDIN_WAIT_MS 10000 /* the runtime writes the configuration at once */
#define IFNAME_BYTES_MAX 15
#define RUN_DIR_BYTES_MAX 90 /* a Unix socket's path holds 107, "/agent.sock" is part of it */

extern char **environ;

static const char *variable(const char *name)
{
    const char *value = getenv(name);
    return value ? value : "";
}

bool is_called_by_runtime(void)
{
    for (char **each = environ; *each; each++)
        if (strncmp(*each, "CNI_", 4) == 0)
            return true;
    return false;
}

static bool is_alphanumeric(char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= '0' && byte <= '9');
}

/* The specification's pattern of container ids and network names. */
static bool is_identifier(const char *name)
{
    if (!is_alphanumeric(*name))
        return false;
    while (is_alphanumeric(*name) || *name == '_' || *name == '.' || *name == '-')
        name += 1;
    return *name == '\0';
}

static bool is_ifname(const char *name)
{
    return *name && strlen(name) <= IFNAME_BYTES_MAX && strcmp(name, ".") != 0 &&
           strcmp(name, "..") != 0 && !strpbrk(name, "/: \t\n\v\f\r");
}

/* Printable UTF-8; what else stands there could not be handed on as JSON. */
static bool is_text(const char *value)
{
    struct text quoted = {0};
    text_add_string(&quoted, "{\"\":\"");
    for (const char *byte = value; *byte; byte++)
        if (*byte != '"' && *byte != '\\')
            text_add(&quoted, byte, 1);
    text_add_string(&quoted, "\"}");
    bool is_valid = json_object(quoted.bytes, quoted.length, NULL, 0);
    text_free(&quoted);
    return is_valid;
}

static enum verb verb_of(const char *command)
{
    static const char *const names[] = {"ADD", "DEL", "CHECK", "STATUS", "GC", "VERSION"};
    for (int i = 0; i < VERB_UNKNOWN; i++)
        if (strcmp(command, names[i]) == 0)
            return (enum verb)i;
    return VERB_UNKNOWN;
}

static void blame(struct text *names, const char *name)
{
    if (names->length)
        text_add_string(names, ", ");
    text_add_string(names, name);
}

static void blame_unreadable(struct text *names)
{
    size_t total = 0;
    for (char **each = environ; *each; each++) {
        const char *value = strchr(*each, '=');
        if (strncmp(*each, "CNI_", 4) != 0 || !value)
            continue;
        total += strlen(*each);
        struct text name = {0};
        text_add(&name, *each, (size_t)(value - *each));
        if (!is_text(value + 1) || !is_text(name.bytes))
            blame(names, is_text(name.bytes) ? name.bytes : "CNI_?");
        text_free(&name);
    }
    if (total > ENVIRONMENT_BYTES_MAX)
        blame(names, "CNI_* (more than 32 KiB)");
}

void read_invocation(struct invocation *given)
{
    *given = (struct invocation){
        .command = variable("CNI_COMMAND"),
        .verb = verb_of(variable("CNI_COMMAND")),
        .container_id = variable("CNI_CONTAINERID"),
        .netns = variable("CNI_NETNS"),
        .ifname = variable("CNI_IFNAME"),
    };
    const char *override = variable("CNI_NETNS_OVERRIDE");
    given->may_share_namespace = strcmp(override, "1") == 0 || strcasecmp(override, "true") == 0;
    bool has_attachment = given->verb <= VERB_CHECK;
    struct text names = {0};
    if (given->verb == VERB_UNKNOWN)
        blame(&names, "CNI_COMMAND");
    if (has_attachment && !is_identifier(given->container_id))
        blame(&names, "CNI_CONTAINERID");
    if (has_attachment && given->verb != VERB_DEL && !*given->netns)
        blame(&names, "CNI_NETNS");
    if (has_attachment && !is_ifname(given->ifname))
        blame(&names, "CNI_IFNAME");
    if (given->verb == VERB_GC && !*variable("CNI_PATH"))
        blame(&names, "CNI_PATH");
    blame_unreadable(&names);
    if (names.length) {
        struct text message = {0};
        text_add_string(&message, "missing or invalid environment variables: ");
        text_add_string(&message, names.bytes);
        fail(CNI_BAD_ENVIRONMENT, message.bytes,
             "see the CNI specification 1.1.0, section 2, Parameters");
    }
    text_free(&names);
}

const char *read_config(struct text *config)
{
    int64_t deadline_ms = now_ms() + STDIN_WAIT_MS;
    text_add(config, "", 0);
    for (;;) {
        char part[16384];
        int64_t left_ms = deadline_ms - now_ms();
        struct pollfd wanted = {.fd = STDIN_FILENO, .events = POLLIN};
        int ready = poll(&wanted, 1, left_ms > 0 ? (int)left_ms : 0);
        if (ready == 0)
            return "the runtime did not close it within 10 s";
        ssize_t some = ready < 0 ? -1 : read(STDIN_FILENO, part, sizeof part);
        if (some < 0 && errno == EINTR)
            continue;
        if (some < 0)
            return strerror(errno);
        if (some == 0)
            return NULL;
        if (config->length + (size_t)some > CONFIG_BYTES_MAX)
            return "longer than 512 KiB";
        text_add(config, part, (size_t)some);
    }
}

struct config_members find_members(const struct text *config)
{
    struct json_member found[] = {{.key = "cniVersion"},       {.key = "name"},
                                  {.key = "runDir"},           {.key = "agentWaitSeconds"},
                                  {.key = "timeoutSeconds"},   {.key = "statusGraceSeconds"}};
    bool is_valid = json_object(config->bytes, config->length, found, 6);
    if (!is_valid)
        return (struct config_members){0};
    return (struct config_members){true,     found[0], found[1], found[2],
                                   found[3], found[4], found[5]};
}

static double seconds_of(const struct json_member *member, double otherwise, double least,
                         double most)
{
    double value;
    if (member->kind == JSON_ABSENT)
        return otherwise;
    if (json_number(member, &value) && value >= least && value <= most)
        return value;
    char details[160];
    snprintf(details, sizeof details, "%s: allowed: a number of seconds from %g to %g",
             member->key, least, most);
    fail(CNI_BAD_CONFIGURATION, "invalid network configuration", details);
}

static void check_version(enum verb verb, const struct json_member *member)
{
    static const char *const known[] = {"0.3.1", "0.4.0", "1.0.0", "1.1.0"};
    struct text version = {0};
    size_t index = json_string(member, &version) ? 0 : 4;
    while (index < 4 && strcmp(version.bytes, known[index]) != 0)
        index++;
    text_free(&version);
    if (index == 4)
        fail(CNI_INCOMPATIBLE_VERSION, "incompatible CNI versions",
             "cniVersion: allowed: 0.3.1, 0.4.0, 1.0.0, 1.1.0");
    if (verb == VERB_CHECK && index < 1)
        fail(CNI_INCOMPATIBLE_VERSION, "incompatible CNI versions",
             "cniVersion: CHECK needs 0.4.0 or later");
    if ((verb == VERB_STATUS || verb == VERB_GC) && index < 3)
        fail(CNI_INCOMPATIBLE_VERSION, "incompatible CNI versions",
             "cniVersion: STATUS and GC need 1.1.0 or later");
}

static void read_run_dir(const struct json_member *member, struct text *run_dir)
{
    const char *from_environment = variable("BERTH_RUN_DIR");
    if (member->kind != JSON_ABSENT)
        json_string(member, run_dir);
    else
        text_add_string(run_dir, *from_environment ? from_environment : "/run/berth");
    if (run_dir->length == 0 || run_dir->bytes[0] != '/' ||
        run_dir->length > RUN_DIR_BYTES_MAX || strlen(run_dir->bytes) != run_dir->length)
        fail(CNI_BAD_CONFIGURATION, "invalid network configuration",
             "runDir: allowed: an absolute path of at most 90 bytes");
}

void read_settings(const struct config_members *members, enum verb verb,
                   struct settings *settings)
{
    if (!members->is_valid)
        fail(CNI_NOT_JSON, "the configuration on stdin is not a JSON object",
             "a network configuration by the CNI specification is expected");
    if (!json_string(&members->name, &settings->name) ||
        strlen(settings->name.bytes) != settings->name.length ||
        !is_identifier(settings->name.bytes))
        fail(CNI_BAD_CONFIGURATION, "invalid network configuration",
             "name: allowed: letters and digits, then also _ . and -");
    check_version(verb, &members->cni_version);
    read_run_dir(&members->run_dir, &settings->run_dir);
    settings->agent_wait_s = seconds_of(&members->agent_wait, 5, 0, 300);
    settings->timeout_s = seconds_of(&members->timeout, 60, 1, 600);
    settings->status_grace_s = seconds_of(&members->status_grace, 60, 0, 3600);
}

bool is_network_namespace(int fd)
{
    struct statfs filesystem;
    return fstatfs(fd, &filesystem) == 0 && filesystem.f_type == NSFS_MAGIC &&
           ioctl(fd, NS_GET_NSTYPE) == CLONE_NEWNET;
}

bool is_own_namespace(int fd)
{
    struct stat given, own;
    return fstat(fd, &given) == 0 && stat("/proc/self/ns/net", &own) == 0 &&
           given.st_dev == own.st_dev && given.st_ino == own.st_ino;
}
