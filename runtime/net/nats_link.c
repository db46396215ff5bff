/* Maps errno and OpenSSL's errors to the three outcomes of a step. */
#include "net/nats_link.h"

#include "base/err.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#define CLOSED_BY_SERVER "closed by the server"

static ssize_t ended(char reason[SH_NATS_REASON_MAX], const char *why) {
    snprintf(reason, SH_NATS_REASON_MAX, "%s", why);
    return SH_NATS_LINK_END;
}

/* --- TLS --- */

/* OpenSSL's oldest error is the cause; a refused certificate has words of its own. */
static void tell_tls(const SSL *ssl, char reason[SH_NATS_REASON_MAX]) {
    long verdict = ssl ? SSL_get_verify_result(ssl) : X509_V_OK;
    unsigned long code = ERR_get_error();
    const char *text = code ? ERR_reason_error_string(code) : NULL;
    if (verdict != X509_V_OK) text = X509_verify_cert_error_string(verdict);
    snprintf(reason, SH_NATS_REASON_MAX, "TLS: %s", text ? text : CLOSED_BY_SERVER);
    ERR_clear_error();
}

/* After an SSL call that returned `result` <= 0. */
static int step_failed(SSL *ssl, int result, char reason[SH_NATS_REASON_MAX]) {
    switch (SSL_get_error(ssl, result)) {
    case SSL_ERROR_WANT_READ: return SH_NATS_LINK_WANT_READ;
    case SSL_ERROR_WANT_WRITE: return SH_NATS_LINK_WANT_WRITE;
    case SSL_ERROR_ZERO_RETURN: return (int)ended(reason, CLOSED_BY_SERVER);
    default: tell_tls(ssl, reason); return SH_NATS_LINK_END;
    }
}

static bool load_files(SSL_CTX *ctx, const sh_nats_tls_t *tls) {
    if (tls->ca_file ? SSL_CTX_load_verify_locations(ctx, tls->ca_file, NULL) != 1 : SSL_CTX_set_default_verify_paths(ctx) != 1) return false;
    if (!tls->cert_file) return true;
    return SSL_CTX_use_certificate_chain_file(ctx, tls->cert_file) == 1 && SSL_CTX_use_PrivateKey_file(ctx, tls->key_file, SSL_FILETYPE_PEM) == 1 &&
           SSL_CTX_check_private_key(ctx) == 1;
}

static bool name_server(SSL *ssl, const char *host) {
    unsigned char address[sizeof(struct in6_addr)];
    if (inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1; /* addresses are not named to the server (RFC 6066, 3) */
    return SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
}

int sh_nats_link_secure(sh_nats_link_t *link, const char *host, const sh_nats_tls_t *tls, char reason[SH_NATS_REASON_MAX]) {
    ERR_clear_error();
    SSL *ssl = NULL;
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SH_ASSERT(ctx);
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (!load_files(ctx, tls)) goto fail_files;
    ssl = SSL_new(ctx);
    SH_ASSERT(ssl);
    if (!name_server(ssl, host) || SSL_set_fd(ssl, link->fd) != 1) goto fail_files;
    SSL_CTX_free(ctx); /* ssl holds it */
    SSL_set_connect_state(ssl);
    link->ssl = ssl;
    return 0;

fail_files:
    tell_tls(NULL, reason);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    return SH_EINVAL;
}

int sh_nats_link_handshake(sh_nats_link_t *link, char reason[SH_NATS_REASON_MAX]) {
    ERR_clear_error();
    int result = SSL_do_handshake(link->ssl);
    return result == 1 ? 0 : step_failed(link->ssl, result, reason);
}

/* --- bytes --- */

static bool is_to_wait(int error) { return error == EAGAIN || error == EWOULDBLOCK; }

static ssize_t read_plain(int fd, void *bytes, size_t size, char reason[SH_NATS_REASON_MAX]) {
    ssize_t n;
    do n = recv(fd, bytes, size, 0);
    while (n < 0 && errno == EINTR);
    if (n > 0) return n;
    if (n < 0 && is_to_wait(errno)) return SH_NATS_LINK_WANT_READ;
    return ended(reason, n == 0 ? CLOSED_BY_SERVER : uv_strerror(-errno));
}

static ssize_t write_plain(int fd, const void *bytes, size_t len, char reason[SH_NATS_REASON_MAX]) {
    ssize_t n;
    do n = send(fd, bytes, len, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n >= 0) return n;
    return is_to_wait(errno) ? SH_NATS_LINK_WANT_WRITE : ended(reason, uv_strerror(-errno));
}

ssize_t sh_nats_link_read(sh_nats_link_t *link, void *bytes, size_t size, char reason[SH_NATS_REASON_MAX]) {
    size_t n = 0;
    if (!link->ssl) return read_plain(link->fd, bytes, size, reason);
    ERR_clear_error();
    int result = SSL_read_ex(link->ssl, bytes, size, &n);
    return result == 1 ? (ssize_t)n : step_failed(link->ssl, result, reason);
}

ssize_t sh_nats_link_write(sh_nats_link_t *link, const void *bytes, size_t len, char reason[SH_NATS_REASON_MAX]) {
    size_t n = 0;
    if (!link->ssl) return write_plain(link->fd, bytes, len, reason);
    ERR_clear_error();
    int result = SSL_write_ex(link->ssl, bytes, len, &n);
    return result == 1 ? (ssize_t)n : step_failed(link->ssl, result, reason);
}

void sh_nats_link_close(sh_nats_link_t *link) {
    if (link->ssl) {
        ERR_clear_error();
        if (SSL_is_init_finished(link->ssl)) (void)SSL_shutdown(link->ssl); /* says goodbye; does not wait for the answer */
        SSL_free(link->ssl);
        ERR_clear_error();
    }
    if (link->fd >= 0) close(link->fd);
    *link = (sh_nats_link_t){.fd = -1};
}
