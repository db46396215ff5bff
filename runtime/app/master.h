/* The master: opens the sockets, keeps the workers alive, and takes every worker from one rules version to the next together. */
#ifndef SH_MASTER_H
#define SH_MASTER_H

#include "app/config.h"

/* Runs until SIGTERM or SIGINT and the last worker's end; returns the exit code. `config` is taken over. */
int sh_master_run(sh_config_t *config);

#endif
