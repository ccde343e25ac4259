/* One request to the agent: a connection, a frame with the namespace's descriptor, a frame back.
 *
 * A frame is four bytes of length, most significant first, and that many bytes of JSON. The
 * open namespace travels beside the first byte, so the agent needs no view of our mounts. */
#define _GNU_SOURCE
#include "berth_cni.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void encode_length(size_t length, unsigned char header[4])
{
    for (int i = 0; i < 4; i++)
        header[i] = (unsigned char)(length >> 8 * (3 - i) & 0xFF);
}

static void build_frame(const struct request *request, int64_t timeout_ms, struct text *frame)
{
    text_add(frame, "\0\0\0\0", 4); /* the length, known at the end */
    text_add_string(frame, "{\"protocol\":");
    text_add_number(frame, PROTOCOL_VERSION);
    text_add_string(frame, ",\"verb\":");
    text_add_json(frame, request->verb, strlen(request->verb));
    text_add_string(frame, ",\"timeout_ms\":");
    text_add_number(frame, timeout_ms);
    text_add_string(frame, ",\"env\":{");
    bool is_first = true;
    for (char **variable = environ; *variable; variable++) {
        const char *value = strchr(*variable, '=');
        if (strncmp(*variable, "CNI_", 4) != 0 || !value)
            continue;
        if (!is_first)
            text_add(frame, ",", 1);
        is_first = false;
        text_add_json(frame, *variable, (size_t)(value - *variable));
        text_add(frame, ":", 1);
        text_add_json(frame, value + 1, strlen(value + 1));
    }
    text_add_string(frame, "},\"config\":");
    text_add_json(frame, request->config, request->config_length);
    text_add(frame, "}", 1);
    encode_length(frame->length - 4, (unsigned char *)frame->bytes);
}

/* Waits until the socket is ready or the deadline has come. */
static bool wait_for(int socket_fd, short events, int64_t deadline_ms)
{
    for (;;) {
        int64_t left_ms = deadline_ms - now_ms();
        struct pollfd wanted = {.fd = socket_fd, .events = events};
        int ready = poll(&wanted, 1, left_ms > 0 ? (int)left_ms : 0);
        if (ready > 0)
            return true;
        if (ready == 0 || errno != EINTR)
            return false;
    }
}

static bool would_block(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return -1;
    memcpy(address.sun_path, path, strlen(path) + 1);
    int socket_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (socket_fd < 0)
        return -1;
    if (connect(socket_fd, (struct sockaddr *)&address, sizeof address) != 0) {
        close(socket_fd); /* EAGAIN too: a full backlog is an agent that does not accept */
        return -1;
    }
    return socket_fd;
}

static ssize_t send_some(int socket_fd, const char *bytes, size_t length, int carried_fd)
{
    struct iovec part = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = length};
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr aligned;
    } control = {0};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (carried_fd >= 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(header), &carried_fd, sizeof(int));
    }
    return sendmsg(socket_fd, &message, MSG_NOSIGNAL);
}

static enum outcome send_frame(int socket_fd, const struct text *frame, int netns_fd,
                               int64_t deadline_ms)
{
    size_t sent = 0;
    while (sent < frame->length) {
        ssize_t some = send_some(socket_fd, frame->bytes + sent, frame->length - sent,
                                 sent == 0 ? netns_fd : -1);
        if (some > 0)
            sent += (size_t)some;
        else if (!would_block())
            return ANSWER_LOST;
        else if (!wait_for(socket_fd, POLLOUT, deadline_ms))
            return ANSWER_LATE;
    }
    return ANSWERED;
}

static enum outcome receive(int socket_fd, char *bytes, size_t length, int64_t deadline_ms)
{
    size_t received = 0;
    while (received < length) {
        ssize_t some = recv(socket_fd, bytes + received, length - received, 0);
        if (some > 0)
            received += (size_t)some;
        else if (some == 0 || !would_block())
            return ANSWER_LOST;
        else if (!wait_for(socket_fd, POLLIN, deadline_ms))
            return ANSWER_LATE;
    }
    return ANSWERED;
}

static enum outcome read_answer(const char *bytes, size_t length, struct answer *answer)
{
    struct json_member members[] = {{.key = "status"}, {.key = "stdout"}, {.key = "retry"}};
    double status;
    if (!json_object(bytes, length, members, 3) || !json_number(&members[0], &status) ||
        status < 0 || status > 255 || !json_string(&members[1], &answer->output))
        return ANSWER_MALFORMED;
    answer->status = (int)status;
    answer->is_retryable = members[2].kind == JSON_TRUE;
    return ANSWERED;
}

static enum outcome receive_answer(int socket_fd, int64_t deadline_ms, struct answer *answer)
{
    unsigned char header[4];
    enum outcome outcome = receive(socket_fd, (char *)header, sizeof header, deadline_ms);
    if (outcome != ANSWERED)
        return outcome;
    size_t length = (size_t)header[0] << 24 | (size_t)header[1] << 16 | (size_t)header[2] << 8 |
                    (size_t)header[3];
    if (length > REPLY_BYTES_MAX)
        return ANSWER_MALFORMED;
    char *bytes = malloc(length + 1);
    if (!bytes)
        return ANSWER_LOST;
    outcome = receive(socket_fd, bytes, length, deadline_ms);
    if (outcome == ANSWERED)
        outcome = read_answer(bytes, length, answer);
    free(bytes);
    return outcome;
}

enum outcome ask_agent(const struct request *request, int64_t deadline_ms,
                       struct answer *answer)
{
    int socket_fd = connect_to(request->socket_path);
    if (socket_fd < 0)
        return AGENT_AWAY;
    int64_t left_ms = deadline_ms - now_ms();
    struct text frame = {0};
    build_frame(request, left_ms > 1 ? left_ms : 1, &frame);
    enum outcome outcome = send_frame(socket_fd, &frame, request->netns_fd, deadline_ms);
    text_free(&frame);
    /* An agent that is full answers before it has read everything: what it said still counts. */
    if (outcome != ANSWER_LATE)
        outcome = receive_answer(socket_fd, deadline_ms, answer);
    close(socket_fd);
    return outcome;
}
