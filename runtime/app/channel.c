/* Sending and receiving with SCM_RIGHTS. */
#include "app/channel.h"

#include "base/err.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct head {
    uint32_t type, generation;
} head_t;

int sh_channel_create(int ends[2]) { return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) ? SH_EIO : SH_OK; }

int sh_channel_send(int end, sh_message_type_t type, uint32_t generation, const char *text, const int *fds, uint32_t fd_count) {
    head_t head = {type, generation};
    size_t n = text ? strlen(text) : 0;
    if (n >= SH_CHANNEL_TEXT_MAX) n = SH_CHANNEL_TEXT_MAX - 1;
    struct iovec parts[2] = {{&head, sizeof head}, {(void *)(text ? text : ""), n}};
    union {
        char bytes[CMSG_SPACE(sizeof(int) * SH_CHANNEL_FDS_MAX)];
        struct cmsghdr align;
    } control;
    struct msghdr msg = {.msg_iov = parts, .msg_iovlen = 2};
    if (fd_count) {
        SH_ASSERT(fd_count <= SH_CHANNEL_FDS_MAX);
        memset(&control, 0, sizeof control);
        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * fd_count);
    }
    ssize_t sent;
    do sent = sendmsg(end, &msg, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent >= 0) return SH_OK;
    return errno == EPIPE || errno == ECONNRESET ? SH_ECLOSED : SH_EIO;
}

int sh_channel_receive(int end, sh_message_t *out) {
    head_t head;
    union {
        char bytes[CMSG_SPACE(sizeof(int) * SH_CHANNEL_FDS_MAX)];
        struct cmsghdr align;
    } control;
    struct iovec parts[2] = {{&head, sizeof head}, {out->text, sizeof out->text - 1}};
    struct msghdr msg = {.msg_iov = parts, .msg_iovlen = 2, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    ssize_t n;
    do n = recvmsg(end, &msg, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return SH_ENOTFOUND;
    if (n < (ssize_t)sizeof head) return SH_ECLOSED;
    out->type = (sh_message_type_t)head.type;
    out->generation = head.generation;
    out->text[(size_t)n - sizeof head] = 0;
    out->fds[0] = out->fds[1] = -1;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(out->fds, CMSG_DATA(c), count * sizeof(int));
    }
    return SH_OK;
}
