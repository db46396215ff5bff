/* `shama serve`: master and workers. */
#ifndef SH_SERVE_H
#define SH_SERVE_H

#include "app/config.h"

/* Runs the master in this process until SIGTERM or SIGINT; returns the exit code. `config` is taken over. */
int sh_serve(sh_config_t *config);

#endif
