/* Messages between master and worker: one datagram each over a SOCK_SEQPACKET pair, with file descriptors beside it. */
#ifndef SH_CHANNEL_H
#define SH_CHANNEL_H

#include "base/str.h"

enum { SH_CHANNEL_TEXT_MAX = 8192, SH_CHANNEL_FDS_MAX = 2 };

typedef enum sh_message_type {
    /* master to worker */
    SH_MSG_PREPARE = 1, /* fds: bundle, configuration; generation: its serial. Answer: PREPARED */
    SH_MSG_SWAP,        /* use it from now on. Answer: SWAPPED */
    SH_MSG_ABORT,       /* drop it */
    SH_MSG_DRAIN,       /* finish what is in flight, then exit 0 */
    SH_MSG_REOPEN_LOG,
    /* worker to master */
    SH_MSG_READY,    /* serves now */
    SH_MSG_PREPARED, /* text: empty, or why not */
    SH_MSG_SWAPPED,
    /* check process to master */
    SH_MSG_CHECKED, /* fds: bundle, configuration; text: warnings, a line each */
    SH_MSG_REFUSED, /* text: the reason with its place */
} sh_message_type_t;

typedef struct sh_message {
    sh_message_type_t type;
    uint32_t generation;
    int fds[SH_CHANNEL_FDS_MAX]; /* -1 when absent; the receiver owns them */
    char text[SH_CHANNEL_TEXT_MAX];
} sh_message_t;

/* A pair of connected ends, both CLOEXEC and non-blocking. */
int sh_channel_create(int ends[2]) SH_MUSTCHECK;
/* `fds` stay the caller's; text beyond SH_CHANNEL_TEXT_MAX is cut. SH_ECLOSED when the other end is gone, SH_EIO when its queue is full. */
int sh_channel_send(int end, sh_message_type_t type, uint32_t generation, const char *text, const int *fds, uint32_t fd_count) SH_MUSTCHECK;
/* SH_OK, SH_ENOTFOUND when nothing waits, SH_ECLOSED. */
int sh_channel_receive(int end, sh_message_t *out) SH_MUSTCHECK;

#endif
