/* What `shama dev` does while the analyst edits: a process that watches rules/ and reloads when something was saved. */
#ifndef SH_DEV_WATCH_H
#define SH_DEV_WATCH_H

#include "app/config.h"

#include <sys/types.h>

enum { SH_DEV_WATCH_QUIET_MS = 150, SH_DEV_WATCH_WAIT_MS_MAX = 2000 };

/* Starts it as a child that ends with us; it checks and reloads as `shama check` and `shama reload` do, with the settings of this process's
 * environment, and prints to stdout what came of it. SH_EIO with a sentence in `error`. */
int sh_dev_watch_start(const sh_config_t *config, pid_t *out, sh_buf_t *error) SH_MUSTCHECK;

#endif
