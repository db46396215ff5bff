/* Configuration: defaults from config/shama.lua, an operator's file over them, the environment over both, secrets from files.
 *
 * A configuration is a value: a flat list of dotted keys ("http.port" = "5000") that can be sent to a worker as it is.
 * The defaults file names every key there is; an unknown key in another file is refused by name. Only the settings of a service
 * (<service>.db.user, .password, .pool) need no default: a service has them that `services` names or whose folder is in rules/. */
#ifndef SH_CONFIG_H
#define SH_CONFIG_H

#include "base/buf.h"
#include "base/map.h"

typedef struct sh_config {
    sh_map_t values; /* key -> char*, owned */
    char *root;      /* folder with rules/, sql/, config/, runtime/lua or its installed place; owned */
    char *file;      /* the operator's file, or NULL; owned */
} sh_config_t;

/* Reads <root>/config/shama.lua, then `file` (NULL: SHAMA_CONFIG, else config/<SHAMA_ENV>.lua when it exists), then the environment.
 * `root` NULL: SHAMA_ROOT, else the place compiled in, else the current folder. SH_EINVAL with a sentence for people in `error`. */
int sh_config_load(const char *root, const char *file, sh_config_t *out, sh_buf_t *error) SH_MUSTCHECK;
void sh_config_dispose(sh_config_t *config);

/* A key that the defaults do not have is a bug and asserts. Strings are lent. */
const char *sh_config_str(const sh_config_t *config, const char *key);
int64_t sh_config_int(const sh_config_t *config, const char *key);
bool sh_config_bool(const sh_config_t *config, const char *key);
/* "sales.db.pool" if set, else "db.pool": a service's own value before the common one. */
const char *sh_config_service_str(const sh_config_t *config, const char *service, const char *key);
int64_t sh_config_service_int(const sh_config_t *config, const char *service, const char *key);

void sh_config_set(sh_config_t *config, const char *key, const char *value);
/* Is the key secret (shown as *** by `shama config`, never logged)? */
bool sh_config_is_secret(const char *key);
/* For sending to workers and back. */
void sh_config_write(const sh_config_t *config, sh_buf_t *out);
int sh_config_read(sh_str_t text, sh_config_t *out) SH_MUSTCHECK;
/* Names of keys whose values differ, '\n' between them. */
void sh_config_diff(const sh_config_t *before, const sh_config_t *after, sh_buf_t *names);

/* libpq conninfo for a role. From DATABASE_URL or db.host, db.port, db.name; user and password from db.<service>.user / password. */
void sh_config_conninfo(const sh_config_t *config, const char *service, sh_buf_t *out);

#endif
