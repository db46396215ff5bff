/* The master's Unix socket: `shama reload`, `rollback` and `status` talk to it, one line in, one JSON object out. */
#ifndef SH_CONTROL_H
#define SH_CONTROL_H

#include "app/config.h"

#include <poll.h>

enum { SH_CONTROL_CLIENTS = 32, SH_CONTROL_FDS = SH_CONTROL_CLIENTS + 1 };

struct sh_master;

typedef struct sh_control_client {
    int fd;       /* 0: free place */
    bool waiting; /* for the end of the reload with this number, or a later one */
    uint32_t reload;
    char line[128];
    uint32_t len;
} sh_control_client_t;

typedef struct sh_control {
    int listen_fd;
    char path[108];
    sh_control_client_t clients[SH_CONTROL_CLIENTS];
} sh_control_t;

int sh_control_open(sh_control_t *control, struct sh_master *master) SH_MUSTCHECK;
void sh_control_close(sh_control_t *control);
void sh_control_close_in_child(sh_control_t *control);
uint32_t sh_control_poll_fds(sh_control_t *control, struct pollfd *fds);
void sh_control_turn(sh_control_t *control, struct sh_master *master);
/* Answers those that wait for the reload that just ended. */
void sh_control_reload_done(sh_control_t *control, struct sh_master *master);
/* The state of everything as a JSON object. */
void sh_control_status(const struct sh_master *master, sh_buf_t *out);

/* Where the socket is: `control` of the configuration, else a path from uid and port. */
void sh_control_path(const sh_config_t *config, char path[108]);
/* Client side: sends a line, waits for the answer. SH_EUNAVAILABLE when no master listens. */
int sh_control_ask(const sh_config_t *config, const char *line, sh_buf_t *answer) SH_MUSTCHECK;

#endif
