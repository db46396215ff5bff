/* Finding the route of a request: a trie over path segments, built once per rules generation. Static segments go before parameters. */
#ifndef SH_ROUTER_H
#define SH_ROUTER_H

#include "base/arena.h"
#include "board/metrics.h"
#include "host/generation.h"

typedef struct sh_router sh_router_t;

/* Series of a route, found once: requests by status class, and their time. */
typedef struct sh_route_metrics {
    sh_series_t *status[6]; /* by status / 100 */
    sh_series_t *duration;
    sh_series_t *lua, *statements; /* what its rule used */
} sh_route_metrics_t;

typedef struct sh_match {
    const sh_route_t *route;
    sh_vm_t *vm;
    sh_str_t params[SH_PARAMS_MAX]; /* slices of the path */
    char allow[48];                 /* for 405: "GET, HEAD, POST" */
} sh_match_t;

/* All routes of all services. SH_EINVAL with a sentence when two routes are the same. The generation must outlive the router. */
int sh_router_build(const sh_generation_t *generation, sh_router_t **out, sh_buf_t *error) SH_MUSTCHECK;
void sh_router_destroy(sh_router_t *router);
/* Gives every route its metrics series. */
void sh_router_name_series(sh_router_t *router, sh_metrics_t *metrics);

/* SH_OK; SH_ENOTFOUND: no such path; SH_EDENIED: the path exists, the method does not, `allow` is set. HEAD finds GET. `path` must not end
 * with / and is borrowed by the params. */
int sh_router_find(const sh_router_t *router, sh_str_t method, sh_str_t path, sh_match_t *out) SH_MUSTCHECK;

#endif
