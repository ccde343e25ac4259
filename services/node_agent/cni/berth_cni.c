/* berth-cni: the CNI plugin. Checks what the runtime gave, asks the node agent, prints its answer.
 *
 * It also decides what an absent agent means: ADD waits a while, then "try again later"; DEL
 * leaves a note in the spool and succeeds; STATUS has patience; VERSION needs nobody.
 * Errors go to stdout as JSON, as the runtime's library reads them; stderr is for people. */
#define _GNU_SOURCE
#include "berth_cni.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define STATUS_LIMIT_MS 5000   /* kubelet asks every 5 s */
#define QUIET_LIMIT_MS 30000   /* DEL, CHECK, GC: the runtime has patience for two minutes */
#define RETRY_PAUSE_MS 25

static struct call {
    struct invocation given;
    struct text config;
    struct text cni_version; /* of the configuration; answers repeat it */
    struct settings settings;
} call;

static const char *answer_version(void)
{
    return call.cni_version.length ? call.cni_version.bytes : NEWEST_CNI_VERSION;
}

static _Noreturn void finish(const struct text *output, int status)
{
    size_t written = 0;
    while (written < output->length) {
        ssize_t some = write(STDOUT_FILENO, output->bytes + written, output->length - written);
        if (some < 0 && errno == EINTR)
            continue;
        if (some <= 0) {
            fprintf(stderr, "berth-cni: stdout: %s\n", strerror(errno));
            exit(1);
        }
        written += (size_t)some;
    }
    exit(status);
}

_Noreturn void fail(enum cni_code code, const char *message, const char *details)
{
    struct text output = {0};
    text_add_string(&output, "{\"cniVersion\":");
    text_add_json(&output, answer_version(), strlen(answer_version()));
    text_add_string(&output, ",\"code\":");
    text_add_number(&output, code);
    text_add_string(&output, ",\"msg\":");
    text_add_json(&output, message, strlen(message));
    text_add_string(&output, ",\"details\":");
    text_add_json(&output, details, strlen(details));
    text_add_string(&output, "}\n");
    finish(&output, 1);
}

static _Noreturn void answer_version_verb(void)
{
    struct text output = {0};
    text_add_string(&output, "{\"cniVersion\":");
    text_add_json(&output, answer_version(), strlen(answer_version()));
    text_add_string(&output, ",\"supportedVersions\":[\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"]}\n");
    finish(&output, 0);
}

/* -1 when the namespace cannot be opened and the verb can do without it (DEL). */
static int open_namespace(void)
{
    const char *path = call.given.netns;
    if (!*path)
        return -1;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    const char *trouble = fd < 0 ? strerror(errno) : NULL;
    if (fd >= 0 && !is_network_namespace(fd))
        trouble = "not a network namespace";
    if (!trouble && is_own_namespace(fd) && !call.given.may_share_namespace) {
        if (call.given.verb != VERB_DEL)
            fail(CNI_SAME_NAMESPACE, "plugin must not be called in the pod's own namespace",
                 path);
        trouble = "the plugin's own namespace";
    }
    if (!trouble)
        return fd;
    if (fd >= 0)
        close(fd);
    if (call.given.verb == VERB_DEL)
        return -1; /* a sandbox that is gone is what DEL is for */
    struct text details = {0};
    text_add_string(&details, path);
    text_add_string(&details, ": ");
    text_add_string(&details, trouble);
    fail(CNI_BAD_ENVIRONMENT, "invalid environment variables: CNI_NETNS", details.bytes);
}

static void pause_ms(long span_ms)
{
    struct timespec span = {.tv_sec = span_ms / 1000, .tv_nsec = span_ms % 1000 * 1000000};
    nanosleep(&span, NULL);
}

static int64_t limit_ms(void)
{
    int64_t wanted_ms = (int64_t)(call.settings.timeout_s * 1000);
    int64_t most_ms = call.given.verb == VERB_ADD      ? wanted_ms
                      : call.given.verb == VERB_STATUS ? STATUS_LIMIT_MS
                                                       : QUIET_LIMIT_MS;
    return wanted_ms < most_ms ? wanted_ms : most_ms;
}

/* Only ADD asks again: it is safe to repeat, and nobody else would. An agent that restarts is
 * waited for anew after each connection, within the deadline of the whole call. */
