/* What the parts of the CNI plugin share: limits, codes, texts, and one function a task.
 *
 * The plugin is a thin client: it checks what the runtime gave it, hands it to the node agent
 * over a Unix socket and prints the answer. It is static and needs nothing of the host, because
 * minimal node images hold neither Python nor a C library of a known version. */
#ifndef BERTH_CNI_H
#define BERTH_CNI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROTOCOL_VERSION 1
#define NEWEST_CNI_VERSION "1.1.0"

/* The agent holds the same limits (adapters/cni_socket.py, cni/request.py). A configuration
 * doubles at most when it is escaped into the frame, so what passes here fits there. */
#define CONFIG_BYTES_MAX ((size_t)512 * 1024)
#define ENVIRONMENT_BYTES_MAX ((size_t)32 * 1024)
#define REPLY_BYTES_MAX ((size_t)1024 * 1024)

enum cni_code {
    CNI_INCOMPATIBLE_VERSION = 1,
    CNI_BAD_ENVIRONMENT = 4,
    CNI_IO_FAILURE = 5,
    CNI_NOT_JSON = 6,
    CNI_BAD_CONFIGURATION = 7,
    CNI_SAME_NAMESPACE = 8,
    CNI_TRY_AGAIN_LATER = 11,
    CNI_NOT_AVAILABLE = 50,
    CNI_INTERNAL = 100,
};

/* A growing buffer; always followed by a zero byte once anything was added. */
struct text {
    char *bytes;
    size_t length;
    size_t capacity;
};

void text_add(struct text *text, const char *bytes, size_t length);
void text_add_string(struct text *text, const char *string);
void text_add_number(struct text *text, int64_t number);
void text_add_json(struct text *text, const char *bytes, size_t length); /* quoted, escaped */
void text_free(struct text *text);

/* A top-level member of a JSON object, as it stands in the document. */
enum json_kind { JSON_ABSENT, JSON_STRING, JSON_NUMBER, JSON_TRUE, JSON_FALSE, JSON_OTHER };

struct json_member {
    const char *key;
    enum json_kind kind;
    const char *at;
    size_t length;
};

/* Checks the whole document (RFC 8259, UTF-8) and finds the members asked for; a key that
 * stands twice counts by its last value. False: it is not one JSON object. */
bool json_object(const char *bytes, size_t length, struct json_member *members, size_t count);

/* Appends the value of a string member, escapes undone. False when it is not a string. */
bool json_string(const struct json_member *member, struct text *into);

bool json_number(const struct json_member *member, double *number);

/* What the runtime asks for. */
enum verb { VERB_ADD, VERB_DEL, VERB_CHECK, VERB_STATUS, VERB_GC, VERB_VERSION, VERB_UNKNOWN };

struct invocation {
    const char *command;
    enum verb verb;
    const char *container_id;
    const char *netns;
    const char *ifname;
    bool may_share_namespace; /* CNI_NETNS_OVERRIDE */
};

/* Where the few members of the configuration stand that the plugin itself needs. */
struct config_members {
    bool is_valid; /* the configuration is one JSON object */
    struct json_member cni_version, name, run_dir, agent_wait, timeout, status_grace;
};

struct settings {
    struct text name;
    struct text run_dir;   /* runDir, else BERTH_RUN_DIR, else /run/berth */
    double agent_wait_s;   /* agentWaitSeconds: how long ADD waits for an absent agent */
    double timeout_s;      /* timeoutSeconds: how long ADD may take in all */
    double status_grace_s; /* statusGraceSeconds: how long STATUS excuses an absent agent */
};

bool is_called_by_runtime(void);
const char *read_config(struct text *config); /* NULL, or what is wrong */
struct config_members find_members(const struct text *config);

/* These end the process with an error of the specification when something is not allowed. */
void read_invocation(struct invocation *given);
void read_settings(const struct config_members *members, enum verb verb,
                   struct settings *settings);
_Noreturn void fail(enum cni_code code, const char *message, const char *details);

bool is_network_namespace(int fd);
bool is_own_namespace(int fd);

int64_t now_ms(void); /* of a clock that never steps back */

/* One request to the agent. */
struct request {
    const char *socket_path;
    const char *verb;
    const char *config;
    size_t config_length;
    int netns_fd; /* -1: none */
};

struct answer {
    int status;
    bool is_retryable;
    struct text output;
};

enum outcome {
    ANSWERED,
    AGENT_AWAY,      /* nobody listens: nothing was done */
    ANSWER_LOST,     /* sent, then the connection broke: maybe done */
    ANSWER_LATE,     /* sent, no answer in time: maybe done */
    ANSWER_MALFORMED /* what answers is not our agent, or not of our version */
};

enum outcome ask_agent(const struct request *request, int64_t deadline_ms,
                       struct answer *answer);

/* The deletion of one attachment, kept for the agent's return. */
enum spooled { SPOOLED, SPOOL_FULL, SPOOL_FAILED };

enum spooled spool_deletion(const char *run_dir, const char *network, const char *container_id,
                            const char *ifname);

/* 32 hex digits and a zero: AttachmentKey.digest of shared/ids.py. */
#define DIGEST_BYTES 33
void digest_text(const char *bytes, size_t length, char digest[DIGEST_BYTES]);

#endif
