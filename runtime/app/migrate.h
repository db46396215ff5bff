/* `shama migrate up|status|verify|roles`: forward-only migrations and the roles that own and use what they make.
 *
 * A migration is sql/<schema>/NNNN_what.sql; numbers are unique over all schemas and give the order. Each runs in one transaction under
 * the role shama_owner and leaves a row in public.shama_migrations with the file's SHA-256; a file whose first line is
 * "-- shama: no transaction" holds one statement and runs outside (CREATE INDEX CONCURRENTLY). Refused, naming the file: one that changed
 * after it was applied, one that is missing, one that is older than what is applied already, two with the same number.
 *
 * The roles: shama_owner (NOLOGIN BYPASSRLS; owns schemas and tables), shama_views (NOLOGIN; owns the views that services share),
 * a login per service (the configuration's <service>.db.user), shama_readonly (a login for looking around). Only a superuser can make them.
 * The connection is blocking libpq: DATABASE_DIRECT_URL, or the configuration's db.url, or db.host, db.port, db.name with PGUSER, PGPASSWORD. */
#ifndef SH_MIGRATE_H
#define SH_MIGRATE_H

#include "app/config.h"

#include <libpq-fe.h>
#include <stdio.h>

typedef struct sh_migrate_opts {
    const sh_config_t *config;     /* the services' roles and passwords, the folder with sql/ */
    const char *readonly_password; /* of shama_readonly, or NULL: left as it is, without one when the role is made */
    bool set_passwords;            /* also of roles that are there already */
    FILE *out;                     /* what is done, a line each */
} sh_migrate_opts_t;

enum { SH_MIGRATE_SERVICES_MAX = 32 };

/* A service that the configuration names by <service>.db.user. */
typedef struct sh_migrate_service {
    char name[64];
    const char *role, *password; /* lent by the configuration; the password may be "" */
} sh_migrate_service_t;

/* Sorted by name; returns how many there are. */
size_t sh_migrate_services(const sh_config_t *config, sh_migrate_service_t out[SH_MIGRATE_SERVICES_MAX]);

/* Connects as described above; `url` (or conninfo) NULL: from the environment and the configuration. SH_EUNAVAILABLE. */
int sh_migrate_connect(const sh_config_t *config, const char *url, PGconn **out, sh_buf_t *error) SH_MUSTCHECK;

/* Makes missing roles and their rights when the connection is a superuser's; else checks that they are there and that this login is
 * a member of shama_owner: SH_EDENIED with a sentence that names `shama migrate roles`. */
int sh_migrate_roles(PGconn *conn, const sh_migrate_opts_t *opts, sh_buf_t *error) SH_MUSTCHECK;
/* The same as a script for a DBA, in full and with password verifiers instead of passwords. */
int sh_migrate_roles_script(const sh_migrate_opts_t *opts, sh_buf_t *out, sh_buf_t *error) SH_MUSTCHECK;

/* Applies what is missing, under an advisory lock. The roles must be there. */
int sh_migrate_up(PGconn *conn, const sh_migrate_opts_t *opts, sh_buf_t *error) SH_MUSTCHECK;
/* Prints a line for each migration. */
int sh_migrate_status(PGconn *conn, const sh_migrate_opts_t *opts, sh_buf_t *error) SH_MUSTCHECK;
/* SH_EINVAL unless exactly the files' migrations are applied. */
int sh_migrate_verify(PGconn *conn, const sh_migrate_opts_t *opts, sh_buf_t *error) SH_MUSTCHECK;

/* Runs a file of demo data as shama_owner in one transaction: statements behind lines `-- statement`, where $1 stands for the hash. */
int sh_migrate_seed(PGconn *conn, const char *path, const char *password_hash, sh_buf_t *error) SH_MUSTCHECK;

#endif
