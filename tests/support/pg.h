/* A private Postgres 15 for one test: a free port on 127.0.0.1, data in a temporary folder, run as `postgres` when the test is root. */
#ifndef SH_TEST_PG_H
#define SH_TEST_PG_H

#include <sys/types.h>

typedef struct sh_test_pg {
    pid_t pid; /* 0: not running */
    int port;
    char folder[64], conninfo[160]; /* of the superuser, database postgres */
} sh_test_pg_t;

/* Makes the cluster, starts it and waits until it answers. 0, or negative with a line on stderr. */
int sh_test_pg_start(sh_test_pg_t *server);
/* Starts it again on the same port and data, after a kill. */
int sh_test_pg_restart(sh_test_pg_t *server);
void sh_test_pg_kill(sh_test_pg_t *server, int signal_number); /* SIGQUIT: at once, as a crash; SIGINT: fast; SIGSTOP and SIGCONT do not wait */
/* Stops it, if it runs, and removes the folder. */
void sh_test_pg_stop(sh_test_pg_t *server);
/* Runs SQL on a connection of its own and returns the first value (static memory), or NULL. Fails loudly on stderr. */
const char *sh_test_pg_run(const sh_test_pg_t *server, const char *sql);

#endif
