/* Counting the users of a rules generation and closing it after the last. */
#include "host/generation.h"

#include <stdio.h>
#include <stdlib.h>

sh_generation_t *sh_generation_create(sh_bundle_t *bundle) {
    sh_generation_t *g = sh_calloc(1, sizeof *g);
    g->retained = 1;
    g->bundle = sh_bundle_retain(bundle);
    snprintf(g->version, sizeof g->version, "%s", sh_bundle_version(bundle));
    return g;
}

sh_generation_t *sh_generation_retain(sh_generation_t *g) {
    g->retained++;
    return g;
}

void sh_generation_release(sh_generation_t *g) {
    if (!g || --g->retained) return;
    if (g->on_destroy) g->on_destroy(g->data, g);
    if (g->router && g->router_destroy) g->router_destroy(g->router);
    for (uint32_t i = 0; i < g->vm_count; i++) sh_vm_destroy(g->vms[i]);
    sh_bundle_release(g->bundle);
    if (g->on_destroyed) g->on_destroyed(g->data);
    free(g);
}

sh_vm_t *sh_generation_vm(const sh_generation_t *g, const char *service) {
    for (uint32_t i = 0; i < g->vm_count; i++)
        if (strcmp(sh_vm_service(g->vms[i]), service) == 0) return g->vms[i];
    return NULL;
}
