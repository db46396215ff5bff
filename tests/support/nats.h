/* A private nats-server with JetStream for one test: a free port on 127.0.0.1, its store in a temporary folder. */
#ifndef SH_TEST_NATS_H
#define SH_TEST_NATS_H

#include <stdbool.h>
#include <sys/types.h>

typedef struct sh_test_nats {
    pid_t pid; /* 0: not running */
    int port;
    char folder[64], url[96];
} sh_test_nats_t;

/* Starts it and waits until it accepts connections. `extra` are further arguments (NULL-terminated), or NULL. 0, or negative with a line on stderr.
 */
int sh_test_nats_start(sh_test_nats_t *server, const char *const *extra);
/* Starts it again on the same port and store, after a kill. */
int sh_test_nats_restart(sh_test_nats_t *server, const char *const *extra);
void sh_test_nats_kill(sh_test_nats_t *server, int signal_number); /* and waits for its end, or until it stands still */
/* Kills it, if it runs, and removes the folder. */
void sh_test_nats_stop(sh_test_nats_t *server);

#endif
