/* The private Postgres and NATS of `shama dev`: made, started and stopped. */
#ifndef SH_DEV_SERVERS_H
#define SH_DEV_SERVERS_H

#include "app/dev_state.h"

#include <stdio.h>
#include <sys/types.h>

typedef struct sh_dev_server {
    const char *name; /* "Postgres" */
    pid_t pid;        /* 0: not started */
    int port;         /* on 127.0.0.1 */
    int stop_signal;
    char log[SH_DEV_PATH_MAX + 64];
} sh_dev_server_t;

#define SH_DEV_DATABASE "shama_platform"

/* Starts Postgres with its data in .shama/postgres, which is made by initdb if it is not there. As root it runs as the user postgres;
 * where that user cannot enter .shama/, the data lies in /var/lib/shama/ and .shama/postgres links there. It listens on 127.0.0.1
 * only and asks everybody for a password (SCRAM); the superuser is "postgres" with the secret "postgres_password".
 * The database SH_DEV_DATABASE exists afterwards. */
int sh_dev_postgres_start(sh_dev_state_t *state, FILE *out, sh_dev_server_t *server, sh_buf_t *error) SH_MUSTCHECK;

/* Starts nats-server with JetStream, its data in .shama/nats; its user is "shama" with the secret "nats_password". */
int sh_dev_nats_start(sh_dev_state_t *state, sh_dev_server_t *server, sh_buf_t *error) SH_MUSTCHECK;

/* Stops it and waits until it has ended. Harmless when it was not started. */
void sh_dev_server_stop(sh_dev_server_t *server);

/* Finds a program of Postgres ("initdb"): in SHAMA_POSTGRES_BIN, where Debian puts it, in PATH. */
bool sh_dev_postgres_find(const char *program, char *out, size_t size);

#endif
