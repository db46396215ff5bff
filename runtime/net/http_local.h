/* A request that came by no socket: bytes in, answer out, through the same parser and the same handlers as a connection's. For specs. */
#ifndef SH_HTTP_LOCAL_H
#define SH_HTTP_LOCAL_H

#include "net/http_server.h"

typedef struct sh_http_local sh_http_local_t;

/* The answer, lent until this returns; its body is not freed by the receiver. Date, Content-Length and Connection, which a connection adds, are
 * not among the headers; answers that have no body on the wire (HEAD, 204, 304) have none here. */
typedef void (*sh_http_local_fn)(void *data, const sh_http_response_t *response);

/* Runs one whole request; what is malformed or goes on behind it is answered by on_bad, as on a connection. `fn` runs exactly once, perhaps
 * inside this call: then NULL is returned. `bytes` are read before this returns; opts, handlers and their data are borrowed until `fn`. */
sh_http_local_t *sh_http_local_start(const sh_http_opts_t *opts, const sh_http_handlers_t *handlers, void *handlers_data, sh_str_t bytes,
                                     sh_http_local_fn fn, void *data);
/* The client goes away: `fn` will not run, the handlers learn it by on_gone. The request is gone once they have answered. */
void sh_http_local_abandon(sh_http_local_t *local);

#endif
