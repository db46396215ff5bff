/* One socket, plain or under TLS, non-blocking: what dialling (a thread) and the wire (the loop) have in common.
 *
 * A process that uses TLS ignores SIGPIPE: OpenSSL writes without MSG_NOSIGNAL. */
#ifndef SH_NATS_LINK_H
#define SH_NATS_LINK_H

#include "base/base.h"

#include <openssl/ssl.h>
#include <sys/types.h>

enum { SH_NATS_REASON_MAX = 200 };

typedef struct sh_nats_link {
    int fd;   /* -1: none */
    SSL *ssl; /* NULL: plain */
} sh_nats_link_t;

/* What a step returns when it did not get through. Under TLS reading may want to write, and the other way round. */
enum { SH_NATS_LINK_WANT_READ = -1, SH_NATS_LINK_WANT_WRITE = -2, SH_NATS_LINK_END = -3 };

/* Bytes moved (> 0), or one of the above; END writes why into `reason`. */
ssize_t sh_nats_link_read(sh_nats_link_t *link, void *bytes, size_t size, char reason[SH_NATS_REASON_MAX]) SH_MUSTCHECK;
ssize_t sh_nats_link_write(sh_nats_link_t *link, const void *bytes, size_t len, char reason[SH_NATS_REASON_MAX]) SH_MUSTCHECK;

typedef struct sh_nats_tls {
    const char *ca_file, *cert_file, *key_file; /* NULL for none; without ca_file the system's authorities are trusted */
} sh_nats_tls_t;
/* Makes the link a TLS client that insists on a certificate for `host`; SH_EINVAL writes why. Then handshake until 0, waiting as it asks. */
int sh_nats_link_secure(sh_nats_link_t *link, const char *host, const sh_nats_tls_t *tls, char reason[SH_NATS_REASON_MAX]) SH_MUSTCHECK;
int sh_nats_link_handshake(sh_nats_link_t *link, char reason[SH_NATS_REASON_MAX]) SH_MUSTCHECK;

/* Never blocks; harmless when it is closed. */
void sh_nats_link_close(sh_nats_link_t *link);

#endif
