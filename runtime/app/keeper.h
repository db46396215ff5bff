/* A child process that cleans up after us, however we end: also when somebody kills us with SIGKILL. */
#ifndef SH_KEEPER_H
#define SH_KEEPER_H

#include "base/buf.h"

#include <sys/types.h>

typedef struct sh_keeper {
    pid_t pid; /* 0: not started */
    int end;   /* closed by our end: what the keeper waits for */
} sh_keeper_t;

typedef struct sh_keeper_opts {
    /* In the child: begins what is to be cleaned up. Not 0 with a sentence in `error`: it failed and left nothing behind. NULL: nothing to begin. */
    int (*begin)(void *data, sh_buf_t *error);
    void (*finish)(void *data); /* in the child, when we are gone */
    void *data;
} sh_keeper_opts_t;

/* Forks, waits for begin() and returns what it returned. Ctrl-C does not reach the keeper; it holds none of our open files but the standard ones. */
int sh_keeper_start(const sh_keeper_opts_t *opts, sh_keeper_t *out, sh_buf_t *error) SH_MUSTCHECK;
/* Has it finish() and waits until that is done. Harmless when it was not started. */
void sh_keeper_stop(sh_keeper_t *keeper);

#endif
