/* A rules generation without any Lua, for the tests of edge/: services with routes as data. */
#ifndef TEST_EDGE_RULES_H
#define TEST_EDGE_RULES_H

#include "host/generation.h"
#include "host/vm_internal.h"

#include <stdio.h>
#include <stdlib.h>

static inline void rules_forget(void *data, sh_generation_t *g) {
    (void)data;
    for (uint32_t i = 0; i < g->vm_count; i++) {
        free(g->vms[i]->manifest);
        free(g->vms[i]);
    }
    g->vm_count = 0; /* there is no Lua to close */
}

/* Services are added one by one; nothing in them may be run. Freed by sh_generation_release(). */
static inline sh_generation_t *rules_make(const char *version) {
    sh_generation_t *g = sh_calloc(1, sizeof *g);
    g->retained = 1;
    g->on_destroy = rules_forget;
    snprintf(g->version, sizeof g->version, "%s", version);
    return g;
}

static inline sh_vm_t *rules_add(sh_generation_t *g, const char *name, sh_route_t *routes, uint32_t count) {
    sh_vm_t *vm = sh_calloc(1, sizeof *vm);
    sh_manifest_t *m = sh_calloc(1, sizeof *m);
    snprintf(vm->service, sizeof vm->service, "%s", name);
    m->name = vm->service;
    m->routes = routes;
    m->route_count = count;
    vm->manifest = m;
    g->vms[g->vm_count++] = vm;
    return vm;
}

#endif