static enum outcome ask(const struct request *request, struct answer *answer)
{
    int64_t began_ms = now_ms(), deadline_ms = began_ms + limit_ms();
    int64_t patience_ms = (int64_t)(call.settings.agent_wait_s * 1000);
    int64_t away_since_ms = began_ms;
    for (;;) {
        enum outcome outcome = ask_agent(request, deadline_ms, answer);
        if (call.given.verb != VERB_ADD || (outcome != AGENT_AWAY && outcome != ANSWER_LOST))
            return outcome;
        int64_t now = now_ms();
        if (outcome == ANSWER_LOST)
            away_since_ms = now;
        if (now - away_since_ms >= patience_ms || now + RETRY_PAUSE_MS >= deadline_ms)
            return outcome;
        pause_ms(RETRY_PAUSE_MS);
    }
}

/* The agent touches agent.alive while it serves; a failing STATUS makes the node NotReady. */
static bool was_alive_lately(void)
{
    struct text path = {0};
    text_add_string(&path, call.settings.run_dir.bytes);
    text_add_string(&path, "/agent.alive");
    struct stat mark;
    bool exists = stat(path.bytes, &mark) == 0;
    text_free(&path);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return exists && (double)(now.tv_sec - mark.st_mtim.tv_sec) < call.settings.status_grace_s;
}

static _Noreturn void spool_and_succeed(void)
{
    enum spooled outcome = spool_deletion(call.settings.run_dir.bytes, call.settings.name.bytes,
                                          call.given.container_id, call.given.ifname);
    if (outcome == SPOOL_FULL)
        fprintf(stderr, "berth-cni: the spool in %s is full: garbage collection will finish "
                        "this deletion\n", call.settings.run_dir.bytes);
    if (outcome == SPOOL_FAILED)
        fprintf(stderr, "berth-cni: the spool in %s cannot be written (%s): garbage collection "
                        "will finish this deletion\n",
                call.settings.run_dir.bytes, strerror(errno));
    exit(0);
}

static _Noreturn void end_without_answer(enum outcome outcome, const char *socket_path)
{
    struct text details = {0};
    text_add_string(&details, outcome == AGENT_AWAY    ? "no node agent listens on "
                              : outcome == ANSWER_LOST ? "the connection to the agent broke: "
                              : outcome == ANSWER_LATE ? "the node agent did not answer in time: "
                                                       : "not a node agent of this release: ");
    text_add_string(&details, socket_path);
    switch (call.given.verb) {
    case VERB_DEL:
        spool_and_succeed();
    case VERB_STATUS:
        if (was_alive_lately())
            exit(0);
        fail(CNI_NOT_AVAILABLE, "unavailable", details.bytes);
    default:
        fail(outcome == ANSWER_MALFORMED ? CNI_INTERNAL : CNI_TRY_AGAIN_LATER, "unavailable",
             details.bytes);
    }
}

static _Noreturn void pass_to_agent(int netns_fd)
{
    struct text socket_path = {0};
    text_add_string(&socket_path, call.settings.run_dir.bytes);
    text_add_string(&socket_path, "/agent.sock");
    struct request request = {
        .socket_path = socket_path.bytes,
        .verb = call.given.command,
        .config = call.config.bytes,
        .config_length = call.config.length,
        .netns_fd = netns_fd,
    };
    struct answer answer = {0};
    enum outcome outcome = ask(&request, &answer);
    if (outcome != ANSWERED)
        end_without_answer(outcome, socket_path.bytes);
    if (call.given.verb == VERB_DEL && answer.status != 0 && answer.is_retryable)
        spool_and_succeed();
    finish(&answer.output, answer.status);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN); /* a runtime that went away shows as a failed write */
    if (!is_called_by_runtime()) {
        fputs("berth-cni: the CNI plugin of Berth; a container runtime calls it\n"
              "CNI protocol versions supported: 0.3.1, 0.4.0, 1.0.0, 1.1.0\n", stderr);
        return 0;
    }
    const char *read_trouble = read_config(&call.config);
    struct config_members members = find_members(&call.config);
    json_string(&members.cni_version, &call.cni_version);
    read_invocation(&call.given);
    if (call.given.verb == VERB_VERSION)
        answer_version_verb();
    if (read_trouble)
        fail(CNI_IO_FAILURE, "the configuration on stdin cannot be read", read_trouble);
    read_settings(&members, call.given.verb, &call.settings);
    pass_to_agent(open_namespace());
}
