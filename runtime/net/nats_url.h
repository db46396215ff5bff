/* Takes the setting nats.url apart: "nats://user:password@a:4222, tls://token@b" becomes servers. No I/O. */
#ifndef SH_NATS_URL_H
#define SH_NATS_URL_H

#include "base/base.h"

enum { SH_NATS_SERVERS_MAX = 16 };

/* user and password, or a token, or neither; what is missing is NULL. */
typedef struct sh_nats_server {
    char *host; /* a name or an address, an IPv6 one without its brackets */
    char *user, *password, *token;
    char port[6];
    bool is_tls;
} sh_nats_server_t;

/* Reads the list, parted by commas or blanks. `out` has room for SH_NATS_SERVERS_MAX; returns how many it filled, or SH_EINVAL for a list that is
 * empty, too long, or has a server that is not nats:// or tls://, without a host, with a bad port or a bad %XX. */
int sh_nats_url_read(const char *list, sh_nats_server_t *out) SH_MUSTCHECK;
/* Wipes the secrets. */
void sh_nats_server_dispose(sh_nats_server_t *server);

#endif
