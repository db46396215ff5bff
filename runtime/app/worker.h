/* A worker: one process with one loop that serves requests and events with the rules it was given. */
#ifndef SH_WORKER_H
#define SH_WORKER_H

#include "app/config.h"
#include "board/board.h"
#include "host/bundle.h"

typedef struct sh_worker_opts {
    uint32_t index;      /* its slot, from 0 */
    sh_config_t *config; /* taken over */
    sh_bundle_t *bundle; /* taken over */
    uint32_t generation; /* serial of the bundle */
    sh_board_t *board;
    int listen_fd, admin_fd; /* bound and listening; admin_fd -1: none */
    int channel;             /* to the master */
    const int *wake_fds;     /* an eventfd per service, in the order of config's services: wakes the relay's leader */
    pid_t master;
} sh_worker_opts_t;

/* Runs until drained; returns the exit code. */
int sh_worker_run(const sh_worker_opts_t *opts);

/* Services of this process, from "identity,inventory,crm,sales"; names point into `names`. Returns how many. */
uint32_t sh_worker_services(const sh_config_t *config, char names[][32], uint32_t max);

#endif
