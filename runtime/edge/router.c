/* The trie: a node per segment, at most one parameter child, a route per method at the end. */
#include "edge/router.h"

#include "base/err.h"

#include <stdio.h>
#include <stdlib.h>

enum { METHODS = 5 };
static const char *const methods[METHODS] = {"GET", "POST", "PUT", "PATCH", "DELETE"};

typedef struct node node_t;
struct node {
    sh_str_t segment;
    node_t *children; /* first static child */
    node_t *next;     /* sibling */
    node_t *parameter;
    sh_route_t *routes[METHODS];
    sh_vm_t *vms[METHODS];
};

struct sh_router {
    sh_arena_t arena;
    node_t root;
    const sh_generation_t *generation;
};

static bool take_segment(sh_str_t *path, sh_str_t *segment) {
    if (!path->len || path->ptr[0] != '/') return false;
    const char *from = path->ptr + 1, *end = path->ptr + path->len, *slash = memchr(from, '/', path->len - 1);
    if (!slash) slash = end;
    *segment = sh_str(from, (size_t)(slash - from));
    *path = sh_str(slash, (size_t)(end - slash));
    return true;
}

static node_t *child(sh_router_t *r, node_t *node, sh_str_t segment) {
    if (segment.len && segment.ptr[0] == ':') {
        if (!node->parameter) node->parameter = SH_ARENA_NEW(&r->arena, node_t);
        return node->parameter;
    }
    for (node_t *c = node->children; c; c = c->next)
        if (sh_str_eq(c->segment, segment)) return c;
    node_t *c = SH_ARENA_NEW(&r->arena, node_t);
    c->segment = segment;
    c->next = node->children;
    node->children = c;
    return c;
}

static int method_index(sh_str_t method) {
    if (sh_str_eq_c(method, "HEAD")) return 0;
    for (int i = 0; i < METHODS; i++)
        if (sh_str_eq_c(method, methods[i])) return i;
    return -1;
}

static int add(sh_router_t *r, sh_vm_t *vm, sh_route_t *route, sh_buf_t *error) {
    sh_str_t path = sh_str_of(route->pattern), segment;
    node_t *node = &r->root;
    while (take_segment(&path, &segment)) node = child(r, node, segment);
    int m = method_index(sh_str_of(route->method));
    SH_ASSERT(m >= 0);
    if (node->routes[m]) {
        sh_buf_printf(error, "rules/%s/service.lua: %s %s is the same as %s of %s", sh_vm_service(vm), route->method, route->pattern,
                      node->routes[m]->pattern, sh_vm_service(node->vms[m]));
        return SH_EINVAL;
    }
    node->routes[m] = route;
    node->vms[m] = vm;
    return SH_OK;
}

int sh_router_build(const sh_generation_t *g, sh_router_t **out, sh_buf_t *error) {
    sh_router_t *r = sh_calloc(1, sizeof *r);
    sh_arena_init(&r->arena);
    r->generation = g;
    for (uint32_t i = 0; i < g->vm_count; i++) {
        const sh_manifest_t *m = sh_vm_manifest(g->vms[i]);
        for (uint32_t k = 0; k < m->route_count; k++)
            if (add(r, g->vms[i], &m->routes[k], error)) {
                sh_router_destroy(r);
                return SH_EINVAL;
            }
    }
    *out = r;
    return SH_OK;
}

void sh_router_destroy(sh_router_t *r) {
    sh_arena_dispose(&r->arena);
    free(r);
}

void sh_router_name_series(sh_router_t *r, sh_metrics_t *metrics) {
    static const char *const classes[6] = {"0xx", "1xx", "2xx", "3xx", "4xx", "5xx"};
    for (uint32_t i = 0; i < r->generation->vm_count; i++) {
        const sh_manifest_t *m = sh_vm_manifest(r->generation->vms[i]);
        for (uint32_t k = 0; k < m->route_count; k++) {
            sh_route_t *route = &m->routes[k];
            sh_route_metrics_t *named = SH_ARENA_NEW(&r->arena, sh_route_metrics_t);
            char labels[SH_SERIES_LABELS_MAX];
            for (int c = 2; c < 6; c++) {
                snprintf(labels, sizeof labels, "service=\"%s\",method=\"%s\",route=\"%s\",status=\"%s\"", m->name, route->method, route->pattern,
                         classes[c]);
                named->status[c] =
                    sh_metrics_series(metrics, SH_COUNTER, "shama_http_requests_total", labels, "Requests by route and class of status.");
            }
            snprintf(labels, sizeof labels, "service=\"%s\",method=\"%s\",route=\"%s\"", m->name, route->method, route->pattern);
            named->duration =
                sh_metrics_series(metrics, SH_HISTOGRAM, "shama_http_request_duration_seconds", labels, "From a request's first byte to its answer.");
            named->lua = sh_metrics_series(metrics, SH_HISTOGRAM, "shama_rule_seconds", labels, "Time inside Lua of a request.");
            named->statements = sh_metrics_series(metrics, SH_COUNTER, "shama_rule_statements_total", labels, "Statements that rules sent.");
            route->metrics = named;
        }
    }
}

/* Static segments first; when they lead nowhere, or to other methods only, the parameter is tried: POST /products/import does not hide
 * GET /products/:code. Depth is bounded by the patterns' segments. `others` gathers the methods of paths that fit. */
static const node_t *walk(const node_t *node, sh_str_t path, int method, sh_str_t *params, uint32_t count, unsigned *others) {
    sh_str_t segment;
    if (!path.len) {
        for (int i = 0; i < METHODS; i++)
            if (node->routes[i]) *others |= 1u << i;
        return method >= 0 && node->routes[method] ? node : NULL;
    }
    if (!take_segment(&path, &segment) || !segment.len) return NULL;
    for (const node_t *c = node->children; c; c = c->next)
        if (sh_str_eq(c->segment, segment)) {
            const node_t *found = walk(c, path, method, params, count, others);
            if (found) return found;
            break;
        }
    if (!node->parameter || count == SH_PARAMS_MAX) return NULL;
    params[count] = segment;
    return walk(node->parameter, path, method, params, count + 1, others);
}

int sh_router_find(const sh_router_t *r, sh_str_t method, sh_str_t path, sh_match_t *out) {
    unsigned others = 0;
    int m = method_index(method);
    const node_t *node = path.len > 1 ? walk(&r->root, path, m, out->params, 0, &others) : NULL;
    if (node) {
        out->route = node->routes[m];
        out->vm = node->vms[m];
        return SH_OK;
    }
    if (!others) return SH_ENOTFOUND;
    size_t n = 0;
    for (int i = 0; i < METHODS; i++)
        if (others & 1u << i)
            n += (size_t)snprintf(out->allow + n, sizeof out->allow - n, "%s%s%s", n ? ", " : "", methods[i], i == 0 ? ", HEAD" : "");
    return SH_EDENIED;
}
