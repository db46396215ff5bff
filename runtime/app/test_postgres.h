/* The private Postgres of `shama test`: a folder in /tmp with data, log and socket. What a keeper runs (app/keeper.h). */
#ifndef SH_TEST_POSTGRES_H
#define SH_TEST_POSTGRES_H

#include "base/buf.h"

#include <sys/types.h>

typedef struct sh_test_postgres {
    char folder[64]; /* the socket's directory: "host" of a conninfo; the login is "postgres", without a password */
    pid_t pid;
} sh_test_postgres_t;

/* Makes the folder, for whoever will run Postgres: the user postgres when we are root. */
int sh_test_postgres_init(sh_test_postgres_t *postgres, sh_buf_t *error) SH_MUSTCHECK;
/* initdb, start, and wait until it answers. On failure the folder is gone. */
int sh_test_postgres_start(sh_test_postgres_t *postgres, sh_buf_t *error) SH_MUSTCHECK;
/* Stops it and removes the folder. */
void sh_test_postgres_stop(sh_test_postgres_t *postgres);

#endif
